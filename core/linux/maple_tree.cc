// SPDX-License-Identifier: GPL-2.0-or-later
//
// Ranges that find their own place. Stands in for lib/maple_tree.c, Linux v7.2.
#include "core/linux/maple_tree.h"

#include "core/linux/slab.h"

struct mt_range {
	struct interval_tree_node node;
	void *entry;
};

void mtree_lock(struct maple_tree *mt, const src_loc &where) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	spin_lock(&mt->ma_lock, where);
	mt->holder.store(current, std::memory_order_relaxed);
}

void mtree_unlock(struct maple_tree *mt, const src_loc &where) LOCK_ANALYSIS_ESCAPE("is the lock")
{
	mt->holder.store(nullptr, std::memory_order_relaxed);
	spin_unlock(&mt->ma_lock, where);
}

static struct mt_range *find_range(struct maple_tree *mt, unsigned long index)
{
	struct interval_tree_node *n = interval_tree_iter_first(&mt->ranges, index, index);

	return n ? container_of(n, struct mt_range, node) : nullptr;
}

int mtree_alloc_range(struct maple_tree *mt, unsigned long *startp, void *entry, unsigned long size,
		      unsigned long min, unsigned long max, gfp_t gfp, const src_loc &where)
{
	unsigned long start = min;

	if (!size || min > max || size - 1 > max - min)
		return -EINVAL;

	struct mt_range *range =
		static_cast<struct mt_range *>(kzalloc(sizeof(*range), gfp, where));

	if (!range)
		return -ENOMEM;
	mtree_guard g(mt);
	// Each range found in the way moves the candidate behind itself.
	for (struct interval_tree_node *n;
	     (n = interval_tree_iter_first(&mt->ranges, start, start + (size - 1)));) {
		if (n->last >= max || max - (n->last + 1) < size - 1) {
			kfree(range);
			return -EBUSY;
		}
		start = n->last + 1;
	}
	range->node.start = start;
	range->node.last = start + (size - 1);
	range->entry = entry;
	interval_tree_insert(&range->node, &mt->ranges);
	*startp = start;
	return 0;
}

void *mtree_load(struct maple_tree *mt, unsigned long index)
	LOCK_ANALYSIS_ESCAPE("locks only when this task does not hold the lock")
{
	bool mine = mt->holder.load(std::memory_order_relaxed) == current;

	if (!mine)
		mtree_lock(mt);
	struct mt_range *range = find_range(mt, index);
	void *entry = range ? range->entry : nullptr;

	if (!mine)
		mtree_unlock(mt);
	return entry;
}

void *mtree_erase(struct maple_tree *mt, unsigned long index)
{
	struct mt_range *range;
	void *entry = nullptr;
	{
		mtree_guard g(mt);
		range = find_range(mt, index);
		if (range) {
			entry = range->entry;
			interval_tree_remove(&range->node, &mt->ranges);
		}
	}
	kfree(range);
	return entry;
}

bool mtree_empty(const struct maple_tree *mt)
{
	return !READ_ONCE(mt->ranges.root);
}

static void forget_all(struct maple_tree *mt)
{
	while (mt->ranges.root) {
		struct mt_range *range = container_of(mt->ranges.root, struct mt_range, node);

		interval_tree_remove(&range->node, &mt->ranges);
		kfree(range);
	}
}

void mtree_destroy(struct maple_tree *mt)
{
	mtree_guard g(mt);
	forget_all(mt);
}

maple_tree::~maple_tree()
{
	forget_all(this);
}
