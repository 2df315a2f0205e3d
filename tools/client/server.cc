// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/server.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <unordered_map>

#include "core/iommufd/revision.h"
#include "core/linux/capability.h"
#include "core/linux/file.h"
#include "core/linux/uaccess.h"
#include "core/mm/memfd.h"
#include "core/mm/remote.h"
#include "core/mm/vma.h"
#include "core/sim_kernel.h"
#include "drivers/platform/machine_options.h"
#include "drivers/platform/platform.h"
#include "tools/client/program.h"
#include "tools/client/protocol.h"
#include "tools/client/trace.h"
#include "tools/lab_kernel.h"
#include "uapi/iommufd_desc.h"
#include "uapi/iommufd_test.h"

namespace client {
namespace {

// The most that one read or write moves.
constexpr size_t kMaxTransfer = 0x7ffff000;

// How long calls wait for those of a program that has just ended. One that
// hangs in the kernel for longer may itself wait for what others do.
constexpr auto kDyingLimit = std::chrono::seconds(1);

// Connections at a time: each has a thread here. Who comes when there are that
// many gets EIO.
constexpr size_t kMaxConnections = 8192;

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

  // Guarded by Server::Impl::mu_.
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
  int connections = 0;  // guarded by Server::Impl::mu_
  // Held while a call of it is executed, or its fail_nth is changed.
  std::mutex busy;
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
  // Guarded by Server::Impl::events_mu_. Readable is who has a byte in its
  // queue; those that the programs still have to take out of it are owed.
  bool readable = false;
  uint32_t owed = 0;
};

// What a command has that is a descriptor.
struct DescriptorFields {
  int in_offset = -1;
  int out_offset = -1;
  bool returned = false;
};

// ---- /proc/PID/task/TID/fail-nth ----

struct FailNthFile {
  std::shared_ptr<Thread> thread;
};

Thread* FailNthThread(struct file* file) {
  return static_cast<FailNthFile*>(file->private_data)->thread.get();
}

// Compare kstrtouint() with base 0.
int ParseUnsigned(const char* s, u32* out) {
  char* end = nullptr;

  if (*s == '+') s++;
  if (*s < '0' || *s > '9') return -EINVAL;
  errno = 0;
  const unsigned long n = strtoul(s, &end, 0);
  if (end == s) return -EINVAL;
  if (*end == '\n') end++;
  if (*end != '\0') return -EINVAL;
  if (errno == ERANGE || n > UINT32_MAX) return -ERANGE;
  *out = static_cast<u32>(n);
  return 0;
}

// Compare proc_fail_nth_read(). Both threads are held.
ssize_t FailNthRead(struct file* file, u64 buf, size_t count, loff_t* pos) {
  char text[16];
  const size_t len = static_cast<size_t>(snprintf(
      text, sizeof(text), "%u\n", fail_nth_read(&FailNthThread(file)->task)));

  if (*pos < 0) return -EINVAL;
  const size_t at = static_cast<size_t>(*pos);
  if (at >= len || count == 0) return 0;
  count = std::min(count, len - at);
  if (user_out<void>(buf).copy_to_user(text + at, count)) return -EFAULT;
  *pos += static_cast<loff_t>(count);
  return static_cast<ssize_t>(count);
}

// Compare proc_fail_nth_write().
ssize_t FailNthWrite(struct file* file, u64 buf, size_t count, loff_t*) {
  char text[1 + 32 + 1 + 1];
  const size_t n = std::min(count, sizeof(text) - 1);
  u32 nth = 0;

  if (user_in<void>(buf).copy_from_user(text, n)) return -EFAULT;
  text[n] = '\0';
  if (const int rc = ParseUnsigned(text, &nth)) return rc;
  fail_nth_write(&FailNthThread(file)->task, nth);
  return static_cast<ssize_t>(count);
}

int FailNthRelease(struct file* file) {
  delete static_cast<FailNthFile*>(file->private_data);
  return 0;
}

constexpr file_operations kFailNthOps = {
    .release = FailNthRelease,
    .read = FailNthRead,
    .write = FailNthWrite,
    .name = "fail-nth",
};

// ---- messages ----

bool Receive(int fd, lab_request* request, UniqueFd* got) {
  union {
    cmsghdr head;
    char space[CMSG_SPACE(4 * sizeof(int))];
  } control;
  iovec iov = {request, sizeof(*request)};
  msghdr msg = {};
  ssize_t n;

  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = &control;
  msg.msg_controllen = sizeof(control);
  do {
    n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return false;
  for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr;
       c = CMSG_NXTHDR(&msg, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < fds; i++) {
      int one;
      memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      UniqueFd owner(one);  // more than one: closed again
      if (!*got) *got = std::move(owner);
    }
  }
  return n == static_cast<ssize_t>(sizeof(*request)) &&
         !(msg.msg_flags & MSG_TRUNC) && request->magic == LAB_MAGIC;
}

bool Send(int fd, lab_reply* reply, int with) {
  union {
    cmsghdr head;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {};
  iovec iov = {reply, sizeof(*reply)};
  msghdr msg = {};
  ssize_t n;

  reply->magic = LAB_MAGIC;
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  if (with >= 0) {
    msg.msg_control = &control;
    msg.msg_controllen = sizeof(control);
    cmsghdr* c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &with, sizeof(int));
  }
  do {
    n = sendmsg(fd, &msg, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof(*reply));
}

// ---- machines ----

// What --machine says: a kernel's machine, and what holds for every program in
// place of what the program itself has.
struct Machine {
  std::shared_ptr<void> storage;
  bool privileged = true;
  std::optional<uint64_t> memlock;
  std::optional<uint32_t> uid;
};

bool ParseMachine(
    const std::vector<std::pair<std::string, std::string>>& options,
    sim_options* sim, Machine* machine, std::string* error) {
  std::vector<prog::MachineOption> given;

  for (const auto& [key, value] : options) {
    given.push_back({.pos = {1, 1}, .key = key, .value = value});
  }
  const struct machine* row = nullptr;
  prog::Error mistake;
  if (!tools::ParseMachine(given, sim, &machine->storage, &row, &mistake)) {
    *error = mistake.message + " (" + mistake.expected + ")";
    return false;
  }
  if (row->not_for_clients != nullptr) {
    *error = std::string("the machine ") + row->desc->name +
             " cannot serve a program of the host: " + row->not_for_clients;
    return false;
  }
  machine->privileged = sim->caps != 0;
  for (const auto& [key, value] : options) {
    if (key == "memlock") machine->memlock = sim->kernel.rlimit_memlock;
    if (key == "uid") machine->uid = sim->uid;
  }
  return true;
}

// What this process may, and so what a program may at most.
uint64_t OwnCapabilities() {
  __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};

  syscall(SYS_capget, &head, data);
  return data[0].effective | static_cast<uint64_t>(data[1].effective) << 32;
}

// ---- what stands for /sys/kernel/debug ----

bool MakeFile(const std::string& path, const char* text) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const auto n = static_cast<ssize_t>(strlen(text));

  return fd && write(fd.get(), text, static_cast<size_t>(n)) == n;
}

bool MakeDebugFolder(const std::string& folder) {
  struct Knob {
    const char* name;
    const char* value;
  };
  constexpr Knob kCommon[] = {{"probability", "0\n"},
                              {"interval", "1\n"},
                              {"times", "1\n"},
                              {"space", "0\n"},
                              {"verbose", "2\n"},
                              {"task-filter", "N\n"},
                              {"stacktrace-depth", "32\n"}};
  constexpr Knob kSlab[] = {{"ignore-gfp-wait", "Y\n"},
                            {"cache-filter", "N\n"}};
  constexpr Knob kPages[] = {{"ignore-gfp-wait", "Y\n"},
                             {"ignore-gfp-highmem", "Y\n"},
                             {"min-order", "1\n"}};
  const std::string base = folder + "/" LAB_DEBUG_FOLDER;

  if (mkdir(base.c_str(), 0700) != 0) return false;
  for (const char* name :
       {"failslab", "fail_page_alloc", "fail_usercopy", "fail_iommufd"}) {
    const std::string dir = base + "/" + name + "/";
    if (mkdir(dir.c_str(), 0700) != 0) return false;
    for (const Knob& k : kCommon) {
      if (!MakeFile(dir + k.name, k.value)) return false;
    }
    if (strcmp(name, "failslab") == 0) {
      for (const Knob& k : kSlab) {
        if (!MakeFile(dir + k.name, k.value)) return false;
      }
    }
    if (strcmp(name, "fail_page_alloc") == 0) {
      for (const Knob& k : kPages) {
        if (!MakeFile(dir + k.name, k.value)) return false;
      }
    }
  }
  return true;
}

}  // namespace

class Server::Impl {
 public:
  ~Impl();

  bool Create(const ServerOptions& options, std::string* error);
  bool Start(std::string* error);
  bool IsIdle();
  std::string Finish();
  const std::string& path() const { return path_; }

 private:
  struct Connection {
    UniqueFd fd;
    pid_t pid = 0;  // whose it is
    std::thread thread;
    std::atomic<bool> done{false};
  };
  // What an event of reap_epoll_ is about, in the low bits of its number.
  enum Watched : uint64_t { kFile, kLifeline, kPidfd };

  struct kernel* kernel() { return sim_->kernel(); }

  void AcceptLoop();
  void Accept();
  void RefuseOne();
  void JoinEnded(bool all);
  void Serve(Connection* connection);
  bool MayConnect(int fd, pid_t* pid);

  void Reap();
  void ReapFile(uint64_t number);
  void ReapProgram(uint64_t number);
  void Retire(Program* program);
  void End(Program* program);
  void DropRetired();
  void EndCall(Program* program);
  bool Watch(int fd, uint32_t events, uint64_t number, Watched what);

  int64_t HelloProcess(pid_t pid, const lab_request& request,
                       UniqueFd* lifeline, UniqueFd* out);
  std::shared_ptr<Thread> HelloThread(pid_t pid, const lab_request& request);
  std::shared_ptr<Thread> ThreadOf(const std::shared_ptr<Program>& program,
                                   pid_t tid);
  void ThreadEnds(const std::shared_ptr<Thread>& thread);

  void Handle(Thread* thread, const lab_request& request, UniqueFd with,
              lab_reply* reply, UniqueFd* out);
  void Execute(Thread* thread, const lab_request& request, OpenFile* open,
               UniqueFd with, lab_reply* reply, UniqueFd* out);
  int64_t Open(Thread* thread, const lab_request& request, UniqueFd* out);
  int64_t OpenFailNth(Thread* thread, const lab_request& request,
                      UniqueFd* out);
  int64_t OpenStatus(Thread* thread, const lab_request& request, UniqueFd* out);
  int64_t Ioctl(Thread* thread, const lab_request& request, OpenFile* open,
                lab_reply* reply, UniqueFd* out);
  int64_t Transfer(Thread* thread, const lab_request& request, OpenFile* open);
  int64_t Mmap(Thread* thread, const lab_request& request, OpenFile* open,
               lab_reply* reply, UniqueFd* out);

  bool SetCredentials(Thread* thread, const lab_request& request);
  DescriptorFields FieldsOf(Thread* thread, const lab_request& request);
  struct file* FileOf(Thread* thread, int fd);
  // The file's reference goes to the table, also on failure.
  int64_t Publish(struct file* file, int access, std::shared_ptr<Thread> target,
                  UniqueFd* out, uint64_t* made = nullptr);
  std::shared_ptr<OpenFile> Find(uint64_t ino);
  uint64_t NumberOf(uint64_t ino);
  bool StartTrace(const ServerOptions& options, std::string* error);
  void UpdateReadiness(task_struct* as);
  void SettleReading(OpenFile* open, lab_reply* reply);

  std::shared_ptr<sim_kernel> sim_;
  std::unique_ptr<MemoryFiles> memory_files_;
  std::unique_ptr<Trace> trace_;    // null: nobody wants one
  std::atomic<uint64_t> epoch_{1};  // see ProgramMemory
  const iommufd_revision* revision_ = nullptr;
  uint64_t granted_caps_ = 0;
  Machine machine_;
  std::string path_;
  UniqueFd listener_;
  UniqueFd wake_;
  // Given up for a moment when there are no others, so that who waits for an
  // answer gets one. The acceptor's.
  UniqueFd spare_;
  std::thread acceptor_;
  std::list<std::unique_ptr<Connection>> connections_;  // the acceptor's
  std::atomic<bool> stopping_{false};

  // Whoever holds it makes known to the kernel what has ended, as reaper_.
  std::mutex reap_mu_;
  UniqueFd reap_epoll_;
  std::unique_ptr<task_struct> reaper_;

  // A leaf: nothing of the kernel is called with it.
  std::mutex mu_;
  // Programs that are dead and not ended, and until when others wait for them.
  int dying_ = 0;
  std::chrono::steady_clock::time_point dying_until_;
  std::condition_variable ended_;
  uint64_t next_number_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<OpenFile>> files_;
  std::unordered_map<uint64_t, std::shared_ptr<OpenFile>> files_by_ino_;
  std::unordered_map<uint64_t, std::shared_ptr<Program>> programs_;
  // Some object of the kernel may still look at their leaders.
  std::list<std::shared_ptr<Program>> retired_;

  // Around poll ops and what follows from them.
  std::mutex events_mu_;
  std::atomic<int> event_files_{0};
};

// ---- construction ----

bool Server::Impl::Create(const ServerOptions& options, std::string* error) {
  sim_options sim;

  revision_ = iommufd_find_revision(options.revision);
  if (revision_ == nullptr) {
    *error = "there is no uapi '" + options.revision + "'; there is:";
    for (unsigned i = 0; iommufd_revision_nr(i) != nullptr; i++) {
      *error += std::string(" ") + iommufd_revision_nr(i)->name;
    }
    return false;
  }
  if (!ParseMachine(options.machine, &sim, &machine_, error)) return false;
  if (machine_.privileged) granted_caps_ = ~OwnCapabilities();
  sim.revision = options.revision;
  sim.kernel.panic_on_warn = false;
  sim.mm.shared_ram = true;
  result<std::shared_ptr<sim_kernel>> made = sim_kernel::create(sim);
  if (!made) {
    *error =
        std::string("this machine cannot be built: ") + strerror(-made.error());
    return false;
  }
  sim_ = std::move(*made);
  memory_files_ = std::make_unique<MemoryFiles>(kernel());
  reaper_ = std::make_unique<task_struct>(kernel(), "reaper");

  if (!options.trace.empty() && !StartTrace(options, error)) return false;

  path_ = options.folder + "/socket";
  sockaddr_un addr = {};
  addr.sun_family = AF_UNIX;
  if (path_.size() >= sizeof(addr.sun_path)) {
    *error = "the path " + path_ + " is too long for a socket";
    return false;
  }
  memcpy(addr.sun_path, path_.c_str(), path_.size() + 1);
  listener_.Reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  reap_epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  spare_.Reset(fcntl(wake_.get(), F_DUPFD_CLOEXEC, 3));
  if (!listener_ || !reap_epoll_ || !wake_ ||
      bind(listener_.get(), reinterpret_cast<sockaddr*>(&addr), sizeof(addr)) !=
          0 ||
      listen(listener_.get(), SOMAXCONN) != 0 ||
      !MakeDebugFolder(options.folder)) {
    *error = options.folder + ": " + strerror(errno);
    return false;
  }
  return true;
}

bool Server::Impl::StartTrace(const ServerOptions& options,
                              std::string* error) {
  trace_ =
      Trace::Create(options.trace, revision_->name, options.machine, error);
  if (trace_ == nullptr) return false;
  trace_->SetFiles([this](uint64_t ino) { return NumberOf(ino); });
  return true;
}

bool Server::Impl::Start(std::string* error) {
  (void)error;
  acceptor_ = std::thread([this] { AcceptLoop(); });
  return true;
}

Server::Impl::~Impl() {
  if (sim_ != nullptr) Finish();
}

// ---- connections ----

void Server::Impl::AcceptLoop() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  for (const int fd : {listener_.get(), reap_epoll_.get(), wake_.get()}) {
    epoll_event e = {};
    e.events = EPOLLIN;
    e.data.fd = fd;
    epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e);
  }
  while (!stopping_.load()) {
    epoll_event e;
    if (epoll_wait(epoll.get(), &e, 1, 1000) > 0) {
      if (e.data.fd == listener_.get()) Accept();
      if (e.data.fd == reap_epoll_.get()) {
        Reap();
        UpdateReadiness(nullptr);
      }
    }
    JoinEnded(false);
  }
  for (const auto& c : connections_) shutdown(c->fd.get(), SHUT_RDWR);
  JoinEnded(true);
}

void Server::Impl::Accept() {
  if (!spare_) spare_.Reset(fcntl(wake_.get(), F_DUPFD_CLOEXEC, 3));
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));

  if (!fd) {
    if (errno == EMFILE || errno == ENFILE) RefuseOne();
    return;
  }
  pid_t pid = 0;
  // What comes back from here is a connection that ends: the program gets EIO.
  if (connections_.size() >= kMaxConnections || !MayConnect(fd.get(), &pid)) {
    return;
  }
  auto connection = std::make_unique<Connection>();
  connection->fd = std::move(fd);
  connection->pid = pid;
  Connection* c = connection.get();
  try {
    c->thread = std::thread([this, c] {
      Serve(c);
      c->done.store(true);
    });
  } catch (const std::system_error&) {
    return;  // no more threads
  }
  connections_.push_back(std::move(connection));
}

// Out of descriptors: who is next gets EIO.
void Server::Impl::RefuseOne() {
  spare_.Reset();
  const UniqueFd fd(
      accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  // Somebody else has taken it: they end some day.
  if (!fd) usleep(10000);
}

void Server::Impl::JoinEnded(bool all) {
  for (auto it = connections_.begin(); it != connections_.end();) {
    if (all || (*it)->done.load()) {
      (*it)->thread.join();
      it = connections_.erase(it);
    } else {
      ++it;
    }
  }
}

bool Server::Impl::MayConnect(int fd, pid_t* pid) {
  ucred peer;
  socklen_t len = sizeof(peer);

  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) return false;
  *pid = peer.pid;
  return peer.uid == geteuid() && peer.pid != getpid() &&
         IsDescendant(peer.pid);
}

void Server::Impl::Serve(Connection* connection) {
  const int fd = connection->fd.get();
  std::shared_ptr<Thread> thread;
  bool is_lifeline = false;
  lab_request request = {};
  const pid_t pid = connection->pid;

  // What comes back from here is a connection that ends: the program gets EIO.
  const auto serve = [&] {
    UniqueFd with;
    lab_reply reply = {};

    if (!Receive(fd, &request, &with) || request.op != LAB_HELLO) return;
    Reap();
    if (request.kind == LAB_HELLO_PROCESS) {
      UniqueFd out;
      UniqueFd lifeline(fcntl(fd, F_DUPFD_CLOEXEC, 3));
      reply.result = HelloProcess(pid, request, &lifeline, &out);
      is_lifeline = reply.result == 0;
      Send(fd, &reply, is_lifeline ? out.get() : -1);
      return;
    }
    thread = HelloThread(pid, request);
    if (thread == nullptr || !Send(fd, &reply, -1)) return;
    for (;;) {
      UniqueFd got;
      UniqueFd out;
      lab_reply answer = {};

      if (!Receive(fd, &request, &got) || request.op == LAB_HELLO) return;
      Handle(thread.get(), request, std::move(got), &answer, &out);
      if (!Send(fd, &answer, out.get())) return;
    }
  };
  serve();
  if (thread != nullptr) ThreadEnds(thread);
  if (!is_lifeline) shutdown(fd, SHUT_RDWR);
}

// ---- programs ----

int64_t Server::Impl::HelloProcess(pid_t pid, const lab_request& request,
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
    const std::lock_guard<std::mutex> lock(reap_mu_);
    std::shared_ptr<Program> parent;
    std::vector<std::shared_ptr<Program>> before;
    {
      const std::lock_guard<std::mutex> leaf(mu_);
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
      const std::lock_guard<std::mutex> leaf(mu_);
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

std::shared_ptr<Thread> Server::Impl::HelloThread(pid_t pid,
                                                  const lab_request& request) {
  const pid_t tid = static_cast<pid_t>(request.tid);
  char path[64];

  snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
  if (access(path, F_OK) != 0) return nullptr;
  std::shared_ptr<Program> program;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    for (const auto& [number, p] : programs_) {
      if (p->pid == pid && p->nonce == request.arg[0] && !p->dead) program = p;
    }
  }
  if (program == nullptr) return nullptr;
  std::shared_ptr<Thread> thread = ThreadOf(program, tid);
  if (thread != nullptr) {
    const std::lock_guard<std::mutex> lock(mu_);
    thread->connections++;
    program->memory->SetThread(tid);
  }
  return thread;
}

// nullptr: the program has ended.
std::shared_ptr<Thread> Server::Impl::ThreadOf(
    const std::shared_ptr<Program>& program, pid_t tid) {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    const auto it = program->threads.find(tid);
    if (it != program->threads.end()) return it->second;
  }
  auto thread = std::make_shared<Thread>(kernel(), program, tid);
  const std::lock_guard<std::mutex> lock(mu_);
  if (program->dead) return nullptr;
  return program->threads.emplace(tid, std::move(thread)).first->second;
}

void Server::Impl::ThreadEnds(const std::shared_ptr<Thread>& thread) {
  const std::lock_guard<std::mutex> lock(mu_);

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
void Server::Impl::Retire(Program* program) {
  std::map<pid_t, std::shared_ptr<Thread>> threads;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    if (program->dead) return;
    program->dead = true;
    dying_++;
    dying_until_ = std::chrono::steady_clock::now() + kDyingLimit;
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
void Server::Impl::End(Program* program) {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    if (!program->dead || program->ended || program->calls != 0) return;
    program->ended = true;
  }
  if (trace_ != nullptr) trace_->Ends(program->number);
  {
    task_scope ts(reaper_.get());
    mmput(program->mm);
  }
  const std::lock_guard<std::mutex> lock(mu_);
  if (--dying_ == 0) ended_.notify_all();
}

// Those whose leaders nobody looks at any more.
void Server::Impl::DropRetired() {
  std::list<std::shared_ptr<Program>> gone;
  const std::lock_guard<std::mutex> lock(mu_);

  for (auto it = retired_.begin(); it != retired_.end();) {
    const auto next = std::next(it);
    if ((*it)->ended && it->use_count() == 1 &&
        (*it)->leader->usage.load(std::memory_order_acquire) == 1) {
      gone.splice(gone.end(), retired_, it);
    }
    it = next;
  }
}

// ---- what has ended ----

bool Server::Impl::Watch(int fd, uint32_t events, uint64_t number,
                         Watched what) {
  epoll_event e = {};

  e.events = events;
  e.data.u64 = number << 2 | what;
  return epoll_ctl(reap_epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0;
}

void Server::Impl::Reap() {
  std::unique_lock<std::mutex> lock(reap_mu_);
  bool any = false;

  for (;;) {
    epoll_event events[64];
    const int n = epoll_wait(reap_epoll_.get(), events, 64, 0);

    if (n <= 0) break;
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
  if (any) {
    sim_->leave();
    DropRetired();
  }
  lock.unlock();
  std::unique_lock<std::mutex> leaf(mu_);
  while (dying_ != 0 &&
         ended_.wait_until(leaf, dying_until_) != std::cv_status::timeout) {
  }
}

void Server::Impl::ReapProgram(uint64_t number) {
  std::shared_ptr<Program> program;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    const auto it = programs_.find(number);
    if (it == programs_.end()) return;
    program = it->second;
  }
  Retire(program.get());
}

// The last descriptor of it is closed.
void Server::Impl::ReapFile(uint64_t number) {
  std::shared_ptr<OpenFile> open;
  {
    const std::lock_guard<std::mutex> lock(mu_);
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

// ---- files ----

std::shared_ptr<OpenFile> Server::Impl::Find(uint64_t ino) {
  const std::lock_guard<std::mutex> lock(mu_);
  const auto it = files_by_ino_.find(ino);

  if (it == files_by_ino_.end()) return nullptr;
  return it->second;
}

// 0: none.
uint64_t Server::Impl::NumberOf(uint64_t ino) {
  const std::shared_ptr<OpenFile> open = Find(ino);

  return open != nullptr ? open->number : 0;
}

int64_t Server::Impl::Publish(struct file* file, int access,
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
    const std::lock_guard<std::mutex> lock(mu_);
    number = open->number = next_number_++;
    files_by_ino_[open->ino] = open;
    files_[number] = std::move(open);
  }
  // Else nobody would see its end.
  if (!Watch(ends[0], 0, number, kFile)) {
    out->Reset();
    {
      const std::lock_guard<std::mutex> lock(mu_);
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

// Readiness, as the programs' hosts see it, follows the poll ops. `as` may be
// null: then as the reaper.
void Server::Impl::UpdateReadiness(task_struct* as) {
  std::vector<std::shared_ptr<OpenFile>> all;

  if (event_files_.load() == 0) return;
  std::unique_lock<std::mutex> reap(reap_mu_, std::defer_lock);
  if (as == nullptr) {
    reap.lock();
    as = reaper_.get();
  }
  task_scope ts(as);
  {
    const std::lock_guard<std::mutex> lock(mu_);
    for (const auto& [number, open] : files_) {
      if (open->file->f_op->poll == nullptr) continue;
      get_file(open->file);
      all.push_back(open);
    }
  }
  {
    const std::lock_guard<std::mutex> lock(events_mu_);
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

void Server::Impl::SettleReading(OpenFile* open, lab_reply* reply) {
  const std::lock_guard<std::mutex> lock(events_mu_);

  reply->drain = std::exchange(open->owed, 0);
}

// ---- calls ----

bool Server::Impl::SetCredentials(Thread* thread, const lab_request& request) {
  struct cred* cred = &thread->credentials;

  const uint32_t uid = machine_.uid.value_or(request.euid);
  thread->program->leader->rlimit_memlock.store(
      machine_.memlock.value_or(request.memlock), std::memory_order_relaxed);
  cred->caps = request.caps | granted_caps_;
  if (cred->user == nullptr || cred->uid != uid) {
    cred->user = alloc_uid(kernel(), uid);
    cred->uid = uid;
  }
  return cred->user != nullptr;
}

void Server::Impl::EndCall(Program* program) {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    if (--program->calls != 0 || !program->dead) return;
  }
  {
    const std::lock_guard<std::mutex> lock(reap_mu_);
    End(program);
  }
  sim_->leave();
  DropRetired();
}

void Server::Impl::Handle(Thread* thread, const lab_request& request,
                          UniqueFd with, lab_reply* reply, UniqueFd* out) {
  Program* program = thread->program.get();
  std::shared_ptr<OpenFile> open;

  Reap();
  epoch_++;
  reply->result = -EIO;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    if (program->dead) return;
    program->calls++;
  }
  if (request.file != 0) open = Find(request.file);
  {
    // One that changes another thread's fail_nth holds that one, too.
    std::unique_lock<std::mutex> own(thread->busy, std::defer_lock);
    std::unique_lock<std::mutex> other;
    if (open != nullptr && open->target != nullptr &&
        open->target.get() != thread) {
      other = std::unique_lock<std::mutex>(open->target->busy, std::defer_lock);
      std::lock(own, other);
    } else {
      own.lock();
    }
    if (!SetCredentials(thread, request)) {
      reply->result = -ENOMEM;
    } else {
      Execute(thread, request, open.get(), std::move(with), reply, out);
      sim_->leave();
      UpdateReadiness(&thread->helper);
      if (request.op == LAB_READ && open != nullptr) {
        SettleReading(open.get(), reply);
      }
    }
  }
  EndCall(program);
  if (request.op == LAB_REGISTER) memory_files_->CollectGarbage();
}

void Server::Impl::Execute(Thread* thread, const lab_request& request,
                           OpenFile* open, UniqueFd with, lab_reply* reply,
                           UniqueFd* out) {
  const auto needs_file = [&](auto call) -> int64_t {
    if (open == nullptr) return -EBADF;
    struct file* file;
    {
      // Its last descriptor may go now.
      const std::lock_guard<std::mutex> lock(mu_);
      if (files_.find(open->number) == files_.end()) return -EBADF;
      file = get_file(open->file);
    }
    const int64_t rc = call();
    task_scope ts(&thread->helper);
    fput(file);
    return rc;
  };

  switch (request.op) {
    case LAB_OPEN:
      reply->result = Open(thread, request, out);
      break;
    case LAB_IOCTL:
      reply->result =
          needs_file([&] { return Ioctl(thread, request, open, reply, out); });
      break;
    case LAB_READ:
    case LAB_WRITE:
      reply->result =
          needs_file([&] { return Transfer(thread, request, open); });
      break;
    case LAB_MMAP:
      reply->result =
          needs_file([&] { return Mmap(thread, request, open, reply, out); });
      break;
    case LAB_MUNMAP: {
      const uint64_t addr = request.arg[0];
      const uint64_t length = request.arg[1];
      {
        task_scope ts(&thread->task);
        reply->result = vm_munmap(addr, length);
      }
      if (trace_ == nullptr) break;
      const uint64_t image = thread->program->number;
      if (reply->result == 0) trace_->DeviceUnmapped(image, addr, length);
      trace_->recorder()->Munmap(trace_->Caller(image, 0), addr, length,
                                 static_cast<int>(reply->result));
      break;
    }
    case LAB_REGISTER:
      if (trace_ != nullptr) {
        trace_->AddMemory(with.get(), request.kind == 1);
      }
      reply->result =
          memory_files_->Register(std::move(with)) == nullptr ? -EINVAL : 0;
      break;
    case LAB_PRESERVE: {
      if (trace_ != nullptr) {
        trace_->recorder()->Unmaps(
            trace_->Caller(thread->program->number, 0).process, request.arg[0],
            request.arg[1]);
      }
      task_scope ts(&thread->helper);
      reply->result = remote_mm_preserve(thread->program->mm, request.arg[0],
                                         request.arg[1]);
      break;
    }
    default:
      reply->result = -ENOSYS;
  }
}

int64_t Server::Impl::Open(Thread* thread, const lab_request& request,
                           UniqueFd* out) {
  switch (request.kind) {
    case LAB_OPEN_FAIL_NTH:
      return OpenFailNth(thread, request, out);
    case LAB_OPEN_STATUS:
      return OpenStatus(thread, request, out);
    case LAB_OPEN_IOMMU:
    case LAB_OPEN_VFIO:
      break;
    default:
      return -EINVAL;
  }
  const int flags = static_cast<int>(request.arg[0]);
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return -EEXIST;
  if (flags & O_DIRECTORY) return -ENOTDIR;
  const bool vfio = request.kind == LAB_OPEN_VFIO;
  const unsigned nth = fail_nth_read(&thread->task);
  uint64_t number = 0;
  int64_t rc;
  {
    task_scope ts(&thread->task);
    result<struct file*> file = iommufd_file_open(revision_, vfio);

    rc = file ? Publish(*file, flags & O_ACCMODE, nullptr, out, &number)
              : file.error();
  }
  if (trace_ != nullptr) {
    trace_->recorder()->Open(trace_->Caller(thread->program->number, nth),
                             vfio ? "/dev/vfio/vfio" : "/dev/iommu", "",
                             static_cast<int>(rc), number);
  }
  return rc;
}

int64_t Server::Impl::OpenFailNth(Thread* thread, const lab_request& request,
                                  UniqueFd* out) {
  const pid_t pid = static_cast<pid_t>(request.arg[1]);
  const pid_t tid = static_cast<pid_t>(request.arg[2]);
  std::shared_ptr<Program> program;
  char path[64];
  {
    const std::lock_guard<std::mutex> lock(mu_);
    for (const auto& [number, p] : programs_) {
      if (p->pid == pid) program = p;
    }
  }
  snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
  if (program == nullptr || access(path, F_OK) != 0) return -ENOENT;
  std::shared_ptr<Thread> target = ThreadOf(program, tid);
  if (target == nullptr) return -ENOENT;

  task_scope ts(&thread->helper);
  auto* priv = new FailNthFile{target};
  result<struct file*> file =
      anon_inode_getfile("fail-nth", &kFailNthOps, priv, O_RDWR);
  if (!file) {
    delete priv;
    return file.error();
  }
  return Publish(*file, static_cast<int>(request.arg[0]) & O_ACCMODE,
                 std::move(target), out);
}

// The host's text with our numbers.
int64_t Server::Impl::OpenStatus(Thread* thread, const lab_request& request,
                                 UniqueFd* out) {
  const pid_t pid = static_cast<pid_t>(request.arg[1]);
  std::shared_ptr<Program> program;
  unsigned long locked = 0;
  unsigned long pinned = 0;
  char path[64];
  {
    const std::lock_guard<std::mutex> lock(mu_);
    for (const auto& [number, p] : programs_) {
      if (p->pid == pid) program = p;
    }
    if (program != nullptr) program->calls++;
  }
  if (program == nullptr) return -EXDEV;
  {
    task_scope ts(&thread->helper);
    struct sim_mm* mm = to_sim_mm(program->mm);

    mmap_read_lock(mm);
    [&]() LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h") {
      locked = mm->locked_vm;
    }();
    mmap_read_unlock(mm);
    pinned = static_cast<unsigned long>(mm->pinned_vm.load());
  }
  EndCall(program.get());
  snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid,
           static_cast<pid_t>(request.arg[2]));
  const UniqueFd real(open(path, O_RDONLY | O_CLOEXEC));
  if (!real) return -errno;
  std::string text;
  char buf[4096];
  for (ssize_t n; (n = read(real.get(), buf, sizeof(buf))) > 0;) {
    text.append(buf, static_cast<size_t>(n));
  }
  const auto replace = [&text](const char* key, unsigned long pages) {
    const size_t at = text.find(key);
    const size_t end =
        at == std::string::npos ? std::string::npos : text.find('\n', at);
    char line[64];

    if (end == std::string::npos) return;
    snprintf(line, sizeof(line), "%s\t%8lu kB", key, pages * 4);
    text.replace(at, end - at, line);
  };
  replace("VmLck:", locked);
  replace("VmPin:", pinned);
  const UniqueFd copy(memfd_create("status", MFD_CLOEXEC));
  if (!copy || write(copy.get(), text.data(), text.size()) !=
                   static_cast<ssize_t>(text.size())) {
    return -ENOMEM;
  }
  snprintf(path, sizeof(path), "/proc/self/fd/%d", copy.get());
  out->Reset(open(path, O_RDONLY | O_CLOEXEC));
  return *out ? 0 : -errno;
}

// Which of the command's fields are descriptors.
DescriptorFields Server::Impl::FieldsOf(Thread* thread,
                                        const lab_request& request) {
  const auto cmd = static_cast<uint32_t>(request.arg[0]);
  DescriptorFields fields;
  u32 op = 0;

  if (cmd == IOMMU_TEST_CMD &&
      thread->program->memory->copy(
          &op, request.arg[1] + offsetof(iommu_test_cmd, op), sizeof(op),
          false) != 0) {
    return fields;
  }
  const desc_ioctl* d =
      iommufd_desc_find_cmd(cmd, op, revision_->desc_revision);
  if (d == nullptr) return fields;
  fields.returned = d->returns_fd;
  for (const desc_field& f : d->arg->fields) {
    if (f.kind == desc_kind::FD_IN) fields.in_offset = f.offset;
    if (f.kind == desc_kind::FD_OUT) fields.out_offset = f.offset;
  }
  return fields;
}

// The kernel's file that stands for a descriptor of the program, with a
// reference. nullptr: it is closed. As the helper.
struct file* Server::Impl::FileOf(Thread* thread, int fd) {
  char path[64];
  char target[64];
  unsigned long ino = 0;

  snprintf(path, sizeof(path), "/proc/%d/task/%d/fd/%d", thread->program->pid,
           thread->tid, fd);
  const ssize_t n = readlink(path, target, sizeof(target) - 1);
  if (n < 0) return nullptr;
  target[n] = '\0';
  if (sscanf(target, "socket:[%lu]", &ino) == 1) {
    const std::lock_guard<std::mutex> lock(mu_);
    const auto it = files_by_ino_.find(ino);
    if (it != files_by_ino_.end()) return get_file(it->second->file);
  } else if (struct stat st; stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
    UniqueFd copy(open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!copy) {
      copy.Reset(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    }
    std::shared_ptr<remote_object> object =
        memory_files_->Register(std::move(copy));
    if (object != nullptr) {
      result<struct file*> file = remote_memfd_file(std::move(object));
      if (file) return *file;
    }
  }
  // Some other file: nothing that the kernel would take.
  static constexpr file_operations kNoOps = {.name = "foreign"};
  result<struct file*> file =
      anon_inode_getfile("foreign", &kNoOps, nullptr, 0);
  return file ? *file : nullptr;
}

int64_t Server::Impl::Ioctl(Thread* thread, const lab_request& request,
                            OpenFile* open, lab_reply* reply, UniqueFd* out) {
  const auto cmd = static_cast<unsigned>(request.arg[0]);
  const uint64_t arg = request.arg[1];
  const DescriptorFields fields = FieldsOf(thread, request);
  lent_fd lent = {};
  struct file* file = open->file;
  prog::Recorder::Ioctl traced;
  uint64_t number = 0;
  int64_t rc;

  if (trace_ != nullptr) {
    traced = trace_->recorder()->BeginIoctl(
        trace_->Caller(thread->program->number, fail_nth_read(&thread->task)),
        open->number, -1, cmd, arg);
  }

  if (fields.in_offset >= 0) {
    int fd = -1;
    task_scope ts(&thread->helper);

    if (thread->program->memory->copy(
            &fd, arg + static_cast<uint64_t>(fields.in_offset), sizeof(fd),
            false) == 0 &&
        fd >= 0) {
      lent.file = FileOf(thread, fd);
      lent.fd = static_cast<unsigned>(fd);
      if (lent.file != nullptr) thread->files.lent = &lent;
    }
  }
  {
    task_scope ts(&thread->task);

    rc = file->f_op->unlocked_ioctl == nullptr
             ? -ENOTTY
             : file->f_op->unlocked_ioctl(file, cmd, arg);
    if (rc == -ENOIOCTLCMD) rc = -ENOTTY;
  }
  thread->files.lent = nullptr;
  task_scope ts(&thread->helper);
  if (lent.file != nullptr) fput(lent.file);
  // What it opened is the lowest descriptor, as there is no other.
  struct file* made = fget(files_struct::FIRST_FD);
  if (made != nullptr) {
    // The table's reference goes, ours stays.
    (void)close_fd(files_struct::FIRST_FD);
    if (rc < 0 || (fields.out_offset < 0 && !fields.returned)) {
      fput(made);
    } else {
      const int64_t published = Publish(made, O_RDWR, nullptr, out, &number);
      if (published < 0) {
        rc = published;
      } else if (!fields.returned) {
        reply->store_at = arg + static_cast<uint64_t>(fields.out_offset);
      }
    }
  }
  if (trace_ != nullptr) {
    const prog::RecordFile files[] = {number};
    trace_->recorder()->EndIoctl(&traced, rc,
                                 std::span(files).first(number != 0 ? 1 : 0));
  }
  return rc;
}

int64_t Server::Impl::Transfer(Thread* thread, const lab_request& request,
                               OpenFile* open) {
  const bool reads = request.op == LAB_READ;
  const uint64_t buf = request.arg[0];
  const uint64_t count = request.arg[1];
  constexpr uint64_t kLimit = (1ull << 47) - PAGE_SIZE;
  struct file* file = open->file;
  const auto op = reads ? file->f_op->read : file->f_op->write;

  if (open->access == (reads ? O_WRONLY : O_RDONLY)) return -EBADF;
  if (op == nullptr) return -EINVAL;
  if (count > kLimit || buf > kLimit - count) return -EFAULT;
  // fail_nth is in the calls that it is about.
  prog::Recorder* recorder = trace_ != nullptr && open->target == nullptr
                                 ? trace_->recorder()
                                 : nullptr;
  prog::RecordCaller caller;
  prog::Recorder::Ioctl traced;
  if (recorder != nullptr) {
    caller =
        trace_->Caller(thread->program->number, fail_nth_read(&thread->task));
    if (!reads) {
      traced = recorder->BeginWrite(caller, open->number, -1, buf, count);
    }
  }
  loff_t pos = static_cast<loff_t>(request.arg[2]);
  int64_t rc;
  {
    task_scope ts(&thread->task);
    rc = op(file, buf, std::min<size_t>(count, kMaxTransfer),
            request.kind != 0 ? &pos : &file->f_pos);
  }
  if (recorder != nullptr && reads) {
    recorder->Read(caller, open->number, -1, buf, count, rc);
  } else if (recorder != nullptr) {
    recorder->EndWrite(&traced, rc);
  }
  return rc;
}

int64_t Server::Impl::Mmap(Thread* thread, const lab_request& request,
                           OpenFile* open, lab_reply* reply, UniqueFd* out) {
  const uint64_t addr = request.arg[0];
  const uint64_t length = request.arg[1];
  const uint64_t flags = (request.arg[3] & MAP_TYPE) | MAP_FIXED;
  const bool writes =
      (request.arg[2] & PROT_WRITE) && (flags & MAP_TYPE) != MAP_PRIVATE;

  if (open->access == O_WRONLY || (open->access == O_RDONLY && writes)) {
    return -EACCES;
  }
  prog::RecordCaller caller;
  if (trace_ != nullptr) {
    caller =
        trace_->Caller(thread->program->number, fail_nth_read(&thread->task));
  }
  task_scope ts(&thread->task);
  const long at =
      vm_mmap(open->file, addr, length, request.arg[2], flags, request.arg[4]);
  if (trace_ != nullptr) {
    if (at >= 0) trace_->DeviceMapped(thread->program->number, addr, length);
    trace_->recorder()->Mmap(
        caller, open->number, -1, request.arg[3] & MAP_FIXED ? addr : 0, length,
        static_cast<int>(request.arg[2]), static_cast<int>(request.arg[3]),
        request.arg[4], static_cast<uint64_t>(at));
  }
  if (at < 0) return at;
  unsigned long pfn = 0;
  mmap_read_lock(thread->program->mm);
  const vm_area_struct* vma = vma_lookup(thread->program->mm, addr);
  if (vma != nullptr) pfn = vma->pfn;
  mmap_read_unlock(thread->program->mm);
  int ram = -1;
  const long offset = mm_ram_offset(kernel(), pfn, &ram);
  if (offset >= 0) {
    reply->value = static_cast<uint64_t>(offset);
    out->Reset(fcntl(ram, F_DUPFD_CLOEXEC, 3));
  }
  return 0;
}

// ---- the end ----

bool Server::Impl::IsIdle() {
  Reap();
  const std::lock_guard<std::mutex> lock(mu_);
  return files_.empty() && programs_.empty() && dying_ == 0;
}

std::string Server::Impl::Finish() {
  std::string text;

  stopping_.store(true);
  if (acceptor_.joinable()) {
    const uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof(one));
    acceptor_.join();
  }
  Reap();
  {
    const std::lock_guard<std::mutex> lock(reap_mu_);
    for (;;) {
      std::shared_ptr<Program> program;
      {
        const std::lock_guard<std::mutex> leaf(mu_);
        if (programs_.empty()) break;
        program = programs_.begin()->second;
      }
      Retire(program.get());
    }
    for (;;) {
      uint64_t number;
      {
        const std::lock_guard<std::mutex> leaf(mu_);
        if (files_.empty()) break;
        number = files_.begin()->first;
      }
      ReapFile(number);
    }
  }
  sim_->run_deferred_work();
  DropRetired();
  {
    const std::lock_guard<std::mutex> lock(mu_);
    if (!retired_.empty()) {
      text +=
          "references to processes: " + std::to_string(retired_.size()) + "\n";
    }
  }
  text += sim_->residue(0);
  if (kernel_warn_count(kernel()) != 0) text += sim_->take_log();
  retired_.clear();
  trace_.reset();
  reaper_.reset();
  memory_files_.reset();
  sim_.reset();
  return text;
}

// ---- Server ----

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

std::unique_ptr<Server> Server::Create(const ServerOptions& options,
                                       std::string* error) {
  auto impl = std::make_unique<Impl>();

  if (!impl->Create(options, error)) return nullptr;
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

const std::string& Server::socket_path() const { return impl_->path(); }
bool Server::Start(std::string* error) { return impl_->Start(error); }
bool Server::IsIdle() { return impl_->IsIdle(); }
std::string Server::Finish() { return impl_->Finish(); }

}  // namespace client
