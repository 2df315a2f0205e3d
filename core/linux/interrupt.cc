// SPDX-License-Identifier: GPL-2.0-or-later
//
// Interrupt lines. Stands in for kernel/irq/manage.c, Linux v7.2.
#include "core/linux/interrupt.h"

#include "core/linux/bug.h"
#include "core/linux/slab.h"

struct irqaction {
	struct work_struct work;
	struct workqueue_struct
		wq; // only to name the kernel: a line may be raised where no task is current
	irq_handler_t handler;
	irq_handler_t thread_fn;
	void *dev_id;
	unsigned int irq;
	struct irqaction *next;
};

static void irq_work(struct work_struct *work)
{
	struct irqaction *action = container_of(work, struct irqaction, work);
	irqreturn_t ret = IRQ_WAKE_THREAD;

	if (action->handler)
		ret = action->handler((int)action->irq, action->dev_id);
	if (ret == IRQ_WAKE_THREAD && action->thread_fn)
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

void free_irq(unsigned int irq, void *dev)
{
	struct kernel *k = current->kernel;
	struct irqaction *action;
	{
		raw_guard g(&k->irq_lock);
		struct irqaction **link = irq_find(k, irq);

		action = *link;
		if (action && action->dev_id == dev)
			*link = action->next;
		else
			action = nullptr;
	}
	if (WARN_ON(!action))
		return;
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
	// An edge that nobody has begun to handle stays for later: it will find what there is then.
	if (action && cancel_work_sync(&action->work))
		queue_work(&action->wq, &action->work);
}

bool irq_raise(struct kernel *k, unsigned int irq)
{
	raw_guard g(&k->irq_lock);
	struct irqaction *action = *irq_find(k, irq);

	if (action)
		queue_work(&action->wq, &action->work);
	return action;
}
