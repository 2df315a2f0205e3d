// SPDX-License-Identifier: GPL-2.0-or-later
// expect: its padding would leak
//
// The hole between two members holds whatever the kernel's stack held.
#include "core/linux/uaccess.h"

struct info {
	u32 a;
#ifndef MISUSE
	u32 reserved;
#endif
	u64 b;
};

int f(user_out<struct info> p)
{
	struct info info = {};

	return p.copy_to_user(info);
}
