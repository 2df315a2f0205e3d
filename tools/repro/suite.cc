// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/repro/suite.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tools/repro/support.h"
#include "tools/repro/types.h"

namespace repro {
namespace {

absl::Status MakeFolder(const std::string& name) {
  if (mkdir(name.c_str(), 0777) == 0 || errno == EEXIST) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat(name, ": ", strerror(errno)));
}

}  // namespace

absl::Status WriteText(const std::string& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (out) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(file, ": ", strerror(errno)));
}

absl::Status WriteSuite(const std::string& folder,
                        const std::vector<SuiteProgram>& programs) {
  std::vector<std::pair<std::string, std::string>> files = {
      {"include/linux/iommufd.h", kIommufdHeader},
      {"include/linux/vfio.h", kVfioHeader},
      {"Makefile", kMakefileText},
      {"run.sh", kRunnerText},
  };
  for (const SuiteProgram& program : programs) {
    files.emplace_back(program.name + ".c", program.c);
  }
  for (const char* name : {"", "/include", "/include/linux"}) {
    const absl::Status made = MakeFolder(folder + name);
    if (!made.ok()) return made;
  }
  for (const auto& [name, text] : files) {
    const absl::Status written =
        WriteText(absl::StrCat(folder, "/", name), text);
    if (!written.ok()) return written;
  }
  const std::string runner = folder + "/run.sh";
  if (chmod(runner.c_str(), 0755) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(runner, ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace repro
