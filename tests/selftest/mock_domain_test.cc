// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernel's selftest expects of mock domains, their devices and their
// page tables. Written anew from tools/testing/selftests/iommu/iommufd.c.
#include <cerrno>
#include <vector>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

// An IOAS, a device attached to it and 16 pages of memory.
class MockDomainTest : public ::testing::Test {
 protected:
  MockDomainTest() {
    buf_ = m_.Anon(16 * kPage);
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
  }

  MockMachine m_;
  uint64_t buf_ = 0;
  uint32_t ioas_ = 0;
  MockMachine::Device dev_;
};

TEST_F(MockDomainTest, IdsAreThreeObjects) {
  EXPECT_NE(dev_.stdev, dev_.hwpt);
  EXPECT_NE(dev_.hwpt, dev_.idev);
  // The device goes with its stdev and not by itself, the automatic HWPT with
  // its last device.
  EXPECT_EQ(m_.Destroy(dev_.idev), -EBUSY);
  EXPECT_EQ(m_.Destroy(dev_.hwpt), -EBUSY);
  EXPECT_EQ(m_.Destroy(ioas_), -EBUSY);
  EXPECT_EQ(m_.Destroy(dev_.stdev), 0);
  EXPECT_EQ(m_.Destroy(dev_.idev), -ENOENT);
  EXPECT_EQ(m_.Destroy(dev_.hwpt), -ENOENT);
  EXPECT_EQ(m_.Destroy(dev_.stdev), -ENOENT);
  EXPECT_EQ(m_.Destroy(ioas_), 0);
}

TEST_F(MockDomainTest, UnknownOpsAndFlags) {
  iommu_test_cmd cmd = {};
  for (uint32_t op : {0u, 24u, ~0u}) {
    cmd.op = op;
    EXPECT_EQ(m_.Test(&cmd), -EOPNOTSUPP) << op;
  }
  MockMachine::Device dev;
  EXPECT_EQ(m_.MockDomainFlags(ioas_, 1u << 3, &dev), -EINVAL);
  EXPECT_EQ(m_.MockDomainFlags(ioas_, ~0u, &dev), -EINVAL);
  EXPECT_EQ(m_.MockDomain(0, &dev), -ENOENT);
  EXPECT_EQ(m_.MockDomain(dev_.idev, &dev), -EINVAL);
  // The failures left no object behind: the ids go on without a hole.
  EXPECT_EQ(m_.MockDomain(ioas_, &dev), 0);
  EXPECT_EQ(dev.stdev, dev_.stdev + 3);
}

TEST_F(MockDomainTest, SecondDeviceSharesTheDomain) {
  MockMachine::Device second;
  ASSERT_EQ(m_.MockDomain(ioas_, &second), 0);
  EXPECT_EQ(second.hwpt, dev_.hwpt);
  // To a HWPT directly.
  MockMachine::Device third;
  ASSERT_EQ(m_.MockDomain(dev_.hwpt, &third), 0);
  EXPECT_EQ(third.hwpt, dev_.hwpt);
}

TEST_F(MockDomainTest, MapIsInTheDomain) {
  uint64_t iova = 0;
  ASSERT_EQ(m_.Map(ioas_, buf_, 8 * kPage, &iova), 0);
  EXPECT_GE(iova, uint64_t{MOCK_APERTURE_START});
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova, 8 * kPage, buf_), 0);
  EXPECT_EQ(m_.CheckRefs(buf_, 8 * kPage, 1), 0);
  EXPECT_EQ(m_.CheckRefs(buf_ + 8 * kPage, 8 * kPage, 0), 0);
  EXPECT_EQ(m_.CheckRefs(buf_, kPage, 0), -EIO);

  // Another address, nothing mapped, half an IO page.
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova, 8 * kPage, buf_ + kPage), -EINVAL);
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova + 8 * kPage, kPage, buf_ + 8 * kPage),
            -EINVAL);
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova + 1024, kPage, buf_ + 1024), -EINVAL);
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova, kPage, UINT64_MAX - 2047), -EINVAL);
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova, kPage, kPage), -EFAULT);
  // Of another type, of none.
  EXPECT_EQ(m_.CheckMap(ioas_, iova, kPage, buf_), -ENOENT);
  EXPECT_EQ(m_.CheckMap(0, iova, kPage, buf_), -ENOENT);

  ASSERT_EQ(m_.Unmap(ioas_, iova, 8 * kPage), 0);
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova, kPage, buf_), -EINVAL);
  EXPECT_EQ(m_.CheckRefs(buf_, 16 * kPage, 0), 0);
}

TEST_F(MockDomainTest, HalfPagesCanBeMapped) {
  const uint64_t iova = MOCK_APERTURE_START + MOCK_PAGE_SIZE;
  ASSERT_EQ(m_.MapFixed(ioas_, buf_ + MOCK_PAGE_SIZE, 2 * MOCK_PAGE_SIZE, iova),
            0);
  EXPECT_EQ(
      m_.CheckMap(dev_.hwpt, iova, 2 * MOCK_PAGE_SIZE, buf_ + MOCK_PAGE_SIZE),
      0);
  EXPECT_EQ(m_.CheckRefs(buf_, 2 * kPage, 1), 0);
  EXPECT_EQ(m_.MapFixed(ioas_, buf_ + 512, kPage, iova + (1 << 20)), -EINVAL);
}

TEST_F(MockDomainTest, ApertureAndAlignment) {
  std::vector<iommu_iova_range> ranges;
  uint64_t alignment = 0;
  ASSERT_EQ(m_.IovaRanges(ioas_, &ranges, &alignment), 0);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].start, uint64_t{MOCK_APERTURE_START});
  EXPECT_EQ(ranges[0].last, uint64_t{MOCK_APERTURE_LAST});
  EXPECT_EQ(alignment, uint64_t{MOCK_PAGE_SIZE});
  EXPECT_EQ(m_.MapFixed(ioas_, buf_, kPage, MOCK_APERTURE_START - kPage),
            -EINVAL);
  EXPECT_EQ(m_.MapFixed(ioas_, buf_, kPage, MOCK_APERTURE_LAST + 1ull),
            -EINVAL);
  EXPECT_EQ(m_.MapFixed(ioas_, buf_, kPage, MOCK_APERTURE_LAST + 1ull - kPage),
            0);
}

TEST_F(MockDomainTest, AddReserved) {
  EXPECT_EQ(m_.AddReserved(ioas_, 0, 0), -EINVAL);
  EXPECT_EQ(m_.AddReserved(ioas_, 6, UINT64_MAX - 4), -EOVERFLOW);
  EXPECT_EQ(m_.AddReserved(dev_.idev, 0, kPage), -ENOENT);
  const uint64_t start = MOCK_APERTURE_START + kPage;
  ASSERT_EQ(m_.AddReserved(ioas_, start, kPage), 0);
  EXPECT_EQ(m_.MapFixed(ioas_, buf_, kPage, start), -EINVAL);
  EXPECT_EQ(m_.MapFixed(ioas_, buf_, kPage, start - kPage), 0);
  // Somebody is there already.
  EXPECT_EQ(m_.AddReserved(ioas_, start - kPage, kPage), -EADDRINUSE);
  std::vector<iommu_iova_range> ranges;
  uint64_t alignment = 0;
  ASSERT_EQ(m_.IovaRanges(ioas_, &ranges, &alignment), 0);
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[0].last, start - 1);
  EXPECT_EQ(ranges[1].start, start + kPage);
}

TEST_F(MockDomainTest, ReplaceMovesTheMap) {
  ASSERT_EQ(m_.MapFixed(ioas_, buf_, 4 * kPage, MOCK_APERTURE_START), 0);

  // To another IOAS: an automatic HWPT of its own.
  uint32_t ioas2 = 0, pt = 0;
  ASSERT_EQ(m_.IoasAlloc(&ioas2), 0);
  ASSERT_EQ(
      m_.MapFixed(ioas2, buf_ + 4 * kPage, 4 * kPage, MOCK_APERTURE_START), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, ioas2, &pt), 0);
  EXPECT_NE(pt, dev_.hwpt);
  EXPECT_EQ(m_.CheckMap(pt, MOCK_APERTURE_START, 4 * kPage, buf_ + 4 * kPage),
            0);
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, MOCK_APERTURE_START, kPage, buf_), -ENOENT);
  EXPECT_EQ(m_.CheckRefs(buf_, 4 * kPage, 0), 0);
  EXPECT_EQ(m_.Destroy(ioas2), -EBUSY);

  // To an explicit HWPT, to itself, and back.
  uint32_t hwpt = 0;
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &hwpt), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt, &pt), 0);
  EXPECT_EQ(pt, hwpt);
  EXPECT_EQ(m_.Destroy(ioas2), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt, &pt), 0);
  EXPECT_EQ(m_.CheckMap(hwpt, MOCK_APERTURE_START, 4 * kPage, buf_), 0);
  EXPECT_EQ(m_.Destroy(hwpt), -EBUSY);
  ASSERT_EQ(m_.Replace(dev_.stdev, ioas_, &pt), 0);
  EXPECT_NE(pt, hwpt);
  EXPECT_EQ(m_.Destroy(hwpt), 0);

  EXPECT_EQ(m_.Replace(dev_.stdev, 0), -ENOENT);
  EXPECT_EQ(m_.Replace(dev_.stdev, dev_.idev), -EINVAL);
  EXPECT_EQ(m_.Replace(dev_.idev, ioas_), -ENOENT);
  EXPECT_EQ(m_.Replace(0, ioas_), -ENOENT);
}

TEST_F(MockDomainTest, TwoDomainsHaveTheSameMap) {
  uint32_t hwpt = 0;
  ASSERT_EQ(m_.MapFixed(ioas_, buf_, 2 * kPage, MOCK_APERTURE_START), 0);
  // Without a device a HWPT has the map too.
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &hwpt), 0);
  ASSERT_EQ(m_.MapFixed(ioas_, buf_ + 2 * kPage, 2 * kPage,
                        MOCK_APERTURE_START + 2 * kPage),
            0);
  EXPECT_EQ(m_.CheckMap(dev_.hwpt, MOCK_APERTURE_START, 4 * kPage, buf_), 0);
  EXPECT_EQ(m_.CheckMap(hwpt, MOCK_APERTURE_START, 4 * kPage, buf_), 0);
  // However many domains, one pin.
  EXPECT_EQ(m_.CheckRefs(buf_, 4 * kPage, 1), 0);
}

TEST_F(MockDomainTest, EveryAlignmentWithinABuffer) {
  constexpr uint64_t kSize = 4 * kPage;
  for (uint64_t start = 0; start < kSize; start += MOCK_PAGE_SIZE) {
    for (uint64_t end = start + MOCK_PAGE_SIZE; end <= kSize;
         end += MOCK_PAGE_SIZE) {
      uint64_t iova = 0;
      ASSERT_EQ(m_.Map(ioas_, buf_ + start, end - start, &iova), 0);
      ASSERT_EQ(m_.CheckMap(dev_.hwpt, iova, end - start, buf_ + start), 0);
      const uint64_t first_page = start & ~(kPage - 1);
      const uint64_t last_page = (end + kPage - 1) & ~(kPage - 1);
      ASSERT_EQ(m_.CheckRefs(buf_ + first_page, last_page - first_page, 1), 0);
      ASSERT_EQ(m_.Unmap(ioas_, iova, end - start), 0);
      ASSERT_EQ(m_.CheckRefs(buf_, kSize, 0), 0);
    }
  }
}

TEST_F(MockDomainTest, BatchesOfAnySize) {
  EXPECT_EQ(m_.SetMemoryLimit(0), -EINVAL);
  EXPECT_EQ(m_.SetMemoryLimit(11), -EINVAL);
  for (uint32_t limit : {12u, 16u, 24u, 100u, 65536u}) {
    ASSERT_EQ(m_.SetMemoryLimit(limit), 0);
    uint64_t iova = 0;
    ASSERT_EQ(m_.Map(ioas_, buf_, 16 * kPage, &iova), 0) << limit;
    EXPECT_EQ(m_.CheckMap(dev_.hwpt, iova, 16 * kPage, buf_), 0) << limit;
    EXPECT_EQ(m_.CheckRefs(buf_, 16 * kPage, 1), 0) << limit;
    ASSERT_EQ(m_.Unmap(ioas_, iova, 16 * kPage), 0) << limit;
    EXPECT_EQ(m_.CheckRefs(buf_, 16 * kPage, 0), 0) << limit;
  }
}

TEST_F(MockDomainTest, HugeIovaDevice) {
  const uint64_t huge = m_.Anon(2 << 20, /*huge=*/true);
  MockMachine::Device dev;
  uint32_t ioas = 0;
  ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  ASSERT_EQ(m_.MockDomainFlags(ioas, MOCK_FLAGS_DEVICE_HUGE_IOVA, &dev), 0);
  uint64_t iova = 0;
  ASSERT_EQ(m_.Map(ioas, huge, 2 << 20, &iova), 0);
  EXPECT_EQ(m_.CheckMap(dev.hwpt, iova, 2 << 20, huge), 0);
  ASSERT_EQ(m_.Unmap(ioas, iova, 2 << 20), 0);
  ASSERT_EQ(m_.Map(ioas, huge + kPage, kPage, &iova), 0);
  EXPECT_EQ(m_.CheckMap(dev.hwpt, iova, kPage, huge + kPage), 0);
}

TEST_F(MockDomainTest, PagetableTypes) {
  iommu_hwpt_selftest data = {};
  const uint64_t user = buf_;
  uint32_t hwpt = 0;

  data.pagetable_type = MOCK_IOMMUPT_HUGE;
  ASSERT_EQ(m_.Store(user, data), 0);
  ASSERT_EQ(m_.HwptAllocData(dev_.idev, ioas_, 0, IOMMU_HWPT_DATA_SELFTEST,
                             user, sizeof(data), &hwpt),
            0);
  ASSERT_EQ(m_.MapFixed(ioas_, buf_, 2 * kPage, MOCK_APERTURE_START), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt), 0);
  EXPECT_EQ(m_.CheckMap(hwpt, MOCK_APERTURE_START, 2 * kPage, buf_), 0);
  // Its smallest page is 4K.
  EXPECT_EQ(m_.CheckMap(hwpt, MOCK_APERTURE_START, 2048, buf_), -EINVAL);

  data.pagetable_type = 2;
  ASSERT_EQ(m_.Store(user, data), 0);
  EXPECT_EQ(m_.HwptAllocData(dev_.idev, ioas_, 0, IOMMU_HWPT_DATA_SELFTEST,
                             user, sizeof(data), nullptr),
            -EOPNOTSUPP);
  EXPECT_EQ(m_.HwptAllocData(dev_.idev, ioas_, 0, IOMMU_HWPT_DATA_SELFTEST + 1,
                             user, sizeof(data), nullptr),
            -EOPNOTSUPP);
}

TEST_F(MockDomainTest, DirtyTrackingNeedsTheDevice) {
  uint32_t hwpt = 0;
  ASSERT_EQ(
      m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt),
      0);
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt), 0);

  MockMachine::Device no_dirty;
  EXPECT_EQ(m_.MockDomainFlags(hwpt, MOCK_FLAGS_DEVICE_NO_DIRTY, &no_dirty),
            -EINVAL);
  ASSERT_EQ(m_.MockDomainFlags(ioas_, MOCK_FLAGS_DEVICE_NO_DIRTY, &no_dirty),
            0);
  EXPECT_EQ(m_.HwptAlloc(no_dirty.idev, ioas_, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
                         nullptr),
            -EOPNOTSUPP);
  EXPECT_EQ(m_.Replace(no_dirty.stdev, hwpt), -EINVAL);

  iommu_hw_info info;
  ASSERT_EQ(m_.HwInfo(dev_.idev, 0, 0, &info), 0);
  EXPECT_TRUE(info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
  ASSERT_EQ(m_.HwInfo(no_dirty.idev, 0, 0, &info), 0);
  EXPECT_FALSE(info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
}

TEST_F(MockDomainTest, HwInfo) {
  iommu_hw_info info;
  ASSERT_EQ(m_.HwInfo(dev_.idev, buf_, sizeof(iommu_test_hw_info), &info), 0);
  EXPECT_EQ(info.out_data_type, IOMMU_HW_INFO_TYPE_SELFTEST);
  EXPECT_EQ(info.data_len, sizeof(iommu_test_hw_info));
  auto data = m_.Load<iommu_test_hw_info>(buf_);
  EXPECT_EQ(data.flags, 0u);
  EXPECT_EQ(data.test_reg, IOMMU_HW_INFO_SELFTEST_REGVAL);
  EXPECT_EQ(m_.HwInfo(dev_.stdev, 0, 0, &info), -ENOENT);
}

TEST_F(MockDomainTest, NestedIotlb) {
  uint32_t parent = 0, no_parent = 0, nested[2] = {};
  ASSERT_EQ(
      m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent), 0);
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &no_parent), 0);

  // What the user data must be.
  iommu_hwpt_selftest data = {};
  data.iotlb = IOMMU_TEST_IOTLB_DEFAULT;
  ASSERT_EQ(m_.Store(buf_, data), 0);
  auto alloc = [&](uint32_t pt, uint32_t flags, uint32_t type, uint64_t uptr,
                   uint32_t len) {
    return m_.HwptAllocData(dev_.idev, pt, flags, type, uptr, len, nullptr);
  };
  EXPECT_EQ(alloc(parent, 0, IOMMU_HWPT_DATA_SELFTEST + 1, buf_, sizeof(data)),
            -EOPNOTSUPP);
  EXPECT_EQ(alloc(parent, 0, IOMMU_HWPT_DATA_SELFTEST, buf_, 3), -EINVAL);
  EXPECT_EQ(alloc(parent, 0, IOMMU_HWPT_DATA_SELFTEST, 0, sizeof(data)),
            -EFAULT);
  EXPECT_EQ(alloc(no_parent, 0, IOMMU_HWPT_DATA_SELFTEST, buf_, sizeof(data)),
            -EINVAL);
  EXPECT_EQ(alloc(parent, IOMMU_HWPT_ALLOC_NEST_PARENT,
                  IOMMU_HWPT_DATA_SELFTEST, buf_, sizeof(data)),
            -EOPNOTSUPP);

  for (uint32_t& id : nested) {
    ASSERT_EQ(m_.HwptNested(dev_.idev, parent, &id), 0);
    EXPECT_EQ(m_.CheckIotlbAll(id, IOMMU_TEST_IOTLB_DEFAULT), 0);
  }
  EXPECT_EQ(m_.HwptNested(dev_.idev, nested[0], nullptr), -EINVAL);
  EXPECT_EQ(m_.Destroy(parent), -EBUSY);
  EXPECT_EQ(m_.CheckIotlb(nested[0], 4, IOMMU_TEST_IOTLB_DEFAULT), -EINVAL);
  EXPECT_EQ(m_.CheckIotlb(nested[0], 0, 0), -EINVAL);
  EXPECT_EQ(m_.CheckIotlb(parent, 0, 0), -ENOENT);

  // The device goes from one to the other.
  EXPECT_EQ(m_.Replace(dev_.stdev, nested[0]), 0);
  EXPECT_EQ(m_.Destroy(nested[0]), -EBUSY);
  EXPECT_EQ(m_.Replace(dev_.stdev, nested[1]), 0);
  EXPECT_EQ(m_.Destroy(nested[0]), 0);
  EXPECT_EQ(m_.Replace(dev_.stdev, parent), 0);
  EXPECT_EQ(m_.Destroy(nested[1]), 0);
}

TEST_F(MockDomainTest, NestedInvalidation) {
  constexpr uint32_t kType = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
  constexpr uint32_t kLen = sizeof(iommu_hwpt_invalidate_selftest);
  uint32_t parent = 0, nested = 0, num = 0;
  ASSERT_EQ(
      m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent), 0);
  ASSERT_EQ(m_.HwptNested(dev_.idev, parent, &nested), 0);
  auto store = [&](int i, uint32_t flags, uint32_t id) {
    iommu_hwpt_invalidate_selftest inv = {};
    inv.flags = flags;
    inv.iotlb_id = id;
    ASSERT_EQ(m_.Store(buf_ + i * kLen, inv), 0);
  };
  auto invalidate = [&](uint32_t n, uint32_t type, uint64_t data,
                        uint32_t len) {
    num = n;
    return m_.Invalidate(nested, type, data, len, &num);
  };

  // Nothing to do is a question for the type.
  EXPECT_EQ(invalidate(0, kType, buf_, kLen), 0);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(
      invalidate(1, IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID, buf_, kLen),
      -EINVAL);
  EXPECT_EQ(num, 0u);
  store(0, 0, 0);
  // Longer than the driver knows, shorter than the first version.
  EXPECT_EQ(invalidate(1, kType, buf_, kLen + 1), -EINVAL);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(invalidate(1, kType, buf_, 1), -EINVAL);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(invalidate(1, kType, 0, kLen), -EINVAL);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(invalidate(1, kType, buf_, 0), -EINVAL);
  EXPECT_EQ(num, 0u);
  // Not of a parent.
  num = 1;
  EXPECT_EQ(m_.Invalidate(parent, kType, buf_, kLen, &num), -EINVAL);
  EXPECT_EQ(num, 0u);

  store(0, ~0u, 0);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), -EOPNOTSUPP);
  EXPECT_EQ(num, 0u);
  store(0, 0, 4);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), -EINVAL);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(m_.CheckIotlbAll(nested, IOMMU_TEST_IOTLB_DEFAULT), 0);

  // The first is done, the second is not, whatever is wrong with it.
  store(0, 0, 0);
  store(1, ~0u, 1);
  EXPECT_EQ(invalidate(2, kType, buf_, kLen), -EOPNOTSUPP);
  EXPECT_EQ(num, 1u);
  EXPECT_EQ(m_.CheckIotlb(nested, 0, 0), 0);
  EXPECT_EQ(m_.CheckIotlb(nested, 1, IOMMU_TEST_IOTLB_DEFAULT), 0);
  store(0, 0, 2);
  store(1, 0, 4);
  EXPECT_EQ(invalidate(2, kType, buf_, kLen), -EINVAL);
  EXPECT_EQ(num, 1u);
  EXPECT_EQ(m_.CheckIotlb(nested, 2, 0), 0);
  EXPECT_EQ(m_.CheckIotlb(nested, 1, IOMMU_TEST_IOTLB_DEFAULT), 0);

  store(0, 0, 1);
  store(1, 0, 3);
  EXPECT_EQ(invalidate(2, kType, buf_, kLen), 0);
  EXPECT_EQ(num, 2u);
  EXPECT_EQ(m_.CheckIotlbAll(nested, 0), 0);

  uint32_t nested2 = 0;
  ASSERT_EQ(m_.HwptNested(dev_.idev, parent, &nested2), 0);
  store(0, IOMMU_TEST_INVALIDATE_FLAG_ALL, 0);
  num = 1;
  EXPECT_EQ(m_.Invalidate(nested2, kType, buf_, kLen, &num), 0);
  EXPECT_EQ(m_.CheckIotlbAll(nested2, 0), 0);
}

}  // namespace
}  // namespace iommulab
