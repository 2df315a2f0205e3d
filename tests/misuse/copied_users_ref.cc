// SPDX-License-Identifier: GPL-2.0-or-later
// expect: call to deleted constructor of 'users_ref<
//
// The same for a long reference.
#include "core/iommufd/iommufd_private.h"

u32 f(users_ref<struct iommufd_viommu> &viommu)
{
#ifdef MISUSE
	users_ref<struct iommufd_viommu> other = viommu;
#else
	users_ref<struct iommufd_viommu> other = std::move(viommu);
#endif

	return other->id;
}
