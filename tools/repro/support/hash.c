// SPDX-License-Identifier: GPL-2.0-or-later
/* 64-bit FNV-1a. */
static __u64 hash_of(const void *bytes, size_t n)
{
	__u64 hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ ((const __u8 *)bytes)[i]) * 0x100000001b3ULL;
	return hash;
}
