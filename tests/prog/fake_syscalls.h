// SPDX-License-Identifier: GPL-2.0-or-later
//
// A surface without a kernel behind it: memory that works, and an ioctl that a
// test supplies. For tests of the runner itself.
#pragma once

#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "uapi/syscalls.h"

class FakeSyscalls : public syscalls {
 public:
  // What ioctl() does. It may use load() and store().
  std::function<long(int fd, unsigned long cmd, uint64_t arg)> on_ioctl;
  std::vector<std::string> opened;  // the revisions that open() was given

  int open(std::string_view path, std::string_view revision) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (path != "/dev/iommu") return -ENOENT;
    if (revision == "nonsense") return -EINVAL;
    opened.emplace_back(revision);
    return NewFd();
  }
  int close(int fd) override {
    std::lock_guard<std::mutex> lock(mutex_);
    return fds_.erase(fd) != 0 ? 0 : -EBADF;
  }
  long ioctl(int fd, unsigned long cmd, uint64_t arg) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (fds_.count(fd) == 0) return -EBADF;
    }
    if (Injected()) return -ENOMEM;
    return on_ioctl ? on_ioctl(fd, cmd, arg) : -ENOTTY;
  }
  uint64_t mmap(uint64_t, size_t length, int, int, int fd,
                uint64_t offset) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (fds_.count(fd) == 0) return Error(EBADF);
    if (offset == 0) return Error(ENXIO);
    return NewRegion(length);
  }
  int munmap(uint64_t addr, size_t) override {
    std::lock_guard<std::mutex> lock(mutex_);
    return regions_.erase(addr) != 0 ? 0 : -EINVAL;
  }
  long read(int, uint64_t, size_t) override { return -EAGAIN; }
  long write(int, uint64_t, size_t count) override {
    return static_cast<long>(count);
  }
  int poll(int, short events, int) override { return events; }
  uint64_t anon(const memory_options& opts) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (opts.size == 0 || opts.size > (64 << 20)) return Error(ENOMEM);
    last_memory = opts;
    return NewRegion(opts.size);
  }
  int memfd(const memory_options& opts) override {
    std::lock_guard<std::mutex> lock(mutex_);
    last_memory = opts;
    return NewFd();
  }
  int load(uint64_t addr, void* dst, size_t n) override {
    std::lock_guard<std::mutex> lock(mutex_);
    char* p = At(addr, n);
    if (p == nullptr) return -EFAULT;
    memcpy(dst, p, n);
    return 0;
  }
  int store(uint64_t addr, const void* src, size_t n) override {
    std::lock_guard<std::mutex> lock(mutex_);
    char* p = At(addr, n);
    if (p == nullptr) return -EFAULT;
    memcpy(p, src, n);
    return 0;
  }
  void set_fail_nth(unsigned int n) override { fail_nth_ = n; }
  unsigned int fail_nth() override { return fail_nth_; }
  std::string take_log() override { return {}; }
  std::string residue() override {
    std::lock_guard<std::mutex> lock(mutex_);
    std::string out;
    if (!fds_.empty()) out += "open files\n";
    if (!regions_.empty()) out += "mapped memory\n";
    return out;
  }

  memory_options last_memory;

 private:
  static uint64_t Error(int error) { return static_cast<uint64_t>(-error); }
  bool Injected() {
    if (fail_nth_ == 0) return false;
    return --fail_nth_ == 0;
  }
  int NewFd() {
    int fd = 3;
    while (fds_.count(fd) != 0) fd++;
    fds_[fd] = true;
    return fd;
  }
  uint64_t NewRegion(size_t bytes) {
    const uint64_t addr = next_;
    next_ += (bytes + 0xffff) & ~uint64_t{0xfff};
    regions_[addr] = std::string(bytes, '\0');
    return addr;
  }
  char* At(uint64_t addr, size_t n) {
    auto it = regions_.upper_bound(addr);
    if (it == regions_.begin()) return nullptr;
    --it;
    const uint64_t at = addr - it->first;
    if (at > it->second.size() || n > it->second.size() - at) return nullptr;
    return it->second.data() + at;
  }

  std::mutex mutex_;
  std::map<int, bool> fds_;
  std::map<uint64_t, std::string> regions_;
  uint64_t next_ = 0x10000000;
  static thread_local inline unsigned fail_nth_ = 0;
};
