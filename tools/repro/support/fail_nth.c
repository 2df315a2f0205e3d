// SPDX-License-Identifier: GPL-2.0-or-later
/* The n-th failure that can be injected from here on happens. */
static void set_fail_nth(unsigned int n)
{
	char path[64], number[16];
	int fd, length;

	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", (int)syscall(SYS_gettid));
	fd = open(path, O_RDWR | O_CLOEXEC);
	length = snprintf(number, sizeof(number), "%u", n);
	if (fd < 0 || write(fd, number, length) != length)
		lacks("a kernel with CONFIG_FAULT_INJECTION is needed");
	if (fd >= 0)
		close(fd);
}
