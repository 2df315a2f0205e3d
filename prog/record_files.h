// SPDX-License-Identifier: GPL-2.0-or-later
//
// The descriptors that the processes of a recording have, and the memory files
// behind some of them.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>
#include <optional>

#include "prog/prog.h"
#include "prog/record.h"
#include "prog/record_lines.h"
#include "prog/record_mirror.h"

namespace prog::recording {

class Files {
 public:
  Files(Mirror* mirror, Lines* lines, RecordSource* source)
      : mirror_(mirror), lines_(lines), source_(source) {}

  // The descriptor of `file` in p. nullopt: there is none.
  std::optional<Value> FileName(RecordProcess p, RecordFile file);
  // The same; and where the program has none, one that gives the same error.
  // A file that came another way than by fork() is used by who has it.
  Value Descriptor(Call* call, RecordProcess p, RecordFile file, long ret);
  // The program makes shared memory, which is all zero. It should do so once:
  // `twice` is the remark when it does so again.
  void Made(RecordFile file, const RecordObject& object, const char* twice);
  // Memory files that have got another size.
  void Truncate();
  // One process's last descriptor, or the last one anywhere, is closed.
  void CloseIn(RecordProcess p, RecordFile file, long ret);
  void Closed(RecordFile file);

 private:
  // A descriptor of something that the kernel under test has no part in.
  Value Foreign(RecordProcess p);
  Value Memfd(RecordProcess p, RecordFile file, const RecordObject& object);

  Mirror* const mirror_;
  Lines* const lines_;
  RecordSource* const source_;
};

}  // namespace prog::recording
