// SPDX-License-Identifier: GPL-2.0-or-later
//
// User memory off the fast path. Stands in for lib/usercopy.c, Linux v7.2.
#include "core/linux/uaccess.h"

#include "core/linux/fault-inject.h"
#include "core/linux/lockdep.h"

// Every access to user memory may sleep for a page.
static void might_fault(const src_loc &where)
{
	might_sleep(where);
	sched_point();
}

// A block copy is a fault site; a scalar, a clear and a check are none. Compare
// should_fail_usercopy().
static bool pre_copy(const src_loc &where)
{
	might_fault(where);
	return should_fail(FAULT_USERCOPY, where);
}

int __copy_from_user_slow(void *dst, u64 addr, size_t n, const src_loc &where)
{
	if (pre_copy(where))
		return -EFAULT;
	return current->mm->user_ops->copy_from_user(current->mm, dst, addr, n) ? -EFAULT : 0;
}

int __copy_to_user_slow(u64 addr, const void *src, size_t n, const src_loc &where)
{
	if (pre_copy(where))
		return -EFAULT;
	return current->mm->user_ops->copy_to_user(current->mm, addr, src, n) ? -EFAULT : 0;
}

int __get_user(void *dst, u64 addr, size_t n, const src_loc &where)
{
	if (unlikely(current->instrument))
		might_fault(where);
	return current->mm->user_ops->copy_from_user(current->mm, dst, addr, n) ? -EFAULT : 0;
}

int __put_user(u64 addr, const void *src, size_t n, const src_loc &where)
{
	if (unlikely(current->instrument))
		might_fault(where);
	return current->mm->user_ops->copy_to_user(current->mm, addr, src, n) ? -EFAULT : 0;
}

int __clear_user(u64 addr, size_t n, const src_loc &where)
{
	if (unlikely(current->instrument))
		might_fault(where);
	return current->mm->user_ops->clear_user(current->mm, addr, n) ? -EFAULT : 0;
}

int check_zeroed_user(user_in<void> from, size_t n, const src_loc &where)
{
	u8 buf[256];

	if (unlikely(current->instrument))
		might_fault(where);
	while (n) {
		size_t len = min(n, sizeof(buf));

		if (current->mm->user_ops->copy_from_user(current->mm, buf, from.addr(), len))
			return -EFAULT;
		for (size_t i = 0; i < len; i++)
			if (buf[i])
				return 0;
		from = from + len;
		n -= len;
	}
	return 1;
}

int __copy_struct_from_user_sized(void *dst, size_t ksize, user_in<void> src, size_t usize,
				  const src_loc &where)
{
	if (usize < ksize) {
		memset((u8 *)dst + usize, 0, ksize - usize);
	} else if (usize > ksize) {
		int rc = check_zeroed_user(src + ksize, usize - ksize, where);

		if (rc <= 0)
			return rc ? rc : -E2BIG;
	}
	return __copy_from_user(dst, src.addr(), min(ksize, usize), where);
}
