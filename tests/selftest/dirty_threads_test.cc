// SPDX-License-Identifier: GPL-2.0-or-later
// Dirty bits are read while other threads map, unmap, write, and read too.
#include <atomic>
#include <cerrno>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

constexpr uint64_t kIova = MOCK_APERTURE_START;
constexpr uint64_t kPages = 16;  // of MOCK_PAGE_SIZE, that stay mapped
constexpr uint64_t kLength = kPages * MOCK_PAGE_SIZE;

MockMachine::Options WithRevision(const std::string& revision) {
  MockMachine::Options options;
  options.revision = revision;
  options.interleave = true;
  return options;
}

int SetTracking(MockMachine& m, uint32_t hwpt, bool enable) {
  Cmd cmd("HWPT_SET_DIRTY_TRACKING");
  cmd.Set("hwpt_id", hwpt)
      .Set("flags", enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0);
  return m.Ioctl(&cmd);
}

// Up to 64 pages; the bits come back through *bits.
int GetBitmap(MockMachine& m, uint32_t hwpt, uint64_t iova, uint64_t length,
              uint64_t data, uint64_t* bits, uint32_t flags = 0) {
  EXPECT_EQ(m.Store(data, uint64_t{0}), 0);
  Cmd cmd("HWPT_GET_DIRTY_BITMAP");
  cmd.Set("hwpt_id", hwpt)
      .Set("flags", flags)
      .Set("iova", iova)
      .Set("length", length)
      .Set("page_size", MOCK_PAGE_SIZE)
      .Set("data", data);
  int rc = m.Ioctl(&cmd);
  *bits = m.Load<uint64_t>(data);
  return rc;
}

int Write(MockMachine& m, uint32_t hwpt, uint64_t iova, uint64_t length,
          uint64_t data, uint64_t bits) {
  EXPECT_EQ(m.Store(data, bits), 0);
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_DIRTY;
  cmd.id = hwpt;
  cmd.dirty.iova = iova;
  cmd.dirty.length = length;
  cmd.dirty.page_size = MOCK_PAGE_SIZE;
  cmd.dirty.uptr = data;
  return m.Test(&cmd);
}

class DirtyThreadsTest : public ::testing::TestWithParam<const char*> {
 protected:
  DirtyThreadsTest() : m_(WithRevision(GetParam())) {
    buf_ = m_.Anon(kLength);
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
    EXPECT_EQ(
        m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_),
        0);
    EXPECT_EQ(m_.MapFixed(ioas_, buf_, kLength, kIova), 0);
    EXPECT_EQ(SetTracking(m_, hwpt_, true), 0);
  }

  void OnThreads(
      const std::vector<std::function<void(MockMachine&, uint64_t)>>& works) {
    std::vector<std::thread> threads;
    for (const auto& work : works) {
      threads.emplace_back([this, &work] {
        MockMachine view(&m_);
        work(view, view.Anon(kPage));
      });
    }
    for (std::thread& t : threads) t.join();
  }

  // What goes on for ever ends at the first failure of any thread.
  bool GoesOn(bool on) { return on && !HasFailure(); }

  MockMachine m_;
  MockMachine::Device dev_;
  uint64_t buf_ = 0;
  uint32_t ioas_ = 0;
  uint32_t hwpt_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Revisions, DirtyThreadsTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         [](const auto& info) { return FormName(info.param); });

// Two readers clear what two devices write: each write is seen once, by one.
TEST_P(DirtyThreadsTest, EachWriteIsReadOnce) {
  constexpr int kRounds = 200;
  std::atomic<int> seen[kPages] = {};
  std::atomic<int> writers{2};
  const auto write = [&](MockMachine& m, uint64_t data, uint64_t page) {
    for (int i = 1; GoesOn(i <= kRounds); ++i) {
      EXPECT_EQ(Write(m, hwpt_, kIova, kLength, data, 1ull << page), 0);
      while (GoesOn(seen[page] < i)) std::this_thread::yield();
      EXPECT_EQ(seen[page], i);
    }
    --writers;
  };
  const auto read = [&](MockMachine& m, uint64_t data) {
    while (GoesOn(writers)) {
      uint64_t bits = 0;
      EXPECT_EQ(GetBitmap(m, hwpt_, kIova, kLength, data, &bits), 0);
      EXPECT_EQ(bits & ~(1ull << 3 | 1ull << 12), 0u);
      for (uint64_t page = 0; page < kPages; ++page) {
        if (bits >> page & 1) ++seen[page];
      }
    }
  };
  OnThreads({[&](MockMachine& m, uint64_t data) { write(m, data, 3); },
             [&](MockMachine& m, uint64_t data) { write(m, data, 12); }, read,
             read});
  EXPECT_EQ(seen[3], kRounds);
  EXPECT_EQ(seen[12], kRounds);
}

// Behind the pages that stay others come and go, whole and in part dirty; the
// table itself comes and goes too.
TEST_P(DirtyThreadsTest, ReadWhileOthersMap) {
  constexpr int kRounds = 150;
  constexpr uint64_t kMore = kIova + kLength;
  std::atomic<int> mappers{2};
  const auto map = [&](MockMachine& m, uint64_t iova) {
    const uint64_t memory = m.Anon(kLength);
    for (int i = 0; i < kRounds; ++i) {
      EXPECT_EQ(m.MapFixed(ioas_, memory, kLength, iova), 0);
      std::this_thread::yield();
      EXPECT_EQ(m.Unmap(ioas_, iova, kLength), 0);
    }
    --mappers;
  };
  OnThreads(
      {[&](MockMachine& m, uint64_t) { map(m, kMore); },
       [&](MockMachine& m, uint64_t) { map(m, kMore + kLength); },
       [&](MockMachine& m, uint64_t data) {
         while (GoesOn(mappers)) {
           EXPECT_EQ(Write(m, hwpt_, kIova, 3 * kLength, data, ~0ull), 0);
         }
       },
       [&](MockMachine& m, uint64_t data) {
         for (int i = 0; GoesOn(mappers); ++i) {
           uint64_t bits = 0;
           EXPECT_EQ(
               GetBitmap(m, hwpt_, kIova, 3 * kLength, data, &bits,
                         i % 2 ? IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR : 0u),
               0);
         }
       },
       [&](MockMachine& m, uint64_t data) {
         while (GoesOn(mappers)) {
           uint32_t hwpt = 0;
           uint64_t bits = 0;
           EXPECT_EQ(m.HwptAlloc(dev_.idev, ioas_,
                                 IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt),
                     0);
           EXPECT_EQ(SetTracking(m, hwpt, true), 0);
           EXPECT_EQ(GetBitmap(m, hwpt, kIova, 3 * kLength, data, &bits), 0);
           EXPECT_EQ(bits, 0u);
           EXPECT_EQ(m.Destroy(hwpt), 0);
         }
       },
       [&](MockMachine& m, uint64_t data) {
         while (GoesOn(mappers)) {
           uint64_t bits = 0;
           EXPECT_EQ(SetTracking(m, hwpt_, true), 0);
           EXPECT_EQ(GetBitmap(m, hwpt_, kMore, 2 * kLength, data, &bits), 0);
         }
       }});
  uint64_t bits = 0;
  EXPECT_EQ(SetTracking(m_, hwpt_, true), 0);
  EXPECT_EQ(GetBitmap(m_, hwpt_, kIova, kLength, m_.Anon(kPage), &bits), 0);
  EXPECT_EQ(bits, 0u);
}

// The bitmap's memory goes while bits are set in it. It is at an address that
// nothing else gets meanwhile.
TEST_P(DirtyThreadsTest, TheBitmapGoes) {
  constexpr uint64_t kBitmap = 0x14000000000;
  constexpr int kRounds = 300;
  std::atomic<int> reads{0};
  std::atomic<bool> done{false};
  OnThreads({[&](MockMachine& m, uint64_t data) {
               while (GoesOn(!done)) {
                 EXPECT_EQ(Write(m, hwpt_, kIova, kLength, data, 0xffff), 0);
               }
             },
             [&](MockMachine& m, uint64_t) {
               Cmd cmd("HWPT_GET_DIRTY_BITMAP");
               cmd.Set("hwpt_id", hwpt_)
                   .Set("iova", kIova)
                   .Set("length", kLength)
                   .Set("page_size", MOCK_PAGE_SIZE)
                   .Set("data", kBitmap);
               for (; GoesOn(!done); ++reads) {
                 EXPECT_EQ(m.Ioctl(&cmd), 0);
               }
             },
             [&](MockMachine& m, uint64_t) {
               memory_options opts;
               opts.size = kPage;
               opts.addr = kBitmap;
               for (int i = 0; GoesOn(i < kRounds || reads < kRounds); ++i) {
                 EXPECT_EQ(m.sys().anon(opts), kBitmap);
                 std::this_thread::yield();
                 EXPECT_EQ(m.sys().munmap(kBitmap, kPage), 0);
               }
               done = true;
             }});
}

}  // namespace
}  // namespace iommulab
