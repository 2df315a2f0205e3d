// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/lab_kernel.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "drivers/platform/tegra241_options.h"
#include "drivers/selftest/mock_options.h"

namespace tools {
namespace {

// Options of the process and its kernel, beside those of the mock.
struct ProcessOption {
  const char* key;
  const char* value;
  const char* help;
  const char* tries;  // values worth trying
};

constexpr ProcessOption kProcessOptions[] = {
    {"kind", "mock|tegra241",
     "the mock IOMMU, or SMMUv3s with CMDQVs and devices that do DMA (mock)",
     nullptr},
    {"memlock", "BYTES", "RLIMIT_MEMLOCK of the process (8388608)",
     "0 4096 32768 1048576"},
    {"uid", "N", "the user; locked memory is counted for each (0)", "0 1000"},
    {"privileged", "0|1", "the process has all capabilities (1)", "0 0 1"},
};

int InitMock(struct kernel* kernel, const void* options) {
  return platform_init_mock(
      kernel, static_cast<const struct mock_machine_options*>(options));
}

int InitTegra241(struct kernel* kernel, const void* options) {
  return platform_init_tegra241(
      kernel, static_cast<const struct tegra241_machine_options*>(options));
}

constexpr struct machine_ops kMockMachine = {
    .init = InitMock,
    .exit = platform_exit,
};

constexpr struct machine_ops kTegra241Machine = {
    .init = InitTegra241,
    .exit = platform_exit,
};

// "" for the first kind.
std::string KindOf(const std::vector<prog::MachineOption>& machine) {
  for (const prog::MachineOption& option : machine) {
    if (option.key == "kind") return option.value;
  }
  return "";
}

bool Number(const std::string& text, uint64_t* out) {
  char* end = nullptr;
  *out = strtoull(text.c_str(), &end, 0);
  return !text.empty() && *end == '\0';
}

// 1: taken, 0: not a key of ours, -1: not a value for it.
int SetProcessOption(const prog::MachineOption& option,
                     struct sim_options* sim) {
  uint64_t n = 0;
  const bool number = Number(option.value, &n);
  if (option.key == "kind") {
    return option.value == "mock" || option.value == "tegra241" ? 1 : -1;
  }
  if (option.key == "memlock") {
    sim->kernel.rlimit_memlock = n;
  } else if (option.key == "uid") {
    if (n > UINT32_MAX) return -1;
    sim->uid = static_cast<u32>(n);
  } else if (option.key == "privileged") {
    if (n > 1) return -1;
    sim->caps = n != 0 ? ~0ULL : 0;
  } else {
    return 0;
  }
  return number ? 1 : -1;
}

}  // namespace

const std::vector<std::string>& MachineKeys() {
  static const auto* keys = [] {
    auto* all = new std::vector<std::string>;
    for (const auto* h = mock_option_list; h->key != nullptr; h++) {
      all->emplace_back(h->key);
    }
    for (const auto* h = tegra241_option_list; h->key != nullptr; h++) {
      all->emplace_back(h->key);
    }
    for (const ProcessOption& o : kProcessOptions) all->emplace_back(o.key);
    return all;
  }();
  return *keys;
}

const std::vector<MachineKindInfo>& MachineKinds() {
  static const auto* all = [] {
    auto* kinds = new std::vector<MachineKindInfo>(2);
    for (const auto* h = mock_option_list; h->key != nullptr; h++) {
      (*kinds)[0].options.emplace_back(h->key, h->tries);
    }
    (*kinds)[1].kind = "tegra241";
    for (const auto* h = tegra241_option_list; h->key != nullptr; h++) {
      (*kinds)[1].options.emplace_back(h->key, h->tries);
    }
    for (MachineKindInfo& kind : *kinds) {
      for (const ProcessOption& o : kProcessOptions) {
        kind.options.emplace_back(o.key, o.tries);
      }
    }
    return kinds;
  }();
  return *all;
}

std::string MachineHelp() {
  std::string out;
  auto add = [&out](const char* key, const char* value, const char* help) {
    char line[256];
    snprintf(line, sizeof(line), "  %-14s %-16s %s\n", key, value, help);
    out += line;
  };
  for (const auto* h = mock_option_list; h->key != nullptr; h++) {
    add(h->key, h->value, h->help);
  }
  for (const ProcessOption& o : kProcessOptions) add(o.key, o.value, o.help);
  out += "with kind=tegra241, in place of those above it:\n";
  for (const auto* h = tegra241_option_list; h->key != nullptr; h++) {
    add(h->key, h->value, h->help);
  }
  return out;
}

bool ParseMachine(const std::vector<prog::MachineOption>& machine,
                  struct sim_options* sim, std::shared_ptr<void>* storage,
                  prog::Error* error) {
  struct Options {
    struct mock_machine_options mock;
    struct tegra241_machine_options tegra241;
  };
  auto options = std::make_shared<Options>();
  const bool is_tegra241 = KindOf(machine) == "tegra241";
  *storage = options;
  sim->machine = is_tegra241 ? &kTegra241Machine : &kMockMachine;
  sim->machine_options = is_tegra241
                             ? static_cast<const void*>(&options->tegra241)
                             : static_cast<const void*>(&options->mock);
  for (const prog::MachineOption& option : machine) {
    const int taken = SetProcessOption(option, sim);
    if (taken > 0) continue;
    const char* const key = option.key.c_str();
    const char* const value = option.value.c_str();
    if (taken < 0 ||
        (is_tegra241 ? tegra241_options_parse(key, value, &options->tegra241)
                     : mock_options_parse(key, value, &options->mock)) != 0) {
      std::string expected;
      for (const auto* h = mock_option_list; h->key != nullptr; h++) {
        if (option.key == h->key) {
          expected = std::string(h->value) + ": " + h->help;
        }
      }
      for (const auto* h = tegra241_option_list; h->key != nullptr; h++) {
        if (option.key == h->key) {
          expected = std::string(h->value) + ": " + h->help;
        }
      }
      for (const ProcessOption& o : kProcessOptions) {
        if (option.key == o.key) {
          expected = std::string(o.value) + ": " + o.help;
        }
      }
      *error = {option.pos,
                "'" + option.value + "' is no value for " + option.key,
                expected};
      return false;
    }
  }
  return true;
}

std::unique_ptr<LabKernel> LabKernel::Create(
    const std::vector<prog::MachineOption>& machine, const LabOptions& options,
    prog::Error* error) {
  std::shared_ptr<void> storage;
  struct sim_options sim;
  sim.revision = options.revision;
  sim.kernel.panic_on_warn = options.panic_on_warn;
  if (!ParseMachine(machine, &sim, &storage, error)) return nullptr;
  auto lab = std::unique_ptr<LabKernel>(new LabKernel);
  result<std::unique_ptr<sim_syscalls>> sys = sim_syscalls::create(sim);
  if (!sys) {
    const char* name = prog::ErrnoName(-sys.error());
    *error = {machine.empty() ? prog::Pos{1, 1} : machine[0].pos,
              std::string("this machine cannot be built: ") +
                  (name != nullptr ? name : "an error"),
              ""};
    return nullptr;
  }
  lab->sim_ = std::move(*sys);
  return lab;
}

LabKernel::LabKernel() = default;
LabKernel::~LabKernel() = default;

syscalls* LabKernel::sys() { return sim_.get(); }

uint64_t LabKernel::warnings() { return kernel_warn_count(sim_->kernel()); }

}  // namespace tools
