// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A bitmap in user memory with one bit for each page_size bytes of an IOVA range.
 *
 * Mirrors include/linux/iova_bitmap.h of Linux 7.2; the functions are in
 * core/iommufd/iova_bitmap.cc. It differs in this: nothing outside the range is ever written,
 * where the kernel lets a driver that records a large page set the bits behind the last one; and
 * the bits of one iova_bitmap_for_each() may reach the memory only at its end.
 */
#pragma once

#include "core/linux/err.h"
#include "core/linux/types.h"
#include "core/linux/uaccess.h"

struct iova_bitmap;

typedef int (*iova_bitmap_fn_t)(struct iova_bitmap *bitmap, unsigned long iova, size_t length,
				void *opaque);

/*
 * Bit n, which is bit n % 8 of byte n / 8 from data on (any address), stands for the page at iova +
 * n * page_size. Of a page_size that is no power of two the lowest bit counts; it is not 0. length
 * 0 is the whole space (with iova 0); iova + length - 1 does not wrap. Nothing is pinned yet.
 * -ENOMEM. The caller's address space is the one that data is in, until the free.
 */
result<struct iova_bitmap *> iova_bitmap_alloc(unsigned long iova, size_t length,
					       unsigned long page_size, user_inout<void> data);
/* Unpins. Bits that were set are in the memory afterwards. */
void iova_bitmap_free(struct iova_bitmap *bitmap);
/* fn with the range of the bitmap, once; returns what it returns. */
int iova_bitmap_for_each(struct iova_bitmap *bitmap, void *opaque, iova_bitmap_fn_t fn);
/*
 * Sets every bit whose page has a byte in [iova, iova + length). It cannot fail: where the memory
 * cannot be pinned for writing, the bits from there on are lost. May sleep.
 */
void iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova, size_t length);
