// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/printk.h and ratelimit.h, Linux v7.2. CUSTOMISED: lines go to the ring of
// current's kernel, none to a console (kernel_options::log_to_stderr copies them). A ratelimited
// line is printed 10 times per place, then counted only: there is no clock.
#pragma once

#include "core/linux/lockdep_types.h"

struct kernel;
struct task_struct;

enum log_level : u8 {
	LOGLEVEL_EMERG,
	LOGLEVEL_ALERT,
	LOGLEVEL_CRIT,
	LOGLEVEL_ERR,
	LOGLEVEL_WARNING,
	LOGLEVEL_NOTICE,
	LOGLEVEL_INFO,
	LOGLEVEL_DEBUG
};

// To current's kernel. Cut at 4096 bytes; a trailing newline is dropped.
void printk(enum log_level level, const char *fmt, ...) __printf(2, 3) __cold;
// False when this place has printed its share.
bool printk_ratelimit(const src_loc &where = src_loc::current()) __cold;
bool kernel_printk_ratelimit(struct kernel *k, const src_loc &where = src_loc::current()) __cold;
// As printk(), from where no task is current.
void kernel_printk(struct kernel *k, enum log_level level, const char *fmt, ...)
	__printf(3, 4) __cold;

#define pr_crit(...) printk(LOGLEVEL_CRIT, __VA_ARGS__)
#define pr_err(...)  printk(LOGLEVEL_ERR, __VA_ARGS__)
#define pr_warn(...) printk(LOGLEVEL_WARNING, __VA_ARGS__)
#define pr_info(...) printk(LOGLEVEL_INFO, __VA_ARGS__)
// Formatted only when kernel_options::log_debug.
#define pr_debug(...) printk(LOGLEVEL_DEBUG, __VA_ARGS__)
#define pr_warn_ratelimited(...) \
	(void)(printk_ratelimit() && (printk(LOGLEVEL_WARNING, __VA_ARGS__), true))
