// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/repro/context.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "prog/calls.h"
#include "prog/print.h"

namespace repro {
namespace {

// What no member of a struct can be called.
constexpr std::string_view kReserved[] = {
    "auto",     "break",    "case",     "char",   "const",   "continue",
    "default",  "do",       "double",   "else",   "enum",    "extern",
    "float",    "for",      "goto",     "if",     "inline",  "int",
    "long",     "register", "restrict", "return", "short",   "signed",
    "sizeof",   "static",   "struct",   "switch", "typedef", "union",
    "unsigned", "void",     "volatile", "while",  "asm",     "typeof",
    "errno",    "stdin",    "stdout",   "stderr", "linux",   "unix",
    "true",     "false",    "bool",     "i386",   "environ",
};

}  // namespace

size_t DefinitionOf(const prog::BoundCall& call, std::string_view name) {
  size_t index = 0;
  for (const auto& [text, defined] : call.refs) {
    if (text == name) index = defined;
  }
  return index;
}

std::string CNumber(uint64_t n) {
  return n < 4096 ? absl::StrCat(n) : absl::StrFormat("0x%x", n);
}

std::string CString(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '?') {
      out += "\\?";  // no trigraph
    } else if (absl::ascii_isprint(u)) {
      out += c;
    } else {
      absl::StrAppendFormat(&out, "\\%03o", u);
    }
  }
  return out + '"';
}

Names::Names(const prog::BoundProgram& bound) {
  for (const std::string_view word : kReserved) taken_.emplace(word);
  for (const prog::BoundCall& call : bound.calls) WalkCall(call);
}

void Names::WalkCall(const prog::BoundCall& call) {
  for (const prog::Field& arg : call.call->args) WalkValue(call, arg.value);
  for (const auto& output : call.call->expect.outputs) {
    WalkValue(call, output.value);
  }
  // Without a length munmap() takes all that the call mapped.
  if (call.builtin == prog::Builtin::kMunmap && call.call->args.size() == 1) {
    const prog::Value& v = call.call->args[0].value;
    if (v.kind == prog::Value::Kind::kName && v.path.empty()) {
      Want(DefinitionOf(call, v.text), v.text, std::string(kBytes));
    }
  }
}

void Names::WalkValue(const prog::BoundCall& call, const prog::Value& value) {
  for (const prog::Value& item : value.items) WalkValue(call, item);
  for (const prog::Field& field : value.fields) WalkValue(call, field.value);
  if (value.kind != prog::Value::Kind::kName || !prog::IsVariable(value.text)) {
    return;
  }
  for (const auto& [text, defined] : call.refs) {
    if (text == value.text) {
      Want(defined, value.text, value.path.empty() ? "" : value.path.substr(1));
    }
  }
}

void Names::Want(size_t index, const std::string& name,
                 const std::string& path) {
  for (const Wanted& wanted : wanted_[index]) {
    if (wanted.path == path) return;
  }
  std::string member = name;
  if (!path.empty()) absl::StrAppend(&member, "_", path);
  std::string clean;
  for (const char c : member) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      clean += c;
    } else if (!clean.empty() && clean.back() != '_') {
      clean += '_';
    }
  }
  while (!clean.empty() && clean.back() == '_') clean.pop_back();
  std::string unique = clean;
  for (int n = 2; !taken_.insert(unique).second; n++) {
    unique = absl::StrCat(clean, "_", n);
  }
  members_.push_back(unique);
  wanted_[index].push_back({path, unique});
}

const std::vector<Names::Wanted>& Names::WantedOf(size_t index) const {
  static const auto* none = new std::vector<Wanted>;
  const auto it = wanted_.find(index);
  return it != wanted_.end() ? it->second : *none;
}

std::string Names::Of(size_t index, std::string_view path) const {
  for (const Wanted& wanted : WantedOf(index)) {
    if (wanted.path == path) return absl::StrCat("v->", wanted.member);
  }
  return "";
}

std::string Names::Declaration() const {
  if (members_.empty()) return "";
  std::string out =
      "/* The program's names: ids, descriptors, addresses. */\n"
      "static struct values {\n";
  for (const std::string& member : members_) {
    absl::StrAppend(&out, "\t__u64 ", member, ";\n");
  }
  return out + "} *v;\n";
}

void Context::Fail(prog::Pos pos, std::string message, std::string expected) {
  if (failed()) return;
  error = {pos, std::move(message), std::move(expected)};
}

Expression Context::Number(const prog::BoundCall& call,
                           const prog::Value& value,
                           std::span<const desc_name> constants,
                           unsigned width) {
  Expression out;
  out.known = prog::StaticValue(value, constants);
  if (!out.known && value.kind == prog::Value::Kind::kName &&
      (value.text == "true" || value.text == "false")) {
    out.known = value.text == "true";
  }
  if (out.known) {
    if (width < 8) *out.known &= (uint64_t{1} << (8 * width)) - 1;
    const bool decimal = value.kind == prog::Value::Kind::kNumber &&
                         value.style == prog::NumberStyle::kDec &&
                         *out.known < (uint64_t{1} << 31);
    out.text = decimal ? absl::StrCat(*out.known) : CNumber(*out.known);
    if (value.kind != prog::Value::Kind::kNumber ||
        value.style == prog::NumberStyle::kSuffix) {
      out.remark = prog::PrintValue(value);
    }
    return out;
  }
  switch (value.kind) {
    case prog::Value::Kind::kName:
      out.text =
          names.Of(DefinitionOf(call, value.text),
                   value.path.empty() ? std::string_view()
                                      : std::string_view(value.path).substr(1));
      break;
    case prog::Value::Kind::kOr:
    case prog::Value::Kind::kSum:
      for (const prog::Value& item : value.items) {
        const Expression part = Number(call, item, constants);
        if (!out.text.empty() || item.minus) {
          out.text += value.kind == prog::Value::Kind::kOr ? " | "
                      : item.minus                         ? " - "
                                                           : " + ";
        }
        out.text += item.items.empty() ? part.text : "(" + part.text + ")";
      }
      break;
    default:
      Fail(value.pos, "this is no number");
  }
  return out;
}

}  // namespace repro
