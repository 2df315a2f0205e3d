// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors the mapping side of include/linux/{mm.h,mm_types.h,mman.h} and
// mm/{mmap.c,vma.c,memory.c}, Linux v7.2. CUSTOMISED: the mappings of an address space are a sorted
// array; neighbours are never merged; user addresses are handed out lowest first from a fixed base
// with an unmapped page between two mappings; memory is described by struct mapping_shape as well
// as by PROT_x and MAP_x.
#pragma once

#include "core/linux/err.h"
#include "core/mm/mm.h"

#define VM_READ	      0x1UL
#define VM_WRITE      0x2UL
#define VM_EXEC	      0x4UL
#define VM_SHARED     0x8UL
#define VM_MAYREAD    0x10UL
#define VM_MAYWRITE   0x20UL
#define VM_MAYEXEC    0x40UL
#define VM_MAYSHARE   0x80UL
#define VM_PFNMAP     0x400UL
#define VM_IO	      0x4000UL
#define VM_DONTEXPAND 0x40000UL
#define VM_HUGETLB    0x400000UL
#define VM_DONTDUMP   0x4000000UL

#define VM_ACCESS_FLAGS (VM_READ | VM_WRITE | VM_EXEC)

// Page protection carries nothing but its VM_x bits and whether the mapping is uncached.
struct pgprot_t {
	unsigned long pgprot;
};
#define PGPROT_NONCACHED 0x10000000UL
static inline pgprot_t pgprot_noncached(pgprot_t prot)
{
	return pgprot_t{prot.pgprot | PGPROT_NONCACHED};
}

// Calls from the mapping to who made it. Each may be NULL. Compare struct vm_operations_struct.
struct vm_operations_struct {
	// A copy of @vma came to be (a split, or a fork): @vma is the new one.
	void (*open)(struct vm_area_struct *vma);
	// @vma goes, or one half of it. Called once for each open() and once for the original.
	void (*close)(struct vm_area_struct *vma);
	// -errno refuses a split at @addr, and so a partial unmap. Compare may_split.
	int (*may_split)(struct vm_area_struct *vma, unsigned long addr);
};

struct memfd;

// One mapping, [vm_start, vm_end). Owned by its mm; valid under the mmap lock.
struct vm_area_struct {
	unsigned long vm_start = 0;
	unsigned long vm_end = 0;
	struct mm_struct *vm_mm = nullptr;
	pgprot_t vm_page_prot{};
	unsigned long vm_flags = 0;
	const struct vm_operations_struct *vm_ops = nullptr;
	unsigned long vm_pgoff = 0; // into vm_file, or into the anonymous memory: pages
	struct file *vm_file = nullptr;
	void *vm_private_data = nullptr;
	// Of core/mm.
	struct memfd *memfd = nullptr; // where its pages come from; NULL: anonymous, or a device
	bool huge = false;	       // see struct mapping_shape
	bool fragmented = false;
	bool poisoned = false;
	unsigned long pfn = 0; // of vm_start, of a device mapping in a host_mm
};

static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}

// What the physical side of memory looks like.
struct mapping_shape {
	// Each 2M is aligned and consecutive, taken at its first touch, and cannot be split. The
	// size is rounded up to 2M. Compare hugetlbfs.
	bool huge = false;
	bool fragmented = false; // no two neighbouring pages have consecutive pfns
	bool poisoned = false;	 // every page has failed from the start
	unsigned long align = 0; // of the address; a power of two, 0 for a page
};

// Where arena addresses start and end. An arena's user addresses are numbers, never pointers of the
// host.
#define ARENA_BASE 0x10000000000UL
#define ARENA_SIZE (1UL << 39)

// A new address space with one mm_users and the one mm_count that belongs to them. NULL: out of
// memory. This one has simulated addresses; any without a mapping gives -EFAULT.
struct mm_struct *arena_mm_alloc(struct kernel *kernel);
// In this one a user address is a pointer of this process; one that does not work gives -EFAULT.
// Needs mm_options::shared_ram to map device memory that the process can touch by pointer.
struct mm_struct *host_mm_alloc(struct kernel *kernel);

// The address space of a child: @oldmm's mappings in a new one, for the caller to mmput(). Shared
// memory is the same memory, device mappings map the same (vm_ops->open()); every private page is
// copied at once, so the pages that are pinned stay those of @oldmm. Nothing is accounted to it.
// @oldmm has simulated addresses. -ENOMEM. Compare dup_mm() and dup_mmap().
result<struct mm_struct *> dup_mm(struct mm_struct *oldmm);

// A second task is about to use @mm. Each address space counts one task at first.
void mm_add_task(struct mm_struct *mm);

// Maps @len bytes of @file at @offset (bytes), or anonymous memory when @file is NULL, into
// current->mm. prot and flags are PROT_x and MAP_x of <sys/mman.h>. Returns the address, or -errno:
// -EINVAL (length 0, unaligned offset or fixed address, neither or both of MAP_SHARED and
// MAP_PRIVATE), -EEXIST (MAP_FIXED_NOREPLACE), -ENODEV (file cannot be mapped), -EOVERFLOW,
// -ENOMEM, what file->f_op->mmap() says. Compare vm_mmap().
long vm_mmap(struct file *file, unsigned long addr, unsigned long len, unsigned long prot,
	     unsigned long flags, unsigned long offset);
long vm_mmap_shape(struct file *file, unsigned long addr, unsigned long len, unsigned long prot,
		   unsigned long flags, unsigned long offset, const struct mapping_shape &shape);
// Unmaps what is mapped in the range; a hole is no error. Drops the mapping's page references: a
// pinned page lives on. -EINVAL for an unaligned start, length 0 or a huge mapping cut inside 2M;
// -ENOMEM when a split needs memory. Compare vm_munmap().
int vm_munmap(unsigned long start, size_t len);
// -ENOMEM for a hole in the range, -EACCES beyond VM_MAYx. Compare mprotect(2).
int vm_mprotect(unsigned long start, size_t len, unsigned long prot);
// The pages of the range have failed: as madvise(MADV_HWPOISON), without touching a page that
// others map. -ENOMEM for a hole.
int vm_poison(unsigned long start, size_t len);

// The mapping that holds @addr, or NULL. The mmap lock is held. Compare vma_lookup().
struct vm_area_struct *vma_lookup(struct mm_struct *mm, unsigned long addr);

// Maps physical memory (MMIO, or RAM without taking references) into a mapping that is being made,
// from its file's mmap(). -EINVAL when it does not fit the mapping, -ENOMEM. Compare
// remap_pfn_range() and io_remap_pfn_range().
int remap_pfn_range(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
		    unsigned long size, pgprot_t prot);
static inline int io_remap_pfn_range(struct vm_area_struct *vma, unsigned long addr,
				     unsigned long pfn, unsigned long size, pgprot_t prot)
{
	return remap_pfn_range(vma, addr, pfn, size, prot);
}
