// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors what mm/page_alloc.c and include/linux/mm.h promise about page frames, Linux v7.2.
// CUSTOMISED: a bitmap over one linear range, so that what a program gets depends on nothing but
// its own calls: the lowest free frame, always.
#include <climits>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/mm/internal.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MM_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define MM_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define MM_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define MM_TSAN 1
#endif

#ifdef MM_ASAN
#include <sanitizer/asan_interface.h>
static void mark_free(void *addr, size_t len)
{
	ASAN_POISON_MEMORY_REGION(addr, len);
}
static void mark_used(void *addr, size_t len)
{
	ASAN_UNPOISON_MEMORY_REGION(addr, len);
}
#else
static void mark_free(void *, size_t)
{
}
static void mark_used(void *, size_t)
{
}
#endif

void copy_shared_memory(void *to, const void *from, size_t len)
{
#ifdef MM_TSAN
	u8 *d = static_cast<u8 *>(to);
	const u8 *s = static_cast<const u8 *>(from);

	if ((((uintptr_t)d | (uintptr_t)s) & 7) == 0) {
		for (; len >= 8; len -= 8, d += 8, s += 8)
			__atomic_store_n((u64 *)d,
					 __atomic_load_n((const u64 *)s, __ATOMIC_RELAXED),
					 __ATOMIC_RELAXED);
	}
	for (; len; len--)
		__atomic_store_n(d++, __atomic_load_n(s++, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
#else
	memcpy(to, from, len);
#endif
}

void clear_page(void *addr)
{
#ifdef MM_TSAN
	for (size_t i = 0; i != PAGE_SIZE / 8; i++)
		__atomic_store_n(static_cast<u64 *>(addr) + i, 0, __ATOMIC_RELAXED);
#else
	memset(addr, 0, PAGE_SIZE);
#endif
}

// ---- the frame allocator ----

static void take_frames(struct mm_state *mm, size_t frame, size_t n) __must_hold(mm->lock)
{
	for (size_t i = frame; i != frame + n; i++) {
		struct page *page = &mm->vmem_map[i];

		mm->used[i / 64] |= 1ULL << (i % 64);
		if (mm->used[i / 64] == ~0ULL)
			mm->full[i / 64 / 64] |= 1ULL << (i / 64 % 64);
		if (!page->state) {
			page->pfn = RAM_PFN_BASE + i;
			page->vaddr = mm->ram + i * PAGE_SIZE;
			__atomic_store_n(&page->state, mm, __ATOMIC_RELEASE);
		}
	}
}

// The lowest free frame, of an even number only when @even, from word @word on. SIZE_MAX when there
// is none.
static size_t find_frame(struct mm_state *mm, size_t word, bool even) __must_hold(mm->lock)
{
	const u64 mask = even ? 0x5555555555555555ULL : ~0ULL;

	while (word < mm->nr_words) {
		u64 not_full = ~mm->full[word / 64] & (~0ULL << (word % 64));
		u64 free;

		if (!not_full) {
			word = (word / 64 + 1) * 64;
			continue;
		}
		word = word / 64 * 64 + __ffs(not_full);
		if (word >= mm->nr_words)
			break;
		free = ~mm->used[word] & mask;
		if (free)
			return word * 64 + __ffs(free);
		word++;
	}
	return SIZE_MAX;
}

// The lowest 2^@order free frames that are aligned to their count.
static size_t find_block(struct mm_state *mm, unsigned int order) __must_hold(mm->lock)
{
	const size_t n = 1UL << order;

	if (order >= 6) {
		const size_t words = n / 64;

		for (size_t w = ALIGN(mm->low_word, words); w + words <= mm->nr_words; w += words) {
			size_t i = 0;

			while (i != words && !mm->used[w + i])
				i++;
			if (i == words)
				return w * 64;
		}
		return SIZE_MAX;
	}
	for (size_t w = mm->low_word; w < mm->nr_words; w++) {
		if (mm->used[w] == ~0ULL)
			continue;
		for (size_t bit = 0; bit < 64; bit += n)
			if (!(mm->used[w] & (((1ULL << n) - 1) << bit)))
				return w * 64 + bit;
	}
	return SIZE_MAX;
}

struct page *mm_alloc_frames(struct mm_state *mm, unsigned int order, bool scattered,
			     unsigned long index)
{
	const size_t n = 1UL << order;
	size_t dirty_below;
	size_t frame;

	if (order > MAX_PAGE_ORDER)
		return nullptr;
	{
		raw_guard g(&mm->lock);

		if (scattered && !order) {
			// Even frames only, so that no two are neighbours; odd pages from the upper
			// half of RAM.
			frame = find_frame(mm, index % 2 ? mm->nr_words / 2 : mm->low_word, true);
			if (frame == SIZE_MAX)
				frame = find_frame(mm, mm->low_word, true);
		} else if (order == 0) {
			frame = find_frame(mm, mm->low_word, false);
			if (frame != SIZE_MAX)
				mm->low_word = frame / 64;
		} else {
			frame = find_block(mm, order);
		}
		if (frame == SIZE_MAX)
			return nullptr;
		take_frames(mm, frame, n);
		dirty_below = mm->high_frame;
		mm->high_frame = max(mm->high_frame, frame + n);
		mm->nr_pages += (long)n;
	}
	for (size_t i = frame; i != frame + n; i++) {
		struct page *page = &mm->vmem_map[i];

		mark_used(page->vaddr, PAGE_SIZE);
		if (i < dirty_below)
			clear_page(page->vaddr);
		page->flags.store(0, std::memory_order_relaxed);
		page->_refcount.store(1, std::memory_order_release);
	}
	return &mm->vmem_map[frame];
}

// @page has no reference any more.
static void free_frame(struct page *page)
{
	struct mm_state *mm = page->state;
	size_t i = page - mm->vmem_map;

	mark_free(page->vaddr, PAGE_SIZE);
	raw_guard g(&mm->lock);
	mm->nr_pages--;
	mm->used[i / 64] &= ~(1ULL << (i % 64));
	mm->full[i / 64 / 64] &= ~(1ULL << (i / 64 % 64));
	mm->low_word = min(mm->low_word, i / 64);
}

struct page *alloc_pages(gfp_t, unsigned int order)
{
	if (should_fail(FAULT_PAGE_ALLOC))
		return nullptr;
	return mm_alloc_frames(mm_state_of(current->kernel), order, false, 0);
}

void __free_pages(struct page *page, unsigned int order)
{
	if (!page)
		return;
	for (size_t i = 0; i != 1UL << order; i++)
		put_page(page + i);
}

unsigned long __get_free_pages(gfp_t gfp, unsigned int order)
{
	struct page *page = alloc_pages(gfp, order);

	return page ? (unsigned long)(uintptr_t)page_address(page) : 0;
}

void free_pages(unsigned long addr, unsigned int order)
{
	if (addr)
		__free_pages(virt_to_page((void *)addr), order);
}

// ---- references ----

// Pins stop here, so that there is room for the references of copies, which are given back at once.
#define PAGE_PIN_LIMIT (INT_MAX - (1 << 20))

void get_page(struct page *page)
{
	WARN_ON(page->_refcount.fetch_add(1, std::memory_order_relaxed) <= 0);
}

bool page_ref_add_unless_free(struct page *page, int n)
{
	const int limit = n == 1 ? INT_MAX - 1 : PAGE_PIN_LIMIT;

	sched_point(SCHED_AT_REF, page);
	int old = page->_refcount.load(std::memory_order_relaxed);

	do {
		if (old <= 0 || old > limit)
			return false;
	} while (!page->_refcount.compare_exchange_weak(old, old + n, std::memory_order_acquire,
							std::memory_order_relaxed));
	return true;
}

bool try_get_page(struct page *page)
{
	return page_ref_add_unless_free(page, 1);
}

void page_ref_sub(struct page *page, int n)
{
	int old;

	if (unlikely(page->flags.load(std::memory_order_relaxed) & PG_host)) {
		host_page_ref_sub(page, n);
		return;
	}
	old = page->_refcount.fetch_sub(n, std::memory_order_acq_rel);
	if (WARN_ON(old < n))
		return;
	if (old == n)
		free_frame(page);
}

void put_page(struct page *page)
{
	page_ref_sub(page, 1);
}

// ---- addresses ----

struct page *__pfn_to_page(struct kernel *kernel, unsigned long pfn)
{
	struct mm_state *mm = mm_state_of(kernel);
	struct page *page;

	if (pfn >= HOST_PFN_BASE)
		return host_pfn_to_page(mm, pfn);
	if (pfn < RAM_PFN_BASE || pfn - RAM_PFN_BASE >= mm->ram_pages)
		return nullptr;
	page = &mm->vmem_map[pfn - RAM_PFN_BASE];
	return __atomic_load_n(&page->state, __ATOMIC_ACQUIRE) ? page : nullptr;
}

bool __pfn_valid(struct kernel *kernel, unsigned long pfn)
{
	return __pfn_to_page(kernel, pfn) != nullptr;
}

struct page *pfn_to_page(unsigned long pfn)
{
	return __pfn_to_page(current->kernel, pfn);
}

bool pfn_valid(unsigned long pfn)
{
	return __pfn_valid(current->kernel, pfn);
}

struct page *virt_to_page(const void *addr)
{
	struct mm_state *mm = mm_state_of(current->kernel);
	size_t offset = (const u8 *)addr - mm->ram;

	if (WARN_ON((const u8 *)addr < mm->ram || offset >= mm->ram_pages * PAGE_SIZE))
		return nullptr;
	return &mm->vmem_map[offset / PAGE_SIZE];
}

phys_addr_t virt_to_phys(const void *addr)
{
	struct mm_state *mm = mm_state_of(current->kernel);
	size_t offset = (const u8 *)addr - mm->ram;

	if (WARN_ON((const u8 *)addr < mm->ram || offset >= mm->ram_pages * PAGE_SIZE))
		return 0;
	return RAM_PHYS_BASE + offset;
}

void *phys_to_virt(phys_addr_t phys)
{
	struct mm_state *mm = mm_state_of(current->kernel);

	if (phys < RAM_PHYS_BASE || phys - RAM_PHYS_BASE >= mm->ram_pages * PAGE_SIZE)
		return nullptr;
	return mm->ram + (phys - RAM_PHYS_BASE);
}

void memcpy_from_page(void *to, const struct page *page, size_t offset, size_t len)
{
	if (unlikely(page->flags.load(std::memory_order_relaxed) & PG_host)) {
		if (host_page_copy(page, offset, to, len, false))
			memset(to, 0, len);
		return;
	}
	copy_shared_memory(to, (u8 *)page->vaddr + offset, len);
}

void memcpy_to_page(struct page *page, size_t offset, const void *from, size_t len)
{
	if (unlikely(page->flags.load(std::memory_order_relaxed) & PG_host)) {
		(void)host_page_copy(page, offset, const_cast<void *>(from), len, true);
		return;
	}
	copy_shared_memory((u8 *)page->vaddr + offset, from, len);
}

// ---- the instance ----

int mm_init(struct kernel *kernel, const struct mm_options &opts)
	LOCK_ANALYSIS_ESCAPE("nobody else has it yet")
{
	const size_t frames = max(opts.ram_bytes / PAGE_SIZE, (size_t)64);
	const size_t words = DIV_ROUND_UP(frames, 64);
	const size_t full_words = DIV_ROUND_UP(words, 64);
	size_t map_bytes = frames * sizeof(struct page) + (words + full_words) * sizeof(u64);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	struct mm_state *mm;
	u8 *ram, *map;
	int fd = -1;

	if (WARN_ON(kernel->mm_state))
		return -EBUSY;
	if (opts.shared_ram) {
		fd = ::memfd_create("iommulab-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd < 0)
			return -ENOMEM;
		flags = MAP_SHARED | MAP_NORESERVE;
		// Other processes get it, and none may cut off what is mapped here.
		if (ftruncate(fd, (off_t)(frames * PAGE_SIZE)) ||
		    ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
			::close(fd);
			return -ENOMEM;
		}
	}
	ram = static_cast<u8 *>(
		::mmap(nullptr, frames * PAGE_SIZE, PROT_READ | PROT_WRITE, flags, fd, 0));
	map = static_cast<u8 *>(::mmap(nullptr, map_bytes, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	mm = new (std::nothrow) struct mm_state;
	if (ram == MAP_FAILED || map == MAP_FAILED || !mm) {
		if (ram != MAP_FAILED)
			::munmap(ram, frames * PAGE_SIZE);
		if (map != MAP_FAILED)
			::munmap(map, map_bytes);
		if (fd >= 0)
			::close(fd);
		delete mm;
		return -ENOMEM;
	}
	mm->kernel = kernel;
	mm->ram = ram;
	mm->ram_pages = frames;
	mm->ram_fd = fd;
	mm->map_base = map;
	mm->map_bytes = map_bytes;
	// Fresh zeroes are a free frame each.
	mm->vmem_map = reinterpret_cast<struct page *>(map);
	mm->nr_words = words;
	mm->used = reinterpret_cast<u64 *>(map + frames * sizeof(struct page));
	mm->full = mm->used + words;
	if (frames % 64)
		mm->used[words - 1] = ~0ULL << (frames % 64);
	kernel->mm_state = mm;
	return 0;
}

void mm_exit(struct kernel *kernel) LOCK_ANALYSIS_ESCAPE("nobody else has it any more")
{
	struct mm_state *mm = mm_state_of(kernel);

	if (!mm)
		return;
	WARN_ON(mm->nr_pages);
	WARN_ON(mm->nr_mms.load());
	mark_used(mm->ram, mm->high_frame * PAGE_SIZE);
	host_pages_exit(mm);
	while (struct user_struct *user = mm->users) {
		mm->users = user->next;
		delete user;
	}
	::munmap(mm->ram, mm->ram_pages * PAGE_SIZE);
	::munmap(mm->map_base, mm->map_bytes);
	if (mm->ram_fd >= 0)
		::close(mm->ram_fd);
	kernel->mm_state = nullptr;
	delete mm;
}

void mm_renew(struct kernel *kernel)
{
	struct mm_state *mm = mm_state_of(kernel);
	raw_guard g(&mm->lock);

	while (struct user_struct *user = mm->users) {
		mm->users = user->next;
		delete user;
	}
}

struct mm_residue mm_get_residue(const struct kernel *kernel)
	LOCK_ANALYSIS_ESCAPE("reads mm->locked_vm without its lock: exact while no task runs")
{
	struct mm_state *mm = mm_state_of(kernel);
	struct mm_residue r = {};

	if (!mm)
		return r;
	r.vmas = (unsigned long)mm->nr_vmas.load();
	r.mms = (unsigned long)mm->nr_mms.load();
	raw_guard g(&mm->lock);
	r.pages = (unsigned long)mm->nr_pages;
	// Counted when asked for: a pin costs one atomic operation.
	for (size_t word = 0; word < DIV_ROUND_UP(mm->high_frame, 64); word++)
		for (u64 used = mm->used[word]; used; used &= used - 1) {
			const size_t i = word * 64 + __ffs(used);

			/* beyond the end of RAM the bits are set, too */
			if (i < mm->high_frame)
				r.pins += (unsigned long)page_pin_count(&mm->vmem_map[i]);
		}
	for (size_t i = 0; mm->host_hash && i != HOST_HASH_SIZE; i++)
		for (const struct page *page = mm->host_hash[i]; page; page = page->next)
			r.pins += (unsigned long)page_pin_count(page);
	for (struct mm_context *ctx = mm->contexts; ctx; ctx = ctx->next) {
		r.locked_vm += (long)ctx->mm->locked_vm;
		r.pinned_vm += ctx->mm->pinned_vm.load();
	}
	r.locked_vm += mm->root_user.locked_vm.load();
	r.users += mm->root_user.__count.load();
	for (struct user_struct *user = mm->users; user; user = user->next) {
		r.locked_vm += user->locked_vm.load();
		r.users += user->__count.load();
	}
	return r;
}
