// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Zeroed memory for the rest of the call, with zeros behind it and then a fault: for what the
 * program says is longer than it is.
 */
static void *place(__u64 bytes)
{
	const __u64 room = (bytes + 65536 + PAGE - 1) & ~(PAGE - 1);
	__u8 *memory = mmap(NULL, room + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || mprotect(memory, room, PROT_READ | PROT_WRITE)) {
		perror("mmap");
		exit(2);
	}
	return memory;
}
