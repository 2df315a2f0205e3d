// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the program has, as a mirror: for each process the memory and the
// descriptors that the lines so far have given it, and what is in that memory.
// Before a line uses some of it the mirror is brought up to date, by lines.
// This is the state alone: nothing here writes a line or asks the source.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "prog/prog.h"
#include "prog/record.h"

namespace prog::recording {

inline constexpr uint64_t kPage = 4096;
inline constexpr uint64_t kHuge = 2 << 20;
inline constexpr uint64_t kAddressEnd = uint64_t{1} << 47;

constexpr uint64_t PageDown(uint64_t n) { return n & ~(kPage - 1); }
constexpr uint64_t PageUp(uint64_t n) { return PageDown(n + kPage - 1); }

// Memory that the program has, in the process's own addresses.
struct Range {
  uint64_t length = 0;
  std::string name;     // of the call that made it
  uint64_t offset = 0;  // of its start in what that call made
  uint64_t at = 0;      // where the program has it; 0: it is not known
  RecordFile object = 0;
  uint64_t object_offset = 0;
  bool copy = false;
  bool device = false;
  bool readonly = false;
  bool huge = false;
};

// What addresses are called, though the memory may be gone by now.
struct NamedRange {
  uint64_t length = 0;
  std::string name;
  uint64_t offset = 0;
};

using Pages = std::map<uint64_t, std::string>;  // by address or offset

struct ProcessState {
  std::string name;  // empty: the main one
  bool gone = false;
  std::map<uint64_t, Range> mapped;
  std::map<uint64_t, NamedRange> names;
  std::map<RecordFile, Value> files;
  Pages pages;  // of private memory, where it is not all zero
};

// Shared memory.
struct ObjectState {
  bool declared = false;
  uint64_t size = 0;
  Pages pages;
  std::map<RecordProcess, std::string> views;  // mappings made to store to it
};

// An open file of the kernel under test.
struct FileState {
  uint8_t revision = 0;
  std::map<uint32_t, Value> ids;  // of a context or an access
};

class Mirror {
 public:
  // `place` is RecordOptions'.
  explicit Mirror(uint64_t place) : place_(place) {}

  std::map<RecordProcess, ProcessState> processes;
  std::map<RecordFile, ObjectState> objects;
  std::map<RecordFile, FileState> files;

  // One that is there: see Processes.
  ProcessState* Process(RecordProcess p) { return &processes[p]; }
  bool Lives(RecordProcess p) const;
  // A call of p's, without arguments.
  Call NewCall(std::string_view name, RecordProcess p);

  // Some process that lives has the memory in the program.
  bool IsMapped(RecordFile object) const;
  // An address of the process as the program says it.
  Value Address(RecordProcess p, uint64_t addr);
  // Where [start, start + length) goes in the program; 0: something is there.
  uint64_t PlaceFor(RecordProcess p, uint64_t start, uint64_t length);
  // nullptr: the program has nothing there. *start is where the range starts.
  const Range* RangeAt(RecordProcess p, uint64_t addr, uint64_t* start);
  // The page at addr, to be compared and written; empty: all zero.
  std::string* PageOf(RecordProcess p, const Range& r, uint64_t start,
                      uint64_t addr);

  void AddRange(RecordProcess p, uint64_t start, Range r);
  // The program has no more in [begin, end); the addresses keep their names.
  void Forget(ProcessState* state, uint64_t begin, uint64_t end);

 private:
  uint64_t Placed(uint64_t addr) const;

  const uint64_t place_;
};

}  // namespace prog::recording
