// SPDX-License-Identifier: GPL-2.0-or-later
//
// A program with which something is wrong: made small, written down, told.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fuzz {

struct FindingOptions {
  std::string artifacts = "fuzz-findings";  // where it goes
  std::string rerun;                        // what to type before a program
  uint64_t minimize_seconds = 60;           // at most, for making it small
};

// The program in `input` in its smallest form, and how it ends. `said` is what
// the child that found it printed. False: alone, nothing is wrong with it.
bool ReportFinding(const std::string& input, const FindingOptions& options,
                   size_t number, const std::string& said);

// The files of a folder, sorted; empty when there is none.
std::vector<std::string> FilesOf(const std::string& dir);
// A folder with files alone.
void RemoveFolder(const std::string& dir);

// Seconds.
double Since(std::chrono::steady_clock::time_point t);

}  // namespace fuzz
