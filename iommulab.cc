// SPDX-License-Identifier: GPL-2.0-or-later
#include "iommulab.h"

#include "core/linux/sched.h"

result<std::unique_ptr<sim_syscalls>> iommulab_create(const std::string &form)
{
	struct sim_options opts;

	opts.kernel.panic_on_warn = false;
	opts.host_memory = true;
	opts.revision = form;
	opts.machine = &mock_machine;
	return sim_syscalls::create(opts);
}

int iommulab_snapshot(sim_syscalls &process, int fd, struct iommufd_snapshot *out)
{
	struct task_struct *task = process.task();

	if (!task)
		return -ENOMEM;
	task_scope as(task);
	return iommufd_snapshot_fd(fd, out);
}
