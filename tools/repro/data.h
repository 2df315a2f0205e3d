// SPDX-License-Identifier: GPL-2.0-or-later
//
// A struct literal with what its pointers point to, as declarations in C.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prog/run.h"
#include "tools/repro/context.h"
#include "tools/repro/types.h"
#include "uapi/iommufd_desc.h"

namespace repro {

// What a pointer field of a command points to.
struct Data {
  const desc_field* field = nullptr;
  const desc_struct* pointee = nullptr;  // nullptr: bytes, or known afterwards
  std::string variable;
  std::string bytes;     // how many
  std::string elements;  // of the pointee
  bool single = false;   // the variable is one struct, not the first of many
  bool typed = false;    // its type is the pointee's
  bool out = false;      // out(n)

  // "data.", "data[1].", "((struct iommu_test_hw_info *)data)[0]."
  std::string Element(const desc_struct& s, size_t index) const;
};

// A member and its value. Bytes that C has no name for have no member.
struct Initialiser {
  std::string member;
  std::string value;
  std::string remark;
  const desc_field* field = nullptr;
};

// "{ .size = sizeof(cmd), .check_map = { .iova = 1 } }" over several lines,
// each with `indent` before it. Bytes without a name are left out.
std::string PrintInitialisers(const std::vector<Initialiser>& list,
                              std::string_view indent);

class DataWriter {
 public:
  DataWriter(Context* context, Types* types, const prog::BoundCall& call)
      : context_(context), types_(types), call_(call) {}

  // The members of a literal of struct `s`, from argument `first` on. What
  // pointers point to is declared in declarations().
  std::vector<Initialiser> Struct(const desc_struct& s,
                                  const std::vector<prog::Field>& fields,
                                  size_t first, const desc_ioctl* command);

  const std::vector<std::string>& declarations() const { return lines_; }
  const std::vector<Data>& data() const { return data_; }

 private:
  struct Elements {
    std::string type;
    std::vector<std::string> values;  // initialisers
    std::string n;                    // how many, in C
    std::optional<uint64_t> bytes;
    size_t width = 1;  // bytes of one
    bool zero = false;
  };

  // The literal `v` behind pointer `d`; *data says what it is.
  Elements Encode(const desc_struct& s, const desc_field& d,
                  const std::vector<prog::Field>& fields, const prog::Value& v,
                  const std::string& image, Data* data);
  void Declare(const Elements& elements, const std::string& room, bool placed,
               Data* data);
  std::string NewVariable(const desc_field& d);

  Context* const context_;
  Types* const types_;
  const prog::BoundCall& call_;
  std::vector<std::string> lines_;
  std::vector<Data> data_;
};

bool IsData(const prog::Value& v);

}  // namespace repro
