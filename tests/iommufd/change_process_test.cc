// SPDX-License-Identifier: GPL-2.0-or-later
// IOAS_CHANGE_PROCESS: who pays for what is pinned, when a second process with
// an address space, a user and limits of its own takes a context over.
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/iommufd/iommufd_private.h"
#include "core/linux/capability.h"
#include "core/linux/file.h"
#include "core/mm/mm.h"
#include "core/mm/vma.h"
#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

namespace iommulab {
namespace {

constexpr uint64_t kAllCaps = ~0ULL;
constexpr uint64_t kNoLock = ~BIT_ULL(CAP_IPC_LOCK);

// Another process on the same kernel, with the same descriptors. Must not go
// before what it pays for.
class Process {
 public:
  Process(MockMachine& m, uint32_t uid, uint64_t caps, uint64_t memlock_pages)
      : task_(Sim(m).kernel(), "second") {
    task_.files = Sim(m).task()->files;
    task_.cred = &cred_;
    task_.rlimit_memlock = memlock_pages * kPage;
    task_scope scope(&task_);
    cred_.uid = uid;
    cred_.caps = caps;
    cred_.user = alloc_uid(task_.kernel, uid);
    task_.mm = arena_mm_alloc(task_.kernel);
    long at = vm_mmap(nullptr, 0, kPage, PROT_READ | PROT_WRITE,
                      MAP_ANONYMOUS | MAP_PRIVATE, 0);
    EXPECT_GT(at, 0);
    at_ = static_cast<uint64_t>(at);
  }
  ~Process() { Exit(); }

  // The address space goes; whoever has a reference keeps what is left.
  void Exit() {
    if (!task_.mm) return;
    task_scope scope(&task_);
    mmput(std::exchange(task_.mm, nullptr));
  }

  int Ioctl(int fd, Cmd* cmd) {
    task_scope scope(&task_);
    EXPECT_EQ(user_out<void>(at_).copy_to_user(cmd->data(), cmd->size()), 0);
    struct file* file = fget(static_cast<unsigned int>(fd));
    const long rc = file->f_op->unlocked_ioctl(
        file, static_cast<unsigned int>(cmd->nr()), at_);
    fput(file);
    EXPECT_EQ(user_in<void>(at_).copy_from_user(cmd->data(), cmd->size()), 0);
    return static_cast<int>(rc);
  }
  int Take(int fd) {
    Cmd cmd("IOAS_CHANGE_PROCESS");
    return Ioctl(fd, &cmd);
  }

  long UserLocked() const { return cred_.user->locked_vm.load(); }
  long Pinned() const { return to_sim_mm(task_.mm)->pinned_vm.load(); }
  long MmLocked() {
    task_scope scope(&task_);
    rwsem_read_guard guard(&to_sim_mm(task_.mm)->mmap_lock);
    return static_cast<long>(to_sim_mm(task_.mm)->locked_vm);
  }
  void SetLimit(uint64_t pages) { task_.rlimit_memlock = pages * kPage; }

 private:
  cred cred_;
  task_struct task_;
  uint64_t at_ = 0;
};

class ChangeProcessTest : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr uint64_t kIova = 0x1000000;
  static constexpr uint64_t kPages = 8;

  ChangeProcessTest() : m_(MockMachine::Options{.revision = GetParam()}) {
    memory_options opts;
    opts.size = kPages * kPage;
    memfd_ = m_.sys().memfd(opts);
    EXPECT_GE(memfd_, 0);
  }
  void TearDown() override {
    if (memfd_ >= 0) {
      EXPECT_EQ(m_.sys().close(memfd_), 0);
    }
    m_.CloseAll();
  }

  // An address space with a device, so that what is mapped is pinned.
  void WithDevice() {
    ASSERT_EQ(m_.IoasAlloc(&ioas_), 0);
    ASSERT_EQ(m_.MockDomain(ioas_, &dev_), 0);
  }
  int MapFile(Process* p, uint32_t ioas, uint64_t iova, uint64_t pages) {
    Cmd cmd("IOAS_MAP_FILE");
    cmd.Set("flags", IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
                         IOMMU_IOAS_MAP_WRITEABLE)
        .Set("ioas_id", ioas)
        .Set("fd", memfd_)
        .Set("length", pages * kPage)
        .Set("iova", iova);
    return p->Ioctl(m_.fd(), &cmd);
  }
  int Copy(uint32_t src, uint32_t dst, uint64_t iova, uint64_t pages) {
    Cmd cmd("IOAS_COPY");
    cmd.Set("flags", IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE)
        .Set("src_ioas_id", src)
        .Set("dst_ioas_id", dst)
        .Set("length", pages * kPage)
        .Set("src_iova", iova)
        .Set("dst_iova", iova);
    return m_.Ioctl(&cmd);
  }
  // Processes account by address space from now on; before any object.
  void AccountByMm() {
    Cmd cmd("OPTION");
    cmd.Set("option_id", IOMMU_OPTION_RLIMIT_MODE)
        .Set("op", IOMMU_OPTION_OP_SET)
        .Set("val64", 1);
    ASSERT_EQ(m_.Ioctl(&cmd), 0);
  }

  MockMachine m_;
  int memfd_ = -1;
  uint32_t ioas_ = 0;
  MockMachine::Device dev_;
};

INSTANTIATE_TEST_SUITE_P(Revisions, ChangeProcessTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

TEST_P(ChangeProcessTest, AnEmptyContextIsTaken) {
  Process b(m_, 2000, kNoLock, 0);
  EXPECT_EQ(b.Take(m_.fd()), 0);
  WithDevice();
  EXPECT_EQ(b.Take(m_.fd()), 0);
}

TEST_P(ChangeProcessTest, TheUserPays) {
  Process a(m_, 1000, kNoLock, kPages), b(m_, 2000, kNoLock, kPages);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  EXPECT_EQ(a.UserLocked(), long{kPages});
  EXPECT_EQ(a.Pinned(), long{kPages});
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(a.UserLocked(), 0);
  EXPECT_EQ(a.Pinned(), 0);
  EXPECT_EQ(b.UserLocked(), long{kPages});
  EXPECT_EQ(b.Pinned(), long{kPages});
  EXPECT_EQ(b.MmLocked(), 0);
  // It is b's already: no second charge.
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(b.UserLocked(), long{kPages});
  // What goes is returned to b.
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPages * kPage), 0);
  EXPECT_EQ(b.UserLocked(), 0);
  EXPECT_EQ(b.Pinned(), 0);
  EXPECT_EQ(a.Pinned(), 0);
  m_.CloseAll();
}

TEST_P(ChangeProcessTest, TheAddressSpacePays) {
  AccountByMm();
  Process a(m_, 1000, kNoLock, kPages), b(m_, 1000, kNoLock, kPages);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  EXPECT_EQ(a.MmLocked(), long{kPages});
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(a.MmLocked(), 0);
  EXPECT_EQ(a.Pinned(), 0);
  EXPECT_EQ(b.MmLocked(), long{kPages});
  EXPECT_EQ(b.Pinned(), long{kPages});
  EXPECT_EQ(b.UserLocked(), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPages * kPage), 0);
  EXPECT_EQ(b.MmLocked(), 0);
  EXPECT_EQ(b.Pinned(), 0);
  m_.CloseAll();
}

// With CAP_IPC_LOCK nobody pays; what is pinned counts all the same. The limit
// and the capabilities of the new process change nothing of that.
TEST_P(ChangeProcessTest, NobodyPays) {
  Process a(m_, 1000, kAllCaps, 0), b(m_, 2000, kNoLock, 0);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  EXPECT_EQ(a.UserLocked(), 0);
  EXPECT_EQ(a.Pinned(), long{kPages});
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(b.UserLocked(), 0);
  EXPECT_EQ(a.Pinned(), 0);
  EXPECT_EQ(b.Pinned(), long{kPages});
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPages * kPage), 0);
  EXPECT_EQ(a.Pinned(), 0);
  EXPECT_EQ(b.Pinned(), 0);
  m_.CloseAll();
}

// Pages that several areas of several address spaces share count once; later
// pins are b's.
TEST_P(ChangeProcessTest, CopiesCountOnce) {
  Process a(m_, 1000, kNoLock, kPages), b(m_, 2000, kNoLock, kPages);
  WithDevice();
  uint32_t second = 0, third = 0;
  ASSERT_EQ(m_.IoasAlloc(&second), 0);
  ASSERT_EQ(m_.IoasAlloc(&third), 0);
  ASSERT_EQ(MapFile(&a, third, kIova, kPages), 0);
  // The device reaches the half of it.
  ASSERT_EQ(Copy(third, ioas_, kIova, kPages / 2), 0);
  ASSERT_EQ(Copy(third, second, kIova, kPages), 0);
  EXPECT_EQ(a.UserLocked(), long{kPages / 2});
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(a.UserLocked(), 0);
  EXPECT_EQ(b.UserLocked(), long{kPages / 2});
  // The rest of it, by a call of the first process.
  MockMachine::Device dev;
  ASSERT_EQ(m_.MockDomain(second, &dev), 0);
  EXPECT_EQ(a.UserLocked(), 0);
  EXPECT_EQ(b.UserLocked(), long{kPages});
  EXPECT_EQ(m_.Destroy(dev.stdev), 0);
  EXPECT_EQ(b.UserLocked(), long{kPages / 2});
  m_.CloseAll();
  EXPECT_EQ(b.UserLocked(), 0);
}

// The limit is the new process's: what fits to the page, and one page less.
TEST_P(ChangeProcessTest, OverTheLimitNothingChanges) {
  for (bool by_mm : {false, true}) {
    if (by_mm) {
      m_.CloseAll();
      m_.Open();
      AccountByMm();
    }
    Process a(m_, 1000, kNoLock, kPages), b(m_, 2000, kNoLock, kPages - 1);
    WithDevice();
    ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
    EXPECT_EQ(b.Take(m_.fd()), -ENOMEM);
    EXPECT_EQ(by_mm ? a.MmLocked() : a.UserLocked(), long{kPages});
    EXPECT_EQ(a.Pinned(), long{kPages});
    EXPECT_EQ(b.MmLocked() + b.UserLocked() + b.Pinned(), 0);
    b.SetLimit(kPages);
    EXPECT_EQ(b.Take(m_.fd()), 0);
    EXPECT_EQ(a.MmLocked() + a.UserLocked() + a.Pinned(), 0);
    EXPECT_EQ(m_.Unmap(ioas_, kIova, kPages * kPage), 0);
    m_.CloseAll();
    m_.Open();
  }
}

// A user has room for both processes' share until the old one is returned.
TEST_P(ChangeProcessTest, TheSameUserNeedsRoomForBoth) {
  Process a(m_, 1000, kNoLock, kPages), b(m_, 1000, kNoLock, 2 * kPages - 1);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  EXPECT_EQ(b.Take(m_.fd()), -ENOMEM);
  EXPECT_EQ(a.UserLocked(), long{kPages});
  b.SetLimit(2 * kPages);
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(a.UserLocked(), long{kPages});
  EXPECT_EQ(a.Pinned(), 0);
  EXPECT_EQ(b.Pinned(), long{kPages});
  m_.CloseAll();
}

// What is charged first is taken back when the rest does not fit.
TEST_P(ChangeProcessTest, AFailureTakesBackWhatWasCharged) {
  Process free(m_, 0, kAllCaps, 0), a(m_, 1000, kNoLock, kPages),
      b(m_, 2000, kNoLock, 0);
  WithDevice();
  ASSERT_EQ(MapFile(&free, ioas_, kIova, kPages), 0);
  ASSERT_EQ(MapFile(&a, ioas_, 2 * kIova, 1), 0);
  EXPECT_EQ(b.Take(m_.fd()), -ENOMEM);
  EXPECT_EQ(b.Pinned(), 0);
  EXPECT_EQ(free.Pinned(), long{kPages});
  EXPECT_EQ(a.Pinned(), 1);
  b.SetLimit(1);
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(b.Pinned(), long{kPages + 1});
  EXPECT_EQ(b.UserLocked(), 1);
  EXPECT_EQ(free.Pinned() + a.Pinned(), 0);
  m_.CloseAll();
}

TEST_P(ChangeProcessTest, MemoryByAddressStaysItsProcess) {
  Process a(m_, 1000, kNoLock, kPages), b(m_, 2000, kNoLock, kPages);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  const uint64_t buf = m_.Anon(kPage);
  uint32_t other = 0;
  ASSERT_EQ(m_.IoasAlloc(&other), 0);
  ASSERT_EQ(m_.MapFixed(other, buf, kPage, kIova), 0);
  EXPECT_EQ(b.Take(m_.fd()), -EINVAL);
  EXPECT_EQ(a.UserLocked(), long{kPages});
  ASSERT_EQ(m_.Unmap(other, kIova, kPage), 0);
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(b.UserLocked(), long{kPages});
  m_.CloseAll();
}

// An area without pages is being filled or emptied. Which comes before what
// kind the others are.
TEST_P(ChangeProcessTest, AnAreaOnItsWayIsBusy) {
  Process a(m_, 1000, kNoLock, kPages), b(m_, 2000, kNoLock, kPages);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  const uint64_t buf = m_.Anon(kPage);
  ASSERT_EQ(m_.MapFixed(ioas_, buf, kPage, 2 * kIova), 0);
  struct iopt_area* area = nullptr;
  struct iopt_pages* pages = nullptr;
  struct iommufd_ctx* ictx = nullptr;
  {
    TaskScope task(m_);
    ictx = *iommufd_ctx_from_fd(m_.fd());
    auto ioas = iommufd_get_ioas(ictx, ioas_);
    rwsem_write_guard guard(&ioas->iopt.iova_rwsem);
    area = iopt_area_iter_first(&ioas->iopt, kIova, kIova);
    pages = std::exchange(area->pages, nullptr);
  }
  EXPECT_EQ(b.Take(m_.fd()), -EBUSY);
  {
    TaskScope task(m_);
    auto ioas = iommufd_get_ioas(ictx, ioas_);
    {
      rwsem_write_guard guard(&ioas->iopt.iova_rwsem);
      area->pages = pages;
    }
    iommufd_ctx_put(ictx);
  }
  EXPECT_EQ(b.Take(m_.fd()), -EINVAL);
  EXPECT_EQ(a.UserLocked(), long{kPages});
  m_.CloseAll();
}

// A process that is gone is not owed anything.
TEST_P(ChangeProcessTest, FromAProcessThatIsGone) {
  for (bool by_mm : {false, true}) {
    if (by_mm) AccountByMm();
    Process a(m_, 1000, kNoLock, kPages), b(m_, 2000, kNoLock, kPages);
    WithDevice();
    ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
    a.Exit();
    EXPECT_EQ(b.Take(m_.fd()), 0);
    EXPECT_EQ(a.UserLocked(), 0);
    EXPECT_EQ(by_mm ? b.MmLocked() : b.UserLocked(), long{kPages});
    EXPECT_EQ(m_.Unmap(ioas_, kIova, kPages * kPage), 0);
    EXPECT_EQ(b.MmLocked() + b.UserLocked() + b.Pinned(), 0);
    m_.CloseAll();
    m_.Open();
  }
}

// More address spaces than a task may hold locks of different classes.
TEST_P(ChangeProcessTest, AnyNumberOfAddressSpaces) {
  Process a(m_, 1000, kNoLock, kPages), b(m_, 2000, kNoLock, kPages);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, 1), 0);
  for (int i = 0; i < 200; i++) {
    uint32_t ioas = 0;
    ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  }
  EXPECT_EQ(b.Take(m_.fd()), 0);
  EXPECT_EQ(b.UserLocked(), 1);
  m_.CloseAll();
}

// No memory for the list of address spaces: nothing has changed, nothing is
// held.
TEST_P(ChangeProcessTest, WithoutMemoryNothingChanges) {
  Process a(m_, 1000, kNoLock, kPages);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  unsigned int failures = 0;
  for (unsigned int n = 1;; n++) {
    m_.sys().set_fail_nth(n);
    Cmd cmd("IOAS_CHANGE_PROCESS");
    const int rc = m_.Ioctl(&cmd);
    const bool fired = m_.sys().fail_nth() == 0;
    m_.sys().set_fail_nth(0);
    if (!fired) {
      EXPECT_EQ(rc, 0);
      break;
    }
    EXPECT_TRUE(rc == -ENOMEM || rc == -EFAULT) << rc;
    EXPECT_EQ(a.UserLocked(), long{kPages});
    failures++;
  }
  EXPECT_GE(failures, 2u);
  EXPECT_EQ(a.UserLocked(), 0);
  m_.CloseAll();
}

// Both take it from each other while it is mapped, copied, unmapped, pinned
// and destroyed: at each end one pays for all that is pinned.
TEST_P(ChangeProcessTest, Threads) {
  constexpr int kRounds = 200;
  Process a(m_, 1000, kNoLock, 1 << 20), b(m_, 2000, kNoLock, 1 << 20);
  WithDevice();
  ASSERT_EQ(MapFile(&a, ioas_, kIova, kPages), 0);
  const std::vector<std::function<void(MockMachine&)>> bodies = {
      [&](MockMachine& m) {
        for (int i = 0; i < kRounds; i++) {
          int rc = a.Take(m.fd());
          EXPECT_TRUE(rc == 0 || rc == -EBUSY) << rc;
        }
      },
      [&](MockMachine& m) {
        for (int i = 0; i < kRounds; i++) {
          int rc = b.Take(m.fd());
          EXPECT_TRUE(rc == 0 || rc == -EBUSY) << rc;
        }
      },
      [&](MockMachine& m) {
        // Address spaces come and go, with pages of the first one.
        for (int i = 0; i < kRounds / 2; i++) {
          uint32_t ioas = 0;
          ASSERT_EQ(m.IoasAlloc(&ioas), 0);
          Cmd cmd("IOAS_COPY");
          cmd.Set("flags", IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE)
              .Set("src_ioas_id", ioas_)
              .Set("dst_ioas_id", ioas)
              .Set("length", kPages * kPage)
              .Set("src_iova", kIova)
              .Set("dst_iova", kIova);
          EXPECT_EQ(m.Ioctl(&cmd), 0);
          int rc;
          while ((rc = m.Destroy(ioas)) == -EBUSY) std::this_thread::yield();
          EXPECT_EQ(rc, 0);
        }
      },
      [&](MockMachine& m) {
        for (int i = 0; i < kRounds / 2; i++) {
          Cmd cmd("IOAS_COPY");
          cmd.Set("flags", IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE)
              .Set("src_ioas_id", ioas_)
              .Set("dst_ioas_id", ioas_)
              .Set("length", kPages * kPage)
              .Set("src_iova", kIova)
              .Set("dst_iova", 2 * kIova);
          EXPECT_EQ(m.Ioctl(&cmd), 0);
          EXPECT_EQ(m.Unmap(ioas_, 2 * kIova, kPages * kPage), 0);
          MockMachine::Device dev;
          ASSERT_EQ(m.MockDomain(ioas_, &dev), 0);
          EXPECT_EQ(m.Destroy(dev.stdev), 0);
        }
      },
  };
  std::vector<std::thread> threads;
  for (const auto& body : bodies) {
    threads.emplace_back([&, this] {
      MockMachine view(&m_);
      body(view);
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(a.UserLocked() + b.UserLocked(), long{kPages});
  EXPECT_EQ(a.Pinned() + b.Pinned(), long{kPages});
  EXPECT_EQ(a.UserLocked(), a.Pinned());
  m_.CloseAll();
  EXPECT_EQ(a.UserLocked() + b.UserLocked() + a.Pinned() + b.Pinned(), 0);
}

}  // namespace
}  // namespace iommulab
