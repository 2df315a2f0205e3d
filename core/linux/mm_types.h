// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors the part of include/linux/mm_types.h that core/linux needs, Linux v7.2. CUSTOMISED: an
// address space is known here only by how user memory is reached; core/mm derives the real ones.
#pragma once

#include "core/linux/types.h"

struct kernel;
struct mm_struct;

// Each returns how many bytes could not be copied (cleared): 0 is success. @addr is any number that
// a caller passed.
struct mm_user_ops {
	size_t (*copy_from_user)(struct mm_struct *mm, void *dst, u64 addr, size_t n);
	size_t (*copy_to_user)(struct mm_struct *mm, u64 addr, const void *src, size_t n);
	size_t (*clear_user)(struct mm_struct *mm, u64 addr, size_t n);
};

struct mm_struct {
	const struct mm_user_ops *user_ops = nullptr;
	struct kernel *kernel = nullptr;
};
