// SPDX-License-Identifier: GPL-2.0-or-later
//
// The ioctl fuzzer. Inputs are programs as text, so what libFuzzer keeps in its
// corpus is what a person reads, runs and commits; the custom mutator changes
// the syntax tree and never the bytes.
//
//   ioctl_fuzz --seconds=60              fuzzes, tells how it goes, minimises
//   ioctl_fuzz FILE.prog                 runs one program under the sanitizers
//   ioctl_fuzz -help=1                   libFuzzer's own options
//
// With an option that begins with -- (or without any) this process becomes the
// driver and libFuzzer runs in children of it; otherwise it is libFuzzer.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/generator.h"
#include "fuzz/harness.h"
#include "prog/minimize.h"
#include "prog/parse.h"
#include "prog/print.h"

// Of the leak detector.
extern "C" __attribute__((weak)) int __lsan_do_recoverable_leak_check();

extern "C" {
int LLVMFuzzerInitialize(int* argc, char*** argv);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                               unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1,
                                 const uint8_t* data2, size_t size2,
                                 uint8_t* out, size_t max_out_size,
                                 unsigned int seed);
}

namespace {

// Shared by the driver and its children.
fuzz::Counters* counters;

// ---- libFuzzer's side ----

bool ParseText(const uint8_t* data, size_t size, prog::Program* program) {
  prog::Error error;
  return prog::Parse(
             std::string_view(reinterpret_cast<const char*>(data), size),
             program, &error) &&
         program->num_calls() != 0;
}

size_t PutText(const prog::Program& program, uint8_t* out, size_t max_size) {
  const std::string text = prog::Print(program);
  if (text.size() > max_size) return 0;
  memcpy(out, text.data(), text.size());
  return text.size();
}

// ---- the driver ----

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

struct DriverOptions {
  uint64_t seconds = 60;
  uint64_t jobs = 0;  // 0: one for each CPU, at most 8
  uint64_t seed = 1;
  uint64_t interval = 5;   // seconds between lines of progress
  uint64_t minimize = 60;  // seconds at most for making a finding small
  std::string corpus;      // where new inputs are kept; empty: nowhere
  std::string artifacts = "fuzz-findings";
  std::string shrink;              // a program to make small, and nothing else
  std::string rerun;               // what to type before a program; or self
  std::vector<std::string> seeds;  // folders with programs to begin with
};

[[noreturn]] void Usage(const char* wrong) {
  if (wrong != nullptr)
    fprintf(stderr, "ioctl_fuzz: unknown option %s\n", wrong);
  fprintf(stderr,
          "usage: ioctl_fuzz [--seconds=60] [--jobs=N] [--seed=N]\n"
          "                  [--seeds=DIR]... [--corpus=DIR] "
          "[--artifacts=DIR]\n"
          "                  [--interval=5] [--minimize=60]\n"
          "       ioctl_fuzz --shrink=FILE.prog\n"
          "       ioctl_fuzz FILE.prog...\n"
          "  --seeds      programs to begin with (the folder is only read)\n"
          "  --corpus     keeps inputs that reach something new, for later\n"
          "  --artifacts  where a finding goes (fuzz-findings)\n"
          "  --minimize   seconds at most for making a finding small\n");
  _exit(2);
}

bool ReadFile(const std::string& path, std::string* text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text->assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::vector<std::string> FilesOf(const std::string& dir) {
  std::vector<std::string> names;
  if (DIR* d = opendir(dir.c_str())) {
    while (const dirent* e = readdir(d)) {
      if (e->d_name[0] != '.') names.push_back(dir + "/" + e->d_name);
    }
    closedir(d);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What a child said on its way out, in short: the sanitizer's summary, the
// WARN's text, what is left behind.
std::string Headline(const std::string& output) {
  static const char* const kMarks[] = {
      "SUMMARY: ", "left behind after close", "WARN",    "BUG",
      "lockdep",   "ERROR: libFuzzer: ",      "ERROR: ", "runtime error: "};
  for (const char* mark : kMarks) {
    size_t at = output.find(mark);
    if (at == std::string::npos) continue;
    const size_t begin = output.rfind('\n', at) + 1;
    std::string line = output.substr(begin, output.find('\n', at) - begin);
    if (line.find("left behind") != std::string::npos) {
      const size_t next = output.find('\n', at);
      if (next != std::string::npos) {
        line += " " +
                output.substr(next + 1, output.find('\n', next + 1) - next - 1);
      }
    }
    return line;
  }
  return output.substr(0, output.find('\n'));
}

// The same bug in other words: without numbers, which change with every run.
std::string Signature(const std::string& output) {
  std::string s;
  for (const char c : Headline(output)) {
    if (c < '0' || c > '9') s += c;
  }
  // 0xabc and the like.
  return s.substr(0, 160);
}

// Runs `text` in a child. 0: nothing is wrong. *output has what it printed.
int RunInChild(const std::string& text, std::string* output) {
  int fds[2];
  if (pipe(fds) != 0) return 0;
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    close(fds[0]);
    dup2(fds[1], STDERR_FILENO);
    alarm(20);
    const fuzz::Outcome outcome = fuzz::RunText(text, nullptr);
    if (!outcome.finding.empty()) {
      fprintf(stderr, "%s\n", outcome.finding.c_str());
      _exit(78);
    }
    if (__lsan_do_recoverable_leak_check != nullptr &&
        __lsan_do_recoverable_leak_check() != 0) {
      _exit(79);
    }
    _exit(0);
  }
  close(fds[1]);
  output->clear();
  char buf[4096];
  ssize_t n;
  while ((n = read(fds[0], buf, sizeof(buf))) > 0) {
    output->append(buf, static_cast<size_t>(n));
  }
  close(fds[0]);
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return 0;
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WEXITSTATUS(status);
}

struct Child {
  pid_t pid = -1;
  int fd = -1;
  bool done = false;
  int status = 0;
  std::string pending;  // an unfinished line
  std::string tail;     // what it printed last
  uint64_t execs = 0;
  uint64_t cov = 0;
  uint64_t features = 0;
  uint64_t corpus = 0;
};

uint64_t NumberAfter(const std::string& line, const char* mark) {
  const size_t at = line.find(mark);
  return at == std::string::npos
             ? 0
             : strtoull(line.c_str() + at + strlen(mark), nullptr, 10);
}

void OnLine(Child* c, const std::string& line) {
  if (line.size() > 1 && line[0] == '#' && line.find("cov: ") != line.npos) {
    c->execs = NumberAfter(line, "#");
    c->cov = std::max(c->cov, NumberAfter(line, "cov: "));
    c->features = std::max(c->features, NumberAfter(line, "ft: "));
    c->corpus = NumberAfter(line, "corp: ");
    return;
  }
  c->tail += line + '\n';
  if (c->tail.size() > (256 << 10)) c->tail.erase(0, 128 << 10);
}

// Only ever read by the SIGINT handler.
volatile sig_atomic_t interrupted;
void OnInterrupt(int) { interrupted = 1; }

// A program in its smallest form, and how it ends. `said` is what the child
// that found it printed. False: alone, nothing is wrong with it.
bool ReportFinding(const std::string& input, const DriverOptions& options,
                   size_t number, const std::string& said) {
  std::string text;
  if (!ReadFile(input, &text)) return false;
  std::string output;
  const int status = RunInChild(text, &output);
  const std::string signature = Signature(output);
  prog::Program program;
  prog::Error error;
  const std::string base =
      options.artifacts + "/finding-" + std::to_string(number);
  WriteFile(base + ".orig.prog", text);
  std::string path = base + ".orig.prog";
  if (status == 0) {
    WriteFile(base + ".log", said);
    printf("fuzz: FINDING %s\n", Headline(said).c_str());
    printf(
        "fuzz: it does not show again when it runs alone: program %s, "
        "report %s.log\n",
        path.c_str(), base.c_str());
    return false;
  }
  if (prog::Parse(text, &program, &error)) {
    const auto began = Clock::now();
    prog::MinimizeOptions minimize;
    minimize.max_tests = 2000;
    const prog::Program small = prog::Minimize(
        program,
        [&](const prog::Program& candidate) {
          if (Since(began) > static_cast<double>(options.minimize)) {
            return false;
          }
          std::string out;
          return RunInChild(prog::Print(candidate), &out) != 0 &&
                 Signature(out) == signature;
        },
        minimize);
    path = base + ".prog";
    WriteFile(path, prog::Print(small));
    printf("fuzz: made smaller: %zu calls of %zu, %.0f s\n", small.num_calls(),
           program.num_calls(), Since(began));
    text = prog::Print(small);
    RunInChild(text, &output);
  }
  WriteFile(base + ".log", output);
  printf("fuzz: FINDING %s\n%s", Headline(output).c_str(), text.c_str());
  printf("fuzz: program %s, report %s.log\n", path.c_str(), base.c_str());
  printf("fuzz: rerun it with: %s %s\n", options.rerun.c_str(), path.c_str());
  return true;
}

void Remove(const std::string& dir) {
  for (const std::string& f : FilesOf(dir)) unlink(f.c_str());
  rmdir(dir.c_str());
}

// Returns only in a child, whose argv libFuzzer then reads.
void Drive(int* argc, char*** argv) {
  DriverOptions options;
  const char* const self = (*argv)[0];
  for (int i = 1; i < *argc; i++) {
    const std::string arg = (*argv)[i];
    auto text = [&](const char* name, std::string* value) {
      const std::string head = std::string(name) + "=";
      if (arg.rfind(head, 0) != 0) return false;
      *value = arg.substr(head.size());
      return true;
    };
    auto number = [&](const char* name, uint64_t* value) {
      std::string v;
      char* end = nullptr;
      if (!text(name, &v)) return false;
      *value = strtoull(v.c_str(), &end, 0);
      if (v.empty() || *end != '\0') Usage(arg.c_str());
      return true;
    };
    std::string dir;
    if (text("--seeds", &dir)) {
      options.seeds.push_back(dir);
    } else if (!number("--seconds", &options.seconds) &&
               !number("--jobs", &options.jobs) &&
               !number("--seed", &options.seed) &&
               !number("--interval", &options.interval) &&
               !number("--minimize", &options.minimize) &&
               !text("--corpus", &options.corpus) &&
               !text("--rerun", &options.rerun) &&
               !text("--shrink", &options.shrink) &&
               !text("--artifacts", &options.artifacts)) {
      Usage(arg == "--help" ? nullptr : arg.c_str());
    }
  }
  if (options.jobs == 0) {
    options.jobs = static_cast<uint64_t>(
        std::clamp(sysconf(_SC_NPROCESSORS_ONLN), 1L, 8L));
  }
  options.interval = std::max<uint64_t>(options.interval, 1);
  if (options.rerun.empty()) options.rerun = self;
  if (!options.shrink.empty()) {
    mkdir(options.artifacts.c_str(), 0755);
    const bool failed = ReportFinding(options.shrink, options, 1, "");
    fflush(stdout);
    _exit(failed ? 1 : 0);
  }

  // New inputs go where every job sees them.
  char scratch[] = "/tmp/iommulab-fuzz.XXXXXX";
  if (mkdtemp(scratch) == nullptr) {
    perror("ioctl_fuzz: /tmp");
    _exit(2);
  }
  const std::string found = std::string(scratch) + "/findings";
  std::string corpus = options.corpus;
  if (corpus.empty()) corpus = std::string(scratch) + "/corpus";
  mkdir(found.c_str(), 0755);
  mkdir(corpus.c_str(), 0755);

  void* shared = mmap(nullptr, sizeof(fuzz::Counters), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) _exit(2);
  counters = new (shared) fuzz::Counters;

  std::vector<Child> children(options.jobs);
  const auto began = Clock::now();
  for (size_t i = 0; i < children.size(); i++) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) _exit(2);
    fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(fds[1], STDERR_FILENO);
      const int null = open("/dev/null", O_WRONLY);
      dup2(null, STDOUT_FILENO);
      // libFuzzer reads them for as long as it runs.
      static std::vector<std::string> args;
      static std::vector<char*> pointers;
      args = {self,
              "-max_total_time=" + std::to_string(options.seconds),
              "-seed=" + std::to_string(options.seed + i),
              "-max_len=16384",
              "-len_control=0",
              "-timeout=25",
              "-rss_limit_mb=3072",
              "-malloc_limit_mb=1024",
              "-reload=1",
              "-print_final_stats=1",
              "-artifact_prefix=" + found + "/" + std::to_string(i) + "-",
              corpus};
      for (const std::string& s : options.seeds) args.push_back(s);
      for (std::string& a : args) pointers.push_back(a.data());
      *argc = static_cast<int>(pointers.size());
      pointers.push_back(nullptr);
      *argv = pointers.data();
      return;
    }
    close(fds[1]);
    children[i].pid = pid;
    children[i].fd = fds[0];
  }

  printf("fuzz: %" PRIu64 " s, %" PRIu64 " jobs, seed %" PRIu64
         ", asan and ubsan, lockdep on, WARN ends a program\n",
         options.seconds, options.jobs, options.seed);
  fflush(stdout);
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);

  double next = static_cast<double>(options.interval);
  bool stopping = false;
  while (true) {
    std::vector<pollfd> fds;
    for (const Child& c : children) {
      if (!c.done) fds.push_back({c.fd, POLLIN, 0});
    }
    if (fds.empty()) break;
    poll(fds.data(), fds.size(), 500);
    for (Child& c : children) {
      if (c.done) continue;
      for (const pollfd& p : fds) {
        if (p.fd != c.fd || p.revents == 0) continue;
        char buf[8192];
        const ssize_t n = read(c.fd, buf, sizeof(buf));
        if (n <= 0) {
          if (n < 0 && errno == EINTR) continue;
          c.done = true;
          close(c.fd);
          waitpid(c.pid, &c.status, 0);
          // One finding is enough: the others stop.
          if (c.status != 0) interrupted = 1;
          continue;
        }
        for (ssize_t i = 0; i < n; i++) {
          if (buf[i] == '\n') {
            OnLine(&c, c.pending);
            c.pending.clear();
          } else {
            c.pending += buf[i];
          }
        }
      }
    }
    if (interrupted != 0 && !stopping) {
      stopping = true;
      for (const Child& c : children) {
        if (!c.done) kill(c.pid, SIGTERM);
      }
    }
    if (Since(began) >= next) {
      uint64_t cov = 0, features = 0, inputs = 0;
      for (const Child& c : children) {
        cov = std::max(cov, c.cov);
        features = std::max(features, c.features);
        inputs = std::max(inputs, c.corpus);
      }
      const double s = Since(began);
      printf("fuzz: %4.0f s  %8" PRIu64 " programs (%.0f/s)  %9" PRIu64
             " ioctls (%.0f/s)  cov %" PRIu64 "  features %" PRIu64
             "  corpus %" PRIu64 "\n",
             s, counters->programs.load(),
             static_cast<double>(counters->programs) / s,
             counters->ioctls.load(), static_cast<double>(counters->ioctls) / s,
             cov, features, inputs);
      fflush(stdout);
      next += static_cast<double>(options.interval);
    }
  }

  const double s = std::max(Since(began), 0.001);
  uint64_t cov = 0, features = 0, inputs = 0;
  for (const Child& c : children) {
    cov = std::max(cov, c.cov);
    features = std::max(features, c.features);
    inputs = std::max(inputs, c.corpus);
  }
  const std::vector<std::string> findings = FilesOf(found);
  size_t reported = 0;
  bool failed = false;
  if (!findings.empty()) mkdir(options.artifacts.c_str(), 0755);
  for (const std::string& f : findings) {
    // What is only slow is no finding.
    if (f.find("slow-unit-") != std::string::npos) continue;
    failed = true;
    // Its name begins with the number of the job.
    const size_t job = strtoull(f.c_str() + found.size() + 1, nullptr, 10);
    ReportFinding(f, options, ++reported,
                  job < children.size() ? children[job].tail : "");
  }
  for (const Child& c : children) {
    const bool told_to =
        stopping && WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGTERM;
    if (c.status == 0 || told_to || failed) continue;
    // It ended without leaving an input: say what it said.
    if (stopping && WIFEXITED(c.status)) continue;
    failed = true;
    fprintf(stderr, "%s", c.tail.c_str());
  }
  printf("fuzz: %" PRIu64 " programs (%.0f/s), %" PRIu64
         " ioctls (%.0f/s), "
         "%.0f%% of them succeeded, in %.0f s\n",
         counters->programs.load(), static_cast<double>(counters->programs) / s,
         counters->ioctls.load(), static_cast<double>(counters->ioctls) / s,
         100.0 * static_cast<double>(counters->ioctls_ok) /
             static_cast<double>(std::max<uint64_t>(counters->ioctls, 1)),
         s);
  printf("fuzz: coverage: %" PRIu64 " edges, %" PRIu64 " features, %" PRIu64
         " inputs in the corpus\n",
         cov, features, inputs);
  printf(failed ? "fuzz: FAILED\n" : "fuzz: no finding\n");
  fflush(stdout);
  Remove(found);
  if (options.corpus.empty()) Remove(corpus);
  rmdir(scratch);
  _exit(failed ? 1 : 0);
}

}  // namespace

int LLVMFuzzerInitialize(int* argc, char*** argv) {
  bool drive = *argc == 1;
  for (int i = 1; i < *argc; i++) {
    if (strncmp((*argv)[i], "--", 2) == 0) drive = true;
  }
  if (drive) {
    Drive(argc, argv);
  } else {
    fuzz::PrintProgramOnDeath();
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::Outcome outcome = fuzz::RunText(
      std::string_view(reinterpret_cast<const char*>(data), size), counters);
  if (!outcome.finding.empty()) {
    fprintf(stderr, "%s\n", outcome.finding.c_str());
    abort();
  }
  // What does not run is not kept.
  return outcome.ran ? 0 : -1;
}

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                               unsigned int seed) {
  fuzz::Random random(seed);
  prog::Program program;
  // A new one now and then: chance reaches what small steps do not.
  if (!ParseText(data, size, &program) || seed % 64 == 0) {
    program = fuzz::Generate(random);
  } else {
    program = fuzz::Mutate(program, random);
  }
  for (int tries = 0; tries < 4; tries++) {
    const size_t n = PutText(program, data, max_size);
    if (n != 0) return n;
    program = fuzz::Generate(random);
  }
  return 0;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1,
                                 const uint8_t* data2, size_t size2,
                                 uint8_t* out, size_t max_out_size,
                                 unsigned int seed) {
  fuzz::Random random(seed);
  prog::Program a, b;
  if (!ParseText(data1, size1, &a) || !ParseText(data2, size2, &b)) return 0;
  return PutText(fuzz::Splice(a, b, random), out, max_out_size);
}
