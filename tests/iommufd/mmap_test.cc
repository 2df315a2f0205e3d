// SPDX-License-Identifier: GPL-2.0-or-later
// mmap on the file: the regions that drivers offer, and their life.
#include <sys/mman.h>

#include <cerrno>

#include "core/iommufd/iommufd_private.h"
#include "core/mm/mm.h"
#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

namespace iommulab {
namespace {

// A region of four pages that belongs to an object, as a driver offers one.
class MmapTest : public IommufdTest {
 protected:
  MmapTest() {
    EXPECT_EQ(m_.IoasAlloc(&owner_), 0);
    TaskScope task(m_);
    auto ictx = iommufd_ctx_from_fd(m_.fd());
    ictx_ = *ictx;
    pages_ = alloc_pages(GFP_KERNEL, 2);
    auto obj = iommufd_get_object(ictx_, owner_, IOMMUFD_OBJ_IOAS);
    obj_ = obj.get();
    EXPECT_EQ(_iommufd_alloc_mmap(ictx_, obj_, page_to_phys(pages_), length_,
                                  &offset_),
              0);
    *static_cast<uint32_t*>(page_address(pages_)) = 0x1234;
    iommufd_ctx_put(ictx_);
  }
  ~MmapTest() override { Withdraw(); }

  // What the driver does when the owner goes.
  void Withdraw() {
    if (!pages_) return;
    TaskScope task(m_);
    _iommufd_destroy_mmap(ictx_, obj_, offset_);
    __free_pages(pages_, 2);
    pages_ = nullptr;
  }
  int64_t Mmap(uint64_t length, uint64_t offset,
               int prot = PROT_READ | PROT_WRITE, int flags = MAP_SHARED) {
    uint64_t at = m_.sys().mmap(0, length, prot, flags, m_.fd(), offset);
    return static_cast<int64_t>(at);
  }
  uint32_t Mappings() {
    Look look(m_);
    for (const auto& r : look->regions) {
      if (r.offset == offset_) return r.mappings;
    }
    ADD_FAILURE() << "no such region";
    return 0;
  }

  uint32_t owner_ = 0;
  iommufd_ctx* ictx_ = nullptr;
  iommufd_object* obj_ = nullptr;
  page* pages_ = nullptr;
  unsigned long offset_ = 0;
  const uint64_t length_ = 4 * kPage;
};

TEST_P(MmapTest, ADriversOffsets) {
  uint64_t offset[2] = {}, length[2] = {};
  uint32_t viommu[2] = {};
  for (int i = 0; i < 2; i++) {
    viommu[i] = ViommuWithPage(&offset[i], &length[i]);
    EXPECT_NE(offset[i], 0u);
  }
  // Side by side.
  EXPECT_TRUE(offset[1] >= offset[0] + length[0] ||
              offset[0] >= offset[1] + length[1]);
  EXPECT_EQ(m_.Destroy(viommu[0]), 0);
  // The offset goes with its owner.
  EXPECT_EQ(Mmap(length[0], offset[0]), -ENXIO);
  int64_t at = Mmap(length[1], offset[1]);
  ASSERT_GT(at, 0);
  EXPECT_EQ(m_.Load<uint32_t>(at), 0x1234u);
  EXPECT_EQ(m_.Destroy(viommu[1]), -EBUSY);
  EXPECT_EQ(m_.sys().munmap(at, length[1]), 0);
}

TEST_P(MmapTest, RegionsThatCannotBe) {
  TaskScope task(m_);
  unsigned long offset = 0;
  EXPECT_EQ(_iommufd_alloc_mmap(ictx_, obj_, 0x1001, kPage, &offset), -EINVAL);
  EXPECT_EQ(_iommufd_alloc_mmap(ictx_, obj_, 0x1000, 0, &offset), -EINVAL);
  EXPECT_EQ(_iommufd_alloc_mmap(ictx_, obj_, 0x1000, 100, &offset), -EINVAL);
}

TEST_P(MmapTest, Errors) {
  EXPECT_EQ(Mmap(length_, offset_, PROT_READ, MAP_PRIVATE), -EINVAL);
  EXPECT_EQ(Mmap(length_, offset_, PROT_READ | PROT_EXEC), -EPERM);
  EXPECT_EQ(Mmap(length_, 0), -ENXIO);
  EXPECT_EQ(Mmap(length_, offset_ + length_), -ENXIO);
  EXPECT_EQ(Mmap(length_, 1ull << 62), -ENXIO);
  // Inside a region is not its start.
  EXPECT_EQ(Mmap(length_, offset_ + kPage), -ENXIO);
  EXPECT_EQ(Mmap(kPage, offset_ + kPage), -ENXIO);
  EXPECT_EQ(Mmap(2 * length_, offset_), -ENXIO);
  EXPECT_EQ(Mappings(), 0u);
  EXPECT_EQ(Look(m_).Users(owner_), 1u);
  // Shorter, from the start: in the series.
  int64_t part = Mmap(kPage, offset_);
  if (Facts().mmap_may_be_shorter) {
    ASSERT_GT(part, 0);
    EXPECT_EQ(m_.Load<uint32_t>(part), 0x1234u);
    EXPECT_EQ(m_.sys().munmap(part, kPage), 0);
  } else {
    EXPECT_EQ(part, -ENXIO);
  }
}

TEST_P(MmapTest, AnOwnerInTheMakingCannotBeMapped) {
  // Its creation may still fail, and then nobody may hold it.
  unsigned long offset = 0;
  iommufd_object* obj = nullptr;
  {
    TaskScope task(m_);
    auto ioas = iommufd_ioas_alloc(ictx_);
    obj = *ioas;
    ASSERT_EQ(
        _iommufd_alloc_mmap(ictx_, obj, page_to_phys(pages_), kPage, &offset),
        0);
  }
  EXPECT_EQ(Mmap(kPage, offset), -ENXIO);
  TaskScope task(m_);
  _iommufd_destroy_mmap(ictx_, obj, offset);
  iommufd_object_abort_and_destroy(ictx_, obj);
}

TEST_P(MmapTest, AMappingHoldsItsOwner) {
  int64_t one = Mmap(length_, offset_);
  int64_t two = Mmap(length_, offset_, PROT_READ);
  ASSERT_GT(one, 0);
  ASSERT_GT(two, 0);
  EXPECT_EQ(m_.Load<uint32_t>(one), 0x1234u);
  EXPECT_EQ(m_.Store(one, 77u), 0);
  EXPECT_EQ(m_.Load<uint32_t>(two), 77u);
  EXPECT_EQ(Mappings(), 2u);
  Look look(m_);
  EXPECT_EQ(look.Users(owner_), 3u);
  EXPECT_EQ(look.Edge(0, owner_, "mmap"), 2u);
  EXPECT_EQ(m_.Destroy(owner_), -EBUSY);
  EXPECT_EQ(m_.sys().munmap(one, length_), 0);
  EXPECT_EQ(m_.Destroy(owner_), -EBUSY);
  EXPECT_EQ(m_.Load<uint32_t>(two), 77u);
  EXPECT_EQ(m_.sys().munmap(two, length_), 0);
  EXPECT_EQ(Look(m_).Users(owner_), 1u);
}

TEST_P(MmapTest, HalfAMappingHoldsItToo) {
  int64_t at = Mmap(length_, offset_);
  ASSERT_GT(at, 0);
  EXPECT_EQ(m_.sys().munmap(at, kPage), 0);
  EXPECT_EQ(Mappings(), 1u);
  EXPECT_EQ(m_.Destroy(owner_), -EBUSY);
  // A hole makes two of it.
  EXPECT_EQ(m_.sys().munmap(at + 2 * kPage, kPage), 0);
  EXPECT_EQ(Mappings(), 2u);
  EXPECT_EQ(m_.Load<uint32_t>(at + kPage), 0u);
  EXPECT_EQ(m_.sys().munmap(at + kPage, kPage), 0);
  EXPECT_EQ(m_.Destroy(owner_), -EBUSY);
  EXPECT_EQ(m_.sys().munmap(at + 3 * kPage, kPage), 0);
  EXPECT_EQ(Mappings(), 0u);
  EXPECT_EQ(Look(m_).Users(owner_), 1u);
}

TEST_P(MmapTest, TheMappingOutlivesTheDescriptor) {
  uint64_t offset = 0, length = 0;
  ViommuWithPage(&offset, &length);
  int64_t at = Mmap(length, offset);
  ASSERT_GT(at, 0);
  Withdraw();
  m_.CloseAll();
  // The file, the context and the page are there as long as the mapping is.
  EXPECT_NE(m_.sys().residue(), "");
  EXPECT_EQ(m_.Load<uint32_t>(at), 0x1234u);
  EXPECT_EQ(m_.sys().munmap(at, length), 0);
  EXPECT_EQ(m_.sys().residue(), "");
}

TEST_P(MmapTest, AFailedOwnerOffersNothing) {
  // The data cannot be written back, so the vIOMMU and its region go.
  iommu_viommu_selftest data = {};
  uint64_t ro = m_.Anon(kPage);
  ASSERT_EQ(m_.Store(ro, data), 0);
  ASSERT_EQ(Sim(m_).mprotect(ro, kPage, PROT_READ), 0);
  EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, nullptr,
                           IOMMU_VIOMMU_TYPE_SELFTEST, ro, sizeof(data)),
            -EFAULT);
  EXPECT_EQ(Look(m_)->regions.size(), 1u);
  EXPECT_EQ(Look(m_).Users(parent_), 1u);
}

INSTANTIATE_TEST_SUITE_P(Revisions, MmapTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

}  // namespace
}  // namespace iommulab
