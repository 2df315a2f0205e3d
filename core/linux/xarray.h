// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/xarray.h, Linux v7.2: a map from unsigned long to pointers, a radix tree of
// 64-slot nodes. CUSTOMISED: instead of RCU readers take the lock when their task does not hold it
// (so xa_load() may be called either way, as in the kernel); no marks, no multi-index entries; a
// node comes from one allocation, with the lock held, where the kernel tries twice.
#pragma once

#include <atomic>

#include "core/linux/errno.h"
#include "core/linux/lockdep.h"
#include "core/linux/raw_lock.h"

#define XA_CHUNK_SHIFT 6
#define XA_CHUNK_SIZE  (1UL << XA_CHUNK_SHIFT)
#define XA_CHUNK_MASK  (XA_CHUNK_SIZE - 1)

#define XA_FLAGS_ALLOC	1u // xa_alloc() hands out ids from 0
#define XA_FLAGS_ALLOC1 2u // ... from 1

struct xa_node;

struct context_lock_struct("xarray") xarray {
	explicit constexpr xarray(const lock_class_key *key, unsigned int flags = 0)
		: dep{key}, flags(flags)
	{
	}
	// Gives back the nodes that are left (reserved entries keep some). The entries are the
	// owner's.
	~xarray();
	xarray(const xarray &) = delete;
	xarray &operator=(const xarray &) = delete;

	struct lockdep_map dep;
	raw_spinlock raw;
	const unsigned int flags;
	std::atomic<struct task_struct *> holder{nullptr};
	struct xa_node *head = nullptr;
};

struct xa_limit {
	u32 max;
	u32 min;
};
#define XA_LIMIT(_min, _max) (xa_limit{.max = (_max), .min = (_min)})
inline constexpr struct xa_limit xa_limit_32b = XA_LIMIT(0, 0xffffffffu);
inline constexpr struct xa_limit xa_limit_31b = XA_LIMIT(0, 0x7fffffffu);
inline constexpr struct xa_limit xa_limit_16b = XA_LIMIT(0, 0xffffu);

static inline void *xa_mk_internal(unsigned long v)
{
	return (void *)((v << 2) | 2);
}

// A reserved index: xa_load() reads NULL, xa_for_each() skips it, xa_alloc() does not hand it out.
#define XA_ZERO_ENTRY xa_mk_internal(257)

static inline bool xa_is_zero(const void *entry)
{
	return entry == XA_ZERO_ENTRY;
}

// Integers as entries.
static inline void *xa_mk_value(unsigned long v)
{
	return (void *)((v << 1) | 1);
}
static inline bool xa_is_value(const void *entry)
{
	return (unsigned long)entry & 1;
}
static inline unsigned long xa_to_value(const void *entry)
{
	return (unsigned long)entry >> 1;
}

// What a store returns when it fails.
static inline void *xa_mk_err(int negative_errno)
{
	return xa_mk_internal((unsigned long)(long)negative_errno);
}
static inline bool xa_is_err(const void *entry)
{
	return unlikely(((unsigned long)entry & 3) == 2 &&
			(unsigned long)entry >=
				(unsigned long)xa_mk_internal((unsigned long)-MAX_ERRNO));
}
// 0 or the negative errno of a returned entry.
static inline int xa_err(void *entry)
{
	return xa_is_err(entry) ? (int)((long)entry >> 2) : 0;
}

void __xa_lock_slow(struct xarray *xa, unsigned int subclass, const src_loc &where);
void __xa_unlock_slow(struct xarray *xa, const src_loc &where);

static inline void xa_lock(struct xarray *xa, const src_loc &where = src_loc::current())
	__acquires(xa) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	if (unlikely(current->instrument))
		__xa_lock_slow(xa, 0, where);
	else
		xa->raw.lock();
	xa->holder.store(current, std::memory_order_relaxed);
}

static inline void xa_unlock(struct xarray *xa, const src_loc &where = src_loc::current())
	__releases(xa) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	xa->holder.store(nullptr, std::memory_order_relaxed);
	if (unlikely(current->instrument))
		__xa_unlock_slow(xa, where);
	else
		xa->raw.unlock();
}

class scoped_lock_struct xa_guard {
public:
	explicit xa_guard(struct xarray *xa, const src_loc &where = src_loc::current())
		__acquires(xa)
		: xa_(xa)
	{
		xa_lock(xa, where);
	}
	~xa_guard() __releases() LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
	{
		xa_unlock(xa_);
	}
	xa_guard(const xa_guard &) = delete;
	xa_guard &operator=(const xa_guard &) = delete;

private:
	struct xarray *xa_;
};

// True when nothing is stored, not even a reserved entry.
static inline bool xa_empty(const struct xarray *xa)
	LOCK_ANALYSIS_ESCAPE("one word, as in the kernel")
{
	return !READ_ONCE(xa->head);
}

// --- with or without the lock ---
void *xa_load(const struct xarray *xa, unsigned long index);
// As xa_load(), but a reserved entry reads as XA_ZERO_ENTRY.
void *xa_load_raw(const struct xarray *xa, unsigned long index);
// The first entry in [*@index, @max], its index in *@index; NULL when none. Compare
// xa_find(XA_PRESENT).
void *xa_find(const struct xarray *xa, unsigned long *index, unsigned long max);
// The first one behind *@index.
void *xa_find_after(const struct xarray *xa, unsigned long *index, unsigned long max);

// --- that take the lock. Sleeping gfp flags are checked against spinlocks held ---
// The entry before, or xa_mk_err(-ENOMEM); with an ALLOC array NULL is stored as a reserved entry.
void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp,
	       const src_loc &where = src_loc::current()) __must_not_hold(xa);
void *xa_erase(struct xarray *xa, unsigned long index, const src_loc &where = src_loc::current())
	__must_not_hold(xa);
// Stores @entry when the entry (reserved: XA_ZERO_ENTRY) is @old; NULL empties the index, of an
// ALLOC array too. Returns the one found, a reserved one as NULL; or xa_mk_err(-ENOMEM).
void *xa_cmpxchg(struct xarray *xa, unsigned long index, void *old, void *entry, gfp_t gfp,
		 const src_loc &where = src_loc::current()) __must_not_hold(xa);
// 0, -EBUSY when the index is occupied or reserved, -ENOMEM.
[[nodiscard]] int xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp,
			    const src_loc &where = src_loc::current()) __must_not_hold(xa);
// The lowest free id of @limit goes to *@id. 0, -EBUSY when there is none, -ENOMEM. A NULL @entry
// reserves.
[[nodiscard]] int xa_alloc(struct xarray *xa, u32 *id, void *entry, struct xa_limit limit,
			   gfp_t gfp, const src_loc &where = src_loc::current())
	__must_not_hold(xa);
// Reserves @index when it is empty. 0 or -ENOMEM.
[[nodiscard]] int xa_reserve(struct xarray *xa, unsigned long index, gfp_t gfp,
			     const src_loc &where = src_loc::current()) __must_not_hold(xa);
// Undoes xa_reserve(); an entry that was stored since stays.
void xa_release(struct xarray *xa, unsigned long index, const src_loc &where = src_loc::current())
	__must_not_hold(xa);
// Forgets all entries.
void xa_destroy(struct xarray *xa, const src_loc &where = src_loc::current()) __must_not_hold(xa);

// --- with the lock held ---
void *__xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp,
		 const src_loc &where = src_loc::current()) __must_hold(xa);
void *__xa_erase(struct xarray *xa, unsigned long index) __must_hold(xa);
void *__xa_cmpxchg(struct xarray *xa, unsigned long index, void *old, void *entry, gfp_t gfp,
		   const src_loc &where = src_loc::current()) __must_hold(xa);
[[nodiscard]] int __xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp,
			      const src_loc &where = src_loc::current()) __must_hold(xa);
[[nodiscard]] int __xa_alloc(struct xarray *xa, u32 *id, void *entry, struct xa_limit limit,
			     gfp_t gfp, const src_loc &where = src_loc::current()) __must_hold(xa);
// What xas_store() does: NULL empties the index even in an ALLOC array, and the raw entry before
// comes back.
void *__xa_store_raw(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp = GFP_NOWAIT,
		     const src_loc &where = src_loc::current()) __must_hold(xa);

// The body may erase the current entry, and lock and unlock the array.
#define xa_for_each_range(xa, index, entry, first, last)                               \
	for ((index) = (first),                                                        \
	    (entry) = static_cast<__typeof__(entry)>(xa_find((xa), &(index), (last))); \
	     (entry);                                                                  \
	     (entry) = static_cast<__typeof__(entry)>(xa_find_after((xa), &(index), (last))))
#define xa_for_each_start(xa, index, entry, first) xa_for_each_range (xa, index, entry, first, ~0UL)
#define xa_for_each(xa, index, entry)		   xa_for_each_start(xa, index, entry, 0)
