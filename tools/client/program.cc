// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/program.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <unordered_map>

#include "absl/synchronization/mutex.h"

namespace client {
namespace {

// The parent of a process, 0 when there is none, -1 when there is no such
// process.
pid_t ParentOf(pid_t pid) {
  char path[64];
  char buf[512];

  snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return -1;
  const ssize_t n = read(fd.get(), buf, sizeof(buf) - 1);
  if (n <= 0) return -1;
  buf[n] = '\0';
  // Behind the name, which may have anything in it.
  const char* p = strrchr(buf, ')');
  int parent = 0;
  char state = 0;
  if (p == nullptr || sscanf(p + 1, " %c %d", &state, &parent) != 2) return -1;
  return parent;
}

// Calls fn(mapping) for each until it returns false. False: there are no maps.
bool ForEachMapping(pid_t pid, pid_t tid,
                    const std::function<bool(const Mapping&)>& fn) {
  char path[64];
  char buf[1 << 14];
  std::string rest;
  bool any = false;

  snprintf(path, sizeof(path), "/proc/%d/task/%d/maps", pid, tid);
  const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  for (;;) {
    const ssize_t n = read(fd.get(), buf, sizeof(buf));
    if (n <= 0) return any;
    rest.append(buf, static_cast<size_t>(n));
    size_t from = 0;
    for (size_t end; (end = rest.find('\n', from)) != std::string::npos;
         from = end + 1) {
      Mapping m;
      char perm[5];
      unsigned major = 0;
      unsigned minor = 0;
      if (sscanf(rest.c_str() + from,
                 "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %lu", &m.start,
                 &m.end, perm, &m.offset, &major, &minor, &m.ino) != 7) {
        continue;
      }
      any = true;
      m.readable = perm[0] == 'r';
      m.writable = perm[1] == 'w';
      m.shared = perm[3] == 's';
      m.dev = makedev(major, minor);
      if (!fn(m)) return true;
    }
    rest.erase(0, from);
  }
}

// Stays that of the image that the process has now.
int OpenPagemap(pid_t pid) {
  char path[64];

  snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
  return open(path, O_RDONLY | O_CLOEXEC);
}

// A descriptor with a file position, and locks, of its own.
UniqueFd Reopen(const UniqueFd& fd) {
  char path[64];

  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd.get());
  UniqueFd again(open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!again) again.Reset(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return again;
}

}  // namespace

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

bool IsDescendant(pid_t pid) {
  const pid_t self = getpid();

  // Nobody has that many ancestors. Where one has ended meanwhile its child has
  // got another: the way is looked for anew, as long as there is its start.
  pid_t at = pid;
  for (int i = 0; at > 1 && i < 4096; i++) {
    if (at == self) return true;
    const pid_t parent = ParentOf(at);
    if (parent < 0 && at == pid) return false;
    at = parent < 0 ? pid : parent;
  }
  return false;
}

std::vector<pid_t> Descendants() {
  const pid_t self = getpid();
  std::unordered_map<pid_t, pid_t> parents;
  std::vector<pid_t> result;
  DIR* proc = opendir("/proc");

  if (proc == nullptr) return result;
  while (const dirent* entry = readdir(proc)) {
    const pid_t pid = atoi(entry->d_name);
    if (pid > 1) parents[pid] = ParentOf(pid);
  }
  closedir(proc);
  for (const auto& [pid, parent] : parents) {
    pid_t p = parent;
    for (size_t i = 0; p > 1 && p != self && i <= parents.size(); i++) {
      const auto it = parents.find(p);
      p = it == parents.end() ? 0 : it->second;
    }
    if (p == self) result.push_back(pid);
  }
  return result;
}

// ---- memory files ----

std::shared_ptr<remote_object> MemoryFiles::Register(UniqueFd fd) {
  struct stat st;

  // Sealing is what only memory files can.
  if (!fd || fstat(fd.get(), &st) != 0 || fcntl(fd.get(), F_GET_SEALS) < 0) {
    return nullptr;
  }
  const absl::MutexLock lock(&mu_);
  Entry& entry = entries_[{st.st_dev, st.st_ino}];
  if (entry.object == nullptr) {
    UniqueFd ours = Reopen(fd);
    if (ours) entry.object = remote_object_create(kernel_, ours.Release());
    if (entry.object == nullptr) {
      entries_.erase({st.st_dev, st.st_ino});
      return nullptr;
    }
  }
  bytes_ += static_cast<uint64_t>(st.st_size) - entry.bytes;
  entry.bytes = static_cast<uint64_t>(st.st_size);
  entry.registered = ++registrations_;
  return entry.object;
}

std::shared_ptr<remote_object> MemoryFiles::Find(dev_t dev, ino_t ino) {
  const absl::MutexLock lock(&mu_);
  const auto it = entries_.find({dev, ino});

  return it == entries_.end() ? nullptr : it->second.object;
}

void MemoryFiles::CollectGarbage() {
  std::map<Key, bool> mapped;
  uint64_t before = 0;
  {
    const absl::MutexLock lock(&mu_);
    // Also when there are many small ones: each holds a descriptor.
    if (bytes_ < collect_at_ && registrations_ % 256 != 255) return;
    before = registrations_;
    for (const auto& [key, entry] : entries_) mapped[key] = false;
  }
  for (const pid_t pid : Descendants()) {
    ForEachMapping(pid, pid, [&mapped](const Mapping& m) {
      if (m.shared) {
        const auto it = mapped.find({m.dev, m.ino});
        if (it != mapped.end()) it->second = true;
      }
      return true;
    });
  }
  const absl::MutexLock lock(&mu_);
  for (const auto& [key, is_mapped] : mapped) {
    const auto it = entries_.find(key);
    // Who looked it up has a reference; who maps it registers it then.
    if (is_mapped || it == entries_.end() || it->second.registered > before ||
        it->second.object.use_count() != 1 ||
        remote_object_pages(it->second.object.get()) != 0) {
      continue;
    }
    bytes_ -= it->second.bytes;
    entries_.erase(it);
  }
  collect_at_ = std::max<uint64_t>(kCollectBytes, 2 * bytes_);
}

// ---- programs ----

struct ProgramMemory::SharedPage {
  std::atomic<u32> private_pages;
};
static_assert(sizeof(lab_shared) == sizeof(u32) &&
              offsetof(lab_shared, private_pages) == 0);

ProgramMemory::ProgramMemory(pid_t pid, UniqueFd pidfd, MemoryFiles* files,
                             const std::atomic<uint64_t>* epoch)
    : pid_(pid),
      pidfd_(std::move(pidfd)),
      pagemap_(OpenPagemap(pid)),
      files_(files),
      epoch_(epoch),
      tid_(pid) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  UniqueFd fd(memfd_create("iommulab-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING));

  if (!fd || ftruncate(fd.get(), static_cast<off_t>(page)) != 0) return;
  void* at =
      mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return;
  shared_ = static_cast<SharedPage*>(at);
  private_pages = &shared_->private_pages;
  // For the program to read: it can neither cut the page off under us nor open
  // it again and write.
  if (fcntl(fd.get(), F_ADD_SEALS,
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
      0) {
    return;
  }
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd.get());
  shared_fd_.Reset(open(path, O_RDONLY | O_CLOEXEC));
}

bool ProgramMemory::present(u64 addr) {
  constexpr uint64_t kThere = 1ull << 63 | 1ull << 62;  // or swapped
  uint64_t entry = 0;

  return pread(pagemap_.get(), &entry, sizeof(entry),
               static_cast<off_t>((addr >> 12) * sizeof(entry))) !=
             static_cast<ssize_t>(sizeof(entry)) ||
         (entry & kThere) != 0;
}

ProgramMemory::~ProgramMemory() {
  if (shared_ != nullptr) {
    munmap(shared_, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  }
}

int ProgramMemory::copy(void* ours, u64 theirs, size_t n, bool write) {
  iovec local = {ours, n};
  iovec remote = {reinterpret_cast<void*>(theirs), n};
  pid_t pid = pid_;

  if (retired_.load(std::memory_order_acquire)) return -EFAULT;
  for (;;) {
    const ssize_t done = write
                             ? process_vm_writev(pid, &local, 1, &remote, 1, 0)
                             : process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (done == static_cast<ssize_t>(n)) break;
    // The first thread may have ended without the others.
    if (done < 0 && errno == ESRCH && pid == pid_ && tid_.load() != pid_) {
      pid = tid_.load();
      continue;
    }
    return -EFAULT;
  }
  // Another process may have got the number just now.
  pollfd p = {pidfd_.get(), POLLIN, 0};
  return poll(&p, 1, 0) == 0 ? 0 : -EFAULT;
}

bool ProgramMemory::lookup(u64 addr, remote_vma* vma) {
  Mapping m;

  if (!FindMapping(addr, &m) || addr < m.start) return false;
  vma->start = m.start;
  vma->end = m.end;
  vma->readable = m.readable;
  vma->writable = m.writable;
  vma->object = m.shared ? files_->Find(m.dev, m.ino) : nullptr;
  vma->index = m.offset >> 12;
  return true;
}

bool ProgramMemory::FindMapping(uint64_t addr, Mapping* mapping) {
  const uint64_t epoch = epoch_->load(std::memory_order_acquire);

  if (retired_.load(std::memory_order_acquire)) return false;
  const absl::MutexLock lock(&mu_);
  const auto add = [mapped = &mapped_](const Mapping& m) {
    mapped->push_back(m);
    return true;
  };
  if (mapped_in_ != epoch) {
    mapped_.clear();
    if (!ForEachMapping(pid_, pid_, add) && tid_.load() != pid_) {
      ForEachMapping(pid_, tid_.load(), add);
    }
    mapped_in_ = epoch;
  }
  const auto it =
      std::upper_bound(mapped_.begin(), mapped_.end(), addr,
                       [](uint64_t a, const Mapping& m) { return a < m.end; });
  if (it == mapped_.end()) return false;
  *mapping = *it;
  return true;
}

}  // namespace client
