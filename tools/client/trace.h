// SPDX-License-Identifier: GPL-2.0-or-later
//
// Feeds a recorder (prog/record.h) with what the lab kernel process is
// asked to do: what the host knows of programs' memory and descriptors, in the
// recorder's terms.
#ifndef TOOLS_CLIENT_TRACE_H_
#define TOOLS_CLIENT_TRACE_H_

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prog/record.h"
#include "tools/client/program.h"

namespace client {

// A program as the trace knows it: `image` is a number never used again.
struct TracedProgram {
  uint64_t image = 0;
  uint64_t nonce = 0;
  uint64_t parent_nonce = 0;
  std::shared_ptr<ProgramMemory> memory;
};

class Trace final : public prog::RecordSource {
 public:
  // The program's first line is `machine` and what else this process has found
  // that another one may not. nullptr and *error when the file cannot be
  // written.
  static std::unique_ptr<Trace> Create(
      const std::string& path, const std::string& revision,
      std::vector<std::pair<std::string, std::string>> machine,
      std::string* error);
  ~Trace() override;

  // How a socket of a program is named as a file of the kernel; 0: it is none.
  void SetFiles(std::function<uint64_t(uint64_t ino)> files);

  // A process image begins. Nothing is recorded before it makes a call, unless
  // it has inherited mappings of the kernel's files.
  void Begins(const TracedProgram& program);
  void Ends(uint64_t image);
  // The image's caller, for a call that begins now; makes it known.
  prog::RecordCaller Caller(uint64_t image, unsigned fail_nth);
  // The program has mapped a file of the kernel, or unmaps it again.
  void DeviceMapped(uint64_t image, uint64_t addr, uint64_t length);
  void DeviceUnmapped(uint64_t image, uint64_t addr, uint64_t length);
  // A memory file that a program has, as far as anybody knows by then.
  prog::RecordFile AddMemory(int fd, bool huge);
  prog::Recorder* recorder() { return recorder_.get(); }

  // ---- prog::RecordSource ----
  size_t Read(prog::RecordProcess process, uint64_t addr, void* dst,
              size_t n) override;
  bool FindRegion(prog::RecordProcess process, uint64_t addr,
                  prog::RecordRegion* region) override;
  prog::RecordFile FileOf(prog::RecordProcess process, int fd) override;
  bool FindObject(prog::RecordFile object, prog::RecordObject* out) override;
  size_t ReadObject(prog::RecordFile object, uint64_t offset, void* dst,
                    size_t n) override;

 private:
  struct Process {
    TracedProgram program;
    bool recorded = false;
    bool gone = false;
    std::map<uint64_t, uint64_t> devices;  // start and end
  };
  // Numbers of memory files lie above those of the kernel's files.
  static constexpr uint64_t kMemory = 1ull << 62;
  struct Memory {
    UniqueFd fd;
    bool memfd = false;  // programs have descriptors of it
    bool huge = false;
  };

  Trace() = default;
  std::shared_ptr<ProgramMemory> MemoryOf(prog::RecordProcess process);

  FILE* out_ = nullptr;
  std::function<uint64_t(uint64_t)> files_;
  absl::Mutex mu_;
  // By image; a RecordProcess is one.
  std::map<uint64_t, Process> processes_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<dev_t, ino_t>, uint64_t> numbers_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, Memory> memory_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<prog::Recorder> recorder_;
};

}  // namespace client

#endif  // TOOLS_CLIENT_TRACE_H_
