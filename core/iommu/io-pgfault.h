// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * I/O page faults: what a driver reports, how faults become groups, and how a group is answered.
 *
 * Mirrors the iopf part of include/linux/iommu.h of Linux 7.2. It differs in this: an iopf_group
 * names iommufd's device, since a handle is the group's; its handler queues it at once, so that
 * there is no work item in it.
 */
#pragma once

#include "core/iommu/iommu.h"
#include "core/linux/list.h"
#include "core/linux/mutex.h"
#include "core/linux/refcount.h"
#include "core/linux/types.h"
#include "core/linux/workqueue.h"

#define IOMMU_FAULT_PERM_READ  (1 << 0)
#define IOMMU_FAULT_PERM_WRITE (1 << 1)
#define IOMMU_FAULT_PERM_EXEC  (1 << 2)
#define IOMMU_FAULT_PERM_PRIV  (1 << 3)

enum iommu_fault_type {
	IOMMU_FAULT_PAGE_REQ = 1,
};

#define IOMMU_FAULT_PAGE_REQUEST_PASID_VALID  (1 << 0)
#define IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE    (1 << 1) /* of its group */
#define IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID (1 << 2)

struct iommu_fault_page_request {
	u32 flags = 0; /* IOMMU_FAULT_PAGE_x */
	u32 pasid = 0;
	u32 grpid = 0; /* page request group */
	u32 perm = 0;  /* IOMMU_FAULT_PERM_x */
	u64 addr = 0;
	u64 private_data[2] = {};
};

struct iommu_fault {
	u32 type = 0; /* enum iommu_fault_type */
	struct iommu_fault_page_request prm;
};

enum iommu_page_response_code {
	IOMMU_PAGE_RESP_SUCCESS = 0, /* the page is there: try again */
	IOMMU_PAGE_RESP_INVALID,     /* not this one */
	IOMMU_PAGE_RESP_FAILURE,     /* nor any other */
};

struct iommu_page_response {
	u32 pasid;
	u32 grpid;
	u32 code; /* enum iommu_page_response_code */
};

struct iopf_fault {
	struct iommu_fault fault;
	struct list_head list;
};

/* A page request group that is complete, from its report to its answer. */
struct iopf_group {
	struct iopf_fault last_fault;
	struct list_head faults; /* iopf_fault, as they were reported; last_fault ends it */
	size_t fault_count = 0;
	/* of iommu_fault_param::faults, until a handler takes it over */
	struct list_head pending_node;
	struct iommu_attach_handle *attach_handle = nullptr;
	struct iommu_fault_param *fault_param = nullptr; /* a reference */
	/* The handler's. */
	struct list_head node;
	u32 cookie = 0;
	u32 dev_id = 0;
};

/* The devices whose faults go one way. */
struct iopf_queue {
	struct workqueue_struct *wq = nullptr;
	struct mutex lock{LOCK_CLASS(iopf_queue, lock)};
	struct list_head devices __guarded_by(lock);
};

/* What a device on an iopf_queue has. The device's own reference goes when it leaves the queue, a
 * group's when the group is freed. */
struct iommu_fault_param {
	struct mutex lock{LOCK_CLASS(iommu_fault_param, lock)};
	refcount_t users;
	struct device *dev = nullptr;
	struct iopf_queue *queue = nullptr;
	struct list_head queue_list;		     /* of iopf_queue::devices */
	struct list_head partial __guarded_by(lock); /* iopf_fault whose last one has not come */
	struct list_head faults __guarded_by(lock);  /* iopf_group that no handler has taken over */
};

/* NULL: no memory. */
struct iopf_queue *iopf_queue_alloc(const char *name);
/* Nothing is reported to it any more. Takes its devices off. NULL is fine. */
void iopf_queue_free(struct iopf_queue *queue);
/* -ENODEV: the driver cannot answer; -EBUSY: it is on a queue; -ENOMEM. */
[[nodiscard]] int iopf_queue_add_device(struct iopf_queue *queue, struct device *dev);
/* The device reports nothing any more. What no handler has is answered as invalid. */
void iopf_queue_remove_device(struct iopf_queue *queue, struct device *dev);
/* When it returns what was reported has reached its handler. */
int iopf_queue_flush_dev(struct device *dev);
/* The hardware has lost faults: groups that were not complete never will be. -EINVAL: NULL. */
int iopf_queue_discard_partial(struct iopf_queue *queue);

/*
 * From a driver: the device has faulted. Until it returns the driver keeps the device's attachments
 * as they are. 0: the fault was taken over, or answered as a failure for want of memory; -EINVAL:
 * nobody wants it, and a page request was answered as invalid; -ENOMEM: one that does not end its
 * group, which needs no answer.
 */
int iommu_report_device_fault(struct device *dev, struct iopf_fault *evt);

/*
 * For handlers (iommu_domain::iopf_handler). A handler that returns 0 has taken the group over with
 * iopf_group_dequeue(), and answers and frees it later.
 */
void iopf_group_dequeue(struct iopf_group *group);
void iopf_group_response(struct iopf_group *group, enum iommu_page_response_code status);
void iopf_free_group(struct iopf_group *group);
