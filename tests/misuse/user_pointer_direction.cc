// SPDX-License-Identifier: GPL-2.0-or-later
// expect: no matching member function for call to 'copy_to_user'
//
// What the user gave to be read is not written to.
#include "core/linux/uaccess.h"

#ifdef MISUSE
int f(user_in<u32> p)
#else
int f(user_out<u32> p)
#endif
{
	return p.copy_to_user(1u);
}
