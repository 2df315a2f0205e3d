// SPDX-License-Identifier: GPL-2.0-or-later
//
// Data behind the pointers of commands: how much there is, and how it stands in
// a line.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "prog/prog.h"
#include "prog/record_pending.h"
#include "uapi/iommufd_desc.h"

namespace prog::recording {

bool AllZero(std::string_view bytes);

// How many bytes the command says are behind the pointer; of an array also the
// bytes of an element and the count.
uint64_t BytesBehind(const PendingCall& c, const desc_struct& s,
                     const desc_field& d, uint64_t* element, uint64_t* count);

// The data as it stands in a line. nullopt: it is too long for that, or cannot
// be said.
std::optional<Value> Literal(const desc_field& d, const desc_struct* pointee,
                             const std::string& bytes, uint64_t element,
                             uint64_t count, bool reads, bool writes);

}  // namespace prog::recording
