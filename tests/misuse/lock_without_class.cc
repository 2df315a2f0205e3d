// SPDX-License-Identifier: GPL-2.0-or-later
// expect: no matching constructor for initialization of 'struct mutex'
//
// A lock that lockdep could not name.
#include "core/linux/mutex.h"

void f()
{
#ifdef MISUSE
	struct mutex lock;
#else
	struct mutex lock{LOCK_CLASS(f, lock)};
#endif
	mutex_guard guard(&lock);
}
