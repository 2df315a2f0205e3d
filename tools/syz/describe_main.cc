// SPDX-License-Identifier: GPL-2.0-or-later
//
// ./lab describe: what our descriptions say, for other tools.
#include <cstdio>
#include <string>
#include <string_view>

#include "prog/forms.h"
#include "tools/syz/describe.h"

namespace {

constexpr char kHelp[] =
    R"(describe --syz [--uapi=FORM]

Writes syzkaller's descriptions (syzlang) of all commands of a form of the
surface to stdout: a file for its sys/linux, in place of dev_iommu.txt. Without
--uapi: hw-queue.

Forms of the surface:
)";

int Mistake(const std::string& message) {
  fprintf(stderr, "describe: %s\n", message.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::string form = "hw-queue";
  bool syzlang = false;
  for (int i = 1; i < argc; i++) {
    const std::string_view arg = argv[i];
    constexpr std::string_view kUapi = "--uapi=";
    if (arg == "--help") {
      printf("%s%s", kHelp, prog::FormsHelp().c_str());
      return 0;
    }
    if (arg == "--syz") {
      syzlang = true;
    } else if (arg.substr(0, kUapi.size()) == kUapi) {
      form = arg.substr(kUapi.size());
    } else {
      return Mistake("there is no option '" + std::string(arg) +
                     "'; --help lists them");
    }
  }
  if (!syzlang) return Mistake("for which tool? --syz is for syzkaller");
  const uint8_t revision = prog::RevisionByName(form);
  if (revision == 0) {
    return Mistake("there is no form '" + form + "'; there is:\n" +
                   prog::FormsHelp());
  }
  fputs(syz::Describe(revision).c_str(), stdout);
  return fflush(stdout) != 0 || ferror(stdout) != 0;
}
