// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a kernel's objects look like to a person: as a picture, and as the
// reason of an EBUSY. Names come from the program that made the objects.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/graph.h"
#include "prog/run.h"

class sim_syscalls;  // core/sim_syscalls.h

namespace tools {

// The objects of all contexts after the call `last`.
Graph Snapshot(sim_syscalls* sys, const std::string& file,
               const prog::BoundProgram& bound,
               const std::vector<prog::CallResult>& results, size_t last);

// A context of a process that is no program: its names are its owner's.
struct NamedContext {
  sim_syscalls* sys = nullptr;
  int fd = -1;
  std::map<uint32_t, std::string> objects;   // by id
  std::map<uint64_t, std::string> mappings;  // by offset in the file
};
Graph Snapshot(const std::string& title, const std::string& subtitle,
               const std::vector<NamedContext>& contexts);

// Lines that say what holds the object that call `index` got EBUSY for. Empty
// when there is nothing to say.
std::string ExplainBusy(sim_syscalls* sys, const prog::BoundProgram& bound,
                        const std::vector<prog::CallResult>& results,
                        size_t index);

// Objects whose counts are not the sum of what is known to hold them, a line
// each; empty is right. Only while no call is being made: a call holds objects.
std::string CheckUsers(sim_syscalls* sys, const prog::BoundProgram& bound,
                       const std::vector<prog::CallResult>& results,
                       size_t last);

}  // namespace tools
