// SPDX-License-Identifier: GPL-2.0-or-later
// expect: cannot initialize a member subobject of type .* with an lvalue of type .*iommufd_viommu
//
// An op of another type in a driver's table.
#include "core/iommu/iommufd.h"

static void my_destroy(struct iommufd_viommu *)
{
}

static void my_vdevice_destroy(struct iommufd_vdevice *)
{
}

extern const struct iommufd_viommu_ops my_ops;
const struct iommufd_viommu_ops my_ops = {
	.destroy = my_destroy,
	.alloc_domain_nested = nullptr,
	.cache_invalidate = nullptr,
	.vdevice_alloc = nullptr,
#ifdef MISUSE
	.vdevice_destroy = my_destroy,
#else
	.vdevice_destroy = my_vdevice_destroy,
#endif
	.vcmdq_alloc = nullptr,
	.vcmdq_destroy = nullptr,
	.vdevice_struct = nullptr,
	.vdevice_init = nullptr,
	.get_hw_queue_struct = nullptr,
	.hw_queue_init_phys = nullptr,
};

void f()
{
	my_vdevice_destroy(nullptr);
}
