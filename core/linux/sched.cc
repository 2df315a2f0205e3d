// SPDX-License-Identifier: GPL-2.0-or-later
//
// Tasks and what happens when one returns from its system call. Stands in for
// kernel/{fork,task_work,entry}.c, Linux v7.2.
#include "core/linux/sched.h"

#include <algorithm>
#include <cstdio>

#include "core/linux/bug.h"
#include "core/linux/capability.h"
#include "core/linux/interrupt.h"
#include "core/linux/kernel.h"
#include "core/linux/lockdep.h"

task_struct::task_struct(struct kernel *k, const char *name)
	: kernel(k), cred(&root_cred), rlimit_memlock(k->opts.rlimit_memlock)
{
	if (k->opts.lockdep)
		instrument |= TASK_LOCKDEP;
	if (k->sched)
		instrument |= TASK_SCHED;
	if (k->fault.trace)
		instrument |= TASK_FAULT;
	snprintf(comm, sizeof(comm), "%s", name);
	raw_guard g(&k->tasks_lock);
	pid = k->next_pid++;
	k->tasks.push_back(this);
}

task_struct::~task_struct()
{
	if (usage.load(std::memory_order_acquire) != 1 || task_works) {
		kernel_printk(kernel, LOGLEVEL_ERR, "WARNING: task %s/%d ends with %u references%s",
			      comm, pid, usage.load() - 1, task_works ? " and work to do" : "");
		__warn_counted(kernel);
	}
	raw_guard g(&kernel->tasks_lock);
	kernel->slab_live_gone += slab_live.load(std::memory_order_relaxed);
	kernel->tasks.erase(std::find(kernel->tasks.begin(), kernel->tasks.end(), this));
}

void task_scope::leave()
{
	struct task_struct *t = current;

	// Locks first: a leaked one could stop the work below for ever.
	if (t->instrument & TASK_LOCKDEP)
		lockdep_check_return(depth_);
	task_work_run();
	t->lockdep_silent = false;
}

void task_work_add(struct task_struct *task, struct callback_head *work)
{
	work->next = task->task_works;
	task->task_works = work;
}

void task_work_run()
{
	struct task_struct *t = current;

	while (t->task_works) {
		struct callback_head *work = t->task_works, *in_order = nullptr;

		t->task_works = nullptr;
		while (work) {
			struct callback_head *next = work->next;

			work->next = in_order;
			in_order = work;
			work = next;
		}
		while (in_order) {
			work = in_order;
			in_order = work->next;
			work->func(work);
		}
	}
}

void __sched_point(enum sched_event ev, const void *obj)
{
	struct sched_hook *hook = current->kernel->sched;

	hook->point(hook, current, ev, obj);
}

bool cpu_relax()
{
	struct kernel *k = current->kernel;
	const bool moved = k->idle && k->idle(k);

	irq_serve(k);
	sched_point();
	return moved;
}
