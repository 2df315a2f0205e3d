// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/machine.h"

#include <cstdlib>
#include <set>
#include <utility>

#include "absl/strings/str_split.h"
#include "fuzz/syntax.h"
#include "prog/calls.h"
#include "tools/lab_kernel.h"

namespace fuzz {
namespace {

constexpr char kKind[] = "kind";

bool LooksLikeNumber(const std::string& s) {
  char* end = nullptr;
  strtoull(s.c_str(), &end, 0);
  return !s.empty() && *end == '\0';
}

}  // namespace

std::span<const MachineKind> Machines() {
  static const auto* all = [] {
    auto* v = new std::vector<MachineKind>;
    for (const tools::MachineKindInfo& info : tools::MachineKinds()) {
      MachineKind kind;
      kind.name = info.kind;
      for (const auto& [key, tries] : info.options) {
        if (tries != nullptr) {
          kind.choices.push_back({key, absl::StrSplit(tries, ' ')});
        }
      }
      v->push_back(std::move(kind));
    }
    return v;
  }();
  return *all;
}

const MachineKind& DefaultMachine() { return Machines()[0]; }

const MachineKind& MachineOf(const prog::Program& program) {
  if (program.lines.empty()) return DefaultMachine();
  for (const prog::Line& line : program.lines) {
    if (!line.has_call) continue;
    const prog::Value* kind = ArgOf(line.call, kKind);
    const prog::BuiltinSpec* s = prog::FindBuiltin(line.call.name);
    if (s == nullptr || s->makes != prog::Makes::kKernel || kind == nullptr)
      break;
    for (const MachineKind& m : Machines()) {
      if (m.name == kind->text) return m;
    }
    break;
  }
  return DefaultMachine();
}

prog::Call MachineLine(const MachineKind& kind, Random& random) {
  prog::Call call;
  call.name = BuiltinThat(prog::Makes::kKernel).name;
  if (!kind.name.empty()) Arg(&call, kKind, Word(kind.name));
  std::set<std::string> seen;
  for (uint64_t n = 1 + Below(random, 2); n > 0; n--) {
    const MachineChoice& choice = Pick(random, kind.choices);
    if (choice.values.empty() || !seen.insert(choice.key).second) continue;
    const std::string& value = Pick(random, choice.values);
    Arg(&call, choice.key,
        LooksLikeNumber(value) ? Num(strtoull(value.c_str(), nullptr, 0))
                               : prog::Value::String(value));
  }
  return call;
}

}  // namespace fuzz
