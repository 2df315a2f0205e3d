// SPDX-License-Identifier: GPL-2.0-or-later
//
// The second half of an ioctl: what it returned, made and wrote, as the line's
// expectation and lines after it.
//
// Mirrors no kernel file.
#pragma once

#include <span>
#include <string>

#include "prog/record.h"
#include "prog/record_contents.h"
#include "prog/record_files.h"
#include "prog/record_lines.h"
#include "prog/record_mirror.h"
#include "prog/record_pending.h"
#include "prog/record_spaces.h"

namespace prog::recording {

class Results {
 public:
  Results(Mirror* mirror, Lines* lines, Files* files, Contents* contents,
          Spaces* spaces)
      : mirror_(mirror),
        lines_(lines),
        files_(files),
        contents_(contents),
        spaces_(spaces) {}

  // `files` as in Recorder::EndIoctl().
  void End(PendingCall* c, long ret, std::span<const RecordFile> files);

 private:
  // What a successful call made gets names.
  void NameResults(PendingCall* c, const std::string& after,
                   std::span<const RecordFile> files);
  void ExpectFields(PendingCall* c, const std::string& after, bool success);
  // What came back in data that the line holds.
  void ExpectBuffer(PendingCall* c, const PendingCall::Buffer& buffer,
                    const std::string& after_image, bool success);
  // The same for data in memory of the process: a line that loads it; or, where
  // the program may have got something else, lines that store it.
  void CompareBuffer(const PendingCall& c, const PendingCall::Buffer& buffer,
                     bool success);

  Mirror* const mirror_;
  Lines* const lines_;
  Files* const files_;
  Contents* const contents_;
  Spaces* const spaces_;
};

}  // namespace prog::recording
