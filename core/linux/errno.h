// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/errno.h, Linux v7.2. MIRRORED: the numbers that stay inside the kernel.
// None of them may leave a system call: the boundary turns ENOIOCTLCMD into ENOTTY.
#pragma once

#include <cerrno>

#define ERESTARTSYS  512
#define ENOIOCTLCMD  515
#define EPROBE_DEFER 517
#ifndef ENOTSUPP
#define ENOTSUPP 524
#endif
#define MAX_ERRNO 4095

// "EINVAL" for -EINVAL or EINVAL; "E?" for a number that has no name here.
const char *errname(int err);
