// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a process of a running program has got: memory and files, apart from the
// calls that made them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prog/run.h"
#include "uapi/syscalls.h"

namespace prog {

// What one program may ask for, whatever numbers it holds.
inline constexpr uint64_t kMaxScratchBytes = 1 << 20;
inline constexpr uint64_t kMaxTransferBytes = 1 << 20;

// Memory of a thread for the structs of one call at a time.
struct Scratch {
  uint64_t addr = 0;
  uint64_t used = 0;
};

// Any thread.
class Process {
 public:
  explicit Process(syscalls* sys) : sys_(sys) {}
  // Made by a fork() of `parent`: it has what that one has mapped.
  Process(std::unique_ptr<syscalls> child, Process* parent);

  syscalls* sys() { return sys_; }
  // Of its main thread.
  Scratch* scratch() { return &scratch_; }

  // Room in `scratch` for `bytes` that hold `data` and zeros behind it. 0:
  // there is none.
  uint64_t Place(Scratch* scratch, const std::string& data, uint64_t bytes);

  void AddMapping(uint64_t addr, uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // [addr, addr + bytes) is no longer mapped.
  void Unmapped(uint64_t addr, uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of the mapping that begins there; 0: none does.
  uint64_t MappingBytes(uint64_t addr) ABSL_LOCKS_EXCLUDED(mutex_);
  void AddFile(int fd) ABSL_LOCKS_EXCLUDED(mutex_);
  void Closed(int fd) ABSL_LOCKS_EXCLUDED(mutex_);

  // As when a process ends: its memory first, then its files.
  void CleanUp() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  uint64_t NewMemory(uint64_t bytes);
  void Cut(uint64_t addr, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  syscalls* const sys_;
  const std::unique_ptr<syscalls> owned_;  // the same, when it was forked here
  Scratch scratch_;
  absl::Mutex mutex_;
  std::map<uint64_t, uint64_t> mappings_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> files_ ABSL_GUARDED_BY(mutex_);
};

// The processes of a program by the index of the fork() that made each.
class ProcessTable {
 public:
  explicit ProcessTable(syscalls* main) : main_(main) {}

  Process* main() { return &main_; }
  // nullptr: it was not made, or has ended.
  Process* Find(size_t fork);
  void Add(size_t fork, std::unique_ptr<Process> process);
  // It exits.
  void End(size_t fork);
  // All but the main one, the youngest first.
  void EndAll();

 private:
  Process main_;
  absl::Mutex mutex_;
  std::map<size_t, std::unique_ptr<Process>> forked_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prog
