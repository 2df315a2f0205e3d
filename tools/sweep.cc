// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/sweep.h"

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "prog/calls.h"
#include "tools/lab_kernel.h"

namespace tools {
namespace {

// What one cause can spoil is not all worth reading.
constexpr size_t kMostProblems = 20;
// A call with more failures than this has no end.
constexpr unsigned kMostFailures = 10000;

// Calls whose allocations can be made to fail.
bool Sweepable(const prog::BoundCall& call) {
  if (const prog::BuiltinSpec* s = prog::FindBuiltin(call.call->name);
      s != nullptr && (s->makes == prog::Makes::kKernel ||
                       std::none_of(s->args.begin(), s->args.end(),
                                    [](const prog::BuiltinArg& arg) {
                                      return arg.kind ==
                                             prog::ArgKind::kFailNth;
                                    }))) {
    return false;
  }
  return std::none_of(
      call.call->args.begin(), call.call->args.end(),
      [](const prog::Field& arg) { return arg.name == "fail_nth"; });
}

}  // namespace

SweepOutcome SweepFailNth(
    const prog::BoundProgram& bound,
    const std::function<void(const std::string&)>& problem) {
  SweepOutcome outcome;
  size_t problems = 0;
  auto bad = [&](const std::string& text) {
    outcome.good = false;
    if (++problems < kMostProblems) problem(text);
    if (problems == kMostProblems) problem("and more of this kind");
  };
  for (size_t i = 0; i < bound.calls.size(); i++) {
    const prog::BoundCall& swept = bound.calls[i];
    if (!Sweepable(swept)) continue;
    for (unsigned n = 1;; n++) {
      prog::Error error;
      std::unique_ptr<LabKernel> lab =
          LabKernel::Create(bound.machine, LabOptions(), &error);
      if (lab == nullptr) {
        bad(error.message);
        return outcome;
      }
      prog::RunOptions options;
      options.fail_call = i;
      options.fail_nth = n;
      options.retry_injected = true;
      const prog::RunResult run = prog::Run(bound, lab->sys(), options);
      outcome.runs++;
      const bool injected = run.results[i].injected == 0;
      outcome.failures += injected;
      const std::string where =
          absl::StrCat("failure ", n, " of ", swept.call->name, " in line ",
                       swept.call->pos.line, ": ");
      // Where only the copy of the results to the user fails, what makes no
      // object has been done and stays done, as in the kernel: made once more
      // it says EEXIST or ENOENT.
      const bool stays =
          run.results[i].injected_error == EFAULT &&
          (swept.desc == nullptr || swept.desc->creates == desc_object::NONE);
      // A call that makes an object and gets on in spite of the failure may
      // have made another one: an attach that cannot use one automatic table
      // makes the next.
      const bool another = injected && run.results[i].injected_error == 0 &&
                           swept.desc != nullptr &&
                           swept.desc->creates != desc_object::NONE;
      // What a device reports is lost where memory is short, and that it was
      // may be seen; a read or a write that has moved something stops where it
      // fails and says how much that was.
      const bool report = injected && swept.desc != nullptr &&
                          absl::StartsWith(swept.desc->name, "TRIGGER_");
      const bool part = injected && run.results[i].injected_error == 0 &&
                        (swept.builtin == prog::Builtin::kRead ||
                         swept.builtin == prog::Builtin::kWrite);
      const size_t judged =
          stays || another || report || part ? i : bound.calls.size();
      for (size_t k = 0; k < judged; k++) {
        const prog::CallResult& result = run.results[k];
        const prog::BoundCall& call = bound.calls[k];
        if (result.expected || call.builtin == prog::Builtin::kMachine) {
          continue;
        }
        // Another thread's may have waited for the report.
        if (report && !call.call->thread.empty()) continue;
        bad(absl::StrCat(where, "then line ", call.call->pos.line, " ",
                         call.call->name, " expected ", result.why, ", got ",
                         prog::FormatResult(call, result)));
      }
      if (!run.residue.empty()) {
        bad(absl::StrCat(where, "left behind: ", run.residue));
      }
      if (lab->warnings() != 0) {
        bad(absl::StrCat(where, "the kernel warned: ", lab->sys()->take_log()));
      }
      if (!injected) break;
      if (n == kMostFailures) {
        bad(where + "there is no end of them");
        break;
      }
    }
  }
  return outcome;
}

}  // namespace tools
