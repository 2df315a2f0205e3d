// SPDX-License-Identifier: GPL-2.0-or-later
//
// The standard library's headers first, with all of their names in scope.

// clang-format off: the order is the test
#include "tests/headers/std_headers.h"
#include "tests/headers/our_headers.h"
#include "tests/headers/words.h"
// clang-format on
