// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs a program against a lab kernel of its own: `./lab client`.
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prog/forms.h"
#include "tools/client/protocol.h"
#include "tools/client/server.h"

namespace {

constexpr int kUsage = 2;
constexpr int kKernelComplains = 3;
constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;

constexpr char kHelp[] =
    R"(client [--uapi=NAME] [--trace=FILE.prog] [--machine=KEY=VALUE,...] --
       PROGRAM [ARGUMENTS]

Runs PROGRAM, unmodified, with the lab's kernel behind /dev/iommu. The status is
the program's (128 and the signal's number when one killed it); 3 when the
program was satisfied and the kernel was not: it complained, or something was
left behind at the end.

  --uapi=NAME     the form of the surface, one of those below
  --machine=...   the machine, as machine(...) in programs has it (`iommulab
                  list machine` has the options); may be there several times.
                  memlock= and uid= hold in place of what the program has here.
                  privileged=0: the program has just the capabilities that it
                  has here; else it also has those that the client itself is
                  without
  --trace=FILE    records what the program did as a program for `./lab run`
  --help          this text

See docs/client.md for what cannot be seen from outside of a program.

Forms of the surface:
)";

struct Options {
  client::ServerOptions server;
  std::vector<char*> program;  // ends with a null pointer
};

int Fail(int status, const std::string& message) {
  fprintf(stderr, "client: %s\n", message.c_str());
  return status;
}

bool AddMachine(std::string_view text, client::ServerOptions* server) {
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view one = text.substr(0, end);
    const size_t is = one.find('=');

    if (is == std::string_view::npos || is == 0) return false;
    server->machine.emplace_back(one.substr(0, is), one.substr(is + 1));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

// 0: go on; else the status, 256 for success.
int Parse(int argc, char** argv, Options* options) {
  int i = 1;

  for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
    std::string_view arg = argv[i];
    const auto value = [&](std::string_view name) {
      if (!arg.starts_with(name)) return false;
      std::string_view rest = arg.substr(name.size());
      if (rest.starts_with("=")) {
        arg = rest.substr(1);
        return true;
      }
      if (rest.empty() && i + 1 < argc && strcmp(argv[i + 1], "--") != 0) {
        arg = argv[++i];
        return true;
      }
      return false;
    };

    if (arg == "--help" || arg == "-h") {
      printf("%s%s", kHelp, prog::FormsHelp().c_str());
      return 256;
    }
    if (value("--uapi")) {
      options->server.revision = arg;
    } else if (value("--trace")) {
      options->server.trace = arg;
    } else if (value("--machine")) {
      if (!AddMachine(arg, &options->server)) {
        return Fail(kUsage, "--machine takes KEY=VALUE,...");
      }
    } else if (!arg.starts_with("-")) {
      return Fail(kUsage, "the program stands behind --: client [options] -- " +
                              std::string(arg) + " ...");
    } else {
      return Fail(kUsage,
                  "unknown option " + std::string(arg) + " (see --help)");
    }
  }
  if (i == argc) {
    return Fail(kUsage,
                "the program stands behind --: client [options] -- "
                "PROGRAM ARGUMENTS");
  }
  for (i++; i < argc; i++) options->program.push_back(argv[i]);
  if (options->program.empty()) return Fail(kUsage, "no program behind --");
  options->program.push_back(nullptr);
  return 0;
}

// As execvp() looks for it. Empty and *status when it cannot be run.
std::string FindProgram(const std::string& name, int* status) {
  std::vector<std::string> candidates;

  if (name.find('/') != std::string::npos) {
    candidates.push_back(name);
  } else if (!name.empty()) {
    const char* path = getenv("PATH");
    std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
    for (;;) {
      const size_t end = rest.find(':');
      const std::string_view dir = rest.substr(0, end);
      candidates.push_back(std::string(dir.empty() ? "." : dir) + "/" + name);
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
  }
  int error = ENOENT;
  for (const std::string& path : candidates) {
    struct stat st;
    if (stat(path.c_str(), &st) != 0) {
      if (errno != ENOENT && errno != ENOTDIR) error = errno;
    } else if (S_ISDIR(st.st_mode)) {
      error = EISDIR;
    } else if (access(path.c_str(), X_OK) != 0) {
      error = errno;
    } else {
      return path;
    }
  }
  *status =
      Fail(error == ENOENT ? kNotFound : kNotExecutable,
           name + ": " + (error == ENOENT ? "not found" : strerror(error)));
  return "";
}

template <class Ehdr, class Phdr>
bool HasInterpreter(int fd, const Ehdr& head) {
  for (unsigned i = 0; i < head.e_phnum; i++) {
    Phdr p;
    const auto at = static_cast<off_t>(head.e_phoff + i * sizeof(p));
    if (pread(fd, &p, sizeof(p), at) != static_cast<ssize_t>(sizeof(p))) break;
    if (p.p_type == PT_INTERP) return true;
  }
  return false;
}

// Empty, or why a library that is preloaded would not get into the program.
std::string CannotPreload(const std::string& path) {
  struct stat st;
  Elf64_Ehdr head = {};
  char none;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);

  if (fd < 0 || fstat(fd, &st) != 0) {
    // Executable and not readable: the dynamic linker then says what is wrong.
    if (fd >= 0) close(fd);
    return "";
  }
  const ssize_t n = pread(fd, &head, sizeof(head), 0);
  const bool elf = n == static_cast<ssize_t>(sizeof(head)) &&
                   memcmp(head.e_ident, ELFMAG, SELFMAG) == 0;
  std::string why;
  if (elf && head.e_ident[EI_CLASS] != ELFCLASS64) {
    why = "is no 64-bit program";
  } else if (elf && !HasInterpreter<Elf64_Ehdr, Elf64_Phdr>(fd, head)) {
    why = "is linked statically: nothing can be preloaded into it";
  } else if ((st.st_mode & S_ISUID && st.st_uid != geteuid()) ||
             (st.st_mode & S_ISGID && st.st_gid != getegid())) {
    why = "is setuid or setgid: nothing of ours is preloaded into it";
  } else if (geteuid() != 0 &&
             getxattr(path.c_str(), "security.capability", &none, 0) > 0) {
    why = "has file capabilities: nothing of ours is preloaded into it";
  }
  close(fd);
  return why;
}

// The shim lies beside this program.
std::string FindShim() {
  char buf[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", buf, sizeof(buf));

  if (n <= 0 || n == static_cast<ssize_t>(sizeof(buf))) return "";
  std::string path(buf, static_cast<size_t>(n));
  path.resize(path.rfind('/') + 1);
  path += "libiommulab-client.so";
  return access(path.c_str(), R_OK) == 0 ? path : "";
}

// A folder that only we can look into. Empty when there is none.
std::string MakeFolder() {
  const char* tmp = getenv("TMPDIR");
  for (std::string base : {tmp != nullptr ? tmp : "", "/tmp"}) {
    // A path with what the preload list takes for an end of a name, or one
    // that a socket cannot have.
    if (base.empty() || base.size() > 60 || base[0] != '/' ||
        base.find_first_of(": ") != std::string::npos) {
      continue;
    }
    base += "/iommulab-client-XXXXXX";
    if (mkdtemp(base.data()) != nullptr) return base;
  }
  return "";
}

void RemoveFolder(const std::string& folder) {
  const pid_t pid = fork();

  if (pid == 0) {
    execlp("rm", "rm", "-rf", "--", folder.c_str(), nullptr);
    _exit(127);
  }
  int status;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
}

std::atomic<pid_t> g_program{0};  // 0: it has ended
std::atomic<bool> g_stop{false};

void PassOn(int signal) {
  const int saved = errno;
  const pid_t pid = g_program.load();

  if (pid > 0) {
    kill(pid, signal);
  } else {
    g_stop.store(true);
  }
  errno = saved;
}

void SetSignals(void (*passed)(int), void (*others)(int)) {
  struct sigaction action = {};

  action.sa_handler = passed;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  // Ignored under nohup: by both.
  struct sigaction inherited;
  if (sigaction(SIGHUP, nullptr, &inherited) == 0 &&
      inherited.sa_handler != SIG_IGN) {
    sigaction(SIGHUP, &action, nullptr);
  }
  action.sa_handler = others;
  for (const int signal : {SIGINT, SIGQUIT, SIGPIPE}) {
    sigaction(signal, &action, nullptr);
  }
}

// In the child, which has the signals as this program was started with them.
// Does not come back.
[[noreturn]] void Exec(const std::string& path, char** argv,
                       const rlimit& files, int error_fd) {
  setrlimit(RLIMIT_NOFILE, &files);
  execv(path.c_str(), argv);
  int error = errno;
  if (error == ENOEXEC) {
    // As a shell does: text without a first line is for the shell.
    std::vector<char*> args = {const_cast<char*>("sh"),
                               const_cast<char*>(path.c_str())};
    for (char** a = argv + 1; *a != nullptr; a++) args.push_back(*a);
    args.push_back(nullptr);
    execv("/bin/sh", args.data());
    error = errno;
  }
  (void)!write(error_fd, &error, sizeof(error));
  _exit(kNotExecutable);
}

int StatusOf(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int Run(const Options& options, const std::string& folder) {
  client::ServerOptions server_options = options.server;
  std::string error;
  int status = 0;

  const std::string path = FindProgram(options.program[0], &status);
  if (path.empty()) return status;
  const std::string why = CannotPreload(path);
  if (!why.empty()) {
    return Fail(kNotExecutable, std::string(options.program[0]) + " " + why);
  }
  std::string shim = FindShim();
  if (shim.empty()) {
    return Fail(1, "libiommulab-client.so is not beside this program");
  }
  if (shim.find_first_of(": ") != std::string::npos) {
    // The list of what is preloaded is separated by these.
    const std::string link = folder + "/libiommulab-client.so";
    if (symlink(shim.c_str(), link.c_str()) != 0) {
      return Fail(1, link + ": " + strerror(errno));
    }
    shim = link;
  }
  server_options.folder = folder;
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  const rlimit more = {files.rlim_max, files.rlim_max};
  setrlimit(RLIMIT_NOFILE, &more);

  auto server = client::Server::Create(server_options, &error);
  if (server == nullptr) return Fail(kUsage, error);

  const char* preload = getenv("LD_PRELOAD");
  if (preload != nullptr && *preload != '\0')
    shim += std::string(":") + preload;
  setenv("LD_PRELOAD", shim.c_str(), 1);
  setenv(LAB_ENV_SOCKET, server->socket_path().c_str(), 1);
  setenv(LAB_ENV_KERNEL, std::to_string(getpid()).c_str(), 1);
  prctl(PR_SET_CHILD_SUBREAPER, 1);

  int failed[2];
  if (pipe2(failed, O_CLOEXEC) != 0) return Fail(1, strerror(errno));
  // What comes before there are handlers waits until it can be passed on.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t program = fork();
  if (program < 0) return Fail(1, std::string("fork: ") + strerror(errno));
  if (program == 0) {
    sigprocmask(SIG_SETMASK, &before, nullptr);
    Exec(path, const_cast<char**>(options.program.data()), files, failed[1]);
  }
  g_program.store(program);
  SetSignals(PassOn, SIG_IGN);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  unsetenv("LD_PRELOAD");
  close(failed[1]);
  int exec_error = 0;
  if (read(failed[0], &exec_error, sizeof(exec_error)) > 0) {
    status =
        Fail(exec_error == ENOENT ? kNotFound : kNotExecutable,
             std::string(options.program[0]) + ": " + strerror(exec_error));
    waitpid(program, nullptr, 0);
    return status;
  }
  close(failed[0]);
  server->Start();

  // Descendants whose parents are gone are ours to wait for, too.
  for (;;) {
    int child_status;
    const pid_t pid = waitpid(-1, &child_status, 0);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) break;
    if (pid == program) {
      status = StatusOf(child_status);
      break;
    }
  }
  g_program.store(0);
  while (!server->IsIdle() && !g_stop.load()) {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    usleep(10000);
  }
  const std::string says = server->Finish();
  if (!says.empty()) {
    fprintf(stderr, "client: the lab kernel's last words:\n%s", says.c_str());
    if (status == 0) status = kKernelComplains;
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;

  if (const int status = Parse(argc, argv, &options)) return status & 255;
  const std::string folder = MakeFolder();
  if (folder.empty()) return Fail(1, "no folder for temporary files");
  const int status = Run(options, folder);
  RemoveFolder(folder);
  return status;
}
