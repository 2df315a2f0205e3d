// SPDX-License-Identifier: GPL-2.0-or-later
static int equals(const char *expected, __u64 got, int same, __u64 value)
{
	if ((got == value) == same)
		return 1;
	printf("line %d: %s: expected %s, came 0x%llx\n", line, text, expected,
	       (unsigned long long)got);
	fflush(stdout);
	return 0;
}
