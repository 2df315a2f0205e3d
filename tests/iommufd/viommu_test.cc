// SPDX-License-Identifier: GPL-2.0-or-later
// vIOMMUs, vDEVICEs and queues in both forms: errnos and their order, counts,
// and the defects of the series that must not come back.
#include <cerrno>

#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

namespace iommulab {
namespace {

constexpr uint32_t kNoId = 4711;
constexpr uint64_t kBad = 0x10;

class ViommuTest : public IommufdTest {
 protected:
  // VCMDQ_ALLOC or HW_QUEUE_ALLOC with everything given.
  int Queue(uint32_t flags, uint32_t viommu, uint32_t type, uint32_t index,
            uint64_t addr, uint64_t length, uint32_t* id = nullptr) {
    Cmd cmd("VCMDQ_ALLOC");
    cmd.Set("flags", flags)
        .Set("viommu_id", viommu)
        .Set("type", type)
        .Set("index", index)
        .Set("addr", addr)
        .Set("length", length);
    int rc = m_.Ioctl(&cmd);
    if (id) *id = cmd.Get("out_vcmdq_id");
    return rc;
  }
};

constexpr uint32_t kType = IOMMU_VCMDQ_TYPE_SELFTEST;

TEST_P(ViommuTest, AllocErrors) {
  Cmd cmd("VIOMMU_ALLOC");
  auto call = [&](uint32_t flags, uint32_t type, uint32_t dev, uint32_t hwpt,
                  uint64_t data = 0, uint32_t len = 0) {
    cmd = Cmd("VIOMMU_ALLOC");
    cmd.Set("flags", flags)
        .Set("type", type)
        .Set("dev_id", dev)
        .Set("hwpt_id", hwpt)
        .Set("data_uptr", data)
        .Set("data_len", len);
    return m_.Ioctl(&cmd);
  };
  const uint32_t kSelf = IOMMU_VIOMMU_TYPE_SELFTEST;
  EXPECT_EQ(call(1, kSelf, kNoId, kNoId), -EOPNOTSUPP);
  EXPECT_EQ(call(0, IOMMU_VIOMMU_TYPE_DEFAULT, kNoId, kNoId), -EOPNOTSUPP);
  EXPECT_EQ(call(0, kSelf, kNoId, kNoId), -ENOENT);
  EXPECT_EQ(call(0, kSelf, ioas_, kNoId), -ENOENT);
  // The merged form asks the driver for the type before it looks at the HWPT.
  EXPECT_EQ(call(0, 12345, dev_.idev, kNoId), Facts().unknown_viommu_type);
  EXPECT_EQ(call(0, 12345, dev_.idev, parent_), -EOPNOTSUPP);
  EXPECT_EQ(call(0, kSelf, dev_.idev, kNoId), -ENOENT);
  EXPECT_EQ(call(0, kSelf, dev_.idev, ioas_), -ENOENT);
  EXPECT_EQ(call(0, kSelf, dev_.idev, dev_.hwpt), -EINVAL);
  EXPECT_EQ(call(0, kSelf, dev_.idev, parent_, kBad, 24), -EFAULT);
  EXPECT_EQ(Look(m_).Users(parent_), 1u);

  ASSERT_EQ(call(0, kSelf, dev_.idev, parent_), 0);
  Look look(m_);
  EXPECT_EQ(look.Users(parent_), 2u);
  EXPECT_EQ(look.Users(cmd.Get("out_viommu_id")), 1u);
  EXPECT_EQ(look.Edge(cmd.Get("out_viommu_id"), parent_, "hwpt"), 1u);
  // It does not hold the device.
  EXPECT_EQ(look.Users(dev_.idev), 3u);
  EXPECT_EQ(m_.Destroy(parent_), -EBUSY);
}

TEST_P(ViommuTest, VdeviceErrors) {
  uint32_t viommu = Viommu(), id = 0, other = 0;
  EXPECT_EQ(m_.VdeviceAlloc(kNoId, kNoId, 1, nullptr), -ENOENT);
  EXPECT_EQ(m_.VdeviceAlloc(dev_.idev, dev_.idev, 1, nullptr), -ENOENT);
  EXPECT_EQ(m_.VdeviceAlloc(viommu, kNoId, 1, nullptr), -ENOENT);
  EXPECT_EQ(m_.VdeviceAlloc(viommu, viommu, 1, nullptr), -ENOENT);
  ASSERT_EQ(m_.VdeviceAlloc(viommu, dev_.idev, UINT64_MAX, &id), 0);
  EXPECT_EQ(m_.VdeviceAlloc(viommu, dev_.idev, UINT64_MAX, nullptr), -EEXIST);
  // A second one of a device: the series allows it.
  EXPECT_EQ(m_.VdeviceAlloc(viommu, dev_.idev, 2, &other),
            Facts().second_vdevice);
  const uint32_t both = Facts().second_vdevice == 0;
  Look look(m_);
  EXPECT_EQ(look.Users(viommu), 2u + both);
  EXPECT_EQ(look.Users(dev_.idev), 4u + both);
  EXPECT_EQ(look.WaitCnt(dev_.idev), 2u + both);
  EXPECT_EQ(look.Edge(id, dev_.idev, "idev"), 1u);
  EXPECT_EQ(m_.Destroy(viommu), -EBUSY);
  EXPECT_EQ(m_.Destroy(id), 0);
  if (both) {
    EXPECT_EQ(m_.Destroy(other), 0);
  }
  EXPECT_EQ(Look(m_).WaitCnt(dev_.idev), 1u);
  EXPECT_EQ(m_.Destroy(viommu), 0);
}

TEST_P(ViommuTest, TwoDevicesOneVirtualId) {
  uint32_t viommu = Viommu(), id = 0;
  MockMachine::Device two;
  ASSERT_EQ(m_.MockDomain(ioas_, &two), 0);
  ASSERT_EQ(m_.VdeviceAlloc(viommu, dev_.idev, 1, &id), 0);
  EXPECT_EQ(m_.VdeviceAlloc(viommu, two.idev, 1, nullptr), -EEXIST);
  EXPECT_EQ(m_.VdeviceAlloc(viommu, two.idev, 2, nullptr), 0);
  // The failed one left nothing.
  EXPECT_EQ(Look(m_).WaitCnt(two.idev), 2u);
  EXPECT_EQ(m_.Destroy(id), 0);
  EXPECT_EQ(m_.VdeviceAlloc(viommu, dev_.idev, 1, &id), 0);
}

TEST_P(ViommuTest, TheDeviceGoesFirst) {
  uint32_t viommu = Viommu(), id = 0;
  ASSERT_EQ(m_.VdeviceAlloc(viommu, dev_.idev, 1, &id), 0);
  ASSERT_EQ(m_.Destroy(dev_.stdev), 0);
  Look look(m_);
  EXPECT_EQ(look.Find(dev_.idev), nullptr);
  if (Facts().vdevice_outlives_device) {
    // It lives on, without a device, and keeps its place.
    EXPECT_EQ(look.Users(id), 1u);
    EXPECT_EQ(look.Users(viommu), 2u);
    EXPECT_EQ(m_.Destroy(viommu), -EBUSY);
    MockMachine::Device two;
    ASSERT_EQ(m_.MockDomain(ioas_, &two), 0);
    EXPECT_EQ(m_.VdeviceAlloc(viommu, two.idev, 1, nullptr), -EEXIST);
    EXPECT_EQ(m_.Destroy(id), 0);
    EXPECT_EQ(m_.VdeviceAlloc(viommu, two.idev, 1, nullptr), 0);
  } else {
    // It went along; its id is a tombstone.
    EXPECT_TRUE(look.Reserved(id));
    EXPECT_EQ(look.Users(viommu), 1u);
    EXPECT_EQ(m_.Destroy(id), -ENOENT);
    EXPECT_EQ(m_.Destroy(viommu), 0);
    uint32_t next = 0;
    ASSERT_EQ(m_.IoasAlloc(&next), 0);
    EXPECT_NE(next, id);
  }
}

TEST_P(ViommuTest, QueueErrors) {
  const uint64_t k = kPage;
  uint32_t viommu = Viommu(), id = 0;
  EXPECT_EQ(Queue(1, kNoId, kType, 0, 0, 0), -EOPNOTSUPP);
  EXPECT_EQ(Queue(0, kNoId, IOMMU_VCMDQ_TYPE_DEFAULT, 0, 0, 0), -EOPNOTSUPP);
  EXPECT_EQ(Queue(0, kNoId, kType, 0, kIova, 0), -EINVAL);
  // Address 0: the series refuses it.
  EXPECT_EQ(Queue(0, kNoId, kType, 0, 0, k), Facts().queue_at_unmapped_zero);
  EXPECT_EQ(Queue(0, kNoId, kType, 0, UINT64_MAX, 2), -EOVERFLOW);
  EXPECT_EQ(Queue(0, kNoId, kType, 0, kIova, UINT64_MAX), -EOVERFLOW);
  EXPECT_EQ(Queue(0, kNoId, kType, 0, kIova, k), -ENOENT);
  EXPECT_EQ(Queue(0, parent_, kType, 0, kIova, k), -ENOENT);
  EXPECT_EQ(Queue(0, viommu, kType, 0, 0x10000, k),
            Facts().queue_of_unmapped_memory);
  // A type that the driver does not know: the series' driver is asked last.
  EXPECT_EQ(Queue(0, viommu, 12345, 0, 0x10000, k),
            Facts().unknown_queue_of_unmapped_memory);
  EXPECT_EQ(Queue(0, viommu, 12345, 0, kIova, k), -EOPNOTSUPP);
  // Mapped, but not to the end.
  EXPECT_EQ(Queue(0, viommu, kType, 0, kIova + (kBufPages - 1) * k, 2 * k),
            -ENOENT);
  // Whatever failed is unpinned and unlocked.
  EXPECT_EQ(Look(m_)->pins.size(), 0u);
  EXPECT_EQ(m_.CheckRefs(buf_, 2 * k, 1), 0);
  EXPECT_EQ(Queue(0, viommu, kType, 99, kIova, k), -EINVAL);
  EXPECT_EQ(Queue(0, viommu, kType, 1, kIova, k), -EIO);
  EXPECT_EQ(Look(m_)->pins.size(), 0u);
  EXPECT_EQ(Look(m_).Users(viommu), 1u);

  ASSERT_EQ(Queue(0, viommu, kType, 0, kIova, k, &id), 0);
  EXPECT_EQ(Queue(0, viommu, kType, 0, kIova, k), -EEXIST);
  Look look(m_);
  EXPECT_EQ(look.Users(viommu), 2u);
  ASSERT_EQ(look->pins.size(), 1u);
  EXPECT_EQ(look->pins[0].accesses, 1u);
  EXPECT_EQ(look->pins[0].locks, 1u);
  EXPECT_EQ(look.Edge(id, viommu, "viommu"), 1u);
  if (Facts().queue_has_an_access) {
    // An internal access has an id too, and cannot be destroyed by it.
    ASSERT_TRUE(look.Find(id + 1));
    EXPECT_TRUE(look.Find(id + 1)->internal);
    EXPECT_EQ(look.Edge(id, id + 1, "access"), 1u);
    EXPECT_EQ(m_.Destroy(id + 1), -EBUSY);
  }
  EXPECT_EQ(m_.Destroy(viommu), -EBUSY);
  EXPECT_EQ(m_.Destroy(id), 0);
  EXPECT_EQ(Look(m_)->pins.size(), 0u);
  EXPECT_EQ(m_.Destroy(viommu), 0);
}

TEST_P(ViommuTest, AddressZero) {
  // With a driver whose aperture begins there: see the machine below.
  mock_machine_options mock;
  mock.aperture_start = 0;
  mock.aperture_last = (1ull << 40) - 1;
  MockMachine m(MockMachine::Options{.revision = GetParam(), .mock = mock});
  uint32_t ioas = 0, parent = 0, viommu = 0;
  MockMachine::Device dev;
  ASSERT_EQ(m.IoasAlloc(&ioas), 0);
  ASSERT_EQ(m.MockDomain(ioas, &dev), 0);
  ASSERT_EQ(m.HwptAlloc(dev.idev, ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent),
            0);
  ASSERT_EQ(m.ViommuAlloc(dev.idev, parent, &viommu), 0);
  uint64_t buf = m.Anon(kPage);
  ASSERT_EQ(m.MapFixed(ioas, buf, kPage, 0), 0);
  EXPECT_EQ(m.QueueAlloc(viommu, 0, 0, kPage, nullptr), Facts().queue_at_zero);
}

TEST_P(ViommuTest, QueuesDependOnEachOther) {
  const uint64_t k = kPage;
  uint32_t viommu = Viommu(), q0 = 0, q1 = 0;
  ASSERT_EQ(Queue(0, viommu, kType, 0, kIova, k, &q0), 0);
  ASSERT_EQ(Queue(0, viommu, kType, 1, kIova, k, &q1), 0);
  Look look(m_);
  EXPECT_EQ(look.Edge(q1, q0, "depends"), 1u);
  EXPECT_EQ(look.Users(q0), 2u);
  EXPECT_EQ(look->pins.size(), 1u);
  EXPECT_EQ(look->pins[0].locks, 2u);
  EXPECT_EQ(m_.Destroy(q0), -EBUSY);
  EXPECT_EQ(m_.Destroy(q1), 0);
  EXPECT_EQ(Look(m_).Users(q0), 1u);
  // The index is free again.
  ASSERT_EQ(Queue(0, viommu, kType, 1, kIova, k, &q1), 0);
  EXPECT_EQ(m_.Destroy(q1), 0);
  EXPECT_EQ(m_.Destroy(q0), 0);
}

TEST_P(ViommuTest, AFailedQueueLeavesNothing) {
  const uint64_t k = kPage;
  uint32_t viommu = Viommu(), q0 = 0, q1 = 0;
  ASSERT_EQ(Queue(0, viommu, kType, 0, kIova, k, &q0), 0);
  // The answer cannot be written: after the driver has done its part.
  uint64_t ro = m_.Anon(k);
  Cmd cmd("VCMDQ_ALLOC");
  cmd.Set("viommu_id", viommu)
      .Set("type", kType)
      .Set("index", 1)
      .Set("addr", kIova)
      .Set("length", k);
  ASSERT_EQ(m_.Store(ro, cmd), 0);
  ASSERT_EQ(Sim(m_).mprotect(ro, k, 1 /* PROT_READ */), 0);
  EXPECT_EQ(m_.sys().ioctl(m_.fd(), IOMMU_VCMDQ_ALLOC, ro), -EFAULT);
  Look look(m_);
  EXPECT_EQ(look.Users(q0), 1u);
  EXPECT_EQ(look.Users(viommu), 2u);
  EXPECT_EQ(look->pins[0].locks, 1u);
  // Slot and id are free.
  ASSERT_EQ(Queue(0, viommu, kType, 1, kIova, k, &q1), 0);
  EXPECT_EQ(m_.Destroy(q0), -EBUSY);
  EXPECT_EQ(m_.Destroy(q1), 0);
  EXPECT_EQ(m_.Destroy(q0), 0);
}

TEST_P(ViommuTest, UnmapOverAQueueIsBusy) {
  const uint64_t k = kPage;
  uint32_t viommu = Viommu(), id = 0;
  uint64_t more = m_.Anon(4 * k), unmapped = 0;
  const uint64_t kMore = kIova + kBufPages * k;
  ASSERT_EQ(m_.MapFixed(ioas_, more, 4 * k, kMore), 0);
  ASSERT_EQ(Queue(0, viommu, kType, 0, kIova, k, &id), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kBufPages * k), -EBUSY);
  EXPECT_EQ(m_.Unmap(ioas_, 0, UINT64_MAX), -EBUSY);
  // Only that area is; and the queue's pages are still there.
  EXPECT_EQ(m_.Unmap(ioas_, kMore, 4 * k, &unmapped), 0);
  EXPECT_EQ(unmapped, 4 * k);
  EXPECT_EQ(m_.CheckMap(parent_, kIova, k, buf_), 0);
  EXPECT_EQ(m_.Warnings(), 0u);
  EXPECT_EQ(m_.Destroy(id), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kBufPages * k), 0);
}

TEST_P(ViommuTest, AnUnalignedQueueCoversBothPages) {
  const uint64_t k = kPage;
  // Neighbours in the address space, strangers in memory.
  memory_options opts;
  opts.size = 4 * k;
  opts.fragmented = true;
  uint64_t frag = m_.sys().anon(opts);
  ASSERT_FALSE(is_error(frag));
  const uint64_t kFrag = 0x8000000;
  ASSERT_EQ(m_.MapFixed(ioas_, frag, 4 * k, kFrag), 0);
  uint32_t viommu = Viommu(), id = 0;
  EXPECT_EQ(Queue(0, viommu, kType, 0, kFrag, k, &id), 0);
  EXPECT_EQ(m_.Destroy(id), 0);
  EXPECT_EQ(Queue(0, viommu, kType, 0, kFrag, 2 * k), -EFAULT);
  EXPECT_EQ(Queue(0, viommu, kType, 0, kFrag + k / 2, k), -EFAULT);
  EXPECT_EQ(Queue(0, viommu, kType, 0, kFrag + k / 2, k / 2, &id), 0);
  EXPECT_EQ(m_.Destroy(id), 0);
  EXPECT_EQ(Look(m_)->pins.size(), 0u);
  // In one piece it is fine.
  EXPECT_EQ(Queue(0, viommu, kType, 0, kIova + k / 2, k, &id), 0);
  EXPECT_EQ(m_.Destroy(id), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kFrag, 4 * k), 0);
  EXPECT_EQ(m_.sys().munmap(frag, 4 * k), 0);
}

TEST_P(ViommuTest, HugeLengths) {
  uint32_t viommu = Viommu();
  const uint64_t kHuge = 1ull << 44;  // 2^32 pages
  // What does not need the pages is looked at first.
  EXPECT_EQ(Queue(0, kNoId, kType, 0, kIova, kHuge), -ENOENT);
  if (Facts().queue_of_unmapped_memory != -ENOENT) {
    EXPECT_EQ(Queue(0, viommu, kType, 0, 0x10000, kHuge),
              Facts().queue_of_unmapped_memory);
  }
  if (Facts().unknown_queue_of_unmapped_memory == -EOPNOTSUPP) {
    EXPECT_EQ(Queue(0, viommu, 12345, 0, kIova, kHuge), -EOPNOTSUPP);
  }
  EXPECT_EQ(Queue(0, viommu, kType, 0, kIova, kHuge), -ENOMEM);
  EXPECT_EQ(Queue(0, viommu, kType, 0, kIova, 1ull << 30), -ENOENT);
  // The count of pages wraps, the range does not: the ids come first, and in
  // the series what is mapped.
  EXPECT_EQ(Queue(0, kNoId, kType, 0, 1, UINT64_MAX), -ENOENT);
  EXPECT_EQ(Queue(0, viommu, kType, 0, 1, UINT64_MAX),
            Facts().queue_whose_pages_cannot_be_counted);
  EXPECT_EQ(Look(m_)->pins.size(), 0u);
  EXPECT_EQ(m_.Warnings(), 0u);
}

TEST_P(ViommuTest, QueuesGoAtClose) {
  const uint64_t k = kPage;
  uint32_t viommu = Viommu();
  uint64_t offset = 0, length = 0;
  for (uint32_t i = 0; i < 2; i++) {
    ASSERT_EQ(Queue(0, viommu, kType, i, kIova + i * k, k), 0);
  }
  ASSERT_EQ(m_.VdeviceAlloc(viommu, dev_.idev, 1, nullptr), 0);
  uint32_t nested = 0;
  ASSERT_EQ(m_.HwptNested(dev_.idev, viommu, &nested), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, nested), 0);
  ViommuWithPage(&offset, &length);
  m_.CloseAll();
  EXPECT_EQ(m_.sys().residue(), "");
}

INSTANTIATE_TEST_SUITE_P(Revisions, ViommuTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

}  // namespace
}  // namespace iommulab
