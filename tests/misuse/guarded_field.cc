// SPDX-License-Identifier: GPL-2.0-or-later
// expect: reading variable 'ioas' requires holding mutex 'access->ioas_lock'
//
// A field that says who guards it, touched without the guard.
#include "core/iommufd/iommufd_private.h"

bool f(struct iommufd_access *access)
{
#ifndef MISUSE
	mutex_guard guard(&access->ioas_lock);
#endif
	return access->ioas != nullptr;
}
