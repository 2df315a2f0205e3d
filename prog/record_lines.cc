// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_lines.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "prog/print.h"
#include "prog/record_values.h"

namespace prog::recording {

Lines::Lines(const RecordOptions& options) : sink_(options.sink) {
  const std::string_view head = absl::StripSuffix(options.head, "\n");
  if (!head.empty()) {
    for (const std::string_view line : absl::StrSplit(head, '\n')) {
      sink_(absl::StrCat("# ", line, "\n"));
    }
  }
  if (options.machine.empty()) return;
  Call call;
  call.name = "machine";
  for (const auto& [key, value] : options.machine) {
    AddArg(&call, key, Value::String(value));
  }
  Print(call);
}

void Lines::Print(const Call& call) {
  std::string text = PrintCall(call);
  const std::string expect = PrintExpect(call.expect);
  if (!expect.empty()) absl::StrAppend(&text, "  # ", expect);
  sink_(absl::StrCat(text, "\n"));
}

void Lines::Remark(std::string text) {
  if (!remarks_seen_.insert(text).second) return;
  remarks_.push_back(std::move(text));
}

std::string Lines::NewName(const std::string& prefix) {
  const unsigned n = ++names_[prefix];
  return n == 1 && prefix != "p" ? prefix : absl::StrCat(prefix, n);
}

bool Lines::ExpectResult(Call* call, long ret) {
  if (ret >= 0) return true;
  const char* name = ErrnoName(static_cast<int>(-ret));
  if (name == nullptr) {
    Remark(absl::StrCat("errno ", -ret, " has no name"));
    return false;
  }
  call->expect.present = true;
  call->expect.errnos.emplace_back(name);
  return false;
}

}  // namespace prog::recording
