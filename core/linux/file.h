// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/{fs,file,fdtable,anon_inodes}.h, Linux v7.2. The lifetime (the last
// fput() defers the release to the end of the system call), and the lowest free descriptor are the
// kernel's. CUSTOMISED: descriptors start at 3 and end at 1023 (-EMFILE).
#pragma once

#include <atomic>
#include <memory>

#include <poll.h>

#include "core/linux/err.h"
#include "core/linux/raw_lock.h"
#include "core/linux/sched.h"

struct file;
struct vm_area_struct;
using __poll_t = unsigned int; // POLLIN and friends

struct poll_table_struct; // see poll.h

// Buffers are addresses in current->mm. A missing op: -ENOTTY for ioctl, -ENODEV for mmap, -EINVAL
// for read and write.
struct file_operations {
	int (*release)(struct file *file) = nullptr;
	long (*unlocked_ioctl)(struct file *file, unsigned int cmd, unsigned long arg) = nullptr;
	int (*mmap)(struct file *file, struct vm_area_struct *vma) = nullptr;
	ssize_t (*read)(struct file *file, u64 ubuf, size_t count, loff_t *pos) = nullptr;
	ssize_t (*write)(struct file *file, u64 ubuf, size_t count, loff_t *pos) = nullptr;
	__poll_t (*poll)(struct file *file, struct poll_table_struct *wait) = nullptr;
	const char *name = "";
};

struct file {
	std::atomic<long> f_count{0};
	const struct file_operations *f_op = nullptr;
	void *private_data = nullptr;
	unsigned int f_flags = 0;
	loff_t f_pos = 0;
	struct kernel *kernel = nullptr;
	struct callback_head f_task_work = {};
	struct file *next_free = nullptr;
};

// A descriptor of any number that stands for @file, which stays its owner's: see
// files_struct::lent.
struct lent_fd {
	unsigned int fd;
	struct file *file;
	struct lent_fd *next;
};

// A descriptor table. One per process; the tasks of a process share it.
struct files_struct {
	static constexpr int FIRST_FD = 3;
	static constexpr int CHUNK = 64;
	static constexpr int NR_CHUNKS = 16;

	explicit files_struct(struct kernel *k) : kernel(k) { chunks[0] = first_chunk; }
	// The table is empty (close_all_files()).
	~files_struct();
	files_struct(const files_struct &) = delete;
	files_struct &operator=(const files_struct &) = delete;

	struct kernel *const kernel;
	raw_mutex lock;
	u64 used[NR_CHUNKS] __guarded_by(lock) = {}; // reserved or installed
	// The first is part of the table, as in the kernel; the others come when they are needed.
	std::atomic<struct file *> first_chunk[CHUNK] = {};
	std::atomic<std::atomic<struct file *> *> chunks[NR_CHUNKS] = {};
	// Found before what is in the table. For who makes calls in the name of another process,
	// whose numbers are not ours: set between the calls of the one task that uses the table.
	const struct lent_fd *lent = nullptr;

	// While @first_task alone uses the table, its fdget() takes no reference and says in
	// @borrowed which file it uses. A second task that comes meanwhile and closes that file
	// takes the reference in its name. Whoever adds a task says @shared first and then makes
	// a host_membarrier(), before the task's first look-up.
	const struct task_struct *first_task = nullptr;
	std::atomic<bool> shared{true};
	std::atomic<struct file *> borrowed{nullptr};
	raw_mutex owed_lock;
	struct file *owed __guarded_by(owed_lock) = nullptr; // that reference
};

// Where the table has @fd; NULL when it has no such place yet.
static inline std::atomic<struct file *> *fd_slot(struct files_struct *files, unsigned int fd)
{
	if (fd >= files_struct::NR_CHUNKS * files_struct::CHUNK)
		return nullptr;
	std::atomic<struct file *> *chunk =
		files->chunks[fd / files_struct::CHUNK].load(std::memory_order_acquire);

	return chunk ? &chunk[fd % files_struct::CHUNK] : nullptr;
}

// The file of @fd in current->files with a reference, or NULL.
struct file *fget(unsigned int fd);
// @file is known to be referenced.
static inline struct file *get_file(struct file *file)
{
	file->f_count.fetch_add(1, std::memory_order_relaxed);
	return file;
}
// Looked up by other means than a reference (f_count may be 0): true when a reference was taken.
// Compare get_file_active().
bool get_file_active(struct file *file);
static inline long file_count(const struct file *file)
{
	return file->f_count.load(std::memory_order_relaxed);
}

void __fput_deferred(struct file *file) __cold;
// Gives a reference back. The last one's release runs when current leaves its system call.
static inline void fput(struct file *file)
{
	if (unlikely(file->f_count.fetch_sub(1, std::memory_order_acq_rel) <= 1))
		__fput_deferred(file);
}
// The last reference's release runs now.
void __fput_sync(struct file *file);

// A file for the length of a system call: with a reference, or borrowed from its descriptor.
// Compare struct fd.
struct fd {
	struct file *file;
	bool borrowed;
};

void __fdput_owed(struct files_struct *files) __cold;

static inline void __fd_give_back(struct files_struct *files)
{
	files->borrowed.store(nullptr, std::memory_order_release);
	std::atomic_signal_fence(std::memory_order_seq_cst);
	if (unlikely(files->shared.load(std::memory_order_acquire)))
		__fdput_owed(files);
}

// The file of @fd in current->files, or NULL, until fdput() by the same task. A task borrows one
// file at a time and does not close it meanwhile. Compare fdget().
static inline struct fd fdget(unsigned int fd)
{
	struct files_struct *files = current->files;
	std::atomic<struct file *> *slot;

	if (current != files->first_task || files->shared.load(std::memory_order_relaxed) ||
	    files->borrowed.load(std::memory_order_relaxed))
		return {fget(fd), false};
	slot = fd_slot(files, fd);
	struct file *file = slot ? slot->load(std::memory_order_acquire) : nullptr;

	files->borrowed.store(file, std::memory_order_relaxed);
	// The other half is the membarrier behind @shared.
	std::atomic_signal_fence(std::memory_order_seq_cst);
	if (likely(!files->shared.load(std::memory_order_acquire)))
		return {file, true};
	__fd_give_back(files);
	return {fget(fd), false};
}

static inline void fdput(struct fd fd)
{
	if (likely(fd.borrowed))
		__fd_give_back(current->files);
	else if (fd.file)
		fput(fd.file);
}

// A descriptor reserved in current->files, or -EMFILE or -ENOMEM.
[[nodiscard]] int get_unused_fd_flags(unsigned int flags);
void put_unused_fd(unsigned int fd);
// Publishes @file; its reference goes to the table.
void fd_install(unsigned int fd, struct file *file);
// Takes it out of the table and puts it; who borrowed the file has a reference then. 0 or -EBADF.
// Compare close(2).
[[nodiscard]] int close_fd(unsigned int fd);
// Closes everything in @files: the exit of a process. Runs the releases.
void close_all_files(struct files_struct *files);
// A table of its own with what @oldf has; each file gets a reference more. What is only reserved is
// not copied. NULL without memory. Compare dup_fd().
[[nodiscard]] std::unique_ptr<struct files_struct> dup_fd(struct files_struct *oldf);

// A file with one reference, not in any table. -ENOMEM, -ENFILE. Compare anon_inode_getfile().
[[nodiscard]] result<struct file *> anon_inode_getfile(const char *name,
						       const struct file_operations *fops,
						       void *priv, int flags,
						       const src_loc &where = src_loc::current());
// The same plus a descriptor, which is returned (or -errno). Compare anon_inode_getfd().
[[nodiscard]] int anon_inode_getfd(const char *name, const struct file_operations *fops, void *priv,
				   int flags);

// fget() for the length of a scope. Compare CLASS(fd, f)(fd).
class fd_guard {
public:
	explicit fd_guard(unsigned int fd) : file_(fget(fd)) {}
	~fd_guard()
	{
		if (file_)
			fput(file_);
	}
	fd_guard(const fd_guard &) = delete;
	fd_guard &operator=(const fd_guard &) = delete;

	explicit operator bool() const { return file_; }
	struct file *get() const { return file_; }
	struct file *operator->() const { return file_; }

private:
	struct file *file_;
};
