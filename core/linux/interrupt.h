// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/interrupt.h, Linux v7.2. CUSTOMISED: a line that is raised queues its
// handlers as deferred work of the kernel (run_deferred()); nothing interrupts, except that a task
// that polls (cpu_relax()) has the hard handlers run in it, so that hardware it waits for can get
// its answer. Thread handlers may sleep. No handler runs twice at a time. Lines are edges and have
// one action each; an edge that comes while one waits to be handled is the same edge, and one
// without an action is lost.
#pragma once

#include "core/linux/workqueue.h"

enum irqreturn {
	IRQ_NONE = 0,
	IRQ_HANDLED = 1 << 0,
	IRQ_WAKE_THREAD = 1 << 1,
};
using irqreturn_t = enum irqreturn;
using irq_handler_t = irqreturn_t (*)(int irq, void *dev_id);

#define IRQF_ONESHOT 0x2000u

// 0; -EINVAL: line 0, or neither function; -EBUSY: the line has a handler; -ENOMEM. @handler NULL
// wakes the thread.
[[nodiscard]] int request_threaded_irq(unsigned int irq, irq_handler_t handler,
				       irq_handler_t thread_fn, unsigned long flags,
				       const char *name, void *dev);
[[nodiscard]] static inline int request_irq(unsigned int irq, irq_handler_t handler,
					    unsigned long flags, const char *name, void *dev)
{
	return request_threaded_irq(irq, handler, nullptr, flags, name, dev);
}
// When it returns no handler runs, and what waited to be handled will not be.
void free_irq(unsigned int irq, void *dev);
// When it returns no handler runs that had begun before. Not from the line's own handler.
void synchronize_irq(unsigned int irq);

// The hardware's side: an edge on the line. From any thread, with or without a current task and
// under any lock. True when somebody listens. A thread of the hardware's own that wants the
// handlers to run now calls run_deferred() afterwards, without a lock.
bool irq_raise(struct kernel *k, unsigned int irq);

void __irq_serve(struct kernel *k);
// Runs the hard handlers that wait, on this thread. For polling loops.
static inline void irq_serve(struct kernel *k)
{
	if (unlikely(k->irq_hard_pending.load(std::memory_order_acquire)))
		__irq_serve(k);
}
