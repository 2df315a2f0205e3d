// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <cstring>
#include <vector>

#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

class MemfdTest : public MmFixture {
 protected:
  file* Create(size_t size, const mapping_shape& shape = {}) {
    result<file*> f = memfd_create(size, shape);
    EXPECT_TRUE(f);
    return f ? *f : nullptr;
  }
  static unsigned long MapFile(file* f, unsigned long len,
                               unsigned long flags = MAP_SHARED,
                               unsigned long offset = 0,
                               unsigned long prot = kRW) {
    long a = vm_mmap(f, 0, len, prot, flags, offset);
    EXPECT_GT(a, 0);
    return static_cast<unsigned long>(a);
  }
  page* pages_[600] = {};
};

TEST_F(MemfdTest, TwoMappingsAreOneMemory) {
  file* f = Create(4 * kPage);
  unsigned long a = MapFile(f, 4 * kPage);
  unsigned long b = MapFile(f, 2 * kPage, MAP_SHARED, 2 * kPage);
  ASSERT_EQ(0u, Out(a + 3 * kPage + 7, "shared", 7));
  char buf[8];
  ASSERT_EQ(0u, In(b + kPage + 7, buf, 7));
  EXPECT_STREQ("shared", buf);
  EXPECT_EQ(1u, Pages());
  ASSERT_EQ(0, memfd_read(f, 3 * kPage + 7, buf, 7));
  EXPECT_STREQ("shared", buf);
  ASSERT_EQ(0, memfd_write(f, 4 * kPage - 3, "xyz", 3));
  EXPECT_EQ(-EFAULT, memfd_write(f, 4 * kPage - 3, "wxyz", 4));
  ASSERT_EQ(0u, In(b + 2 * kPage - 3, buf, 3));
  EXPECT_EQ('z', buf[2]);
  fput(f);
  // The mappings keep the file, the file keeps the pages.
  EXPECT_EQ(0, vm_munmap(a, 4 * kPage));
  Leave();
  EXPECT_EQ(1u, Pages());
  EXPECT_TRUE(CanRead(b + kPage));
  EXPECT_EQ(0, vm_munmap(b, 2 * kPage));
  Leave();
  EXPECT_EQ(0u, Pages());
}

TEST_F(MemfdTest, PagesOutliveTheirMapping) {
  file* f = Create(kPage);
  unsigned long a = MapFile(f, kPage);
  ASSERT_EQ(0u, Out(a, "kept", 5));
  EXPECT_EQ(0, vm_munmap(a, kPage));
  EXPECT_EQ(1u, Pages());
  a = MapFile(f, kPage);
  char buf[8];
  ASSERT_EQ(0u, In(a, buf, 5));
  EXPECT_STREQ("kept", buf);
  fput(f);
}

TEST_F(MemfdTest, PrivateMappingIsACopy) {
  file* f = Create(kPage);
  ASSERT_EQ(0, memfd_write(f, 0, "file", 5));
  unsigned long a = MapFile(f, kPage, MAP_PRIVATE);
  char buf[8];
  ASSERT_EQ(0u, In(a, buf, 5));
  EXPECT_STREQ("file", buf);
  ASSERT_EQ(0u, Out(a, "mine", 5));
  ASSERT_EQ(0, memfd_read(f, 0, buf, 5));
  EXPECT_STREQ("file", buf);
  fput(f);
}

TEST_F(MemfdTest, BeyondTheEnd) {
  file* f = Create(kPage + 1);
  unsigned long a = MapFile(f, 4 * kPage);
  EXPECT_TRUE(CanWrite(a + 2 * kPage - 1));  // the rest of the last page
  EXPECT_FALSE(CanRead(a + 2 * kPage));
  EXPECT_EQ(2, pin_user_pages_fast(a, 4, FOLL_WRITE, pages_));
  unpin_user_pages(pages_, 2);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(a + 2 * kPage, 1, 0, pages_));
  EXPECT_EQ(kPage + 1, memfd_size(f));
  EXPECT_EQ(0, memfd_truncate(f, 3 * kPage));
  EXPECT_TRUE(CanRead(a + 2 * kPage));
  fput(f);
}

TEST_F(MemfdTest, TruncationLetsPinsLive) {
  file* f = Create(4 * kPage);
  ASSERT_EQ(4, memfd_pin_pages(f, 0, 4, pages_));
  ASSERT_EQ(0, memfd_write(f, 2 * kPage, "old", 4));
  EXPECT_EQ(0, memfd_truncate(f, kPage));
  EXPECT_EQ(4u, Pages());
  EXPECT_EQ(0, memfd_truncate(f, 4 * kPage));
  char buf[4];
  EXPECT_EQ(0, memfd_read(f, 2 * kPage, buf, 4));
  EXPECT_EQ(0, buf[0]);
  EXPECT_STREQ("old", static_cast<char*>(page_address(pages_[2])));
  unpin_user_pages(pages_, 4);
  EXPECT_EQ(2u, Pages());
  fput(f);
}

TEST_F(MemfdTest, WhatWasCutOffIsZeroAgain) {
  file* f = Create(kPage);
  ASSERT_EQ(0, memfd_write(f, 0, "abcd", 4));
  EXPECT_EQ(0, memfd_truncate(f, 2));
  EXPECT_EQ(0, memfd_truncate(f, kPage));
  char buf[4];
  ASSERT_EQ(0, memfd_read(f, 0, buf, 4));
  EXPECT_EQ(0, memcmp(buf, "ab\0", 4));
  fput(f);
}

TEST_F(MemfdTest, Pins) {
  file* f = Create(4 * kPage);
  ASSERT_EQ(2, memfd_pin_pages(f, 1, 2, pages_));
  EXPECT_EQ(2u, Pins());
  EXPECT_EQ(1, page_pin_count(pages_[0]));
  unsigned long a = MapFile(f, 4 * kPage);
  page* mapped;
  ASSERT_EQ(1, pin_user_pages_fast(a + kPage, 1, FOLL_WRITE, &mapped));
  EXPECT_EQ(pages_[0], mapped);
  EXPECT_EQ(2, page_pin_count(mapped));
  unpin_user_page(mapped);
  fput(f);
  EXPECT_EQ(0, vm_munmap(a, 4 * kPage));
  Leave();
  EXPECT_EQ(2u, Pages());  // the pins alone
  unpin_user_pages(pages_, 2);
  EXPECT_EQ(0u, Pages());
}

TEST_F(MemfdTest, PinErrors) {
  file* f = Create(4 * kPage);
  EXPECT_EQ(-EINVAL, memfd_pin_pages(f, 4, 1, pages_));
  EXPECT_EQ(-EINVAL, memfd_pin_pages(f, 2, 3, pages_));
  EXPECT_EQ(-EINVAL, memfd_pin_pages(f, ~0UL, 2, pages_));
  EXPECT_EQ(-EINVAL, memfd_pin_pages(f, 0, 0, pages_));
  static constexpr file_operations fops = {.name = "other"};
  result<file*> other = anon_inode_getfile("other", &fops, nullptr, 0);
  EXPECT_EQ(-EINVAL, memfd_pin_pages(*other, 0, 1, pages_));
  EXPECT_FALSE(is_memfd(*other));
  EXPECT_EQ(-EINVAL, memfd_truncate(*other, 0));
  fput(*other);
  fput(f);
  EXPECT_EQ(0u, Pins());
}

TEST_F(MemfdTest, AllOrNoneOnFailure) {
  file* f = Create(4 * kPage);
  // The index of the file, then each page: what a failed call made stays.
  for (int failures = 0;; failures++) {
    fail_nth_write(task_.get(), failures == 0 ? 1 : 2);
    long n = memfd_pin_pages(f, 0, 4, pages_);
    bool fired = fail_nth_read(task_.get()) == 0;
    fail_nth_write(task_.get(), 0);
    if (!fired) {
      EXPECT_EQ(4, n);
      EXPECT_EQ(5, failures);
      unpin_user_pages(pages_, 4);
      break;
    }
    EXPECT_EQ(-ENOMEM, n);
    EXPECT_EQ(0u, Pins());
  }
  fput(f);
}

TEST_F(MemfdTest, Huge) {
  file* f = Create(k2M + 1, {.huge = true});
  EXPECT_EQ(2 * k2M, memfd_size(f));
  unsigned long a = MapFile(f, 2 * k2M);
  EXPECT_EQ(0u, a % k2M);
  ASSERT_EQ(512, memfd_pin_pages(f, 512, 512, pages_));
  EXPECT_EQ(0u, page_to_pfn(pages_[0]) % 512);
  EXPECT_EQ(page_to_pfn(pages_[0]) + 511, page_to_pfn(pages_[511]));
  page* p;
  ASSERT_EQ(1, pin_user_pages_fast(a + k2M + 5 * kPage, 1, 0, &p));
  EXPECT_EQ(pages_[5], p);
  unpin_user_page(p);
  unpin_user_pages(pages_, 512);
  EXPECT_EQ(-EINVAL, memfd_truncate(f, kPage));
  EXPECT_EQ(0, memfd_truncate(f, k2M));
  EXPECT_EQ(-EINVAL, vm_mmap(f, 0, k2M, kRW, MAP_SHARED, kPage));
  fput(f);
}

TEST_F(MemfdTest, HugeWinsOverFragmented) {
  page* other = alloc_page(GFP_KERNEL);
  file* f = Create(k2M, {.huge = true, .fragmented = true});
  ASSERT_EQ(512, memfd_pin_pages(f, 0, 512, pages_));
  EXPECT_EQ(0u, page_to_pfn(pages_[0]) % 512);
  EXPECT_EQ(page_to_pfn(pages_[0]) + 511, page_to_pfn(pages_[511]));
  EXPECT_EQ(513u, Pages());
  unpin_user_pages(pages_, 512);
  fput(f);
  __free_page(other);
}

TEST_F(MemfdTest, FragmentedAndPoisoned) {
  file* f = Create(8 * kPage, {.fragmented = true});
  ASSERT_EQ(8, memfd_pin_pages(f, 0, 8, pages_));
  for (int i = 1; i < 8; i++)
    EXPECT_NE(page_to_pfn(pages_[i - 1]) + 1, page_to_pfn(pages_[i]));
  unpin_user_pages(pages_, 8);
  fput(f);
  f = Create(kPage, {.poisoned = true});
  EXPECT_EQ(-EFAULT, memfd_pin_pages(f, 0, 1, pages_));
  unsigned long a = MapFile(f, kPage);
  EXPECT_FALSE(CanRead(a));
  EXPECT_EQ(-EHWPOISON, pin_user_pages_fast(a, 1, FOLL_HWPOISON, pages_));
  fput(f);
}

TEST_F(MemfdTest, Limits) {
  result<file*> f = memfd_create(1UL << 40, {});
  EXPECT_FALSE(f);
  EXPECT_EQ(-EINVAL, f.error());
  EXPECT_EQ(-EINVAL, memfd_create(~0UL, {.huge = true}).error());
  for (u32 nth = 1; nth < 10; nth++) {
    fail_nth_write(task_.get(), nth);
    result<file*> g = memfd_create(kPage, {});
    bool fired = fail_nth_read(task_.get()) == 0;
    fail_nth_write(task_.get(), 0);
    if (!fired) {
      ASSERT_TRUE(g);
      fput(*g);
      break;
    }
    ASSERT_FALSE(g);
  }
}

}  // namespace
}  // namespace mm_test
