// SPDX-License-Identifier: GPL-2.0-or-later
//
// The machines that programs run on, and values for their options.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/dice.h"
#include "prog/prog.h"

namespace fuzz {

struct MachineChoice {
  std::string key;
  // Those worth trying.
  std::vector<std::string> values;
};

struct MachineKind {
  std::string name;  // "" for the one that a program without a kind has
  std::vector<MachineChoice> choices;
};

std::span<const MachineKind> Machines();
const MachineKind& DefaultMachine();
// That which a program says. The default one where it says nothing of it.
const MachineKind& MachineOf(const prog::Program& program);

// One or a few options of such a machine.
prog::Call MachineLine(const MachineKind& kind, Random& random);

}  // namespace fuzz
