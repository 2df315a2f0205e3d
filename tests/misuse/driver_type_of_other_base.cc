// SPDX-License-Identifier: GPL-2.0-or-later
// expect: static assertion failed .*is_base_of_v<iommufd_viommu, my_viommu>
//
// A driver's vIOMMU derives from the core's.
#include "core/iommu/iommufd.h"

struct my_viommu
#ifndef MISUSE
	: iommufd_viommu
#else
	: iommufd_vdevice
#endif
{
	u64 state = 0;
};

int f(struct iommufd_ctx *ictx, const struct iommufd_viommu_ops *ops)
{
	auto viommu = iommufd_viommu_alloc<struct my_viommu>(ictx, ops);

	return viommu ? 0 : viommu.error();
}
