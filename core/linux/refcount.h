// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/refcount.h, Linux v7.2. MIRRORED: the values, the saturation at
// REFCOUNT_SATURATED and when a WARN comes: overflow, add on zero, underflow, decrement to zero by
// refcount_dec(). Ordering as the kernel's: increments relaxed, decrements release, and acquire
// when they reach the end.
#pragma once

#include <atomic>

#include "core/linux/lockdep.h"
#include "core/linux/sched.h"

#define REFCOUNT_MAX	   0x7fffffff
#define REFCOUNT_SATURATED ((int)0xc0000000)

struct refcount_struct {
	std::atomic<int> refs{0};

	constexpr refcount_struct() = default;
	constexpr explicit refcount_struct(int n) : refs(n) {}
};
using refcount_t = struct refcount_struct;

enum refcount_saturation_type {
	REFCOUNT_ADD_NOT_ZERO_OVF,
	REFCOUNT_ADD_OVF,
	REFCOUNT_ADD_UAF,
	REFCOUNT_SUB_UAF,
	REFCOUNT_DEC_LEAK,
};
void refcount_warn_saturate(refcount_t *r, enum refcount_saturation_type t,
			    const src_loc &where) __cold;

static inline void refcount_set(refcount_t *r, int n)
{
	r->refs.store(n, std::memory_order_relaxed);
}

static inline unsigned int refcount_read(const refcount_t *r)
{
	return (unsigned int)r->refs.load(std::memory_order_relaxed);
}

static inline void refcount_add(int i, refcount_t *r, const src_loc &where = src_loc::current())
{
	sched_point(SCHED_AT_REF, r);
	int old = r->refs.fetch_add(i, std::memory_order_relaxed);

	if (unlikely(!old))
		refcount_warn_saturate(r, REFCOUNT_ADD_UAF, where);
	else if (unlikely(old < 0 || (int)((u32)old + (u32)i) < 0))
		refcount_warn_saturate(r, REFCOUNT_ADD_OVF, where);
}

static inline void refcount_inc(refcount_t *r, const src_loc &where = src_loc::current())
{
	refcount_add(1, r, where);
}

[[nodiscard]] static inline bool refcount_add_not_zero(int i, refcount_t *r,
						       const src_loc &where = src_loc::current())
{
	sched_point(SCHED_AT_REF, r);
	int old = r->refs.load(std::memory_order_relaxed);

	do {
		if (!old)
			return false;
	} while (!r->refs.compare_exchange_weak(old, (int)((u32)old + (u32)i),
						std::memory_order_relaxed,
						std::memory_order_relaxed));
	if (unlikely(old < 0 || (int)((u32)old + (u32)i) < 0))
		refcount_warn_saturate(r, REFCOUNT_ADD_NOT_ZERO_OVF, where);
	return true;
}

[[nodiscard]] static inline bool refcount_inc_not_zero(refcount_t *r,
						       const src_loc &where = src_loc::current())
{
	return refcount_add_not_zero(1, r, where);
}

[[nodiscard]] static inline bool refcount_sub_and_test(int i, refcount_t *r,
						       const src_loc &where = src_loc::current())
{
	sched_point(SCHED_AT_REF, r);
	// Not touched again when it was the last: somebody who waits for zero may free it.
	int old = r->refs.fetch_sub(i, std::memory_order_acq_rel);

	if (old > 0 && old == i)
		return true;
	if (unlikely(old <= 0 || old - i < 0))
		refcount_warn_saturate(r, REFCOUNT_SUB_UAF, where);
	return false;
}

[[nodiscard]] static inline bool refcount_dec_and_test(refcount_t *r,
						       const src_loc &where = src_loc::current())
{
	return refcount_sub_and_test(1, r, where);
}

// Not for the last one: WARNs when the count becomes 0.
static inline void refcount_dec(refcount_t *r, const src_loc &where = src_loc::current())
{
	sched_point(SCHED_AT_REF, r);
	if (unlikely(r->refs.fetch_sub(1, std::memory_order_release) <= 1))
		refcount_warn_saturate(r, REFCOUNT_DEC_LEAK, where);
}

// 1 -> 0, else nothing.
[[nodiscard]] static inline bool refcount_dec_if_one(refcount_t *r)
{
	int one = 1;

	sched_point(SCHED_AT_REF, r);
	return r->refs.compare_exchange_strong(one, 0, std::memory_order_acq_rel,
					       std::memory_order_relaxed);
}

// Decrements unless the count is 1.
[[nodiscard]] bool refcount_dec_not_one(refcount_t *r, const src_loc &where = src_loc::current());
