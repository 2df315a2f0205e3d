// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/wait.h, Linux v7.2. As there, the condition is evaluated before each sleep,
// so a wake-up between the two is not lost; the results are the same. CUSTOMISED: timeouts are the
// host's time, at most kernel_options::max_wait; all waiters wake.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "core/linux/errno.h"
#include "core/linux/jiffies.h"
#include "core/linux/lockdep.h"
#include "core/linux/sched.h"

struct wait_queue_head {
	std::atomic<u32> waiters{0};
	std::atomic<u32> seq{0};
	std::mutex lock;
	std::condition_variable cv;
};
using wait_queue_head_t = struct wait_queue_head;

void __wake_up(wait_queue_head_t *wq);
// One who waits on @wq, from before it looks at its condition until it is done.
class wait_entry {
public:
	explicit wait_entry(wait_queue_head_t *wq) : wq_(wq)
	{
		wq->waiters.fetch_add(1, std::memory_order_seq_cst);
	}
	~wait_entry() { wq_->waiters.fetch_sub(1, std::memory_order_relaxed); }
	wait_entry(const wait_entry &) = delete;
	wait_entry &operator=(const wait_entry &) = delete;

	// Remember the state of the queue; the condition is looked at after this.
	void prepare() { seq_ = wq_->seq.load(std::memory_order_acquire); }
	// Sleeps until a wake-up since prepare(), or at most @timeout jiffies
	// (MAX_SCHEDULE_TIMEOUT: no limit). What is left of the timeout, 0 when it has passed.
	long schedule(long timeout);

private:
	wait_queue_head_t *wq_;
	u32 seq_ = 0;
};

static inline void wake_up_all(wait_queue_head_t *wq)
{
	u32 none = 0;

	// A read-modify-write: either it sees the waiter, or the waiter sees what was stored before
	// it.
	if (unlikely(!wq->waiters.compare_exchange_strong(none, 0, std::memory_order_seq_cst)))
		__wake_up(wq);
}

static inline bool waitqueue_active(wait_queue_head_t *wq)
{
	return wq->waiters.load(std::memory_order_relaxed);
}

static inline void wake_up_interruptible(wait_queue_head_t *wq)
{
	wake_up_all(wq);
}
static inline void wake_up_interruptible_all(wait_queue_head_t *wq)
{
	wake_up_all(wq);
}

template <class Cond>
static inline long __wait_event_timeout(wait_queue_head_t *wq, Cond &&cond, long timeout,
					bool interruptible)
{
	might_sleep();
	if (cond())
		return timeout ? timeout : 1;
	wait_entry w(wq);

	for (;;) {
		w.prepare();
		if (cond())
			return timeout ? timeout : 1;
		if (!timeout)
			return 0;
		if (interruptible && signal_pending(current))
			return -ERESTARTSYS;
		timeout = w.schedule(timeout);
	}
}

// @cond may be evaluated any number of times. 0 when the time passed and @cond is still false, else
// at least 1.
#define wait_event_timeout(wq, cond, timeout) \
	__wait_event_timeout(&(wq), [&]() -> bool { return (cond); }, (long)(timeout), false)
#define wait_event(wq, cond) ((void)wait_event_timeout(wq, cond, MAX_SCHEDULE_TIMEOUT))
// 0, or -ERESTARTSYS when a signal came.
#define wait_event_interruptible(wq, cond)                                                    \
	((int)std::min<long>(                                                                 \
		__wait_event_timeout(                                                         \
			&(wq), [&]() -> bool { return (cond); }, MAX_SCHEDULE_TIMEOUT, true), \
		0))
