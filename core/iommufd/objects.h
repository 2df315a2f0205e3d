// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One row per object type: its ends, the members with which it holds other objects, the counts of
 * those that hold it from outside. Code that treats all objects alike (the object table, snapshots,
 * dependencies of siblings) reads the rows.
 *
 * Mirrors iommufd_object_ops of drivers/iommu/iommufd/main.c of Linux 7.2. It differs in this: a
 * missing or doubled row does not compile; a row also says what the object holds. The types' names
 * are in uapi/iommufd_objects.h. For iommufd_private.h to include.
 */
#pragma once

#include <cstddef>
#include <type_traits>

#include "core/iommu/iommufd.h"
#include "core/linux/mutex.h"

struct iommufd_look;

/* Names a member, as &S::member of any type. */
template <auto Member> inline constexpr char iommufd_member_id = 0;

/* A member that holds an object. */
struct iommufd_hold {
	struct iommufd_edge edge = {};
	const void *member = nullptr; /* iommufd_member_id; NULL ends a row's list */
	/* The member may change while its object lives. Then look() takes a lock, which must not be
	 * under the table's. */
	bool changes = false;
	/* *held becomes the object that the member holds now, or NULL. False: the member's lock is
	 * not free at this moment. */
	bool (*look)(struct iommufd_object *holder, struct iommufd_object **held) = nullptr;
};

/* Users that something outside of the objects has of the object, counted by a member. */
struct iommufd_outside {
	const struct iommufd_edge *edge = nullptr; /* NULL ends a row's list */
	u32 (*count)(struct iommufd_object *obj) = nullptr;
};

/*
 * @file: the file of the object's own, or NULL, of one that was never published.
 * @pre_destroy: the object's short references beyond those of calls are given up; may sleep.
 * @abort: instead of destroy when the object was never published, under the caller's lock. The
 *         dispatcher has no such lock, so a type with it cannot be a ucmd's.
 * @sibling: where it keeps what it depends on; NULL: the type has no siblings.
 * @look: adds to a snapshot what only this type has. The object is held, without locks.
 */
struct iommufd_object_ops {
	struct file *(*file)(struct iommufd_object *obj) = nullptr;
	void (*pre_destroy)(struct iommufd_object *obj) = nullptr;
	void (*destroy)(struct iommufd_object *obj) = nullptr;
	void (*abort)(struct iommufd_object *obj) = nullptr;
	struct iommufd_sibling *(*sibling)(struct iommufd_object *obj) = nullptr;
	void (*look)(struct iommufd_object *obj, struct iommufd_look *look) = nullptr;
	struct iommufd_hold holds[4] = {};
	struct iommufd_outside outside[3] = {};
};

/* What a broken table runs into. consteval cannot call these: the compiler's message names them. */
void build_bug_two_rows_for_one_object_type();
void build_bug_object_type_without_a_row();

struct iommufd_object_row {
	enum iommufd_object_type type;
	struct iommufd_object_ops ops;
};

struct iommufd_object_table {
	struct iommufd_object_ops ops[IOMMUFD_OBJ_MAX];
};

template <size_t N>
consteval struct iommufd_object_table
iommufd_object_table_of(const struct iommufd_object_row (&rows)[N])
{
	struct iommufd_object_table t = {};
	bool known[IOMMUFD_OBJ_MAX] = {};

	for (const struct iommufd_object_row &row : rows) {
		if (known[row.type])
			build_bug_two_rows_for_one_object_type();
		if (!row.ops.destroy)
			build_bug_object_type_without_a_row();
		known[row.type] = true;
		t.ops[row.type] = row.ops;
	}
	for (int type = IOMMUFD_OBJ_NONE + 1; type < IOMMUFD_OBJ_MAX; type++)
		if (!known[type])
			build_bug_object_type_without_a_row();
	return t;
}

template <class T> static inline struct iommufd_object *iommufd_held_by(const users_ref<T> &ref)
{
	return ref.get();
}

static inline struct iommufd_object *iommufd_held_by(struct iommufd_object *obj)
{
	return obj;
}

/* clang-format off */
#define OBJECT_OP(_struct, ...) \
	iommufd_object_row{_struct::obj_type, {__VA_ARGS__}}

/* The member is filled before the object is published and stays.
 * _what and _label: see struct iommufd_edge. */
#define HOLDS(_struct, _member, _what, _label) \
	iommufd_hold{ \
		.edge = {#_member, _what, _label}, \
		.member = &iommufd_member_id<&_struct::_member>, \
		.look = [](struct iommufd_object *obj, struct iommufd_object **held) { \
			*held = iommufd_held_by(static_cast<struct _struct *>(obj)->_member); \
			return true; \
		}}

/* The member may change, under this mutex. */
#define HOLDS_UNDER(_lock, _struct, _member, ...) \
	iommufd_hold{ \
		.edge = {#_member, __VA_ARGS__}, \
		.member = &iommufd_member_id<&_struct::_member>, \
		.changes = true, \
		.look = [](struct iommufd_object *obj, struct iommufd_object **held) { \
			auto *holder = static_cast<struct _struct *>(obj); \
\
			if (!mutex_trylock(&holder->_lock)) \
				return false; \
			*held = iommufd_held_by(holder->_member); \
			mutex_unlock(&holder->_lock); \
			return true; \
		}}

/* An outside_users, which names its edge itself. */
#define HELD_BY(_struct, _member) \
	iommufd_outside{ \
		.edge = decltype(_struct::_member)::edge(), \
		.count = [](struct iommufd_object *obj) { \
			return static_cast<struct _struct *>(obj)->_member.count(); \
		}}

#define SIBLING(_struct, _member) \
	[](struct iommufd_object *obj) { return &static_cast<struct _struct *>(obj)->_member; }

/* Every type has a row. */
inline constexpr struct iommufd_object_table iommufd_objects = iommufd_object_table_of({
	OBJECT_OP(iommufd_access,
		  .destroy = iommufd_access_destroy_object,
		  .look = iommufd_access_look,
		  .holds = {HOLDS_UNDER(ioas_lock, iommufd_access, ioas_unpin,
					"attached to it", "attached to")},
		  .outside = {HELD_BY(iommufd_access, created)}),
	OBJECT_OP(iommufd_device,
		  .pre_destroy = iommufd_device_pre_destroy,
		  .destroy = iommufd_device_destroy,
		  .look = iommufd_device_look,
		  .outside = {HELD_BY(iommufd_device, bound), HELD_BY(iommufd_device, attached)}),
	OBJECT_OP(iommufd_fault,
		  .file = iommufd_eventq_file,
		  .destroy = iommufd_fault_destroy,
		  .look = iommufd_eventq_look,
		  .outside = {HELD_BY(iommufd_fault, open)}),
	OBJECT_OP(iommufd_hw_queue,
		  .destroy = iommufd_hw_queue_destroy,
		  .sibling = SIBLING(iommufd_hw_queue, depended),
		  .holds = {HOLDS(iommufd_hw_queue, viommu, "a queue of it", "queue of"),
			    HOLDS(iommufd_hw_queue, access,
				  "pins its memory through it", "pins through")}),
	OBJECT_OP(iommufd_hwpt_paging,
		  .destroy = iommufd_hwpt_paging_destroy,
		  .abort = iommufd_hwpt_paging_abort, /* under ioas->mutex */
		  .look = iommufd_hwpt_paging_look,
		  .holds = {HOLDS(iommufd_hwpt_paging, ioas, "a copy of its map", "translates"),
			    HOLDS(iommufd_hwpt_paging, fault,
				  "its page faults go there", "page faults to")}),
	OBJECT_OP(iommufd_hwpt_nested,
		  .destroy = iommufd_hwpt_nested_destroy,
		  .abort = iommufd_hwpt_nested_abort,
		  .holds = {HOLDS(iommufd_hwpt_nested, parent_ref, "nested over it", "nested over"),
			    HOLDS(iommufd_hwpt_nested, viommu, "made on it", "made on"),
			    HOLDS(iommufd_hwpt_nested, fault,
				  "its page faults go there", "page faults to")}),
	OBJECT_OP(iommufd_ioas,
		  .destroy = iommufd_ioas_destroy,
		  .look = iommufd_ioas_look),
	iommufd_object_row{IOMMUFD_OBJ_SELFTEST, {.destroy = iommufd_selftest_destroy}},
	OBJECT_OP(iommufd_vcmdq,
		  .destroy = iommufd_vcmdq_destroy,
		  .sibling = SIBLING(iommufd_vcmdq, depended),
		  .holds = {HOLDS(iommufd_vcmdq, viommu, "a queue of it", "queue of")}),
	OBJECT_OP(iommufd_vdevice,
		  .destroy = iommufd_vdevice_destroy,
		  .abort = iommufd_vdevice_abort, /* under its device's group lock */
		  .holds = {HOLDS(iommufd_vdevice, viommu, "a device of it", "device of"),
			    HOLDS_UNDER(viommu->ictx->vdev_lock, iommufd_vdevice, idev,
					"a guest's view of it, which its unbinding takes back",
					"is", true)}),
	OBJECT_OP(iommufd_veventq,
		  .file = iommufd_eventq_file,
		  .destroy = iommufd_veventq_destroy,
		  .abort = iommufd_veventq_abort, /* under its vIOMMU's veventqs_rwsem */
		  .look = iommufd_eventq_look,
		  .holds = {HOLDS(iommufd_veventq, viommu, "events of it", "events of")},
		  .outside = {HELD_BY(iommufd_veventq, open)}),
	OBJECT_OP(iommufd_viommu,
		  .destroy = iommufd_viommu_destroy,
		  .holds = {HOLDS(iommufd_viommu, hwpt, "stands on it", "stands on")}),
});
/* clang-format on */

/* As iommufd_object_alloc(), but owned by the ucmd: the handler just returns. */
template <class T>
static inline result<T *>
iommufd_object_alloc_ucmd(struct iommufd_ucmd *ucmd,
			  const struct iommufd_struct *st = &iommufd_struct_of<T>)
{
	static_assert(!iommufd_objects.ops[T::obj_type].abort,
		      "its abort needs the caller's lock: use iommufd_object_alloc()");
	auto obj = _iommufd_object_alloc_ucmd(ucmd, st);

	if (!obj)
		return obj.error();
	return static_cast<T *>(*obj);
}

/* Does a row say HOLDS of this member? */
consteval bool iommufd_row_holds(const void *member)
{
	for (const struct iommufd_object_ops &ops : iommufd_objects.ops)
		for (const struct iommufd_hold &hold : ops.holds)
			if (hold.member == member)
				return true;
	return false;
}

template <auto Member> struct iommufd_member;
template <class S, class T, users_ref<T> S::*Member> struct iommufd_member<Member> {
	using holder = S;
	using target = T;
};

/*
 * From now on the holder's member keeps obj. The only way to fill such a member:
 * iommufd_object_hold<&iommufd_vdevice::viommu>(vdev, viommu).
 */
template <auto Member>
static inline void iommufd_object_hold(typename iommufd_member<Member>::holder *holder,
				       users_ref<typename iommufd_member<Member>::target> &&user)
{
	static_assert(iommufd_row_holds(&iommufd_member_id<Member>),
		      "its object's row does not say that it HOLDS this member");
	iommufd_users::set(&(holder->*Member), std::move(user));
}

template <auto Member>
static inline void iommufd_object_hold(typename iommufd_member<Member>::holder *holder,
				       held_ref<typename iommufd_member<Member>::target> obj)
{
	iommufd_object_hold<Member>(holder,
				    users_ref<typename iommufd_member<Member>::target>(obj));
}

static inline const struct iommufd_object_ops *iommufd_ops(const struct iommufd_object *obj)
{
	return &iommufd_objects.ops[obj->type];
}
