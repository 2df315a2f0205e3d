// SPDX-License-Identifier: GPL-2.0-or-later
//
// Memory-mapped registers. Stands in for the architecture's io.h and the bus behind it.
#include "core/linux/io.h"

#include <algorithm>

#include "core/linux/bug.h"

int mmio_register(struct kernel *k, struct mmio_region *region)
{
	raw_guard g(&k->mmio_lock);

	for (const struct mmio_region *r : k->mmio)
		if (region->phys < r->phys + r->size && r->phys < region->phys + region->size)
			return -EBUSY;
	region->kernel = k;
	k->mmio.push_back(region);
	return 0;
}

void mmio_unregister(struct kernel *k, struct mmio_region *region)
{
	raw_guard g(&k->mmio_lock);

	k->mmio.erase(std::remove(k->mmio.begin(), k->mmio.end(), region), k->mmio.end());
	region->kernel = nullptr;
}

struct mmio_region *mmio_find(struct kernel *k, phys_addr_t phys)
{
	raw_guard g(&k->mmio_lock);

	for (struct mmio_region *r : k->mmio)
		if (phys >= r->phys && phys - r->phys < r->size)
			return r;
	return nullptr;
}

static void unknown_access(struct kernel *k, const char *what, const char *name, u64 off,
			   unsigned int size)
{
	if (kernel_printk_ratelimit(k))
		kernel_printk(k, LOGLEVEL_WARNING,
			      "mmio: %s: no register: %s of %u bytes at 0x%llx", name, what, size,
			      (unsigned long long)off);
}

static bool in_region(const struct mmio_region *r, u64 off, unsigned int size)
{
	return (size == 4 || size == 8) && IS_ALIGNED(off, size) && off < r->size &&
	       size <= r->size - off;
}

static bool region_read(struct mmio_region *r, u64 off, unsigned int size, u64 *val)
{
	*val = size == 8 ? ~0ULL : 0xffffffffULL;
	if (in_region(r, off, size)) {
		if (!r->ops) {
			u8 *p = static_cast<u8 *>(r->mem) + off;

			*val = size == 8 ? __atomic_load_n((u64 *)(void *)p, __ATOMIC_ACQUIRE)
					 : __atomic_load_n((u32 *)(void *)p, __ATOMIC_ACQUIRE);
			return true;
		}
		u64 v = 0;

		if (r->ops->read && r->ops->read(r->opaque, off, size, &v)) {
			*val = size == 8 ? v : (u32)v;
			return true;
		}
	}
	unknown_access(r->kernel ? r->kernel : current->kernel, "read", r->name, off, size);
	return false;
}

static bool region_write(struct mmio_region *r, u64 off, unsigned int size, u64 val)
{
	if (in_region(r, off, size)) {
		if (!r->ops) {
			u8 *p = static_cast<u8 *>(r->mem) + off;

			if (size == 8)
				__atomic_store_n((u64 *)(void *)p, val, __ATOMIC_RELEASE);
			else
				__atomic_store_n((u32 *)(void *)p, (u32)val, __ATOMIC_RELEASE);
			return true;
		}
		if (r->ops->write && r->ops->write(r->opaque, off, size, val))
			return true;
	}
	unknown_access(r->kernel ? r->kernel : current->kernel, "write", r->name, off, size);
	return false;
}

bool mmio_read(struct kernel *k, phys_addr_t phys, unsigned int size, u64 *val)
{
	struct mmio_region *r = mmio_find(k, phys);

	if (r)
		return region_read(r, phys - r->phys, size, val);
	*val = size == 8 ? ~0ULL : 0xffffffffULL;
	unknown_access(k, "read", "bus", phys, size);
	return false;
}

bool mmio_write(struct kernel *k, phys_addr_t phys, unsigned int size, u64 val)
{
	struct mmio_region *r = mmio_find(k, phys);

	if (r)
		return region_write(r, phys - r->phys, size, val);
	unknown_access(k, "write", "bus", phys, size);
	return false;
}

phys_addr_t mmio_ram(struct kernel *k, phys_addr_t phys)
{
	const struct mmio_region *r = mmio_find(k, phys);

	return r && r->ops && r->ops->ram ? r->ops->ram(r->opaque, phys - r->phys) : 0;
}

iomem ioremap(phys_addr_t phys, size_t size)
{
	struct mmio_region *r = mmio_find(current->kernel, phys);

	if (!r || !size || size > r->size - (phys - r->phys))
		return {};
	return {r, phys - r->phys};
}

u64 __mmio_read(iomem addr, unsigned int size)
{
	u64 val = ~0ULL;

	sched_point();
	if (addr.region)
		region_read(addr.region, addr.off, size, &val);
	else
		unknown_access(current->kernel, "read", "null", addr.off, size);
	return val;
}

void __mmio_write(iomem addr, unsigned int size, u64 val)
{
	sched_point();
	if (addr.region)
		region_write(addr.region, addr.off, size, val);
	else
		unknown_access(current->kernel, "write", "null", addr.off, size);
}
