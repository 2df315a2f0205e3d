// SPDX-License-Identifier: GPL-2.0-or-later
// expect: return int -errno and an out parameter
//
// A number and an errno in one result could not be told apart.
#include "core/linux/err.h"

#ifdef MISUSE
int f(result<u32> r)
{
	return r.error();
}
#else
int f(result<u32 *> r)
{
	return r.error();
}
#endif
