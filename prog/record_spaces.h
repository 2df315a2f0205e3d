// SPDX-License-Identifier: GPL-2.0-or-later
//
// What I/O address spaces map, as the effects of commands (desc_effect) tell
// it: devices and accesses read and write memory there that no call names.
//
// Mirrors no kernel file.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "prog/record.h"
#include "prog/record_contents.h"
#include "prog/record_memory.h"
#include "prog/record_mirror.h"
#include "prog/record_pending.h"

namespace prog::recording {

class Spaces {
 public:
  Spaces(Mirror* mirror, Memory* memory, Contents* contents)
      : mirror_(mirror), memory_(memory), contents_(contents) {}

  // What is mapped for devices and accesses is looked at again by calls that
  // name no address: the memory there may be another by now.
  void Reconcile(RecordFile context);
  // What an access reads at iova is in the program's memory too, or it was
  // written there. False: that cannot be said of all of it.
  bool SyncAccess(RecordProcess p, RecordFile access, uint64_t iova,
                  uint64_t length, Was was);
  // The effect of a call that succeeded; `after` is the struct that came back.
  void Apply(const PendingCall& c, const std::string& after);

 private:
  // A piece of a space.
  struct Area {
    uint64_t length = 0;
    RecordProcess process = 0;
    uint64_t addr = 0;      // user memory
    RecordFile object = 0;  // or a memory file
    uint64_t offset = 0;
  };
  using Space = std::map<uint64_t, Area>;  // by iova
  struct Context {
    std::map<uint32_t, Space> spaces;  // by id
    uint32_t compat = 0;               // of commands that name none; 0: unknown
  };
  struct Access {
    RecordFile context = 0;
    uint32_t space = 0;
  };

  template <class F>
  static bool ForEachArea(const Space& space, uint64_t iova, uint64_t length,
                          F fn);
  static void Erase(Space* space, uint64_t iova, uint64_t length);

  Mirror* const mirror_;
  Memory* const memory_;
  Contents* const contents_;
  std::map<RecordFile, Context> contexts_;
  std::map<RecordFile, Access> accesses_;
};

}  // namespace prog::recording
