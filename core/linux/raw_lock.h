// SPDX-License-Identifier: GPL-2.0-or-later
//
// No kernel counterpart: the words under mutex, spinlock_t and rw_semaphore. Built on std::atomic
// wait and notify: nothing process wide (Abseil's mutexes keep a global graph), visible to
// ThreadSanitizer, and after an unlock the word is not touched again, so the owner's memory may go
// as soon as the next holder frees it.
#pragma once

#include <atomic>

#include "core/linux/types.h"

class context_lock_struct("raw_mutex") raw_mutex {
public:
	bool try_lock() TSA(try_acquire_capability(true)) LOCK_ANALYSIS_ESCAPE("is the lock")
	{
		u32 free = 0;

		return v_.compare_exchange_strong(free, 1, std::memory_order_acquire,
						  std::memory_order_relaxed);
	}
	void lock() __acquires() LOCK_ANALYSIS_ESCAPE("is the lock")
	{
		if (unlikely(!try_lock()))
			lock_slow();
	}
	void unlock() __releases() LOCK_ANALYSIS_ESCAPE("is the lock")
	{
		if (unlikely(v_.exchange(0, std::memory_order_release) == 2))
			v_.notify_one();
	}
	bool is_locked() const { return v_.load(std::memory_order_relaxed); }

private:
	void lock_slow();

	std::atomic<u32> v_{0}; // 0 free, 1 held, 2 held and somebody may wait
};

// For a few instructions at a time: giving it back is one store, and who waits polls.
class context_lock_struct("raw_spinlock") raw_spinlock {
public:
	bool try_lock() TSA(try_acquire_capability(true)) LOCK_ANALYSIS_ESCAPE("is the lock")
	{
		return !v_.load(std::memory_order_relaxed) &&
		       !v_.exchange(true, std::memory_order_acquire);
	}
	void lock() __acquires() LOCK_ANALYSIS_ESCAPE("is the lock")
	{
		if (unlikely(v_.exchange(true, std::memory_order_acquire)))
			lock_slow();
	}
	void unlock() __releases() LOCK_ANALYSIS_ESCAPE("is the lock")
	{
		v_.store(false, std::memory_order_release);
	}

private:
	void lock_slow();

	std::atomic<bool> v_{false};
};

// Not seen by lockdep: for the innards of core/linux and for the host's side of models, never
// around a call of kernel code.
class scoped_lock_struct raw_guard {
public:
	explicit raw_guard(raw_mutex *m) __acquires(m) : m_(m) { m->lock(); }
	~raw_guard() __releases() LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
	{
		m_->unlock();
	}
	raw_guard(const raw_guard &) = delete;
	raw_guard &operator=(const raw_guard &) = delete;

private:
	raw_mutex *m_;
};

// Writers go first: a waiting writer keeps new readers out (as the kernel's rwsem does, so a reader
// must not recurse).
class raw_rwlock {
public:
	bool try_read()
	{
		u32 v = v_.load(std::memory_order_relaxed);

		while (!(v & (WRITER | WRITER_WAITS)))
			if (v_.compare_exchange_weak(v, v + READER, std::memory_order_acquire,
						     std::memory_order_relaxed))
				return true;
		return false;
	}
	void read_lock()
	{
		if (unlikely(!try_read()))
			read_slow();
	}
	void read_unlock()
	{
		u32 v = v_.fetch_sub(READER, std::memory_order_release);

		if (unlikely((v & (WRITER_WAITS | READER_WAITS)) && (v / READER) == 1))
			wake();
	}
	bool try_write()
	{
		u32 v = v_.load(std::memory_order_relaxed);

		while (v < READER && !(v & WRITER))
			if (v_.compare_exchange_weak(v, v | WRITER, std::memory_order_acquire,
						     std::memory_order_relaxed))
				return true;
		return false;
	}
	void write_lock()
	{
		u32 v = 0;

		if (unlikely(!v_.compare_exchange_strong(v, WRITER, std::memory_order_acquire,
							 std::memory_order_relaxed)))
			write_slow();
	}
	void write_unlock()
	{
		if (unlikely(v_.exchange(0, std::memory_order_release) &
			     (WRITER_WAITS | READER_WAITS)))
			v_.notify_all();
	}
	void downgrade()
	{
		if (v_.exchange(READER, std::memory_order_release) & (WRITER_WAITS | READER_WAITS))
			v_.notify_all();
	}
	bool is_locked() const
	{
		return v_.load(std::memory_order_relaxed) & ~(WRITER_WAITS | READER_WAITS);
	}

private:
	static constexpr u32 WRITER = 1, WRITER_WAITS = 2, READER_WAITS = 4, READER = 8;

	void read_slow();
	void write_slow();
	void wake();

	std::atomic<u32> v_{0};
};
