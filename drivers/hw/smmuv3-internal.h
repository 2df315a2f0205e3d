// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Between the parts of the SMMUv3 model. No kernel counterpart.
 */
#pragma once

#include "drivers/hw/smmuv3-hw.h"

/* What went wrong with an access. */
struct smmuv3_fault {
	u8 id = 0; /* enum smmuv3_event; 0: terminated without a word */
	bool record = true;
	bool stall = false;
	bool s2 = false;
	u8 cls = CLASS_IN;
	u64 ipa = 0;
	u64 fetch_addr = 0;
};

void smmuv3_tlb_insert(struct smmuv3_hw *hw, const struct smmuv3_tlb_entry *e)
	__must_hold(hw->lock);
/* NULL: nothing kept. */
struct smmuv3_tlb_entry *smmuv3_tlb_find(struct smmuv3_hw *hw, enum tlb_kind kind, bool el2,
					 u16 vmid, u16 asid, u64 addr) __must_hold(hw->lock);
/* The fault of the access goes to the event queue. False: it was lost. */
bool smmuv3_record_event(struct smmuv3_hw *hw, const struct hw_txn *txn,
			 const struct smmuv3_fault *fault, u16 stag) __must_hold(hw->lock);
/* The index of a free place for a stalled transaction, or negative. */
int smmuv3_alloc_stall(struct smmuv3_hw *hw, u32 sid) __must_hold(hw->lock);
