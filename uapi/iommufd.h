/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ABI of /dev/iommu.
 *
 * Mirrors include/uapi/linux/iommufd.h as of Linux v6.15, plus what the series "iommufd: Add vIOMMU
 * infrastructure (Part-4 vCMDQ)" v2 adds, plus the form in which it was merged (as of v7.2).
 * Numbers, names and layouts are the kernel's; the text is ours. It can stand in for
 * <linux/iommufd.h> (it even takes that header's guard, so that the two never meet in one file) and
 * is valid C11 and C++20.
 *
 * Where v2 and the merged form name one place in two ways, both names are there as members of an
 * anonymous union:
 *
 * - iommu_viommu_tegra241_cmdqv: v2 out_vintf_page0_pgoff and _pgsz, merged out_vintf_mmap_offset
 *   and _length
 * - iommu_hw_info_arm_smmuv3: v2 impl, merged __reserved
 * - iommu_hw_info: v2 out_data_type, merged in_data_type too
 *
 * Command 0x94 is VCMDQ_ALLOC in v2 and HW_QUEUE_ALLOC in the merged form: two structs of one
 * layout. The marks below: [v2] exists only in the series as posted, [merged] only in the merged
 * form.
 *
 * What all commands share. The argument points to a struct whose first u32 is its size. A caller
 * with a shorter (older) struct is served as if the missing tail were zero; a caller with a longer
 * one is served if the unknown tail is zero, else E2BIG. A size below the first version's is
 * EINVAL, an unknown command ENOTTY, a known field with a value that nobody implements EOPNOTSUPP,
 * a wrong combination EINVAL, an id or IOVA that is not there ENOENT, arithmetic that wraps
 * EOVERFLOW.
 */
#ifndef _UAPI_IOMMUFD_H
#define _UAPI_IOMMUFD_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define IOMMUFD_TYPE (';')

/*
 * Of an enum that a command's u32 is turned into: in C++ it needs a u32 underneath, or a caller's
 * unknown value is undefined behaviour instead of EOPNOTSUPP.
 */
#ifdef __cplusplus
#define __IOMMUFD_ENUM_U32 : __u32
#else
#define __IOMMUFD_ENUM_U32
#endif

enum {
	IOMMUFD_CMD_BASE = 0x80,
	IOMMUFD_CMD_DESTROY = IOMMUFD_CMD_BASE,
	IOMMUFD_CMD_IOAS_ALLOC = 0x81,
	IOMMUFD_CMD_IOAS_ALLOW_IOVAS = 0x82,
	IOMMUFD_CMD_IOAS_COPY = 0x83,
	IOMMUFD_CMD_IOAS_IOVA_RANGES = 0x84,
	IOMMUFD_CMD_IOAS_MAP = 0x85,
	IOMMUFD_CMD_IOAS_UNMAP = 0x86,
	IOMMUFD_CMD_OPTION = 0x87,
	IOMMUFD_CMD_VFIO_IOAS = 0x88,
	IOMMUFD_CMD_HWPT_ALLOC = 0x89,
	IOMMUFD_CMD_GET_HW_INFO = 0x8a,
	IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING = 0x8b,
	IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP = 0x8c,
	IOMMUFD_CMD_HWPT_INVALIDATE = 0x8d,
	IOMMUFD_CMD_FAULT_QUEUE_ALLOC = 0x8e,
	IOMMUFD_CMD_IOAS_MAP_FILE = 0x8f,
	IOMMUFD_CMD_VIOMMU_ALLOC = 0x90,
	IOMMUFD_CMD_VDEVICE_ALLOC = 0x91,
	IOMMUFD_CMD_IOAS_CHANGE_PROCESS = 0x92,
	IOMMUFD_CMD_VEVENTQ_ALLOC = 0x93,
	IOMMUFD_CMD_VCMDQ_ALLOC = 0x94,	   /* [v2] */
	IOMMUFD_CMD_HW_QUEUE_ALLOC = 0x94, /* [merged] */
};

/* Destroys one object by id. EBUSY while anything uses it. */
struct iommu_destroy {
	__u32 size;
	__u32 id;
};
#define IOMMU_DESTROY _IO(IOMMUFD_TYPE, IOMMUFD_CMD_DESTROY)

/* Creates an I/O address space: IOVA to memory, without hardware yet. */
struct iommu_ioas_alloc {
	__u32 size;
	__u32 flags; /* zero */
	__u32 out_ioas_id;
};
#define IOMMU_IOAS_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOC)

/* Both ends are inside the range. */
struct iommu_iova_range {
	__aligned_u64 start;
	__aligned_u64 last;
};

/*
 * The IOVA ranges that a mapping may use now; attached devices narrow them. num_iovas is the room
 * in the array on input, the number of ranges on output; EMSGSIZE when the room was too small (as
 * many as fit are written). out_iova_alignment divides the start and the end of every mapping.
 */
struct iommu_ioas_iova_ranges {
	__u32 size;
	__u32 ioas_id;
	__u32 num_iovas;
	__u32 __reserved;
	__aligned_u64 allowed_iovas;
	__aligned_u64 out_iova_alignment;
};
#define IOMMU_IOAS_IOVA_RANGES _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_IOVA_RANGES)

/*
 * Replaces the list of ranges that devices may not narrow, and from which an automatic IOVA is
 * taken.
 */
struct iommu_ioas_allow_iovas {
	__u32 size;
	__u32 ioas_id;
	__u32 num_iovas;
	__u32 __reserved;
	__aligned_u64 allowed_iovas;
};
#define IOMMU_IOAS_ALLOW_IOVAS _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_ALLOW_IOVAS)

/* For MAP, MAP_FILE and COPY. Without FIXED_IOVA the kernel chooses the IOVA and returns it. */
enum iommufd_ioas_map_flags {
	IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0,
	IOMMU_IOAS_MAP_WRITEABLE = 1 << 1,
	IOMMU_IOAS_MAP_READABLE = 1 << 2,
};

struct iommu_ioas_map {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__u32 __reserved;
	__aligned_u64 user_va;
	__aligned_u64 length; /* bytes */
	__aligned_u64 iova;
};
#define IOMMU_IOAS_MAP _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP)

/* The same for `length` bytes of a memfd from byte `start` on. */
struct iommu_ioas_map_file {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__s32 fd;
	__aligned_u64 start;
	__aligned_u64 length;
	__aligned_u64 iova;
};
#define IOMMU_IOAS_MAP_FILE _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP_FILE)

/* Maps in dst what src already maps, sharing the pinned memory. */
struct iommu_ioas_copy {
	__u32 size;
	__u32 flags;
	__u32 dst_ioas_id;
	__u32 src_ioas_id;
	__aligned_u64 length;
	__aligned_u64 dst_iova;
	__aligned_u64 src_iova;
};
#define IOMMU_IOAS_COPY _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_COPY)

/*
 * Takes away whole mappings only. iova 0 with length U64_MAX is all of them. `length` returns the
 * bytes taken away.
 */
struct iommu_ioas_unmap {
	__u32 size;
	__u32 ioas_id;
	__aligned_u64 iova;
	__aligned_u64 length;
};
#define IOMMU_IOAS_UNMAP _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_UNMAP)

/*
 * RLIMIT_MODE: 0 charges pinned memory to the user, 1 to the process; of the whole context
 * (object_id 0), before the first IOAS. HUGE_PAGES: 1 joins neighbouring pages into larger ones, 0
 * never; of one IOAS.
 */
enum iommufd_option {
	IOMMU_OPTION_RLIMIT_MODE = 0,
	IOMMU_OPTION_HUGE_PAGES = 1,
};

enum iommufd_option_ops {
	IOMMU_OPTION_OP_SET = 0,
	IOMMU_OPTION_OP_GET = 1,
};

struct iommu_option {
	__u32 size;
	__u32 option_id;
	__u16 op;
	__u16 __reserved;
	__u32 object_id;
	__aligned_u64 val64;
};
#define IOMMU_OPTION _IO(IOMMUFD_TYPE, IOMMUFD_CMD_OPTION)

enum iommufd_vfio_ioas_op {
	IOMMU_VFIO_IOAS_GET = 0,
	IOMMU_VFIO_IOAS_SET = 1,
	IOMMU_VFIO_IOAS_CLEAR = 2,
};

/* Which IOAS the VFIO container ioctls work on. */
struct iommu_vfio_ioas {
	__u32 size;
	__u32 ioas_id;
	__u16 op;
	__u16 __reserved;
};
#define IOMMU_VFIO_IOAS _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VFIO_IOAS)

enum iommufd_hwpt_alloc_flags {
	IOMMU_HWPT_ALLOC_NEST_PARENT = 1 << 0,	  /* can carry nested tables */
	IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1, /* only devices that can track may attach */
	IOMMU_HWPT_FAULT_ID_VALID = 1 << 2,	  /* fault_id names a fault queue */
	IOMMU_HWPT_ALLOC_PASID = 1 << 3,	  /* may be attached to a PASID */
};

enum iommu_hwpt_vtd_s1_flags {
	IOMMU_VTD_S1_SRE = 1 << 0,
	IOMMU_VTD_S1_EAFE = 1 << 1,
	IOMMU_VTD_S1_WPE = 1 << 2,
};

struct iommu_hwpt_vtd_s1 {
	__aligned_u64 flags;
	__aligned_u64 pgtbl_addr;
	__u32 addr_width; /* bits */
	__u32 __reserved;
};

/* The guest's stream table entry, its first two words, as far as a nested table takes it. */
struct iommu_hwpt_arm_smmuv3 {
	__aligned_le64 ste[2];
};

/* [merged] The guest's device table entry. */
struct iommu_hwpt_amd_guest {
	__aligned_u64 dte[4];
};

enum iommu_hwpt_data_type __IOMMUFD_ENUM_U32 {
	IOMMU_HWPT_DATA_NONE = 0,
	IOMMU_HWPT_DATA_VTD_S1 = 1,
	IOMMU_HWPT_DATA_ARM_SMMUV3 = 2,
	IOMMU_HWPT_DATA_AMD_GUEST = 3, /* [merged] */
};

/*
 * Creates a hardware page table for a device: over an IOAS (data_type NONE), or a nested one over a
 * parent or a vIOMMU (pt_id), which needs data. Data without a type, or a type without data, is
 * EINVAL.
 */
struct iommu_hwpt_alloc {
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 pt_id;
	__u32 out_hwpt_id;
	__u32 __reserved;
	__u32 data_type;
	__u32 data_len;
	__aligned_u64 data_uptr;
	__u32 fault_id;
	__u32 __reserved2;
};
#define IOMMU_HWPT_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_ALLOC)

enum iommu_hw_info_vtd_flags {
	/* no read-only mappings below a nested table */
	IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 = 1 << 0,
};

struct iommu_hw_info_vtd {
	__u32 flags;
	__u32 __reserved;
	__aligned_u64 cap_reg;
	__aligned_u64 ecap_reg;
};

/*
 * [v2] `impl` is valid with this flag: bits 15:12 log2 of stream-id slots, 7:4 log2 of vCMDQs of
 * a vIOMMU, 3:0 version.
 */
enum iommu_hw_info_arm_smmuv3_flags {
	IOMMU_HW_INFO_ARM_SMMUV3_HAS_TEGRA241_CMDQV = 1 << 0,
};

/* The identification registers as the hardware has them. */
struct iommu_hw_info_arm_smmuv3 {
	__u32 flags;
	union {
		__u32 impl;	  /* [v2] */
		__u32 __reserved; /* v6.15 and [merged]: zero */
	};
	__u32 idr[6];
	__u32 iidr;
	__u32 aidr;
};

/* [merged] The same facts as a type of its own. */
struct iommu_hw_info_tegra241_cmdqv {
	__u32 flags;
	__u8 version;
	__u8 log2vcmdqs;
	__u8 log2vsids;
	__u8 __reserved;
};

/* [merged] Extended feature registers. */
struct iommu_hw_info_amd {
	__aligned_u64 efr;
	__aligned_u64 efr2;
};

enum iommu_hw_info_type __IOMMUFD_ENUM_U32 {
	IOMMU_HW_INFO_TYPE_NONE = 0,
	/* [merged] as an input: what the driver has first */
	IOMMU_HW_INFO_TYPE_DEFAULT = 0,
	IOMMU_HW_INFO_TYPE_INTEL_VTD = 1,
	IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2,
	IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV = 3, /* [merged] */
	IOMMU_HW_INFO_TYPE_AMD = 4,	       /* [merged] */
};

enum iommufd_hw_capabilities {
	IOMMU_HW_CAP_DIRTY_TRACKING = 1 << 0,
	IOMMU_HW_CAP_PCI_PASID_EXEC = 1 << 1,
	IOMMU_HW_CAP_PCI_PASID_PRIV = 1 << 2,
	IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1 << 3, /* [merged] */
};

/* [merged] */
enum iommufd_hw_info_flags {
	IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1 << 0, /* in_data_type asks for one type */
};

/*
 * What the IOMMU behind a device is. data_len is the room on input (0 is allowed) and what the
 * kernel has on output; a larger buffer's rest is zeroed.
 */
struct iommu_hw_info {
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 data_len;
	__aligned_u64 data_uptr;
	union {
		__u32 in_data_type; /* [merged] */
		__u32 out_data_type;
	};
	__u8 out_max_pasid_log2;
	__u8 __reserved[3];
	__aligned_u64 out_capabilities;
};
#define IOMMU_GET_HW_INFO _IO(IOMMUFD_TYPE, IOMMUFD_CMD_GET_HW_INFO)

enum iommufd_hwpt_set_dirty_tracking_flags {
	IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1,
};

struct iommu_hwpt_set_dirty_tracking {
	__u32 size;
	__u32 flags;
	__u32 hwpt_id;
	__u32 __reserved;
};
#define IOMMU_HWPT_SET_DIRTY_TRACKING _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING)

enum iommufd_hwpt_get_dirty_bitmap_flags {
	IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1,
};

/*
 * One bit a page_size bytes, from iova on; bit n of u64 n / 64. Reading clears unless told not
 * to.
 */
struct iommu_hwpt_get_dirty_bitmap {
	__u32 size;
	__u32 hwpt_id;
	__u32 flags;
	__u32 __reserved;
	__aligned_u64 iova;
	__aligned_u64 length;
	__aligned_u64 page_size;
	__aligned_u64 data;
};
#define IOMMU_HWPT_GET_DIRTY_BITMAP _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP)

enum iommu_hwpt_invalidate_data_type __IOMMUFD_ENUM_U32 {
	IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 = 0,
	IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 = 1,
};

enum iommu_hwpt_vtd_s1_invalidate_flags {
	IOMMU_VTD_INV_FLAGS_LEAF = 1 << 0,
};

struct iommu_hwpt_vtd_s1_invalidate {
	__aligned_u64 addr;
	__aligned_u64 npages;
	__u32 flags;
	__u32 __reserved;
};

/* One command of the SMMU's queue. */
struct iommu_viommu_arm_smmuv3_invalidate {
	__aligned_le64 cmd[2];
};

/*
 * Invalidates caches of a nested table or a vIOMMU (hwpt_id): entry_num requests of entry_len bytes
 * each. entry_num returns the number that was handled, on an error too. entry_num 0 asks whether
 * data_type is known.
 */
struct iommu_hwpt_invalidate {
	__u32 size;
	__u32 hwpt_id;
	__aligned_u64 data_uptr;
	__u32 data_type;
	__u32 entry_len;
	__u32 entry_num;
	__u32 __reserved;
};
#define IOMMU_HWPT_INVALIDATE _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HWPT_INVALIDATE)

enum iommu_hwpt_pgfault_flags {
	IOMMU_PGFAULT_FLAGS_PASID_VALID = 1 << 0,
	/* the group is complete: answer with its cookie */
	IOMMU_PGFAULT_FLAGS_LAST_PAGE = 1 << 1,
};

enum iommu_hwpt_pgfault_perm {
	IOMMU_PGFAULT_PERM_READ = 1 << 0,
	IOMMU_PGFAULT_PERM_WRITE = 1 << 1,
	IOMMU_PGFAULT_PERM_EXEC = 1 << 2,
	IOMMU_PGFAULT_PERM_PRIV = 1 << 3,
};

/* What read() of a fault queue returns, one after the other. */
struct iommu_hwpt_pgfault {
	__u32 flags;
	__u32 dev_id;
	__u32 pasid;
	__u32 grpid;
	__u32 perm;
	__u32 __reserved;
	__aligned_u64 addr;
	/* a hint: bytes that the device is going to want; 0 when it does not say */
	__u32 length;
	__u32 cookie;
};

enum iommufd_page_response_code {
	IOMMUFD_PAGE_RESP_SUCCESS = 0,
	IOMMUFD_PAGE_RESP_INVALID = 1,
};

/* What write() to a fault queue takes. */
struct iommu_hwpt_page_response {
	__u32 cookie;
	__u32 code;
};

struct iommu_fault_alloc {
	__u32 size;
	__u32 flags; /* zero */
	__u32 out_fault_id;
	__u32 out_fault_fd;
};
#define IOMMU_FAULT_QUEUE_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_FAULT_QUEUE_ALLOC)

enum iommu_viommu_type __IOMMUFD_ENUM_U32 {
	IOMMU_VIOMMU_TYPE_DEFAULT = 0, /* never supported */
	IOMMU_VIOMMU_TYPE_ARM_SMMUV3 = 1,
	IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV = 2, /* a VINTF; its guest sees HYP_OWN as 0 */
};

/* Where to mmap the VINTF's page 0: the offset and the bytes. */
struct iommu_viommu_tegra241_cmdqv {
	union {
		__aligned_u64 out_vintf_page0_pgoff; /* [v2] */
		__aligned_u64 out_vintf_mmap_offset; /* [merged] */
	};
	union {
		__aligned_u64 out_vintf_page0_pgsz;  /* [v2] */
		__aligned_u64 out_vintf_mmap_length; /* [merged] */
	};
};

/*
 * A guest's slice of the IOMMU behind a device, over a nesting parent. v6.15 ends at
 * out_viommu_id.
 */
struct iommu_viommu_alloc {
	__u32 size;
	__u32 flags; /* zero */
	__u32 type;
	__u32 dev_id;
	__u32 hwpt_id;
	__u32 out_viommu_id;
	__u32 data_len;
	__u32 __reserved;
	__aligned_u64 data_uptr;
};
#define IOMMU_VIOMMU_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VIOMMU_ALLOC)

/* A device as the guest numbers it. */
struct iommu_vdevice_alloc {
	__u32 size;
	__u32 viommu_id;
	__u32 dev_id;
	__u32 out_vdevice_id;
	__aligned_u64 virt_id;
};
#define IOMMU_VDEVICE_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VDEVICE_ALLOC)

/*
 * Moves the charge for pinned memory to the calling process; EINVAL if anything but files is
 * mapped.
 */
struct iommu_ioas_change_process {
	__u32 size;
	__u32 __reserved;
};
#define IOMMU_IOAS_CHANGE_PROCESS _IO(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_CHANGE_PROCESS)

enum iommu_veventq_flag {
	IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1U << 0, /* events were lost here; no data follows */
};

/*
 * Before each event that read() returns. A gap in the sequence numbers (modulo 2^31) is events
 * lost.
 */
struct iommufd_vevent_header {
	__u32 flags;
	__u32 sequence;
};

enum iommu_veventq_type __IOMMUFD_ENUM_U32 {
	IOMMU_VEVENTQ_TYPE_DEFAULT = 0, /* never supported */
	IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 = 1,
	IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV = 2,
};

struct iommu_vevent_arm_smmuv3 {
	__aligned_le64 evt[4];
};

/* One bit a logical vCMDQ in error. */
struct iommu_vevent_tegra241_cmdqv {
	__aligned_le64 lvcmdq_err_map[2];
};

/* One queue a type and vIOMMU. */
struct iommu_veventq_alloc {
	__u32 size;
	__u32 flags; /* zero */
	__u32 viommu_id;
	__u32 type;
	__u32 veventq_depth; /* events */
	__u32 out_veventq_id;
	__u32 out_veventq_fd;
	__u32 __reserved;
};
#define IOMMU_VEVENTQ_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VEVENTQ_ALLOC)

/*
 * [v2] TEGRA241_CMDQV: indices are allocated upwards from 0 and destroyed downwards; length is a
 * power of two from 32 bytes to 16 << idr[1].CMDQS, and addr a multiple of it.
 */
enum iommu_vcmdq_type __IOMMUFD_ENUM_U32 {
	IOMMU_VCMDQ_TYPE_DEFAULT = 0, /* never supported */
	IOMMU_VCMDQ_TYPE_TEGRA241_CMDQV = 1,
};

/*
 * [v2] A queue that the hardware reads, at `length` bytes from guest physical `addr`; contiguous
 * in host memory, and pinned.
 */
struct iommu_vcmdq_alloc {
	__u32 size;
	__u32 flags; /* zero */
	__u32 viommu_id;
	__u32 type;
	__u32 index;
	__u32 out_vcmdq_id;
	__aligned_u64 addr;
	__aligned_u64 length;
};
#define IOMMU_VCMDQ_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_VCMDQ_ALLOC)

/* [merged] The same rules for TEGRA241_CMDQV. */
enum iommu_hw_queue_type __IOMMUFD_ENUM_U32 {
	IOMMU_HW_QUEUE_TYPE_DEFAULT = 0, /* never supported */
	IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV = 1,
};

/* [merged] `index` is unique within a type of a vIOMMU. */
struct iommu_hw_queue_alloc {
	__u32 size;
	__u32 flags; /* zero */
	__u32 viommu_id;
	__u32 type;
	__u32 index;
	__u32 out_hw_queue_id;
	__aligned_u64 nesting_parent_iova;
	__aligned_u64 length;
};
#define IOMMU_HW_QUEUE_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_HW_QUEUE_ALLOC)

#endif
