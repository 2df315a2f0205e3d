// SPDX-License-Identifier: GPL-2.0-or-later
// Each possible failure in turn, over everything that the mock makes.
#include <cerrno>
#include <functional>
#include <string>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

// Runs `steps` with the n-th failure injected, for n = 1, 2, ... until a run
// meets no failure. Each run has its own file, closed at its end with nothing
// left. `steps` stops at the first error and returns it. Returns how many runs
// failed.
int Sweep(const std::string& revision,
          const std::function<int(MockMachine&)>& steps) {
  MockMachine::Options options;
  options.revision = revision;
  MockMachine m(options);
  m.CloseAll();
  for (int n = 1;; ++n) {
    m.Open();
    m.sys().set_fail_nth(n);
    int rc = steps(m);
    const bool injected = m.sys().fail_nth() == 0;
    m.sys().set_fail_nth(0);
    m.CloseAll();
    EXPECT_EQ(m.sys().residue(), "") << "failure " << n;
    if (!injected) {
      EXPECT_EQ(rc, 0);
      m.Open();
      return n - 1;
    }
    if (n > 5000) {
      ADD_FAILURE() << "no end";
      return n;
    }
  }
}

#define RETURN_IF_ERROR(expr) \
  if (int rc = (expr)) return rc

class FailNthTest : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Revisions, FailNthTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         [](const auto& info) { return FormName(info.param); });

TEST_P(FailNthTest, DeviceViommuVdeviceQueues) {
  const int failures = Sweep(GetParam(), [](MockMachine& m) {
    // Memory of the program: not the calls that are tested.
    const unsigned int left = m.sys().fail_nth();
    m.sys().set_fail_nth(0);
    const uint64_t buf = m.Anon(2 * kPage);
    iommu_viommu_selftest data = {};
    data.in_data = 0xbeef;
    EXPECT_EQ(m.Store(buf, data), 0);
    m.sys().set_fail_nth(left);

    uint32_t ioas = 0, parent = 0, viommu = 0, nested = 0, vdev = 0, id = 0;
    MockMachine::Device dev;
    RETURN_IF_ERROR(m.IoasAlloc(&ioas));
    RETURN_IF_ERROR(m.MockDomain(ioas, &dev));
    RETURN_IF_ERROR(m.MapFixed(ioas, buf, 2 * kPage, MOCK_APERTURE_START));
    RETURN_IF_ERROR(
        m.HwptAlloc(dev.idev, ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
    RETURN_IF_ERROR(m.ViommuAlloc(dev.idev, parent, &viommu,
                                  IOMMU_VIOMMU_TYPE_SELFTEST, buf,
                                  sizeof(data)));
    RETURN_IF_ERROR(m.VdeviceAlloc(viommu, dev.idev, 0x99, &vdev));
    RETURN_IF_ERROR(m.QueueAlloc(viommu, 0, MOCK_APERTURE_START, kPage, &id));
    RETURN_IF_ERROR(
        m.QueueAlloc(viommu, 1, MOCK_APERTURE_START + kPage, kPage, &id));
    RETURN_IF_ERROR(m.Destroy(id));
    RETURN_IF_ERROR(
        m.QueueAlloc(viommu, 1, MOCK_APERTURE_START + kPage, kPage, &id));
    const unsigned int rest = m.sys().fail_nth();
    m.sys().set_fail_nth(0);
    EXPECT_EQ(m.HwptNested(dev.idev, viommu, &nested), 0);
    m.sys().set_fail_nth(rest);
    RETURN_IF_ERROR(m.Replace(dev.stdev, nested));
    return m.Replace(dev.stdev, ioas);
  });
  EXPECT_GT(failures, 30);
}

// A failed queue allocation leaves its slot, its dependency and its pins as
// they were: the next one succeeds.
TEST_P(FailNthTest, QueueAllocCanBeRepeated) {
  MockMachine::Options options;
  options.revision = GetParam();
  MockMachine m(options);
  const uint64_t buf = m.Anon(2 * kPage);
  uint32_t ioas = 0, parent = 0, viommu = 0;
  MockMachine::Device dev;
  ASSERT_EQ(m.IoasAlloc(&ioas), 0);
  ASSERT_EQ(m.MockDomain(ioas, &dev), 0);
  ASSERT_EQ(m.MapFixed(ioas, buf, 2 * kPage, MOCK_APERTURE_START), 0);
  ASSERT_EQ(m.HwptAlloc(dev.idev, ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent),
            0);
  ASSERT_EQ(m.ViommuAlloc(dev.idev, parent, &viommu), 0);
  uint32_t queue[2] = {};
  for (uint32_t index = 0; index < 2; ++index) {
    for (unsigned int n = 1;; ++n) {
      m.sys().set_fail_nth(n);
      int rc = m.QueueAlloc(viommu, index, MOCK_APERTURE_START, kPage,
                            &queue[index]);
      const bool injected = m.sys().fail_nth() == 0;
      m.sys().set_fail_nth(0);
      if (!injected) {
        ASSERT_EQ(rc, 0);
        break;
      }
      ASSERT_NE(rc, 0) << "failure " << n;
      if (index == 1) {
        // Queue 0 is nobody's any more: it may go, and comes back.
        ASSERT_EQ(m.Destroy(queue[0]), 0) << "failure " << n;
        ASSERT_EQ(m.Unmap(ioas, MOCK_APERTURE_START, 2 * kPage), 0);
        ASSERT_EQ(m.MapFixed(ioas, buf, 2 * kPage, MOCK_APERTURE_START), 0);
        ASSERT_EQ(
            m.QueueAlloc(viommu, 0, MOCK_APERTURE_START, kPage, &queue[0]), 0);
      } else {
        ASSERT_EQ(m.Unmap(ioas, MOCK_APERTURE_START, 2 * kPage), 0);
        ASSERT_EQ(m.MapFixed(ioas, buf, 2 * kPage, MOCK_APERTURE_START), 0);
      }
      ASSERT_LT(n, 1000u);
    }
  }
  EXPECT_EQ(m.Destroy(queue[0]), -EBUSY);
}

TEST_P(FailNthTest, AccessPinAndRw) {
  const int failures = Sweep(GetParam(), [](MockMachine& m) {
    const unsigned int left = m.sys().fail_nth();
    m.sys().set_fail_nth(0);
    const uint64_t buf = m.Anon(4 * kPage);
    m.sys().set_fail_nth(left);

    uint32_t ioas = 0, ioas2 = 0, item = 0;
    int fd = -1;
    int rc = m.IoasAlloc(&ioas);
    if (!rc) rc = m.IoasAlloc(&ioas2);
    if (!rc) rc = m.MapFixed(ioas, buf, 4 * kPage, MOCK_APERTURE_START);
    if (!rc)
      rc = m.CreateAccess(ioas, MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES, &fd);
    if (rc) return rc;
    rc = m.AccessRw(fd, MOCK_APERTURE_START, 100, buf, 0);
    if (!rc)
      rc = m.AccessPages(fd, MOCK_APERTURE_START, 2 * kPage, buf, 0, &item);
    if (!rc) rc = m.AccessReplace(fd, ioas2);
    EXPECT_EQ(m.CloseAccess(fd), 0);
    return rc;
  });
  EXPECT_GT(failures, 10);
}

TEST_P(FailNthTest, ReplaceOfDevices) {
  const int failures = Sweep(GetParam(), [](MockMachine& m) {
    const unsigned int left = m.sys().fail_nth();
    m.sys().set_fail_nth(0);
    const uint64_t buf = m.Anon(4 * kPage);
    uint32_t ioas[2] = {}, hwpt = 0;
    MockMachine::Device dev[2];
    EXPECT_EQ(m.IoasAlloc(&ioas[0]), 0);
    EXPECT_EQ(m.IoasAlloc(&ioas[1]), 0);
    for (uint32_t id : ioas)
      EXPECT_EQ(m.MapFixed(id, buf, 4 * kPage, MOCK_APERTURE_START), 0);
    EXPECT_EQ(m.MockDomain(ioas[0], &dev[0]), 0);
    m.sys().set_fail_nth(left);

    RETURN_IF_ERROR(
        m.MockDomainFlags(ioas[0], MOCK_FLAGS_DEVICE_HUGE_IOVA, &dev[1]));
    RETURN_IF_ERROR(m.Replace(dev[0].stdev, ioas[1]));
    RETURN_IF_ERROR(m.Replace(dev[1].stdev, ioas[1]));
    RETURN_IF_ERROR(m.HwptAlloc(dev[0].idev, ioas[0], 0, &hwpt));
    RETURN_IF_ERROR(m.Replace(dev[0].stdev, hwpt));
    return m.Destroy(dev[0].stdev);
  });
  EXPECT_GT(failures, 20);
}

#undef RETURN_IF_ERROR

}  // namespace
}  // namespace iommulab
