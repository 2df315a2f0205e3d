// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VFIO devices that iommufd owns: what a VMM opens to give a device to a guest.
 *
 * Mirrors drivers/vfio/vfio.h, the device's part of include/linux/vfio.h and, for what a PCI
 * device's file does, drivers/vfio/pci/vfio_pci_core.c of Linux 7.2. It differs in this: only the
 * device's own file (no groups, no containers, no noiommu); one driver, whose device has one BAR of
 * registers; no interrupts, features, migration or hot reset; the registers are reached by mmap
 * only, since the surface has no pread.
 */
#pragma once

#include "core/iommu/iommufd.h"
#include "core/linux/cdev.h"
#include "core/linux/device.h"
#include "core/linux/mutex.h"
#include "core/linux/xarray.h"

struct vm_area_struct;

/* Regions as of vfio-pci. */
enum {
	VFIO_PCI_BAR0_REGION_INDEX = 0,
	VFIO_PCI_NUM_REGIONS = 9,
};
#define VFIO_PCI_OFFSET_SHIFT		40
#define VFIO_PCI_OFFSET_TO_INDEX(off)	((u64)(off) >> VFIO_PCI_OFFSET_SHIFT)
#define VFIO_PCI_INDEX_TO_OFFSET(index) ((u64)(index) << VFIO_PCI_OFFSET_SHIFT)

struct vfio_device : cdev {
	struct device *dev = nullptr;
	/* BAR 0 */
	phys_addr_t bar = 0;
	size_t bar_size = 0;
	/* A function level reset: on VFIO_DEVICE_RESET, and whenever an owner begins or ends.
	 * NULL: none. */
	void (*reset)(struct vfio_device *device) = nullptr;
	void *opaque = nullptr;

	/* The kernel's dev_set->lock: who is bound and attached. */
	struct mutex lock{LOCK_CLASS(vfio_device, lock)};
	unsigned int open_count __guarded_by(lock) = 0; /* bound files: at most one */
	struct iommufd_device *iommufd_device __guarded_by(lock) = nullptr;
	bool iommufd_attached __guarded_by(lock) = false;
	struct xarray pasids{LOCK_CLASS(vfio_device, pasids)}; /* those that are attached */
};

/* One open of a device's file. */
struct vfio_device_file {
	struct vfio_device *device = nullptr;
	struct iommufd_ctx *iommufd = nullptr; /* under device->lock */
	u32 devid = 0;			       /* the same */
	std::atomic<bool> access_granted{false};
};

/* Makes /dev/vfio/devices/vfio<index>. -EEXIST: there is one. */
[[nodiscard]] int vfio_register_device(struct vfio_device *device, unsigned int index);
/* All its files are closed. */
void vfio_unregister_device(struct vfio_device *device);

/* ---- between the files ---- */

int vfio_df_ioctl_bind_iommufd(struct vfio_device_file *df, unsigned long arg);
void vfio_df_unbind_iommufd(struct vfio_device_file *df);
int vfio_df_ioctl_attach_pt(struct vfio_device_file *df, unsigned long arg);
int vfio_df_ioctl_detach_pt(struct vfio_device_file *df, unsigned long arg);

int vfio_iommufd_physical_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx,
			       u32 *out_device_id) __must_hold(vdev->lock);
void vfio_iommufd_physical_unbind(struct vfio_device *vdev) __must_hold(vdev->lock);
int vfio_iommufd_physical_attach_ioas(struct vfio_device *vdev, u32 *pt_id) __must_hold(vdev->lock);
void vfio_iommufd_physical_detach_ioas(struct vfio_device *vdev) __must_hold(vdev->lock);
int vfio_iommufd_physical_pasid_attach_ioas(struct vfio_device *vdev, u32 pasid, u32 *pt_id)
	__must_hold(vdev->lock);
void vfio_iommufd_physical_pasid_detach_ioas(struct vfio_device *vdev, u32 pasid)
	__must_hold(vdev->lock);
