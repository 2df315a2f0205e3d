// SPDX-License-Identifier: GPL-2.0-or-later
//
// The ioctl fuzzer. Inputs are programs, as text or as compact.h has them; the
// custom mutator changes the syntax tree and never the bytes.
//
//   ioctl_fuzz --seconds=60              fuzzes, tells how it goes, minimises
//   ioctl_fuzz FILE.prog                 runs one program under the sanitizers
//   ioctl_fuzz -help=1                   libFuzzer's own options
//
// With an option that begins with -- (or without any) this process becomes the
// driver and libFuzzer runs in children of it; otherwise it is libFuzzer.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "fuzz/compact.h"
#include "fuzz/driver.h"
#include "fuzz/generator.h"
#include "fuzz/harness.h"
#include "prog/print.h"

// Of the leak detector.
extern "C" __attribute__((weak)) int __lsan_do_recoverable_leak_check();

// What a program needs of asan is that it stops; its report comes from a second
// run, where time is no matter. The kernel fills its memory by itself.
extern "C" const char* __asan_default_options() {
  return "malloc_context_size=6:quarantine_size_mb=16:max_malloc_fill_size=0";
}

extern "C" {
int LLVMFuzzerInitialize(int* argc, char*** argv);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                               unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1,
                                 const uint8_t* data2, size_t size2,
                                 uint8_t* out, size_t max_out_size,
                                 unsigned int seed);
}

namespace {

// Shared by all that fuzz at once; nullptr in a libFuzzer of its own.
fuzz::Counters* counters;

// The last program that a mutator made, with its bytes: libFuzzer runs it next,
// and often mutates it again.
struct {
  std::string bytes;
  prog::Program program;
} last;

std::string_view View(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// nullptr: no program. `parsed` is where one is put that is not the last one.
const prog::Program* ProgramOf(std::string_view input, prog::Program* parsed) {
  if (input == last.bytes) return &last.program;
  if (!fuzz::ParseInput(input, parsed) || parsed->num_calls() == 0) {
    return nullptr;
  }
  return parsed;
}

// 0 when there is no room.
size_t Put(prog::Program program, uint8_t* out, size_t max_size) {
  std::string bytes = fuzz::Encode(program);
  if (bytes.size() > max_size) return 0;
  memcpy(out, bytes.data(), bytes.size());
  last.bytes = std::move(bytes);
  last.program = std::move(program);
  return last.bytes.size();
}

// Beside the lab's own accounts, which each program is held to.
void CheckLeaksNowAndThen() {
  constexpr unsigned kInterval = 1 << 16;
  static unsigned runs;
  if (++runs % kInterval != 0 || __lsan_do_recoverable_leak_check == nullptr) {
    return;
  }
  if (__lsan_do_recoverable_leak_check() != 0) {
    fprintf(stderr, "one of the last %u programs left memory behind\n",
            kInterval);
    abort();
  }
}

}  // namespace

int LLVMFuzzerInitialize(int* argc, char*** argv) {
  bool drive = *argc == 1;
  for (int i = 1; i < *argc; i++) {
    if (strncmp((*argv)[i], "--", 2) == 0) drive = true;
  }
  if (drive) {
    fuzz::Driver::Drive(argc, argv, &counters);
  } else {
    fuzz::PrintProgramOnDeath();
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  prog::Program parsed;
  const prog::Program* program = ProgramOf(View(data, size), &parsed);
  if (program == nullptr) return -1;
  const fuzz::Outcome outcome = fuzz::RunProgram(*program, counters);
  if (!outcome.finding.empty()) {
    fprintf(stderr, "%s\n%s", outcome.finding.c_str(),
            prog::Print(*program).c_str());
    abort();
  }
  CheckLeaksNowAndThen();
  // What does not run is not kept.
  return outcome.ran ? 0 : -1;
}

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                               unsigned int seed) {
  fuzz::Random random(seed);
  prog::Program parsed;
  const prog::Program* program = ProgramOf(View(data, size), &parsed);
  // A new one now and then: chance reaches what small steps do not.
  size_t n = program == nullptr || seed % 64 == 0
                 ? 0
                 : Put(fuzz::Mutate(*program, random), data, max_size);
  for (int tries = 0; n == 0 && tries < 4; tries++) {
    n = Put(fuzz::Generate(random), data, max_size);
  }
  return n;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1,
                                 const uint8_t* data2, size_t size2,
                                 uint8_t* out, size_t max_out_size,
                                 unsigned int seed) {
  fuzz::Random random(seed);
  prog::Program parsed_a, parsed_b;
  const prog::Program* a = ProgramOf(View(data1, size1), &parsed_a);
  const prog::Program* b = ProgramOf(View(data2, size2), &parsed_b);
  if (a == nullptr || b == nullptr) return 0;
  return Put(fuzz::Splice(*a, *b, random), out, max_out_size);
}
