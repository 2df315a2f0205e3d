// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Builds a machine: puts drivers, and the models that they drive, into a kernel from a few
 * options. No kernel counterpart; it stands for firmware tables and module loading.
 */
#pragma once

#include "drivers/selftest/mock_options.h"

struct kernel;
struct machine_ops;

/*
 * The machines as core/sim_syscalls.h wants them. The options of mock_machine are a struct
 * mock_machine_options, NULL for the kernel's mock.
 */
extern const struct machine_ops mock_machine;

/*
 * A machine with the mock IOMMU: what a kernel with CONFIG_IOMMUFD_TEST is. Runs as a task of
 * @kernel (task_scope), before the first open. 0; -EINVAL: options that contradict each other;
 * -EBUSY: there is a machine already; -ENOMEM.
 */
int platform_init_mock(struct kernel *kernel, const struct mock_machine_options *opts);

/* Takes the machine apart, as a task of @kernel: every file is closed and every mapping gone.
 * Without one it does nothing. */
void platform_exit(struct kernel *kernel);
