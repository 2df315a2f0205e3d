// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The SMMUv3 driver: queues, stream table and context descriptors, domains, masters, events, and
 * the device from its probe to its end.
 *
 * Mirrors drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c of Linux 7.2. It differs as arm-smmu-v3.h
 * says, and in this: a queue whose hardware does not take its commands is -ETIMEDOUT instead of an
 * endless loop; what the kernel's devres undoes is undone in arm_smmu_device_remove().
 */
#include "drivers/arm-smmu-v3/arm-smmu-v3.h"

#include "core/iommu/io-pgfault.h"
#include "core/linux/bug.h"
#include "core/linux/interrupt.h"
#include "core/linux/pci-ats.h"
#include "core/mm/dma-mapping.h"

#define SZ_32M	0x2000000UL
#define SZ_512M 0x20000000UL

/* ---- queues ---- */

static bool queue_has_space(const struct arm_smmu_ll_queue *q, u32 n)
{
	const u32 prod = Q_IDX(q, q->prod), cons = Q_IDX(q, q->cons);
	const bool same_lap = Q_WRP(q, q->prod) == Q_WRP(q, q->cons);

	return (same_lap ? (1u << q->max_n_shift) - (prod - cons) : cons - prod) >= n;
}

static bool queue_empty(const struct arm_smmu_ll_queue *q)
{
	return Q_IDX(q, q->prod) == Q_IDX(q, q->cons) && Q_WRP(q, q->prod) == Q_WRP(q, q->cons);
}

/* Has the entry at prod been taken? */
static bool queue_consumed(const struct arm_smmu_ll_queue *q, u32 prod)
{
	return Q_WRP(q, q->cons) == Q_WRP(q, prod) ? Q_IDX(q, q->cons) > Q_IDX(q, prod)
						   : Q_IDX(q, q->cons) <= Q_IDX(q, prod);
}

static u32 queue_inc_prod_n(const struct arm_smmu_ll_queue *q, u32 n)
{
	const u32 prod = (Q_WRP(q, q->prod) | Q_IDX(q, q->prod)) + n;

	return Q_OVF(q->prod) | Q_WRP(q, prod) | Q_IDX(q, prod);
}

static void queue_inc_cons(struct arm_smmu_ll_queue *q)
{
	const u32 cons = (Q_WRP(q, q->cons) | Q_IDX(q, q->cons)) + 1;

	q->cons = Q_OVF(q->cons) | Q_WRP(q, cons) | Q_IDX(q, cons);
}

static void queue_sync_cons_out(struct arm_smmu_queue *q)
{
	writel_relaxed(q->llq.cons, q->cons_reg);
}

/* Tells the hardware that its overflow was seen. */
static void queue_sync_cons_ovf(struct arm_smmu_queue *q)
{
	struct arm_smmu_ll_queue *llq = &q->llq;

	if (likely(Q_OVF(llq->prod) == Q_OVF(llq->cons)))
		return;
	llq->cons = Q_OVF(llq->prod) | Q_WRP(llq, llq->cons) | Q_IDX(llq, llq->cons);
	queue_sync_cons_out(q);
}

static int queue_sync_prod_in(struct arm_smmu_queue *q)
{
	const u32 prod = readl(q->prod_reg);
	const bool overflow = Q_OVF(prod) != Q_OVF(q->llq.prod);

	q->llq.prod = prod;
	return overflow ? -EOVERFLOW : 0;
}

static void queue_write(u64 *dst, const u64 *src, size_t n_dwords)
{
	for (size_t i = 0; i < n_dwords; i++)
		WRITE_ONCE(dst[i], src[i]);
}

static void queue_read(u64 *dst, const u64 *src, size_t n_dwords)
{
	for (size_t i = 0; i < n_dwords; i++)
		dst[i] = READ_ONCE(src[i]);
}

static int queue_remove_raw(struct arm_smmu_queue *q, u64 *ent)
{
	if (queue_empty(&q->llq))
		return -EAGAIN;
	queue_read(ent, Q_ENT(q, q->llq.cons), q->ent_dwords);
	queue_inc_cons(&q->llq);
	queue_sync_cons_out(q);
	return 0;
}

/* ---- the command queue ---- */

static struct arm_smmu_cmdq *arm_smmu_get_cmdq(struct arm_smmu_device *smmu,
					       const struct arm_smmu_cmd *cmd)
{
	struct arm_smmu_cmdq *cmdq = nullptr;

	if (smmu->impl_ops && smmu->impl_ops->get_secondary_cmdq)
		cmdq = smmu->impl_ops->get_secondary_cmdq(smmu, cmd);
	return cmdq ? cmdq : &smmu->cmdq;
}

/* The CMDQV's queues know neither an event nor an interrupt at a SYNC's end. */
static bool arm_smmu_cmdq_needs_busy_polling(const struct arm_smmu_device *smmu,
					     const struct arm_smmu_cmdq *cmdq)
{
	return cmdq != &smmu->cmdq && smmu->options & ARM_SMMU_OPT_TEGRA241_CMDQV;
}

static struct arm_smmu_cmd arm_smmu_cmdq_build_sync_cmd(const struct arm_smmu_device *smmu,
							const struct arm_smmu_cmdq *cmdq)
{
	return arm_smmu_make_cmd_sync(arm_smmu_cmdq_needs_busy_polling(smmu, cmdq)
					      ? CMDQ_SYNC_0_CS_NONE
					      : CMDQ_SYNC_0_CS_SEV);
}

static const char *arm_smmu_cerror_str(u32 idx)
{
	switch (idx) {
	case CMDQ_ERR_CERROR_NONE_IDX:
		return "No error";
	case CMDQ_ERR_CERROR_ILL_IDX:
		return "Illegal command";
	case CMDQ_ERR_CERROR_ABT_IDX:
		return "Abort on command fetch";
	case CMDQ_ERR_CERROR_ATC_INV_IDX:
		return "ATC invalidate timeout";
	default:
		return "Unknown";
	}
}

/*
 * Makes the command at which the hardware stopped one that it can do. A fetch or an invalidation of
 * a device that failed is tried again as it is. Runs beside a producer that waits for the hardware:
 * it looks at the queue's memory and registers only.
 */
void __arm_smmu_cmdq_skip_err(struct arm_smmu_device *smmu, struct arm_smmu_cmdq *cmdq)
{
	struct arm_smmu_queue *q = &cmdq->q;
	const u32 cons = readl_relaxed(q->cons_reg);
	const u32 idx = (u32)FIELD_GET(CMDQ_CONS_ERR, cons);
	u64 ent[CMDQ_ENT_DWORDS];

	/* a guest can bring these about through HWPT_INVALIDATE, as often as it likes */
	dev_err_ratelimited(smmu->dev, "CMDQ error (cons 0x%08x): %s", cons,
			    arm_smmu_cerror_str(idx));
	if (idx == CMDQ_ERR_CERROR_NONE_IDX || idx == CMDQ_ERR_CERROR_ABT_IDX ||
	    idx == CMDQ_ERR_CERROR_ATC_INV_IDX)
		return;

	queue_read(ent, Q_ENT(q, cons), CMDQ_ENT_DWORDS);
	dev_err_ratelimited(smmu->dev, "skipping command in error state: 0x%016llx 0x%016llx",
			    (unsigned long long)ent[0], (unsigned long long)ent[1]);

	const struct arm_smmu_cmd sync = arm_smmu_cmdq_build_sync_cmd(smmu, cmdq);

	queue_write(Q_ENT(q, cons), sync.data, CMDQ_ENT_DWORDS);
}

static void arm_smmu_cmdq_skip_err(struct arm_smmu_device *smmu)
{
	__arm_smmu_cmdq_skip_err(smmu, &smmu->cmdq);
}

static int arm_smmu_cmdq_poll_until_not_full(struct arm_smmu_queue *q, u32 n)
{
	struct arm_smmu_ll_queue *llq = &q->llq;

	if (queue_has_space(llq, n))
		return 0;
	return readl_poll_timeout(q->cons_reg, llq->cons, queue_has_space(llq, n), 1,
				  ARM_SMMU_POLL_TIMEOUT_US);
}

static int arm_smmu_cmdq_poll_until_sync(struct arm_smmu_queue *q, u32 prod)
{
	struct arm_smmu_ll_queue *llq = &q->llq;

	return readl_poll_timeout(q->cons_reg, llq->cons, queue_consumed(llq, prod), 1,
				  ARM_SMMU_POLL_TIMEOUT_US);
}

static void arm_smmu_cmdq_write_entry(struct arm_smmu_queue *q, const struct arm_smmu_cmd *cmd)
{
	queue_write(Q_ENT(q, q->llq.prod), cmd->data, CMDQ_ENT_DWORDS);
	q->llq.prod = queue_inc_prod_n(&q->llq, 1);
}

int arm_smmu_cmdq_issue_cmdlist(struct arm_smmu_device *smmu, struct arm_smmu_cmdq *cmdq,
				const struct arm_smmu_cmd *cmds, int n, bool sync)
{
	struct arm_smmu_queue *q = &cmdq->q;
	spinlock_guard lock(&cmdq->lock);
	int ret = arm_smmu_cmdq_poll_until_not_full(q, (u32)n + sync);

	if (ret) {
		dev_err_ratelimited(smmu->dev, "CMDQ timeout");
		return ret;
	}

	for (int i = 0; i < n; i++)
		arm_smmu_cmdq_write_entry(q, &cmds[i]);
	if (!sync) {
		writel(q->llq.prod, q->prod_reg);
		return 0;
	}

	const u32 sync_prod = q->llq.prod;
	const struct arm_smmu_cmd cmd_sync = arm_smmu_cmdq_build_sync_cmd(smmu, cmdq);

	arm_smmu_cmdq_write_entry(q, &cmd_sync);
	writel(q->llq.prod, q->prod_reg);
	ret = arm_smmu_cmdq_poll_until_sync(q, sync_prod);
	if (ret)
		dev_err_ratelimited(
			smmu->dev, "CMD_SYNC timeout at 0x%08x [hwprod 0x%08x, hwcons 0x%08x]",
			sync_prod, readl_relaxed(q->prod_reg), readl_relaxed(q->cons_reg));
	return ret;
}

static int arm_smmu_cmdq_issue_cmd(struct arm_smmu_device *smmu, struct arm_smmu_cmd cmd)
{
	return arm_smmu_cmdq_issue_cmdlist(smmu, arm_smmu_get_cmdq(smmu, &cmd), &cmd, 1, false);
}

static int arm_smmu_cmdq_issue_cmd_with_sync(struct arm_smmu_device *smmu, struct arm_smmu_cmd cmd)
{
	return arm_smmu_cmdq_issue_cmdlist(smmu, arm_smmu_get_cmdq(smmu, &cmd), &cmd, 1, true);
}

static void arm_smmu_cmdq_batch_init_cmd(struct arm_smmu_device *smmu,
					 struct arm_smmu_cmdq_batch *cmds,
					 const struct arm_smmu_cmd *cmd)
{
	cmds->num = 0;
	cmds->cmdq = arm_smmu_get_cmdq(smmu, cmd);
}

static void arm_smmu_cmdq_batch_add_cmd(struct arm_smmu_device *smmu,
					struct arm_smmu_cmdq_batch *cmds,
					const struct arm_smmu_cmd *cmd)
{
	if (!arm_smmu_cmdq_supports_cmd(cmds->cmdq, cmd)) {
		/* the rest goes another way, after this */
		arm_smmu_cmdq_issue_cmdlist(smmu, cmds->cmdq, cmds->cmds, cmds->num, true);
		arm_smmu_cmdq_batch_init_cmd(smmu, cmds, cmd);
	} else if (cmds->num == CMDQ_BATCH_ENTRIES) {
		arm_smmu_cmdq_issue_cmdlist(smmu, cmds->cmdq, cmds->cmds, cmds->num, false);
		arm_smmu_cmdq_batch_init_cmd(smmu, cmds, cmd);
	}
	cmds->cmds[cmds->num++] = *cmd;
}

static int arm_smmu_cmdq_batch_submit(struct arm_smmu_device *smmu,
				      struct arm_smmu_cmdq_batch *cmds)
{
	return arm_smmu_cmdq_issue_cmdlist(smmu, cmds->cmdq, cmds->cmds, cmds->num, true);
}

static void arm_smmu_page_response(struct device *dev, struct iopf_fault *,
				   struct iommu_page_response *resp)
{
	auto *master = static_cast<struct arm_smmu_master *>(dev_iommu_priv_get(dev));
	const u8 resume_resp = resp->code == IOMMU_PAGE_RESP_SUCCESS ? CMDQ_RESUME_0_RESP_RETRY
								     : CMDQ_RESUME_0_RESP_ABORT;

	if (WARN_ON(!master->stall_enabled))
		return;
	/* no SYNC: the answer's arrival concerns nobody but the device */
	arm_smmu_cmdq_issue_cmd(
		master->smmu,
		arm_smmu_make_cmd_resume(master->streams[0].id, (u16)resp->grpid, resume_resp));
}

/* ---- entries that the hardware may be using ---- */

void arm_smmu_get_ste_used(const u64 *ent, u64 *used_bits)
{
	const u64 cfg = FIELD_GET(STRTAB_STE_0_CFG, ent[0]);

	used_bits[0] = STRTAB_STE_0_V;
	if (!(ent[0] & STRTAB_STE_0_V))
		return;
	used_bits[0] |= STRTAB_STE_0_CFG;

	/* stage 1 */
	if (cfg & 1) {
		used_bits[0] |= STRTAB_STE_0_S1FMT | STRTAB_STE_0_S1CTXPTR_MASK |
				STRTAB_STE_0_S1CDMAX;
		used_bits[1] |= STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR |
				STRTAB_STE_1_S1CSH | STRTAB_STE_1_S1STALLD | STRTAB_STE_1_STRW |
				STRTAB_STE_1_EATS | STRTAB_STE_1_MEV;
		used_bits[2] |= STRTAB_STE_2_S2VMID;
		/* what bypasses stage 1 has the attributes of a bypass */
		if (FIELD_GET(STRTAB_STE_1_S1DSS, ent[1]) == STRTAB_STE_1_S1DSS_BYPASS)
			used_bits[1] |= STRTAB_STE_1_SHCFG;
	}

	/* stage 2 */
	if (cfg & 2) {
		used_bits[1] |= STRTAB_STE_1_S2FWB | STRTAB_STE_1_EATS | STRTAB_STE_1_SHCFG |
				STRTAB_STE_1_MEV;
		used_bits[2] |= STRTAB_STE_2_S2VMID | STRTAB_STE_2_VTCR | STRTAB_STE_2_S2AA64 |
				STRTAB_STE_2_S2ENDI | STRTAB_STE_2_S2PTW | STRTAB_STE_2_S2S |
				STRTAB_STE_2_S2R;
		used_bits[3] |= STRTAB_STE_3_S2TTB_MASK;
	}

	if (cfg == STRTAB_STE_0_CFG_BYPASS)
		used_bits[1] |= STRTAB_STE_1_SHCFG;
}

void arm_smmu_get_ste_update_safe(const u64 *cur, const u64 *target, u64 *safe_bits)
{
	const u64 eats_s1chk = FIELD_PREP(STRTAB_STE_1_EATS, STRTAB_STE_1_EATS_S1CHK);
	const u64 eats_trans = FIELD_PREP(STRTAB_STE_1_EATS, STRTAB_STE_1_EATS_TRANS);

	/*
	 * A change of EATS comes while ATS is off at the device: nobody asks. But EATS together
	 * with S2S is no valid entry, and with the other bit of the field it would mean something
	 * else.
	 */
	if (!((cur[1] | target[1]) & eats_s1chk) && !((cur[2] | target[2]) & STRTAB_STE_2_S2S))
		safe_bits[1] |= eats_trans;
	/* merged events look no different from a hardware that merges by itself */
	safe_bits[1] |= STRTAB_STE_1_MEV;
}

/*
 * A bit for each word whose used bits must change at the moment of the change. *unused_update: the
 * entry with all that the hardware does not look at (or may see change) already as in target.
 */
static u8 arm_smmu_entry_qword_diff(struct arm_smmu_entry_writer *writer, const u64 *entry,
				    const u64 *target, u64 *unused_update)
{
	u64 target_used[NUM_ENTRY_QWORDS] = {};
	u64 cur_used[NUM_ENTRY_QWORDS] = {};
	u64 safe[NUM_ENTRY_QWORDS] = {};
	u8 used_qword_diff = 0;

	writer->ops->get_used(entry, cur_used);
	writer->ops->get_used(target, target_used);
	if (writer->ops->get_update_safe)
		writer->ops->get_update_safe(entry, target, safe);

	for (unsigned int i = 0; i < NUM_ENTRY_QWORDS; i++) {
		/* a bit that nobody uses would stay behind when the entry changes again */
		WARN_ON_ONCE(target[i] & ~target_used[i]);

		const u64 keep = cur_used[i] & ~(safe[i] & target_used[i]);

		unused_update[i] = (entry[i] & keep) | (target[i] & ~keep);
		if ((unused_update[i] & target_used[i]) != target[i])
			used_qword_diff |= (u8)(1u << i);
	}
	return used_qword_diff;
}

static void entry_set(struct arm_smmu_entry_writer *writer, u64 *entry, const u64 *target,
		      unsigned int start, unsigned int len)
{
	bool changed = false;

	for (unsigned int i = start; i < start + len; i++) {
		if (entry[i] == target[i])
			continue;
		smp_store_release(&entry[i], target[i]);
		changed = true;
	}
	if (changed)
		writer->ops->sync(writer);
}

void arm_smmu_write_entry(struct arm_smmu_entry_writer *writer, u64 *entry, const u64 *target)
{
	u64 unused_update[NUM_ENTRY_QWORDS];
	const u8 diff = arm_smmu_entry_qword_diff(writer, entry, target, unused_update);

	if (diff && is_power_of_2(diff)) {
		const unsigned int critical = __ffs(diff);

		/* its own unused bits come with it, which may save a sync */
		unused_update[critical] = entry[critical];
		entry_set(writer, entry, unused_update, 0, NUM_ENTRY_QWORDS);
		entry_set(writer, entry, target, critical, 1);
		entry_set(writer, entry, target, 0, NUM_ENTRY_QWORDS);
	} else if (diff) {
		/* not without a break: invalid, then everything but the valid bit's word */
		unused_update[0] = 0;
		entry_set(writer, entry, unused_update, 0, 1);
		entry_set(writer, entry, target, 1, NUM_ENTRY_QWORDS - 1);
		entry_set(writer, entry, target, 0, 1);
	} else {
		entry_set(writer, entry, target, 0, NUM_ENTRY_QWORDS);
	}
}

/* ---- context descriptors ---- */

static void arm_smmu_sync_cd(struct arm_smmu_master *master, u32 ssid, bool leaf)
{
	struct arm_smmu_device *smmu = master->smmu;
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_cfgi_cd(0, ssid, leaf);
	struct arm_smmu_cmdq_batch cmds;

	arm_smmu_cmdq_batch_init_cmd(smmu, &cmds, &cmd);
	for (unsigned int i = 0; i < master->num_streams; i++) {
		cmd = arm_smmu_make_cmd_cfgi_cd(master->streams[i].id, ssid, leaf);
		arm_smmu_cmdq_batch_add_cmd(smmu, &cmds, &cmd);
	}
	arm_smmu_cmdq_batch_submit(smmu, &cmds);
}

static void arm_smmu_write_cd_l1_desc(struct arm_smmu_cdtab_l1 *dst, dma_addr_t l2ptr_dma)
{
	smp_store_release(&dst->l2ptr,
			  (l2ptr_dma & CTXDESC_L1_DESC_L2PTR_MASK) | CTXDESC_L1_DESC_V);
}

static struct arm_smmu_cd *arm_smmu_get_cd_ptr(struct arm_smmu_master *master, u32 ssid)
{
	struct arm_smmu_ctx_desc_cfg *cd_table = &master->cd_table;

	if (!arm_smmu_cdtab_allocated(cd_table))
		return nullptr;
	if (cd_table->s1fmt == STRTAB_STE_0_S1FMT_LINEAR)
		return &cd_table->linear.table[ssid];

	struct arm_smmu_cdtab_l2 *l2 = cd_table->l2.l2ptrs[arm_smmu_cdtab_l1_idx(ssid)];

	return l2 ? &l2->cds[arm_smmu_cdtab_l2_idx(ssid)] : nullptr;
}

static int arm_smmu_alloc_cd_tables(struct arm_smmu_master *master)
{
	struct arm_smmu_ctx_desc_cfg *cd_table = &master->cd_table;
	struct arm_smmu_device *smmu = master->smmu;
	unsigned int max_contexts;

	/* 0: no substreams, and S1DSS is not looked at */
	cd_table->s1cdmax = (u8)master->ssid_bits;
	max_contexts = 1u << cd_table->s1cdmax;

	if (!(smmu->features & ARM_SMMU_FEAT_2_LVL_CDTAB) || max_contexts <= CTXDESC_L2_ENTRIES) {
		cd_table->s1fmt = STRTAB_STE_0_S1FMT_LINEAR;
		cd_table->linear.num_ents = max_contexts;
		cd_table->linear.table = static_cast<struct arm_smmu_cd *>(
			dma_alloc_coherent(smmu->dev, max_contexts * sizeof(struct arm_smmu_cd),
					   &cd_table->cdtab_dma, GFP_KERNEL));
		return cd_table->linear.table ? 0 : -ENOMEM;
	}

	cd_table->s1fmt = STRTAB_STE_0_S1FMT_64K_L2;
	cd_table->l2.num_l1_ents = DIV_ROUND_UP(max_contexts, CTXDESC_L2_ENTRIES);
	cd_table->l2.l2ptrs = static_cast<struct arm_smmu_cdtab_l2 **>(
		kcalloc(cd_table->l2.num_l1_ents, sizeof(*cd_table->l2.l2ptrs), GFP_KERNEL));
	if (!cd_table->l2.l2ptrs)
		return -ENOMEM;
	cd_table->l2.l1tab = static_cast<struct arm_smmu_cdtab_l1 *>(dma_alloc_coherent(
		smmu->dev, cd_table->l2.num_l1_ents * sizeof(struct arm_smmu_cdtab_l1),
		&cd_table->cdtab_dma, GFP_KERNEL));
	if (cd_table->l2.l1tab)
		return 0;
	kfree(cd_table->l2.l2ptrs);
	cd_table->l2.l2ptrs = nullptr;
	return -ENOMEM;
}

static void arm_smmu_free_cd_tables(struct arm_smmu_master *master)
{
	struct arm_smmu_ctx_desc_cfg *cd_table = &master->cd_table;
	struct device *dev = master->smmu->dev;

	if (cd_table->s1fmt == STRTAB_STE_0_S1FMT_LINEAR) {
		dma_free_coherent(dev, cd_table->linear.num_ents * sizeof(struct arm_smmu_cd),
				  cd_table->linear.table, cd_table->cdtab_dma);
		*cd_table = {};
		return;
	}
	for (unsigned int i = 0; i < cd_table->l2.num_l1_ents; i++)
		dma_free_coherent(dev, sizeof(struct arm_smmu_cdtab_l2), cd_table->l2.l2ptrs[i],
				  cd_table->l2.l1tab[i].l2ptr & CTXDESC_L1_DESC_L2PTR_MASK);
	kfree(cd_table->l2.l2ptrs);
	dma_free_coherent(dev, cd_table->l2.num_l1_ents * sizeof(struct arm_smmu_cdtab_l1),
			  cd_table->l2.l1tab, cd_table->cdtab_dma);
	*cd_table = {};
}

/* The descriptor's place, with the tables that lead to it. NULL: no memory. */
static struct arm_smmu_cd *arm_smmu_alloc_cd_ptr(struct arm_smmu_master *master, u32 ssid)
{
	struct arm_smmu_ctx_desc_cfg *cd_table = &master->cd_table;

	might_sleep();
	iommu_group_mutex_assert(master->dev);

	if (!arm_smmu_cdtab_allocated(cd_table) && arm_smmu_alloc_cd_tables(master))
		return nullptr;

	const unsigned int idx = arm_smmu_cdtab_l1_idx(ssid);

	if (cd_table->s1fmt == STRTAB_STE_0_S1FMT_64K_L2 && !cd_table->l2.l2ptrs[idx]) {
		dma_addr_t l2ptr_dma = 0;
		void *l2 = dma_alloc_coherent(master->smmu->dev, sizeof(struct arm_smmu_cdtab_l2),
					      &l2ptr_dma, GFP_KERNEL);

		if (!l2)
			return nullptr;
		cd_table->l2.l2ptrs[idx] = static_cast<struct arm_smmu_cdtab_l2 *>(l2);
		arm_smmu_write_cd_l1_desc(&cd_table->l2.l1tab[idx], l2ptr_dma);
		/* that there was none may be cached */
		arm_smmu_sync_cd(master, ssid, false);
	}
	return arm_smmu_get_cd_ptr(master, ssid);
}

struct arm_smmu_cd_writer : arm_smmu_entry_writer {
	u32 ssid;
};

void arm_smmu_get_cd_used(const u64 *ent, u64 *used_bits)
{
	used_bits[0] = CTXDESC_CD_0_V;
	if (!(ent[0] & CTXDESC_CD_0_V))
		return;
	for (unsigned int i = 0; i < CTXDESC_CD_DWORDS; i++)
		used_bits[i] = ~0ULL;
	if (ent[0] & CTXDESC_CD_0_TCR_EPD0) {
		/* no table, so nothing about it */
		used_bits[0] &=
			~(CTXDESC_CD_0_TCR_T0SZ | CTXDESC_CD_0_TCR_TG0 | CTXDESC_CD_0_TCR_IRGN0 |
			  CTXDESC_CD_0_TCR_ORGN0 | CTXDESC_CD_0_TCR_SH0);
		used_bits[1] &= ~CTXDESC_CD_1_TTB0_MASK;
	}
}

static void arm_smmu_cd_writer_sync_entry(struct arm_smmu_entry_writer *writer)
{
	arm_smmu_sync_cd(writer->master, static_cast<struct arm_smmu_cd_writer *>(writer)->ssid,
			 true);
}

static const struct arm_smmu_entry_writer_ops arm_smmu_cd_writer_ops = {
	.get_used = arm_smmu_get_cd_used,
	.get_update_safe = nullptr,
	.sync = arm_smmu_cd_writer_sync_entry,
};

static void arm_smmu_write_cd_entry(struct arm_smmu_master *master, u32 ssid,
				    struct arm_smmu_cd *cdptr, const struct arm_smmu_cd *target)
{
	const bool target_valid = target->data[0] & CTXDESC_CD_0_V;
	const bool cur_valid = cdptr->data[0] & CTXDESC_CD_0_V;
	struct arm_smmu_cd_writer cd_writer = {{&arm_smmu_cd_writer_ops, master}, ssid};

	if (ssid != IOMMU_NO_PASID && cur_valid != target_valid)
		master->cd_table.used_ssids += target_valid ? 1 : -1u;
	arm_smmu_write_entry(&cd_writer, cdptr->data, target->data);
}

void arm_smmu_make_s1_cd(struct arm_smmu_cd *target, struct arm_smmu_master *master,
			 struct arm_smmu_domain *smmu_domain)
{
	const struct io_pgtable_cfg *pgtbl_cfg =
		&io_pgtable_ops_to_pgtable(smmu_domain->pgtbl_ops)->cfg;
	const auto *tcr = &pgtbl_cfg->arm_lpae_s1_cfg.tcr;

	*target = {};
	target->data[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, tcr->tsz) |
			  FIELD_PREP(CTXDESC_CD_0_TCR_TG0, tcr->tg) |
			  FIELD_PREP(CTXDESC_CD_0_TCR_IRGN0, tcr->irgn) |
			  FIELD_PREP(CTXDESC_CD_0_TCR_ORGN0, tcr->orgn) |
			  FIELD_PREP(CTXDESC_CD_0_TCR_SH0, tcr->sh) | CTXDESC_CD_0_TCR_EPD1 |
			  CTXDESC_CD_0_V | FIELD_PREP(CTXDESC_CD_0_TCR_IPS, tcr->ips) |
			  CTXDESC_CD_0_AA64 | (master->stall_enabled ? CTXDESC_CD_0_S : 0) |
			  CTXDESC_CD_0_R | CTXDESC_CD_0_A | CTXDESC_CD_0_ASET |
			  FIELD_PREP(CTXDESC_CD_0_ASID, smmu_domain->cd.asid);
	/* a dirty state without the access flag does not exist */
	if (pgtbl_cfg->quirks & IO_PGTABLE_QUIRK_ARM_HD)
		target->data[0] |= CTXDESC_CD_0_TCR_HA | CTXDESC_CD_0_TCR_HD;
	target->data[1] = pgtbl_cfg->arm_lpae_s1_cfg.ttbr & CTXDESC_CD_1_TTB0_MASK;
	target->data[3] = pgtbl_cfg->arm_lpae_s1_cfg.mair;
}

static void arm_smmu_clear_cd(struct arm_smmu_master *master, ioasid_t ssid)
{
	const struct arm_smmu_cd target = {};
	struct arm_smmu_cd *cdptr = arm_smmu_get_cd_ptr(master, ssid);

	/* with tables of two levels there may be none for SSID 0, when only PASIDs were attached */
	if (cdptr)
		arm_smmu_write_cd_entry(master, ssid, cdptr, &target);
}

/* ---- the stream table ---- */

static void arm_smmu_write_strtab_l1_desc(struct arm_smmu_strtab_l1 *dst, dma_addr_t l2ptr_dma)
{
	smp_store_release(&dst->l2ptr, FIELD_PREP(STRTAB_L1_DESC_SPAN, STRTAB_SPLIT + 1) |
					       (l2ptr_dma & STRTAB_L1_DESC_L2PTR_MASK));
}

struct arm_smmu_ste_writer : arm_smmu_entry_writer {
	u32 sid;
};

static void arm_smmu_ste_writer_sync_entry(struct arm_smmu_entry_writer *writer)
{
	const u32 sid = static_cast<struct arm_smmu_ste_writer *>(writer)->sid;

	arm_smmu_cmdq_issue_cmd_with_sync(writer->master->smmu,
					  arm_smmu_make_cmd_cfgi_ste(sid, true));
}

static const struct arm_smmu_entry_writer_ops arm_smmu_ste_writer_ops = {
	.get_used = arm_smmu_get_ste_used,
	.get_update_safe = arm_smmu_get_ste_update_safe,
	.sync = arm_smmu_ste_writer_sync_entry,
};

static void arm_smmu_write_ste(struct arm_smmu_master *master, u32 sid, struct arm_smmu_ste *ste,
			       const struct arm_smmu_ste *target)
{
	struct arm_smmu_ste_writer ste_writer = {{&arm_smmu_ste_writer_ops, master}, sid};

	arm_smmu_write_entry(&ste_writer, ste->data, target->data);
	if (!(master->smmu->options & ARM_SMMU_OPT_SKIP_PREFETCH))
		arm_smmu_cmdq_issue_cmd(master->smmu, arm_smmu_make_cmd_prefetch_cfg(sid));
}

void arm_smmu_make_abort_ste(struct arm_smmu_ste *target)
{
	*target = {};
	target->data[0] = STRTAB_STE_0_V | FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_ABORT);
}

static u64 arm_smmu_ste_shcfg(const struct arm_smmu_device *smmu)
{
	return smmu->features & ARM_SMMU_FEAT_ATTR_TYPES_OVR
		       ? FIELD_PREP(STRTAB_STE_1_SHCFG, STRTAB_STE_1_SHCFG_INCOMING)
		       : 0;
}

void arm_smmu_make_bypass_ste(struct arm_smmu_device *smmu, struct arm_smmu_ste *target)
{
	*target = {};
	target->data[0] = STRTAB_STE_0_V | FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_BYPASS);
	target->data[1] = arm_smmu_ste_shcfg(smmu);
}

void arm_smmu_make_cdtable_ste(struct arm_smmu_ste *target, struct arm_smmu_master *master,
			       bool ats_enabled, unsigned int s1dss)
{
	const struct arm_smmu_ctx_desc_cfg *cd_table = &master->cd_table;
	const struct arm_smmu_device *smmu = master->smmu;
	const bool stalld = smmu->features & ARM_SMMU_FEAT_STALLS && !master->stall_enabled;

	*target = {};
	target->data[0] = STRTAB_STE_0_V | FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_S1_TRANS) |
			  FIELD_PREP(STRTAB_STE_0_S1FMT, cd_table->s1fmt) |
			  (cd_table->cdtab_dma & STRTAB_STE_0_S1CTXPTR_MASK) |
			  FIELD_PREP(STRTAB_STE_0_S1CDMAX, cd_table->s1cdmax);
	target->data[1] = FIELD_PREP(STRTAB_STE_1_S1DSS, s1dss) |
			  FIELD_PREP(STRTAB_STE_1_S1CIR, STRTAB_STE_1_S1C_CACHE_WBRA) |
			  FIELD_PREP(STRTAB_STE_1_S1COR, STRTAB_STE_1_S1C_CACHE_WBRA) |
			  FIELD_PREP(STRTAB_STE_1_S1CSH, ARM_SMMU_SH_ISH) |
			  (stalld ? STRTAB_STE_1_S1STALLD : 0) |
			  FIELD_PREP(STRTAB_STE_1_EATS, ats_enabled ? STRTAB_STE_1_EATS_TRANS : 0) |
			  FIELD_PREP(STRTAB_STE_1_STRW, STRTAB_STE_1_STRW_NSEL1);
	if (s1dss == STRTAB_STE_1_S1DSS_BYPASS)
		target->data[1] |= arm_smmu_ste_shcfg(smmu);
	/* VMID 0 is nobody's: see arm_smmu_domain_finalise_s2 */
	target->data[2] = FIELD_PREP(STRTAB_STE_2_S2VMID, 0);
}

void arm_smmu_make_s2_domain_ste(struct arm_smmu_ste *target, struct arm_smmu_master *master,
				 struct arm_smmu_domain *smmu_domain, bool ats_enabled)
{
	const struct io_pgtable_cfg *pgtbl_cfg =
		&io_pgtable_ops_to_pgtable(smmu_domain->pgtbl_ops)->cfg;
	const auto *vtcr = &pgtbl_cfg->arm_lpae_s2_cfg.vtcr;
	const u64 vtcr_val = FIELD_PREP(STRTAB_STE_2_VTCR_S2T0SZ, vtcr->tsz) |
			     FIELD_PREP(STRTAB_STE_2_VTCR_S2SL0, vtcr->sl) |
			     FIELD_PREP(STRTAB_STE_2_VTCR_S2IR0, vtcr->irgn) |
			     FIELD_PREP(STRTAB_STE_2_VTCR_S2OR0, vtcr->orgn) |
			     FIELD_PREP(STRTAB_STE_2_VTCR_S2SH0, vtcr->sh) |
			     FIELD_PREP(STRTAB_STE_2_VTCR_S2TG, vtcr->tg) |
			     FIELD_PREP(STRTAB_STE_2_VTCR_S2PS, vtcr->ps);

	*target = {};
	target->data[0] = STRTAB_STE_0_V | FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_S2_TRANS);
	target->data[1] = FIELD_PREP(STRTAB_STE_1_EATS, ats_enabled ? STRTAB_STE_1_EATS_TRANS : 0) |
			  arm_smmu_ste_shcfg(master->smmu);
	if (pgtbl_cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB)
		target->data[1] |= STRTAB_STE_1_S2FWB;
	target->data[2] = FIELD_PREP(STRTAB_STE_2_S2VMID, smmu_domain->s2_cfg.vmid) |
			  FIELD_PREP(STRTAB_STE_2_VTCR, vtcr_val) | STRTAB_STE_2_S2AA64 |
			  STRTAB_STE_2_S2PTW | (master->stall_enabled ? STRTAB_STE_2_S2S : 0) |
			  STRTAB_STE_2_S2R;
	target->data[3] = pgtbl_cfg->arm_lpae_s2_cfg.vttbr & STRTAB_STE_3_S2TTB_MASK;
}

/* Of a table that the hardware does not know yet. */
static void arm_smmu_init_initial_stes(struct arm_smmu_ste *strtab, unsigned int nent)
{
	for (unsigned int i = 0; i < nent; i++)
		arm_smmu_make_abort_ste(&strtab[i]);
}

static int arm_smmu_init_l2_strtab(struct arm_smmu_device *smmu, u32 sid)
{
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;
	struct arm_smmu_strtab_l2 **l2table = &cfg->l2.l2ptrs[arm_smmu_strtab_l1_idx(sid)];
	dma_addr_t l2ptr_dma = 0;

	if (*l2table)
		return 0;
	*l2table = static_cast<struct arm_smmu_strtab_l2 *>(
		dma_alloc_coherent(smmu->dev, sizeof(**l2table), &l2ptr_dma, GFP_KERNEL));
	if (!*l2table) {
		dev_err(smmu->dev, "failed to allocate l2 stream table for SID %u", sid);
		return -ENOMEM;
	}
	arm_smmu_init_initial_stes((*l2table)->stes, STRTAB_NUM_L2_STES);
	arm_smmu_write_strtab_l1_desc(&cfg->l2.l1tab[arm_smmu_strtab_l1_idx(sid)], l2ptr_dma);
	return 0;
}

/* ---- interrupts ---- */

static struct arm_smmu_master *arm_smmu_find_master(struct arm_smmu_device *smmu, u32 sid)
{
	lockdep_assert_held(&smmu->streams_mutex);

	auto *stream = static_cast<struct arm_smmu_stream *>(xa_load(&smmu->streams, sid));

	return stream ? stream->master : nullptr;
}

static struct arm_smmu_event arm_smmu_decode_event(const u64 *raw)
{
	const bool ssv = raw[0] & EVTQ_0_SSV;

	return {
		.id = (u8)FIELD_GET(EVTQ_0_ID, raw[0]),
		.stall = !!(raw[1] & EVTQ_1_STALL),
		.ssv = ssv,
		.privileged = !!(raw[1] & EVTQ_1_PnU),
		.instruction = !!(raw[1] & EVTQ_1_InD),
		.s2 = !!(raw[1] & EVTQ_1_S2),
		.read = !!(raw[1] & EVTQ_1_RnW),
		.stag = (u16)FIELD_GET(EVTQ_1_STAG, raw[1]),
		.sid = (u32)FIELD_GET(EVTQ_0_SID, raw[0]),
		.ssid = ssv ? (u32)FIELD_GET(EVTQ_0_SSID, raw[0]) : IOMMU_NO_PASID,
		.iova = raw[2],
	};
}

static struct iommu_fault arm_smmu_event_to_fault(const struct arm_smmu_event *event)
{
	struct iommu_fault fault;
	struct iommu_fault_page_request *prm = &fault.prm;

	fault.type = IOMMU_FAULT_PAGE_REQ;
	prm->flags = IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE;
	prm->grpid = event->stag;
	prm->addr = event->iova;
	prm->perm = event->read ? IOMMU_FAULT_PERM_READ : IOMMU_FAULT_PERM_WRITE;
	if (event->instruction)
		prm->perm |= IOMMU_FAULT_PERM_EXEC;
	if (event->privileged)
		prm->perm |= IOMMU_FAULT_PERM_PRIV;
	if (event->ssv) {
		prm->flags |= IOMMU_FAULT_PAGE_REQUEST_PASID_VALID;
		prm->pasid = event->ssid;
	}
	return fault;
}

/* Events that say something of a device's own tables, and so are its owner's too. */
static bool arm_smmu_event_is_of_tables(u8 id)
{
	return (id >= EVT_ID_TRANSLATION_FAULT && id <= EVT_ID_PERMISSION_FAULT) ||
	       id == EVT_ID_BAD_STE_CONFIG || id == EVT_ID_BAD_CD_CONFIG ||
	       id == EVT_ID_STREAM_DISABLED_FAULT || id == EVT_ID_BAD_SUBSTREAMID_CONFIG;
}

/* The group of whoever has the stream, with a reference, or NULL. */
static struct iommu_group *arm_smmu_stream_group(struct arm_smmu_device *smmu, u32 sid)
{
	mutex_guard streams(&smmu->streams_mutex);
	struct arm_smmu_master *master = arm_smmu_find_master(smmu, sid);

	return master ? iommu_group_get(master->dev) : nullptr;
}

static struct device *arm_smmu_stream_device(struct arm_smmu_device *smmu, u32 sid)
{
	mutex_guard streams(&smmu->streams_mutex);
	struct arm_smmu_master *master = arm_smmu_find_master(smmu, sid);

	return master ? master->dev : nullptr;
}

/*
 * A transaction that waits for an answer. The group's attachments and devices stay while the owner
 * is told; streams_mutex is free meanwhile, because an attach takes it.
 */
static int arm_smmu_report_stall(struct arm_smmu_device *smmu, const struct arm_smmu_event *event)
{
	struct iommu_group *group = arm_smmu_stream_group(smmu, event->sid);
	struct iopf_fault fault_evt;
	int rc = -EINVAL;

	if (!group)
		return rc;
	fault_evt.fault = arm_smmu_event_to_fault(event);
	{
		rwsem_read_guard attachments(iommu_group_attach_rwsem(group));
		struct device *dev = arm_smmu_stream_device(smmu, event->sid);

		if (dev)
			rc = iommu_report_device_fault(dev, &fault_evt);
	}
	iommu_group_put(group);
	return rc;
}

/* 0: somebody has it. Else it is for the log. */
static int arm_smmu_handle_event(struct arm_smmu_device *smmu, const u64 *evt,
				 const struct arm_smmu_event *event)
{
	if (!arm_smmu_event_is_of_tables(event->id))
		return -EOPNOTSUPP;

	if (event->stall)
		return arm_smmu_report_stall(smmu, event);

	mutex_guard streams(&smmu->streams_mutex);
	struct arm_smmu_master *master = arm_smmu_find_master(smmu, event->sid);

	if (!master)
		return -EINVAL;
	/* a fault of stage 2 is none of the guest's */
	if (master->vmaster && !event->s2)
		return arm_vmaster_report_event(master->vmaster, evt);
	return -EOPNOTSUPP;
}

static void arm_smmu_dump_event(struct arm_smmu_device *smmu, const u64 *raw,
				const struct arm_smmu_event *event)
{
	dev_err_ratelimited(smmu->dev,
			    "event 0x%02x received: sid 0x%x ssid 0x%x iova 0x%llx %s %s%s "
			    "(0x%016llx 0x%016llx 0x%016llx 0x%016llx)",
			    event->id, event->sid, event->ssid, (unsigned long long)event->iova,
			    event->read ? "read" : "write", event->s2 ? "s2" : "s1",
			    event->stall ? " stall" : "", (unsigned long long)raw[0],
			    (unsigned long long)raw[1], (unsigned long long)raw[2],
			    (unsigned long long)raw[3]);
}

static irqreturn_t arm_smmu_evtq_thread(int, void *dev)
{
	auto *smmu = static_cast<struct arm_smmu_device *>(dev);
	struct arm_smmu_queue *q = &smmu->evtq.q;
	u64 evt[EVTQ_ENT_DWORDS];

	do {
		while (!queue_remove_raw(q, evt)) {
			const struct arm_smmu_event event = arm_smmu_decode_event(evt);

			if (arm_smmu_handle_event(smmu, evt, &event))
				arm_smmu_dump_event(smmu, evt, &event);
			cond_resched();
		}
		if (queue_sync_prod_in(q) == -EOVERFLOW)
			dev_err_ratelimited(smmu->dev, "EVTQ overflow detected -- events lost");
	} while (!queue_empty(&q->llq));

	queue_sync_cons_ovf(q);
	return IRQ_HANDLED;
}

static void arm_smmu_handle_ppr(struct arm_smmu_device *smmu, const u64 *evt)
{
	const u32 sid = (u32)FIELD_GET(PRIQ_0_SID, evt[0]);
	const bool ssv = evt[0] & PRIQ_0_SSID_V;
	const u32 ssid = ssv ? (u32)FIELD_GET(PRIQ_0_SSID, evt[0]) : IOMMU_NO_PASID;
	const u16 grpid = (u16)FIELD_GET(PRIQ_1_PRG_IDX, evt[1]);

	if (printk_ratelimit())
		dev_info(smmu->dev, "unexpected PRI request: sid 0x%08x.0x%05x [%u] iova 0x%016llx",
			 sid, ssid, grpid, (unsigned long long)(evt[1] & PRIQ_1_ADDR_MASK));
	if (evt[0] & PRIQ_0_PRG_LAST)
		arm_smmu_cmdq_issue_cmd(
			smmu, arm_smmu_make_cmd_pri_resp(sid, ssid, ssv, grpid, PRI_RESP_DENY));
}

static irqreturn_t arm_smmu_priq_thread(int, void *dev)
{
	auto *smmu = static_cast<struct arm_smmu_device *>(dev);
	struct arm_smmu_queue *q = &smmu->priq.q;
	u64 evt[PRIQ_ENT_DWORDS];

	do {
		while (!queue_remove_raw(q, evt))
			arm_smmu_handle_ppr(smmu, evt);
		if (queue_sync_prod_in(q) == -EOVERFLOW)
			dev_err_ratelimited(smmu->dev, "PRIQ overflow detected -- requests lost");
	} while (!queue_empty(&q->llq));

	queue_sync_cons_ovf(q);
	return IRQ_HANDLED;
}

static int arm_smmu_device_disable(struct arm_smmu_device *smmu);

static irqreturn_t arm_smmu_gerror_handler(int, void *dev)
{
	static const struct {
		u32 bit;
		const char *what;
	} aborts[] = {
		{GERROR_MSI_GERROR_ABT_ERR, "GERROR MSI write aborted"},
		{GERROR_MSI_PRIQ_ABT_ERR, "PRIQ MSI write aborted"},
		{GERROR_MSI_EVTQ_ABT_ERR, "EVTQ MSI write aborted"},
		{GERROR_MSI_CMDQ_ABT_ERR, "CMDQ MSI write aborted"},
		{GERROR_PRIQ_ABT_ERR, "PRIQ write aborted -- events may have been lost"},
		{GERROR_EVTQ_ABT_ERR, "EVTQ write aborted -- events may have been lost"},
	};
	auto *smmu = static_cast<struct arm_smmu_device *>(dev);
	const u32 gerror = readl_relaxed(smmu->base + ARM_SMMU_GERROR);
	const u32 gerrorn = readl_relaxed(smmu->base + ARM_SMMU_GERRORN);
	const u32 active = gerror ^ gerrorn;

	if (!(active & GERROR_ERR_MASK))
		return IRQ_NONE;

	dev_warn_ratelimited(smmu->dev, "unexpected global error reported (0x%08x)", active);
	if (active & GERROR_SFM_ERR) {
		dev_err(smmu->dev, "device has entered Service Failure Mode!");
		arm_smmu_device_disable(smmu);
	}
	for (const auto &abort : aborts)
		if (active & abort.bit)
			dev_warn_ratelimited(smmu->dev, "%s", abort.what);
	if (active & GERROR_CMDQ_ERR)
		arm_smmu_cmdq_skip_err(smmu);

	writel(gerror, smmu->base + ARM_SMMU_GERRORN);
	return IRQ_HANDLED;
}

static irqreturn_t arm_smmu_combined_irq_thread(int irq, void *dev)
{
	auto *smmu = static_cast<struct arm_smmu_device *>(dev);

	arm_smmu_evtq_thread(irq, dev);
	if (smmu->features & ARM_SMMU_FEAT_PRI)
		arm_smmu_priq_thread(irq, dev);
	return IRQ_HANDLED;
}

static irqreturn_t arm_smmu_combined_irq_handler(int irq, void *dev)
{
	arm_smmu_gerror_handler(irq, dev);
	return IRQ_WAKE_THREAD;
}

/* ---- invalidations ---- */

/* A range of an ATC is a power of two of pages, aligned to it: the smallest that holds this one. */
static struct arm_smmu_cmd arm_smmu_atc_inv_to_cmd(u32 sid, ioasid_t ssid, unsigned long iova,
						   size_t size)
{
	const unsigned long first = iova >> 12, last = (iova + size - 1) >> 12;
	const unsigned int log2_span = (unsigned int)fls64(first ^ last);

	/* without a PASID it also takes what was asked for with one: there is no other way */
	if (!size || log2_span >= ATC_INV_SIZE_ALL)
		return arm_smmu_make_cmd_atc_inv_all(sid, ssid);
	return arm_smmu_make_cmd_atc_inv(sid, ssid, (first >> log2_span << log2_span) << 12,
					 (u8)log2_span);
}

static int arm_smmu_atc_inv_master(struct arm_smmu_master *master, ioasid_t ssid)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_atc_inv_all(0, IOMMU_NO_PASID);
	struct arm_smmu_cmdq_batch cmds;

	arm_smmu_cmdq_batch_init_cmd(master->smmu, &cmds, &cmd);
	for (unsigned int i = 0; i < master->num_streams; i++) {
		cmd = arm_smmu_make_cmd_atc_inv_all(master->streams[i].id, ssid);
		arm_smmu_cmdq_batch_add_cmd(master->smmu, &cmds, &cmd);
	}
	return arm_smmu_cmdq_batch_submit(master->smmu, &cmds);
}

/* size 0: everything. Compare arm_smmu_atc_inv_domain() of v6.15. */
static void arm_smmu_atc_inv_domain(struct arm_smmu_domain *smmu_domain, unsigned long iova,
				    size_t size)
{
	struct arm_smmu_device *smmu = smmu_domain->smmu;
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_ATC_INV);
	struct arm_smmu_master_domain *master_domain;
	struct arm_smmu_cmdq_batch cmds;

	/*
	 * Tables change before this looks at the number, an attachment raises it before the
	 * hardware sees the tables: one of the two sees the other.
	 */
	std::atomic_thread_fence(std::memory_order_seq_cst);
	if (!atomic_read(&smmu_domain->nr_ats_masters))
		return;

	arm_smmu_cmdq_batch_init_cmd(smmu, &cmds, &cmd);
	/* to the end: nothing is sent to a master that has been detached */
	spinlock_guard lock(&smmu_domain->devices_lock);
	list_for_each_entry (master_domain, &smmu_domain->devices, devices_elm) {
		struct arm_smmu_master *master = master_domain->master;

		if (!master->ats_enabled)
			continue;
		for (unsigned int i = 0; i < master->num_streams; i++) {
			const u32 sid = master->streams[i].id;

			/* which of the guest's addresses led here is not known */
			cmd = master_domain->nested_ats_flush
				      ? arm_smmu_make_cmd_atc_inv_all(sid, IOMMU_NO_PASID)
				      : arm_smmu_atc_inv_to_cmd(sid, master_domain->ssid, iova,
								size);
			arm_smmu_cmdq_batch_add_cmd(smmu, &cmds, &cmd);
		}
	}
	if (cmds.num)
		arm_smmu_cmdq_batch_submit(smmu, &cmds);
}

/* A range in commands of one granule each, or in ranges of commands where the hardware has them. */
static void arm_smmu_cmdq_batch_add_range(struct arm_smmu_device *smmu,
					  struct arm_smmu_cmdq_batch *cmds,
					  const struct arm_smmu_cmd *base, bool leaf,
					  unsigned long iova, size_t size, size_t granule,
					  unsigned int tg)
{
	const bool ranges = smmu->features & ARM_SMMU_FEAT_RANGE_INV;
	size_t num_pages = ranges ? size >> tg : DIV_ROUND_UP(size, granule);
	u64 ttl = 0;

	/* which level a leaf is at; of a table's granule it does not say */
	if (ranges && leaf)
		ttl = 4 - (ilog2(granule) - 3) / (tg - 3);
	else if (ranges && (num_pages & CMDQ_TLBI_RANGE_NUM_MAX) == 1)
		num_pages++; /* NUM and SCALE both 0 would be no range */

	while (num_pages) {
		struct arm_smmu_cmd cmd = *base;
		size_t inv_range = granule, pages = 1;

		cmd.data[1] = FIELD_PREP(CMDQ_TLBI_1_LEAF, leaf) | (iova & CMDQ_TLBI_1_VA_MASK);
		if (ranges) {
			const unsigned int scale = __ffs(num_pages);
			const size_t num = (num_pages >> scale) & CMDQ_TLBI_RANGE_NUM_MAX;

			pages = num << scale;
			inv_range = pages << tg;
			cmd.data[0] |= FIELD_PREP(CMDQ_TLBI_0_NUM, num - 1) |
				       FIELD_PREP(CMDQ_TLBI_0_SCALE, scale);
			cmd.data[1] |= FIELD_PREP(CMDQ_TLBI_1_TTL, ttl) |
				       FIELD_PREP(CMDQ_TLBI_1_TG, (tg - 10) / 2);
		}
		arm_smmu_cmdq_batch_add_cmd(smmu, cmds, &cmd);
		iova += inv_range;
		num_pages -= pages;
	}
}

/* So many commands that one for everything is quicker. */
static bool arm_smmu_inv_size_too_big(const struct arm_smmu_device *smmu, size_t size,
				      size_t granule)
{
	if (!size || size == SIZE_MAX)
		return true;
	if (smmu->features & ARM_SMMU_FEAT_RANGE_INV)
		return false;
	return size >= (1UL << (ilog2(granule) - 3)) * granule;
}

static void arm_smmu_tlb_inv(struct arm_smmu_device *smmu, struct arm_smmu_cmd sized,
			     struct arm_smmu_cmd unsized, bool leaf, unsigned long iova,
			     size_t size, size_t granule, unsigned int tg)
{
	struct arm_smmu_cmdq_batch cmds;

	arm_smmu_cmdq_batch_init_cmd(smmu, &cmds, &sized);
	if (arm_smmu_inv_size_too_big(smmu, size, granule))
		arm_smmu_cmdq_batch_add_cmd(smmu, &cmds, &unsized);
	else
		arm_smmu_cmdq_batch_add_range(smmu, &cmds, &sized, leaf, iova, size, granule, tg);
	arm_smmu_cmdq_batch_submit(smmu, &cmds);
}

/*
 * The range is out of the TLB and of the devices' when this returns; size 0: everything. Of a
 * nesting parent it takes what the guests' stage 1 has made of it along.
 */
static void arm_smmu_domain_inv_range(struct arm_smmu_domain *smmu_domain, unsigned long iova,
				      size_t size, unsigned int granule, bool leaf)
{
	struct arm_smmu_device *smmu = smmu_domain->smmu;
	const u16 asid = smmu_domain->cd.asid, vmid = smmu_domain->s2_cfg.vmid;
	const unsigned int tg = __ffs(smmu_domain->pgsize_bitmap);

	if (smmu_domain->stage == ARM_SMMU_DOMAIN_S1) {
		arm_smmu_tlb_inv(smmu, arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_VA, asid, 0),
				 arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, asid, 0), leaf, iova,
				 size, granule, tg);
	} else {
		arm_smmu_tlb_inv(smmu, arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_S2_IPA, 0, vmid),
				 arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_S12_VMALL, 0, vmid), leaf,
				 iova, size, granule, tg);
		/* after it, or a walk would find the old stage 2 again; S12_VMALL is both */
		if (smmu_domain->nest_parent && !arm_smmu_inv_size_too_big(smmu, size, granule))
			arm_smmu_cmdq_issue_cmd_with_sync(
				smmu, arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ALL, 0, vmid));
	}
	arm_smmu_atc_inv_domain(smmu_domain, iova, size == SIZE_MAX ? 0 : size);
}

static void arm_smmu_tlb_inv_context(void *cookie)
{
	arm_smmu_domain_inv_range(static_cast<struct arm_smmu_domain *>(cookie), 0, 0, 0, false);
}

static void arm_smmu_tlb_inv_walk(unsigned long iova, size_t size, size_t granule, void *cookie)
{
	arm_smmu_domain_inv_range(static_cast<struct arm_smmu_domain *>(cookie), iova, size,
				  (unsigned int)granule, false);
}

static void arm_smmu_tlb_inv_page_nosync(struct iommu_iotlb_gather *gather, unsigned long iova,
					 size_t granule, void *cookie)
{
	iommu_iotlb_gather_add_page(static_cast<struct arm_smmu_domain *>(cookie), gather, iova,
				    granule);
}

static const struct iommu_flush_ops arm_smmu_flush_ops = {
	.tlb_flush_all = arm_smmu_tlb_inv_context,
	.tlb_flush_walk = arm_smmu_tlb_inv_walk,
	.tlb_add_page = arm_smmu_tlb_inv_page_nosync,
};

/* ---- domains ---- */

static struct arm_smmu_master *dev_to_master(struct device *dev)
{
	return static_cast<struct arm_smmu_master *>(dev_iommu_priv_get(dev));
}

static bool arm_smmu_ats_supported(const struct arm_smmu_master *master)
{
	return master->smmu->features & ARM_SMMU_FEAT_ATS &&
	       dev_iommu_fwspec_get(master->dev)->flags & IOMMU_FWSPEC_PCI_RC_ATS &&
	       dev_is_pci(master->dev) && pci_ats_supported(to_pci_dev(master->dev));
}

static bool arm_smmu_dbm_capable(const struct arm_smmu_device *smmu)
{
	const u32 features = ARM_SMMU_FEAT_HD | ARM_SMMU_FEAT_COHERENCY;

	return (smmu->features & features) == features;
}

static bool arm_smmu_capable(struct device *dev, enum iommu_cap cap)
{
	const struct arm_smmu_master *master = dev_to_master(dev);

	/* what each of its kind can do */
	if (cap == IOMMU_CAP_NOEXEC || cap == IOMMU_CAP_DEFERRED_FLUSH)
		return true;
	/* what this one can */
	if (cap == IOMMU_CAP_DIRTY_TRACKING)
		return arm_smmu_dbm_capable(master->smmu);
	if (cap == IOMMU_CAP_CACHE_COHERENCY)
		return master->smmu->features & ARM_SMMU_FEAT_COHERENCY;
	/* what it can for this device */
	if (cap == IOMMU_CAP_PCI_ATS_SUPPORTED)
		return arm_smmu_ats_supported(master);
	return cap == IOMMU_CAP_ENFORCE_CACHE_COHERENCY && arm_smmu_master_canwbs(master);
}

static bool arm_smmu_enforce_cache_coherency(struct iommu_domain *domain)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain(domain);
	struct arm_smmu_master_domain *master_domain;
	bool ret = true;
	spinlock_guard lock(&smmu_domain->devices_lock);

	list_for_each_entry (master_domain, &smmu_domain->devices, devices_elm)
		ret &= arm_smmu_master_canwbs(master_domain->master);
	smmu_domain->enforces_cache_coherency = ret;
	return ret;
}

static void arm_smmu_domain_free_paging(struct iommu_domain *domain)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain(domain);
	struct arm_smmu_device *smmu = smmu_domain->smmu;

	/* which flushes: after this the ASID or VMID can be another's */
	free_io_pgtable_ops(smmu_domain->pgtbl_ops);
	if (smmu_domain->stage == ARM_SMMU_DOMAIN_S1)
		xa_erase(&smmu->asid_xa, smmu_domain->cd.asid);
	else
		ida_free(&smmu->vmid_map, smmu_domain->s2_cfg.vmid);
	kfree_obj(smmu_domain);
}

static int arm_smmu_domain_finalise_s1(struct arm_smmu_device *smmu,
				       struct arm_smmu_domain *smmu_domain)
{
	u32 asid = 0;
	int ret = xa_alloc(&smmu->asid_xa, &asid, smmu_domain,
			   XA_LIMIT(1, (1u << smmu->asid_bits) - 1), GFP_KERNEL);

	smmu_domain->cd.asid = (u16)asid;
	return ret;
}

static int arm_smmu_domain_finalise_s2(struct arm_smmu_device *smmu,
				       struct arm_smmu_domain *smmu_domain)
{
	/* 0 is the VMID of streams without a stage 2 */
	int vmid = ida_alloc_range(&smmu->vmid_map, 1, (1u << smmu->vmid_bits) - 1, GFP_KERNEL);

	if (vmid < 0)
		return vmid;
	smmu_domain->s2_cfg.vmid = (u16)vmid;
	return 0;
}

static int arm_smmu_read_and_clear_dirty(struct iommu_domain *domain, unsigned long iova,
					 size_t size, unsigned long flags,
					 struct iommu_dirty_bitmap *dirty)
{
	struct io_pgtable_ops *ops = to_smmu_domain(domain)->pgtbl_ops;

	return ops->read_and_clear_dirty(ops, iova, size, flags, dirty);
}

/* It is always on, and the bits are cleared before this. */
static int arm_smmu_set_dirty_tracking(struct iommu_domain *, bool)
{
	return 0;
}

static const struct iommu_dirty_ops arm_smmu_dirty_ops = {
	.set_dirty_tracking = arm_smmu_set_dirty_tracking,
	.read_and_clear_dirty = arm_smmu_read_and_clear_dirty,
};

static int arm_smmu_domain_finalise(struct arm_smmu_domain *smmu_domain,
				    struct arm_smmu_device *smmu, u32 flags)
{
	const bool s1 = smmu_domain->stage == ARM_SMMU_DOMAIN_S1;
	const bool enable_dirty = flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	struct io_pgtable_cfg pgtbl_cfg;

	if (enable_dirty && !s1)
		return -EOPNOTSUPP;
	pgtbl_cfg.pgsize_bitmap = smmu->pgsize_bitmap;
	pgtbl_cfg.coherent_walk = smmu->features & ARM_SMMU_FEAT_COHERENCY;
	pgtbl_cfg.tlb = &arm_smmu_flush_ops;
	pgtbl_cfg.iommu_dev = smmu->dev;
	pgtbl_cfg.ias = s1 ? (smmu->features & ARM_SMMU_FEAT_VAX ? 52 : 48) : smmu->oas;
	pgtbl_cfg.oas = smmu->oas;
	if (!s1 && smmu->features & ARM_SMMU_FEAT_S2FWB && flags & IOMMU_HWPT_ALLOC_NEST_PARENT)
		pgtbl_cfg.quirks |= IO_PGTABLE_QUIRK_ARM_S2FWB;
	if (enable_dirty)
		pgtbl_cfg.quirks |= IO_PGTABLE_QUIRK_ARM_HD;

	struct io_pgtable_ops *pgtbl_ops =
		alloc_io_pgtable_ops(s1 ? ARM_64_LPAE_S1 : ARM_64_LPAE_S2, &pgtbl_cfg, smmu_domain);

	if (!pgtbl_ops)
		return -ENOMEM;

	smmu_domain->pgsize_bitmap = pgtbl_cfg.pgsize_bitmap;
	smmu_domain->dirty_ops = enable_dirty ? &arm_smmu_dirty_ops : nullptr;
	smmu_domain->geometry.aperture_end = (1UL << pgtbl_cfg.ias) - 1;
	smmu_domain->geometry.force_aperture = true;
	smmu_domain->smmu = smmu;

	int ret = s1 ? arm_smmu_domain_finalise_s1(smmu, smmu_domain)
		     : arm_smmu_domain_finalise_s2(smmu, smmu_domain);

	if (ret) {
		/* its ASID or VMID is nobody's: nothing to flush */
		io_pgtable_ops_to_pgtable(pgtbl_ops)->cfg.tlb = nullptr;
		free_io_pgtable_ops(pgtbl_ops);
		return ret;
	}
	smmu_domain->pgtbl_ops = pgtbl_ops;
	return 0;
}

/* ---- attaching ---- */

static struct arm_smmu_ste *arm_smmu_get_step_for_sid(struct arm_smmu_device *smmu, u32 sid)
{
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;

	if (smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB)
		return &cfg->l2.l2ptrs[arm_smmu_strtab_l1_idx(sid)]
				->stes[arm_smmu_strtab_l2_idx(sid)];
	return &cfg->linear.table[sid];
}

void arm_smmu_install_ste_for_dev(struct arm_smmu_master *master, const struct arm_smmu_ste *target)
{
	struct arm_smmu_device *smmu = master->smmu;

	master->cd_table.in_ste = FIELD_GET(STRTAB_STE_0_CFG, target->data[0]) ==
				  STRTAB_STE_0_CFG_S1_TRANS;
	master->ste_ats_enabled = FIELD_GET(STRTAB_STE_1_EATS, target->data[1]) ==
				  STRTAB_STE_1_EATS_TRANS;

	for (unsigned int i = 0; i < master->num_streams; i++) {
		const u32 sid = master->streams[i].id;

		arm_smmu_write_ste(master, sid, arm_smmu_get_step_for_sid(smmu, sid), target);
	}
}

static void arm_smmu_enable_ats(struct arm_smmu_master *master)
{
	/* what it may still have from before */
	arm_smmu_atc_inv_master(master, IOMMU_NO_PASID);
	if (pci_enable_ats(to_pci_dev(master->dev), __ffs(master->smmu->pgsize_bitmap)))
		dev_err(master->dev, "Failed to enable ATS");
}

/* The domain whose list has the attachments of this one; NULL: it has nothing in the TLB. */
static struct arm_smmu_domain *to_smmu_domain_devices(struct iommu_domain *domain)
{
	if (!domain)
		return nullptr;
	if (domain->type & __IOMMU_DOMAIN_PAGING)
		return to_smmu_domain(domain);
	if (domain->type == IOMMU_DOMAIN_NESTED)
		return to_smmu_nested_domain(domain)->vsmmu->s2_parent;
	return nullptr;
}

static struct arm_smmu_master_domain *
arm_smmu_find_master_domain(struct arm_smmu_domain *smmu_domain, const struct iommu_domain *domain,
			    const struct arm_smmu_master *master, ioasid_t ssid,
			    bool nested_ats_flush) __must_hold(&smmu_domain->devices_lock)
{
	struct arm_smmu_master_domain *master_domain;

	list_for_each_entry (master_domain, &smmu_domain->devices, devices_elm)
		if (master_domain->master == master && master_domain->domain == domain &&
		    master_domain->ssid == ssid &&
		    master_domain->nested_ats_flush == nested_ats_flush)
			return master_domain;
	return nullptr;
}

static int arm_smmu_enable_iopf(struct arm_smmu_master *master,
				struct arm_smmu_master_domain *master_domain)
{
	iommu_group_mutex_assert(master->dev);

	/* its faults come another way, if at all */
	if (!master->stall_enabled)
		return 0;
	if (!master->smmu->evtq.iopf)
		return -EOPNOTSUPP;
	if (!master->iopf_refcount) {
		if (int ret = iopf_queue_add_device(master->smmu->evtq.iopf, master->dev))
			return ret;
	}
	master->iopf_refcount++;
	master_domain->using_iopf = true;
	return 0;
}

static void arm_smmu_disable_iopf(struct arm_smmu_master *master,
				  const struct arm_smmu_master_domain *master_domain)
{
	iommu_group_mutex_assert(master->dev);

	if (!master_domain || !master_domain->using_iopf)
		return;
	if (!--master->iopf_refcount)
		iopf_queue_remove_device(master->smmu->evtq.iopf, master->dev);
}

static void arm_smmu_remove_master_domain(struct arm_smmu_master *master,
					  struct iommu_domain *domain, ioasid_t ssid)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain_devices(domain);
	struct arm_smmu_master_domain *master_domain;

	if (!smmu_domain)
		return;
	const bool nested_ats_flush = domain->type == IOMMU_DOMAIN_NESTED &&
				      to_smmu_nested_domain(domain)->enable_ats;
	{
		spinlock_guard lock(&smmu_domain->devices_lock);

		master_domain = arm_smmu_find_master_domain(smmu_domain, domain, master, ssid,
							    nested_ats_flush);
		if (master_domain) {
			list_del(&master_domain->devices_elm);
			if (master->ats_enabled)
				atomic_dec(&smmu_domain->nr_ats_masters);
		}
	}
	arm_smmu_disable_iopf(master, master_domain);
	kfree_obj(master_domain);
}

/*
 * The attachment on its domain's list, so that both domains invalidate for the master from here to
 * the end of the change. A domain that is attached again has it twice meanwhile.
 */
static int arm_smmu_add_master_domain(struct arm_smmu_attach_state *state,
				      struct arm_smmu_domain *smmu_domain,
				      struct iommu_domain *new_domain)
{
	struct arm_smmu_master *master = state->master;
	auto *master_domain = kzalloc_obj<struct arm_smmu_master_domain>();
	int ret = 0;

	if (!master_domain)
		return -ENOMEM;
	master_domain->domain = new_domain;
	master_domain->master = master;
	master_domain->ssid = state->ssid;
	master_domain->nested_ats_flush = new_domain->type == IOMMU_DOMAIN_NESTED &&
					  to_smmu_nested_domain(new_domain)->enable_ats;

	if (new_domain->iopf_handler)
		ret = arm_smmu_enable_iopf(master, master_domain);
	if (!ret) {
		spinlock_guard lock(&smmu_domain->devices_lock);

		if (smmu_domain->enforces_cache_coherency && !arm_smmu_master_canwbs(master)) {
			ret = -EINVAL;
		} else {
			if (state->ats_enabled)
				atomic_inc(&smmu_domain->nr_ats_masters);
			list_add(&master_domain->devices_elm, &smmu_domain->devices);
		}
	}
	if (ret) {
		arm_smmu_disable_iopf(master, master_domain);
		kfree_obj(master_domain);
	}
	return ret;
}

/*
 * The change of a master's domain is arm_smmu_attach_prepare(), the new entry with EATS as
 * state->ats_enabled says, arm_smmu_attach_commit(). Only the first can fail; after it the others
 * must follow. ATS is on at the device only while it is on in the entry.
 */
int arm_smmu_attach_prepare(struct arm_smmu_attach_state *state, struct iommu_domain *new_domain)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain_devices(new_domain);
	struct arm_smmu_master *master = state->master;
	int ret;

	/*
	 * A stream that bypasses or aborts by its configuration has no ATS; one that bypasses stage
	 * 1 by S1DSS has.
	 */
	if (smmu_domain || state->cd_needs_ats)
		state->ats_enabled = !state->disable_ats && arm_smmu_ats_supported(master);

	if (smmu_domain) {
		if (new_domain->type == IOMMU_DOMAIN_NESTED) {
			ret = arm_smmu_attach_prepare_vmaster(state,
							      to_smmu_nested_domain(new_domain));
			if (ret)
				return ret;
		}
		ret = arm_smmu_add_master_domain(state, smmu_domain, new_domain);
		if (ret) {
			kfree_obj(state->vmaster);
			state->vmaster = nullptr;
			return ret;
		}
	}

	if (!state->ats_enabled && master->ats_enabled)
		pci_disable_ats(to_pci_dev(master->dev));
	return 0;
}

void arm_smmu_attach_commit(struct arm_smmu_attach_state *state)
{
	struct arm_smmu_master *master = state->master;

	arm_smmu_attach_commit_vmaster(state);

	if (state->ats_enabled && !master->ats_enabled) {
		arm_smmu_enable_ats(master);
	} else if (state->ats_enabled) {
		/* the SMMU translates by the new domain; what the device has is of the old one */
		arm_smmu_atc_inv_master(master, state->ssid);
	} else if (master->ats_enabled) {
		arm_smmu_atc_inv_master(master, IOMMU_NO_PASID);
	}

	arm_smmu_remove_master_domain(master, state->old_domain, state->ssid);
	master->ats_enabled = state->ats_enabled;
}

static int arm_smmu_attach_dev(struct iommu_domain *domain, struct device *dev,
			       struct iommu_domain *old_domain)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain(domain);
	struct arm_smmu_master *master = dev_to_master(dev);
	struct arm_smmu_attach_state state = {.old_domain = old_domain, .master = master};
	struct arm_smmu_cd *cdptr = nullptr;
	struct arm_smmu_ste target;

	if (smmu_domain->smmu != master->smmu)
		return -EINVAL;

	if (smmu_domain->stage == ARM_SMMU_DOMAIN_S1) {
		cdptr = arm_smmu_alloc_cd_ptr(master, IOMMU_NO_PASID);
		if (!cdptr)
			return -ENOMEM;
	} else if (arm_smmu_ssids_in_use(&master->cd_table)) {
		return -EBUSY;
	}

	mutex_guard asid(&state.master->smmu->asid_lock);
	int ret = arm_smmu_attach_prepare(&state, domain);

	if (ret)
		return ret;
	if (cdptr) {
		struct arm_smmu_cd target_cd;

		arm_smmu_make_s1_cd(&target_cd, master, smmu_domain);
		arm_smmu_write_cd_entry(master, IOMMU_NO_PASID, cdptr, &target_cd);
		arm_smmu_make_cdtable_ste(&target, master, state.ats_enabled,
					  STRTAB_STE_1_S1DSS_SSID0);
		arm_smmu_install_ste_for_dev(master, &target);
	} else {
		arm_smmu_make_s2_domain_ste(&target, master, smmu_domain, state.ats_enabled);
		arm_smmu_install_ste_for_dev(master, &target);
		arm_smmu_clear_cd(master, IOMMU_NO_PASID);
	}
	arm_smmu_attach_commit(&state);
	return 0;
}

/* What the device itself has, as its entry shows it. Compare arm_smmu_update_ste(). */
static unsigned int arm_smmu_sid_s1dss(struct arm_smmu_master *master)
{
	const struct arm_smmu_ste *ste =
		arm_smmu_get_step_for_sid(master->smmu, master->streams[0].id);

	return FIELD_GET(STRTAB_STE_0_CFG, ste->data[0]) == STRTAB_STE_0_CFG_BYPASS
		       ? STRTAB_STE_1_S1DSS_BYPASS
		       : STRTAB_STE_1_S1DSS_TERMINATE;
}

static int arm_smmu_s1_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
				     ioasid_t pasid, struct iommu_domain *old)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain(domain);
	struct arm_smmu_master *master = dev_to_master(dev);
	struct arm_smmu_attach_state state = {.old_domain = old, .master = master, .ssid = pasid};
	const struct arm_smmu_ste *cur =
		arm_smmu_get_step_for_sid(master->smmu, master->streams[0].id);
	const u64 cfg = FIELD_GET(STRTAB_STE_0_CFG, cur->data[0]);
	struct arm_smmu_cd target_cd;
	struct arm_smmu_ste ste;

	if (smmu_domain->smmu != master->smmu || smmu_domain->stage != ARM_SMMU_DOMAIN_S1)
		return -EINVAL;
	/* a stage 2, or a guest's table, has no room for it */
	if (!master->cd_table.in_ste && cfg != STRTAB_STE_0_CFG_BYPASS &&
	    cfg != STRTAB_STE_0_CFG_ABORT)
		return -EINVAL;

	struct arm_smmu_cd *cdptr = arm_smmu_alloc_cd_ptr(master, pasid);

	if (!cdptr)
		return -ENOMEM;

	mutex_guard asid(&state.master->smmu->asid_lock);
	int ret = arm_smmu_attach_prepare(&state, domain);

	if (ret)
		return ret;
	arm_smmu_make_s1_cd(&target_cd, master, smmu_domain);
	arm_smmu_write_cd_entry(master, pasid, cdptr, &target_cd);
	/* a table where there was none: the device itself goes on as S1DSS says */
	if (!master->cd_table.in_ste || master->ste_ats_enabled != state.ats_enabled) {
		arm_smmu_make_cdtable_ste(&ste, master, state.ats_enabled,
					  master->cd_table.in_ste
						  ? FIELD_GET(STRTAB_STE_1_S1DSS, cur->data[1]) & 3
						  : arm_smmu_sid_s1dss(master));
		arm_smmu_install_ste_for_dev(master, &ste);
	}
	arm_smmu_attach_commit(&state);
	return 0;
}

static void arm_smmu_attach_dev_ste(struct iommu_domain *domain, struct iommu_domain *old_domain,
				    struct device *dev, struct arm_smmu_ste *ste,
				    unsigned int s1dss)
{
	struct arm_smmu_master *master = dev_to_master(dev);
	struct arm_smmu_attach_state state = {.old_domain = old_domain, .master = master};

	arm_smmu_master_clear_vmaster(master);
	{
		mutex_guard asid(&state.master->smmu->asid_lock);

		/* while PASIDs are in use the table stays; one of them may use ATS */
		state.cd_needs_ats = arm_smmu_ssids_in_use(&master->cd_table);
		WARN_ON(arm_smmu_attach_prepare(&state, domain));
		if (state.cd_needs_ats)
			arm_smmu_make_cdtable_ste(ste, master, state.ats_enabled, s1dss);
		arm_smmu_install_ste_for_dev(master, ste);
		arm_smmu_attach_commit(&state);
	}
	arm_smmu_clear_cd(master, IOMMU_NO_PASID);
	/* no entry leads to it: a device that nobody uses has nothing */
	if (!master->cd_table.in_ste && arm_smmu_cdtab_allocated(&master->cd_table))
		arm_smmu_free_cd_tables(master);
}

static int arm_smmu_attach_dev_identity(struct iommu_domain *domain, struct device *dev,
					struct iommu_domain *old_domain)
{
	struct arm_smmu_ste ste;

	arm_smmu_make_bypass_ste(dev_to_master(dev)->smmu, &ste);
	arm_smmu_attach_dev_ste(domain, old_domain, dev, &ste, STRTAB_STE_1_S1DSS_BYPASS);
	return 0;
}

static int arm_smmu_attach_dev_blocked(struct iommu_domain *domain, struct device *dev,
				       struct iommu_domain *old_domain)
{
	struct arm_smmu_ste ste;

	arm_smmu_make_abort_ste(&ste);
	arm_smmu_attach_dev_ste(domain, old_domain, dev, &ste, STRTAB_STE_1_S1DSS_TERMINATE);
	return 0;
}

static int arm_smmu_blocking_set_dev_pasid(struct iommu_domain *, struct device *dev,
					   ioasid_t pasid, struct iommu_domain *old_domain)
{
	struct arm_smmu_master *master = dev_to_master(dev);
	const struct arm_smmu_ste *cur =
		arm_smmu_get_step_for_sid(master->smmu, master->streams[0].id);

	{
		mutex_guard asid(&master->smmu->asid_lock);

		arm_smmu_clear_cd(master, pasid);
		if (master->ats_enabled)
			arm_smmu_atc_inv_master(master, pasid);
		arm_smmu_remove_master_domain(master, old_domain, pasid);
	}

	/* with the last PASID a device that has no table of its own gets its plain entry back */
	if (!arm_smmu_ssids_in_use(&master->cd_table)) {
		const u64 s1dss = FIELD_GET(STRTAB_STE_1_S1DSS, cur->data[1]);
		struct arm_smmu_device *smmu = master->smmu;

		if (s1dss == STRTAB_STE_1_S1DSS_BYPASS)
			return arm_smmu_attach_dev_identity(&smmu->identity_domain, dev,
							    &smmu->identity_domain);
		if (s1dss == STRTAB_STE_1_S1DSS_TERMINATE)
			return arm_smmu_attach_dev_blocked(&smmu->blocked_domain, dev,
							   &smmu->blocked_domain);
	}
	return 0;
}

static const struct iommu_domain_ops arm_smmu_identity_ops = {
	.attach_dev = arm_smmu_attach_dev_identity,
};

static const struct iommu_domain_ops arm_smmu_blocked_ops = {
	.attach_dev = arm_smmu_attach_dev_blocked,
	.set_dev_pasid = arm_smmu_blocking_set_dev_pasid,
};

/* ---- what the core calls of a paging domain ---- */

static int arm_smmu_map_pages(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			      size_t pgsize, size_t pgcount, int prot, gfp_t gfp, size_t *mapped)
{
	struct io_pgtable_ops *ops = to_smmu_domain(domain)->pgtbl_ops;

	return ops->map_pages(ops, iova, paddr, pgsize, pgcount, prot, gfp, mapped);
}

static size_t arm_smmu_unmap_pages(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
				   size_t pgcount, struct iommu_iotlb_gather *gather)
{
	struct io_pgtable_ops *ops = to_smmu_domain(domain)->pgtbl_ops;

	return ops->unmap_pages(ops, iova, pgsize, pgcount, gather);
}

static void arm_smmu_flush_iotlb_all(struct iommu_domain *domain)
{
	arm_smmu_tlb_inv_context(to_smmu_domain(domain));
}

/*
 * A range without a page size is one whose dirty state was cleared: its leaves have any size. The
 * kernel does nothing then, and misses the next write through a translation that is still cached.
 */
static void arm_smmu_iotlb_sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
	const size_t granule = gather->pgsize ? gather->pgsize
					      : 1UL << __ffs(domain->pgsize_bitmap);

	arm_smmu_domain_inv_range(to_smmu_domain(domain), gather->start,
				  gather->end - gather->start + 1, (unsigned int)granule,
				  gather->pgsize);
}

static phys_addr_t arm_smmu_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	struct io_pgtable_ops *ops = to_smmu_domain(domain)->pgtbl_ops;

	return ops->iova_to_phys(ops, iova);
}

static const struct iommu_domain_ops arm_smmu_default_domain_ops = {
	.attach_dev = arm_smmu_attach_dev,
	.set_dev_pasid = arm_smmu_s1_set_dev_pasid,
	.map_pages = arm_smmu_map_pages,
	.unmap_pages = arm_smmu_unmap_pages,
	.flush_iotlb_all = arm_smmu_flush_iotlb_all,
	.iotlb_sync = arm_smmu_iotlb_sync,
	.iova_to_phys = arm_smmu_iova_to_phys,
	.enforce_cache_coherency = arm_smmu_enforce_cache_coherency,
	.free = arm_smmu_domain_free_paging,
};

/* -EOPNOTSUPP: the hardware has no such stage. */
static int arm_smmu_domain_choose_stage(struct arm_smmu_domain *smmu_domain,
					const struct arm_smmu_device *smmu, u32 flags)
{
	const bool has_s1 = smmu->features & ARM_SMMU_FEAT_TRANS_S1;

	switch (flags) {
	case 0:
		smmu_domain->stage = has_s1 ? ARM_SMMU_DOMAIN_S1 : ARM_SMMU_DOMAIN_S2;
		return 0;
	case IOMMU_HWPT_ALLOC_NEST_PARENT:
		smmu_domain->stage = ARM_SMMU_DOMAIN_S2;
		smmu_domain->nest_parent = true;
		return smmu->features & ARM_SMMU_FEAT_NESTING ? 0 : -EOPNOTSUPP;
	case IOMMU_HWPT_ALLOC_DIRTY_TRACKING:
	case IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_PASID:
	case IOMMU_HWPT_ALLOC_PASID:
		smmu_domain->stage = ARM_SMMU_DOMAIN_S1;
		return has_s1 ? 0 : -EOPNOTSUPP;
	default:
		return -EOPNOTSUPP;
	}
}

static result<struct iommu_domain *>
arm_smmu_domain_alloc_paging_flags(struct device *dev, u32 flags,
				   const struct iommu_user_data *user_data)
{
	struct arm_smmu_device *smmu = dev_to_master(dev)->smmu;

	if (flags & ~(IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_PASID |
		      IOMMU_HWPT_ALLOC_NEST_PARENT))
		return -EOPNOTSUPP;
	if (user_data)
		return -EOPNOTSUPP;

	auto *smmu_domain = kzalloc_obj<struct arm_smmu_domain>();

	if (!smmu_domain)
		return -ENOMEM;
	smmu_domain->type = IOMMU_DOMAIN_UNMANAGED;
	smmu_domain->ops = &arm_smmu_default_domain_ops;

	int ret = arm_smmu_domain_choose_stage(smmu_domain, smmu, flags);

	if (!ret)
		ret = arm_smmu_domain_finalise(smmu_domain, smmu, flags);
	if (ret) {
		kfree_obj(smmu_domain);
		return ret;
	}
	return smmu_domain;
}

/* ---- masters ---- */

static bool arm_smmu_sid_in_range(const struct arm_smmu_device *smmu, u32 sid)
{
	if (smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB)
		return arm_smmu_strtab_l1_idx(sid) < smmu->strtab_cfg.l2.num_l1_ents;
	return sid < smmu->strtab_cfg.linear.num_ents;
}

static int arm_smmu_init_sid_strtab(struct arm_smmu_device *smmu, u32 sid)
{
	if (!arm_smmu_sid_in_range(smmu, sid))
		return -ERANGE;
	if (smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB)
		return arm_smmu_init_l2_strtab(smmu, sid);
	return 0;
}

static void arm_smmu_remove_streams(struct arm_smmu_master *master, unsigned int n)
{
	mutex_guard streams(&master->smmu->streams_mutex);

	while (n--)
		xa_erase(&master->smmu->streams, master->streams[n].id);
}

static int arm_smmu_insert_stream(struct arm_smmu_master *master, struct arm_smmu_stream *stream)
{
	struct arm_smmu_device *smmu = master->smmu;
	mutex_guard streams(&smmu->streams_mutex);

	int ret = arm_smmu_init_sid_strtab(smmu, stream->id);

	if (!ret)
		ret = xa_insert(&smmu->streams, stream->id, stream, GFP_KERNEL);
	if (ret != -EBUSY)
		return ret;
	dev_warn(master->dev, "Aliasing StreamID 0x%x unsupported, expect DMA to be broken",
		 stream->id);
	return -ENODEV;
}

static int arm_smmu_insert_master(struct arm_smmu_device *smmu, struct arm_smmu_master *master)
{
	const struct iommu_fwspec *fwspec = dev_iommu_fwspec_get(master->dev);

	master->smmu = smmu;
	master->streams = static_cast<struct arm_smmu_stream *>(
		kcalloc(fwspec->num_ids, sizeof(*master->streams), GFP_KERNEL));
	if (!master->streams)
		return -ENOMEM;
	master->num_streams = fwspec->num_ids;

	for (unsigned int i = 0; i < fwspec->num_ids; i++) {
		master->streams[i] = {fwspec->ids[i], master};
		if (int ret = arm_smmu_insert_stream(master, &master->streams[i])) {
			arm_smmu_remove_streams(master, i);
			kfree(master->streams);
			return ret;
		}
	}
	return 0;
}

static void arm_smmu_remove_master(struct arm_smmu_master *master)
{
	arm_smmu_remove_streams(master, master->num_streams);
	kfree(master->streams);
}

static result<struct iommu_device *> arm_smmu_probe_device(struct device *dev)
{
	auto *smmu = iommu_get_iommu_dev<struct arm_smmu_device>(dev);
	const struct iommu_fwspec *fwspec = dev_iommu_fwspec_get(dev);

	if (!fwspec || !fwspec->num_ids)
		return -ENODEV;
	if (WARN_ON_ONCE(dev_iommu_priv_get(dev)))
		return -EBUSY;

	auto *master = kzalloc_obj<struct arm_smmu_master>();

	if (!master)
		return -ENOMEM;
	master->dev = dev;
	if (int ret = arm_smmu_insert_master(smmu, master)) {
		kfree_obj(master);
		return ret;
	}
	dev_iommu_priv_set(dev, master);

	if (dev_is_pci(dev) && to_pci_dev(dev)->max_pasids)
		master->ssid_bits = min(ilog2(to_pci_dev(dev)->max_pasids), smmu->ssid_bits);
	if (!(smmu->features & ARM_SMMU_FEAT_2_LVL_CDTAB))
		master->ssid_bits = min_t(unsigned int, master->ssid_bits, CTXDESC_LINEAR_CDMAX);
	if (master->ssid_bits)
		dev->iommu->max_pasids = 1u << master->ssid_bits;

	master->stall_enabled = (smmu->features & ARM_SMMU_FEAT_STALLS &&
				 fwspec->flags & IOMMU_FWSPEC_DMA_CAN_STALL) ||
				smmu->features & ARM_SMMU_FEAT_STALL_FORCE;
	dev->iommu->isolated_msi = true;
	return smmu;
}

static void arm_smmu_release_device(struct device *dev)
{
	struct arm_smmu_master *master = dev_to_master(dev);
	struct arm_smmu_ste ste;

	WARN_ON(master->iopf_refcount);
	/* nothing may go on through it: 7.2 has the core's blocked domain for that */
	arm_smmu_make_abort_ste(&ste);
	arm_smmu_install_ste_for_dev(master, &ste);
	arm_smmu_remove_master(master);
	if (arm_smmu_cdtab_allocated(&master->cd_table))
		arm_smmu_free_cd_tables(master);
	kfree_obj(master);
	dev_iommu_priv_set(dev, nullptr);
}

static result<struct iommu_group *> arm_smmu_device_group(struct device *dev)
{
	return generic_device_group(dev);
}

static void arm_smmu_get_resv_regions(struct device *, struct list_head *head)
{
	struct iommu_resv_region *region = iommu_alloc_resv_region(
		MSI_IOVA_BASE, MSI_IOVA_LENGTH, IOMMU_WRITE | IOMMU_NOEXEC | IOMMU_MMIO,
		IOMMU_RESV_SW_MSI, GFP_KERNEL);

	if (region)
		list_add_tail(&region->list, head);
}

static const struct iommu_ops arm_smmu_ops = {
	.capable = arm_smmu_capable,
	.hw_info = arm_smmu_hw_info,
	.hw_info_v2 = arm_smmu_hw_info_v2,
	.domain_alloc_paging_flags = arm_smmu_domain_alloc_paging_flags,
	.probe_device = arm_smmu_probe_device,
	.release_device = arm_smmu_release_device,
	.device_group = arm_smmu_device_group,
	.get_resv_regions = arm_smmu_get_resv_regions,
	.page_response = arm_smmu_page_response,
	.viommu_alloc = arm_vsmmu_alloc,
	.get_viommu_struct = arm_smmu_get_viommu_struct,
	.viommu_init = arm_vsmmu_init,
	.default_domain_ops = &arm_smmu_default_domain_ops,
	.user_pasid_table = true,
};

/* ---- structures ---- */

int arm_smmu_init_one_queue(struct arm_smmu_device *smmu, struct arm_smmu_queue *q, iomem page,
			    unsigned long prod_off, unsigned long cons_off, size_t dwords,
			    const char *name)
{
	size_t qsz;

	for (;; q->llq.max_n_shift--) {
		qsz = (dwords << q->llq.max_n_shift) << 3;
		q->base = static_cast<u64 *>(
			dma_alloc_coherent(smmu->dev, qsz, &q->base_dma, GFP_KERNEL));
		if (q->base || qsz <= PAGE_SIZE)
			break;
	}
	if (!q->base) {
		dev_err(smmu->dev, "failed to allocate queue (0x%zx bytes) for %s", qsz, name);
		return -ENOMEM;
	}
	WARN_ON(q->base_dma & (qsz - 1));
	dev_info(smmu->dev, "allocated %u entries for %s", 1u << q->llq.max_n_shift, name);

	q->prod_reg = page + prod_off;
	q->cons_reg = page + cons_off;
	q->ent_dwords = dwords;
	q->q_base = Q_BASE_RWA | (q->base_dma & Q_BASE_ADDR_MASK) |
		    FIELD_PREP(Q_BASE_LOG2SIZE, q->llq.max_n_shift);
	q->llq.prod = q->llq.cons = 0;
	return 0;
}

void arm_smmu_free_queue(struct arm_smmu_device *smmu, struct arm_smmu_queue *q)
{
	dma_free_coherent(smmu->dev, (q->ent_dwords << q->llq.max_n_shift) << 3, q->base,
			  q->base_dma);
	q->base = nullptr;
}

static int arm_smmu_init_queues(struct arm_smmu_device *smmu)
{
	int ret = arm_smmu_init_one_queue(smmu, &smmu->cmdq.q, smmu->base, ARM_SMMU_CMDQ_PROD,
					  ARM_SMMU_CMDQ_CONS, CMDQ_ENT_DWORDS, "cmdq");

	if (!ret)
		ret = arm_smmu_init_one_queue(smmu, &smmu->evtq.q, smmu->page1, ARM_SMMU_EVTQ_PROD,
					      ARM_SMMU_EVTQ_CONS, EVTQ_ENT_DWORDS, "evtq");
	if (!ret && smmu->features & ARM_SMMU_FEAT_STALLS) {
		smmu->evtq.iopf = iopf_queue_alloc(dev_name(smmu->dev));
		if (!smmu->evtq.iopf)
			ret = -ENOMEM;
	}
	if (!ret && smmu->features & ARM_SMMU_FEAT_PRI)
		ret = arm_smmu_init_one_queue(smmu, &smmu->priq.q, smmu->page1, ARM_SMMU_PRIQ_PROD,
					      ARM_SMMU_PRIQ_CONS, PRIQ_ENT_DWORDS, "priq");
	return ret;
}

static int arm_smmu_init_strtab_2lvl(struct arm_smmu_device *smmu)
{
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;
	const u32 last_sid_idx = arm_smmu_strtab_l1_idx((u32)((1ULL << smmu->sid_bits) - 1));

	cfg->l2.num_l1_ents = min(last_sid_idx + 1, STRTAB_MAX_L1_ENTRIES);
	if (cfg->l2.num_l1_ents <= last_sid_idx)
		dev_warn(smmu->dev, "2-level strtab only covers %u/%u bits of SID",
			 ilog2(cfg->l2.num_l1_ents * STRTAB_NUM_L2_STES), smmu->sid_bits);

	cfg->l2.l1tab = static_cast<struct arm_smmu_strtab_l1 *>(
		dma_alloc_coherent(smmu->dev, cfg->l2.num_l1_ents * sizeof(*cfg->l2.l1tab),
				   &cfg->l2.l1_dma, GFP_KERNEL));
	if (!cfg->l2.l1tab)
		return -ENOMEM;
	cfg->l2.l2ptrs = static_cast<struct arm_smmu_strtab_l2 **>(
		kcalloc(cfg->l2.num_l1_ents, sizeof(*cfg->l2.l2ptrs), GFP_KERNEL));
	return cfg->l2.l2ptrs ? 0 : -ENOMEM;
}

static int arm_smmu_init_strtab_linear(struct arm_smmu_device *smmu)
{
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;
	const unsigned int num_ents = 1u << smmu->sid_bits;

	cfg->linear.table = static_cast<struct arm_smmu_ste *>(
		dma_alloc_coherent(smmu->dev, num_ents * sizeof(struct arm_smmu_ste),
				   &cfg->linear.ste_dma, GFP_KERNEL));
	if (!cfg->linear.table)
		return -ENOMEM;
	cfg->linear.num_ents = num_ents;
	arm_smmu_init_initial_stes(cfg->linear.table, num_ents);
	return 0;
}

static void arm_smmu_free_strtab(struct arm_smmu_device *smmu)
{
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;

	dma_free_coherent(smmu->dev, cfg->linear.num_ents * sizeof(struct arm_smmu_ste),
			  cfg->linear.table, cfg->linear.ste_dma);
	for (unsigned int i = 0; cfg->l2.l2ptrs && i < cfg->l2.num_l1_ents; i++)
		dma_free_coherent(smmu->dev, sizeof(struct arm_smmu_strtab_l2), cfg->l2.l2ptrs[i],
				  0);
	kfree(cfg->l2.l2ptrs);
	dma_free_coherent(smmu->dev, cfg->l2.num_l1_ents * sizeof(*cfg->l2.l1tab), cfg->l2.l1tab,
			  cfg->l2.l1_dma);
}

static int arm_smmu_init_strtab(struct arm_smmu_device *smmu)
{
	int ret = smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB ? arm_smmu_init_strtab_2lvl(smmu)
							      : arm_smmu_init_strtab_linear(smmu);

	if (ret)
		dev_err(smmu->dev, "failed to allocate the stream table");
	return ret;
}

static int arm_smmu_init_structures(struct arm_smmu_device *smmu)
{
	int ret = arm_smmu_init_queues(smmu);

	if (!ret)
		ret = arm_smmu_init_strtab(smmu);
	if (!ret && smmu->impl_ops && smmu->impl_ops->init_structures)
		ret = smmu->impl_ops->init_structures(smmu);
	return ret;
}

/* ---- the device ---- */

static int arm_smmu_write_reg_sync(struct arm_smmu_device *smmu, u32 val, unsigned int reg_off,
				   unsigned int ack_off)
{
	u32 reg;

	writel_relaxed(val, smmu->base + reg_off);
	return readl_relaxed_poll_timeout(smmu->base + ack_off, reg, reg == val, 1,
					  ARM_SMMU_POLL_TIMEOUT_US);
}

static int arm_smmu_update_gbpa(struct arm_smmu_device *smmu, u32 set, u32 clr)
{
	const iomem gbpa = smmu->base + ARM_SMMU_GBPA;
	u32 reg;
	int ret = readl_relaxed_poll_timeout(gbpa, reg, !(reg & GBPA_UPDATE), 1,
					     ARM_SMMU_POLL_TIMEOUT_US);

	if (ret)
		return ret;
	writel_relaxed((reg & ~clr) | set | (u32)GBPA_UPDATE, gbpa);
	ret = readl_relaxed_poll_timeout(gbpa, reg, !(reg & GBPA_UPDATE), 1,
					 ARM_SMMU_POLL_TIMEOUT_US);
	if (ret)
		dev_err(smmu->dev, "GBPA not responding to update");
	return ret;
}

static void arm_smmu_request_irq(struct arm_smmu_device *smmu, unsigned int slot, unsigned int irq,
				 irq_handler_t handler, irq_handler_t thread_fn, const char *name)
{
	if (!irq)
		dev_warn(smmu->dev, "no irq for %s", name);
	else if (request_threaded_irq(irq, handler, thread_fn, IRQF_ONESHOT, name, smmu))
		dev_warn(smmu->dev, "failed to enable %s", name);
	else
		smmu->requested_irqs[slot] = irq;
}

static void arm_smmu_setup_unique_irqs(struct arm_smmu_device *smmu)
{
	arm_smmu_request_irq(smmu, 0, smmu->evtq.q.irq, nullptr, arm_smmu_evtq_thread,
			     "arm-smmu-v3-evtq");
	arm_smmu_request_irq(smmu, 1, smmu->gerr_irq, arm_smmu_gerror_handler, nullptr,
			     "arm-smmu-v3-gerror");
	if (smmu->features & ARM_SMMU_FEAT_PRI)
		arm_smmu_request_irq(smmu, 2, smmu->priq.q.irq, nullptr, arm_smmu_priq_thread,
				     "arm-smmu-v3-priq");
}

static int arm_smmu_setup_irqs(struct arm_smmu_device *smmu)
{
	u32 irqen_flags = IRQ_CTRL_EVTQ_IRQEN | IRQ_CTRL_GERROR_IRQEN;
	int ret = arm_smmu_write_reg_sync(smmu, 0, ARM_SMMU_IRQ_CTRL, ARM_SMMU_IRQ_CTRLACK);

	if (ret) {
		dev_err(smmu->dev, "failed to disable irqs");
		return ret;
	}
	if (smmu->combined_irq)
		arm_smmu_request_irq(smmu, 3, smmu->combined_irq, arm_smmu_combined_irq_handler,
				     arm_smmu_combined_irq_thread, "arm-smmu-v3-combined-irq");
	else
		arm_smmu_setup_unique_irqs(smmu);

	if (smmu->features & ARM_SMMU_FEAT_PRI)
		irqen_flags |= IRQ_CTRL_PRIQ_IRQEN;
	if (arm_smmu_write_reg_sync(smmu, irqen_flags, ARM_SMMU_IRQ_CTRL, ARM_SMMU_IRQ_CTRLACK))
		dev_warn(smmu->dev, "failed to enable irqs");
	return 0;
}

static int arm_smmu_device_disable(struct arm_smmu_device *smmu)
{
	int ret = arm_smmu_write_reg_sync(smmu, 0, ARM_SMMU_CR0, ARM_SMMU_CR0ACK);

	if (ret)
		dev_err(smmu->dev, "failed to clear cr0");
	return ret;
}

static void arm_smmu_write_strtab(struct arm_smmu_device *smmu)
{
	const struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;
	dma_addr_t dma;
	u64 reg;

	if (smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB) {
		reg = FIELD_PREP(STRTAB_BASE_CFG_FMT, STRTAB_BASE_CFG_FMT_2LVL) |
		      FIELD_PREP(STRTAB_BASE_CFG_LOG2SIZE,
				 ilog2(cfg->l2.num_l1_ents) + STRTAB_SPLIT) |
		      FIELD_PREP(STRTAB_BASE_CFG_SPLIT, STRTAB_SPLIT);
		dma = cfg->l2.l1_dma;
	} else {
		reg = FIELD_PREP(STRTAB_BASE_CFG_FMT, STRTAB_BASE_CFG_FMT_LINEAR) |
		      FIELD_PREP(STRTAB_BASE_CFG_LOG2SIZE, smmu->sid_bits);
		dma = cfg->linear.ste_dma;
	}
	writeq_relaxed((dma & STRTAB_BASE_ADDR_MASK) | STRTAB_BASE_RA,
		       smmu->base + ARM_SMMU_STRTAB_BASE);
	writel_relaxed((u32)reg, smmu->base + ARM_SMMU_STRTAB_BASE_CFG);
}

/* One more bit of CR0. */
static int arm_smmu_enable(struct arm_smmu_device *smmu, u32 *enables, u32 bit, const char *what)
{
	*enables |= bit;

	int ret = arm_smmu_write_reg_sync(smmu, *enables, ARM_SMMU_CR0, ARM_SMMU_CR0ACK);

	if (ret)
		dev_err(smmu->dev, "failed to enable %s", what);
	return ret;
}

static int arm_smmu_reset_cmdq(struct arm_smmu_device *smmu, u32 *enables)
{
	const struct arm_smmu_queue *q = &smmu->cmdq.q;

	writeq_relaxed(q->q_base, smmu->base + ARM_SMMU_CMDQ_BASE);
	writel_relaxed(q->llq.prod, smmu->base + ARM_SMMU_CMDQ_PROD);
	writel_relaxed(q->llq.cons, smmu->base + ARM_SMMU_CMDQ_CONS);
	if (int ret = arm_smmu_enable(smmu, enables, CR0_CMDQEN, "command queue"))
		return ret;

	/* what may be cached from before */
	arm_smmu_cmdq_issue_cmd_with_sync(smmu, arm_smmu_make_cmd_cfgi_all());
	if (smmu->features & ARM_SMMU_FEAT_HYP)
		arm_smmu_cmdq_issue_cmd_with_sync(smmu, arm_smmu_make_cmd_op(CMDQ_OP_TLBI_EL2_ALL));
	arm_smmu_cmdq_issue_cmd_with_sync(smmu, arm_smmu_make_cmd_op(CMDQ_OP_TLBI_NSNH_ALL));
	return 0;
}

static int arm_smmu_reset_evtq(struct arm_smmu_device *smmu, u32 *enables)
{
	const struct arm_smmu_queue *q = &smmu->evtq.q;

	writeq_relaxed(q->q_base, smmu->base + ARM_SMMU_EVTQ_BASE);
	writel_relaxed(q->llq.prod, smmu->page1 + ARM_SMMU_EVTQ_PROD);
	writel_relaxed(q->llq.cons, smmu->page1 + ARM_SMMU_EVTQ_CONS);
	return arm_smmu_enable(smmu, enables, CR0_EVTQEN, "event queue");
}

static int arm_smmu_reset_priq(struct arm_smmu_device *smmu, u32 *enables)
{
	const struct arm_smmu_queue *q = &smmu->priq.q;

	if (!(smmu->features & ARM_SMMU_FEAT_PRI))
		return 0;
	writeq_relaxed(q->q_base, smmu->base + ARM_SMMU_PRIQ_BASE);
	writel_relaxed(q->llq.prod, smmu->page1 + ARM_SMMU_PRIQ_PROD);
	writel_relaxed(q->llq.cons, smmu->page1 + ARM_SMMU_PRIQ_CONS);
	return arm_smmu_enable(smmu, enables, CR0_PRIQEN, "PRI queue");
}

static int arm_smmu_device_reset(struct arm_smmu_device *smmu)
{
	u32 enables = 0;
	int ret;

	if (readl_relaxed(smmu->base + ARM_SMMU_CR0) & CR0_SMMUEN) {
		dev_warn(smmu->dev, "SMMU currently enabled! Resetting...");
		arm_smmu_update_gbpa(smmu, GBPA_ABORT, 0);
	}
	ret = arm_smmu_device_disable(smmu);
	if (ret)
		return ret;

	writel_relaxed((u32)(FIELD_PREP(CR1_TABLE_SH, ARM_SMMU_SH_ISH) |
			     FIELD_PREP(CR1_TABLE_OC, CR1_CACHE_WB) |
			     FIELD_PREP(CR1_TABLE_IC, CR1_CACHE_WB) |
			     FIELD_PREP(CR1_QUEUE_SH, ARM_SMMU_SH_ISH) |
			     FIELD_PREP(CR1_QUEUE_OC, CR1_CACHE_WB) |
			     FIELD_PREP(CR1_QUEUE_IC, CR1_CACHE_WB)),
		       smmu->base + ARM_SMMU_CR1);
	writel_relaxed(CR2_PTM | CR2_RECINVSID, smmu->base + ARM_SMMU_CR2);
	arm_smmu_write_strtab(smmu);

	ret = arm_smmu_reset_cmdq(smmu, &enables);
	if (!ret)
		ret = arm_smmu_reset_evtq(smmu, &enables);
	if (!ret)
		ret = arm_smmu_reset_priq(smmu, &enables);
	if (!ret && smmu->features & ARM_SMMU_FEAT_ATS)
		ret = arm_smmu_enable(smmu, &enables, CR0_ATSCHK, "ATS check");
	if (!ret)
		ret = arm_smmu_setup_irqs(smmu);
	if (!ret)
		ret = arm_smmu_enable(smmu, &enables, CR0_SMMUEN, "SMMU interface");
	if (ret)
		return ret;

	if (smmu->impl_ops && smmu->impl_ops->device_reset) {
		ret = smmu->impl_ops->device_reset(smmu);
		if (ret)
			dev_err(smmu->dev, "failed to reset impl");
	}
	return ret;
}

/* Known hardware with known mistakes. */
static void arm_smmu_device_iidr_probe(struct arm_smmu_device *smmu)
{
	const u32 reg = readl_relaxed(smmu->base + ARM_SMMU_IIDR);
	const u32 implementer = reg & 0xfff, revision = reg >> 12 & 0xf, variant = reg >> 16 & 0xf,
		  productid = reg >> 20;

	if (implementer != 0x43b)
		return;
	if (productid == 0x483) { /* MMU-600 */
		if (!variant && revision <= 2)
			smmu->features &= ~ARM_SMMU_FEAT_SEV;
		if (variant < 2)
			smmu->features &= ~ARM_SMMU_FEAT_NESTING;
	} else if (productid == 0x487 && (variant < 1 || revision < 1)) { /* MMU-700 */
		smmu->features &= ~ARM_SMMU_FEAT_NESTING;
	}
}

static int arm_smmu_probe_idr0(struct arm_smmu_device *smmu)
{
	const u32 reg = readl_relaxed(smmu->base + ARM_SMMU_IDR0);
	static const struct {
		unsigned long bit;
		u32 feature;
	} bits[] = {
		{IDR0_CD2L, ARM_SMMU_FEAT_2_LVL_CDTAB}, {IDR0_PRI, ARM_SMMU_FEAT_PRI},
		{IDR0_ATS, ARM_SMMU_FEAT_ATS},		{IDR0_SEV, ARM_SMMU_FEAT_SEV},
		{IDR0_MSI, ARM_SMMU_FEAT_MSI},		{IDR0_HYP, ARM_SMMU_FEAT_HYP},
		{IDR0_S1P, ARM_SMMU_FEAT_TRANS_S1},	{IDR0_S2P, ARM_SMMU_FEAT_TRANS_S2},
	};

	if (FIELD_GET(IDR0_ST_LVL, reg) == IDR0_ST_LVL_2LVL)
		smmu->features |= ARM_SMMU_FEAT_2_LVL_STRTAB;

	switch (FIELD_GET(IDR0_TTENDIAN, reg)) {
	case IDR0_TTENDIAN_MIXED:
		smmu->features |= ARM_SMMU_FEAT_TT_LE | ARM_SMMU_FEAT_TT_BE;
		break;
	case IDR0_TTENDIAN_LE:
		smmu->features |= ARM_SMMU_FEAT_TT_LE;
		break;
	default:
		dev_err(smmu->dev, "unknown/unsupported TT endianness!");
		return -ENXIO;
	}

	for (const auto &b : bits)
		if (reg & b.bit)
			smmu->features |= b.feature;

	const u64 httu = FIELD_GET(IDR0_HTTU, reg);

	if (httu >= IDR0_HTTU_ACCESS)
		smmu->features |= ARM_SMMU_FEAT_HA;
	if (httu >= IDR0_HTTU_ACCESS_DIRTY)
		smmu->features |= ARM_SMMU_FEAT_HD;

	/* firmware knows better */
	if (!!(reg & IDR0_COHACC) != !!(smmu->features & ARM_SMMU_FEAT_COHERENCY))
		dev_warn(smmu->dev, "IDR0.COHACC overridden by FW configuration");

	const u64 stall = FIELD_GET(IDR0_STALL_MODEL, reg);

	if (stall == IDR0_STALL_MODEL_FORCE)
		smmu->features |= ARM_SMMU_FEAT_STALL_FORCE;
	if (stall == IDR0_STALL_MODEL_STALL || stall == IDR0_STALL_MODEL_FORCE)
		smmu->features |= ARM_SMMU_FEAT_STALLS;

	if (!(reg & (IDR0_S1P | IDR0_S2P))) {
		dev_err(smmu->dev, "no translation support!");
		return -ENXIO;
	}
	if (!(FIELD_GET(IDR0_TTF, reg) & IDR0_TTF_AARCH64)) {
		dev_err(smmu->dev, "AArch64 table format not supported!");
		return -ENXIO;
	}
	smmu->asid_bits = reg & IDR0_ASID16 ? 16 : 8;
	smmu->vmid_bits = reg & IDR0_VMID16 ? 16 : 8;
	return 0;
}

static int arm_smmu_probe_idr1(struct arm_smmu_device *smmu)
{
	const u32 reg = readl_relaxed(smmu->base + ARM_SMMU_IDR1);

	if (reg & (IDR1_TABLES_PRESET | IDR1_QUEUES_PRESET | IDR1_REL)) {
		dev_err(smmu->dev, "embedded implementation not supported");
		return -ENXIO;
	}
	if (reg & IDR1_ATTR_TYPES_OVR)
		smmu->features |= ARM_SMMU_FEAT_ATTR_TYPES_OVR;

	smmu->cmdq.q.llq.max_n_shift =
		min_t(u32, CMDQ_MAX_SZ_SHIFT, (u32)FIELD_GET(IDR1_CMDQS, reg));
	if (smmu->cmdq.q.llq.max_n_shift <= ilog2(CMDQ_BATCH_ENTRIES)) {
		/* a batch and its SYNC must fit */
		dev_err(smmu->dev, "command queue size <= %d entries not supported",
			CMDQ_BATCH_ENTRIES);
		return -ENXIO;
	}
	smmu->evtq.q.llq.max_n_shift =
		min_t(u32, EVTQ_MAX_SZ_SHIFT, (u32)FIELD_GET(IDR1_EVTQS, reg));
	smmu->priq.q.llq.max_n_shift =
		min_t(u32, PRIQ_MAX_SZ_SHIFT, (u32)FIELD_GET(IDR1_PRIQS, reg));

	smmu->ssid_bits = (u32)FIELD_GET(IDR1_SSIDSIZE, reg);
	smmu->sid_bits = (u32)FIELD_GET(IDR1_SIDSIZE, reg);
	smmu->max_pasids = 1u << smmu->ssid_bits;

	/* less than one table of the second level */
	if (smmu->sid_bits <= STRTAB_SPLIT)
		smmu->features &= ~ARM_SMMU_FEAT_2_LVL_STRTAB;
	return 0;
}

static void arm_smmu_probe_idr5(struct arm_smmu_device *smmu)
{
	static const u8 oas[] = {32, 36, 40, 42, 44, 48, 52};
	const u32 reg = readl_relaxed(smmu->base + ARM_SMMU_IDR5);
	const u64 size = FIELD_GET(IDR5_OAS, reg);

	smmu->evtq.max_stalls = (u32)FIELD_GET(IDR5_STALL_MAX, reg);
	if (reg & IDR5_GRAN64K)
		smmu->pgsize_bitmap |= SZ_64K | SZ_512M;
	if (reg & IDR5_GRAN16K)
		smmu->pgsize_bitmap |= SZ_16K | SZ_32M;
	if (reg & IDR5_GRAN4K)
		smmu->pgsize_bitmap |= SZ_4K | SZ_2M | SZ_1G;
	if (FIELD_GET(IDR5_VAX, reg) == IDR5_VAX_52_BIT)
		smmu->features |= ARM_SMMU_FEAT_VAX;
	if (size == IDR5_OAS_52_BIT)
		smmu->pgsize_bitmap |= 1UL << 42;
	if (size >= ARRAY_SIZE(oas))
		dev_info(smmu->dev, "unknown output address size. Truncating to 48-bit");
	smmu->oas = size < ARRAY_SIZE(oas) ? oas[size] : 48;
}

static int arm_smmu_device_hw_probe(struct arm_smmu_device *smmu)
{
	int ret = arm_smmu_probe_idr0(smmu);

	if (!ret)
		ret = arm_smmu_probe_idr1(smmu);
	if (ret)
		return ret;

	const u32 idr3 = readl_relaxed(smmu->base + ARM_SMMU_IDR3);

	if (idr3 & IDR3_RIL)
		smmu->features |= ARM_SMMU_FEAT_RANGE_INV;
	if (idr3 & IDR3_FWB)
		smmu->features |= ARM_SMMU_FEAT_S2FWB;
	arm_smmu_probe_idr5(smmu);

	if (smmu->features & ARM_SMMU_FEAT_TRANS_S1 && smmu->features & ARM_SMMU_FEAT_TRANS_S2)
		smmu->features |= ARM_SMMU_FEAT_NESTING;
	arm_smmu_device_iidr_probe(smmu);

	dev_info(smmu->dev, "oas %u-bit (features 0x%08x)", smmu->oas, smmu->features);
	return 0;
}

/* The SMMU's memory: with a CMDQV it is the first part of that. */
static result<struct arm_smmu_device *> arm_smmu_impl_probe(struct device *dev,
							    const struct arm_smmu_platform *pdata)
{
	if (pdata->cmdqv_dev) {
		auto smmu = tegra241_cmdqv_probe(dev, pdata);

		if (smmu || smmu.error() == -ENOMEM)
			return smmu;
		dev_info(pdata->cmdqv_dev, "Falling back to standard SMMU CMDQ");
	}

	auto *smmu = kzalloc_obj<struct arm_smmu_device>();

	if (!smmu)
		return -ENOMEM;
	return smmu;
}

static int arm_smmu_device_setup(struct arm_smmu_device *smmu, struct device *dev,
				 const struct arm_smmu_platform *pdata)
{
	smmu->base = ioremap(pdata->base, ARM_SMMU_REG_SZ);
	smmu->page1 = ioremap(pdata->base + SZ_64K, ARM_SMMU_REG_SZ);
	if (!smmu->base || !smmu->page1) {
		dev_err(dev, "MMIO region too small");
		return -EINVAL;
	}
	smmu->combined_irq = pdata->combined_irq;
	smmu->evtq.q.irq = pdata->evtq_irq;
	smmu->priq.q.irq = pdata->priq_irq;
	smmu->gerr_irq = pdata->gerr_irq;
	if (pdata->coherent)
		smmu->features |= ARM_SMMU_FEAT_COHERENCY;

	int ret = arm_smmu_device_hw_probe(smmu);

	if (!ret)
		ret = arm_smmu_init_structures(smmu);
	if (!ret)
		ret = arm_smmu_device_reset(smmu);
	return ret;
}

/* Everything that probing made, as far as it came. */
static void arm_smmu_device_free(struct arm_smmu_device *smmu)
{
	for (unsigned int irq : smmu->requested_irqs)
		if (irq)
			free_irq(irq, smmu);
	arm_smmu_free_strtab(smmu);
	iopf_queue_free(smmu->evtq.iopf);
	arm_smmu_free_queue(smmu, &smmu->priq.q);
	arm_smmu_free_queue(smmu, &smmu->evtq.q);
	arm_smmu_free_queue(smmu, &smmu->cmdq.q);
	if (smmu->impl_ops && smmu->impl_ops->device_remove)
		smmu->impl_ops->device_remove(smmu);
	if (smmu->options & ARM_SMMU_OPT_TEGRA241_CMDQV)
		tegra241_cmdqv_free(smmu);
	else
		kfree_obj(smmu);
}

result<struct arm_smmu_device *> arm_smmu_device_probe(struct device *dev,
						       const struct arm_smmu_platform *pdata)
{
	auto made = arm_smmu_impl_probe(dev, pdata);

	if (!made)
		return made;
	struct arm_smmu_device *smmu = *made;

	smmu->dev = dev;
	smmu->identity_domain.type = IOMMU_DOMAIN_IDENTITY;
	smmu->identity_domain.ops = &arm_smmu_identity_ops;
	smmu->blocked_domain.type = IOMMU_DOMAIN_BLOCKED;
	smmu->blocked_domain.ops = &arm_smmu_blocked_ops;
	smmu->iommu_ops = arm_smmu_ops;
	smmu->iommu_ops.identity_domain = &smmu->identity_domain;
	smmu->iommu_ops.blocked_domain = &smmu->blocked_domain;

	int ret = arm_smmu_device_setup(smmu, dev, pdata);

	if (!ret)
		ret = iommu_device_register(smmu, &smmu->iommu_ops, dev);
	if (ret) {
		if (smmu->base)
			arm_smmu_device_disable(smmu);
		arm_smmu_device_free(smmu);
		return ret;
	}
	return smmu;
}

void arm_smmu_device_remove(struct arm_smmu_device *smmu)
{
	iommu_device_unregister(smmu);
	/* while the command queue is still up */
	if (smmu->impl_ops && smmu->impl_ops->device_disable)
		smmu->impl_ops->device_disable(smmu);
	arm_smmu_device_disable(smmu);
	WARN_ON(!xa_empty(&smmu->streams) || !xa_empty(&smmu->asid_xa) ||
		!ida_is_empty(&smmu->vmid_map));
	arm_smmu_device_free(smmu);
}
