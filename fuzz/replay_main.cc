// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs the programs that are named on the command line: the corpus, as an
// ordinary test in every config.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/harness.h"

int main(int argc, char** argv) {
  fuzz::PrintProgramOnDeath();
  int failed = 0;
  for (int i = 1; i < argc; i++) {
    std::ifstream file(argv[i], std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    if (!file) {
      std::perror(argv[i]);
      return 2;
    }
    const fuzz::Outcome outcome = fuzz::RunInput(text, nullptr);
    if (!outcome.ran) {
      std::printf("%s: is no program\n", argv[i]);
      failed++;
    } else if (!outcome.finding.empty()) {
      std::printf("%s: %s\n", argv[i], outcome.finding.c_str());
      failed++;
    }
  }
  std::printf("%d programs, %d failed\n", argc - 1, failed);
  return failed != 0;
}
