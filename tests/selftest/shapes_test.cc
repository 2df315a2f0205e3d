// SPDX-License-Identifier: GPL-2.0-or-later
// Machines whose mock has another shape.
#include <cerrno>
#include <string>
#include <vector>

#include "drivers/platform/machine_options.h"
#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

// "without=queue", "io_page=4K", ...
MockMachine::Options Shape(const std::vector<std::string>& settings,
                           const std::string& revision = kVcmdqV2) {
  MockMachine::Options options;
  options.revision = revision;
  for (const std::string& setting : settings) {
    const size_t eq = setting.find('=');
    EXPECT_EQ(
        machine_options_set(&mock_machine_desc, setting.substr(0, eq).c_str(),
                            setting.substr(eq + 1).c_str(), &options.mock),
        0)
        << setting;
  }
  return options;
}

class ShapesTest : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Revisions, ShapesTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         [](const auto& info) { return FormName(info.param); });

struct Stack {
  uint32_t ioas = 0;
  MockMachine::Device dev;
  uint32_t parent = 0;
  uint32_t viommu = 0;
};

Stack MakeParent(MockMachine& m) {
  Stack s;
  EXPECT_EQ(m.IoasAlloc(&s.ioas), 0);
  EXPECT_EQ(m.MockDomain(s.ioas, &s.dev), 0);
  EXPECT_EQ(
      m.HwptAlloc(s.dev.idev, s.ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, &s.parent),
      0);
  return s;
}

Stack MakeViommu(MockMachine& m) {
  Stack s = MakeParent(m);
  EXPECT_EQ(m.ViommuAlloc(s.dev.idev, s.parent, &s.viommu), 0);
  return s;
}

TEST_P(ShapesTest, WithoutHwInfo) {
  MockMachine m(Shape({"without=hw_info"}, GetParam()));
  Stack s = MakeParent(m);
  iommu_hw_info info;
  ASSERT_EQ(m.HwInfo(s.dev.idev, 0, 0, &info), 0);
  EXPECT_EQ(info.out_data_type, uint32_t{IOMMU_HW_INFO_TYPE_NONE});
  EXPECT_EQ(info.data_len, 0u);
}

TEST_P(ShapesTest, WithoutPagingFlags) {
  MockMachine m(Shape({"without=paging_flags"}, GetParam()));
  Stack s;
  ASSERT_EQ(m.IoasAlloc(&s.ioas), 0);
  ASSERT_EQ(m.MockDomain(s.ioas, &s.dev), 0);
  EXPECT_EQ(m.HwptAlloc(s.dev.idev, s.ioas, 0, nullptr), 0);
  EXPECT_EQ(
      m.HwptAlloc(s.dev.idev, s.ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, nullptr),
      -EOPNOTSUPP);
}

TEST_P(ShapesTest, WithoutNested) {
  MockMachine m(Shape({"without=nested"}, GetParam()));
  Stack s = MakeParent(m);
  EXPECT_EQ(m.HwptNested(s.dev.idev, s.parent, nullptr), -EOPNOTSUPP);
}

// HWPT_INVALIDATE of a nested domain whose driver cannot.
TEST_P(ShapesTest, WithoutNestedInvalidate) {
  MockMachine m(Shape({"without=nested_invalidate"}, GetParam()));
  Stack s = MakeParent(m);
  const uint64_t buf = m.Anon(kPage);
  uint32_t nested = 0, num = 1;
  // The core may refuse such a domain, or the call; it may not call NULL.
  int rc = m.HwptNested(s.dev.idev, s.parent, &nested);
  if (!rc) {
    EXPECT_EQ(m.Invalidate(nested, IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, buf,
                           sizeof(iommu_hwpt_invalidate_selftest), &num),
              -EOPNOTSUPP);
    EXPECT_EQ(num, 0u);
  }
}

TEST_P(ShapesTest, WithoutViommu) {
  MockMachine m(Shape({"without=viommu"}, GetParam()));
  Stack s = MakeParent(m);
  EXPECT_EQ(m.ViommuAlloc(s.dev.idev, s.parent, nullptr), -EOPNOTSUPP);
}

TEST_P(ShapesTest, WithoutViommuDomain) {
  MockMachine m(Shape({"without=viommu_domain"}, GetParam()));
  Stack s = MakeViommu(m);
  EXPECT_EQ(m.HwptNested(s.dev.idev, s.viommu, nullptr), -EOPNOTSUPP);
}

TEST_P(ShapesTest, WithoutViommuInvalidate) {
  MockMachine m(Shape({"without=viommu_invalidate"}, GetParam()));
  Stack s = MakeViommu(m);
  const uint64_t buf = m.Anon(kPage);
  uint32_t num = 1;
  EXPECT_EQ(m.Invalidate(s.viommu, IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, buf,
                         sizeof(iommu_viommu_invalidate_selftest), &num),
            -EOPNOTSUPP);
  EXPECT_EQ(num, 0u);
}

TEST_P(ShapesTest, WithoutQueue) {
  for (const char* shape : {"without=queue", "without=queue_init"}) {
    if (!FactsOf(GetParam()).queue_has_an_access &&
        shape == std::string("without=queue_init"))
      continue;
    MockMachine m(Shape({shape}, GetParam()));
    Stack s = MakeViommu(m);
    const uint64_t buf = m.Anon(kPage);
    ASSERT_EQ(m.MapFixed(s.ioas, buf, kPage, MOCK_APERTURE_START), 0);
    EXPECT_EQ(m.QueueAlloc(s.viommu, 0, MOCK_APERTURE_START, kPage, nullptr),
              -EOPNOTSUPP);
    EXPECT_EQ(m.Unmap(s.ioas, MOCK_APERTURE_START, kPage), 0);
  }
}

TEST_P(ShapesTest, WithoutDirty) {
  MockMachine m(Shape({"without=dirty"}, GetParam()));
  Stack s = MakeParent(m);
  EXPECT_EQ(
      m.HwptAlloc(s.dev.idev, s.ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, nullptr),
      -EOPNOTSUPP);
}

TEST_P(ShapesTest, CoarserPage) {
  MockMachine m(Shape({"io_page=4K"}, GetParam()));
  const uint64_t buf = m.Anon(2 * kPage);
  Stack s;
  ASSERT_EQ(m.IoasAlloc(&s.ioas), 0);
  // A mapping whose page offset does not fit the device that comes.
  ASSERT_EQ(m.MapFixed(s.ioas, buf + 2048, kPage, MOCK_APERTURE_START), 0);
  EXPECT_EQ(m.MockDomain(s.ioas, &s.dev), -EADDRINUSE);
  ASSERT_EQ(m.Unmap(s.ioas, MOCK_APERTURE_START, kPage), 0);
  ASSERT_EQ(m.MockDomain(s.ioas, &s.dev), 0);
  std::vector<iommu_iova_range> ranges;
  uint64_t alignment = 0;
  ASSERT_EQ(m.IovaRanges(s.ioas, &ranges, &alignment), 0);
  EXPECT_EQ(alignment, kPage);
  EXPECT_EQ(m.MapFixed(s.ioas, buf + 2048, kPage, MOCK_APERTURE_START),
            -EINVAL);
  ASSERT_EQ(m.MapFixed(s.ioas, buf, kPage, MOCK_APERTURE_START), 0);
  EXPECT_EQ(m.CheckMap(s.dev.hwpt, MOCK_APERTURE_START, kPage, buf), 0);
}

TEST_P(ShapesTest, FinerPage) {
  MockMachine m(Shape({"io_page=512"}, GetParam()));
  const uint64_t buf = m.Anon(2 * kPage);
  Stack s;
  ASSERT_EQ(m.IoasAlloc(&s.ioas), 0);
  ASSERT_EQ(m.MockDomain(s.ioas, &s.dev), 0);
  ASSERT_EQ(m.MapFixed(s.ioas, buf + 512, kPage, MOCK_APERTURE_START + 512), 0);
  EXPECT_EQ(m.CheckMap(s.dev.hwpt, MOCK_APERTURE_START + 512, kPage, buf + 512),
            0);
}

// Larger than a page of the machine: such a domain is of no use to iommufd.
TEST_P(ShapesTest, PageLargerThanTheMachines) {
  MockMachine m(Shape({"io_page=64K"}, GetParam()));
  Stack s;
  ASSERT_EQ(m.IoasAlloc(&s.ioas), 0);
  EXPECT_EQ(m.MockDomain(s.ioas, &s.dev), -EINVAL);
}

TEST_P(ShapesTest, Aperture) {
  MockMachine m(Shape({"aperture=0-0xfffff"}, GetParam()));
  const uint64_t buf = m.Anon(kPage);
  Stack s;
  ASSERT_EQ(m.IoasAlloc(&s.ioas), 0);
  ASSERT_EQ(m.MockDomain(s.ioas, &s.dev), 0);
  EXPECT_EQ(m.MapFixed(s.ioas, buf, kPage, 0), 0);
  EXPECT_EQ(m.MapFixed(s.ioas, buf, kPage, 1 << 20), -EINVAL);
  EXPECT_EQ(m.CheckMap(s.dev.hwpt, 0, kPage, buf), 0);
}

TEST_P(ShapesTest, ReservedRegions) {
  MockMachine m(Shape({"reserved=0x2000000-0x2ffffff"}, GetParam()));
  const uint64_t buf = m.Anon(kPage);
  Stack s;
  ASSERT_EQ(m.IoasAlloc(&s.ioas), 0);
  ASSERT_EQ(m.MapFixed(s.ioas, buf, kPage, 0x2000000), 0);
  EXPECT_EQ(m.MockDomain(s.ioas, &s.dev), -EADDRINUSE);
  ASSERT_EQ(m.Unmap(s.ioas, 0x2000000, kPage), 0);
  ASSERT_EQ(m.MockDomain(s.ioas, &s.dev), 0);
  EXPECT_EQ(m.MapFixed(s.ioas, buf, kPage, 0x2000000), -EINVAL);
  EXPECT_EQ(m.MapFixed(s.ioas, buf, kPage, 0x3000000), 0);
  // The holes go with the device.
  ASSERT_EQ(m.Destroy(s.dev.stdev), 0);
  EXPECT_EQ(m.MapFixed(s.ioas, buf, kPage, 0x2000000), 0);
}

TEST_P(ShapesTest, SecondInstance) {
  MockMachine m(Shape({"iommus=2"}, GetParam()));
  Stack s = MakeViommu(m);
  MockMachine::Device other;
  ASSERT_EQ(m.MockDomain(s.ioas, &other), 0);
  // One driver: the domain serves both. The vIOMMU is one instance's.
  EXPECT_EQ(other.hwpt, s.dev.hwpt);
  EXPECT_EQ(m.VdeviceAlloc(s.viommu, other.idev, 1, nullptr), -EINVAL);
  EXPECT_EQ(m.VdeviceAlloc(s.viommu, s.dev.idev, 1, nullptr), 0);
}

TEST_P(ShapesTest, SecondDriver) {
  MockMachine m(Shape({"iommus=2", "second_driver=1"}, GetParam()));
  Stack s = MakeViommu(m);
  MockMachine::Device other;
  ASSERT_EQ(m.MockDomain(s.ioas, &other), 0);
  EXPECT_NE(other.hwpt, s.dev.hwpt);
  // Nothing of the one driver's serves the other.
  EXPECT_EQ(m.Replace(other.stdev, s.dev.hwpt), -EINVAL);
  EXPECT_EQ(m.HwptNested(other.idev, s.parent, nullptr), -EINVAL);
  EXPECT_EQ(m.ViommuAlloc(other.idev, s.parent, nullptr), -EINVAL);
  EXPECT_EQ(m.VdeviceAlloc(s.viommu, other.idev, 1, nullptr), -EINVAL);
  // Both copies of the map.
  const uint64_t buf = m.Anon(kPage);
  ASSERT_EQ(m.MapFixed(s.ioas, buf, kPage, MOCK_APERTURE_START), 0);
  EXPECT_EQ(m.CheckMap(s.dev.hwpt, MOCK_APERTURE_START, kPage, buf), 0);
  EXPECT_EQ(m.CheckMap(other.hwpt, MOCK_APERTURE_START, kPage, buf), 0);
}

TEST_P(ShapesTest, StreamIds) {
  for (const char* ids : {"stream_ids=0", "stream_ids=2", "stream_ids=64"}) {
    MockMachine m(Shape({ids}, GetParam()));
    Stack s = MakeViommu(m);
    EXPECT_EQ(m.VdeviceAlloc(s.viommu, s.dev.idev, 1, nullptr), -EOPNOTSUPP);
    // The virtual id is free again and no lock is left held.
    EXPECT_EQ(m.VdeviceAlloc(s.viommu, s.dev.idev, 1, nullptr), -EOPNOTSUPP);
    EXPECT_EQ(m.Destroy(s.viommu), 0);
  }
}

TEST_P(ShapesTest, Group) {
  MockMachine m(Shape({"group=2"}, GetParam()));
  uint32_t ioas[2] = {};
  MockMachine::Device a, b, c;
  ASSERT_EQ(m.IoasAlloc(&ioas[0]), 0);
  ASSERT_EQ(m.IoasAlloc(&ioas[1]), 0);
  ASSERT_EQ(m.MockDomain(ioas[0], &a), 0);
  // The second of the group follows the first or stays out.
  EXPECT_EQ(m.MockDomain(ioas[1], &b), -EINVAL);
  ASSERT_EQ(m.MockDomain(ioas[0], &b), 0);
  // The third is alone.
  ASSERT_EQ(m.MockDomain(ioas[1], &c), 0);
  EXPECT_EQ(a.hwpt, b.hwpt);
  EXPECT_NE(a.hwpt, c.hwpt);
  // One moves, all move.
  uint32_t pt = 0;
  ASSERT_EQ(m.Replace(a.stdev, ioas[1], &pt), 0);
  EXPECT_EQ(pt, c.hwpt);
  ASSERT_EQ(m.Destroy(a.stdev), 0);
  EXPECT_EQ(m.Destroy(pt), -EBUSY);
  ASSERT_EQ(m.Destroy(b.stdev), 0);
  // The numbers and the group are free again.
  ASSERT_EQ(m.MockDomain(ioas[0], &a), 0);
}

TEST_P(ShapesTest, NotCoherent) {
  MockMachine m(Shape({"coherent=0"}, GetParam()));
  uint32_t ioas = 0;
  MockMachine::Device dev;
  ASSERT_EQ(m.IoasAlloc(&ioas), 0);
  EXPECT_EQ(m.MockDomain(ioas, &dev), -EINVAL);
}

// A driver's structure without the core's part in it: a driver's bug that the
// core reports and survives, with no lock left held.
TEST(SmallStructTest, IsReportedAndRefused) {
  for (const char* small : {"small=viommu", "small=vdevice", "small=queue",
                            "without=vdevice_init"}) {
    MockMachine::Options options = Shape({small}, kHwQueue);
    options.panic_on_warn = false;
    MockMachine m(options);
    Stack s = MakeParent(m);
    const uint64_t buf = m.Anon(kPage);
    ASSERT_EQ(m.MapFixed(s.ioas, buf, kPage, MOCK_APERTURE_START), 0);
    int rc = m.ViommuAlloc(s.dev.idev, s.parent, &s.viommu);
    if (small == std::string("small=viommu")) {
      EXPECT_EQ(rc, -EOPNOTSUPP);
    } else {
      ASSERT_EQ(rc, 0);
      for (int twice = 0; twice < 2; ++twice) {
        rc =
            small == std::string("small=queue")
                ? m.QueueAlloc(s.viommu, 0, MOCK_APERTURE_START, kPage, nullptr)
                : m.VdeviceAlloc(s.viommu, s.dev.idev, 1, nullptr);
        EXPECT_EQ(rc, -EOPNOTSUPP) << small;
      }
    }
    EXPECT_GE(m.Warnings(), 1u) << small;
  }
}

}  // namespace
}  // namespace iommulab
