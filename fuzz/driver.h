// SPDX-License-Identifier: GPL-2.0-or-later
//
// What `./lab fuzz` runs: libFuzzer in some children, how it goes in lines of
// progress, and each finding made small.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fuzz/corpus.h"
#include "fuzz/finding.h"
#include "fuzz/harness.h"

namespace fuzz {

class Driver {
 public:
  // Does what the arguments say and ends the process. Returns only in a child:
  // its argv is then libFuzzer's, and *counters are shared with the others.
  static void Drive(int* argc, char*** argv, Counters** counters);

 private:
  struct Child {
    int pid = -1;
    int fd = -1;
    bool done = false;
    int status = 0;
    std::string pending;  // an unfinished line
    std::string tail;     // what it printed last
    uint64_t cov = 0;
    uint64_t features = 0;
    uint64_t corpus = 0;

    void OnOutput(const char* data, size_t size);
    void OnLine(const std::string& line);
  };

  explicit Driver(const char* self) : self_(self) {}

  void ParseArguments(int argc, char** argv);
  void MakeFolders();
  // Text in the kept folder, bytes in that of the jobs. Ends the process when
  // the kept one cannot be written.
  void SyncCorpus();
  // True in a child.
  bool Start(int* argc, char*** argv);
  void BecomeFuzzer(size_t job, int* argc, char*** argv);
  void Watch();
  void Read(Child* c);
  void PrintProgress();
  // Of all children.
  Child Best() const;
  // The number that the process ends with.
  int Finish();

  const char* self_;
  uint64_t seconds_ = 60;
  uint64_t jobs_ = 0;  // 0: one for each CPU, at most 8
  uint64_t seed_ = 1;
  uint64_t interval_ = 5;           // seconds between lines of progress
  std::string kept_;                // where new inputs are kept; empty: nowhere
  std::string shrink_;              // a program to make small, and nothing else
  std::vector<std::string> seeds_;  // folders with programs to begin with
  FindingOptions finding_;

  Counters* counters_ = nullptr;
  std::string scratch_, found_, corpus_, imported_;
  std::optional<KeptCorpus> kept_corpus_;  // empty: nothing is kept
  std::vector<Child> children_;
  std::chrono::steady_clock::time_point began_;
  bool stopping_ = false;
};

}  // namespace fuzz
