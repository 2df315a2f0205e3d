// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A model of Tegra241's CMDQV: command queues beside the SMMU's own that a hypervisor gives to its
 * guests. No kernel counterpart. The map is in tegra241-cmdqv-regs.h; a VINTF's two pages are views
 * of the registers of the VCMDQs that are allocated to it, and of no others: what is not allocated
 * reads as zero there and takes no write. Free-running, page 0 is memory: there a client's stores
 * where nothing is allocated stay until the VINTF is enabled anew, and nobody looks at them.
 *
 * Beliefs about the silicon, where drivers do not settle them:
 *
 * A VCMDQ runs while its CONFIG.EN is set, it is allocated, its VINTF is enabled and the CMDQV is.
 * Nothing but a write changes its registers, so it goes on with what the last owner left.
 *
 * The LVCMDQs of a VINTF are allocated in ascending order and given back in descending order. What
 * is out of order, or would double a logical number, does not change ALLOC.
 *
 * While it runs, BASE and CONS take no write; while a VINTF is enabled, its VMID and HYP_OWN do
 * not. A queue that is too large or not aligned to its size does not start: CMDQ_INIT_ERR.
 *
 * A queue of a VINTF without HYP_OWN does TLBI_NH_ASID, TLBI_NH_VA, ATC_INV and SYNC without a
 * signal; all else is CERROR_ILL. TLBI gets the VINTF's VMID, ATC_INV the stream id of the matching
 * SID slot; without one it is CERROR_ILL_ACCESS.
 *
 * Each new error raises the interrupt once, unless the VINTF is masked; the maps show errors until
 * GERRORN acknowledges them.
 *
 * An ATC_INV that timed out is told to the queue by its next SYNC. A SYNC of the SMMU's own queue
 * takes it from queues that do not run.
 */
#pragma once

#include "drivers/hw/smmuv3-hw.h"
#include "drivers/hw/tegra241-cmdqv-regs.h"

struct page;

struct tegra241_cmdqv_hw_config {
	const char *name = "tegra241-cmdqv";
	phys_addr_t phys = 0;
	u8 version = 1;
	u8 num_vintfs_log2 = 2;
	u8 num_vcmdqs_log2 = 3;
	u8 num_sids_log2 = 4;
	/* What a guest of a hypervisor sees: HYP_OWN stays 0. */
	bool hyp_own_wired_zero = false;
};

struct tegra241_vcmdq_hw {
	reg_page<0x20> page0;
	reg_page<0x10> page1;
	struct hw_cmd_source source;
	/* Its registers of page 0 as a client that maps them sees them; NULL: through MMIO only. */
	u32 *shared = nullptr;
};

struct tegra241_vintf_hw {
	reg_page<cmdqv_regs::vintf_bytes> regs;
	/* VCMDQ of each logical one; the first num_lvcmdqs are allocated. */
	u8 lvcmdqs[TEGRA241_CMDQV_MAX_VCMDQS] = {};
	u8 num_lvcmdqs = 0;
	/* Free-running: the memory behind page 0. */
	struct page *page0 = nullptr;
};

struct tegra241_cmdqv_hw : smmuv3_hw_vendor {
	struct tegra241_cmdqv_hw_config config;
	struct smmuv3_hw *const smmu;
	struct mmio_region region;

	reg_page<0x1000> regs __guarded_by(smmu->lock);
	struct tegra241_vintf_hw vintfs[TEGRA241_CMDQV_MAX_VINTFS] __guarded_by(smmu->lock);
	struct tegra241_vcmdq_hw vcmdqs[TEGRA241_CMDQV_MAX_VCMDQS] __guarded_by(smmu->lock);
	/* VCMDQs that have a command to do; VCMDQs that are allocated. */
	u64 ready[TEGRA241_CMDQV_MAX_VCMDQS / 64] __guarded_by(smmu->lock) = {};
	u64 mapped[TEGRA241_CMDQV_MAX_VCMDQS / 64] __guarded_by(smmu->lock) = {};

	explicit tegra241_cmdqv_hw(struct smmuv3_hw *s) : smmu(s) {}
	u32 num_vintfs() const { return 1u << config.num_vintfs_log2; }
	u32 num_vcmdqs() const { return 1u << config.num_vcmdqs_log2; }
	u32 num_sids() const { return 1u << config.num_sids_log2; }
};

/* Bytes of MMIO with so many VINTFs. */
static inline u64 tegra241_cmdqv_hw_size(u8 num_vintfs_log2)
{
	return (3 + ((u64)2 << num_vintfs_log2)) * TEGRA241_CMDQV_PAGE;
}

/*
 * Adds one to @smmu, whose mode is its mode; with HW_FREE_RUNNING as a task of the kernel, whose
 * memory it takes. -ENOMEM; -EBUSY: it has one, or something is at config->phys; -EINVAL: more than
 * there can be.
 */
result<struct tegra241_cmdqv_hw *>
tegra241_cmdqv_hw_create(struct smmuv3_hw *smmu, const struct tegra241_cmdqv_hw_config *config);
void tegra241_cmdqv_hw_destroy(struct tegra241_cmdqv_hw *cmdqv);
