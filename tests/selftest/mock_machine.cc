// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/selftest/mock_machine.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>
#include <utility>

#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "gtest/gtest.h"

namespace iommulab {

namespace {

// Not a scheduler: it only widens the windows. Where a task gives way is
// random, how the host goes on is the host's choice.
struct InterleaveHook : sched_hook {
  InterleaveHook() {
    point = [](sched_hook*, task_struct*, sched_event, const void*) {
      static thread_local uint64_t state =
          std::hash<std::thread::id>()(std::this_thread::get_id()) | 1;
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      if (state % 64 == 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      } else if (state % 4 == 0) {
        std::this_thread::yield();
      }
    };
    block = [](sched_hook*, task_struct*, const void*, long) {
      std::this_thread::yield();
      return true;
    };
  }
};

int InitMachine(kernel* k, const void* options) {
  static InterleaveHook hook;
  const auto* opts = static_cast<const MockMachine::Options*>(options);
  if (opts->interleave) k->sched = &hook;
  return platform_init_mock(k, &opts->mock);
}

constexpr machine_ops kMachine = {
    .init = InitMachine,
    .exit = platform_exit,
};

}  // namespace

struct MockMachine::Impl {
  std::unique_ptr<sim_syscalls> sim;
};

MockMachine::MockMachine(const Options& options)
    : options_(options), impl_(std::make_unique<Impl>()) {
  sim_options sim;
  sim.kernel.panic_on_warn = options_.panic_on_warn;
  sim.kernel.log_debug = options_.log_debug;
  sim.machine = &kMachine;
  sim.machine_options = &options_;
  auto created = sim_syscalls::create(sim);
  if (!created) {
    ADD_FAILURE() << "no kernel: " << created.error();
    abort();
  }
  impl_->sim = std::move(*created);
  sys_ = impl_->sim.get();
  Open();
}

MockMachine::MockMachine(MockMachine* shared)
    : options_(shared->options_), sys_(shared->sys_), fd_(shared->fd_) {
  scratch_ = Anon(kPage);
}

MockMachine::~MockMachine() {
  if (!impl_) fd_ = -1;
  CloseAll();
  if (impl_) {
    EXPECT_EQ(sys_->residue(), "");
  }
}

uint64_t MockMachine::Warnings() const {
  return kernel_warn_count(static_cast<sim_syscalls*>(sys_)->kernel());
}

int MockMachine::Open() {
  fd_ = sys_->open("/dev/iommu", options_.revision);
  EXPECT_GE(fd_, 0);
  scratch_ = Anon(kPage);
  return fd_;
}

void MockMachine::CloseAll() {
  sys_->set_fail_nth(0);
  if (fd_ >= 0) {
    EXPECT_EQ(sys_->close(fd_), 0);
  }
  fd_ = -1;
  for (int fd : access_fds_) {
    EXPECT_EQ(sys_->close(fd), 0);
  }
  access_fds_.clear();
  for (const auto& [addr, size] : anon_) {
    EXPECT_EQ(sys_->munmap(addr, size), 0);
  }
  anon_.clear();
}

uint64_t MockMachine::Anon(uint64_t size, bool huge, uint64_t align) {
  memory_options opts;
  opts.size = size;
  opts.huge = huge;
  opts.align = align;
  uint64_t addr = sys_->anon(opts);
  EXPECT_FALSE(is_error(addr)) << static_cast<int64_t>(addr);
  anon_.emplace_back(addr, size);
  return addr;
}

void MockMachine::ExpectLoaded(int rc) { EXPECT_EQ(rc, 0); }

int MockMachine::IoctlBytes(unsigned long nr, void* cmd, size_t size) {
  EXPECT_EQ(sys_->store(scratch_, cmd, size), 0);
  long rc = sys_->ioctl(fd_, nr, scratch_);
  EXPECT_EQ(sys_->load(scratch_, cmd, size), 0);
  return static_cast<int>(rc);
}

int MockMachine::Destroy(uint32_t id) {
  Cmd cmd("DESTROY");
  cmd.Set("id", id);
  return Ioctl(&cmd);
}

int MockMachine::IoasAlloc(uint32_t* id) {
  Cmd cmd("IOAS_ALLOC");
  int rc = Ioctl(&cmd);
  if (id) *id = cmd.Get("out_ioas_id");
  return rc;
}

int MockMachine::Map(uint32_t ioas, uint64_t va, uint64_t length,
                     uint64_t* iova, uint32_t flags) {
  Cmd cmd("IOAS_MAP");
  cmd.Set("flags", flags)
      .Set("ioas_id", ioas)
      .Set("user_va", va)
      .Set("length", length)
      .Set("iova", *iova);
  int rc = Ioctl(&cmd);
  *iova = cmd.Get("iova");
  return rc;
}

int MockMachine::MapFixed(uint32_t ioas, uint64_t va, uint64_t length,
                          uint64_t iova) {
  return Map(ioas, va, length, &iova,
             IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
                 IOMMU_IOAS_MAP_WRITEABLE);
}

int MockMachine::Unmap(uint32_t ioas, uint64_t iova, uint64_t length,
                       uint64_t* unmapped) {
  Cmd cmd("IOAS_UNMAP");
  cmd.Set("ioas_id", ioas).Set("iova", iova).Set("length", length);
  int rc = Ioctl(&cmd);
  if (unmapped) *unmapped = cmd.Get("length");
  return rc;
}

int MockMachine::IovaRanges(uint32_t ioas,
                            std::vector<iommu_iova_range>* ranges,
                            uint64_t* alignment) {
  const uint64_t buf = scratch_ + kPage / 2;
  Cmd cmd("IOAS_IOVA_RANGES");
  cmd.Set("ioas_id", ioas).Set("num_iovas", 16).Set("allowed_iovas", buf);
  int rc = Ioctl(&cmd);
  if (rc) return rc;
  *alignment = cmd.Get("out_iova_alignment");
  ranges->clear();
  for (uint32_t i = 0; i < cmd.Get("num_iovas"); ++i)
    ranges->push_back(
        Load<iommu_iova_range>(buf + i * sizeof(iommu_iova_range)));
  return 0;
}

int MockMachine::HwptAlloc(uint32_t idev, uint32_t pt, uint32_t flags,
                           uint32_t* id) {
  return HwptAllocData(idev, pt, flags, IOMMU_HWPT_DATA_NONE, 0, 0, id);
}

int MockMachine::HwptAllocData(uint32_t idev, uint32_t pt, uint32_t flags,
                               uint32_t type, uint64_t data, uint32_t len,
                               uint32_t* id) {
  Cmd cmd("HWPT_ALLOC");
  cmd.Set("flags", flags)
      .Set("dev_id", idev)
      .Set("pt_id", pt)
      .Set("data_type", type)
      .Set("data_len", len)
      .Set("data_uptr", data);
  int rc = Ioctl(&cmd);
  if (id) *id = cmd.Get("out_hwpt_id");
  return rc;
}

int MockMachine::HwptNested(uint32_t idev, uint32_t parent, uint32_t* id,
                            uint32_t iotlb) {
  const uint64_t buf = scratch_ + kPage / 2;
  iommu_hwpt_selftest data = {};
  data.iotlb = iotlb;
  EXPECT_EQ(Store(buf, data), 0);
  return HwptAllocData(idev, parent, 0, IOMMU_HWPT_DATA_SELFTEST, buf,
                       sizeof(data), id);
}

int MockMachine::Invalidate(uint32_t id, uint32_t type, uint64_t data,
                            uint32_t entry_len, uint32_t* entry_num) {
  Cmd cmd("HWPT_INVALIDATE");
  cmd.Set("hwpt_id", id)
      .Set("data_uptr", data)
      .Set("data_type", type)
      .Set("entry_len", entry_len)
      .Set("entry_num", *entry_num);
  int rc = Ioctl(&cmd);
  *entry_num = cmd.Get("entry_num");
  return rc;
}

int MockMachine::HwInfo(uint32_t idev, uint64_t data, uint32_t len,
                        iommu_hw_info* out) {
  *out = {};
  out->size = sizeof(*out);
  out->dev_id = idev;
  out->data_len = len;
  out->data_uptr = data;
  return Ioctl(IOMMU_GET_HW_INFO, out);
}

int MockMachine::ViommuAlloc(uint32_t idev, uint32_t hwpt, uint32_t* id,
                             uint32_t type, uint64_t data, uint32_t data_len) {
  Cmd cmd("VIOMMU_ALLOC");
  cmd.Set("type", type)
      .Set("dev_id", idev)
      .Set("hwpt_id", hwpt)
      .Set("data_len", data_len)
      .Set("data_uptr", data);
  int rc = Ioctl(&cmd);
  if (id) *id = cmd.Get("out_viommu_id");
  return rc;
}

int MockMachine::VdeviceAlloc(uint32_t viommu, uint32_t idev, uint64_t virt_id,
                              uint32_t* id) {
  Cmd cmd("VDEVICE_ALLOC");
  cmd.Set("viommu_id", viommu).Set("dev_id", idev).Set("virt_id", virt_id);
  int rc = Ioctl(&cmd);
  if (id) *id = cmd.Get("out_vdevice_id");
  return rc;
}

int MockMachine::QueueAlloc(uint32_t viommu, uint32_t index, uint64_t addr,
                            uint64_t length, uint32_t* id, uint32_t type) {
  static_assert(sizeof(iommu_vcmdq_alloc) == sizeof(iommu_hw_queue_alloc));
  Cmd cmd("VCMDQ_ALLOC");
  cmd.Set("viommu_id", viommu)
      .Set("type", type)
      .Set("index", index)
      .Set("addr", addr)
      .Set("length", length);
  int rc = Ioctl(&cmd);
  if (id) *id = cmd.Get("out_vcmdq_id");
  return rc;
}

int MockMachine::FaultQueueAlloc(EventQueue* queue) {
  Cmd cmd("FAULT_QUEUE_ALLOC");
  int rc = Ioctl(&cmd);
  if (rc == 0) {
    *queue = {static_cast<uint32_t>(cmd.Get("out_fault_id")),
              static_cast<int>(cmd.Get("out_fault_fd"))};
  }
  return rc;
}

int MockMachine::HwptAllocFault(uint32_t idev, uint32_t pt, uint32_t fault,
                                uint32_t* id, uint32_t more_flags) {
  Cmd cmd("HWPT_ALLOC");
  cmd.Set("flags", IOMMU_HWPT_FAULT_ID_VALID | more_flags)
      .Set("dev_id", idev)
      .Set("pt_id", pt)
      .Set("fault_id", fault);
  int rc = Ioctl(&cmd);
  if (rc == 0) *id = cmd.Get("out_hwpt_id");
  return rc;
}

int MockMachine::VeventqAlloc(uint32_t viommu, uint32_t depth,
                              EventQueue* queue, uint32_t type) {
  Cmd cmd("VEVENTQ_ALLOC");
  cmd.Set("viommu_id", viommu).Set("type", type).Set("veventq_depth", depth);
  int rc = Ioctl(&cmd);
  if (rc == 0) {
    *queue = {static_cast<uint32_t>(cmd.Get("out_veventq_id")),
              static_cast<int>(cmd.Get("out_veventq_fd"))};
  }
  return rc;
}

int MockMachine::TriggerIopf(uint32_t idev, uint32_t grpid, uint64_t addr,
                             uint32_t pasid) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_TRIGGER_IOPF;
  cmd.trigger_iopf.dev_id = idev;
  cmd.trigger_iopf.grpid = grpid;
  cmd.trigger_iopf.addr = addr;
  cmd.trigger_iopf.pasid = pasid;
  return Test(&cmd);
}

int MockMachine::TriggerVevent(uint32_t idev) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_TRIGGER_VEVENT;
  cmd.trigger_vevent.dev_id = idev;
  return Test(&cmd);
}

int MockMachine::AddReserved(uint32_t ioas, uint64_t start, uint64_t length) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_ADD_RESERVED;
  cmd.id = ioas;
  cmd.add_reserved.start = start;
  cmd.add_reserved.length = length;
  return Test(&cmd);
}

int MockMachine::MockDomain(uint32_t pt, Device* dev) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_MOCK_DOMAIN;
  cmd.id = pt;
  int rc = Test(&cmd);
  if (dev && !rc)
    *dev = {cmd.mock_domain.out_stdev_id, cmd.mock_domain.out_hwpt_id,
            cmd.mock_domain.out_idev_id};
  return rc;
}

int MockMachine::MockDomainFlags(uint32_t pt, uint32_t flags, Device* dev) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS;
  cmd.id = pt;
  cmd.mock_domain_flags.dev_flags = flags;
  int rc = Test(&cmd);
  if (dev && !rc)
    *dev = {cmd.mock_domain_flags.out_stdev_id,
            cmd.mock_domain_flags.out_hwpt_id,
            cmd.mock_domain_flags.out_idev_id};
  return rc;
}

int MockMachine::Replace(uint32_t stdev, uint32_t pt, uint32_t* new_pt) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE;
  cmd.id = stdev;
  cmd.mock_domain_replace.pt_id = pt;
  int rc = Test(&cmd);
  if (new_pt) *new_pt = cmd.mock_domain_replace.pt_id;
  return rc;
}

int MockMachine::CheckMap(uint32_t hwpt, uint64_t iova, uint64_t length,
                          uint64_t va) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_MD_CHECK_MAP;
  cmd.id = hwpt;
  cmd.check_map.iova = iova;
  cmd.check_map.length = length;
  cmd.check_map.uptr = va;
  return Test(&cmd);
}

int MockMachine::CheckRefs(uint64_t va, uint64_t length, uint32_t refs) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_MD_CHECK_REFS;
  cmd.check_refs.length = length;
  cmd.check_refs.uptr = va;
  cmd.check_refs.refs = refs;
  return Test(&cmd);
}

int MockMachine::CheckIotlb(uint32_t hwpt, uint32_t entry, uint32_t value) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_MD_CHECK_IOTLB;
  cmd.id = hwpt;
  cmd.check_iotlb.id = entry;
  cmd.check_iotlb.iotlb = value;
  return Test(&cmd);
}

int MockMachine::CheckCache(uint32_t idev, uint32_t entry, uint32_t value) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_DEV_CHECK_CACHE;
  cmd.id = idev;
  cmd.check_dev_cache.id = entry;
  cmd.check_dev_cache.cache = value;
  return Test(&cmd);
}

int MockMachine::CheckIotlbAll(uint32_t hwpt, uint32_t value) {
  for (uint32_t i = 0; i < MOCK_NESTED_DOMAIN_IOTLB_NUM; ++i)
    if (int rc = CheckIotlb(hwpt, i, value)) return rc;
  return 0;
}

int MockMachine::CheckCacheAll(uint32_t idev, uint32_t value) {
  for (uint32_t i = 0; i < MOCK_DEV_CACHE_NUM; ++i)
    if (int rc = CheckCache(idev, i, value)) return rc;
  return 0;
}

int MockMachine::CreateAccess(uint32_t ioas, uint32_t flags, int* access_fd) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_CREATE_ACCESS;
  cmd.id = ioas;
  cmd.create_access.flags = flags;
  int rc = Test(&cmd);
  const int fd = rc ? -1 : static_cast<int>(cmd.create_access.out_access_fd);
  if (!rc) access_fds_.push_back(fd);
  if (access_fd) *access_fd = fd;
  return rc;
}

int MockMachine::CloseAccess(int access_fd) {
  access_fds_.erase(
      std::remove(access_fds_.begin(), access_fds_.end(), access_fd),
      access_fds_.end());
  return sys_->close(access_fd);
}

int MockMachine::AccessPages(int access_fd, uint64_t iova, uint64_t length,
                             uint64_t va, uint32_t flags, uint32_t* item) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_ACCESS_PAGES;
  cmd.id = static_cast<uint32_t>(access_fd);
  cmd.access_pages.flags = flags;
  cmd.access_pages.iova = iova;
  cmd.access_pages.length = length;
  cmd.access_pages.uptr = va;
  int rc = Test(&cmd);
  if (item) *item = cmd.access_pages.out_access_pages_id;
  return rc;
}

int MockMachine::DestroyAccessPages(int access_fd, uint32_t item) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_DESTROY_ACCESS_PAGES;
  cmd.id = static_cast<uint32_t>(access_fd);
  cmd.destroy_access_pages.access_pages_id = item;
  return Test(&cmd);
}

int MockMachine::AccessRw(int access_fd, uint64_t iova, uint64_t length,
                          uint64_t va, uint32_t flags) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_ACCESS_RW;
  cmd.id = static_cast<uint32_t>(access_fd);
  cmd.access_rw.iova = iova;
  cmd.access_rw.length = length;
  cmd.access_rw.uptr = va;
  cmd.access_rw.flags = flags;
  return Test(&cmd);
}

int MockMachine::AccessReplace(int access_fd, uint32_t ioas) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_ACCESS_REPLACE_IOAS;
  cmd.id = static_cast<uint32_t>(access_fd);
  cmd.access_replace_ioas.ioas_id = ioas;
  return Test(&cmd);
}

int MockMachine::SetMemoryLimit(uint32_t limit) {
  iommu_test_cmd cmd = {};
  cmd.op = IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT;
  cmd.memory_limit.limit = limit;
  return Test(&cmd);
}

}  // namespace iommulab
