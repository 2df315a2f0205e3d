// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/syntax.h"

#include <utility>

namespace fuzz {

using prog::Call;
using prog::Field;
using prog::Value;

Value Num(uint64_t n) { return Value::Number(n); }

Value Word(std::string_view word) { return Value::Name(word); }

Value NameValue(const std::string& name) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return Value::Name(name);
  return Value::Name(name.substr(0, dot), name.substr(dot));
}

Value Sum(Value a, uint64_t offset) {
  return offset == 0 ? a : Value::Sum({std::move(a), Num(offset)});
}

void Arg(Call* call, std::string name, Value v) {
  Field f;
  f.name = std::move(name);
  f.value = std::move(v);
  call->args.push_back(std::move(f));
}

const Value* ArgOf(const Call& call, std::string_view name) {
  for (const Field& f : call.args) {
    if (f.name == name) return &f.value;
  }
  return nullptr;
}

bool IsName(const Value& v) {
  return v.kind == Value::Kind::kName && prog::IsVariable(v.text);
}

std::string NameOf(const Value& v) { return v.text + v.path; }

uint64_t NumberOr(const Value* v, uint64_t otherwise) {
  return v != nullptr && v->kind == Value::Kind::kNumber ? v->number
                                                         : otherwise;
}

const prog::BuiltinSpec& BuiltinThat(prog::Makes makes) {
  const std::span<const prog::BuiltinSpec> all = prog::BuiltinSpecs();
  for (const prog::BuiltinSpec& s : all) {
    if (s.makes == makes) return s;
  }
  return all[0];
}

bool Takes(const prog::BuiltinSpec& s, prog::ArgKind kind) {
  for (const prog::BuiltinArg& arg : s.args) {
    if (arg.kind == kind) return true;
  }
  return false;
}

bool CanFail(const Call& call) {
  const prog::BuiltinSpec* s = prog::FindBuiltin(call.name);
  return !IsMachine(call) &&
         (s == nullptr || Takes(*s, prog::ArgKind::kFailNth));
}

bool IsMachine(const Call& call) {
  const prog::BuiltinSpec* s = prog::FindBuiltin(call.name);
  return s != nullptr && s->makes == prog::Makes::kKernel;
}

void Visit(Value* v, const std::function<void(Value*)>& visit) {
  visit(v);
  for (Value& item : v->items) Visit(&item, visit);
  for (Field& f : v->fields) Visit(&f.value, visit);
}

void Visit(Call* call, const std::function<void(Value*)>& visit) {
  for (Field& f : call->args) Visit(&f.value, visit);
}

}  // namespace fuzz
