// SPDX-License-Identifier: GPL-2.0-or-later
//
// The kernel's structs and constants that a C program uses. What the kernel's
// own headers for programs lack (the mock's, which are in the kernel's source
// only) is written out from the descriptions.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "uapi/iommufd_desc.h"

namespace repro {

// Texts of the headers as this tree has them, which have all forms' names.
extern const char kIommufdHeader[];
extern const char kVfioHeader[];

class Types {
 public:
  explicit Types(uint8_t form) : form_(form) {}

  void UseCommand(const desc_ioctl& desc);
  void UsePointee(const desc_struct& s);

  // "mock_domain.out_idev_id"; empty: C has no name for it.
  std::string MemberOf(const desc_struct& s, const desc_field& f,
                       bool command) const;
  // The number that ioctl() takes, as C writes it.
  static std::string NumberOf(const desc_ioctl& desc);

  bool uses_vfio() const { return uses_vfio_; }
  bool uses_mock() const { return !ops_.empty(); }
  // Structs and constants that the headers lack.
  std::string Definitions() const;

 private:
  void UseStruct(const desc_struct& s, bool command);

  const uint8_t form_;
  bool uses_vfio_ = false;
  std::map<uint32_t, const desc_ioctl*> ops_;
  // Each own struct with all descriptions of it: a command's with one for an
  // op.
  std::map<std::string, std::map<const desc_struct*, bool>> own_;
};

}  // namespace repro
