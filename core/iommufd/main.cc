// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * iommufd: the object table, the file, and the way of an ioctl from the file to its handler.
 *
 * Mirrors drivers/iommu/iommufd/main.c of Linux 7.2, with the mmap policy of the vCMDQ series v2
 * beside the merged one. It differs in this: the table of object types is in objects.h, and the
 * table of ioctls is the choice of the context's revision (revision.cc); there is no module and no
 * miscdevice.
 *
 * The life of an object. Its id is reserved first, so that all that can fail is done before anybody
 * can see it; iommufd_object_finalize() publishes it. From then on others may hold it: short
 * references through wait_cnt and users, long ones through users alone. Destroy needs users to be
 * the table's one, takes the entry out under the table's lock, waits for short references that are
 * on their way out, and ends it.
 */
#include "core/iommufd/iommufd_private.h"

#include "core/linux/bug.h"
#include "core/linux/fault-inject.h"
#include "core/linux/file.h"
#include "core/linux/kernel.h"
#include "core/linux/printk.h"
#include "core/linux/sched.h"
#include "core/mm/vma.h"

#include <climits>
#include <fcntl.h>

/* Ends the C++ object and frees its memory: the kernel's kfree(obj). */
static void iommufd_object_free(struct iommufd_object *obj)
{
	obj->st->destruct(obj);
	kfree(obj);
}

result<struct iommufd_object *> _iommufd_object_alloc(struct iommufd_ctx *ictx,
						      const struct iommufd_struct *st)
{
	struct iommufd_object *obj;
	void *mem;
	int rc;

	mem = kzalloc(st->size, GFP_KERNEL_ACCOUNT);
	if (!mem)
		return -ENOMEM;
	st->construct(mem);
	obj = static_cast<struct iommufd_object *>(mem);
	obj->st = st;
	obj->type = st->type;
	/* the table's own one, until the entry is taken out */
	refcount_set(&obj->wait_cnt, 1);
	iommufd_users::init(obj);

	/*
	 * Only the id: an object that others can find cannot be taken back reliably, so all that
	 * may fail comes before iommufd_object_finalize().
	 */
	rc = xa_alloc(&ictx->objects, &obj->id, XA_ZERO_ENTRY, xa_limit_31b, GFP_KERNEL_ACCOUNT);
	if (rc) {
		iommufd_object_free(obj);
		return rc;
	}
	for (u32 max_id = ictx->max_id.load(std::memory_order_relaxed); unlikely(obj->id > max_id);)
		if (ictx->max_id.compare_exchange_weak(max_id, obj->id, std::memory_order_relaxed))
			break;
	return obj;
}

result<struct iommufd_object *> _iommufd_object_alloc_ucmd(struct iommufd_ucmd *ucmd,
							   const struct iommufd_struct *st)
{
	/* a handler makes one object */
	if (WARN_ON(ucmd->new_obj))
		return -EBUSY;

	auto new_obj = _iommufd_object_alloc(ucmd->ictx, st);

	if (new_obj)
		ucmd->new_obj = *new_obj;
	return new_obj;
}

/* Publishes the object: from now on its creator has no more rights to it than others. */
void iommufd_object_finalize(struct iommufd_ctx *ictx, struct iommufd_object *obj)
{
	void *old;

	xa_lock(&ictx->objects);
	old = __xa_store_raw(&ictx->objects, obj->id, obj);
	xa_unlock(&ictx->objects);
	/* the slot was reserved, so the store cannot fail */
	WARN_ON(old != XA_ZERO_ENTRY);
}

/* Undoes _iommufd_object_alloc() of an object that was not published. */
void iommufd_object_abort(struct iommufd_ctx *ictx, struct iommufd_object *obj)
{
	void *old;

	xa_lock(&ictx->objects);
	old = __xa_store_raw(&ictx->objects, obj->id, nullptr);
	xa_unlock(&ictx->objects);
	WARN_ON(old != XA_ZERO_ENTRY);

	if (WARN_ON(!iommufd_users::take_last(obj)))
		return;
	iommufd_object_free(obj);
}

/* The same for one that has been filled so far that its destroy op (or its abort op) is needed. */
void iommufd_object_abort_and_destroy(struct iommufd_ctx *ictx, struct iommufd_object *obj)
{
	const struct iommufd_object_ops *ops = iommufd_ops(obj);
	auto undo = ops->abort ? ops->abort : ops->destroy;
	struct file *file = ops->file ? ops->file(obj) : nullptr;

	/*
	 * Its release puts the file's user of the object, which is freed below: not later. Nobody
	 * else has the file, which gets a descriptor only when nothing can fail any more.
	 */
	if (file)
		__fput_sync(file);
	undo(obj);
	iommufd_object_abort(ictx, obj);
}

short_ref<struct iommufd_object> iommufd_get_object(struct iommufd_ctx *ictx, u32 id,
						    enum iommufd_object_type type)
{
	struct iommufd_object *obj;

	if (iommufd_should_fail())
		return -ENOENT;

	xa_lock(&ictx->objects);
	obj = static_cast<struct iommufd_object *>(xa_load(&ictx->objects, id));
	if (!obj || (type != IOMMUFD_OBJ_ANY && obj->type != type) || !iommufd_lock_obj(obj))
		obj = nullptr;
	xa_unlock(&ictx->objects);
	if (!obj)
		return -ENOENT;
	return short_ref<struct iommufd_object>::adopt(ictx, obj);
}

void iommufd_put_object(struct iommufd_ctx *ictx, struct iommufd_object *obj)
{
	/* in this order: who waits for wait_cnt must not find a user that is a short reference's */
	iommufd_users::put(obj);
	/* the last access to the object: who waits for zero frees it */
	if (refcount_dec_and_test(&obj->wait_cnt))
		wake_up_interruptible_all(&ictx->destroy_wait);
}

users_ref<struct iommufd_object> _iommufd_try_get_users(struct iommufd_ctx *ictx,
							struct iommufd_object *obj)
{
	void *cur;

	xa_lock(&ictx->objects);
	cur = xa_load(&ictx->objects, obj->id);
	if (cur == obj)
		iommufd_users::get(obj);
	xa_unlock(&ictx->objects);
	return cur == obj ? iommufd_users::adopt(obj) : users_ref<struct iommufd_object>();
}

/* refcount_read(), ordered before what follows. */
static inline int refcount_read_acquire(const refcount_t *r)
{
	return r->refs.load(std::memory_order_acquire);
}

/* Drops the table's part of wait_cnt and waits until no short reference is left. */
static int iommufd_object_dec_wait(struct iommufd_ctx *ictx, struct iommufd_object *to_destroy)
{
	if (refcount_dec_and_test(&to_destroy->wait_cnt))
		return 0;

	if (auto pre_destroy = iommufd_ops(to_destroy)->pre_destroy)
		pre_destroy(to_destroy);

	/* acquires what the last holder did to the object, which is about to be freed */
	if (wait_event_timeout(ictx->destroy_wait, !refcount_read_acquire(&to_destroy->wait_cnt),
			       msecs_to_jiffies(60000)))
		return 0;

	pr_crit("Time out waiting for iommufd object to become free\n");
	refcount_inc(&to_destroy->wait_cnt);
	return -EBUSY;
}

/*
 * Takes what the id names out of the table, if nobody but the table uses it. The user is put in any
 * case; with REMOVE_WAIT and an error the table's part of its object's wait_cnt comes back.
 * Errors as iommufd_object_remove().
 */
static result<struct iommufd_object *> iommufd_object_take(struct iommufd_ctx *ictx,
							   users_ref<struct iommufd_object> user,
							   u32 id, unsigned int flags)
{
	struct iommufd_object *const to_destroy = user.get();
	xa_guard objects(&ictx->objects);
	void *entry = xa_load_raw(&ictx->objects, id);
	auto *obj = entry == XA_ZERO_ENTRY ? nullptr : static_cast<struct iommufd_object *>(entry);
	int rc = 0;

	/* under the lock: nobody can look the object up between this and the test of users */
	user.reset();
	if (to_destroy ? WARN_ON(obj != to_destroy) : !obj)
		rc = -ENOENT;
	else if (!iommufd_users::take_last(obj))
		rc = -EBUSY;
	if (rc) {
		if (flags & REMOVE_WAIT)
			refcount_set(&to_destroy->wait_cnt, 1);
		return rc;
	}

	__xa_store_raw(&ictx->objects, id, flags & REMOVE_OBJ_TOMBSTONE ? XA_ZERO_ENTRY : nullptr);
	if (ictx->vfio_ioas == obj)
		ictx->vfio_ioas = nullptr;
	return obj;
}

/*
 * Takes the object out of the table and ends it, if nobody but the table uses it. With to_destroy
 * the caller has a user of it, which is put in any case; otherwise the object is what the id names.
 * 0; -ENOENT: no such id, or a tombstone; -EBUSY: in use.
 */
int iommufd_object_remove(struct iommufd_ctx *ictx, users_ref<struct iommufd_object> to_destroy,
			  u32 id, unsigned int flags)
{
	const bool wait_first = flags & REMOVE_WAIT;

	/*
	 * Whoever destroys an object of its own, which a call may be using right now, waits before
	 * it looks at users, so that such a call cannot make it fail.
	 */
	if (wait_first) {
		/* an error is a bug: the object stays until close */
		if (int rc = iommufd_object_dec_wait(ictx, to_destroy.get()))
			return rc;
	}

	auto taken = iommufd_object_take(ictx, std::move(to_destroy), id, flags);

	if (!taken)
		return taken.error();

	/* users is zero: what is left of wait_cnt is an iommufd_put_object() between its two steps
	 */
	if (!wait_first) {
		int rc = iommufd_object_dec_wait(ictx, *taken);

		if (WARN_ON(rc))
			return rc;
	}

	iommufd_ops(*taken)->destroy(*taken);
	iommufd_object_free(*taken);
	return 0;
}

int iommufd_destroy(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_destroy *>(ucmd->cmd);

	return iommufd_object_remove(ucmd->ictx, {}, cmd->id, 0);
}

/* Ends what only the table uses. How many objects that were; *any: whether there was one at all. */
static unsigned int iommufd_destroy_leaves(struct iommufd_ctx *ictx, bool *any)
{
	struct iommufd_object *obj;
	unsigned int ended = 0;
	unsigned long id;

	*any = false;
	/* tombstones do not show here */
	xa_for_each (&ictx->objects, id, obj) {
		*any = true;
		if (iommufd_users::take_last(obj)) {
			xa_erase(&ictx->objects, id);
			iommufd_ops(obj)->destroy(obj);
			iommufd_object_free(obj);
			ended++;
		}
	}
	return ended;
}

static int iommufd_fops_release(struct file *filp)
{
	auto *ictx = static_cast<struct iommufd_ctx *>(filp->private_data);
	unsigned int ended;
	bool any;

	/*
	 * Users form a graph without cycles: whatever has only the table's user is a leaf and can
	 * go, which makes leaves of others. A round that ends nothing means that a count is wrong.
	 */
	do {
		ended = iommufd_destroy_leaves(ictx, &any);
	} while (any && !WARN_ON(!ended));
	xa_destroy(&ictx->objects);

	WARN_ON(!xa_empty(&ictx->groups));
	WARN_ON(!mtree_empty(&ictx->mt_mmap));

	{
		mutex_guard sw_msi(&ictx->sw_msi_lock);
		struct iommufd_sw_msi_map *map, *after;

		list_for_each_entry_safe (map, after, &ictx->sw_msi_list, sw_msi_item)
			kfree_obj(map);
		INIT_LIST_HEAD(&ictx->sw_msi_list);
	}

	kfree_obj(ictx);
	return 0;
}

int iommufd_option(struct iommufd_ucmd *ucmd)
{
	auto *cmd = static_cast<struct iommu_option *>(ucmd->cmd);
	int rc = -EOPNOTSUPP;

	if (cmd->__reserved)
		return rc;
	if (cmd->option_id == IOMMU_OPTION_RLIMIT_MODE)
		rc = iommufd_option_rlimit_mode(cmd, ucmd->ictx);
	else if (cmd->option_id == IOMMU_OPTION_HUGE_PAGES)
		rc = iommufd_ioas_option(ucmd);
	if (rc)
		return rc;
	/* the value alone, whatever size the caller's struct has */
	return ucmd->ubuffer.as<struct iommu_option>().field<&iommu_option::val64>().copy_to_user(
		cmd->val64);
}

/* Runs the handler, and ends what it left half-built. */
static int iommufd_ucmd_execute(struct iommufd_ucmd *ucmd, const struct iommufd_ioctl_op *op)
{
	int rc = op->execute(ucmd);

	if (ucmd->new_obj && rc)
		iommufd_object_abort_and_destroy(ucmd->ictx, ucmd->new_obj);
	else if (ucmd->new_obj)
		iommufd_object_finalize(ucmd->ictx, ucmd->new_obj);
	return rc;
}

static long iommufd_fops_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	auto *ictx = static_cast<struct iommufd_ctx *>(filp->private_data);
	alignas(u64) u8 buf[IOMMUFD_UCMD_BUFFER_SIZE];
	const struct iommufd_ioctl_op *op;
	struct iommufd_ucmd ucmd;
	unsigned int nr;
	int ret;

	nr = _IOC_NR(cmd);
	if (nr < IOMMUFD_CMD_BASE || nr - IOMMUFD_CMD_BASE >= ARRAY_SIZE(ictx->rev->ioctls->ops))
		return iommufd_vfio_ioctl(ictx, cmd, arg);

	ucmd.ictx = ictx;
	ucmd.ubuffer = user_inout<void>(arg);
	ret = get_user(&ucmd.user_size, user_in<u32>(arg));
	if (ret)
		return ret;

	op = &ictx->rev->ioctls->ops[nr - IOMMUFD_CMD_BASE];
	if (!op->execute || op->ioctl_num != cmd)
		return -ENOIOCTLCMD;
	if (ucmd.user_size < op->min_size)
		return -EINVAL;

	ucmd.cmd = buf;
	ret = copy_struct_from_user(ucmd.cmd, op->size, user_in<void>(arg), ucmd.user_size);
	if (ret)
		return ret;
	return iommufd_ucmd_execute(&ucmd, op);
}

static void iommufd_fops_vma_open(struct vm_area_struct *vma)
{
	auto *immap = static_cast<struct iommufd_mmap *>(vma->vm_private_data);

	immap->mappings.get(immap->owner);
}

static void iommufd_fops_vma_close(struct vm_area_struct *vma)
{
	auto *immap = static_cast<struct iommufd_mmap *>(vma->vm_private_data);

	/* the owner's user keeps the region too */
	immap->mappings.put(immap->owner);
}

static const struct vm_operations_struct iommufd_vma_ops = {
	.open = iommufd_fops_vma_open,
	.close = iommufd_fops_vma_close,
	.may_split = nullptr,
};

/* *region is the one at an offset of the file (bytes), if it can be held: a user of its owner. */
static users_ref<struct iommufd_object>
iommufd_mmap_hold(struct iommufd_ctx *ictx, unsigned long offset, struct iommufd_mmap **region)
{
	mtree_guard regions(&ictx->mt_mmap);

	*region = static_cast<struct iommufd_mmap *>(mtree_load(&ictx->mt_mmap, offset));
	if (!*region)
		return {};

	/*
	 * The entry goes under this lock before its owner does. An owner that is not in the object
	 * table is being made, and its creation may still fail, or is being destroyed: neither can
	 * be held.
	 */
	return iommufd_try_get_users(ictx, (*region)->owner);
}

/* Makes vma one of the region's mappings, as far as it alone is concerned. -ENXIO: not its start,
 * or a length that the revision does not allow. */
static int iommufd_mmap_fill(struct iommufd_ctx *ictx, struct iommufd_mmap *region,
			     struct vm_area_struct *vma)
{
	const size_t length = vma->vm_end - vma->vm_start;

	/* any offset inside a region finds it: only its start is one */
	if (vma->vm_pgoff != region->vm_pgoff ||
	    (ictx->rev->mmap_exact ? length != region->length : length > region->length))
		return -ENXIO;

	vma->vm_ops = &iommufd_vma_ops;
	vma->vm_private_data = region;
	vma->vm_pgoff = 0;
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	return io_remap_pfn_range(vma, vma->vm_start, region->mmio_addr >> PAGE_SHIFT, length,
				  vma->vm_page_prot);
}

/*
 * Maps a region that a driver has registered, at the offset that the driver has told the user.
 * -EINVAL: a length that is not whole pages, or a private mapping; -EPERM: executable; -ENXIO: no
 * region starts there, its owner is being destroyed, or the length is not what the revision allows.
 */
static int iommufd_fops_mmap(struct file *filp, struct vm_area_struct *vma)
{
	auto *ictx = static_cast<struct iommufd_ctx *>(filp->private_data);

	if (!PAGE_ALIGNED(vma->vm_end - vma->vm_start) || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	/* an offset that cannot be counted in bytes */
	if (vma->vm_pgoff > ULONG_MAX >> PAGE_SHIFT)
		return -ENXIO;

	struct iommufd_mmap *region;
	auto owner = iommufd_mmap_hold(ictx, vma->vm_pgoff << PAGE_SHIFT, &region);

	if (!owner)
		return -ENXIO;
	if (int rc = iommufd_mmap_fill(ictx, region, vma)) {
		/* nobody but this call may put the owner */
		vma->vm_ops = nullptr;
		vma->vm_private_data = nullptr;
		return rc;
	}
	region->mappings.keep(std::move(owner));
	return 0;
}

static const struct file_operations iommufd_fops = {
	.release = iommufd_fops_release,
	.unlocked_ioctl = iommufd_fops_ioctl,
	.mmap = iommufd_fops_mmap,
};

result<struct file *> iommufd_file_open(const struct iommufd_revision *rev, bool vfio)
{
	auto *ictx = kzalloc_obj<struct iommufd_ctx>();

	if (!ictx)
		return -ENOMEM;
	ictx->rev = rev;
	/* VFIO charged the process, so its old name still does */
	if (vfio)
		ictx->account_mode = IOPT_PAGES_ACCOUNT_MM;

	auto filp = anon_inode_getfile("[iommufd]", &iommufd_fops, ictx, O_RDWR);

	if (!filp) {
		kfree_obj(ictx);
		return filp.error();
	}
	ictx->file = *filp;
	return *filp;
}

void iommufd_ctx_get(struct iommufd_ctx *ictx)
{
	get_file(ictx->file);
}

void iommufd_ctx_put(struct iommufd_ctx *ictx)
{
	fput(ictx->file);
}

result<struct iommufd_ctx *> iommufd_ctx_from_file(struct file *file)
{
	struct iommufd_ctx *ictx;

	if (file->f_op != &iommufd_fops)
		return -EBADFD;
	ictx = static_cast<struct iommufd_ctx *>(file->private_data);
	iommufd_ctx_get(ictx);
	return ictx;
}

result<struct iommufd_ctx *> iommufd_ctx_from_fd(int fd)
{
	struct file *file = fget(fd);

	if (!file)
		return -EBADF;
	if (file->f_op != &iommufd_fops) {
		fput(file);
		return -EBADFD;
	}
	/* the file's reference is the context's */
	return static_cast<struct iommufd_ctx *>(file->private_data);
}

/* ---- the selftest's hooks ---- */

const struct iommufd_test_ops *iommufd_test_hooks(void)
{
	return current->kernel->iommufd_test;
}

int iommufd_test(struct iommufd_ucmd *ucmd)
{
	const struct iommufd_test_ops *ops = iommufd_test_hooks();

	return ops ? ops->ioctl(ucmd) : -ENOTTY;
}

void iommufd_selftest_destroy(struct iommufd_object *obj)
{
	iommufd_test_hooks()->destroy(obj);
}

bool iommufd_should_fail(void)
{
	return should_fail(FAULT_IOMMUFD);
}

bool iommufd_selftest_is_mock_dev(struct device *dev)
{
	const struct iommufd_test_ops *ops = iommufd_test_hooks();

	return ops && ops->is_mock_dev(dev);
}

void iommufd_test_syz_conv_iova_id(struct iommufd_ucmd *ucmd, unsigned int ioas_id, u64 *iova,
				   u32 *flags)
{
	const struct iommufd_test_ops *ops = iommufd_test_hooks();

	if (ops && ops->syz_conv_iova_id)
		ops->syz_conv_iova_id(ucmd, ioas_id, iova, flags);
}

/* Nobody else here exports memory of which iommufd may know the address: no VFIO. */
int iommufd_test_dma_buf_iommufd_map(struct dma_buf_attachment *attachment, struct phys_vec *phys)
{
	const struct iommufd_test_ops *ops = iommufd_test_hooks();

	return ops && ops->dma_buf_iommufd_map ? ops->dma_buf_iommufd_map(attachment, phys)
					       : -EOPNOTSUPP;
}
