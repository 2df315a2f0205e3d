// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The IOMMU core as a driver and iommufd see it: domains, groups, device ownership, attach handles,
 * reserved regions and the helpers that copy driver data from and to the user.
 *
 * Mirrors include/linux/iommu.h and drivers/iommu/iommu-priv.h of Linux 7.2, with struct iommu_ops
 * of v6.15 plus the vCMDQ series beside it (viommu_alloc). It differs in these points: there is no
 * DMA API and no SVA, hence one kind of domain cookie; a device joins through
 * iommu_probe_device(dev, iommu) since there are no busses; ops return result<T *> where the
 * kernel's return ERR_PTR; group ids are given out by the kernel instance.
 */
#pragma once

#include <cstddef>

#include "core/iommu/iova_bitmap.h"
#include "core/linux/device.h"
#include "core/linux/err.h"
#include "core/linux/list.h"
#include "core/linux/mutex.h"
#include "core/linux/refcount.h"
#include "core/linux/slab.h"
#include "core/linux/types.h"
#include "core/linux/uaccess.h"
#include "core/linux/xarray.h"
#include "uapi/iommufd.h"

#define IOMMU_READ   (1 << 0)
#define IOMMU_WRITE  (1 << 1)
#define IOMMU_CACHE  (1 << 2) /* DMA is coherent with the CPU's caches */
#define IOMMU_NOEXEC (1 << 3)
#define IOMMU_MMIO   (1 << 4) /* the target is a device, an MSI doorbell say */
#define IOMMU_PRIV   (1 << 5)

/* read_and_clear_dirty(): the bits stay as they are. IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR's value.
 */
#define IOMMU_DIRTY_NO_CLEAR (1 << 0)

struct dev_iommu;
struct iommu_attach_handle;
struct iommu_device;
struct iommu_dirty_ops;
struct iommu_domain;
struct iommu_domain_ops;
struct iommu_fault_param;
struct iommu_group;
struct iommu_ops;
struct iommu_page_response;
struct iommufd_ctx;
struct iommufd_hw_pagetable;
struct iommufd_struct;
struct iommufd_viommu;
struct iopf_fault;
struct iopf_group;

typedef unsigned int ioasid_t;

#define IOMMU_NO_PASID	    (0U) /* the device's own requester id, without a PASID */
#define IOMMU_PASID_INVALID (-1U)

struct iommu_domain_geometry {
	dma_addr_t aperture_start; /* the first address that can be mapped */
	dma_addr_t aperture_end;   /* the last one */
	bool force_aperture;	   /* nothing outside can be translated */
};

enum iommu_domain_cookie_type {
	IOMMU_COOKIE_NONE,
	IOMMU_COOKIE_IOMMUFD,
};

#define __IOMMU_DOMAIN_PAGING	(1U << 0) /* iommu_map() and iommu_unmap() work */
#define __IOMMU_DOMAIN_DMA_API	(1U << 1)
#define __IOMMU_DOMAIN_PT	(1U << 2) /* identity */
#define __IOMMU_DOMAIN_PLATFORM (1U << 5)
#define __IOMMU_DOMAIN_NESTED	(1U << 6) /* the guest's tables over a stage 2 */

#define IOMMU_DOMAIN_BLOCKED   (0U)
#define IOMMU_DOMAIN_IDENTITY  (__IOMMU_DOMAIN_PT)
#define IOMMU_DOMAIN_UNMANAGED (__IOMMU_DOMAIN_PAGING)
#define IOMMU_DOMAIN_NESTED    (__IOMMU_DOMAIN_NESTED)

/*
 * One translation. A driver's domain derives from it, allocates itself in domain_alloc_x() and
 * frees itself in ops->free(). Aggregate on purpose: a driver's blocking or identity domain is a
 * plain static object.
 */
struct iommu_domain {
	unsigned int type = 0; /* IOMMU_DOMAIN_x */
	enum iommu_domain_cookie_type cookie_type = IOMMU_COOKIE_NONE;
	const struct iommu_domain_ops *ops = nullptr;
	const struct iommu_dirty_ops *dirty_ops = nullptr;
	const struct iommu_ops *owner = nullptr; /* whose allocator made it */
	unsigned long pgsize_bitmap = 0;	 /* bytes, a bit for each page size in use */
	struct iommu_domain_geometry geometry = {};
	int (*iopf_handler)(struct iopf_group *group) = nullptr;
	struct iommufd_hw_pagetable *iommufd_hwpt = nullptr; /* with IOMMU_COOKIE_IOMMUFD */
};

enum iommu_cap {
	IOMMU_CAP_CACHE_COHERENCY, /* IOMMU_CACHE is honoured; iommufd insists on it */
	IOMMU_CAP_NOEXEC,
	IOMMU_CAP_PRE_BOOT_PROTECTION,
	IOMMU_CAP_ENFORCE_CACHE_COHERENCY, /* ops->enforce_cache_coherency() works */
	IOMMU_CAP_DEFERRED_FLUSH,
	IOMMU_CAP_DIRTY_TRACKING,
	IOMMU_CAP_PCI_ATS_SUPPORTED,
};

enum iommu_resv_type {
	IOMMU_RESV_DIRECT,	     /* mapped 1:1 at all times */
	IOMMU_RESV_DIRECT_RELAXABLE, /* the same, but assignment may ignore it */
	IOMMU_RESV_RESERVED,	     /* never map, never use */
	IOMMU_RESV_MSI,		     /* a hardware MSI window, not translated */
	IOMMU_RESV_SW_MSI,	     /* an MSI window that software maps */
};

struct iommu_resv_region {
	struct list_head list;
	phys_addr_t start = 0;
	size_t length = 0; /* bytes */
	int prot = 0;	   /* IOMMU_READ, ... */
	enum iommu_resv_type type = IOMMU_RESV_RESERVED;
	void (*free)(struct device *dev, struct iommu_resv_region *region) = nullptr;
};

/* A range of addresses whose cached translations wait for one flush. */
struct iommu_iotlb_gather {
	unsigned long start;
	unsigned long end; /* inclusive */
	size_t pgsize;
	bool queued;
};

/* Where read_and_clear_dirty() tells what it found. Either may be NULL: nobody asks. */
struct iommu_dirty_bitmap {
	struct iova_bitmap *bitmap;
	struct iommu_iotlb_gather *gather; /* what must be flushed for the bits to be set again */
};

/*
 * Of a domain whose hardware notes in the page table which pages were written.
 *
 * @set_dirty_tracking: enabled twice is fine. Any thread, with the IOAS's iova_rwsem for reading.
 * @read_and_clear_dirty: iommu_dirty_bitmap_record() for each dirty page in [iova, iova + size),
 * which becomes clean unless flags has IOMMU_DIRTY_NO_CLEAR. Pages that reach out of the range are
 * clean as a whole then. What is not mapped is skipped. Other calls may run at the same time.
 */
struct iommu_dirty_ops {
	int (*set_dirty_tracking)(struct iommu_domain *domain, bool enabled) = nullptr;
	int (*read_and_clear_dirty)(struct iommu_domain *domain, unsigned long iova, size_t size,
				    unsigned long flags,
				    struct iommu_dirty_bitmap *dirty) = nullptr;
};

/* Data of a driver's own type that came with a command; uptr is the command's field, unchecked. */
struct iommu_user_data {
	unsigned int type;
	user_inout<void> uptr;
	size_t len; /* bytes */
};

/* The same as an array. A driver sets entry_num to the number of entries that it has handled. */
struct iommu_user_data_array {
	unsigned int type;
	user_inout<void> uptr;
	size_t entry_len; /* bytes of one entry */
	u32 entry_num;
};

/*
 * Copies *src_data into dst_data, which is data_len bytes; an older and shorter user's struct is
 * zero-extended, a longer one must be refused by its caller's length check. Returns 0; -EINVAL:
 * another type, shorter than min_len or longer than data_len; -EFAULT. Compare
 * __iommu_copy_struct_from_user.
 */
int __iommu_copy_struct_from_user(void *dst_data, const struct iommu_user_data *src_data,
				  unsigned int data_type, size_t data_len, size_t min_len);
#define iommu_copy_struct_from_user(kdst, user_data, data_type, min_last)          \
	__iommu_copy_struct_from_user(kdst, user_data, data_type, sizeof(*(kdst)), \
				      offsetof(__typeof__(*(kdst)), min_last) +    \
					      sizeof((kdst)->min_last))

/* One entry of an array. An index past the end is a driver's bug.
 * Compare __iommu_copy_struct_from_user_array. */
int __iommu_copy_struct_from_user_array(void *dst_data,
					const struct iommu_user_data_array *src_array,
					unsigned int data_type, unsigned int index, size_t data_len,
					size_t min_len);
#define iommu_copy_struct_from_user_array(kdst, user_array, data_type, index, min_last)          \
	__iommu_copy_struct_from_user_array(kdst, user_array, data_type, index, sizeof(*(kdst)), \
					    offsetof(__typeof__(*(kdst)), min_last) +            \
						    sizeof((kdst)->min_last))

/*
 * The whole array, kdst_entry_size bytes an entry. Returns 0; -EINVAL: another type or no entry;
 * -E2BIG: a longer entry whose rest is not zero; -EFAULT. Compare
 * iommu_copy_struct_from_full_user_array.
 */
int iommu_copy_struct_from_full_user_array(void *kdst, size_t kdst_entry_size,
					   const struct iommu_user_data_array *user_array,
					   unsigned int data_type);

/* The way back: as many bytes as the user's struct has. Errors as above.
 * Compare __iommu_copy_struct_to_user. */
int __iommu_copy_struct_to_user(const struct iommu_user_data *dst_data, const void *src_data,
				unsigned int data_type, size_t data_len, size_t min_len);
#define iommu_copy_struct_to_user(user_data, ksrc, data_type, min_last)          \
	__iommu_copy_struct_to_user(user_data, ksrc, data_type, sizeof(*(ksrc)), \
				    offsetof(__typeof__(*(ksrc)), min_last) +    \
					    sizeof((ksrc)->min_last))

/*
 * What an IOMMU driver does. Every member may be NULL unless it says otherwise.
 *
 * @capable: does the device have the capability?
 * @hw_info: the hardware's description in memory from kmalloc() that the caller frees, its length
 *in bytes and its type; on entry *type is the type asked for, IOMMU_HW_INFO_TYPE_DEFAULT for the
 *driver's own choice. An unknown type is -EOPNOTSUPP.
 * @hw_info_v2: the same for the series' form, where it differs; it has no type that could be asked
 *for.
 * @domain_alloc_paging_flags: flags are IOMMU_HWPT_ALLOC_x; user_data may be NULL.
 * @domain_alloc_paging: a driver has this or the one above.
 * @domain_alloc_nested: over `parent`, which is this driver's and was made to be a parent;
 *user_data is there and not empty.
 * @probe_device: required. Returns the IOMMU instance that serves the device.
 * @device_group: the device's group with a reference; generic_device_group() makes one for each
 *device.
 * @page_response: the device's fault has its answer. Called under the lock of the device's faults:
 *reports none.
 * @viommu_alloc: the series' form. The driver allocates with iommufd_viommu_alloc<T>(ictx, ops) and
 *gives up with iommufd_struct_destroy(). user_data is NULL when the user gave none.
 * @get_viommu_struct: the merged form. What to allocate for a vIOMMU of this type, NULL when there
 *is no such type.
 * @viommu_init: the merged form. Fills viommu->ops; everything else of the core's part is already
 *set. When it fails the object goes without ops->destroy, so it undoes what it did.
 */
struct iommu_ops {
	bool (*capable)(struct device *dev, enum iommu_cap cap) = nullptr;
	result<void *> (*hw_info)(struct device *dev, u32 *length,
				  enum iommu_hw_info_type *type) = nullptr;
	result<void *> (*hw_info_v2)(struct device *dev, u32 *length,
				     enum iommu_hw_info_type *type) = nullptr;

	result<struct iommu_domain *> (*domain_alloc_paging_flags)(
		struct device *dev, u32 flags, const struct iommu_user_data *user_data) = nullptr;
	result<struct iommu_domain *> (*domain_alloc_paging)(struct device *dev) = nullptr;
	result<struct iommu_domain *> (*domain_alloc_nested)(
		struct device *dev, struct iommu_domain *parent, u32 flags,
		const struct iommu_user_data *user_data) = nullptr;

	result<struct iommu_device *> (*probe_device)(struct device *dev) = nullptr;
	void (*release_device)(struct device *dev) = nullptr;
	result<struct iommu_group *> (*device_group)(struct device *dev) = nullptr;
	void (*get_resv_regions)(struct device *dev, struct list_head *list) = nullptr;

	void (*page_response)(struct device *dev, struct iopf_fault *evt,
			      struct iommu_page_response *msg) = nullptr;

	result<struct iommufd_viommu *> (*viommu_alloc)(
		struct device *dev, struct iommu_domain *parent_domain, struct iommufd_ctx *ictx,
		unsigned int viommu_type, const struct iommu_user_data *user_data) = nullptr;
	const struct iommufd_struct *(*get_viommu_struct)(
		struct device *dev, enum iommu_viommu_type viommu_type) = nullptr;
	int (*viommu_init)(struct iommufd_viommu *viommu, struct iommu_domain *parent_domain,
			   const struct iommu_user_data *user_data) = nullptr;

	const struct iommu_domain_ops *default_domain_ops = nullptr;
	struct iommu_domain *identity_domain = nullptr; /* always there, cannot fail to attach */
	struct iommu_domain *blocked_domain = nullptr;	/* the same */
	struct iommu_domain *default_domain = nullptr;
	bool user_pasid_table = false;
};

/*
 * @attach_dev: 0; -EINVAL: this domain does not fit this device and another may; -ENOMEM, -ENOSPC,
 * -EBUSY, -ENODEV.
 * @set_dev_pasid: the same for one PASID, replacing `old` if there is one.
 * @map_pages: *mapped grows by the bytes that are mapped, also on failure. Same errnos as
 * iommu_map().
 * @unmap_pages: the bytes that are gone.
 * @cache_invalidate_user: nested domains. Sets array->entry_num to what is done, also on failure.
 * @iova_to_phys: 0 when nothing is there.
 * @enforce_cache_coherency: no DMA through this domain can bypass the caches from now on.
 * @free: gives the memory back.
 */
struct iommu_domain_ops {
	int (*attach_dev)(struct iommu_domain *domain, struct device *dev,
			  struct iommu_domain *old) = nullptr;
	int (*set_dev_pasid)(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
			     struct iommu_domain *old) = nullptr;

	int (*map_pages)(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			 size_t pgsize, size_t pgcount, int prot, gfp_t gfp,
			 size_t *mapped) = nullptr;
	size_t (*unmap_pages)(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
			      size_t pgcount, struct iommu_iotlb_gather *iotlb_gather) = nullptr;

	void (*flush_iotlb_all)(struct iommu_domain *domain) = nullptr;
	int (*iotlb_sync_map)(struct iommu_domain *domain, unsigned long iova,
			      size_t size) = nullptr;
	void (*iotlb_sync)(struct iommu_domain *domain,
			   struct iommu_iotlb_gather *iotlb_gather) = nullptr;
	int (*cache_invalidate_user)(struct iommu_domain *domain,
				     struct iommu_user_data_array *array) = nullptr;

	phys_addr_t (*iova_to_phys)(struct iommu_domain *domain, dma_addr_t iova) = nullptr;
	bool (*enforce_cache_coherency)(struct iommu_domain *domain) = nullptr;
	void (*free)(struct iommu_domain *domain) = nullptr;
};

/* One IOMMU in the machine. A driver's instance derives from it. */
struct iommu_device {
	const struct iommu_ops *ops = nullptr;
	struct device *dev = nullptr;
	u32 max_pasids = 0;
	bool ready = false;
};

/* PCI's PASID control register, as pci_pasid_status() returns it. */
#define PCI_PASID_CTRL_ENABLE 0x01
#define PCI_PASID_CTRL_EXEC   0x02 /* requests may be for instructions */
#define PCI_PASID_CTRL_PRIV   0x04 /* requests may be privileged */

/* What the IOMMU core keeps for a device; device::iommu. CUSTOMISED: isolated_msi stands for the
 * walk over MSI domains; max_pasids and pci_pasid_ctrl are set by probe_device, in place of the
 * firmware's "pasid-num-bits" and of PCI's capability. */
struct dev_iommu {
	struct mutex lock{LOCK_CLASS(dev_iommu, lock)};
	struct iommu_fault_param *fault_param __guarded_by(lock) = nullptr; /* see io-pgfault.h */
	struct iommu_device *iommu_dev = nullptr;
	void *priv = nullptr;
	u32 max_pasids = 0;	     /* 0: the device has none */
	u32 pci_pasid_ctrl = 0;	     /* 0: no PCI device, or not enabled */
	bool require_direct = false; /* has IOMMU_RESV_DIRECT regions: cannot be blocked */
	bool isolated_msi = false;   /* its DMA cannot raise interrupts of others */
};

/*
 * What firmware tells of a device: the ids that its IOMMU sees. CUSTOMISED: it hangs on the device,
 * not on dev_iommu, so that it is there before the device is probed; whoever built the machine owns
 * it.
 */
struct iommu_fwspec {
	u32 flags = 0; /* IOMMU_FWSPEC_x */
	unsigned int num_ids = 0;
	const u32 *ids = nullptr;
};

#define IOMMU_FWSPEC_PCI_RC_ATS	   (1 << 0) /* ATS works through the root complex */
#define IOMMU_FWSPEC_PCI_RC_CANWBS (1 << 1) /* all its DMA is coherent, whatever it asks for */
#define IOMMU_FWSPEC_DMA_CAN_STALL (1 << 8) /* no kernel counterpart: property "dma-can-stall" */

static inline const struct iommu_fwspec *dev_iommu_fwspec_get(const struct device *dev)
{
	return dev->iommu_fwspec;
}

static inline void *dev_iommu_priv_get(const struct device *dev)
{
	return dev->iommu ? dev->iommu->priv : nullptr;
}

static inline void dev_iommu_priv_set(struct device *dev, void *priv)
{
	dev->iommu->priv = priv;
}

/* Who attached: found from (group, pasid) as long as the attachment lasts. Embedded by its user. */
struct iommu_attach_handle {
	struct iommu_domain *domain = nullptr;
};

/* IOMMU instances and devices. The driver owns both;
 * a device is released before its instance is unregistered. */
int iommu_device_register(struct iommu_device *iommu, const struct iommu_ops *ops,
			  struct device *hwdev);
void iommu_device_unregister(struct iommu_device *iommu);

/*
 * Puts a device under its IOMMU: dev->iommu, ops->probe_device(), a group, the group's domain.
 * Returns 0; -ENODEV: no driver claims it; -ENOMEM; what ops->device_group() or the first attach
 * says. Compare iommu_mock_device_add, __iommu_probe_device.
 */
int iommu_probe_device(struct device *dev, struct iommu_device *iommu);
/* Undoes it. Nobody owns or uses the device any more. Compare iommu_deinit_device. */
void iommu_release_device(struct device *dev);

static inline struct iommu_device *__iommu_get_iommu_dev(struct device *dev)
{
	return dev->iommu->iommu_dev;
}

static inline const struct iommu_ops *dev_iommu_ops(struct device *dev)
{
	return dev->iommu->iommu_dev->ops;
}

static inline bool dev_has_iommu(struct device *dev)
{
	return dev->iommu && dev->iommu->iommu_dev;
}

/* The driver's own type of instance. */
template <class T> static inline T *iommu_get_iommu_dev(struct device *dev)
{
	return static_cast<T *>(__iommu_get_iommu_dev(dev));
}

bool device_iommu_capable(struct device *dev, enum iommu_cap cap);

/* Groups: the devices that the hardware cannot tell apart. */
result<struct iommu_group *> iommu_group_alloc(void);
result<struct iommu_group *> generic_device_group(struct device *dev);
struct iommu_group *iommu_group_get(struct device *dev); /* NULL without a group */
struct iommu_group *iommu_group_ref_get(struct iommu_group *group);
void iommu_group_put(struct iommu_group *group);
int iommu_group_id(struct iommu_group *group);
/*
 * Whoever attaches, replaces or detaches holds it for writing around the call, and who reports a
 * fault of one of the group's devices for reading: so the attachments that a report finds stay. No
 * kernel counterpart: there a driver's own locks cover most of it. Taken before all other locks of
 * groups and devices.
 */
struct rw_semaphore *iommu_group_attach_rwsem(struct iommu_group *group);
bool iommu_group_has_isolated_msi(struct iommu_group *group);
/* The driver's attach ops run under the group's mutex. */
void iommu_group_mutex_assert(struct device *dev);
/* What the group translates through now; for drivers' models and for drawing, not synchronised with
 * a change. */
struct iommu_domain *iommu_get_domain_for_dev(struct device *dev);

/*
 * DMA ownership: iommufd takes it when it binds. Devices of one group must have the same owner.
 * Returns 0; -ENODEV: no group; -EPERM: another owner; -EBUSY: somebody attached a domain. Compare
 * iommu_device_claim_dma_owner.
 */
int iommu_device_claim_dma_owner(struct device *dev, void *owner);
void iommu_device_release_dma_owner(struct device *dev);

/* Domains. */
result<struct iommu_domain *> iommu_paging_domain_alloc(struct device *dev);
void iommu_domain_free(struct iommu_domain *domain);

/*
 * All sizes in bytes, multiples of the smallest page size. iommu_map(): 0; -EINVAL: alignment or an
 * overlap; -ENOMEM; the driver's. Nothing stays mapped when it fails. iommu_unmap(): the bytes that
 * were unmapped from the start on.
 */
int iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr, size_t size,
	      int prot, gfp_t gfp);
size_t iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size);
size_t iommu_unmap_fast(struct iommu_domain *domain, unsigned long iova, size_t size,
			struct iommu_iotlb_gather *iotlb_gather);
phys_addr_t iommu_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova);

static inline void iommu_iotlb_gather_init(struct iommu_iotlb_gather *gather)
{
	*gather = {.start = ~0UL, .end = 0, .pgsize = 0, .queued = false};
}

static inline void iommu_iotlb_gather_add_range(struct iommu_iotlb_gather *gather,
						unsigned long iova, size_t size)
{
	unsigned long end = iova + size - 1;

	if (gather->start > iova)
		gather->start = iova;
	if (gather->end < end)
		gather->end = end;
}

static inline void iommu_iotlb_sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
	if (domain->ops->iotlb_sync && gather->start < gather->end)
		domain->ops->iotlb_sync(domain, gather);
	iommu_iotlb_gather_init(gather);
}

static inline void iommu_dirty_bitmap_init(struct iommu_dirty_bitmap *dirty,
					   struct iova_bitmap *bitmap,
					   struct iommu_iotlb_gather *gather)
{
	if (gather)
		iommu_iotlb_gather_init(gather);
	*dirty = {.bitmap = bitmap, .gather = gather};
}

static inline void iommu_dirty_bitmap_record(struct iommu_dirty_bitmap *dirty, unsigned long iova,
					     unsigned long length)
{
	if (dirty->bitmap)
		iova_bitmap_set(dirty->bitmap, iova, length);
	if (dirty->gather)
		iommu_iotlb_gather_add_range(dirty->gather, iova, length);
}

/* One page; what does not join the range so far is synced before. */
static inline void iommu_iotlb_gather_add_page(struct iommu_domain *domain,
					       struct iommu_iotlb_gather *gather,
					       unsigned long iova, size_t size)
{
	const bool apart = iova > gather->end + 1 || iova + size < gather->start;

	if (gather->pgsize && (gather->pgsize != size || (gather->end && apart)))
		iommu_iotlb_sync(domain, gather);
	gather->pgsize = size;
	iommu_iotlb_gather_add_range(gather, iova, size);
}

/* Reserved regions of a device; the list is the caller's, given back with iommu_put_resv_regions().
 */
void iommu_get_resv_regions(struct device *dev, struct list_head *list);
void iommu_put_resv_regions(struct device *dev, struct list_head *list);
struct iommu_resv_region *iommu_alloc_resv_region(phys_addr_t start, size_t length, int prot,
						  enum iommu_resv_type type, gfp_t gfp);

/*
 * Attachments with a handle. A handle belongs to one attachment: never pass one that is in use.
 * Returns 0; -EBUSY: attached already (attach, for pasids EBUSY too); -EINVAL: another driver's
 * domain, no such pasid, nothing to replace; -EOPNOTSUPP: no PASID support; the driver's.
 */
int iommu_attach_group_handle(struct iommu_domain *domain, struct iommu_group *group,
			      struct iommu_attach_handle *handle);
void iommu_detach_group_handle(struct iommu_domain *domain, struct iommu_group *group);
int iommu_replace_group_handle(struct iommu_group *group, struct iommu_domain *new_domain,
			       struct iommu_attach_handle *handle);
int iommu_attach_device_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
			      struct iommu_attach_handle *handle);
int iommu_replace_device_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
			       struct iommu_attach_handle *handle);
void iommu_detach_device_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid);
/* -ENOENT: none; -EBUSY: its domain is not of `type` (0: any).
 * The caller keeps it attached meanwhile. */
result<struct iommu_attach_handle *> iommu_attach_handle_get(struct iommu_group *group,
							     ioasid_t pasid, unsigned int type);
