// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/workqueue.h, Linux v7.2. CUSTOMISED: no worker threads. Items sit on the
// kernel's queue, in order, until a caller drains it with run_deferred() (the surface does after
// each system call). Delays are not waited for.
#pragma once

#include "core/linux/kernel.h"

struct work_struct;
using work_func_t = void (*)(struct work_struct *work);

struct work_struct {
	work_func_t func = nullptr;
	struct kernel *kernel = nullptr; // while queued or running
	struct workqueue_struct *wq = nullptr;
	struct work_struct *next = nullptr;
	bool pending = false;
};

struct workqueue_struct {
	struct kernel *kernel;
	const char *name;
};

#define INIT_WORK(w, f) ((void)((w)->func = (f)))

// NULL when there is no memory.
struct workqueue_struct *alloc_workqueue(const char *name, unsigned int flags, int max_active);
// Runs what is queued on it, then frees it.
void destroy_workqueue(struct workqueue_struct *wq);
// False when it was pending already.
bool queue_work(struct workqueue_struct *wq, struct work_struct *work);
// On the kernel's own queue.
bool schedule_work(struct work_struct *work);
// When these return the item is neither queued nor running. flush_work() runs a queued one on this
// thread.
bool flush_work(struct work_struct *work);
bool cancel_work_sync(struct work_struct *work);
void flush_workqueue(struct workqueue_struct *wq);
