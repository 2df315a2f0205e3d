// SPDX-License-Identifier: GPL-2.0-or-later
//
// Programs at random, from the descriptions of uapi/iommufd_desc.h: which
// fields a call has, what may stand in them, which earlier call has made the
// object that one needs. Nothing here knows an ioctl by name except the short
// table of what to do first (kRecipes) and of values worth trying
// (Interesting).
//
// Everything is a function of the seed: the same seed gives the same program
// on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "prog/prog.h"

namespace fuzz {

using Random = std::mt19937_64;

struct GeneratorOptions {
  size_t max_calls = 40;
  // Also `machine(...)` lines, which shape the mock IOMMU.
  bool machines = true;
  bool fail_nth = true;
  // Puts some calls on threads t1 and t2. Such a program does not replay the
  // same way each time.
  bool threads = false;
  // Forks, and makes some calls as the children.
  bool processes = false;
};

// A new program of about `calls` calls.
prog::Program Generate(Random& random, const GeneratorOptions& options = {});

// Changes one or a few things: a value, an argument, a call, an order.
prog::Program Mutate(const prog::Program& program, Random& random,
                     const GeneratorOptions& options = {});

// A head of one and a tail of the other.
prog::Program Splice(const prog::Program& a, const prog::Program& b,
                     Random& random, const GeneratorOptions& options = {});

// True when the text's names all mean something: what Generate, Mutate and
// Splice return always does.
bool IsValid(const prog::Program& program);

}  // namespace fuzz
