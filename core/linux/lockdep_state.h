// SPDX-License-Identifier: GPL-2.0-or-later
//
// What lockdep remembers of one kernel. For lockdep.cc and kernel.cc alone. CUSTOMISED: see
// lockdep.h.
#pragma once

#include <atomic>
#include <vector>

#include "core/linux/lockdep_types.h"
#include "core/linux/raw_lock.h"

struct lockdep_state {
	static constexpr int CLASSES = 256;
	static constexpr u32 HASH = 512;

	struct lock_class {
		const lock_class_key *key;
		u8 subclass;
	};
	// Where an order was seen first.
	struct edge {
		u16 from, to;
		int pid;
		char comm[16];
		src_loc from_where, to_where;
	};

	raw_mutex lock;
	// Entries below nr_classes do not change; an index reaches other threads through hash[].
	u16 nr_classes __guarded_by(lock) = 0;
	struct lock_class classes[CLASSES] = {};
	std::atomic<uintptr_t> hash[HASH] = {}; // key | subclass
	u16 hash_idx[HASH] = {};
	std::atomic<u64> edges[CLASSES][CLASSES / 64] = {};
	std::vector<struct edge> stories __guarded_by(lock);
};
