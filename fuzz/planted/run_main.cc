// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs a program with its expectations: on the tree as it is, where it must
// pass, or on one with a defect put back, where it must not.
//
//   run FILE.prog                    0: every call as expected, nothing left
//   run --expect-failure FILE.prog   0: that is not so, or the process dies
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"

namespace {

enum : int { kPass = 0, kFail = 1, kNoProgram = 2 };

int RunForm(const char* path, const std::string& text,
            const prog::Program& program) {
  prog::BoundProgram bound;
  prog::Error error;
  prog::BindOptions bind;
  bind.machine_keys = &tools::MachineKeys();
  if (!prog::Bind(program, bind, &bound, &error)) {
    fprintf(stderr, "%s", prog::FormatError(path, text, error).c_str());
    return kNoProgram;
  }
  tools::LabOptions options;
  options.panic_on_warn = true;
  int status = kPass;
  {
    const auto lab = tools::LabKernel::Create(bound.machine, options, &error);
    if (lab == nullptr) return kNoProgram;
    prog::RunOptions run;
    run.missing_is_zero = true;
    const prog::RunResult result = prog::Run(bound, lab->sys(), run);
    for (size_t i = 0; i < bound.calls.size(); i++) {
      const prog::CallResult& r = result.results[i];
      if (r.expected) continue;
      printf("%s:%d: %s: %s, expected: %s\n", path,
             bound.calls[i].call->pos.line,
             prog::PrintCall(*bound.calls[i].call).c_str(),
             prog::FormatResult(bound.calls[i], r).c_str(), r.why.c_str());
      status = kFail;
    }
    if (!result.residue.empty()) {
      printf("%s: left behind:\n%s", path, result.residue.c_str());
      status = kFail;
    }
  }
  return status;
}

// Under each form that the program is for, until one fails.
int RunFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  prog::Program program;
  std::vector<std::string> forms;
  prog::Error error;
  if (!prog::Parse(text, &program, &error) ||
      !prog::FormsOf(program, &forms, &error)) {
    fprintf(stderr, "%s", prog::FormatError(path, text, error).c_str());
    return kNoProgram;
  }
  int status = kPass;
  for (const std::string& form : forms) {
    status = RunForm(path, text, prog::ForForm(program, form));
    if (status != kPass) break;
  }
  printf("%s: %s\n", path, status == kPass ? "passes" : "fails");
  fflush(stdout);
  return status;
}

int ExpectFailure(const char* path) {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    _exit(RunFile(path));
  }
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return 2;
  if (WIFSIGNALED(status)) {
    printf("%s: fails: signal %d\n", path, WTERMSIG(status));
    return 0;
  }
  if (WEXITSTATUS(status) == kNoProgram) return 2;
  if (WEXITSTATUS(status) != kPass) return 0;
  printf("%s: passes, with its defect put back: nothing would notice it\n",
         path);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "--expect-failure") == 0) {
    return ExpectFailure(argv[2]);
  }
  int failed = argc < 2;
  for (int i = 1; i < argc; i++) failed |= RunFile(argv[i]) != kPass;
  return failed;
}
