// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vIOMMUs, vDEVICEs and hardware queues, in the merged form.
 *
 * Mirrors drivers/iommu/iommufd/viommu.c of Linux 7.2. It differs in this: a vDEVICE of the posted
 * series ends as vcmdq.cc says, since the object table has one row for both forms; the sums that
 * pin a queue's memory are functions, which that file calls too.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/device.h"
#include "core/mm/mm.h"

/* A driver must describe a type that derives from the core's. */
static bool iommufd_struct_is(const struct iommufd_struct *st, enum iommufd_object_type type,
			      size_t size)
{
	return st->type == type && st->size >= size;
}

void iommufd_viommu_destroy(struct iommufd_object *obj)
{
	auto *viommu = static_cast<struct iommufd_viommu *>(obj);

	if (viommu->ops && viommu->ops->destroy)
		viommu->ops->destroy(viommu);
	viommu->hwpt.reset();
}

int iommufd_viommu_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_viommu_alloc *>(ucmd->cmd);
	const struct iommu_user_data user_data = {
		.type = cmd->type,
		.uptr = user_inout<void>(cmd->data_uptr),
		.len = cmd->data_len,
	};
	const struct iommufd_struct *st;
	struct iommufd_viommu *viommu;
	const struct iommu_ops *ops;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_VIOMMU_TYPE_DEFAULT)
		return -EOPNOTSUPP;

	auto idev = iommufd_get_device(ucmd, cmd->dev_id);

	if (!idev)
		return idev.error();

	ops = dev_iommu_ops(idev->dev);
	if (!ops->get_viommu_struct || !ops->viommu_init)
		return -EOPNOTSUPP;

	st = ops->get_viommu_struct(idev->dev, static_cast<enum iommu_viommu_type>(cmd->type));
	if (!st)
		return -EOPNOTSUPP;
	if (WARN_ON_ONCE(!iommufd_struct_is(st, IOMMUFD_OBJ_VIOMMU, sizeof(*viommu))))
		return -EOPNOTSUPP;

	auto hwpt_paging = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);

	if (!hwpt_paging)
		return hwpt_paging.error();
	if (!hwpt_paging->nest_parent)
		return -EINVAL;

	auto new_viommu = iommufd_object_alloc_ucmd<struct iommufd_viommu>(ucmd, st);

	if (!new_viommu)
		return new_viommu.error();
	viommu = *new_viommu;

	viommu->type = static_cast<enum iommu_viommu_type>(cmd->type);
	viommu->ictx = ucmd->ictx;
	iommufd_object_hold<&iommufd_viommu::hwpt>(viommu, hwpt_paging);
	/* an IOMMU that can go away counts its vIOMMUs itself */
	viommu->iommu_dev = __iommu_get_iommu_dev(idev->dev);

	rc = ops->viommu_init(viommu, hwpt_paging->domain, user_data.len ? &user_data : nullptr);
	if (rc)
		return rc;
	if (WARN_ON_ONCE(!viommu->ops))
		return -EOPNOTSUPP;

	cmd->out_viommu_id = viommu->id;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

/* ---- vDEVICEs ---- */

/*
 * The last step of both forms' ends. The vIOMMU does not find the vDEVICE any more, and is not held
 * by it.
 */
void iommufd_vdevice_leave_viommu(struct iommufd_vdevice *vdev)
{
	/* nothing there when the allocation lost against another of the same id */
	xa_cmpxchg(&vdev->viommu->vdevs, vdev->virt_id, vdev, nullptr, GFP_KERNEL);
	vdev->viommu.reset();
}

static bool iommufd_vdevice_follows_device(const struct iommufd_vdevice *vdev)
{
	return vdev->viommu->ictx->rev->vdevice_follows_device;
}

/* Everything but the device's reference. The caller holds the group's lock. */
void iommufd_vdevice_abort(struct iommufd_object *obj)
{
	auto *vdev = static_cast<struct iommufd_vdevice *>(obj);

	if (!iommufd_vdevice_follows_device(vdev)) {
		iommufd_vdevice_v2_abort(vdev);
		return;
	}

	struct iommufd_device *idev = vdev->idev;

	lockdep_assert_held(&idev->igroup->lock);
	if (vdev->destroy)
		vdev->destroy(vdev);
	idev->vdev = nullptr;
	iommufd_vdevice_leave_viommu(vdev);
}

void iommufd_vdevice_destroy(struct iommufd_object *obj)
{
	auto *vdev = static_cast<struct iommufd_vdevice *>(obj);

	if (!iommufd_vdevice_follows_device(vdev)) {
		iommufd_vdevice_v2_destroy(vdev);
		return;
	}

	struct iommufd_ctx *ictx = vdev->viommu->ictx;
	struct iommufd_device *idev = vdev->idev;

	{
		mutex_guard lock(&idev->igroup->lock);
		iommufd_vdevice_abort(obj);
	}
	iommufd_put_object(ictx, idev);
}

/* Under its virtual id, with the driver's part made.
 * -EEXIST: the id is taken; what the driver says. */
static int iommufd_viommu_enter_vdevice(struct iommufd_viommu *viommu, struct iommufd_vdevice *vdev)
{
	/* reserved, which reads as nothing, until the driver has accepted it */
	int rc = xa_insert(&viommu->vdevs, vdev->virt_id, nullptr, GFP_KERNEL);

	if (rc)
		return rc == -EBUSY ? -EEXIST : rc;
	if (viommu->ops && viommu->ops->vdevice_init)
		rc = viommu->ops->vdevice_init(vdev);
	if (rc) {
		xa_release(&viommu->vdevs, vdev->virt_id);
		return rc;
	}
	xa_store(&viommu->vdevs, vdev->virt_id, vdev, GFP_KERNEL);
	return 0;
}

int iommufd_vdevice_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_vdevice_alloc *>(ucmd->cmd);
	const struct iommufd_struct *st = &iommufd_struct_of<struct iommufd_vdevice>;
	u64 virt_id = cmd->virt_id;
	struct iommufd_vdevice *vdev;
	int rc;

	auto viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);

	if (!viommu)
		return viommu.error();

	auto idev_ref = iommufd_get_device(ucmd, cmd->dev_id);

	if (!idev_ref)
		return idev_ref.error();

	struct iommufd_device *idev = idev_ref.get();

	if (viommu->iommu_dev != __iommu_get_iommu_dev(idev->dev))
		return -EINVAL;

	mutex_guard lock(&idev->igroup->lock);

	if (idev->destroying)
		return -ENOENT;
	if (idev->vdev)
		return -EEXIST;

	if (viommu->ops && viommu->ops->vdevice_struct) {
		st = viommu->ops->vdevice_struct;
		if (WARN_ON_ONCE(!iommufd_struct_is(st, IOMMUFD_OBJ_VDEVICE, sizeof(*vdev)) ||
				 !viommu->ops->vdevice_init))
			return -EOPNOTSUPP;
	}

	auto new_vdev = iommufd_object_alloc<struct iommufd_vdevice>(ucmd->ictx, st);

	if (!new_vdev)
		return new_vdev.error();
	vdev = *new_vdev;

	vdev->virt_id = virt_id;
	iommufd_object_hold<&iommufd_vdevice::viommu>(vdev, viommu);
	vdev->dev = idev->dev;
	/*
	 * The short reference lasts as long as the vDEVICE. iommufd_device_pre_destroy() takes it
	 * back by destroying the vDEVICE, and the device waits for that.
	 */
	vdev->idev = idev;
	idev->vdev = vdev;

	rc = iommufd_viommu_enter_vdevice(viommu.get(), vdev);
	if (!rc) {
		cmd->out_vdevice_id = vdev->id;
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	if (rc) {
		iommufd_object_abort_and_destroy(ucmd->ictx, vdev);
		return rc;
	}
	iommufd_object_finalize(ucmd->ictx, vdev);
	idev_ref.release();
	return 0;
}

/* ---- queues ---- */

bool iommufd_queue_span(u64 offset, u64 length, size_t *span)
{
	size_t end;

	if (check_add_overflow(offset, length, span))
		return false;
	return !check_add_overflow(*span, PAGE_SIZE - 1, &end);
}

bool iommufd_pages_are_contiguous(struct page **pages, size_t npages)
{
	for (size_t i = 1; i < npages; i++)
		if (page_to_pfn(pages[i]) != page_to_pfn(pages[i - 1]) + 1)
			return false;
	return true;
}

static void iommufd_hw_queue_destroy_access(struct iommufd_ctx *ictx,
					    users_ref<struct iommufd_access> access, u64 base_iova,
					    size_t length)
{
	u64 aligned_iova = PAGE_ALIGN_DOWN(base_iova);
	u64 offset = base_iova - aligned_iova;

	iommufd_access_unpin_pages(access.get(), aligned_iova, PAGE_ALIGN(length + offset));
	iommufd_access_detach_internal(access.get());
	iommufd_access_destroy_internal(ictx, std::move(access));
}

/* Also of one that failed half way: what is not there was not done. */
void iommufd_hw_queue_destroy(struct iommufd_object *obj)
{
	auto *hw_queue = static_cast<struct iommufd_hw_queue *>(obj);

	if (hw_queue->destroy)
		hw_queue->destroy(hw_queue);
	if (hw_queue->access)
		iommufd_hw_queue_destroy_access(hw_queue->viommu->ictx, std::move(hw_queue->access),
						hw_queue->base_addr, hw_queue->length);
	hw_queue->viommu.reset();
}

/* Pins whole pages of the IOAS through the access; all or nothing. -EFAULT: they are scattered. */
static int iommufd_hw_queue_pin(struct iommufd_access *access, held_ref<struct iommufd_ioas> ioas,
				u64 first, size_t npages, struct page **pages)
{
	const size_t span = npages * PAGE_SIZE;

	if (int rc = iommufd_access_attach_internal(access, ioas))
		return rc;

	int rc = iommufd_access_pin_pages(access, first, span, pages, 0);

	if (!rc && !iommufd_pages_are_contiguous(pages, npages)) {
		iommufd_access_unpin_pages(access, first, span);
		rc = -EFAULT;
	}
	if (rc)
		iommufd_access_detach_internal(access);
	return rc;
}

/*
 * An internal access that keeps the queue's memory pinned and mapped: the hardware reads it at its
 * physical address, whatever the IOAS says. -ERANGE: more pages than there can be; -ENOMEM;
 * -EFAULT: not contiguous; what the pin says.
 */
static users_ref<struct iommufd_access>
iommufd_hw_queue_alloc_phys(struct iommu_hw_queue_alloc *cmd, struct iommufd_viommu *viommu,
			    phys_addr_t *base_pa)
{
	const u64 first = PAGE_ALIGN_DOWN(cmd->nesting_parent_iova);
	const u64 offset = cmd->nesting_parent_iova - first;
	size_t span;

	if (!iommufd_queue_span(offset, cmd->length, &span))
		return -ERANGE;

	const size_t npages = DIV_ROUND_UP(span, PAGE_SIZE);
	auto **pages = kvcalloc_array<struct page *>(npages, GFP_KERNEL | __GFP_NOWARN);

	if (!pages)
		return -ENOMEM;

	auto access = iommufd_access_create_internal(viommu->ictx);
	int rc = access ? iommufd_hw_queue_pin(access.get(), viommu->hwpt->ioas, first, npages,
					       pages)
			: access.error();

	if (!rc)
		*base_pa = page_to_phys(pages[0]) + offset;
	else if (access)
		iommufd_access_destroy_internal(viommu->ictx, std::move(access));
	kvfree_array(pages);
	if (rc)
		return rc;
	return access;
}

int iommufd_hw_queue_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_hw_queue_alloc *>(ucmd->cmd);
	const struct iommufd_struct *st;
	struct iommufd_hw_queue *hw_queue;
	phys_addr_t base_pa = 0;
	u64 last;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_HW_QUEUE_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->length)
		return -EINVAL;
	if (check_add_overflow(cmd->nesting_parent_iova, cmd->length - 1, &last))
		return -EOVERFLOW;

	auto viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);

	if (!viommu)
		return viommu.error();
	if (!viommu->ops || !viommu->ops->get_hw_queue_struct || !viommu->ops->hw_queue_init_phys)
		return -EOPNOTSUPP;

	st = viommu->ops->get_hw_queue_struct(viommu.get(),
					      static_cast<enum iommu_hw_queue_type>(cmd->type));
	if (!st)
		return -EOPNOTSUPP;
	if (WARN_ON_ONCE(!iommufd_struct_is(st, IOMMUFD_OBJ_HW_QUEUE, sizeof(*hw_queue))))
		return -EOPNOTSUPP;

	auto new_queue = iommufd_object_alloc_ucmd<struct iommufd_hw_queue>(ucmd, st);

	if (!new_queue)
		return new_queue.error();
	hw_queue = *new_queue;

	auto access = iommufd_hw_queue_alloc_phys(cmd, viommu.get(), &base_pa);

	if (!access)
		return access.error();

	iommufd_object_hold<&iommufd_hw_queue::viommu>(hw_queue, viommu);
	iommufd_object_hold<&iommufd_hw_queue::access>(hw_queue, std::move(access));
	hw_queue->type = static_cast<enum iommu_hw_queue_type>(cmd->type);
	hw_queue->length = cmd->length;
	hw_queue->base_addr = cmd->nesting_parent_iova;

	rc = viommu->ops->hw_queue_init_phys(hw_queue, cmd->index, base_pa);
	if (rc)
		return rc;

	cmd->out_hw_queue_id = hw_queue->id;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}
