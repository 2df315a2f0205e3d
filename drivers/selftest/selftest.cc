// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors drivers/iommu/iommufd/selftest.c of Linux v7.2, with the page table and the device flags
 * of v6.15 and the ops of the vCMDQ series v2 beside the merged ones. Differs:
 *
 * What is global there belongs to a struct iommufd_selftest, one for each kernel.
 *
 * The machine has a shape (mock_options.h): tables of ops are copied and lose what it leaves out.
 *
 * A page table is one xarray entry for each IO page, as in v6.15. What user space can see of it is
 * the same as with the radix table of v7.2: page sizes, iova_to_phys() and dirty bits. But the
 * default table keeps to small pages where v7.2's takes the largest that fit, and of a page that is
 * read in part the part is reported dirty, neither one unit less nor what is behind it.
 *
 * The dma-buf ops are as of v7.2 in every form; a descriptor that cannot be had gives the buffer
 * up.
 *
 * No caller's input reaches a WARN_ON: a device that goes detaches its PASIDs first, and PASID 1024
 * never refuses the domain that it had before. What reads an attachment's handle holds the group's
 * lock, since groups may have several devices. A queue's index is kept, and one mutex covers
 * allocation and destruction of queues, in both forms.
 *
 * Page faults of the devices of one group keep the attachments of all of them still. A domain that
 * a device cannot take leaves the vIOMMU that its events go to. An answer to a fault is a line of
 * debug output.
 */
#include "drivers/selftest/selftest.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "core/iommu/io-pgfault.h"
#include "core/iommu/iommu.h"
#include "core/iommu/iommufd.h"
#include "core/iommufd/io_pagetable.h"
#include "core/iommufd/iommufd_private.h"
#include "core/linux/bitmap.h"
#include "core/linux/bug.h"
#include "core/linux/device.h"
#include "core/linux/dma-buf.h"
#include "core/linux/err.h"
#include "core/linux/file.h"
#include "core/linux/kernel.h"
#include "core/linux/list.h"
#include "core/linux/mutex.h"
#include "core/linux/refcount.h"
#include "core/linux/rwsem.h"
#include "core/linux/sched.h"
#include "core/linux/slab.h"
#include "core/linux/uaccess.h"
#include "core/linux/xarray.h"
#include "core/mm/mm.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"

struct mock_dev;
struct mock_driver;
struct iommufd_selftest;
static bool mock_dev_is(struct device *dev);

/* mock_iommu_domain::mock_flags */
enum {
	MOCK_DIRTY_TRACK = 1,
	MOCK_ENFORCE_COHERENCY = 2,
};

/*
 * An entry of a mock page table: the physical address in IO pages, and above it what the mock notes
 * about the entry. Both ends of a map_pages() call carry the edge bit, so that an unmap that does
 * not begin and end where maps did is seen.
 */
#define MOCK_PFN_MASK GENMASK(57, 0)
#define MOCK_PFN_EDGE BIT(58)
/* Of the first entry of a page: its hardware has one bit for all of it */
#define MOCK_PFN_DIRTY BIT(59)
/* The entry belongs to a page of MOCK_HUGE_ENTRIES */
#define MOCK_PFN_HUGE BIT(60)

/* MOCK_HUGE_PAGE_SIZE, where the io_page_size is the kernel's */
#define MOCK_HUGE_ENTRIES (MOCK_HUGE_PAGE_SIZE / MOCK_PAGE_SIZE)

struct mock_group {
	struct iommu_group *group = nullptr; /* with the first device that is probed */
	unsigned int users = 0;
	struct rw_semaphore iopf_rwsem{LOCK_CLASS(mock_group, iopf_rwsem)};
};

/* A driver: its ops, less what the machine's shape leaves out. */
struct mock_driver {
	struct iommu_ops ops = {};
	struct iommu_domain_ops domain_ops = {};
	struct iommu_domain_ops nested_ops = {};
	struct iommu_domain_ops blocking_ops = {};
	struct iommufd_viommu_ops viommu_ops = {};
	struct iommu_domain blocking_domain = {};
};

struct mock_iommu_device : iommu_device {
	struct iommufd_selftest *st = nullptr;
	struct mock_driver *driver = nullptr;
	/* One for the machine and one for each vIOMMU */
	refcount_t users;
};

/* Compare iommufd_test_memory_limit */
#define IOMMUFD_TEST_MEMORY_LIMIT 65536

/* Everything that is global in the kernel's selftest.c. */
struct iommufd_selftest {
	iommufd_selftest(struct kernel *kernel, const struct mock_machine_options *opts)
		: opts(*opts), iommu_dev(kernel, "iommufd_selftest_iommu")
	{
	}

	struct iommufd_test_ops test_ops = {};
	const struct mock_machine_options opts;

	/* Parent of every mock device: what the kernel's mock has a bus for */
	struct device iommu_dev;

	struct mock_driver drivers[2];
	struct mock_iommu_device iommus[MOCK_MACHINE_IOMMUS_MAX];
	unsigned int nr_iommus = 0;

	/* Of all devices that are attached to a domain with page faults */
	struct iopf_queue *iopf_queue = nullptr;

	/* Device numbers in use, the lowest free one first; the kernel's mock_dev_ida */
	struct xarray mock_devs{LOCK_CLASS(iommufd_selftest, mock_devs), XA_FLAGS_ALLOC};

	/* struct mock_group by device number / group_size; only where devices share groups */
	struct mutex group_mutex{LOCK_CLASS(iommufd_selftest, group_mutex)};
	struct xarray groups{LOCK_CLASS(iommufd_selftest, groups)};
};

static inline struct iommufd_selftest *kernel_selftest(const struct kernel *kernel)
{
	return static_cast<struct iommufd_selftest *>(kernel->iommufd_test_state);
}

/* A domain that iommu_map() works on. */
struct mock_iommu_domain : iommu_domain {
	std::atomic<unsigned long> mock_flags{0};
	/* Bytes that one entry of pfns covers */
	unsigned long io_page_size = 0;
	bool huge = false;
	struct xarray pfns{LOCK_CLASS(mock_iommu_domain, pfns)};
};

static inline struct mock_iommu_domain *to_mock_domain(struct iommu_domain *domain)
{
	return static_cast<struct mock_iommu_domain *>(domain);
}

struct mock_viommu;

struct mock_iommu_domain_nested : iommu_domain {
	struct mock_viommu *mock_viommu = nullptr;
	/* Stands for what the hardware caches of the guest's tables */
	std::atomic<u32> iotlb[MOCK_NESTED_DOMAIN_IOTLB_NUM] = {};
};

static inline struct mock_iommu_domain_nested *to_mock_nested(struct iommu_domain *domain)
{
	return static_cast<struct mock_iommu_domain_nested *>(domain);
}

struct mock_hw_queue;
struct mock_vcmdq;

struct mock_viommu : iommufd_viommu {
	struct iommu_domain *s2_parent = nullptr;

	/* From before a queue's slot is looked at until it is filled, and the same for emptying it
	 */
	struct mutex queue_mutex{LOCK_CLASS(mock_viommu, queue_mutex)};
	/* Only one of the two is in use: a context has one revision. */
	struct mock_vcmdq *mock_vcmdq[IOMMU_TEST_VCMDQ_MAX] __guarded_by(queue_mutex) = {};
	struct mock_hw_queue *hw_queue[IOMMU_TEST_HW_QUEUE_MAX] __guarded_by(queue_mutex) = {};

	/* vDEVICEs that the driver has taken and not yet been told to give up */
	std::atomic<unsigned int> nr_vdevices{0};

	/* What user space may mmap; its first word is the in_data of the allocation */
	u32 *page = nullptr;
	unsigned int page_order = 0;
	/* 0: none. The core never hands out 0. */
	unsigned long mmap_offset = 0;
};

static inline struct mock_viommu *to_mock_viommu(struct iommufd_viommu *viommu)
{
	return static_cast<struct mock_viommu *>(viommu);
}

struct mock_vdevice : iommufd_vdevice {};

struct mock_vcmdq : iommufd_vcmdq {
	struct mock_viommu *mock_viommu = nullptr;
	struct mock_vcmdq *prev = nullptr;
	u16 index = 0;
};

static inline struct mock_vcmdq *to_mock_vcmdq(struct iommufd_vcmdq *vcmdq)
{
	return static_cast<struct mock_vcmdq *>(vcmdq);
}

struct mock_hw_queue : iommufd_hw_queue {
	struct mock_viommu *mock_viommu = nullptr;
	struct mock_hw_queue *prev = nullptr;
	u16 index = 0;
};

static inline struct mock_hw_queue *to_mock_hw_queue(struct iommufd_hw_queue *hw_queue)
{
	return static_cast<struct mock_hw_queue *>(hw_queue);
}

enum selftest_obj_type {
	TYPE_IDEV,
};

struct mock_dev {
	mock_dev(struct iommufd_selftest *st, struct mock_group *group)
		: dev(st->iommu_dev.kernel, "iommufd_mock"), st(st), mock_group(group),
		  iopf_rwsem(group ? group->iopf_rwsem : own_iopf_rwsem)
	{
	}

	struct device dev;
	struct iommufd_selftest *const st;
	struct mock_iommu_device *iommu = nullptr;
	unsigned long flags = 0;
	u32 id = 0;
	/* Where groups are shared */
	struct mock_group *const mock_group;
	unsigned int nr_stream_ids = 0;

	/* viommu and vdev_id change together */
	struct rw_semaphore viommu_rwsem{LOCK_CLASS(mock_dev, viommu_rwsem)};
	struct mock_viommu *viommu __guarded_by(viommu_rwsem) = nullptr;
	unsigned long vdev_id __guarded_by(viommu_rwsem) = 0;
	/* Attach, replace and detach against page faults that come in: of the whole group, which
	 * has one attachment */
	struct rw_semaphore own_iopf_rwsem{LOCK_CLASS(mock_dev, own_iopf_rwsem)};
	struct rw_semaphore &iopf_rwsem;
	/* Under the group's mutex: attachments with page faults, and what the device itself is
	 * attached to */
	unsigned int iopf_refcount = 0;
	struct iommu_domain *domain = nullptr;
	/* PASID -> iommu_domain: those of the attachments with page faults that are a PASID's */
	struct xarray iopf_pasids{LOCK_CLASS(mock_dev, iopf_pasids)};

	/* Stands for a cache in the device, say an ATC */
	std::atomic<u32> cache[MOCK_DEV_CACHE_NUM];
	/* The next domain of PASID 1024 is refused. Under the group's mutex */
	bool pasid_1024_fake_error = false;
};

static inline struct mock_dev *to_mock_dev(struct device *dev)
{
	return container_of(dev, struct mock_dev, dev);
}

struct selftest_obj : iommufd_object {
	static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_SELFTEST;

	enum selftest_obj_type selftest_type = TYPE_IDEV;
	struct {
		struct iommufd_device *idev;
		struct iommufd_ctx *ictx;
		struct mock_dev *mock_dev;
	} idev = {};
};

/*
 * A fuzzer cannot guess the IOVA that a map chose. With MOCK_FLAGS_ACCESS_SYZ an IOVA is two small
 * numbers instead: which area in order of IOVA, and the offset into it.
 */
static unsigned long __iommufd_test_syz_conv_iova(struct io_pagetable *iopt, u64 iova)
{
	u32 nth = lower_32_bits(iova);
	u32 offset = upper_32_bits(iova);
	struct iopt_area *area;

	rwsem_read_guard guard(&iopt->iova_rwsem);
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		if (!nth)
			return iopt_area_iova(area) + offset;
		nth--;
	}
	return 0;
}

static unsigned long iommufd_test_syz_conv_iova(struct iommufd_access *access, u64 iova)
{
	mutex_guard guard(&access->ioas_lock);

	if (!access->ioas)
		return 0;
	return __iommufd_test_syz_conv_iova(&access->ioas->iopt, iova);
}

static void selftest_syz_conv_iova_id(struct iommufd_ucmd *ucmd, unsigned int ioas_id, u64 *iova,
				      u32 *flags)
{
	if (!(*flags & MOCK_FLAGS_ACCESS_SYZ))
		return;
	*flags &= ~(u32)MOCK_FLAGS_ACCESS_SYZ;

	auto ioas = iommufd_get_ioas(ucmd->ictx, ioas_id);
	if (!ioas)
		return;
	*iova = __iommufd_test_syz_conv_iova(&ioas->iopt, *iova);
}

static void mock_domain_page_response(struct device *dev, struct iopf_fault *,
				      struct iommu_page_response *msg)
{
	dev_dbg(dev, "page response: pasid %u, group %u, code %u", msg->pasid, msg->grpid,
		msg->code);
}

/* -ENODEV: the driver cannot answer; -ENOMEM. */
static int mock_dev_enable_iopf(struct device *dev, struct iommu_domain *domain)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	if (!domain || !domain->iopf_handler)
		return 0;
	if (!mdev->iopf_refcount)
		if (int rc = iopf_queue_add_device(mdev->st->iopf_queue, dev))
			return rc;
	mdev->iopf_refcount++;
	return 0;
}

static void mock_dev_disable_iopf(struct device *dev, struct iommu_domain *domain)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	if (!domain || !domain->iopf_handler)
		return;
	if (!--mdev->iopf_refcount)
		iopf_queue_remove_device(mdev->st->iopf_queue, dev);
}

static bool mock_can_enforce_coherency(const struct mock_dev *mdev)
{
	return mdev->iommu < mdev->st->iommus + mdev->st->opts.nr_enforce_coherency;
}

/* Entries that enforce coherency mean nothing to an IOMMU that cannot. */
static bool mock_domain_wants_more(struct iommu_domain *domain, const struct mock_dev *mdev)
{
	return domain->type == IOMMU_DOMAIN_UNMANAGED &&
	       (to_mock_domain(domain)->mock_flags & MOCK_ENFORCE_COHERENCY) &&
	       !mock_can_enforce_coherency(mdev);
}

static int mock_domain_nop_attach(struct iommu_domain *domain, struct device *dev,
				  struct iommu_domain *)
{
	struct mock_dev *mdev = to_mock_dev(dev);
	unsigned long vdev_id = 0;

	if (domain->dirty_ops && (mdev->flags & MOCK_FLAGS_DEVICE_NO_DIRTY))
		return -EINVAL;
	if (mock_domain_wants_more(domain, mdev))
		return -EINVAL;

	iommu_group_mutex_assert(dev);

	struct mock_viommu *viommu =
		domain->type == IOMMU_DOMAIN_NESTED ? to_mock_nested(domain)->mock_viommu : nullptr;

	if (viommu)
		if (int rc = iommufd_viommu_get_vdev_id(viommu, dev, &vdev_id))
			return rc;
	if (int rc = mock_dev_enable_iopf(dev, domain))
		return rc;

	{
		rwsem_write_guard guard(&mdev->viommu_rwsem);
		if (mdev->viommu != viommu) {
			mdev->vdev_id = vdev_id;
			mdev->viommu = viommu;
		}
	}
	mock_dev_disable_iopf(dev, mdev->domain);
	mdev->domain = domain;
	return 0;
}

/* Is the domain what the PASID has as far as the core is concerned? So it is while the core goes
 * back to it. */
static bool mock_pasid_has(struct device *dev, ioasid_t pasid, const struct iommu_domain *domain)
{
	auto handle = iommu_attach_handle_get(dev->iommu_group, pasid, 0);

	return handle && handle->domain == domain;
}

/*
 * PASID 1024 shows what the core does when a driver refuses: of the domains that it is given every
 * second one is, until it is blocked. Never one that it had before, which the core must be able to
 * rely on: the kernel's mock refuses that too, in a group of two.
 */
static bool mock_pasid_refuses(struct device *dev, ioasid_t pasid,
			       const struct iommu_domain *domain)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	if (pasid != 1024)
		return false;

	const bool refuse = mdev->pasid_1024_fake_error;

	mdev->pasid_1024_fake_error = false;
	if (domain->type == IOMMU_DOMAIN_BLOCKED || mock_pasid_has(dev, pasid, domain))
		return false;
	mdev->pasid_1024_fake_error = !refuse;
	return refuse;
}

/*
 * What the device had is noted here: the kernel's mock takes the core's word for it, which does not
 * hold of a device that could not go back, or that came later than the others of its group.
 */
static int mock_domain_set_dev_pasid_nop(struct iommu_domain *domain, struct device *dev,
					 ioasid_t pasid, struct iommu_domain *)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	iommu_group_mutex_assert(dev);
	if (mock_domain_wants_more(domain, mdev))
		return -EINVAL;
	if (mock_pasid_refuses(dev, pasid, domain))
		return -ENOMEM;

	auto *had = static_cast<struct iommu_domain *>(xa_load(&mdev->iopf_pasids, pasid));

	if (domain->iopf_handler) {
		if (int rc = xa_err(xa_store(&mdev->iopf_pasids, pasid, domain, GFP_KERNEL)))
			return rc;
		if (int rc = mock_dev_enable_iopf(dev, domain)) {
			/* the first one that has faults */
			xa_erase(&mdev->iopf_pasids, pasid);
			return rc;
		}
	} else {
		xa_erase(&mdev->iopf_pasids, pasid);
	}
	mock_dev_disable_iopf(dev, had);
	return 0;
}

static result<void *> mock_domain_hw_info(struct device *, u32 *length,
					  enum iommu_hw_info_type *type)
{
	struct iommu_test_hw_info *info;

	if (*type != IOMMU_HW_INFO_TYPE_DEFAULT && (u32)*type != IOMMU_HW_INFO_TYPE_SELFTEST)
		return -EOPNOTSUPP;

	info = static_cast<struct iommu_test_hw_info *>(kzalloc(sizeof(*info), GFP_KERNEL));
	if (!info)
		return -ENOMEM;

	info->test_reg = IOMMU_HW_INFO_SELFTEST_REGVAL;
	*length = sizeof(*info);
	*type = (enum iommu_hw_info_type)IOMMU_HW_INFO_TYPE_SELFTEST;

	return static_cast<void *>(info);
}

static int mock_domain_set_dirty_tracking(struct iommu_domain *domain, bool enable)
{
	struct mock_iommu_domain *mock = to_mock_domain(domain);

	if (enable && !domain->dirty_ops)
		return -EINVAL;

	if (enable)
		mock->mock_flags |= MOCK_DIRTY_TRACK;
	else
		mock->mock_flags &= ~(unsigned long)MOCK_DIRTY_TRACK;
	return 0;
}

static result<struct mock_iommu_domain_nested *>
__mock_domain_alloc_nested(struct mock_driver *driver, const struct iommu_user_data *user_data)
{
	struct mock_iommu_domain_nested *mock_nested;
	struct iommu_hwpt_selftest user_cfg;
	int rc;

	if (user_data->type != IOMMU_HWPT_DATA_SELFTEST)
		return -EOPNOTSUPP;

	rc = iommu_copy_struct_from_user(&user_cfg, user_data, IOMMU_HWPT_DATA_SELFTEST, iotlb);
	if (rc)
		return rc;

	mock_nested = kzalloc_obj<struct mock_iommu_domain_nested>();
	if (!mock_nested)
		return -ENOMEM;
	mock_nested->ops = &driver->nested_ops;
	mock_nested->type = IOMMU_DOMAIN_NESTED;
	for (auto &entry : mock_nested->iotlb)
		entry = user_cfg.iotlb;
	return mock_nested;
}

static result<struct iommu_domain *>
mock_domain_alloc_nested(struct device *dev, struct iommu_domain *parent, u32 flags,
			 const struct iommu_user_data *user_data)
{
	if (flags & ~(u32)IOMMU_HWPT_ALLOC_PASID)
		return -EOPNOTSUPP;
	if (!parent || !(parent->type & __IOMMU_DOMAIN_PAGING))
		return -EINVAL;

	return __mock_domain_alloc_nested(to_mock_dev(dev)->iommu->driver, user_data);
}

static void mock_domain_free(struct iommu_domain *domain)
{
	struct mock_iommu_domain *mock = to_mock_domain(domain);

	WARN_ON(!xa_empty(&mock->pfns));
	xa_destroy(&mock->pfns);
	kfree_obj(mock);
}

static bool mock_domain_enforce_cache_coherency(struct iommu_domain *domain)
{
	to_mock_domain(domain)->mock_flags |= MOCK_ENFORCE_COHERENCY;
	return true;
}

static int mock_domain_map_pages(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
				 size_t pgsize, size_t pgcount, int, gfp_t gfp, size_t *mapped)
{
	struct mock_iommu_domain *mock = to_mock_domain(domain);
	const unsigned long io_page = mock->io_page_size;
	const size_t size = pgsize * pgcount;
	size_t done;

	/* A map can fail for more reasons than memory */
	if (iommufd_should_fail())
		return -ENOENT;

	WARN_ON(iova % io_page || pgsize % io_page || paddr % io_page);
	const unsigned long huge =
		mock->huge && pgsize == MOCK_HUGE_ENTRIES * io_page ? MOCK_PFN_HUGE : 0;

	for (done = 0; done != size; done += io_page) {
		unsigned long entry = (paddr + done) / io_page | huge;
		void *old;

		if (!done || done + io_page == size)
			entry |= MOCK_PFN_EDGE;
		old = xa_store(&mock->pfns, (iova + done) / io_page, xa_mk_value(entry), gfp);
		if (xa_is_err(old)) {
			int rc = xa_err(old);

			while (done) {
				done -= io_page;
				xa_erase(&mock->pfns, (iova + done) / io_page);
			}
			return rc;
		}
		/* The core has given out an IOVA twice */
		WARN_ON(old);
	}
	*mapped += size;
	return 0;
}

static size_t mock_domain_unmap_pages(struct iommu_domain *domain, unsigned long iova,
				      size_t pgsize, size_t pgcount, struct iommu_iotlb_gather *)
{
	struct mock_iommu_domain *mock = to_mock_domain(domain);
	const unsigned long io_page = mock->io_page_size;
	const size_t size = pgsize * pgcount;
	/*
	 * The core unmaps what it mapped, or several such ranges at once: never a part. With two
	 * page sizes its calls break where the size changes, and nothing can be said.
	 */
	const bool check_edges = !mock->huge;

	WARN_ON(iova % io_page || pgsize % io_page);
	for (size_t done = 0; done != size; done += io_page) {
		void *entry = xa_erase(&mock->pfns, (iova + done) / io_page);

		if (check_edges && (!done || done + io_page == size))
			WARN_ON(entry && !(xa_to_value(entry) & MOCK_PFN_EDGE));
	}
	return size;
}

static phys_addr_t mock_domain_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	struct mock_iommu_domain *mock = to_mock_domain(domain);
	void *entry = xa_load(&mock->pfns, iova / mock->io_page_size);

	if (!entry)
		return 0;
	return (xa_to_value(entry) & MOCK_PFN_MASK) * mock->io_page_size +
	       iova % mock->io_page_size;
}

/* The index of the first entry of the page that entry, which is at index, belongs to, and how many
 * it has. */
static unsigned long mock_page_head(const struct mock_iommu_domain *mock, unsigned long index,
				    const void *entry, unsigned long *nr_entries)
{
	*nr_entries = xa_to_value(entry) & MOCK_PFN_HUGE
			      ? (unsigned long)MOCK_HUGE_ENTRIES
			      : (1UL << __ffs(mock->pgsize_bitmap)) / mock->io_page_size;
	return ALIGN_DOWN(index, *nr_entries);
}

/* Sets or clears the dirty bit of the page that begins with index. False when it is so already, or
 * nothing is mapped there (any more). */
static bool mock_domain_change_dirty(struct mock_iommu_domain *mock, unsigned long index,
				     bool dirty)
{
	void *entry = xa_load(&mock->pfns, index);

	while (entry && dirty != !!(xa_to_value(entry) & MOCK_PFN_DIRTY)) {
		void *old = xa_cmpxchg(&mock->pfns, index, entry,
				       xa_mk_value(xa_to_value(entry) ^ MOCK_PFN_DIRTY),
				       GFP_KERNEL);

		if (old == entry)
			return true;
		if (xa_is_err(old))
			return false;
		/* It went or changed under us */
		entry = old;
	}
	return false;
}

/* Stands for the hardware when a device writes to iova. */
static void mock_domain_set_dirty(struct mock_iommu_domain *mock, unsigned long iova)
{
	const unsigned long index = iova / mock->io_page_size;
	void *entry = xa_load(&mock->pfns, index);
	unsigned long nr_entries;

	if (entry)
		mock_domain_change_dirty(mock, mock_page_head(mock, index, entry, &nr_entries),
					 true);
}

/* That tracking is on is not asked for, as in v7.2: the bits outlast it. */
static int mock_domain_read_and_clear_dirty(struct iommu_domain *domain, unsigned long iova,
					    size_t size, unsigned long flags,
					    struct iommu_dirty_bitmap *dirty)
{
	struct mock_iommu_domain *mock = to_mock_domain(domain);
	const unsigned long io_page = mock->io_page_size;
	const unsigned long last = iova + (size - 1);
	unsigned long nr_entries;
	unsigned long index;
	void *entry;

	xa_for_each_range (&mock->pfns, index, entry, iova / io_page, last / io_page) {
		const unsigned long head = mock_page_head(mock, index, entry, &nr_entries);
		const unsigned long head_last = head + (nr_entries - 1);
		bool was_dirty;

		if (!(flags & IOMMU_DIRTY_NO_CLEAR))
			was_dirty = mock_domain_change_dirty(mock, head, false);
		else
			was_dirty = xa_to_value(xa_load(&mock->pfns, head)) & MOCK_PFN_DIRTY;

		if (was_dirty) {
			unsigned long first = max(iova, head * io_page);
			unsigned long end = min(last, head_last * io_page + (io_page - 1));

			iommu_dirty_bitmap_record(dirty, first, end - first + 1);
		}
		index = head_last;
	}
	return 0;
}

static const struct iommu_dirty_ops mock_dirty_ops = {
	.set_dirty_tracking = mock_domain_set_dirty_tracking,
	.read_and_clear_dirty = mock_domain_read_and_clear_dirty,
};

static result<struct mock_iommu_domain *> mock_domain_alloc_pgtable(struct mock_dev *mdev,
								    u32 pagetable_type, u32 flags)
{
	const struct mock_machine_options *opts = &mdev->st->opts;
	const unsigned long io_page = opts->io_page_size ? opts->io_page_size
							 : (unsigned long)MOCK_PAGE_SIZE;
	struct mock_iommu_domain *mock;

	if (pagetable_type != MOCK_IOMMUPT_DEFAULT && pagetable_type != MOCK_IOMMUPT_HUGE)
		return -EOPNOTSUPP;

	mock = kzalloc_obj<struct mock_iommu_domain>();
	if (!mock)
		return -ENOMEM;
	mock->type = IOMMU_DOMAIN_UNMANAGED;
	mock->ops = &mdev->iommu->driver->domain_ops;
	mock->io_page_size = io_page;
	mock->geometry.force_aperture = true;

	if (pagetable_type == MOCK_IOMMUPT_HUGE) {
		/* PAGE_SIZE is there because iommufd wants it;
		 * a user of this type maps huge pages only */
		mock->huge = true;
		mock->pgsize_bitmap = MOCK_HUGE_ENTRIES * io_page | max(io_page, PAGE_SIZE);
		mock->geometry.aperture_start = 0;
		mock->geometry.aperture_end = GENMASK(55, 0);
	} else {
		mock->pgsize_bitmap = io_page;
		if (mdev->flags & MOCK_FLAGS_DEVICE_HUGE_IOVA) {
			mock->huge = true;
			mock->pgsize_bitmap |= MOCK_HUGE_ENTRIES * io_page;
		}
		mock->geometry.aperture_start = MOCK_APERTURE_START;
		mock->geometry.aperture_end = MOCK_APERTURE_LAST;
	}
	if (opts->aperture_last) {
		mock->geometry.aperture_start = opts->aperture_start;
		mock->geometry.aperture_end = opts->aperture_last;
	}
	if (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
		mock->dirty_ops = &mock_dirty_ops;
	return mock;
}

static result<struct iommu_domain *>
mock_domain_alloc_paging_flags(struct device *dev, u32 flags,
			       const struct iommu_user_data *user_data)
{
	const u32 paging_flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_NEST_PARENT |
				 IOMMU_HWPT_ALLOC_PASID;
	struct mock_dev *mdev = to_mock_dev(dev);
	bool has_dirty_flag = flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	bool no_dirty_ops = mdev->flags & MOCK_FLAGS_DEVICE_NO_DIRTY;
	struct iommu_hwpt_selftest user_cfg = {};
	int rc;

	if ((flags & ~paging_flags) || (has_dirty_flag && no_dirty_ops))
		return -EOPNOTSUPP;

	if (user_data && user_data->type != IOMMU_HWPT_DATA_SELFTEST &&
	    user_data->type != IOMMU_HWPT_DATA_NONE)
		return -EOPNOTSUPP;

	if (user_data) {
		rc = iommu_copy_struct_from_user(&user_cfg, user_data, IOMMU_HWPT_DATA_SELFTEST,
						 iotlb);
		if (rc)
			return rc;
	}

	return mock_domain_alloc_pgtable(mdev, user_cfg.pagetable_type, flags);
}

/* For a machine without domain_alloc_paging_flags(): no flags and no user data. */
static result<struct iommu_domain *> mock_domain_alloc_paging(struct device *dev)
{
	return mock_domain_alloc_pgtable(to_mock_dev(dev), MOCK_IOMMUPT_DEFAULT, 0);
}

static bool mock_domain_capable(struct device *dev, enum iommu_cap cap)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	switch (cap) {
	case IOMMU_CAP_CACHE_COHERENCY:
		return mdev->st->opts.cache_coherency;
	case IOMMU_CAP_ENFORCE_CACHE_COHERENCY:
		return mock_can_enforce_coherency(mdev);
	case IOMMU_CAP_DIRTY_TRACKING:
		return !(mdev->flags & MOCK_FLAGS_DEVICE_NO_DIRTY);
	case IOMMU_CAP_PCI_ATS_SUPPORTED:
		return mdev->st->opts.pci_ats;
	default:
		return false;
	}
}

static result<struct iommu_device *> mock_probe_device(struct device *dev)
{
	if (!mock_dev_is(dev))
		return -ENODEV;
	/* The property that the kernel's mock device has: 0 bits without the flag */
	const bool pasids = to_mock_dev(dev)->flags & MOCK_FLAGS_DEVICE_PASID;
	const u32 pci = to_mock_dev(dev)->st->opts.pci_pasid;

	dev->iommu->max_pasids = 1u << (pasids ? MOCK_PASID_WIDTH : 0);
	if (pasids && pci)
		dev->iommu->pci_pasid_ctrl = PCI_PASID_CTRL_ENABLE |
					     (pci & MOCK_PCI_PASID_EXEC ? PCI_PASID_CTRL_EXEC : 0) |
					     (pci & MOCK_PCI_PASID_PRIV ? PCI_PASID_CTRL_PRIV : 0);
	return static_cast<struct iommu_device *>(to_mock_dev(dev)->iommu);
}

/* A device leaves its group, which may stay attached. */
static void mock_release_device(struct device *dev)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	if (mdev->iopf_refcount)
		iopf_queue_remove_device(mdev->st->iopf_queue, dev);
	mdev->iopf_refcount = 0;
	mdev->domain = nullptr;
	xa_destroy(&mdev->iopf_pasids);
}

/* What the device of that number shares with its neighbours, with a share of it; NULL where groups
 * are not shared. -ENOMEM. */
static result<struct mock_group *> mock_group_get(struct iommufd_selftest *st, u32 id)
{
	if (st->opts.group_size <= 1)
		return nullptr;

	const unsigned long index = id / st->opts.group_size;

	mutex_guard guard(&st->group_mutex);
	auto *mock_group = static_cast<struct mock_group *>(xa_load(&st->groups, index));

	if (!mock_group) {
		mock_group = kzalloc_obj<struct mock_group>();
		if (!mock_group)
			return -ENOMEM;

		void *old = xa_store(&st->groups, index, mock_group, GFP_KERNEL);

		if (xa_is_err(old)) {
			kfree_obj(mock_group);
			return xa_err(old);
		}
	}
	mock_group->users++;
	return mock_group;
}

static void mock_group_put(struct iommufd_selftest *st, struct mock_group *mock_group, u32 id)
{
	if (!mock_group)
		return;

	mutex_guard guard(&st->group_mutex);
	if (--mock_group->users)
		return;
	xa_erase(&st->groups, id / st->opts.group_size);
	iommu_group_put(mock_group->group);
	kfree_obj(mock_group);
}

static result<struct iommu_group *> mock_device_group(struct device *dev)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	if (!mdev->mock_group)
		return generic_device_group(dev);

	mutex_guard guard(&mdev->st->group_mutex);
	if (!mdev->mock_group->group) {
		auto group = generic_device_group(dev);

		if (!group)
			return group;
		mdev->mock_group->group = *group;
	}
	return iommu_group_ref_get(mdev->mock_group->group);
}

static void mock_get_resv_regions(struct device *dev, struct list_head *list)
{
	const struct mock_machine_options *opts = &to_mock_dev(dev)->st->opts;

	for (unsigned int i = 0; i != opts->nr_reserved; i++) {
		const struct mock_reserved_region *resv = &opts->reserved[i];
		struct iommu_resv_region *region;

		region = iommu_alloc_resv_region(
			resv->start, resv->last - resv->start + 1, 0,
			resv->sw_msi ? IOMMU_RESV_SW_MSI : IOMMU_RESV_RESERVED, GFP_KERNEL);
		if (!region)
			return;
		list_add_tail(&region->list, list);
	}
}

static void mock_viommu_free_page(struct mock_viommu *mock_viommu)
{
	if (mock_viommu->mmap_offset)
		iommufd_viommu_destroy_mmap(mock_viommu, mock_viommu->mmap_offset);
	mock_viommu->mmap_offset = 0;
	if (mock_viommu->page)
		free_pages((unsigned long)mock_viommu->page, mock_viommu->page_order);
	mock_viommu->page = nullptr;
}

static void mock_viommu_destroy(struct iommufd_viommu *viommu)
{
	struct mock_iommu_device *mock_iommu =
		static_cast<struct mock_iommu_device *>(viommu->iommu_dev);

	WARN_ON(to_mock_viommu(viommu)->nr_vdevices);
	mock_viommu_free_page(to_mock_viommu(viommu));
	/* The machine holds one more than all vIOMMUs */
	WARN_ON(refcount_dec_and_test(&mock_iommu->users));
}

static result<struct iommu_domain *>
mock_viommu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
				const struct iommu_user_data *user_data)
{
	struct mock_iommu_device *mock_iommu =
		static_cast<struct mock_iommu_device *>(viommu->iommu_dev);

	if (flags & ~(u32)IOMMU_HWPT_ALLOC_PASID)
		return -EOPNOTSUPP;

	auto mock_nested = __mock_domain_alloc_nested(mock_iommu->driver, user_data);
	if (mock_nested)
		mock_nested->mock_viommu = to_mock_viommu(viommu);
	return mock_nested;
}

static int mock_viommu_cache_invalidate(struct iommufd_viommu *viommu,
					struct iommu_user_data_array *array)
{
	struct iommu_viommu_invalidate_selftest *cmds;
	const u32 num = array->entry_num;
	u32 done = 0;
	int rc;

	/* An empty array asks whether the type is right */
	if (!num && array->type == IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST)
		return 0;

	/* One element even for an empty array of another type, whose copy fails */
	cmds = kvcalloc_array<struct iommu_viommu_invalidate_selftest>(max(num, 1u));
	if (!cmds) {
		array->entry_num = 0;
		return -ENOMEM;
	}

	rc = iommu_copy_struct_from_full_user_array(cmds, sizeof(*cmds), array,
						    IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST);
	if (rc)
		goto out;

	for (; done != num; done++) {
		const struct iommu_viommu_invalidate_selftest *cur = &cmds[done];
		struct mock_dev *mdev;
		struct device *dev;

		if (cur->flags & ~(u32)IOMMU_TEST_INVALIDATE_FLAG_ALL) {
			rc = -EOPNOTSUPP;
			break;
		}
		if (cur->cache_id > MOCK_DEV_CACHE_ID_MAX) {
			rc = -EINVAL;
			break;
		}

		xa_guard guard(&viommu->vdevs);
		dev = iommufd_viommu_find_dev(viommu, cur->vdev_id);
		if (!dev) {
			rc = -EINVAL;
			break;
		}
		mdev = to_mock_dev(dev);

		if (cur->flags & IOMMU_TEST_INVALIDATE_FLAG_ALL) {
			for (auto &entry : mdev->cache)
				entry = 0;
		} else {
			mdev->cache[cur->cache_id] = 0;
		}
	}
out:
	array->entry_num = done;
	kvfree_array(cmds);
	return rc;
}

/*
 * The vIOMMU can take one stream id of a device. The machine's shape decides whether there are
 * these ops at all: the kernel's mock has none.
 */
static int mock_vdevice_check(struct device *dev)
{
	if (to_mock_dev(dev)->nr_stream_ids != 1)
		return -EOPNOTSUPP;
	return 0;
}

static result<struct iommufd_vdevice *> mock_vdevice_alloc(struct iommufd_viommu *viommu,
							   struct device *dev, u64)
{
	int rc = mock_vdevice_check(dev);

	if (rc)
		return rc;

	auto mock_vdevice = iommufd_vdevice_alloc<struct mock_vdevice>(viommu);
	if (mock_vdevice)
		to_mock_viommu(viommu)->nr_vdevices++;
	return mock_vdevice;
}

static void mock_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	to_mock_viommu(vdev->viommu.get())->nr_vdevices--;
}

static int mock_vdevice_init(struct iommufd_vdevice *vdev)
{
	int rc = mock_vdevice_check(iommufd_vdevice_to_device(vdev));

	if (rc)
		return rc;
	to_mock_viommu(vdev->viommu.get())->nr_vdevices++;
	vdev->destroy = mock_vdevice_destroy;
	return 0;
}

/* The vCMDQ series' form. Queue 1 needs queue 0: for iommufd_vcmdq_depend(). */
static result<struct iommufd_vcmdq *>
mock_vcmdq_alloc(struct iommufd_viommu *viommu, unsigned int type, u32 index, dma_addr_t, size_t)
{
	struct mock_viommu *mock_viommu = to_mock_viommu(viommu);
	struct mock_vcmdq *prev = nullptr;
	int rc;

	if (type != IOMMU_VCMDQ_TYPE_SELFTEST)
		return -EOPNOTSUPP;
	if (index >= IOMMU_TEST_VCMDQ_MAX)
		return -EINVAL;

	mutex_guard guard(&mock_viommu->queue_mutex);
	if (mock_viommu->mock_vcmdq[index])
		return -EEXIST;
	if (index) {
		prev = mock_viommu->mock_vcmdq[index - 1];
		if (!prev)
			return -EIO;
	}

	auto mock_vcmdq = iommufd_vcmdq_alloc<struct mock_vcmdq>(viommu);
	if (!mock_vcmdq)
		return mock_vcmdq.error();

	if (prev) {
		rc = iommufd_vcmdq_depend(*mock_vcmdq, prev);
		if (rc) {
			iommufd_struct_destroy(viommu->ictx, *mock_vcmdq);
			return rc;
		}
	}
	mock_vcmdq->prev = prev;
	mock_vcmdq->mock_viommu = mock_viommu;
	mock_vcmdq->index = (u16)index;
	mock_viommu->mock_vcmdq[index] = *mock_vcmdq;

	return mock_vcmdq;
}

static void mock_vcmdq_destroy(struct iommufd_vcmdq *vcmdq)
{
	struct mock_vcmdq *mock_vcmdq = to_mock_vcmdq(vcmdq);
	struct mock_viommu *mock_viommu = mock_vcmdq->mock_viommu;

	mutex_guard guard(&mock_viommu->queue_mutex);
	mock_viommu->mock_vcmdq[mock_vcmdq->index] = nullptr;
	if (mock_vcmdq->prev)
		iommufd_vcmdq_undepend(mock_vcmdq, mock_vcmdq->prev);
}

/* What a driver reports that has forgotten the core's part: smaller than any object.
 * Never constructed. */
static const struct iommufd_struct mock_small_viommu = {1, nullptr, nullptr, IOMMUFD_OBJ_VIOMMU};
static const struct iommufd_struct mock_small_vdevice = {1, nullptr, nullptr, IOMMUFD_OBJ_VDEVICE};
static const struct iommufd_struct mock_small_hw_queue = {1, nullptr, nullptr,
							  IOMMUFD_OBJ_HW_QUEUE};

/* The merged form. */
static const struct iommufd_struct *
mock_viommu_get_hw_queue_struct(struct iommufd_viommu *viommu, enum iommu_hw_queue_type queue_type)
{
	struct mock_iommu_device *mock_iommu =
		static_cast<struct mock_iommu_device *>(viommu->iommu_dev);

	if ((u32)queue_type != IOMMU_HW_QUEUE_TYPE_SELFTEST)
		return nullptr;
	if (mock_iommu->st->opts.small_structs & MOCK_SMALL_QUEUE)
		return &mock_small_hw_queue;
	return &iommufd_struct_of<struct mock_hw_queue>;
}

static void mock_hw_queue_destroy(struct iommufd_hw_queue *hw_queue)
{
	struct mock_hw_queue *mock_hw_queue = to_mock_hw_queue(hw_queue);
	struct mock_viommu *mock_viommu = mock_hw_queue->mock_viommu;

	mutex_guard guard(&mock_viommu->queue_mutex);
	mock_viommu->hw_queue[mock_hw_queue->index] = nullptr;
	if (mock_hw_queue->prev)
		iommufd_hw_queue_undepend(mock_hw_queue, mock_hw_queue->prev);
}

static int mock_hw_queue_init_phys(struct iommufd_hw_queue *hw_queue, u32 index,
				   phys_addr_t base_addr_pa)
{
	struct mock_viommu *mock_viommu = to_mock_viommu(hw_queue->viommu.get());
	struct mock_hw_queue *mock_hw_queue = to_mock_hw_queue(hw_queue);
	struct mock_hw_queue *prev = nullptr;
	int rc;

	if (index >= IOMMU_TEST_HW_QUEUE_MAX)
		return -EINVAL;

	mutex_guard guard(&mock_viommu->queue_mutex);
	if (mock_viommu->hw_queue[index])
		return -EEXIST;
	if (index) {
		prev = mock_viommu->hw_queue[index - 1];
		if (!prev)
			return -EIO;
	}

	/* The core's idea of the address against the IOMMU's */
	if (base_addr_pa != iommu_iova_to_phys(mock_viommu->s2_parent, hw_queue->base_addr))
		return -EFAULT;

	if (prev) {
		rc = iommufd_hw_queue_depend(mock_hw_queue, prev);
		if (rc)
			return rc;
	}

	mock_hw_queue->prev = prev;
	mock_hw_queue->mock_viommu = mock_viommu;
	mock_hw_queue->index = (u16)index;
	mock_viommu->hw_queue[index] = mock_hw_queue;
	hw_queue->destroy = mock_hw_queue_destroy;
	return 0;
}

static const struct iommufd_struct *mock_get_viommu_struct(struct device *dev,
							   enum iommu_viommu_type viommu_type)
{
	if ((u32)viommu_type != IOMMU_VIOMMU_TYPE_SELFTEST)
		return nullptr;
	if (to_mock_dev(dev)->st->opts.small_structs & MOCK_SMALL_VIOMMU)
		return &mock_small_viommu;
	return &iommufd_struct_of<struct mock_viommu>;
}

/*
 * The loopback: in_data goes to out_data and into the first word of 2^order pages for mmap. On
 * failure everything is as it was; the out fields may have been written.
 */
static int mock_viommu_user_data(struct mock_viommu *mock_viommu,
				 const struct iommu_user_data *user_data,
				 struct iommu_viommu_selftest *data, unsigned int order)
{
	int rc;

	mock_viommu->page_order = order;
	mock_viommu->page =
		reinterpret_cast<u32 *>(__get_free_pages(GFP_KERNEL | __GFP_ZERO, order));
	if (!mock_viommu->page)
		return -ENOMEM;

	rc = iommufd_viommu_alloc_mmap(mock_viommu, virt_to_phys(mock_viommu->page),
				       PAGE_SIZE << order, &mock_viommu->mmap_offset);
	if (rc)
		goto err_free_page;

	*mock_viommu->page = data->in_data;
	data->out_data = data->in_data;
	data->out_mmap_length = PAGE_SIZE << order;
	data->out_mmap_offset = mock_viommu->mmap_offset;
	rc = iommu_copy_struct_to_user(user_data, data, IOMMU_VIOMMU_TYPE_SELFTEST, out_data);
	if (rc)
		goto err_free_page;
	return 0;

err_free_page:
	mock_viommu_free_page(mock_viommu);
	return rc;
}

/* The parent is iommufd's choice by its id: it may be of another driver, whose domains are not ours
 * to read. */
static bool mock_viommu_parent_ok(struct mock_iommu_device *mock_iommu,
				  struct iommu_domain *parent_domain)
{
	return parent_domain->owner == &mock_iommu->driver->ops;
}

static int mock_viommu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent_domain,
			    const struct iommu_user_data *user_data)
{
	struct mock_iommu_device *mock_iommu =
		static_cast<struct mock_iommu_device *>(viommu->iommu_dev);
	struct mock_viommu *mock_viommu = to_mock_viommu(viommu);
	struct iommu_viommu_selftest data;
	int rc;

	if (!mock_viommu_parent_ok(mock_iommu, parent_domain))
		return -EINVAL;

	if (user_data) {
		rc = iommu_copy_struct_from_user(&data, user_data, IOMMU_VIOMMU_TYPE_SELFTEST,
						 out_data);
		if (rc)
			return rc;
		rc = mock_viommu_user_data(mock_viommu, user_data, &data, 1);
		if (rc)
			return rc;
	}

	refcount_inc(&mock_iommu->users);
	mock_viommu->s2_parent = parent_domain;
	viommu->ops = &mock_iommu->driver->viommu_ops;
	return 0;
}

static result<struct iommufd_viommu *>
mock_viommu_alloc(struct device *dev, struct iommu_domain *parent_domain, struct iommufd_ctx *ictx,
		  unsigned int viommu_type, const struct iommu_user_data *user_data)
{
	struct mock_iommu_device *mock_iommu = iommu_get_iommu_dev<struct mock_iommu_device>(dev);
	struct iommu_viommu_selftest data;
	int rc;

	if (viommu_type != IOMMU_VIOMMU_TYPE_SELFTEST)
		return -EOPNOTSUPP;
	if (!mock_viommu_parent_ok(mock_iommu, parent_domain))
		return -EINVAL;

	if (user_data) {
		rc = iommu_copy_struct_from_user(&data, user_data, IOMMU_VIOMMU_TYPE_SELFTEST,
						 out_data);
		if (rc)
			return rc;
	}

	auto mock_viommu =
		iommufd_viommu_alloc<struct mock_viommu>(ictx, &mock_iommu->driver->viommu_ops);
	if (!mock_viommu)
		return mock_viommu.error();

	if (user_data) {
		rc = mock_viommu_user_data(*mock_viommu, user_data, &data, 0);
		if (rc) {
			iommufd_struct_destroy(ictx, *mock_viommu);
			return rc;
		}
	}

	refcount_inc(&mock_iommu->users);
	mock_viommu->s2_parent = parent_domain;
	return mock_viommu;
}

static void mock_domain_free_nested(struct iommu_domain *domain)
{
	kfree_obj(to_mock_nested(domain));
}

static int mock_nested_invalidate(struct mock_iommu_domain_nested *mock_nested,
				  const struct iommu_hwpt_invalidate_selftest &inv)
{
	if (inv.flags & ~(u32)IOMMU_TEST_INVALIDATE_FLAG_ALL)
		return -EOPNOTSUPP;
	if (inv.iotlb_id > MOCK_NESTED_DOMAIN_IOTLB_ID_MAX)
		return -EINVAL;

	const bool all = inv.flags & IOMMU_TEST_INVALIDATE_FLAG_ALL;

	for (u32 i = 0; i <= MOCK_NESTED_DOMAIN_IOTLB_ID_MAX; i++)
		if (all || i == inv.iotlb_id)
			mock_nested->iotlb[i] = 0;
	return 0;
}

static int mock_domain_cache_invalidate_user(struct iommu_domain *domain,
					     struct iommu_user_data_array *array)
{
	struct mock_iommu_domain_nested *mock_nested = to_mock_nested(domain);
	const u32 asked = array->entry_num;
	u32 done = 0;
	int rc = array->type == IOMMU_HWPT_INVALIDATE_DATA_SELFTEST ? 0 : -EINVAL;

	while (!rc && done != asked) {
		struct iommu_hwpt_invalidate_selftest inv;

		rc = iommu_copy_struct_from_user_array(
			&inv, array, IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, done, iotlb_id);
		if (!rc)
			rc = mock_nested_invalidate(mock_nested, inv);
		if (!rc)
			done++;
	}

	array->entry_num = done;
	return rc;
}

/* The ops of a machine with nothing left out. */
static const struct iommu_domain_ops mock_blocking_ops = {
	.attach_dev = mock_domain_nop_attach,
	.set_dev_pasid = mock_domain_set_dev_pasid_nop,
};

static const struct iommu_domain_ops mock_domain_ops = {
	.attach_dev = mock_domain_nop_attach,
	.set_dev_pasid = mock_domain_set_dev_pasid_nop,
	.map_pages = mock_domain_map_pages,
	.unmap_pages = mock_domain_unmap_pages,
	.iova_to_phys = mock_domain_iova_to_phys,
	.enforce_cache_coherency = mock_domain_enforce_cache_coherency,
	.free = mock_domain_free,
};

static const struct iommu_domain_ops domain_nested_ops = {
	.attach_dev = mock_domain_nop_attach,
	.set_dev_pasid = mock_domain_set_dev_pasid_nop,
	.cache_invalidate_user = mock_domain_cache_invalidate_user,
	.free = mock_domain_free_nested,
};

static const struct iommufd_viommu_ops mock_viommu_ops = {
	.destroy = mock_viommu_destroy,
	.alloc_domain_nested = mock_viommu_alloc_domain_nested,
	.cache_invalidate = mock_viommu_cache_invalidate,
	.vcmdq_alloc = mock_vcmdq_alloc,
	.vcmdq_destroy = mock_vcmdq_destroy,
	.get_hw_queue_struct = mock_viommu_get_hw_queue_struct,
	.hw_queue_init_phys = mock_hw_queue_init_phys,
};

static const struct iommu_ops mock_ops = {
	.capable = mock_domain_capable,
	.hw_info = mock_domain_hw_info,
	.domain_alloc_paging_flags = mock_domain_alloc_paging_flags,
	.domain_alloc_nested = mock_domain_alloc_nested,
	.probe_device = mock_probe_device,
	.release_device = mock_release_device,
	.device_group = mock_device_group,
	.get_resv_regions = mock_get_resv_regions,
	.page_response = mock_domain_page_response,
	.viommu_alloc = mock_viommu_alloc,
	.get_viommu_struct = mock_get_viommu_struct,
	.viommu_init = mock_viommu_init,
	.user_pasid_table = true,
};

static void mock_driver_init(struct mock_driver *driver, const struct mock_machine_options *opts)
{
	const u32 absent = opts->absent_ops;

	driver->ops = mock_ops;
	driver->domain_ops = mock_domain_ops;
	driver->nested_ops = domain_nested_ops;
	driver->blocking_ops = mock_blocking_ops;
	driver->viommu_ops = mock_viommu_ops;

	driver->blocking_domain.type = IOMMU_DOMAIN_BLOCKED;
	driver->blocking_domain.ops = &driver->blocking_ops;
	driver->ops.default_domain = &driver->blocking_domain;
	driver->ops.blocked_domain = &driver->blocking_domain;

	if (opts->own_vdevice || opts->nr_stream_ids != 1 ||
	    (opts->small_structs & MOCK_SMALL_VDEVICE) || (absent & MOCK_ABSENT_VDEVICE_INIT)) {
		driver->viommu_ops.vdevice_alloc = mock_vdevice_alloc;
		driver->viommu_ops.vdevice_destroy = mock_vdevice_destroy;
		driver->viommu_ops.vdevice_struct =
			opts->small_structs & MOCK_SMALL_VDEVICE
				? &mock_small_vdevice
				: &iommufd_struct_of<struct mock_vdevice>;
		driver->viommu_ops.vdevice_init = mock_vdevice_init;
	}

	if (absent & MOCK_ABSENT_HW_INFO)
		driver->ops.hw_info = nullptr;
	if (absent & MOCK_ABSENT_PAGING_FLAGS) {
		driver->ops.domain_alloc_paging_flags = nullptr;
		driver->ops.domain_alloc_paging = mock_domain_alloc_paging;
	}
	if (absent & MOCK_ABSENT_NESTED)
		driver->ops.domain_alloc_nested = nullptr;
	if (absent & MOCK_ABSENT_NESTED_INVALIDATE)
		driver->nested_ops.cache_invalidate_user = nullptr;
	if (absent & MOCK_ABSENT_VIOMMU) {
		driver->ops.viommu_alloc = nullptr;
		driver->ops.get_viommu_struct = nullptr;
		driver->ops.viommu_init = nullptr;
	}
	if (absent & MOCK_ABSENT_VIOMMU_INIT)
		driver->ops.viommu_init = nullptr;
	if (absent & MOCK_ABSENT_VIOMMU_DOMAIN)
		driver->viommu_ops.alloc_domain_nested = nullptr;
	if (absent & MOCK_ABSENT_VIOMMU_INVALIDATE)
		driver->viommu_ops.cache_invalidate = nullptr;
	if (absent & MOCK_ABSENT_QUEUE) {
		driver->viommu_ops.vcmdq_alloc = nullptr;
		driver->viommu_ops.vcmdq_destroy = nullptr;
		driver->viommu_ops.get_hw_queue_struct = nullptr;
		driver->viommu_ops.hw_queue_init_phys = nullptr;
	}
	if (absent & MOCK_ABSENT_QUEUE_INIT)
		driver->viommu_ops.hw_queue_init_phys = nullptr;
	if (absent & MOCK_ABSENT_VDEVICE_INIT)
		driver->viommu_ops.vdevice_init = nullptr;
	if (absent & MOCK_ABSENT_PAGE_RESPONSE)
		driver->ops.page_response = nullptr;
	if (absent & MOCK_ABSENT_PASID)
		driver->domain_ops.set_dev_pasid = nullptr;
	if (absent & MOCK_ABSENT_PASID_NESTED)
		driver->nested_ops.set_dev_pasid = nullptr;
	if (absent & MOCK_ABSENT_PASID_BLOCKED)
		driver->blocking_ops.set_dev_pasid = nullptr;
}

/* A HWPT of this machine's mock by its id; -EINVAL when it is another driver's. */
static short_ref<struct iommufd_hwpt_paging>
get_md_pagetable(struct iommufd_ucmd *ucmd, u32 mockpt_id, struct mock_iommu_domain **mock)
{
	struct iommufd_selftest *st = kernel_selftest(current->kernel);
	auto hwpt = iommufd_get_hwpt_paging(ucmd, mockpt_id);

	if (!hwpt)
		return hwpt;
	struct iommu_domain *domain = hwpt->domain;

	if (domain->type != IOMMU_DOMAIN_UNMANAGED ||
	    (domain->owner != &st->drivers[0].ops && domain->owner != &st->drivers[1].ops))
		return -EINVAL;
	*mock = to_mock_domain(domain);
	return hwpt;
}

static short_ref<struct iommufd_hwpt_nested>
get_md_pagetable_nested(struct iommufd_ucmd *ucmd, u32 mockpt_id,
			struct mock_iommu_domain_nested **nested)
{
	struct iommufd_selftest *st = kernel_selftest(current->kernel);
	auto hwpt = iommufd_get_hwpt_nested(ucmd, mockpt_id);

	if (!hwpt)
		return hwpt;
	struct iommu_domain *domain = hwpt->domain;

	if (domain->type != IOMMU_DOMAIN_NESTED || (domain->ops != &st->drivers[0].nested_ops &&
						    domain->ops != &st->drivers[1].nested_ops))
		return -EINVAL;
	*nested = to_mock_nested(domain);
	return hwpt;
}

/* Does the device belong to this kernel's mock? Compare iommufd_selftest_is_mock_dev. */
static bool mock_dev_is(struct device *dev)
{
	struct iommufd_selftest *st = kernel_selftest(dev->kernel);

	return st && dev->parent == &st->iommu_dev;
}

static void mock_dev_release(struct device *dev)
{
	struct mock_dev *mdev = to_mock_dev(dev);

	mock_group_put(mdev->st, mdev->mock_group, mdev->id);
	xa_erase(&mdev->st->mock_devs, mdev->id);
	kfree_obj(mdev);
}

/* With its number, and its share of a group. */
static result<struct mock_dev *> mock_dev_alloc(struct iommufd_selftest *st)
{
	struct mock_dev *mdev = nullptr;
	u32 id;

	if (int rc = xa_alloc(&st->mock_devs, &id, nullptr, xa_limit_31b, GFP_KERNEL))
		return rc;

	auto group = mock_group_get(st, id);

	if (group)
		mdev = kzalloc_obj<struct mock_dev>(st, *group);
	if (!mdev) {
		if (group)
			mock_group_put(st, *group, id);
		xa_erase(&st->mock_devs, id);
		return -ENOMEM;
	}
	mdev->id = id;
	return mdev;
}

static result<struct mock_dev *> mock_dev_create(struct iommufd_selftest *st, u32 dev_flags)
{
	const u32 valid_flags = MOCK_FLAGS_DEVICE_NO_DIRTY | MOCK_FLAGS_DEVICE_HUGE_IOVA |
				MOCK_FLAGS_DEVICE_PASID;
	struct mock_dev *mdev;
	int rc;

	if (dev_flags & ~valid_flags)
		return -EINVAL;

	auto allocated = mock_dev_alloc(st);
	if (!allocated)
		return allocated;
	mdev = *allocated;

	mdev->flags = dev_flags;
	if (st->opts.absent_ops & MOCK_ABSENT_DIRTY)
		mdev->flags |= MOCK_FLAGS_DEVICE_NO_DIRTY;
	mdev->nr_stream_ids = st->opts.nr_stream_ids;
	mdev->dev.parent = &st->iommu_dev;
	for (auto &entry : mdev->cache)
		entry = IOMMU_TEST_DEV_CACHE_DEFAULT;
	snprintf(mdev->dev.name, sizeof(mdev->dev.name), "iommufd_mock%u", mdev->id);
	mdev->iommu = &st->iommus[mdev->id % st->nr_iommus];

	{
		rwsem_write_guard guard(&mdev->iopf_rwsem);
		rc = iommu_probe_device(&mdev->dev, mdev->iommu);
	}
	if (rc) {
		mock_dev_release(&mdev->dev);
		return rc;
	}
	return mdev;
}

static void mock_dev_destroy(struct mock_dev *mdev)
{
	iommu_release_device(&mdev->dev);
	mock_dev_release(&mdev->dev);
}

/* MOCK_DOMAIN(_FLAGS): a device is plugged in, bound and attached in one go. */
static int iommufd_test_mock_domain(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	struct mock_dev *mdev;
	u32 pt_id = cmd->id;
	u32 dev_flags = 0;
	u32 idev_id;
	int rc;

	auto sobj = iommufd_object_alloc<struct selftest_obj>(ucmd->ictx);
	if (!sobj)
		return sobj.error();

	if (cmd->op == IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS)
		dev_flags = cmd->mock_domain_flags.dev_flags;

	auto created = mock_dev_create(kernel_selftest(current->kernel), dev_flags);
	if (!created) {
		iommufd_object_abort(ucmd->ictx, *sobj);
		return created.error();
	}
	mdev = *created;

	auto idev = iommufd_device_bind(ucmd->ictx, &mdev->dev, &idev_id);
	if (!idev) {
		rc = idev.error();
		goto out_mdev;
	}

	{
		rwsem_write_guard guard(&mdev->iopf_rwsem);
		rc = iommufd_device_attach(*idev, IOMMU_NO_PASID, &pt_id);
	}
	if (rc)
		goto out_unbind;

	sobj->idev.ictx = ucmd->ictx;
	sobj->idev.idev = *idev;
	sobj->idev.mock_dev = mdev;

	/* Destroying the stdev detaches, unbinds and unplugs */
	cmd->mock_domain.out_hwpt_id = pt_id;
	cmd->mock_domain.out_stdev_id = sobj->id;
	cmd->mock_domain.out_idev_id = idev_id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_detach;
	iommufd_object_finalize(ucmd->ictx, *sobj);
	return 0;

out_detach: {
	rwsem_write_guard guard(&mdev->iopf_rwsem);
	iommufd_device_detach(*idev, IOMMU_NO_PASID);
}
out_unbind:
	iommufd_device_unbind(*idev);
out_mdev:
	mock_dev_destroy(mdev);
	iommufd_object_abort(ucmd->ictx, *sobj);
	return rc;
}

static short_ref<struct selftest_obj> iommufd_test_get_selftest_obj(struct iommufd_ctx *ictx,
								    u32 id)
{
	/* The stdev and not the device: whoever holds it cannot meet its detach */
	auto sobj = iommufd_get<struct selftest_obj>(ictx, id);

	if (!sobj)
		return sobj;
	if (sobj->selftest_type != TYPE_IDEV)
		return -EINVAL;
	return sobj;
}

static int iommufd_test_mock_domain_replace(struct iommufd_ucmd *ucmd, unsigned int device_id,
					    u32 pt_id, struct iommu_test_cmd *cmd)
{
	int rc;

	auto sobj = iommufd_test_get_selftest_obj(ucmd->ictx, device_id);
	if (!sobj)
		return sobj.error();

	{
		rwsem_write_guard guard(&sobj->idev.mock_dev->iopf_rwsem);
		rc = iommufd_device_replace(sobj->idev.idev, IOMMU_NO_PASID, &pt_id);
	}
	if (rc)
		return rc;

	cmd->mock_domain_replace.pt_id = pt_id;
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

static int iommufd_test_add_reserved(struct iommufd_ucmd *ucmd, unsigned int mockpt_id,
				     unsigned long start, size_t length)
{
	struct io_pagetable *iopt;
	unsigned long last;

	if (!length)
		return -EINVAL;
	if (check_add_overflow(start, length - 1, &last))
		return -EOVERFLOW;

	auto ioas = iommufd_get_ioas(ucmd->ictx, mockpt_id);
	if (!ioas)
		return ioas.error();
	iopt = &ioas->iopt;

	rwsem_write_guard guard(&iopt->iova_rwsem);
	return iopt_reserve_iova(iopt, start, last, nullptr);
}

/* Is what the domain has at each IO page what the process has at the address? */
static int iommufd_test_md_check_pa(struct iommufd_ucmd *ucmd, unsigned int mockpt_id,
				    unsigned long iova, size_t length, u64 uptr)
{
	struct mock_iommu_domain *mock;
	unsigned long page_size;
	u64 end;

	auto hwpt = get_md_pagetable(ucmd, mockpt_id, &mock);
	if (!hwpt)
		return hwpt.error();

	page_size = 1UL << __ffs(mock->pgsize_bitmap);
	if (iova % page_size || length % page_size || uptr % page_size ||
	    check_add_overflow(uptr, length, &end))
		return -EINVAL;

	for (; length; length -= page_size) {
		struct page *pages[1];
		unsigned long pfn;
		int npages;

		npages = get_user_pages_fast(uptr & PAGE_MASK, 1, 0, pages);
		if (npages < 0)
			return npages;
		if (WARN_ON(npages != 1))
			return -EFAULT;
		pfn = page_to_pfn(pages[0]);
		put_page(pages[0]);

		if (mock_domain_iova_to_phys(mock, iova) != pfn * PAGE_SIZE + uptr % PAGE_SIZE)
			return -EINVAL;
		iova += page_size;
		uptr += page_size;
	}
	return 0;
}

/* Has each page just so many pins? */
static int iommufd_test_md_check_refs(u64 uptr, size_t length, unsigned int refs)
{
	u64 end;

	if (length % PAGE_SIZE || uptr % PAGE_SIZE || check_add_overflow(uptr, length, &end))
		return -EINVAL;

	for (; length; length -= PAGE_SIZE) {
		struct page *pages[1];
		unsigned int count;
		int npages;

		npages = get_user_pages_fast(uptr, 1, 0, pages);
		if (npages < 0)
			return npages;
		if (WARN_ON(npages != 1))
			return -EFAULT;
		count = page_pin_count(pages[0]);
		put_page(pages[0]);
		if (count != refs)
			return -EIO;
		uptr += PAGE_SIZE;
	}
	return 0;
}

static int iommufd_test_md_check_iotlb(struct iommufd_ucmd *ucmd, u32 mockpt_id,
				       unsigned int iotlb_id, u32 iotlb)
{
	struct mock_iommu_domain_nested *nested;
	auto held = get_md_pagetable_nested(ucmd, mockpt_id, &nested);

	if (!held)
		return held.error();

	const bool as_told = iotlb_id <= MOCK_NESTED_DOMAIN_IOTLB_ID_MAX &&
			     nested->iotlb[iotlb_id] == iotlb;

	return as_told ? 0 : -EINVAL;
}

static int iommufd_test_dev_check_cache(struct iommufd_ucmd *ucmd, u32 idev_id,
					unsigned int cache_id, u32 cache)
{
	auto idev = iommufd_get_device(ucmd, idev_id);

	if (!idev)
		return idev.error();
	if (!mock_dev_is(idev->dev))
		return -EINVAL;

	if (cache_id > MOCK_DEV_CACHE_ID_MAX || to_mock_dev(idev->dev)->cache[cache_id] != cache)
		return -EINVAL;
	return 0;
}

/* The device has a page fault. What becomes of it is not told. */
static int iommufd_test_trigger_iopf(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	struct iopf_fault event;
	auto idev = iommufd_get_device(ucmd, cmd->trigger_iopf.dev_id);

	if (!idev)
		return idev.error();
	if (!mock_dev_is(idev->dev))
		return -EINVAL;

	event.fault.type = IOMMU_FAULT_PAGE_REQ;
	event.fault.prm.flags = IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE;
	if (cmd->trigger_iopf.pasid != IOMMU_NO_PASID)
		event.fault.prm.flags |= IOMMU_FAULT_PAGE_REQUEST_PASID_VALID;
	event.fault.prm.addr = cmd->trigger_iopf.addr;
	event.fault.prm.pasid = cmd->trigger_iopf.pasid;
	event.fault.prm.grpid = cmd->trigger_iopf.grpid;
	event.fault.prm.perm = cmd->trigger_iopf.perm;

	rwsem_read_guard guard(&to_mock_dev(idev->dev)->iopf_rwsem);
	(void)iommu_report_device_fault(idev->dev, &event);
	return 0;
}

/* The device's vIOMMU has an event. -ENOENT: it has none, or the guest does not know the device. */
static int iommufd_test_trigger_vevent(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	struct iommu_viommu_event_selftest test = {};
	auto idev = iommufd_get_device(ucmd, cmd->trigger_vevent.dev_id);

	if (!idev)
		return idev.error();
	if (!mock_dev_is(idev->dev))
		return -EINVAL;

	struct mock_dev *mdev = to_mock_dev(idev->dev);

	rwsem_read_guard guard(&mdev->viommu_rwsem);
	if (!mdev->viommu || !mdev->vdev_id)
		return -ENOENT;
	test.virt_id = (u32)mdev->vdev_id;
	return iommufd_viommu_report_event(
		mdev->viommu, static_cast<enum iommu_veventq_type>(IOMMU_VEVENTQ_TYPE_SELFTEST),
		&test, sizeof(test));
}

/* Behind the file descriptor of an access: it stands for a kernel driver that uses an IOAS. */
struct selftest_access {
	struct iommufd_access *access = nullptr;
	struct file *file = nullptr;
	/* From before a pin until its item is listed, so that an unmap finds the item */
	struct mutex lock{LOCK_CLASS(selftest_access, lock)};
	struct list_head items __guarded_by(lock);
	unsigned int next_id __guarded_by(lock) = 0;
};

/* One ACCESS_PAGES that is still pinned. */
struct selftest_access_item {
	struct list_head items_elm;
	unsigned long iova;
	size_t length;
	unsigned int id;
};

extern const struct file_operations iommfd_test_staccess_fops;

/* The caller puts ->file. */
static result<struct selftest_access *> iommufd_access_get(u32 fd)
{
	struct file *file;

	file = fget(fd);
	if (!file)
		return -EBADFD;

	if (file->f_op != &iommfd_test_staccess_fops) {
		fput(file);
		return -EBADFD;
	}
	return static_cast<struct selftest_access *>(file->private_data);
}

/* Also with everything at the end: [0, ULONG_MAX) cuts nothing off, since no page begins at the
 * last byte. */
static void iommufd_test_access_unmap(void *data, unsigned long iova, unsigned long length)
{
	struct selftest_access *staccess = static_cast<struct selftest_access *>(data);
	unsigned long iova_last = iova + length - 1;
	struct selftest_access_item *item;
	struct selftest_access_item *tmp;

	mutex_guard guard(&staccess->lock);
	list_for_each_entry_safe (item, tmp, &staccess->items, items_elm) {
		if (iova > item->iova + item->length - 1 || iova_last < item->iova)
			continue;
		list_del(&item->items_elm);
		iommufd_access_unpin_pages(staccess->access, item->iova, item->length);
		kfree_obj(item);
	}
}

static int iommufd_test_access_item_destroy(unsigned int access_id, unsigned int item_id)
{
	struct selftest_access_item *item;
	struct selftest_access *staccess;
	int rc = -ENOENT;

	auto got = iommufd_access_get(access_id);
	if (!got)
		return got.error();
	staccess = *got;

	{
		mutex_guard guard(&staccess->lock);
		list_for_each_entry (item, &staccess->items, items_elm) {
			if (item->id == item_id) {
				list_del(&item->items_elm);
				iommufd_access_unpin_pages(staccess->access, item->iova,
							   item->length);
				kfree_obj(item);
				rc = 0;
				break;
			}
		}
	}
	fput(staccess->file);
	return rc;
}

static int iommufd_test_staccess_release(struct file *filep)
{
	struct selftest_access *staccess =
		static_cast<struct selftest_access *>(filep->private_data);

	if (staccess->access) {
		iommufd_test_access_unmap(staccess, 0, ULONG_MAX);
		iommufd_access_destroy(staccess->access);
	}
	kfree_obj(staccess);
	return 0;
}

static const struct iommufd_access_ops selftest_access_ops_pin = {
	.needs_pin_pages = true,
	.unmap = iommufd_test_access_unmap,
};

static const struct iommufd_access_ops selftest_access_ops = {
	.needs_pin_pages = false,
	.unmap = iommufd_test_access_unmap,
};

const struct file_operations iommfd_test_staccess_fops = {
	.release = iommufd_test_staccess_release,
	.name = "iommufd_test_staccess",
};

static result<struct selftest_access *> iommufd_test_alloc_access(void)
{
	struct selftest_access *staccess;

	staccess = kzalloc_obj<struct selftest_access>();
	if (!staccess)
		return -ENOMEM;

	auto filep = anon_inode_getfile("[iommufd_test_staccess]", &iommfd_test_staccess_fops,
					staccess, O_RDWR);
	if (!filep) {
		kfree_obj(staccess);
		return filep.error();
	}
	staccess->file = *filep;
	return staccess;
}

static int iommufd_test_create_access(struct iommufd_ucmd *ucmd, unsigned int ioas_id,
				      unsigned int flags)
{
	struct iommu_test_cmd *cmd = static_cast<struct iommu_test_cmd *>(ucmd->cmd);
	struct selftest_access *staccess;
	u32 id;
	int fdno;
	int rc;

	if (flags & ~(u32)MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES)
		return -EOPNOTSUPP;

	auto allocated = iommufd_test_alloc_access();
	if (!allocated)
		return allocated.error();
	staccess = *allocated;

	fdno = get_unused_fd_flags(O_CLOEXEC);
	if (fdno < 0) {
		/* Until the access is set, the file's release frees staccess alone */
		fput(staccess->file);
		return -ENOMEM;
	}

	auto access = iommufd_access_create(ucmd->ictx,
					    (flags & MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES)
						    ? &selftest_access_ops_pin
						    : &selftest_access_ops,
					    staccess, &id);
	rc = access ? iommufd_access_attach(*access, ioas_id) : access.error();
	if (!rc) {
		cmd->create_access.out_access_fd = fdno;
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	if (!rc) {
		staccess->access = *access;
		fd_install(fdno, staccess->file);
		return 0;
	}

	if (access)
		iommufd_access_destroy(*access);
	put_unused_fd(fdno);
	fput(staccess->file);
	return rc;
}

static int iommufd_test_access_replace_ioas(unsigned int access_id, unsigned int ioas_id)
{
	int rc;

	auto held = iommufd_access_get(access_id);

	if (!held)
		return held.error();
	rc = iommufd_access_replace(held->access, ioas_id);
	fput(held->file);
	return rc;
}

/* Are the pages those that the process has there? */
static int iommufd_test_check_pages(u64 uptr, struct page **pages, size_t npages)
{
	for (size_t i = 0; i != npages; i++) {
		struct page *there[1];
		const int got = get_user_pages_fast(uptr + i * PAGE_SIZE, 1, 0, there);

		if (got < 0)
			return got;
		if (WARN_ON(got != 1))
			return -EFAULT;
		put_page(there[0]);
		if (there[0] != pages[i])
			return -EBADE;
	}
	return 0;
}

/* Lists what staccess has pinned, and tells the user its id. -ENOMEM, -EFAULT. */
static int iommufd_test_access_list_item(struct iommufd_ucmd *ucmd,
					 struct selftest_access *staccess, unsigned long iova,
					 size_t length) __must_hold(staccess->lock)
{
	auto *cmd = static_cast<struct iommu_test_cmd *>(ucmd->cmd);
	auto *item = kzalloc_obj<struct selftest_access_item>();

	if (!item)
		return -ENOMEM;
	item->id = staccess->next_id++;
	item->iova = iova;
	item->length = length;

	cmd->access_pages.out_access_pages_id = item->id;
	if (int rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd))) {
		kfree_obj(item);
		return rc;
	}
	list_add_tail(&item->items_elm, &staccess->items);
	return 0;
}

static int __iommufd_test_access_pages(struct iommufd_ucmd *ucmd, struct selftest_access *staccess,
				       unsigned long iova, size_t length, u64 uptr, u32 flags,
				       struct page **pages, size_t npages)
{
	const unsigned int rw = flags & MOCK_FLAGS_ACCESS_WRITE ? IOMMUFD_ACCESS_RW_WRITE
								: IOMMUFD_ACCESS_RW_READ;

	/*
	 * An unmap that comes right after the pin must find the item: it returns only when the
	 * range is unpinned. One lock around both is simple; a driver with a fast path needs
	 * something better.
	 */
	mutex_guard guard(&staccess->lock);
	int rc = iommufd_access_pin_pages(staccess->access, iova, length, pages, rw);

	if (rc)
		return rc;
	/* A fuzzer that does not know the memory passes NULL */
	if (uptr)
		rc = iommufd_test_check_pages(uptr - offset_in_page(iova), pages, npages);
	if (!rc)
		rc = iommufd_test_access_list_item(ucmd, staccess, iova, length);
	if (rc)
		iommufd_access_unpin_pages(staccess->access, iova, length);
	return rc;
}

static int iommufd_test_access_pages(struct iommufd_ucmd *ucmd, unsigned int access_id,
				     unsigned long iova, size_t length, u64 uptr, u32 flags)
{
	if (length > 16 * 1024 * 1024)
		return -ENOMEM;
	if (flags & ~(u32)(MOCK_FLAGS_ACCESS_WRITE | MOCK_FLAGS_ACCESS_SYZ))
		return -EOPNOTSUPP;

	auto staccess = iommufd_access_get(access_id);

	if (!staccess)
		return staccess.error();
	if (staccess->access->ops != &selftest_access_ops_pin) {
		fput(staccess->file);
		return -EOPNOTSUPP;
	}
	if (flags & MOCK_FLAGS_ACCESS_SYZ)
		iova = iommufd_test_syz_conv_iova(staccess->access, iova);

	/* Counted without the wrap of iova + length, which the pin refuses */
	const size_t npages = (offset_in_page(iova) + length + PAGE_SIZE - 1) / PAGE_SIZE;
	auto **pages = kvcalloc_array<struct page *>(max(npages, (size_t)1), GFP_KERNEL_ACCOUNT);
	int rc = pages ? __iommufd_test_access_pages(ucmd, *staccess, iova, length, uptr, flags,
						     pages, npages)
		       : -ENOMEM;

	kvfree_array(pages);
	fput(staccess->file);
	return rc;
}

static int iommufd_test_access_rw(unsigned int access_id, unsigned long iova, size_t length,
				  user_inout<void> ubuf, unsigned int flags)
{
	struct selftest_access *staccess;
	u8 *tmp;
	int rc;

	if (length > 16 * 1024 * 1024)
		return -ENOMEM;

	if (flags & ~(u32)(MOCK_ACCESS_RW_WRITE | MOCK_ACCESS_RW_SLOW_PATH | MOCK_FLAGS_ACCESS_SYZ))
		return -EOPNOTSUPP;

	auto got = iommufd_access_get(access_id);
	if (!got)
		return got.error();
	staccess = *got;

	tmp = kvcalloc_array<u8>(max(length, (size_t)1), GFP_KERNEL_ACCOUNT);
	if (!tmp) {
		rc = -ENOMEM;
		goto out_put;
	}

	if (flags & MOCK_ACCESS_RW_WRITE) {
		rc = ubuf.copy_from_user(tmp, length);
		if (rc)
			goto out_free;
	}

	if (flags & MOCK_FLAGS_ACCESS_SYZ)
		iova = iommufd_test_syz_conv_iova(staccess->access, iova);

	rc = iommufd_access_rw(staccess->access, iova, tmp, length,
			       flags & ~(u32)MOCK_FLAGS_ACCESS_SYZ);
	if (rc)
		goto out_free;
	if (!(flags & MOCK_ACCESS_RW_WRITE))
		rc = ubuf.copy_to_user(tmp, length);

out_free:
	kvfree_array(tmp);
out_put:
	fput(staccess->file);
	return rc;
}
static_assert((unsigned int)MOCK_ACCESS_RW_WRITE == IOMMUFD_ACCESS_RW_WRITE);
static_assert((unsigned int)MOCK_ACCESS_RW_SLOW_PATH == __IOMMUFD_ACCESS_RW_SLOW_PATH);

/* Stands for a device that writes: sets the dirty bits that the bitmap names,
 * one bit for page_size bytes. */
static int iommufd_test_dirty(struct iommufd_ucmd *ucmd, unsigned int mockpt_id, unsigned long iova,
			      size_t length, unsigned long page_size, user_in<void> uptr)
{
	struct iommu_test_cmd *cmd = static_cast<struct iommu_test_cmd *>(ucmd->cmd);
	struct mock_iommu_domain *mock;
	u64 count = 0;
	unsigned long i;

	if (!page_size || !length || iova % page_size || length % page_size || !uptr)
		return -EINVAL;

	const unsigned long max = length / page_size;

	if (max > 16 * SZ_1M * BITS_PER_BYTE)
		return -EOVERFLOW;

	auto hwpt = get_md_pagetable(ucmd, mockpt_id, &mock);

	if (!hwpt)
		return hwpt.error();
	if (!(mock->mock_flags & MOCK_DIRTY_TRACK))
		return -EINVAL;

	auto *tmp = kvcalloc_array<unsigned long>(BITS_TO_LONGS(max), GFP_KERNEL_ACCOUNT);

	if (!tmp)
		return -ENOMEM;

	int rc = uptr.copy_from_user(tmp, DIV_ROUND_UP(max, BITS_PER_BYTE));

	if (!rc) {
		for_each_set_bit(i, tmp, max)
		{
			mock_domain_set_dirty(mock, iova + i * page_size);
			count++;
		}
		cmd->dirty.out_nr_dirty = count;
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	kvfree_array(tmp);
	return rc;
}

static int iommufd_test_set_temp_memory_limit(unsigned int limit)
{
	/* A batch of pages needs room for one pfn and its count */
	if (limit < sizeof(unsigned long) + sizeof(u32))
		return -EINVAL;
	WRITE_ONCE(kernel_selftest(current->kernel)->test_ops.memory_limit, (size_t)limit);
	return 0;
}

/* A HWPT of either kind. -ENOENT; -EINVAL: something else. */
static short_ref<struct iommufd_hw_pagetable> iommufd_get_hwpt(struct iommufd_ucmd *ucmd, u32 id)
{
	auto obj = iommufd_get_object(ucmd->ictx, id, IOMMUFD_OBJ_ANY);

	if (obj && obj->type != IOMMUFD_OBJ_HWPT_NESTED && obj->type != IOMMUFD_OBJ_HWPT_PAGING)
		return -EINVAL;
	return std::move(obj).to<struct iommufd_hw_pagetable>();
}

/* Is it what the PASID of the device's group is attached to? NULL: is that nothing? */
static int mock_dev_check_pasid(struct iommufd_device *idev, ioasid_t pasid,
				const struct iommu_domain *domain)
{
	/* The handle lasts as long as the attachment,
	 * which the devices of the group change under this */
	mutex_guard lock(&idev->igroup->lock);
	auto handle = iommu_attach_handle_get(idev->igroup->group, pasid, 0);
	const struct iommu_domain *attached = handle ? handle->domain : nullptr;

	return attached == domain ? 0 : -EINVAL;
}

static int iommufd_test_pasid_check_hwpt(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	auto sobj = iommufd_test_get_selftest_obj(ucmd->ictx, cmd->id);

	if (!sobj)
		return sobj.error();

	struct iommufd_device *idev = sobj->idev.idev;

	if (!cmd->pasid_check.hwpt_id)
		return mock_dev_check_pasid(idev, cmd->pasid_check.pasid, nullptr);

	auto hwpt = iommufd_get_hwpt(ucmd, cmd->pasid_check.hwpt_id);

	if (!hwpt)
		return hwpt.error();
	return mock_dev_check_pasid(idev, cmd->pasid_check.pasid, hwpt->domain);
}

static int iommufd_test_pasid_attach(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	auto sobj = iommufd_test_get_selftest_obj(ucmd->ictx, cmd->id);

	if (!sobj)
		return sobj.error();

	const ioasid_t pasid = cmd->pasid_attach.pasid;
	struct iommufd_device *idev = sobj->idev.idev;

	rwsem_write_guard guard(&sobj->idev.mock_dev->iopf_rwsem);
	int rc = iommufd_device_attach(idev, pasid, &cmd->pasid_attach.pt_id);

	if (rc)
		return rc;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		iommufd_device_detach(idev, pasid);
	return rc;
}

static int iommufd_test_pasid_replace(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	auto sobj = iommufd_test_get_selftest_obj(ucmd->ictx, cmd->id);

	if (!sobj)
		return sobj.error();

	rwsem_write_guard guard(&sobj->idev.mock_dev->iopf_rwsem);
	int rc = iommufd_device_replace(sobj->idev.idev, cmd->pasid_attach.pasid,
					&cmd->pasid_attach.pt_id);

	return rc ? rc : iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

/* Nothing attached is nothing to complain of. */
static int iommufd_test_pasid_detach(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	auto sobj = iommufd_test_get_selftest_obj(ucmd->ictx, cmd->id);

	if (!sobj)
		return sobj.error();

	rwsem_write_guard guard(&sobj->idev.mock_dev->iopf_rwsem);
	iommufd_device_detach(sobj->idev.idev, cmd->pasid_detach.pasid);
	return 0;
}

/* A PASID to which the device is attached; IOMMU_NO_PASID: none but its own requester id, if that.
 */
static ioasid_t mock_dev_attached_pasid(struct iommufd_device *idev)
{
	mutex_guard lock(&idev->igroup->lock);
	struct iommufd_attach *attach;
	unsigned long pasid;

	xa_for_each_range (&idev->igroup->pasid_attach, pasid, attach, IOMMU_NO_PASID + 1,
			   ULONG_MAX)
		if (xa_load(&attach->device_array, idev->id))
			return (ioasid_t)pasid;
	return IOMMU_NO_PASID;
}

/* As a driver does before it unbinds, VFIO say; the kernel's mock leaves PASIDs to its users. */
static void mock_dev_detach_all(struct mock_dev *mdev, struct iommufd_device *idev)
{
	rwsem_write_guard guard(&mdev->iopf_rwsem);

	while (ioasid_t pasid = mock_dev_attached_pasid(idev))
		iommufd_device_detach(idev, pasid);
	iommufd_device_detach(idev, IOMMU_NO_PASID);
}

static void selftest_destroy(struct iommufd_object *obj)
{
	struct selftest_obj *sobj = static_cast<struct selftest_obj *>(obj);

	switch (sobj->selftest_type) {
	case TYPE_IDEV: {
		mock_dev_detach_all(sobj->idev.mock_dev, sobj->idev.idev);
		iommufd_device_unbind(sobj->idev.idev);
		mock_dev_destroy(sobj->idev.mock_dev);
		break;
	}
	}
}

/* Memory that the selftest exports. */
struct iommufd_test_dma_buf {
	struct page *memory = nullptr;
	size_t length = 0;    /* bytes */
	bool revoked = false; /* under the reservation */
};

static void iommufd_test_dma_buf_free(struct iommufd_test_dma_buf *priv)
{
	__free_pages(priv->memory, (unsigned int)get_order(priv->length));
	kfree_obj(priv);
}

static void iommufd_test_dma_buf_release(struct dma_buf *dmabuf)
{
	iommufd_test_dma_buf_free(static_cast<struct iommufd_test_dma_buf *>(dmabuf->priv));
}

static const struct dma_buf_ops iommufd_test_dmabuf_ops = {
	.release = iommufd_test_dma_buf_release,
};

static int test_dma_buf_iommufd_map(struct dma_buf_attachment *attachment, struct phys_vec *phys)
{
	struct dma_buf *dmabuf = attachment->dmabuf;

	lockdep_assert_held(&dmabuf->resv.lock);
	if (dmabuf->ops != &iommufd_test_dmabuf_ops)
		return -EOPNOTSUPP;

	auto *priv = static_cast<struct iommufd_test_dma_buf *>(dmabuf->priv);

	if (priv->revoked)
		return -ENODEV;
	phys->paddr = page_to_phys(priv->memory);
	phys->len = priv->length;
	return 0;
}

/* Returns the descriptor of a new dma-buf of len bytes, rounded up to pages: 1 to 512. */
static int iommufd_test_dmabuf_get(unsigned int open_flags, size_t len)
{
	struct dma_buf_export_info exp_info;

	len = PAGE_ALIGN(len);
	if (!len || len > PAGE_SIZE * 512)
		return -EINVAL;

	auto *priv = kzalloc_obj<struct iommufd_test_dma_buf>();

	if (!priv)
		return -ENOMEM;
	priv->length = len;
	priv->memory = alloc_pages(GFP_KERNEL, (unsigned int)get_order(len));
	if (!priv->memory) {
		kfree_obj(priv);
		return -ENOMEM;
	}

	exp_info.ops = &iommufd_test_dmabuf_ops;
	exp_info.size = len;
	exp_info.flags = (int)open_flags;
	exp_info.priv = priv;

	auto dmabuf = dma_buf_export(&exp_info);

	if (!dmabuf) {
		iommufd_test_dma_buf_free(priv);
		return dmabuf.error();
	}

	int fd = dma_buf_fd(*dmabuf, (int)open_flags);

	if (fd < 0)
		dma_buf_put(*dmabuf);
	return fd;
}

/* Takes the memory from all who have mapped it, and lets others map it or not. */
static int iommufd_test_dmabuf_revoke(int fd, bool revoked)
{
	auto got = dma_buf_get(fd);

	if (!got)
		return got.error();

	struct dma_buf *const dmabuf = *got;
	int rc = 0;

	if (dmabuf->ops == &iommufd_test_dmabuf_ops) {
		mutex_guard resv(&dmabuf->resv.lock);

		static_cast<struct iommufd_test_dma_buf *>(dmabuf->priv)->revoked = revoked;
		dma_buf_invalidate_mappings(dmabuf);
	} else {
		rc = -EOPNOTSUPP;
	}
	dma_buf_put(dmabuf);
	return rc;
}

static int selftest_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = static_cast<struct iommu_test_cmd *>(ucmd->cmd);

	switch (cmd->op) {
	case IOMMU_TEST_OP_ADD_RESERVED:
		return iommufd_test_add_reserved(ucmd, cmd->id, cmd->add_reserved.start,
						 cmd->add_reserved.length);
	case IOMMU_TEST_OP_MOCK_DOMAIN:
	case IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS:
		return iommufd_test_mock_domain(ucmd, cmd);
	case IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE:
		return iommufd_test_mock_domain_replace(ucmd, cmd->id,
							cmd->mock_domain_replace.pt_id, cmd);
	case IOMMU_TEST_OP_MD_CHECK_MAP:
		return iommufd_test_md_check_pa(ucmd, cmd->id, cmd->check_map.iova,
						cmd->check_map.length, cmd->check_map.uptr);
	case IOMMU_TEST_OP_MD_CHECK_REFS:
		return iommufd_test_md_check_refs(cmd->check_refs.uptr, cmd->check_refs.length,
						  cmd->check_refs.refs);
	case IOMMU_TEST_OP_MD_CHECK_IOTLB:
		return iommufd_test_md_check_iotlb(ucmd, cmd->id, cmd->check_iotlb.id,
						   cmd->check_iotlb.iotlb);
	case IOMMU_TEST_OP_DEV_CHECK_CACHE:
		return iommufd_test_dev_check_cache(ucmd, cmd->id, cmd->check_dev_cache.id,
						    cmd->check_dev_cache.cache);
	case IOMMU_TEST_OP_CREATE_ACCESS:
		return iommufd_test_create_access(ucmd, cmd->id, cmd->create_access.flags);
	case IOMMU_TEST_OP_ACCESS_REPLACE_IOAS:
		return iommufd_test_access_replace_ioas(cmd->id, cmd->access_replace_ioas.ioas_id);
	case IOMMU_TEST_OP_ACCESS_PAGES:
		return iommufd_test_access_pages(ucmd, cmd->id, cmd->access_pages.iova,
						 cmd->access_pages.length, cmd->access_pages.uptr,
						 cmd->access_pages.flags);
	case IOMMU_TEST_OP_ACCESS_RW:
		return iommufd_test_access_rw(cmd->id, cmd->access_rw.iova, cmd->access_rw.length,
					      user_inout<void>(cmd->access_rw.uptr),
					      cmd->access_rw.flags);
	case IOMMU_TEST_OP_DESTROY_ACCESS_PAGES:
		return iommufd_test_access_item_destroy(cmd->id,
							cmd->destroy_access_pages.access_pages_id);
	case IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT:
		return iommufd_test_set_temp_memory_limit(cmd->memory_limit.limit);
	case IOMMU_TEST_OP_DIRTY:
		return iommufd_test_dirty(ucmd, cmd->id, cmd->dirty.iova, cmd->dirty.length,
					  cmd->dirty.page_size, user_in<void>(cmd->dirty.uptr));
	case IOMMU_TEST_OP_TRIGGER_IOPF:
		return iommufd_test_trigger_iopf(ucmd, cmd);
	case IOMMU_TEST_OP_TRIGGER_VEVENT:
		return iommufd_test_trigger_vevent(ucmd, cmd);
	case IOMMU_TEST_OP_PASID_ATTACH:
		return iommufd_test_pasid_attach(ucmd, cmd);
	case IOMMU_TEST_OP_PASID_REPLACE:
		return iommufd_test_pasid_replace(ucmd, cmd);
	case IOMMU_TEST_OP_PASID_DETACH:
		return iommufd_test_pasid_detach(ucmd, cmd);
	case IOMMU_TEST_OP_PASID_CHECK_HWPT:
		return iommufd_test_pasid_check_hwpt(ucmd, cmd);
	case IOMMU_TEST_OP_DMABUF_GET:
		return iommufd_test_dmabuf_get(cmd->dmabuf_get.open_flags, cmd->dmabuf_get.length);
	case IOMMU_TEST_OP_DMABUF_REVOKE:
		return iommufd_test_dmabuf_revoke(cmd->dmabuf_revoke.dmabuf_fd,
						  cmd->dmabuf_revoke.revoked);
	default:
		return -EOPNOTSUPP;
	}
}

static int mock_machine_options_check(const struct mock_machine_options *opts)
{
	if (!opts->nr_iommus || opts->nr_iommus > MOCK_MACHINE_IOMMUS_MAX)
		return -EINVAL;
	if (opts->nr_reserved > MOCK_MACHINE_RESERVED_MAX)
		return -EINVAL;
	if (opts->io_page_size && !is_power_of_2(opts->io_page_size))
		return -EINVAL;
	if (opts->aperture_start > opts->aperture_last)
		return -EINVAL;
	for (unsigned int i = 0; i != opts->nr_reserved; i++)
		if (opts->reserved[i].start > opts->reserved[i].last)
			return -EINVAL;
	return 0;
}

int iommufd_test_init(struct kernel *kernel, const struct mock_machine_options *opts)
{
	struct iommufd_selftest *st;
	int rc;

	if (kernel->iommufd_test_state)
		return -EBUSY;
	rc = mock_machine_options_check(opts);
	if (rc)
		return rc;

	st = kzalloc_obj<struct iommufd_selftest>(kernel, opts);
	if (!st)
		return -ENOMEM;

	st->iopf_queue = iopf_queue_alloc("mock-iopfq");
	if (!st->iopf_queue) {
		kfree_obj(st);
		return -ENOMEM;
	}
	mock_driver_init(&st->drivers[0], &st->opts);
	mock_driver_init(&st->drivers[1], &st->opts);

	while (st->nr_iommus != opts->nr_iommus) {
		struct mock_iommu_device *mock_iommu = &st->iommus[st->nr_iommus];
		bool second = opts->second_driver && st->nr_iommus % 2;

		mock_iommu->st = st;
		mock_iommu->driver = &st->drivers[second ? 1 : 0];
		refcount_set(&mock_iommu->users, 1);
		rc = iommu_device_register(mock_iommu, &mock_iommu->driver->ops, &st->iommu_dev);
		if (rc)
			goto err_unregister;
		mock_iommu->max_pasids = 1 << MOCK_PASID_WIDTH;
		st->nr_iommus++;
	}

	st->test_ops.ioctl = selftest_ioctl;
	st->test_ops.destroy = selftest_destroy;
	st->test_ops.is_mock_dev = mock_dev_is;
	st->test_ops.dma_buf_iommufd_map = test_dma_buf_iommufd_map;
	st->test_ops.syz_conv_iova_id = selftest_syz_conv_iova_id;
	st->test_ops.memory_limit = IOMMUFD_TEST_MEMORY_LIMIT;
	kernel->iommufd_test_state = st;
	kernel->iommufd_test = &st->test_ops;
	return 0;

err_unregister:
	while (st->nr_iommus)
		iommu_device_unregister(&st->iommus[--st->nr_iommus]);
	iopf_queue_free(st->iopf_queue);
	kfree_obj(st);
	return rc;
}

void iommufd_test_renew(struct kernel *kernel)
{
	struct iommufd_selftest *st = kernel_selftest(kernel);

	WARN_ON(!xa_empty(&st->mock_devs) || !xa_empty(&st->groups));
	for (unsigned int i = 0; i != st->nr_iommus; i++)
		WARN_ON(refcount_read(&st->iommus[i].users) != 1);
	st->test_ops.memory_limit = IOMMUFD_TEST_MEMORY_LIMIT;
}

void iommufd_test_exit(struct kernel *kernel)
{
	struct iommufd_selftest *st = kernel_selftest(kernel);

	if (!st)
		return;

	WARN_ON(!xa_empty(&st->mock_devs) || !xa_empty(&st->groups));
	kernel->iommufd_test = nullptr;
	kernel->iommufd_test_state = nullptr;
	iopf_queue_free(st->iopf_queue);
	while (st->nr_iommus) {
		struct mock_iommu_device *mock_iommu = &st->iommus[--st->nr_iommus];

		/* A vIOMMU that has outlived every file */
		WARN_ON(!refcount_dec_and_test(&mock_iommu->users));
		iommu_device_unregister(mock_iommu);
	}
	xa_destroy(&st->mock_devs);
	xa_destroy(&st->groups);
	kfree_obj(st);
}
