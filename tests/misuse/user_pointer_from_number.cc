// SPDX-License-Identifier: GPL-2.0-or-later
// expect: no matching function for call to 'g'
//
// A number becomes a user pointer where the code says so.
#include "core/linux/uaccess.h"

int g(user_in<u32> p, u32 *v);

int f(u64 va, u32 *v)
{
#ifdef MISUSE
	return g(va, v);
#else
	return g(user_in<u32>(va), v);
#endif
}
