// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/file.h"

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

struct Opened {
  std::atomic<int> released{0};
};

int Release(struct file* file) {
  static_cast<Opened*>(file->private_data)->released++;
  return 0;
}

constexpr file_operations kOps = {.release = Release};

class FileTest : public KernelTest {
 protected:
  FileTest() { task_.files = &files_; }

  void TearDown() override {
    close_all_files(&files_);
    EXPECT_EQ(kernel_.files_open, 0);
    KernelTest::TearDown();
  }

  // A system call: what it deferred has run when it is over.
  template <class Body>
  void Call(Body body) {
    task_scope scope(&task_);
    body();
  }

  int Open() { return anon_inode_getfd("[test]", &kOps, &opened_, 0); }

  Opened opened_;
  files_struct files_{&kernel_};
};

TEST_F(FileTest, LowestFreeDescriptor) {
  EXPECT_EQ(Open(), 3);
  EXPECT_EQ(Open(), 4);
  EXPECT_EQ(Open(), 5);
  EXPECT_EQ(close_fd(4), 0);
  EXPECT_EQ(Open(), 4);
  for (int fd = 6; fd < 200; ++fd) EXPECT_EQ(Open(), fd);
}

TEST_F(FileTest, DescriptorsRunOut) {
  for (int fd = 3; fd < 1024; ++fd) ASSERT_EQ(Open(), fd);
  EXPECT_EQ(Open(), -EMFILE);
  EXPECT_EQ(close_fd(77), 0);
  EXPECT_EQ(Open(), 77);
}

TEST_F(FileTest, BadDescriptors) {
  for (unsigned int fd : {0u, 3u, 1023u, 1024u, 0xffffffffu}) {
    EXPECT_EQ(fget(fd), nullptr);
    EXPECT_EQ(close_fd(fd), -EBADF);
  }
}

// A struct file is reused. While a lookup is between its look at the slot and
// its reference, the file is closed and comes back under another descriptor.
TEST_F(FileTest, AReusedFileIsNotFoundUnderItsOldDescriptor) {
  struct Hook : sched_hook {
    std::function<void()> meanwhile;
    const void* at = nullptr;
  } hook;
  hook.point = [](sched_hook* self, task_struct*, sched_event,
                  const void* obj) {
    Hook* hook = static_cast<Hook*>(self);
    if (obj != hook->at) return;
    hook->at = nullptr;
    hook->meanwhile();
  };
  const int fd = Open();
  struct file* const file = fget(fd);
  fput(file);
  kernel_.sched = &hook;
  task_struct task(&kernel_);
  task.files = &files_;
  task_scope scope(&task);
  hook.at = file;
  hook.meanwhile = [&] {
    EXPECT_EQ(close_fd(fd), 0);
    task_work_run();
    EXPECT_EQ(get_unused_fd_flags(0), fd);
    const int other = Open();
    EXPECT_EQ(fget(other), file);
    fput(file);
  };
  EXPECT_EQ(fget(fd), nullptr);
  EXPECT_EQ(hook.at, nullptr);
  EXPECT_EQ(file_count(file), 1);
  put_unused_fd(fd);
}

TEST_F(FileTest, AReservedDescriptorIsNotOpen) {
  const int fd = get_unused_fd_flags(0);
  EXPECT_EQ(fd, 3);
  EXPECT_EQ(fget(fd), nullptr);
  EXPECT_EQ(close_fd(fd), -EBADF);
  EXPECT_EQ(Open(), 4);
  put_unused_fd(fd);
  EXPECT_EQ(Open(), 3);
}

TEST_F(FileTest, TheLastPutIsDeferredToTheEndOfTheCall) {
  const int fd = Open();
  Call([&] {
    EXPECT_EQ(close_fd(fd), 0);
    EXPECT_EQ(fget(fd), nullptr);
    EXPECT_EQ(opened_.released, 0);
  });
  EXPECT_EQ(opened_.released, 1);
}

TEST_F(FileTest, AReferenceKeepsItOpen) {
  const int fd = Open();
  struct file* file = fget(fd);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file_count(file), 2);
  Call([&] { EXPECT_EQ(close_fd(fd), 0); });
  EXPECT_EQ(opened_.released, 0);
  Call([&] { fput(file); });
  EXPECT_EQ(opened_.released, 1);
}

TEST_F(FileTest, SyncPutReleasesAtOnce) {
  result<struct file*> file = anon_inode_getfile("[x]", &kOps, &opened_, 0);
  ASSERT_TRUE(file);
  get_file(*file);
  __fput_sync(*file);
  EXPECT_EQ(opened_.released, 0);
  __fput_sync(*file);
  EXPECT_EQ(opened_.released, 1);
}

TEST_F(FileTest, PutsRunInOrderAndMayPutMore) {
  static std::vector<int> order;
  order.clear();
  struct Link {
    struct file* next;
    int number;
  };
  static constexpr file_operations kChain = {.release = [](struct file* file) {
    auto* link = static_cast<Link*>(file->private_data);
    order.push_back(link->number);
    if (link->next) fput(link->next);
    return 0;
  }};
  Link last = {nullptr, 3};
  result<struct file*> c = anon_inode_getfile("[c]", &kChain, &last, 0);
  Link first = {*c, 1}, second = {nullptr, 2};
  result<struct file*> a = anon_inode_getfile("[a]", &kChain, &first, 0);
  result<struct file*> b = anon_inode_getfile("[b]", &kChain, &second, 0);
  Call([&] {
    fput(*a);
    fput(*b);
  });
  EXPECT_THAT(order, testing::ElementsAre(1, 2, 3));
}

TEST_F(FileTest, OnePutTooManyWarns) {
  result<struct file*> file = anon_inode_getfile("[x]", &kOps, &opened_, 0);
  ASSERT_TRUE(file);
  __fput_sync(*file);
  __fput_sync(*file);
  EXPECT_EQ(opened_.released, 1);
  fput(*file);
  EXPECT_EQ(opened_.released, 1);
  ExpectWarns(2);
}

TEST_F(FileTest, NoMemory) {
  fail_nth_write(&task_, 1);
  EXPECT_EQ(Open(), -ENOMEM);
  EXPECT_EQ(Open(), 3) << "the descriptor came back";
}

// A table has room for 64; beyond that each 64 take memory. Each failure of an
// open leaves what was before it.
TEST_F(FileTest, EachAllocationOfAnOpenFails) {
  for (int fd = 3; fd < 130; ++fd) {
    for (u32 n = 1;; n++) {
      fail_nth_write(&task_, n);
      const int rc = Open();
      const bool injected = fail_nth_read(&task_) == 0;
      fail_nth_write(&task_, 0);
      if (!injected) {
        EXPECT_EQ(n, fd % 64 == 0 ? 3u : 2u) << fd;
        ASSERT_EQ(rc, fd);
        break;
      }
      ASSERT_EQ(rc, -ENOMEM);
      // The table's new part stays, as in the kernel, so its next open has one
      // site less: start again from the first.
      if (fd % 64 == 0 && n == 2) {
        EXPECT_EQ(Open(), fd);
        break;
      }
    }
  }
  EXPECT_EQ(kernel_.files_open, 127);
}

TEST_F(FileTest, EachAllocationOfACopiedTableFails) {
  for (int fd = 3; fd < 200; ++fd) ASSERT_EQ(Open(), fd);
  for (u32 n = 1;; n++) {
    fail_nth_write(&task_, n);
    std::unique_ptr<files_struct> copy = dup_fd(&files_);
    const bool injected = fail_nth_read(&task_) == 0;
    fail_nth_write(&task_, 0);
    EXPECT_EQ(injected, copy == nullptr);
    if (injected) continue;
    EXPECT_EQ(n, 1 + 1 + 3u);  // the table, and three parts of it
    close_all_files(copy.get());
    break;
  }
  EXPECT_EQ(opened_.released, 0);
}

// What one task borrows another one may close: the file lives until it is given
// back.
TEST_F(FileTest, ABorrowedFileOutlivesItsDescriptor) {
  files_.first_task = &task_;
  files_.shared = false;
  const int fd = Open();
  struct fd none = fdget(fd + 1);
  EXPECT_EQ(none.file, nullptr);
  fdput(none);
  struct fd borrowed = fdget(fd);
  EXPECT_TRUE(borrowed.borrowed);
  EXPECT_EQ(file_count(borrowed.file), 1);
  struct fd second = fdget(fd);
  EXPECT_FALSE(second.borrowed);
  fdput(second);
  {
    task_struct other(&kernel_);
    other.files = &files_;
    files_.shared = true;
    task_scope scope(&other);
    EXPECT_EQ(close_fd(fd), 0);
    task_work_run();
  }
  EXPECT_EQ(opened_.released, 0);
  Call([&] { fdput(borrowed); });
  EXPECT_EQ(opened_.released, 1);
  const int next = Open();
  struct fd shared = fdget(next);
  EXPECT_FALSE(shared.borrowed);
  fdput(shared);
}

TEST_F(FileTest, CloseAllRunsTheReleases) {
  for (int i = 0; i < 100; ++i) Open();
  close_all_files(&files_);
  EXPECT_EQ(opened_.released, 100);
}

TEST_F(FileTest, FdGuardPuts) {
  const int fd = Open();
  {
    fd_guard file(fd);
    ASSERT_TRUE(file);
    EXPECT_EQ(file_count(file.get()), 2);
    EXPECT_EQ(file->private_data, &opened_);
  }
  fd_guard file(fd);
  EXPECT_EQ(file_count(file.get()), 2);
  EXPECT_FALSE(fd_guard(99));
}

// Lookups race with close and reuse: a file found is open, and is the one that
// the descriptor names.
TEST_F(FileTest, LookupsRaceWithClose) {
  std::atomic<bool> stop{false};
  std::atomic<int> found{0}, opens{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      task_struct task(&kernel_);
      task.files = &files_;
      while (!stop) {
        task_scope scope(&task);
        fd_guard file(3);
        if (!file) continue;
        EXPECT_EQ(file->private_data, &opened_);
        found++;
      }
    });
  }
  Opened other;
  for (int i = 0; i < 2000; ++i) {
    Call([&] {
      EXPECT_EQ(Open(), 3);
      opens++;
    });
    Call([&] { EXPECT_EQ(close_fd(3), 0); });
    // The same memory, under another descriptor.
    Call([&] {
      EXPECT_EQ(get_unused_fd_flags(0), 3);
      EXPECT_EQ(anon_inode_getfd("[other]", &kOps, &other, 0), 4);
      put_unused_fd(3);
    });
    Call([&] { EXPECT_EQ(close_fd(4), 0); });
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(opened_.released, opens);
  EXPECT_EQ(other.released, 2000);
}

}  // namespace
}  // namespace iommulab
