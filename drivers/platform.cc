// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Machines. See platform.h.
 */
#include "drivers/platform.h"

#include "core/linux/kernel.h"
#include "drivers/selftest/selftest.h"

int platform_init_mock(struct kernel *kernel, const struct mock_machine_options *opts)
{
	return iommufd_test_init(kernel, opts);
}

void platform_exit(struct kernel *kernel)
{
	iommufd_test_exit(kernel);
}
