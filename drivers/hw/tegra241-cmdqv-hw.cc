// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model of Tegra241's CMDQV: see tegra241-cmdqv-hw.h. No kernel counterpart.
 */
#include "drivers/hw/tegra241-cmdqv-hw.h"

#include <new>

#include "core/linux/printk.h"
#include "core/mm/mm.h"
#include "drivers/hw/hw-mem.h"

using CMDQ_ALLOC_MAP = cmdqv_regs::CMDQ_ALLOC_MAP;
using VCMDQ_CONS = vcmdq_regs::CONS;
using VCMDQ_PROD = vcmdq_regs::PROD;
using VCMDQ_CONFIG = vcmdq_regs::CONFIG;
using VCMDQ_STATUS = vcmdq_regs::STATUS;
using VCMDQ_GERROR = vcmdq_regs::GERROR;
using VCMDQ_GERRORN = vcmdq_regs::GERRORN;
using VCMDQ_BASE = vcmdq_regs::BASE;
using VINTF_CONFIG = vintf_regs::CONFIG;
using VINTF_STATUS = vintf_regs::STATUS;
using SID_MATCH = vintf_regs::SID_MATCH;
using SID_REPLACE = vintf_regs::SID_REPLACE;

#define VINTF_PAGE0_ORDER 4 /* 64K */

static void assign_map(u64 *map, u32 i, bool on)
{
	map[i / 64] = (map[i / 64] & ~BIT_ULL(i % 64)) | (u64)on << (i % 64);
}

/* The caller came by way of the SMMU, whose lock the analysis knows by another name. */
static void smmu_lock_is_held(const struct tegra241_cmdqv_hw *cmdqv)
	__assumes_lock(cmdqv->smmu->lock)
{
	(void)cmdqv;
}

/* ---- registers of a VCMDQ, and what a client sees of them ---- */

/*
 * Each change of a register of page 0 goes through here. @seen: the client stored *@seen, which is
 * put right where it is wrong, but never over what it stores meanwhile.
 */
template <class R>
static void set_page0(struct tegra241_vcmdq_hw *q, const R &r, const u32 *seen = nullptr)
{
	u32 *shared = q->shared ? &q->shared[R::offset / 4] : nullptr;
	u32 old = seen ? *seen : 0;

	q->page0.set(r);
	if (!shared)
		return;
	if (!seen)
		smp_store_release(shared, r.raw);
	else if (old != r.raw)
		__atomic_compare_exchange_n(shared, &old, r.raw, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED);
}

static bool is_allocated(const struct tegra241_cmdqv_hw *cmdqv, u32 qidx)
	__must_hold(cmdqv->smmu->lock)
{
	return CMDQ_ALLOC_MAP::ALLOC::get(cmdqv->regs.get<CMDQ_ALLOC_MAP>(qidx));
}

static u32 vintf_of(const struct tegra241_cmdqv_hw *cmdqv, u32 qidx) __must_hold(cmdqv->smmu->lock)
{
	return CMDQ_ALLOC_MAP::VINTF::get(cmdqv->regs.get<CMDQ_ALLOC_MAP>(qidx));
}

static bool vintf_enabled(const struct tegra241_cmdqv_hw *cmdqv, u32 vidx)
	__must_hold(cmdqv->smmu->lock)
{
	return VINTF_STATUS::ENABLE_OK::get(cmdqv->vintfs[vidx].regs.get<VINTF_STATUS>());
}

static u8 queue_log2(const struct tegra241_vcmdq_hw *q)
{
	return (u8)VCMDQ_BASE::LOG2SIZE::get(q->page1.get<VCMDQ_BASE>());
}

static bool is_running(const struct tegra241_vcmdq_hw *q)
{
	return VCMDQ_STATUS::EN_OK::get(q->page0.get<VCMDQ_STATUS>());
}

static u32 active_errors(const struct tegra241_vcmdq_hw *q)
{
	return (q->page0.get<VCMDQ_GERROR>().raw ^ q->page0.get<VCMDQ_GERRORN>().raw) &
	       VCMDQ_GERROR::all;
}

static void update_ready(struct tegra241_cmdqv_hw *cmdqv, u32 qidx) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];

	assign_map(cmdqv->ready, qidx,
		   is_running(q) && !(active_errors(q) & VCMDQ_GERROR::CMDQ_ERR::mask) &&
			   !hw_queue_empty(VCMDQ_PROD::WR::get(q->page0.get<VCMDQ_PROD>()),
					   VCMDQ_CONS::RD::get(q->page0.get<VCMDQ_CONS>()),
					   queue_log2(q)));
}

/* ---- errors ---- */

template <class Array, u32 Size> static void assign_bit(reg_page<Size> *page, u32 i, bool on)
{
	Array r = page->template get<Array>(i / 32);

	r.raw = (r.raw & ~(1u << i % 32)) | (u32)on << i % 32;
	page->set(r, i / 32);
}

template <class Array, u32 Size> static bool test_bit_of(const reg_page<Size> &page, u32 i)
{
	return page.template get<Array>(i / 32).raw >> i % 32 & 1;
}

/* The VINTF's view of errors follows from its VCMDQs'. */
static void update_vintf_errors(struct tegra241_cmdqv_hw *cmdqv, u32 vidx)
	__must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vintf_hw *v = &cmdqv->vintfs[vidx];
	VINTF_STATUS status = v->regs.get<VINTF_STATUS>();
	bool any = false;

	for (u32 l = 0; l != TEGRA241_CMDQV_MAX_VCMDQS; l++) {
		bool error = l < v->num_lvcmdqs &&
			     test_bit_of<cmdqv_regs::CMDQ_ERR_MAP>(cmdqv->regs, v->lvcmdqs[l]);

		assign_bit<vintf_regs::LVCMDQ_ERR_MAP>(&v->regs, l, error);
		any |= error;
	}
	VINTF_STATUS::ERROR::set(status, any);
	VINTF_STATUS::NUM_LVCMDQ::set(status, v->num_lvcmdqs);
	v->regs.set(status);
	assign_bit<cmdqv_regs::VINTF_ERR_MAP>(&cmdqv->regs, vidx, any);
}

/* A new error of a VCMDQ. One that is active is not told again. */
template <class Field>
static void vcmdq_error(struct tegra241_cmdqv_hw *cmdqv, u32 qidx) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];
	VCMDQ_GERROR gerror = q->page0.get<VCMDQ_GERROR>();
	const u32 vidx = vintf_of(cmdqv, qidx);

	if (active_errors(q) & Field::mask)
		return;
	Field::set(gerror, !Field::get(gerror));
	set_page0(q, gerror);
	assign_bit<cmdqv_regs::CMDQ_ERR_MAP>(&cmdqv->regs, qidx, true);
	if (!is_allocated(cmdqv, qidx))
		return;
	update_vintf_errors(cmdqv, vidx);
	if (!test_bit_of<cmdqv_regs::VINTF_INT_MASK>(cmdqv->regs, vidx))
		smmuv3_hw_raise(cmdqv->smmu, SMMUV3_IRQ_CMDQV);
}

/* ---- what runs ---- */

static bool base_is_good(const struct tegra241_cmdqv_hw *cmdqv, const struct tegra241_vcmdq_hw *q)
{
	VCMDQ_BASE base = q->page1.get<VCMDQ_BASE>();
	const u8 log2 = queue_log2(q);

	return log2 <= cmdqv->smmu->config.cmdqs &&
	       IS_ALIGNED(base.raw & VCMDQ_BASE::ADDR::mask, 16ULL << log2);
}

/* Whether a VCMDQ runs, after something changed that it depends on. */
static void update_running(struct tegra241_cmdqv_hw *cmdqv, u32 qidx) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];
	VCMDQ_STATUS status = q->page0.get<VCMDQ_STATUS>();
	bool run = VCMDQ_CONFIG::EN::get(q->page0.get<VCMDQ_CONFIG>()) &&
		   is_allocated(cmdqv, qidx) && vintf_enabled(cmdqv, vintf_of(cmdqv, qidx));

	if (run && !is_running(q) && !base_is_good(cmdqv, q)) {
		vcmdq_error<VCMDQ_GERROR::CMDQ_INIT_ERR>(cmdqv, qidx);
		run = false;
	}
	VCMDQ_STATUS::EN_OK::set(status, run);
	set_page0(q, status);
	update_ready(cmdqv, qidx);
}

/* What the last guest stored where no VCMDQ is does not wait for the next one. */
static void scrub_page0(struct tegra241_vintf_hw *v)
{
	u64 *p = static_cast<u64 *>(page_address(v->page0));

	for (u32 i = v->num_lvcmdqs * TEGRA241_CMDQV_VCMDQ_BYTES / 8; i != TEGRA241_CMDQV_PAGE / 8;
	     i++)
		WRITE_ONCE(p[i], 0ULL);
}

static void update_vintf(struct tegra241_cmdqv_hw *cmdqv, u32 vidx) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vintf_hw *v = &cmdqv->vintfs[vidx];
	VINTF_STATUS status = v->regs.get<VINTF_STATUS>();
	const bool was_enabled = VINTF_STATUS::ENABLE_OK::get(status);

	VINTF_STATUS::ENABLE_OK::set(
		status,
		VINTF_CONFIG::ENABLE::get(v->regs.get<VINTF_CONFIG>()) &&
			cmdqv_regs::STATUS::ENABLED::get(cmdqv->regs.get<cmdqv_regs::STATUS>()));
	if (v->page0 && !was_enabled && VINTF_STATUS::ENABLE_OK::get(status))
		scrub_page0(v);
	v->regs.set(status);
	for (u32 l = 0; l != v->num_lvcmdqs; l++)
		update_running(cmdqv, v->lvcmdqs[l]);
}

/* What the guest may ask for, in the host's numbers. Compare what HYP_OWN is for. */
static enum smmuv3_cerror filter_guest(const struct tegra241_cmdqv_hw *cmdqv,
				       const struct tegra241_vintf_hw *v, struct CMD *cmd)
{
	switch (CMD::OP::get(*cmd)) {
	case CMD_TLBI_NH_ASID:
	case CMD_TLBI_NH_VA:
		CMD::TLBI_VMID::set(*cmd, VINTF_CONFIG::VMID::get(v->regs.get<VINTF_CONFIG>()));
		return CERROR_NONE;
	case CMD_ATC_INV:
		for (u32 s = 0; s != cmdqv->num_sids(); s++) {
			SID_MATCH match = v->regs.get<SID_MATCH>(s);

			if (!SID_MATCH::ENABLE::get(match) ||
			    SID_MATCH::VIRT_SID::get(match) != CMD::SID::get(*cmd))
				continue;
			CMD::SID::set(*cmd,
				      SID_REPLACE::PHYS_SID::get(v->regs.get<SID_REPLACE>(s)));
			return CERROR_NONE;
		}
		return CERROR_ILL_ACCESS;
	case CMD_SYNC:
		return CMD::SYNC_CS::get(*cmd) == SYNC_CS_NONE ? CERROR_NONE : CERROR_ILL;
	default:
		return CERROR_ILL;
	}
}

static enum smmuv3_cerror run_command(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, struct CMD *cmd)
	__must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];
	const struct tegra241_vintf_hw *v = &cmdqv->vintfs[vintf_of(cmdqv, qidx)];

	if (!VINTF_CONFIG::HYP_OWN::get(v->regs.get<VINTF_CONFIG>())) {
		enum smmuv3_cerror err = filter_guest(cmdqv, v, cmd);

		if (err)
			return err;
	} else if (CMD::OP::get(*cmd) == CMD_SYNC) {
		/* It has no line and no message of its own. */
		CMD::SYNC_CS::set(*cmd, SYNC_CS_NONE);
	}
	return smmuv3_hw_execute(cmdqv->smmu, &q->source, cmd);
}

/* The consumer index goes to memory, too, when it is asked for. */
static void write_cons_dram(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, u32 cons)
	__must_hold(cmdqv->smmu->lock)
{
	u64 addr = cmdqv->vcmdqs[qidx].page1.get<vcmdq_regs::CONS_INDX_BASE_DRAM>().raw;

	if (cmdqv_regs::CONFIG::CONS_DRAM_EN::get(cmdqv->regs.get<cmdqv_regs::CONFIG>()) && addr &&
	    !hw_mem_write(cmdqv->smmu->config.kernel, addr, &cons, sizeof(cons)))
		vcmdq_error<VCMDQ_GERROR::CONS_DRAM_WR_ABT_ERR>(cmdqv, qidx);
}

static void vcmdq_step(struct tegra241_cmdqv_hw *cmdqv, u32 qidx) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];
	VCMDQ_CONS cons = q->page0.get<VCMDQ_CONS>();
	const u32 rd = VCMDQ_CONS::RD::get(cons);
	const u8 log2 = queue_log2(q);
	enum smmuv3_cerror err = CERROR_ABT;
	struct CMD cmd;

	if (hw_mem_read(cmdqv->smmu->config.kernel,
			hw_queue_entry(q->page1.get<VCMDQ_BASE>().raw & VCMDQ_BASE::ADDR::mask, rd,
				       log2, 4),
			cmd.word, sizeof(cmd.word)))
		err = run_command(cmdqv, qidx, &cmd);
	if (err) {
		VCMDQ_CONS::ERR::set(cons, err);
		set_page0(q, cons);
		vcmdq_error<VCMDQ_GERROR::CMDQ_ERR>(cmdqv, qidx);
	} else {
		VCMDQ_CONS::RD::set(cons, hw_queue_next(rd, log2));
		set_page0(q, cons);
		write_cons_dram(cmdqv, qidx, cons.raw);
	}
	update_ready(cmdqv, qidx);
}

static void poll_clients(struct tegra241_cmdqv_hw *cmdqv) __must_hold(cmdqv->smmu->lock);

static bool tegra241_cmdqv_hw_step(struct smmuv3_hw_vendor *vendor)
{
	auto *cmdqv = static_cast<struct tegra241_cmdqv_hw *>(vendor);
	bool did = false;

	smmu_lock_is_held(cmdqv);
	if (cmdqv->smmu->config.mode == HW_FREE_RUNNING)
		poll_clients(cmdqv);
	for (u32 i = 0; i != ARRAY_SIZE(cmdqv->ready); i++) {
		for (u64 ready = cmdqv->ready[i]; ready; ready &= ready - 1) {
			vcmdq_step(cmdqv, i * 64 + __ffs(ready));
			did = true;
		}
	}
	return did;
}

static void tegra241_cmdqv_hw_flush_timeouts(struct smmuv3_hw_vendor *vendor)
{
	auto *cmdqv = static_cast<struct tegra241_cmdqv_hw *>(vendor);

	smmu_lock_is_held(cmdqv);
	for (struct tegra241_vcmdq_hw &q : cmdqv->vcmdqs)
		if (!is_running(&q))
			q.source.atc_timeout = false;
}

static const struct smmuv3_hw_vendor_ops tegra241_cmdqv_hw_ops = {
	.step = tegra241_cmdqv_hw_step,
	.flush_timeouts = tegra241_cmdqv_hw_flush_timeouts,
};

/* ---- VCMDQ registers on the bus ---- */

/* @seen: see set_page0(). */
static bool vcmdq_write0(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, u32 off, u32 val,
			 const u32 *seen) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];
	VCMDQ_CONS cons;
	VCMDQ_PROD prod;
	VCMDQ_CONFIG config;
	VCMDQ_GERRORN gerrorn;

	switch (off) {
	case VCMDQ_CONS::offset:
		cons.raw = val & (VCMDQ_CONS::RD::mask | VCMDQ_CONS::ERR::mask);
		set_page0(q, is_running(q) ? q->page0.get<VCMDQ_CONS>() : cons, seen);
		update_ready(cmdqv, qidx);
		return true;
	case VCMDQ_PROD::offset:
		prod.raw = val & VCMDQ_PROD::WR::mask;
		set_page0(q, prod, seen);
		update_ready(cmdqv, qidx);
		return true;
	case VCMDQ_CONFIG::offset:
		config.raw = val & VCMDQ_CONFIG::EN::mask;
		set_page0(q, config, seen);
		update_running(cmdqv, qidx);
		return true;
	case VCMDQ_STATUS::offset:
	case VCMDQ_GERROR::offset:
		/* Read only. */
		set_page0(q, q->page0.get<VCMDQ_STATUS>());
		set_page0(q, q->page0.get<VCMDQ_GERROR>());
		return true;
	case VCMDQ_GERRORN::offset:
		gerrorn.raw = val & VCMDQ_GERROR::all;
		set_page0(q, gerrorn, seen);
		if (!active_errors(q)) {
			assign_bit<cmdqv_regs::CMDQ_ERR_MAP>(&cmdqv->regs, qidx, false);
			if (is_allocated(cmdqv, qidx))
				update_vintf_errors(cmdqv, vintf_of(cmdqv, qidx));
		}
		update_ready(cmdqv, qidx);
		return true;
	default:
		return false;
	}
}

static bool vcmdq_write1(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, u32 off, u32 val)
	__must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];

	if (off >= vcmdq_regs::page1_end)
		return false;
	/* BASE's low half has all its bits, and so has the other's; both have 16 in the high one.
	 */
	if (!is_running(q))
		q->page1.store(off, 4, off % 8 ? val & 0xffff : val);
	return true;
}

static bool vcmdq_access(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, bool page1, u32 off,
			 unsigned int size, bool write, u64 *val) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];
	const u32 end = page1 ? vcmdq_regs::page1_end : vcmdq_regs::page0_end;

	if (off + size > end)
		return false;
	if (!write) {
		*val = page1 ? q->page1.load(off, size) : q->page0.load(off, size);
		return true;
	}
	for (u32 i = 0; i != size; i += 4)
		if (!(page1 ? vcmdq_write1(cmdqv, qidx, off + i, (u32)(*val >> 8 * i))
			    : vcmdq_write0(cmdqv, qidx, off + i, (u32)(*val >> 8 * i), nullptr)))
			return false;
	return true;
}

/* ---- memory that clients map ---- */

/*
 * Registers of VCMDQ @qidx move into the memory behind its VINTF's page 0, or out of it. Once out,
 * what a client stores there goes nowhere.
 */
static void share(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, bool on) __must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];
	CMDQ_ALLOC_MAP map = cmdqv->regs.get<CMDQ_ALLOC_MAP>(qidx);
	struct page *page0 = cmdqv->vintfs[CMDQ_ALLOC_MAP::VINTF::get(map)].page0;
	u32 *slot;

	if (!page0)
		return;
	slot = (u32 *)(void *)((u8 *)page_address(page0) +
			       TEGRA241_CMDQV_VCMDQ_BYTES * CMDQ_ALLOC_MAP::LVCMDQ::get(map));
	for (u32 off = 0; off != vcmdq_regs::page0_end; off += 4)
		smp_store_release(&slot[off / 4], on ? (u32)q->page0.load(off, 4) : 0u);
	q->shared = on ? slot : nullptr;
}

/* What clients stored since the last look becomes writes. */
static void poll_client(struct tegra241_cmdqv_hw *cmdqv, u32 qidx) __must_hold(cmdqv->smmu->lock)
{
	static constexpr u32 order[] = {VCMDQ_CONS::offset,    VCMDQ_PROD::offset,
					VCMDQ_CONFIG::offset,  VCMDQ_STATUS::offset,
					VCMDQ_GERRORN::offset, VCMDQ_GERROR::offset};
	struct tegra241_vcmdq_hw *q = &cmdqv->vcmdqs[qidx];

	for (u32 off : order) {
		u32 now;

		if (!q->shared)
			return;
		now = smp_load_acquire(&q->shared[off / 4]);
		if (now != (u32)q->page0.load(off, 4))
			vcmdq_write0(cmdqv, qidx, off, now, &now);
	}
}

static void poll_clients(struct tegra241_cmdqv_hw *cmdqv)
{
	for (u32 i = 0; i != ARRAY_SIZE(cmdqv->mapped); i++)
		for (u64 mapped = cmdqv->mapped[i]; mapped; mapped &= mapped - 1)
			poll_client(cmdqv, i * 64 + __ffs(mapped));
}

/* ---- allocation ---- */

static void log_refused(const struct tegra241_cmdqv_hw *cmdqv, u32 qidx, const char *why)
{
	if (kernel_printk_ratelimit(cmdqv->smmu->config.kernel))
		kernel_printk(cmdqv->smmu->config.kernel, LOGLEVEL_WARNING,
			      "%s: CMDQ_ALLOC_MAP %u: %s", cmdqv->config.name, qidx, why);
}

static void unmap_vcmdq(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, CMDQ_ALLOC_MAP next)
	__must_hold(cmdqv->smmu->lock)
{
	const u32 vidx = vintf_of(cmdqv, qidx);
	struct tegra241_vintf_hw *v = &cmdqv->vintfs[vidx];

	if (v->lvcmdqs[v->num_lvcmdqs - 1] != qidx)
		return log_refused(cmdqv, qidx, "not the last of its VINTF");
	if (cmdqv->smmu->config.mode == HW_FREE_RUNNING)
		poll_client(cmdqv, qidx);
	share(cmdqv, qidx, false);
	v->num_lvcmdqs--;
	assign_map(cmdqv->mapped, qidx, false);
	cmdqv->regs.set(next, qidx);
	update_running(cmdqv, qidx);
	update_vintf_errors(cmdqv, vidx);
}

static void map_vcmdq(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, CMDQ_ALLOC_MAP next)
	__must_hold(cmdqv->smmu->lock)
{
	const u32 vidx = CMDQ_ALLOC_MAP::VINTF::get(next);
	const u32 lidx = CMDQ_ALLOC_MAP::LVCMDQ::get(next);
	struct tegra241_vintf_hw *v = &cmdqv->vintfs[vidx];

	/* What it names is kept though it is not allocated. */
	CMDQ_ALLOC_MAP::ALLOC::set(next, 0);
	cmdqv->regs.set(next, qidx);
	if (vidx >= cmdqv->num_vintfs())
		return log_refused(cmdqv, qidx, "no such VINTF");
	if (lidx != v->num_lvcmdqs)
		return log_refused(cmdqv, qidx, "not the next of its VINTF");
	v->lvcmdqs[lidx] = (u8)qidx;
	v->num_lvcmdqs++;
	CMDQ_ALLOC_MAP::ALLOC::set(next, 1);
	cmdqv->regs.set(next, qidx);
	assign_map(cmdqv->mapped, qidx, true);
	share(cmdqv, qidx, true);
	update_running(cmdqv, qidx);
	update_vintf_errors(cmdqv, vidx);
}

static void write_alloc_map(struct tegra241_cmdqv_hw *cmdqv, u32 qidx, u32 val)
	__must_hold(cmdqv->smmu->lock)
{
	CMDQ_ALLOC_MAP now = cmdqv->regs.get<CMDQ_ALLOC_MAP>(qidx);
	CMDQ_ALLOC_MAP next;

	next.raw = val & (CMDQ_ALLOC_MAP::ALLOC::mask | CMDQ_ALLOC_MAP::LVCMDQ::mask |
			  CMDQ_ALLOC_MAP::VINTF::mask);
	if (next.raw == now.raw)
		return;
	if (CMDQ_ALLOC_MAP::ALLOC::get(now)) {
		if (CMDQ_ALLOC_MAP::ALLOC::get(next))
			log_refused(cmdqv, qidx, "is allocated elsewhere");
		else
			unmap_vcmdq(cmdqv, qidx, next);
	} else if (CMDQ_ALLOC_MAP::ALLOC::get(next)) {
		map_vcmdq(cmdqv, qidx, next);
	} else {
		cmdqv->regs.set(next, qidx);
	}
}

/* ---- the configuration page ---- */

static bool config_write32(struct tegra241_cmdqv_hw *cmdqv, u32 off, u32 val)
	__must_hold(cmdqv->smmu->lock)
{
	using CONFIG = cmdqv_regs::CONFIG;
	using STATUS = cmdqv_regs::STATUS;

	if (off == CONFIG::offset) {
		CONFIG r;
		STATUS status;

		r.raw = val & (CONFIG::EN::mask | CONFIG::PER_CMD_OFFSET::mask |
			       CONFIG::MAX_CLK_BATCH::mask | CONFIG::MAX_CMD_BATCH::mask |
			       CONFIG::CONS_DRAM_EN::mask);
		cmdqv->regs.set(r);
		STATUS::ENABLED::set(status, CONFIG::EN::get(r));
		cmdqv->regs.set(status);
		for (u32 v = 0; v != cmdqv->num_vintfs(); v++)
			update_vintf(cmdqv, v);
		return true;
	}
	if (off >= cmdqv_regs::VINTF_INT_MASK::offset && off < cmdqv_regs::VINTF_INT_MASK::end) {
		cmdqv->regs.store(off, 4, val);
		return true;
	}
	if (off >= CMDQ_ALLOC_MAP::offset &&
	    (off - CMDQ_ALLOC_MAP::offset) / 4 < cmdqv->num_vcmdqs()) {
		write_alloc_map(cmdqv, (off - CMDQ_ALLOC_MAP::offset) / 4, val);
		return true;
	}
	return false;
}

static bool vintf_write32(struct tegra241_cmdqv_hw *cmdqv, u32 vidx, u32 off, u32 val)
	__must_hold(cmdqv->smmu->lock)
{
	struct tegra241_vintf_hw *v = &cmdqv->vintfs[vidx];

	if (off == VINTF_CONFIG::offset) {
		VINTF_CONFIG r = v->regs.get<VINTF_CONFIG>();
		const bool enable = val & VINTF_CONFIG::ENABLE::mask;

		if (!vintf_enabled(cmdqv, vidx))
			r.raw = val & (VINTF_CONFIG::VMID::mask | VINTF_CONFIG::HYP_OWN::mask);
		if (cmdqv->config.hyp_own_wired_zero)
			VINTF_CONFIG::HYP_OWN::set(r, 0);
		VINTF_CONFIG::ENABLE::set(r, enable);
		v->regs.set(r);
		update_vintf(cmdqv, vidx);
		return true;
	}
	if (off >= SID_MATCH::offset && (off - SID_MATCH::offset) / 4 < cmdqv->num_sids()) {
		v->regs.store(off, 4, val & (SID_MATCH::ENABLE::mask | SID_MATCH::VIRT_SID::mask));
		return true;
	}
	if (off >= SID_REPLACE::offset && (off - SID_REPLACE::offset) / 4 < cmdqv->num_sids()) {
		v->regs.store(off, 4, val & SID_REPLACE::PHYS_SID::mask);
		return true;
	}
	return false;
}

static bool config_readable(const struct tegra241_cmdqv_hw *cmdqv, u32 off)
{
	return off <= cmdqv_regs::STATUS::offset ||
	       (off >= cmdqv_regs::VINTF_ERR_MAP::offset && off < cmdqv_regs::CMDQ_ERR_MAP::end) ||
	       (off >= CMDQ_ALLOC_MAP::offset &&
		(off - CMDQ_ALLOC_MAP::offset) / 4 < cmdqv->num_vcmdqs());
}

static bool vintf_readable(const struct tegra241_cmdqv_hw *cmdqv, u32 off)
{
	return off <= VINTF_STATUS::offset ||
	       (off >= SID_MATCH::offset && (off - SID_MATCH::offset) / 4 < cmdqv->num_sids()) ||
	       (off >= SID_REPLACE::offset &&
		(off - SID_REPLACE::offset) / 4 < cmdqv->num_sids()) ||
	       (off >= vintf_regs::LVCMDQ_ERR_MAP::offset && off < vintf_regs::LVCMDQ_ERR_MAP::end);
}

static bool config_access(struct tegra241_cmdqv_hw *cmdqv, u32 off, unsigned int size, bool write,
			  u64 *val) __must_hold(cmdqv->smmu->lock)
{
	const bool in_vintf = off >= cmdqv_regs::vintf_base;
	const u32 vidx = in_vintf ? (off - cmdqv_regs::vintf_base) / cmdqv_regs::vintf_bytes : 0;
	const u32 reg = in_vintf ? off % cmdqv_regs::vintf_bytes : off;

	if (in_vintf && vidx >= cmdqv->num_vintfs())
		return false;
	for (u32 i = 0; i != size; i += 4) {
		const u32 word = (u32)(*val >> 8 * i);

		if (!write &&
		    !(in_vintf ? vintf_readable(cmdqv, reg + i) : config_readable(cmdqv, reg + i)))
			return false;
		if (write && !(in_vintf ? vintf_write32(cmdqv, vidx, reg + i, word)
					: config_write32(cmdqv, reg + i, word)))
			return false;
	}
	if (!write)
		*val = in_vintf ? cmdqv->vintfs[vidx].regs.load(reg, size)
				: cmdqv->regs.load(reg, size);
	return true;
}

/* ---- the whole map ---- */

static bool cmdqv_access(struct tegra241_cmdqv_hw *cmdqv, u64 off, unsigned int size, bool write,
			 u64 *val)
{
	const u32 page = (u32)(off / TEGRA241_CMDQV_PAGE);
	const u32 in_page = (u32)(off % TEGRA241_CMDQV_PAGE);
	const u32 slot = in_page / TEGRA241_CMDQV_VCMDQ_BYTES;
	const u32 reg = in_page % TEGRA241_CMDQV_VCMDQ_BYTES;
	smmuv3_hw_guard g(cmdqv->smmu);

	/* What clients have stored comes before this access. */
	if (cmdqv->smmu->config.mode == HW_FREE_RUNNING)
		poll_clients(cmdqv);
	if (page == 0)
		return config_access(cmdqv, in_page, size, write, val);
	if (page < 3)
		return slot < cmdqv->num_vcmdqs() &&
		       vcmdq_access(cmdqv, slot, page == 2, reg, size, write, val);
	const u32 vidx = (page - 3) / 2;
	const bool page1 = (page - 3) % 2;
	const struct tegra241_vintf_hw *v = &cmdqv->vintfs[vidx];

	if (slot < v->num_lvcmdqs)
		return vcmdq_access(cmdqv, v->lvcmdqs[slot], page1, reg, size, write, val);
	if (!write)
		*val = 0;
	return reg + size <= (page1 ? vcmdq_regs::page1_end : vcmdq_regs::page0_end);
}

static bool cmdqv_mmio_read(void *opaque, u64 off, unsigned int size, u64 *val)
{
	return cmdqv_access(static_cast<struct tegra241_cmdqv_hw *>(opaque), off, size, false, val);
}

static bool cmdqv_mmio_write(void *opaque, u64 off, unsigned int size, u64 val)
{
	struct tegra241_cmdqv_hw *cmdqv = static_cast<struct tegra241_cmdqv_hw *>(opaque);

	if (!cmdqv_access(cmdqv, off, size, true, &val))
		return false;
	if (cmdqv->smmu->config.mode == HW_EAGER)
		smmuv3_hw_run_until_idle(cmdqv->smmu);
	return true;
}

static phys_addr_t cmdqv_mmio_ram(void *opaque, u64 off)
{
	struct tegra241_cmdqv_hw *cmdqv = static_cast<struct tegra241_cmdqv_hw *>(opaque);
	const u32 page = (u32)(off / TEGRA241_CMDQV_PAGE);

	if (page < 3 || (page - 3) % 2)
		return 0;
	smmuv3_hw_guard g(cmdqv->smmu);
	const struct page *page0 = cmdqv->vintfs[(page - 3) / 2].page0;

	return page0 ? page_to_phys(page0) + off % TEGRA241_CMDQV_PAGE : 0;
}

static const struct mmio_ops cmdqv_mmio_ops = {
	.read = cmdqv_mmio_read,
	.write = cmdqv_mmio_write,
	.ram = cmdqv_mmio_ram,
};

/* ---- its life ---- */

static void free_pages_of(struct tegra241_cmdqv_hw *cmdqv) __must_hold(cmdqv->smmu->lock)
{
	for (struct tegra241_vintf_hw &v : cmdqv->vintfs) {
		if (v.page0)
			__free_pages(v.page0, VINTF_PAGE0_ORDER);
		v.page0 = nullptr;
	}
}

static int start(struct tegra241_cmdqv_hw *cmdqv)
{
	using PARAM = cmdqv_regs::PARAM;
	PARAM param;

	PARAM::VER::set(param, cmdqv->config.version);
	PARAM::NUM_VCMDQ_LOG2::set(param, cmdqv->config.num_vcmdqs_log2);
	PARAM::NUM_VINTF_LOG2::set(param, cmdqv->config.num_vintfs_log2);
	PARAM::NUM_SID_PER_VM_LOG2::set(param, cmdqv->config.num_sids_log2);
	smmuv3_hw_guard g(cmdqv->smmu);

	if (cmdqv->smmu->vendor)
		return -EBUSY;
	cmdqv->regs.set(param);
	for (u32 v = 0; cmdqv->smmu->config.mode == HW_FREE_RUNNING && v != cmdqv->num_vintfs();
	     v++) {
		cmdqv->vintfs[v].page0 = alloc_pages(GFP_KERNEL, VINTF_PAGE0_ORDER);
		if (!cmdqv->vintfs[v].page0) {
			free_pages_of(cmdqv);
			return -ENOMEM;
		}
	}
	cmdqv->smmu->vendor = cmdqv;
	return 0;
}

static void stop(struct tegra241_cmdqv_hw *cmdqv)
{
	smmuv3_hw_guard g(cmdqv->smmu);

	cmdqv->smmu->vendor = nullptr;
	free_pages_of(cmdqv);
}

result<struct tegra241_cmdqv_hw *>
tegra241_cmdqv_hw_create(struct smmuv3_hw *smmu, const struct tegra241_cmdqv_hw_config *config)
{
	struct tegra241_cmdqv_hw *cmdqv;
	int rc;

	if (1u << config->num_vintfs_log2 > TEGRA241_CMDQV_MAX_VINTFS ||
	    1u << config->num_vcmdqs_log2 > TEGRA241_CMDQV_MAX_VCMDQS ||
	    1u << config->num_sids_log2 > TEGRA241_CMDQV_MAX_SIDS)
		return -EINVAL;
	cmdqv = new (std::nothrow) struct tegra241_cmdqv_hw(smmu);
	if (!cmdqv)
		return -ENOMEM;
	cmdqv->ops = &tegra241_cmdqv_hw_ops;
	cmdqv->config = *config;
	cmdqv->region.name = config->name;
	cmdqv->region.phys = config->phys;
	cmdqv->region.size = tegra241_cmdqv_hw_size(config->num_vintfs_log2);
	cmdqv->region.ops = &cmdqv_mmio_ops;
	cmdqv->region.opaque = cmdqv;
	rc = start(cmdqv);
	if (!rc) {
		rc = mmio_register(smmu->config.kernel, &cmdqv->region);
		if (rc)
			stop(cmdqv);
	}
	if (rc) {
		delete cmdqv;
		return rc;
	}
	return cmdqv;
}

void tegra241_cmdqv_hw_destroy(struct tegra241_cmdqv_hw *cmdqv)
{
	if (!cmdqv)
		return;
	mmio_unregister(cmdqv->smmu->config.kernel, &cmdqv->region);
	stop(cmdqv);
	delete cmdqv;
}
