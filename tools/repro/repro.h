// SPDX-License-Identifier: GPL-2.0-or-later
//
// A program as a C program for a real /dev/iommu, which depends on nothing of
// this tree: libc and the kernel's own headers.
//
// Mirrors no kernel file.
#pragma once

#include <string>
#include <string_view>

#include "prog/prog.h"

namespace repro {

struct Options {
  std::string file;  // the program's, for the comment at the top
  // Of open() without uapi=, and of programs that are for several.
  std::string form;
  // Forms and commands that no release has are translated, too.
  bool force = false;
};

struct Translation {
  std::string c;
  std::string form;       // that the kernel must have
  prog::Program program;  // as it is for that form
};

// The form of the newest release: the first of desc_revisions that is one.
std::string NewestRelease();

// False and *error where the program is wrong or asks for what a real kernel
// with the mock cannot do; the error names the place.
[[nodiscard]] bool Translate(const prog::Program& program,
                             const Options& options, Translation* out,
                             prog::Error* error);

}  // namespace repro
