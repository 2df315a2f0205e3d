// SPDX-License-Identifier: GPL-2.0-or-later
//
// Text to syntax tree. docs/programs.md has the grammar.
#pragma once

#include <string_view>

#include "prog/prog.h"

namespace prog {

// Bounds that keep any input cheap. Exceeding one is an error like any other.
// The recording of a program that tries every alignment is that long.
inline constexpr size_t kMaxSourceBytes = 64 << 20;
inline constexpr size_t kMaxCalls = 1000000;
inline constexpr int kMaxNesting = 16;
inline constexpr size_t kMaxItems = 65536;  // of one call, list or struct
inline constexpr size_t kMaxNameBytes = 64;

// Parses `source` into *program. False and *error filled at the first mistake.
// Any bytes are accepted as input. Only the form is looked at here: whether
// the calls and fields exist is Bind()'s business (run.h).
[[nodiscard]] bool Parse(std::string_view source, Program* program,
                         Error* error);

}  // namespace prog
