// SPDX-License-Identifier: GPL-2.0-or-later
//
// The libFuzzer target of cmdqv_mmio.h. `./lab fuzz cmdqv_mmio [--seconds=N]`
// runs it, with a FILE it runs that one.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "fuzz/cmdqv_mmio.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string finding = fuzz::RunCmdqvMmio(data, size);
  if (!finding.empty()) {
    fprintf(stderr, "cmdqv_mmio: %s\n", finding.c_str());
    abort();
  }
  return 0;
}
