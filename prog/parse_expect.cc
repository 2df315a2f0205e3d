// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/parse_expect.h"

#include <utility>
#include <vector>

#include "prog/forms.h"
#include "prog/parse.h"

namespace prog {

size_t ExpectParser::OutputNameLength() const {
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

bool ExpectParser::AtOutput() const {
  if (Peek() == '=' && Peek(1) != '=') return true;
  if (Peek() == '!' && Peek(1) == '=') return true;
  return OutputNameLength() != 0;
}

bool ExpectParser::ParseOutput(Expect* expect) {
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

bool ExpectParser::AtErrno(size_t* end) const {
  size_t i = at_;
  if (i >= text_.size() || text_[i] != 'E') return false;
  while (i < text_.size() && (IsUpper(text_[i]) || IsDigit(text_[i]))) i++;
  if (i - at_ < 3 || (i < text_.size() && IsWord(text_[i]))) return false;
  *end = i;
  return true;
}

bool ExpectParser::ParseOutcome(Expect* expect) {
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
  } else if (AtOk()) {
    expect->present = true;
    expect->success = true;
    at_ += 2;
  } else if (AtOutput()) {
    expect->present = true;
    if (!ParseOutput(expect)) return false;
  } else {
    at_ = begin;
    return true;
  }
  return ParseOutputs(expect);
}

bool ExpectParser::ParseOutputs(Expect* expect) {
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

bool ExpectParser::AtForm(size_t* length) const {
  size_t i = at_;
  if (i >= text_.size() || !IsLower(text_[i])) return false;
  while (i < text_.size() && (IsWord(text_[i]) || text_[i] == '-')) i++;
  if (text_.substr(i, 2) != ": " || i - at_ > kMaxNameBytes) return false;
  *length = i - at_;
  const std::string name(text_.substr(at_, *length));
  if (RevisionByName(name) != 0) return true;
  // A remark, or a form's name that is written wrong?
  ExpectParser rest(text_, line_, error_);
  rest.at_ = i + 2;
  size_t end = 0;
  const bool outcome = rest.AtErrno(&end) || rest.AtOk();
  return outcome || !DidYouMean(name, RevisionNames()).empty();
}

bool ExpectParser::AtOk() const {
  const size_t end = at_ + 2;
  return text_.substr(at_, 2) == "ok" &&
         (end >= text_.size() || text_[end] == ',' || text_[end] == ' ' ||
          text_[end] == ':');
}

bool ExpectParser::ParseFormName(size_t length, std::string* name) {
  *name = text_.substr(at_, length);
  if (RevisionByName(*name) == 0) {
    const std::string best = DidYouMean(*name, RevisionNames());
    std::string all;
    for (const std::string& form : RevisionNames()) {
      all += (all.empty() ? "" : ", ") + form;
    }
    return Fail("there is no form '" + *name + "'",
                best.empty() ? all : best + "?");
  }
  at_ += length;
  return true;
}

bool ExpectParser::ParseExpect(Expect* expect) {
  size_t length = 0;
  const size_t begin = at_;
  SkipSpace();
  expect->pos = Here();
  if (!AtForm(&length)) {
    at_ = begin;
    if (!ParseOutcome(expect)) return false;
  } else if (!ParseForm(length, expect)) {
    return false;
  }
  while (expect->present) {
    const size_t rest = at_;
    SkipSpace();
    if (!Consume(',')) {
      at_ = rest;
      return true;
    }
    SkipSpace();
    if (!AtForm(&length)) {
      at_ = rest;
      return true;
    }
    if (!ParseForm(length, expect)) return false;
  }
  return true;
}

bool ExpectParser::ParseForm(size_t length, Expect* expect) {
  Expect own;
  own.form_pos = Here();
  if (!ParseFormName(length, &own.form)) return false;
  for (const Expect& earlier : expect->forms) {
    if (RevisionByName(earlier.form) == RevisionByName(own.form)) {
      return FailAt(own.form_pos,
                    "form '" + own.form + "' has an expectation already", "");
    }
  }
  at_++;
  if (!ParseOutcome(&own)) return false;
  if (!own.present) {
    return Fail("nothing is expected of form '" + own.form + "'",
                "an errno, an output or ok");
  }
  expect->present = true;
  expect->forms.push_back(std::move(own));
  return true;
}

bool ExpectParser::FailErrno(const std::string& name) {
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

}  // namespace prog
