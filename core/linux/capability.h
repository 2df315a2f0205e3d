// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/{capability,cred,resource}.h, Linux v7.2. CUSTOMISED: credentials are
// constant values that tasks point to.
#pragma once

#include "core/linux/sched.h"

#define CAP_IPC_LOCK	 14
#define CAP_SYS_RAWIO	 17
#define CAP_SYS_ADMIN	 21
#define CAP_SYS_RESOURCE 24

struct cred {
	u32 uid = 0;
	u64 caps = ~0ULL;
	// Whose locked memory is counted; core/mm.
	struct user_struct *user = nullptr;
};

// All capabilities, uid 0: what a task starts with.
inline constexpr struct cred root_cred = {};

static inline bool capable(int cap)
{
	return current->cred->caps & BIT_ULL(cap);
}

#define RLIMIT_MEMLOCK 8

// Bytes. Only RLIMIT_MEMLOCK exists; of the process, so the group leader's.
static inline unsigned long task_rlimit(const struct task_struct *t, int)
{
	return t->group_leader->rlimit_memlock.load(std::memory_order_relaxed);
}

static inline unsigned long rlimit(int limit)
{
	return task_rlimit(current, limit);
}
