// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Snapshots of a context's objects and their references. Mirrors no kernel file.
 */
#include "core/iommufd/introspect.h"

#include "core/iommufd/iommufd_private.h"

#include <algorithm>
#include <climits>
#include <tuple>

namespace {

struct looked_at {
	struct iommufd_ctx *ictx;
	struct iommufd_snapshot *out;
	/* Held, to be looked at without the table's lock. */
	std::vector<struct iommufd_object *> held;

	void edge(u32 from, const struct iommufd_object *to, enum iommufd_edge_kind kind,
		  u32 count = 1, u64 value = 0, u64 length = 0)
	{
		out->edges.push_back({from, to->id, kind, count, value, length});
	}
};

void look_at_hwpt(struct looked_at *l, struct iommufd_hw_pagetable *hwpt)
{
	if (hwpt->fault)
		l->edge(hwpt->id, hwpt->fault.get(), IOMMUFD_EDGE_HWPT_FAULT);
}

void look_at_file(struct looked_at *l, struct iommufd_eventq *eventq)
{
	if (eventq->filep.load(std::memory_order_relaxed))
		l->edge(0, eventq, IOMMUFD_EDGE_FILE);
}

/* What does not change once an object is published; and whether its file is still there. */
void look_at_members(struct looked_at *l, struct iommufd_object *obj,
		     struct iommufd_snapshot_object *o)
{
	switch (obj->type) {
	case IOMMUFD_OBJ_HWPT_PAGING: {
		auto *hwpt = static_cast<struct iommufd_hwpt_paging *>(obj);

		o->auto_domain = hwpt->auto_domain;
		if (hwpt->ioas)
			l->edge(obj->id, hwpt->ioas.get(), IOMMUFD_EDGE_HWPT_IOAS);
		look_at_hwpt(l, hwpt);
		break;
	}
	case IOMMUFD_OBJ_HWPT_NESTED: {
		auto *hwpt = static_cast<struct iommufd_hwpt_nested *>(obj);

		if (hwpt->parent_ref)
			l->edge(obj->id, hwpt->parent_ref.get(), IOMMUFD_EDGE_HWPT_PARENT);
		if (hwpt->viommu)
			l->edge(obj->id, hwpt->viommu.get(), IOMMUFD_EDGE_HWPT_VIOMMU);
		look_at_hwpt(l, hwpt);
		break;
	}
	case IOMMUFD_OBJ_VIOMMU: {
		auto *viommu = static_cast<struct iommufd_viommu *>(obj);

		if (viommu->hwpt)
			l->edge(obj->id, viommu->hwpt.get(), IOMMUFD_EDGE_VIOMMU_HWPT);
		break;
	}
	case IOMMUFD_OBJ_FAULT:
		look_at_file(l, static_cast<struct iommufd_fault *>(obj));
		break;
	case IOMMUFD_OBJ_VEVENTQ: {
		auto *veventq = static_cast<struct iommufd_veventq *>(obj);

		if (veventq->viommu)
			l->edge(obj->id, veventq->viommu.get(), IOMMUFD_EDGE_VEVENTQ_VIOMMU);
		look_at_file(l, veventq);
		break;
	}
	case IOMMUFD_OBJ_VDEVICE: {
		auto *vdev = static_cast<struct iommufd_vdevice *>(obj);

		if (vdev->viommu)
			l->edge(obj->id, vdev->viommu.get(), IOMMUFD_EDGE_VDEVICE_VIOMMU);
		break;
	}
	case IOMMUFD_OBJ_VCMDQ: {
		auto *vcmdq = static_cast<struct iommufd_vcmdq *>(obj);

		if (vcmdq->viommu)
			l->edge(obj->id, vcmdq->viommu.get(), IOMMUFD_EDGE_VCMDQ_VIOMMU);
		break;
	}
	case IOMMUFD_OBJ_HW_QUEUE: {
		auto *queue = static_cast<struct iommufd_hw_queue *>(obj);

		if (queue->viommu)
			l->edge(obj->id, queue->viommu.get(), IOMMUFD_EDGE_HW_QUEUE_VIOMMU);
		if (queue->access)
			l->edge(obj->id, queue->access, IOMMUFD_EDGE_HW_QUEUE_ACCESS);
		break;
	}
	case IOMMUFD_OBJ_ACCESS:
		o->internal = iommufd_access_is_internal(static_cast<struct iommufd_access *>(obj));
		if (!o->internal)
			l->edge(0, obj, IOMMUFD_EDGE_CREATED);
		break;
	case IOMMUFD_OBJ_DEVICE:
		l->edge(0, obj, IOMMUFD_EDGE_BOUND);
		break;
	default:
		break;
	}
}

void look_at_table(struct looked_at *l)
{
	u32 max_id = l->ictx->max_id.load(std::memory_order_relaxed);
	xa_guard objects(&l->ictx->objects);

	if (l->ictx->vfio_ioas)
		l->out->vfio_ioas = l->ictx->vfio_ioas->id;
	for (u32 id = 1; id <= max_id; id++) {
		void *entry = xa_load_raw(&l->ictx->objects, id);
		struct iommufd_snapshot_object o = {};

		if (!entry)
			continue;
		o.id = id;
		if (xa_is_zero(entry)) {
			o.reserved = true;
			l->out->objects.push_back(o);
			continue;
		}

		auto *obj = static_cast<struct iommufd_object *>(entry);

		o.type = obj->type;
		o.users = refcount_read(&obj->users);
		o.wait_cnt = refcount_read(&obj->wait_cnt);
		look_at_members(l, obj, &o);
		l->out->objects.push_back(o);
		if (iommufd_lock_obj(obj))
			l->held.push_back(obj);
	}
}

void look_at_sibling(struct looked_at *l, struct iommufd_object *obj,
		     const struct iommufd_sibling *note)
{
	u32 count = note->count.load(std::memory_order_relaxed);

	if (count)
		l->out->edges.push_back({obj->id, note->id.load(std::memory_order_relaxed),
					 IOMMUFD_EDGE_DEPENDS, count, 0, 0});
}

void look_at_device(struct looked_at *l, struct iommufd_device *idev)
{
	struct iommufd_attach *attach;
	unsigned long pasid;
	u32 attached = 0;

	if (!mutex_trylock(&idev->igroup->lock)) {
		l->out->complete = false;
		return;
	}
	xa_for_each (&idev->igroup->pasid_attach, pasid, attach) {
		if (!xa_load(&attach->device_array, idev->id))
			continue;
		l->edge(idev->id, attach->hwpt, IOMMUFD_EDGE_ATTACH, 1, pasid);
		attached++;
	}
	mutex_unlock(&idev->igroup->lock);
	if (attached)
		l->edge(0, idev, IOMMUFD_EDGE_ATTACHED, attached);
}

void look_at_vdevice(struct looked_at *l, struct iommufd_vdevice *vdev)
{
	if (l->ictx->rev->vdevice_follows_device) {
		l->edge(vdev->id, vdev->idev, IOMMUFD_EDGE_VDEVICE_DEVICE);
		return;
	}
	if (!mutex_trylock(&l->ictx->vdev_lock)) {
		l->out->complete = false;
		return;
	}
	if (vdev->idev)
		l->edge(vdev->id, vdev->idev, IOMMUFD_EDGE_VDEVICE_DEVICE);
	mutex_unlock(&l->ictx->vdev_lock);
}

void look_at_access(struct looked_at *l, struct iommufd_access *access)
{
	if (!mutex_trylock(&access->ioas_lock)) {
		l->out->complete = false;
		return;
	}
	if (access->ioas_unpin)
		l->edge(access->id, access->ioas_unpin, IOMMUFD_EDGE_ACCESS_IOAS);
	mutex_unlock(&access->ioas_lock);
}

void look_at_ioas(struct looked_at *l, struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	struct iopt_area *area;

	/* for writing, since that is what keeps the areas' counts still */
	if (!down_write_trylock(&iopt->iova_rwsem)) {
		l->out->complete = false;
		return;
	}
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX))
		if (area->num_accesses)
			l->out->pins.push_back({ioas->id, iopt_area_iova(area),
						iopt_area_last_iova(area), area->num_accesses,
						area->num_locks});
	up_write(&iopt->iova_rwsem);
}

void look_at_eventq(struct looked_at *l, struct iommufd_eventq *eventq)
{
	struct iommufd_snapshot_eventq o = {eventq->id, 0, 0};

	{
		spinlock_guard lock(&eventq->lock);
		o.queued = (u32)list_count_nodes(&eventq->deliver);
	}
	if (eventq->type == IOMMUFD_OBJ_FAULT) {
		struct xarray *response = &static_cast<struct iommufd_fault *>(eventq)->response;
		xa_guard lock(response);
		unsigned long cookie;
		void *group;

		xa_for_each (response, cookie, group)
			o.unanswered++;
	}
	l->out->eventqs.push_back(o);
}

void look_at_regions(struct looked_at *l)
{
	struct iommufd_mmap *immap;
	mtree_guard regions(&l->ictx->mt_mmap);

	list_for_each_entry (immap, &l->ictx->mmap_list, item) {
		u32 mappings = refcount_read(&immap->vmas) - 1;
		u64 offset = immap->vm_pgoff << PAGE_SHIFT;

		l->out->regions.push_back(
			{immap->owner->id, offset, immap->length, immap->mmio_addr, mappings});
		if (mappings)
			l->edge(0, immap->owner, IOMMUFD_EDGE_MMAP, mappings, offset,
				immap->length);
	}
}

} // namespace

void iommufd_snapshot_ctx(struct iommufd_ctx *ictx, struct iommufd_snapshot *out)
{
	struct looked_at l = {ictx, out, {}};

	*out = {};
	out->revision = ictx->rev->name;
	look_at_table(&l);
	look_at_regions(&l);

	for (struct iommufd_object *obj : l.held) {
		switch (obj->type) {
		case IOMMUFD_OBJ_DEVICE:
			look_at_device(&l, static_cast<struct iommufd_device *>(obj));
			break;
		case IOMMUFD_OBJ_VDEVICE:
			look_at_vdevice(&l, static_cast<struct iommufd_vdevice *>(obj));
			break;
		case IOMMUFD_OBJ_ACCESS:
			look_at_access(&l, static_cast<struct iommufd_access *>(obj));
			break;
		case IOMMUFD_OBJ_IOAS:
			look_at_ioas(&l, static_cast<struct iommufd_ioas *>(obj));
			break;
		case IOMMUFD_OBJ_FAULT:
		case IOMMUFD_OBJ_VEVENTQ:
			look_at_eventq(&l, static_cast<struct iommufd_eventq *>(obj));
			break;
		case IOMMUFD_OBJ_VCMDQ:
			look_at_sibling(&l, obj,
					&static_cast<struct iommufd_vcmdq *>(obj)->depended);
			break;
		case IOMMUFD_OBJ_HW_QUEUE:
			look_at_sibling(&l, obj,
					&static_cast<struct iommufd_hw_queue *>(obj)->depended);
			break;
		default:
			break;
		}
	}
	for (struct iommufd_object *obj : l.held)
		iommufd_put_object(ictx, obj);

	std::sort(out->edges.begin(), out->edges.end(),
		  [](const struct iommufd_snapshot_edge &x, const struct iommufd_snapshot_edge &y) {
			  return std::tie(x.to, x.from, x.kind, x.value) <
				 std::tie(y.to, y.from, y.kind, y.value);
		  });
}

int iommufd_snapshot_fd(int fd, struct iommufd_snapshot *out)
{
	auto ictx = iommufd_ctx_from_fd(fd);

	if (!ictx)
		return ictx.error();
	iommufd_snapshot_ctx(*ictx, out);
	iommufd_ctx_put(*ictx);
	return 0;
}

const char *iommufd_object_type_name(enum iommufd_object_type type)
{
#define NAME(type, label, variable) #type,
	static constexpr const char *names[] = {"NONE", IOMMUFD_OBJECT_TYPES(NAME)};
#undef NAME

	return type < IOMMUFD_OBJ_MAX ? names[type] : "?";
}

const char *iommufd_edge_kind_name(enum iommufd_edge_kind kind)
{
	switch (kind) {
	case IOMMUFD_EDGE_HWPT_IOAS:
		return "a copy of its map";
	case IOMMUFD_EDGE_HWPT_PARENT:
		return "nested over it";
	case IOMMUFD_EDGE_HWPT_VIOMMU:
		return "made on it";
	case IOMMUFD_EDGE_HWPT_FAULT:
		return "its page faults go there";
	case IOMMUFD_EDGE_VIOMMU_HWPT:
		return "stands on it";
	case IOMMUFD_EDGE_VDEVICE_VIOMMU:
		return "a device of it";
	case IOMMUFD_EDGE_VDEVICE_DEVICE:
		return "a guest's view of it, which its unbinding takes back";
	case IOMMUFD_EDGE_VCMDQ_VIOMMU:
	case IOMMUFD_EDGE_HW_QUEUE_VIOMMU:
		return "a queue of it";
	case IOMMUFD_EDGE_VEVENTQ_VIOMMU:
		return "events of it";
	case IOMMUFD_EDGE_HW_QUEUE_ACCESS:
		return "pins its memory through it";
	case IOMMUFD_EDGE_DEPENDS:
		return "depends on it";
	case IOMMUFD_EDGE_ATTACH:
		return "attached to it";
	case IOMMUFD_EDGE_ACCESS_IOAS:
		return "attached to it";
	case IOMMUFD_EDGE_BOUND:
		return "the driver that bound it";
	case IOMMUFD_EDGE_ATTACHED:
		return "the driver that attached it";
	case IOMMUFD_EDGE_CREATED:
		return "the driver that created it";
	case IOMMUFD_EDGE_MMAP:
		return "a mapping of its region";
	case IOMMUFD_EDGE_FILE:
		return "its file, which is open";
	case IOMMUFD_EDGE_MAX:
		break;
	}
	return "?";
}
