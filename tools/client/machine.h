// SPDX-License-Identifier: GPL-2.0-or-later
//
// What --machine says, for a kernel whose programs run elsewhere.
#ifndef TOOLS_CLIENT_MACHINE_H_
#define TOOLS_CLIENT_MACHINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

struct sim_options;

namespace client {

// What --machine says: a kernel's machine, and what holds for every program in
// place of what the program itself has.
struct Machine {
  std::shared_ptr<void> storage;
  bool privileged = true;
  std::optional<uint64_t> memlock;
  std::optional<uint32_t> uid;
};

// `options` are key=value as of machine(...) in programs. False and *error when
// one is not right, or the machine cannot serve programs of the host. *machine
// is kept as long as *sim.
bool ParseMachine(
    const std::vector<std::pair<std::string, std::string>>& options,
    sim_options* sim, Machine* machine, std::string* error);

}  // namespace client

#endif  // TOOLS_CLIENT_MACHINE_H_
