// SPDX-License-Identifier: GPL-2.0-or-later
//
// Words that a kernel header likes to have as macros, as names of a caller's.
#pragma once

#include <algorithm>
#include <utility>

#include "gtest/gtest.h"

namespace headers_test {

struct Words {
  int min, max, likely, unlikely, current, fallthrough, noinline, barrier,
      clamp, swap, roundup, rounddown, xchg, array_size, wake_up, container,
      offset, list, page, file, device, cold, inline_, always_inline, packed;
};

// As functions too: a macro with arguments is one only before a parenthesis.
struct Calls {
  int min(int a) const { return a; }
  int max(int a) const { return a; }
  int likely(int a) const { return a; }
  int unlikely(int a) const { return a; }
  int current() const { return 1; }
  int fallthrough() const { return 2; }
  int noinline() const { return 3; }
  int barrier() const { return 4; }
  int clamp(int a) const { return a; }
  int swap(int a) const { return a; }
  int roundup(int a, int b) const { return a + b; }
  int rounddown(int a, int b) const { return a - b; }
  int xchg(int a, int b) const { return a * b; }
  int array_size(int a, int b) const { return a / b; }
  int wake_up(int a) const { return a; }
};

TEST(Headers, LeaveWordsAlone) {
  Words w{};
  w.current = std::max(w.min, w.max) + std::clamp(3, 1, 2);
  std::swap(w.min, w.current);
  EXPECT_EQ(w.min, 2);
  const Calls c;
  int barrier = c.min(1) + c.current() + c.barrier();
  switch (barrier) {
    case 6:
      barrier += c.xchg(2, 3);
      [[fallthrough]];
    default:
      ++barrier;
  }
  EXPECT_EQ(barrier, 13);
  if (c.likely(1)) [[likely]] {
    EXPECT_EQ(c.roundup(1, 2), 3);
  }
}

}  // namespace headers_test
