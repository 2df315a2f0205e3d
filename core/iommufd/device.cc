// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Devices: binding, groups, attachments; accesses; GET_HW_INFO.
 *
 * Mirrors drivers/iommu/iommufd/device.c of Linux 7.2. It differs in this: vDEVICEs that live apart
 * from their devices (the vCMDQ series v2) lose their device here; no PCI, hence no page request
 * interface, and dev_iommu has what PCI would say of PASIDs; a device that is not attached detaches
 * nothing, also when others of its group are; an automatic HWPT may lose its devices to another
 * device of their group while it is being made; a replace inside one address space that fails keeps
 * the group's reserved regions; no module parameter for insecure interrupts.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/device.h"

#include <climits>

/* ---- groups ---- */

static void iommufd_group_release(struct kref *kref)
{
	struct iommufd_group *igroup = container_of(kref, struct iommufd_group, ref);

	WARN_ON(!xa_empty(&igroup->pasid_attach));

	/* somebody who found it on its way out may have stored its own by now */
	xa_cmpxchg(&igroup->ictx->groups, iommu_group_id(igroup->group), igroup, nullptr,
		   GFP_KERNEL);
	iommu_group_put(igroup->group);
	kfree_obj(igroup);
}

static void iommufd_put_group(struct iommufd_group *group)
{
	kref_put(&group->ref, iommufd_group_release);
}

static bool iommufd_group_try_get(struct iommufd_group *igroup, struct iommu_group *group)
{
	/* the id is not used again before igroup puts its group, and then igroup cannot be found
	 * any more */
	return igroup && !WARN_ON(igroup->group != group) && kref_get_unless_zero(&igroup->ref);
}

/* What the context has for the group, with a reference. NULL: nothing that will stay. */
static struct iommufd_group *iommufd_group_find(struct iommufd_ctx *ictx, struct iommu_group *group)
{
	xa_guard groups(&ictx->groups);
	auto *found =
		static_cast<struct iommufd_group *>(xa_load(&ictx->groups, iommu_group_id(group)));

	return iommufd_group_try_get(found, group) ? found : nullptr;
}

/* Puts mine in the table; or, if another was faster, takes a reference to that one. -ENOMEM. */
static result<struct iommufd_group *> iommufd_group_publish(struct iommufd_ctx *ictx,
							    struct iommufd_group *mine)
{
	xa_guard groups(&ictx->groups);
	struct iommufd_group *dying = nullptr;

	while (true) {
		void *entry = __xa_cmpxchg(&ictx->groups, iommu_group_id(mine->group), dying, mine,
					   GFP_KERNEL);

		if (xa_is_err(entry))
			return xa_err(entry);

		auto *found = static_cast<struct iommufd_group *>(entry);

		if (found == dying)
			return mine;
		if (iommufd_group_try_get(found, mine->group))
			return found;
		/* it is on its way out: take its place */
		dying = found;
	}
}

/* The context's part of the device's group, with a reference.
 * -ENODEV: the device has no group; -ENOMEM. */
static result<struct iommufd_group *> iommufd_get_group(struct iommufd_ctx *ictx,
							struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);

	if (!group)
		return -ENODEV;
	if (auto *known = iommufd_group_find(ictx, group)) {
		iommu_group_put(group);
		return known;
	}

	auto *mine = kzalloc_obj<struct iommufd_group>();

	if (!mine) {
		iommu_group_put(group);
		return -ENOMEM;
	}
	/* takes the reference over */
	mine->group = group;
	/* without one to the context: whoever uses the group belongs to it */
	mine->ictx = ictx;

	auto published = iommufd_group_publish(ictx, mine);

	if (!published || *published != mine)
		iommufd_put_group(mine);
	return published;
}

/* ---- devices ---- */

/* No new vDEVICE from now on. A user of the one that there is. */
static users_ref<struct iommufd_vdevice> iommufd_device_hold_vdev(struct iommufd_device *idev)
{
	mutex_guard lock(&idev->igroup->lock);

	idev->destroying = true;
	if (!idev->vdev)
		return {};
	/*
	 * None that a DESTROY has taken out of the table already and that waits for the lock: it
	 * puts its reference when it is done, which is what our caller waits for.
	 */
	return iommufd_try_get_users(idev->ictx, idev->vdev);
}

static void iommufd_device_remove_vdev(struct iommufd_device *idev)
{
	/* with a user of it nobody else can destroy it. Its id stays taken until the context goes
	 */
	if (auto vdev = iommufd_device_hold_vdev(idev))
		iommufd_object_tombstone_user(idev->ictx, std::move(vdev));
}

void iommufd_device_pre_destroy(struct iommufd_object *obj)
{
	auto *idev = static_cast<struct iommufd_device *>(obj);

	if (idev->ictx->rev->vdevice_follows_device)
		iommufd_device_remove_vdev(idev);
	else
		iommufd_device_revoke_vdevs(idev);
}

void iommufd_device_destroy(struct iommufd_object *obj)
{
	auto *idev = static_cast<struct iommufd_device *>(obj);

	iommu_device_release_dma_owner(idev->dev);
	iommufd_put_group(idev->igroup);
	/* mock devices belong to the context, and so cannot keep it */
	if (!iommufd_selftest_is_mock_dev(idev->dev))
		iommufd_ctx_put(idev->ictx);
}

result<struct iommufd_device *> iommufd_device_bind(struct iommufd_ctx *ictx, struct device *dev,
						    u32 *id)
{
	struct iommufd_device *idev;
	struct iommufd_group *igroup;
	int rc;

	/* IOMMU_CACHE is always set, since users cannot flush */
	if (!device_iommu_capable(dev, IOMMU_CAP_CACHE_COHERENCY))
		return -EINVAL;

	auto got_group = iommufd_get_group(ictx, dev);

	if (!got_group)
		return got_group.error();
	igroup = *got_group;

	/* else the device could raise interrupts that belong to others, with a plain write */
	if (!iommufd_selftest_is_mock_dev(dev) && !iommu_group_has_isolated_msi(igroup->group)) {
		iommufd_put_group(igroup);
		return -EPERM;
	}

	rc = iommu_device_claim_dma_owner(dev, ictx);
	if (rc) {
		iommufd_put_group(igroup);
		return rc;
	}

	auto new_idev = iommufd_object_alloc<struct iommufd_device>(ictx);

	if (!new_idev) {
		iommu_device_release_dma_owner(dev);
		iommufd_put_group(igroup);
		return new_idev.error();
	}
	idev = *new_idev;
	idev->dev = dev;
	idev->ictx = ictx;
	if (!iommufd_selftest_is_mock_dev(dev))
		iommufd_ctx_get(ictx);
	idev->enforce_cache_coherency =
		device_iommu_capable(dev, IOMMU_CAP_ENFORCE_CACHE_COHERENCY);
	/* it is also why a user cannot destroy the device */
	idev->bound.get(idev);
	idev->igroup = igroup;

	iommufd_object_finalize(ictx, idev);
	*id = idev->id;
	return idev;
}

bool iommufd_ctx_has_group(struct iommufd_ctx *ictx, struct iommu_group *group)
{
	if (!ictx || !group)
		return false;

	xa_guard objects(&ictx->objects);
	struct iommufd_object *obj;
	unsigned long id;

	xa_for_each (&ictx->objects, id, obj)
		if (obj->type == IOMMUFD_OBJ_DEVICE &&
		    static_cast<struct iommufd_device *>(obj)->igroup->group == group)
			return true;
	return false;
}

void iommufd_device_unbind(struct iommufd_device *idev)
{
	iommufd_object_destroy_user(idev->ictx, idev->bound.end(idev));
}

struct iommufd_ctx *iommufd_device_to_ictx(struct iommufd_device *idev)
{
	return idev->ictx;
}

u32 iommufd_device_to_id(struct iommufd_device *idev)
{
	return idev->id;
}

/* ---- attachments ---- */

static struct iommufd_attach *iommufd_group_attach(struct iommufd_group *igroup, ioasid_t pasid)
{
	return static_cast<struct iommufd_attach *>(xa_load(&igroup->pasid_attach, pasid));
}

/* Every MSI page that devices of the group have used so far must be in the domain too. */
static int iommufd_group_setup_msi(struct iommufd_group *igroup,
				   struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommufd_ctx *ictx = igroup->ictx;
	struct iommufd_sw_msi_map *map;

	if (igroup->sw_msi_start == PHYS_ADDR_MAX)
		return 0;

	mutex_guard sw_msi(&ictx->sw_msi_lock);

	list_for_each_entry (map, &ictx->sw_msi_list, sw_msi_item) {
		const bool used = map->sw_msi_start == igroup->sw_msi_start &&
				  test_bit(map->id, igroup->required_sw_msi.bitmap);
		int rc = used ? iommufd_sw_msi_install(ictx, hwpt_paging, map) : 0;

		if (rc)
			return rc;
	}
	return 0;
}

static bool iommufd_group_first_attach(struct iommufd_group *igroup, ioasid_t pasid)
	__must_hold(igroup->lock)
{
	lockdep_assert_held(&igroup->lock);
	return !iommufd_group_attach(igroup, pasid);
}

static int iommufd_device_attach_reserved_iova(struct iommufd_device *idev,
					       struct iommufd_hwpt_paging *hwpt_paging)
	__must_hold(idev->igroup->lock)
{
	int rc;

	lockdep_assert_held(&idev->igroup->lock);

	rc = iopt_table_enforce_dev_resv_regions(&hwpt_paging->ioas->iopt, idev->dev,
						 &idev->igroup->sw_msi_start);
	if (rc)
		return rc;

	if (iommufd_group_first_attach(idev->igroup, IOMMU_NO_PASID)) {
		rc = iommufd_group_setup_msi(idev->igroup, hwpt_paging);
		if (rc) {
			iopt_remove_reserved_iova(&hwpt_paging->ioas->iopt, idev->dev);
			return rc;
		}
	}
	return 0;
}

static bool iommufd_device_is_attached(struct iommufd_device *idev, ioasid_t pasid)
{
	return xa_load(&iommufd_group_attach(idev->igroup, pasid)->device_array, idev->id);
}

/*
 * HWPTs of a device that uses PASIDs must all have been made for that: its own and those of its
 * PASIDs.
 */
static int iommufd_hwpt_pasid_compat(struct iommufd_hw_pagetable *hwpt, struct iommufd_device *idev,
				     ioasid_t pasid) __must_hold(idev->igroup->lock)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_attach *attach;

	lockdep_assert_held(&igroup->lock);

	if (pasid == IOMMU_NO_PASID) {
		unsigned long start = IOMMU_NO_PASID;

		if (!hwpt->pasid_compat && xa_find_after(&igroup->pasid_attach, &start, UINT_MAX))
			return -EINVAL;
		return 0;
	}

	if (!hwpt->pasid_compat)
		return -EINVAL;
	attach = iommufd_group_attach(igroup, IOMMU_NO_PASID);
	if (attach && attach->hwpt && !attach->hwpt->pasid_compat)
		return -EINVAL;
	return 0;
}

static int iommufd_hwpt_attach_device(struct iommufd_hw_pagetable *hwpt,
				      struct iommufd_device *idev, ioasid_t pasid)
	__must_hold(idev->igroup->lock)
{
	struct iommufd_attach_handle *handle;
	int rc;

	rc = iommufd_hwpt_pasid_compat(hwpt, idev, pasid);
	if (rc)
		return rc;

	handle = kzalloc_obj<struct iommufd_attach_handle>();
	if (!handle)
		return -ENOMEM;

	handle->igroup = idev->igroup;
	handle->pasid = pasid;
	if (pasid == IOMMU_NO_PASID)
		rc = iommu_attach_group_handle(hwpt->domain, idev->igroup->group, handle);
	else
		rc = iommu_attach_device_pasid(hwpt->domain, idev->dev, pasid, handle);
	if (rc)
		kfree_obj(handle);
	return rc;
}

static struct iommufd_attach_handle *iommufd_device_get_attach_handle(struct iommufd_device *idev,
								      ioasid_t pasid)
	__must_hold(idev->igroup->lock)
{
	lockdep_assert_held(&idev->igroup->lock);

	auto handle = iommu_attach_handle_get(idev->igroup->group, pasid, 0);

	return handle ? to_iommufd_handle(*handle) : nullptr;
}

static void iommufd_hwpt_detach_device(struct iommufd_hw_pagetable *hwpt,
				       struct iommufd_device *idev, ioasid_t pasid)
	__must_hold(idev->igroup->lock)
{
	struct iommufd_attach_handle *handle = iommufd_device_get_attach_handle(idev, pasid);

	if (pasid == IOMMU_NO_PASID)
		iommu_detach_group_handle(hwpt->domain, idev->igroup->group);
	else
		iommu_detach_device_pasid(hwpt->domain, idev->dev, pasid);

	iommufd_auto_response_faults(hwpt, handle);
	kfree_obj(handle);
}

static int iommufd_hwpt_replace_device(struct iommufd_device *idev, ioasid_t pasid,
				       struct iommufd_hw_pagetable *hwpt,
				       struct iommufd_hw_pagetable *old)
	__must_hold(idev->igroup->lock)
{
	struct iommufd_attach_handle *handle, *old_handle;
	int rc;

	rc = iommufd_hwpt_pasid_compat(hwpt, idev, pasid);
	if (rc)
		return rc;

	old_handle = iommufd_device_get_attach_handle(idev, pasid);

	handle = kzalloc_obj<struct iommufd_attach_handle>();
	if (!handle)
		return -ENOMEM;

	handle->igroup = idev->igroup;
	handle->pasid = pasid;
	if (pasid == IOMMU_NO_PASID)
		rc = iommu_replace_group_handle(idev->igroup->group, hwpt->domain, handle);
	else
		rc = iommu_replace_device_pasid(hwpt->domain, idev->dev, pasid, handle);
	if (rc) {
		kfree_obj(handle);
		return rc;
	}

	/* those that the old one's queue has; the new one's are of the new handle */
	iommufd_auto_response_faults(old, old_handle);
	kfree_obj(old_handle);
	return 0;
}

/*
 * What an attach does when there is room for the device: its reserved regions, and for the first
 * device the hardware. The others of a group must be attached too, since each brings its regions,
 * but the hardware has nothing to do. -EINVAL: the group is attached to another HWPT, or the driver
 * refuses this one.
 */
static int iommufd_attach_enter(struct iommufd_attach *attach, struct iommufd_hw_pagetable *hwpt,
				struct iommufd_device *idev, ioasid_t pasid)
	__must_hold(idev->igroup->lock)
{
	struct iommufd_hwpt_paging *resv_of = pasid == IOMMU_NO_PASID ? find_hwpt_paging(hwpt)
								      : nullptr;

	if (attach->hwpt && attach->hwpt != hwpt)
		return -EINVAL;
	if (resv_of)
		if (int rc = iommufd_device_attach_reserved_iova(idev, resv_of))
			return rc;
	if (!iommufd_group_first_attach(idev->igroup, pasid))
		return 0;

	if (int rc = iommufd_hwpt_attach_device(hwpt, idev, pasid)) {
		if (resv_of)
			iopt_remove_reserved_iova(&resv_of->ioas->iopt, idev->dev);
		return rc;
	}
	attach->hwpt = hwpt;
	WARN_ON(xa_is_err(xa_store(&idev->igroup->pasid_attach, pasid, attach, GFP_KERNEL)));
	return 0;
}

/* The same, with the device's slot around it. -EBUSY: this device is attached already; -ENOMEM. */
static int iommufd_attach_add_device(struct iommufd_attach *attach,
				     struct iommufd_hw_pagetable *hwpt, struct iommufd_device *idev,
				     ioasid_t pasid) __must_hold(idev->igroup->lock)
{
	int rc = xa_insert(&attach->device_array, idev->id, XA_ZERO_ENTRY, GFP_KERNEL);

	if (rc) {
		WARN_ON(rc == -EBUSY && !attach->hwpt);
		return rc;
	}
	rc = iommufd_attach_enter(attach, hwpt, idev, pasid);
	if (rc) {
		xa_release(&attach->device_array, idev->id);
		return rc;
	}
	/* the caller holds the HWPT */
	attach->users.get(hwpt);
	WARN_ON(xa_is_err(xa_store(&attach->device_array, idev->id, idev, GFP_KERNEL)));
	return 0;
}

/* -EINVAL: the group is attached to another HWPT, or the driver refuses this one; -EBUSY: this
 * device is attached already; -ENOMEM. */
int iommufd_hw_pagetable_attach(struct iommufd_hw_pagetable *hwpt, struct iommufd_device *idev,
				ioasid_t pasid)
{
	struct iommufd_group *igroup = idev->igroup;

	mutex_guard lock(&idev->igroup->lock);

	/* the slots first, so that nothing needs memory once the hardware has changed */
	void *entry = xa_cmpxchg(&igroup->pasid_attach, pasid, nullptr, XA_ZERO_ENTRY, GFP_KERNEL);

	if (xa_is_err(entry))
		return xa_err(entry);
	if (entry)
		return iommufd_attach_add_device(static_cast<struct iommufd_attach *>(entry), hwpt,
						 idev, pasid);

	auto *attach = kzalloc_obj<struct iommufd_attach>();
	int rc = attach ? iommufd_attach_add_device(attach, hwpt, idev, pasid) : -ENOMEM;

	if (rc) {
		kfree_obj(attach);
		xa_release(&igroup->pasid_attach, pasid);
	}
	return rc;
}

/* The user of the HWPT that the device had there, for the caller to put without the lock. */
static users_ref<struct iommufd_hw_pagetable>
__iommufd_hw_pagetable_detach(struct iommufd_device *idev, ioasid_t pasid)
{
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommufd_hw_pagetable *hwpt;
	struct iommufd_attach *attach;

	mutex_guard lock(&idev->igroup->lock);

	attach = iommufd_group_attach(idev->igroup, pasid);
	if (!attach)
		return {};

	hwpt = attach->hwpt;
	hwpt_paging = find_hwpt_paging(hwpt);

	/* others of its group may be attached: their users are theirs to put */
	if (!xa_erase(&attach->device_array, idev->id))
		return {};

	auto user = attach->users.take(hwpt);

	if (xa_empty(&attach->device_array)) {
		iommufd_hwpt_detach_device(hwpt, idev, pasid);
		xa_erase(&idev->igroup->pasid_attach, pasid);
		kfree_obj(attach);
	} else {
		/* the others keep the attachment, but nobody answers for this one now */
		iommufd_auto_response_faults(hwpt, iommufd_device_get_attach_handle(idev, pasid),
					     idev->dev);
	}
	if (hwpt_paging && pasid == IOMMU_NO_PASID)
		iopt_remove_reserved_iova(&hwpt_paging->ioas->iopt, idev->dev);
	return user;
}

bool iommufd_hw_pagetable_detach(struct iommufd_device *idev, ioasid_t pasid)
{
	auto user = __iommufd_hw_pagetable_detach(idev, pasid);

	if (!user)
		return false;
	/* without locks: an automatic HWPT may go with it */
	iommufd_hw_pagetable_put(idev->ictx, std::move(user));
	return true;
}

/* The user of a HWPT that the caller has to put; none, with an errno when it failed. */
static users_ref<struct iommufd_hw_pagetable>
iommufd_device_do_attach(struct iommufd_device *idev, ioasid_t pasid,
			 struct iommufd_hw_pagetable *hwpt)
{
	if (int rc = iommufd_hw_pagetable_attach(hwpt, idev, pasid))
		return rc;
	return {};
}

static void iommufd_group_remove_reserved_iova(struct iommufd_group *igroup,
					       struct iommufd_hwpt_paging *hwpt_paging)
	__must_hold(igroup->lock)
{
	struct iommufd_attach *attach;
	struct iommufd_device *cur;
	unsigned long index;

	lockdep_assert_held(&igroup->lock);

	attach = iommufd_group_attach(igroup, IOMMU_NO_PASID);
	xa_for_each (&attach->device_array, index, cur)
		iopt_remove_reserved_iova(&hwpt_paging->ioas->iopt, cur->dev);
}

static bool iommufd_share_ioas(const struct iommufd_hwpt_paging *a,
			       const struct iommufd_hwpt_paging *b)
{
	return a && b && a->ioas.get() == b->ioas.get();
}

/* The regions of all devices. The first that cannot be reserved ends it. */
static int iommufd_group_enforce_reserved_iova(struct iommufd_attach *attach,
					       struct io_pagetable *iopt)
{
	struct iommufd_device *member;
	unsigned long id;

	xa_for_each (&attach->device_array, id, member)
		if (int rc = iopt_table_enforce_dev_resv_regions(iopt, member->dev, nullptr))
			return rc;
	return 0;
}

static int iommufd_group_do_replace_reserved_iova(struct iommufd_group *igroup,
						  struct iommufd_hwpt_paging *hwpt_paging)
	__must_hold(igroup->lock)
{
	lockdep_assert_held(&igroup->lock);

	struct iommufd_attach *attach = iommufd_group_attach(igroup, IOMMU_NO_PASID);
	/* in an address space that the group stays in, the regions were reserved before and stay */
	const bool moves = !iommufd_share_ioas(hwpt_paging, find_hwpt_paging(attach->hwpt));
	int rc = 0;

	if (moves)
		rc = iommufd_group_enforce_reserved_iova(attach, &hwpt_paging->ioas->iopt);
	if (!rc)
		rc = iommufd_group_setup_msi(igroup, hwpt_paging);
	if (rc && moves)
		iommufd_group_remove_reserved_iova(igroup, hwpt_paging);
	return rc;
}

static users_ref<struct iommufd_hw_pagetable>
iommufd_device_do_replace(struct iommufd_device *idev, ioasid_t pasid,
			  struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_hwpt_paging *hwpt_paging = find_hwpt_paging(hwpt);
	bool attach_resv = hwpt_paging && pasid == IOMMU_NO_PASID;
	struct iommufd_hwpt_paging *old_hwpt_paging;
	struct iommufd_hw_pagetable *old_hwpt;
	struct iommufd_attach *attach;
	int rc;

	mutex_guard lock(&idev->igroup->lock);

	attach = iommufd_group_attach(idev->igroup, pasid);
	if (!attach)
		return -EINVAL;

	old_hwpt = attach->hwpt;
	WARN_ON(!old_hwpt || xa_empty(&attach->device_array));

	/* others of its group may be */
	if (!iommufd_device_is_attached(idev, pasid))
		return -EINVAL;

	if (hwpt == old_hwpt)
		return {};

	if (attach_resv) {
		rc = iommufd_group_do_replace_reserved_iova(idev->igroup, hwpt_paging);
		if (rc)
			return rc;
	}

	old_hwpt_paging = find_hwpt_paging(old_hwpt);

	rc = iommufd_hwpt_replace_device(idev, pasid, hwpt, old_hwpt);
	if (rc) {
		if (attach_resv && !iommufd_share_ioas(hwpt_paging, old_hwpt_paging))
			iommufd_group_remove_reserved_iova(idev->igroup, hwpt_paging);
		return rc;
	}

	if (old_hwpt_paging && pasid == IOMMU_NO_PASID &&
	    !iommufd_share_ioas(hwpt_paging, old_hwpt_paging))
		iommufd_group_remove_reserved_iova(idev->igroup, old_hwpt_paging);

	attach->hwpt = hwpt;

	/* all devices of the group move; one user of the old HWPT is left for the caller to put
	 * without the lock */
	return attach->users.move(old_hwpt, hwpt);
}

using attach_fn = users_ref<struct iommufd_hw_pagetable> (*)(struct iommufd_device *idev,
							     ioasid_t pasid,
							     struct iommufd_hw_pagetable *hwpt);

/* What the caller has to put without locks: the old HWPT as of an attach_fn, and the new one. */
struct iommufd_auto_domain {
	users_ref<struct iommufd_hw_pagetable> old;
	users_ref<struct iommufd_hwpt_paging> made;
};

/* Attaches to the first automatic HWPT of the IOAS that the device takes, or to a new one. */
static struct iommufd_auto_domain
__iommufd_device_auto_get_domain(struct iommufd_device *idev, ioasid_t pasid,
				 held_ref<struct iommufd_ioas> ioas, u32 *pt_id,
				 attach_fn do_attach)
{
	/* a driver may finish a domain only when it is attached, so prefer to do both at once */
	bool immediate_attach = do_attach == iommufd_device_do_attach;
	struct iommufd_hwpt_paging *hwpt_paging;

	mutex_guard lock(&ioas->mutex);

	list_for_each_entry (hwpt_paging, &ioas->hwpt_list, hwpt_item) {
		if (!hwpt_paging->auto_domain)
			continue;

		auto ref = iommufd_lock(idev->ictx, hwpt_paging);

		/* its last device is just going */
		if (!ref)
			continue;

		auto old = (*do_attach)(idev, pasid, hwpt_paging);

		/* it does not fit: another, or a new one, may */
		if (old.error() == -EINVAL)
			continue;
		if (!old.error())
			*pt_id = hwpt_paging->id;
		return {std::move(old), {}};
	}

	auto new_hwpt = iommufd_hwpt_paging_alloc(idev->ictx, ioas, idev, pasid, 0,
						  immediate_attach, nullptr);

	if (!new_hwpt)
		return {new_hwpt.error(), {}};
	hwpt_paging = *new_hwpt;

	auto old = immediate_attach ? users_ref<struct iommufd_hw_pagetable>()
				    : (*do_attach)(idev, pasid, hwpt_paging);

	if (old.error()) {
		iommufd_object_abort_and_destroy(idev->ictx, hwpt_paging);
		return {std::move(old), {}};
	}

	*pt_id = hwpt_paging->id;
	/*
	 * Another device of the group may have taken all of them away already: their users are
	 * then put before the HWPT is in the table, and must not look for it there. Whether it has
	 * to go is seen when ours is put.
	 */
	auto made = iommufd_get_new_users(hwpt_paging);

	iommufd_object_finalize(idev->ictx, hwpt_paging);
	hwpt_paging->auto_domain = true;
	return {std::move(old), std::move(made)};
}

/* The same, without anything to put but what it returns. HWPTs that a user made are never chosen.
 */
static users_ref<struct iommufd_hw_pagetable>
iommufd_device_auto_get_domain(struct iommufd_device *idev, ioasid_t pasid,
			       held_ref<struct iommufd_ioas> ioas, u32 *pt_id, attach_fn do_attach)
{
	auto domain = __iommufd_device_auto_get_domain(idev, pasid, ioas, pt_id, do_attach);

	if (domain.made)
		iommufd_hw_pagetable_put(idev->ictx, std::move(domain.made));
	return std::move(domain.old);
}

static users_ref<struct iommufd_hw_pagetable>
__iommufd_device_change_pt(struct iommufd_device *idev, ioasid_t pasid, u32 *pt_id,
			   attach_fn do_attach)
{
	auto pt = iommufd_get_object(idev->ictx, *pt_id, IOMMUFD_OBJ_ANY);

	if (!pt)
		return pt.error();

	switch (pt->type) {
	case IOMMUFD_OBJ_HWPT_NESTED:
	case IOMMUFD_OBJ_HWPT_PAGING:
		return (*do_attach)(idev, pasid, pt.as<struct iommufd_hw_pagetable>().get());
	case IOMMUFD_OBJ_IOAS:
		return iommufd_device_auto_get_domain(idev, pasid, pt.as<struct iommufd_ioas>(),
						      pt_id, do_attach);
	default:
		return -EINVAL;
	}
}

static int iommufd_device_change_pt(struct iommufd_device *idev, ioasid_t pasid, u32 *pt_id,
				    attach_fn do_attach)
{
	auto old = __iommufd_device_change_pt(idev, pasid, pt_id, do_attach);

	/* after everything is unlocked and put */
	if (old)
		iommufd_hw_pagetable_put(idev->ictx, std::move(old));
	return old.error();
}

int iommufd_device_attach(struct iommufd_device *idev, ioasid_t pasid, u32 *pt_id)
{
	int rc;

	rc = iommufd_device_change_pt(idev, pasid, pt_id, iommufd_device_do_attach);
	if (rc)
		return rc;

	/* shows a driver that unbinds an attached device */
	idev->attached.get(idev);
	return 0;
}

int iommufd_device_replace(struct iommufd_device *idev, ioasid_t pasid, u32 *pt_id)
{
	return iommufd_device_change_pt(idev, pasid, pt_id, iommufd_device_do_replace);
}

void iommufd_device_detach(struct iommufd_device *idev, ioasid_t pasid)
{
	if (iommufd_hw_pagetable_detach(idev, pasid))
		idev->attached.put(idev);
}

/* ---- accesses ---- */

/*
 * Ends what the access had in an IOAS, under the list id that it had there. The lock is dropped
 * while it is told to unpin.
 */
static void iommufd_access_leave_ioas(struct iommufd_access *access, struct iommufd_ioas *ioas,
				      u32 list_id) __must_hold(access->ioas_lock)
{
	if (!iommufd_access_is_internal(access) && access->ops->unmap) {
		mutex_unlock(&access->ioas_lock);
		access->ops->unmap(access->data, 0, ULONG_MAX);
		mutex_lock(&access->ioas_lock);
	}
	iopt_remove_access(&ioas->iopt, access, list_id);
	access->ioas_unpin.reset();
}

/*
 * Moves the access to new_ioas, or to none. The lock is dropped while the access is told to unpin.
 * -EBUSY: another is doing the same; -ENOMEM.
 */
static int iommufd_access_change_ioas(struct iommufd_access *access,
				      held_ref<struct iommufd_ioas> new_ioas)
	__must_hold(access->ioas_lock)
{
	lockdep_assert_held(&access->ioas_lock);

	struct iommufd_ioas *const old_ioas = access->ioas;
	/* entering the new one overwrites it */
	const u32 old_list_id = access->iopt_access_list_id;

	/* in the middle of a change: ioas is NULL already, ioas_unpin not yet */
	if (old_ioas != access->ioas_unpin.get())
		return -EBUSY;
	if (old_ioas == new_ioas.get())
		return 0;

	/* no more pins; unpins still find the old one */
	access->ioas = nullptr;
	if (new_ioas) {
		if (int rc = iopt_add_access(&new_ioas->iopt, access)) {
			access->ioas = old_ioas;
			return rc;
		}
	}

	users_ref<struct iommufd_ioas> entered(new_ioas);

	if (old_ioas)
		iommufd_access_leave_ioas(access, old_ioas, old_list_id);
	iommufd_object_hold<&iommufd_access::ioas_unpin>(access, std::move(entered));
	access->ioas = new_ioas.get();
	return 0;
}

static int iommufd_access_change_ioas_id(struct iommufd_access *access, u32 id)
	__must_hold(access->ioas_lock)
{
	auto ioas = iommufd_get_ioas(access->ictx, id);

	if (!ioas)
		return ioas.error();
	return iommufd_access_change_ioas(access, ioas);
}

void iommufd_access_destroy_object(struct iommufd_object *obj)
{
	auto *access = static_cast<struct iommufd_access *>(obj);

	mutex_lock(&access->ioas_lock);
	if (access->ioas)
		WARN_ON(iommufd_access_change_ioas(access, nullptr));
	mutex_unlock(&access->ioas_lock);
	if (!iommufd_access_is_internal(access))
		iommufd_ctx_put(access->ictx);
}

/* It has no command of its own, but a number like everything else. */
users_ref<struct iommufd_access> iommufd_access_create_internal(struct iommufd_ctx *ictx)
{
	auto access = iommufd_object_alloc<struct iommufd_access>(ictx);

	if (!access)
		return access.error();

	auto user = iommufd_get_new_users(*access);

	access->iova_alignment = PAGE_SIZE;
	iommufd_object_finalize(ictx, *access);
	return user;
}

result<struct iommufd_access *> iommufd_access_create(struct iommufd_ctx *ictx,
						      const struct iommufd_access_ops *ops,
						      void *data, u32 *id)
{
	auto access = iommufd_object_alloc<struct iommufd_access>(ictx);

	if (!access)
		return access;
	access->created.get(*access);
	access->data = data;
	access->ops = ops;
	access->iova_alignment = ops->needs_pin_pages ? PAGE_SIZE : 1;
	access->ictx = ictx;
	iommufd_ctx_get(ictx);
	iommufd_object_finalize(ictx, *access);
	*id = access->id;
	return access;
}

void iommufd_access_destroy(struct iommufd_access *access)
{
	iommufd_object_destroy_user(access->ictx, access->created.end(access));
}

void iommufd_access_detach(struct iommufd_access *access)
{
	mutex_guard lock(&access->ioas_lock);

	if (WARN_ON(!access->ioas))
		return;
	WARN_ON(iommufd_access_change_ioas(access, nullptr));
}

int iommufd_access_attach(struct iommufd_access *access, u32 ioas_id)
{
	mutex_guard lock(&access->ioas_lock);

	if (WARN_ON(access->ioas))
		return -EINVAL;
	return iommufd_access_change_ioas_id(access, ioas_id);
}

int iommufd_access_attach_internal(struct iommufd_access *access,
				   held_ref<struct iommufd_ioas> ioas)
{
	mutex_guard lock(&access->ioas_lock);

	if (WARN_ON(access->ioas))
		return -EINVAL;
	return iommufd_access_change_ioas(access, ioas);
}

int iommufd_access_replace(struct iommufd_access *access, u32 ioas_id)
{
	mutex_guard lock(&access->ioas_lock);

	if (!access->ioas)
		return -ENOENT;
	return iommufd_access_change_ioas_id(access, ioas_id);
}

/*
 * Tells every access on the list, except internal ones, to let go of the range. When it returns
 * they have, or have a bug. An access is not destroyed while it is told.
 */
void iommufd_access_notify_unmap(struct io_pagetable *iopt, unsigned long iova,
				 unsigned long length)
{
	struct iommufd_ioas *ioas = container_of(iopt, struct iommufd_ioas, iopt);
	struct iommufd_access *access;
	unsigned long index;

	xa_lock(&ioas->iopt.access_list);
	xa_for_each (&ioas->iopt.access_list, index, access) {
		if (iommufd_access_is_internal(access))
			continue;

		auto ref = iommufd_lock(access->ictx, access);

		if (!ref)
			continue;
		xa_unlock(&ioas->iopt.access_list);

		access->ops->unmap(access->data, iova, length);

		ref.reset();
		xa_lock(&ioas->iopt.access_list);
	}
	xa_unlock(&ioas->iopt.access_list);
}

void iommufd_access_unpin_pages(struct iommufd_access *access, unsigned long iova,
				unsigned long length)
{
	mutex_guard lock(&access->ioas_lock);

	/* before the attach, or after the detach that unpinned everything */
	if (WARN_ON(!access->ioas_unpin))
		return;
	iopt_unpin_pages(&access->ioas_unpin->iopt, iova, length,
			 iommufd_access_is_internal(access));
}

int iommufd_access_pin_pages(struct iommufd_access *access, unsigned long iova,
			     unsigned long length, struct page **out_pages, unsigned int flags)
{
	bool internal = iommufd_access_is_internal(access);
	unsigned long last_iova;

	/* its ops do not allow it */
	if (WARN_ON(access->iova_alignment != PAGE_SIZE || (!internal && !access->ops->unmap)))
		return -EINVAL;

	if (!length)
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last_iova))
		return -EOVERFLOW;

	mutex_guard lock(&access->ioas_lock);

	if (!access->ioas)
		return -ENOENT;
	return iopt_pin_pages(&access->ioas->iopt, iova, length, out_pages, flags, internal);
}

int iommufd_access_rw(struct iommufd_access *access, unsigned long iova, void *data, size_t length,
		      unsigned int flags)
{
	struct iopt_area_contig_iter iter;
	auto *buf = static_cast<u8 *>(data);
	struct iopt_area *area;
	unsigned long last_iova;
	int rc;

	if (!length)
		return -EINVAL;
	if (check_add_overflow(iova, length - 1, &last_iova))
		return -EOVERFLOW;

	mutex_guard lock(&access->ioas_lock);

	if (!access->ioas)
		return -ENOENT;

	struct io_pagetable *iopt = &access->ioas->iopt;
	rwsem_read_guard iova_lock(&iopt->iova_rwsem);

	iopt_for_each_contig_area (&iter, area, iopt, iova, last_iova) {
		unsigned long last = min(last_iova, iopt_area_last_iova(area));
		unsigned long bytes = last - iter.cur_iova + 1;

		if (area->prevent_access)
			return -EINVAL;
		if (!iopt_area_check_prot(area, flags))
			return -EPERM;

		rc = iopt_pages_rw_access(area->pages, iopt_area_start_byte(area, iter.cur_iova),
					  buf, bytes, flags);
		if (rc)
			return rc;
		buf += bytes;
	}
	return iopt_area_contig_done(&iter) ? 0 : -ENOENT;
}

/* ---- GET_HW_INFO ---- */

int iommufd_get_hw_info(struct iommufd_ucmd *ucmd)
{
	const struct iommufd_revision *rev = ucmd->ictx->rev;
	const u32 supported_flags = rev->hw_info_input_type ? IOMMU_HW_INFO_FLAG_INPUT_TYPE : 0;
	auto *cmd = static_cast<struct iommu_hw_info *>(ucmd->cmd);
	enum iommu_hw_info_type type = IOMMU_HW_INFO_TYPE_DEFAULT;
	user_out<void> user_ptr(cmd->data_uptr);
	const struct iommu_ops *ops;
	unsigned int data_len = 0;
	unsigned int copy_len;
	void *data = nullptr;
	int rc = 0;

	if (cmd->flags & ~supported_flags)
		return -EOPNOTSUPP;
	if (cmd->__reserved[0] || cmd->__reserved[1] || cmd->__reserved[2])
		return -EOPNOTSUPP;

	/* what is there without the flag is not a question */
	if (cmd->flags & IOMMU_HW_INFO_FLAG_INPUT_TYPE)
		type = static_cast<enum iommu_hw_info_type>(cmd->in_data_type);

	auto idev = iommufd_get_device(ucmd, cmd->dev_id);

	if (!idev)
		return idev.error();

	ops = dev_iommu_ops(idev->dev);
	if (ops->hw_info) {
		auto info = (!rev->hw_info_input_type && ops->hw_info_v2
				     ? ops->hw_info_v2
				     : ops->hw_info)(idev->dev, &data_len, &type);

		if (!info)
			return info.error();
		data = *info;
		/* a driver with data has a type for it */
		if (WARN_ON_ONCE(type == IOMMU_HW_INFO_TYPE_NONE)) {
			kfree(data);
			return -EOPNOTSUPP;
		}
	} else {
		type = IOMMU_HW_INFO_TYPE_NONE;
	}
	cmd->out_data_type = type;

	copy_len = min(cmd->data_len, data_len);
	if (copy_len)
		rc = user_ptr.copy_to_user(data, copy_len);
	/* a newer user's fields read as zero */
	if (!rc && copy_len < cmd->data_len)
		rc = clear_user(user_ptr + copy_len, cmd->data_len - copy_len);
	kfree(data);
	if (rc)
		return rc;

	/* what the kernel has, which may be more than there was room for */
	cmd->data_len = data_len;

	cmd->out_capabilities = 0;
	if (device_iommu_capable(idev->dev, IOMMU_CAP_DIRTY_TRACKING))
		cmd->out_capabilities |= IOMMU_HW_CAP_DIRTY_TRACKING;
	if (rev->hw_info_ats && !device_iommu_capable(idev->dev, IOMMU_CAP_PCI_ATS_SUPPORTED))
		cmd->out_capabilities |= IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED;

	/* PASIDs that the driver has enabled when it probed the device */
	const struct dev_iommu *param = idev->dev->iommu;

	cmd->out_max_pasid_log2 = 0;
	if (rev->pasid && param->max_pasids) {
		cmd->out_max_pasid_log2 = ilog2(param->max_pasids);
		if (param->pci_pasid_ctrl & PCI_PASID_CTRL_EXEC)
			cmd->out_capabilities |= IOMMU_HW_CAP_PCI_PASID_EXEC;
		if (param->pci_pasid_ctrl & PCI_PASID_CTRL_PRIV)
			cmd->out_capabilities |= IOMMU_HW_CAP_PCI_PASID_PRIV;
	}

	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}
