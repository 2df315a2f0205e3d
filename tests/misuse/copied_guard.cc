// SPDX-License-Identifier: GPL-2.0-or-later
// expect: call to deleted constructor of 'mutex_guard'
//
// A guard that would unlock twice.
#include "core/linux/mutex.h"

void f(struct mutex *m)
{
	mutex_guard guard(m);
#ifdef MISUSE
	mutex_guard copy(guard);
#endif
}
