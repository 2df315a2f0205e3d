// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "core/linux/mutex.h"
#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

class MmapTest : public MmFixture {};

TEST_F(MmapTest, AddressesAreDeterministic) {
  unsigned long a = Map(3 * kPage);
  unsigned long b = Map(kPage);
  EXPECT_EQ(ARENA_BASE, a);
  EXPECT_EQ(a + 4 * kPage, b);  // a page between two mappings
  EXPECT_EQ(0, vm_munmap(a, 3 * kPage));
  EXPECT_EQ(a, Map(kPage));
  EXPECT_EQ(b + 2 * kPage, Map(2 * kPage));
  EXPECT_EQ(ARENA_BASE + k2M, Map(kPage, kRW, {.align = k2M}));
}

TEST_F(MmapTest, CopiesOverPageBorders) {
  unsigned long a = Map(4 * kPage);
  std::string text(2 * kPage + 100, ' '), back(text.size(), 'x');
  for (size_t i = 0; i < text.size(); i++) text[i] = static_cast<char>(i * 7);
  EXPECT_EQ(0u, Pages());  // nothing is there before the first touch
  EXPECT_EQ(0u, Out(a + kPage - 50, text.data(), text.size()));
  EXPECT_EQ(4u, Pages());
  EXPECT_EQ(0u, In(a + kPage - 50, back.data(), back.size()));
  EXPECT_EQ(text, back);
  EXPECT_EQ(0u, mm_->user_ops->clear_user(mm_, a + kPage, 700));
  EXPECT_EQ(0u, In(a + kPage - 50, back.data(), back.size()));
  EXPECT_EQ(text.substr(0, 50) + std::string(700, '\0') + text.substr(750),
            back);
}

TEST_F(MmapTest, UntouchedMemoryReadsZero) {
  unsigned long a = Map(kPage);
  int v = -1;
  EXPECT_EQ(0u, In(a + 8, &v, sizeof(v)));
  EXPECT_EQ(0, v);
}

TEST_F(MmapTest, BadAddresses) {
  unsigned long a = Map(2 * kPage);
  char buf[64] = {};
  for (unsigned long addr :
       {0UL, 1UL, ARENA_BASE - 1, ARENA_BASE + ARENA_SIZE, a + 2 * kPage, ~0UL,
        ~0UL - 63, 1UL << 47, static_cast<unsigned long>(-4096)}) {
    EXPECT_NE(0u, In(addr, buf, 64)) << addr;
    EXPECT_NE(0u, Out(addr, buf, 64)) << addr;
  }
  // The part before the end is copied.
  EXPECT_EQ(54u, Out(a + 2 * kPage - 10, buf, 64));
  EXPECT_EQ(0u, In(0, buf, 0));
}

TEST_F(MmapTest, ProtectionIsKept) {
  unsigned long a = Map(kPage, PROT_READ);
  EXPECT_TRUE(CanRead(a));
  EXPECT_FALSE(CanWrite(a));
  EXPECT_EQ(0, vm_mprotect(a, kPage, kRW));
  EXPECT_TRUE(CanWrite(a));
  EXPECT_EQ(0, vm_mprotect(a, kPage, PROT_NONE));
  EXPECT_FALSE(CanRead(a));
  EXPECT_FALSE(CanWrite(a));
  EXPECT_EQ(0, vm_mprotect(a, kPage, PROT_READ));
  char c = 0;
  EXPECT_EQ(0u, In(a, &c, 1));
  EXPECT_EQ('x', c);
  unsigned long b = Map(kPage, PROT_NONE);
  EXPECT_FALSE(CanRead(b));
  EXPECT_EQ(0, vm_mprotect(b, kPage, kRW));
  EXPECT_TRUE(CanWrite(b));
}

TEST_F(MmapTest, ProtectionOfAPartSplits) {
  unsigned long a = Map(3 * kPage);
  EXPECT_EQ(0, vm_mprotect(a + kPage, kPage, PROT_READ));
  EXPECT_EQ(3u, Vmas());
  EXPECT_TRUE(CanWrite(a));
  EXPECT_FALSE(CanWrite(a + kPage));
  EXPECT_TRUE(CanWrite(a + 2 * kPage));
  EXPECT_EQ(-ENOMEM, vm_mprotect(a + kPage, 4 * kPage, kRW));
  EXPECT_EQ(-EINVAL, vm_mprotect(a + 1, kPage, kRW));
  EXPECT_EQ(0, vm_mprotect(a, 0, kRW));
  EXPECT_EQ(0, vm_mprotect(a, 3 * kPage, kRW));
  EXPECT_TRUE(CanWrite(a + kPage));
}

TEST_F(MmapTest, Errors) {
  EXPECT_EQ(-EINVAL, vm_mmap(nullptr, 0, 0, kRW, kAnon, 0));
  EXPECT_EQ(-EINVAL, vm_mmap(nullptr, 0, kPage, kRW, kAnon, 1));
  EXPECT_EQ(-EINVAL, vm_mmap(nullptr, 0, kPage, kRW, MAP_ANONYMOUS, 0));
  EXPECT_EQ(-EINVAL, vm_mmap(nullptr, 0, kPage, kRW,
                             MAP_SHARED_VALIDATE | MAP_ANONYMOUS, 0));
  EXPECT_EQ(-ENOMEM, vm_mmap(nullptr, 0, ~0UL, kRW, kAnon, 0));
  EXPECT_EQ(-ENOMEM, vm_mmap(nullptr, 0, ARENA_SIZE + 1, kRW, kAnon, 0));
  unsigned long a = Map(2 * kPage);
  EXPECT_EQ(-EINVAL, vm_mmap(nullptr, a + 1, kPage, kRW, kAnon | MAP_FIXED, 0));
  EXPECT_EQ(-ENOMEM, vm_mmap(nullptr, 0, kPage, kRW, kAnon | MAP_FIXED, 0));
  EXPECT_EQ(-EEXIST, vm_mmap(nullptr, a + kPage, kPage, kRW,
                             kAnon | MAP_FIXED_NOREPLACE, 0));
  EXPECT_EQ(static_cast<long>(a + 2 * kPage),
            vm_mmap(nullptr, a + 2 * kPage, kPage, kRW,
                    kAnon | MAP_FIXED_NOREPLACE, 0));
  EXPECT_EQ(-EINVAL, vm_munmap(a + 1, kPage));
  EXPECT_EQ(-EINVAL, vm_munmap(a, 0));
  EXPECT_EQ(-EINVAL, vm_munmap(a, ~0UL));
  EXPECT_EQ(-EINVAL, vm_munmap(~0UL << 12, kPage));
  EXPECT_EQ(0, vm_munmap(a + k2M, kPage));  // a hole
}

TEST_F(MmapTest, HintIsTakenWhenFree) {
  unsigned long want = ARENA_BASE + 64 * kPage;
  EXPECT_EQ(static_cast<long>(want),
            vm_mmap(nullptr, want, kPage, kRW, kAnon, 0));
  EXPECT_EQ(static_cast<long>(ARENA_BASE),
            vm_mmap(nullptr, want, kPage, kRW, kAnon, 0));
}

TEST_F(MmapTest, AlignedHintStaysInTheArena) {
  EXPECT_EQ(-ENOMEM, vm_mmap_shape(nullptr, ARENA_BASE + kPage, kPage, kRW,
                                   kAnon, 0, {.align = 2 * ARENA_BASE}));
}

TEST_F(MmapTest, FixedReplaces) {
  unsigned long a = Map(3 * kPage);
  ASSERT_TRUE(CanWrite(a + kPage));
  EXPECT_EQ(static_cast<long>(a + kPage),
            vm_mmap(nullptr, a + kPage, kPage, kRW, kAnon | MAP_FIXED, 0));
  char c = 1;
  EXPECT_EQ(0u, In(a + kPage, &c, 1));
  EXPECT_EQ(0, c);
  EXPECT_EQ(3u, Vmas());
}

TEST_F(MmapTest, PartialUnmap) {
  unsigned long a = Map(5 * kPage);
  for (int i = 0; i < 5; i++) ASSERT_TRUE(CanWrite(a + i * kPage));
  EXPECT_EQ(0, vm_munmap(a + 2 * kPage, kPage));
  EXPECT_EQ(4u, Pages());
  EXPECT_EQ(2u, Vmas());
  EXPECT_TRUE(CanRead(a + kPage));
  EXPECT_FALSE(CanRead(a + 2 * kPage));
  EXPECT_TRUE(CanRead(a + 3 * kPage));
  EXPECT_EQ(0, vm_munmap(a + kPage, 3 * kPage));  // over the hole
  EXPECT_EQ(2u, Pages());
  EXPECT_EQ(0, vm_munmap(a, 5 * kPage));
  EXPECT_EQ(0u, Pages());
  EXPECT_EQ(0u, Vmas());
}

TEST_F(MmapTest, LengthIsRoundedUp) {
  unsigned long a = Map(kPage + 1);
  EXPECT_TRUE(CanWrite(a + 2 * kPage - 1));
  EXPECT_EQ(0, vm_munmap(a, kPage + 1));
  EXPECT_EQ(0u, Vmas());
}

TEST_F(MmapTest, PoisonedPagesFault) {
  unsigned long a = Map(kPage, kRW, {.poisoned = true});
  EXPECT_FALSE(CanRead(a));
  EXPECT_FALSE(CanWrite(a));
  unsigned long b = Map(3 * kPage);
  ASSERT_TRUE(CanWrite(b + kPage));
  EXPECT_EQ(0, vm_poison(b + kPage, kPage));
  EXPECT_TRUE(CanRead(b));
  EXPECT_FALSE(CanRead(b + kPage));
  EXPECT_TRUE(CanRead(b + 2 * kPage));
  EXPECT_EQ(0, vm_mprotect(b, 3 * kPage, PROT_READ));
  EXPECT_FALSE(CanRead(b + kPage));
  EXPECT_EQ(-ENOMEM, vm_poison(b, 4 * kPage));
}

std::vector<unsigned long> Pfns(unsigned long addr, unsigned long n) {
  std::vector<page*> pages(n);
  std::vector<unsigned long> pfns;
  EXPECT_EQ(static_cast<int>(n), pin_user_pages_fast(addr, static_cast<int>(n),
                                                     FOLL_WRITE, pages.data()));
  for (page* p : pages) pfns.push_back(page_to_pfn(p));
  unpin_user_pages(pages.data(), n);
  return pfns;
}

TEST_F(MmapTest, FragmentedPagesAreNeverNeighbours) {
  unsigned long a = Map(64 * kPage, kRW, {.fragmented = true});
  // Touched in an order that is not theirs, beside other memory.
  for (int i : {5, 4, 6, 0, 1, 2, 40, 41, 39}) {
    ASSERT_TRUE(CanWrite(a + i * kPage));
    ASSERT_TRUE(CanWrite(Map(kPage)));
  }
  std::vector<unsigned long> pfns = Pfns(a, 64);
  for (size_t i = 1; i < pfns.size(); i++) {
    EXPECT_NE(pfns[i - 1] + 1, pfns[i]) << i;
    EXPECT_NE(pfns[i - 1], pfns[i] + 1) << i;
  }
}

TEST_F(MmapTest, PlainPagesAreNeighboursInOrderOfTouch) {
  unsigned long a = Map(16 * kPage);
  std::vector<unsigned long> pfns = Pfns(a, 16);
  for (size_t i = 1; i < pfns.size(); i++) EXPECT_EQ(pfns[i - 1] + 1, pfns[i]);
}

TEST_F(MmapTest, HugePages) {
  ASSERT_TRUE(CanWrite(Map(kPage)));  // so that the next free frame is odd
  unsigned long a = Map(k2M + kPage, kRW, {.huge = true});
  EXPECT_EQ(0u, a % k2M);
  ASSERT_TRUE(CanWrite(a + k2M + 5));
  EXPECT_EQ(1 + 512u, Pages());
  std::vector<unsigned long> pfns = Pfns(a + k2M, 512);
  EXPECT_EQ(0u, pfns[0] % 512);
  for (size_t i = 1; i < 512; i++) EXPECT_EQ(pfns[0] + i, pfns[i]);
  // Not to be cut, except between two of them.
  EXPECT_EQ(-EINVAL, vm_munmap(a, kPage));
  EXPECT_EQ(-EINVAL, vm_munmap(a + kPage, 2 * k2M));
  EXPECT_EQ(-EINVAL, vm_mprotect(a + kPage, kPage, PROT_READ));
  EXPECT_EQ(0, vm_munmap(a, k2M));
  EXPECT_EQ(0, vm_munmap(a + k2M, k2M));
  EXPECT_EQ(1u, Pages());
}

TEST_F(MmapTest, OutOfMemory) {
  unsigned long a = Map(17 << 20);  // more than the RAM
  size_t n = 0;
  while (CanWrite(a + n * kPage)) n++;
  EXPECT_EQ((16u << 20) / kPage, n);
  page* p = nullptr;
  EXPECT_EQ(-ENOMEM, pin_user_pages_fast(a + n * kPage, 1, 0, &p));
  EXPECT_EQ(0, vm_munmap(a, 17 << 20));
  EXPECT_EQ(0u, Pages());
}

TEST_F(MmapTest, Populate) {
  long a = vm_mmap(nullptr, 0, 4 * kPage, kRW, kAnon | MAP_POPULATE, 0);
  EXPECT_GT(a, 0);
  EXPECT_EQ(4u, Pages());
}

// A copy takes the mmap lock when it faults. Lockdep knows it of each copy.
TEST(MightFault, CopyUnderALockThatIsTakenInsideTheMmapLock) {
  kernel_options opts;
  opts.panic_on_warn = false;
  struct kernel k(opts);
  ASSERT_EQ(0, mm_init(&k, {}));
  {
    task_struct task(&k);
    task_scope ts(&task);
    task.mm = arena_mm_alloc(&k);
    mutex m{LOCK_CLASS(test, m)};
    char c = 0;
    long a = vm_mmap(nullptr, 0, kPage, kRW, kAnon, 0);
    const auto copy = [&] {
      return task.mm->user_ops->copy_from_user(task.mm, &c, static_cast<u64>(a),
                                               1);
    };
    EXPECT_EQ(0u, copy());
    mmap_write_lock(task.mm);
    mutex_lock(&m);
    mutex_unlock(&m);
    mmap_write_unlock(task.mm);
    EXPECT_EQ(0u, kernel_warn_count(&k));
    mutex_lock(&m);
    EXPECT_EQ(0u, copy());  // present: no lock is taken
    mutex_unlock(&m);
    EXPECT_EQ(1u, kernel_warn_count(&k));
    mmput(task.mm);
    mm_exit(&k);
  }
}

// ---- device mappings ----

struct Device {
  static int Mmap(file* f, vm_area_struct* vma) {
    auto* dev = static_cast<Device*>(f->private_data);
    if (dev->mmap_rc) return dev->mmap_rc;
    vma->vm_private_data = dev;
    vma->vm_ops = &kVmOps;
    int rc = io_remap_pfn_range(
        vma, vma->vm_start, dev->phys >> PAGE_SHIFT,
        dev->remap_size ? dev->remap_size : vma->vm_end - vma->vm_start,
        vma->vm_page_prot);
    if (!rc) dev->opened++;
    return rc;
  }
  static Device* Of(vm_area_struct* vma) {
    return static_cast<Device*>(vma->vm_private_data);
  }
  static void VmaOpen(vm_area_struct* vma) {
    Of(vma)->opened++;
    Of(vma)->ranges.push_back({vma->vm_start, vma->vm_end});
  }
  static void VmaClose(vm_area_struct* vma) { Of(vma)->closed++; }
  static int VmaMaySplit(vm_area_struct* vma, unsigned long) {
    return Of(vma)->split_rc;
  }
  static int Release(file* f) {
    static_cast<Device*>(f->private_data)->released++;
    return 0;
  }
  static bool Read(void* opaque, u64 off, unsigned size, u64* val) {
    *val = off == 8 ? static_cast<Device*>(opaque)->reg : 0x1000 + off;
    static_cast<Device*>(opaque)->last_size = size;
    return true;
  }
  static bool Write(void* opaque, u64 off, unsigned size, u64 val) {
    if (off == 8) static_cast<Device*>(opaque)->reg = val;
    static_cast<Device*>(opaque)->last_size = size;
    return true;
  }

  static constexpr vm_operations_struct kVmOps = {VmaOpen, VmaClose,
                                                  VmaMaySplit};
  static constexpr mmio_ops kMmioOps = {Read, Write};
  static constexpr file_operations kFops = {
      .release = Release, .mmap = Mmap, .name = "device"};

  phys_addr_t phys = 0x10000000;
  u64 remap_size = 0;
  u64 reg = 0;
  unsigned last_size = 0;
  int mmap_rc = 0, split_rc = 0;
  int opened = 0, closed = 0, released = 0;
  std::vector<std::pair<unsigned long, unsigned long>> ranges;
};

class DeviceTest : public MmFixture {
 protected:
  DeviceTest() {
    result<file*> f = anon_inode_getfile("dev", &Device::kFops, &dev_, 0);
    EXPECT_TRUE(f);
    file_ = *f;
  }
  ~DeviceTest() override {
    if (file_) fput(file_);
  }
  long MapDevice(unsigned long len, unsigned long prot = kRW) {
    return vm_mmap(file_, 0, len, prot, MAP_SHARED, 0);
  }
  void DropFile() {
    fput(file_);
    file_ = nullptr;
    Leave();
  }

  Device dev_;
  file* file_ = nullptr;
};

TEST_F(DeviceTest, MappingHoldsTheFile) {
  long a = MapDevice(2 * kPage);
  ASSERT_GT(a, 0);
  DropFile();
  EXPECT_EQ(0, dev_.released);
  EXPECT_EQ(0, vm_munmap(static_cast<unsigned long>(a), 2 * kPage));
  EXPECT_EQ(1, dev_.closed);
  Leave();
  EXPECT_EQ(1, dev_.released);
}

TEST_F(DeviceTest, ExitCloses) {
  ASSERT_GT(MapDevice(2 * kPage), 0);
  DropFile();
  mmput(mm_);
  mm_ = nullptr;
  EXPECT_EQ(1, dev_.closed);
  Leave();
  EXPECT_EQ(1, dev_.released);
}

TEST_F(DeviceTest, PartialUnmapOpensAndCloses) {
  auto a = static_cast<unsigned long>(MapDevice(6 * kPage));
  EXPECT_EQ(0, vm_munmap(a, kPage));  // the front
  EXPECT_EQ(2, dev_.opened);
  EXPECT_EQ(1, dev_.closed);
  EXPECT_EQ(0, vm_munmap(a + 5 * kPage, kPage));  // the back
  EXPECT_EQ(3, dev_.opened);
  EXPECT_EQ(2, dev_.closed);
  EXPECT_EQ(0, vm_munmap(a + 2 * kPage, kPage));  // the middle
  EXPECT_EQ(5, dev_.opened);
  EXPECT_EQ(3, dev_.closed);
  EXPECT_EQ(2u, Vmas());
  EXPECT_EQ(0, vm_munmap(a, 6 * kPage));
  EXPECT_EQ(5, dev_.opened);
  EXPECT_EQ(5, dev_.closed);
  EXPECT_EQ(a + kPage, dev_.ranges[0].first);
}

TEST_F(DeviceTest, SplitCanBeRefused) {
  auto a = static_cast<unsigned long>(MapDevice(4 * kPage));
  dev_.split_rc = -EINVAL;
  EXPECT_EQ(-EINVAL, vm_munmap(a + kPage, kPage));
  EXPECT_EQ(-EINVAL, vm_mprotect(a, kPage, PROT_READ));
  EXPECT_EQ(1u, Vmas());
  EXPECT_EQ(0, vm_munmap(a, 4 * kPage));
}

TEST_F(DeviceTest, FailedMmapLeavesNothing) {
  dev_.mmap_rc = -ENXIO;
  EXPECT_EQ(-ENXIO, MapDevice(kPage));
  dev_.mmap_rc = 0;
  dev_.remap_size = 3 * kPage;
  EXPECT_EQ(-EINVAL, MapDevice(2 * kPage));
  EXPECT_EQ(0, dev_.opened + dev_.closed);
  EXPECT_EQ(0u, Vmas());
  EXPECT_EQ(1, file_count(file_));
}

TEST_F(DeviceTest, FileWithoutMmap) {
  static constexpr file_operations fops = {.name = "none"};
  result<file*> f = anon_inode_getfile("none", &fops, nullptr, 0);
  EXPECT_EQ(-ENODEV, vm_mmap(*f, 0, kPage, kRW, MAP_SHARED, 0));
  fput(*f);
}

TEST_F(DeviceTest, RegistersAnswerLoadsAndStores) {
  mmio_region region;
  region.phys = dev_.phys;
  region.size = 2 * kPage;
  region.ops = &Device::kMmioOps;
  region.opaque = &dev_;
  ASSERT_EQ(0, mmio_register(kernel_.get(), &region));
  auto a = static_cast<unsigned long>(MapDevice(2 * kPage));
  u32 v = 0x12345678;
  EXPECT_EQ(0u, Out(a + 8, &v, 4));
  EXPECT_EQ(4u, dev_.last_size);
  EXPECT_EQ(0x12345678u, dev_.reg);
  u64 w = 0;
  EXPECT_EQ(0u, In(a + 8, &w, 8));
  EXPECT_EQ(8u, dev_.last_size);
  EXPECT_EQ(0x12345678u, w);
  EXPECT_EQ(0u, In(a + kPage + 16, &w, 8));
  EXPECT_EQ(0x1000 + kPage + 16, w);
  // Bytes are no registers: all ones.
  u8 b = 0;
  EXPECT_EQ(0u, In(a + 9, &b, 1));
  EXPECT_EQ(0xff, b);
  mmio_unregister(kernel_.get(), &region);
  EXPECT_NE(0u, In(a + 8, &w, 8));
}

TEST_F(DeviceTest, RamOfADriver) {
  page* p = alloc_pages(GFP_KERNEL, 1);
  dev_.phys = page_to_phys(p);
  auto a = static_cast<unsigned long>(MapDevice(2 * kPage));
  auto* words = static_cast<u32*>(page_address(p));
  words[kPage / 4] = 0x55;
  u32 v = 0;
  EXPECT_EQ(0u, In(a + kPage, &v, 4));
  EXPECT_EQ(0x55u, v);
  v = 0x66;
  EXPECT_EQ(0u, Out(a + 4, &v, 4));
  EXPECT_EQ(0x66u, words[1]);
  // No reference is taken: it is the driver's to keep.
  EXPECT_EQ(1, page_ref_count(p));
  page* pinned = nullptr;
  EXPECT_EQ(-EFAULT, pin_user_pages_fast(a, 1, 0, &pinned));
  EXPECT_EQ(-EFAULT,
            pin_user_pages_fast(a, 1, FOLL_WRITE | FOLL_FORCE, &pinned));
  EXPECT_EQ(0, vm_munmap(a, 2 * kPage));
  __free_pages(p, 1);
}

TEST_F(DeviceTest, ReadOnlyMapping) {
  page* p = alloc_page(GFP_KERNEL);
  dev_.phys = page_to_phys(p);
  auto a = static_cast<unsigned long>(MapDevice(kPage, PROT_READ));
  EXPECT_TRUE(CanRead(a));
  EXPECT_FALSE(CanWrite(a));
  EXPECT_EQ(0, vm_munmap(a, kPage));
  __free_page(p);
}

}  // namespace
}  // namespace mm_test
