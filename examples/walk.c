/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A walk along the vIOMMU side of /dev/iommu, on the mock IOMMU: what a virtual machine monitor
 * does to give its guest a part of the IOMMU. An ordinary program: it knows only the kernel's
 * header, and runs on a kernel with CONFIG_IOMMUFD_TEST as it does under `./lab client`.
 *
 *   cc -I. -o walk examples/walk.c
 *   ./lab client --uapi=vcmdq-v2 -- ./walk vcmdq-v2
 *   ./lab client --uapi=hw-queue -- ./walk hw-queue
 *
 * Prints what it does, a line each; ends with 0 when everything was as expected.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"

#define QUEUE_IOVA 0x1000000UL
#define QUEUE_SIZE 4096UL
#define GUEST_ID   0x99

static void stop(int line, const char *what)
{
	fprintf(stderr, "walk.c:%d: %s: %s\n", line, what, strerror(errno));
	exit(1);
}
#define MUST(what)                             \
	do {                                   \
		if (!(what))                   \
			stop(__LINE__, #what); \
	} while (0)
#define FAILS(with, what) MUST((what) == -1 && errno == (with))

static int destroy(int fd, uint32_t id)
{
	struct iommu_destroy cmd = {.size = sizeof(cmd), .id = id};

	return ioctl(fd, IOMMU_DESTROY, &cmd);
}

static uint32_t alloc_queue(int fd, int merged, uint32_t viommu, uint32_t index)
{
	struct iommu_vcmdq_alloc vcmdq = {
		.size = sizeof(vcmdq),
		.viommu_id = viommu,
		.type = IOMMU_VCMDQ_TYPE_SELFTEST,
		.index = index,
		.addr = QUEUE_IOVA,
		.length = QUEUE_SIZE,
	};
	struct iommu_hw_queue_alloc hw_queue = {
		.size = sizeof(hw_queue),
		.viommu_id = viommu,
		.type = IOMMU_HW_QUEUE_TYPE_SELFTEST,
		.index = index,
		.nesting_parent_iova = QUEUE_IOVA,
		.length = QUEUE_SIZE,
	};

	if (merged) {
		MUST(!ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &hw_queue));
		return hw_queue.out_hw_queue_id;
	}
	MUST(!ioctl(fd, IOMMU_VCMDQ_ALLOC, &vcmdq));
	return vcmdq.out_vcmdq_id;
}

/* Events of the guest's devices: 0 when the kernel has none yet. */
static uint32_t walk_events(int fd, uint32_t viommu, uint32_t dev)
{
	struct iommu_veventq_alloc queue = {
		.size = sizeof(queue),
		.viommu_id = viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 2,
	};
	struct iommu_test_cmd trigger = {
		.size = sizeof(trigger),
		.op = IOMMU_TEST_OP_TRIGGER_VEVENT,
		.trigger_vevent = {.dev_id = dev},
	};
	struct {
		struct iommufd_vevent_header head;
		struct iommu_viommu_event_selftest body;
	} event;
	struct pollfd p = {.events = POLLIN};

	if (ioctl(fd, IOMMU_VEVENTQ_ALLOC, &queue)) {
		MUST(errno == ENOTTY);
		printf("vevents: not in this kernel\n");
		return 0;
	}
	p.fd = (int)queue.out_veventq_fd;
	MUST(fcntl(p.fd, F_GETFD) == FD_CLOEXEC);
	MUST(poll(&p, 1, 0) == 0);
	for (uint32_t i = 0; i < 2; i++) {
		MUST(!ioctl(fd, IOMMU_TEST_CMD, &trigger));
		MUST(poll(&p, 1, 1000) == 1 && p.revents == POLLIN);
		MUST(read(p.fd, &event, sizeof(event)) == sizeof(event));
		MUST(event.head.sequence == i && event.head.flags == 0);
		MUST(event.body.virt_id == GUEST_ID);
		MUST(poll(&p, 1, 0) == 0);
	}
	/* One more than there is room for, and the reader is told. */
	for (int i = 0; i < 3; i++)
		MUST(!ioctl(fd, IOMMU_TEST_CMD, &trigger));
	MUST(read(p.fd, &event, sizeof(event)) == sizeof(event) && event.head.sequence == 2);
	MUST(read(p.fd, &event, sizeof(event)) == sizeof(event) && event.head.sequence == 3);
	MUST(read(p.fd, &event, sizeof(event.head)) == sizeof(event.head));
	MUST(event.head.flags == IOMMU_VEVENTQ_FLAG_LOST_EVENTS);
	MUST(poll(&p, 1, 0) == 0);
	printf("vevents: read, and one was lost\n");
	MUST(!close(p.fd));
	return queue.out_veventq_id;
}

int main(int argc, char **argv)
{
	const int merged = argc > 1 && !strcmp(argv[1], "hw-queue");
	struct iommu_ioas_alloc ioas = {.size = sizeof(ioas)};
	struct iommu_test_cmd domain = {.size = sizeof(domain), .op = IOMMU_TEST_OP_MOCK_DOMAIN};
	struct iommu_hwpt_alloc parent = {.size = sizeof(parent)};
	struct iommu_viommu_selftest data = {.in_data = 0xbeef};
	struct iommu_viommu_alloc viommu = {.size = sizeof(viommu)};
	struct iommu_vdevice_alloc vdevice = {.size = sizeof(vdevice)};
	struct iommu_hwpt_selftest guest = {.iotlb = IOMMU_TEST_IOTLB_DEFAULT};
	struct iommu_hwpt_alloc nested = {.size = sizeof(nested)};
	struct iommu_test_cmd replace = {
		.size = sizeof(replace),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
	};
	struct iommu_ioas_map map = {.size = sizeof(map)};
	struct iommu_ioas_unmap unmap = {.size = sizeof(unmap)};
	volatile uint32_t *page;
	uint32_t first, second, events;
	void *memory;
	int fd;

	MUST((fd = open("/dev/iommu", O_RDWR | O_CLOEXEC)) >= 0);
	MUST(!ioctl(fd, IOMMU_IOAS_ALLOC, &ioas));
	domain.id = ioas.out_ioas_id;
	MUST(!ioctl(fd, IOMMU_TEST_CMD, &domain));
	parent.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
	parent.dev_id = domain.mock_domain.out_idev_id;
	parent.pt_id = ioas.out_ioas_id;
	MUST(!ioctl(fd, IOMMU_HWPT_ALLOC, &parent));

	viommu.type = IOMMU_VIOMMU_TYPE_SELFTEST;
	viommu.dev_id = domain.mock_domain.out_idev_id;
	viommu.hwpt_id = parent.out_hwpt_id;
	viommu.data_uptr = (uintptr_t)&data;
	viommu.data_len = sizeof(data);
	MUST(!ioctl(fd, IOMMU_VIOMMU_ALLOC, &viommu));
	MUST(data.out_data == data.in_data);
	printf("vIOMMU %u\n", viommu.out_viommu_id);

	vdevice.viommu_id = viommu.out_viommu_id;
	vdevice.dev_id = domain.mock_domain.out_idev_id;
	vdevice.virt_id = GUEST_ID;
	MUST(!ioctl(fd, IOMMU_VDEVICE_ALLOC, &vdevice));
	printf("vDEVICE %u\n", vdevice.out_vdevice_id);

	/* The guest's page table, in which the device then is. */
	nested.dev_id = domain.mock_domain.out_idev_id;
	nested.pt_id = viommu.out_viommu_id;
	nested.data_type = IOMMU_HWPT_DATA_SELFTEST;
	nested.data_uptr = (uintptr_t)&guest;
	nested.data_len = sizeof(guest);
	MUST(!ioctl(fd, IOMMU_HWPT_ALLOC, &nested));
	replace.id = domain.mock_domain.out_stdev_id;
	replace.mock_domain_replace.pt_id = nested.out_hwpt_id;
	MUST(!ioctl(fd, IOMMU_TEST_CMD, &replace));
	printf("nested HWPT %u\n", nested.out_hwpt_id);

	events = walk_events(fd, viommu.out_viommu_id, domain.mock_domain.out_idev_id);

	/* Queues lie in the guest's memory. */
	memory = mmap(NULL, QUEUE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(memory != MAP_FAILED);
	map.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
	map.ioas_id = ioas.out_ioas_id;
	map.user_va = (uintptr_t)memory;
	map.length = QUEUE_SIZE;
	map.iova = QUEUE_IOVA;
	MUST(!ioctl(fd, IOMMU_IOAS_MAP, &map));
	first = alloc_queue(fd, merged, viommu.out_viommu_id, 0);
	second = alloc_queue(fd, merged, viommu.out_viommu_id, 1);
	printf("%s %u and %u\n", merged ? "HW_QUEUE" : "VCMDQ", first, second);
	unmap.ioas_id = ioas.out_ioas_id;
	unmap.iova = QUEUE_IOVA;
	unmap.length = QUEUE_SIZE;
	FAILS(EBUSY, ioctl(fd, IOMMU_IOAS_UNMAP, &unmap));

	/* The vIOMMU's page, which the guest would touch without anybody's help. */
	page = mmap(NULL, data.out_mmap_length, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    (off_t)data.out_mmap_offset);
	MUST(page != MAP_FAILED);
	MUST(*page == data.in_data);
	FAILS(EBUSY, destroy(fd, viommu.out_viommu_id));
	MUST(!munmap((void *)page, data.out_mmap_length));
	printf("mmap: 0x%x\n", data.in_data);

	/* Last in, first out: the second queue depends on the first. */
	FAILS(EBUSY, destroy(fd, first));
	MUST(!destroy(fd, second));
	MUST(!destroy(fd, first));
	unmap.length = QUEUE_SIZE;
	MUST(!ioctl(fd, IOMMU_IOAS_UNMAP, &unmap));
	if (events)
		MUST(!destroy(fd, events));
	replace.mock_domain_replace.pt_id = ioas.out_ioas_id;
	MUST(!ioctl(fd, IOMMU_TEST_CMD, &replace));
	MUST(!destroy(fd, nested.out_hwpt_id));
	MUST(!destroy(fd, vdevice.out_vdevice_id));
	MUST(!destroy(fd, viommu.out_viommu_id));
	MUST(!destroy(fd, parent.out_hwpt_id));
	MUST(!close(fd));
	MUST(!munmap(memory, QUEUE_SIZE));
	printf("done\n");
	return 0;
}
