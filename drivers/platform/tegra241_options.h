// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a machine like a Tegra241 (Grace) has. No kernel counterpart; as text they are
 * in tegra241_options.cc.
 */
#pragma once

#include <cstdint>

enum {
	TEGRA241_MACHINE_SMMUS_MAX = 4,
	TEGRA241_MACHINE_DEVICES_MAX = 64,
	TEGRA241_MACHINE_STREAMS_MAX = 8,
};

enum tegra241_mode {
	/* a store to a register returns when all that it started is done; replays exactly */
	TEGRA241_EAGER,
	/* the hardware moves when the driver waits for it, or on platform_step(); replays exactly
	 */
	TEGRA241_STEPPED,
	/* a thread for each SMMU is its hardware; VINTF page 0 is memory */
	TEGRA241_FREE_RUNNING,
};

struct tegra241_machine_options {
	enum tegra241_mode mode = TEGRA241_EAGER;
	unsigned int nr_smmus = 1;
	/* Device n is behind SMMU n modulo nr_smmus, and is /dev/vfio/devices/vfio<n>. */
	unsigned int nr_devices = 2;
	unsigned int nr_stream_ids = 1; /* of each device; a vDEVICE wants exactly one */
	bool cmdqv = true;
	unsigned int vintfs = 4;	   /* powers of two; VINTF 0 is the kernel's */
	unsigned int lvcmdqs = 2;	   /* of each VINTF */
	unsigned int sids = 16;		   /* stream ids that each VINTF can replace */
	unsigned int cmdq_entries = 16384; /* the largest command queue, IDR1.CMDQS */
	unsigned int evtq_entries = 4096;  /* the largest event queue */
	bool ats = true;
	unsigned int pasid_bits = 0; /* of each device; 0: no PASIDs */
	bool can_stall = false;	     /* devices wait for the answer to a fault */
	bool coherent = true;	     /* no device can get around the caches */
	bool s1 = true, s2 = true;   /* stages that the SMMU has */
};
