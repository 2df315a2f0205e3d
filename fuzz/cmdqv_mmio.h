// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a guest can do with page 0 of its VINTF and with its own memory, as
// bytes: stores of any size to any register, any command in its queue, any
// context and table, its device's DMA, queues that its VMM takes and gives. Two
// guests are on the machine; the other one, and the kernel, notice nothing.
//
// Byte 0 chooses: bit 0 the revision, bit 1 hardware that is stepped, bit 2 a
// vEVENTQ, bit 3 no guest but any access of the host's to the models alone (no
// crash, and the maps that say what has an error agree), bit 4 a second queue.
// The rest are steps; what ends early is zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fuzz {

// Empty: nothing is wrong. A WARN and what a sanitizer sees end the process.
std::string RunCmdqvMmio(const uint8_t* data, size_t size);

}  // namespace fuzz
