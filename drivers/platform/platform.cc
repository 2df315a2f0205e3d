// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Machines: see platform.h. No kernel counterpart.
 */
#include "drivers/platform/platform.h"

#include "core/linux/kernel.h"
#include "core/sim_syscalls.h"
#include "drivers/platform/machine_options.h"
#include "drivers/selftest/selftest.h"
#include "drivers/platform/tegra241.h"

int platform_init_mock(struct kernel *kernel, const struct mock_machine_options *opts)
{
	return iommufd_test_init(kernel, opts);
}

void platform_exit(struct kernel *kernel)
{
	platform_exit_tegra241(kernel);
	iommufd_test_exit(kernel);
}

static int mock_machine_init(struct kernel *kernel, const void *options)
{
	static const struct mock_machine_options defaults;

	return platform_init_mock(
		kernel,
		options ? static_cast<const struct mock_machine_options *>(options) : &defaults);
}

const struct machine_ops mock_machine = {
	.init = mock_machine_init,
	.exit = platform_exit,
	.renew = iommufd_test_renew,
};

const struct machine machines[] = {
	{
		.desc = &mock_machine_desc,
		.ops = &mock_machine,
	},
	{
		.desc = &tegra241_machine_desc,
		.ops = &tegra241_machine,
		.not_for_clients = "its SMMU addresses 48 bits, and the physical addresses of a "
				   "client's memory are larger",
	},
	{},
};
