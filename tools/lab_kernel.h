// SPDX-License-Identifier: GPL-2.0-or-later
//
// The kernel that programs run on: the in-process core with the mock machine
// that the program's machine(...) line describes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "prog/run.h"
#include "uapi/syscalls.h"

// Of core/sim_syscalls.h.
class sim_kernel;
class sim_syscalls;
struct sim_options;
// Of drivers/platform/platform.h.
struct machine;

namespace tools {

struct LabOptions {
  std::string revision;        // of open() without uapi=; empty: the default
  bool panic_on_warn = false;  // else WARNs are counted
};

class LabKernel {
 public:
  // nullptr and *error when the machine's options are not right.
  static std::unique_ptr<LabKernel> Create(
      const std::vector<prog::MachineOption>& machine,
      const LabOptions& options, prog::Error* error);
  ~LabKernel();

  syscalls* sys();
  sim_syscalls* sim() { return sim_.get(); }
  uint64_t warnings();

  // The process ends and the next one finds a kernel that answers like a new
  // one, for a small part of what a new one costs. False when something is left
  // or the kernel warned: then this is good for nothing more.
  [[nodiscard]] bool Renew();

 private:
  LabKernel();
  // 0 or -errno.
  int StartProcess();

  std::shared_ptr<sim_kernel> kernel_;
  std::unique_ptr<sim_syscalls> sim_;
};

// What machine(...) says, in *sim; *storage holds what that points to and is
// kept until the kernel is made; *machine is the row of its kind. False and
// *error when an option is not right.
bool ParseMachine(const std::vector<prog::MachineOption>& options,
                  struct sim_options* sim, std::shared_ptr<void>* storage,
                  const struct machine** machine, prog::Error* error);

// What a machine can be asked for: its kind ("" is the one that a program
// without a kind has), and its options with the values worth trying, a space
// between them; nullptr where there are none.
struct MachineKindInfo {
  std::string kind;
  std::vector<std::pair<std::string, const char*>> options;
};
const std::vector<MachineKindInfo>& MachineKinds();

// The keys of machine(...), and each with its help for a list.
const std::vector<std::string>& MachineKeys();
std::string MachineHelp();

}  // namespace tools
