// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors drivers/iommu/iommufd/io_pagetable.h and the io_pagetable part of iommufd_private.h, as
 * of Linux v7.2, with iopt_pin_pages() and iopt_unpin_pages() of the vCMDQ series' v2.
 *
 * Differs: a user address is a number here and gets its direction where it is copied; the mutex of
 * an iopt_pages over a dma-buf has no lock class of its own, because nothing here takes a
 * reservation under mmap_lock.
 *
 * In these files 'last' is inclusive ([0,0] is one thing) and 'end' is exclusive ([0,0) is none).
 * An IOVA may be as high as ULONG_MAX, so a last IOVA + 1 may wrap. A page index never comes near
 * ULONG_MAX.
 */
#pragma once

#include <atomic>
#include <climits>

#include "core/iommu/iommu.h"
#include "core/iommu/iommufd.h"
#include "core/linux/bug.h"
#include "core/linux/dma-buf.h"
#include "core/linux/interval_tree.h"
#include "core/linux/kref.h"
#include "core/linux/list.h"
#include "core/linux/mutex.h"
#include "core/linux/rwsem.h"
#include "core/linux/types.h"
#include "core/linux/uaccess.h"
#include "core/linux/xarray.h"
#include "core/mm/mm.h"

struct device;
struct file;
struct iommu_domain;
struct iommu_hwpt_get_dirty_bitmap;
struct iommufd_access;
struct iommufd_ctx;
struct iopt_area;
struct iopt_pages;
struct mm_struct;
struct page;
struct task_struct;
struct user_struct;

/*
 * One I/O address space: which IOVA is backed by which page, for any number of domains and
 * in-kernel accesses at once. The map itself is the areas in area_itree; the domains get copies of
 * it.
 *
 * Lock order: domains_rwsem, iova_rwsem, iopt_pages::mutex. A dma-buf's reservation comes between
 * domains_rwsem and the mutex; it and iova_rwsem are never held together.
 *
 * domains_rwsem guards the set of domains. Whoever leaves an area with pages == NULL behind between
 * two holds of iova_rwsem has it for reading all that time, so that no domain comes or goes
 * meanwhile. iova_rwsem guards the trees, and iova_alignment together with domains_rwsem (writers
 * have both).
 */
struct io_pagetable {
	struct rw_semaphore domains_rwsem{LOCK_CLASS(io_pagetable, domains_rwsem)};
	/* struct iommu_domain, dense from 0 to next_domain_id - 1 */
	struct xarray domains{LOCK_CLASS(io_pagetable, domains)};
	/* struct iommufd_access by iopt_access_list_id */
	struct xarray access_list{LOCK_CLASS(io_pagetable, access_list), XA_FLAGS_ALLOC};
	unsigned int next_domain_id __guarded_by(domains_rwsem) = 0;

	struct rw_semaphore iova_rwsem __acquired_after(domains_rwsem){
		LOCK_CLASS(io_pagetable, iova_rwsem)};
	struct rb_root_cached area_itree __guarded_by(iova_rwsem) = {};
	/* IOVA that must stay mappable, struct iopt_allowed */
	struct rb_root_cached allowed_itree __guarded_by(iova_rwsem) = {};
	/* IOVA that must not be mapped, struct iopt_reserved */
	struct rb_root_cached reserved_itree __guarded_by(iova_rwsem) = {};
	/* Every domain map is made of PAGE_SIZE pieces. Written under both locks; a lone read may
	 * be lockless. */
	std::atomic<bool> disable_large_pages{false};
	/* Bytes, a power of two. IOVA, length and page offset of every area are multiples. */
	unsigned long iova_alignment __guarded_by(iova_rwsem) = 1;
};

/* Makes @iopt an empty table without domains. Compare iopt_init_table(). */
void iopt_init_table(struct io_pagetable *iopt);
/* Frees the allowed ranges. Every area, reserved range, domain and access must be gone. */
void iopt_destroy_table(struct io_pagetable *iopt);

/*
 * Describes [@iova, @iova + @length) as slices of iopt_pages, for iopt_map_pages() on any table.
 * Each element holds a reference on its pages. Returns 0, or with the list empty: -EINVAL (length
 * 0), -EOVERFLOW (wraps), -ENOENT (not covered without a gap), -ENOMEM. Compare iopt_get_pages().
 */
[[nodiscard]] int iopt_get_pages(struct io_pagetable *iopt, unsigned long iova,
				 unsigned long length, struct list_head *pages_list)
	__must_not_hold(iopt->iova_rwsem);
/* Frees a list from iopt_get_pages() and any area that a failed
 * iopt_map_pages() left reserved for it. */
void iopt_free_pages_list(struct list_head *pages_list);

enum {
	/* Choose the IOVA, never 0 */
	IOPT_ALLOC_IOVA = 1 << 0,
};

/*
 * Maps @length bytes of the caller's memory at @uptr. @iova is in with no flag and out with
 * IOPT_ALLOC_IOVA. Pages are pinned now if the table has a domain, else when somebody asks for
 * them.
 *
 * Returns 0 or: -EOVERFLOW (@uptr + @length or @iova + @length wraps; length beyond half the space
 * with IOPT_ALLOC_IOVA), -EINVAL (length 0, not aligned, or a reserved IOVA), -EEXIST (mapped
 * already), -ENOSPC (no free IOVA), -ENOMEM (memory, or over RLIMIT_MEMLOCK), -EFAULT (pages cannot
 * be pinned), or the domain's map error. On failure nothing changes. Compare iopt_map_user_pages().
 */
[[nodiscard]] int iopt_map_user_pages(struct iommufd_ctx *ictx, struct io_pagetable *iopt,
				      unsigned long *iova, user_inout<void> uptr,
				      unsigned long length, int iommu_prot, unsigned int flags);
/*
 * The same for @length bytes of the memfd @fd from byte @start. Also -EBADF (no such fd) and the
 * errors of memfd_pin_folios(). Compare iopt_map_file_pages().
 */
[[nodiscard]] int iopt_map_file_pages(struct iommufd_ctx *ictx, struct io_pagetable *iopt,
				      unsigned long *iova, int fd, unsigned long start,
				      unsigned long length, int iommu_prot, unsigned int flags);
/*
 * Maps a list from iopt_get_pages(), @length bytes in all. Errors as iopt_map_user_pages(), and
 * -EPERM when write access is asked for to pages that were mapped read-only. The caller frees the
 * list in any case.
 */
[[nodiscard]] int iopt_map_pages(struct io_pagetable *iopt, struct list_head *pages_list,
				 unsigned long length, unsigned long *dst_iova, int iommu_prot,
				 unsigned int flags);

/*
 * Unmaps every area in [@iova, @iova + @length). None need be there, but none may stick out.
 * *@unmapped (may be NULL) is the number of bytes that went, also on failure.
 *
 * Returns 0 or: -EINVAL (length 0), -EOVERFLOW, -ENOENT (an area sticks out), -EBUSY (an area is
 * being mapped or unmapped by another thread, or is locked: see iopt_pin_pages()), -EDEADLOCK (an
 * access ignores its unmap op). Areas below the failing one are gone. Compare iopt_unmap_iova().
 */
[[nodiscard]] int iopt_unmap_iova(struct io_pagetable *iopt, unsigned long iova,
				  unsigned long length, unsigned long *unmapped);
/* iopt_unmap_iova() of everything. */
[[nodiscard]] int iopt_unmap_all(struct io_pagetable *iopt, unsigned long *unmapped);

/*
 * Is the range of @bitmap one that the table could have mapped? 0; -EOVERFLOW: wraps (length 0 too,
 * unless iova is 0: that is the whole space); -EINVAL: not aligned to iova_alignment, page_size 0,
 * not aligned to page_size, in this order. Compare iommufd_check_iova_range().
 */
[[nodiscard]] int iommufd_check_iova_range(struct io_pagetable *iopt,
					   struct iommu_hwpt_get_dirty_bitmap *bitmap)
	__must_hold_shared(iopt->iova_rwsem);
/*
 * Sets the bits of the pages that were written through @domain since they were last cleared, in the
 * user's bitmap, and leaves its others alone; the pages become clean unless @flags has
 * IOMMU_DIRTY_NO_CLEAR. Reads up to the first IOVA that is not mapped. 0, the errors of
 * iommufd_check_iova_range(), -EOPNOTSUPP (the domain cannot), -ENOMEM. Compare
 * iopt_read_and_clear_dirty_data().
 */
[[nodiscard]] int iopt_read_and_clear_dirty_data(struct io_pagetable *iopt,
						 struct iommu_domain *domain, unsigned long flags,
						 struct iommu_hwpt_get_dirty_bitmap *bitmap);
/*
 * Switches dirty tracking of @domain; the dirty bits of all areas are cleared before it goes on,
 * also when it was on already. Off, the bits stay as they are.
 * Returns 0, -EOPNOTSUPP (the domain cannot) or the driver's error. Compare
 * iopt_set_dirty_tracking().
 */
[[nodiscard]] int iopt_set_dirty_tracking(struct io_pagetable *iopt, struct iommu_domain *domain,
					  bool enable);

/*
 * Adds @domain and copies the whole map into it. Returns 0, -EINVAL (its smallest page is larger
 * than PAGE_SIZE), -EADDRINUSE (areas or allowed ranges do not fit its aperture or page size),
 * -ENOMEM, or a pin or map error. On failure nothing changes. Compare iopt_table_add_domain().
 */
[[nodiscard]] int iopt_table_add_domain(struct io_pagetable *iopt, struct iommu_domain *domain);
/* Removes @domain, which must be there, and empties it. Never fails. */
void iopt_table_remove_domain(struct io_pagetable *iopt, struct iommu_domain *domain);
/*
 * Reserves what @dev says it cannot translate, owner @dev. *@sw_msi_start (may be NULL) is set if
 * the device wants software MSIs. Returns 0, -EADDRINUSE (an area or allowed range is there),
 * -EINVAL (contradictory regions), -ENOMEM. On failure none stays. Compare
 * iopt_table_enforce_dev_resv_regions().
 */
[[nodiscard]] int iopt_table_enforce_dev_resv_regions(struct io_pagetable *iopt, struct device *dev,
						      phys_addr_t *sw_msi_start);
/*
 * Swaps @allowed_iova (struct iopt_allowed) with the table's set. Returns 0 or -EADDRINUSE (a
 * reserved range is in the way; nothing changes). The caller frees what is in @allowed_iova
 * afterwards, either way.
 */
[[nodiscard]] int iopt_set_allow_iova(struct io_pagetable *iopt,
				      struct rb_root_cached *allowed_iova);
/* Forbids [@start, @last] for new mappings. 0, -EADDRINUSE or -ENOMEM.
 * @owner is any key for the removal. */
[[nodiscard]] int iopt_reserve_iova(struct io_pagetable *iopt, unsigned long start,
				    unsigned long last, void *owner) __must_hold(iopt->iova_rwsem);
/* Allows again everything that @owner reserved. */
void iopt_remove_reserved_iova(struct io_pagetable *iopt, void *owner);
/*
 * Splits the areas around each iovas[i], which becomes the last IOVA of its lower part. Returns 0,
 * -EBUSY (the area comes or goes), -EOPNOTSUPP (a dma-buf), -EINVAL (not aligned, pinned by an
 * access, or domains may use large pages) or -ENOMEM. Cuts made before an error stay. Compare
 * iopt_cut_iova().
 */
[[nodiscard]] int iopt_cut_iova(struct io_pagetable *iopt, unsigned long *iovas, size_t num_iovas);
void iopt_enable_large_pages(struct io_pagetable *iopt);
/* From now on domains are mapped in PAGE_SIZE pieces. 0, or -EINVAL when a domain has areas
 * already, or -EADDRINUSE when an area is not PAGE_SIZE aligned. */
[[nodiscard]] int iopt_disable_large_pages(struct io_pagetable *iopt);

/*
 * Puts @access on the table's list and sets its iopt_access_list_id. 0, -EADDRINUSE (an area does
 * not fit its alignment), -EBUSY (too many) or -ENOMEM. Compare iopt_add_access().
 */
[[nodiscard]] int iopt_add_access(struct io_pagetable *iopt, struct iommufd_access *access);
void iopt_remove_access(struct io_pagetable *iopt, struct iommufd_access *access,
			u32 iopt_access_list_id);
/* Tells every access on the list to let go of the range. Defined in device.cc. */
void iommufd_access_notify_unmap(struct io_pagetable *iopt, unsigned long iova,
				 unsigned long length);

/*
 * Pins the pages under [@iova, @iova + @length) and returns them, one pointer for each page
 * touched.
 * @flags: IOMMUFD_ACCESS_RW_READ or _WRITE. With @lock_area every area touched answers IOAS_UNMAP
 * with -EBUSY until the matching iopt_unpin_pages(): for memory that hardware reads and nobody can
 * call back.
 *
 * Returns 0 or: -EINVAL (length 0; not page aligned in the memory below; an unmap waits for the
 * area), -EOVERFLOW, -ENOENT (not mapped without a gap), -EPERM (the mapping's or memory's
 * protection), -ENOMEM, -EFAULT. On failure nothing stays pinned. Compare iopt_pin_pages() of the
 * vCMDQ series' v2 and iommufd_access_pin_pages().
 */
[[nodiscard]] int iopt_pin_pages(struct io_pagetable *iopt, unsigned long iova,
				 unsigned long length, struct page **out_pages, unsigned int flags,
				 bool lock_area) __must_not_hold(iopt->iova_rwsem);
/* Undoes iopt_pin_pages(). The three last arguments must be those of the pin. */
void iopt_unpin_pages(struct io_pagetable *iopt, unsigned long iova, unsigned long length,
		      bool unlock_area) __must_not_hold(iopt->iova_rwsem);

/*
 * One mapping: a range of IOVA and the slice of an iopt_pages that backs it.
 *
 * pages is NULL while another thread sets the area up or tears it down. Seen under domains_rwsem
 * for writing, NULL means that no domain is filled.
 *
 * storage_domain is any one domain that has this area's PFNs; where it is set, the area is in
 * iopt_pages::domains_itree and the PFNs can be read back without a look at io_pagetable::domains.
 *
 * io_pagetable::iova_rwsem guards node, pages and prevent_access; iopt_pages::mutex guards
 * pages_node and storage_domain. num_accesses and num_locks change under iova_rwsem (reading
 * suffices) and the mutex, so either the mutex or iova_rwsem for writing is enough to read them.
 * The rest is immutable. (These guards live in other objects, where the static analysis cannot
 * follow.)
 */
struct iopt_area {
	struct interval_tree_node node = {};
	struct interval_tree_node pages_node = {};
	struct io_pagetable *iopt = nullptr;
	struct iopt_pages *pages = nullptr;
	struct iommu_domain *storage_domain = nullptr;
	/* Bytes into the first page where the area begins */
	unsigned int page_offset = 0;
	/* IOMMU_READ, IOMMU_WRITE, ... */
	int iommu_prot = 0;
	/* An unmap waits for the accesses: no new ones */
	bool prevent_access = false;
	unsigned int num_accesses = 0;
	/* How many of them forbid the unmap */
	unsigned int num_locks = 0;
};

struct iopt_allowed {
	struct interval_tree_node node = {};
};

struct iopt_reserved {
	struct interval_tree_node node = {};
	void *owner = nullptr;
};

/* Pins the pages and maps the new area into every domain of its table. @area->pages is still NULL.
 */
[[nodiscard]] int iopt_area_fill_domains(struct iopt_area *area, struct iopt_pages *pages);
/* Undoes it. @area->pages is NULL again. Pages that an access needs stay pinned. */
void iopt_area_unfill_domains(struct iopt_area *area, struct iopt_pages *pages);

/*
 * Which domains have PFNs of a dma-buf, for the moment when the exporter takes it back. An area is
 * tracked for each of its table's domains, from before the PFNs are there until they are gone; a
 * revoked one too. -ENOMEM. Compare the kernel's of the same names.
 */
[[nodiscard]] int iopt_dmabuf_track_domain(struct iopt_pages *pages, struct iopt_area *area,
					   struct iommu_domain *domain);
void iopt_dmabuf_untrack_domain(struct iopt_pages *pages, struct iopt_area *area,
				struct iommu_domain *domain);
[[nodiscard]] int iopt_dmabuf_track_all_domains(struct iopt_area *area, struct iopt_pages *pages);
void iopt_dmabuf_untrack_all_domains(struct iopt_area *area, struct iopt_pages *pages);

/* Maps the area into one domain more. The caller holds area->pages->mutex. */
[[nodiscard]] int iopt_area_fill_domain(struct iopt_area *area, struct iommu_domain *domain);
/* Empties the only domain left and unpins. The area is out of domains_itree already; pages->mutex
 * is held. */
void iopt_area_unfill_domain(struct iopt_area *area, struct iopt_pages *pages,
			     struct iommu_domain *domain);
/* Empties one of several domains; the pins belong to the others. */
void iopt_area_unmap_domain(struct iopt_area *area, struct iommu_domain *domain);

static inline unsigned long iopt_area_index(const struct iopt_area *area)
{
	return area->pages_node.start;
}

static inline unsigned long iopt_area_last_index(const struct iopt_area *area)
{
	return area->pages_node.last;
}

static inline unsigned long iopt_area_iova(const struct iopt_area *area)
{
	return area->node.start;
}

static inline unsigned long iopt_area_last_iova(const struct iopt_area *area)
{
	return area->node.last;
}

static inline size_t iopt_area_length(const struct iopt_area *area)
{
	return (area->node.last - area->node.start) + 1;
}

/* Bytes from the start of the iopt_pages to @iova: page index times PAGE_SIZE plus the offset in
 * the page. */
static inline unsigned long iopt_area_start_byte(const struct iopt_area *area, unsigned long iova)
{
	WARN_ON(iova < iopt_area_iova(area) || iova > iopt_area_last_iova(area));
	return (iova - iopt_area_iova(area)) + area->page_offset +
	       iopt_area_index(area) * PAGE_SIZE;
}

static inline unsigned long iopt_area_iova_to_index(const struct iopt_area *area,
						    unsigned long iova)
{
	return iopt_area_start_byte(area, iova) / PAGE_SIZE;
}

/* Does the mapping allow the access? @flags: IOMMUFD_ACCESS_RW_* */
static inline bool iopt_area_check_prot(const struct iopt_area *area, unsigned int flags)
{
	if (flags & IOMMUFD_ACCESS_RW_WRITE)
		return area->iommu_prot & IOMMU_WRITE;
	return area->iommu_prot & IOMMU_READ;
}

/* iopt_NAME_iter_first/next: the struct iopt_NAME that intersect [start, last], by start. */
#define __make_iopt_iter(name)                                                          \
	static inline struct iopt_##name *iopt_##name##_iter_first(                     \
		struct io_pagetable *iopt, unsigned long start, unsigned long last)     \
		__must_hold_shared(iopt->iova_rwsem)                                    \
	{                                                                               \
		struct interval_tree_node *node;                                        \
                                                                                        \
		lockdep_assert_held(&iopt->iova_rwsem);                                 \
		node = interval_tree_iter_first(&iopt->name##_itree, start, last);      \
		if (!node)                                                              \
			return nullptr;                                                 \
		return container_of(node, struct iopt_##name, node);                    \
	}                                                                               \
	static inline struct iopt_##name *iopt_##name##_iter_next(                      \
		struct iopt_##name *last_node, unsigned long start, unsigned long last) \
	{                                                                               \
		struct interval_tree_node *node;                                        \
                                                                                        \
		node = interval_tree_iter_next(&last_node->node, start, last);          \
		if (!node)                                                              \
			return nullptr;                                                 \
		return container_of(node, struct iopt_##name, node);                    \
	}

__make_iopt_iter(area) __make_iopt_iter(allowed) __make_iopt_iter(reserved)
#undef __make_iopt_iter

	/*
	 * Walks the areas that cover [iova, last_iova] without a gap. The walk ends at the first
	 * gap or at an area whose pages are NULL: iopt_area_contig_done() tells whether it got to
	 * the end. iova_rwsem is held from _init to _done.
	 */
	struct iopt_area_contig_iter {
	/* Where the current area's share of the range begins */
	unsigned long cur_iova;
	unsigned long last_iova;
	struct iopt_area *area;
};

struct iopt_area *iopt_area_contig_init(struct iopt_area_contig_iter *iter,
					struct io_pagetable *iopt, unsigned long iova,
					unsigned long last_iova)
	__must_hold_shared(iopt->iova_rwsem);
struct iopt_area *iopt_area_contig_next(struct iopt_area_contig_iter *iter);

static inline bool iopt_area_contig_done(const struct iopt_area_contig_iter *iter)
{
	return iter->area && iter->last_iova <= iopt_area_last_iova(iter->area);
}

#define iopt_for_each_contig_area(iter, area, iopt, iova, last_iova)          \
	for (area = iopt_area_contig_init(iter, iopt, iova, last_iova); area; \
	     area = iopt_area_contig_next(iter))

/* Who pays for pinned pages: nobody, user_struct::locked_vm, or mm_struct::locked_vm */
enum {
	IOPT_PAGES_ACCOUNT_NONE = 0,
	IOPT_PAGES_ACCOUNT_USER = 1,
	IOPT_PAGES_ACCOUNT_MM = 2,
	IOPT_PAGES_ACCOUNT_MODE_NUM = 3,
};

enum iopt_address_type {
	IOPT_ADDRESS_USER = 0,
	IOPT_ADDRESS_FILE,
	IOPT_ADDRESS_DMABUF,
};

/* One pair of an area and a domain; of iopt_pages_dmabuf::tracker. */
struct iopt_pages_dmabuf_track {
	struct iommu_domain *domain = nullptr;
	struct iopt_area *area = nullptr;
	struct list_head elm;
};

/* phys and tracker change under the mutex of the iopt_pages; the rest is immutable. */
struct iopt_pages_dmabuf {
	struct dma_buf_attachment *attach = nullptr;
	/* The whole buffer. Length 0: revoked, which is for ever. */
	struct phys_vec phys;
	/* The page aligned first byte in it */
	unsigned long start = 0;
	struct list_head tracker;
};

/*
 * A linear piece of somebody's memory, shared by all areas of all tables that were made from one
 * IOAS_MAP through IOAS_COPY, so that each page is pinned and paid for once.
 *
 * Page indexes count PAGE_SIZE units from the (rounded down) start. A page is pinned exactly while
 * its index is in access_itree or domains_itree. Where it is in access_itree its PFN is in
 * pinned_pfns; where it is only in domains_itree its PFN is in the area's storage_domain and
 * nowhere else.
 */
struct iopt_pages {
	struct kref kref = {};
	struct mutex mutex{LOCK_CLASS(iopt_pages, mutex)};
	size_t npages = 0;
	/* Pages pinned, and how many of them are accounted for */
	size_t npinned __guarded_by(mutex) = 0;
	size_t last_npinned __guarded_by(mutex) = 0;
	/* What IOAS_CHANGE_PROCESS has charged to the new process and not yet returned to the old
	 * one; not 0 only while it is at work */
	size_t charged_ahead __guarded_by(mutex) = 0;
	/* Change under mutex together with iova_rwsem of every table that can be looked up: one of
	 * the two is enough to read them */
	struct task_struct *source_task = nullptr;
	struct mm_struct *source_mm = nullptr;
	struct user_struct *source_user = nullptr;
	enum iopt_address_type type = IOPT_ADDRESS_USER;
	/* IOPT_ADDRESS_USER: the page aligned address in source_mm */
	unsigned long uptr = 0;
	/* IOPT_ADDRESS_FILE: and the page aligned first byte in it */
	struct file *file = nullptr;
	unsigned long start = 0;
	/* IOPT_ADDRESS_DMABUF: never pinned and never paid for; no in-kernel access */
	struct iopt_pages_dmabuf dmabuf;
	bool writable = false;
	u8 account_mode = IOPT_PAGES_ACCOUNT_NONE;

	struct xarray pinned_pfns{LOCK_CLASS(iopt_pages, pinned_pfns)};
	/* Of iopt_pages_access::node */
	struct rb_root_cached access_itree __guarded_by(mutex) = {};
	/* Of iopt_area::pages_node */
	struct rb_root_cached domains_itree __guarded_by(mutex) = {};
};

static inline bool iopt_is_dmabuf(const struct iopt_pages *pages)
{
	return pages->type == IOPT_ADDRESS_DMABUF;
}

/* A dma-buf that the exporter has taken back: no domain has it, and none gets it. */
static inline bool iopt_dmabuf_revoked(const struct iopt_pages *pages)
{
	lockdep_assert_held(&pages->mutex);
	return iopt_is_dmabuf(pages) && !pages->dmabuf.phys.len;
}

/* Both: the result has one reference. -EOVERFLOW, -EINVAL (length 0 or absurd) or -ENOMEM. */
result<struct iopt_pages *> iopt_alloc_user_pages(user_inout<void> uptr, unsigned long length,
						  bool writable);
/* @start is the first byte wanted, @start_byte its offset in its page. Takes a reference on @file.
 */
result<struct iopt_pages *> iopt_alloc_file_pages(struct file *file, unsigned long start_byte,
						  unsigned long start, unsigned long length,
						  bool writable);
/*
 * The same for a dma-buf. On success the caller's reference on @dmabuf goes to the result. -EINVAL:
 * beyond its end; -ENODEV: revoked; -EOPNOTSUPP: its exporter does not tell where it is; -ENOMEM.
 */
result<struct iopt_pages *> iopt_alloc_dmabuf_pages(struct iommufd_ctx *ictx,
						    struct dma_buf *dmabuf,
						    unsigned long start_byte, unsigned long start,
						    unsigned long length, bool writable);
void iopt_release_pages(struct kref *kref);
static inline void iopt_put_pages(struct iopt_pages *pages)
{
	kref_put(&pages->kref, iopt_release_pages);
}

/* Reads [start, last], which an access must cover already. */
void iopt_pages_fill_from_xarray(struct iopt_pages *pages, unsigned long start, unsigned long last,
				 struct page **out_pages) __must_hold(pages->mutex);
/* Pins what is not pinned in [start, last], stores all of it in pinned_pfns and returns it. */
[[nodiscard]] int iopt_pages_fill_xarray(struct iopt_pages *pages, unsigned long start,
					 unsigned long last, struct page **out_pages)
	__must_hold(pages->mutex);
/* Undoes it once the access is out of access_itree. */
void iopt_pages_unfill_xarray(struct iopt_pages *pages, unsigned long start, unsigned long last)
	__must_hold(pages->mutex);

/*
 * Pins the pages with index [@start, @last] for an in-kernel access and returns them in @out_pages.
 * @flags: IOMMUFD_ACCESS_RW_*; @lock_area: see iopt_pin_pages(). The caller holds iova_rwsem for
 * reading. 0, -EPERM, -ENOMEM, -EFAULT. Compare iopt_area_add_access().
 */
[[nodiscard]] int iopt_area_add_access(struct iopt_area *area, unsigned long start,
				       unsigned long last, struct page **out_pages,
				       unsigned int flags, bool lock_area);
/* Undoes it. Never fails; all but @area must be what was given to iopt_area_add_access(). */
void iopt_area_remove_access(struct iopt_area *area, unsigned long start, unsigned long last,
			     bool unlock_area);
/*
 * Copies @length bytes from (or, with IOMMUFD_ACCESS_RW_WRITE, to) the pages at byte @start_byte.
 * 0, -EPERM, -EFAULT, -ENOMEM. Compare iopt_pages_rw_access().
 */
[[nodiscard]] int iopt_pages_rw_access(struct iopt_pages *pages, unsigned long start_byte,
				       void *data, unsigned long length, unsigned int flags);

/* A range that in-kernel accesses hold pinned; equal ranges share one. */
struct iopt_pages_access {
	struct interval_tree_node node = {};
	unsigned int users = 0;
};

struct pfn_reader_user;

/*
 * Charges (or, with !@inc, returns) @npages to whoever account_mode says. -ENOMEM over the limit,
 * -EINVAL if the address space to charge is gone; a return never fails. The caller holds
 * @pages->mutex, or nobody else sees @pages. Compare iopt_pages_update_pinned().
 */
int iopt_pages_update_pinned(struct iopt_pages *pages, unsigned long npages, bool inc,
			     struct pfn_reader_user *user);
