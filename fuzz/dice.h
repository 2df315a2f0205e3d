// SPDX-License-Identifier: GPL-2.0-or-later
//
// Chance, the same on every machine for the same seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "absl/random/distributions.h"

namespace fuzz {

using Random = std::mt19937_64;

inline uint64_t Below(Random& r, uint64_t n) {
  return absl::Uniform<uint64_t>(r, 0, n);
}

// True once in n.
inline bool OneIn(Random& r, uint64_t n) { return Below(r, n) == 0; }

template <typename T>
const T& Pick(Random& r, const std::vector<T>& v) {
  return v[Below(r, v.size())];
}

template <typename T>
const T& Pick(Random& r, std::span<const T> v) {
  return v[Below(r, v.size())];
}

template <typename T, size_t n>
const T& Pick(Random& r, const T (&v)[n]) {
  return v[Below(r, n)];
}

}  // namespace fuzz
