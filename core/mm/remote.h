// SPDX-License-Identifier: GPL-2.0-or-later
//
// The address space of another process of the host, whose program runs unmodified against a kernel
// of ours (tools/client). CUSTOMISED: no kernel counterpart. Core/mm asks who knows the process for
// copies and for what stands at an address; it keeps the pages, their pins and their numbers.
//
// A page is one of two kinds. A page of a memory file that we hold a descriptor of
// (struct remote_object) is the same page in every process that maps it, and a pin on it outlives
// the mapping and the process. Any other page belongs to one address of one process; a pin on it
// outlives the mapping only if remote_mm_preserve() is called before that goes, and is a page of
// zeroes that forgets what is written to it after the process died.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>

#include "core/linux/err.h"
#include "core/linux/types.h"
#include "core/mm/mm.h"

struct remote_object;

// What a process has mapped at an address.
struct remote_vma {
	u64 start = 0; // bytes, page aligned; the run of addresses of which the rest is true
	u64 end = 0;
	bool readable = false;
	bool writable = false;
	// The memory file that is mapped shared there, NULL for any other memory; @index is the
	// file's page at @start.
	std::shared_ptr<struct remote_object> object;
	u64 index = 0;
};

// Another process, implemented by who knows it. Calls come from any thread and hold no lock but
// the mmap lock of its address space; none may call back into this kernel.
struct remote_process {
	virtual ~remote_process() = default;
	// All @n bytes at @theirs, as the process itself could load or store them: 0 or -EFAULT.
	virtual int copy(void *ours, u64 theirs, size_t n, bool write) = 0;
	// False: nothing is mapped at @addr, or the process is gone.
	virtual bool lookup(u64 addr, struct remote_vma *vma) = 0;
	// False: the process would have to be given memory at @addr first (where an allocation can
	// fail: see fault-inject.h).
	virtual bool present(u64 addr)
	{
		(void)addr;
		return true;
	}

	// Pages of this process that are referenced and no object's: while it is 0 nobody needs to
	// call remote_mm_preserve(). Counted by core/mm. May be pointed elsewhere, before the first
	// page.
	std::atomic<u32> own_private_pages{0};
	std::atomic<u32> *private_pages = &own_private_pages;
};

// As arena_mm_alloc(). NULL: out of memory, or of page numbers. vm_mmap() into it takes fixed
// addresses only, maps nothing by itself and needs a file of a driver: what the process has mapped
// by itself is asked for.
struct mm_struct *remote_mm_alloc(struct kernel *kernel,
				  std::shared_ptr<struct remote_process> process);
// A process forked: @child has the mappings that @parent made with vm_mmap(), each announced with
// vm_ops->open(). -ENOMEM.
int remote_mm_dup(struct mm_struct *child, struct mm_struct *parent);
// The process is about to unmap, move or replace [@start, @start + @len): its private pages there
// that are referenced keep what is in them now. -ENOMEM: some do not.
int remote_mm_preserve(struct mm_struct *mm, u64 start, u64 len);
// All that the process has.
int remote_mm_preserve_all(struct mm_struct *mm);

// A memory file of the host, at most @max_pages long however it grows; the descriptor goes to the
// object, also on failure, and its file position is nobody else's. NULL: out of memory, or of page
// numbers.
std::shared_ptr<struct remote_object> remote_object_create(struct kernel *kernel, int host_fd,
							   u64 max_pages = 1UL << 28);
// Pages of it that are referenced.
long remote_object_pages(const struct remote_object *object);
// A file of this kernel that is_memfd() and has the object's pages, for IOMMU_IOAS_MAP_FILE. One
// reference. -ENOMEM, -ENFILE.
result<struct file *> remote_memfd_file(std::shared_ptr<struct remote_object> object);

// Where a pfn of this kernel's RAM is in the host's memory file that backs it (mm_options::
// shared_ram): the offset in bytes, and the file in *@host_fd, which stays core/mm's. -EINVAL: no
// RAM, or not shared.
long mm_ram_offset(const struct kernel *kernel, unsigned long pfn, int *host_fd);
