// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ABI headers against the literal table, as C++20. abi_test_c11.c does the same as C11,
 * abi_kernel.cc with the kernel's own headers where a package has installed them.
 */
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <gtest/gtest.h>

#include "uapi/iommufd_test.h"
#include "uapi/vfio.h"

namespace {

TEST(Abi, Values)
{
#define VALUE(name, number) \
	EXPECT_EQ(static_cast<uint64_t>(name), static_cast<uint64_t>(number)) << #name;
#define STRUCT(tag, bytes)
#define FIELD(tag, member, offset, bytes)
#define ABI_TABLE_IOMMUFD
#define ABI_TABLE_IOMMUFD_TEST
#define ABI_TABLE_VFIO
#include "uapi/abi_table.h"
}

TEST(Abi, Layouts)
{
#define VALUE(name, number)
#define STRUCT(tag, bytes)                                              \
	static_assert(sizeof(struct tag) == (bytes), #tag);             \
	static_assert(std::is_standard_layout_v<struct tag> &&          \
			      std::is_trivially_copyable_v<struct tag>, \
		      #tag);
#define FIELD(tag, member, offset, bytes)                                          \
	static_assert(offsetof(struct tag, member) == (offset), #tag "." #member); \
	static_assert(sizeof(((struct tag *)nullptr)->member) == (bytes), #tag "." #member);
#include "uapi/abi_table.h"
}

/*
 * The commands whose structs grew: the first version's size is where the kernel still begins to
 * serve.
 */
TEST(Abi, TwoFormsShareTheirBytes)
{
	struct iommu_viommu_tegra241_cmdqv t = {};
	struct iommu_viommu_selftest s = {};
	struct iommu_hw_info h = {};

	t.out_vintf_page0_pgoff = 1;
	t.out_vintf_page0_pgsz = 2;
	EXPECT_EQ(t.out_vintf_mmap_offset, 1u);
	EXPECT_EQ(t.out_vintf_mmap_length, 2u);
	s.out_mmap_offset = 3;
	s.out_mmap_length = 4;
	EXPECT_EQ(s.out_mmap_pgoff, 3u);
	EXPECT_EQ(s.out_mmap_pgsz, 4u);
	h.in_data_type = 5;
	EXPECT_EQ(h.out_data_type, 5u);
	EXPECT_EQ(IOMMU_VCMDQ_ALLOC, IOMMU_HW_QUEUE_ALLOC);
	EXPECT_EQ(sizeof(struct iommu_vcmdq_alloc), sizeof(struct iommu_hw_queue_alloc));
	EXPECT_EQ(offsetof(struct iommu_vcmdq_alloc, addr),
		  offsetof(struct iommu_hw_queue_alloc, nesting_parent_iova));
}

} /* namespace */
