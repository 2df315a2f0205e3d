// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/{io,iopoll}.h, Linux v7.2. CUSTOMISED: `void __iomem *` is the type iomem,
// a place in a registered region that is either plain memory or a model's callbacks. An access
// outside of any region, misaligned or that the model does not know is an event in the log
// (ratelimited) and reads as all ones; it is never an assert. The _relaxed forms are the same.
#pragma once

#include "core/linux/kernel.h"

// A model's side. @off in bytes from the region's start, @size 4 or 8, aligned, inside the region.
// False: no such register.
struct mmio_ops {
	bool (*read)(void *opaque, u64 off, unsigned int size, u64 *val);
	bool (*write)(void *opaque, u64 off, unsigned int size, u64 val);
	// Optional. The physical address in RAM of memory that stands for the page of @off: who
	// maps it in another process sees the registers there. 0: none, it must be trapped.
	phys_addr_t (*ram)(void *opaque, u64 off) = nullptr;
};

struct mmio_region {
	const char *name = "mmio";
	phys_addr_t phys = 0;
	u64 size = 0;
	const struct mmio_ops *ops = nullptr; // NULL: plain memory
	void *opaque = nullptr;
	void *mem = nullptr;		 // with plain memory: 8-aligned, @size bytes
	struct kernel *kernel = nullptr; // while registered
};

// @region stays the caller's and lives until it is unregistered. 0, or -EBUSY when it overlaps
// another.
[[nodiscard]] int mmio_register(struct kernel *k, struct mmio_region *region);
void mmio_unregister(struct kernel *k, struct mmio_region *region);
// The region that holds @phys, or NULL.
struct mmio_region *mmio_find(struct kernel *k, phys_addr_t phys);
// Accesses by physical address, for user mappings of registers. False (and all ones) when nothing
// answers.
bool mmio_read(struct kernel *k, phys_addr_t phys, unsigned int size, u64 *val);
bool mmio_write(struct kernel *k, phys_addr_t phys, unsigned int size, u64 val);
// What mmio_ops::ram says of @phys; 0 for all else.
phys_addr_t mmio_ram(struct kernel *k, phys_addr_t phys);

struct iomem {
	struct mmio_region *region = nullptr;
	u64 off = 0;

	explicit operator bool() const { return region; }
	iomem operator+(u64 n) const { return {region, off + n}; }
	bool operator==(const iomem &) const = default;
};

// A null iomem when no region holds all of it. Compare ioremap().
iomem ioremap(phys_addr_t phys, size_t size);

u64 __mmio_read(iomem addr, unsigned int size);
void __mmio_write(iomem addr, unsigned int size, u64 val);

static inline u32 readl(iomem a)
{
	return (u32)__mmio_read(a, 4);
}
static inline u64 readq(iomem a)
{
	return __mmio_read(a, 8);
}
static inline void writel(u32 v, iomem a)
{
	__mmio_write(a, 4, v);
}
static inline void writeq(u64 v, iomem a)
{
	__mmio_write(a, 8, v);
}
static inline u32 readl_relaxed(iomem a)
{
	return readl(a);
}
static inline u64 readq_relaxed(iomem a)
{
	return readq(a);
}
static inline void writel_relaxed(u32 v, iomem a)
{
	writel(v, a);
}
static inline void writeq_relaxed(u64 v, iomem a)
{
	writeq(v, a);
}

// The time of a polling loop: its looks, there is no clock.
struct poll_clock {
	u64 now = 0;
	unsigned int still = 0;

	// A look of @us has passed. While hardware that this thread steps stands still, a look
	// stands for more and more time: only another thread could end the wait.
	void look(u64 us)
	{
		still = cpu_relax() ? 0 : still + 1;
		now += (us ? us : 1) << min(still / 32, 12u);
	}
};

// Evaluates to 0, or -ETIMEDOUT when @cond stays false for @timeout_us of @sleep_us each. Models
// step in between.
#define read_poll_timeout(op, val, cond, sleep_us, timeout_us, ...)        \
	([&]() -> int {                                                    \
		for (struct poll_clock __clock;; __clock.look(sleep_us)) { \
			(val) = op(__VA_ARGS__);                           \
			if (cond)                                          \
				return 0;                                  \
			if (__clock.now >= (u64)(timeout_us))              \
				return -ETIMEDOUT;                         \
		}                                                          \
	}())
#define readl_poll_timeout(addr, val, cond, sleep_us, timeout_us) \
	read_poll_timeout(readl, val, cond, sleep_us, timeout_us, addr)
#define readl_relaxed_poll_timeout(addr, val, cond, sleep_us, timeout_us) \
	read_poll_timeout(readl, val, cond, sleep_us, timeout_us, addr)
#define readq_poll_timeout(addr, val, cond, sleep_us, timeout_us) \
	read_poll_timeout(readq, val, cond, sleep_us, timeout_us, addr)
