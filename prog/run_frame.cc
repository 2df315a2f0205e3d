// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run_frame.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "prog/calls.h"

namespace prog {

bool IsData(const Value& v) {
  return v.kind == Value::Kind::kString || v.kind == Value::Kind::kList ||
         v.kind == Value::Kind::kStruct || v.kind == Value::Kind::kOut;
}

CallFrame::CallFrame(RunState* run, size_t index, Process* process,
                     Scratch* scratch, CallResult* result)
    : run_(run),
      bound_(&run->bound.calls[index]),
      statement_(bound_->builtin != Builtin::kIoctl
                     ? FindBuiltin(bound_->call->name)
                     : nullptr),
      index_(index),
      process_(process),
      scratch_(scratch),
      result_(result) {
  scratch_->used = 0;
}

bool CallFrame::Ref(const Value& v, uint64_t* out) {
  size_t index = 0;
  for (const auto& ref : bound_->refs) {
    if (ref.first == v.text) index = ref.second;
  }
  const CallResult& result =
      index != index_ ? run_->results.Wait(index) : *result_;
  if (v.path.empty()) {
    if (result.has_value) {
      *out = result.value;
      return true;
    }
  } else if (const Output* output = FindOutput(result, v.path.substr(1))) {
    if (result.error == 0 || output->show) {
      *out = output->value;
      return true;
    }
  }
  *out = 0;
  if (run_->options.missing_is_zero) return true;
  if (result_->why.empty()) {
    result_->why = "'" + v.text + v.path + "' has no value, see line " +
                   std::to_string(run_->bound.calls[index].call->pos.line);
  }
  return false;
}

bool CallFrame::Eval(const Value& v, std::span<const desc_name> names,
                     uint64_t* out) {
  *out = 0;
  switch (v.kind) {
    case Value::Kind::kNumber:
      *out = v.number;
      return true;
    case Value::Kind::kName:
      if (IsVariable(v.text)) return Ref(v, out);
      return FindConstant(v.text, names, out);
    case Value::Kind::kOr:
    case Value::Kind::kSum: {
      for (const Value& item : v.items) {
        uint64_t n;
        if (!Eval(item, names, &n)) return false;
        if (v.kind == Value::Kind::kOr) {
          *out |= n;
        } else {
          *out = item.minus ? *out - n : *out + n;
        }
      }
      return true;
    }
    default:
      return false;
  }
}

const Value* CallFrame::Arg(std::string_view name) const {
  const std::vector<Field>& args = bound_->call->args;
  for (size_t i = 0; i < args.size(); i++) {
    if (args[i].name == name) return &args[i].value;
    if (args[i].name.empty() && statement_ != nullptr &&
        i < statement_->args.size() && name == statement_->args[i].name) {
      return &args[i].value;
    }
  }
  return nullptr;
}

bool CallFrame::NumberArg(std::string_view name, uint64_t otherwise,
                          uint64_t* out) {
  *out = otherwise;
  const Value* v = Arg(name);
  if (v == nullptr) return true;
  std::span<const desc_name> names;
  if (statement_ != nullptr) {
    for (const BuiltinArg& arg : statement_->args) {
      if (name == arg.name) names = arg.names;
    }
  }
  return Eval(*v, names, out);
}

bool CallFrame::Bytes(const Value& v, std::string* bytes) {
  switch (v.kind) {
    case Value::Kind::kString:
      *bytes = v.text;
      return true;
    case Value::Kind::kList:
      for (const Value& item : v.items) {
        uint64_t n;
        if (!Eval(item, {}, &n)) return false;
        *bytes += static_cast<char>(n);
      }
      return true;
    case Value::Kind::kOut: {
      uint64_t n = 1;
      if (!v.items.empty() && !Eval(v.items[0], {}, &n)) return false;
      bytes->assign(std::min(n, kMaxTransferBytes), '\0');
      return true;
    }
    default:
      return false;
  }
}

bool CallFrame::Address(std::string_view name, uint64_t* addr,
                        uint64_t* bytes) {
  const Value* v = Arg(name);
  *addr = 0;
  *bytes = 0;
  if (v == nullptr) return true;
  std::string data;
  if (IsData(*v)) {
    if (!Bytes(*v, &data)) return false;
    *addr = Place(data, data.size());
    *bytes = data.size();
    return true;
  }
  return NumberArg(name, 0, addr);
}

void CallFrame::Arm() {
  if (fail_nth_ != 0) sys()->set_fail_nth(fail_nth_);
}

void CallFrame::Disarm() {
  if (fail_nth_ == 0) return;
  result_->injected = sys()->fail_nth();
  sys()->set_fail_nth(0);
}

void CallFrame::SetResult(int64_t ret) {
  if (ret < 0) {
    result_->error = static_cast<int>(-ret);
  } else {
    result_->has_value = true;
    result_->value = static_cast<uint64_t>(ret);
  }
}

void CallFrame::SetAddress(uint64_t addr, uint64_t bytes) {
  if (is_error(addr)) {
    result_->error = static_cast<int>(-static_cast<int64_t>(addr));
    return;
  }
  process_->AddMapping(addr, bytes);
  result_->has_value = true;
  result_->value = addr;
}

void CallFrame::SetBytes(std::string bytes) {
  Output hash;
  hash.name = "hash";
  hash.names = {hash.name};
  hash.value = HashOf(bytes);
  hash.show = false;
  result_->outputs.push_back(std::move(hash));
  result_->bytes = std::move(bytes);
}

}  // namespace prog
