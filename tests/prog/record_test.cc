// SPDX-License-Identifier: GPL-2.0-or-later
//
// The recorder: each program of examples/ and tests/prog/ is run while it is
// recorded. What was recorded says every result, so running it proves that it
// does the same; and recording that run gives the same text once more.
#include "uapi/prog/record.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tools/lab_kernel.h"
#include "uapi/prog/parse.h"
#include "uapi/prog/print.h"
#include "uapi/prog/record_syscalls.h"
#include "uapi/prog/run.h"

namespace {

// Programs that cannot be recorded call by call, and why.
struct Exception {
  const char* program;
  const char* reason;
};
constexpr Exception kExceptions[] = {
    {"examples/threads.prog", "its results depend on races"},
};

std::vector<std::string> ProgramFiles() {
  std::vector<std::string> files;
  for (const char* folder : {"examples", "tests/prog"}) {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".prog") {
        files.push_back(entry.path().string());
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string CaseName(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param.substr(0, info.param.size() - 5);
  for (char& c : name) {
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

struct Recorded {
  std::string text;     // what the recorder wrote
  size_t calls = 0;     // that it was told of
  size_t expected = 0;  // lines of the program that went as expected
  size_t lines = 0;
  std::vector<std::string> remarks;
};

// Runs a program while it is recorded.
Recorded RunRecorded(const std::string& name, const std::string& source) {
  Recorded out;
  prog::Program program;
  prog::BoundProgram bound;
  prog::Error error;
  prog::BindOptions options;
  options.machine_keys = &tools::MachineKeys();
  EXPECT_TRUE(prog::Parse(source, &program, &error) &&
              prog::Bind(program, options, &bound, &error))
      << prog::FormatError(name, source, error) << source;
  auto lab =
      tools::LabKernel::Create(bound.machine, tools::LabOptions(), &error);
  EXPECT_NE(lab, nullptr);
  if (lab == nullptr) return out;
  prog::RecordOptions record;
  record.sink = [&out](std::string_view text) { out.text += text; };
  for (const prog::MachineOption& option : bound.machine) {
    record.machine.emplace_back(option.key, option.value);
  }
  prog::RecordingSyscalls sys(lab->sys(), record);
  prog::RunOptions run_options;
  // The cleanup is the runner's and belongs to no program.
  std::string at_end;
  size_t calls = 0;
  run_options.at_end = [&](const std::vector<prog::CallResult>&) {
    at_end = out.text;
    calls = sys.calls();
  };
  const prog::RunResult run = prog::Run(bound, &sys, run_options);
  EXPECT_EQ(run.residue, "");
  EXPECT_EQ(lab->warnings(), 0u) << lab->sys()->take_log();
  for (size_t i = 0; i < bound.calls.size(); i++) {
    const prog::BoundCall& call = bound.calls[i];
    if (call.builtin == prog::Builtin::kMachine) continue;
    EXPECT_TRUE(run.results[i].expected)
        << name << ':' << call.call->pos.line << ": "
        << prog::PrintCall(*call.call) << ": expected " << run.results[i].why
        << ", got " << prog::FormatResult(call, run.results[i]);
  }
  out.text = at_end;
  out.calls = calls;
  out.lines = run.calls;
  out.expected = run.as_expected;
  out.remarks = sys.recorder()->TakeRemarks();
  return out;
}

// Lines for calls that the recorder was told of.
size_t CountCalls(const std::string& text) {
  prog::Program program;
  prog::Error error;
  if (!prog::Parse(text, &program, &error)) return 0;
  size_t n = 0;
  for (const prog::Line& line : program.lines) {
    if (!line.has_call) continue;
    const prog::Call& call = line.call;
    bool own = call.name != "anon" && call.name != "memfd" &&
               call.name != "store" && call.name != "load" &&
               call.name != "fork" && call.name != "exit" &&
               call.name != "close" && call.name != "ftruncate" &&
               call.name != "machine";
    if (call.name == "munmap") own = !call.expect.errnos.empty();
    if (call.name == "mmap") {
      own = call.result.rfind("map", 0) == 0 || !call.expect.errnos.empty();
    }
    n += own;
  }
  return n;
}

class RecordProgramTest : public testing::TestWithParam<std::string> {};

TEST_P(RecordProgramTest, ReplaysToTheSameResults) {
  for (const Exception& e : kExceptions) {
    if (GetParam() == e.program) GTEST_SKIP() << e.reason;
  }
  std::ifstream in(GetParam(), std::ios::binary);
  const std::string source(std::istreambuf_iterator<char>(in), {});
  const Recorded first = RunRecorded(GetParam(), source);
  EXPECT_EQ(first.calls, CountCalls(first.text));
  const Recorded second = RunRecorded(GetParam() + " recorded", first.text);
  EXPECT_EQ(second.lines, second.expected) << first.text;
  EXPECT_EQ(second.text, first.text);
  EXPECT_EQ(first.remarks, std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Programs, RecordProgramTest,
                         testing::ValuesIn(ProgramFiles()), CaseName);

}  // namespace
