// SPDX-License-Identifier: GPL-2.0-or-later
//
// What stands behind '#': what a call must result in, for all forms of the
// surface and for some.
//
//   # EINVAL    # ok|EBUSY    # num=2    # EINVAL, hw-queue: ENOENT: a remark
#pragma once

#include "prog/parse_value.h"

namespace prog {

class ExpectParser : public ValueParser {
 protected:
  using ValueParser::ValueParser;

  // The length of an output's name when `name=` or `name!=` stands here with
  // no space before the sign and a value after it.
  size_t OutputNameLength() const;

  bool AtOutput() const;

  bool ParseOutput(Expect* expect);

  // True when an errno's name stands here: a word of capitals that starts
  // with E. *end is behind it.
  bool AtErrno(size_t* end) const;

  // What one form must say: errnos, outputs.
  bool ParseOutcome(Expect* expect);

  // Those that follow, each after a comma.
  bool ParseOutputs(Expect* expect);

  bool AtOk() const;

  // True when `form: ` stands here. A name that no form has counts when it is
  // like one, or when an errno or "ok" follows: else it begins a remark.
  bool AtForm(size_t* length) const;
  bool ParseFormName(size_t length, std::string* name);
  // `form: outcome`.
  bool ParseForm(size_t length, Expect* expect);

  // The text after '#'. What is no expectation stays for the comment.
  bool ParseExpect(Expect* expect);

  bool FailErrno(const std::string& name);
};

}  // namespace prog
