// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors what the copies of arch/x86/lib and lib/usercopy.c promise, Linux v7.2, for an arena.
// CUSTOMISED: the page tables are walked in software. A copy inside one present page is a walk and
// a memcpy.
#include "core/linux/io.h"
#include "core/mm/internal.h"

// One access by the process to physical memory that a driver mapped: as many aligned loads or
// stores as a program would make.
static int copy_special(struct mm_context *ctx, u64 phys, void *buf, size_t n, bool write)
{
	struct mm_state *state = ctx->state;
	u8 *p = static_cast<u8 *>(buf);

	if (phys >= RAM_PHYS_BASE && phys - RAM_PHYS_BASE < state->ram_pages * PAGE_SIZE) {
		u8 *ram = state->ram + (phys - RAM_PHYS_BASE);

		if (write)
			copy_shared_memory(ram, p, n);
		else
			copy_shared_memory(p, ram, n);
		return 0;
	}
	if (!mmio_find(state->kernel, phys))
		return -EFAULT;
	while (n) {
		unsigned int size = 8;
		u64 val = 0;

		while (size > n || phys % size)
			size /= 2;
		// A model has registers of 4 and 8 bytes; what it does not know reads as all ones
		// and is in the log.
		if (write) {
			memcpy(&val, p, size);
			mmio_write(state->kernel, phys, size, val);
		} else {
			mmio_read(state->kernel, phys, size, &val);
			memcpy(p, &val, size);
		}
		phys += size;
		p += size;
		n -= size;
	}
	return 0;
}

// Up to the end of the page. 0 or -errno.
static int copy_page(struct mm_context *ctx, u64 addr, void *buf, size_t n, bool write)
{
	const u64 need = write ? PTE_WRITE : PTE_READ;
	const size_t offset = offset_in_page(addr);

	for (;;) {
		std::atomic<u64> *pte = pte_lookup(ctx, addr);
		u64 v = pte ? pte->load(std::memory_order_acquire) : 0;

		if ((v & (need | PTE_PAGE)) == (need | PTE_PAGE)) {
			struct page *page = pte_page(ctx->state, v);
			u8 *ram = pte_address(ctx->state, v) + offset;

			if (!page_ref_add_unless_free(page, 1))
				continue;
			if (pte->load(std::memory_order_acquire) != v) {
				put_page(page);
				continue;
			}
			if (write)
				copy_shared_memory(ram, buf, n);
			else
				copy_shared_memory(buf, ram, n);
			put_page(page);
			return 0;
		}
		if ((v & (need | PTE_SPECIAL)) == (need | PTE_SPECIAL))
			return copy_special(ctx, (v & PAGE_MASK) + offset, buf, n, write);

		mmap_read_lock(ctx->mm);
		struct vm_area_struct *vma = find_vma(ctx, addr);
		int rc = -EFAULT;

		if (vma && vma->vm_start <= addr &&
		    vma->vm_flags & (write ? VM_WRITE : VM_ACCESS_FLAGS))
			rc = fault_page(ctx, vma, addr & PAGE_MASK, false);
		mmap_read_unlock(ctx->mm);
		if (rc)
			return rc;
	}
}

// Returns what could not be copied.
[[gnu::noinline]] static size_t arena_copy_slow(struct mm_context *ctx, u64 addr, void *buf,
						size_t n, bool write)
{
	u8 *p = static_cast<u8 *>(buf);

	while (n) {
		size_t len = min(n, PAGE_SIZE - offset_in_page(addr));

		if (copy_page(ctx, addr, p, len, write))
			break;
		addr += len;
		p += len;
		n -= len;
	}
	return n;
}

// The page's memory for @n bytes at @addr when a single task can copy without a reference: NULL
// otherwise. After it @in_copy is set.
static inline u8 *enter_copy(struct mm_context *ctx, u64 addr, size_t n, u64 need)
{
	std::atomic<u64> *pte;
	u64 v;

	if (unlikely(offset_in_page(addr) + n > PAGE_SIZE ||
		     ctx->multi.load(std::memory_order_relaxed)))
		return nullptr;
	ctx->in_copy.store(true, std::memory_order_relaxed);
	std::atomic_signal_fence(
		std::memory_order_seq_cst); // the other half is mm_add_task()'s membarrier
	if (unlikely(ctx->multi.load(std::memory_order_acquire)))
		goto slow;
	pte = pte_lookup(ctx, addr);
	if (unlikely(!pte))
		goto slow;
	v = pte->load(std::memory_order_acquire);
	if (unlikely((v & (need | PTE_PAGE)) != (need | PTE_PAGE)))
		goto slow;
	return pte_address(ctx->state, v) + offset_in_page(addr);

slow:
	ctx->in_copy.store(false, std::memory_order_release);
	return nullptr;
}

static inline void leave_copy(struct mm_context *ctx)
{
	ctx->in_copy.store(false, std::memory_order_release);
}

static size_t arena_copy_from_user(struct mm_struct *mm, void *dst, u64 addr, size_t n)
{
	struct mm_context *ctx = to_sim_mm(mm)->context;
	const u8 *ram;

	might_fault(ctx);
	ram = enter_copy(ctx, addr, n, PTE_READ);
	if (unlikely(!ram))
		return arena_copy_slow(ctx, addr, dst, n, false);
	copy_shared_memory(dst, ram, n);
	leave_copy(ctx);
	return 0;
}

static size_t arena_copy_to_user(struct mm_struct *mm, u64 addr, const void *src, size_t n)
{
	struct mm_context *ctx = to_sim_mm(mm)->context;
	u8 *ram;

	might_fault(ctx);
	ram = enter_copy(ctx, addr, n, PTE_WRITE);
	if (unlikely(!ram))
		return arena_copy_slow(ctx, addr, const_cast<void *>(src), n, true);
	copy_shared_memory(ram, src, n);
	leave_copy(ctx);
	return 0;
}

static size_t arena_clear_user(struct mm_struct *mm, u64 addr, size_t n)
{
	static const u8 zeroes[256] = {};

	while (n) {
		size_t len = min(n, sizeof(zeroes));
		size_t left = arena_copy_to_user(mm, addr, zeroes, len);

		if (left)
			return n - len + left;
		addr += len;
		n -= len;
	}
	return 0;
}

const struct mm_user_ops arena_user_ops = {
	.copy_from_user = arena_copy_from_user,
	.copy_to_user = arena_copy_to_user,
	.clear_user = arena_clear_user,
};
