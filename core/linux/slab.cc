// SPDX-License-Identifier: GPL-2.0-or-later
//
// Allocation off the fast path. Stands in for mm/slub.c, Linux v7.2.
#include "core/linux/slab.h"

bool __slab_pre_alloc(gfp_t gfp, const src_loc &where)
{
	might_alloc(gfp, where);
	sched_point();
	return should_fail(FAULT_SLAB, where);
}

void *__slab_alloc(size_t size, size_t limit, gfp_t gfp, const src_loc &where)
{
	if (gfp & __GFP_ZERO)
		return __slab_zalloc(size, limit, gfp, where);
	if (unlikely(current->instrument) && __slab_pre_alloc(gfp, where))
		return nullptr;
	if (unlikely(size > limit))
		return nullptr;
	void *p = malloc(size ? size : 1);

	if (unlikely(!p))
		return nullptr;
	if (current->kernel->opts.poison)
		memset(p, 0x5a, size);
	__slab_account(1);
	return p;
}

void *krealloc(void *p, size_t size, gfp_t gfp, const src_loc &where)
{
	if (!p)
		return kmalloc(size, gfp, where);
	if (!size) {
		kfree(p);
		return nullptr;
	}
	if (unlikely(current->instrument) && __slab_pre_alloc(gfp, where))
		return nullptr;
	return size > current->kernel->opts.max_kmalloc ? nullptr : realloc(p, size);
}

void *kmemdup(const void *src, size_t len, gfp_t gfp, const src_loc &where)
{
	void *p = kmalloc(len, gfp, where);

	if (p)
		memcpy(p, src, len);
	return p;
}

char *kstrdup(const char *s, gfp_t gfp, const src_loc &where)
{
	return static_cast<char *>(kmemdup(s, strlen(s) + 1, gfp, where));
}
