// SPDX-License-Identifier: GPL-2.0-or-later
//
// The forms of the surface by their names, and programs that are for several.
//
//   f = open(uapi=vcmdq-v2|hw-queue)
//   vcmdq-v2: q = VCMDQ_ALLOC(f, viommu_id=v, ...)
//   hw-queue: q = HW_QUEUE_ALLOC(f, viommu_id=v, ...)
//   VDEVICE_ALLOC(f, ...)                              # ok, hw-queue: EEXIST
//
// Such a text is a program for each form that its open() names. ForForm() makes
// that program of it, and all else (Bind(), Run(), Minimize()) takes programs
// for one form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "prog/prog.h"
#include "uapi/iommufd_desc.h"

namespace prog {

// DESC_VCMDQ_V2 for "vcmdq-v2", and so on (desc_revisions); 0: no such name.
uint8_t RevisionByName(std::string_view name);
// Of those in the mask.
std::vector<std::string> RevisionNames(uint8_t revisions = DESC_ALL);

// All, the default first, with what each is: lines for a help text.
std::string FormsHelp();

// The forms that the program's open()s list, in their order; when none lists
// more than one, the form of the first open(), or else the default. False and
// *error: two lists differ, or an expectation or a line is for a form that the
// program is not for.
[[nodiscard]] bool FormsOf(const Program& program,
                           std::vector<std::string>* forms, Error* error);

// The program as it is for `form`: with its lines and its expectations, and
// each open() that lists forms gives it. Places in the text stay.
Program ForForm(const Program& program, std::string_view form);

}  // namespace prog
