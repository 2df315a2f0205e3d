// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * CMDQ-V of Tegra241: more command queues beside the SMMU's own. VINTF0 and its LVCMDQs are the
 * kernel's; another VINTF is a guest's vSMMU, whose LVCMDQs read commands from the guest's memory.
 *
 * Mirrors drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c of Linux 7.2 and, in the functions that
 * end in _v2, patches 16 to 22 of the vCMDQ series v2; both forms program the hardware alike. It
 * differs in this: the struct that holds the SMMU is allocated at once, not grown; there are no
 * module parameters; the error interrupt's line in the log is ratelimited; what is a queue of the
 * hardware and what an object of iommufd are two structs, since there are two kinds of the latter.
 * In the series' form these are as in 7.2: a queue's registers are reset before it is a guest's,
 * its dependency goes when its allocation fails, one mutex orders allocations and ends, the base is
 * tested for alignment where it really is, and a virtual stream id must fit its register.
 */
#include "drivers/arm-smmu-v3/arm-smmu-v3.h"

#include "core/linux/bug.h"
#include "core/linux/interrupt.h"

#include <cstdio>

/* ---- the map ---- */

#define TEGRA241_CMDQV_CONFIG_BASE 0
#define TEGRA241_VCMDQ_PAGE0_BASE  (TEGRA241_CMDQV_CONFIG_BASE + SZ_64K)
#define TEGRA241_VCMDQ_PAGE1_BASE  (TEGRA241_VCMDQ_PAGE0_BASE + SZ_64K)
#define TEGRA241_VINTF_PAGE_BASE   (TEGRA241_VCMDQ_PAGE1_BASE + SZ_64K)

/* global */
#define TEGRA241_CMDQV_CONFIG 0x0000
#define CMDQV_EN	      BIT(0)

#define TEGRA241_CMDQV_PARAM	  0x0004
#define CMDQV_NUM_SID_PER_VM_LOG2 GENMASK(15, 12)
#define CMDQV_NUM_VINTF_LOG2	  GENMASK(11, 8)
#define CMDQV_NUM_VCMDQ_LOG2	  GENMASK(7, 4)
#define CMDQV_VER		  GENMASK(3, 0)

#define TEGRA241_CMDQV_STATUS 0x0008

#define TEGRA241_CMDQV_VINTF_ERR_MAP   0x0014
#define TEGRA241_CMDQV_CMDQ_ERR_MAP(m) (0x0024 + 0x4 * (m))

#define TEGRA241_CMDQV_CMDQ_ALLOC(q) (0x0200 + 0x4 * (q))
#define CMDQV_CMDQ_ALLOC_VINTF	     GENMASK(20, 15)
#define CMDQV_CMDQ_ALLOC_LVCMDQ	     GENMASK(7, 1)
#define CMDQV_CMDQ_ALLOCATED	     BIT(0)

/* of a VINTF */
#define TEGRA241_VINTF(v) (0x1000 + 0x100 * (v))

#define TEGRA241_VINTF_CONFIG 0x0000
#define VINTF_HYP_OWN	      BIT(17)
#define VINTF_VMID	      GENMASK(16, 1)
#define VINTF_EN	      BIT(0)

#define TEGRA241_VINTF_STATUS 0x0004

#define TEGRA241_VINTF_SID_MATCH(s)   (0x0040 + 0x4 * (s))
#define VINTF_SID_MATCH_VIRT_SID      GENMASK(20, 1)
#define VINTF_SID_MATCH_ENABLE	      BIT(0)
#define TEGRA241_VINTF_SID_REPLACE(s) (0x0080 + 0x4 * (s))

#define TEGRA241_VINTF_LVCMDQ_ERR_MAP_64(m) (0x00c0 + 0x8 * (m))
#define LVCMDQ_ERR_MAP_NUM_64		    2

/* of a VCMDQ, page 0 */
#define TEGRA241_VCMDQ_CONS    0x00000
#define TEGRA241_VCMDQ_PROD    0x00004
#define TEGRA241_VCMDQ_CONFIG  0x00008
#define VCMDQ_EN	       BIT(0)
#define TEGRA241_VCMDQ_STATUS  0x0000c
#define TEGRA241_VCMDQ_GERROR  0x00010
#define TEGRA241_VCMDQ_GERRORN 0x00014

/* of a VCMDQ, page 1 */
#define VCMDQ_ADDR		      GENMASK(47, 5)
#define VCMDQ_LOG2SIZE		      GENMASK(4, 0)
#define TEGRA241_VCMDQ_BASE	      0x00000
#define TEGRA241_VCMDQ_CONS_INDX_BASE 0x00008

/* a VINTF's view of its LVCMDQs */
#define TEGRA241_VINTFi_PAGE0(i)	   (TEGRA241_VINTF_PAGE_BASE + 2 * SZ_64K * (i))
#define TEGRA241_VINTFi_PAGE1(i)	   (TEGRA241_VINTFi_PAGE0(i) + SZ_64K)
#define TEGRA241_VINTFi_LVCMDQ_PAGE0(i, q) (TEGRA241_VINTFi_PAGE0(i) + 0x80UL * (q))
#define TEGRA241_VINTFi_LVCMDQ_PAGE1(i, q) (TEGRA241_VINTFi_PAGE1(i) + 0x80UL * (q))
#define TEGRA241_VCMDQ_SIZE		   0x80

#define REG_CMDQV(_cmdqv, _regname)	  ((_cmdqv)->base + TEGRA241_CMDQV_##_regname)
#define REG_VINTF(_vintf, _regname)	  ((_vintf)->base + TEGRA241_VINTF_##_regname)
#define REG_VCMDQ_PAGE0(_vcmdq, _regname) ((_vcmdq)->page0 + TEGRA241_VCMDQ_##_regname)
#define REG_VCMDQ_PAGE1(_vcmdq, _regname) ((_vcmdq)->page1 + TEGRA241_VCMDQ_##_regname)

struct tegra241_cmdqv;
struct tegra241_vintf;

/* A queue of the hardware while it is somebody's. */
struct tegra241_vcmdq {
	u16 idx = 0;  /* in the CMDQV */
	u16 lidx = 0; /* in the VINTF */

	bool enabled = false;

	struct tegra241_cmdqv *cmdqv = nullptr;
	struct tegra241_vintf *vintf = nullptr;
	struct tegra241_vcmdq *prev = nullptr; /* the LVCMDQ that must not go before this */
	struct arm_smmu_cmdq cmdq;	       /* a guest's: q_base only */

	iomem page0;
	iomem page1;
};

/* As an object of iommufd. */
struct tegra241_hw_queue : iommufd_hw_queue {
	struct tegra241_vcmdq vcmdq;
};

struct tegra241_vcmdq_v2 : iommufd_vcmdq {
	struct tegra241_vcmdq vcmdq;
};

struct tegra241_vintf : arm_vsmmu {
	u16 idx = 0;

	bool enabled = false;
	bool hyp_own = false; /* as the hardware has it */

	struct tegra241_cmdqv *cmdqv = nullptr;
	struct mutex lvcmdq_mutex{LOCK_CLASS(tegra241_vintf, lvcmdq_mutex)};
	/* A guest's: under lvcmdq_mutex. The kernel's: filled once. */
	struct tegra241_vcmdq **lvcmdqs = nullptr;

	iomem base;
	unsigned long mmap_offset = 0;

	struct ida sids{LOCK_CLASS(tegra241_vintf, sids)};
};

/* A stream id of a guest that the hardware replaces. */
struct tegra241_vintf_sid : iommufd_vdevice {
	struct tegra241_vintf *vintf = nullptr;
	u32 sid = 0;
	u8 idx = 0;
};

struct tegra241_cmdqv : arm_smmu_device {
	struct device *cmdqv_dev = nullptr;

	iomem base;
	phys_addr_t base_phys = 0;
	unsigned int irq = 0;

	u16 num_vintfs = 0;
	u16 num_vcmdqs = 0;
	u16 num_lvcmdqs_per_vintf = 0;
	u16 num_sids_per_vintf = 0;

	struct ida vintf_ids{LOCK_CLASS(tegra241_cmdqv, vintf_ids)};

	/* Read by the interrupt without a lock: see tegra241_cmdqv_deinit_vintf(). */
	struct tegra241_vintf **vintfs = nullptr;
};

static struct tegra241_cmdqv *smmu_to_cmdqv(struct arm_smmu_device *smmu)
{
	return static_cast<struct tegra241_cmdqv *>(smmu);
}

static struct tegra241_vintf *viommu_to_vintf(struct iommufd_viommu *viommu)
{
	return static_cast<struct tegra241_vintf *>(viommu);
}

/* ---- CONFIG and STATUS ---- */

/* The register's bit 0 enables; done when the status follows. -ETIMEDOUT. */
static int tegra241_cmdqv_write_config(struct tegra241_cmdqv *cmdqv, iomem addr_config,
				       iomem addr_status, u32 regval, const char *header,
				       bool *out_enabled)
{
	const bool en = regval & BIT(0);
	u32 status;

	writel(regval, addr_config);

	int ret = readl_poll_timeout(addr_status, status, en == !!(status & BIT(0)), 1,
				     ARM_SMMU_POLL_TIMEOUT_US);

	if (ret)
		dev_err_ratelimited(cmdqv->cmdqv_dev, "%sfailed to %sable, STATUS=0x%08X", header,
				    en ? "en" : "dis", status);
	if (out_enabled)
		WRITE_ONCE(*out_enabled, (bool)(status & BIT(0)));
	return ret;
}

static int cmdqv_write_config(struct tegra241_cmdqv *cmdqv, u32 regval)
{
	return tegra241_cmdqv_write_config(cmdqv, REG_CMDQV(cmdqv, CONFIG),
					   REG_CMDQV(cmdqv, STATUS), regval, "CMDQV: ", nullptr);
}

static int vintf_write_config(struct tegra241_vintf *vintf, u32 regval)
{
	char header[16];

	snprintf(header, sizeof(header), "VINTF%u: ", vintf->idx);
	return tegra241_cmdqv_write_config(vintf->cmdqv, REG_VINTF(vintf, CONFIG),
					   REG_VINTF(vintf, STATUS), regval, header,
					   &vintf->enabled);
}

/* Who speaks, for the log. */
struct lvcmdq_error_header {
	explicit lvcmdq_error_header(const struct tegra241_vcmdq *vcmdq)
	{
		snprintf(text, sizeof(text), "VINTF%u: VCMDQ%u/LVCMDQ%u: ", vcmdq->vintf->idx,
			 vcmdq->idx, vcmdq->lidx);
	}
	char text[64];
};

static int vcmdq_write_config(struct tegra241_vcmdq *vcmdq, u32 regval)
{
	const struct lvcmdq_error_header h(vcmdq);

	int ret = tegra241_cmdqv_write_config(vcmdq->cmdqv, REG_VCMDQ_PAGE0(vcmdq, CONFIG),
					      REG_VCMDQ_PAGE0(vcmdq, STATUS), regval, h.text,
					      &vcmdq->enabled);

	if (ret)
		dev_err_ratelimited(vcmdq->cmdqv->cmdqv_dev,
				    "%sGERRORN=0x%X, GERROR=0x%X, CONS=0x%X", h.text,
				    readl_relaxed(REG_VCMDQ_PAGE0(vcmdq, GERRORN)),
				    readl_relaxed(REG_VCMDQ_PAGE0(vcmdq, GERROR)),
				    readl_relaxed(REG_VCMDQ_PAGE0(vcmdq, CONS)));
	return ret;
}

/* ---- the error interrupt ---- */

static void tegra241_vintf_user_handle_error(struct tegra241_vintf *vintf)
{
	struct iommu_vevent_tegra241_cmdqv vevent_data;

	for (unsigned int i = 0; i < LVCMDQ_ERR_MAP_NUM_64; i++)
		vevent_data.lvcmdq_err_map[i] =
			readq_relaxed(REG_VINTF(vintf, LVCMDQ_ERR_MAP_64(i)));
	iommufd_viommu_report_event(vintf, IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, &vevent_data,
				    sizeof(vevent_data));
}

static void tegra241_vintf0_handle_lvcmdq_error(struct tegra241_vintf *vintf, unsigned long lidx)
{
	/* pairs with tegra241_vintf_alloc_lvcmdq() */
	struct tegra241_vcmdq *vcmdq = smp_load_acquire(&vintf->lvcmdqs[lidx]);

	if (!vcmdq)
		return;
	const u32 gerror = readl_relaxed(REG_VCMDQ_PAGE0(vcmdq, GERROR));

	__arm_smmu_cmdq_skip_err(vintf->cmdqv, &vcmdq->cmdq);
	writel(gerror, REG_VCMDQ_PAGE0(vcmdq, GERRORN));
}

static void tegra241_vintf0_handle_error(struct tegra241_vintf *vintf)
{
	for (unsigned int i = 0; i < LVCMDQ_ERR_MAP_NUM_64; i++) {
		u64 map = readq_relaxed(REG_VINTF(vintf, LVCMDQ_ERR_MAP_64(i)));

		for (; map; map &= map - 1) {
			const unsigned long lidx = i * 64 + __ffs(map);

			if (lidx < vintf->cmdqv->num_lvcmdqs_per_vintf)
				tegra241_vintf0_handle_lvcmdq_error(vintf, lidx);
		}
	}
}

/*
 * The line is an edge for each new error: one that a guest does not acknowledge does not come
 * again, and is no flood.
 */
static irqreturn_t tegra241_cmdqv_isr(int, void *devid)
{
	auto *cmdqv = static_cast<struct tegra241_cmdqv *>(devid);
	const iomem reg_vintf_map = REG_CMDQV(cmdqv, VINTF_ERR_MAP);
	u64 vintf_map = (u64)readl_relaxed(reg_vintf_map + 0x4) << 32 |
			readl_relaxed(reg_vintf_map);

	dev_warn_ratelimited(cmdqv->cmdqv_dev,
			     "unexpected error reported. vintf_map: %016llx, vcmdq_map "
			     "%08x:%08x:%08x:%08x",
			     (unsigned long long)vintf_map,
			     readl_relaxed(REG_CMDQV(cmdqv, CMDQ_ERR_MAP(3))),
			     readl_relaxed(REG_CMDQV(cmdqv, CMDQ_ERR_MAP(2))),
			     readl_relaxed(REG_CMDQV(cmdqv, CMDQ_ERR_MAP(1))),
			     readl_relaxed(REG_CMDQV(cmdqv, CMDQ_ERR_MAP(0))));

	for (; vintf_map; vintf_map &= vintf_map - 1) {
		const unsigned int idx = __ffs(vintf_map);

		if (idx >= cmdqv->num_vintfs)
			break;

		/* it may be on its way in or out */
		struct tegra241_vintf *vintf = smp_load_acquire(&cmdqv->vintfs[idx]);

		if (vintf && idx)
			tegra241_vintf_user_handle_error(vintf);
		else if (vintf)
			tegra241_vintf0_handle_error(vintf);
	}
	return IRQ_HANDLED;
}

/* ---- the kernel's queues ---- */

static bool tegra241_guest_vcmdq_supports_cmd(const struct arm_smmu_cmd *cmd)
{
	switch (FIELD_GET(CMDQ_0_OP, cmd->data[0])) {
	case CMDQ_OP_TLBI_NH_ASID:
	case CMDQ_OP_TLBI_NH_VA:
	case CMDQ_OP_ATC_INV:
		return true;
	default:
		return false;
	}
}

/* NULL: the SMMU's own queue. */
static struct arm_smmu_cmdq *tegra241_cmdqv_get_cmdq(struct arm_smmu_device *smmu,
						     const struct arm_smmu_cmd *cmd)
{
	struct tegra241_cmdqv *cmdqv = smmu_to_cmdqv(smmu);
	struct tegra241_vintf *vintf = cmdqv->vintfs[0];

	if (!READ_ONCE(vintf->enabled))
		return nullptr;

	/* tasks spread over them, where the kernel has processors */
	const u16 lidx = (u16)((unsigned int)current->pid % cmdqv->num_lvcmdqs_per_vintf);
	struct tegra241_vcmdq *vcmdq = vintf->lvcmdqs[lidx];

	if (!vcmdq || !READ_ONCE(vcmdq->enabled) || !arm_smmu_cmdq_supports_cmd(&vcmdq->cmdq, cmd))
		return nullptr;
	return &vcmdq->cmdq;
}

/* ---- the hardware ---- */

/*
 * An ATC_INV at the end of a guest's queue that timed out and had no SYNC behind it would be the
 * error of the queue's next owner. A SYNC through the SMMU's queue takes it.
 */
static void tegra241_vcmdq_hw_flush_timeout(struct tegra241_vcmdq *vcmdq)
{
	const struct arm_smmu_cmd cmd_sync = {
		{FIELD_PREP(CMDQ_0_OP, (u64)CMDQ_OP_CMD_SYNC) |
			 FIELD_PREP(CMDQ_SYNC_0_CS, CMDQ_SYNC_0_CS_NONE),
		 0}};

	arm_smmu_cmdq_issue_cmdlist(vcmdq->cmdqv, &vcmdq->cmdqv->cmdq, &cmd_sync, 1, true);
}

/* Stopped, with nothing left of who had it. The queue is mapped to its LVCMDQ. */
static void tegra241_vcmdq_hw_deinit(struct tegra241_vcmdq *vcmdq)
{
	const struct lvcmdq_error_header h(vcmdq);

	vcmdq_write_config(vcmdq, 0);
	tegra241_vcmdq_hw_flush_timeout(vcmdq);

	writel_relaxed(0, REG_VCMDQ_PAGE0(vcmdq, PROD));
	writel_relaxed(0, REG_VCMDQ_PAGE0(vcmdq, CONS));
	writeq_relaxed(0, REG_VCMDQ_PAGE1(vcmdq, BASE));
	writeq_relaxed(0, REG_VCMDQ_PAGE1(vcmdq, CONS_INDX_BASE));

	const u32 gerrorn = readl_relaxed(REG_VCMDQ_PAGE0(vcmdq, GERRORN));
	const u32 gerror = readl_relaxed(REG_VCMDQ_PAGE0(vcmdq, GERROR));

	if (gerror != gerrorn) {
		dev_warn_ratelimited(vcmdq->cmdqv->cmdqv_dev,
				     "%suncleared error detected, resetting", h.text);
		writel(gerror, REG_VCMDQ_PAGE0(vcmdq, GERRORN));
	}
	dev_dbg(vcmdq->cmdqv->cmdqv_dev, "%sdeinited", h.text);
}

/* A queue of VINTF0, which is mapped. */
static int tegra241_vcmdq_hw_init(struct tegra241_vcmdq *vcmdq)
{
	tegra241_vcmdq_hw_deinit(vcmdq);

	/* in a guest's kernel the hardware says no to HYP_OWN */
	if (!vcmdq->vintf->hyp_own)
		vcmdq->cmdq.supports_cmd = tegra241_guest_vcmdq_supports_cmd;

	writeq_relaxed(vcmdq->cmdq.q.q_base, REG_VCMDQ_PAGE1(vcmdq, BASE));
	return vcmdq_write_config(vcmdq, VCMDQ_EN);
}

static void tegra241_vcmdq_unmap_lvcmdq(struct tegra241_vcmdq *vcmdq)
{
	const iomem reg = REG_CMDQV(vcmdq->cmdqv, CMDQ_ALLOC(vcmdq->idx));

	writel(readl(reg) & ~(u32)CMDQV_CMDQ_ALLOCATED, reg);
}

static void tegra241_vcmdq_map_lvcmdq(struct tegra241_vcmdq *vcmdq)
{
	const iomem reg = REG_CMDQV(vcmdq->cmdqv, CMDQ_ALLOC(vcmdq->idx));

	writel(readl(reg) | (u32)CMDQV_CMDQ_ALLOCATED, reg);
}

static void tegra241_vintf_hw_deinit(struct tegra241_vintf *vintf)
{
	/* the hardware wants them unmapped downwards */
	for (unsigned int lidx = vintf->cmdqv->num_lvcmdqs_per_vintf; lidx-- > 0;) {
		if (!vintf->lvcmdqs[lidx])
			continue;
		tegra241_vcmdq_hw_deinit(vintf->lvcmdqs[lidx]);
		tegra241_vcmdq_unmap_lvcmdq(vintf->lvcmdqs[lidx]);
	}
	vintf_write_config(vintf, 0);
	for (unsigned int sidx = 0; sidx < vintf->cmdqv->num_sids_per_vintf; sidx++) {
		writel(0, REG_VINTF(vintf, SID_MATCH(sidx)));
		writel(0, REG_VINTF(vintf, SID_REPLACE(sidx)));
	}
}

/* Reset, enabled, and the queues that it has so far mapped upwards and running. */
static int tegra241_vintf_hw_init(struct tegra241_vintf *vintf, bool hyp_own)
{
	const u32 regval =
		(u32)(FIELD_PREP(VINTF_HYP_OWN, hyp_own) | FIELD_PREP(VINTF_VMID, vintf->vmid));

	tegra241_vintf_hw_deinit(vintf);

	writel(regval, REG_VINTF(vintf, CONFIG));

	int ret = vintf_write_config(vintf, regval | (u32)VINTF_EN);

	if (ret)
		return ret;
	/* which is what the hardware made of it */
	vintf->hyp_own = readl(REG_VINTF(vintf, CONFIG)) & VINTF_HYP_OWN;

	for (unsigned int lidx = 0; lidx < vintf->cmdqv->num_lvcmdqs_per_vintf && !ret; lidx++) {
		if (!vintf->lvcmdqs[lidx])
			continue;
		tegra241_vcmdq_map_lvcmdq(vintf->lvcmdqs[lidx]);
		ret = tegra241_vcmdq_hw_init(vintf->lvcmdqs[lidx]);
	}
	if (ret)
		tegra241_vintf_hw_deinit(vintf);
	return ret;
}

static int tegra241_cmdqv_hw_reset(struct arm_smmu_device *smmu)
{
	struct tegra241_cmdqv *cmdqv = smmu_to_cmdqv(smmu);
	const u32 regval = readl_relaxed(REG_CMDQV(cmdqv, CONFIG));
	int ret = cmdqv_write_config(cmdqv, regval & ~(u32)CMDQV_EN);

	if (!ret)
		ret = cmdqv_write_config(cmdqv, regval | (u32)CMDQV_EN);
	if (ret)
		return ret;

	/* each VINTF's share of the queues, assigned and not mapped */
	for (unsigned int qidx = 0; qidx < cmdqv->num_vcmdqs; qidx++) {
		const unsigned int idx = qidx / cmdqv->num_lvcmdqs_per_vintf;
		const unsigned int lidx = qidx % cmdqv->num_lvcmdqs_per_vintf;

		writel_relaxed((u32)(FIELD_PREP(CMDQV_CMDQ_ALLOC_VINTF, idx) |
				     FIELD_PREP(CMDQV_CMDQ_ALLOC_LVCMDQ, lidx)),
			       REG_CMDQV(cmdqv, CMDQ_ALLOC(qidx)));
	}
	return tegra241_vintf_hw_init(cmdqv->vintfs[0], true);
}

/* ---- LVCMDQs ---- */

static int tegra241_vcmdq_alloc_smmu_cmdq(struct tegra241_vcmdq *vcmdq)
{
	struct tegra241_cmdqv *cmdqv = vcmdq->cmdqv;
	struct arm_smmu_queue *q = &vcmdq->cmdq.q;
	char name[16];

	snprintf(name, sizeof(name), "vcmdq%u", vcmdq->idx);
	q->llq.max_n_shift =
		min_t(u32, CMDQ_MAX_SZ_SHIFT,
		      (u32)FIELD_GET(IDR1_CMDQS,
				     readl_relaxed(cmdqv->arm_smmu_device::base + ARM_SMMU_IDR1)));
	if (int ret = arm_smmu_init_one_queue(cmdqv, q, vcmdq->page0, TEGRA241_VCMDQ_PROD,
					      TEGRA241_VCMDQ_CONS, CMDQ_ENT_DWORDS, name))
		return ret;
	/* another register than the SMMU's */
	q->q_base = (q->base_dma & VCMDQ_ADDR) | FIELD_PREP(VCMDQ_LOG2SIZE, q->llq.max_n_shift);
	return 0;
}

/* -EINVAL: no registers. */
static int tegra241_vintf_init_lvcmdq(struct tegra241_vintf *vintf, u16 lidx,
				      struct tegra241_vcmdq *vcmdq)
{
	struct tegra241_cmdqv *cmdqv = vintf->cmdqv;
	const phys_addr_t base = cmdqv->base_phys;

	vcmdq->idx = (u16)(vintf->idx * cmdqv->num_lvcmdqs_per_vintf + lidx);
	vcmdq->lidx = lidx;
	vcmdq->cmdqv = cmdqv;
	vcmdq->vintf = vintf;
	vcmdq->page0 =
		ioremap(base + TEGRA241_VINTFi_LVCMDQ_PAGE0(vintf->idx, lidx), TEGRA241_VCMDQ_SIZE);
	vcmdq->page1 =
		ioremap(base + TEGRA241_VINTFi_LVCMDQ_PAGE1(vintf->idx, lidx), TEGRA241_VCMDQ_SIZE);
	return vcmdq->page0 && vcmdq->page1 ? 0 : -EINVAL;
}

static void tegra241_vintf_free_lvcmdq(struct tegra241_vintf *vintf, u16 lidx)
{
	struct tegra241_vcmdq *vcmdq = vintf->lvcmdqs[lidx];

	vintf->lvcmdqs[lidx] = nullptr;
	/* a guest's is part of an object of iommufd */
	if (vintf->idx)
		return;
	arm_smmu_free_queue(vintf->cmdqv, &vcmdq->cmdq.q);
	kfree_obj(vcmdq);
}

/* A queue of VINTF0. */
static int tegra241_vintf_alloc_lvcmdq(struct tegra241_vintf *vintf, u16 lidx)
{
	auto *vcmdq = kzalloc_obj<struct tegra241_vcmdq>();

	if (!vcmdq)
		return -ENOMEM;

	int ret = tegra241_vintf_init_lvcmdq(vintf, lidx, vcmdq);

	if (!ret)
		ret = tegra241_vcmdq_alloc_smmu_cmdq(vcmdq);
	if (ret)
		kfree_obj(vcmdq);
	else
		smp_store_release(&vintf->lvcmdqs[lidx], vcmdq);
	return ret;
}

/* ---- VINTFs ---- */

static void tegra241_cmdqv_deinit_vintf(struct tegra241_cmdqv *cmdqv, u16 idx)
{
	kfree(cmdqv->vintfs[idx]->lvcmdqs);
	/*
	 * The interrupt may have it: nothing of it may go, and nobody may have the index, before
	 * that has ended.
	 */
	smp_store_release(&cmdqv->vintfs[idx], (struct tegra241_vintf *)nullptr);
	if (cmdqv->irq)
		synchronize_irq(cmdqv->irq);
	ida_free(&cmdqv->vintf_ids, idx);
}

/* An index up to max_idx, and what the driver has for it. -ENOSPC: none is free; -ENOMEM. */
static int tegra241_cmdqv_init_vintf(struct tegra241_cmdqv *cmdqv, u16 max_idx,
				     struct tegra241_vintf *vintf)
{
	int idx = ida_alloc_max(&cmdqv->vintf_ids, max_idx, GFP_KERNEL);

	if (idx < 0)
		return idx;
	vintf->idx = (u16)idx;
	vintf->cmdqv = cmdqv;
	vintf->base = cmdqv->base + (u64)TEGRA241_VINTF(idx);
	vintf->lvcmdqs = static_cast<struct tegra241_vcmdq **>(
		kcalloc(cmdqv->num_lvcmdqs_per_vintf, sizeof(*vintf->lvcmdqs), GFP_KERNEL));
	if (!vintf->lvcmdqs) {
		ida_free(&cmdqv->vintf_ids, (unsigned int)idx);
		return -ENOMEM;
	}
	smp_store_release(&cmdqv->vintfs[idx], vintf);
	return 0;
}

static void tegra241_cmdqv_remove_vintf(struct tegra241_cmdqv *cmdqv, u16 idx)
{
	struct tegra241_vintf *vintf = cmdqv->vintfs[idx];

	for (u16 lidx = 0; lidx < cmdqv->num_lvcmdqs_per_vintf; lidx++)
		if (vintf->lvcmdqs[lidx])
			tegra241_vintf_free_lvcmdq(vintf, lidx);
	dev_dbg(cmdqv->cmdqv_dev, "VINTF%u: deallocated", idx);
	tegra241_cmdqv_deinit_vintf(cmdqv, idx);
	/* a guest's is part of an object of iommufd */
	if (!idx)
		kfree_obj(vintf);
}

static void tegra241_cmdqv_hw_disable(struct arm_smmu_device *smmu)
{
	struct tegra241_cmdqv *cmdqv = smmu_to_cmdqv(smmu);

	for (u16 idx = 0; idx < cmdqv->num_vintfs; idx++)
		if (cmdqv->vintfs[idx])
			tegra241_vintf_hw_deinit(cmdqv->vintfs[idx]);
}

static void tegra241_cmdqv_remove(struct arm_smmu_device *smmu)
{
	struct tegra241_cmdqv *cmdqv = smmu_to_cmdqv(smmu);

	/* first, so that nobody looks at a VINTF that goes */
	if (cmdqv->irq)
		free_irq(cmdqv->irq, cmdqv);
	for (u16 idx = 0; idx < cmdqv->num_vintfs; idx++) {
		if (!cmdqv->vintfs[idx])
			continue;
		WARN_ON(idx);
		tegra241_cmdqv_remove_vintf(cmdqv, idx);
	}
	kfree(cmdqv->vintfs);
	put_device(cmdqv->cmdqv_dev);
}

void tegra241_cmdqv_free(struct arm_smmu_device *smmu)
{
	kfree_obj(smmu_to_cmdqv(smmu));
}

static result<void *> tegra241_cmdqv_hw_info(struct arm_smmu_device *smmu, u32 *length,
					     enum iommu_hw_info_type *type)
{
	struct tegra241_cmdqv *cmdqv = smmu_to_cmdqv(smmu);

	if (*type != IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV)
		return -EOPNOTSUPP;

	auto *info = static_cast<struct iommu_hw_info_tegra241_cmdqv *>(
		kzalloc(sizeof(struct iommu_hw_info_tegra241_cmdqv), GFP_KERNEL));

	if (!info)
		return -ENOMEM;
	info->log2vcmdqs = (u8)ilog2(cmdqv->num_lvcmdqs_per_vintf);
	info->log2vsids = (u8)ilog2(cmdqv->num_sids_per_vintf);
	info->version = (u8)FIELD_GET(CMDQV_VER, readl_relaxed(REG_CMDQV(cmdqv, PARAM)));
	*length = sizeof(*info);
	return static_cast<void *>(info);
}

static u32 tegra241_cmdqv_hw_info_v2(struct arm_smmu_device *smmu, u32 *impl)
{
	struct tegra241_cmdqv *cmdqv = smmu_to_cmdqv(smmu);

	*impl = (u32)(FIELD_GET(CMDQV_VER, readl_relaxed(REG_CMDQV(cmdqv, PARAM))) |
		      FIELD_PREP(CMDQV_NUM_VCMDQ_LOG2, ilog2(cmdqv->num_lvcmdqs_per_vintf)) |
		      FIELD_PREP(CMDQV_NUM_SID_PER_VM_LOG2, ilog2(cmdqv->num_sids_per_vintf)));
	return IOMMU_HW_INFO_ARM_SMMUV3_HAS_TEGRA241_CMDQV;
}

static const struct iommufd_struct *
tegra241_cmdqv_get_vintf_struct(enum iommu_viommu_type viommu_type)
{
	if (viommu_type != IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV)
		return nullptr;
	return &iommufd_struct_of<struct tegra241_vintf>;
}

static int tegra241_cmdqv_init_vintf_user(struct arm_vsmmu *vsmmu,
					  const struct iommu_user_data *user_data);
static result<struct arm_vsmmu *>
tegra241_cmdqv_vsmmu_alloc_v2(struct arm_smmu_device *smmu, struct arm_smmu_domain *s2_parent,
			      struct iommufd_ctx *ictx, unsigned int viommu_type,
			      const struct iommu_user_data *user_data);

static const struct arm_smmu_impl_ops tegra241_cmdqv_impl_ops = {
	.device_reset = tegra241_cmdqv_hw_reset,
	.device_disable = tegra241_cmdqv_hw_disable,
	.device_remove = tegra241_cmdqv_remove,
	.get_secondary_cmdq = tegra241_cmdqv_get_cmdq,
	.hw_info = tegra241_cmdqv_hw_info,
	.hw_info_v2 = tegra241_cmdqv_hw_info_v2,
	.get_viommu_struct = tegra241_cmdqv_get_vintf_struct,
	.vsmmu_init = tegra241_cmdqv_init_vintf_user,
	.vsmmu_alloc = tegra241_cmdqv_vsmmu_alloc_v2,
};

/* ---- probe ---- */

static int tegra241_cmdqv_init_structures(struct arm_smmu_device *smmu)
{
	struct tegra241_cmdqv *cmdqv = smmu_to_cmdqv(smmu);
	auto *vintf = kzalloc_obj<struct tegra241_vintf>();

	if (!vintf)
		return -ENOMEM;

	int ret = tegra241_cmdqv_init_vintf(cmdqv, 0, vintf);

	if (ret) {
		dev_err(cmdqv->cmdqv_dev, "failed to init vintf0: %d", ret);
		kfree_obj(vintf);
		return ret;
	}
	for (u16 lidx = 0; lidx < cmdqv->num_lvcmdqs_per_vintf && !ret; lidx++)
		ret = tegra241_vintf_alloc_lvcmdq(vintf, lidx);
	if (!ret)
		smmu->impl_ops = &tegra241_cmdqv_impl_ops;
	return ret;
}

/* Until there are structures. */
static const struct arm_smmu_impl_ops init_ops = {
	.device_remove = tegra241_cmdqv_remove,
	.init_structures = tegra241_cmdqv_init_structures,
};

static int __tegra241_cmdqv_probe(struct tegra241_cmdqv *cmdqv,
				  const struct arm_smmu_platform *pdata)
{
	cmdqv->cmdqv_dev = pdata->cmdqv_dev;
	cmdqv->base_phys = pdata->cmdqv_base;
	cmdqv->base = ioremap(pdata->cmdqv_base, TEGRA241_VINTF_PAGE_BASE);
	if (!cmdqv->base) {
		dev_err(cmdqv->cmdqv_dev, "no memory resource found for CMDQV");
		return -EINVAL;
	}

	const u32 regval = readl_relaxed(REG_CMDQV(cmdqv, PARAM));

	cmdqv->num_vintfs = (u16)(1u << FIELD_GET(CMDQV_NUM_VINTF_LOG2, regval));
	cmdqv->num_vcmdqs = (u16)(1u << FIELD_GET(CMDQV_NUM_VCMDQ_LOG2, regval));
	cmdqv->num_lvcmdqs_per_vintf = cmdqv->num_vcmdqs / cmdqv->num_vintfs;
	cmdqv->num_sids_per_vintf = (u16)(1u << FIELD_GET(CMDQV_NUM_SID_PER_VM_LOG2, regval));
	if (!cmdqv->num_lvcmdqs_per_vintf ||
	    pdata->cmdqv_size < TEGRA241_VINTFi_PAGE0(cmdqv->num_vintfs)) {
		dev_err(cmdqv->cmdqv_dev, "unusable: PARAM=0x%08x, size 0x%zx", regval,
			pdata->cmdqv_size);
		return -EINVAL;
	}

	cmdqv->vintfs = static_cast<struct tegra241_vintf **>(
		kcalloc(cmdqv->num_vintfs, sizeof(*cmdqv->vintfs), GFP_KERNEL));
	if (!cmdqv->vintfs)
		return -ENOMEM;

	/* which looks at the array above */
	if (!pdata->cmdqv_irq) {
		dev_warn(cmdqv->cmdqv_dev, "no interrupt. errors will not be reported");
	} else {
		int ret = request_threaded_irq(pdata->cmdqv_irq, nullptr, tegra241_cmdqv_isr,
					       IRQF_ONESHOT, "tegra241-cmdqv", cmdqv);

		if (ret) {
			dev_err(cmdqv->cmdqv_dev, "failed to request irq (%u): %d",
				pdata->cmdqv_irq, ret);
			kfree(cmdqv->vintfs);
			return ret;
		}
		cmdqv->irq = pdata->cmdqv_irq;
	}
	get_device(cmdqv->cmdqv_dev);
	return 0;
}

result<struct arm_smmu_device *> tegra241_cmdqv_probe(struct device *,
						      const struct arm_smmu_platform *pdata)
{
	auto *cmdqv = kzalloc_obj<struct tegra241_cmdqv>();

	if (!cmdqv)
		return -ENOMEM;
	if (int ret = __tegra241_cmdqv_probe(cmdqv, pdata)) {
		kfree_obj(cmdqv);
		return ret;
	}
	cmdqv->options |= ARM_SMMU_OPT_TEGRA241_CMDQV;
	cmdqv->impl_dev = pdata->cmdqv_dev;
	cmdqv->impl_ops = &init_ops;
	return cmdqv;
}

/* ---- a guest's queues ---- */

/* The guest enables it. */
static void tegra241_vcmdq_hw_init_user(struct tegra241_vcmdq *vcmdq)
{
	tegra241_vcmdq_hw_deinit(vcmdq);
	writeq_relaxed(vcmdq->cmdq.q.q_base, REG_VCMDQ_PAGE1(vcmdq, BASE));
	dev_dbg(vcmdq->cmdqv->cmdqv_dev, "%sinited at host PA 0x%llx size 0x%lx",
		lvcmdq_error_header(vcmdq).text,
		(unsigned long long)(vcmdq->cmdq.q.q_base & VCMDQ_ADDR),
		1UL << (vcmdq->cmdq.q.q_base & VCMDQ_LOG2SIZE));
}

/*
 * May the guest have this LVCMDQ with a queue of length bytes? -EINVAL: no such LVCMDQ; -EEXIST: it
 * has it; -EIO: not before the one below; -EINVAL: the length. *prev: the one below, NULL for the
 * first.
 */
static int tegra241_vintf_check_lvcmdq(struct tegra241_vintf *vintf, u32 lidx, size_t length,
				       struct tegra241_vcmdq **prev)
	__must_hold(&vintf->lvcmdq_mutex)
{
	struct tegra241_cmdqv *cmdqv = vintf->cmdqv;

	if (lidx >= cmdqv->num_lvcmdqs_per_vintf)
		return -EINVAL;
	if (vintf->lvcmdqs[lidx])
		return -EEXIST;

	/* the hardware wants them mapped upwards */
	*prev = lidx ? vintf->lvcmdqs[lidx - 1] : nullptr;
	if (lidx && !*prev)
		return -EIO;

	const u64 max_n_shift =
		FIELD_GET(IDR1_CMDQS, readl_relaxed(cmdqv->arm_smmu_device::base + ARM_SMMU_IDR1));

	if (!is_power_of_2(length) || length < 32 ||
	    length > 1UL << (max_n_shift + CMDQ_ENT_SZ_SHIFT))
		return -EINVAL;
	return 0;
}

/* A queue lies aligned to its length, where the register can name it. */
static bool tegra241_vcmdq_base_ok(u64 base, size_t length)
{
	return !(base & ~VCMDQ_ADDR) && !(base & (length - 1));
}

/* Gives it to the guest: mapped, reset, based at base_pa, stopped. */
static int tegra241_vintf_start_lvcmdq_user(struct tegra241_vintf *vintf, u16 lidx,
					    struct tegra241_vcmdq *vcmdq, phys_addr_t base_pa,
					    size_t length) __must_hold(&vintf->lvcmdq_mutex)
{
	if (int ret = tegra241_vintf_init_lvcmdq(vintf, lidx, vcmdq))
		return ret;

	tegra241_vcmdq_map_lvcmdq(vcmdq);
	vcmdq->cmdq.q.q_base = (base_pa & VCMDQ_ADDR) | (ilog2(length) - CMDQ_ENT_SZ_SHIFT);
	tegra241_vcmdq_hw_init_user(vcmdq);
	vintf->lvcmdqs[lidx] = vcmdq;
	return 0;
}

static void tegra241_vintf_stop_lvcmdq_user(struct tegra241_vcmdq *vcmdq)
	__must_hold(&vcmdq->vintf->lvcmdq_mutex)
{
	tegra241_vcmdq_hw_deinit(vcmdq);
	tegra241_vcmdq_unmap_lvcmdq(vcmdq);
	tegra241_vintf_free_lvcmdq(vcmdq->vintf, vcmdq->lidx);
}

/* The object of iommufd that a queue is part of. */
template <class T> static T *vcmdq_to_object(struct tegra241_vcmdq *vcmdq)
{
	return container_of(vcmdq, T, vcmdq);
}

static const struct iommufd_struct *
tegra241_vintf_get_vcmdq_struct(struct iommufd_viommu *, enum iommu_hw_queue_type queue_type)
{
	if (queue_type != IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV)
		return nullptr;
	return &iommufd_struct_of<struct tegra241_hw_queue>;
}

static void tegra241_vintf_destroy_lvcmdq_user(struct iommufd_hw_queue *hw_queue)
{
	auto *queue = static_cast<struct tegra241_hw_queue *>(hw_queue);
	struct tegra241_vcmdq *vcmdq = &queue->vcmdq;
	mutex_guard lock(&vcmdq->vintf->lvcmdq_mutex);

	tegra241_vintf_stop_lvcmdq_user(vcmdq);
	if (vcmdq->prev)
		iommufd_hw_queue_undepend(queue,
					  vcmdq_to_object<struct tegra241_hw_queue>(vcmdq->prev));
}

static int tegra241_vintf_alloc_lvcmdq_user(struct iommufd_hw_queue *hw_queue, u32 lidx,
					    phys_addr_t base_addr_pa)
{
	struct tegra241_vintf *vintf = viommu_to_vintf(hw_queue->viommu.get());
	auto *queue = static_cast<struct tegra241_hw_queue *>(hw_queue);
	struct tegra241_vcmdq *vcmdq = &queue->vcmdq;
	mutex_guard lock(&vintf->lvcmdq_mutex);

	int ret = tegra241_vintf_check_lvcmdq(vintf, lidx, hw_queue->length, &vcmdq->prev);

	if (ret)
		return ret;
	if (!tegra241_vcmdq_base_ok(base_addr_pa, hw_queue->length))
		return -EINVAL;

	/* the hardware wants them unmapped downwards */
	auto *prev = vcmdq->prev ? vcmdq_to_object<struct tegra241_hw_queue>(vcmdq->prev) : nullptr;

	if (prev)
		ret = iommufd_hw_queue_depend(queue, prev);
	if (ret)
		return ret;

	ret = tegra241_vintf_start_lvcmdq_user(vintf, (u16)lidx, vcmdq, base_addr_pa,
					       hw_queue->length);
	if (!ret)
		hw_queue->destroy = tegra241_vintf_destroy_lvcmdq_user;
	else if (prev)
		iommufd_hw_queue_undepend(queue, prev);
	return ret;
}

static void tegra241_vintf_destroy_lvcmdq_user_v2(struct iommufd_vcmdq *core)
{
	auto *queue = static_cast<struct tegra241_vcmdq_v2 *>(core);
	struct tegra241_vcmdq *vcmdq = &queue->vcmdq;
	mutex_guard lock(&vcmdq->vintf->lvcmdq_mutex);

	tegra241_vintf_stop_lvcmdq_user(vcmdq);
	if (vcmdq->prev)
		iommufd_vcmdq_undepend(queue,
				       vcmdq_to_object<struct tegra241_vcmdq_v2>(vcmdq->prev));
}

/* With the queue's memory pinned and in one piece; what is found before an object is needed. */
static int tegra241_vintf_check_lvcmdq_v2(struct tegra241_vintf *vintf, u32 index, dma_addr_t addr,
					  size_t length, struct tegra241_vcmdq **prev,
					  phys_addr_t *base_pa) __must_hold(&vintf->lvcmdq_mutex)
{
	if (int ret = tegra241_vintf_check_lvcmdq(vintf, index, length, prev))
		return ret;
	if (!tegra241_vcmdq_base_ok(addr, length))
		return -EINVAL;
	*base_pa = iommu_iova_to_phys(vintf->s2_parent, addr);
	if (!*base_pa)
		return -ENXIO;
	return tegra241_vcmdq_base_ok(*base_pa, length) ? 0 : -EINVAL;
}

static result<struct iommufd_vcmdq *>
tegra241_vintf_alloc_lvcmdq_user_v2(struct iommufd_viommu *viommu, unsigned int type, u32 index,
				    dma_addr_t addr, size_t length)
{
	struct tegra241_vintf *vintf = viommu_to_vintf(viommu);
	struct tegra241_vcmdq *prev_vcmdq = nullptr;
	phys_addr_t base_pa = 0;

	if (type != IOMMU_VCMDQ_TYPE_TEGRA241_CMDQV)
		return -EOPNOTSUPP;

	mutex_guard lock(&vintf->lvcmdq_mutex);
	int ret = tegra241_vintf_check_lvcmdq_v2(vintf, index, addr, length, &prev_vcmdq, &base_pa);

	if (ret)
		return ret;

	auto queue = iommufd_vcmdq_alloc<struct tegra241_vcmdq_v2>(viommu);

	if (!queue)
		return queue.error();
	queue->vcmdq.prev = prev_vcmdq;

	auto *prev = prev_vcmdq ? vcmdq_to_object<struct tegra241_vcmdq_v2>(prev_vcmdq) : nullptr;

	if (prev)
		ret = iommufd_vcmdq_depend(*queue, prev);
	if (!ret) {
		ret = tegra241_vintf_start_lvcmdq_user(vintf, (u16)index, &queue->vcmdq, base_pa,
						       length);
		if (ret && prev)
			iommufd_vcmdq_undepend(*queue, prev);
	}
	if (ret) {
		iommufd_struct_destroy(viommu->ictx, *queue);
		return ret;
	}
	return queue;
}

/* ---- a guest's devices ---- */

static void tegra241_vintf_destroy_vsid(struct iommufd_vdevice *vdev)
{
	auto *vsid = static_cast<struct tegra241_vintf_sid *>(vdev);
	struct tegra241_vintf *vintf = vsid->vintf;

	writel(0, REG_VINTF(vintf, SID_MATCH(vsid->idx)));
	writel(0, REG_VINTF(vintf, SID_REPLACE(vsid->idx)));
	ida_free(&vintf->sids, vsid->idx);
	dev_dbg(vintf->cmdqv->cmdqv_dev, "VINTF%u: deallocated SID_REPLACE%d for pSID=%x",
		vintf->idx, vsid->idx, vsid->sid);
}

/* -EINVAL: the id does not fit the register; -EOPNOTSUPP: several streams. */
static int tegra241_vintf_check_vsid(struct device *dev, u64 virt_sid)
{
	const auto *master = static_cast<struct arm_smmu_master *>(dev_iommu_priv_get(dev));

	if (virt_sid > FIELD_MAX(VINTF_SID_MATCH_VIRT_SID))
		return -EINVAL;
	return master->num_streams == 1 ? 0 : -EOPNOTSUPP;
}

/* One of the VINTF's pairs of SID_MATCH and SID_REPLACE. -ENOSPC: all are in use; -ENOMEM. */
static int tegra241_vintf_start_vsid(struct tegra241_vintf *vintf, struct tegra241_vintf_sid *vsid,
				     struct device *dev, u64 virt_sid)
{
	const auto *master = static_cast<struct arm_smmu_master *>(dev_iommu_priv_get(dev));
	const u32 sid = master->streams[0].id;
	int sidx = ida_alloc_max(&vintf->sids, vintf->cmdqv->num_sids_per_vintf - 1u, GFP_KERNEL);

	if (sidx < 0)
		return sidx;

	/* the match goes on when there is something to replace it with */
	writel(sid, REG_VINTF(vintf, SID_REPLACE((u64)sidx)));
	writel((u32)(FIELD_PREP(VINTF_SID_MATCH_VIRT_SID, virt_sid) | VINTF_SID_MATCH_ENABLE),
	       REG_VINTF(vintf, SID_MATCH((u64)sidx)));
	dev_dbg(vintf->cmdqv->cmdqv_dev, "VINTF%u: allocated SID_REPLACE%d for pSID=%x, vSID=%x",
		vintf->idx, sidx, sid, (u32)virt_sid);

	vsid->idx = (u8)sidx;
	vsid->vintf = vintf;
	vsid->sid = sid;
	return 0;
}

static int tegra241_vintf_init_vsid(struct iommufd_vdevice *vdev)
{
	struct device *dev = iommufd_vdevice_to_device(vdev);
	int ret = tegra241_vintf_check_vsid(dev, vdev->virt_id);

	if (!ret)
		ret = tegra241_vintf_start_vsid(viommu_to_vintf(vdev->viommu.get()),
						static_cast<struct tegra241_vintf_sid *>(vdev), dev,
						vdev->virt_id);
	if (!ret)
		vdev->destroy = tegra241_vintf_destroy_vsid;
	return ret;
}

static result<struct iommufd_vdevice *>
tegra241_vintf_alloc_vdevice_v2(struct iommufd_viommu *viommu, struct device *dev, u64 virt_sid)
{
	if (int ret = tegra241_vintf_check_vsid(dev, virt_sid))
		return ret;

	auto vsid = iommufd_vdevice_alloc<struct tegra241_vintf_sid>(viommu);

	if (!vsid)
		return vsid.error();
	if (int ret = tegra241_vintf_start_vsid(viommu_to_vintf(viommu), *vsid, dev, virt_sid)) {
		iommufd_struct_destroy(viommu->ictx, *vsid);
		return ret;
	}
	return vsid;
}

/* ---- a guest's VINTF ---- */

static void tegra241_cmdqv_destroy_vintf_user(struct iommufd_viommu *viommu)
{
	struct tegra241_vintf *vintf = viommu_to_vintf(viommu);

	iommufd_viommu_destroy_mmap(vintf, vintf->mmap_offset);
	tegra241_vintf_hw_deinit(vintf);
	tegra241_cmdqv_remove_vintf(vintf->cmdqv, vintf->idx);
}

static const struct iommufd_viommu_ops tegra241_cmdqv_viommu_ops = {
	.destroy = tegra241_cmdqv_destroy_vintf_user,
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	/* what a guest's queue does not take */
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.vdevice_alloc = tegra241_vintf_alloc_vdevice_v2,
	.vdevice_destroy = tegra241_vintf_destroy_vsid,
	.vcmdq_alloc = tegra241_vintf_alloc_lvcmdq_user_v2,
	.vcmdq_destroy = tegra241_vintf_destroy_lvcmdq_user_v2,
	.vdevice_struct = &iommufd_struct_of<struct tegra241_vintf_sid>,
	.vdevice_init = tegra241_vintf_init_vsid,
	.get_hw_queue_struct = tegra241_vintf_get_vcmdq_struct,
	.hw_queue_init_phys = tegra241_vintf_alloc_lvcmdq_user,
};

/* Page 0 for the guest, and where it is to the user. */
static int tegra241_vintf_init_mmap(struct tegra241_vintf *vintf,
				    const struct iommu_user_data *user_data,
				    struct iommu_viommu_tegra241_cmdqv *data)
{
	int ret = iommufd_viommu_alloc_mmap(
		vintf, vintf->cmdqv->base_phys + TEGRA241_VINTFi_PAGE0(vintf->idx), SZ_64K,
		&vintf->mmap_offset);

	if (ret)
		return ret;
	data->out_vintf_mmap_length = SZ_64K;
	data->out_vintf_mmap_offset = vintf->mmap_offset;
	ret = iommu_copy_struct_to_user(user_data, data, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
					out_vintf_mmap_length);
	if (ret)
		iommufd_viommu_destroy_mmap(vintf, vintf->mmap_offset);
	return ret;
}

/*
 * A VINTF for a vSMMU that is filled. It has no LVCMDQ until the user allocates one: what is mapped
 * is the guest's to run.
 */
static int tegra241_cmdqv_start_vintf_user(struct tegra241_cmdqv *cmdqv,
					   struct tegra241_vintf *vintf,
					   const struct iommu_user_data *user_data,
					   struct iommu_viommu_tegra241_cmdqv *data)
{
	int ret = tegra241_cmdqv_init_vintf(cmdqv, cmdqv->num_vintfs - 1, vintf);

	if (ret) {
		dev_err_ratelimited(cmdqv->cmdqv_dev, "no more available vintf");
		return ret;
	}

	ret = tegra241_vintf_hw_init(vintf, false);
	if (!ret) {
		ret = tegra241_vintf_init_mmap(vintf, user_data, data);
		if (ret)
			tegra241_vintf_hw_deinit(vintf);
	}
	if (ret)
		tegra241_cmdqv_deinit_vintf(cmdqv, vintf->idx);
	else
		dev_dbg(cmdqv->cmdqv_dev, "VINTF%u: allocated with vmid (%d)", vintf->idx,
			vintf->vmid);
	return ret;
}

static int tegra241_cmdqv_init_vintf_user(struct arm_vsmmu *vsmmu,
					  const struct iommu_user_data *user_data)
{
	struct iommu_viommu_tegra241_cmdqv data;

	if (WARN_ON(vsmmu->type != IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV))
		return -EOPNOTSUPP;
	if (!user_data)
		return -EINVAL;
	if (int ret = iommu_copy_struct_from_user(
		    &data, user_data, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, out_vintf_mmap_length))
		return ret;

	int ret = tegra241_cmdqv_start_vintf_user(smmu_to_cmdqv(vsmmu->smmu),
						  viommu_to_vintf(vsmmu), user_data, &data);

	if (!ret)
		vsmmu->ops = &tegra241_cmdqv_viommu_ops;
	return ret;
}

static result<struct arm_vsmmu *>
tegra241_cmdqv_vsmmu_alloc_v2(struct arm_smmu_device *smmu, struct arm_smmu_domain *s2_parent,
			      struct iommufd_ctx *ictx, unsigned int viommu_type,
			      const struct iommu_user_data *user_data)
{
	struct iommu_viommu_tegra241_cmdqv data;

	if (viommu_type != IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV)
		return -EOPNOTSUPP;
	if (!user_data)
		return -EINVAL;
	if (int ret = iommu_copy_struct_from_user(
		    &data, user_data, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, out_vintf_page0_pgsz))
		return ret;

	auto vintf = iommufd_viommu_alloc<struct tegra241_vintf>(ictx, &tegra241_cmdqv_viommu_ops);

	if (!vintf)
		return vintf.error();
	vintf->smmu = smmu;
	vintf->s2_parent = s2_parent;
	vintf->vmid = s2_parent->s2_cfg.vmid;

	if (int ret = tegra241_cmdqv_start_vintf_user(smmu_to_cmdqv(smmu), *vintf, user_data,
						      &data)) {
		iommufd_struct_destroy(ictx, *vintf);
		return ret;
	}
	return vintf;
}
