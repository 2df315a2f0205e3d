// SPDX-License-Identifier: GPL-2.0-or-later
//
// Files and descriptors. Stands in for fs/{file,file_table,anon_inodes}.c, Linux v7.2. A struct
// file is never given back while its kernel lives, only reused: so a lookup may raise the count of
// whatever a slot names and then see whether the slot still says so. (The kernel gets the same from
// SLAB_TYPESAFE_BY_RCU.)
#include "core/linux/file.h"

#include <new>
#include <utility>

#include "core/linux/bitmap.h"
#include "core/linux/bug.h"
#include "core/linux/fault-inject.h"
#include "core/linux/kernel.h"
#include "core/linux/lockdep.h"

// Memory that stays when its objects are gone, as a kmem_cache keeps its slabs and a process its
// table: not from kmalloc(), whose residue is looked at. The failure to inject is the caller's
// should_fail().
struct file_slab {
	struct file files[16];
	struct file_slab *next;
};

static struct file *file_get_unused(struct kernel *k)
{
	raw_guard g(&k->files_lock);

	if (!k->files_free) {
		struct file_slab *slab = new (std::nothrow) struct file_slab;

		if (!slab)
			return nullptr;
		slab->next = k->file_slabs;
		k->file_slabs = slab;
		for (struct file &f : slab->files) {
			f.kernel = k;
			f.next_free = k->files_free;
			k->files_free = &f;
		}
	}
	struct file *f = k->files_free;

	k->files_free = f->next_free;
	return f;
}

void __files_exit(struct kernel *k)
{
	raw_guard g(&k->files_lock);

	while (k->file_slabs)
		delete std::exchange(k->file_slabs, k->file_slabs->next);
}

// The last reference is gone.
static void __fput(struct file *file)
{
	struct kernel *k = file->kernel;

	might_sleep();
	if (file->f_op->release)
		file->f_op->release(file);
	file->private_data = nullptr;
	k->files_open.fetch_sub(1, std::memory_order_relaxed);
	raw_guard g(&k->files_lock);
	file->next_free = k->files_free;
	k->files_free = file;
}

static void ____fput(struct callback_head *work)
{
	__fput(container_of(work, struct file, f_task_work));
}

void __fput_deferred(struct file *file)
{
	if (WARN_ON(file->f_count.load(std::memory_order_relaxed) < 0)) {
		file->f_count.fetch_add(1, std::memory_order_relaxed);
		return;
	}
	file->f_task_work.func = ____fput;
	task_work_add(current, &file->f_task_work);
}

void __fput_sync(struct file *file)
{
	long old = file->f_count.fetch_sub(1, std::memory_order_acq_rel);

	if (old == 1)
		__fput(file);
	else if (WARN_ON(old < 1))
		file->f_count.fetch_add(1, std::memory_order_relaxed);
}

bool get_file_active(struct file *file)
{
	sched_point(SCHED_AT_REF, file);
	long n = file->f_count.load(std::memory_order_relaxed);

	do {
		if (n <= 0)
			return false;
	} while (!file->f_count.compare_exchange_weak(n, n + 1, std::memory_order_acquire,
						      std::memory_order_relaxed));
	return true;
}

struct file *fget(unsigned int fd)
{
	std::atomic<struct file *> *slot;

	for (const struct lent_fd *lent = current->files->lent; unlikely(lent); lent = lent->next)
		if (lent->fd == fd)
			return get_file(lent->file);
	slot = fd_slot(current->files, fd);

	while (slot) {
		struct file *file = slot->load(std::memory_order_acquire);

		if (!file)
			return nullptr;
		if (unlikely(!get_file_active(file)))
			continue; // on its way out: the slot is about to change
		if (likely(slot->load(std::memory_order_acquire) == file))
			return file;
		fput(file);
	}
	return nullptr;
}

files_struct::~files_struct()
{
	for (int c = 1; c < NR_CHUNKS; c++)
		delete[] chunks[c].load(std::memory_order_relaxed);
}

// Compare expand_files().
static int files_expand(struct files_struct *files, int c) __must_hold(files->lock)
{
	if (files->chunks[c].load(std::memory_order_relaxed))
		return 0;
	if (should_fail(FAULT_SLAB))
		return -ENOMEM;
	auto *chunk = new (std::nothrow) std::atomic<struct file *>[files_struct::CHUNK]();

	if (!chunk)
		return -ENOMEM;
	files->chunks[c].store(chunk, std::memory_order_release);
	return 0;
}

int get_unused_fd_flags(unsigned int)
{
	struct files_struct *files = current->files;
	raw_guard g(&files->lock);

	for (int c = 0; c < files_struct::NR_CHUNKS; c++) {
		u64 taken = files->used[c] | (c ? 0 : GENMASK(files_struct::FIRST_FD - 1, 0));

		if (!~taken)
			continue;
		unsigned int bit = __ffs(~taken);

		if (int rc = files_expand(files, c))
			return rc;
		files->used[c] |= BIT_ULL(bit);
		return c * files_struct::CHUNK + (int)bit;
	}
	return -EMFILE;
}

void put_unused_fd(unsigned int fd)
{
	struct files_struct *files = current->files;
	raw_guard g(&files->lock);

	files->used[fd / files_struct::CHUNK] &= ~BIT_ULL(fd % files_struct::CHUNK);
}

void fd_install(unsigned int fd, struct file *file)
{
	std::atomic<struct file *> *slot = fd_slot(current->files, fd);

	if (WARN_ON(!slot || slot->load(std::memory_order_relaxed)))
		return;
	slot->store(file, std::memory_order_release);
}

// The file that leaves the table, or NULL. Its descriptor is free again.
static struct file *pick_file(struct files_struct *files, unsigned int fd)
{
	std::atomic<struct file *> *slot = fd_slot(files, fd);
	raw_guard g(&files->lock);
	struct file *file = slot ? slot->exchange(nullptr, std::memory_order_acq_rel) : nullptr;

	if (file)
		files->used[fd / files_struct::CHUNK] &= ~BIT_ULL(fd % files_struct::CHUNK);
	return file;
}

void __fdput_owed(struct files_struct *files)
{
	struct file *file;
	{
		raw_guard g(&files->owed_lock);

		file = std::exchange(files->owed, nullptr);
	}
	if (file)
		fput(file);
}

// Who uses the file of @fd without a reference gets one.
static void fd_owe(struct files_struct *files, unsigned int fd)
{
	struct file *file = fget(fd);

	if (!file)
		return;
	{
		raw_guard g(&files->owed_lock);

		if (files->borrowed.load(std::memory_order_acquire) == file && !files->owed)
			files->owed = get_file(file);
	}
	fput(file);
}

int close_fd(unsigned int fd)
{
	struct files_struct *files = current->files;

	if (files->first_task && files->shared.load(std::memory_order_relaxed))
		fd_owe(files, fd);
	struct file *file = pick_file(files, fd);

	if (!file)
		return -EBADF;
	fput(file);
	return 0;
}

void close_all_files(struct files_struct *files)
{
	for (unsigned int fd = 0; fd < files_struct::NR_CHUNKS * files_struct::CHUNK; fd++) {
		struct file *file = pick_file(files, fd);

		if (file)
			fput(file);
	}
	task_work_run();
}

std::unique_ptr<struct files_struct> dup_fd(struct files_struct *oldf)
{
	if (should_fail(FAULT_SLAB))
		return nullptr;
	std::unique_ptr<struct files_struct> table(new (std::nothrow) files_struct(oldf->kernel));
	struct files_struct *newf = table.get();

	if (!newf)
		return nullptr;
	raw_guard old_guard(&oldf->lock);
	raw_guard new_guard(&newf->lock);

	// No reference is taken before everything has its place.
	for (int c = 0; c < files_struct::NR_CHUNKS; c++) {
		if (oldf->used[c] && files_expand(newf, c))
			return nullptr;
	}
	for (unsigned int fd = 0; fd < files_struct::NR_CHUNKS * files_struct::CHUNK; fd++) {
		std::atomic<struct file *> *slot = fd_slot(newf, fd);
		struct file *file;

		if (!slot)
			continue;
		file = fd_slot(oldf, fd)->load(std::memory_order_acquire);
		if (!file)
			continue;
		// The old table's reference cannot go while its lock is held.
		slot->store(get_file(file), std::memory_order_release);
		newf->used[fd / files_struct::CHUNK] |= BIT_ULL(fd % files_struct::CHUNK);
	}
	return table;
}

result<struct file *> anon_inode_getfile(const char *, const struct file_operations *fops,
					 void *priv, int flags, const src_loc &where)
{
	might_sleep(where);
	if (should_fail(FAULT_SLAB, where))
		return -ENOMEM;
	struct file *file = file_get_unused(current->kernel);

	if (!file)
		return -ENOMEM;
	file->f_op = fops;
	file->private_data = priv;
	file->f_flags = (unsigned int)flags;
	file->f_pos = 0;
	current->kernel->files_open.fetch_add(1, std::memory_order_relaxed);
	// Last: from here on a lookup of an old slot may take (and give back) a reference.
	file->f_count.store(1, std::memory_order_release);
	return file;
}

int anon_inode_getfd(const char *name, const struct file_operations *fops, void *priv, int flags)
{
	int fd = get_unused_fd_flags((unsigned int)flags);

	if (fd < 0)
		return fd;
	result<struct file *> file = anon_inode_getfile(name, fops, priv, flags);

	if (!file) {
		put_unused_fd((unsigned int)fd);
		return file.error();
	}
	fd_install((unsigned int)fd, *file);
	return fd;
}
