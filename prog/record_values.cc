// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_values.h"

#include <utility>
#include <vector>

#include "prog/calls.h"

namespace prog::recording {

Value Size(uint64_t n) {
  return Value::Number(
      n, n != 0 && n % 1024 == 0 ? NumberStyle::kSuffix : NumberStyle::kAuto);
}

Value MinusOne() {
  Value v;
  v.kind = Value::Kind::kSum;
  v.items.push_back(Value::Number(1, NumberStyle::kDec));
  v.items[0].minus = true;
  return v;
}

Value Plus(Value v, uint64_t offset) {
  return offset == 0 ? v : Value::Sum({std::move(v), Size(offset)});
}

Value Flags(uint64_t n, std::span<const desc_name> names) {
  std::vector<Value> items;
  for (const desc_name& name : names) {
    if (name.value == 0 || (n & name.value) != name.value) continue;
    items.push_back(Value::Name(name.name));
    n &= ~name.value;
  }
  if (items.empty() || n != 0) items.push_back(Value::Number(n));
  return Value::Or(std::move(items));
}

Value Named(const desc_field& d, uint64_t n) {
  if (d.kind == desc_kind::FLAGS) return Flags(n, d.names);
  if (d.kind == desc_kind::ENUM) {
    for (const desc_name& name : d.names) {
      if (name.value == n) return Value::Name(name.name);
    }
  }
  return Value::Number(n);
}

void AddArg(Call* call, std::string_view name, Value value) {
  Field* f = &call->args.emplace_back();
  f->name = name;
  f->value = std::move(value);
}

void AddFailNth(Call* call, const RecordCaller& caller) {
  if (caller.fail_nth != 0) {
    AddArg(call, "fail_nth", Value::Number(caller.fail_nth));
  }
}

void AddShape(Call* call, bool huge, bool fragmented, bool poisoned) {
  if (huge) AddArg(call, "huge", Value::Name("true"));
  if (fragmented) AddArg(call, "fragmented", Value::Name("true"));
  if (poisoned) AddArg(call, "poisoned", Value::Name("true"));
}

void ExpectOutput(Call* call, std::string_view path, Value value) {
  Expect::Output* output = &call->expect.outputs.emplace_back();
  output->path = path;
  output->value = std::move(value);
  call->expect.present = true;
}

void ExpectBytes(Call* call, const std::string& bytes) {
  if (bytes.size() <= kMaxExpectedBytes) {
    ExpectOutput(call, "", Value::String(bytes));
  } else {
    ExpectOutput(call, "hash", Value::Number(HashOf(bytes), NumberStyle::kHex));
  }
}

}  // namespace prog::recording
