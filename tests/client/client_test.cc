// SPDX-License-Identifier: GPL-2.0-or-later
// The built client with programs (program.c) that know nothing of it. Every
// run is bounded in time.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tools/client/protocol.h"
#include "tools/lab_kernel.h"

namespace client {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kClient[] = "tools/client/client";
constexpr char kProgram[] = "tests/client/program";
// For machines with much else to do.
constexpr auto kLimit = std::chrono::seconds(100);

// The client with some arguments, its output in a pipe.
class ClientRun {
 public:
  // `files` of descriptors for all processes of the run; null: as here.
  explicit ClientRun(std::vector<std::string> args,
                     std::string binary = kClient,
                     const rlimit* files = nullptr) {
    int out[2];
    int in[2];
    args.insert(args.begin(), std::move(binary));
    EXPECT_EQ(0, pipe2(out, O_CLOEXEC));
    EXPECT_EQ(0, pipe2(in, O_CLOEXEC));
    pid_ = fork();
    if (pid_ == 0) {
      std::vector<char*> argv;
      for (std::string& a : args) argv.push_back(a.data());
      argv.push_back(nullptr);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setpgid(0, 0);
      dup2(in[0], 0);
      dup2(out[1], 1);
      dup2(out[1], 2);
      if (files != nullptr) setrlimit(RLIMIT_NOFILE, files);
      execv(argv[0], argv.data());
      _exit(99);
    }
    close(in[0]);
    close(out[1]);
    in_ = in[1];
    out_ = out[0];
  }
  ~ClientRun() {
    if (pid_ > 0) {
      kill(-pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(in_);
    close(out_);
  }

  pid_t pid() const { return pid_; }
  void Write(const std::string& text) {
    EXPECT_EQ(static_cast<ssize_t>(text.size()),
              write(in_, text.data(), text.size()));
  }
  // Output until `until` is in it, or until there is no more.
  std::string Read(const std::string& until = "") {
    const auto deadline = Clock::now() + kLimit;
    while (until.empty() || output_.find(until) == std::string::npos) {
      pollfd p = {out_, POLLIN, 0};
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - Clock::now());
      char buf[4096];
      if (left.count() <= 0 ||
          poll(&p, 1, static_cast<int>(left.count())) <= 0) {
        ADD_FAILURE() << "no more output in time; so far: " << output_;
        kill(-pid_, SIGKILL);
        break;
      }
      const ssize_t n = read(out_, buf, sizeof(buf));
      if (n <= 0) break;
      output_.append(buf, static_cast<size_t>(n));
    }
    return output_;
  }
  // Its status as a shell has it.
  int Wait() {
    int status = 0;
    Read();
    EXPECT_EQ(pid_, waitpid(pid_, &status, 0));
    pid_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  std::string output_;
};

std::pair<int, std::string> RunClient(std::vector<std::string> args) {
  ClientRun run(std::move(args));
  const int status = run.Wait();
  return {status, run.Read()};
}

std::string TempPath(const std::string& name) {
  return testing::TempDir() + "/" + std::to_string(getpid()) + name;
}

// ---- what programs see ----

class ClientPrograms : public testing::TestWithParam<const char*> {};

TEST_P(ClientPrograms, Runs) {
  const auto [status, output] = RunClient({"--", kProgram, GetParam()});
  EXPECT_EQ("", output);
  EXPECT_EQ(0, status);
}

INSTANTIATE_TEST_SUITE_P(
    All, ClientPrograms,
    testing::Values("calls", "dup", "fork", "exec", "pass", "kill9", "pins",
                    "pins_of_the_dead", "fail_nth", "vmpin", "huge",
                    "bad_messages", "close_all", "files", "debugfs", "signals",
                    "mappings", "sealed", "daemons", "full", "vfork"),
    [](const auto& info) { return std::string(info.param); });

TEST(ClientTest, LimitsAndCapabilitiesAreThePrograms) {
  const auto [status, output] =
      RunClient({"--machine", "privileged=0", "--", kProgram, "limits"});
  EXPECT_EQ("", output);
  EXPECT_EQ(0, status);
}

// Each option of each machine that serves clients, with each value worth
// trying; a machine that does not is refused whatever else is said of it.
TEST(ClientTest, EveryMachineWithEveryOption) {
  for (const tools::MachineKindInfo& info : tools::MachineKinds()) {
    const bool serves = info.kind.empty();
    for (const auto& [key, tries] : info.options) {
      if (key == "kind") continue;
      const std::string head =
          "--machine=kind=" + (serves ? "mock" : info.kind) + "," + key + "=";
      std::istringstream values(tries == nullptr ? "" : tries);
      for (std::string value; values >> value;) {
        const auto [status, output] = RunClient({head + value, "--", "true"});
        EXPECT_EQ(serves ? 0 : 2, status) << head << value << output;
        EXPECT_EQ(serves, output.empty()) << head << value << output;
      }
      const auto [status, output] = RunClient({head + "?", "--", "true"});
      EXPECT_EQ(2, status) << head;
      EXPECT_NE(std::string::npos, output.find("'?' is no value for " + key))
          << output;
    }
  }
}

// What the machine says of a process holds in place of what the program set:
// its limit allows four pages.
TEST(ClientTest, LimitsOfTheMachineAreNotThePrograms) {
  const auto [status, output] = RunClient(
      {"--machine=privileged=0,memlock=1T", "--", kProgram, "limits"});
  EXPECT_NE(0, status);
  EXPECT_NE(std::string::npos, output.find("ENOMEM")) << output;
}

TEST(ClientTest, TwoProgramsWithSixteenThreadsEach) {
  const auto [status, output] = RunClient({"--", kProgram, "hammer", "3"});
  EXPECT_EQ("", output);
  EXPECT_EQ(0, status);
}

TEST(ClientTest, ProgramGetsEioWhenTheLabKernelDies) {
  ClientRun run({"--", kProgram, "kernel_dies"});
  EXPECT_EQ("EIO it is\n", run.Read());
  EXPECT_EQ(128 + SIGKILL, run.Wait());
}

TEST(ClientTest, Walk) {
  for (const std::string uapi : {"vcmdq-v2", "hw-queue"}) {
    const auto [status, output] =
        RunClient({"--uapi=" + uapi, "--", "tests/client/walk", uapi});
    EXPECT_EQ(0, status) << output;
    EXPECT_NE(std::string::npos, output.find("vevents: read")) << output;
    EXPECT_NE(std::string::npos, output.find("mmap: 0xbeef\ndone\n")) << output;
  }
}

TEST(ClientTest, TraceReplays) {
  const std::string trace = TempPath("trace.prog");
  const std::pair<const char*, std::vector<std::string>> runs[] = {
      {"vcmdq-v2", {"tests/client/walk", "vcmdq-v2"}},
      {"hw-queue", {"tests/client/walk", "hw-queue"}},
      {"vcmdq-v2", {kProgram, "dup"}},
      {"vcmdq-v2", {kProgram, "fork"}},
      {"vcmdq-v2", {kProgram, "pass"}},
      {"vcmdq-v2", {kProgram, "pins"}},
      {"vcmdq-v2", {kProgram, "files"}},
      {"vcmdq-v2", {kProgram, "fail_nth"}},
      {"vcmdq-v2", {kProgram, "mappings"}},
  };
  for (const auto& [uapi, program] : runs) {
    std::vector<std::string> args = {std::string("--uapi=") + uapi,
                                     "--trace=" + trace, "--"};
    args.insert(args.end(), program.begin(), program.end());
    const auto [status, output] = RunClient(std::move(args));
    EXPECT_EQ(0, status) << program[1] << output;
    ClientRun replay({"run", trace}, "tools/iommulab");
    EXPECT_EQ(0, replay.Wait()) << program[1] << replay.Read();
    EXPECT_NE(std::string::npos, replay.Read().find("as expected"));
  }
  unlink(trace.c_str());
  EXPECT_EQ(2, RunClient({"--trace=/no/such/folder", "--", "true"}).first);
}

TEST(ClientTest, DaemonIsServedAfterItsParent) {
  const std::string result = TempPath("daemon");
  const auto [status, output] = RunClient({"--", kProgram, "daemon", result});
  EXPECT_EQ(0, status) << output;
  EXPECT_EQ("", output);
  // The lab kernel ends after the last who has a descriptor of it.
  std::ifstream file(result);
  std::string text;
  std::getline(file, text);
  EXPECT_EQ("served", text);
  unlink(result.c_str());
}

// ---- who gets in ----

TEST(ClientTest, StrangerIsRefused) {
  ClientRun run({"--", kProgram, "print"});
  std::string path = run.Read("\n");
  path.pop_back();
  struct stat st;
  ASSERT_EQ(0, stat(path.substr(0, path.rfind('/')).c_str(), &st));
  EXPECT_EQ(0700u, st.st_mode & 07777);
  for (const uint32_t kind : {LAB_HELLO_PROCESS, LAB_HELLO_THREAD}) {
    sockaddr_un addr = {};
    addr.sun_family = AF_UNIX;
    ASSERT_LT(path.size(), sizeof(addr.sun_path));
    strcpy(addr.sun_path, path.c_str());
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ASSERT_EQ(0, connect(fd, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)));
    lab_request request = {};
    request.magic = LAB_MAGIC;
    request.op = LAB_HELLO;
    request.kind = kind;
    request.tid = static_cast<uint32_t>(getpid());
    request.arg[0] = 1;
    send(fd, &request, sizeof(request), MSG_NOSIGNAL);
    char buf[256];
    EXPECT_LE(recv(fd, buf, sizeof(buf), 0), 0);
    close(fd);
  }
  run.Write("\n");
  EXPECT_EQ(0, run.Wait());
  EXPECT_NE(0, stat(path.c_str(), &st)) << "the folder stays behind";
}

// ---- the client as a command ----

TEST(ClientTest, StatusIsTheProgramsOwn) {
  EXPECT_EQ(7, RunClient({"--", kProgram, "leave"}).first);
  EXPECT_EQ(0, RunClient({"--", "true"}).first);
  EXPECT_EQ(5, RunClient({"--", "sh", "-c", "exit 5"}).first);
  EXPECT_EQ(128 + SIGABRT,
            RunClient({"--", "sh", "-c", "kill -ABRT $$"}).first);
}

TEST(ClientTest, SignalsGoToTheProgram) {
  ClientRun run({"--", kProgram, "term"});
  run.Read("ready\n");
  kill(run.pid(), SIGINT);  // ignored here: a terminal sends it to both
  kill(run.pid(), SIGQUIT);
  kill(run.pid(), SIGTERM);
  EXPECT_EQ(128 + SIGTERM, run.Wait());
}

// As under nohup: what is ignored stays ignored, in both.
TEST(ClientTest, IgnoredSignalsStayIgnored) {
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE}) {
    ::signal(signal, SIG_IGN);
  }
  const auto [status, output] =
      RunClient({"--", "sh", "-c",
                 "kill -HUP $PPID; kill -HUP $$; kill -INT $$; kill -QUIT $$; "
                 "kill -PIPE $$; sleep 0.1; echo alive"});
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE}) {
    ::signal(signal, SIG_DFL);
  }
  EXPECT_EQ("alive\n", output);
  EXPECT_EQ(0, status);
}

// Others come while connections are refused for want of descriptors.
TEST(ClientTest, LabKernelOutOfDescriptors) {
  const rlimit few = {40, 40};
  ClientRun run({"--", kProgram, "many_threads"}, kClient, &few);
  EXPECT_EQ("", run.Read());
  EXPECT_EQ(0, run.Wait());
}

TEST(ClientTest, ArgumentsAndEnvironmentArePassedOn) {
  const auto [status, output] = RunClient(
      {"--", "sh", "-c", "echo \"$0|$1|$LD_PRELOAD\"", "a b", "--uapi=x"});
  EXPECT_EQ(0, status);
  EXPECT_EQ(0u, output.find("a b|--uapi=x|/")) << output;
}

TEST(ClientTest, OtherPreloadsComeAfterOurs) {
  setenv("LD_PRELOAD", "libm.so.6", 1);
  const auto [status, output] =
      RunClient({"--", "sh", "-c", "echo \"$LD_PRELOAD\""});
  unsetenv("LD_PRELOAD");
  EXPECT_EQ(0, status);
  EXPECT_NE(std::string::npos, output.find("libiommulab-client.so:libm.so.6\n"))
      << output;
}

void Write(const std::string& path, const std::string& text, mode_t mode) {
  const int fd =
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
  EXPECT_EQ(static_cast<ssize_t>(text.size()),
            write(fd, text.data(), text.size()));
  EXPECT_EQ(0, fchmod(fd, mode));
  close(fd);
}

TEST(ClientTest, MistakesOfTheCommandLine) {
  struct Mistake {
    std::vector<std::string> args;
    int status;
    const char* says;
  };
  const std::string plain = TempPath("plain");
  const std::string script = TempPath("script");
  Write(plain, "#!/bin/sh\n", 0600);
  Write(script, "echo from a script without a first line\n", 0700);
  const Mistake mistakes[] = {
      {{}, 2, "behind --"},
      {{"--"}, 2, "no program behind --"},
      {{"true"}, 2, "the program stands behind --: client [options] -- true"},
      {{"--nonsense", "--", "true"}, 2, "unknown option --nonsense"},
      {{"--uapi=none", "--", "true"}, 2, "no uapi 'none'; there is: vcmdq-v2"},
      {{"--machine=none=1", "--", "true"}, 2, "'none=1' is no option"},
      {{"--machine=none", "--", "true"}, 2, "KEY=VALUE"},
      {{"--machine=memlock=1X", "--", "true"}, 2, "'1X' is no value for mem"},
      {{"--machine=uid=0x100000000", "--", "true"}, 2, "is no value for uid"},
      {{"--machine=privileged=2", "--", "true"}, 2, "for privileged (0|1"},
      {{"--machine=iommus=5", "--", "true"}, 2, "'5' is no value for iommus "},
      {{"--machine=kind=x", "--", "true"}, 2, "for kind (mock|tegra241"},
      {{"--machine=smmus=2", "--", "true"}, 2, "of the machine mock"},
      {{"--machine=kind=tegra241", "--", "true"}, 2, "addresses 48 bits"},
      {{"--machine=kind=tegra241,smmus=9", "--", "true"}, 2, "smmus (1..4"},
      {{"--machine=kind=mock,memlock=1T,iommus=2", "--", "true"}, 0, ""},
      {{"--machine", "io_page_size=x", "--", "true"}, 2, "'io_page_size"},
      {{"--", "no-such-program-anywhere"}, 127, "not found"},
      {{"--", "/no/such/program"}, 127, "not found"},
      {{"--", plain}, 126, "Permission denied"},
      {{"--", "/"}, 126, "Is a directory"},
      {{"--", "tests/client/static"}, 126, "linked statically"},
      {{"--", script}, 0, "from a script"},
      {{"--help"}, 0, "--uapi=NAME"},
  };
  for (const Mistake& m : mistakes) {
    const auto [status, output] = RunClient(m.args);
    EXPECT_EQ(m.status, status) << output;
    EXPECT_NE(std::string::npos, output.find(m.says)) << output;
  }
  unlink(plain.c_str());
  unlink(script.c_str());
}

TEST(ClientTest, SetuidProgram) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to make one";
  const std::string copy = TempPath("setuid");
  std::ifstream in(kProgram, std::ios::binary);
  Write(copy, std::string(std::istreambuf_iterator<char>(in), {}), 0700);
  if (chown(copy.c_str(), 1, 1) != 0 || chmod(copy.c_str(), 04755) != 0) {
    GTEST_SKIP() << "no other users here";
  }
  const auto [status, output] = RunClient({"--", copy, "calls"});
  EXPECT_EQ(126, status);
  EXPECT_NE(std::string::npos, output.find("is setuid")) << output;
  unlink(copy.c_str());
}

}  // namespace
}  // namespace client
