// SPDX-License-Identifier: GPL-2.0-or-later
//
// Misused reference counts. Mirrors lib/refcount.c, Linux v7.2.
#include "core/linux/refcount.h"

#include "core/linux/bug.h"

void refcount_warn_saturate(refcount_t *r, enum refcount_saturation_type t, const src_loc &where)
{
	const char *what = "unknown misuse";

	// Far from both ends: no number of threads gets it back to a plausible value.
	refcount_set(r, REFCOUNT_SATURATED);
	switch (t) {
	case REFCOUNT_ADD_NOT_ZERO_OVF:
	case REFCOUNT_ADD_OVF:
		what = "overflow, it leaks";
		break;
	case REFCOUNT_ADD_UAF:
		what = "increment of 0, the object may be gone";
		break;
	case REFCOUNT_SUB_UAF:
		what = "underflow, the object may be gone";
		break;
	case REFCOUNT_DEC_LEAK:
		what = "decrement reached 0, it leaks";
		break;
	}
	__warn_fmt(where, "refcount_t: %s", what);
}

bool refcount_dec_not_one(refcount_t *r, const src_loc &where)
{
	sched_point(SCHED_AT_REF, r);
	int old = r->refs.load(std::memory_order_relaxed);

	do {
		if (unlikely(old == REFCOUNT_SATURATED))
			return true;
		if (old == 1)
			return false;
		if (unlikely(old <= 0)) {
			__warn_fmt(where, "refcount_t: underflow, the object may be gone");
			return true;
		}
	} while (!r->refs.compare_exchange_weak(old, old - 1, std::memory_order_release,
						std::memory_order_relaxed));
	return true;
}
