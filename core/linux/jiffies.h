// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/jiffies.h, Linux v7.2. CUSTOMISED: HZ is 1000; there is no clock to read,
// only lengths of time.
#pragma once

#include <climits>

#define MAX_SCHEDULE_TIMEOUT LONG_MAX

static inline constexpr unsigned long msecs_to_jiffies(unsigned int ms)
{
	return ms;
}

static inline constexpr unsigned int jiffies_to_msecs(unsigned long j)
{
	return (unsigned int)j;
}
