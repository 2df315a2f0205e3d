// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors mm/gup.c, Linux v7.2. CUSTOMISED: pages of order 0 only, and the mmap lock is never
// dropped on the way. MIRRORED: what may be pinned, partial counts, which error wins.
#include "core/mm/internal.h"
#include "core/mm/remote.h"

// Compare check_vma_flags().
static int check_vma_flags(const struct vm_area_struct *vma, unsigned int gup_flags)
{
	if (vma->vm_flags & (VM_IO | VM_PFNMAP))
		return -EFAULT;
	if (gup_flags & FOLL_WRITE) {
		if (!(vma->vm_flags & VM_WRITE)) {
			if (!(gup_flags & FOLL_FORCE) || (vma->vm_flags & VM_HUGETLB))
				return -EFAULT;
			// Only where a write would make a private copy.
			if ((vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) != VM_MAYWRITE)
				return -EFAULT;
		}
	} else if (!(vma->vm_flags & VM_READ)) {
		if (!(gup_flags & FOLL_FORCE) || !(vma->vm_flags & VM_MAYREAD))
			return -EFAULT;
	}
	return 0;
}

// A reference on what @addr maps now with at least @need, or NULL.
static struct page *gup_fast_page(struct mm_context *ctx, unsigned long addr, u64 need, int ref)
{
	std::atomic<u64> *pte = pte_lookup(ctx, addr);
	struct page *page;
	u64 v;

	if (!pte)
		return nullptr;
	v = pte->load(std::memory_order_acquire);
	if ((v & need) != need)
		return nullptr;
	page = pte_page(ctx->state, v);
	if (!page_ref_add_unless_free(page, ref))
		return nullptr;
	if (unlikely(pte->load(std::memory_order_acquire) != v)) {
		page_ref_sub(page, ref);
		return nullptr;
	}
	return page;
}

result<struct page *> arena_get_page(struct mm_context *ctx, struct vm_area_struct *vma,
				     unsigned long addr, bool, int ref, struct remote_vma *)
{
	struct page *page;
	int rc;

	if (!vma)
		return -EFAULT;
	rc = fault_page(ctx, vma, addr, true);
	if (rc)
		return rc;
	// Present, and the lock keeps it so; only the count can refuse.
	page = gup_fast_page(ctx, addr, PTE_PAGE, ref);
	if (!page)
		return -ENOMEM;
	return page;
}

// One page, with the mmap lock held.
static result<struct page *> gup_slow_page(struct mm_context *ctx, unsigned long addr,
					   unsigned int gup_flags, int ref, struct remote_vma *seen)
{
	struct vm_area_struct *vma = find_vma(ctx, addr);

	if (vma && vma->vm_start > addr)
		vma = nullptr;
	if (vma) {
		int rc = check_vma_flags(vma, gup_flags);

		if (rc)
			return rc;
	}
	return ctx->ops->get_page(ctx, vma, addr, gup_flags & FOLL_WRITE, ref, seen);
}

// @locked: the mmap lock is held; else it is taken when the page tables do not have it all.
static long gup_range(struct mm_context *ctx, unsigned long start, unsigned long nr_pages,
		      unsigned int gup_flags, struct page **pages, bool locked)
{
	const u64 need = PTE_PAGE | (gup_flags & FOLL_WRITE ? PTE_WRITE : PTE_READ);
	const int ref = gup_flags & FOLL_PIN ? GUP_PIN_COUNTING_BIAS : 1;
	struct remote_vma seen; // asked for once, not for each page
	unsigned long n = 0;
	bool unlock = false;
	int rc = 0;

	if (WARN_ON(!(gup_flags & FOLL_PIN) == !(gup_flags & FOLL_GET)))
		return -EINVAL;
	start &= PAGE_MASK;
	sched_point(SCHED_AT_REF, pages);
	while (n != nr_pages) {
		if (!locked) {
			struct page *page = gup_fast_page(ctx, start + n * PAGE_SIZE, need, ref);

			if (page) {
				pages[n++] = page;
				continue;
			}
			mmap_read_lock(ctx->mm);
			locked = unlock = true;
		}
		result<struct page *> page =
			gup_slow_page(ctx, start + n * PAGE_SIZE, gup_flags, ref, &seen);

		if (!page) {
			rc = page.error();
			break;
		}
		pages[n++] = *page;
	}
	if (unlock)
		mmap_read_unlock(ctx->mm);
	if (n || !rc)
		return (long)n;
	if (rc == -EHWPOISON && !(gup_flags & FOLL_HWPOISON))
		return -EFAULT;
	return rc;
}

long pin_user_pages_remote(struct mm_struct *mm, unsigned long start, unsigned long nr_pages,
			   unsigned int gup_flags, struct page **pages, int *)
{
	mmap_assert_locked(mm);
	return gup_range(to_sim_mm(mm)->context, start, nr_pages, gup_flags | FOLL_PIN, pages,
			 true);
}

long get_user_pages_remote(struct mm_struct *mm, unsigned long start, unsigned long nr_pages,
			   unsigned int gup_flags, struct page **pages, int *)
{
	mmap_assert_locked(mm);
	return gup_range(to_sim_mm(mm)->context, start, nr_pages, gup_flags | FOLL_GET, pages,
			 true);
}

static int gup_fast(unsigned long start, int nr_pages, unsigned int gup_flags, struct page **pages)
{
	unsigned long end;

	if (nr_pages <= 0)
		return 0;
	start &= PAGE_MASK;
	if (check_add_overflow(start, (unsigned long)nr_pages << PAGE_SHIFT, &end))
		return -EOVERFLOW;
	if (end > TASK_SIZE)
		return -EFAULT;
	return (int)gup_range(to_sim_mm(current->mm)->context, start, (unsigned long)nr_pages,
			      gup_flags, pages, false);
}

int pin_user_pages_fast(unsigned long start, int nr_pages, unsigned int gup_flags,
			struct page **pages)
{
	return gup_fast(start, nr_pages, gup_flags | FOLL_PIN, pages);
}

int get_user_pages_fast(unsigned long start, int nr_pages, unsigned int gup_flags,
			struct page **pages)
{
	return gup_fast(start, nr_pages, gup_flags | FOLL_GET, pages);
}

void unpin_user_page(struct page *page)
{
	page_ref_sub(page, GUP_PIN_COUNTING_BIAS);
}

void unpin_user_pages_dirty_lock(struct page **pages, unsigned long npages, bool make_dirty)
{
	sched_point(SCHED_AT_REF, pages);
	for (unsigned long i = 0; i != npages; i++) {
		if (make_dirty)
			set_page_dirty(pages[i]);
		page_ref_sub(pages[i], GUP_PIN_COUNTING_BIAS);
	}
}

void unpin_user_pages(struct page **pages, unsigned long npages)
{
	unpin_user_pages_dirty_lock(pages, npages, false);
}

void unpin_user_page_range_dirty_lock(struct page *page, unsigned long npages, bool make_dirty)
{
	struct mm_state *state;
	unsigned long pfn;

	if (!npages)
		return;
	sched_point(SCHED_AT_REF, page);
	state = page->state;
	pfn = page_to_pfn(page);
	for (unsigned long i = 0; i != npages; i++) {
		// Host pages follow each other in pfns, not in memory.
		struct page *p = pfn < HOST_PFN_BASE ? page + i : host_pfn_to_page(state, pfn + i);

		if (WARN_ON(!p))
			continue;
		if (make_dirty)
			set_page_dirty(p);
		page_ref_sub(p, GUP_PIN_COUNTING_BIAS);
	}
}

int page_add_pin(struct page *page)
{
	if (!page_ref_add_unless_free(page, GUP_PIN_COUNTING_BIAS))
		return -ENOMEM;
	return 0;
}

int access_remote_vm(struct mm_struct *mm, unsigned long addr, void *buf, int len,
		     unsigned int gup_flags)
{
	u8 *p = static_cast<u8 *>(buf);
	int left = len;

	mmap_read_lock(mm);
	while (left > 0) {
		size_t offset = offset_in_page(addr);
		size_t n = min((size_t)left, PAGE_SIZE - offset);
		struct page *page;

		if (get_user_pages_remote(mm, addr, 1, gup_flags, &page, nullptr) != 1)
			break;
		if (gup_flags & FOLL_WRITE) {
			memcpy_to_page(page, offset, p, n);
			set_page_dirty(page);
		} else {
			memcpy_from_page(p, page, offset, n);
		}
		put_page(page);
		addr += n;
		p += n;
		left -= (int)n;
	}
	mmap_read_unlock(mm);
	return len - left;
}
