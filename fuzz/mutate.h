// SPDX-License-Identifier: GPL-2.0-or-later
//
// What mutations need of a program that is no longer whole.
#pragma once

#include "prog/prog.h"

namespace fuzz {

// Drops what means nothing, and calls that the form of their context does not
// have, until the rest binds. What other calls refer to may go with it, so they
// go too.
void Repair(prog::Program* program);

}  // namespace fuzz
