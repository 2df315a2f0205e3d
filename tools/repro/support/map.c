// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmap() of a file, with some room on both sides where it is the kernel that chooses the place:
 * what the program does there by its own addresses is nobody else's memory.
 */
static long map(__u64 addr, __u64 length, int prot, int flags, int fd, __u64 offset)
{
	const __u64 room = 1UL << 20;
	void *around;

	if (addr == 0 && !(flags & MAP_FIXED) && length < 1UL << 40) {
		around = mmap(NULL, length + 2 * room, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (around != MAP_FAILED) {
			addr = (__u64)(uintptr_t)around + room;
			flags |= MAP_FIXED;
		}
	}
	return (long)mmap(at(addr), length, prot, flags, fd, (off_t)offset);
}
