// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

class PageTest : public MmFixture {
 protected:
  PageTest() : MmFixture(false, 256 * kPage) {}
};

TEST_F(PageTest, LowestFreeFrameFirst) {
  page* a = alloc_page(GFP_KERNEL);
  page* b = alloc_page(GFP_KERNEL);
  page* c = alloc_page(GFP_KERNEL);
  EXPECT_EQ(RAM_PFN_BASE, page_to_pfn(a));
  EXPECT_EQ(page_to_pfn(a) + 1, page_to_pfn(b));
  EXPECT_EQ(page_to_pfn(a) + 2, page_to_pfn(c));
  __free_page(a);
  __free_page(b);
  EXPECT_EQ(a, alloc_page(GFP_KERNEL));
  EXPECT_EQ(b, alloc_page(GFP_KERNEL));
  for (page* p : {a, b, c}) __free_page(p);
}

TEST_F(PageTest, AddressesAgree) {
  page* p = alloc_pages(GFP_KERNEL, 2);
  EXPECT_EQ(0u, page_to_pfn(p) % 4);
  char* addr = static_cast<char*>(page_address(p));
  for (int i = 0; i < 4; i++) {
    EXPECT_EQ(addr + i * kPage, page_address(p + i));
    EXPECT_EQ(page_to_pfn(p) + i, page_to_pfn(p + i));
    EXPECT_EQ(p + i, pfn_to_page(page_to_pfn(p) + i));
    EXPECT_EQ(p + i, virt_to_page(addr + i * kPage + 5));
  }
  EXPECT_EQ(page_to_phys(p) + 5, virt_to_phys(addr + 5));
  EXPECT_EQ(addr + 5, phys_to_virt(page_to_phys(p) + 5));
  EXPECT_EQ(p, phys_to_page(page_to_phys(p) + 5));
  __free_pages(p, 2);
}

TEST_F(PageTest, NoPageBehindOtherPfns) {
  EXPECT_EQ(nullptr, pfn_to_page(0));
  EXPECT_EQ(nullptr, pfn_to_page(RAM_PFN_BASE - 1));
  EXPECT_EQ(nullptr, pfn_to_page(RAM_PFN_BASE + 256));
  EXPECT_EQ(nullptr, pfn_to_page(HOST_PFN_BASE + 1));
  EXPECT_EQ(nullptr, pfn_to_page(~0UL));
  EXPECT_FALSE(pfn_valid(0));
  EXPECT_EQ(nullptr, phys_to_virt(RAM_PHYS_BASE + 256 * kPage));
}

TEST_F(PageTest, MemoryIsZeroAgain) {
  page* p = alloc_page(GFP_KERNEL);
  memset(page_address(p), 0xff, kPage);
  __free_page(p);
  ASSERT_EQ(p, alloc_page(GFP_KERNEL));
  const char* c = static_cast<char*>(page_address(p));
  EXPECT_EQ(static_cast<long>(kPage), std::count(c, c + kPage, 0));
  EXPECT_FALSE(PageDirty(p));
  __free_page(p);
}

TEST_F(PageTest, RamIsBounded) {
  std::vector<page*> pages;
  while (page* p = alloc_page(GFP_KERNEL)) pages.push_back(p);
  EXPECT_EQ(256u, pages.size());
  EXPECT_EQ(256u, Pages());
  __free_page(pages[100]);
  __free_page(pages[101]);
  // Two free frames that are no aligned pair.
  pages.erase(pages.begin() + 100, pages.begin() + 102);
  page* p = alloc_pages(GFP_KERNEL, 1);
  EXPECT_NE(nullptr, p);
  __free_pages(p, 1);
  p = alloc_pages(GFP_KERNEL, 2);
  EXPECT_EQ(nullptr, p);
  for (page* q : pages) __free_page(q);
  // All of it in one piece again.
  p = alloc_pages(GFP_KERNEL, 8);
  ASSERT_NE(nullptr, p);
  EXPECT_EQ(RAM_PFN_BASE, page_to_pfn(p));
  __free_pages(p, 8);
  EXPECT_EQ(nullptr, alloc_pages(GFP_KERNEL, 9));
  EXPECT_EQ(nullptr, alloc_pages(GFP_KERNEL, 11));
}

TEST_F(PageTest, BlocksOfEveryOrderAreAlignedAndDisjoint) {
  std::set<unsigned long> seen;
  std::vector<std::pair<page*, unsigned>> blocks;
  for (unsigned order : {0u, 3u, 1u, 5u, 6u, 0u, 2u, 4u}) {
    page* p = alloc_pages(GFP_KERNEL, order);
    ASSERT_NE(nullptr, p);
    EXPECT_EQ(0u, (page_to_pfn(p) - RAM_PFN_BASE) % (1u << order));
    for (unsigned i = 0; i < 1u << order; i++)
      EXPECT_TRUE(seen.insert(page_to_pfn(p) + i).second);
    blocks.emplace_back(p, order);
  }
  for (auto [p, order] : blocks) __free_pages(p, order);
}

TEST_F(PageTest, FreePagesByAddress) {
  unsigned long addr = __get_free_pages(GFP_KERNEL, 1);
  ASSERT_NE(0u, addr);
  EXPECT_EQ(2u, Pages());
  free_pages(addr, 1);
  addr = get_zeroed_page(GFP_KERNEL);
  free_page(addr);
  free_page(0);
}

TEST_F(PageTest, References) {
  page* p = alloc_page(GFP_KERNEL);
  EXPECT_EQ(1, page_ref_count(p));
  get_page(p);
  EXPECT_TRUE(try_get_page(p));
  EXPECT_EQ(3, page_ref_count(p));
  EXPECT_EQ(0, page_pin_count(p));
  put_page(p);
  put_page(p);
  put_page(p);
  EXPECT_FALSE(try_get_page(p));
  EXPECT_EQ(0u, Pages());
}

TEST_F(PageTest, InjectedFailure) {
  fail_nth_write(task_.get(), 2);
  page* p = alloc_page(GFP_KERNEL);
  EXPECT_NE(nullptr, p);
  EXPECT_EQ(nullptr, alloc_page(GFP_KERNEL));
  EXPECT_EQ(0u, fail_nth_read(task_.get()));
  __free_page(p);
}

TEST_F(PageTest, CopiesWithinAPage) {
  page* p = alloc_page(GFP_KERNEL);
  char buf[8] = {};
  memcpy_to_page(p, 10, "abcdefg", 8);
  memcpy_from_page(buf, p, 12, 6);
  EXPECT_STREQ("cdefg", buf);
  EXPECT_STREQ("abcdefg", static_cast<char*>(kmap_local_page(p)) + 10);
  __free_page(p);
}

TEST(Ram, OddSize) {
  // The last word of the bitmap is not full of frames.
  struct kernel k;
  mm_options opts;
  opts.ram_bytes = 100 * kPage + 17;
  ASSERT_EQ(0, mm_init(&k, opts));
  {
    task_struct task(&k);
    task_scope ts(&task);
    std::vector<page*> pages;
    while (page* p = alloc_page(GFP_KERNEL)) pages.push_back(p);
    EXPECT_EQ(100u, pages.size());
    for (page* p : pages) __free_page(p);
    mm_exit(&k);
  }
}

}  // namespace
}  // namespace mm_test
