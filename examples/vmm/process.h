// SPDX-License-Identifier: GPL-2.0-or-later
//
// The process that the VMM is: its system calls. A real VMM passes pointers
// here; a process of the lab has memory of its own, so arguments are copied
// into it and results out of it. That is all that this file is for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "uapi/syscalls.h"

namespace vmm {

class Process {
 public:
  explicit Process(syscalls* sys) : sys_(sys) {
    memory_options opts;
    opts.size = 2 * kPart;
    args_ = sys->anon(opts);
  }
  ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  syscalls* sys() { return sys_; }

  // 0 or -errno; what the kernel returned in *arg comes back.
  template <class T>
  long Ioctl(int fd, unsigned long cmd, T* arg) {
    static_assert(sizeof(T) <= kPart);
    Store(args_, arg, sizeof(T));
    const long rc = sys_->ioctl(fd, cmd, args_);
    Load(args_, arg, sizeof(T));
    return rc;
  }
  // Memory for what an argument points to.
  uint64_t Put(const void* data, size_t n) {
    Store(args_ + kPart, data, n);
    return args_ + kPart;
  }
  void Get(void* data, size_t n) { Load(args_ + kPart, data, n); }
  static constexpr size_t kPart = 0x4000;

  bool Load(uint64_t addr, void* dst, size_t n) {
    return sys_->load(addr, dst, n) == 0;
  }
  bool Store(uint64_t addr, const void* src, size_t n) {
    return sys_->store(addr, src, n) == 0;
  }
  // Gives back what this object took.
  void Done() { sys_->munmap(args_, 2 * kPart); }

 private:
  syscalls* const sys_;
  uint64_t args_ = 0;
};

}  // namespace vmm
