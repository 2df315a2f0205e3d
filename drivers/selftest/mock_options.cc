// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Options of a mock machine as text: see mock_options.h. No kernel counterpart.
 */
#include "drivers/selftest/mock_options.h"

#include <cerrno>
#include <cstring>

const struct mock_option_help mock_option_list[] = {
	{"without", "OP[+OP...]",
	 "build the driver without these ops: hw_info paging_flags nested nested_invalidate viommu "
	 "viommu_init viommu_domain viommu_invalidate queue queue_init vdevice_init dirty "
	 "page_response pasid pasid_nested pasid_blocked",
	 "hw_info paging_flags nested nested_invalidate viommu viommu_domain viommu_invalidate "
	 "queue dirty page_response pasid pasid_nested pasid_blocked"},
	{"small", "viommu|vdevice|queue[+...]",
	 "the driver reports a structure that is smaller than the core's", nullptr},
	{"io_page", "BYTES", "smallest IO page of a paging domain, a power of two (2K)",
	 "512 1024 4096 8192 65536"},
	{"aperture", "START-LAST", "what a paging domain can translate (16M-0x7fffffff)",
	 "0x1000000-0x3ffffff 0-0xffffffff 0x1000000-0xffffffffffff"},
	{"iommus", "1..4", "IOMMU instances; device n sits behind instance n modulo this (1)",
	 "1 2 3 4"},
	{"second_driver", "0|1", "odd instances belong to another driver (0)", "0 1"},
	{"stream_ids", "0..64", "stream ids per device; a vDEVICE wants exactly one (1)",
	 "0 1 2 3"},
	{"own_vdevice", "0|1", "vDEVICEs are of a type of the driver's own (0)", "0 1"},
	{"group", "1..64", "devices per IOMMU group (1)", "1 2 3"},
	{"coherent", "0|1", "DMA is cache coherent (1)", "0 1 1 1"},
	{"enforce_coherency", "0..4", "so many of the IOMMU instances can enforce that it is (0)",
	 "0 1 2"},
	{"pci_pasid", "exec|priv[+...]", "what PCI says of a PASID device", "exec priv exec+priv"},
	{"pci_ats", "0|1", "devices can do ATS (0)", "0 1"},
	{"reserved", "START-LAST", "a reserved region of every device; may be given 4 times",
	 "0x1000000-0x1ffffff 0x1800000-0x1800fff 0-0xffffff 0x8000000-0x80fffff"},
	{"sw_msi", "START-LAST",
	 "the software MSI window of every device; counts as a reserved one",
	 "0x1000000-0x1ffffff 0x1800000-0x1800fff 0-0xffffff 0x8000000-0x80fffff"},
	{nullptr, nullptr, nullptr, nullptr},
};

/* In the order of enum mock_absent_op. */
const char *const mock_absent_op_names[] = {
	"hw_info",	 "paging_flags", "nested",	  "nested_invalidate",
	"viommu",	 "viommu_init",	 "viommu_domain", "viommu_invalidate",
	"queue",	 "queue_init",	 "vdevice_init",  "dirty",
	"page_response", "pasid",	 "pasid_nested",  "pasid_blocked",
	nullptr,
};

/* In the order of enum mock_pci_pasid. */
static const char *const mock_pci_pasid_names[] = {"exec", "priv", nullptr};

static const char *const mock_small_struct_names[] = {"viommu", "vdevice", "queue", nullptr};

/* Decimal, 0x hexadecimal; K, M and G suffixes. Advances *@s past the number. */
static bool scan_u64(const char **s, uint64_t *out)
{
	const char *p = *s;
	unsigned int base = 10;
	unsigned int shift = 0;
	uint64_t val = 0;
	bool any = false;

	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	for (;; p++) {
		unsigned int digit;

		if (*p >= '0' && *p <= '9')
			digit = *p - '0';
		else if (base == 16 && *p >= 'a' && *p <= 'f')
			digit = *p - 'a' + 10;
		else if (base == 16 && *p >= 'A' && *p <= 'F')
			digit = *p - 'A' + 10;
		else
			break;
		if (__builtin_mul_overflow(val, (uint64_t)base, &val) ||
		    __builtin_add_overflow(val, (uint64_t)digit, &val))
			return false;
		any = true;
	}
	if (!any)
		return false;

	switch (*p) {
	case 'K':
	case 'k':
		shift = 10;
		break;
	case 'M':
	case 'm':
		shift = 20;
		break;
	case 'G':
	case 'g':
		shift = 30;
		break;
	}
	if (shift) {
		if (val > UINT64_MAX >> shift)
			return false;
		val <<= shift;
		p++;
	}
	*out = val;
	*s = p;
	return true;
}

static bool parse_u64(const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t val;

	if (!scan_u64(&value, &val) || *value || val < min || val > max)
		return false;
	*out = val;
	return true;
}

static bool parse_range(const char *value, uint64_t *start, uint64_t *last)
{
	uint64_t a, b;

	if (!scan_u64(&value, &a) || *value != '-')
		return false;
	value++;
	if (!scan_u64(&value, &b) || *value || a > b)
		return false;
	*start = a;
	*last = b;
	return true;
}

/* "a+b+c" into the bits that the names' positions stand for. */
static bool parse_names(const char *value, const char *const *names, uint32_t *out)
{
	uint32_t bits = 0;

	while (true) {
		size_t len = strcspn(value, "+");
		unsigned int i;

		for (i = 0; names[i]; i++)
			if (strlen(names[i]) == len && !memcmp(names[i], value, len))
				break;
		if (!names[i])
			return false;
		bits |= 1u << i;
		value += len;
		if (!*value)
			break;
		value++;
	}
	*out = bits;
	return true;
}

int mock_options_parse(const char *key, const char *value, struct mock_machine_options *opts)
{
	uint64_t val, last;
	uint32_t bits;

	if (!key || !value)
		return -EINVAL;

	if (!strcmp(key, "without")) {
		if (!parse_names(value, mock_absent_op_names, &bits))
			return -EINVAL;
		opts->absent_ops |= bits;
	} else if (!strcmp(key, "small")) {
		if (!parse_names(value, mock_small_struct_names, &bits))
			return -EINVAL;
		opts->small_structs |= bits;
	} else if (!strcmp(key, "io_page")) {
		if (!parse_u64(value, 1u << 9, 1u << 30, &val) || (val & (val - 1)))
			return -EINVAL;
		opts->io_page_size = val;
	} else if (!strcmp(key, "aperture")) {
		if (!parse_range(value, &val, &last) || !last)
			return -EINVAL;
		opts->aperture_start = val;
		opts->aperture_last = last;
	} else if (!strcmp(key, "iommus")) {
		if (!parse_u64(value, 1, MOCK_MACHINE_IOMMUS_MAX, &val))
			return -EINVAL;
		opts->nr_iommus = (unsigned int)val;
	} else if (!strcmp(key, "second_driver")) {
		if (!parse_u64(value, 0, 1, &val))
			return -EINVAL;
		opts->second_driver = val;
	} else if (!strcmp(key, "stream_ids")) {
		if (!parse_u64(value, 0, 64, &val))
			return -EINVAL;
		opts->nr_stream_ids = (unsigned int)val;
	} else if (!strcmp(key, "own_vdevice")) {
		if (!parse_u64(value, 0, 1, &val))
			return -EINVAL;
		opts->own_vdevice = val;
	} else if (!strcmp(key, "group")) {
		if (!parse_u64(value, 1, 64, &val))
			return -EINVAL;
		opts->group_size = (unsigned int)val;
	} else if (!strcmp(key, "coherent")) {
		if (!parse_u64(value, 0, 1, &val))
			return -EINVAL;
		opts->cache_coherency = val;
	} else if (!strcmp(key, "enforce_coherency")) {
		if (!parse_u64(value, 0, MOCK_MACHINE_IOMMUS_MAX, &val))
			return -EINVAL;
		opts->nr_enforce_coherency = (unsigned int)val;
	} else if (!strcmp(key, "pci_pasid")) {
		if (!parse_names(value, mock_pci_pasid_names, &bits))
			return -EINVAL;
		opts->pci_pasid |= bits;
	} else if (!strcmp(key, "pci_ats")) {
		if (!parse_u64(value, 0, 1, &val))
			return -EINVAL;
		opts->pci_ats = val;
	} else if (!strcmp(key, "reserved") || !strcmp(key, "sw_msi")) {
		bool sw_msi = !strcmp(key, "sw_msi");

		if (opts->nr_reserved == MOCK_MACHINE_RESERVED_MAX ||
		    !parse_range(value, &val, &last))
			return -EINVAL;
		/* Two windows are a driver's bug, of which the core warns */
		for (unsigned int i = 0; sw_msi && i != opts->nr_reserved; i++)
			if (opts->reserved[i].sw_msi)
				return -EINVAL;
		opts->reserved[opts->nr_reserved++] = {
			.start = val,
			.last = last,
			.sw_msi = sw_msi,
		};
	} else {
		return -EINVAL;
	}
	return 0;
}
