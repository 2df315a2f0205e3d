// SPDX-License-Identifier: GPL-2.0-or-later
//
// Writes calls into a draft: from descriptions, from rows of statements, from
// recipes.
#pragma once

#include <string>
#include <vector>

#include "fuzz/draft.h"
#include "fuzz/player.h"
#include "fuzz/recipes.h"
#include "fuzz/values.h"
#include "prog/calls.h"

namespace fuzz {

class Writer : public Maker {
 public:
  Writer(Random& random, const GeneratorOptions& options, Scope scope,
         std::vector<prog::Line>* lines)
      : draft_(random, options, std::move(scope), lines),
        player_(&draft_, this) {}

  // The machine, the first line of a program.
  void Machine(const MachineKind& kind);
  // A context to work on.
  void Open();
  // A whole recipe.
  void Recipe();
  // One more call, with what it needs before it.
  void Something();

  // Another value for a field or an argument of `call`, which is in the scope.
  // False: it stays as it is. Calls that the value needs are written.
  bool Another(const prog::Call& call, prog::Field* out);

  std::string Make(desc_object object, bool is_fd, uint64_t flags) override;
  std::string MakeBuiltin(prog::Makes makes) override;
  bool MakeMapping() override;

 private:
  Random& r() { return draft_.r; }
  void TakeContext();
  bool FitsHere(const desc_ioctl& d);
  std::string ContextFor(const desc_ioctl& d);
  const desc_ioctl* RandomIoctl();
  void Ioctl(const desc_ioctl& d);
  bool WriteStatement(const prog::BuiltinSpec& s);
  bool Allowed(const prog::BuiltinSpec& s);
  void RandomStatement();
  void RandomLine();

  Draft draft_;
  Player player_;
};

}  // namespace fuzz
