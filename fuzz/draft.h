// SPDX-License-Identifier: GPL-2.0-or-later
//
// A program that is being written: its lines so far, what they have made, and
// who makes things that a later line needs.
#pragma once

#include <string>
#include <vector>

#include "fuzz/dice.h"
#include "fuzz/generator.h"
#include "fuzz/scope.h"
#include "prog/calls.h"
#include "prog/prog.h"
#include "uapi/iommufd_desc.h"

namespace fuzz {

class Draft {
 public:
  Draft(Random& random, const GeneratorOptions& options, Scope scope,
        std::vector<prog::Line>* lines)
      : r(random), options(options), scope(std::move(scope)), lines_(lines) {}

  // Writes the call. It may get an injected failure, a thread or a process, if
  // the options say so. True: it got a failure.
  bool Emit(prog::Call call);
  // The same call once more, as it is.
  void EmitAgain(const prog::Call& call) { Put(call); }
  size_t size() const { return lines_->size(); }
  // No room for what is only nice to have.
  bool Full() const { return size() > options.max_calls + 8; }

  Forms form() const { return scope.FormOf(fd); }

  // A name of such an object on the descriptor in hand, or of one elsewhere
  // where that has none; mostly made with `flags`. Empty: there is none.
  std::string Find(desc_object object, bool is_fd, uint64_t flags);

  Random& r;
  const GeneratorOptions& options;
  Scope scope;
  std::string fd;  // the context in hand
  int depth = 0;   // of things that are made for others

 private:
  void Put(prog::Call call);
  void AsSomebody(prog::Call* call);

  std::vector<prog::Line>* lines_;
};

// Makes what a value needs.
class Maker {
 public:
  virtual ~Maker() = default;
  // Writes calls that make such an object on the descriptor in hand. Its name,
  // or empty.
  virtual std::string Make(desc_object object, bool is_fd, uint64_t flags) = 0;
  // The same for what no ioctl makes. Empty: it could not.
  virtual std::string MakeBuiltin(prog::Makes makes) = 0;
  // A mapping on the descriptor in hand. False: there is none.
  virtual bool MakeMapping() = 0;
};

}  // namespace fuzz
