// SPDX-License-Identifier: GPL-2.0-or-later
//
// The surface on a kernel of one's own. Without a driver: what IOAS_ALLOC,
// IOAS_MAP and DESTROY do needs none.
#include "core/sim_syscalls.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/linux/printk.h"
#include "core/linux/workqueue.h"
#include "core/mm/vma.h"
#include "gtest/gtest.h"
#include "tests/util/cmd.h"
#include "uapi/iommufd.h"

namespace {

using iommulab::Cmd;

constexpr size_t kPage = 4096;

std::unique_ptr<sim_syscalls> Create(const sim_options& opts = {}) {
  auto sim = sim_syscalls::create(opts);
  EXPECT_TRUE(sim) << sim.error();
  return sim ? std::move(*sim) : nullptr;
}

class SimTest : public testing::TestWithParam<bool> {
 protected:
  SimTest() {
    sim_options opts;
    opts.host_memory = GetParam();
    sim_ = Create(opts);
    buf_ = sim_->anon({.size = 64 * kPage});
    EXPECT_FALSE(is_error(buf_));
  }
  ~SimTest() override {
    EXPECT_EQ(0, sim_->munmap(buf_, 64 * kPage));
    EXPECT_EQ("", sim_->residue());
    EXPECT_EQ("", sim_->take_log());
  }

  // An ioctl whose struct lies in the process's memory.
  template <class T>
  long Ioctl(int fd, unsigned long cmd, T* arg) {
    EXPECT_EQ(0, sim_->store(buf_ + 8, arg, sizeof(T)));
    long rc = sim_->ioctl(fd, cmd, buf_ + 8);
    EXPECT_EQ(0, sim_->load(buf_ + 8, arg, sizeof(T)));
    return rc;
  }
  long Ioctl(int fd, Cmd* cmd) {
    EXPECT_EQ(0, sim_->store(buf_ + 8, cmd->data(), cmd->size()));
    long rc = sim_->ioctl(fd, cmd->nr(), buf_ + 8);
    EXPECT_EQ(0, sim_->load(buf_ + 8, cmd->data(), cmd->size()));
    return rc;
  }
  long Alloc(int fd, u32* id) {
    Cmd cmd("IOAS_ALLOC");
    long rc = Ioctl(fd, &cmd);
    *id = cmd.Get("out_ioas_id");
    return rc;
  }
  long Destroy(int fd, u32 id) {
    Cmd cmd("DESTROY");
    cmd.Set("id", id);
    return Ioctl(fd, &cmd);
  }

  std::unique_ptr<sim_syscalls> sim_;
  uint64_t buf_;
};

INSTANTIATE_TEST_SUITE_P(Memory, SimTest, testing::Values(false, true),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "host" : "arena";
                         });

TEST_P(SimTest, OpenAndClose) {
  EXPECT_EQ(3, sim_->open("/dev/iommu", ""));
  EXPECT_EQ(4, sim_->open("/dev/iommu", "hw-queue"));
  EXPECT_EQ(-ENOENT, sim_->open("/dev/null", ""));
  EXPECT_EQ(-EINVAL, sim_->open("/dev/iommu", "no-such-form"));
  EXPECT_EQ(0, sim_->close(3));
  EXPECT_EQ(-EBADF, sim_->close(3));
  EXPECT_EQ(3, sim_->open("/dev/iommu", "vcmdq-v2"));
  EXPECT_EQ(0, sim_->close(3));
  EXPECT_EQ(0, sim_->close(4));
  EXPECT_EQ(-EBADF, sim_->close(-1));
  EXPECT_EQ(-EBADF, sim_->close(100000));
}

TEST_P(SimTest, DescriptorsEnd) {
  std::vector<int> fds;
  int fd;
  while ((fd = sim_->open("/dev/iommu", "")) >= 0) fds.push_back(fd);
  EXPECT_EQ(-EMFILE, fd);
  EXPECT_EQ(1021u, fds.size());
  for (int f : fds) EXPECT_EQ(0, sim_->close(f));
}

TEST_P(SimTest, Ioctls) {
  int fd = sim_->open("/dev/iommu", "");
  u32 id = 0;
  EXPECT_EQ(0, Alloc(fd, &id));
  EXPECT_EQ(1u, id);
  EXPECT_EQ(0, Alloc(fd, &id));
  EXPECT_EQ(2u, id);
  EXPECT_EQ(0, Destroy(fd, 1));
  EXPECT_EQ(-ENOENT, Destroy(fd, 1));
  EXPECT_EQ(-EBADF, Destroy(77, 1));
  EXPECT_EQ(-ENOTTY, sim_->ioctl(fd, 0x1234, buf_));
  EXPECT_EQ(-EFAULT, sim_->ioctl(fd, IOMMU_IOAS_ALLOC, 0));
  EXPECT_EQ(-EFAULT, sim_->ioctl(fd, IOMMU_IOAS_ALLOC, ~0UL - 2));
  EXPECT_NE("", sim_->residue());
  EXPECT_EQ(0, sim_->close(fd));  // with an object in it
}

TEST_P(SimTest, StructAtTheEndOfMemory) {
  int fd = sim_->open("/dev/iommu", "");
  uint64_t two = sim_->anon({.size = 2 * kPage});
  EXPECT_EQ(0, sim_->munmap(two + kPage, kPage));
  Cmd cmd("IOAS_ALLOC");
  EXPECT_EQ(0, sim_->store(two + kPage - cmd.size(), cmd.data(), cmd.size()));
  EXPECT_EQ(0, sim_->ioctl(fd, IOMMU_IOAS_ALLOC, two + kPage - cmd.size()));
  EXPECT_EQ(0, sim_->store(two + kPage - 8, cmd.data(), 8));
  EXPECT_EQ(-EFAULT, sim_->ioctl(fd, IOMMU_IOAS_ALLOC, two + kPage - 8));
  EXPECT_EQ(0, sim_->munmap(two, kPage));
  EXPECT_EQ(0, sim_->close(fd));
}

TEST_P(SimTest, FileWithoutTheOperation) {
  int fd = sim_->memfd({.size = kPage});
  EXPECT_EQ(-ENOTTY, sim_->ioctl(fd, IOMMU_DESTROY, buf_));
  EXPECT_EQ(-EINVAL, sim_->read(fd, buf_, 4));
  EXPECT_EQ(-EINVAL, sim_->write(fd, buf_, 4));
  EXPECT_EQ(POLLIN | POLLOUT, sim_->poll(fd, POLLIN | POLLOUT, 0));
  EXPECT_EQ(POLLNVAL, sim_->poll(99, POLLIN, 0));
  EXPECT_EQ(-EBADF, sim_->read(99, buf_, 4));
  EXPECT_EQ(-EBADF, sim_->write(99, buf_, 4));
  EXPECT_EQ(0, sim_->close(fd));
}

TEST_P(SimTest, MemoryOfFiles) {
  int fd = sim_->memfd({.size = 2 * kPage});
  uint64_t a =
      sim_->mmap(0, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_FALSE(is_error(a));
  uint64_t b = sim_->mmap(0, kPage, PROT_READ, MAP_SHARED, fd, kPage);
  ASSERT_FALSE(is_error(b));
  EXPECT_EQ(0, sim_->close(fd));
  EXPECT_EQ(0, sim_->store(a + kPage, "both", 5));
  char text[8];
  EXPECT_EQ(0, sim_->load(b, text, 5));
  EXPECT_STREQ("both", text);
  EXPECT_EQ(-EFAULT, sim_->store(b, "both", 5));
  EXPECT_EQ(0, sim_->munmap(a, 2 * kPage));
  EXPECT_EQ(0, sim_->munmap(b, kPage));
}

TEST_P(SimTest, MapErrors) {
  int fd = sim_->memfd({.size = kPage});
  const auto error = [](uint64_t a) {
    return is_error(a) ? static_cast<int>(a) : 0;
  };
  EXPECT_EQ(-EBADF, error(sim_->mmap(0, kPage, PROT_READ, MAP_SHARED, 99, 0)));
  EXPECT_EQ(-EINVAL, error(sim_->mmap(0, kPage, PROT_READ, MAP_SHARED, 99, 1)));
  EXPECT_EQ(-EINVAL, error(sim_->mmap(0, 0, PROT_READ, MAP_SHARED, fd, 0)));
  EXPECT_EQ(-EINVAL, error(sim_->mmap(0, kPage, PROT_READ, 0, fd, 0)));
  EXPECT_EQ(-EINVAL, sim_->munmap(1, kPage));
  EXPECT_EQ(-EINVAL, error(sim_->anon({})));
  EXPECT_EQ(-EINVAL, error(sim_->anon({.size = kPage, .align = 3})));
  int iommu = sim_->open("/dev/iommu", "");
  EXPECT_NE(0, error(sim_->mmap(0, kPage, PROT_READ, MAP_SHARED, iommu, 0)));
  EXPECT_EQ(0, sim_->close(iommu));
  EXPECT_EQ(0, sim_->close(fd));
}

TEST_P(SimTest, ShapesOfMemory) {
  uint64_t ro = sim_->anon({.size = kPage, .readonly = true});
  uint64_t bad = sim_->anon({.size = kPage, .poisoned = true});
  uint64_t huge = sim_->anon({.size = 1, .huge = true});
  uint64_t aligned = sim_->anon({.size = kPage, .align = 1 << 20});
  char c = 0;
  EXPECT_EQ(0, sim_->load(ro, &c, 1));
  EXPECT_EQ(-EFAULT, sim_->store(ro, &c, 1));
  EXPECT_EQ(-EFAULT, sim_->load(bad, &c, 1));
  EXPECT_EQ(0u, huge % (2 << 20));
  EXPECT_EQ(0u, aligned % (1 << 20));
  EXPECT_EQ(0, sim_->store(huge + (2 << 20) - 1, &c, 1));
  EXPECT_EQ(0, sim_->mprotect(ro, kPage, PROT_READ | PROT_WRITE));
  EXPECT_EQ(0, sim_->store(ro, &c, 1));
  EXPECT_EQ(0, sim_->poison(ro, kPage));
  EXPECT_EQ(-EFAULT, sim_->load(ro, &c, 1));
  for (uint64_t a : {ro, bad, aligned}) EXPECT_EQ(0, sim_->munmap(a, kPage));
  EXPECT_EQ(0, sim_->munmap(huge, 2 << 20));
}

TEST_P(SimTest, FailNth) {
  int fd = sim_->open("/dev/iommu", "");
  u32 id;
  ASSERT_EQ(0, Alloc(fd, &id));
  ASSERT_EQ(0, Destroy(fd, id));
  int sites = 0;
  for (unsigned n = 1; n < 100; n++) {
    Cmd cmd("IOAS_ALLOC");
    EXPECT_EQ(0, sim_->store(buf_, cmd.data(), cmd.size()));
    sim_->set_fail_nth(n);
    long rc = sim_->ioctl(fd, IOMMU_IOAS_ALLOC, buf_);
    unsigned left = sim_->fail_nth();
    sim_->set_fail_nth(0);
    if (left != 0) {
      EXPECT_EQ(0, rc);
      break;
    }
    sites++;
    EXPECT_TRUE(rc == -ENOMEM || rc == -EFAULT) << rc;
    EXPECT_EQ(0, sim_->load(buf_, cmd.data(), cmd.size()));
  }
  EXPECT_GE(sites, 3);
  EXPECT_EQ(0, sim_->close(fd));
}

TEST_P(SimTest, EachThreadHasItsOwnFailNth) {
  sim_->set_fail_nth(5);
  std::thread([&] {
    EXPECT_EQ(0u, sim_->fail_nth());
    sim_->set_fail_nth(7);
    EXPECT_EQ(7u, sim_->fail_nth());
    sim_->set_fail_nth(0);
  }).join();
  EXPECT_EQ(5u, sim_->fail_nth());
  sim_->set_fail_nth(0);
}

TEST_P(SimTest, ThreadsAreTasksOfOneProcess) {
  int fd = sim_->open("/dev/iommu", "");
  std::vector<std::thread> threads;
  std::atomic<int> ids{0};
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      uint64_t mine = buf_ + (8 + static_cast<uint64_t>(t)) * kPage;
      for (int i = 0; i < 100; i++) {
        Cmd cmd("IOAS_ALLOC");
        EXPECT_EQ(0, sim_->store(mine, cmd.data(), cmd.size()));
        EXPECT_EQ(0, sim_->ioctl(fd, IOMMU_IOAS_ALLOC, mine));
        EXPECT_EQ(0, sim_->load(mine, cmd.data(), cmd.size()));
        Cmd destroy("DESTROY");
        destroy.Set("id", cmd.Get("out_ioas_id"));
        EXPECT_EQ(0, sim_->store(mine, destroy.data(), destroy.size()));
        EXPECT_EQ(0, sim_->ioctl(fd, IOMMU_DESTROY, mine));
        uint64_t a = sim_->anon({.size = 2 * kPage});
        EXPECT_EQ(0, sim_->store(a + kPage - 2, cmd.data(), 4));
        EXPECT_EQ(0, sim_->munmap(a, 2 * kPage));
        ids++;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(400, ids);
  EXPECT_EQ(0, sim_->close(fd));
}

TEST_P(SimTest, LimitAndCredentials) {
  EXPECT_EQ(0, sim_->set_credentials(1000, 0));
  sim_->set_rlimit_memlock(3 * kPage);
  {
    task_scope ts(sim_->task());
    EXPECT_FALSE(capable(CAP_IPC_LOCK));
    EXPECT_EQ(3 * kPage, rlimit(RLIMIT_MEMLOCK));
    EXPECT_EQ(1000u, current_user()->uid);
  }
  std::thread([&] {
    task_scope ts(sim_->task());
    EXPECT_EQ(3 * kPage, rlimit(RLIMIT_MEMLOCK));
    EXPECT_FALSE(capable(CAP_IPC_LOCK));
  }).join();
  EXPECT_EQ(0, sim_->set_credentials(0, ~0ULL));
}

TEST_P(SimTest, LogIsTakenOnce) {
  {
    task_scope ts(sim_->task());
    pr_err("one");
    pr_warn("two\n");
  }
  EXPECT_EQ("one\ntwo\n", sim_->take_log());
  EXPECT_EQ("", sim_->take_log());
  {
    task_scope ts(sim_->task());
    for (int i = 0; i < 1500; i++) pr_err("%d", i);
  }
  std::string log = sim_->take_log();  // the ring holds 1024
  EXPECT_EQ("476\n", log.substr(0, 4));
  EXPECT_EQ("1499\n", log.substr(log.size() - 5));
}

TEST_P(SimTest, TruncatesFiles) {
  int fd = sim_->memfd({.size = kPage});
  EXPECT_EQ(0, sim_->ftruncate(fd, 3 * kPage));
  EXPECT_EQ(-EBADF, sim_->ftruncate(99, 0));
  int iommu = sim_->open("/dev/iommu", "");
  EXPECT_EQ(-EINVAL, sim_->ftruncate(iommu, 0));
  EXPECT_EQ(0, sim_->close(iommu));
  EXPECT_EQ(0, sim_->close(fd));
}

// ---- whole kernels ----

TEST(Kernels, AreIndependentAndAlike) {
  auto one = Create(), two = Create();
  uint64_t a = one->anon({.size = kPage});
  EXPECT_EQ(a, two->anon({.size = kPage}));
  EXPECT_EQ(3, one->open("/dev/iommu", ""));
  EXPECT_EQ(3, two->open("/dev/iommu", ""));
  u32 v = 5;
  EXPECT_EQ(0, one->store(a, &v, 4));
  EXPECT_EQ(0, two->load(a, &v, 4));
  EXPECT_EQ(0u, v);
}

TEST(Kernels, ExitClosesAndUnmaps) {
  auto sim = Create();
  int fd = sim->open("/dev/iommu", "");
  uint64_t a = sim->anon({.size = kPage});
  Cmd cmd("IOAS_ALLOC");
  EXPECT_EQ(0, sim->store(a, cmd.data(), cmd.size()));
  EXPECT_EQ(0, sim->ioctl(fd, IOMMU_IOAS_ALLOC, a));
  std::string left = sim->residue();
  EXPECT_NE(std::string::npos, left.find("open files: 1\n")) << left;
  EXPECT_NE(std::string::npos, left.find("mappings: 1\n")) << left;
  EXPECT_NE(std::string::npos, left.find("pages: 1\n")) << left;
}  // the destructor of the kernel WARNs when something stays

TEST(Kernels, ManyAtOnce) {
  std::vector<std::unique_ptr<sim_syscalls>> sims;
  for (int i = 0; i < 200; i++) {
    sims.push_back(Create());
    EXPECT_EQ(3, sims.back()->open("/dev/iommu", ""));
  }
}

TEST(Kernels, DefaultRevision) {
  sim_options opts;
  opts.revision = "hw-queue";
  EXPECT_EQ(3, Create(opts)->open("/dev/iommu", ""));
  opts.revision = "none";
  auto sim = sim_syscalls::create(opts);
  ASSERT_FALSE(sim);
  EXPECT_EQ(-EINVAL, sim.error());
}

// A call that waits inside while another thread comes and closes its file.
struct Waiter {
  std::atomic<int> inside{0};
  std::atomic<bool> go{false}, released{false};
};
constexpr file_operations kWaiterFops = {
    .release =
        [](file* f) {
          static_cast<Waiter*>(f->private_data)->released = true;
          return 0;
        },
    .unlocked_ioctl = [](file* f, unsigned int, unsigned long) -> long {
      auto* w = static_cast<Waiter*>(f->private_data);
      w->inside++;
      while (!w->go) std::this_thread::yield();
      EXPECT_FALSE(w->released);
      EXPECT_EQ(w, f->private_data);
      return 42;
    },
    .name = "waiter"};

TEST(Kernels, FileLivesWhileACallIsInIt) {
  for (bool first_waits : {true, false}) {
    auto sim = Create();
    Waiter w;
    int fd;
    {
      task_scope ts(sim->task());
      fd = anon_inode_getfd("waiter", &kWaiterFops, &w, 0);
    }
    ASSERT_EQ(3, fd);
    const auto wait = [&] { EXPECT_EQ(42, sim->ioctl(fd, 1, 0)); };
    const auto close = [&] {
      while (!w.inside) std::this_thread::yield();
      EXPECT_EQ(0, sim->close(fd));
      EXPECT_EQ(-EBADF, sim->ioctl(fd, 1, 0));
      EXPECT_FALSE(w.released);
      w.go = true;
    };
    std::thread t([&] { first_waits ? close() : wait(); });
    first_waits ? wait() : close();
    t.join();
    EXPECT_TRUE(w.released);
    EXPECT_EQ("", sim->residue());
  }
}

// ---- processes ----

class ForkTest : public testing::Test {
 protected:
  ForkTest() : sim_(Create()), buf_(sim_->anon({.size = 4 * kPage})) {}
  ~ForkTest() override {
    EXPECT_EQ(0, sim_->munmap(buf_, 4 * kPage));
    EXPECT_EQ("", sim_->residue());
    EXPECT_EQ("", sim_->take_log());
  }
  static std::unique_ptr<syscalls> Fork(syscalls* sys) {
    std::unique_ptr<syscalls> child;
    EXPECT_EQ(0, sys->fork(&child));
    EXPECT_NE(nullptr, child);
    return child;
  }
  // An id of a new IOAS, or -errno.
  long Alloc(syscalls* sys, int fd) {
    Cmd cmd("IOAS_ALLOC");
    EXPECT_EQ(0, sys->store(buf_, cmd.data(), cmd.size()));
    const long rc = sys->ioctl(fd, IOMMU_IOAS_ALLOC, buf_);
    EXPECT_EQ(0, sys->load(buf_, cmd.data(), cmd.size()));
    return rc ? rc : static_cast<long>(cmd.Get("out_ioas_id"));
  }

  std::unique_ptr<sim_syscalls> sim_;
  uint64_t buf_;
};

TEST_F(ForkTest, DescriptorsReferToTheSameFiles) {
  ASSERT_EQ(3, sim_->open("/dev/iommu", ""));
  auto child = Fork(sim_.get());
  EXPECT_EQ(1, Alloc(sim_.get(), 3));
  EXPECT_EQ(2, Alloc(child.get(), 3));
  // Each has a table of its own.
  EXPECT_EQ(4, child->open("/dev/iommu", ""));
  EXPECT_EQ(-EBADF, Alloc(sim_.get(), 4));
  EXPECT_EQ(1, Alloc(child.get(), 4));
  EXPECT_EQ(0, child->close(3));
  EXPECT_EQ(-EBADF, Alloc(child.get(), 3));
  EXPECT_EQ(3, Alloc(sim_.get(), 3));
  EXPECT_NE(std::string::npos, sim_->residue().find("processes: 1\n"));
  EXPECT_NE(std::string::npos, sim_->residue().find("open files: 2\n"));
  child.reset();
  EXPECT_EQ(4, Alloc(sim_.get(), 3));
  EXPECT_EQ(0, sim_->close(3));
}

TEST_F(ForkTest, AFileLivesInTheChild) {
  ASSERT_EQ(3, sim_->open("/dev/iommu", ""));
  auto child = Fork(sim_.get());
  auto grandchild = Fork(child.get());
  EXPECT_EQ(0, sim_->close(3));
  child.reset();
  EXPECT_EQ(1, Alloc(grandchild.get(), 3));
  grandchild.reset();
  EXPECT_EQ("mappings: 1\nallocations: 1\n", sim_->residue());
}

TEST(Processes, TheLastOneTakesTheKernelAlong) {
  auto sim = Create();
  ASSERT_EQ(3, sim->open("/dev/iommu", ""));
  std::unique_ptr<syscalls> child;
  ASSERT_EQ(0, sim->fork(&child));
  sim.reset();
  EXPECT_EQ(0, child->close(3));
  EXPECT_EQ("", child->residue());
}

TEST(Processes, LimitsAndCredentialsAreInherited) {
  sim_options opts;
  opts.uid = 1000;
  opts.caps = 0;
  auto sim = Create(opts);
  sim->set_rlimit_memlock(5 * kPage);
  sim->set_fail_nth(1000);
  std::unique_ptr<syscalls> made;
  ASSERT_EQ(0, sim->fork(&made));
  EXPECT_GT(sim->fail_nth(), 0u);
  sim->set_fail_nth(0);
  auto* child = static_cast<sim_syscalls*>(made.get());
  EXPECT_EQ(0u, child->fail_nth());
  {
    task_scope ts(child->task());
    EXPECT_EQ(5 * kPage, rlimit(RLIMIT_MEMLOCK));
    EXPECT_FALSE(capable(CAP_IPC_LOCK));
    EXPECT_EQ(1000u, current_user()->uid);
  }
  // From here on they are its own.
  child->set_rlimit_memlock(kPage);
  EXPECT_EQ(0, child->set_credentials(0, ~0ULL));
  task_scope ts(sim->task());
  EXPECT_EQ(5 * kPage, rlimit(RLIMIT_MEMLOCK));
  EXPECT_FALSE(capable(CAP_IPC_LOCK));
}

// Two processes on two threads each, which fork and exit.
TEST(Processes, AtOnce) {
  auto sim = Create();
  ASSERT_EQ(3, sim->open("/dev/iommu", ""));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&sim] {
      for (int i = 0; i < 50; i++) {
        std::unique_ptr<syscalls> child;
        ASSERT_EQ(0, sim->fork(&child));
        const uint64_t buf = child->anon({.size = kPage});
        ASSERT_FALSE(is_error(buf));
        std::thread second([&] { EXPECT_EQ(0, child->store(buf, "x", 1)); });
        Cmd cmd("IOAS_ALLOC");
        EXPECT_EQ(0, child->store(buf + 8, cmd.data(), cmd.size()));
        EXPECT_EQ(0, child->ioctl(3, IOMMU_IOAS_ALLOC, buf + 8));
        second.join();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(0, sim->close(3));
  EXPECT_EQ("", sim->residue());
}

TEST(Processes, NotWithHostMemory) {
  sim_options opts;
  opts.host_memory = true;
  auto sim = Create(opts);
  std::unique_ptr<syscalls> child;
  EXPECT_EQ(-EOPNOTSUPP, sim->fork(&child));
  EXPECT_EQ(nullptr, child);
}

TEST_F(ForkTest, EachAllocationFails) {
  ASSERT_EQ(3, sim_->open("/dev/iommu", ""));
  EXPECT_EQ(1, Alloc(sim_.get(), 3));
  for (unsigned n = 1;; n++) {
    std::unique_ptr<syscalls> child;
    sim_->set_fail_nth(n);
    const int rc = sim_->fork(&child);
    const bool injected = sim_->fail_nth() == 0;
    sim_->set_fail_nth(0);
    EXPECT_EQ(injected ? -ENOMEM : 0, rc);
    EXPECT_EQ(injected, child == nullptr);
    child.reset();
    EXPECT_NE(std::string::npos, sim_->residue().find("open files: 1\n"));
    EXPECT_EQ(std::string::npos, sim_->residue().find("processes"));
    if (!injected) break;
  }
  EXPECT_EQ(0, sim_->close(3));
}

struct Machine {
  int rc = 0;
  int up = 0, down = 0;
  page* held = nullptr;
};

constexpr machine_ops kMachine = {
    .init =
        [](struct kernel* kernel, const void* options) {
          auto* m = static_cast<Machine*>(const_cast<void*>(options));
          if (m->rc) return m->rc;
          EXPECT_EQ(kernel, current->kernel);
          EXPECT_TRUE(capable(CAP_SYS_ADMIN));
          m->up++;
          m->held = alloc_page(GFP_KERNEL);
          kernel->platform = m;
          return 0;
        },
    .exit =
        [](struct kernel* kernel) {
          auto* m = static_cast<Machine*>(kernel->platform);
          m->down++;
          EXPECT_EQ(0, kernel->files_open.load());
          EXPECT_EQ(0u, mm_get_residue(kernel).vmas);
          put_page(m->held);
        },
};

TEST(Kernels, Machine) {
  Machine m;
  sim_options opts;
  opts.machine = &kMachine;
  opts.machine_options = &m;
  opts.uid = 1000;
  opts.caps = 0;
  {
    auto sim = Create(opts);
    EXPECT_EQ(1, m.up);
    EXPECT_EQ("", sim->residue());  // what the machine holds is no residue
    sim->open("/dev/iommu", "");
    sim->anon({.size = kPage});
    EXPECT_EQ(0, m.down);
  }
  EXPECT_EQ(1, m.down);
  m.rc = -ENODEV;
  auto sim = sim_syscalls::create(opts);
  ASSERT_FALSE(sim);
  EXPECT_EQ(-ENODEV, sim.error());
}

TEST(Kernels, DeferredWorkRunsAfterTheCall) {
  struct Job : work_struct {
    int done = 0;
  };
  const work_func_t run = [](work_struct* w) { static_cast<Job*>(w)->done++; };
  for (bool manually : {false, true}) {
    sim_options opts;
    opts.defer_manually = manually;
    auto sim = Create(opts);
    Job job;
    INIT_WORK(&job, run);
    {
      task_scope ts(sim->task());
      EXPECT_TRUE(schedule_work(&job));
    }
    EXPECT_EQ(0, job.done);
    sim->close(99);
    EXPECT_EQ(manually ? 0 : 1, job.done);
    sim->run_deferred_work();
    EXPECT_EQ(1, job.done);
  }
}

}  // namespace
