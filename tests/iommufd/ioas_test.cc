// SPDX-License-Identifier: GPL-2.0-or-later
// The commands of an address space: every errno, and which comes first.
#include <cerrno>
#include <vector>

#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

namespace iommulab {
namespace {

constexpr uint32_t kFixed = IOMMU_IOAS_MAP_FIXED_IOVA;
constexpr uint32_t kRead = IOMMU_IOAS_MAP_READABLE;
constexpr uint32_t kWrite = IOMMU_IOAS_MAP_WRITEABLE;
constexpr uint64_t kBad = 0x10;  // nothing is mapped there
constexpr uint32_t kNoId = 4711;

class IoasTest : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr uint64_t kIova = 0x100000;

  IoasTest() : m_(MockMachine::Options{.revision = GetParam()}) {
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    buf_ = m_.Anon(16 * kPage);
  }
  ~IoasTest() override { Look(m_).ExpectExplained(); }

  int Map(uint32_t flags, uint32_t ioas, uint64_t va, uint64_t length,
          uint64_t iova, uint64_t* out = nullptr) {
    Cmd cmd("IOAS_MAP");
    cmd.Set("flags", flags)
        .Set("ioas_id", ioas)
        .Set("user_va", va)
        .Set("length", length)
        .Set("iova", iova);
    int rc = m_.Ioctl(&cmd);
    if (out) *out = cmd.Get("iova");
    return rc;
  }
  int MapFile(uint32_t flags, uint32_t ioas, int fd, uint64_t start,
              uint64_t length, uint64_t iova) {
    Cmd cmd("IOAS_MAP_FILE");
    cmd.Set("flags", flags)
        .Set("ioas_id", ioas)
        .Set("fd", fd)
        .Set("start", start)
        .Set("length", length)
        .Set("iova", iova);
    return m_.Ioctl(&cmd);
  }
  int Copy(uint32_t flags, uint32_t dst, uint32_t src, uint64_t length,
           uint64_t dst_iova, uint64_t src_iova) {
    Cmd cmd("IOAS_COPY");
    cmd.Set("flags", flags)
        .Set("dst_ioas_id", dst)
        .Set("src_ioas_id", src)
        .Set("length", length)
        .Set("dst_iova", dst_iova)
        .Set("src_iova", src_iova);
    return m_.Ioctl(&cmd);
  }
  int Ranges(uint32_t ioas, uint64_t array, uint32_t* num) {
    Cmd cmd("IOAS_IOVA_RANGES");
    cmd.Set("ioas_id", ioas).Set("num_iovas", *num).Set("allowed_iovas", array);
    int rc = m_.Ioctl(&cmd);
    *num = cmd.Get("num_iovas");
    return rc;
  }
  int Allow(uint32_t ioas, const std::vector<iommu_iova_range>& ranges) {
    uint64_t array = m_.Anon(kPage);
    for (size_t i = 0; i < ranges.size(); i++) {
      EXPECT_EQ(m_.Store(array + i * sizeof(ranges[0]), ranges[i]), 0);
    }
    return AllowAt(ioas, array, ranges.size());
  }
  int AllowAt(uint32_t ioas, uint64_t array, uint32_t num) {
    Cmd cmd("IOAS_ALLOW_IOVAS");
    cmd.Set("ioas_id", ioas).Set("num_iovas", num).Set("allowed_iovas", array);
    return m_.Ioctl(&cmd);
  }

  MockMachine m_;
  uint32_t ioas_ = 0;
  uint64_t buf_ = 0;
};

TEST_P(IoasTest, Alloc) {
  Cmd cmd("IOAS_ALLOC");
  cmd.Set("flags", 1);
  EXPECT_EQ(m_.Ioctl(&cmd), -EOPNOTSUPP);
  cmd.Set("flags", 0);
  EXPECT_EQ(m_.Ioctl(&cmd), 0);
  EXPECT_EQ(cmd.Get("out_ioas_id"), 2u);
  Look look(m_);
  EXPECT_EQ(look.Users(2), 1u);
  EXPECT_EQ(look.WaitCnt(2), 1u);
}

TEST_P(IoasTest, Map) {
  const uint64_t k = kPage;
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, k, kIova), 0);
  // Each line has what comes before and what comes after it wrong as well.
  EXPECT_EQ(Map(8 | kFixed, kNoId, kBad, UINT64_MAX, UINT64_MAX), -EOPNOTSUPP);
  EXPECT_EQ(Map(kFixed, kNoId, kBad, UINT64_MAX, kIova), -EOVERFLOW);
  EXPECT_EQ(Map(kFixed, kNoId, kBad, k, UINT64_MAX), -EOVERFLOW);
  EXPECT_EQ(Map(kFixed, kNoId, buf_, k, kIova), -EINVAL);
  EXPECT_EQ(Map(kFixed | kRead, kNoId, buf_, k, kIova), -ENOENT);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, 0, kIova), -EINVAL);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, UINT64_MAX - k, 2 * k, kIova + k),
            -EOVERFLOW);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, 2 * k, UINT64_MAX - k),
            -EOVERFLOW);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, k, kIova), -EEXIST);
  uint64_t iova = 0;
  EXPECT_EQ(Map(kRead | kWrite, ioas_, buf_, k, 0, &iova), 0);
  EXPECT_NE(iova, 0u);
  EXPECT_NE(iova, kIova);
}

TEST_P(IoasTest, MapFile) {
  const uint64_t k = kPage;
  memory_options opts;
  opts.size = 4 * k;
  int fd = m_.sys().memfd(opts);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(MapFile(8, kNoId, -1, 0, UINT64_MAX, UINT64_MAX), -EOPNOTSUPP);
  EXPECT_EQ(MapFile(kFixed, kNoId, -1, 0, UINT64_MAX, 0), -EOVERFLOW);
  EXPECT_EQ(MapFile(kFixed, kNoId, -1, 0, k, UINT64_MAX), -EOVERFLOW);
  EXPECT_EQ(MapFile(kFixed, kNoId, -1, 0, k, kIova), -EINVAL);
  EXPECT_EQ(MapFile(kFixed | kRead, kNoId, -1, 0, k, kIova), -ENOENT);
  EXPECT_EQ(MapFile(kFixed | kRead, ioas_, -1, 0, k, kIova), -EBADF);
  EXPECT_EQ(MapFile(kFixed | kRead, ioas_, fd, 0, 0, kIova), -EINVAL);
  EXPECT_EQ(MapFile(kFixed | kRead, ioas_, fd, 0, k, kIova), 0);
  EXPECT_EQ(MapFile(kFixed | kRead, ioas_, fd, 0, k, kIova), -EEXIST);
  EXPECT_EQ(m_.sys().close(fd), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, k), 0);
}

TEST_P(IoasTest, Copy) {
  const uint64_t k = kPage;
  uint32_t dst = 0;
  ASSERT_EQ(m_.IoasAlloc(&dst), 0);
  ASSERT_EQ(Map(kFixed | kRead | kWrite, ioas_, buf_, 2 * k, kIova), 0);
  EXPECT_EQ(Copy(8, kNoId, kNoId, UINT64_MAX, 0, 0), -EOPNOTSUPP);
  EXPECT_EQ(Copy(kFixed, kNoId, kNoId, UINT64_MAX, 0, 0), -EOVERFLOW);
  EXPECT_EQ(Copy(kFixed, kNoId, kNoId, k, UINT64_MAX, 0), -EOVERFLOW);
  EXPECT_EQ(Copy(kFixed, kNoId, kNoId, k, 0, UINT64_MAX), -EOVERFLOW);
  EXPECT_EQ(Copy(kFixed, kNoId, kNoId, k, 0, 0), -EINVAL);
  EXPECT_EQ(Copy(kFixed | kRead, kNoId, kNoId, k, kIova, kIova), -ENOENT);
  // The source's range before the destination's id.
  EXPECT_EQ(Copy(kFixed | kRead, kNoId, ioas_, 0, kIova, kIova), -EINVAL);
  EXPECT_EQ(Copy(kFixed | kRead, kNoId, ioas_, k, kIova, UINT64_MAX - 1),
            -EOVERFLOW);
  EXPECT_EQ(Copy(kFixed | kRead, kNoId, ioas_, k, kIova, kIova - k), -ENOENT);
  EXPECT_EQ(Copy(kFixed | kRead, kNoId, ioas_, 3 * k, kIova, kIova), -ENOENT);
  EXPECT_EQ(Copy(kFixed | kRead, kNoId, ioas_, k, kIova, kIova), -ENOENT);
  EXPECT_EQ(Copy(kFixed | kRead, dst, ioas_, k, kIova, kIova), 0);
  EXPECT_EQ(Copy(kFixed | kRead, dst, ioas_, k, kIova, kIova), -EEXIST);
  // Into itself.
  EXPECT_EQ(Copy(kFixed | kRead, ioas_, ioas_, 2 * k, kIova + 16 * k, kIova),
            0);
  EXPECT_EQ(m_.Destroy(ioas_), 0);
  EXPECT_EQ(m_.Unmap(dst, kIova, k), 0);
}

TEST_P(IoasTest, CopyMayNotWriteWhatIsReadOnly) {
  const uint64_t k = kPage;
  ASSERT_EQ(Map(kFixed | kRead, ioas_, buf_, k, kIova), 0);
  EXPECT_EQ(Copy(kFixed | kRead | kWrite, ioas_, ioas_, k, kIova + k, kIova),
            -EPERM);
}

TEST_P(IoasTest, Unmap) {
  const uint64_t k = kPage;
  uint64_t unmapped = 0;
  EXPECT_EQ(m_.Unmap(kNoId, 0, UINT64_MAX), -ENOENT);
  // All of nothing is no error.
  EXPECT_EQ(m_.Unmap(ioas_, 0, UINT64_MAX, &unmapped), 0);
  EXPECT_EQ(unmapped, 0u);
  ASSERT_EQ(Map(kFixed | kRead, ioas_, buf_, 2 * k, kIova), 0);
  ASSERT_EQ(Map(kFixed | kRead, ioas_, buf_, 2 * k, kIova + 4 * k), 0);
  EXPECT_EQ(m_.Unmap(ioas_, 1, UINT64_MAX), -EOVERFLOW);
  EXPECT_EQ(m_.Unmap(ioas_, UINT64_MAX, 1), -EOVERFLOW);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, 0), -EINVAL);
  EXPECT_EQ(m_.Unmap(ioas_, UINT64_MAX - 1, 2 * k), -EOVERFLOW);
  // Parts of a mapping.
  EXPECT_EQ(m_.Unmap(ioas_, kIova, k), -ENOENT);
  EXPECT_EQ(m_.Unmap(ioas_, kIova + k, k), -ENOENT);
  // Nothing.
  EXPECT_EQ(m_.Unmap(ioas_, kIova + 2 * k, k), -ENOENT);
  EXPECT_EQ(m_.Unmap(ioas_, kIova - k, 4 * k, &unmapped), 0);
  EXPECT_EQ(unmapped, 2 * k);
  EXPECT_EQ(m_.Unmap(ioas_, 0, UINT64_MAX, &unmapped), 0);
  EXPECT_EQ(unmapped, 2 * k);
}

TEST_P(IoasTest, IovaRanges) {
  uint64_t array = m_.Anon(kPage);
  uint32_t num = 4;
  ASSERT_EQ(m_.AddReserved(ioas_, 0x5000, 0x1000), 0);
  EXPECT_EQ(Ranges(kNoId, array, &num), -ENOENT);
  num = 4;
  EXPECT_EQ(Ranges(ioas_, array, &num), 0);
  EXPECT_EQ(num, 2u);
  auto first = m_.Load<iommu_iova_range>(array);
  auto second = m_.Load<iommu_iova_range>(array + sizeof(first));
  EXPECT_EQ(first.start, 0u);
  EXPECT_EQ(first.last, 0x4fffu);
  EXPECT_EQ(second.start, 0x6000u);
  EXPECT_EQ(second.last, UINT64_MAX);
  // As many as fit, and how many there are.
  EXPECT_EQ(m_.Store(array + sizeof(first), iommu_iova_range{}), 0);
  num = 1;
  EXPECT_EQ(Ranges(ioas_, array, &num), -EMSGSIZE);
  EXPECT_EQ(num, 2u);
  EXPECT_EQ(m_.Load<iommu_iova_range>(array + sizeof(first)).last, 0u);
  num = 0;
  EXPECT_EQ(Ranges(ioas_, kBad, &num), -EMSGSIZE);
  EXPECT_EQ(num, 2u);
  num = 1;
  EXPECT_EQ(Ranges(ioas_, kBad, &num), -EFAULT);
}

TEST_P(IoasTest, AllowIovas) {
  const iommu_iova_range ok = {kIova, kIova + 0xffff};
  EXPECT_EQ(Allow(kNoId, {ok}), -ENOENT);
  EXPECT_EQ(AllowAt(ioas_, kBad, 1), -EFAULT);
  EXPECT_EQ(Allow(ioas_, {{10, 10}}), -EINVAL);
  EXPECT_EQ(Allow(ioas_, {{10, 9}}), -EINVAL);
  EXPECT_EQ(Allow(ioas_, {ok, {kIova + 0xffff, kIova + 0x10000}}), -EINVAL);
  EXPECT_EQ(Allow(ioas_, {ok}), 0);
  // An automatic address is in it; a fixed one need not be.
  uint64_t iova = 0;
  EXPECT_EQ(Map(kRead, ioas_, buf_, kPage, 0, &iova), 0);
  EXPECT_GE(iova, ok.start);
  EXPECT_LE(iova, ok.last);
  EXPECT_EQ(Map(kRead | kFixed, ioas_, buf_, kPage, 16 * kIova), 0);
  // Nobody takes it away again.
  EXPECT_EQ(m_.AddReserved(ioas_, kIova, kPage), -EADDRINUSE);
  EXPECT_EQ(AllowAt(ioas_, kBad, 0), 0);
  // and what is taken cannot be allowed
  EXPECT_EQ(m_.AddReserved(ioas_, 0x8000, 0x1000), 0);
  EXPECT_EQ(Allow(ioas_, {{0x7000, 0x8000}}), -EADDRINUSE);
}

TEST_P(IoasTest, RlimitIsCharged) {
  const uint64_t k = kPage;
  MockMachine::Device dev;
  ASSERT_EQ(m_.MockDomain(ioas_, &dev), 0);
  Sim(m_).set_rlimit_memlock(4 * k);
  ASSERT_EQ(Sim(m_).set_credentials(1000, 0), 0);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, 8 * k, 0x1000000), -ENOMEM);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, 4 * k, 0x1000000), 0);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, k, 0x2000000), -ENOMEM);
  EXPECT_EQ(m_.Unmap(ioas_, 0x1000000, 4 * k), 0);
  EXPECT_EQ(Map(kFixed | kRead, ioas_, buf_, k, 0x2000000), 0);
}

INSTANTIATE_TEST_SUITE_P(Revisions, IoasTest,
                         ::testing::ValuesIn(Forms(DESC_SINCE_VIOMMU)),
                         RevisionName);

}  // namespace
}  // namespace iommulab
