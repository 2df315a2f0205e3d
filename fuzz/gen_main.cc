// SPDX-License-Identifier: GPL-2.0-or-later
//
// The generator without libFuzzer: programs from seeds, run one after the
// other in this process.
//
//   gen --programs=1000 --seed=1      program n has the seed seed + n
//   gen --print --seed=17             prints that program and does not run it
//   gen --programs=10000 --stats      and a line for each kind of call: how
//                                     many there were, and how many succeeded
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "fuzz/generator.h"
#include "fuzz/harness.h"
#include "prog/print.h"

namespace {

bool Flag(const char* arg, const char* name, uint64_t* value) {
  const size_t n = strlen(name);
  if (strncmp(arg, name, n) != 0 || arg[n] != '=') return false;
  *value = strtoull(arg + n + 1, nullptr, 0);
  return true;
}

// Of one kind of call.
struct Tally {
  uint64_t calls = 0;
  uint64_t succeeded = 0;
  std::map<int, uint64_t> ends;  // errnos, and 0
};

}  // namespace

int main(int argc, char** argv) {
  uint64_t programs = 1000;
  uint64_t seed = 1;
  uint64_t seconds = 0;
  uint64_t mutations = 0;
  bool print = false;
  bool stats = false;
  fuzz::GeneratorOptions options;
  for (int i = 1; i < argc; i++) {
    uint64_t max_calls;
    if (Flag(argv[i], "--programs", &programs) ||
        Flag(argv[i], "--seed", &seed) ||
        Flag(argv[i], "--seconds", &seconds) ||
        Flag(argv[i], "--mutations", &mutations)) {
      continue;
    }
    if (Flag(argv[i], "--calls", &max_calls)) {
      options.max_calls = max_calls;
    } else if (strcmp(argv[i], "--print") == 0) {
      print = true;
    } else if (strcmp(argv[i], "--stats") == 0) {
      stats = true;
    } else if (strcmp(argv[i], "--threads") == 0) {
      options.threads = true;
    } else if (strcmp(argv[i], "--processes") == 0) {
      options.processes = true;
    } else {
      fprintf(stderr,
              "gen: unknown option %s\n"
              "usage: gen [--programs=N] [--seed=N] [--seconds=N] "
              "[--mutations=N] [--calls=N] [--threads] [--processes] "
              "[--print] [--stats]\n",
              argv[i]);
      return 2;
    }
  }
  fuzz::PrintProgramOnDeath();
  fuzz::Counters counters;
  std::map<std::string, Tally> tallies;
  fuzz::OnCall on_call;
  if (stats) {
    on_call = [&](const prog::BoundCall& call, const prog::CallResult& result) {
      Tally& tally = tallies[call.call->name];
      tally.calls++;
      if (result.state == prog::CallResult::State::kDone && result.error == 0) {
        tally.succeeded++;
      }
      tally.ends[result.error]++;
    };
  }
  const auto began = std::chrono::steady_clock::now();
  auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         began)
        .count();
  };
  for (uint64_t n = 0; print || seconds != 0 || n < programs; n++) {
    if (seconds != 0 && elapsed() >= static_cast<double>(seconds)) break;
    fuzz::Random random(seed + n);
    prog::Program program = fuzz::Generate(random, options);
    for (uint64_t m = 0; m < mutations; m++) {
      program = fuzz::Mutate(program, random, options);
    }
    if (print) {
      fputs(prog::Print(program).c_str(), stdout);
      return 0;
    }
    const fuzz::Outcome outcome = fuzz::RunProgram(program, &counters, on_call);
    if (!outcome.finding.empty()) {
      printf("seed %" PRIu64 ": %s\n--- the program ---\n%s", seed + n,
             outcome.finding.c_str(), prog::Print(program).c_str());
      return 1;
    }
  }
  size_t ends = 0;
  for (const auto& [name, tally] : tallies) {
    printf("%-30s %8" PRIu64 " %8" PRIu64, name.c_str(), tally.calls,
           tally.succeeded);
    for (const auto& [error, calls] : tally.ends) {
      if (error == 0 || calls * 25 < tally.calls) continue;
      const char* text = prog::ErrnoName(error);
      printf("  %s %" PRIu64, text != nullptr ? text : "?", calls);
    }
    printf("\n");
    ends += tally.ends.size();
  }
  if (stats) printf("%zu kinds of calls, %zu ends\n", tallies.size(), ends);
  const double s = elapsed();
  printf("%" PRIu64 " programs, %" PRIu64 " ioctls (%" PRIu64
         " succeeded), %.0f programs/s, %.0f ioctls/s\n",
         counters.programs.load(), counters.ioctls.load(),
         counters.ioctls_ok.load(), static_cast<double>(counters.programs) / s,
         static_cast<double>(counters.ioctls) / s);
  return 0;
}
