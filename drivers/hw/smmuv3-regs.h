// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The registers and the memory formats of an SMMUv3. No kernel counterpart; the names are those of
 * the Arm architecture specification (IHI 0070), in scopes of their own.
 *
 * Page 0 (64K), in bytes:
 *
 *	0x000 IDR0..IDR5   0x018 IIDR   0x01c AIDR                             read only
 *	0x020 CR0   0x024 CR0ACK   0x028 CR1   0x02c CR2
 *	0x044 GBPA   0x050 IRQ_CTRL   0x054 IRQ_CTRLACK
 *	0x060 GERROR   0x064 GERRORN   0x068 GERROR_IRQ_CFG0 (64)   0x070 _CFG1   0x074 _CFG2
 *	0x080 STRTAB_BASE (64)   0x088 STRTAB_BASE_CFG
 *	0x090 CMDQ_BASE (64)   0x098 CMDQ_PROD   0x09c CMDQ_CONS
 *	0x0a0 EVENTQ_BASE (64)   0x0b0 EVENTQ_IRQ_CFG0 (64)   0x0b8 _CFG1   0x0bc _CFG2
 *	0x0c0 PRIQ_BASE (64)   0x0d0 PRIQ_IRQ_CFG0 (64)   0x0d8 _CFG1   0x0dc _CFG2
 *
 * Page 1 (64K): 0x0a8 EVENTQ_PROD   0x0ac EVENTQ_CONS   0x0c8 PRIQ_PROD   0x0cc PRIQ_CONS. The same
 * offsets of page 0 are those very registers.
 */
#pragma once

#include "drivers/hw/regs.h"

#define SMMUV3_PAGE_SIZE   0x10000u
#define SMMUV3_REGION_SIZE (2 * SMMUV3_PAGE_SIZE)

struct smmuv3_regs {
	struct IDR0 : reg32<0x00> {
		using S2P = bits<IDR0, 0>;
		using S1P = bits<IDR0, 1>;
		using TTF = bits<IDR0, 3, 2>;
		using COHACC = bits<IDR0, 4>;
		using HTTU = bits<IDR0, 7, 6>;
		using HYP = bits<IDR0, 9>;
		using ATS = bits<IDR0, 10>;
		using NS1ATS = bits<IDR0, 11>;
		using ASID16 = bits<IDR0, 12>;
		using MSI = bits<IDR0, 13>;
		using SEV = bits<IDR0, 14>;
		using PRI = bits<IDR0, 16>;
		using VMID16 = bits<IDR0, 18>;
		using CD2L = bits<IDR0, 19>;
		using TTENDIAN = bits<IDR0, 22, 21>;
		using STALL_MODEL = bits<IDR0, 25, 24>;
		using TERM_MODEL = bits<IDR0, 26>;
		using ST_LEVEL = bits<IDR0, 28, 27>;
	};
	struct IDR1 : reg32<0x04> {
		using SIDSIZE = bits<IDR1, 5, 0>;
		using SSIDSIZE = bits<IDR1, 10, 6>;
		using PRIQS = bits<IDR1, 15, 11>;
		using EVENTQS = bits<IDR1, 20, 16>;
		using CMDQS = bits<IDR1, 25, 21>;
	};
	struct IDR2 : reg32<0x08> {};
	struct IDR3 : reg32<0x0c> {
		using RIL = bits<IDR3, 10>;
		using BBML = bits<IDR3, 12, 11>;
	};
	struct IDR4 : reg32<0x10> {};
	struct IDR5 : reg32<0x14> {
		using OAS = bits<IDR5, 2, 0>;
		using GRAN4K = bits<IDR5, 4>;
		using GRAN16K = bits<IDR5, 5>;
		using GRAN64K = bits<IDR5, 6>;
		using STALL_MAX = bits<IDR5, 31, 16>;
	};
	struct IIDR : reg32<0x18> {
		using IMPLEMENTER = bits<IIDR, 11, 0>;
		using REVISION = bits<IIDR, 15, 12>;
		using VARIANT = bits<IIDR, 19, 16>;
		using PRODUCTID = bits<IIDR, 31, 20>;
	};
	struct AIDR : reg32<0x1c> {
		using MINOR = bits<AIDR, 3, 0>;
	};
	struct CR0 : reg32<0x20> {
		using SMMUEN = bits<CR0, 0>;
		using PRIQEN = bits<CR0, 1>;
		using EVENTQEN = bits<CR0, 2>;
		using CMDQEN = bits<CR0, 3>;
		using ATSCHK = bits<CR0, 4>;
	};
	struct CR0ACK : reg32<0x24> {};
	struct CR1 : reg32<0x28> {};
	struct CR2 : reg32<0x2c> {
		using E2H = bits<CR2, 0>;
		using RECINVSID = bits<CR2, 1>;
		using PTM = bits<CR2, 2>;
	};
	struct GBPA : reg32<0x44> {
		using ABORT = bits<GBPA, 20>;
		using UPDATE = bits<GBPA, 31>;
	};
	struct IRQ_CTRL : reg32<0x50> {
		using GERROR_IRQEN = bits<IRQ_CTRL, 0>;
		using PRIQ_IRQEN = bits<IRQ_CTRL, 1>;
		using EVENTQ_IRQEN = bits<IRQ_CTRL, 2>;
	};
	struct IRQ_CTRLACK : reg32<0x54> {};
	struct GERROR : reg32<0x60> {
		using CMDQ_ERR = bits<GERROR, 0>;
		using EVENTQ_ABT_ERR = bits<GERROR, 2>;
		using PRIQ_ABT_ERR = bits<GERROR, 3>;
		using MSI_CMDQ_ABT_ERR = bits<GERROR, 4>;
		using MSI_EVENTQ_ABT_ERR = bits<GERROR, 5>;
		using MSI_PRIQ_ABT_ERR = bits<GERROR, 6>;
		using MSI_GERROR_ABT_ERR = bits<GERROR, 7>;
	};
	struct GERRORN : reg32<0x64> {};
	struct GERROR_IRQ_CFG0 : reg64<0x68> {};
	struct GERROR_IRQ_CFG1 : reg32<0x70> {};
	struct GERROR_IRQ_CFG2 : reg32<0x74> {};
	struct STRTAB_BASE : reg64<0x80> {
		using ADDR = bits<STRTAB_BASE, 51, 6>;
	};
	struct STRTAB_BASE_CFG : reg32<0x88> {
		using LOG2SIZE = bits<STRTAB_BASE_CFG, 5, 0>;
		using SPLIT = bits<STRTAB_BASE_CFG, 10, 6>;
		using FMT = bits<STRTAB_BASE_CFG, 17, 16>;
	};
	struct CMDQ_BASE : reg64<0x90> {
		using LOG2SIZE = bits<CMDQ_BASE, 4, 0>;
		using ADDR = bits<CMDQ_BASE, 51, 5>;
	};
	struct CMDQ_PROD : reg32<0x98> {
		using WR = bits<CMDQ_PROD, 19, 0>;
	};
	struct CMDQ_CONS : reg32<0x9c> {
		using RD = bits<CMDQ_CONS, 19, 0>;
		using ERR = bits<CMDQ_CONS, 30, 24>;
	};
	struct EVENTQ_BASE : reg64<0xa0> {
		using LOG2SIZE = bits<EVENTQ_BASE, 4, 0>;
		using ADDR = bits<EVENTQ_BASE, 51, 5>;
	};
	struct EVENTQ_PROD : reg32<0xa8> {
		using WR = bits<EVENTQ_PROD, 19, 0>;
		using OVFLG = bits<EVENTQ_PROD, 31>;
	};
	struct EVENTQ_CONS : reg32<0xac> {
		using RD = bits<EVENTQ_CONS, 19, 0>;
		using OVACKFLG = bits<EVENTQ_CONS, 31>;
	};
	struct EVENTQ_IRQ_CFG0 : reg64<0xb0> {};
	struct EVENTQ_IRQ_CFG1 : reg32<0xb8> {};
	struct EVENTQ_IRQ_CFG2 : reg32<0xbc> {};
	struct PRIQ_BASE : reg64<0xc0> {
		using LOG2SIZE = bits<PRIQ_BASE, 4, 0>;
		using ADDR = bits<PRIQ_BASE, 51, 5>;
	};
	struct PRIQ_PROD : reg32<0xc8> {
		using WR = bits<PRIQ_PROD, 19, 0>;
		using OVFLG = bits<PRIQ_PROD, 31>;
	};
	struct PRIQ_CONS : reg32<0xcc> {
		using RD = bits<PRIQ_CONS, 19, 0>;
		using OVACKFLG = bits<PRIQ_CONS, 31>;
	};
	struct PRIQ_IRQ_CFG0 : reg64<0xd0> {};
	struct PRIQ_IRQ_CFG1 : reg32<0xd8> {};
	struct PRIQ_IRQ_CFG2 : reg32<0xdc> {};
	static constexpr u32 end = 0xe0;
};

/* Stream table. A level 1 descriptor, and an entry. */
struct STD : hw_format<1> {
	using SPAN = word_bits<STD, 0, 4, 0>;
	using L2PTR = word_bits<STD, 0, 51, 6>;
};

struct STE : hw_format<8> {
	using V = word_bits<STE, 0, 0>;
	using CONFIG = word_bits<STE, 0, 3, 1>;
	using S1FMT = word_bits<STE, 0, 5, 4>;
	using S1CTXPTR = word_bits<STE, 0, 51, 6>;
	using S1CDMAX = word_bits<STE, 0, 63, 59>;
	using S1DSS = word_bits<STE, 1, 1, 0>;
	using MEV = word_bits<STE, 1, 19>;
	using S1STALLD = word_bits<STE, 1, 27>;
	using EATS = word_bits<STE, 1, 29, 28>;
	using STRW = word_bits<STE, 1, 31, 30>;
	using S2VMID = word_bits<STE, 2, 15, 0>;
	using S2T0SZ = word_bits<STE, 2, 37, 32>;
	using S2SL0 = word_bits<STE, 2, 39, 38>;
	using S2TG = word_bits<STE, 2, 47, 46>;
	using S2PS = word_bits<STE, 2, 50, 48>;
	using S2AA64 = word_bits<STE, 2, 51>;
	using S2ENDI = word_bits<STE, 2, 52>;
	using S2AFFD = word_bits<STE, 2, 53>;
	using S2PTW = word_bits<STE, 2, 54>;
	using S2HD = word_bits<STE, 2, 55>;
	using S2HA = word_bits<STE, 2, 56>;
	using S2S = word_bits<STE, 2, 57>;
	using S2R = word_bits<STE, 2, 58>;
	using S2TTB = word_bits<STE, 3, 51, 4>;
};

enum ste_config : u8 {
	STE_CONFIG_ABORT = 0,
	STE_CONFIG_BYPASS = 4,
	STE_CONFIG_S1 = 5,
	STE_CONFIG_S2 = 6,
	STE_CONFIG_NESTED = 7,
};
enum ste_s1fmt : u8 { STE_S1FMT_LINEAR = 0, STE_S1FMT_4K_L2 = 1, STE_S1FMT_64K_L2 = 2 };
enum ste_s1dss : u8 { STE_S1DSS_TERMINATE = 0, STE_S1DSS_BYPASS = 1, STE_S1DSS_SSID0 = 2 };
enum ste_eats : u8 { STE_EATS_ABT = 0, STE_EATS_TRANS = 1, STE_EATS_S1CHK = 2 };
enum ste_strw : u8 { STE_STRW_NSEL1 = 0, STE_STRW_EL2 = 2 };

/* Context descriptors: level 1, and the entry. */
struct L1CD : hw_format<1> {
	using V = word_bits<L1CD, 0, 0>;
	using L2PTR = word_bits<L1CD, 0, 51, 12>;
};

struct CD : hw_format<8> {
	using T0SZ = word_bits<CD, 0, 5, 0>;
	using TG0 = word_bits<CD, 0, 7, 6>;
	using EPD0 = word_bits<CD, 0, 14>;
	using ENDI = word_bits<CD, 0, 15>;
	using T1SZ = word_bits<CD, 0, 21, 16>;
	using TG1 = word_bits<CD, 0, 23, 22>;
	using EPD1 = word_bits<CD, 0, 30>;
	using V = word_bits<CD, 0, 31>;
	using IPS = word_bits<CD, 0, 34, 32>;
	using AFFD = word_bits<CD, 0, 35>;
	using TBI0 = word_bits<CD, 0, 38>;
	using TBI1 = word_bits<CD, 0, 39>;
	using AA64 = word_bits<CD, 0, 41>;
	using HD = word_bits<CD, 0, 42>;
	using HA = word_bits<CD, 0, 43>;
	using S = word_bits<CD, 0, 44>;
	using R = word_bits<CD, 0, 45>;
	using A = word_bits<CD, 0, 46>;
	using ASET = word_bits<CD, 0, 47>;
	using ASID = word_bits<CD, 0, 63, 48>;
	using TTB0 = word_bits<CD, 1, 51, 4>;
	using TTB1 = word_bits<CD, 2, 51, 4>;
};

/* Commands. */
struct CMD : hw_format<2> {
	using OP = word_bits<CMD, 0, 7, 0>;
	using SSV = word_bits<CMD, 0, 11>;
	using SSID = word_bits<CMD, 0, 31, 12>; /* CFGI, ATC, PRI */
	using SID = word_bits<CMD, 0, 63, 32>;	/* CFGI, ATC, PRI, RESUME, PREFETCH */
	using CFGI_LEAF = word_bits<CMD, 1, 0>;
	using CFGI_RANGE = word_bits<CMD, 1, 4, 0>;
	using TLBI_NUM = word_bits<CMD, 0, 16, 12>;
	using TLBI_SCALE = word_bits<CMD, 0, 24, 20>;
	using TLBI_VMID = word_bits<CMD, 0, 47, 32>;
	using TLBI_ASID = word_bits<CMD, 0, 63, 48>;
	using TLBI_LEAF = word_bits<CMD, 1, 0>;
	using TLBI_TTL = word_bits<CMD, 1, 9, 8>;
	using TLBI_TG = word_bits<CMD, 1, 11, 10>;
	using TLBI_VA = word_bits<CMD, 1, 63, 12>;
	using TLBI_IPA = word_bits<CMD, 1, 51, 12>;
	using ATC_GLOBAL = word_bits<CMD, 0, 9>;
	using ATC_SIZE = word_bits<CMD, 1, 5, 0>;
	using ATC_ADDR = word_bits<CMD, 1, 63, 12>;
	using PRI_GRPID = word_bits<CMD, 1, 8, 0>;
	using PRI_RESP = word_bits<CMD, 1, 13, 12>;
	using RESUME_RESP = word_bits<CMD, 0, 13, 12>;
	using RESUME_STAG = word_bits<CMD, 1, 15, 0>;
	using SYNC_CS = word_bits<CMD, 0, 13, 12>;
	using SYNC_MSIDATA = word_bits<CMD, 0, 63, 32>;
	using SYNC_MSIADDR = word_bits<CMD, 1, 51, 2>;
};

enum smmuv3_opcode : u8 {
	CMD_PREFETCH_CFG = 0x01,
	CMD_PREFETCH_ADDR = 0x02,
	CMD_CFGI_STE = 0x03,
	CMD_CFGI_STE_RANGE = 0x04, /* range 31: CFGI_ALL */
	CMD_CFGI_CD = 0x05,
	CMD_CFGI_CD_ALL = 0x06,
	CMD_TLBI_NH_ALL = 0x10,
	CMD_TLBI_NH_ASID = 0x11,
	CMD_TLBI_NH_VA = 0x12,
	CMD_TLBI_NH_VAA = 0x13,
	CMD_TLBI_EL2_ALL = 0x20,
	CMD_TLBI_EL2_ASID = 0x21,
	CMD_TLBI_EL2_VA = 0x22,
	CMD_TLBI_EL2_VAA = 0x23,
	CMD_TLBI_S12_VMALL = 0x28,
	CMD_TLBI_S2_IPA = 0x2a,
	CMD_TLBI_NSNH_ALL = 0x30,
	CMD_ATC_INV = 0x40,
	CMD_PRI_RESP = 0x41,
	CMD_RESUME = 0x44,
	CMD_SYNC = 0x46,
};
enum smmuv3_sync_cs : u8 { SYNC_CS_NONE = 0, SYNC_CS_IRQ = 1, SYNC_CS_SEV = 2 };

/* CMDQ_CONS.ERR. */
enum smmuv3_cerror : u8 {
	CERROR_NONE = 0,
	CERROR_ILL = 1,
	CERROR_ABT = 2,
	CERROR_ATC_INV_SYNC = 3,
	CERROR_ILL_ACCESS = 4, /* VCMDQs only: the command names what the guest does not own */
};

/* Event records. */
struct EVT : hw_format<4> {
	using ID = word_bits<EVT, 0, 7, 0>;
	using SSV = word_bits<EVT, 0, 11>;
	using SSID = word_bits<EVT, 0, 31, 12>;
	using SID = word_bits<EVT, 0, 63, 32>;
	using STAG = word_bits<EVT, 1, 15, 0>;
	using STALL = word_bits<EVT, 1, 31>;
	using PNU = word_bits<EVT, 1, 33>;
	using IND = word_bits<EVT, 1, 34>;
	using RNW = word_bits<EVT, 1, 35>;
	using S2 = word_bits<EVT, 1, 39>;
	using CLASS = word_bits<EVT, 1, 41, 40>;
	using INPUT_ADDR = word_bits<EVT, 2, 63, 0>;
	using IPA = word_bits<EVT, 3, 51, 12>;
	using FETCH_ADDR = word_bits<EVT, 3, 51, 3>;
};
enum smmuv3_event : u8 {
	F_UUT = 0x01,
	C_BAD_STREAMID = 0x02,
	F_STE_FETCH = 0x03,
	C_BAD_STE = 0x04,
	F_BAD_ATS_TREQ = 0x05,
	F_STREAM_DISABLED = 0x06,
	F_TRANSL_FORBIDDEN = 0x07,
	C_BAD_SUBSTREAMID = 0x08,
	F_CD_FETCH = 0x09,
	C_BAD_CD = 0x0a,
	F_WALK_EABT = 0x0b,
	F_TRANSLATION = 0x10,
	F_ADDR_SIZE = 0x11,
	F_ACCESS = 0x12,
	F_PERMISSION = 0x13,
};
enum smmuv3_class : u8 { CLASS_CD = 0, CLASS_TT = 1, CLASS_IN = 2 };

/* Page request records. */
struct PRQ : hw_format<2> {
	using SID = word_bits<PRQ, 0, 31, 0>;
	using SSID = word_bits<PRQ, 0, 51, 32>;
	using EXEC = word_bits<PRQ, 0, 59>;
	using READ = word_bits<PRQ, 0, 60>;
	using WRITE = word_bits<PRQ, 0, 61>;
	using LAST = word_bits<PRQ, 0, 62>;
	using SSV = word_bits<PRQ, 0, 63>;
	using GRPID = word_bits<PRQ, 1, 8, 0>;
	using ADDR = word_bits<PRQ, 1, 63, 12>;
};
