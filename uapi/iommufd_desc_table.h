// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The descriptions themselves, as constants: what must hold of them, and of the tables that stand
 * on them, is checked while compiling. iommufd_desc.h is the way to them at run time; only tables
 * that must be complete (core/iommufd/main.cc) and iommufd_desc.cc include this file.
 *
 * Mirrors no kernel file. The facts are those of include/uapi/linux/iommufd.h and
 * drivers/iommu/iommufd/iommufd_test.h; min_size is the last argument of IOCTL_OP in
 * drivers/iommu/iommufd/main.c (v6.15; the series for VCMDQ_ALLOC and VIOMMU_ALLOC). VFIO's are
 * those of include/uapi/linux/vfio.h that drivers/iommu/iommufd/vfio_compat.c knows (v7.2), their
 * min_size is its minsz. The dma-buf ops are as of v7.2, in every form.
 *
 * To add a command: its struct's fields in offset order, every byte of it (RESERVED when the
 * handler refuses what is not zero, PADDING when it does not look), then a row in desc_ioctls. What
 * is wrong or forgotten does not compile.
 */
#pragma once

#include <array>

#include "uapi/iommufd.h"
#include "uapi/iommufd_desc.h"
#include "uapi/iommufd_test.h"
#include "uapi/vfio.h"

namespace desc_table {

/* --- values with names --- */

inline constexpr desc_name map_flags[] = {
	{"FIXED_IOVA", IOMMU_IOAS_MAP_FIXED_IOVA},
	{"WRITEABLE", IOMMU_IOAS_MAP_WRITEABLE},
	{"READABLE", IOMMU_IOAS_MAP_READABLE},
};
inline constexpr uint64_t map_flags_valid = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
					    IOMMU_IOAS_MAP_READABLE;

inline constexpr desc_name option_ids[] = {
	{"RLIMIT_MODE", IOMMU_OPTION_RLIMIT_MODE},
	{"HUGE_PAGES", IOMMU_OPTION_HUGE_PAGES},
};

inline constexpr desc_name option_ops[] = {
	{"SET", IOMMU_OPTION_OP_SET},
	{"GET", IOMMU_OPTION_OP_GET},
};

inline constexpr desc_name vfio_ioas_ops[] = {
	{"GET", IOMMU_VFIO_IOAS_GET},
	{"SET", IOMMU_VFIO_IOAS_SET},
	{"CLEAR", IOMMU_VFIO_IOAS_CLEAR},
};

inline constexpr desc_name vfio_extensions[] = {
	{"TYPE1_IOMMU", VFIO_TYPE1_IOMMU},
	{"SPAPR_TCE_IOMMU", VFIO_SPAPR_TCE_IOMMU},
	{"TYPE1v2_IOMMU", VFIO_TYPE1v2_IOMMU},
	{"DMA_CC_IOMMU", VFIO_DMA_CC_IOMMU},
	{"EEH", VFIO_EEH},
	{"TYPE1_NESTING_IOMMU", __VFIO_RESERVED_TYPE1_NESTING_IOMMU},
	{"SPAPR_TCE_v2_IOMMU", VFIO_SPAPR_TCE_v2_IOMMU},
	{"NOIOMMU_IOMMU", VFIO_NOIOMMU_IOMMU},
	{"UNMAP_ALL", VFIO_UNMAP_ALL},
	{"UPDATE_VADDR", VFIO_UPDATE_VADDR},
};

inline constexpr desc_name vfio_info_flags[] = {
	{"PGSIZES", VFIO_IOMMU_INFO_PGSIZES},
	{"CAPS", VFIO_IOMMU_INFO_CAPS},
};

inline constexpr desc_name vfio_dma_map_flags[] = {
	{"READ", VFIO_DMA_MAP_FLAG_READ},
	{"WRITE", VFIO_DMA_MAP_FLAG_WRITE},
	{"VADDR", VFIO_DMA_MAP_FLAG_VADDR},
};

inline constexpr desc_name vfio_dma_unmap_flags[] = {
	{"GET_DIRTY_BITMAP", VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP},
	{"ALL", VFIO_DMA_UNMAP_FLAG_ALL},
	{"VADDR", VFIO_DMA_UNMAP_FLAG_VADDR},
};

inline constexpr desc_name vfio_dirty_pages_flags[] = {
	{"START", VFIO_IOMMU_DIRTY_PAGES_FLAG_START},
	{"STOP", VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP},
	{"GET_BITMAP", VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP},
};

inline constexpr desc_name vfio_device_flags[] = {
	{"RESET", VFIO_DEVICE_FLAGS_RESET},
	{"PCI", VFIO_DEVICE_FLAGS_PCI},
};

inline constexpr desc_name vfio_region_flags[] = {
	{"READ", VFIO_REGION_INFO_FLAG_READ},
	{"WRITE", VFIO_REGION_INFO_FLAG_WRITE},
	{"MMAP", VFIO_REGION_INFO_FLAG_MMAP},
};

inline constexpr desc_name vfio_bind_flags[] = {
	{"TOKEN", VFIO_DEVICE_BIND_FLAG_TOKEN},
};

inline constexpr desc_name vfio_attach_flags[] = {
	{"PASID", VFIO_DEVICE_ATTACH_PASID},
};

inline constexpr desc_name hwpt_alloc_flags[] = {
	{"NEST_PARENT", IOMMU_HWPT_ALLOC_NEST_PARENT},
	{"DIRTY_TRACKING", IOMMU_HWPT_ALLOC_DIRTY_TRACKING},
	{"FAULT_ID_VALID", IOMMU_HWPT_FAULT_ID_VALID},
	{"PASID", IOMMU_HWPT_ALLOC_PASID},
};

inline constexpr desc_name vtd_s1_flags[] = {
	{"SRE", IOMMU_VTD_S1_SRE},
	{"EAFE", IOMMU_VTD_S1_EAFE},
	{"WPE", IOMMU_VTD_S1_WPE},
};

inline constexpr desc_name hwpt_data_types[] = {
	{"NONE", IOMMU_HWPT_DATA_NONE},
	{"VTD_S1", IOMMU_HWPT_DATA_VTD_S1},
	{"ARM_SMMUV3", IOMMU_HWPT_DATA_ARM_SMMUV3},
	{"AMD_GUEST", IOMMU_HWPT_DATA_AMD_GUEST},
	{"SELFTEST", IOMMU_HWPT_DATA_SELFTEST},
};

inline constexpr desc_name hw_info_flags[] = {
	{"INPUT_TYPE", IOMMU_HW_INFO_FLAG_INPUT_TYPE},
};

inline constexpr desc_name hw_info_types[] = {
	{"NONE", IOMMU_HW_INFO_TYPE_NONE},
	{"DEFAULT", IOMMU_HW_INFO_TYPE_DEFAULT},
	{"INTEL_VTD", IOMMU_HW_INFO_TYPE_INTEL_VTD},
	{"ARM_SMMUV3", IOMMU_HW_INFO_TYPE_ARM_SMMUV3},
	{"TEGRA241_CMDQV", IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV},
	{"AMD", IOMMU_HW_INFO_TYPE_AMD},
	{"SELFTEST", IOMMU_HW_INFO_TYPE_SELFTEST},
};

inline constexpr desc_name hw_capabilities[] = {
	{"DIRTY_TRACKING", IOMMU_HW_CAP_DIRTY_TRACKING},
	{"PCI_PASID_EXEC", IOMMU_HW_CAP_PCI_PASID_EXEC},
	{"PCI_PASID_PRIV", IOMMU_HW_CAP_PCI_PASID_PRIV},
	{"PCI_ATS_NOT_SUPPORTED", IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED},
};

inline constexpr desc_name hw_info_arm_smmuv3_flags[] = {
	{"HAS_TEGRA241_CMDQV", IOMMU_HW_INFO_ARM_SMMUV3_HAS_TEGRA241_CMDQV},
};

inline constexpr desc_name hw_info_vtd_flags[] = {
	{"ERRATA_772415_SPR17", IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17},
};

inline constexpr desc_name dirty_tracking_flags[] = {
	{"ENABLE", IOMMU_HWPT_DIRTY_TRACKING_ENABLE},
};

inline constexpr desc_name dirty_bitmap_flags[] = {
	{"NO_CLEAR", IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR},
};

inline constexpr desc_name invalidate_types[] = {
	{"VTD_S1", IOMMU_HWPT_INVALIDATE_DATA_VTD_S1},
	{"ARM_SMMUV3", IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3},
	{"SELFTEST", IOMMU_HWPT_INVALIDATE_DATA_SELFTEST},
	{"SELFTEST_INVALID", IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID},
};

inline constexpr desc_name vtd_inv_flags[] = {
	{"LEAF", IOMMU_VTD_INV_FLAGS_LEAF},
};

inline constexpr desc_name pgfault_flags[] = {
	{"PASID_VALID", IOMMU_PGFAULT_FLAGS_PASID_VALID},
	{"LAST_PAGE", IOMMU_PGFAULT_FLAGS_LAST_PAGE},
};

inline constexpr desc_name pgfault_perm[] = {
	{"READ", IOMMU_PGFAULT_PERM_READ},
	{"WRITE", IOMMU_PGFAULT_PERM_WRITE},
	{"EXEC", IOMMU_PGFAULT_PERM_EXEC},
	{"PRIV", IOMMU_PGFAULT_PERM_PRIV},
};
inline constexpr uint64_t pgfault_perm_valid = IOMMU_PGFAULT_PERM_READ | IOMMU_PGFAULT_PERM_WRITE |
					       IOMMU_PGFAULT_PERM_EXEC | IOMMU_PGFAULT_PERM_PRIV;

inline constexpr desc_name page_response_codes[] = {
	{"SUCCESS", IOMMUFD_PAGE_RESP_SUCCESS},
	{"INVALID", IOMMUFD_PAGE_RESP_INVALID},
};

inline constexpr desc_name viommu_types[] = {
	{"DEFAULT", IOMMU_VIOMMU_TYPE_DEFAULT},
	{"ARM_SMMUV3", IOMMU_VIOMMU_TYPE_ARM_SMMUV3},
	{"TEGRA241_CMDQV", IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV},
	{"SELFTEST", IOMMU_VIOMMU_TYPE_SELFTEST},
};

inline constexpr desc_name veventq_flags[] = {
	{"LOST_EVENTS", IOMMU_VEVENTQ_FLAG_LOST_EVENTS},
};

inline constexpr desc_name veventq_types[] = {
	{"DEFAULT", IOMMU_VEVENTQ_TYPE_DEFAULT},
	{"ARM_SMMUV3", IOMMU_VEVENTQ_TYPE_ARM_SMMUV3},
	{"TEGRA241_CMDQV", IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV},
	{"SELFTEST", IOMMU_VEVENTQ_TYPE_SELFTEST},
};

inline constexpr desc_name vcmdq_types[] = {
	{"DEFAULT", IOMMU_VCMDQ_TYPE_DEFAULT},
	{"TEGRA241_CMDQV", IOMMU_VCMDQ_TYPE_TEGRA241_CMDQV},
	{"SELFTEST", IOMMU_VCMDQ_TYPE_SELFTEST},
};

inline constexpr desc_name hw_queue_types[] = {
	{"DEFAULT", IOMMU_HW_QUEUE_TYPE_DEFAULT},
	{"TEGRA241_CMDQV", IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV},
	{"SELFTEST", IOMMU_HW_QUEUE_TYPE_SELFTEST},
};

inline constexpr desc_name invalidate_flags[] = {
	{"ALL", IOMMU_TEST_INVALIDATE_FLAG_ALL},
};

inline constexpr desc_name device_flags[] = {
	{"NO_DIRTY", MOCK_FLAGS_DEVICE_NO_DIRTY},
	{"HUGE_IOVA", MOCK_FLAGS_DEVICE_HUGE_IOVA},
	{"PASID", MOCK_FLAGS_DEVICE_PASID},
};
inline constexpr uint64_t device_flags_valid =
	MOCK_FLAGS_DEVICE_NO_DIRTY | MOCK_FLAGS_DEVICE_HUGE_IOVA | MOCK_FLAGS_DEVICE_PASID;

inline constexpr desc_name create_access_flags[] = {
	{"NEEDS_PIN_PAGES", MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES},
};

inline constexpr desc_name access_pages_flags[] = {
	{"WRITE", MOCK_FLAGS_ACCESS_WRITE},
	{"SYZ", MOCK_FLAGS_ACCESS_SYZ},
};

inline constexpr desc_name access_rw_flags[] = {
	{"WRITE", MOCK_ACCESS_RW_WRITE},
	{"SLOW_PATH", MOCK_ACCESS_RW_SLOW_PATH},
	{"SYZ", MOCK_FLAGS_ACCESS_SYZ},
};

inline constexpr desc_name pagetable_types[] = {
	{"DEFAULT", MOCK_IOMMUPT_DEFAULT},
	{"HUGE", MOCK_IOMMUPT_HUGE},
};

/*
 * --- numbers worth trying (desc_field::interesting) ---
 *
 * The first ones and those that are there more than once serve most calls; the others are bounds,
 * and what is just beyond them.
 */

inline constexpr uint64_t zero_or_one[] = {0, 1};
inline constexpr uint64_t small_numbers[] = {0, 1, 2};
inline constexpr uint64_t option_values[] = {0, 1, 1, 2, UINT64_MAX};
inline constexpr uint64_t queue_indices[] = {0, 0, 0, 1, 1, 2, 3};
inline constexpr uint64_t cache_indices[] = {0, 1, 2, 3, MOCK_NESTED_DOMAIN_IOTLB_NUM};
inline constexpr uint64_t iotlb_values[] = {IOMMU_TEST_IOTLB_DEFAULT, 0};
inline constexpr uint64_t cache_values[] = {IOMMU_TEST_DEV_CACHE_DEFAULT, 0};
inline constexpr uint64_t virtual_ids[] = {
	0, 1, 2, 0x10, 0x99, UINT32_MAX, 1ULL << 32, UINT64_MAX,
};
inline constexpr uint64_t virtual_sids[] = {0, 1, 2, 0x99};
inline constexpr uint64_t queue_depths[] = {1, 2, 2, 16, 0, 1 << 19, (1 << 19) + 1, UINT32_MAX};
inline constexpr uint64_t pasids[] = {1, 1, 1, 2, 2, 0, 1024, 1024, (1 << 20) - 1, 1 << 20};
inline constexpr uint64_t fault_pasids[] = {0, 0, 0, 1, 2, 1024};
inline constexpr uint64_t temp_memory_limits[] = {65536, 4096, 64, 12, 8, 0};
inline constexpr uint64_t file_offsets[] = {0, 0, 4096, 2048};
inline constexpr uint64_t file_flags[] = {0, 2, 02000002};
inline constexpr uint64_t dmabuf_lengths[] = {
	4096, 4 * 4096, 4 * 4096, 16 * 4096, 1 << 20, 2 << 20, (2 << 20) + 1, 1, 0,
};
inline constexpr uint64_t dirty_page_sizes[] = {
	2048, 2048, 2048, 4096, 1024, 1, 0, 3, 1 << 20, 1ULL << 31, 1ULL << 32, 1ULL << 63,
};
inline constexpr uint64_t region_indices[] = {0, 0, 1, 7, 8, 9};
/* stream table entries of a guest: translate, bypass, abort, and what a guest may not have */
inline constexpr uint64_t guest_ste0s[] = {
	0x4000100b, 0xb, 9, 1, 0, 13, 15, 0x1000000000000b,
};
inline constexpr uint64_t guest_ste1s[] = {0, 0x10000000, 0x20000000, 0x40000000};
/* commands of a guest: TLBI and ATC_INV, CFGI_CD of stream 0x10, and what is not a guest's */
inline constexpr uint64_t guest_cmd0s[] = {
	0x30, 0x11, 0x12, 0x10, 0x1000000040, 0x1000000005, 0x3, 0x46, 0x28,
};

/* --- fields --- */

/*
 * FIELD: a member by its own name. NAMED: the same with a name of ours, for a member of a union's
 * struct or of an array.
 */
#define NAMED(type, member, text, k, ...)                                                \
	desc_field                                                                       \
	{                                                                                \
		.name = text, .offset = offsetof(struct type, member),                   \
		.width = sizeof(((struct type *)nullptr)->member), .kind = desc_kind::k, \
		.c_name = #member, __VA_ARGS__                                           \
	}
#define FIELD(type, member, k, ...) NAMED(type, member, #member, k, __VA_ARGS__)
#define OBJECT(o)		    .object = desc_object::o
#define STRUCT(type)		    {#type, sizeof(struct type), type##_fields}

/* What pointers point to, and what files carry. */

inline constexpr desc_field iommu_iova_range_fields[] = {
	FIELD(iommu_iova_range, start, IOVA),
	FIELD(iommu_iova_range, last, IOVA),
};
inline constexpr desc_struct iova_range = STRUCT(iommu_iova_range);

inline constexpr desc_field iommu_hwpt_vtd_s1_fields[] = {
	FIELD(iommu_hwpt_vtd_s1, flags, FLAGS, .names = vtd_s1_flags,
	      .valid = IOMMU_VTD_S1_SRE | IOMMU_VTD_S1_EAFE | IOMMU_VTD_S1_WPE),
	FIELD(iommu_hwpt_vtd_s1, pgtbl_addr, NUMBER),
	FIELD(iommu_hwpt_vtd_s1, addr_width, NUMBER),
	FIELD(iommu_hwpt_vtd_s1, __reserved, RESERVED),
};
inline constexpr desc_struct hwpt_vtd_s1 = STRUCT(iommu_hwpt_vtd_s1);

inline constexpr desc_field iommu_hwpt_arm_smmuv3_fields[] = {
	NAMED(iommu_hwpt_arm_smmuv3, ste[0], "ste0", NUMBER, .interesting = guest_ste0s),
	NAMED(iommu_hwpt_arm_smmuv3, ste[1], "ste1", NUMBER, .interesting = guest_ste1s),
};
inline constexpr desc_struct hwpt_arm_smmuv3 = STRUCT(iommu_hwpt_arm_smmuv3);

inline constexpr desc_field iommu_hwpt_amd_guest_fields[] = {
	NAMED(iommu_hwpt_amd_guest, dte[0], "dte0", NUMBER),
	NAMED(iommu_hwpt_amd_guest, dte[1], "dte1", NUMBER),
	NAMED(iommu_hwpt_amd_guest, dte[2], "dte2", NUMBER),
	NAMED(iommu_hwpt_amd_guest, dte[3], "dte3", NUMBER),
};
inline constexpr desc_struct hwpt_amd_guest = STRUCT(iommu_hwpt_amd_guest);

inline constexpr desc_field iommu_hwpt_selftest_fields[] = {
	FIELD(iommu_hwpt_selftest, iotlb, NUMBER, .default_value = IOMMU_TEST_IOTLB_DEFAULT,
	      .interesting = iotlb_values),
	FIELD(iommu_hwpt_selftest, pagetable_type, ENUM, .names = pagetable_types),
};
inline constexpr desc_struct hwpt_selftest = STRUCT(iommu_hwpt_selftest);

inline constexpr desc_field iommu_hw_info_vtd_fields[] = {
	FIELD(iommu_hw_info_vtd, flags, NUMBER_OUT, .names = hw_info_vtd_flags),
	FIELD(iommu_hw_info_vtd, __reserved, PADDING),
	FIELD(iommu_hw_info_vtd, cap_reg, NUMBER_OUT),
	FIELD(iommu_hw_info_vtd, ecap_reg, NUMBER_OUT),
};
inline constexpr desc_struct hw_info_vtd = STRUCT(iommu_hw_info_vtd);

inline constexpr desc_field iommu_hw_info_arm_smmuv3_fields[] = {
	FIELD(iommu_hw_info_arm_smmuv3, flags, NUMBER_OUT, .names = hw_info_arm_smmuv3_flags),
	FIELD(iommu_hw_info_arm_smmuv3, impl, NUMBER_OUT, .alias = "__reserved"),
	NAMED(iommu_hw_info_arm_smmuv3, idr[0], "idr0", NUMBER_OUT),
	NAMED(iommu_hw_info_arm_smmuv3, idr[1], "idr1", NUMBER_OUT),
	NAMED(iommu_hw_info_arm_smmuv3, idr[2], "idr2", NUMBER_OUT),
	NAMED(iommu_hw_info_arm_smmuv3, idr[3], "idr3", NUMBER_OUT),
	NAMED(iommu_hw_info_arm_smmuv3, idr[4], "idr4", NUMBER_OUT),
	NAMED(iommu_hw_info_arm_smmuv3, idr[5], "idr5", NUMBER_OUT),
	FIELD(iommu_hw_info_arm_smmuv3, iidr, NUMBER_OUT),
	FIELD(iommu_hw_info_arm_smmuv3, aidr, NUMBER_OUT),
};
inline constexpr desc_struct hw_info_arm_smmuv3 = STRUCT(iommu_hw_info_arm_smmuv3);

inline constexpr desc_field iommu_hw_info_tegra241_cmdqv_fields[] = {
	FIELD(iommu_hw_info_tegra241_cmdqv, flags, NUMBER_OUT),
	FIELD(iommu_hw_info_tegra241_cmdqv, version, NUMBER_OUT),
	FIELD(iommu_hw_info_tegra241_cmdqv, log2vcmdqs, NUMBER_OUT),
	FIELD(iommu_hw_info_tegra241_cmdqv, log2vsids, NUMBER_OUT),
	FIELD(iommu_hw_info_tegra241_cmdqv, __reserved, PADDING),
};
inline constexpr desc_struct hw_info_tegra241_cmdqv = STRUCT(iommu_hw_info_tegra241_cmdqv);

inline constexpr desc_field iommu_hw_info_amd_fields[] = {
	FIELD(iommu_hw_info_amd, efr, NUMBER_OUT),
	FIELD(iommu_hw_info_amd, efr2, NUMBER_OUT),
};
inline constexpr desc_struct hw_info_amd = STRUCT(iommu_hw_info_amd);

inline constexpr desc_field iommu_test_hw_info_fields[] = {
	FIELD(iommu_test_hw_info, flags, NUMBER_OUT),
	FIELD(iommu_test_hw_info, test_reg, NUMBER_OUT),
};
inline constexpr desc_struct test_hw_info = STRUCT(iommu_test_hw_info);

inline constexpr desc_field iommu_hwpt_vtd_s1_invalidate_fields[] = {
	FIELD(iommu_hwpt_vtd_s1_invalidate, addr, IOVA),
	FIELD(iommu_hwpt_vtd_s1_invalidate, npages, NUMBER),
	FIELD(iommu_hwpt_vtd_s1_invalidate, flags, FLAGS, .names = vtd_inv_flags,
	      .valid = IOMMU_VTD_INV_FLAGS_LEAF),
	FIELD(iommu_hwpt_vtd_s1_invalidate, __reserved, RESERVED),
};
inline constexpr desc_struct hwpt_vtd_s1_invalidate = STRUCT(iommu_hwpt_vtd_s1_invalidate);

inline constexpr desc_field iommu_viommu_arm_smmuv3_invalidate_fields[] = {
	NAMED(iommu_viommu_arm_smmuv3_invalidate, cmd[0], "cmd0", NUMBER,
	      .interesting = guest_cmd0s),
	NAMED(iommu_viommu_arm_smmuv3_invalidate, cmd[1], "cmd1", NUMBER),
};
inline constexpr desc_struct viommu_arm_smmuv3_invalidate =
	STRUCT(iommu_viommu_arm_smmuv3_invalidate);

inline constexpr desc_field iommu_hwpt_invalidate_selftest_fields[] = {
	FIELD(iommu_hwpt_invalidate_selftest, flags, FLAGS, .names = invalidate_flags,
	      .valid = IOMMU_TEST_INVALIDATE_FLAG_ALL),
	FIELD(iommu_hwpt_invalidate_selftest, iotlb_id, NUMBER, .interesting = cache_indices),
};
inline constexpr desc_struct hwpt_invalidate_selftest = STRUCT(iommu_hwpt_invalidate_selftest);

inline constexpr desc_field iommu_viommu_invalidate_selftest_fields[] = {
	FIELD(iommu_viommu_invalidate_selftest, flags, FLAGS, .names = invalidate_flags,
	      .valid = IOMMU_TEST_INVALIDATE_FLAG_ALL),
	FIELD(iommu_viommu_invalidate_selftest, vdev_id, NUMBER, .interesting = virtual_sids),
	FIELD(iommu_viommu_invalidate_selftest, cache_id, NUMBER, .interesting = cache_indices),
};
inline constexpr desc_struct viommu_invalidate_selftest = STRUCT(iommu_viommu_invalidate_selftest);

inline constexpr desc_field iommu_viommu_tegra241_cmdqv_fields[] = {
	FIELD(iommu_viommu_tegra241_cmdqv, out_vintf_page0_pgoff, NUMBER_OUT,
	      .alias = "out_vintf_mmap_offset"),
	FIELD(iommu_viommu_tegra241_cmdqv, out_vintf_page0_pgsz, NUMBER_OUT,
	      .alias = "out_vintf_mmap_length"),
};
inline constexpr desc_struct viommu_tegra241_cmdqv = STRUCT(iommu_viommu_tegra241_cmdqv);

inline constexpr desc_field iommu_viommu_selftest_fields[] = {
	FIELD(iommu_viommu_selftest, in_data, NUMBER),
	FIELD(iommu_viommu_selftest, out_data, NUMBER_OUT),
	FIELD(iommu_viommu_selftest, out_mmap_pgoff, NUMBER_OUT, .alias = "out_mmap_offset"),
	FIELD(iommu_viommu_selftest, out_mmap_pgsz, NUMBER_OUT, .alias = "out_mmap_length"),
};
inline constexpr desc_struct viommu_selftest = STRUCT(iommu_viommu_selftest);

inline constexpr desc_field iommu_hwpt_pgfault_fields[] = {
	FIELD(iommu_hwpt_pgfault, flags, NUMBER_OUT, .names = pgfault_flags),
	FIELD(iommu_hwpt_pgfault, dev_id, NUMBER_OUT),
	FIELD(iommu_hwpt_pgfault, pasid, NUMBER_OUT),
	FIELD(iommu_hwpt_pgfault, grpid, NUMBER_OUT),
	FIELD(iommu_hwpt_pgfault, perm, NUMBER_OUT, .names = pgfault_perm),
	FIELD(iommu_hwpt_pgfault, __reserved, PADDING),
	FIELD(iommu_hwpt_pgfault, addr, NUMBER_OUT),
	FIELD(iommu_hwpt_pgfault, length, NUMBER_OUT),
	FIELD(iommu_hwpt_pgfault, cookie, NUMBER_OUT),
};
inline constexpr desc_struct hwpt_pgfault = STRUCT(iommu_hwpt_pgfault);

inline constexpr desc_field iommu_hwpt_page_response_fields[] = {
	FIELD(iommu_hwpt_page_response, cookie, NUMBER, .interesting = small_numbers),
	FIELD(iommu_hwpt_page_response, code, ENUM, .names = page_response_codes),
};
inline constexpr desc_struct hwpt_page_response = STRUCT(iommu_hwpt_page_response);

inline constexpr desc_field iommufd_vevent_header_fields[] = {
	FIELD(iommufd_vevent_header, flags, NUMBER_OUT, .names = veventq_flags),
	FIELD(iommufd_vevent_header, sequence, NUMBER_OUT),
};
inline constexpr desc_struct vevent_header = STRUCT(iommufd_vevent_header);

inline constexpr desc_field iommu_vevent_arm_smmuv3_fields[] = {
	NAMED(iommu_vevent_arm_smmuv3, evt[0], "evt0", NUMBER_OUT),
	NAMED(iommu_vevent_arm_smmuv3, evt[1], "evt1", NUMBER_OUT),
	NAMED(iommu_vevent_arm_smmuv3, evt[2], "evt2", NUMBER_OUT),
	NAMED(iommu_vevent_arm_smmuv3, evt[3], "evt3", NUMBER_OUT),
};
inline constexpr desc_struct vevent_arm_smmuv3 = STRUCT(iommu_vevent_arm_smmuv3);

inline constexpr desc_field iommu_vevent_tegra241_cmdqv_fields[] = {
	NAMED(iommu_vevent_tegra241_cmdqv, lvcmdq_err_map[0], "lvcmdq_err_map0", NUMBER_OUT),
	NAMED(iommu_vevent_tegra241_cmdqv, lvcmdq_err_map[1], "lvcmdq_err_map1", NUMBER_OUT),
};
inline constexpr desc_struct vevent_tegra241_cmdqv = STRUCT(iommu_vevent_tegra241_cmdqv);

inline constexpr desc_field iommu_viommu_event_selftest_fields[] = {
	FIELD(iommu_viommu_event_selftest, virt_id, NUMBER_OUT),
};
inline constexpr desc_struct viommu_event_selftest = STRUCT(iommu_viommu_event_selftest);

inline constexpr const desc_struct *pointee_structs[] = {
	&iova_range,
	&hwpt_vtd_s1,
	&hwpt_arm_smmuv3,
	&hwpt_amd_guest,
	&hwpt_selftest,
	&hw_info_vtd,
	&hw_info_arm_smmuv3,
	&hw_info_tegra241_cmdqv,
	&hw_info_amd,
	&test_hw_info,
	&hwpt_vtd_s1_invalidate,
	&viommu_arm_smmuv3_invalidate,
	&hwpt_invalidate_selftest,
	&viommu_invalidate_selftest,
	&viommu_tegra241_cmdqv,
	&viommu_selftest,
	&hwpt_pgfault,
	&hwpt_page_response,
	&vevent_header,
	&vevent_arm_smmuv3,
	&vevent_tegra241_cmdqv,
	&viommu_event_selftest,
};

inline constexpr desc_variant hwpt_data_variants[] = {
	{IOMMU_HWPT_DATA_VTD_S1, &hwpt_vtd_s1},
	{IOMMU_HWPT_DATA_ARM_SMMUV3, &hwpt_arm_smmuv3},
	{IOMMU_HWPT_DATA_AMD_GUEST, &hwpt_amd_guest},
	{IOMMU_HWPT_DATA_SELFTEST, &hwpt_selftest},
};

inline constexpr desc_variant hw_info_variants[] = {
	{IOMMU_HW_INFO_TYPE_INTEL_VTD, &hw_info_vtd},
	{IOMMU_HW_INFO_TYPE_ARM_SMMUV3, &hw_info_arm_smmuv3},
	{IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, &hw_info_tegra241_cmdqv},
	{IOMMU_HW_INFO_TYPE_AMD, &hw_info_amd},
	{IOMMU_HW_INFO_TYPE_SELFTEST, &test_hw_info},
};

inline constexpr desc_variant invalidate_variants[] = {
	{IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, &hwpt_vtd_s1_invalidate},
	{IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, &viommu_arm_smmuv3_invalidate},
	{IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, &hwpt_invalidate_selftest},
	{IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, &viommu_invalidate_selftest},
};

inline constexpr desc_variant viommu_variants[] = {
	{IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &viommu_tegra241_cmdqv},
	{IOMMU_VIOMMU_TYPE_SELFTEST, &viommu_selftest},
};

/* Commands. */

inline constexpr desc_field iommu_destroy_fields[] = {
	FIELD(iommu_destroy, size, SIZE),
	FIELD(iommu_destroy, id, ID_IN, OBJECT(ANY)),
};
inline constexpr desc_struct destroy = STRUCT(iommu_destroy);

inline constexpr desc_field iommu_ioas_alloc_fields[] = {
	FIELD(iommu_ioas_alloc, size, SIZE),
	FIELD(iommu_ioas_alloc, flags, FLAGS),
	FIELD(iommu_ioas_alloc, out_ioas_id, ID_OUT, OBJECT(IOAS)),
};
inline constexpr desc_struct ioas_alloc = STRUCT(iommu_ioas_alloc);

inline constexpr desc_field iommu_ioas_allow_iovas_fields[] = {
	FIELD(iommu_ioas_allow_iovas, size, SIZE),
	FIELD(iommu_ioas_allow_iovas, ioas_id, ID_IN, OBJECT(IOAS)),
	FIELD(iommu_ioas_allow_iovas, num_iovas, COUNT),
	FIELD(iommu_ioas_allow_iovas, __reserved, RESERVED),
	FIELD(iommu_ioas_allow_iovas, allowed_iovas, PTR_IN, .len_field = "num_iovas",
	      .pointee = &iova_range),
};
inline constexpr desc_struct ioas_allow_iovas = STRUCT(iommu_ioas_allow_iovas);

inline constexpr desc_field iommu_ioas_copy_fields[] = {
	FIELD(iommu_ioas_copy, size, SIZE),
	FIELD(iommu_ioas_copy, flags, FLAGS, .names = map_flags, .valid = map_flags_valid,
	      .usual = map_flags_valid),
	FIELD(iommu_ioas_copy, dst_ioas_id, ID_IN, OBJECT(IOAS)),
	FIELD(iommu_ioas_copy, src_ioas_id, ID_IN, OBJECT(IOAS)),
	FIELD(iommu_ioas_copy, length, IOVA_LEN),
	FIELD(iommu_ioas_copy, dst_iova, IOVA_INOUT),
	FIELD(iommu_ioas_copy, src_iova, IOVA),
};
inline constexpr desc_struct ioas_copy = STRUCT(iommu_ioas_copy);

inline constexpr desc_field iommu_ioas_iova_ranges_fields[] = {
	FIELD(iommu_ioas_iova_ranges, size, SIZE),
	FIELD(iommu_ioas_iova_ranges, ioas_id, ID_IN, OBJECT(IOAS)),
	FIELD(iommu_ioas_iova_ranges, num_iovas, COUNT, .returned = true),
	FIELD(iommu_ioas_iova_ranges, __reserved, RESERVED),
	FIELD(iommu_ioas_iova_ranges, allowed_iovas, PTR_OUT, .len_field = "num_iovas",
	      .pointee = &iova_range),
	FIELD(iommu_ioas_iova_ranges, out_iova_alignment, NUMBER_OUT),
};
inline constexpr desc_struct ioas_iova_ranges = STRUCT(iommu_ioas_iova_ranges);

inline constexpr desc_field iommu_ioas_map_fields[] = {
	FIELD(iommu_ioas_map, size, SIZE),
	FIELD(iommu_ioas_map, flags, FLAGS, .names = map_flags, .valid = map_flags_valid,
	      .usual = map_flags_valid),
	FIELD(iommu_ioas_map, ioas_id, ID_IN, OBJECT(IOAS)),
	FIELD(iommu_ioas_map, __reserved, RESERVED),
	FIELD(iommu_ioas_map, user_va, USER_VA, .len_field = "length"),
	FIELD(iommu_ioas_map, length, IOVA_LEN),
	FIELD(iommu_ioas_map, iova, IOVA_INOUT),
};
inline constexpr desc_struct ioas_map = STRUCT(iommu_ioas_map);

inline constexpr desc_field iommu_ioas_unmap_fields[] = {
	FIELD(iommu_ioas_unmap, size, SIZE),
	FIELD(iommu_ioas_unmap, ioas_id, ID_IN, OBJECT(IOAS)),
	FIELD(iommu_ioas_unmap, iova, IOVA),
	FIELD(iommu_ioas_unmap, length, IOVA_LEN, .returned = true),
};
inline constexpr desc_struct ioas_unmap = STRUCT(iommu_ioas_unmap);

inline constexpr desc_field iommu_option_fields[] = {
	FIELD(iommu_option, size, SIZE),
	FIELD(iommu_option, option_id, ENUM, .names = option_ids),
	FIELD(iommu_option, op, ENUM, .names = option_ops),
	FIELD(iommu_option, __reserved, RESERVED),
	FIELD(iommu_option, object_id, ID_IN, OBJECT(IOAS), .optional = true),
	FIELD(iommu_option, val64, NUMBER_INOUT, .interesting = option_values),
};
inline constexpr desc_struct option = STRUCT(iommu_option);

inline constexpr desc_field iommu_vfio_ioas_fields[] = {
	FIELD(iommu_vfio_ioas, size, SIZE),
	FIELD(iommu_vfio_ioas, ioas_id, ID_INOUT, OBJECT(IOAS)),
	FIELD(iommu_vfio_ioas, op, ENUM, .names = vfio_ioas_ops),
	FIELD(iommu_vfio_ioas, __reserved, RESERVED),
};
inline constexpr desc_struct vfio_ioas = STRUCT(iommu_vfio_ioas);

/* VFIO's. In their structs argsz is the size; the last of them has other bytes behind it. */

#define VALUE_ARG(_name, _kind, ...)                                \
	desc_field                                                  \
	{                                                           \
		.name = _name, .offset = 0, .width = 8,             \
		.kind = desc_kind::_kind __VA_OPT__(, ) __VA_ARGS__ \
	}

inline constexpr desc_field vfio_no_arg_fields[] = {VALUE_ARG("arg", PADDING)};
inline constexpr desc_struct vfio_no_arg = {"", 8, vfio_no_arg_fields};

inline constexpr desc_field vfio_extension_fields[] = {
	VALUE_ARG("extension", ENUM, .names = vfio_extensions)};
inline constexpr desc_struct vfio_extension = {"", 8, vfio_extension_fields};

inline constexpr desc_field vfio_iommu_fields[] = {
	VALUE_ARG("type", ENUM, .names = vfio_extensions, .default_value = VFIO_TYPE1v2_IOMMU)};
inline constexpr desc_struct vfio_iommu = {"", 8, vfio_iommu_fields};

/* A chain of capabilities follows, when argsz has room for all of it. */
inline constexpr desc_field vfio_iommu_type1_info_fields[] = {
	FIELD(vfio_iommu_type1_info, argsz, SIZE, .returned = true),
	FIELD(vfio_iommu_type1_info, flags, NUMBER_OUT, .names = vfio_info_flags),
	FIELD(vfio_iommu_type1_info, iova_pgsizes, NUMBER_OUT),
	FIELD(vfio_iommu_type1_info, cap_offset, NUMBER_OUT),
	FIELD(vfio_iommu_type1_info, pad, PADDING),
};
inline constexpr desc_struct vfio_info = STRUCT(vfio_iommu_type1_info);

inline constexpr desc_field vfio_iommu_type1_dma_map_fields[] = {
	FIELD(vfio_iommu_type1_dma_map, argsz, SIZE),
	FIELD(vfio_iommu_type1_dma_map, flags, FLAGS, .names = vfio_dma_map_flags,
	      .valid = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
	      .usual = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE),
	FIELD(vfio_iommu_type1_dma_map, vaddr, USER_VA),
	FIELD(vfio_iommu_type1_dma_map, iova, IOVA),
	FIELD(vfio_iommu_type1_dma_map, size, IOVA_LEN),
};
inline constexpr desc_struct vfio_dma_map = STRUCT(vfio_iommu_type1_dma_map);

inline constexpr desc_field vfio_iommu_type1_dma_unmap_fields[] = {
	FIELD(vfio_iommu_type1_dma_unmap, argsz, SIZE),
	FIELD(vfio_iommu_type1_dma_unmap, flags, FLAGS, .names = vfio_dma_unmap_flags,
	      .valid = VFIO_DMA_UNMAP_FLAG_ALL),
	FIELD(vfio_iommu_type1_dma_unmap, iova, IOVA),
	FIELD(vfio_iommu_type1_dma_unmap, size, IOVA_LEN, .returned = true),
};
inline constexpr desc_struct vfio_dma_unmap = STRUCT(vfio_iommu_type1_dma_unmap);

/* Never looked at: the command is unknown to iommufd. */
inline constexpr desc_field vfio_iommu_type1_dirty_bitmap_fields[] = {
	FIELD(vfio_iommu_type1_dirty_bitmap, argsz, SIZE),
	FIELD(vfio_iommu_type1_dirty_bitmap, flags, NUMBER, .names = vfio_dirty_pages_flags),
};
inline constexpr desc_struct vfio_dirty_bitmap = STRUCT(vfio_iommu_type1_dirty_bitmap);

#undef VALUE_ARG

inline constexpr desc_field iommu_hwpt_alloc_fields[] = {
	FIELD(iommu_hwpt_alloc, size, SIZE),
	FIELD(iommu_hwpt_alloc, flags, FLAGS, .names = hwpt_alloc_flags,
	      .valid = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
		       IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID,
	      .usual = IOMMU_HWPT_ALLOC_NEST_PARENT),
	FIELD(iommu_hwpt_alloc, dev_id, ID_IN, OBJECT(DEVICE)),
	FIELD(iommu_hwpt_alloc, pt_id, ID_IN, OBJECT(PT)),
	FIELD(iommu_hwpt_alloc, out_hwpt_id, ID_OUT, OBJECT(HWPT), .selector_field = "data_type",
	      .selected_object = desc_object::HWPT_NESTED),
	FIELD(iommu_hwpt_alloc, __reserved, RESERVED),
	FIELD(iommu_hwpt_alloc, data_type, ENUM, .names = hwpt_data_types),
	FIELD(iommu_hwpt_alloc, data_len, LEN),
	FIELD(iommu_hwpt_alloc, data_uptr, PTR_IN, .len_field = "data_len",
	      .selector_field = "data_type", .variants = hwpt_data_variants),
	FIELD(iommu_hwpt_alloc, fault_id, ID_IN, OBJECT(FAULT), .optional = true),
	FIELD(iommu_hwpt_alloc, __reserved2, PADDING),
};
inline constexpr desc_struct hwpt_alloc = STRUCT(iommu_hwpt_alloc);

/* v2: the type is an output, and no flag is known. */
inline constexpr desc_field iommu_hw_info_fields[] = {
	FIELD(iommu_hw_info, size, SIZE),
	FIELD(iommu_hw_info, flags, FLAGS, .names = hw_info_flags, .valid = 0),
	FIELD(iommu_hw_info, dev_id, ID_IN, OBJECT(DEVICE)),
	FIELD(iommu_hw_info, data_len, LEN, .returned = true),
	FIELD(iommu_hw_info, data_uptr, PTR_OUT, .len_field = "data_len",
	      .selector_field = "out_data_type", .variants = hw_info_variants),
	FIELD(iommu_hw_info, out_data_type, NUMBER_OUT, .names = hw_info_types,
	      .short_name = "data_type", .alias = "in_data_type"),
	FIELD(iommu_hw_info, out_max_pasid_log2, NUMBER_OUT, .short_name = "max_pasid_log2"),
	NAMED(iommu_hw_info, __reserved[0], "__reserved0", RESERVED),
	NAMED(iommu_hw_info, __reserved[1], "__reserved1", RESERVED),
	NAMED(iommu_hw_info, __reserved[2], "__reserved2", RESERVED),
	FIELD(iommu_hw_info, out_capabilities, NUMBER_OUT, .names = hw_capabilities,
	      .short_name = "capabilities"),
};
inline constexpr desc_struct hw_info = STRUCT(iommu_hw_info);

/* merged: an input too, with INPUT_TYPE. */
inline constexpr desc_field iommu_hw_info_merged_fields[] = {
	FIELD(iommu_hw_info, size, SIZE),
	FIELD(iommu_hw_info, flags, FLAGS, .names = hw_info_flags,
	      .valid = IOMMU_HW_INFO_FLAG_INPUT_TYPE),
	FIELD(iommu_hw_info, dev_id, ID_IN, OBJECT(DEVICE)),
	FIELD(iommu_hw_info, data_len, LEN, .returned = true),
	FIELD(iommu_hw_info, data_uptr, PTR_OUT, .len_field = "data_len",
	      .selector_field = "in_data_type", .variants = hw_info_variants),
	FIELD(iommu_hw_info, in_data_type, NUMBER_INOUT, .names = hw_info_types,
	      .short_name = "data_type", .alias = "out_data_type"),
	FIELD(iommu_hw_info, out_max_pasid_log2, NUMBER_OUT, .short_name = "max_pasid_log2"),
	NAMED(iommu_hw_info, __reserved[0], "__reserved0", RESERVED),
	NAMED(iommu_hw_info, __reserved[1], "__reserved1", RESERVED),
	NAMED(iommu_hw_info, __reserved[2], "__reserved2", RESERVED),
	FIELD(iommu_hw_info, out_capabilities, NUMBER_OUT, .names = hw_capabilities,
	      .short_name = "capabilities"),
};
inline constexpr desc_struct hw_info_merged = {"iommu_hw_info", sizeof(struct iommu_hw_info),
					       iommu_hw_info_merged_fields};

inline constexpr desc_field iommu_hwpt_set_dirty_tracking_fields[] = {
	FIELD(iommu_hwpt_set_dirty_tracking, size, SIZE),
	FIELD(iommu_hwpt_set_dirty_tracking, flags, FLAGS, .names = dirty_tracking_flags,
	      .valid = IOMMU_HWPT_DIRTY_TRACKING_ENABLE, .usual = IOMMU_HWPT_DIRTY_TRACKING_ENABLE),
	FIELD(iommu_hwpt_set_dirty_tracking, hwpt_id, ID_IN, OBJECT(HWPT),
	      .made_with = IOMMU_HWPT_ALLOC_DIRTY_TRACKING),
	FIELD(iommu_hwpt_set_dirty_tracking, __reserved, PADDING),
};
inline constexpr desc_struct hwpt_set_dirty_tracking = STRUCT(iommu_hwpt_set_dirty_tracking);

inline constexpr desc_field iommu_hwpt_get_dirty_bitmap_fields[] = {
	FIELD(iommu_hwpt_get_dirty_bitmap, size, SIZE),
	FIELD(iommu_hwpt_get_dirty_bitmap, hwpt_id, ID_IN, OBJECT(HWPT),
	      .made_with = IOMMU_HWPT_ALLOC_DIRTY_TRACKING),
	FIELD(iommu_hwpt_get_dirty_bitmap, flags, FLAGS, .names = dirty_bitmap_flags,
	      .valid = IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR),
	FIELD(iommu_hwpt_get_dirty_bitmap, __reserved, RESERVED),
	FIELD(iommu_hwpt_get_dirty_bitmap, iova, IOVA),
	FIELD(iommu_hwpt_get_dirty_bitmap, length, IOVA_LEN),
	FIELD(iommu_hwpt_get_dirty_bitmap, page_size, NUMBER, .default_value = MOCK_PAGE_SIZE,
	      .interesting = dirty_page_sizes),
	FIELD(iommu_hwpt_get_dirty_bitmap, data, PTR_INOUT, .bits_of = "length",
	      .bit_bytes = "page_size"),
};
inline constexpr desc_struct hwpt_get_dirty_bitmap = STRUCT(iommu_hwpt_get_dirty_bitmap);

/* hwpt_id takes a nested table or a vIOMMU. */
inline constexpr desc_field iommu_hwpt_invalidate_fields[] = {
	FIELD(iommu_hwpt_invalidate, size, SIZE),
	FIELD(iommu_hwpt_invalidate, hwpt_id, ID_IN, OBJECT(HWPT_NESTED)),
	FIELD(iommu_hwpt_invalidate, data_uptr, PTR_IN, .len_field = "entry_num",
	      .selector_field = "data_type", .variants = invalidate_variants),
	FIELD(iommu_hwpt_invalidate, data_type, ENUM, .names = invalidate_types),
	FIELD(iommu_hwpt_invalidate, entry_len, ENTRY_LEN),
	FIELD(iommu_hwpt_invalidate, entry_num, COUNT, .returned = true),
	FIELD(iommu_hwpt_invalidate, __reserved, RESERVED),
};
inline constexpr desc_struct hwpt_invalidate = STRUCT(iommu_hwpt_invalidate);

inline constexpr desc_field iommu_fault_alloc_fields[] = {
	FIELD(iommu_fault_alloc, size, SIZE),
	FIELD(iommu_fault_alloc, flags, FLAGS),
	FIELD(iommu_fault_alloc, out_fault_id, ID_OUT, OBJECT(FAULT), .short_name = "fault"),
	FIELD(iommu_fault_alloc, out_fault_fd, FD_OUT, OBJECT(FAULT), .short_name = "fd"),
};
inline constexpr desc_struct fault_alloc = STRUCT(iommu_fault_alloc);

inline constexpr desc_field iommu_ioas_map_file_fields[] = {
	FIELD(iommu_ioas_map_file, size, SIZE),
	FIELD(iommu_ioas_map_file, flags, FLAGS, .names = map_flags, .valid = map_flags_valid,
	      .usual = map_flags_valid),
	FIELD(iommu_ioas_map_file, ioas_id, ID_IN, OBJECT(IOAS)),
	FIELD(iommu_ioas_map_file, fd, FD_IN),
	FIELD(iommu_ioas_map_file, start, NUMBER, .interesting = file_offsets),
	FIELD(iommu_ioas_map_file, length, IOVA_LEN),
	FIELD(iommu_ioas_map_file, iova, IOVA_INOUT),
};
inline constexpr desc_struct ioas_map_file = STRUCT(iommu_ioas_map_file);

inline constexpr desc_field iommu_viommu_alloc_fields[] = {
	FIELD(iommu_viommu_alloc, size, SIZE),
	FIELD(iommu_viommu_alloc, flags, FLAGS),
	FIELD(iommu_viommu_alloc, type, ENUM, .names = viommu_types),
	FIELD(iommu_viommu_alloc, dev_id, ID_IN, OBJECT(DEVICE)),
	FIELD(iommu_viommu_alloc, hwpt_id, ID_IN, OBJECT(HWPT),
	      .made_with = IOMMU_HWPT_ALLOC_NEST_PARENT),
	FIELD(iommu_viommu_alloc, out_viommu_id, ID_OUT, OBJECT(VIOMMU)),
	FIELD(iommu_viommu_alloc, data_len, LEN),
	FIELD(iommu_viommu_alloc, __reserved, PADDING),
	FIELD(iommu_viommu_alloc, data_uptr, PTR_INOUT, .len_field = "data_len",
	      .selector_field = "type", .variants = viommu_variants),
};
inline constexpr desc_struct viommu_alloc = STRUCT(iommu_viommu_alloc);

inline constexpr desc_field iommu_vdevice_alloc_fields[] = {
	FIELD(iommu_vdevice_alloc, size, SIZE),
	FIELD(iommu_vdevice_alloc, viommu_id, ID_IN, OBJECT(VIOMMU)),
	FIELD(iommu_vdevice_alloc, dev_id, ID_IN, OBJECT(DEVICE)),
	FIELD(iommu_vdevice_alloc, out_vdevice_id, ID_OUT, OBJECT(VDEVICE)),
	FIELD(iommu_vdevice_alloc, virt_id, NUMBER, .interesting = virtual_ids),
};
inline constexpr desc_struct vdevice_alloc = STRUCT(iommu_vdevice_alloc);

inline constexpr desc_field iommu_ioas_change_process_fields[] = {
	FIELD(iommu_ioas_change_process, size, SIZE),
	FIELD(iommu_ioas_change_process, __reserved, RESERVED),
};
inline constexpr desc_struct ioas_change_process = STRUCT(iommu_ioas_change_process);

inline constexpr desc_field iommu_veventq_alloc_fields[] = {
	FIELD(iommu_veventq_alloc, size, SIZE),
	FIELD(iommu_veventq_alloc, flags, FLAGS),
	FIELD(iommu_veventq_alloc, viommu_id, ID_IN, OBJECT(VIOMMU)),
	FIELD(iommu_veventq_alloc, type, ENUM, .names = veventq_types),
	FIELD(iommu_veventq_alloc, veventq_depth, NUMBER, .interesting = queue_depths),
	FIELD(iommu_veventq_alloc, out_veventq_id, ID_OUT, OBJECT(VEVENTQ),
	      .short_name = "veventq"),
	FIELD(iommu_veventq_alloc, out_veventq_fd, FD_OUT, OBJECT(VEVENTQ), .short_name = "fd"),
	FIELD(iommu_veventq_alloc, __reserved, RESERVED),
};
inline constexpr desc_struct veventq_alloc = STRUCT(iommu_veventq_alloc);

inline constexpr desc_field iommu_vcmdq_alloc_fields[] = {
	FIELD(iommu_vcmdq_alloc, size, SIZE),
	FIELD(iommu_vcmdq_alloc, flags, FLAGS),
	FIELD(iommu_vcmdq_alloc, viommu_id, ID_IN, OBJECT(VIOMMU)),
	FIELD(iommu_vcmdq_alloc, type, ENUM, .names = vcmdq_types),
	FIELD(iommu_vcmdq_alloc, index, NUMBER, .interesting = queue_indices),
	FIELD(iommu_vcmdq_alloc, out_vcmdq_id, ID_OUT, OBJECT(VCMDQ)),
	FIELD(iommu_vcmdq_alloc, addr, IOVA),
	FIELD(iommu_vcmdq_alloc, length, IOVA_LEN),
};
inline constexpr desc_struct vcmdq_alloc = STRUCT(iommu_vcmdq_alloc);

inline constexpr desc_field iommu_hw_queue_alloc_fields[] = {
	FIELD(iommu_hw_queue_alloc, size, SIZE),
	FIELD(iommu_hw_queue_alloc, flags, FLAGS),
	FIELD(iommu_hw_queue_alloc, viommu_id, ID_IN, OBJECT(VIOMMU)),
	FIELD(iommu_hw_queue_alloc, type, ENUM, .names = hw_queue_types),
	FIELD(iommu_hw_queue_alloc, index, NUMBER, .interesting = queue_indices),
	FIELD(iommu_hw_queue_alloc, out_hw_queue_id, ID_OUT, OBJECT(HW_QUEUE)),
	FIELD(iommu_hw_queue_alloc, nesting_parent_iova, IOVA),
	FIELD(iommu_hw_queue_alloc, length, IOVA_LEN),
};
inline constexpr desc_struct hw_queue_alloc = STRUCT(iommu_hw_queue_alloc);

/* --- IOMMU_TEST_CMD --- */

/*
 * Every op has the 72 bytes of struct iommu_test_cmd; what its own struct does not reach is PADDING
 * in u32s. check_iotlb.id and check_dev_cache.id are called iotlb_id and cache_id, because `id` is
 * iommu_test_cmd's.
 */
inline constexpr const char *test_padding_names[] = {
	"pad0",	 "pad4",  "pad8",  "pad12", "pad16", "pad20", "pad24", "pad28", "pad32",
	"pad36", "pad40", "pad44", "pad48", "pad52", "pad56", "pad60", "last",	"pad68",
};
static_assert(std::size(test_padding_names) * 4 == sizeof(struct iommu_test_cmd));
static_assert(offsetof(struct iommu_test_cmd, last) == 64);

template <size_t n> struct test_op_fields {
	desc_field fields[sizeof(struct iommu_test_cmd) / 4] = {};
	size_t count = 0;

	/*
	 * size and op, then the op's own fields with the gaps filled. `own` is in offset order
	 * and starts with `id`.
	 */
	consteval test_op_fields(const desc_field (&own)[n])
	{
		size_t at = 0;

		put({.name = "size",
		     .offset = 0,
		     .width = 4,
		     .kind = desc_kind::SIZE,
		     .c_name = "size"},
		    at);
		put({.name = "op", .offset = 4, .width = 4, .kind = desc_kind::OP, .c_name = "op"},
		    at);
		for (const desc_field &f : own) {
			pad(f.offset, at);
			put(f, at);
		}
		pad(sizeof(struct iommu_test_cmd), at);
	}

	constexpr std::span<const desc_field> span() const { return {fields, count}; }

private:
	consteval void put(const desc_field &f, size_t &at)
	{
		fields[count++] = f;
		at = f.offset + f.width;
	}
	consteval void pad(size_t to, size_t &at)
	{
		while (at < to)
			put({.name = test_padding_names[at / 4],
			     .offset = static_cast<uint16_t>(at),
			     .width = 4,
			     .kind = desc_kind::PADDING,
			     .c_name = at == 12 ? "__reserved" : nullptr},
			    at);
	}
};

#define TEST_FIELD(group, member, k, ...) \
	NAMED(iommu_test_cmd, group.member, #member, k, __VA_ARGS__)
#define TEST_ID(k, ...) FIELD(iommu_test_cmd, id, k, __VA_ARGS__)
#define TEST_OP(op, ...)                                                                          \
	inline constexpr desc_field op##_own[] = {__VA_ARGS__};                                   \
	inline constexpr test_op_fields op##_fields(op##_own);                                    \
	inline constexpr desc_struct op##_arg = {"iommu_test_cmd", sizeof(struct iommu_test_cmd), \
						 op##_fields.span()}

TEST_OP(add_reserved, TEST_ID(ID_IN, OBJECT(IOAS)), TEST_FIELD(add_reserved, start, IOVA),
	TEST_FIELD(add_reserved, length, IOVA_LEN));

TEST_OP(mock_domain, TEST_ID(ID_IN, OBJECT(PT)),
	TEST_FIELD(mock_domain, out_stdev_id, ID_OUT, OBJECT(SELFTEST), .short_name = "stdev"),
	TEST_FIELD(mock_domain, out_hwpt_id, ID_OUT, OBJECT(HWPT), .short_name = "hwpt"),
	TEST_FIELD(mock_domain, out_idev_id, ID_OUT, OBJECT(DEVICE), .short_name = "idev"));

TEST_OP(md_check_map, TEST_ID(ID_IN, OBJECT(HWPT)), TEST_FIELD(check_map, iova, IOVA),
	TEST_FIELD(check_map, length, IOVA_LEN),
	TEST_FIELD(check_map, uptr, USER_VA, .len_field = "length"));

TEST_OP(md_check_refs, TEST_ID(PADDING), TEST_FIELD(check_refs, length, LEN),
	TEST_FIELD(check_refs, uptr, USER_VA, .len_field = "length"),
	TEST_FIELD(check_refs, refs, NUMBER, .interesting = small_numbers));

TEST_OP(create_access, TEST_ID(ID_IN, OBJECT(IOAS)),
	TEST_FIELD(create_access, out_access_fd, FD_OUT, OBJECT(ACCESS)),
	TEST_FIELD(create_access, flags, FLAGS, .names = create_access_flags,
		   .valid = MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES,
		   .usual = MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES));

TEST_OP(destroy_access_pages, TEST_ID(FD_IN, OBJECT(ACCESS)),
	TEST_FIELD(destroy_access_pages, access_pages_id, ID_IN, OBJECT(ACCESS_PAGES)));

/* uptr may be zero: nothing is compared then. */
TEST_OP(access_pages,
	TEST_ID(FD_IN, OBJECT(ACCESS), .made_with = MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES),
	TEST_FIELD(access_pages, flags, FLAGS, .names = access_pages_flags,
		   .valid = MOCK_FLAGS_ACCESS_WRITE | MOCK_FLAGS_ACCESS_SYZ),
	TEST_FIELD(access_pages, out_access_pages_id, ID_OUT, OBJECT(ACCESS_PAGES)),
	TEST_FIELD(access_pages, iova, IOVA), TEST_FIELD(access_pages, length, IOVA_LEN),
	TEST_FIELD(access_pages, uptr, USER_VA, .len_field = "length"));

TEST_OP(access_rw, TEST_ID(FD_IN, OBJECT(ACCESS)), TEST_FIELD(access_rw, iova, IOVA),
	TEST_FIELD(access_rw, length, LEN),
	TEST_FIELD(access_rw, uptr, PTR_INOUT, .len_field = "length"),
	TEST_FIELD(access_rw, flags, FLAGS, .names = access_rw_flags,
		   .valid = MOCK_ACCESS_RW_WRITE | MOCK_ACCESS_RW_SLOW_PATH |
			    MOCK_FLAGS_ACCESS_SYZ));

TEST_OP(set_temp_memory_limit, TEST_ID(PADDING),
	TEST_FIELD(memory_limit, limit, NUMBER, .interesting = temp_memory_limits));

TEST_OP(mock_domain_replace, TEST_ID(ID_IN, OBJECT(SELFTEST)),
	TEST_FIELD(mock_domain_replace, pt_id, ID_INOUT, OBJECT(PT)));

TEST_OP(access_replace_ioas, TEST_ID(FD_IN, OBJECT(ACCESS)),
	TEST_FIELD(access_replace_ioas, ioas_id, ID_IN, OBJECT(IOAS), .optional = true));

TEST_OP(mock_domain_flags, TEST_ID(ID_IN, OBJECT(PT)),
	TEST_FIELD(mock_domain_flags, out_stdev_id, ID_OUT, OBJECT(SELFTEST),
		   .short_name = "stdev"),
	TEST_FIELD(mock_domain_flags, out_hwpt_id, ID_OUT, OBJECT(HWPT), .short_name = "hwpt"),
	TEST_FIELD(mock_domain_flags, out_idev_id, ID_OUT, OBJECT(DEVICE), .short_name = "idev"),
	TEST_FIELD(mock_domain_flags, dev_flags, FLAGS, .names = device_flags,
		   .valid = device_flags_valid));

TEST_OP(dirty, TEST_ID(ID_IN, OBJECT(HWPT), .made_with = IOMMU_HWPT_ALLOC_DIRTY_TRACKING),
	TEST_FIELD(dirty, flags, PADDING), TEST_FIELD(dirty, iova, IOVA),
	TEST_FIELD(dirty, length, IOVA_LEN),
	TEST_FIELD(dirty, page_size, NUMBER, .default_value = MOCK_PAGE_SIZE,
		   .interesting = dirty_page_sizes),
	TEST_FIELD(dirty, uptr, PTR_IN, .bits_of = "length", .bit_bytes = "page_size"),
	TEST_FIELD(dirty, out_nr_dirty, NUMBER_OUT));

TEST_OP(md_check_iotlb, TEST_ID(ID_IN, OBJECT(HWPT_NESTED)),
	NAMED(iommu_test_cmd, check_iotlb.id, "iotlb_id", NUMBER, .interesting = cache_indices),
	TEST_FIELD(check_iotlb, iotlb, NUMBER, .default_value = IOMMU_TEST_IOTLB_DEFAULT,
		   .interesting = iotlb_values));

TEST_OP(trigger_iopf, TEST_ID(PADDING), TEST_FIELD(trigger_iopf, dev_id, ID_IN, OBJECT(DEVICE)),
	TEST_FIELD(trigger_iopf, pasid, NUMBER, .interesting = fault_pasids),
	TEST_FIELD(trigger_iopf, grpid, NUMBER, .interesting = small_numbers),
	TEST_FIELD(trigger_iopf, perm, NUMBER, .names = pgfault_perm),
	TEST_FIELD(trigger_iopf, addr, IOVA));

TEST_OP(dev_check_cache, TEST_ID(ID_IN, OBJECT(DEVICE)),
	NAMED(iommu_test_cmd, check_dev_cache.id, "cache_id", NUMBER, .interesting = cache_indices),
	TEST_FIELD(check_dev_cache, cache, NUMBER, .default_value = IOMMU_TEST_DEV_CACHE_DEFAULT,
		   .interesting = cache_values));

TEST_OP(trigger_vevent, TEST_ID(PADDING),
	TEST_FIELD(trigger_vevent, dev_id, ID_IN, OBJECT(DEVICE)));

TEST_OP(pasid_attach, TEST_ID(ID_IN, OBJECT(SELFTEST), .made_with = MOCK_FLAGS_DEVICE_PASID),
	TEST_FIELD(pasid_attach, pasid, NUMBER, .interesting = pasids),
	TEST_FIELD(pasid_attach, pt_id, ID_INOUT, OBJECT(PT), .made_with = IOMMU_HWPT_ALLOC_PASID));

TEST_OP(pasid_replace, TEST_ID(ID_IN, OBJECT(SELFTEST), .made_with = MOCK_FLAGS_DEVICE_PASID),
	TEST_FIELD(pasid_replace, pasid, NUMBER, .interesting = pasids),
	TEST_FIELD(pasid_replace, pt_id, ID_INOUT, OBJECT(PT),
		   .made_with = IOMMU_HWPT_ALLOC_PASID));

TEST_OP(pasid_detach, TEST_ID(ID_IN, OBJECT(SELFTEST), .made_with = MOCK_FLAGS_DEVICE_PASID),
	TEST_FIELD(pasid_detach, pasid, NUMBER, .interesting = pasids));

TEST_OP(pasid_check_hwpt, TEST_ID(ID_IN, OBJECT(SELFTEST), .made_with = MOCK_FLAGS_DEVICE_PASID),
	TEST_FIELD(pasid_check, pasid, NUMBER, .interesting = pasids),
	TEST_FIELD(pasid_check, hwpt_id, ID_IN, OBJECT(HWPT)));

TEST_OP(dmabuf_get, TEST_ID(PADDING),
	TEST_FIELD(dmabuf_get, length, NUMBER, .interesting = dmabuf_lengths),
	TEST_FIELD(dmabuf_get, open_flags, NUMBER, .interesting = file_flags));

TEST_OP(dmabuf_revoke, TEST_ID(PADDING),
	TEST_FIELD(dmabuf_revoke, dmabuf_fd, FD_IN, OBJECT(DMABUF)),
	TEST_FIELD(dmabuf_revoke, revoked, NUMBER, .interesting = zero_or_one));

/* --- the commands --- */

inline constexpr desc_field vfio_device_info_fields[] = {
	FIELD(vfio_device_info, argsz, SIZE),
	FIELD(vfio_device_info, flags, NUMBER_OUT, .names = vfio_device_flags),
	FIELD(vfio_device_info, num_regions, NUMBER_OUT),
	FIELD(vfio_device_info, num_irqs, NUMBER_OUT),
	FIELD(vfio_device_info, cap_offset, NUMBER_OUT),
	FIELD(vfio_device_info, pad, PADDING),
};
inline constexpr desc_struct vfio_dev_info = STRUCT(vfio_device_info);

inline constexpr desc_field vfio_region_info_fields[] = {
	FIELD(vfio_region_info, argsz, SIZE),
	FIELD(vfio_region_info, flags, NUMBER_OUT, .names = vfio_region_flags),
	FIELD(vfio_region_info, index, NUMBER, .interesting = region_indices),
	FIELD(vfio_region_info, cap_offset, NUMBER_OUT),
	FIELD(vfio_region_info, size, NUMBER_OUT),
	FIELD(vfio_region_info, offset, NUMBER_OUT),
};
inline constexpr desc_struct vfio_region = STRUCT(vfio_region_info);

inline constexpr desc_field vfio_device_bind_iommufd_fields[] = {
	FIELD(vfio_device_bind_iommufd, argsz, SIZE),
	FIELD(vfio_device_bind_iommufd, flags, FLAGS, .names = vfio_bind_flags),
	/* a descriptor of /dev/iommu, which is no object */
	FIELD(vfio_device_bind_iommufd, iommufd, NUMBER),
	FIELD(vfio_device_bind_iommufd, out_devid, ID_OUT, OBJECT(DEVICE)),
	FIELD(vfio_device_bind_iommufd, token_uuid_ptr, NUMBER),
};
inline constexpr desc_struct vfio_bind = STRUCT(vfio_device_bind_iommufd);

inline constexpr desc_field vfio_device_attach_iommufd_pt_fields[] = {
	FIELD(vfio_device_attach_iommufd_pt, argsz, SIZE),
	FIELD(vfio_device_attach_iommufd_pt, flags, FLAGS, .names = vfio_attach_flags,
	      .valid = VFIO_DEVICE_ATTACH_PASID),
	FIELD(vfio_device_attach_iommufd_pt, pt_id, ID_INOUT, OBJECT(PT)),
	FIELD(vfio_device_attach_iommufd_pt, pasid, NUMBER, .interesting = pasids),
};
inline constexpr desc_struct vfio_attach = STRUCT(vfio_device_attach_iommufd_pt);

inline constexpr desc_field vfio_device_detach_iommufd_pt_fields[] = {
	FIELD(vfio_device_detach_iommufd_pt, argsz, SIZE),
	FIELD(vfio_device_detach_iommufd_pt, flags, FLAGS, .names = vfio_attach_flags,
	      .valid = VFIO_DEVICE_DETACH_PASID),
	FIELD(vfio_device_detach_iommufd_pt, pasid, NUMBER, .interesting = pasids),
};
inline constexpr desc_struct vfio_detach = STRUCT(vfio_device_detach_iommufd_pt);

/* --- what commands do to what is mapped --- */

inline constexpr desc_effect destroy_effect = {.kind = desc_effect_kind::END, .space = "id"};
inline constexpr desc_effect ioas_map_effect = {
	.kind = desc_effect_kind::MAP,
	.space = "ioas_id",
	.iova = "iova",
	.length = "length",
	.from_va = "user_va",
};
inline constexpr desc_effect ioas_map_file_effect = {
	.kind = desc_effect_kind::MAP,
	.space = "ioas_id",
	.iova = "iova",
	.length = "length",
	.from_file = "fd",
	.from_offset = "start",
};
inline constexpr desc_effect ioas_copy_effect = {
	.kind = desc_effect_kind::COPY,
	.space = "dst_ioas_id",
	.iova = "dst_iova",
	.length = "length",
	.src_space = "src_ioas_id",
	.src_iova = "src_iova",
};
inline constexpr desc_effect ioas_unmap_effect = {
	.kind = desc_effect_kind::UNMAP,
	.space = "ioas_id",
	.iova = "iova",
	.length = "length",
};
inline constexpr desc_effect vfio_ioas_effect = {
	.kind = desc_effect_kind::COMPAT_SPACE,
	.space = "ioas_id",
	.selector = "op",
	.selected = IOMMU_VFIO_IOAS_CLEAR,
};
inline constexpr desc_effect vfio_map_effect = {
	.kind = desc_effect_kind::MAP,
	.iova = "iova",
	.length = "size",
	.from_va = "vaddr",
};
inline constexpr desc_effect vfio_unmap_effect = {
	.kind = desc_effect_kind::UNMAP,
	.iova = "iova",
	.length = "size",
	.selector = "flags",
	.selected = VFIO_DMA_UNMAP_FLAG_ALL,
};
inline constexpr desc_effect create_access_effect = {
	.kind = desc_effect_kind::ACCESS_SPACE,
	.space = "id",
	.access = "out_access_fd",
};
inline constexpr desc_effect access_replace_effect = {
	.kind = desc_effect_kind::ACCESS_SPACE,
	.space = "ioas_id",
	.access = "id",
};
inline constexpr desc_effect access_rw_effect = {
	.kind = desc_effect_kind::ACCESS,
	.iova = "iova",
	.length = "length",
	.access = "id",
	.data = "uptr",
	.selector = "flags",
	.selected = MOCK_ACCESS_RW_WRITE,
};

#define OFFSETOFEND(type, member) \
	(offsetof(struct type, member) + sizeof(((struct type *)nullptr)->member))
#define CREATES(o) .creates = desc_object::o
#define IOCTL(_name, type, last, _revisions, _arg, ...)                                     \
	desc_ioctl                                                                          \
	{                                                                                   \
		.name = #_name, .constant = "IOMMU_" #_name, .cmd = IOMMU_##_name, .op = 0, \
		.min_size = OFFSETOFEND(type, last), .revisions = _revisions,               \
		.arg = &_arg __VA_OPT__(, ) __VA_ARGS__                                     \
	}
#define TEST(_name, _revisions, what, ...)                                                  \
	desc_ioctl                                                                          \
	{                                                                                   \
		.name = #_name, .constant = "IOMMU_TEST_OP_" #_name, .cmd = IOMMU_TEST_CMD, \
		.op = IOMMU_TEST_OP_##_name, .min_size = OFFSETOFEND(iommu_test_cmd, last), \
		.revisions = _revisions, .arg = &what##_arg __VA_OPT__(, ) __VA_ARGS__      \
	}
#define VFIO(_name, _min_size, _arg, ...)                                                         \
	desc_ioctl                                                                                \
	{                                                                                         \
		.name = #_name, .constant = #_name, .cmd = _name, .op = 0, .min_size = _min_size, \
		.revisions = DESC_ALL, .arg = &_arg __VA_OPT__(, ) __VA_ARGS__                    \
	}

/* The ioctls in order of their numbers, then the test ops in order of theirs. */
inline constexpr desc_ioctl desc_ioctls[] = {
	VFIO(VFIO_GET_API_VERSION, 0, vfio_no_arg, .returns_number = true, .arg_is_value = true),
	VFIO(VFIO_CHECK_EXTENSION, 0, vfio_extension, .returns_number = true, .arg_is_value = true),
	VFIO(VFIO_SET_IOMMU, 0, vfio_iommu, .arg_is_value = true),
	VFIO(VFIO_DEVICE_GET_INFO, OFFSETOFEND(vfio_device_info, num_irqs), vfio_dev_info,
	     .of_device = true),
	VFIO(VFIO_DEVICE_GET_REGION_INFO, OFFSETOFEND(vfio_region_info, offset), vfio_region,
	     .of_device = true),
	VFIO(VFIO_DEVICE_RESET, 0, vfio_no_arg, .arg_is_value = true, .of_device = true),
	VFIO(VFIO_IOMMU_GET_INFO, OFFSETOFEND(vfio_iommu_type1_info, iova_pgsizes), vfio_info,
	     .size_is_advice = true),
	VFIO(VFIO_IOMMU_MAP_DMA, OFFSETOFEND(vfio_iommu_type1_dma_map, size), vfio_dma_map,
	     .size_is_advice = true, .effect = &vfio_map_effect),
	VFIO(VFIO_IOMMU_UNMAP_DMA, OFFSETOFEND(vfio_iommu_type1_dma_unmap, size), vfio_dma_unmap,
	     .size_is_advice = true, .effect = &vfio_unmap_effect),
	VFIO(VFIO_IOMMU_DIRTY_PAGES, OFFSETOFEND(vfio_iommu_type1_dirty_bitmap, flags),
	     vfio_dirty_bitmap, .size_is_advice = true),
	VFIO(VFIO_DEVICE_BIND_IOMMUFD, OFFSETOFEND(vfio_device_bind_iommufd, out_devid), vfio_bind,
	     .of_device = true),
	VFIO(VFIO_DEVICE_ATTACH_IOMMUFD_PT, OFFSETOFEND(vfio_device_attach_iommufd_pt, pt_id),
	     vfio_attach, .of_device = true),
	VFIO(VFIO_DEVICE_DETACH_IOMMUFD_PT, OFFSETOFEND(vfio_device_detach_iommufd_pt, flags),
	     vfio_detach, .of_device = true),

	IOCTL(DESTROY, iommu_destroy, id, DESC_ALL, destroy, .effect = &destroy_effect),
	IOCTL(IOAS_ALLOC, iommu_ioas_alloc, out_ioas_id, DESC_ALL, ioas_alloc, CREATES(IOAS)),
	IOCTL(IOAS_ALLOW_IOVAS, iommu_ioas_allow_iovas, allowed_iovas, DESC_ALL, ioas_allow_iovas),
	IOCTL(IOAS_COPY, iommu_ioas_copy, src_iova, DESC_ALL, ioas_copy,
	      .effect = &ioas_copy_effect),
	IOCTL(IOAS_IOVA_RANGES, iommu_ioas_iova_ranges, out_iova_alignment, DESC_ALL,
	      ioas_iova_ranges),
	IOCTL(IOAS_MAP, iommu_ioas_map, iova, DESC_ALL, ioas_map, .effect = &ioas_map_effect),
	IOCTL(IOAS_UNMAP, iommu_ioas_unmap, length, DESC_ALL, ioas_unmap,
	      .effect = &ioas_unmap_effect),
	IOCTL(OPTION, iommu_option, val64, DESC_ALL, option),
	IOCTL(VFIO_IOAS, iommu_vfio_ioas, __reserved, DESC_ALL, vfio_ioas,
	      .effect = &vfio_ioas_effect),
	IOCTL(HWPT_ALLOC, iommu_hwpt_alloc, __reserved, DESC_ALL, hwpt_alloc, CREATES(HWPT)),
	IOCTL(GET_HW_INFO, iommu_hw_info, __reserved, DESC_VCMDQ_V2 | DESC_LINUX_6_12, hw_info),
	IOCTL(GET_HW_INFO, iommu_hw_info, __reserved, DESC_HW_QUEUE, hw_info_merged),
	IOCTL(HWPT_SET_DIRTY_TRACKING, iommu_hwpt_set_dirty_tracking, __reserved, DESC_ALL,
	      hwpt_set_dirty_tracking),
	IOCTL(HWPT_GET_DIRTY_BITMAP, iommu_hwpt_get_dirty_bitmap, data, DESC_ALL,
	      hwpt_get_dirty_bitmap),
	IOCTL(HWPT_INVALIDATE, iommu_hwpt_invalidate, __reserved, DESC_ALL, hwpt_invalidate),
	IOCTL(FAULT_QUEUE_ALLOC, iommu_fault_alloc, out_fault_fd, DESC_ALL, fault_alloc,
	      CREATES(FAULT)),
	IOCTL(IOAS_MAP_FILE, iommu_ioas_map_file, iova, DESC_SINCE_VIOMMU, ioas_map_file,
	      .effect = &ioas_map_file_effect),
	IOCTL(VIOMMU_ALLOC, iommu_viommu_alloc, out_viommu_id, DESC_SINCE_VIOMMU, viommu_alloc,
	      CREATES(VIOMMU)),
	IOCTL(VDEVICE_ALLOC, iommu_vdevice_alloc, virt_id, DESC_SINCE_VIOMMU, vdevice_alloc,
	      CREATES(VDEVICE)),
	IOCTL(IOAS_CHANGE_PROCESS, iommu_ioas_change_process, __reserved, DESC_SINCE_VIOMMU,
	      ioas_change_process),
	IOCTL(VEVENTQ_ALLOC, iommu_veventq_alloc, out_veventq_fd, DESC_SINCE_VIOMMU, veventq_alloc,
	      CREATES(VEVENTQ)),
	IOCTL(VCMDQ_ALLOC, iommu_vcmdq_alloc, length, DESC_VCMDQ_V2, vcmdq_alloc, CREATES(VCMDQ)),
	IOCTL(HW_QUEUE_ALLOC, iommu_hw_queue_alloc, length, DESC_HW_QUEUE, hw_queue_alloc,
	      CREATES(HW_QUEUE)),

	TEST(ADD_RESERVED, DESC_ALL, add_reserved),
	TEST(MOCK_DOMAIN, DESC_ALL, mock_domain, CREATES(SELFTEST)),
	TEST(MD_CHECK_MAP, DESC_ALL, md_check_map),
	TEST(MD_CHECK_REFS, DESC_ALL, md_check_refs),
	TEST(CREATE_ACCESS, DESC_ALL, create_access, .effect = &create_access_effect),
	TEST(DESTROY_ACCESS_PAGES, DESC_ALL, destroy_access_pages),
	TEST(ACCESS_PAGES, DESC_ALL, access_pages),
	TEST(ACCESS_RW, DESC_ALL, access_rw, .effect = &access_rw_effect),
	TEST(SET_TEMP_MEMORY_LIMIT, DESC_ALL, set_temp_memory_limit),
	TEST(MOCK_DOMAIN_REPLACE, DESC_ALL, mock_domain_replace),
	TEST(ACCESS_REPLACE_IOAS, DESC_ALL, access_replace_ioas, .effect = &access_replace_effect),
	TEST(MOCK_DOMAIN_FLAGS, DESC_ALL, mock_domain_flags, CREATES(SELFTEST)),
	TEST(DIRTY, DESC_ALL, dirty),
	TEST(MD_CHECK_IOTLB, DESC_ALL, md_check_iotlb),
	TEST(TRIGGER_IOPF, DESC_ALL, trigger_iopf),
	TEST(DEV_CHECK_CACHE, DESC_ALL, dev_check_cache),
	TEST(TRIGGER_VEVENT, DESC_SINCE_VIOMMU, trigger_vevent),
	TEST(PASID_ATTACH, DESC_SINCE_VIOMMU, pasid_attach),
	TEST(PASID_REPLACE, DESC_SINCE_VIOMMU, pasid_replace),
	TEST(PASID_DETACH, DESC_SINCE_VIOMMU, pasid_detach),
	TEST(PASID_CHECK_HWPT, DESC_SINCE_VIOMMU, pasid_check_hwpt),
	TEST(DMABUF_GET, DESC_ALL, dmabuf_get, CREATES(DMABUF), .returns_fd = true),
	TEST(DMABUF_REVOKE, DESC_ALL, dmabuf_revoke),
};

#undef VFIO
#undef CREATES
#undef TEST
#undef IOCTL
#undef OFFSETOFEND
#undef TEST_OP
#undef TEST_ID
#undef TEST_FIELD
#undef STRUCT
#undef OBJECT
#undef FIELD
#undef NAMED

} /* namespace desc_table */

/*
 * The description of a command in one revision, in a constant expression; nullptr when it has
 * none.
 */
constexpr const desc_ioctl *iommufd_desc_lookup(uint32_t cmd, uint32_t op, desc_revision revision)
{
	for (const desc_ioctl &d : desc_table::desc_ioctls)
		if (d.cmd == cmd && d.op == op && d.revisions & revision)
			return &d;
	return nullptr;
}

/*
 * The largest number of an ioctl in any revision; the selftest's, which stands apart, does not
 * count.
 */
constexpr uint32_t iommufd_desc_last_nr()
{
	uint32_t last = 0;

	for (const desc_ioctl &d : desc_table::desc_ioctls)
		if (d.cmd != IOMMU_TEST_CMD && _IOC_NR(d.cmd) > last)
			last = _IOC_NR(d.cmd);
	return last;
}

/* Is an ioctl described in each of `revisions`? For IOMMU_TEST_CMD: any op of it. */
constexpr bool iommufd_desc_has(uint32_t cmd, uint8_t revisions)
{
	for (const auto &[name, r, summary, release] : desc_revisions)
		if (revisions & r && !iommufd_desc_lookup(cmd, cmd == IOMMU_TEST_CMD ? 1 : 0, r))
			return false;
	return true;
}

/*
 * Does a row of an ioctl table (IOCTL_OP's command, sizeof the struct, offsetofend its last field)
 * say what the description says? For the static_assert of each row.
 */
constexpr bool iommufd_desc_agrees(uint32_t cmd, size_t size, size_t min_size, uint8_t revisions)
{
	for (const auto &[name, r, summary, release] : desc_revisions) {
		const desc_ioctl *d = iommufd_desc_lookup(cmd, cmd == IOMMU_TEST_CMD ? 1 : 0, r);

		if (revisions & r && !(d && d->arg->size == size && d->min_size == min_size))
			return false;
	}
	return true;
}
