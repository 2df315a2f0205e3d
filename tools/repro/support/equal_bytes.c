// SPDX-License-Identifier: GPL-2.0-or-later
static int equal_bytes(const char *expected, const void *got, size_t n, int same, const char *bytes,
		       size_t n_bytes)
{
	if ((n == n_bytes && memcmp(got, bytes, n) == 0) == same)
		return 1;
	printf("line %d: %s: expected %s, came", line, text, expected);
	for (size_t i = 0; i < n && i < 64; i++)
		printf(" %02x", ((const __u8 *)got)[i]);
	printf("%s\n", n > 64 ? " ..." : "");
	fflush(stdout);
	return 0;
}
