// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/harness.h"

#include <signal.h>
#include <unistd.h>

#include <memory>

#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"

// Sanitizers tell before they end the process.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(
    void (*callback)());

namespace fuzz {
namespace {

// What is larger than this is no program that a person wants to read.
constexpr size_t kMaxTextBytes = 64 << 10;

// Only read by this process's own last words.
std::string_view current_text;

void WriteText() {
  const std::string_view text = current_text;
  if (text.empty()) return;
  current_text = {};
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

Outcome RunParsed(const prog::Program& program, std::string_view text,
                  Counters* counters, const OnCall& on_call) {
  Outcome outcome;
  prog::BoundProgram bound;
  prog::Error error;
  prog::BindOptions bind;
  bind.machine_keys = &tools::MachineKeys();
  if (!prog::Bind(program, bind, &bound, &error)) return outcome;

  current_text = text;
  tools::LabOptions options;
  options.panic_on_warn = true;
  const auto lab = tools::LabKernel::Create(bound.machine, options, &error);
  if (lab == nullptr) {
    current_text = {};
    return outcome;
  }
  prog::RunOptions run;
  // Calls whose object was never made are made with id 0.
  run.missing_is_zero = true;
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
  return outcome;
}

}  // namespace

Outcome RunText(std::string_view text, Counters* counters,
                const OnCall& on_call) {
  prog::Program program;
  prog::Error error;
  if (text.size() > kMaxTextBytes || !prog::Parse(text, &program, &error)) {
    return {};
  }
  const Outcome outcome = RunParsed(program, text, counters, on_call);
  // The kernel's own end, its memory checks included, is part of the run.
  current_text = {};
  return outcome;
}

Outcome RunProgram(const prog::Program& program, Counters* counters,
                   const OnCall& on_call) {
  return RunText(prog::Print(program), counters, on_call);
}

std::string_view CurrentText() { return current_text; }

void PrintProgramOnDeath() {
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(WriteText);
  }
  signal(SIGABRT, OnAbort);
}

}  // namespace fuzz
