// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vCMDQ series as posted: its VIOMMU_ALLOC, VDEVICE_ALLOC and VCMDQ_ALLOC, in which the driver
 * allocates the object, and the ends of what they make. To be read beside the thread of
 * "[PATCH v2 10/22] iommufd/viommmu: Add IOMMUFD_CMD_VCMDQ_ALLOC ioctl".
 *
 * Mirrors drivers/iommu/iommufd/viommu.c and the vDEVICE part of device.c, of Linux v6.15 plus the
 * series. The order of checks and the errnos are the series'. It differs where the series had
 * defects: the page array comes after every check that does not need it; pages are counted with the
 * address's offset in its page and in a type that holds the count; the quick translation has the
 * address space's lock; the pinned range cannot be unmapped; a vDEVICE whose device has gone keeps
 * its id but no pointer.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/device.h"
#include "core/mm/mm.h"

int iommufd_viommu_alloc_v2_ioctl(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_viommu_alloc *>(ucmd->cmd);
	const struct iommu_user_data user_data = {
		.type = cmd->type,
		.uptr = user_inout<void>(cmd->data_uptr),
		.len = cmd->data_len,
	};
	struct iommufd_viommu *viommu;
	const struct iommu_ops *ops;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_VIOMMU_TYPE_DEFAULT)
		return -EOPNOTSUPP;

	auto idev = iommufd_get_device(ucmd, cmd->dev_id);

	if (!idev)
		return idev.error();

	ops = dev_iommu_ops(idev->dev);
	if (!ops->viommu_alloc)
		return -EOPNOTSUPP;

	auto hwpt_paging = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);

	if (!hwpt_paging)
		return hwpt_paging.error();
	if (!hwpt_paging->nest_parent)
		return -EINVAL;

	auto new_viommu = ops->viommu_alloc(idev->dev, hwpt_paging->domain, ucmd->ictx, cmd->type,
					    user_data.len ? &user_data : nullptr);

	if (!new_viommu)
		return new_viommu.error();
	viommu = *new_viommu;

	viommu->type = static_cast<enum iommu_viommu_type>(cmd->type);
	viommu->ictx = ucmd->ictx;
	iommufd_object_hold<&iommufd_viommu::hwpt>(viommu, hwpt_paging);
	viommu->iommu_dev = __iommu_get_iommu_dev(idev->dev);

	cmd->out_viommu_id = viommu->id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		iommufd_object_abort_and_destroy(ucmd->ictx, viommu);
	else
		iommufd_object_finalize(ucmd->ictx, viommu);
	return rc;
}

/* ---- vDEVICEs, which live apart from their devices ---- */

/* Everything but the device's reference. The caller holds the context's vdev_lock. */
void iommufd_vdevice_v2_abort(struct iommufd_vdevice *vdev)
{
	struct iommufd_viommu *viommu = vdev->viommu.get();

	lockdep_assert_held(&viommu->ictx->vdev_lock);

	if (viommu->ops && viommu->ops->vdevice_destroy)
		viommu->ops->vdevice_destroy(vdev);
	if (vdev->idev)
		list_del_init(&vdev->idev_item);
	iommufd_vdevice_leave_viommu(vdev);
}

void iommufd_vdevice_v2_destroy(struct iommufd_vdevice *vdev)
{
	struct iommufd_ctx *ictx = vdev->viommu->ictx;
	struct iommufd_device *idev;

	{
		mutex_guard lock(&ictx->vdev_lock);

		/* NULL: the device has gone before */
		idev = vdev->idev;
		iommufd_vdevice_v2_abort(vdev);
	}
	if (idev)
		iommufd_put_object(ictx, idev);
}

/* The vDEVICEs stay, without a device. */
void iommufd_device_revoke_vdevs(struct iommufd_device *idev)
{
	struct iommufd_ctx *ictx = idev->ictx;
	struct iommufd_vdevice *vdev, *next;
	unsigned int nr = 0;

	mutex_lock(&idev->ictx->vdev_lock);
	idev->vdevs_revoked = true;
	list_for_each_entry_safe (vdev, next, &idev->vdevs, idev_item) {
		list_del_init(&vdev->idev_item);
		xa_lock(&vdev->viommu->vdevs);
		vdev->dev = nullptr;
		xa_unlock(&vdev->viommu->vdevs);
		vdev->idev = nullptr;
		nr++;
	}
	mutex_unlock(&idev->ictx->vdev_lock);

	while (nr--)
		iommufd_put_object(ictx, idev);
}

int iommufd_vdevice_alloc_v2_ioctl(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_vdevice_alloc *>(ucmd->cmd);
	u64 virt_id = cmd->virt_id;
	struct iommufd_vdevice *vdev;
	void *curr;
	int rc;

	auto viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);

	if (!viommu)
		return viommu.error();

	auto idev = iommufd_get_device(ucmd, cmd->dev_id);

	if (!idev)
		return idev.error();

	if (viommu->iommu_dev != __iommu_get_iommu_dev(idev->dev))
		return -EINVAL;

	mutex_guard lock(&idev->ictx->vdev_lock);

	/* its unbind waits for this call only */
	if (idev->vdevs_revoked)
		return -ENOENT;

	auto new_vdev = viommu->ops && viommu->ops->vdevice_alloc
				? viommu->ops->vdevice_alloc(viommu.get(), idev->dev, virt_id)
				: iommufd_vdevice_alloc<struct iommufd_vdevice>(viommu.get());

	if (!new_vdev)
		return new_vdev.error();
	vdev = *new_vdev;

	iommufd_object_hold<&iommufd_vdevice::viommu>(vdev, viommu);
	vdev->virt_id = virt_id;
	vdev->dev = idev->dev;
	/* a short reference that lasts as long as the vDEVICE; the device's end takes it back */
	vdev->idev = idev.get();
	list_add_tail(&vdev->idev_item, &idev->vdevs);

	curr = xa_cmpxchg(&viommu->vdevs, virt_id, nullptr, vdev, GFP_KERNEL);
	rc = !curr ? 0 : xa_is_err(curr) ? xa_err(curr) : -EEXIST;
	if (!rc) {
		cmd->out_vdevice_id = vdev->id;
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	if (rc) {
		iommufd_object_abort_and_destroy(ucmd->ictx, vdev);
		return rc;
	}
	iommufd_object_finalize(ucmd->ictx, vdev);
	idev.release();
	return 0;
}

/* ---- vCMDQs ---- */

void iommufd_vcmdq_destroy(struct iommufd_object *obj)
{
	auto *vcmdq = static_cast<struct iommufd_vcmdq *>(obj);
	struct iommufd_viommu *viommu = vcmdq->viommu.get();

	if (viommu->ops->vcmdq_destroy)
		viommu->ops->vcmdq_destroy(vcmdq);
	/* only now does the hardware not read it any more */
	if (vcmdq->pinned_length)
		iopt_unpin_pages(&viommu->hwpt->ioas->iopt, vcmdq->pinned_iova,
				 vcmdq->pinned_length, true);
	vcmdq->viommu.reset();
}

/*
 * Pins the queue's memory where it must not be unmapped, and looks whether the hardware can read
 * it. -ENOMEM; -EFAULT: not contiguous; what the pin says.
 */
static int iommufd_vcmdq_pin(struct io_pagetable *iopt, u64 aligned, size_t span)
{
	size_t npages = DIV_ROUND_UP(span, PAGE_SIZE);
	struct page **pages;
	int rc;

	pages = kvcalloc_array<struct page *>(npages, GFP_KERNEL | __GFP_NOWARN);
	if (!pages)
		return -ENOMEM;

	rc = iopt_pin_pages(iopt, aligned, span, pages, IOMMUFD_ACCESS_RW_READ, true);
	if (!rc && !iommufd_pages_are_contiguous(pages, npages)) {
		iopt_unpin_pages(iopt, aligned, span, true);
		rc = -EFAULT;
	}
	kvfree_array(pages);
	return rc;
}

int iommufd_vcmdq_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_vcmdq_alloc *>(ucmd->cmd);
	struct iommufd_vcmdq *vcmdq;
	struct io_pagetable *iopt;
	u64 aligned, offset, end;
	phys_addr_t pa;
	size_t span;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_VCMDQ_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->addr || !cmd->length)
		return -EINVAL;
	if (check_add_overflow(cmd->addr, cmd->length - 1, &end))
		return -EOVERFLOW;

	auto viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);

	if (!viommu)
		return viommu.error();
	if (!viommu->ops || !viommu->ops->vcmdq_alloc)
		return -EOPNOTSUPP;

	/* is anything there at all? */
	iopt = &viommu->hwpt->ioas->iopt;
	{
		rwsem_read_guard iova(&iopt->iova_rwsem);

		pa = iommu_iova_to_phys(viommu->hwpt->domain, cmd->addr);
		if (!pa)
			return -ENXIO;
	}

	/* from its page's start in memory: an IOAS without accesses need not map pages to pages */
	offset = offset_in_page(pa);
	if (offset > cmd->addr)
		return -ENOENT;
	aligned = cmd->addr - offset;
	if (!iommufd_queue_span(offset, cmd->length, &span))
		return -EOVERFLOW;
	rc = iommufd_vcmdq_pin(iopt, aligned, span);
	if (rc)
		return rc;

	auto new_vcmdq = viommu->ops->vcmdq_alloc(viommu.get(), cmd->type, cmd->index, cmd->addr,
						  cmd->length);

	if (!new_vcmdq) {
		iopt_unpin_pages(iopt, aligned, span, true);
		return new_vcmdq.error();
	}
	vcmdq = *new_vcmdq;

	iommufd_object_hold<&iommufd_vcmdq::viommu>(vcmdq, viommu);
	vcmdq->addr = cmd->addr;
	vcmdq->length = cmd->length;
	vcmdq->pinned_iova = aligned;
	vcmdq->pinned_length = span;

	cmd->out_vcmdq_id = vcmdq->id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		iommufd_object_abort_and_destroy(ucmd->ictx, vcmdq);
	else
		iommufd_object_finalize(ucmd->ictx, vcmdq);
	return rc;
}
