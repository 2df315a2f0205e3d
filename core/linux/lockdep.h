// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/lockdep.h, Linux v7.2. CUSTOMISED: on a lock's class (its declaration),
// with the dependency graph held by the struct kernel. Reports, each as one text in kernel->log and
// counted like a WARN: two classes taken in both orders (or a longer cycle), a class taken twice
// without a subclass, a release of what is not held, a sleeping lock under a spinlock, a lock still
// held when the system call returns. As in the kernel an rwsem's readers count as writers in the
// graph: a reader blocks behind a waiting writer.
#pragma once

#include "core/linux/compiler.h"
#include "core/linux/sched.h"

struct mutex;
struct rw_semaphore;
struct spinlock;
struct xarray;

#define SINGLE_DEPTH_NESTING 1

// @nest: a lock that is held and that orders all locks of @map's class, or NULL. @trylock: adds no
// order.
void lock_acquire(const struct lockdep_map *map, unsigned int subclass, lock_mode mode,
		  lock_kind kind, bool trylock, const struct lockdep_map *nest,
		  const src_loc &where);
void lock_release(const struct lockdep_map *map, const src_loc &where);
// Turns a held write lock into a read lock. Compare lock_downgrade().
void lock_downgrade(const struct lockdep_map *map, const src_loc &where);
// -1 not held by current, else its lock_mode.
int lock_held(const struct lockdep_map *map);
void lockdep_report_assert(const struct lockdep_map *map, const char *what, const src_loc &where);
// @depth: how many locks were held on entry.
void lockdep_check_return(unsigned int depth);
// Reports when current holds a spinlock.
void __might_sleep(const src_loc &where);

static inline void might_sleep(const src_loc &where = src_loc::current())
{
	if (unlikely(current->instrument & TASK_LOCKDEP))
		__might_sleep(where);
}

static inline void might_alloc(gfp_t gfp, const src_loc &where = src_loc::current())
{
	if (gfp & __GFP_DIRECT_RECLAIM)
		might_sleep(where);
}

template <class L>
static inline void lockdep_assert_held(const L *l, const src_loc &where = src_loc::current())
	__assumes_lock(l) LOCK_ANALYSIS_ESCAPE("asserts at run time");
template <class L> static inline void lockdep_assert_held(const L *l, const src_loc &where)
{
	if (unlikely(current->instrument & TASK_LOCKDEP) && lock_held(&l->dep) < 0)
		lockdep_report_assert(&l->dep, "is not held", where);
}

template <class L>
static inline void lockdep_assert_held_write(const L *l, const src_loc &where = src_loc::current())
	__assumes_lock(l) LOCK_ANALYSIS_ESCAPE("asserts at run time");
template <class L> static inline void lockdep_assert_held_write(const L *l, const src_loc &where)
{
	if (unlikely(current->instrument & TASK_LOCKDEP) && lock_held(&l->dep) != LOCK_EXCLUSIVE)
		lockdep_report_assert(&l->dep, "is not held for writing", where);
}

template <class L>
static inline void lockdep_assert_held_read(const L *l, const src_loc &where = src_loc::current())
	__assumes_shared_lock(l) LOCK_ANALYSIS_ESCAPE("asserts at run time");
template <class L> static inline void lockdep_assert_held_read(const L *l, const src_loc &where)
{
	if (unlikely(current->instrument & TASK_LOCKDEP) && lock_held(&l->dep) != LOCK_SHARED)
		lockdep_report_assert(&l->dep, "is not held for reading", where);
}

template <class L>
static inline void lockdep_assert_not_held(const L *l, const src_loc &where = src_loc::current())
	__must_not_hold(l)
{
	if (unlikely(current->instrument & TASK_LOCKDEP) && lock_held(&l->dep) >= 0)
		lockdep_report_assert(&l->dep, "is held", where);
}

// For the analysis alone: the lock is known to be held by construction (state why beside the call).
template <class L>
static inline void __assume_ctx_lock(const L *l) __assumes_lock(l)
	LOCK_ANALYSIS_ESCAPE("states what the analysis cannot see");
template <class L> static inline void __assume_ctx_lock(const L *)
{
}
