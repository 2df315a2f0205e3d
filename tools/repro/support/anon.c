// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory between two pages that nobody may touch, so that what lies beyond it is always a fault. At
 * `addr` where that is not 0.
 */
static __u64 anon(__u64 size, __u64 align, __u64 addr, int prot, int flags)
{
	const int rest = MAP_ANONYMOUS | ((flags & MAP_SHARED) ? 0 : MAP_PRIVATE);
	void *memory;
	__u64 room;

	if (align < PAGE)
		align = PAGE;
	if (addr == 0) {
		room = size + align + 2 * PAGE;
		if (room < size) {
			errno = ENOMEM;
			return -1;
		}
		memory = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			      -1, 0);
		if (memory == MAP_FAILED)
			return -1;
		addr = ((__u64)(uintptr_t)memory + PAGE + align - 1) & ~(align - 1);
	}
	memory = mmap(at(addr), size, prot, rest | flags | MAP_FIXED, -1, 0);
	return memory == MAP_FAILED ? -1UL : (__u64)(uintptr_t)memory;
}
