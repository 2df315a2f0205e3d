// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A look at a context from outside: its objects, their counts, and who holds whom. For tools that
 * draw the objects or explain why something answers EBUSY.
 *
 * Mirrors no kernel file. Reads only, under the core's own locks, and never waits for one that is
 * held for long: what cannot be seen at this moment is left out and `complete` is false. While it
 * looks it holds objects as a call does.
 *
 * The sum for every object: users = 1 (the object table's, while the object is in it) + the count
 * of every edge to it + the short references of calls in progress. wait_cnt = 1 + those + the edges
 * of kind VDEVICE_DEVICE.
 */
#pragma once

#include <vector>

#include "core/iommu/iommufd.h"
#include "core/linux/types.h"

struct iommufd_ctx;

enum iommufd_edge_kind : u8 {
	IOMMUFD_EDGE_HWPT_IOAS,	  /* a paging HWPT copies its IOAS */
	IOMMUFD_EDGE_HWPT_PARENT, /* a nested HWPT stands on its parent */
	IOMMUFD_EDGE_HWPT_VIOMMU, /* a nested HWPT was made on a vIOMMU */
	IOMMUFD_EDGE_HWPT_FAULT,  /* a HWPT's page faults go to a fault queue */
	IOMMUFD_EDGE_VIOMMU_HWPT, /* a vIOMMU stands on its parent HWPT */
	IOMMUFD_EDGE_VDEVICE_VIOMMU,
	IOMMUFD_EDGE_VEVENTQ_VIOMMU,
	IOMMUFD_EDGE_VDEVICE_DEVICE, /* a short reference that the device takes back when it goes */
	IOMMUFD_EDGE_VCMDQ_VIOMMU,
	IOMMUFD_EDGE_HW_QUEUE_VIOMMU,
	IOMMUFD_EDGE_HW_QUEUE_ACCESS, /* the internal access that pins a queue's memory */
	IOMMUFD_EDGE_DEPENDS,	      /* a queue depends on a sibling */
	IOMMUFD_EDGE_ATTACH,	      /* a device is attached to a HWPT */
	IOMMUFD_EDGE_ACCESS_IOAS,
	/* From outside: from is 0. */
	IOMMUFD_EDGE_BOUND,    /* the driver that bound the device, until it unbinds */
	IOMMUFD_EDGE_ATTACHED, /* the same driver, until it detaches */
	IOMMUFD_EDGE_CREATED,  /* the driver that created the access, until it destroys it */
	IOMMUFD_EDGE_MMAP,     /* mappings of a region of the owner */
	IOMMUFD_EDGE_FILE,     /* the file of an event queue, until it is released */
	IOMMUFD_EDGE_MAX,
};

struct iommufd_snapshot_object {
	u32 id;
	enum iommufd_object_type type; /* IOMMUFD_OBJ_NONE when reserved */
	u32 users;
	u32 wait_cnt;
	bool reserved;	  /* no object: one in the making, or the tombstone of one */
	bool auto_domain; /* HWPT_PAGING: made by an attach, goes with its last device */
	bool internal;	  /* ACCESS: belongs to another object */
};

/* `from` holds `count` users of `to` because of `kind`. */
struct iommufd_snapshot_edge {
	u32 from; /* an object id, or 0: from outside */
	u32 to;
	enum iommufd_edge_kind kind;
	u32 count;
	u64 value;  /* ATTACH: the PASID. MMAP: the offset in the file */
	u64 length; /* MMAP: bytes of the region */
};

/* A range of an IOAS that accesses have pinned. */
struct iommufd_snapshot_pin {
	u32 ioas;
	u64 iova;
	u64 last;
	u32 accesses; /* pins that the area counts */
	u32 locks;    /* those of them for which IOAS_UNMAP answers EBUSY */
};

/* A region that can be mmapped, mapped or not. */
struct iommufd_snapshot_region {
	u32 owner;
	u64 offset; /* of the file */
	u64 length; /* bytes */
	u64 mmio_addr;
	u32 mappings;
};

/* What an event queue has. */
struct iommufd_snapshot_eventq {
	u32 id;
	u32 queued;	/* events (groups of faults) that can be read */
	u32 unanswered; /* FAULT: groups that were read */
};

struct iommufd_snapshot {
	std::vector<struct iommufd_snapshot_object> objects; /* by id */
	std::vector<struct iommufd_snapshot_edge> edges;     /* by to, from, kind */
	std::vector<struct iommufd_snapshot_pin> pins;
	std::vector<struct iommufd_snapshot_region> regions;
	std::vector<struct iommufd_snapshot_eventq> eventqs;
	const char *revision = "";
	u32 vfio_ioas = 0; /* of VFIO's container ioctls, which hold no user of it; 0: none */
	bool complete = true;
};

/* As a task of the context's kernel, without locks. */
void iommufd_snapshot_ctx(struct iommufd_ctx *ictx, struct iommufd_snapshot *out);
/* The same for a descriptor of current's. 0; -EBADF; -EBADFD: another kind of file. */
int iommufd_snapshot_fd(int fd, struct iommufd_snapshot *out);

/* "HWPT_PAGING", "VCMDQ", ...: the kernel's name without its prefix. */
const char *iommufd_object_type_name(enum iommufd_object_type type);
/* What the holder is to the held, as the end of a sentence: "its parent", "attached to it". */
const char *iommufd_edge_kind_name(enum iommufd_edge_kind kind);
