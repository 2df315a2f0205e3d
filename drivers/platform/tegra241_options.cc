// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The options of the Tegra241 machine. No kernel counterpart.
 */
#include "drivers/platform/tegra241_options.h"

#include <cstring>
#include <new>

#include "drivers/platform/machine_options.h"

/* In the order of enum tegra241_mode. */
static const char *const tegra241_mode_names[] = {"eager", "stepped", "free", nullptr};

static const char *const tegra241_stages_names[] = {"1", "2", "12", nullptr};

static int set_stages(void *options, const struct machine_value *v)
{
	auto *opts = static_cast<struct tegra241_machine_options *>(options);

	opts->s1 = strchr(tegra241_stages_names[v->number], '1');
	opts->s2 = strchr(tegra241_stages_names[v->number], '2');
	return 0;
}

static const struct machine_option tegra241_machine_option_list[] = {
	{
		.name = "mode",
		.type = MACHINE_NAME,
		.names = tegra241_mode_names,
		.initial = "eager",
		.help = "a register's store does all at once; the hardware moves when it is waited "
			"for; or it is a thread",
		.tries = "eager stepped",
		.set = machine_set_member<&tegra241_machine_options::mode>,
	},
	{
		.name = "smmus",
		.type = MACHINE_NUMBER,
		.min = 1,
		.max = TEGRA241_MACHINE_SMMUS_MAX,
		.initial = "1",
		.help = "SMMUs; device n is behind SMMU n modulo this",
		.tries = "1 2",
		.set = machine_set_member<&tegra241_machine_options::nr_smmus>,
	},
	{
		.name = "devices",
		.type = MACHINE_NUMBER,
		.min = 0,
		.max = TEGRA241_MACHINE_DEVICES_MAX,
		.initial = "2",
		.help = "/dev/vfio/devices/vfio0 and on",
		.tries = "1 2 3",
		.set = machine_set_member<&tegra241_machine_options::nr_devices>,
	},
	{
		.name = "streams",
		.type = MACHINE_NUMBER,
		.min = 1,
		.max = TEGRA241_MACHINE_STREAMS_MAX,
		.initial = "1",
		.help = "stream ids per device; a vDEVICE wants exactly one",
		.tries = "1 2",
		.set = machine_set_member<&tegra241_machine_options::nr_stream_ids>,
	},
	{
		.name = "cmdqv",
		.type = MACHINE_FLAG,
		.initial = "1",
		.help = "each SMMU has a CMDQV",
		.tries = "1 1 0",
		.set = machine_set_member<&tegra241_machine_options::cmdqv>,
	},
	{
		.name = "vintfs",
		.type = MACHINE_POWER,
		.min = 1,
		.max = 64,
		.initial = "4",
		.help = "VINTFs of a CMDQV, a power of two; VINTF 0 is the kernel's",
		.tries = "1 2 4",
		.set = machine_set_member<&tegra241_machine_options::vintfs>,
	},
	{
		.name = "lvcmdqs",
		.type = MACHINE_POWER,
		.min = 1,
		.max = 64,
		.initial = "2",
		.help = "LVCMDQs of a VINTF, a power of two; 128 in a CMDQV at most",
		.tries = "1 2 4",
		.set = machine_set_member<&tegra241_machine_options::lvcmdqs>,
	},
	{
		.name = "sids",
		.type = MACHINE_POWER,
		.min = 1,
		.max = 16,
		.initial = "16",
		.help = "stream ids that a VINTF can replace, a power of two",
		.tries = "1 2 16",
		.set = machine_set_member<&tegra241_machine_options::sids>,
	},
	{
		.name = "cmdq",
		.type = MACHINE_POWER,
		.min = 128,
		.max = 65536,
		.initial = "16384",
		.help = "entries of the largest command queue, a power of two",
		.tries = "128 256 1024",
		.set = machine_set_member<&tegra241_machine_options::cmdq_entries>,
	},
	{
		.name = "evtq",
		.type = MACHINE_POWER,
		.min = 2,
		.max = 32768,
		.initial = "4096",
		.help = "entries of the largest event queue, a power of two",
		.tries = "2 16 64",
		.set = machine_set_member<&tegra241_machine_options::evtq_entries>,
	},
	{
		.name = "ats",
		.type = MACHINE_FLAG,
		.initial = "1",
		.help = "SMMUs and devices can do ATS",
		.tries = "0 1",
		.set = machine_set_member<&tegra241_machine_options::ats>,
	},
	{
		.name = "pasid_bits",
		.type = MACHINE_NUMBER,
		.min = 0,
		.max = 16,
		.initial = "0",
		.help = "PASIDs of a device; 0: none",
		.tries = "0 4",
		.set = machine_set_member<&tegra241_machine_options::pasid_bits>,
	},
	{
		.name = "can_stall",
		.type = MACHINE_FLAG,
		.initial = "0",
		.help = "devices wait for the answer to a fault",
		.tries = "0 1",
		.set = machine_set_member<&tegra241_machine_options::can_stall>,
	},
	{
		.name = "coherent_dma",
		.type = MACHINE_FLAG,
		.initial = "1",
		.help = "no device can get around the caches",
		.tries = "0 1 1",
		.set = machine_set_member<&tegra241_machine_options::coherent>,
	},
	{
		.name = "stages",
		.type = MACHINE_NAME,
		.names = tegra241_stages_names,
		.initial = "12",
		.help = "stages of translation that the SMMUs have",
		.tries = "12 12 12 1 2",
		.set = set_stages,
	},
	{},
};

const struct machine_desc tegra241_machine_desc = {
	.name = "tegra241",
	.help = "SMMUv3s with CMDQVs and devices that do DMA",
	.options = tegra241_machine_option_list,
	.alloc = []() -> void * { return new (std::nothrow) struct tegra241_machine_options; },
	.free = [](void *o) { delete static_cast<struct tegra241_machine_options *>(o); },
};
