// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run_check.h"

#include <cstdint>
#include <span>
#include <string>

#include "prog/calls.h"
#include "prog/print.h"
#include "prog/run_format.h"
#include "prog/run_frame.h"

namespace prog {
namespace {

bool CheckOutput(CallFrame* f, const Expect::Output& expected) {
  CallResult* result = f->result();
  std::string name = expected.path;
  name += expected.negated ? "!=" : "=";
  if (expected.path.empty()) name += ' ';
  if (expected.value.kind == Value::Kind::kString) {
    const bool same = result->bytes == expected.value.text;
    if (same != expected.negated) return true;
    result->why = name + BytesText(expected.value.text);
    return false;
  }
  uint64_t got = 0;
  const desc_field* field = nullptr;
  std::span<const desc_name> names;
  if (expected.path.empty()) {
    got = result->value;
    if (f->bound().builtin == Builtin::kPoll) names = PollNames();
  } else {
    const Output* output = FindOutput(*result, expected.path);
    if (output == nullptr) {
      result->why =
          name + PrintValue(expected.value) + ", and there is no such output";
      return false;
    }
    got = output->value;
    field = output->field;
    if (field != nullptr) names = field->names;
  }
  uint64_t want;
  if (!f->Eval(expected.value, names, &want)) return false;
  // A number is compared in the width of what came back.
  if (field != nullptr && field->width < 8) {
    want &= (uint64_t{1} << (8 * field->width)) - 1;
  }
  if ((want == got) != expected.negated) return true;
  result->why = name + PrintValue(expected.value);
  if (expected.value.kind != Value::Kind::kNumber) {
    result->why += " (" + FieldText(field, want) + ")";
  }
  return false;
}

}  // namespace

void Check(CallFrame* f) {
  const Expect& expect = f->bound().call->expect;
  CallResult* result = f->result();
  std::string wanted;
  bool right;
  if (expect.errnos.empty()) {
    right = result->error == 0;
    wanted = "success";
  } else {
    right = expect.success && result->error == 0;
    if (expect.success) wanted = "ok|";
    for (size_t i = 0; i < expect.errnos.size(); i++) {
      if (i != 0) wanted += '|';
      wanted += expect.errnos[i];
      right = right || ErrnoByName(expect.errnos[i]) == result->error;
    }
  }
  if (!right) {
    result->why = wanted;
    return;
  }
  for (const Expect::Output& output : expect.outputs) {
    if (!CheckOutput(f, output)) return;
  }
  result->expected = true;
}

}  // namespace prog
