// SPDX-License-Identifier: GPL-2.0-or-later
//
// Every program of examples/ and tests/prog/, each a test case: all results are
// as the program says, nothing is left behind, the kernel does not warn. Each
// also under the other forms, where results may differ and nothing else, and
// each with every allocation failed in turn.
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"
#include "tests/prog/program_files.h"
#include "tools/explain.h"
#include "tools/lab_kernel.h"
#include "tools/sweep.h"

namespace {

class ProgramTest : public testing::TestWithParam<ProgramCase> {
 protected:
  void SetUp() override {
    ASSERT_EQ(GetParam().mistake, "");
    prog::Error error;
    prog::BindOptions options;
    options.machine_keys = &tools::MachineKeys();
    const auto mistake = [&] {
      return prog::FormatError(GetParam().file, GetParam().source, error);
    };
    ASSERT_TRUE(prog::Bind(GetParam().program, options, &bound_, &error))
        << mistake();
    lab_ =
        tools::LabKernel::Create(bound_.machine, tools::LabOptions(), &error);
    ASSERT_NE(lab_, nullptr) << mistake();
  }

  prog::BoundProgram bound_;
  std::unique_ptr<tools::LabKernel> lab_;
};

TEST_P(ProgramTest, Runs) {
  const prog::RunResult run =
      prog::Run(bound_, lab_->sys(), prog::RunOptions());
  for (size_t i = 0; i < bound_.calls.size(); i++) {
    const prog::BoundCall& call = bound_.calls[i];
    if (call.builtin == prog::Builtin::kMachine) continue;
    EXPECT_TRUE(run.results[i].expected)
        << GetParam() << ':' << call.call->pos.line << ": "
        << prog::PrintCall(*call.call) << ": expected " << run.results[i].why
        << ", got " << prog::FormatResult(call, run.results[i]);
  }
  EXPECT_EQ(run.calls, run.as_expected);
  EXPECT_EQ(run.residue, "");
  EXPECT_EQ(lab_->warnings(), 0u) << lab_->sys()->take_log();
}

TEST_P(ProgramTest, UnderTheOtherForms) {
  for (const std::string& revision : prog::RevisionNames()) {
    prog::Error error;
    lab_ =
        tools::LabKernel::Create(bound_.machine, tools::LabOptions(), &error);
    ASSERT_NE(lab_, nullptr);
    prog::RunOptions options;
    options.revision = revision;
    EXPECT_EQ(prog::Run(bound_, lab_->sys(), options).residue, "");
    EXPECT_EQ(lab_->warnings(), 0u) << lab_->sys()->take_log();
  }
}

// After each call every object's counts are the sum of what holds it.
TEST_P(ProgramTest, UsersAreAccountedFor) {
  for (const prog::BoundCall& call : bound_.calls) {
    // Calls on other threads hold objects at any time.
    if (!call.thread.empty()) return;
  }
  prog::RunOptions options;
  options.on_result = [&](size_t i,
                          const std::vector<prog::CallResult>& results) {
    EXPECT_EQ(tools::CheckUsers(lab_->sim(), bound_, results, i), "")
        << "after line " << bound_.calls[i].call->pos.line;
  };
  prog::Run(bound_, lab_->sys(), options);
}

TEST_P(ProgramTest, EachAllocationFails) {
  const tools::SweepOutcome outcome = tools::SweepFailNth(
      bound_, [](const std::string& problem) { ADD_FAILURE() << problem; });
  EXPECT_TRUE(outcome.good);
}

TEST_P(ProgramTest, FormattingIsStable) {
  prog::Program program;
  prog::Program again;
  prog::Error error;
  ASSERT_TRUE(prog::Parse(GetParam().source, &program, &error));
  const std::string text = prog::Print(program);
  ASSERT_TRUE(prog::Parse(text, &again, &error))
      << prog::FormatError(GetParam().file, text, error);
  EXPECT_EQ(prog::Print(again), text);
}

INSTANTIATE_TEST_SUITE_P(Programs, ProgramTest,
                         testing::ValuesIn(ProgramCases()), CaseName);

}  // namespace
