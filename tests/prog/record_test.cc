// SPDX-License-Identifier: GPL-2.0-or-later
//
// The recorder: each program of examples/ and tests/prog/ is run while it is
// recorded. What was recorded says every result, so running it proves that it
// does the same; and recording that run gives the same text once more.
#include "prog/record.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/record_syscalls.h"
#include "prog/run.h"
#include "tests/prog/program_files.h"
#include "tests/util/cmd.h"
#include "tools/lab_kernel.h"
#include "uapi/iommufd.h"
#include "uapi/vfio.h"

namespace {

using iommulab::Cmd;

// Programs that cannot be recorded call by call, and why.
struct Exception {
  const char* program;
  const char* reason;
};
constexpr Exception kExceptions[] = {
    {"examples/threads.prog", "calls of threads end in any order"},
    {"tests/prog/races_of_destroy.prog", "the same"},
    {"tests/prog/change_process_beside_other_calls.prog", "the same"},
    {"tests/prog/fork_threads_of_a_child.prog", "the same"},
    {"tests/prog/fault_wakes_who_polls.prog",
     "a poll ends, and is recorded, before the call that wakes it"},
    {"tests/prog/veventq_wakes_who_polls.prog", "the same"},
    {"tests/prog/tegra241_queue_runs_without_the_kernel.prog",
     "a store into registers is no call: nobody sees it"},
};

struct Recorded {
  std::string text;     // what the recorder wrote
  size_t calls = 0;     // that it was told of
  size_t expected = 0;  // lines of the program that went as expected
  size_t lines = 0;
  std::vector<std::string> remarks;
};

// Runs a program while it is recorded.
Recorded RunRecorded(const std::string& name, const std::string& source) {
  Recorded out;
  prog::Program program;
  prog::BoundProgram bound;
  prog::Error error;
  prog::BindOptions options;
  options.machine_keys = &tools::MachineKeys();
  EXPECT_TRUE(prog::Parse(source, &program, &error) &&
              prog::Bind(program, options, &bound, &error))
      << prog::FormatError(name, source, error) << source;
  auto lab =
      tools::LabKernel::Create(bound.machine, tools::LabOptions(), &error);
  EXPECT_NE(lab, nullptr);
  if (lab == nullptr) return out;
  prog::RecordOptions record;
  record.sink = [&out](std::string_view text) { out.text += text; };
  for (const prog::MachineOption& option : bound.machine) {
    record.machine.emplace_back(option.key, option.value);
  }
  prog::RecordingSyscalls sys(lab->sys(), record);
  prog::RunOptions run_options;
  // The cleanup is the runner's and belongs to no program.
  std::string at_end;
  size_t calls = 0;
  run_options.at_end = [&](const std::vector<prog::CallResult>&) {
    at_end = out.text;
    calls = sys.calls();
  };
  const prog::RunResult run = prog::Run(bound, &sys, run_options);
  EXPECT_EQ(run.residue, "");
  EXPECT_EQ(lab->warnings(), 0u) << lab->sys()->take_log();
  for (size_t i = 0; i < bound.calls.size(); i++) {
    const prog::BoundCall& call = bound.calls[i];
    if (call.builtin == prog::Builtin::kMachine) continue;
    EXPECT_TRUE(run.results[i].expected)
        << name << ':' << call.call->pos.line << ": "
        << prog::PrintCall(*call.call) << ": expected " << run.results[i].why
        << ", got " << prog::FormatResult(call, run.results[i]);
  }
  out.text = at_end;
  out.calls = calls;
  out.lines = run.calls;
  out.expected = run.as_expected;
  out.remarks = sys.recorder()->TakeRemarks();
  return out;
}

// Without the lines that bring memory to what it was: how many it takes depends
// on what was there before.
std::string WithoutStores(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at) + 1;
    const std::string line = text.substr(at, end - at);
    if (line.rfind("store(", 0) != 0 && line.rfind("load(", 0) != 0) {
      out += line;
    }
    at = end;
  }
  return out;
}

// Lines for calls that the recorder was told of.
size_t CountCalls(const std::string& text) {
  prog::Program program;
  prog::Error error;
  if (!prog::Parse(text, &program, &error)) return 0;
  size_t n = 0;
  for (const prog::Line& line : program.lines) {
    if (!line.has_call) continue;
    const prog::Call& call = line.call;
    bool own = call.name != "anon" && call.name != "memfd" &&
               call.name != "store" && call.name != "load" &&
               call.name != "fork" && call.name != "exit" &&
               call.name != "close" && call.name != "ftruncate" &&
               call.name != "machine";
    if (call.name == "munmap") own = !call.expect.errnos.empty();
    if (call.name == "mmap") {
      own = call.result.rfind("map", 0) == 0 || !call.expect.errnos.empty();
    }
    n += own;
  }
  return n;
}

class RecordProgramTest : public testing::TestWithParam<ProgramCase> {};

TEST_P(RecordProgramTest, ReplaysToTheSameResults) {
  for (const Exception& e : kExceptions) {
    if (GetParam().file == e.program) GTEST_SKIP() << e.reason;
  }
  ASSERT_EQ(GetParam().mistake, "");
  const std::string& file = GetParam().file;
  const Recorded first = RunRecorded(file, prog::Print(GetParam().program));
  EXPECT_EQ(first.calls, CountCalls(first.text));
  const Recorded second = RunRecorded(file + " recorded", first.text);
  EXPECT_EQ(second.lines, second.expected) << first.text;
  EXPECT_EQ(WithoutStores(second.text), WithoutStores(first.text));
  EXPECT_EQ(first.remarks, std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Programs, RecordProgramTest,
                         testing::ValuesIn(ProgramCases()), CaseName);

// ---- a process that is none of sim_syscalls ----

// What a client in another process looks like: its own addresses, its own
// stores, mappings that come and go, descriptors that come from anywhere.
class FakeSource : public prog::RecordSource {
 public:
  FakeSource() {
    prog::RecordOptions options;
    options.sink = [this](std::string_view text) { text_ += text; };
    options.machine = {{"memlock", "65536"}};
    options.head = "recorded";
    recorder_ = std::make_unique<prog::Recorder>(options, this);
  }

  struct Memory {
    prog::RecordRegion region;
    std::string bytes;
  };

  size_t Read(int process, uint64_t addr, void* dst, size_t n) override {
    size_t done = 0;
    while (done < n) {
      prog::RecordRegion r;
      if (!FindRegion(process, addr + done, &r) || r.start > addr + done) break;
      const Memory& m = memory_[process][r.start];
      const size_t at = addr + done - r.start;
      const size_t part = std::min<size_t>(n - done, r.length - at);
      memcpy(static_cast<char*>(dst) + done, m.bytes.data() + at, part);
      done += part;
    }
    return done;
  }
  bool FindRegion(int process, uint64_t addr,
                  prog::RecordRegion* region) override {
    for (const auto& [start, m] : memory_[process]) {
      if (start + m.region.length <= addr) continue;
      *region = m.region;
      return true;
    }
    return false;
  }
  prog::RecordFile FileOf(int process, int fd) override {
    const auto it = fds_[process].find(fd);
    return it != fds_[process].end() ? it->second : 0;
  }
  bool FindObject(prog::RecordFile object, prog::RecordObject* out) override {
    const auto it = objects_.find(object);
    if (it == objects_.end()) return false;
    *out = it->second;
    return true;
  }

  Memory* Map(int process, uint64_t start, uint64_t length) {
    Memory* m = &memory_[process][start];
    m->region.start = start;
    m->region.length = length;
    m->bytes.assign(length, '\0');
    return m;
  }
  void Put(int process, uint64_t addr, std::string_view bytes) {
    prog::RecordRegion r;
    ASSERT_TRUE(FindRegion(process, addr, &r));
    memory_[process][r.start].bytes.replace(addr - r.start, bytes.size(),
                                            bytes);
  }

  // A command whose struct lies at kStack. `answer` is what the kernel makes
  // of it.
  void Ioctl(int process, prog::RecordFile file, Cmd cmd, long ret,
             const std::function<void(Cmd*)>& answer = {},
             const std::vector<prog::RecordFile>& files = {}) {
    Put(process, kStack, Bytes(cmd));
    prog::Recorder::Ioctl call =
        recorder_->BeginIoctl({process, 0}, file, 3, cmd.nr(), kStack);
    if (answer) answer(&cmd);
    Put(process, kStack, Bytes(cmd));
    recorder_->EndIoctl(&call, ret, files);
  }
  // One that has no description.
  void Ioctl(int process, prog::RecordFile file, unsigned long nr,
             std::string_view bytes, long ret) {
    Put(process, kStack, bytes);
    prog::Recorder::Ioctl call =
        recorder_->BeginIoctl({process, 0}, file, 3, nr, kStack);
    recorder_->EndIoctl(&call, ret);
  }
  static std::string_view Bytes(const Cmd& cmd) {
    return {static_cast<const char*>(cmd.data()), cmd.size()};
  }

  // What was written since the last time.
  std::string Take() {
    std::string text = std::move(text_);
    text_.clear();
    all_ += text;
    return text;
  }
  // All of it is a program that means something.
  void Check() {
    Take();
    prog::Program program;
    prog::BoundProgram bound;
    prog::Error error;
    EXPECT_TRUE(prog::Parse(all_, &program, &error) &&
                prog::Bind(program, prog::BindOptions(), &bound, &error))
        << prog::FormatError("recorded", all_, error);
  }

  static constexpr uint64_t kStack = 0x7ffc00010800;

  std::unique_ptr<prog::Recorder> recorder_;
  std::map<int, std::map<uint64_t, Memory>> memory_;
  std::map<int, std::map<int, prog::RecordFile>> fds_;
  std::map<prog::RecordFile, prog::RecordObject> objects_;

 private:
  std::string text_;
  std::string all_;
};

class RecordSourceTest : public testing::Test {
 protected:
  RecordSourceTest() {
    source_.Map(7, 0x7ffc00000000, 0x21000);  // a stack
    recorder_ = source_.recorder_.get();
    recorder_->Open({7, 0}, "/dev/iommu", "", 3, 100);
    source_.Ioctl(7, 100, Cmd("IOAS_ALLOC"), 0,
                  [](Cmd* c) { c->Set("out_ioas_id", 1); });
    EXPECT_EQ(source_.Take(),
              "# recorded\n"
              "machine(memlock=\"65536\")\n"
              "f = open(uapi=vcmdq-v2)\n"
              "ioas = IOAS_ALLOC(f)  # = 1\n");
  }
  ~RecordSourceTest() override {
    source_.Check();
    EXPECT_EQ(recorder_->TakeRemarks(), remarks_);
  }

  static Cmd MapCmd(uint64_t addr, uint64_t length) {
    Cmd cmd("IOAS_MAP");
    cmd.Set("flags", IOMMU_IOAS_MAP_READABLE)
        .Set("ioas_id", 1)
        .Set("user_va", addr)
        .Set("length", length);
    return cmd;
  }
  // IOAS_MAP of the memory, and what was written for it.
  std::string Mapped(int process, uint64_t addr, uint64_t length,
                     long ret = 0) {
    source_.Ioctl(process, 100, MapCmd(addr, length), ret, [ret](Cmd* c) {
      if (ret == 0) c->Set("iova", 0x1000);
    });
    return source_.Take();
  }

  FakeSource source_;
  prog::Recorder* recorder_;
  std::vector<std::string> remarks_;
};

TEST_F(RecordSourceTest, AddressesKeepTheirNeighbours) {
  source_.Map(7, 0x7f1234560000, 0x4000);
  EXPECT_EQ(Mapped(7, 0x7f1234561000, 0x1000),
            "buf = anon(16k, addr=0x15234560000)\n"
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, user_va=buf+4k, "
            "length=4k)  # = 0x1000\n");
  // The mapping grows, as a heap does: one more call for the rest.
  source_.Map(7, 0x7f1234560000, 0x6000);
  EXPECT_EQ(Mapped(7, 0x7f1234563000, 0x3000),
            "buf2 = anon(8k, addr=0x15234564000)\n"
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, user_va=buf+12k, "
            "length=12k)  # = 0x1000\n");
  // And is unmapped in the middle without a call that anybody saw: what is
  // mapped for I/O is looked at again, and what a call names; all by Refresh().
  source_.memory_[7].clear();
  source_.Map(7, 0x7ffc00000000, 0x21000);
  source_.Map(7, 0x7f1234560000, 0x1000);
  EXPECT_EQ(Mapped(7, 0x7f1234560000, 0x3000, -EFAULT),
            "munmap(buf+12k, 4k)\n"
            "munmap(buf2, 8k)\n"
            "munmap(buf+4k, 8k)\n"
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, user_va=buf, "
            "length=12k)  # EFAULT\n");
  source_.memory_[7].erase(0x7f1234560000);
  recorder_->Refresh(7);
  EXPECT_EQ(source_.Take(), "munmap(buf, 4k)\n");
  EXPECT_EQ(Mapped(7, 0x7f1234564000, 0x1000, -EFAULT),
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, user_va=buf2, "
            "length=4k)  # EFAULT\n");
  // No memory of the program is where this process has none.
  EXPECT_EQ(Mapped(7, 0x7f9999999000, 0x1000, -EFAULT),
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, "
            "user_va=0x15999999000, length=4k)  # EFAULT\n");
  EXPECT_EQ(Mapped(7, ~uint64_t{0}, 1, -EOVERFLOW),
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, "
            "user_va=0xffffffffffffffff, length=1)  # EOVERFLOW\n");
}

TEST_F(RecordSourceTest, TwoPlacesForOneAddress) {
  source_.Map(7, 0x550000000000, 0x1000);
  source_.Map(7, 0x554000000000, 0x200000)->region.huge = true;
  EXPECT_EQ(Mapped(7, 0x550000000000, 0x1000).substr(0, 35),
            "buf = anon(4k, addr=0x14000000000)\n");
  EXPECT_EQ(Mapped(7, 0x554000000000, 0x1000),
            "buf2 = anon(2M, huge=true, align=1G)\n"
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, user_va=buf2, "
            "length=4k)  # = 0x1000\n");
  remarks_ = {"memory that has no room at its place"};
}

TEST_F(RecordSourceTest, SharedMemoryIsThereBeforeTheFork) {
  // One piece of memory without a descriptor, a memory file mapped at an
  // offset, and private memory.
  FakeSource::Memory* m = source_.Map(7, 0x7f0000000000, 0x2000);
  m->region.object = 500;
  source_.objects_[500].size = 0x2000;
  m = source_.Map(7, 0x7f0000010000, 0x1000);
  m->region.object = 501;
  m->region.offset = 0x3000;
  m->region.readonly = true;
  source_.objects_[501].size = 0x4000;
  source_.objects_[501].memfd = true;
  source_.Map(7, 0x7f0000020000, 0x1000);
  source_.memory_[8] = source_.memory_[7];
  recorder_->Fork(7, 8);
  EXPECT_EQ(source_.Take(),
            "buf = anon(8k, shared=true, addr=0x14000000000)\n"
            "m = memfd(16k)\n"
            "buf2 = mmap(m, length=4k, offset=12k, prot=READ, "
            "flags=SHARED|FIXED, addr=0x14000010000)\n"
            "p1 = fork()\n");
  EXPECT_EQ(Mapped(8, 0x7f0000000000, 0x1000),
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, user_va=buf, "
            "length=4k) @p1  # = 0x1000\n");
  EXPECT_EQ(Mapped(8, 0x7f0000020000, 0x1000).substr(0, 41),
            "buf3 = anon(4k, addr=0x14000020000) @p1\nI");
  // The file gets shorter, all descriptors go, a process ends.
  source_.objects_[501].size = 0x1000;
  EXPECT_EQ(Mapped(7, 0x7f0000000000, 0x1000).substr(0, 17),
            "ftruncate(m, 4k)\n");
  recorder_->Closed(501);
  recorder_->Exit(8);
  recorder_->Exit(8);
  EXPECT_EQ(source_.Take(), "close(m)\nclose(m) @p1\nexit(p1)\n");
}

TEST_F(RecordSourceTest, TheMainProcessEndsFirst) {
  source_.Map(7, 0x7f0000020000, 0x1000);
  Mapped(7, 0x7f0000020000, 0x1000);
  source_.memory_[8] = source_.memory_[7];
  recorder_->Fork(7, 8);
  recorder_->Exit(7);
  EXPECT_EQ(source_.Take(), "p1 = fork()\nmunmap(buf, 4k)\nclose(f)\n");
  EXPECT_EQ(Mapped(8, 0x7f0000020000, 0x1000),
            "IOAS_MAP(f, flags=READABLE, ioas_id=ioas, user_va=buf, "
            "length=4k) @p1  # = 0x1000\n");
}

// As a test harness does it: a parent that makes no call forks one process
// after the other, and all have its shared memory.
TEST_F(RecordSourceTest, OneProcessAfterTheOther) {
  FakeSource::Memory* m = source_.Map(7, 0x7f0000000000, 0x2000);
  m->region.object = 500;
  source_.objects_[500].size = 0x2000;
  m = source_.Map(7, 0x7f0000010000, 0x1000);
  m->region.object = 501;
  source_.objects_[501].size = 0x1000;
  source_.objects_[501].memfd = true;
  source_.memory_[8] = source_.memory_[7];
  source_.memory_[9] = source_.memory_[7];
  EXPECT_EQ(Mapped(7, 0x7f0000000000, 0x1000).substr(0, 4), "buf ");
  EXPECT_EQ(Mapped(7, 0x7f0000010000, 0x1000).substr(0, 15),
            "m = memfd(4k)\nb");
  recorder_->Exit(7);
  EXPECT_EQ(source_.Take(), "");
  recorder_->Start(8);
  EXPECT_EQ(source_.Take(),
            "munmap(buf, 8k)\nmunmap(buf2, 4k)\nclose(f)\nclose(m)\n"
            "p1 = fork()\n");
  recorder_->Open({8, 0}, "/dev/iommu", "", 3, 110);
  source_.Take();
  source_.Ioctl(8, 110, MapCmd(0x7f0000000000, 0x1000), -ENOENT);
  EXPECT_EQ(source_.Take(),
            "buf3 = anon(8k, shared=true, addr=0x14000000000) @p1\n"
            "IOAS_MAP(f2, flags=READABLE, ioas_id=1, user_va=buf3, "
            "length=4k) @p1  # ENOENT\n");
  recorder_->Exit(8);
  recorder_->Start(9);
  EXPECT_EQ(source_.Take(), "exit(p1)\np2 = fork()\n");
}

TEST_F(RecordSourceTest, WhatCameFromNowhere) {
  source_.Map(9, 0x7ffc00000000, 0x21000);
  Cmd destroy("DESTROY");
  destroy.Set("id", 1);
  // A process that nobody forked, with a file that it cannot have.
  recorder_->Open({7, 0}, "/dev/iommu", "hw-queue", 4, 101);
  recorder_->Start(9);
  recorder_->Open({7, 0}, "/dev/iommu", "none", -EINVAL, 0);
  recorder_->Open({7, 0}, "/dev/iommu", "", 5, 102);
  source_.Ioctl(9, 102, destroy, -ENOENT);
  // Descriptors of none, and of something else.
  source_.Ioctl(9, 0, destroy, -EBADF);
  source_.Ioctl(9, 0, destroy, -ENOTTY);
  recorder_->Close({9, 0}, 0, 77, -EBADF);
  EXPECT_EQ(source_.Take(),
            "f2 = open(uapi=hw-queue)\n"
            "p1 = fork()\n"
            "open(uapi=none)  # EINVAL\n"
            "f3 = open(uapi=vcmdq-v2)\n"
            "DESTROY(f3, id=1)  # ENOENT\n"
            "DESTROY(-1, id=1) @p1  # EBADF\n"
            "other = memfd(4k) @p1\n"
            "DESTROY(other, id=1) @p1  # ENOTTY\n"
            "close(-1) @p1  # EBADF\n");
  remarks_ = {"a descriptor that a process has got from another"};
}

TEST_F(RecordSourceTest, WhatIsReadIsStored) {
  source_.Map(7, 0x7f0000000000, 0x4000);
  Cmd cmd("DIRTY");
  cmd.Set("id", 9)
      .Set("length", 0x8000 * 4096ull)
      .Set("page_size", 4096)
      .Set("uptr", 0x7f0000000ff0);
  // 4k of bitmap: a pattern and something of its own.
  source_.Put(7, 0x7f0000000ff0, std::string(4096, 'U'));
  source_.Put(7, 0x7f0000001800, "own");
  source_.Ioctl(7, 100, cmd, -EINVAL);
  EXPECT_EQ(source_.Take(),
            "buf = anon(16k, addr=0x14000000000)\n"
            "store(buf+4080, \"UUUUUUUUUUUUUUUU\")\n"
            "store(buf+4k, \"U\", n=2048)\n"
            "store(buf+6k, \"own\")\n"
            "store(buf+0x1803, \"U\", n=2029)\n"
            "DIRTY(f, id=9, length=128M, page_size=0x1000, uptr=buf+4080)  "
            "# EINVAL\n");
  // Only what has changed since.
  source_.Put(7, 0x7f0000001800, "UUU");
  source_.Ioctl(7, 100, cmd, 0, [](Cmd* c) { c->Set("out_nr_dirty", 5); });
  EXPECT_EQ(source_.Take(),
            "store(buf+6k, \"UUU\")\n"
            "DIRTY(f, id=9, length=128M, page_size=0x1000, uptr=buf+4080)  "
            "# = 5\n");
}

TEST_F(RecordSourceTest, WhatIsWrittenIsCompared) {
  source_.Map(7, 0x7f0000000000, 0x1000);
  Cmd cmd("HWPT_GET_DIRTY_BITMAP");
  cmd.Set("hwpt_id", 9)
      .Set("length", 1024 * 2048)
      .Set("page_size", 2048)
      .Set("data", 0x7f0000000008);
  const auto mark = [this](Cmd*) {
    source_.Put(7, 0x7f0000000008, std::string(128, '\xaa'));
  };
  source_.Ioctl(7, 100, cmd, 0, mark);
  EXPECT_EQ(source_.Take(),
            "buf = anon(4k, addr=0x14000000000)\n"
            "HWPT_GET_DIRTY_BITMAP(f, hwpt_id=9, length=2M, data=buf+8)\n"
            "load(buf+8, 128)  # hash=0x100cb6a4b65cbf25\n");
  // The program has what the kernel wrote.
  source_.Ioctl(7, 100, cmd, -ENOENT);
  EXPECT_EQ(source_.Take().substr(0, 6), "HWPT_G");
  cmd.Set("length", 64 * 2048);
  source_.Put(7, 0x7f0000000008, std::string(8, '\0'));
  source_.Ioctl(7, 100, cmd, 0, mark);
  EXPECT_EQ(source_.Take(),
            "HWPT_GET_DIRTY_BITMAP(f, hwpt_id=9, length=128k, data=out(8))  "
            "# data[0]=170, data[1]=170, data[2]=170, data[3]=170, "
            "data[4]=170, data[5]=170, data[6]=170, data[7]=170\n");
}

// What is mapped for I/O is looked at again by each call, until it is unmapped:
// then the memory there may be another without a line. VFIO's unmap of all
// names no range.
TEST_F(RecordSourceTest, WhatIsUnmappedIsLookedAtNoMore) {
  Cmd map("VFIO_IOMMU_MAP_DMA");
  map.Set("flags", VFIO_DMA_MAP_FLAG_READ)
      .Set("vaddr", 0x7f0000000000)
      .Set("iova", 0x10000)
      .Set("size", 0x1000);
  Cmd range("VFIO_IOMMU_UNMAP_DMA");
  range.Set("iova", 0x10000).Set("size", 0x1000);
  Cmd all("VFIO_IOMMU_UNMAP_DMA");
  all.Set("flags", VFIO_DMA_UNMAP_FLAG_ALL);
  const struct {
    Cmd unmap;
    const char* line;
  } kCases[] = {
      {range, "VFIO_IOMMU_UNMAP_DMA(f, iova=0x10000, size=4k)  # = 4k\n"},
      {all, "VFIO_IOMMU_UNMAP_DMA(f, flags=ALL)  # = 4k\n"},
  };
  Cmd other("IOAS_CHANGE_PROCESS");
  const std::string other_line = "IOAS_CHANGE_PROCESS(f)\n";
  for (const auto& [unmap, line] : kCases) {
    source_.Map(7, 0x7f0000000000, 0x1000);
    source_.Ioctl(7, 100, map, 0);
    source_.Take();
    source_.Ioctl(7, 100, unmap, 0, [](Cmd* c) { c->Set("size", 0x1000); });
    EXPECT_EQ(source_.Take(), line);
    source_.memory_[7].erase(0x7f0000000000);
    source_.Ioctl(7, 100, other, 0);
    EXPECT_EQ(source_.Take(), other_line);
    recorder_->Refresh(7);
    EXPECT_EQ(source_.Take().substr(0, 10), "munmap(buf");
  }
  // While it is mapped, a line says so.
  source_.Map(7, 0x7f0000000000, 0x1000);
  source_.Ioctl(7, 100, map, 0);
  source_.memory_[7].erase(0x7f0000000000);
  source_.Take();
  source_.Ioctl(7, 100, other, 0);
  EXPECT_EQ(source_.Take(), "munmap(buf3, 4k)\n" + other_line);
}

TEST_F(RecordSourceTest, CommandsInOddPlaces) {
  const uint64_t page = 0x7f0000000000;
  source_.Map(7, page, 0x1000);
  Cmd destroy("DESTROY");
  destroy.Set("id", 1);
  const std::string_view bytes = FakeSource::Bytes(destroy);
  source_.Put(7, page + 0xffc, bytes.substr(0, 4));
  for (const auto& [addr, ret] :
       {std::pair<uint64_t, long>{page + 0xffc, -EFAULT}, {0, -EFAULT}}) {
    prog::Recorder::Ioctl call =
        recorder_->BeginIoctl({7, 0}, 100, 3, destroy.nr(), addr);
    recorder_->EndIoctl(&call, ret);
  }
  // Unknown commands, and numbers that have more than 32 bits.
  const std::string other("\x0c\0\0\0\1\0\0\0\xff\0\0\0", 12);
  source_.Ioctl(7, 100, 0x3bfeul, other, -ENOTTY);
  source_.Ioctl(7, 100, 0x100003b80ul, other, -ENOTTY);
  // One that does not end.
  recorder_->BeginIoctl({7, 0}, 100, 3, destroy.nr(), FakeSource::kStack);
  // A failure on demand; an errno that has no name.
  source_.Put(7, FakeSource::kStack, bytes);
  prog::Recorder::Ioctl call =
      recorder_->BeginIoctl({7, 3}, 100, 3, destroy.nr(), FakeSource::kStack);
  recorder_->EndIoctl(&call, -524);
  EXPECT_EQ(source_.Take(),
            "buf = anon(4k, addr=0x14000000000)\n"
            "store(buf+4092, \"\\x08\")\n"
            "ioctl(f, 0x3b80, buf+4092)  # EFAULT\n"
            "DESTROY(f, arg=0)  # EFAULT\n"
            "ioctl(f, 0x3bfe, \"\\x0c\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\xff"
            "\\x00\\x00\\x00\")  # ENOTTY\n"
            "ioctl(f, 0x100003b80, \"\\x0c\\x00\\x00\\x00\\x01\\x00\\x00\\x00"
            "\\xff\\x00\\x00\\x00\")  # ENOTTY\n"
            "DESTROY(f, id=ioas, fail_nth=3)\n");
  remarks_ = {"errno 524 has no name"};
}

}  // namespace
