// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/harness.h"

#include <signal.h>
#include <unistd.h>

#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "fuzz/compact.h"
#include "prog/print.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"

// Sanitizers tell before they end the process.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(
    void (*callback)());

namespace fuzz {
namespace {

// What is larger than this is no program that a person wants to read.
constexpr size_t kMaxBytes = 64 << 10;

// Only read by this process's own last words.
const prog::Program* current_program;

// Of a process that ends: it cannot lose anything by what it does here.
void WriteText() {
  if (current_program == nullptr) return;
  const std::string text = prog::Print(*current_program);
  current_program = nullptr;
  static const char kHead[] = "--- the program that ran ---\n";
  static const char kTail[] = "--- its end ---\n";
  (void)!write(STDERR_FILENO, kHead, sizeof(kHead) - 1);
  (void)!write(STDERR_FILENO, text.data(), text.size());
  (void)!write(STDERR_FILENO, kTail, sizeof(kTail) - 1);
}

void OnAbort(int) {
  WriteText();
  signal(SIGABRT, SIG_DFL);
  raise(SIGABRT);
}

// Kernels whose last program has left nothing, the last used first. Making a
// kernel costs more than most programs.
class KernelPool {
 public:
  // nullptr: there is no such machine.
  std::unique_ptr<tools::LabKernel> Take(
      const std::vector<prog::MachineOption>& machine) {
    const std::string key = KeyOf(machine);
    for (auto it = kernels_.begin(); it != kernels_.end(); ++it) {
      if (it->first != key) continue;
      std::unique_ptr<tools::LabKernel> kernel = std::move(it->second);
      kernels_.erase(it);
      return kernel;
    }
    tools::LabOptions options;
    options.panic_on_warn = true;
    prog::Error error;
    return tools::LabKernel::Create(machine, options, &error);
  }

  void Give(const std::vector<prog::MachineOption>& machine,
            std::unique_ptr<tools::LabKernel> kernel) {
    if (!kernel->Renew()) return;
    kernels_.emplace_front(KeyOf(machine), std::move(kernel));
    if (kernels_.size() > kMost) kernels_.pop_back();
  }

 private:
  // Some megabytes each; a program and what is made of it have one machine.
  static constexpr size_t kMost = 48;

  static std::string KeyOf(const std::vector<prog::MachineOption>& machine) {
    return absl::StrJoin(machine, ",",
                         [](std::string* out, const prog::MachineOption& o) {
                           absl::StrAppend(out, o.key, "=", o.value);
                         });
  }

  std::list<std::pair<std::string, std::unique_ptr<tools::LabKernel>>> kernels_;
};

KernelPool& Kernels() {
  static auto* pool = new KernelPool;
  return *pool;
}

Outcome RunOnKernel(const prog::Program& program, Counters* counters,
                    const OnCall& on_call) {
  Outcome outcome;
  prog::BoundProgram bound;
  prog::Error error;
  prog::BindOptions bind;
  bind.machine_keys = &tools::MachineKeys();
  if (!prog::Bind(program, bind, &bound, &error)) return outcome;

  std::unique_ptr<tools::LabKernel> lab = Kernels().Take(bound.machine);
  if (lab == nullptr) return outcome;
  prog::RunOptions run;
  // Calls whose object was never made are made with id 0.
  run.missing_is_zero = true;
  // Mostly nothing is there that could end a poll.
  run.max_timeout_ms = 1;
  const prog::RunResult result = prog::Run(bound, lab->sys(), run);
  outcome.ran = true;
  if (!result.residue.empty()) {
    outcome.finding = "left behind after close:\n" + result.residue;
  } else if (lab->warnings() != 0) {
    outcome.finding = "the kernel warned:\n" + lab->sys()->take_log();
  }
  if (on_call) {
    for (size_t i = 0; i < bound.calls.size(); i++) {
      on_call(bound.calls[i], result.results[i]);
    }
  }
  if (counters != nullptr) {
    uint64_t ioctls = 0;
    uint64_t ok = 0;
    for (size_t i = 0; i < bound.calls.size(); i++) {
      if (bound.calls[i].builtin != prog::Builtin::kIoctl) continue;
      ioctls++;
      ok += result.results[i].state == prog::CallResult::State::kDone &&
            result.results[i].error == 0;
    }
    counters->programs.fetch_add(1, std::memory_order_relaxed);
    counters->calls.fetch_add(result.calls, std::memory_order_relaxed);
    counters->ioctls.fetch_add(ioctls, std::memory_order_relaxed);
    counters->ioctls_ok.fetch_add(ok, std::memory_order_relaxed);
  }
  // The end of its process is part of the program.
  if (outcome.finding.empty()) Kernels().Give(bound.machine, std::move(lab));
  return outcome;
}

}  // namespace

Outcome RunProgram(const prog::Program& program, Counters* counters,
                   const OnCall& on_call) {
  current_program = &program;
  const Outcome outcome = RunOnKernel(program, counters, on_call);
  // The kernel's own end, its memory checks included, is part of the run.
  current_program = nullptr;
  return outcome;
}

Outcome RunInput(std::string_view input, Counters* counters,
                 const OnCall& on_call) {
  prog::Program program;
  if (input.size() > kMaxBytes || !ParseInput(input, &program)) return {};
  return RunProgram(program, counters, on_call);
}

void PrintProgramOnDeath() {
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(WriteText);
  }
  signal(SIGABRT, OnAbort);
}

}  // namespace fuzz
