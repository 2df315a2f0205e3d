// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The options of the mock machine. No kernel counterpart.
 */
#include "drivers/selftest/mock_options.h"

#include <cerrno>
#include <cstdint>
#include <new>

#include "drivers/platform/machine_options.h"

/* In the order of enum mock_absent_op. */
static const char *const mock_absent_op_names[] = {
	"hw_info",	 "paging_flags", "nested",	  "nested_invalidate",
	"viommu",	 "viommu_init",	 "viommu_domain", "viommu_invalidate",
	"queue",	 "queue_init",	 "vdevice_init",  "dirty",
	"page_response", "pasid",	 "pasid_nested",  "pasid_blocked",
	nullptr,
};

/* In the order of enum mock_pci_pasid. */
static const char *const mock_pci_pasid_names[] = {"exec", "priv", nullptr};

/* In the order of enum mock_small_struct. */
static const char *const mock_small_struct_names[] = {"viommu", "vdevice", "queue", nullptr};

static int set_aperture(void *options, const struct machine_value *v)
{
	auto *opts = static_cast<struct mock_machine_options *>(options);

	if (!v->last)
		return -EINVAL;
	opts->aperture_start = v->number;
	opts->aperture_last = v->last;
	return 0;
}

template <bool sw_msi> static int add_reserved(void *options, const struct machine_value *v)
{
	auto *opts = static_cast<struct mock_machine_options *>(options);

	if (opts->nr_reserved == MOCK_MACHINE_RESERVED_MAX)
		return -EINVAL;
	/* Two windows are a driver's bug, of which the core warns */
	for (unsigned int i = 0; sw_msi && i != opts->nr_reserved; i++)
		if (opts->reserved[i].sw_msi)
			return -EINVAL;
	opts->reserved[opts->nr_reserved++] = {
		.start = v->number,
		.last = v->last,
		.sw_msi = sw_msi,
	};
	return 0;
}

static const struct machine_option mock_machine_option_list[] = {
	{
		.name = "without",
		.type = MACHINE_NAMES,
		.names = mock_absent_op_names,
		.value = "OP[+OP...]",
		.help = "build the driver without these ops: hw_info paging_flags nested "
			"nested_invalidate viommu viommu_init viommu_domain viommu_invalidate "
			"queue queue_init vdevice_init dirty page_response pasid pasid_nested "
			"pasid_blocked",
		.tries = "hw_info paging_flags nested nested_invalidate viommu viommu_domain "
			 "viommu_invalidate queue dirty page_response pasid pasid_nested "
			 "pasid_blocked",
		.set = machine_or_member<&mock_machine_options::absent_ops>,
	},
	{
		.name = "small",
		.type = MACHINE_NAMES,
		.names = mock_small_struct_names,
		.help = "the driver reports a structure that is smaller than the core's",
		.set = machine_or_member<&mock_machine_options::small_structs>,
	},
	{
		.name = "io_page",
		.type = MACHINE_POWER,
		.min = 1u << 9,
		.max = 1u << 30,
		.value = "BYTES",
		.initial = "2K",
		.help = "smallest IO page of a paging domain, a power of two",
		.tries = "512 1024 4096 8192 65536",
		.set = machine_set_member<&mock_machine_options::io_page_size>,
	},
	{
		.name = "aperture",
		.type = MACHINE_RANGE,
		.initial = "16M-0x7fffffff",
		.help = "what a paging domain can translate",
		.tries = "0x1000000-0x3ffffff 0-0xffffffff 0x1000000-0xffffffffffff",
		.set = set_aperture,
	},
	{
		.name = "iommus",
		.type = MACHINE_NUMBER,
		.min = 1,
		.max = MOCK_MACHINE_IOMMUS_MAX,
		.initial = "1",
		.help = "IOMMU instances; device n sits behind instance n modulo this",
		.tries = "1 2 3 4",
		.set = machine_set_member<&mock_machine_options::nr_iommus>,
	},
	{
		.name = "second_driver",
		.type = MACHINE_FLAG,
		.initial = "0",
		.help = "odd instances belong to another driver",
		.tries = "0 1",
		.set = machine_set_member<&mock_machine_options::second_driver>,
	},
	{
		.name = "stream_ids",
		.type = MACHINE_NUMBER,
		.min = 0,
		.max = 64,
		.initial = "1",
		.help = "stream ids per device; a vDEVICE wants exactly one",
		.tries = "0 1 2 3",
		.set = machine_set_member<&mock_machine_options::nr_stream_ids>,
	},
	{
		.name = "own_vdevice",
		.type = MACHINE_FLAG,
		.initial = "0",
		.help = "vDEVICEs are of a type of the driver's own",
		.tries = "0 1",
		.set = machine_set_member<&mock_machine_options::own_vdevice>,
	},
	{
		.name = "group",
		.type = MACHINE_NUMBER,
		.min = 1,
		.max = 64,
		.initial = "1",
		.help = "devices per IOMMU group",
		.tries = "1 2 3",
		.set = machine_set_member<&mock_machine_options::group_size>,
	},
	{
		.name = "coherent",
		.type = MACHINE_FLAG,
		.initial = "1",
		.help = "DMA is cache coherent",
		.tries = "0 1 1 1",
		.set = machine_set_member<&mock_machine_options::cache_coherency>,
	},
	{
		.name = "enforce_coherency",
		.type = MACHINE_NUMBER,
		.min = 0,
		.max = MOCK_MACHINE_IOMMUS_MAX,
		.initial = "0",
		.help = "so many of the IOMMU instances can enforce that it is",
		.tries = "0 1 2",
		.set =
			[](void *o, const struct machine_value *v) {
				static_cast<struct mock_machine_options *>(o)
					->nr_enforce_coherency = (unsigned int)v->number;
				return 0;
			},
	},
	{
		.name = "pci_pasid",
		.type = MACHINE_NAMES,
		.names = mock_pci_pasid_names,
		.help = "what PCI says of a PASID device",
		.tries = "exec priv exec+priv",
		.set = machine_or_member<&mock_machine_options::pci_pasid>,
	},
	{
		.name = "pci_ats",
		.type = MACHINE_FLAG,
		.initial = "0",
		.help = "devices can do ATS",
		.tries = "0 1",
		.set = machine_set_member<&mock_machine_options::pci_ats>,
	},
	{
		.name = "reserved",
		.type = MACHINE_RANGE,
		.help = "a reserved region of every device; may be given 4 times",
		.tries = "0x1000000-0x1ffffff 0x1800000-0x1800fff 0-0xffffff 0x8000000-0x80fffff",
		.set = add_reserved<false>,
	},
	{
		.name = "sw_msi",
		.type = MACHINE_RANGE,
		.help = "the software MSI window of every device; counts as a reserved one",
		.tries = "0x1000000-0x1ffffff 0x1800000-0x1800fff 0-0xffffff 0x8000000-0x80fffff",
		.set = add_reserved<true>,
	},
	{},
};

const struct machine_desc mock_machine_desc = {
	.name = "mock",
	.help = "the mock IOMMU",
	.options = mock_machine_option_list,
	.alloc = []() -> void * { return new (std::nothrow) struct mock_machine_options; },
	.free = [](void *o) { delete static_cast<struct mock_machine_options *>(o); },
};
