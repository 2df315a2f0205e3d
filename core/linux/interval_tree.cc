// SPDX-License-Identifier: GPL-2.0-or-later
//
// Intervals in a treap, each node with the largest `last` below it. Stands in for
// lib/interval_tree.c, Linux v7.2.
#include "core/linux/interval_tree.h"

using node = struct interval_tree_node;

static void update(node *n)
{
	unsigned long last = n->last;

	if (n->left)
		last = max(last, n->left->__subtree_last);
	if (n->right)
		last = max(last, n->right->__subtree_last);
	n->__subtree_last = last;
}

// @with (may be NULL) takes @n's place under @n's parent.
static void replace(struct rb_root_cached *root, node *n, node *with)
{
	node *parent = n->parent;

	if (!parent)
		root->root = with;
	else if (parent->left == n)
		parent->left = with;
	else
		parent->right = with;
	if (with)
		with->parent = parent;
}

// @n changes places with its parent; the order stays.
static void rotate_up(struct rb_root_cached *root, node *n)
{
	node *parent = n->parent, *moved;

	replace(root, parent, n);
	if (parent->left == n) {
		moved = n->right;
		parent->left = moved;
		n->right = parent;
	} else {
		moved = n->left;
		parent->right = moved;
		n->left = parent;
	}
	if (moved)
		moved->parent = parent;
	parent->parent = n;
	update(parent);
	update(n);
}

void interval_tree_insert(node *n, struct rb_root_cached *root)
{
	node *parent = nullptr, **link = &root->root;

	while (*link) {
		parent = *link;
		parent->__subtree_last = max(parent->__subtree_last, n->last);
		link = n->start < parent->start ? &parent->left : &parent->right;
	}
	n->left = nullptr;
	n->right = nullptr;
	n->parent = parent;
	n->__subtree_last = n->last;
	// A well mixed counter: the tree's shape depends on the order of inserts only.
	u32 x = root->seed += 0x9e3779b9u;
	x = (x ^ (x >> 16)) * 0x85ebca6bu;
	x = (x ^ (x >> 13)) * 0xc2b2ae35u;
	n->__prio = x ^ (x >> 16);
	*link = n;
	while (n->parent && n->parent->__prio < n->__prio)
		rotate_up(root, n);
}

void interval_tree_remove(node *n, struct rb_root_cached *root)
{
	while (n->left && n->right)
		rotate_up(root, n->left->__prio > n->right->__prio ? n->left : n->right);
	replace(root, n, n->left ? n->left : n->right);
	for (node *p = n->parent; p; p = p->parent)
		update(p);
	n->left = nullptr;
	n->right = nullptr;
	n->parent = nullptr;
}

// The first match below @n, some node of which reaches @start.
static node *subtree_first(node *n, unsigned long start, unsigned long last)
{
	for (;;) {
		// If anything on the left reaches @start, the first such one is the answer, or
		// there is none.
		if (n->left && n->left->__subtree_last >= start) {
			n = n->left;
			continue;
		}
		if (n->start > last)
			return nullptr;
		if (n->last >= start)
			return n;
		n = n->right;
		if (!n || n->__subtree_last < start)
			return nullptr;
	}
}

node *interval_tree_iter_first(struct rb_root_cached *root, unsigned long start, unsigned long last)
{
	if (!root->root || root->root->__subtree_last < start)
		return nullptr;
	return subtree_first(root->root, start, last);
}

node *interval_tree_iter_next(node *n, unsigned long start, unsigned long last)
{
	for (;;) {
		if (n->right && n->right->__subtree_last >= start)
			return subtree_first(n->right, start, last);
		node *child;

		do {
			child = n;
			n = n->parent;
			if (!n)
				return nullptr;
		} while (n->right == child);
		if (n->start > last)
			return nullptr;
		if (n->last >= start)
			return n;
	}
}

// The walk keeps in nodes[1] the first node that it has not covered yet.

// From @start on there is a hole up to the next node, or to the end.
static void span_hole(struct interval_tree_span_iter *state, unsigned long start)
{
	state->is_hole = 1;
	state->start_hole = start;
	state->last_hole = state->nodes[1] ? state->nodes[1]->start - 1 : state->last_index;
}

// The next node and all that touch it, from @start on.
static void span_used(struct interval_tree_span_iter *state, unsigned long start)
{
	node *n = state->nodes[1];
	unsigned long last = n->last;

	do {
		last = max(last, n->last);
		state->nodes[0] = n;
		n = interval_tree_iter_next(n, state->first_index, state->last_index);
	} while (n && (last >= n->start || last + 1 == n->start));
	state->nodes[1] = n;
	state->is_hole = 0;
	state->start_used = start;
	state->last_used = min(last, state->last_index);
}

void interval_tree_span_iter_first(struct interval_tree_span_iter *state,
				   struct rb_root_cached *root, unsigned long first_index,
				   unsigned long last_index)
{
	state->first_index = first_index;
	state->last_index = last_index;
	state->nodes[0] = nullptr;
	state->nodes[1] = interval_tree_iter_first(root, first_index, last_index);
	if (state->nodes[1] && state->nodes[1]->start <= first_index)
		span_used(state, first_index);
	else
		span_hole(state, first_index);
}

void interval_tree_span_iter_next(struct interval_tree_span_iter *state)
{
	if (state->is_hole == -1 || state->last_used == state->last_index) {
		state->is_hole = -1;
		return;
	}
	if (state->is_hole)
		span_used(state, state->last_hole + 1);
	else
		span_hole(state, state->last_used + 1);
}

void interval_tree_span_iter_advance(struct interval_tree_span_iter *iter,
				     struct rb_root_cached *root, unsigned long new_index)
{
	if (iter->is_hole == -1)
		return;
	iter->first_index = new_index;
	if (new_index > iter->last_index)
		iter->is_hole = -1;
	else if (iter->start_hole <= new_index && new_index <= iter->last_hole)
		iter->start_hole = new_index;
	else if (new_index == iter->last_hole + 1)
		interval_tree_span_iter_next(iter);
	else
		interval_tree_span_iter_first(iter, root, new_index, iter->last_index);
}
