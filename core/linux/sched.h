// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/sched.h, Linux v7.2. CUSTOMISED: a task is a caller of the surface, not a
// thread: the thread that makes a system call puts a task_scope around it. `current` is the one
// thread-local of the product.
#pragma once

#include <atomic>
#include <vector>

#include "core/linux/lockdep_types.h"
#include "core/linux/types.h"

struct kernel;
struct mm_struct;
struct files_struct;
struct cred;
struct user_struct;
struct callback_head;

// Bits of task_struct::instrument. While the word is 0 every primitive pays one predictable branch
// and nothing else.
enum task_instrument : u32 {
	TASK_LOCKDEP = 1 << 0, // follow lock classes
	TASK_SCHED = 1 << 1,   // kernel->sched is installed
	TASK_FAULT = 1 << 2,   // fail_nth is armed, or the fault sites are traced
};

struct task_struct {
	// The task is on @k's list until it is destroyed. Created and destroyed by whoever stands
	// for the process (no task_scope needed).
	explicit task_struct(struct kernel *k, const char *comm = "task");
	~task_struct();
	task_struct(const task_struct &) = delete;
	task_struct &operator=(const task_struct &) = delete;

	struct kernel *const kernel;
	u32 instrument = 0;
	// The fail_nth countdown: 0 = not armed, or it has fired. See fault-inject.h.
	u32 fail_nth = 0;
	// Allocations made minus allocations freed by this task; written by its thread only.
	std::atomic<long> slab_live{0};

	struct mm_struct *mm = nullptr;
	struct files_struct *files = nullptr;
	const struct cred *cred;
	struct task_struct *group_leader = this;
	// RLIMIT_MEMLOCK in bytes; see rlimit().
	std::atomic<u64> rlimit_memlock;
	std::atomic<u32> usage{1};
	int pid;
	char comm[16];

	// Work that runs when the task leaves its system call (final file puts). LIFO as pushed,
	// run in push order.
	struct callback_head *task_works = nullptr;

	u16 lockdep_depth = 0;
	// A lock report came: no further reports from this task until its scope ends.
	bool lockdep_silent = false;
	std::atomic<bool> interrupted{
		false}; // a signal is pending: interruptible waits return -ERESTARTSYS
	// Filled up to lockdep_depth. Raw memory, so that a task costs nothing to build.
	union {
		struct held_lock held_locks[MAX_LOCK_DEPTH];
	};
};

inline constinit thread_local struct task_struct *current = nullptr;

// Enters the kernel as @task on this thread: one per system call. The destructor does what
// return-to-user does: runs the task's deferred work, then reports locks that are still held. Nests
// (another kernel's task, or the same task).
class task_scope {
public:
	explicit task_scope(struct task_struct *task) : prev_(current), depth_(task->lockdep_depth)
	{
		current = task;
	}
	~task_scope()
	{
		if (unlikely(current->task_works || current->lockdep_depth != depth_ ||
			     current->lockdep_silent))
			leave();
		current = prev_;
	}
	task_scope(const task_scope &) = delete;
	task_scope &operator=(const task_scope &) = delete;

private:
	void leave();

	struct task_struct *prev_;
	u16 depth_;
};

struct callback_head {
	struct callback_head *next;
	void (*func)(struct callback_head *);
};

// Queues @work on @task, which is current. Compare task_work_add().
void task_work_add(struct task_struct *task, struct callback_head *work);
// Runs what is queued on current, and what that queues.
void task_work_run();

static inline struct task_struct *get_task_struct(struct task_struct *t)
{
	t->usage.fetch_add(1, std::memory_order_relaxed);
	return t;
}

// The creator owns the memory; the count only says who still looks at the task (~task_struct()
// WARNs when somebody does).
static inline void put_task_struct(struct task_struct *t)
{
	t->usage.fetch_sub(1, std::memory_order_release);
}

enum sched_event : u8 {
	SCHED_AT_LOCK,	 // before a lock is taken
	SCHED_AT_UNLOCK, // after a lock was given back
	SCHED_AT_REF,	 // before a reference count changes
	SCHED_AT_WAKE,	 // after a wake-up
	SCHED_AT_OTHER,	 // cond_resched() and the like
};

// A scheduler that explores interleavings. Installed in kernel::sched before tasks are created;
// called on the running task's thread.
struct sched_hook {
	// A place where another task may run. @obj is the lock, counter or queue.
	void (*point)(struct sched_hook *, struct task_struct *, enum sched_event, const void *obj);
	// The task cannot go on until @obj changes; it is called again until that is so. @timeout
	// in jiffies, or negative for none. Returns false when the scheduler decides that the
	// timeout has passed.
	bool (*block)(struct sched_hook *, struct task_struct *, const void *obj, long timeout);
};

void __sched_point(enum sched_event ev, const void *obj);

static inline void sched_point(enum sched_event ev = SCHED_AT_OTHER, const void *obj = nullptr)
{
	if (unlikely(current->instrument & TASK_SCHED))
		__sched_point(ev, obj);
}

static inline void cond_resched()
{
	sched_point();
}

// Lets models make a step (kernel::idle), then yields. For polling loops. False: no model moved, and
// none moves by itself.
bool cpu_relax();

static inline bool signal_pending(struct task_struct *t)
{
	return unlikely(t->interrupted.load(std::memory_order_relaxed));
}
