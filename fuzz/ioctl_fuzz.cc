// SPDX-License-Identifier: GPL-2.0-or-later
//
// The ioctl fuzzer. Inputs are programs as text, so what libFuzzer keeps in its
// corpus is what a person reads, runs and commits; the custom mutator changes
// the syntax tree and never the bytes.
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

#include "fuzz/driver.h"
#include "fuzz/generator.h"
#include "fuzz/harness.h"
#include "prog/parse.h"
#include "prog/print.h"

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

bool ParseText(const uint8_t* data, size_t size, prog::Program* program) {
  prog::Error error;
  return prog::Parse(
             std::string_view(reinterpret_cast<const char*>(data), size),
             program, &error) &&
         program->num_calls() != 0;
}

size_t PutText(const prog::Program& program, uint8_t* out, size_t max_size) {
  const std::string text = prog::Print(program);
  if (text.size() > max_size) return 0;
  memcpy(out, text.data(), text.size());
  return text.size();
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
  const fuzz::Outcome outcome = fuzz::RunText(
      std::string_view(reinterpret_cast<const char*>(data), size), counters);
  if (!outcome.finding.empty()) {
    fprintf(stderr, "%s\n", outcome.finding.c_str());
    abort();
  }
  // What does not run is not kept.
  return outcome.ran ? 0 : -1;
}

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                               unsigned int seed) {
  fuzz::Random random(seed);
  prog::Program program;
  // A new one now and then: chance reaches what small steps do not.
  if (!ParseText(data, size, &program) || seed % 64 == 0) {
    program = fuzz::Generate(random);
  } else {
    program = fuzz::Mutate(program, random);
  }
  for (int tries = 0; tries < 4; tries++) {
    const size_t n = PutText(program, data, max_size);
    if (n != 0) return n;
    program = fuzz::Generate(random);
  }
  return 0;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1,
                                 const uint8_t* data2, size_t size2,
                                 uint8_t* out, size_t max_out_size,
                                 unsigned int seed) {
  fuzz::Random random(seed);
  prog::Program a, b;
  if (!ParseText(data1, size1, &a) || !ParseText(data2, size2, &b)) return 0;
  return PutText(fuzz::Splice(a, b, random), out, max_out_size);
}
