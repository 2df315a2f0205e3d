// SPDX-License-Identifier: GPL-2.0-or-later
//
// A corpus in its two forms: a folder of text for people and other machines,
// and one of compact.h's bytes, which libFuzzer's jobs share while they run.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>

namespace fuzz {

// The programs of `text_dir` as bytes in `compact_dir`, under the same names.
// What is no program is left out. How many there are.
size_t ImportCorpus(const std::string& text_dir,
                    const std::string& compact_dir);

// A folder of text that is kept, and perhaps shared with other machines.
class KeptCorpus {
 public:
  KeptCorpus(std::string text_dir, std::string compact_dir)
      : text_dir_(std::move(text_dir)), compact_dir_(std::move(compact_dir)) {}

  // What is new on one side comes to the other. False: a file could not be
  // written; errno says why.
  [[nodiscard]] bool Sync();

 private:
  const std::string text_dir_, compact_dir_;
  // Names without ".prog" of what both sides have.
  std::set<std::string> known_;
};

}  // namespace fuzz
