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

static inline int atomic_read(const atomic_t *a)
{
	return a->load(std::memory_order_relaxed);
}
static inline long atomic_long_read(const atomic_long_t *a)
{
	return a->load(std::memory_order_relaxed);
}
static inline void atomic_inc(atomic_t *a)
{
	a->fetch_add(1, std::memory_order_relaxed);
}
static inline void atomic_dec(atomic_t *a)
{
	a->fetch_sub(1, std::memory_order_relaxed);
}
static inline void atomic_long_add(long n, atomic_long_t *a)
{
	a->fetch_add(n, std::memory_order_relaxed);
}
static inline void atomic_long_sub(long n, atomic_long_t *a)
{
	a->fetch_sub(n, std::memory_order_relaxed);
}
static inline void atomic64_add(s64 n, atomic64_t *a)
{
	a->fetch_add(n, std::memory_order_relaxed);
}
static inline void atomic64_sub(s64 n, atomic64_t *a)
{
	a->fetch_sub(n, std::memory_order_relaxed);
}
static inline bool atomic_long_try_cmpxchg(atomic_long_t *a, long *old, long v)
{
	return a->compare_exchange_strong(*old, v);
}
