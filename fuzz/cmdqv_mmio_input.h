// SPDX-License-Identifier: GPL-2.0-or-later
//
// The bytes of one run, taken as numbers and as commands, and what a run of
// them is of.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "tests/platform/tegra241_vm.h"

namespace fuzz::cmdqv {

// Where the machine has them.
inline constexpr uint64_t kCmdqv = 0x10200000;
inline constexpr uint64_t kSmmu = 0x10000000;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  template <class T>
  T Get() {
    T v{};
    const size_t n = std::min(sizeof(v), size_);
    if (n != 0) memcpy(&v, data_, n);
    data_ += n;
    size_ -= n;
    return v;
  }
  uint8_t Byte() { return Get<uint8_t>(); }
  // A value that means something to somebody more often than random bits do.
  uint64_t Value(uint64_t address) {
    const uint8_t how = Byte();
    switch (how % 5) {
      case 0:
        return how / 5;
      case 1:
        return ~0ULL;
      case 2:
        return 1ULL << (how / 5);
      case 3:
        return address + (static_cast<uint64_t>(Get<uint16_t>()) << 4);
      default:
        return Get<uint64_t>();
    }
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

// A command that is one, mostly.
tegra241::Cmd Command(Input* in);

// What a guest does to its queues. Empty: nothing is wrong.
std::string RunGuest(uint8_t how, Input* in);
// What a host does to the models alone.
std::string RunModels(uint8_t how, Input* in);

}  // namespace fuzz::cmdqv
