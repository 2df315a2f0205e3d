// SPDX-License-Identifier: GPL-2.0-or-later
//
// dup_mm(): what a child's memory has in common with its parent's.
#include <cerrno>
#include <memory>
#include <string>

#include "tests/mm/mm_fixture.h"

namespace {

using mm_test::k2M;
using mm_test::kPage;
using mm_test::kRW;

constexpr unsigned long kSharedAnon = MAP_SHARED | MAP_ANONYMOUS;

class ForkTest : public mm_test::MmFixture {
 protected:
  mm_struct* Fork() {
    result<mm_struct*> child = dup_mm(mm_);
    EXPECT_TRUE(child) << child.error();
    return child ? *child : nullptr;
  }
  static std::string At(mm_struct* mm, unsigned long addr, size_t n) {
    std::string s(n, '?');
    EXPECT_EQ(0u, mm->user_ops->copy_from_user(mm, s.data(), addr, n));
    return s;
  }
  static void Put(mm_struct* mm, unsigned long addr, const std::string& s) {
    EXPECT_EQ(0u, mm->user_ops->copy_to_user(mm, addr, s.data(), s.size()));
  }
};

TEST_F(ForkTest, PrivateMemoryIsCopied) {
  const unsigned long addr = Map(4 * kPage);
  Put(mm_, addr + kPage, "parent");
  mm_struct* child = Fork();
  EXPECT_EQ("parent", At(child, addr + kPage, 6));
  EXPECT_EQ(2u, Pages());  // what nobody touched has no page in either
  Put(child, addr + kPage, "child!");
  Put(mm_, addr + 2 * kPage, "later");
  EXPECT_EQ("parent", At(mm_, addr + kPage, 6));
  EXPECT_EQ(std::string(5, '\0'), At(child, addr + 2 * kPage, 5));
  EXPECT_EQ(2u, Vmas());
  mmput(child);
  EXPECT_EQ(2u, Pages());
  EXPECT_EQ("later", At(mm_, addr + 2 * kPage, 5));
}

TEST_F(ForkTest, APinnedPageStaysTheParents) {
  const unsigned long addr = Map(kPage);
  Put(mm_, addr, "pinned");
  page* parents;
  ASSERT_EQ(1, PinRemote(mm_, addr, 1, FOLL_WRITE, &parents));
  mm_struct* child = Fork();
  page* childs;
  ASSERT_EQ(1, PinRemote(child, addr, 1, FOLL_WRITE, &childs));
  EXPECT_NE(parents, childs);
  EXPECT_EQ(1, page_pin_count(parents));
  EXPECT_EQ(1, page_pin_count(childs));
  memcpy_to_page(parents, 0, "device", 6);
  EXPECT_EQ("device", At(mm_, addr, 6));
  EXPECT_EQ("pinned", At(child, addr, 6));
  // The child is gone, what was pinned of it is not.
  mmput(child);
  char buf[6];
  memcpy_from_page(buf, childs, 0, sizeof(buf));
  EXPECT_EQ("pinned", std::string(buf, sizeof(buf)));
  unpin_user_page(childs);
  unpin_user_page(parents);
  EXPECT_EQ(1u, Pages());
}

TEST_F(ForkTest, SharedMemoryIsTheSame) {
  const long anon = vm_mmap(nullptr, 0, 2 * kPage, kRW, kSharedAnon, 0);
  result<file*> memfd = memfd_create(2 * kPage, {});
  ASSERT_TRUE(memfd);
  const long of_file = vm_mmap(*memfd, 0, 2 * kPage, kRW, MAP_SHARED, 0);
  fput(*memfd);
  mm_struct* child = Fork();
  for (const long addr : {anon, of_file}) {
    ASSERT_GT(addr, 0);
    const unsigned long a = static_cast<unsigned long>(addr);
    page *one, *two;
    // The first page nobody has touched before the fork.
    ASSERT_EQ(1, PinRemote(child, a, 1, FOLL_WRITE, &one));
    ASSERT_EQ(1, PinRemote(mm_, a, 1, FOLL_WRITE, &two));
    EXPECT_EQ(one, two);
    EXPECT_EQ(2, page_pin_count(one));
    unpin_user_page(one);
    unpin_user_page(two);
    Put(child, a + kPage, "from the child");
    EXPECT_EQ("from the child", At(mm_, a + kPage, 14));
  }
  // The memory lasts as long as one of them maps it.
  EXPECT_EQ(0, vm_munmap(static_cast<unsigned long>(anon), 2 * kPage));
  EXPECT_EQ(0, vm_munmap(static_cast<unsigned long>(of_file), 2 * kPage));
  Leave();
  EXPECT_EQ(4u, Pages());
  EXPECT_EQ("from the child",
            At(child, static_cast<unsigned long>(anon) + kPage, 14));
  mmput(child);
  Leave();
  EXPECT_EQ(0u, Pages());
}

TEST_F(ForkTest, SharedHugeMemoryIsHuge) {
  const long addr =
      vm_mmap(nullptr, 0, kPage, kRW, kSharedAnon | MAP_HUGETLB, 0);
  ASSERT_GT(addr, 0);
  const unsigned long a = static_cast<unsigned long>(addr);
  EXPECT_EQ(0u, a % k2M);
  Put(mm_, a + k2M - 1, "x");
  EXPECT_EQ(512u, Pages());
  EXPECT_EQ(-EINVAL, vm_munmap(a, kPage));
  mm_struct* child = Fork();
  EXPECT_EQ("x", At(child, a + k2M - 1, 1));
  EXPECT_EQ(512u, Pages());
  mmput(child);
  EXPECT_EQ(0, vm_munmap(a, k2M));
}

TEST_F(ForkTest, PrivateHugeMemoryStaysHuge) {
  const unsigned long addr = Map(k2M, kRW, {.huge = true});
  Put(mm_, addr + 5 * kPage, "five");
  mm_struct* child = Fork();
  EXPECT_EQ(1024u, Pages());
  page* pages[2];
  ASSERT_EQ(2, PinRemote(child, addr + 4 * kPage, 2, FOLL_WRITE, pages));
  EXPECT_EQ(page_to_pfn(pages[0]) + 1, page_to_pfn(pages[1]));
  EXPECT_EQ(5u, page_to_pfn(pages[1]) % 512);
  unpin_user_pages(pages, 2);
  EXPECT_EQ("five", At(child, addr + 5 * kPage, 4));
  Put(child, addr + 5 * kPage, "5");
  EXPECT_EQ("five", At(mm_, addr + 5 * kPage, 4));
  mmput(child);
  EXPECT_EQ(512u, Pages());
}

TEST_F(ForkTest, ProtectionAndFailureAreInherited) {
  const unsigned long ro = Map(kPage, PROT_READ);
  const unsigned long bad = Map(kPage, kRW, {.poisoned = true});
  const unsigned long cow = Map(kPage);
  Put(mm_, cow, "was written");
  EXPECT_EQ(0, vm_mprotect(cow, kPage, PROT_READ));
  mm_struct* child = Fork();
  EXPECT_EQ(1u, child->user_ops->copy_to_user(child, ro, "x", 1));
  EXPECT_EQ(1u, child->user_ops->copy_to_user(child, cow, "x", 1));
  EXPECT_EQ("was written", At(child, cow, 11));
  page* page;
  EXPECT_EQ(-EHWPOISON, PinRemote(child, bad, 1, FOLL_HWPOISON, &page));
  mmput(child);
}

TEST_F(ForkTest, NothingIsAccountedToTheChild) {
  Map(kPage);
  EXPECT_EQ(0, account_locked_vm(mm_, 3, true));
  to_sim_mm(mm_)->pinned_vm.fetch_add(2);
  mm_struct* child = Fork();
  mmap_read_lock(child);
  EXPECT_EQ(3, mm_get_residue(kernel_.get()).locked_vm);
  mmap_read_unlock(child);
  EXPECT_EQ(0, to_sim_mm(child)->pinned_vm.load());
  to_sim_mm(mm_)->pinned_vm.fetch_sub(2);
  EXPECT_EQ(0, account_locked_vm(mm_, 3, false));
  mmput(child);
}

struct Device {
  int opened = 0, closed = 0;
  u64 reg = 7;
};
void VmaOpen(vm_area_struct* vma) {
  static_cast<Device*>(vma->vm_private_data)->opened++;
}
void VmaClose(vm_area_struct* vma) {
  static_cast<Device*>(vma->vm_private_data)->closed++;
}
constexpr vm_operations_struct kVmOps = {
    .open = VmaOpen, .close = VmaClose, .may_split = nullptr};
constexpr unsigned long kPhys = 0x10000000;

int DeviceMmap(file* f, vm_area_struct* vma) {
  vma->vm_private_data = f->private_data;
  vma->vm_ops = &kVmOps;
  static_cast<Device*>(f->private_data)->opened++;
  return io_remap_pfn_range(vma, vma->vm_start, kPhys >> PAGE_SHIFT,
                            vma->vm_end - vma->vm_start, vma->vm_page_prot);
}
constexpr file_operations kDeviceFops = {.mmap = DeviceMmap, .name = "device"};
constexpr mmio_ops kMmio = {
    .read =
        [](void* opaque, u64, unsigned, u64* val) {
          *val = static_cast<Device*>(opaque)->reg;
          return true;
        },
    .write =
        [](void* opaque, u64, unsigned, u64 val) {
          static_cast<Device*>(opaque)->reg = val;
          return true;
        },
};

TEST_F(ForkTest, ADeviceMappingIsInherited) {
  Device dev;
  mmio_region region;
  region.phys = kPhys;
  region.size = kPage;
  region.ops = &kMmio;
  region.opaque = &dev;
  ASSERT_EQ(0, mmio_register(kernel_.get(), &region));
  result<file*> f = anon_inode_getfile("device", &kDeviceFops, &dev, 0);
  ASSERT_TRUE(f);
  const long addr = vm_mmap(*f, 0, kPage, kRW, MAP_SHARED, 0);
  fput(*f);
  ASSERT_GT(addr, 0);
  const unsigned long a = static_cast<unsigned long>(addr);
  mm_struct* child = Fork();
  EXPECT_EQ(2, dev.opened);
  const u64 nine = 9;
  EXPECT_EQ(0u, child->user_ops->copy_to_user(child, a, &nine, 8));
  EXPECT_EQ(9u, dev.reg);
  EXPECT_EQ(0, vm_munmap(a, kPage));
  EXPECT_EQ(1, dev.closed);
  mmput(child);
  EXPECT_EQ(2, dev.closed);
  Leave();
  mmio_unregister(kernel_.get(), &region);
}

// Whatever fails, the half-made child leaves nothing: the fixture looks.
TEST_F(ForkTest, EachAllocationFails) {
  const unsigned long addr = Map(3 * kPage);
  Put(mm_, addr, "a");
  Put(mm_, addr + 2 * kPage, "b");
  const unsigned long huge = Map(k2M, kRW, {.huge = true});
  Put(mm_, huge, "c");
  EXPECT_GT(vm_mmap(nullptr, 0, kPage, kRW, kSharedAnon, 0), 0);
  int failures = 0;
  for (u32 n = 1;; n++) {
    fail_nth_write(task_.get(), n);
    result<mm_struct*> child = dup_mm(mm_);
    const bool injected = fail_nth_read(task_.get()) == 0;
    fail_nth_write(task_.get(), 0);
    Leave();
    if (child) {
      EXPECT_FALSE(injected);
      EXPECT_EQ("b", At(*child, addr + 2 * kPage, 1));
      mmput(*child);
      break;
    }
    EXPECT_EQ(-ENOMEM, child.error());
    EXPECT_EQ(1u, mm_get_residue(kernel_.get()).mms);
    EXPECT_EQ(3u, Vmas());
    EXPECT_EQ(514u, Pages());
    failures++;
  }
  EXPECT_GE(failures, 6);
}

}  // namespace
