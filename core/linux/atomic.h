// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/atomic.h, Linux v7.2. MIRRORED: the operations that return nothing are
// relaxed, the others ordered.
#pragma once

#include <atomic>

#include "core/linux/types.h"

using atomic_t = std::atomic<int>;
using atomic_long_t = std::atomic<long>;
using atomic64_t = std::atomic<s64>;

template <class T> static inline T __atomic_read(const std::atomic<T> *a)
{
	return a->load(std::memory_order_relaxed);
}
template <class T> static inline void __atomic_set(std::atomic<T> *a, T v)
{
	a->store(v, std::memory_order_relaxed);
}
template <class T> static inline void __atomic_add(T n, std::atomic<T> *a)
{
	a->fetch_add(n, std::memory_order_relaxed);
}
template <class T> static inline bool __atomic_try_cmpxchg(std::atomic<T> *a, T *old, T v)
{
	return a->compare_exchange_strong(*old, v);
}

#define atomic_read(a)			   __atomic_read(a)
#define atomic_long_read(a)		   __atomic_read(a)
#define atomic64_read(a)		   __atomic_read(a)
#define atomic_set(a, v)		   __atomic_set<int>(a, v)
#define atomic_long_set(a, v)		   __atomic_set<long>(a, v)
#define atomic_inc(a)			   __atomic_add<int>(1, a)
#define atomic_dec(a)			   __atomic_add<int>(-1, a)
#define atomic_add(n, a)		   __atomic_add<int>(n, a)
#define atomic_sub(n, a)		   __atomic_add<int>(-(n), a)
#define atomic_long_add(n, a)		   __atomic_add<long>((long)(n), a)
#define atomic_long_sub(n, a)		   __atomic_add<long>(-(long)(n), a)
#define atomic64_add(n, a)		   __atomic_add<s64>((s64)(n), a)
#define atomic64_sub(n, a)		   __atomic_add<s64>(-(s64)(n), a)
#define atomic_long_try_cmpxchg(a, old, v) __atomic_try_cmpxchg<long>(a, old, (long)(v))
