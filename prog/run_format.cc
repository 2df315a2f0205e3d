// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run_format.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "prog/calls.h"
#include "prog/print.h"
#include "prog/run.h"

namespace prog {
namespace {

std::string ErrorText(int error) {
  const char* name = ErrnoName(error);
  return name != nullptr ? name : "errno " + std::to_string(error);
}

}  // namespace

std::string FieldText(const desc_field* field, uint64_t value) {
  if (field != nullptr && !field->names.empty()) {
    std::string text;
    uint64_t left = value;
    for (const desc_name& name : field->names) {
      if (field->kind == desc_kind::FLAGS) {
        if (name.value == 0 || (left & name.value) != name.value) continue;
        text += (text.empty() ? "" : "|") + std::string(name.name);
        left &= ~name.value;
      } else if (name.value == value) {
        return name.name;
      }
    }
    if (!text.empty() && left == 0) return text;
  }
  if (field != nullptr) {
    switch (field->kind) {
      case desc_kind::ID_IN:
      case desc_kind::ID_OUT:
      case desc_kind::ID_INOUT:
      case desc_kind::FD_IN:
      case desc_kind::FD_OUT:
      case desc_kind::COUNT:
        return std::to_string(value);
      case desc_kind::IOVA:
      case desc_kind::IOVA_LEN:
      case desc_kind::IOVA_INOUT:
        return absl::StrCat("0x", absl::Hex(value));
      default:
        break;
    }
  }
  return PrintNumber(value);
}

std::string BytesText(const std::string& bytes) {
  std::string text = "\"";
  constexpr size_t kMost = 32;
  for (size_t i = 0; i < bytes.size() && i < kMost; i++) {
    char buf[8];
    const unsigned char c = bytes[i];
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      text += bytes[i];
    } else {
      snprintf(buf, sizeof(buf), "\\x%02x", c);
      text += buf;
    }
  }
  return text + (bytes.size() > kMost ? "\"..." : "\"");
}

std::string FormatResult(const BoundCall& call, const CallResult& result) {
  std::string text;
  if (result.state == CallResult::State::kNotRun) return "not run";
  if (result.state == CallResult::State::kSkipped) return "skipped";
  auto add = [&text](const std::string& part) {
    if (!text.empty()) text += ' ';
    text += part;
  };
  if (result.error != 0) {
    add(ErrorText(result.error));
  } else if (result.has_value) {
    switch (call.builtin) {
      case Builtin::kAnon:
      case Builtin::kMmap:
        add("= " + absl::StrCat("0x", absl::Hex(result.value)));
        break;
      case Builtin::kLoad:
        add("= " + (result.bytes.size() > 8
                        ? BytesText(result.bytes)
                        : absl::StrCat("0x", absl::Hex(result.value))));
        break;
      case Builtin::kPoll: {
        std::string events;
        for (const desc_name& name : PollNames()) {
          if ((result.value & name.value) == 0) continue;
          events += (events.empty() ? "" : "|") + std::string(name.name);
        }
        add("= " + (events.empty() ? "0" : events));
        break;
      }
      default: {
        const desc_field* field =
            call.desc != nullptr ? PrimaryOutput(*call.desc) : nullptr;
        add("= " + FieldText(field, result.value));
        if (call.builtin == Builtin::kRead && !result.bytes.empty()) {
          add(BytesText(result.bytes));
        }
        break;
      }
    }
  }
  const desc_field* primary =
      call.desc != nullptr ? PrimaryOutput(*call.desc) : nullptr;
  size_t shown = 0;
  for (const Output& output : result.outputs) {
    if (!output.show) continue;
    if (output.field == primary && result.error == 0) continue;
    if (shown++ == 12) {
      add("...");
      break;
    }
    add(output.name + '=' + FieldText(output.field, output.value));
  }
  if (text.empty()) text = "ok";
  if (result.injected == 0) {
    text += " (failure injected)";
  } else if (result.injected > 0) {
    text += " (fail_nth not reached)";
  }
  return text;
}

}  // namespace prog
