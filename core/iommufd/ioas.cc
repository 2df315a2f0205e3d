// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The I/O address space object and its commands.
 *
 * Mirrors drivers/iommu/iommufd/ioas.c of Linux 7.2. It differs in this: IOAS_CHANGE_PROCESS is not
 * there.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/capability.h"
#include "core/linux/interval_tree.h"

#include <climits>

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
	struct interval_tree_span_iter span;
	user_out<struct iommu_iova_range> ranges;
	u32 max_iovas;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	struct io_pagetable *iopt = &(*ioas)->iopt;
	rwsem_read_guard iova(&iopt->iova_rwsem);

	max_iovas = cmd->num_iovas;
	ranges = user_out<struct iommu_iova_range>(cmd->allowed_iovas);
	cmd->num_iovas = 0;
	cmd->out_iova_alignment = iopt->iova_alignment;
	interval_tree_for_each_span (&span, &iopt->reserved_itree, 0, ULONG_MAX) {
		if (!span.is_hole)
			continue;
		if (cmd->num_iovas < max_iovas) {
			struct iommu_iova_range elm = {
				.start = span.start_hole,
				.last = span.last_hole,
			};

			rc = (ranges + cmd->num_iovas).copy_to_user(elm);
			if (rc)
				return rc;
		}
		cmd->num_iovas++;
	}
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		return rc;
	/* the count that is needed has gone out all the same */
	if (cmd->num_iovas > max_iovas)
		return -EMSGSIZE;
	return 0;
}

static int iommufd_ioas_load_iovas(struct rb_root_cached *itree,
				   user_in<struct iommu_iova_range> ranges, u32 num)
{
	for (u32 i = 0; i != num; i++) {
		struct iommu_iova_range range;
		struct iopt_allowed *allowed;
		int rc;

		rc = (ranges + i).copy_from_user(&range);
		if (rc)
			return rc;
		if (range.start >= range.last)
			return -EINVAL;
		if (interval_tree_iter_first(itree, range.start, range.last))
			return -EINVAL;

		allowed = kzalloc_obj<struct iopt_allowed>();
		if (!allowed)
			return -ENOMEM;
		allowed->node.start = range.start;
		allowed->node.last = range.last;
		interval_tree_insert(&allowed->node, itree);
	}
	return 0;
}

int iommufd_ioas_allow_iovas(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_allow_iovas *>(ucmd->cmd);
	struct rb_root_cached allowed_iova = {};
	struct interval_tree_node *node;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	rc = iommufd_ioas_load_iovas(&allowed_iova,
				     user_in<struct iommu_iova_range>(cmd->allowed_iovas),
				     cmd->num_iovas);
	/* swaps old and new at once, so that whichever set is left here is the one to free */
	if (!rc)
		rc = iopt_set_allow_iova(&(*ioas)->iopt, &allowed_iova);

	while ((node = interval_tree_iter_first(&allowed_iova, 0, ULONG_MAX))) {
		interval_tree_remove(node, &allowed_iova);
		kfree_obj(container_of(node, struct iopt_allowed, node));
	}
	return rc;
}

static int conv_iommu_prot(u32 map_flags)
{
	/* a user cannot flush caches, so nothing else than coherent DMA is on offer; bind has
	 * checked for it */
	int iommu_prot = IOMMU_CACHE;

	if (map_flags & IOMMU_IOAS_MAP_WRITEABLE)
		iommu_prot |= IOMMU_WRITE;
	if (map_flags & IOMMU_IOAS_MAP_READABLE)
		iommu_prot |= IOMMU_READ;
	return iommu_prot;
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
	rc = iopt_map_file_pages(ucmd->ictx, &(*ioas)->iopt, &iova, cmd->fd, cmd->start,
				 cmd->length, conv_iommu_prot(cmd->flags), flags);
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
	rc = iopt_map_user_pages(ucmd->ictx, &(*ioas)->iopt, &iova, user_inout<void>(cmd->user_va),
				 cmd->length, conv_iommu_prot(cmd->flags), flags);
	if (rc)
		return rc;

	/* a response that cannot be written leaves the mapping: the caller chose or can ask for its
	 * IOVA */
	cmd->iova = iova;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

int iommufd_ioas_copy(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_copy *>(ucmd->cmd);
	unsigned int flags = 0;
	LIST_HEAD(pages_list);
	unsigned long iova;
	u64 src_iova = cmd->src_iova;
	int rc;

	iommufd_test_syz_conv_iova_id(ucmd, cmd->src_ioas_id, &src_iova, &cmd->flags);
	cmd->src_iova = src_iova;

	if (cmd->flags & ~iommufd_map_flags)
		return -EOPNOTSUPP;
	if (cmd->length >= ULONG_MAX || cmd->src_iova >= ULONG_MAX || cmd->dst_iova >= ULONG_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;

	{
		/* source and destination are never held together: they may be one */
		auto src_ioas = iommufd_get_ioas(ucmd->ictx, cmd->src_ioas_id);

		if (!src_ioas)
			return src_ioas.error();
		rc = iopt_get_pages(&(*src_ioas)->iopt, cmd->src_iova, cmd->length, &pages_list);
		if (rc)
			return rc;
	}

	{
		auto dst_ioas = iommufd_get_ioas(ucmd->ictx, cmd->dst_ioas_id);

		if (!dst_ioas) {
			rc = dst_ioas.error();
			goto out_pages;
		}

		if (!(cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA))
			flags = IOPT_ALLOC_IOVA;
		iova = cmd->dst_iova;
		rc = iopt_map_pages(&(*dst_ioas)->iopt, &pages_list, cmd->length, &iova,
				    conv_iommu_prot(cmd->flags), flags);
		if (rc)
			goto out_pages;

		cmd->dst_iova = iova;
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
out_pages:
	iopt_free_pages_list(&pages_list);
	return rc;
}

int iommufd_ioas_unmap(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_ioas_unmap *>(ucmd->cmd);
	unsigned long unmapped = 0;
	int rc;

	auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

	if (!ioas)
		return ioas.error();

	if (cmd->iova == 0 && cmd->length == ULLONG_MAX) {
		rc = iopt_unmap_all(&(*ioas)->iopt, &unmapped);
		if (rc)
			return rc;
	} else {
		if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
			return -EOVERFLOW;
		rc = iopt_unmap_iova(&(*ioas)->iopt, cmd->iova, cmd->length, &unmapped);
		if (rc)
			return rc;
		if (!unmapped)
			return -ENOENT;
	}

	cmd->length = unmapped;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

int iommufd_option_rlimit_mode(struct iommu_option *cmd, struct iommufd_ctx *ictx)
{
	if (cmd->object_id)
		return -EOPNOTSUPP;

	if (cmd->op == IOMMU_OPTION_OP_GET) {
		cmd->val64 = ictx->account_mode == IOPT_PAGES_ACCOUNT_MM;
		return 0;
	}
	if (cmd->op == IOMMU_OPTION_OP_SET) {
		if (!capable(CAP_SYS_RESOURCE))
			return -EPERM;

		/* pages that are charged already must be returned to the same account */
		xa_guard objects(&ictx->objects);

		if (!xa_empty(&ictx->objects))
			return -EBUSY;
		if (cmd->val64 == 0)
			ictx->account_mode = IOPT_PAGES_ACCOUNT_USER;
		else if (cmd->val64 == 1)
			ictx->account_mode = IOPT_PAGES_ACCOUNT_MM;
		else
			return -EINVAL;
		return 0;
	}
	return -EOPNOTSUPP;
}

static int iommufd_ioas_option_huge_pages(struct iommu_option *cmd, struct iommufd_ioas *ioas)
{
	if (cmd->op == IOMMU_OPTION_OP_GET) {
		cmd->val64 = !ioas->iopt.disable_large_pages;
		return 0;
	}
	if (cmd->op == IOMMU_OPTION_OP_SET) {
		if (cmd->val64 == 0)
			return iopt_disable_large_pages(&ioas->iopt);
		if (cmd->val64 == 1) {
			iopt_enable_large_pages(&ioas->iopt);
			return 0;
		}
		return -EINVAL;
	}
	return -EOPNOTSUPP;
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
		return iommufd_ioas_option_huge_pages(cmd, (*ioas).get());
	default:
		return -EOPNOTSUPP;
	}
}
