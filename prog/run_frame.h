// SPDX-License-Identifier: GPL-2.0-or-later
//
// One call while it is made: its arguments' values, memory for its data, and
// where its result goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "prog/run.h"
#include "prog/run_process.h"
#include "prog/run_results.h"
#include "uapi/iommufd_desc.h"
#include "uapi/syscalls.h"

namespace prog {

struct BuiltinSpec;

// What all calls of a run share.
struct RunState {
  const BoundProgram& bound;
  const RunOptions& options;
  ProcessTable processes;
  ResultTable results;
};

// Is it data that is placed in memory, not a number?
bool IsData(const Value& v);

class CallFrame {
 public:
  // `process` makes the call, with `scratch` of the thread.
  CallFrame(RunState* run, size_t index, Process* process, Scratch* scratch,
            CallResult* result);

  const BoundCall& bound() const { return *bound_; }
  // Its row; nullptr: an ioctl with a description.
  const BuiltinSpec* statement() const { return statement_; }
  size_t index() const { return index_; }
  RunState* run() { return run_; }
  Process* process() { return process_; }
  syscalls* sys() { return process_->sys(); }
  CallResult* result() { return result_; }

  // ---- arguments ----
  // False: a value is missing (result()->why may say which).

  // A value in a place with these constants.
  bool Eval(const Value& v, std::span<const desc_name> names, uint64_t* out);
  // nullptr: it is not given.
  const Value* Arg(std::string_view name) const;
  // One that is a number; `otherwise` when it is not given.
  bool NumberArg(std::string_view name, uint64_t otherwise, uint64_t* out);
  // The bytes that a string, a list or out(n) stands for. False as well when it
  // is none of these.
  bool Bytes(const Value& v, std::string* bytes);
  // An address, or data that is placed in memory for this call: then *bytes is
  // its length.
  bool Address(std::string_view name, uint64_t* addr, uint64_t* bytes);
  // Room for `bytes` with `data` in front, until the thread's next call. 0:
  // there is none.
  uint64_t Place(const std::string& data, uint64_t bytes) {
    return process_->Place(scratch_, data, bytes);
  }

  // ---- the call ----

  // fail_nth goes on just before the call and off just after it.
  void ArmAt(unsigned fail_nth) { fail_nth_ = fail_nth; }
  void Arm();
  void Disarm();
  template <typename Call>
  auto Make(Call call) {
    Arm();
    const auto ret = call();
    Disarm();
    return ret;
  }

  // ---- the result ----

  // A system call's: a value, or -errno.
  void SetResult(int64_t ret);
  // Just success, or -errno.
  void SetError(int64_t ret) {
    result_->error = ret < 0 ? static_cast<int>(-ret) : 0;
  }
  // Where `bytes` of memory are mapped now, or an error.
  void SetAddress(uint64_t addr, uint64_t bytes);
  // What was there.
  void SetBytes(std::string bytes);

 private:
  // The value of an output of a call that an earlier line made.
  bool Ref(const Value& v, uint64_t* out);

  RunState* const run_;
  const BoundCall* const bound_;
  const BuiltinSpec* const statement_;
  const size_t index_;
  Process* const process_;
  Scratch* const scratch_;
  CallResult* const result_;
  unsigned fail_nth_ = 0;
};

}  // namespace prog
