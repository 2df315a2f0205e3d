// SPDX-License-Identifier: GPL-2.0-or-later
//
// Programs at random, from three tables: the descriptions of
// uapi/iommufd_desc.h (which fields a call has, what may stand in them, which
// earlier call has made the object that one needs), the rows of statements
// (prog/calls.h), and recipes (fuzz/recipes/*.prog), which show how to get
// somewhere. Nothing here knows a call or a field by its name.
//
// Everything is a function of the seed: the same seed gives the same program
// on every machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fuzz/dice.h"
#include "prog/prog.h"

namespace fuzz {

struct GeneratorOptions {
  size_t max_calls = 40;
  // Also `machine(...)` lines: the default machine in other shapes, and other
  // machines.
  bool machines = true;
  bool other_machines = true;
  bool fail_nth = true;
  // Puts some calls on threads t1 and t2. Such a program does not replay the
  // same way each time.
  bool threads = false;
  // Forks, and makes some calls as the children.
  bool processes = false;
};

// A new program.
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
