// SPDX-License-Identifier: GPL-2.0-or-later
//
// Q25: two allocations of one queue index at the same time. At each point of
// the first where another task may run, a second one runs from its beginning to
// its end, or to where it waits for the first. One of them gets the index.
//
//   race                    0: so it is at every point
//   race --expect-failure   0: it is not
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "core/linux/kernel.h"
#include "core/linux/sched.h"
#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"

namespace {

int InitMock(struct kernel* kernel, const void* options) {
  return platform_init_mock(
      kernel, static_cast<const struct mock_machine_options*>(options));
}

constexpr struct machine_ops kMockMachine = {
    .init = InitMock,
    .exit = platform_exit,
};

void Nap() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

// Stops the first task at its n-th point until the second is done, or until it
// has had time enough to reach a lock that the first holds.
struct Hook : sched_hook {
  std::thread::id first;
  int stop_at = 0;
  int points = 0;  // of the first task
  std::atomic<bool> go{false};
  std::atomic<bool> done{false};
};

void Point(struct sched_hook* h, struct task_struct*, enum sched_event,
           const void*) {
  Hook* hook = static_cast<Hook*>(h);
  if (std::this_thread::get_id() != hook->first) return;
  if (++hook->points != hook->stop_at) return;
  hook->go = true;
  for (int i = 0; i < 100 && !hook->done; i++) Nap();
}

bool Block(struct sched_hook*, struct task_struct*, const void*, long) {
  Nap();
  return true;
}

class World {
 public:
  World() {
    struct sim_options options;
    static const struct mock_machine_options mock;
    options.machine = &kMockMachine;
    options.machine_options = &mock;
    options.kernel.panic_on_warn = true;
    auto sys = sim_syscalls::create(options);
    if (!sys) abort();
    sys_ = std::move(*sys);
    struct memory_options memory;
    memory.size = 0x10000;
    scratch_ = sys_->anon(memory);
    f_ = sys_->open("/dev/iommu", "vcmdq-v2");

    iommu_ioas_alloc ioas = {};
    Do(IOMMU_IOAS_ALLOC, &ioas);
    iommu_test_cmd dev = {};
    dev.op = IOMMU_TEST_OP_MOCK_DOMAIN;
    dev.id = ioas.out_ioas_id;
    Do(IOMMU_TEST_CMD, &dev);
    iommu_hwpt_alloc hwpt = {};
    hwpt.dev_id = dev.mock_domain.out_idev_id;
    hwpt.pt_id = ioas.out_ioas_id;
    hwpt.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
    Do(IOMMU_HWPT_ALLOC, &hwpt);
    iommu_viommu_alloc viommu = {};
    viommu.type = IOMMU_VIOMMU_TYPE_SELFTEST;
    viommu.dev_id = dev.mock_domain.out_idev_id;
    viommu.hwpt_id = hwpt.out_hwpt_id;
    Do(IOMMU_VIOMMU_ALLOC, &viommu);
    viommu_ = viommu.out_viommu_id;
    iommu_ioas_map map = {};
    map.ioas_id = ioas.out_ioas_id;
    map.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
                IOMMU_IOAS_MAP_WRITEABLE;
    map.user_va = scratch_ + 0x8000;
    map.length = 0x1000;
    map.iova = 0x1000000;
    Do(IOMMU_IOAS_MAP, &map);
  }

  // 0 or -errno. `slot` is where in memory its struct stands.
  long AllocQueue(unsigned slot) {
    iommu_vcmdq_alloc cmd = {};
    cmd.size = sizeof(cmd);
    cmd.viommu_id = viommu_;
    cmd.type = IOMMU_VCMDQ_TYPE_SELFTEST;
    cmd.addr = 0x1000000;
    cmd.length = 0x1000;
    const uint64_t at = scratch_ + slot * 0x100;
    sys_->store(at, &cmd, sizeof(cmd));
    return sys_->ioctl(f_, IOMMU_VCMDQ_ALLOC, at);
  }

  sim_syscalls* sys() { return sys_.get(); }

 private:
  template <typename T>
  void Do(unsigned long cmd, T* arg) {
    arg->size = sizeof(*arg);
    sys_->store(scratch_, arg, sizeof(*arg));
    if (sys_->ioctl(f_, cmd, scratch_) != 0) abort();
    sys_->load(scratch_, arg, sizeof(*arg));
  }

  std::unique_ptr<sim_syscalls> sys_;
  uint64_t scratch_ = 0;
  int f_ = -1;
  uint32_t viommu_ = 0;
};

// Returns how many points the first task passes; 0 when both have the index.
int RunOnce(int stop_at) {
  World world;
  Hook hook;
  hook.point = Point;
  hook.block = Block;
  hook.stop_at = stop_at;
  world.sys()->kernel()->sched = &hook;
  long a = 1;
  long b = 1;
  std::atomic<bool> first_is_known{false};
  std::thread first([&] {
    hook.first = std::this_thread::get_id();
    first_is_known = true;
    a = world.AllocQueue(0);
    hook.go = true;
  });
  while (!first_is_known) Nap();
  std::thread second([&] {
    while (!hook.go) Nap();
    b = world.AllocQueue(1);
    hook.done = true;
  });
  first.join();
  second.join();
  world.sys()->kernel()->sched = nullptr;
  if ((a == 0 && b == -EEXIST) || (b == 0 && a == -EEXIST)) return hook.points;
  printf(
      "point %d: the first allocation of index 0 gives %ld, the second %ld\n",
      stop_at, a, b);
  return 0;
}

bool OneGetsTheIndex() {
  int points = 1;
  for (int n = 1; n <= points; n++) {
    points = RunOnce(n);
    if (points == 0) return false;
  }
  printf("%d points, one queue at each\n", points);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const bool expect_failure =
      argc == 2 && strcmp(argv[1], "--expect-failure") == 0;
  return OneGetsTheIndex() != expect_failure ? 0 : 1;
}
