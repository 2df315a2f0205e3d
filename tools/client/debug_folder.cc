// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/debug_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "tools/client/program.h"
#include "tools/client/protocol.h"

namespace client {
namespace {

bool MakeFile(const std::string& path, const char* text) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const auto n = static_cast<ssize_t>(strlen(text));

  return fd && write(fd.get(), text, static_cast<size_t>(n)) == n;
}

}  // namespace

bool MakeDebugFolder(const std::string& folder) {
  struct Knob {
    const char* name;
    const char* value;
  };
  constexpr Knob kCommon[] = {{"probability", "0\n"},
                              {"interval", "1\n"},
                              {"times", "1\n"},
                              {"space", "0\n"},
                              {"verbose", "2\n"},
                              {"task-filter", "N\n"},
                              {"stacktrace-depth", "32\n"}};
  constexpr Knob kSlab[] = {{"ignore-gfp-wait", "Y\n"},
                            {"cache-filter", "N\n"}};
  constexpr Knob kPages[] = {{"ignore-gfp-wait", "Y\n"},
                             {"ignore-gfp-highmem", "Y\n"},
                             {"min-order", "1\n"}};
  const std::string base = folder + "/" LAB_DEBUG_FOLDER;

  if (mkdir(base.c_str(), 0700) != 0) return false;
  for (const char* name :
       {"failslab", "fail_page_alloc", "fail_usercopy", "fail_iommufd"}) {
    const std::string dir = base + "/" + name + "/";
    if (mkdir(dir.c_str(), 0700) != 0) return false;
    for (const Knob& k : kCommon) {
      if (!MakeFile(dir + k.name, k.value)) return false;
    }
    if (strcmp(name, "failslab") == 0) {
      for (const Knob& k : kSlab) {
        if (!MakeFile(dir + k.name, k.value)) return false;
      }
    }
    if (strcmp(name, "fail_page_alloc") == 0) {
      for (const Knob& k : kPages) {
        if (!MakeFile(dir + k.name, k.value)) return false;
      }
    }
  }
  return true;
}

}  // namespace client
