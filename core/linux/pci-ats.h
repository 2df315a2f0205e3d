// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/pci-ats.h, Linux v7.2, and what it needs of pci.h. CUSTOMISED: a PCI device
// is its two capabilities; the control bit of ATS reaches the device through a function of whoever
// built the machine.
#pragma once

#include "core/linux/bug.h"
#include "core/linux/device.h"
#include "core/linux/errno.h"

struct pci_dev {
	bool ats_cap = false;
	bool ats_enabled = false;
	u32 max_pasids = 0; // 0: no PASID capability
	// Writes the device's ATS control register.
	void (*write_ats_ctrl)(struct pci_dev *pdev, bool enable, unsigned int stu) = nullptr;
	void *opaque = nullptr;
};

static inline bool dev_is_pci(const struct device *dev)
{
	return dev->pci;
}

static inline struct pci_dev *to_pci_dev(const struct device *dev)
{
	return dev->pci;
}

static inline bool pci_ats_supported(const struct pci_dev *pdev)
{
	return pdev->ats_cap;
}

// @ps: log2 of the smallest translation unit. -EINVAL: no capability, or a unit below 4K; on
// already is a driver's bug and -EBUSY.
[[nodiscard]] static inline int pci_enable_ats(struct pci_dev *pdev, unsigned int ps)
{
	if (!pdev->ats_cap || ps < 12)
		return -EINVAL;
	if (WARN_ON(pdev->ats_enabled))
		return -EBUSY;
	pdev->ats_enabled = true;
	if (pdev->write_ats_ctrl)
		pdev->write_ats_ctrl(pdev, true, ps);
	return 0;
}

static inline void pci_disable_ats(struct pci_dev *pdev)
{
	if (WARN_ON(!pdev->ats_enabled))
		return;
	pdev->ats_enabled = false;
	if (pdev->write_ats_ctrl)
		pdev->write_ats_ctrl(pdev, false, 0);
}
