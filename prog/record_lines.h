// SPDX-License-Identifier: GPL-2.0-or-later
//
// The lines that a recorder has written: where they go, which names are taken,
// what could not be said as it was.
//
// Mirrors no kernel file.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "prog/prog.h"
#include "prog/record.h"

namespace prog::recording {

class Lines {
 public:
  // Writes the head: comments and machine().
  explicit Lines(const RecordOptions& options);

  void Print(const Call& call);
  // For the feeder's log; each text once.
  void Remark(std::string text);
  std::vector<std::string> TakeRemarks() { return std::move(remarks_); }
  // A name that no result has: ioas, ioas2, ...; of processes p1, p2, ...
  std::string NewName(const std::string& prefix);
  // The call's result as an expectation; true: success.
  bool ExpectResult(Call* call, long ret);

 private:
  const std::function<void(std::string_view text)> sink_;
  std::map<std::string, unsigned> names_;
  std::vector<std::string> remarks_;
  std::set<std::string> remarks_seen_;
};

}  // namespace prog::recording
