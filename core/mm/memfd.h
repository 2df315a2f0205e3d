// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors mm/memfd.c and memfd_pin_folios() of mm/gup.c, Linux v7.2. CUSTOMISED: a file of pages by
// index and nothing else (no seals, no names); pages of order 0, so memfd_pin_pages() stands for
// memfd_pin_folios().
#pragma once

#include "core/linux/err.h"
#include "core/linux/file.h"
#include "core/mm/vma.h"

// A file of @size bytes (rounded up to pages for its memory). With MFD_HUGETLB's behaviour when
// shape.huge. -ENOMEM, -EINVAL.
result<struct file *> memfd_create(size_t size, const struct mapping_shape &shape);
bool is_memfd(const struct file *file);
// What its pages look like.
const struct mapping_shape *memfd_shape(const struct file *file);
// Bytes.
size_t memfd_size(const struct file *file);
// Sets the size; pages beyond it go (pinned ones live on). -EINVAL when @file is no memfd.
int memfd_truncate(struct file *file, size_t size);

// Pins up to @npages pages from index @start on, allocating those that were never touched. Returns
// how many, or -errno: -EINVAL for no memfd or a page that its end is not behind, -EFAULT for a
// failed page, -ENOMEM. All or none, as the kernel's does it. Compare memfd_pin_folios().
long memfd_pin_pages(struct file *file, unsigned long start, unsigned long npages,
		     struct page **pages);

// Copies at a byte offset of the file, past any mapping. -EFAULT beyond the end. The data side of
// read(2) and write(2).
int memfd_read(struct file *file, size_t offset, void *to, size_t len);
int memfd_write(struct file *file, size_t offset, const void *from, size_t len);
