// SPDX-License-Identifier: GPL-2.0-or-later
//
// A call between its two halves.
//
// Mirrors no kernel file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "prog/prog.h"
#include "prog/record.h"
#include "uapi/iommufd_desc.h"

namespace prog {

struct Recorder::PendingCall {
  RecordCaller caller;
  RecordFile file = 0;
  Call call;
  const desc_ioctl* desc = nullptr;
  bool raw = false;
  uint64_t arg = 0;
  std::string image;  // the struct as it was sent
  bool readable = true;
  bool apart = true;  // no buffer of the command covers its struct
  // What descriptors in the struct are: those that were sent from the
  // beginning on, those that came back from the end on.
  std::map<const desc_field*, RecordFile> fds;
  std::vector<size_t> unknown_fds;  // arguments that are a descriptor of none

  // What a pointer points to, when the kernel may write there.
  struct Buffer {
    const desc_field* field = nullptr;
    uint64_t addr = 0;
    std::string before;
    bool literal = false;  // the line has it, else memory of the process
    bool reads = false;    // the kernel reads it as well
    bool whole = true;     // all of it is memory
    bool trusted = true;   // the program will have what the kernel writes there
  };
  std::vector<Buffer> buffers;

  // A field's value as it was sent; 0: there is no such field.
  uint64_t Sent(std::string_view name) const {
    const desc_field* d = desc_find_field(*desc->arg, name);
    return d != nullptr ? desc_load(*d, image.data()) : 0;
  }
  // The file that a command names by a descriptor: there is one at most.
  RecordFile FileIn() const { return fds.empty() ? 0 : fds.begin()->second; }
};

namespace recording {
using PendingCall = Recorder::PendingCall;
}  // namespace recording

}  // namespace prog
