// SPDX-License-Identifier: GPL-2.0-or-later
//
// Pieces of the lines that the recorder writes.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "prog/prog.h"
#include "prog/record.h"
#include "uapi/iommufd_desc.h"

namespace prog::recording {

// Results that a line expects byte by byte, or element by element; of longer
// ones it has a hash.
inline constexpr size_t kMaxExpectedBytes = 64;
inline constexpr size_t kMaxExpectedElements = 64;

// As a size is written: 64k.
Value Size(uint64_t n);
Value MinusOne();
Value Plus(Value v, uint64_t offset);
// Bits by name, the others as a number.
Value Flags(uint64_t n, std::span<const desc_name> names);
// By name where the field's values have names.
Value Named(const desc_field& d, uint64_t n);

void AddArg(Call* call, std::string_view name, Value value);
void AddFailNth(Call* call, const RecordCaller& caller);
// What memory is made of, as anon() and memfd() take it.
void AddShape(Call* call, bool huge, bool fragmented, bool poisoned);

void ExpectOutput(Call* call, std::string_view path, Value value);
// Of read() and load().
void ExpectBytes(Call* call, const std::string& bytes);

}  // namespace prog::recording
