// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/util/cmd.h"

#include <cstring>

#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"

namespace iommulab {
namespace {

TEST(CmdTest, IsTheKernelsStruct) {
  Cmd cmd("HWPT_ALLOC");
  cmd.Set("dev_id", 7)
      .Set("data_uptr", uint64_t{1} << 40)
      .Set("out_hwpt_id", 9);
  iommu_hwpt_alloc s = {};
  ASSERT_EQ(cmd.size(), sizeof(s));
  memcpy(&s, cmd.data(), sizeof(s));
  EXPECT_EQ(cmd.nr(), static_cast<unsigned long>(IOMMU_HWPT_ALLOC));
  EXPECT_EQ(s.size, sizeof(s));
  EXPECT_EQ(s.dev_id, 7u);
  EXPECT_EQ(s.data_uptr, uint64_t{1} << 40);
  EXPECT_EQ(cmd.Get("out_hwpt_id"), 9u);
  EXPECT_EQ(s.pt_id, 0u);
}

TEST(CmdTest, KnowsATestsOpAndDefaults) {
  Cmd cmd("MOCK_DOMAIN");
  EXPECT_EQ(cmd.nr(), static_cast<unsigned long>(IOMMU_TEST_CMD));
  EXPECT_EQ(cmd.Get("op"), uint64_t{IOMMU_TEST_OP_MOCK_DOMAIN});
}

TEST(CmdTest, SetsAnElementOfAnArray) {
  Cmd cmd("GET_HW_INFO");
  cmd.Set("__reserved2", 5);
  iommu_hw_info s = {};
  memcpy(&s, cmd.data(), sizeof(s));
  EXPECT_EQ(s.__reserved[2], 5);
  EXPECT_EQ(s.__reserved[1], 0);
}

TEST(CmdTest, AWrongNameFailsTheTestAndSaysWhichThereAre) {
  EXPECT_NONFATAL_FAILURE(Cmd("IOAS_MOP"), "IOAS_MAP");
  static Cmd cmd("DESTROY");
  EXPECT_NONFATAL_FAILURE(cmd.Set("ids", 1), "it has: size id");
  EXPECT_EQ(cmd.Get("id"), 0u);
}

}  // namespace
}  // namespace iommulab
