// SPDX-License-Identifier: GPL-2.0-or-later
// Threads on one file descriptor. Each test is bounded and says what must hold
// whoever wins; residue and WARNs are looked at when the machine goes.
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

namespace iommulab {
namespace {

constexpr int kRounds = 300;

class ConcurrencyTest : public IommufdTest {
 protected:
  class Caller : public CommandCaller {
   public:
    explicit Caller(ConcurrencyTest* t) : CommandCaller(&t->m_) {}
    int Queue(uint32_t viommu, uint32_t index, uint32_t* id) {
      iommu_vcmdq_alloc cmd = {};
      cmd.viommu_id = viommu;
      cmd.type = IOMMU_VCMDQ_TYPE_SELFTEST;
      cmd.index = index;
      cmd.addr = kIova;
      cmd.length = kPage;
      int rc = Call(IOMMU_VCMDQ_ALLOC, &cmd);
      *id = cmd.out_vcmdq_id;
      return rc;
    }
    int Vdevice(uint32_t viommu, uint32_t dev, uint64_t virt_id, uint32_t* id) {
      iommu_vdevice_alloc cmd = {};
      cmd.viommu_id = viommu;
      cmd.dev_id = dev;
      cmd.virt_id = virt_id;
      int rc = Call(IOMMU_VDEVICE_ALLOC, &cmd);
      *id = cmd.out_vdevice_id;
      return rc;
    }
    int Viommu(uint32_t dev, uint32_t hwpt, uint32_t* id) {
      iommu_viommu_alloc cmd = {};
      cmd.type = IOMMU_VIOMMU_TYPE_SELFTEST;
      cmd.dev_id = dev;
      cmd.hwpt_id = hwpt;
      int rc = Call(IOMMU_VIOMMU_ALLOC, &cmd);
      *id = cmd.out_viommu_id;
      return rc;
    }
  };

  void Run(std::vector<std::function<void(Caller*)>> bodies) {
    std::vector<std::thread> threads;
    for (auto& body : bodies) {
      threads.emplace_back([this, &body] {
        Caller caller(this);
        body(&caller);
      });
    }
    for (auto& t : threads) t.join();
  }
};

TEST_P(ConcurrencyTest, AllocAndDestroyOfEverybodysIds) {
  auto body = [&](Caller* c) {
    for (int i = 0; i < kRounds; i++) {
      iommu_ioas_alloc cmd = {};
      EXPECT_EQ(c->Call(IOMMU_IOAS_ALLOC, &cmd), 0);
      // Its own, and one that is likely another thread's.
      int rc = c->Destroy(cmd.out_ioas_id ^ 1);
      EXPECT_TRUE(rc == 0 || rc == -ENOENT || rc == -EBUSY) << rc;
      rc = c->Destroy(cmd.out_ioas_id);
      EXPECT_TRUE(rc == 0 || rc == -ENOENT || rc == -EBUSY) << rc;
    }
  };
  Run({body, body, body});
}

TEST_P(ConcurrencyTest, QueuesComeAndGo) {
  uint32_t viommu = Viommu();
  auto body = [&](Caller* c) {
    for (int i = 0; i < kRounds; i++) {
      uint32_t id = 0;
      int rc = c->Queue(viommu, i & 1, &id);
      EXPECT_TRUE(rc == 0 || rc == -EEXIST || rc == -EIO || rc == -EBUSY) << rc;
      if (rc) continue;
      do {
        rc = c->Destroy(id);
      } while (rc == -EBUSY);
      EXPECT_EQ(rc, 0);
    }
  };
  Run({body, body, body});
  EXPECT_EQ(Look(m_)->pins.size(), 0u);
}

TEST_P(ConcurrencyTest, UnmapAgainstQueues) {
  uint32_t viommu = Viommu();
  uint64_t more = m_.Anon(kPage);
  const uint64_t kMore = kIova + kBufPages * kPage;
  Run({[&](Caller* c) {
         for (int i = 0; i < kRounds; i++) {
           uint32_t id = 0;
           EXPECT_EQ(c->Queue(viommu, 0, &id), 0);
           EXPECT_EQ(c->Destroy(id), 0);
         }
       },
       [&](Caller* c) {
         for (int i = 0; i < kRounds; i++) {
           iommu_ioas_map map = {};
           map.ioas_id = ioas_;
           map.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE;
           map.user_va = more;
           map.length = kPage;
           map.iova = kMore;
           EXPECT_EQ(c->Call(IOMMU_IOAS_MAP, &map), 0);
           // Past the queue's area: it begins below, so not all of it.
           iommu_ioas_unmap unmap = {};
           unmap.ioas_id = ioas_;
           unmap.iova = kMore;
           unmap.length = kPage;
           EXPECT_EQ(c->Call(IOMMU_IOAS_UNMAP, &unmap), 0);
         }
       }});
}

TEST_P(ConcurrencyTest, VdevicesOfOneDevice) {
  uint32_t viommu = Viommu();
  auto body = [&](Caller* c) {
    for (int i = 0; i < kRounds; i++) {
      uint32_t id = 0;
      int rc = c->Vdevice(viommu, dev_.idev, 5, &id);
      EXPECT_TRUE(rc == 0 || rc == -EEXIST) << rc;
      if (!rc) {
        EXPECT_EQ(c->Destroy(id), 0);
      }
    }
  };
  Run({body, body, body});
  EXPECT_EQ(Look(m_).WaitCnt(dev_.idev), 1u);
}

TEST_P(ConcurrencyTest, TheDeviceGoesUnderItsVdevices) {
  uint32_t viommu = Viommu();
  for (int i = 0; i < 40; i++) {
    MockMachine::Device dev;
    ASSERT_EQ(m_.MockDomain(ioas_, &dev), 0);
    std::atomic<bool> gone{false};
    auto use = [&](Caller* c) {
      while (!gone) {
        uint32_t id = 0;
        int rc = c->Vdevice(viommu, dev.idev, 100 + i, &id);
        EXPECT_TRUE(rc == 0 || rc == -EEXIST || rc == -ENOENT) << rc;
        if (rc) continue;
        rc = c->Destroy(id);
        EXPECT_TRUE(rc == 0 || rc == -ENOENT || rc == -EBUSY) << rc;
        // (-EBUSY: the device takes it along right now.)
      }
    };
    Run({use, use, [&](Caller* c) {
           int rc;
           // A vDEVICE's call may hold the binding for a moment.
           do {
             rc = c->Destroy(dev.stdev);
           } while (rc == -EBUSY);
           EXPECT_EQ(rc, 0);
           gone = true;
         }});
    EXPECT_EQ(Look(m_).Find(dev.idev), nullptr);
  }
}

TEST_P(ConcurrencyTest, MmapAgainstDestroy) {
  for (int i = 0; i < 60; i++) {
    uint64_t offset = 0, length = 0;
    uint32_t viommu = ViommuWithPage(&offset, &length);
    std::atomic<bool> gone{false};
    auto map = [&](Caller*) {
      while (!gone) {
        uint64_t at = m_.sys().mmap(0, length, 3, 1, m_.fd(), offset);
        if (is_error(at)) {
          EXPECT_EQ(static_cast<int64_t>(at), -ENXIO);
          continue;
        }
        // While it is mapped the page is the vIOMMU's.
        uint32_t word = 0;
        EXPECT_EQ(m_.sys().load(at, &word, sizeof(word)), 0);
        EXPECT_EQ(word, 0x1234u);
        EXPECT_EQ(m_.sys().munmap(at, length), 0);
        if (i % 2) std::this_thread::yield();
      }
    };
    Run({map, [&](Caller* c) {
           int rc;
           do {
             rc = c->Destroy(viommu);
           } while (rc == -EBUSY);
           EXPECT_EQ(rc, 0);
           gone = true;
         }});
  }
}

TEST_P(ConcurrencyTest, AttachAndHwptAlloc) {
  auto replace = [&](Caller* c) {
    for (int i = 0; i < kRounds; i++) {
      iommu_test_cmd cmd = {};
      cmd.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE;
      cmd.id = dev_.stdev;
      cmd.mock_domain_replace.pt_id = i & 1 ? ioas_ : parent_;
      EXPECT_EQ(c->Call(IOMMU_TEST_CMD, &cmd), 0);
    }
  };
  auto alloc = [&](Caller* c) {
    for (int i = 0; i < kRounds; i++) {
      iommu_hwpt_alloc cmd = {};
      cmd.dev_id = dev_.idev;
      cmd.pt_id = ioas_;
      EXPECT_EQ(c->Call(IOMMU_HWPT_ALLOC, &cmd), 0);
      EXPECT_EQ(c->Destroy(cmd.out_hwpt_id), 0);
    }
  };
  Run({replace, alloc, alloc});
}

TEST_P(ConcurrencyTest, LookingDoesNotDisturb) {
  uint32_t viommu = Viommu();
  std::atomic<bool> done{false};
  std::thread looker([&] {
    while (!done) {
      iommufd_snapshot s;
      TaskScope task(m_);
      EXPECT_EQ(iommufd_snapshot_fd(m_.fd(), &s), 0);
    }
  });
  Run({[&](Caller* c) {
    for (int i = 0; i < kRounds; i++) {
      uint32_t q = 0, v = 0;
      EXPECT_EQ(c->Queue(viommu, 0, &q), 0);
      EXPECT_EQ(c->Vdevice(viommu, dev_.idev, 3, &v), 0);
      int rc;
      // As with any call on the object, DESTROY may find it held.
      do {
        rc = c->Destroy(q);
      } while (rc == -EBUSY);
      EXPECT_EQ(rc, 0);
      do {
        rc = c->Destroy(v);
      } while (rc == -EBUSY);
      EXPECT_EQ(rc, 0);
    }
  }});
  done = true;
  looker.join();
}

INSTANTIATE_TEST_SUITE_P(Revisions, ConcurrencyTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

}  // namespace
}  // namespace iommulab
