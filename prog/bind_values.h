// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the names in a value mean: earlier calls' results, constants, fields of
// structs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prog/run.h"
#include "uapi/iommufd_desc.h"

namespace prog {

// The names that one call's results have.
struct Definition {
  size_t call = 0;
  bool value = false;              // the name alone means something
  std::set<std::string> outputs;   // what may follow, without indices
  std::vector<std::string> shown;  // the same for messages, in order
  uint8_t revision = 0;            // open(): the form of the descriptor
  bool process = false;            // fork()
  bool exited = false;             // and the process has ended
};

// "a.b" of "a[1].b".
std::string WithoutIndices(std::string_view path);
// The first of them, for a message.
std::string Join(const std::vector<std::string>& names);

// Each Bind...() is false and *error at the first name that means nothing.
class ValueBinder {
 public:
  ValueBinder(BoundProgram* bound, Error* error)
      : bound_(bound), error_(error) {}

 protected:
  bool Fail(Pos pos, std::string message, std::string expected);
  // A name that is not among `names`.
  bool FailName(Pos pos, std::string message, std::string_view name,
                const std::vector<std::string>& names);

  bool BindRef(const Value& v);
  static std::string Prefixed(const std::string& name,
                              const std::vector<std::string>& outputs);
  // A value that is one number.
  bool BindScalar(const Value& v, std::span<const desc_name> names);
  bool BindStruct(const Value& v, const desc_struct& s);
  // A value for a field of a struct: a number, or data where it is a pointer.
  bool BindField(const Value& v, const desc_field& d, const desc_struct& s,
                 const std::vector<Field>& siblings);
  bool BindPointee(const Value& v, const desc_field& d, const desc_struct& s,
                   const std::vector<Field>& siblings);

  BoundProgram* bound_;
  Error* error_;
  BoundCall* current_ = nullptr;
  std::map<std::string, Definition> names_;
};

}  // namespace prog
