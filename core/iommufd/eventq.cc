// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Event queues: what a program reads and answers through a file descriptor. Fault queues take the
 * page faults of HWPTs, vEVENTQs the events of a vIOMMU.
 *
 * Mirrors drivers/iommu/iommufd/eventq.c of Linux 7.2. It differs in this: a fault carries the id
 * of the device that had it, where the kernel's takes the device that attached first, which may be
 * gone while others of its group stay; a device that leaves such a group has its faults answered
 * then; a vEVENTQ gives its vIOMMU back when it does not need the vIOMMU's lock any more; a file
 * that is released is not named any more, for introspection.
 *
 * Order of locks: iommufd_fault::mutex, then iommufd_eventq::lock or iommu_fault_param::lock; and
 * iommufd_viommu::veventqs_rwsem, then iommufd_eventq::lock.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/iommu/io-pgfault.h"
#include "core/linux/file.h"
#include "core/linux/poll.h"

#include <climits>
#include <fcntl.h>

static struct iommufd_eventq *file_to_eventq(struct file *filep)
{
	return static_cast<struct iommufd_eventq *>(filep->private_data);
}

/* ---- fault queues ---- */

static void iommufd_fault_end_group(struct iopf_group *group, enum iommu_page_response_code code)
{
	iopf_group_response(group, code);
	iopf_free_group(group);
}

/* Answers all groups that `which` says yes to, be they read or not. */
template <class Which>
static void iommufd_fault_end_groups(struct iommufd_fault *fault, Which which)
	__must_hold(fault->mutex)
{
	struct iopf_group *group, *next;
	unsigned long cookie;
	LIST_HEAD(ended);

	spin_lock(&fault->lock);
	list_for_each_entry_safe (group, next, &fault->deliver, node)
		if (which(group))
			list_move_tail(&group->node, &ended);
	spin_unlock(&fault->lock);

	/* an answer may sleep */
	list_for_each_entry_safe (group, next, &ended, node) {
		list_del(&group->node);
		iommufd_fault_end_group(group, IOMMU_PAGE_RESP_INVALID);
	}
	xa_for_each (&fault->response, cookie, group) {
		if (!which(group))
			continue;
		xa_erase(&fault->response, cookie);
		iommufd_fault_end_group(group, IOMMU_PAGE_RESP_INVALID);
	}
}

void iommufd_auto_response_faults(struct iommufd_hw_pagetable *hwpt,
				  const struct iommufd_attach_handle *handle,
				  const struct device *dev)
{
	struct iommufd_fault *fault = hwpt->fault.get();

	if (!fault || !handle)
		return;

	mutex_guard lock(&fault->mutex);
	iommufd_fault_end_groups(fault, [=](const struct iopf_group *group) {
		return group->attach_handle == handle && (!dev || group->fault_param->dev == dev);
	});
}

void iommufd_fault_destroy(struct iommufd_object *obj)
{
	auto *fault = static_cast<struct iommufd_fault *>(obj);

	/* no HWPT names it any more, and the last one's last detach has answered: nothing is left
	 * unless a driver has a bug */
	mutex_guard lock(&fault->mutex);
	iommufd_fault_end_groups(fault, [](const struct iopf_group *) { return true; });
}

static void iommufd_compose_fault_message(const struct iommu_fault *fault,
					  struct iommu_hwpt_pgfault *hwpt_fault, u32 dev_id,
					  u32 cookie)
{
	/* all of it, with what is reserved */
	*hwpt_fault = {
		.flags = fault->prm.flags,
		.dev_id = dev_id,
		.pasid = fault->prm.pasid,
		.grpid = fault->prm.grpid,
		.perm = fault->prm.perm,
		.__reserved = 0,
		.addr = fault->prm.addr,
		.length = 0,
		.cookie = cookie,
	};
}

/* Takes the first group off the queue; NULL when there is none. */
static struct iopf_group *iommufd_fault_deliver_fetch(struct iommufd_fault *fault)
{
	spinlock_guard lock(&fault->lock);

	if (list_empty(&fault->deliver))
		return nullptr;

	auto *group = list_first_entry(&fault->deliver, struct iopf_group, node);

	list_del(&group->node);
	return group;
}

static void iommufd_fault_deliver_restore(struct iommufd_fault *fault, struct iopf_group *group)
{
	spinlock_guard lock(&fault->lock);

	list_add(&group->node, &fault->deliver);
}

/*
 * Hands the group over to the user, who answers it by its cookie. -EINVAL: there is not room for
 * all of it; -EFAULT, -ENOMEM, -EBUSY. When it fails the group has no cookie.
 */
static int iommufd_fault_read_group(struct iommufd_fault *fault, struct iopf_group *group,
				    user_out<void> buf, size_t room) __must_hold(fault->mutex)
{
	struct iommu_hwpt_pgfault data;
	struct iopf_fault *iopf;
	int rc;

	if (group->fault_count > room / sizeof(data))
		return -EINVAL;

	rc = xa_alloc(&fault->response, &group->cookie, group, xa_limit_32b, GFP_KERNEL);
	if (rc)
		return rc;
	list_for_each_entry (iopf, &group->faults, list) {
		iommufd_compose_fault_message(&iopf->fault, &data, group->dev_id, group->cookie);
		rc = buf.copy_to_user(&data, sizeof(data));
		if (rc) {
			xa_erase(&fault->response, group->cookie);
			return rc;
		}
		buf = buf + sizeof(data);
	}
	return 0;
}

/* Whole groups, as many as there are and fit. Never waits. */
static ssize_t iommufd_fault_fops_read(struct file *filep, u64 ubuf, size_t count, loff_t *ppos)
{
	auto *fault = static_cast<struct iommufd_fault *>(file_to_eventq(filep));
	size_t done = 0;
	int rc = 0;

	if (*ppos || count % sizeof(struct iommu_hwpt_pgfault))
		return -ESPIPE;

	mutex_guard lock(&fault->mutex);
	while (struct iopf_group *group = iommufd_fault_deliver_fetch(fault)) {
		rc = iommufd_fault_read_group(fault, group, user_out<void>(ubuf + done),
					      count - done);
		if (rc) {
			iommufd_fault_deliver_restore(fault, group);
			break;
		}
		done += group->fault_count * sizeof(struct iommu_hwpt_pgfault);
	}
	return done ? (ssize_t)done : rc;
}

static_assert((int)IOMMUFD_PAGE_RESP_SUCCESS == (int)IOMMU_PAGE_RESP_SUCCESS);
static_assert((int)IOMMUFD_PAGE_RESP_INVALID == (int)IOMMU_PAGE_RESP_INVALID);

/* -EFAULT; -EINVAL: no such code, or no group with that cookie waits for an answer. */
static int iommufd_fault_write_response(struct iommufd_fault *fault, user_in<void> buf)
	__must_hold(fault->mutex)
{
	struct iommu_hwpt_page_response response;

	if (int rc = buf.copy_from_user(&response, sizeof(response)))
		return rc;
	if (response.code != IOMMUFD_PAGE_RESP_SUCCESS &&
	    response.code != IOMMUFD_PAGE_RESP_INVALID)
		return -EINVAL;

	auto *group = static_cast<struct iopf_group *>(xa_erase(&fault->response, response.cookie));

	if (!group)
		return -EINVAL;
	iommufd_fault_end_group(group, static_cast<enum iommu_page_response_code>(response.code));
	return 0;
}

static ssize_t iommufd_fault_fops_write(struct file *filep, u64 ubuf, size_t count, loff_t *ppos)
{
	auto *fault = static_cast<struct iommufd_fault *>(file_to_eventq(filep));
	size_t done = 0;
	int rc = 0;

	if (*ppos || count % sizeof(struct iommu_hwpt_page_response))
		return -ESPIPE;

	mutex_guard lock(&fault->mutex);
	while (done < count) {
		rc = iommufd_fault_write_response(fault, user_in<void>(ubuf + done));
		if (rc)
			break;
		done += sizeof(struct iommu_hwpt_page_response);
	}
	return done ? (ssize_t)done : rc;
}

/* ---- vEVENTQs ---- */

struct iommufd_vevent *iommufd_vevent_alloc(size_t data_len, gfp_t gfp)
{
	void *mem = kzalloc(size_add(sizeof(struct iommufd_vevent), data_len), gfp);

	if (!mem)
		return nullptr;

	auto *vevent = new (mem) struct iommufd_vevent;

	vevent->data_len = data_len;
	return vevent;
}

void iommufd_vevent_handler(struct iommufd_veventq *veventq, struct iommufd_vevent *vevent)
{
	struct iommufd_vevent *lost = &veventq->lost_events_header;

	/* the number of the event behind it tells the same, or it moves to the end itself */
	if (list_is_last(&lost->node, &veventq->deliver))
		list_del(&lost->node);
	list_add_tail(&vevent->node, &veventq->deliver);
	vevent->header.sequence = veventq->sequence;
	veventq->sequence = (veventq->sequence + 1) & INT_MAX;

	wake_up_interruptible(&veventq->wait_queue);
}

/* The vIOMMU does not know it any more, and nothing is on it. */
static void iommufd_veventq_end(struct iommufd_veventq *veventq,
				[[maybe_unused]] struct iommufd_viommu *viommu)
	__must_hold(viommu->veventqs_rwsem)
{
	struct iommufd_vevent *cur, *next;

	list_del(&veventq->node);

	spinlock_guard lock(&veventq->lock);
	list_for_each_entry_safe (cur, next, &veventq->deliver, node) {
		list_del(&cur->node);
		if (cur != &veventq->lost_events_header)
			kfree_obj(cur);
	}
}

/* The caller holds the vIOMMU besides. */
void iommufd_veventq_abort(struct iommufd_object *obj)
{
	auto *veventq = static_cast<struct iommufd_veventq *>(obj);
	struct iommufd_viommu *viommu = veventq->viommu.get();

	lockdep_assert_held_write(&viommu->veventqs_rwsem);
	iommufd_veventq_end(veventq, viommu);
	veventq->viommu.reset();
}

void iommufd_veventq_destroy(struct iommufd_object *obj)
{
	auto *veventq = static_cast<struct iommufd_veventq *>(obj);
	struct iommufd_viommu *viommu = veventq->viommu.get();

	{
		rwsem_write_guard veventqs(&viommu->veventqs_rwsem);
		iommufd_veventq_end(veventq, viommu);
	}
	/* not under its lock: it may go with it */
	veventq->viommu.reset();
}

/* Takes the first event off the queue; NULL when there is none. -ENOMEM. */
static result<struct iommufd_vevent *>
iommufd_veventq_deliver_fetch(struct iommufd_veventq *veventq)
{
	spinlock_guard lock(&veventq->lock);

	if (list_empty(&veventq->deliver))
		return nullptr;

	auto *first = list_first_entry(&veventq->deliver, struct iommufd_vevent, node);
	struct iommufd_vevent *mine = first;

	/* the header is needed again as soon as the next event is lost */
	if (first == &veventq->lost_events_header) {
		mine = iommufd_vevent_alloc(0, GFP_ATOMIC);
		if (!mine)
			return -ENOMEM;
		mine->header = first->header;
	}
	list_del(&first->node);
	return mine;
}

static void iommufd_veventq_deliver_restore(struct iommufd_veventq *veventq,
					    struct iommufd_vevent *vevent)
{
	spinlock_guard lock(&veventq->lock);

	if (vevent_for_lost_events_header(vevent)) {
		kfree_obj(vevent);
		/* otherwise the number of the next event tells the same */
		if (!list_empty(&veventq->deliver))
			return;
		vevent = &veventq->lost_events_header;
	}
	list_add(&vevent->node, &veventq->deliver);
}

/* -EINVAL: there is not room for all of it; -EFAULT. */
static int iommufd_veventq_read_event(struct iommufd_vevent *vevent, user_out<void> buf,
				      size_t room)
{
	const size_t header_len = sizeof(vevent->header);

	if (room < header_len || vevent->data_len > room - header_len)
		return -EINVAL;

	int rc = buf.copy_to_user(&vevent->header, header_len);

	if (!rc && vevent->data_len)
		rc = (buf + header_len).copy_to_user(vevent->event_data(), vevent->data_len);
	return rc;
}

/* Whole events, as many as there are and fit. Never waits. */
static ssize_t iommufd_veventq_fops_read(struct file *filep, u64 ubuf, size_t count, loff_t *ppos)
{
	auto *veventq = static_cast<struct iommufd_veventq *>(file_to_eventq(filep));
	size_t done = 0;
	int rc = 0;

	if (*ppos)
		return -ESPIPE;
	if (count < sizeof(struct iommufd_vevent_header))
		return -EINVAL;

	for (;;) {
		auto fetched = iommufd_veventq_deliver_fetch(veventq);

		if (!fetched) {
			rc = fetched.error();
			break;
		}

		struct iommufd_vevent *cur = *fetched;

		if (!cur)
			break;
		rc = iommufd_veventq_read_event(cur, user_out<void>(ubuf + done), count - done);
		if (rc) {
			iommufd_veventq_deliver_restore(veventq, cur);
			break;
		}
		if (!vevent_for_lost_events_header(cur)) {
			spinlock_guard lock(&veventq->lock);
			veventq->num_events--;
		}
		done += sizeof(cur->header) + cur->data_len;
		kfree_obj(cur);
	}
	return done ? (ssize_t)done : rc;
}

/* ---- both ---- */

static __poll_t iommufd_eventq_fops_poll(struct file *filep, struct poll_table_struct *wait)
{
	struct iommufd_eventq *eventq = file_to_eventq(filep);
	__poll_t pollflags = eventq->type == IOMMUFD_OBJ_FAULT ? POLLOUT : 0;

	poll_wait(filep, &eventq->wait_queue, wait);

	spinlock_guard lock(&eventq->lock);
	if (!list_empty(&eventq->deliver))
		pollflags |= POLLIN | POLLRDNORM;
	return pollflags;
}

static int iommufd_eventq_fops_release(struct file *filep)
{
	struct iommufd_eventq *eventq = file_to_eventq(filep);
	struct iommufd_ctx *ictx = eventq->ictx;

	eventq->filep.store(nullptr, std::memory_order_relaxed);
	/* now it may be destroyed, before the context is put */
	eventq->open.put(eventq);
	iommufd_ctx_put(ictx);
	return 0;
}

struct file *iommufd_eventq_file(struct iommufd_object *obj)
{
	return static_cast<struct iommufd_eventq *>(obj)->filep.load(std::memory_order_relaxed);
}

static const struct file_operations iommufd_fault_fops = {
	.release = iommufd_eventq_fops_release,
	.read = iommufd_fault_fops_read,
	.write = iommufd_fault_fops_write,
	.poll = iommufd_eventq_fops_poll,
	.name = "[iommufd-pgfault]",
};

static const struct file_operations iommufd_veventq_fops = {
	.release = iommufd_eventq_fops_release,
	.read = iommufd_veventq_fops_read,
	.poll = iommufd_eventq_fops_poll,
	.name = "[iommufd-viommu-event]",
};

/*
 * The file of a queue that is being made, and the number for its descriptor, which the caller
 * installs or gives back. -ENOMEM, -EMFILE. The abort of the object puts the file.
 */
static int iommufd_eventq_init(struct iommufd_eventq *eventq, struct iommufd_ctx *ictx,
			       const struct file_operations *fops)
{
	auto filep = anon_inode_getfile(fops->name, fops, eventq, O_RDWR);

	if (!filep)
		return filep.error();

	/* the file's: a reference to the context and a user of the queue */
	eventq->ictx = ictx;
	iommufd_ctx_get(ictx);
	eventq->open.get(eventq);
	eventq->filep.store(*filep, std::memory_order_relaxed);

	return get_unused_fd_flags(O_CLOEXEC);
}

/* Tells the user what it has got. Then nothing can fail any more, or the number is free again. */
static int iommufd_eventq_respond(struct iommufd_ucmd *ucmd, size_t cmd_len, int fdno)
{
	const int rc = iommufd_ucmd_respond(ucmd, cmd_len);

	if (rc)
		put_unused_fd(fdno);
	return rc;
}

int iommufd_fault_alloc(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_fault_alloc *>(ucmd->cmd);

	if (cmd->flags)
		return -EOPNOTSUPP;

	auto new_fault = iommufd_object_alloc_ucmd<struct iommufd_fault>(ucmd);

	if (!new_fault)
		return new_fault.error();

	struct iommufd_fault *fault = *new_fault;
	const int fdno = iommufd_eventq_init(fault, ucmd->ictx, &iommufd_fault_fops);

	if (fdno < 0)
		return fdno;
	cmd->out_fault_id = fault->id;
	cmd->out_fault_fd = fdno;
	if (int rc = iommufd_eventq_respond(ucmd, sizeof(*cmd), fdno))
		return rc;
	fd_install(fdno, iommufd_eventq_file(fault));
	return 0;
}

/* Which device of the attachment it is, by its id.
 * 0: it is not attached any more, though its group is. */
static u32 iommufd_handle_dev_id(const struct iommufd_attach_handle *handle,
				 const struct device *dev)
{
	auto *attach = static_cast<struct iommufd_attach *>(
		xa_load(&handle->igroup->pasid_attach, handle->pasid));
	struct iommufd_device *idev;
	unsigned long id;

	/* the driver keeps attachments still while it reports */
	if (attach)
		xa_for_each (&attach->device_array, id, idev)
			if (idev->dev == dev)
				return idev->id;
	return 0;
}

int iommufd_fault_iopf_handler(struct iopf_group *group)
{
	struct iommufd_fault *fault = group->attach_handle->domain->iommufd_hwpt->fault.get();

	group->dev_id = iommufd_handle_dev_id(to_iommufd_handle(group->attach_handle),
					      group->fault_param->dev);
	if (!group->dev_id)
		return -ENODEV;

	/* off the device's list: from here on the queue answers it */
	iopf_group_dequeue(group);

	spin_lock(&fault->lock);
	list_add_tail(&group->node, &fault->deliver);
	spin_unlock(&fault->lock);

	wake_up_interruptible(&fault->wait_queue);
	return 0;
}

/* Far above what any hardware has. */
#define VEVENTQ_MAX_DEPTH (1U << 19)

int iommufd_veventq_alloc(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_veventq_alloc *>(ucmd->cmd);
	const auto type = static_cast<enum iommu_veventq_type>(cmd->type);

	if (cmd->flags || cmd->__reserved || type == IOMMU_VEVENTQ_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->veventq_depth || cmd->veventq_depth > VEVENTQ_MAX_DEPTH)
		return -EINVAL;

	auto held_viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);

	if (!held_viommu)
		return held_viommu.error();

	struct iommufd_viommu *viommu = held_viommu.get();

	rwsem_write_guard veventqs(&viommu->veventqs_rwsem);

	if (iommufd_viommu_find_veventq(viommu, type))
		return -EEXIST;

	auto new_veventq = iommufd_object_alloc<struct iommufd_veventq>(ucmd->ictx);

	if (!new_veventq)
		return new_veventq.error();

	struct iommufd_veventq *veventq = *new_veventq;

	veventq->type = type;
	iommufd_object_hold<&iommufd_veventq::viommu>(veventq, held_viommu);
	veventq->depth = cmd->veventq_depth;
	{
		spinlock_guard lock(&veventq->lock);
		veventq->lost_events_header.header.flags = IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
	}
	list_add_tail(&veventq->node, &viommu->veventqs);

	const int fdno = iommufd_eventq_init(veventq, ucmd->ictx, &iommufd_veventq_fops);
	int rc = fdno < 0 ? fdno : 0;

	if (!rc) {
		cmd->out_veventq_id = veventq->id;
		cmd->out_veventq_fd = fdno;
		rc = iommufd_eventq_respond(ucmd, sizeof(*cmd), fdno);
	}
	if (rc) {
		iommufd_object_abort_and_destroy(ucmd->ictx, veventq);
		return rc;
	}

	struct file *filep = iommufd_eventq_file(veventq);

	iommufd_object_finalize(ucmd->ictx, veventq);
	fd_install(fdno, filep);
	return 0;
}
