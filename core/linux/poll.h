// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/poll.h, Linux v7.2. CUSTOMISED: a poll(2) is of one file, and a file has at
// most one queue.
#pragma once

#include <optional>

#include "core/linux/bug.h"
#include "core/linux/file.h"
#include "core/linux/wait.h"

// One poll(2) on its way: what it sleeps on. A file's poll op names its queue with poll_wait() and
// then looks at its condition, so a wake-up between the two is not lost.
struct poll_table_struct {
	// Sleeps until the queue is woken after the op looked, at most @timeout jiffies. What is
	// left of it.
	long schedule(long timeout)
	{
		if (!entry)
			queue(&nothing);
		return entry->schedule(timeout);
	}
	void queue(wait_queue_head_t *wq)
	{
		WARN_ON(entry && wq != queued);
		if (!entry) {
			entry.emplace(wq);
			queued = wq;
		}
		entry->prepare();
	}

private:
	wait_queue_head_t nothing; // of a file that names no queue: only time passes
	wait_queue_head_t *queued = nullptr;
	std::optional<wait_entry> entry;
};

// @wait is NULL when the caller does not sleep.
static inline void poll_wait(struct file *, wait_queue_head_t *wq, struct poll_table_struct *wait)
{
	if (wait)
		wait->queue(wq);
}
