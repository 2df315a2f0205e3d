// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/slab.h, Linux v7.2. CUSTOMISED: malloc() of the host, bounded by
// kernel_options::max_kmalloc (NULL above it), each allocation a fault site and counted.
// kzalloc_obj() constructs a C++ object in zeroed memory; kfree_obj() destroys it.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/linux/kernel.h"
#include "core/linux/lockdep.h"

// Reports a sleeping allocation under a spinlock; true when the allocation must fail.
bool __slab_pre_alloc(gfp_t gfp, const src_loc &where);

static inline void __slab_account(long n)
{
	std::atomic<long> *live = &current->slab_live;

	live->store(live->load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

#define __SLAB_SMALL 1024

static inline void *__slab_zalloc(size_t size, size_t limit, gfp_t gfp, const src_loc &where)
{
	if (unlikely(current->instrument) && __slab_pre_alloc(gfp, where))
		return nullptr;
	if (unlikely(size > limit))
		return nullptr;
	void *p;

	// The host's malloc() has a fast path for small blocks that its calloc() has not; a large
	// calloc() gets zeroed pages for nothing.
	if (likely(size <= __SLAB_SMALL)) {
		p = malloc(size ? size : 1);
		if (likely(p))
			memset(p, 0, size);
	} else {
		p = calloc(1, size);
	}
	if (likely(p))
		__slab_account(1);
	return p;
}

void *__slab_alloc(size_t size, size_t limit, gfp_t gfp, const src_loc &where);

[[nodiscard]] static inline void *kzalloc(size_t size, gfp_t gfp,
					  const src_loc &where = src_loc::current())
{
	return __slab_zalloc(size, current->kernel->opts.max_kmalloc, gfp, where);
}

[[nodiscard]] static inline void *kmalloc(size_t size, gfp_t gfp,
					  const src_loc &where = src_loc::current())
{
	return __slab_alloc(size, current->kernel->opts.max_kmalloc, gfp, where);
}

[[nodiscard]] static inline void *kcalloc(size_t n, size_t size, gfp_t gfp,
					  const src_loc &where = src_loc::current())
{
	return kzalloc(size_mul(n, size), gfp, where);
}

[[nodiscard]] static inline void *kvzalloc(size_t size, gfp_t gfp,
					   const src_loc &where = src_loc::current())
{
	return __slab_zalloc(size, current->kernel->opts.max_kvmalloc, gfp, where);
}

[[nodiscard]] static inline void *kvcalloc(size_t n, size_t size, gfp_t gfp,
					   const src_loc &where = src_loc::current())
{
	return kvzalloc(size_mul(n, size), gfp, where);
}

// On failure the old block stays. Compare krealloc().
[[nodiscard]] void *krealloc(void *p, size_t size, gfp_t gfp,
			     const src_loc &where = src_loc::current());
[[nodiscard]] void *kmemdup(const void *src, size_t len, gfp_t gfp,
			    const src_loc &where = src_loc::current());
[[nodiscard]] char *kstrdup(const char *s, gfp_t gfp, const src_loc &where = src_loc::current());

// NULL is fine.
static inline void kfree(const void *p)
{
	if (p)
		__slab_account(-1);
	free(const_cast<void *>(p));
}

static inline void kvfree(const void *p)
{
	kfree(p);
}

template <class T, class... Args>
static inline T *__kzalloc_obj(const src_loc &where, Args &&...args)
{
	static_assert(alignof(T) <= alignof(std::max_align_t));
	void *p = kzalloc(sizeof(T), GFP_KERNEL, where);

	return likely(p) ? new (p) T(std::forward<Args>(args)...) : nullptr;
}

// A T in zeroed memory, constructed from no, one or two arguments (a pack would leave no room for
// @where), or NULL.
template <class T>
[[nodiscard]] static inline T *kzalloc_obj(const src_loc &where = src_loc::current())
{
	return __kzalloc_obj<T>(where);
}

template <class T, class A>
[[nodiscard]] static inline T *kzalloc_obj(A &&a, const src_loc &where = src_loc::current())
{
	return __kzalloc_obj<T>(where, std::forward<A>(a));
}

template <class T, class A, class B>
[[nodiscard]] static inline T *kzalloc_obj(A &&a, B &&b, const src_loc &where = src_loc::current())
{
	return __kzalloc_obj<T>(where, std::forward<A>(a), std::forward<B>(b));
}

// @p is of its full (dynamic) type, or NULL.
template <class T> static inline void kfree_obj(T *p)
{
	if (!p)
		return;
	p->~T();
	kfree(p);
}

// @n zeroed elements of a type that needs no constructor, or NULL.
template <class T>
[[nodiscard]] static inline T *kvcalloc_array(size_t n, gfp_t gfp = GFP_KERNEL,
					      const src_loc &where = src_loc::current())
{
	static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>);
	return static_cast<T *>(kvcalloc(n, sizeof(T), gfp, where));
}

template <class T> static inline void kvfree_array(T *p)
{
	kvfree(p);
}
