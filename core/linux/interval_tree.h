// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/interval_tree.h, Linux v7.2: intrusive intervals [start, last], both ends
// included. The order (by start, equal starts in order of insertion), what the iterators return and
// the span iterator's contract are the kernel's. CUSTOMISED: a treap whose priorities come from a
// counter in the root, instead of a red-black tree: inserting needs no memory and cannot fail.
#pragma once

#include "core/linux/types.h"

struct interval_tree_node {
	unsigned long start; /* Start of interval */
	unsigned long last;  /* Last location _in_ interval */

	// Of the tree.
	struct interval_tree_node *left, *right, *parent;
	unsigned long __subtree_last;
	u32 __prio;
};

struct rb_root_cached {
	struct interval_tree_node *root = nullptr;
	u32 seed = 0;
};
#define RB_ROOT_CACHED (rb_root_cached{})

static inline bool RB_EMPTY_ROOT(const struct rb_root_cached *root)
{
	return !root->root;
}

// @node->start and @node->last are set and stay while it is in the tree.
void interval_tree_insert(struct interval_tree_node *node, struct rb_root_cached *root);
void interval_tree_remove(struct interval_tree_node *node, struct rb_root_cached *root);
// The first node that intersects [@start, @last], and the next one after @node; NULL when none.
struct interval_tree_node *interval_tree_iter_first(struct rb_root_cached *root,
						    unsigned long start, unsigned long last);
struct interval_tree_node *interval_tree_iter_next(struct interval_tree_node *node,
						   unsigned long start, unsigned long last);

// Walks [first_index, last_index] as spans that are used by one or more nodes, or by none (a hole);
// spans of one kind that touch are one span. Spans are cut at the range's ends. is_hole: 1 hole, 0
// used, -1 the walk is over.
struct interval_tree_span_iter {
	// Of the iterator.
	struct interval_tree_node *nodes[2];
	unsigned long first_index;
	unsigned long last_index;

	union {
		unsigned long start_hole;
		unsigned long start_used;
	};
	union {
		unsigned long last_hole;
		unsigned long last_used;
	};
	int is_hole;
};

void interval_tree_span_iter_first(struct interval_tree_span_iter *state,
				   struct rb_root_cached *root, unsigned long first_index,
				   unsigned long last_index);
void interval_tree_span_iter_next(struct interval_tree_span_iter *state);
// Skips to @new_index, which lies behind the start of the current span. The walk ends when it is
// behind last_index.
void interval_tree_span_iter_advance(struct interval_tree_span_iter *iter,
				     struct rb_root_cached *root, unsigned long new_index);

static inline bool interval_tree_span_iter_done(const struct interval_tree_span_iter *state)
{
	return state->is_hole == -1;
}

#define interval_tree_for_each_span(span, root, first_index, last_index)         \
	for (interval_tree_span_iter_first(span, root, first_index, last_index); \
	     !interval_tree_span_iter_done(span); interval_tree_span_iter_next(span))
