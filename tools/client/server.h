// SPDX-License-Identifier: GPL-2.0-or-later
//
// The lab kernel process: one kernel, and the system calls that programs
// elsewhere make through the shim (protocol.h).
//
// A thread for each connection, and one that accepts connections and notices
// what ends when nobody calls. Before it executes a call, every thread makes
// what ended meanwhile known to the kernel: descriptors that are closed in all
// programs, programs that exited or became others. So a close is seen by every
// later call of anybody.
#ifndef TOOLS_CLIENT_SERVER_H_
#define TOOLS_CLIENT_SERVER_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace client {

struct ServerOptions {
  std::string revision;  // empty: the default
  // key=value, as of machine(...) in programs. memlock= and uid= hold in place
  // of what a program has here. privileged=0: a program has just the
  // capabilities that it has here. 1, the default: it also has those that
  // nobody here has, as root has them on a machine of its own.
  std::vector<std::pair<std::string, std::string>> machine;
  std::string trace;  // a file to record into; empty: none
  // A folder for the socket and what stands for /sys/kernel/debug. Exists.
  std::string folder;
};

class Server {
 public:
  // nullptr and *error when the kernel cannot be made or reached. No thread
  // runs before Start().
  static std::unique_ptr<Server> Create(const ServerOptions& options,
                                        std::string* error);
  // Ends what still runs.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::string& socket_path() const;
  void Start();
  // No program is connected any more, and none has a descriptor.
  bool IsIdle();
  // Ends all connections. What the kernel says at its end: empty when it left
  // nothing behind and complained of nothing.
  std::string Finish();

 private:
  class Impl;

  explicit Server(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace client

#endif  // TOOLS_CLIENT_SERVER_H_
