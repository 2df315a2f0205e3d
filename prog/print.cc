// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/print.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace prog {
namespace {

std::string StyledNumber(uint64_t n, NumberStyle style) {
  switch (style) {
    case NumberStyle::kDec:
      return std::to_string(n);
    case NumberStyle::kHex:
      return absl::StrCat("0x", absl::Hex(n));
    case NumberStyle::kSuffix: {
      static constexpr struct {
        int shift;
        char suffix;
      } kSuffixes[] = {{40, 'T'}, {30, 'G'}, {20, 'M'}, {10, 'k'}};
      for (const auto& s : kSuffixes) {
        if (n != 0 && (n & ((uint64_t{1} << s.shift) - 1)) == 0) {
          return absl::StrCat(n >> s.shift, std::string_view(&s.suffix, 1));
        }
      }
      return std::to_string(n);
    }
    case NumberStyle::kAuto:
      break;
  }
  return PrintNumber(n);
}

std::string Quoted(const std::string& bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    const unsigned char u = c;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (u < 0x20 || u >= 0x7f) {
      absl::StrAppend(&out, "\\x", absl::Hex(u, absl::kZeroPad2));
    } else {
      out += c;
    }
  }
  return out + '"';
}

void Append(std::string* out, const Value& v);

void AppendFields(std::string* out, const std::vector<Field>& fields) {
  bool first = true;
  for (const Field& field : fields) {
    if (!first) *out += ", ";
    first = false;
    if (!field.name.empty()) *out += field.name + '=';
    Append(out, field.value);
  }
}

void Append(std::string* out, const Value& v) {
  switch (v.kind) {
    case Value::Kind::kNumber:
      *out += StyledNumber(v.number, v.style);
      return;
    case Value::Kind::kName:
      *out += v.text + v.path;
      return;
    case Value::Kind::kOr:
      for (size_t i = 0; i < v.items.size(); i++) {
        if (i != 0) *out += '|';
        Append(out, v.items[i]);
      }
      return;
    case Value::Kind::kSum:
      for (size_t i = 0; i < v.items.size(); i++) {
        const Value& item = v.items[i];
        const bool word = i != 0 && item.kind == Value::Kind::kName;
        // A dash before a word would be taken for a part of the word.
        if (item.minus) {
          *out += word ? " - " : "-";
        } else if (i != 0) {
          *out += '+';
        }
        Append(out, item);
      }
      return;
    case Value::Kind::kString:
      *out += Quoted(v.text);
      return;
    case Value::Kind::kList:
      *out += '[';
      for (size_t i = 0; i < v.items.size(); i++) {
        if (i != 0) *out += ", ";
        Append(out, v.items[i]);
      }
      *out += ']';
      return;
    case Value::Kind::kStruct:
      *out += '{';
      AppendFields(out, v.fields);
      *out += '}';
      return;
    case Value::Kind::kOut:
      *out += "out(";
      if (!v.items.empty()) Append(out, v.items[0]);
      *out += ')';
      return;
  }
}

// The width in columns: continuation bytes of UTF-8 take none.
size_t Width(const std::string& s) {
  return std::count_if(s.begin(), s.end(),
                       [](char c) { return (c & 0xc0) != 0x80; });
}

}  // namespace

std::string PrintNumber(uint64_t n) {
  // Small numbers, and those just below zero that are meant as such.
  if (n < 4096) return std::to_string(n);
  return absl::StrCat("0x", absl::Hex(n));
}

std::string PrintValue(const Value& value) {
  std::string out;
  Append(&out, value);
  return out;
}

std::string PrintCallOnly(const Call& call) {
  std::string out = call.name + '(';
  AppendFields(&out, call.args);
  return out + ')';
}

std::string PrintCall(const Call& call) {
  std::string out;
  if (!call.result.empty()) out = call.result + " = ";
  out += PrintCallOnly(call);
  if (!call.thread.empty()) out += " @" + call.thread;
  return out;
}

std::string Guard(const Line& line) {
  if (line.forms.empty()) return "";
  return absl::StrJoin(line.forms, "|") + ": ";
}

std::string PrintExpect(const Expect& expect) {
  std::string out;
  if (!expect.present) return out;
  if (expect.success) {
    out = expect.errnos.empty() ? "ok" : "ok|";
  }
  for (size_t i = 0; i < expect.errnos.size(); i++) {
    if (i != 0) out += '|';
    out += expect.errnos[i];
  }
  for (const Expect::Output& output : expect.outputs) {
    if (!out.empty()) out += ", ";
    out += output.path;
    out += output.negated ? "!=" : "=";
    if (output.path.empty()) out += ' ';
    Append(&out, output.value);
  }
  for (const Expect& other : expect.forms) {
    if (!out.empty()) out += ", ";
    out += other.form + ": " + PrintExpect(other);
  }
  return out;
}

std::string Print(const Program& program) {
  constexpr size_t kMaxCommentColumn = 118;
  std::string out;
  const std::vector<Line>& lines = program.lines;
  for (size_t begin = 0; begin < lines.size();) {
    // A block: neighbouring lines with calls. Their comments are aligned.
    size_t end = begin;
    size_t column = 0;
    std::vector<std::string> texts;
    for (; end < lines.size() && lines[end].has_call; end++) {
      texts.push_back(Guard(lines[end]) + PrintCall(lines[end].call));
      const size_t width = Width(texts.back()) + 2;
      const bool comment =
          lines[end].has_comment || lines[end].call.expect.present;
      if (comment && width <= kMaxCommentColumn) {
        column = std::max(column, width);
      }
    }
    for (size_t i = begin; i < end; i++) {
      const Line& line = lines[i];
      std::string text = texts[i - begin];
      const std::string expect = PrintExpect(line.call.expect);
      if (line.has_comment || !expect.empty()) {
        const size_t width = Width(text);
        text.append(width + 2 <= column ? column - width : 2, ' ');
        text += '#';
        if (!expect.empty()) text += ' ' + expect;
        text += line.comment;
      }
      out += text + '\n';
    }
    if (end == begin) {
      if (lines[begin].has_comment) out += '#' + lines[begin].comment;
      out += '\n';
      end++;
    }
    begin = end;
  }
  return out;
}

}  // namespace prog
