// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/maple_tree.h, Linux v7.2. CUSTOMISED: only ranges that the tree places
// itself (MT_FLAGS_ALLOC_RANGE), in an interval tree with one allocation per range; readers take
// the lock when their task does not hold it.
#pragma once

#include <atomic>

#include "core/linux/interval_tree.h"
#include "core/linux/spinlock.h"

#define MT_FLAGS_ALLOC_RANGE 1u

struct context_lock_struct("maple_tree") maple_tree {
	explicit constexpr maple_tree(const lock_class_key *key,
				      unsigned int = MT_FLAGS_ALLOC_RANGE)
		: ma_lock(key)
	{
	}
	~maple_tree();
	maple_tree(const maple_tree &) = delete;
	maple_tree &operator=(const maple_tree &) = delete;

	spinlock_t ma_lock;
	std::atomic<struct task_struct *> holder{nullptr};
	struct rb_root_cached ranges;
};

void mtree_lock(struct maple_tree *mt, const src_loc &where = src_loc::current()) __acquires(mt);
void mtree_unlock(struct maple_tree *mt, const src_loc &where = src_loc::current()) __releases(mt);

class scoped_lock_struct mtree_guard {
public:
	explicit mtree_guard(struct maple_tree *mt) __acquires(mt) : mt_(mt) { mtree_lock(mt); }
	~mtree_guard() __releases() LOCK_ANALYSIS_ESCAPE("a guard gives back what it took")
	{
		mtree_unlock(mt_);
	}
	mtree_guard(const mtree_guard &) = delete;
	mtree_guard &operator=(const mtree_guard &) = delete;

private:
	struct maple_tree *mt_;
};

// Puts @entry (not NULL) at the lowest free range of @size indices within [@min, @max], its start
// in *@startp. 0, -EINVAL for size 0 or one that [@min, @max] cannot hold, -EBUSY when it is taken,
// -ENOMEM.
[[nodiscard]] int mtree_alloc_range(struct maple_tree *mt, unsigned long *startp, void *entry,
				    unsigned long size, unsigned long min, unsigned long max,
				    gfp_t gfp, const src_loc &where = src_loc::current())
	__must_not_hold(mt);
// The entry of the range that holds @index, or NULL. With or without the lock.
void *mtree_load(struct maple_tree *mt, unsigned long index);
// Takes the whole range that holds @index away and returns its entry, or NULL.
void *mtree_erase(struct maple_tree *mt, unsigned long index) __must_not_hold(mt);
bool mtree_empty(const struct maple_tree *mt);
// Forgets all ranges. The entries are the owner's.
void mtree_destroy(struct maple_tree *mt) __must_not_hold(mt);
