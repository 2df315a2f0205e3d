// SPDX-License-Identifier: GPL-2.0-or-later
//
// syzkaller's descriptions (syzlang, as its sys/linux/*.txt have it) of the
// commands of a form, from ours: a file that goes into its sys/linux in place
// of dev_iommu.txt, which lacks vIOMMUs, vDEVICEs, queues and their files.
#pragma once

#include <cstdint>
#include <string>

namespace syz {

// `form` is a bit of enum desc_revision.
std::string Describe(uint8_t form);

}  // namespace syz
