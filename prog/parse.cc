// SPDX-License-Identifier: GPL-2.0-or-later
//
// A recursive-descent parser over one line at a time.
#include "prog/parse.h"

#include <limits>
#include <utility>

namespace prog {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsWordStart(char c) { return IsLower(c) || IsUpper(c) || c == '_'; }
bool IsWord(char c) { return IsWordStart(c) || IsDigit(c); }

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class LineParser {
 public:
  LineParser(std::string_view text, int line, Error* error)
      : text_(text), line_(line), error_(error) {}

  bool ParseLine(Line* line) {
    SkipSpace();
    if (AtEnd()) return true;
    if (Peek() != '#') {
      line->has_call = true;
      if (!ParseCall(&line->call)) return false;
      SkipSpace();
    }
    if (AtEnd()) return true;
    if (Peek() != '#') {
      return Fail("there is something after the call",
                  "'@thread', '# expectation' or the end of the line");
    }
    at_++;
    if (line->has_call && !ParseExpect(&line->call.expect)) return false;
    std::string_view rest = text_.substr(at_);
    while (!rest.empty() && (rest.back() == ' ' || rest.back() == '\t')) {
      rest.remove_suffix(1);
    }
    for (size_t i = 0; i < rest.size(); i++) {
      const unsigned char c = rest[i];
      if ((c < 0x20 && c != '\t') || c == 0x7f) {
        at_ += i;
        return Fail("a comment holds a control character", "");
      }
    }
    line->comment = rest;
    line->has_comment =
        !rest.empty() || !line->has_call || !line->call.expect.present;
    return true;
  }

 private:
  bool AtEnd() const { return at_ >= text_.size(); }
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  void SkipSpace() {
    while (Peek() == ' ' || Peek() == '\t') at_++;
  }
  Pos Here() const { return {line_, static_cast<int>(at_) + 1}; }

  bool FailAt(Pos pos, std::string message, std::string expected) {
    error_->pos = pos;
    error_->message = std::move(message);
    error_->expected = std::move(expected);
    return false;
  }
  bool Fail(std::string message, std::string expected) {
    return FailAt(Here(), std::move(message), std::move(expected));
  }
  // What stands here, for a message.
  std::string Found() const {
    if (AtEnd()) return "the line ends here";
    const unsigned char c = Peek();
    if (c < 0x20 || c >= 0x7f) {
      static constexpr char kHex[] = "0123456789abcdef";
      return std::string("there is a byte 0x") + kHex[c >> 4] + kHex[c & 15];
    }
    return std::string("there is a '") + char(c) + '\'';
  }

  bool Consume(char c) {
    if (Peek() != c || AtEnd()) return false;
    at_++;
    return true;
  }

  // A word. A dash belongs to it when a letter follows: vcmdq-v2.
  bool ParseWord(std::string* word, const char* what) {
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

  // ".a.b[0]" directly after a word.
  bool ParsePath(std::string* path) {
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

  bool ParseNumber(Value* v) {
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

  bool ParseString(Value* v) {
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

  bool ParsePrimary(Value* v, int depth) {
    SkipSpace();
    v->pos = Here();
    const char c = Peek();
    if (IsDigit(c)) return ParseNumber(v);
    if (c == '"') return ParseString(v);
    if (c == '/') {
      v->kind = Value::Kind::kString;
      while (IsWord(Peek()) || Peek() == '/' || Peek() == '.' ||
             Peek() == '-') {
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

  // A field's name may have an index: ste[0].
  bool ParseFieldName(std::string* name) {
    if (!ParseWord(name, "a field's name")) return false;
    std::string path;
    if (!ParsePath(&path)) return false;
    *name += path;
    return true;
  }

  // Is the next thing one of `operators`? The space before it stays: behind an
  // expectation it belongs to the remark.
  bool AtOperator(std::string_view operators) const {
    size_t i = at_;
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) i++;
    return i < text_.size() &&
           operators.find(text_[i]) != std::string_view::npos;
  }

  bool ParseSum(Value* v, int depth) {
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

  bool ParseValue(Value* v, int depth) {
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

  // True when `name=` stands here: then this argument is a named one.
  bool AtNamedArgument() const {
    size_t i = at_;
    if (i >= text_.size() || !IsWordStart(text_[i])) return false;
    while (i < text_.size() && (IsWord(text_[i]) || text_[i] == '.' ||
                                text_[i] == '[' || text_[i] == ']')) {
      i++;
    }
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) i++;
    return i < text_.size() && text_[i] == '=';
  }

  bool ParseCall(Call* call) {
    call->pos = Here();
    std::string word;
    if (!ParseWord(&word, "a call: `name = CALL(f, field=value, ...)`")) {
      return false;
    }
    SkipSpace();
    if (Consume('=')) {
      call->result = std::move(word);
      if (IsUpper(call->result[0])) {
        return FailAt(call->pos,
                      "'" + call->result + "' is written like a constant",
                      "a name that begins with a small letter");
      }
      if (call->result.find('-') != std::string::npos) {
        return FailAt(call->pos, "a name cannot hold a dash", "");
      }
      SkipSpace();
      call->pos = Here();
      if (!ParseWord(&call->name, "a call's name")) return false;
    } else {
      call->name = std::move(word);
    }
    SkipSpace();
    if (!Consume('(')) {
      return Fail(Found(), call->result.empty()
                               ? "'(' and the arguments, or '=' and a call"
                               : "'(' and the arguments");
    }
    SkipSpace();
    if (!Consume(')')) {
      while (true) {
        SkipSpace();
        if (call->args.size() >= kMaxItems) {
          return Fail("too many arguments", "");
        }
        if (!call->args.empty() && Peek() == ')') {
          return Fail(Found(), "an argument after ',', or no ','");
        }
        Field* arg = &call->args.emplace_back();
        arg->pos = Here();
        if (AtNamedArgument()) {
          if (!ParseFieldName(&arg->name)) return false;
          SkipSpace();
          at_++;
        } else if (call->args.size() > 1 &&
                   !call->args[call->args.size() - 2].name.empty()) {
          return Fail("a value without a name after one with a name",
                      "name=value");
        }
        if (!ParseValue(&arg->value, 0)) return false;
        SkipSpace();
        if (Consume(')')) break;
        if (!Consume(',')) return Fail(Found(), "',' or ')'");
      }
    }
    call->end_column = static_cast<int>(at_) + 1;
    SkipSpace();
    if (Peek() == '@') {
      at_++;
      call->thread_pos = Here();
      if (!ParseWord(&call->thread, "a thread's or a process's name")) {
        return false;
      }
      if (Consume('.')) {
        std::string thread;
        if (!ParseWord(&thread, "the name of a thread of the process")) {
          return false;
        }
        call->thread += '.' + thread;
      }
      if (call->thread.find('-') != std::string::npos) {
        return FailAt(call->thread_pos, "a name cannot hold a dash", "");
      }
      call->end_column = static_cast<int>(at_) + 1;
    }
    return true;
  }

  // The length of an output's name when `name=` or `name!=` stands here with
  // no space before the sign and a value after it.
  size_t OutputNameLength() const {
    size_t i = at_;
    if (i >= text_.size() || !(IsLower(text_[i]) || text_[i] == '_')) return 0;
    while (i < text_.size() && (IsWord(text_[i]) || text_[i] == '.' ||
                                text_[i] == '[' || text_[i] == ']')) {
      i++;
    }
    size_t sign = i;
    if (sign < text_.size() && text_[sign] == '!') sign++;
    if (sign >= text_.size() || text_[sign] != '=') return 0;
    if (sign + 1 >= text_.size() || text_[sign + 1] == '=' ||
        text_[sign + 1] == ' ') {
      return 0;
    }
    return i - at_;
  }

  bool AtOutput() const {
    if (Peek() == '=' && Peek(1) != '=') return true;
    if (Peek() == '!' && Peek(1) == '=') return true;
    return OutputNameLength() != 0;
  }

  bool ParseOutput(Expect* expect) {
    Expect::Output* output = &expect->outputs.emplace_back();
    output->pos = Here();
    const size_t length = OutputNameLength();
    if (length > 3 * kMaxNameBytes) return Fail("this name is too long", "");
    if (length != 0) {
      std::string path;
      if (!ParseFieldName(&output->path)) return false;
    }
    output->negated = Consume('!');
    if (!Consume('=')) return Fail(Found(), "'=' and the expected value");
    if (!ParseValue(&output->value, 0)) return false;
    return true;
  }

  // True when an errno's name stands here: a word of capitals that starts
  // with E. *end is behind it.
  bool AtErrno(size_t* end) const {
    size_t i = at_;
    if (i >= text_.size() || text_[i] != 'E') return false;
    while (i < text_.size() && (IsUpper(text_[i]) || IsDigit(text_[i]))) i++;
    if (i - at_ < 3 || (i < text_.size() && IsWord(text_[i]))) return false;
    *end = i;
    return true;
  }

  // The text after '#'. What is no expectation stays for the comment.
  bool ParseExpect(Expect* expect) {
    const size_t begin = at_;
    SkipSpace();
    expect->pos = Here();
    size_t end = 0;
    if (Peek() == '-') {
      at_++;
      const bool negative = AtErrno(&end);
      if (negative && ErrnoByName(text_.substr(at_, end - at_)) != 0) {
        return Fail("an errno is expected by its name alone",
                    std::string(text_.substr(at_, end - at_)));
      }
      at_--;
    }
    if (text_.substr(at_, 3) == "ok|") {
      expect->present = true;
      expect->success = true;
      at_ += 3;
      if (!AtErrno(&end)) return Fail(Found(), "an errno after 'ok|'");
    }
    if (AtErrno(&end)) {
      expect->present = true;
      while (true) {
        if (!AtErrno(&end)) {
          return Fail(Found(),
                      "an errno after '|'; success goes first: ok|EBUSY");
        }
        std::string name(text_.substr(at_, end - at_));
        if (ErrnoByName(name) == 0) return FailErrno(name);
        expect->errnos.push_back(std::move(name));
        at_ = end;
        if (expect->errnos.size() > 16) return Fail("too many errnos", "");
        if (!Consume('|')) break;
      }
    } else if (AtOutput()) {
      expect->present = true;
      if (!ParseOutput(expect)) return false;
    } else {
      at_ = begin;
      return true;
    }
    while (true) {
      const size_t rest = at_;
      SkipSpace();
      if (!Consume(',')) {
        at_ = rest;
        return true;
      }
      SkipSpace();
      if (!AtOutput()) {
        at_ = rest;
        return true;
      }
      if (expect->outputs.size() >= 256) return Fail("too many outputs", "");
      if (!ParseOutput(expect)) return false;
    }
  }

  bool FailErrno(const std::string& name) {
    std::vector<std::string> names;
    for (int e = 1; e < 200; e++) {
      if (const char* known = ErrnoName(e)) names.push_back(known);
    }
    const std::string best = DidYouMean(name, names);
    return Fail("'" + name + "' is no errno",
                best.empty() ? "an errno's name, or a comment that does not "
                               "begin like one"
                             : best + "?");
  }

  std::string_view text_;
  int line_;
  Error* error_;
  size_t at_ = 0;
};

}  // namespace

bool Parse(std::string_view source, Program* program, Error* error) {
  program->lines.clear();
  if (source.size() > kMaxSourceBytes) {
    *error = {{1, 1}, "this program is too long", "at most 64 MiB"};
    return false;
  }
  size_t calls = 0;
  int number = 0;
  while (!source.empty()) {
    const size_t newline = source.find('\n');
    std::string_view text = source.substr(0, newline);
    source.remove_prefix(newline == std::string_view::npos ? source.size()
                                                           : newline + 1);
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
    number++;
    Line* line = &program->lines.emplace_back();
    if (!LineParser(text, number, error).ParseLine(line)) return false;
    calls += line->has_call;
    if (calls > kMaxCalls) {
      *error = {{number, 1}, "too many calls", "at most 1000000"};
      return false;
    }
  }
  return true;
}

}  // namespace prog
