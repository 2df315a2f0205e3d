/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The container ioctls of VFIO's type 1 that /dev/iommu answers for old programs, and those of a
 * device's file.
 *
 * Mirrors the part of include/uapi/linux/vfio.h (v7.2) that drivers/iommu/iommufd/vfio_compat.c
 * and our drivers/vfio know. Numbers, names and layouts are the kernel's; the text is ours. Takes
 * that header's guard, so that the two never meet in one file.
 *
 * argsz is the size of the caller's struct in bytes; more than the kernel knows is ignored.
 */
#ifndef _UAPIVFIO_H
#define _UAPIVFIO_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VFIO_API_VERSION 0

/* Extensions, for VFIO_CHECK_EXTENSION and VFIO_SET_IOMMU. */
#define VFIO_TYPE1_IOMMU		    1
#define VFIO_SPAPR_TCE_IOMMU		    2
#define VFIO_TYPE1v2_IOMMU		    3
#define VFIO_DMA_CC_IOMMU		    4
#define VFIO_EEH			    5
#define __VFIO_RESERVED_TYPE1_NESTING_IOMMU 6
#define VFIO_TYPE1_NESTING_IOMMU	    6 /* its name up to v6.12 */
#define VFIO_SPAPR_TCE_v2_IOMMU		    7
#define VFIO_NOIOMMU_IOMMU		    8
#define VFIO_UNMAP_ALL			    9
#define VFIO_UPDATE_VADDR		    10

#define VFIO_TYPE (';')
#define VFIO_BASE 100

#define VFIO_GET_API_VERSION _IO(VFIO_TYPE, VFIO_BASE + 0)
#define VFIO_CHECK_EXTENSION _IO(VFIO_TYPE, VFIO_BASE + 1)
#define VFIO_SET_IOMMU	     _IO(VFIO_TYPE, VFIO_BASE + 2)

/*
 * One link of the chain that follows an info struct; `next` counts bytes from the start of that
 * struct, 0 ends the chain.
 */
struct vfio_info_cap_header {
	__u16 id;
	__u16 version;
	__u32 next;
};

#define VFIO_IOMMU_INFO_PGSIZES (1 << 0) /* iova_pgsizes is valid */
#define VFIO_IOMMU_INFO_CAPS	(1 << 1) /* cap_offset is valid */

struct vfio_iommu_type1_info {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 iova_pgsizes; /* bit n: pages of 2^n bytes */
	__u32 cap_offset;
	__u32 pad;
};

#define VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE 1

/* Both ends are inside the range. */
struct vfio_iova_range {
	__u64 start;
	__u64 end;
};

struct vfio_iommu_type1_info_cap_iova_range {
	struct vfio_info_cap_header header;
	__u32 nr_iovas;
	__u32 reserved;
#ifndef __cplusplus
	struct vfio_iova_range iova_ranges[];
#else
	/* C++ has no flexible array member: the ranges follow the struct. */
#endif
};

#define VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION 2

struct vfio_iommu_type1_info_cap_migration {
	struct vfio_info_cap_header header;
	__u32 flags;
	__u64 pgsize_bitmap;
	__u64 max_dirty_bitmap_size; /* bytes */
};

#define VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL 3

struct vfio_iommu_type1_info_dma_avail {
	struct vfio_info_cap_header header;
	__u32 avail; /* mappings that can still be made */
};

#define VFIO_IOMMU_GET_INFO _IO(VFIO_TYPE, VFIO_BASE + 12)

#define VFIO_DMA_MAP_FLAG_READ	(1 << 0)
#define VFIO_DMA_MAP_FLAG_WRITE (1 << 1)
#define VFIO_DMA_MAP_FLAG_VADDR (1 << 2)

struct vfio_iommu_type1_dma_map {
	__u32 argsz;
	__u32 flags;
	__u64 vaddr;
	__u64 iova;
	__u64 size; /* bytes */
};

#define VFIO_IOMMU_MAP_DMA _IO(VFIO_TYPE, VFIO_BASE + 13)

struct vfio_bitmap {
	__u64 pgsize; /* bytes that one bit stands for */
	__u64 size;   /* bytes of the bitmap */
	__u64 *data;
};

#define VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP (1 << 0)
#define VFIO_DMA_UNMAP_FLAG_ALL		     (1 << 1)
#define VFIO_DMA_UNMAP_FLAG_VADDR	     (1 << 2)

/* A struct vfio_bitmap may follow. `size` returns the bytes unmapped. */
struct vfio_iommu_type1_dma_unmap {
	__u32 argsz;
	__u32 flags;
	__u64 iova;
	__u64 size; /* bytes */
#ifndef __cplusplus
	__u8 data[];
#endif
};

#define VFIO_IOMMU_UNMAP_DMA _IO(VFIO_TYPE, VFIO_BASE + 14)

#define VFIO_IOMMU_ENABLE  _IO(VFIO_TYPE, VFIO_BASE + 15)
#define VFIO_IOMMU_DISABLE _IO(VFIO_TYPE, VFIO_BASE + 16)

#define VFIO_IOMMU_DIRTY_PAGES_FLAG_START      (1 << 0)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP       (1 << 1)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP (1 << 2)

/* A struct vfio_iommu_type1_dirty_bitmap_get follows with GET_BITMAP. */
struct vfio_iommu_type1_dirty_bitmap {
	__u32 argsz;
	__u32 flags;
#ifndef __cplusplus
	__u8 data[];
#endif
};

struct vfio_iommu_type1_dirty_bitmap_get {
	__u64 iova;
	__u64 size; /* bytes */
	struct vfio_bitmap bitmap;
};

#define VFIO_IOMMU_DIRTY_PAGES _IO(VFIO_TYPE, VFIO_BASE + 17)

/* ---- a device's own file, /dev/vfio/devices/vfioN ---- */

#define VFIO_DEVICE_FLAGS_RESET (1 << 0) /* VFIO_DEVICE_RESET works */
#define VFIO_DEVICE_FLAGS_PCI	(1 << 1)

struct vfio_device_info {
	__u32 argsz;
	__u32 flags;
	__u32 num_regions;
	__u32 num_irqs;
	__u32 cap_offset;
	__u32 pad;
};
#define VFIO_DEVICE_GET_INFO _IO(VFIO_TYPE, VFIO_BASE + 7)

#define VFIO_REGION_INFO_FLAG_READ  (1 << 0)
#define VFIO_REGION_INFO_FLAG_WRITE (1 << 1)
#define VFIO_REGION_INFO_FLAG_MMAP  (1 << 2)

/* Where region `index` is in the file: `size` bytes at `offset`. Regions without a size exist. */
struct vfio_region_info {
	__u32 argsz;
	__u32 flags;
	__u32 index;
	__u32 cap_offset;
	__aligned_u64 size;
	__aligned_u64 offset;
};
#define VFIO_DEVICE_GET_REGION_INFO _IO(VFIO_TYPE, VFIO_BASE + 8)

#define VFIO_DEVICE_RESET _IO(VFIO_TYPE, VFIO_BASE + 11)

#define VFIO_DEVICE_BIND_FLAG_TOKEN (1 << 0)

/*
 * Gives the device's DMA to an iommufd, where it is object out_devid. Everything else on this file
 * is EINVAL before. Closing the file undoes it. v6.15 ends at out_devid.
 */
struct vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
	__aligned_u64 token_uuid_ptr;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)

#define VFIO_DEVICE_ATTACH_PASID (1 << 0)

/* Attaches the device, or a PASID of it, to an IOAS or a HWPT; a second one replaces the first. */
struct vfio_device_attach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pt_id;
	__u32 pasid;
};
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

#define VFIO_DEVICE_DETACH_PASID (1 << 0)

struct vfio_device_detach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pasid;
};
#define VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 20)

#endif
