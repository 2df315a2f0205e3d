// SPDX-License-Identifier: GPL-2.0-or-later
//
// Tells a story of VMs on a machine of this process: SMMUs and CMDQVs that are
// models, two devices, a process for each VMM. See README.md.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "examples/vmm/stories.h"
#include "tools/explain.h"
#include "tools/graph.h"

// Last: kernel headers define common words as macros.
#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"

namespace {

constexpr char kUsage[] =
    R"(a VMM, and a guest that uses its command queues by itself

  ./lab vmm [--story=NAME] [--uapi=REV] [--mode=MODE] [--graph=FILE.svg]

  --story=NAME      run (default): a VM's life, step by step
                    reboot: the guest resets in the middle of everything
                    two-vms: two guests of the same software on one SMMU
                    error: what a guest does wrong comes back to it
                    crash: the VMM dies at every stage of a VM
                    all: these, one after another
  --uapi=REV        vcmdq-v2 (default): the series as posted; hw-queue: as merged
  --mode=MODE       eager (default): the hardware is done when a store returns;
                    free-running: it is a thread, and page 0 is memory
  --graph=FILE.svg  draws the kernel's objects at the height of the story

Each step is checked; the last line is `N steps, N as expected`. Exit status: 0
all were, 1 one was not, 2 a mistake in the arguments.
)";

int Mistake(const std::string& message) {
  std::cerr << message << "\n\n" << kUsage;
  return 2;
}

bool WriteGraph(const std::string& file, const std::string& story,
                const std::string& revision, const std::vector<vmm::Vm*>& vms) {
  std::vector<tools::NamedContext> contexts;
  for (const vmm::Vm* vm : vms) {
    tools::NamedContext context;
    // What fork() of a sim_syscalls makes.
    context.sys = static_cast<sim_syscalls*>(vm->process.get());
    context.fd = vm->vmm->iommufd();
    context.objects = vm->vmm->ObjectNames();
    context.mappings = vm->vmm->MappingNames();
    if (vms.size() > 1) {
      for (auto& [id, name] : context.objects) name = vm->name + ": " + name;
      for (auto& [at, name] : context.mappings) name = vm->name + ": " + name;
    }
    contexts.push_back(std::move(context));
  }
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << tools::DrawSvg(
      tools::Snapshot("./lab vmm --story=" + story, revision, contexts));
  out.close();
  return static_cast<bool>(out);
}

}  // namespace

int main(int argc, char** argv) {
  std::string story = "run", graph, mode = "eager";
  vmm::StoryOptions options;
  options.out = &std::cout;
  for (int i = 1; i < argc; i++) {
    const std::string_view arg = argv[i];
    auto take = [&arg](std::string_view name, std::string* value) {
      if (arg.substr(0, name.size()) != name) return false;
      *value = arg.substr(name.size());
      return true;
    };
    if (arg == "--help" || arg == "-h") {
      std::cout << kUsage;
      return 0;
    }
    if (!take("--story=", &story) && !take("--graph=", &graph) &&
        !take("--uapi=", &options.revision) && !take("--mode=", &mode)) {
      return Mistake("no such option: " + std::string(arg));
    }
  }
  std::vector<std::string> stories = {story};
  if (story == "all") stories = vmm::StoryNames();
  bool known = false;
  for (const std::string& name : vmm::StoryNames()) known |= name == stories[0];
  if (!known) return Mistake("no such story: " + story);
  if (options.revision != "vcmdq-v2" && options.revision != "hw-queue") {
    return Mistake("--uapi is vcmdq-v2 or hw-queue, not " + options.revision);
  }
  if (mode != "eager" && mode != "free-running") {
    return Mistake("--mode is eager or free-running, not " + mode);
  }
  if (!graph.empty() && stories.size() != 1) {
    return Mistake("--graph draws one story");
  }

  tegra241_machine_options machine;
  machine.mode = mode == "eager" ? TEGRA241_EAGER : TEGRA241_FREE_RUNNING;
  sim_options sim;
  sim.machine = &tegra241_machine;
  sim.machine_options = &machine;
  result<std::unique_ptr<sim_syscalls>> host = sim_syscalls::create(sim);
  if (!host) {
    std::cerr << "this machine cannot be built: errno " << -host.error()
              << "\n";
    return 1;
  }
  bool drawn = graph.empty();
  vmm::StoryResult result;
  for (const std::string& name : stories) {
    if (stories.size() > 1) std::cout << "--- " << name << "\n";
    if (!graph.empty()) {
      options.at_height = [&](const std::vector<vmm::Vm*>& vms) {
        drawn = WriteGraph(graph, name, options.revision, vms);
      };
    }
    // Each story says its own totals; of several the last line is all of them.
    vmm::StoryResult one;
    vmm::TellStory(name, (*host).get(), options, &one);
    result.steps += one.steps;
    result.as_expected += one.as_expected;
  }
  if (stories.size() > 1) {
    std::cout << "--- all\n"
              << result.steps << " steps, " << result.as_expected
              << " as expected\n";
  }
  if (const uint64_t warnings = kernel_warn_count((*host)->kernel());
      warnings != 0) {
    std::cerr << warnings << " warnings of the kernel:\n"
              << (*host)->take_log();
    return 1;
  }
  if (!drawn) {
    std::cerr << graph << ": cannot be written\n";
    return 2;
  }
  return result.steps != 0 && result.steps == result.as_expected ? 0 : 1;
}
