// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs one program on a kernel of its own and says what is wrong with the
// kernel afterwards. A WARN, a lock order problem and whatever a sanitizer sees
// end the process; the rest comes back as text.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "prog/prog.h"
#include "prog/run.h"

namespace fuzz {

// Sums over all programs of the process. In memory that a parent can share.
struct Counters {
  std::atomic<uint64_t> programs{0};
  std::atomic<uint64_t> ioctls{0};
  std::atomic<uint64_t> ioctls_ok{0};
  std::atomic<uint64_t> calls{0};
};

struct Outcome {
  // False: the input is no program, or the machine cannot be built. Not a
  // finding.
  bool ran = false;
  // Empty: nothing is wrong.
  std::string finding;
};

// Told of each call of a program that ran, in order, with its result.
using OnCall =
    std::function<void(const prog::BoundCall&, const prog::CallResult&)>;

// `counters` may be nullptr, and `on_call` empty.
Outcome RunProgram(const prog::Program& program, Counters* counters,
                   const OnCall& on_call = {});
// A program as text or as compact.h has it.
Outcome RunInput(std::string_view input, Counters* counters,
                 const OnCall& on_call = {});

// Prints the running program to stderr when a sanitizer or abort() ends the
// process.
void PrintProgramOnDeath();

}  // namespace fuzz
