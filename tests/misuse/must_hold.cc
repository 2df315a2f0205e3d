// SPDX-License-Identifier: GPL-2.0-or-later
// expect: calling function 'iommufd_hwpt_paging_alloc' requires holding mutex 'ioas->mutex'
//
// A function whose contract is a lock of the caller's.
#include "core/iommufd/iommufd_private.h"

int f(struct iommufd_ctx *ictx, const held_ref<struct iommufd_ioas> &ioas, struct iommufd_device *idev)
{
#ifndef MISUSE
	mutex_guard guard(&ioas->mutex);
#endif
	auto hwpt = iommufd_hwpt_paging_alloc(ictx, ioas, idev, IOMMU_NO_PASID, 0, false, nullptr);

	return hwpt ? 0 : hwpt.error();
}
