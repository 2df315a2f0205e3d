// SPDX-License-Identifier: GPL-2.0-or-later
//
// User addresses that are pointers of this process.
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

class HostTest : public MmFixture {
 protected:
  HostTest() : MmFixture(true) {
    mem_ = static_cast<char*>(::mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  ~HostTest() override { ::munmap(mem_, 4 * kPage); }
  static unsigned long Addr(const void* p) {
    return reinterpret_cast<unsigned long>(p);
  }

  char* mem_;
  page* pages_[8] = {};
};

TEST_F(HostTest, Copies) {
  char buf[16] = {};
  strcpy(mem_ + 5, "text");
  EXPECT_EQ(0u, In(Addr(mem_ + 5), buf, 5));
  EXPECT_STREQ("text", buf);
  EXPECT_EQ(0u, Out(Addr(mem_ + kPage - 2), "over", 5));
  EXPECT_STREQ("over", mem_ + kPage - 2);
  int on_stack = 5, v = 0;
  EXPECT_EQ(0u, In(Addr(&on_stack), &v, sizeof(v)));
  EXPECT_EQ(5, v);
  EXPECT_EQ(0u, mm_->user_ops->clear_user(mm_, Addr(mem_ + kPage - 2), 300));
  EXPECT_EQ(0, mem_[kPage]);
}

TEST_F(HostTest, BadPointersAreErrors) {
  char buf[8] = {};
  for (unsigned long addr : {0UL, 8UL, 1UL << 47, ~0UL, ~0UL - 7}) {
    EXPECT_NE(0u, In(addr, buf, 8)) << addr;
    EXPECT_NE(0u, Out(addr, buf, 8)) << addr;
    EXPECT_EQ(-EFAULT, PinRemote(mm_, addr & PAGE_MASK, 1, 0, pages_));
  }
  ASSERT_EQ(0, ::mprotect(mem_, kPage, PROT_READ));
  EXPECT_EQ(0u, In(Addr(mem_), buf, 8));
  EXPECT_NE(0u, Out(Addr(mem_), buf, 8));
  ASSERT_EQ(0, ::mprotect(mem_, kPage, PROT_NONE));
  EXPECT_NE(0u, In(Addr(mem_), buf, 8));
}

TEST_F(HostTest, Pins) {
  ASSERT_EQ(3, pin_user_pages_fast(Addr(mem_ + 10), 3, FOLL_WRITE, pages_));
  EXPECT_EQ(3u, Pins());
  EXPECT_EQ(3u, Pages());
  EXPECT_EQ(1, page_pin_count(pages_[0]));
  EXPECT_EQ(mem_ + kPage, page_address(pages_[1]));
  EXPECT_EQ(pages_[1], pfn_to_page(page_to_pfn(pages_[1])));
  EXPECT_EQ(page_to_pfn(pages_[0]) + 1, page_to_pfn(pages_[1]));
  page* again;
  ASSERT_EQ(1, PinRemote(mm_, Addr(mem_ + kPage), 1, 0, &again));
  EXPECT_EQ(pages_[1], again);
  EXPECT_EQ(2, page_pin_count(again));
  unpin_user_page(again);
  memcpy_to_page(pages_[2], 4, "dma", 4);
  EXPECT_STREQ("dma", mem_ + 2 * kPage + 4);
  unsigned long pfn = page_to_pfn(pages_[0]);
  unpin_user_page_range_dirty_lock(pages_[0], 3, true);
  EXPECT_EQ(0u, Pages());
  EXPECT_EQ(nullptr, pfn_to_page(pfn));
}

TEST_F(HostTest, PermissionOfPins) {
  ASSERT_EQ(0, ::mprotect(mem_ + kPage, kPage, PROT_READ));
  EXPECT_EQ(1, pin_user_pages_fast(Addr(mem_), 4, FOLL_WRITE, pages_));
  unpin_user_page(pages_[0]);
  EXPECT_EQ(-EFAULT,
            pin_user_pages_fast(Addr(mem_ + kPage), 1, FOLL_WRITE, pages_));
  EXPECT_EQ(1, pin_user_pages_fast(Addr(mem_ + kPage), 1, 0, pages_));
  unpin_user_page(pages_[0]);
  ASSERT_EQ(0, ::munmap(mem_ + 2 * kPage, kPage));
  EXPECT_EQ(2, pin_user_pages_fast(Addr(mem_), 4, 0, pages_));
  unpin_user_pages(pages_, 2);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(Addr(mem_ + 2 * kPage), 1, 0, pages_));
}

TEST_F(HostTest, PinnedPageThatTheProcessUnmapped) {
  ASSERT_EQ(1, pin_user_pages_fast(Addr(mem_), 1, FOLL_WRITE, pages_));
  ASSERT_EQ(0, ::munmap(mem_, kPage));
  char buf[4] = {1, 1, 1, 1};
  memcpy_from_page(buf, pages_[0], 0, 4);  // no crash: zeroes
  EXPECT_EQ(0, buf[0]);
  memcpy_to_page(pages_[0], 0, "abc", 4);
  unpin_user_page(pages_[0]);
}

TEST_F(HostTest, AnonymousMemory) {
  unsigned long a = Map(2 * kPage);
  strcpy(reinterpret_cast<char*>(a), "by pointer");
  char buf[16];
  EXPECT_EQ(0u, In(a, buf, 11));
  EXPECT_STREQ("by pointer", buf);
  EXPECT_EQ(0, vm_munmap(a + kPage, kPage));
  EXPECT_TRUE(CanRead(a));
  EXPECT_FALSE(CanRead(a + kPage));
  unsigned long huge = Map(k2M, kRW, {.huge = true});
  EXPECT_EQ(0u, huge % k2M);
  unsigned long bad = Map(kPage, kRW, {.poisoned = true});
  EXPECT_FALSE(CanRead(bad));
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(bad, 1, 0, pages_));
  EXPECT_EQ(-EHWPOISON, pin_user_pages_fast(bad, 1, FOLL_HWPOISON, pages_));
  EXPECT_EQ(0, vm_poison(a, kPage));
  EXPECT_FALSE(CanRead(a));
}

TEST_F(HostTest, BadFixedAddressLeavesWhatIsThere) {
  unsigned long a = Map(2 * kPage);
  EXPECT_EQ(-EINVAL, vm_mmap(nullptr, a + 1, kPage, kRW, kAnon | MAP_FIXED, 0));
  EXPECT_EQ(-ENOMEM,
            vm_mmap(nullptr, ~0UL << 12, kPage, kRW, kAnon | MAP_FIXED, 0));
  EXPECT_EQ(1u, Vmas());
  EXPECT_TRUE(CanWrite(a));
}

TEST_F(HostTest, UnmapsWhatItDidNotMap) {
  EXPECT_EQ(0, vm_munmap(Addr(mem_), kPage));
  EXPECT_FALSE(CanRead(Addr(mem_)));
  EXPECT_TRUE(CanRead(Addr(mem_ + kPage)));
}

TEST_F(HostTest, MemfdByPointer) {
  result<file*> f = memfd_create(3 * kPage, {});
  ASSERT_TRUE(f);
  long a = vm_mmap(*f, 0, 2 * kPage, kRW, MAP_SHARED, kPage);
  ASSERT_GT(a, 0);
  char* p = reinterpret_cast<char*>(a);
  strcpy(p + kPage, "in the file");
  char buf[16];
  EXPECT_EQ(0, memfd_read(*f, 2 * kPage, buf, 12));
  EXPECT_STREQ("in the file", buf);
  ASSERT_EQ(1, memfd_pin_pages(*f, 2, 1, pages_));
  page* mapped;
  ASSERT_EQ(1, pin_user_pages_fast(Addr(p + kPage), 1, FOLL_WRITE, &mapped));
  EXPECT_EQ(pages_[0], mapped);
  unpin_user_page(mapped);
  fput(*f);
  EXPECT_EQ(0, vm_munmap(Addr(p), 2 * kPage));
  EXPECT_STREQ("in the file", static_cast<char*>(page_address(pages_[0])));
  unpin_user_page(pages_[0]);
}

struct Dev {
  phys_addr_t phys;
  int closed;
};
void Close(vm_area_struct* vma) {
  static_cast<Dev*>(vma->vm_private_data)->closed++;
}
constexpr vm_operations_struct kVmOps = {
    .open = nullptr, .close = Close, .may_split = nullptr};
int Mmap(file* f, vm_area_struct* vma) {
  auto* dev = static_cast<Dev*>(f->private_data);
  vma->vm_private_data = dev;
  vma->vm_ops = &kVmOps;
  return io_remap_pfn_range(vma, vma->vm_start, dev->phys >> PAGE_SHIFT,
                            vma->vm_end - vma->vm_start, vma->vm_page_prot);
}
bool ReadReg(void*, u64 off, unsigned, u64* val) {
  *val = 0x100 + off;
  return true;
}
constexpr file_operations kFops = {.mmap = Mmap, .name = "dev"};

TEST_F(HostTest, DeviceRamByPointer) {
  page* p = alloc_pages(GFP_KERNEL, 1);
  Dev dev = {page_to_phys(p), 0};
  result<file*> f = anon_inode_getfile("dev", &kFops, &dev, 0);
  long a = vm_mmap(*f, 0, 2 * kPage, kRW, MAP_SHARED, 0);
  ASSERT_GT(a, 0);
  auto* user = reinterpret_cast<volatile u32*>(a);
  static_cast<u32*>(page_address(p))[kPage / 4] = 77;
  EXPECT_EQ(77u, user[kPage / 4]);
  user[1] = 88;
  EXPECT_EQ(88u, static_cast<u32*>(page_address(p))[1]);
  EXPECT_EQ(-EFAULT,
            pin_user_pages_fast(static_cast<unsigned long>(a), 1, 0, pages_));
  fput(*f);
  EXPECT_EQ(0, vm_munmap(static_cast<unsigned long>(a), 2 * kPage));
  EXPECT_EQ(1, dev.closed);
  __free_pages(p, 1);
}

TEST_F(HostTest, RegistersThroughTheSurface) {
  static constexpr mmio_ops ops = {ReadReg, nullptr};
  mmio_region region;
  region.phys = 0x20000000;
  region.size = kPage;
  region.ops = &ops;
  ASSERT_EQ(0, mmio_register(kernel_.get(), &region));
  Dev dev = {region.phys, 0};
  result<file*> f = anon_inode_getfile("dev", &kFops, &dev, 0);
  long a = vm_mmap(*f, 0, kPage, PROT_READ, MAP_SHARED, 0);
  ASSERT_GT(a, 0);
  u32 v = 0;
  EXPECT_EQ(0u, In(static_cast<unsigned long>(a) + 16, &v, 4));
  EXPECT_EQ(0x110u, v);
  EXPECT_NE(0u, Out(static_cast<unsigned long>(a) + 16, &v, 4));
  fput(*f);
  EXPECT_EQ(0, vm_munmap(static_cast<unsigned long>(a), kPage));
  mmio_unregister(kernel_.get(), &region);
}

}  // namespace
}  // namespace mm_test
