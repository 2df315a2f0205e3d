// SPDX-License-Identifier: GPL-2.0-or-later
//
// Results and expected values as a person reads them.
#pragma once

#include <cstdint>
#include <string>

#include "uapi/iommufd_desc.h"

namespace prog {

// A value of a field; nullptr: of none.
std::string FieldText(const desc_field* field, uint64_t value);
// The first bytes, quoted.
std::string BytesText(const std::string& bytes);

}  // namespace prog
