// SPDX-License-Identifier: GPL-2.0-or-later
// VFIO's container on an iommufd: what a kernel driver does with it, and
// threads. What a program can show is in tests/prog/vfio_*.prog.
#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"
#include "uapi/vfio.h"

// Last: kernel headers define common words as macros.
#include "core/iommu/iommufd.h"
#include "core/linux/capability.h"

namespace iommulab {
namespace {

constexpr uint64_t kIova = 0x1000000;

class Caller : public ThreadCaller {
 public:
  using ThreadCaller::ThreadCaller;

  int Ioas(uint16_t op, uint32_t* id) {
    Cmd cmd("VFIO_IOAS");
    cmd.Set("ioas_id", *id).Set("op", op);
    const int rc = Call(&cmd);
    *id = cmd.Get("ioas_id");
    return rc;
  }
  int Set(uint32_t id) { return Ioas(IOMMU_VFIO_IOAS_SET, &id); }
  int Get(uint32_t* id) { return Ioas(IOMMU_VFIO_IOAS_GET, id); }
  int Clear() {
    uint32_t id = 0;
    return Ioas(IOMMU_VFIO_IOAS_CLEAR, &id);
  }
  int Map(uint64_t va, uint64_t iova, uint64_t size) {
    vfio_iommu_type1_dma_map cmd = {};
    cmd.argsz = sizeof(cmd);
    cmd.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    cmd.vaddr = va;
    cmd.iova = iova;
    cmd.size = size;
    return Call(VFIO_IOMMU_MAP_DMA, &cmd);
  }
  int Unmap(uint64_t iova, uint64_t size, uint64_t* unmapped) {
    vfio_iommu_type1_dma_unmap cmd = {};
    cmd.argsz = sizeof(cmd);
    cmd.iova = iova;
    cmd.size = size;
    const int rc = Call(VFIO_IOMMU_UNMAP_DMA, &cmd);
    if (rc == 0) *unmapped = cmd.size;
    return rc;
  }
  int UnmapAll(uint64_t* unmapped) {
    vfio_iommu_type1_dma_unmap cmd = {};
    cmd.argsz = sizeof(cmd);
    cmd.flags = VFIO_DMA_UNMAP_FLAG_ALL;
    const int rc = Call(VFIO_IOMMU_UNMAP_DMA, &cmd);
    if (rc == 0) *unmapped = cmd.size;
    return rc;
  }
  int Info() {
    vfio_iommu_type1_info cmd = {};
    cmd.argsz = sizeof(cmd);
    return Call(VFIO_IOMMU_GET_INFO, &cmd);
  }
  int Destroy(uint32_t id) {
    Cmd cmd("DESTROY");
    cmd.Set("id", id);
    return Call(&cmd);
  }
  int IoasAlloc(uint32_t* id) {
    Cmd cmd("IOAS_ALLOC");
    const int rc = Call(&cmd);
    *id = cmd.Get("out_ioas_id");
    return rc;
  }
  long Value(unsigned long nr, uint64_t value) {
    return m_->sys().ioctl(m_->fd(), nr, value);
  }
};

class VfioCompatTest : public ::testing::TestWithParam<const char*> {
 protected:
  VfioCompatTest()
      : m_(MockMachine::Options{.revision = GetParam(), .interleave = true}) {}

  // A driver's call on the context.
  template <class F>
  int Driver(F f) {
    TaskScope task(m_);
    auto ictx = iommufd_ctx_from_fd(m_.fd());
    EXPECT_TRUE(static_cast<bool>(ictx));
    const int rc = f(*ictx);
    iommufd_ctx_put(*ictx);
    return rc;
  }
  int Create() {
    return Driver(
        [](iommufd_ctx* c) { return iommufd_vfio_compat_ioas_create(c); });
  }
  int GetId(uint32_t* id) {
    return Driver([id](iommufd_ctx* c) {
      return iommufd_vfio_compat_ioas_get_id(c, id);
    });
  }
  int NoIommu() {
    return Driver(
        [](iommufd_ctx* c) { return iommufd_vfio_compat_set_no_iommu(c); });
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
};

TEST_P(VfioCompatTest, ADriverMakesTheIoasOnce) {
  uint32_t id = 0, again = 0, user = 0;
  EXPECT_EQ(GetId(&id), -ENODEV);
  ASSERT_EQ(Create(), 0);
  ASSERT_EQ(GetId(&id), 0);
  EXPECT_EQ(id, 1u);
  EXPECT_EQ(Look(m_)->vfio_ioas, id);
  ASSERT_EQ(Create(), 0);
  ASSERT_EQ(GetId(&again), 0);
  EXPECT_EQ(again, id);
  EXPECT_EQ(Look(m_)->objects.size(), 1u);
  // A program finds it, and may take it away like its own.
  {
    Caller c(&m_);
    EXPECT_EQ(c.Get(&user), 0);
    EXPECT_EQ(user, id);
    EXPECT_EQ(c.Destroy(id), 0);
  }
  EXPECT_EQ(Look(m_)->vfio_ioas, 0u);
  EXPECT_EQ(GetId(&id), -ENODEV);
  ASSERT_EQ(Create(), 0);
  EXPECT_EQ(GetId(&id), 0);
}

TEST_P(VfioCompatTest, TheProgramsChoiceServesTheDriver) {
  uint32_t ioas = 0, id = 0;
  ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  {
    Caller c(&m_);
    ASSERT_EQ(c.Set(ioas), 0);
  }
  ASSERT_EQ(Create(), 0);
  ASSERT_EQ(GetId(&id), 0);
  EXPECT_EQ(id, ioas);
  EXPECT_EQ(Look(m_)->objects.size(), 1u);
}

TEST_P(VfioCompatTest, FailedCreationLeavesNothing) {
  Sim(m_).set_fail_nth(1);
  EXPECT_EQ(Create(), -ENOMEM);
  EXPECT_EQ(Sim(m_).fail_nth(), 0u);
  Sim(m_).set_fail_nth(0);
  EXPECT_EQ(Look(m_)->objects.size(), 0u);
  EXPECT_EQ(Look(m_)->vfio_ioas, 0u);
  EXPECT_EQ(Create(), 0);
}

TEST_P(VfioCompatTest, WithoutAnIommu) {
  Caller c(&m_);
  uint32_t id = 0;
  EXPECT_EQ(c.Value(VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU), 1);
  ASSERT_EQ(NoIommu(), 0);
  EXPECT_EQ(NoIommu(), 0);
  for (unsigned type : {VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, VFIO_UNMAP_ALL}) {
    EXPECT_EQ(c.Value(VFIO_CHECK_EXTENSION, type), 0) << type;
  }
  EXPECT_EQ(c.Value(VFIO_CHECK_EXTENSION, VFIO_NOIOMMU_IOMMU), 1);
  EXPECT_EQ(c.Value(VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU), 0);
  EXPECT_EQ(c.Value(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), -EINVAL);
  EXPECT_EQ(c.Value(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), -EINVAL);
  EXPECT_EQ(Create(), -EINVAL);
  EXPECT_EQ(GetId(&id), -ENODEV);
  EXPECT_EQ(Look(m_)->objects.size(), 0u);
  // All else fails for want of an IOAS, unless the program brings one.
  EXPECT_EQ(c.Map(m_.Anon(kPage), kIova, kPage), -ENODEV);
  ASSERT_EQ(m_.IoasAlloc(&id), 0);
  ASSERT_EQ(c.Set(id), 0);
  EXPECT_EQ(c.Map(m_.Anon(kPage), kIova, kPage), 0);
  EXPECT_EQ(NoIommu(), -EINVAL);
  // It takes a right to let a program do DMA with raw addresses.
  ASSERT_EQ(Sim(m_).set_credentials(0, ~(uint64_t{1} << CAP_SYS_RAWIO)), 0);
  EXPECT_EQ(c.Value(VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU), -EPERM);
  EXPECT_EQ(c.Value(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), -EINVAL);
  ASSERT_EQ(Sim(m_).set_credentials(0, ~uint64_t{0}), 0);
}

TEST_P(VfioCompatTest, AnIoasKeepsNoIommuAway) {
  ASSERT_EQ(Create(), 0);
  EXPECT_EQ(NoIommu(), -EINVAL);
  Caller c(&m_);
  EXPECT_EQ(c.Clear(), 0);
  EXPECT_EQ(NoIommu(), 0);
}

// ---- threads ----

constexpr int kRounds = 300;

// Whoever maps or unmaps does so in one of the two, whole, or finds none.
TEST_P(VfioCompatTest, MapAndUnmapAgainstSetAndClear) {
  uint32_t ioas[2];
  MockMachine::Device dev;
  const uint64_t buf = m_.Anon(16 * kPage);
  for (uint32_t& id : ioas) {
    ASSERT_EQ(m_.IoasAlloc(&id), 0);
    ASSERT_EQ(m_.MockDomain(id, &dev), 0);
  }
  std::atomic<uint64_t> mapped{0}, unmapped{0};
  auto mapper = [&](int n) {
    return [&, n](Caller* c) {
      for (int i = 0; i < kRounds; i++) {
        const uint64_t iova = kIova + 4 * n * kPage;
        int rc = c->Map(buf, iova, 2 * kPage);
        EXPECT_TRUE(rc == 0 || rc == -ENODEV || rc == -EEXIST) << rc;
        if (rc == 0) mapped += 2 * kPage;
        uint64_t bytes = 0;
        rc = c->Unmap(iova, 2 * kPage, &bytes);
        EXPECT_TRUE(rc == 0 || rc == -ENODEV || rc == -EBUSY) << rc;
        EXPECT_EQ(bytes % (2 * kPage), 0u);
        unmapped += bytes;
        rc = c->Info();
        EXPECT_TRUE(rc == 0 || rc == -ENODEV) << rc;
      }
    };
  };
  Run({mapper(0), mapper(1), [&](Caller* c) {
         for (int i = 0; i < 2 * kRounds; i++) {
           EXPECT_EQ(c->Set(ioas[i & 1]), 0);
           if (i % 3 == 0) {
             EXPECT_EQ(c->Clear(), 0);
           }
           uint32_t id = 0;
           const int rc = c->Get(&id);
           EXPECT_TRUE(rc == 0 ? id == ioas[i & 1] : rc == -ENODEV) << rc;
         }
       }});
  // What is left in both is what was not unmapped.
  Caller c(&m_);
  for (uint32_t id : ioas) {
    uint64_t bytes = 0;
    ASSERT_EQ(c.Set(id), 0);
    ASSERT_EQ(c.UnmapAll(&bytes), 0);
    unmapped += bytes;
  }
  EXPECT_EQ(mapped, unmapped);
  EXPECT_EQ(m_.CheckRefs(buf, 2 * kPage, 0), 0);
}

// The IOAS is destroyed under the calls, made anew, chosen again.
TEST_P(VfioCompatTest, CallsAgainstDestroyOfTheIoas) {
  const uint64_t buf = m_.Anon(kPage);
  std::atomic<bool> done{false};
  auto user = [&](Caller* c) {
    while (!done) {
      uint64_t bytes = 0;
      uint32_t id = 0;
      int rc = c->Map(buf, kIova, kPage);
      EXPECT_TRUE(rc == 0 || rc == -ENODEV || rc == -EEXIST) << rc;
      rc = c->UnmapAll(&bytes);
      EXPECT_TRUE(rc == 0 || rc == -ENODEV || rc == -EBUSY) << rc;
      rc = c->Get(&id);
      EXPECT_TRUE(rc == 0 || rc == -ENODEV) << rc;
      rc = static_cast<int>(c->Value(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
      EXPECT_TRUE(rc == 0 || rc == -ENODEV) << rc;
      rc = static_cast<int>(c->Value(VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU));
      EXPECT_TRUE(rc == 1 || rc == -ENODEV) << rc;
    }
  };
  Run({user, user, [&](Caller* c) {
         for (int i = 0; i < kRounds; i++) {
           uint32_t id = 0;
           EXPECT_EQ(c->IoasAlloc(&id), 0);
           EXPECT_EQ(c->Set(id), 0);
           int rc;
           do {
             rc = c->Destroy(id);
           } while (rc == -EBUSY);
           EXPECT_EQ(rc, 0);
         }
         done = true;
       }});
  EXPECT_EQ(Look(m_)->objects.size(), 0u);
  EXPECT_EQ(Look(m_)->vfio_ioas, 0u);
}

// Several groups are attached at once: one IOAS for all of them.
TEST_P(VfioCompatTest, DriversMakeOneIoasTogether) {
  for (int round = 0; round < 50; round++) {
    auto driver = [&](Caller*) {
      uint32_t id = 0;
      EXPECT_EQ(Create(), 0);
      EXPECT_EQ(GetId(&id), 0);
    };
    Run({driver, driver, driver});
    uint32_t id = 0;
    ASSERT_EQ(GetId(&id), 0);
    EXPECT_EQ(Look(m_)->objects.size(), 1u);
    Caller c(&m_);
    EXPECT_EQ(c.Destroy(id), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Revisions, VfioCompatTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

}  // namespace
}  // namespace iommulab
