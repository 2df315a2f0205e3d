// SPDX-License-Identifier: GPL-2.0-or-later
// expect: ignoring return value of function declared with 'nodiscard'
//
// A copy to user memory may fail.
#include "core/linux/uaccess.h"

int f(user_out<u32> p)
{
#ifdef MISUSE
	p.copy_to_user(1u);
	return 0;
#else
	return p.copy_to_user(1u);
#endif
}
