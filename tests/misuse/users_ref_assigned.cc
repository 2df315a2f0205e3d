// SPDX-License-Identifier: GPL-2.0-or-later
// expect: overload resolution selected deleted operator '='
//
// A member that keeps an object is filled by name, so that its object's row is asked whether it
// declares it.
#include "core/iommufd/iommufd_private.h"

void f(struct iommufd_veventq *veventq, short_ref<struct iommufd_viommu> &viommu)
{
#ifdef MISUSE
	veventq->viommu = users_ref<struct iommufd_viommu>(viommu);
#else
	iommufd_object_hold<&iommufd_veventq::viommu>(veventq, viommu);
#endif
}
