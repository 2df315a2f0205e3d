// SPDX-License-Identifier: GPL-2.0-or-later
//
// The product's headers, then the standard library's: no macro of ours gets
// into those. What else somebody includes comes in any order.

// clang-format off: the order is the test
#include "tests/headers/our_headers.h"
#include "tests/headers/std_headers.h"
#include "tests/headers/words.h"
// clang-format on
