// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/device.h, Linux v7.2. CUSTOMISED: no bus, no sysfs; a device belongs to who
// created it, and its count only says who still uses it (~device() WARNs when somebody does).
#pragma once

#include "core/linux/printk.h"
#include "core/linux/refcount.h"

struct iommu_group;
struct dev_iommu;
struct iommu_fwspec;
struct pci_dev;

struct device {
	explicit device(struct kernel *k, const char *name = "device");
	~device();
	device(const device &) = delete;
	device &operator=(const device &) = delete;

	struct kernel *const kernel;
	char name[32];
	void *driver_data = nullptr;
	struct iommu_group *iommu_group = nullptr;
	struct dev_iommu *iommu = nullptr;
	const struct iommu_fwspec *iommu_fwspec = nullptr; // core/iommu/iommu.h
	struct pci_dev *pci = nullptr;			   // pci-ats.h; NULL: none
	struct device *parent = nullptr;
	refcount_t refs{1};
};

static inline const char *dev_name(const struct device *dev)
{
	return dev->name;
}

static inline void *dev_get_drvdata(const struct device *dev)
{
	return dev->driver_data;
}

static inline void dev_set_drvdata(struct device *dev, void *data)
{
	dev->driver_data = data;
}

static inline struct device *get_device(struct device *dev)
{
	if (dev)
		refcount_inc(&dev->refs);
	return dev;
}

static inline void put_device(struct device *dev)
{
	if (dev)
		refcount_dec(&dev->refs);
}

void dev_printk(enum log_level level, const struct device *dev, const char *fmt, ...)
	__printf(3, 4) __cold;
#define dev_err(dev, ...)  dev_printk(LOGLEVEL_ERR, dev, __VA_ARGS__)
#define dev_warn(dev, ...) dev_printk(LOGLEVEL_WARNING, dev, __VA_ARGS__)
#define dev_info(dev, ...) dev_printk(LOGLEVEL_INFO, dev, __VA_ARGS__)
#define dev_dbg(dev, ...)  dev_printk(LOGLEVEL_DEBUG, dev, __VA_ARGS__)
#define dev_err_ratelimited(dev, ...) \
	(void)(printk_ratelimit() && (dev_err(dev, __VA_ARGS__), true))
#define dev_warn_ratelimited(dev, ...) \
	(void)(printk_ratelimit() && (dev_warn(dev, __VA_ARGS__), true))
