// SPDX-License-Identifier: GPL-2.0-or-later
//
// What may stand in an argument of a statement: from its row (prog/calls.h),
// and from what the program has.
#pragma once

#include <cstdint>
#include <string>

#include "fuzz/draft.h"
#include "prog/calls.h"
#include "prog/prog.h"

namespace fuzz {

// An address of the process, mostly of memory that is there.
prog::Value Address(Draft* draft, Maker* maker);

class Arguments {
 public:
  Arguments(Draft* draft, Maker* maker) : draft_(*draft), maker_(*maker) {}

  // A value for an argument. False: it is left out, or there is nothing that
  // fits. `force`: it is given, whatever it is.
  bool Argument(const prog::BuiltinSpec& s, const prog::BuiltinArg& arg,
                bool force, prog::Field* out);

 private:
  Random& r() { return draft_.r; }
  std::string AnyMemory(bool of_files);
  std::string AnyFile(bool to_end);
  prog::Value Bytes();
  prog::Value Image();
  uint64_t Command();

  Draft& draft_;
  Maker& maker_;
};

}  // namespace fuzz
