// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the generator promises, and a bounded number of programs from fixed
// seeds: the fuzzer's first minute, in every config and with every compiler.
#include "fuzz/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "fuzz/harness.h"
#include "fuzz/machine.h"
#include "fuzz/recipes.h"
#include "prog/calls.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"
#include "uapi/iommufd_desc.h"

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

// Each call on a context is one of its form.
void ExpectForms(const prog::Program& program) {
  prog::BoundProgram bound;
  prog::Error error;
  ASSERT_TRUE(prog::Bind(program, {}, &bound, &error)) << error.message;
  for (const prog::BoundCall& call : bound.calls) {
    if (call.desc == nullptr) continue;
    EXPECT_TRUE(call.desc->revisions & call.revision)
        << prog::PrintCall(*call.call) << "\n"
        << prog::Print(program);
  }
}

TEST(Generator, AContextGetsCallsOfItsForm) {
  Random random(3);
  prog::Program other = Generate(random);
  for (uint64_t seed = 0; seed < 300; seed++) {
    const prog::Program program = Generate(random);
    ExpectForms(program);
    const prog::Program changed = Mutate(program, random);
    ExpectForms(changed);
    ExpectForms(Splice(changed, other, random));
    other = program;
  }
}

// ---- what is generated ----

// Calls that no program can make succeed, each with the reason.
constexpr struct {
  const char* name;
  const char* reason;
} kNeverSucceeds[] = {
    {"VFIO_IOMMU_DIRTY_PAGES", "iommufd does not know the command"},
};

struct Tally {
  uint64_t calls = 0;
  uint64_t succeeded = 0;
};

void Count(uint64_t first, uint64_t programs, const GeneratorOptions& options,
           std::map<std::string, Tally>* tallies) {
  for (uint64_t seed = first; seed < first + programs; seed++) {
    Random random(seed);
    const prog::Program program = Generate(random, options);
    const Outcome outcome = RunProgram(
        program, nullptr,
        [&](const prog::BoundCall& call, const prog::CallResult& result) {
          Tally* tally = &(*tallies)[call.call->name];
          tally->calls++;
          tally->succeeded += result.state == prog::CallResult::State::kDone &&
                              result.error == 0;
        });
    ASSERT_EQ(outcome.finding, "") << prog::Print(program);
  }
}

// Nothing that has a description or a row is out of the generator's reach.
TEST(Generator, EveryCallIsGeneratedAndSucceeds) {
  std::set<std::string> all;
  for (const desc_ioctl& d : iommufd_desc_all()) all.insert(d.name);
  for (const prog::BuiltinInfo& b : prog::Builtins()) all.insert(b.name);
  std::map<std::string, Tally> tallies;
  GeneratorOptions options;
  options.processes = true;
  Count(20000, 100, options, &tallies);
  options.threads = true;
  Count(30000, 100, options, &tallies);
  // A new command moves every seed: as many programs as the rarest call needs.
  constexpr uint64_t kBatch = 500;
  constexpr uint64_t kMostPrograms = 10000;
  const auto succeeded = [&](const std::string& name) {
    return std::any_of(std::begin(kNeverSucceeds), std::end(kNeverSucceeds),
                       [&](const auto& never) { return name == never.name; }) ||
           tallies[name].succeeded != 0;
  };
  for (uint64_t seed = 0; seed < kMostPrograms; seed += kBatch) {
    ASSERT_NO_FATAL_FAILURE(Count(seed, kBatch, {}, &tallies));
    if (std::all_of(all.begin(), all.end(), succeeded)) break;
  }
  for (const std::string& name : all) {
    const char* reason = nullptr;
    for (const auto& never : kNeverSucceeds) {
      if (name == never.name) reason = never.reason;
    }
    EXPECT_GT(tallies[name].calls, 0u) << name;
    if (reason != nullptr) {
      EXPECT_EQ(tallies[name].succeeded, 0u) << name << ": not so: " << reason;
    } else {
      EXPECT_GT(tallies[name].succeeded, 0u) << name;
    }
  }
}

// ---- recipes ----

// As it is written, under each form that has its calls.
TEST(Recipes, AreProgramsThatGoAsWritten) {
  EXPECT_FALSE(Recipes().empty());
  for (const Recipe& recipe : Recipes()) {
    EXPECT_NE(recipe.forms, 0) << recipe.name;
    for (const desc_revision_name& form : desc_revisions) {
      if (!(recipe.forms & form.revision) ||
          form.name != desc_revision_name_of(form.revision)) {
        continue;
      }
      SCOPED_TRACE(recipe.name + " under " + form.name);
      prog::Program program;
      prog::BoundProgram bound;
      prog::Error error;
      ASSERT_TRUE(prog::Parse(recipe.text, &program, &error)) << error.message;
      ASSERT_TRUE(prog::Bind(program, {}, &bound, &error)) << error.message;
      tools::LabOptions lab_options;
      lab_options.panic_on_warn = true;
      const auto lab =
          tools::LabKernel::Create(bound.machine, lab_options, &error);
      ASSERT_NE(lab, nullptr) << error.message;
      prog::RunOptions options;
      options.revision = form.name;
      const prog::RunResult result = prog::Run(bound, lab->sys(), options);
      EXPECT_EQ(result.residue, "");
      for (size_t i = 0; i < bound.calls.size(); i++) {
        EXPECT_TRUE(result.results[i].expected)
            << "line " << bound.calls[i].call->pos.line << ": "
            << prog::PrintCall(*bound.calls[i].call) << ": expected "
            << result.results[i].why << ", got "
            << prog::FormatResult(bound.calls[i], result.results[i]);
      }
    }
  }
}

// Every hole is a field or an argument of its call: a word that is none would
// be taken for a remark.
TEST(Recipes, HolesAreFields) {
  for (const Recipe& recipe : Recipes()) {
    for (const RecipeLine& line : recipe.lines) {
      for (const std::string& hole : line.holes) {
        bool found = line.desc != nullptr &&
                     prog::FindField(*line.desc->arg, hole) != nullptr;
        if (const auto* s = prog::FindBuiltin(line.call.name)) {
          for (const prog::BuiltinArg& arg : s->args) found |= arg.name == hole;
        }
        EXPECT_TRUE(found) << recipe.name << ": " << line.call.name << ": ?"
                           << hole;
      }
    }
  }
}

// Each machine has some: what it can do is out of reach otherwise.
TEST(Recipes, EachMachineHasSome) {
  for (const MachineKind& machine : Machines()) {
    bool found = false;
    for (const Recipe& recipe : Recipes()) found |= recipe.machine == &machine;
    EXPECT_TRUE(found) << machine.name;
  }
}

// ---- machines ----

TEST(Machines, AreBuiltWithEachValueWorthTrying) {
  for (const MachineKind& machine : Machines()) {
    for (const MachineChoice& choice : machine.choices) {
      for (const std::string& value : choice.values) {
        std::vector<prog::MachineOption> options;
        if (!machine.name.empty())
          options.push_back({{}, "kind", machine.name});
        options.push_back({{}, choice.key, value});
        prog::Error error;
        EXPECT_NE(tools::LabKernel::Create(options, {}, &error), nullptr)
            << choice.key << "=" << value << ": " << error.message;
      }
    }
  }
}

// ---- the sources ----

// The generator knows calls and fields from tables alone: no string in its
// sources is the name of one.
TEST(Sources, NameNoCallAndNoField) {
  std::set<std::string> names;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    names.insert(d.name);
    for (const desc_field& f : d.arg->fields) {
      names.insert(f.name);
      for (const desc_variant& v : f.variants) {
        for (const desc_field& g : v.pointee->fields) names.insert(g.name);
      }
    }
  }
  for (const prog::BuiltinSpec& s : prog::BuiltinSpecs()) {
    names.insert(s.name);
    for (const prog::BuiltinArg& arg : s.args) names.insert(arg.name);
  }
  // Not of a call but of all of them (fuzz/syntax.h).
  names.erase("arg");
  names.erase("fail_nth");
  for (const char* file :
       {"arguments", "draft", "generator", "machine", "mutate", "player",
        "recipes", "scope", "syntax", "values", "writer"}) {
    for (const char* end : {".cc", ".h"}) {
      const std::string path = std::string("fuzz/") + file + end;
      std::ifstream in(path);
      ASSERT_TRUE(in) << path;
      std::string line;
      while (std::getline(in, line)) {
        line = line.substr(0, line.find("//"));
        for (size_t at = 0; (at = line.find('"', at)) != line.npos;) {
          const size_t close = line.find('"', at + 1);
          if (close == line.npos) break;
          const std::string text = line.substr(at + 1, close - at - 1);
          EXPECT_FALSE(names.contains(text)) << path << ": " << line;
          at = close + 1;
        }
      }
    }
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
  // Programs that only fail reach nothing: a half of the ioctls succeed.
  EXPECT_GT(counters.ioctls_ok * 2, counters.ioctls);
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
