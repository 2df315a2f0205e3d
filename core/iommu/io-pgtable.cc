// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The formats of page tables by name. Mirrors drivers/iommu/io-pgtable.c of Linux 7.2.
 */
#include "core/iommu/io-pgtable.h"

static const struct io_pgtable_init_fns *io_pgtable_init_table(enum io_pgtable_fmt fmt)
{
	switch (fmt) {
	case ARM_64_LPAE_S1:
		return &io_pgtable_arm_64_lpae_s1_init_fns;
	case ARM_64_LPAE_S2:
		return &io_pgtable_arm_64_lpae_s2_init_fns;
	default:
		return nullptr;
	}
}

struct io_pgtable_ops *alloc_io_pgtable_ops(enum io_pgtable_fmt fmt, struct io_pgtable_cfg *cfg,
					    void *cookie)
{
	const struct io_pgtable_init_fns *fns = io_pgtable_init_table(fmt);
	struct io_pgtable *iop = fns ? fns->alloc(cfg, cookie) : nullptr;

	if (!iop)
		return nullptr;
	iop->fmt = fmt;
	iop->cookie = cookie;
	iop->cfg = *cfg;
	return &iop->ops;
}

void free_io_pgtable_ops(struct io_pgtable_ops *ops)
{
	if (!ops)
		return;

	struct io_pgtable *iop = io_pgtable_ops_to_pgtable(ops);

	io_pgtable_tlb_flush_all(iop);
	io_pgtable_init_table(iop->fmt)->free(iop);
}
