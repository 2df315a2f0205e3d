/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every type of object, once. core/iommu/iommufd.h makes enum iommufd_object_type of it, and
 * iommufd_desc.h makes desc_object; programs, tools and the fuzzer take their names here.
 *
 * Mirrors enum iommufd_object_type of include/linux/iommufd.h.
 */
#pragma once

/*
 * X(type, label, variable): the kernel's name without its prefix; what a list of commands prints;
 * what a recorded or generated program calls one.
 */
/* clang-format off */
#define IOMMUFD_OBJECT_TYPES(X) \
	X(DEVICE,      "DEVICE",	  "idev") \
	X(HWPT_PAGING, "HWPT_PAGING",	  "hwpt") \
	X(HWPT_NESTED, "HWPT_NESTED",	  "hwpt") \
	X(IOAS,        "IOAS",		  "ioas") \
	X(ACCESS,      "ACCESS",	  "access") \
	X(FAULT,       "FAULT",		  "fault") \
	X(VIOMMU,      "VIOMMU",	  "viommu") \
	X(VDEVICE,     "VDEVICE",	  "vdevice") \
	X(VEVENTQ,     "VEVENTQ",	  "veventq") \
	X(VCMDQ,       "VCMDQ",		  "queue") \
	X(HW_QUEUE,    "HW_QUEUE",	  "queue") \
	/* the mock device's binding */ \
	X(SELFTEST,    "selftest device", "dev")
/* clang-format on */
