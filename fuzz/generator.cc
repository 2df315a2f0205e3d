// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/generator.h"

#include "fuzz/machine.h"
#include "fuzz/mutate.h"
#include "fuzz/writer.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"

namespace fuzz {

prog::Program Generate(Random& random, const GeneratorOptions& options) {
  prog::Program p;
  Writer writer(random, options, Scope(), &p.lines);
  if (options.machines && OneIn(random, 5)) {
    // Mostly the default one in another shape: others take longer.
    const std::span<const MachineKind> kinds = Machines();
    const bool other = options.other_machines && OneIn(random, 3);
    writer.Machine(kinds[other ? Below(random, kinds.size()) : 0]);
  }
  writer.Open();
  while (OneIn(random, 2)) writer.Recipe();
  const size_t calls = 2 + Below(random, options.max_calls);
  while (p.lines.size() < calls) writer.Something();
  Repair(&p);
  return p;
}

bool IsValid(const prog::Program& program) {
  prog::Program parsed;
  prog::Error error;
  prog::BoundProgram bound;
  return prog::Parse(prog::Print(program), &parsed, &error) &&
         prog::Bind(parsed, {}, &bound, &error);
}

}  // namespace fuzz
