// SPDX-License-Identifier: GPL-2.0-or-later
//
// The memory that the processes of a recording have: lines that make and unmap
// it, so that the program has what the process has.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>

#include "prog/record.h"
#include "prog/record_files.h"
#include "prog/record_lines.h"
#include "prog/record_mirror.h"

namespace prog::recording {

class Memory {
 public:
  Memory(Mirror* mirror, Lines* lines, RecordSource* source, Files* files)
      : mirror_(mirror), lines_(lines), source_(source), files_(files) {}

  // Brings the mirror up to date where [addr, addr + length) is about to be
  // used. A length that nobody means counts up to the first hole.
  void Reconcile(RecordProcess p, uint64_t addr, uint64_t length);
  // Brings it up to date where the program has memory that p has no more.
  void Refresh(RecordProcess p);
  // The part [begin, end) of a mapping: the program gets what it has not.
  void Declare(RecordProcess p, const RecordRegion& region, uint64_t begin,
               uint64_t end);
  // The program has no more in [begin, end).
  void Unmap(RecordProcess p, uint64_t begin, uint64_t end);
  // All of [addr, addr + n) can be read, or written too.
  bool Accessible(RecordProcess p, uint64_t addr, uint64_t n, bool write);

 private:
  void DeclareNew(RecordProcess p, const RecordRegion& region, uint64_t from,
                  uint64_t to);

  Mirror* const mirror_;
  Lines* const lines_;
  RecordSource* const source_;
  Files* const files_;
};

}  // namespace prog::recording
