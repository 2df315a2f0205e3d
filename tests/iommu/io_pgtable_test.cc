// SPDX-License-Identifier: GPL-2.0-or-later
#include <map>
#include <random>
#include <vector>

#include "core/iommu/io-pgtable.h"
#include "core/linux/fault-inject.h"
#include "tests/mm/mm_fixture.h"

namespace {

constexpr u64 kGiB = 1ULL << 30;
constexpr u64 k32M = 32ULL << 20;
constexpr u64 k512M = 512ULL << 20;

struct Calls {
  int all = 0;
  int walk = 0;
  std::vector<std::pair<u64, u64>> pages;
};

void FlushAll(void* cookie) { static_cast<Calls*>(cookie)->all++; }
void FlushWalk(unsigned long, size_t, size_t, void* cookie) {
  static_cast<Calls*>(cookie)->walk++;
}
void AddPage(iommu_iotlb_gather*, unsigned long iova, size_t granule,
             void* cookie) {
  static_cast<Calls*>(cookie)->pages.emplace_back(iova, granule);
}
constexpr iommu_flush_ops kFlush = {&FlushAll, &FlushWalk, &AddPage};

class IoPgtableTest : public mm_test::MmFixture {
 protected:
  io_pgtable_ops* Alloc(io_pgtable_fmt fmt, unsigned long sizes,
                        unsigned ias = 48, unsigned oas = 48,
                        unsigned long quirks = 0) {
    cfg_ = {};
    cfg_.pgsize_bitmap = sizes;
    cfg_.ias = ias;
    cfg_.oas = oas;
    cfg_.quirks = quirks;
    cfg_.coherent_walk = true;
    cfg_.tlb = &kFlush;
    return alloc_io_pgtable_ops(fmt, &cfg_, &calls_);
  }
  static size_t Map(io_pgtable_ops* ops, u64 iova, u64 pa, u64 size, size_t n,
                    int prot = IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE) {
    size_t total = 0;
    while (total < size * n) {
      size_t mapped = 0;
      const int rc =
          ops->map_pages(ops, iova + total, pa + total, size, n - total / size,
                         prot, GFP_KERNEL, &mapped);
      total += mapped;
      if (rc != 0) break;
    }
    return total;
  }
  static size_t Unmap(io_pgtable_ops* ops, u64 iova, u64 size, size_t n) {
    size_t total = 0;
    iommu_iotlb_gather gather;
    iommu_iotlb_gather_init(&gather);
    while (total < size * n) {
      const size_t got =
          ops->unmap_pages(ops, iova + total, size, n - total / size, &gather);
      if (got == 0) break;
      total += got;
    }
    return total;
  }

  io_pgtable_cfg cfg_;
  Calls calls_;
};

TEST_F(IoPgtableTest, EachGranuleAndStageTranslatesItsPagesAndBlocks) {
  struct Format {
    unsigned long sizes;
    unsigned oas;
  };
  for (const Format& f :
       {Format{SZ_4K | SZ_2M | SZ_1G, 48}, Format{SZ_4K | SZ_2M | SZ_1G, 40},
        Format{SZ_4K | SZ_2M | SZ_1G, 42}, Format{SZ_16K | k32M, 48},
        Format{SZ_16K | k32M, 40}, Format{SZ_64K | k512M, 48},
        Format{SZ_64K | k512M | 1UL << 42, 52}}) {
    for (io_pgtable_fmt fmt : {ARM_64_LPAE_S1, ARM_64_LPAE_S2}) {
      io_pgtable_ops* ops = Alloc(fmt, f.sizes, f.oas, f.oas);
      ASSERT_NE(ops, nullptr);
      EXPECT_EQ(cfg_.pgsize_bitmap, f.sizes);
      const u64 top = 1ULL << cfg_.ias;
      for (unsigned shift = 12; shift < 43; shift++) {
        const u64 size = 1ULL << shift;
        if ((f.sizes & size) == 0) continue;
        // Three at the bottom, and the last one.
        const u64 pa = (top / 2) & ~(size - 1);
        EXPECT_EQ(Map(ops, 0, pa, size, 3), size * 3);
        EXPECT_EQ(Map(ops, top - size, pa, size, 1), size);
        EXPECT_EQ(ops->iova_to_phys(ops, size * 2 + 5), pa + size * 2 + 5);
        EXPECT_EQ(ops->iova_to_phys(ops, top - 1), pa + size - 1);
        EXPECT_EQ(ops->iova_to_phys(ops, size * 3), 0u);
        EXPECT_EQ(ops->iova_to_phys(ops, top), 0u);
        EXPECT_EQ(Unmap(ops, 0, size, 3), size * 3);
        EXPECT_EQ(Unmap(ops, top - size, size, 1), size);
        EXPECT_EQ(ops->iova_to_phys(ops, 0), 0u);
      }
      free_io_pgtable_ops(ops);
    }
  }
}

TEST_F(IoPgtableTest, WhatTheHardwareIsTold) {
  io_pgtable_ops* ops = Alloc(ARM_64_LPAE_S1, SZ_4K | SZ_64K | SZ_2M);
  EXPECT_EQ(cfg_.pgsize_bitmap, SZ_4K | SZ_2M);
  EXPECT_EQ(cfg_.arm_lpae_s1_cfg.tcr.tsz, 16u);
  EXPECT_EQ(cfg_.arm_lpae_s1_cfg.tcr.ips, 5u);
  EXPECT_EQ(cfg_.arm_lpae_s1_cfg.tcr.tg, 0u);
  EXPECT_EQ(cfg_.arm_lpae_s1_cfg.tcr.sh, 3u);
  EXPECT_EQ(cfg_.arm_lpae_s1_cfg.mair, 0xf404ff44u);
  EXPECT_TRUE(PAGE_ALIGNED(cfg_.arm_lpae_s1_cfg.ttbr));
  free_io_pgtable_ops(ops);

  ops = Alloc(ARM_64_LPAE_S2, SZ_4K);
  EXPECT_EQ(cfg_.arm_lpae_s2_cfg.vtcr.sl, 2u);
  EXPECT_EQ(cfg_.arm_lpae_s2_cfg.vtcr.ps, 5u);
  free_io_pgtable_ops(ops);

  // Two root tables side by side, walked from level 1.
  ops = Alloc(ARM_64_LPAE_S2, SZ_4K, 40, 40);
  EXPECT_EQ(cfg_.arm_lpae_s2_cfg.vtcr.sl, 1u);
  EXPECT_EQ(cfg_.arm_lpae_s2_cfg.vtcr.tsz, 24u);
  EXPECT_EQ(Pages(), 2u);
  free_io_pgtable_ops(ops);

  EXPECT_EQ(Alloc(ARM_64_LPAE_S1, SZ_4K, 48, 47), nullptr);
  EXPECT_EQ(Alloc(ARM_64_LPAE_S1, SZ_2M), nullptr);
  EXPECT_EQ(Alloc(ARM_64_LPAE_S2, SZ_4K, 48, 48, IO_PGTABLE_QUIRK_ARM_HD),
            nullptr);
  EXPECT_EQ(Alloc(ARM_64_LPAE_S1, SZ_4K, 48, 48, IO_PGTABLE_QUIRK_ARM_S2FWB),
            nullptr);
}

TEST_F(IoPgtableTest, Entries) {
  struct Case {
    io_pgtable_fmt fmt;
    unsigned long quirks;
    int prot;
    u64 want;  // of a page at 0x80000000
  };
  const Case cases[] = {
      {ARM_64_LPAE_S1, 0, IOMMU_READ | IOMMU_CACHE, 0x80000fc7},
      {ARM_64_LPAE_S1, 0, IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, 0x80000f47},
      {ARM_64_LPAE_S1, 0, IOMMU_WRITE | IOMMU_PRIV, 0x80000e03},
      {ARM_64_LPAE_S1, IO_PGTABLE_QUIRK_ARM_HD,
       IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, 0x0008000080000f47},
      {ARM_64_LPAE_S1, 0, IOMMU_READ | IOMMU_NOEXEC | IOMMU_MMIO,
       0x0060000080000ecb},
      {ARM_64_LPAE_S2, 0, IOMMU_READ | IOMMU_CACHE, 0x8000077f},
      {ARM_64_LPAE_S2, 0, IOMMU_WRITE, 0x80000697},
      {ARM_64_LPAE_S2, IO_PGTABLE_QUIRK_ARM_S2FWB,
       IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, 0x800007db},
      {ARM_64_LPAE_S2, 0, IOMMU_READ | IOMMU_MMIO, 0x80000647},
  };
  for (const Case& c : cases) {
    // 39 bits: the root is a table of level 1.
    io_pgtable_ops* ops = Alloc(c.fmt, SZ_4K, 39, 48, c.quirks);
    ASSERT_EQ(Map(ops, 0, 0x80000000, SZ_4K, 1, c.prot), SZ_4K);
    u64 at = c.fmt == ARM_64_LPAE_S1 ? cfg_.arm_lpae_s1_cfg.ttbr
                                     : cfg_.arm_lpae_s2_cfg.vttbr;
    for (int lvl = 1; lvl < 3; lvl++) {
      const u64 pte = *static_cast<u64*>(phys_to_virt(at));
      EXPECT_EQ(pte & 0xfff, 3u);
      at = pte & ~0xfffULL;
    }
    EXPECT_EQ(*static_cast<u64*>(phys_to_virt(at)), c.want)
        << "fmt " << c.fmt << " prot " << c.prot;
    free_io_pgtable_ops(ops);
  }
}

TEST_F(IoPgtableTest, ConflictsAndLimits) {
  io_pgtable_ops* ops =
      Alloc(ARM_64_LPAE_S2, SZ_4K | SZ_2M, 40, 40, IO_PGTABLE_QUIRK_NO_WARN);
  size_t mapped = 0;
  auto map = [&](u64 iova, u64 pa, u64 size, int prot) {
    return ops->map_pages(ops, iova, pa, size, 1, prot, GFP_KERNEL, &mapped);
  };
  EXPECT_EQ(map(0, 0, SZ_4K, IOMMU_CACHE), -EINVAL);
  EXPECT_EQ(map(0, 1ULL << 40, SZ_4K, IOMMU_READ), -ERANGE);
  EXPECT_EQ(map(0, (1ULL << 40) - SZ_4K, SZ_4K, IOMMU_READ), 0);
  EXPECT_EQ(map(0, 0, SZ_4K, IOMMU_READ), -EEXIST);
  EXPECT_EQ(map(SZ_2M, 0, SZ_2M, IOMMU_READ), 0);
  EXPECT_EQ(map(SZ_2M + SZ_4K, 0, SZ_4K, IOMMU_READ), -EEXIST);
  EXPECT_EQ(mapped, SZ_4K + SZ_2M);
  EXPECT_EQ(ops->unmap_pages(ops, kGiB, SZ_4K, 1, nullptr), 0u);
  EXPECT_EQ(ops->unmap_pages(ops, SZ_4K, SZ_4K, 1, nullptr), 0u);
  EXPECT_EQ(ops->unmap_pages(ops, 0, SZ_4K, 5, nullptr), SZ_4K);
  free_io_pgtable_ops(ops);
  EXPECT_EQ(calls_.all, 1);
}

TEST_F(IoPgtableTest, WhatIsToBeFlushed) {
  io_pgtable_ops* ops = Alloc(ARM_64_LPAE_S1, SZ_4K | SZ_2M);
  ASSERT_EQ(Map(ops, 0, SZ_2M, SZ_4K, 512), SZ_2M);
  const size_t pages = Pages();
  EXPECT_EQ(Unmap(ops, 0, SZ_4K, 512), SZ_2M);
  EXPECT_EQ(calls_.pages.size(), 512u);
  EXPECT_EQ(calls_.pages[1], std::make_pair(u64{SZ_4K}, u64{SZ_4K}));
  EXPECT_EQ(calls_.walk, 0);
  EXPECT_EQ(Pages(), pages);
  // A block in the place of an empty table, and a table all of which goes.
  ASSERT_EQ(Map(ops, 0, SZ_2M, SZ_2M, 1), SZ_2M);
  EXPECT_EQ(calls_.walk, 1);
  EXPECT_EQ(Pages(), pages - 1);
  EXPECT_EQ(Unmap(ops, 0, SZ_2M, 1), SZ_2M);
  EXPECT_EQ(calls_.pages.size(), 513u);
  ASSERT_EQ(Map(ops, 0, SZ_2M, SZ_4K, 512), SZ_2M);
  EXPECT_EQ(Unmap(ops, 0, SZ_2M, 1), SZ_2M);
  EXPECT_EQ(calls_.walk, 2);
  EXPECT_EQ(Pages(), pages - 1);
  free_io_pgtable_ops(ops);
}

TEST_F(IoPgtableTest, AnyOrderAgainstAModel) {
  io_pgtable_ops* ops = Alloc(ARM_64_LPAE_S2, SZ_4K | SZ_2M | SZ_1G);
  std::mt19937_64 rng(7);
  std::map<u64, std::pair<u64, u64>> model;  // start: size, address
  for (int i = 0; i < 4000; i++) {
    const u64 size = rng() % 3 == 0 ? SZ_2M : SZ_4K;
    const u64 iova = (rng() % (4 * SZ_2M)) & ~(size - 1);
    auto it = model.upper_bound(iova + size - 1);
    bool hit = false;
    if (it != model.begin()) {
      --it;
      hit = it->first + it->second.first > iova;
    }
    if (!hit) {
      const u64 pa = (rng() % kGiB) & ~(size - 1);
      ASSERT_EQ(Map(ops, iova, pa, size, 1), size);
      model[iova] = {size, pa};
    } else {
      ASSERT_EQ(Unmap(ops, it->first, it->second.first, 1), it->second.first);
      model.erase(it);
    }
    const u64 probe = rng() % (4 * SZ_2M);
    auto p = model.upper_bound(probe);
    u64 want = 0;
    if (p != model.begin() && (--p)->first + p->second.first > probe) {
      want = p->second.second + (probe - p->first);
    }
    ASSERT_EQ(ops->iova_to_phys(ops, probe), want);
  }
  free_io_pgtable_ops(ops);
}

TEST_F(IoPgtableTest, DirtyIsWhatTheHardwareHasMadeWriteable) {
  io_pgtable_ops* ops =
      Alloc(ARM_64_LPAE_S1, SZ_4K | SZ_2M, 39, 48, IO_PGTABLE_QUIRK_ARM_HD);
  ASSERT_NE(ops, nullptr);
  ASSERT_EQ(Map(ops, 0, SZ_2M, SZ_4K, 4), 4 * SZ_4K);
  auto table = [](u64 entry) {
    return static_cast<u64*>(phys_to_virt(entry & 0xfffffffff000));
  };
  u64* leaf = table(table(table(cfg_.arm_lpae_s1_cfg.ttbr)[0])[0]);
  constexpr u64 kReadOnly = 1 << 7;
  constexpr u64 kDbm = 1ULL << 51;
  for (int i = 0; i < 4; i++) {
    ASSERT_EQ(leaf[i] & (kDbm | kReadOnly), kDbm);
  }
  const unsigned long buf = MmFixture::Map(mm_test::kPage);
  const u8 none = 0;
  auto read = [&](unsigned long flags) {
    EXPECT_EQ(0, Out(buf, &none, 1));
    auto bitmap = iova_bitmap_alloc(0, 4 * SZ_4K, SZ_4K, user_inout<void>(buf));
    EXPECT_TRUE(bitmap);
    iommu_iotlb_gather gather;
    iommu_dirty_bitmap dirty;
    iommu_dirty_bitmap_init(&dirty, *bitmap, &gather);
    EXPECT_EQ(0, ops->read_and_clear_dirty(ops, 0, 4 * SZ_4K, flags, &dirty));
    iova_bitmap_free(*bitmap);
    u8 bits = 0xff;
    EXPECT_EQ(0, In(buf, &bits, 1));
    return bits;
  };
  EXPECT_EQ(read(0), 0b1111) << "a new page counts as written";
  EXPECT_EQ(read(0), 0);
  leaf[1] &= ~kReadOnly;
  leaf[3] &= ~kReadOnly;
  EXPECT_EQ(read(IOMMU_DIRTY_NO_CLEAR), 0b1010);
  EXPECT_EQ(read(0), 0b1010);
  EXPECT_EQ(leaf[1] & kReadOnly, kReadOnly);
  EXPECT_EQ(read(0), 0);
  // A hole: nothing stands for it.
  EXPECT_EQ(Unmap(ops, 2 * SZ_4K, SZ_4K, 1), SZ_4K);
  iommu_dirty_bitmap nobody;
  iommu_dirty_bitmap_init(&nobody, nullptr, nullptr);
  EXPECT_EQ(-EINVAL, ops->read_and_clear_dirty(ops, 0, 4 * SZ_4K, 0, &nobody));
  free_io_pgtable_ops(ops);
}

TEST_F(IoPgtableTest, EveryAllocationFails) {
  for (u32 nth = 1; nth < 20; nth++) {
    fail_nth_write(task_.get(), nth);
    io_pgtable_ops* ops = Alloc(ARM_64_LPAE_S1, SZ_4K);
    if (ops != nullptr) {
      size_t mapped = 0;
      const int rc =
          ops->map_pages(ops, 0, 0, SZ_4K, 1, IOMMU_READ, GFP_KERNEL, &mapped);
      EXPECT_TRUE(rc == 0 || rc == -ENOMEM);
      free_io_pgtable_ops(ops);
    }
    fail_nth_write(task_.get(), 0);
    EXPECT_EQ(Pages(), 0u);
  }
}

}  // namespace
