// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_syscalls.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prog/run.h"
#include "uapi/iommufd_desc.h"
#include "uapi/iommufd_test.h"

namespace prog {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHuge = 2 << 20;

uint64_t RoundUp(uint64_t n, uint64_t to) { return (n + to - 1) & ~(to - 1); }

}  // namespace

class RecordingSyscalls::State : public RecordSource {
 public:
  struct Process {
    syscalls* sys = nullptr;
    std::map<int, RecordFile> fds;
    std::map<uint64_t, RecordRegion> regions;
  };

  explicit State(RecordOptions options)
      : revision(RevisionByName(options.revision)),
        recorder(std::move(options), this) {}

  size_t Read(RecordProcess process, uint64_t addr, void* dst,
              size_t n) override {
    syscalls* sys;
    {
      absl::MutexLock lock(&mutex);
      sys = processes[process].sys;
    }
    // The surface says all or nothing: page by page, then byte by byte.
    char* to = static_cast<char*>(dst);
    size_t done = 0;
    while (done < n) {
      const size_t part =
          std::min<size_t>(n - done, kPage - (addr + done) % kPage);
      if (addr + done < addr || sys->load(addr + done, to + done, part) != 0) {
        break;
      }
      done += part;
    }
    return done;
  }

  bool FindRegion(RecordProcess process, uint64_t addr,
                  RecordRegion* region) override {
    absl::MutexLock lock(&mutex);
    const std::map<uint64_t, RecordRegion>& all = processes[process].regions;
    auto it = all.upper_bound(addr);
    if (it != all.begin() &&
        addr - std::prev(it)->first < std::prev(it)->second.length) {
      --it;
    }
    if (it == all.end()) return false;
    *region = it->second;
    return true;
  }

  RecordFile FileOf(RecordProcess process, int fd) override {
    absl::MutexLock lock(&mutex);
    return FileOfLocked(process, fd);
  }
  RecordFile FileOfLocked(RecordProcess process, int fd)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const std::map<int, RecordFile>& fds = processes[process].fds;
    const auto it = fds.find(fd);
    return it != fds.end() ? it->second : 0;
  }

  bool FindObject(RecordFile object, RecordObject* out) override {
    absl::MutexLock lock(&mutex);
    const auto it = objects.find(object);
    if (it == objects.end()) return false;
    *out = it->second;
    return true;
  }

  size_t ReadObject(RecordFile object, uint64_t offset, void* dst,
                    size_t n) override {
    syscalls* sys = nullptr;
    int fd = -1;
    uint64_t size = 0;
    {
      absl::MutexLock lock(&mutex);
      for (const auto& [p, process] : processes) {
        for (const auto& [number, file] : process.fds) {
          if (file != object) continue;
          sys = process.sys;
          fd = number;
        }
      }
      size = objects[object].size;
    }
    if (sys == nullptr || offset > size || n > size - offset) return 0;
    const uint64_t at = sys->mmap(0, size, PROT_READ, MAP_SHARED, fd, 0);
    if (is_error(at)) return 0;
    const bool read = sys->load(at + offset, dst, n) == 0;
    sys->munmap(at, size);
    return read ? n : 0;
  }

  RecordFile AddFd(RecordProcess process, int fd) {
    absl::MutexLock lock(&mutex);
    return processes[process].fds[fd] = next_file++;
  }

  // Cuts [addr, addr + length) out of what is mapped.
  static void Cut(Process* process, uint64_t addr, uint64_t length) {
    std::map<uint64_t, RecordRegion>* all = &process->regions;
    const uint64_t end = addr + length;
    auto it = all->upper_bound(addr);
    if (it != all->begin()) --it;
    while (it != all->end() && it->first < end) {
      const RecordRegion r = it->second;
      const uint64_t r_end = r.start + r.length;
      if (r_end <= addr) {
        ++it;
        continue;
      }
      it = all->erase(it);
      if (r.start < addr) {
        RecordRegion lower = r;
        lower.length = addr - r.start;
        (*all)[r.start] = lower;
      }
      if (r_end > end) {
        RecordRegion upper = r;
        upper.start = end;
        upper.length = r_end - end;
        upper.offset += end - r.start;
        (*all)[end] = upper;
      }
    }
  }

  void AddRegion(RecordProcess process, const RecordRegion& region) {
    absl::MutexLock lock(&mutex);
    Cut(&processes[process], region.start, region.length);
    processes[process].regions[region.start] = region;
  }

  void Count() {
    absl::MutexLock lock(&mutex);
    calls_++;
  }

  size_t calls() {
    absl::MutexLock lock(&mutex);
    return calls_;
  }

  const uint8_t revision;
  // Taken with the recorder's lock held.
  absl::Mutex mutex;
  std::map<RecordProcess, Process> processes ABSL_GUARDED_BY(mutex);
  std::map<RecordFile, RecordObject> objects ABSL_GUARDED_BY(mutex);
  std::map<RecordFile, uint8_t> revisions ABSL_GUARDED_BY(mutex);
  RecordFile next_file ABSL_GUARDED_BY(mutex) = 1;
  RecordProcess next_process ABSL_GUARDED_BY(mutex) = 1;
  Recorder recorder;

 private:
  size_t calls_ ABSL_GUARDED_BY(mutex) = 0;
};

RecordingSyscalls::RecordingSyscalls(syscalls* inner, RecordOptions options)
    : inner_(inner),
      state_(std::make_shared<State>(std::move(options))),
      process_(0) {
  state_->processes[0].sys = inner;
  state_->recorder.Start(0);
}

RecordingSyscalls::RecordingSyscalls(std::unique_ptr<syscalls> inner,
                                     std::shared_ptr<State> state,
                                     RecordProcess process)
    : owned_(std::move(inner)),
      inner_(owned_.get()),
      state_(std::move(state)),
      process_(process) {}

RecordingSyscalls::~RecordingSyscalls() {
  if (owned_ == nullptr) return;
  state_->recorder.Exit(process_);
  absl::MutexLock lock(&state_->mutex);
  state_->processes.erase(process_);
}

Recorder* RecordingSyscalls::recorder() { return &state_->recorder; }
size_t RecordingSyscalls::calls() const { return state_->calls(); }

RecordCaller RecordingSyscalls::Caller() {
  state_->Count();
  return {process_, inner_->fail_nth()};
}

int RecordingSyscalls::open(std::string_view path, std::string_view revision) {
  const RecordCaller caller = Caller();
  const int fd = inner_->open(path, revision);
  RecordFile file = 0;
  if (fd >= 0) {
    file = state_->AddFd(process_, fd);
    absl::MutexLock lock(&state_->mutex);
    state_->revisions[file] =
        revision.empty() ? state_->revision : RevisionByName(revision);
  }
  state_->recorder.Open(caller, path, revision, fd, file);
  return fd;
}

int RecordingSyscalls::close(int fd) {
  const RecordFile file = state_->FileOf(process_, fd);
  const RecordCaller caller = {process_, inner_->fail_nth()};
  const int ret = inner_->close(fd);
  state_->recorder.Close(caller, file, fd, ret);
  absl::MutexLock lock(&state_->mutex);
  if (ret == 0) state_->processes[process_].fds.erase(fd);
  return ret;
}

long RecordingSyscalls::ioctl(int fd, unsigned long cmd, uint64_t arg) {
  const RecordFile file = state_->FileOf(process_, fd);
  Recorder::Ioctl call =
      state_->recorder.BeginIoctl(Caller(), file, fd, cmd, arg);
  const long ret = inner_->ioctl(fd, cmd, arg);
  std::vector<RecordFile> files;
  uint8_t revision = state_->revision;
  {
    absl::MutexLock lock(&state_->mutex);
    const auto it = state_->revisions.find(file);
    if (it != state_->revisions.end()) revision = it->second;
  }
  uint32_t op = 0;
  state_->Read(process_, arg + 4, &op, sizeof(op));
  const desc_ioctl* desc =
      iommufd_desc_find_cmd(static_cast<uint32_t>(cmd), op, revision);
  if (ret >= 0 && desc != nullptr) {
    std::string image(desc->arg->size, '\0');
    state_->Read(process_, arg, image.data(), image.size());
    for (const desc_field& d : desc->arg->fields) {
      if (d.kind != desc_kind::FD_OUT) continue;
      files.push_back(state_->AddFd(
          process_, static_cast<int>(desc_load(d, image.data()))));
    }
    if (desc->returns_fd) {
      files.push_back(state_->AddFd(process_, static_cast<int>(ret)));
    }
  }
  state_->recorder.EndIoctl(&call, ret, files);
  return ret;
}

uint64_t RecordingSyscalls::mmap(uint64_t addr, size_t length, int prot,
                                 int flags, int fd, uint64_t offset) {
  const RecordFile file =
      (flags & MAP_ANONYMOUS) == 0 ? state_->FileOf(process_, fd) : 0;
  RecordRegion region;
  RecordObject object;
  const bool memory =
      (flags & MAP_ANONYMOUS) != 0 || state_->FindObject(file, &object);
  RecordCaller caller = {process_, inner_->fail_nth()};
  const uint64_t ret = inner_->mmap(addr, length, prot, flags, fd, offset);
  if (!memory) {
    state_->Count();
    state_->recorder.Mmap(caller, file, fd, addr, length, prot, flags, offset,
                          ret);
  }
  if (is_error(ret)) return ret;
  region.start = ret;
  region.length = RoundUp(length, kPage);
  region.device = !memory;
  region.readonly = (prot & PROT_WRITE) == 0;
  region.none = prot == PROT_NONE;
  region.huge = object.huge;
  if (file != 0 && memory) {
    region.object = file;
    region.offset = offset;
    region.copy = (flags & MAP_TYPE) == MAP_PRIVATE;
  } else if (memory && (flags & MAP_TYPE) == MAP_SHARED) {
    absl::MutexLock lock(&state_->mutex);
    region.object = state_->next_file++;
    state_->objects[region.object].size = region.length;
  }
  // A mapping of memory replaces what was there without a call of its own.
  if (memory) state_->recorder.Unmapped(process_, ret, region.length);
  state_->AddRegion(process_, region);
  return ret;
}

int RecordingSyscalls::munmap(uint64_t addr, size_t length) {
  RecordCaller caller = {process_, inner_->fail_nth()};
  const int ret = inner_->munmap(addr, length);
  if (ret != 0) state_->Count();
  state_->recorder.Munmap(caller, addr, length, ret);
  if (ret != 0) return ret;
  absl::MutexLock lock(&state_->mutex);
  state_->Cut(&state_->processes[process_], addr, RoundUp(length, kPage));
  return 0;
}

long RecordingSyscalls::read(int fd, uint64_t buf, size_t count) {
  const RecordFile file = state_->FileOf(process_, fd);
  const RecordCaller caller = Caller();
  const long ret = inner_->read(fd, buf, count);
  state_->recorder.Read(caller, file, fd, buf, count, ret);
  return ret;
}

long RecordingSyscalls::write(int fd, uint64_t buf, size_t count) {
  const RecordFile file = state_->FileOf(process_, fd);
  Recorder::Ioctl call =
      state_->recorder.BeginWrite(Caller(), file, fd, buf, count);
  const long ret = inner_->write(fd, buf, count);
  state_->recorder.EndWrite(&call, ret);
  return ret;
}

int RecordingSyscalls::poll(int fd, short events, int timeout_ms) {
  const RecordFile file = state_->FileOf(process_, fd);
  const RecordCaller caller = Caller();
  const int ret = inner_->poll(fd, events, timeout_ms);
  state_->recorder.Poll(caller, file, fd, events, ret);
  return ret;
}

uint64_t RecordingSyscalls::anon(const memory_options& opts) {
  const uint64_t ret = inner_->anon(opts);
  if (is_error(ret)) return ret;
  RecordRegion region;
  region.start = ret;
  region.length = RoundUp(opts.size, opts.huge ? kHuge : kPage);
  region.readonly = opts.readonly;
  region.huge = opts.huge;
  region.fragmented = opts.fragmented;
  region.poisoned = opts.poisoned;
  if (opts.shared) {
    absl::MutexLock lock(&state_->mutex);
    region.object = state_->next_file++;
    state_->objects[region.object].size = region.length;
  }
  state_->AddRegion(process_, region);
  return ret;
}

int RecordingSyscalls::memfd(const memory_options& opts) {
  const int fd = inner_->memfd(opts);
  if (fd < 0) return fd;
  const RecordFile file = state_->AddFd(process_, fd);
  absl::MutexLock lock(&state_->mutex);
  RecordObject* object = &state_->objects[file];
  object->size = opts.size;
  object->memfd = true;
  object->huge = opts.huge;
  object->fragmented = opts.fragmented;
  object->poisoned = opts.poisoned;
  return fd;
}

int RecordingSyscalls::ftruncate(int fd, uint64_t length) {
  const RecordFile file = state_->FileOf(process_, fd);
  const int ret = inner_->ftruncate(fd, length);
  absl::MutexLock lock(&state_->mutex);
  if (ret == 0) state_->objects[file].size = length;
  return ret;
}

int RecordingSyscalls::fork(std::unique_ptr<syscalls>* child) {
  std::unique_ptr<syscalls> made;
  const int ret = inner_->fork(&made);
  if (ret != 0) return ret;
  RecordProcess process;
  {
    absl::MutexLock lock(&state_->mutex);
    process = state_->next_process++;
    State::Process copy = state_->processes[process_];
    copy.sys = made.get();
    state_->processes[process] = std::move(copy);
  }
  state_->recorder.Fork(process_, process);
  child->reset(new RecordingSyscalls(std::move(made), state_, process));
  return 0;
}

int RecordingSyscalls::load(uint64_t addr, void* dst, size_t n) {
  return inner_->load(addr, dst, n);
}
int RecordingSyscalls::store(uint64_t addr, const void* src, size_t n) {
  return inner_->store(addr, src, n);
}
void RecordingSyscalls::set_fail_nth(unsigned n) { inner_->set_fail_nth(n); }
unsigned RecordingSyscalls::fail_nth() { return inner_->fail_nth(); }
std::string RecordingSyscalls::take_log() { return inner_->take_log(); }
std::string RecordingSyscalls::residue() { return inner_->residue(); }

}  // namespace prog
