// SPDX-License-Identifier: GPL-2.0-or-later
//
// Several tasks in one address space. Most of these are for ThreadSanitizer.
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>
#include <vector>

#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

class ThreadsTest : public MmFixture {
 protected:
  // Runs body(0..n-1), each on its own thread as its own task of the process.
  void Run(int n, const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int i = 0; i < n; i++) {
      threads.emplace_back([this, i, &body] {
        task_struct task(kernel_.get(), "thread");
        task.mm = mm_;
        task.files = files_.get();
        mm_add_task(mm_);
        task_scope ts(&task);
        body(i);
      });
    }
    for (std::thread& t : threads) t.join();
  }
};

TEST_F(ThreadsTest, FaultAndPinTheSamePages) {
  constexpr int kPages = 200;
  for (int round = 0; round < 5; round++) {
    unsigned long a = Map(kPages * kPage);
    std::vector<page*> pages[2];
    Run(2, [&](int me) {
      pages[me].resize(kPages);
      for (int i = 0; i < kPages; i += 10) {
        int at = me ? i : kPages - 10 - i;
        u64 v = 1;
        EXPECT_EQ(0u, Out(a + static_cast<unsigned long>(at) * kPage, &v, 8));
        EXPECT_EQ(
            10, pin_user_pages_fast(a + static_cast<unsigned long>(at) * kPage,
                                    10, FOLL_WRITE, pages[me].data() + at));
      }
    });
    EXPECT_EQ(pages[0], pages[1]);
    EXPECT_EQ(2u * kPages, Pins());
    EXPECT_EQ(static_cast<size_t>(kPages), Pages());
    EXPECT_EQ(2, page_pin_count(pages[0][0]));
    Run(2, [&](int me) { unpin_user_pages(pages[me].data(), kPages); });
    EXPECT_EQ(0, vm_munmap(a, kPages * kPage));
  }
}

TEST_F(ThreadsTest, HugePagesAreFaultedOnce) {
  for (int round = 0; round < 3; round++) {
    unsigned long a = Map(k2M, kRW, {.huge = true});
    Run(4, [&](int me) {
      page* p;
      for (unsigned long i = 0; i < 8; i++) {
        unsigned long at =
            a + (static_cast<unsigned long>(me) * 100 + i) * kPage;
        EXPECT_EQ(1, pin_user_pages_fast(at, 1, FOLL_WRITE, &p));
        unpin_user_page(p);
      }
    });
    EXPECT_EQ(512u, Pages());
    EXPECT_EQ(0, vm_munmap(a, k2M));
  }
}

// One task maps and unmaps under the feet of the others. What they read is
// their own value or nothing, never another mapping's.
TEST_F(ThreadsTest, CopiesRaceWithUnmap) {
  const unsigned long a = ARENA_BASE + k2M;
  std::atomic<bool> stop{false};
  Run(3, [&](int me) {
    if (me == 0) {
      for (int i = 0; i < 300; i++) {
        EXPECT_EQ(static_cast<long>(a),
                  vm_mmap(nullptr, a, 2 * kPage, kRW, kAnon | MAP_FIXED, 0));
        u64 v = 0x1111111111111111;
        Out(a + 64, &v, 8);
        page* p;
        if (pin_user_pages_fast(a, 1, FOLL_WRITE, &p) == 1) unpin_user_page(p);
        EXPECT_EQ(0, vm_munmap(a, 2 * kPage));
        // The frames go to somebody else, who writes other values.
        page* q = alloc_page(GFP_KERNEL);
        u64 other = 0x2222222222222222;
        memcpy_to_page(q, 64, &other, 8);
        memcpy_from_page(&v, q, 64, 8);
        EXPECT_EQ(other, v);
        __free_page(q);
      }
      stop = true;
      return;
    }
    while (!stop) {
      u64 v = 0;
      if (me == 1 && In(a + 64, &v, 8) == 0) {
        EXPECT_NE(0x2222222222222222u, v);
      }
      v = 0x3333333333333333;
      if (me == 2) Out(a + 64, &v, 8);
      page* p;
      if (get_user_pages_fast(a, 1, 0, &p) == 1) put_page(p);
    }
  });
}

// A copy whose source the test makes available late: the copying thread faults
// in the middle of it.
struct SlowSource {
  char* page;
  std::atomic<bool> inside{false}, go{false};
};
SlowSource slow_source;

void OnSegv(int) {
  slow_source.inside = true;
  while (!slow_source.go) sched_yield();
  ::mprotect(slow_source.page, kPage, PROT_READ | PROT_WRITE);
}

// The first task copies without references. A second one waits until the copy
// that it meets is over: then nothing can be unmapped under it.
TEST_F(ThreadsTest, SecondTaskWaitsForTheCopyOfTheFirst) {
  unsigned long a = Map(kPage);
  ASSERT_TRUE(CanWrite(a));
  slow_source.page = static_cast<char*>(
      ::mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct sigaction action = {}, old;
  action.sa_handler = OnSegv;
  ASSERT_EQ(0, sigaction(SIGSEGV, &action, &old));
  std::atomic<bool> adding{false};
  std::thread second([&] {
    while (!slow_source.inside) sched_yield();
    adding = true;
    mm_add_task(mm_);
    // The copy cannot end before.
    EXPECT_TRUE(slow_source.go);
  });
  std::thread third([&] {
    while (!adding) sched_yield();
    // Time for a second task that does not wait to be found out.
    for (int i = 0; i < 1000; i++) sched_yield();
    slow_source.go = true;
  });
  EXPECT_EQ(0u, Out(a, slow_source.page, 64));
  second.join();
  third.join();
  sigaction(SIGSEGV, &old, nullptr);
  ::munmap(slow_source.page, kPage);
}

TEST_F(ThreadsTest, AllocAndFreeFromManyTasks) {
  Run(4, [&](int me) {
    for (int i = 0; i < 200; i++) {
      page* p = alloc_pages(GFP_KERNEL, static_cast<unsigned>(me % 3));
      page* q = alloc_page(GFP_KERNEL);
      if (p) __free_pages(p, static_cast<unsigned>(me % 3));
      if (q) __free_page(q);
    }
  });
  EXPECT_EQ(0u, Pages());
}

TEST_F(ThreadsTest, OneMemfd) {
  result<file*> f = memfd_create(64 * kPage, {});
  ASSERT_TRUE(f);
  Run(3, [&](int) {
    page* pages[64];
    long a = vm_mmap(*f, 0, 64 * kPage, kRW, MAP_SHARED, 0);
    EXPECT_GT(a, 0);
    EXPECT_EQ(64, memfd_pin_pages(*f, 0, 64, pages));
    EXPECT_EQ(0u, Out(static_cast<unsigned long>(a) + 5 * kPage, pages, 64));
    unpin_user_pages(pages, 64);
    EXPECT_EQ(0, vm_munmap(static_cast<unsigned long>(a), 64 * kPage));
  });
  EXPECT_EQ(64u, Pages());
  fput(*f);
}

TEST_F(ThreadsTest, LockedMemory) {
  cred user = {.uid = 1, .caps = 0};
  Run(3, [&](int) {
    current->cred = &user;
    current->rlimit_memlock = 4 * kPage;
    for (int i = 0; i < 200; i++)
      if (!account_locked_vm(mm_, 2, true)) {
        EXPECT_EQ(0, account_locked_vm(mm_, 2, false));
      }
    current->cred = &root_cred;
  });
  EXPECT_EQ(0, mm_get_residue(kernel_.get()).locked_vm);
}

}  // namespace
}  // namespace mm_test
