// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The IOMMU core: devices and groups, DMA ownership, attachments, mappings, reserved regions,
 * copies of driver data.
 *
 * Mirrors the parts of drivers/iommu/iommu.c that iommufd and its drivers use, and the copy helpers
 * of include/linux/iommu.h, of Linux 7.2. It differs as iommu.h says; also there is no device
 * recovery and no deferred attach, and a device that joins a group gets the group's PASIDs.
 */
#include "core/iommu/iommu.h"

#include "core/linux/bug.h"
#include "core/linux/kernel.h"
#include "core/linux/kref.h"
#include "core/linux/printk.h"
#include "core/linux/rwsem.h"
#include "core/linux/sched.h"

#include <climits>

struct group_device {
	struct list_head list;
	struct device *dev = nullptr;
};

struct iommu_group {
	struct kref ref;
	struct rw_semaphore attach_rwsem{LOCK_CLASS(iommu_group, attach_rwsem)};
	struct mutex mutex{LOCK_CLASS(iommu_group, mutex)};
	struct list_head devices __guarded_by(mutex); /* struct group_device */
	/* PASID -> iommu_attach_handle, or the domain tagged with IOMMU_PASID_ARRAY_DOMAIN */
	struct xarray pasid_array{LOCK_CLASS(iommu_group, pasid_array)};
	int id = 0;
	struct kernel *kernel = nullptr;
	struct iommu_group *next = nullptr; /* the kernel's list, by id */
	struct iommu_domain *default_domain __guarded_by(mutex) = nullptr;
	struct iommu_domain *blocking_domain __guarded_by(mutex) = nullptr;
	struct iommu_domain *domain __guarded_by(mutex) = nullptr;
	unsigned int owner_cnt __guarded_by(mutex) = 0;
	void *owner __guarded_by(mutex) = nullptr;
};

enum {
	IOMMU_SET_DOMAIN_MUST_SUCCEED = 1 << 0,
};

/* ---- copies of driver data ---- */

int __iommu_copy_struct_from_user(void *dst_data, const struct iommu_user_data *src_data,
				  unsigned int data_type, size_t data_len, size_t min_len)
{
	if (WARN_ON(!dst_data || !src_data))
		return -EINVAL;
	if (src_data->type != data_type)
		return -EINVAL;
	if (src_data->len < min_len || data_len < src_data->len)
		return -EINVAL;
	return copy_struct_from_user(dst_data, data_len, src_data->uptr, src_data->len);
}

int __iommu_copy_struct_from_user_array(void *dst_data,
					const struct iommu_user_data_array *src_array,
					unsigned int data_type, unsigned int index, size_t data_len,
					size_t min_len)
{
	struct iommu_user_data src_data;

	if (WARN_ON(!src_array || index >= src_array->entry_num))
		return -EINVAL;
	src_data.uptr = src_array->uptr + src_array->entry_len * index;
	src_data.len = src_array->entry_len;
	src_data.type = src_array->type;
	return __iommu_copy_struct_from_user(dst_data, &src_data, data_type, data_len, min_len);
}

int iommu_copy_struct_from_full_user_array(void *kdst, size_t kdst_entry_size,
					   const struct iommu_user_data_array *user_array,
					   unsigned int data_type)
{
	if (user_array->type != data_type)
		return -EINVAL;
	if (!user_array->entry_num)
		return -EINVAL;
	if (user_array->entry_len == kdst_entry_size)
		return user_array->uptr.copy_from_user(kdst, user_array->entry_num *
								     user_array->entry_len);

	for (u32 i = 0; i != user_array->entry_num; i++) {
		int ret = copy_struct_from_user(
			static_cast<char *>(kdst) + kdst_entry_size * i, kdst_entry_size,
			user_array->uptr + user_array->entry_len * i, user_array->entry_len);

		if (ret)
			return ret;
	}
	return 0;
}

int __iommu_copy_struct_to_user(const struct iommu_user_data *dst_data, const void *src_data,
				unsigned int data_type, size_t data_len, size_t min_len)
{
	if (WARN_ON(!dst_data || !src_data))
		return -EINVAL;
	if (dst_data->type != data_type)
		return -EINVAL;
	if (dst_data->len < min_len || data_len < dst_data->len)
		return -EINVAL;
	return dst_data->uptr.copy_to_user(src_data, dst_data->len);
}

/* ---- instances and devices ---- */

int iommu_device_register(struct iommu_device *iommu, const struct iommu_ops *ops,
			  struct device *hwdev)
{
	/* a driver that cannot be asked which instance serves a device is none */
	if (WARN_ON(!ops->probe_device || !ops->device_group))
		return -EINVAL;
	iommu->ops = ops;
	iommu->dev = hwdev;
	iommu->ready = true;
	return 0;
}

void iommu_device_unregister(struct iommu_device *iommu)
{
	iommu->ready = false;
}

bool device_iommu_capable(struct device *dev, enum iommu_cap cap)
{
	const struct iommu_ops *ops = dev_has_iommu(dev) ? dev_iommu_ops(dev) : nullptr;

	return ops && ops->capable && ops->capable(dev, cap);
}

static int __iommu_attach_device(struct iommu_domain *domain, struct device *dev,
				 struct iommu_domain *old)
{
	if (!domain->ops->attach_dev)
		return -ENODEV;
	return domain->ops->attach_dev(domain, dev, old);
}

static int __iommu_device_set_domain(struct iommu_group *group, struct device *dev,
				     struct iommu_domain *new_domain,
				     struct iommu_domain *old_domain, unsigned int flags)
	__must_hold(group->mutex)
{
	int ret;

	/* a blocking domain has no 1:1 mapping, so such a device cannot be owned by anybody either
	 */
	if (dev->iommu->require_direct &&
	    (new_domain->type == IOMMU_DOMAIN_BLOCKED || new_domain == group->blocking_domain)) {
		dev_warn(dev, "needs a 1:1 mapping, cannot be blocked");
		return -EINVAL;
	}

	ret = __iommu_attach_device(new_domain, dev, old_domain);
	if (ret) {
		/* whatever comes: it must not go on with a domain that is about to be freed */
		if (flags & IOMMU_SET_DOMAIN_MUST_SUCCEED && group->blocking_domain &&
		    group->blocking_domain != new_domain)
			(void)__iommu_attach_device(group->blocking_domain, dev, old_domain);
		return ret;
	}
	return 0;
}

/* Takes the devices before one that failed back to the group's domain. */
static void __iommu_group_revert_devices(struct iommu_group *group,
					 const struct group_device *failed,
					 struct iommu_domain *tried) __must_hold(group->mutex)
{
	struct group_device *moved;

	/* without one it is the first probe, and the release cleans up */
	if (!group->domain)
		return;
	list_for_each_entry (moved, &group->devices, list) {
		if (moved == failed)
			return;
		/*
		 * The kernel warns of a driver that refuses what it took before. But users can
		 * bring that about: a nested domain wants the device's vDEVICE, which may have been
		 * destroyed since. Such a device is blocked until the group's domain changes.
		 */
		if (__iommu_device_set_domain(group, moved->dev, group->domain, tried,
					      IOMMU_SET_DOMAIN_MUST_SUCCEED))
			dev_warn_ratelimited(moved->dev,
					     "cannot go back to its domain, is blocked");
	}
}

/*
 * Attaches every device of the group. 0: group->domain is the new one. An error: it is the old one,
 * except with IOMMU_SET_DOMAIN_MUST_SUCCEED where the group is left in between, and except for
 * devices that the old one refuses by now.
 */
static int __iommu_group_set_domain_internal(struct iommu_group *group,
					     struct iommu_domain *new_domain, unsigned int flags)
	__must_hold(group->mutex)
{
	struct group_device *gdev;
	int result = 0;

	lockdep_assert_held(&group->mutex);

	if (group->domain == new_domain)
		return 0;
	if (WARN_ON(!new_domain))
		return -EINVAL;

	list_for_each_entry (gdev, &group->devices, list) {
		int ret = __iommu_device_set_domain(group, gdev->dev, new_domain, group->domain,
						    flags);

		if (!ret)
			continue;
		if (!(flags & IOMMU_SET_DOMAIN_MUST_SUCCEED)) {
			__iommu_group_revert_devices(group, gdev, new_domain);
			return ret;
		}
		/* the others should at least let go of the old one */
		result = ret;
	}
	group->domain = new_domain;
	return result;
}

static int __iommu_group_set_domain(struct iommu_group *group, struct iommu_domain *new_domain)
	__must_hold(group->mutex)
{
	return __iommu_group_set_domain_internal(group, new_domain, 0);
}

static void __iommu_group_set_domain_nofail(struct iommu_group *group,
					    struct iommu_domain *new_domain)
	__must_hold(group->mutex)
{
	WARN_ON(__iommu_group_set_domain_internal(group, new_domain,
						  IOMMU_SET_DOMAIN_MUST_SUCCEED));
}

/* What the group has when nobody attached a domain: all blocked while it has an owner, the kernel's
 * own otherwise. */
static void __iommu_group_set_core_domain(struct iommu_group *group) __must_hold(group->mutex)
{
	__iommu_group_set_domain_nofail(group, group->owner ? group->blocking_domain
							    : group->default_domain);
}

static bool dev_has_pasid(const struct device *dev, ioasid_t pasid)
{
	return pasid < dev->iommu->max_pasids;
}

static void iommu_remove_dev_pasid(struct device *dev, ioasid_t pasid, struct iommu_domain *domain)
{
	struct iommu_domain *blocked_domain = dev_iommu_ops(dev)->blocked_domain;

	WARN_ON(blocked_domain->ops->set_dev_pasid(blocked_domain, dev, pasid, domain));
}

/* Gives a device that has just joined what the group's PASIDs are attached to, as far as it has
 * them. All or none; what the driver says. */
static int __iommu_device_join_pasids(struct iommu_group *group, struct device *dev)
	__must_hold(group->mutex)
{
	struct iommu_attach_handle *handle;
	unsigned long pasid, undo;
	int rc = 0;

	xa_for_each_range (&group->pasid_array, pasid, handle, IOMMU_NO_PASID + 1, ULONG_MAX) {
		if (!dev_has_pasid(dev, (ioasid_t)pasid))
			return 0;
		rc = handle->domain->ops->set_dev_pasid(handle->domain, dev, (ioasid_t)pasid,
							nullptr);
		if (rc)
			break;
	}
	if (rc)
		xa_for_each_range (&group->pasid_array, undo, handle, IOMMU_NO_PASID + 1, pasid - 1)
			iommu_remove_dev_pasid(dev, (ioasid_t)undo, handle->domain);
	return rc;
}

int iommu_probe_device(struct device *dev, struct iommu_device *iommu)
{
	const struct iommu_ops *ops = iommu->ops;
	struct iommu_resv_region *region;
	struct group_device *gdev = nullptr;
	struct iommu_group *group;
	LIST_HEAD(resv);
	int ret;

	if (WARN_ON(dev->iommu || dev->iommu_group))
		return -EBUSY;

	dev->iommu = kzalloc_obj<struct dev_iommu>();
	if (!dev->iommu)
		return -ENOMEM;

	/* as the kernel: the driver may look at it while it probes */
	dev->iommu->iommu_dev = iommu;
	auto probed = ops->probe_device(dev);

	if (!probed) {
		ret = probed.error();
		goto err_free;
	}
	dev->iommu->iommu_dev = *probed;
	ops = dev_iommu_ops(dev);
	/* the device's own number, which the driver has set; its IOMMU may have fewer.
	 * Compare dev_iommu_get_max_pasids */
	dev->iommu->max_pasids = min(dev->iommu->max_pasids, dev->iommu->iommu_dev->max_pasids);

	{
		auto new_group = ops->device_group(dev);

		if (!new_group) {
			ret = new_group.error();
			goto err_release;
		}
		group = *new_group;
	}
	dev->iommu_group = group;

	gdev = kzalloc_obj<struct group_device>();
	if (!gdev) {
		ret = -ENOMEM;
		goto err_put_group;
	}
	gdev->dev = dev;

	iommu_get_resv_regions(dev, &resv);
	list_for_each_entry (region, &resv, list)
		if (region->type == IOMMU_RESV_DIRECT)
			dev->iommu->require_direct = true;
	iommu_put_resv_regions(dev, &resv);

	mutex_lock(&group->mutex);
	list_add_tail(&gdev->list, &group->devices);
	if (group->domain) {
		ret = __iommu_device_set_domain(group, dev, group->domain, nullptr, 0);
		if (!ret)
			ret = __iommu_device_join_pasids(group, dev);
	} else {
		group->default_domain = ops->default_domain    ? ops->default_domain
					: ops->identity_domain ? ops->identity_domain
							       : ops->blocked_domain;
		ret = __iommu_group_set_domain(group, group->default_domain);
		if (ret)
			group->default_domain = nullptr;
	}
	if (ret)
		list_del(&gdev->list);
	mutex_unlock(&group->mutex);
	if (!ret)
		return 0;

err_put_group:
	kfree_obj(gdev);
	iommu_group_put(dev->iommu_group);
	dev->iommu_group = nullptr;
err_release:
	if (ops->release_device)
		ops->release_device(dev);
err_free:
	kfree_obj(dev->iommu);
	dev->iommu = nullptr;
	return ret;
}

void iommu_release_device(struct device *dev)
{
	struct iommu_group *group = dev->iommu_group;
	const struct iommu_ops *ops;
	struct group_device *gdev;
	struct iommu_domain *blocking = nullptr;

	if (!dev->iommu)
		return;
	ops = dev_iommu_ops(dev);

	mutex_lock(&group->mutex);
	list_for_each_entry (gdev, &group->devices, list)
		if (gdev->dev == dev)
			break;
	list_del(&gdev->list);
	/* iommufd lets go of a device before its driver does */
	WARN_ON(list_empty(&group->devices) &&
		(group->owner_cnt || !xa_empty(&group->pasid_array)));
	if (list_empty(&group->devices)) {
		if (group->blocking_domain != ops->blocked_domain)
			blocking = group->blocking_domain;
		group->blocking_domain = nullptr;
		group->default_domain = nullptr;
		group->domain = nullptr;
	}
	mutex_unlock(&group->mutex);
	kfree_obj(gdev);

	if (ops->release_device) {
		/* a report of its faults is over, and no other finds it */
		rwsem_write_guard reports(&group->attach_rwsem);

		ops->release_device(dev);
	}
	if (blocking)
		iommu_domain_free(blocking);

	dev->iommu_group = nullptr;
	iommu_group_put(group);
	kfree_obj(dev->iommu);
	dev->iommu = nullptr;
}

/* ---- groups ---- */

result<struct iommu_group *> iommu_group_alloc(void)
{
	struct kernel *kernel = current->kernel;
	auto *group = kzalloc_obj<struct iommu_group>();

	if (!group)
		return -ENOMEM;
	group->kernel = kernel;

	/* the lowest id that no group has; the list is kept in that order */
	raw_guard groups(&kernel->tasks_lock);
	auto *head = static_cast<struct iommu_group *>(kernel->iommu_state);
	struct iommu_group **link = &head;

	while (*link && (*link)->id == group->id) {
		group->id++;
		link = &(*link)->next;
	}
	group->next = *link;
	*link = group;
	kernel->iommu_state = head;
	return group;
}

static void iommu_group_release(struct kref *ref)
{
	struct iommu_group *group = container_of(ref, struct iommu_group, ref);

	{
		raw_guard groups(&group->kernel->tasks_lock);
		auto *head = static_cast<struct iommu_group *>(group->kernel->iommu_state);
		struct iommu_group **link = &head;

		while (*link != group)
			link = &(*link)->next;
		*link = group->next;
		group->kernel->iommu_state = head;
	}
	kfree_obj(group);
}

result<struct iommu_group *> generic_device_group(struct device *)
{
	return iommu_group_alloc();
}

struct iommu_group *iommu_group_get(struct device *dev)
{
	struct iommu_group *group = dev->iommu_group;

	if (group)
		kref_get(&group->ref);
	return group;
}

struct iommu_group *iommu_group_ref_get(struct iommu_group *group)
{
	kref_get(&group->ref);
	return group;
}

void iommu_group_put(struct iommu_group *group)
{
	if (group)
		kref_put(&group->ref, iommu_group_release);
}

struct rw_semaphore *iommu_group_attach_rwsem(struct iommu_group *group)
{
	return &group->attach_rwsem;
}

int iommu_group_id(struct iommu_group *group)
{
	return group->id;
}

bool iommu_group_has_isolated_msi(struct iommu_group *group)
{
	struct group_device *gdev;

	mutex_guard lock(&group->mutex);
	list_for_each_entry (gdev, &group->devices, list)
		if (!gdev->dev->iommu->isolated_msi)
			return false;
	return true;
}

void iommu_group_mutex_assert(struct device *dev)
{
	lockdep_assert_held(&dev->iommu_group->mutex);
}

struct iommu_domain *iommu_get_domain_for_dev(struct device *dev)
{
	struct iommu_group *group = dev->iommu_group;

	if (!group)
		return nullptr;
	mutex_guard lock(&group->mutex);
	return group->domain;
}

/* ---- ownership ---- */

static int __iommu_group_alloc_blocking_domain(struct iommu_group *group) __must_hold(group->mutex)
{
	if (group->blocking_domain)
		return 0;

	struct device *dev = list_first_entry(&group->devices, struct group_device, list)->dev;

	group->blocking_domain = dev_iommu_ops(dev)->blocked_domain;
	if (group->blocking_domain)
		return 0;

	/* a driver without a domain that blocks: an empty one blocks too */
	auto empty = iommu_paging_domain_alloc(dev);

	if (!empty)
		return empty.error();
	group->blocking_domain = *empty;
	return 0;
}

static int __iommu_take_dma_ownership(struct iommu_group *group, void *owner)
	__must_hold(group->mutex)
{
	const bool attached = group->domain && group->domain != group->default_domain;

	if (attached || !xa_empty(&group->pasid_array))
		return -EBUSY;

	int rc = __iommu_group_alloc_blocking_domain(group);

	if (!rc)
		rc = __iommu_group_set_domain(group, group->blocking_domain);
	if (rc)
		return rc;
	group->owner_cnt++;
	group->owner = owner;
	return 0;
}

int iommu_device_claim_dma_owner(struct device *dev, void *owner)
{
	struct iommu_group *group = dev->iommu_group;

	if (WARN_ON(!owner))
		return -EINVAL;
	if (!group)
		return -ENODEV;

	mutex_guard lock(&group->mutex);
	if (group->owner_cnt) {
		if (group->owner != owner)
			return -EPERM;
		group->owner_cnt++;
		return 0;
	}
	return __iommu_take_dma_ownership(group, owner);
}

void iommu_device_release_dma_owner(struct device *dev)
{
	struct iommu_group *group = dev->iommu_group;

	mutex_guard lock(&group->mutex);
	if (group->owner_cnt > 1) {
		group->owner_cnt--;
		return;
	}
	if (WARN_ON(!group->owner_cnt || !group->owner || !xa_empty(&group->pasid_array)))
		return;
	group->owner_cnt = 0;
	group->owner = nullptr;
	__iommu_group_set_domain_nofail(group, group->default_domain);
}

/* ---- domains ---- */

result<struct iommu_domain *> iommu_paging_domain_alloc(struct device *dev)
{
	const struct iommu_ops *ops;

	if (!dev_has_iommu(dev))
		return -ENODEV;
	ops = dev_iommu_ops(dev);
	if (!ops->domain_alloc_paging && !ops->domain_alloc_paging_flags)
		return -EOPNOTSUPP;

	auto domain = ops->domain_alloc_paging ? ops->domain_alloc_paging(dev)
					       : ops->domain_alloc_paging_flags(dev, 0, nullptr);

	if (!domain)
		return domain;
	if (!*domain)
		return -ENOMEM;
	domain->type = IOMMU_DOMAIN_UNMANAGED;
	domain->owner = ops;
	if (!domain->ops)
		domain->ops = ops->default_domain_ops;
	return domain;
}

void iommu_domain_free(struct iommu_domain *domain)
{
	if (domain->ops->free)
		domain->ops->free(domain);
}

phys_addr_t iommu_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	switch (domain->type) {
	case IOMMU_DOMAIN_IDENTITY:
		return iova;
	case IOMMU_DOMAIN_BLOCKED:
		return 0;
	default:
		return domain->ops->iova_to_phys(domain, iova);
	}
}

/* The largest page size that fits, and how many of them until a larger one would fit better. size
 * is not 0. */
static size_t iommu_pgsize(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			   size_t size, size_t *count)
{
	const unsigned long addrs = iova | paddr;
	unsigned long fitting = domain->pgsize_bitmap & GENMASK(__fls(size), 0);

	if (addrs)
		fitting &= GENMASK(__ffs(addrs), 0);
	/* the callers have checked alignment with the smallest one */
	BUG_ON(!fitting);

	const unsigned int shift = __fls(fitting);
	const unsigned long larger = domain->pgsize_bitmap & ~GENMASK(shift, 0);

	if (larger) {
		const size_t next = BIT(__ffs(larger));
		const size_t until_next = next - (addrs & (next - 1));

		/* both addresses must reach its boundary together, with a whole one behind it */
		if (!((iova ^ paddr) & (next - 1)) && until_next <= size &&
		    next <= size - until_next)
			size = until_next;
	}
	*count = size >> shift;
	return BIT(shift);
}

static int __iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
		       size_t size, int prot, gfp_t gfp, size_t *mapped)
{
	const struct iommu_domain_ops *ops = domain->ops;
	unsigned long min_pagesz;

	if (WARN_ON(!ops->map_pages))
		return -ENODEV;
	if (WARN_ON(!(domain->type & __IOMMU_DOMAIN_PAGING) || !domain->pgsize_bitmap))
		return -EINVAL;

	min_pagesz = 1UL << __ffs(domain->pgsize_bitmap);
	if (!IS_ALIGNED(iova | paddr | size, min_pagesz)) {
		pr_err("unaligned: iova 0x%lx pa 0x%llx size 0x%zx min_pagesz 0x%lx", iova,
		       (unsigned long long)paddr, size, min_pagesz);
		return -EINVAL;
	}

	while (size) {
		size_t pages, done = 0;
		const size_t pgsize = iommu_pgsize(domain, iova, paddr, size, &pages);
		int rc = ops->map_pages(domain, iova, paddr, pgsize, pages, prot, gfp, &done);

		/* a failed call may have mapped some */
		*mapped += done;
		if (rc)
			return rc;
		iova += done;
		paddr += done;
		size -= done;
	}
	return 0;
}

int iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr, size_t size,
	      int prot, gfp_t gfp)
{
	size_t mapped = 0;
	int ret;

	might_alloc(gfp);

	ret = __iommu_map(domain, iova, paddr, size, prot, gfp, &mapped);
	if (!ret && domain->ops->iotlb_sync_map)
		ret = domain->ops->iotlb_sync_map(domain, iova, size);
	if (ret && mapped)
		iommu_unmap(domain, iova, mapped);
	return ret;
}

size_t iommu_unmap_fast(struct iommu_domain *domain, unsigned long iova, size_t size,
			struct iommu_iotlb_gather *iotlb_gather)
{
	const struct iommu_domain_ops *ops = domain->ops;
	size_t unmapped = 0;
	unsigned long min_pagesz;

	if (WARN_ON(!ops->unmap_pages || !(domain->type & __IOMMU_DOMAIN_PAGING) ||
		    !domain->pgsize_bitmap))
		return 0;

	min_pagesz = 1UL << __ffs(domain->pgsize_bitmap);
	if (!IS_ALIGNED(iova | size, min_pagesz)) {
		pr_err("unaligned: iova 0x%lx size 0x%zx min_pagesz 0x%lx", iova, size, min_pagesz);
		return 0;
	}

	while (unmapped < size) {
		size_t pages;
		const size_t pgsize = iommu_pgsize(domain, iova, iova, size - unmapped, &pages);
		const size_t done = ops->unmap_pages(domain, iova, pgsize, pages, iotlb_gather);

		if (!done)
			break;

		/* a driver that does not gather is synced all the same */
		if (iotlb_gather->start >= iotlb_gather->end)
			iommu_iotlb_gather_add_range(iotlb_gather, iova, size);
		iova += done;
		unmapped += done;
	}
	return unmapped;
}

size_t iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size)
{
	struct iommu_iotlb_gather iotlb_gather;
	size_t ret;

	iommu_iotlb_gather_init(&iotlb_gather);
	ret = iommu_unmap_fast(domain, iova, size, &iotlb_gather);
	iommu_iotlb_sync(domain, &iotlb_gather);
	return ret;
}

/* ---- reserved regions ---- */

void iommu_get_resv_regions(struct device *dev, struct list_head *list)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);

	if (ops->get_resv_regions)
		ops->get_resv_regions(dev, list);
}

void iommu_put_resv_regions(struct device *dev, struct list_head *list)
{
	struct iommu_resv_region *region, *after;

	list_for_each_entry_safe (region, after, list, list) {
		if (region->free)
			region->free(dev, region);
		else
			kfree_obj(region);
	}
	INIT_LIST_HEAD(list);
}

struct iommu_resv_region *iommu_alloc_resv_region(phys_addr_t start, size_t length, int prot,
						  enum iommu_resv_type type, gfp_t)
{
	auto *region = kzalloc_obj<struct iommu_resv_region>();

	if (!region)
		return nullptr;
	region->start = start;
	region->length = length;
	region->prot = prot;
	region->type = type;
	return region;
}

/* ---- attachments with a handle ---- */

/*
 * An entry of pasid_array. With a handle it is the handle, whose domain is set here; the only users
 * of attachments here always have one.
 */
static void *iommu_make_pasid_array_entry(struct iommu_domain *domain,
					  struct iommu_attach_handle *handle)
{
	handle->domain = domain;
	return handle;
}

static bool domain_iommu_ops_compatible(const struct iommu_ops *ops,
					const struct iommu_domain *domain)
{
	if (domain->owner == ops)
		return true;
	/* those of a driver belong to it without saying so */
	return domain == ops->blocked_domain || domain == ops->identity_domain;
}

static int __iommu_attach_group(struct iommu_domain *domain, struct iommu_group *group)
	__must_hold(group->mutex)
{
	struct group_device *gdev;

	if (group->domain && group->domain != group->default_domain &&
	    group->domain != group->blocking_domain)
		return -EBUSY;

	list_for_each_entry (gdev, &group->devices, list)
		if (!domain_iommu_ops_compatible(dev_iommu_ops(gdev->dev), domain))
			return -EINVAL;
	return __iommu_group_set_domain(group, domain);
}

int iommu_attach_group_handle(struct iommu_domain *domain, struct iommu_group *group,
			      struct iommu_attach_handle *handle)
{
	void *entry;
	int ret;

	if (!handle)
		return -EINVAL;

	mutex_guard lock(&group->mutex);
	entry = iommu_make_pasid_array_entry(domain, handle);
	ret = xa_insert(&group->pasid_array, IOMMU_NO_PASID, XA_ZERO_ENTRY, GFP_KERNEL);
	if (ret)
		return ret;

	ret = __iommu_attach_group(domain, group);
	if (ret) {
		xa_release(&group->pasid_array, IOMMU_NO_PASID);
		return ret;
	}

	/* the slot is there: cannot fail. Not before the attach, so that nobody finds a handle of a
	 * failed one */
	WARN_ON(xa_is_err(xa_store(&group->pasid_array, IOMMU_NO_PASID, entry, GFP_KERNEL)));
	return 0;
}

void iommu_detach_group_handle(struct iommu_domain *, struct iommu_group *group)
{
	mutex_guard lock(&group->mutex);

	__iommu_group_set_core_domain(group);
	xa_erase(&group->pasid_array, IOMMU_NO_PASID);
}

int iommu_replace_group_handle(struct iommu_group *group, struct iommu_domain *new_domain,
			       struct iommu_attach_handle *handle)
{
	struct group_device *gdev;
	void *curr, *entry;
	int ret;

	if (!new_domain || !handle)
		return -EINVAL;

	mutex_guard lock(&group->mutex);
	/* the kernel leaves this to the drivers' attach_dev; a foreign domain is nothing that one
	 * should be shown */
	list_for_each_entry (gdev, &group->devices, list)
		if (!domain_iommu_ops_compatible(dev_iommu_ops(gdev->dev), new_domain))
			return -EINVAL;
	entry = iommu_make_pasid_array_entry(new_domain, handle);
	ret = xa_reserve(&group->pasid_array, IOMMU_NO_PASID, GFP_KERNEL);
	if (ret)
		return ret;

	ret = __iommu_group_set_domain(group, new_domain);
	if (ret) {
		xa_release(&group->pasid_array, IOMMU_NO_PASID);
		return ret;
	}

	curr = xa_store(&group->pasid_array, IOMMU_NO_PASID, entry, GFP_KERNEL);
	WARN_ON(xa_is_err(curr));
	return 0;
}

/* Takes a PASID of the devices before one that failed back to the old domain, or to none when
 * there was none or the driver refuses it by now:
 * it may be short of memory, which the kernel warns of. */
static void __iommu_revert_group_pasid(struct iommu_domain *tried, struct iommu_group *group,
				       ioasid_t pasid, struct iommu_domain *old,
				       const struct group_device *failed) __must_hold(group->mutex)
{
	struct group_device *moved;

	list_for_each_entry (moved, &group->devices, list) {
		struct device *dev = moved->dev;

		if (moved == failed)
			return;
		if (!dev_has_pasid(dev, pasid) ||
		    (old && !old->ops->set_dev_pasid(old, dev, pasid, tried)))
			continue;
		iommu_remove_dev_pasid(dev, pasid, tried);
		if (old)
			dev_warn_ratelimited(dev, "PASID %u cannot go back, is blocked", pasid);
	}
}

static int __iommu_set_group_pasid(struct iommu_domain *domain, struct iommu_group *group,
				   ioasid_t pasid, struct iommu_domain *old)
	__must_hold(group->mutex)
{
	struct group_device *gdev;

	list_for_each_entry (gdev, &group->devices, list) {
		struct device *dev = gdev->dev;
		int rc = dev_has_pasid(dev, pasid)
				 ? domain->ops->set_dev_pasid(domain, dev, pasid, old)
				 : 0;

		if (rc) {
			__iommu_revert_group_pasid(domain, group, pasid, old, gdev);
			return rc;
		}
	}
	return 0;
}

int iommu_attach_device_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
			      struct iommu_attach_handle *handle)
{
	struct iommu_group *group = dev->iommu_group;

	if (!group)
		return -ENODEV;

	const struct iommu_ops *ops = dev_iommu_ops(dev);
	struct group_device *member;
	void *entry;
	int ret;

	if (!domain->ops->set_dev_pasid || !ops->blocked_domain ||
	    !ops->blocked_domain->ops->set_dev_pasid)
		return -EOPNOTSUPP;
	if (!domain_iommu_ops_compatible(ops, domain) || pasid == IOMMU_NO_PASID || !handle)
		return -EINVAL;

	mutex_guard lock(&group->mutex);
	/* a device without PASIDs does not use them, so it does not limit the others of its group
	 */
	list_for_each_entry (member, &group->devices, list)
		if (member->dev->iommu->max_pasids > 0 && pasid >= member->dev->iommu->max_pasids)
			return -EINVAL;

	entry = iommu_make_pasid_array_entry(domain, handle);
	ret = xa_insert(&group->pasid_array, pasid, XA_ZERO_ENTRY, GFP_KERNEL);
	if (ret)
		return ret;
	ret = __iommu_set_group_pasid(domain, group, pasid, nullptr);
	if (ret) {
		xa_release(&group->pasid_array, pasid);
		return ret;
	}
	WARN_ON(xa_is_err(xa_store(&group->pasid_array, pasid, entry, GFP_KERNEL)));
	return 0;
}

int iommu_replace_device_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
			       struct iommu_attach_handle *handle)
{
	struct iommu_group *group = dev->iommu_group;
	struct iommu_domain *curr_domain;
	void *curr, *entry;
	int ret;

	if (!group)
		return -ENODEV;
	if (!domain->ops->set_dev_pasid)
		return -EOPNOTSUPP;
	if (!domain_iommu_ops_compatible(dev_iommu_ops(dev), domain) || pasid == IOMMU_NO_PASID ||
	    !handle)
		return -EINVAL;

	mutex_guard lock(&group->mutex);
	entry = iommu_make_pasid_array_entry(domain, handle);
	curr = xa_load(&group->pasid_array, pasid);
	if (!curr)
		return -EINVAL;
	/* there are readers of a handle without a lock: it cannot be used twice */
	if (WARN_ON(curr == entry))
		return -EINVAL;

	curr_domain = static_cast<struct iommu_attach_handle *>(curr)->domain;
	if (curr_domain != domain) {
		ret = __iommu_set_group_pasid(domain, group, pasid, curr_domain);
		if (ret)
			return ret;
	}
	WARN_ON(xa_is_err(xa_store(&group->pasid_array, pasid, entry, GFP_KERNEL)));
	return 0;
}

void iommu_detach_device_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid)
{
	struct iommu_group *group = dev->iommu_group;
	struct group_device *device;

	mutex_guard lock(&group->mutex);
	list_for_each_entry (device, &group->devices, list)
		if (dev_has_pasid(device->dev, pasid))
			iommu_remove_dev_pasid(device->dev, pasid, domain);
	xa_erase(&group->pasid_array, pasid);
}

result<struct iommu_attach_handle *> iommu_attach_handle_get(struct iommu_group *group,
							     ioasid_t pasid, unsigned int type)
{
	xa_guard lock(&group->pasid_array);
	auto *handle =
		static_cast<struct iommu_attach_handle *>(xa_load(&group->pasid_array, pasid));

	if (!handle)
		return -ENOENT;
	if (type && handle->domain->type != type)
		return -EBUSY;
	return handle;
}
