// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is in the memory of a recording's processes: lines that store what the
// program has not got there by itself.
//
// Mirrors no kernel file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "prog/record.h"
#include "prog/record_files.h"
#include "prog/record_lines.h"
#include "prog/record_mirror.h"

namespace prog::recording {

// What is looked at of one buffer, whatever length the program claims.
inline constexpr size_t kMaxBufferBytes = 1 << 20;

// What the mirror says about what the program has in its memory.
enum class Was : uint8_t {
  kRight,    // just this
  kWritten,  // the kernel has written there what the process has now
  kUnknown,  // anything
};

class Contents {
 public:
  Contents(Mirror* mirror, Lines* lines, RecordSource* source, Files* files)
      : mirror_(mirror), lines_(lines), source_(source), files_(files) {}

  // The process's own memory: n bytes, fewer where it ends.
  std::string Read(RecordProcess p, uint64_t addr, size_t n);
  // The program has in [addr, addr + n) what the process has there now, by
  // stores where the mirror differs. False: not all of it is there.
  bool Sync(RecordProcess p, uint64_t addr, size_t n, Was was = Was::kRight);
  // The same for shared memory, wherever it is mapped.
  bool SyncObject(RecordProcess p, RecordFile file, uint64_t offset, size_t n,
                  Was was);
  // The same for all that the program has in [begin, end).
  void SyncMapped(RecordProcess p, uint64_t begin, uint64_t end);

 private:
  // Makes the program's memory at name+where what `actual` is. `page` is what
  // it has there, from `offset` on.
  void Update(RecordProcess p, std::string* page, size_t offset,
              std::string_view actual, const std::string& name, uint64_t where,
              Was was);
  void StoreDifference(RecordProcess p, std::string* page, size_t offset,
                       std::string_view actual, const std::string& name,
                       uint64_t where);
  // What repeats itself for long is stored as that.
  void PrintStores(RecordProcess p, const std::string& name, uint64_t where,
                   std::string_view bytes);
  // `bytes` again and again, up to n bytes.
  void PrintStore(RecordProcess p, const std::string& name, uint64_t where,
                  std::string_view bytes, size_t n);

  Mirror* const mirror_;
  Lines* const lines_;
  RecordSource* const source_;
  Files* const files_;
};

}  // namespace prog::recording
