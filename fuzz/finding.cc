// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/finding.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "fuzz/compact.h"
#include "fuzz/harness.h"
#include "prog/minimize.h"
#include "prog/parse.h"
#include "prog/print.h"

// Of the leak detector.
extern "C" __attribute__((weak)) int __lsan_do_recoverable_leak_check();

namespace fuzz {
namespace {

bool ReadFile(const std::string& path, std::string* text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text->assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
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
    const Outcome outcome = RunInput(text, nullptr);
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

}  // namespace

double Since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t)
      .count();
}

std::vector<std::string> FilesOf(const std::string& dir) {
  std::vector<std::string> names;
  if (DIR* d = opendir(dir.c_str())) {
    while (const dirent* e = readdir(d)) {
      const std::string path = dir + "/" + e->d_name;
      struct stat st;
      if (e->d_name[0] != '.' && stat(path.c_str(), &st) == 0 &&
          S_ISREG(st.st_mode)) {
        names.push_back(path);
      }
    }
    closedir(d);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void RemoveFolder(const std::string& dir) {
  for (const std::string& f : FilesOf(dir)) unlink(f.c_str());
  rmdir(dir.c_str());
}

bool ReportFinding(const std::string& input, const FindingOptions& options,
                   size_t number, const std::string& said) {
  std::string text;
  if (!ReadFile(input, &text)) return false;
  if (prog::Program program; IsCompact(text)) {
    if (!Decode(text, &program)) return false;
    text = prog::Print(program);
  }
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
    const auto began = std::chrono::steady_clock::now();
    prog::MinimizeOptions minimize;
    minimize.max_tests = 2000;
    const prog::Program small = prog::Minimize(
        program,
        [&](const prog::Program& candidate) {
          if (Since(began) > static_cast<double>(options.minimize_seconds)) {
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

}  // namespace fuzz
