// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VFIO's type 1 container on an iommufd: old programs open /dev/vfio/vfio and never hear of an
 * IOAS id, so the context remembers which IOAS they mean, and IOMMU_VFIO_IOAS tells or sets it.
 *
 * Mirrors drivers/iommu/iommufd/vfio_compat.c of Linux 7.2, built with
 * CONFIG_IOMMUFD_VFIO_CONTAINER and CONFIG_VFIO_NOIOMMU. It differs in this: a new compat IOAS is
 * published under ioas_creation_lock, as every other one is; the page sizes are read under
 * iova_rwsem too, which guards iova_alignment.
 *
 * The context's pointer holds no user: whoever destroys that IOAS takes the pointer away with it
 * (iommufd_object_remove). Here errors are VFIO's: what IOMMU_* answers with -EOPNOTSUPP is
 * -EINVAL, and a missing IOAS is -ENODEV.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/capability.h"
#include "core/linux/interval_tree.h"
#include "uapi/vfio.h"

#include <climits>

/* The IOAS of the container ioctls. -ENODEV: there is none, or it is on its way out. */
static short_ref<struct iommufd_ioas> get_compat_ioas(struct iommufd_ctx *ictx)
{
	xa_guard objects(&ictx->objects);

	if (ictx->vfio_ioas)
		if (auto ioas = iommufd_lock(ictx, ictx->vfio_ioas))
			return ioas;
	return -ENODEV;
}

static void set_compat_ioas(struct iommufd_ctx *ictx, struct iommufd_ioas *ioas)
{
	xa_guard objects(&ictx->objects);

	ictx->vfio_ioas = ioas;
}

int iommufd_vfio_compat_ioas_get_id(struct iommufd_ctx *ictx, u32 *out_ioas_id)
{
	auto ioas = get_compat_ioas(ictx);

	if (!ioas)
		return ioas.error();
	*out_ioas_id = ioas->id;
	return 0;
}

int iommufd_vfio_compat_set_no_iommu(struct iommufd_ctx *ictx)
{
	xa_guard objects(&ictx->objects);

	if (ictx->vfio_ioas)
		return -EINVAL;
	WRITE_ONCE(ictx->no_iommu_mode, 1);
	return 0;
}

/* Makes ioas, which is not published yet, the compat IOAS. 0; 1: there is one already; -EINVAL. */
static int iommufd_vfio_adopt_ioas(struct iommufd_ctx *ictx, struct iommufd_ioas *ioas)
{
	xa_guard objects(&ictx->objects);

	/* a container is of one kind for ever */
	if (ictx->no_iommu_mode)
		return -EINVAL;
	if (ictx->vfio_ioas && iommufd_lock(ictx, ictx->vfio_ioas))
		return 1;
	ictx->vfio_ioas = ioas;
	return 0;
}

int iommufd_vfio_compat_ioas_create(struct iommufd_ctx *ictx)
{
	auto ioas = iommufd_ioas_alloc(ictx);

	if (!ioas)
		return ioas.error();

	int rc = iommufd_vfio_adopt_ioas(ictx, *ioas);

	if (rc) {
		iommufd_object_abort(ictx, *ioas);
		return rc < 0 ? rc : 0;
	}

	rwsem_read_guard creation(&ictx->ioas_creation_lock);

	/* a user's object like any other: IOMMU_VFIO_IOAS tells its id, DESTROY takes it */
	iommufd_object_finalize(ictx, *ioas);
	return 0;
}

int iommufd_vfio_ioas(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_vfio_ioas *>(ucmd->cmd);

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	switch (cmd->op) {
	case IOMMU_VFIO_IOAS_GET:
		if (int rc = iommufd_vfio_compat_ioas_get_id(ucmd->ictx, &cmd->ioas_id))
			return rc;
		return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	case IOMMU_VFIO_IOAS_SET: {
		auto ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);

		if (!ioas)
			return ioas.error();
		/* still held, so it cannot leave the table before the pointer is there */
		set_compat_ioas(ucmd->ictx, ioas.get());
		return 0;
	}
	case IOMMU_VFIO_IOAS_CLEAR:
		set_compat_ioas(ucmd->ictx, nullptr);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static int iommufd_vfio_map_dma(struct iommufd_ctx *ictx,
				user_in<struct vfio_iommu_type1_dma_map> arg)
{
	constexpr u32 known_flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	struct vfio_iommu_type1_dma_map map;

	if (int rc = arg.copy_from_user(&map))
		return rc;
	if (map.argsz < sizeof(map) || map.flags & ~known_flags)
		return -EINVAL;

	auto ioas = get_compat_ioas(ictx);

	if (!ioas)
		return ioas.error();

	/* with neither flag too: VFIO takes an area that nothing may use */
	const int read = map.flags & VFIO_DMA_MAP_FLAG_READ ? IOMMU_READ : 0;
	const int write = map.flags & VFIO_DMA_MAP_FLAG_WRITE ? IOMMU_WRITE : 0;
	unsigned long iova = map.iova;

	return iopt_map_user_pages(ictx, &ioas->iopt, &iova, user_inout<void>(map.vaddr), map.size,
				   IOMMU_CACHE | read | write, 0);
}

/*
 * What type 1 v1 promises, where large pages are off: an unmap may begin and end inside mappings,
 * so these are cut first. Sizes that wrap or are 0 cut as well: the unmap finds that out.
 */
static int iommufd_vfio_cut_around(struct io_pagetable *iopt, u64 iova, u64 size)
{
	unsigned long cuts[] = {iova + size - 1, iova - 1};

	if (!iopt->disable_large_pages)
		return 0;
	return iopt_cut_iova(iopt, cuts, iova ? 2 : 1);
}

static int iommufd_vfio_unmap_dma(struct iommufd_ctx *ictx,
				  user_inout<struct vfio_iommu_type1_dma_unmap> arg)
{
	/* dirty bitmaps have their own way now, and addresses cannot be taken away */
	constexpr u32 known_flags = VFIO_DMA_UNMAP_FLAG_ALL;
	struct vfio_iommu_type1_dma_unmap unmap;
	unsigned long unmapped = 0;
	int rc;

	if (int err = arg.copy_from_user(&unmap))
		return err;
	if (unmap.argsz < sizeof(unmap) || unmap.flags & ~known_flags)
		return -EINVAL;

	auto ioas = get_compat_ioas(ictx);

	if (!ioas)
		return ioas.error();

	struct io_pagetable *iopt = &ioas->iopt;

	if (unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL) {
		if (unmap.iova || unmap.size)
			return -EINVAL;
		rc = iopt_unmap_all(iopt, &unmapped);
	} else {
		if (int err = iommufd_vfio_cut_around(iopt, unmap.iova, unmap.size))
			return err;
		rc = iopt_unmap_iova(iopt, unmap.iova, unmap.size, &unmapped);
	}

	/* also when it failed half-way; and nothing unmapped is no failure here */
	unmap.size = unmapped;
	if (int err = arg.copy_to_user(unmap))
		return err;
	return rc;
}

/* 1: no HWPT lets a device bypass the caches; 0: one does; -ENODEV. */
static int iommufd_vfio_cc_iommu(struct iommufd_ctx *ictx)
{
	auto ioas = get_compat_ioas(ictx);

	if (!ioas)
		return ioas.error();

	struct iommufd_ioas *compat = ioas.get();
	struct iommufd_hwpt_paging *hwpt_paging;
	mutex_guard guard(&compat->mutex);

	list_for_each_entry (hwpt_paging, &compat->hwpt_list, hwpt_item)
		if (!hwpt_paging->enforce_cache_coherency)
			return 0;
	return 1;
}

static int iommufd_vfio_check_extension(struct iommufd_ctx *ictx, unsigned long type)
{
	switch (type) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return !READ_ONCE(ictx->no_iommu_mode);
	case VFIO_NOIOMMU_IOMMU:
		return 1;
	case VFIO_DMA_CC_IOMMU:
		return iommufd_vfio_cc_iommu(ictx);
	default:
		/* nesting, new addresses for old mappings, other architectures' IOMMUs */
		return 0;
	}
}

static int iommufd_vfio_set_iommu(struct iommufd_ctx *ictx, unsigned long type)
{
	const bool no_iommu_mode = READ_ONCE(ictx->no_iommu_mode);

	/* nothing to set up: without an IOAS nearly all that VFIO would refuse fails by itself */
	if (type == VFIO_NOIOMMU_IOMMU && no_iommu_mode)
		return capable(CAP_SYS_RAWIO) ? 0 : -EPERM;
	if (no_iommu_mode || (type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU))
		return -EINVAL;

	/* VFIO wants a group first, which is what makes the compat IOAS */
	auto ioas = get_compat_ioas(ictx);

	if (!ioas)
		return ioas.error();

	/*
	 * The two types differ in whether an unmap may cut a mapping. No driver can split a large
	 * page, so the type that may has none.
	 */
	return type == VFIO_TYPE1_IOMMU ? iopt_disable_large_pages(&ioas->iopt) : 0;
}

/* Of all domains; what is below PAGE_SIZE shows as PAGE_SIZE, as it did in VFIO. */
static unsigned long iommufd_get_pagesizes(struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	unsigned long common = ULONG_MAX;
	struct iommu_domain *domain;
	unsigned long index;

	rwsem_read_guard domains_guard(&iopt->domains_rwsem);
	rwsem_read_guard iova_guard(&iopt->iova_rwsem);

	xa_for_each (&iopt->domains, index, domain)
		common &= domain->pgsize_bitmap;
	if (common % PAGE_SIZE)
		common = PAGE_ALIGN_DOWN(common) | PAGE_SIZE;
	return max(common, iopt->iova_alignment);
}

/*
 * The chain of capabilities behind a struct vfio_iommu_type1_info in the caller's buffer of argsz
 * bytes. One that has no room is counted all the same, so that the caller learns how much it takes.
 */
class info_cap_chain {
public:
	info_cap_chain(user_out<void> info, size_t argsz) : info_(info), argsz_(argsz) {}

	/* Where the next one goes, and the bytes that there are for it. */
	user_out<void> place() const { return info_ + end_; }
	size_t room() const { return argsz_ > end_ ? argsz_ - end_ : 0; }
	size_t size() const { return end_; }

	/* Appends what was written at place(): its bytes or -errno. 0 or -errno. */
	int append(ssize_t cap_size)
	{
		if (cap_size < 0)
			return (int)cap_size;
		if (last_ && argsz_ >= end_) {
			const auto next = (info_ + last_)
						  .as<struct vfio_info_cap_header>()
						  .field<&vfio_info_cap_header::next>();

			if (int rc = put_user((u32)end_, next))
				return rc;
		}
		last_ = end_;
		end_ += ALIGN((size_t)cap_size, sizeof(u64));
		return 0;
	}

private:
	const user_out<void> info_;
	const size_t argsz_;
	size_t last_ = 0;
	size_t end_ = sizeof(struct vfio_iommu_type1_info);
};

/* These write as much as fits into avail bytes at cur. The bytes that they would take, or -EFAULT.
 */

static ssize_t iommufd_fill_cap_iova(struct iommufd_ioas *ioas, user_out<void> cur, size_t avail)
	__must_hold_shared(ioas->iopt.iova_rwsem)
{
	struct vfio_iommu_type1_info_cap_iova_range cap = {};
	const auto ranges = (cur + sizeof(cap)).as<struct vfio_iova_range>();
	struct interval_tree_span_iter span;
	size_t size = sizeof(cap);

	interval_tree_for_each_span (&span, &ioas->iopt.reserved_itree, 0, ULONG_MAX) {
		if (!span.is_hole)
			continue;
		const struct vfio_iova_range range = {span.start_hole, span.last_hole};

		size += sizeof(range);
		if (avail >= size)
			if (int rc = (ranges + cap.nr_iovas).copy_to_user(range))
				return rc;
		cap.nr_iovas++;
	}

	cap.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
	cap.header.version = 1;
	if (avail >= size)
		if (int rc =
			    cur.as<struct vfio_iommu_type1_info_cap_iova_range>().copy_to_user(cap))
			return rc;
	return (ssize_t)size;
}

static ssize_t iommufd_fill_cap_dma_avail(user_out<void> cur, size_t avail)
{
	struct vfio_iommu_type1_info_dma_avail cap = {};

	cap.header.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL;
	cap.header.version = 1;
	/* nothing counts mappings here, only memory: as many as the field can say */
	cap.avail = UINT32_MAX;
	if (avail >= sizeof(cap))
		if (int rc = cur.as<struct vfio_iommu_type1_info_dma_avail>().copy_to_user(cap))
			return rc;
	return sizeof(cap);
}

static int iommufd_vfio_iommu_get_info(struct iommufd_ctx *ictx, user_inout<void> arg)
{
	/* the struct as it was before there were capabilities; the rest is never read */
	constexpr size_t minsz = offsetofend(struct vfio_iommu_type1_info, iova_pgsizes);
	struct vfio_iommu_type1_info info = {};

	if (int rc = arg.copy_from_user(&info, minsz))
		return rc;
	if (info.argsz < minsz)
		return -EINVAL;

	auto ioas = get_compat_ioas(ictx);

	if (!ioas)
		return ioas.error();

	const size_t argsz = info.argsz;
	struct iommufd_ioas *compat = ioas.get();
	info_cap_chain chain(arg, argsz);

	info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info.iova_pgsizes = iommufd_get_pagesizes(compat);

	rwsem_read_guard iova_guard(&compat->iopt.iova_rwsem);

	if (int rc = chain.append(iommufd_fill_cap_dma_avail(chain.place(), chain.room())))
		return rc;
	if (int rc = chain.append(iommufd_fill_cap_iova(compat, chain.place(), chain.room())))
		return rc;

	/* no offset unless all of them are there */
	if (argsz >= chain.size())
		info.cap_offset = sizeof(info);
	info.argsz = (u32)chain.size();
	return arg.copy_to_user(&info, min_t(size_t, argsz, sizeof(info)));
}

int iommufd_vfio_ioctl(struct iommufd_ctx *ictx, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return iommufd_vfio_check_extension(ictx, arg);
	case VFIO_SET_IOMMU:
		return iommufd_vfio_set_iommu(ictx, arg);
	case VFIO_IOMMU_GET_INFO:
		return iommufd_vfio_iommu_get_info(ictx, user_inout<void>(arg));
	case VFIO_IOMMU_MAP_DMA:
		return iommufd_vfio_map_dma(ictx, user_in<struct vfio_iommu_type1_dma_map>(arg));
	case VFIO_IOMMU_UNMAP_DMA:
		return iommufd_vfio_unmap_dma(ictx,
					      user_inout<struct vfio_iommu_type1_dma_unmap>(arg));
	default:
		/* VFIO_IOMMU_DIRTY_PAGES too: HWPT_GET_DIRTY_BITMAP took its place */
		return -ENOIOCTLCMD;
	}
}
