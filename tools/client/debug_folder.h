// SPDX-License-Identifier: GPL-2.0-or-later
//
// What stands for /sys/kernel/debug: folders that take what is written.
#ifndef TOOLS_CLIENT_DEBUG_FOLDER_H_
#define TOOLS_CLIENT_DEBUG_FOLDER_H_

#include <string>

namespace client {

// Inside `folder`, which exists. False: errno says why.
bool MakeDebugFolder(const std::string& folder);

}  // namespace client

#endif  // TOOLS_CLIENT_DEBUG_FOLDER_H_
