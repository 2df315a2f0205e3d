// SPDX-License-Identifier: GPL-2.0-or-later
//
// One kernel: construction, its log, its WARNs. Stands in for kernel/{printk,panic}.c and
// lib/ratelimit.c, Linux v7.2.
#include "core/linux/kernel.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "core/linux/bug.h"
#include "core/linux/lockdep_state.h"

kernel::kernel(const struct kernel_options &o)
	: opts(o), lockdep(o.lockdep ? new lockdep_state : nullptr)
{
}

void __files_exit(struct kernel *k); // file.cc

kernel::~kernel()
{
	__files_exit(this);
}

long kernel_slab_live(const struct kernel *ck)
{
	struct kernel *k = const_cast<struct kernel *>(ck);
	raw_guard g(&k->tasks_lock);
	long n = k->slab_live_gone;

	for (const struct task_struct *t : k->tasks)
		n += t->slab_live.load(std::memory_order_relaxed);
	return n;
}

void kernel_renew(struct kernel *k, int pid)
{
	{
		raw_guard g(&k->tasks_lock);

		k->next_pid = pid;
	}
	{
		raw_guard g(&k->log.lock);

		k->log.lines.clear();
		k->log.places.clear();
		k->log.next = 0;
		k->log.total = 0;
	}
	{
		raw_guard g(&k->fault.lock);

		k->fault.sites.clear();
		k->fault.last = {FAULT_TYPE_MAX, false, {}};
	}
	if (k->lockdep) {
		raw_guard g(&k->lockdep->lock);

		/* the classes stay; the orders are those of one program's locks */
		if (!k->lockdep->stories.empty())
			for (int i = 0; i != k->lockdep->nr_classes; i++)
				for (auto &word : k->lockdep->edges[i])
					word.store(0, std::memory_order_relaxed);
		k->lockdep->stories.clear();
	}
}

std::string kernel_log_text(const struct kernel *k)
{
	const struct kernel_log *log = &k->log;
	raw_guard g(&log->lock);
	size_t n = log->lines.size();
	std::string text;

	for (size_t i = 0; i < n; i++)
		text += log->lines[(log->next + i) % n] + "\n";
	return text;
}

u64 kernel_warn_count(const struct kernel *k)
{
	return k->warn_count.load(std::memory_order_relaxed);
}

static void vprintk(struct kernel *k, enum log_level level, const char *fmt, va_list ap)
{
	struct kernel_log *log = &k->log;
	char text[4096];

	if (level == LOGLEVEL_DEBUG && !k->opts.log_debug)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	size_t len = strlen(text);

	if (len && text[len - 1] == '\n')
		text[--len] = 0;
	if (k->opts.log_to_stderr)
		fprintf(stderr, "%s\n", text);
	raw_guard g(&log->lock);
	log->total++;
	if (log->lines.size() < max<size_t>(k->opts.log_lines, 1)) {
		log->lines.emplace_back(text, len);
		return;
	}
	log->lines[log->next].assign(text, len);
	log->next = (log->next + 1) % log->lines.size();
}

void kernel_printk(struct kernel *k, enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintk(k, level, fmt, ap);
	va_end(ap);
}

void printk(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintk(current->kernel, level, fmt, ap);
	va_end(ap);
}

// How often this kernel came by @where before.
static u64 count_place(struct kernel *k, const src_loc &where)
{
	struct kernel_log *log = &k->log;
	raw_guard g(&log->lock);

	for (kernel_log::place &p : log->places)
		if (p.line == where.line() && p.column == where.column() &&
		    !strcmp(p.file, where.file_name()))
			return p.count++;
	log->places.push_back({where.file_name(), where.line(), where.column(), 1});
	return 0;
}

bool kernel_printk_ratelimit(struct kernel *k, const src_loc &where)
{
	return count_place(k, where) < 10;
}

bool printk_ratelimit(const src_loc &where)
{
	return count_place(current->kernel, where) < 10;
}

void __warn_counted(struct kernel *k)
{
	k->warn_count.fetch_add(1, std::memory_order_relaxed);
	if (!k->opts.panic_on_warn)
		return;
	fprintf(stderr, "%sKernel panic: panic_on_warn set\n",
		k->opts.log_to_stderr ? "" : kernel_log_text(k).c_str());
	abort();
}

bool __warn_fmt(const src_loc &where, const char *fmt, ...)
{
	struct task_struct *t = current;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printk(LOGLEVEL_WARNING, "WARNING: %s:%u (%s), task %s/%d: %s", where.file_name(),
	       (unsigned int)where.line(), where.function_name(), t->comm, t->pid, text);
	__warn_counted(t->kernel);
	return true;
}

bool __warn(const char *cond, const src_loc &where)
{
	return __warn_fmt(where, "%s", cond);
}

bool __warn_once(const char *cond, const src_loc &where)
{
	return count_place(current->kernel, where) ? true : __warn_fmt(where, "%s", cond);
}

void __bug(const char *cond, const src_loc &where)
{
	if (current)
		fprintf(stderr, "%s", kernel_log_text(current->kernel).c_str());
	fprintf(stderr, "kernel BUG at %s:%u (%s): %s\n", where.file_name(),
		(unsigned int)where.line(), where.function_name(), cond);
	abort();
}
