// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <list>
#include <system_error>
#include <thread>

#include "core/iommufd/revision.h"
#include "tools/client/calls.h"
#include "tools/client/debug_folder.h"
#include "tools/client/lab.h"
#include "tools/client/machine.h"
#include "tools/client/program.h"
#include "tools/client/protocol.h"
#include "tools/client/wire.h"

namespace client {
namespace {

// Connections at a time: each has a thread here. A process that connects when
// there are that many gets EIO.
constexpr size_t kMaxConnections = 8192;

}  // namespace

class Server::Impl {
 public:
  ~Impl();

  bool Create(const ServerOptions& options, std::string* error);
  void Start() {
    acceptor_ = std::thread([this] { AcceptLoop(); });
  }
  bool IsIdle() { return lab_->IsIdle(); }
  std::string Finish();
  const std::string& path() const { return path_; }

 private:
  struct Connection {
    UniqueFd fd;
    pid_t pid = 0;  // whose it is
    std::thread thread;
    std::atomic<bool> done{false};
  };

  bool Listen(const std::string& folder, std::string* error);
  void AcceptLoop();
  void Accept();
  void RefuseOne();
  void JoinEnded(bool all);
  void Serve(Connection* connection);
  bool MayConnect(int fd, pid_t* pid);

  std::unique_ptr<Lab> lab_;
  std::unique_ptr<Calls> calls_;
  std::string path_;
  UniqueFd listener_;
  UniqueFd wake_;
  // Given up for a moment when there are no others, so that a process that
  // waits for an answer gets one. The acceptor's.
  UniqueFd spare_;
  std::thread acceptor_;
  std::list<std::unique_ptr<Connection>> connections_;  // the acceptor's
  std::atomic<bool> stopping_{false};
};

// ---- construction ----

bool Server::Impl::Create(const ServerOptions& options, std::string* error) {
  LabSetup setup;
  Machine machine;
  const iommufd_revision* revision = iommufd_find_revision(options.revision);

  if (revision == nullptr) {
    *error = "there is no uapi '" + options.revision + "'; there is:";
    for (unsigned i = 0; iommufd_revision_nr(i) != nullptr; i++) {
      *error += std::string(" ") + iommufd_revision_nr(i)->name;
    }
    return false;
  }
  if (!ParseMachine(options.machine, &setup.sim, &machine, error)) return false;
  setup.sim.revision = revision->name;
  setup.sim.kernel.panic_on_warn = false;
  setup.sim.mm.shared_ram = true;
  setup.trace = options.trace;
  setup.machine = options.machine;
  lab_ = Lab::Create(setup, error);
  if (lab_ == nullptr) return false;
  calls_ = std::make_unique<Calls>(lab_.get(), revision, std::move(machine));
  return Listen(options.folder, error);
}

bool Server::Impl::Listen(const std::string& folder, std::string* error) {
  sockaddr_un addr = {};

  path_ = folder + "/socket";
  addr.sun_family = AF_UNIX;
  if (path_.size() >= sizeof(addr.sun_path)) {
    *error = "the path " + path_ + " is too long for a socket";
    return false;
  }
  memcpy(addr.sun_path, path_.c_str(), path_.size() + 1);
  listener_.Reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  spare_.Reset(fcntl(wake_.get(), F_DUPFD_CLOEXEC, 3));
  if (!listener_ || !wake_ ||
      bind(listener_.get(), reinterpret_cast<sockaddr*>(&addr), sizeof(addr)) !=
          0 ||
      listen(listener_.get(), SOMAXCONN) != 0 || !MakeDebugFolder(folder)) {
    *error = folder + ": " + strerror(errno);
    return false;
  }
  return true;
}

Server::Impl::~Impl() {
  if (lab_ != nullptr) Finish();
}

std::string Server::Impl::Finish() {
  stopping_.store(true);
  if (acceptor_.joinable()) {
    const uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof(one));
    acceptor_.join();
  }
  std::string text = lab_->Finish();
  lab_.reset();
  return text;
}

// ---- connections ----

void Server::Impl::AcceptLoop() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  for (const int fd : {listener_.get(), lab_->reap_fd(), wake_.get()}) {
    epoll_event e = {};
    e.events = EPOLLIN;
    e.data.fd = fd;
    epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e);
  }
  while (!stopping_.load()) {
    epoll_event e;
    if (epoll_wait(epoll.get(), &e, 1, 1000) > 0) {
      if (e.data.fd == listener_.get()) Accept();
      if (e.data.fd == lab_->reap_fd()) {
        lab_->Reap();
        lab_->UpdateReadiness();
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
    lab_->Reap();
    if (request.kind == LAB_HELLO_PROCESS) {
      UniqueFd out;
      UniqueFd lifeline(fcntl(fd, F_DUPFD_CLOEXEC, 3));
      reply.result = lab_->HelloProcess(pid, request, &lifeline, &out);
      is_lifeline = reply.result == 0;
      Send(fd, &reply, is_lifeline ? out.get() : -1);
      return;
    }
    thread = lab_->HelloThread(pid, request);
    if (thread == nullptr || !Send(fd, &reply, -1)) return;
    for (;;) {
      UniqueFd got;
      UniqueFd out;
      lab_reply answer = {};

      if (!Receive(fd, &request, &got) || request.op == LAB_HELLO) return;
      calls_->Handle(thread.get(), request, std::move(got), &answer, &out);
      if (!Send(fd, &answer, out.get())) return;
    }
  };
  serve();
  if (thread != nullptr) lab_->ThreadEnds(thread);
  if (!is_lifeline) shutdown(fd, SHUT_RDWR);
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
void Server::Start() { impl_->Start(); }
bool Server::IsIdle() { return impl_->IsIdle(); }
std::string Server::Finish() { return impl_->Finish(); }

}  // namespace client
