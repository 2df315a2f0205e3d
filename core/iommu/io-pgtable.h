// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page tables of IOMMUs in memory, apart from the drivers that use them.
 *
 * Mirrors include/linux/io-pgtable.h of Linux 7.2. It differs in this: the formats are the two
 * 64-bit LPAE ones; tables come from alloc_pages() only (no custom allocator) and are always
 * coherent with the walker; quirks for other hardware are left out.
 */
#pragma once

#include "core/iommu/iommu.h"
#include "core/linux/bitmap.h"

enum io_pgtable_fmt {
	ARM_64_LPAE_S1,
	ARM_64_LPAE_S2,
	IO_PGTABLE_NUM_FMTS,
};

/*
 * What the driver does when tables change. Called without locks of the page tables.
 * @tlb_flush_all: everything of the context, done on return.
 * @tlb_flush_walk: tables between the root and the leaves of the range, done on return.
 * @tlb_add_page: one leaf, done at the latest when the gather is synced.
 */
struct iommu_flush_ops {
	void (*tlb_flush_all)(void *cookie) = nullptr;
	void (*tlb_flush_walk)(unsigned long iova, size_t size, size_t granule,
			       void *cookie) = nullptr;
	void (*tlb_add_page)(struct iommu_iotlb_gather *gather, unsigned long iova, size_t granule,
			     void *cookie) = nullptr;
};

#define IO_PGTABLE_QUIRK_ARM_HD	   BIT(7) /* stage 1: the hardware marks what it writes (DBM) */
#define IO_PGTABLE_QUIRK_ARM_S2FWB BIT(8) /* stage 2: memory attributes in their FWB form */
#define IO_PGTABLE_QUIRK_NO_WARN   BIT(9) /* conflicts are the caller's and no bug */

/* What is wanted; on return what is there (page sizes and address widths may be fewer), and what
 * the hardware must be told. */
struct io_pgtable_cfg {
	unsigned long quirks = 0;
	unsigned long pgsize_bitmap = 0; /* bytes, a bit for each size */
	unsigned int ias = 0;		 /* input address, in bits */
	unsigned int oas = 0;		 /* output address, in bits */
	bool coherent_walk = false;
	const struct iommu_flush_ops *tlb = nullptr;
	struct device *iommu_dev = nullptr;

	struct {
		u64 ttbr;
		struct {
			u32 ips : 3;
			u32 tg : 2;
			u32 sh : 2;
			u32 orgn : 2;
			u32 irgn : 2;
			u32 tsz : 6;
		} tcr;
		u64 mair;
	} arm_lpae_s1_cfg = {};

	struct {
		u64 vttbr;
		struct {
			u32 ps : 3;
			u32 tg : 2;
			u32 sh : 2;
			u32 orgn : 2;
			u32 irgn : 2;
			u32 sl : 2;
			u32 tsz : 6;
		} vtcr;
	} arm_lpae_s2_cfg = {};
};

/*
 * @map_pages: *mapped grows by what is mapped, on failure too. -EINVAL: neither readable nor
 * writeable, or no such page size; -ERANGE: outside of the widths; -EEXIST: mapped already;
 * -ENOMEM.
 * @unmap_pages: the bytes unmapped from iova on. Both want a page size of the configuration.
 * @iova_to_phys: 0 when nothing is there.
 * @read_and_clear_dirty: records the pages of the range that the hardware has written since it was
 * last asked, and clears their state unless flags have IOMMU_DIRTY_NO_CLEAR. 0; -EINVAL: another
 * format than a stage 1, or a part of the range is not mapped. Disjoint ranges may be mapped and
 * unmapped at the same time.
 */
struct io_pgtable_ops {
	int (*map_pages)(struct io_pgtable_ops *ops, unsigned long iova, phys_addr_t paddr,
			 size_t pgsize, size_t pgcount, int prot, gfp_t gfp, size_t *mapped);
	size_t (*unmap_pages)(struct io_pgtable_ops *ops, unsigned long iova, size_t pgsize,
			      size_t pgcount, struct iommu_iotlb_gather *gather);
	phys_addr_t (*iova_to_phys)(struct io_pgtable_ops *ops, unsigned long iova);
	int (*read_and_clear_dirty)(struct io_pgtable_ops *ops, unsigned long iova, size_t size,
				    unsigned long flags, struct iommu_dirty_bitmap *dirty);
};

struct io_pgtable {
	enum io_pgtable_fmt fmt;
	void *cookie;
	struct io_pgtable_cfg cfg;
	struct io_pgtable_ops ops;
};
static inline struct io_pgtable *io_pgtable_ops_to_pgtable(struct io_pgtable_ops *ops)
{
	return container_of(ops, struct io_pgtable, ops);
}

struct io_pgtable_init_fns {
	struct io_pgtable *(*alloc)(struct io_pgtable_cfg *cfg, void *cookie);
	void (*free)(struct io_pgtable *iop);
};

/* Empty tables; cfg is updated. NULL: no memory, or a configuration that the format cannot have. */
[[nodiscard]] struct io_pgtable_ops *alloc_io_pgtable_ops(enum io_pgtable_fmt fmt,
							  struct io_pgtable_cfg *cfg, void *cookie);
/* No walker uses them any more; what is cached of them is flushed first. NULL is fine. */
void free_io_pgtable_ops(struct io_pgtable_ops *ops);

extern const struct io_pgtable_init_fns io_pgtable_arm_64_lpae_s1_init_fns;
extern const struct io_pgtable_init_fns io_pgtable_arm_64_lpae_s2_init_fns;

static inline void io_pgtable_tlb_flush_all(struct io_pgtable *iop)
{
	if (iop->cfg.tlb && iop->cfg.tlb->tlb_flush_all)
		iop->cfg.tlb->tlb_flush_all(iop->cookie);
}

static inline void io_pgtable_tlb_flush_walk(struct io_pgtable *iop, unsigned long iova,
					     size_t size, size_t granule)
{
	if (iop->cfg.tlb && iop->cfg.tlb->tlb_flush_walk)
		iop->cfg.tlb->tlb_flush_walk(iova, size, granule, iop->cookie);
}

static inline void io_pgtable_tlb_add_page(struct io_pgtable *iop,
					   struct iommu_iotlb_gather *gather, unsigned long iova,
					   size_t granule)
{
	if (iop->cfg.tlb && iop->cfg.tlb->tlb_add_page)
		iop->cfg.tlb->tlb_add_page(gather, iova, granule, iop->cookie);
}
