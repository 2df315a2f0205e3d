// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/platform/tegra241_vm.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "uapi/iommufd.h"
#include "uapi/vfio.h"

namespace tegra241 {
namespace {

// Of args_: the argument of a call, and what it points to.
constexpr uint64_t kArgsBytes = 0x10000;
constexpr uint64_t kScratch = 0x4000;

void Must(bool ok, const char* what, long rc = 0) {
  if (ok) return;
  fprintf(stderr, "tegra241_vm: %s: %ld\n", what, rc);
  abort();
}

}  // namespace

Vm::Vm(sim_syscalls* sys, const Options& options)
    : sys_(sys), options_(options) {
  fd_ = sys_->open("/dev/iommu", "");
  Must(fd_ >= 0, "/dev/iommu", fd_);
  const std::string path =
      "/dev/vfio/devices/vfio" + std::to_string(options_.device);
  device_ = sys_->open(path, "");
  Must(device_ >= 0, path.c_str(), device_);
  args_ = Anon(kArgsBytes, false);
  ram_ = Anon(kSize, true);

  vfio_device_bind_iommufd bind = {};
  bind.argsz = sizeof(bind);
  bind.iommufd = fd_;
  MustIoctl(device_, VFIO_DEVICE_BIND_IOMMUFD, &bind, "bind");
  vfio_region_info region = {};
  region.argsz = sizeof(region);
  MustIoctl(device_, VFIO_DEVICE_GET_REGION_INFO, &region, "region");
  bar_ = sys_->mmap(0, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, device_,
                    region.offset);
  Must(!is_error(bar_), "the device's region");
  mapped_.push_back({bar_, region.size});

  iommu_ioas_alloc ioas = {};
  ioas.size = sizeof(ioas);
  MustIoctl(fd_, IOMMU_IOAS_ALLOC, &ioas, "ioas");
  ioas_ = ioas.out_ioas_id;
  iommu_ioas_map map = {};
  map.size = sizeof(map);
  map.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
              IOMMU_IOAS_MAP_WRITEABLE;
  map.ioas_id = ioas_;
  map.user_va = ram_;
  map.length = kSize;
  map.iova = kIpa;
  MustIoctl(fd_, IOMMU_IOAS_MAP, &map, "map");
  iommu_hwpt_alloc parent = {};
  parent.size = sizeof(parent);
  parent.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
  parent.dev_id = bind.out_devid;
  parent.pt_id = ioas_;
  MustIoctl(fd_, IOMMU_HWPT_ALLOC, &parent, "nest parent");
  parent_ = parent.out_hwpt_id;

  const iommu_viommu_tegra241_cmdqv none = {};
  Store(Scratch(sizeof(none)), none);
  iommu_viommu_alloc viommu = {};
  viommu.size = sizeof(viommu);
  viommu.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
  viommu.dev_id = bind.out_devid;
  viommu.hwpt_id = parent_;
  viommu.data_len = sizeof(none);
  viommu.data_uptr = Scratch(sizeof(none));
  MustIoctl(fd_, IOMMU_VIOMMU_ALLOC, &viommu, "viommu");
  viommu_ = viommu.out_viommu_id;
  const auto vintf = Load<iommu_viommu_tegra241_cmdqv>(Scratch(sizeof(none)));
  page0_ = sys_->mmap(0, vintf.out_vintf_mmap_length, PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd_, vintf.out_vintf_mmap_offset);
  Must(!is_error(page0_), "page 0");
  mapped_.push_back({page0_, vintf.out_vintf_mmap_length});
  iommu_vdevice_alloc vdevice = {};
  vdevice.size = sizeof(vdevice);
  vdevice.viommu_id = viommu_;
  vdevice.dev_id = bind.out_devid;
  vdevice.virt_id = options_.vsid;
  MustIoctl(fd_, IOMMU_VDEVICE_ALLOC, &vdevice, "vdevice");

  // The guest: its context, tables, pages. 39 bits of 4K.
  for (int i = 0; i < kPages; i++) {
    Store(ram_ + kData + static_cast<uint64_t>(i) * 0x1000, Value(i));
  }
  const uint64_t cd[8] = {25 | 1 << 8 | 1 << 10 | 3 << 12 | 1ULL << 30 |
                              1ULL << 31 | 5ULL << 32 | 1ULL << 41 |
                              7ULL << 45 | options_.asid << 48,
                          kIpa + kTable, 0, 0xff};
  StoreBytes(ram_ + kCd, cd, sizeof(cd));
  Store<uint64_t>(ram_ + kTable, (kIpa + kTable + 0x1000) | 3);
  Store<uint64_t>(ram_ + kTable + 0x1000 + (kVa >> 21) * 8,
                  (kIpa + kTable + 0x2000) | 3);

  // V, stage 1; EATS.
  const uint64_t ste[2] = {1 | 5 << 1 | (kIpa + kCd), 1ULL << 28};
  Store(Scratch(sizeof(ste)), ste);
  iommu_hwpt_alloc nested = {};
  nested.size = sizeof(nested);
  nested.dev_id = bind.out_devid;
  nested.pt_id = viommu_;
  nested.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3;
  nested.data_len = sizeof(ste);
  nested.data_uptr = Scratch(sizeof(ste));
  MustIoctl(fd_, IOMMU_HWPT_ALLOC, &nested, "nested");
  vfio_device_attach_iommufd_pt attach = {};
  attach.argsz = sizeof(attach);
  attach.pt_id = nested.out_hwpt_id;
  MustIoctl(device_, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach, "attach");
}

Vm::~Vm() {
  for (auto [addr, len] : mapped_) sys_->munmap(addr, len);
  for (int fd : events_) sys_->close(fd);
  sys_->close(device_);
  sys_->close(fd_);
}

long Vm::QueueAlloc(uint32_t index, uint64_t ipa, uint64_t bytes,
                    uint32_t* id) {
  // VCMDQ_ALLOC and HW_QUEUE_ALLOC have one number and one layout.
  iommu_hw_queue_alloc a = {};
  a.size = sizeof(a);
  a.viommu_id = viommu_;
  a.type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV;
  a.index = index;
  a.nesting_parent_iova = ipa;
  a.length = bytes;
  const long rc = Ioctl(fd_, IOMMU_HW_QUEUE_ALLOC, &a);
  *id = a.out_hw_queue_id;
  return rc;
}

long Vm::Destroy(uint32_t id) {
  iommu_destroy d = {sizeof(d), id};
  return Ioctl(fd_, IOMMU_DESTROY, &d);
}

void Vm::StartQueue(uint32_t index, uint32_t entries) {
  uint32_t id;
  const long rc = QueueAlloc(index, kIpa + kQueues + index * kQueueBytes,
                             entries * sizeof(Cmd), &id);
  Must(rc == 0, "queue", rc);
  Store<uint32_t>(Reg(index, kConfig), 1);
  Must(Load<uint32_t>(Reg(index, kQueueStatus)) == 1, "the queue's start");
}

long Vm::Invalidate(uint64_t cmds, uint32_t n, uint32_t* done) {
  iommu_hwpt_invalidate a = {};
  a.size = sizeof(a);
  a.hwpt_id = viommu_;
  a.data_uptr = cmds;
  a.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
  a.entry_len = sizeof(Cmd);
  a.entry_num = n;
  const long rc = Ioctl(fd_, IOMMU_HWPT_INVALIDATE, &a);
  *done = a.entry_num;
  return rc;
}

int Vm::EventQueue(uint32_t type, uint32_t depth) {
  iommu_veventq_alloc a = {};
  a.size = sizeof(a);
  a.viommu_id = viommu_;
  a.type = type;
  a.veventq_depth = depth;
  MustIoctl(fd_, IOMMU_VEVENTQ_ALLOC, &a, "event queue");
  events_.push_back(static_cast<int>(a.out_veventq_fd));
  return events_.back();
}

uint64_t Vm::Scratch(size_t n) const {
  Must(n <= kArgsBytes - kScratch, "scratch memory", static_cast<long>(n));
  return args_ + kScratch;
}

void Vm::MapPage(int n, int page) {
  const uint64_t va = Va(n);
  Store<uint64_t>(
      ram_ + kTable + 0x2000 + ((va >> 12) & 511) * 8,
      (kIpa + kData + static_cast<uint64_t>(page) * 0x1000) | 0xf43);
}

uint64_t Vm::Value(int page) const {
  return 0x1000 * options_.asid + 0x100000 * options_.vsid +
         static_cast<uint64_t>(page);
}

uint32_t Vm::Dma(uint32_t op, uint64_t va, uint64_t* value, uint32_t how) {
  if (op == kWrite) Store<uint64_t>(bar_ + kBuffer, *value);
  Store<uint64_t>(bar_ + kIova, va);
  Store<uint32_t>(bar_ + kLength, 8);
  Store<uint32_t>(bar_ + kControl, op | how);
  const uint32_t status = Load<uint32_t>(bar_ + kStatus);
  if (op == kRead && status == kOk) *value = Load<uint64_t>(bar_ + kBuffer);
  return status;
}

uint64_t Vm::DmaRead(uint64_t va, uint32_t how) {
  uint64_t v = ~0ULL;
  return Dma(kRead, va, &v, how) == kOk ? v : ~0ULL;
}

void Vm::LoadBytes(uint64_t addr, void* to, size_t n) {
  const int rc = sys_->load(addr, to, n);
  Must(rc == 0, "load", rc);
}

void Vm::StoreBytes(uint64_t addr, const void* from, size_t n) {
  const int rc = sys_->store(addr, from, n);
  Must(rc == 0, "store", rc);
}

uint64_t Vm::Anon(uint64_t size, bool huge) {
  memory_options opts;
  opts.size = size;
  opts.huge = huge;
  const uint64_t addr = sys_->anon(opts);
  Must(!is_error(addr), "memory");
  mapped_.push_back({addr, size});
  return addr;
}

template <class T>
long Vm::Ioctl(int fd, unsigned long nr, T* arg) {
  Store(args_, *arg);
  const long rc = sys_->ioctl(fd, nr, args_);
  *arg = Load<T>(args_);
  return rc;
}

template <class T>
void Vm::MustIoctl(int fd, unsigned long nr, T* arg, const char* what) {
  const long rc = Ioctl(fd, nr, arg);
  Must(rc == 0, what, rc);
}

}  // namespace tegra241
