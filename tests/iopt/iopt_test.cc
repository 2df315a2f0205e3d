// SPDX-License-Identifier: GPL-2.0-or-later
//
// io_pagetable.cc and pages.cc, function by function: each errno and its order,
// the edges of batches, splits and pins. Bugs that upstream had are named by
// what they did.
#include <cstring>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "core/linux/file.h"
#include "core/mm/memfd.h"
#include "tests/iopt/iopt_fixture.h"

namespace iopt_test {
namespace {

constexpr int kRead = IOMMU_READ;
constexpr int kReadWrite = IOMMU_READ | IOMMU_WRITE;
constexpr unsigned long kIova = 0x1000000;

// ---- map ----

TEST_F(IoptTest, MapWithoutDomainPinsNothing) {
  auto ioas = NewIoas();
  const unsigned long buf = NewBuffer(SZ_2M);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, SZ_2M), 0);
  EXPECT_EQ(Pins(), 0);
  EXPECT_EQ(LockedVm(), 0);
  unsigned long unmapped = 1;
  EXPECT_EQ(Unmap(ioas.get(), kIova, SZ_2M, &unmapped), 0);
  EXPECT_EQ(unmapped, SZ_2M);
  Destroy(ioas.get());
}

TEST_F(IoptTest, MapErrorsInOrder) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly, 0x10000, (1UL << 40) - 1);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(SZ_1M);

  // The user's range wraps: before anything else is looked at.
  EXPECT_EQ(MapFixed(ioas.get(), 1, ~0UL - 10, 100), -EOVERFLOW);
  EXPECT_EQ(MapFixed(ioas.get(), 1, buf, ~0UL), -EOVERFLOW);
  EXPECT_EQ(MapFixed(ioas.get(), 1, 0, ~0UL - 100), -EINVAL);
  // The pages of the longest range are countable; upstream they were none.
  EXPECT_EQ(MapFixed(ioas.get(), 0, 0xfff, ~0UL - kPage), -EOVERFLOW);
  EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, 0), -EINVAL);
  // Length before iova before what is there.
  EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, kPage + 1), -EINVAL);
  EXPECT_EQ(MapFixed(ioas.get(), kIova + 1, buf, kPage), -EINVAL);
  EXPECT_EQ(MapFixed(ioas.get(), ~0UL - kPage + 1, buf, 2 * kPage), -EOVERFLOW);
  EXPECT_EQ(MapFixed(ioas.get(), 0, buf, kPage), -EINVAL) << "reserved";
  EXPECT_EQ(MapFixed(ioas.get(), 0xf000, buf, 2 * kPage), -EINVAL);
  EXPECT_EQ(MapFixed(ioas.get(), (1UL << 40) - kPage, buf, 2 * kPage), -EINVAL);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 4 * kPage), 0);
  EXPECT_EQ(MapFixed(ioas.get(), kIova - kPage, buf, 2 * kPage), -EEXIST);
  EXPECT_EQ(MapFixed(ioas.get(), kIova + 3 * kPage, buf, kPage), -EEXIST);
  // The page offset comes last.
  EXPECT_EQ(MapFixed(ioas.get(), kIova, buf + 1, kPage), -EEXIST);
  EXPECT_EQ(MapFixed(ioas.get(), 2 * kIova, buf + 1, kPage), -EINVAL);
  // No memory there.
  EXPECT_EQ(MapFixed(ioas.get(), 2 * kIova, 0x1000, kPage), -EFAULT);
  EXPECT_EQ(domain.mapped_bytes(), 4 * kPage);
  EXPECT_EQ(Pins(), 4);

  unsigned long iova = 0;
  EXPECT_EQ(MapAuto(ioas.get(), &iova, 0, 1UL << 63), -EOVERFLOW);
  EXPECT_EQ(MapAuto(ioas.get(), &iova, buf, 0), -EINVAL);
  EXPECT_EQ(MapAuto(ioas.get(), &iova, 0, 1UL << 41), -ENOSPC);

  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

TEST_F(IoptTest, MapReadOnlyMemory) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(4 * kPage, {}, PROT_READ);
  EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, kPage, kReadWrite), -EFAULT);
  EXPECT_EQ(Pins(), 0);
  EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, kPage, kRead), 0);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

// A hole in the middle of a mapping: the first pins go again, all of them.
TEST_F(IoptTest, MapOverAHoleUndoesItself) {
  for (size_t limit : {12ul, 24ul, 100ul, 65536ul}) {
    hooks_.memory_limit = limit;
    auto ioas = NewIoas();
    FakeDomain d1(k4kOnly), d2(k4kAndUp);
    ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &d1), 0);
    ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &d2), 0);
    const unsigned long buf = NewBuffer(64 * kPage);
    ASSERT_EQ(vm_munmap(buf + 40 * kPage, kPage), 0);
    EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, 64 * kPage), -EFAULT);
    EXPECT_EQ(Pins(), 0);
    EXPECT_EQ(d1.mapped_bytes() + d2.mapped_bytes(), 0u);
    EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, 40 * kPage), 0);
    iopt_table_remove_domain(&ioas->iopt, &d1);
    iopt_table_remove_domain(&ioas->iopt, &d2);
    Destroy(ioas.get());
  }
}

TEST_F(IoptTest, DomainThatFailsToMapIsUndoneInAllDomains) {
  for (size_t limit : {12ul, 36ul, 65536ul}) {
    hooks_.memory_limit = limit;
    const unsigned long buf = NewBuffer(20 * kPage, {.fragmented = true});
    for (unsigned int fail = 1; fail <= 20; fail++) {
      for (int which = 0; which < 3; which++) {
        auto ioas = NewIoas();
        FakeDomain d[3] = {FakeDomain(k4kOnly), FakeDomain(k4kOnly),
                           FakeDomain(k4kOnly)};
        for (auto& domain : d)
          ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
        d[which].fail_map_in = fail;
        // Nothing may be unpinned that a domain still maps.
        for (auto& domain : d)
          domain.on_unmap = [&] {
            for (auto& other : d)
              for (auto& [iova, pte] : other.ptes)
                EXPECT_GT(page_pin_count(phys_to_page(pte.phys)), 0);
          };
        EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, 20 * kPage), -ENOSPC);
        for (auto& domain : d) EXPECT_EQ(domain.mapped_bytes(), 0u);
        EXPECT_EQ(Pins(), 0);
        for (auto& domain : d) iopt_table_remove_domain(&ioas->iopt, &domain);
        Destroy(ioas.get());
      }
    }
  }
}

TEST_F(IoptTest, AutomaticIovaIsAsAlignedAsTheMemory) {
  auto ioas = NewIoas();
  const unsigned long buf = NewBuffer(8 * SZ_2M, {.align = SZ_2M});
  unsigned long iova = 0;
  ASSERT_EQ(MapAuto(ioas.get(), &iova, buf, 2 * SZ_2M), 0);
  EXPECT_EQ(iova, SZ_2M);
  ASSERT_EQ(MapAuto(ioas.get(), &iova, buf + SZ_64K, kPage), 0);
  EXPECT_EQ(iova, kPage) << "never 0";
  ASSERT_EQ(MapAuto(ioas.get(), &iova, buf + SZ_64K, SZ_64K), 0);
  EXPECT_EQ(iova, SZ_64K);
  // An offset in the page is kept.
  ASSERT_EQ(MapAuto(ioas.get(), &iova, buf + 0x810, 0x100), 0);
  EXPECT_EQ(iova % kPage, 0x810u);
  Destroy(ioas.get());
}

// Upstream: rounding up just below the top gave IOVA 0.
TEST_F(IoptTest, AutomaticIovaDoesNotWrap) {
  auto ioas = NewIoas();
  const unsigned long top = ~0UL - SZ_2M + 1;
  rb_root_cached allowed = RB_ROOT_CACHED;
  auto* node = kzalloc_obj<iopt_allowed>();
  node->node.start = top + kPage;
  node->node.last = ~0UL - kPage;
  interval_tree_insert(&node->node, &allowed);
  ASSERT_EQ(iopt_set_allow_iova(&ioas->iopt, &allowed), 0);
  const unsigned long buf = NewBuffer(SZ_2M, {.align = SZ_2M});
  unsigned long iova = 0;
  EXPECT_EQ(MapAuto(ioas.get(), &iova, buf, SZ_2M), -ENOSPC);
  EXPECT_EQ(MapAuto(ioas.get(), &iova, buf + SZ_1M, SZ_1M / 2), 0);
  EXPECT_EQ(iova, top + SZ_1M / 2);
  Destroy(ioas.get());
}

TEST_F(IoptTest, AutomaticIovaStaysInsideWhatIsAllowed) {
  auto ioas = NewIoas();
  const unsigned long buf = NewBuffer(SZ_1M);
  rb_root_cached allowed = RB_ROOT_CACHED;
  for (unsigned long start : {0x100000ul, 0x200000ul}) {
    auto* node = kzalloc_obj<iopt_allowed>();
    node->node.start = start;
    node->node.last = start + 2 * kPage - 1;
    interval_tree_insert(&node->node, &allowed);
  }
  ASSERT_EQ(iopt_set_allow_iova(&ioas->iopt, &allowed), 0);
  EXPECT_TRUE(RB_EMPTY_ROOT(&allowed));
  unsigned long iova = 0;
  for (unsigned long expect :
       {0x100000ul, 0x101000ul, 0x200000ul, 0x201000ul}) {
    ASSERT_EQ(MapAuto(ioas.get(), &iova, buf, kPage), 0);
    EXPECT_EQ(iova, expect);
  }
  EXPECT_EQ(MapAuto(ioas.get(), &iova, buf, kPage), -ENOSPC);
  // The allowed ranges do not bind a fixed mapping.
  EXPECT_EQ(MapFixed(ioas.get(), 0x400000, buf, kPage), 0);

  int owner;
  {
    rwsem_write_guard guard(&ioas->iopt.iova_rwsem);
    EXPECT_EQ(iopt_reserve_iova(&ioas->iopt, 0x100000, 0x100fff, &owner),
              -EADDRINUSE);
    EXPECT_EQ(iopt_reserve_iova(&ioas->iopt, 0x300000, 0x300fff, &owner), 0);
  }
  rb_root_cached bad = RB_ROOT_CACHED;
  iopt_allowed overlap;
  overlap.node.start = 0x300fff;
  overlap.node.last = 0x301fff;
  interval_tree_insert(&overlap.node, &bad);
  EXPECT_EQ(iopt_set_allow_iova(&ioas->iopt, &bad), -EADDRINUSE);
  EXPECT_EQ(interval_tree_iter_first(&bad, 0, ~0UL), &overlap.node);
  EXPECT_EQ(MapFixed(ioas.get(), 0x300000, buf, kPage), -EINVAL);
  iopt_remove_reserved_iova(&ioas->iopt, &owner);
  EXPECT_EQ(MapFixed(ioas.get(), 0x300000, buf, kPage), 0);
  Destroy(ioas.get());
}

// ---- large pages ----

TEST_F(IoptTest, ContiguousPagesAreMappedAsLargePages) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kAndUp);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(2 * SZ_2M, {.huge = true});
  const long slab = kernel_slab_live(&kernel_);
  ASSERT_EQ(MapFixed(ioas.get(), SZ_1G, buf, 2 * SZ_2M), 0);
  EXPECT_LE(domain.ptes.size(), 2u);
  EXPECT_LE(domain.map_calls, 2u);
  EXPECT_EQ(Pins(), 1024);
  EXPECT_LE(kernel_slab_live(&kernel_) - slab, 2)
      << "an area and its pages, nothing for each page";
  for (unsigned long off = 0; off < 2 * SZ_2M; off += kPage)
    ASSERT_EQ(domain.Translate(SZ_1G + off), PhysOf(buf + off));
  // Into a second domain from the first; then the first goes.
  FakeDomain other(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &other), 0);
  EXPECT_EQ(other.ptes.size(), 1024u);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  EXPECT_EQ(domain.mapped_bytes(), 0u);
  EXPECT_EQ(Pins(), 1024);
  EXPECT_EQ(Unmap(ioas.get(), SZ_1G, 2 * SZ_2M), 0);
  EXPECT_EQ(Pins(), 0);
  iopt_table_remove_domain(&ioas->iopt, &other);
  Destroy(ioas.get());
}

TEST_F(IoptTest, DisableLargePages) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kAndUp);
  const unsigned long buf = NewBuffer(SZ_2M, {.huge = true});
  ASSERT_EQ(MapFixed(ioas.get(), 0x100, buf, 0x100), 0);
  EXPECT_EQ(iopt_disable_large_pages(&ioas->iopt), -EADDRINUSE);
  EXPECT_FALSE(ioas->iopt.disable_large_pages);
  ASSERT_EQ(Unmap(ioas.get(), 0x100, 0x100), 0);

  ASSERT_EQ(iopt_disable_large_pages(&ioas->iopt), 0);
  ASSERT_EQ(iopt_disable_large_pages(&ioas->iopt), 0);
  EXPECT_EQ(MapFixed(ioas.get(), 0x800, buf, 0x800), -EINVAL);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  ASSERT_EQ(MapFixed(ioas.get(), SZ_2M, buf, SZ_2M), 0);
  EXPECT_EQ(domain.ptes.size(), 512u);
  unsigned long cut[] = {SZ_2M + SZ_1M - 1};
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, cut, 1), 0);
  EXPECT_EQ(Unmap(ioas.get(), SZ_2M, SZ_1M), 0);
  EXPECT_EQ(Pins(), 256);
  iopt_enable_large_pages(&ioas->iopt);
  EXPECT_EQ(iopt_disable_large_pages(&ioas->iopt), -EINVAL) << "mapped";
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

// ---- domains ----

TEST_F(IoptTest, AddDomainErrors) {
  auto ioas = NewIoas();
  const unsigned long buf = NewBuffer(SZ_1M);
  FakeDomain coarse(SZ_64K), fine(k2kAndUp), normal(k4kOnly);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &coarse), -EINVAL);

  // Bytes do not fit 4k; 2k does not either; its own page offset counts too.
  ASSERT_EQ(MapFixed(ioas.get(), 0x1000, buf + 0x800, kPage), 0);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &normal), -EADDRINUSE);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &fine), 0);
  iopt_table_remove_domain(&ioas->iopt, &fine);
  ASSERT_EQ(Unmap(ioas.get(), 0x1000, kPage), 0);

  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, SZ_1M), 0);
  FakeDomain low(k4kOnly, 0, kIova + SZ_1M - 2);
  FakeDomain high(k4kOnly, kIova + 1);
  FakeDomain fits(k4kOnly, kIova, kIova + SZ_1M - 1);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &low), -EADDRINUSE);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &high), -EADDRINUSE);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &fits), 0);
  EXPECT_EQ(MapFixed(ioas.get(), 2 * kIova, buf, kPage), -EINVAL);
  iopt_table_remove_domain(&ioas->iopt, &fits);
  EXPECT_EQ(MapFixed(ioas.get(), 2 * kIova, buf, kPage), 0);
  // Failures leave no reserved range behind.
  Destroy(ioas.get());
}

TEST_F(IoptTest, AlignmentFollowsDomainsAndAccesses) {
  auto ioas = NewIoas();
  auto alignment = [&] {
    rwsem_read_guard guard(&ioas->iopt.iova_rwsem);
    return ioas->iopt.iova_alignment;
  };
  FakeDomain fine(k2kAndUp), normal(k4kOnly);
  FakeAccess access(ictx_.get(), ioas.get(), kPage);
  EXPECT_EQ(alignment(), 1u);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &fine), 0);
  EXPECT_EQ(alignment(), 2048u);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &normal), 0);
  EXPECT_EQ(alignment(), 4096u);
  iopt_table_remove_domain(&ioas->iopt, &normal);
  EXPECT_EQ(alignment(), 2048u);
  const unsigned long buf = NewBuffer(SZ_64K);
  ASSERT_EQ(MapFixed(ioas.get(), 0x800, buf, 0x800), 0);
  EXPECT_EQ(access.Add(), -EADDRINUSE);
  EXPECT_EQ(alignment(), 2048u);
  ASSERT_EQ(Unmap(ioas.get(), 0x800, 0x800), 0);
  ASSERT_EQ(access.Add(), 0);
  EXPECT_EQ(alignment(), 4096u);
  access.Remove();
  EXPECT_EQ(alignment(), 2048u);
  iopt_table_remove_domain(&ioas->iopt, &fine);
  EXPECT_EQ(alignment(), 1u);
  Destroy(ioas.get());
}

TEST_F(IoptTest, SubPageAreasInAFineDomain) {
  auto ioas = NewIoas();
  FakeDomain fine(k2kAndUp), second(k2kAndUp);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &fine), 0);
  const unsigned long buf = NewBuffer(SZ_64K, {.fragmented = true});
  const unsigned long va = buf + 0x800;
  const unsigned long length = 5 * kPage;
  ASSERT_EQ(MapFixed(ioas.get(), kIova + 0x800, va, length), 0);
  EXPECT_EQ(Pins(), 6);
  for (unsigned long off = 0; off < length; off += 0x800)
    EXPECT_EQ(fine.Translate(kIova + 0x800 + off), PhysOf(va + off));
  EXPECT_EQ(fine.mapped_bytes(), length);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &second), 0);
  iopt_table_remove_domain(&ioas->iopt, &fine);
  for (unsigned long off = 0; off < length; off += 0x800)
    EXPECT_EQ(second.Translate(kIova + 0x800 + off), PhysOf(va + off));
  EXPECT_EQ(Unmap(ioas.get(), kIova + 0x800, length), 0);
  EXPECT_EQ(Pins(), 0);
  iopt_table_remove_domain(&ioas->iopt, &second);
  Destroy(ioas.get());
}

// An area may end at the last IOVA there is, in several runs and inside a page.
TEST_F(IoptTest, AreaAtTheTopOfTheSpace) {
  for (unsigned long length : {8 * kPage, 8 * kPage - 0x800}) {
    auto ioas = NewIoas();
    FakeDomain domain(k2kAndUp), second(k2kAndUp);
    ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
    const unsigned long buf = NewRunsBuffer(8, 3);
    const unsigned long iova = ~0UL - length + 1;
    ASSERT_EQ(MapFixed(ioas.get(), iova, buf, length), 0);
    ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &second), 0);
    EXPECT_EQ(domain.mapped_bytes(), length);
    for (unsigned long off = 0; off < length; off += 0x800) {
      EXPECT_EQ(domain.Translate(iova + off), PhysOf(buf + off));
      EXPECT_EQ(second.Translate(iova + off), PhysOf(buf + off));
    }
    iopt_table_remove_domain(&ioas->iopt, &domain);
    EXPECT_EQ(Unmap(ioas.get(), iova, length), 0);
    EXPECT_EQ(second.mapped_bytes(), 0u);
    iopt_table_remove_domain(&ioas->iopt, &second);
    Destroy(ioas.get());
  }
}

TEST_F(IoptTest, DirtyTrackingStartsClean) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(SZ_64K);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, kPage), 0);
  ASSERT_EQ(MapFixed(ioas.get(), 2 * kIova, buf, 2 * kPage), 0);
  EXPECT_EQ(iopt_set_dirty_tracking(&ioas->iopt, &domain, true), 0);
  EXPECT_TRUE(domain.tracking);
  EXPECT_EQ(domain.cleared.size(), 2u);
  EXPECT_EQ(iopt_set_dirty_tracking(&ioas->iopt, &domain, false), 0);
  EXPECT_FALSE(domain.tracking);
  EXPECT_EQ(domain.cleared.size(), 2u);
  domain.dirty_ops = nullptr;
  EXPECT_EQ(iopt_set_dirty_tracking(&ioas->iopt, &domain, true), -EOPNOTSUPP);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

// What a driver sees of a reading: one call for each area, cut to the range,
// and a flush of what was dirty when it is to become clean.
struct DirtyDomain : FakeDomain {
  DirtyDomain() : FakeDomain(k4kOnly) {
    ops_copy = *ops;
    ops_copy.iotlb_sync = [](iommu_domain* domain, iommu_iotlb_gather* gather) {
      Self(domain)->flushed.emplace_back(gather->start, gather->end);
    };
    ops = &ops_copy;
    dirty_ops_copy = *dirty_ops;
    dirty_ops_copy.read_and_clear_dirty =
        [](iommu_domain* domain, unsigned long iova, size_t size,
           unsigned long flags, iommu_dirty_bitmap* dirty) {
          DirtyDomain* d = Self(domain);
          d->read.emplace_back(iova, size, flags);
          if (d->read.size() == d->fail_at) return -EIO;
          iommu_dirty_bitmap_record(dirty, iova, kPage);
          return 0;
        };
    dirty_ops = &dirty_ops_copy;
  }
  static DirtyDomain* Self(iommu_domain* domain) {
    return static_cast<DirtyDomain*>(domain);
  }

  using Range = std::tuple<unsigned long, size_t, unsigned long>;
  std::vector<Range> read;
  std::vector<std::pair<unsigned long, unsigned long>> flushed;
  size_t fail_at = 0;
  iommu_domain_ops ops_copy;
  iommu_dirty_ops dirty_ops_copy;
};

TEST_F(IoptTest, DirtyBitsAreReadAreaByArea) {
  auto ioas = NewIoas();
  DirtyDomain domain;
  using Range = DirtyDomain::Range;
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(SZ_64K);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 2 * kPage), 0);
  ASSERT_EQ(MapFixed(ioas.get(), kIova + 2 * kPage, buf, kPage), 0);
  ASSERT_EQ(MapFixed(ioas.get(), kIova + 4 * kPage, buf, kPage), 0);

  const auto read = [&](unsigned long iova, unsigned long length,
                        unsigned long flags) {
    iommu_hwpt_get_dirty_bitmap cmd = {};
    cmd.iova = iova;
    cmd.length = length;
    cmd.page_size = kPage;
    cmd.data = buf;
    domain.read.clear();
    domain.flushed.clear();
    return iopt_read_and_clear_dirty_data(&ioas->iopt, &domain, flags, &cmd);
  };
  EXPECT_EQ(read(kIova, 3 * kPage, 0), 0);
  EXPECT_EQ(domain.read, (std::vector{Range{kIova, 2 * kPage, 0},
                                      Range{kIova + 2 * kPage, kPage, 0}}));
  ASSERT_EQ(domain.flushed.size(), 1u);
  EXPECT_EQ(domain.flushed[0].first, kIova);
  EXPECT_EQ(domain.flushed[0].second, kIova + 3 * kPage - 1);
  // A part of each; the bits stay, so there is nothing to flush.
  EXPECT_EQ(read(kIova + kPage, 2 * kPage, IOMMU_DIRTY_NO_CLEAR), 0);
  EXPECT_EQ(
      domain.read,
      (std::vector{Range{kIova + kPage, kPage, IOMMU_DIRTY_NO_CLEAR},
                   Range{kIova + 2 * kPage, kPage, IOMMU_DIRTY_NO_CLEAR}}));
  EXPECT_EQ(domain.flushed.size(), 0u);
  // Up to a gap, which is no error; nor is what the driver says.
  EXPECT_EQ(read(kIova + 2 * kPage, 3 * kPage, 0), 0);
  EXPECT_EQ(domain.read, (std::vector{Range{kIova + 2 * kPage, kPage, 0}}));
  EXPECT_EQ(read(kIova + 3 * kPage, 2 * kPage, 0), 0);
  EXPECT_EQ(domain.read.size(), 0u);
  domain.fail_at = 1;
  EXPECT_EQ(read(kIova, 3 * kPage, 0), 0);
  EXPECT_EQ(domain.read.size(), 1u);
  EXPECT_EQ(domain.flushed.size(), 0u);
  // A driver without the op.
  domain.dirty_ops_copy.read_and_clear_dirty = nullptr;
  EXPECT_EQ(read(kIova, kPage, 0), -EOPNOTSUPP);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

// Enabling stops where the driver cannot clear, and is not done then.
TEST_F(IoptTest, DirtyTrackingThatCannotBeCleared) {
  auto ioas = NewIoas();
  DirtyDomain domain;
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(SZ_64K);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, kPage), 0);
  ASSERT_EQ(MapFixed(ioas.get(), 2 * kIova, buf, kPage), 0);
  domain.fail_at = 2;
  EXPECT_EQ(iopt_set_dirty_tracking(&ioas->iopt, &domain, true), -EIO);
  EXPECT_FALSE(domain.tracking);
  // What was cleared is flushed all the same.
  EXPECT_EQ(domain.flushed.size(), 1u);
  domain.fail_at = 0;
  EXPECT_EQ(iopt_set_dirty_tracking(&ioas->iopt, &domain, true), 0);
  EXPECT_TRUE(domain.tracking);
  domain.read.clear();
  EXPECT_EQ(iopt_set_dirty_tracking(&ioas->iopt, &domain, false), 0);
  EXPECT_EQ(domain.read.size(), 0u);
  EXPECT_FALSE(domain.tracking);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

// ---- unmap ----

TEST_F(IoptTest, UnmapErrors) {
  auto ioas = NewIoas();
  const unsigned long buf = NewBuffer(SZ_1M);
  unsigned long unmapped = 77;
  EXPECT_EQ(Unmap(ioas.get(), kIova, 0, &unmapped), -EINVAL);
  EXPECT_EQ(Unmap(ioas.get(), ~0UL, 2, &unmapped), -EOVERFLOW);
  EXPECT_EQ(Unmap(ioas.get(), kIova, kPage, &unmapped), 0) << "nothing there";
  EXPECT_EQ(unmapped, 0u);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 4 * kPage), 0);
  ASSERT_EQ(MapFixed(ioas.get(), kIova + 4 * kPage, buf, 4 * kPage), 0);
  EXPECT_EQ(Unmap(ioas.get(), kIova, kPage, &unmapped), -ENOENT);
  EXPECT_EQ(Unmap(ioas.get(), kIova + kPage, kPage, &unmapped), -ENOENT);
  // What is below the one that sticks out is gone and counted.
  EXPECT_EQ(Unmap(ioas.get(), kIova, 5 * kPage, &unmapped), -ENOENT);
  EXPECT_EQ(unmapped, 4 * kPage);
  EXPECT_EQ(Unmap(ioas.get(), 0, kIova * 2, &unmapped), 0);
  EXPECT_EQ(unmapped, 4 * kPage);
  iopt_destroy_table(&ioas->iopt);
}

// ---- copy ----

TEST_F(IoptTest, CopySharesThePins) {
  auto a = NewIoas(), b = NewIoas();
  FakeDomain da(k4kOnly), db(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&a->iopt, &da), 0);
  ASSERT_EQ(iopt_table_add_domain(&b->iopt, &db), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  ASSERT_EQ(MapFixed(a.get(), kIova, buf, 16 * kPage), 0);
  EXPECT_EQ(LockedVm(), 16);
  unsigned long dst = 0x100000;
  ASSERT_EQ(
      Copy(a.get(), kIova + 2 * kPage, 8 * kPage, b.get(), &dst, kReadWrite),
      0);
  EXPECT_EQ(LockedVm(), 16) << "paid once";
  EXPECT_EQ(Pins(), 16);
  EXPECT_EQ(db.Translate(dst), PhysOf(buf + 2 * kPage));
  // The source goes: only what the copy needs stays pinned.
  ASSERT_EQ(Unmap(a.get(), kIova, 16 * kPage), 0);
  EXPECT_EQ(Pins(), 8);
  EXPECT_EQ(LockedVm(), 8);
  ASSERT_EQ(Unmap(b.get(), dst, 8 * kPage), 0);
  EXPECT_EQ(Pins(), 0);
  iopt_table_remove_domain(&a->iopt, &da);
  iopt_table_remove_domain(&b->iopt, &db);
  Destroy(a.get());
  Destroy(b.get());
}

TEST_F(IoptTest, CopyErrors) {
  auto a = NewIoas(), b = NewIoas();
  const unsigned long buf = NewBuffer(16 * kPage, {}, PROT_READ);
  ASSERT_EQ(MapFixed(a.get(), kIova, buf, 4 * kPage, kRead), 0);
  ASSERT_EQ(MapFixed(a.get(), kIova + 4 * kPage, buf, 4 * kPage, kRead), 0);
  ASSERT_EQ(MapFixed(a.get(), kIova + 9 * kPage, buf, kPage, kRead), 0);
  unsigned long dst = 0x100000;
  EXPECT_EQ(Copy(a.get(), kIova, 0, b.get(), &dst, kRead), -EINVAL);
  EXPECT_EQ(Copy(a.get(), ~0UL, 2, b.get(), &dst, kRead), -EOVERFLOW);
  // Upstream once took a range that began below the first area.
  EXPECT_EQ(Copy(a.get(), kIova - kPage, 2 * kPage, b.get(), &dst, kRead),
            -ENOENT);
  EXPECT_EQ(Copy(a.get(), kIova, 10 * kPage, b.get(), &dst, kRead), -ENOENT);
  EXPECT_EQ(Copy(a.get(), kIova, 2 * kPage, b.get(), &dst, kReadWrite), -EPERM);
  EXPECT_EQ(Copy(a.get(), kIova, 2 * kPage, a.get(), &dst, kRead), 0);
  EXPECT_EQ(Copy(a.get(), kIova, 2 * kPage, a.get(), &dst, kRead), -EEXIST);
  // Over two areas: two areas again.
  EXPECT_EQ(Copy(a.get(), kIova + kPage, 6 * kPage, b.get(), &dst, kRead), 0);
  EXPECT_EQ(Unmap(b.get(), dst, 3 * kPage), 0);
  EXPECT_EQ(Unmap(b.get(), dst + 3 * kPage, 3 * kPage), 0);
  // A highly aligned source, an iova of its own.
  EXPECT_EQ(Copy(a.get(), kIova, kPage, b.get(), &dst, kRead, IOPT_ALLOC_IOVA),
            0);
  Destroy(a.get());
  Destroy(b.get());
}

// ---- split ----

TEST_F(IoptTest, CutErrors) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  const unsigned long buf = NewBuffer(16 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 8 * kPage), 0);
  unsigned long nothing[] = {1, kIova + 100 * kPage};
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, nothing, 2), 0);
  unsigned long last[] = {kIova + 8 * kPage - 1};
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, last, 1), 0);
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  unsigned long unaligned[] = {kIova + 100};
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, unaligned, 1), -EINVAL);
  unsigned long middle[] = {kIova + 4 * kPage - 1};
  ASSERT_EQ(access.Pin(kIova, kPage), 0);
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, middle, 1), -EINVAL) << "pinned";
  access.UnpinAll();
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, middle, 1), -EINVAL) << "large pages";
  iopt_table_remove_domain(&ioas->iopt, &domain);
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, middle, 1), 0);
  EXPECT_EQ(Unmap(ioas.get(), kIova, 4 * kPage), 0);
  access.Remove();
  Destroy(ioas.get());
}

// Upstream: the halves were missing from the tree of mapped pages, and the last
// one to go unpinned what was not its own.
TEST_F(IoptTest, SplitHalvesGoOneByOne) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kAndUp), second(k4kAndUp);
  ASSERT_EQ(iopt_disable_large_pages(&ioas->iopt), 0);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 16 * kPage), 0);
  FakeAccess access(ictx_.get(), ioas.get());
  unsigned long cuts[] = {kIova + 4 * kPage - 1, kIova + 10 * kPage - 1};
  ASSERT_EQ(iopt_cut_iova(&ioas->iopt, cuts, 2), 0);
  ASSERT_EQ(access.Add(), 0);
  // A pin across both cuts reads the pages back from the domain.
  std::vector<struct page*> pages;
  ASSERT_EQ(access.Pin(kIova + 2 * kPage, 10 * kPage, &pages), 0);
  for (int i = 0; i < 10; i++)
    EXPECT_EQ(pages[i], PageOf(buf + (2 + i) * kPage));
  EXPECT_EQ(Pins(), 16);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &second), 0);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  access.UnpinAll();
  EXPECT_EQ(Pins(), 16);
  EXPECT_EQ(Unmap(ioas.get(), kIova + 4 * kPage, 6 * kPage), 0);
  EXPECT_EQ(Pins(), 10);
  EXPECT_EQ(Unmap(ioas.get(), kIova, 4 * kPage), 0);
  EXPECT_EQ(Pins(), 6);
  iopt_table_remove_domain(&ioas->iopt, &second);
  EXPECT_EQ(Pins(), 0);
  access.Remove();
  Destroy(ioas.get());
}

// ---- accesses ----

TEST_F(IoptTest, PinErrors) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get(), 1);
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(16 * kPage, {}, PROT_READ);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 4 * kPage, kRead), 0);
  ASSERT_EQ(MapFixed(ioas.get(), kIova + 4 * kPage, buf + 0x100, 0x300, kRead),
            0);
  ASSERT_EQ(MapFixed(ioas.get(), 2 * kIova, 0x1000, kPage, kRead), 0);
  ASSERT_EQ(MapFixed(ioas.get(), 3 * kIova, buf, kPage, IOMMU_CACHE), 0);
  EXPECT_EQ(access.Pin(kIova, 0), -EINVAL);
  EXPECT_EQ(access.Pin(~0UL, 2), -EOVERFLOW);
  EXPECT_EQ(access.Pin(kIova - kPage, 2 * kPage), -ENOENT);
  EXPECT_EQ(access.Pin(kIova + 1, kPage), -EINVAL) << "not on a page";
  EXPECT_EQ(access.Pin(kIova, 4 * kPage + 1), -EINVAL) << "the second area";
  EXPECT_EQ(access.Pin(kIova, kPage, nullptr, IOMMUFD_ACCESS_RW_WRITE), -EPERM);
  EXPECT_EQ(access.Pin(3 * kIova, kPage), -EPERM);
  EXPECT_EQ(access.Pin(2 * kIova, kPage), -EFAULT);
  EXPECT_EQ(access.Pin(2 * kIova, 2 * kPage), -EFAULT) << "before the gap";
  EXPECT_EQ(Pins(), 0);
  // The end need not be on a page.
  EXPECT_EQ(access.Pin(kIova, kPage + 1), 0);
  EXPECT_EQ(Pins(), 2);
  access.UnpinAll();
  access.Remove();
  Destroy(ioas.get());
}

// A gap behind the first area: the pins of the first go.
TEST_F(IoptTest, PinUpToAGapUndoesItself) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  for (int i = 0; i < 3; i++)
    ASSERT_EQ(MapFixed(ioas.get(), kIova + i * 4 * kPage, buf + i * 4 * kPage,
                       4 * kPage),
              0);
  EXPECT_EQ(access.Pin(kIova + kPage, 12 * kPage), -ENOENT);
  EXPECT_EQ(Pins(), 0);
  EXPECT_EQ(access.Pin(kIova + kPage, 11 * kPage), 0);
  EXPECT_EQ(Pins(), 11);
  access.UnpinAll();
  access.Remove();
  Destroy(ioas.get());
}

TEST_F(IoptTest, EqualPinsShareAndOverlappingOnesDoNotDoubleCount) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  FakeDomain domain(k4kOnly);
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 16 * kPage), 0);
  std::vector<struct page*> a, b, c;
  ASSERT_EQ(access.Pin(kIova, 8 * kPage, &a), 0);
  ASSERT_EQ(access.Pin(kIova, 8 * kPage, &b), 0);
  ASSERT_EQ(access.Pin(kIova + 4 * kPage, 8 * kPage, &c), 0);
  EXPECT_EQ(a, b);
  EXPECT_EQ(a[4], c[0]);
  EXPECT_EQ(Pins(), 12);
  EXPECT_EQ(LockedVm(), 12);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  EXPECT_EQ(Pins(), 16);
  access.Unpin(0);
  EXPECT_EQ(Pins(), 16);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  EXPECT_EQ(Pins(), 12) << "unpins nothing that an access has";
  access.Unpin(1);
  EXPECT_EQ(Pins(), 8);
  access.UnpinAll();
  EXPECT_EQ(Pins(), 0);
  access.Remove();
  Destroy(ioas.get());
}

TEST_F(IoptTest, UnmapTellsTheAccessAndWaits) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 4 * kPage), 0);
  ASSERT_EQ(MapFixed(ioas.get(), kIova + 4 * kPage, buf, 4 * kPage), 0);
  ASSERT_EQ(access.Pin(kIova, 4 * kPage), 0);
  ASSERT_EQ(access.Pin(kIova + 4 * kPage, 2 * kPage), 0);
  int told = 0;
  access.on_unmap = [&](unsigned long iova, unsigned long length) {
    EXPECT_EQ(length, 4 * kPage);
    EXPECT_EQ(iova, kIova);
    told++;
    // No new pins from here on.
    EXPECT_EQ(access.Pin(kIova + kPage, kPage), -EINVAL);
    char byte;
    EXPECT_EQ(Rw(ioas.get(), kIova, &byte, 1, 0), 0) << "the fixture's";
  };
  unsigned long unmapped;
  // Only up to the boundary: the neighbour's pin is not asked for.
  EXPECT_EQ(Unmap(ioas.get(), kIova, 4 * kPage, &unmapped), 0);
  EXPECT_EQ(unmapped, 4 * kPage);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(Pins(), 2);
  access.on_unmap = nullptr;
  EXPECT_EQ(Unmap(ioas.get(), kIova + 4 * kPage, 4 * kPage, &unmapped), 0);
  EXPECT_EQ(Pins(), 0);
  access.Remove();
  Destroy(ioas.get());
}

// The area is unmapped by the op itself, as a second thread might.
TEST_F(IoptTest, UnmapWhileTheAccessUnmaps) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 4 * kPage), 0);
  ASSERT_EQ(access.Pin(kIova, kPage), 0);
  access.on_unmap = [&](unsigned long, unsigned long) {
    access.on_unmap = nullptr;
    access.UnpinAll();
    unsigned long n;
    EXPECT_EQ(Unmap(ioas.get(), kIova, 4 * kPage, &n), 0);
    EXPECT_EQ(n, 4 * kPage);
  };
  unsigned long unmapped = 1;
  EXPECT_EQ(Unmap(ioas.get(), kIova, 4 * kPage, &unmapped), 0);
  EXPECT_EQ(unmapped, 0u);
  access.Remove();
  Destroy(ioas.get());
}

// Each area has its own tries: a long row of pinned neighbours is no driver
// bug.
TEST_F(IoptTest, UnmapOfManyPinnedNeighbours) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(kPage);
  constexpr int kAreas = 150;
  for (int i = 0; i < kAreas; i++) {
    ASSERT_EQ(MapFixed(ioas.get(), kIova + i * kPage, buf, kPage), 0);
    ASSERT_EQ(access.Pin(kIova + i * kPage, kPage), 0);
  }
  unsigned long unmapped;
  EXPECT_EQ(Unmap(ioas.get(), kIova, kAreas * kPage, &unmapped), 0);
  EXPECT_EQ(unmapped, kAreas * kPage);
  EXPECT_EQ(access.unmap_calls(), kAreas);
  access.Remove();
  Destroy(ioas.get());
}

class IoptNoPanicTest : public IoptTest {
 protected:
  IoptNoPanicTest() : IoptTest({.panic_on_warn = false}) {}
  ~IoptNoPanicTest() override { kernel_.warn_count = 0; }
};

TEST_F(IoptNoPanicTest, UnmapGivesUpOnADeafAccess) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(4 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, kPage), 0);
  ASSERT_EQ(MapFixed(ioas.get(), kIova + kPage, buf, kPage), 0);
  ASSERT_EQ(access.Pin(kIova + kPage, kPage), 0);
  access.deaf = true;
  unsigned long unmapped;
  EXPECT_EQ(Unmap(ioas.get(), kIova, 2 * kPage, &unmapped), -EDEADLK);
  EXPECT_EQ(unmapped, kPage);
  EXPECT_EQ(access.unmap_calls(), 101);
  EXPECT_EQ(kernel_warn_count(&kernel_), 1u);
  access.UnpinAll();
  access.Remove();
  Destroy(ioas.get());
}

// A queue's pages: EBUSY at once, for that area only, and no access is told.
TEST_F(IoptTest, LockedPinMakesUnmapBusy) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  for (int i = 0; i < 3; i++)
    ASSERT_EQ(MapFixed(ioas.get(), kIova + i * 4 * kPage, buf + i * 4 * kPage,
                       4 * kPage),
              0);
  struct page* pages[4];
  ASSERT_EQ(iopt_pin_pages(&ioas->iopt, kIova + 5 * kPage, 2 * kPage, pages,
                           IOMMUFD_ACCESS_RW_READ, true),
            0);
  ASSERT_EQ(access.Pin(kIova + 4 * kPage, kPage), 0);
  unsigned long unmapped = 0;
  EXPECT_EQ(Unmap(ioas.get(), kIova + 4 * kPage, 4 * kPage, &unmapped), -EBUSY);
  EXPECT_EQ(unmapped, 0u);
  EXPECT_EQ(Unmap(ioas.get(), kIova, 12 * kPage, &unmapped), -EBUSY);
  EXPECT_EQ(unmapped, 4 * kPage);
  EXPECT_EQ(access.unmap_calls(), 0);
  EXPECT_EQ(iopt_unmap_all(&ioas->iopt, &unmapped), -EBUSY);
  // The areas around it are free.
  EXPECT_EQ(Unmap(ioas.get(), kIova + 8 * kPage, 4 * kPage, &unmapped), 0);
  unsigned long cut[] = {kIova + 6 * kPage - 1};
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, cut, 1), -EINVAL);
  iopt_unpin_pages(&ioas->iopt, kIova + 5 * kPage, 2 * kPage, true);
  EXPECT_EQ(Unmap(ioas.get(), kIova, 12 * kPage, &unmapped), 0);
  EXPECT_EQ(access.unmap_calls(), 1);
  access.Remove();
  Destroy(ioas.get());
}

// The same range locked and not locked at once.
TEST_F(IoptTest, LockedAndUnlockedPinsOfOneRange) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(4 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 4 * kPage), 0);
  struct page* pages[4];
  ASSERT_EQ(access.Pin(kIova, 2 * kPage), 0);
  ASSERT_EQ(iopt_pin_pages(&ioas->iopt, kIova, 2 * kPage, pages, 0, true), 0);
  EXPECT_EQ(Unmap(ioas.get(), kIova, 4 * kPage), -EBUSY);
  iopt_unpin_pages(&ioas->iopt, kIova, 2 * kPage, true);
  EXPECT_EQ(Pins(), 2);
  EXPECT_EQ(Unmap(ioas.get(), kIova, 4 * kPage), 0);
  access.Remove();
  Destroy(ioas.get());
}

// Upstream: carrying pages over from one batch to the next lost its place. An
// access in the middle of an area much larger than a batch, then the domain
// goes.
TEST_F(IoptTest, BatchCarry) {
  for (size_t limit : {12ul, 24ul, 36ul, 120ul, 65536ul}) {
    for (unsigned long run : {1ul, 4ul, 7ul, 100ul}) {
      hooks_.memory_limit = limit;
      auto ioas = NewIoas();
      FakeAccess access(ictx_.get(), ioas.get());
      FakeDomain domain(k4kAndUp);
      const unsigned long npages = 100;
      const unsigned long buf = NewRunsBuffer(npages, run);
      ASSERT_EQ(access.Add(), 0);
      ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
      ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, npages * kPage), 0);
      ASSERT_EQ(access.Pin(kIova + 10 * kPage, 3 * kPage), 0);
      ASSERT_EQ(access.Pin(kIova + 12 * kPage, 10 * kPage), 0);
      ASSERT_EQ(access.Pin(kIova + 50 * kPage, kPage), 0);
      ASSERT_EQ(access.Pin(kIova + 99 * kPage, kPage), 0);
      EXPECT_EQ(Pins(), 100);
      iopt_table_remove_domain(&ioas->iopt, &domain);
      EXPECT_EQ(domain.mapped_bytes(), 0u);
      EXPECT_EQ(Pins(), 14);
      for (unsigned long i = 0; i < npages; i++) {
        const bool pinned = (i >= 10 && i < 22) || i == 50 || i == 99;
        ASSERT_EQ(page_pin_count(PageOf(buf + i * kPage)), pinned) << i;
      }
      access.UnpinAll();
      EXPECT_EQ(Pins(), 0);
      access.Remove();
      Destroy(ioas.get());
    }
  }
}

// Taking away never needs memory: with kmalloc failing, batches use the stack.
class IoptTightTest : public IoptTest {
 protected:
  IoptTightTest() : IoptTest({.max_kmalloc = 2048}) {}
};

TEST_F(IoptTightTest, UnfillWithoutMemory) {
  auto ioas = NewIoas();
  FakeAccess access(ictx_.get(), ioas.get());
  FakeDomain domain(k4kAndUp);
  const unsigned long npages = 300;
  const unsigned long buf = NewBuffer(npages * kPage, {.fragmented = true});
  ASSERT_EQ(access.Add(), 0);
  hooks_.memory_limit = 1200;
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, npages * kPage), 0);
  ASSERT_EQ(access.Pin(kIova, 200 * kPage), 0);
  hooks_.memory_limit = 65536;
  EXPECT_EQ(MapFixed(ioas.get(), 2 * kIova, buf, npages * kPage), -ENOMEM);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  EXPECT_EQ(Pins(), 200);
  access.UnpinAll();
  EXPECT_EQ(Pins(), 0);
  access.Remove();
  Destroy(ioas.get());
}

TEST_F(IoptTest, AccessListFromTheMiddle) {
  auto ioas = NewIoas();
  FakeAccess a(ictx_.get(), ioas.get()), b(ictx_.get(), ioas.get()),
      c(ictx_.get(), ioas.get());
  ASSERT_EQ(a.Add(), 0);
  ASSERT_EQ(b.Add(), 0);
  a.Remove();
  // The new one does not take the place of one that is there.
  ASSERT_EQ(c.Add(), 0);
  b.Remove();
  c.Remove();
  Destroy(ioas.get());
}

// ---- reading and writing ----

TEST_F(IoptTest, RwOfUnalignedRanges) {
  for (size_t limit : {12ul, 65536ul}) {
    hooks_.memory_limit = limit;
    for (unsigned int slow : std::initializer_list<unsigned int>{
             0, __IOMMUFD_ACCESS_RW_SLOW_PATH}) {
      for (bool with_domain : {false, true}) {
        auto ioas = NewIoas();
        FakeDomain domain(k4kOnly);
        if (with_domain) {
          ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
        }
        const unsigned long buf = NewBuffer(16 * kPage, {.fragmented = true});
        ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 8 * kPage), 0);
        ASSERT_EQ(
            MapFixed(ioas.get(), kIova + 8 * kPage, buf + 8 * kPage, 8 * kPage),
            0);
        std::vector<char> model(16 * kPage), out(16 * kPage);
        for (size_t i = 0; i < model.size(); i++)
          model[i] = static_cast<char>(i * 7 + i / 4096);
        ASSERT_EQ(Rw(ioas.get(), kIova, model.data(), model.size(),
                     IOMMUFD_ACCESS_RW_WRITE | slow),
                  0);
        for (auto [off, len] :
             std::vector<std::pair<size_t, size_t>>{{0, 1},
                                                    {kPage - 1, 2},
                                                    {100, 3 * kPage},
                                                    {5, 16 * kPage - 5},
                                                    {8 * kPage - 3, 7},
                                                    {0, 16 * kPage},
                                                    {16 * kPage - 1, 1}}) {
          std::fill(out.begin(), out.end(), 0);
          ASSERT_EQ(Rw(ioas.get(), kIova + off, out.data(), len, slow), 0);
          EXPECT_EQ(memcmp(out.data(), model.data() + off, len), 0);
          EXPECT_EQ(out[std::min(len, out.size() - 1)],
                    len < out.size() ? 0 : out[out.size() - 1]);
        }
        EXPECT_EQ(Rw(ioas.get(), kIova + 1, out.data(), 16 * kPage, slow),
                  -ENOENT);
        EXPECT_EQ(Pins(), with_domain ? 16 : 0);
        if (with_domain) iopt_table_remove_domain(&ioas->iopt, &domain);
        Destroy(ioas.get());
      }
    }
  }
}

TEST_F(IoptTest, RwErrors) {
  auto ioas = NewIoas();
  char byte = 0;
  char two[2 * PAGE_SIZE] = {};
  const unsigned long ro = NewBuffer(4 * kPage, {}, PROT_READ);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, ro, 2 * kPage, kRead), 0);
  ASSERT_EQ(MapFixed(ioas.get(), 2 * kIova, 0x1000, 2 * kPage), 0);
  EXPECT_EQ(Rw(ioas.get(), kIova, &byte, 1, IOMMUFD_ACCESS_RW_WRITE), -EPERM);
  for (unsigned int slow :
       std::initializer_list<unsigned int>{0, __IOMMUFD_ACCESS_RW_SLOW_PATH}) {
    EXPECT_EQ(Rw(ioas.get(), kIova, two, sizeof(two), slow), 0);
    EXPECT_EQ(Rw(ioas.get(), 2 * kIova, &byte, 1, slow), -EFAULT);
    EXPECT_EQ(Rw(ioas.get(), 2 * kIova, two, sizeof(two), slow), -EFAULT);
  }
  EXPECT_EQ(Pins(), 0);
  Destroy(ioas.get());
}

// Another process's memory, also after that process is gone.
TEST_F(IoptTest, RwFromAnotherProcess) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  FakeAccess access(ictx_.get(), ioas.get());
  const unsigned long buf = NewBuffer(8 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 8 * kPage), 0);
  ASSERT_EQ(access.Add(), 0);

  mm_struct* owner = task_->mm;
  mm_struct* other = arena_mm_alloc(&kernel_);
  task_->mm = other;
  std::vector<char> data(3 * kPage, 'x'), out(3 * kPage);
  for (unsigned int kthread :
       std::initializer_list<unsigned int>{0, IOMMUFD_ACCESS_RW_KTHREAD}) {
    EXPECT_EQ(Rw(ioas.get(), kIova + 7, data.data(), 5,
                 IOMMUFD_ACCESS_RW_WRITE | kthread),
              0);
    EXPECT_EQ(Rw(ioas.get(), kIova + 7, data.data(), data.size(),
                 IOMMUFD_ACCESS_RW_WRITE | kthread),
              0);
    EXPECT_EQ(Rw(ioas.get(), kIova + 7, out.data(), out.size(), kthread), 0);
    EXPECT_EQ(out, data);
    EXPECT_EQ(task_->mm, other);
  }
  // A domain and a pin from here pin the owner's pages.
  ASSERT_EQ(access.Pin(kIova, 2 * kPage), 0);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  EXPECT_EQ(Pins(), 8);

  mmput(owner);
  // Pinned pages outlive the process; others cannot be had.
  EXPECT_EQ(Rw(ioas.get(), kIova + 7, out.data(), out.size(), 0), 0);
  EXPECT_EQ(Rw(ioas.get(), kIova + 7, out.data(), 5, 0), 0);
  EXPECT_EQ(out, data);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  EXPECT_EQ(Pins(), 2);
  EXPECT_EQ(Rw(ioas.get(), kIova, out.data(), 5, 0), 0);
  EXPECT_EQ(Rw(ioas.get(), kIova + 5 * kPage, out.data(), 5, 0), -EFAULT);
  EXPECT_EQ(access.Pin(kIova + 4 * kPage, kPage), -EFAULT);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), -EFAULT);
  access.UnpinAll();
  access.Remove();
  Destroy(ioas.get());
}

// ---- accounting ----

TEST_F(IoptTest, LimitOfTheUser) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  task_->rlimit_memlock = 8 * kPage;
  EXPECT_EQ(MapFixed(ioas.get(), kIova, buf, 9 * kPage), -ENOMEM);
  EXPECT_EQ(Pins(), 0);
  EXPECT_EQ(LockedVm(), 0);
  EXPECT_EQ(domain.mapped_bytes(), 0u);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 8 * kPage), 0);
  EXPECT_EQ(LockedVm(), 8);
  EXPECT_EQ(PinnedVm(), 8);
  EXPECT_EQ(MapFixed(ioas.get(), 2 * kIova, buf, kPage), -ENOMEM);
  // What is pinned is paid for already.
  EXPECT_EQ(access.Pin(kIova, 8 * kPage), 0);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  ASSERT_EQ(MapFixed(ioas.get(), 2 * kIova, buf, kPage), 0);
  EXPECT_EQ(access.Pin(2 * kIova, kPage), -ENOMEM);
  EXPECT_EQ(Pins(), 8);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), -ENOMEM);
  EXPECT_EQ(domain.mapped_bytes(), 0u);
  EXPECT_EQ(Pins(), 8);
  // Reading through the slow path pins, but keeps nothing.
  std::vector<char> out(2 * kPage);
  EXPECT_EQ(Rw(ioas.get(), 2 * kIova, out.data(), kPage,
               __IOMMUFD_ACCESS_RW_SLOW_PATH),
            0);
  access.UnpinAll();
  EXPECT_EQ(LockedVm(), 0);
  access.Remove();
  Destroy(ioas.get());
}

TEST_F(IoptTest, LimitOfTheAddressSpace) {
  SetAccountMode(IOPT_PAGES_ACCOUNT_MM);
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  task_->rlimit_memlock = 8 * kPage;
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 9 * kPage), 0);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), -ENOMEM);
  ASSERT_EQ(access.Pin(kIova, 8 * kPage), 0);
  EXPECT_EQ(MmLockedVm(), 8);
  EXPECT_EQ(LockedVm(), 0);
  EXPECT_EQ(PinnedVm(), 8);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), -ENOMEM);
  access.UnpinAll();
  EXPECT_EQ(MmLockedVm(), 0);
  // From another process the owner pays.
  mm_struct* owner = task_->mm;
  mm_struct* other = arena_mm_alloc(&kernel_);
  task_->mm = other;
  ASSERT_EQ(access.Pin(kIova, 8 * kPage), 0);
  EXPECT_EQ(MmLockedVm(), 0);
  EXPECT_EQ(access.Pin(kIova + kPage, 8 * kPage), -ENOMEM);
  task_->mm = owner;
  EXPECT_EQ(MmLockedVm(), 8);
  task_->mm = other;
  // The owner goes first: nothing to return to, and nothing breaks. Then the
  // pages cannot be had, again and again.
  mmput(owner);
  access.UnpinAll();
  EXPECT_EQ(access.Pin(kIova, 8 * kPage), -EFAULT);
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), -EFAULT);
  access.Remove();
  Destroy(ioas.get());
}

TEST_F(IoptTest, PrivilegedTaskIsNotLimited) {
  cred_.caps = ~0ULL;
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  task_->rlimit_memlock = 0;
  const unsigned long buf = NewBuffer(4 * kPage);
  ASSERT_EQ(MapFixed(ioas.get(), kIova, buf, 4 * kPage), 0);
  EXPECT_EQ(LockedVm(), 0);
  EXPECT_EQ(PinnedVm(), 4);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

// ---- files ----

class IoptFileTest : public IoptTest {
 protected:
  IoptFileTest() {
    files_ = std::make_unique<files_struct>(&kernel_);
    task_->files = files_.get();
  }
  ~IoptFileTest() override {
    close_all_files(files_.get());
    task_work_run();
  }

  int NewMemfd(size_t bytes, const mapping_shape& shape = {}) {
    auto file = memfd_create(bytes, shape);
    EXPECT_TRUE(file);
    int fd = get_unused_fd_flags(0);
    fd_install(static_cast<unsigned int>(fd), *file);
    return fd;
  }

  int MapFile(iommufd_ioas* ioas, unsigned long iova, int fd,
              unsigned long start, unsigned long length,
              int prot = IOMMU_READ | IOMMU_WRITE) {
    return iopt_map_file_pages(ictx_.get(), &ioas->iopt, &iova, fd, start,
                               length, prot, 0);
  }

  std::unique_ptr<files_struct> files_;
};

TEST_F(IoptFileTest, MapsAMemfd) {
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  const int fd = NewMemfd(16 * kPage, {.fragmented = true});
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 0, 0), -EINVAL);
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, ~0UL, 2), -EOVERFLOW);
  EXPECT_EQ(MapFile(ioas.get(), kIova, 999, 0, kPage), -EBADF);
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 100, kPage), -EINVAL);
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 8 * kPage, 9 * kPage), -EINVAL)
      << "beyond the end";
  EXPECT_EQ(Pins(), 0);
  for (size_t limit : {8ul, 12ul, 65536ul}) {
    hooks_.memory_limit = limit < 12 ? 12 : limit;
    ASSERT_EQ(MapFile(ioas.get(), kIova, fd, 4 * kPage, 8 * kPage), 0);
    EXPECT_EQ(Pins(), 8);
    EXPECT_EQ(LockedVm(), 8);
    ASSERT_EQ(Unmap(ioas.get(), kIova, 8 * kPage), 0);
    EXPECT_EQ(Pins(), 0);
  }
  ASSERT_EQ(MapFile(ioas.get(), kIova, fd, 4 * kPage, 8 * kPage), 0);
  // The file stays as long as its mapping.
  ASSERT_EQ(close_fd(static_cast<unsigned int>(fd)), 0);
  task_work_run();
  FakeAccess access(ictx_.get(), ioas.get());
  ASSERT_EQ(access.Add(), 0);
  std::vector<struct page*> pages;
  ASSERT_EQ(access.Pin(kIova + kPage, 4 * kPage, &pages), 0);
  for (int i = 0; i < 4; i++)
    EXPECT_EQ(page_to_phys(pages[i]),
              domain.Translate(kIova + (1 + i) * kPage));
  std::vector<char> in(3 * kPage, 'y'), out(3 * kPage);
  EXPECT_EQ(
      Rw(ioas.get(), kIova + 5, in.data(), in.size(), IOMMUFD_ACCESS_RW_WRITE),
      0);
  EXPECT_EQ(Rw(ioas.get(), kIova + 5, out.data(), out.size(), 0), 0);
  EXPECT_EQ(in, out);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  EXPECT_EQ(Pins(), 4);
  access.UnpinAll();
  access.Remove();
  Destroy(ioas.get());
}

TEST_F(IoptFileTest, SomethingElseThanAMemfd) {
  static constexpr file_operations kOps = {.name = "[test]"};
  auto file = anon_inode_getfile("[test]", &kOps, nullptr, 0);
  ASSERT_TRUE(file);
  int fd = get_unused_fd_flags(0);
  fd_install(static_cast<unsigned int>(fd), *file);
  auto ioas = NewIoas();
  // Refused at once, not when a page is needed: see iopt_map_file_pages().
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 0, kPage), -EINVAL);
  Destroy(ioas.get());
}

// ---- the walk over two trees ----

TEST(DoubleSpan, FirstTreeGoesFirst) {
  rb_root_cached a = RB_ROOT_CACHED, b = RB_ROOT_CACHED;
  interval_tree_node na[2] = {}, nb[3] = {};
  auto add = [](rb_root_cached* root, interval_tree_node* n, unsigned long s,
                unsigned long l) {
    n->start = s;
    n->last = l;
    interval_tree_insert(n, root);
  };
  add(&a, &na[0], 10, 19);
  add(&a, &na[1], 40, ~0UL);
  add(&b, &nb[0], 5, 12);
  add(&b, &nb[1], 18, 24);
  add(&b, &nb[2], 25, 30);
  struct Span {
    int used;
    unsigned long start, last;
    bool operator==(const Span&) const = default;
  };
  auto walk = [&](unsigned long first, unsigned long last) {
    std::vector<Span> spans;
    interval_tree_double_span_iter it;
    interval_tree_for_each_double_span(&it, &a, &b, first, last)
        spans.push_back({it.is_used, it.start_used, it.last_used});
    return spans;
  };
  EXPECT_EQ(walk(0, ~0UL), (std::vector<Span>{{0, 0, 4},
                                              {2, 5, 9},
                                              {1, 10, 19},
                                              {2, 20, 30},
                                              {0, 31, 39},
                                              {1, 40, ~0UL}}));
  EXPECT_EQ(walk(12, 12), (std::vector<Span>{{1, 12, 12}}));
  EXPECT_EQ(walk(19, 21), (std::vector<Span>{{1, 19, 19}, {2, 20, 21}}));
  EXPECT_EQ(walk(31, 39), (std::vector<Span>{{0, 31, 39}}));
}

}  // namespace
}  // namespace iopt_test
