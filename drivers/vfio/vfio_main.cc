// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The device's file: what it answers, and its registration.
 *
 * Mirrors vfio_device_fops of drivers/vfio/vfio_main.c and the calls of
 * drivers/vfio/pci/vfio_pci_core.c of Linux 7.2, as far as vfio.h says.
 */
#include "drivers/vfio/vfio.h"

#include <cstdio>

#include <fcntl.h>

#include "core/linux/file.h"
#include "core/linux/slab.h"
#include "core/linux/uaccess.h"
#include "core/mm/vma.h"
#include "uapi/vfio.h"

static int vfio_pci_ioctl_get_info(struct vfio_device *vdev, unsigned long arg)
{
	const user_inout<void> uptr(arg);
	struct vfio_device_info info = {};
	const size_t minsz = offsetofend(struct vfio_device_info, num_irqs);

	if (uptr.copy_from_user(&info, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	const size_t size = min<size_t>(info.argsz, sizeof(info));

	info.flags = VFIO_DEVICE_FLAGS_PCI | (vdev->reset ? VFIO_DEVICE_FLAGS_RESET : 0);
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = 0;
	return uptr.copy_to_user(&info, size) ? -EFAULT : 0;
}

static int vfio_get_region_info(struct vfio_device *vdev, unsigned long arg)
{
	const user_inout<void> uptr(arg);
	struct vfio_region_info info = {};
	const size_t minsz = offsetofend(struct vfio_region_info, offset);

	if (uptr.copy_from_user(&info, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;

	info.flags = 0;
	info.cap_offset = 0;
	info.size = 0;
	info.offset = VFIO_PCI_INDEX_TO_OFFSET(info.index);
	if (info.index == VFIO_PCI_BAR0_REGION_INDEX) {
		info.size = vdev->bar_size;
		info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
			     VFIO_REGION_INFO_FLAG_MMAP;
	}
	return uptr.copy_to_user(&info, minsz) ? -EFAULT : 0;
}

static int vfio_pci_ioctl_reset(struct vfio_device *vdev)
{
	if (!vdev->reset)
		return -EINVAL;
	vdev->reset(vdev);
	return 0;
}

static long vfio_device_fops_unl_ioctl(struct file *filep, unsigned int cmd, unsigned long arg)
{
	auto *df = static_cast<struct vfio_device_file *>(filep->private_data);

	if (cmd == VFIO_DEVICE_BIND_IOMMUFD)
		return vfio_df_ioctl_bind_iommufd(df, arg);

	/* pairs with the store in vfio_df_ioctl_bind_iommufd() */
	if (!df->access_granted.load(std::memory_order_acquire))
		return -EINVAL;

	switch (cmd) {
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return vfio_df_ioctl_attach_pt(df, arg);
	case VFIO_DEVICE_DETACH_IOMMUFD_PT:
		return vfio_df_ioctl_detach_pt(df, arg);
	case VFIO_DEVICE_GET_INFO:
		return vfio_pci_ioctl_get_info(df->device, arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return vfio_get_region_info(df->device, arg);
	case VFIO_DEVICE_RESET:
		return vfio_pci_ioctl_reset(df->device);
	default:
		return -ENOTTY;
	}
}

/* Whole pages of a BAR. -EINVAL: no such place, or a private mapping. */
static int vfio_device_fops_mmap(struct file *filep, struct vm_area_struct *vma)
{
	auto *df = static_cast<struct vfio_device_file *>(filep->private_data);
	struct vfio_device *vdev = df->device;
	const u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	const u64 length = vma->vm_end - vma->vm_start;

	if (!df->access_granted.load(std::memory_order_acquire))
		return -EINVAL;
	if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff >= 1UL << (64 - PAGE_SHIFT) ||
	    VFIO_PCI_OFFSET_TO_INDEX(offset) != VFIO_PCI_BAR0_REGION_INDEX)
		return -EINVAL;
	if (offset >= vdev->bar_size || length > vdev->bar_size - offset)
		return -EINVAL;

	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	return io_remap_pfn_range(vma, vma->vm_start, PHYS_PFN(vdev->bar + offset), length,
				  vma->vm_page_prot);
}

static int vfio_device_fops_release(struct file *filep)
{
	auto *df = static_cast<struct vfio_device_file *>(filep->private_data);

	vfio_df_unbind_iommufd(df);
	kfree_obj(df);
	return 0;
}

static const struct file_operations vfio_device_fops = {
	.release = vfio_device_fops_release,
	.unlocked_ioctl = vfio_device_fops_unl_ioctl,
	.mmap = vfio_device_fops_mmap,
	.name = "vfio-device",
};

/* Compare vfio_device_fops_cdev_open(). */
static result<struct file *> vfio_device_fops_cdev_open(struct cdev *cdev)
{
	auto *df = kzalloc_obj<struct vfio_device_file>();

	if (!df)
		return -ENOMEM;
	df->device = static_cast<struct vfio_device *>(cdev);

	auto file = anon_inode_getfile("[vfio-device]", &vfio_device_fops, df, O_RDWR);

	if (!file)
		kfree_obj(df);
	return file;
}

int vfio_register_device(struct vfio_device *device, unsigned int index)
{
	snprintf(device->path, sizeof(device->path), "/dev/vfio/devices/vfio%u", index);
	device->open = vfio_device_fops_cdev_open;
	return cdev_add(device->dev->kernel, device);
}

void vfio_unregister_device(struct vfio_device *device)
{
	cdev_del(device->dev->kernel, device);
}
