// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/fault-inject.h and /proc/self/fail-nth, Linux v7.2. As there, N written to
// fail_nth: the task's N-th injectable site from now on fails, once; read back, 0 says that it
// fired (or was never set), another number how many sites are left. CUSTOMISED: no probabilities
// and no debugfs; fault_state::types says which kinds of site count, and a trace of the sites
// passed can be kept, so that a sweep names the one that failed.
#pragma once

#include <vector>

#include "core/linux/raw_lock.h"
#include "core/linux/sched.h"

enum fault_type : u8 {
	FAULT_SLAB,	  // failslab: kmalloc and friends, xarray nodes
	FAULT_PAGE_ALLOC, // fail_page_alloc
	FAULT_USERCOPY,	  // fail_usercopy: copies from and to user memory
	FAULT_IOMMUFD,	  // fail_iommufd: iommufd_should_fail()
	FAULT_TYPE_MAX,
};

struct fault_site {
	enum fault_type type;
	bool failed;
	src_loc where;
};

// Part of struct kernel.
struct fault_state {
	u32 types = (1u << FAULT_TYPE_MAX) - 1;
	bool trace = false;
	mutable raw_mutex lock;
	std::vector<struct fault_site>
		sites __guarded_by(lock); // with trace: every site passed, at most 65536
	struct fault_site last = {FAULT_TYPE_MAX, false, {}}; // the last that failed
};

const char *fault_type_name(enum fault_type type);
// "slab at main.cc:123 (iommufd_object_alloc)".
void fault_site_format(const struct fault_site &site, char *buf, size_t size);

// Arms @task (not running on another thread); 0 disarms. Compare proc_fail_nth_write().
void fail_nth_write(struct task_struct *task, u32 nth);
static inline u32 fail_nth_read(const struct task_struct *task)
{
	return task->fail_nth;
}
// Turns the trace of @k's sites on (emptying it) or off, for tasks that enter their next system
// call; tasks of @k that run are the caller's to avoid.
void fault_trace(struct kernel *k, bool on);
std::vector<struct fault_site> fault_trace_take(struct kernel *k);

bool __should_fail(enum fault_type type, const src_loc &where);

// True when this site must fail now.
[[nodiscard]] static inline bool should_fail(enum fault_type type,
					     const src_loc &where = src_loc::current())
{
	return unlikely(current->instrument & TASK_FAULT) && __should_fail(type, where);
}
