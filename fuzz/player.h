// SPDX-License-Identifier: GPL-2.0-or-later
//
// Writes recipes, or as much of one as a line of it needs, into a draft. What
// the draft has already is used again where it is of the same making.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "fuzz/draft.h"
#include "fuzz/recipes.h"

namespace fuzz {

class Player {
 public:
  Player(Draft* draft, Maker* maker) : draft_(*draft), maker_(*maker) {}

  // All of it.
  void Play(const Recipe& recipe);
  // The line with what it needs before it.
  void PlayLine(const RecipePlace& place);

 private:
  // Names of the recipe, and what they are in the draft.
  using Names = std::map<std::string, std::string>;

  Random& r() { return draft_.r; }
  // Which lines are written: `wanted` of them and all that these need. What
  // need not be written is in *names.
  std::set<size_t> Choose(const Recipe& recipe, std::set<size_t> wanted,
                          size_t end, uint64_t again, Names* names);
  // Finds a call of the draft that made what `line` makes, of the same things.
  bool FindSame(const Recipe& recipe, const RecipeLine& line, Names* names);
  bool IsSame(const Recipe& recipe, const RecipeLine& line,
              const prog::Call& made, Names* names);
  void Write(const RecipeLine& line, uint64_t shift, Names* names);
  void Vary(const RecipeLine& line, uint64_t shift, prog::Call* call);

  Draft& draft_;
  Maker& maker_;
};

}  // namespace fuzz
