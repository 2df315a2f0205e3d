// SPDX-License-Identifier: GPL-2.0-or-later
//
// The programs whose system calls the lab kernel serves, as the host knows
// them: their memory, and the memory files that they share.
#ifndef TOOLS_CLIENT_PROGRAM_H_
#define TOOLS_CLIENT_PROGRAM_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/mm/remote.h"
#include "tools/client/protocol.h"

namespace client {

// Closes what it holds.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// True when `pid` is this process or descends from it. Exact as long as this
// process is a subreaper.
bool IsDescendant(pid_t pid);
// One line of /proc/PID/maps.
struct Mapping {
  uint64_t start = 0;
  uint64_t end = 0;
  bool readable = false;
  bool writable = false;
  bool shared = false;
  uint64_t offset = 0;
  dev_t dev = 0;
  ino_t ino = 0;
};

// All processes for which that is so, but this one.
std::vector<pid_t> Descendants();

// The memory files that programs map shared, by what the host calls them.
class MemoryFiles {
 public:
  explicit MemoryFiles(struct kernel* kernel) : kernel_(kernel) {}

  // The object of the file; made when it is new. nullptr: no memory file, or
  // no memory.
  std::shared_ptr<remote_object> Register(UniqueFd fd);
  // nullptr: not registered.
  std::shared_ptr<remote_object> Find(dev_t dev, ino_t ino);
  // Gives up what nobody uses any more, when there is much.
  void CollectGarbage();

 private:
  using Key = std::pair<dev_t, ino_t>;
  struct Entry {
    std::shared_ptr<remote_object> object;
    uint64_t bytes = 0;
    uint64_t registered = 0;  // when, by registrations_
  };

  struct kernel* const kernel_;
  absl::Mutex mu_;
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mu_);
  uint64_t registrations_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t collect_at_ ABSL_GUARDED_BY(mu_) = kCollectBytes;
  // What may stay behind before anybody looks.
  static constexpr uint64_t kCollectBytes = 64ull << 20;
};

// The memory of one process image.
class ProgramMemory final : public remote_process {
 public:
  // `files` and `epoch` outlive it. What the process has mapped is asked for
  // once in each epoch: one begins with each call of any program.
  ProgramMemory(pid_t pid, UniqueFd pidfd, MemoryFiles* files,
                const std::atomic<uint64_t>* epoch);
  ~ProgramMemory() override;

  int copy(void* ours, u64 theirs, size_t n, bool write) override;
  bool lookup(u64 addr, remote_vma* vma) override;
  bool present(u64 addr) override;
  // The mapping that holds addr, else the next one above. False: none.
  bool FindMapping(uint64_t addr, Mapping* mapping);

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  // The page with struct lab_shared, for the program. -1: there is none.
  int shared_fd() const { return shared_fd_.get(); }
  // It has exited or become another image: nothing is there any more.
  void Retire() { retired_.store(true, std::memory_order_release); }
  // A thread of it, for when the first one has ended before the others.
  void SetThread(pid_t tid) { tid_.store(tid, std::memory_order_relaxed); }

 private:
  const pid_t pid_;
  const UniqueFd pidfd_;
  const UniqueFd pagemap_;
  UniqueFd shared_fd_;
  struct SharedPage;
  SharedPage* shared_ = nullptr;
  MemoryFiles* const files_;
  const std::atomic<uint64_t>* const epoch_;
  absl::Mutex mu_;
  uint64_t mapped_in_ ABSL_GUARDED_BY(mu_) = 0;  // epoch
  std::vector<Mapping> mapped_ ABSL_GUARDED_BY(mu_);
  std::atomic<pid_t> tid_;
  std::atomic<bool> retired_{false};
};

}  // namespace client

#endif  // TOOLS_CLIENT_PROGRAM_H_
