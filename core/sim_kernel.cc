// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See sim_kernel.h. No kernel counterpart.
 */
#include "core/sim_kernel.h"

#include <algorithm>
#include <new>

#include "core/iommufd/revision.h"

sim_kernel::sim_kernel(const struct sim_options &options)
	: opts(options), kernel_(options.kernel), init_task_(&kernel_, "swapper")
{
}

result<std::shared_ptr<sim_kernel>> sim_kernel::create(const struct sim_options &opts)
{
	std::shared_ptr<sim_kernel> sim(new (std::nothrow) sim_kernel(opts));
	int rc = sim ? sim->init() : -ENOMEM;

	if (rc)
		return rc;
	return sim;
}

int sim_kernel::init()
{
	struct mm_options mm_opts = opts.mm;
	int rc;

	if (!iommufd_find_revision(opts.revision))
		return -EINVAL;
	/* So that the process can touch what it maps of the devices. */
	mm_opts.shared_ram |= opts.host_memory;
	rc = mm_init(&kernel_, mm_opts);
	if (rc)
		return rc;
	mm_up_ = true;
	if (opts.machine) {
		task_scope ts(&init_task_);

		rc = opts.machine->init(&kernel_, opts.machine_options);
		if (rc)
			return rc;
		machine_up_ = true;
	}
	run_deferred_work();
	base_slab_ = kernel_slab_live(&kernel_);
	base_mm_ = mm_get_residue(&kernel_);
	raw_guard g(&kernel_.tasks_lock);
	base_pid_ = kernel_.next_pid;
	return 0;
}

bool sim_kernel::renew()
{
	run_deferred_work();
	{
		raw_guard g(&lock_);

		zombies_.clear();
	}
	if (opts.machine && !opts.machine->renew)
		return false;
	if (kernel_warn_count(&kernel_) || !residue(0).empty())
		return false;
	if (opts.machine) {
		task_scope ts(&init_task_);

		opts.machine->renew(&kernel_);
		if (kernel_warn_count(&kernel_))
			return false;
	}
	kernel_renew(&kernel_, base_pid_);
	mm_renew(&kernel_);
	log_taken_ = 0;
	return true;
}

sim_kernel::~sim_kernel()
{
	run_deferred_work();
	task_scope ts(&init_task_);

	if (machine_up_)
		opts.machine->exit(&kernel_);
	if (mm_up_)
		mm_exit(&kernel_);
}

void sim_kernel::process_ends(std::unique_ptr<struct task_struct> leader)
{
	processes_.fetch_sub(1, std::memory_order_relaxed);
	raw_guard g(&lock_);

	std::erase_if(zombies_, [](const std::unique_ptr<struct task_struct> &task) {
		return task->usage.load(std::memory_order_acquire) == 1;
	});
	if (!leader)
		return;
	leader->mm = nullptr;
	leader->files = nullptr;
	leader->cred = &root_cred;
	zombies_.push_back(std::move(leader));
}

std::string sim_kernel::take_log()
{
	struct kernel_log *log = &kernel_.log;
	std::string text;

	raw_guard g(&log->lock);
	const size_t n = log->lines.size();

	for (size_t i = n - (size_t)std::min<u64>(n, log->total - log_taken_); i != n; i++)
		text += log->lines[(log->next + i) % n] + "\n";
	log_taken_ = log->total;
	return text;
}

std::string sim_kernel::residue(long processes)
{
	struct mm_residue mm = mm_get_residue(&kernel_);
	const long more = processes_.load(std::memory_order_relaxed) - processes;
	std::string text;
	const auto line = [&text](const char *what, long n) {
		if (n)
			text += std::string(what) + ": " + std::to_string(n) + "\n";
	};

	line("processes", more);
	line("open files", kernel_.files_open.load());
	line("mappings", (long)(mm.vmas - base_mm_.vmas));
	line("pinned pages", (long)(mm.pins - base_mm_.pins));
	line("pages", (long)(mm.pages - base_mm_.pages));
	line("address spaces", (long)(mm.mms - base_mm_.mms) - processes - more);
	line("locked memory of mms and users (pages)", mm.locked_vm);
	line("pinned memory of mms (pages)", mm.pinned_vm);
	line("references to users", mm.users);
	line("allocations", kernel_slab_live(&kernel_) - base_slab_);
	line("queued work", (long)kernel_.work_pending.load());
	return text;
}
