// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory as a model sees it: by physical address, with no pin and no mapping of its own. No kernel
 * counterpart. What is no memory, or memory that nobody owns at the moment, answers with an
 * external abort (false), whatever the address.
 */
#pragma once

#include "core/linux/kernel.h"
#include "core/mm/mm.h"

/* @len bytes from @pa on; false: some of it aborted, and @buf is undefined. */
bool hw_mem_read(struct kernel *k, phys_addr_t pa, void *buf, size_t len);
bool hw_mem_write(struct kernel *k, phys_addr_t pa, const void *buf, size_t len);

/* An aligned 64-bit word, in one piece. */
bool hw_mem_read64(struct kernel *k, phys_addr_t pa, u64 *val);
/*
 * *@done: the word was @old and is @val now. Not in one piece on a page of the host process, which
 * may be written there by others at the same time.
 */
bool hw_mem_cmpxchg64(struct kernel *k, phys_addr_t pa, u64 old, u64 val, bool *done);
