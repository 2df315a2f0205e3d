// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors drivers/iommu/iommufd/io_pagetable.c as of Linux v7.2, with iopt_pin_pages() and
 * iopt_unpin_pages() of the vCMDQ series' v2 at the end.
 *
 * Differs: an unmap counts its tries to get rid of the accesses anew for each area, so
 * that a long row of adjacent, pinned areas does not look like a driver that hangs on. The range of
 * a dirty bitmap is checked with iova_rwsem held.
 *
 * This half decides where things are mapped: areas, allowed and reserved IOVA, the set of domains.
 * What is mapped there, and the pins, is pages.cc.
 */
#include "core/iommufd/io_pagetable.h"

#include <climits>
#include <cstddef>
#include <memory>
#include <utility>

#include "core/iommufd/double_span.h"
#include "core/iommufd/iommufd_private.h"
#include "core/linux/err.h"
#include "core/linux/file.h"
#include "core/linux/slab.h"
#include "core/mm/memfd.h"

/* Where a slice of somebody's pages is to be mapped. */
struct iopt_pages_list {
	struct iopt_pages *pages = nullptr;
	struct iopt_area *area = nullptr;
	struct list_head next = {};
	unsigned long start_byte = 0;
	unsigned long length = 0;
};

/* All T of an interval tree, by start, for a range-for. Its body may remove the one it is at. */
template <class T> class itree_walk {
public:
	class iterator {
	public:
		explicit iterator(struct interval_tree_node *node) { go_to(node); }
		T *operator*() const { return container_of(cur_, T, node); }
		void operator++() { go_to(next_); }
		bool operator!=(std::nullptr_t) const { return cur_; }

	private:
		void go_to(struct interval_tree_node *node)
		{
			cur_ = node;
			next_ = node ? interval_tree_iter_next(node, 0, ULONG_MAX) : nullptr;
		}

		struct interval_tree_node *cur_;
		struct interval_tree_node *next_;
	};

	explicit itree_walk(struct rb_root_cached *root) : root_(root) {}
	iterator begin() const { return iterator(interval_tree_iter_first(root_, 0, ULONG_MAX)); }
	std::nullptr_t end() const { return nullptr; }

private:
	struct rb_root_cached *root_;
};

/* The last of length bytes from first. 0, -EINVAL when there are none, -EOVERFLOW when they wrap.
 */
static int iopt_range_last(unsigned long first, unsigned long length, unsigned long *last)
{
	if (!length)
		return -EINVAL;
	return check_add_overflow(first, length - 1, last) ? -EOVERFLOW : 0;
}

struct iopt_area *iopt_area_contig_init(struct iopt_area_contig_iter *iter,
					struct io_pagetable *iopt, unsigned long iova,
					unsigned long last_iova)
{
	lockdep_assert_held(&iopt->iova_rwsem);

	struct iopt_area *found = iopt_area_iter_first(iopt, iova, iova);

	*iter = {
		.cur_iova = iova,
		.last_iova = last_iova,
		.area = found && found->pages ? found : nullptr,
	};
	return iter->area;
}

struct iopt_area *iopt_area_contig_next(struct iopt_area_contig_iter *iter)
{
	/* Arrived: iter->area stays, for iopt_area_contig_done() */
	if (!iter->area || iopt_area_contig_done(iter))
		return nullptr;

	iter->cur_iova = iopt_area_last_iova(iter->area) + 1;
	struct iopt_area *found = iopt_area_iter_next(iter->area, iter->cur_iova, iter->last_iova);
	bool adjacent = found && iopt_area_iova(found) == iter->cur_iova && found->pages;

	iter->area = adjacent ? found : nullptr;
	return iter->area;
}

/* Moves *start up to the first fitting IOVA in [*start, last],
 * if there is room for length from there. */
static bool __alloc_iova_check_range(unsigned long *start, unsigned long last, unsigned long length,
				     unsigned long iova_alignment, unsigned long page_offset)
{
	unsigned long candidate;

	/* A range just below ULONG_MAX must not round up to IOVA 0 */
	if (check_add_overflow(*start, iova_alignment - 1, &candidate))
		return false;
	candidate = ALIGN_DOWN(candidate, iova_alignment) | page_offset;

	if (candidate >= last || last - candidate < length - 1)
		return false;
	*start = candidate;
	return true;
}

static bool __alloc_iova_check_hole(struct interval_tree_double_span_iter *span,
				    unsigned long length, unsigned long iova_alignment,
				    unsigned long page_offset)
{
	return !span->is_used && __alloc_iova_check_range(&span->start_hole, span->last_hole,
							  length, iova_alignment, page_offset);
}

static bool __alloc_iova_check_used(struct interval_tree_span_iter *span, unsigned long length,
				    unsigned long iova_alignment, unsigned long page_offset)
{
	return !span->is_hole && __alloc_iova_check_range(&span->start_used, span->last_used,
							  length, iova_alignment, page_offset);
}

/* The part of iopt_alloc_iova() inside one allowed range. */
static bool iopt_alloc_iova_between(struct io_pagetable *iopt, unsigned long first,
				    unsigned long last, unsigned long length,
				    unsigned long iova_alignment, unsigned long page_offset,
				    unsigned long *iova) __must_hold(iopt->iova_rwsem)
{
	struct interval_tree_double_span_iter span;

	interval_tree_for_each_double_span(&span, &iopt->reserved_itree, &iopt->area_itree, first,
					   last)
	{
		if (__alloc_iova_check_hole(&span, length, iova_alignment, page_offset)) {
			*iova = span.start_hole;
			return true;
		}
	}
	return false;
}

/*
 * Finds the lowest room for length bytes that is allowed, not reserved and not mapped. Page 0 and
 * the last page of the space are never given out. addr is where the memory is: an IOVA that is as
 * aligned as addr lets a domain use large pages.
 */
static int iopt_alloc_iova(struct io_pagetable *iopt, unsigned long *iova, unsigned long addr,
			   unsigned long length) __must_hold(iopt->iova_rwsem)
{
	/* The kernel's HPAGE_SIZE where transparent huge pages are configured */
	constexpr unsigned long max_alignment = SZ_2M;
	unsigned long page_offset = addr % PAGE_SIZE;
	struct interval_tree_span_iter allowed_span;
	unsigned long iova_alignment;
	bool all_allowed;

	lockdep_assert_held(&iopt->iova_rwsem);

	/* roundup_pow_of_two() has to fit */
	if (length == 0 || length >= ULONG_MAX / 2)
		return -EOVERFLOW;

	iova_alignment = roundup_pow_of_two(length);
	if (addr)
		iova_alignment = min(iova_alignment, 1UL << __ffs(addr));
	iova_alignment = min(iova_alignment, max_alignment);

	if (iova_alignment < iopt->iova_alignment)
		return -EINVAL;

	all_allowed = RB_EMPTY_ROOT(&iopt->allowed_itree);
	interval_tree_for_each_span (&allowed_span, &iopt->allowed_itree, PAGE_SIZE,
				     ULONG_MAX - PAGE_SIZE) {
		if (all_allowed) {
			allowed_span.start_used = PAGE_SIZE;
			allowed_span.last_used = ULONG_MAX - PAGE_SIZE;
			allowed_span.is_hole = false;
		}

		if (__alloc_iova_check_used(&allowed_span, length, iova_alignment, page_offset) &&
		    iopt_alloc_iova_between(iopt, allowed_span.start_used, allowed_span.last_used,
					    length, iova_alignment, page_offset, iova))
			return 0;
	}
	return -ENOSPC;
}

static int iopt_check_iova(struct io_pagetable *iopt, unsigned long iova, unsigned long length)
	__must_hold(iopt->iova_rwsem)
{
	unsigned long last;

	lockdep_assert_held(&iopt->iova_rwsem);

	if (iova & (iopt->iova_alignment - 1))
		return -EINVAL;
	if (int rc = iopt_range_last(iova, length, &last))
		return rc;
	if (iopt_reserved_iter_first(iopt, iova, last))
		return -EINVAL;
	return iopt_area_iter_first(iopt, iova, last) ? -EEXIST : 0;
}

/* Makes area the mapping of iova to bytes [start_byte, start_byte + length) of pages, and puts it
 * into the tree without its pages: the IOVA is taken, but the area is not to be used yet. */
static int iopt_insert_area(struct io_pagetable *iopt, struct iopt_area *area,
			    struct iopt_pages *pages, unsigned long iova, unsigned long start_byte,
			    unsigned long length, int iommu_prot) __must_hold(iopt->iova_rwsem)
{
	unsigned int page_offset = start_byte % PAGE_SIZE;
	unsigned long last_iova;
	unsigned long last_byte;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	if (!pages->writable && (iommu_prot & IOMMU_WRITE))
		return -EPERM;
	if (page_offset & (iopt->iova_alignment - 1))
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last_iova) ||
	    check_add_overflow(start_byte, length - 1, &last_byte) ||
	    WARN_ON(last_byte / PAGE_SIZE >= pages->npages))
		return -EOVERFLOW;

	area->node.start = iova;
	area->node.last = last_iova;
	area->pages_node.start = start_byte / PAGE_SIZE;
	area->pages_node.last = last_byte / PAGE_SIZE;
	area->page_offset = page_offset;
	area->iommu_prot = iommu_prot;
	area->iopt = iopt;
	interval_tree_insert(&area->node, &iopt->area_itree);
	return 0;
}

static struct iopt_area *iopt_area_alloc(void)
{
	return kzalloc_obj<struct iopt_area>();
}

/* Where the memory of a slice begins, as far as alignment goes. */
static unsigned long iopt_slice_addr(const struct iopt_pages_list *slice)
{
	switch (slice->pages->type) {
	case IOPT_ADDRESS_USER:
		return slice->pages->uptr + slice->start_byte;
	case IOPT_ADDRESS_FILE:
		return slice->pages->start + slice->start_byte;
	case IOPT_ADDRESS_DMABUF:
		return slice->pages->dmabuf.start + slice->start_byte;
	}
	return 0;
}

/* Gives each slice of the list an area, one after the other from *dst_iova.
 * On failure some have theirs. */
static int iopt_alloc_area_pages(struct io_pagetable *iopt, struct list_head *pages_list,
				 unsigned long length, unsigned long *dst_iova, int iommu_prot,
				 unsigned int flags) __must_not_hold(iopt->iova_rwsem)
{
	struct iopt_pages_list *slice;

	list_for_each_entry (slice, pages_list, next) {
		slice->area = iopt_area_alloc();
		if (!slice->area)
			return -ENOMEM;
	}

	rwsem_write_guard guard(&iopt->iova_rwsem);
	if (!length || (length & (iopt->iova_alignment - 1)))
		return -EINVAL;

	if (flags & IOPT_ALLOC_IOVA) {
		/* The first slice stands for all where the alignment is guessed */
		slice = list_first_entry(pages_list, struct iopt_pages_list, next);
		if (int rc = iopt_alloc_iova(iopt, dst_iova, iopt_slice_addr(slice), length))
			return rc;
		if (WARN_ON(iopt_check_iova(iopt, *dst_iova, length)))
			return -EINVAL;
	} else if (int rc = iopt_check_iova(iopt, *dst_iova, length)) {
		return rc;
	}

	unsigned long iova = *dst_iova;

	list_for_each_entry (slice, pages_list, next) {
		if (int rc = iopt_insert_area(iopt, slice->area, slice->pages, iova,
					      slice->start_byte, slice->length, iommu_prot))
			return rc;
		iova += slice->length;
	}
	return 0;
}

/* Frees an area that is not in use: never filled, or unfilled again. */
static void iopt_abort_area(struct iopt_area *area)
{
	WARN_ON(area->pages);
	if (area->iopt) {
		rwsem_write_guard guard(&area->iopt->iova_rwsem);

		interval_tree_remove(&area->node, &area->iopt->area_itree);
	}
	kfree_obj(area);
}

/* Ends what a slice still has: all of it, or, once it is mapped, nothing. */
static void iopt_drop_slice(struct iopt_pages_list *slice)
{
	if (slice->area)
		iopt_abort_area(slice->area);
	if (slice->pages)
		iopt_put_pages(slice->pages);
}

void iopt_free_pages_list(struct list_head *pages_list)
{
	while (!list_empty(pages_list)) {
		auto *slice = list_first_entry(pages_list, struct iopt_pages_list, next);

		iopt_drop_slice(slice);
		list_del(&slice->next);
		kfree_obj(slice);
	}
}

/* Undoes iopt_fill_domains_pages() for the slices in front of end. */
static void iopt_unfill_domains_pages(struct list_head *pages_list,
				      const struct iopt_pages_list *end)
{
	struct iopt_pages_list *slice;

	list_for_each_entry (slice, pages_list, next) {
		if (slice == end)
			return;
		iopt_area_unfill_domains(slice->area, slice->pages);
	}
}

static int iopt_fill_domains_pages(struct list_head *pages_list)
{
	struct iopt_pages_list *slice;

	list_for_each_entry (slice, pages_list, next) {
		if (int rc = iopt_area_fill_domains(slice->area, slice->pages)) {
			iopt_unfill_domains_pages(pages_list, slice);
			return rc;
		}
	}
	return 0;
}

int iopt_map_pages(struct io_pagetable *iopt, struct list_head *pages_list, unsigned long length,
		   unsigned long *dst_iova, int iommu_prot, unsigned int flags)
{
	struct iopt_pages_list *slice;

	if (int rc = iopt_alloc_area_pages(iopt, pages_list, length, dst_iova, iommu_prot, flags))
		return rc;

	/*
	 * A domain that is added from here on either waits, and then sees the areas with their
	 * pages, or was added before and is filled below.
	 */
	rwsem_read_guard domains_guard(&iopt->domains_rwsem);
	if (int rc = iopt_fill_domains_pages(pages_list))
		return rc;

	rwsem_write_guard iova_guard(&iopt->iova_rwsem);
	/* Each area takes over its slice's reference; from now on it is in use */
	list_for_each_entry (slice, pages_list, next)
		std::exchange(slice->area, nullptr)->pages = std::exchange(slice->pages, nullptr);
	return 0;
}

/* Consumes the reference on pages. */
static int iopt_map_common(struct iommufd_ctx *ictx, struct io_pagetable *iopt,
			   struct iopt_pages *pages, unsigned long *iova, unsigned long length,
			   unsigned long start_byte, int iommu_prot, unsigned int flags)
{
	struct iopt_pages_list slice;
	LIST_HEAD(pages_list);

	/* Nobody else has seen the pages yet */
	if (ictx->account_mode == IOPT_PAGES_ACCOUNT_MM &&
	    pages->account_mode == IOPT_PAGES_ACCOUNT_USER)
		pages->account_mode = IOPT_PAGES_ACCOUNT_MM;
	slice.pages = pages;
	slice.length = length;
	slice.start_byte = start_byte;
	list_add(&slice.next, &pages_list);

	int rc = iopt_map_pages(iopt, &pages_list, length, iova, iommu_prot, flags);

	if (rc)
		iopt_drop_slice(&slice);
	return rc;
}

int iopt_map_user_pages(struct iommufd_ctx *ictx, struct io_pagetable *iopt, unsigned long *iova,
			user_inout<void> uptr, unsigned long length, int iommu_prot,
			unsigned int flags)
{
	auto pages = iopt_alloc_user_pages(uptr, length, iommu_prot & IOMMU_WRITE);

	if (!pages)
		return pages.error();
	return iopt_map_common(ictx, iopt, *pages, iova, length, uptr.addr() - pages->uptr,
			       iommu_prot, flags);
}

/* The pages of a descriptor that is no dma-buf. */
static result<struct iopt_pages *> iopt_alloc_fd_pages(int fd, unsigned long start_byte,
						       unsigned long start, unsigned long length,
						       bool writable)
{
	fd_guard file((unsigned int)fd);

	if (!file)
		return -EBADF;
	/*
	 * The kernel (v7.2) finds this out when it pins. An IOAS without a domain pins nothing: a
	 * file of iommufd's own, mapped there, would hold the context that maps it, and neither
	 * would ever go.
	 */
	if (!is_memfd(file.get()))
		return -EINVAL;
	return iopt_alloc_file_pages(file.get(), start_byte, start, length, writable);
}

int iopt_map_file_pages(struct iommufd_ctx *ictx, struct io_pagetable *iopt, unsigned long *iova,
			int fd, unsigned long start, unsigned long length, int iommu_prot,
			unsigned int flags)
{
	unsigned long start_byte = offset_in_page(start);
	unsigned long last;

	if (int rc = iopt_range_last(start, length, &last))
		return rc;

	const bool writable = iommu_prot & IOMMU_WRITE;
	auto dmabuf = dma_buf_get(fd);
	auto pages =
		dmabuf ? iopt_alloc_dmabuf_pages(ictx, *dmabuf, start_byte, start, length, writable)
		       : iopt_alloc_fd_pages(fd, start_byte, start, length, writable);

	if (!pages) {
		if (dmabuf)
			dma_buf_put(*dmabuf);
		return pages.error();
	}
	return iopt_map_common(ictx, iopt, *pages, iova, length, start_byte, iommu_prot, flags);
}

/* For one reading of dirty bits: what its iova_bitmap_fn_t needs. */
struct iova_bitmap_fn_arg {
	unsigned long flags;
	struct io_pagetable *iopt;
	struct iommu_domain *domain;
	struct iommu_dirty_bitmap *dirty;
};

/* Reads up to the first gap; -EINVAL when there is one. */
static int __iommu_read_and_clear_dirty(struct iova_bitmap *, unsigned long iova, size_t length,
					void *opaque)
{
	const auto *arg = static_cast<struct iova_bitmap_fn_arg *>(opaque);
	const unsigned long last_iova = iova + (length - 1);
	struct iopt_area_contig_iter iter;
	struct iopt_area *area;

	lockdep_assert_held_read(&arg->iopt->iova_rwsem);

	iopt_for_each_contig_area (&iter, area, arg->iopt, iova, last_iova) {
		unsigned long last = min(last_iova, iopt_area_last_iova(area));

		if (int rc = arg->domain->dirty_ops->read_and_clear_dirty(
			    arg->domain, iter.cur_iova, last - iter.cur_iova + 1, arg->flags,
			    arg->dirty))
			return rc;
	}
	return iopt_area_contig_done(&iter) ? 0 : -EINVAL;
}

/* -EOPNOTSUPP: the domain does not track; -ENOMEM. As in the kernel a range that is not mapped to
 * its end, and a bitmap that is not there, are no errors: the bits are missing. */
static int iommu_read_and_clear_dirty(struct iommu_domain *domain, struct io_pagetable *iopt,
				      unsigned long flags,
				      struct iommu_hwpt_get_dirty_bitmap *bitmap)
	__must_hold_shared(iopt->iova_rwsem)
{
	const struct iommu_dirty_ops *ops = domain->dirty_ops;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	struct iova_bitmap_fn_arg arg = {
		.flags = flags,
		.iopt = iopt,
		.domain = domain,
		.dirty = &dirty,
	};

	if (!ops || !ops->read_and_clear_dirty)
		return -EOPNOTSUPP;

	auto iter = iova_bitmap_alloc(bitmap->iova, bitmap->length, bitmap->page_size,
				      user_inout<void>(bitmap->data));

	if (!iter)
		return iter.error();
	iommu_dirty_bitmap_init(&dirty, *iter, &gather);
	(void)iova_bitmap_for_each(*iter, &arg, __iommu_read_and_clear_dirty);
	if (!(flags & IOMMU_DIRTY_NO_CLEAR))
		iommu_iotlb_sync(domain, &gather);
	iova_bitmap_free(*iter);
	return 0;
}

/* The one length of 0 that passes is that of the whole space. */
int iommufd_check_iova_range(struct io_pagetable *iopt, struct iommu_hwpt_get_dirty_bitmap *bitmap)
{
	const unsigned long iommu_pgsize = iopt->iova_alignment;
	u64 last_iova;

	if (check_add_overflow(bitmap->iova, bitmap->length - 1, &last_iova))
		return -EOVERFLOW;

	/* where the range begins and where the next one would */
	const u64 edges = bitmap->iova | (last_iova + 1);

	if (edges & (iommu_pgsize - 1))
		return -EINVAL;
	/* that page_size is a power of two is not asked for, nor that it is one of the domain's */
	if (!bitmap->page_size || edges & (bitmap->page_size - 1))
		return -EINVAL;
	return 0;
}

int iopt_read_and_clear_dirty_data(struct io_pagetable *iopt, struct iommu_domain *domain,
				   unsigned long flags, struct iommu_hwpt_get_dirty_bitmap *bitmap)
{
	rwsem_read_guard guard(&iopt->iova_rwsem);

	if (int rc = iommufd_check_iova_range(iopt, bitmap))
		return rc;
	return iommu_read_and_clear_dirty(domain, iopt, flags, bitmap);
}

static int iopt_clear_dirty_data(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold_shared(iopt->iova_rwsem)
{
	const struct iommu_dirty_ops *ops = domain->dirty_ops;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	int rc = 0;

	lockdep_assert_held_read(&iopt->iova_rwsem);

	/* No bitmap: the bits are dropped */
	iommu_dirty_bitmap_init(&dirty, nullptr, &gather);
	for (struct iopt_area *area : itree_walk<struct iopt_area>(&iopt->area_itree)) {
		if (area->pages)
			rc = ops->read_and_clear_dirty(domain, iopt_area_iova(area),
						       iopt_area_length(area), 0, &dirty);
		if (rc)
			break;
	}
	/* A cached translation would not set the bit again */
	iommu_iotlb_sync(domain, &gather);
	return rc;
}

int iopt_set_dirty_tracking(struct io_pagetable *iopt, struct iommu_domain *domain, bool enable)
{
	const struct iommu_dirty_ops *ops = domain->dirty_ops;

	if (!ops)
		return -EOPNOTSUPP;

	rwsem_read_guard guard(&iopt->iova_rwsem);

	/* The tracking starts with a clean slate */
	if (enable)
		if (int rc = iopt_clear_dirty_data(iopt, domain))
			return rc;
	return ops->set_dirty_tracking(domain, enable);
}

/* What iopt_get_pages() does with the lock held. On failure some slices are on the list. */
static int iopt_collect_pages(struct io_pagetable *iopt, unsigned long iova,
			      unsigned long last_iova, struct list_head *pages_list)
	__must_hold_shared(iopt->iova_rwsem)
{
	struct iopt_area_contig_iter iter;
	struct iopt_area *area;

	iopt_for_each_contig_area (&iter, area, iopt, iova, last_iova) {
		auto *slice = kzalloc_obj<struct iopt_pages_list>();

		if (!slice)
			return -ENOMEM;
		kref_get(&area->pages->kref);
		slice->pages = area->pages;
		slice->start_byte = iopt_area_start_byte(area, iter.cur_iova);
		slice->length = min(last_iova, iopt_area_last_iova(area)) - iter.cur_iova + 1;
		list_add_tail(&slice->next, pages_list);
	}
	return iopt_area_contig_done(&iter) ? 0 : -ENOENT;
}

int iopt_get_pages(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		   struct list_head *pages_list)
{
	unsigned long last_iova;
	int rc = iopt_range_last(iova, length, &last_iova);

	if (rc)
		return rc;
	{
		rwsem_read_guard guard(&iopt->iova_rwsem);

		rc = iopt_collect_pages(iopt, iova, last_iova, pages_list);
	}
	if (rc)
		iopt_free_pages_list(pages_list);
	return rc;
}

/* May area go, when [start, last] is to be unmapped? */
static int iopt_area_check_unmap(const struct iopt_area *area, unsigned long start,
				 unsigned long last)
{
	/* Another thread maps or unmaps it */
	if (!area->pages)
		return -EBUSY;
	/* Hardware reads it, and cannot be told to stop: no access is asked in vain */
	if (area->num_locks)
		return -EBUSY;

	bool inside = start <= iopt_area_iova(area) && iopt_area_last_iova(area) <= last;

	return inside ? 0 : -ENOENT;
}

/* Asks the accesses to let go of area. The locks are not held meanwhile: the ops unpin, which takes
 * iova_rwsem. Afterwards the area may be gone. */
static void iopt_evict_accesses(struct io_pagetable *iopt, struct iopt_area *area)
	__must_hold_shared(iopt->domains_rwsem) __must_hold(iopt->iova_rwsem)
{
	unsigned long iova = iopt_area_iova(area);
	size_t length = iopt_area_length(area);

	area->prevent_access = true;
	up_write(&iopt->iova_rwsem);
	up_read(&iopt->domains_rwsem);
	iommufd_access_notify_unmap(iopt, iova, length);
	down_read(&iopt->domains_rwsem);
	down_write(&iopt->iova_rwsem);
}

/* Empties the domains of area and frees it. iova_rwsem is not held meanwhile, domains_rwsem is: a
 * domain that came now would not be filled with it, one that went would not be emptied of it. */
static void iopt_unmap_area(struct io_pagetable *iopt, struct iopt_area *area)
	__must_hold_shared(iopt->domains_rwsem) __must_hold(iopt->iova_rwsem)
{
	struct iopt_pages *pages = std::exchange(area->pages, nullptr);

	up_write(&iopt->iova_rwsem);
	iopt_area_unfill_domains(area, pages);
	iopt_abort_area(area);
	iopt_put_pages(pages);
	down_write(&iopt->iova_rwsem);
}

static int iopt_unmap_iova_range(struct io_pagetable *iopt, unsigned long start, unsigned long last,
				 unsigned long *unmapped)
{
	constexpr unsigned int max_tries = 100;
	unsigned int tries = 0;
	unsigned long nobody_asks;

	if (!unmapped)
		unmapped = &nobody_asks;
	*unmapped = 0;

	rwsem_read_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	/* Nothing mapped is nothing wrong */
	while (auto *area = iopt_area_iter_first(iopt, start, last)) {
		const unsigned long area_first = iopt_area_iova(area);
		const unsigned long area_last = iopt_area_last_iova(area);

		if (int rc = iopt_area_check_unmap(area, start, last))
			return rc;

		/* Changes only under iova_rwsem, which we have for writing */
		if (area->num_accesses) {
			if (area_first != start)
				tries = 0;
			start = area_first;
			iopt_evict_accesses(iopt, area);
			/* A driver does not do what its unmap op promises */
			if (WARN_ON(++tries > max_tries))
				return -EDEADLOCK;
			continue;
		}

		iopt_unmap_area(iopt, area);
		*unmapped += area_last - area_first + 1;
		tries = 0;

		/* Another thread may map new areas where we have been.
		 * They are not ours: only go up. */
		if (area_last >= last)
			break;
		start = area_last + 1;
	}
	return 0;
}

int iopt_unmap_iova(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		    unsigned long *unmapped)
{
	unsigned long last;

	if (int rc = iopt_range_last(iova, length, &last))
		return rc;
	return iopt_unmap_iova_range(iopt, iova, last, unmapped);
}

int iopt_unmap_all(struct io_pagetable *iopt, unsigned long *unmapped)
{
	return iopt_unmap_iova_range(iopt, 0, ULONG_MAX, unmapped);
}

int iopt_set_allow_iova(struct io_pagetable *iopt, struct rb_root_cached *allowed_iova)
{
	rwsem_write_guard guard(&iopt->iova_rwsem);
	swap(*allowed_iova, iopt->allowed_itree);

	for (auto *allowed : itree_walk<struct iopt_allowed>(&iopt->allowed_itree)) {
		const struct interval_tree_node *range = &allowed->node;

		if (iopt_reserved_iter_first(iopt, range->start, range->last)) {
			swap(*allowed_iova, iopt->allowed_itree);
			return -EADDRINUSE;
		}
	}
	return 0;
}

int iopt_reserve_iova(struct io_pagetable *iopt, unsigned long start, unsigned long last,
		      void *owner)
{
	lockdep_assert_held_write(&iopt->iova_rwsem);

	if (iopt_area_iter_first(iopt, start, last) || iopt_allowed_iter_first(iopt, start, last))
		return -EADDRINUSE;

	auto *range = kzalloc_obj<struct iopt_reserved>();

	if (!range)
		return -ENOMEM;
	range->owner = owner;
	range->node.start = start;
	range->node.last = last;
	interval_tree_insert(&range->node, &iopt->reserved_itree);
	return 0;
}

static void __iopt_remove_reserved_iova(struct io_pagetable *iopt, void *owner)
	__must_hold(iopt->iova_rwsem)
{
	lockdep_assert_held_write(&iopt->iova_rwsem);

	for (auto *range : itree_walk<struct iopt_reserved>(&iopt->reserved_itree)) {
		if (range->owner != owner)
			continue;
		interval_tree_remove(&range->node, &iopt->reserved_itree);
		kfree_obj(range);
	}
}

void iopt_remove_reserved_iova(struct io_pagetable *iopt, void *owner)
{
	rwsem_write_guard guard(&iopt->iova_rwsem);

	__iopt_remove_reserved_iova(iopt, owner);
}

void iopt_init_table(struct io_pagetable *iopt) LOCK_ANALYSIS_ESCAPE("nobody else sees it yet")
{
	iopt->area_itree = RB_ROOT_CACHED;
	iopt->allowed_itree = RB_ROOT_CACHED;
	iopt->reserved_itree = RB_ROOT_CACHED;
	iopt->next_domain_id = 0;
	iopt->disable_large_pages = false;
	/* No domain, no limit: bytes from 0 to ULONG_MAX */
	iopt->iova_alignment = 1;
}

void iopt_destroy_table(struct io_pagetable *iopt)
	LOCK_ANALYSIS_ESCAPE("the last reference is gone: nobody else sees it")
{
	/* Those that a test reserved */
	iopt_remove_reserved_iova(iopt, nullptr);

	for (auto *allowed : itree_walk<struct iopt_allowed>(&iopt->allowed_itree)) {
		interval_tree_remove(&allowed->node, &iopt->allowed_itree);
		kfree_obj(allowed);
	}

	WARN_ON(!RB_EMPTY_ROOT(&iopt->reserved_itree));
	WARN_ON(!xa_empty(&iopt->domains));
	WARN_ON(!xa_empty(&iopt->access_list));
	WARN_ON(!RB_EMPTY_ROOT(&iopt->area_itree));
}

/* From now on the area's PFNs are read back from domain; no other was the storage_domain. */
static void iopt_area_set_storage(struct iopt_area *area, struct iopt_pages *pages,
				  struct iommu_domain *domain) __must_hold(pages->mutex)
{
	area->storage_domain = domain;
	interval_tree_insert(&area->pages_node, &pages->domains_itree);
}

static void iopt_area_clear_storage(struct iopt_area *area, struct iopt_pages *pages)
	__must_hold(pages->mutex)
{
	interval_tree_remove(&area->pages_node, &pages->domains_itree);
	area->storage_domain = nullptr;
}

/* Empties domain of area. heir is a domain that keeps it, or NULL when this is the last one. */
static void iopt_area_leave_domain(struct iopt_area *area, struct iommu_domain *domain,
				   struct iommu_domain *heir)
{
	struct iopt_pages *pages = area->pages;

	if (!heir) {
		mutex_guard guard(&pages->mutex);

		WARN_ON(area->storage_domain != domain);
		iopt_area_clear_storage(area, pages);
		iopt_area_unfill_domain(area, pages, domain);
		if (iopt_is_dmabuf(pages))
			iopt_dmabuf_untrack_domain(pages, area, domain);
		return;
	}

	/* The heir keeps the pages pinned and knows the PFNs: no need to look at this domain's */
	{
		mutex_guard guard(&pages->mutex);

		WARN_ON(!area->storage_domain);
		if (area->storage_domain == domain)
			area->storage_domain = heir;
		if (iopt_is_dmabuf(pages)) {
			/* all at once: a revoke unmaps what is tracked, and only that */
			if (!iopt_dmabuf_revoked(pages))
				iopt_area_unmap_domain(area, domain);
			iopt_dmabuf_untrack_domain(pages, area, domain);
			return;
		}
	}
	iopt_area_unmap_domain(area, domain);
}

/* Empties domain, which is out of iopt->domains already, of every area. */
static void iopt_unfill_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	struct iommu_domain *heir = nullptr;

	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held_write(&iopt->domains_rwsem);

	if (iopt->next_domain_id)
		heir = static_cast<struct iommu_domain *>(xa_load(&iopt->domains, 0));

	for (struct iopt_area *area : itree_walk<struct iopt_area>(&iopt->area_itree))
		if (area->pages)
			iopt_area_leave_domain(area, domain, heir);
}

/* Maps area into domain, which is about to be one of the table's. */
static int iopt_area_enter_domain(struct iopt_area *area, struct iommu_domain *domain,
				  bool first_domain)
{
	struct iopt_pages *pages = area->pages;

	mutex_guard guard(&pages->mutex);
	if (iopt_is_dmabuf(pages))
		if (int rc = iopt_dmabuf_track_domain(pages, area, domain))
			return rc;
	if (int rc = iopt_area_fill_domain(area, domain)) {
		if (iopt_is_dmabuf(pages))
			iopt_dmabuf_untrack_domain(pages, area, domain);
		return rc;
	}
	if (!area->storage_domain) {
		WARN_ON(!first_domain);
		iopt_area_set_storage(area, pages, domain);
	}
	return 0;
}

/* Undoes iopt_area_enter_domain(). */
static void iopt_area_abort_domain(struct iopt_area *area, struct iommu_domain *domain,
				   bool first_domain)
{
	struct iopt_pages *pages = area->pages;

	mutex_guard guard(&pages->mutex);
	if (first_domain)
		iopt_area_clear_storage(area, pages);
	/* With other domains the pages are still in domains_itree, so this unpins none */
	iopt_area_unfill_domain(area, pages, domain);
	if (iopt_is_dmabuf(pages))
		iopt_dmabuf_untrack_domain(pages, area, domain);
}

/* Maps every area into domain, or none of them. */
static int iopt_fill_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	const bool first_domain = iopt->next_domain_id == 0;
	const itree_walk<struct iopt_area> areas(&iopt->area_itree);

	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held_write(&iopt->domains_rwsem);

	for (struct iopt_area *area : areas) {
		int rc = area->pages ? iopt_area_enter_domain(area, domain, first_domain) : 0;

		if (!rc)
			continue;
		for (struct iopt_area *done : areas) {
			if (done == area)
				return rc;
			if (done->pages)
				iopt_area_abort_domain(done, domain, first_domain);
		}
	}
	return 0;
}

/* -EADDRINUSE unless every area fits the new alignment. What fits now fits a finer one. */
static int iopt_check_iova_alignment(struct io_pagetable *iopt, unsigned long new_iova_alignment)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	const unsigned long mask = new_iova_alignment - 1;
	struct iommufd_access *access;
	unsigned long index;

	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held(&iopt->domains_rwsem);

	if (new_iova_alignment <= iopt->iova_alignment)
		return 0;

	for (const struct iopt_area *area : itree_walk<struct iopt_area>(&iopt->area_itree))
		if ((iopt_area_iova(area) | iopt_area_length(area) | area->page_offset) & mask)
			return -EADDRINUSE;

	xa_for_each (&iopt->access_list, index, access)
		if (WARN_ON(access->iova_alignment > new_iova_alignment))
			return -EADDRINUSE;
	return 0;
}

/* Nothing is mapped outside the domain's aperture, and nothing will be. */
static int iopt_reserve_outside_aperture(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold(iopt->iova_rwsem)
{
	const unsigned long first = domain->geometry.aperture_start;
	const unsigned long last = domain->geometry.aperture_end;

	if (first != 0)
		if (int rc = iopt_reserve_iova(iopt, 0, first - 1, domain))
			return rc;
	if (last != ULONG_MAX)
		return iopt_reserve_iova(iopt, last + 1, ULONG_MAX, domain);
	return 0;
}

/* Makes domain the last one of the table, with all areas mapped. */
static int iopt_append_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	const unsigned int id = iopt->next_domain_id;

	/* After the fill nothing may fail */
	if (int rc = xa_reserve(&iopt->domains, id, GFP_KERNEL))
		return rc;
	if (int rc = iopt_fill_domain(iopt, domain)) {
		xa_release(&iopt->domains, id);
		return rc;
	}
	xa_store(&iopt->domains, id, domain, GFP_KERNEL);
	iopt->next_domain_id = id + 1;
	return 0;
}

int iopt_table_add_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
{
	unsigned long new_iova_alignment;
	struct iommu_domain *iter_domain;
	unsigned long index;

	rwsem_write_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	xa_for_each (&iopt->domains, index, iter_domain)
		if (WARN_ON(iter_domain == domain))
			return -EEXIST;

	/*
	 * iopt_pages hands out whole pages, in whatever physical order they are: PAGE_SIZE is the
	 * largest unit that a domain may insist on. It may have smaller ones.
	 */
	new_iova_alignment = max(1UL << __ffs(domain->pgsize_bitmap), iopt->iova_alignment);
	if (new_iova_alignment > PAGE_SIZE)
		return -EINVAL;
	if (int rc = iopt_check_iova_alignment(iopt, new_iova_alignment))
		return rc;

	int rc = iopt_reserve_outside_aperture(iopt, domain);

	if (!rc)
		rc = iopt_append_domain(iopt, domain);
	if (rc)
		__iopt_remove_reserved_iova(iopt, domain);
	else
		iopt->iova_alignment = new_iova_alignment;
	return rc;
}

/* Sets iova_alignment to what the domains, the accesses and the large page setting need together.
 */
static int iopt_calculate_iova_alignment(struct io_pagetable *iopt)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	/* See batch_iommu_map_small() */
	unsigned long needed = iopt->disable_large_pages ? PAGE_SIZE : 1;
	struct iommufd_access *access;
	struct iommu_domain *domain;
	unsigned long index;

	lockdep_assert_held_write(&iopt->iova_rwsem);
	lockdep_assert_held(&iopt->domains_rwsem);

	xa_for_each (&iopt->domains, index, domain)
		needed = max(needed, 1UL << __ffs(domain->pgsize_bitmap));
	xa_for_each (&iopt->access_list, index, access)
		needed = max_t(unsigned long, needed, access->iova_alignment);

	int rc = iopt_check_iova_alignment(iopt, needed);

	if (!rc)
		iopt->iova_alignment = needed;
	return rc;
}

void iopt_table_remove_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
{
	struct iommu_domain *iter_domain;
	unsigned long domain_index = ULONG_MAX;
	unsigned long index;

	rwsem_write_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	xa_for_each (&iopt->domains, index, iter_domain)
		if (iter_domain == domain)
			domain_index = index;
	if (WARN_ON(domain_index >= iopt->next_domain_id))
		return;

	/* The last one moves into the hole, so that the ids stay dense and 0 is there as long as
	 * any is */
	iopt->next_domain_id--;
	iter_domain =
		static_cast<struct iommu_domain *>(xa_erase(&iopt->domains, iopt->next_domain_id));
	if (domain_index != iopt->next_domain_id)
		xa_store(&iopt->domains, domain_index, iter_domain, GFP_KERNEL);

	iopt_unfill_domain(iopt, domain);
	__iopt_remove_reserved_iova(iopt, domain);

	WARN_ON(iopt_calculate_iova_alignment(iopt));
}

/* A new area that goes again unless it is released. */
struct iopt_area_free {
	void operator()(struct iopt_area *area) const { kfree_obj(area); }
};
using new_iopt_area = std::unique_ptr<struct iopt_area, iopt_area_free>;

/* Gives half the part [first, last] of area. */
static int iopt_insert_half(struct io_pagetable *iopt, struct iopt_area *half,
			    struct iopt_area *area, unsigned long first, unsigned long last)
	__must_hold(iopt->iova_rwsem)
{
	return iopt_insert_area(iopt, half, area->pages, first, iopt_area_start_byte(area, first),
				last - first + 1, area->iommu_prot);
}

/* Puts lhs and rhs, which begins at new_start, into area_itree where area was; or area again. */
static int iopt_insert_halves(struct io_pagetable *iopt, struct iopt_area *area,
			      struct iopt_area *lhs, struct iopt_area *rhs, unsigned long new_start)
	__must_hold(iopt->iova_rwsem)
{
	interval_tree_remove(&area->node, &iopt->area_itree);

	int rc = iopt_insert_half(iopt, lhs, area, iopt_area_iova(area), new_start - 1);

	if (!rc) {
		rc = iopt_insert_half(iopt, rhs, area, new_start, iopt_area_last_iova(area));
		if (rc)
			interval_tree_remove(&lhs->node, &iopt->area_itree);
	}
	if (WARN_ON(rc))
		interval_tree_insert(&area->node, &iopt->area_itree);
	return rc;
}

/*
 * Replaces area by two, of which the lower ends with iova. Both use the same pages, so neither the
 * domains nor the pins change.
 */
static int iopt_area_split(struct io_pagetable *iopt, struct iopt_area *area, unsigned long iova)
	__must_hold(iopt->iova_rwsem)
{
	const unsigned long mask = iopt->iova_alignment - 1;
	const unsigned long new_start = iova + 1;
	struct iopt_pages *pages = area->pages;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	if (iova == iopt_area_iova(area) || iova == iopt_area_last_iova(area))
		return 0;
	if (!pages || area->prevent_access)
		return -EBUSY;
	/* The halves would have to take over what is tracked */
	if (iopt_is_dmabuf(pages))
		return -EOPNOTSUPP;
	if ((new_start | iopt_area_start_byte(area, new_start)) & mask)
		return -EINVAL;

	new_iopt_area lhs(iopt_area_alloc());
	if (!lhs)
		return -ENOMEM;
	new_iopt_area rhs(iopt_area_alloc());
	if (!rhs)
		return -ENOMEM;

	mutex_guard guard(&pages->mutex);
	struct iommu_domain *storage = area->storage_domain;

	/* The area knows how many accesses it has, not which half they are in */
	if (area->num_accesses)
		return -EINVAL;
	/* One large page of the domain may lie across the cut: the halves could not be unmapped one
	 * by one */
	if (storage && !iopt->disable_large_pages)
		return -EINVAL;

	if (int rc = iopt_insert_halves(iopt, area, lhs.get(), rhs.get(), new_start))
		return rc;

	if (storage) {
		iopt_area_clear_storage(area, pages);
		iopt_area_set_storage(lhs.get(), pages, storage);
		iopt_area_set_storage(rhs.get(), pages, storage);
	}
	/* One of them has the reference of area */
	kref_get(&pages->kref);
	lhs.release()->pages = pages;
	rhs.release()->pages = pages;
	kfree_obj(area);
	return 0;
}

int iopt_cut_iova(struct io_pagetable *iopt, unsigned long *iovas, size_t num_iovas)
{
	rwsem_write_guard guard(&iopt->iova_rwsem);

	for (size_t i = 0; i < num_iovas; i++) {
		auto *area = iopt_area_iter_first(iopt, iovas[i], iovas[i]);

		if (!area)
			continue;
		if (int rc = iopt_area_split(iopt, area, iovas[i]))
			return rc;
	}
	return 0;
}

void iopt_enable_large_pages(struct io_pagetable *iopt)
{
	rwsem_write_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	iopt->disable_large_pages = false;
	/* The alignment can only become finer, which always fits */
	WARN_ON(iopt_calculate_iova_alignment(iopt));
}

int iopt_disable_large_pages(struct io_pagetable *iopt)
{
	int rc;

	rwsem_write_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	if (iopt->disable_large_pages)
		return 0;

	/* Large pages may be in use */
	if (!xa_empty(&iopt->domains) && !RB_EMPTY_ROOT(&iopt->area_itree))
		return -EINVAL;

	iopt->disable_large_pages = true;
	rc = iopt_calculate_iova_alignment(iopt);
	if (rc)
		iopt->disable_large_pages = false;
	return rc;
}

int iopt_add_access(struct io_pagetable *iopt, struct iommufd_access *access)
{
	u32 id;

	rwsem_write_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	if (int rc = xa_alloc(&iopt->access_list, &id, access, xa_limit_16b, GFP_KERNEL_ACCOUNT))
		return rc;
	if (int rc = iopt_calculate_iova_alignment(iopt)) {
		xa_erase(&iopt->access_list, id);
		return rc;
	}
	access->iopt_access_list_id = id;
	return 0;
}

void iopt_remove_access(struct io_pagetable *iopt, struct iommufd_access *access,
			u32 iopt_access_list_id)
{
	rwsem_write_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	WARN_ON(xa_erase(&iopt->access_list, iopt_access_list_id) != access);
	WARN_ON(iopt_calculate_iova_alignment(iopt));
}

/* The part of iopt_table_enforce_dev_resv_regions() between get and put of the list. On failure
 * some may be reserved. */
static int iopt_reserve_dev_regions(struct io_pagetable *iopt, struct device *dev,
				    struct list_head *regions, phys_addr_t *sw_msi_start)
	__must_hold(iopt->iova_rwsem)
{
	struct iommu_resv_region *region;
	unsigned int hw_msi = 0;
	unsigned int sw_msi = 0;

	list_for_each_entry (region, regions, list) {
		const phys_addr_t first = region->start;

		if (region->type == IOMMU_RESV_DIRECT_RELAXABLE)
			continue;
		if (sw_msi_start) {
			hw_msi += region->type == IOMMU_RESV_MSI;
			if (region->type == IOMMU_RESV_SW_MSI) {
				sw_msi++;
				*sw_msi_start = first;
			}
		}
		if (int rc = iopt_reserve_iova(iopt, first, first + (region->length - 1), dev))
			return rc;
	}

	/* Either the hardware has an MSI window or software makes one, not both, and not two */
	return WARN_ON(sw_msi && hw_msi) || WARN_ON(sw_msi > 1) ? -EINVAL : 0;
}

int iopt_table_enforce_dev_resv_regions(struct io_pagetable *iopt, struct device *dev,
					phys_addr_t *sw_msi_start)
{
	LIST_HEAD(regions);

	if (iommufd_should_fail())
		return -EINVAL;

	rwsem_write_guard guard(&iopt->iova_rwsem);
	/* A driver that runs out of memory here has no way to say so */
	iommu_get_resv_regions(dev, &regions);

	int rc = iopt_reserve_dev_regions(iopt, dev, &regions, sw_msi_start);

	if (rc)
		__iopt_remove_reserved_iova(iopt, dev);
	iommu_put_resv_regions(dev, &regions);
	return rc;
}

/* In the memory, the share of the current area begins on a page,
 * and ends with one unless it is the last. */
static bool iopt_area_contig_is_aligned(const struct iopt_area_contig_iter *iter)
{
	if (iopt_area_start_byte(iter->area, iter->cur_iova) % PAGE_SIZE)
		return false;

	if (!iopt_area_contig_done(iter) &&
	    iopt_area_start_byte(iter->area, iopt_area_last_iova(iter->area)) % PAGE_SIZE !=
		    PAGE_SIZE - 1)
		return false;
	return true;
}

/* The walk of iopt_unpin_pages(); false if there was a gap. */
static bool __iopt_unpin_range(struct io_pagetable *iopt, unsigned long iova,
			       unsigned long last_iova, bool unlock_area)
	__must_hold_shared(iopt->iova_rwsem)
{
	struct iopt_area_contig_iter iter;
	struct iopt_area *area;

	iopt_for_each_contig_area (&iter, area, iopt, iova, last_iova) {
		unsigned long last = min(last_iova, iopt_area_last_iova(area));

		iopt_area_remove_access(area, iopt_area_iova_to_index(area, iter.cur_iova),
					iopt_area_iova_to_index(area, last), unlock_area);
	}
	return iopt_area_contig_done(&iter);
}

/* The walk of iopt_pin_pages(). On failure *cur_iova is where the failing area, or the gap, begins:
 * what is below stays pinned. */
static int __iopt_pin_range(struct io_pagetable *iopt, unsigned long iova, unsigned long last_iova,
			    struct page **out_pages, unsigned int flags, bool lock_area,
			    unsigned long *cur_iova) __must_hold_shared(iopt->iova_rwsem)
{
	struct iopt_area_contig_iter iter;
	struct iopt_area *area;

	iopt_for_each_contig_area (&iter, area, iopt, iova, last_iova) {
		unsigned long last = min(last_iova, iopt_area_last_iova(area));
		unsigned long first_index = iopt_area_iova_to_index(area, iter.cur_iova);
		unsigned long last_index = iopt_area_iova_to_index(area, last);

		*cur_iova = iter.cur_iova;
		if (area->prevent_access || !iopt_area_contig_is_aligned(&iter))
			return -EINVAL;
		if (!iopt_area_check_prot(area, flags))
			return -EPERM;
		if (int rc = iopt_area_add_access(area, first_index, last_index, out_pages, flags,
						  lock_area))
			return rc;
		out_pages += last_index - first_index + 1;
	}
	*cur_iova = iter.cur_iova;
	return iopt_area_contig_done(&iter) ? 0 : -ENOENT;
}

int iopt_pin_pages(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		   struct page **out_pages, unsigned int flags, bool lock_area)
{
	unsigned long last_iova;
	unsigned long failed_at;

	if (int rc = iopt_range_last(iova, length, &last_iova))
		return rc;

	rwsem_read_guard guard(&iopt->iova_rwsem);
	int rc = __iopt_pin_range(iopt, iova, last_iova, out_pages, flags, lock_area, &failed_at);

	if (rc && iova < failed_at)
		WARN_ON(!__iopt_unpin_range(iopt, iova, failed_at - 1, lock_area));
	return rc;
}

void iopt_unpin_pages(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		      bool unlock_area)
{
	unsigned long last_iova;

	if (WARN_ON(iopt_range_last(iova, length, &last_iova)))
		return;

	rwsem_read_guard guard(&iopt->iova_rwsem);
	WARN_ON(!__iopt_unpin_range(iopt, iova, last_iova, unlock_area));
}
