// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/player.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "fuzz/arguments.h"
#include "fuzz/syntax.h"
#include "fuzz/values.h"
#include "prog/calls.h"

namespace fuzz {

using prog::Call;
using prog::Value;

namespace {

// A context is opened by every recipe; the draft has one in hand.
bool OpensContext(const RecipeLine& line) {
  const prog::BuiltinSpec* s = prog::FindBuiltin(line.call.name);
  if (s == nullptr || s->makes != prog::Makes::kFile) return false;
  Scope scope;
  scope.Note(line.call);
  return !scope.files.empty() && scope.files[0].kind == File::Kind::kContext &&
         std::none_of(s->args.begin(), s->args.end(),
                      [&](const prog::BuiltinArg& arg) {
                        return arg.kind == prog::ArgKind::kPath &&
                               ArgOf(line.call, arg.name) != nullptr;
                      });
}

// Is what `made` made good where `want` was made? Numbers of memory may be
// larger, flags may be more.
bool Serves(const RecipeLine& line, const prog::Field& arg, const Call& made) {
  const Value& want = arg.value;
  const desc_field* f = line.desc != nullptr
                            ? prog::FindField(*line.desc->arg, arg.name)
                            : nullptr;
  if (f != nullptr && f->kind == desc_kind::FLAGS) return true;  // seen to
  const Value* have = nullptr;
  for (size_t i = 0; i < made.args.size(); i++) {
    const prog::Field& other = made.args[i];
    if (arg.name.empty() ? i == 0 && other.name.empty()
                         : other.name == arg.name) {
      have = &other.value;
    }
  }
  if (have == nullptr) return false;
  switch (want.kind) {
    case Value::Kind::kNumber:
      if (f != nullptr) return true;
      return have->kind == Value::Kind::kNumber && have->number >= want.number;
    case Value::Kind::kName:
      if (IsName(want)) return true;  // its own calls are looked at
      return have->text == want.text;
    case Value::Kind::kString:
      return have->text == want.text;
    case Value::Kind::kStruct:
    case Value::Kind::kList:
      return have->kind == want.kind;
    default:
      return true;
  }
}

// Is all that the call works on, memory apart, among the names?
bool IsAbout(const RecipeLine& line, const std::set<std::string>& names) {
  if (line.desc == nullptr) return false;
  for (const prog::Field& arg : line.call.args) {
    const desc_field* f = prog::FindField(*line.desc->arg, arg.name);
    if (IsName(arg.value) && !names.contains(arg.value.text) &&
        !(f != nullptr && f->kind == desc_kind::USER_VA)) {
      return false;
    }
  }
  return line.call.args.size() > 1;
}

}  // namespace

bool Player::IsSame(const Recipe& recipe, const RecipeLine& line,
                    const Call& made, Names* names) {
  if (made.name != line.call.name ||
      (line.desc != nullptr &&
       (FlagsOf(made, *line.desc) & line.flags) != line.flags)) {
    return false;
  }
  for (size_t i = 0; i < line.call.args.size(); i++) {
    const prog::Field& arg = line.call.args[i];
    if (!Serves(line, arg, made)) return false;
    if (!IsName(arg.value)) continue;
    const Value* have = arg.name.empty() && i < made.args.size()
                            ? &made.args[i].value
                            : ArgOf(made, arg.name);
    if (have == nullptr || !IsName(*have) || have->path != arg.value.path) {
      return false;
    }
    // What it was made of must be what the recipe makes it of, and has the
    // recipe's name from here on.
    const auto [it, fresh] = names->emplace(arg.value.text, have->text);
    if (!fresh) {
      if (it->second != have->text) return false;
      continue;
    }
    const RecipeLine* want = nullptr;
    for (const RecipeLine& l : recipe.lines) {
      if (l.call.result == arg.value.text) want = &l;
    }
    const Call* other = draft_.scope.MakerOf(have->text);
    if (want == nullptr || other == nullptr ||
        !IsSame(recipe, *want, *other, names)) {
      return false;
    }
  }
  return true;
}

bool Player::FindSame(const Recipe& recipe, const RecipeLine& line,
                      Names* names) {
  const std::vector<Call>& makers = draft_.scope.makers;
  for (size_t i = makers.size(); i-- > 0;) {
    if (makers[i].name != line.call.name) continue;
    Names found = *names;
    if (IsSame(recipe, line, makers[i], &found)) {
      *names = std::move(found);
      (*names)[line.call.result] = makers[i].result;
      return true;
    }
  }
  return false;
}

std::set<size_t> Player::Choose(const Recipe& recipe, std::set<size_t> wanted,
                                size_t end, uint64_t again, Names* names) {
  std::set<std::string> needed;
  std::set<size_t> chosen;
  auto need = [&](const RecipeLine& line) {
    needed.insert(line.uses.begin(), line.uses.end());
  };
  for (const RecipeLine& line : recipe.lines) {
    if (OpensContext(line)) (*names)[line.call.result] = draft_.fd;
  }
  const bool whole = wanted.empty();
  // All that the wanted lines are about, however far away, and all that is made
  // of that.
  std::set<std::string> about;
  const bool wide = !whole && OneIn(r(), 2);
  for (size_t i = end; i-- > 0 && wide;) {
    const RecipeLine& line = recipe.lines[i];
    if (wanted.contains(i) || about.contains(line.call.result)) {
      about.insert(line.uses.begin(), line.uses.end());
    }
  }
  for (size_t i = 0; i < end && wide; i++) {
    const RecipeLine& line = recipe.lines[i];
    if (!line.call.result.empty() && IsAbout(line, about)) {
      about.insert(line.call.result);
    }
  }
  for (size_t i = end; i-- > 0;) {
    const RecipeLine& line = recipe.lines[i];
    const std::string& result = line.call.result;
    if (!result.empty() && names->contains(result)) continue;
    const bool is_needed = !result.empty() && needed.contains(result);
    bool want = wanted.contains(i) || is_needed ||
                (whole && (!line.maybe || OneIn(r(), 2)));
    // What is done to a thing, and what is made of it, may matter to what comes
    // later.
    const bool matters =
        !want && wide && !OneIn(r(), 6) && IsAbout(line, about);
    want |= matters;
    if (!want) continue;
    if (!result.empty() && (is_needed || matters) && !wanted.contains(i) &&
        !OneIn(r(), again) && FindSame(recipe, line, names)) {
      continue;
    }
    chosen.insert(i);
    need(line);
  }
  return chosen;
}

void Player::Vary(const RecipeLine& line, uint64_t shift, Call* call) {
  Values values(&draft_, &maker_, line.desc);
  Arguments arguments(&draft_, &maker_);
  const prog::BuiltinSpec* s = prog::FindBuiltin(call->name);
  std::set<std::string> given;
  // Another value for the field or the argument of that name and place.
  auto vary = [&](const std::string& name, size_t place, prog::Field* out) {
    if (line.desc != nullptr) {
      const desc_field* f = prog::FindField(*line.desc->arg, name);
      return f != nullptr && values.Field(*line.desc->arg, *f, true, out);
    }
    for (size_t i = 0; i < s->args.size(); i++) {
      if (name.empty() ? i == place : name == s->args[i].name) {
        return arguments.Argument(*s, s->args[i], true, out);
      }
    }
    return false;
  };
  for (size_t i = line.desc != nullptr ? 1 : 0; i < call->args.size(); i++) {
    prog::Field& arg = call->args[i];
    std::string name = arg.name;
    if (name.empty() && s != nullptr && i < s->args.size()) {
      name = s->args[i].name;
    }
    given.insert(name);
    prog::Field other;
    const desc_field* f =
        line.desc != nullptr ? prog::FindField(*line.desc->arg, name) : nullptr;
    if (OneIn(r(), line.holes.contains(name) ? 2 : 40) &&
        vary(arg.name, i, &other)) {
      arg.value = std::move(other.value);
    } else if (f != nullptr && arg.value.kind == Value::Kind::kNumber &&
               (f->kind == desc_kind::IOVA ||
                f->kind == desc_kind::IOVA_INOUT)) {
      arg.value.number += shift;
      arg.value.style = prog::NumberStyle::kAuto;
    }
  }
  for (const std::string& hole : line.holes) {
    prog::Field other;
    if (!given.contains(hole) && OneIn(r(), 2) &&
        vary(hole, call->args.size(), &other)) {
      other.name = hole;
      call->args.push_back(std::move(other));
    }
  }
}

void Player::Write(const RecipeLine& line, uint64_t shift, Names* names) {
  const uint64_t times = line.times > 1 ? 1 + Below(r(), line.times) : 1;
  for (uint64_t n = 0; n < times; n++) {
    Call call = line.call;
    Visit(&call, [&](Value* v) {
      if (!IsName(*v)) return;
      if (const auto it = names->find(v->text); it != names->end()) {
        v->text = it->second;
      }
    });
    Vary(line, shift, &call);
    if (!call.result.empty()) {
      call.result = draft_.scope.Fresh(call.result);
    }
    const std::string result = call.result;
    const Call again = call;
    // What is needed is made again where a failure was injected.
    if (draft_.Emit(std::move(call)) && !result.empty() && !OneIn(r(), 4)) {
      draft_.EmitAgain(again);
    }
    if (!result.empty()) (*names)[line.call.result] = result;
  }
}

void Player::Play(const Recipe& recipe) {
  Names names;
  const std::set<size_t> chosen =
      Choose(recipe, {}, recipe.lines.size(), 3, &names);
  const uint64_t shift = OneIn(r(), 2) ? 0 : Below(r(), 8) << 21;
  for (const size_t i : chosen) Write(recipe.lines[i], shift, &names);
}

void Player::PlayLine(const RecipePlace& place) {
  Names names;
  const std::set<size_t> chosen =
      Choose(*place.recipe, {place.line}, place.line + 1, 8, &names);
  for (const size_t i : chosen) {
    Write(place.recipe->lines[i], 0, &names);
  }
}

}  // namespace fuzz
