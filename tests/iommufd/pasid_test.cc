// SPDX-License-Identifier: GPL-2.0-or-later
// PASIDs: who holds what because of them, and threads that attach, replace and
// detach them while their devices and tables come and go.
#include <atomic>
#include <cerrno>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

namespace iommulab {
namespace {

mock_machine_options Groups(unsigned int size) {
  mock_machine_options mock;
  mock.group_size = size;
  return mock;
}

// Two devices of one group, with PASIDs, and two tables that fit them.
class PasidTest : public ::testing::TestWithParam<const char*> {
 protected:
  PasidTest()
      : m_(MockMachine::Options{
            .revision = GetParam(), .mock = Groups(4), .interleave = true}) {
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomainFlags(ioas_, MOCK_FLAGS_DEVICE_PASID, &a_), 0);
    EXPECT_EQ(m_.HwptAlloc(a_.idev, ioas_, IOMMU_HWPT_ALLOC_PASID, &s_), 0);
    EXPECT_EQ(m_.HwptAlloc(a_.idev, ioas_, IOMMU_HWPT_ALLOC_PASID, &t_), 0);
    EXPECT_EQ(m_.Replace(a_.stdev, s_), 0);
    EXPECT_EQ(m_.MockDomainFlags(s_, MOCK_FLAGS_DEVICE_PASID, &b_), 0);
  }

  static int Pasid(MockMachine& m, uint32_t op, uint32_t stdev, uint32_t pasid,
                   uint32_t pt) {
    iommu_test_cmd cmd = {};
    cmd.op = op;
    cmd.id = stdev;
    cmd.pasid_attach.pasid = pasid;
    cmd.pasid_attach.pt_id = pt;
    return m.Test(&cmd);
  }
  static int Attach(MockMachine& m, uint32_t stdev, uint32_t pasid,
                    uint32_t pt) {
    return Pasid(m, IOMMU_TEST_OP_PASID_ATTACH, stdev, pasid, pt);
  }
  static int Replace(MockMachine& m, uint32_t stdev, uint32_t pasid,
                     uint32_t pt) {
    return Pasid(m, IOMMU_TEST_OP_PASID_REPLACE, stdev, pasid, pt);
  }
  static int Detach(MockMachine& m, uint32_t stdev, uint32_t pasid) {
    return Pasid(m, IOMMU_TEST_OP_PASID_DETACH, stdev, pasid, 0);
  }
  static int Check(MockMachine& m, uint32_t stdev, uint32_t pasid,
                   uint32_t hwpt) {
    return Pasid(m, IOMMU_TEST_OP_PASID_CHECK_HWPT, stdev, pasid, hwpt);
  }
  static void ExpectOneOf(int rc, const std::set<int>& errors) {
    EXPECT_TRUE(rc == 0 || errors.count(rc)) << rc;
  }

  void OnThreads(const std::vector<std::function<void(MockMachine&)>>& bodies) {
    std::vector<std::thread> threads;
    for (const auto& body : bodies) {
      threads.emplace_back([this, &body] {
        MockMachine view(&m_);
        body(view);
      });
    }
    for (std::thread& t : threads) t.join();
  }

  MockMachine m_;
  uint32_t ioas_ = 0;
  uint32_t s_ = 0, t_ = 0;
  MockMachine::Device a_, b_;
};

INSTANTIATE_TEST_SUITE_P(Revisions, PasidTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

TEST_P(PasidTest, WhoHoldsWhat) {
  // Each device once for itself.
  EXPECT_EQ(Look(m_).Edge(a_.idev, s_, "attach"), 1u);
  EXPECT_EQ(Look(m_).Edge(0, a_.idev, "attached"), 1u);
  ASSERT_EQ(Attach(m_, a_.stdev, 1, s_), 0);
  ASSERT_EQ(Attach(m_, a_.stdev, 2, s_), 0);
  ASSERT_EQ(Attach(m_, b_.stdev, 2, s_), 0);
  {
    Look look(m_);
    look.ExpectExplained();
    EXPECT_EQ(look.Edge(a_.idev, s_, "attach"), 3u);
    EXPECT_EQ(look.Edge(b_.idev, s_, "attach"), 2u);
    EXPECT_EQ(look.Edge(0, a_.idev, "attached"), 3u);
    EXPECT_EQ(look.Users(s_), 1 + 3 + 2u);
  }
  // The group moves as one.
  ASSERT_EQ(Replace(m_, b_.stdev, 2, t_), 0);
  {
    Look look(m_);
    look.ExpectExplained();
    EXPECT_EQ(look.Edge(a_.idev, s_, "attach"), 2u);
    EXPECT_EQ(look.Edge(a_.idev, t_, "attach"), 1u);
    EXPECT_EQ(look.Edge(b_.idev, t_, "attach"), 1u);
  }
  // A failure holds nothing.
  EXPECT_EQ(Attach(m_, b_.stdev, 1, t_), -EINVAL);
  EXPECT_EQ(Attach(m_, b_.stdev, 1u << MOCK_PASID_WIDTH, t_), -EINVAL);
  EXPECT_EQ(Replace(m_, b_.stdev, 1, t_), -EINVAL);
  EXPECT_EQ(Detach(m_, b_.stdev, 1), 0);
  Look(m_).ExpectExplained();
  EXPECT_EQ(m_.Destroy(a_.stdev), 0);
  {
    Look look(m_);
    look.ExpectExplained();
    EXPECT_EQ(look.Users(s_), 2u);
    EXPECT_EQ(look.Users(t_), 2u);
  }
  EXPECT_EQ(m_.Destroy(b_.stdev), 0);
  EXPECT_EQ(m_.Destroy(s_), 0);
  EXPECT_EQ(m_.Destroy(t_), 0);
}

// The answer that does not arrive undoes the attach, but no replacement.
TEST_P(PasidTest, AnAnswerThatDoesNotArrive) {
  for (uint32_t op :
       {IOMMU_TEST_OP_PASID_ATTACH, IOMMU_TEST_OP_PASID_REPLACE}) {
    unsigned int failures = 0;
    for (unsigned int n = 1;; n++) {
      m_.sys().set_fail_nth(n);
      const int rc = Pasid(m_, op, a_.stdev, 7,
                           op == IOMMU_TEST_OP_PASID_ATTACH ? s_ : t_);
      const bool fired = m_.sys().fail_nth() == 0;
      m_.sys().set_fail_nth(0);
      if (!fired) {
        EXPECT_EQ(rc, 0);
        break;
      }
      failures++;
      ExpectOneOf(rc, {-ENOMEM, -EFAULT, -ENOENT, -EINVAL});
      if (op == IOMMU_TEST_OP_PASID_ATTACH) {
        EXPECT_EQ(Check(m_, a_.stdev, 7, 0), 0);
      }
      Look(m_).ExpectExplained();
    }
    EXPECT_GE(failures, 2u);
  }
  EXPECT_EQ(Check(m_, a_.stdev, 7, t_), 0);
}

// The second device refuses, and the first one, which took the new table, has
// no memory to go back to the old one: it is blocked, nothing else.
TEST_P(PasidTest, GoingBackMayFailToo) {
  Cmd fault("FAULT_QUEUE_ALLOC");
  ASSERT_EQ(m_.Ioctl(&fault), 0);
  const uint32_t kFake = 1024;
  bool blocked = false;
  for (unsigned int n = 1; n < 20; n++) {
    Cmd alloc("HWPT_ALLOC");
    alloc.Set("flags", IOMMU_HWPT_ALLOC_PASID | IOMMU_HWPT_FAULT_ID_VALID)
        .Set("dev_id", a_.idev)
        .Set("pt_id", ioas_)
        .Set("fault_id", fault.Get("out_fault_id"));
    ASSERT_EQ(m_.Ioctl(&alloc), 0);
    const uint32_t iopf = alloc.Get("out_hwpt_id");
    // The first refuses once, so that its turn comes when the second's does
    // not.
    ASSERT_EQ(Attach(m_, a_.stdev, kFake, iopf), 0);
    ASSERT_EQ(Replace(m_, a_.stdev, kFake, t_), -ENOMEM);
    m_.sys().take_log();
    m_.sys().set_fail_nth(n);
    const int rc = Replace(m_, a_.stdev, kFake, t_);
    const bool fired = m_.sys().fail_nth() == 0;
    m_.sys().set_fail_nth(0);
    ExpectOneOf(rc, {-ENOMEM, -ENOENT, -EFAULT});
    blocked |= m_.sys().take_log().find("cannot go back") != std::string::npos;
    Look(m_).ExpectExplained();
    EXPECT_EQ(Detach(m_, a_.stdev, kFake), 0);
    EXPECT_EQ(m_.Destroy(iopf), 0);
    if (!fired) break;
  }
  EXPECT_TRUE(blocked);
  EXPECT_EQ(m_.sys().close(static_cast<int>(fault.Get("out_fault_fd"))), 0);
}

TEST_P(PasidTest, AttachReplaceDetach) {
  constexpr int kRounds = 200;
  auto user = [this](uint32_t stdev, uint32_t pt) {
    return [=, this](MockMachine& m) {
      for (int i = 0; i < kRounds; i++) {
        const uint32_t pasid = 1 + i % 3;
        // The other device has another table there.
        ExpectOneOf(Attach(m, stdev, pasid, pt), {-EBUSY, -EINVAL});
        ExpectOneOf(Replace(m, stdev, pasid, i % 2 ? s_ : t_), {-EINVAL});
        const int is_s = Check(m, stdev, pasid, s_);
        ExpectOneOf(is_s, {-EINVAL});
        EXPECT_EQ(Detach(m, stdev, pasid), 0);
      }
    };
  };
  OnThreads({user(a_.stdev, s_), user(a_.stdev, t_), user(b_.stdev, s_),
             user(b_.stdev, t_)});
  for (uint32_t pasid : {1, 2, 3}) {
    EXPECT_EQ(Detach(m_, a_.stdev, pasid), 0);
    EXPECT_EQ(Detach(m_, b_.stdev, pasid), 0);
    EXPECT_EQ(Check(m_, a_.stdev, pasid, 0), 0);
  }
  Look(m_).ExpectExplained();
  EXPECT_EQ(m_.Destroy(t_), 0);
}

// PASIDs against the device's own table, which may not fit them, against
// devices of the group that come and go with theirs, and against DESTROY.
TEST_P(PasidTest, AgainstTheDeviceItself) {
  constexpr int kRounds = 100;
  OnThreads({
      [this](MockMachine& m) {
        for (int i = 0; i < kRounds; i++) {
          // Not while a PASID is attached.
          ExpectOneOf(m.Replace(a_.stdev, ioas_), {-EINVAL});
          ExpectOneOf(m.Replace(a_.stdev, i % 2 ? s_ : t_), {-EINVAL});
        }
      },
      [this](MockMachine& m) {
        for (int i = 0; i < kRounds; i++) {
          // Not while the device has an automatic table.
          ExpectOneOf(Attach(m, b_.stdev, 1, s_), {-EINVAL});
          ExpectOneOf(Replace(m, b_.stdev, 1, t_), {-EINVAL});
          EXPECT_EQ(Detach(m, b_.stdev, 1), 0);
        }
      },
      [this](MockMachine& m) {
        for (int i = 0; i < kRounds; i++) {
          MockMachine::Device c;
          // The group is at one or the other, or at an automatic one.
          int rc =
              m.MockDomainFlags(i % 2 ? s_ : t_, MOCK_FLAGS_DEVICE_PASID, &c);
          ExpectOneOf(rc, {-EINVAL});
          if (rc) continue;
          ExpectOneOf(Attach(m, c.stdev, 1, s_), {-EINVAL});
          ExpectOneOf(Attach(m, c.stdev, 2, t_), {-EINVAL});
          ExpectOneOf(Attach(m, c.stdev, 1024, t_), {-EINVAL, -ENOMEM});
          // A call of another thread may just hold it.
          while ((rc = m.Destroy(c.stdev)) == -EBUSY) std::this_thread::yield();
          EXPECT_EQ(rc, 0);
        }
      },
      [this](MockMachine& m) {
        for (int i = 0; i < kRounds; i++) {
          uint32_t own = 0;
          ASSERT_EQ(m.HwptAlloc(a_.idev, ioas_, IOMMU_HWPT_ALLOC_PASID, &own),
                    0);
          const int rc = Attach(m, a_.stdev, 3, own);
          ExpectOneOf(rc, {-EINVAL});
          if (!rc) {
            EXPECT_EQ(m.Destroy(own), -EBUSY);
            EXPECT_EQ(Check(m, a_.stdev, 3, own), 0);
            EXPECT_EQ(Detach(m, a_.stdev, 3), 0);
          }
          EXPECT_EQ(m.Destroy(own), 0);
        }
      },
  });
  Look(m_).ExpectExplained();
  EXPECT_EQ(m_.Destroy(a_.stdev), 0);
  EXPECT_EQ(m_.Destroy(b_.stdev), 0);
  EXPECT_EQ(m_.Destroy(s_), 0);
  EXPECT_EQ(m_.Destroy(t_), 0);
}

// The same device is told by several threads while it goes.
TEST_P(PasidTest, AgainstTheEndOfTheDevice) {
  constexpr int kRounds = 60;
  for (int i = 0; i < kRounds; i++) {
    MockMachine::Device c;
    ASSERT_EQ(m_.MockDomainFlags(s_, MOCK_FLAGS_DEVICE_PASID, &c), 0);
    OnThreads({
        [&](MockMachine& m) {
          ExpectOneOf(Attach(m, c.stdev, 1, s_), {-ENOENT});
          ExpectOneOf(Replace(m, c.stdev, 1, t_), {-ENOENT, -EINVAL});
        },
        [&](MockMachine& m) {
          ExpectOneOf(Attach(m, c.stdev, 2, t_), {-ENOENT});
          ExpectOneOf(Detach(m, c.stdev, 1), {-ENOENT});
        },
        [&](MockMachine& m) {
          int rc;
          while ((rc = m.Destroy(c.stdev)) == -EBUSY) std::this_thread::yield();
          EXPECT_EQ(rc, 0);
        },
    });
    EXPECT_EQ(Check(m_, a_.stdev, 1, 0), 0);
    EXPECT_EQ(Check(m_, a_.stdev, 2, 0), 0);
  }
  EXPECT_EQ(m_.Destroy(t_), 0);
  Look(m_).ExpectExplained();
}

}  // namespace
}  // namespace iommulab
