// SPDX-License-Identifier: GPL-2.0-or-later
// A command built from its description: the size, IOMMU_TEST_CMD's op and the
// default values are there, the other fields are zero.
//
//   Cmd cmd("VIOMMU_ALLOC");
//   cmd.Set("dev_id", idev).Set("hwpt_id", parent).Set("type", 0xdeadbeef);
//   EXPECT_EQ(m.Ioctl(&cmd), 0);
//   viommu = cmd.Get("out_viommu_id");
//
// A name that no description has fails the test, says which there are, and
// leaves the command as it was.
#ifndef TESTS_UTIL_CMD_H_
#define TESTS_UTIL_CMD_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "uapi/iommufd_desc.h"

namespace iommulab {

class Cmd {
 public:
  // `revisions`: which forms' command, where several have the name.
  explicit Cmd(std::string_view name, uint8_t revisions = DESC_ALL);

  // Names are the descriptions': the kernel's, "__reserved2" for an array's
  // third element.
  Cmd& Set(std::string_view field, uint64_t value);
  uint64_t Get(std::string_view field) const;

  // What the system call takes: data() is size() bytes, which is the size that
  // the command itself says unless a test sets another.
  unsigned long nr() const { return desc_ != nullptr ? desc_->cmd : 0; }
  void* data() { return image_.data(); }
  const void* data() const { return image_.data(); }
  size_t size() const { return image_.size(); }

 private:
  // nullptr, and the test has failed, when there is none.
  const desc_field* Find(std::string_view field) const;

  const desc_ioctl* desc_ = nullptr;
  std::vector<unsigned char> image_;
};

}  // namespace iommulab

#endif  // TESTS_UTIL_CMD_H_
