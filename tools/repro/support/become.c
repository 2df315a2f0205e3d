// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The limit of locked memory, in bytes, and without privilege no capability but the one to open
 * files. The user stays: it is whoever starts the program.
 */
static void become(unsigned long memlock, int privileged)
{
	const struct rlimit limit = {memlock, memlock};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	/* Privileged processes may lock as much as they like. */
	if (memlock != ~0UL && setrlimit(RLIMIT_MEMLOCK, &limit) && !privileged) {
		printf("# SKIP RLIMIT_MEMLOCK of %lu: %s\n", memlock, strerror(errno));
		exit(4);
	}
	if (privileged)
		return;
	syscall(SYS_capget, &header, data);
	data[0].effective &= 1U << CAP_DAC_OVERRIDE;
	data[1].effective = 0;
	if (syscall(SYS_capset, &header, data)) {
		perror("capset");
		exit(2);
	}
}
