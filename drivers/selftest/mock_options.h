// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The shapes that the mock IOMMU can take. No kernel counterpart: the kernel's
 * mock has one shape. A bug that needs a driver of another form (an op that is
 * missing, a coarser page, a second instance) is reached by an option here and
 * not by another driver.
 *
 * Options are plain values; as text they are in drivers/platform/mock_options.cc.
 */
#pragma once

#include <cstddef>
#include <cstdint>

/* Ops that a machine can be built without; the names are in drivers/platform/mock_options.cc. */
enum mock_absent_op : uint32_t {
	MOCK_ABSENT_HW_INFO = 1u << 0,		 /* iommu_ops.hw_info */
	MOCK_ABSENT_PAGING_FLAGS = 1u << 1,	 /* iommu_ops.domain_alloc_paging_flags */
	MOCK_ABSENT_NESTED = 1u << 2,		 /* iommu_ops.domain_alloc_nested */
	MOCK_ABSENT_NESTED_INVALIDATE = 1u << 3, /* cache_invalidate_user of a nested domain */
	MOCK_ABSENT_VIOMMU = 1u << 4,		 /* get_viommu_struct, viommu_init, viommu_alloc */
	MOCK_ABSENT_VIOMMU_INIT = 1u << 5,	 /* viommu_init alone: half of a pair */
	MOCK_ABSENT_VIOMMU_DOMAIN = 1u << 6,	 /* viommu ops: alloc_domain_nested */
	MOCK_ABSENT_VIOMMU_INVALIDATE = 1u << 7, /* viommu ops: cache_invalidate */
	MOCK_ABSENT_QUEUE = 1u << 8,		 /* queue ops of both revisions */
	MOCK_ABSENT_QUEUE_INIT = 1u << 9,	 /* hw_queue_init_phys alone: half of a pair */
	MOCK_ABSENT_VDEVICE_INIT = 1u << 10,	 /* a vdevice_struct without vdevice_init */
	MOCK_ABSENT_DIRTY = 1u << 11,		 /* no device can track dirty pages */
	MOCK_ABSENT_PAGE_RESPONSE = 1u << 12,	 /* page faults cannot be answered */
	MOCK_ABSENT_PASID = 1u << 13,		 /* set_dev_pasid of a paging domain */
	MOCK_ABSENT_PASID_NESTED = 1u << 14,	 /* set_dev_pasid of a nested domain */
	MOCK_ABSENT_PASID_BLOCKED = 1u << 15,	 /* set_dev_pasid of the blocked domain */
};

/* What PCI says of the PASIDs of a device that has some. */
enum mock_pci_pasid : uint32_t {
	MOCK_PCI_PASID_EXEC = 1u << 0,
	MOCK_PCI_PASID_PRIV = 1u << 1,
};

/* Structures that the driver reports smaller than the core's. */
enum mock_small_struct : uint32_t {
	MOCK_SMALL_VIOMMU = 1u << 0,
	MOCK_SMALL_VDEVICE = 1u << 1,
	MOCK_SMALL_QUEUE = 1u << 2,
};

enum {
	MOCK_MACHINE_IOMMUS_MAX = 4,
	MOCK_MACHINE_RESERVED_MAX = 4,
};

/* A reserved region that every device of the machine reports; both ends inclusive. */
struct mock_reserved_region {
	uint64_t start;
	uint64_t last;
	bool sw_msi; /* a window for software-managed MSIs, not a hole */
};

struct mock_machine_options {
	uint32_t absent_ops = 0;    /* enum mock_absent_op */
	uint32_t small_structs = 0; /* enum mock_small_struct */

	/* The smallest IO page in bytes, a power of two; 0 means MOCK_PAGE_SIZE. */
	uint64_t io_page_size = 0;
	/* What a paging domain can translate; the ends are inclusive. 0/0 means the kernel's. */
	uint64_t aperture_start = 0;
	uint64_t aperture_last = 0;

	/* IOMMU instances. Device number n sits behind instance n modulo this. */
	unsigned int nr_iommus = 1;
	/* Odd instances belong to a second driver, with iommu_ops of its own. */
	bool second_driver = false;

	/* Stream ids per device. With any number but 1 the driver refuses a vDEVICE. */
	unsigned int nr_stream_ids = 1;
	/* vDEVICEs are the driver's own type, which the core's allocator does not know. */
	bool own_vdevice = false;
	/* Devices that share one group: 0, 1: none, else n consecutive ones. */
	unsigned int group_size = 1;

	/* Whether DMA is cache coherent; a device that is not cannot be bound. */
	bool cache_coherency = true;
	/* The first so many instances can enforce that, whatever the device asks for. */
	unsigned int nr_enforce_coherency = 0;

	uint32_t pci_pasid = 0; /* enum mock_pci_pasid */
	bool pci_ats = false;	/* devices may cache translations */

	unsigned int nr_reserved = 0;
	struct mock_reserved_region reserved[MOCK_MACHINE_RESERVED_MAX] = {};
};
