// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/lockdep_types.h, Linux v7.2. CUSTOMISED: the class of a lock is a constant
// named by its owning type and member in the declaration, LOCK_CLASS(iommufd_ioas, mutex), so every
// lock has one and it costs one word.
#pragma once

#include <source_location>

#include "core/linux/types.h"

using src_loc = std::source_location;

struct lock_class_key {
	const char *name;
};

template <size_t N> struct __lock_class_name {
	char text[N];
	constexpr __lock_class_name(const char (&s)[N])
	{
		for (size_t i = 0; i < N; i++)
			text[i] = s[i];
	}
};
template <__lock_class_name name> inline constexpr lock_class_key __lock_class = {name.text};

// The class of the locks that live in @owner's @member.
#define LOCK_CLASS(owner, member) (&__lock_class<#owner "." #member>)

struct lockdep_map {
	const lock_class_key *key;
};

enum lock_mode : u8 { LOCK_EXCLUSIVE, LOCK_SHARED };
enum lock_kind : u8 { LOCK_SLEEPS, LOCK_SPINS };

// One lock that a task holds; or several of one class that were taken one after another under a
// lock that orders them, which are told apart no further: then @map is the first one.
struct held_lock {
	const struct lockdep_map *map;
	src_loc where;
	u16 class_idx;
	u8 subclass;
	lock_mode mode;
	lock_kind kind;
	u32 more = 0; // locks of the class beside one
	bool several = false;
};

#define MAX_LOCK_DEPTH 48
