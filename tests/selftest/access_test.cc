// SPDX-License-Identifier: GPL-2.0-or-later
// The mock's access files: a kernel driver that pins and copies.
#include <cerrno>
#include <string>

#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {
namespace {

constexpr uint32_t kPin = MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;

class AccessTest : public ::testing::Test {
 protected:
  AccessTest() {
    buf_ = m_.Anon(16 * kPage);
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MapFixed(ioas_, buf_, 8 * kPage, kIova), 0);
  }

  static constexpr uint64_t kIova = MOCK_APERTURE_START;
  MockMachine m_;
  uint64_t buf_ = 0;
  uint32_t ioas_ = 0;
};

TEST_F(AccessTest, CreateErrors) {
  int fd = -1;
  EXPECT_EQ(m_.CreateAccess(ioas_, 2, &fd), -EOPNOTSUPP);
  EXPECT_EQ(m_.CreateAccess(0, 0, &fd), -ENOENT);
  ASSERT_EQ(m_.CreateAccess(ioas_, 0, &fd), 0);
  EXPECT_EQ(m_.Destroy(ioas_), -EBUSY);
  EXPECT_EQ(m_.CloseAccess(fd), 0);
  EXPECT_EQ(m_.Destroy(ioas_), 0);
}

TEST_F(AccessTest, NotAnAccess) {
  uint32_t item = 0;
  for (int fd : {-1, 1000, m_.fd()}) {
    EXPECT_EQ(m_.AccessPages(fd, kIova, kPage, 0, 0, &item), -EBADFD);
    EXPECT_EQ(m_.AccessRw(fd, kIova, kPage, buf_, 0), -EBADFD);
    EXPECT_EQ(m_.AccessReplace(fd, ioas_), -EBADFD);
    EXPECT_EQ(m_.DestroyAccessPages(fd, 0), -EBADFD);
  }
}

TEST_F(AccessTest, PinAndUnpin) {
  int fd = -1, no_pin = -1;
  uint32_t item = 0, item2 = 0;
  ASSERT_EQ(m_.CreateAccess(ioas_, kPin, &fd), 0);
  ASSERT_EQ(m_.CreateAccess(ioas_, 0, &no_pin), 0);
  EXPECT_EQ(m_.AccessPages(no_pin, kIova, kPage, buf_, 0, &item), -EOPNOTSUPP);
  EXPECT_EQ(m_.AccessPages(fd, kIova, kPage, buf_, 2, &item), -EOPNOTSUPP);
  EXPECT_EQ(m_.AccessPages(fd, kIova, (16 << 20) + 1, buf_, 0, &item), -ENOMEM);

  ASSERT_EQ(m_.AccessPages(fd, kIova, 4 * kPage, buf_, MOCK_FLAGS_ACCESS_WRITE,
                           &item),
            0);
  EXPECT_EQ(m_.CheckRefs(buf_, 4 * kPage, 1), 0);
  EXPECT_EQ(m_.CheckRefs(buf_ + 4 * kPage, 4 * kPage, 0), 0);
  ASSERT_EQ(m_.AccessPages(fd, kIova + 2 * kPage, 4 * kPage, buf_ + 2 * kPage,
                           0, &item2),
            0);
  EXPECT_EQ(item2, item + 1);
  // However many accesses, one pin.
  EXPECT_EQ(m_.CheckRefs(buf_, 6 * kPage, 1), 0);

  // Other pages than the process has there.
  EXPECT_EQ(m_.AccessPages(fd, kIova, kPage, buf_ + kPage, 0, nullptr), -EBADE);
  // Not mapped; nothing; a wrap.
  EXPECT_EQ(m_.AccessPages(fd, kIova + 8 * kPage, kPage, 0, 0, nullptr),
            -ENOENT);
  EXPECT_EQ(m_.AccessPages(fd, kIova, 0, 0, 0, nullptr), -EINVAL);
  EXPECT_EQ(
      m_.AccessPages(fd, UINT64_MAX - kPage + 1, 2 * kPage, 0, 0, nullptr),
      -EOVERFLOW);

  EXPECT_EQ(m_.DestroyAccessPages(fd, item), 0);
  EXPECT_EQ(m_.DestroyAccessPages(fd, item), -ENOENT);
  EXPECT_EQ(m_.CheckRefs(buf_, 2 * kPage, 0), 0);
  EXPECT_EQ(m_.CheckRefs(buf_ + 2 * kPage, 4 * kPage, 1), 0);
  // The close lets go of the rest.
  EXPECT_EQ(m_.CloseAccess(fd), 0);
  EXPECT_EQ(m_.CheckRefs(buf_, 8 * kPage, 0), 0);
}

TEST_F(AccessTest, UnmapTellsTheAccess) {
  int fd = -1;
  uint32_t item = 0, kept = 0;
  ASSERT_EQ(m_.MapFixed(ioas_, buf_ + 8 * kPage, kPage, kIova + 8 * kPage), 0);
  ASSERT_EQ(m_.CreateAccess(ioas_, kPin, &fd), 0);
  ASSERT_EQ(m_.AccessPages(fd, kIova, kPage, buf_, 0, &item), 0);
  ASSERT_EQ(m_.AccessPages(fd, kIova + 8 * kPage, kPage, 0, 0, &kept), 0);
  ASSERT_EQ(m_.Unmap(ioas_, kIova, 8 * kPage), 0);
  EXPECT_EQ(m_.CheckRefs(buf_, 8 * kPage, 0), 0);
  EXPECT_EQ(m_.DestroyAccessPages(fd, item), -ENOENT);
  EXPECT_EQ(m_.DestroyAccessPages(fd, kept), 0);
}

TEST_F(AccessTest, ReplaceLetsGo) {
  int fd = -1;
  uint32_t item = 0, ioas2 = 0;
  ASSERT_EQ(m_.IoasAlloc(&ioas2), 0);
  ASSERT_EQ(m_.MapFixed(ioas2, buf_ + 8 * kPage, kPage, kIova), 0);
  ASSERT_EQ(m_.CreateAccess(ioas_, kPin, &fd), 0);
  ASSERT_EQ(m_.AccessPages(fd, kIova, kPage, buf_, 0, &item), 0);
  ASSERT_EQ(m_.AccessReplace(fd, ioas2), 0);
  EXPECT_EQ(m_.CheckRefs(buf_, kPage, 0), 0);
  EXPECT_EQ(m_.DestroyAccessPages(fd, item), -ENOENT);
  ASSERT_EQ(m_.AccessPages(fd, kIova, kPage, buf_ + 8 * kPage, 0, &item), 0);
  EXPECT_EQ(m_.Destroy(ioas_), 0);
  EXPECT_EQ(m_.Destroy(ioas2), -EBUSY);
  EXPECT_EQ(m_.AccessReplace(fd, ioas_), -ENOENT);
}

TEST_F(AccessTest, ReadAndWrite) {
  int fd = -1;
  const uint64_t user = m_.Anon(4 * kPage);
  ASSERT_EQ(m_.CreateAccess(ioas_, 0, &fd), 0);
  for (uint32_t slow : {0u, uint32_t{MOCK_ACCESS_RW_SLOW_PATH}}) {
    for (uint64_t at : {uint64_t{0}, kPage - 4, 3 * kPage + 1}) {
      for (uint64_t n : {1, 8, 100, 5000}) {
        std::string text(n, 'a' + n % 20);
        ASSERT_EQ(m_.sys().store(user, text.data(), n), 0);
        ASSERT_EQ(
            m_.AccessRw(fd, kIova + at, n, user, MOCK_ACCESS_RW_WRITE | slow),
            0);
        std::string seen(n, 0);
        ASSERT_EQ(m_.sys().load(buf_ + at, seen.data(), n), 0);
        EXPECT_EQ(seen, text);

        text.assign(n, 'A' + n % 20);
        ASSERT_EQ(m_.sys().store(buf_ + at, text.data(), n), 0);
        ASSERT_EQ(m_.AccessRw(fd, kIova + at, n, user, slow), 0);
        ASSERT_EQ(m_.sys().load(user, seen.data(), n), 0);
        EXPECT_EQ(seen, text);
      }
    }
  }
  EXPECT_EQ(m_.AccessRw(fd, kIova, 1, user, 1 << 1), -EOPNOTSUPP);
  EXPECT_EQ(m_.AccessRw(fd, kIova, (16 << 20) + 1, user, 0), -ENOMEM);
  EXPECT_EQ(m_.AccessRw(fd, kIova + 8 * kPage, 1, user, 0), -ENOENT);
  EXPECT_EQ(m_.AccessRw(fd, kIova, 0, user, 0), -EINVAL);
  EXPECT_EQ(m_.AccessRw(fd, kIova, 1, kPage, 0), -EFAULT);
  EXPECT_EQ(m_.AccessRw(fd, kIova, 1, kPage, MOCK_ACCESS_RW_WRITE), -EFAULT);
}

TEST_F(AccessTest, SyzkallersIova) {
  int fd = -1;
  uint32_t item = 0;
  ASSERT_EQ(m_.MapFixed(ioas_, buf_ + 8 * kPage, 2 * kPage, 2 * kIova), 0);
  ASSERT_EQ(m_.CreateAccess(ioas_, kPin, &fd), 0);
  // Area 1, a page into it.
  ASSERT_EQ(m_.AccessPages(fd, (kPage << 32) | 1, kPage, buf_ + 9 * kPage,
                           MOCK_FLAGS_ACCESS_SYZ, &item),
            0);
  EXPECT_EQ(m_.CheckRefs(buf_ + 9 * kPage, kPage, 1), 0);
  // No such area.
  EXPECT_EQ(m_.AccessPages(fd, 2, kPage, 0, MOCK_FLAGS_ACCESS_SYZ, nullptr),
            -ENOENT);
}

// The access keeps the context: whichever of the two is closed first.
TEST_F(AccessTest, OutlivesTheFile) {
  int fd = -1;
  uint32_t item = 0;
  ASSERT_EQ(m_.CreateAccess(ioas_, kPin, &fd), 0);
  ASSERT_EQ(m_.AccessPages(fd, kIova, kPage, buf_, 0, &item), 0);
  // CloseAll() closes the file first.
  m_.CloseAll();
  EXPECT_EQ(m_.sys().residue(), "");
  m_.Open();
  ASSERT_EQ(m_.IoasAlloc(&ioas_), 0);
  ASSERT_EQ(m_.CreateAccess(ioas_, kPin, &fd), 0);
  EXPECT_EQ(m_.CloseAccess(fd), 0);
}

}  // namespace
}  // namespace iommulab
