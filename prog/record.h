// SPDX-License-Identifier: GPL-2.0-or-later
//
// A recorder: what processes do to a kernel, as a program (docs/programs.md)
// that replays to the same results. It is fed call by call and prints symbolic
// lines: ids as names of the calls that made them, descriptors by name, flags
// by name, user addresses as offsets into memory that the program asks for.
// The comment of a line holds the recorded result, so running the program
// proves that the results are the same.
//
// It depends on no implementation of `syscalls`. Who feeds it
// (RecordingSyscalls in record_syscalls.h; the server of a client in another
// process) does this:
//
//   Recorder recorder(options, &source);
//   recorder.Open(caller, "/dev/iommu", "", ret, file);
//
//   Recorder::Ioctl call = recorder.BeginIoctl(caller, file, fd, cmd, arg);
//   ... make the call ...
//   recorder.EndIoctl(&call, ret, {new files});
//
// The two halves are there because data behind pointers is read in Begin, as
// the kernel will see it, and again in End. Nothing else of the caller's memory
// has to be told: the source answers questions about it. What the recorder
// cannot ask for afterwards are unmappings of private memory that something
// else has replaced since: call Unmapped() for every munmap, MAP_FIXED over
// something, mremap and madvise(DONTNEED) that is known. What is simply gone it
// finds by itself where a call names it or has mapped it for I/O, and
// everywhere by Refresh().
//
// Calls are recorded in the order of their ends, in one sequence. Overlapping
// calls are so made one after the other: results that depend on a race replay
// as they came only by luck.
//
// Not kept: changes of a mapping's protection (it is recorded as it was when it
// was first used), the contents of pinned memory whose process is gone, which
// frames are neighbours.
//
// All methods may be called from several threads; each takes the recorder's
// lock, and calls the source and the sink with it held.
//
// Mirrors no kernel file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prog {

// Numbers that the feeder chooses. A process's is never used again; the first
// one to be named anywhere is the program's main process, others come by
// Fork() or by Start().
using RecordProcess = int;

// An open file, whatever descriptors of whatever processes refer to it: never
// 0 (that is: none), and not used again while the recorder lives. A memory
// file's is at the same time the identity of its memory.
using RecordFile = uint64_t;

struct RecordCaller {
  RecordProcess process = 0;
  // What was left of the caller's fail_nth count when its call began; 0: it was
  // not armed.
  unsigned fail_nth = 0;
};

// One mapping of a process. Lengths and offsets in bytes.
struct RecordRegion {
  uint64_t start = 0;
  uint64_t length = 0;
  // What is shared: the identity of its memory (of a memory file: the file's),
  // and where in it the mapping starts. 0: private memory.
  RecordFile object = 0;
  uint64_t offset = 0;
  bool copy = false;      // a private mapping of `object`
  bool readonly = false;  // PROT_WRITE is missing
  bool none = false;      // PROT_READ is missing too: counts as not mapped
  bool device = false;    // made by Mmap() of a file of the kernel under test
  // As in memory_options (uapi/syscalls.h).
  bool huge = false;
  bool fragmented = false;
  bool poisoned = false;
};

// Shared memory.
struct RecordObject {
  uint64_t size = 0;   // now; a changed one is recorded as ftruncate()
  bool memfd = false;  // the program has (or had) descriptors of it
  bool huge = false;
  bool fragmented = false;
  bool poisoned = false;
};

// What the recorder asks about. Called with the recorder's lock held, between
// Begin and End of calls and inside every other method; must not call it back.
class RecordSource {
 public:
  virtual ~RecordSource() = default;

  // Copies n bytes at addr of the process; returns how many there were from
  // the front on.
  virtual size_t Read(RecordProcess process, uint64_t addr, void* dst,
                      size_t n) = 0;
  // The mapping that holds addr, else the lowest one above it. False: none.
  virtual bool FindRegion(RecordProcess process, uint64_t addr,
                          RecordRegion* region) = 0;
  // The file behind a descriptor of the process, 0 when it has none or one
  // that is neither of the kernel under test nor a memory file.
  virtual RecordFile FileOf(RecordProcess process, int fd) = 0;
  // False: it is no shared memory.
  virtual bool FindObject(RecordFile object, RecordObject* out) = 0;
  // As Read(), of shared memory. Without it what devices and accesses read of a
  // memory file is recorded only where a process has it mapped.
  virtual size_t ReadObject(RecordFile object, uint64_t offset, void* dst,
                            size_t n) {
    (void)object, (void)offset, (void)dst, (void)n;
    return 0;
  }
};

struct RecordOptions {
  // Gets whole lines, each with its newline, in order.
  std::function<void(std::string_view text)> sink;
  // machine(key=value, ...), the first line; none when empty.
  std::vector<std::pair<std::string, std::string>> machine;
  // Of descriptors: open(uapi=REVISION). Must be a known one.
  std::string revision = "vcmdq-v2";
  // Where the program puts memory: an address of the recorded process below
  // 2^47 becomes place + address % 2^38. So what is neighbouring stays so, and
  // addresses keep the alignment that the kernel's choice of iovas follows.
  // The default is the upper half of sim_syscalls' user addresses.
  uint64_t place = 0x14000000000;
  // A comment at the head, without '#'; may have several lines.
  std::string head;
};

class Recorder {
 public:
  // `source` outlives the recorder.
  Recorder(RecordOptions options, RecordSource* source);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // ---- calls: ret is the value, or -errno ----

  // `file` is the new one's when ret >= 0. `revision` is what was asked for;
  // empty: the options' one.
  void Open(const RecordCaller& caller, std::string_view path,
            std::string_view revision, int ret, RecordFile file);

  // A call between its two halves. May be given up without an end: then it is
  // not recorded.
  struct PendingCall;
  class Ioctl {
   public:
    Ioctl();
    ~Ioctl();
    Ioctl(Ioctl&&) noexcept;
    Ioctl& operator=(Ioctl&&) noexcept;

   private:
    friend class Recorder;
    std::unique_ptr<PendingCall> call_;
  };
  // `file` 0: a descriptor that is closed or none of ours (`fd` is printed).
  Ioctl BeginIoctl(const RecordCaller& caller, RecordFile file, int fd,
                   unsigned long cmd, uint64_t arg);
  // `files`: what the call opened, in the order of the struct's fields; for a
  // command whose result is a descriptor, that one.
  void EndIoctl(Ioctl* call, long ret, std::span<const RecordFile> files = {});

  // read() after it has returned. write() has a Begin as well: what it writes
  // is read before.
  void Read(const RecordCaller& caller, RecordFile file, int fd, uint64_t buf,
            size_t count, long ret);
  Ioctl BeginWrite(const RecordCaller& caller, RecordFile file, int fd,
                   uint64_t buf, size_t count);
  void EndWrite(Ioctl* call, long ret);
  void Poll(const RecordCaller& caller, RecordFile file, int fd, short events,
            int ret);
  // Of a file of the kernel under test. `ret` is the address, or -errno in the
  // top 4095 values.
  void Mmap(const RecordCaller& caller, RecordFile file, int fd, uint64_t addr,
            size_t length, int prot, int flags, uint64_t offset, uint64_t ret);
  // A munmap() that failed, or that succeeded, of any memory. Success is
  // printed only where the program knows of the memory.
  void Munmap(const RecordCaller& caller, uint64_t addr, size_t length,
              int ret);

  // ---- what happens to processes, memory and files ----

  // A process that no other of the recording has forked. (The program can have
  // one such: it stands for a copy of the main process.)
  void Start(RecordProcess process);
  void Fork(RecordProcess parent, RecordProcess child);
  // The process is gone, with its memory and its descriptors.
  void Exit(RecordProcess process);
  // The range of the process is about to be no longer what it was: what is in
  // it now is kept, as pins on it do.
  void Unmaps(RecordProcess process, uint64_t addr, uint64_t length);
  // The range of the process is no longer what it was.
  void Unmapped(RecordProcess process, uint64_t addr, uint64_t length);
  // Looks at all memory of the process that the program has, and unmaps what
  // the process has no more.
  void Refresh(RecordProcess process);
  // One process's last descriptor of the file, or the last one anywhere.
  // `fd` is printed when the close failed (ret < 0, file 0).
  void Close(const RecordCaller& caller, RecordFile file, int fd, int ret);
  void Closed(RecordFile file);

  // The lines that had to be put otherwise than the call was made, a text
  // each: "a descriptor that came over a socket", ... For the feeder's log.
  std::vector<std::string> TakeRemarks();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace prog
