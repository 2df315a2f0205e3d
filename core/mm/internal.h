// SPDX-License-Identifier: GPL-2.0-or-later
//
// The inside of core/mm: what its files share and nobody else includes. CUSTOMISED: stands for
// mm/internal.h and the memory map.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "core/linux/bug.h"
#include "core/linux/err.h"
#include "core/linux/list.h"
#include "core/linux/raw_lock.h"
#include "core/mm/mm.h"
#include "core/mm/vma.h"

#define MAX_PAGE_ORDER 10
#define HUGE_ORDER     9
#define HUGE_PAGE_SIZE (PAGE_SIZE << HUGE_ORDER)
#define HOST_HASH_SIZE 8192u
#define REMOTE_WINDOWS 4096u
#define TASK_SIZE      ((1UL << 47) - PAGE_SIZE)

struct remote_mm;
struct remote_object;
struct remote_vma;

// A page whose memory is not our RAM.
struct host_page : page {
	// The memory file whose page @index it is; or
	std::shared_ptr<struct remote_object> object;
	// the other process whose page @index (of its addresses) it is, and its contents after it
	// was unmapped there; or, without both, the memory of this process at @vaddr.
	std::shared_ptr<struct remote_mm> remote;
	std::unique_ptr<u8[]> kept;
	u64 index = 0;
};

struct mm_context;

// What the kinds of address space do each in its way: an arena, this process's memory, another
// process's. The mmap lock is held, but for copy().
struct mm_space_ops {
	const struct mm_user_ops *user_ops;
	// Its pages are frames of RAM in page tables of ours; else another kernel has them.
	bool has_tables;
	// Between our memory and the process's: 0 or -EFAULT. Without page tables only.
	int (*copy)(struct mm_context *ctx, void *ours, u64 theirs, size_t n, bool write);
	// The page of @addr with @ref more references (see page_ref_add_unless_free()); @vma is
	// what is mapped there, NULL for nothing of ours, and allows the access. *@seen is what the
	// last call looked up, empty at first: one for each stretch during which the lock is held.
	// -EFAULT, -EHWPOISON, -ENOMEM.
	result<struct page *> (*get_page)(struct mm_context *ctx, struct vm_area_struct *vma,
					  unsigned long addr, bool write, int ref,
					  struct remote_vma *seen);
	// Where a mapping goes, or what is wrong with @addr. Without page tables that is known
	// after map() only.
	long (*get_unmapped_area)(struct mm_context *ctx, unsigned long addr, unsigned long len,
				  unsigned long align, unsigned long flags);
	// Maps on the process's side; where, or -errno. NULL: there is no such side.
	long (*map)(struct mm_context *ctx, unsigned long addr, unsigned long len,
		    unsigned long prot, unsigned long flags, const struct mapping_shape &shape,
		    bool reserve_only);
	// Physical memory at @addr of a mapping. -EINVAL, -ENOMEM.
	int (*remap_pfn)(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr,
			 unsigned long pfn, unsigned long size);
	// The process's side of a mapping of a memory file, of unmapping and of protecting, which
	// undoes or follows ours. NULL: nothing is to do.
	int (*map_memfd)(struct mm_context *ctx, struct vm_area_struct *vma);
	int (*unmap)(unsigned long start, unsigned long len);
	void (*protect)(unsigned long start, unsigned long len, unsigned long prot);
};

extern const struct mm_space_ops arena_space_ops;
extern const struct mm_space_ops host_space_ops;
extern const struct mm_space_ops remote_space_ops;

struct mm_state {
	struct kernel *kernel = nullptr;

	// RAM: one linear range of the host, and its frames. Constant after mm_init().
	u8 *ram = nullptr;
	size_t ram_pages = 0;
	int ram_fd = -1;
	void *map_base = nullptr; // of the frames and the bitmaps
	size_t map_bytes = 0;
	struct page *vmem_map = nullptr;
	size_t nr_words = 0; // of @used

	// Guards what follows. Innermost.
	raw_mutex lock;
	// A bit per frame; the bits past the last frame are set.
	u64 *used __guarded_by(lock) = nullptr;
	// A bit per word of @used that has no free frame.
	u64 *full __guarded_by(lock) = nullptr;
	// No frame below this word is free.
	size_t low_word __guarded_by(lock) = 0;
	// Frames from here on were never used: their memory is zero.
	size_t high_frame __guarded_by(lock) = 0;
	// Not free, of RAM and of the host process.
	long nr_pages __guarded_by(lock) = 0;
	// struct host_page by number, HOST_HASH_SIZE buckets.
	struct page **host_hash __guarded_by(lock) = nullptr;
	// What of the numbers of pages of other processes is taken: see remote.cc.
	bool window_used[REMOTE_WINDOWS] __guarded_by(lock) = {};
	u64 next_loose_pfn __guarded_by(lock) = 0;
	struct mm_context *contexts __guarded_by(lock) = nullptr;
	struct user_struct *users __guarded_by(lock) = nullptr;

	struct user_struct root_user;
	std::atomic<long> nr_vmas{0};
	std::atomic<long> nr_mms{0};
};

static inline struct mm_state *mm_state_of(const struct kernel *kernel)
{
	return static_cast<struct mm_state *>(kernel->mm_state);
}

// 2^@order zeroed frames with a reference each; @scattered (single frames only): see
// mapping_shape::fragmented, @index is the page's in its mapping. Injects no failure.
struct page *mm_alloc_frames(struct mm_state *mm, unsigned int order, bool scattered,
			     unsigned long index);
// False when the page is free or its count near overflow. @n: 1 or GUP_PIN_COUNTING_BIAS.
bool page_ref_add_unless_free(struct page *page, int n);
void page_ref_sub(struct page *page, int n);

// ---- page tables: mmap.cc ----

// An entry: a frame's number above the flags.
#define PTE_READ    BIT(0)
#define PTE_WRITE   BIT(1)
#define PTE_PAGE    BIT(2) // a frame of RAM, with a reference that is the mapping's
#define PTE_SPECIAL BIT(3) // physical memory mapped by a driver, without reference

struct pte_table {
	std::atomic<u64> pte[512];
};
struct pmd_table {
	std::atomic<struct pte_table *> pmd[512];
};

// The rest of struct sim_mm.
struct mm_context {
	struct sim_mm *mm = nullptr;
	struct mm_state *state = nullptr;
	const struct mm_space_ops *ops = nullptr;
	std::shared_ptr<struct remote_mm> remote; // of remote_space_ops

	// More than one task may copy from and to this address space: copies hold a reference on
	// the page. While there is one, it says in @in_copy that it is inside a copy, and nothing
	// can be unmapped under it.
	std::atomic<bool> multi{false};
	// The copy that the first task was in when @multi was set is over.
	std::atomic<bool> settled{false};
	std::atomic<bool> in_copy{false};

	// Sorted by address. Guarded by mm->mmap_lock.
	struct vm_area_struct **vmas = nullptr;
	size_t nr_vmas = 0;
	size_t max_vmas = 0;

	// Read without a lock, filled under @pt_lock, never emptied before the end.
	std::atomic<struct pmd_table *> pgd[512] = {};
	raw_mutex pt_lock;

	struct mm_context *next = nullptr; // of mm_state::contexts
};

// The entry of @addr, or NULL when no table holds it (yet) or it is no address of an arena.
static inline std::atomic<u64> *pte_lookup(struct mm_context *ctx, unsigned long addr)
{
	unsigned long n = (addr - ARENA_BASE) >> PAGE_SHIFT;
	struct pmd_table *pmd;
	struct pte_table *pte;

	if (unlikely(n >= ARENA_SIZE >> PAGE_SHIFT))
		return nullptr;
	pmd = ctx->pgd[n >> 18].load(std::memory_order_acquire);
	if (unlikely(!pmd))
		return nullptr;
	pte = pmd->pmd[n >> 9 & 511].load(std::memory_order_acquire);
	if (unlikely(!pte))
		return nullptr;
	return &pte->pte[n & 511];
}
static inline struct page *pte_page(struct mm_state *state, u64 pte)
{
	return &state->vmem_map[(pte >> PAGE_SHIFT) - RAM_PFN_BASE];
}
static inline u8 *pte_address(struct mm_state *state, u64 pte)
{
	return state->ram + ((pte & PAGE_MASK) - RAM_PHYS_BASE);
}

// Makes the page of @addr present. The mmap lock is held. 0; -EFAULT (no page there), -EHWPOISON,
// -ENOMEM (only from an injected failure when @inject, or when memory is used up).
int fault_page(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr, bool inject);
// As vma_lookup(), or the next mapping above.
struct vm_area_struct *find_vma(struct mm_context *ctx, unsigned long addr);
// Frees what is left of an address space without users.
void exit_mmap(struct mm_context *ctx);

// @to has the mappings of @from, as after a fork: each announced with vm_ops->open(), the private
// pages of an arena copied. -ENOMEM. Compare dup_mmap().
int dup_mappings(struct mm_context *to, struct mm_context *from);
struct mm_struct *__remote_mm_alloc(struct kernel *kernel,
				    std::shared_ptr<struct remote_mm> remote);

// ---- gup.cc ----

result<struct page *> arena_get_page(struct mm_context *ctx, struct vm_area_struct *vma,
				     unsigned long addr, bool write, int ref,
				     struct remote_vma *seen);

// ---- uaccess.cc ----

// A copy may fault, and a fault takes the mmap lock: so lockdep hears of it from every copy, not
// only from one that does. Compare might_fault().
static inline void might_fault(struct mm_context *ctx)
{
	const struct lockdep_map *map = &ctx->mm->mmap_lock.dep;

	if (likely(!(current->instrument & TASK_LOCKDEP)))
		return;
	lock_acquire(map, 0, LOCK_SHARED, LOCK_SLEEPS, false, nullptr, src_loc::current());
	lock_release(map, src_loc::current());
}

extern const struct mm_user_ops arena_user_ops;

// ---- memfd.cc ----

// The page of @index with a reference, made when it was never touched. -EFAULT beyond the end,
// -EHWPOISON, -ENOMEM.
result<struct page *> memfd_get_page(struct memfd *memfd, unsigned long index, bool inject);

// ---- host.cc ----

extern const struct mm_user_ops host_user_ops;
struct page *host_pfn_to_page(struct mm_state *mm, unsigned long pfn);
void host_page_ref_sub(struct page *page, int n);
void host_pages_exit(struct mm_state *mm);
// The page of this number with @ref more references; @init fills a new one. -ENOMEM.
result<struct page *> host_page_get(struct mm_state *state, unsigned long pfn, int ref,
				    const std::function<void(struct host_page *)> &init);
void host_for_each_page(struct mm_state *state, const std::function<void(struct host_page *)> &fn);
// Between our memory at @ours and the process's at @theirs; 0 or -EFAULT, never a signal.
int host_copy(void *ours, const void *theirs, size_t len, bool write);
// What both kinds of process share: mm_space_ops::get_unmapped_area(); the page at @addr of a
// memory file's mapping with @ref more references; and noting that @pfn is at @addr of a device's
// mapping, -EINVAL when that is not one run of physical memory.
long host_get_unmapped_area(struct mm_context *ctx, unsigned long addr, unsigned long len,
			    unsigned long align, unsigned long flags);
result<struct page *> host_get_memfd_page(struct vm_area_struct *vma, unsigned long addr, int ref);
int host_note_pfn(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn);

// ---- remote.cc ----

// Between @buf and a page with PG_host, inside it. 0 or -EFAULT.
int host_page_copy(const struct page *page, size_t offset, void *buf, size_t n, bool write);
// -EFAULT beyond the end, -ENOMEM.
result<struct page *> remote_object_get_page(const std::shared_ptr<struct remote_object> &object,
					     u64 index, int ref);
u64 remote_object_size(const struct remote_object *object);
void remote_page_gone(struct host_page *page);
