// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See sim_syscalls.h. MIRRORED of the system calls: which error comes first. Compare fs/open.c,
 * fs/ioctl.c, fs/read_write.c, fs/select.c, mm/mmap.c.
 */
#include "core/sim_syscalls.h"

#include <sys/mman.h>

#include "core/iommufd/revision.h"
#include "core/linux/cdev.h"
#include "core/linux/fault-inject.h"
#include "core/linux/jiffies.h"
#include "core/linux/lockdep.h"
#include "core/linux/poll.h"
#include "core/mm/memfd.h"
#include "core/mm/vma.h"

/* The most that one read or write moves. */
#define MAX_RW_COUNT (0x7fffffffUL & PAGE_MASK)

struct sim_syscalls::thread_task {
	thread_task(struct kernel *kernel, pthread_t t) : task(kernel, "thread"), thread(t) {}

	struct task_struct task;
	const pthread_t thread;
	struct thread_task *next = nullptr;
};

sim_syscalls::sim_syscalls(std::shared_ptr<sim_kernel> host)
	: host_(std::move(host)), kernel_(host_->kernel()), leader_thread_(pthread_self())
{
	host_->process_begins();
}

result<std::unique_ptr<sim_syscalls>> sim_syscalls::create(const struct sim_options &opts)
{
	result<std::shared_ptr<sim_kernel>> host = sim_kernel::create(opts);

	if (!host)
		return host.error();
	return create(std::move(*host));
}

result<std::unique_ptr<sim_syscalls>> sim_syscalls::create(std::shared_ptr<sim_kernel> host)
{
	const struct sim_options &opts = host->opts;
	struct kernel *kernel = host->kernel();
	std::unique_ptr<sim_syscalls> sim(new (std::nothrow) sim_syscalls(std::move(host)));
	std::unique_ptr<struct files_struct> files(new (std::nothrow) files_struct(kernel));
	struct mm_struct *mm = opts.host_memory ? host_mm_alloc(kernel) : arena_mm_alloc(kernel);
	int rc = sim ? sim->init(std::move(files), mm) : -ENOMEM;

	if (!rc)
		rc = sim->set_credentials(opts.uid, opts.caps);
	if (rc)
		return rc;
	return sim;
}

int sim_syscalls::init(std::unique_ptr<struct files_struct> files, struct mm_struct *mm)
{
	files_ = std::move(files);
	mm_ = mm;
	leader_.reset(new (std::nothrow) task_struct(kernel_, "process"));
	if (!leader_ || !files_ || !mm_)
		return -ENOMEM;
	leader_->files = files_.get();
	leader_->mm = mm_;
	leader_->cred = &cred_;
	files_->first_task = leader_.get();
	files_->shared = !host_has_membarrier();
	return 0;
}

sim_syscalls::~sim_syscalls()
{
	if (leader_) {
		/* The order of do_exit(). */
		task_scope ts(leader_.get());

		leader_->fail_nth = 0;
		if (mm_)
			mmput(mm_);
		if (files_)
			close_all_files(files_.get());
	}
	host_->run_deferred_work();
	for (struct thread_task *t = threads_.load(std::memory_order_acquire); t;) {
		struct thread_task *next = t->next;

		delete t;
		t = next;
	}
	files_.reset();
	host_->process_ends(std::move(leader_));
}

int sim_syscalls::fork(std::unique_ptr<syscalls> *child)
{
	/* What fails half-way exits as itself, not as a part of the call. */
	std::unique_ptr<sim_syscalls> p;
	int rc;

	if (host_->opts.host_memory)
		return -EOPNOTSUPP;
	p.reset(new (std::nothrow) sim_syscalls(host_));
	if (!p)
		return -ENOMEM;
	{
		task_scope ts(task());
		std::unique_ptr<struct files_struct> files = dup_fd(files_.get());
		result<struct mm_struct *> mm = files ? dup_mm(mm_) : -ENOMEM;

		rc = p->init(std::move(files), mm ? *mm : nullptr);
		if (!rc) {
			p->cred_ = cred_;
			p->leader_->rlimit_memlock.store(leader_->rlimit_memlock.load());
		}
	}
	if (!rc)
		*child = std::move(p);
	p.reset();
	leave();
	return rc;
}

struct task_struct *sim_syscalls::task()
{
	if (likely(pthread_self() == leader_thread_))
		return leader_.get();
	return task_slow();
}

struct task_struct *sim_syscalls::task_slow()
{
	const pthread_t self = pthread_self();
	struct thread_task *head = threads_.load(std::memory_order_acquire);
	struct thread_task *t;

	for (t = head; t; t = t->next)
		if (t->thread == self)
			return &t->task;
	/* The host made this thread, so its task is no allocation of the kernel's that could fail.
	 */
	t = new struct thread_task(kernel_, self);
	t->task.group_leader = leader_.get();
	t->task.files = files_.get();
	t->task.mm = mm_;
	t->task.cred = &cred_;
	mm_add_task(mm_);
	/* Every new task does it for itself: one that came a moment ago may not be through yet.
	 * From here on this one sees what the first task borrows, or that task borrows no more. */
	files_->shared.store(true);
	host_membarrier();
	do
		t->next = head;
	while (!threads_.compare_exchange_weak(head, t, std::memory_order_release,
					       std::memory_order_acquire));
	return &t->task;
}

/* ---- files ---- */

int sim_syscalls::open(std::string_view path, std::string_view revision)
{
	const bool vfio = path == "/dev/vfio/vfio";
	struct cdev *cdev = cdev_find(kernel_, path);
	const struct iommufd_revision *rev = iommufd_find_revision(
		revision.empty() ? std::string_view(host_->opts.revision) : revision);
	int fd;

	if (!vfio && path != "/dev/iommu" && !cdev)
		return -ENOENT;
	if (!rev)
		return -EINVAL;
	{
		task_scope ts(task());

		fd = get_unused_fd_flags(0);
		if (fd >= 0) {
			result<struct file *> file = cdev ? cdev->open(cdev)
							  : iommufd_file_open(rev, vfio);

			if (file) {
				fd_install((unsigned int)fd, *file);
			} else {
				put_unused_fd((unsigned int)fd);
				fd = file.error();
			}
		}
	}
	leave();
	return fd;
}

int sim_syscalls::close(int fd)
{
	int rc;
	{
		task_scope ts(task());

		rc = close_fd((unsigned int)fd);
	}
	leave();
	return rc;
}

long sim_syscalls::ioctl(int fd, unsigned long cmd, uint64_t arg)
{
	long rc;
	{
		task_scope ts(task());
		const struct fd f = fdget((unsigned int)fd);
		struct file *file = f.file;

		if (unlikely(!file))
			rc = -EBADF;
		else if (unlikely(!file->f_op->unlocked_ioctl))
			rc = -ENOTTY;
		else
			rc = file->f_op->unlocked_ioctl(file, (unsigned int)cmd, arg);
		if (unlikely(rc == -ENOIOCTLCMD))
			rc = -ENOTTY;
		fdput(f);
	}
	leave();
	return rc;
}

static bool access_ok(uint64_t addr, size_t n)
{
	const uint64_t limit = (1UL << 47) - PAGE_SIZE;

	return n <= limit && addr <= limit - n;
}

long sim_syscalls::read_or_write(int fd, uint64_t buf, size_t count, file_rw file_operations::*op)
{
	long rc;
	{
		task_scope ts(task());
		fd_guard file((unsigned int)fd);

		if (!file)
			rc = -EBADF;
		else if (!(file->f_op->*op))
			rc = -EINVAL;
		else if (!access_ok(buf, count))
			rc = -EFAULT;
		else
			rc = (file->f_op->*op)(file.get(), buf, std::min(count, MAX_RW_COUNT),
					       &file->f_pos);
	}
	leave();
	return rc;
}

long sim_syscalls::read(int fd, uint64_t buf, size_t count)
{
	return read_or_write(fd, buf, count, &file_operations::read);
}

long sim_syscalls::write(int fd, uint64_t buf, size_t count)
{
	return read_or_write(fd, buf, count, &file_operations::write);
}

/* What of @want the file has, after at most @timeout jiffies. -EINTR. Compare do_poll(). */
static int poll_file(struct file *file, __poll_t want, long timeout)
{
	struct poll_table_struct table;

	for (;;) {
		__poll_t mask = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

		if (file->f_op->poll)
			mask = file->f_op->poll(file, timeout ? &table : nullptr);
		if ((mask & want) || !timeout)
			return (int)(mask & want);
		if (signal_pending(current))
			return -EINTR;
		timeout = table.schedule(timeout);
	}
}

int sim_syscalls::poll(int fd, short events, int timeout_ms)
{
	const __poll_t want = (__poll_t)(unsigned short)events | POLLERR | POLLHUP;
	int revents;
	{
		task_scope ts(task());
		/* held while it sleeps: whoever closes the descriptor meanwhile does not end it */
		fd_guard file((unsigned int)fd);

		revents =
			file ? poll_file(file.get(), want,
					 timeout_ms < 0
						 ? MAX_SCHEDULE_TIMEOUT
						 : (long)msecs_to_jiffies((unsigned int)timeout_ms))
			     : POLLNVAL;
	}
	leave();
	return revents;
}

int sim_syscalls::memfd(const memory_options &opts)
{
	struct mapping_shape shape = {};
	int fd;

	shape.huge = opts.huge;
	shape.fragmented = opts.fragmented;
	shape.poisoned = opts.poisoned;
	{
		task_scope ts(task());

		fd = get_unused_fd_flags(0);
		if (fd >= 0) {
			result<struct file *> file = memfd_create(opts.size, shape);

			if (file) {
				fd_install((unsigned int)fd, *file);
			} else {
				put_unused_fd((unsigned int)fd);
				fd = file.error();
			}
		}
	}
	leave();
	return fd;
}

int sim_syscalls::ftruncate(int fd, uint64_t length)
{
	int rc;
	{
		task_scope ts(task());
		fd_guard file((unsigned int)fd);

		rc = file ? memfd_truncate(file.get(), length) : -EBADF;
	}
	leave();
	return rc;
}

/* ---- memory ---- */

uint64_t sim_syscalls::mmap(uint64_t addr, size_t length, int prot, int flags, int fd,
			    uint64_t offset)
{
	long ret;
	{
		task_scope ts(task());

		if (!PAGE_ALIGNED(offset)) {
			ret = -EINVAL;
		} else if (flags & MAP_ANONYMOUS) {
			ret = vm_mmap(nullptr, addr, length, (unsigned long)prot,
				      (unsigned long)flags, offset);
		} else {
			fd_guard file((unsigned int)fd);

			ret = file ? vm_mmap(file.get(), addr, length, (unsigned long)prot,
					     (unsigned long)flags, offset)
				   : -EBADF;
		}
	}
	leave();
	return (uint64_t)ret;
}

int sim_syscalls::munmap(uint64_t addr, size_t length)
{
	int rc;
	{
		task_scope ts(task());

		rc = vm_munmap(addr, length);
	}
	leave();
	return rc;
}

uint64_t sim_syscalls::anon(const memory_options &opts)
{
	struct mapping_shape shape = {};
	long ret;

	shape.huge = opts.huge;
	shape.fragmented = opts.fragmented;
	shape.poisoned = opts.poisoned;
	shape.align = opts.align;
	{
		task_scope ts(task());

		ret = vm_mmap_shape(nullptr, opts.addr, opts.size,
				    PROT_READ | (opts.readonly ? 0 : PROT_WRITE),
				    (opts.shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS |
					    (opts.addr ? MAP_FIXED_NOREPLACE : 0),
				    0, shape);
	}
	leave();
	return (uint64_t)ret;
}

int sim_syscalls::mprotect(uint64_t addr, size_t length, int prot)
{
	task_scope ts(task());

	return vm_mprotect(addr, length, (unsigned long)prot);
}

int sim_syscalls::poison(uint64_t addr, size_t length)
{
	task_scope ts(task());

	return vm_poison(addr, length);
}

int sim_syscalls::load(uint64_t addr, void *dst, size_t n)
{
	int rc;
	{
		task_scope ts(task());

		/* Not a copy of the kernel's: no failure is injected here. */
		rc = mm_->user_ops->copy_from_user(mm_, dst, addr, n) ? -EFAULT : 0;
	}
	leave();
	return rc;
}

int sim_syscalls::store(uint64_t addr, const void *src, size_t n)
{
	int rc;
	{
		task_scope ts(task());

		rc = mm_->user_ops->copy_to_user(mm_, addr, src, n) ? -EFAULT : 0;
	}
	leave();
	return rc;
}

/* ---- the process ---- */

void sim_syscalls::set_rlimit_memlock(u64 bytes)
{
	leader_->rlimit_memlock.store(bytes, std::memory_order_relaxed);
}

int sim_syscalls::set_credentials(u32 uid, u64 caps)
{
	struct user_struct *user = alloc_uid(kernel_, uid);

	if (!user)
		return -ENOMEM;
	cred_.uid = uid;
	cred_.caps = caps;
	cred_.user = user;
	leader_->cred = &cred_;
	return 0;
}

void sim_syscalls::set_fail_nth(unsigned int n)
{
	fail_nth_write(task(), n);
}

unsigned int sim_syscalls::fail_nth()
{
	return fail_nth_read(task());
}

/* ---- what is left ---- */

std::string sim_syscalls::take_log()
{
	return host_->take_log();
}

std::string sim_syscalls::residue()
{
	return host_->residue(1);
}
