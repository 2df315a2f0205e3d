// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/recipes.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fuzz/recipe_texts.h"
#include "fuzz/syntax.h"
#include "prog/calls.h"
#include "prog/parse.h"
#include "prog/run.h"

namespace fuzz {
namespace {

using prog::Call;
using prog::Value;

// The forms whose descriptions have a call of that name.
Forms FormsWith(std::string_view name) {
  Forms forms = 0;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    if (name == d.name) forms |= d.revisions;
  }
  return forms;
}

// The form that an open() asks for; 0: it does not say.
Forms FormOfOpen(const prog::BuiltinSpec& s, const Call& call) {
  for (const prog::BuiltinArg& arg : s.args) {
    const Value* v = ArgOf(call, arg.name);
    if (arg.kind == prog::ArgKind::kForm && v != nullptr) {
      return prog::RevisionByName(v->text);
    }
  }
  return 0;
}

RecipeLine LineOf(const prog::Line& source, Forms forms) {
  RecipeLine line;
  line.call = source.call;
  line.call.expect = {};
  line.desc = prog::FindBuiltin(line.call.name) == nullptr
                  ? iommufd_desc_find(line.call.name, forms)
                  : nullptr;
  for (std::string_view word :
       absl::StrSplit(source.comment, absl::ByAnyChar(" ,:"))) {
    uint64_t n;
    if (word.size() > 1 && word[0] == '?') {
      line.holes.emplace(word.substr(1));
    } else if (word == "maybe") {
      line.maybe = true;
    } else if (word.size() > 1 && word[0] == 'x' &&
               absl::SimpleAtoi(word.substr(1), &n)) {
      line.times = n;
    }
  }
  Visit(&line.call, [&](Value* v) {
    if (IsName(*v)) line.uses.insert(v->text);
  });
  if (line.desc != nullptr) {
    line.flags = FlagsOf(line.call, *line.desc);
    if (!line.call.result.empty()) {
      line.makes = ObjectsOf(line.call, *line.desc);
    }
  }
  return line;
}

Recipe RecipeOf(const RecipeText& text) {
  Recipe recipe;
  recipe.name = text.name;
  recipe.text = text.text;
  prog::Program program;
  prog::Error error;
  if (!prog::Parse(text.text, &program, &error)) {
    // Its test shows it too; nothing can be generated from it.
    fputs(prog::FormatError(text.name, text.text, error).c_str(), stderr);
    abort();
  }
  recipe.machine = &MachineOf(program);
  recipe.forms = DESC_ALL;
  Forms named = 0;
  for (const prog::Line& line : program.lines) {
    if (!line.has_call) continue;
    const prog::BuiltinSpec* s = prog::FindBuiltin(line.call.name);
    if (s == nullptr) {
      recipe.forms &= FormsWith(line.call.name);
    } else if (s->makes == prog::Makes::kFile) {
      named |= FormOfOpen(*s, line.call);
    }
  }
  if (named != 0) recipe.forms &= named;
  for (const prog::Line& line : program.lines) {
    if (!line.has_call) continue;
    const prog::BuiltinSpec* s = prog::FindBuiltin(line.call.name);
    if (s != nullptr && s->makes == prog::Makes::kKernel) continue;
    recipe.lines.push_back(LineOf(line, recipe.forms));
  }
  return recipe;
}

using Key = std::tuple<const MachineKind*, std::string, std::string>;

// By machine, call and field; an empty field is for calls that are there.
const std::map<Key, std::vector<Value>, std::less<>>& Index() {
  static const auto* index = [] {
    auto* all = new std::map<Key, std::vector<Value>, std::less<>>;
    for (const Recipe& recipe : Recipes()) {
      for (const RecipeLine& line : recipe.lines) {
        (*all)[{recipe.machine, line.call.name, ""}];
        for (const prog::Field& arg : line.call.args) {
          const Value& v = arg.value;
          const bool constant = (v.kind == Value::Kind::kName && !IsName(v)) ||
                                v.kind == Value::Kind::kString;
          if (!constant || arg.name.empty()) continue;
          auto& known = (*all)[{recipe.machine, line.call.name, arg.name}];
          if (std::none_of(known.begin(), known.end(),
                           [&](const Value& k) { return k.text == v.text; })) {
            known.push_back(v);
          }
        }
      }
    }
    return all;
  }();
  return *index;
}

}  // namespace

std::span<const Recipe> Recipes() {
  static const auto* all = [] {
    auto* v = new std::vector<Recipe>;
    for (const RecipeText& text : kRecipeTexts) v->push_back(RecipeOf(text));
    return v;
  }();
  return *all;
}

std::vector<RecipePlace> MakersOf(const MachineKind& machine, Forms form,
                                  desc_object object, bool is_fd,
                                  uint64_t flags) {
  std::vector<RecipePlace> out;
  for (const Recipe& recipe : Recipes()) {
    if (recipe.machine != &machine || !(recipe.forms & form)) continue;
    for (size_t i = 0; i < recipe.lines.size(); i++) {
      const RecipeLine& line = recipe.lines[i];
      for (const MadeObject& made : line.makes) {
        if (made.is_fd == is_fd && desc_object_takes(object, made.object) &&
            (line.flags & flags) == flags) {
          out.push_back({&recipe, i});
          break;
        }
      }
    }
  }
  return out;
}

const std::vector<Value>& KnownValues(const MachineKind& machine,
                                      std::string_view call,
                                      std::string_view field) {
  static const auto* none = new std::vector<Value>;
  const auto it =
      Index().find(Key(&machine, std::string(call), std::string(field)));
  return it != Index().end() ? it->second : *none;
}

bool IsOffered(const MachineKind& machine, std::string_view call) {
  bool elsewhere = false;
  for (const MachineKind& other : Machines()) {
    const bool there = Index().contains(Key(&other, std::string(call), ""));
    if (there && &other == &machine) return true;
    elsewhere |= there;
  }
  return !elsewhere;
}

}  // namespace fuzz
