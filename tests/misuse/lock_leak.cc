// SPDX-License-Identifier: GPL-2.0-or-later
// expect: mutex .*ioas->mutex.* is not held on every path through here
//
// A return between lock and unlock.
#include "core/iommufd/iommufd_private.h"

int f(struct iommufd_ioas *ioas, bool bad)
{
	mutex_lock(&ioas->mutex);
#ifdef MISUSE
	if (bad)
		return -EOPNOTSUPP;
	mutex_unlock(&ioas->mutex);
	return 0;
#else
	mutex_unlock(&ioas->mutex);
	return bad ? -EOPNOTSUPP : 0;
#endif
}
