// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device that does nothing but DMA, behind an SMMU: it reads and writes memory at addresses that
 * its owner chooses, so that what the SMMU makes of them is seen. No kernel counterpart. Its one
 * region (BAR 0, 8K):
 *
 *	0x0000 ID               0x44544d41, read only
 *	0x0004 CONTROL          a write starts: OP, and how the access is made
 *	0x0008 STATUS           of the last one, read only: enum dma_testdev_status
 *	0x000c PASID            with CONTROL.SSV
 *	0x0010 IOVA (64)
 *	0x0018 LENGTH           of the buffer's first bytes, 1 to 4096
 *	0x001c DONE             bytes that went well, read only
 *	0x0020 PRI_GRPID
 *	0x0024 PRI_RESPONSE     bit 31: there was one; RESP. Written: forgotten
 *	0x0028 ATC_ENTRIES      that are valid, read only
 *	0x002c QUIRKS           ATC_DEAF: does not answer ATC_INV; ATC_KEEP: answers, and keeps all
 *	0x1000 BUFFER           4096 bytes of memory: what is written to memory, or was read
 *
 * The access is made when CONTROL is written. One that stalls is BUSY until a RESUME: retried, or
 * over. While it is BUSY no new one starts.
 */
#pragma once

#include "drivers/hw/smmuv3-hw.h"

struct dma_testdev_regs {
	struct ID : reg32<0x00> {
		static constexpr u32 value = 0x44544d41;
	};
	struct CONTROL : reg32<0x04> {
		using OP = bits<CONTROL, 3, 0>; /* enum dma_testdev_op */
		using SSV = bits<CONTROL, 8>;
		using PRIV = bits<CONTROL, 9>;
		/* Through the ATC: translated accesses, asking for what it does not hold. */
		using ATC = bits<CONTROL, 10>;
		/* A page request for a write. */
		using PRI_WRITE = bits<CONTROL, 11>;
	};
	struct STATUS : reg32<0x08> {};
	struct PASID : reg32<0x0c> {
		using VALUE = bits<PASID, 19, 0>;
	};
	struct IOVA : reg64<0x10> {};
	struct LENGTH : reg32<0x18> {};
	struct DONE : reg32<0x1c> {};
	struct PRI_GRPID : reg32<0x20> {
		using VALUE = bits<PRI_GRPID, 8, 0>;
	};
	struct PRI_RESPONSE : reg32<0x24> {
		using RESP = bits<PRI_RESPONSE, 1, 0>;
		using VALID = bits<PRI_RESPONSE, 31>;
	};
	struct ATC_ENTRIES : reg32<0x28> {};
	struct QUIRKS : reg32<0x2c> {
		using ATC_DEAF = bits<QUIRKS, 0>;
		using ATC_KEEP = bits<QUIRKS, 1>;
	};
	static constexpr u32 end = 0x30;
	static constexpr u32 buffer = 0x1000;
};

#define DMA_TESTDEV_BUFFER_SIZE 0x1000u
#define DMA_TESTDEV_REGION_SIZE 0x2000u

enum dma_testdev_op : u8 {
	DMA_TESTDEV_READ = 1,  /* memory to buffer */
	DMA_TESTDEV_WRITE = 2, /* buffer to memory */
	DMA_TESTDEV_PRI = 3,   /* a page request for IOVA */
};

enum dma_testdev_status : u8 {
	DMA_TESTDEV_IDLE,
	DMA_TESTDEV_OK,
	DMA_TESTDEV_BUSY,
	DMA_TESTDEV_ABORTED, /* by the SMMU */
	DMA_TESTDEV_BUS,     /* no memory there */
	DMA_TESTDEV_INVALID, /* no such OP or LENGTH */
};

#define DMA_TESTDEV_ATC_ENTRIES 16

struct dma_testdev_atc_entry {
	bool valid = false;
	bool ssv = false;
	u32 ssid = 0;
	u64 iova = 0, pa = 0; /* first addresses */
	u8 shift = 0;
	bool read = false, write = false;
};

struct dma_testdev_config {
	const char *name = "dma-testdev";
	phys_addr_t phys = 0;
	u32 sid = 0;
};

struct dma_testdev : hw_endpoint {
	struct dma_testdev_config config;
	struct smmuv3_hw *const smmu;
	struct mmio_region region;

	reg_page<0x30> regs __guarded_by(smmu->lock);
	u8 buffer[DMA_TESTDEV_BUFFER_SIZE] __guarded_by(smmu->lock) = {};
	struct dma_testdev_atc_entry atc[DMA_TESTDEV_ATC_ENTRIES] __guarded_by(smmu->lock);
	u32 atc_next __guarded_by(smmu->lock) = 0;
	u16 stag __guarded_by(smmu->lock) = 0; /* what it waits for while BUSY */

	explicit dma_testdev(struct smmuv3_hw *s) : smmu(s) {}
};

/* -ENOMEM; -EBUSY: the stream or the address is taken; -EINVAL: no such stream. */
result<struct dma_testdev *> dma_testdev_create(struct smmuv3_hw *smmu,
						const struct dma_testdev_config *config);
void dma_testdev_destroy(struct dma_testdev *dev);
/* A function level reset: all registers, the buffer and the ATC. */
void dma_testdev_reset(struct dma_testdev *dev);
