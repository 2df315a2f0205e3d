// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory as a model sees it: see hw-mem.h. No kernel counterpart.
 */
#include "drivers/hw/hw-mem.h"

/* The page behind @pa, NULL when an access to it aborts. */
static struct page *hw_page(struct kernel *k, phys_addr_t pa)
{
	struct page *page = __pfn_to_page(k, PHYS_PFN(pa));

	return page && page_ref_count(page) > 0 ? page : nullptr;
}

static bool is_host(const struct page *page)
{
	return page->flags.load(std::memory_order_relaxed) & PG_host;
}

template <class Copy>
static bool for_each_page(struct kernel *k, phys_addr_t pa, size_t len, Copy copy)
{
	size_t done = 0;

	if (pa + len < pa)
		return false;
	while (done != len) {
		struct page *page = hw_page(k, pa + done);
		size_t offset = offset_in_page(pa + done);
		size_t n = min(len - done, PAGE_SIZE - offset);

		if (!page)
			return false;
		copy(page, offset, done, n);
		done += n;
	}
	return true;
}

bool hw_mem_read(struct kernel *k, phys_addr_t pa, void *buf, size_t len)
{
	return for_each_page(k, pa, len,
			     [buf](struct page *page, size_t offset, size_t done, size_t n) {
				     memcpy_from_page((u8 *)buf + done, page, offset, n);
			     });
}

bool hw_mem_write(struct kernel *k, phys_addr_t pa, const void *buf, size_t len)
{
	return for_each_page(k, pa, len,
			     [buf](struct page *page, size_t offset, size_t done, size_t n) {
				     memcpy_to_page(page, offset, (const u8 *)buf + done, n);
			     });
}

bool hw_mem_read64(struct kernel *k, phys_addr_t pa, u64 *val)
{
	struct page *page = IS_ALIGNED(pa, 8) ? hw_page(k, pa) : nullptr;

	if (!page)
		return false;
	if (is_host(page))
		memcpy_from_page(val, page, offset_in_page(pa), 8);
	else
		*val = smp_load_acquire((u64 *)(void *)((u8 *)page->vaddr + offset_in_page(pa)));
	return true;
}

bool hw_mem_cmpxchg64(struct kernel *k, phys_addr_t pa, u64 old, u64 val, bool *done)
{
	struct page *page = IS_ALIGNED(pa, 8) ? hw_page(k, pa) : nullptr;
	u64 now;

	if (!page)
		return false;
	if (!is_host(page)) {
		u64 *p = (u64 *)(void *)((u8 *)page->vaddr + offset_in_page(pa));

		*done = __atomic_compare_exchange_n(p, &old, val, false, __ATOMIC_ACQ_REL,
						    __ATOMIC_ACQUIRE);
		return true;
	}
	memcpy_from_page(&now, page, offset_in_page(pa), 8);
	*done = now == old;
	if (*done)
		memcpy_to_page(page, offset_in_page(pa), &val, 8);
	return true;
}
