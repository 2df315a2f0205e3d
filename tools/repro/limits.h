// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a program may ask of the lab's kernel and no real one can be asked for.
#pragma once

#include <cstdint>
#include <optional>

#include "prog/run.h"

namespace repro {

// The form of the kernel that the program is for: that of its calls, or `form`
// when it has none. False and *error: it needs two kernels, or one that there
// is not (unless `force`).
[[nodiscard]] bool FormOf(const prog::BoundProgram& bound, uint8_t form,
                          bool force, uint8_t* out, prog::Error* error);

// What machine(...) says of the process: that a program can do to itself. The
// user is whoever starts it.
struct ProcessLimits {
  std::optional<uint64_t> memlock;  // bytes
  bool privileged = true;

  bool any() const { return memlock.has_value() || !privileged; }
};
ProcessLimits ProcessLimitsOf(const prog::BoundProgram& bound);

// False and *error at the first call that a real kernel cannot be asked for.
[[nodiscard]] bool CheckLimits(const prog::BoundProgram& bound,
                               prog::Error* error);

}  // namespace repro
