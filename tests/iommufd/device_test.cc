// SPDX-License-Identifier: GPL-2.0-or-later
// Devices, page tables and what holds what between them.
#include <cerrno>

#include "core/iommufd/iommufd_private.h"
#include "core/linux/sched.h"
#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

namespace iommulab {
namespace {

constexpr uint32_t kNoId = 4711;
constexpr uint64_t kBad = 0x10;

class DeviceTest : public IommufdTest {};

TEST_P(DeviceTest, CountsOfAnAttachedDevice) {
  Look look(m_);
  // The driver bound it and attached it.
  EXPECT_EQ(look.Users(dev_.idev), 3u);
  EXPECT_EQ(look.Edge(0, dev_.idev, "bound"), 1u);
  EXPECT_EQ(look.Edge(0, dev_.idev, "attached"), 1u);
  EXPECT_EQ(look.Edge(dev_.idev, dev_.hwpt, "attach"), 1u);
  EXPECT_EQ(look.Users(dev_.hwpt), 2u);
  EXPECT_TRUE(look.Find(dev_.hwpt)->auto_domain);
  EXPECT_FALSE(look.Find(parent_)->auto_domain);
  // Two HWPTs copy it.
  EXPECT_EQ(look.Users(ioas_), 3u);
  EXPECT_EQ(m_.Destroy(ioas_), -EBUSY);
  EXPECT_EQ(m_.Destroy(dev_.hwpt), -EBUSY);
  EXPECT_EQ(m_.Destroy(dev_.idev), -EBUSY);
  EXPECT_EQ(m_.Destroy(dev_.stdev), 0);
  // The automatic one went with its last device.
  Look after(m_);
  EXPECT_EQ(after.Find(dev_.hwpt), nullptr);
  EXPECT_EQ(after.Find(dev_.idev), nullptr);
  EXPECT_EQ(after.Users(ioas_), 2u);
  EXPECT_EQ(after.Users(parent_), 1u);
}

TEST_P(DeviceTest, AnAutomaticDomainIsShared) {
  MockMachine::Device other;
  ASSERT_EQ(m_.MockDomain(ioas_, &other), 0);
  EXPECT_EQ(other.hwpt, dev_.hwpt);
  EXPECT_EQ(Look(m_).Users(dev_.hwpt), 3u);
  EXPECT_EQ(m_.Destroy(other.stdev), 0);
  EXPECT_EQ(Look(m_).Users(dev_.hwpt), 2u);
}

TEST_P(DeviceTest, ReplaceMovesTheUser) {
  uint32_t hwpt = 0, pt = 0;
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &hwpt), 0);
  EXPECT_EQ(Look(m_).Users(hwpt), 1u);
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt, &pt), 0);
  EXPECT_EQ(pt, hwpt);
  Look look(m_);
  EXPECT_EQ(look.Find(dev_.hwpt), nullptr);
  EXPECT_EQ(look.Users(hwpt), 2u);
  EXPECT_EQ(m_.Destroy(hwpt), -EBUSY);
  // To itself: nothing changes.
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt), 0);
  EXPECT_EQ(Look(m_).Users(hwpt), 2u);
  // A new automatic one.
  ASSERT_EQ(m_.Replace(dev_.stdev, ioas_, &pt), 0);
  EXPECT_NE(pt, hwpt);
  EXPECT_EQ(Look(m_).Users(hwpt), 1u);
  EXPECT_TRUE(Look(m_).Find(pt)->auto_domain);
  EXPECT_EQ(m_.Destroy(hwpt), 0);
}

TEST_P(DeviceTest, ReplaceErrors) {
  EXPECT_EQ(m_.Replace(dev_.stdev, kNoId), -ENOENT);
  EXPECT_EQ(m_.Replace(dev_.stdev, dev_.stdev), -EINVAL);
  EXPECT_EQ(m_.Replace(dev_.stdev, dev_.idev), -EINVAL);
  Look look(m_);
  EXPECT_EQ(look.Users(dev_.hwpt), 2u);
  EXPECT_EQ(look.Edge(dev_.idev, dev_.hwpt, "attach"), 1u);
}

TEST_P(DeviceTest, ReplaceToAnotherAddressSpace) {
  uint32_t other = 0, pt = 0;
  ASSERT_EQ(m_.IoasAlloc(&other), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, other, &pt), 0);
  EXPECT_EQ(Look(m_).Edge(pt, other, "ioas"), 1u);
  EXPECT_EQ(m_.Destroy(other), -EBUSY);
  ASSERT_EQ(m_.Replace(dev_.stdev, ioas_), 0);
  EXPECT_EQ(m_.Destroy(other), 0);
}

TEST_P(DeviceTest, HwptAllocErrors) {
  Cmd cmd("HWPT_ALLOC");
  auto call = [&](uint32_t flags, uint32_t dev, uint32_t pt, uint32_t type,
                  uint32_t len, uint64_t data = kBad, uint32_t reserved = 0,
                  uint32_t fault = 0) {
    cmd = Cmd("HWPT_ALLOC");
    cmd.Set("flags", flags)
        .Set("dev_id", dev)
        .Set("pt_id", pt)
        .Set("__reserved", reserved)
        .Set("data_type", type)
        .Set("data_len", len)
        .Set("data_uptr", data)
        .Set("fault_id", fault);
    return m_.Ioctl(&cmd);
  };
  const uint32_t kNone = IOMMU_HWPT_DATA_NONE;
  const uint32_t kData = IOMMU_HWPT_DATA_SELFTEST;
  const uint32_t kUnknown = 1u << 31;
  const uint32_t kParent = IOMMU_HWPT_ALLOC_NEST_PARENT;
  const uint32_t kFault = IOMMU_HWPT_FAULT_ID_VALID;
  const uint32_t kDirty = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;

  EXPECT_EQ(call(kUnknown, kNoId, kNoId, kNone, 4, kBad, 1), -EOPNOTSUPP);
  EXPECT_EQ(call(kUnknown, kNoId, kNoId, kNone, 4), -EINVAL);
  EXPECT_EQ(call(kUnknown, kNoId, kNoId, kData, 0), -EINVAL);
  EXPECT_EQ(call(kUnknown, kNoId, kNoId, kNone, 0), -ENOENT);
  EXPECT_EQ(call(kUnknown, ioas_, kNoId, kNone, 0), -ENOENT);
  EXPECT_EQ(call(kUnknown, dev_.idev, kNoId, kNone, 0), -EINVAL);
  EXPECT_EQ(call(kUnknown, dev_.idev, dev_.idev, kNone, 0), -EINVAL);
  EXPECT_EQ(call(kUnknown, dev_.idev, ioas_, kNone, 0), -EOPNOTSUPP);
  EXPECT_EQ(call(kParent | kFault, dev_.idev, ioas_, kNone, 0), -EOPNOTSUPP);
  // There is no fault queue, so none has the id; the new HWPT goes again.
  EXPECT_EQ(call(kFault, dev_.idev, ioas_, kNone, 0, kBad, 0, kNoId), -ENOENT);
  EXPECT_EQ(call(kFault, dev_.idev, ioas_, kNone, 0, kBad, 0, ioas_), -ENOENT);
  EXPECT_EQ(call(kDirty, dev_.idev, ioas_, kNone, 0), 0);
  EXPECT_EQ(m_.Destroy(cmd.Get("out_hwpt_id")), 0);

  // Over a parent.
  const uint32_t len = sizeof(iommu_hwpt_selftest);
  EXPECT_EQ(call(kUnknown, dev_.idev, dev_.hwpt, kData, len), -EOPNOTSUPP);
  EXPECT_EQ(call(kParent, dev_.idev, dev_.hwpt, kData, len), -EOPNOTSUPP);
  EXPECT_EQ(call(0, dev_.idev, parent_, kNone, 0), -EOPNOTSUPP);
  EXPECT_EQ(call(0, dev_.idev, dev_.hwpt, kData, len), -EINVAL);
  uint32_t plain = 0;
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &plain), 0);
  EXPECT_EQ(call(0, dev_.idev, plain, kData, len), -EINVAL);
  EXPECT_EQ(m_.Destroy(plain), 0);
  EXPECT_EQ(call(0, dev_.idev, parent_, kData, len), -EFAULT);
  EXPECT_EQ(Look(m_).Users(parent_), 1u);
  uint32_t nested = 0;
  ASSERT_EQ(m_.HwptNested(dev_.idev, parent_, &nested), 0);
  Look look(m_);
  EXPECT_EQ(look.Users(parent_), 2u);
  EXPECT_EQ(look.Edge(nested, parent_, "parent_ref"), 1u);
  EXPECT_EQ(m_.Destroy(parent_), -EBUSY);
  // Over a nested one.
  EXPECT_EQ(call(0, dev_.idev, nested, kData, len), -EINVAL);
  EXPECT_EQ(m_.Destroy(nested), 0);

  // On a vIOMMU, which is what it holds.
  uint32_t viommu = Viommu();
  EXPECT_EQ(call(kParent, dev_.idev, viommu, kData, len), -EOPNOTSUPP);
  EXPECT_EQ(call(0, dev_.idev, viommu, kNone, 0), -EOPNOTSUPP);
  EXPECT_EQ(call(0, dev_.idev, viommu, kData, len), -EFAULT);
  ASSERT_EQ(m_.HwptNested(dev_.idev, viommu, &nested), 0);
  Look on(m_);
  EXPECT_EQ(on.Edge(nested, viommu, "viommu"), 1u);
  EXPECT_EQ(on.Edge(nested, parent_, "parent_ref"), 0u);
  EXPECT_EQ(on.Users(viommu), 2u);
  EXPECT_EQ(m_.Destroy(viommu), -EBUSY);
  EXPECT_EQ(m_.Destroy(nested), 0);
  EXPECT_EQ(m_.Destroy(viommu), 0);
}

TEST_P(DeviceTest, InvalidateErrors) {
  uint32_t nested = 0;
  ASSERT_EQ(m_.HwptNested(dev_.idev, parent_, &nested), 0);
  uint32_t viommu = Viommu();
  uint64_t at = Scratch();
  Cmd cmd("HWPT_INVALIDATE");
  auto call = [&](uint32_t hwpt, uint64_t data, uint32_t type, uint32_t len,
                  uint32_t num, uint32_t reserved = 0) {
    cmd = Cmd("HWPT_INVALIDATE");
    cmd.Set("hwpt_id", hwpt)
        .Set("data_uptr", data)
        .Set("data_type", type)
        .Set("entry_len", len)
        .Set("entry_num", num)
        .Set("__reserved", reserved);
    return m_.Ioctl(&cmd);
  };
  const uint32_t kType = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
  const uint32_t kVType = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
  const uint32_t len = sizeof(iommu_hwpt_invalidate_selftest);

  EXPECT_EQ(call(kNoId, 0, kType, 0, 3, 1), -EOPNOTSUPP);
  // Nothing was done, and the caller is told so.
  EXPECT_EQ(cmd.Get("entry_num"), 0u);
  EXPECT_EQ(call(kNoId, 0, kType, len, 1), -EINVAL);
  EXPECT_EQ(call(kNoId, at, kType, 0, 1), -EINVAL);
  EXPECT_EQ(call(kNoId, at, kType, kPage + 1, 1), -EINVAL);
  EXPECT_EQ(call(kNoId, at, kType, len, (1u << 19) + 1), -EINVAL);
  EXPECT_EQ(cmd.Get("entry_num"), 0u);
  EXPECT_EQ(call(kNoId, at, kType, len, 1), -ENOENT);
  EXPECT_EQ(call(kNoId, 0, kType, 0, 0), -ENOENT);
  EXPECT_EQ(call(ioas_, at, kType, len, 1), -EINVAL);
  EXPECT_EQ(call(parent_, at, kType, len, 1), -EINVAL);
  EXPECT_EQ(cmd.Get("entry_num"), 0u);
  // No entries: is the type known?
  EXPECT_EQ(call(nested, 0, kType, 0, 0), 0);
  EXPECT_EQ(call(nested, 0, kVType + 50, 0, 0), -EINVAL);
  EXPECT_EQ(call(viommu, 0, kVType, 0, 0), 0);
  EXPECT_EQ(call(viommu, 0, kVType + 50, 0, 0), -EINVAL);

  // Two of three are good.
  iommu_hwpt_invalidate_selftest inv[3] = {};
  inv[2].flags = 1u << 31;
  for (int i = 0; i < 3; i++) {
    ASSERT_EQ(m_.Store(at + i * sizeof(inv[0]), inv[i]), 0);
  }
  EXPECT_EQ(call(nested, at, kType, len, 3), -EOPNOTSUPP);
  EXPECT_EQ(cmd.Get("entry_num"), 2u);
}

TEST_P(DeviceTest, HwInfo) {
  Cmd cmd("GET_HW_INFO");
  auto call = [&](uint32_t flags, uint32_t dev, uint32_t len, uint64_t data,
                  uint32_t type = 0, uint8_t reserved = 0) {
    cmd = Cmd("GET_HW_INFO");
    cmd.Set("flags", flags)
        .Set("dev_id", dev)
        .Set("data_len", len)
        .Set("data_uptr", data)
        .Set("in_data_type", type)
        .Set("__reserved2", reserved);
    return m_.Ioctl(&cmd);
  };
  const uint32_t kIn = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
  const uint32_t kSelf = IOMMU_HW_INFO_TYPE_SELFTEST;
  EXPECT_EQ(call(2, kNoId, 8, kBad, 0, 1), -EOPNOTSUPP);
  EXPECT_EQ(call(0, kNoId, 8, kBad, 0, 1), -EOPNOTSUPP);
  EXPECT_EQ(call(0, kNoId, 8, kBad), -ENOENT);
  EXPECT_EQ(call(0, ioas_, 8, kBad), -ENOENT);
  EXPECT_EQ(call(0, dev_.idev, 8, kBad), -EFAULT);
  // Whatever is in the type field without the flag is no question.
  EXPECT_EQ(call(0, dev_.idev, 0, 0, 12345), 0);
  EXPECT_EQ(cmd.Get("out_data_type"), kSelf);
  EXPECT_EQ(cmd.Get("data_len"), sizeof(iommu_test_hw_info));
  uint64_t at = Scratch();
  uint64_t ones = ~0ull;
  for (int i = 0; i < 4; i++) ASSERT_EQ(m_.Store(at + 8 * i, ones), 0);
  EXPECT_EQ(call(0, dev_.idev, 24, at), 0);
  EXPECT_EQ(cmd.Get("data_len"), sizeof(iommu_test_hw_info));
  // The rest of a larger buffer is cleared, and not a byte more.
  EXPECT_EQ(m_.Load<uint64_t>(at + 8), 0u);
  EXPECT_EQ(m_.Load<uint64_t>(at + 16), 0u);
  EXPECT_EQ(m_.Load<uint64_t>(at + 24), ones);
  EXPECT_EQ(call(kIn, dev_.idev, 0, 0, kSelf), Facts().hw_info_input_type);
  if (Facts().hw_info_input_type == 0) {
    EXPECT_EQ(call(kIn, dev_.idev, 0, 0, 12345), -EOPNOTSUPP);
    EXPECT_EQ(call(kIn, dev_.idev, 0, 0, 0), 0);
    EXPECT_EQ(cmd.Get("out_data_type"), kSelf);
  }
}

TEST_P(DeviceTest, ReservedRegionsComeAndGo) {
  // A mapping where the device cannot reach keeps it from attaching: the
  // mock's aperture begins above.
  uint32_t other = 0;
  ASSERT_EQ(m_.IoasAlloc(&other), 0);
  ASSERT_EQ(m_.MapFixed(other, buf_, kPage, 0x10000), 0);
  MockMachine::Device dev;
  EXPECT_EQ(m_.MockDomain(other, &dev), -EADDRINUSE);
  EXPECT_EQ(m_.Replace(dev_.stdev, other), -EADDRINUSE);
  EXPECT_EQ(Look(m_).Users(other), 1u);
  EXPECT_EQ(m_.Unmap(other, 0x10000, kPage), 0);
  EXPECT_EQ(m_.MockDomain(other, &dev), 0);
  EXPECT_EQ(m_.Destroy(dev.stdev), 0);
  EXPECT_EQ(m_.MapFixed(other, buf_, kPage, 0x10000), 0);
}

// Two devices of one group.
class GroupTest : public IommufdTest {
 protected:
  static mock_machine_options Options() {
    mock_machine_options o;
    o.group_size = 2;
    return o;
  }
  GroupTest() : IommufdTest(Options()) {}
};

TEST_P(GroupTest, FollowTheFirst) {
  MockMachine::Device two;
  ASSERT_EQ(m_.MockDomain(ioas_, &two), 0);
  EXPECT_EQ(two.hwpt, dev_.hwpt);
  EXPECT_EQ(Look(m_).Users(dev_.hwpt), 3u);

  // One moves, all move; the old one goes with the last user.
  uint32_t hwpt = 0;
  ASSERT_EQ(m_.HwptAlloc(dev_.idev, ioas_, 0, &hwpt), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt), 0);
  Look look(m_);
  EXPECT_EQ(look.Users(hwpt), 3u);
  EXPECT_EQ(look.Edge(two.idev, hwpt, "attach"), 1u);
  EXPECT_EQ(look.Find(dev_.hwpt), nullptr);

  // Leaving one by one.
  EXPECT_EQ(m_.Destroy(two.stdev), 0);
  EXPECT_EQ(Look(m_).Users(hwpt), 2u);
  EXPECT_EQ(m_.Destroy(dev_.stdev), 0);
  EXPECT_EQ(Look(m_).Users(hwpt), 1u);
}

TEST_P(GroupTest, TheSecondCannotGoElsewhere) {
  uint32_t other = 0;
  MockMachine::Device two;
  ASSERT_EQ(m_.IoasAlloc(&other), 0);
  EXPECT_EQ(m_.MockDomain(other, &two), -EINVAL);
  EXPECT_EQ(m_.MockDomain(parent_, &two), -EINVAL);
  EXPECT_EQ(Look(m_).Users(other), 1u);
  EXPECT_EQ(Look(m_).Users(parent_), 1u);
}

class GroupMsiTest : public IommufdTest {
 protected:
  static constexpr uint64_t kWindow = 0x8000000;
  static mock_machine_options Options() {
    mock_machine_options o;
    o.group_size = 2;
    o.nr_reserved = 1;
    o.reserved[0] = {
        .start = kWindow, .last = kWindow + 0xfffff, .sw_msi = true};
    return o;
  }
  GroupMsiTest() : IommufdTest(Options()) {}

  // The doorbell as the device sees it. 0: as it is.
  unsigned long Doorbell(uint32_t idev_id, uint64_t msi_addr) {
    TaskScope task(m_);
    auto ictx = iommufd_ctx_from_fd(m_.fd());
    EXPECT_TRUE(ictx);
    if (!ictx) return 0;
    unsigned long iova = 0;
    {
      auto idev = iommufd_get<struct iommufd_device>(*ictx, idev_id);
      EXPECT_TRUE(idev);
      if (idev) {
        struct device* dev = idev->dev;
        iommu_domain* domain = iommu_get_domain_for_dev(dev);
        // Its caller has the group's mutex, which is the IOMMU core's own.
        const auto instrument = current->instrument;
        current->instrument = 0;
        EXPECT_EQ(iommufd_sw_msi(domain, dev, msi_addr, &iova), 0);
        current->instrument = instrument;
        // The mock wants its tables empty when they go.
        EXPECT_EQ(iommu_unmap(domain, iova & PAGE_MASK, PAGE_SIZE), PAGE_SIZE);
      }
    }
    iommufd_ctx_put(*ictx);
    return iova;
  }
};

TEST_P(GroupMsiTest, TheFirstDeviceGoesFirst) {
  constexpr uint64_t kMsi = 0xfee00040;
  MockMachine::Device two;
  ASSERT_EQ(m_.MockDomain(ioas_, &two), 0);
  ASSERT_EQ(m_.Destroy(dev_.stdev), 0);
  EXPECT_EQ(Doorbell(two.idev, kMsi), kWindow + 0x40);
}

INSTANTIATE_TEST_SUITE_P(Revisions, GroupMsiTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);
INSTANTIATE_TEST_SUITE_P(Revisions, DeviceTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);
INSTANTIATE_TEST_SUITE_P(Revisions, GroupTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

}  // namespace
}  // namespace iommulab
