// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

class GupTest : public MmFixture {
 protected:
  page* pages_[64] = {};
};

TEST_F(GupTest, PinCountsAndUnpins) {
  unsigned long a = Map(4 * kPage);
  EXPECT_EQ(4, pin_user_pages_fast(a + 100, 4, FOLL_WRITE, pages_));
  EXPECT_EQ(4u, Pins());
  EXPECT_EQ(1, page_pin_count(pages_[0]));
  EXPECT_EQ(GUP_PIN_COUNTING_BIAS + 1, page_ref_count(pages_[0]));
  page* again[4];
  EXPECT_EQ(4, PinRemote(mm_, a, 4, FOLL_WRITE | FOLL_LONGTERM, again));
  for (int i = 0; i < 4; i++) EXPECT_EQ(pages_[i], again[i]);
  EXPECT_EQ(2, page_pin_count(pages_[3]));
  unpin_user_pages(again, 4);
  unpin_user_page(pages_[0]);
  EXPECT_EQ(3u, Pins());
  unpin_user_pages(pages_ + 1, 3);
  EXPECT_EQ(0u, Pins());
  EXPECT_EQ(1, page_ref_count(pages_[0]));
}

TEST_F(GupTest, PinOutlivesUnmap) {
  unsigned long a = Map(2 * kPage);
  ASSERT_EQ(0u, Out(a + kPage, "still here", 11));
  ASSERT_EQ(2, pin_user_pages_fast(a, 2, FOLL_WRITE | FOLL_LONGTERM, pages_));
  EXPECT_EQ(0, vm_munmap(a, 2 * kPage));
  EXPECT_EQ(2u, Pages());
  EXPECT_STREQ("still here", static_cast<char*>(page_address(pages_[1])));
  // The same address is other memory now.
  ASSERT_EQ(a, Map(2 * kPage));
  EXPECT_TRUE(CanWrite(a + kPage));
  EXPECT_EQ(3u, Pages());
  EXPECT_STREQ("still here", static_cast<char*>(page_address(pages_[1])));
  page* now;
  ASSERT_EQ(1, pin_user_pages_fast(a + kPage, 1, 0, &now));
  EXPECT_NE(pages_[1], now);
  unpin_user_page(now);
  unpin_user_pages(pages_, 2);
  EXPECT_EQ(1u, Pages());
}

TEST_F(GupTest, PinOutlivesTheProcess) {
  unsigned long a = Map(kPage);
  ASSERT_EQ(1, pin_user_pages_fast(a, 1, FOLL_WRITE, pages_));
  mmgrab(mm_);
  mmput(mm_);
  EXPECT_FALSE(mmget_not_zero(mm_));
  EXPECT_EQ(1u, Pages());
  EXPECT_EQ(1u, mm_get_residue(kernel_.get()).mms);
  EXPECT_EQ(-EFAULT, PinRemote(mm_, a, 1, 0, pages_ + 1));
  mmdrop(mm_);
  mm_ = nullptr;
  unpin_user_page(pages_[0]);
}

TEST_F(GupTest, MmReferences) {
  EXPECT_TRUE(mmget_not_zero(mm_));
  mmput(mm_);
  mmget(mm_);
  mmput(mm_);
  EXPECT_EQ(1, to_sim_mm(mm_)->mm_users.load());
}

TEST_F(GupTest, CountsUpToTheFirstError) {
  unsigned long a = Map(3 * kPage);
  EXPECT_EQ(3, pin_user_pages_fast(a, 8, FOLL_WRITE, pages_));
  unpin_user_pages(pages_, 3);
  EXPECT_EQ(3, PinRemote(mm_, a, 8, FOLL_WRITE, pages_));
  unpin_user_pages(pages_, 3);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(a + 3 * kPage, 2, 0, pages_));
  EXPECT_EQ(-EFAULT, PinRemote(mm_, a + 3 * kPage, 2, 0, pages_));
  EXPECT_EQ(0, pin_user_pages_fast(a, 0, 0, pages_));
  EXPECT_EQ(0, PinRemote(mm_, a, 0, 0, pages_));
  EXPECT_EQ(0u, Pins());
}

TEST_F(GupTest, Addresses) {
  EXPECT_EQ(-EOVERFLOW, pin_user_pages_fast(~0UL, 2, 0, pages_));
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(1UL << 47, 1, 0, pages_));
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(0, 1, 0, pages_));
  EXPECT_EQ(-EFAULT, PinRemote(mm_, ~0UL & PAGE_MASK, 1, 0, pages_));
}

TEST_F(GupTest, ReadOnlyMemory) {
  unsigned long a = Map(kPage, PROT_READ);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(a, 1, FOLL_WRITE, pages_));
  EXPECT_EQ(-EFAULT, PinRemote(mm_, a, 1, FOLL_WRITE, pages_));
  ASSERT_EQ(1, pin_user_pages_fast(a, 1, FOLL_LONGTERM, pages_));
  // Private: a debugger may write it.
  ASSERT_EQ(1, PinRemote(mm_, a, 1, FOLL_WRITE | FOLL_FORCE, pages_ + 1));
  EXPECT_EQ(pages_[0], pages_[1]);
  unpin_user_pages(pages_, 2);
  // Shared: it may not.
  long b = vm_mmap(nullptr, 0, kPage, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, 0);
  EXPECT_EQ(-EFAULT, PinRemote(mm_, static_cast<unsigned long>(b), 1,
                               FOLL_WRITE | FOLL_FORCE, pages_));
}

TEST_F(GupTest, NoAccess) {
  unsigned long a = Map(kPage, PROT_NONE);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(a, 1, 0, pages_));
  ASSERT_EQ(1, PinRemote(mm_, a, 1, FOLL_FORCE, pages_));
  unpin_user_page(pages_[0]);
  unsigned long b = Map(kPage, PROT_WRITE);
  EXPECT_EQ(-EFAULT, PinRemote(mm_, b, 1, 0, pages_));
}

TEST_F(GupTest, PageThatLostItsWritePermission) {
  unsigned long a = Map(2 * kPage);
  ASSERT_TRUE(CanWrite(a));
  ASSERT_EQ(0, vm_mprotect(a, kPage, PROT_READ));
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(a, 1, FOLL_WRITE, pages_));
  ASSERT_EQ(1, pin_user_pages_fast(a, 1, 0, pages_));
  unpin_user_page(pages_[0]);
}

TEST_F(GupTest, FailedPages) {
  unsigned long a = Map(3 * kPage);
  ASSERT_TRUE(CanWrite(a + kPage));
  ASSERT_EQ(0, vm_poison(a + kPage, kPage));
  EXPECT_EQ(1, pin_user_pages_fast(a, 3, FOLL_WRITE, pages_));
  unpin_user_page(pages_[0]);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(a + kPage, 2, FOLL_WRITE, pages_));
  EXPECT_EQ(-EHWPOISON,
            pin_user_pages_fast(a + kPage, 2, FOLL_HWPOISON, pages_));
  EXPECT_EQ(-EFAULT, PinRemote(mm_, a + kPage, 1, 0, pages_));
}

TEST_F(GupTest, GetIsNoPin) {
  unsigned long a = Map(kPage);
  ASSERT_EQ(1, get_user_pages_fast(a, 1, FOLL_WRITE, pages_));
  EXPECT_EQ(0u, Pins());
  EXPECT_EQ(2, page_ref_count(pages_[0]));
  EXPECT_EQ(0, page_pin_count(pages_[0]));
  put_page(pages_[0]);
}

TEST_F(GupTest, RangesByFirstPage) {
  unsigned long a = Map(k2M, kRW, {.huge = true});
  std::vector<page*> pages(512);
  ASSERT_EQ(512, pin_user_pages_fast(a, 512, FOLL_WRITE, pages.data()));
  unpin_user_page_range_dirty_lock(pages[0], 500, true);
  EXPECT_EQ(12u, Pins());
  EXPECT_TRUE(PageDirty(pages[499]));
  EXPECT_FALSE(PageDirty(pages[500]));
  unpin_user_page_range_dirty_lock(pages[500], 12, false);
  EXPECT_FALSE(PageDirty(pages[500]));
  EXPECT_EQ(0u, Pins());
}

TEST_F(GupTest, AddAPin) {
  unsigned long a = Map(kPage);
  ASSERT_EQ(1, pin_user_pages_fast(a, 1, 0, pages_));
  EXPECT_EQ(0, page_add_pin(pages_[0]));
  EXPECT_EQ(2, page_pin_count(pages_[0]));
  page* both[] = {pages_[0], pages_[0]};
  unpin_user_pages_dirty_lock(both, 2, true);
  EXPECT_TRUE(PageDirty(pages_[0]));
}

TEST_F(GupTest, CountDoesNotOverflow) {
  unsigned long a = Map(kPage);
  int n = 0;
  while (pin_user_pages_fast(a, 1, 0, pages_) == 1) n++;
  EXPECT_GT(n, 2000000);
  EXPECT_EQ(-ENOMEM, pin_user_pages_fast(a, 1, 0, pages_));
  EXPECT_EQ(-ENOMEM, PinRemote(mm_, a, 1, 0, pages_));
  EXPECT_EQ(static_cast<size_t>(n), Pins());
  // A copy with a reference of its own still gets one.
  mm_add_task(mm_);
  EXPECT_TRUE(CanRead(a));
  page* p = pages_[0];
  while (n--) unpin_user_page(p);
}

// While somebody is between the page tables and its reference, the page is
// unmapped and its frame is given to the kernel.
TEST_F(GupTest, FrameThatChangedHands) {
  struct Hook : sched_hook {
    unsigned long addr = 0;
    page* at = nullptr;
    page* taken = nullptr;
  } hook;
  hook.point = [](sched_hook* self, task_struct*, sched_event,
                  const void* obj) {
    Hook* hook = static_cast<Hook*>(self);
    if (!hook->at || obj != hook->at) return;
    page* at = std::exchange(hook->at, nullptr);
    EXPECT_EQ(0, vm_munmap(hook->addr, kPage));
    hook->taken = alloc_page(GFP_KERNEL);
    EXPECT_EQ(at, hook->taken);
  };
  kernel_->sched = &hook;
  task_struct task(kernel_.get());
  task.mm = mm_;
  task.files = files_.get();
  task_scope scope(&task);
  mm_add_task(mm_);
  for (bool pin : {true, false}) {
    hook.addr = Map(kPage);
    page* p;
    ASSERT_EQ(1, get_user_pages_fast(hook.addr, 1, 0, &p));
    put_page(p);
    hook.at = p;
    if (pin)
      EXPECT_EQ(-EFAULT, pin_user_pages_fast(hook.addr, 1, 0, pages_));
    else
      EXPECT_FALSE(CanWrite(hook.addr));
    EXPECT_EQ(nullptr, hook.at);
    EXPECT_EQ(1, page_ref_count(hook.taken));
    EXPECT_EQ(0, *static_cast<char*>(page_address(hook.taken)));
    __free_page(hook.taken);
  }
}

TEST_F(GupTest, RemoteAccess) {
  unsigned long a = Map(2 * kPage);
  char buf[16] = {};
  EXPECT_EQ(10,
            access_remote_vm(mm_, a + kPage - 5, const_cast<char*>("012345678"),
                             10, FOLL_WRITE));
  EXPECT_EQ(10, access_remote_vm(mm_, a + kPage - 5, buf, 10, 0));
  EXPECT_STREQ("012345678", buf);
  EXPECT_EQ(6, access_remote_vm(mm_, a + 2 * kPage - 6, buf, 16, 0));
  EXPECT_EQ(0, access_remote_vm(mm_, 0, buf, 16, 0));
  EXPECT_EQ(0, vm_mprotect(a, 2 * kPage, PROT_READ));
  EXPECT_EQ(0, access_remote_vm(mm_, a, buf, 1, FOLL_WRITE));
}

TEST_F(GupTest, AnotherProcess) {
  unsigned long a = Map(kPage);
  ASSERT_EQ(0u, Out(a, "theirs", 7));
  mm_struct* other = arena_mm_alloc(kernel_.get());
  {
    kthread_mm_scope use(other);
    EXPECT_EQ(a, Map(kPage));
    char buf[8];
    EXPECT_EQ(0u, other->user_ops->copy_from_user(other, buf, a, 8));
    EXPECT_EQ(0, buf[0]);
    {
      kthread_mm_scope back(mm_);
      EXPECT_EQ(0u, current->mm->user_ops->copy_from_user(mm_, buf, a, 8));
      EXPECT_STREQ("theirs", buf);
    }
    EXPECT_EQ(other, current->mm);
  }
  EXPECT_EQ(mm_, current->mm);
  EXPECT_EQ(1, PinRemote(other, a, 1, FOLL_WRITE, pages_));
  EXPECT_EQ(2u, mm_get_residue(kernel_.get()).mms);
  mmput(other);
  EXPECT_EQ(1u, mm_get_residue(kernel_.get()).mms);
  EXPECT_EQ(2u, Pages());
  unpin_user_page(pages_[0]);
}

// ---- accounting ----

TEST_F(GupTest, LockedMemoryOfAnMm) {
  cred user = {.uid = 1000, .caps = 0};
  task_->cred = &user;
  task_->rlimit_memlock = 10 * kPage + kPage - 1;
  EXPECT_EQ(0, account_locked_vm(mm_, 10, true));
  EXPECT_EQ(-ENOMEM, account_locked_vm(mm_, 1, true));
  EXPECT_EQ(0, account_locked_vm(mm_, 0, true));
  EXPECT_EQ(0, account_locked_vm(nullptr, 5, true));
  EXPECT_EQ(0, account_locked_vm(mm_, 4, false));
  EXPECT_EQ(6, mm_get_residue(kernel_.get()).locked_vm);
  EXPECT_EQ(0, account_locked_vm(mm_, 4, true));
  EXPECT_EQ(-ENOMEM, account_locked_vm(mm_, 1, true));
  // The limit goes down under what is locked: giving back still works.
  task_->rlimit_memlock = 0;
  EXPECT_EQ(0, account_locked_vm(mm_, 3, false));
  EXPECT_EQ(-ENOMEM, account_locked_vm(mm_, 1, true));
  task_->cred = &root_cred;
  EXPECT_EQ(0, account_locked_vm(mm_, 1000, true));
  EXPECT_EQ(0, account_locked_vm(mm_, 1007, false));
  EXPECT_EQ(0, mm_get_residue(kernel_.get()).locked_vm);
}

TEST_F(GupTest, UnderTheCallersLock) {
  task_->rlimit_memlock = kPage;
  mmap_write_lock(mm_);
  EXPECT_EQ(-ENOMEM, __account_locked_vm(mm_, 2, true, task_.get(), false));
  EXPECT_EQ(0, __account_locked_vm(mm_, 2, true, task_.get(), true));
  EXPECT_EQ(0, __account_locked_vm(mm_, 2, false, task_.get(), false));
  mmap_write_unlock(mm_);
}

TEST_F(GupTest, Users) {
  EXPECT_EQ(0u, current_user()->uid);
  user_struct* u = alloc_uid(kernel_.get(), 1000);
  EXPECT_EQ(u, alloc_uid(kernel_.get(), 1000));
  EXPECT_NE(u, alloc_uid(kernel_.get(), 1001));
  cred cred = {.uid = 1000, .caps = 0, .user = u};
  task_->cred = &cred;
  EXPECT_EQ(u, get_uid(current_user()));
  EXPECT_EQ(1, mm_get_residue(kernel_.get()).users);
  atomic_long_add(5, &u->locked_vm);
  EXPECT_EQ(5, mm_get_residue(kernel_.get()).locked_vm);
  atomic_long_sub(5, &u->locked_vm);
  free_uid(u);
  task_->cred = &root_cred;
}

// ---- injected failures ----

// One failure at each site in turn: an error or nothing, and all of it goes
// away. Returns how many sites there are.
template <class F>
int Sweep(task_struct* task, F body) {
  for (int n = 1;; n++) {
    fail_nth_write(task, static_cast<u32>(n));
    body();
    bool fired = fail_nth_read(task) == 0;
    fail_nth_write(task, 0);
    if (!fired) return n - 1;
    if (n > 1000) return -1;
  }
}

TEST_F(GupTest, Sweep) {
  unsigned long hole = Map(8 * kPage);  // its page tables are there at the end
  int failed = 0;
  int sites = Sweep(task_.get(), [&] {
    page* pages[8];
    long a = vm_mmap(nullptr, 0, 8 * kPage, kRW, kAnon, 0);
    if (a < 0) {
      EXPECT_EQ(-ENOMEM, a);
      failed++;
      return;
    }
    auto addr = static_cast<unsigned long>(a);
    int n = pin_user_pages_fast(addr, 8, FOLL_WRITE | FOLL_LONGTERM, pages);
    if (n < 0) {
      EXPECT_EQ(-ENOMEM, n);
    }
    failed += n != 8;
    int rc = vm_munmap(addr + 2 * kPage, kPage);
    if (rc) {
      EXPECT_EQ(-ENOMEM, rc);
    }
    failed += rc != 0;
    if (n > 0) unpin_user_pages(pages, static_cast<unsigned long>(n));
    while (vm_munmap(addr, 8 * kPage)) {
    }
  });
  // A mapping, the page tables once, eight pages, one half of a mapping.
  EXPECT_GE(sites, 10);
  EXPECT_EQ(sites, failed);
  EXPECT_EQ(0, vm_munmap(hole, 8 * kPage));
}

TEST_F(GupTest, CopiesOfTheKernelDoNotMissTheirPage) {
  // The page that a copy touches first is not an injectable failure.
  unsigned long a = Map(kPage);
  fail_nth_write(task_.get(), 1);
  EXPECT_TRUE(CanWrite(a));
  EXPECT_EQ(1u, fail_nth_read(task_.get()));
  fail_nth_write(task_.get(), 0);
}

}  // namespace
}  // namespace mm_test
