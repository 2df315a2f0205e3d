// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors mm/memfd.c, the page cache side of mm/shmem.c and memfd_pin_folios() of mm/gup.c, Linux
// v7.2. CUSTOMISED: see memfd.h.
#include <sys/mman.h>

#include <utility>

#include "core/linux/fault-inject.h"
#include "core/linux/mutex.h"
#include "core/linux/slab.h"
#include "core/mm/internal.h"
#include "core/mm/memfd.h"
#include "core/mm/remote.h"

#define MEMFD_MAX_SIZE (1UL << 39)

struct memfd_chunk {
	struct page *pages[512];
};

struct memfd {
	struct mutex lock{LOCK_CLASS(memfd, lock)};
	size_t size __guarded_by(lock) = 0; // bytes
	struct memfd_chunk **chunks __guarded_by(lock) = nullptr;
	size_t nr_chunks __guarded_by(lock) = 0;
	struct mapping_shape shape;
	struct mm_state *state = nullptr;
	// Its size and its pages are those of a file of the host.
	std::shared_ptr<struct remote_object> remote;
};

static size_t memfd_bytes(const struct memfd *memfd) __must_hold(&memfd->lock)
{
	return memfd->remote ? remote_object_size(memfd->remote.get()) : memfd->size;
}

static int memfd_resize(struct memfd *memfd, size_t size) __must_hold(&memfd->lock)
{
	const size_t nr_chunks = DIV_ROUND_UP(size, HUGE_PAGE_SIZE);
	const size_t nr_pages = DIV_ROUND_UP(size, PAGE_SIZE);
	struct memfd_chunk **chunks;

	if (nr_chunks > memfd->nr_chunks) {
		chunks = kvcalloc_array<struct memfd_chunk *>(nr_chunks);
		if (!chunks)
			return -ENOMEM;
		if (memfd->chunks)
			memcpy(chunks, memfd->chunks, memfd->nr_chunks * sizeof(*chunks));
		kvfree(memfd->chunks);
		memfd->chunks = chunks;
		memfd->nr_chunks = nr_chunks;
	}
	for (size_t c = nr_pages / 512; c < memfd->nr_chunks; c++) {
		struct memfd_chunk *chunk = memfd->chunks[c];

		if (!chunk)
			continue;
		for (size_t i = c == nr_pages / 512 ? nr_pages % 512 : 0; i != 512; i++) {
			if (chunk->pages[i])
				put_page(chunk->pages[i]);
			chunk->pages[i] = nullptr;
		}
	}
	if (size < memfd->size && !PAGE_ALIGNED(size)) {
		// What was behind the end reads as zeroes when the file grows again.
		static const u8 zeroes[PAGE_SIZE] = {};
		const struct memfd_chunk *chunk = memfd->chunks[(nr_pages - 1) / 512];
		struct page *last = chunk ? chunk->pages[(nr_pages - 1) % 512] : nullptr;

		if (last)
			memcpy_to_page(last, offset_in_page(size), zeroes,
				       PAGE_SIZE - offset_in_page(size));
	}
	memfd->size = size;
	return 0;
}

static int memfd_release(struct file *file)
{
	struct memfd *memfd = static_cast<struct memfd *>(file->private_data);

	{
		mutex_guard g(&memfd->lock);

		(void)memfd_resize(memfd, 0); // smaller never fails
		for (size_t c = 0; c != memfd->nr_chunks; c++)
			delete memfd->chunks[c];
		kvfree(memfd->chunks);
	}
	kfree_obj(memfd);
	return 0;
}

static int memfd_mmap(struct file *file, struct vm_area_struct *vma)
{
	// The process has the file itself.
	if (static_cast<struct memfd *>(file->private_data)->remote)
		return -ENODEV;
	vma->memfd = static_cast<struct memfd *>(file->private_data);
	return 0;
}

static const struct file_operations memfd_fops = {
	.release = memfd_release,
	.mmap = memfd_mmap,
	.name = "memfd",
};

static result<struct file *> __memfd_create(size_t size, const struct mapping_shape &shape,
					    std::shared_ptr<struct remote_object> remote)
{
	struct memfd *memfd;
	int rc;

	if (size > MEMFD_MAX_SIZE)
		return -EINVAL;
	if (shape.huge)
		size = ALIGN(size, HUGE_PAGE_SIZE);
	memfd = kzalloc_obj<struct memfd>();
	if (!memfd)
		return -ENOMEM;
	memfd->shape = shape;
	memfd->state = mm_state_of(current->kernel);
	memfd->remote = std::move(remote);
	{
		mutex_guard g(&memfd->lock);

		rc = memfd_resize(memfd, size);
	}
	if (rc) {
		kfree_obj(memfd);
		return rc;
	}
	result<struct file *> file = anon_inode_getfile("memfd", &memfd_fops, memfd, 0);

	if (!file) {
		mutex_lock(&memfd->lock);
		kvfree(memfd->chunks);
		mutex_unlock(&memfd->lock);
		kfree_obj(memfd);
	}
	return file;
}

result<struct file *> memfd_create(size_t size, const struct mapping_shape &shape)
{
	return __memfd_create(size, shape, nullptr);
}

result<struct file *> remote_memfd_file(std::shared_ptr<struct remote_object> object)
{
	return __memfd_create(0, {}, std::move(object));
}

bool is_memfd(const struct file *file)
{
	return file->f_op == &memfd_fops;
}

const struct mapping_shape *memfd_shape(const struct file *file)
{
	return &static_cast<struct memfd *>(file->private_data)->shape;
}

size_t memfd_size(const struct file *file)
{
	struct memfd *memfd = static_cast<struct memfd *>(file->private_data);

	mutex_guard g(&memfd->lock);
	return memfd_bytes(memfd);
}

int memfd_truncate(struct file *file, size_t size)
{
	struct memfd *memfd = static_cast<struct memfd *>(file->private_data);

	if (!is_memfd(file) || size > MEMFD_MAX_SIZE || memfd->remote)
		return -EINVAL;
	if (memfd->shape.huge && !IS_ALIGNED(size, HUGE_PAGE_SIZE))
		return -EINVAL;
	mutex_guard g(&memfd->lock);
	return memfd_resize(memfd, size);
}

static result<struct page *> __memfd_get_page(struct memfd *memfd, unsigned long index, bool inject)
	__must_hold(&memfd->lock)
{
	const bool huge = memfd->shape.huge;
	struct memfd_chunk *chunk;
	struct page *page;

	if (index >= DIV_ROUND_UP(memfd_bytes(memfd), PAGE_SIZE))
		return -EFAULT;
	if (memfd->remote) {
		if (inject && should_fail(FAULT_PAGE_ALLOC))
			return -ENOMEM;
		return remote_object_get_page(memfd->remote, index, 1);
	}
	if (memfd->shape.poisoned)
		return -EHWPOISON;
	chunk = memfd->chunks[index / 512];
	if (!chunk) {
		if (inject && should_fail(FAULT_SLAB))
			return -ENOMEM;
		chunk = new (std::nothrow) struct memfd_chunk();
		if (!chunk)
			return -ENOMEM;
		memfd->chunks[index / 512] = chunk;
	}
	page = chunk->pages[index % 512];
	if (!page) {
		if (inject && should_fail(FAULT_PAGE_ALLOC))
			return -ENOMEM;
		page = mm_alloc_frames(memfd->state, huge ? HUGE_ORDER : 0, memfd->shape.fragmented,
				       index);
		if (!page)
			return -ENOMEM;
		if (huge) {
			for (size_t i = 0; i != 512; i++)
				chunk->pages[i] = page + i;
			page += index % 512;
		} else {
			chunk->pages[index % 512] = page;
		}
	}
	get_page(page);
	return page;
}

result<struct page *> memfd_get_page(struct memfd *memfd, unsigned long index, bool inject)
{
	mutex_guard g(&memfd->lock);

	return __memfd_get_page(memfd, index, inject);
}

long memfd_pin_pages(struct file *file, unsigned long start, unsigned long npages,
		     struct page **pages)
{
	struct memfd *memfd = static_cast<struct memfd *>(file->private_data);
	unsigned long n;
	int rc = 0;

	if (!is_memfd(file) || !npages)
		return -EINVAL;
	{
		mutex_guard g(&memfd->lock);
		/* whole pages only, as in the kernel */
		const unsigned long end = memfd_bytes(memfd) / PAGE_SIZE;

		if (start >= end || npages > end - start)
			return -EINVAL;
		for (n = 0; n != npages; n++) {
			result<struct page *> page = __memfd_get_page(memfd, start + n, true);

			if (!page) {
				rc = page.error() == -EHWPOISON ? -EFAULT : page.error();
				break;
			}
			pages[n] = *page;
			rc = page_add_pin(*page);
			put_page(*page);
			if (rc)
				break;
		}
	}
	if (rc) {
		unpin_user_pages(pages, n);
		return rc;
	}
	return (long)n;
}

static int memfd_copy(struct file *file, size_t offset, void *buf, size_t len, bool write)
{
	struct memfd *memfd = static_cast<struct memfd *>(file->private_data);
	u8 *p = static_cast<u8 *>(buf);
	size_t end;

	if (!is_memfd(file) || check_add_overflow(offset, len, &end) || end > memfd_size(file))
		return -EFAULT;
	while (len) {
		size_t n = min(len, PAGE_SIZE - offset_in_page(offset));
		result<struct page *> page = memfd_get_page(memfd, offset >> PAGE_SHIFT, false);

		if (!page)
			return -EFAULT;
		if (write)
			memcpy_to_page(*page, offset_in_page(offset), p, n);
		else
			memcpy_from_page(p, *page, offset_in_page(offset), n);
		put_page(*page);
		offset += n;
		p += n;
		len -= n;
	}
	return 0;
}

int memfd_read(struct file *file, size_t offset, void *to, size_t len)
{
	return memfd_copy(file, offset, to, len, false);
}

int memfd_write(struct file *file, size_t offset, const void *from, size_t len)
{
	return memfd_copy(file, offset, const_cast<void *>(from), len, true);
}
