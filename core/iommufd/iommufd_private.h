// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the files of core/iommufd share: the context, the object table's functions, every object
 * type, the handlers.
 *
 * Mirrors drivers/iommu/iommufd/iommufd_private.h of Linux 7.2; struct io_pagetable and its
 * functions are in io_pagetable.h. It differs in this: objects derive from each other
 * (iommufd_hwpt_paging is an iommufd_hw_pagetable is an iommufd_object); short and long references
 * are types; what the kernel's object table says is in objects.h.
 */
#pragma once

#include "core/iommu/iommu.h"
#include "core/iommu/iommufd.h"
#include "core/iommufd/io_pagetable.h"
#include "core/iommufd/revision.h"
#include "core/linux/bitmap.h"
#include "core/linux/bug.h"
#include "core/linux/kref.h"
#include "core/linux/list.h"
#include "core/linux/maple_tree.h"
#include "core/linux/mutex.h"
#include "core/linux/refcount.h"
#include "core/linux/rwsem.h"
#include "core/linux/slab.h"
#include "core/linux/spinlock.h"
#include "core/linux/uaccess.h"
#include "core/linux/wait.h"
#include "core/linux/xarray.h"
#include "uapi/iommufd.h"

#include <atomic>

struct dma_buf_attachment;
struct file;
struct iommu_option;
struct iommufd_device;
struct iommufd_group;
struct iommufd_hw_pagetable;
struct iommufd_hwpt_paging;
struct iommufd_ioas;
struct iommufd_ucmd;
struct iopf_group;
struct kernel;
struct iommufd_look;
struct phys_vec;

/* One MSI doorbell page and the IOVA that the whole context gives it. */
struct iommufd_sw_msi_map {
	struct list_head sw_msi_item;
	phys_addr_t sw_msi_start = 0;
	phys_addr_t msi_addr = 0;
	unsigned int pgoff = 0; /* pages from sw_msi_start */
	unsigned int id = 0;
};

/* Bits are iommufd_sw_msi_map::id. */
struct iommufd_sw_msi_maps {
	DECLARE_BITMAP(bitmap, 64);
};

/* What stands behind one open file. */
struct iommufd_ctx {
	struct file *file = nullptr;
	const struct iommufd_revision *rev = nullptr;
	/* id -> object; a reserved entry is an object in the making, or a tombstone */
	struct xarray objects{LOCK_CLASS(iommufd_ctx, objects), XA_FLAGS_ALLOC1};
	/* no id has been larger; for introspection */
	std::atomic<u32> max_id{0};
	/* iommu_group id -> iommufd_group */
	struct xarray groups{LOCK_CLASS(iommufd_ctx, groups)};
	wait_queue_head_t destroy_wait;
	struct rw_semaphore ioas_creation_lock{LOCK_CLASS(iommufd_ctx, ioas_creation_lock)};
	/* offset of the file -> iommufd_mmap */
	struct maple_tree mt_mmap{LOCK_CLASS(iommufd_ctx, mt_mmap)};
	/* the same, as a list for introspection; under mt_mmap's lock */
	struct list_head mmap_list;

	struct mutex sw_msi_lock{LOCK_CLASS(iommufd_ctx, sw_msi_lock)};
	struct list_head sw_msi_list __guarded_by(sw_msi_lock);
	unsigned int sw_msi_id __guarded_by(sw_msi_lock) = 0;

	/* where vDEVICEs live apart from their devices:
	 * iommufd_vdevice::idev and iommufd_device::vdevs */
	struct mutex vdev_lock{LOCK_CLASS(iommufd_ctx, vdev_lock)};

	u8 account_mode =
		IOPT_PAGES_ACCOUNT_USER; /* changes under objects' lock while there is no object */
	/* VFIO's: both change under objects' lock. The IOAS is not held: it takes itself away. */
	u8 no_iommu_mode = 0;
	struct iommufd_ioas *vfio_ioas = nullptr;
};

/* A region that can be mmapped. Lives in iommufd_ctx::mt_mmap. */
struct iommufd_mmap {
	struct list_head item; /* of iommufd_ctx::mmap_list */
	struct iommufd_object *owner = nullptr;
	unsigned long vm_pgoff = 0; /* where it starts in the file: pages */
	phys_addr_t mmio_addr = 0;
	size_t length = 0;			   /* bytes */
	outside_users<iommufd_edge_mmap> mappings; /* of the owner */
};

/* One ioctl on its way through its handler. */
struct iommufd_ucmd {
	struct iommufd_ctx *ictx = nullptr;
	user_inout<void> ubuffer;
	u32 user_size = 0;   /* bytes, as the user says */
	void *cmd = nullptr; /* the kernel's copy */
	/* the half-built object, which the dispatcher finalizes or aborts */
	struct iommufd_object *new_obj = nullptr;
};

/* VFIO's container ioctls; see vfio_compat.cc. */
int iommufd_vfio_ioctl(struct iommufd_ctx *ictx, unsigned int cmd, unsigned long arg);
int iommufd_vfio_ioas(struct iommufd_ucmd *ucmd);

/* Copies the response back, as much of it as the user has room for. 0 or -EFAULT. */
static inline int iommufd_ucmd_respond(struct iommufd_ucmd *ucmd, size_t cmd_len)
{
	return ucmd->ubuffer.copy_to_user(ucmd->cmd, min_t(size_t, ucmd->user_size, cmd_len));
}

/* ---- the object table ---- */

/*
 * Takes a short reference. False: the object is on its way out. Called with the table's lock held,
 * or by somebody who has a reference already.
 */
static inline bool iommufd_lock_obj(struct iommufd_object *obj)
{
	if (!iommufd_users::try_get(obj))
		return false;
	if (!refcount_inc_not_zero(&obj->wait_cnt)) {
		/* the table's lock or the caller's own reference keeps users above one here */
		iommufd_users::put(obj);
		return false;
	}
	return true;
}

/*
 * The same of a pointer that a lock of the caller's keeps alive. Nothing: the object is on its way
 * out. iommufd_get<T>() is for ids.
 */
template <class T> static inline short_ref<T> iommufd_lock(struct iommufd_ctx *ictx, T *obj)
{
	return iommufd_lock_obj(obj) ? short_ref<T>::adopt(ictx, obj) : short_ref<T>();
}

users_ref<struct iommufd_object> _iommufd_try_get_users(struct iommufd_ctx *ictx,
							struct iommufd_object *obj);

/*
 * A user of an object of which the caller only has the pointer, kept alive by a lock of the
 * caller's. Nothing: it is not in the table, since it is being made or destroyed.
 */
template <class T>
static inline users_ref<T> iommufd_try_get_users(struct iommufd_ctx *ictx, T *obj)
{
	auto user = _iommufd_try_get_users(ictx, obj);

	return user ? iommufd_users::adopt(
			      static_cast<T *>(iommufd_users::release(std::move(user))))
		    : users_ref<T>();
}

/* The same of an object that the caller has made and nobody can look up yet. */
template <class T> static inline users_ref<T> iommufd_get_new_users(T *obj)
{
	iommufd_users::get(obj);
	return iommufd_users::adopt(obj);
}

void iommufd_object_abort_and_destroy(struct iommufd_ctx *ictx, struct iommufd_object *obj);
void iommufd_object_finalize(struct iommufd_ctx *ictx, struct iommufd_object *obj);

enum {
	REMOVE_WAIT = BIT(0), /* the caller has a user: wait until all short references are gone */
	REMOVE_OBJ_TOMBSTONE = BIT(1), /* the id stays taken */
};
[[nodiscard]] int iommufd_object_remove(struct iommufd_ctx *ictx,
					users_ref<struct iommufd_object> to_destroy, u32 id,
					unsigned int flags);

/* The caller has the only user left besides the table's, and no short reference; both go. */
static inline void iommufd_object_destroy_user(struct iommufd_ctx *ictx,
					       users_ref<struct iommufd_object> user)
{
	const u32 id = user->id;

	/* when a bug keeps the object, close tries again: the caller's user is gone in any case */
	WARN_ON(iommufd_object_remove(ictx, std::move(user), id, REMOVE_WAIT));
}

/* The same, and the id stays taken so that its next use is -ENOENT until it is destroyed. */
static inline void iommufd_object_tombstone_user(struct iommufd_ctx *ictx,
						 users_ref<struct iommufd_object> user)
{
	const u32 id = user->id;

	WARN_ON(iommufd_object_remove(ictx, std::move(user), id,
				      REMOVE_WAIT | REMOVE_OBJ_TOMBSTONE));
}

/*
 * Puts a user of an automatic HWPT, which goes with its last one. A program that holds it for a
 * moment makes it stay: that is the contract.
 */
static inline void iommufd_object_put_and_try_destroy(struct iommufd_ctx *ictx,
						      users_ref<struct iommufd_object> user)
{
	const u32 id = user->id;

	(void)iommufd_object_remove(ictx, std::move(user), id, 0);
}

/*
 * A new object with a reserved id that nobody can look up. The caller ends with
 * iommufd_object_finalize(), or with iommufd_object_abort_and_destroy() if anything can still fail.
 * -ENOMEM; -EBUSY: no id left.
 */
template <class T>
static inline result<T *>
iommufd_object_alloc(struct iommufd_ctx *ictx,
		     const struct iommufd_struct *st = &iommufd_struct_of<T>)
{
	auto obj = _iommufd_object_alloc(ictx, st);

	if (!obj)
		return obj.error();
	return static_cast<T *>(*obj);
}

result<struct iommufd_object *> _iommufd_object_alloc_ucmd(struct iommufd_ucmd *ucmd,
							   const struct iommufd_struct *st);

/* Looks up by id and type. -ENOENT. */
template <class T> static inline short_ref<T> iommufd_get(struct iommufd_ctx *ictx, u32 id)
{
	return iommufd_get_object(ictx, id, T::obj_type).template to<T>();
}

/* ---- object types ---- */

/* An I/O address space. Its HWPTs are copies of its map. */
struct iommufd_ioas : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_IOAS;

	struct io_pagetable iopt;
	struct mutex mutex{LOCK_CLASS(iommufd_ioas, mutex)};
	struct list_head hwpt_list __guarded_by(mutex);
};

static inline short_ref<struct iommufd_ioas> iommufd_get_ioas(struct iommufd_ctx *ictx, u32 id)
{
	return iommufd_get<struct iommufd_ioas>(ictx, id);
}

result<struct iommufd_ioas *> iommufd_ioas_alloc(struct iommufd_ctx *ictx);
int iommufd_ioas_alloc_ioctl(struct iommufd_ucmd *ucmd);
void iommufd_ioas_destroy(struct iommufd_object *obj);
void iommufd_ioas_look(struct iommufd_object *obj, struct iommufd_look *look);
int iommufd_ioas_iova_ranges(struct iommufd_ucmd *ucmd);
int iommufd_ioas_allow_iovas(struct iommufd_ucmd *ucmd);
int iommufd_ioas_map(struct iommufd_ucmd *ucmd);
int iommufd_ioas_map_file(struct iommufd_ucmd *ucmd);
int iommufd_ioas_copy(struct iommufd_ucmd *ucmd);
int iommufd_ioas_unmap(struct iommufd_ucmd *ucmd);
int iommufd_ioas_change_process(struct iommufd_ucmd *ucmd);
int iommufd_ioas_option(struct iommufd_ucmd *ucmd);
int iommufd_option_rlimit_mode(struct iommu_option *cmd, struct iommufd_ctx *ictx);

struct iommufd_fault;

/* One iommu_domain with an id. Two types derive from it. */
struct iommufd_hw_pagetable : iommufd_object {
	struct iommu_domain *domain = nullptr;
	users_ref<struct iommufd_fault> fault; /* where its page faults go */
	bool pasid_compat = false;	       /* may be attached to a PASID, or beside one */
};

/* Its tables are the kernel's: a copy of an IOAS. */
struct iommufd_hwpt_paging : iommufd_hw_pagetable {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_HWPT_PAGING;

	users_ref<struct iommufd_ioas> ioas;
	/* made by an attach; goes with its last device. Set once it is in the object table */
	std::atomic<bool> auto_domain{false};
	bool enforce_cache_coherency = false;
	bool nest_parent = false;
	struct list_head hwpt_item;		   /* of iommufd_ioas::hwpt_list */
	struct iommufd_sw_msi_maps present_sw_msi; /* under iommufd_ctx::sw_msi_lock */
};

/* Its tables are the guest's. It keeps its parent, or its vIOMMU which keeps the parent. */
struct iommufd_hwpt_nested : iommufd_hw_pagetable {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_HWPT_NESTED;

	struct iommufd_hwpt_paging *parent = nullptr;
	users_ref<struct iommufd_hwpt_paging> parent_ref; /* without a vIOMMU */
	users_ref<struct iommufd_viommu> viommu;
};

static inline bool hwpt_is_paging(const struct iommufd_hw_pagetable *hwpt)
{
	return hwpt->type == IOMMUFD_OBJ_HWPT_PAGING;
}

static inline struct iommufd_hwpt_paging *to_hwpt_paging(struct iommufd_hw_pagetable *hwpt)
{
	return static_cast<struct iommufd_hwpt_paging *>(hwpt);
}

static inline struct iommufd_hwpt_nested *to_hwpt_nested(struct iommufd_hw_pagetable *hwpt)
{
	return static_cast<struct iommufd_hwpt_nested *>(hwpt);
}

/* The paging HWPT that translates in the end. */
static inline struct iommufd_hwpt_paging *find_hwpt_paging(struct iommufd_hw_pagetable *hwpt)
{
	switch (hwpt->type) {
	case IOMMUFD_OBJ_HWPT_PAGING:
		return to_hwpt_paging(hwpt);
	case IOMMUFD_OBJ_HWPT_NESTED:
		return to_hwpt_nested(hwpt)->parent;
	default:
		return nullptr;
	}
}

static inline short_ref<struct iommufd_hwpt_paging>
iommufd_get_hwpt_paging(struct iommufd_ucmd *ucmd, u32 id)
{
	return iommufd_get<struct iommufd_hwpt_paging>(ucmd->ictx, id);
}

static inline short_ref<struct iommufd_hwpt_nested>
iommufd_get_hwpt_nested(struct iommufd_ucmd *ucmd, u32 id)
{
	return iommufd_get<struct iommufd_hwpt_nested>(ucmd->ictx, id);
}

result<struct iommufd_hwpt_paging *>
iommufd_hwpt_paging_alloc(struct iommufd_ctx *ictx, const held_ref<struct iommufd_ioas> &ioas,
			  struct iommufd_device *idev, ioasid_t pasid, u32 flags,
			  bool immediate_attach, const struct iommu_user_data *user_data)
	__must_hold(ioas->mutex);
int iommufd_hw_pagetable_attach(struct iommufd_hw_pagetable *hwpt, struct iommufd_device *idev,
				ioasid_t pasid);
/* False: was not attached. */
bool iommufd_hw_pagetable_detach(struct iommufd_device *idev, ioasid_t pasid);
void iommufd_hwpt_paging_destroy(struct iommufd_object *obj);
void iommufd_hwpt_paging_abort(struct iommufd_object *obj);
void iommufd_hwpt_paging_look(struct iommufd_object *obj, struct iommufd_look *look);
void iommufd_hwpt_nested_destroy(struct iommufd_object *obj);
void iommufd_hwpt_nested_abort(struct iommufd_object *obj);
int iommufd_hwpt_alloc(struct iommufd_ucmd *ucmd);
int iommufd_hwpt_set_dirty_tracking(struct iommufd_ucmd *ucmd);
int iommufd_hwpt_get_dirty_bitmap(struct iommufd_ucmd *ucmd);
int iommufd_hwpt_invalidate(struct iommufd_ucmd *ucmd);

/* Puts a user of a HWPT. Never under ioas->mutex: an automatic one may go. */
static inline void iommufd_hw_pagetable_put(struct iommufd_ctx *ictx,
					    users_ref<struct iommufd_hw_pagetable> user)
{
	struct iommufd_hw_pagetable *hwpt = user.get();

	if (!hwpt_is_paging(hwpt) || !to_hwpt_paging(hwpt)->auto_domain)
		return user.reset();
	lockdep_assert_not_held(&to_hwpt_paging(hwpt)->ioas->mutex);
	iommufd_object_put_and_try_destroy(ictx, std::move(user));
}

/* What is attached to a PASID of a group, by which of its devices. */
struct iommufd_attach {
	struct iommufd_hw_pagetable *hwpt = nullptr;
	outside_users<iommufd_edge_attach> users; /* of hwpt: one for each device */
	/* object id -> iommufd_device */
	struct xarray device_array{LOCK_CLASS(iommufd_attach, device_array)};
};

/* What a context knows of an iommu_group. */
struct iommufd_group {
	struct kref ref;
	struct mutex lock{LOCK_CLASS(iommufd_group, lock)};
	struct iommufd_ctx *ictx = nullptr;
	struct iommu_group *group = nullptr;
	/* PASID -> iommufd_attach; changes under lock */
	struct xarray pasid_attach{LOCK_CLASS(iommufd_group, pasid_attach)};
	struct iommufd_sw_msi_maps required_sw_msi; /* under iommufd_ctx::sw_msi_lock */
	phys_addr_t sw_msi_start = ~0ULL;	    /* PHYS_ADDR_MAX: no window */
};
#define PHYS_ADDR_MAX (~(phys_addr_t)0)

/* A device that a driver bound. */
struct iommufd_device : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_DEVICE;

	struct iommufd_ctx *ictx = nullptr;
	struct iommufd_group *igroup = nullptr;
	struct device *dev = nullptr;
	/* the driver's: until it unbinds; for each PASID that it has attached */
	outside_users<iommufd_edge_bound> bound;
	outside_users<iommufd_edge_attached> attached;
	bool enforce_cache_coherency = false;
	/* Where a vDEVICE follows its device. */
	struct iommufd_vdevice *vdev __guarded_by(igroup->lock) = nullptr;
	bool destroying __guarded_by(igroup->lock) = false;
	/* Where it lives apart: its vDEVICEs, and whether they have been told that it is gone. */
	struct list_head vdevs __guarded_by(ictx->vdev_lock);
	bool vdevs_revoked __guarded_by(ictx->vdev_lock) = false;
};

static inline short_ref<struct iommufd_device> iommufd_get_device(struct iommufd_ucmd *ucmd, u32 id)
{
	return iommufd_get<struct iommufd_device>(ucmd->ictx, id);
}

void iommufd_device_pre_destroy(struct iommufd_object *obj);
void iommufd_device_destroy(struct iommufd_object *obj);
void iommufd_device_look(struct iommufd_object *obj, struct iommufd_look *look);
int iommufd_get_hw_info(struct iommufd_ucmd *ucmd);

/* A kernel user of an IOAS. An internal one (ictx NULL) belongs to another object and does not keep
 * the context. */
struct iommufd_access : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_ACCESS;

	struct iommufd_ctx *ictx = nullptr;
	/* the driver's, until iommufd_access_destroy(); an internal one is held by its object */
	outside_users<iommufd_edge_created> created;
	struct mutex ioas_lock{LOCK_CLASS(iommufd_access, ioas_lock)};
	/* ioas is what may be pinned: NULL or the same as ioas_unpin,
	 * what may still have to be unpinned. */
	struct iommufd_ioas *ioas __guarded_by(ioas_lock) = nullptr;
	users_ref<struct iommufd_ioas> ioas_unpin __guarded_by(ioas_lock);
	const struct iommufd_access_ops *ops = nullptr;
	void *data = nullptr;
	unsigned long iova_alignment = 0;
	u32 iopt_access_list_id = 0;
};

void iommufd_access_destroy_object(struct iommufd_object *obj);
void iommufd_access_look(struct iommufd_object *obj, struct iommufd_look *look);

static inline bool iommufd_access_is_internal(const struct iommufd_access *access)
{
	return !access->ictx;
}

users_ref<struct iommufd_access> iommufd_access_create_internal(struct iommufd_ctx *ictx);
int iommufd_access_attach_internal(struct iommufd_access *access,
				   held_ref<struct iommufd_ioas> ioas);

static inline void iommufd_access_detach_internal(struct iommufd_access *access)
{
	iommufd_access_detach(access);
}

static inline void iommufd_access_destroy_internal(struct iommufd_ctx *ictx,
						   users_ref<struct iommufd_access> access)
{
	iommufd_object_destroy_user(ictx, std::move(access));
}

/*
 * It names the group, where the kernel's names the device that was attached first: that one may go
 * before the others of its group, and the attachment stays.
 */
struct iommufd_attach_handle : iommu_attach_handle {
	struct iommufd_group *igroup = nullptr;
	ioasid_t pasid = IOMMU_NO_PASID;
};

static inline struct iommufd_attach_handle *to_iommufd_handle(struct iommu_attach_handle *hdl)
{
	return static_cast<struct iommufd_attach_handle *>(hdl);
}

/* ---- event queues: objects with a file of their own ---- */

/*
 * What both kinds have in common. The file holds a user of its object and a reference to the
 * context, until it is released.
 */
struct iommufd_eventq : iommufd_object {
	struct iommufd_ctx *ictx = nullptr;
	std::atomic<struct file *> filep{nullptr}; /* NULL again when it is released */
	outside_users<iommufd_edge_file> open;

	struct spinlock lock{LOCK_CLASS(iommufd_eventq, lock)};
	struct list_head deliver __guarded_by(lock); /* what can be read */

	wait_queue_head_t wait_queue;
};

struct file *iommufd_eventq_file(struct iommufd_object *obj);
void iommufd_eventq_look(struct iommufd_object *obj, struct iommufd_look *look);

/* Where the page faults of HWPTs go, and where their answers come from. */
struct iommufd_fault : iommufd_eventq {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_FAULT;

	/* whoever moves a group out of deliver or response, until it is in the other or answered */
	struct mutex mutex{LOCK_CLASS(iommufd_fault, mutex)};
	/* cookie -> iopf_group that was read and not answered yet */
	struct xarray response{LOCK_CLASS(iommufd_fault, response), XA_FLAGS_ALLOC1};
};

static inline short_ref<struct iommufd_fault> iommufd_get_fault(struct iommufd_ucmd *ucmd, u32 id)
{
	return iommufd_get<struct iommufd_fault>(ucmd->ictx, id);
}

int iommufd_fault_alloc(struct iommufd_ucmd *ucmd);
void iommufd_fault_destroy(struct iommufd_object *obj);
int iommufd_fault_iopf_handler(struct iopf_group *group);
/*
 * Answers what came through an attachment that has ended, whose handle is about to be freed. With a
 * device only what is its own: it leaves a group that stays attached.
 */
void iommufd_auto_response_faults(struct iommufd_hw_pagetable *hwpt,
				  const struct iommufd_attach_handle *handle,
				  const struct device *dev = nullptr);

/* One event; data_len bytes of data follow it in memory. */
struct iommufd_vevent {
	struct iommufd_vevent_header header = {};
	struct list_head node; /* of iommufd_eventq::deliver */
	size_t data_len = 0;

	u8 *event_data() { return reinterpret_cast<u8 *>(this + 1); }
};

static inline bool vevent_for_lost_events_header(const struct iommufd_vevent *vevent)
{
	return vevent->header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
}

/* NULL: no memory. */
struct iommufd_vevent *iommufd_vevent_alloc(size_t data_len, gfp_t gfp);

/* Events of one type that concern a vIOMMU's guest. */
struct iommufd_veventq : iommufd_eventq {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_VEVENTQ;

	users_ref<struct iommufd_viommu> viommu;
	struct list_head node; /* of iommufd_viommu::veventqs */

	enum iommu_veventq_type type = IOMMU_VEVENTQ_TYPE_DEFAULT;
	unsigned int depth = 0;

	u32 num_events __guarded_by(lock) = 0; /* without lost_events_header */
	u32 sequence __guarded_by(lock) = 0;   /* of the next event */
	/* the last entry of deliver, if at all: stands for events that had no room */
	struct iommufd_vevent lost_events_header __guarded_by(lock);
};

int iommufd_veventq_alloc(struct iommufd_ucmd *ucmd);
void iommufd_veventq_destroy(struct iommufd_object *obj);
void iommufd_veventq_abort(struct iommufd_object *obj);
/* Puts the event, which may be lost_events_header, at the end and wakes who waits. */
void iommufd_vevent_handler(struct iommufd_veventq *veventq, struct iommufd_vevent *vevent)
	__must_hold(veventq->lock);

static inline struct iommufd_veventq *iommufd_viommu_find_veventq(struct iommufd_viommu *viommu,
								  enum iommu_veventq_type type)
	__must_hold_shared(viommu->veventqs_rwsem)
{
	struct iommufd_veventq *veventq;

	lockdep_assert_held(&viommu->veventqs_rwsem);

	list_for_each_entry (veventq, &viommu->veventqs, node)
		if (veventq->type == type)
			return veventq;
	return nullptr;
}

static inline short_ref<struct iommufd_viommu> iommufd_get_viommu(struct iommufd_ucmd *ucmd, u32 id)
{
	return iommufd_get<struct iommufd_viommu>(ucmd->ictx, id);
}

int iommufd_sw_msi_install(struct iommufd_ctx *ictx, struct iommufd_hwpt_paging *hwpt_paging,
			   struct iommufd_sw_msi_map *msi_map) __must_hold(ictx->sw_msi_lock);
/*
 * Gives the MSI doorbell at msi_addr an IOVA in the domain that dev is attached to; *iova is left
 * alone when the device has no window for it. Called under the group's mutex. Compare
 * iommufd_sw_msi.
 */
int iommufd_sw_msi(struct iommu_domain *domain, struct device *dev, phys_addr_t msi_addr,
		   unsigned long *iova);

/* viommu.cc: the merged form. */
int iommufd_viommu_alloc_ioctl(struct iommufd_ucmd *ucmd);
void iommufd_viommu_destroy(struct iommufd_object *obj);
int iommufd_vdevice_alloc_ioctl(struct iommufd_ucmd *ucmd);
void iommufd_vdevice_destroy(struct iommufd_object *obj);
void iommufd_vdevice_abort(struct iommufd_object *obj);
void iommufd_vdevice_leave_viommu(struct iommufd_vdevice *vdev);
int iommufd_hw_queue_alloc_ioctl(struct iommufd_ucmd *ucmd);
void iommufd_hw_queue_destroy(struct iommufd_object *obj);

/* Of memory for a queue: *span is what [addr, addr + length) takes of its pages from the first
 * one's start on, where addr lies offset bytes behind that; false when it cannot be counted. */
bool iommufd_queue_span(u64 offset, u64 length, size_t *span);
bool iommufd_pages_are_contiguous(struct page **pages, size_t npages);

/* vcmdq.cc: the series as posted. */
int iommufd_viommu_alloc_v2_ioctl(struct iommufd_ucmd *ucmd);
int iommufd_vdevice_alloc_v2_ioctl(struct iommufd_ucmd *ucmd);
void iommufd_vdevice_v2_abort(struct iommufd_vdevice *vdev);
void iommufd_vdevice_v2_destroy(struct iommufd_vdevice *vdev);
void iommufd_device_revoke_vdevs(struct iommufd_device *idev);
int iommufd_vcmdq_alloc_ioctl(struct iommufd_ucmd *ucmd);
void iommufd_vcmdq_destroy(struct iommufd_object *obj);

/* Handlers of main.cc that the tables name. */
int iommufd_destroy(struct iommufd_ucmd *ucmd);
int iommufd_option(struct iommufd_ucmd *ucmd);
int iommufd_test(struct iommufd_ucmd *ucmd);
void iommufd_selftest_destroy(struct iommufd_object *obj);

/*
 * The selftest's side of the core, which does not link against it: struct kernel's iommufd_test
 * points here, NULL without a selftest driver.
 */
struct iommufd_test_ops {
	int (*ioctl)(struct iommufd_ucmd *ucmd) = nullptr;     /* IOMMU_TEST_CMD */
	void (*destroy)(struct iommufd_object *obj) = nullptr; /* of IOMMUFD_OBJ_SELFTEST */
	bool (*is_mock_dev)(struct device *dev) = nullptr;
	/* with the reservation held; -EOPNOTSUPP: not a dma-buf of the selftest's */
	int (*dma_buf_iommufd_map)(struct dma_buf_attachment *attachment,
				   struct phys_vec *phys) = nullptr;
	/* a syzkaller aid: turns an area's number into its IOVA */
	void (*syz_conv_iova_id)(struct iommufd_ucmd *ucmd, unsigned int ioas_id, u64 *iova,
				 u32 *flags) = nullptr;
	size_t memory_limit; /* bytes for a batch of pages; 0: as production */
};

/* The ops of the current kernel, or NULL. */
const struct iommufd_test_ops *iommufd_test_hooks(void);
/* True: the caller fails, by injection. */
bool iommufd_should_fail(void);
bool iommufd_selftest_is_mock_dev(struct device *dev);
void iommufd_test_syz_conv_iova_id(struct iommufd_ucmd *ucmd, unsigned int ioas_id, u64 *iova,
				   u32 *flags);
int iommufd_test_dma_buf_iommufd_map(struct dma_buf_attachment *attachment, struct phys_vec *phys);

#include "core/iommufd/objects.h"
