// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Hardware page tables: paging ones over an address space, nested ones over a parent or a vIOMMU,
 * and their invalidation.
 *
 * Mirrors drivers/iommu/iommufd/hw_pagetable.c of Linux 7.2.
 */
#include "core/iommufd/iommufd_private.h"

static void __iommufd_hwpt_destroy(struct iommufd_hw_pagetable *hwpt)
{
	if (hwpt->domain)
		iommu_domain_free(hwpt->domain);
	hwpt->fault.reset();
}

void iommufd_hwpt_paging_destroy(struct iommufd_object *obj)
{
	auto *hwpt_paging = static_cast<struct iommufd_hwpt_paging *>(obj);

	if (!list_empty(&hwpt_paging->hwpt_item)) {
		mutex_lock(&hwpt_paging->ioas->mutex);
		list_del_init(&hwpt_paging->hwpt_item);
		mutex_unlock(&hwpt_paging->ioas->mutex);

		iopt_table_remove_domain(&hwpt_paging->ioas->iopt, hwpt_paging->domain);
	}

	__iommufd_hwpt_destroy(hwpt_paging);
	hwpt_paging->ioas.reset();
}

/* ioas->mutex is held from the allocation to here. */
void iommufd_hwpt_paging_abort(struct iommufd_object *obj)
{
	auto *hwpt_paging = static_cast<struct iommufd_hwpt_paging *>(obj);

	lockdep_assert_held(&hwpt_paging->ioas->mutex);

	if (!list_empty(&hwpt_paging->hwpt_item)) {
		list_del_init(&hwpt_paging->hwpt_item);
		iopt_table_remove_domain(&hwpt_paging->ioas->iopt, hwpt_paging->domain);
	}
	/* off the list: takes no lock */
	iommufd_hwpt_paging_destroy(obj);
}

void iommufd_hwpt_nested_destroy(struct iommufd_object *obj)
{
	auto *hwpt_nested = static_cast<struct iommufd_hwpt_nested *>(obj);

	__iommufd_hwpt_destroy(hwpt_nested);
	hwpt_nested->viommu.reset();
	hwpt_nested->parent_ref.reset();
}

void iommufd_hwpt_nested_abort(struct iommufd_object *obj)
{
	iommufd_hwpt_nested_destroy(obj);
}

static int iommufd_hwpt_paging_enforce_cc(struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommu_domain *paging_domain = hwpt_paging->domain;

	if (hwpt_paging->enforce_cache_coherency)
		return 0;
	if (paging_domain->ops->enforce_cache_coherency)
		hwpt_paging->enforce_cache_coherency =
			paging_domain->ops->enforce_cache_coherency(paging_domain);
	return hwpt_paging->enforce_cache_coherency ? 0 : -EINVAL;
}

/* What can fail once the HWPT is there: its domain, the attach, the filling. */
static int iommufd_hwpt_paging_init(struct iommufd_hwpt_paging *hwpt_paging,
				    struct iommufd_device *idev, ioasid_t pasid, u32 flags,
				    bool immediate_attach, const struct iommu_user_data *user_data)
{
	const struct iommu_ops *ops = dev_iommu_ops(idev->dev);
	auto made = ops->domain_alloc_paging_flags
			    ? ops->domain_alloc_paging_flags(
				      idev->dev, flags & ~IOMMU_HWPT_FAULT_ID_VALID, user_data)
			    : iommu_paging_domain_alloc(idev->dev);

	if (!made)
		return made.error();

	struct iommu_domain *domain = *made;

	hwpt_paging->domain = domain;
	domain->cookie_type = IOMMU_COOKIE_IOMMUFD;
	domain->iommufd_hwpt = hwpt_paging;
	domain->owner = ops;

	/*
	 * Before the filling: some hardware has a bit for it in each entry. And once for all: a
	 * HWPT without it serves devices of both kinds, one with it only those that have it.
	 */
	int rc = idev->enforce_cache_coherency ? iommufd_hwpt_paging_enforce_cc(hwpt_paging) : 0;

	if (WARN_ON(rc))
		return rc;

	/* for drivers that finish a domain only when it is attached */
	if (immediate_attach)
		rc = iommufd_hw_pagetable_attach(hwpt_paging, idev, pasid);
	if (rc)
		return rc;

	rc = iopt_table_add_domain(&hwpt_paging->ioas->iopt, domain);
	if (rc && immediate_attach)
		iommufd_hw_pagetable_detach(idev, pasid);
	return rc;
}

/*
 * A new paging HWPT for idev, filled with what the IOAS maps. The caller keeps ioas->mutex until it
 * has finalized or aborted it. -EOPNOTSUPP: flags or data that the driver (or the device) does not
 * know; what the driver, the attach or the filling says.
 */
result<struct iommufd_hwpt_paging *>
iommufd_hwpt_paging_alloc(struct iommufd_ctx *ictx, const held_ref<struct iommufd_ioas> &ioas,
			  struct iommufd_device *idev, ioasid_t pasid, u32 flags,
			  bool immediate_attach, const struct iommu_user_data *user_data)
{
	const u32 valid_flags = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
				IOMMU_HWPT_FAULT_ID_VALID |
				(ictx->rev->pasid ? IOMMU_HWPT_ALLOC_PASID : 0);

	lockdep_assert_held(&ioas->mutex);

	if ((flags || user_data) && !dev_iommu_ops(idev->dev)->domain_alloc_paging_flags)
		return -EOPNOTSUPP;
	if (flags & ~valid_flags)
		return -EOPNOTSUPP;
	if (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING &&
	    !device_iommu_capable(idev->dev, IOMMU_CAP_DIRTY_TRACKING))
		return -EOPNOTSUPP;
	if (flags & IOMMU_HWPT_FAULT_ID_VALID && flags & IOMMU_HWPT_ALLOC_NEST_PARENT)
		return -EOPNOTSUPP;

	auto hwpt_paging = iommufd_object_alloc<struct iommufd_hwpt_paging>(ictx);

	if (!hwpt_paging)
		return hwpt_paging;
	hwpt_paging->nest_parent = flags & IOMMU_HWPT_ALLOC_NEST_PARENT;
	hwpt_paging->pasid_compat = flags & IOMMU_HWPT_ALLOC_PASID;
	iommufd_object_hold<&iommufd_hwpt_paging::ioas>(*hwpt_paging, ioas);

	if (int rc = iommufd_hwpt_paging_init(*hwpt_paging, idev, pasid, flags, immediate_attach,
					      user_data)) {
		iommufd_object_abort_and_destroy(ictx, *hwpt_paging);
		return rc;
	}
	list_add_tail(&hwpt_paging->hwpt_item, &ioas->hwpt_list);
	return hwpt_paging;
}

/* What both kinds of nested HWPT have in common once the driver made the domain. */
static int iommufd_hwpt_nested_init(struct iommufd_hwpt_nested *hwpt_nested,
				    const result<struct iommu_domain *> &domain,
				    const struct iommu_ops *owner)
{
	if (!domain)
		return domain.error();
	hwpt_nested->domain = *domain;
	hwpt_nested->domain->owner = owner;
	hwpt_nested->domain->iommufd_hwpt = hwpt_nested;
	hwpt_nested->domain->cookie_type = IOMMU_COOKIE_IOMMUFD;
	if (WARN_ON_ONCE(hwpt_nested->domain->type != IOMMU_DOMAIN_NESTED))
		return -EOPNOTSUPP;
	return 0;
}

/*
 * A nested HWPT of idev's driver over a parent. -EOPNOTSUPP: flags, no data, no op; -EINVAL: the
 * parent is automatic, was not made to be one, or is another driver's.
 */
static result<struct iommufd_hwpt_nested *>
iommufd_hwpt_nested_alloc(struct iommufd_ctx *ictx, held_ref<struct iommufd_hwpt_paging> parent,
			  struct iommufd_device *idev, u32 flags,
			  const struct iommu_user_data *user_data)
{
	const u32 valid_flags = IOMMU_HWPT_FAULT_ID_VALID |
				(ictx->rev->pasid ? IOMMU_HWPT_ALLOC_PASID : 0);
	const struct iommu_ops *ops = dev_iommu_ops(idev->dev);
	struct iommufd_hwpt_nested *hwpt_nested;
	int rc;

	if (flags & ~valid_flags || !user_data->len || !ops->domain_alloc_nested)
		return -EOPNOTSUPP;
	if (parent->auto_domain || !parent->nest_parent || parent->domain->owner != ops)
		return -EINVAL;

	auto new_hwpt = iommufd_object_alloc<struct iommufd_hwpt_nested>(ictx);

	if (!new_hwpt)
		return new_hwpt;
	hwpt_nested = *new_hwpt;
	hwpt_nested->pasid_compat = flags & IOMMU_HWPT_ALLOC_PASID;
	hwpt_nested->parent = parent.get();
	iommufd_object_hold<&iommufd_hwpt_nested::parent_ref>(hwpt_nested, parent);

	rc = iommufd_hwpt_nested_init(hwpt_nested,
				      ops->domain_alloc_nested(idev->dev, parent->domain,
							       flags & ~IOMMU_HWPT_FAULT_ID_VALID,
							       user_data),
				      ops);
	if (rc) {
		iommufd_object_abort_and_destroy(ictx, hwpt_nested);
		return rc;
	}
	return hwpt_nested;
}

/* A nested HWPT on a vIOMMU, over the vIOMMU's parent. -EOPNOTSUPP as above. */
static result<struct iommufd_hwpt_nested *>
iommufd_viommu_alloc_hwpt_nested(held_ref<struct iommufd_viommu> viommu, u32 flags,
				 const struct iommu_user_data *user_data)
{
	struct iommufd_hwpt_nested *hwpt_nested;
	int rc;

	if (flags & ~(IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID))
		return -EOPNOTSUPP;
	if (!user_data->len)
		return -EOPNOTSUPP;
	if (!viommu->ops || !viommu->ops->alloc_domain_nested)
		return -EOPNOTSUPP;

	auto new_hwpt = iommufd_object_alloc<struct iommufd_hwpt_nested>(viommu->ictx);

	if (!new_hwpt)
		return new_hwpt;
	hwpt_nested = *new_hwpt;
	hwpt_nested->pasid_compat = flags & IOMMU_HWPT_ALLOC_PASID;
	iommufd_object_hold<&iommufd_hwpt_nested::viommu>(hwpt_nested, viommu);
	/* the vIOMMU keeps it */
	hwpt_nested->parent = viommu->hwpt.get();

	rc = iommufd_hwpt_nested_init(
		hwpt_nested,
		viommu->ops->alloc_domain_nested(viommu.get(), flags & ~IOMMU_HWPT_FAULT_ID_VALID,
						 user_data),
		viommu->iommu_dev->ops);
	if (rc) {
		iommufd_object_abort_and_destroy(viommu->ictx, hwpt_nested);
		return rc;
	}
	return hwpt_nested;
}

/* Its page faults go to the queue, for as long as it lives. -ENOENT: no such queue. */
static int iommufd_hwpt_set_fault(struct iommufd_ucmd *ucmd, struct iommufd_hw_pagetable *hwpt,
				  u32 fault_id)
{
	auto fault = iommufd_get_fault(ucmd, fault_id);

	if (!fault)
		return fault.error();
	iommufd_object_hold<&iommufd_hw_pagetable::fault>(hwpt, fault);
	hwpt->domain->iopf_handler = iommufd_fault_iopf_handler;
	return 0;
}

/* The end of HWPT_ALLOC: whatever fails takes the new HWPT with it. */
static int iommufd_hwpt_alloc_finish(struct iommufd_ucmd *ucmd, struct iommufd_hw_pagetable *hwpt)
{
	auto *cmd = static_cast<struct iommu_hwpt_alloc *>(ucmd->cmd);
	int rc = 0;

	if (cmd->flags & IOMMU_HWPT_FAULT_ID_VALID)
		rc = iommufd_hwpt_set_fault(ucmd, hwpt, cmd->fault_id);
	if (!rc) {
		cmd->out_hwpt_id = hwpt->id;
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	if (rc)
		iommufd_object_abort_and_destroy(ucmd->ictx, hwpt);
	else
		iommufd_object_finalize(ucmd->ictx, hwpt);
	return rc;
}

int iommufd_hwpt_alloc(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_hwpt_alloc *>(ucmd->cmd);
	const struct iommu_user_data user_data = {
		.type = cmd->data_type,
		.uptr = user_inout<void>(cmd->data_uptr),
		.len = cmd->data_len,
	};

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	if ((cmd->data_type == IOMMU_HWPT_DATA_NONE) != (cmd->data_len == 0))
		return -EINVAL;

	auto idev = iommufd_get_device(ucmd, cmd->dev_id);

	if (!idev)
		return idev.error();

	auto pt = iommufd_get_object(ucmd->ictx, cmd->pt_id, IOMMUFD_OBJ_ANY);

	if (!pt)
		return -EINVAL;

	switch (pt->type) {
	case IOMMUFD_OBJ_IOAS: {
		auto ioas = pt.as<struct iommufd_ioas>();
		mutex_guard lock(&ioas->mutex);

		auto hwpt = iommufd_hwpt_paging_alloc(ucmd->ictx, ioas, idev.get(), IOMMU_NO_PASID,
						      cmd->flags, false,
						      user_data.len ? &user_data : nullptr);
		if (!hwpt)
			return hwpt.error();
		return iommufd_hwpt_alloc_finish(ucmd, *hwpt);
	}
	case IOMMUFD_OBJ_HWPT_PAGING: {
		auto hwpt = iommufd_hwpt_nested_alloc(ucmd->ictx,
						      pt.as<struct iommufd_hwpt_paging>(),
						      idev.get(), cmd->flags, &user_data);

		if (!hwpt)
			return hwpt.error();
		return iommufd_hwpt_alloc_finish(ucmd, *hwpt);
	}
	case IOMMUFD_OBJ_VIOMMU: {
		auto viommu = pt.as<struct iommufd_viommu>();

		if (viommu->iommu_dev != __iommu_get_iommu_dev(idev->dev))
			return -EINVAL;

		auto hwpt = iommufd_viommu_alloc_hwpt_nested(viommu, cmd->flags, &user_data);
		if (!hwpt)
			return hwpt.error();
		return iommufd_hwpt_alloc_finish(ucmd, *hwpt);
	}
	default:
		return -EINVAL;
	}
}

int iommufd_hwpt_set_dirty_tracking(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_hwpt_set_dirty_tracking *>(ucmd->cmd);

	/* __reserved is not looked at: the kernel never has, and users may have grown used to it */
	if (cmd->flags & ~IOMMU_HWPT_DIRTY_TRACKING_ENABLE)
		return -EOPNOTSUPP;

	auto hwpt_paging = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);

	if (!hwpt_paging)
		return hwpt_paging.error();
	return iopt_set_dirty_tracking(&hwpt_paging->ioas->iopt, hwpt_paging->domain,
				       cmd->flags & IOMMU_HWPT_DIRTY_TRACKING_ENABLE);
}

int iommufd_hwpt_get_dirty_bitmap(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_hwpt_get_dirty_bitmap *>(ucmd->cmd);

	static_assert(IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR == IOMMU_DIRTY_NO_CLEAR);
	if (cmd->flags & ~IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR || cmd->__reserved)
		return -EOPNOTSUPP;

	auto hwpt_paging = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);

	if (!hwpt_paging)
		return hwpt_paging.error();
	return iopt_read_and_clear_dirty_data(&hwpt_paging->ioas->iopt, hwpt_paging->domain,
					      cmd->flags, cmd);
}

/* Far above any real batch: one call must not keep a CPU for long. */
#define IOMMU_HWPT_INVALIDATE_ENTRY_NUM_MAX (1U << 19)

/* The driver's op on what hwpt_id names; *done is what it did. */
static int iommufd_do_invalidate(struct iommufd_ucmd *ucmd, u32 *done)
{
	auto *cmd = static_cast<struct iommu_hwpt_invalidate *>(ucmd->cmd);
	struct iommu_user_data_array data_array = {
		.type = cmd->data_type,
		.uptr = user_inout<void>(cmd->data_uptr),
		.entry_len = cmd->entry_len,
		.entry_num = cmd->entry_num,
	};
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	/* entry_len bounds the look at an entry's unknown tail as well */
	if (cmd->entry_num && (!cmd->data_uptr || !cmd->entry_len || cmd->entry_len > PAGE_SIZE ||
			       cmd->entry_num > IOMMU_HWPT_INVALIDATE_ENTRY_NUM_MAX))
		return -EINVAL;

	auto pt = iommufd_get_object(ucmd->ictx, cmd->hwpt_id,
				     ucmd->ictx->rev->viommu ? IOMMUFD_OBJ_ANY
							     : IOMMUFD_OBJ_HWPT_NESTED);

	if (!pt)
		return pt.error();

	switch (pt->type) {
	case IOMMUFD_OBJ_HWPT_NESTED: {
		auto hwpt = pt.as<struct iommufd_hw_pagetable>();

		if (!hwpt->domain->ops || !hwpt->domain->ops->cache_invalidate_user)
			return -EOPNOTSUPP;
		rc = hwpt->domain->ops->cache_invalidate_user(hwpt->domain, &data_array);
		break;
	}
	case IOMMUFD_OBJ_VIOMMU: {
		auto viommu = pt.as<struct iommufd_viommu>();

		if (!viommu->ops || !viommu->ops->cache_invalidate)
			return -EOPNOTSUPP;
		rc = viommu->ops->cache_invalidate(viommu.get(), &data_array);
		break;
	}
	default:
		return -EINVAL;
	}

	*done = data_array.entry_num;
	return rc;
}

int iommufd_hwpt_invalidate(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_hwpt_invalidate *>(ucmd->cmd);
	u32 done_num = 0;
	int rc;

	/* whatever happens, the caller learns how many of its requests were done */
	rc = iommufd_do_invalidate(ucmd, &done_num);
	cmd->entry_num = done_num;
	if (iommufd_ucmd_respond(ucmd, sizeof(*cmd)))
		return -EFAULT;
	return rc;
}
