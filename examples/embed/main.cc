// SPDX-License-Identifier: GPL-2.0-or-later
//
// A kernel in a program of another workspace: calls, and the objects that they
// leave.
#include <cerrno>
#include <cstdio>

#include "iommulab.h"

int main() {
  auto process = iommulab_create("hw-queue");
  if (!process) return 1;
  const int fd = (*process)->open("/dev/iommu", "");
  auto ioctl = [&](unsigned long cmd, auto* arg) {
    arg->size = sizeof(*arg);
    return (*process)->ioctl(fd, cmd, reinterpret_cast<uint64_t>(arg));
  };

  iommu_ioas_alloc ioas = {};
  iommu_test_cmd device = {};
  iommu_destroy destroy = {};
  if (ioctl(IOMMU_IOAS_ALLOC, &ioas) != 0) return 1;
  device.op = IOMMU_TEST_OP_MOCK_DOMAIN;
  destroy.id = device.id = ioas.out_ioas_id;
  if (ioctl(IOMMU_TEST_CMD, &device) != 0) return 1;
  if (ioctl(IOMMU_DESTROY, &destroy) != -EBUSY) return 1;

  iommufd_snapshot graph;
  if (iommulab_snapshot(**process, fd, &graph) != 0) return 1;
  for (const auto& o : graph.objects)
    std::printf("%u %s\n", o.id, iommufd_object_type_name(o.type));
  for (const auto& e : graph.edges)
    std::printf("%u %s %u\n", e.from, e.why->label, e.to);
  return graph.objects.size() == 4 ? 0 : 1;
}
