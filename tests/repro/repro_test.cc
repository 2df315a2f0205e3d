// SPDX-License-Identifier: GPL-2.0-or-later
//
// ./lab repro: each program of examples/ and tests/prog/, for each form that it
// is for, is translated, built by clang and by gcc without a warning, and run
// under ./lab client, where it must come out as the program says. What cannot
// be translated, and what the client cannot do as a kernel would, is listed
// here with a reason; a line of a list that holds no longer fails.
#include "tools/repro/repro.h"

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "prog/prog.h"
#include "tests/prog/program_files.h"
#include "tools/repro/suite.h"

namespace {

constexpr char kWarnings[] = "-std=gnu11 -O1 -Wall -Wextra -Werror";

// Why programs are not translated: what is said of them, and of how many of the
// programs at least one is an example.
struct Refusal {
  std::string_view message;
  std::string_view reason;
};
constexpr Refusal kRefused[] = {
    {"the mock of a real kernel cannot be asked for",
     "the machine has other devices or limits than the mock"},
    {"a real kernel has one form", "the program opens several forms"},
    {"fragmented: ", "physical neighbours are the kernel's to choose"},
    {"poisoned: ", "a real machine loses the pages"},
    {"what '/dev/null' is depends on the real machine",
     "the lab has no such file"},
};

// Programs that come out otherwise under the client, as docs/client.md has it.
constexpr std::pair<std::string_view, std::string_view> kOtherwise[] = {
    {"fault_is_answered_on_the_queue_of_the_old_table",
     "poll() is the host's: it still reports what was taken back"},
    {"fault_is_answered_when_its_attachment_ends", "the same"},
    {"fault_of_an_attached_pasid", "the same"},
    {"veventq_alloc_errnos",
     "poll() is the host's: what nobody may write is writable"},
    {"veventq_wakes_who_polls", "the same"},
    {"fork_gone_after_its_memory_was_pinned",
     "pins on private memory end with the process"},
};

struct Outcome {
  int status = -1;
  std::string output;
};

Outcome Shell(const std::string& command) {
  Outcome out;
  FILE* pipe = popen(absl::StrCat("{ ", command, "; } 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 4096> buffer;
  size_t n;
  while ((n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0) {
    out.output.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  out.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return out;
}

std::string Absolute(const std::string& path) {
  return std::filesystem::absolute(path).string();
}

std::string BaseName(const std::string& file) {
  return std::filesystem::path(file).stem().string();
}

std::string Folder(const std::string& name) {
  return absl::StrCat(testing::TempDir(), "/", name);
}

// The TAP of a suite's run.sh: each program with "ok", "not ok" or "skip".
std::map<std::string, std::string> Results(const std::string& tap) {
  std::map<std::string, std::string> results;
  for (const std::string_view line : absl::StrSplit(tap, '\n')) {
    const bool good = absl::StartsWith(line, "ok ");
    if (!good && !absl::StartsWith(line, "not ok ")) continue;
    const std::vector<std::string_view> words =
        absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    const std::vector<std::string_view> name =
        absl::StrSplit(words.at(1), absl::MaxSplits(" # ", 1));
    results[std::string(name[0])] =
        name.size() > 1 ? "skip" : (good ? "ok" : "not ok");
  }
  return results;
}

std::string RunSuite(const std::string& folder, const std::string& form,
                     const std::string& options = "") {
  return absl::StrCat("REPRO_RUN='", Absolute("tools/client/client"),
                      " --uapi=", form, " ", options, " --' ", folder,
                      "/run.sh");
}

class Suites : public testing::TestWithParam<std::string> {};

TEST_P(Suites, AllProgramsOfTheForm) {
  std::vector<repro::SuiteProgram> programs;
  std::set<std::string_view> used;
  for (const ProgramCase& c : ProgramCases()) {
    if (c.form != GetParam()) continue;
    ASSERT_EQ("", c.mistake);
    repro::Options options;
    options.file = c.file;
    options.form = c.form;
    options.force = true;
    repro::Translation translation;
    prog::Error error;
    if (repro::Translate(c.program, options, &translation, &error)) {
      EXPECT_EQ(c.form, translation.form) << c.file;
      programs.push_back({BaseName(c.file), translation.c});
      continue;
    }
    bool listed = false;
    for (const Refusal& refusal : kRefused) {
      listed = listed || absl::StrContains(error.message, refusal.message);
    }
    EXPECT_TRUE(listed) << prog::FormatError(c.file, c.source, error);
    EXPECT_GT(error.pos.line, 0) << error.message;
  }
  if (programs.empty()) return;

  const std::string folder = Folder(GetParam());
  const absl::Status written = repro::WriteSuite(folder, programs);
  ASSERT_TRUE(written.ok()) << written;
  const Outcome gcc = Shell(absl::StrCat(
      "mkdir -p ", folder, "/gcc && cd ", folder,
      "/gcc && ls ../*.c | xargs -P 2 -n 16 gcc -c -I../include ", kWarnings));
  EXPECT_EQ(0, gcc.status) << gcc.output;
  const Outcome clang = Shell(absl::StrCat(
      "make -s -j2 -C ", folder, " CC=clang-19 CFLAGS='", kWarnings, "'"));
  ASSERT_EQ(0, clang.status) << clang.output;

  // What gives up capabilities must not have the client's.
  std::string plain;
  std::string limited;
  for (const repro::SuiteProgram& program : programs) {
    const bool limits = absl::StrContains(program.c, "\tbecome(");
    absl::StrAppend(limits ? &limited : &plain, " ", program.name);
  }
  const Outcome run = Shell(absl::StrCat(
      RunSuite(folder, GetParam()), plain, "; ",
      limited.empty()
          ? "true"
          : RunSuite(folder, GetParam(), "--machine=privileged=0") + limited));
  const std::map<std::string, std::string> results = Results(run.output);
  EXPECT_EQ(programs.size(), results.size()) << run.output;
  for (const repro::SuiteProgram& program : programs) {
    std::string expected = "ok";
    for (const auto& [name, why] : kOtherwise) {
      if (name == program.name) expected = "not ok";
    }
    const auto it = results.find(program.name);
    EXPECT_EQ(expected, it != results.end() ? it->second : "") << program.name;
    if (it == results.end() || it->second != expected) {
      ADD_FAILURE() << run.output;
      break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, Suites,
                         testing::ValuesIn(prog::RevisionNames()),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (!isalnum(static_cast<unsigned char>(c)))
                               c = '_';
                           }
                           return name;
                         });

// Each refusal is one of some program.
TEST(ReproTest, RefusalsAreAllThere) {
  std::set<std::string_view> seen;
  for (const ProgramCase& c : ProgramCases()) {
    repro::Options options;
    options.form = c.form;
    options.force = true;
    repro::Translation translation;
    prog::Error error;
    if (repro::Translate(c.program, options, &translation, &error)) continue;
    for (const Refusal& refusal : kRefused) {
      if (absl::StrContains(error.message, refusal.message)) {
        seen.insert(refusal.message);
      }
    }
  }
  for (const Refusal& refusal : kRefused) {
    EXPECT_TRUE(seen.count(refusal.message)) << refusal.message;
  }
}

// The command line's suite builds itself, runs, and shows what another kernel
// lacks.
TEST(ReproTest, SuiteOfTheCommandLine) {
  const std::string folder = Folder("suite");
  const Outcome made = Shell(
      absl::StrCat("tools/repro/repro --suite ", folder,
                   " tests/prog/vdevice_leaves_a_tombstone_hw_queue.prog"
                   " tests/prog/ioas_map_errnos.prog tests/prog/hw_info_v2.prog"
                   " tests/prog/group_shares_one_table.prog"));
  EXPECT_EQ(0, made.status) << made.output;
  EXPECT_TRUE(absl::StrContains(made.output, "2 programs in ")) << made.output;
  EXPECT_TRUE(absl::StrContains(made.output, "2 left out")) << made.output;
  EXPECT_TRUE(absl::StrContains(made.output, "cannot be asked for group="))
      << made.output;

  const Outcome same = Shell(RunSuite(folder, "hw-queue"));
  EXPECT_EQ(0, same.status) << same.output;
  EXPECT_TRUE(absl::StrContains(same.output, "1..2\n")) << same.output;

  // Nothing is built again.
  const Outcome other = Shell(
      absl::StrCat("rm ", folder, "/*.c ", folder, "/Makefile; ",
                   RunSuite(folder, "vcmdq-v2"),
                   " ioas_map_errnos vdevice_leaves_a_tombstone_hw_queue"));
  EXPECT_EQ(1, other.status) << other.output;
  EXPECT_TRUE(absl::StrContains(other.output, "ok 1 - ioas_map_errnos\n"));
  EXPECT_TRUE(absl::StrContains(
      other.output, "\nnot ok 2 - vdevice_leaves_a_tombstone_hw_queue\n"))
      << other.output;
  EXPECT_TRUE(absl::StrContains(
      other.output,
      "| not ok | line 10: DESTROY(f, id=vdev): expected ENOENT, came success"))
      << other.output;

  // A machine without /dev/iommu.
  if (!std::filesystem::exists("/dev/iommu")) {
    const Outcome none = Shell(absl::StrCat(folder, "/ioas_map_errnos"));
    EXPECT_EQ(4, none.status) << none.output;
    EXPECT_TRUE(absl::StrContains(none.output, "# SKIP /dev/iommu: "))
        << none.output;
  }
}

// What no release has is refused, with the line, unless it is asked for.
TEST(ReproTest, FormsThatNoReleaseHas) {
  const std::string program = Folder("v2.prog");
  std::ofstream(program) << "f = open(uapi=vcmdq-v2)\n"
                            "VCMDQ_ALLOC(f)  # ENOENT\n";
  const Outcome refused = Shell("tools/repro/repro " + program);
  EXPECT_EQ(2, refused.status);
  EXPECT_TRUE(absl::StrContains(
      refused.output, ":2:1: no release of Linux has the form vcmdq-v2"))
      << refused.output;
  const Outcome forced = Shell("tools/repro/repro --force " + program);
  EXPECT_EQ(0, forced.status);
  EXPECT_TRUE(absl::StrContains(forced.output, "IOMMU_VCMDQ_ALLOC"))
      << forced.output;

  std::ofstream(program) << "f = open()\nVCMDQ_ALLOC(f)\n";
  const Outcome command = Shell("tools/repro/repro " + program);
  EXPECT_EQ(2, command.status);
  EXPECT_TRUE(absl::StrContains(command.output,
                                ":2:1: hw-queue has no command VCMDQ_ALLOC"))
      << command.output;
}

}  // namespace
