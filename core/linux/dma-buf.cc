// SPDX-License-Identifier: GPL-2.0-or-later
//
// Buffers that drivers share, each a file. Stands in for drivers/dma-buf/dma-buf.c, Linux v7.2;
// dma-buf.h says what of it.
#include "core/linux/dma-buf.h"

#include <fcntl.h>

#include "core/linux/bug.h"
#include "core/linux/file.h"
#include "core/linux/slab.h"

static int dma_buf_file_release(struct file *file)
{
	auto *dmabuf = static_cast<struct dma_buf *>(file->private_data);

	dmabuf->ops->release(dmabuf);
	{
		mutex_guard resv(&dmabuf->resv.lock);

		WARN_ON(!list_empty(&dmabuf->attachments));
	}
	kfree_obj(dmabuf);
	return 0;
}

// The exporters here give the CPU no way to their memory.
static int dma_buf_mmap_internal(struct file *, struct vm_area_struct *)
{
	return -EINVAL;
}

// Without fences there is nothing to wait for.
static __poll_t dma_buf_poll(struct file *, struct poll_table_struct *)
{
	return POLLIN | POLLOUT;
}

static const struct file_operations dma_buf_fops = {
	.release = dma_buf_file_release,
	.mmap = dma_buf_mmap_internal,
	.poll = dma_buf_poll,
	.name = "dmabuf",
};

result<struct dma_buf *> dma_buf_export(const struct dma_buf_export_info *exp_info)
{
	if (WARN_ON(!exp_info->priv || !exp_info->ops || !exp_info->ops->release))
		return -EINVAL;

	auto *dmabuf = kzalloc_obj<struct dma_buf>();

	if (!dmabuf)
		return -ENOMEM;
	dmabuf->size = exp_info->size;
	dmabuf->ops = exp_info->ops;
	dmabuf->priv = exp_info->priv;

	auto file = anon_inode_getfile("dmabuf", &dma_buf_fops, dmabuf,
				       exp_info->flags & (O_ACCMODE | O_NONBLOCK));

	if (!file) {
		kfree_obj(dmabuf);
		return file.error();
	}
	dmabuf->file = *file;
	return dmabuf;
}

int dma_buf_fd(struct dma_buf *dmabuf, int flags)
{
	const int fd = get_unused_fd_flags((unsigned int)flags);

	if (fd >= 0)
		fd_install((unsigned int)fd, dmabuf->file);
	return fd;
}

result<struct dma_buf *> dma_buf_get(int fd)
{
	struct file *file = fget((unsigned int)fd);

	if (!file)
		return -EBADF;
	if (file->f_op != &dma_buf_fops) {
		fput(file);
		return -EINVAL;
	}
	// The file's reference is the buffer's.
	return static_cast<struct dma_buf *>(file->private_data);
}

void dma_buf_put(struct dma_buf *dmabuf)
{
	fput(dmabuf->file);
}

result<struct dma_buf_attachment *>
dma_buf_dynamic_attach(struct dma_buf *dmabuf, struct device *dev,
		       const struct dma_buf_attach_ops *importer_ops, void *importer_priv)
{
	if (WARN_ON(!importer_ops || !importer_ops->invalidate_mappings))
		return -EINVAL;

	auto *attach = kzalloc_obj<struct dma_buf_attachment>();

	if (!attach)
		return -ENOMEM;
	attach->dmabuf = dmabuf;
	attach->dev = dev;
	attach->importer_ops = importer_ops;
	attach->importer_priv = importer_priv;

	if (int rc = dmabuf->ops->attach ? dmabuf->ops->attach(dmabuf, attach) : 0) {
		kfree_obj(attach);
		return rc;
	}

	mutex_guard resv(&dmabuf->resv.lock);

	list_add_tail(&attach->node, &dmabuf->attachments);
	return attach;
}

void dma_buf_detach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	{
		mutex_guard resv(&dmabuf->resv.lock);

		list_del(&attach->node);
	}
	if (dmabuf->ops->detach)
		dmabuf->ops->detach(dmabuf, attach);
	kfree_obj(attach);
}

int dma_buf_pin(struct dma_buf_attachment *attach)
{
	const struct dma_buf *dmabuf = attach->dmabuf;

	lockdep_assert_held(&dmabuf->resv.lock);
	return dmabuf->ops->pin ? dmabuf->ops->pin(attach) : 0;
}

void dma_buf_unpin(struct dma_buf_attachment *attach)
{
	const struct dma_buf *dmabuf = attach->dmabuf;

	lockdep_assert_held(&dmabuf->resv.lock);
	if (dmabuf->ops->unpin)
		dmabuf->ops->unpin(attach);
}

void dma_buf_invalidate_mappings(struct dma_buf *dmabuf)
{
	struct dma_buf_attachment *attach;

	lockdep_assert_held(&dmabuf->resv.lock);
	list_for_each_entry (attach, &dmabuf->attachments, node)
		attach->importer_ops->invalidate_mappings(attach);
}
