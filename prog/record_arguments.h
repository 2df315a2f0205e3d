// SPDX-License-Identifier: GPL-2.0-or-later
//
// The first half of an ioctl: the line with its arguments, and lines before it
// that give the program the memory which they name.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "prog/record.h"
#include "prog/record_contents.h"
#include "prog/record_files.h"
#include "prog/record_lines.h"
#include "prog/record_memory.h"
#include "prog/record_mirror.h"
#include "prog/record_pending.h"
#include "prog/record_spaces.h"
#include "uapi/iommufd_desc.h"

namespace prog::recording {

class Arguments {
 public:
  // `revision`: the form of files that no open() was seen of.
  Arguments(uint8_t revision, Mirror* mirror, Lines* lines,
            RecordSource* source, Files* files, Memory* memory,
            Contents* contents, Spaces* spaces)
      : revision_(revision),
        mirror_(mirror),
        lines_(lines),
        source_(source),
        files_(files),
        memory_(memory),
        contents_(contents),
        spaces_(spaces) {}

  // Fills *c, whose caller and file are set.
  void Begin(PendingCall* c, unsigned long cmd, uint64_t arg);

 private:
  // Lengths that follow from a literal: they need not be said.
  using Derived = std::map<const desc_field*, uint64_t>;

  // The command by its fields. False: they cannot say it.
  bool Describe(PendingCall* c, std::string image);
  void AddField(PendingCall* c, const desc_struct& s, const desc_field& d,
                const Derived& derived);
  // Adds the argument of a pointer field.
  bool Pointer(PendingCall* c, const desc_struct& s, const desc_field& d,
               Derived* derived);
  // The command as a number and bytes, or an address.
  void Raw(PendingCall* c, unsigned long cmd);

  const uint8_t revision_;
  Mirror* const mirror_;
  Lines* const lines_;
  RecordSource* const source_;
  Files* const files_;
  Memory* const memory_;
  Contents* const contents_;
  Spaces* const spaces_;
};

}  // namespace prog::recording
