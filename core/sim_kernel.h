// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A kernel and the machine that it runs on, without a process: what start_kernel() leaves behind.
 * Whoever has processes for it keeps it alive as long as they live (sim_syscalls does so; so may a
 * server of processes that run elsewhere). No kernel counterpart.
 */
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/linux/capability.h"
#include "core/linux/err.h"
#include "core/linux/kernel.h"
#include "core/mm/mm.h"

/* What is plugged into the kernel: devices, drivers, test hooks. Called as a task of the kernel.
 * See drivers/platform/platform.h. */
struct machine_ops {
	/* Before the first open. 0 or -errno. */
	int (*init)(struct kernel *kernel, const void *options);
	/* After every file is closed and every mapping is gone. */
	void (*exit)(struct kernel *kernel);
	/* In the same state as exit(): makes it as it was after init(). NULL when it cannot (a
	 * model's registers, say, keep what was stored). */
	void (*renew)(struct kernel *kernel) = nullptr;
};

struct sim_options {
	struct kernel_options kernel;
	struct mm_options mm;
	/* User addresses are pointers of this process; else they are numbers in an arena. */
	bool host_memory = false;
	/* What open() gives when it names no revision: a name, empty for the library's default. */
	std::string revision;
	/* Of the first process. RLIMIT_MEMLOCK is kernel.rlimit_memlock. */
	u32 uid = 0;
	u64 caps = ~0ULL;
	const struct machine_ops *machine = nullptr;
	const void *machine_options = nullptr;
	/* Leave deferred work to run_deferred_work(). */
	bool defer_manually = false;
};

class sim_kernel {
public:
	/* -ENOMEM, -EINVAL (no such revision), what machine_ops::init() says. */
	static result<std::shared_ptr<sim_kernel>> create(const struct sim_options &opts);
	/* Every process is gone. WARNs about pages and pins that are left. */
	~sim_kernel();
	sim_kernel(const sim_kernel &) = delete;
	sim_kernel &operator=(const sim_kernel &) = delete;

	const struct sim_options opts;

	struct kernel *kernel() { return &kernel_; }
	/* Runs what is queued: work items and what models left. */
	void run_deferred_work() { run_deferred(&kernel_); }
	/* At the end of a system call, when no task is in the kernel any more on this thread. */
	void leave()
	{
		if (unlikely(kernel_.work_pending.load(std::memory_order_relaxed)) &&
		    !opts.defer_manually)
			run_deferred_work();
	}

	/*
	 * After the last process has gone: makes of this kernel one that answers as after create(),
	 * in the time that a process takes, not a kernel. False: something is left (residue(0)), the
	 * kernel warned, or the machine cannot; it is good for nothing more then.
	 */
	bool renew();

	/* What the kernel logged since the last call, a line each. */
	std::string take_log();
	/* What there is beyond the machine and @processes that have nothing: a line for each kind,
	 * empty when there is no more. While no call runs. */
	std::string residue(long processes);

	/* Each process counts itself: one address space belongs to it. */
	void process_begins() { processes_.fetch_add(1, std::memory_order_relaxed); }
	/* Its memory and files are gone. Its task stays as long as somebody looks at it, as pages
	 * that were pinned for it do. @leader may be NULL. */
	void process_ends(std::unique_ptr<struct task_struct> leader);

private:
	explicit sim_kernel(const struct sim_options &opts);
	int init();

	struct kernel kernel_;
	/* In whose name the machine is built and taken apart. */
	struct task_struct init_task_;
	bool mm_up_ = false;
	bool machine_up_ = false;
	u64 log_taken_ = 0;
	std::atomic<long> processes_{0};
	raw_mutex lock_;
	std::vector<std::unique_ptr<struct task_struct>> zombies_ __guarded_by(lock_);
	/* What the machine itself holds. */
	long base_slab_ = 0;
	int base_pid_ = 0;
	struct mm_residue base_mm_ = {};
};
