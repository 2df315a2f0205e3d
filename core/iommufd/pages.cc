// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors drivers/iommu/iommufd/pages.c as of Linux v7.2.
 *
 * Differs: a batch is of one iopt_pages, which says whether it is memory or MMIO, so that PFNs of a
 * dma-buf that are read back from a domain are MMIO as well; no folios, since pages are of order 0:
 * file pages come as an array of pages like user pages; a failed map unmaps the other domains
 * before it unpins; returning pages to an address space that is gone always succeeds, so that
 * last_npinned never goes stale.
 *
 * iopt_pages is where PFNs live and move. A page of it is in up to three places: in the xarray
 * pinned_pfns (while an in-kernel access covers it), in the domains of the areas that cover it, and
 * where it comes from, the user's memory or a file. It is pinned once, by whoever comes first, and
 * unpinned by whoever goes last; which that is the two interval trees tell. What is in a domain
 * only is read back from there with iommu_iova_to_phys().
 *
 * Taking a domain or an access away never fails, so it needs no memory: batches fall back to the
 * stack, and what an access holds is in the xarray even if a domain holds it as well.
 */
#include <climits>

#include "core/iommufd/double_span.h"
#include "core/iommufd/io_pagetable.h"
#include "core/iommufd/iommufd_private.h"
#include "core/linux/atomic.h"
#include "core/linux/bug.h"
#include "core/linux/capability.h"
#include "core/linux/err.h"
#include "core/linux/file.h"
#include "core/linux/sched.h"
#include "core/linux/slab.h"
#include "core/mm/memfd.h"
#include "core/mm/mm.h"

#define BATCH_BACKUP_SIZE 32

/* The most bytes that one batch or page list may take. */
static size_t temp_memory_limit(void)
{
	const struct iommufd_test_ops *hooks = iommufd_test_hooks();
	const size_t limit = hooks ? READ_ONCE(hooks->memory_limit) : 0;

	return limit ? limit : 65536;
}

/*
 * Memory for a batch: *size bytes are wanted, and a fraction of that makes it slower, not
 * impossible. *size is what it got. With a backup, which is on the stack, it cannot fail.
 */
static void *temp_kmalloc(size_t *size, void *backup, size_t backup_len)
{
	void *res;

	if (WARN_ON(*size == 0))
		return nullptr;

	if (*size < backup_len)
		return backup;

	if (!backup && iommufd_should_fail())
		return nullptr;

	*size = min(*size, temp_memory_limit());
	res = kmalloc(*size, GFP_KERNEL | __GFP_NOWARN);
	if (res)
		return res;
	*size = PAGE_SIZE;
	res = kmalloc(*size, GFP_KERNEL | (backup ? __GFP_NOWARN : 0));
	if (res || !backup)
		return res;
	*size = backup_len;
	return backup;
}

void interval_tree_double_span_iter_update(struct interval_tree_double_span_iter *iter)
{
	unsigned long hole_end = ULONG_MAX;
	int tree = 0;

	for (const struct interval_tree_span_iter &span : iter->spans) {
		tree++;
		if (interval_tree_span_iter_done(&span)) {
			iter->is_used = -1;
			return;
		}
		if (!span.is_hole) {
			/* A used span ends where a tree before it has something to say */
			iter->is_used = tree;
			iter->start_used = span.start_used;
			iter->last_used = min(span.last_used, hole_end);
			return;
		}
		hole_end = min(hole_end, span.last_hole);
	}

	iter->is_used = 0;
	iter->start_hole = iter->spans[0].start_hole;
	iter->last_hole = hole_end;
}

void interval_tree_double_span_iter_first(struct interval_tree_double_span_iter *iter,
					  struct rb_root_cached *itree1,
					  struct rb_root_cached *itree2, unsigned long first_index,
					  unsigned long last_index)
{
	iter->itrees[0] = itree1;
	iter->itrees[1] = itree2;
	for (size_t i = 0; i != ARRAY_SIZE(iter->spans); i++)
		interval_tree_span_iter_first(&iter->spans[i], iter->itrees[i], first_index,
					      last_index);
	interval_tree_double_span_iter_update(iter);
}

void interval_tree_double_span_iter_next(struct interval_tree_double_span_iter *iter)
{
	if (iter->is_used == -1 || iter->last_hole == iter->spans[0].last_index) {
		iter->is_used = -1;
		return;
	}

	for (size_t i = 0; i != ARRAY_SIZE(iter->spans); i++)
		interval_tree_span_iter_advance(&iter->spans[i], iter->itrees[i],
						iter->last_hole + 1);
	interval_tree_double_span_iter_update(iter);
}

static void iopt_pages_add_npinned(struct iopt_pages *pages, size_t npages)
	__must_hold(pages->mutex)
{
	bool overflow = check_add_overflow(pages->npinned, npages, &pages->npinned);

	WARN_ON(overflow || pages->npinned > pages->npages);
}

static void iopt_pages_sub_npinned(struct iopt_pages *pages, size_t npages)
	__must_hold(pages->mutex)
{
	bool overflow = check_sub_overflow(pages->npinned, npages, &pages->npinned);

	WARN_ON(overflow || pages->npinned > pages->npages);
}

static void iopt_pages_err_unpin(struct iopt_pages *pages, unsigned long start_index,
				 unsigned long last_index, struct page **page_list)
	__must_hold(pages->mutex)
{
	unsigned long npages = last_index - start_index + 1;

	unpin_user_pages(page_list, npages);
	iopt_pages_sub_npinned(pages, npages);
}

/* How many pages of the area come before the one with this index. */
static unsigned long iopt_area_nth_page(const struct iopt_area *area, unsigned long index)
{
	WARN_ON(index < iopt_area_index(area) || index > iopt_area_last_index(area));
	return index - iopt_area_index(area);
}

/* The IOVA where the page with this index begins; the area may begin later in its first page. */
static unsigned long iopt_area_index_to_iova(const struct iopt_area *area, unsigned long index)
{
	const unsigned long nth = iopt_area_nth_page(area, index);

	return iopt_area_iova(area) + (nth ? nth * PAGE_SIZE - area->page_offset : 0);
}

/* The last IOVA of the page; the area may end earlier in its last page. */
static unsigned long iopt_area_index_to_iova_last(const struct iopt_area *area, unsigned long index)
{
	const unsigned long nth = iopt_area_nth_page(area, index);

	if (index == iopt_area_last_index(area))
		return iopt_area_last_iova(area);
	return iopt_area_iova(area) - area->page_offset + (nth + 1) * PAGE_SIZE - 1;
}

/* Where the area begins in the page with this index: only in its first page not at 0. */
static unsigned int iopt_area_offset_in_page(const struct iopt_area *area, unsigned long index)
{
	return index == iopt_area_index(area) ? area->page_offset : 0;
}

static void iommu_unmap_nofail(struct iommu_domain *domain, unsigned long iova, size_t size)
{
	/* Less than asked for: we did not ask for what we mapped, or the driver's unmap fails,
	 * which it must not */
	WARN_ON(iommu_unmap(domain, iova, size) != size);
}

static void iopt_area_unmap_domain_range(struct iopt_area *area, struct iommu_domain *domain,
					 unsigned long start_index, unsigned long last_index)
{
	unsigned long start_iova = iopt_area_index_to_iova(area, start_index);

	iommu_unmap_nofail(domain, start_iova,
			   iopt_area_index_to_iova_last(area, last_index) - start_iova + 1);
}

static struct iopt_area *iopt_pages_find_domain_area(struct iopt_pages *pages, unsigned long index)
	__must_hold(pages->mutex)
{
	struct interval_tree_node *node =
		interval_tree_iter_first(&pages->domains_itree, index, index);

	if (!node)
		return nullptr;
	return container_of(node, struct iopt_area, pages_node);
}

enum batch_kind : u8 {
	BATCH_CPU_MEMORY = 0,
	BATCH_MMIO, /* not cached, and no struct page need be there */
};

/*
 * A list of PFNs on their way from one place to another, in runs of consecutive ones: run i is
 * pfns[i] to pfns[i] + npfns[i] - 1. The longer the runs, the fewer calls of the driver. Both
 * arrays are in one allocation.
 */
struct pfn_batch {
	unsigned long *pfns = nullptr;
	u32 *npfns = nullptr;
	unsigned int array_size = 0;
	unsigned int end = 0;
	unsigned long total_pfns = 0;
	enum batch_kind kind = BATCH_CPU_MEMORY;
};
#define MAX_NPFNS UINT32_MAX

static void batch_clear(struct pfn_batch *batch)
{
	batch->total_pfns = 0;
	batch->end = 0;
	batch->pfns[0] = 0;
	batch->npfns[0] = 0;
}

/* Drops all but the last keep_pfns, which are part of the last run and become the first. */
static void batch_clear_carry(struct pfn_batch *batch, unsigned long keep_pfns)
{
	unsigned int last;

	if (!keep_pfns) {
		batch_clear(batch);
		return;
	}
	if (WARN_ON(!batch->end || batch->npfns[batch->end - 1] < keep_pfns))
		return;

	/* last may be 0: read both before either is written */
	last = batch->end - 1;
	batch->pfns[0] = batch->pfns[last] + (batch->npfns[last] - keep_pfns);
	batch->npfns[0] = (u32)keep_pfns;
	batch->end = 1;
	batch->total_pfns = keep_pfns;
}

/* Drops the first skip_pfns of what was carried over. */
static void batch_skip_carry(struct pfn_batch *batch, unsigned long skip_pfns)
{
	if (!batch->total_pfns)
		return;
	WARN_ON(batch->total_pfns != batch->npfns[0]);
	if (skip_pfns >= batch->total_pfns) {
		batch_clear(batch);
		return;
	}
	batch->pfns[0] += skip_pfns;
	batch->npfns[0] -= (u32)skip_pfns;
	batch->total_pfns -= skip_pfns;
}

static int __batch_init(struct pfn_batch *batch, size_t max_pages, void *backup, size_t backup_len)
{
	const size_t elmsz = sizeof(*batch->pfns) + sizeof(*batch->npfns);
	size_t size = max_pages * elmsz;

	batch->pfns = static_cast<unsigned long *>(temp_kmalloc(&size, backup, backup_len));
	if (!batch->pfns)
		return -ENOMEM;
	if (WARN_ON(size < elmsz)) {
		if (batch->pfns != backup)
			kfree(batch->pfns);
		batch->pfns = nullptr;
		return -EINVAL;
	}
	batch->array_size = (unsigned int)(size / elmsz);
	batch->npfns = reinterpret_cast<u32 *>(batch->pfns + batch->array_size);
	batch_clear(batch);
	return 0;
}

static int batch_init(struct pfn_batch *batch, size_t max_pages)
{
	return __batch_init(batch, max_pages, nullptr, 0);
}

static void batch_init_backup(struct pfn_batch *batch, size_t max_pages, void *backup,
			      size_t backup_len)
{
	WARN_ON(__batch_init(batch, max_pages, backup, backup_len));
}

static void batch_destroy(struct pfn_batch *batch, void *backup)
{
	if (batch->pfns != backup)
		kfree(batch->pfns);
}

/* Adds nr consecutive PFNs. False when it is full: none was added. */
static inline bool batch_add_pfn_num(struct pfn_batch *batch, unsigned long pfn, u32 nr)
{
	const unsigned int last = batch->end - 1; /* of the runs so far, if there is one */
	const bool follows = batch->end && batch->pfns[last] + batch->npfns[last] == pfn &&
			     batch->npfns[last] <= MAX_NPFNS - nr;

	if (follows) {
		batch->npfns[last] += nr;
	} else {
		if (batch->end >= batch->array_size)
			return false;
		batch->npfns[batch->end] = nr;
		batch->pfns[batch->end++] = pfn;
	}
	batch->total_pfns += nr;
	return true;
}

static inline bool batch_add_pfn(struct pfn_batch *batch, unsigned long pfn)
{
	return batch_add_pfn_num(batch, pfn, 1);
}

/* Calls take(pfn) for what domain has for [start_index, last_index], until it returns false. */
template <typename Take>
static inline void for_each_pfn_of_domain(struct iommu_domain *domain, const struct iopt_area *area,
					  unsigned long start_index, unsigned long last_index,
					  Take take)
{
	unsigned long iova = iopt_area_index_to_iova(area, start_index);
	unsigned int into_page = iopt_area_offset_in_page(area, start_index);

	for (unsigned long index = start_index; index <= last_index; index++) {
		/* One walk of the table for each page: a driver has no way to say how far a
		 * translation reaches */
		if (!take(PHYS_PFN(iommu_iova_to_phys(domain, iova) - into_page)))
			return;
		iova += PAGE_SIZE - into_page;
		into_page = 0;
	}
}

/* Adds the PFNs that domain has for [start_index, last_index], until it is full: see total_pfns. */
static void batch_from_domain(struct pfn_batch *batch, struct iommu_domain *domain,
			      struct iopt_area *area, unsigned long start_index,
			      unsigned long last_index)
{
	for_each_pfn_of_domain(domain, area, start_index, last_index,
			       [batch](unsigned long pfn) { return batch_add_pfn(batch, pfn); });
}

static struct page **raw_pages_from_domain(struct iommu_domain *domain, struct iopt_area *area,
					   unsigned long start_index, unsigned long last_index,
					   struct page **out_pages)
{
	for_each_pfn_of_domain(domain, area, start_index, last_index,
			       [&out_pages](unsigned long pfn) {
				       *out_pages++ = pfn_to_page(pfn);
				       return true;
			       });
	return out_pages;
}

/* Adds PFNs of the domain as long as they belong to the last run. */
static void batch_from_domain_continue(struct pfn_batch *batch, struct iommu_domain *domain,
				       struct iopt_area *area, unsigned long start_index,
				       unsigned long last_index)
{
	unsigned int array_size = batch->array_size;

	batch->array_size = batch->end;
	batch_from_domain(batch, domain, area, start_index, last_index);
	batch->array_size = array_size;
}

/* What a function has mapped, in order from start: unmapped when it returns without keep(). */
struct mapped_so_far {
	mapped_so_far(struct iommu_domain *to, unsigned long iova) : domain(to), start(iova) {}
	mapped_so_far(const mapped_so_far &) = delete;
	mapped_so_far &operator=(const mapped_so_far &) = delete;
	~mapped_so_far()
	{
		if (length)
			iommu_unmap_nofail(domain, start, length);
	}

	void keep() { length = 0; }

	struct iommu_domain *const domain;
	const unsigned long start;
	unsigned long length = 0;
};

/*
 * Maps a run in PAGE_SIZE pieces. With disable_large_pages, which is VFIO's way, an area may be cut
 * anywhere after it is mapped and one half unmapped: what was one map must be good for two unmaps.
 */
static int batch_iommu_map_small(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
				 size_t size, int prot)
{
	struct mapped_so_far mapped(domain, iova);

	WARN_ON((paddr | iova | size) % PAGE_SIZE);

	for (; mapped.length < size; mapped.length += PAGE_SIZE) {
		int rc = iommu_map(domain, iova + mapped.length, paddr + mapped.length, PAGE_SIZE,
				   prot, GFP_KERNEL_ACCOUNT);
		if (rc)
			return rc;
	}
	mapped.keep();
	return 0;
}

/* Maps the whole batch, which begins with start_index, or nothing. */
static int batch_to_domain(struct pfn_batch *batch, struct iommu_domain *domain,
			   struct iopt_area *area, unsigned long start_index)
{
	const bool in_small_pages = area->iopt->disable_large_pages;
	const unsigned long area_last = iopt_area_last_iova(area);
	struct mapped_so_far mapped(domain, iopt_area_index_to_iova(area, start_index));
	unsigned int into_page = iopt_area_offset_in_page(area, start_index);
	int prot = area->iommu_prot;

	if (batch->kind == BATCH_MMIO)
		prot = (prot & ~IOMMU_CACHE) | IOMMU_MMIO;

	for (unsigned int run = 0; run < batch->end; run++) {
		const unsigned long iova = mapped.start + mapped.length;
		const phys_addr_t paddr = PFN_PHYS(batch->pfns[run]) + into_page;
		/* The area may end inside the last page, and at the very top of the space:
		 * no 'end' here */
		unsigned long run_last = iova + (batch->npfns[run] * PAGE_SIZE - into_page - 1);

		if (run_last > area_last || run_last < iova)
			run_last = area_last;

		const size_t length = run_last - iova + 1;
		int rc = in_small_pages
				 ? batch_iommu_map_small(domain, iova, paddr, length, prot)
				 : iommu_map(domain, iova, paddr, length, prot, GFP_KERNEL_ACCOUNT);

		if (rc)
			return rc;
		mapped.length += length;
		into_page = 0;
	}
	mapped.keep();
	return 0;
}

/* All of [start_index, last_index] is in the xarray. Stops when the batch is full. */
static void batch_from_xarray(struct pfn_batch *batch, struct xarray *xa, unsigned long start_index,
			      unsigned long last_index)
{
	xa_guard guard(xa);

	for (; start_index <= last_index; start_index++) {
		void *entry = xa_load(xa, start_index);

		WARN_ON(!xa_is_value(entry));
		if (!batch_add_pfn(batch, xa_to_value(entry)))
			return;
	}
}

static void batch_from_xarray_clear(struct pfn_batch *batch, struct xarray *xa,
				    unsigned long start_index, unsigned long last_index)
{
	xa_guard guard(xa);

	for (; start_index <= last_index; start_index++) {
		void *entry = xa_load(xa, start_index);

		WARN_ON(!xa_is_value(entry));
		if (!batch_add_pfn(batch, xa_to_value(entry)))
			return;
		__xa_erase(xa, start_index);
	}
}

static void clear_xarray(struct xarray *xa, unsigned long start_index, unsigned long last_index)
{
	xa_guard guard(xa);

	for (; start_index <= last_index; start_index++)
		__xa_erase(xa, start_index);
}

/* Stores the pages, or on failure none of them. */
static int pages_to_xarray(struct xarray *xa, unsigned long start_index, unsigned long last_index,
			   struct page **pages)
{
	unsigned long half_index = start_index + (last_index - start_index + 1) / 2;
	unsigned long index;
	void *old;
	int rc;

	{
		xa_guard guard(xa);

		for (index = start_index; index <= last_index; index++) {
			if (index == half_index && iommufd_should_fail()) {
				rc = -EINVAL;
				break;
			}

			old = __xa_store(xa, index, xa_mk_value(page_to_pfn(*pages++)),
					 GFP_KERNEL_ACCOUNT);
			rc = xa_err(old);
			if (rc)
				break;
			WARN_ON(old);
		}
	}
	if (index > last_index)
		return 0;
	if (index != start_index)
		clear_xarray(xa, start_index, index - 1);
	return rc;
}

static void batch_from_pages(struct pfn_batch *batch, struct page **pages, size_t npages)
{
	for (struct page **end = pages + npages; pages != end; pages++)
		if (!batch_add_pfn(batch, page_to_pfn(*pages)))
			break;
}

/* Unpins npages pages of the batch after the first first_page_off. */
static void batch_unpin(struct pfn_batch *batch, struct iopt_pages *pages,
			unsigned long first_page_off, size_t npages) __must_hold(pages->mutex)
{
	unsigned int run = 0;

	for (; first_page_off && first_page_off >= batch->npfns[run]; run++)
		first_page_off -= batch->npfns[run];

	for (; npages; run++) {
		size_t count = min(npages, batch->npfns[run] - first_page_off);

		unpin_user_page_range_dirty_lock(pfn_to_page(batch->pfns[run] + first_page_off),
						 count, pages->writable);
		iopt_pages_sub_npinned(pages, count);
		npages -= count;
		first_page_off = 0;
	}
}

static void copy_data_page(struct page *page, void *data, unsigned long offset, size_t length,
			   unsigned int flags)
{
	if (flags & IOMMUFD_ACCESS_RW_WRITE) {
		memcpy_to_page(page, offset, data, length);
		set_page_dirty(page);
	} else {
		memcpy_from_page(data, page, offset, length);
	}
}

/* Copies up to length bytes, as many as the batch has from offset in its first page.
 * Returns how many. */
static unsigned long batch_rw(struct pfn_batch *batch, char *data, unsigned long offset,
			      unsigned long length, unsigned int flags)
{
	unsigned long copied = 0;

	for (unsigned int run = 0; run < batch->end; run++) {
		for (u32 i = 0; i < batch->npfns[run] && copied < length; i++) {
			unsigned long bytes = min(length - copied, PAGE_SIZE - offset);

			copy_data_page(pfn_to_page(batch->pfns[run] + i), data + copied, offset,
				       bytes, flags);
			copied += bytes;
			offset = 0;
		}
	}
	return copied;
}

/* The part of a pfn_reader that pins what is not pinned yet. */
struct pfn_reader_user {
	/* Pinned pages, of which [upages_start, upages_end) are the indexes */
	struct page **upages = nullptr;
	size_t upages_len = 0; /* bytes */
	unsigned long upages_start = 0;
	unsigned long upages_end = 0;
	unsigned int gup_flags = 0;
	/* NULL: the pages come from source_mm */
	struct file *file = nullptr;
	/* A pin was made: an mm_users of source_mm is held if it is somebody else's and needed */
	bool active = false;
};

static void pfn_reader_user_init(struct pfn_reader_user *user, const struct iopt_pages *pages)
{
	*user = {};
	user->gup_flags = FOLL_LONGTERM | (pages->writable ? FOLL_WRITE : 0);
	if (pages->type == IOPT_ADDRESS_FILE)
		user->file = pages->file;
}

static void pfn_reader_user_destroy(struct pfn_reader_user *user, const struct iopt_pages *pages)
{
	if (user->active) {
		if (!user->file && pages->source_mm != current->mm)
			mmput(pages->source_mm);
		user->active = false;
	}

	kfree(user->upages);
	user->upages = nullptr;
}

/* Pins pages from start_index on, at least one and not beyond last_index, in as large a step as
 * upages allows. */
static int pfn_reader_user_pin(struct pfn_reader_user *user, struct iopt_pages *pages,
			       unsigned long start_index, unsigned long last_index)
	__must_hold(pages->mutex)
{
	bool remote_mm = pages->source_mm != current->mm;
	unsigned long npages = last_index - start_index + 1;
	unsigned long uptr = pages->uptr + start_index * PAGE_SIZE;
	long rc;

	if (WARN_ON(last_index < start_index))
		return -EINVAL;

	if (!user->upages) {
		/* Freed by pfn_reader_user_destroy() */
		user->upages_len = npages * sizeof(*user->upages);
		user->upages =
			static_cast<struct page **>(temp_kmalloc(&user->upages_len, nullptr, 0));
		if (!user->upages)
			return -ENOMEM;
	}

	if (!user->active) {
		if (!user->file && remote_mm && !mmget_not_zero(pages->source_mm))
			return -EFAULT;
		user->active = true;
	}

	npages = min(npages, user->upages_len / sizeof(*user->upages));
	npages = min(npages, (unsigned long)INT_MAX);

	if (iommufd_should_fail())
		return -EFAULT;

	if (user->file) {
		rc = memfd_pin_pages(user->file, pages->start / PAGE_SIZE + start_index, npages,
				     user->upages);
	} else if (!remote_mm) {
		rc = pin_user_pages_fast(uptr, (int)npages, user->gup_flags, user->upages);
	} else {
		mmap_read_lock(pages->source_mm);
		rc = pin_user_pages_remote(pages->source_mm, uptr, npages, user->gup_flags,
					   user->upages, nullptr);
		mmap_read_unlock(pages->source_mm);
	}
	if (rc <= 0) {
		if (WARN_ON(!rc))
			return -EFAULT;
		return (int)rc;
	}
	iopt_pages_add_npinned(pages, (size_t)rc);
	user->upages_start = start_index;
	user->upages_end = start_index + (unsigned long)rc;
	return 0;
}

/* A limit over all of the user's processes, as io_uring has it. */
static int incr_user_locked_vm(struct iopt_pages *pages, unsigned long npages)
{
	unsigned long lock_limit = task_rlimit(pages->source_task, RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long cur_pages = atomic_long_read(&pages->source_user->locked_vm);
	unsigned long new_pages;

	do {
		new_pages = (unsigned long)cur_pages + npages;
		if (new_pages > lock_limit)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&pages->source_user->locked_vm, &cur_pages, new_pages));
	return 0;
}

static void decr_user_locked_vm(struct iopt_pages *pages, unsigned long npages)
{
	if (WARN_ON((unsigned long)atomic_long_read(&pages->source_user->locked_vm) < npages))
		return;
	atomic_long_sub(npages, &pages->source_user->locked_vm);
}

/* An mm_users for the length of a scope; false when the process is gone. */
struct mm_users_scope {
	explicit mm_users_scope(struct mm_struct *of) : mm(mmget_not_zero(of) ? of : nullptr) {}
	mm_users_scope(const mm_users_scope &) = delete;
	mm_users_scope &operator=(const mm_users_scope &) = delete;
	~mm_users_scope()
	{
		if (mm)
			mmput(mm);
	}

	explicit operator bool() const { return mm; }

	struct mm_struct *const mm;
};

static int __update_mm_locked_vm(struct iopt_pages *pages, unsigned long npages, bool inc)
{
	mmap_write_lock(pages->source_mm);
	int rc = __account_locked_vm(pages->source_mm, npages, inc, pages->source_task, false);
	mmap_write_unlock(pages->source_mm);

	return rc;
}

/* A limit for each address space, as VFIO has it. user may hold an mm_users already. */
static int update_mm_locked_vm(struct iopt_pages *pages, unsigned long npages, bool inc,
			       const struct pfn_reader_user *user)
{
	if (pages->source_mm == current->mm || (user && user->active))
		return __update_mm_locked_vm(pages, npages, inc);

	mm_users_scope users(pages->source_mm);

	return users ? __update_mm_locked_vm(pages, npages, inc) : -EINVAL;
}

/* Charges who pays, or pays back. */
static int update_locked_vm(struct iopt_pages *pages, unsigned long npages, bool inc,
			    const struct pfn_reader_user *user)
{
	if (pages->account_mode == IOPT_PAGES_ACCOUNT_MM)
		return update_mm_locked_vm(pages, npages, inc, user);
	if (pages->account_mode != IOPT_PAGES_ACCOUNT_USER)
		return 0;
	if (inc)
		return incr_user_locked_vm(pages, npages);
	decr_user_locked_vm(pages, npages);
	return 0;
}

LOCK_ANALYSIS_ESCAPE(
	"IOAS_CHANGE_PROCESS calls it with an iopt_pages of its own, which needs no lock")
int iopt_pages_update_pinned(struct iopt_pages *pages, unsigned long npages, bool inc,
			     struct pfn_reader_user *user)
{
	auto *pinned_vm = &to_sim_mm(pages->source_mm)->pinned_vm;
	int rc = update_locked_vm(pages, npages, inc, user);

	/* What cannot be returned belonged to a process that is gone, and went with it */
	if (inc && rc)
		return rc;

	pages->last_npinned = pages->npinned;
	if (inc)
		atomic64_add(npages, pinned_vm);
	else
		atomic64_sub(npages, pinned_vm);
	return 0;
}

/* Returns what was unpinned since the last time. */
static void update_unpinned(struct iopt_pages *pages) __must_hold(pages->mutex)
{
	const size_t charged = pages->last_npinned;

	if (!WARN_ON(pages->npinned > charged) && pages->npinned != charged)
		iopt_pages_update_pinned(pages, charged - pages->npinned, false, nullptr);
}

/*
 * Charges what was pinned since the last time. It comes after the pins because only they tell how
 * many pages were not pinned before; over the limit, the caller undoes them.
 */
static int pfn_reader_user_update_pinned(struct pfn_reader_user *user, struct iopt_pages *pages)
	__must_hold(pages->mutex)
{
	lockdep_assert_held(&pages->mutex);

	const size_t pinned = pages->npinned;
	const size_t charged = pages->last_npinned;

	if (pinned == charged)
		return 0;
	if (pinned < charged)
		return iopt_pages_update_pinned(pages, charged - pinned, false, user);
	if (iommufd_should_fail())
		return -ENOMEM;
	return iopt_pages_update_pinned(pages, pinned - charged, true, user);
}

/*
 * Reads the PFNs of [start, last_index] batch by batch, each from the cheapest place that has it:
 * the xarray, a domain, or the origin, where it is pinned. The current batch is [batch_start_index,
 * batch_end_index).
 *
 * What the reader pins and nobody else covers when it moves on stays pinned: the user has mapped it
 * by then, or calls pfn_reader_unpin() first.
 */
struct pfn_reader {
	struct iopt_pages *pages = nullptr;
	struct interval_tree_double_span_iter span;
	struct pfn_batch batch;
	unsigned long batch_start_index = 0;
	unsigned long batch_end_index = 0;
	unsigned long last_index = 0;
	struct pfn_reader_user user;
};

static int pfn_reader_update_pinned(struct pfn_reader *pfns)
{
	struct iopt_pages *pages = pfns->pages;

	lockdep_assert_held(&pages->mutex);
	return pfn_reader_user_update_pinned(&pfns->user, pages);
}

/* Unpins those of the current batch that neither an access nor a domain holds. */
static void pfn_reader_unpin(struct pfn_reader *pfns)
{
	const unsigned long first = pfns->batch_start_index;
	struct iopt_pages *pages = pfns->pages;
	struct interval_tree_double_span_iter held;

	lockdep_assert_held(&pages->mutex);

	interval_tree_for_each_double_span(&held, &pages->access_itree, &pages->domains_itree,
					   first, pfns->batch_end_index - 1)
	{
		if (!held.is_used)
			batch_unpin(&pfns->batch, pages, held.start_hole - first,
				    held.last_hole - held.start_hole + 1);
	}
}

/* Adds [start_index, last_index] of a dma-buf: it is one run, page aligned as all PFNs are. */
static int pfn_reader_fill_dmabuf(struct pfn_reader *pfns, unsigned long start_index,
				  unsigned long last_index)
{
	const struct iopt_pages *pages = pfns->pages;
	const struct iopt_pages_dmabuf *dmabuf = &pages->dmabuf;
	const phys_addr_t start = dmabuf->phys.paddr + dmabuf->start;

	/* the caller has looked, and has held the mutex since */
	if (WARN_ON(iopt_dmabuf_revoked(pages)))
		return -EINVAL;
	batch_add_pfn_num(&pfns->batch, PHYS_PFN(start) + start_index,
			  (u32)(last_index - start_index + 1));
	return 0;
}

/* Adds some of the current span to the batch. */
static int pfn_reader_fill_span(struct pfn_reader *pfns)
{
	struct interval_tree_double_span_iter *span = &pfns->span;
	unsigned long start_index = pfns->batch_end_index;
	struct pfn_reader_user *user = &pfns->user;
	struct iopt_pages *pages = pfns->pages;
	struct iopt_area *area;
	int rc;

	lockdep_assert_held(&pages->mutex);

	if (WARN_ON(span->last_used < start_index))
		return -EINVAL;

	if (span->is_used == 1) {
		batch_from_xarray(&pfns->batch, &pages->pinned_pfns, start_index, span->last_used);
		return 0;
	}

	if (span->is_used == 2) {
		/* Any area that has it; if it ends before the span does,
		 * the next call finds another */
		area = iopt_pages_find_domain_area(pages, start_index);
		if (WARN_ON(!area))
			return -EINVAL;

		batch_from_domain(&pfns->batch, area->storage_domain, area, start_index,
				  min(iopt_area_last_index(area), span->last_used));
		return 0;
	}

	if (iopt_is_dmabuf(pages))
		return pfn_reader_fill_dmabuf(pfns, start_index, span->last_hole);

	if (start_index >= user->upages_end) {
		rc = pfn_reader_user_pin(user, pages, start_index, span->last_hole);
		if (rc)
			return rc;
	}

	batch_from_pages(&pfns->batch, user->upages + (start_index - user->upages_start),
			 user->upages_end - start_index);
	return 0;
}

static bool pfn_reader_done(const struct pfn_reader *pfns)
{
	return pfns->batch_start_index == pfns->last_index + 1;
}

/* Fills the next batch. */
static int pfn_reader_next(struct pfn_reader *pfns)
{
	struct pfn_batch *batch = &pfns->batch;
	unsigned long had = 0;

	batch_clear(batch);
	pfns->batch_start_index = pfns->batch_end_index;

	for (; pfns->batch_end_index != pfns->last_index + 1; had = batch->total_pfns) {
		if (WARN_ON(interval_tree_double_span_iter_done(&pfns->span)))
			return -EINVAL;
		if (int rc = pfn_reader_fill_span(pfns))
			return rc;
		if (WARN_ON(!batch->total_pfns))
			return -EINVAL;

		pfns->batch_end_index = pfns->batch_start_index + batch->total_pfns;
		if (pfns->batch_end_index == pfns->span.last_used + 1)
			interval_tree_double_span_iter_next(&pfns->span);
		if (batch->total_pfns == had)
			break; /* full */
	}
	return 0;
}

static int pfn_reader_init(struct pfn_reader *pfns, struct iopt_pages *pages,
			   unsigned long start_index, unsigned long last_index)
	__must_hold(pages->mutex)
{
	int rc;

	lockdep_assert_held(&pages->mutex);

	pfns->pages = pages;
	pfns->batch_start_index = start_index;
	pfns->batch_end_index = start_index;
	pfns->last_index = last_index;
	pfn_reader_user_init(&pfns->user, pages);
	rc = batch_init(&pfns->batch, last_index - start_index + 1);
	if (rc)
		return rc;
	pfns->batch.kind = iopt_is_dmabuf(pages) ? BATCH_MMIO : BATCH_CPU_MEMORY;
	interval_tree_double_span_iter_first(&pfns->span, &pages->access_itree,
					     &pages->domains_itree, start_index, last_index);
	return 0;
}

/*
 * Gives up the pins that are the reader's own: what is pinned ahead and the current batch. After
 * that npinned does not exceed what the domains hold, so they can be unfilled while the reader
 * still exists.
 */
static void pfn_reader_release_pins(struct pfn_reader *pfns)
{
	const unsigned long batch_end = pfns->batch_end_index;
	struct pfn_reader_user *user = &pfns->user;
	struct iopt_pages *pages = pfns->pages;

	lockdep_assert_held(&pages->mutex);

	if (iopt_is_dmabuf(pages))
		return;

	if (batch_end < user->upages_end) {
		iopt_pages_err_unpin(pages, batch_end, user->upages_end - 1,
				     user->upages + (batch_end - user->upages_start));
		user->upages_end = batch_end;
	}
	if (pfns->batch_start_index != batch_end) {
		pfn_reader_unpin(pfns);
		pfns->batch_start_index = batch_end;
	}
}

static void pfn_reader_destroy(struct pfn_reader *pfns)
{
	struct iopt_pages *pages = pfns->pages;

	lockdep_assert_held(&pages->mutex);

	pfn_reader_release_pins(pfns);
	pfn_reader_user_destroy(&pfns->user, pages);
	batch_destroy(&pfns->batch, nullptr);
	WARN_ON(pages->last_npinned != pages->npinned);
}

static int pfn_reader_first(struct pfn_reader *pfns, struct iopt_pages *pages,
			    unsigned long start_index, unsigned long last_index)
	__must_hold(pages->mutex)
{
	if (WARN_ON(last_index < start_index))
		return -EINVAL;
	if (int rc = pfn_reader_init(pfns, pages, start_index, last_index))
		return rc;

	int rc = pfn_reader_next(pfns);

	if (rc)
		pfn_reader_destroy(pfns);
	return rc;
}

/* Destroys a reader that pfn_reader_first() set up. */
struct pfn_reader_scope {
	explicit pfn_reader_scope(struct pfn_reader *of) : pfns(of) {}
	pfn_reader_scope(const pfn_reader_scope &) = delete;
	pfn_reader_scope &operator=(const pfn_reader_scope &) = delete;
	~pfn_reader_scope() { pfn_reader_destroy(pfns); }

	struct pfn_reader *const pfns;
};

static result<struct iopt_pages *> iopt_alloc_pages(unsigned long start_byte, unsigned long length,
						    bool writable)
{
	struct iopt_pages *pages;

	if (length > SIZE_MAX - PAGE_SIZE || length == 0)
		return -EINVAL;
	/* The round up below has to fit. Upstream's does not, and an assertion finds it when the
	 * area is made. */
	if (length > SIZE_MAX - (PAGE_SIZE - 1) - start_byte)
		return -EOVERFLOW;

	pages = kzalloc_obj<struct iopt_pages>();
	if (!pages)
		return -ENOMEM;

	kref_init(&pages->kref);
	pages->source_mm = current->mm;
	mmgrab(pages->source_mm);
	pages->npages = DIV_ROUND_UP(length + start_byte, PAGE_SIZE);
	pages->writable = writable;
	pages->account_mode = capable(CAP_IPC_LOCK) ? IOPT_PAGES_ACCOUNT_NONE
						    : IOPT_PAGES_ACCOUNT_USER;
	pages->source_task = current->group_leader;
	get_task_struct(pages->source_task);
	pages->source_user = get_uid(current_user());
	return pages;
}

result<struct iopt_pages *> iopt_alloc_user_pages(user_inout<void> uptr, unsigned long length,
						  bool writable)
{
	unsigned long addr = uptr.addr();
	unsigned long end;

	if (check_add_overflow(addr, length, &end))
		return -EOVERFLOW;

	auto pages = iopt_alloc_pages(offset_in_page(addr), length, writable);

	if (!pages)
		return pages;
	pages->uptr = PAGE_ALIGN_DOWN(addr);
	pages->type = IOPT_ADDRESS_USER;
	return pages;
}

result<struct iopt_pages *> iopt_alloc_file_pages(struct file *file, unsigned long start_byte,
						  unsigned long start, unsigned long length,
						  bool writable)
{
	auto pages = iopt_alloc_pages(start_byte, length, writable);

	if (!pages)
		return pages;
	pages->file = get_file(file);
	pages->start = start - start_byte;
	pages->type = IOPT_ADDRESS_FILE;
	return pages;
}

/* The exporter takes the buffer back: the areas stay and the domains lose it, for good. */
static void iopt_revoke_notify(struct dma_buf_attachment *attach)
{
	auto *pages = static_cast<struct iopt_pages *>(attach->importer_priv);
	struct iopt_pages_dmabuf_track *track;

	mutex_guard guard(&pages->mutex);
	if (iopt_dmabuf_revoked(pages))
		return;

	list_for_each_entry (track, &pages->dmabuf.tracker, elm)
		iopt_area_unmap_domain_range(track->area, track->domain,
					     iopt_area_index(track->area),
					     iopt_area_last_index(track->area));
	pages->dmabuf.phys.len = 0;
}

static const struct dma_buf_attach_ops iopt_dmabuf_attach_revoke_ops = {
	.allow_peer2peer = true,
	.invalidate_mappings = iopt_revoke_notify,
};

/* Where the buffer is, pinned, from now until a revoke. */
static int iopt_pin_dmabuf(struct iopt_pages *pages, struct dma_buf_attachment *attach)
	__must_hold(attach->dmabuf->resv.lock)
{
	/* under the mutex although nobody else sees the pages yet: lockdep learns the order */
	mutex_guard guard(&pages->mutex);

	if (int rc = dma_buf_pin(attach))
		return rc;

	int rc = iommufd_test_dma_buf_iommufd_map(attach, &pages->dmabuf.phys);

	if (rc)
		dma_buf_unpin(attach);
	return rc;
}

static int iopt_map_dmabuf(struct iommufd_ctx *, struct iopt_pages *pages, struct dma_buf *dmabuf)
{
	auto attach =
		dma_buf_dynamic_attach(dmabuf, nullptr, &iopt_dmabuf_attach_revoke_ops, pages);

	if (!attach)
		return attach.error();

	int rc;

	{
		struct dma_buf_attachment *const attached = *attach;
		mutex_guard resv(&attached->dmabuf->resv.lock);

		rc = iopt_pin_dmabuf(pages, attached);
	}
	if (rc) {
		dma_buf_detach(dmabuf, *attach);
		return rc;
	}
	/* iopt_release_pages() gives it back */
	pages->dmabuf.attach = *attach;
	return 0;
}

static void iopt_unmap_dmabuf(struct dma_buf_attachment *attach)
{
	struct dma_buf *dmabuf = attach->dmabuf;

	{
		mutex_guard resv(&attach->dmabuf->resv.lock);

		dma_buf_unpin(attach);
	}
	dma_buf_detach(dmabuf, attach);
	dma_buf_put(dmabuf);
}

result<struct iopt_pages *> iopt_alloc_dmabuf_pages(struct iommufd_ctx *ictx,
						    struct dma_buf *dmabuf,
						    unsigned long start_byte, unsigned long start,
						    unsigned long length, bool writable)
{
	/* start + length - 1 does not wrap: the caller has looked */
	if (dmabuf->size <= start + length - 1 || length / PAGE_SIZE >= MAX_NPFNS)
		return -EINVAL;

	auto pages = iopt_alloc_pages(start_byte, length, writable);

	if (!pages)
		return pages;
	/* The memory is the exporter's, and so is the account */
	pages->account_mode = IOPT_PAGES_ACCOUNT_NONE;
	pages->type = IOPT_ADDRESS_DMABUF;
	pages->dmabuf.start = start - start_byte;

	if (int rc = iopt_map_dmabuf(ictx, *pages, dmabuf)) {
		iopt_put_pages(*pages);
		return rc;
	}
	return pages;
}

int iopt_dmabuf_track_domain(struct iopt_pages *pages, struct iopt_area *area,
			     struct iommu_domain *domain)
{
	struct iopt_pages_dmabuf_track *track;

	lockdep_assert_held(&pages->mutex);
	if (WARN_ON(!iopt_is_dmabuf(pages)))
		return -EINVAL;
	list_for_each_entry (track, &pages->dmabuf.tracker, elm)
		if (WARN_ON(track->area == area && track->domain == domain))
			return -EINVAL;

	track = kzalloc_obj<struct iopt_pages_dmabuf_track>();
	if (!track)
		return -ENOMEM;
	track->area = area;
	track->domain = domain;
	list_add_tail(&track->elm, &pages->dmabuf.tracker);
	return 0;
}

/* Forgets the area's pairs, with domain alone unless that is NULL. How many they were. */
static unsigned int iopt_dmabuf_untrack(struct iopt_pages *pages, const struct iopt_area *area,
					const struct iommu_domain *domain)
{
	struct iopt_pages_dmabuf_track *track, *after;
	unsigned int found = 0;

	lockdep_assert_held(&pages->mutex);
	list_for_each_entry_safe (track, after, &pages->dmabuf.tracker, elm) {
		if (track->area != area || (domain && track->domain != domain))
			continue;
		list_del(&track->elm);
		kfree_obj(track);
		found++;
	}
	return found;
}

void iopt_dmabuf_untrack_domain(struct iopt_pages *pages, struct iopt_area *area,
				struct iommu_domain *domain)
{
	WARN_ON(iopt_dmabuf_untrack(pages, area, domain) != 1);
}

int iopt_dmabuf_track_all_domains(struct iopt_area *area, struct iopt_pages *pages)
{
	struct iommu_domain *domain;
	unsigned long id;

	xa_for_each (&area->iopt->domains, id, domain) {
		if (int rc = iopt_dmabuf_track_domain(pages, area, domain)) {
			iopt_dmabuf_untrack_all_domains(area, pages);
			return rc;
		}
	}
	return 0;
}

void iopt_dmabuf_untrack_all_domains(struct iopt_area *area, struct iopt_pages *pages)
{
	iopt_dmabuf_untrack(pages, area, nullptr);
}

LOCK_ANALYSIS_ESCAPE("the last reference is gone: nobody else sees it")
void iopt_release_pages(struct kref *kref)
{
	struct iopt_pages *pages = container_of(kref, struct iopt_pages, kref);

	WARN_ON(!RB_EMPTY_ROOT(&pages->access_itree));
	WARN_ON(!RB_EMPTY_ROOT(&pages->domains_itree));
	WARN_ON(pages->npinned);
	WARN_ON(!xa_empty(&pages->pinned_pfns));
	WARN_ON(!list_empty(&pages->dmabuf.tracker));
	if (pages->dmabuf.attach)
		iopt_unmap_dmabuf(pages->dmabuf.attach);
	else if (pages->type == IOPT_ADDRESS_FILE)
		fput(pages->file);
	mmdrop(pages->source_mm);
	put_task_struct(pages->source_task);
	free_uid(pages->source_user);
	kfree_obj(pages);
}

/*
 * Unmaps and unpins [start_index, last_index] of an area that goes up to real_last_index.
 *
 * A domain may have mapped consecutive PFNs with one large page, so each unmap ends where the PFNs
 * make a step; it goes beyond last_index if need be. What was unmapped already, but is not ours to
 * unpin, is left in the batch as the carry: always [last_index + 1, *unmapped_end_index) when we
 * return.
 */
static void iopt_area_unpin_domain(struct pfn_batch *batch, struct iopt_area *area,
				   struct iopt_pages *pages, struct iommu_domain *domain,
				   unsigned long start_index, unsigned long last_index,
				   unsigned long *unmapped_end_index, unsigned long real_last_index)
	__must_hold(pages->mutex)
{
	while (start_index <= last_index) {
		unsigned long batch_last_index = last_index;

		if (*unmapped_end_index <= last_index) {
			unsigned long start = max(start_index, *unmapped_end_index);

			WARN_ON(batch->total_pfns &&
				*unmapped_end_index - batch->total_pfns != start_index);
			batch_from_domain(batch, domain, area, start, last_index);
			batch_last_index = start_index + batch->total_pfns - 1;
			WARN_ON(batch_last_index > real_last_index);

			/* Up to the next step, be it somebody else's pages */
			if (batch_last_index == last_index && last_index != real_last_index)
				batch_from_domain_continue(batch, domain, area, last_index + 1,
							   real_last_index);

			/* Not so if the carry alone fills the batch */
			if (*unmapped_end_index <= batch_last_index) {
				iopt_area_unmap_domain_range(area, domain, *unmapped_end_index,
							     start_index + batch->total_pfns - 1);
				*unmapped_end_index = start_index + batch->total_pfns;
			}
		}

		/* DMA cannot reach it any more: now it may be unpinned */
		batch_unpin(batch, pages, 0, batch_last_index - start_index + 1);
		start_index = batch_last_index + 1;

		batch_clear_carry(batch, *unmapped_end_index - batch_last_index - 1);
	}
}

/* Unmaps the area from its first page to last_index, and unpins what nobody else holds. */
static void __iopt_area_unfill_domain(struct iopt_area *area, struct iopt_pages *pages,
				      struct iommu_domain *domain, unsigned long last_index)
	__must_hold(pages->mutex)
{
	const unsigned long first_index = iopt_area_index(area);
	unsigned long unmapped_end = first_index;
	u64 backup[BATCH_BACKUP_SIZE];
	struct pfn_batch batch;
	struct interval_tree_double_span_iter held;

	lockdep_assert_held(&pages->mutex);

	if (iopt_is_dmabuf(pages)) {
		/* nothing is pinned */
		if (!WARN_ON(iopt_dmabuf_revoked(pages)))
			iopt_area_unmap_domain_range(area, domain, first_index, last_index);
		return;
	}

	batch_init_backup(&batch, last_index - first_index + 1, backup, sizeof(backup));
	interval_tree_for_each_double_span(&held, &pages->domains_itree, &pages->access_itree,
					   first_index, last_index)
	{
		if (held.is_used)
			batch_skip_carry(&batch, held.last_used - held.start_used + 1);
		else
			iopt_area_unpin_domain(&batch, area, pages, domain, held.start_hole,
					       held.last_hole, &unmapped_end, last_index);
	}
	/* The rest is somebody else's to unpin */
	if (unmapped_end <= last_index)
		iopt_area_unmap_domain_range(area, domain, unmapped_end, last_index);
	WARN_ON(batch.total_pfns);
	batch_destroy(&batch, backup);
	update_unpinned(pages);
}

static void iopt_area_unfill_partial_domain(struct iopt_area *area, struct iopt_pages *pages,
					    struct iommu_domain *domain, unsigned long end_index)
	__must_hold(pages->mutex)
{
	if (end_index != iopt_area_index(area))
		__iopt_area_unfill_domain(area, pages, domain, end_index - 1);
}

void iopt_area_unmap_domain(struct iopt_area *area, struct iommu_domain *domain)
{
	iommu_unmap_nofail(domain, iopt_area_iova(area), iopt_area_length(area));
}

void iopt_area_unfill_domain(struct iopt_area *area, struct iopt_pages *pages,
			     struct iommu_domain *domain)
{
	lockdep_assert_held(&pages->mutex);

	if (!iopt_dmabuf_revoked(pages))
		__iopt_area_unfill_domain(area, pages, domain, iopt_area_last_index(area));
}

int iopt_area_fill_domain(struct iopt_area *area, struct iommu_domain *domain)
{
	struct iopt_pages *pages = area->pages;
	unsigned long mapped_end;
	struct pfn_reader pfns;
	int rc;

	lockdep_assert_held(&pages->mutex);

	if (iopt_dmabuf_revoked(pages))
		return 0;

	rc = pfn_reader_first(&pfns, pages, iopt_area_index(area), iopt_area_last_index(area));
	if (rc)
		return rc;

	pfn_reader_scope scope(&pfns);

	mapped_end = pfns.batch_start_index;
	while (!rc && !pfn_reader_done(&pfns)) {
		rc = batch_to_domain(&pfns.batch, domain, area, pfns.batch_start_index);
		if (!rc) {
			mapped_end = pfns.batch_end_index;
			rc = pfn_reader_next(&pfns);
		}
	}
	if (!rc)
		rc = pfn_reader_update_pinned(&pfns);
	if (rc) {
		pfn_reader_release_pins(&pfns);
		iopt_area_unfill_partial_domain(area, pages, domain, mapped_end);
	}
	return rc;
}

/*
 * How far the domains of a table are filled: those whose id is less than next_id up to ahead_end,
 * the others up to all_end. Both are page indexes.
 */
struct fill_progress {
	unsigned long next_id;
	unsigned long ahead_end;
	unsigned long all_end;
};

/* Maps batch by batch, each into every domain, and charges for it. progress is for the undo. */
static int iopt_area_map_batches(struct iopt_area *area, struct pfn_reader *pfns,
				 struct fill_progress *progress)
{
	struct iommu_domain *domain;
	int rc;

	lockdep_assert_held(&area->iopt->domains_rwsem);

	*progress = {0, pfns->batch_start_index, pfns->batch_start_index};
	while (!pfn_reader_done(pfns)) {
		progress->ahead_end = pfns->batch_end_index;
		xa_for_each (&area->iopt->domains, progress->next_id, domain) {
			rc = batch_to_domain(&pfns->batch, domain, area, pfns->batch_start_index);
			if (rc)
				return rc;
		}
		progress->all_end = progress->ahead_end;

		rc = pfn_reader_next(pfns);
		if (rc)
			return rc;
	}
	return pfn_reader_update_pinned(pfns);
}

/*
 * Undoes what iopt_area_map_batches() did before it failed. The last domain in the list, which
 * never has more than the others, does the unpinning: it comes when the others are empty and the
 * batch that only they had is given up.
 */
static void iopt_area_unmap_batches(struct iopt_area *area, struct iopt_pages *pages,
				    struct pfn_reader *pfns, const struct fill_progress *progress)
	__must_hold(pages->mutex)
{
	struct io_pagetable *iopt = area->iopt;
	struct iommu_domain *last_domain = nullptr;
	struct iommu_domain *domain;
	unsigned long last_domain_end = 0;
	unsigned long id;

	lockdep_assert_held(&iopt->domains_rwsem);

	xa_for_each (&iopt->domains, id, domain) {
		const unsigned long end = id < progress->next_id ? progress->ahead_end
								 : progress->all_end;

		if (id == iopt->next_domain_id - 1) {
			last_domain = domain;
			last_domain_end = end;
			break;
		}
		if (end != iopt_area_index(area))
			iopt_area_unmap_domain_range(area, domain, iopt_area_index(area), end - 1);
	}
	pfn_reader_release_pins(pfns);
	if (!WARN_ON(!last_domain))
		iopt_area_unfill_partial_domain(area, pages, last_domain, last_domain_end);
}

/* Reads the PFNs and maps them into every domain, or into none. */
static int iopt_area_map_domains(struct iopt_area *area, struct iopt_pages *pages)
	__must_hold(pages->mutex)
{
	struct fill_progress progress;
	struct pfn_reader pfns;
	int rc;

	if (iopt_dmabuf_revoked(pages))
		return 0;

	rc = pfn_reader_first(&pfns, pages, iopt_area_index(area), iopt_area_last_index(area));
	if (rc)
		return rc;

	rc = iopt_area_map_batches(area, &pfns, &progress);
	if (rc)
		iopt_area_unmap_batches(area, pages, &pfns, &progress);
	pfn_reader_destroy(&pfns);
	return rc;
}

int iopt_area_fill_domains(struct iopt_area *area, struct iopt_pages *pages)
{
	struct io_pagetable *iopt = area->iopt;

	lockdep_assert_held(&iopt->domains_rwsem);

	if (xa_empty(&iopt->domains))
		return 0;

	mutex_guard guard(&pages->mutex);

	if (iopt_is_dmabuf(pages))
		if (int rc = iopt_dmabuf_track_all_domains(area, pages))
			return rc;
	if (int rc = iopt_area_map_domains(area, pages)) {
		if (iopt_is_dmabuf(pages))
			iopt_dmabuf_untrack_all_domains(area, pages);
		return rc;
	}

	area->storage_domain = static_cast<struct iommu_domain *>(xa_load(&iopt->domains, 0));
	interval_tree_insert(&area->pages_node, &pages->domains_itree);
	return 0;
}

void iopt_area_unfill_domains(struct iopt_area *area, struct iopt_pages *pages)
{
	struct iommu_domain *domain;
	unsigned long id;

	lockdep_assert_held(&area->iopt->domains_rwsem);

	mutex_guard guard(&pages->mutex);
	struct iommu_domain *const storage = area->storage_domain;

	/* No domain has it, or the fill failed */
	if (!storage)
		return;

	const bool there = !iopt_dmabuf_revoked(pages);

	xa_for_each (&area->iopt->domains, id, domain)
		if (there && domain != storage)
			iopt_area_unmap_domain_range(area, domain, iopt_area_index(area),
						     iopt_area_last_index(area));

	interval_tree_remove(&area->pages_node, &pages->domains_itree);
	iopt_area_unfill_domain(area, pages, storage);
	if (iopt_is_dmabuf(pages))
		iopt_dmabuf_untrack_all_domains(area, pages);
	area->storage_domain = nullptr;
}

static void iopt_pages_unpin_xarray(struct pfn_batch *batch, struct iopt_pages *pages,
				    unsigned long start_index, unsigned long last_index)
	__must_hold(pages->mutex)
{
	while (start_index <= last_index) {
		batch_from_xarray_clear(batch, &pages->pinned_pfns, start_index, last_index);
		batch_unpin(batch, pages, 0, batch->total_pfns);
		start_index += batch->total_pfns;
		batch_clear(batch);
	}
}

void iopt_pages_unfill_xarray(struct iopt_pages *pages, unsigned long start_index,
			      unsigned long last_index)
{
	struct interval_tree_double_span_iter held;
	struct pfn_batch batch;
	u64 backup[BATCH_BACKUP_SIZE];

	lockdep_assert_held(&pages->mutex);

	interval_tree_for_each_double_span(&held, &pages->access_itree, &pages->domains_itree,
					   start_index, last_index)
	{
		if (held.is_used == 1) {
			/* Another access needs them where they are */
			continue;
		}
		if (held.is_used) {
			/* A domain has them, pinned */
			clear_xarray(&pages->pinned_pfns, held.start_used, held.last_used);
			continue;
		}
		if (!batch.pfns)
			batch_init_backup(&batch, last_index - start_index + 1, backup,
					  sizeof(backup));
		iopt_pages_unpin_xarray(&batch, pages, held.start_hole, held.last_hole);
	}
	if (batch.pfns)
		batch_destroy(&batch, backup);
	update_unpinned(pages);
}

void iopt_pages_fill_from_xarray(struct iopt_pages *pages, unsigned long start_index,
				 unsigned long last_index, struct page **out_pages)
{
	xa_guard guard(&pages->pinned_pfns);

	for (; start_index <= last_index; start_index++) {
		void *entry = xa_load(&pages->pinned_pfns, start_index);

		WARN_ON(!xa_is_value(entry));
		*(out_pages++) = pfn_to_page(xa_to_value(entry));
	}
}

static int iopt_pages_fill_from_domain(struct iopt_pages *pages, unsigned long start_index,
				       unsigned long last_index, struct page **out_pages)
	__must_hold(pages->mutex)
{
	while (start_index != last_index + 1) {
		struct iopt_area *area = iopt_pages_find_domain_area(pages, start_index);
		unsigned long domain_last;

		if (WARN_ON(!area))
			return -EINVAL;

		domain_last = min(iopt_area_last_index(area), last_index);
		out_pages = raw_pages_from_domain(area->storage_domain, area, start_index,
						  domain_last, out_pages);
		start_index = domain_last + 1;
	}
	return 0;
}

/* Pins all of [start_index, last_index] straight into out_pages, or nothing. */
static int iopt_pages_fill(struct iopt_pages *pages, struct pfn_reader_user *user,
			   unsigned long start_index, unsigned long last_index,
			   struct page **out_pages) __must_hold(pages->mutex)
{
	unsigned long next = start_index;

	for (; next != last_index + 1; next = user->upages_end) {
		user->upages = out_pages + (next - start_index);

		int rc = pfn_reader_user_pin(user, pages, next, last_index);

		if (rc) {
			if (next != start_index)
				iopt_pages_err_unpin(pages, start_index, next - 1, out_pages);
			return rc;
		}
	}
	return 0;
}

/* One span of iopt_pages_fill_xarray(): finds or pins its pages and stores what is not stored. */
static int iopt_pages_fill_span(struct iopt_pages *pages, struct pfn_reader_user *user,
				const struct interval_tree_double_span_iter *span,
				struct page **out_pages) __must_hold(pages->mutex)
{
	const unsigned long first = span->start_used;
	const unsigned long last = span->last_used;
	int rc;

	if (span->is_used == 1) {
		iopt_pages_fill_from_xarray(pages, first, last, out_pages);
		return 0;
	}

	if (span->is_used)
		rc = iopt_pages_fill_from_domain(pages, first, last, out_pages);
	else
		rc = iopt_pages_fill(pages, user, first, last, out_pages);
	if (rc)
		return rc;

	rc = pages_to_xarray(&pages->pinned_pfns, first, last, out_pages);
	if (rc && !span->is_used)
		iopt_pages_err_unpin(pages, first, last, out_pages);
	return rc;
}

int iopt_pages_fill_xarray(struct iopt_pages *pages, unsigned long start_index,
			   unsigned long last_index, struct page **out_pages)
{
	struct interval_tree_double_span_iter span;
	struct pfn_reader_user user;
	/* Before it all is stored, by this call or by others */
	unsigned long stored_end = start_index;
	int rc = 0;

	lockdep_assert_held(&pages->mutex);

	pfn_reader_user_init(&user, pages);
	/* The room in out_pages, which stands in for upages: in pages it is never less than what is
	 * left to pin */
	user.upages_len = (last_index - start_index + 1) * sizeof(*out_pages);
	interval_tree_for_each_double_span(&span, &pages->access_itree, &pages->domains_itree,
					   start_index, last_index)
	{
		rc = iopt_pages_fill_span(pages, &user, &span,
					  out_pages + (span.start_used - start_index));
		if (rc)
			break;
		if (span.is_used != 1)
			stored_end = span.last_used + 1;
	}
	if (!rc)
		rc = pfn_reader_user_update_pinned(&user, pages);
	if (rc && stored_end != start_index)
		iopt_pages_unfill_xarray(pages, start_index, stored_end - 1);

	/* The array is the caller's */
	user.upages = nullptr;
	pfn_reader_user_destroy(&user, pages);
	return rc;
}

/* Copies through a pfn_reader: sees exactly the pages that a domain would see, whatever became of
 * the mapping. */
static int iopt_pages_rw_slow(struct iopt_pages *pages, unsigned long start_index,
			      unsigned long last_index, unsigned long offset, void *data,
			      unsigned long length, unsigned int flags)
{
	mutex_guard guard(&pages->mutex);
	struct pfn_reader pfns;
	int rc;

	rc = pfn_reader_first(&pfns, pages, start_index, last_index);
	if (rc)
		return rc;

	pfn_reader_scope scope(&pfns);
	char *pos = static_cast<char *>(data);
	char *const end = pos + length;

	while (!pfn_reader_done(&pfns)) {
		pos += batch_rw(&pfns.batch, pos, offset, (unsigned long)(end - pos), flags);
		offset = 0;
		pfn_reader_unpin(&pfns);

		rc = pfn_reader_next(&pfns);
		if (rc)
			return rc;
	}
	return WARN_ON(pos != end) ? -EINVAL : 0;
}

/* Copies within one page, without memory and without the trees; like the CPU, not like DMA. */
static int iopt_pages_rw_page(struct iopt_pages *pages, unsigned long index, unsigned long offset,
			      void *data, unsigned long length, unsigned int flags)
{
	const unsigned int gup_flags = flags & IOMMUFD_ACCESS_RW_WRITE ? FOLL_WRITE : 0;
	struct page *page = nullptr;

	if (WARN_ON(pages->type != IOPT_ADDRESS_USER))
		return -EINVAL;

	mm_users_scope users(pages->source_mm);

	if (!users)
		return iopt_pages_rw_slow(pages, index, index, offset, data, length, flags);

	if (iommufd_should_fail())
		return -EINVAL;

	mmap_read_lock(users.mm);
	long npinned = pin_user_pages_remote(users.mm, pages->uptr + index * PAGE_SIZE, 1,
					     gup_flags, &page, nullptr);
	mmap_read_unlock(users.mm);
	if (npinned != 1)
		return WARN_ON(npinned >= 0) ? -EINVAL : (int)npinned;

	copy_data_page(page, data, offset, length, flags);
	unpin_user_page(page);
	return 0;
}

/* Copies with the CPU through current->mm, which is the pages' source_mm. */
static int iopt_pages_rw_user(struct iopt_pages *pages, unsigned long start_byte, void *data,
			      unsigned long length, unsigned int flags)
{
	unsigned long uptr = pages->uptr + start_byte;

	if (flags & IOMMUFD_ACCESS_RW_WRITE)
		return user_out<void>(uptr).copy_to_user(data, length);
	return user_in<void>(uptr).copy_from_user(data, length);
}

int iopt_pages_rw_access(struct iopt_pages *pages, unsigned long start_byte, void *data,
			 unsigned long length, unsigned int flags)
{
	unsigned long start_index = start_byte / PAGE_SIZE;
	unsigned long last_index = (start_byte + length - 1) / PAGE_SIZE;
	bool change_mm = current->mm != pages->source_mm || (flags & __IOMMUFD_ACCESS_RW_SLOW_PATH);

	if ((flags & IOMMUFD_ACCESS_RW_WRITE) && !pages->writable)
		return -EPERM;

	if (iopt_is_dmabuf(pages))
		return -EINVAL;

	if (pages->type != IOPT_ADDRESS_USER)
		return iopt_pages_rw_slow(pages, start_index, last_index, start_byte % PAGE_SIZE,
					  data, length, flags);

	if (!(flags & IOMMUFD_ACCESS_RW_KTHREAD) && change_mm) {
		if (start_index == last_index)
			return iopt_pages_rw_page(pages, start_index, start_byte % PAGE_SIZE, data,
						  length, flags);
		return iopt_pages_rw_slow(pages, start_index, last_index, start_byte % PAGE_SIZE,
					  data, length, flags);
	}

	/* What follows looks at the mapping of this moment, not at what was pinned.
	 * A driver knows that. */
	if (!change_mm)
		return iopt_pages_rw_user(pages, start_byte, data, length, flags);

	mm_users_scope users(pages->source_mm);

	if (!users)
		return iopt_pages_rw_slow(pages, start_index, last_index, start_byte % PAGE_SIZE,
					  data, length, flags);

	kthread_mm_scope scope(users.mm);

	return iopt_pages_rw_user(pages, start_byte, data, length, flags);
}

static struct iopt_pages_access *
iopt_pages_get_exact_access(struct iopt_pages *pages, unsigned long index, unsigned long last)
	__must_hold(pages->mutex)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&pages->mutex);

	for (node = interval_tree_iter_first(&pages->access_itree, index, last); node;
	     node = interval_tree_iter_next(node, index, last))
		if (node->start == index && node->last == last)
			return container_of(node, struct iopt_pages_access, node);
	return nullptr;
}

/* An access without users yet, its pages in out_pages. */
static result<struct iopt_pages_access *>
iopt_pages_new_access(struct iopt_pages *pages, unsigned long start_index, unsigned long last_index,
		      struct page **out_pages) __must_hold(pages->mutex)
{
	auto *access = kzalloc_obj<struct iopt_pages_access>();

	if (!access)
		return -ENOMEM;

	int rc = iopt_pages_fill_xarray(pages, start_index, last_index, out_pages);

	if (rc) {
		kfree_obj(access);
		return rc;
	}
	access->node.start = start_index;
	access->node.last = last_index;
	interval_tree_insert(&access->node, &pages->access_itree);
	return access;
}

int iopt_area_add_access(struct iopt_area *area, unsigned long start_index,
			 unsigned long last_index, struct page **out_pages, unsigned int flags,
			 bool lock_area)
{
	struct iopt_pages *pages = area->pages;

	if (!pages->writable && (flags & IOMMUFD_ACCESS_RW_WRITE))
		return -EPERM;
	if (iopt_is_dmabuf(pages))
		return -EINVAL;

	mutex_guard guard(&pages->mutex);
	struct iopt_pages_access *access =
		iopt_pages_get_exact_access(pages, start_index, last_index);

	if (access) {
		iopt_pages_fill_from_xarray(pages, start_index, last_index, out_pages);
	} else {
		auto added = iopt_pages_new_access(pages, start_index, last_index, out_pages);

		if (!added)
			return added.error();
		access = *added;
	}
	access->users++;
	area->num_accesses++;
	area->num_locks += lock_area;
	return 0;
}

void iopt_area_remove_access(struct iopt_area *area, unsigned long start_index,
			     unsigned long last_index, bool unlock_area)
{
	struct iopt_pages *pages = area->pages;

	mutex_guard guard(&pages->mutex);
	struct iopt_pages_access *access =
		iopt_pages_get_exact_access(pages, start_index, last_index);

	if (WARN_ON(!access))
		return;

	WARN_ON(!access->users || !area->num_accesses);
	WARN_ON(unlock_area && !area->num_locks);
	area->num_accesses--;
	area->num_locks -= unlock_area;
	if (--access->users)
		return;

	interval_tree_remove(&access->node, &pages->access_itree);
	iopt_pages_unfill_xarray(pages, start_index, last_index);
	kfree_obj(access);
}
