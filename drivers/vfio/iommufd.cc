// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A physical device bound to an iommufd. Mirrors drivers/vfio/iommufd.c of Linux 7.2. It differs in
 * this: attachments change under the group's attach_rwsem.
 */
#include "core/linux/rwsem.h"
#include "drivers/vfio/vfio.h"

int vfio_iommufd_physical_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx,
			       u32 *out_device_id)
{
	auto idev = iommufd_device_bind(ictx, vdev->dev, out_device_id);

	if (!idev)
		return idev.error();
	vdev->iommufd_device = *idev;
	return 0;
}

static struct rw_semaphore *attach_rwsem(struct vfio_device *vdev)
{
	return iommu_group_attach_rwsem(vdev->dev->iommu_group);
}

static void detach_ioas(struct vfio_device *vdev) __must_hold(vdev->lock)
{
	if (!vdev->iommufd_attached)
		return;
	iommufd_device_detach(vdev->iommufd_device, IOMMU_NO_PASID);
	vdev->iommufd_attached = false;
}

void vfio_iommufd_physical_unbind(struct vfio_device *vdev)
{
	unsigned long pasid;
	void *entry;

	{
		rwsem_write_guard guard(attach_rwsem(vdev));

		xa_for_each (&vdev->pasids, pasid, entry) {
			iommufd_device_detach(vdev->iommufd_device, (ioasid_t)pasid);
			xa_erase(&vdev->pasids, pasid);
		}
		detach_ioas(vdev);
	}
	iommufd_device_unbind(vdev->iommufd_device);
	vdev->iommufd_device = nullptr;
}

int vfio_iommufd_physical_attach_ioas(struct vfio_device *vdev, u32 *pt_id)
{
	rwsem_write_guard guard(attach_rwsem(vdev));
	int rc = vdev->iommufd_attached
			 ? iommufd_device_replace(vdev->iommufd_device, IOMMU_NO_PASID, pt_id)
			 : iommufd_device_attach(vdev->iommufd_device, IOMMU_NO_PASID, pt_id);

	if (rc)
		return rc;
	vdev->iommufd_attached = true;
	return 0;
}

void vfio_iommufd_physical_detach_ioas(struct vfio_device *vdev)
{
	rwsem_write_guard guard(attach_rwsem(vdev));

	detach_ioas(vdev);
}

int vfio_iommufd_physical_pasid_attach_ioas(struct vfio_device *vdev, u32 pasid, u32 *pt_id)
{
	rwsem_write_guard guard(attach_rwsem(vdev));

	if (xa_load(&vdev->pasids, pasid))
		return iommufd_device_replace(vdev->iommufd_device, pasid, pt_id);

	int rc = xa_insert(&vdev->pasids, pasid, xa_mk_value(0), GFP_KERNEL);

	if (rc)
		return rc;
	rc = iommufd_device_attach(vdev->iommufd_device, pasid, pt_id);
	if (rc)
		xa_erase(&vdev->pasids, pasid);
	return rc;
}

void vfio_iommufd_physical_pasid_detach_ioas(struct vfio_device *vdev, u32 pasid)
{
	rwsem_write_guard guard(attach_rwsem(vdev));

	if (!xa_load(&vdev->pasids, pasid))
		return;
	iommufd_device_detach(vdev->iommufd_device, pasid);
	xa_erase(&vdev->pasids, pasid);
}
