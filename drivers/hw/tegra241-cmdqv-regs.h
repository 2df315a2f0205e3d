// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The registers of Tegra241's CMDQV. No kernel counterpart. Pages are of 64K:
 *
 *	0x00000  configuration
 *		0x0000 CONFIG   0x0004 PARAM   0x0008 STATUS
 *		0x0014 VINTF_ERR_MAP[2]   0x001c VINTF_INT_MASK[2]   0x0024 CMDQ_ERR_MAP[4]
 *		0x0200 CMDQ_ALLOC_MAP[128]                        one for each VCMDQ
 *		0x1000 + 0x100 * v: VINTF v
 *			0x00 CONFIG   0x04 STATUS
 *			0x40 SID_MATCH[16]   0x80 SID_REPLACE[16]
 *			0xc0 LVCMDQ_ERR_MAP[4]                    read as two of 64 bits, too
 *	0x10000  VCMDQ page 0, 0x80 bytes each: CONS PROD CONFIG STATUS GERROR GERRORN
 *	0x20000  VCMDQ page 1, 0x80 bytes each: BASE (64)   CONS_INDX_BASE_DRAM (64)
 *	0x30000 + 0x20000 * v: VINTF v's page 0, then its page 1: the same registers of those
 *		VCMDQs that are allocated to it, by logical number
 */
#pragma once

#include "drivers/hw/regs.h"

#define TEGRA241_CMDQV_PAGE	   0x10000u
#define TEGRA241_CMDQV_MAX_VINTFS  64u
#define TEGRA241_CMDQV_MAX_VCMDQS  128u
#define TEGRA241_CMDQV_MAX_SIDS	   16u
#define TEGRA241_CMDQV_VCMDQ_BYTES 0x80u

struct cmdqv_regs {
	struct CONFIG : reg32<0x0000> {
		using EN = bits<CONFIG, 0>;
		using PER_CMD_OFFSET = bits<CONFIG, 3, 1>;
		using MAX_CLK_BATCH = bits<CONFIG, 11, 4>;
		using MAX_CMD_BATCH = bits<CONFIG, 19, 12>;
		using CONS_DRAM_EN = bits<CONFIG, 20>;
	};
	struct PARAM : reg32<0x0004> {
		using VER = bits<PARAM, 3, 0>;
		using NUM_VCMDQ_LOG2 = bits<PARAM, 7, 4>;
		using NUM_VINTF_LOG2 = bits<PARAM, 11, 8>;
		using NUM_SID_PER_VM_LOG2 = bits<PARAM, 15, 12>;
	};
	struct STATUS : reg32<0x0008> {
		using ENABLED = bits<STATUS, 0>;
	};
	struct VINTF_ERR_MAP : hw_reg_array<u32, 0x0014, 2> {};
	struct VINTF_INT_MASK : hw_reg_array<u32, 0x001c, 2> {};
	struct CMDQ_ERR_MAP : hw_reg_array<u32, 0x0024, 4> {};
	struct CMDQ_ALLOC_MAP : hw_reg_array<u32, 0x0200, TEGRA241_CMDQV_MAX_VCMDQS> {
		using ALLOC = bits<CMDQ_ALLOC_MAP, 0>;
		using LVCMDQ = bits<CMDQ_ALLOC_MAP, 7, 1>;
		using VINTF = bits<CMDQ_ALLOC_MAP, 20, 15>;
	};
	static constexpr u32 vintf_base = 0x1000;
	static constexpr u32 vintf_bytes = 0x100;
};

struct vintf_regs {
	struct CONFIG : reg32<0x00> {
		using ENABLE = bits<CONFIG, 0>;
		using VMID = bits<CONFIG, 16, 1>;
		using HYP_OWN = bits<CONFIG, 17>;
	};
	struct STATUS : reg32<0x04> {
		using ENABLE_OK = bits<STATUS, 0>;
		using ERROR = bits<STATUS, 3, 1>; /* 1: one of its VCMDQs has one */
		using NUM_LVCMDQ = bits<STATUS, 23, 16>;
	};
	struct SID_MATCH : hw_reg_array<u32, 0x40, TEGRA241_CMDQV_MAX_SIDS> {
		using ENABLE = bits<SID_MATCH, 0>;
		using VIRT_SID = bits<SID_MATCH, 20, 1>;
	};
	struct SID_REPLACE : hw_reg_array<u32, 0x80, TEGRA241_CMDQV_MAX_SIDS> {
		using PHYS_SID = bits<SID_REPLACE, 19, 0>;
	};
	struct LVCMDQ_ERR_MAP : hw_reg_array<u32, 0xc0, 4> {};
};

struct vcmdq_regs {
	/* Page 0. */
	struct CONS : reg32<0x00> {
		using RD = bits<CONS, 19, 0>;
		using ERR = bits<CONS, 30, 24>;
	};
	struct PROD : reg32<0x04> {
		using WR = bits<PROD, 19, 0>;
	};
	struct CONFIG : reg32<0x08> {
		using EN = bits<CONFIG, 0>;
	};
	struct STATUS : reg32<0x0c> {
		using EN_OK = bits<STATUS, 0>;
	};
	struct GERROR : reg32<0x10> {
		using CMDQ_ERR = bits<GERROR, 0>;
		using CONS_DRAM_WR_ABT_ERR = bits<GERROR, 1>;
		using CMDQ_INIT_ERR = bits<GERROR, 2>;
		static constexpr u32 all = 7;
	};
	struct GERRORN : reg32<0x14> {};
	static constexpr u32 page0_end = 0x18;

	/* Page 1. */
	struct BASE : reg64<0x00> {
		using LOG2SIZE = bits<BASE, 4, 0>;
		using ADDR = bits<BASE, 47, 5>;
	};
	struct CONS_INDX_BASE_DRAM : reg64<0x08> {
		using ADDR = bits<CONS_INDX_BASE_DRAM, 47, 0>;
	};
	static constexpr u32 page1_end = 0x10;
};
