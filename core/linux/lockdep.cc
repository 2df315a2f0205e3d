// SPDX-License-Identifier: GPL-2.0-or-later
//
// Lock classes and their order. Stands in for kernel/locking/lockdep.c, Linux v7.2: the contract is
// that of lockdep.h. An edge A -> B says that B was taken while A was held; a new edge that closes
// a circle is an inversion. Known edges are found without a lock, so a warm kernel pays a few loads
// for each lock held.
#include "core/linux/lockdep_state.h"

#include <cstdarg>
#include <cstdio>

#include "core/linux/bug.h"
#include "core/linux/kernel.h"
#include "core/linux/lockdep.h"

static const char *base_name(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash ? slash + 1 : file;
}

// Text that grows up to its limit.
struct report {
	char text[4096];
	size_t len = 0;

	void add(const char *fmt, ...) __printf(2, 3)
	{
		va_list ap;

		va_start(ap, fmt);
		int n = vsnprintf(text + len, sizeof(text) - len, fmt, ap);
		va_end(ap);
		len = min(len + (size_t)max(n, 0), sizeof(text) - 1);
	}
};

static void add_where(struct report *r, const src_loc &w)
{
	r->add("%s:%u (%s)", base_name(w.file_name()), (unsigned int)w.line(), w.function_name());
}

static void add_class(struct report *r, const struct lockdep_state *ld, u16 idx)
{
	const struct lockdep_state::lock_class *c = &ld->classes[idx];

	if (c->subclass)
		r->add("%s/%u", c->key->name, c->subclass);
	else
		r->add("%s", c->key->name);
}

static const char *mode_name(lock_mode mode)
{
	return mode == LOCK_SHARED ? "read" : "write";
}

static void add_held(struct report *r, const struct lockdep_state *ld, const struct task_struct *t)
{
	if (!t->lockdep_depth)
		r->add("%s/%d holds no lock.\n", t->comm, t->pid);
	else
		r->add("%s/%d holds:\n", t->comm, t->pid);
	for (int i = 0; i < t->lockdep_depth; i++) {
		const struct held_lock *h = &t->held_locks[i];

		r->add("  #%d ", i);
		add_class(r, ld, h->class_idx);
		r->add(" (%s), taken at ", mode_name(h->mode));
		add_where(r, h->where);
		r->add("\n");
	}
}

static void emit(struct report *r, struct task_struct *t)
{
	if (r->len && r->text[r->len - 1] == '\n')
		r->text[--r->len] = 0;
	t->lockdep_silent = true;
	kernel_printk(t->kernel, LOGLEVEL_ERR, "%s", r->text);
	__warn_counted(t->kernel);
}

// The index of (@key, @subclass), which is entered when it is new; -1 when there are too many.
static int class_index(struct lockdep_state *ld, const lock_class_key *key, unsigned int subclass)
{
	static_assert(alignof(lock_class_key) >= 8);
	uintptr_t id = (uintptr_t)key | (subclass & 7);
	u64 hash = ((u64)id >> 3) * 0x9e3779b97f4a7c15ULL + subclass * 0xbf58476d1ce4e5b9ULL;
	u32 pos = (u32)(hash >> 40) % lockdep_state::HASH;

	for (u32 n = 0; n < lockdep_state::HASH; n++, pos = (pos + 1) % lockdep_state::HASH) {
		uintptr_t seen = ld->hash[pos].load(std::memory_order_acquire);

		if (seen == id)
			return ld->hash_idx[pos];
		if (seen)
			continue;
		raw_guard g(&ld->lock);
		seen = ld->hash[pos].load(std::memory_order_relaxed);
		if (seen == id)
			return ld->hash_idx[pos];
		if (seen)
			continue;
		if (ld->nr_classes == lockdep_state::CLASSES)
			return -1;
		ld->classes[ld->nr_classes] = {key, (u8)subclass};
		ld->hash_idx[pos] = ld->nr_classes++;
		ld->hash[pos].store(id, std::memory_order_release);
		return ld->hash_idx[pos];
	}
	return -1;
}

static bool has_edge(const struct lockdep_state *ld, int from, int to)
{
	return ld->edges[from][to / 64].load(std::memory_order_relaxed) & BIT_ULL(to % 64);
}

// The shortest way @from -> ... -> @to as class indices in @path; its length in nodes, 0 when there
// is none.
static int find_path(const struct lockdep_state *ld, int from, int to, u16 *path)
{
	u16 queue[lockdep_state::CLASSES], parent[lockdep_state::CLASSES];
	u64 seen[lockdep_state::CLASSES / 64] = {};
	int head = 0, tail = 0, n = 0;

	queue[tail++] = (u16)from;
	seen[from / 64] |= BIT_ULL(from % 64);
	while (head < tail) {
		int c = queue[head++];

		if (c == to) {
			u16 rev[lockdep_state::CLASSES];

			for (; c != from; c = parent[c])
				rev[n++] = (u16)c;
			rev[n++] = (u16)from;
			for (int i = 0; i < n; i++)
				path[i] = rev[n - 1 - i];
			return n;
		}
		for (int w = 0; w < lockdep_state::CLASSES / 64; w++) {
			u64 next = ld->edges[c][w].load(std::memory_order_relaxed) & ~seen[w];

			seen[w] |= next;
			for (; next; next &= next - 1) {
				int d = w * 64 + (int)__ffs(next);

				parent[d] = (u16)c;
				queue[tail++] = (u16)d;
			}
		}
	}
	return 0;
}

static void add_edge_story(struct report *r, struct lockdep_state *ld, int from, int to)
	__must_hold(&ld->lock)
{
	for (const struct lockdep_state::edge &e : ld->stories) {
		if (e.from != from || e.to != to)
			continue;
		r->add("  ");
		add_class(r, ld, e.to);
		r->add(" was taken at ");
		add_where(r, e.to_where);
		r->add("\n    while ");
		add_class(r, ld, e.from);
		r->add(" was held since ");
		add_where(r, e.from_where);
		r->add(", by %s/%d\n", e.comm, e.pid);
		return;
	}
}

// A report has its text on the stack, which asan marks at each entry of the function that has it.
// So what every lock passes is apart from what reports.
#define REPORTS [[gnu::cold, gnu::noinline]]

// @held is held while class @to is about to be taken, for the first time. Reports when that order
// closes a circle.
REPORTS static void note_new_order(struct lockdep_state *ld, struct task_struct *t,
				   const struct held_lock *held, int to, lock_mode mode,
				   const src_loc &where)
{
	int from = held->class_idx;
	struct report r;

	{
		raw_guard g(&ld->lock);
		u16 path[lockdep_state::CLASSES];

		if (has_edge(ld, from, to))
			return;
		int n = find_path(ld, to, from, path);

		ld->edges[from][to / 64].fetch_or(BIT_ULL(to % 64), std::memory_order_relaxed);
		struct lockdep_state::edge e = {(u16)from, (u16)to, t->pid, {}, held->where, where};

		memcpy(e.comm, t->comm, sizeof(e.comm));
		ld->stories.push_back(e);
		if (!n || t->lockdep_silent)
			return;
		r.add("lockdep: inversion: %s/%d takes ", t->comm, t->pid);
		add_class(&r, ld, to);
		r.add(" (%s) at ", mode_name(mode));
		add_where(&r, where);
		r.add("\nwhile it holds ");
		add_class(&r, ld, from);
		r.add(" (%s) since ", mode_name(held->mode));
		add_where(&r, held->where);
		r.add(".\nThe other order came before:\n");
		for (int i = 0; i + 1 < n; i++)
			add_edge_story(&r, ld, path[i], path[i + 1]);
	}
	add_held(&r, ld, t);
	emit(&r, t);
}

static void note_order(struct lockdep_state *ld, struct task_struct *t,
		       const struct held_lock *held, int to, lock_mode mode, const src_loc &where)
{
	if (unlikely(!has_edge(ld, held->class_idx, to)))
		note_new_order(ld, t, held, to, mode, where);
}

static const struct held_lock *held_spinlock(const struct task_struct *t)
{
	for (int i = t->lockdep_depth; i-- > 0;)
		if (t->held_locks[i].kind == LOCK_SPINS)
			return &t->held_locks[i];
	return nullptr;
}

REPORTS static void report_sleep(struct task_struct *t, const struct held_lock *h,
				 const src_loc &where)
{
	struct lockdep_state *ld = t->kernel->lockdep.get();
	struct report r;

	r.add("lockdep: sleeps under a spinlock: %s/%d may sleep at ", t->comm, t->pid);
	add_where(&r, where);
	r.add("\nwhile it holds ");
	add_class(&r, ld, h->class_idx);
	r.add(" since ");
	add_where(&r, h->where);
	r.add(".\n");
	add_held(&r, ld, t);
	emit(&r, t);
}

void __might_sleep(const src_loc &where)
{
	struct task_struct *t = current;
	const struct held_lock *h = held_spinlock(t);

	if (unlikely(h) && !t->lockdep_silent)
		report_sleep(t, h, where);
}

// A lock of class @idx is about to be taken while @h, of the same class, is held.
REPORTS static void report_recursion(struct task_struct *t, const struct held_lock *h,
				     const struct lockdep_map *map, int idx, lock_mode mode,
				     const src_loc &where)
{
	struct lockdep_state *ld = t->kernel->lockdep.get();
	struct report r;

	r.add("lockdep: recursion: %s/%d takes ", t->comm, t->pid);
	add_class(&r, ld, (u16)idx);
	r.add(" (%s) at ", mode_name(mode));
	add_where(&r, where);
	r.add("\nwhile it holds %s of that class (%s) since ",
	      h->map == map ? "the same lock" : "another lock", mode_name(h->mode));
	add_where(&r, h->where);
	r.add(".\n");
	add_held(&r, ld, t);
	emit(&r, t);
}

void lock_acquire(const struct lockdep_map *map, unsigned int subclass, lock_mode mode,
		  lock_kind kind, bool trylock, const struct lockdep_map *nest,
		  const src_loc &where)
{
	struct task_struct *t = current;
	struct lockdep_state *ld = t->kernel->lockdep.get();

	if (kind == LOCK_SLEEPS && !trylock)
		__might_sleep(where);

	int idx = class_index(ld, map->key, subclass);
	struct held_lock *last = t->lockdep_depth ? &t->held_locks[t->lockdep_depth - 1] : nullptr;

	/* any number of them takes one place */
	if (nest && last && last->class_idx == idx && last->map != map && last->mode == mode &&
	    lock_held(nest) >= 0) {
		last->several = true;
		last->more++;
		return;
	}
	if (unlikely(idx < 0 || t->lockdep_depth == MAX_LOCK_DEPTH)) {
		WARN_ONCE(!t->lockdep_silent, "lockdep: too many lock classes, or locks held");
		t->lockdep_silent = true;
		return;
	}
	for (int i = 0; i < t->lockdep_depth && !trylock; i++) {
		const struct held_lock *h = &t->held_locks[i];

		if (h->class_idx != idx) {
			note_order(ld, t, h, idx, mode, where);
			continue;
		}
		if (h->map != map && nest && lock_held(nest) >= 0)
			continue;
		if (!t->lockdep_silent)
			report_recursion(t, h, map, idx, mode, where);
	}
	new (&t->held_locks[t->lockdep_depth++])
		held_lock{map, where, (u16)idx, (u8)subclass, mode, kind};
}

// -1 when @map is not held by @t. Of several that share a place any of the class will do.
static int held_position(const struct task_struct *t, const struct lockdep_map *map)
{
	const struct lockdep_state *ld = t->kernel->lockdep.get();

	for (int i = t->lockdep_depth; i-- > 0;)
		if (t->held_locks[i].map == map)
			return i;
	for (int i = t->lockdep_depth; i-- > 0;)
		if (t->held_locks[i].several &&
		    ld->classes[t->held_locks[i].class_idx].key == map->key)
			return i;
	return -1;
}

REPORTS static void report_not_held(const struct lockdep_map *map, const char *what,
				    const src_loc &where)
{
	struct task_struct *t = current;
	struct report r;

	if (t->lockdep_silent)
		return;
	r.add("lockdep: %s: %s/%d at ", what, t->comm, t->pid);
	add_where(&r, where);
	r.add(": %s\n", map->key->name);
	add_held(&r, t->kernel->lockdep.get(), t);
	emit(&r, t);
}

void lock_release(const struct lockdep_map *map, const src_loc &where)
{
	struct task_struct *t = current;
	int i = held_position(t, map);

	if (unlikely(i < 0)) {
		report_not_held(map, "gives back a lock that is not held", where);
		return;
	}
	if (t->held_locks[i].more) {
		t->held_locks[i].more--;
		return;
	}
	t->lockdep_depth--;
	for (; i < t->lockdep_depth; i++)
		t->held_locks[i] = t->held_locks[i + 1];
}

void lock_downgrade(const struct lockdep_map *map, const src_loc &where)
{
	int i = held_position(current, map);

	if (i < 0 || current->held_locks[i].mode != LOCK_EXCLUSIVE) {
		report_not_held(map, "downgrades a lock that is not held for writing", where);
		return;
	}
	current->held_locks[i].mode = LOCK_SHARED;
}

int lock_held(const struct lockdep_map *map)
{
	int i = held_position(current, map);

	return i < 0 ? -1 : current->held_locks[i].mode;
}

void lockdep_report_assert(const struct lockdep_map *map, const char *what, const src_loc &where)
{
	char text[64];

	snprintf(text, sizeof(text), "assertion: the lock %s", what);
	report_not_held(map, text, where);
}

REPORTS static void report_still_held(struct task_struct *t, unsigned int depth)
{
	struct report r;

	r.add("lockdep: still held at return: %s/%d leaves the kernel with %u lock(s).\n", t->comm,
	      t->pid, t->lockdep_depth - depth);
	add_held(&r, t->kernel->lockdep.get(), t);
	t->lockdep_depth = (u16)depth;
	emit(&r, t);
}

void lockdep_check_return(unsigned int depth)
{
	struct task_struct *t = current;

	if (likely(t->lockdep_depth <= depth))
		return;
	if (!t->lockdep_silent)
		report_still_held(t, depth);
	t->lockdep_depth = (u16)depth;
}
