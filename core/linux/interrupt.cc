// SPDX-License-Identifier: GPL-2.0-or-later
//
// Interrupt lines. Stands in for kernel/irq/{manage,handle}.c, Linux v7.2. Everything of an action
// but its functions is under the kernel's irq_lock.
#include "core/linux/interrupt.h"

#include <thread>

#include "core/linux/bug.h"
#include "core/linux/slab.h"

struct irqaction {
	struct work_struct work;
	struct workqueue_struct
		wq; // names the kernel: a line may be raised where no task is current
	irq_handler_t handler;
	irq_handler_t thread_fn;
	void *dev_id;
	unsigned int irq;
	bool hard_pending, hard_active;
	bool thread_pending, thread_active;
	struct irqaction *next;
};

static bool irq_begin_hard(struct kernel *k, struct irqaction *action) __must_hold(&k->irq_lock)
{
	if (!action->hard_pending || action->hard_active)
		return false;
	action->hard_pending = false;
	action->hard_active = true;
	k->irq_hard_pending.fetch_sub(1, std::memory_order_relaxed);
	return true;
}

static void irq_run_hard(struct kernel *k, struct irqaction *action)
{
	irqreturn_t ret = action->handler((int)action->irq, action->dev_id);
	raw_guard g(&k->irq_lock);

	action->hard_active = false;
	if (ret != IRQ_WAKE_THREAD || !action->thread_fn)
		return;
	action->thread_pending = true;
	queue_work(&action->wq, &action->work);
}

// Waits, and does not run elsewhere; it is the caller's to run then.
static bool irq_claim_hard(struct kernel *k, struct irqaction *action)
{
	raw_guard g(&k->irq_lock);

	return irq_begin_hard(k, action);
}

// True: the caller is to run the thread's function, once.
static bool irq_thread_begin(struct kernel *k, struct irqaction *action, bool again)
{
	raw_guard g(&k->irq_lock);

	if (action->thread_active && !again)
		return false; // who runs it sees that there is more
	action->thread_active = action->thread_pending;
	action->thread_pending = false;
	return action->thread_active;
}

static void irq_work(struct work_struct *work)
{
	struct irqaction *action = container_of(work, struct irqaction, work);
	struct kernel *k = action->wq.kernel;

	while (irq_claim_hard(k, action))
		irq_run_hard(k, action);
	for (bool again = false; irq_thread_begin(k, action, again); again = true)
		action->thread_fn((int)action->irq, action->dev_id);
}

static struct irqaction **irq_find(struct kernel *k, unsigned int irq) __must_hold(&k->irq_lock)
{
	struct irqaction **link = &k->irqs;

	while (*link && (*link)->irq != irq)
		link = &(*link)->next;
	return link;
}

int request_threaded_irq(unsigned int irq, irq_handler_t handler, irq_handler_t thread_fn,
			 unsigned long, const char *name, void *dev)
{
	struct kernel *k = current->kernel;

	if (!irq || (!handler && !thread_fn))
		return -EINVAL;

	auto *action = kzalloc_obj<struct irqaction>();

	if (!action)
		return -ENOMEM;
	INIT_WORK(&action->work, irq_work);
	action->wq.kernel = k;
	action->wq.name = name;
	action->handler = handler;
	action->thread_fn = thread_fn;
	action->dev_id = dev;
	action->irq = irq;

	{
		raw_guard g(&k->irq_lock);
		struct irqaction **link = irq_find(k, irq);

		if (!*link) {
			*link = action;
			return 0;
		}
	}
	kfree_obj(action);
	return -EBUSY;
}

// Takes the action off its line: nobody begins to run its hard handler any more.
static struct irqaction *irq_unlink(struct kernel *k, unsigned int irq, const void *dev)
{
	raw_guard g(&k->irq_lock);
	struct irqaction **link = irq_find(k, irq);
	struct irqaction *action = *link;

	if (!action || action->dev_id != dev)
		return nullptr;
	*link = action->next;
	if (action->hard_pending)
		k->irq_hard_pending.fetch_sub(1, std::memory_order_relaxed);
	action->hard_pending = false;
	return action;
}

static bool irq_hard_active(struct kernel *k, const struct irqaction *action)
{
	raw_guard g(&k->irq_lock);

	return action->hard_active;
}

void free_irq(unsigned int irq, void *dev)
{
	struct kernel *k = current->kernel;
	struct irqaction *action = irq_unlink(k, irq, dev);

	if (WARN_ON(!action))
		return;
	while (irq_hard_active(k, action))
		std::this_thread::yield();
	cancel_work_sync(&action->work);
	kfree_obj(action);
}

void synchronize_irq(unsigned int irq)
{
	struct kernel *k = current->kernel;
	struct irqaction *action;
	{
		raw_guard g(&k->irq_lock);
		action = *irq_find(k, irq);
	}
	if (!action)
		return;
	while (irq_hard_active(k, action))
		std::this_thread::yield();
	// an edge that nobody has begun to handle stays for later: it will find what there is then
	if (cancel_work_sync(&action->work))
		queue_work(&action->wq, &action->work);
}

bool irq_raise(struct kernel *k, unsigned int irq)
{
	raw_guard g(&k->irq_lock);
	struct irqaction *action = *irq_find(k, irq);

	if (!action)
		return false;
	if (!action->handler)
		action->thread_pending = true;
	else if (!action->hard_pending) {
		action->hard_pending = true;
		k->irq_hard_pending.fetch_add(1, std::memory_order_release);
	}
	queue_work(&action->wq, &action->work);
	return true;
}

// One of the actions whose hard handler waits.
static struct irqaction *irq_claim_any(struct kernel *k)
{
	raw_guard g(&k->irq_lock);

	for (struct irqaction *action = k->irqs; action; action = action->next)
		if (irq_begin_hard(k, action))
			return action;
	return nullptr;
}

void __irq_serve(struct kernel *k)
{
	while (struct irqaction *action = irq_claim_any(k))
		irq_run_hard(k, action);
}
