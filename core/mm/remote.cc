// SPDX-License-Identifier: GPL-2.0-or-later
//
// See remote.h. CUSTOMISED: no kernel counterpart. Every address of a process has a page number of
// its own, so that what is contiguous there is contiguous physically; so has every page of a memory
// file. A page that outlived its mapping keeps its number, and the addresses where it was get
// others.
#include "core/mm/remote.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "core/linux/fault-inject.h"
#include "core/linux/file.h"
#include "core/mm/internal.h"
#include "core/mm/memfd.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

// Numbers of the pages of other processes: above those of this process's own. An address space has
// a window for all its addresses, the rest is handed out upwards.
#define WINDOW_PAGES	(1UL << (47 - PAGE_SHIFT))
#define WINDOW_PFN_BASE (HOST_PFN_BASE + WINDOW_PAGES)
#define LOOSE_PFN_BASE	(WINDOW_PFN_BASE + REMOTE_WINDOWS * WINDOW_PAGES)
#define REMOTE_PFN_END	(1UL << 52)
static_assert(LOOSE_PFN_BASE < REMOTE_PFN_END / 2);

struct remote_object {
	~remote_object() { ::close(fd); }

	struct mm_state *state = nullptr;
	int fd = -1;
	u64 pfn_base = 0;
	u64 max_pages = 0;
	std::atomic<long> nr_pages{0};
};

// Lives as long as its address space and the pages of that.
struct remote_mm {
	~remote_mm()
	{
		raw_guard g(&state->lock);

		state->window_used[window] = false;
	}

	struct mm_state *state = nullptr;
	std::shared_ptr<struct remote_process> process;
	unsigned int window = 0;

	// Guards what follows and, of each private page, whether its contents are the process's or
	// its own. Copies of those are made under it.
	raw_mutex lock;
	// By the first address: where pages stayed behind, and what numbers these addresses have
	// now.
	struct moved_range {
		u64 end;
		u64 pfn; // of the first address
	};
	std::map<u64, moved_range> moved __guarded_by(lock);
};

// ---- numbers ----

// @n numbers in a row that nobody ever had, the first one aligned as @like is for pages of up to
// 1 GiB. 0: there are no more.
static u64 alloc_pfns(struct mm_state *state, u64 n, u64 like)
{
	raw_guard g(&state->lock);
	const u64 unit = 1UL << 18;
	const u64 first = ALIGN(max(state->next_loose_pfn, LOOSE_PFN_BASE), unit) + like % unit;

	if (n > REMOTE_PFN_END - first)
		return 0;
	state->next_loose_pfn = first + n;
	return first;
}

static u64 addr_to_pfn(struct remote_mm *remote, u64 addr) __must_hold(remote->lock)
{
	auto it = remote->moved.upper_bound(addr);

	if (it != remote->moved.begin() && addr < (--it)->second.end)
		return it->second.pfn + ((addr - it->first) >> PAGE_SHIFT);
	return WINDOW_PFN_BASE + remote->window * WINDOW_PAGES + (addr >> PAGE_SHIFT);
}

// The addresses of [start, end) get new numbers.
static int move_range(struct remote_mm *remote, u64 start, u64 end) __must_hold(remote->lock)
{
	const u64 pfn = alloc_pfns(remote->state, (end - start) >> PAGE_SHIFT, start >> PAGE_SHIFT);
	auto it = remote->moved.upper_bound(start);

	if (!pfn)
		return -ENOMEM;
	if (it != remote->moved.begin())
		--it;
	while (it != remote->moved.end() && it->first < end) {
		const u64 first = it->first;
		const remote_mm::moved_range old = it->second;

		if (old.end <= start) {
			++it;
			continue;
		}
		it = remote->moved.erase(it);
		if (first < start)
			remote->moved[first] = {start, old.pfn};
		if (old.end > end)
			remote->moved[end] = {old.end, old.pfn + ((end - first) >> PAGE_SHIFT)};
	}
	remote->moved[start] = {end, pfn};
	return 0;
}

// ---- address spaces ----

struct mm_struct *remote_mm_alloc(struct kernel *kernel,
				  std::shared_ptr<struct remote_process> process)
{
	struct mm_state *state = mm_state_of(kernel);
	unsigned int window;
	{
		raw_guard g(&state->lock);

		for (window = 0; window != REMOTE_WINDOWS && state->window_used[window]; window++)
			;
		if (window == REMOTE_WINDOWS)
			return nullptr;
		state->window_used[window] = true;
	}
	auto remote = std::make_shared<struct remote_mm>();
	remote->state = state;
	remote->process = std::move(process);
	remote->window = window;
	return __remote_mm_alloc(kernel, std::move(remote));
}

int remote_mm_dup(struct mm_struct *child, struct mm_struct *parent)
{
	return dup_mappings(to_sim_mm(child)->context, to_sim_mm(parent)->context);
}

// ---- contents ----

static int remote_copy(struct mm_context *ctx, void *ours, u64 theirs, size_t n, bool write)
{
	return n ? ctx->remote->process->copy(ours, theirs, n, write) : 0;
}

static bool object_has(const struct remote_object *object, u64 index)
{
	struct stat st;

	return index < object->max_pages && !::fstat(object->fd, &st) &&
	       index < DIV_ROUND_UP((u64)st.st_size, PAGE_SIZE);
}

// The page is there, or is now. -EFAULT beyond the end, -ENOMEM.
static int object_populate(const struct remote_object *object, u64 index)
{
	const off_t pos = (off_t)(index << PAGE_SHIFT);

	if (index < object->max_pages && ::lseek(object->fd, pos, SEEK_DATA) == pos)
		return 0;
	if (!object_has(object, index))
		return -EFAULT;
	if (should_fail(FAULT_PAGE_ALLOC))
		return -ENOMEM;
	/* A read through a mapping makes the page and, unlike a write, cannot undo one that the
	 * process makes now. */
	void *at = ::mmap(nullptr, PAGE_SIZE, PROT_READ, MAP_SHARED, object->fd, pos);
	if (at == MAP_FAILED)
		return 0;
	::madvise(at, PAGE_SIZE, MADV_POPULATE_READ);
	::munmap(at, PAGE_SIZE);
	return 0;
}

// Between @buf and the page, inside it. Behind the end of the file its last page has zeroes.
static int object_copy(const struct remote_object *object, u64 index, size_t offset, u8 *buf,
		       size_t n, bool write)
{
	const off_t pos = (off_t)((index << PAGE_SHIFT) + offset);
	struct stat st;

	if (::fstat(object->fd, &st))
		return -EFAULT;
	while (n && pos < st.st_size) {
		const size_t len = min(n, (size_t)(st.st_size - pos));
		const ssize_t done = write ? ::pwrite(object->fd, buf, len, pos)
					   : ::pread(object->fd, buf, len, pos);

		if (done != (ssize_t)len)
			return -EFAULT;
		buf += len;
		n -= len;
		break;
	}
	if (!write)
		memset(buf, 0, n);
	return 0;
}

int host_page_copy(const struct page *page, size_t offset, void *buf, size_t n, bool write)
{
	const struct host_page *host = static_cast<const struct host_page *>(page);
	struct remote_mm *remote = host->remote.get();

	if (host->object)
		return object_copy(host->object.get(), host->index, offset, static_cast<u8 *>(buf),
				   n, write);
	if (!remote)
		return host_copy(buf, (u8 *)page->vaddr + offset, n, write);
	raw_guard g(&remote->lock);
	if (!host->kept)
		return remote->process->copy(buf, (host->index << PAGE_SHIFT) + offset, n, write);
	u8 *kept = host->kept.get() + offset;
	memcpy(write ? kept : buf, write ? buf : kept, n);
	return 0;
}

// ---- pages ----

static result<struct page *> private_page(struct mm_context *ctx, u64 addr, int ref)
{
	struct remote_mm *remote = ctx->remote.get();
	struct page *page;
	u8 byte;

	if (!remote->process->present(addr) && should_fail(FAULT_PAGE_ALLOC))
		return -ENOMEM;
	raw_guard g(&remote->lock);
	/* Brings it in, and says whether there is one: behind the end of a file there is none. */
	if (remote->process->copy(&byte, addr, 1, false))
		return -EFAULT;
	result<struct page *> got = host_page_get(
		ctx->state, addr_to_pfn(remote, addr), ref, [&](struct host_page *host) {
			host->remote = ctx->remote;
			host->index = addr >> PAGE_SHIFT;
			remote->process->private_pages->fetch_add(1);
		});
	if (!got)
		return got;
	page = *got;
	return page;
}

static result<struct page *> remote_get_page(struct mm_context *ctx, struct vm_area_struct *vma,
					     unsigned long addr, bool write, int ref,
					     struct remote_vma *seen)
{
	if (vma && vma->memfd)
		return host_get_memfd_page(vma, addr, ref);
	if (vma && vma->poisoned)
		return -EHWPOISON;
	if (addr < seen->start || addr >= seen->end) {
		*seen = {};
		if (!ctx->remote->process->lookup(addr, seen)) {
			*seen = {};
			return -EFAULT;
		}
	}
	if (write ? !seen->writable : !seen->readable)
		return -EFAULT;
	if (!seen->object)
		return private_page(ctx, addr, ref);
	return remote_object_get_page(seen->object,
				      seen->index + ((addr - seen->start) >> PAGE_SHIFT), ref);
}

// The process maps by itself, and says where.
static long remote_mmap(struct mm_context *, unsigned long addr, unsigned long, unsigned long,
			unsigned long flags, const struct mapping_shape &, bool reserve_only)
{
	return flags & MAP_FIXED && reserve_only ? (long)addr : -EINVAL;
}

static int remote_remap_pfn(struct mm_context *, struct vm_area_struct *vma, unsigned long addr,
			    unsigned long pfn, unsigned long)
{
	return host_note_pfn(vma, addr, pfn);
}

const struct mm_space_ops remote_space_ops = {
	.user_ops = &host_user_ops,
	.has_tables = false,
	.copy = remote_copy,
	.get_page = remote_get_page,
	.get_unmapped_area = host_get_unmapped_area,
	.map = remote_mmap,
	.remap_pfn = remote_remap_pfn,
	.map_memfd = nullptr,
	.unmap = nullptr,
	.protect = nullptr,
};

result<struct page *> remote_object_get_page(const std::shared_ptr<struct remote_object> &object,
					     u64 index, int ref)
{
	if (int rc = object_populate(object.get(), index))
		return rc;
	return host_page_get(object->state, object->pfn_base + index, ref,
			     [&](struct host_page *host) {
				     host->object = object;
				     host->index = index;
				     object->nr_pages.fetch_add(1);
			     });
}

// The last reference is gone. @page is in nobody's hands.
void remote_page_gone(struct host_page *page)
{
	if (page->object)
		page->object->nr_pages.fetch_sub(1);
	else if (page->remote && !page->kept)
		page->remote->process->private_pages->fetch_sub(1);
}

// Saves the contents of @pages, of which we have references. -ENOMEM: of some, not.
static int keep_pages(struct remote_mm *remote, std::span<struct host_page *> pages)
	__must_hold(remote->lock)
{
	int rc = 0;

	for (struct host_page *page : pages) {
		std::unique_ptr<u8[]> kept(new (std::nothrow) u8[PAGE_SIZE]());

		if (!kept ||
		    remote->process->copy(kept.get(), page->index << PAGE_SHIFT, PAGE_SIZE, false))
			rc = -ENOMEM;
		if (!kept)
			continue;
		page->kept = std::move(kept);
		remote->process->private_pages->fetch_sub(1);
	}
	return rc;
}

int remote_mm_preserve(struct mm_struct *mm, u64 start, u64 len)
{
	struct mm_context *ctx = to_sim_mm(mm)->context;
	struct remote_mm *remote = ctx->remote.get();
	const u64 end = min(PAGE_ALIGN(min(start, TASK_SIZE) + min(len, TASK_SIZE)), TASK_SIZE);
	std::unique_ptr<struct host_page *[]> pages;
	size_t nr = 0;
	int rc;

	start = min(start, TASK_SIZE) & PAGE_MASK;
	if (start >= end || !remote->process->private_pages->load())
		return 0;
	{
		raw_guard g(&remote->lock);
		/* No page comes while the lock is held. */
		const size_t max = remote->process->private_pages->load();

		pages.reset(new (std::nothrow) struct host_page *[max]);
		if (!pages)
			return -ENOMEM;
		host_for_each_page(ctx->state, [&](struct host_page *page) {
			const u64 addr = page->index << PAGE_SHIFT;

			if (page->remote.get() != remote || page->kept || addr < start ||
			    addr >= end || nr == max)
				return;
			page->_refcount.fetch_add(1, std::memory_order_acquire);
			pages[nr++] = page;
		});
		rc = keep_pages(remote, std::span(pages.get(), nr));
		/* What comes to stand there is other memory. */
		if (nr && move_range(remote, start, end))
			rc = -ENOMEM;
	}
	for (size_t i = 0; i != nr; i++)
		host_page_ref_sub(pages[i], 1);
	return rc;
}

int remote_mm_preserve_all(struct mm_struct *mm)
{
	return remote_mm_preserve(mm, 0, TASK_SIZE);
}

// ---- memory files ----

std::shared_ptr<struct remote_object> remote_object_create(struct kernel *kernel, int host_fd,
							   u64 max_pages)
{
	auto object = std::make_shared<struct remote_object>();

	object->fd = host_fd;
	object->state = mm_state_of(kernel);
	object->max_pages = max_pages;
	object->pfn_base = alloc_pfns(object->state, max_pages, 0);
	return object->pfn_base ? object : nullptr;
}

long remote_object_pages(const struct remote_object *object)
{
	return object->nr_pages.load();
}

u64 remote_object_size(const struct remote_object *object)
{
	struct stat st;

	return ::fstat(object->fd, &st) ? 0 : (u64)st.st_size;
}

long mm_ram_offset(const struct kernel *kernel, unsigned long pfn, int *host_fd)
{
	const struct mm_state *state = mm_state_of(kernel);

	if (state->ram_fd < 0 || pfn < RAM_PFN_BASE || pfn - RAM_PFN_BASE >= state->ram_pages)
		return -EINVAL;
	*host_fd = state->ram_fd;
	return (long)((pfn - RAM_PFN_BASE) << PAGE_SHIFT);
}
