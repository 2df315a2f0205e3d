// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs a program once for each failure that can be injected into each of its
// calls (an allocation, a lookup, a copy from or to the user). The call is made
// once more then: it and all that follow must be as expected, and at the end
// nothing may be left behind.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "prog/run.h"

namespace tools {

struct SweepOutcome {
  size_t runs = 0;
  size_t failures = 0;  // that were injected
  bool good = true;
};

// `problem` gets a text for each thing that is not as it should be.
SweepOutcome SweepFailNth(
    const prog::BoundProgram& bound,
    const std::function<void(const std::string&)>& problem);

}  // namespace tools
