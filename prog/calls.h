// SPDX-License-Identifier: GPL-2.0-or-later
//
// What bind.cc and run.cc share: the table of the calls that are no ioctl with
// a description, constants, and the look-up of fields with their short names.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "prog/prog.h"
#include "prog/run.h"
#include "prog/run_statements.h"
#include "uapi/iommufd_desc.h"

namespace prog {

// What an argument is: decides what it takes, and what a generator puts there.
enum class ArgKind : uint8_t {
  kNumber,
  kFile,     // a descriptor
  kAddress,  // in memory that is there
  kPlace,    // where to make memory; 0: anywhere
  kSize,     // of what is made, in bytes
  kLength,   // of a part of it, in bytes
  kOffset,   // in a file, in bytes
  kTimeout,  // in milliseconds
  kCommand,  // the number of an ioctl
  kFailNth,  // the failure that is injected
  kForm,     // vcmdq-v2
  kPath,     // "/dev/iommu"
  kBool,     // true, false
  kData,     // an address, or the bytes themselves
  kRoom,     // an address that data comes to, or room for it
  kThread,   // a thread that an earlier call ran on
  kProcess,  // one that an earlier call forked
};

struct BuiltinArg {
  const char* name;
  ArgKind kind = ArgKind::kNumber;
  bool positional = false;
  bool required = false;
  std::span<const desc_name> names = {};
};

// What the result is, apart from its being a number.
enum class Makes : uint8_t {
  kNothing,
  kKernel,      // the machine, and the kernel on it
  kFile,        // a descriptor
  kMemoryFile,  // a descriptor of a memory file
  kMemory,      // an address of memory of the process's own
  kMapping,     // an address where a file is mapped
  kProcess,
};

struct BuiltinSpec {
  Builtin builtin;
  const char* name;
  bool has_value;  // `x = CALL(...)` makes x a number
  std::span<const BuiltinArg> args;
  RunStatement run;
  const char* synopsis;
  const char* summary;
  Makes makes = Makes::kNothing;
  bool ends = false;  // what the first argument names is gone then
};

std::span<const BuiltinSpec> BuiltinSpecs();
const BuiltinSpec* FindBuiltin(std::string_view name);

// Names of constants begin with a capital; all other words are variables.
bool IsVariable(std::string_view word);
std::span<const desc_name> GlobalConstants();  // PAGE_SIZE, U64_MAX, ...
std::span<const desc_name> PollNames();
// Among `names`, then among the global ones.
bool FindConstant(std::string_view name, std::span<const desc_name> names,
                  uint64_t* value);

std::string WordOf(const Value& v);

// "p1" and "t1" of "p1.t1"; without a dot the second is empty.
std::pair<std::string, std::string> SplitThread(const std::string& thread);

// FNV-1a: what `.hash` of loaded or read bytes is.
uint64_t HashOf(std::string_view bytes);

// A field by its name; a pointer's also without "_uptr".
const desc_field* FindField(const desc_struct& s, std::string_view name);
std::string_view PointerName(const desc_field& field);
std::vector<std::string> FieldNames(const desc_struct& s);

// The output that a call's bare name stands for: its only new id, else its only
// output; nullptr when it is not clear.
const desc_field* PrimaryOutput(const desc_ioctl& desc);

// A value that is the same wherever it stands: no variables in it.
std::optional<uint64_t> StaticValue(const Value& v,
                                    std::span<const desc_name> names);

// The struct for the literal `v` behind pointer `d`: the one that the selector
// says where that is a constant with a known variant, else the first that has
// all the literal's fields. A wrong selector with another type's data is a
// program worth writing. nullptr: none is known.
const desc_struct* ChoosePointee(const desc_field& d, const desc_struct& s,
                                 const std::vector<Field>& siblings,
                                 const Value& v);

}  // namespace prog
