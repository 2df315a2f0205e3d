// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the parts of the translation share: the program, the form that it is
// translated for, the names of its values in C, what the C program needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prog/run.h"
#include "uapi/iommufd_desc.h"

namespace repro {

// The C variables that hold what calls result in: members of one struct, so
// that all processes of a program have them. Only what a later call uses has
// one.
class Names {
 public:
  explicit Names(const prog::BoundProgram& bound);

  struct Wanted {
    std::string path;  // of the output; "" is the result, kBytes its length
    std::string member;
  };
  static constexpr std::string_view kBytes = "#bytes";

  // What later calls want of the call at `index`.
  const std::vector<Wanted>& WantedOf(size_t index) const;
  // "v->dev_idev"; of a value that nobody wants it is empty.
  std::string Of(size_t index, std::string_view path) const;
  // "struct values { ... };" and its variable; empty when there are none.
  std::string Declaration() const;

 private:
  void WalkCall(const prog::BoundCall& call);
  void WalkValue(const prog::BoundCall& call, const prog::Value& value);
  void Want(size_t index, const std::string& name, const std::string& path);

  std::map<size_t, std::vector<Wanted>> wanted_;
  std::vector<std::string> members_;  // in order
  std::set<std::string> taken_;
};

// The pieces of support/ that a C program needs.
enum class Part : uint8_t {
  kEquals,
  kEqualBytes,
  kHash,
  kAnon,
  kAccess,
  kPlace,
  kFailNth,
  kFork,
  kMemfd,
  kMap,
};

// A number in C.
struct Expression {
  std::string text;               // "v->buf + 0x1000"
  std::optional<uint64_t> known;  // when it depends on no call
  std::string remark;  // how the program writes it, when that differs
};

class Context {
 public:
  Context(const prog::BoundProgram& program, uint8_t form)
      : bound(program), form_bit(form), names(program) {}

  // The first mistake counts.
  void Fail(prog::Pos pos, std::string message, std::string expected = "");
  bool failed() const { return !error.message.empty(); }

  // `width` bytes of it: constants are cut to them.
  Expression Number(const prog::BoundCall& call, const prog::Value& value,
                    std::span<const desc_name> constants, unsigned width = 8);

  const prog::BoundProgram& bound;
  const uint8_t form_bit;  // enum desc_revision
  Names names;
  std::set<Part> parts;
  prog::Error error;
};

// The call that makes the name `value.text`, seen from `call`.
size_t DefinitionOf(const prog::BoundCall& call, std::string_view name);

// 0x1000; small ones decimal.
std::string CNumber(uint64_t n);
// A string literal of these bytes, with its quotes.
std::string CString(std::string_view bytes);

}  // namespace repro
