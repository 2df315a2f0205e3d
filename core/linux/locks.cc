// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the locks do off their fast path: wait for the host, report to lockdep, ask the scheduler
// that explores interleavings. Stands in for kernel/locking/{mutex,rwsem,spinlock}.c, Linux v7.2.
#include <chrono>
#include <thread>

#include "core/linux/kernel.h"
#include "core/linux/mutex.h"
#include "core/linux/rwsem.h"
#include "core/linux/spinlock.h"
#include "core/linux/xarray.h"

void raw_mutex::lock_slow()
{
	// Who had to wait leaves the word at 2: it cannot know whether it was the only one.
	while (v_.exchange(2, std::memory_order_acquire))
		v_.wait(2, std::memory_order_relaxed);
}

void raw_spinlock::lock_slow() LOCK_ANALYSIS_ESCAPE("is the lock")
{
	// The holder needs a processor to go on: give ours away soon, and for longer when that does
	// not help.
	for (unsigned int turn = 0; !try_lock(); turn++) {
		if (turn < 32)
			continue;
		if (turn < 256)
			std::this_thread::yield();
		else
			std::this_thread::sleep_for(std::chrono::microseconds(50));
	}
}

void raw_rwlock::read_slow()
{
	u32 v = v_.load(std::memory_order_relaxed);

	for (;;) {
		if (!(v & (WRITER | WRITER_WAITS))) {
			if (v_.compare_exchange_weak(v, v + READER, std::memory_order_acquire,
						     std::memory_order_relaxed))
				return;
			continue;
		}
		if (!(v & READER_WAITS) &&
		    !v_.compare_exchange_weak(v, v | READER_WAITS, std::memory_order_relaxed,
					      std::memory_order_relaxed))
			continue;
		v_.wait(v | READER_WAITS, std::memory_order_relaxed);
		v = v_.load(std::memory_order_relaxed);
	}
}

void raw_rwlock::write_slow()
{
	u32 v = v_.load(std::memory_order_relaxed);

	for (;;) {
		if (v < READER && !(v & WRITER)) {
			if (v_.compare_exchange_weak(v, v | WRITER, std::memory_order_acquire,
						     std::memory_order_relaxed))
				return;
			continue;
		}
		if (!(v & WRITER_WAITS) &&
		    !v_.compare_exchange_weak(v, v | WRITER_WAITS, std::memory_order_relaxed,
					      std::memory_order_relaxed))
			continue;
		v_.wait(v | WRITER_WAITS, std::memory_order_relaxed);
		v = v_.load(std::memory_order_relaxed);
	}
}

// The last reader left while somebody waits. The marks go, so that whoever runs first gets the
// lock; the others set them again.
void raw_rwlock::wake()
{
	u32 v = v_.load(std::memory_order_relaxed);

	while (v < READER && !(v & WRITER) && (v & (WRITER_WAITS | READER_WAITS))) {
		if (v_.compare_exchange_weak(v, 0, std::memory_order_relaxed,
					     std::memory_order_relaxed)) {
			v_.notify_all();
			return;
		}
	}
}

// Before a lock is taken: @try_lock until it works. With a scheduler it decides who runs in
// between.
template <class Try, class Lock>
static void lock_slowly(const void *lock, Try &&try_lock, Lock &&wait_lock)
	LOCK_ANALYSIS_ESCAPE("the lock is behind a callback")
{
	struct task_struct *t = current;

	if (!(t->instrument & TASK_SCHED)) {
		wait_lock();
		return;
	}
	__sched_point(SCHED_AT_LOCK, lock);
	while (!try_lock()) {
		struct sched_hook *hook = t->kernel->sched;

		hook->block(hook, t, lock, -1);
	}
}

template <class Raw>
static void lock_raw(Raw *raw, const void *lock) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	lock_slowly(
		lock, [raw]() LOCK_ANALYSIS_ESCAPE("is the lock") { return raw->try_lock(); },
		[raw]() LOCK_ANALYSIS_ESCAPE("is the lock") { raw->lock(); });
}

template <class Raw>
static bool trylock_raw(Raw *raw, const struct lockdep_map *dep, lock_kind kind,
			const src_loc &where) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	sched_point(SCHED_AT_LOCK, dep);
	if (!raw->try_lock())
		return false;
	if (current->instrument & TASK_LOCKDEP)
		lock_acquire(dep, 0, LOCK_EXCLUSIVE, kind, true, nullptr, where);
	return true;
}

template <class Raw>
static void unlock_raw(Raw *raw, const struct lockdep_map *dep, const src_loc &where)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (current->instrument & TASK_LOCKDEP)
		lock_release(dep, where);
	raw->unlock();
	sched_point(SCHED_AT_UNLOCK, dep);
}

void __mutex_lock_slow(struct mutex *m, unsigned int subclass, const struct lockdep_map *nest,
		       const src_loc &where)
{
	if (current->instrument & TASK_LOCKDEP)
		lock_acquire(&m->dep, subclass, LOCK_EXCLUSIVE, LOCK_SLEEPS, false, nest, where);
	lock_raw(&m->raw, m);
}

bool __mutex_trylock_slow(struct mutex *m, const src_loc &where)
{
	return trylock_raw(&m->raw, &m->dep, LOCK_SLEEPS, where);
}

void __mutex_unlock_slow(struct mutex *m, const src_loc &where)
{
	unlock_raw(&m->raw, &m->dep, where);
}

void __spin_lock_slow(struct spinlock *l, unsigned int subclass, const src_loc &where)
{
	if (current->instrument & TASK_LOCKDEP)
		lock_acquire(&l->dep, subclass, LOCK_EXCLUSIVE, LOCK_SPINS, false, nullptr, where);
	lock_raw(&l->raw, l);
}

void __spin_unlock_slow(struct spinlock *l, const src_loc &where)
{
	unlock_raw(&l->raw, &l->dep, where);
}

void __xa_lock_slow(struct xarray *xa, unsigned int subclass, const src_loc &where)
{
	if (current->instrument & TASK_LOCKDEP)
		lock_acquire(&xa->dep, subclass, LOCK_EXCLUSIVE, LOCK_SPINS, false, nullptr, where);
	lock_raw(&xa->raw, xa);
}

void __xa_unlock_slow(struct xarray *xa, const src_loc &where)
{
	unlock_raw(&xa->raw, &xa->dep, where);
}

void __down_slow(struct rw_semaphore *s, unsigned int subclass, lock_mode mode,
		 const struct lockdep_map *nest, const src_loc &where)
{
	if (current->instrument & TASK_LOCKDEP)
		lock_acquire(&s->dep, subclass, mode, LOCK_SLEEPS, false, nest, where);
	if (mode == LOCK_SHARED)
		lock_slowly(s, [s] { return s->raw.try_read(); }, [s] { s->raw.read_lock(); });
	else
		lock_slowly(s, [s] { return s->raw.try_write(); }, [s] { s->raw.write_lock(); });
}

bool __down_trylock_slow(struct rw_semaphore *s, lock_mode mode, const src_loc &where)
{
	sched_point(SCHED_AT_LOCK, s);
	if (!(mode == LOCK_SHARED ? s->raw.try_read() : s->raw.try_write()))
		return false;
	if (current->instrument & TASK_LOCKDEP)
		lock_acquire(&s->dep, 0, mode, LOCK_SLEEPS, true, nullptr, where);
	return true;
}

void __up_slow(struct rw_semaphore *s, lock_mode mode, const src_loc &where)
{
	if (current->instrument & TASK_LOCKDEP)
		lock_release(&s->dep, where);
	if (mode == LOCK_SHARED)
		s->raw.read_unlock();
	else
		s->raw.write_unlock();
	sched_point(SCHED_AT_UNLOCK, s);
}

void downgrade_write(struct rw_semaphore *s, const src_loc &where)
	LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (current->instrument & TASK_LOCKDEP)
		lock_downgrade(&s->dep, where);
	s->raw.downgrade();
	sched_point(SCHED_AT_UNLOCK, s);
}
