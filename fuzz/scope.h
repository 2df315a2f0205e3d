// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a program has at some line: the descriptors, objects, memory and
// mappings that the calls before it made, as far as the text shows it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/machine.h"
#include "prog/prog.h"
#include "uapi/iommufd_desc.h"

namespace fuzz {

// A mask of forms of the surface (enum desc_revision).
using Forms = uint8_t;

// An object, by its id or by a descriptor.
struct Thing {
  std::string name;  // "ioas0", "dev0.idev"
  desc_object object = desc_object::NONE;
  bool is_fd = false;
  std::string owner;   // the descriptor that it was made on
  uint64_t flags = 0;  // that the call which made it had
};

// A descriptor that is no object.
struct File {
  enum class Kind : uint8_t { kContext, kDevice, kMemory };
  std::string name;
  Kind kind;
  Forms form = 0;  // of a context
};

struct Memory {
  std::string name;
  uint64_t bytes;
};

struct Mapping {
  std::string owner;  // the descriptor
  std::string ioas;
  uint64_t iova;
  uint64_t length;
};

class Scope {
 public:
  // Adds what `call` makes.
  void Note(const prog::Call& call);
  // Takes the name, so that Fresh() does not give it.
  void Reserve(const std::string& name) { names_.insert(name); }
  std::string Fresh(std::string_view stem);

  // The form of the context behind a name; the default form where it is none.
  Forms FormOf(std::string_view fd) const;
  // The call that gave the name; nullptr: there is none.
  const prog::Call* MakerOf(std::string_view result) const;
  const File* FindFile(std::string_view name) const;
  // The description that an ioctl's name means on its descriptor; nullptr: it
  // is no ioctl, or none that the form has.
  const desc_ioctl* DescOf(const prog::Call& call) const;

  const MachineKind* machine = &DefaultMachine();
  std::vector<Thing> things;
  std::vector<File> files;
  std::vector<Memory> memory;
  std::vector<std::string> mmaps;
  std::vector<Mapping> mappings;
  std::vector<std::string> processes;
  std::vector<std::string> threads;
  std::vector<prog::Call> makers;  // calls with a result, in order

 private:
  void NoteIoctl(const prog::Call& call, const desc_ioctl& d);
  void NoteMapping(const prog::Call& call, const desc_ioctl& d);

  std::string container_;  // the IOAS of VFIO's calls
  std::set<std::string> names_;
};

// What is there before line `line`. The names of the whole program are taken.
Scope ScopeUpTo(const prog::Program& program, size_t line);

// The flags of an ioctl that are written as constants.
uint64_t FlagsOf(const prog::Call& call, const desc_ioctl& d);
// The value of a field that the call gives as a constant; otherwise the
// default.
uint64_t ConstantOf(const prog::Call& call, const desc_field& f);

// Does a call of it map memory at an I/O address?
bool MapsMemory(const desc_ioctl& d);

// All outputs by which an ioctl's results are known.
struct MadeObject {
  const desc_field* field;  // nullptr: the result of the call
  desc_object object;
  bool is_fd;
  std::string path;  // behind the name of the result; empty: the name alone
};
std::vector<MadeObject> ObjectsOf(const prog::Call& call, const desc_ioctl& d);

}  // namespace fuzz
