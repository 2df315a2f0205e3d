// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/trace.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/synchronization/mutex.h"

namespace client {

std::unique_ptr<Trace> Trace::Create(
    const std::string& path, const std::string& revision,
    std::vector<std::pair<std::string, std::string>> machine,
    std::string* error) {
  std::unique_ptr<Trace> trace(new Trace);

  trace->out_ = fopen(path.c_str(), "we");
  if (trace->out_ == nullptr) {
    *error = path + ": " + strerror(errno);
    return nullptr;
  }
  // What is there stays there when everything is killed.
  setvbuf(trace->out_, nullptr, _IOLBF, 0);
  prog::RecordOptions options;
  options.sink = [out = trace->out_](std::string_view text) {
    fwrite(text.data(), 1, text.size(), out);
  };
  options.revision = revision;
  struct rlimit limit = {};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  const auto given = [&machine](const char* key) {
    return std::any_of(machine.begin(), machine.end(),
                       [key](const auto& one) { return one.first == key; });
  };
  if (!given("memlock") && limit.rlim_cur != 8 << 20) {
    machine.emplace_back("memlock", std::to_string(limit.rlim_cur));
  }
  if (!given("uid") && geteuid() != 0) {
    machine.emplace_back("uid", std::to_string(geteuid()));
  }
  options.machine = std::move(machine);
  options.head = "Recorded by the client.";
  trace->recorder_ =
      std::make_unique<prog::Recorder>(std::move(options), trace.get());
  return trace;
}

Trace::~Trace() {
  if (recorder_ != nullptr) {
    for (const std::string& remark : recorder_->TakeRemarks()) {
      fprintf(stderr, "client: the trace: %s\n", remark.c_str());
    }
  }
  recorder_.reset();
  if (out_ != nullptr) fclose(out_);
}

void Trace::SetFiles(std::function<uint64_t(uint64_t ino)> files) {
  files_ = std::move(files);
}

void Trace::Begins(const TracedProgram& program) {
  bool inherits = false;
  {
    const absl::MutexLock lock(&mu_);
    Process* p = &processes_[program.image];
    p->program = program;
    for (const auto& [image, parent] : processes_) {
      if (program.parent_nonce != 0 && !parent.gone &&
          parent.program.nonce == program.parent_nonce) {
        p->devices = parent.devices;
        inherits = !p->devices.empty();
      }
    }
  }
  if (inherits) Caller(program.image, 0);
}

void Trace::Ends(uint64_t image) {
  {
    const absl::MutexLock lock(&mu_);
    Process* p = &processes_[image];
    p->gone = true;
    // Its names stay: they lead to its ancestors.
    p->program.memory.reset();
    p->devices.clear();
    if (!p->recorded) return;
  }
  recorder_->Exit(static_cast<prog::RecordProcess>(image));
}

prog::RecordCaller Trace::Caller(uint64_t image, unsigned fail_nth) {
  const auto id = static_cast<prog::RecordProcess>(image);
  bool fresh = false;
  uint64_t ancestor = 0;
  {
    const absl::MutexLock lock(&mu_);
    Process* p = &processes_[image];
    fresh = !p->recorded;
    p->recorded = true;
    // The nearest one that the recording has and that lives.
    uint64_t nonce = fresh ? p->program.parent_nonce : 0;
    // Programs make the names up, so they may name each other in a circle.
    for (size_t i = 0; i < processes_.size() && nonce != 0 && ancestor == 0;
         i++) {
      const auto it = std::find_if(
          processes_.begin(), processes_.end(),
          [nonce](const auto& q) { return q.second.program.nonce == nonce; });
      if (it == processes_.end()) break;
      if (it->second.recorded && !it->second.gone) ancestor = it->first;
      nonce = it->second.program.parent_nonce;
    }
  }
  if (ancestor != 0) {
    recorder_->Fork(static_cast<prog::RecordProcess>(ancestor), id);
  } else if (fresh) {
    recorder_->Start(id);
  }
  // Not every change of memory passes us by.
  recorder_->Refresh(id);
  return {id, fail_nth};
}

void Trace::DeviceMapped(uint64_t image, uint64_t addr, uint64_t length) {
  const absl::MutexLock lock(&mu_);
  processes_[image].devices[addr] = addr + ((length + 4095) & ~4095ull);
}

void Trace::DeviceUnmapped(uint64_t image, uint64_t addr, uint64_t length) {
  const absl::MutexLock lock(&mu_);
  std::map<uint64_t, uint64_t>* all = &processes_[image].devices;
  const uint64_t end = addr + ((length + 4095) & ~4095ull);
  for (auto it = all->begin(); it != all->end();) {
    const auto [start, stop] = *it;
    if (stop <= addr || start >= end) {
      ++it;
      continue;
    }
    it = all->erase(it);
    if (start < addr) (*all)[start] = addr;
    if (stop > end) (*all)[end] = stop;
  }
}

std::shared_ptr<ProgramMemory> Trace::MemoryOf(prog::RecordProcess process) {
  const absl::MutexLock lock(&mu_);
  const auto it = processes_.find(static_cast<uint64_t>(process));
  return it == processes_.end() ? nullptr : it->second.program.memory;
}

size_t Trace::Read(prog::RecordProcess process, uint64_t addr, void* dst,
                   size_t n) {
  const std::shared_ptr<ProgramMemory> memory = MemoryOf(process);
  char* to = static_cast<char*>(dst);
  size_t done = 0;

  if (memory == nullptr) return 0;
  if (memory->copy(dst, addr, n, false) == 0) return n;
  while (done < n) {
    const size_t part = std::min<size_t>(n - done, 4096 - (addr + done) % 4096);
    if (memory->copy(to + done, addr + done, part, false) != 0) break;
    done += part;
  }
  return done;
}

prog::RecordFile Trace::AddMemory(int fd, bool huge) {
  char path[64];
  char target[64] = "";
  struct stat st;

  // Sealing is what only memory files can.
  if (fd < 0 || fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) != 0) return 0;
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  if (readlink(path, target, sizeof(target) - 1) < 0) return 0;
  const bool ours = strncmp(target, "/memfd:" LAB_MEMFD_NAME " ",
                            strlen("/memfd:" LAB_MEMFD_NAME " ")) == 0;
  const absl::MutexLock lock(&mu_);
  uint64_t* number = &numbers_[{st.st_dev, st.st_ino}];
  if (*number == 0) *number = kMemory + numbers_.size();
  Memory* memory = &memory_[*number];
  memory->memfd |= !ours;
  memory->huge |= huge;
  if (!memory->fd) {
    memory->fd.Reset(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  }
  return *number;
}

bool Trace::FindRegion(prog::RecordProcess process, uint64_t addr,
                       prog::RecordRegion* region) {
  const std::shared_ptr<ProgramMemory> memory = MemoryOf(process);
  Mapping m;

  if (memory == nullptr || !memory->FindMapping(addr, &m)) return false;
  *region = {};
  region->start = m.start;
  region->length = m.end - m.start;
  region->none = !m.readable;
  region->readonly = !m.writable;
  const absl::MutexLock lock(&mu_);
  const std::map<uint64_t, uint64_t>& devices =
      processes_[static_cast<uint64_t>(process)].devices;
  auto it = devices.upper_bound(m.start);
  if (it != devices.begin()) --it;
  for (; it != devices.end() && it->first < m.end; ++it) {
    if (it->second > m.start) region->device = true;
  }
  if (region->device || m.ino == 0) return true;
  const auto file = numbers_.find({m.dev, m.ino});
  if (file == numbers_.end()) return true;
  region->object = file->second;
  region->huge = memory_[file->second].huge;
  region->offset = m.offset;
  region->copy = !m.shared;
  return true;
}

prog::RecordFile Trace::FileOf(prog::RecordProcess process, int fd) {
  const std::shared_ptr<ProgramMemory> memory = MemoryOf(process);
  char path[64];
  char target[64];
  unsigned long ino = 0;

  if (memory == nullptr) return 0;
  snprintf(path, sizeof(path), "/proc/%d/fd/%d", memory->pid(), fd);
  const ssize_t n = readlink(path, target, sizeof(target) - 1);
  if (n <= 0) return 0;
  target[n] = '\0';
  if (sscanf(target, "socket:[%lu]", &ino) == 1) return files_(ino);
  if (strncmp(target, "/memfd:", 7) != 0) return 0;
  const UniqueFd copy(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return AddMemory(copy.get(), false);
}

bool Trace::FindObject(prog::RecordFile object, prog::RecordObject* out) {
  struct stat st;
  const absl::MutexLock lock(&mu_);
  const auto it = memory_.find(object);

  if (it == memory_.end()) return false;
  if (fstat(it->second.fd.get(), &st) != 0) return false;
  *out = {};
  out->memfd = it->second.memfd;
  out->huge = it->second.huge;
  out->size = static_cast<uint64_t>(st.st_size);
  return true;
}

size_t Trace::ReadObject(prog::RecordFile object, uint64_t offset, void* dst,
                         size_t n) {
  const absl::MutexLock lock(&mu_);
  const auto it = memory_.find(object);

  if (it == memory_.end()) return 0;
  const ssize_t got =
      pread(it->second.fd.get(), dst, n, static_cast<off_t>(offset));
  return got < 0 ? 0 : static_cast<size_t>(got);
}

}  // namespace client
