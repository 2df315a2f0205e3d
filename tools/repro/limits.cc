// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/repro/limits.h"

#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "prog/calls.h"
#include "prog/prog.h"
#include "uapi/iommufd_desc.h"

namespace repro {
namespace {

constexpr std::string_view kPaths[] = {"/dev/iommu", "/dev/vfio/vfio"};

// What machine(...) says of the process, not of the machine.
constexpr std::string_view kMemlock = "memlock";
constexpr std::string_view kPrivileged = "privileged";
constexpr std::string_view kUser = "uid";

// Shapes of memory.
struct Shape {
  std::string_view name;
  std::string_view why;
};
constexpr Shape kShapes[] = {
    {"fragmented",
     "which pages are neighbours in physical memory is the kernel's to say"},
    {"poisoned", "poisoned pages are lost to a real machine until it reboots"},
};

bool CheckCall(const prog::BoundCall& bound, prog::Error* error) {
  const prog::Call& call = *bound.call;
  for (const prog::Field& arg : call.args) {
    if (bound.builtin == prog::Builtin::kOpen && arg.name == "path") {
      bool known = false;
      for (const std::string_view path : kPaths) {
        known = known || arg.value.text == path;
      }
      if (known) continue;
      *error = {arg.pos,
                absl::StrCat("what '", arg.value.text,
                             "' is depends on the real machine"),
                absl::StrCat(kPaths[0], " or ", kPaths[1])};
      return false;
    }
    if (bound.builtin == prog::Builtin::kOpen && arg.name == "uapi" &&
        prog::RevisionByName(arg.value.text) == 0) {
      *error = {arg.pos,
                "a real kernel has one form, and open() does not name it", ""};
      return false;
    }
    if (bound.builtin != prog::Builtin::kAnon &&
        bound.builtin != prog::Builtin::kMemfd) {
      continue;
    }
    for (const Shape& shape : kShapes) {
      if (arg.name == shape.name &&
          prog::StaticValue(arg.value, {}).value_or(arg.value.text == "true") !=
              0) {
        *error = {arg.pos, absl::StrCat(shape.name, ": ", shape.why), ""};
        return false;
      }
    }
  }
  return true;
}

}  // namespace

bool FormOf(const prog::BoundProgram& bound, uint8_t form, bool force,
            uint8_t* out, prog::Error* error) {
  *out = 0;
  for (const prog::BoundCall& call : bound.calls) {
    if (call.builtin != prog::Builtin::kIoctl) continue;
    if (*out != 0 && call.revision != *out) {
      *error = {call.call->pos,
                absl::StrCat(
                    "this call is for ", desc_revision_name_of(call.revision),
                    " and those before it for ", desc_revision_name_of(*out),
                    ": a real kernel has one form"),
                ""};
      return false;
    }
    *out = call.revision;
    if (force) continue;
    if (!(call.revision & DESC_RELEASES)) {
      *error = {call.call->pos,
                absl::StrCat("no release of Linux has the form ",
                             desc_revision_name_of(call.revision)),
                "a program for a release, or --force"};
      return false;
    }
    if (!(call.desc->revisions & call.revision)) {
      *error = {call.call->pos,
                absl::StrCat(desc_revision_name_of(call.revision),
                             " has no command ", call.desc->name),
                "a program for a release, or --force"};
      return false;
    }
  }
  if (*out == 0) *out = form;
  return true;
}

ProcessLimits ProcessLimitsOf(const prog::BoundProgram& bound) {
  ProcessLimits limits;
  for (const prog::MachineOption& option : bound.machine) {
    if (option.key == kPrivileged) limits.privileged = option.value != "0";
    uint64_t bytes;
    if (option.key == kMemlock && absl::SimpleAtoi(option.value, &bytes)) {
      limits.memlock = bytes;
    }
  }
  return limits;
}

bool CheckLimits(const prog::BoundProgram& bound, prog::Error* error) {
  for (const prog::MachineOption& option : bound.machine) {
    if (option.key == kPrivileged || option.key == kMemlock ||
        option.key == kUser) {
      continue;
    }
    *error = {option.pos,
              absl::StrCat("the mock of a real kernel cannot be asked for ",
                           option.key, "=", option.value),
              "a program for the machine that there is without machine(...)"};
    return false;
  }
  for (const prog::BoundCall& call : bound.calls) {
    if (!CheckCall(call, error)) return false;
  }
  return true;
}

}  // namespace repro
