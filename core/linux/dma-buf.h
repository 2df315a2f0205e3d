// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/{dma-buf,dma-resv}.h, Linux v7.2, as far as an importer and an exporter
// need it who share physical addresses: files, attachments, pins, and the exporter's right to take
// a mapping back. CUSTOMISED: a reservation is a lock and holds no fences; there are no sg tables,
// no CPU access, no names, no list of all buffers; the importer's device is optional.
//
// Lock order: the reservation, then what importers take in invalidate_mappings().
#pragma once

#include "core/linux/err.h"
#include "core/linux/list.h"
#include "core/linux/lockdep.h"
#include "core/linux/mutex.h"
#include "core/linux/types.h"

struct device;
struct dma_buf;
struct dma_buf_attachment;
struct file;

// A physical range. Compare struct phys_vec.
struct phys_vec {
	phys_addr_t paddr = 0;
	size_t len = 0; // bytes
};

// What guards a buffer's place. Taken with mutex_guard, where the kernel has dma_resv_lock().
struct dma_resv {
	struct mutex lock{LOCK_CLASS(dma_resv, lock)};
};

// The exporter's side. @attach may refuse (-errno); @pin and @unpin are called with the reservation
// held: between them the memory does not move. Optional, all but @release.
struct dma_buf_ops {
	int (*attach)(struct dma_buf *dmabuf, struct dma_buf_attachment *attach) = nullptr;
	void (*detach)(struct dma_buf *dmabuf, struct dma_buf_attachment *attach) = nullptr;
	int (*pin)(struct dma_buf_attachment *attach) = nullptr;
	void (*unpin)(struct dma_buf_attachment *attach) = nullptr;
	void (*release)(struct dma_buf *dmabuf) = nullptr;
};

// The importer's side. @invalidate_mappings: with the reservation held; on return nothing that the
// importer has made of the buffer reaches the memory any more.
struct dma_buf_attach_ops {
	bool allow_peer2peer = false;
	void (*invalidate_mappings)(struct dma_buf_attachment *attach) = nullptr;
};

// One reference to a buffer is one to its file.
struct dma_buf {
	size_t size = 0; // bytes
	struct file *file = nullptr;
	const struct dma_buf_ops *ops = nullptr;
	void *priv = nullptr; // the exporter's
	struct dma_resv resv;
	struct list_head attachments __guarded_by(resv.lock);
};

struct dma_buf_attachment {
	struct dma_buf *dmabuf = nullptr;
	struct device *dev = nullptr;
	struct list_head node; // of dma_buf::attachments
	const struct dma_buf_attach_ops *importer_ops = nullptr;
	void *importer_priv = nullptr;
};

struct dma_buf_export_info {
	const struct dma_buf_ops *ops = nullptr;
	size_t size = 0; // bytes
	int flags = 0;	 // of the file
	void *priv = nullptr;
};

// A buffer with one reference and no descriptor. On failure @priv is still the caller's; later
// ops->release gives it up. -EINVAL: no ops, no release or no priv, a caller's bug; -ENOMEM.
[[nodiscard]] result<struct dma_buf *> dma_buf_export(const struct dma_buf_export_info *exp_info);
// A descriptor, to which the caller's reference goes. -EMFILE: it stays the caller's.
[[nodiscard]] int dma_buf_fd(struct dma_buf *dmabuf, int flags);
// With a reference. -EBADF; -EINVAL: another kind of file.
[[nodiscard]] result<struct dma_buf *> dma_buf_get(int fd);
void dma_buf_put(struct dma_buf *dmabuf);

// The caller keeps a reference until it has detached. -ENOMEM, or what the exporter says.
[[nodiscard]] result<struct dma_buf_attachment *>
dma_buf_dynamic_attach(struct dma_buf *dmabuf, struct device *dev,
		       const struct dma_buf_attach_ops *importer_ops, void *importer_priv);
void dma_buf_detach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach);
// The three with the reservation held.
[[nodiscard]] int dma_buf_pin(struct dma_buf_attachment *attach)
	__must_hold(attach->dmabuf->resv.lock);
void dma_buf_unpin(struct dma_buf_attachment *attach) __must_hold(attach->dmabuf->resv.lock);
// Takes all importers' mappings back: the memory is about to move, or to go.
void dma_buf_invalidate_mappings(struct dma_buf *dmabuf) __must_hold(dmabuf->resv.lock);
