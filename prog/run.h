// SPDX-License-Identifier: GPL-2.0-or-later
//
// From a syntax tree to calls on a `syscalls`. Two steps: Bind() decides what
// every name means (the only place where a mistake of the writer can still be
// found), Run() makes the calls and compares the results with what the program
// expects.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prog/forms.h"
#include "prog/prog.h"
#include "uapi/iommufd_desc.h"
#include "uapi/syscalls.h"

namespace prog {

// The calls that are no ioctl with a description.
enum class Builtin : uint8_t {
  kIoctl,  // a described one
  kMachine,
  kOpen,
  kClose,
  kAnon,
  kMemfd,
  kMmap,
  kMunmap,
  kLoad,
  kStore,
  kRead,
  kWrite,
  kPoll,
  kRawIoctl,
  kFtruncate,
  kFork,
  kExit,
  kJoin,
};

// Of BoundCall: no fork() made it.
inline constexpr size_t kMainProcess = static_cast<size_t>(-1);

// One `key=value` of the machine(...) line.
struct MachineOption {
  Pos pos;
  std::string key;
  std::string value;
};

struct BoundCall {
  const Call* call = nullptr;
  Builtin builtin = Builtin::kIoctl;
  const desc_ioctl* desc = nullptr;  // kIoctl
  uint8_t revision = 0;              // kIoctl: that its descriptor has
  // Who makes it: a process, by the index of the fork() that made that, and
  // where it is not the process's main thread, the thread. join(): which
  // thread.
  size_t process = kMainProcess;
  std::string thread;
  size_t target = kMainProcess;  // kExit: the process that ends
  // The names that the call uses, each with the index of the defining call.
  std::vector<std::pair<std::string_view, size_t>> refs;
};

// A program whose names all mean something. Points into the Program.
struct BoundProgram {
  std::vector<BoundCall> calls;  // machine(...) and join(...) included
  std::vector<MachineOption> machine;
  // What is accepted but perhaps not meant: numbers that their fields cut.
  std::vector<Error> notes;
};

struct BindOptions {
  // The revision that open() without uapi= gives: an enum desc_revision.
  uint8_t revision = DESC_VCMDQ_V2;
  // The keys that machine(...) may have; nullptr accepts any.
  const std::vector<std::string>* machine_keys = nullptr;
};

// False and *error at the first name that means nothing, field that does not
// exist, value that does not fit its place.
[[nodiscard]] bool Bind(const Program& program, const BindOptions& options,
                        BoundProgram* bound, Error* error);

// One value that a call returned.
struct Output {
  std::string name;                // as it is shown: "stdev", "num_iovas"
  std::vector<std::string> names;  // all that `x.NAME` may say
  uint64_t value = 0;
  const desc_field* field = nullptr;
  bool show = true;
};

struct CallResult {
  enum class State : uint8_t {
    kNotRun,
    kSkipped,  // a name that it uses has no value; `why` says which
    kDone,
  };
  State state = State::kNotRun;
  bool expected = false;  // the result is what the program says
  std::string why;        // when it is not: what was expected
  int error = 0;          // positive errno, 0 for success
  bool has_value = false;
  uint64_t value = 0;  // what the call's name stands for
  std::vector<Output> outputs;
  std::string bytes;       // load(), read(): what was there
  int fd = -1;             // an ioctl's descriptor
  std::string sent;        // an ioctl's struct as it was when the call was made
  int64_t injected = -1;   // fail_nth: 0 injected, else what was left of it
  int injected_error = 0;  // what the call said then, before it was made again
};

// "= 3", "ENOENT", "stdev=2 hwpt=3", "ok".
std::string FormatResult(const BoundCall& call, const CallResult& result);

struct RunOptions {
  // Opens every descriptor with this revision instead of what the program says.
  std::string revision;
  // A name without a value (its call failed) is 0; else the call is skipped.
  bool missing_is_zero = false;
  // Sets fail_nth on this call, unless it has one of its own.
  size_t fail_call = static_cast<size_t>(-1);
  unsigned fail_nth = 0;
  // When a failure was injected and the call failed, makes it once more: all
  // that follows must then be as if nothing had happened.
  bool retry_injected = false;
  // A program ends: no poll() of it waits longer.
  unsigned max_timeout_ms = 10000;
  // Closes and unmaps everything at the end and looks for residue.
  bool cleanup = true;
  // After each call, in the order of the text. `results` has all so far.
  std::function<void(size_t index, const std::vector<CallResult>& results)>
      on_result;
  // Before the cleanup.
  std::function<void(const std::vector<CallResult>& results)> at_end;
};

struct RunResult {
  std::vector<CallResult> results;  // one for each BoundCall
  size_t calls = 0;                 // without machine(...)
  size_t as_expected = 0;
  std::string residue;  // what is left after the cleanup
};

// Runs the program, with `sys` as its main process. Threads that it names are
// started here and joined before the return; processes that it forks end then.
// Not reentrant for one `sys`.
RunResult Run(const BoundProgram& bound, syscalls* sys,
              const RunOptions& options);

// Everything that a program can call, for help and documentation.
struct BuiltinInfo {
  Builtin builtin;
  const char* name;
  const char* synopsis;
  const char* summary;
};
const std::vector<BuiltinInfo>& Builtins();

}  // namespace prog
