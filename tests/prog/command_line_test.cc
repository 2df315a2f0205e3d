// SPDX-License-Identifier: GPL-2.0-or-later
//
// Runs iommulab, whose path is the first argument, as a person does: wrong
// files, wrong options, closed outputs. A mistake is status 2 and says what is
// wrong, where, and what was expected.
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tools/lab_kernel.h"

namespace {

// The program under test: set once, by main().
const char* iommulab = nullptr;

struct Ran {
  int status = -1;   // 256 and more: a signal
  std::string text;  // stdout and stderr
};

Ran RunLab(const std::string& arguments) {
  Ran ran;
  const std::string command = std::string(iommulab) + " " + arguments;
  FILE* out = popen(("(" + command + ") 2>&1").c_str(), "r");
  if (out == nullptr) return ran;
  char buf[4096];
  size_t n;
  while ((n = fread(buf, 1, sizeof(buf), out)) > 0) ran.text.append(buf, n);
  const int status = pclose(out);
  // The shell's 128 and more: its child was killed.
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 256;
  return ran;
}

std::string File(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/command_line_" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string Good() {
  return File("good.prog", "\nf = open()\nioas = IOAS_ALLOC(f)\n\n");
}

void ExpectMistake(const std::string& arguments, const std::string& what) {
  const Ran ran = RunLab(arguments);
  EXPECT_EQ(ran.status, 2) << arguments << '\n' << ran.text;
  EXPECT_NE(ran.text.find(what), std::string::npos) << arguments << '\n'
                                                    << ran.text;
}

TEST(CommandLineTest, Help) {
  EXPECT_EQ(RunLab("help").status, 0);
  EXPECT_EQ(RunLab("run --help").status, 0);
  ExpectMistake("", "iommulab run");
  ExpectMistake("fm", "did you mean 'fmt'?");
}

TEST(CommandLineTest, Options) {
  const std::string file = " " + Good();
  EXPECT_EQ(RunLab("run --quiet --uapi vcmdq-v2" + file).status, 0);
  ExpectMistake("run --grap=x" + file, "did you mean --graph?");
  ExpectMistake("run" + file + " --graph", "--graph=FILE.svg");
  ExpectMistake("run --uapi=" + file, "--uapi=REV");
  ExpectMistake("run --quiet=maybe" + file, "true or false");
  ExpectMistake("run --in_place" + file, "an option of fmt, not of run");
  ExpectMistake("run --uapi=v3" + file, "one of: vcmdq-v2, hw-queue");
}

TEST(CommandLineTest, AtAndGraph) {
  const std::string file = " " + Good();
  const std::string svg = testing::TempDir() + "/command_line.svg";
  const std::string graph = "run --quiet --graph=" + svg;
  EXPECT_EQ(RunLab(graph + " --at=2" + file).status, 0);
  ExpectMistake("run --at=2" + file, "needs --graph");
  ExpectMistake(graph + " --at=two" + file, "number of a line");
  ExpectMistake(graph + " --at=0" + file, "number of a line");
  ExpectMistake(graph + " --at=1" + file, "its first is in line 2");
  ExpectMistake(graph + " --at=9" + file, "has 4 lines");
  ExpectMistake(graph + " --uapi=hw-queue" + file, "one form");
  ExpectMistake("run --graph=/nowhere/x.svg" + file, "/nowhere/x.svg: No such");
  ExpectMistake("run --graph=" + Good() + file, "would overwrite");
}

TEST(CommandLineTest, GraphOfTheFullestMoment) {
  const std::string svg = testing::TempDir() + "/command_line_full.svg";
  const std::string file = " " + File("full.prog",
                                      "f = open()\n"
                                      "a = IOAS_ALLOC(f)\n"
                                      "b = IOAS_ALLOC(f)\n"
                                      "DESTROY(f, id=a)\n"
                                      "c = IOAS_ALLOC(f)\n"
                                      "DESTROY(f, id=b)\n"
                                      "DESTROY(f, id=c)\n"
                                      "close(f)\n");
  const Ran full = RunLab("run --quiet --graph=" + svg + file);
  EXPECT_EQ(full.status, 0);
  // The first of two that have as much.
  EXPECT_NE(full.text.find("full.svg: after line 3, where most is held"),
            std::string::npos)
      << full.text;
  std::stringstream drawn, asked;
  drawn << std::ifstream(svg).rdbuf();
  EXPECT_NE(drawn.str().find("class=\"name\""), std::string::npos);
  const Ran at = RunLab("run --quiet --at=3 --graph=" + svg + file);
  EXPECT_EQ(at.text.find("after line"), std::string::npos) << at.text;
  asked << std::ifstream(svg).rdbuf();
  EXPECT_EQ(drawn.str(), asked.str());
}

TEST(CommandLineTest, Files) {
  ExpectMistake("run " + testing::TempDir(), "Is a directory");
  ExpectMistake("fmt /nowhere.prog", "/nowhere.prog: No such file");
  ExpectMistake("run /dev/zero", "too long");
  ExpectMistake("run - - </dev/null", "only once");
  ExpectMistake("fmt --in_place - </dev/null", "in place");
  const std::string bad = File("bad.prog", std::string("\x7f\x45\x00\n", 4));
  ExpectMistake("run " + bad, "bad.prog:1:1: there is a byte 0x7f");
  ExpectMistake("run " + File("uid.prog", "machine(uid=0x100000000)\n"),
                "uid.prog:1:9: '4294967296' is no value for uid");
  ExpectMistake("run " + File("kind.prog", "machine(kind=grace)\n"),
                "kind.prog:1:9: 'grace' is no value for kind");
  ExpectMistake("run " + File("other.prog", "machine(smmus=2)\n"),
                "'smmus=2' is no option of the machine mock");
  // One mistake, and nothing runs; each mistake is told.
  const Ran several = RunLab("run " + Good() + " /nowhere.prog " + bad);
  EXPECT_EQ(several.status, 2);
  EXPECT_NE(several.text.find("/nowhere.prog"), std::string::npos);
  EXPECT_NE(several.text.find("bad.prog:1:1"), std::string::npos);
  EXPECT_EQ(several.text.find("open()"), std::string::npos) << several.text;
  EXPECT_EQ(RunLab("run " + File("empty.prog", "")).text,
            "0 calls, 0 as expected\n");
}

// Each option of each machine, with each value worth trying.
TEST(CommandLineTest, EveryMachineWithEveryOption) {
  std::string good;
  for (const tools::MachineKindInfo& info : tools::MachineKinds()) {
    const std::string kind = info.kind.empty() ? "mock" : info.kind;
    for (const auto& [key, tries] : info.options) {
      if (key == "kind") continue;
      const std::string head = "machine(kind=" + kind + ", " + key + "=";
      for (const std::string_view value : absl::StrSplit(
               tries == nullptr ? "" : tries, ' ', absl::SkipEmpty())) {
        const Ran ran =
            RunLab("run " + File("machine.prog",
                                 absl::StrCat(head, "\"", value, "\")\n")));
        EXPECT_EQ(ran.status, 0) << head << value << ran.text;
      }
      const Ran ran = RunLab("run " + File("machine.prog", head + "\"?\")\n"));
      EXPECT_EQ(ran.status, 2) << head;
      EXPECT_NE(ran.text.find("'?' is no value for " + key), std::string::npos)
          << ran.text;
    }
  }
}

TEST(CommandLineTest, ResultsThatNobodyCanRead) {
  ExpectMistake("run " + Good() + " >/dev/full", "stdout: No space");
  ExpectMistake("run " + Good() + " >&-", "stdout: Bad file");
}

TEST(CommandLineTest, List) {
  EXPECT_NE(RunLab("list VIOMMU_ALLOC").text.find("out_viommu_id"),
            std::string::npos);
  // How a program calls an output.
  EXPECT_NE(RunLab("list MOCK_DOMAIN").text.find(", x.stdev\n"),
            std::string::npos);
  ExpectMistake("list DESTROY viommu_aloc", "did you mean 'VIOMMU_ALLOC'?");
  ExpectMistake("list --uapi=hw-queue VCMDQ_ALLOC", "under hw-queue");
}

TEST(CommandLineTest, Minimize) {
  const std::string file =
      File("fails.prog", "f = open()\ni = IOAS_ALLOC(f)\nDESTROY(f, id=77)\n");
  const Ran ran = RunLab("minimize " + file);
  EXPECT_EQ(ran.status, 0);
  EXPECT_NE(ran.text.find("# DESTROY got ENOENT, expected success\n"
                          "f = open()\nDESTROY(f)\n"),
            std::string::npos)
      << ran.text;
  EXPECT_EQ(RunLab("run " + file).status, 1);
  ExpectMistake("minimize " + Good(), "runs as expected");
  ExpectMistake("minimize --keep=IOAS_ALLOC:success " + Good(),
                "as run prints them");
  // Failures are swept where there is none to begin with.
  const Ran swept = RunLab("run --fail_nth_sweep " + file);
  EXPECT_EQ(swept.status, 1);
  EXPECT_NE(swept.text.find("not swept"), std::string::npos) << swept.text;
  EXPECT_EQ(RunLab("run --fail_nth_sweep " + Good()).status, 0);
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc != 2) return 2;
  iommulab = argv[1];
  return RUN_ALL_TESTS();
}
