// SPDX-License-Identifier: GPL-2.0-or-later
// expect: indirection requires pointer operand
//
// User memory is reached by a copy, never through its pointer.
#include "core/linux/uaccess.h"

int f(user_in<u32> p, u32 *v)
{
#ifdef MISUSE
	*v = *p;
	return 0;
#else
	return p.copy_from_user(v);
#endif
}
