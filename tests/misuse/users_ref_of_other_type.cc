// SPDX-License-Identifier: GPL-2.0-or-later
// expect: no matching constructor for initialization of 'users_ref<
//
// A reference to an object of one type is none to another's.
#include "core/iommufd/iommufd_private.h"

u32 f(short_ref<struct iommufd_viommu> &viommu, short_ref<struct iommufd_ioas> &ioas)
{
#ifdef MISUSE
	users_ref<struct iommufd_ioas> ref(viommu);
#else
	users_ref<struct iommufd_ioas> ref(ioas);
#endif

	return ref->id + viommu->id;
}
