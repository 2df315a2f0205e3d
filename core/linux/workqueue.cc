// SPDX-License-Identifier: GPL-2.0-or-later
//
// Work items. Stands in for kernel/workqueue.c, Linux v7.2. An item may free itself in its
// function, so who runs is remembered beside it, on the runner's stack.
#include "core/linux/workqueue.h"

#include "core/linux/bug.h"
#include "core/linux/slab.h"

struct running_work {
	const struct work_struct *work;
	const struct workqueue_struct *wq;
	struct running_work *next;
};

static bool enqueue(struct kernel *k, struct workqueue_struct *wq, struct work_struct *work)
{
	raw_guard g(&k->work_lock);

	if (work->pending)
		return false;
	work->pending = true;
	work->kernel = k;
	work->wq = wq;
	work->next = nullptr;
	if (k->work_tail)
		k->work_tail->next = work;
	else
		k->work_head = work;
	k->work_tail = work;
	k->work_pending.fetch_add(1, std::memory_order_release);
	return true;
}

// Takes the first item that is @work (any when NULL) and of @wq (any when NULL) off the queue.
static struct work_struct *dequeue(struct kernel *k, const struct work_struct *work,
				   const struct workqueue_struct *wq) __must_hold(&k->work_lock)
{
	struct work_struct *prev = nullptr;

	for (struct work_struct *w = k->work_head; w; prev = w, w = w->next) {
		if ((work && w != work) || (wq && w->wq != wq))
			continue;
		(prev ? prev->next : k->work_head) = w->next;
		if (k->work_tail == w)
			k->work_tail = prev;
		w->pending = false;
		k->work_pending.fetch_sub(1, std::memory_order_relaxed);
		return w;
	}
	return nullptr;
}

// Runs one such item. False when there was none.
static bool run_one(struct kernel *k, const struct work_struct *work,
		    const struct workqueue_struct *wq)
{
	struct running_work self = {};
	struct work_struct *w;
	work_func_t func;
	{
		raw_guard g(&k->work_lock);
		w = dequeue(k, work, wq);
		if (!w)
			return false;
		func = w->func;
		self = {w, w->wq, k->work_running};
		k->work_running = &self;
	}
	func(w);
	{
		raw_guard g(&k->work_lock);
		struct running_work **p = &k->work_running;

		while (*p != &self)
			p = &(*p)->next;
		*p = self.next;
	}
	k->work_seq.fetch_add(1, std::memory_order_release);
	k->work_seq.notify_all();
	return true;
}

// Waits until no other thread runs such an item.
static void wait_running(struct kernel *k, const struct work_struct *work,
			 const struct workqueue_struct *wq)
{
	for (;;) {
		u32 seq = k->work_seq.load(std::memory_order_acquire);
		bool busy = false;
		{
			raw_guard g(&k->work_lock);
			for (struct running_work *r = k->work_running; r; r = r->next)
				busy |= work ? r->work == work : r->wq == wq;
		}
		if (!busy)
			return;
		k->work_seq.wait(seq, std::memory_order_acquire);
	}
}

void run_deferred(struct kernel *k)
{
	if (likely(!k->work_pending.load(std::memory_order_acquire)))
		return;
	struct task_struct worker(k, "kworker");

	for (;;) {
		task_scope ts(&worker);

		if (!run_one(k, nullptr, nullptr))
			return;
	}
}

struct workqueue_struct *alloc_workqueue(const char *name, unsigned int, int)
{
	struct workqueue_struct *wq = kzalloc_obj<struct workqueue_struct>();

	if (wq) {
		wq->kernel = current->kernel;
		wq->name = name;
	}
	return wq;
}

void destroy_workqueue(struct workqueue_struct *wq)
{
	flush_workqueue(wq);
	kfree_obj(wq);
}

bool queue_work(struct workqueue_struct *wq, struct work_struct *work)
{
	return enqueue(wq->kernel, wq, work);
}

bool schedule_work(struct work_struct *work)
{
	return enqueue(current->kernel, nullptr, work);
}

bool flush_work(struct work_struct *work)
{
	struct kernel *k = current->kernel;

	might_sleep();
	bool ran = run_one(k, work, nullptr);

	wait_running(k, work, nullptr);
	return ran;
}

bool cancel_work_sync(struct work_struct *work)
{
	struct kernel *k = current->kernel;
	bool was_pending;

	might_sleep();
	{
		raw_guard g(&k->work_lock);
		was_pending = dequeue(k, work, nullptr);
	}
	wait_running(k, work, nullptr);
	return was_pending;
}

void flush_workqueue(struct workqueue_struct *wq)
{
	might_sleep();
	while (run_one(wq->kernel, nullptr, wq))
		;
	wait_running(wq->kernel, nullptr, wq);
}
