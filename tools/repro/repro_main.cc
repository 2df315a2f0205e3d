// SPDX-License-Identifier: GPL-2.0-or-later
//
// ./lab repro: programs as C programs for a real /dev/iommu.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "prog/parse.h"
#include "prog/prog.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"
#include "tools/repro/repro.h"
#include "tools/repro/suite.h"

namespace {

constexpr int kExitGood = 0;
constexpr int kExitFailure = 1;
constexpr int kExitMistake = 2;

constexpr char kUsage[] =
    R"(usage: repro [--uapi=NAME] [--force] FILE.prog [-o FILE.c]
       repro [--uapi=NAME] [--force] --suite DIR FILE.prog...

Writes a program as a C program for a real /dev/iommu with the kernel's mock
(CONFIG_IOMMUFD_TEST): one file, libc and the kernel's headers. It makes the
same calls, checks what the program expects and says which call differed. It
exits with 0 when all is as expected, 1 when a call differed, and 4 when the
kernel lacks the device, the mock or the permission.

  -o FILE.c    where to; without it to stdout
  --uapi=NAME  the form of open() without uapi=, hw-queue (Linux 7.2) if none
               is named
  --force      also what no release of Linux has, as the form vcmdq-v2
  --suite DIR  a folder with the C files, a Makefile, the headers and run.sh,
               which runs them all and prints what differs. Programs for
               another form than --uapi, and those that this lab answers
               differently under that form, stay out; stderr says why

What a real kernel cannot be asked for is a mistake, with the line.
Exit status: 0 good, 1 a file could not be written, 2 a mistake.
)";

struct Arguments {
  repro::Options options;
  std::string out;
  std::string suite;
  std::vector<std::string> files;
};

int Mistake(std::string_view message) {
  fprintf(stderr, "repro: %.*s\n", static_cast<int>(message.size()),
          message.data());
  return kExitMistake;
}

bool ReadText(const std::string& file, std::string* text) {
  std::ifstream in(file, std::ios::binary);
  if (file == "-") {
    text->assign(std::istreambuf_iterator<char>(std::cin), {});
    return true;
  }
  text->assign(std::istreambuf_iterator<char>(in), {});
  return in.good() || in.eof();
}

std::string NameOf(std::string_view file) {
  const size_t slash = file.rfind('/');
  if (slash != std::string_view::npos) file.remove_prefix(slash + 1);
  absl::ConsumeSuffix(&file, ".prog");
  return std::string(file);
}

// How many of the program's calls the lab's own kernel of that form answers
// otherwise than the program expects.
size_t LabDiffers(const prog::Program& program, const repro::Options& options) {
  prog::BindOptions bind;
  bind.revision = prog::RevisionByName(options.form);
  prog::BoundProgram bound;
  prog::Error error;
  if (!prog::Bind(program, bind, &bound, &error)) return 1;
  tools::LabOptions lab;
  lab.revision = options.form;
  const auto kernel = tools::LabKernel::Create(bound.machine, lab, &error);
  if (kernel == nullptr) return 1;
  const prog::RunResult run =
      prog::Run(bound, kernel->sys(), prog::RunOptions());
  return run.calls - run.as_expected;
}

int Run(const Arguments& arguments) {
  std::vector<repro::SuiteProgram> programs;
  size_t left_out = 0;
  for (const std::string& file : arguments.files) {
    std::string text;
    if (!ReadText(file, &text)) {
      return Mistake(absl::StrCat(file, ": ", strerror(errno)));
    }
    repro::Options options = arguments.options;
    options.file = NameOf(file) + ".prog";
    prog::Program program;
    prog::Error error;
    repro::Translation translation;
    if (!prog::Parse(text, &program, &error) ||
        !repro::Translate(program, options, &translation, &error)) {
      fputs(prog::FormatError(file, text, error).c_str(), stderr);
      if (arguments.suite.empty()) return kExitMistake;
      left_out++;
      continue;
    }
    if (!arguments.suite.empty() && translation.form != options.form) {
      fprintf(stderr, "%s: is for the form %s\n", file.c_str(),
              translation.form.c_str());
      left_out++;
      continue;
    }
    options.form = translation.form;
    if (const size_t calls = LabDiffers(translation.program, options)) {
      fprintf(stderr,
              "%s: note: the lab's own kernel of the form %s answers %zu calls "
              "otherwise than this program expects\n",
              file.c_str(), options.form.c_str(), calls);
      if (!arguments.suite.empty()) {
        left_out++;
        continue;
      }
    }
    programs.push_back({NameOf(file), std::move(translation.c)});
  }
  absl::Status written;
  if (!arguments.suite.empty()) {
    written = repro::WriteSuite(arguments.suite, programs);
    fprintf(stderr, "repro: %zu programs in %s, %zu left out\n",
            programs.size(), arguments.suite.c_str(), left_out);
  } else if (arguments.out.empty()) {
    fputs(programs[0].c.c_str(), stdout);
  } else {
    written = repro::WriteText(arguments.out, programs[0].c);
  }
  if (written.ok()) return kExitGood;
  Mistake(written.message());
  return kExitFailure;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  arguments.options.form = repro::NewestRelease();
  for (int i = 1; i < argc; i++) {
    std::string_view arg = argv[i];
    auto value = [&](std::string* out) {
      if (i + 1 >= argc) return false;
      *out = argv[++i];
      return true;
    };
    if (arg == "--help" || arg == "-h") {
      fputs(kUsage, stdout);
      return kExitGood;
    }
    if (arg == "--force") {
      arguments.options.force = true;
    } else if (absl::ConsumePrefix(&arg, "--uapi=")) {
      arguments.options.form = std::string(arg);
    } else if (absl::ConsumePrefix(&arg, "--suite=")) {
      arguments.suite = std::string(arg);
    } else if (arg == "-o" || arg == "--suite") {
      if (!value(arg == "-o" ? &arguments.out : &arguments.suite)) {
        return Mistake(absl::StrCat(arg, " needs a name"));
      }
    } else if (arg.size() > 1 && arg[0] == '-') {
      return Mistake(absl::StrCat("there is no option ", arg,
                                  " (repro --help lists them)"));
    } else {
      arguments.files.emplace_back(arg);
    }
  }
  if (arguments.files.empty()) {
    fputs(kUsage, stderr);
    return kExitMistake;
  }
  if (prog::RevisionByName(arguments.options.form) == 0) {
    return Mistake(
        absl::StrCat("there is no form '", arguments.options.form, "'"));
  }
  if (arguments.suite.empty() && arguments.files.size() != 1) {
    return Mistake("one program at a time, or --suite DIR");
  }
  if (!arguments.suite.empty() && !arguments.out.empty()) {
    return Mistake("-o is for one program, --suite for many");
  }
  return Run(arguments);
}
