// SPDX-License-Identifier: GPL-2.0-or-later
//
// Programs that the harness runs one after the other on one kernel have the
// results that each has on a kernel of its own.
#include "fuzz/harness.h"

#include <memory>
#include <string>
#include <utility>

#include "fuzz/generator.h"
#include "gtest/gtest.h"
#include "prog/print.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"

namespace fuzz {
namespace {

std::unique_ptr<tools::LabKernel> NewKernel(const prog::BoundProgram& bound) {
  prog::Error error;
  auto kernel =
      tools::LabKernel::Create(bound.machine, tools::LabOptions(), &error);
  EXPECT_NE(kernel, nullptr) << error.message;
  return kernel;
}

// All results and the kernel's log, a line each.
std::string Story(const prog::BoundProgram& bound, tools::LabKernel* kernel) {
  prog::RunOptions options;
  options.missing_is_zero = true;
  const prog::RunResult run = prog::Run(bound, kernel->sys(), options);
  std::string story;
  for (size_t i = 0; i < bound.calls.size(); i++) {
    const prog::CallResult& result = run.results[i];
    story += prog::PrintCall(*bound.calls[i].call) + " " +
             prog::FormatResult(bound.calls[i], result) + " " + result.bytes +
             " " + std::to_string(result.injected) + "\n";
  }
  return story + run.residue + kernel->sys()->take_log();
}

bool HasThreads(const prog::BoundProgram& bound) {
  for (const prog::BoundCall& call : bound.calls) {
    if (!call.thread.empty()) return true;
  }
  return false;
}

TEST(Harness, ARenewedKernelAnswersLikeANewOne) {
  std::unique_ptr<tools::LabKernel> kept;
  int compared = 0;
  for (uint64_t seed = 0; seed < 2000; seed++) {
    Random random(seed);
    GeneratorOptions generate;
    generate.processes = seed % 3 == 0;
    const prog::Program program = Generate(random, generate);
    prog::BoundProgram bound;
    prog::Error error;
    prog::BindOptions bind;
    bind.machine_keys = &tools::MachineKeys();
    ASSERT_TRUE(prog::Bind(program, bind, &bound, &error)) << error.message;
    // One kernel has one machine: here the default one.
    if (!bound.machine.empty() || HasThreads(bound)) continue;
    if (kept == nullptr) kept = NewKernel(bound);
    const auto fresh = NewKernel(bound);
    ASSERT_EQ(Story(bound, kept.get()), Story(bound, fresh.get()))
        << "seed " << seed << "\n"
        << prog::Print(program);
    ASSERT_TRUE(kept->Renew()) << "seed " << seed;
    compared++;
  }
  EXPECT_GT(compared, 500);
}

TEST(Harness, WhatIsLeftOrWarnedIsNotRenewed) {
  prog::BoundProgram bound;
  const auto kernel = NewKernel(bound);
  ASSERT_TRUE(kernel->Renew());
  // A process that goes takes everything along, so nothing is ever left by it:
  // what renews must still be told apart from a model that keeps its registers.
  bound.machine = {{{}, "kind", "tegra241"}};
  EXPECT_FALSE(NewKernel(bound)->Renew());
}

}  // namespace
}  // namespace fuzz
