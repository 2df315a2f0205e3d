// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What drivers call, without the object layer behind it.
 *
 * Mirrors drivers/iommu/iommufd/driver.c of Linux 7.2, which has the helpers of the vCMDQ series v2
 * under new names. It differs in this: a dependency and a region leave a note for introspection;
 * iommufd_sw_msi() returns the IOVA instead of writing a msi_desc.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/device.h"

#include <climits>
#include <cstring>

/* NULL: the type has no siblings. */
static struct iommufd_sibling *iommufd_sibling_of(struct iommufd_object *obj)
{
	auto sibling = iommufd_ops(obj)->sibling;

	return sibling ? sibling(obj) : nullptr;
}

int _iommufd_object_depend(struct iommufd_ctx *ictx, struct iommufd_object *obj_dependent,
			   struct iommufd_object *obj_depended)
{
	struct iommufd_sibling *sibling = iommufd_sibling_of(obj_dependent);

	/* would never go */
	if (obj_dependent == obj_depended)
		return -EINVAL;
	/* only siblings: the core makes no dependency between those, so that there is no cycle */
	if (!sibling || obj_dependent->type != obj_depended->type)
		return -EINVAL;

	/*
	 * A sibling that is still being made may fail, one that is being destroyed cannot be held
	 * back: in the driver's slots both may be found, in the object table neither is.
	 */
	auto user = iommufd_try_get_users(ictx, obj_depended);

	if (!user)
		return -EBUSY;

	sibling->id.store(obj_depended->id, std::memory_order_relaxed);
	sibling->users.keep(std::move(user));
	return 0;
}

void _iommufd_object_undepend(struct iommufd_object *obj_dependent,
			      struct iommufd_object *obj_depended)
{
	struct iommufd_sibling *sibling = iommufd_sibling_of(obj_dependent);

	if (WARN_ON_ONCE(!sibling || obj_dependent == obj_depended ||
			 obj_dependent->type != obj_depended->type))
		return;
	sibling->users.put(obj_depended);
}

int _iommufd_alloc_mmap(struct iommufd_ctx *ictx, struct iommufd_object *owner,
			phys_addr_t mmio_addr, size_t length, unsigned long *offset)
{
	struct iommufd_mmap *immap;
	unsigned long startp;
	int rc;

	if (!PAGE_ALIGNED(mmio_addr))
		return -EINVAL;
	if (!length || !PAGE_ALIGNED(length))
		return -EINVAL;

	immap = kzalloc_obj<struct iommufd_mmap>();
	if (!immap)
		return -ENOMEM;
	immap->owner = owner;
	immap->length = length;
	immap->mmio_addr = mmio_addr;

	/* the range is the region's length in bytes; 0 is never an offset, so that a driver can
	 * take it for none */
	rc = mtree_alloc_range(&ictx->mt_mmap, &startp, immap, immap->length, PAGE_SIZE, ULONG_MAX,
			       GFP_KERNEL);
	if (rc) {
		kfree_obj(immap);
		return rc;
	}

	mtree_lock(&ictx->mt_mmap);
	immap->vm_pgoff = startp >> PAGE_SHIFT;
	list_add_tail(&immap->item, &ictx->mmap_list);
	mtree_unlock(&ictx->mt_mmap);
	*offset = startp;
	return 0;
}

/* The owner is on its way out (nobody maps the region any more), or was never published. */
void _iommufd_destroy_mmap(struct iommufd_ctx *ictx, struct iommufd_object *owner,
			   unsigned long offset)
{
	auto *immap = static_cast<struct iommufd_mmap *>(mtree_erase(&ictx->mt_mmap, offset));

	if (WARN_ON_ONCE(!immap || immap->owner != owner || immap->mappings.count()))
		return;
	mtree_lock(&ictx->mt_mmap);
	list_del(&immap->item);
	mtree_unlock(&ictx->mt_mmap);
	kfree_obj(immap);
}

struct device *iommufd_vdevice_to_device(struct iommufd_vdevice *vdev)
{
	return vdev->dev;
}

struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu, unsigned long vdev_id)
{
	struct iommufd_vdevice *vdev;

	lockdep_assert_held(&viommu->vdevs);

	vdev = static_cast<struct iommufd_vdevice *>(xa_load(&viommu->vdevs, vdev_id));
	return vdev ? iommufd_vdevice_to_device(vdev) : nullptr;
}

int iommufd_viommu_get_vdev_id(struct iommufd_viommu *viommu, struct device *dev,
			       unsigned long *vdev_id)
{
	struct iommufd_vdevice *vdev;
	unsigned long index;

	if (WARN_ON_ONCE(!vdev_id))
		return -EINVAL;

	xa_guard vdevs(&viommu->vdevs);

	xa_for_each (&viommu->vdevs, index, vdev) {
		if (iommufd_vdevice_to_device(vdev) == dev) {
			*vdev_id = vdev->virt_id;
			return 0;
		}
	}
	return -ENOENT;
}

int iommufd_viommu_report_event(struct iommufd_viommu *viommu, enum iommu_veventq_type type,
				const void *event_data, size_t data_len)
{
	if (WARN_ON_ONCE(!data_len || !event_data))
		return -EINVAL;

	rwsem_read_guard veventqs(&viommu->veventqs_rwsem);
	struct iommufd_veventq *veventq = iommufd_viommu_find_veventq(viommu, type);

	if (!veventq)
		return -EOPNOTSUPP;

	/* before the queue is locked; a driver's interrupt thread must not wait for memory */
	struct iommufd_vevent *vevent = iommufd_vevent_alloc(data_len, GFP_NOWAIT);
	const int rc = vevent ? 0 : -ENOMEM;

	if (vevent)
		memcpy(vevent->event_data(), event_data, data_len);

	spinlock_guard queue(&veventq->lock);

	if (vevent && veventq->num_events != veventq->depth) {
		veventq->num_events++;
	} else {
		kfree_obj(vevent);
		vevent = &veventq->lost_events_header;
	}
	iommufd_vevent_handler(veventq, vevent);
	return rc;
}

/* The context's map of one doorbell page: all domains of devices with the same window get the same
 * IOVA for it. */
static result<struct iommufd_sw_msi_map *>
iommufd_sw_msi_get_map(struct iommufd_ctx *ictx, phys_addr_t msi_addr, phys_addr_t sw_msi_start)
	__must_hold(ictx->sw_msi_lock)
{
	struct iommufd_sw_msi_map *cur;
	unsigned int max_pgoff = 0;

	lockdep_assert_held(&ictx->sw_msi_lock);

	list_for_each_entry (cur, &ictx->sw_msi_list, sw_msi_item) {
		if (cur->sw_msi_start != sw_msi_start)
			continue;
		max_pgoff = max(max_pgoff, cur->pgoff + 1);
		if (cur->msi_addr == msi_addr)
			return cur;
	}

	if (ictx->sw_msi_id >= BITS_PER_BYTE * sizeof_field(struct iommufd_sw_msi_maps, bitmap))
		return -EOVERFLOW;

	auto *map = kzalloc_obj<struct iommufd_sw_msi_map>();

	if (!map)
		return -ENOMEM;
	map->id = ictx->sw_msi_id++;
	map->pgoff = max_pgoff;
	map->msi_addr = msi_addr;
	map->sw_msi_start = sw_msi_start;
	list_add_tail(&map->sw_msi_item, &ictx->sw_msi_list);
	return map;
}

int iommufd_sw_msi_install(struct iommufd_ctx *ictx, struct iommufd_hwpt_paging *hwpt_paging,
			   struct iommufd_sw_msi_map *msi_map)
{
	unsigned long iova = msi_map->sw_msi_start + msi_map->pgoff * PAGE_SIZE;
	int rc;

	lockdep_assert_held(&ictx->sw_msi_lock);

	if (test_bit(msi_map->id, hwpt_paging->present_sw_msi.bitmap))
		return 0;

	rc = iommu_map(hwpt_paging->domain, iova, msi_map->msi_addr, PAGE_SIZE,
		       IOMMU_WRITE | IOMMU_READ | IOMMU_MMIO, GFP_KERNEL_ACCOUNT);
	if (rc)
		return rc;
	__set_bit(msi_map->id, hwpt_paging->present_sw_msi.bitmap);
	return 0;
}

int iommufd_sw_msi(struct iommu_domain *domain, struct device *dev, phys_addr_t msi_addr,
		   unsigned long *iova)
{
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommufd_attach_handle *handle;
	struct iommufd_ctx *ictx;
	int rc;

	/* which also keeps the attachment, and with it the handle */
	iommu_group_mutex_assert(dev);

	auto raw_handle = iommu_attach_handle_get(dev->iommu_group, IOMMU_NO_PASID, 0);

	if (!raw_handle)
		return 0;
	hwpt_paging = find_hwpt_paging(domain->iommufd_hwpt);
	handle = to_iommufd_handle(*raw_handle);
	/* the device's MSIs need no translation */
	if (handle->igroup->sw_msi_start == PHYS_ADDR_MAX)
		return 0;

	ictx = handle->igroup->ictx;
	mutex_guard sw_msi(&ictx->sw_msi_lock);

	auto msi_map =
		iommufd_sw_msi_get_map(ictx, msi_addr & PAGE_MASK, handle->igroup->sw_msi_start);

	if (!msi_map)
		return msi_map.error();
	rc = iommufd_sw_msi_install(ictx, hwpt_paging, *msi_map);
	if (rc)
		return rc;
	__set_bit(msi_map->id, handle->igroup->required_sw_msi.bitmap);

	*iova = msi_map->sw_msi_start + msi_map->pgoff * PAGE_SIZE + (msi_addr & ~PAGE_MASK);
	return 0;
}
