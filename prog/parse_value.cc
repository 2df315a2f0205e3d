// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/parse_value.h"

#include <limits>

#include "prog/parse.h"

namespace prog {
namespace {

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool ValueParser::ParseWord(std::string* word, const char* what) {
  if (!IsWordStart(Peek())) return Fail(Found(), what);
  const size_t begin = at_;
  const Pos pos = Here();
  while (IsWord(Peek()) || (Peek() == '-' && IsWordStart(Peek(1)))) at_++;
  if (at_ - begin > kMaxNameBytes) {
    return FailAt(pos, "this name is too long", "at most 64 characters");
  }
  *word = text_.substr(begin, at_ - begin);
  return true;
}

bool ValueParser::ParsePath(std::string* path) {
  const size_t begin = at_;
  while (true) {
    if (Peek() == '.' && IsWordStart(Peek(1))) {
      at_++;
      while (IsWord(Peek())) at_++;
    } else if (Peek() == '[' && IsDigit(Peek(1))) {
      at_++;
      const size_t digits = at_;
      while (IsDigit(Peek())) at_++;
      if (at_ - digits > 6) return Fail("this index is too large", "");
      if (!Consume(']')) return Fail(Found(), "']'");
    } else {
      break;
    }
  }
  if (at_ - begin > 2 * kMaxNameBytes) {
    return Fail("this name is too long", "");
  }
  *path = text_.substr(begin, at_ - begin);
  return true;
}

bool ValueParser::ParseNumber(Value* v) {
  const Pos pos = Here();
  v->kind = Value::Kind::kNumber;
  v->pos = pos;
  uint64_t n = 0;
  if (Peek() == '0' && (Peek(1) == 'x' || Peek(1) == 'X')) {
    at_ += 2;
    int digits = 0;
    for (; HexDigit(Peek()) >= 0; at_++) {
      if (n >> 60) return FailAt(pos, "this number needs over 64 bits", "");
      n = n << 4 | static_cast<uint64_t>(HexDigit(Peek()));
      digits++;
    }
    if (digits == 0) return Fail(Found(), "hexadecimal digits after 0x");
    v->style = NumberStyle::kHex;
  } else {
    for (; IsDigit(Peek()); at_++) {
      const uint64_t digit = static_cast<uint64_t>(Peek() - '0');
      if (n > (std::numeric_limits<uint64_t>::max() - digit) / 10) {
        return FailAt(pos, "this number needs over 64 bits", "");
      }
      n = n * 10 + digit;
    }
    v->style = NumberStyle::kDec;
    int shift = 0;
    switch (Peek()) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'M':
        shift = 20;
        break;
      case 'G':
        shift = 30;
        break;
      case 'T':
        shift = 40;
        break;
      default:
        break;
    }
    if (shift != 0) {
      at_++;
      if (n != 0 && n >> (64 - shift) != 0) {
        return FailAt(pos, "this number needs over 64 bits", "");
      }
      n <<= shift;
      v->style = NumberStyle::kSuffix;
    }
  }
  if (IsWord(Peek())) {
    return Fail("a number does not go on like this",
                "digits, 0x and hexadecimal digits, or digits and one of "
                "k, M, G, T");
  }
  v->number = n;
  return true;
}

bool ValueParser::ParseString(Value* v) {
  v->kind = Value::Kind::kString;
  v->pos = Here();
  at_++;
  while (true) {
    if (AtEnd()) return FailAt(v->pos, "this string does not end", "'\"'");
    const char c = Peek();
    if (c == '"') {
      at_++;
      return true;
    }
    if (static_cast<unsigned char>(c) < 0x20) {
      return Fail("a string holds a control character", "\\xNN for it");
    }
    if (c != '\\') {
      v->text += c;
      at_++;
      continue;
    }
    switch (Peek(1)) {
      case 'n':
        v->text += '\n';
        break;
      case 't':
        v->text += '\t';
        break;
      case 'r':
        v->text += '\r';
        break;
      case '0':
        v->text += '\0';
        break;
      case '\\':
      case '"':
        v->text += Peek(1);
        break;
      case 'x': {
        const int high = HexDigit(Peek(2));
        const int low = high < 0 ? -1 : HexDigit(Peek(3));
        if (low < 0) return Fail("this is not a byte", "\\xNN");
        v->text += static_cast<char>(high << 4 | low);
        at_ += 2;
        break;
      }
      default:
        return Fail("there is no such escape",
                    "\\n, \\t, \\r, \\0, \\\\, \\\" or \\xNN");
    }
    at_ += 2;
  }
}

bool ValueParser::ParsePrimary(Value* v, int depth) {
  SkipSpace();
  v->pos = Here();
  const char c = Peek();
  if (IsDigit(c)) return ParseNumber(v);
  if (c == '"') return ParseString(v);
  if (c == '/') {
    v->kind = Value::Kind::kString;
    while (IsWord(Peek()) || Peek() == '/' || Peek() == '.' || Peek() == '-') {
      v->text += Peek();
      at_++;
    }
    return true;
  }
  if (c == '[') {
    v->kind = Value::Kind::kList;
    at_++;
    SkipSpace();
    if (Consume(']')) return true;
    while (true) {
      if (v->items.size() >= kMaxItems) return Fail("too many items", "");
      if (!ParseValue(&v->items.emplace_back(), depth + 1)) return false;
      SkipSpace();
      if (Consume(']')) return true;
      if (!Consume(',')) return Fail(Found(), "',' or ']'");
    }
  }
  if (c == '{') {
    v->kind = Value::Kind::kStruct;
    at_++;
    SkipSpace();
    if (Consume('}')) return true;
    while (true) {
      if (v->fields.size() >= kMaxItems) return Fail("too many fields", "");
      SkipSpace();
      Field* field = &v->fields.emplace_back();
      field->pos = Here();
      if (!ParseFieldName(&field->name)) return false;
      SkipSpace();
      if (!Consume('=')) return Fail(Found(), "'=' and the field's value");
      if (!ParseValue(&field->value, depth + 1)) return false;
      SkipSpace();
      if (Consume('}')) return true;
      if (!Consume(',')) return Fail(Found(), "',' or '}'");
    }
  }
  if (!IsWordStart(c)) {
    return Fail(Found(),
                "a value: a number, a name, a string, [...], {...} or "
                "out(n)");
  }
  v->kind = Value::Kind::kName;
  if (!ParseWord(&v->text, "a name")) return false;
  if (v->text == "out" && Peek() == '(') {
    v->kind = Value::Kind::kOut;
    v->text.clear();
    at_++;
    SkipSpace();
    if (Consume(')')) return true;
    if (!ParseValue(&v->items.emplace_back(), depth + 1)) return false;
    SkipSpace();
    if (!Consume(')')) return Fail(Found(), "')'");
    return true;
  }
  return ParsePath(&v->path);
}

bool ValueParser::ParseFieldName(std::string* name) {
  if (!ParseWord(name, "a field's name")) return false;
  std::string path;
  if (!ParsePath(&path)) return false;
  *name += path;
  return true;
}

bool ValueParser::AtOperator(std::string_view operators) const {
  size_t i = at_;
  while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) i++;
  return i < text_.size() && operators.find(text_[i]) != std::string_view::npos;
}

bool ValueParser::ParseSum(Value* v, int depth) {
  SkipSpace();
  const Pos pos = Here();
  bool minus = Consume('-');
  Value first;
  if (!ParsePrimary(&first, depth)) return false;
  if (!minus && !AtOperator("+-")) {
    *v = std::move(first);
    return true;
  }
  v->kind = Value::Kind::kSum;
  v->pos = pos;
  first.minus = minus;
  v->items.push_back(std::move(first));
  while (true) {
    if (!AtOperator("+-")) return true;
    SkipSpace();
    if (v->items.size() >= kMaxItems) return Fail("too many items", "");
    minus = Peek() == '-';
    at_++;
    Value* item = &v->items.emplace_back();
    if (!ParsePrimary(item, depth)) return false;
    item->minus = minus;
  }
}

bool ValueParser::ParseValue(Value* v, int depth) {
  SkipSpace();
  if (depth > kMaxNesting) return Fail("this is nested too deep", "");
  const Pos pos = Here();
  Value first;
  if (!ParseSum(&first, depth)) return false;
  if (!AtOperator("|")) {
    *v = std::move(first);
    return true;
  }
  v->kind = Value::Kind::kOr;
  v->pos = pos;
  v->items.push_back(std::move(first));
  while (AtOperator("|")) {
    SkipSpace();
    at_++;
    if (v->items.size() >= kMaxItems) return Fail("too many items", "");
    if (!ParseSum(&v->items.emplace_back(), depth)) return false;
  }
  return true;
}

}  // namespace prog
