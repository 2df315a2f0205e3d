// SPDX-License-Identifier: GPL-2.0-or-later
//
// An address space of another process: here a table of pages that the test
// fills, and memory files of the host.
#include "core/mm/remote.h"

#include <unistd.h>

#include <cstring>
#include <map>
#include <utility>

#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

constexpr u64 kBase = 0x7f0000000000;

// Private pages are in bytes_, shared ones are objects.
class FakeProcess : public remote_process {
 public:
  struct Page {
    std::string bytes = std::string(kPage, '\0');
    bool writable = true;
    std::shared_ptr<remote_object> object;
    u64 index = 0;
  };

  int copy(void* ours, u64 theirs, size_t n, bool write) override {
    if (dead) return -EFAULT;
    char* p = static_cast<char*>(ours);
    while (n != 0) {
      const auto it = pages.find(theirs & PAGE_MASK);
      const size_t offset = theirs & ~PAGE_MASK;
      const size_t len = std::min(n, kPage - offset);
      if (it == pages.end() || (write && !it->second.writable)) return -EFAULT;
      char* at = it->second.bytes.data() + offset;
      memcpy(write ? at : p, write ? p : at, len);
      theirs += len;
      p += len;
      n -= len;
    }
    return 0;
  }
  bool lookup(u64 addr, remote_vma* vma) override {
    lookups++;
    const auto it = pages.find(addr & PAGE_MASK);
    if (dead || it == pages.end()) return false;
    const Page& page = it->second;
    vma->start = it->first;
    vma->end = vma->start + kPage;
    // A run, as far as it is alike.
    for (auto next = std::next(it);
         next != pages.end() && next->first == vma->end &&
         next->second.object == page.object &&
         next->second.writable == page.writable;
         ++next)
      vma->end += kPage;
    vma->readable = true;
    vma->writable = page.writable;
    vma->object = page.object;
    vma->index = page.index;
    return true;
  }

  bool present(u64 addr) override { return addr != missing; }

  std::map<u64, Page> pages;
  u64 missing = 0;
  bool dead = false;
  int lookups = 0;
};

class RemoteTest : public MmFixture {
 protected:
  RemoteTest() : MmFixture(true) {
    process_ = std::make_shared<FakeProcess>();
    remote_ = remote_mm_alloc(kernel_.get(), process_);
    EXPECT_NE(nullptr, remote_);
    own_mm_ = std::exchange(mm_, remote_);
    task_->mm = mm_;
    mmput(own_mm_);
  }

  void MapPrivate(u64 addr, size_t n, char fill) {
    for (size_t i = 0; i != n; i++)
      process_->pages[addr + i * kPage].bytes.assign(kPage, fill);
  }

  std::shared_ptr<remote_object> MapFile(u64 addr, size_t n) {
    const int fd = ::memfd_create("test", MFD_CLOEXEC);
    EXPECT_EQ(0, ::ftruncate(fd, static_cast<off_t>(n * kPage)));
    std::shared_ptr<remote_object> object =
        remote_object_create(kernel_.get(), fd);
    fd_ = fd;
    for (size_t i = 0; i != n; i++) {
      process_->pages[addr + i * kPage].object = object;
      process_->pages[addr + i * kPage].index = i;
    }
    return object;
  }

  static char At(const page* p, size_t offset = 0) {
    char c = '?';
    memcpy_from_page(&c, p, offset, 1);
    return c;
  }

  std::shared_ptr<FakeProcess> process_;
  mm_struct* remote_ = nullptr;
  mm_struct* own_mm_ = nullptr;
  int fd_ = -1;
  page* pages_[16] = {};
};

TEST_F(RemoteTest, CopiesAreTheProcesss) {
  MapPrivate(kBase, 2, 'a');
  char buf[16] = {};
  EXPECT_EQ(0u, In(kBase + kPage - 8, buf, 16));
  EXPECT_EQ('a', buf[15]);
  EXPECT_EQ(0u, Out(kBase + kPage - 1, "xy", 2));
  EXPECT_EQ('x', process_->pages[kBase].bytes.back());
  EXPECT_EQ('y', process_->pages[kBase + kPage].bytes.front());
  EXPECT_NE(0u, In(kBase + 2 * kPage, buf, 1));
  EXPECT_EQ(0u, In(kBase + 9 * kPage, buf, 0));
  EXPECT_EQ(0u, mm_->user_ops->clear_user(mm_, kBase, 300));
  EXPECT_EQ('\0', process_->pages[kBase].bytes[299]);
  EXPECT_EQ('a', process_->pages[kBase].bytes[300]);
}

TEST_F(RemoteTest, PrivatePins) {
  MapPrivate(kBase, 4, 'a');
  ASSERT_EQ(4, pin_user_pages_fast(kBase, 4, FOLL_WRITE, pages_));
  EXPECT_EQ(1, process_->lookups) << "asked once for the run";
  EXPECT_EQ(4u, process_->private_pages->load());
  EXPECT_EQ(page_to_pfn(pages_[0]) + 3, page_to_pfn(pages_[3]));
  EXPECT_EQ(pages_[2], pfn_to_page(page_to_pfn(pages_[2])));
  memcpy_to_page(pages_[1], 7, "z", 1);
  EXPECT_EQ('z', process_->pages[kBase + kPage].bytes[7]);
  process_->pages[kBase].bytes[0] = 'q';
  EXPECT_EQ('q', At(pages_[0]));

  page* again[1];
  ASSERT_EQ(1, pin_user_pages_fast(kBase + kPage, 1, 0, again));
  EXPECT_EQ(pages_[1], again[0]);
  EXPECT_EQ(2, page_pin_count(again[0]));
  unpin_user_page(again[0]);
  unpin_user_page_range_dirty_lock(pages_[0], 4, true);
  EXPECT_EQ(0u, process_->private_pages->load());
}

TEST_F(RemoteTest, WhatCannotBePinned) {
  MapPrivate(kBase, 3, 'a');
  process_->pages[kBase + kPage].writable = false;
  EXPECT_EQ(1, pin_user_pages_fast(kBase, 3, FOLL_WRITE, pages_));
  unpin_user_page(pages_[0]);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(kBase + kPage, 1, FOLL_WRITE, pages_));
  EXPECT_EQ(3, pin_user_pages_fast(kBase, 8, 0, pages_));
  unpin_user_pages(pages_, 3);
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(kBase + 3 * kPage, 1, 0, pages_));
  process_->dead = true;
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(kBase, 1, 0, pages_));
}

TEST_F(RemoteTest, APinOutlivesTheMappingWhenToldBefore) {
  MapPrivate(kBase, 4, 'a');
  ASSERT_EQ(2, pin_user_pages_fast(kBase + kPage, 2, FOLL_WRITE, pages_));
  const unsigned long pfn = page_to_pfn(pages_[0]);
  ASSERT_EQ(0, remote_mm_preserve(mm_, kBase, 2 * kPage));
  EXPECT_EQ(1u, process_->private_pages->load());
  MapPrivate(kBase, 2, 'b');
  EXPECT_EQ('a', At(pages_[0])) << "the page that was unmapped";
  memcpy_to_page(pages_[0], 1, "w", 1);
  EXPECT_EQ('w', At(pages_[0], 1));
  EXPECT_EQ('b', process_->pages[kBase + kPage].bytes[1]);
  EXPECT_EQ(pfn, page_to_pfn(pages_[0]));

  page* other[4];
  ASSERT_EQ(4, pin_user_pages_fast(kBase, 4, 0, other));
  EXPECT_NE(pages_[0], other[1]) << "another page stands there now";
  EXPECT_EQ('b', At(other[1]));
  EXPECT_EQ(pages_[1], other[2]) << "behind the range nothing has changed";
  EXPECT_EQ(page_to_pfn(other[0]) + 1, page_to_pfn(other[1]));

  // Again, over a part of it and beyond.
  ASSERT_EQ(0, remote_mm_preserve(mm_, kBase + kPage, 2 * kPage));
  MapPrivate(kBase + kPage, 2, 'c');
  page* third[4];
  ASSERT_EQ(4, pin_user_pages_fast(kBase, 4, 0, third));
  EXPECT_EQ(other[0], third[0]);
  EXPECT_NE(other[1], third[1]);
  EXPECT_NE(other[2], third[2]);
  EXPECT_EQ(other[3], third[3]);
  EXPECT_EQ('b', At(other[1]));
  EXPECT_EQ('a', At(other[2]));
  EXPECT_EQ('c', At(third[2]));
  unpin_user_pages(third, 4);
  unpin_user_pages(other, 4);
  unpin_user_pages(pages_, 2);
}

TEST_F(RemoteTest, PagesOfADeadProcess) {
  MapPrivate(kBase, 2, 'a');
  ASSERT_EQ(2, pin_user_pages_fast(kBase, 2, 0, pages_));
  process_->dead = true;
  EXPECT_EQ('\0', At(pages_[0])) << "nobody told us in time";
  memcpy_to_page(pages_[0], 0, "x", 1);
  mmput(mm_);
  mm_ = task_->mm = nullptr;
  EXPECT_EQ(2u, Pages());
  unpin_user_pages(pages_, 2);
  EXPECT_EQ(0u, Pages());
}

TEST_F(RemoteTest, PreserveAllBeforeAnExit) {
  MapPrivate(kBase, 2, 'a');
  ASSERT_EQ(2, pin_user_pages_fast(kBase, 2, 0, pages_));
  EXPECT_EQ(0, remote_mm_preserve_all(mm_));
  process_->dead = true;
  EXPECT_EQ('a', At(pages_[1], 4095));
  unpin_user_pages(pages_, 2);
}

TEST_F(RemoteTest, AFilesPagesAreOneForAll) {
  std::shared_ptr<remote_object> object = MapFile(kBase, 4);
  ASSERT_EQ(4, ::pwrite(fd_, "file", 4, 2 * kPage));
  ASSERT_EQ(4, pin_user_pages_fast(kBase, 4, FOLL_WRITE, pages_));
  EXPECT_EQ(0u, process_->private_pages->load());
  EXPECT_EQ(4, remote_object_pages(object.get()));
  EXPECT_EQ('f', At(pages_[2]));
  EXPECT_EQ(page_to_pfn(pages_[0]) + 3, page_to_pfn(pages_[3]));

  auto other = std::make_shared<FakeProcess>();
  other->pages[8 * kPage].object = object;
  other->pages[8 * kPage].index = 2;
  mm_struct* mm = remote_mm_alloc(kernel_.get(), other);
  page* theirs[1];
  ASSERT_EQ(1, PinRemote(mm, 8 * kPage, 1, FOLL_WRITE, theirs));
  EXPECT_EQ(pages_[2], theirs[0]);
  unpin_user_page(theirs[0]);
  mmput(mm);

  // Neither the mapping nor the process is needed.
  process_->pages.clear();
  process_->dead = true;
  memcpy_to_page(pages_[2], 1, "l", 1);
  char buf[4];
  ASSERT_EQ(4, ::pread(fd_, buf, 4, 2 * kPage));
  EXPECT_EQ(0, memcmp("flle", buf, 4));

  // The file ends: what was there reads as zeroes and does not grow it.
  ASSERT_EQ(0, ::ftruncate(fd_, 2 * kPage + 1));
  EXPECT_EQ('f', At(pages_[2]));
  EXPECT_EQ('\0', At(pages_[2], 1));
  memcpy_to_page(pages_[3], 0, "x", 1);
  EXPECT_EQ('\0', At(pages_[3]));
  EXPECT_EQ(2 * static_cast<off_t>(kPage) + 1, ::lseek(fd_, 0, SEEK_END));
  unpin_user_pages(pages_, 4);
  EXPECT_EQ(0, remote_object_pages(object.get()));
}

TEST_F(RemoteTest, BeyondTheEndOfAFile) {
  MapFile(kBase, 2);
  process_->pages[kBase + 2 * kPage].object = process_->pages[kBase].object;
  EXPECT_EQ(2, pin_user_pages_fast(kBase, 3, 0, pages_));
  unpin_user_pages(pages_, 2);
}

TEST_F(RemoteTest, MemfdFile) {
  std::shared_ptr<remote_object> object = MapFile(kBase, 2);
  result<file*> f = remote_memfd_file(object);
  ASSERT_TRUE(f);
  EXPECT_TRUE(is_memfd(*f));
  EXPECT_EQ(2 * kPage, memfd_size(*f));
  ASSERT_EQ(2, memfd_pin_pages(*f, 0, 2, pages_));
  page* mapped[1];
  ASSERT_EQ(1, pin_user_pages_fast(kBase + kPage, 1, 0, mapped));
  EXPECT_EQ(pages_[1], mapped[0]);
  unpin_user_page(mapped[0]);
  EXPECT_EQ(-EINVAL, memfd_pin_pages(*f, 1, 2, pages_ + 2));
  EXPECT_EQ(-EINVAL, memfd_truncate(*f, 0)) << "it is the host's to change";
  EXPECT_EQ(-ENODEV,
            vm_mmap(*f, kBase, kPage, PROT_READ, MAP_SHARED | MAP_FIXED, 0));
  fput(*f);
  unpin_user_pages(pages_, 2);
}

TEST_F(RemoteTest, MappingsOfADriver) {
  static page* ram;
  static int opened;
  ram = alloc_page(GFP_KERNEL);
  memcpy_to_page(ram, 0, "ram", 3);
  opened = 1;
  static const vm_operations_struct vm_ops = {
      .open = [](vm_area_struct*) { opened++; },
      .close = [](vm_area_struct*) { opened--; },
      .may_split = nullptr,
  };
  static const file_operations fops = {
      .mmap =
          [](file*, vm_area_struct* vma) {
            vma->vm_ops = &vm_ops;
            return remap_pfn_range(vma, vma->vm_start, page_to_pfn(ram), kPage,
                                   vma->vm_page_prot);
          },
      .name = "driver",
  };
  result<file*> f = anon_inode_getfile("driver", &fops, nullptr, 0);
  ASSERT_TRUE(f);
  EXPECT_EQ(-EINVAL, vm_mmap(*f, 0, kPage, kRW, MAP_SHARED, 0))
      << "the process says where";
  EXPECT_EQ(-EINVAL, vm_mmap(nullptr, kBase, kPage, kRW,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0));
  ASSERT_EQ(static_cast<long>(kBase),
            vm_mmap(*f, kBase, kPage, kRW, MAP_SHARED | MAP_FIXED, 0));
  mmap_read_lock(mm_);
  const vm_area_struct* vma = vma_lookup(mm_, kBase);
  ASSERT_NE(nullptr, vma);
  int fd = -1;
  const long offset = mm_ram_offset(kernel_.get(), vma->pfn, &fd);
  mmap_read_unlock(mm_);
  char buf[3];
  ASSERT_EQ(3, ::pread(fd, buf, 3, offset));
  EXPECT_EQ(0, memcmp("ram", buf, 3));
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(kBase, 1, 0, pages_));

  // A fork has it too.
  mm_struct* child =
      remote_mm_alloc(kernel_.get(), std::make_shared<FakeProcess>());
  EXPECT_EQ(0, remote_mm_dup(child, mm_));
  EXPECT_EQ(2, opened);
  EXPECT_EQ(0, vm_munmap(kBase, kPage));
  EXPECT_EQ(1, opened);
  mmput(child);
  EXPECT_EQ(0, opened);
  fput(*f);
  Leave();
  __free_page(ram);
}

TEST_F(RemoteTest, EachAllocationFails) {
  MapPrivate(kBase, 1, 'a');
  MapFile(kBase + kPage, 1);
  process_->missing = kBase;
  ASSERT_EQ(0, ::ftruncate(fd_, 0));
  ASSERT_EQ(0, ::ftruncate(fd_, kPage));
  for (unsigned int nth = 1;; nth++) {
    fail_nth_write(task_.get(), nth);
    const int n = pin_user_pages_fast(kBase, 2, 0, pages_);
    const bool fired = fail_nth_read(task_.get()) == 0;
    fail_nth_write(task_.get(), 0);
    if (n > 0) unpin_user_pages(pages_, static_cast<unsigned long>(n));
    if (!fired) {
      EXPECT_EQ(2, n);
      EXPECT_EQ(3u, nth);
      break;
    }
    EXPECT_EQ(nth == 1 ? -ENOMEM : 1, n);
  }
  // What is there needs no memory.
  process_->missing = 0;
  fail_nth_write(task_.get(), 1);
  ASSERT_EQ(2, pin_user_pages_fast(kBase, 2, 0, pages_));
  unpin_user_pages(pages_, 2);
  EXPECT_EQ(1u, fail_nth_read(task_.get()));
  fail_nth_write(task_.get(), 0);
}

TEST_F(RemoteTest, HugePagesStayAligned) {
  constexpr u64 kHuge = 2ul << 20;
  const u64 addr = ALIGN(kBase, kHuge) + 3 * kPage;
  MapPrivate(addr, 1, 'a');
  ASSERT_EQ(1, pin_user_pages_fast(addr, 1, 0, pages_));
  ASSERT_EQ(0, remote_mm_preserve(mm_, addr, kPage));
  // The address has another number, as far into 2M; so has a file's start.
  ASSERT_EQ(1, pin_user_pages_fast(addr, 1, 0, pages_ + 1));
  EXPECT_NE(page_to_pfn(pages_[0]), page_to_pfn(pages_[1]));
  EXPECT_EQ(3 * kPage, page_to_phys(pages_[1]) % kHuge);
  MapFile(kBase + kHuge * 4, 1);
  ASSERT_EQ(1, pin_user_pages_fast(kBase + kHuge * 4, 1, 0, pages_ + 2));
  EXPECT_EQ(0u, page_to_phys(pages_[2]) % kHuge);
  unpin_user_pages(pages_, 3);
}

TEST_F(RemoteTest, NumbersOfAddressSpacesAreUsedAgain) {
  for (int i = 0; i != 5000; i++) {
    mm_struct* mm =
        remote_mm_alloc(kernel_.get(), std::make_shared<FakeProcess>());
    ASSERT_NE(nullptr, mm) << i;
    mmput(mm);
  }
}

}  // namespace
}  // namespace mm_test
