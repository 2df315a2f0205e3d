// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Snapshots of a context's objects and their references. Mirrors no kernel file.
 */
#include "core/iommufd/introspect.h"

#include "core/iommufd/iommufd_private.h"

#include <algorithm>
#include <climits>
#include <tuple>

struct iommufd_look {
	struct iommufd_ctx *ictx;
	struct iommufd_snapshot *out;
	struct iommufd_snapshot_object *obj; /* that is being looked at */
	/* to be looked at without the table's lock */
	std::vector<short_ref<struct iommufd_object>> held;

	void edge(u32 from, u32 to, const struct iommufd_edge *why, u32 count = 1, u64 value = 0,
		  u64 length = 0)
	{
		out->edges.push_back({from, to, why, count, value, length});
	}
};

/* What the members that its row declares hold: those that may change, or the others. */
static void look_at_holds(struct iommufd_look *l, struct iommufd_object *obj, bool changes)
{
	for (const struct iommufd_hold &hold : iommufd_ops(obj)->holds) {
		struct iommufd_object *held = nullptr;

		if (!hold.member || hold.changes != changes)
			continue;
		if (!hold.look(obj, &held))
			l->out->complete = false;
		else if (held)
			l->edge(obj->id, held->id, &hold.edge);
	}
}

static void look_at_outside(struct iommufd_look *l, struct iommufd_object *obj)
{
	for (const struct iommufd_outside &outside : iommufd_ops(obj)->outside) {
		u32 count = outside.edge ? outside.count(obj) : 0;

		if (count)
			l->edge(0, obj->id, outside.edge, count);
	}
}

static void look_at_sibling(struct iommufd_look *l, struct iommufd_object *obj)
{
	auto sibling_of = iommufd_ops(obj)->sibling;
	const struct iommufd_sibling *sibling = sibling_of ? sibling_of(obj) : nullptr;
	u32 count = sibling ? sibling->users.count() : 0;

	if (count)
		l->edge(obj->id, sibling->id.load(std::memory_order_relaxed), sibling->users.edge(),
			count);
}

static void look_at_table(struct iommufd_look *l)
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
		o.users = iommufd_users::read(obj);
		o.wait_cnt = refcount_read(&obj->wait_cnt);
		l->out->objects.push_back(o);
		look_at_holds(l, obj, false);
		look_at_outside(l, obj);
		if (auto ref = iommufd_lock(l->ictx, obj))
			l->held.push_back(std::move(ref));
	}
}

void iommufd_hwpt_paging_look(struct iommufd_object *obj, struct iommufd_look *l)
{
	l->obj->auto_domain = static_cast<struct iommufd_hwpt_paging *>(obj)->auto_domain;
}

void iommufd_access_look(struct iommufd_object *obj, struct iommufd_look *l)
{
	l->obj->internal = iommufd_access_is_internal(static_cast<struct iommufd_access *>(obj));
}

void iommufd_device_look(struct iommufd_object *obj, struct iommufd_look *l)
{
	auto *idev = static_cast<struct iommufd_device *>(obj);
	struct iommufd_attach *attach;
	unsigned long pasid;

	if (!mutex_trylock(&idev->igroup->lock)) {
		l->out->complete = false;
		return;
	}
	xa_for_each (&idev->igroup->pasid_attach, pasid, attach)
		if (xa_load(&attach->device_array, idev->id))
			l->edge(idev->id, attach->hwpt->id, attach->users.edge(), 1, pasid);
	mutex_unlock(&idev->igroup->lock);
}

void iommufd_ioas_look(struct iommufd_object *obj, struct iommufd_look *l)
{
	struct io_pagetable *iopt = &static_cast<struct iommufd_ioas *>(obj)->iopt;
	struct iopt_area *area;

	/* for writing, since that is what keeps the areas' counts still */
	if (!down_write_trylock(&iopt->iova_rwsem)) {
		l->out->complete = false;
		return;
	}
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX))
		if (area->num_accesses)
			l->out->pins.push_back({obj->id, iopt_area_iova(area),
						iopt_area_last_iova(area), area->num_accesses,
						area->num_locks});
	up_write(&iopt->iova_rwsem);
}

void iommufd_eventq_look(struct iommufd_object *obj, struct iommufd_look *l)
{
	auto *eventq = static_cast<struct iommufd_eventq *>(obj);
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

static void look_at_regions(struct iommufd_look *l)
{
	struct iommufd_mmap *immap;
	mtree_guard regions(&l->ictx->mt_mmap);

	list_for_each_entry (immap, &l->ictx->mmap_list, item) {
		u32 mappings = immap->mappings.count();
		u64 offset = immap->vm_pgoff << PAGE_SHIFT;

		l->out->regions.push_back(
			{immap->owner->id, offset, immap->length, immap->mmio_addr, mappings});
		if (mappings)
			l->edge(0, immap->owner->id, immap->mappings.edge(), mappings, offset,
				immap->length);
	}
}

/* By to and from; edges between the same two stay in the order of their row. */
static void sort_edges(std::vector<struct iommufd_snapshot_edge> *edges)
{
	using numbered = std::pair<size_t, struct iommufd_snapshot_edge>;
	std::vector<numbered> sorted;

	for (size_t i = 0; i < edges->size(); i++)
		sorted.emplace_back(i, (*edges)[i]);
	std::sort(sorted.begin(), sorted.end(), [](const numbered &x, const numbered &y) {
		return std::tie(x.second.to, x.second.from, x.first) <
		       std::tie(y.second.to, y.second.from, y.first);
	});
	for (size_t i = 0; i < edges->size(); i++)
		(*edges)[i] = sorted[i].second;
}

void iommufd_snapshot_ctx(struct iommufd_ctx *ictx, struct iommufd_snapshot *out)
{
	struct iommufd_look l = {ictx, out, nullptr, {}};

	*out = {};
	out->revision = ictx->rev->name;
	look_at_table(&l);
	look_at_regions(&l);

	auto looked_at = out->objects.begin();

	for (const auto &obj : l.held) {
		auto look = iommufd_ops(obj.get())->look;

		/* both are in the order of ids */
		while (looked_at->id != obj->id)
			++looked_at;
		l.obj = &*looked_at;
		look_at_holds(&l, obj.get(), true);
		look_at_sibling(&l, obj.get());
		if (look)
			look(obj.get(), &l);
	}
	l.held.clear();
	sort_edges(&out->edges);
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
