// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/bug.h, Linux v7.2. CUSTOMISED: a WARN is a line in the kernel's log and one
// more in its warn_count; with kernel_options::panic_on_warn (the default) the process aborts after
// it. No caller of the surface may be able to reach one (R14).
#pragma once

#include "core/linux/printk.h"

// Both return true, so that WARN_ON() is the condition's value.
bool __warn(const char *cond, const src_loc &where = src_loc::current()) __cold;
// Only the first time that this kernel meets @where.
bool __warn_once(const char *cond, const src_loc &where = src_loc::current()) __cold;
bool __warn_fmt(const src_loc &where, const char *fmt, ...) __printf(2, 3) __cold;
[[noreturn]] void __bug(const char *cond, const src_loc &where = src_loc::current()) __cold;
// Counts a finding whose text is already in the log, and aborts when asked to.
void __warn_counted(struct kernel *k) __cold;

#define WARN_ON(cond)	     (unlikely(!!(cond)) && __warn(#cond))
#define WARN_ON_ONCE(cond)   (unlikely(!!(cond)) && __warn_once(#cond))
#define WARN(cond, ...)	     (unlikely(!!(cond)) && __warn_fmt(src_loc::current(), __VA_ARGS__))
#define WARN_ONCE(cond, ...) WARN(cond, __VA_ARGS__)
#define BUG_ON(cond)	     ((void)(unlikely(!!(cond)) && (__bug(#cond), true)))
#define BUG()		     __bug("BUG")
