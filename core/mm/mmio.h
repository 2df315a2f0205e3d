// SPDX-License-Identifier: GPL-2.0-or-later
//
// Physical address windows that are not RAM: where a device model answers. CUSTOMISED: stands for the bus. The kernel has no one
// counterpart; the nearest are request_mem_region() and the resource tree.
#pragma once

#include "core/linux/types.h"

struct kernel;

// Access functions of a window; @offset is in bytes from its start, @size is 1, 2, 4 or 8 and @offset is aligned to it. They run in the
// context of the accessing task, with the mmap lock held for reading when a program loads or stores through a mapping. A model
// answers every access: an unknown register is its event to log (R13).
struct mmio_ops {
	u64 (*read)(void *opaque, phys_addr_t offset, unsigned int size);
	void (*write)(void *opaque, phys_addr_t offset, u64 value, unsigned int size);
};

// Owned by the model, which keeps it in place until mmio_unregister().
struct mmio_window {
	phys_addr_t start;		// page aligned
	size_t size;
	const struct mmio_ops *ops;
	void *opaque;
	struct mmio_window *next = nullptr;
};

// -EBUSY when it overlaps another window, RAM or the host's pages; -EINVAL for an empty or unaligned one.
int mmio_register(struct kernel *kernel, struct mmio_window *window);
// No mapping of the window may be used after it: later accesses fail as those of a bus without a device.
void mmio_unregister(struct kernel *kernel, struct mmio_window *window);
// The window that holds @phys, or NULL.
struct mmio_window *mmio_find(struct kernel *kernel, phys_addr_t phys);

// One access by physical address. -EFAULT where no window is.
int mmio_read(struct kernel *kernel, phys_addr_t phys, unsigned int size, u64 *value);
int mmio_write(struct kernel *kernel, phys_addr_t phys, unsigned int size, u64 value);
