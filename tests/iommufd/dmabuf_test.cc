// SPDX-License-Identifier: GPL-2.0-or-later
// The selftest's dma-bufs on threads, through system calls: what a program can
// show alone is in tests/prog/dmabuf_*.prog, what is in the domains in
// tests/iopt/dmabuf_test.cc.
#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

// Last: kernel headers define common words as macros.
#include "core/linux/dma-buf.h"
#include "core/linux/file.h"

namespace iommulab {
namespace {

constexpr int kRounds = 200;
constexpr uint64_t kIova = 0x1000000;

class Caller : public CommandCaller {
 public:
  using CommandCaller::CommandCaller;

  int Get(uint32_t length) {
    iommu_test_cmd cmd = {};
    cmd.op = IOMMU_TEST_OP_DMABUF_GET;
    cmd.dmabuf_get.length = length;
    return Call(IOMMU_TEST_CMD, &cmd);
  }
  int Revoke(int fd, bool revoked) {
    iommu_test_cmd cmd = {};
    cmd.op = IOMMU_TEST_OP_DMABUF_REVOKE;
    cmd.dmabuf_revoke.dmabuf_fd = fd;
    cmd.dmabuf_revoke.revoked = revoked;
    return Call(IOMMU_TEST_CMD, &cmd);
  }
  int Map(uint32_t ioas, int fd, uint64_t length, uint64_t iova) {
    iommu_ioas_map_file cmd = {};
    cmd.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE;
    cmd.ioas_id = ioas;
    cmd.fd = fd;
    cmd.length = length;
    cmd.iova = iova;
    return Call(IOMMU_IOAS_MAP_FILE, &cmd);
  }
  int Unmap(uint32_t ioas, uint64_t iova, uint64_t length) {
    iommu_ioas_unmap cmd = {};
    cmd.ioas_id = ioas;
    cmd.iova = iova;
    cmd.length = length;
    return Call(IOMMU_IOAS_UNMAP, &cmd);
  }
  int Hwpt(uint32_t dev, uint32_t ioas, uint32_t* id, uint32_t flags = 0) {
    iommu_hwpt_alloc cmd = {};
    cmd.flags = flags;
    cmd.dev_id = dev;
    cmd.pt_id = ioas;
    const int rc = Call(IOMMU_HWPT_ALLOC, &cmd);
    *id = cmd.out_hwpt_id;
    return rc;
  }
  int Dirty(uint32_t hwpt, uint64_t iova, uint64_t length, uint64_t bits) {
    iommu_test_cmd cmd = {};
    cmd.op = IOMMU_TEST_OP_DIRTY;
    cmd.id = hwpt;
    cmd.dirty.iova = iova;
    cmd.dirty.length = length;
    cmd.dirty.page_size = MOCK_PAGE_SIZE;
    cmd.dirty.uptr = bits;
    return Call(IOMMU_TEST_CMD, &cmd);
  }
  int DirtyBitmap(uint32_t hwpt, uint64_t iova, uint64_t length,
                  uint64_t bits) {
    iommu_hwpt_get_dirty_bitmap cmd = {};
    cmd.hwpt_id = hwpt;
    cmd.iova = iova;
    cmd.length = length;
    cmd.page_size = MOCK_PAGE_SIZE;
    cmd.data = bits;
    return Call(IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd);
  }
  int TrackDirty(uint32_t hwpt) {
    iommu_hwpt_set_dirty_tracking cmd = {};
    cmd.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
    cmd.hwpt_id = hwpt;
    return Call(IOMMU_HWPT_SET_DIRTY_TRACKING, &cmd);
  }
};

class DmabufTest : public ::testing::TestWithParam<const char*> {
 protected:
  DmabufTest()
      : m_(MockMachine::Options{.revision = GetParam(), .interleave = true}) {
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
  }

  void Run(std::vector<std::function<void(Caller*)>> bodies) {
    std::vector<std::thread> threads;
    for (auto& body : bodies) {
      threads.emplace_back([this, &body] {
        Caller caller(&m_);
        body(&caller);
      });
    }
    for (auto& t : threads) t.join();
    Look(m_).ExpectExplained();
  }

  MockMachine m_;
  uint32_t ioas_ = 0;
  MockMachine::Device dev_;
};

TEST_P(DmabufTest, RevokeAgainstAttachAndUnmap) {
  Caller main(&m_);
  const int fd = main.Get(16 * kPage);
  ASSERT_GE(fd, 0);
  auto mapper = [&](int n) {
    return [&, n](Caller* c) {
      for (int i = 0; i < kRounds; i++) {
        const uint64_t iova = kIova + 32 * n * kPage;
        const int rc = c->Map(ioas_, fd, 16 * kPage, iova);
        EXPECT_TRUE(rc == 0 || rc == -ENODEV) << rc;
        EXPECT_EQ(c->Unmap(ioas_, iova, 16 * kPage), rc == 0 ? 0 : -ENOENT);
      }
    };
  };
  Run({mapper(0), mapper(1),
       [&](Caller* c) {
         for (int i = 0; i < kRounds; i++) {
           uint32_t hwpt = 0;
           EXPECT_EQ(c->Hwpt(dev_.idev, ioas_, &hwpt), 0);
           EXPECT_EQ(c->Destroy(hwpt), 0);
         }
       },
       [&](Caller* c) {
         for (int i = 0; i < 2 * kRounds; i++) {
           EXPECT_EQ(c->Revoke(fd, i & 1), 0);
         }
         EXPECT_EQ(c->Revoke(fd, false), 0);
       }});
  // Perhaps each map above met a revoked buffer; this one does not.
  EXPECT_EQ(main.Map(ioas_, fd, 16 * kPage, kIova), 0);
  EXPECT_EQ(m_.sys().close(fd), 0);
}

// Dirty bits are read without the lock that a revoke holds.
TEST_P(DmabufTest, RevokeAgainstDirtyBitmaps) {
  Caller main(&m_);
  const int fd = main.Get(16 * kPage);
  ASSERT_GE(fd, 0);
  uint32_t hwpt = 0;
  ASSERT_EQ(main.Hwpt(dev_.idev, ioas_, &hwpt, IOMMU_HWPT_ALLOC_DIRTY_TRACKING),
            0);
  ASSERT_EQ(main.TrackDirty(hwpt), 0);
  const uint64_t ones = m_.Anon(kPage), bits = m_.Anon(kPage);
  ASSERT_EQ(m_.Store(ones, UINT32_MAX), 0);
  std::atomic<bool> done{false};
  Run({[&](Caller* c) {
         while (!done) {
           EXPECT_EQ(c->Dirty(hwpt, kIova, 16 * kPage, ones), 0);
           EXPECT_EQ(c->DirtyBitmap(hwpt, kIova, 16 * kPage, bits), 0);
         }
       },
       [&](Caller* c) {
         for (int i = 0; i < kRounds; i++) {
           EXPECT_EQ(c->Map(ioas_, fd, 16 * kPage, kIova), 0);
           EXPECT_EQ(c->Revoke(fd, true), 0);
           EXPECT_EQ(c->Revoke(fd, false), 0);
           EXPECT_EQ(c->Unmap(ioas_, kIova, 16 * kPage), 0);
         }
         done = true;
       }});
  EXPECT_EQ(m_.sys().close(fd), 0);
}

// The last reference goes on any thread: with the descriptor, with a mapping,
// or with the call that is revoking.
TEST_P(DmabufTest, CloseAgainstRevokeAndUnmap) {
  for (int round = 0; round < kRounds; round++) {
    Caller main(&m_);
    const int fd = main.Get(4 * kPage);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(main.Map(ioas_, fd, 4 * kPage, kIova), 0);
    Run({[&](Caller*) { EXPECT_EQ(m_.sys().close(fd), 0); },
         [&](Caller* c) {
           const int rc = c->Revoke(fd, true);
           EXPECT_TRUE(rc == 0 || rc == -EBADF) << rc;
         },
         [&](Caller* c) { EXPECT_EQ(c->Unmap(ioas_, kIova, 4 * kPage), 0); }});
  }
}

// As many descriptors as there can be: what has none is given up.
TEST_P(DmabufTest, NoDescriptorLeft) {
  Caller main(&m_);
  std::vector<int> fds;
  int fd;
  while ((fd = main.Get(kPage)) >= 0) fds.push_back(fd);
  EXPECT_EQ(fd, -EMFILE);
  EXPECT_EQ(main.Get(kPage), -EMFILE);
  for (int used : fds) EXPECT_EQ(m_.sys().close(used), 0);
  fd = main.Get(kPage);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(m_.sys().close(fd), 0);
}

// Another driver's buffer is none that the selftest may revoke or map.
TEST_P(DmabufTest, SomebodyElsesBuffer) {
  static constexpr dma_buf_ops kOps = {.release = [](dma_buf*) {}};
  int fd = -1;
  {
    TaskScope task(m_);
    dma_buf_export_info info;
    info.ops = &kOps;
    info.size = kPage;
    info.priv = &fd;
    auto buf = dma_buf_export(&info);
    ASSERT_TRUE(static_cast<bool>(buf));
    fd = dma_buf_fd(*buf, 0);
  }
  ASSERT_GE(fd, 0);
  Caller main(&m_);
  EXPECT_EQ(main.Revoke(fd, true), -EOPNOTSUPP);
  EXPECT_EQ(main.Map(ioas_, fd, kPage, kIova), -EOPNOTSUPP);
  EXPECT_EQ(main.Map(ioas_, fd, 2 * kPage, kIova), -EINVAL);
  EXPECT_EQ(m_.sys().close(fd), 0);
}

INSTANTIATE_TEST_SUITE_P(Revisions, DmabufTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

}  // namespace
}  // namespace iommulab
