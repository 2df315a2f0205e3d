// SPDX-License-Identifier: GPL-2.0-or-later
// expect: 'users' is a private member of 'iommufd_object'
//
// A user that no reference has would be in no picture, and forgotten on some way out.
#include "core/iommufd/iommufd_private.h"

u32 f(short_ref<struct iommufd_viommu> &viommu)
{
#ifdef MISUSE
	refcount_inc(&viommu->users);
	return 0;
#else
	users_ref<struct iommufd_viommu> ref(viommu);

	return ref->id;
#endif
}
