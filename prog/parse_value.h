// SPDX-License-Identifier: GPL-2.0-or-later
//
// The lower levels of the grammar on one line of a program: words, numbers,
// strings, values. A mistake fills the Error and ends the parse.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "prog/prog.h"

namespace prog {

inline bool IsDigit(char c) { return c >= '0' && c <= '9'; }
inline bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
inline bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
inline bool IsWordStart(char c) { return IsLower(c) || IsUpper(c) || c == '_'; }
inline bool IsWord(char c) { return IsWordStart(c) || IsDigit(c); }

class ValueParser {
 public:
  ValueParser(std::string_view text, int line, Error* error)
      : text_(text), line_(line), error_(error) {}

 protected:
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
  bool ParseWord(std::string* word, const char* what);

  // ".a.b[0]" directly after a word.
  bool ParsePath(std::string* path);

  bool ParseNumber(Value* v);

  bool ParseString(Value* v);

  bool ParsePrimary(Value* v, int depth);

  // A field's name may have an index: ste[0].
  bool ParseFieldName(std::string* name);

  // Is the next thing one of `operators`? The space before it stays: behind an
  // expectation it belongs to the remark.
  bool AtOperator(std::string_view operators) const;

  bool ParseSum(Value* v, int depth);

  bool ParseValue(Value* v, int depth);

  std::string_view text_;
  int line_;
  Error* error_;
  size_t at_ = 0;
};

}  // namespace prog
