// SPDX-License-Identifier: GPL-2.0-or-later
//
// Devices. Stands in for drivers/base/core.c, Linux v7.2.
#include "core/linux/device.h"

#include <cstdarg>
#include <cstdio>

#include "core/linux/bug.h"

device::device(struct kernel *k, const char *n) : kernel(k)
{
	snprintf(name, sizeof(name), "%s", n);
}

device::~device()
{
	unsigned int n = refcount_read(&refs);

	if (n == 1)
		return;
	kernel_printk(kernel, LOGLEVEL_ERR, "WARNING: device %s ends with %u references", name,
		      n - 1);
	__warn_counted(kernel);
}

void dev_printk(enum log_level level, const struct device *dev, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kernel_printk(dev->kernel, level, "%s: %s", dev->name, text);
}
