// SPDX-License-Identifier: GPL-2.0-or-later
//
// From calls to lines. This file is the lock, and the calls that are no ioctl.
// The rest, from the ground up: record_lines.h (the output), record_mirror.h
// (what the program has), record_files.h, record_memory.h, record_processes.h
// and record_contents.h (lines that bring it up to date), record_spaces.h (what
// is mapped for I/O), record_arguments.h and record_results.h (the two halves
// of an ioctl).
#include "prog/record.h"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prog/calls.h"
#include "prog/prog.h"
#include "prog/record_arguments.h"
#include "prog/record_contents.h"
#include "prog/record_files.h"
#include "prog/record_lines.h"
#include "prog/record_memory.h"
#include "prog/record_mirror.h"
#include "prog/record_pending.h"
#include "prog/record_processes.h"
#include "prog/record_results.h"
#include "prog/record_spaces.h"
#include "prog/record_values.h"
#include "prog/run.h"

namespace prog {
namespace {

using recording::AddArg;
using recording::AddFailNth;
using recording::ExpectBytes;
using recording::ExpectOutput;
using recording::Flags;
using recording::kMaxBufferBytes;
using recording::PageUp;
using recording::Range;
using recording::Size;
using recording::Was;

// The data of a write() up to here stands in the line, and of a read().
constexpr size_t kMaxWriteBytes = 4096;
constexpr size_t kMaxReadBytes = 64 << 10;

// A form's name needs no quotes where it is a word.
Value FormName(const std::string& name) {
  const bool word =
      !name.empty() &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") ==
          std::string::npos;
  return word ? Value::Name(name) : Value::String(name);
}

std::span<const desc_name> MmapNames(std::string_view arg) {
  for (const BuiltinArg& a : FindBuiltin("mmap")->args) {
    if (arg == a.name) return a.names;
  }
  return {};
}

}  // namespace

Recorder::Ioctl::Ioctl() = default;
Recorder::Ioctl::~Ioctl() = default;
Recorder::Ioctl::Ioctl(Ioctl&&) noexcept = default;
Recorder::Ioctl& Recorder::Ioctl::operator=(Ioctl&&) noexcept = default;

struct Recorder::State {
  State(RecordOptions options, RecordSource* source);

  const std::string revision;
  absl::Mutex mutex;
  recording::Lines lines ABSL_GUARDED_BY(mutex);
  recording::Mirror mirror ABSL_GUARDED_BY(mutex);
  recording::Files files ABSL_GUARDED_BY(mutex);
  recording::Memory memory ABSL_GUARDED_BY(mutex);
  recording::Processes processes ABSL_GUARDED_BY(mutex);
  recording::Contents contents ABSL_GUARDED_BY(mutex);
  recording::Spaces spaces ABSL_GUARDED_BY(mutex);
  recording::Arguments arguments ABSL_GUARDED_BY(mutex);
  recording::Results results ABSL_GUARDED_BY(mutex);
};

Recorder::State::State(RecordOptions options, RecordSource* source)
    : revision(options.revision),
      lines(options),
      mirror(options.place),
      files(&mirror, &lines, source),
      memory(&mirror, &lines, source, &files),
      processes(&mirror, &lines, source, &files, &memory),
      contents(&mirror, &lines, source, &files),
      spaces(&mirror, &memory, &contents),
      arguments(RevisionByName(revision), &mirror, &lines, source, &files,
                &memory, &contents, &spaces),
      results(&mirror, &lines, &files, &contents, &spaces) {}

Recorder::Recorder(RecordOptions options, RecordSource* source)
    : state_(std::make_unique<State>(std::move(options), source)) {}
Recorder::~Recorder() = default;

// ---- calls ----

void Recorder::Open(const RecordCaller& caller, std::string_view path,
                    std::string_view revision, int ret, RecordFile file) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  Call call = s.mirror.NewCall("open", caller.process);
  const std::string name =
      revision.empty() ? s.revision : std::string(revision);
  AddArg(&call, "uapi", FormName(name));
  if (path != "/dev/iommu") AddArg(&call, "path", Value::String(path));
  AddFailNth(&call, caller);
  if (s.lines.ExpectResult(&call, ret)) {
    call.result = s.lines.NewName(path == "/dev/iommu" ? "f" : "vfio");
    s.mirror.Process(caller.process)->files[file] = Value::Name(call.result);
    s.mirror.files[file].revision = RevisionByName(name);
  }
  s.lines.Print(call);
}

Recorder::Ioctl Recorder::BeginIoctl(const RecordCaller& caller,
                                     RecordFile file, int, unsigned long cmd,
                                     uint64_t arg) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  Ioctl call;
  call.call_ = std::make_unique<PendingCall>();
  call.call_->caller = caller;
  call.call_->file = file;
  s.arguments.Begin(call.call_.get(), cmd, arg);
  return call;
}

void Recorder::EndIoctl(Ioctl* call, long ret,
                        std::span<const RecordFile> files) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  if (call->call_ != nullptr) s.results.End(call->call_.get(), ret, files);
  call->call_.reset();
}

void Recorder::Read(const RecordCaller& caller, RecordFile file, int,
                    uint64_t buf, size_t count, long ret) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  const RecordProcess p = caller.process;
  const bool literal =
      count <= kMaxReadBytes &&
      (count == 0 || ret == -EBADF || s.memory.Accessible(p, buf, count, true));
  if (!literal) {
    s.memory.Reconcile(p, buf, count);
    if (ret > 0)
      s.contents.Sync(p, buf, static_cast<size_t>(ret), Was::kWritten);
  }
  Call call = s.mirror.NewCall("read", p);
  AddArg(&call, "", Value());
  call.args[0].value = s.files.Descriptor(&call, p, file, ret);
  AddArg(&call, "", literal ? Value::Out(count) : s.mirror.Address(p, buf));
  if (!literal) AddArg(&call, "", Value::Number(count));
  AddFailNth(&call, caller);
  if (s.lines.ExpectResult(&call, ret)) {
    const std::string bytes = s.contents.Read(p, buf, static_cast<size_t>(ret));
    if (!literal || ret == 0) {
      ExpectOutput(&call, "", Value::Number(ret));
    } else {
      ExpectBytes(&call, bytes);
    }
  }
  s.lines.Print(call);
}

Recorder::Ioctl Recorder::BeginWrite(const RecordCaller& caller,
                                     RecordFile file, int, uint64_t buf,
                                     size_t count) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  Ioctl pending;
  pending.call_ = std::make_unique<PendingCall>();
  PendingCall* c = pending.call_.get();
  c->caller = caller;
  c->file = file;
  const RecordProcess p = c->caller.process;
  c->raw = true;
  std::string bytes = s.contents.Read(p, buf, std::min(count, kMaxBufferBytes));
  const bool literal = bytes.size() == count && count <= kMaxWriteBytes;
  if (!literal) {
    s.memory.Reconcile(p, buf, count);
    s.contents.Sync(p, buf, bytes.size());
  }
  c->call = s.mirror.NewCall("write", p);
  AddArg(&c->call, "", Value());
  AddArg(&c->call, "",
         literal ? Value::String(bytes) : s.mirror.Address(p, buf));
  if (!literal) AddArg(&c->call, "", Value::Number(count));
  return pending;
}

void Recorder::EndWrite(Ioctl* pending, long ret) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  PendingCall* c = pending->call_.get();
  if (c == nullptr) return;
  c->call.args[0].value =
      s.files.Descriptor(&c->call, c->caller.process, c->file, ret);
  AddFailNth(&c->call, c->caller);
  if (s.lines.ExpectResult(&c->call, ret))
    ExpectOutput(&c->call, "", Value::Number(ret));
  s.lines.Print(c->call);
  pending->call_.reset();
}

void Recorder::Poll(const RecordCaller& caller, RecordFile file, int,
                    short events, int ret) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  Call call = s.mirror.NewCall("poll", caller.process);
  AddArg(&call, "", Value());
  call.args[0].value = s.files.Descriptor(&call, caller.process, file,
                                          ret == POLLNVAL ? -EBADF : ret);
  if (events != POLLIN) {
    AddArg(&call, "events",
           Flags(static_cast<unsigned short>(events), PollNames()));
  }
  AddFailNth(&call, caller);
  if (s.lines.ExpectResult(&call, ret)) {
    ExpectOutput(&call, "", Flags(static_cast<uint64_t>(ret), PollNames()));
  }
  s.lines.Print(call);
}

void Recorder::Mmap(const RecordCaller& caller, RecordFile file, int,
                    uint64_t addr, size_t length, int prot, int flags,
                    uint64_t offset, uint64_t ret) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  const RecordProcess p = caller.process;
  const bool error = ret >= static_cast<uint64_t>(-4095);
  const long result = error ? static_cast<long>(ret) : 0;
  uint64_t at = 0;
  if (!error) {
    at = s.mirror.PlaceFor(p, ret, PageUp(length));
    flags = (flags & ~MAP_FIXED) | (at != 0 ? MAP_FIXED : 0);
  }
  Call call = s.mirror.NewCall("mmap", p);
  AddArg(&call, "", Value());
  call.args[0].value = s.files.Descriptor(&call, p, file, result);
  AddArg(&call, "length", Size(length));
  if (offset != 0) AddArg(&call, "offset", Value::Number(offset));
  if (prot != (PROT_READ | PROT_WRITE)) {
    AddArg(&call, "prot",
           Flags(static_cast<unsigned>(prot), MmapNames("prot")));
  }
  if (flags != MAP_SHARED) {
    AddArg(&call, "flags",
           Flags(static_cast<unsigned>(flags), MmapNames("flags")));
  }
  if (at != 0) {
    AddArg(&call, "addr", Value::Number(at, NumberStyle::kHex));
  } else if (error && addr != 0) {
    AddArg(&call, "addr", s.mirror.Address(p, addr));
  }
  AddFailNth(&call, caller);
  if (s.lines.ExpectResult(&call, result)) {
    call.result = s.lines.NewName("map");
    Range r;
    r.length = PageUp(length);
    r.name = call.result;
    r.at = at;
    r.device = true;
    s.mirror.AddRange(p, ret, std::move(r));
  }
  s.lines.Print(call);
}

void Recorder::Munmap(const RecordCaller& caller, uint64_t addr, size_t length,
                      int ret) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  const RecordProcess p = caller.process;
  if (ret >= 0) {
    s.memory.Unmap(p, addr, addr + PageUp(length));
    return;
  }
  s.memory.Reconcile(p, addr, length);
  Call call = s.mirror.NewCall("munmap", p);
  AddArg(&call, "", s.mirror.Address(p, addr));
  AddArg(&call, "", Value::Number(length));
  AddFailNth(&call, caller);
  s.lines.ExpectResult(&call, ret);
  s.lines.Print(call);
}

// ---- what happens to processes, memory and files ----

void Recorder::Start(RecordProcess process) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(process);
}

void Recorder::Fork(RecordProcess parent, RecordProcess child) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(parent);
  s.processes.Fork(parent, child);
}

void Recorder::Exit(RecordProcess process) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Exit(process);
}

void Recorder::Unmaps(RecordProcess process, uint64_t addr, uint64_t length) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(process);
  s.contents.SyncMapped(process, addr, addr + length);
  s.memory.Unmap(process, addr, addr + length);
}

void Recorder::Unmapped(RecordProcess process, uint64_t addr, uint64_t length) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(process);
  s.memory.Unmap(process, addr, addr + length);
}

void Recorder::Refresh(RecordProcess process) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(process);
  s.memory.Refresh(process);
}

void Recorder::Close(const RecordCaller& caller, RecordFile file, int,
                     int ret) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.processes.Start(caller.process);
  s.files.CloseIn(caller.process, file, ret);
}

void Recorder::Closed(RecordFile file) {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  s.files.Closed(file);
}

std::vector<std::string> Recorder::TakeRemarks() {
  State& s = *state_;
  absl::MutexLock lock(&s.mutex);
  return s.lines.TakeRemarks();
}

}  // namespace prog
