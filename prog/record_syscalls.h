// SPDX-License-Identifier: GPL-2.0-or-later
//
// A surface that records what is done on another one. What it knows of the
// processes' memory and descriptors it has seen pass by; the program's own
// stores are not told to the recorder, as nobody can see those of a real one.
//
// Mirrors no kernel file.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "prog/record.h"
#include "uapi/syscalls.h"

namespace prog {

class RecordingSyscalls : public syscalls {
 public:
  // Of what all processes of one recording share.
  class State;

  // `inner` outlives it. The options are the recorder's.
  RecordingSyscalls(syscalls* inner, RecordOptions options);
  ~RecordingSyscalls() override;

  Recorder* recorder();
  // How many calls the recorder was told of that have a line of their own:
  // all but those that make or unmap memory, fork and exit.
  size_t calls() const;

  int open(std::string_view path, std::string_view revision) override;
  int close(int fd) override;
  long ioctl(int fd, unsigned long cmd, uint64_t arg) override;
  uint64_t mmap(uint64_t addr, size_t length, int prot, int flags, int fd,
                uint64_t offset) override;
  int munmap(uint64_t addr, size_t length) override;
  long read(int fd, uint64_t buf, size_t count) override;
  long write(int fd, uint64_t buf, size_t count) override;
  int poll(int fd, short events, int timeout_ms) override;
  uint64_t anon(const memory_options& opts) override;
  int memfd(const memory_options& opts) override;
  int ftruncate(int fd, uint64_t length) override;
  int fork(std::unique_ptr<syscalls>* child) override;
  int load(uint64_t addr, void* dst, size_t n) override;
  int store(uint64_t addr, const void* src, size_t n) override;
  void set_fail_nth(unsigned n) override;
  unsigned fail_nth() override;
  std::string take_log() override;
  std::string residue() override;

 private:
  RecordingSyscalls(std::unique_ptr<syscalls> inner,
                    std::shared_ptr<State> state, RecordProcess process);
  RecordCaller Caller();

  std::unique_ptr<syscalls> owned_;  // of a forked one
  syscalls* inner_;
  std::shared_ptr<State> state_;
  RecordProcess process_;
};

}  // namespace prog
