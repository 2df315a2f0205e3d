// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the generator promises, and a bounded number of programs from fixed
// seeds: the fuzzer's first minute, in every config and with every compiler.
#include "fuzz/generator.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "fuzz/harness.h"
#include "uapi/iommufd_desc.h"
#include "prog/parse.h"
#include "prog/print.h"

namespace fuzz {
namespace {

TEST(Generator, ProgramsAreValidAndPrintTheWayTheyParse) {
  for (uint64_t seed = 0; seed < 300; seed++) {
    Random random(seed);
    const prog::Program program = Generate(random);
    ASSERT_TRUE(IsValid(program)) << prog::Print(program);
    const std::string text = prog::Print(program);
    prog::Program parsed;
    prog::Error error;
    ASSERT_TRUE(prog::Parse(text, &parsed, &error)) << text;
    EXPECT_EQ(prog::Print(parsed), text);
  }
}

TEST(Generator, MutationsAreValid) {
  Random random(1);
  prog::Program program = Generate(random);
  prog::Program other = Generate(random);
  for (int i = 0; i < 1000; i++) {
    program =
        i % 16 == 0 ? Splice(other, program, random) : Mutate(program, random);
    ASSERT_TRUE(IsValid(program)) << prog::Print(program);
    if (i % 50 == 0) other = Generate(random);
  }
}

TEST(Generator, TheSameSeedGivesTheSameProgram) {
  for (uint64_t seed = 0; seed < 20; seed++) {
    Random a(seed), b(seed);
    EXPECT_EQ(prog::Print(Mutate(Generate(a), a)),
              prog::Print(Mutate(Generate(b), b)));
  }
}

// Nothing that has a description is out of the generator's reach.
TEST(Generator, EveryCallIsGenerated) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 1500; seed++) {
    Random random(seed);
    for (const prog::Line& line : Generate(random).lines) {
      seen.insert(line.call.name);
    }
  }
  for (const desc_ioctl& d : iommufd_desc_all()) {
    if (d.of_device) continue;
    EXPECT_TRUE(seen.count(d.name)) << d.name;
  }
  for (const char* name :
       {"machine", "open", "close", "anon", "memfd", "mmap", "munmap", "load",
        "store", "read", "write", "poll", "ioctl"}) {
    EXPECT_TRUE(seen.count(name)) << name;
  }
}

void RunSeeds(uint64_t first, uint64_t count, const GeneratorOptions& options,
              Counters* counters) {
  for (uint64_t seed = first; seed < first + count; seed++) {
    Random random(seed);
    const prog::Program program = Generate(random, options);
    const Outcome outcome = RunProgram(program, counters);
    ASSERT_EQ(outcome.finding, "") << "seed " << seed << "\n"
                                   << prog::Print(program);
  }
}

TEST(RandomPrograms, LeaveNothingBehind) {
  PrintProgramOnDeath();
  Counters counters;
  RunSeeds(1000, 600, {}, &counters);
  EXPECT_GT(counters.programs, 500u);
  // Programs that only fail reach nothing: a third of the ioctls succeeds.
  EXPECT_GT(counters.ioctls_ok * 3, counters.ioctls);
}

TEST(RandomPrograms, OnThreadsLeaveNothingBehind) {
  PrintProgramOnDeath();
  Counters counters;
  GeneratorOptions options;
  options.threads = true;
  options.fail_nth = false;
  RunSeeds(5000, 100, options, &counters);
  EXPECT_GT(counters.programs, 80u);
}

TEST(RandomPrograms, OfSeveralProcessesLeaveNothingBehind) {
  PrintProgramOnDeath();
  Counters counters;
  GeneratorOptions options;
  options.processes = true;
  RunSeeds(7000, 300, options, &counters);
  EXPECT_GT(counters.programs, 250u);
  options.threads = true;
  options.fail_nth = false;
  RunSeeds(8000, 60, options, &counters);
}

TEST(RandomPrograms, ManyMutationsLaterTheSame) {
  PrintProgramOnDeath();
  Random random(77);
  prog::Program program = Generate(random);
  for (int i = 0; i < 300; i++) {
    program = Mutate(program, random);
    const Outcome outcome = RunProgram(program, nullptr);
    ASSERT_EQ(outcome.finding, "") << prog::Print(program);
  }
}

}  // namespace
}  // namespace fuzz
