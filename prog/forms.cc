// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/forms.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "prog/calls.h"

namespace prog {
namespace {

// Of an open(): the argument that says which form it gives. nullptr: none does.
const Value* FormOf(const Call& call) {
  const BuiltinSpec* spec = FindBuiltin(call.name);
  if (spec == nullptr || spec->builtin != Builtin::kOpen) return nullptr;
  for (const Field& arg : call.args) {
    if (arg.name == "uapi") return &arg.value;
  }
  return nullptr;
}

std::vector<std::string> NamesIn(const Value& list) {
  std::vector<std::string> names;
  for (const Value& item : list.items) names.push_back(item.text);
  return names;
}

// A release's own name is its form's, too.
bool Same(std::string_view a, std::string_view b) {
  return RevisionByName(a) == RevisionByName(b);
}

bool IsOneOf(std::string_view form, const std::vector<std::string>& forms) {
  return absl::c_any_of(forms,
                        [&](const std::string& f) { return Same(f, form); });
}

bool CheckList(const Value& list, Error* error) {
  std::vector<std::string> earlier;
  for (const Value& item : list.items) {
    if (RevisionByName(item.text) == 0) {
      const std::string best = DidYouMean(item.text, RevisionNames());
      *error = {
          item.pos, absl::StrCat("there is no form '", item.text, "'"),
          best.empty() ? absl::StrJoin(RevisionNames(), ", ") : best + "?"};
      return false;
    }
    if (IsOneOf(item.text, earlier)) {
      *error = {item.pos,
                absl::StrCat("form '", item.text, "' is listed twice"), ""};
      return false;
    }
    earlier.push_back(item.text);
  }
  return true;
}

}  // namespace

uint8_t RevisionByName(std::string_view name) {
  return desc_revision_by_name(name);
}

std::vector<std::string> RevisionNames(uint8_t revisions) {
  std::vector<std::string> names;
  for (const desc_revision_name& r : desc_revisions) {
    if (r.revision & revisions) names.push_back(r.name);
  }
  return names;
}

std::string FormsHelp() {
  std::string help;
  for (const desc_revision_name& r : desc_revisions) {
    absl::StrAppend(
        &help, absl::StrFormat("  %-12s %s", r.name, r.summary),
        &r == desc_revisions ? " (default)" : "",
        r.release != nullptr ? absl::StrCat("; also called ", r.release) : "",
        "\n");
  }
  return help;
}

bool FormsOf(const Program& program, std::vector<std::string>* forms,
             Error* error) {
  forms->clear();
  std::string single;
  for (const Line& line : program.lines) {
    const Value* form = line.has_call ? FormOf(line.call) : nullptr;
    if (form == nullptr) continue;
    if (form->kind != Value::Kind::kOr) {
      if (single.empty() && RevisionByName(form->text) != 0) {
        single = form->text;
      }
      continue;
    }
    if (!CheckList(*form, error)) return false;
    const std::vector<std::string> listed = NamesIn(*form);
    if (!forms->empty() && *forms != listed) {
      *error = {form->pos, "this open() lists other forms than the first one",
                absl::StrJoin(*forms, "|")};
      return false;
    }
    *forms = listed;
  }
  if (forms->empty()) {
    forms->push_back(single.empty() ? desc_revisions[0].name : single);
  }
  const auto check = [&](const std::string& form, Pos pos, const char* what) {
    if (IsOneOf(form, *forms)) return true;
    *error = {pos,
              absl::StrCat(what, " is for the form '", form,
                           "', which this program is not for"),
              absl::StrJoin(*forms, ", ")};
    return false;
  };
  for (const Line& line : program.lines) {
    for (const std::string& form : line.forms) {
      if (!check(form, line.forms_pos, "this line")) return false;
    }
    for (const Expect& expect : line.call.expect.forms) {
      if (!check(expect.form, expect.form_pos, "this expectation")) {
        return false;
      }
    }
  }
  return true;
}

Program ForForm(const Program& program, std::string_view form) {
  Program out;
  for (const Line& line : program.lines) {
    Line& copy = out.lines.emplace_back();
    if (!line.forms.empty() && !IsOneOf(form, line.forms)) continue;
    copy = line;
    copy.forms.clear();
    Expect& expect = copy.call.expect;
    const auto own = absl::c_find_if(
        expect.forms, [&](const Expect& e) { return Same(e.form, form); });
    if (own != expect.forms.end()) expect = Expect(*own);
    expect.form.clear();
    expect.forms.clear();
    for (Field& arg : copy.call.args) {
      if (&arg.value == FormOf(copy.call) &&
          arg.value.kind == Value::Kind::kOr) {
        const Pos pos = arg.value.pos;
        arg.value = Value::Name(form);
        arg.value.pos = pos;
      }
    }
  }
  return out;
}

}  // namespace prog
