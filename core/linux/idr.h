// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors the ida of include/linux/idr.h, Linux v7.2: the lowest free numbers. CUSTOMISED: built on
// an xarray; constructed with its lock class, and its destructor is ida_destroy().
#pragma once

#include "core/linux/bug.h"
#include "core/linux/xarray.h"

struct ida {
	explicit constexpr ida(const lock_class_key *key) : xa(key, XA_FLAGS_ALLOC) {}

	struct xarray xa;
};

// The lowest free id of [@min, @max]; -ENOSPC when there is none, -ENOMEM.
[[nodiscard]] static inline int ida_alloc_range(struct ida *ida, unsigned int min, unsigned int max,
						gfp_t gfp,
						const src_loc &where = src_loc::current())
{
	u32 id;
	int ret = xa_alloc(&ida->xa, &id, xa_mk_value(0), XA_LIMIT(min, max), gfp, where);

	if (ret)
		return ret == -EBUSY ? -ENOSPC : ret;
	return (int)id;
}

[[nodiscard]] static inline int ida_alloc_max(struct ida *ida, unsigned int max, gfp_t gfp,
					      const src_loc &where = src_loc::current())
{
	return ida_alloc_range(ida, 0, max, gfp, where);
}

static inline void ida_free(struct ida *ida, unsigned int id)
{
	WARN_ON(!xa_erase(&ida->xa, id));
}

static inline bool ida_is_empty(const struct ida *ida)
{
	return xa_empty(&ida->xa);
}
