// SPDX-License-Identifier: GPL-2.0-or-later
//
// The processes of a recording: who forks and who ends.
//
// Mirrors no kernel file.
#pragma once

#include "prog/record.h"
#include "prog/record_files.h"
#include "prog/record_lines.h"
#include "prog/record_memory.h"
#include "prog/record_mirror.h"

namespace prog::recording {

class Processes {
 public:
  Processes(Mirror* mirror, Lines* lines, RecordSource* source, Files* files,
            Memory* memory)
      : mirror_(mirror),
        lines_(lines),
        source_(source),
        files_(files),
        memory_(memory) {}

  // The mirror has the process. The first one is the main process; one that
  // nobody forked is forked from that.
  void Start(RecordProcess p);
  void Fork(RecordProcess parent, RecordProcess child);
  void Exit(RecordProcess p);

 private:
  // The main process of a program stays: it gives up what it has.
  void EndMain();

  Mirror* const mirror_;
  Lines* const lines_;
  RecordSource* const source_;
  Files* const files_;
  Memory* const memory_;
  RecordProcess main_ = 0;
};

}  // namespace prog::recording
