// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/driver.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace fuzz {
namespace {

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

uint64_t NumberAfter(const std::string& line, const char* mark) {
  const size_t at = line.find(mark);
  return at == std::string::npos
             ? 0
             : strtoull(line.c_str() + at + strlen(mark), nullptr, 10);
}

// Only ever read by the SIGINT handler.
volatile sig_atomic_t interrupted;
void OnInterrupt(int) { interrupted = 1; }

}  // namespace

void Driver::ParseArguments(int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    const std::string arg = argv[i];
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
      seeds_.push_back(dir);
    } else if (!number("--seconds", &seconds_) && !number("--jobs", &jobs_) &&
               !number("--seed", &seed_) && !number("--interval", &interval_) &&
               !number("--minimize", &finding_.minimize_seconds) &&
               !text("--corpus", &kept_) && !text("--rerun", &finding_.rerun) &&
               !text("--shrink", &shrink_) &&
               !text("--artifacts", &finding_.artifacts)) {
      Usage(arg == "--help" ? nullptr : arg.c_str());
    }
  }
  if (jobs_ == 0) {
    jobs_ = static_cast<uint64_t>(
        std::clamp(sysconf(_SC_NPROCESSORS_ONLN), 1L, 8L));
  }
  interval_ = std::max<uint64_t>(interval_, 1);
  if (finding_.rerun.empty()) finding_.rerun = self_;
}

// New inputs go where every job sees them.
void Driver::MakeFolders() {
  char scratch[] = "/tmp/iommulab-fuzz.XXXXXX";
  if (mkdtemp(scratch) == nullptr) {
    perror("ioctl_fuzz: /tmp");
    _exit(2);
  }
  scratch_ = scratch;
  found_ = scratch_ + "/findings";
  corpus_ = scratch_ + "/corpus";
  imported_ = scratch_ + "/seeds";
  mkdir(found_.c_str(), 0755);
  mkdir(corpus_.c_str(), 0755);
  mkdir(imported_.c_str(), 0755);
  for (const std::string& dir : seeds_) ImportCorpus(dir, imported_);
  if (kept_.empty()) return;
  mkdir(kept_.c_str(), 0755);
  kept_corpus_.emplace(kept_, corpus_);
  SyncCorpus();
}

void Driver::SyncCorpus() {
  if (!kept_corpus_ || kept_corpus_->Sync()) return;
  perror(("ioctl_fuzz: " + kept_).c_str());
  _exit(2);
}

void Driver::BecomeFuzzer(size_t job, int* argc, char*** argv) {
  // libFuzzer reads them for as long as it runs.
  static std::vector<std::string> args;
  static std::vector<char*> pointers;
  args = {self_, "-max_total_time=" + std::to_string(seconds_),
          "-seed=" + std::to_string(seed_ + job), "-max_len=16384",
          "-len_control=0", "-timeout=25", "-rss_limit_mb=3072",
          "-malloc_limit_mb=1024", "-reload=1",
          // Each costs a run of the symbolizer.
          "-print_funcs=0", "-detect_leaks=0", "-print_final_stats=1",
          "-artifact_prefix=" + found_ + "/" + std::to_string(job) + "-",
          corpus_, imported_};
  for (std::string& a : args) pointers.push_back(a.data());
  *argc = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  *argv = pointers.data();
}

bool Driver::Start(int* argc, char*** argv) {
  void* shared = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) _exit(2);
  counters_ = new (shared) Counters;
  children_.resize(jobs_);
  began_ = std::chrono::steady_clock::now();
  for (size_t i = 0; i < children_.size(); i++) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) _exit(2);
    fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(fds[1], STDERR_FILENO);
      const int null = open("/dev/null", O_WRONLY);
      dup2(null, STDOUT_FILENO);
      BecomeFuzzer(i, argc, argv);
      return true;
    }
    close(fds[1]);
    children_[i].pid = pid;
    children_[i].fd = fds[0];
  }
  printf("fuzz: %" PRIu64 " s, %" PRIu64 " jobs, seed %" PRIu64
         ", asan and ubsan, lockdep on, WARN ends a program\n",
         seconds_, jobs_, seed_);
  fflush(stdout);
  return false;
}

void Driver::Child::OnLine(const std::string& line) {
  if (line.size() > 1 && line[0] == '#' && line.find("cov: ") != line.npos) {
    cov = std::max(cov, NumberAfter(line, "cov: "));
    features = std::max(features, NumberAfter(line, "ft: "));
    corpus = NumberAfter(line, "corp: ");
    return;
  }
  tail += line + '\n';
  if (tail.size() > (256 << 10)) tail.erase(0, 128 << 10);
}

void Driver::Child::OnOutput(const char* data, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (data[i] == '\n') {
      OnLine(pending);
      pending.clear();
    } else {
      pending += data[i];
    }
  }
}

void Driver::Read(Child* c) {
  char buf[8192];
  const ssize_t n = read(c->fd, buf, sizeof(buf));
  if (n > 0) return c->OnOutput(buf, static_cast<size_t>(n));
  if (n < 0 && errno == EINTR) return;
  c->done = true;
  close(c->fd);
  waitpid(c->pid, &c->status, 0);
  // One finding is enough: the others stop.
  if (c->status != 0) interrupted = 1;
}

Driver::Child Driver::Best() const {
  Child best;
  for (const Child& c : children_) {
    best.cov = std::max(best.cov, c.cov);
    best.features = std::max(best.features, c.features);
    best.corpus = std::max(best.corpus, c.corpus);
  }
  return best;
}

void Driver::PrintProgress() {
  const Child best = Best();
  const double s = Since(began_);
  printf("fuzz: %4.0f s  %8" PRIu64 " programs (%.0f/s)  %9" PRIu64
         " ioctls (%.0f/s)  cov %" PRIu64 "  features %" PRIu64
         "  corpus %" PRIu64 "\n",
         s, counters_->programs.load(),
         static_cast<double>(counters_->programs) / s, counters_->ioctls.load(),
         static_cast<double>(counters_->ioctls) / s, best.cov, best.features,
         best.corpus);
  fflush(stdout);
}

// Until all children have ended.
void Driver::Watch() {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  double next = static_cast<double>(interval_);
  while (true) {
    std::vector<pollfd> fds;
    std::vector<Child*> polled;
    for (Child& c : children_) {
      if (c.done) continue;
      fds.push_back({c.fd, POLLIN, 0});
      polled.push_back(&c);
    }
    if (fds.empty()) return;
    poll(fds.data(), fds.size(), 500);
    for (size_t i = 0; i < fds.size(); i++) {
      if (fds[i].revents != 0) Read(polled[i]);
    }
    if (interrupted != 0 && !stopping_) {
      stopping_ = true;
      for (const Child& c : children_) {
        if (!c.done) kill(c.pid, SIGTERM);
      }
    }
    if (Since(began_) >= next) {
      PrintProgress();
      SyncCorpus();
      next += static_cast<double>(interval_);
    }
  }
}

int Driver::Finish() {
  const double s = std::max(Since(began_), 0.001);
  const Child best = Best();
  const std::vector<std::string> findings = FilesOf(found_);
  size_t reported = 0;
  bool failed = false;
  if (!findings.empty()) mkdir(finding_.artifacts.c_str(), 0755);
  for (const std::string& f : findings) {
    // What is only slow is no finding.
    if (f.find("slow-unit-") != std::string::npos) continue;
    failed = true;
    // Its name begins with the number of the job.
    const size_t job = strtoull(f.c_str() + found_.size() + 1, nullptr, 10);
    ReportFinding(f, finding_, ++reported,
                  job < children_.size() ? children_[job].tail : "");
  }
  for (const Child& c : children_) {
    const bool told_to =
        stopping_ && WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGTERM;
    if (c.status == 0 || told_to || failed) continue;
    // It ended without leaving an input: say what it said.
    if (stopping_ && WIFEXITED(c.status)) continue;
    failed = true;
    fprintf(stderr, "%s", c.tail.c_str());
  }
  const uint64_t ioctls = counters_->ioctls;
  printf("fuzz: %" PRIu64 " programs (%.0f/s), %" PRIu64
         " ioctls (%.0f/s), "
         "%.0f%% of them succeeded, in %.0f s\n",
         counters_->programs.load(),
         static_cast<double>(counters_->programs) / s, ioctls,
         static_cast<double>(ioctls) / s,
         100.0 * static_cast<double>(counters_->ioctls_ok) /
             static_cast<double>(std::max<uint64_t>(ioctls, 1)),
         s);
  printf("fuzz: coverage: %" PRIu64 " edges, %" PRIu64 " features, %" PRIu64
         " inputs in the corpus\n",
         best.cov, best.features, best.corpus);
  printf(failed ? "fuzz: FAILED\n" : "fuzz: no finding\n");
  fflush(stdout);
  SyncCorpus();
  RemoveFolder(found_);
  RemoveFolder(imported_);
  RemoveFolder(corpus_);
  rmdir(scratch_.c_str());
  return failed ? 1 : 0;
}

void Driver::Drive(int* argc, char*** argv, Counters** counters) {
  Driver driver((*argv)[0]);
  driver.ParseArguments(*argc, *argv);
  if (!driver.shrink_.empty()) {
    mkdir(driver.finding_.artifacts.c_str(), 0755);
    const bool failed = ReportFinding(driver.shrink_, driver.finding_, 1, "");
    fflush(stdout);
    _exit(failed ? 1 : 0);
  }
  driver.MakeFolders();
  if (driver.Start(argc, argv)) {
    *counters = driver.counters_;
    return;
  }
  driver.Watch();
  _exit(driver.Finish());
}

}  // namespace fuzz
