// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/uaccess.h"

#include <type_traits>

#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

struct Command {
  u32 size;
  u32 flags;
  u64 addr;
  u32 ids[4];
};

class UaccessTest : public KernelTest {
 protected:
  static constexpr u64 kBase = BufferMm::kBase;
  static constexpr u64 kEnd = BufferMm::kBase + BufferMm::kSize;

  UaccessTest() { task_.mm = &mm_; }

  BufferMm mm_;
};

TEST_F(UaccessTest, CopiesBothWays) {
  Command c = {sizeof(c), 1, 2, {3, 4, 5, 6}}, back = {};
  user_inout<Command> p(kBase + 16);
  EXPECT_EQ(p.copy_to_user(c), 0);
  EXPECT_EQ(p.copy_from_user(&back), 0);
  EXPECT_EQ(memcmp(&c, &back, sizeof(c)), 0);
  EXPECT_EQ(memcmp(mm_.bytes + 16, &c, sizeof(c)), 0);
}

TEST_F(UaccessTest, FaultsAreEfault) {
  Command c = {};
  EXPECT_EQ(user_in<Command>(0).copy_from_user(&c), -EFAULT);
  EXPECT_EQ(user_in<Command>(kEnd - 1).copy_from_user(&c), -EFAULT);
  EXPECT_EQ(user_out<Command>(kEnd).copy_to_user(c), -EFAULT);
  EXPECT_EQ(user_in<Command>(~0ull).copy_from_user(&c), -EFAULT);
  EXPECT_EQ(clear_user(user_out<void>(kEnd - 4), 8), -EFAULT);
  // A count whose bytes do not fit into size_t.
  EXPECT_EQ(user_in<Command>(kBase).copy_from_user(&c, SIZE_MAX / 2), -EFAULT);
}

TEST_F(UaccessTest, MembersHaveTheirPlaceAndType) {
  user_inout<Command> p(kBase);
  EXPECT_EQ((p.field<&Command::addr>().addr()), kBase + 8);
  static_assert(
      std::is_same_v<decltype(p.field<&Command::addr>()), user_inout<u64>>);
  u64 v = 77;
  EXPECT_EQ((p.field<&Command::addr>().copy_to_user(v)), 0);
  Command c;
  EXPECT_EQ(p.copy_from_user(&c), 0);
  EXPECT_EQ(c.addr, 77u);
  EXPECT_EQ(c.flags, 0u);
}

TEST_F(UaccessTest, ArithmeticIsInElements) {
  user_in<u32> words(kBase);
  user_in<void> bytes = words;
  EXPECT_EQ((words + 3).addr(), kBase + 12);
  EXPECT_EQ((bytes + 3).addr(), kBase + 3);
  u32 in[4] = {};
  mm_.bytes[4] = 9;
  EXPECT_EQ(words.copy_from_user(in, 4), 0);
  EXPECT_EQ(in[1], 9u);
  u8 raw[5] = {};
  EXPECT_EQ(bytes.copy_from_user(raw, 5), 0);
  EXPECT_EQ(raw[4], 9);
}

TEST_F(UaccessTest, DirectionsConvertOneWayOnly) {
  static_assert(std::is_convertible_v<user_inout<u32>, user_in<u32>>);
  static_assert(std::is_convertible_v<user_inout<u32>, user_out<void>>);
  static_assert(!std::is_convertible_v<user_in<u32>, user_out<u32>>);
  static_assert(!std::is_convertible_v<user_in<u32>, user_inout<u32>>);
  static_assert(!std::is_convertible_v<user_in<u32>, user_in<u64>>);
  static_assert(!std::is_convertible_v<user_in<void>, user_in<u32>>);
  static_assert(!std::is_convertible_v<u64, user_in<u32>>);
}

TEST_F(UaccessTest, ClearUser) {
  memset(mm_.bytes, 0xff, 16);
  EXPECT_EQ(clear_user(user_out<void>(kBase + 4), 8), 0);
  EXPECT_EQ(mm_.bytes[3], 0xff);
  EXPECT_EQ(mm_.bytes[4], 0);
  EXPECT_EQ(mm_.bytes[11], 0);
  EXPECT_EQ(mm_.bytes[12], 0xff);
}

TEST_F(UaccessTest, StructOfTheSameSize) {
  memset(mm_.bytes, 0x11, 64);
  Command c;
  EXPECT_EQ(
      copy_struct_from_user(&c, sizeof(c), user_in<void>(kBase), sizeof(c)), 0);
  EXPECT_EQ(c.ids[3], 0x11111111u);
}

TEST_F(UaccessTest, AShorterStructIsFilledUp) {
  memset(mm_.bytes, 0x11, 64);
  Command c;
  memset(&c, 0xee, sizeof(c));
  EXPECT_EQ(copy_struct_from_user(&c, sizeof(c), user_in<void>(kBase), 8), 0);
  EXPECT_EQ(c.flags, 0x11111111u);
  EXPECT_EQ(c.addr, 0u);
  EXPECT_EQ(c.ids[3], 0u);
  // Only what is there is read.
  EXPECT_EQ(copy_struct_from_user(&c, sizeof(c), user_in<void>(kEnd - 8), 8),
            0);
}

TEST_F(UaccessTest, ALongerStructMustEndInZeros) {
  const size_t k = sizeof(Command);
  memset(mm_.bytes, 0x11, k);
  Command c;
  EXPECT_EQ(copy_struct_from_user(&c, k, user_in<void>(kBase), k + 1000), 0);
  EXPECT_EQ(c.ids[3], 0x11111111u);
  mm_.bytes[k + 999] = 1;
  EXPECT_EQ(copy_struct_from_user(&c, k, user_in<void>(kBase), k + 999), 0);
  EXPECT_EQ(copy_struct_from_user(&c, k, user_in<void>(kBase), k + 1000),
            -E2BIG);
  mm_.bytes[k + 999] = 0;
  mm_.bytes[k] = 1;
  EXPECT_EQ(copy_struct_from_user(&c, k, user_in<void>(kBase), k + 1), -E2BIG);
}

TEST_F(UaccessTest, WhichErrorOfALongerStructComesFirst) {
  const size_t k = sizeof(Command);
  Command c;
  // The bytes behind the struct are looked at first.
  EXPECT_EQ(copy_struct_from_user(&c, k, user_in<void>(kBase - 1), k + 4),
            0 - EFAULT);
  EXPECT_EQ(copy_struct_from_user(&c, k, user_in<void>(kEnd - k), k + 4),
            -EFAULT);
  mm_.bytes[k + 2] = 1;
  EXPECT_EQ(copy_struct_from_user(&c, k, user_in<void>(kBase - k), 2 * k + 4),
            -E2BIG)
      << "the struct itself is unmapped, but that is found later";
}

TEST_F(UaccessTest, AHugeSizeEndsAtTheFirstFault) {
  Command c;
  mm_.reads = 0;
  EXPECT_EQ(
      copy_struct_from_user(&c, sizeof(c), user_in<void>(kBase), 0xffffffffu),
      -EFAULT);
  EXPECT_LT(mm_.reads, 100);
}

TEST_F(UaccessTest, GetAndPutUser) {
  EXPECT_EQ(put_user<u32>(5, user_out<u32>(kBase)), 0);
  u32 v = 0;
  EXPECT_EQ(get_user<u32>(&v, user_in<u32>(kBase)), 0);
  EXPECT_EQ(v, 5u);
  EXPECT_EQ(get_user<u32>(&v, user_in<u32>(8)), -EFAULT);
}

}  // namespace
}  // namespace iommulab
