// SPDX-License-Identifier: GPL-2.0-or-later
//
// The address space of the process that runs the kernel: user addresses are its pointers.
// CUSTOMISED: no kernel counterpart. The host's kernel is asked to copy (process_vm_readv) and to
// bring pages in (MADV_POPULATE_x), so that a bad pointer is an error and no signal. Limits: the
// process can unmap memory behind our back, and then a pinned page's contents are lost; two
// addresses of one piece of shared memory are two pages.
#include <climits>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/linux/fault-inject.h"
#include "core/linux/io.h"
#include "core/mm/internal.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

int host_copy(void *ours, const void *theirs, size_t len, bool write)
{
	struct iovec local = {ours, len};
	struct iovec remote = {const_cast<void *>(theirs), len};
	ssize_t n;

	if (!len)
		return 0;
	n = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
		  : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	return n == (ssize_t)len ? 0 : -EFAULT;
}

// ---- copies ----

// A mapping of ours that the process cannot touch by pointer: registers of a model. NULL for all
// else, and -EFAULT in *rc.
static struct vm_area_struct *find_device(struct mm_context *ctx, u64 addr)
{
	struct vm_area_struct *vma = find_vma(ctx, addr);

	return vma && vma->vm_start <= addr && vma->vm_flags & VM_PFNMAP ? vma : nullptr;
}

// A copy that the host refused: it may be of registers. Returns what could not be copied.
static size_t copy_device(struct mm_context *ctx, u64 addr, void *buf, size_t n, bool write)
{
	u8 *p = static_cast<u8 *>(buf);
	struct vm_area_struct *vma;
	u64 phys = 0;

	mmap_read_lock(ctx->mm);
	vma = find_device(ctx, addr);
	if (vma && n <= vma->vm_end - addr && vma->vm_flags & (write ? VM_WRITE : VM_ACCESS_FLAGS))
		phys = PFN_PHYS(vma->pfn) + (addr - vma->vm_start);
	mmap_read_unlock(ctx->mm);
	if (!phys || !mmio_find(ctx->state->kernel, phys))
		return n;
	while (n) {
		unsigned int size = 8;
		u64 val = 0;

		while (size > n || phys % size)
			size /= 2;
		if (write) {
			memcpy(&val, p, size);
			mmio_write(ctx->state->kernel, phys, size, val);
		} else {
			mmio_read(ctx->state->kernel, phys, size, &val);
			memcpy(p, &val, size);
		}
		phys += size;
		p += size;
		n -= size;
	}
	return 0;
}

// Returns what could not be copied.
static size_t process_copy(struct mm_context *ctx, u64 addr, void *buf, size_t n, bool write)
{
	int rc;

	might_fault(ctx);
	rc = ctx->ops->copy(ctx, buf, addr, n, write);
	return likely(!rc) ? 0 : copy_device(ctx, addr, buf, n, write);
}

static size_t host_copy_from_user(struct mm_struct *mm, void *dst, u64 addr, size_t n)
{
	return process_copy(to_sim_mm(mm)->context, addr, dst, n, false);
}

static size_t host_copy_to_user(struct mm_struct *mm, u64 addr, const void *src, size_t n)
{
	return process_copy(to_sim_mm(mm)->context, addr, const_cast<void *>(src), n, true);
}

static size_t host_clear_user(struct mm_struct *mm, u64 addr, size_t n)
{
	static const u8 zeroes[256] = {};

	while (n) {
		size_t len = min(n, sizeof(zeroes));

		if (host_copy_to_user(mm, addr, zeroes, len))
			break;
		addr += len;
		n -= len;
	}
	return n;
}

const struct mm_user_ops host_user_ops = {
	.copy_from_user = host_copy_from_user,
	.copy_to_user = host_copy_to_user,
	.clear_user = host_clear_user,
};

// ---- pages ----

static struct page **host_bucket(struct mm_state *state, unsigned long pfn) __must_hold(state->lock)
{
	return &state->host_hash[pfn * 0x9e3779b97f4a7c15ULL >> 51];
}
static_assert(HOST_HASH_SIZE == 1u << (64 - 51));

struct page *host_pfn_to_page(struct mm_state *state, unsigned long pfn)
{
	raw_guard g(&state->lock);
	if (!state->host_hash)
		return nullptr;
	for (struct page *page = *host_bucket(state, pfn); page; page = page->next)
		if (page->pfn == pfn)
			return page;
	return nullptr;
}

// Under the lock, so that nobody finds a page that goes.
void host_page_ref_sub(struct page *page, int n)
{
	struct mm_state *state = page->state;
	struct host_page *host = static_cast<struct host_page *>(page);
	struct page **p;
	int old;
	{
		raw_guard g(&state->lock);

		old = page->_refcount.fetch_sub(n, std::memory_order_acq_rel);
		if (WARN_ON(old < n) || old != n)
			return;
		p = host_bucket(state, page->pfn);
		while (*p != page)
			p = &(*p)->next;
		*p = page->next;
		state->nr_pages--;
	}
	// May be the last that holds an object or an address space.
	remote_page_gone(host);
	delete host;
}

void host_pages_exit(struct mm_state *state) LOCK_ANALYSIS_ESCAPE("nobody else has it any more")
{
	free(state->host_hash);
	state->host_hash = nullptr;
}

// Brings the page of @addr in for reading or writing, as a fault of the process would. 0, -EFAULT,
// -EHWPOISON.
static int host_fault(unsigned long addr, bool write)
{
	u8 byte;

	if (!madvise((void *)addr, PAGE_SIZE, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
		return 0;
	if (errno == EHWPOISON)
		return -EHWPOISON;
	if (errno != EINVAL)
		return -EFAULT;
	// No permission, or a host that does not have it (before Linux 5.14).
	if (!madvise((void *)addr, PAGE_SIZE, MADV_POPULATE_READ))
		return -EFAULT;
	if (host_copy(&byte, (void *)addr, 1, false))
		return -EFAULT;
	return write ? host_copy(&byte, (void *)addr, 1, true) : 0;
}

result<struct page *> host_get_memfd_page(struct vm_area_struct *vma, unsigned long addr, int ref)
{
	result<struct page *> got = memfd_get_page(
		vma->memfd, vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT), true);
	struct page *page;
	int rc;

	if (!got)
		return got;
	page = *got;
	rc = page_ref_add_unless_free(page, ref) ? 0 : -ENOMEM;
	put_page(page);
	if (rc)
		return rc;
	return page;
}

static result<struct page *> host_get_page(struct mm_context *ctx, struct vm_area_struct *vma,
					   unsigned long addr, bool write, int ref,
					   struct remote_vma *)
{
	int rc;

	if (vma && vma->memfd)
		return host_get_memfd_page(vma, addr, ref);
	if (vma && vma->poisoned)
		return -EHWPOISON;

	if (should_fail(FAULT_PAGE_ALLOC))
		return -ENOMEM;
	rc = host_fault(addr, write);
	if (rc)
		return rc;
	return host_page_get(ctx->state, HOST_PFN_BASE + (addr >> PAGE_SHIFT), ref,
			     [addr](struct host_page *page) { page->vaddr = (void *)addr; });
}

void host_for_each_page(struct mm_state *state, const std::function<void(struct host_page *)> &fn)
{
	raw_guard g(&state->lock);

	for (size_t i = 0; state->host_hash && i != HOST_HASH_SIZE; i++)
		for (struct page *page = state->host_hash[i]; page; page = page->next)
			fn(static_cast<struct host_page *>(page));
}

result<struct page *> host_page_get(struct mm_state *state, unsigned long pfn, int ref,
				    const std::function<void(struct host_page *)> &init)
{
	struct host_page *host;
	struct page **bucket;
	struct page *page;

	raw_guard g(&state->lock);
	if (!state->host_hash) {
		state->host_hash =
			static_cast<struct page **>(calloc(HOST_HASH_SIZE, sizeof(struct page *)));
		if (!state->host_hash)
			return -ENOMEM;
	}
	bucket = host_bucket(state, pfn);
	for (page = *bucket; page; page = page->next) {
		if (page->pfn != pfn)
			continue;
		if (page->_refcount.fetch_add(ref, std::memory_order_acquire) >
		    INT_MAX - (1 << 20)) {
			page->_refcount.fetch_sub(ref, std::memory_order_release);
			return -ENOMEM;
		}
		return page;
	}
	page = host = new (std::nothrow) struct host_page;
	if (!host)
		return -ENOMEM;
	init(host);
	page->_refcount.store(ref, std::memory_order_relaxed);
	page->flags.store(PG_host, std::memory_order_relaxed);
	page->pfn = pfn;
	page->state = state;
	page->next = *bucket;
	*bucket = page;
	state->nr_pages++;
	return page;
}

// ---- mappings ----

static long host_mmap(struct mm_context *, unsigned long addr, unsigned long len,
		      unsigned long prot, unsigned long flags, const struct mapping_shape &shape,
		      bool reserve_only)
{
	const bool no_access = reserve_only || shape.poisoned;
	const int host_flags =
		MAP_ANONYMOUS | MAP_NORESERVE |
		(reserve_only || (flags & MAP_TYPE) == MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED) |
		(int)(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE));
	const int host_prot = no_access ? PROT_NONE : (int)prot;
	unsigned long align = shape.huge ? max(shape.align, HUGE_PAGE_SIZE) : shape.align;
	unsigned long base;
	void *p;

	if (align <= PAGE_SIZE || host_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		p = ::mmap((void *)addr, len, host_prot, host_flags, -1, 0);
		return p == MAP_FAILED ? -errno : (long)p;
	}
	p = ::mmap(nullptr, len + align, host_prot, host_flags, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	base = ALIGN((unsigned long)p, align);
	if (base != (unsigned long)p)
		::munmap(p, base - (unsigned long)p);
	if (base + len != (unsigned long)p + len + align)
		::munmap((void *)(base + len), (unsigned long)p + align - base);
	return (long)base;
}

// RAM at @addr, over the reservation. Registers stay inaccessible: load() and store() of the
// surface reach them.
static int host_map_ram(struct mm_context *ctx, unsigned long addr, unsigned long pfn,
			unsigned long size, unsigned long vm_flags)
{
	struct mm_state *state = ctx->state;
	const int prot = (vm_flags & VM_READ ? PROT_READ : 0) |
			 (vm_flags & VM_WRITE ? PROT_WRITE : 0);
	void *p;

	if (state->ram_fd < 0)
		return 0;
	p = ::mmap((void *)addr, size, prot, MAP_SHARED | MAP_FIXED, state->ram_fd,
		   (off_t)(PFN_PHYS(pfn) - RAM_PHYS_BASE));
	return p == MAP_FAILED ? -ENOMEM : 0;
}

int host_note_pfn(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn)
{
	const unsigned long first = pfn - ((addr - vma->vm_start) >> PAGE_SHIFT);

	// One run of physical memory is as much as a mapping remembers here.
	if (vma->pfn && vma->pfn != first)
		return -EINVAL;
	vma->pfn = first;
	return 0;
}

static int host_remap_pfn(struct mm_context *ctx, struct vm_area_struct *vma, unsigned long addr,
			  unsigned long pfn, unsigned long size)
{
	int rc = host_note_pfn(vma, addr, pfn);

	if (rc || pfn < RAM_PFN_BASE || pfn - RAM_PFN_BASE >= ctx->state->ram_pages)
		return rc;
	return host_map_ram(ctx, addr, pfn, size, vma->vm_flags);
}

static int host_map_memfd(struct mm_context *ctx, struct vm_area_struct *vma)
{
	unsigned long index = vma->vm_pgoff;

	for (unsigned long addr = vma->vm_start; addr != vma->vm_end; addr += PAGE_SIZE, index++) {
		result<struct page *> page = memfd_get_page(vma->memfd, index, true);
		int rc;

		if (!page) {
			if (page.error() == -ENOMEM)
				return -ENOMEM;
			continue; // beyond the end, or failed: touching it is an error
		}
		rc = host_map_ram(ctx, addr, page_to_pfn(*page), PAGE_SIZE, vma->vm_flags);
		put_page(*page);
		if (rc)
			return rc;
	}
	return 0;
}

long host_get_unmapped_area(struct mm_context *, unsigned long addr, unsigned long len,
			    unsigned long, unsigned long flags)
{
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (len > TASK_SIZE || addr > TASK_SIZE - len)
			return -ENOMEM;
		if (!PAGE_ALIGNED(addr))
			return -EINVAL;
	}
	return (long)addr;
}

static int host_unmap(unsigned long start, unsigned long len)
{
	return ::munmap((void *)start, len) ? -errno : 0;
}

static void host_protect(unsigned long start, unsigned long len, unsigned long prot)
{
	::mprotect((void *)start, len, (int)prot);
}

static int host_space_copy(struct mm_context *, void *ours, u64 theirs, size_t n, bool write)
{
	return host_copy(ours, (const void *)theirs, n, write);
}

const struct mm_space_ops host_space_ops = {
	.user_ops = &host_user_ops,
	.has_tables = false,
	.copy = host_space_copy,
	.get_page = host_get_page,
	.get_unmapped_area = host_get_unmapped_area,
	.map = host_mmap,
	.remap_pfn = host_remap_pfn,
	.map_memfd = host_map_memfd,
	.unmap = host_unmap,
	.protect = host_protect,
};
