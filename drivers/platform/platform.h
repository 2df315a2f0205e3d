// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Builds a machine: puts drivers, and the models that they drive, into a kernel from a few
 * options. No kernel counterpart; it stands for firmware tables and module loading.
 */
#pragma once

#include "drivers/selftest/mock_options.h"
#include "drivers/platform/tegra241_options.h"

struct kernel;
struct machine_desc;
struct machine_ops;

/*
 * The machines as core/sim_syscalls.h wants them. The options of mock_machine are a struct
 * mock_machine_options, NULL for the kernel's mock; those of tegra241_machine a struct
 * tegra241_machine_options, NULL for the defaults.
 */
extern const struct machine_ops mock_machine;
extern const struct machine_ops tegra241_machine;

/* A machine: what it can be asked for, and how it is made. */
struct machine {
	const struct machine_desc *desc = nullptr;
	const struct machine_ops *ops = nullptr;
	/* Why it cannot serve the memory of other processes of the host. NULL: it can. */
	const char *not_for_clients = nullptr;
};

/* Every machine; ends with a NULL desc. The first is that of who names none. */
extern const struct machine machines[];

/*
 * A machine with the mock IOMMU: what a kernel with CONFIG_IOMMUFD_TEST is. Runs as a task of
 * @kernel (task_scope), before the first open. 0; -EINVAL: options that contradict each other;
 * -EBUSY: there is a machine already; -ENOMEM.
 */
int platform_init_mock(struct kernel *kernel, const struct mock_machine_options *opts);

/*
 * A machine with SMMUv3s, the CMDQ-V of Tegra241 and devices that do DMA, which are opened as
 * /dev/vfio/devices/vfio<n>. Runs as the one above. 0; -EINVAL, -EBUSY, -ENOMEM as above; what a
 * driver says of its hardware. With TEGRA241_FREE_RUNNING it has a thread of its own for each SMMU,
 * until the machine is taken apart.
 */
int platform_init_tegra241(struct kernel *kernel, const struct tegra241_machine_options *opts);

/* Lets the hardware of the stepped mode do one command of each queue. False: there was none. Not
 * under a lock of the kernel's. */
bool platform_step(struct kernel *kernel);

/* Takes the machine apart, as a task of @kernel: every file is closed and every mapping gone.
 * Without one it does nothing. */
void platform_exit(struct kernel *kernel);
