// SPDX-License-Identifier: GPL-2.0-or-later
// expect: call to deleted constructor of 'short_ref<
//
// A reference does not copy: two owners would put it twice.
#include "core/iommufd/iommufd_private.h"

u32 f(short_ref<struct iommufd_viommu> &viommu)
{
#ifdef MISUSE
	short_ref<struct iommufd_viommu> other = viommu;
#else
	short_ref<struct iommufd_viommu> other = std::move(viommu);
#endif

	return other->id;
}
