// SPDX-License-Identifier: GPL-2.0-or-later
// expect: ignoring return value of (function declared with 'nodiscard'|type 'short_ref<)
//
// A dropped reference would be put at once, and its errno lost.
#include "core/iommufd/iommufd_private.h"

int f(struct iommufd_ucmd *ucmd)
{
#ifdef MISUSE
	iommufd_get_viommu(ucmd, 3);
	return 0;
#else
	auto viommu = iommufd_get_viommu(ucmd, 3);

	return viommu ? 0 : viommu.error();
#endif
}
