// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors the parts of
// include/linux/{mm.h,mm_types.h,gfp.h,highmem.h,sched/mm.h,mmap_lock.h,mmu_context.h} that iommufd
// and its drivers use, Linux v7.2. CUSTOMISED: physical memory is one linear range of the instance,
// every page is a page of order 0 (no compound pages, no zero page, no copy on write, no swap), and
// all of it belongs to one struct kernel. Pages of the process's own memory (core/mm/host.cc) have
// pfns above the RAM.
//
// Lock order: mmap_lock, then the lock of the page tables, then that of the page allocator. None is
// held while user memory is copied.
#pragma once

#include <atomic>

#include "core/linux/atomic.h"
#include "core/linux/capability.h"
#include "core/linux/kernel.h"
#include "core/linux/mm_types.h"
#include "core/linux/rwsem.h"
#include "core/linux/types.h"

struct file;
struct mm_state;

// ---- physical memory ----

// The physical address map of the machine. RAM starts where no small number looks like an address
// in it; MMIO regions (core/linux/io.h) lie anywhere else below 2^48; the page of the host process
// at address A has the physical address 2^48 + A.
#define RAM_PHYS_BASE 0x80000000UL
#define RAM_PFN_BASE  (RAM_PHYS_BASE >> PAGE_SHIFT)
#define HOST_PFN_BASE (1UL << (48 - PAGE_SHIFT))

enum page_flags : u32 {
	PG_dirty = 1u << 0, // written through a pin that was released dirty
	PG_reserved = 1u << 1,
	PG_host = 1u << 2, // the memory is the host process's own: see page_address()
};

// One page frame. Its address is stable for the life of the kernel, so that a reference may be
// tried on a page that is being freed (try_get_page()).
struct page {
	// 0: free. A pin counts GUP_PIN_COUNTING_BIAS, anything else one.
	std::atomic<int> _refcount{0};
	std::atomic<u32> flags{0};
	unsigned long pfn = 0;
	void *vaddr = nullptr;
	struct mm_state *state = nullptr;
	struct page *next = nullptr; // of the hash bucket, for a host page
};

#define GUP_PIN_COUNTING_BIAS 1024

// The frame behind a pfn of this kernel, or NULL when none has a struct page (MMIO, or no memory
// there). Never blocks.
struct page *__pfn_to_page(struct kernel *kernel, unsigned long pfn);
bool __pfn_valid(struct kernel *kernel, unsigned long pfn);
// The same for current's kernel. Compare pfn_to_page() and pfn_valid().
struct page *pfn_to_page(unsigned long pfn);
bool pfn_valid(unsigned long pfn);

static inline unsigned long page_to_pfn(const struct page *page)
{
	return page->pfn;
}
static inline phys_addr_t page_to_phys(const struct page *page)
{
	return PFN_PHYS(page->pfn);
}
static inline struct page *phys_to_page(phys_addr_t phys)
{
	return pfn_to_page(PHYS_PFN(phys));
}

// The page's memory. Physically consecutive RAM pages are consecutive here too. For a page of the
// host process it is the address the process uses, which faults when the process has unmapped it:
// use memcpy_from_page() and memcpy_to_page().
static inline void *page_address(const struct page *page)
{
	return page->vaddr;
}
static inline void *kmap_local_page(const struct page *page)
{
	return page->vaddr;
}
// A kernel address in RAM back to its page, and to its physical address. WARNs and returns NULL (0)
// for any other address.
struct page *virt_to_page(const void *addr);
phys_addr_t virt_to_phys(const void *addr);
// The kernel address of @phys, NULL when that is no RAM. Compare phys_to_virt().
void *phys_to_virt(phys_addr_t phys);

// Copies of @len bytes at @offset, inside one page. They may race with stores of the process, as on
// hardware: bytes may be torn, nothing else happens. On a page of the host process that is gone,
// reads give zeroes and writes are lost.
void memcpy_from_page(void *to, const struct page *page, size_t offset, size_t len);
void memcpy_to_page(struct page *page, size_t offset, const void *from, size_t len);
void clear_page(void *addr);
// What they are built on: memory that a program may write at the same time. Plain memcpy() where no
// race detector looks.
void copy_shared_memory(void *to, const void *from, size_t len);

// 2^@order pages, physically consecutive and aligned to their count; the lowest that are free.
// Zeroed always. Each page has one reference. NULL when memory is used up or the failure is
// injected. Compare alloc_pages().
struct page *alloc_pages(gfp_t gfp, unsigned int order);
static inline struct page *alloc_page(gfp_t gfp)
{
	return alloc_pages(gfp, 0);
}
void __free_pages(struct page *page, unsigned int order);
static inline void __free_page(struct page *page)
{
	__free_pages(page, 0);
}
// The same by kernel address; 0 on failure.
unsigned long __get_free_pages(gfp_t gfp, unsigned int order);
static inline unsigned long __get_free_page(gfp_t gfp)
{
	return __get_free_pages(gfp, 0);
}
static inline unsigned long get_zeroed_page(gfp_t gfp)
{
	return __get_free_pages(gfp, 0);
}
void free_pages(unsigned long addr, unsigned int order);
static inline void free_page(unsigned long addr)
{
	free_pages(addr, 0);
}

static inline int page_ref_count(const struct page *page)
{
	return page->_refcount.load(std::memory_order_relaxed);
}
// The pins on a page. Compare folio_maybe_dma_pinned(): here there are no false positives below
// 1024 plain references.
static inline int page_pin_count(const struct page *page)
{
	return page_ref_count(page) / GUP_PIN_COUNTING_BIAS;
}
void get_page(struct page *page);
// False when the page is free (or its count near overflow): no reference was taken.
bool try_get_page(struct page *page);
// Drops a reference; the last one frees the page.
void put_page(struct page *page);
static inline void set_page_dirty(struct page *page)
{
	page->flags.fetch_or(PG_dirty, std::memory_order_relaxed);
}
static inline bool PageDirty(const struct page *page)
{
	return page->flags.load(std::memory_order_relaxed) & PG_dirty;
}

// ---- address spaces ----

struct vm_area_struct;
struct mm_context;

// What every address space of core/mm is: any struct mm_struct is one. @context is core/mm's own.
struct sim_mm : mm_struct {
	std::atomic<int> mm_count{1};
	std::atomic<int> mm_users{1};
	struct rw_semaphore mmap_lock{LOCK_CLASS(mm_struct, mmap_lock)};
	atomic64_t pinned_vm{0};			     // pages that drivers hold pinned
	unsigned long locked_vm __guarded_by(mmap_lock) = 0; // pages; __account_locked_vm()
	struct mm_context *context = nullptr;
};

static inline struct sim_mm *to_sim_mm(struct mm_struct *mm)
{
	return static_cast<struct sim_mm *>(mm);
}

// References: mm_count keeps the struct, mm_users keeps the mappings.
void mmgrab(struct mm_struct *mm);
// The last mmdrop() frees the struct.
void mmdrop(struct mm_struct *mm);
void mmget(struct mm_struct *mm);
// False when the process is gone (its mappings with it) though the struct lives on.
bool mmget_not_zero(struct mm_struct *mm);
// The last mmput() unmaps everything, with vm_ops->close() and fput() for each mapping, and drops
// one mm_count. May sleep.
void mmput(struct mm_struct *mm);

// Not followed by the context analysis, as in the kernel: callers keep the lock over calls or drop
// it by a flag. Those who need it check at run time.
void mmap_read_lock(struct mm_struct *mm);
void mmap_read_unlock(struct mm_struct *mm);
void mmap_write_lock(struct mm_struct *mm);
void mmap_write_unlock(struct mm_struct *mm);
void mmap_assert_locked(struct mm_struct *mm);

// Makes @mm current's address space for the length of a scope. The caller holds an mm_users.
// Compare kthread_use_mm(). Unlike the kernel's it nests over an address space that the task has
// already.
struct kthread_mm_scope {
	explicit kthread_mm_scope(struct mm_struct *mm);
	~kthread_mm_scope();
	kthread_mm_scope(const kthread_mm_scope &) = delete;
	struct mm_struct *old_mm;
};

// The slow half of a pair whose fast half is a compiler barrier: after it every other thread of
// this process has made visible what it stored before, and sees what was stored here. Compare
// membarrier(2).
void host_membarrier();
// False: the host has no membarrier(), both halves must be real barriers.
bool host_has_membarrier();

// ---- get_user_pages ----

// The caller will write the pages.
#define FOLL_WRITE 0x1u
#define FOLL_GET   0x2u
// Past a private mapping's protection, within what it may become (VM_MAYREAD, VM_MAYWRITE).
#define FOLL_FORCE 0x8u
// -EHWPOISON in place of -EFAULT for a failed page.
#define FOLL_HWPOISON 0x100u
#define FOLL_LONGTERM 0x10000u
#define FOLL_PIN      0x80000u

// Pins @nr_pages pages of @mm from the page of @start on, in order, and stores them in @pages.
// Returns how many, which is fewer than asked for when an error came after the first; the error
// when there is none: -EFAULT for no mapping, no permission, a device mapping or a failed page,
// -EHWPOISON (see above), -ENOMEM. 0 only for nr_pages 0. The mmap lock is held. *@locked (may be
// NULL) stays 1: unlike the kernel's, these never drop the lock. Compare pin_user_pages_remote().
long pin_user_pages_remote(struct mm_struct *mm, unsigned long start, unsigned long nr_pages,
			   unsigned int gup_flags, struct page **pages, int *locked);
long get_user_pages_remote(struct mm_struct *mm, unsigned long start, unsigned long nr_pages,
			   unsigned int gup_flags, struct page **pages, int *locked);
// The same for current->mm, which the caller has not locked. -EOVERFLOW when the range wraps.
// Compare pin_user_pages_fast().
int pin_user_pages_fast(unsigned long start, int nr_pages, unsigned int gup_flags,
			struct page **pages);
int get_user_pages_fast(unsigned long start, int nr_pages, unsigned int gup_flags,
			struct page **pages);

void unpin_user_page(struct page *page);
void unpin_user_pages(struct page **pages, unsigned long npages);
// @npages physically consecutive pages from @page on; dirty when @make_dirty. Compare
// unpin_user_page_range_dirty_lock().
void unpin_user_page_range_dirty_lock(struct page *page, unsigned long npages, bool make_dirty);
void unpin_user_pages_dirty_lock(struct page **pages, unsigned long npages, bool make_dirty);
// Adds a pin to a page that is pinned. -ENOMEM near the count's overflow. Compare folio_add_pin().
int page_add_pin(struct page *page);

// Copies @len bytes at @addr of another address space; returns how many could be. FOLL_WRITE writes
// from @buf. The caller holds an mm_users. Compare access_remote_vm().
int access_remote_vm(struct mm_struct *mm, unsigned long addr, void *buf, int len,
		     unsigned int gup_flags);

// ---- locked memory ----

// One user of the machine, whose locked memory is counted over all processes. Compare struct
// user_struct.
struct user_struct {
	u32 uid = 0;
	std::atomic<long> __count{0};
	atomic_long_t locked_vm{0}; // pages
	struct user_struct *next = nullptr;
};

// The user of @uid, made when it is new; lives as long as the kernel. No reference taken. NULL
// without memory. Compare alloc_uid().
struct user_struct *alloc_uid(struct kernel *kernel, u32 uid);
// Of current's credentials; root when they name none. Compare current_user().
struct user_struct *current_user();
// A counted look at it, for the residue: the struct itself stays.
static inline struct user_struct *get_uid(struct user_struct *u)
{
	u->__count.fetch_add(1, std::memory_order_relaxed);
	return u;
}
static inline void free_uid(struct user_struct *u)
{
	u->__count.fetch_sub(1, std::memory_order_relaxed);
}

// Adds to or takes from mm->locked_vm, with the mmap lock held for writing. -ENOMEM beyond @task's
// RLIMIT_MEMLOCK unless @bypass_rlim. Compare __account_locked_vm().
int __account_locked_vm(struct mm_struct *mm, unsigned long pages, bool inc,
			struct task_struct *task, bool bypass_rlim);
// The same for current, with the lock taken here and CAP_IPC_LOCK looked at. Compare
// account_locked_vm().
int account_locked_vm(struct mm_struct *mm, unsigned long pages, bool inc);

// ---- the instance ----

struct mm_options {
	// Reserved at once, backed by the host when touched.
	size_t ram_bytes = 256UL << 20;
	// RAM is a memfd of the host, so that other mappings of it can be made (host_mm, clients).
	bool shared_ram = false;
};
// Gives a kernel its memory. -ENOMEM. Before the first page, and once.
[[nodiscard]] int mm_init(struct kernel *kernel, const struct mm_options &opts);
// Takes it back, with a task of the kernel current. WARNs about pages, pins and address spaces that
// are left.
void mm_exit(struct kernel *kernel);

// What is alive. After every file is closed and every mapping is gone all of it is 0 (but for pages
// that a driver holds).
struct mm_residue {
	unsigned long pages; // RAM and host pages that are not free
	unsigned long pins;  // taken and not given back
	unsigned long vmas;
	unsigned long mms; // struct mm_struct
	long locked_vm;	   // pages, of the mms that live and of the users
	long pinned_vm;
	long users; // references to struct user_struct
};
struct mm_residue mm_get_residue(const struct kernel *kernel);
/* Forgets the users that programs have been. Nothing of theirs is left. */
void mm_renew(struct kernel *kernel);
