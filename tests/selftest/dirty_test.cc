// SPDX-License-Identifier: GPL-2.0-or-later
// What FIXTURE(iommufd_dirty_tracking) of the kernel's selftests does, in all
// its variants, as v6.12 has it (large pages by a flag of the device) and as
// v7.2 has it (by the type of the table, and small ones by an option).
#include <cerrno>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

constexpr uint64_t kAperture = MOCK_APERTURE_START;

struct Variant {
  const char* name;
  uint64_t buffer_size;
  bool hugepages;
  bool v7_2;
};

class DirtyTest : public ::testing::TestWithParam<Variant> {
 protected:
  DirtyTest() {
    const Variant& v = GetParam();
    bits_ = v.buffer_size / MOCK_PAGE_SIZE;
    buffer_ = m_.Anon(v.buffer_size, v.hugepages, 2 << 20);
    bitmap_ = m_.Anon((bits_ + 7) / 8 + kPage);
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    if (v.v7_2) {
      if (!v.hugepages) DisableLargePages(ioas_);
      EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
    } else {
      EXPECT_EQ(
          m_.MockDomainFlags(
              ioas_, v.hugepages ? MOCK_FLAGS_DEVICE_HUGE_IOVA : 0, &dev_),
          0);
    }
  }

  void DisableLargePages(uint32_t ioas) {
    Cmd cmd("OPTION");
    cmd.Set("option_id", IOMMU_OPTION_HUGE_PAGES)
        .Set("op", IOMMU_OPTION_OP_SET)
        .Set("object_id", ioas);
    EXPECT_EQ(m_.Ioctl(&cmd), 0);
  }

  int SetTracking(uint32_t hwpt, bool enable) {
    Cmd cmd("HWPT_SET_DIRTY_TRACKING");
    cmd.Set("hwpt_id", hwpt)
        .Set("flags", enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0);
    return m_.Ioctl(&cmd);
  }

  // The table that the tests of bitmaps read, with the buffer mapped.
  uint32_t TableWithBuffer() {
    const Variant& v = GetParam();
    uint32_t ioas = ioas_, hwpt = 0;
    if (!v.v7_2) {
      EXPECT_EQ(m_.IoasAlloc(&ioas), 0);
    }
    EXPECT_EQ(m_.MapFixed(ioas, buffer_, v.buffer_size, kAperture), 0);
    if (v.v7_2) {
      const uint64_t at = m_.Anon(kPage);
      iommu_hwpt_selftest data = {};
      data.pagetable_type =
          v.hugepages ? MOCK_IOMMUPT_HUGE : MOCK_IOMMUPT_DEFAULT;
      EXPECT_EQ(m_.Store(at, data), 0);
      EXPECT_EQ(
          m_.HwptAllocData(dev_.idev, ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
                           IOMMU_HWPT_DATA_SELFTEST, at, sizeof(data), &hwpt),
          0);
    } else {
      EXPECT_EQ(
          m_.HwptAlloc(dev_.idev, ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt),
          0);
    }
    EXPECT_EQ(SetTracking(hwpt, true), 0);
    return hwpt;
  }

  std::vector<uint8_t> Get(uint32_t hwpt, uint64_t data, uint32_t flags) {
    std::vector<uint8_t> map((bits_ + 7) / 8, 0);
    EXPECT_EQ(m_.sys().store(data, map.data(), map.size()), 0);
    Cmd cmd("HWPT_GET_DIRTY_BITMAP");
    cmd.Set("hwpt_id", hwpt)
        .Set("flags", flags)
        .Set("iova", kAperture)
        .Set("length", GetParam().buffer_size)
        .Set("page_size", MOCK_PAGE_SIZE)
        .Set("data", data);
    EXPECT_EQ(m_.Ioctl(&cmd), 0);
    EXPECT_EQ(m_.sys().load(data, map.data(), map.size()), 0);
    return map;
  }

  // Every second page of the table is written to, at its first byte.
  void Bitmaps(uint32_t hwpt, uint64_t data, uint32_t flags) {
    const uint64_t npte =
        (GetParam().hugepages ? MOCK_HUGE_PAGE_SIZE : MOCK_PAGE_SIZE) /
        MOCK_PAGE_SIZE;
    const uint64_t pteset = 2 * npte;
    std::vector<uint8_t> written((bits_ + 7) / 8, 0);
    std::vector<uint8_t> dirty = written;
    const std::vector<uint8_t> clean = written;
    uint64_t count = 0;
    for (uint64_t i = 0; i < bits_; i += pteset, ++count) {
      written[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
      for (uint64_t j = i; j < i + npte; ++j) {
        dirty[j / 8] |= static_cast<uint8_t>(1u << (j % 8));
      }
    }
    ASSERT_EQ(m_.sys().store(data, written.data(), written.size()), 0);

    iommu_test_cmd cmd = {};
    cmd.op = IOMMU_TEST_OP_DIRTY;
    cmd.id = hwpt;
    cmd.dirty.iova = kAperture;
    cmd.dirty.length = GetParam().buffer_size;
    cmd.dirty.page_size = MOCK_PAGE_SIZE;
    cmd.dirty.uptr = data;
    ASSERT_EQ(m_.Test(&cmd), 0);
    EXPECT_EQ(cmd.dirty.out_nr_dirty, count);

    EXPECT_TRUE(Get(hwpt, data, flags) == dirty);
    EXPECT_TRUE(Get(hwpt, data, flags) == (flags ? dirty : clean));
  }

  void AllBitmaps(uint32_t flags) {
    const uint32_t hwpt = TableWithBuffer();
    for (uint64_t offset : {0, 2048, 0xff1}) {
      SCOPED_TRACE(offset);
      Bitmaps(hwpt, bitmap_ + offset, flags);
    }
    EXPECT_EQ(m_.Destroy(hwpt), 0);
  }

  MockMachine m_;
  MockMachine::Device dev_;
  uint32_t ioas_ = 0;
  uint64_t buffer_ = 0;
  uint64_t bitmap_ = 0;
  uint64_t bits_ = 0;
};

constexpr Variant kVariants[] = {
    {"v6_12_8k", 8 << 10, false, false},
    {"v6_12_16k", 16 << 10, false, false},
    {"v6_12_64k", 64 << 10, false, false},
    {"v6_12_128k", 128 << 10, false, false},
    {"v6_12_320k", 320 << 10, false, false},
    {"v6_12_64M", 64 << 20, false, false},
    {"v6_12_64M_huge", 64 << 20, true, false},
    {"v6_12_128M", 128 << 20, false, false},
    {"v6_12_128M_huge", 128 << 20, true, false},
    {"v7_2_8k", 8 << 10, false, true},
    {"v7_2_16k", 16 << 10, false, true},
    {"v7_2_64k", 64 << 10, false, true},
    {"v7_2_128k", 128 << 10, false, true},
    {"v7_2_320k", 320 << 10, false, true},
    {"v7_2_64M", 64 << 20, false, true},
    {"v7_2_64M_huge", 64 << 20, true, true},
    {"v7_2_128M", 128 << 20, false, true},
    {"v7_2_128M_huge", 128 << 20, true, true},
};

INSTANTIATE_TEST_SUITE_P(Variants, DirtyTest, ::testing::ValuesIn(kVariants),
                         [](const auto& info) {
                           return std::string(info.param.name);
                         });

TEST_P(DirtyTest, EnforceDirty) {
  uint32_t hwpt = 0, ioas = 0;
  MockMachine::Device dev;
  ASSERT_EQ(
      m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt),
      0);
  ASSERT_EQ(m_.MockDomain(hwpt, &dev), 0);
  EXPECT_EQ(m_.MockDomainFlags(hwpt, MOCK_FLAGS_DEVICE_NO_DIRTY, nullptr),
            -EINVAL);
  EXPECT_EQ(m_.Destroy(dev.stdev), 0);
  EXPECT_EQ(m_.Destroy(hwpt), 0);

  ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  ASSERT_EQ(m_.MockDomainFlags(ioas, MOCK_FLAGS_DEVICE_NO_DIRTY, &dev), 0);
  EXPECT_EQ(
      m_.HwptAlloc(dev.idev, ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt),
      -EOPNOTSUPP);
  EXPECT_EQ(m_.Destroy(dev.stdev), 0);
}

TEST_P(DirtyTest, SetDirtyTracking) {
  uint32_t hwpt = 0;
  MockMachine::Device dev;
  ASSERT_EQ(
      m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt),
      0);
  ASSERT_EQ(m_.MockDomain(hwpt, &dev), 0);
  EXPECT_EQ(SetTracking(hwpt, true), 0);
  EXPECT_EQ(SetTracking(hwpt, false), 0);
  EXPECT_EQ(m_.Destroy(dev.stdev), 0);
  EXPECT_EQ(m_.Destroy(hwpt), 0);
}

TEST_P(DirtyTest, DeviceDirtyCapability) {
  uint32_t hwpt = 0;
  MockMachine::Device dev;
  iommu_hw_info info = {};
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &hwpt), 0);
  ASSERT_EQ(m_.MockDomain(hwpt, &dev), 0);
  EXPECT_EQ(m_.HwInfo(dev_.idev, 0, 0, &info), 0);
  EXPECT_TRUE(info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
}

TEST_P(DirtyTest, GetDirtyBitmap) { AllBitmaps(0); }

TEST_P(DirtyTest, GetDirtyBitmapNoClear) {
  AllBitmaps(IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR);
}

}  // namespace
}  // namespace iommulab
