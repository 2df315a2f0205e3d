// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model of an SMMUv3: registers, queues, commands, what it keeps. See smmuv3-hw.h. No kernel
 * counterpart. Translation is in smmuv3-walk.cc.
 */
#include "drivers/hw/smmuv3-hw.h"

#include <new>
#include <time.h>

#include "core/linux/printk.h"
#include "drivers/hw/hw-mem.h"
#include "drivers/hw/smmuv3-internal.h"

using IDR0 = smmuv3_regs::IDR0;
using IDR1 = smmuv3_regs::IDR1;
using IDR3 = smmuv3_regs::IDR3;
using IDR5 = smmuv3_regs::IDR5;
using IIDR = smmuv3_regs::IIDR;
using AIDR = smmuv3_regs::AIDR;
using CR0 = smmuv3_regs::CR0;
using CR0ACK = smmuv3_regs::CR0ACK;
using CR1 = smmuv3_regs::CR1;
using CR2 = smmuv3_regs::CR2;
using GBPA = smmuv3_regs::GBPA;
using IRQ_CTRL = smmuv3_regs::IRQ_CTRL;
using IRQ_CTRLACK = smmuv3_regs::IRQ_CTRLACK;
using GERROR = smmuv3_regs::GERROR;
using GERRORN = smmuv3_regs::GERRORN;
using STRTAB_BASE = smmuv3_regs::STRTAB_BASE;
using STRTAB_BASE_CFG = smmuv3_regs::STRTAB_BASE_CFG;
using CMDQ_BASE = smmuv3_regs::CMDQ_BASE;
using CMDQ_PROD = smmuv3_regs::CMDQ_PROD;
using CMDQ_CONS = smmuv3_regs::CMDQ_CONS;
using EVENTQ_BASE = smmuv3_regs::EVENTQ_BASE;
using EVENTQ_PROD = smmuv3_regs::EVENTQ_PROD;
using EVENTQ_CONS = smmuv3_regs::EVENTQ_CONS;
using PRIQ_BASE = smmuv3_regs::PRIQ_BASE;
using PRIQ_PROD = smmuv3_regs::PRIQ_PROD;
using PRIQ_CONS = smmuv3_regs::PRIQ_CONS;

/* ---- interrupts and global errors ---- */

smmuv3_hw_guard::~smmuv3_hw_guard() LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
{
	struct smmuv3_hw *hw = hw_;
	u32 pending = hw->irq_pending;

	hw->irq_pending = 0;
	hw->lock.unlock();
	for (; pending; pending &= pending - 1)
		hw->config.raise(hw->config.kernel, hw->config.irqs[__ffs(pending)]);
}

void smmuv3_hw_raise(struct smmuv3_hw *hw, enum smmuv3_hw_irq irq)
{
	if (hw->config.raise)
		hw->irq_pending |= 1u << irq;
}

template <class Field> static void global_error(struct smmuv3_hw *hw) __must_hold(hw->lock);

/* By message when the registers from @cfg0 on name an address, else by the line. */
template <class AbortField>
static void signal(struct smmuv3_hw *hw, u32 cfg0, enum smmuv3_hw_irq irq) __must_hold(hw->lock)
{
	u64 addr = hw->regs.load(cfg0, 8) & GENMASK_ULL(51, 2);
	u32 data = (u32)hw->regs.load(cfg0 + 8, 4);

	if (!hw->config.msi || !addr)
		smmuv3_hw_raise(hw, irq);
	else if (!hw_mem_write(hw->config.kernel, addr, &data, sizeof(data)))
		global_error<AbortField>(hw);
}

/* An error that is active already is not told again. */
template <class Field> static void global_error(struct smmuv3_hw *hw)
{
	GERROR gerror = hw->regs.get<GERROR>();
	GERRORN gerrorn = hw->regs.get<GERRORN>();

	if ((gerror.raw ^ gerrorn.raw) & Field::mask)
		return;
	Field::set(gerror, !Field::get(gerror));
	hw->regs.set(gerror);
	if (!IRQ_CTRL::GERROR_IRQEN::get(hw->regs.get<IRQ_CTRL>()))
		return;
	/* That its own message aborts can be seen in the register only. */
	u64 addr = hw->regs.load(smmuv3_regs::GERROR_IRQ_CFG0::offset, 8) & GENMASK_ULL(51, 2);
	u32 data = (u32)hw->regs.load(smmuv3_regs::GERROR_IRQ_CFG1::offset, 4);

	if (!hw->config.msi || !addr) {
		smmuv3_hw_raise(hw, SMMUV3_IRQ_GERROR);
	} else if (!hw_mem_write(hw->config.kernel, addr, &data, sizeof(data)) &&
		   !((gerror.raw ^ gerrorn.raw) & GERROR::MSI_GERROR_ABT_ERR::mask)) {
		GERROR::MSI_GERROR_ABT_ERR::set(gerror, !GERROR::MSI_GERROR_ABT_ERR::get(gerror));
		hw->regs.set(gerror);
	}
}

static bool error_active(struct smmuv3_hw *hw, u32 mask) __must_hold(hw->lock)
{
	return (hw->regs.get<GERROR>().raw ^ hw->regs.get<GERRORN>().raw) & mask;
}

/* ---- queues that it writes ---- */

/* What an event queue and a page request queue share. */
template <class Base, class Prod, class Cons> struct output_queue {
	/* The record is in memory, or it was lost. */
	template <class AbortField, class MsiField, class Fmt>
	static bool push(struct smmuv3_hw *hw, const Fmt &record, u8 max_log2, u32 cfg0,
			 bool irq_on, enum smmuv3_hw_irq irq) __must_hold(hw->lock)
	{
		const u8 entry_log2 = ilog2(sizeof(record));
		Base base = hw->regs.get<Base>();
		Prod prod = hw->regs.get<Prod>();
		Cons cons = hw->regs.get<Cons>();
		u8 log2 = min((u8)Base::LOG2SIZE::get(base), max_log2);
		u32 wr = Prod::WR::get(prod);
		u32 rd = Cons::RD::get(cons);
		bool was_empty = hw_queue_empty(wr, rd, log2);

		if (hw_queue_full(wr, rd, log2)) {
			/* Overflow: told once, until software has seen it. */
			if (Prod::OVFLG::get(prod) == Cons::OVACKFLG::get(cons)) {
				Prod::OVFLG::set(prod, !Prod::OVFLG::get(prod));
				hw->regs.set(prod);
				if (irq_on)
					signal<MsiField>(hw, cfg0, irq);
			}
			return false;
		}
		if (!hw_mem_write(hw->config.kernel,
				  hw_queue_entry(base.raw & Base::ADDR::mask, wr, log2, entry_log2),
				  record.word, sizeof(record.word))) {
			global_error<AbortField>(hw);
			return false;
		}
		Prod::WR::set(prod, hw_queue_next(wr, log2));
		hw->regs.set(prod);
		if (was_empty && irq_on)
			signal<MsiField>(hw, cfg0, irq);
		return true;
	}
};

bool smmuv3_record_event(struct smmuv3_hw *hw, const struct hw_txn *txn,
			 const struct smmuv3_fault *fault, u16 stag)
{
	IRQ_CTRL ctrl = hw->regs.get<IRQ_CTRL>();
	struct EVT evt;

	if (!fault->id || !fault->record)
		return false;
	if (!CR0::EVENTQEN::get(hw->regs.get<CR0>())) {
		hw->stats.events_lost++;
		return false;
	}
	EVT::ID::set(evt, fault->id);
	EVT::SID::set(evt, txn->sid);
	if (txn->ssv) {
		EVT::SSV::set(evt, 1);
		EVT::SSID::set(evt, txn->ssid);
	}
	switch (fault->id) {
	case F_STE_FETCH:
	case F_CD_FETCH:
		evt.word[3] = fault->fetch_addr & EVT::FETCH_ADDR::mask;
		break;
	case F_WALK_EABT:
	case F_TRANSLATION:
	case F_ADDR_SIZE:
	case F_ACCESS:
	case F_PERMISSION:
	case F_UUT:
	case F_TRANSL_FORBIDDEN:
		EVT::STAG::set(evt, stag);
		EVT::STALL::set(evt, fault->stall);
		EVT::PNU::set(evt, txn->priv);
		EVT::IND::set(evt, txn->inst);
		EVT::RNW::set(evt, !txn->write);
		EVT::S2::set(evt, fault->s2);
		EVT::CLASS::set(evt, fault->cls);
		EVT::INPUT_ADDR::set(evt, txn->iova);
		evt.word[3] = fault->id == F_WALK_EABT
				      ? fault->fetch_addr & EVT::FETCH_ADDR::mask
				      : (fault->s2 ? fault->ipa & EVT::IPA::mask : 0);
		break;
	case F_BAD_ATS_TREQ:
		EVT::INPUT_ADDR::set(evt, txn->iova);
		break;
	default:
		break;
	}
	if (!output_queue<EVENTQ_BASE, EVENTQ_PROD, EVENTQ_CONS>::push<GERROR::EVENTQ_ABT_ERR,
								       GERROR::MSI_EVENTQ_ABT_ERR>(
		    hw, evt, hw->config.eventqs, smmuv3_regs::EVENTQ_IRQ_CFG0::offset,
		    IRQ_CTRL::EVENTQ_IRQEN::get(ctrl), SMMUV3_IRQ_EVENTQ)) {
		hw->stats.events_lost++;
		return false;
	}
	hw->stats.events++;
	return true;
}

bool __smmuv3_hw_page_request(struct smmuv3_hw *hw, const struct hw_txn *txn, u16 grpid, bool last)
{
	IRQ_CTRL ctrl = hw->regs.get<IRQ_CTRL>();
	struct PRQ prq;

	if (!hw->config.pri || !CR0::PRIQEN::get(hw->regs.get<CR0>()))
		return false;
	PRQ::SID::set(prq, txn->sid);
	PRQ::SSV::set(prq, txn->ssv);
	PRQ::SSID::set(prq, txn->ssid);
	PRQ::READ::set(prq, !txn->write);
	PRQ::WRITE::set(prq, txn->write);
	PRQ::EXEC::set(prq, txn->inst);
	PRQ::LAST::set(prq, last);
	PRQ::GRPID::set(prq, grpid);
	prq.word[1] |= txn->iova & PRQ::ADDR::mask;
	return output_queue<PRIQ_BASE, PRIQ_PROD, PRIQ_CONS>::push<GERROR::PRIQ_ABT_ERR,
								   GERROR::MSI_PRIQ_ABT_ERR>(
		hw, prq, hw->config.priqs, smmuv3_regs::PRIQ_IRQ_CFG0::offset,
		IRQ_CTRL::PRIQ_IRQEN::get(ctrl), SMMUV3_IRQ_PRIQ);
}

/* ---- what it keeps, and commands that make it forget ---- */

void smmuv3_tlb_insert(struct smmuv3_hw *hw, const struct smmuv3_tlb_entry *e)
{
	hw->tlb[hw->tlb_next] = *e;
	hw->tlb_used[hw->tlb_next / 64] |= BIT_ULL(hw->tlb_next % 64);
	hw->tlb_next = (hw->tlb_next + 1) % SMMUV3_TLB_ENTRIES;
}

struct smmuv3_tlb_entry *smmuv3_tlb_find(struct smmuv3_hw *hw, enum tlb_kind kind, bool el2,
					 u16 vmid, u16 asid, u64 addr)
{
	for (u32 i = 0; i != ARRAY_SIZE(hw->tlb_used); i++) {
		for (u64 used = hw->tlb_used[i]; used; used &= used - 1) {
			struct smmuv3_tlb_entry *e = &hw->tlb[i * 64 + __ffs(used)];

			if (e->valid && e->kind == kind && e->el2 == el2 &&
			    (el2 || e->vmid == vmid) && !((addr ^ e->in) >> e->shift) &&
			    (kind == TLB_S2 || e->global || e->asid == asid))
				return e;
		}
	}
	return nullptr;
}

template <class Match>
static void tlb_invalidate(struct smmuv3_hw *hw, Match match) __must_hold(hw->lock)
{
	for (u32 i = 0; i != ARRAY_SIZE(hw->tlb_used); i++) {
		for (u64 used = hw->tlb_used[i]; used; used &= used - 1) {
			struct smmuv3_tlb_entry *e = &hw->tlb[i * 64 + __ffs(used)];

			if (e->valid && !match(*e))
				continue;
			e->valid = false;
			hw->tlb_used[i] &= ~BIT_ULL(__ffs(used));
		}
	}
}

/*
 * The addresses that a TLBI command by address names, and what it says of the entries: a level
 * hint that is wrong makes it miss them.
 */
struct tlbi_range {
	u64 first, last;
	u8 ttl, granule;

	bool hits(const struct smmuv3_tlb_entry &e) const
	{
		u64 start = e.in >> e.leaf_shift << e.leaf_shift;
		u64 end = start + ((1ULL << e.leaf_shift) - 1);

		if (granule && ttl && (e.granule != granule || e.level != ttl))
			return false;
		return start <= last && first <= end;
	}
};

static struct tlbi_range tlbi_range_of(struct smmuv3_hw *hw, const struct CMD *cmd, u64 addr)
{
	u8 tg = hw->config.ril ? (u8)CMD::TLBI_TG::get(*cmd) : 0;
	u8 granule = tg ? 10 + 2 * tg : 0;
	u64 size = SZ_4K;

	if (tg)
		size = ((CMD::TLBI_NUM::get(*cmd) + 1) << CMD::TLBI_SCALE::get(*cmd)) << granule;
	if (granule)
		addr = addr >> granule << granule;
	return {addr, addr + size - 1 < addr ? ~0ULL : addr + size - 1,
		tg ? (u8)CMD::TLBI_TTL::get(*cmd) : (u8)0, granule};
}

template <class Match>
static void config_invalidate(struct smmuv3_hw *hw, bool stes, Match match) __must_hold(hw->lock)
{
	if (stes)
		for (struct smmuv3_ste_entry &e : hw->stes)
			if (match(e.sid, 0u))
				e.valid = false;
	for (struct smmuv3_cd_entry &e : hw->cds)
		if (match(e.sid, e.ssid))
			e.valid = false;
}

static struct hw_endpoint *find_endpoint(struct smmuv3_hw *hw, u32 sid) __must_hold(hw->lock)
{
	struct hw_endpoint *ep;

	list_for_each_entry (ep, &hw->endpoints, node)
		if (ep->sid == sid)
			return ep;
	return nullptr;
}

int smmuv3_alloc_stall(struct smmuv3_hw *hw, u32 sid)
{
	struct hw_endpoint *ep = find_endpoint(hw, sid);

	if (!ep || !ep->ops->resume)
		return -1;
	for (int i = 0; i != SMMUV3_STALL_MAX; i++) {
		struct smmuv3_stall *stall = &hw->stalls[i];

		if (stall->used)
			continue;
		stall->used = true;
		stall->sid = sid;
		stall->ep = ep;
		return i;
	}
	return -1;
}

static enum smmuv3_cerror do_tlbi(struct smmuv3_hw *hw, const struct CMD *cmd) __must_hold(hw->lock)
{
	const u8 op = (u8)CMD::OP::get(*cmd);
	const bool el2 = op >= CMD_TLBI_EL2_ALL && op <= CMD_TLBI_EL2_VAA;
	const u16 vmid = (u16)(CMD::TLBI_VMID::get(*cmd) & (hw->config.vmid16 ? 0xffff : 0xff));
	const u16 asid = (u16)(CMD::TLBI_ASID::get(*cmd) & (hw->config.asid16 ? 0xffff : 0xff));
	const struct tlbi_range range = tlbi_range_of(hw, cmd,
						      op == CMD_TLBI_S2_IPA
							      ? cmd->word[1] & CMD::TLBI_IPA::mask
							      : cmd->word[1] & CMD::TLBI_VA::mask);
	auto stage1_of = [=](const struct smmuv3_tlb_entry &e) {
		return e.kind == TLB_S1 && e.el2 == el2 && (el2 || e.vmid == vmid);
	};

	switch (op) {
	case CMD_TLBI_NH_ALL:
	case CMD_TLBI_EL2_ALL:
		tlb_invalidate(hw, stage1_of);
		return CERROR_NONE;
	case CMD_TLBI_NH_ASID:
	case CMD_TLBI_EL2_ASID:
		tlb_invalidate(hw, [=](const struct smmuv3_tlb_entry &e) {
			return stage1_of(e) && !e.global && e.asid == asid;
		});
		return CERROR_NONE;
	case CMD_TLBI_NH_VA:
	case CMD_TLBI_EL2_VA:
		tlb_invalidate(hw, [=](const struct smmuv3_tlb_entry &e) {
			return stage1_of(e) && (e.global || e.asid == asid) && range.hits(e);
		});
		return CERROR_NONE;
	case CMD_TLBI_NH_VAA:
	case CMD_TLBI_EL2_VAA:
		tlb_invalidate(hw, [=](const struct smmuv3_tlb_entry &e) {
			return stage1_of(e) && range.hits(e);
		});
		return CERROR_NONE;
	case CMD_TLBI_S12_VMALL:
		tlb_invalidate(hw, [=](const struct smmuv3_tlb_entry &e) {
			return !e.el2 && e.vmid == vmid;
		});
		return CERROR_NONE;
	case CMD_TLBI_S2_IPA:
		tlb_invalidate(hw, [=](const struct smmuv3_tlb_entry &e) {
			return e.kind == TLB_S2 && e.vmid == vmid && range.hits(e);
		});
		return CERROR_NONE;
	case CMD_TLBI_NSNH_ALL:
		tlb_invalidate(hw, [](const struct smmuv3_tlb_entry &e) { return !e.el2; });
		return CERROR_NONE;
	default:
		return CERROR_ILL;
	}
}

static enum smmuv3_cerror do_cfgi(struct smmuv3_hw *hw, const struct CMD *cmd) __must_hold(hw->lock)
{
	const u32 sid = (u32)CMD::SID::get(*cmd);
	const u32 ssid = (u32)CMD::SSID::get(*cmd);
	const u8 range = (u8)CMD::CFGI_RANGE::get(*cmd);

	switch (CMD::OP::get(*cmd)) {
	case CMD_CFGI_STE:
		/* A STE says where its CDs are, so they go with it. */
		config_invalidate(hw, true, [=](u32 s, u32) { return s == sid; });
		return CERROR_NONE;
	case CMD_CFGI_STE_RANGE:
		config_invalidate(hw, true,
				  [=](u32 s, u32) { return ((u64)s ^ sid) >> (range + 1) == 0; });
		return CERROR_NONE;
	case CMD_CFGI_CD:
		config_invalidate(hw, false, [=](u32 s, u32 ss) { return s == sid && ss == ssid; });
		return CERROR_NONE;
	case CMD_CFGI_CD_ALL:
		config_invalidate(hw, false, [=](u32 s, u32) { return s == sid; });
		return CERROR_NONE;
	default:
		return CERROR_ILL;
	}
}

static enum smmuv3_cerror do_atc_inv(struct smmuv3_hw *hw, struct hw_cmd_source *source,
				     const struct CMD *cmd) __must_hold(hw->lock)
{
	const u64 size = CMD::ATC_SIZE::get(*cmd);
	struct hw_endpoint *ep;
	u64 first, last;

	if (!hw->config.ats || size > 52)
		return CERROR_ILL;
	ep = find_endpoint(hw, (u32)CMD::SID::get(*cmd));
	if (!ep || !ep->ops->atc_inv)
		return CERROR_NONE;
	first = size == 52 ? 0 : (cmd->word[1] & CMD::ATC_ADDR::mask) >> (12 + size) << (12 + size);
	last = size == 52 ? ~0ULL : first + ((1ULL << (12 + size)) - 1);
	if (!ep->ops->atc_inv(ep, CMD::SSV::get(*cmd), (u32)CMD::SSID::get(*cmd),
			      CMD::ATC_GLOBAL::get(*cmd), first, last))
		source->atc_timeout = true;
	return CERROR_NONE;
}

static enum smmuv3_cerror do_resume(struct smmuv3_hw *hw, const struct CMD *cmd)
	__must_hold(hw->lock)
{
	const u8 resp = (u8)CMD::RESUME_RESP::get(*cmd);
	const u64 stag = CMD::RESUME_STAG::get(*cmd);
	struct hw_endpoint *ep;

	if (!hw->config.stall || resp > RESUME_ABORT)
		return CERROR_ILL;
	/* Software may answer what is no longer there. */
	if (stag >= SMMUV3_STALL_MAX || !hw->stalls[stag].used ||
	    hw->stalls[stag].sid != CMD::SID::get(*cmd))
		return CERROR_NONE;
	ep = hw->stalls[stag].ep;
	hw->stalls[stag].used = false;
	ep->ops->resume(ep, (u16)stag, resp);
	return CERROR_NONE;
}

static enum smmuv3_cerror do_sync(struct smmuv3_hw *hw, struct hw_cmd_source *source,
				  const struct CMD *cmd) __must_hold(hw->lock)
{
	u64 addr = cmd->word[1] & CMD::SYNC_MSIADDR::mask;
	u32 data = (u32)CMD::SYNC_MSIDATA::get(*cmd);
	const u64 cs = CMD::SYNC_CS::get(*cmd);

	if (cs > SYNC_CS_SEV)
		return CERROR_ILL;
	if (source->atc_timeout) {
		source->atc_timeout = false;
		return CERROR_ATC_INV_SYNC;
	}
	if (source == &hw->cmdq && hw->vendor)
		hw->vendor->ops->flush_timeouts(hw->vendor);
	if (cs != SYNC_CS_IRQ)
		return CERROR_NONE;
	if (!hw->config.msi || !addr)
		smmuv3_hw_raise(hw, SMMUV3_IRQ_CMDQ_SYNC);
	else if (!hw_mem_write(hw->config.kernel, addr, &data, sizeof(data)))
		global_error<GERROR::MSI_CMDQ_ABT_ERR>(hw);
	return CERROR_NONE;
}

enum smmuv3_cerror smmuv3_hw_execute(struct smmuv3_hw *hw, struct hw_cmd_source *source,
				     const struct CMD *cmd)
{
	const u8 op = (u8)CMD::OP::get(*cmd);
	struct hw_endpoint *ep;

	hw->stats.commands++;
	switch (op) {
	case CMD_PREFETCH_CFG:
	case CMD_PREFETCH_ADDR:
		return CERROR_NONE;
	case CMD_CFGI_STE:
	case CMD_CFGI_STE_RANGE:
		return do_cfgi(hw, cmd);
	case CMD_CFGI_CD:
	case CMD_CFGI_CD_ALL:
		return hw->config.s1p ? do_cfgi(hw, cmd) : CERROR_ILL;
	case CMD_TLBI_NH_ALL:
	case CMD_TLBI_NH_ASID:
	case CMD_TLBI_NH_VA:
	case CMD_TLBI_NH_VAA:
		return hw->config.s1p ? do_tlbi(hw, cmd) : CERROR_ILL;
	case CMD_TLBI_EL2_ALL:
	case CMD_TLBI_EL2_ASID:
	case CMD_TLBI_EL2_VA:
	case CMD_TLBI_EL2_VAA:
		return hw->config.s1p && hw->config.hyp ? do_tlbi(hw, cmd) : CERROR_ILL;
	case CMD_TLBI_S12_VMALL:
	case CMD_TLBI_S2_IPA:
		return hw->config.s2p ? do_tlbi(hw, cmd) : CERROR_ILL;
	case CMD_TLBI_NSNH_ALL:
		return do_tlbi(hw, cmd);
	case CMD_ATC_INV:
		return do_atc_inv(hw, source, cmd);
	case CMD_PRI_RESP:
		if (!hw->config.pri || CMD::PRI_RESP::get(*cmd) > 2)
			return CERROR_ILL;
		ep = find_endpoint(hw, (u32)CMD::SID::get(*cmd));
		if (ep && ep->ops->pri_resp)
			ep->ops->pri_resp(ep, (u16)CMD::PRI_GRPID::get(*cmd),
					  (u8)CMD::PRI_RESP::get(*cmd));
		return CERROR_NONE;
	case CMD_RESUME:
		return do_resume(hw, cmd);
	case CMD_SYNC:
		return do_sync(hw, source, cmd);
	default:
		return CERROR_ILL;
	}
}

/* ---- the command queue ---- */

static bool cmdq_step(struct smmuv3_hw *hw) __must_hold(hw->lock)
{
	CMDQ_BASE base = hw->regs.get<CMDQ_BASE>();
	CMDQ_CONS cons = hw->regs.get<CMDQ_CONS>();
	u8 log2 = min((u8)CMDQ_BASE::LOG2SIZE::get(base), hw->config.cmdqs);
	u32 rd = CMDQ_CONS::RD::get(cons);
	enum smmuv3_cerror err = CERROR_ABT;
	struct CMD cmd;

	if (!CR0::CMDQEN::get(hw->regs.get<CR0>()) || error_active(hw, GERROR::CMDQ_ERR::mask) ||
	    hw_queue_empty(CMDQ_PROD::WR::get(hw->regs.get<CMDQ_PROD>()), rd, log2))
		return false;
	if (hw_mem_read(hw->config.kernel,
			hw_queue_entry(base.raw & CMDQ_BASE::ADDR::mask, rd, log2, 4), cmd.word,
			sizeof(cmd.word)))
		err = smmuv3_hw_execute(hw, &hw->cmdq, &cmd);
	if (err) {
		CMDQ_CONS::ERR::set(cons, err);
		hw->regs.set(cons);
		global_error<GERROR::CMDQ_ERR>(hw);
	} else {
		CMDQ_CONS::RD::set(cons, hw_queue_next(rd, log2));
		hw->regs.set(cons);
	}
	return true;
}

static bool __step(struct smmuv3_hw *hw) __must_hold(hw->lock)
{
	bool did = cmdq_step(hw);

	if (hw->vendor && hw->vendor->ops->step(hw->vendor))
		did = true;
	return did;
}

bool smmuv3_hw_step(struct smmuv3_hw *hw)
{
	smmuv3_hw_guard g(hw);

	return __step(hw);
}

/* So many commands per hold of the lock. */
#define STEPS_AT_ONCE 64

static bool run_some(struct smmuv3_hw *hw)
{
	smmuv3_hw_guard g(hw);
	unsigned int n = 0;

	while (n != STEPS_AT_ONCE && __step(hw))
		n++;
	return n;
}

void smmuv3_hw_run_until_idle(struct smmuv3_hw *hw)
{
	while (run_some(hw))
		;
}

void smmuv3_hw_run(struct smmuv3_hw *hw, const std::atomic<bool> *stop)
{
	const struct timespec nap = {0, 20000};
	unsigned int idle = 0;

	while (!stop->load(std::memory_order_acquire)) {
		if (hw->config.kernel->work_pending.load(std::memory_order_acquire))
			run_deferred(hw->config.kernel);
		if (run_some(hw))
			idle = 0;
		else if (idle < 1000)
			idle++;
		else
			nanosleep(&nap, nullptr);
	}
}

/* ---- registers ---- */

static void write_cr0(struct smmuv3_hw *hw, u32 val) __must_hold(hw->lock)
{
	CR0 cr0;
	CR0ACK ack;

	cr0.raw = val & (CR0::SMMUEN::mask | CR0::EVENTQEN::mask | CR0::CMDQEN::mask);
	if (hw->config.pri)
		cr0.raw |= val & CR0::PRIQEN::mask;
	if (hw->config.ats)
		cr0.raw |= val & CR0::ATSCHK::mask;
	hw->regs.set(cr0);
	ack.raw = cr0.raw;
	hw->regs.set(ack);
}

/* False: the register takes no write at the moment (it is ignored, as on hardware). */
static bool may_write(struct smmuv3_hw *hw, u32 off) __must_hold(hw->lock)
{
	CR0 cr0 = hw->regs.get<CR0>();
	IRQ_CTRL ctrl = hw->regs.get<IRQ_CTRL>();

	switch (off) {
	case CR1::offset:
	case CR2::offset:
	case STRTAB_BASE::offset:
	case STRTAB_BASE::offset + 4:
	case STRTAB_BASE_CFG::offset:
		return !CR0::SMMUEN::get(cr0);
	case CMDQ_BASE::offset:
	case CMDQ_BASE::offset + 4:
	case CMDQ_CONS::offset:
		return !CR0::CMDQEN::get(cr0);
	case EVENTQ_BASE::offset:
	case EVENTQ_BASE::offset + 4:
	case EVENTQ_PROD::offset:
		return !CR0::EVENTQEN::get(cr0);
	case PRIQ_BASE::offset:
	case PRIQ_BASE::offset + 4:
	case PRIQ_PROD::offset:
		return hw->config.pri && !CR0::PRIQEN::get(cr0);
	case smmuv3_regs::GERROR_IRQ_CFG0::offset... smmuv3_regs::GERROR_IRQ_CFG2::offset:
		return hw->config.msi && !IRQ_CTRL::GERROR_IRQEN::get(ctrl);
	case smmuv3_regs::EVENTQ_IRQ_CFG0::offset... smmuv3_regs::EVENTQ_IRQ_CFG2::offset:
		return hw->config.msi && !IRQ_CTRL::EVENTQ_IRQEN::get(ctrl);
	case smmuv3_regs::PRIQ_IRQ_CFG0::offset... smmuv3_regs::PRIQ_IRQ_CFG2::offset:
		return hw->config.msi && hw->config.pri && !IRQ_CTRL::PRIQ_IRQEN::get(ctrl);
	default:
		return true;
	}
}

/* False: no such register for software to write. */
static bool write32(struct smmuv3_hw *hw, u32 off, u32 val) __must_hold(hw->lock)
{
	switch (off) {
	case CR0::offset:
		write_cr0(hw, val);
		return true;
	case GBPA::offset: {
		GBPA r;

		/* An update is over at once; without UPDATE nothing is written. */
		r.raw = val;
		if (GBPA::UPDATE::get(r)) {
			GBPA::UPDATE::set(r, 0);
			hw->regs.set(r);
		}
		return true;
	}
	case IRQ_CTRL::offset: {
		IRQ_CTRL r;
		IRQ_CTRLACK ack;

		r.raw = val & (IRQ_CTRL::GERROR_IRQEN::mask | IRQ_CTRL::EVENTQ_IRQEN::mask |
			       (hw->config.pri ? IRQ_CTRL::PRIQ_IRQEN::mask : 0));
		ack.raw = r.raw;
		hw->regs.set(r);
		hw->regs.set(ack);
		return true;
	}
	case GERRORN::offset: {
		GERRORN r;

		r.raw = val & 0x1fd;
		hw->regs.set(r);
		return true;
	}
	case CR1::offset:
	case CR2::offset:
	case STRTAB_BASE::offset:
	case STRTAB_BASE::offset + 4:
	case STRTAB_BASE_CFG::offset:
	case CMDQ_BASE::offset:
	case CMDQ_BASE::offset + 4:
	case EVENTQ_BASE::offset:
	case EVENTQ_BASE::offset + 4:
	case PRIQ_BASE::offset:
	case PRIQ_BASE::offset + 4:
	case smmuv3_regs::GERROR_IRQ_CFG0::offset:
	case smmuv3_regs::GERROR_IRQ_CFG0::offset + 4:
	case smmuv3_regs::GERROR_IRQ_CFG1::offset:
	case smmuv3_regs::GERROR_IRQ_CFG2::offset:
	case smmuv3_regs::EVENTQ_IRQ_CFG0::offset:
	case smmuv3_regs::EVENTQ_IRQ_CFG0::offset + 4:
	case smmuv3_regs::EVENTQ_IRQ_CFG1::offset:
	case smmuv3_regs::EVENTQ_IRQ_CFG2::offset:
	case smmuv3_regs::PRIQ_IRQ_CFG0::offset:
	case smmuv3_regs::PRIQ_IRQ_CFG0::offset + 4:
	case smmuv3_regs::PRIQ_IRQ_CFG1::offset:
	case smmuv3_regs::PRIQ_IRQ_CFG2::offset:
		if (may_write(hw, off))
			hw->regs.store(off, 4, val);
		return true;
	case CMDQ_PROD::offset:
		hw->regs.store(off, 4, val & CMDQ_PROD::WR::mask);
		return true;
	case CMDQ_CONS::offset:
		if (may_write(hw, off))
			hw->regs.store(off, 4, val & (CMDQ_CONS::RD::mask | CMDQ_CONS::ERR::mask));
		return true;
	case EVENTQ_PROD::offset:
	case PRIQ_PROD::offset:
		if (may_write(hw, off))
			hw->regs.store(off, 4,
				       val & (EVENTQ_PROD::WR::mask | EVENTQ_PROD::OVFLG::mask));
		return true;
	case EVENTQ_CONS::offset:
	case PRIQ_CONS::offset:
		hw->regs.store(off, 4, val & (EVENTQ_CONS::RD::mask | EVENTQ_CONS::OVACKFLG::mask));
		return true;
	default:
		return false;
	}
}

static bool is_page1(u32 off)
{
	return off == EVENTQ_PROD::offset || off == EVENTQ_CONS::offset ||
	       off == PRIQ_PROD::offset || off == PRIQ_CONS::offset;
}

static bool is_hole(u32 off)
{
	return (off >= 0x30 && off < 0x44) || (off >= 0x48 && off < 0x50) ||
	       (off >= 0x58 && off < 0x60) || (off >= 0x78 && off < 0x80) || off == 0x8c ||
	       off >= smmuv3_regs::end;
}

/* The offset of the register in page 0, or negative when there is none. */
static int smmuv3_offset(u64 off)
{
	u32 reg = (u32)(off % SMMUV3_PAGE_SIZE);

	if (is_hole(reg) || (off >= SMMUV3_PAGE_SIZE && !is_page1(reg)))
		return -1;
	return (int)reg;
}

static bool smmuv3_mmio_read(void *opaque, u64 off, unsigned int size, u64 *val)
{
	struct smmuv3_hw *hw = static_cast<struct smmuv3_hw *>(opaque);
	int reg = smmuv3_offset(off);

	if (reg < 0 || (size == 8 && smmuv3_offset(off + 4) < 0))
		return false;
	smmuv3_hw_guard g(hw);
	*val = hw->regs.load((u32)reg, size);
	return true;
}

static bool smmuv3_mmio_write(void *opaque, u64 off, unsigned int size, u64 val)
{
	struct smmuv3_hw *hw = static_cast<struct smmuv3_hw *>(opaque);
	int reg = smmuv3_offset(off);

	if (reg < 0 || (size == 8 && smmuv3_offset(off + 4) < 0))
		return false;
	{
		smmuv3_hw_guard g(hw);

		if (!write32(hw, (u32)reg, (u32)val) ||
		    (size == 8 && !write32(hw, (u32)reg + 4, (u32)(val >> 32))))
			return false;
	}
	if (hw->config.mode == HW_EAGER)
		smmuv3_hw_run_until_idle(hw);
	return true;
}

static const struct mmio_ops smmuv3_mmio_ops = {
	.read = smmuv3_mmio_read,
	.write = smmuv3_mmio_write,
};

/* ---- its life ---- */

static void reset(struct smmuv3_hw *hw) __must_hold(hw->lock)
{
	const struct smmuv3_hw_config *c = &hw->config;
	IDR0 idr0;
	IDR1 idr1;
	IDR3 idr3;
	IDR5 idr5;
	IIDR iidr;
	AIDR aidr;

	IDR0::S2P::set(idr0, c->s2p);
	IDR0::S1P::set(idr0, c->s1p);
	IDR0::TTF::set(idr0, 2);
	IDR0::COHACC::set(idr0, 1);
	IDR0::HTTU::set(idr0, c->httu);
	IDR0::HYP::set(idr0, c->hyp);
	IDR0::ATS::set(idr0, c->ats);
	IDR0::NS1ATS::set(idr0, 1);
	IDR0::ASID16::set(idr0, c->asid16);
	IDR0::MSI::set(idr0, c->msi);
	IDR0::SEV::set(idr0, c->sev);
	IDR0::PRI::set(idr0, c->pri);
	IDR0::VMID16::set(idr0, c->vmid16);
	IDR0::CD2L::set(idr0, c->cd2l);
	IDR0::TTENDIAN::set(idr0, 2);
	IDR0::STALL_MODEL::set(idr0, c->stall ? 0 : 1);
	IDR0::TERM_MODEL::set(idr0, 1);
	IDR0::ST_LEVEL::set(idr0, c->st2l);
	hw->regs.set(idr0);
	IDR1::SIDSIZE::set(idr1, c->sid_bits);
	IDR1::SSIDSIZE::set(idr1, c->ssid_bits);
	IDR1::PRIQS::set(idr1, c->pri ? c->priqs : 0);
	IDR1::EVENTQS::set(idr1, c->eventqs);
	IDR1::CMDQS::set(idr1, c->cmdqs);
	hw->regs.set(idr1);
	IDR3::RIL::set(idr3, c->ril);
	IDR3::BBML::set(idr3, c->bbml);
	hw->regs.set(idr3);
	IDR5::OAS::set(idr5, c->oas);
	IDR5::GRAN4K::set(idr5, c->granules & 1);
	IDR5::GRAN16K::set(idr5, c->granules >> 1 & 1);
	IDR5::GRAN64K::set(idr5, c->granules >> 2 & 1);
	IDR5::STALL_MAX::set(idr5, c->stall ? SMMUV3_STALL_MAX : 0);
	hw->regs.set(idr5);
	iidr.raw = c->iidr;
	hw->regs.set(iidr);
	AIDR::MINOR::set(aidr, 2);
	hw->regs.set(aidr);
}

result<struct smmuv3_hw *> smmuv3_hw_create(const struct smmuv3_hw_config *config)
{
	struct smmuv3_hw *hw = new (std::nothrow) struct smmuv3_hw;
	int rc;

	if (!hw)
		return -ENOMEM;
	hw->config = *config;
	{
		smmuv3_hw_guard g(hw);

		reset(hw);
	}
	hw->region.name = config->name;
	hw->region.phys = config->phys;
	hw->region.size = SMMUV3_REGION_SIZE;
	hw->region.ops = &smmuv3_mmio_ops;
	hw->region.opaque = hw;
	rc = mmio_register(config->kernel, &hw->region);
	if (rc) {
		delete hw;
		return rc;
	}
	return hw;
}

void smmuv3_hw_destroy(struct smmuv3_hw *hw)
{
	if (!hw)
		return;
	mmio_unregister(hw->config.kernel, &hw->region);
	delete hw;
}

int smmuv3_hw_add_endpoint(struct smmuv3_hw *hw, struct hw_endpoint *ep)
{
	smmuv3_hw_guard g(hw);

	if ((u64)ep->sid >> hw->config.sid_bits)
		return -EINVAL;
	if (find_endpoint(hw, ep->sid))
		return -EBUSY;
	list_add_tail(&ep->node, &hw->endpoints);
	return 0;
}

void smmuv3_hw_remove_endpoint(struct smmuv3_hw *hw, struct hw_endpoint *ep)
{
	smmuv3_hw_guard g(hw);

	for (struct smmuv3_stall &stall : hw->stalls)
		if (stall.ep == ep)
			stall = {};
	list_del_init(&ep->node);
}

struct smmuv3_hw_stats smmuv3_hw_get_stats(struct smmuv3_hw *hw)
{
	smmuv3_hw_guard g(hw);

	return hw->stats;
}
