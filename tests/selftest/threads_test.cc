// SPDX-License-Identifier: GPL-2.0-or-later
// Several threads on one file: what they do to each other is allowed to fail
// with the errnos that a race explains, and with no others; afterwards nothing
// is left.
#include <atomic>
#include <cerrno>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 300;
constexpr uint64_t kIova = MOCK_APERTURE_START;

MockMachine::Options WithRevision(const std::string& revision) {
  MockMachine::Options options;
  options.revision = revision;
  options.interleave = true;
  return options;
}

// Runs `work` on kThreads threads; each gets its own view of the machine and
// its number.
void OnThreads(MockMachine& m,
               const std::function<void(MockMachine&, int)>& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&m, &work, i] {
      MockMachine view(&m);
      work(view, i);
    });
  }
  for (std::thread& t : threads) t.join();
}

class ThreadsTest : public ::testing::TestWithParam<const char*> {
 protected:
  ThreadsTest() : m_(WithRevision(GetParam())) {
    buf_ = m_.Anon(4 * kPage);
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
    EXPECT_EQ(m_.MapFixed(ioas_, buf_, 2 * kPage, kIova), 0);
    EXPECT_EQ(
        m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_),
        0);
    EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &viommu_), 0);
  }

  // `rc` is 0 or one of the errors.
  static void ExpectOneOf(int rc, const std::set<int>& errors) {
    EXPECT_TRUE(rc == 0 || errors.count(rc)) << rc;
  }

  MockMachine m_;
  uint64_t buf_ = 0;
  uint32_t ioas_ = 0;
  uint32_t parent_ = 0;
  uint32_t viommu_ = 0;
  MockMachine::Device dev_;
};

INSTANTIATE_TEST_SUITE_P(Revisions, ThreadsTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         [](const auto& info) { return FormName(info.param); });

// Allocation and destruction of one vIOMMU's queues race in the driver.
TEST_P(ThreadsTest, Queues) {
  std::atomic<int> owners[2] = {};
  OnThreads(m_, [this, &owners](MockMachine& m, int thread) {
    for (int i = 0; i < kRounds; ++i) {
      uint32_t id = 0;
      const uint32_t index = (thread + i) % 2;
      int rc = m.QueueAlloc(viommu_, index, kIova + index * kPage, kPage, &id);
      ExpectOneOf(rc, {-EEXIST, -EIO, -EBUSY});
      if (rc) continue;
      // One index, one queue.
      EXPECT_EQ(owners[index].fetch_add(1), 0);
      std::this_thread::yield();
      owners[index].fetch_sub(1);
      // A queue that another one depends on, or waits to.
      while ((rc = m.Destroy(id)) == -EBUSY) std::this_thread::yield();
      EXPECT_EQ(rc, 0);
      if (rc) break;
    }
  });
  EXPECT_EQ(m_.Unmap(ioas_, kIova, 2 * kPage), 0);
}

// Devices come and go, and move between two address spaces.
TEST_P(ThreadsTest, Devices) {
  uint32_t ioas2 = 0;
  ASSERT_EQ(m_.IoasAlloc(&ioas2), 0);
  OnThreads(m_, [this, ioas2](MockMachine& m, int) {
    for (int i = 0; i < kRounds / 4; ++i) {
      MockMachine::Device dev;
      ASSERT_EQ(m.MockDomain(ioas_, &dev), 0);
      ExpectOneOf(m.CheckMap(dev.hwpt, kIova, kPage, buf_), {});
      EXPECT_EQ(m.Replace(dev.stdev, ioas2), 0);
      EXPECT_EQ(m.CheckCacheAll(dev.idev, IOMMU_TEST_DEV_CACHE_DEFAULT), 0);
      EXPECT_EQ(m.Destroy(dev.stdev), 0);
    }
  });
}

// vDEVICEs against invalidations through their ids and against their device.
TEST_P(ThreadsTest, VdevicesAndTheirCache) {
  OnThreads(m_, [this](MockMachine& m, int thread) {
    const uint64_t data = m.Anon(kPage);
    iommu_viommu_invalidate_selftest inv = {};
    inv.vdev_id = thread / 2;
    inv.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL;
    EXPECT_EQ(m.Store(data, inv), 0);
    for (int i = 0; i < kRounds / 4; ++i) {
      if (thread % 2) {
        uint32_t num = 1;
        ExpectOneOf(m.Invalidate(viommu_, IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
                                 data, sizeof(inv), &num),
                    {-EINVAL});
        continue;
      }
      MockMachine::Device dev;
      uint32_t vdev = 0, nested = 0;
      ASSERT_EQ(m.MockDomain(ioas_, &dev), 0);
      ASSERT_EQ(m.VdeviceAlloc(viommu_, dev.idev, thread / 2, &vdev), 0);
      ASSERT_EQ(m.HwptNested(dev.idev, viommu_, &nested), 0);
      EXPECT_EQ(m.Replace(dev.stdev, nested), 0);
      EXPECT_EQ(m.Replace(dev.stdev, ioas_), 0);
      EXPECT_EQ(m.Destroy(nested), 0);
      if (i % 2) {
        EXPECT_EQ(m.Destroy(vdev), 0);
        EXPECT_EQ(m.Destroy(dev.stdev), 0);
      } else {
        EXPECT_EQ(m.Destroy(dev.stdev), 0);
        ExpectOneOf(m.Destroy(vdev), {-ENOENT});
      }
    }
  });
}

// Pins against the unmap that must not return before they are gone.
TEST_P(ThreadsTest, AccessesAndUnmap) {
  int fd = -1;
  ASSERT_EQ(
      m_.CreateAccess(ioas_, MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES, &fd), 0);
  OnThreads(m_, [this, fd](MockMachine& m, int thread) {
    const uint64_t data = m.Anon(kPage);
    for (int i = 0; i < kRounds; ++i) {
      uint32_t item = 0;
      switch (thread) {
        case 0:
          ExpectOneOf(m.Unmap(ioas_, kIova, 2 * kPage), {-ENOENT, -EBUSY});
          ExpectOneOf(m.MapFixed(ioas_, buf_, 2 * kPage, kIova), {-EEXIST});
          break;
        case 1: {
          int rc = m.AccessPages(fd, kIova, kPage, 0, 0, &item);
          ExpectOneOf(rc, {-ENOENT, -EINVAL});
          if (!rc) ExpectOneOf(m.DestroyAccessPages(fd, item), {-ENOENT});
          break;
        }
        default:
          ExpectOneOf(m.AccessRw(fd, kIova, 100, data,
                                 i % 2 ? MOCK_ACCESS_RW_SLOW_PATH : 0),
                      {-ENOENT, -EINVAL});
          break;
      }
    }
  });
}

// An option of the whole kernel changes while others map.
TEST_P(ThreadsTest, MemoryLimitWhileMapping) {
  OnThreads(m_, [this](MockMachine& m, int thread) {
    const uint64_t data = m.Anon(16 * kPage);
    for (int i = 0; i < kRounds / 4; ++i) {
      EXPECT_EQ(m.SetMemoryLimit(i % 2 ? 12 : 65536), 0);
      const uint64_t iova = kIova + (thread + 1) * 64 * kPage;
      ASSERT_EQ(m.MapFixed(ioas_, data, 16 * kPage, iova), 0);
      EXPECT_EQ(m.CheckMap(dev_.hwpt, iova, 16 * kPage, data), 0);
      ASSERT_EQ(m.Unmap(ioas_, iova, 16 * kPage), 0);
    }
  });
}

}  // namespace
}  // namespace iommulab
