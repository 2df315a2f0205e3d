// SPDX-License-Identifier: GPL-2.0-or-later
//
// A folder of C programs that builds and runs without this tree: which of them
// differ says what a kernel lacks.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace repro {

struct SuiteProgram {
  std::string name;  // "ioas_map_errnos"
  std::string c;
};

// The sources, a Makefile, the headers that they need, and run.sh. Makes the
// folder; what it has of these names is written anew.
absl::Status WriteSuite(const std::string& folder,
                        const std::vector<SuiteProgram>& programs);

absl::Status WriteText(const std::string& file, const std::string& text);

}  // namespace repro
