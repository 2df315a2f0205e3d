// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernel's selftests map in all sizes and at all alignments:
// FIXTURE(iommufd_ioas) and FIXTURE(iommufd_mock_domain) with their variants,
// where a program of tests/prog would be thousands of lines long. Also over a
// table that has large pages, where the kernel's have one size.
#include <sys/mman.h>

#include <cerrno>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

constexpr uint64_t kIova = MOCK_APERTURE_START;
constexpr uint64_t kHuge = 2 << 20;
constexpr uint32_t kFixedWrite =
    IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE;
constexpr uint32_t kReadWrite =
    IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;

int Copy(MockMachine& m, uint32_t dst, uint32_t src, uint64_t src_iova,
         uint64_t length, uint64_t dst_iova) {
  Cmd cmd("IOAS_COPY");
  cmd.Set("flags", kFixedWrite)
      .Set("dst_ioas_id", dst)
      .Set("src_ioas_id", src)
      .Set("length", length)
      .Set("dst_iova", dst_iova)
      .Set("src_iova", src_iova);
  return m.Ioctl(&cmd);
}

int LargePages(MockMachine& m, uint32_t ioas, uint64_t on) {
  Cmd cmd("OPTION");
  cmd.Set("option_id", IOMMU_OPTION_HUGE_PAGES)
      .Set("op", IOMMU_OPTION_OP_SET)
      .Set("object_id", ioas)
      .Set("val64", on);
  return m.Ioctl(&cmd);
}

// ---- FIXTURE(iommufd_ioas) ----

struct IoasVariant {
  const char* name;
  int domains;
  uint32_t memory_limit;
};

class IoasSweepTest : public ::testing::TestWithParam<IoasVariant> {
 protected:
  IoasSweepTest() {
    if (GetParam().memory_limit) {
      EXPECT_EQ(m_.SetMemoryLimit(GetParam().memory_limit), 0);
    }
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    for (int i = 0; i < GetParam().domains; ++i) {
      EXPECT_EQ(m_.MockDomain(ioas_, nullptr), 0);
    }
    buf_ = m_.Anon(kSize, false, kHuge);
  }

  static constexpr uint64_t kSize = 16 * kPage;
  MockMachine m_;
  uint32_t ioas_ = 0;
  uint64_t buf_ = 0;
};

INSTANTIATE_TEST_SUITE_P(
    Variants, IoasSweepTest,
    ::testing::Values(IoasVariant{"no_domain", 0, 0},
                      IoasVariant{"mock_domain", 1, 0},
                      IoasVariant{"two_mock_domain", 2, 0},
                      IoasVariant{"mock_domain_limit", 1, 16}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(IoasSweepTest, CopySweep) {
  uint32_t dst = 0;
  ASSERT_EQ(m_.IoasAlloc(&dst), 0);
  const uint64_t last = kIova + kSize - (GetParam().domains ? 1 : 2);
  ASSERT_EQ(m_.MapFixed(ioas_, buf_, last - kIova + 1, kIova), 0);
  for (uint64_t iova = kIova - kPage; iova <= last; iova += 511) {
    const int rc = Copy(m_, dst, ioas_, iova, MOCK_PAGE_SIZE, kIova);
    if (iova < kIova || iova + MOCK_PAGE_SIZE - 1 > last) {
      EXPECT_EQ(rc, -ENOENT) << iova;
    } else {
      EXPECT_EQ(rc, 0) << iova;
      uint64_t unmapped = 0;
      EXPECT_EQ(m_.Unmap(dst, kIova, MOCK_PAGE_SIZE, &unmapped), 0);
      EXPECT_EQ(unmapped, uint64_t{MOCK_PAGE_SIZE});
    }
  }
  EXPECT_EQ(m_.Destroy(dst), 0);
}

TEST_P(IoasSweepTest, IovaAlloc) {
  for (uint64_t length = 1; length < 2 * kPage; ++length) {
    uint64_t iova = 0, unmapped = 0;
    const int rc = m_.Map(ioas_, buf_, length, &iova);
    if (GetParam().domains && length % MOCK_PAGE_SIZE) {
      ASSERT_EQ(rc, -EINVAL) << length;
    } else {
      ASSERT_EQ(rc, 0) << length;
      ASSERT_EQ(m_.Unmap(ioas_, iova, length, &unmapped), 0);
      ASSERT_EQ(unmapped, length);
    }
  }
}

TEST_P(IoasSweepTest, AlignChange) {
  if (GetParam().domains) {
    ASSERT_EQ(m_.MapFixed(ioas_, buf_, kPage, kIova), 0);
    EXPECT_EQ(LargePages(m_, ioas_, 0), -EINVAL);
    return;
  }
  ASSERT_EQ(m_.MapFixed(ioas_, buf_, kPage, kIova), 0);
  EXPECT_EQ(LargePages(m_, ioas_, 0), 0);
  EXPECT_EQ(m_.MapFixed(ioas_, buf_ + MOCK_PAGE_SIZE, kPage, kIova + kPage),
            -EINVAL);
  EXPECT_EQ(LargePages(m_, ioas_, 0), 0);
  EXPECT_EQ(LargePages(m_, ioas_, 1), 0);
  EXPECT_EQ(m_.MapFixed(ioas_, buf_ + MOCK_PAGE_SIZE, kPage, kIova + kPage), 0);
  EXPECT_EQ(LargePages(m_, ioas_, 0), -EADDRINUSE);
  EXPECT_EQ(m_.Unmap(ioas_, kIova + kPage, kPage), 0);
  EXPECT_EQ(m_.Unmap(ioas_, kIova, kPage), 0);
}

// ---- FIXTURE(iommufd_mock_domain) ----

struct DomainVariant {
  const char* name;
  int domains;
  bool hugepages;
  bool file;
  uint32_t dev_flags;
};

class MapSweepTest : public ::testing::TestWithParam<DomainVariant> {
 protected:
  MapSweepTest() {
    const DomainVariant& v = GetParam();
    size_ = v.hugepages ? 2 * kHuge : 8 * kPage;
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    for (int i = 0; i < v.domains; ++i) {
      MockMachine::Device dev;
      EXPECT_EQ(m_.MockDomainFlags(ioas_, v.dev_flags, &dev), 0);
      hwpts_.push_back(dev.hwpt);
      stdev_ = dev.stdev;
    }
    if (!v.file) {
      buf_ = m_.Anon(size_, v.hugepages);
      return;
    }
    memory_options opts;
    opts.size = size_;
    opts.huge = v.hugepages;
    memfd_ = m_.sys().memfd(opts);
    EXPECT_GE(memfd_, 0);
    buf_ =
        m_.sys().mmap(0, size_, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_, 0);
    EXPECT_FALSE(is_error(buf_));
  }
  ~MapSweepTest() override {
    EXPECT_EQ(m_.CheckRefs(buf_, size_, 0), 0);
    if (memfd_ < 0) return;
    EXPECT_EQ(m_.sys().munmap(buf_, size_), 0);
    EXPECT_EQ(m_.sys().close(memfd_), 0);
  }

  // Of the buffer, or of the file behind it.
  int Map(uint32_t ioas, uint64_t start, uint64_t length, uint64_t* iova) {
    if (memfd_ < 0) return m_.Map(ioas, buf_ + start, length, iova);
    Cmd cmd("IOAS_MAP_FILE");
    cmd.Set("flags", kReadWrite)
        .Set("ioas_id", ioas)
        .Set("fd", memfd_)
        .Set("start", start)
        .Set("length", length);
    const int rc = m_.Ioctl(&cmd);
    if (iova) *iova = cmd.Get("iova");
    return rc;
  }

  void CheckAll(uint64_t start, uint64_t length, uint64_t iova) {
    for (uint32_t hwpt : hwpts_) {
      ASSERT_EQ(m_.CheckMap(hwpt, iova, length, buf_ + start), 0);
    }
    const uint64_t first = start / kPage * kPage;
    const uint64_t end = (start + length) / kPage * kPage;
    ASSERT_EQ(m_.CheckRefs(buf_ + first, end - first, 1), 0);
  }

  // Every alignment of start and end; of large memory some of it.
  template <class Work>
  void AllAligns(const Work& work) {
    const uint64_t step =
        GetParam().hugepages ? size_ / 16 : uint64_t{MOCK_PAGE_SIZE};
    for (uint64_t start = 0; start < size_; start += step) {
      uint64_t end = start + MOCK_PAGE_SIZE;
      if (GetParam().hugepages && start + kHuge / 2 + MOCK_PAGE_SIZE < size_) {
        end += kHuge / 2;
      }
      for (int tries = 0; end <= size_ && !HasFatalFailure();
           end += MOCK_PAGE_SIZE) {
        if (GetParam().hugepages && ++tries > 4) break;
        uint64_t iova = 0;
        ASSERT_EQ(Map(ioas_, start, end - start, &iova), 0);
        work(start, end - start, iova);
        ASSERT_EQ(m_.Unmap(ioas_, iova, end - start), 0);
      }
      if (GetParam().hugepages) {
        uint64_t iova = 0;
        ASSERT_EQ(Map(ioas_, start, size_ - start, &iova), 0);
        work(start, size_ - start, iova);
        ASSERT_EQ(m_.Unmap(ioas_, iova, size_ - start), 0);
      }
    }
  }

  MockMachine m_;
  uint32_t ioas_ = 0;
  uint32_t stdev_ = 0;
  std::vector<uint32_t> hwpts_;
  uint64_t buf_ = 0;
  uint64_t size_ = 0;
  int memfd_ = -1;
};

constexpr uint32_t kLarge = MOCK_FLAGS_DEVICE_HUGE_IOVA;
INSTANTIATE_TEST_SUITE_P(
    Variants, MapSweepTest,
    ::testing::Values(
        DomainVariant{"one_domain", 1, false, false, 0},
        DomainVariant{"two_domains", 2, false, false, 0},
        DomainVariant{"one_domain_hugepage", 1, true, false, 0},
        DomainVariant{"two_domains_hugepage", 2, true, false, 0},
        DomainVariant{"one_domain_file", 1, false, true, 0},
        DomainVariant{"one_domain_file_hugepage", 1, true, true, 0},
        DomainVariant{"large_pages", 1, true, false, kLarge},
        DomainVariant{"large_pages_two_domains", 2, true, false, kLarge},
        DomainVariant{"large_pages_file", 1, true, true, kLarge}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(MapSweepTest, Basic) {
  uint64_t iova = 0;
  ASSERT_EQ(Map(ioas_, 0, kPage, &iova), 0);
  CheckAll(0, kPage, iova);
  ASSERT_EQ(m_.Unmap(ioas_, iova, kPage), 0);
  if (GetParam().file) {
    EXPECT_EQ(Map(ioas_, 0, size_ + 1, &iova), -EINVAL);
    EXPECT_EQ(Map(ioas_, MOCK_PAGE_SIZE, size_, &iova), -EINVAL);
    return;
  }
  // The end of the memory is not there, then all of it.
  memory_options opts;
  opts.size = size_;
  opts.huge = GetParam().hugepages;
  const uint64_t memory = m_.sys().anon(opts);
  ASSERT_FALSE(is_error(memory));
  ASSERT_EQ(m_.sys().munmap(memory + size_ / 2, size_ / 2), 0);
  EXPECT_EQ(m_.Map(ioas_, memory, size_, &iova), -EFAULT);
  ASSERT_EQ(m_.sys().munmap(memory, size_ / 2), 0);
  EXPECT_EQ(m_.Map(ioas_, memory, size_, &iova), -EFAULT);
}

TEST_P(MapSweepTest, AllAligns) {
  AllAligns([this](uint64_t start, uint64_t length, uint64_t iova) {
    CheckAll(start, length, iova);
  });
}

// A domain comes and goes while the area is there.
TEST_P(MapSweepTest, AllAlignsCopy) {
  AllAligns([this](uint64_t start, uint64_t length, uint64_t iova) {
    MockMachine::Device dev;
    ASSERT_EQ(m_.MockDomainFlags(ioas_, GetParam().dev_flags, &dev), 0);
    hwpts_.push_back(dev.hwpt);
    CheckAll(start, length, iova);
    hwpts_.pop_back();
    ASSERT_EQ(m_.Destroy(dev.stdev), 0);
    CheckAll(start, length, iova);
  });
}

// Pinned by an access in a space without a domain, and copied to one with.
TEST_P(MapSweepTest, UserCopy) {
  uint32_t ioas = 0, ioas2 = 0, item = 0;
  uint64_t src = 0;
  int access = -1;
  const uint64_t n = 8 * kPage;
  ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  ASSERT_EQ(Map(ioas, 0, n, &src), 0);
  ASSERT_EQ(
      m_.CreateAccess(ioas, MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES, &access),
      0);
  ASSERT_EQ(m_.AccessPages(access, src, n, buf_, 0, &item), 0);
  ASSERT_EQ(Copy(m_, ioas_, ioas, src, n, kIova), 0);
  for (uint32_t hwpt : hwpts_) {
    EXPECT_EQ(m_.CheckMap(hwpt, kIova, n, buf_), 0);
  }

  ASSERT_EQ(m_.IoasAlloc(&ioas2), 0);
  ASSERT_EQ(Map(ioas2, 0, n, &src), 0);
  ASSERT_EQ(m_.AccessReplace(access, ioas2), 0);
  ASSERT_EQ(m_.Unmap(ioas_, kIova, n), 0);
  ASSERT_EQ(m_.Destroy(ioas), 0);

  ASSERT_EQ(m_.AccessPages(access, src, n, buf_, 0, &item), 0);
  ASSERT_EQ(Copy(m_, ioas_, ioas2, src, n, kIova), 0);
  for (uint32_t hwpt : hwpts_) {
    EXPECT_EQ(m_.CheckMap(hwpt, kIova, n, buf_), 0);
  }
  ASSERT_EQ(m_.DestroyAccessPages(access, item), 0);
  ASSERT_EQ(m_.CloseAccess(access), 0);
  ASSERT_EQ(m_.Destroy(ioas2), 0);
  ASSERT_EQ(m_.Unmap(ioas_, kIova, n), 0);
}

}  // namespace
}  // namespace iommulab
