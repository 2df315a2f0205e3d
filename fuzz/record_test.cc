// SPDX-License-Identifier: GPL-2.0-or-later
//
// Random programs, recorded (prog/record.h): each recording replays to the
// results that it says, and nothing else than what was called is in it.
#include <cstdint>
#include <memory>
#include <string>

#include "fuzz/generator.h"
#include "gtest/gtest.h"
#include "prog/calls.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/record_syscalls.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"

namespace fuzz {
namespace {

// Runs the program and records it; what differs from its expectations goes to
// *wrong. Empty: the program means nothing.
std::string Record(const std::string& source, std::string* wrong) {
  prog::Program program;
  prog::BoundProgram bound;
  prog::Error error;
  prog::BindOptions options;
  options.machine_keys = &tools::MachineKeys();
  if (!prog::Parse(source, &program, &error) ||
      !prog::Bind(program, options, &bound, &error)) {
    *wrong += prog::FormatError("recorded", source, error);
    return {};
  }
  auto lab =
      tools::LabKernel::Create(bound.machine, tools::LabOptions(), &error);
  if (lab == nullptr) return {};
  std::string text;
  prog::RecordOptions record;
  record.sink = [&text](std::string_view line) { text += line; };
  for (const prog::MachineOption& option : bound.machine) {
    record.machine.emplace_back(option.key, option.value);
  }
  prog::RecordingSyscalls sys(lab->sys(), record);
  prog::RunOptions run_options;
  std::string at_end;
  run_options.at_end = [&](const std::vector<prog::CallResult>&) {
    at_end = text;
  };
  const prog::RunResult run = prog::Run(bound, &sys, run_options);
  EXPECT_EQ(run.residue, "");
  EXPECT_EQ(lab->warnings(), 0u);
  for (size_t i = 0; i < bound.calls.size(); i++) {
    const prog::BoundCall& call = bound.calls[i];
    if (run.results[i].expected) continue;
    *wrong += "line " + std::to_string(call.call->pos.line) + ": " +
              prog::PrintCall(*call.call) + ": expected " + run.results[i].why +
              ", got " + prog::FormatResult(call, run.results[i]) + '\n';
  }
  return at_end;
}

// What was called: `ioas = IOAS_ALLOC`, a line each. Not how memory came to be
// what it was, and no arguments: garbage may be an address in one place and
// none in another. A descriptor that its process has not got is taken for one
// that it got from another process: what stands for that one, and a mapping of
// it that fails, are not there the second time.
std::string Calls(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at) + 1;
    const std::string line = text.substr(at, end - at);
    if (line.rfind("store(", 0) != 0 && line.rfind("load(", 0) != 0 &&
        line.rfind("mmap(", 0) != 0 && line.rfind("other", 0) != 0) {
      out += line.substr(0, line.find('(')) + '\n';
    }
    at = end;
  }
  return out;
}

// Which frames follow each other is not the same in a recording, whose memory
// lies elsewhere, and whether a queue fits in them depends on it. So none do.
void Fragment(prog::Program* program) {
  for (prog::Line& line : program->lines) {
    const prog::BuiltinSpec* s = prog::FindBuiltin(line.call.name);
    if (s == nullptr || s->makes != prog::Makes::kMemory) continue;
    bool shaped = false;
    for (const prog::Field& arg : line.call.args) {
      shaped |= arg.name == "huge" || arg.name == "fragmented";
    }
    if (shaped) continue;
    prog::Field* arg = &line.call.args.emplace_back();
    arg->name = "fragmented";
    arg->value = prog::Value::Name("true");
  }
}

void RunSeeds(uint64_t first, uint64_t count, const GeneratorOptions& options) {
  size_t recorded = 0;
  for (uint64_t seed = first; seed < first + count; seed++) {
    Random random(seed);
    prog::Program program = Generate(random, options);
    Fragment(&program);
    const std::string source = prog::Print(program);
    std::string ignored;
    const std::string text = Record(source, &ignored);
    if (text.empty()) continue;
    recorded++;
    std::string wrong;
    const std::string again = Record(text, &wrong);
    ASSERT_EQ(wrong, "") << "seed " << seed << ": this program\n"
                         << source << "was recorded as\n"
                         << text;
    ASSERT_EQ(Calls(again), Calls(text))
        << "seed " << seed << ": this program\n"
        << source;
  }
  EXPECT_GT(recorded, count / 2);
}

// Without fail_nth: a page that is touched first may need a page table, or find
// that a neighbour has one, and the recording's memory lies elsewhere. On the
// mock's machine: what a process stores to a device's registers is no call, so
// no recording has it.
TEST(RandomRecordings, ReplayToTheSameResults) {
  GeneratorOptions options;
  options.fail_nth = false;
  options.other_machines = false;
  RunSeeds(1, 400, options);
}

TEST(RandomRecordings, OfSeveralProcesses) {
  GeneratorOptions options;
  options.fail_nth = false;
  options.other_machines = false;
  options.processes = true;
  RunSeeds(10000, 400, options);
}

}  // namespace
}  // namespace fuzz
