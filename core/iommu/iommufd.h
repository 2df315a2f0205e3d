// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a driver may include of iommufd: the object base and its two kinds of reference, vIOMMUs,
 * vDEVICEs, vCMDQs and hardware queues with their ops in both forms, and the interface of drivers
 * that bind devices and access address spaces.
 *
 * Mirrors include/linux/iommufd.h of Linux v6.15 plus the vCMDQ series v2 (viommu_alloc and so on)
 * and, beside it, of Linux 7.2 (viommu_init and so on). It differs in this: an object derives from
 * struct iommufd_object instead of containing it, a driver's type derives from the core's, and
 * struct iommufd_struct tells the core how to make and end one, where the kernel is told a size.
 */
#pragma once

#include <atomic>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "core/iommu/iommu.h"
#include "core/linux/bug.h"
#include "core/linux/err.h"
#include "core/linux/refcount.h"
#include "core/linux/rwsem.h"
#include "core/linux/types.h"
#include "core/linux/xarray.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_objects.h"

struct device;
struct file;
struct iommu_group;
struct iommufd_access;
struct iommufd_ctx;
struct iommufd_device;
struct iommufd_hwpt_paging;
struct iommufd_hw_queue;
struct iommufd_object;
struct iommufd_vcmdq;
struct iommufd_vdevice;
struct iommufd_viommu;
struct iommufd_viommu_ops;
struct page;

enum iommufd_object_type {
	IOMMUFD_OBJ_NONE,
	IOMMUFD_OBJ_ANY = IOMMUFD_OBJ_NONE,
#define X(type, label, variable) IOMMUFD_OBJ_##type,
	IOMMUFD_OBJECT_TYPES(X)
#undef X
		IOMMUFD_OBJ_MAX,
};

/* How to make and end an object of one C++ type in memory of `size` zeroed bytes. Made by
 * iommufd_struct_of<T> only. */
struct iommufd_struct {
	size_t size;
	void (*construct)(void *mem);
	void (*destruct)(struct iommufd_object *obj);
	enum iommufd_object_type type;
};

/*
 * The base of everything that has an id. The object starts out with one user, the object table's;
 * the table's entry also counts one in wait_cnt until it is removed.
 *
 * wait_cnt: short references, for the length of one call. Destroy waits until they are gone.
 * users: those and the long ones. Destroy says -EBUSY while there is more than the table's.
 */
struct iommufd_object {
	refcount_t wait_cnt;
	enum iommufd_object_type type = IOMMUFD_OBJ_NONE;
	unsigned int id = 0;
	const struct iommufd_struct *st = nullptr;

private:
	friend struct iommufd_users;
	refcount_t users;
};

template <class T>
inline constexpr struct iommufd_struct iommufd_struct_of = {
	.size = sizeof(T),
	.construct = [](void *mem) { new (mem) T; },
	.destruct = [](struct iommufd_object *obj) { static_cast<T *>(obj)->~T(); },
	.type = T::obj_type,
};

template <class T> class users_ref;

/*
 * Users as counts: for the object table, for the references below, and for what keeps one where no
 * users_ref can be. Nothing else counts.
 */
struct iommufd_users {
	/* The object table's own one, of a new object. */
	static void init(struct iommufd_object *obj) { refcount_set(&obj->users, 1); }
	static u32 read(const struct iommufd_object *obj) { return refcount_read(&obj->users); }
	/* One more (nr more) of an object that the caller has. */
	static void get(struct iommufd_object *obj, u32 nr = 1)
	{
		refcount_add((int)nr, &obj->users);
	}
	/* False: it has none, and ends. */
	[[nodiscard]] static bool try_get(struct iommufd_object *obj)
	{
		return refcount_inc_not_zero(&obj->users);
	}
	/* Never the last one, which is the object table's. */
	static void put(struct iommufd_object *obj) { refcount_dec(&obj->users); }
	static void put(struct iommufd_object *obj, u32 nr)
	{
		WARN_ON(refcount_sub_and_test((int)nr, &obj->users));
	}
	/* The table's own one, if there is no other. */
	[[nodiscard]] static bool take_last(struct iommufd_object *obj)
	{
		return refcount_dec_if_one(&obj->users);
	}

	/* Takes over a user that is counted already. */
	template <class T> static users_ref<T> adopt(T *obj)
	{
		users_ref<T> ref;

		ref.obj_ = obj;
		return ref;
	}
	/* The caller has to put it, or has put it somewhere from where it is adopted again. */
	template <class T> static struct iommufd_object *release(users_ref<T> &&ref)
	{
		return ref.release();
	}
	template <class T> static void set(users_ref<T> *member, users_ref<T> &&ref)
	{
		std::swap(member->obj_, ref.obj_);
	}
};

/* What short_ref<T> calls at its end. */
void iommufd_put_object(struct iommufd_ctx *ictx, struct iommufd_object *obj);

template <class T> class held_ref;

/*
 * A short reference: lasts one call, destroy waits for it. Comes from the object table by id and
 * type only, is put when it goes out of scope. One that holds nothing may say why, with an errno,
 * as the kernel's ERR_PTR() does.
 */
template <class T> class [[nodiscard]] short_ref {
public:
	short_ref() = default;
	short_ref(int negative_errno) : obj_(negative_errno) {}
	/* Takes over one that iommufd_lock_obj() has taken. */
	static short_ref adopt(struct iommufd_ctx *ictx, T *obj) { return short_ref(ictx, obj); }
	short_ref(short_ref &&o) noexcept : ictx_(o.ictx_), obj_(std::exchange(o.obj_, nullptr)) {}
	short_ref(const short_ref &) = delete;
	short_ref &operator=(const short_ref &) = delete;
	short_ref &operator=(short_ref &&o) noexcept
	{
		std::swap(ictx_, o.ictx_);
		std::swap(obj_, o.obj_);
		return *this;
	}
	~short_ref() { reset(); }

	void reset()
	{
		if (T *obj = release())
			iommufd_put_object(ictx_, obj);
	}
	/* Keeps the reference beyond the call: only where an object's own end takes it back. */
	T *release()
	{
		T *obj = get();

		obj_ = nullptr;
		return obj;
	}
	T *get() const { return obj_ ? *obj_ : nullptr; }
	T *operator->() const { return get(); }
	T &operator*() const { return *get(); }
	explicit operator bool() const { return get(); }
	/* Why it holds nothing, or 0. */
	int error() const { return obj_.error(); }

	/* Of the type that the caller has asked for, or has looked at. */
	template <class U> held_ref<U> as() const;
	template <class U> short_ref<U> to() &&
	{
		if (!*this)
			return error() ? short_ref<U>(error()) : short_ref<U>();
		return short_ref<U>::adopt(ictx_, static_cast<U *>(release()));
	}

private:
	short_ref(struct iommufd_ctx *ictx, T *obj) : ictx_(ictx), obj_(obj) {}

	struct iommufd_ctx *ictx_ = nullptr;
	result<T *> obj_ = nullptr;
};

/* By id and, unless that is IOMMUFD_OBJ_ANY, type. -ENOENT. Compare iommufd_get_object. */
short_ref<struct iommufd_object> iommufd_get_object(struct iommufd_ctx *ictx, u32 id,
						    enum iommufd_object_type type);

/*
 * A long reference: keeps an object; destroy of that says -EBUSY. As a member of an object it is
 * declared in the row of the object's type and filled by iommufd_object_hold() only; elsewhere it
 * is a user in the hand of a call. Made of another reference, never of a pointer. One that holds
 * nothing may say why. T may be incomplete.
 */
template <class T> class [[nodiscard]] users_ref {
public:
	users_ref() = default;
	users_ref(int negative_errno) : obj_(negative_errno) {}
	explicit users_ref(held_ref<T> obj) : obj_(obj.get())
	{
		if (*obj_)
			iommufd_users::get(*obj_);
	}
	users_ref(users_ref &&o) noexcept : obj_(std::exchange(o.obj_, nullptr)) {}
	template <class U>
		requires(!std::is_same_v<U, T> && std::is_base_of_v<T, U>)
	users_ref(users_ref<U> &&o) noexcept : obj_(std::exchange(o.obj_, nullptr))
	{
	}
	users_ref(const users_ref &) = delete;
	users_ref &operator=(const users_ref &) = delete;
	~users_ref() { reset(); }

	void reset()
	{
		if (struct iommufd_object *obj = release())
			iommufd_users::put(obj);
	}
	T *get() const { return static_cast<T *>(obj_ ? *obj_ : nullptr); }
	T *operator->() const { return get(); }
	T &operator*() const { return *get(); }
	explicit operator bool() const { return obj_ && *obj_; }
	/* Why it holds nothing, or 0. */
	int error() const { return obj_.error(); }

private:
	template <class U> friend class users_ref;
	friend struct iommufd_users;

	struct iommufd_object *release()
	{
		struct iommufd_object *obj = obj_ ? *obj_ : nullptr;

		obj_ = nullptr;
		return obj;
	}

	result<struct iommufd_object *> obj_ = nullptr;
};

/*
 * An object that a reference further up keeps while a call lasts, or nothing. Made of a reference
 * only, so that a long one can be made of it.
 */
template <class T> class held_ref {
public:
	held_ref(std::nullptr_t) {}
	template <class U>
		requires std::is_base_of_v<T, U>
	held_ref(const short_ref<U> &r) : obj_(r.get())
	{
	}
	template <class U>
		requires std::is_base_of_v<T, U>
	held_ref(const users_ref<U> &r) : obj_(r.get())
	{
	}
	T *get() const { return obj_; }
	T *operator->() const { return obj_; }
	explicit operator bool() const { return obj_; }

private:
	template <class U> friend class short_ref;
	explicit held_ref(T *obj) : obj_(obj) {}

	T *obj_ = nullptr;
};

template <class T> template <class U> held_ref<U> short_ref<T>::as() const
{
	return held_ref<U>(static_cast<U *>(get()));
}

/*
 * Why something holds an object, for tools that draw or explain it. A member of a holder is
 * declared in the row of its type (core/iommufd/objects.h); the others are named below.
 */
struct iommufd_edge {
	const char *member;	 /* of the holder; or a name */
	const char *what;	 /* the holder is, to the held: "a device of it" */
	const char *label;	 /* the same on an arrow: "device of" */
	bool short_term = false; /* counts in wait_cnt too */
};

/* The edges that are no member of an object. */
/* clang-format off */
inline constexpr struct iommufd_edge
	/* from outside of the objects: a driver, until it unbinds, detaches, destroys; ... */
	iommufd_edge_bound    = {"bound",    "the driver that bound it",    "bound"},
	iommufd_edge_attached = {"attached", "the driver that attached it", "attached"},
	iommufd_edge_created  = {"created",  "the driver that created it",  "created"},
	/* ... an event queue's file, until it is released; mappings of what it owns */
	iommufd_edge_file     = {"file",     "its file, which is open",	    "holds"},
	iommufd_edge_mmap     = {"mmap",     "a mapping of its region",	    "maps"},
	/* from objects, whose number changes: a device's HWPTs, a queue's siblings */
	iommufd_edge_attach   = {"attach",   "attached to it",		    "attached to"},
	iommufd_edge_depends  = {"depends",  "depends on it",		    "depends on"};
/* clang-format on */

/*
 * A count of the users that a holder has of one object, where no users_ref can be: the holder is a
 * driver, a file, a mapping. The count's type names the edge. It is a member of the object that is
 * held, or stands beside the holder's pointer. A caller has the object by other means.
 */
template <const struct iommufd_edge &Edge> class outside_users {
public:
	outside_users() = default;
	outside_users(const outside_users &) = delete;
	outside_users &operator=(const outside_users &) = delete;

	static constexpr const struct iommufd_edge *edge() { return &Edge; }

	/* One more. */
	void get(struct iommufd_object *obj)
	{
		iommufd_users::get(obj);
		nr_.fetch_add(1, std::memory_order_relaxed);
	}
	/* One less. The object may be gone afterwards, and with it what this is a member of. */
	void put(struct iommufd_object *obj)
	{
		nr_.fetch_sub(1, std::memory_order_relaxed);
		iommufd_users::put(obj);
	}
	/* The same with a user that comes from a call, or goes to one. */
	template <class T> void keep(users_ref<T> &&user)
	{
		iommufd_users::release(std::move(user));
		nr_.fetch_add(1, std::memory_order_relaxed);
	}
	template <class T> users_ref<T> take(T *obj)
	{
		nr_.fetch_sub(1, std::memory_order_relaxed);
		return iommufd_users::adopt(obj);
	}
	/* The last one, for a call that destroys the object with it; it is counted to the end. */
	template <class T> users_ref<T> end(T *obj) { return iommufd_users::adopt(obj); }
	/* All of them become users of `to`. One that `from` had is left for the caller to put. */
	template <class T> users_ref<T> move(T *from, T *to)
	{
		const u32 nr = count();

		iommufd_users::get(to, nr);
		if (nr > 1)
			iommufd_users::put(from, nr - 1);
		return iommufd_users::adopt(from);
	}
	/* For looking at; exact where the others are kept still. */
	u32 count() const { return nr_.load(std::memory_order_relaxed); }

private:
	std::atomic<u32> nr_{0};
};

/* Drivers that bind devices. Compare the kernel's functions of the same names. */

/*
 * Binds a device to the context: it becomes an object with *id and its DMA belongs to the context.
 * Errors: -EINVAL: not cache coherent; -ENODEV: no group; -EPERM: MSIs not isolated, or another
 * owner; -EBUSY: in use by the kernel; -ENOMEM.
 */
result<struct iommufd_device *> iommufd_device_bind(struct iommufd_ctx *ictx, struct device *dev,
						    u32 *id);
/* Nothing else uses idev any more. Waits for calls that do; takes its vDEVICE along. */
void iommufd_device_unbind(struct iommufd_device *idev);

/*
 * Attaches a PASID of the device (IOMMU_NO_PASID: the device itself) to an IOAS, which chooses or
 * makes a HWPT, or to a HWPT. *pt_id comes back as the HWPT's id. Errors: -ENOENT: no such object;
 * -EINVAL: of another type, incompatible, the group is attached to another one; -EBUSY: attached
 * already; -EADDRINUSE: a reserved region is mapped; -ENOMEM; the driver's.
 */
int iommufd_device_attach(struct iommufd_device *idev, ioasid_t pasid, u32 *pt_id);
/* As detach and attach, without a gap; nothing changes when it fails. -EINVAL: not attached. */
int iommufd_device_replace(struct iommufd_device *idev, ioasid_t pasid, u32 *pt_id);
void iommufd_device_detach(struct iommufd_device *idev, ioasid_t pasid);

struct iommufd_ctx *iommufd_device_to_ictx(struct iommufd_device *idev);
u32 iommufd_device_to_id(struct iommufd_device *idev);
bool iommufd_ctx_has_group(struct iommufd_ctx *ictx, struct iommu_group *group);

/* Kernel users of an address space. */

struct iommufd_access_ops {
	bool needs_pin_pages = false;
	/* Unpin everything in the range before returning.
	 * Called without locks; not for internal accesses. */
	void (*unmap)(void *data, unsigned long iova, unsigned long length) = nullptr;
};

enum {
	IOMMUFD_ACCESS_RW_READ = 0,
	IOMMUFD_ACCESS_RW_WRITE = 1 << 0,
	IOMMUFD_ACCESS_RW_KTHREAD = 1 << 1,	/* the caller is a kthread: borrow the owner's mm */
	__IOMMUFD_ACCESS_RW_SLOW_PATH = 1 << 2, /* for the selftest */
};

result<struct iommufd_access *> iommufd_access_create(struct iommufd_ctx *ictx,
						      const struct iommufd_access_ops *ops,
						      void *data, u32 *id);
void iommufd_access_destroy(struct iommufd_access *access);
/* -ENOENT: no such IOAS; -EBUSY: a detach is going on; -ENOMEM. Attached already: a caller's bug
 * and -EINVAL. */
int iommufd_access_attach(struct iommufd_access *access, u32 ioas_id);
/* -ENOENT: not attached, or no such IOAS. */
int iommufd_access_replace(struct iommufd_access *access, u32 ioas_id);
void iommufd_access_detach(struct iommufd_access *access);

/*
 * out_pages gets one entry a page. iova is page aligned, length in bytes. Errors: -EINVAL: length 0
 * or no page alignment; -EOVERFLOW: a wrap; -ENOENT: not attached or not all mapped; -EPERM: not
 * readable (writeable); -ENOMEM; -EFAULT.
 */
int iommufd_access_pin_pages(struct iommufd_access *access, unsigned long iova,
			     unsigned long length, struct page **out_pages, unsigned int flags);
/* iova and length are exactly those of one iommufd_access_pin_pages(). */
void iommufd_access_unpin_pages(struct iommufd_access *access, unsigned long iova,
				unsigned long length);
/* Copies to or from `data`. The same errors. */
int iommufd_access_rw(struct iommufd_access *access, unsigned long iova, void *data, size_t len,
		      unsigned int flags);

void iommufd_ctx_get(struct iommufd_ctx *ictx);
void iommufd_ctx_put(struct iommufd_ctx *ictx);
/* Both take a reference to the context. -EBADFD: another kind of file; from_fd also -EBADF. */
result<struct iommufd_ctx *> iommufd_ctx_from_file(struct file *file);
result<struct iommufd_ctx *> iommufd_ctx_from_fd(int fd);

/*
 * VFIO's container ioctls work on one IOAS of the context. A driver that attaches a group calls
 * _ioas_create(), which does nothing when there is one, then _ioas_get_id(). -EINVAL: the container
 * is one without IOMMU; -ENODEV: no IOAS; -ENOMEM.
 */
int iommufd_vfio_compat_ioas_create(struct iommufd_ctx *ictx);
int iommufd_vfio_compat_ioas_get_id(struct iommufd_ctx *ictx, u32 *out_ioas_id);
/* A device without an IOMMU comes: only VFIO_NOIOMMU_IOMMU can be set from now on. -EINVAL: there
 * is a compat IOAS already. */
int iommufd_vfio_compat_set_no_iommu(struct iommufd_ctx *ictx);

/* Drivers of IOMMUs. */

/*
 * A slice of one physical IOMMU for one VM. With viommu_alloc the driver allocates it and the core
 * fills it afterwards; with viommu_init all but ops is there before the driver sees it.
 */
struct iommufd_viommu : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_VIOMMU;

	struct iommufd_ctx *ictx = nullptr;
	struct iommu_device *iommu_dev = nullptr;
	users_ref<struct iommufd_hwpt_paging> hwpt;

	const struct iommufd_viommu_ops *ops = nullptr;

	/* virt_id -> vDEVICE; its lock keeps what iommufd_viommu_find_dev() returns */
	struct xarray vdevs{LOCK_CLASS(iommufd_viommu, vdevs)};
	struct rw_semaphore veventqs_rwsem{LOCK_CLASS(iommufd_viommu, veventqs_rwsem)};
	struct list_head veventqs __guarded_by(veventqs_rwsem);

	enum iommu_viommu_type type = IOMMU_VIOMMU_TYPE_DEFAULT;
};

/* One device as the guest of a vIOMMU knows it. */
struct iommufd_vdevice : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_VDEVICE;

	users_ref<struct iommufd_viommu> viommu;
	struct iommufd_device *idev =
		nullptr;	    /* a short reference that the device's end takes back */
	struct list_head idev_item; /* of the device's, where it can have several */
	/* NULL after its device has gone, where it lives apart from it;
	 * then under xa_lock(&viommu->vdevs) */
	struct device *dev = nullptr;
	u64 virt_id = 0; /* unique in its vIOMMU */
	/* The driver's part of the end: set by vdevice_init(), or called as ops->vdevice_destroy
	 * where that form is used. */
	void (*destroy)(struct iommufd_vdevice *vdev) = nullptr;
};

/* What a queue depends on: siblings of its type. Named in its row as SIBLING. */
struct iommufd_sibling {
	std::atomic<u32> id{0}; /* of the last one, for tools */
	outside_users<iommufd_edge_depends> users;
};

/* A guest's command queue, in the series' form. */
struct iommufd_vcmdq : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_VCMDQ;

	struct iommufd_ctx *ictx = nullptr;
	users_ref<struct iommufd_viommu> viommu;
	dma_addr_t addr = 0; /* guest physical */
	size_t length = 0;   /* bytes */
	/* what is pinned of the address space, in bytes; 0: nothing */
	u64 pinned_iova = 0;
	size_t pinned_length = 0;
	struct iommufd_sibling depended;
};

/* The same in the merged form. */
struct iommufd_hw_queue : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_HW_QUEUE;

	users_ref<struct iommufd_viommu> viommu;
	users_ref<struct iommufd_access> access; /* pins the queue's memory */
	u64 base_addr = 0;			 /* guest physical */
	size_t length = 0;			 /* bytes */
	enum iommu_hw_queue_type type = IOMMU_HW_QUEUE_TYPE_DEFAULT;
	void (*destroy)(struct iommufd_hw_queue *hw_queue) = nullptr;
	struct iommufd_sibling depended;
};

/*
 * @destroy: undoes the driver's part; the core ends and frees the object afterwards.
 * @alloc_domain_nested: a nested domain on this vIOMMU; user_data is there and not empty.
 * @cache_invalidate: sets array->entry_num to what is done, also on failure.
 *
 * The series' form; the driver allocates with the helpers below and gives up with
 * iommufd_struct_destroy():
 * @vdevice_alloc, @vcmdq_alloc: the core fills its part afterwards.
 * @vdevice_destroy, @vcmdq_destroy: the driver's part only.
 *
 * The merged form; the core allocates and fills its part first:
 * @vdevice_struct: what to allocate; NULL: the core's own. @vdevice_init may set vdev->destroy.
 * @get_hw_queue_struct: what to allocate for a queue of this type, NULL when there is none.
 * @hw_queue_init_phys: base_addr_pa is where the guest's queue really is. May set
 * hw_queue->destroy.
 */
struct iommufd_viommu_ops {
	void (*destroy)(struct iommufd_viommu *viommu) = nullptr;
	result<struct iommu_domain *> (*alloc_domain_nested)(
		struct iommufd_viommu *viommu, u32 flags,
		const struct iommu_user_data *user_data) = nullptr;
	int (*cache_invalidate)(struct iommufd_viommu *viommu,
				struct iommu_user_data_array *array) = nullptr;

	result<struct iommufd_vdevice *> (*vdevice_alloc)(struct iommufd_viommu *viommu,
							  struct device *dev,
							  u64 virt_id) = nullptr;
	void (*vdevice_destroy)(struct iommufd_vdevice *vdev) = nullptr;
	result<struct iommufd_vcmdq *> (*vcmdq_alloc)(struct iommufd_viommu *viommu,
						      unsigned int type, u32 index, dma_addr_t addr,
						      size_t length) = nullptr;
	void (*vcmdq_destroy)(struct iommufd_vcmdq *vcmdq) = nullptr;

	const struct iommufd_struct *vdevice_struct = nullptr;
	int (*vdevice_init)(struct iommufd_vdevice *vdev) = nullptr;
	const struct iommufd_struct *(*get_hw_queue_struct)(
		struct iommufd_viommu *viommu, enum iommu_hw_queue_type queue_type) = nullptr;
	int (*hw_queue_init_phys)(struct iommufd_hw_queue *hw_queue, u32 index,
				  phys_addr_t base_addr_pa) = nullptr;
};

/* Use the typed helpers below. */
result<struct iommufd_object *> _iommufd_object_alloc(struct iommufd_ctx *ictx,
						      const struct iommufd_struct *st);
void iommufd_object_abort(struct iommufd_ctx *ictx, struct iommufd_object *obj);
int _iommufd_object_depend(struct iommufd_ctx *ictx, struct iommufd_object *obj_dependent,
			   struct iommufd_object *obj_depended);
void _iommufd_object_undepend(struct iommufd_object *obj_dependent,
			      struct iommufd_object *obj_depended);
int _iommufd_alloc_mmap(struct iommufd_ctx *ictx, struct iommufd_object *owner,
			phys_addr_t mmio_addr, size_t length, unsigned long *offset);
void _iommufd_destroy_mmap(struct iommufd_ctx *ictx, struct iommufd_object *owner,
			   unsigned long offset);

/* The device behind a vDEVICE. */
struct device *iommufd_vdevice_to_device(struct iommufd_vdevice *vdev);
/* NULL: no such vDEVICE. The caller holds xa_lock(&viommu->vdevs) as long as it uses the device. */
struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu, unsigned long vdev_id)
	__must_hold(viommu->vdevs);
/* -ENOENT: the device has no vDEVICE on this vIOMMU. */
int iommufd_viommu_get_vdev_id(struct iommufd_viommu *viommu, struct device *dev,
			       unsigned long *vdev_id);
/*
 * From a driver's interrupt thread: something happened that the guest of the vIOMMU wants to know.
 * event_data is what the uapi defines for the type. 0, also when the queue was full; -EOPNOTSUPP:
 * there is no queue for the type; -ENOMEM: the event is lost, which the queue remembers.
 */
int iommufd_viommu_report_event(struct iommufd_viommu *viommu, enum iommu_veventq_type type,
				const void *event_data, size_t data_len);

/*
 * Allocators of the series' form. -ENOMEM, or -EBUSY when the table is full. What they return has
 * an id but cannot be found by it until the core finalizes it.
 */
template <class T>
static inline result<T *> iommufd_viommu_alloc(struct iommufd_ctx *ictx,
					       const struct iommufd_viommu_ops *viommu_ops)
{
	static_assert(std::is_base_of_v<struct iommufd_viommu, T>);
	auto obj = _iommufd_object_alloc(ictx, &iommufd_struct_of<T>);

	if (!obj)
		return obj.error();
	T *viommu = static_cast<T *>(*obj);

	viommu->ictx = ictx;
	viommu->ops = viommu_ops;
	return viommu;
}

template <class T> static inline result<T *> iommufd_vdevice_alloc(struct iommufd_viommu *viommu)
{
	static_assert(std::is_base_of_v<struct iommufd_vdevice, T>);
	auto obj = _iommufd_object_alloc(viommu->ictx, &iommufd_struct_of<T>);

	if (!obj)
		return obj.error();
	return static_cast<T *>(*obj);
}

template <class T> static inline result<T *> iommufd_vcmdq_alloc(struct iommufd_viommu *viommu)
{
	static_assert(std::is_base_of_v<struct iommufd_vcmdq, T>);
	auto obj = _iommufd_object_alloc(viommu->ictx, &iommufd_struct_of<T>);

	if (!obj)
		return obj.error();
	T *vcmdq = static_cast<T *>(*obj);

	vcmdq->ictx = viommu->ictx;
	return vcmdq;
}

/* Gives up what one of the allocators above returned. */
template <class T> static inline void iommufd_struct_destroy(struct iommufd_ctx *ictx, T *p)
{
	static_assert(std::is_base_of_v<struct iommufd_object, T>);
	iommufd_object_abort(ictx, p);
}

/*
 * One queue depends on another of its vIOMMU: the other cannot be destroyed before. 0; -EINVAL:
 * itself, or not of one type; -EBUSY: the other is still being made, or being destroyed. The
 * caller's own lock keeps both alive.
 */
template <class T> static inline int iommufd_vcmdq_depend(T *dependent, T *depended)
{
	static_assert(std::is_base_of_v<struct iommufd_vcmdq, T>);
	return _iommufd_object_depend(depended->ictx, dependent, depended);
}

template <class T> static inline void iommufd_vcmdq_undepend(T *dependent, T *depended)
{
	static_assert(std::is_base_of_v<struct iommufd_vcmdq, T>);
	_iommufd_object_undepend(dependent, depended);
}

template <class T> static inline int iommufd_hw_queue_depend(T *dependent, T *depended)
{
	static_assert(std::is_base_of_v<struct iommufd_hw_queue, T>);
	if (WARN_ON_ONCE(dependent->viommu.get() != depended->viommu.get()))
		return -EINVAL;
	return _iommufd_object_depend(depended->viommu->ictx, dependent, depended);
}

template <class T> static inline void iommufd_hw_queue_undepend(T *dependent, T *depended)
{
	static_assert(std::is_base_of_v<struct iommufd_hw_queue, T>);
	WARN_ON_ONCE(dependent->viommu.get() != depended->viommu.get());
	_iommufd_object_undepend(dependent, depended);
}

/*
 * A region of MMIO that userspace may mmap at *offset of the file. mmio_addr and length in bytes,
 * page aligned, else -EINVAL; -ENOMEM; -EBUSY: no offset left. An offset is never 0. A mapping
 * holds a user of its owner, so the region cannot go while it is mapped; that is also why the
 * series' form, which names no owner, names one here.
 */
static inline int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t mmio_addr,
					    size_t length, unsigned long *offset)
{
	return _iommufd_alloc_mmap(viommu->ictx, viommu, mmio_addr, length, offset);
}

static inline void iommufd_viommu_destroy_mmap(struct iommufd_viommu *viommu, unsigned long offset)
{
	_iommufd_destroy_mmap(viommu->ictx, viommu, offset);
}

static inline int iommufd_ctx_alloc_mmap(struct iommufd_ctx *ictx, struct iommufd_object *owner,
					 phys_addr_t base, size_t size, unsigned long *immap_id)
{
	return _iommufd_alloc_mmap(ictx, owner, base, size, immap_id);
}

static inline void iommufd_ctx_free_mmap(struct iommufd_ctx *ictx, struct iommufd_object *owner,
					 unsigned long immap_id)
{
	_iommufd_destroy_mmap(ictx, owner, immap_id);
}
