// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The surface (uapi/syscalls.h) on the in-process core. An instance is a process: its memory, its
 * descriptors, a task for each host thread that calls. create() makes a whole kernel with one
 * process on it; more come by fork(), and the last one that goes takes the kernel along. No kernel
 * counterpart; what it does around a call is the entry code of arch/x86 and the system calls of
 * fs/, kernel/fork.c and mm/.
 *
 * Deferred work runs on the calling thread at the end of each call, so a program replays exactly.
 * All methods of syscalls may be called from any number of threads; what this class adds may be
 * called while no other call runs.
 */
#pragma once

#include <atomic>
#include <memory>

#include <pthread.h>

#include "core/linux/file.h"
#include "core/sim_kernel.h"
#include "uapi/syscalls.h"

class sim_syscalls final : public syscalls {
public:
	/* -ENOMEM, -EINVAL (no such revision), what machine_ops::init() says. */
	static result<std::unique_ptr<sim_syscalls>> create(const struct sim_options &opts = {});
	/* The first process of a kernel that has none: a new one, or one after renew(). -ENOMEM. */
	static result<std::unique_ptr<sim_syscalls>> create(std::shared_ptr<sim_kernel> host);
	/* The process exits: unmaps and closes everything. With the last process the kernel goes,
	 * and WARNs about pages and pins that are left. */
	~sim_syscalls() override;

	int open(std::string_view path, std::string_view revision) override;
	int close(int fd) override;
	long ioctl(int fd, unsigned long cmd, uint64_t arg) override;
	uint64_t mmap(uint64_t addr, size_t length, int prot, int flags, int fd,
		      uint64_t offset) override;
	int munmap(uint64_t addr, size_t length) override;
	long read(int fd, uint64_t buf, size_t count) override;
	long write(int fd, uint64_t buf, size_t count) override;
	int poll(int fd, short events, int timeout_ms) override;
	uint64_t anon(const memory_options &opts) override;
	int memfd(const memory_options &opts) override;
	int ftruncate(int fd, uint64_t length) override;
	/* As a task of the caller's. -EOPNOTSUPP with host_memory. */
	int fork(std::unique_ptr<syscalls> *child) override;
	int load(uint64_t addr, void *dst, size_t n) override;
	int store(uint64_t addr, const void *src, size_t n) override;
	void set_fail_nth(unsigned int n) override;
	unsigned int fail_nth() override;
	std::string take_log() override;
	/* Of the whole kernel, beyond this process's being there. */
	std::string residue() override;

	struct kernel *kernel() { return kernel_; }
	/* The calling thread's task, for a task_scope around direct calls of the core. Made at its
	 * first call. */
	struct task_struct *task();
	/* Runs what is queued: work items and what models left. */
	void run_deferred_work() { host_->run_deferred_work(); }
	/* Of the process. Compare setrlimit(RLIMIT_MEMLOCK) in bytes,
	 * setuid() and capset(). -ENOMEM. */
	void set_rlimit_memlock(u64 bytes);
	int set_credentials(u32 uid, u64 caps);
	int mprotect(uint64_t addr, size_t length, int prot);
	/* The pages of the range have failed. Compare madvise(MADV_HWPOISON). */
	int poison(uint64_t addr, size_t length);

private:
	struct thread_task;

	explicit sim_syscalls(std::shared_ptr<sim_kernel> host);
	/* Gives the process a task, and what it starts with. */
	int init(std::unique_ptr<struct files_struct> files, struct mm_struct *mm);
	struct task_struct *task_slow();
	using file_rw = decltype(file_operations::read);
	/* Compare vfs_read() and vfs_write(): they check alike and differ in the op. */
	long read_or_write(int fd, uint64_t buf, size_t count, file_rw file_operations::*op);
	void leave() { host_->leave(); }

	const std::shared_ptr<sim_kernel> host_;
	struct kernel *const kernel_;
	struct cred cred_;
	std::unique_ptr<struct files_struct> files_;
	struct mm_struct *mm_ = nullptr;
	/* The process, and the thread that made it: found without a search. */
	std::unique_ptr<struct task_struct> leader_;
	const pthread_t leader_thread_;
	/* The other threads' tasks, newest first. Only ever added to. */
	std::atomic<struct thread_task *> threads_{nullptr};
};
