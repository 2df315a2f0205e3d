// SPDX-License-Identifier: GPL-2.0-or-later
// expect: 'hwpt_list' requires holding mutex 'ioas->mutex'
//
// A field that says who guards it, touched without the guard.
#include "core/iommufd/iommufd_private.h"

bool f(struct iommufd_ioas *ioas)
{
#ifndef MISUSE
	mutex_guard guard(&ioas->mutex);
#endif
	return list_empty(&ioas->hwpt_list);
}
