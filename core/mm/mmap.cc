// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors mm/mmap.c, mm/vma.c, mm/mprotect.c, the fault side of mm/memory.c and mm/hugetlb.c, and
// dup_mm() of kernel/fork.c, Linux v7.2. CUSTOMISED: see vma.h. A first touch, reading or writing,
// takes a frame of its own; a private mapping of a file copies the file's page then; a fork copies
// what is private.
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "core/linux/fault-inject.h"
#include "core/linux/file.h"
#include "core/linux/slab.h"
#include "core/mm/internal.h"
#include "core/mm/memfd.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define MAX_MAP_COUNT 65530

// ---- page tables ----

static u64 vma_pte_flags(const struct vm_area_struct *vma)
{
	u64 flags = 0;

	// As on x86: whatever is accessible can be read.
	if (vma->vm_flags & VM_ACCESS_FLAGS)
		flags |= PTE_READ;
	if (vma->vm_flags & VM_WRITE)
		flags |= PTE_WRITE;
	return flags;
}

// The entry of @addr, with its tables made. NULL: out of memory, or injected.
static std::atomic<u64> *pte_alloc(struct mm_context *ctx, unsigned long addr, bool inject)
{
	unsigned long n = (addr - ARENA_BASE) >> PAGE_SHIFT;
	std::atomic<u64> *entry = pte_lookup(ctx, addr);

	if (entry)
		return entry;
	if (inject && should_fail(FAULT_PAGE_ALLOC))
		return nullptr;
	raw_guard g(&ctx->pt_lock);
	std::atomic<struct pmd_table *> *pgd = &ctx->pgd[n >> 18];

	if (!pgd->load(std::memory_order_relaxed)) {
		struct pmd_table *table = new (std::nothrow) struct pmd_table();

		if (!table)
			return nullptr;
		pgd->store(table, std::memory_order_release);
	}
	std::atomic<struct pte_table *> *pmd =
		&pgd->load(std::memory_order_relaxed)->pmd[n >> 9 & 511];

	if (!pmd->load(std::memory_order_relaxed)) {
		struct pte_table *table = new (std::nothrow) struct pte_table();

		if (!table)
			return nullptr;
		pmd->store(table, std::memory_order_release);
	}
	return &pmd->load(std::memory_order_relaxed)->pte[n & 511];
}

// Calls fn(entry, address) for each entry of [start, end) that is not empty.
template <class F>
static void for_each_pte(struct mm_context *ctx, unsigned long start, unsigned long end, F fn)
{
	if (!ctx->ops->has_tables)
		return;
	while (start < end) {
		std::atomic<u64> *pte = pte_lookup(ctx, start);
		unsigned long stop = min(end, ALIGN_DOWN(start, HUGE_PAGE_SIZE) + HUGE_PAGE_SIZE);

		if (pte) {
			for (; start < stop; start += PAGE_SIZE, pte++)
				if (pte->load(std::memory_order_relaxed))
					fn(pte, start);
		}
		start = stop;
	}
}

static void unmap_page_range(struct mm_context *ctx, unsigned long start, unsigned long end)
{
	for_each_pte(ctx, start, end, [&](std::atomic<u64> *pte, unsigned long) {
		u64 v = pte->exchange(0, std::memory_order_acq_rel);

		if (v & PTE_PAGE)
			put_page(pte_page(ctx->state, v));
	});
}

static int fault_huge(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr,
		      bool inject)
{
	unsigned long base = ALIGN_DOWN(addr, HUGE_PAGE_SIZE);
	std::atomic<u64> *pte = pte_alloc(ctx, base, inject);
	struct page *page;

	if (!pte || (inject && should_fail(FAULT_PAGE_ALLOC)))
		return -ENOMEM;
	page = mm_alloc_frames(ctx->state, HUGE_ORDER, false, 0);
	if (!page)
		return -ENOMEM;
	raw_guard g(&ctx->pt_lock);
	for (size_t i = 0; i != 1UL << HUGE_ORDER; i++) {
		if (pte[i].load(std::memory_order_relaxed))
			put_page(page + i); // another task was first
		else
			pte[i].store(page_to_phys(page + i) | PTE_PAGE | vma_pte_flags(vma),
				     std::memory_order_release);
	}
	return 0;
}

int fault_page(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr, bool inject)
{
	unsigned long index = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
	struct page *page;
	u64 v;

	if (vma->poisoned)
		return -EHWPOISON;
	std::atomic<u64> *pte = pte_alloc(ctx, addr, inject);
	if (!pte)
		return -ENOMEM;
	v = pte->load(std::memory_order_acquire);
	if (v)
		return 0;
	if (vma->vm_flags & (VM_PFNMAP | VM_IO))
		return -EFAULT;

	if (vma->memfd) {
		result<struct page *> file_page = memfd_get_page(vma->memfd, index, inject);

		if (!file_page)
			return file_page.error();
		page = *file_page;
		if (!(vma->vm_flags & VM_SHARED)) {
			if (inject && should_fail(FAULT_PAGE_ALLOC))
				page = nullptr;
			else
				page = mm_alloc_frames(ctx->state, 0, vma->fragmented, index);
			if (page)
				copy_shared_memory(page->vaddr, (*file_page)->vaddr, PAGE_SIZE);
			put_page(*file_page);
		}
	} else if (vma->huge) {
		return fault_huge(ctx, vma, addr, inject);
	} else if (inject && should_fail(FAULT_PAGE_ALLOC)) {
		page = nullptr;
	} else {
		page = mm_alloc_frames(ctx->state, 0, vma->fragmented, index);
	}
	if (!page)
		return -ENOMEM;
	{
		raw_guard g(&ctx->pt_lock);

		if (!pte->load(std::memory_order_relaxed)) {
			pte->store(page_to_phys(page) | PTE_PAGE | vma_pte_flags(vma),
				   std::memory_order_release);
			return 0;
		}
	}
	put_page(page); // another task was first
	return 0;
}

int remap_pfn_range(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
		    unsigned long size, pgprot_t)
{
	struct mm_context *ctx = to_sim_mm(vma->vm_mm)->context;
	unsigned long end;

	size = PAGE_ALIGN(size);
	if (WARN_ON(!PAGE_ALIGNED(addr)))
		return -EINVAL;
	if (!size || check_add_overflow(addr, size, &end) || addr < vma->vm_start ||
	    end > vma->vm_end)
		return -EINVAL;
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return ctx->ops->remap_pfn(ctx, vma, addr, pfn, size);
}

// ---- the mappings of an address space ----

struct vm_area_struct *find_vma(struct mm_context *ctx, unsigned long addr)
{
	size_t lo = 0, hi = ctx->nr_vmas;

	while (lo != hi) {
		size_t mid = (lo + hi) / 2;

		if (ctx->vmas[mid]->vm_end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo == ctx->nr_vmas ? nullptr : ctx->vmas[lo];
}

struct vm_area_struct *vma_lookup(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);
	vma = find_vma(to_sim_mm(mm)->context, addr);
	return vma && vma->vm_start <= addr ? vma : nullptr;
}

static size_t vma_index(struct mm_context *ctx, const struct vm_area_struct *vma)
{
	size_t lo = 0, hi = ctx->nr_vmas;

	while (lo != hi) {
		size_t mid = (lo + hi) / 2;

		if (ctx->vmas[mid]->vm_start >= vma->vm_start)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

// Room for @n more mappings, so that vma_link() cannot fail.
static int vma_reserve(struct mm_context *ctx, size_t n)
{
	struct vm_area_struct **vmas;
	size_t max_vmas;

	if (ctx->nr_vmas + n > MAX_MAP_COUNT)
		return -ENOMEM;
	if (ctx->nr_vmas + n <= ctx->max_vmas)
		return 0;
	max_vmas = max(ctx->max_vmas * 2, (size_t)16);
	vmas = static_cast<struct vm_area_struct **>(realloc(ctx->vmas, max_vmas * sizeof(*vmas)));
	if (!vmas)
		return -ENOMEM;
	ctx->vmas = vmas;
	ctx->max_vmas = max_vmas;
	return 0;
}

static void vma_link(struct mm_context *ctx, struct vm_area_struct *vma)
{
	size_t i = vma_index(ctx, vma);

	memmove(ctx->vmas + i + 1, ctx->vmas + i, (ctx->nr_vmas - i) * sizeof(*ctx->vmas));
	ctx->vmas[i] = vma;
	ctx->nr_vmas++;
	ctx->state->nr_vmas.fetch_add(1, std::memory_order_relaxed);
}

static void vma_unlink(struct mm_context *ctx, struct vm_area_struct *vma)
{
	size_t i = vma_index(ctx, vma);

	ctx->nr_vmas--;
	memmove(ctx->vmas + i, ctx->vmas + i + 1, (ctx->nr_vmas - i) * sizeof(*ctx->vmas));
	ctx->state->nr_vmas.fetch_sub(1, std::memory_order_relaxed);
}

static int vma_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	const bool huge = vma->memfd ? memfd_shape(vma->vm_file)->huge : vma->huge;

	if (huge && !IS_ALIGNED(addr, HUGE_PAGE_SIZE))
		return -EINVAL;
	if (vma->vm_ops && vma->vm_ops->may_split)
		return vma->vm_ops->may_split(vma, addr);
	return 0;
}

// Cuts @vma at @addr: it keeps the lower part. Compare __split_vma().
static int split_vma(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr)
{
	struct vm_area_struct *upper;
	int rc;

	rc = vma_may_split(vma, addr);
	if (rc)
		return rc;
	rc = vma_reserve(ctx, 1);
	if (rc)
		return rc;
	upper = kzalloc_obj<struct vm_area_struct>(*vma);
	if (!upper)
		return -ENOMEM;
	upper->vm_start = addr;
	upper->vm_pgoff += (addr - vma->vm_start) >> PAGE_SHIFT;
	upper->pfn += (addr - vma->vm_start) >> PAGE_SHIFT;
	if (upper->vm_file)
		get_file(upper->vm_file);
	vma->vm_end = addr;
	vma_link(ctx, upper);
	if (upper->vm_ops && upper->vm_ops->open)
		upper->vm_ops->open(upper);
	return 0;
}

// @vma is not linked (any more), its pages are gone.
static void remove_vma(struct vm_area_struct *vma)
{
	if (vma->vm_ops && vma->vm_ops->close)
		vma->vm_ops->close(vma);
	if (vma->vm_file)
		fput(vma->vm_file);
	kfree_obj(vma);
}

// The process's side of what is done to a mapping here.
static int host_unmap(struct mm_context *ctx, unsigned long start, unsigned long len)
{
	return ctx->ops->unmap ? ctx->ops->unmap(start, len) : 0;
}
static void host_protect(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long prot)
{
	if (ctx->ops->protect)
		ctx->ops->protect(vma->vm_start, vma->vm_end - vma->vm_start, prot);
}

// Compare do_vmi_align_munmap(). The mmap lock is held for writing. !@host_too: the host's
// side is not ours to undo here.
static int unmap_range(struct mm_context *ctx, unsigned long start, unsigned long end,
		       bool host_too = true)
{
	struct vm_area_struct *vma = find_vma(ctx, start);
	int rc;

	if (!vma || vma->vm_start >= end)
		return 0;
	if (vma->vm_start < start) {
		if (end < vma->vm_end && ctx->nr_vmas >= MAX_MAP_COUNT)
			return -ENOMEM;
		rc = split_vma(ctx, vma, start);
		if (rc)
			return rc;
	}
	vma = find_vma(ctx, end - 1);
	if (vma && vma->vm_start < end && vma->vm_end > end) {
		rc = split_vma(ctx, vma, end);
		if (rc)
			return rc;
	}
	while ((vma = find_vma(ctx, start)) && vma->vm_start < end) {
		vma_unlink(ctx, vma);
		unmap_page_range(ctx, vma->vm_start, vma->vm_end);
		if (host_too)
			host_unmap(ctx, vma->vm_start, vma->vm_end - vma->vm_start);
		remove_vma(vma);
	}
	return 0;
}

int vm_munmap(unsigned long start, size_t len)
{
	struct sim_mm *mm = to_sim_mm(current->mm);
	unsigned long end;
	int rc;

	if (!PAGE_ALIGNED(start) || start > TASK_SIZE || len > TASK_SIZE - start)
		return -EINVAL;
	end = start + PAGE_ALIGN(len);
	if (end == start)
		return -EINVAL;
	mmap_write_lock(mm);
	rc = unmap_range(mm->context, start, end, false);
	// In one piece, with what the process mapped without us, and before anybody can map there
	// again.
	if (!rc)
		rc = host_unmap(mm->context, start, end - start);
	mmap_write_unlock(mm);
	return rc;
}

// The lowest gap of @len bytes with a page to spare on both sides. Compare get_unmapped_area().
static long find_gap(struct mm_context *ctx, unsigned long len, unsigned long align)
{
	unsigned long addr = ARENA_BASE;

	if (len > ARENA_SIZE)
		return -ENOMEM;
	for (size_t i = 0;; i++) {
		unsigned long end = i == ctx->nr_vmas ? ARENA_BASE + ARENA_SIZE
						      : ctx->vmas[i]->vm_start - PAGE_SIZE;

		addr = ALIGN(addr, align);
		if (addr < end && len <= end - addr)
			return (long)addr;
		if (i == ctx->nr_vmas)
			return -ENOMEM;
		addr = ctx->vmas[i]->vm_end + PAGE_SIZE;
	}
}

static bool range_free(struct mm_context *ctx, unsigned long start, unsigned long len)
{
	struct vm_area_struct *vma = find_vma(ctx, start);

	return !vma || vma->vm_start >= start + len;
}

static long arena_get_unmapped_area(struct mm_context *ctx, unsigned long addr, unsigned long len,
				    unsigned long align, unsigned long flags)
{
	const auto in_arena = [len](unsigned long a) {
		return a >= ARENA_BASE && a - ARENA_BASE < ARENA_SIZE &&
		       len <= ARENA_SIZE - (a - ARENA_BASE);
	};

	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (!in_arena(addr))
			return -ENOMEM;
		if (!IS_ALIGNED(addr, align))
			return -EINVAL;
		if ((flags & MAP_FIXED_NOREPLACE) && !range_free(ctx, addr, len))
			return -EEXIST;
		return (long)addr;
	}
	addr = ALIGN(addr, align);
	if (in_arena(addr) && range_free(ctx, addr, len))
		return (long)addr;
	return find_gap(ctx, len, align);
}

static int arena_remap_pfn(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr,
			   unsigned long pfn, unsigned long size)
{
	for (const unsigned long end = addr + size; addr != end; addr += PAGE_SIZE, pfn++) {
		std::atomic<u64> *pte = pte_alloc(ctx, addr, true);

		if (!pte)
			return -ENOMEM;
		pte->store(PFN_PHYS(pfn) | PTE_SPECIAL | vma_pte_flags(vma),
			   std::memory_order_release);
	}
	return 0;
}

const struct mm_space_ops arena_space_ops = {
	.user_ops = &arena_user_ops,
	.has_tables = true,
	.copy = nullptr,
	.get_page = arena_get_page,
	.get_unmapped_area = arena_get_unmapped_area,
	.map = nullptr,
	.remap_pfn = arena_remap_pfn,
	.map_memfd = nullptr,
	.unmap = nullptr,
	.protect = nullptr,
};

// Compare do_mmap(). The mmap lock is held for writing.
static long do_mmap(struct mm_context *ctx, struct file *file, unsigned long addr,
		    unsigned long len, unsigned long prot, unsigned long flags, unsigned long pgoff,
		    const struct mapping_shape &shape)
{
	const bool huge = shape.huge || (flags & MAP_HUGETLB);
	unsigned long align = max(shape.align, huge ? HUGE_PAGE_SIZE : PAGE_SIZE);
	struct mapping_shape real = shape;
	struct vm_area_struct *vma;
	unsigned long vm_flags;
	long ret;
	int rc;

	if (file && is_memfd(file)) {
		// The file's pages have the file's shape.
		if (memfd_shape(file)->huge)
			align = max(align, HUGE_PAGE_SIZE);
		if (memfd_shape(file)->huge && !IS_ALIGNED(pgoff << PAGE_SHIFT, HUGE_PAGE_SIZE))
			return -EINVAL;
	}
	if (shape.align && !is_power_of_2(shape.align))
		return -EINVAL;
	len = ALIGN(len, max(PAGE_SIZE, huge && !file ? HUGE_PAGE_SIZE : PAGE_SIZE));
	if (!len)
		return -ENOMEM;
	if (pgoff + (len >> PAGE_SHIFT) < pgoff)
		return -EOVERFLOW;
	if (ctx->nr_vmas >= MAX_MAP_COUNT)
		return -ENOMEM;
	ret = ctx->ops->get_unmapped_area(ctx, addr, len, align, flags);
	if (ret < 0)
		return ret;
	addr = (unsigned long)ret;

	vm_flags = (prot & PROT_READ ? VM_READ : 0) | (prot & PROT_WRITE ? VM_WRITE : 0) |
		   (prot & PROT_EXEC ? VM_EXEC : 0) | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
	switch (flags & MAP_TYPE) {
	case MAP_SHARED_VALIDATE:
		if (!file)
			return -EINVAL;
		[[fallthrough]];
	case MAP_SHARED:
		vm_flags |= VM_SHARED | VM_MAYSHARE;
		break;
	case MAP_PRIVATE:
		break;
	default:
		return -EINVAL;
	}
	if (file && !file->f_op->mmap)
		return -ENODEV;

	rc = vma_reserve(ctx, 1);
	if (rc)
		return rc;
	vma = kzalloc_obj<struct vm_area_struct>();
	if (!vma)
		return -ENOMEM;
	// Goes first: the host's mmap(), too, would replace it.
	if (flags & MAP_FIXED)
		rc = unmap_range(ctx, addr, addr + len);
	if (ctx->ops->map) {
		real.huge = huge;
		real.align = align;
		ret = rc ? rc : ctx->ops->map(ctx, addr, len, prot, flags, real, file != nullptr);
		if (ret < 0) {
			kfree_obj(vma);
			return ret;
		}
		addr = (unsigned long)ret;
		// What the process has unmapped behind our back.
		rc = unmap_range(ctx, addr, addr + len, false);
	}
	if (!rc)
		rc = vma_reserve(ctx, 1);
	if (rc)
		goto err_free;

	vma->vm_start = addr;
	vma->vm_end = addr + len;
	vma->vm_mm = ctx->mm;
	vma->vm_flags = vm_flags | (huge ? VM_HUGETLB : 0);
	vma->vm_page_prot.pgprot = vm_flags & VM_ACCESS_FLAGS;
	vma->vm_pgoff = file ? pgoff : addr >> PAGE_SHIFT;
	vma->huge = huge && !file;
	vma->fragmented = shape.fragmented;
	vma->poisoned = shape.poisoned;
	if (file) {
		vma->vm_file = get_file(file);
		rc = file->f_op->mmap(file, vma);
		if (!rc && vma->memfd && ctx->ops->map_memfd)
			rc = ctx->ops->map_memfd(ctx, vma);
		if (rc) {
			unmap_page_range(ctx, addr, addr + len);
			fput(file);
			goto err_free;
		}
	}
	vma_link(ctx, vma);
	return (long)addr;

err_free:
	host_unmap(ctx, addr, len);
	kfree_obj(vma);
	return rc;
}

long vm_mmap_shape(struct file *file, unsigned long addr, unsigned long len, unsigned long prot,
		   unsigned long flags, unsigned long offset, const struct mapping_shape &shape)
{
	struct sim_mm *mm = to_sim_mm(current->mm);
	struct mm_context *ctx = mm->context;
	long ret;

	if (!PAGE_ALIGNED(offset) || !len)
		return -EINVAL;
	if (len > TASK_SIZE)
		return -ENOMEM;
	// Memory that is shared with nobody yet is a file that only mappings name. Compare
	// shmem_zero_setup().
	if (!file && (flags & MAP_TYPE) == MAP_SHARED && ctx->ops->has_tables) {
		struct mapping_shape real = shape;

		real.huge |= (flags & MAP_HUGETLB) != 0;
		len = ALIGN(len, real.huge ? HUGE_PAGE_SIZE : PAGE_SIZE);
		result<struct file *> shmem = memfd_create(len, real);

		if (!shmem)
			return shmem.error() == -EINVAL ? -ENOMEM : shmem.error();
		ret = vm_mmap_shape(*shmem, addr, len, prot, flags & ~MAP_HUGETLB, 0, real);
		fput(*shmem);
		return ret;
	}
	mmap_write_lock(mm);
	ret = do_mmap(ctx, file, addr, len, prot, flags, offset >> PAGE_SHIFT, shape);
	mmap_write_unlock(mm);
	if (ret >= 0 && (flags & MAP_POPULATE) && ctx->ops->has_tables) {
		mmap_read_lock(mm);
		struct vm_area_struct *vma = find_vma(ctx, (unsigned long)ret);

		// It may be another one by now, or one that starts behind.
		if (vma && vma->vm_start <= (unsigned long)ret)
			for (unsigned long a = (unsigned long)ret; a < vma->vm_end; a += PAGE_SIZE)
				if (fault_page(ctx, vma, a, false))
					break;
		mmap_read_unlock(mm);
	}
	return ret;
}

long vm_mmap(struct file *file, unsigned long addr, unsigned long len, unsigned long prot,
	     unsigned long flags, unsigned long offset)
{
	return vm_mmap_shape(file, addr, len, prot, flags, offset, {});
}

// Cuts the mappings at both ends of the range, which must have no hole: 0 or -ENOMEM, -EINVAL.
static int isolate_range(struct mm_context *ctx, unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma;
	unsigned long addr = start;
	int rc;

	while (addr < end) {
		vma = find_vma(ctx, addr);
		if (!vma || vma->vm_start > addr)
			return -ENOMEM;
		addr = vma->vm_end;
	}
	vma = find_vma(ctx, start);
	if (vma->vm_start < start) {
		rc = split_vma(ctx, vma, start);
		if (rc)
			return rc;
	}
	vma = find_vma(ctx, end - 1);
	return vma->vm_end > end ? split_vma(ctx, vma, end) : 0;
}

int vm_mprotect(unsigned long start, size_t len, unsigned long prot)
{
	struct sim_mm *mm = to_sim_mm(current->mm);
	struct mm_context *ctx = mm->context;
	const unsigned long access = (prot & PROT_READ ? VM_READ : 0) |
				     (prot & PROT_WRITE ? VM_WRITE : 0) |
				     (prot & PROT_EXEC ? VM_EXEC : 0);
	struct vm_area_struct *vma;
	unsigned long end;
	int rc;

	if (!PAGE_ALIGNED(start))
		return -EINVAL;
	if (!len)
		return 0;
	if (start > TASK_SIZE || len > TASK_SIZE - start)
		return -ENOMEM;
	end = start + PAGE_ALIGN(len);
	mmap_write_lock(mm);
	rc = isolate_range(ctx, start, end);
	for (unsigned long addr = start; !rc && addr < end; addr = vma->vm_end) {
		vma = find_vma(ctx, addr);
		if (access & ~(vma->vm_flags >> 4)) {
			rc = -EACCES;
			break;
		}
		vma->vm_flags = (vma->vm_flags & ~VM_ACCESS_FLAGS) | access;
		vma->vm_page_prot.pgprot = (vma->vm_page_prot.pgprot & ~VM_ACCESS_FLAGS) | access;
		const auto protect = [vma](std::atomic<u64> *pte, unsigned long) {
			u64 v = pte->load(std::memory_order_relaxed);

			pte->store((v & ~(PTE_READ | PTE_WRITE)) | vma_pte_flags(vma),
				   std::memory_order_release);
		};

		for_each_pte(ctx, vma->vm_start, vma->vm_end, protect);
		if (!vma->poisoned)
			host_protect(ctx, vma, prot);
	}
	mmap_write_unlock(mm);
	return rc;
}

int vm_poison(unsigned long start, size_t len)
{
	struct sim_mm *mm = to_sim_mm(current->mm);
	struct mm_context *ctx = mm->context;
	unsigned long end;
	int rc;

	if (!PAGE_ALIGNED(start))
		return -EINVAL;
	if (!len)
		return 0;
	if (start > TASK_SIZE || len > TASK_SIZE - start)
		return -ENOMEM;
	end = start + PAGE_ALIGN(len);
	mmap_write_lock(mm);
	rc = isolate_range(ctx, start, end);
	for (unsigned long addr = start; !rc && addr < end;) {
		struct vm_area_struct *vma = find_vma(ctx, addr);

		vma->poisoned = true;
		unmap_page_range(ctx, vma->vm_start, vma->vm_end);
		host_protect(ctx, vma, PROT_NONE);
		addr = vma->vm_end;
	}
	mmap_write_unlock(mm);
	return rc;
}

// ---- address spaces ----

static void mmap_write_lock_nested(struct sim_mm *mm, unsigned int subclass)
	LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h")
{
	down_write_nested(&mm->mmap_lock, subclass);
}

// A private page's copy, and for a huge mapping those of its 2M. Compare copy_page_range().
static int copy_private_page(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr,
			     const struct page *from)
{
	const unsigned int order = vma->huge ? HUGE_ORDER : 0;
	const unsigned long base = ALIGN_DOWN(addr, PAGE_SIZE << order);
	const unsigned long index = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
	std::atomic<u64> *pte = pte_alloc(ctx, base, true);
	struct page *page;

	if (!pte)
		return -ENOMEM;
	if (!pte->load(std::memory_order_relaxed)) {
		if (should_fail(FAULT_PAGE_ALLOC))
			return -ENOMEM;
		page = mm_alloc_frames(ctx->state, order, vma->fragmented, index);
		if (!page)
			return -ENOMEM;
		for (size_t i = 0; i != 1UL << order; i++)
			pte[i].store(page_to_phys(page + i) | PTE_PAGE | vma_pte_flags(vma),
				     std::memory_order_release);
	}
	pte += (addr - base) >> PAGE_SHIFT;
	page = pte_page(ctx->state, pte->load(std::memory_order_relaxed));
	copy_shared_memory(page->vaddr, from->vaddr, PAGE_SIZE);
	return 0;
}

static int copy_vma_pages(struct mm_context *ctx, struct vm_area_struct *vma,
			  struct mm_context *from)
{
	int rc = 0;

	for_each_pte(
		from, vma->vm_start, vma->vm_end, [&](std::atomic<u64> *old, unsigned long addr) {
			const u64 v = old->load(std::memory_order_relaxed);
			std::atomic<u64> *pte;

			// What is shared comes from its file again.
			if (rc || (v & PTE_PAGE && vma->vm_flags & VM_SHARED))
				return;
			if (v & PTE_PAGE) {
				rc = copy_private_page(ctx, vma, addr, pte_page(from->state, v));
				return;
			}
			pte = pte_alloc(ctx, addr, true);
			if (pte)
				pte->store(v, std::memory_order_release);
			else
				rc = -ENOMEM;
		});
	return rc;
}

int dup_mappings(struct mm_context *to, struct mm_context *from)
{
	int rc = 0;

	mmap_read_lock(from->mm);
	mmap_write_lock_nested(to->mm, 1);
	for (size_t i = 0; i != from->nr_vmas; i++) {
		struct vm_area_struct *vma;

		rc = vma_reserve(to, 1);
		if (rc)
			break;
		vma = kzalloc_obj<struct vm_area_struct>(*from->vmas[i]);
		if (!vma) {
			rc = -ENOMEM;
			break;
		}
		vma->vm_mm = to->mm;
		if (vma->vm_file)
			get_file(vma->vm_file);
		vma_link(to, vma);
		if (vma->vm_ops && vma->vm_ops->open)
			vma->vm_ops->open(vma);
		rc = copy_vma_pages(to, vma, from);
		if (rc)
			break;
	}
	mmap_write_unlock(to->mm);
	mmap_read_unlock(from->mm);
	return rc;
}

bool host_has_membarrier()
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) > 0;
}

void host_membarrier()
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ||
	    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static struct mm_struct *mm_alloc(struct kernel *kernel, const struct mm_space_ops *ops)
{
	struct mm_state *state = mm_state_of(kernel);
	struct sim_mm *mm = new (std::nothrow) struct sim_mm;
	struct mm_context *ctx = new (std::nothrow) struct mm_context;

	if (!mm || !ctx) {
		delete mm;
		delete ctx;
		return nullptr;
	}
	mm->kernel = kernel;
	mm->user_ops = ops->user_ops;
	mm->context = ctx;
	ctx->mm = mm;
	ctx->state = state;
	ctx->ops = ops;
	// Without the barrier mm_add_task() could not tell that a copy is over.
	ctx->multi = ctx->settled = !host_has_membarrier();
	state->nr_mms.fetch_add(1, std::memory_order_relaxed);
	raw_guard g(&state->lock);
	ctx->next = state->contexts;
	state->contexts = ctx;
	return mm;
}

struct mm_struct *arena_mm_alloc(struct kernel *kernel)
{
	return mm_alloc(kernel, &arena_space_ops);
}

struct mm_struct *host_mm_alloc(struct kernel *kernel)
{
	return mm_alloc(kernel, &host_space_ops);
}

struct mm_struct *__remote_mm_alloc(struct kernel *kernel, std::shared_ptr<struct remote_mm> remote)
{
	struct mm_struct *mm = mm_alloc(kernel, &remote_space_ops);

	if (mm)
		to_sim_mm(mm)->context->remote = std::move(remote);
	return mm;
}

result<struct mm_struct *> dup_mm(struct mm_struct *oldmm)
{
	struct mm_context *old = to_sim_mm(oldmm)->context;
	struct mm_struct *mm;
	int rc;

	if (WARN_ON(!old->ops->has_tables))
		return -EINVAL;
	mm = should_fail(FAULT_SLAB) ? nullptr : arena_mm_alloc(oldmm->kernel);
	if (!mm)
		return -ENOMEM;
	rc = dup_mappings(to_sim_mm(mm)->context, old);
	if (rc) {
		mmput(mm);
		return rc;
	}
	return mm;
}

void mm_add_task(struct mm_struct *mm)
{
	struct mm_context *ctx = to_sim_mm(mm)->context;

	if (ctx->settled.load(std::memory_order_acquire))
		return;
	// Two tasks may come at once: each waits for itself, the other may not be through yet.
	ctx->multi.store(true);
	// After it the first task sees @multi before its next copy, or we see that it is inside
	// one.
	host_membarrier();
	while (ctx->in_copy.load(std::memory_order_acquire))
		;
	ctx->settled.store(true, std::memory_order_release);
}

void exit_mmap(struct mm_context *ctx)
{
	mmap_write_lock(ctx->mm);
	while (ctx->nr_vmas) {
		struct vm_area_struct *vma = ctx->vmas[ctx->nr_vmas - 1];

		vma_unlink(ctx, vma);
		unmap_page_range(ctx, vma->vm_start, vma->vm_end);
		host_unmap(ctx, vma->vm_start, vma->vm_end - vma->vm_start);
		remove_vma(vma);
	}
	mmap_write_unlock(ctx->mm);
}

void mmgrab(struct mm_struct *mm)
{
	to_sim_mm(mm)->mm_count.fetch_add(1, std::memory_order_relaxed);
}

static void mm_free(struct sim_mm *mm)
{
	struct mm_context *ctx = mm->context;
	struct mm_state *state = ctx->state;

	WARN_ON(mm->pinned_vm.load());
	{
		raw_guard g(&state->lock);
		struct mm_context **p = &state->contexts;

		while (*p != ctx)
			p = &(*p)->next;
		*p = ctx->next;
	}
	for (std::atomic<struct pmd_table *> &pgd : ctx->pgd) {
		struct pmd_table *pmd = pgd.load(std::memory_order_relaxed);

		if (!pmd)
			continue;
		for (std::atomic<struct pte_table *> &entry : pmd->pmd)
			delete entry.load(std::memory_order_relaxed);
		delete pmd;
	}
	free(ctx->vmas);
	delete ctx;
	delete mm;
	state->nr_mms.fetch_sub(1, std::memory_order_relaxed);
}

void mmdrop(struct mm_struct *mm)
{
	if (to_sim_mm(mm)->mm_count.fetch_sub(1, std::memory_order_acq_rel) == 1)
		mm_free(to_sim_mm(mm));
}

void mmget(struct mm_struct *mm)
{
	to_sim_mm(mm)->mm_users.fetch_add(1, std::memory_order_relaxed);
}

bool mmget_not_zero(struct mm_struct *mm)
{
	std::atomic<int> *users = &to_sim_mm(mm)->mm_users;
	int old = users->load(std::memory_order_relaxed);

	sched_point(SCHED_AT_REF, mm);
	do {
		if (!old)
			return false;
	} while (!users->compare_exchange_weak(old, old + 1, std::memory_order_acquire,
					       std::memory_order_relaxed));
	return true;
}

void mmput(struct mm_struct *mm)
{
	might_sleep();
	sched_point(SCHED_AT_REF, mm);
	if (to_sim_mm(mm)->mm_users.fetch_sub(1, std::memory_order_acq_rel) != 1)
		return;
	exit_mmap(to_sim_mm(mm)->context);
	mmdrop(mm);
}

void mmap_read_lock(struct mm_struct *mm)
	LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h")
{
	down_read(&to_sim_mm(mm)->mmap_lock);
}

void mmap_read_unlock(struct mm_struct *mm)
	LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h")
{
	up_read(&to_sim_mm(mm)->mmap_lock);
}

void mmap_write_lock(struct mm_struct *mm)
	LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h")
{
	down_write(&to_sim_mm(mm)->mmap_lock);
}

void mmap_write_unlock(struct mm_struct *mm)
	LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h")
{
	up_write(&to_sim_mm(mm)->mmap_lock);
}

void mmap_assert_locked(struct mm_struct *mm)
	LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h")
{
	lockdep_assert_held(&to_sim_mm(mm)->mmap_lock);
}

kthread_mm_scope::kthread_mm_scope(struct mm_struct *mm) : old_mm(current->mm)
{
	if (mm == old_mm)
		return;
	mm_add_task(mm);
	current->mm = mm;
}

kthread_mm_scope::~kthread_mm_scope()
{
	current->mm = old_mm;
}
