// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The Tegra241 machine of platform.h: SMMUs with their CMDQVs and devices that do DMA, each a model
 *and the driver that drives it. No kernel counterpart; what it tells the drivers is what firmware
 *tables would.
 *
 *	0x10000000 + n * 0x04000000	SMMU n: registers, two pages of 64K
 *	0x10200000 + n * 0x04000000	its CMDQV, where it has one
 *	0x08000000 + n * 0x00010000	device n: BAR 0
 *
 * Interrupt lines of SMMU n: from 32 + n * 8 on. Stream ids of device n: from 8 * (n + 1) on.
 */
#include "drivers/platform/platform.h"

#include <cstdio>
#include <thread>

#include "core/linux/interrupt.h"
#include "core/linux/kernel.h"
#include "core/linux/pci-ats.h"
#include "core/linux/slab.h"
#include "core/sim_syscalls.h"
#include "drivers/arm-smmu-v3/arm-smmu-v3.h"
#include "drivers/hw/dma-testdev.h"
#include "drivers/hw/tegra241-cmdqv-hw.h"
#include "drivers/platform/tegra241.h"
#include "drivers/platform/tegra241_options.h"
#include "drivers/vfio/vfio.h"

#define SMMU_BASE(n)  (0x10000000UL + (n) * 0x04000000UL)
#define CMDQV_BASE(n) (SMMU_BASE(n) + 0x00200000UL)
#define BAR_BASE(n)   (0x08000000UL + (n) * 0x00010000UL)
#define IRQ_BASE(n)   (32 + (n) * 8)
#define SID_BASE(n)   (8 * ((n) + 1))

static_assert(TEGRA241_MACHINE_STREAMS_MAX <= 8);

struct tegra241_machine_smmu {
	explicit tegra241_machine_smmu(struct kernel *k)
		: dev(k, "arm-smmu-v3"), cmdqv_dev(k, "tegra241-cmdqv")
	{
	}

	struct device dev, cmdqv_dev;
	struct smmuv3_hw *hw = nullptr;
	struct tegra241_cmdqv_hw *cmdqv_hw = nullptr;
	struct arm_smmu_device *smmu = nullptr;
	std::thread thread; /* free-running */
	std::atomic<bool> stop{false};
};

struct tegra241_machine_device {
	explicit tegra241_machine_device(struct kernel *k) : dev(k) {}

	struct device dev;
	struct pci_dev pci;
	struct iommu_fwspec fwspec;
	u32 ids[TEGRA241_MACHINE_STREAMS_MAX] = {};
	struct dma_testdev *hw = nullptr;
	struct vfio_device vfio;
	bool probed = false, registered = false;
};

struct tegra241_machine {
	struct tegra241_machine_options opts;
	struct tegra241_machine_smmu *smmus[TEGRA241_MACHINE_SMMUS_MAX] = {};
	struct tegra241_machine_device *devices[TEGRA241_MACHINE_DEVICES_MAX] = {};
};

static struct tegra241_machine *kernel_tegra241(struct kernel *kernel)
{
	return static_cast<struct tegra241_machine *>(kernel->platform);
}

/* kernel::idle of the stepped mode. */
static bool tegra241_idle(struct kernel *kernel)
{
	bool moved = false;

	for (struct tegra241_machine_smmu *s : kernel_tegra241(kernel)->smmus)
		if (s && s->hw)
			moved |= smmuv3_hw_step(s->hw);
	return moved;
}

/*
 * kernel::idle of the free-running mode. Who polls for the hardware counts its looks and no time:
 * without this a thread of the hardware's that gets no processor would be hardware that is stuck.
 */
static bool tegra241_wait(struct kernel *)
{
	std::this_thread::yield();
	return true;
}

static enum hw_mode tegra241_hw_mode(enum tegra241_mode mode)
{
	switch (mode) {
	case TEGRA241_STEPPED:
		return HW_STEPPED;
	case TEGRA241_FREE_RUNNING:
		return HW_FREE_RUNNING;
	default:
		return HW_EAGER;
	}
}

/* ---- SMMUs ---- */

static int tegra241_create_smmu_hw(struct kernel *kernel, struct tegra241_machine_smmu *s,
				   unsigned int n, const struct tegra241_machine_options *opts)
{
	struct smmuv3_hw_config config;
	struct tegra241_cmdqv_hw_config cmdqv_config;

	config.kernel = kernel;
	config.phys = SMMU_BASE(n);
	config.mode = tegra241_hw_mode(opts->mode);
	config.s1p = opts->s1;
	config.s2p = opts->s2;
	config.ats = opts->ats;
	config.cmdqs = (u8)ilog2(opts->cmdq_entries);
	config.eventqs = (u8)ilog2(opts->evtq_entries);
	for (unsigned int i = 0; i < SMMUV3_NR_IRQS; i++)
		config.irqs[i] = IRQ_BASE(n) + i;
	config.raise = irq_raise;

	auto hw = smmuv3_hw_create(&config);

	if (!hw)
		return hw.error();
	s->hw = *hw;
	if (!opts->cmdqv)
		return 0;

	cmdqv_config.phys = CMDQV_BASE(n);
	cmdqv_config.num_vintfs_log2 = (u8)ilog2(opts->vintfs);
	cmdqv_config.num_vcmdqs_log2 = (u8)ilog2(opts->vintfs * opts->lvcmdqs);
	cmdqv_config.num_sids_log2 = (u8)ilog2(opts->sids);

	auto cmdqv = tegra241_cmdqv_hw_create(s->hw, &cmdqv_config);

	if (!cmdqv)
		return cmdqv.error();
	s->cmdqv_hw = *cmdqv;
	return 0;
}

static int tegra241_create_smmu(struct kernel *kernel, struct tegra241_machine_smmu *s,
				unsigned int n, const struct tegra241_machine_options *opts)
{
	struct arm_smmu_platform pdata;

	snprintf(s->dev.name, sizeof(s->dev.name), "arm-smmu-v3.%u", n);
	snprintf(s->cmdqv_dev.name, sizeof(s->cmdqv_dev.name), "tegra241-cmdqv.%u", n);
	if (int rc = tegra241_create_smmu_hw(kernel, s, n, opts))
		return rc;
	if (opts->mode == TEGRA241_FREE_RUNNING)
		s->thread = std::thread(smmuv3_hw_run, s->hw, &s->stop);

	pdata.base = SMMU_BASE(n);
	pdata.evtq_irq = IRQ_BASE(n) + SMMUV3_IRQ_EVENTQ;
	pdata.priq_irq = IRQ_BASE(n) + SMMUV3_IRQ_PRIQ;
	pdata.gerr_irq = IRQ_BASE(n) + SMMUV3_IRQ_GERROR;
	if (s->cmdqv_hw) {
		pdata.cmdqv_dev = &s->cmdqv_dev;
		pdata.cmdqv_base = CMDQV_BASE(n);
		pdata.cmdqv_size = tegra241_cmdqv_hw_size((u8)ilog2(opts->vintfs));
		pdata.cmdqv_irq = IRQ_BASE(n) + SMMUV3_IRQ_CMDQV;
	}

	auto smmu = arm_smmu_device_probe(&s->dev, &pdata);

	if (!smmu)
		return smmu.error();
	s->smmu = *smmu;
	return 0;
}

static void tegra241_destroy_smmu(struct tegra241_machine_smmu *s)
{
	/* the driver's last commands want hardware that runs */
	if (s->smmu)
		arm_smmu_device_remove(s->smmu);
	if (s->thread.joinable()) {
		s->stop.store(true, std::memory_order_release);
		s->thread.join();
	}
	if (s->cmdqv_hw)
		tegra241_cmdqv_hw_destroy(s->cmdqv_hw);
	smmuv3_hw_destroy(s->hw);
	kfree_obj(s);
}

/* ---- devices ---- */

static void tegra241_device_reset(struct vfio_device *vfio)
{
	dma_testdev_reset(static_cast<struct dma_testdev *>(vfio->opaque));
}

static int tegra241_create_device(struct tegra241_machine_smmu *s,
				  struct tegra241_machine_device *d, unsigned int n,
				  const struct tegra241_machine_options *opts)
{
	struct dma_testdev_config config;

	snprintf(d->dev.name, sizeof(d->dev.name), "dma-testdev.%u", n);
	config.phys = BAR_BASE(n);
	config.sid = SID_BASE(n);

	auto hw = dma_testdev_create(s->hw, &config);

	if (!hw)
		return hw.error();
	d->hw = *hw;

	for (unsigned int i = 0; i < opts->nr_stream_ids; i++)
		d->ids[i] = SID_BASE(n) + i;
	d->fwspec.ids = d->ids;
	d->fwspec.num_ids = opts->nr_stream_ids;
	d->fwspec.flags = (opts->ats ? IOMMU_FWSPEC_PCI_RC_ATS : 0) |
			  (opts->coherent ? IOMMU_FWSPEC_PCI_RC_CANWBS : 0) |
			  (opts->can_stall ? IOMMU_FWSPEC_DMA_CAN_STALL : 0);
	d->dev.iommu_fwspec = &d->fwspec;
	d->pci.ats_cap = opts->ats;
	d->pci.max_pasids = opts->pasid_bits ? 1u << opts->pasid_bits : 0;
	d->dev.pci = &d->pci;

	if (int rc = iommu_probe_device(&d->dev, s->smmu))
		return rc;
	d->probed = true;

	d->vfio.dev = &d->dev;
	d->vfio.bar = BAR_BASE(n);
	d->vfio.bar_size = DMA_TESTDEV_REGION_SIZE;
	d->vfio.reset = tegra241_device_reset;
	d->vfio.opaque = d->hw;
	if (int rc = vfio_register_device(&d->vfio, n))
		return rc;
	d->registered = true;
	return 0;
}

static void tegra241_destroy_device(struct tegra241_machine_device *d)
{
	if (d->registered)
		vfio_unregister_device(&d->vfio);
	if (d->probed)
		iommu_release_device(&d->dev);
	if (d->hw)
		dma_testdev_destroy(d->hw);
	kfree_obj(d);
}

/* ---- the machine ---- */

static void tegra241_destroy(struct kernel *kernel, struct tegra241_machine *m)
{
	for (struct tegra241_machine_device *d : m->devices)
		if (d)
			tegra241_destroy_device(d);
	/*
	 * While an SMMU's driver takes its leave, kernel::idle steps what the machine lists: that SMMU
	 * still, one that has gone before it no more.
	 */
	for (struct tegra241_machine_smmu *&s : m->smmus) {
		if (!s)
			continue;
		tegra241_destroy_smmu(s);
		s = nullptr;
	}
	kernel->idle = nullptr;
	kernel->platform = nullptr;
	kfree_obj(m);
}

static int tegra241_create(struct kernel *kernel, struct tegra241_machine *m)
{
	const struct tegra241_machine_options *opts = &m->opts;

	for (unsigned int n = 0; n < opts->nr_smmus; n++) {
		m->smmus[n] = kzalloc_obj<struct tegra241_machine_smmu>(kernel);
		if (!m->smmus[n])
			return -ENOMEM;
		if (int rc = tegra241_create_smmu(kernel, m->smmus[n], n, opts))
			return rc;
	}
	for (unsigned int n = 0; n < opts->nr_devices; n++) {
		m->devices[n] = kzalloc_obj<struct tegra241_machine_device>(kernel);
		if (!m->devices[n])
			return -ENOMEM;
		if (int rc = tegra241_create_device(m->smmus[n % opts->nr_smmus], m->devices[n], n,
						    opts))
			return rc;
	}
	return 0;
}

int platform_init_tegra241(struct kernel *kernel, const struct tegra241_machine_options *opts)
{
	if (kernel->platform)
		return -EBUSY;
	if (!opts->s1 && !opts->s2)
		return -EINVAL;
	if (opts->cmdqv && (opts->vintfs < 1 || opts->vintfs * opts->lvcmdqs > 128))
		return -EINVAL;

	auto *m = kzalloc_obj<struct tegra241_machine>();

	if (!m)
		return -ENOMEM;
	m->opts = *opts;
	kernel->platform = m;
	if (opts->mode == TEGRA241_STEPPED)
		kernel->idle = tegra241_idle;
	else if (opts->mode == TEGRA241_FREE_RUNNING)
		kernel->idle = tegra241_wait;

	int rc = tegra241_create(kernel, m);

	if (rc)
		tegra241_destroy(kernel, m);
	return rc;
}

void platform_exit_tegra241(struct kernel *kernel)
{
	if (kernel->platform)
		tegra241_destroy(kernel, kernel_tegra241(kernel));
}

bool platform_step(struct kernel *kernel)
{
	bool moved = false;

	if (kernel->platform)
		for (struct tegra241_machine_smmu *s : kernel_tegra241(kernel)->smmus)
			moved |= s && smmuv3_hw_step(s->hw);
	return moved;
}

static int tegra241_machine_init(struct kernel *kernel, const void *options)
{
	static const struct tegra241_machine_options defaults;

	return platform_init_tegra241(
		kernel, options ? static_cast<const struct tegra241_machine_options *>(options)
				: &defaults);
}

const struct machine_ops tegra241_machine = {
	.init = tegra241_machine_init,
	.exit = platform_exit,
	.renew = nullptr, /* registers, queues and caches keep what was in them */
};
