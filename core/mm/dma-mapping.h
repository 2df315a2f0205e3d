// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors the coherent half of include/linux/dma-mapping.h, Linux v7.2. CUSTOMISED: every device
// sees RAM at its physical address and coherently, so this is alloc_pages() with the address told.
#pragma once

#include "core/linux/device.h"
#include "core/mm/mm.h"

// Zeroed, physically contiguous and aligned to its size rounded up to a power of two pages. NULL
// without memory.
[[nodiscard]] static inline void *dma_alloc_coherent(struct device *, size_t size,
						     dma_addr_t *dma_handle, gfp_t gfp)
{
	struct page *page = alloc_pages(gfp, (unsigned int)get_order(size));

	if (!page)
		return nullptr;
	*dma_handle = page_to_phys(page);
	return page_address(page);
}

// NULL is fine.
static inline void dma_free_coherent(struct device *, size_t size, void *cpu_addr, dma_addr_t)
{
	if (cpu_addr)
		free_pages((unsigned long)cpu_addr, (unsigned int)get_order(size));
}
