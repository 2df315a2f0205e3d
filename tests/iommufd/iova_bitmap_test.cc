// SPDX-License-Identifier: GPL-2.0-or-later
//
// core/iommufd/iova_bitmap.cc on a kernel with nothing but memory, against a
// model that has one bool for each bit. Also on the memory of this process.
#include "core/iommu/iova_bitmap.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "tests/mm/mm_fixture.h"

namespace {

using mm_test::kPage;

constexpr unsigned long kWindowBytes = kPage / sizeof(void*) * kPage;

class IovaBitmapTest : public mm_test::MmFixture,
                       public testing::WithParamInterface<bool> {
 protected:
  IovaBitmapTest() : MmFixture(/*host=*/GetParam(), /*ram_bytes=*/32 << 20) {}

  static iova_bitmap* Alloc(unsigned long iova, size_t length,
                            unsigned long page_size, unsigned long data) {
    auto bitmap =
        iova_bitmap_alloc(iova, length, page_size, user_inout<void>(data));
    EXPECT_TRUE(bitmap);
    return bitmap ? *bitmap : nullptr;
  }

  // Memory of the process that it can write, filled with a byte.
  unsigned long Memory(unsigned long size, int fill = 0) {
    const unsigned long addr = Map(size);
    std::vector<uint8_t> bytes(size, static_cast<uint8_t>(fill));
    EXPECT_EQ(0u, Out(addr, bytes.data(), size));
    return addr;
  }

  std::vector<uint8_t> Read(unsigned long addr, unsigned long size) {
    std::vector<uint8_t> bytes(size);
    EXPECT_EQ(0u, In(addr, bytes.data(), size));
    return bytes;
  }
};

INSTANTIATE_TEST_SUITE_P(Memory, IovaBitmapTest, testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "Host" : "Arena";
                         });

TEST_P(IovaBitmapTest, PinsNothingBeforeABitIsSet) {
  const unsigned long data = Memory(kPage);
  iova_bitmap* bitmap = Alloc(0, SZ_1M, SZ_4K, data);
  EXPECT_EQ(0u, Pins());
  iova_bitmap_set(bitmap, 0, 0);
  EXPECT_EQ(0u, Pins());
  iova_bitmap_set(bitmap, 0, 1);
  EXPECT_EQ(1u, Pins());
  iova_bitmap_free(bitmap);
  EXPECT_EQ(0u, Pins());
  EXPECT_EQ(1, Read(data, 1)[0]);
  vm_munmap(data, kPage);
}

TEST_P(IovaBitmapTest, PinsNoPageBehindTheBitmap) {
  const unsigned long data = Memory(2 * kPage);
  // 4096 bytes of bits fill a page; one bit more needs the next.
  iova_bitmap* bitmap = Alloc(0, kPage * 8 * SZ_4K, SZ_4K, data);
  iova_bitmap_set(bitmap, 0, 1);
  EXPECT_EQ(1u, Pins());
  iova_bitmap_free(bitmap);
  bitmap = Alloc(0, (kPage * 8 + 1) * SZ_4K, SZ_4K, data);
  iova_bitmap_set(bitmap, 0, 1);
  EXPECT_EQ(2u, Pins());
  iova_bitmap_free(bitmap);
  // And so does a byte at the end of one.
  bitmap = Alloc(0, 8 * SZ_4K, SZ_4K, data + kPage - 1);
  iova_bitmap_set(bitmap, 0, 1);
  EXPECT_EQ(1u, Pins());
  iova_bitmap_free(bitmap);
  bitmap = Alloc(0, 9 * SZ_4K, SZ_4K, data + kPage - 1);
  iova_bitmap_set(bitmap, 0, 1);
  EXPECT_EQ(2u, Pins());
  iova_bitmap_free(bitmap);
  vm_munmap(data, 2 * kPage);
}

TEST_P(IovaBitmapTest, ForEachGivesTheRangeAndFlushes) {
  const unsigned long data = Memory(kPage);
  iova_bitmap* bitmap = Alloc(SZ_1M, SZ_64K, SZ_4K, data);
  struct Seen {
    unsigned long iova;
    size_t length;
  } seen = {};
  EXPECT_EQ(iova_bitmap_for_each(bitmap, &seen,
                                 [](iova_bitmap* b, unsigned long iova,
                                    size_t length, void* opaque) {
                                   *static_cast<Seen*>(opaque) = {iova, length};
                                   iova_bitmap_set(b, iova + SZ_4K, SZ_4K);
                                   return -EBUSY;
                                 }),
            -EBUSY);
  EXPECT_EQ(SZ_1M, seen.iova);
  EXPECT_EQ(SZ_64K, seen.length);
  EXPECT_EQ(2, Read(data, 1)[0]);
  iova_bitmap_free(bitmap);
  vm_munmap(data, kPage);
}

// What a driver records may reach out of the range on both sides, up to the
// whole space: a large page, read in part.
TEST_P(IovaBitmapTest, NothingOutsideOfTheRange) {
  const unsigned long data = Memory(kPage, 0);
  const struct {
    unsigned long iova;
    size_t length;
    uint8_t bits;
  } kCases[] = {
      {0, SZ_1M, 0},
      {0, SZ_1M + 1, 1},
      {SZ_1M - 1, 1, 0},
      {SZ_1M, 1, 1},
      {SZ_1M + 3 * SZ_4K - 1, 1, 4},
      {SZ_1M + 3 * SZ_4K, 1, 0},
      {SZ_1M + 2 * SZ_4K, SZ_1M, 4},
      {SZ_1M + SZ_4K, ~0UL, 6},
      {0, ~0UL, 7},
      {~0UL, 1, 0},
      {~0UL, ~0UL, 0},  // wraps: to the end, where nothing is
  };
  for (const auto& c : kCases) {
    iova_bitmap* bitmap = Alloc(SZ_1M, 3 * SZ_4K, SZ_4K, data + 100);
    iova_bitmap_set(bitmap, c.iova, c.length);
    iova_bitmap_free(bitmap);
    std::vector<uint8_t> expected(kPage, 0);
    expected[100] = c.bits;
    EXPECT_EQ(expected, Read(data, kPage)) << c.iova << "+" << c.length;
    const uint8_t zero = 0;
    EXPECT_EQ(0u, Out(data + 100, &zero, 1));
  }
  vm_munmap(data, kPage);
}

TEST_P(IovaBitmapTest, AllPageSizesOverTheWholeSpace) {
  const unsigned long data = Memory(kPage);
  const std::vector<uint8_t> zeroes(kPage, 0);
  for (unsigned int shift = 0; shift < 64; ++shift) {
    iova_bitmap* bitmap = Alloc(0, 0, 1UL << shift, data);
    iova_bitmap_set(bitmap, 1UL << shift, 1);
    iova_bitmap_free(bitmap);
    EXPECT_EQ(2, Read(data, 1)[0]) << shift;
    EXPECT_EQ(0u, Out(data, zeroes.data(), 1));

    // The last bit, where there is memory for it.
    const unsigned long bits = shift > 48 ? 1UL << (64 - shift) : 0;
    if (!bits) continue;
    bitmap = Alloc(0, 0, 1UL << shift, data);
    iova_bitmap_set(bitmap, ~0UL, 1);
    iova_bitmap_free(bitmap);
    std::vector<uint8_t> expected(kPage, 0);
    expected[(bits - 1) / 8] = static_cast<uint8_t>(1u << ((bits - 1) % 8));
    EXPECT_EQ(expected, Read(data, kPage)) << shift;
    EXPECT_EQ(0u, Out(data, zeroes.data(), kPage));
  }
  vm_munmap(data, kPage);
}

TEST_P(IovaBitmapTest, APageSizeThatIsNoPowerOfTwo) {
  const unsigned long data = Memory(kPage);
  iova_bitmap* bitmap = Alloc(0, SZ_64K, 0x5000, data);  // as 0x1000
  iova_bitmap_set(bitmap, 0x3000, 0x2001);
  iova_bitmap_free(bitmap);
  EXPECT_EQ(0x38, Read(data, 1)[0]);
  vm_munmap(data, kPage);
}

// The address of a far bit wraps, or is none of a user: it must not come out at
// the low end, where there may be memory.
TEST_P(IovaBitmapTest, AddressesThatWrap) {
  iova_bitmap* bitmap = Alloc(0, 0, 1, ~0UL - kPage + 1);
  for (unsigned long bit = 0; bit < 64; ++bit)
    iova_bitmap_set(bitmap, 1UL << bit, 1);
  iova_bitmap_set(bitmap, ~0UL, 1);
  iova_bitmap_set(bitmap, 0, ~0UL);
  iova_bitmap_free(bitmap);
  EXPECT_EQ(0u, Pins());
}

TEST_P(IovaBitmapTest, ALongRunOverManyWindows) {
  // 5M of bits and a bit, not aligned to anything.
  constexpr unsigned long kBytes = 5 * SZ_1M + 1;
  const unsigned long data = Memory(kBytes + kPage, 0);
  iova_bitmap* bitmap = Alloc(0, (kBytes - 1) * 8 + 3, 1, data + 77);
  iova_bitmap_set(bitmap, 5, ~0UL - 5);
  EXPECT_LE(Pins(), kWindowBytes / kPage);
  iova_bitmap_free(bitmap);
  std::vector<uint8_t> expected(kBytes + kPage, 0);
  std::fill(expected.begin() + 77, expected.begin() + 77 + kBytes, 0xff);
  expected[77] = 0xe0;
  expected[77 + kBytes - 1] = 0x07;
  EXPECT_EQ(expected, Read(data, kBytes + kPage));
  vm_munmap(data, kBytes + kPage);
}

TEST_P(IovaBitmapTest, NoMemoryForIt) {
  const unsigned long data = Memory(kPage);
  for (int n = 1; n < 3; ++n) {
    fail_nth_write(task_.get(), static_cast<u32>(n));
    auto bitmap = iova_bitmap_alloc(0, SZ_64K, SZ_4K, user_inout<void>(data));
    EXPECT_EQ(-ENOMEM, bitmap.error()) << n;
    fail_nth_write(task_.get(), 0);
  }
  vm_munmap(data, kPage);
}

// Random ranges in random bitmaps over memory that has a hole. The bits before
// were random, too.
TEST_P(IovaBitmapTest, Model) {
  std::mt19937_64 rng(20);
  const auto below = [&rng](unsigned long n) { return n ? rng() % n : 0; };

  for (int round = 0; round < (GetParam() ? 50 : 200); ++round) {
    const unsigned int shift = static_cast<unsigned int>(below(64));
    const bool wide = below(8) == 0;
    const unsigned long max_bits = wide ? 3 * kWindowBytes * 8 : 40000;
    const unsigned long space = shift ? 1UL << (64 - shift) : ~0UL;
    const unsigned long bits =
        1 + below(below(2) ? min(space, max_bits) : min(space, 200UL));
    const unsigned long first_page = below(space - bits + 1);
    const unsigned long iova = first_page << shift;
    const unsigned long length = bits << shift;  // 0: 2^64

    const unsigned long offset = below(2 * kPage);
    const unsigned long size =
        ALIGN(offset + (bits + 7) / 8 + kPage, kPage) + kPage;
    const unsigned long memory = Map(size);
    std::vector<uint8_t> model(size);
    for (uint8_t& b : model) b = static_cast<uint8_t>(below(4) ? 0 : rng());
    ASSERT_EQ(0u, Out(memory, model.data(), size));
    unsigned long hole = ~0UL;
    if (below(3) == 0) {
      hole = ALIGN_DOWN(below(size), kPage);
      ASSERT_EQ(0, vm_munmap(memory + hole, kPage));
    }

    iova_bitmap* bitmap = Alloc(iova, length, 1UL << shift, memory + offset);
    const int records = wide ? 20 : 200;
    for (int i = 0; i < records; ++i) {
      // Somewhere in the pages of the bits, with any length.
      const unsigned long first_bit = below(bits);
      const unsigned long nbits =
          1 + below(below(3) ? min(bits - first_bit, 70UL) : bits - first_bit);
      const unsigned long in_page = below(1UL << shift);
      unsigned long start = iova + (first_bit << shift) + in_page;
      const unsigned long last = iova + ((first_bit + nbits - 1) << shift) +
                                 (nbits == 1 ? in_page : below(1UL << shift));
      iova_bitmap_set(bitmap, start, last - start + 1);

      for (unsigned long bit = first_bit; bit < first_bit + nbits; ++bit) {
        const unsigned long byte = offset + bit / 8;
        if (hole <= byte && byte < hole + kPage) break;
        model[byte] |= static_cast<uint8_t>(1u << (bit % 8));
      }
    }
    iova_bitmap_free(bitmap);

    std::vector<uint8_t> real(size);
    for (unsigned long at = 0; at < size; at += kPage) {
      if (at == hole) {
        memcpy(real.data() + at, model.data() + at, kPage);
      } else {
        ASSERT_EQ(0u, In(memory + at, real.data() + at, kPage));
      }
    }
    ASSERT_EQ(model, real) << "round " << round << " shift " << shift
                           << " bits " << bits << " offset " << offset;
    ASSERT_EQ(0u, Pins());
    ASSERT_EQ(0, vm_munmap(memory, size));
  }
}

}  // namespace
