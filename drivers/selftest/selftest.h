// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The mock IOMMU and IOMMU_TEST_CMD. Mirrors what drivers/iommu/iommufd/iommufd_private.h declares
 * of selftest.c, Linux v7.2. Differs: nothing is global. One struct iommufd_selftest hangs on a
 * kernel's iommufd_test pointer, and the machine has one of the shapes of mock_options.h.
 */
#pragma once

#include "drivers/selftest/mock_options.h"

struct kernel;

/*
 * Plugs the mock IOMMUs into @kernel and makes IOMMU_TEST_CMD answer. Before the first open. Runs
 * as a task of the kernel. 0; -EINVAL: options that contradict each other; -EBUSY: plugged in
 * already; -ENOMEM. Compare iommufd_test_init.
 */
int iommufd_test_init(struct kernel *kernel, const struct mock_machine_options *opts);

/* Takes them away again. Every file is closed. Does nothing without a mock.
 * Compare iommufd_test_exit. */
void iommufd_test_exit(struct kernel *kernel);
/* As after iommufd_test_init(). WARNs about what a program has left. No kernel counterpart. */
void iommufd_test_renew(struct kernel *kernel);
