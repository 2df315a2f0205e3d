// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ioctl tables of the revisions, and what else they differ in.
 *
 * Mirrors iommufd_ioctl_ops[] of drivers/iommu/iommufd/main.c: Linux v6.15 plus the vCMDQ series
 * v2, Linux 7.2, and what Linux v6.12 had. It differs in this: a table has every command that its
 * form describes, and is checked when it is compiled. A doubled or a forgotten row, a struct that
 * the dispatcher's buffer cannot hold, a last member that is not the one that the command's
 * description names, or a command without a description does not compile.
 */
#include "core/iommufd/revision.h"

#include "core/iommufd/iommufd_private.h"
#include "core/linux/compiler.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_desc_table.h"
#include "uapi/iommufd_test.h"

/* What a broken table runs into. consteval cannot call these: the compiler's message names them. */
void build_bug_two_rows_for_one_ioctl();
void build_bug_ioctl_without_a_row();
void build_bug_ioctl_number_outside_the_table();
void build_bug_command_larger_than_the_buffer();
void build_bug_bad_last_member();
void build_bug_ioctl_without_a_description();

namespace {

/* The last command of any form, then a hole up to the selftest's. */
constexpr unsigned int last_cmd = iommufd_desc_last_nr();
constexpr unsigned int test_cmd = _IOC_NR(IOMMU_TEST_CMD);
static_assert(test_cmd - IOMMUFD_CMD_BASE + 1 == IOMMUFD_IOCTL_NR);

/*
 * `revision` is the bit of enum desc_revision under which the commands are described: the table has
 * those commands and no others.
 */
template <size_t N>
consteval struct iommufd_ioctl_table
iommufd_ioctl_table_of(u8 revision, const struct iommufd_ioctl_op (&rows)[N])
{
	struct iommufd_ioctl_table t = {};
	bool known[IOMMUFD_IOCTL_NR] = {};

	for (const struct iommufd_ioctl_op &row : rows) {
		unsigned int nr = _IOC_NR(row.ioctl_num);

		if (!iommufd_desc_has(row.ioctl_num, revision))
			build_bug_ioctl_without_a_description();
		if (nr < IOMMUFD_CMD_BASE || (nr > last_cmd && nr != test_cmd))
			build_bug_ioctl_number_outside_the_table();
		nr -= IOMMUFD_CMD_BASE;
		if (known[nr])
			build_bug_two_rows_for_one_ioctl();
		if (!row.execute)
			build_bug_ioctl_without_a_row();
		if (row.size > IOMMUFD_UCMD_BUFFER_SIZE)
			build_bug_command_larger_than_the_buffer();
		if (!iommufd_desc_agrees(row.ioctl_num, row.size, row.min_size, revision))
			build_bug_bad_last_member();
		known[nr] = true;
		t.ops[nr] = row;
	}
	for (unsigned int nr = IOMMUFD_CMD_BASE; nr <= last_cmd; nr++)
		if (!known[nr - IOMMUFD_CMD_BASE] &&
		    iommufd_desc_has(_IO(IOMMUFD_TYPE, nr), revision))
			build_bug_ioctl_without_a_row();
	if (!known[test_cmd - IOMMUFD_CMD_BASE])
		build_bug_ioctl_without_a_row();
	return t;
}

} // namespace

/* clang-format off */
#define IOCTL_OP(_ioctl, _fn, _struct, _last)                                     \
	iommufd_ioctl_op {                                                        \
		.size = sizeof(_struct), .min_size = offsetofend(_struct, _last), \
		.ioctl_num = _ioctl, .execute = _fn,                              \
	}

/* What Linux v6.12 had, and has in every form. */
#define IOMMUFD_LINUX_6_12_OPS										\
	IOCTL_OP(IOMMU_DESTROY, iommufd_destroy, struct iommu_destroy, id),				\
	IOCTL_OP(IOMMU_FAULT_QUEUE_ALLOC, iommufd_fault_alloc, struct iommu_fault_alloc,		\
		 out_fault_fd),										\
	IOCTL_OP(IOMMU_GET_HW_INFO, iommufd_get_hw_info, struct iommu_hw_info, __reserved),		\
	IOCTL_OP(IOMMU_HWPT_ALLOC, iommufd_hwpt_alloc, struct iommu_hwpt_alloc, __reserved),		\
	IOCTL_OP(IOMMU_HWPT_GET_DIRTY_BITMAP, iommufd_hwpt_get_dirty_bitmap,				\
		 struct iommu_hwpt_get_dirty_bitmap, data),						\
	IOCTL_OP(IOMMU_HWPT_INVALIDATE, iommufd_hwpt_invalidate,					\
		 struct iommu_hwpt_invalidate, __reserved),						\
	IOCTL_OP(IOMMU_HWPT_SET_DIRTY_TRACKING, iommufd_hwpt_set_dirty_tracking,			\
		 struct iommu_hwpt_set_dirty_tracking, __reserved),					\
	IOCTL_OP(IOMMU_IOAS_ALLOC, iommufd_ioas_alloc_ioctl, struct iommu_ioas_alloc, out_ioas_id),	\
	IOCTL_OP(IOMMU_IOAS_ALLOW_IOVAS, iommufd_ioas_allow_iovas,					\
		 struct iommu_ioas_allow_iovas, allowed_iovas),						\
	IOCTL_OP(IOMMU_IOAS_COPY, iommufd_ioas_copy, struct iommu_ioas_copy, src_iova),			\
	IOCTL_OP(IOMMU_IOAS_IOVA_RANGES, iommufd_ioas_iova_ranges,					\
		 struct iommu_ioas_iova_ranges, out_iova_alignment),					\
	IOCTL_OP(IOMMU_IOAS_MAP, iommufd_ioas_map, struct iommu_ioas_map, iova),			\
	IOCTL_OP(IOMMU_IOAS_UNMAP, iommufd_ioas_unmap, struct iommu_ioas_unmap, length),		\
	IOCTL_OP(IOMMU_OPTION, iommufd_option, struct iommu_option, val64),				\
	IOCTL_OP(IOMMU_TEST_CMD, iommufd_test, struct iommu_test_cmd, last),				\
	IOCTL_OP(IOMMU_VFIO_IOAS, iommufd_vfio_ioas, struct iommu_vfio_ioas, __reserved)

/* In both forms of the series the same. */
#define IOMMUFD_COMMON_OPS										\
	IOMMUFD_LINUX_6_12_OPS,										\
	IOCTL_OP(IOMMU_IOAS_CHANGE_PROCESS, iommufd_ioas_change_process,				\
		 struct iommu_ioas_change_process, __reserved),						\
	IOCTL_OP(IOMMU_IOAS_MAP_FILE, iommufd_ioas_map_file, struct iommu_ioas_map_file, iova),		\
	IOCTL_OP(IOMMU_VEVENTQ_ALLOC, iommufd_veventq_alloc, struct iommu_veventq_alloc,		\
		 out_veventq_fd)

static constexpr struct iommufd_ioctl_table iommufd_ioctl_ops_vcmdq_v2 =
	iommufd_ioctl_table_of(DESC_VCMDQ_V2, {
	IOMMUFD_COMMON_OPS,
	IOCTL_OP(IOMMU_VCMDQ_ALLOC, iommufd_vcmdq_alloc_ioctl, struct iommu_vcmdq_alloc, length),
	IOCTL_OP(IOMMU_VDEVICE_ALLOC, iommufd_vdevice_alloc_v2_ioctl,
		 struct iommu_vdevice_alloc, virt_id),
	IOCTL_OP(IOMMU_VIOMMU_ALLOC, iommufd_viommu_alloc_v2_ioctl,
		 struct iommu_viommu_alloc, out_viommu_id),
});

static constexpr struct iommufd_ioctl_table iommufd_ioctl_ops_hw_queue =
	iommufd_ioctl_table_of(DESC_HW_QUEUE, {
	IOMMUFD_COMMON_OPS,
	IOCTL_OP(IOMMU_HW_QUEUE_ALLOC, iommufd_hw_queue_alloc_ioctl,
		 struct iommu_hw_queue_alloc, length),
	IOCTL_OP(IOMMU_VDEVICE_ALLOC, iommufd_vdevice_alloc_ioctl,
		 struct iommu_vdevice_alloc, virt_id),
	IOCTL_OP(IOMMU_VIOMMU_ALLOC, iommufd_viommu_alloc_ioctl,
		 struct iommu_viommu_alloc, out_viommu_id),
});

static constexpr struct iommufd_ioctl_table iommufd_ioctl_ops_linux_6_12 =
	iommufd_ioctl_table_of(DESC_LINUX_6_12, {
	IOMMUFD_LINUX_6_12_OPS,
});
/* clang-format on */

const struct iommufd_revision iommufd_revision_vcmdq_v2 = {
	.name = desc_revision_name_of(DESC_VCMDQ_V2),
	.ioctls = &iommufd_ioctl_ops_vcmdq_v2,
	.desc_revision = DESC_VCMDQ_V2,
	.mmap_exact = false,
	.vdevice_follows_device = false,
	.hw_info_input_type = false,
	.hw_info_ats = false,
	.pasid = true,
	.viommu = true,
};

const struct iommufd_revision iommufd_revision_hw_queue = {
	.name = desc_revision_name_of(DESC_HW_QUEUE),
	.ioctls = &iommufd_ioctl_ops_hw_queue,
	.desc_revision = DESC_HW_QUEUE,
	.mmap_exact = true,
	.vdevice_follows_device = true,
	.hw_info_input_type = true,
	.hw_info_ats = true,
	.pasid = true,
	.viommu = true,
};

const struct iommufd_revision iommufd_revision_linux_6_12 = {
	.name = desc_revision_name_of(DESC_LINUX_6_12),
	.ioctls = &iommufd_ioctl_ops_linux_6_12,
	.desc_revision = DESC_LINUX_6_12,
	.mmap_exact = true,
	.vdevice_follows_device = true,
	.hw_info_input_type = false,
	.hw_info_ats = false,
	.pasid = false,
	.viommu = false,
};

const struct iommufd_revision *iommufd_revision_nr(unsigned int nr)
{
	static constexpr const struct iommufd_revision *all[] = {
		&iommufd_revision_vcmdq_v2,
		&iommufd_revision_hw_queue,
		&iommufd_revision_linux_6_12,
	};

	static_assert(ARRAY_SIZE(all) == ARRAY_SIZE(desc_revisions), "a name without a revision");
	return nr < ARRAY_SIZE(all) ? all[nr] : nullptr;
}

const struct iommufd_revision *iommufd_find_revision(std::string_view name)
{
	const u8 form = name.empty() ? desc_revisions[0].revision : desc_revision_by_name(name);

	for (unsigned int nr = 0; iommufd_revision_nr(nr); nr++)
		if (form == iommufd_revision_nr(nr)->desc_revision)
			return iommufd_revision_nr(nr);
	return nullptr;
}
