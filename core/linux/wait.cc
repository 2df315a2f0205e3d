// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sleeping and waking. Stands in for kernel/sched/wait.c and kernel/time/sleep_timeout.c, Linux
// v7.2.
#include "core/linux/wait.h"

#include <chrono>

#include "core/linux/kernel.h"

void __wake_up(wait_queue_head_t *wq)
{
	{
		std::lock_guard<std::mutex> g(wq->lock);
		wq->seq.fetch_add(1, std::memory_order_release);
		wq->cv.notify_all();
	}
	sched_point(SCHED_AT_WAKE, wq);
}

long wait_entry::schedule(long timeout)
{
	using clock = std::chrono::steady_clock;
	struct task_struct *t = current;
	struct kernel *k = t->kernel;
	auto woken = [this] { return wq_->seq.load(std::memory_order_acquire) != seq_; };

	if (t->instrument & TASK_SCHED) {
		while (!woken())
			if (!k->sched->block(k->sched, t, wq_,
					     timeout == MAX_SCHEDULE_TIMEOUT ? -1 : timeout))
				return 0;
		return timeout;
	}

	std::unique_lock<std::mutex> g(wq_->lock);

	if (timeout == MAX_SCHEDULE_TIMEOUT) {
		wq_->cv.wait(g, woken);
		return timeout;
	}
	long ms = jiffies_to_msecs((unsigned long)timeout);

	if (k->opts.max_wait)
		ms = min(ms, (long)k->opts.max_wait);
	clock::time_point deadline = clock::now() + std::chrono::milliseconds(ms);

	if (!wq_->cv.wait_until(g, deadline, woken))
		return 0;
	long left =
		(long)std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now())
			.count();

	return max(left, 1L);
}
