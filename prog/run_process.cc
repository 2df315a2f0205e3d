// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run_process.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace prog {
namespace {

constexpr uint64_t kScratchBytes = 64 << 10;
constexpr uint64_t kPage = 4096;

uint64_t WholePages(uint64_t bytes) {
  return (bytes + kPage - 1) & ~(kPage - 1);
}

}  // namespace

Process::Process(std::unique_ptr<syscalls> child, Process* parent)
    : sys_(child.get()), owned_(std::move(child)) {
  const absl::MutexLock lock(&parent->mutex_);
  mappings_ = parent->mappings_;
}

uint64_t Process::Place(Scratch* scratch, const std::string& data,
                        uint64_t bytes) {
  bytes = std::max<uint64_t>(bytes, data.size());
  bytes = std::min(bytes, kMaxScratchBytes);
  const uint64_t room = (bytes + 15) & ~uint64_t{7};
  uint64_t addr;
  if (scratch->addr == 0) {
    scratch->addr = NewMemory(kScratchBytes);
    if (scratch->addr == 0) return 0;
  }
  if (scratch->used + room <= kScratchBytes) {
    addr = scratch->addr + scratch->used;
    scratch->used += room;
  } else {
    addr = NewMemory(WholePages(room));
    if (addr == 0) return 0;
  }
  std::string image = data;
  image.resize(room);
  return sys_->store(addr, image.data(), image.size()) == 0 ? addr : 0;
}

uint64_t Process::NewMemory(uint64_t bytes) {
  memory_options opts;
  opts.size = bytes;
  const uint64_t addr = sys_->anon(opts);
  if (is_error(addr)) return 0;
  AddMapping(addr, bytes);
  return addr;
}

void Process::AddMapping(uint64_t addr, uint64_t bytes) {
  const absl::MutexLock lock(&mutex_);
  Cut(addr, WholePages(bytes));
  mappings_[addr] = WholePages(bytes);
}

void Process::Unmapped(uint64_t addr, uint64_t bytes) {
  const absl::MutexLock lock(&mutex_);
  Cut(addr, WholePages(bytes));
}

void Process::Cut(uint64_t addr, uint64_t bytes) {
  const uint64_t end = addr + bytes;
  auto it = mappings_.upper_bound(addr);
  if (it != mappings_.begin()) --it;
  while (it != mappings_.end() && it->first < end) {
    const uint64_t old = it->first;
    const uint64_t old_end = old + it->second;
    if (old_end <= addr) {
      ++it;
      continue;
    }
    it = mappings_.erase(it);
    if (old < addr) mappings_[old] = addr - old;
    if (old_end > end) mappings_[end] = old_end - end;
  }
}

uint64_t Process::MappingBytes(uint64_t addr) {
  const absl::MutexLock lock(&mutex_);
  const auto it = mappings_.find(addr);
  return it != mappings_.end() ? it->second : 0;
}

void Process::AddFile(int fd) {
  const absl::MutexLock lock(&mutex_);
  files_.push_back(fd);
}

void Process::Closed(int fd) {
  const absl::MutexLock lock(&mutex_);
  const auto it = std::find(files_.begin(), files_.end(), fd);
  if (it != files_.end()) files_.erase(it);
}

void Process::CleanUp() {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [addr, bytes] : mappings_) sys_->munmap(addr, bytes);
  for (const int fd : files_) sys_->close(fd);
}

Process* ProcessTable::Find(size_t fork) {
  if (fork == kMainProcess) return &main_;
  const absl::MutexLock lock(&mutex_);
  const auto it = forked_.find(fork);
  return it != forked_.end() ? it->second.get() : nullptr;
}

void ProcessTable::Add(size_t fork, std::unique_ptr<Process> process) {
  const absl::MutexLock lock(&mutex_);
  forked_[fork] = std::move(process);
}

void ProcessTable::End(size_t fork) {
  std::unique_ptr<Process> ended;
  const absl::MutexLock lock(&mutex_);
  const auto it = forked_.find(fork);
  if (it == forked_.end()) return;
  ended = std::move(it->second);
  forked_.erase(it);
}

void ProcessTable::EndAll() {
  const absl::MutexLock lock(&mutex_);
  while (!forked_.empty()) forked_.erase(std::prev(forked_.end()));
}

}  // namespace prog
