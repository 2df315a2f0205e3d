// SPDX-License-Identifier: GPL-2.0-or-later
// expect: member reference type .* is not a pointer
//
// Nor with an arrow.
#include "core/linux/uaccess.h"

struct two {
	u32 a;
	u32 b;
};

int f(user_in<struct two> p, u32 *v)
{
#ifdef MISUSE
	*v = p->b;
	return 0;
#else
	return p.field<&two::b>().copy_from_user(v);
#endif
}
