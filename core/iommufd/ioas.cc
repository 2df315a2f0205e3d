// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The I/O address space object and its commands.
 *
 * Mirrors drivers/iommu/iommufd/ioas.c of Linux 7.2. It differs in this: IOAS_CHANGE_PROCESS moves
 * mm->pinned_vm whatever else is accounted, since later unpins take it from the new process; and a
 * process that is gone is owed nothing.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/capability.h"
#include "core/linux/interval_tree.h"

#include <climits>
#include <utility>

void iommufd_ioas_destroy(struct iommufd_object *obj)
{
	auto *ioas = static_cast<struct iommufd_ioas *>(obj);
	int rc;

	rc = iopt_unmap_all(&ioas->iopt, nullptr);
	WARN_ON(rc && rc != -ENOENT);
	iopt_destroy_table(&ioas->iopt);
}

result<struct iommufd_ioas *> iommufd_ioas_alloc(struct iommufd_ctx *ictx)
{
	auto ioas = iommufd_object_alloc<struct iommufd_ioas>(ictx);

	if (ioas)
		iopt_init_table(&ioas->iopt);
	return ioas;
}

int iommufd_ioas_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_alloc *>(ucmd->cmd);
	int rc;

	if (cmd->flags)
		return -EOPNOTSUPP;

	auto ioas = iommufd_ioas_alloc(ucmd->ictx);

	if (!ioas)
		return ioas.error();

	cmd->out_ioas_id = ioas->id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc) {
		iommufd_object_abort_and_destroy(ucmd->ictx, *ioas);
		return rc;
	}

	/* who walks all address spaces holds this for writing */
	rwsem_read_guard creation(&ucmd->ictx->ioas_creation_lock);

	iommufd_object_finalize(ucmd->ictx, *ioas);
	return 0;
}

int iommufd_ioas_iova_ranges(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_iova_ranges *>(ucmd->cmd);
	const user_out<struct iommu_iova_range> ranges(cmd->allowed_iovas);
	const u32 room = cmd->num_iovas;
	struct interval_tree_span_iter span;

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	struct io_pagetable *iopt = &ioas->iopt;
	rwsem_read_guard iova(&iopt->iova_rwsem);

	u32 usable = 0;

	interval_tree_for_each_span (&span, &iopt->reserved_itree, 0, ULONG_MAX) {
		if (!span.is_hole)
			continue;
		/* what there is no room for is counted all the same */
		if (usable < room) {
			const struct iommu_iova_range range = {span.start_hole, span.last_hole};

			if (int rc = (ranges + usable).copy_to_user(range))
				return rc;
		}
		usable++;
	}

	cmd->num_iovas = usable;
	cmd->out_iova_alignment = iopt->iova_alignment;
	if (int rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd)))
		return rc;
	return usable > room ? -EMSGSIZE : 0;
}

/* Ranges on their way in or out. Those that are here at the end go. */
struct iommufd_allowed_iovas {
	struct rb_root_cached itree = {};

	iommufd_allowed_iovas() = default;
	iommufd_allowed_iovas(const iommufd_allowed_iovas &) = delete;
	iommufd_allowed_iovas &operator=(const iommufd_allowed_iovas &) = delete;
	~iommufd_allowed_iovas()
	{
		while (auto *first = interval_tree_iter_first(&itree, 0, ULONG_MAX)) {
			interval_tree_remove(first, &itree);
			kfree_obj(container_of(first, struct iopt_allowed, node));
		}
	}

	/* -EINVAL: of one byte or less, or not apart from the others; -ENOMEM. */
	int add(const struct iommu_iova_range &range)
	{
		if (range.start >= range.last ||
		    interval_tree_iter_first(&itree, range.start, range.last))
			return -EINVAL;

		auto *allowed = kzalloc_obj<struct iopt_allowed>();

		if (!allowed)
			return -ENOMEM;
		allowed->node.start = range.start;
		allowed->node.last = range.last;
		interval_tree_insert(&allowed->node, &itree);
		return 0;
	}
};

static int iommufd_ioas_load_iovas(struct iommufd_allowed_iovas *allowed,
				   user_in<struct iommu_iova_range> ranges, u32 num)
{
	int rc = 0;

	for (u32 i = 0; i != num && !rc; i++) {
		struct iommu_iova_range range;

		rc = (ranges + i).copy_from_user(&range);
		if (!rc)
			rc = allowed->add(range);
	}
	return rc;
}

int iommufd_ioas_allow_iovas(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_allow_iovas *>(ucmd->cmd);
	const user_in<struct iommu_iova_range> ranges(cmd->allowed_iovas);

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	struct iommufd_allowed_iovas allowed;

	if (int rc = iommufd_ioas_load_iovas(&allowed, ranges, cmd->num_iovas))
		return rc;
	/* swaps old and new at once, so that whichever set is left here is the one to free */
	return iopt_set_allow_iova(&ioas->iopt, &allowed.itree);
}

static int conv_iommu_prot(u32 map_flags)
{
	const int write = map_flags & IOMMU_IOAS_MAP_WRITEABLE ? IOMMU_WRITE : 0;
	const int read = map_flags & IOMMU_IOAS_MAP_READABLE ? IOMMU_READ : 0;

	/* a user cannot flush caches, so nothing else than coherent DMA is on offer; bind has
	 * checked for it */
	return IOMMU_CACHE | write | read;
}

static constexpr u32 iommufd_map_flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
					 IOMMU_IOAS_MAP_READABLE;

int iommufd_ioas_map_file(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_map_file *>(ucmd->cmd);
	unsigned long iova = cmd->iova;
	unsigned int flags = 0;
	int rc;

	if (cmd->flags & ~iommufd_map_flags)
		return -EOPNOTSUPP;
	if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	if (!(cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA))
		flags = IOPT_ALLOC_IOVA;
	rc = iopt_map_file_pages(ucmd->ictx, &ioas->iopt, &iova, cmd->fd, cmd->start, cmd->length,
				 conv_iommu_prot(cmd->flags), flags);
	if (rc)
		return rc;

	cmd->iova = iova;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

int iommufd_ioas_map(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_map *>(ucmd->cmd);
	unsigned long iova = cmd->iova;
	unsigned int flags = 0;
	int rc;

	if (cmd->flags & ~iommufd_map_flags || cmd->__reserved)
		return -EOPNOTSUPP;
	if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	if (!(cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA))
		flags = IOPT_ALLOC_IOVA;
	rc = iopt_map_user_pages(ucmd->ictx, &ioas->iopt, &iova, user_inout<void>(cmd->user_va),
				 cmd->length, conv_iommu_prot(cmd->flags), flags);
	if (rc)
		return rc;

	/* a response that cannot be written leaves the mapping:
	 * the caller chose or can ask for its IOVA */
	cmd->iova = iova;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

/* Pages between two address spaces, each held. */
struct iommufd_pages_in_flight {
	LIST_HEAD(list);

	iommufd_pages_in_flight() = default;
	iommufd_pages_in_flight(const iommufd_pages_in_flight &) = delete;
	iommufd_pages_in_flight &operator=(const iommufd_pages_in_flight &) = delete;
	~iommufd_pages_in_flight() { iopt_free_pages_list(&list); }
};

int iommufd_ioas_copy(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_copy *>(ucmd->cmd);
	u64 src_iova = cmd->src_iova;

	iommufd_test_syz_conv_iova_id(ucmd, cmd->src_ioas_id, &src_iova, &cmd->flags);
	cmd->src_iova = src_iova;

	if (cmd->flags & ~iommufd_map_flags)
		return -EOPNOTSUPP;
	if (cmd->length >= ULONG_MAX || cmd->src_iova >= ULONG_MAX || cmd->dst_iova >= ULONG_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;

	struct iommufd_pages_in_flight pages;

	{
		/* source and destination are never held together: they may be one */
		auto src_ioas = iommufd_get_ioas(ucmd->ictx, cmd->src_ioas_id);

		if (!src_ioas)
			return src_ioas.error();
		if (int rc = iopt_get_pages(&src_ioas->iopt, cmd->src_iova, cmd->length,
					    &pages.list))
			return rc;
	}

	auto dst_ioas = iommufd_get_ioas(ucmd->ictx, cmd->dst_ioas_id);

	if (!dst_ioas)
		return dst_ioas.error();

	const bool fixed = cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA;
	unsigned long iova = cmd->dst_iova;

	if (int rc = iopt_map_pages(&dst_ioas->iopt, &pages.list, cmd->length, &iova,
				    conv_iommu_prot(cmd->flags), fixed ? 0 : IOPT_ALLOC_IOVA))
		return rc;

	cmd->dst_iova = iova;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

int iommufd_ioas_unmap(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_unmap *>(ucmd->cmd);
	const bool everything = cmd->iova == 0 && cmd->length == ULLONG_MAX;
	unsigned long bytes = 0;
	int rc;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	if (everything)
		rc = iopt_unmap_all(&ioas->iopt, &bytes);
	else if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
		rc = -EOVERFLOW;
	else
		rc = iopt_unmap_iova(&ioas->iopt, cmd->iova, cmd->length, &bytes);
	if (rc)
		return rc;
	/* an empty address space is unmapped, a range with nothing in it is a mistake */
	if (!bytes && !everything)
		return -ENOENT;

	cmd->length = bytes;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

/*
 * Every address space that can be looked up, by id in ioas_list, with iova_rwsem held for writing
 * and a user: so that nobody reads source_x of any pages, and nobody pins. Copies share pages,
 * hence all of them. This is the one place that nests these locks; ioas_creation_lock orders the
 * places and keeps new address spaces out. -ENOMEM: nothing is held. Compare
 * iommufd_take_all_iova_rwsem.
 */
static void iommufd_release_all_iova_rwsem(struct iommufd_ctx *ictx, struct xarray *ioas_list)
	LOCK_ANALYSIS_ESCAPE("any number of address spaces, which no annotation can name")
{
	struct iommufd_ioas *ioas;
	unsigned long id;

	xa_for_each (ioas_list, id, ioas) {
		auto user = iommufd_users::adopt(ioas);

		up_write(&ioas->iopt.iova_rwsem);
	}
	up_write(&ictx->ioas_creation_lock);
	xa_destroy(ioas_list);
}

/* The first address space with this id or a larger one, with a user; *id becomes its. */
static users_ref<struct iommufd_ioas> iommufd_next_ioas(struct iommufd_ctx *ictx, unsigned long *id)
{
	xa_guard objects(&ictx->objects);
	struct iommufd_object *obj;

	xa_for_each_range (&ictx->objects, *id, obj, *id, ULONG_MAX)
		if (obj->type == IOMMUFD_OBJ_IOAS && iommufd_users::try_get(obj))
			return iommufd_users::adopt(static_cast<struct iommufd_ioas *>(obj));
	return {};
}

static int iommufd_take_all_iova_rwsem(struct iommufd_ctx *ictx, struct xarray *ioas_list)
	LOCK_ANALYSIS_ESCAPE("any number of address spaces, which no annotation can name")
{
	unsigned long id = 0;

	down_write(&ictx->ioas_creation_lock);
	while (auto ioas = iommufd_next_ioas(ictx, &id)) {
		down_write_nest_lock(&ioas->iopt.iova_rwsem, &ictx->ioas_creation_lock);
		if (int rc = xa_err(xa_store(ioas_list, id, ioas.get(), GFP_KERNEL))) {
			up_write(&ioas->iopt.iova_rwsem);
			ioas.reset();
			iommufd_release_all_iova_rwsem(ictx, ioas_list);
			return rc;
		}
		/* the list's */
		iommufd_users::release(std::move(ioas));
		id++;
	}
	return 0;
}

/* fn for each area of all of them, until one says an error. */
template <class F> static int iommufd_for_each_ioas_area(struct xarray *ioas_list, F fn)
{
	struct iommufd_ioas *ioas;
	unsigned long id;

	xa_for_each (ioas_list, id, ioas) {
		struct io_pagetable *iopt = &ioas->iopt;

		lockdep_assert_held_write(&iopt->iova_rwsem);
		for (struct iopt_area *area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
		     area = iopt_area_iter_next(area, 0, ULONG_MAX))
			if (int rc = fn(area))
				return rc;
	}
	return 0;
}

/* Does another than current pay for them, in any of the counts? Each mode counts in mm->pinned_vm.
 */
static bool need_charge_update(const struct iopt_pages *pages)
{
	return pages->source_mm != current->mm || (pages->account_mode == IOPT_PAGES_ACCOUNT_USER &&
						   pages->source_user != current_user());
}

/* Pages by who pays for them. */
struct iommufd_charges {
	unsigned long npages[IOPT_PAGES_ACCOUNT_MODE_NUM] = {};
};

static int charge_current_mode(u8 account_mode, unsigned long npages, bool inc)
{
	struct iopt_pages mine;

	if (!npages)
		return 0;
	mine.source_mm = current->mm;
	mine.source_task = current->group_leader;
	mine.source_user = current_user();
	mine.account_mode = account_mode;
	return iopt_pages_update_pinned(&mine, npages, inc, nullptr);
}

static void uncharge_current(const struct iommufd_charges *charges, u8 modes)
{
	for (u8 mode = 0; mode != modes; mode++)
		charge_current_mode(mode, charges->npages[mode], false);
}

/* All or nothing. -ENOMEM: over the limit of one of them. */
static int charge_current(const struct iommufd_charges *charges)
{
	for (u8 mode = 0; mode != IOPT_PAGES_ACCOUNT_MODE_NUM; mode++) {
		if (int rc = charge_current_mode(mode, charges->npages[mode], true)) {
			uncharge_current(charges, mode);
			return rc;
		}
	}
	return 0;
}

static void change_mm(struct iopt_pages *pages) __must_hold(pages->mutex)
{
	struct task_struct *old_task = pages->source_task;
	struct user_struct *old_user = pages->source_user;
	struct mm_struct *old_mm = pages->source_mm;

	pages->source_mm = current->mm;
	mmgrab(pages->source_mm);
	pages->source_task = get_task_struct(current->group_leader);
	pages->source_user = get_uid(current_user());

	mmdrop(old_mm);
	put_task_struct(old_task);
	free_uid(old_user);
}

static int iommufd_change_process(struct xarray *ioas_list)
{
	struct iommufd_charges charges;
	int rc = iommufd_for_each_ioas_area(ioas_list, [](const struct iopt_area *area) {
		/* not yet, or not any more */
		if (!area->pages)
			return -EBUSY;
		/* its memory is the old process's own */
		return area->pages->type == IOPT_ADDRESS_FILE ? 0 : -EINVAL;
	});

	if (rc)
		return rc;

	/* pages that several areas share are charged once, as they are pinned */
	iommufd_for_each_ioas_area(ioas_list, [&](struct iopt_area *area) {
		struct iopt_pages *pages = area->pages;
		mutex_guard lock(&pages->mutex);

		if (!pages->charged_ahead && need_charge_update(pages)) {
			pages->charged_ahead = pages->npinned;
			charges.npages[pages->account_mode] += pages->npinned;
		}
		return 0;
	});

	rc = charge_current(&charges);
	iommufd_for_each_ioas_area(ioas_list, [rc](struct iopt_area *area) {
		struct iopt_pages *pages = area->pages;
		mutex_guard lock(&pages->mutex);
		const size_t ahead = std::exchange(pages->charged_ahead, 0);

		if (rc)
			return 0;
		if (ahead)
			iopt_pages_update_pinned(pages, ahead, false, nullptr);
		change_mm(pages);
		return 0;
	});
	return rc;
}

/*
 * From now on current pays for what is pinned through the context. -EBUSY: something is being
 * mapped or unmapped; -EINVAL: memory that is mapped by address; -ENOMEM: over current's limit, or
 * no memory. Nothing has changed then.
 */
int iommufd_ioas_change_process(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_change_process *>(ucmd->cmd);
	struct xarray ioas_list{LOCK_CLASS(iommufd_ioas_change_process, ioas_list)};

	if (cmd->__reserved)
		return -EOPNOTSUPP;
	if (int rc = iommufd_take_all_iova_rwsem(ucmd->ictx, &ioas_list))
		return rc;

	const int rc = iommufd_change_process(&ioas_list);

	iommufd_release_all_iova_rwsem(ucmd->ictx, &ioas_list);
	return rc;
}

int iommufd_option_rlimit_mode(struct iommu_option *cmd, struct iommufd_ctx *ictx)
{
	const bool set = cmd->op == IOMMU_OPTION_OP_SET;

	if (cmd->object_id || (!set && cmd->op != IOMMU_OPTION_OP_GET))
		return -EOPNOTSUPP;
	if (!set) {
		cmd->val64 = READ_ONCE(ictx->account_mode) == IOPT_PAGES_ACCOUNT_MM;
		return 0;
	}
	if (!capable(CAP_SYS_RESOURCE))
		return -EPERM;

	/* pages that are charged already must be returned to the same account */
	xa_guard objects(&ictx->objects);

	if (!xa_empty(&ictx->objects))
		return -EBUSY;
	if (cmd->val64 > 1)
		return -EINVAL;
	WRITE_ONCE(ictx->account_mode,
		   (u8)(cmd->val64 ? IOPT_PAGES_ACCOUNT_MM : IOPT_PAGES_ACCOUNT_USER));
	return 0;
}

static int iommufd_ioas_option_huge_pages(struct iommu_option *cmd, struct io_pagetable *iopt)
{
	switch (cmd->op) {
	case IOMMU_OPTION_OP_GET:
		cmd->val64 = !iopt->disable_large_pages;
		return 0;
	case IOMMU_OPTION_OP_SET:
		if (cmd->val64 > 1)
			return -EINVAL;
		if (!cmd->val64)
			return iopt_disable_large_pages(iopt);
		iopt_enable_large_pages(iopt);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

int iommufd_ioas_option(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_option *>(ucmd->cmd);

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->object_id);

	if (!ioas)
		return ioas.error();

	switch (cmd->option_id) {
	case IOMMU_OPTION_HUGE_PAGES:
		return iommufd_ioas_option_huge_pages(cmd, &ioas->iopt);
	default:
		return -EOPNOTSUPP;
	}
}
