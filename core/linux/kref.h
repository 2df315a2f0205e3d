// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/kref.h, Linux v7.2. MIRRORED.
#pragma once

#include "core/linux/refcount.h"

struct kref {
	refcount_t refcount{1};
};

static inline void kref_init(struct kref *k)
{
	refcount_set(&k->refcount, 1);
}

static inline unsigned int kref_read(const struct kref *k)
{
	return refcount_read(&k->refcount);
}

static inline void kref_get(struct kref *k)
{
	refcount_inc(&k->refcount);
}

[[nodiscard]] static inline bool kref_get_unless_zero(struct kref *k)
{
	return refcount_inc_not_zero(&k->refcount);
}

// True when @release was called.
static inline bool kref_put(struct kref *k, void (*release)(struct kref *))
{
	if (!refcount_dec_and_test(&k->refcount))
		return false;
	release(k);
	return true;
}
