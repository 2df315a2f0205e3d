// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/corpus.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/strip.h"
#include "fuzz/compact.h"
#include "fuzz/finding.h"
#include "prog/print.h"

namespace fuzz {
namespace {

constexpr std::string_view kSuffix = ".prog";

bool ReadProgram(const std::string& path, prog::Program* program) {
  std::ifstream file(path, std::ios::binary);
  const std::string input((std::istreambuf_iterator<char>(file)), {});
  return file && ParseInput(input, program) && program->num_calls() != 0;
}

// Nobody sees half a file.
bool WriteWhole(const std::string& path, const std::string& bytes) {
  const std::string temporary = path + ".new" + std::to_string(getpid());
  {
    std::ofstream file(temporary, std::ios::binary);
    file << bytes;
    if (!file.flush()) return false;
  }
  return rename(temporary.c_str(), path.c_str()) == 0;
}

// The name that a file has on both sides; empty: it is half written.
std::string NameOf(const std::string& path) {
  const std::string_view base =
      std::string_view(path).substr(path.rfind('/') + 1);
  if (base.find(".new") != base.npos) return "";
  return std::string(absl::StripSuffix(base, kSuffix));
}

}  // namespace

size_t ImportCorpus(const std::string& text_dir,
                    const std::string& compact_dir) {
  size_t programs = 0;
  for (const std::string& path : FilesOf(text_dir)) {
    prog::Program program;
    const std::string name = NameOf(path);
    programs += !name.empty() && ReadProgram(path, &program) &&
                WriteWhole(compact_dir + "/" + name, Encode(program));
  }
  return programs;
}

bool KeptCorpus::Sync() {
  for (const auto& [from, to, text] :
       {std::tuple(compact_dir_, text_dir_, true),
        std::tuple(text_dir_, compact_dir_, false)}) {
    for (const std::string& path : FilesOf(from)) {
      const std::string name = NameOf(path);
      prog::Program program;
      if (name.empty() || known_.count(name) || !ReadProgram(path, &program)) {
        continue;
      }
      if (!WriteWhole(
              text ? to + "/" + name + std::string(kSuffix) : to + "/" + name,
              text ? prog::Print(program) : Encode(program))) {
        return false;
      }
      known_.insert(name);
    }
  }
  return true;
}

}  // namespace fuzz
