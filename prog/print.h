// SPDX-License-Identifier: GPL-2.0-or-later
//
// Syntax tree to text. Parse() of the text gives an equal tree, and printing
// that tree gives the same text.
#pragma once

#include <string>

#include "prog/prog.h"

namespace prog {

std::string PrintValue(const Value& value);

// Without its result name, thread and expectation: `CALL(f, a=1)`.
std::string PrintCallOnly(const Call& call);

// `name = CALL(f, a=1) @t1`, without the expectation.
std::string PrintCall(const Call& call);

// "EBUSY, num_iovas=3"; empty when the call has no expectation.
std::string PrintExpect(const Expect& expect);

// A whole program. Trailing comments of neighbouring lines are aligned.
std::string Print(const Program& program);

// A number as a person would write it: small ones decimal, others hexadecimal.
std::string PrintNumber(uint64_t n);

}  // namespace prog
