// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The long descriptor tables of the Arm architecture (VMSAv8-64), stage 1 and stage 2, granules of
 * 4K, 16K and 64K.
 *
 * Mirrors drivers/iommu/io-pgtable-arm.c of Linux 7.2. It differs as io-pgtable.h says, and in
 * this: walks go down in a loop; there is neither a table for the upper half of the addresses nor
 * one for secure memory.
 */
#include "core/iommu/io-pgtable.h"

#include "core/linux/bug.h"
#include "core/mm/mm.h"

typedef u64 arm_lpae_iopte;

#define ARM_LPAE_MAX_ADDR_BITS	     52
#define ARM_LPAE_S2_MAX_CONCAT_PAGES 16
#define ARM_LPAE_MAX_LEVELS	     4
#define ARM_LPAE_LAST_LEVEL	     (ARM_LPAE_MAX_LEVELS - 1)

#define ARM_LPAE_PTE_TYPE_MASK	0x3
#define ARM_LPAE_PTE_TYPE_BLOCK 1
#define ARM_LPAE_PTE_TYPE_TABLE 3 /* above the last level */
#define ARM_LPAE_PTE_TYPE_PAGE	3 /* at the last level */
#define ARM_LPAE_PTE_ADDR_MASK	GENMASK_ULL(47, 12)

#define ARM_LPAE_PTE_XN	   (3ULL << 53)
#define ARM_LPAE_PTE_DBM   (1ULL << 51)
#define ARM_LPAE_PTE_AF	   (1ULL << 10)
#define ARM_LPAE_PTE_SH_OS (2ULL << 8)
#define ARM_LPAE_PTE_SH_IS (3ULL << 8)

/* stage 1 */
#define ARM_LPAE_PTE_nG		    (1ULL << 11)
#define ARM_LPAE_PTE_AP_RDONLY	    (1ULL << 7)
#define ARM_LPAE_PTE_AP_UNPRIV	    (1ULL << 6)
#define ARM_LPAE_PTE_ATTRINDX_SHIFT 2

#define ARM_LPAE_MAIR_ATTR_SHIFT(n)	  ((n) << 3)
#define ARM_LPAE_MAIR_ATTR_DEVICE	  0x04ULL
#define ARM_LPAE_MAIR_ATTR_NC		  0x44ULL
#define ARM_LPAE_MAIR_ATTR_INC_OWBRWA	  0xf4ULL
#define ARM_LPAE_MAIR_ATTR_WBRWA	  0xffULL
#define ARM_LPAE_MAIR_ATTR_IDX_NC	  0
#define ARM_LPAE_MAIR_ATTR_IDX_CACHE	  1
#define ARM_LPAE_MAIR_ATTR_IDX_DEV	  2
#define ARM_LPAE_MAIR_ATTR_IDX_INC_OCACHE 3

/* stage 2 */
#define ARM_LPAE_PTE_HAP_READ	    (1ULL << 6)
#define ARM_LPAE_PTE_HAP_WRITE	    (2ULL << 6)
#define ARM_LPAE_PTE_MEMATTR_FWB_WB (0x6ULL << 2)
#define ARM_LPAE_PTE_MEMATTR_OIWB   (0xfULL << 2)
#define ARM_LPAE_PTE_MEMATTR_NC	    (0x5ULL << 2)
#define ARM_LPAE_PTE_MEMATTR_DEV    (0x1ULL << 2)
#define ARM_LPAE_VTCR_SL0_MASK	    0x3

/* of TCR and VTCR */
#define ARM_LPAE_TCR_TG0_4K   0
#define ARM_LPAE_TCR_TG0_64K  1
#define ARM_LPAE_TCR_TG0_16K  2
#define ARM_LPAE_TCR_SH_OS    2
#define ARM_LPAE_TCR_SH_IS    3
#define ARM_LPAE_TCR_RGN_NC   0
#define ARM_LPAE_TCR_RGN_WBWA 1

#define SZ_32M	0x2000000UL
#define SZ_512M 0x20000000UL

struct arm_lpae_io_pgtable {
	struct io_pgtable iop;
	int pgd_bits; /* log2 of the root's entries, which may be several tables side by side */
	int start_level;
	int bits_per_level;
	arm_lpae_iopte *pgd;
};

static struct arm_lpae_io_pgtable *io_pgtable_ops_to_data(struct io_pgtable_ops *ops)
{
	return container_of(io_pgtable_ops_to_pgtable(ops), struct arm_lpae_io_pgtable, iop);
}

static size_t arm_lpae_granule(const struct arm_lpae_io_pgtable *data)
{
	return sizeof(arm_lpae_iopte) << data->bits_per_level;
}

static size_t arm_lpae_pgd_size(const struct arm_lpae_io_pgtable *data)
{
	return sizeof(arm_lpae_iopte) << data->pgd_bits;
}

/* The bytes that one entry of a level stands for. */
static size_t arm_lpae_block_size(const struct arm_lpae_io_pgtable *data, int lvl)
{
	return 1UL << ((ARM_LPAE_MAX_LEVELS - lvl) * data->bits_per_level + 3);
}

static unsigned long arm_lpae_nr_entries(const struct arm_lpae_io_pgtable *data, int lvl)
{
	return 1UL << (lvl == data->start_level ? data->pgd_bits : data->bits_per_level);
}

static unsigned long arm_lpae_lvl_idx(const struct arm_lpae_io_pgtable *data, unsigned long iova,
				      int lvl)
{
	return (iova / arm_lpae_block_size(data, lvl)) & (arm_lpae_nr_entries(data, lvl) - 1);
}

/* How many of pgcount entries from idx on are in one table. */
static size_t arm_lpae_run(const struct arm_lpae_io_pgtable *data, unsigned long idx,
			   size_t pgcount)
{
	const unsigned long per_table = 1UL << data->bits_per_level;

	return min<size_t>(pgcount, per_table - (idx & (per_table - 1)));
}

static bool iopte_leaf(arm_lpae_iopte pte, int lvl)
{
	return (pte & ARM_LPAE_PTE_TYPE_MASK) ==
	       (lvl == ARM_LPAE_LAST_LEVEL ? ARM_LPAE_PTE_TYPE_PAGE : ARM_LPAE_PTE_TYPE_BLOCK);
}

static bool iopte_table(arm_lpae_iopte pte, int lvl)
{
	return lvl != ARM_LPAE_LAST_LEVEL &&
	       (pte & ARM_LPAE_PTE_TYPE_MASK) == ARM_LPAE_PTE_TYPE_TABLE;
}

/* Addresses above 48 bits have their top in the bits that a 64K granule leaves free below. */
static arm_lpae_iopte paddr_to_iopte(phys_addr_t paddr)
{
	return (paddr | (paddr >> 36)) & ARM_LPAE_PTE_ADDR_MASK;
}

static phys_addr_t iopte_to_paddr(arm_lpae_iopte pte, const struct arm_lpae_io_pgtable *data)
{
	const u64 addr = pte & ARM_LPAE_PTE_ADDR_MASK;

	if (arm_lpae_granule(data) < SZ_64K)
		return addr;
	return (addr & ~GENMASK_ULL(15, 12)) | (addr & GENMASK_ULL(15, 12)) << 36;
}

static arm_lpae_iopte *iopte_deref(arm_lpae_iopte pte, const struct arm_lpae_io_pgtable *data)
{
	return static_cast<arm_lpae_iopte *>(phys_to_virt(iopte_to_paddr(pte, data)));
}

static arm_lpae_iopte *__arm_lpae_alloc_pages(size_t size, gfp_t gfp)
{
	return reinterpret_cast<arm_lpae_iopte *>(
		__get_free_pages(gfp, (unsigned int)get_order(size)));
}

static void __arm_lpae_free_pages(arm_lpae_iopte *pages, size_t size)
{
	free_pages((unsigned long)pages, (unsigned int)get_order(size));
}

/* A table and all below it. The walkers have forgotten them. */
static void __arm_lpae_free_pgtable(struct arm_lpae_io_pgtable *data, int lvl,
				    arm_lpae_iopte *table)
{
	if (lvl != ARM_LPAE_LAST_LEVEL)
		for (unsigned long i = 0; i < arm_lpae_nr_entries(data, lvl); i++)
			if (iopte_table(table[i], lvl))
				__arm_lpae_free_pgtable(data, lvl + 1, iopte_deref(table[i], data));
	__arm_lpae_free_pages(table, lvl == data->start_level ? arm_lpae_pgd_size(data)
							      : arm_lpae_granule(data));
}

static void arm_lpae_free_pgtable(struct io_pgtable *iop)
{
	struct arm_lpae_io_pgtable *data = container_of(iop, struct arm_lpae_io_pgtable, iop);

	__arm_lpae_free_pgtable(data, data->start_level, data->pgd);
	kfree_obj(data);
}

/* ---- map ---- */

static bool arm_lpae_warns(const struct arm_lpae_io_pgtable *data)
{
	return !(data->iop.cfg.quirks & IO_PGTABLE_QUIRK_NO_WARN);
}

/* Takes an entry's table away: for a leaf in its place, or because all of it is unmapped. */
static void arm_lpae_drop_table(struct arm_lpae_io_pgtable *data, arm_lpae_iopte *ptep,
				unsigned long iova, int lvl)
{
	const arm_lpae_iopte pte = *ptep;

	WRITE_ONCE(*ptep, 0);
	io_pgtable_tlb_flush_walk(&data->iop, iova, arm_lpae_block_size(data, lvl),
				  arm_lpae_granule(data));
	__arm_lpae_free_pgtable(data, lvl + 1, iopte_deref(pte, data));
}

/* Leaves from iova on, num_entries that are in one table. -EEXIST: one is there. */
static int arm_lpae_init_pte(struct arm_lpae_io_pgtable *data, unsigned long iova,
			     phys_addr_t paddr, arm_lpae_iopte prot, int lvl, size_t num_entries,
			     arm_lpae_iopte *ptep)
{
	const size_t sz = arm_lpae_block_size(data, lvl);

	for (size_t i = 0; i < num_entries; i++) {
		if (iopte_leaf(ptep[i], lvl)) {
			WARN_ON(arm_lpae_warns(data));
			return -EEXIST;
		}
		/* what smaller pages have left; nothing is mapped through it */
		if (iopte_table(ptep[i], lvl))
			arm_lpae_drop_table(data, &ptep[i], iova + i * sz, lvl);
	}

	prot |= lvl == ARM_LPAE_LAST_LEVEL ? ARM_LPAE_PTE_TYPE_PAGE : ARM_LPAE_PTE_TYPE_BLOCK;
	for (size_t i = 0; i < num_entries; i++)
		smp_store_release(&ptep[i], prot | paddr_to_iopte(paddr + i * sz));
	return 0;
}

/* Enters a table; false when somebody else was first. */
static bool arm_lpae_install_table(arm_lpae_iopte *table, arm_lpae_iopte *ptep, arm_lpae_iopte *cur)
{
	arm_lpae_iopte entry = paddr_to_iopte(virt_to_phys(table)) | ARM_LPAE_PTE_TYPE_TABLE;

	*cur = 0;
	if (!__atomic_compare_exchange_n(ptep, cur, entry, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return false;
	*cur = entry;
	return true;
}

/* The table below an entry, made when there is none. -EEXIST: a leaf is there. */
static result<arm_lpae_iopte *> arm_lpae_next_table(struct arm_lpae_io_pgtable *data,
						    arm_lpae_iopte *ptep, int lvl, gfp_t gfp)
{
	arm_lpae_iopte pte = smp_load_acquire(ptep);

	if (!pte) {
		arm_lpae_iopte *table = __arm_lpae_alloc_pages(arm_lpae_granule(data), gfp);

		if (!table)
			return -ENOMEM;
		if (!arm_lpae_install_table(table, ptep, &pte))
			__arm_lpae_free_pages(table, arm_lpae_granule(data));
	}
	if (iopte_leaf(pte, lvl)) {
		WARN_ON(arm_lpae_warns(data));
		return -EEXIST;
	}
	return iopte_deref(pte, data);
}

static int __arm_lpae_map(struct arm_lpae_io_pgtable *data, unsigned long iova, phys_addr_t paddr,
			  size_t size, size_t pgcount, arm_lpae_iopte prot, gfp_t gfp,
			  size_t *mapped)
{
	arm_lpae_iopte *table = data->pgd;
	int lvl = data->start_level;

	for (; arm_lpae_block_size(data, lvl) != size; lvl++) {
		if (WARN_ON(lvl >= ARM_LPAE_LAST_LEVEL))
			return -EINVAL;

		auto next = arm_lpae_next_table(data, &table[arm_lpae_lvl_idx(data, iova, lvl)],
						lvl, gfp);

		if (!next)
			return next.error();
		table = *next;
	}

	const unsigned long idx = arm_lpae_lvl_idx(data, iova, lvl);
	const size_t n = arm_lpae_run(data, idx, pgcount);
	int ret = arm_lpae_init_pte(data, iova, paddr, prot, lvl, n, &table[idx]);

	if (!ret)
		*mapped += n * size;
	return ret;
}

static arm_lpae_iopte arm_lpae_prot_to_pte(const struct arm_lpae_io_pgtable *data, int prot)
{
	arm_lpae_iopte pte = ARM_LPAE_PTE_AF;

	if (data->iop.fmt == ARM_64_LPAE_S1) {
		pte |= ARM_LPAE_PTE_nG;
		if (!(prot & IOMMU_WRITE))
			pte |= ARM_LPAE_PTE_AP_RDONLY;
		else if (data->iop.cfg.quirks & IO_PGTABLE_QUIRK_ARM_HD)
			pte |= ARM_LPAE_PTE_DBM;
		if (!(prot & IOMMU_PRIV))
			pte |= ARM_LPAE_PTE_AP_UNPRIV;
		if (prot & IOMMU_MMIO)
			pte |= (u64)ARM_LPAE_MAIR_ATTR_IDX_DEV << ARM_LPAE_PTE_ATTRINDX_SHIFT;
		else if (prot & IOMMU_CACHE)
			pte |= (u64)ARM_LPAE_MAIR_ATTR_IDX_CACHE << ARM_LPAE_PTE_ATTRINDX_SHIFT;
	} else {
		if (prot & IOMMU_READ)
			pte |= ARM_LPAE_PTE_HAP_READ;
		if (prot & IOMMU_WRITE)
			pte |= ARM_LPAE_PTE_HAP_WRITE;
		if (prot & IOMMU_MMIO)
			pte |= ARM_LPAE_PTE_MEMATTR_DEV;
		else if (!(prot & IOMMU_CACHE))
			pte |= ARM_LPAE_PTE_MEMATTR_NC;
		else if (data->iop.cfg.quirks & IO_PGTABLE_QUIRK_ARM_S2FWB)
			pte |= ARM_LPAE_PTE_MEMATTR_FWB_WB;
		else
			pte |= ARM_LPAE_PTE_MEMATTR_OIWB;
	}

	pte |= prot & IOMMU_CACHE ? ARM_LPAE_PTE_SH_IS : ARM_LPAE_PTE_SH_OS;
	if (prot & IOMMU_NOEXEC)
		pte |= ARM_LPAE_PTE_XN;
	return pte;
}

static int arm_lpae_map_pages(struct io_pgtable_ops *ops, unsigned long iova, phys_addr_t paddr,
			      size_t pgsize, size_t pgcount, int iommu_prot, gfp_t gfp,
			      size_t *mapped)
{
	struct arm_lpae_io_pgtable *data = io_pgtable_ops_to_data(ops);
	const struct io_pgtable_cfg *cfg = &data->iop.cfg;

	if (WARN_ON(!is_power_of_2(pgsize) || !(pgsize & cfg->pgsize_bitmap)))
		return -EINVAL;
	/* users choose their memory, and the host's (core/mm/host.cc) lies above what 48 bits reach
	 */
	if (WARN_ON(iova >> cfg->ias) || paddr >> cfg->oas)
		return -ERANGE;
	if (!(iommu_prot & (IOMMU_READ | IOMMU_WRITE)))
		return -EINVAL;
	return __arm_lpae_map(data, iova, paddr, pgsize, pgcount,
			      arm_lpae_prot_to_pte(data, iommu_prot), gfp, mapped);
}

/* ---- unmap ---- */

/* Entries of one table, at the level of their size. */
static size_t arm_lpae_unmap_entries(struct arm_lpae_io_pgtable *data,
				     struct iommu_iotlb_gather *gather, unsigned long iova,
				     size_t size, size_t num_entries, int lvl, arm_lpae_iopte *ptep)
{
	size_t done;

	for (done = 0; done < num_entries; done++) {
		const arm_lpae_iopte pte = READ_ONCE(ptep[done]);

		if (!pte) {
			WARN_ON(arm_lpae_warns(data));
			break;
		}
		if (iopte_leaf(pte, lvl))
			WRITE_ONCE(ptep[done], 0);
		else
			arm_lpae_drop_table(data, &ptep[done], iova + done * size, lvl);
	}

	if (gather && !gather->queued)
		for (size_t i = 0; i < done; i++)
			io_pgtable_tlb_add_page(&data->iop, gather, iova + i * size, size);
	return done * size;
}

static size_t arm_lpae_unmap_pages(struct io_pgtable_ops *ops, unsigned long iova, size_t pgsize,
				   size_t pgcount, struct iommu_iotlb_gather *gather)
{
	struct arm_lpae_io_pgtable *data = io_pgtable_ops_to_data(ops);
	const struct io_pgtable_cfg *cfg = &data->iop.cfg;
	arm_lpae_iopte *table = data->pgd;

	if (WARN_ON(!is_power_of_2(pgsize) || !(pgsize & cfg->pgsize_bitmap) || !pgcount))
		return 0;
	if (WARN_ON(iova >> cfg->ias))
		return 0;

	for (int lvl = data->start_level; lvl < ARM_LPAE_MAX_LEVELS; lvl++) {
		const unsigned long idx = arm_lpae_lvl_idx(data, iova, lvl);
		const arm_lpae_iopte pte = smp_load_acquire(&table[idx]);

		if (!pte) {
			WARN_ON(arm_lpae_warns(data));
			return 0;
		}
		if (pgsize == arm_lpae_block_size(data, lvl))
			return arm_lpae_unmap_entries(data, gather, iova, pgsize,
						      arm_lpae_run(data, idx, pgcount), lvl,
						      &table[idx]);
		/* a part of a leaf cannot go */
		if (WARN_ON(iopte_leaf(pte, lvl)))
			return 0;
		table = iopte_deref(pte, data);
	}
	return 0;
}

static phys_addr_t arm_lpae_iova_to_phys(struct io_pgtable_ops *ops, unsigned long iova)
{
	struct arm_lpae_io_pgtable *data = io_pgtable_ops_to_data(ops);
	const arm_lpae_iopte *table = data->pgd;

	if (iova >> data->iop.cfg.ias)
		return 0;
	for (int lvl = data->start_level; lvl < ARM_LPAE_MAX_LEVELS; lvl++) {
		const arm_lpae_iopte pte =
			smp_load_acquire(&table[arm_lpae_lvl_idx(data, iova, lvl)]);

		if (iopte_leaf(pte, lvl))
			return iopte_to_paddr(pte, data) |
			       (iova & (arm_lpae_block_size(data, lvl) - 1));
		if (!iopte_table(pte, lvl))
			return 0;
		table = iopte_deref(pte, data);
	}
	return 0;
}

/* ---- dirty state ---- */

/* Written to since it was marked clean: the hardware has taken RDONLY away. */
static bool iopte_writeable_dirty(arm_lpae_iopte pte)
{
	return (pte & (ARM_LPAE_PTE_AP_RDONLY | ARM_LPAE_PTE_DBM)) == ARM_LPAE_PTE_DBM;
}

/* The leaf that translates iova, and the bytes that it stands for. NULL: nothing is mapped. */
static arm_lpae_iopte *arm_lpae_find_leaf(struct arm_lpae_io_pgtable *data, unsigned long iova,
					  size_t *size)
{
	arm_lpae_iopte *table = data->pgd;

	for (int lvl = data->start_level; lvl < ARM_LPAE_MAX_LEVELS; lvl++) {
		arm_lpae_iopte *ptep = &table[arm_lpae_lvl_idx(data, iova, lvl)];
		const arm_lpae_iopte pte = smp_load_acquire(ptep);

		*size = arm_lpae_block_size(data, lvl);
		if (iopte_leaf(pte, lvl))
			return ptep;
		if (!iopte_table(pte, lvl))
			return nullptr;
		table = iopte_deref(pte, data);
	}
	return nullptr;
}

static int arm_lpae_read_and_clear_dirty(struct io_pgtable_ops *ops, unsigned long iova,
					 size_t size, unsigned long flags,
					 struct iommu_dirty_bitmap *dirty)
{
	struct arm_lpae_io_pgtable *data = io_pgtable_ops_to_data(ops);
	size_t left = size, leaf;

	if (WARN_ON(!size || (iova + size - 1) >> data->iop.cfg.ias))
		return -EINVAL;
	if (data->iop.fmt != ARM_64_LPAE_S1)
		return -EINVAL;

	for (;; iova += leaf, left -= leaf) {
		arm_lpae_iopte *ptep = arm_lpae_find_leaf(data, iova, &leaf);

		if (!ptep)
			return -EINVAL;
		if (iopte_writeable_dirty(READ_ONCE(*ptep))) {
			iommu_dirty_bitmap_record(dirty, iova, leaf);
			/* the hardware may be writing other bits of it */
			if (!(flags & IOMMU_DIRTY_NO_CLEAR))
				__atomic_fetch_or(ptep, ARM_LPAE_PTE_AP_RDONLY, __ATOMIC_RELAXED);
		}
		if (left <= leaf)
			return 0;
	}
}

/* ---- allocation ---- */

/* One granule and its blocks: the CPU's page size if it is there, else the nearest smaller one. */
static void arm_lpae_restrict_pgsizes(struct io_pgtable_cfg *cfg)
{
	unsigned long granule = 0, page_sizes = 0;
	unsigned int max_addr_bits = 48;

	if (cfg->pgsize_bitmap & PAGE_SIZE)
		granule = PAGE_SIZE;
	else if (cfg->pgsize_bitmap & ~PAGE_MASK)
		granule = 1UL << __fls(cfg->pgsize_bitmap & ~PAGE_MASK);
	else if (cfg->pgsize_bitmap)
		granule = 1UL << __ffs(cfg->pgsize_bitmap);

	if (granule == SZ_4K) {
		page_sizes = SZ_4K | SZ_2M | SZ_1G;
	} else if (granule == SZ_16K) {
		page_sizes = SZ_16K | SZ_32M;
	} else if (granule == SZ_64K) {
		max_addr_bits = 52;
		page_sizes = SZ_64K | SZ_512M;
		if (cfg->oas > 48)
			page_sizes |= 1UL << 42;
	}
	cfg->pgsize_bitmap &= page_sizes;
	cfg->ias = min(cfg->ias, max_addr_bits);
	cfg->oas = min(cfg->oas, max_addr_bits);
}

static struct arm_lpae_io_pgtable *arm_lpae_alloc_pgtable(struct io_pgtable_cfg *cfg)
{
	arm_lpae_restrict_pgsizes(cfg);
	if (!(cfg->pgsize_bitmap & (SZ_4K | SZ_16K | SZ_64K)))
		return nullptr;
	if (cfg->ias > ARM_LPAE_MAX_ADDR_BITS || cfg->oas > ARM_LPAE_MAX_ADDR_BITS)
		return nullptr;

	auto *data = kzalloc_obj<struct arm_lpae_io_pgtable>();

	if (!data)
		return nullptr;

	const int pg_shift = (int)__ffs(cfg->pgsize_bitmap);
	const int va_bits = (int)cfg->ias - pg_shift;

	data->bits_per_level = pg_shift - 3;

	const int levels = DIV_ROUND_UP(va_bits, data->bits_per_level);

	data->start_level = ARM_LPAE_MAX_LEVELS - levels;
	data->pgd_bits = va_bits - data->bits_per_level * (levels - 1);
	data->iop.ops = {
		.map_pages = arm_lpae_map_pages,
		.unmap_pages = arm_lpae_unmap_pages,
		.iova_to_phys = arm_lpae_iova_to_phys,
		.read_and_clear_dirty = arm_lpae_read_and_clear_dirty,
	};
	return data;
}

static u32 arm_lpae_tg0(const struct arm_lpae_io_pgtable *data)
{
	switch (arm_lpae_granule(data)) {
	case SZ_16K:
		return ARM_LPAE_TCR_TG0_16K;
	case SZ_64K:
		return ARM_LPAE_TCR_TG0_64K;
	default:
		return ARM_LPAE_TCR_TG0_4K;
	}
}

/* An output width as TCR and VTCR have it; -EINVAL: the architecture has no such width. */
static int arm_lpae_ps(unsigned int oas)
{
	static const u8 widths[] = {32, 36, 40, 42, 44, 48, 52};

	for (size_t i = 0; i < ARRAY_SIZE(widths); i++)
		if (widths[i] == oas)
			return (int)i;
	return -EINVAL;
}

static struct io_pgtable *arm_lpae_alloc_pgd(struct arm_lpae_io_pgtable *data, bool possible)
{
	if (possible)
		data->pgd = __arm_lpae_alloc_pages(arm_lpae_pgd_size(data), GFP_KERNEL);
	if (data->pgd)
		return &data->iop;
	kfree_obj(data);
	return nullptr;
}

static struct io_pgtable *arm_64_lpae_alloc_pgtable_s1(struct io_pgtable_cfg *cfg, void *)
{
	auto *tcr = &cfg->arm_lpae_s1_cfg.tcr;

	if (cfg->quirks & ~(IO_PGTABLE_QUIRK_ARM_HD | IO_PGTABLE_QUIRK_NO_WARN))
		return nullptr;

	struct arm_lpae_io_pgtable *data = arm_lpae_alloc_pgtable(cfg);

	if (!data)
		return nullptr;

	const int ips = arm_lpae_ps(cfg->oas);

	tcr->sh = cfg->coherent_walk ? ARM_LPAE_TCR_SH_IS : ARM_LPAE_TCR_SH_OS;
	tcr->irgn = cfg->coherent_walk ? ARM_LPAE_TCR_RGN_WBWA : ARM_LPAE_TCR_RGN_NC;
	tcr->orgn = tcr->irgn;
	tcr->tg = arm_lpae_tg0(data) & 3;
	tcr->ips = (u32)ips & 7;
	tcr->tsz = (64 - cfg->ias) & 63;
	cfg->arm_lpae_s1_cfg.mair =
		ARM_LPAE_MAIR_ATTR_NC << ARM_LPAE_MAIR_ATTR_SHIFT(ARM_LPAE_MAIR_ATTR_IDX_NC) |
		ARM_LPAE_MAIR_ATTR_WBRWA << ARM_LPAE_MAIR_ATTR_SHIFT(ARM_LPAE_MAIR_ATTR_IDX_CACHE) |
		ARM_LPAE_MAIR_ATTR_DEVICE << ARM_LPAE_MAIR_ATTR_SHIFT(ARM_LPAE_MAIR_ATTR_IDX_DEV) |
		ARM_LPAE_MAIR_ATTR_INC_OWBRWA
			<< ARM_LPAE_MAIR_ATTR_SHIFT(ARM_LPAE_MAIR_ATTR_IDX_INC_OCACHE);

	struct io_pgtable *iop = arm_lpae_alloc_pgd(data, ips >= 0);

	if (iop)
		cfg->arm_lpae_s1_cfg.ttbr = virt_to_phys(data->pgd);
	return iop;
}

/*
 * Where the architecture has no lookup that starts at this level (DDI0487, rules DXBSH and SRKBC),
 * it starts one further down with the tables side by side.
 */
static bool arm_lpae_concat_mandatory(const struct io_pgtable_cfg *cfg,
				      const struct arm_lpae_io_pgtable *data)
{
	const unsigned int oas = cfg->oas;

	if (arm_lpae_granule(data) == SZ_16K)
		return data->start_level == 0 ? oas == 48 || cfg->ias == 48
					      : data->start_level == 1 && oas == 40;
	return arm_lpae_granule(data) == SZ_4K && data->start_level == 0 &&
	       (oas == 40 || oas == 42);
}

static struct io_pgtable *arm_64_lpae_alloc_pgtable_s2(struct io_pgtable_cfg *cfg, void *)
{
	auto *vtcr = &cfg->arm_lpae_s2_cfg.vtcr;

	if (cfg->quirks & ~(IO_PGTABLE_QUIRK_ARM_S2FWB | IO_PGTABLE_QUIRK_NO_WARN))
		return nullptr;

	struct arm_lpae_io_pgtable *data = arm_lpae_alloc_pgtable(cfg);

	if (!data)
		return nullptr;
	if (arm_lpae_concat_mandatory(cfg, data)) {
		if (WARN_ON(arm_lpae_nr_entries(data, data->start_level) >
			    ARM_LPAE_S2_MAX_CONCAT_PAGES)) {
			kfree_obj(data);
			return nullptr;
		}
		data->pgd_bits += data->bits_per_level;
		data->start_level++;
	}

	const int ps = arm_lpae_ps(cfg->oas);
	/* SL0 counts from the bottom; with 4K it lacks the level of 16K and 64K */
	const unsigned int sl =
		(unsigned int)data->start_level + (arm_lpae_granule(data) == SZ_4K ? 1u : 0u);

	vtcr->sh = cfg->coherent_walk ? ARM_LPAE_TCR_SH_IS : ARM_LPAE_TCR_SH_OS;
	vtcr->irgn = cfg->coherent_walk ? ARM_LPAE_TCR_RGN_WBWA : ARM_LPAE_TCR_RGN_NC;
	vtcr->orgn = vtcr->irgn;
	vtcr->tg = arm_lpae_tg0(data) & 3;
	vtcr->ps = (u32)ps & 7;
	vtcr->tsz = (64 - cfg->ias) & 63;
	vtcr->sl = ~sl & ARM_LPAE_VTCR_SL0_MASK;

	struct io_pgtable *iop = arm_lpae_alloc_pgd(data, ps >= 0);

	if (iop)
		cfg->arm_lpae_s2_cfg.vttbr = virt_to_phys(data->pgd);
	return iop;
}

const struct io_pgtable_init_fns io_pgtable_arm_64_lpae_s1_init_fns = {
	.alloc = arm_64_lpae_alloc_pgtable_s1,
	.free = arm_lpae_free_pgtable,
};

const struct io_pgtable_init_fns io_pgtable_arm_64_lpae_s2_init_fns = {
	.alloc = arm_64_lpae_alloc_pgtable_s2,
	.free = arm_lpae_free_pgtable,
};
