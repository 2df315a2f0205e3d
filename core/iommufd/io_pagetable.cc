// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors drivers/iommu/iommufd/io_pagetable.c as of Linux v7.2, with iopt_pin_pages() and
 * iopt_unpin_pages() of the vCMDQ series' v2 at the end.
 *
 * Differs: no dma-buf and no reading of dirty bitmaps; where dirty bits are only cleared the driver
 * gets a NULL bitmap, and one flush of everything follows. An unmap counts its tries to get rid of
 * the accesses anew for each area, so that a long row of adjacent, pinned areas does not look like
 * a driver that hangs on.
 *
 * This half decides where things are mapped: areas, allowed and reserved IOVA, the set of domains.
 * What is mapped there, and the pins, is pages.cc.
 */
#include "core/iommufd/io_pagetable.h"

#include <climits>

#include "core/iommufd/double_span.h"
#include "core/iommufd/iommufd_private.h"
#include "core/linux/err.h"
#include "core/linux/file.h"
#include "core/linux/slab.h"
#include "core/mm/memfd.h"

struct iopt_pages_list {
	struct iopt_pages *pages = nullptr;
	struct iopt_area *area = nullptr;
	struct list_head next;
	unsigned long start_byte = 0;
	unsigned long length = 0;
};

struct iopt_area *iopt_area_contig_init(struct iopt_area_contig_iter *iter,
					struct io_pagetable *iopt, unsigned long iova,
					unsigned long last_iova)
{
	lockdep_assert_held(&iopt->iova_rwsem);

	iter->cur_iova = iova;
	iter->last_iova = last_iova;
	iter->area = iopt_area_iter_first(iopt, iova, iova);
	if (iter->area && !iter->area->pages)
		iter->area = nullptr;
	return iter->area;
}

struct iopt_area *iopt_area_contig_next(struct iopt_area_contig_iter *iter)
{
	unsigned long last_iova;

	if (!iter->area)
		return nullptr;
	last_iova = iopt_area_last_iova(iter->area);
	/* Arrived: iter->area stays, for iopt_area_contig_done() */
	if (iter->last_iova <= last_iova)
		return nullptr;

	iter->cur_iova = last_iova + 1;
	iter->area = iopt_area_iter_next(iter->area, iter->cur_iova, iter->last_iova);
	if (iter->area && (iopt_area_iova(iter->area) != iter->cur_iova || !iter->area->pages))
		iter->area = nullptr;
	return iter->area;
}

/* Moves *start up to the first fitting IOVA in [*start, last], if there is room for length from
 * there. */
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
	struct interval_tree_double_span_iter used_span;
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

		if (!__alloc_iova_check_used(&allowed_span, length, iova_alignment, page_offset))
			continue;

		interval_tree_for_each_double_span(&used_span, &iopt->reserved_itree,
						   &iopt->area_itree, allowed_span.start_used,
						   allowed_span.last_used)
		{
			if (!__alloc_iova_check_hole(&used_span, length, iova_alignment,
						     page_offset))
				continue;

			*iova = used_span.start_hole;
			return 0;
		}
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

	if (check_add_overflow(iova, length - 1, &last))
		return -EOVERFLOW;

	if (iopt_reserved_iter_first(iopt, iova, last))
		return -EINVAL;

	if (iopt_area_iter_first(iopt, iova, last))
		return -EEXIST;
	return 0;
}

/* Makes area the mapping of iova to bytes [start_byte, start_byte + length) of pages, and puts it
 * into the tree without its pages: the IOVA is taken, but the area is not to be used yet. */
static int iopt_insert_area(struct io_pagetable *iopt, struct iopt_area *area,
			    struct iopt_pages *pages, unsigned long iova, unsigned long start_byte,
			    unsigned long length, int iommu_prot) __must_hold(iopt->iova_rwsem)
{
	unsigned long last_byte;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	if ((iommu_prot & IOMMU_WRITE) && !pages->writable)
		return -EPERM;

	area->iommu_prot = iommu_prot;
	area->page_offset = start_byte % PAGE_SIZE;
	if (area->page_offset & (iopt->iova_alignment - 1))
		return -EINVAL;

	area->node.start = iova;
	if (check_add_overflow(iova, length - 1, &area->node.last))
		return -EOVERFLOW;

	if (check_add_overflow(start_byte, length - 1, &last_byte))
		return -EOVERFLOW;
	area->pages_node.start = start_byte / PAGE_SIZE;
	area->pages_node.last = last_byte / PAGE_SIZE;
	if (WARN_ON(area->pages_node.last >= pages->npages))
		return -EOVERFLOW;

	area->iopt = iopt;
	interval_tree_insert(&area->node, &iopt->area_itree);
	return 0;
}

static struct iopt_area *iopt_area_alloc(void)
{
	return kzalloc_obj<struct iopt_area>();
}

/* Gives each element of the list an area, one after the other from *dst_iova. On failure some have
 * theirs. */
static int iopt_alloc_area_pages(struct io_pagetable *iopt, struct list_head *pages_list,
				 unsigned long length, unsigned long *dst_iova, int iommu_prot,
				 unsigned int flags) __must_not_hold(iopt->iova_rwsem)
{
	struct iopt_pages_list *elm;
	unsigned long start = 0;
	unsigned long iova;
	int rc;

	list_for_each_entry (elm, pages_list, next) {
		elm->area = iopt_area_alloc();
		if (!elm->area)
			return -ENOMEM;
	}

	rwsem_write_guard guard(&iopt->iova_rwsem);
	if ((length & (iopt->iova_alignment - 1)) || !length)
		return -EINVAL;

	if (flags & IOPT_ALLOC_IOVA) {
		/* The first element stands for all where the alignment is guessed */
		elm = list_first_entry(pages_list, struct iopt_pages_list, next);
		switch (elm->pages->type) {
		case IOPT_ADDRESS_USER:
			start = elm->start_byte + elm->pages->uptr;
			break;
		case IOPT_ADDRESS_FILE:
			start = elm->start_byte + elm->pages->start;
			break;
		}
		rc = iopt_alloc_iova(iopt, dst_iova, start, length);
		if (rc)
			return rc;
		if (WARN_ON(iopt_check_iova(iopt, *dst_iova, length)))
			return -EINVAL;
	} else {
		rc = iopt_check_iova(iopt, *dst_iova, length);
		if (rc)
			return rc;
	}

	iova = *dst_iova;
	list_for_each_entry (elm, pages_list, next) {
		rc = iopt_insert_area(iopt, elm->area, elm->pages, iova, elm->start_byte,
				      elm->length, iommu_prot);
		if (rc)
			return rc;
		iova += elm->length;
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

void iopt_free_pages_list(struct list_head *pages_list)
{
	struct iopt_pages_list *elm;

	while ((elm = list_first_entry_or_null(pages_list, struct iopt_pages_list, next))) {
		if (elm->area)
			iopt_abort_area(elm->area);
		if (elm->pages)
			iopt_put_pages(elm->pages);
		list_del(&elm->next);
		kfree_obj(elm);
	}
}

static int iopt_fill_domains_pages(struct list_head *pages_list)
{
	struct iopt_pages_list *undo_elm;
	struct iopt_pages_list *elm;
	int rc;

	list_for_each_entry (elm, pages_list, next) {
		rc = iopt_area_fill_domains(elm->area, elm->pages);
		if (rc)
			goto err_undo;
	}
	return 0;

err_undo:
	list_for_each_entry (undo_elm, pages_list, next) {
		if (undo_elm == elm)
			break;
		iopt_area_unfill_domains(undo_elm->area, undo_elm->pages);
	}
	return rc;
}

int iopt_map_pages(struct io_pagetable *iopt, struct list_head *pages_list, unsigned long length,
		   unsigned long *dst_iova, int iommu_prot, unsigned int flags)
{
	struct iopt_pages_list *elm;
	int rc;

	rc = iopt_alloc_area_pages(iopt, pages_list, length, dst_iova, iommu_prot, flags);
	if (rc)
		return rc;

	/*
	 * A domain that is added from here on either waits, and then sees the areas with their
	 * pages, or was added before and is filled below.
	 */
	rwsem_read_guard domains_guard(&iopt->domains_rwsem);
	rc = iopt_fill_domains_pages(pages_list);
	if (rc)
		return rc;

	rwsem_write_guard iova_guard(&iopt->iova_rwsem);
	list_for_each_entry (elm, pages_list, next) {
		/* The area takes over the list's reference; from now on it is in use */
		elm->area->pages = elm->pages;
		elm->pages = nullptr;
		elm->area = nullptr;
	}
	return 0;
}

/* Consumes the reference on pages. */
static int iopt_map_common(struct iommufd_ctx *ictx, struct io_pagetable *iopt,
			   struct iopt_pages *pages, unsigned long *iova, unsigned long length,
			   unsigned long start_byte, int iommu_prot, unsigned int flags)
{
	struct iopt_pages_list elm;
	LIST_HEAD(pages_list);
	int rc;

	/* Nobody else has seen the pages yet */
	if (ictx->account_mode == IOPT_PAGES_ACCOUNT_MM &&
	    pages->account_mode == IOPT_PAGES_ACCOUNT_USER)
		pages->account_mode = IOPT_PAGES_ACCOUNT_MM;
	elm.pages = pages;
	elm.start_byte = start_byte;
	elm.length = length;
	list_add(&elm.next, &pages_list);

	rc = iopt_map_pages(iopt, &pages_list, length, iova, iommu_prot, flags);
	if (rc) {
		if (elm.area)
			iopt_abort_area(elm.area);
		if (elm.pages)
			iopt_put_pages(elm.pages);
	}
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

int iopt_map_file_pages(struct iommufd_ctx *ictx, struct io_pagetable *iopt, unsigned long *iova,
			int fd, unsigned long start, unsigned long length, int iommu_prot,
			unsigned int flags)
{
	unsigned long start_byte;
	unsigned long last;
	struct file *file;

	if (!length)
		return -EINVAL;
	if (check_add_overflow(start, length - 1, &last))
		return -EOVERFLOW;

	start_byte = offset_in_page(start);
	file = fget(fd);
	if (!file)
		return -EBADF;
	/*
	 * The kernel (v7.2) finds this out when it pins. An IOAS without a domain pins nothing: a file of
	 * iommufd's own, mapped there, would hold the context that maps it, and neither would ever go.
	 */
	if (!is_memfd(file)) {
		fput(file);
		return -EINVAL;
	}

	auto pages =
		iopt_alloc_file_pages(file, start_byte, start, length, iommu_prot & IOMMU_WRITE);

	fput(file);
	if (!pages)
		return pages.error();
	return iopt_map_common(ictx, iopt, *pages, iova, length, start_byte, iommu_prot, flags);
}

static int iopt_clear_dirty_data(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold_shared(iopt->iova_rwsem)
{
	const struct iommu_dirty_ops *ops = domain->dirty_ops;
	struct iopt_area *area;
	int ret = 0;

	lockdep_assert_held_read(&iopt->iova_rwsem);

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		if (!area->pages)
			continue;

		/* No bitmap: the bits are dropped */
		ret = ops->read_and_clear_dirty(domain, iopt_area_iova(area),
						iopt_area_length(area), 0, nullptr);
		if (ret)
			break;
	}

	/* A cached translation would not set the bit again */
	if (domain->ops->flush_iotlb_all)
		domain->ops->flush_iotlb_all(domain);
	return ret;
}

int iopt_set_dirty_tracking(struct io_pagetable *iopt, struct iommu_domain *domain, bool enable)
{
	const struct iommu_dirty_ops *ops = domain->dirty_ops;
	int ret;

	if (!ops)
		return -EOPNOTSUPP;

	rwsem_read_guard guard(&iopt->iova_rwsem);

	/* The tracking starts with a clean slate */
	if (enable) {
		ret = iopt_clear_dirty_data(iopt, domain);
		if (ret)
			return ret;
	}
	return ops->set_dirty_tracking(domain, enable);
}

int iopt_get_pages(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		   struct list_head *pages_list)
{
	struct iopt_area_contig_iter iter;
	unsigned long last_iova;
	struct iopt_area *area;
	int rc = 0;

	if (!length)
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last_iova))
		return -EOVERFLOW;

	down_read(&iopt->iova_rwsem);
	iopt_for_each_contig_area (&iter, area, iopt, iova, last_iova) {
		unsigned long last = min(last_iova, iopt_area_last_iova(area));
		struct iopt_pages_list *elm = kzalloc_obj<struct iopt_pages_list>();

		if (!elm) {
			rc = -ENOMEM;
			break;
		}
		elm->start_byte = iopt_area_start_byte(area, iter.cur_iova);
		elm->pages = area->pages;
		elm->length = (last - iter.cur_iova) + 1;
		kref_get(&elm->pages->kref);
		list_add_tail(&elm->next, pages_list);
	}
	if (!rc && !iopt_area_contig_done(&iter))
		rc = -ENOENT;
	up_read(&iopt->iova_rwsem);
	if (rc)
		iopt_free_pages_list(pages_list);
	return rc;
}

static int iopt_unmap_iova_range(struct io_pagetable *iopt, unsigned long start, unsigned long last,
				 unsigned long *unmapped)
{
	unsigned long unmapped_bytes = 0;
	unsigned int tries = 0;
	struct iopt_area *area;
	/* Nothing mapped is nothing wrong */
	int rc = 0;

	/*
	 * domains_rwsem is held as long as an area without pages exists: a domain that came now
	 * would not be filled with it, one that went would not be emptied of it.
	 */
	down_read(&iopt->domains_rwsem);
	down_write(&iopt->iova_rwsem);
	while ((area = iopt_area_iter_first(iopt, start, last))) {
		unsigned long area_last = iopt_area_last_iova(area);
		unsigned long area_first = iopt_area_iova(area);
		struct iopt_pages *pages;

		/* Another thread maps or unmaps it */
		if (!area->pages) {
			rc = -EBUSY;
			break;
		}

		/* Hardware reads it, and cannot be told to stop: no access is asked in vain */
		if (area->num_locks) {
			rc = -EBUSY;
			break;
		}

		if (area_first < start || area_last > last) {
			rc = -ENOENT;
			break;
		}

		/* num_accesses changes only under iova_rwsem, which we have for writing */
		if (area->num_accesses) {
			size_t length = iopt_area_length(area);

			if (area_first != start)
				tries = 0;
			start = area_first;
			area->prevent_access = true;
			/* The ops unpin, which takes iova_rwsem; the area may be gone when they are
			 * done */
			up_write(&iopt->iova_rwsem);
			up_read(&iopt->domains_rwsem);

			iommufd_access_notify_unmap(iopt, area_first, length);
			/* A driver does not do what its unmap op promises */
			tries++;
			if (WARN_ON(tries > 100)) {
				rc = -EDEADLOCK;
				goto out_unmapped;
			}
			down_read(&iopt->domains_rwsem);
			down_write(&iopt->iova_rwsem);
			continue;
		}

		pages = area->pages;
		area->pages = nullptr;
		up_write(&iopt->iova_rwsem);

		iopt_area_unfill_domains(area, pages);
		iopt_abort_area(area);
		iopt_put_pages(pages);

		unmapped_bytes += area_last - area_first + 1;
		tries = 0;

		down_write(&iopt->iova_rwsem);

		/*
		 * Another thread may map new areas where we have been. They are not ours: only go
		 * up.
		 */
		if (area_last >= last)
			break;
		start = area_last + 1;
	}
	up_write(&iopt->iova_rwsem);
	up_read(&iopt->domains_rwsem);
out_unmapped:
	if (unmapped)
		*unmapped = unmapped_bytes;
	return rc;
}

int iopt_unmap_iova(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		    unsigned long *unmapped)
{
	unsigned long iova_last;

	if (!length)
		return -EINVAL;

	if (check_add_overflow(iova, length - 1, &iova_last))
		return -EOVERFLOW;

	return iopt_unmap_iova_range(iopt, iova, iova_last, unmapped);
}

int iopt_unmap_all(struct io_pagetable *iopt, unsigned long *unmapped)
{
	return iopt_unmap_iova_range(iopt, 0, ULONG_MAX, unmapped);
}

int iopt_set_allow_iova(struct io_pagetable *iopt, struct rb_root_cached *allowed_iova)
{
	struct iopt_allowed *allowed;

	rwsem_write_guard guard(&iopt->iova_rwsem);
	swap(*allowed_iova, iopt->allowed_itree);

	for (allowed = iopt_allowed_iter_first(iopt, 0, ULONG_MAX); allowed;
	     allowed = iopt_allowed_iter_next(allowed, 0, ULONG_MAX)) {
		if (iopt_reserved_iter_first(iopt, allowed->node.start, allowed->node.last)) {
			swap(*allowed_iova, iopt->allowed_itree);
			return -EADDRINUSE;
		}
	}
	return 0;
}

int iopt_reserve_iova(struct io_pagetable *iopt, unsigned long start, unsigned long last,
		      void *owner)
{
	struct iopt_reserved *reserved;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	if (iopt_area_iter_first(iopt, start, last) || iopt_allowed_iter_first(iopt, start, last))
		return -EADDRINUSE;

	reserved = kzalloc_obj<struct iopt_reserved>();
	if (!reserved)
		return -ENOMEM;
	reserved->node.start = start;
	reserved->node.last = last;
	reserved->owner = owner;
	interval_tree_insert(&reserved->node, &iopt->reserved_itree);
	return 0;
}

static void __iopt_remove_reserved_iova(struct io_pagetable *iopt, void *owner)
	__must_hold(iopt->iova_rwsem)
{
	struct iopt_reserved *reserved;
	struct iopt_reserved *next;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	for (reserved = iopt_reserved_iter_first(iopt, 0, ULONG_MAX); reserved; reserved = next) {
		next = iopt_reserved_iter_next(reserved, 0, ULONG_MAX);

		if (reserved->owner == owner) {
			interval_tree_remove(&reserved->node, &iopt->reserved_itree);
			kfree_obj(reserved);
		}
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
	struct interval_tree_node *node;

	/* Those that a test reserved */
	iopt_remove_reserved_iova(iopt, nullptr);

	while ((node = interval_tree_iter_first(&iopt->allowed_itree, 0, ULONG_MAX))) {
		interval_tree_remove(node, &iopt->allowed_itree);
		kfree_obj(container_of(node, struct iopt_allowed, node));
	}

	WARN_ON(!RB_EMPTY_ROOT(&iopt->reserved_itree));
	WARN_ON(!xa_empty(&iopt->domains));
	WARN_ON(!xa_empty(&iopt->access_list));
	WARN_ON(!RB_EMPTY_ROOT(&iopt->area_itree));
}

/* Empties domain, which is out of iopt->domains already, of every area. */
static void iopt_unfill_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	struct iopt_area *area;

	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held_write(&iopt->domains_rwsem);

	/*
	 * Others keep the pages pinned and know the PFNs: no need to look at this domain's, only to
	 * name another storage_domain.
	 */
	if (iopt->next_domain_id != 0) {
		auto *storage_domain =
			static_cast<struct iommu_domain *>(xa_load(&iopt->domains, 0));

		for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
		     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
			struct iopt_pages *pages = area->pages;

			if (!pages)
				continue;

			mutex_lock(&pages->mutex);
			WARN_ON(!area->storage_domain);
			if (area->storage_domain == domain)
				area->storage_domain = storage_domain;
			mutex_unlock(&pages->mutex);

			iopt_area_unmap_domain(area, domain);
		}
		return;
	}

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		struct iopt_pages *pages = area->pages;

		if (!pages)
			continue;

		mutex_lock(&pages->mutex);
		interval_tree_remove(&area->pages_node, &pages->domains_itree);
		WARN_ON(area->storage_domain != domain);
		area->storage_domain = nullptr;
		iopt_area_unfill_domain(area, pages, domain);
		mutex_unlock(&pages->mutex);
	}
}

/* Maps every area into domain, or none of them. */
static int iopt_fill_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	struct iopt_area *end_area;
	struct iopt_area *area;
	int rc;

	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held_write(&iopt->domains_rwsem);

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		struct iopt_pages *pages = area->pages;

		if (!pages)
			continue;

		mutex_lock(&pages->mutex);
		rc = iopt_area_fill_domain(area, domain);
		if (rc) {
			mutex_unlock(&pages->mutex);
			goto out_unfill;
		}
		if (!area->storage_domain) {
			WARN_ON(iopt->next_domain_id != 0);
			area->storage_domain = domain;
			interval_tree_insert(&area->pages_node, &pages->domains_itree);
		}
		mutex_unlock(&pages->mutex);
	}
	return 0;

out_unfill:
	end_area = area;
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area != end_area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		struct iopt_pages *pages = area->pages;

		if (!pages)
			continue;

		mutex_lock(&pages->mutex);
		if (iopt->next_domain_id == 0) {
			interval_tree_remove(&area->pages_node, &pages->domains_itree);
			area->storage_domain = nullptr;
		}
		/* With other domains the pages are still in domains_itree, so this unpins none */
		iopt_area_unfill_domain(area, pages, domain);
		mutex_unlock(&pages->mutex);
	}
	return rc;
}

/* -EADDRINUSE unless every area fits the coarser alignment. */
static int iopt_check_iova_alignment(struct io_pagetable *iopt, unsigned long new_iova_alignment)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	unsigned long align_mask = new_iova_alignment - 1;
	struct iommufd_access *access;
	struct iopt_area *area;
	unsigned long index;

	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held(&iopt->domains_rwsem);

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX))
		if ((iopt_area_iova(area) & align_mask) || (iopt_area_length(area) & align_mask) ||
		    (area->page_offset & align_mask))
			return -EADDRINUSE;

	xa_for_each (&iopt->access_list, index, access)
		if (WARN_ON(access->iova_alignment > new_iova_alignment))
			return -EADDRINUSE;
	return 0;
}

int iopt_table_add_domain(struct io_pagetable *iopt, struct iommu_domain *domain)
{
	const struct iommu_domain_geometry *geometry = &domain->geometry;
	unsigned long new_iova_alignment;
	struct iommu_domain *iter_domain;
	unsigned long index;
	int rc;

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
	if (new_iova_alignment != iopt->iova_alignment) {
		rc = iopt_check_iova_alignment(iopt, new_iova_alignment);
		if (rc)
			return rc;
	}

	/* Nothing is mapped outside the aperture, and nothing will be */
	if (geometry->aperture_start != 0) {
		rc = iopt_reserve_iova(iopt, 0, geometry->aperture_start - 1, domain);
		if (rc)
			goto out_reserved;
	}
	if (geometry->aperture_end != ULONG_MAX) {
		rc = iopt_reserve_iova(iopt, geometry->aperture_end + 1, ULONG_MAX, domain);
		if (rc)
			goto out_reserved;
	}

	/* After the fill nothing may fail */
	rc = xa_reserve(&iopt->domains, iopt->next_domain_id, GFP_KERNEL);
	if (rc)
		goto out_reserved;

	rc = iopt_fill_domain(iopt, domain);
	if (rc)
		goto out_release;

	iopt->iova_alignment = new_iova_alignment;
	xa_store(&iopt->domains, iopt->next_domain_id, domain, GFP_KERNEL);
	iopt->next_domain_id++;
	return 0;
out_release:
	xa_release(&iopt->domains, iopt->next_domain_id);
out_reserved:
	__iopt_remove_reserved_iova(iopt, domain);
	return rc;
}

/* Sets iova_alignment to what the domains, the accesses and the large page setting need together.
 */
static int iopt_calculate_iova_alignment(struct io_pagetable *iopt)
	__must_hold(iopt->domains_rwsem, iopt->iova_rwsem)
{
	unsigned long new_iova_alignment;
	struct iommufd_access *access;
	struct iommu_domain *domain;
	unsigned long index;
	int rc;

	lockdep_assert_held_write(&iopt->iova_rwsem);
	lockdep_assert_held(&iopt->domains_rwsem);

	/* See batch_iommu_map_small() */
	new_iova_alignment = iopt->disable_large_pages ? PAGE_SIZE : 1;

	xa_for_each (&iopt->domains, index, domain)
		new_iova_alignment = max(new_iova_alignment, 1UL << __ffs(domain->pgsize_bitmap));
	xa_for_each (&iopt->access_list, index, access)
		new_iova_alignment =
			max_t(unsigned long, new_iova_alignment, access->iova_alignment);

	if (new_iova_alignment > iopt->iova_alignment) {
		rc = iopt_check_iova_alignment(iopt, new_iova_alignment);
		if (rc)
			return rc;
	}
	iopt->iova_alignment = new_iova_alignment;
	return 0;
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

/*
 * Replaces area by two, of which the lower ends with iova. Both use the same pages, so neither the
 * domains nor the pins change.
 */
static int iopt_area_split(struct io_pagetable *iopt, struct iopt_area *area, unsigned long iova)
	__must_hold(iopt->iova_rwsem)
{
	unsigned long alignment = iopt->iova_alignment;
	unsigned long last_iova = iopt_area_last_iova(area);
	unsigned long start_iova = iopt_area_iova(area);
	struct iopt_pages *pages = area->pages;
	unsigned long new_start = iova + 1;
	struct iopt_area *lhs;
	struct iopt_area *rhs;
	int rc;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	if (iova == start_iova || iova == last_iova)
		return 0;

	if (!pages || area->prevent_access)
		return -EBUSY;

	if ((new_start & (alignment - 1)) ||
	    (iopt_area_start_byte(area, new_start) & (alignment - 1)))
		return -EINVAL;

	lhs = iopt_area_alloc();
	if (!lhs)
		return -ENOMEM;

	rhs = iopt_area_alloc();
	if (!rhs) {
		rc = -ENOMEM;
		goto err_free_lhs;
	}

	mutex_lock(&pages->mutex);
	/* The area knows how many accesses it has, not which half they are in */
	if (area->num_accesses) {
		rc = -EINVAL;
		goto err_unlock;
	}

	/* One large page of the domain may lie across the cut: the halves could not be unmapped one
	 * by one */
	if (area->storage_domain && !iopt->disable_large_pages) {
		rc = -EINVAL;
		goto err_unlock;
	}

	interval_tree_remove(&area->node, &iopt->area_itree);
	rc = iopt_insert_area(iopt, lhs, pages, start_iova, iopt_area_start_byte(area, start_iova),
			      new_start - start_iova, area->iommu_prot);
	if (WARN_ON(rc))
		goto err_insert;

	rc = iopt_insert_area(iopt, rhs, pages, new_start, iopt_area_start_byte(area, new_start),
			      last_iova - new_start + 1, area->iommu_prot);
	if (WARN_ON(rc))
		goto err_remove_lhs;

	if (area->storage_domain) {
		interval_tree_remove(&area->pages_node, &pages->domains_itree);
		interval_tree_insert(&lhs->pages_node, &pages->domains_itree);
		interval_tree_insert(&rhs->pages_node, &pages->domains_itree);
	}

	lhs->storage_domain = area->storage_domain;
	lhs->pages = pages;
	rhs->storage_domain = area->storage_domain;
	rhs->pages = pages;
	/* lhs has the reference of area */
	kref_get(&pages->kref);
	kfree_obj(area);
	mutex_unlock(&pages->mutex);
	return 0;

err_remove_lhs:
	interval_tree_remove(&lhs->node, &iopt->area_itree);
err_insert:
	interval_tree_insert(&area->node, &iopt->area_itree);
err_unlock:
	mutex_unlock(&pages->mutex);
	kfree_obj(rhs);
err_free_lhs:
	kfree_obj(lhs);
	return rc;
}

int iopt_cut_iova(struct io_pagetable *iopt, unsigned long *iovas, size_t num_iovas)
{
	struct iopt_area *area;
	int rc;

	rwsem_write_guard guard(&iopt->iova_rwsem);
	for (size_t i = 0; i < num_iovas; i++) {
		area = iopt_area_iter_first(iopt, iovas[i], iovas[i]);
		if (!area)
			continue;
		rc = iopt_area_split(iopt, area, iovas[i]);
		if (rc)
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
	u32 new_id;
	int rc;

	rwsem_write_guard domains_guard(&iopt->domains_rwsem);
	rwsem_write_guard iova_guard(&iopt->iova_rwsem);

	rc = xa_alloc(&iopt->access_list, &new_id, access, xa_limit_16b, GFP_KERNEL_ACCOUNT);
	if (rc)
		return rc;

	rc = iopt_calculate_iova_alignment(iopt);
	if (rc) {
		xa_erase(&iopt->access_list, new_id);
		return rc;
	}
	access->iopt_access_list_id = new_id;
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

int iopt_table_enforce_dev_resv_regions(struct io_pagetable *iopt, struct device *dev,
					phys_addr_t *sw_msi_start)
{
	struct iommu_resv_region *resv;
	LIST_HEAD(resv_regions);
	unsigned int num_hw_msi = 0;
	unsigned int num_sw_msi = 0;
	int rc = 0;

	if (iommufd_should_fail())
		return -EINVAL;

	rwsem_write_guard guard(&iopt->iova_rwsem);
	/* A driver that runs out of memory here has no way to say so */
	iommu_get_resv_regions(dev, &resv_regions);

	list_for_each_entry (resv, &resv_regions, list) {
		if (resv->type == IOMMU_RESV_DIRECT_RELAXABLE)
			continue;

		if (sw_msi_start && resv->type == IOMMU_RESV_MSI)
			num_hw_msi++;
		if (sw_msi_start && resv->type == IOMMU_RESV_SW_MSI) {
			*sw_msi_start = resv->start;
			num_sw_msi++;
		}

		rc = iopt_reserve_iova(iopt, resv->start, resv->start + (resv->length - 1), dev);
		if (rc)
			goto out_reserved;
	}

	/* Either the hardware has an MSI window or software makes one, not both, and not two */
	if (WARN_ON(num_sw_msi && num_hw_msi) || WARN_ON(num_sw_msi > 1)) {
		rc = -EINVAL;
		goto out_reserved;
	}
	goto out_free_resv;

out_reserved:
	__iopt_remove_reserved_iova(iopt, dev);
out_free_resv:
	iommu_put_resv_regions(dev, &resv_regions);
	return rc;
}

/* In the memory, the share of the current area begins on a page, and ends with one unless it is the
 * last. */
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

int iopt_pin_pages(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		   struct page **out_pages, unsigned int flags, bool lock_area)
{
	struct iopt_area_contig_iter iter;
	unsigned long last_iova;
	struct iopt_area *area;
	int rc;

	if (!length)
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last_iova))
		return -EOVERFLOW;

	rwsem_read_guard guard(&iopt->iova_rwsem);
	iopt_for_each_contig_area (&iter, area, iopt, iova, last_iova) {
		unsigned long last = min(last_iova, iopt_area_last_iova(area));
		unsigned long last_index = iopt_area_iova_to_index(area, last);
		unsigned long index = iopt_area_iova_to_index(area, iter.cur_iova);

		if (area->prevent_access || !iopt_area_contig_is_aligned(&iter)) {
			rc = -EINVAL;
			goto err_remove;
		}

		if (!iopt_area_check_prot(area, flags)) {
			rc = -EPERM;
			goto err_remove;
		}

		rc = iopt_area_add_access(area, index, last_index, out_pages, flags, lock_area);
		if (rc)
			goto err_remove;
		out_pages += last_index - index + 1;
	}
	if (!iopt_area_contig_done(&iter)) {
		rc = -ENOENT;
		goto err_remove;
	}
	return 0;

err_remove:
	/* cur_iova is where the failing area, or the gap, begins */
	if (iova < iter.cur_iova)
		WARN_ON(!__iopt_unpin_range(iopt, iova, iter.cur_iova - 1, lock_area));
	return rc;
}

void iopt_unpin_pages(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		      bool unlock_area)
{
	unsigned long last_iova;

	if (WARN_ON(!length) || WARN_ON(check_add_overflow(iova, length - 1, &last_iova)))
		return;

	rwsem_read_guard guard(&iopt->iova_rwsem);
	WARN_ON(!__iopt_unpin_range(iopt, iova, last_iova, unlock_area));
}
