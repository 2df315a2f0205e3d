// SPDX-License-Identifier: GPL-2.0-or-later
/* A memory file; -1 with errno as always. */
static int memfd(__u64 size, unsigned int flags)
{
	const int fd = memfd_create("repro", MFD_CLOEXEC | flags);

	if (fd < 0)
		return -1;
	if (flags)
		size = (size + 0x1fffff) & ~0x1fffffULL;
	if (ftruncate(fd, (off_t)size)) {
		close(fd);
		return -1;
	}
	return fd;
}
