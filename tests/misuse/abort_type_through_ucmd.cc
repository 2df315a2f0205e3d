// SPDX-License-Identifier: GPL-2.0-or-later
// expect: its abort needs the caller's lock
//
// The dispatcher aborts what a ucmd owns, after the handler gave its locks back. A HWPT's abort
// needs ioas->mutex.
#include "core/iommufd/iommufd_private.h"

int f(struct iommufd_ucmd *ucmd)
{
#ifdef MISUSE
	auto obj = iommufd_object_alloc_ucmd<struct iommufd_hwpt_paging>(ucmd);
#else
	auto obj = iommufd_object_alloc_ucmd<struct iommufd_ioas>(ucmd);
#endif

	return obj ? 0 : obj.error();
}
