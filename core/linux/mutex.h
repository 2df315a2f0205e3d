// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/mutex.h, Linux v7.2. CUSTOMISED: constructed with its lock class; there is
// no mutex_init(). Guards replace guard(mutex) and DEFINE_GUARD.
#pragma once

#include "core/linux/lockdep.h"
#include "core/linux/raw_lock.h"

struct context_lock_struct("mutex") mutex {
	explicit constexpr mutex(const lock_class_key *key) : dep{key} {}
	mutex(const mutex &) = delete;
	mutex &operator=(const mutex &) = delete;

	struct lockdep_map dep;
	raw_mutex raw;
};

void __mutex_lock_slow(struct mutex *m, unsigned int subclass, const struct lockdep_map *nest,
		       const src_loc &where);
bool __mutex_trylock_slow(struct mutex *m, const src_loc &where);
void __mutex_unlock_slow(struct mutex *m, const src_loc &where);

static inline void mutex_lock(struct mutex *m, const src_loc &where = src_loc::current())
	__acquires(m) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__mutex_lock_slow(m, 0, nullptr, where);
	else
		m->raw.lock();
}

// A second lock of one class, in an order that the caller knows. @subclass 1..7.
static inline void mutex_lock_nested(struct mutex *m, unsigned int subclass,
				     const src_loc &where = src_loc::current()) __acquires(m)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__mutex_lock_slow(m, subclass, nullptr, where);
	else
		m->raw.lock();
}

// Any number of one class while @nest, which is held, keeps others from doing the same.
template <class L>
static inline void mutex_lock_nest_lock(struct mutex *m, const L *nest,
					const src_loc &where = src_loc::current()) __acquires(m)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__mutex_lock_slow(m, 0, &nest->dep, where);
	else
		m->raw.lock();
}

static inline bool mutex_trylock(struct mutex *m, const src_loc &where = src_loc::current())
	__cond_acquires(true, m) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		return __mutex_trylock_slow(m, where);
	return m->raw.try_lock();
}

static inline void mutex_unlock(struct mutex *m, const src_loc &where = src_loc::current())
	__releases(m) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__mutex_unlock_slow(m, where);
	else
		m->raw.unlock();
}

// Locked by anyone.
static inline bool mutex_is_locked(const struct mutex *m)
{
	return m->raw.is_locked();
}

class scoped_lock_struct mutex_guard {
public:
	explicit mutex_guard(struct mutex *m, const src_loc &where = src_loc::current())
		__acquires(m)
		: m_(m)
	{
		mutex_lock(m, where);
	}
	mutex_guard(struct mutex *m, unsigned int subclass,
		    const src_loc &where = src_loc::current()) __acquires(m)
		: m_(m)
	{
		mutex_lock_nested(m, subclass, where);
	}
	~mutex_guard() __releases() LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
	{
		mutex_unlock(m_);
	}
	mutex_guard(const mutex_guard &) = delete;
	mutex_guard &operator=(const mutex_guard &) = delete;

private:
	struct mutex *m_;
};
