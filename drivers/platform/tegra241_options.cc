// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Options of a Tegra241 machine as text: see tegra241_options.h. No kernel counterpart.
 */
#include "drivers/platform/tegra241_options.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

const struct tegra241_option_help tegra241_option_list[] = {
	{"mode", "eager|stepped|free",
	 "a register's store does all at once; the hardware moves when it is waited for; or it is "
	 "a "
	 "thread (eager)",
	 "eager stepped"},
	{"smmus", "1..4", "SMMUs; device n is behind SMMU n modulo this (1)", "1 2"},
	{"devices", "0..64", "/dev/vfio/devices/vfio0 and on (2)", "1 2 3"},
	{"streams", "1..8", "stream ids per device; a vDEVICE wants exactly one (1)", "1 2"},
	{"cmdqv", "0|1", "each SMMU has a CMDQV (1)", "1 1 0"},
	{"vintfs", "1..64", "VINTFs of a CMDQV, a power of two; VINTF 0 is the kernel's (4)",
	 "1 2 4"},
	{"lvcmdqs", "1..64", "LVCMDQs of a VINTF, a power of two; 128 in a CMDQV at most (2)",
	 "1 2 4"},
	{"sids", "1..16", "stream ids that a VINTF can replace, a power of two (16)", "1 2 16"},
	{"cmdq", "128..65536", "entries of the largest command queue, a power of two (16384)",
	 "128 256 1024"},
	{"evtq", "2..32768", "entries of the largest event queue, a power of two (4096)",
	 "2 16 64"},
	{"ats", "0|1", "SMMUs and devices can do ATS (1)", "0 1"},
	{"pasid_bits", "0..16", "PASIDs of a device (0: none)", "0 4"},
	{"can_stall", "0|1", "devices wait for the answer to a fault (0)", "0 1"},
	{"coherent_dma", "0|1", "no device can get around the caches (1)", "0 1 1"},
	{"stages", "1|2|12", "stages of translation that the SMMUs have (12)", "12 12 12 1 2"},
	{nullptr, nullptr, nullptr, nullptr},
};

static bool parse_number(const char *value, unsigned long min, unsigned long max,
			 unsigned long *out)
{
	char *end = nullptr;

	if (*value < '0' || *value > '9')
		return false;
	errno = 0;
	*out = strtoul(value, &end, 0);
	return !errno && !*end && *out >= min && *out <= max;
}

static bool parse_uint(const char *value, unsigned int min, unsigned int max, unsigned int *out)
{
	unsigned long n;

	if (!parse_number(value, min, max, &n))
		return false;
	*out = (unsigned int)n;
	return true;
}

static bool parse_power(const char *value, unsigned int min, unsigned int max, unsigned int *out)
{
	unsigned int n;

	if (!parse_uint(value, min, max, &n) || n & (n - 1))
		return false;
	*out = n;
	return true;
}

static bool parse_bool(const char *value, bool *out)
{
	unsigned long n;

	if (!parse_number(value, 0, 1, &n))
		return false;
	*out = n;
	return true;
}

static bool parse_mode(const char *value, enum tegra241_mode *mode)
{
	static const char *const names[] = {"eager", "stepped", "free"};

	for (int i = 0; i < 3; i++) {
		if (strcmp(value, names[i]))
			continue;
		*mode = static_cast<enum tegra241_mode>(i);
		return true;
	}
	return false;
}

static bool parse_stages(const char *value, struct tegra241_machine_options *opts)
{
	if (strcmp(value, "1") && strcmp(value, "2") && strcmp(value, "12"))
		return false;
	opts->s1 = strchr(value, '1');
	opts->s2 = strchr(value, '2');
	return true;
}

static bool set_option(const char *key, const char *value, struct tegra241_machine_options *opts)
{
	if (!strcmp(key, "mode"))
		return parse_mode(value, &opts->mode);
	if (!strcmp(key, "smmus"))
		return parse_uint(value, 1, TEGRA241_MACHINE_SMMUS_MAX, &opts->nr_smmus);
	if (!strcmp(key, "devices"))
		return parse_uint(value, 0, TEGRA241_MACHINE_DEVICES_MAX, &opts->nr_devices);
	if (!strcmp(key, "streams"))
		return parse_uint(value, 1, TEGRA241_MACHINE_STREAMS_MAX, &opts->nr_stream_ids);
	if (!strcmp(key, "cmdqv"))
		return parse_bool(value, &opts->cmdqv);
	if (!strcmp(key, "vintfs"))
		return parse_power(value, 1, 64, &opts->vintfs);
	if (!strcmp(key, "lvcmdqs"))
		return parse_power(value, 1, 64, &opts->lvcmdqs);
	if (!strcmp(key, "sids"))
		return parse_power(value, 1, 16, &opts->sids);
	if (!strcmp(key, "cmdq"))
		return parse_power(value, 128, 65536, &opts->cmdq_entries);
	if (!strcmp(key, "evtq"))
		return parse_power(value, 2, 32768, &opts->evtq_entries);
	if (!strcmp(key, "ats"))
		return parse_bool(value, &opts->ats);
	if (!strcmp(key, "pasid_bits"))
		return parse_uint(value, 0, 16, &opts->pasid_bits);
	if (!strcmp(key, "can_stall"))
		return parse_bool(value, &opts->can_stall);
	if (!strcmp(key, "coherent_dma"))
		return parse_bool(value, &opts->coherent);
	if (!strcmp(key, "stages"))
		return parse_stages(value, opts);
	return false;
}

int tegra241_options_parse(const char *key, const char *value,
			   struct tegra241_machine_options *opts)
{
	struct tegra241_machine_options changed = *opts;

	if (!set_option(key, value, &changed))
		return -EINVAL;
	*opts = changed;
	return 0;
}
