// SPDX-License-Identifier: GPL-2.0-or-later
//
// fail_nth. Mirrors that part of lib/fault-inject.c, Linux v7.2.
#include "core/linux/fault-inject.h"

#include <cstdio>
#include <cstring>

#include "core/linux/kernel.h"

static constexpr size_t MAX_SITES = 65536;

const char *fault_type_name(enum fault_type type)
{
	switch (type) {
	case FAULT_SLAB:
		return "slab";
	case FAULT_PAGE_ALLOC:
		return "page_alloc";
	case FAULT_USERCOPY:
		return "usercopy";
	case FAULT_IOMMUFD:
		return "iommufd";
	case FAULT_TYPE_MAX:
		break;
	}
	return "none";
}

void fault_site_format(const struct fault_site &site, char *buf, size_t size)
{
	const char *file = site.where.file_name(), *slash = strrchr(file, '/');

	snprintf(buf, size, "%s at %s:%u (%s)", fault_type_name(site.type),
		 slash ? slash + 1 : file, (unsigned int)site.where.line(),
		 site.where.function_name());
}

static void set_instrument(struct task_struct *task)
{
	if (task->fail_nth || task->kernel->fault.trace)
		task->instrument |= TASK_FAULT;
	else
		task->instrument &= ~(u32)TASK_FAULT;
}

void fail_nth_write(struct task_struct *task, u32 nth)
{
	task->fail_nth = nth;
	set_instrument(task);
}

void fault_trace(struct kernel *k, bool on)
{
	k->fault.trace = on;
	{
		raw_guard g(&k->fault.lock);
		k->fault.sites.clear();
	}
	raw_guard g(&k->tasks_lock);
	for (struct task_struct *t : k->tasks)
		set_instrument(t);
}

std::vector<struct fault_site> fault_trace_take(struct kernel *k)
{
	raw_guard g(&k->fault.lock);

	return std::exchange(k->fault.sites, {});
}

bool __should_fail(enum fault_type type, const src_loc &where)
{
	struct task_struct *t = current;
	struct fault_state *fault = &t->kernel->fault;
	bool failed = false;

	if (!(fault->types & (1u << type)))
		return false;
	if (t->fail_nth && !--t->fail_nth) {
		failed = true;
		set_instrument(t);
	}
	if (!failed && !fault->trace)
		return false;
	raw_guard g(&fault->lock);
	if (failed)
		fault->last = {type, true, where};
	if (fault->trace && fault->sites.size() < MAX_SITES)
		fault->sites.push_back({type, failed, where});
	return failed;
}
