// SPDX-License-Identifier: GPL-2.0-or-later
//
// The array. Stands in for lib/xarray.c, Linux v7.2. Every node knows which of its slots lead to a
// free index, so the lowest free id is one bit scan a level. Everything here runs with the lock
// held.
#include "core/linux/xarray.h"

#include "core/linux/bug.h"
#include "core/linux/slab.h"

struct xa_node {
	u8 shift;  // of the index, for this level
	u8 offset; // in the parent
	u8 count;  // slots that are not NULL
	struct xa_node *parent;
	u64 free; // slots that are free (leaves), or have a free index below
	void *slots[XA_CHUNK_SIZE];
};

// The lock for a reader whose task may hold it already.
class xa_reader {
public:
	explicit xa_reader(const struct xarray *xa)
		LOCK_ANALYSIS_ESCAPE("taken only when this task does not hold it")
		: xa_(nullptr)
	{
		if (xa->holder.load(std::memory_order_relaxed) == current)
			return;
		xa_ = const_cast<struct xarray *>(xa);
		xa_lock(xa_);
	}
	~xa_reader() LOCK_ANALYSIS_ESCAPE("as the constructor")
	{
		if (xa_)
			xa_unlock(xa_);
	}

private:
	struct xarray *xa_;
};

static struct xa_node *to_node(void *slot)
{
	return static_cast<struct xa_node *>(slot);
}

static unsigned long node_max(const struct xa_node *node)
{
	return node->shift + XA_CHUNK_SHIFT >= BITS_PER_LONG
		       ? ~0UL
		       : (1UL << (node->shift + XA_CHUNK_SHIFT)) - 1;
}

static unsigned int slot_of(const struct xa_node *node, unsigned long index)
{
	return (index >> node->shift) & XA_CHUNK_MASK;
}

static void *null_to_zero_entry(const struct xarray *xa, void *entry)
{
	return !entry && (xa->flags & (XA_FLAGS_ALLOC | XA_FLAGS_ALLOC1)) ? XA_ZERO_ENTRY : entry;
}

static void *zero_entry_to_null(void *entry)
{
	return xa_is_zero(entry) ? nullptr : entry;
}

static void set_head(struct xarray *xa, struct xa_node *node)
{
	WRITE_ONCE(xa->head, node);
}

static struct xa_node *find_leaf(const struct xarray *xa, unsigned long index)
{
	struct xa_node *node = xa->head;

	if (!node || index > node_max(node))
		return nullptr;
	while (node && node->shift)
		node = to_node(node->slots[slot_of(node, index)]);
	return node;
}

static void mark_used(struct xa_node *node, unsigned int slot)
{
	node->free &= ~BIT_ULL(slot);
	while (!node->free && node->parent) {
		slot = node->offset;
		node = node->parent;
		node->free &= ~BIT_ULL(slot);
	}
}

static void mark_free(struct xa_node *node, unsigned int slot)
{
	for (;;) {
		u64 before = node->free;

		node->free |= BIT_ULL(slot);
		if (before || !node->parent)
			return;
		slot = node->offset;
		node = node->parent;
	}
}

// Frees @node and its ancestors as far as they are empty.
static void prune(struct xarray *xa, struct xa_node *node)
{
	while (node && !node->count) {
		struct xa_node *parent = node->parent;

		if (parent) {
			parent->slots[node->offset] = nullptr;
			parent->count--;
		} else {
			set_head(xa, nullptr);
		}
		kfree(node);
		node = parent;
	}
}

static struct xa_node *new_node(unsigned int shift, const src_loc &where)
{
	// The kernel may drop the lock and sleep for this; a node here comes at once or not at all.
	struct xa_node *node =
		static_cast<struct xa_node *>(kzalloc(sizeof(*node), GFP_NOWAIT, where));

	if (node) {
		node->shift = (u8)shift;
		node->free = ~0ULL;
	}
	return node;
}

static struct xa_node *make_leaf(struct xarray *xa, unsigned long index, const src_loc &where)
{
	struct xa_node *node = xa->head;

	if (!node) {
		unsigned int shift = 0;

		while (shift + XA_CHUNK_SHIFT < BITS_PER_LONG && index >> (shift + XA_CHUNK_SHIFT))
			shift += XA_CHUNK_SHIFT;
		node = new_node(shift, where);
		if (!node)
			return nullptr;
		set_head(xa, node);
	}
	while (index > node_max(node)) {
		struct xa_node *up = new_node(node->shift + XA_CHUNK_SHIFT, where);

		if (!up)
			return nullptr;
		up->slots[0] = node;
		up->count = 1;
		if (!node->free)
			up->free &= ~1ULL;
		node->parent = up;
		set_head(xa, up);
		node = up;
	}
	while (node->shift) {
		unsigned int slot = slot_of(node, index);
		struct xa_node *child = to_node(node->slots[slot]);

		if (!child) {
			child = new_node(node->shift - XA_CHUNK_SHIFT, where);
			if (!child) {
				prune(xa, node);
				return nullptr;
			}
			child->offset = (u8)slot;
			child->parent = node;
			node->slots[slot] = child;
			node->count++;
		}
		node = child;
	}
	return node;
}

// Puts @entry (NULL empties) and returns what was there, both as they are.
static void *store_raw(struct xarray *xa, unsigned long index, void *entry, const src_loc &where)
{
	struct xa_node *node = find_leaf(xa, index);
	unsigned int slot = index & XA_CHUNK_MASK;

	if (!node) {
		if (!entry)
			return nullptr;
		node = make_leaf(xa, index, where);
		if (!node)
			return xa_mk_err(-ENOMEM);
	}
	void *old = node->slots[slot];

	node->slots[slot] = entry;
	if (entry && !old) {
		node->count++;
		mark_used(node, slot);
	} else if (!entry && old) {
		node->count--;
		mark_free(node, slot);
		prune(xa, node);
	}
	return old;
}

static void *load_raw(const struct xarray *xa, unsigned long index)
{
	const struct xa_node *node = find_leaf(xa, index);

	return node ? node->slots[index & XA_CHUNK_MASK] : nullptr;
}

// The lowest free index below @node at or after @from, which is below it. @base: @node's first
// index. False when all are taken.
static bool find_free(const struct xa_node *node, unsigned long base, unsigned long from,
		      unsigned long *index)
{
	unsigned int first = slot_of(node, from);

	for (u64 m = node->free & (~0ULL << first); m; m &= m - 1) {
		unsigned int slot = __ffs(m);
		unsigned long start = base | ((unsigned long)slot << node->shift);
		const struct xa_node *child = node->shift ? to_node(node->slots[slot]) : nullptr;

		start = max(start, from);
		if (!child) {
			*index = start;
			return true;
		}
		if (find_free(child, base | ((unsigned long)slot << node->shift), start, index))
			return true;
	}
	return false;
}

void *xa_load_raw(const struct xarray *xa, unsigned long index)
{
	xa_reader r(xa);

	return load_raw(xa, index);
}

void *xa_load(const struct xarray *xa, unsigned long index)
{
	return zero_entry_to_null(xa_load_raw(xa, index));
}

static void *find_from(const struct xarray *xa, unsigned long *indexp, unsigned long max_index)
{
	unsigned long index = *indexp;
	const struct xa_node *node = xa->head;

	while (node && index <= max_index && index <= node_max(xa->head)) {
		unsigned int slot = slot_of(node, index);

		if (!node->shift) {
			for (u64 m = ~node->free & (~0ULL << slot); m; m &= m - 1) {
				void *entry = node->slots[__ffs(m)];

				if (xa_is_zero(entry))
					continue;
				index = (index & ~XA_CHUNK_MASK) | __ffs(m);
				if (index > max_index)
					return nullptr;
				*indexp = index;
				return entry;
			}
		} else if (node->slots[slot]) {
			node = to_node(node->slots[slot]);
			continue;
		} else {
			while (slot < XA_CHUNK_SIZE && !node->slots[slot])
				slot++;
			if (slot < XA_CHUNK_SIZE) {
				index &= ~node_max(node);
				index |= (unsigned long)slot << node->shift;
				continue;
			}
		}
		// Nothing more below this node: go on behind it, from the top.
		index |= node_max(node);
		if (!++index)
			return nullptr;
		node = xa->head;
	}
	return nullptr;
}

void *xa_find(const struct xarray *xa, unsigned long *index, unsigned long max_index)
{
	xa_reader r(xa);

	return find_from(xa, index, max_index);
}

void *xa_find_after(const struct xarray *xa, unsigned long *index, unsigned long max_index)
{
	unsigned long next = *index + 1;

	if (!next)
		return nullptr;
	xa_reader r(xa);
	void *entry = find_from(xa, &next, max_index);

	if (entry)
		*index = next;
	return entry;
}

void *__xa_store_raw(struct xarray *xa, unsigned long index, void *entry, gfp_t,
		     const src_loc &where)
{
	return store_raw(xa, index, entry, where);
}

void *__xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t, const src_loc &where)
{
	return zero_entry_to_null(store_raw(xa, index, null_to_zero_entry(xa, entry), where));
}

void *__xa_erase(struct xarray *xa, unsigned long index)
{
	return zero_entry_to_null(store_raw(xa, index, nullptr, src_loc::current()));
}

void *__xa_cmpxchg(struct xarray *xa, unsigned long index, void *old, void *entry, gfp_t,
		   const src_loc &where)
{
	void *found = load_raw(xa, index);

	if (found == old) {
		void *err = store_raw(xa, index, entry, where);

		if (xa_is_err(err))
			return err;
	}
	return zero_entry_to_null(found);
}

int __xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t, const src_loc &where)
{
	if (load_raw(xa, index))
		return -EBUSY;
	return xa_err(store_raw(xa, index, entry ? entry : XA_ZERO_ENTRY, where));
}

int __xa_alloc(struct xarray *xa, u32 *id, void *entry, struct xa_limit limit, gfp_t,
	       const src_loc &where)
{
	unsigned long index = limit.min;

	if (WARN_ON_ONCE(!(xa->flags & (XA_FLAGS_ALLOC | XA_FLAGS_ALLOC1))))
		return -EINVAL;
	if ((xa->flags & XA_FLAGS_ALLOC1) && !index)
		index = 1;
	// When the tree is full the next index is the first one behind it.
	if (xa->head && index <= node_max(xa->head) && !find_free(xa->head, 0, index, &index)) {
		index = node_max(xa->head) + 1;
		if (!index)
			return -EBUSY;
	}
	if (index > limit.max)
		return -EBUSY;
	int rc = xa_err(store_raw(xa, index, entry ? entry : XA_ZERO_ENTRY, where));

	if (!rc)
		*id = (u32)index;
	return rc;
}

void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp, const src_loc &where)
{
	might_alloc(gfp, where);
	xa_guard g(xa, where);
	return __xa_store(xa, index, entry, gfp, where);
}

void *xa_erase(struct xarray *xa, unsigned long index, const src_loc &where)
{
	xa_guard g(xa, where);
	return __xa_erase(xa, index);
}

void *xa_cmpxchg(struct xarray *xa, unsigned long index, void *old, void *entry, gfp_t gfp,
		 const src_loc &where)
{
	might_alloc(gfp, where);
	xa_guard g(xa, where);
	return __xa_cmpxchg(xa, index, old, entry, gfp, where);
}

int xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp, const src_loc &where)
{
	might_alloc(gfp, where);
	xa_guard g(xa, where);
	return __xa_insert(xa, index, entry, gfp, where);
}

int xa_alloc(struct xarray *xa, u32 *id, void *entry, struct xa_limit limit, gfp_t gfp,
	     const src_loc &where)
{
	might_alloc(gfp, where);
	xa_guard g(xa, where);
	return __xa_alloc(xa, id, entry, limit, gfp, where);
}

int xa_reserve(struct xarray *xa, unsigned long index, gfp_t gfp, const src_loc &where)
{
	might_alloc(gfp, where);
	xa_guard g(xa, where);
	return load_raw(xa, index) ? 0 : xa_err(store_raw(xa, index, XA_ZERO_ENTRY, where));
}

void xa_release(struct xarray *xa, unsigned long index, const src_loc &where)
{
	xa_guard g(xa, where);
	if (xa_is_zero(load_raw(xa, index)))
		store_raw(xa, index, nullptr, where);
}

static void free_tree(struct xa_node *node)
{
	if (node->shift)
		for (void *slot : node->slots)
			if (slot)
				free_tree(to_node(slot));
	kfree(node);
}

void xa_destroy(struct xarray *xa, const src_loc &where)
{
	struct xa_node *head;
	{
		xa_guard g(xa, where);
		head = xa->head;
		set_head(xa, nullptr);
	}
	if (head)
		free_tree(head);
}

xarray::~xarray()
{
	if (head)
		free_tree(head);
}
