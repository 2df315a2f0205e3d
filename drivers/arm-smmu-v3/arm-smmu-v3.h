// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The SMMUv3 driver: registers, tables, commands, and what its files have of each other.
 *
 * Mirrors drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h of Linux 7.2, with the series' vsmmu_alloc
 * beside vsmmu_init. It differs in these points. A domain belongs to one SMMU and finds the masters
 * for ATC invalidations on its list of devices, as in v6.15: the sorted arrays of invalidations
 * that 7.2 has in their place serve domains over several SMMUs. A command queue is one lock with
 * the hardware's order of accesses under it, where the kernel's is lock free. A master's context
 * descriptors go when no stream table entry leads to them any more, not with the master. There is
 * no SVA (no ASID of a process, no broadcast), no EL2 host, no MSI for the SMMU's own interrupts,
 * no ACPI or device tree: struct arm_smmu_platform says what they would. ASIDs are the SMMU's,
 * nothing is global.
 */
#pragma once

#include "core/iommu/io-pgtable.h"
#include "core/iommu/iommu.h"
#include "core/iommu/iommufd.h"
#include "core/linux/atomic.h"
#include "core/linux/bitfield.h"
#include "core/linux/idr.h"
#include "core/linux/io.h"
#include "core/linux/list.h"
#include "core/linux/mutex.h"
#include "core/linux/spinlock.h"
#include "core/linux/xarray.h"

struct arm_smmu_device;
struct arm_smmu_domain;
struct arm_smmu_master;
struct arm_vsmmu;
struct iopf_queue;

/* ---- registers, page 0 ---- */

#define ARM_SMMU_IDR0		    0x0
#define IDR0_ST_LVL		    GENMASK(28, 27)
#define IDR0_ST_LVL_2LVL	    1
#define IDR0_STALL_MODEL	    GENMASK(25, 24)
#define IDR0_STALL_MODEL_STALL	    0
#define IDR0_STALL_MODEL_FORCE	    2
#define IDR0_TTENDIAN		    GENMASK(22, 21)
#define IDR0_TTENDIAN_MIXED	    0
#define IDR0_TTENDIAN_LE	    2
#define IDR0_CD2L		    BIT(19)
#define IDR0_VMID16		    BIT(18)
#define IDR0_PRI		    BIT(16)
#define IDR0_SEV		    BIT(14)
#define IDR0_MSI		    BIT(13)
#define IDR0_ASID16		    BIT(12)
#define IDR0_ATS		    BIT(10)
#define IDR0_HYP		    BIT(9)
#define IDR0_HTTU		    GENMASK(7, 6)
#define IDR0_HTTU_ACCESS	    1
#define IDR0_HTTU_ACCESS_DIRTY	    2
#define IDR0_HTTU_ACCESS_DIRTY_HAFT 3
#define IDR0_COHACC		    BIT(4)
#define IDR0_TTF		    GENMASK(3, 2)
#define IDR0_TTF_AARCH64	    2
#define IDR0_S1P		    BIT(1)
#define IDR0_S2P		    BIT(0)

#define ARM_SMMU_IDR1	    0x4
#define IDR1_TABLES_PRESET  BIT(30)
#define IDR1_QUEUES_PRESET  BIT(29)
#define IDR1_REL	    BIT(28)
#define IDR1_ATTR_TYPES_OVR BIT(27)
#define IDR1_CMDQS	    GENMASK(25, 21)
#define IDR1_EVTQS	    GENMASK(20, 16)
#define IDR1_PRIQS	    GENMASK(15, 11)
#define IDR1_SSIDSIZE	    GENMASK(10, 6)
#define IDR1_SIDSIZE	    GENMASK(5, 0)

#define ARM_SMMU_IDR3 0xc
#define IDR3_FWB      BIT(8)
#define IDR3_RIL      BIT(10)

#define ARM_SMMU_IDR5	0x14
#define IDR5_STALL_MAX	GENMASK(31, 16)
#define IDR5_VAX	GENMASK(11, 10)
#define IDR5_VAX_52_BIT 1
#define IDR5_GRAN64K	BIT(6)
#define IDR5_GRAN16K	BIT(5)
#define IDR5_GRAN4K	BIT(4)
#define IDR5_OAS	GENMASK(2, 0)
#define IDR5_OAS_52_BIT 6

#define ARM_SMMU_IIDR 0x18
#define ARM_SMMU_AIDR 0x1c

#define ARM_SMMU_CR0	0x20
#define CR0_ATSCHK	BIT(4)
#define CR0_CMDQEN	BIT(3)
#define CR0_EVTQEN	BIT(2)
#define CR0_PRIQEN	BIT(1)
#define CR0_SMMUEN	BIT(0)
#define ARM_SMMU_CR0ACK 0x24

#define ARM_SMMU_CR1 0x28
#define CR1_TABLE_SH GENMASK(11, 10)
#define CR1_TABLE_OC GENMASK(9, 8)
#define CR1_TABLE_IC GENMASK(7, 6)
#define CR1_QUEUE_SH GENMASK(5, 4)
#define CR1_QUEUE_OC GENMASK(3, 2)
#define CR1_QUEUE_IC GENMASK(1, 0)
#define CR1_CACHE_WB 1

#define ARM_SMMU_CR2  0x2c
#define CR2_PTM	      BIT(2)
#define CR2_RECINVSID BIT(1)

#define ARM_SMMU_GBPA 0x44
#define GBPA_UPDATE   BIT(31)
#define GBPA_ABORT    BIT(20)

#define ARM_SMMU_IRQ_CTRL     0x50
#define IRQ_CTRL_EVTQ_IRQEN   BIT(2)
#define IRQ_CTRL_PRIQ_IRQEN   BIT(1)
#define IRQ_CTRL_GERROR_IRQEN BIT(0)
#define ARM_SMMU_IRQ_CTRLACK  0x54

#define ARM_SMMU_GERROR		  0x60
#define GERROR_SFM_ERR		  BIT(8)
#define GERROR_MSI_GERROR_ABT_ERR BIT(7)
#define GERROR_MSI_PRIQ_ABT_ERR	  BIT(6)
#define GERROR_MSI_EVTQ_ABT_ERR	  BIT(5)
#define GERROR_MSI_CMDQ_ABT_ERR	  BIT(4)
#define GERROR_PRIQ_ABT_ERR	  BIT(3)
#define GERROR_EVTQ_ABT_ERR	  BIT(2)
#define GERROR_CMDQ_ERR		  BIT(0)
#define GERROR_ERR_MASK		  0x1fdu
#define ARM_SMMU_GERRORN	  0x64

#define ARM_SMMU_STRTAB_BASE	   0x80
#define STRTAB_BASE_RA		   BIT(62)
#define STRTAB_BASE_ADDR_MASK	   GENMASK_ULL(51, 6)
#define ARM_SMMU_STRTAB_BASE_CFG   0x88
#define STRTAB_BASE_CFG_FMT	   GENMASK(17, 16)
#define STRTAB_BASE_CFG_FMT_LINEAR 0
#define STRTAB_BASE_CFG_FMT_2LVL   1
#define STRTAB_BASE_CFG_SPLIT	   GENMASK(10, 6)
#define STRTAB_BASE_CFG_LOG2SIZE   GENMASK(5, 0)

#define ARM_SMMU_CMDQ_BASE 0x90
#define ARM_SMMU_CMDQ_PROD 0x98
#define ARM_SMMU_CMDQ_CONS 0x9c

#define ARM_SMMU_EVTQ_BASE 0xa0
#define ARM_SMMU_EVTQ_PROD 0xa8 /* in page 1 */
#define ARM_SMMU_EVTQ_CONS 0xac /* in page 1 */

#define ARM_SMMU_PRIQ_BASE 0xc0
#define ARM_SMMU_PRIQ_PROD 0xc8 /* in page 1 */
#define ARM_SMMU_PRIQ_CONS 0xcc /* in page 1 */

#define ARM_SMMU_REG_SZ 0xe00

#define ARM_SMMU_SH_ISH	      3
#define ARM_SMMU_MEMATTR_OIWB 0xf

/* ---- queues ---- */

#define Q_IDX(llq, p)	((p) & ((1u << (llq)->max_n_shift) - 1))
#define Q_WRP(llq, p)	((p) & (1u << (llq)->max_n_shift))
#define Q_OVERFLOW_FLAG (1u << 31)
#define Q_OVF(p)	((p) & Q_OVERFLOW_FLAG)
#define Q_ENT(q, p)	((q)->base + Q_IDX(&((q)->llq), p) * (q)->ent_dwords)

#define Q_BASE_RWA	 BIT(62)
#define Q_BASE_ADDR_MASK GENMASK_ULL(51, 5)
#define Q_BASE_LOG2SIZE	 GENMASK(4, 0)

#define Q_MAX_SZ_SHIFT (PAGE_SHIFT + 10)

/* ---- the stream table ---- */

#define STRTAB_SPLIT		  8
#define STRTAB_L1_DESC_SPAN	  GENMASK_ULL(4, 0)
#define STRTAB_L1_DESC_L2PTR_MASK GENMASK_ULL(51, 6)
#define STRTAB_STE_DWORDS	  8
#define STRTAB_NUM_L2_STES	  (1u << STRTAB_SPLIT)
#define STRTAB_MAX_L1_ENTRIES	  (1u << 17)

struct arm_smmu_ste {
	u64 data[STRTAB_STE_DWORDS];
};

struct arm_smmu_strtab_l2 {
	struct arm_smmu_ste stes[STRTAB_NUM_L2_STES];
};

struct arm_smmu_strtab_l1 {
	u64 l2ptr;
};

static inline u32 arm_smmu_strtab_l1_idx(u32 sid)
{
	return sid / STRTAB_NUM_L2_STES;
}

static inline u32 arm_smmu_strtab_l2_idx(u32 sid)
{
	return sid % STRTAB_NUM_L2_STES;
}

#define STRTAB_STE_0_V		   BIT(0)
#define STRTAB_STE_0_CFG	   GENMASK_ULL(3, 1)
#define STRTAB_STE_0_CFG_ABORT	   0
#define STRTAB_STE_0_CFG_BYPASS	   4
#define STRTAB_STE_0_CFG_S1_TRANS  5
#define STRTAB_STE_0_CFG_S2_TRANS  6
#define STRTAB_STE_0_CFG_NESTED	   7
#define STRTAB_STE_0_S1FMT	   GENMASK_ULL(5, 4)
#define STRTAB_STE_0_S1FMT_LINEAR  0
#define STRTAB_STE_0_S1FMT_64K_L2  2
#define STRTAB_STE_0_S1CTXPTR_MASK GENMASK_ULL(51, 6)
#define STRTAB_STE_0_S1CDMAX	   GENMASK_ULL(63, 59)

#define STRTAB_STE_1_S1DSS	     GENMASK_ULL(1, 0)
#define STRTAB_STE_1_S1DSS_TERMINATE 0x0
#define STRTAB_STE_1_S1DSS_BYPASS    0x1
#define STRTAB_STE_1_S1DSS_SSID0     0x2
#define STRTAB_STE_1_S1C_CACHE_WBRA  1UL
#define STRTAB_STE_1_S1CIR	     GENMASK_ULL(3, 2)
#define STRTAB_STE_1_S1COR	     GENMASK_ULL(5, 4)
#define STRTAB_STE_1_S1CSH	     GENMASK_ULL(7, 6)
#define STRTAB_STE_1_MEV	     BIT(19)
#define STRTAB_STE_1_S2FWB	     BIT(25)
#define STRTAB_STE_1_S1STALLD	     BIT(27)
#define STRTAB_STE_1_EATS	     GENMASK_ULL(29, 28)
#define STRTAB_STE_1_EATS_ABT	     0UL
#define STRTAB_STE_1_EATS_TRANS	     1UL
#define STRTAB_STE_1_EATS_S1CHK	     2UL
#define STRTAB_STE_1_STRW	     GENMASK_ULL(31, 30)
#define STRTAB_STE_1_STRW_NSEL1	     0UL
#define STRTAB_STE_1_SHCFG	     GENMASK_ULL(45, 44)
#define STRTAB_STE_1_SHCFG_INCOMING  1UL

#define STRTAB_STE_2_S2VMID	 GENMASK_ULL(15, 0)
#define STRTAB_STE_2_VTCR	 GENMASK_ULL(50, 32)
#define STRTAB_STE_2_VTCR_S2T0SZ GENMASK_ULL(5, 0)
#define STRTAB_STE_2_VTCR_S2SL0	 GENMASK_ULL(7, 6)
#define STRTAB_STE_2_VTCR_S2IR0	 GENMASK_ULL(9, 8)
#define STRTAB_STE_2_VTCR_S2OR0	 GENMASK_ULL(11, 10)
#define STRTAB_STE_2_VTCR_S2SH0	 GENMASK_ULL(13, 12)
#define STRTAB_STE_2_VTCR_S2TG	 GENMASK_ULL(15, 14)
#define STRTAB_STE_2_VTCR_S2PS	 GENMASK_ULL(18, 16)
#define STRTAB_STE_2_S2AA64	 BIT(51)
#define STRTAB_STE_2_S2ENDI	 BIT(52)
#define STRTAB_STE_2_S2PTW	 BIT(54)
#define STRTAB_STE_2_S2S	 BIT(57)
#define STRTAB_STE_2_S2R	 BIT(58)

#define STRTAB_STE_3_S2TTB_MASK GENMASK_ULL(51, 4)

/* What a guest may say in the entry that it gives for a nested domain. */
#define STRTAB_STE_0_NESTING_ALLOWED                                                           \
	(STRTAB_STE_0_V | STRTAB_STE_0_CFG | STRTAB_STE_0_S1FMT | STRTAB_STE_0_S1CTXPTR_MASK | \
	 STRTAB_STE_0_S1CDMAX)
#define STRTAB_STE_1_NESTING_ALLOWED                                                         \
	(STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR | STRTAB_STE_1_S1CSH | \
	 STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS)

/* ---- context descriptors ---- */

#define CTXDESC_L2_ENTRIES	   1024u
#define CTXDESC_L1_DESC_V	   BIT(0)
#define CTXDESC_L1_DESC_L2PTR_MASK GENMASK_ULL(51, 12)
#define CTXDESC_CD_DWORDS	   8

struct arm_smmu_cd {
	u64 data[CTXDESC_CD_DWORDS];
};

struct arm_smmu_cdtab_l2 {
	struct arm_smmu_cd cds[CTXDESC_L2_ENTRIES];
};

struct arm_smmu_cdtab_l1 {
	u64 l2ptr;
};

static inline unsigned int arm_smmu_cdtab_l1_idx(unsigned int ssid)
{
	return ssid / CTXDESC_L2_ENTRIES;
}

static inline unsigned int arm_smmu_cdtab_l2_idx(unsigned int ssid)
{
	return ssid % CTXDESC_L2_ENTRIES;
}

#define CTXDESC_CD_0_TCR_T0SZ  GENMASK_ULL(5, 0)
#define CTXDESC_CD_0_TCR_TG0   GENMASK_ULL(7, 6)
#define CTXDESC_CD_0_TCR_IRGN0 GENMASK_ULL(9, 8)
#define CTXDESC_CD_0_TCR_ORGN0 GENMASK_ULL(11, 10)
#define CTXDESC_CD_0_TCR_SH0   GENMASK_ULL(13, 12)
#define CTXDESC_CD_0_TCR_EPD0  BIT(14)
#define CTXDESC_CD_0_TCR_EPD1  BIT(30)
#define CTXDESC_CD_0_ENDI      BIT(15)
#define CTXDESC_CD_0_V	       BIT(31)
#define CTXDESC_CD_0_TCR_IPS   GENMASK_ULL(34, 32)
#define CTXDESC_CD_0_AA64      BIT(41)
#define CTXDESC_CD_0_TCR_HD    BIT(42)
#define CTXDESC_CD_0_TCR_HA    BIT(43)
#define CTXDESC_CD_0_S	       BIT(44)
#define CTXDESC_CD_0_R	       BIT(45)
#define CTXDESC_CD_0_A	       BIT(46)
#define CTXDESC_CD_0_ASET      BIT(47)
#define CTXDESC_CD_0_ASID      GENMASK_ULL(63, 48)
#define CTXDESC_CD_1_TTB0_MASK GENMASK_ULL(51, 4)

/* What a linear table may have, 64K of it. */
#define CTXDESC_LINEAR_CDMAX ilog2(SZ_64K / sizeof(struct arm_smmu_cd))

/* ---- commands ---- */

#define CMDQ_ENT_SZ_SHIFT 4
#define CMDQ_ENT_DWORDS	  2
#define CMDQ_MAX_SZ_SHIFT (Q_MAX_SZ_SHIFT - CMDQ_ENT_SZ_SHIFT)

#define CMDQ_CONS_ERR		    GENMASK(30, 24)
#define CMDQ_ERR_CERROR_NONE_IDX    0
#define CMDQ_ERR_CERROR_ILL_IDX	    1
#define CMDQ_ERR_CERROR_ABT_IDX	    2
#define CMDQ_ERR_CERROR_ATC_INV_IDX 3

struct arm_smmu_cmd {
	u64 data[CMDQ_ENT_DWORDS];
};

#define CMDQ_BATCH_ENTRIES 64

#define CMDQ_0_OP  GENMASK_ULL(7, 0)
#define CMDQ_0_SSV BIT(11)

#define CMDQ_PREFETCH_0_SID GENMASK_ULL(63, 32)

#define CMDQ_CFGI_0_SSID  GENMASK_ULL(31, 12)
#define CMDQ_CFGI_0_SID	  GENMASK_ULL(63, 32)
#define CMDQ_CFGI_1_LEAF  BIT(0)
#define CMDQ_CFGI_1_RANGE GENMASK_ULL(4, 0)

#define CMDQ_TLBI_0_NUM		GENMASK_ULL(16, 12)
#define CMDQ_TLBI_RANGE_NUM_MAX 31u
#define CMDQ_TLBI_0_SCALE	GENMASK_ULL(24, 20)
#define CMDQ_TLBI_0_VMID	GENMASK_ULL(47, 32)
#define CMDQ_TLBI_0_ASID	GENMASK_ULL(63, 48)
#define CMDQ_TLBI_1_LEAF	BIT(0)
#define CMDQ_TLBI_1_TTL		GENMASK_ULL(9, 8)
#define CMDQ_TLBI_1_TG		GENMASK_ULL(11, 10)
#define CMDQ_TLBI_1_VA_MASK	GENMASK_ULL(63, 12)

#define CMDQ_ATC_0_SSID	     GENMASK_ULL(31, 12)
#define CMDQ_ATC_0_SID	     GENMASK_ULL(63, 32)
#define CMDQ_ATC_1_SIZE	     GENMASK_ULL(5, 0)
#define CMDQ_ATC_1_ADDR_MASK GENMASK_ULL(63, 12)
#define ATC_INV_SIZE_ALL     52

#define CMDQ_PRI_0_SSID	 GENMASK_ULL(31, 12)
#define CMDQ_PRI_0_SID	 GENMASK_ULL(63, 32)
#define CMDQ_PRI_1_GRPID GENMASK_ULL(8, 0)
#define CMDQ_PRI_1_RESP	 GENMASK_ULL(13, 12)

enum pri_resp {
	PRI_RESP_DENY = 0,
	PRI_RESP_FAIL = 1,
	PRI_RESP_SUCC = 2,
};

#define CMDQ_RESUME_0_RESP_TERM	 0UL
#define CMDQ_RESUME_0_RESP_RETRY 1UL
#define CMDQ_RESUME_0_RESP_ABORT 2UL
#define CMDQ_RESUME_0_RESP	 GENMASK_ULL(13, 12)
#define CMDQ_RESUME_0_SID	 GENMASK_ULL(63, 32)
#define CMDQ_RESUME_1_STAG	 GENMASK_ULL(15, 0)

#define CMDQ_SYNC_0_CS	    GENMASK_ULL(13, 12)
#define CMDQ_SYNC_0_CS_NONE 0
#define CMDQ_SYNC_0_CS_IRQ  1
#define CMDQ_SYNC_0_CS_SEV  2
#define CMDQ_SYNC_0_MSH	    GENMASK_ULL(23, 22)
#define CMDQ_SYNC_0_MSIATTR GENMASK_ULL(27, 24)

enum arm_smmu_cmdq_opcode {
	CMDQ_OP_PREFETCH_CFG = 0x1,
	CMDQ_OP_CFGI_STE = 0x3,
	CMDQ_OP_CFGI_ALL = 0x4,
	CMDQ_OP_CFGI_CD = 0x5,
	CMDQ_OP_CFGI_CD_ALL = 0x6,
	CMDQ_OP_TLBI_NH_ALL = 0x10,
	CMDQ_OP_TLBI_NH_ASID = 0x11,
	CMDQ_OP_TLBI_NH_VA = 0x12,
	CMDQ_OP_TLBI_NH_VAA = 0x13,
	CMDQ_OP_TLBI_EL2_ALL = 0x20,
	CMDQ_OP_TLBI_S12_VMALL = 0x28,
	CMDQ_OP_TLBI_S2_IPA = 0x2a,
	CMDQ_OP_TLBI_NSNH_ALL = 0x30,
	CMDQ_OP_ATC_INV = 0x40,
	CMDQ_OP_PRI_RESP = 0x41,
	CMDQ_OP_RESUME = 0x44,
	CMDQ_OP_CMD_SYNC = 0x46,
};

static inline struct arm_smmu_cmd arm_smmu_make_cmd_op(enum arm_smmu_cmdq_opcode op)
{
	return {{FIELD_PREP(CMDQ_0_OP, (u64)op), 0}};
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_cfgi_all(void)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_CFGI_ALL);

	cmd.data[1] |= FIELD_PREP(CMDQ_CFGI_1_RANGE, 31);
	return cmd;
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_prefetch_cfg(u32 sid)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_PREFETCH_CFG);

	cmd.data[0] |= FIELD_PREP(CMDQ_PREFETCH_0_SID, sid);
	return cmd;
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_cfgi_ste(u32 sid, bool leaf)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_CFGI_STE);

	cmd.data[0] |= FIELD_PREP(CMDQ_CFGI_0_SID, sid);
	cmd.data[1] |= FIELD_PREP(CMDQ_CFGI_1_LEAF, leaf);
	return cmd;
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_cfgi_cd(u32 sid, u32 ssid, bool leaf)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_CFGI_CD);

	cmd.data[0] |= FIELD_PREP(CMDQ_CFGI_0_SID, sid) | FIELD_PREP(CMDQ_CFGI_0_SSID, ssid);
	cmd.data[1] |= FIELD_PREP(CMDQ_CFGI_1_LEAF, leaf);
	return cmd;
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_resume(u32 sid, u16 stag, u8 resp)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_RESUME);

	cmd.data[0] |= FIELD_PREP(CMDQ_RESUME_0_SID, sid) | FIELD_PREP(CMDQ_RESUME_0_RESP, resp);
	cmd.data[1] |= FIELD_PREP(CMDQ_RESUME_1_STAG, stag);
	return cmd;
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_pri_resp(u32 sid, u32 ssid, bool ssv, u16 grpid,
							     enum pri_resp resp)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_PRI_RESP);

	cmd.data[0] |= FIELD_PREP(CMDQ_0_SSV, ssv) | FIELD_PREP(CMDQ_PRI_0_SID, sid) |
		       FIELD_PREP(CMDQ_PRI_0_SSID, ssid);
	cmd.data[1] |= FIELD_PREP(CMDQ_PRI_1_GRPID, grpid) | FIELD_PREP(CMDQ_PRI_1_RESP, (u64)resp);
	return cmd;
}

/* size: log2 of the 4K pages, ATC_INV_SIZE_ALL for everything. */
static inline struct arm_smmu_cmd arm_smmu_make_cmd_atc_inv(u32 sid, u32 ssid, u64 addr, u8 size)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_ATC_INV);

	cmd.data[0] |= FIELD_PREP(CMDQ_0_SSV, ssid != IOMMU_NO_PASID) |
		       FIELD_PREP(CMDQ_ATC_0_SSID, ssid) | FIELD_PREP(CMDQ_ATC_0_SID, sid);
	cmd.data[1] |= FIELD_PREP(CMDQ_ATC_1_SIZE, size) | (addr & CMDQ_ATC_1_ADDR_MASK);
	return cmd;
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_atc_inv_all(u32 sid, u32 ssid)
{
	return arm_smmu_make_cmd_atc_inv(sid, ssid, 0, ATC_INV_SIZE_ALL);
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_sync(unsigned int cs)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_CMD_SYNC);

	cmd.data[0] |= FIELD_PREP(CMDQ_SYNC_0_CS, cs) |
		       FIELD_PREP(CMDQ_SYNC_0_MSH, ARM_SMMU_SH_ISH) |
		       FIELD_PREP(CMDQ_SYNC_0_MSIATTR, ARM_SMMU_MEMATTR_OIWB);
	return cmd;
}

static inline struct arm_smmu_cmd arm_smmu_make_cmd_tlbi(enum arm_smmu_cmdq_opcode op, u16 asid,
							 u16 vmid)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(op);

	cmd.data[0] |= FIELD_PREP(CMDQ_TLBI_0_ASID, asid) | FIELD_PREP(CMDQ_TLBI_0_VMID, vmid);
	return cmd;
}

/* ---- events ---- */

#define EVTQ_ENT_SZ_SHIFT 5
#define EVTQ_ENT_DWORDS	  4
#define EVTQ_MAX_SZ_SHIFT (Q_MAX_SZ_SHIFT - EVTQ_ENT_SZ_SHIFT)

#define EVTQ_0_ID		      GENMASK_ULL(7, 0)
#define EVT_ID_BAD_STREAMID_CONFIG    0x02
#define EVT_ID_STE_FETCH_FAULT	      0x03
#define EVT_ID_BAD_STE_CONFIG	      0x04
#define EVT_ID_STREAM_DISABLED_FAULT  0x06
#define EVT_ID_BAD_SUBSTREAMID_CONFIG 0x08
#define EVT_ID_CD_FETCH_FAULT	      0x09
#define EVT_ID_BAD_CD_CONFIG	      0x0a
#define EVT_ID_TRANSLATION_FAULT      0x10
#define EVT_ID_ADDR_SIZE_FAULT	      0x11
#define EVT_ID_ACCESS_FAULT	      0x12
#define EVT_ID_PERMISSION_FAULT	      0x13
#define EVT_ID_VMS_FETCH_FAULT	      0x25

#define EVTQ_0_SSV   BIT(11)
#define EVTQ_0_SSID  GENMASK_ULL(31, 12)
#define EVTQ_0_SID   GENMASK_ULL(63, 32)
#define EVTQ_1_STAG  GENMASK_ULL(15, 0)
#define EVTQ_1_STALL BIT(31)
#define EVTQ_1_PnU   BIT(33)
#define EVTQ_1_InD   BIT(34)
#define EVTQ_1_RnW   BIT(35)
#define EVTQ_1_S2    BIT(39)

/* ---- page requests ---- */

#define PRIQ_ENT_SZ_SHIFT 4
#define PRIQ_ENT_DWORDS	  2
#define PRIQ_MAX_SZ_SHIFT (Q_MAX_SZ_SHIFT - PRIQ_ENT_SZ_SHIFT)

#define PRIQ_0_SID	 GENMASK_ULL(31, 0)
#define PRIQ_0_SSID	 GENMASK_ULL(51, 32)
#define PRIQ_0_PRG_LAST	 BIT(62)
#define PRIQ_0_SSID_V	 BIT(63)
#define PRIQ_1_PRG_IDX	 GENMASK_ULL(8, 0)
#define PRIQ_1_ADDR_MASK GENMASK_ULL(63, 12)

/* ---- the driver's own ---- */

#define ARM_SMMU_POLL_TIMEOUT_US 1000000

#define MSI_IOVA_BASE	0x8000000
#define MSI_IOVA_LENGTH 0x100000

struct arm_smmu_ll_queue {
	u32 prod = 0;
	u32 cons = 0;
	u32 max_n_shift = 0;
};

struct arm_smmu_queue {
	struct arm_smmu_ll_queue llq;
	unsigned int irq = 0;

	u64 *base = nullptr;
	dma_addr_t base_dma = 0;
	u64 q_base = 0; /* as the base register wants it */
	size_t ent_dwords = 0;

	iomem prod_reg;
	iomem cons_reg;
};

struct arm_smmu_cmdq {
	struct arm_smmu_queue q; /* its llq: under lock */
	spinlock_t lock{LOCK_CLASS(arm_smmu_cmdq, lock)};
	/* NULL: all of them */
	bool (*supports_cmd)(const struct arm_smmu_cmd *cmd) = nullptr;
};

static inline bool arm_smmu_cmdq_supports_cmd(const struct arm_smmu_cmdq *cmdq,
					      const struct arm_smmu_cmd *cmd)
{
	return !cmdq->supports_cmd || cmdq->supports_cmd(cmd);
}

struct arm_smmu_cmdq_batch {
	struct arm_smmu_cmd cmds[CMDQ_BATCH_ENTRIES];
	struct arm_smmu_cmdq *cmdq;
	int num;
};

struct arm_smmu_evtq {
	struct arm_smmu_queue q;
	struct iopf_queue *iopf = nullptr;
	u32 max_stalls = 0;
};

struct arm_smmu_priq {
	struct arm_smmu_queue q;
};

struct arm_smmu_ctx_desc {
	u16 asid;
};

struct arm_smmu_ctx_desc_cfg {
	struct {
		struct arm_smmu_cd *table = nullptr;
		unsigned int num_ents = 0;
	} linear;
	struct {
		struct arm_smmu_cdtab_l1 *l1tab = nullptr;
		struct arm_smmu_cdtab_l2 **l2ptrs = nullptr;
		unsigned int num_l1_ents = 0;
	} l2;
	dma_addr_t cdtab_dma = 0;
	unsigned int used_ssids = 0; /* but for SSID 0 */
	bool in_ste = false;
	u8 s1fmt = 0;
	u8 s1cdmax = 0; /* log2 of the descriptors */
};

static inline bool arm_smmu_cdtab_allocated(const struct arm_smmu_ctx_desc_cfg *cfg)
{
	return cfg->linear.table || cfg->l2.l1tab;
}

static inline bool arm_smmu_ssids_in_use(const struct arm_smmu_ctx_desc_cfg *cd_table)
{
	return cd_table->used_ssids;
}

struct arm_smmu_s2_cfg {
	u16 vmid;
};

struct arm_smmu_strtab_cfg {
	struct {
		struct arm_smmu_ste *table = nullptr;
		dma_addr_t ste_dma = 0;
		unsigned int num_ents = 0;
	} linear;
	struct {
		struct arm_smmu_strtab_l1 *l1tab = nullptr;
		struct arm_smmu_strtab_l2 **l2ptrs = nullptr;
		dma_addr_t l1_dma = 0;
		unsigned int num_l1_ents = 0;
	} l2;
};

/*
 * What an SMMU with something beside it does otherwise. vsmmu_alloc is the series' form of
 * get_viommu_struct and vsmmu_init, hw_info_v2 that of hw_info: it returns flags and sets *impl.
 */
struct arm_smmu_impl_ops {
	int (*device_reset)(struct arm_smmu_device *smmu) = nullptr;
	void (*device_disable)(struct arm_smmu_device *smmu) = nullptr;
	void (*device_remove)(struct arm_smmu_device *smmu) = nullptr;
	int (*init_structures)(struct arm_smmu_device *smmu) = nullptr;
	struct arm_smmu_cmdq *(*get_secondary_cmdq)(struct arm_smmu_device *smmu,
						    const struct arm_smmu_cmd *cmd) = nullptr;
	result<void *> (*hw_info)(struct arm_smmu_device *smmu, u32 *length,
				  enum iommu_hw_info_type *type) = nullptr;
	u32 (*hw_info_v2)(struct arm_smmu_device *smmu, u32 *impl) = nullptr;
	const struct iommufd_struct *(*get_viommu_struct)(enum iommu_viommu_type viommu_type) =
		nullptr;
	int (*vsmmu_init)(struct arm_vsmmu *vsmmu,
			  const struct iommu_user_data *user_data) = nullptr;
	result<struct arm_vsmmu *> (*vsmmu_alloc)(
		struct arm_smmu_device *smmu, struct arm_smmu_domain *s2_parent,
		struct iommufd_ctx *ictx, unsigned int viommu_type,
		const struct iommu_user_data *user_data) = nullptr;
};

#define ARM_SMMU_FEAT_2_LVL_STRTAB   (1 << 0)
#define ARM_SMMU_FEAT_2_LVL_CDTAB    (1 << 1)
#define ARM_SMMU_FEAT_TT_LE	     (1 << 2)
#define ARM_SMMU_FEAT_TT_BE	     (1 << 3)
#define ARM_SMMU_FEAT_PRI	     (1 << 4)
#define ARM_SMMU_FEAT_ATS	     (1 << 5)
#define ARM_SMMU_FEAT_SEV	     (1 << 6)
#define ARM_SMMU_FEAT_MSI	     (1 << 7)
#define ARM_SMMU_FEAT_COHERENCY	     (1 << 8)
#define ARM_SMMU_FEAT_TRANS_S1	     (1 << 9)
#define ARM_SMMU_FEAT_TRANS_S2	     (1 << 10)
#define ARM_SMMU_FEAT_STALLS	     (1 << 11)
#define ARM_SMMU_FEAT_HYP	     (1 << 12)
#define ARM_SMMU_FEAT_STALL_FORCE    (1 << 13)
#define ARM_SMMU_FEAT_VAX	     (1 << 14)
#define ARM_SMMU_FEAT_RANGE_INV	     (1 << 15)
#define ARM_SMMU_FEAT_NESTING	     (1 << 19)
#define ARM_SMMU_FEAT_ATTR_TYPES_OVR (1 << 20)
#define ARM_SMMU_FEAT_HA	     (1 << 21)
#define ARM_SMMU_FEAT_HD	     (1 << 22)
#define ARM_SMMU_FEAT_S2FWB	     (1 << 23)

#define ARM_SMMU_OPT_SKIP_PREFETCH  (1 << 0)
#define ARM_SMMU_OPT_TEGRA241_CMDQV (1 << 4)

/*
 * An SMMU. Locks: the group's mutex, then streams_mutex or asid_lock, then a domain's devices_lock,
 * then a queue's.
 */
struct arm_smmu_device : iommu_device {
	struct device *impl_dev = nullptr;
	const struct arm_smmu_impl_ops *impl_ops = nullptr;

	iomem base;
	iomem page1;

	u32 features = 0; /* ARM_SMMU_FEAT_x */
	u32 options = 0;  /* ARM_SMMU_OPT_x */

	struct arm_smmu_cmdq cmdq;
	struct arm_smmu_evtq evtq;
	struct arm_smmu_priq priq;

	unsigned int gerr_irq = 0;
	unsigned int combined_irq = 0;
	/* Which lines have been taken, for the way back. */
	unsigned int requested_irqs[4] = {};

	unsigned int oas = 0; /* physical address, in bits */
	unsigned long pgsize_bitmap = 0;

	unsigned int asid_bits = 0;
	struct xarray asid_xa{LOCK_CLASS(arm_smmu_device, asid_xa), XA_FLAGS_ALLOC1};
	/* An attachment is made from its beginning to its end under this. */
	struct mutex asid_lock{LOCK_CLASS(arm_smmu_device, asid_lock)};

	unsigned int vmid_bits = 0;
	struct ida vmid_map{LOCK_CLASS(arm_smmu_device, vmid_map)};

	unsigned int ssid_bits = 0;
	unsigned int sid_bits = 0;

	struct arm_smmu_strtab_cfg strtab_cfg;

	/* SID -> arm_smmu_stream; with the mutex its masters stay, and their vmasters */
	struct xarray streams{LOCK_CLASS(arm_smmu_device, streams)};
	struct mutex streams_mutex{LOCK_CLASS(arm_smmu_device, streams_mutex)};

	struct iommu_ops iommu_ops;
	struct iommu_domain identity_domain;
	struct iommu_domain blocked_domain;
};

struct arm_smmu_stream {
	u32 id;
	struct arm_smmu_master *master;
};

/* What the guest of a vSMMU calls a master. */
struct arm_smmu_vmaster {
	struct arm_vsmmu *vsmmu = nullptr;
	unsigned long vsid = 0;
};

struct arm_smmu_event {
	u8 id;
	bool stall, ssv, privileged, instruction, s2, read;
	u16 stag;
	u32 sid;
	u32 ssid;
	u64 iova;
};

struct arm_smmu_master {
	struct arm_smmu_device *smmu = nullptr;
	struct device *dev = nullptr;
	struct arm_smmu_stream *streams = nullptr;
	struct arm_smmu_vmaster *vmaster = nullptr; /* under smmu->streams_mutex */
	/* the rest: under the group's mutex */
	struct arm_smmu_ctx_desc_cfg cd_table;
	unsigned int num_streams = 0;
	bool ats_enabled = false;
	bool ste_ats_enabled = false;
	bool stall_enabled = false;
	unsigned int ssid_bits = 0;
	unsigned int iopf_refcount = 0;
};

enum arm_smmu_domain_stage {
	ARM_SMMU_DOMAIN_S1 = 0,
	ARM_SMMU_DOMAIN_S2,
};

struct arm_smmu_domain : iommu_domain {
	struct arm_smmu_device *smmu = nullptr;

	struct io_pgtable_ops *pgtbl_ops = nullptr;
	atomic_t nr_ats_masters{0};

	enum arm_smmu_domain_stage stage = ARM_SMMU_DOMAIN_S1;
	struct arm_smmu_ctx_desc cd = {};
	struct arm_smmu_s2_cfg s2_cfg = {};

	spinlock_t devices_lock{LOCK_CLASS(arm_smmu_domain, devices_lock)};
	/* struct arm_smmu_master_domain: who is attached, through nested domains too */
	struct list_head devices __guarded_by(devices_lock);
	bool enforces_cache_coherency __guarded_by(devices_lock) = false;
	bool nest_parent = false;
};

struct arm_smmu_nested_domain : iommu_domain {
	struct arm_vsmmu *vsmmu = nullptr;
	bool enable_ats = false;
	u64 ste[2] = {};
};

struct arm_smmu_master_domain {
	struct list_head devices_elm;
	struct arm_smmu_master *master = nullptr;
	/* what is attached: the list's domain, or a nested one over it */
	struct iommu_domain *domain = nullptr;
	ioasid_t ssid = 0;
	bool nested_ats_flush = false;
	bool using_iopf = false;
};

static inline struct arm_smmu_domain *to_smmu_domain(struct iommu_domain *dom)
{
	return static_cast<struct arm_smmu_domain *>(dom);
}

static inline struct arm_smmu_nested_domain *to_smmu_nested_domain(struct iommu_domain *dom)
{
	return static_cast<struct arm_smmu_nested_domain *>(dom);
}

/* ---- writing of entries; what tests look at ---- */

#define NUM_ENTRY_QWORDS 8

struct arm_smmu_entry_writer_ops;
struct arm_smmu_entry_writer {
	const struct arm_smmu_entry_writer_ops *ops;
	struct arm_smmu_master *master;
};

/*
 * @get_used: the bits that the hardware looks at in an entry of these contents; used is zeroed.
 * @get_update_safe: bits that may change at any time though both entries use them; may be NULL.
 * @sync: the hardware has forgotten what it knew of the entry when this returns.
 */
struct arm_smmu_entry_writer_ops {
	void (*get_used)(const u64 *entry, u64 *used);
	void (*get_update_safe)(const u64 *cur, const u64 *target, u64 *safe_bits);
	void (*sync)(struct arm_smmu_entry_writer *writer);
};

void arm_smmu_get_ste_used(const u64 *ent, u64 *used_bits);
void arm_smmu_get_ste_update_safe(const u64 *cur, const u64 *target, u64 *safe_bits);
void arm_smmu_get_cd_used(const u64 *ent, u64 *used_bits);
/*
 * Makes an entry that the hardware may be using into target, a store of 64 bits at a time. At each
 * moment the hardware sees the old one, the new one, or (when more than one word of it must change
 * at once) an invalid one; never a mixture.
 */
void arm_smmu_write_entry(struct arm_smmu_entry_writer *writer, u64 *entry, const u64 *target);

void arm_smmu_make_abort_ste(struct arm_smmu_ste *target);
void arm_smmu_make_bypass_ste(struct arm_smmu_device *smmu, struct arm_smmu_ste *target);
void arm_smmu_make_cdtable_ste(struct arm_smmu_ste *target, struct arm_smmu_master *master,
			       bool ats_enabled, unsigned int s1dss);
void arm_smmu_make_s2_domain_ste(struct arm_smmu_ste *target, struct arm_smmu_master *master,
				 struct arm_smmu_domain *smmu_domain, bool ats_enabled);
void arm_smmu_make_s1_cd(struct arm_smmu_cd *target, struct arm_smmu_master *master,
			 struct arm_smmu_domain *smmu_domain);

/* ---- between the files ---- */

void __arm_smmu_cmdq_skip_err(struct arm_smmu_device *smmu, struct arm_smmu_cmdq *cmdq);
/* Memory for q->llq.max_n_shift, or less of it. -ENOMEM. */
[[nodiscard]] int arm_smmu_init_one_queue(struct arm_smmu_device *smmu, struct arm_smmu_queue *q,
					  iomem page, unsigned long prod_off,
					  unsigned long cons_off, size_t dwords, const char *name);
void arm_smmu_free_queue(struct arm_smmu_device *smmu, struct arm_smmu_queue *q);
/*
 * n commands, at most one batch, all or none before any other's. With sync they are done when it
 * returns 0; -ETIMEDOUT: the hardware did not answer.
 */
int arm_smmu_cmdq_issue_cmdlist(struct arm_smmu_device *smmu, struct arm_smmu_cmdq *cmdq,
				const struct arm_smmu_cmd *cmds, int n, bool sync);

static inline bool arm_smmu_master_canwbs(const struct arm_smmu_master *master)
{
	return dev_iommu_fwspec_get(master->dev)->flags & IOMMU_FWSPEC_PCI_RC_CANWBS;
}

struct arm_smmu_attach_state {
	struct iommu_domain *old_domain = nullptr;
	struct arm_smmu_master *master = nullptr;
	bool cd_needs_ats = false;
	bool disable_ats = false;
	ioasid_t ssid = IOMMU_NO_PASID;
	/* what comes of it */
	struct arm_smmu_vmaster *vmaster = nullptr;
	bool ats_enabled = false;
};

[[nodiscard]] int arm_smmu_attach_prepare(struct arm_smmu_attach_state *state,
					  struct iommu_domain *new_domain)
	__must_hold(&state->master->smmu->asid_lock);
void arm_smmu_attach_commit(struct arm_smmu_attach_state *state)
	__must_hold(&state->master->smmu->asid_lock);
void arm_smmu_install_ste_for_dev(struct arm_smmu_master *master,
				  const struct arm_smmu_ste *target);

/* A guest's SMMU. */
struct arm_vsmmu : iommufd_viommu {
	struct arm_smmu_device *smmu = nullptr;
	struct arm_smmu_domain *s2_parent = nullptr;
	u16 vmid = 0;
};

result<void *> arm_smmu_hw_info(struct device *dev, u32 *length, enum iommu_hw_info_type *type);
result<void *> arm_smmu_hw_info_v2(struct device *dev, u32 *length, enum iommu_hw_info_type *type);
const struct iommufd_struct *arm_smmu_get_viommu_struct(struct device *dev,
							enum iommu_viommu_type viommu_type);
int arm_vsmmu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent_domain,
		   const struct iommu_user_data *user_data);
result<struct iommufd_viommu *> arm_vsmmu_alloc(struct device *dev, struct iommu_domain *parent,
						struct iommufd_ctx *ictx, unsigned int viommu_type,
						const struct iommu_user_data *user_data);
[[nodiscard]] int arm_smmu_attach_prepare_vmaster(struct arm_smmu_attach_state *state,
						  struct arm_smmu_nested_domain *nested_domain);
void arm_smmu_attach_commit_vmaster(struct arm_smmu_attach_state *state);
void arm_smmu_master_clear_vmaster(struct arm_smmu_master *master);
int arm_vmaster_report_event(struct arm_smmu_vmaster *vmaster, const u64 *evt);
result<struct iommu_domain *>
arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			      const struct iommu_user_data *user_data);
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu, struct iommu_user_data_array *array);

/* ---- the way in: what firmware and the driver core would do ---- */

struct arm_smmu_platform {
	phys_addr_t base = 0;				       /* two pages of 64K */
	unsigned int evtq_irq = 0, priq_irq = 0, gerr_irq = 0; /* 0: none */
	unsigned int combined_irq = 0;			       /* in place of the three */
	bool coherent = true;
	/* a CMDQV beside it */
	struct device *cmdqv_dev = nullptr;
	phys_addr_t cmdqv_base = 0;
	size_t cmdqv_size = 0;
	unsigned int cmdqv_irq = 0;
};

/*
 * Finds the SMMU behind dev, sets it up and enables it. -ENXIO: hardware that the driver cannot
 * use; -EINVAL: no such registers; -ETIMEDOUT: it does not answer; -ENOMEM.
 */
result<struct arm_smmu_device *> arm_smmu_device_probe(struct device *dev,
						       const struct arm_smmu_platform *pdata);
/* No device is behind it any more. */
void arm_smmu_device_remove(struct arm_smmu_device *smmu);

/* -ENOMEM; any other error: the SMMU works without its CMDQV, as a plain one. */
result<struct arm_smmu_device *> tegra241_cmdqv_probe(struct device *dev,
						      const struct arm_smmu_platform *pdata);
/* The memory of what tegra241_cmdqv_probe() returned. */
void tegra241_cmdqv_free(struct arm_smmu_device *smmu);
