// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/machine.h"

#include "core/sim_kernel.h"
#include "drivers/platform/machine_options.h"
#include "drivers/platform/platform.h"
#include "tools/lab_kernel.h"

namespace client {

bool ParseMachine(
    const std::vector<std::pair<std::string, std::string>>& options,
    sim_options* sim, Machine* machine, std::string* error) {
  std::vector<prog::MachineOption> given;

  for (const auto& [key, value] : options) {
    given.push_back({.pos = {1, 1}, .key = key, .value = value});
  }
  const struct machine* row = nullptr;
  prog::Error mistake;
  if (!tools::ParseMachine(given, sim, &machine->storage, &row, &mistake)) {
    *error = mistake.message + " (" + mistake.expected + ")";
    return false;
  }
  if (row->not_for_clients != nullptr) {
    *error = std::string("the machine ") + row->desc->name +
             " cannot serve a program of the host: " + row->not_for_clients;
    return false;
  }
  machine->privileged = sim->caps != 0;
  for (const auto& [key, value] : options) {
    if (key == "memlock") machine->memlock = sim->kernel.rlimit_memlock;
    if (key == "uid") machine->uid = sim->uid;
  }
  return true;
}

}  // namespace client
