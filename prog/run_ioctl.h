// SPDX-License-Identifier: GPL-2.0-or-later
//
// A described ioctl: its struct and what its pointers point to from the
// program's literals, and back into outputs.
#pragma once

namespace prog {

class CallFrame;

// See RunStatement.
bool RunIoctl(CallFrame* f);

}  // namespace prog
