// SPDX-License-Identifier: GPL-2.0-or-later
//
// Is a result what the program expects?
#pragma once

namespace prog {

class CallFrame;

// Sets result()->expected, or result()->why.
void Check(CallFrame* f);

}  // namespace prog
