// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * I/O page faults on their way from a driver to the handler of a domain, and back as an answer.
 *
 * Mirrors drivers/iommu/io-pgfault.c of Linux 7.2. It differs as io-pgfault.h says, and: a device's
 * fault_param is read under dev_iommu::lock instead of RCU; a device that has none is no reason for
 * a WARN, since it may have joined its group when a PASID of it was attached already.
 *
 * Order of locks: iopf_queue::lock, dev_iommu::lock, iommu_fault_param::lock. A driver's
 * page_response() runs under the last one, so that a device is not answered twice at once.
 */
#include "core/iommu/io-pgfault.h"

#include "core/linux/bug.h"
#include "core/linux/printk.h"

static void iopf_put_dev_fault_param(struct iommu_fault_param *fault_param)
{
	if (refcount_dec_and_test(&fault_param->users))
		kfree_obj(fault_param);
}

/* With a reference; NULL when the device is on no queue. */
static struct iommu_fault_param *iopf_get_dev_fault_param(struct device *dev)
{
	struct dev_iommu *param = dev->iommu;

	mutex_guard lock(&param->lock);
	if (param->fault_param)
		refcount_inc(&param->fault_param->users);
	return param->fault_param;
}

static void iopf_respond(struct device *dev, struct iopf_fault *evt,
			 enum iommu_page_response_code code)
{
	struct iommu_page_response resp = {
		.pasid = evt->fault.prm.pasid,
		.grpid = evt->fault.prm.grpid,
		.code = code,
	};

	dev_iommu_ops(dev)->page_response(dev, evt, &resp);
}

static void iopf_free_partial(struct iommu_fault_param *fault_param) __must_hold(fault_param->lock)
{
	struct iopf_fault *iopf, *next;

	list_for_each_entry_safe (iopf, next, &fault_param->partial, list) {
		list_del(&iopf->list);
		kfree_obj(iopf);
	}
}

/* All but the memory of the group itself. */
static void __iopf_free_group(struct iopf_group *group)
{
	struct iopf_fault *iopf, *next;

	list_for_each_entry_safe (iopf, next, &group->faults, list)
		if (iopf != &group->last_fault)
			kfree_obj(iopf);
	iopf_put_dev_fault_param(group->fault_param);
}

void iopf_free_group(struct iopf_group *group)
{
	__iopf_free_group(group);
	kfree_obj(group);
}

/* Kept until the last one of its group comes. */
static int report_partial_fault(struct iommu_fault_param *fault_param,
				const struct iommu_fault *fault)
{
	auto *iopf = kzalloc_obj<struct iopf_fault>();

	if (!iopf)
		return -ENOMEM;
	iopf->fault = *fault;

	mutex_guard lock(&fault_param->lock);
	list_add_tail(&iopf->list, &fault_param->partial);
	return 0;
}

/* Makes evt and what came before it of its group one. Takes over the reference to iopf_param. */
static void iopf_group_fill(struct iopf_group *group, struct iommu_fault_param *iopf_param,
			    const struct iopf_fault *evt)
{
	struct iopf_fault *iopf, *next;

	group->fault_param = iopf_param;
	group->last_fault.fault = evt->fault;

	mutex_guard lock(&iopf_param->lock);
	list_for_each_entry_safe (iopf, next, &iopf_param->partial, list)
		if (iopf->fault.prm.grpid == evt->fault.prm.grpid)
			list_move_tail(&iopf->list, &group->faults);
	list_add_tail(&group->last_fault.list, &group->faults);
	group->fault_count = list_count_nodes(&group->faults);
	list_add(&group->pending_node, &iopf_param->faults);
}

/* The attachment whose domain wants the fault; NULL for none. */
static struct iommu_attach_handle *find_fault_handler(struct device *dev,
						      const struct iopf_fault *evt)
{
	const struct iommu_fault_page_request *prm = &evt->fault.prm;
	const bool has_pasid = prm->flags & IOMMU_FAULT_PAGE_REQUEST_PASID_VALID;
	auto handle = iommu_attach_handle_get(dev->iommu_group,
					      has_pasid ? prm->pasid : IOMMU_NO_PASID, 0);

	/* where the PASID table is the guest's, all PASIDs belong to the device's nested domain */
	if (!handle && has_pasid && dev_iommu_ops(dev)->user_pasid_table)
		handle = iommu_attach_handle_get(dev->iommu_group, IOMMU_NO_PASID,
						 IOMMU_DOMAIN_NESTED);
	return handle && handle->domain->iopf_handler ? *handle : nullptr;
}

/* Ends a group that no handler has. */
static void iopf_group_abort(struct iopf_group *group)
{
	dev_warn_ratelimited(group->fault_param->dev, "iopf with pasid %u aborted",
			     group->last_fault.fault.prm.pasid);
	iopf_group_response(group, IOMMU_PAGE_RESP_FAILURE);
}

int iommu_report_device_fault(struct device *dev, struct iopf_fault *evt)
{
	struct iommu_attach_handle *handle = find_fault_handler(dev, evt);
	struct iommu_fault_param *iopf_param = handle ? iopf_get_dev_fault_param(dev) : nullptr;

	if (!iopf_param) {
		if (evt->fault.type == IOMMU_FAULT_PAGE_REQ && dev_iommu_ops(dev)->page_response)
			iopf_respond(dev, evt, IOMMU_PAGE_RESP_INVALID);
		return -EINVAL;
	}

	if (!(evt->fault.prm.flags & IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE)) {
		const int rc = report_partial_fault(iopf_param, &evt->fault);

		iopf_put_dev_fault_param(iopf_param);
		return rc;
	}

	auto *group = kzalloc_obj<struct iopf_group>();

	if (!group) {
		/* those before it go with it, or they would stay for ever */
		struct iopf_group abort_group;

		iopf_group_fill(&abort_group, iopf_param, evt);
		iopf_group_abort(&abort_group);
		__iopf_free_group(&abort_group);
		return 0;
	}
	iopf_group_fill(group, iopf_param, evt);
	group->attach_handle = handle;
	if (handle->domain->iopf_handler(group)) {
		iopf_group_abort(group);
		iopf_free_group(group);
	}
	return 0;
}

int iopf_queue_flush_dev(struct device *dev)
{
	struct iommu_fault_param *iopf_param = iopf_get_dev_fault_param(dev);

	if (WARN_ON(!iopf_param))
		return -ENODEV;
	flush_workqueue(iopf_param->queue->wq);
	iopf_put_dev_fault_param(iopf_param);
	return 0;
}

void iopf_group_response(struct iopf_group *group, enum iommu_page_response_code status)
{
	struct iommu_fault_param *fault_param = group->fault_param;

	mutex_guard lock(&fault_param->lock);
	iopf_respond(fault_param->dev, &group->last_fault, status);
	list_del_init(&group->pending_node);
}

void iopf_group_dequeue(struct iopf_group *group)
{
	mutex_guard lock(&group->fault_param->lock);
	list_del_init(&group->pending_node);
}

int iopf_queue_discard_partial(struct iopf_queue *queue)
{
	struct iommu_fault_param *iopf_param;

	if (!queue)
		return -EINVAL;

	mutex_guard devices(&queue->lock);
	list_for_each_entry (iopf_param, &queue->devices, queue_list) {
		mutex_guard lock(&iopf_param->lock);
		iopf_free_partial(iopf_param);
	}
	return 0;
}

int iopf_queue_add_device(struct iopf_queue *queue, struct device *dev)
{
	struct dev_iommu *param = dev->iommu;

	if (!dev_iommu_ops(dev)->page_response)
		return -ENODEV;

	mutex_guard devices(&queue->lock);
	mutex_guard lock(&param->lock);

	if (param->fault_param)
		return -EBUSY;

	auto *fault_param = kzalloc_obj<struct iommu_fault_param>();

	if (!fault_param)
		return -ENOMEM;
	fault_param->dev = dev;
	fault_param->queue = queue;
	refcount_set(&fault_param->users, 1);
	list_add(&fault_param->queue_list, &queue->devices);
	param->fault_param = fault_param;
	return 0;
}

/* Answers what no handler has taken over, and frees it. */
static void iopf_end_device(struct iommu_fault_param *fault_param)
{
	struct iopf_group *group, *next;

	mutex_guard lock(&fault_param->lock);
	iopf_free_partial(fault_param);
	list_for_each_entry_safe (group, next, &fault_param->faults, pending_node) {
		iopf_respond(fault_param->dev, &group->last_fault, IOMMU_PAGE_RESP_INVALID);
		list_del_init(&group->pending_node);
		/* not the last reference to fault_param: the device has one */
		iopf_free_group(group);
	}
}

static void __iopf_queue_remove_device(struct iopf_queue *queue, struct device *dev)
	__must_hold(queue->lock)
{
	struct dev_iommu *param = dev->iommu;
	mutex_guard lock(&param->lock);
	struct iommu_fault_param *fault_param = param->fault_param;

	if (WARN_ON(!fault_param || fault_param->queue != queue))
		return;
	iopf_end_device(fault_param);
	list_del(&fault_param->queue_list);
	param->fault_param = nullptr;
	iopf_put_dev_fault_param(fault_param);
}

void iopf_queue_remove_device(struct iopf_queue *queue, struct device *dev)
{
	mutex_guard devices(&queue->lock);

	__iopf_queue_remove_device(queue, dev);
}

struct iopf_queue *iopf_queue_alloc(const char *name)
{
	auto *queue = kzalloc_obj<struct iopf_queue>();

	if (!queue)
		return nullptr;
	queue->wq = alloc_workqueue(name, 0, 0);
	if (!queue->wq) {
		kfree_obj(queue);
		return nullptr;
	}
	return queue;
}

void iopf_queue_free(struct iopf_queue *queue)
{
	struct iommu_fault_param *iopf_param, *next;

	if (!queue)
		return;
	{
		mutex_guard devices(&queue->lock);
		list_for_each_entry_safe (iopf_param, next, &queue->devices, queue_list)
			__iopf_queue_remove_device(queue, iopf_param->dev);
	}
	destroy_workqueue(queue->wq);
	kfree_obj(queue);
}
