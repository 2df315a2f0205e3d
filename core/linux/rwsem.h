// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/rwsem.h, Linux v7.2. CUSTOMISED: constructed with its lock class; waiting
// writers go before new readers (the kernel queues in order with a hand-off; both make a recursive
// reader a deadlock, and lockdep reports it).
#pragma once

#include "core/linux/lockdep.h"
#include "core/linux/raw_lock.h"

struct context_lock_struct("rwsem") rw_semaphore {
	explicit constexpr rw_semaphore(const lock_class_key *key) : dep{key} {}
	rw_semaphore(const rw_semaphore &) = delete;
	rw_semaphore &operator=(const rw_semaphore &) = delete;

	struct lockdep_map dep;
	raw_rwlock raw;
};

void __down_slow(struct rw_semaphore *s, unsigned int subclass, lock_mode mode,
		 const struct lockdep_map *nest, const src_loc &where);
bool __down_trylock_slow(struct rw_semaphore *s, lock_mode mode, const src_loc &where);
void __up_slow(struct rw_semaphore *s, lock_mode mode, const src_loc &where);
void downgrade_write(struct rw_semaphore *s, const src_loc &where = src_loc::current())
	__releases(s) __acquires_shared(s);

static inline void down_read_nested(struct rw_semaphore *s, unsigned int subclass,
				    const src_loc &where = src_loc::current()) __acquires_shared(s)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__down_slow(s, subclass, LOCK_SHARED, nullptr, where);
	else
		s->raw.read_lock();
}

static inline void down_write_nested(struct rw_semaphore *s, unsigned int subclass,
				     const src_loc &where = src_loc::current()) __acquires(s)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__down_slow(s, subclass, LOCK_EXCLUSIVE, nullptr, where);
	else
		s->raw.write_lock();
}

static inline void down_read(struct rw_semaphore *s, const src_loc &where = src_loc::current())
	__acquires_shared(s) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	down_read_nested(s, 0, where);
}

static inline void down_write(struct rw_semaphore *s, const src_loc &where = src_loc::current())
	__acquires(s) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	down_write_nested(s, 0, where);
}

// Any number of one class while @nest, which is held, keeps others from doing the same.
template <class L>
static inline void down_write_nest_lock(struct rw_semaphore *s, const L *nest,
					const src_loc &where = src_loc::current()) __acquires(s)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__down_slow(s, 0, LOCK_EXCLUSIVE, &nest->dep, where);
	else
		s->raw.write_lock();
}

static inline bool down_read_trylock(struct rw_semaphore *s,
				     const src_loc &where = src_loc::current())
	__cond_acquires_shared(true, s) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		return __down_trylock_slow(s, LOCK_SHARED, where);
	return s->raw.try_read();
}

static inline bool down_write_trylock(struct rw_semaphore *s,
				      const src_loc &where = src_loc::current())
	__cond_acquires(true, s) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		return __down_trylock_slow(s, LOCK_EXCLUSIVE, where);
	return s->raw.try_write();
}

static inline void up_read(struct rw_semaphore *s, const src_loc &where = src_loc::current())
	__releases_shared(s) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__up_slow(s, LOCK_SHARED, where);
	else
		s->raw.read_unlock();
}

static inline void up_write(struct rw_semaphore *s, const src_loc &where = src_loc::current())
	__releases(s) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__up_slow(s, LOCK_EXCLUSIVE, where);
	else
		s->raw.write_unlock();
}

static inline bool rwsem_is_locked(const struct rw_semaphore *s)
{
	return s->raw.is_locked();
}

class scoped_lock_struct rwsem_read_guard {
public:
	explicit rwsem_read_guard(struct rw_semaphore *s, const src_loc &where = src_loc::current())
		__acquires_shared(s)
		: s_(s)
	{
		down_read(s, where);
	}
	~rwsem_read_guard() __releases_generic()
		LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
	{
		up_read(s_);
	}
	rwsem_read_guard(const rwsem_read_guard &) = delete;
	rwsem_read_guard &operator=(const rwsem_read_guard &) = delete;

private:
	struct rw_semaphore *s_;
};

class scoped_lock_struct rwsem_write_guard {
public:
	explicit rwsem_write_guard(struct rw_semaphore *s,
				   const src_loc &where = src_loc::current()) __acquires(s)
		: s_(s)
	{
		down_write(s, where);
	}
	~rwsem_write_guard() __releases() LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
	{
		up_write(s_);
	}
	rwsem_write_guard(const rwsem_write_guard &) = delete;
	rwsem_write_guard &operator=(const rwsem_write_guard &) = delete;

private:
	struct rw_semaphore *s_;
};
