// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Revisions: the forms of one proposal. A context is opened with one and keeps it; it names the
 * ioctl table and a few policies. The same program run under two revisions shows where they differ.
 * A prototype is one more table and one more of these.
 *
 * Mirrors no kernel file. "vcmdq-v2" is Linux v6.15 plus the vCMDQ series v2; "hw-queue" is the
 * form that was merged, as of v7.2.
 */
#pragma once

#include <string_view>

#include "core/linux/types.h"

struct file;
struct iommufd_ctx;
struct iommufd_ucmd;
template <class T> class result;

/* One row. size and min_size in bytes: the struct, and up to the end of the last member of its
 * first version. */
struct iommufd_ioctl_op {
	unsigned int size = 0;
	unsigned int min_size = 0;
	unsigned int ioctl_num = 0;
	int (*execute)(struct iommufd_ucmd *ucmd) = nullptr;
};

/* Rows by command number from IOMMUFD_CMD_BASE on, up to the selftest's command;
 * a hole has no execute. */
#define IOMMUFD_IOCTL_NR 33
struct iommufd_ioctl_table {
	struct iommufd_ioctl_op ops[IOMMUFD_IOCTL_NR];
};

/* Bytes of the largest command. A table with a larger one does not compile. */
#define IOMMUFD_UCMD_BUFFER_SIZE 96

struct iommufd_revision {
	const char *name;
	const struct iommufd_ioctl_table *ioctls;
	/* The bit of enum desc_revision that descriptions of commands carry. */
	u8 desc_revision;
	/* mmap: the mapping must cover its region exactly; else it may be shorter, from the
	 * region's start. */
	bool mmap_exact : 1;
	/* A vDEVICE goes with its device, which has only one; else it lives on with a reference to
	 * the device. */
	bool vdevice_follows_device : 1;
	/* GET_HW_INFO takes IOMMU_HW_INFO_FLAG_INPUT_TYPE. */
	bool hw_info_input_type : 1;
	/* GET_HW_INFO reports IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED. */
	bool hw_info_ats : 1;
	/* HWPT_ALLOC takes IOMMU_HWPT_ALLOC_PASID, and GET_HW_INFO reports PASIDs. */
	bool pasid : 1;
	/* HWPT_INVALIDATE takes a vIOMMU and says EINVAL to what it does not take; without vIOMMUs
	 * only a nested HWPT is found. */
	bool viommu : 1;
};

extern const struct iommufd_revision iommufd_revision_vcmdq_v2; /* the default */
extern const struct iommufd_revision iommufd_revision_hw_queue;
/* The commands and errnos of a 6.12 kernel, for programs that were written for one. */
extern const struct iommufd_revision iommufd_revision_linux_6_12;

/* NULL: no such name. An empty name is the default. */
const struct iommufd_revision *iommufd_find_revision(std::string_view name);
/* All of them, for help texts: NULL after the last. */
const struct iommufd_revision *iommufd_revision_nr(unsigned int nr);

/*
 * Opens /dev/iommu, or /dev/vfio/vfio with vfio set, for current: a new context. The file has one
 * reference, no descriptor. -ENOMEM. Compare iommufd_fops_open.
 */
result<struct file *> iommufd_file_open(const struct iommufd_revision *rev, bool vfio);
