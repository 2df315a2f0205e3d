// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The calls that bring a device's file to an iommufd. Mirrors drivers/vfio/device_cdev.c of
 * Linux 7.2, as far as vfio.h says.
 */
#include "drivers/vfio/vfio.h"

#include "core/linux/uaccess.h"
#include "uapi/vfio.h"

/* The first and only file that is bound. Compare vfio_df_open(). */
static int vfio_df_open(struct vfio_device *device, struct vfio_device_file *df)
	__must_hold(device->lock)
{
	if (device->open_count)
		return -EINVAL;
	if (int ret = vfio_iommufd_physical_bind(device, df->iommufd, &df->devid))
		return ret;
	device->open_count++;
	/* nothing of its last owner is seen */
	if (device->reset)
		device->reset(device);
	return 0;
}

static void vfio_df_close(struct vfio_device *device) __must_hold(device->lock)
{
	/* its DMA ends before its translations do */
	if (device->reset)
		device->reset(device);
	vfio_iommufd_physical_unbind(device);
	device->open_count--;
}

int vfio_df_ioctl_bind_iommufd(struct vfio_device_file *df, unsigned long arg)
{
	const user_inout<struct vfio_device_bind_iommufd> uptr(arg);
	const size_t minsz = offsetofend(struct vfio_device_bind_iommufd, out_devid);
	struct vfio_device *device = df->device;
	struct vfio_device_bind_iommufd bind;
	u32 user_size;
	int ret;

	ret = get_user(&user_size, user_in<u32>(uptr.field<&vfio_device_bind_iommufd::argsz>()));
	if (ret)
		return ret;
	if (user_size < minsz)
		return -EINVAL;
	ret = copy_struct_from_user(&bind, sizeof(bind), uptr, user_size);
	if (ret)
		return ret;
	if (bind.iommufd < 0 || bind.flags & ~VFIO_DEVICE_BIND_FLAG_TOKEN)
		return -EINVAL;

	mutex_guard lock(&device->lock);

	if (df->access_granted.load(std::memory_order_relaxed))
		return -EINVAL;
	/* no device here is a virtual function */
	if (bind.flags & VFIO_DEVICE_BIND_FLAG_TOKEN)
		return -EINVAL;

	auto ictx = iommufd_ctx_from_fd(bind.iommufd);

	if (!ictx)
		return ictx.error();
	df->iommufd = *ictx;
	ret = vfio_df_open(device, df);
	if (!ret && put_user(df->devid,
			     user_out<u32>(uptr.field<&vfio_device_bind_iommufd::out_devid>()))) {
		vfio_df_close(device);
		ret = -EFAULT;
	}
	if (ret) {
		iommufd_ctx_put(df->iommufd);
		df->iommufd = nullptr;
		return ret;
	}
	df->access_granted.store(true, std::memory_order_release);
	return 0;
}

void vfio_df_unbind_iommufd(struct vfio_device_file *df)
{
	/* the last reference is gone: nobody changes it */
	if (!df->access_granted.load(std::memory_order_relaxed))
		return;

	struct vfio_device *device = df->device;
	mutex_guard lock(&device->lock);

	vfio_df_close(device);
	iommufd_ctx_put(df->iommufd);
}

int vfio_df_ioctl_attach_pt(struct vfio_device_file *df, unsigned long arg)
{
	const user_inout<struct vfio_device_attach_iommufd_pt> uptr(arg);
	const size_t minsz = offsetofend(struct vfio_device_attach_iommufd_pt, pt_id);
	struct vfio_device_attach_iommufd_pt attach = {};
	struct vfio_device *device = df->device;
	int ret;

	if (uptr.as<void>().copy_from_user(&attach, minsz))
		return -EFAULT;
	if (attach.argsz < minsz)
		return -EINVAL;
	if (attach.flags & ~VFIO_DEVICE_ATTACH_PASID)
		return -EINVAL;
	if (attach.flags & VFIO_DEVICE_ATTACH_PASID) {
		if (attach.argsz < sizeof(attach))
			return -EINVAL;
		if (get_user(&attach.pasid,
			     user_in<u32>(uptr.field<&vfio_device_attach_iommufd_pt::pasid>())))
			return -EFAULT;
	}

	mutex_guard lock(&device->lock);
	const bool pasid = attach.flags & VFIO_DEVICE_ATTACH_PASID;

	ret = pasid ? vfio_iommufd_physical_pasid_attach_ioas(device, attach.pasid, &attach.pt_id)
		    : vfio_iommufd_physical_attach_ioas(device, &attach.pt_id);
	if (ret)
		return ret;
	if (!put_user(attach.pt_id,
		      user_out<u32>(uptr.field<&vfio_device_attach_iommufd_pt::pt_id>())))
		return 0;
	/* what was attached, where the kernel takes the device itself off in either case */
	if (pasid)
		vfio_iommufd_physical_pasid_detach_ioas(device, attach.pasid);
	else
		vfio_iommufd_physical_detach_ioas(device);
	return -EFAULT;
}

int vfio_df_ioctl_detach_pt(struct vfio_device_file *df, unsigned long arg)
{
	const user_in<struct vfio_device_detach_iommufd_pt> uptr(arg);
	const size_t minsz = offsetofend(struct vfio_device_detach_iommufd_pt, flags);
	struct vfio_device_detach_iommufd_pt detach = {};
	struct vfio_device *device = df->device;

	if (uptr.as<void>().copy_from_user(&detach, minsz))
		return -EFAULT;
	if (detach.argsz < minsz)
		return -EINVAL;
	if (detach.flags & ~VFIO_DEVICE_DETACH_PASID)
		return -EINVAL;
	if (detach.flags & VFIO_DEVICE_DETACH_PASID) {
		if (detach.argsz < sizeof(detach))
			return -EINVAL;
		if (get_user(&detach.pasid,
			     user_in<u32>(uptr.field<&vfio_device_detach_iommufd_pt::pasid>())))
			return -EFAULT;
	}

	mutex_guard lock(&device->lock);

	if (detach.flags & VFIO_DEVICE_DETACH_PASID)
		vfio_iommufd_physical_pasid_detach_ioas(device, detach.pasid);
	else
		vfio_iommufd_physical_detach_ioas(device);
	return 0;
}
