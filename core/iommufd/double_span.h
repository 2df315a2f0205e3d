// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors drivers/iommu/iommufd/double_span.h as of Linux v7.2. The functions are in pages.cc, as
 * they are upstream.
 *
 * Differs: nothing.
 */
#pragma once

#include "core/linux/interval_tree.h"

/*
 * Walks [first_index, last_index] of two interval trees at once and cuts it into spans that are
 * either free in both trees or covered by one of them. Where both cover, the first tree is named.
 * Spans come in order, leave no gap, and are as long as possible: two neighbours never have the
 * same is_used.
 *
 * The trees must not change during the walk in the part that was not reported yet.
 */
struct interval_tree_double_span_iter {
	struct rb_root_cached *itrees[2];
	struct interval_tree_span_iter spans[2];
	union {
		unsigned long start_hole;
		unsigned long start_used;
	};
	union {
		unsigned long last_hole;
		unsigned long last_used;
	};
	/* 0: in neither tree, 1: in the first tree, 2: in the second only, -1: the walk is over */
	int is_used;
};

/* Chooses the current span from the two single-tree iterators. Internal to _first and _next. */
void interval_tree_double_span_iter_update(struct interval_tree_double_span_iter *iter);
/* Begins a walk. Afterwards the span fields are valid unless _done() says otherwise. */
void interval_tree_double_span_iter_first(struct interval_tree_double_span_iter *iter,
					  struct rb_root_cached *itree1,
					  struct rb_root_cached *itree2, unsigned long first_index,
					  unsigned long last_index);
/* Moves to the next span. */
void interval_tree_double_span_iter_next(struct interval_tree_double_span_iter *iter);

static inline bool
interval_tree_double_span_iter_done(const struct interval_tree_double_span_iter *state)
{
	return state->is_used == -1;
}

#define interval_tree_for_each_double_span(span, itree1, itree2, first_index, last_index)         \
	for (interval_tree_double_span_iter_first(span, itree1, itree2, first_index, last_index); \
	     !interval_tree_double_span_iter_done(span);                                          \
	     interval_tree_double_span_iter_next(span))
