// SPDX-License-Identifier: GPL-2.0-or-later
//
// Programs as bytes: what the fuzzer mutates and keeps while it runs. Reading
// one costs a small part of what its text costs, and it is a third as long.
// Names stand in it as words, so that a corpus outlives a change of the
// descriptions. Text is what people read: findings, and corpora on disk.
//
// What only people need is not kept: comments, expectations, places in a file.
#pragma once

#include <string>
#include <string_view>

#include "prog/prog.h"

namespace fuzz {

// Text never begins like this.
bool IsCompact(std::string_view bytes);

std::string Encode(const prog::Program& program);
// False: `bytes` are no program. They may come from anywhere.
[[nodiscard]] bool Decode(std::string_view bytes, prog::Program* program);

// Bytes or text; of a text for several forms of the surface (prog/forms.h) the
// program for the first.
[[nodiscard]] bool ParseInput(std::string_view input, prog::Program* program);

}  // namespace fuzz
