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
 * that are short_term.
 */
#pragma once

#include <vector>

#include "core/iommu/iommufd.h"
#include "core/linux/types.h"

struct iommufd_ctx;

struct iommufd_snapshot_object {
	u32 id;
	enum iommufd_object_type type; /* IOMMUFD_OBJ_NONE when reserved */
	u32 users;
	u32 wait_cnt;
	bool reserved;	  /* no object: one in the making, or the tombstone of one */
	bool auto_domain; /* HWPT_PAGING: made by an attach, goes with its last device */
	bool internal;	  /* ACCESS: belongs to another object */
};

/* `from` holds `count` users of `to`. */
struct iommufd_snapshot_edge {
	u32 from; /* an object id, or 0: from outside */
	u32 to;
	const struct iommufd_edge *why;
	u32 count;
	u64 value;  /* iommufd_edge_attach: the PASID. _mmap: the offset in the file */
	u64 length; /* iommufd_edge_mmap: bytes of the region */
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
	std::vector<struct iommufd_snapshot_edge> edges;     /* by to, from */
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
