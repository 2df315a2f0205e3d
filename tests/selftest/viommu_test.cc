// SPDX-License-Identifier: GPL-2.0-or-later
// The mock's vIOMMU in both revisions: loopback data, the page to mmap, the
// vDEVICE's cache, the queues with every errno, in the order of patches 06, 07,
// 12 and 14 of the vCMDQ series and of the merged selftest.
#include <sys/mman.h>

#include <cerrno>
#include <string>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

MockMachine::Options WithRevision(const std::string& revision) {
  MockMachine::Options options;
  options.revision = revision;
  return options;
}

// An IOAS, a device, a parent HWPT, a vIOMMU on it and a nested HWPT on that.
class ViommuTest : public ::testing::TestWithParam<const char*> {
 protected:
  ViommuTest() : m_(WithRevision(GetParam())) {
    buf_ = m_.Anon(4 * kPage);
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
    EXPECT_EQ(
        m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_),
        0);
    EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &viommu_), 0);
    EXPECT_EQ(m_.HwptNested(dev_.idev, viommu_, &nested_), 0);
  }

  const FormFacts& Facts() const { return FactsOf(GetParam()); }

  static constexpr uint64_t kIova = MOCK_APERTURE_START;
  MockMachine m_;
  uint64_t buf_ = 0;
  uint32_t ioas_ = 0;
  uint32_t parent_ = 0;
  uint32_t viommu_ = 0;
  uint32_t nested_ = 0;
  MockMachine::Device dev_;
};

INSTANTIATE_TEST_SUITE_P(Revisions, ViommuTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         [](const auto& info) { return FormName(info.param); });

TEST_P(ViommuTest, AutoDestroy) {}

TEST_P(ViommuTest, Negative) {
  uint32_t hwpt = 0;
  EXPECT_EQ(m_.ViommuAlloc(dev_.idev, 0, nullptr), -ENOENT);
  EXPECT_EQ(m_.ViommuAlloc(0, parent_, nullptr), -ENOENT);
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &hwpt), 0);
  EXPECT_EQ(m_.ViommuAlloc(dev_.idev, hwpt, nullptr), -EINVAL);
  EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, nullptr, 0xdead), -EOPNOTSUPP);
  EXPECT_EQ(
      m_.ViommuAlloc(dev_.idev, parent_, nullptr, IOMMU_VIOMMU_TYPE_DEFAULT),
      -EOPNOTSUPP);
  EXPECT_EQ(m_.Destroy(hwpt), 0);
  EXPECT_EQ(m_.Destroy(parent_), -EBUSY);
  EXPECT_EQ(m_.Destroy(viommu_), -EBUSY);
  EXPECT_EQ(m_.Destroy(nested_), 0);
  EXPECT_EQ(m_.Destroy(viommu_), 0);
  EXPECT_EQ(m_.Destroy(parent_), 0);
}

TEST_P(ViommuTest, DataComesBack) {
  iommu_viommu_selftest data = {};
  uint32_t id = 0;
  data.in_data = 0xbeef;
  ASSERT_EQ(m_.Store(buf_, data), 0);
  EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &id, IOMMU_VIOMMU_TYPE_SELFTEST,
                           buf_, 7),
            -EINVAL);
  EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &id, IOMMU_VIOMMU_TYPE_SELFTEST,
                           buf_, sizeof(data) + 1),
            -EINVAL);
  EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &id, IOMMU_VIOMMU_TYPE_SELFTEST,
                           kPage, sizeof(data)),
            -EFAULT);
  ASSERT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &id, IOMMU_VIOMMU_TYPE_SELFTEST,
                           buf_, sizeof(data)),
            0);
  data = m_.Load<iommu_viommu_selftest>(buf_);
  EXPECT_EQ(data.in_data, 0xbeefu);
  EXPECT_EQ(data.out_data, 0xbeefu);
  EXPECT_EQ(data.out_mmap_length, Facts().mock_region_pages * kPage);
  EXPECT_NE(data.out_mmap_offset, 0u);
  EXPECT_EQ(data.out_mmap_offset % kPage, 0u);

  auto map = [&](uint64_t length, uint64_t offset,
                 int prot = PROT_READ | PROT_WRITE, int flags = MAP_SHARED) {
    return static_cast<int64_t>(
        m_.sys().mmap(0, length, prot, flags, m_.fd(), offset));
  };
  EXPECT_EQ(map(data.out_mmap_length, data.out_mmap_offset + 16 * kPage),
            -ENXIO);
  EXPECT_EQ(map(data.out_mmap_length * 2, data.out_mmap_offset), -ENXIO);
  if (!Facts().mmap_may_be_shorter) {
    EXPECT_EQ(map(data.out_mmap_length, data.out_mmap_offset + kPage), -ENXIO);
    EXPECT_EQ(map(data.out_mmap_length / 2, data.out_mmap_offset), -ENXIO);
    EXPECT_EQ(
        map(data.out_mmap_length, data.out_mmap_offset, PROT_READ, MAP_PRIVATE),
        -EINVAL);
    EXPECT_EQ(
        map(data.out_mmap_length, data.out_mmap_offset, PROT_READ | PROT_EXEC),
        -EPERM);
  }
  const int64_t va = map(data.out_mmap_length, data.out_mmap_offset);
  ASSERT_GT(va, 0);
  EXPECT_EQ(m_.Load<uint32_t>(va), 0xbeefu);
  EXPECT_EQ(m_.Load<uint32_t>(va + 4), 0u);
  // The owner cannot go before its mapping.
  EXPECT_EQ(m_.Destroy(id), -EBUSY);
  EXPECT_EQ(m_.sys().munmap(va, data.out_mmap_length), 0);
  EXPECT_EQ(m_.Destroy(id), 0);
  EXPECT_EQ(map(data.out_mmap_length, data.out_mmap_offset), -ENXIO);
}

TEST_P(ViommuTest, TwoViommusHaveTwoPages) {
  iommu_viommu_selftest data[2] = {};
  uint32_t id[2] = {};
  for (int i = 0; i < 2; ++i) {
    data[i].in_data = 0x100 + i;
    ASSERT_EQ(m_.Store(buf_, data[i]), 0);
    ASSERT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &id[i],
                             IOMMU_VIOMMU_TYPE_SELFTEST, buf_, sizeof(data[i])),
              0);
    data[i] = m_.Load<iommu_viommu_selftest>(buf_);
  }
  EXPECT_GE(data[1].out_mmap_offset,
            data[0].out_mmap_offset + data[0].out_mmap_length);
  for (int i = 0; i < 2; ++i) {
    const uint64_t va =
        m_.sys().mmap(0, data[i].out_mmap_length, PROT_READ, MAP_SHARED,
                      m_.fd(), data[i].out_mmap_offset);
    ASSERT_FALSE(is_error(va));
    EXPECT_EQ(m_.Load<uint32_t>(va), 0x100u + i);
    EXPECT_EQ(m_.sys().munmap(va, data[i].out_mmap_length), 0);
  }
}

// A user of the first version has no mmap fields.
TEST_P(ViommuTest, ShorterData) {
  uint32_t id = 0;
  const uint32_t words[4] = {7, 0, 0x11111111, 0x22222222};
  ASSERT_EQ(m_.sys().store(buf_, words, sizeof(words)), 0);
  ASSERT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &id, IOMMU_VIOMMU_TYPE_SELFTEST,
                           buf_, 8),
            0);
  EXPECT_EQ(m_.Load<uint32_t>(buf_ + 4), 7u);
  EXPECT_EQ(m_.Load<uint32_t>(buf_ + 8), 0x11111111u);
  EXPECT_EQ(m_.Destroy(id), 0);
}

TEST_P(ViommuTest, AttachNeedsAVdevice) {
  uint32_t vdev = 0;
  EXPECT_EQ(m_.Replace(dev_.stdev, nested_), -ENOENT);
  ASSERT_EQ(m_.VdeviceAlloc(viommu_, dev_.idev, 0x99, &vdev), 0);
  EXPECT_EQ(m_.Replace(dev_.stdev, nested_), 0);
  EXPECT_EQ(m_.VdeviceAlloc(viommu_, dev_.idev, 0x99, nullptr), -EEXIST);
  EXPECT_EQ(m_.Replace(dev_.stdev, ioas_), 0);
  EXPECT_EQ(m_.Destroy(vdev), 0);
  EXPECT_EQ(m_.Replace(dev_.stdev, nested_), -ENOENT);
  ASSERT_EQ(m_.VdeviceAlloc(viommu_, dev_.idev, 0x88, &vdev), 0);
  EXPECT_EQ(m_.Replace(dev_.stdev, nested_), 0);
  EXPECT_EQ(m_.Replace(dev_.stdev, ioas_), 0);
}

TEST_P(ViommuTest, VdeviceCache) {
  constexpr uint32_t kType = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
  constexpr uint32_t kLen = sizeof(iommu_viommu_invalidate_selftest);
  uint32_t vdev = 0, num = 0;
  ASSERT_EQ(m_.VdeviceAlloc(viommu_, dev_.idev, 0x99, &vdev), 0);
  EXPECT_EQ(m_.CheckCacheAll(dev_.idev, IOMMU_TEST_DEV_CACHE_DEFAULT), 0);
  EXPECT_EQ(m_.CheckCache(dev_.idev, 4, IOMMU_TEST_DEV_CACHE_DEFAULT), -EINVAL);
  EXPECT_EQ(m_.CheckCache(dev_.stdev, 0, 0), -ENOENT);

  auto store = [&](int i, uint32_t flags, uint32_t vdev_id, uint32_t cache) {
    iommu_viommu_invalidate_selftest inv = {};
    inv.flags = flags;
    inv.vdev_id = vdev_id;
    inv.cache_id = cache;
    ASSERT_EQ(m_.Store(buf_ + i * kLen, inv), 0);
  };
  auto invalidate = [&](uint32_t n, uint32_t type, uint64_t data,
                        uint32_t len) {
    num = n;
    return m_.Invalidate(viommu_, type, data, len, &num);
  };

  EXPECT_EQ(invalidate(0, kType, buf_, kLen), 0);
  EXPECT_EQ(num, 0u);
  store(0, 0, 0x99, 0);
  EXPECT_EQ(
      invalidate(1, IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID, buf_, kLen),
      -EINVAL);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(invalidate(1, kType, 0, kLen), -EINVAL);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(invalidate(1, kType, buf_, 0), -EINVAL);
  EXPECT_EQ(num, 0u);
  // Longer is fine as long as the rest is zero.
  ASSERT_EQ(m_.Store(buf_ + kLen, uint32_t{1}), 0);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen + 4), -E2BIG);
  EXPECT_EQ(num, 0u);
  store(0, ~0u, 0x99, 0);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), -EOPNOTSUPP);
  EXPECT_EQ(num, 0u);
  store(0, 0, 0x99, 4);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), -EINVAL);
  EXPECT_EQ(num, 0u);
  store(0, 0, 0x9, 0);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), -EINVAL);
  EXPECT_EQ(num, 0u);
  EXPECT_EQ(m_.CheckCacheAll(dev_.idev, IOMMU_TEST_DEV_CACHE_DEFAULT), 0);

  // A bad entry in the middle: what was before it is done, no more.
  store(0, 0, 0x99, 0);
  store(1, ~0u, 0x99, 1);
  store(2, 0, 0x99, 2);
  EXPECT_EQ(invalidate(3, kType, buf_, kLen), -EOPNOTSUPP);
  EXPECT_EQ(num, 1u);
  EXPECT_EQ(m_.CheckCache(dev_.idev, 0, 0), 0);
  EXPECT_EQ(m_.CheckCache(dev_.idev, 1, IOMMU_TEST_DEV_CACHE_DEFAULT), 0);
  EXPECT_EQ(m_.CheckCache(dev_.idev, 2, IOMMU_TEST_DEV_CACHE_DEFAULT), 0);
  store(1, 0, 0x99, 4);
  EXPECT_EQ(invalidate(3, kType, buf_, kLen), -EINVAL);
  EXPECT_EQ(num, 1u);

  store(0, 0, 0x99, 1);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), 0);
  EXPECT_EQ(m_.CheckCache(dev_.idev, 1, 0), 0);
  store(0, IOMMU_TEST_INVALIDATE_FLAG_ALL, 0x99, 0);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), 0);
  EXPECT_EQ(num, 1u);
  EXPECT_EQ(m_.CheckCacheAll(dev_.idev, 0), 0);

  EXPECT_EQ(m_.Destroy(vdev), 0);
  EXPECT_EQ(invalidate(1, kType, buf_, kLen), -EINVAL);
}

TEST_P(ViommuTest, Queues) {
  uint32_t queue[2] = {};

  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, nullptr,
                          IOMMU_VCMDQ_TYPE_DEFAULT),
            -EOPNOTSUPP);
  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, kIova, 0, nullptr), -EINVAL);
  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, UINT64_MAX, kPage, nullptr), -EOVERFLOW);
  EXPECT_EQ(m_.QueueAlloc(parent_, 0, kIova, kPage, nullptr), -ENOENT);
  // Address 0: an error in v2, an address like any other afterwards.
  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, 0, kPage, nullptr),
            Facts().queue_at_unmapped_zero);
  // Nothing there.
  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, nullptr),
            Facts().queue_of_unmapped_memory);

  ASSERT_EQ(m_.MapFixed(ioas_, buf_, kPage, kIova), 0);
  ASSERT_EQ(m_.MapFixed(ioas_, buf_ + kPage, kPage, kIova + kPage), 0);
  // Not of this type; a gap; out of range.
  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, nullptr, 1), -EOPNOTSUPP);
  EXPECT_EQ(m_.QueueAlloc(viommu_, 1, kIova, kPage, nullptr), -EIO);
  EXPECT_EQ(m_.QueueAlloc(viommu_, IOMMU_TEST_VCMDQ_MAX, kIova, kPage, nullptr),
            -EINVAL);
  EXPECT_EQ(m_.QueueAlloc(viommu_, ~0u, kIova, kPage, nullptr), -EINVAL);

  ASSERT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, &queue[0]), 0);
  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, nullptr), -EEXIST);
  EXPECT_EQ(m_.CheckRefs(buf_, 2 * kPage, 1), 0);
  // Its page stays mapped, the next one may go.
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPage), -EBUSY);
  EXPECT_EQ(m_.Unmap(ioas_, kIova + kPage, kPage), 0);
  EXPECT_EQ(m_.Destroy(viommu_), -EBUSY);

  ASSERT_EQ(m_.QueueAlloc(viommu_, 1, kIova + kPage / 2, kPage / 2, &queue[1]),
            0);
  EXPECT_EQ(m_.Destroy(queue[0]), -EBUSY);
  EXPECT_EQ(m_.Destroy(queue[1]), 0);
  // The slot is free again, and only that one.
  EXPECT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, nullptr), -EEXIST);
  ASSERT_EQ(m_.QueueAlloc(viommu_, 1, kIova, kPage, &queue[1]), 0);
  EXPECT_EQ(m_.Destroy(queue[0]), -EBUSY);
  EXPECT_EQ(m_.Destroy(queue[1]), 0);
  EXPECT_EQ(m_.Destroy(queue[0]), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPage), 0);
  EXPECT_EQ(m_.CheckRefs(buf_, 2 * kPage, 0), 0);
}

// Each index has its slot: destroying one queue frees no other one's.
TEST_P(ViommuTest, QueuesInEveryOrderOfClose) {
  uint32_t queue[2] = {};
  ASSERT_EQ(m_.MapFixed(ioas_, buf_, 2 * kPage, kIova), 0);
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, &queue[0]), 0);
    ASSERT_EQ(m_.QueueAlloc(viommu_, 1, kIova + kPage, kPage, &queue[1]), 0);
    ASSERT_EQ(m_.Destroy(queue[1]), 0);
    ASSERT_EQ(m_.Destroy(queue[0]), 0);
  }
  ASSERT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, &queue[0]), 0);
  ASSERT_EQ(m_.QueueAlloc(viommu_, 1, kIova + kPage, kPage, &queue[1]), 0);
  // The close finds them both.
}

TEST_P(ViommuTest, QueuesOfTwoViommusDoNotMeet) {
  uint32_t viommu = 0, queue[2] = {};
  ASSERT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &viommu), 0);
  ASSERT_EQ(m_.MapFixed(ioas_, buf_, kPage, kIova), 0);
  ASSERT_EQ(m_.QueueAlloc(viommu_, 0, kIova, kPage, &queue[0]), 0);
  EXPECT_EQ(m_.QueueAlloc(viommu, 1, kIova, kPage, nullptr), -EIO);
  ASSERT_EQ(m_.QueueAlloc(viommu, 0, kIova, kPage, &queue[1]), 0);
  EXPECT_EQ(m_.Destroy(queue[0]), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPage), -EBUSY);
  EXPECT_EQ(m_.Destroy(queue[1]), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPage), 0);
}

TEST_P(ViommuTest, DeviceGoesBeforeItsVdevice) {
  uint32_t vdev = 0;
  ASSERT_EQ(m_.VdeviceAlloc(viommu_, dev_.idev, 0x99, &vdev), 0);
  ASSERT_EQ(m_.Destroy(dev_.stdev), 0);
  EXPECT_EQ(m_.Destroy(vdev), Facts().vdevice_outlives_device ? 0 : -ENOENT);
}

}  // namespace
}  // namespace iommulab
