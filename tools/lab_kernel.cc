// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/lab_kernel.h"

#include <cstdint>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/sim_syscalls.h"
#include "drivers/platform/machine_options.h"
#include "drivers/platform/platform.h"

namespace tools {
namespace {

constexpr char kKind[] = "kind";

// Options of the process and its kernel, beside those of its machine: what
// machine_option::set() gets is a struct sim_options.
int SetMemlock(void* options, const struct machine_value* v) {
  static_cast<struct sim_options*>(options)->kernel.rlimit_memlock = v->number;
  return 0;
}

int SetPrivileged(void* options, const struct machine_value* v) {
  static_cast<struct sim_options*>(options)->caps = v->number != 0 ? ~0ULL : 0;
  return 0;
}

constexpr struct machine_option kProcessOptions[] = {
    {.name = "memlock",
     .type = MACHINE_NUMBER,
     .max = UINT64_MAX,
     .value = "BYTES",
     .initial = "8388608",
     .help = "RLIMIT_MEMLOCK of the process",
     .tries = "0 4096 32768 1048576",
     .set = SetMemlock},
    {.name = "uid",
     .type = MACHINE_NUMBER,
     .max = UINT32_MAX,
     .value = "N",
     .initial = "0",
     .help = "the user; locked memory is counted for each",
     .tries = "0 1000",
     .set = machine_set_member<&sim_options::uid>},
    {.name = "privileged",
     .type = MACHINE_FLAG,
     .initial = "1",
     .help = "the process has all capabilities",
     .tries = "0 0 1",
     .set = SetPrivileged},
    {},
};

// The row of kind=, made from those of the machines.
const struct machine_option& KindOption() {
  struct Row {
    std::vector<const char*> names;
    std::string help;
    struct machine_option option;
  };
  static const Row* row = [] {
    auto* made = new Row;
    for (const struct machine* m = machines; m->desc != nullptr; m++) {
      made->names.push_back(m->desc->name);
      absl::StrAppend(&made->help, made->help.empty() ? "" : ", or ",
                      m->desc->help);
    }
    made->names.push_back(nullptr);
    made->option = {.name = kKind,
                    .type = MACHINE_NAME,
                    .names = made->names.data(),
                    .initial = made->names[0],
                    .help = made->help.c_str()};
    return made;
  }();
  return row->option;
}

void ForEachOption(const struct machine_option* list,
                   absl::FunctionRef<void(const struct machine_option&)> f) {
  for (; list->name != nullptr; list++) f(*list);
}

// What a machine of any kind has: of which, and of the process.
void ForEachCommonOption(
    absl::FunctionRef<void(const struct machine_option&)> f) {
  f(KindOption());
  ForEachOption(kProcessOptions, f);
}

std::string ValueOf(const struct machine_option& option) {
  char value[128];
  machine_option_value(&option, value, sizeof(value));
  return value;
}

std::string HelpOf(const struct machine_option& option) {
  return option.initial == nullptr
             ? option.help
             : absl::StrCat(option.help, " (", option.initial, ")");
}

std::vector<std::string> KeysOf(const struct machine& machine) {
  std::vector<std::string> keys;
  const auto add = [&keys](const struct machine_option& option) {
    keys.emplace_back(option.name);
  };
  ForEachOption(machine.desc->options, add);
  ForEachCommonOption(add);
  return keys;
}

}  // namespace

const std::vector<std::string>& MachineKeys() {
  static const auto* keys = [] {
    auto* all = new std::vector<std::string>;
    const auto add = [all](const struct machine_option& option) {
      if (!absl::c_linear_search(*all, option.name)) {
        all->emplace_back(option.name);
      }
    };
    for (const struct machine* m = machines; m->desc != nullptr; m++) {
      ForEachOption(m->desc->options, add);
    }
    ForEachCommonOption(add);
    return all;
  }();
  return *keys;
}

const std::vector<MachineKindInfo>& MachineKinds() {
  static const auto* all = [] {
    auto* kinds = new std::vector<MachineKindInfo>;
    for (const struct machine* m = machines; m->desc != nullptr; m++) {
      MachineKindInfo& kind = kinds->emplace_back();
      if (m != machines) kind.kind = m->desc->name;
      const auto add = [&kind](const struct machine_option& option) {
        kind.options.emplace_back(option.name, option.tries);
      };
      ForEachOption(m->desc->options, add);
      ForEachCommonOption(add);
    }
    return kinds;
  }();
  return *all;
}

std::string MachineHelp() {
  std::string out;
  const auto add = [&out](const struct machine_option& option) {
    absl::StrAppendFormat(&out, "  %-14s %-16s %s\n", option.name,
                          ValueOf(option), HelpOf(option));
  };
  for (const struct machine* m = machines; m->desc != nullptr; m++) {
    if (m != machines) {
      absl::StrAppend(&out, "with ", kKind, "=", m->desc->name,
                      ", in place of those above it:\n");
    }
    ForEachOption(m->desc->options, add);
    if (m == machines) ForEachCommonOption(add);
  }
  return out;
}

bool ParseMachine(const std::vector<prog::MachineOption>& options,
                  struct sim_options* sim, std::shared_ptr<void>* storage,
                  const struct machine** machine, prog::Error* error) {
  const auto fail = [error](const prog::MachineOption& given,
                            const struct machine_option& option) {
    *error = {given.pos,
              absl::StrCat("'", given.value, "' is no value for ", given.key),
              absl::StrCat(ValueOf(option), ": ", HelpOf(option))};
    return false;
  };
  // The first kind= says which options the others may be.
  *machine = machines;
  bool named = false;
  for (const prog::MachineOption& given : options) {
    if (given.key != kKind) continue;
    const struct machine* m = machines;
    while (m->desc != nullptr && given.value != m->desc->name) m++;
    if (m->desc == nullptr) return fail(given, KindOption());
    if (!named) *machine = m;
    named = true;
  }
  const struct machine_desc& desc = *(*machine)->desc;
  *storage = std::shared_ptr<void>(desc.alloc(), desc.free);
  sim->machine = (*machine)->ops;
  sim->machine_options = storage->get();
  for (const prog::MachineOption& given : options) {
    if (given.key == kKind) continue;
    const char* const key = given.key.c_str();
    void* target = sim;
    const struct machine_option* option =
        machine_option_find(kProcessOptions, key);
    if (option == nullptr) {
      target = storage->get();
      option = machine_option_find(desc.options, key);
    }
    if (option == nullptr) {
      *error = {given.pos,
                absl::StrCat("'", given.key, "=", given.value,
                             "' is no option of the machine ", desc.name),
                absl::StrJoin(KeysOf(**machine), ", ")};
      return false;
    }
    if (machine_option_set(option, given.value.c_str(), target) != 0) {
      return fail(given, *option);
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
  const struct machine* row = nullptr;
  if (!ParseMachine(machine, &sim, &storage, &row, error)) return nullptr;
  auto lab = std::unique_ptr<LabKernel>(new LabKernel);
  result<std::shared_ptr<sim_kernel>> kernel = sim_kernel::create(sim);
  if (kernel) lab->kernel_ = std::move(*kernel);
  const int rc = kernel ? lab->StartProcess() : kernel.error();
  if (rc != 0) {
    const char* name = prog::ErrnoName(-rc);
    *error = {machine.empty() ? prog::Pos{1, 1} : machine[0].pos,
              std::string("this machine cannot be built: ") +
                  (name != nullptr ? name : "an error"),
              ""};
    return nullptr;
  }
  return lab;
}

int LabKernel::StartProcess() {
  result<std::unique_ptr<sim_syscalls>> process = sim_syscalls::create(kernel_);
  if (!process) return process.error();
  sim_ = std::move(*process);
  return 0;
}

bool LabKernel::Renew() {
  sim_.reset();
  return kernel_->renew() && StartProcess() == 0;
}

LabKernel::LabKernel() = default;
LabKernel::~LabKernel() = default;

syscalls* LabKernel::sys() { return sim_.get(); }

uint64_t LabKernel::warnings() { return kernel_warn_count(sim_->kernel()); }

}  // namespace tools
