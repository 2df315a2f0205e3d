// SPDX-License-Identifier: GPL-2.0-or-later
// expect: acquiring mutex 'ioas->mutex' that is already held
//
// A lock taken twice.
#include "core/iommufd/iommufd_private.h"

bool f(struct iommufd_ioas *ioas)
{
	mutex_guard guard(&ioas->mutex);
#ifdef MISUSE
	mutex_guard again(&ioas->mutex);
#endif
	return list_empty(&ioas->hwpt_list);
}
