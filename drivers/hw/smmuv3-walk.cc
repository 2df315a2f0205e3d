// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How the model of an SMMUv3 translates: stream table, context descriptors, table walks of both
 * stages, faults. See smmuv3-hw.h. No kernel counterpart.
 */
#include "core/linux/printk.h"
#include "drivers/hw/hw-mem.h"
#include "drivers/hw/smmuv3-internal.h"

using CR0 = smmuv3_regs::CR0;
using CR2 = smmuv3_regs::CR2;
using GBPA = smmuv3_regs::GBPA;
using STRTAB_BASE = smmuv3_regs::STRTAB_BASE;
using STRTAB_BASE_CFG = smmuv3_regs::STRTAB_BASE_CFG;

/* VMSAv8-64 descriptors. */
#define PTE_VALID	 BIT_ULL(0)
#define PTE_TABLE	 BIT_ULL(1)	   /* at the last level: a page */
#define PTE_S2_DEVICE	 GENMASK_ULL(5, 4) /* both clear: device memory */
#define PTE_AP_UNPRIV	 BIT_ULL(6)
#define PTE_AP_RDONLY	 BIT_ULL(7)
#define PTE_S2_READ	 BIT_ULL(6)
#define PTE_S2_WRITE	 BIT_ULL(7)
#define PTE_AF		 BIT_ULL(10)
#define PTE_NG		 BIT_ULL(11)
#define PTE_DBM		 BIT_ULL(51)
#define PTE_TAB_NOUNPRIV BIT_ULL(61)
#define PTE_TAB_RDONLY	 BIT_ULL(62)
#define PTE_ADDR	 GENMASK_ULL(47, 12)

/* One access on its way. */
struct walk {
	const struct hw_txn *txn;
	const struct STE *ste = nullptr;
	const struct CD *cd = nullptr;
	bool ats = false;
	bool el2 = false;
	bool s1 = false, s2 = false;
	u16 vmid = 0, asid = 0;
	struct smmuv3_fault fault = {};
};

static u8 address_bits(u8 code)
{
	static constexpr u8 bits[] = {32, 36, 40, 42, 44, 48};

	return code < sizeof(bits) ? bits[code] : 48;
}

static bool fault_at(struct walk *w, u8 id, bool s2, u8 cls, u64 ipa)
{
	w->fault.id = id;
	w->fault.s2 = s2;
	w->fault.cls = cls;
	w->fault.ipa = ipa;
	/* Who may say that a fault is not recorded, or that it stalls: the stage that it is of. */
	if (s2) {
		w->fault.record = STE::S2R::get(*w->ste);
		w->fault.stall = STE::S2S::get(*w->ste);
	} else if (w->cd) {
		w->fault.record = CD::R::get(*w->cd);
		w->fault.stall = CD::S::get(*w->cd) && !STE::S1STALLD::get(*w->ste);
	}
	return false;
}

static bool walk_abort(struct walk *w, bool s2, u8 cls, u64 ipa, u64 fetch)
{
	w->fault.id = F_WALK_EABT;
	w->fault.record = true;
	w->fault.stall = false;
	w->fault.s2 = s2;
	w->fault.cls = cls;
	w->fault.ipa = ipa;
	w->fault.fetch_addr = fetch;
	return false;
}

static bool config_fault(struct walk *w, u8 id, u64 fetch = 0)
{
	w->fault.id = id;
	w->fault.record = true;
	w->fault.stall = false;
	w->fault.fetch_addr = fetch;
	return false;
}

/* ---- tables ---- */

struct table_format {
	u8 granule = 12;    /* log2 */
	u8 input_bits = 48; /* of an address that the table can translate */
	u8 start = 0;	    /* level */
	u8 output_bits = 48;
	u64 base = 0;

	u8 level_shift(u8 level) const { return (u8)(granule + (3 - level) * (granule - 3)); }
	bool has_block(u8 level) const { return level == 2 || (level == 1 && granule == 12); }
};

static bool granule_supported(const struct smmuv3_hw *hw, u8 granule)
{
	return hw->config.granules & (1u << (granule - 12) / 2);
}

/* What stage 2 of @ste walks; false: not a format that there is. */
static bool stage2_format(const struct smmuv3_hw *hw, const struct STE &ste, struct table_format *f)
{
	static constexpr u8 granules[] = {12, 16, 14, 0};
	const u8 oas = address_bits(hw->config.oas);
	const u8 t0sz = (u8)STE::S2T0SZ::get(ste);
	const u8 sl0 = (u8)STE::S2SL0::get(ste);
	u8 stride, first_bits;

	f->granule = granules[STE::S2TG::get(ste)];
	if (!f->granule || !granule_supported(hw, f->granule) || !STE::S2AA64::get(ste) ||
	    STE::S2ENDI::get(ste))
		return false;
	if (t0sz < 16 || t0sz > 39 || 64 - t0sz > oas || sl0 == 3)
		return false;
	f->input_bits = 64 - t0sz;
	f->start = f->granule == 12 ? 2 - sl0 : 3 - sl0;
	f->output_bits = min(address_bits((u8)STE::S2PS::get(ste)), oas);
	stride = f->granule - 3;
	/* Up to sixteen tables side by side at the first level; at least two entries. */
	if (f->input_bits <= f->level_shift(f->start))
		return false;
	first_bits = f->input_bits - f->level_shift(f->start);
	if (first_bits > stride + 4)
		return false;
	f->base = STE::S2TTB::get_raw(ste);
	f->base = f->base >> (first_bits + 3) << (first_bits + 3);
	return f->base >> oas == 0;
}

static bool stage1_format(const struct smmuv3_hw *hw, const struct CD &cd, bool upper,
			  struct table_format *f)
{
	static constexpr u8 granules0[] = {12, 16, 14, 0};
	static constexpr u8 granules1[] = {0, 14, 12, 16};
	const u8 oas = address_bits(hw->config.oas);
	const u8 tsz = (u8)(upper ? CD::T1SZ::get(cd) : CD::T0SZ::get(cd));
	u8 stride;

	f->granule = upper ? granules1[CD::TG1::get(cd)] : granules0[CD::TG0::get(cd)];
	if (!f->granule || !granule_supported(hw, f->granule) || tsz < 16 || tsz > 39)
		return false;
	stride = f->granule - 3;
	f->input_bits = 64 - tsz;
	f->start = (u8)(4 - DIV_ROUND_UP(f->input_bits - f->granule, stride));
	f->output_bits = min(address_bits((u8)CD::IPS::get(cd)), oas);
	f->base = upper ? CD::TTB1::get_raw(cd) : CD::TTB0::get_raw(cd);
	f->base = f->base >> (f->input_bits - f->level_shift(f->start) + 3)
				     << (f->input_bits - f->level_shift(f->start) + 3);
	return f->base >> oas == 0;
}

/* ---- configuration ---- */

/* What an access through @ste reports, 0 when it is usable. */
static u8 check_ste(const struct smmuv3_hw *hw, const struct STE &ste)
{
	const u8 config = (u8)STE::CONFIG::get(ste);
	const u8 strw = (u8)STE::STRW::get(ste);
	const u8 cdmax = (u8)STE::S1CDMAX::get(ste);
	struct table_format f;

	if (!STE::V::get(ste))
		return C_BAD_STE;
	if (!(config & 4))
		return 0;
	if ((config & 1 && !hw->config.s1p) || (config & 2 && !hw->config.s2p))
		return C_BAD_STE;
	/* No split-stage ATS (IDR0.NS1ATS), no ATS without the feature. */
	if (STE::EATS::get(ste) > STE_EATS_TRANS || (STE::EATS::get(ste) && !hw->config.ats))
		return C_BAD_STE;
	if (config & 1) {
		if (strw != STE_STRW_NSEL1 &&
		    (strw != STE_STRW_EL2 || !hw->config.hyp || config & 2))
			return C_BAD_STE;
		if (cdmax > hw->config.ssid_bits)
			return C_BAD_STE;
		if (cdmax && (STE::S1FMT::get(ste) == 3 || STE::S1DSS::get(ste) == 3 ||
			      (STE::S1FMT::get(ste) && !hw->config.cd2l)))
			return C_BAD_STE;
	}
	if (config & 2) {
		if (!stage2_format(hw, ste, &f) || (STE::S2S::get(ste) && !hw->config.stall) ||
		    (STE::S2HA::get(ste) && !hw->config.httu) ||
		    (STE::S2HD::get(ste) && hw->config.httu < 2))
			return C_BAD_STE;
	}
	return 0;
}

static u8 check_cd(const struct smmuv3_hw *hw, const struct CD &cd)
{
	struct table_format f;

	/* IDR0.TERM_MODEL: faults always abort, so A is one. */
	if (!CD::V::get(cd) || !CD::AA64::get(cd) || CD::ENDI::get(cd) || !CD::A::get(cd))
		return C_BAD_CD;
	if ((CD::S::get(cd) && !hw->config.stall) || (CD::HA::get(cd) && !hw->config.httu) ||
	    (CD::HD::get(cd) && hw->config.httu < 2))
		return C_BAD_CD;
	if (!hw->config.asid16 && CD::ASID::get(cd) > 0xff)
		return C_BAD_CD;
	if ((!CD::EPD0::get(cd) && !stage1_format(hw, cd, false, &f)) ||
	    (!CD::EPD1::get(cd) && !stage1_format(hw, cd, true, &f)))
		return C_BAD_CD;
	return 0;
}

template <class Fmt> static bool read_format(struct smmuv3_hw *hw, u64 pa, Fmt *fmt)
{
	for (unsigned int i = 0; i != Fmt::words; i++)
		if (!hw_mem_read64(hw->config.kernel, pa + 8 * i, &fmt->word[i]))
			return false;
	return true;
}

/* Where the STE of @sid is. False: @w says why there is none. */
static bool locate_ste(struct smmuv3_hw *hw, struct walk *w, u32 sid, u64 *pa) __must_hold(hw->lock)
{
	STRTAB_BASE_CFG cfg = hw->regs.get<STRTAB_BASE_CFG>();
	u64 base = hw->regs.get<STRTAB_BASE>().raw & STRTAB_BASE::ADDR::mask;
	const u8 log2size = min((u8)STRTAB_BASE_CFG::LOG2SIZE::get(cfg), hw->config.sid_bits);
	const u8 split = (u8)STRTAB_BASE_CFG::SPLIT::get(cfg);
	struct STD std_desc;

	w->fault.record = CR2::RECINVSID::get(hw->regs.get<CR2>());
	w->fault.id = C_BAD_STREAMID;
	if ((u64)sid >> log2size)
		return false;
	if (!hw->config.st2l || !STRTAB_BASE_CFG::FMT::get(cfg)) {
		*pa = ALIGN_DOWN(base, 64ULL << log2size) + 64ULL * sid;
		return true;
	}
	if (split != 6 && split != 8 && split != 10)
		return false;
	*pa = ALIGN_DOWN(base, log2size > split ? 8ULL << (log2size - split) : 8ULL) +
	      8ULL * (sid >> split);
	if (!read_format(hw, *pa, &std_desc))
		return config_fault(w, F_STE_FETCH, *pa);
	const u8 span = (u8)STD::SPAN::get(std_desc);

	if (!span || span > split + 1 || (sid & ((1u << split) - 1)) >> (span - 1))
		return false;
	*pa = ALIGN_DOWN(STD::L2PTR::get_raw(std_desc), 64ULL << (span - 1)) +
	      64ULL * (sid & ((1u << split) - 1));
	return true;
}

/* The STE, from what is kept or from memory. NULL: @w says why. */
static const struct smmuv3_ste_entry *get_ste(struct smmuv3_hw *hw, struct walk *w, u32 sid)
	__must_hold(hw->lock)
{
	struct smmuv3_ste_entry *e;
	struct STE ste;
	u64 pa;

	for (struct smmuv3_ste_entry &kept : hw->stes)
		if (kept.valid && kept.sid == sid)
			return &kept;
	if (!locate_ste(hw, w, sid, &pa))
		return nullptr;
	if (!read_format(hw, pa, &ste)) {
		config_fault(w, F_STE_FETCH, pa);
		return nullptr;
	}
	e = &hw->stes[hw->ste_next];
	hw->ste_next = (hw->ste_next + 1) % SMMUV3_STE_ENTRIES;
	*e = {.valid = true, .sid = sid, .event = check_ste(hw, ste), .ste = ste};
	return e;
}

/* ---- walks ---- */

struct leaf {
	u64 out = 0; /* of the address asked for */
	u64 desc = 0;
	u8 level = 0, shift = 0, granule = 0;
	bool rdonly = false, nounpriv = false; /* said by tables on the way, stage 1 */
};

/*
 * Sets bits of the descriptor @desc at @pa, clears others. False: an abort. The descriptor may have
 * changed meanwhile: *@changed, walk again.
 */
static bool update_desc(struct smmuv3_hw *hw, u64 pa, u64 *desc, u64 set, u64 clear, bool *changed)
{
	u64 val = (*desc | set) & ~clear;
	bool done;

	if (val == *desc)
		return true;
	if (!hw_mem_cmpxchg64(hw->config.kernel, pa, *desc, val, &done))
		return false;
	if (done)
		*desc = val;
	else
		*changed = true;
	return true;
}

static bool stage2_allows(const struct walk *w, const struct smmuv3_tlb_entry *e, bool write,
			  u8 cls)
{
	return (write ? e->s2_write : e->s2_read) &&
	       !(cls == CLASS_TT && e->s2_device && STE::S2PTW::get(*w->ste));
}

/*
 * Stage 2 of @ipa, for @cls. @write: with the right to write; @table: the access reads or updates a
 * descriptor of stage 1. What was found is kept.
 */
static struct smmuv3_tlb_entry *stage2(struct smmuv3_hw *hw, struct walk *w, u64 ipa, bool write,
				       u8 cls) __must_hold(hw->lock)
{
	const struct STE &ste = *w->ste;
	const bool ha = STE::S2HA::get(ste) || STE::S2HD::get(ste);
	struct smmuv3_tlb_entry *kept;
	struct smmuv3_tlb_entry e;
	struct table_format f;
	u64 table, desc, pa;

	kept = smmuv3_tlb_find(hw, TLB_S2, false, w->vmid, 0, ipa);
	if (kept && !(write && kept->clean)) {
		if (!stage2_allows(w, kept, write, cls)) {
			fault_at(w, F_PERMISSION, true, cls, ipa);
			return nullptr;
		}
		return kept;
	}
	if (!stage2_format(hw, ste, &f)) {
		config_fault(w, C_BAD_STE);
		return nullptr;
	}
	if (ipa >> f.input_bits) {
		fault_at(w, F_TRANSLATION, true, cls, ipa);
		return nullptr;
	}
	for (unsigned int tries = 0; tries != 4; tries++) {
		bool changed = false;
		u8 shift = 0;
		u8 level;

		table = f.base;
		for (level = f.start;; level++) {
			u64 index;

			shift = f.level_shift(level);
			index = ipa >> shift;
			if (level != f.start)
				index &= (1ULL << (f.granule - 3)) - 1;
			pa = table + 8 * index;
			if (!hw_mem_read64(hw->config.kernel, pa, &desc)) {
				walk_abort(w, true, cls, ipa, pa);
				return nullptr;
			}
			if (!(desc & PTE_VALID) || (level == 3 && !(desc & PTE_TABLE)) ||
			    (level != 3 && !(desc & PTE_TABLE) && !f.has_block(level))) {
				fault_at(w, F_TRANSLATION, true, cls, ipa);
				return nullptr;
			}
			table = (desc & PTE_ADDR) >> f.granule << f.granule;
			if ((desc & PTE_ADDR) >> f.output_bits) {
				fault_at(w, F_ADDR_SIZE, true, cls, ipa);
				return nullptr;
			}
			if (level == 3 || !(desc & PTE_TABLE))
				break;
		}
		if (!(desc & PTE_AF)) {
			if (!ha && !STE::S2AFFD::get(ste)) {
				fault_at(w, F_ACCESS, true, cls, ipa);
				return nullptr;
			}
			if (ha && !update_desc(hw, pa, &desc, PTE_AF, 0, &changed)) {
				walk_abort(w, true, cls, ipa, pa);
				return nullptr;
			}
		}
		if (!changed && write && STE::S2HD::get(ste) && desc & PTE_DBM &&
		    !(desc & PTE_S2_WRITE) &&
		    !update_desc(hw, pa, &desc, PTE_S2_WRITE, 0, &changed)) {
			walk_abort(w, true, cls, ipa, pa);
			return nullptr;
		}
		if (changed)
			continue;
		e.valid = true;
		e.kind = TLB_S2;
		e.vmid = w->vmid;
		e.shift = shift;
		e.leaf_shift = shift;
		e.level = level;
		e.granule = f.granule;
		e.s2_read = desc & PTE_S2_READ;
		e.s2_write = desc & PTE_S2_WRITE;
		e.s2_device = !(desc & PTE_S2_DEVICE);
		e.clean = !e.s2_write && desc & PTE_DBM && STE::S2HD::get(ste);
		e.in = ipa >> shift << shift;
		e.ipa = e.in;
		e.out = (desc & PTE_ADDR) >> shift << shift;
		if (!stage2_allows(w, &e, write, cls)) {
			fault_at(w, F_PERMISSION, true, cls, ipa);
			return nullptr;
		}
		if (kept) {
			*kept = e;
			return kept;
		}
		smmuv3_tlb_insert(hw, &e);
		return smmuv3_tlb_find(hw, TLB_S2, false, w->vmid, 0, ipa);
	}
	/* Software changes the descriptor as fast as it is read. */
	fault_at(w, F_ACCESS, true, cls, ipa);
	return nullptr;
}

/* @ipa of a descriptor to its physical address. */
static bool table_address(struct smmuv3_hw *hw, struct walk *w, u64 ipa, bool write, u8 cls,
			  u64 *pa) __must_hold(hw->lock)
{
	const struct smmuv3_tlb_entry *e;

	*pa = ipa;
	if (!w->s2)
		return true;
	e = stage2(hw, w, ipa, write, cls);
	if (!e)
		return false;
	*pa = e->out + (ipa - e->in);
	return true;
}

static bool stage1_fault(struct walk *w, u8 id)
{
	return fault_at(w, id, false, CLASS_IN, 0);
}

/* Which half of the address space, and whether there is one. */
static bool select_half(struct walk *w, u64 *va, bool *upper)
{
	*upper = *va >> 55 & 1;
	if (*upper ? CD::TBI1::get(*w->cd) : CD::TBI0::get(*w->cd))
		*va = *upper ? *va | GENMASK_ULL(63, 56) : *va & ~GENMASK_ULL(63, 56);
	if (*upper ? CD::EPD1::get(*w->cd) : CD::EPD0::get(*w->cd))
		return stage1_fault(w, F_TRANSLATION);
	return true;
}

static bool stage1_walk(struct smmuv3_hw *hw, struct walk *w, u64 va, bool write, struct leaf *out)
	__must_hold(hw->lock)
{
	const bool ha = CD::HA::get(*w->cd);
	const bool hd = ha && CD::HD::get(*w->cd);
	struct table_format f;
	u64 table, desc, pa;
	bool upper;

	if (!select_half(w, &va, &upper))
		return false;
	if (!stage1_format(hw, *w->cd, upper, &f))
		return config_fault(w, C_BAD_CD);
	if (upper ? ~va >> f.input_bits : va >> f.input_bits)
		return stage1_fault(w, F_TRANSLATION);
	va &= (1ULL << f.input_bits) - 1;
	for (unsigned int tries = 0; tries != 4; tries++) {
		bool changed = false;
		u64 ipa = 0;

		*out = {};
		table = f.base;
		for (u8 level = f.start;; level++) {
			u8 shift = f.level_shift(level);
			u64 index = va >> shift;

			if (level != f.start)
				index &= (1ULL << (f.granule - 3)) - 1;
			ipa = table + 8 * index;
			if (!table_address(hw, w, ipa, false, CLASS_TT, &pa))
				return false;
			if (!hw_mem_read64(hw->config.kernel, pa, &desc))
				return walk_abort(w, false, CLASS_TT, ipa, pa);
			if (!(desc & PTE_VALID) || (level == 3 && !(desc & PTE_TABLE)) ||
			    (level != 3 && !(desc & PTE_TABLE) && !f.has_block(level)))
				return stage1_fault(w, F_TRANSLATION);
			if ((desc & PTE_ADDR) >> f.output_bits)
				return stage1_fault(w, F_ADDR_SIZE);
			if (level == 3 || !(desc & PTE_TABLE)) {
				out->level = level;
				out->shift = shift;
				out->granule = f.granule;
				break;
			}
			out->rdonly |= !!(desc & PTE_TAB_RDONLY);
			out->nounpriv |= !!(desc & PTE_TAB_NOUNPRIV);
			table = (desc & PTE_ADDR) >> f.granule << f.granule;
		}
		const bool set_af = !(desc & PTE_AF);
		const bool set_dirty = write && hd && desc & PTE_DBM && desc & PTE_AP_RDONLY &&
				       !out->rdonly;

		if (set_af && !ha && !CD::AFFD::get(*w->cd))
			return stage1_fault(w, F_ACCESS);
		if ((set_af && ha) || set_dirty) {
			/* The update is a write of the table, which stage 2 must allow. */
			if (!table_address(hw, w, ipa, true, CLASS_TT, &pa))
				return false;
			if (!update_desc(hw, pa, &desc, set_af ? PTE_AF : 0,
					 set_dirty ? PTE_AP_RDONLY : 0, &changed))
				return walk_abort(w, false, CLASS_TT, ipa, pa);
		}
		if (changed)
			continue;
		out->desc = desc;
		out->out = ((desc & PTE_ADDR) >> out->shift << out->shift) +
			   (va & ((1ULL << out->shift) - 1));
		return true;
	}
	return stage1_fault(w, F_ACCESS);
}

static bool stage1_allows(const struct smmuv3_tlb_entry *e, const struct hw_txn *txn)
{
	return (txn->priv || e->s1_unpriv) && (!txn->write || e->s1_write);
}

/* Through stage 1, and stage 2 below it when there is one: one kept entry holds both. */
static struct smmuv3_tlb_entry *stage1(struct smmuv3_hw *hw, struct walk *w) __must_hold(hw->lock)
{
	const u64 va = w->txn->iova;
	const bool write = w->txn->write;
	struct smmuv3_tlb_entry *kept, *s2 = nullptr;
	struct smmuv3_tlb_entry e;
	struct leaf leaf;

	kept = smmuv3_tlb_find(hw, TLB_S1, w->el2, w->vmid, w->asid, va);
	if (kept && write && kept->clean)
		kept->valid = false;
	else if (kept) {
		hw->stats.tlb_hits++;
		if (!stage1_allows(kept, w->txn)) {
			stage1_fault(w, F_PERMISSION);
			return nullptr;
		}
		if (!(write ? kept->s2_write : kept->s2_read)) {
			fault_at(w, F_PERMISSION, true, CLASS_IN, kept->ipa + (va - kept->in));
			return nullptr;
		}
		return kept;
	}
	hw->stats.tlb_misses++;
	if (!stage1_walk(hw, w, va, write, &leaf))
		return nullptr;
	e.valid = true;
	e.kind = TLB_S1;
	e.el2 = w->el2;
	e.vmid = w->vmid;
	e.asid = w->asid;
	e.global = !(leaf.desc & PTE_NG);
	e.leaf_shift = leaf.shift;
	e.level = leaf.level;
	e.granule = leaf.granule;
	e.s1_write = !(leaf.desc & PTE_AP_RDONLY) && !leaf.rdonly;
	e.s1_unpriv = leaf.desc & PTE_AP_UNPRIV && !leaf.nounpriv;
	e.clean = !e.s1_write && leaf.desc & PTE_DBM && CD::HD::get(*w->cd) && !leaf.rdonly;
	if (!stage1_allows(&e, w->txn)) {
		stage1_fault(w, F_PERMISSION);
		return nullptr;
	}
	e.shift = leaf.shift;
	e.ipa = leaf.out;
	e.out = leaf.out;
	if (w->s2) {
		s2 = stage2(hw, w, leaf.out, write, CLASS_IN);
		if (!s2)
			return nullptr;
		e.shift = min(leaf.shift, s2->shift);
		e.s2_read = s2->s2_read;
		e.s2_write = s2->s2_write;
		e.clean = e.clean || s2->clean;
		e.out = s2->out + (leaf.out - s2->in);
	}
	e.in = va >> e.shift << e.shift;
	e.ipa = e.ipa >> e.shift << e.shift;
	e.out = e.out >> e.shift << e.shift;
	smmuv3_tlb_insert(hw, &e);
	return smmuv3_tlb_find(hw, TLB_S1, w->el2, w->vmid, w->asid, va);
}

/* ---- context descriptors ---- */

static bool locate_cd(struct smmuv3_hw *hw, struct walk *w, u32 ssid, u64 *pa) __must_hold(hw->lock)
{
	const struct STE &ste = *w->ste;
	const u8 cdmax = (u8)STE::S1CDMAX::get(ste);
	const u8 fmt = cdmax ? (u8)STE::S1FMT::get(ste) : (u8)STE_S1FMT_LINEAR;
	u64 table = STE::S1CTXPTR::get_raw(ste);
	const u8 split = fmt == STE_S1FMT_4K_L2 ? 6 : 10;
	struct L1CD l1;

	if (fmt == STE_S1FMT_LINEAR)
		return table_address(hw, w, ALIGN_DOWN(table, 64ULL << cdmax) + 64ULL * ssid, false,
				     CLASS_CD, pa);
	if (!table_address(hw, w, table + 8ULL * (ssid >> split), false, CLASS_CD, pa))
		return false;
	if (!read_format(hw, *pa, &l1))
		return config_fault(w, F_CD_FETCH, *pa);
	if (!L1CD::V::get(l1))
		return config_fault(w, C_BAD_SUBSTREAMID);
	return table_address(hw, w, L1CD::L2PTR::get_raw(l1) + 64ULL * (ssid & ((1u << split) - 1)),
			     false, CLASS_CD, pa);
}

static const struct smmuv3_cd_entry *get_cd(struct smmuv3_hw *hw, struct walk *w, u32 ssid)
	__must_hold(hw->lock)
{
	const u32 sid = w->txn->sid;
	struct smmuv3_cd_entry *e;
	struct CD cd;
	u64 pa;

	for (struct smmuv3_cd_entry &kept : hw->cds)
		if (kept.valid && kept.sid == sid && kept.ssid == ssid)
			return &kept;
	if (!locate_cd(hw, w, ssid, &pa))
		return nullptr;
	if (!read_format(hw, pa, &cd)) {
		config_fault(w, F_CD_FETCH, pa);
		return nullptr;
	}
	e = &hw->cds[hw->cd_next];
	hw->cd_next = (hw->cd_next + 1) % SMMUV3_CD_ENTRIES;
	*e = {.valid = true, .sid = sid, .ssid = ssid, .event = check_cd(hw, cd), .cd = cd};
	return e;
}

/* The context that the access selects. False: a fault. *@bypass: none, stage 1 is not used. */
static bool select_context(struct walk *w, u32 *ssid, bool *bypass)
{
	const struct STE &ste = *w->ste;
	const u8 cdmax = (u8)STE::S1CDMAX::get(ste);

	*ssid = 0;
	*bypass = false;
	if (w->txn->ssv) {
		*ssid = w->txn->ssid;
		if (!cdmax || *ssid >> cdmax)
			return config_fault(w, C_BAD_SUBSTREAMID);
		/* Substream 0 is where accesses without one go. */
		if (!*ssid && STE::S1DSS::get(ste) == STE_S1DSS_SSID0)
			return config_fault(w, F_STREAM_DISABLED);
		return true;
	}
	if (!cdmax)
		return true;
	switch (STE::S1DSS::get(ste)) {
	case STE_S1DSS_TERMINATE:
		return config_fault(w, F_STREAM_DISABLED);
	case STE_S1DSS_BYPASS:
		*bypass = true;
		return true;
	default:
		return true;
	}
}

/* ---- an access ---- */

/* On success @out is filled. */
static bool translate(struct smmuv3_hw *hw, struct walk *w, struct hw_translation *out)
	__must_hold(hw->lock)
{
	const struct smmuv3_ste_entry *ste = get_ste(hw, w, w->txn->sid);
	const struct smmuv3_tlb_entry *e;
	u8 config;

	if (!ste)
		return false;
	w->fault = {};
	if (ste->event)
		return config_fault(w, ste->event);
	w->ste = &ste->ste;
	config = (u8)STE::CONFIG::get(ste->ste);
	/* Abort: not an error of anybody, so nothing is recorded. */
	if (!(config & 4)) {
		w->fault.record = false;
		w->fault.id = w->ats ? F_BAD_ATS_TREQ : F_STREAM_DISABLED;
		return false;
	}
	if (w->ats && (STE::EATS::get(ste->ste) != STE_EATS_TRANS || config == STE_CONFIG_BYPASS))
		return config_fault(w, F_BAD_ATS_TREQ);
	if (w->txn->translated) {
		if (CR0::ATSCHK::get(hw->regs.get<CR0>()) &&
		    STE::EATS::get(ste->ste) != STE_EATS_TRANS) {
			config_fault(w, F_TRANSL_FORBIDDEN);
			return false;
		}
		*out = {.pa = w->txn->iova, .shift = 12, .read = true, .write = true};
		return true;
	}
	w->s1 = config & 1;
	w->s2 = config & 2;
	w->el2 = w->s1 && STE::STRW::get(ste->ste) == STE_STRW_EL2;
	w->vmid = (u16)STE::S2VMID::get(ste->ste);
	if (!hw->config.vmid16)
		w->vmid &= 0xff;
	if (w->s1) {
		const struct smmuv3_cd_entry *cd;
		bool bypass;
		u32 ssid;

		if (!select_context(w, &ssid, &bypass))
			return false;
		if (bypass) {
			w->s1 = false;
		} else {
			cd = get_cd(hw, w, ssid);
			if (!cd)
				return false;
			if (cd->event)
				return config_fault(w, cd->event);
			w->cd = &cd->cd;
			w->asid = (u16)CD::ASID::get(cd->cd);
		}
	}
	if (w->s1) {
		e = stage1(hw, w);
		if (!e)
			return false;
		*out = {.pa = e->out + (w->txn->iova - e->in),
			.shift = e->shift,
			.read = e->s2_read && (w->txn->priv || e->s1_unpriv),
			.write = e->s2_write && e->s1_write && (w->txn->priv || e->s1_unpriv)};
		return true;
	}
	if (w->s2) {
		if (smmuv3_tlb_find(hw, TLB_S2, false, w->vmid, 0, w->txn->iova))
			hw->stats.tlb_hits++;
		else
			hw->stats.tlb_misses++;
		e = stage2(hw, w, w->txn->iova, w->txn->write, CLASS_IN);
		if (!e)
			return false;
		*out = {.pa = e->out + (w->txn->iova - e->in),
			.shift = e->shift,
			.read = e->s2_read,
			.write = e->s2_write};
		return true;
	}
	*out = {.pa = w->txn->iova, .shift = 12, .read = true, .write = true};
	if (w->txn->iova >> address_bits(hw->config.oas)) {
		w->fault.cls = CLASS_IN;
		w->fault.id = F_ADDR_SIZE;
		return false;
	}
	return true;
}

enum hw_txn_status __smmuv3_hw_translate(struct smmuv3_hw *hw, const struct hw_txn *txn, bool ats,
					 struct hw_translation *out)
{
	struct walk w = {.txn = txn, .ats = ats};
	bool walk_fault;
	int stag = -1;

	*out = {};
	if (!CR0::SMMUEN::get(hw->regs.get<CR0>())) {
		if (ats || GBPA::ABORT::get(hw->regs.get<GBPA>()))
			return HW_TXN_ABORT;
		*out = {.pa = txn->iova, .shift = 12, .read = true, .write = true};
		return HW_TXN_OK;
	}
	if (translate(hw, &w, out))
		return HW_TXN_OK;
	walk_fault = w.fault.id >= F_TRANSLATION;
	/* A translation request that finds nothing is answered with nothing. */
	if (ats && walk_fault)
		return HW_TXN_ABORT;
	if (w.fault.stall && walk_fault && w.fault.record)
		stag = smmuv3_alloc_stall(hw, txn->sid);
	w.fault.stall = stag >= 0;
	if (!smmuv3_record_event(hw, txn, &w.fault, (u16)(stag < 0 ? 0 : stag)) && stag >= 0) {
		/* Nobody would ever answer it. */
		hw->stalls[stag].used = false;
		return HW_TXN_ABORT;
	}
	out->stag = (u16)(stag < 0 ? 0 : stag);
	return stag < 0 ? HW_TXN_ABORT : HW_TXN_STALLED;
}

enum hw_txn_status __smmuv3_hw_dma(struct smmuv3_hw *hw, struct hw_txn txn, void *buf, size_t len,
				   size_t *done, u16 *stag)
{
	u8 *p = static_cast<u8 *>(buf);

	while (*done != len) {
		struct hw_translation out;
		size_t n = min(len - *done, (size_t)(PAGE_SIZE - offset_in_page(txn.iova)));
		enum hw_txn_status rc = __smmuv3_hw_translate(hw, &txn, false, &out);

		if (rc != HW_TXN_OK) {
			*stag = out.stag;
			return rc;
		}
		if (!(txn.write ? hw_mem_write(hw->config.kernel, out.pa, p + *done, n)
				: hw_mem_read(hw->config.kernel, out.pa, p + *done, n)))
			return HW_TXN_BUS;
		*done += n;
		txn.iova += n;
	}
	return HW_TXN_OK;
}

enum hw_txn_status smmuv3_hw_dma(struct smmuv3_hw *hw, const struct hw_txn *txn, void *buf,
				 size_t len)
{
	smmuv3_hw_guard g(hw);
	size_t done = 0;
	u16 stag = 0;

	return __smmuv3_hw_dma(hw, *txn, buf, len, &done, &stag);
}
