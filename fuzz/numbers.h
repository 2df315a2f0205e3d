// SPDX-License-Identifier: GPL-2.0-or-later
//
// Numbers worth trying wherever a number of that kind stands. What is worth
// trying in one field alone is in its description (desc_field::interesting).
#pragma once

#include <cstdint>

namespace fuzz {

inline constexpr uint64_t kPage = 4096;
inline constexpr uint64_t kIoPage = 2048;       // of the mock's tables
inline constexpr uint64_t kAperture = 1 << 24;  // where its addresses start
inline constexpr uint64_t kAfter = uint64_t{1} << 31;  // and where they end

// Of memory, of mappings: what mostly serves.
inline constexpr uint64_t kSizes[] = {
    1,         2048,      kPage,      kPage,   2 * kPage, 2 * kPage,
    3 * kPage, 8 * kPage, 16 * kPage, 1 << 20, 2 << 20,   4 << 20,
};

// Bounds, and what is just beyond.
inline constexpr uint64_t kOddSizes[] = {
    0,
    1,
    2047,
    kPage - 1,
    kPage + 1,
    (1 << 20) + 2048,
    kAfter,
    kAfter - kAperture,
    uint64_t{1} << 32,
    uint64_t{1} << 44,
    uint64_t{1} << 63,
    (uint64_t{1} << 63) - 1,
    UINT64_MAX - kPage,
    UINT64_MAX - kPage + 1,
    UINT64_MAX,
};

inline constexpr uint64_t kNumbers[] = {
    0,       0,          1,          1,          2,     3,
    4,       5,          7,          8,          16,    64,
    255,     1024,       4096,       65535,      65536, (1 << 20) - 1,
    1 << 20, 0x7fffffff, 0x80000000, 0xffffffff,
};

// I/O addresses.
inline constexpr uint64_t kEdges[] = {
    0,
    1,
    kPage,
    kAperture - kPage,
    kAfter - kPage,
    kAfter,
    uint64_t{1} << 63,
    UINT64_MAX - kPage + 1,
    UINT64_MAX,
};

inline constexpr uint64_t kBadAddresses[] = {
    0, 8, 0xdead000, UINT64_MAX - kPage + 1, UINT64_MAX - 1, uint64_t{1} << 47,
};

// Bytes at a pointer.
inline constexpr uint64_t kLens[] = {
    0,  1,  3,    4,    5,    7,       8,          12,         16,
    24, 64, 4095, 4096, 4097, 1 << 19, 0x7fffffff, 0xffffffff,
};

// Bytes of what files give and take: whole records, and not.
inline constexpr uint64_t kReads[] = {8,  12, 24, 32, 40,  41,
                                      48, 80, 0,  7,  120, 4096};

}  // namespace fuzz
