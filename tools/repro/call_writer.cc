// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/repro/call_writer.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "prog/calls.h"
#include "prog/print.h"

namespace repro {
namespace {

void CollectNames(const prog::Value& value, std::vector<prog::Value>* out) {
  for (const prog::Value& item : value.items) CollectNames(item, out);
  for (const prog::Field& f : value.fields) CollectNames(f.value, out);
  if (value.kind == prog::Value::Kind::kName && prog::IsVariable(value.text)) {
    out->push_back(value);
  }
}

}  // namespace

CallWriter::CallWriter(Context* context, Types* types, size_t index)
    : context_(context),
      types_(types),
      index_(index),
      bound_(context->bound.calls[index]) {}

void CallWriter::Line(std::string_view text) {
  absl::StrAppend(&body_, "\t", text, "\n");
}

std::string CallWriter::Write() {
  const std::string text = prog::PrintCall(call());
  const std::string expected = prog::PrintExpect(call().expect);
  Line(absl::StrCat("begin(", call().pos.line, ", ",
                    CString(prog::PrintCallOnly(call())), ");"));
  WriteNeeds();
  WriteCall();
  WriteResults();
  WriteExpectations();
  return absl::StrCat(
      "/* ",
      absl::StrReplaceAll(
          absl::StrCat(call().pos.line, ": ", text,
                       expected.empty() ? "" : "  # ", expected),
          {{"*/", "* /"}, {"/*", "/ *"}}),
      " */\nstatic void line_", call().pos.line, "(void)\n{\n", body_, "}\n\n");
}

// Results of other threads are waited for; without its arguments the call is
// not made.
void CallWriter::WriteNeeds() {
  std::vector<prog::Value> used;
  for (const prog::Field& arg : call().args) {
    // A form or a path is a word, not a name.
    if (bound_.builtin != prog::Builtin::kOpen) CollectNames(arg.value, &used);
  }
  std::vector<prog::Value> waited = used;
  for (const auto& output : call().expect.outputs) {
    CollectNames(output.value, &waited);
  }
  std::set<size_t> awaited;
  for (const prog::Value& v : waited) {
    const size_t defined = DefinitionOf(bound_, v.text);
    if (!context_->bound.calls[defined].thread.empty() && defined != index_ &&
        awaited.insert(defined).second) {
      Line(absl::StrCat("await(", defined, ");"));
    }
  }
  std::vector<std::string> missing;
  std::set<std::string> seen;
  for (const prog::Value& v : used) {
    const std::string name = context_->names.Of(
        DefinitionOf(bound_, v.text), v.path.empty() ? "" : v.path.substr(1));
    if (!name.empty() && seen.insert(name).second) {
      missing.push_back(absl::StrCat(name, " == NONE"));
    }
  }
  if (missing.empty()) return;
  Line(absl::StrCat("if (", absl::StrJoin(missing, " || "), ")"));
  Line("\treturn skipped();");
}

void CallWriter::Make(const std::string& expression) {
  const bool fails = [&] {
    for (const prog::Field& arg : call().args) {
      if (arg.name == "fail_nth") return true;
    }
    return false;
  }();
  if (fails) {
    context_->parts.insert(Part::kFailNth);
    for (const prog::Field& arg : call().args) {
      if (arg.name != "fail_nth") continue;
      Line(absl::StrCat("set_fail_nth(", Number(arg.value).text, ");"));
    }
  }
  Line(absl::StrCat("const long ret = ", expression, ";"));
  Line("const int err = ret == -1 ? errno : 0;");
  if (fails) Line("set_fail_nth(0);");
}

void CallWriter::WriteResults() {
  for (const Names::Wanted& wanted : context_->names.WantedOf(index_)) {
    const std::optional<Result> result = ResultOf(wanted.path);
    if (!result) {
      Fail(call().pos, absl::StrCat("C cannot name the output '", wanted.path,
                                    "' of this call"));
      continue;
    }
    const bool after_failure =
        !wanted.path.empty() && !call().expect.errnos.empty();
    if (!after_failure) Line("if (!err)");
    Line(absl::StrCat(after_failure ? "" : "\t", "v->", wanted.member, " = ",
                      result->text, ";"));
  }
}

void CallWriter::WriteExpectations() {
  const prog::Expect& expect = call().expect;
  std::string wanted = expect.errnos.empty() ? "success" : "";
  std::string list = expect.errnos.empty() || expect.success ? "0, " : "";
  if (expect.success && !expect.errnos.empty()) wanted = "ok|";
  absl::StrAppend(&wanted, absl::StrJoin(expect.errnos, "|"));
  for (const std::string& name : expect.errnos) {
    absl::StrAppend(&list, name, ", ");
  }
  Line(absl::StrCat("if (!came(err, \"", wanted, "\", ", list, "-1))"));
  Line("\treturn;");
  for (const prog::Expect::Output& output : expect.outputs) {
    WriteOutput(output);
  }
  Line("as_expected();");
}

void CallWriter::WriteOutput(const prog::Expect::Output& output) {
  const std::string expected = CString(absl::StrCat(
      output.path, output.negated ? "!=" : "=", output.path.empty() ? " " : "",
      prog::PrintValue(output.value)));
  const char* same = output.negated ? "0" : "1";
  if (output.value.kind == prog::Value::Kind::kString) {
    const auto [bytes, n] = ResultBytes();
    if (bytes.empty()) return Fail(output.pos, "the call has no bytes");
    context_->parts.insert(Part::kEqualBytes);
    Line(absl::StrCat("if (!equal_bytes(", expected, ", ", bytes, ", ", n, ", ",
                      same, ", ", CString(output.value.text), ", ",
                      output.value.text.size(), "))"));
    Line("\treturn;");
    return;
  }
  const std::optional<Result> result = ResultOf(output.path);
  if (!result) {
    return Fail(output.pos,
                absl::StrCat("C cannot name the output '", output.path, "'"));
  }
  context_->parts.insert(Part::kEquals);
  const desc_field* field = result->field;
  const unsigned width = field != nullptr ? field->width : 8;
  Expression value = Number(
      output.value, field != nullptr ? field->names : ResultNames(), width);
  // A number is compared in the width of what came back.
  if (width < 8 && !value.known) {
    value.text = absl::StrCat("(__u", 8 * width, ")(", value.text, ")");
  }
  Line(absl::StrCat("if (!equals(", expected, ", ", result->text, ", ", same,
                    ", ", value.text, "))"));
  Line("\treturn;");
}

}  // namespace repro
