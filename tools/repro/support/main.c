// SPDX-License-Identifier: GPL-2.0-or-later
/* Exits with 4, which kselftest takes for skipped, where this kernel cannot run the program at all.
 */
__attribute__((unused)) static void need(const char *path, int probe)
{
	const int fd = open(path, O_RDWR | O_CLOEXEC);

	if (sysconf(_SC_PAGESIZE) != (long)PAGE) {
		printf("# SKIP pages of %lu bytes are needed\n", PAGE);
		exit(4);
	}
	if (fd < 0) {
		printf("# SKIP %s: %s\n", path, strerror(errno));
		exit(4);
	}
	if (probe && ioctl(fd, probe, NULL) && errno == ENOTTY) {
		printf("# SKIP this kernel has no mock IOMMU (CONFIG_IOMMUFD_TEST)\n");
		exit(4);
	}
	close(fd);
}

static int end(void)
{
	printf("%d calls, %d as expected\n", counts->calls, counts->as_expected);
	if (counts->lacks)
		return 4;
	return counts->as_expected == counts->calls ? 0 : 1;
}
