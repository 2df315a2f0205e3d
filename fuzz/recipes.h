// SPDX-License-Identifier: GPL-2.0-or-later
//
// Recipes: programs that succeed (recipes/*.prog), which teach a generator how
// to get somewhere. Each is an ordinary program that `./lab run` runs. What a
// generator may change is said in a line's comment, behind its expectation:
//
//   ?index    mostly another value, one that the field's description allows
//   maybe     the line is left out sometimes
//   x4        the line is there once, or up to four times
//
// A recipe is for the machine that its machine(...) says, and for the forms of
// the surface that have all its calls, or that its open() names.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/machine.h"
#include "fuzz/scope.h"
#include "prog/prog.h"
#include "uapi/iommufd_desc.h"

namespace fuzz {

struct RecipeLine {
  prog::Call call;
  const desc_ioctl* desc = nullptr;  // of an ioctl
  std::set<std::string> holes;       // names of fields
  bool maybe = false;
  uint64_t times = 1;
  std::set<std::string> uses;     // names of results
  std::vector<MadeObject> makes;  // of an ioctl
  uint64_t flags = 0;             // of an ioctl
};

struct Recipe {
  std::string name;
  std::string text;
  const MachineKind* machine = nullptr;
  Forms forms = 0;
  std::vector<RecipeLine> lines;  // without machine(...)
};

// All, in order of their names.
std::span<const Recipe> Recipes();

// A line of a recipe.
struct RecipePlace {
  const Recipe* recipe;
  size_t line;
};

// The lines, of recipes for that machine and form, that make such an object.
std::vector<RecipePlace> MakersOf(const MachineKind& machine, Forms form,
                                  desc_object object, bool is_fd,
                                  uint64_t flags);

// The constants and strings that recipes for a machine have for a field.
const std::vector<prog::Value>& KnownValues(const MachineKind& machine,
                                            std::string_view call,
                                            std::string_view field);

// Do programs for that machine have a use for the call? All but those that
// only recipes for other machines have.
bool IsOffered(const MachineKind& machine, std::string_view call);

}  // namespace fuzz
