// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/spinlock.h, Linux v7.2. CUSTOMISED: there are no interrupts and no
// preemption to turn off, so there are no _irq, _irqsave and _bh forms; a contended lock
// polls and gives its processor away. Lockdep knows that the kernel's does not sleep.
#pragma once

#include "core/linux/lockdep.h"
#include "core/linux/raw_lock.h"

struct context_lock_struct("spinlock") spinlock {
	explicit constexpr spinlock(const lock_class_key *key) : dep{key} {}
	spinlock(const spinlock &) = delete;
	spinlock &operator=(const spinlock &) = delete;

	struct lockdep_map dep;
	raw_spinlock raw;
};
using spinlock_t = struct spinlock;

void __spin_lock_slow(struct spinlock *l, unsigned int subclass, const src_loc &where);
void __spin_unlock_slow(struct spinlock *l, const src_loc &where);

static inline void spin_lock(spinlock_t *l, const src_loc &where = src_loc::current()) __acquires(l)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__spin_lock_slow(l, 0, where);
	else
		l->raw.lock();
}

static inline void spin_unlock(spinlock_t *l, const src_loc &where = src_loc::current())
	__releases(l) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__spin_unlock_slow(l, where);
	else
		l->raw.unlock();
}

class scoped_lock_struct spinlock_guard {
public:
	explicit spinlock_guard(spinlock_t *l, const src_loc &where = src_loc::current())
		__acquires(l)
		: l_(l)
	{
		spin_lock(l, where);
	}
	~spinlock_guard() __releases() LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
	{
		spin_unlock(l_);
	}
	spinlock_guard(const spinlock_guard &) = delete;
	spinlock_guard &operator=(const spinlock_guard &) = delete;

private:
	spinlock_t *l_;
};
