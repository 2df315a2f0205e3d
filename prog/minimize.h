// SPDX-License-Identifier: GPL-2.0-or-later
//
// Makes a program small while it keeps a property: delta debugging over calls,
// then over arguments, then over values.
#pragma once

#include <cstddef>
#include <functional>

#include "prog/prog.h"

namespace prog {

struct MinimizeOptions {
  size_t max_tests = 10000;  // how often the property may be asked for
};

// The smallest program found for which `keeps` is true. `keeps(program)` must
// be true at the start. Comments are dropped. A call whose result another call
// uses goes only together with its users. Deterministic when `keeps` is.
Program Minimize(const Program& program,
                 const std::function<bool(const Program&)>& keeps,
                 const MinimizeOptions& options = {});

}  // namespace prog
