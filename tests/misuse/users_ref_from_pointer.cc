// SPDX-License-Identifier: GPL-2.0-or-later
// expect: no matching constructor for initialization of 'users_ref<
//
// A long reference is made while a short one keeps the object.
#include "core/iommufd/iommufd_private.h"

u32 f(short_ref<struct iommufd_viommu> &viommu)
{
#ifdef MISUSE
	users_ref<struct iommufd_viommu> ref(viommu.get());
#else
	users_ref<struct iommufd_viommu> ref(viommu);
#endif

	return ref->id;
}
