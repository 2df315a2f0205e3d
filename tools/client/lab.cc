// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/lab.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/time/clock.h"
#include "core/mm/remote.h"

namespace client {
namespace {

// How long calls wait for those of a program that has just ended. One that
// hangs in the kernel for longer may itself wait for what others do.
constexpr absl::Duration kDyingLimit = absl::Seconds(1);

}  // namespace

std::unique_ptr<Lab> Lab::Create(const LabSetup& setup, std::string* error) {
  std::unique_ptr<Lab> lab(new Lab);
  result<std::shared_ptr<sim_kernel>> made = sim_kernel::create(setup.sim);

  if (!made) {
    *error =
        std::string("this machine cannot be built: ") + strerror(-made.error());
    return nullptr;
  }
  lab->sim_ = std::move(*made);
  lab->memory_files_ = std::make_unique<MemoryFiles>(lab->kernel());
  lab->reaper_ = std::make_unique<task_struct>(lab->kernel(), "reaper");
  lab->reap_epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!lab->reap_epoll_) {
    *error = std::string("epoll: ") + strerror(errno);
    return nullptr;
  }
  if (setup.trace.empty()) return lab;
  lab->trace_ =
      Trace::Create(setup.trace, setup.sim.revision, setup.machine, error);
  if (lab->trace_ == nullptr) return nullptr;
  lab->trace_->SetFiles(
      [l = lab.get()](uint64_t ino) { return l->NumberOf(ino); });
  return lab;
}

Lab::~Lab() {
  if (sim_ != nullptr) Finish();
}

// ---- programs ----

int64_t Lab::HelloProcess(pid_t pid, const lab_request& request,
                          UniqueFd* lifeline, UniqueFd* out) {
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));

  if (!pidfd || request.arg[0] == 0 || !*lifeline) return -EPERM;
  const int life = lifeline->get();
  const int pid_end = pidfd.get();
  auto program = std::make_shared<Program>();
  program->pid = pid;
  program->nonce = request.arg[0];
  program->memory = std::make_shared<ProgramMemory>(
      pid, std::move(pidfd), memory_files_.get(), &epoch_);
  program->leader = std::make_unique<task_struct>(kernel(), "program");
  program->lifeline = std::move(*lifeline);
  // Without the page it would not know when to say that memory goes.
  if (program->memory->shared_fd() < 0) return -ENOMEM;
  out->Reset(fcntl(program->memory->shared_fd(), F_DUPFD_CLOEXEC, 3));
  if (!*out) return -ENOMEM;

  {
    // Until it is known and watched: what is watched and not known would be
    // ready for ever.
    const absl::MutexLock lock(&reap_mu_);
    std::shared_ptr<Program> parent;
    std::vector<std::shared_ptr<Program>> before;
    {
      const absl::MutexLock leaf(&mu_);
      program->number = next_number_++;
      for (const auto& [number, p] : programs_) {
        if (p->pid == pid) before.push_back(p);
        if (request.arg[1] != 0 && p->nonce == request.arg[1]) parent = p;
      }
    }
    // An exec whose lifeline is somehow still there.
    for (const auto& p : before) Retire(p.get());
    program->mm = remote_mm_alloc(kernel(), program->memory);
    if (program->mm != nullptr) {
      task_scope ts(reaper_.get());

      program->leader->mm = program->mm;
      // What it inherited has one owner more.
      if (parent != nullptr && !parent->dead &&
          remote_mm_dup(program->mm, parent->mm) != 0) {
        mmput(program->mm);
        program->mm = nullptr;
      }
    }
    if (program->mm == nullptr) return -ENOMEM;
    const uint64_t number = program->number;
    if (trace_ != nullptr) {
      trace_->Begins({number, program->nonce, request.arg[1], program->memory});
    }
    {
      const absl::MutexLock leaf(&mu_);
      programs_[number] = program;
    }
    if (!Watch(life, 0, number, kLifeline) ||
        !Watch(pid_end, EPOLLIN, number, kPidfd)) {
      Retire(program.get());
      return -ENOMEM;
    }
  }
  return 0;
}

std::shared_ptr<Thread> Lab::HelloThread(pid_t pid,
                                         const lab_request& request) {
  const pid_t tid = static_cast<pid_t>(request.tid);
  char path[64];

  snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
  if (access(path, F_OK) != 0) return nullptr;
  std::shared_ptr<Program> program;
  {
    const absl::MutexLock lock(&mu_);
    for (const auto& [number, p] : programs_) {
      if (p->pid == pid && p->nonce == request.arg[0] && !p->dead) program = p;
    }
  }
  if (program == nullptr) return nullptr;
  std::shared_ptr<Thread> thread = ThreadOf(program, tid);
  if (thread != nullptr) {
    const absl::MutexLock lock(&mu_);
    thread->connections++;
    program->memory->SetThread(tid);
  }
  return thread;
}

// nullptr: the program has ended.
std::shared_ptr<Thread> Lab::ThreadOf(const std::shared_ptr<Program>& program,
                                      pid_t tid) {
  {
    const absl::MutexLock lock(&mu_);
    const auto it = program->threads.find(tid);
    if (it != program->threads.end()) return it->second;
  }
  auto thread = std::make_shared<Thread>(kernel(), program, tid);
  const absl::MutexLock lock(&mu_);
  if (program->dead) return nullptr;
  return program->threads.emplace(tid, std::move(thread)).first->second;
}

void Lab::ThreadEnds(const std::shared_ptr<Thread>& thread) {
  const absl::MutexLock lock(&mu_);

  if (--thread->connections == 0) {
    const auto it = thread->program->threads.find(thread->tid);
    if (it != thread->program->threads.end() && it->second == thread) {
      thread->program->threads.erase(it);
    }
  }
}

// The image is no more. As the end of a process is not seen before its threads
// have left the kernel, its memory goes with the last of its calls. reap_mu_ is
// held.
void Lab::Retire(Program* program) {
  std::map<pid_t, std::shared_ptr<Thread>> threads;
  {
    const absl::MutexLock lock(&mu_);
    if (program->dead) return;
    program->dead = true;
    dying_++;
    dying_until_ = absl::Now() + kDyingLimit;
    threads.swap(program->threads);
    const auto it = programs_.find(program->number);
    if (it != programs_.end()) {
      retired_.push_back(std::move(it->second));
      programs_.erase(it);
    }
    for (const auto& [tid, thread] : threads) {
      thread->task.interrupted.store(true);
    }
    program->memory->Retire();
  }
  epoll_ctl(reap_epoll_.get(), EPOLL_CTL_DEL, program->lifeline.get(), nullptr);
  epoll_ctl(reap_epoll_.get(), EPOLL_CTL_DEL, program->memory->pidfd(),
            nullptr);
  program->lifeline.Reset();
  End(program);
}

// A dead program's memory goes, once, when it has no calls. reap_mu_ is held.
void Lab::End(Program* program) {
  {
    const absl::MutexLock lock(&mu_);
    if (!program->dead || program->ended || program->calls != 0) return;
    program->ended = true;
  }
  if (trace_ != nullptr) trace_->Ends(program->number);
  {
    task_scope ts(reaper_.get());
    mmput(program->mm);
  }
  const absl::MutexLock lock(&mu_);
  if (--dying_ == 0) ended_.SignalAll();
}

// Those whose leaders nobody looks at any more.
void Lab::DropRetired() {
  std::list<std::shared_ptr<Program>> gone;
  const absl::MutexLock lock(&mu_);

  for (auto it = retired_.begin(); it != retired_.end();) {
    const auto next = std::next(it);
    if ((*it)->ended && it->use_count() == 1 &&
        (*it)->leader->usage.load(std::memory_order_acquire) == 1) {
      gone.splice(gone.end(), retired_, it);
    }
    it = next;
  }
}

bool Lab::Watch(int fd, uint32_t events, uint64_t number, Watched what) {
  epoll_event e = {};

  e.events = events;
  e.data.u64 = number << 2 | what;
  return epoll_ctl(reap_epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0;
}

void Lab::Reap() {
  {
    const absl::MutexLock lock(&reap_mu_);
    if (ReapAll()) {
      sim_->leave();
      DropRetired();
    }
  }
  const absl::MutexLock leaf(&mu_);
  while (dying_ != 0 && !ended_.WaitWithDeadline(&mu_, dying_until_)) {
  }
}

bool Lab::ReapAll() {
  bool any = false;

  for (;;) {
    epoll_event events[64];
    const int n = epoll_wait(reap_epoll_.get(), events, 64, 0);

    if (n <= 0) return any;
    any = true;
    // A process gives up its memory before its files.
    std::sort(events, events + n, [](const auto& a, const auto& b) {
      const bool a_file = (a.data.u64 & 3) == kFile;
      const bool b_file = (b.data.u64 & 3) == kFile;
      return a_file != b_file ? b_file : a.data.u64 < b.data.u64;
    });
    for (int i = 0; i < n; i++) {
      const uint64_t number = events[i].data.u64 >> 2;
      if ((events[i].data.u64 & 3) == kFile) {
        ReapFile(number);
      } else {
        ReapProgram(number);
      }
    }
  }
}

void Lab::ReapProgram(uint64_t number) {
  std::shared_ptr<Program> program;
  {
    const absl::MutexLock lock(&mu_);
    const auto it = programs_.find(number);
    if (it == programs_.end()) return;
    program = it->second;
  }
  Retire(program.get());
}

// The last descriptor of it is closed.
void Lab::ReapFile(uint64_t number) {
  std::shared_ptr<OpenFile> open;
  {
    const absl::MutexLock lock(&mu_);
    const auto it = files_.find(number);
    if (it == files_.end()) return;
    open = std::move(it->second);
    files_.erase(it);
    files_by_ino_.erase(open->ino);
  }
  epoll_ctl(reap_epoll_.get(), EPOLL_CTL_DEL, open->end.get(), nullptr);
  if (open->file->f_op->poll != nullptr) event_files_--;
  if (trace_ != nullptr) trace_->recorder()->Closed(number);
  task_scope ts(reaper_.get());
  fput(open->file);
}

std::shared_ptr<OpenFile> Lab::Find(uint64_t ino) {
  const absl::MutexLock lock(&mu_);
  const auto it = files_by_ino_.find(ino);

  if (it == files_by_ino_.end()) return nullptr;
  return it->second;
}

// 0: none.
uint64_t Lab::NumberOf(uint64_t ino) {
  const std::shared_ptr<OpenFile> open = Find(ino);

  return open != nullptr ? open->number : 0;
}

int64_t Lab::Publish(struct file* file, int access,
                     std::shared_ptr<Thread> target, UniqueFd* out,
                     uint64_t* made) {
  auto open = std::make_shared<OpenFile>();
  int ends[2];
  struct stat st;

  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    fput(file);
    return -ENFILE;
  }
  open->end.Reset(ends[0]);
  out->Reset(ends[1]);
  fstat(ends[1], &st);
  open->ino = st.st_ino;
  open->file = file;
  open->access = access;
  open->target = std::move(target);
  // What has no poll op is always ready.
  if (file->f_op->poll == nullptr) {
    send(ends[0], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  } else {
    event_files_++;
  }
  uint64_t number;
  {
    const absl::MutexLock lock(&mu_);
    number = open->number = next_number_++;
    files_by_ino_[open->ino] = open;
    files_[number] = std::move(open);
  }
  // Else nobody would see its end.
  if (!Watch(ends[0], 0, number, kFile)) {
    out->Reset();
    {
      const absl::MutexLock lock(&mu_);
      files_.erase(number);
      files_by_ino_.erase(st.st_ino);
    }
    if (file->f_op->poll != nullptr) event_files_--;
    fput(file);
    return -ENOMEM;
  }
  if (made != nullptr) *made = number;
  return 0;
}

void Lab::UpdateReadiness() {
  if (event_files_.load() == 0) return;
  const absl::MutexLock lock(&reap_mu_);
  UpdateReadiness(reaper_.get());
}

void Lab::UpdateReadiness(task_struct* as) {
  std::vector<std::shared_ptr<OpenFile>> all;

  if (event_files_.load() == 0) return;
  task_scope ts(as);
  {
    const absl::MutexLock lock(&mu_);
    for (const auto& [number, open] : files_) {
      if (open->file->f_op->poll == nullptr) continue;
      get_file(open->file);
      all.push_back(open);
    }
  }
  {
    const absl::MutexLock lock(&events_mu_);
    for (const auto& open : all) {
      const bool ready = open->file->f_op->poll(open->file, nullptr) & POLLIN;
      if (ready == open->readable) continue;
      open->readable = ready;
      if (!ready) {
        open->owed++;
      } else if (open->owed != 0) {
        open->owed--;
      } else {
        send(open->end.get(), "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
      }
    }
  }
  for (const auto& open : all) fput(open->file);
}

void Lab::SettleReading(OpenFile* open, lab_reply* reply) {
  const absl::MutexLock lock(&events_mu_);

  reply->drain = std::exchange(open->owed, 0);
}

void Lab::EndCall(Program* program) {
  {
    const absl::MutexLock lock(&mu_);
    if (--program->calls != 0 || !program->dead) return;
  }
  {
    const absl::MutexLock lock(&reap_mu_);
    End(program);
  }
  sim_->leave();
  DropRetired();
}

bool Lab::BeginCall(Program* program) {
  const absl::MutexLock lock(&mu_);
  if (program->dead) return false;
  program->calls++;
  return true;
}

struct file* Lab::Get(const OpenFile& open) {
  const absl::MutexLock lock(&mu_);
  return files_.count(open.number) != 0 ? get_file(open.file) : nullptr;
}

struct file* Lab::GetByIno(uint64_t ino) {
  const absl::MutexLock lock(&mu_);
  const auto it = files_by_ino_.find(ino);
  return it != files_by_ino_.end() ? get_file(it->second->file) : nullptr;
}

std::shared_ptr<Program> Lab::ProgramOf(pid_t pid) {
  const absl::MutexLock lock(&mu_);
  std::shared_ptr<Program> program;
  for (const auto& [number, p] : programs_) {
    if (p->pid == pid) program = p;
  }
  return program;
}

// ---- the end ----

bool Lab::IsIdle() {
  Reap();
  const absl::MutexLock lock(&mu_);
  return files_.empty() && programs_.empty() && dying_ == 0;
}

std::string Lab::Finish() {
  std::string text;

  Reap();
  {
    const absl::MutexLock lock(&reap_mu_);
    for (;;) {
      std::shared_ptr<Program> program;
      {
        const absl::MutexLock leaf(&mu_);
        if (programs_.empty()) break;
        program = programs_.begin()->second;
      }
      Retire(program.get());
    }
    for (;;) {
      uint64_t number;
      {
        const absl::MutexLock leaf(&mu_);
        if (files_.empty()) break;
        number = files_.begin()->first;
      }
      ReapFile(number);
    }
  }
  sim_->run_deferred_work();
  DropRetired();
  {
    const absl::MutexLock lock(&mu_);
    if (!retired_.empty()) {
      text +=
          "references to processes: " + std::to_string(retired_.size()) + "\n";
    }
  }
  text += sim_->residue(0);
  if (kernel_warn_count(kernel()) != 0) text += sim_->take_log();
  {
    const absl::MutexLock lock(&mu_);
    retired_.clear();
  }
  trace_.reset();
  reaper_.reset();
  memory_files_.reset();
  sim_.reset();
  return text;
}

}  // namespace client
