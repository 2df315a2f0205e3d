// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run.h"

#include <string>

#include "gtest/gtest.h"
#include "prog/parse.h"
#include "tests/prog/fake_syscalls.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"

namespace prog {
namespace {

class RunTest : public testing::Test {
 protected:
  RunTest() {
    sys_.on_ioctl = [this](int, unsigned long cmd, uint64_t arg) {
      return Ioctl(cmd, arg);
    };
  }

  RunResult RunText(std::string_view text) {
    source_ = text;
    Error error;
    EXPECT_TRUE(Parse(source_, &program_, &error) &&
                Bind(program_, BindOptions(), &bound_, &error))
        << FormatError("x", source_, error);
    return prog::Run(bound_, &sys_, options_);
  }

  // A few commands that echo what they are given.
  long Ioctl(unsigned long cmd, uint64_t arg) {
    uint32_t size;
    if (sys_.load(arg, &size, 4) != 0) return -EFAULT;
    last_ = std::string(size, '\0');
    if (sys_.load(arg, last_.data(), size) != 0) return -EFAULT;
    switch (cmd) {
      case IOMMU_IOAS_ALLOC: {
        const uint32_t id = next_id_++;
        return sys_.store(arg + 8, &id, 4);
      }
      case IOMMU_DESTROY:
        return *reinterpret_cast<uint32_t*>(last_.data() + 4) < next_id_
                   ? 0
                   : -ENOENT;
      case IOMMU_VIOMMU_ALLOC: {
        auto* c = reinterpret_cast<iommu_viommu_alloc*>(last_.data());
        iommu_viommu_selftest data = {};
        if (c->data_len != sizeof(data)) return -EINVAL;
        if (sys_.load(c->data_uptr, &data, sizeof(data)) != 0) return -EFAULT;
        data.out_data = data.in_data;
        data.out_mmap_pgoff = 0x1000;
        sys_.store(c->data_uptr, &data, sizeof(data));
        c->out_viommu_id = next_id_++;
        return sys_.store(arg, c, sizeof(*c));
      }
      case IOMMU_IOAS_IOVA_RANGES: {
        auto* c = reinterpret_cast<iommu_ioas_iova_ranges*>(last_.data());
        const iommu_iova_range range[2] = {{0, 99}, {200, 299}};
        const bool fits = c->num_iovas >= 2;
        if (fits) sys_.store(c->allowed_iovas, range, sizeof(range));
        c->num_iovas = 2;
        c->out_iova_alignment = 1;
        sys_.store(arg, c, sizeof(*c));
        return fits ? 0 : -EMSGSIZE;
      }
      default:
        return -ENOTTY;
    }
  }

  FakeSyscalls sys_;
  RunOptions options_;
  std::string source_;
  Program program_;
  BoundProgram bound_;
  std::string last_;
  uint32_t next_id_ = 1;
};

TEST_F(RunTest, NamesCarryOutputs) {
  const RunResult r = RunText(
      "f = open(uapi=hw-queue)\n"
      "a = IOAS_ALLOC(f)\n"
      "b = IOAS_ALLOC(f)       # = 2\n"
      "DESTROY(f, id=b)\n"
      "DESTROY(f, id=b+7)      # ENOENT\n"
      "DESTROY(f, id=U32_MAX)  # ENOENT|EBUSY\n");
  EXPECT_EQ(r.calls, 6u);
  EXPECT_EQ(r.as_expected, 6u);
  EXPECT_EQ(r.residue, "");
  EXPECT_EQ(sys_.opened, (std::vector<std::string>{"hw-queue"}));
  EXPECT_EQ(FormatResult(bound_.calls[1], r.results[1]), "= 1");
  EXPECT_EQ(FormatResult(bound_.calls[3], r.results[3]), "ok");
  EXPECT_EQ(FormatResult(bound_.calls[4], r.results[4]), "ENOENT");
}

TEST_F(RunTest, DataIsPlacedAndReadBack) {
  const RunResult r = RunText(
      "f = open()\n"
      "v = VIOMMU_ALLOC(f, type=SELFTEST, data={in_data=0xbeef})  # "
      "out_data=0xbeef, data.out_data=0xbeef\n"
      "p = mmap(f, offset=v.out_mmap_offset, length=0x1000)\n"
      "store(p+8, 0x1234)\n"
      "load(p+8)               # = 0x1234\n"
      "load(p+8, 2)            # = \"4\\x12\"\n"
      "load(5)                 # EFAULT\n"
      "munmap(p)\n"
      "load(p)                 # EFAULT\n");
  EXPECT_EQ(r.as_expected, 9u);
  EXPECT_EQ(FormatResult(bound_.calls[1], r.results[1]),
            "= 1 out_data=0xbeef out_mmap_pgoff=0x1000 out_mmap_pgsz=0");
}

TEST_F(RunTest, ArraysAndOutputsOfAFailedCall) {
  const RunResult r = RunText(
      "f = open()\n"
      "i = IOAS_ALLOC(f)\n"
      "r = IOAS_IOVA_RANGES(f, ioas_id=i, allowed_iovas=out(1))  # EMSGSIZE, "
      "num_iovas=2\n"
      "r = IOAS_IOVA_RANGES(f, ioas_id=i, allowed_iovas=out(3))  # "
      "num_iovas=2, allowed_iovas[1].start=200\n"
      "DESTROY(f, id=r.allowed_iovas[1].last)                    # ENOENT\n"
      "IOAS_IOVA_RANGES(f, ioas_id=i)                            # EMSGSIZE\n");
  EXPECT_EQ(r.as_expected, 6u);
  EXPECT_EQ(FormatResult(bound_.calls[2], r.results[2]),
            "EMSGSIZE num_iovas=2 iova_alignment=1");
}

TEST_F(RunTest, RawFields) {
  RunText("f = open()\nIOAS_ALLOC(f, tail=\"\\x05\")");
  EXPECT_EQ(last_.size(), 13u);
  EXPECT_EQ(last_[12], 5);
  RunText("f = open()\nIOAS_ALLOC(f, size=40, flags=0x80000001)");
  EXPECT_EQ(last_.size(), 40u);
  EXPECT_EQ(static_cast<unsigned char>(last_[7]), 0x80);
  EXPECT_EQ(RunText("f = open()\nIOAS_ALLOC(f, arg=0)  # EFAULT\n"
                    "ioctl(f, 0x3bff, \"\\x04\\0\\0\\0\")  # ENOTTY\n"
                    "ioctl(9, 0x3bff, 0)  # EBADF")
                .as_expected,
            4u);
}

TEST_F(RunTest, WhatIsNotAsExpected) {
  const RunResult r = RunText(
      "f = open()\n"
      "a = IOAS_ALLOC(f)        # EBUSY\n"
      "b = IOAS_ALLOC(f)        # = 7\n"
      "c = DESTROY(f, id=99)\n"
      "x = open(path=/nowhere)  # ENOENT\n"
      "IOAS_ALLOC(x)\n");
  EXPECT_EQ(r.calls, 6u);
  EXPECT_EQ(r.as_expected, 2u);
  EXPECT_EQ(r.results[1].why, "EBUSY");
  EXPECT_EQ(r.results[2].why, "= 7");
  EXPECT_EQ(r.results[3].why, "success");
  EXPECT_EQ(r.results[5].state, CallResult::State::kSkipped);
  EXPECT_EQ(r.results[5].why, "'x' has no value, see line 5");
  EXPECT_EQ(r.residue, "");
}

TEST_F(RunTest, FailNth) {
  const RunResult r = RunText(
      "f = open()\n"
      "IOAS_ALLOC(f, fail_nth=1)  # ENOMEM\n"
      "IOAS_ALLOC(f, fail_nth=2)\n"
      "IOAS_ALLOC(f)\n");
  EXPECT_EQ(r.as_expected, 4u);
  EXPECT_EQ(r.results[1].injected, 0);
  EXPECT_EQ(r.results[2].injected, 1);
  EXPECT_EQ(r.results[3].injected, -1);
  options_.fail_call = 3;
  options_.fail_nth = 1;
  EXPECT_EQ(prog::Run(bound_, &sys_, options_).results[3].error, ENOMEM);
}

TEST_F(RunTest, Threads) {
  std::vector<size_t> order;
  options_.on_result = [&](size_t i, const std::vector<CallResult>&) {
    order.push_back(i);
  };
  const RunResult r = RunText(
      "f = open()\n"
      "a = anon(4k)\n"
      "store(a, 5) @t1\n"
      "b = load(a) @t1         # = 5\n"
      "poll(f, events=IN|OUT) @t2  # = IN|OUT\n"
      "join(t1)\n"
      "c = load(a)             # = b\n"
      "d = load(a) @t2\n"
      "store(a+d, 1) @t3\n");
  EXPECT_EQ(r.as_expected, 9u);
  EXPECT_EQ(order, (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(RunTest, ASurfaceWithoutProcesses) {
  const RunResult r = RunText(
      "f = open()\n"
      "p1 = fork()          # ENOSYS\n"
      "IOAS_ALLOC(f) @p1\n"
      "IOAS_ALLOC(f) @p1.t\n"
      "exit(p1)\n"
      "ftruncate(f, 0)      # ENOSYS\n");
  EXPECT_EQ(r.as_expected, 3u);
  for (size_t i : {2, 3, 4}) {
    EXPECT_EQ(r.results[i].state, CallResult::State::kSkipped);
    EXPECT_EQ(r.results[i].why, "the process was not made, see line 2");
  }
  EXPECT_EQ(r.residue, "");
}

TEST_F(RunTest, LongBytes) {
  const RunResult r = RunText(
      "a = anon(4k)\n"
      "store(a, \"ab\", n=5)\n"
      "load(a, 6)            # = \"ababa\\x00\"\n"
      "load(a, 5)            # hash=0x756ef32d80a74638\n"
      "load(a, 6)            # hash!=0x756ef32d80a74638\n"
      "store(a, \"xyz\", n=1)\n"
      "load(a, 2)            # = \"xb\"\n");
  for (size_t i = 0; i < r.results.size(); i++) {
    EXPECT_TRUE(r.results[i].expected)
        << i << ' ' << std::hex << r.results[i].outputs.size()
        << (r.results[i].outputs.empty() ? 0 : r.results[i].outputs[0].value);
  }
}

TEST_F(RunTest, AnotherRevision) {
  options_.revision = "hw-queue";
  const RunResult r = RunText(
      "f = open(uapi=vcmdq-v2)\n"
      "g = open(uapi=nonsense)  # EINVAL\n");
  EXPECT_EQ(r.as_expected, 2u);
  EXPECT_EQ(sys_.opened, (std::vector<std::string>{"hw-queue"}));
}

TEST_F(RunTest, Memory) {
  const RunResult r = RunText(
      "machine(iommus=2, aperture=16M-0x7fffffff, second_driver=true)\n"
      "b = anon(2M, huge=true, align=4M)\n"
      "m = memfd(64k, fragmented=true)\n");
  EXPECT_EQ(r.calls, 2u);
  EXPECT_EQ(r.as_expected, 2u);
  ASSERT_EQ(bound_.machine.size(), 3u);
  EXPECT_EQ(bound_.machine[1].value, "16M-0x7fffffff");
  EXPECT_EQ(bound_.machine[2].value, "1");
  EXPECT_TRUE(sys_.last_memory.fragmented);
}

}  // namespace
}  // namespace prog
