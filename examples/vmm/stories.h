// SPDX-License-Identifier: GPL-2.0-or-later
//
// What happens to VMs, as stories: each step is printed and checked.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "examples/vmm/guest.h"
#include "examples/vmm/vcpu.h"
#include "examples/vmm/vmm.h"
#include "uapi/syscalls.h"

namespace vmm {

// A VM: a process of its own that is the VMM, and the guest in it.
struct Vm {
  std::string name;
  std::unique_ptr<syscalls> process;
  std::unique_ptr<Vcpu> cpu;
  std::unique_ptr<Vmm> vmm;
  std::unique_ptr<Guest> guest;
};

struct StoryOptions {
  std::string revision = "vcmdq-v2";
  std::ostream* out = nullptr;
  // Called once, with what there is at the height of the story.
  std::function<void(const std::vector<Vm*>&)> at_height;
};

struct StoryResult {
  int steps = 0;
  int as_expected = 0;
};

// In the order in which one reads them: run, reboot, two-vms, error, crash.
const std::vector<std::string>& StoryNames();

// `host` is a process that does nothing but start VMMs (fork) on a machine with
// a CMDQV, two or more devices, two or more LVCMDQs a VINTF; only VMs of the
// story are on it. False: no such story.
bool TellStory(const std::string& name, syscalls* host,
               const StoryOptions& options, StoryResult* result);

}  // namespace vmm
