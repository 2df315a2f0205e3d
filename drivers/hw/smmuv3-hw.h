// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A model of an Arm SMMUv3: what one believes about the silicon that drivers/arm-smmu-v3 drives.
 * No kernel counterpart. Registers are an MMIO region (the map is in smmuv3-regs.h), queues, tables
 * and descriptors are in the kernel's memory, interrupts go to a callback.
 *
 * It keeps what real hardware may keep: STEs and CDs (valid or not) until a CFGI command, and
 * translations until a TLBI command, whatever happens to the memory that they came from. The caches
 * are bounded and replaced in turn, so that the same accesses always give the same result. Table
 * descriptors above the leaf are not cached, and SYNC has nothing to wait for: every command and
 * every DMA is over when the model's lock is given back.
 *
 * Not modelled: secure state, PASID capabilities of endpoints, ECMDQs, contiguous hints, MTE, RAS,
 * memory attributes, 52-bit addresses.
 *
 * All of it is under one lock per SMMU, its CMDQV and its devices included. Interrupts are raised
 * after that lock is given back.
 */
#pragma once

#include <atomic>

#include "core/linux/err.h"
#include "core/linux/io.h"
#include "core/linux/list.h"
#include "core/linux/raw_lock.h"
#include "drivers/hw/smmuv3-regs.h"

struct smmuv3_hw;
struct smmuv3_hw_vendor;

enum hw_mode : u8 {
	/* The queues move when somebody calls smmuv3_hw_step() (kernel::idle, a test). */
	HW_STEPPED,
	/* A store to a register returns when all that it started is done. */
	HW_EAGER,
	/*
	 * A thread of the owner's is in smmuv3_hw_run(). VINTF page 0 is memory that a client can
	 * map; its stores are seen by polling.
	 */
	HW_FREE_RUNNING,
};

enum smmuv3_hw_irq : u8 {
	SMMUV3_IRQ_EVENTQ,
	SMMUV3_IRQ_PRIQ,
	SMMUV3_IRQ_CMDQ_SYNC,
	SMMUV3_IRQ_GERROR,
	SMMUV3_IRQ_CMDQV,
	SMMUV3_NR_IRQS,
};

/*
 * What the silicon is built with. The defaults are a machine like Tegra241: two stages, two-level
 * tables, 16-bit ASIDs and VMIDs, ATS, range invalidation, 48-bit addresses.
 */
struct smmuv3_hw_config {
	struct kernel *kernel = nullptr;
	const char *name = "smmuv3";
	phys_addr_t phys = 0;
	enum hw_mode mode = HW_STEPPED;

	bool s1p = true, s2p = true;
	bool hyp = true;
	bool ats = true;
	bool pri = false;
	bool msi = false;
	bool sev = true;
	bool asid16 = true, vmid16 = true;
	bool cd2l = true, st2l = true;
	bool stall = true;
	bool ril = true;
	u8 bbml = 2;
	u8 httu = 2; /* IDR0.HTTU: 0 none, 1 access flag, 2 access flag and dirty state */
	u8 sid_bits = 16;
	u8 ssid_bits = 16;
	u8 cmdqs = 14, eventqs = 14, priqs = 10; /* log2 of the largest queues, in entries */
	u8 oas = 5;				 /* IDR5.OAS: 5 is 48 bits */
	u8 granules = 0x7;			 /* bit 0: 4K, 1: 16K, 2: 64K */
	u32 iidr = 0x43b;

	/*
	 * Lines of the interrupts, and what raises them, on any thread and without a lock of the
	 * model's: irq_raise(). NULL: nobody listens.
	 */
	unsigned int irqs[SMMUV3_NR_IRQS] = {};
	bool (*raise)(struct kernel *kernel, unsigned int irq) = nullptr;
};

/* ---- devices behind it ---- */

struct hw_endpoint;

/* All are called with the SMMU's lock held. */
struct hw_endpoint_ops {
	/* Drops what the ATC holds of @first..@last. False: no answer in time. */
	bool (*atc_inv)(struct hw_endpoint *ep, bool ssv, u32 ssid, bool global, u64 first,
			u64 last);
	/* Answer to a page request. */
	void (*pri_resp)(struct hw_endpoint *ep, u16 grpid, u8 resp);
	/* Answer to a stalled transaction: RESUME_x. */
	void (*resume)(struct hw_endpoint *ep, u16 stag, u8 resp);
};
enum smmuv3_resume : u8 { RESUME_TERM = 0, RESUME_RETRY = 1, RESUME_ABORT = 2 };

struct hw_endpoint {
	const struct hw_endpoint_ops *ops = nullptr;
	u32 sid = 0;
	struct list_head node;
};

/* One access of a device. */
struct hw_txn {
	u32 sid = 0;
	bool ssv = false;
	u32 ssid = 0;
	u64 iova = 0;
	bool write = false;
	bool priv = false;
	bool inst = false;
	bool translated = false; /* @iova is a physical address from the device's ATC */
};

enum hw_txn_status : u8 {
	HW_TXN_OK,
	HW_TXN_ABORT,	/* terminated by the SMMU */
	HW_TXN_STALLED, /* waits for CMD_RESUME */
	HW_TXN_BUS,	/* no memory at the physical address */
};

struct hw_translation {
	u64 pa = 0;
	/* The translation holds for the aligned 2^@shift bytes around the address. */
	u8 shift = 12;
	bool read = false, write = false;
	u16 stag = 0; /* of a stalled one */
};

/* ---- what it keeps ---- */

enum tlb_kind : u8 {
	TLB_S1, /* from a VA: stage 1, or both stages in one */
	TLB_S2, /* from an IPA */
};

struct smmuv3_tlb_entry {
	bool valid = false;
	enum tlb_kind kind = TLB_S1;
	bool el2 = false;
	bool global = false;
	u16 vmid = 0;
	u16 asid = 0;
	u8 shift = 0;	   /* of what it translates */
	u8 leaf_shift = 0; /* of the leaf that it came from, stage 1's of a combined one */
	u8 level = 0;	   /* of that leaf */
	u8 granule = 0;	   /* log2, of that leaf's table */
	bool s1_write = false, s1_unpriv = false;
	bool s2_read = true, s2_write = true;
	bool s2_device = false; /* device memory by stage 2: no place for tables, with S2PTW */
	/* A write must look at the descriptor again: its dirty state is updated by hardware. */
	bool clean = false;
	u64 in = 0, ipa = 0, out = 0; /* first addresses */
};

struct smmuv3_ste_entry {
	bool valid = false;
	u32 sid = 0;
	u8 event = 0; /* what an access through it reports; 0: usable */
	struct STE ste;
};

struct smmuv3_cd_entry {
	bool valid = false;
	u32 sid = 0, ssid = 0;
	u8 event = 0;
	struct CD cd;
};

struct smmuv3_stall {
	bool used = false;
	u32 sid = 0;
	struct hw_endpoint *ep = nullptr;
};

#define SMMUV3_TLB_ENTRIES 128
#define SMMUV3_STE_ENTRIES 32
#define SMMUV3_CD_ENTRIES  32
#define SMMUV3_STALL_MAX   8

struct smmuv3_hw_stats {
	u64 commands = 0;
	u64 tlb_hits = 0, tlb_misses = 0;
	u64 events = 0, events_lost = 0;
};

/* Where commands come from, as far as executing them depends on it. */
struct hw_cmd_source {
	/* An ATC_INV was not answered and no SYNC has told so far. */
	bool atc_timeout = false;
};

/* What a vendor has put beside an SMMU's own queues. Called with the lock of the SMMU held. */
struct smmuv3_hw_vendor_ops {
	/* Every queue that has a command does one. False: none had. */
	bool (*step)(struct smmuv3_hw_vendor *vendor);
	/* A SYNC of the SMMU's own queue takes pending timeouts from queues that do not run. */
	void (*flush_timeouts)(struct smmuv3_hw_vendor *vendor);
};

/* A vendor's model derives from it, and puts itself into smmuv3_hw::vendor while it is there. */
struct smmuv3_hw_vendor {
	const struct smmuv3_hw_vendor_ops *ops = nullptr;
};

struct smmuv3_hw {
	struct smmuv3_hw_config config;
	struct mmio_region region;

	raw_mutex lock;
	reg_page<0x100> regs __guarded_by(lock);
	struct hw_cmd_source cmdq __guarded_by(lock);
	struct smmuv3_tlb_entry tlb[SMMUV3_TLB_ENTRIES] __guarded_by(lock);
	/* Those of tlb that may be valid: others need not be looked at. */
	u64 tlb_used[SMMUV3_TLB_ENTRIES / 64] __guarded_by(lock) = {};
	u32 tlb_next __guarded_by(lock) = 0;
	struct smmuv3_ste_entry stes[SMMUV3_STE_ENTRIES] __guarded_by(lock);
	u32 ste_next __guarded_by(lock) = 0;
	struct smmuv3_cd_entry cds[SMMUV3_CD_ENTRIES] __guarded_by(lock);
	u32 cd_next __guarded_by(lock) = 0;
	struct smmuv3_stall stalls[SMMUV3_STALL_MAX] __guarded_by(lock);
	struct list_head endpoints __guarded_by(lock);
	struct smmuv3_hw_vendor *vendor __guarded_by(lock) = nullptr;
	u32 irq_pending __guarded_by(lock) = 0;
	struct smmuv3_hw_stats stats __guarded_by(lock);
};

/* Holds the model's lock. What was raised meanwhile is delivered after it is given back. */
class scoped_lock_struct smmuv3_hw_guard {
public:
	explicit smmuv3_hw_guard(struct smmuv3_hw *hw) __acquires(hw->lock) : hw_(hw)
	{
		hw->lock.lock();
	}
	~smmuv3_hw_guard() __releases();
	smmuv3_hw_guard(const smmuv3_hw_guard &) = delete;
	smmuv3_hw_guard &operator=(const smmuv3_hw_guard &) = delete;

private:
	struct smmuv3_hw *hw_;
};

/* Builds one and puts its registers at config->phys. -ENOMEM, -EBUSY: something is there. */
result<struct smmuv3_hw *> smmuv3_hw_create(const struct smmuv3_hw_config *config);
/* What a vendor put beside it and its endpoints are gone. NULL is nothing. */
void smmuv3_hw_destroy(struct smmuv3_hw *hw);

/* ---- time ---- */

/* Each queue that has work does one command. False: nothing was to do. */
bool smmuv3_hw_step(struct smmuv3_hw *hw);
void smmuv3_hw_run_until_idle(struct smmuv3_hw *hw);
/*
 * Runs until *@stop, on a thread of the caller's, with the deferred work that its interrupts queue.
 */
void smmuv3_hw_run(struct smmuv3_hw *hw, const std::atomic<bool> *stop);

/* ---- devices ---- */

/* -EBUSY: the stream id is taken; -EINVAL: it is beyond IDR1.SIDSIZE. */
int smmuv3_hw_add_endpoint(struct smmuv3_hw *hw, struct hw_endpoint *ep);
/* Its stalled transactions are forgotten. */
void smmuv3_hw_remove_endpoint(struct smmuv3_hw *hw, struct hw_endpoint *ep);

/*
 * Translates, recording what goes wrong as the hardware does. @ats: as an ATS translation request,
 * whose faults are answers and no events.
 */
enum hw_txn_status __smmuv3_hw_translate(struct smmuv3_hw *hw, const struct hw_txn *txn, bool ats,
					 struct hw_translation *out) __must_hold(hw->lock);
/*
 * @len bytes from txn->iova on, page by page; *@done says how many went well. With HW_TXN_STALLED
 * *@stag names the transaction.
 */
enum hw_txn_status __smmuv3_hw_dma(struct smmuv3_hw *hw, struct hw_txn txn, void *buf, size_t len,
				   size_t *done, u16 *stag) __must_hold(hw->lock);
/* A page request of @txn. False: the queue did not take it. */
bool __smmuv3_hw_page_request(struct smmuv3_hw *hw, const struct hw_txn *txn, u16 grpid, bool last)
	__must_hold(hw->lock);

enum hw_txn_status smmuv3_hw_dma(struct smmuv3_hw *hw, const struct hw_txn *txn, void *buf,
				 size_t len);

struct smmuv3_hw_stats smmuv3_hw_get_stats(struct smmuv3_hw *hw);

/* ---- shared with a vendor's queues ---- */

/* Indices of a queue of 2^@log2 entries: the index and, above it, the wrap bit. */
static inline u32 hw_queue_mask(u8 log2)
{
	return (2u << log2) - 1;
}
static inline bool hw_queue_empty(u32 prod, u32 cons, u8 log2)
{
	return ((prod ^ cons) & hw_queue_mask(log2)) == 0;
}
static inline bool hw_queue_full(u32 prod, u32 cons, u8 log2)
{
	return ((prod ^ cons) & hw_queue_mask(log2)) == 1u << log2;
}
static inline u32 hw_queue_next(u32 idx, u8 log2)
{
	return (idx + 1) & hw_queue_mask(log2);
}
/* Where entry @idx of 2^@entry_log2 bytes is. The base is aligned down to the queue's size. */
static inline phys_addr_t hw_queue_entry(phys_addr_t base, u32 idx, u8 log2, u8 entry_log2)
{
	return ALIGN_DOWN(base, (phys_addr_t)1 << (log2 + entry_log2)) +
	       ((phys_addr_t)(idx & ((1u << log2) - 1)) << entry_log2);
}

/* Does one command. */
enum smmuv3_cerror smmuv3_hw_execute(struct smmuv3_hw *hw, struct hw_cmd_source *source,
				     const struct CMD *cmd) __must_hold(hw->lock);
void smmuv3_hw_raise(struct smmuv3_hw *hw, enum smmuv3_hw_irq irq) __must_hold(hw->lock);
