// SPDX-License-Identifier: GPL-2.0-or-later
//
// One kernel, and what it knows of programs that run elsewhere: their images,
// their threads, the files that they have open. The lab notices what has ended
// (a process, the last copy of a descriptor) and makes it known to the kernel.
// Any thread; what is executed is for calls.h.
#ifndef TOOLS_CLIENT_LAB_H_
#define TOOLS_CLIENT_LAB_H_

#include <fcntl.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/linux/capability.h"
#include "core/linux/file.h"
#include "core/sim_kernel.h"
#include "tools/client/program.h"
#include "tools/client/protocol.h"
#include "tools/client/trace.h"

namespace client {

struct Thread;

// One image of a process: from its start or exec to its end or next exec.
struct Program {
  pid_t pid = 0;
  uint64_t nonce = 0;
  uint64_t number = 0;  // of the image, never used again
  std::shared_ptr<ProgramMemory> memory;
  UniqueFd lifeline;
  // Of the process: what it is charged to. Its memory until it is retired.
  std::unique_ptr<task_struct> leader;
  mm_struct* mm = nullptr;

  // Guarded by Lab::mu_.
  bool dead = false;
  bool ended = false;  // the kernel knows that it is dead
  int calls = 0;       // in the kernel
  std::map<pid_t, std::shared_ptr<Thread>> threads;
};

// A thread of a program: a task of the kernel.
struct Thread {
  Thread(struct kernel* kernel, std::shared_ptr<Program> p, pid_t t)
      : program(std::move(p)),
        tid(t),
        files(kernel),
        task(kernel, "thread"),
        helper(kernel, "helper") {
    for (task_struct* each : {&task, &helper}) {
      each->group_leader = program->leader.get();
      each->mm = program->mm;
      each->files = &files;
      each->cred = &credentials;
    }
  }

  const std::shared_ptr<Program> program;
  const pid_t tid;
  int connections = 0;  // guarded by Lab::mu_
  // Held while a call of it is executed, or its fail_nth is changed.
  absl::Mutex busy;
  struct cred credentials;
  // Empty between calls: descriptors are the program's own affair.
  files_struct files;
  task_struct task;
  // For what the kernel does not do itself: no failure is injected there.
  task_struct helper;
};

// An open file of the kernel. What programs have are copies of the other end
// of a socket pair.
struct OpenFile {
  uint64_t number = 0;  // never used again
  uint64_t ino = 0;     // of the other end
  UniqueFd end;
  struct file* file = nullptr;
  int access = O_RDWR;             // O_ACCMODE
  std::shared_ptr<Thread> target;  // of a fail-nth file
  // Guarded by Lab::events_mu_. Readable is who has a byte in its
  // queue; those that the programs still have to take out of it are owed.
  bool readable = false;
  uint32_t owed = 0;
};

struct LabSetup {
  sim_options sim;
  std::string trace;  // a file to record into; empty: none
  // For the head of the record.
  std::vector<std::pair<std::string, std::string>> machine;
};

class Lab {
 public:
  // nullptr and *error when the kernel or the record cannot be made.
  static std::unique_ptr<Lab> Create(const LabSetup& setup, std::string* error);
  // Ends what still runs.
  ~Lab();
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  struct kernel* kernel() { return sim_->kernel(); }
  sim_kernel* sim() { return sim_.get(); }
  MemoryFiles* memory_files() { return memory_files_.get(); }
  // nullptr: nobody wants one.
  Trace* trace() { return trace_.get(); }
  // Programs' memory may have changed: see ProgramMemory.
  void NextEpoch() { epoch_++; }

  // Readable when Reap() has something to do.
  int reap_fd() const { return reap_epoll_.get(); }
  // What has ended meanwhile becomes known to the kernel.
  void Reap() ABSL_LOCKS_EXCLUDED(reap_mu_, mu_);

  // A process says that it is there. 0 and *out, a descriptor for it, or
  // -errno. `lifeline` is its connection, which ends with it.
  int64_t HelloProcess(pid_t pid, const lab_request& request,
                       UniqueFd* lifeline, UniqueFd* out)
      ABSL_LOCKS_EXCLUDED(reap_mu_, mu_);
  // A thread of one; nullptr when there is none.
  std::shared_ptr<Thread> HelloThread(pid_t pid, const lab_request& request);
  // Its connection ends.
  void ThreadEnds(const std::shared_ptr<Thread>& thread);
  // nullptr: the program has ended.
  std::shared_ptr<Thread> ThreadOf(const std::shared_ptr<Program>& program,
                                   pid_t tid);
  std::shared_ptr<Program> ProgramOf(pid_t pid);

  // Around a call: a program that dies keeps its memory until its calls have
  // ended. False: it is dead.
  bool BeginCall(Program* program);
  void EndCall(Program* program) ABSL_LOCKS_EXCLUDED(reap_mu_, mu_);

  // Gives a program the file: *out is its descriptor, *made the file's number.
  // The file's reference goes to the table, also on failure.
  int64_t Publish(struct file* file, int access, std::shared_ptr<Thread> target,
                  UniqueFd* out, uint64_t* made = nullptr);
  std::shared_ptr<OpenFile> Find(uint64_t ino);
  // With a reference; nullptr: its last descriptor has gone.
  struct file* Get(const OpenFile& open);
  struct file* GetByIno(uint64_t ino);

  // Readiness, as the programs' hosts see it, follows the poll ops: asked as
  // that task, or as the reaper.
  void UpdateReadiness(task_struct* as) ABSL_LOCKS_EXCLUDED(mu_, events_mu_);
  void UpdateReadiness() ABSL_LOCKS_EXCLUDED(reap_mu_, mu_, events_mu_);
  void SettleReading(OpenFile* open, lab_reply* reply);

  // No program is connected any more, and none has a descriptor.
  bool IsIdle();
  // What the kernel says at its end: empty when it left nothing behind and
  // complained of nothing. No call runs.
  std::string Finish();

 private:
  // What an event of reap_epoll_ is about, in the low bits of its number.
  enum Watched : uint64_t { kFile, kLifeline, kPidfd };

  Lab() = default;

  // False: nothing had ended.
  bool ReapAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(reap_mu_);
  void ReapFile(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(reap_mu_);
  void ReapProgram(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(reap_mu_);
  void Retire(Program* program) ABSL_EXCLUSIVE_LOCKS_REQUIRED(reap_mu_);
  void End(Program* program) ABSL_EXCLUSIVE_LOCKS_REQUIRED(reap_mu_);
  void DropRetired() ABSL_LOCKS_EXCLUDED(mu_);
  bool Watch(int fd, uint32_t events, uint64_t number, Watched what);
  uint64_t NumberOf(uint64_t ino);

  std::shared_ptr<sim_kernel> sim_;
  std::unique_ptr<MemoryFiles> memory_files_;
  std::unique_ptr<Trace> trace_;
  std::atomic<uint64_t> epoch_{1};

  // Whoever holds it makes known to the kernel what has ended, as reaper_.
  absl::Mutex reap_mu_;
  UniqueFd reap_epoll_;
  std::unique_ptr<task_struct> reaper_;

  // A leaf: nothing of the kernel is called with it.
  absl::Mutex mu_ ABSL_ACQUIRED_AFTER(reap_mu_);
  // Programs that are dead and not ended, and until when others wait for them.
  int dying_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time dying_until_ ABSL_GUARDED_BY(mu_);
  absl::CondVar ended_;
  uint64_t next_number_ ABSL_GUARDED_BY(mu_) = 1;
  std::unordered_map<uint64_t, std::shared_ptr<OpenFile>> files_
      ABSL_GUARDED_BY(mu_);
  std::unordered_map<uint64_t, std::shared_ptr<OpenFile>> files_by_ino_
      ABSL_GUARDED_BY(mu_);
  std::unordered_map<uint64_t, std::shared_ptr<Program>> programs_
      ABSL_GUARDED_BY(mu_);
  // Some object of the kernel may still look at their leaders.
  std::list<std::shared_ptr<Program>> retired_ ABSL_GUARDED_BY(mu_);

  // Around poll ops and what follows from them.
  absl::Mutex events_mu_;
  std::atomic<int> event_files_{0};
};

}  // namespace client

#endif  // TOOLS_CLIENT_LAB_H_
