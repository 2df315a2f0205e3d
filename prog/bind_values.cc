// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/bind_values.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "prog/calls.h"
#include "prog/print.h"

namespace prog {

std::string WithoutIndices(std::string_view path) {
  std::string out;
  bool inside = false;
  for (const char c : path) {
    if (c == '[') inside = true;
    if (!inside) out += c;
    if (c == ']') inside = false;
  }
  return out;
}

std::string Join(const std::vector<std::string>& names) {
  constexpr size_t kMost = 24;
  std::string out;
  for (size_t i = 0; i < names.size() && i < kMost; i++) {
    if (i != 0) out += ", ";
    out += names[i];
  }
  if (names.size() > kMost) out += ", ...";
  return out;
}

bool ValueBinder::Fail(Pos pos, std::string message, std::string expected) {
  *error_ = {pos, std::move(message), std::move(expected)};
  return false;
}

bool ValueBinder::FailName(Pos pos, std::string message, std::string_view name,
                           const std::vector<std::string>& names) {
  const std::string best = DidYouMean(name, names);
  if (!best.empty()) message += "; did you mean '" + best + "'?";
  return Fail(pos, std::move(message),
              names.empty() ? "" : "one of: " + Join(names));
}

bool ValueBinder::BindRef(const Value& v) {
  const auto it = names_.find(v.text);
  if (it == names_.end()) {
    std::vector<std::string> known;
    for (const auto& [name, definition] : names_) known.push_back(name);
    const size_t dash = v.text.find('-');
    if (dash != std::string::npos &&
        names_.count(v.text.substr(0, dash)) != 0) {
      return Fail(v.pos, "no name holds a dash: '" + v.text + "'",
                  v.text.substr(0, dash) + " - " + v.text.substr(dash + 1) +
                      ", with spaces, for a difference");
    }
    return FailName(v.pos, "nothing before this line is named '" + v.text + "'",
                    v.text, known);
  }
  const Definition& definition = it->second;
  if (definition.process) {
    return Fail(v.pos, "'" + v.text + "' is a process, not a number", "");
  }
  if (v.path.empty()) {
    if (!definition.value) {
      return Fail(
          v.pos,
          "'" + v.text + "' has " +
              (definition.shown.empty() ? "no value" : "several outputs"),
          definition.shown.empty()
              ? ""
              : "one of: " + Prefixed(v.text, definition.shown));
    }
  } else {
    if (v.path[0] == '[') {
      return Fail(v.pos, "'" + v.text + "' is no list",
                  definition.shown.empty()
                      ? v.text + " alone"
                      : "one of: " + Prefixed(v.text, definition.shown));
    }
    const std::string path = WithoutIndices(v.path.substr(1));
    if (definition.outputs.count(path) == 0) {
      return FailName(v.pos, "'" + v.text + "' has no output '" + path + "'",
                      path, definition.shown);
    }
  }
  for (const auto& ref : current_->refs) {
    if (ref.first == v.text) return true;
  }
  current_->refs.emplace_back(v.text, definition.call);
  return true;
}

std::string ValueBinder::Prefixed(const std::string& name,
                                  const std::vector<std::string>& outputs) {
  std::vector<std::string> out;
  for (const std::string& output : outputs) out.push_back(name + '.' + output);
  return Join(out);
}

bool ValueBinder::BindScalar(const Value& v, std::span<const desc_name> names) {
  switch (v.kind) {
    case Value::Kind::kNumber:
      return true;
    case Value::Kind::kOr:
    case Value::Kind::kSum:
      for (const Value& item : v.items) {
        if (!BindScalar(item, names)) return false;
      }
      return true;
    case Value::Kind::kName: {
      if (IsVariable(v.text)) return BindRef(v);
      uint64_t ignored;
      if (FindConstant(v.text, names, &ignored)) {
        if (v.path.empty()) return true;
        return Fail(v.pos, "'" + v.text + "' is a constant",
                    "nothing behind it");
      }
      std::vector<std::string> known;
      for (const desc_name& name : names) known.push_back(name.name);
      if (known.empty()) {
        for (const desc_name& name : GlobalConstants()) {
          known.push_back(name.name);
        }
      }
      return FailName(v.pos, "there is no constant '" + v.text + "' here",
                      v.text, known);
    }
    case Value::Kind::kString:
      return Fail(v.pos, "a string does not fit here", "a number or a name");
    case Value::Kind::kList:
    case Value::Kind::kStruct:
    case Value::Kind::kOut:
      return Fail(v.pos, "data does not fit here: the field is no pointer",
                  "a number or a name");
  }
  return true;
}

bool ValueBinder::BindStruct(const Value& v, const desc_struct& s) {
  std::set<std::string_view> seen;
  for (const Field& field : v.fields) {
    const desc_field* d = FindField(s, field.name);
    if (d == nullptr) {
      return FailName(field.pos,
                      std::string("there is no field '") + field.name +
                          "' in struct " + s.name,
                      field.name, FieldNames(s));
    }
    if (!seen.insert(d->name).second) {
      return Fail(field.pos, "field '" + field.name + "' is given twice", "");
    }
    if (!BindField(field.value, *d, s, v.fields)) return false;
  }
  return true;
}

bool ValueBinder::BindField(const Value& v, const desc_field& d,
                            const desc_struct& s,
                            const std::vector<Field>& siblings) {
  if (!desc_is_pointer(d.kind) || d.kind == desc_kind::USER_VA) {
    if (v.kind == Value::Kind::kNumber && d.width < 8 &&
        v.number >> (8 * d.width) != 0) {
      bound_->notes.push_back(
          {v.pos,
           "note: of this number only " + std::to_string(8 * d.width) +
               " bits are sent, as '" + d.name + "' has no more",
           "at most 0x" + std::string(2 * d.width, 'f')});
    }
    return BindScalar(v, d.names);
  }
  switch (v.kind) {
    case Value::Kind::kString:
      return true;
    case Value::Kind::kOut:
      return v.items.empty() || BindScalar(v.items[0], {});
    case Value::Kind::kStruct:
      return BindPointee(v, d, s, siblings);
    case Value::Kind::kList:
      for (const Value& item : v.items) {
        if (item.kind == Value::Kind::kStruct) {
          if (!BindPointee(item, d, s, siblings)) return false;
        } else if (!BindScalar(item, {})) {
          return false;
        }
      }
      return true;
    default:
      return BindScalar(v, d.names);
  }
}

bool ValueBinder::BindPointee(const Value& v, const desc_field& d,
                              const desc_struct& s,
                              const std::vector<Field>& siblings) {
  const desc_struct* pointee = ChoosePointee(d, s, siblings, v);
  if (pointee != nullptr) return BindStruct(v, *pointee);
  return Fail(v.pos,
              std::string("no struct is known for what '") + d.name +
                  "' points to here",
              "a string of bytes, a list of bytes or out(n)");
}

}  // namespace prog
