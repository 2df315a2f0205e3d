// SPDX-License-Identifier: GPL-2.0-or-later
//
// No kernel counterpart: the kernel as a value. What would be a global of the kernel is a member
// here, so a thousand kernels run in one process. Every task belongs to one; `current->kernel` is
// the one that runs.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/linux/fault-inject.h"
#include "core/linux/list.h"
#include "core/linux/printk.h"
#include "core/linux/raw_lock.h"
#include "core/linux/sched.h"

struct file;
struct file_slab;
struct work_struct;
struct running_work;
struct mmio_region;
struct irqaction;
struct cdev;
struct lockdep_state;

struct kernel_options {
	bool lockdep = true;
	bool panic_on_warn = true;
	bool log_to_stderr = false;
	bool log_debug = false;
	// kmalloc() memory starts as 0x5a instead of what was there before, so that its use is
	// reproducible.
	bool poison = true;
	// Larger single allocations fail, in bytes: kmalloc kinds, and kvmalloc kinds.
	size_t max_kmalloc = 16 << 20;
	size_t max_kvmalloc = 256 << 20;
	// What tasks start with.
	u64 rlimit_memlock = 8 << 20;
	// Upper bound for waits with a timeout, in jiffies; 0: as long as the code asks for (up to
	// a minute).
	unsigned long max_wait = 0;
	// Lines of log kept.
	size_t log_lines = 1024;
};

// The last lines printed. Any thread.
struct kernel_log {
	mutable raw_mutex lock;
	std::vector<std::string> lines __guarded_by(lock);
	size_t next __guarded_by(lock) = 0; // where the ring goes on when it is full
	u64 total __guarded_by(lock) = 0;   // lines ever printed
	struct place {
		const char *file;
		u32 line, column;
		u64 count;
	};
	std::vector<place> places __guarded_by(lock); // ratelimited and once-only places met
};

struct kernel {
	explicit kernel(const struct kernel_options &opts = {});
	// All its tasks are gone and its files closed. WARN texts are in the log, so take it
	// before.
	~kernel();
	kernel(const kernel &) = delete;
	kernel &operator=(const kernel &) = delete;

	const struct kernel_options opts;
	struct fault_state fault;
	struct kernel_log log;
	std::atomic<u64> warn_count{0};
	struct sched_hook *sched = nullptr; // set before tasks are created
	// Called by polling loops: hardware models make a step. False: none had anything to do. May
	// be NULL: no model waits for it.
	bool (*idle)(struct kernel *) = nullptr;

	// Hung here by the layers above; each knows its own.
	void *mm_state = nullptr;    // core/mm
	void *iommu_state = nullptr; // core/iommu: groups, drivers
	const struct iommufd_test_ops *iommufd_test = nullptr;
	void *iommufd_test_state = nullptr; // drivers/selftest
	void *platform = nullptr;	    // drivers/platform

	raw_mutex tasks_lock;
	std::vector<struct task_struct *> tasks __guarded_by(tasks_lock);
	long slab_live_gone __guarded_by(tasks_lock) = 0; // of tasks that are gone
	int next_pid __guarded_by(tasks_lock) = 1;

	std::unique_ptr<struct lockdep_state> lockdep;

	raw_mutex work_lock;
	struct work_struct *work_head __guarded_by(work_lock) = nullptr;
	struct work_struct *work_tail __guarded_by(work_lock) = nullptr;
	std::atomic<u32> work_pending{0};
	struct running_work *work_running __guarded_by(work_lock) = nullptr;
	std::atomic<u32> work_seq{0}; // steps when an item is done

	// Struct files are reused, never given back while the kernel lives, so that a lookup needs
	// no lock. See file.cc.
	raw_mutex files_lock;
	struct file *files_free __guarded_by(files_lock) = nullptr;
	struct file_slab *file_slabs __guarded_by(files_lock) = nullptr;
	std::atomic<long> files_open{0};

	raw_mutex mmio_lock;
	std::vector<struct mmio_region *> mmio __guarded_by(mmio_lock);

	raw_mutex irq_lock;
	struct irqaction *irqs __guarded_by(irq_lock) = nullptr; // interrupt.cc
	std::atomic<u32> irq_hard_pending{0};

	raw_mutex cdev_lock;
	struct cdev *cdevs __guarded_by(cdev_lock) = nullptr; // cdev.h
};

// Allocations (kmalloc, kvmalloc, xarray nodes) that are live. Exact while no task of @k runs.
long kernel_slab_live(const struct kernel *k);
// The log's lines, oldest first, each ended by a newline.
std::string kernel_log_text(const struct kernel *k);
u64 kernel_warn_count(const struct kernel *k);
// Forgets what programs have left in the log, in lockdep and in fault injection; the next task is @pid.
// No task runs.
void kernel_renew(struct kernel *k, int pid);
// Runs queued work items on this thread, as a task of its own, until none is left. The caller holds
// no lock.
void run_deferred(struct kernel *k);
