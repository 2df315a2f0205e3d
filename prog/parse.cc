// SPDX-License-Identifier: GPL-2.0-or-later
//
// A recursive-descent parser over one line at a time.
#include "prog/parse.h"

#include <utility>
#include <vector>

#include "prog/forms.h"
#include "prog/parse_expect.h"

namespace prog {
namespace {

class LineParser : public ExpectParser {
 public:
  using ExpectParser::ExpectParser;

  bool ParseLine(Line* line) {
    SkipSpace();
    if (AtEnd()) return true;
    if (Peek() != '#') {
      line->has_call = true;
      if (!ParseGuard(line) || !ParseCall(&line->call)) return false;
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
  // `hw-queue: ` or `hw-queue|linux-v6_12: ` before a call: its forms.
  bool ParseGuard(Line* line) {
    size_t colon = at_;
    while (
        colon < text_.size() &&
        (IsWord(text_[colon]) || text_[colon] == '-' || text_[colon] == '|')) {
      colon++;
    }
    if (text_.substr(colon, 1) != ":") return true;
    line->forms_pos = Here();
    do {
      const size_t end = text_.find_first_of("|:", at_);
      std::string& form = line->forms.emplace_back();
      if (!ParseFormName(end - at_, &form)) return false;
    } while (Consume('|'));
    at_++;
    SkipSpace();
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
