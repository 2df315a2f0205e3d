// SPDX-License-Identifier: GPL-2.0-or-later
//
// A Tegra241 machine with a process on it that is a VMM: it opens the device
// and an iommufd, and looks at what the device's DMA reaches.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "gtest/gtest.h"
#include "tests/platform/tegra241_guest.h"
#include "tests/util/cmd.h"
#include "tests/util/forms.h"
#include "uapi/iommufd.h"
#include "uapi/vfio.h"

namespace tegra241 {

class Machine : public testing::Test {
 protected:
  void Boot(const tegra241_machine_options& opts = {},
            const std::string& revision = "") {
    sim_options sim;
    sim.machine = &tegra241_machine;
    sim.machine_options = &opts;
    sim.revision = revision;
    sim.mm.ram_bytes = 128 << 20;
    auto made = sim_syscalls::create(sim);
    ASSERT_TRUE(bool(made)) << made.error();
    sim_ = std::move(*made);
  }

  // The process ends: nothing is left of it.
  void Shutdown() {
    if (sim_ == nullptr) return;
    for (auto [addr, len] : mapped_) sim_->munmap(addr, len);
    for (int fd : fds_) sim_->close(fd);
    mapped_.clear();
    fds_.clear();
    args_ = 0;
    EXPECT_EQ(sim_->residue(), "");
    EXPECT_EQ(kernel_warn_count(sim_->kernel()), 0u);
    sim_.reset();
  }
  void TearDown() override { Shutdown(); }

  std::string Log() { return kernel_log_text(sim_->kernel()); }

  int Open(const char* path) {
    const int fd = sim_->open(path, "");
    EXPECT_GE(fd, 0) << path;
    if (fd >= 0) fds_.push_back(fd);
    return fd;
  }
  void Close(int fd) {
    std::erase(fds_, fd);
    EXPECT_EQ(sim_->close(fd), 0);
  }

  // ---- memory of the process ----

  uint64_t Anon(uint64_t size, bool huge = false, bool fragmented = false) {
    memory_options opts;
    opts.size = size;
    opts.huge = huge;
    opts.fragmented = fragmented;
    const uint64_t addr = sim_->anon(opts);
    EXPECT_FALSE(is_error(addr));
    mapped_.push_back({addr, size});
    return addr;
  }
  template <class T>
  T Load(uint64_t addr) {
    T v{};
    EXPECT_EQ(sim_->load(addr, &v, sizeof(v)), 0);
    return v;
  }
  template <class T>
  void Store(uint64_t addr, T v) {
    EXPECT_EQ(sim_->store(addr, &v, sizeof(v)), 0);
  }

  // The argument of a call, in the process's memory; outputs come back.
  template <class T>
  long Ioctl(int fd, unsigned long cmd, T* arg) {
    if (args_ == 0) args_ = Anon(0x10000);
    Store(args_, *arg);
    const long rc = sim_->ioctl(fd, cmd, args_);
    *arg = Load<T>(args_);
    return rc;
  }
  long Ioctl(int fd, iommulab::Cmd* cmd) {
    if (args_ == 0) args_ = Anon(0x10000);
    EXPECT_EQ(sim_->store(args_, cmd->data(), cmd->size()), 0);
    const long rc = sim_->ioctl(fd, cmd->nr(), args_);
    EXPECT_EQ(sim_->load(args_, cmd->data(), cmd->size()), 0);
    return rc;
  }
  // Memory beside it, for what a call points to.
  uint64_t Beside(const void* data, size_t n) {
    if (args_ == 0) args_ = Anon(0x10000);
    EXPECT_LE(n, 0x8000u);
    EXPECT_EQ(sim_->store(args_ + 0x8000, data, n), 0);
    return args_ + 0x8000;
  }

  // ---- the device ----

  struct Device {
    int fd = -1;
    uint32_t id = 0;
    uint64_t bar = 0;
  };

  Device OpenDevice(int iommufd, int n) {
    Device d;
    d.fd = Open(("/dev/vfio/devices/vfio" + std::to_string(n)).c_str());
    vfio_device_bind_iommufd bind = {};
    bind.argsz = sizeof(bind);
    bind.iommufd = iommufd;
    EXPECT_EQ(Ioctl(d.fd, VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
    d.id = bind.out_devid;
    vfio_region_info info = {};
    info.argsz = sizeof(info);
    EXPECT_EQ(Ioctl(d.fd, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
    EXPECT_EQ(info.size, 0x2000u);
    d.bar = sim_->mmap(0, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, d.fd,
                       info.offset);
    EXPECT_FALSE(is_error(d.bar));
    mapped_.push_back({d.bar, info.size});
    return d;
  }
  // Without its mappings and its file.
  void CloseDevice(const Device& d) {
    std::erase_if(mapped_, [&](auto& m) { return m.first == d.bar; });
    EXPECT_EQ(sim_->munmap(d.bar, 0x2000), 0);
    Close(d.fd);
  }
  long Attach(const Device& d, uint32_t* pt) {
    vfio_device_attach_iommufd_pt a = {};
    a.argsz = sizeof(a);
    a.pt_id = *pt;
    const long rc = Ioctl(d.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a);
    *pt = a.pt_id;
    return rc;
  }
  long Attach(const Device& d, uint32_t pt) { return Attach(d, &pt); }
  long AttachPasid(const Device& d, uint32_t pasid, uint32_t pt) {
    vfio_device_attach_iommufd_pt a = {};
    a.argsz = sizeof(a);
    a.flags = VFIO_DEVICE_ATTACH_PASID;
    a.pasid = pasid;
    a.pt_id = pt;
    return Ioctl(d.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a);
  }
  long Detach(const Device& d) {
    vfio_device_detach_iommufd_pt a = {};
    a.argsz = sizeof(a);
    return Ioctl(d.fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &a);
  }

  // One access of n bytes (at most 8); `how` is of CONTROL.
  uint32_t Dma(const Device& d, uint32_t op, uint64_t iova, uint64_t* value,
               uint32_t n = 8, uint32_t how = 0, uint32_t pasid = 0) {
    if (op == kWrite) Store<uint64_t>(d.bar + kBuffer, *value);
    Store<uint64_t>(d.bar + kIova, iova);
    Store<uint32_t>(d.bar + kLength, n);
    Store<uint32_t>(d.bar + kPasid, pasid);
    Store<uint32_t>(d.bar + kControl, op | how);
    const uint32_t status = Load<uint32_t>(d.bar + kStatus);
    if (op == kRead && status == kOk) *value = Load<uint64_t>(d.bar + kBuffer);
    return status;
  }
  // What the device reads; all ones when it cannot.
  uint64_t DmaRead(const Device& d, uint64_t iova, uint32_t how = 0,
                   uint32_t pasid = 0) {
    uint64_t v = ~0ULL;
    return Dma(d, kRead, iova, &v, 8, how, pasid) == kOk ? v : ~0ULL;
  }

  // ---- iommufd ----

  uint32_t IoasAlloc(int f) {
    iommulab::Cmd a("IOAS_ALLOC");
    EXPECT_EQ(Ioctl(f, &a), 0);
    return a.Get("out_ioas_id");
  }
  long Map(int f, uint32_t ioas, uint64_t va, uint64_t iova, uint64_t len,
           uint32_t prot = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE) {
    iommulab::Cmd m("IOAS_MAP");
    m.Set("flags", IOMMU_IOAS_MAP_FIXED_IOVA | prot)
        .Set("ioas_id", ioas)
        .Set("user_va", va)
        .Set("length", len)
        .Set("iova", iova);
    return Ioctl(f, &m);
  }
  long Unmap(int f, uint32_t ioas, uint64_t iova, uint64_t len) {
    iommulab::Cmd m("IOAS_UNMAP");
    m.Set("ioas_id", ioas).Set("iova", iova).Set("length", len);
    return Ioctl(f, &m);
  }
  long HwptAlloc(int f, uint32_t dev, uint32_t pt, uint32_t flags, uint32_t* id,
                 uint32_t type = 0, const void* data = nullptr,
                 uint32_t len = 0) {
    iommulab::Cmd a("HWPT_ALLOC");
    a.Set("flags", flags)
        .Set("dev_id", dev)
        .Set("pt_id", pt)
        .Set("data_type", type)
        .Set("data_len", len);
    if (len != 0) a.Set("data_uptr", Beside(data, len));
    const long rc = Ioctl(f, &a);
    *id = a.Get("out_hwpt_id");
    return rc;
  }
  uint32_t NestParent(int f, uint32_t dev, uint32_t ioas) {
    uint32_t id = 0;
    EXPECT_EQ(HwptAlloc(f, dev, ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, &id), 0);
    return id;
  }
  long Nested(int f, uint32_t dev, uint32_t viommu, uint64_t ste0,
              uint64_t ste1, uint32_t* id) {
    const uint64_t ste[2] = {ste0, ste1};
    return HwptAlloc(f, dev, viommu, 0, id, IOMMU_HWPT_DATA_ARM_SMMUV3, ste,
                     sizeof(ste));
  }
  struct Viommu {
    uint32_t id = 0;
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  long ViommuAlloc(int f, uint32_t dev, uint32_t hwpt, uint32_t type, Viommu* v,
                   uint32_t data_len = ~0u) {
    iommulab::Cmd a("VIOMMU_ALLOC");
    iommu_viommu_tegra241_cmdqv data = {};
    a.Set("type", type).Set("dev_id", dev).Set("hwpt_id", hwpt);
    if (data_len == ~0u) {
      data_len = type == IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV ? sizeof(data) : 0;
    }
    a.Set("data_len", data_len);
    if (data_len != 0) a.Set("data_uptr", Beside(&data, sizeof(data)));
    const long rc = Ioctl(f, &a);
    if (rc != 0) return rc;
    v->id = a.Get("out_viommu_id");
    if (data_len != 0) {
      data = Load<iommu_viommu_tegra241_cmdqv>(args_ + 0x8000);
      v->offset = data.out_vintf_mmap_offset;
      v->length = data.out_vintf_mmap_length;
    }
    return 0;
  }
  long VdeviceAlloc(int f, uint32_t viommu, uint32_t dev, uint64_t virt_id,
                    uint32_t* id) {
    iommulab::Cmd a("VDEVICE_ALLOC");
    a.Set("viommu_id", viommu).Set("dev_id", dev).Set("virt_id", virt_id);
    const long rc = Ioctl(f, &a);
    *id = a.Get("out_vdevice_id");
    return rc;
  }
  // VCMDQ_ALLOC and HW_QUEUE_ALLOC have one number and one layout.
  long QueueAlloc(int f, uint32_t viommu, uint32_t index, uint64_t addr,
                  uint64_t length, uint32_t* id,
                  uint32_t type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV) {
    iommulab::Cmd a("HW_QUEUE_ALLOC");
    a.Set("viommu_id", viommu)
        .Set("type", type)
        .Set("index", index)
        .Set("nesting_parent_iova", addr)
        .Set("length", length);
    const long rc = Ioctl(f, &a);
    *id = a.Get("out_hw_queue_id");
    return rc;
  }
  long Destroy(int f, uint32_t id) {
    iommulab::Cmd d("DESTROY");
    d.Set("id", id);
    return Ioctl(f, &d);
  }
  long Invalidate(int f, uint32_t viommu, const std::vector<Cmd>& cmds,
                  uint32_t* done) {
    iommulab::Cmd a("HWPT_INVALIDATE");
    a.Set("hwpt_id", viommu)
        .Set("data_uptr", Beside(cmds.data(), cmds.size() * sizeof(Cmd)))
        .Set("data_type", IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3)
        .Set("entry_len", sizeof(Cmd))
        .Set("entry_num", static_cast<uint32_t>(cmds.size()));
    const long rc = Ioctl(f, &a);
    *done = a.Get("entry_num");
    return rc;
  }

  // ---- a guest ----

  // A guest's memory, with a context descriptor and tables of its stage 1 in
  // it: 39 bits, 4K.
  struct Guest {
    static constexpr uint64_t kIpa = 0x40000000;
    static constexpr uint64_t kSize = 2 << 20;
    static constexpr uint64_t kCd = 0x1000;
    static constexpr uint64_t kTable = 0x2000;  // 2, 3, 4: levels 1 to 3
    static constexpr uint64_t kQueues = 0x100000;
    static constexpr uint64_t kData = 0x10000;  // 16 pages, each its number

    int f = -1;
    Device dev;
    uint32_t ioas = 0, parent = 0, vdev = 0, nested = 0;
    Viommu viommu;
    uint64_t vsid = 0;
    uint64_t ram = 0;    // where the VMM sees it
    uint64_t page0 = 0;  // of the VINTF
    uint64_t asid = 0;
  };

  // Stage 1 of the guest: va to one of its pages.
  void GuestMap(const Guest& g, uint64_t va, uint64_t ipa) {
    const uint64_t l3 = Guest::kTable + 0x2000;
    Store<uint64_t>(g.ram + Guest::kTable + ((va >> 30) & 511) * 8,
                    (Guest::kIpa + Guest::kTable + 0x1000) | 3);
    Store<uint64_t>(g.ram + Guest::kTable + 0x1000 + ((va >> 21) & 511) * 8,
                    (Guest::kIpa + l3) | 3);
    Store<uint64_t>(g.ram + l3 + ((va >> 12) & 511) * 8,
                    ipa == 0 ? 0 : ipa | 0xf43);
  }
  void GuestCd(const Guest& g) {
    const uint64_t cd[8] = {25 | 1 << 8 | 1 << 10 | 3 << 12 | 1ULL << 30 |
                                1ULL << 31 | 5ULL << 32 | 1ULL << 41 |
                                7ULL << 45 | g.asid << 48,
                            Guest::kIpa + Guest::kTable, 0, 0xff};
    EXPECT_EQ(sim_->store(g.ram + Guest::kCd, cd, sizeof(cd)), 0);
  }
  static uint64_t GuestPage(int n) {
    return Guest::kIpa + Guest::kData + static_cast<uint64_t>(n) * 0x1000;
  }
  static uint64_t GuestSte0() {
    return 1 | 5 << 1 | (Guest::kIpa + Guest::kCd);
  }

  // A guest with device n, whose tables translate by stage 1 over stage 2.
  Guest StartGuest(int n, uint32_t type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
                   uint64_t vsid = 0x10, uint64_t asid = 7, int f = -1,
                   uint64_t ste1 = 0) {
    Guest g;
    g.f = f >= 0 ? f : Open("/dev/iommu");
    g.dev = OpenDevice(g.f, n);
    g.ioas = IoasAlloc(g.f);
    g.ram = Anon(Guest::kSize, true);
    g.vsid = vsid;
    g.asid = asid;
    EXPECT_EQ(Map(g.f, g.ioas, g.ram, Guest::kIpa, Guest::kSize), 0);
    for (uint64_t i = 0; i < 16; i++) {
      Store<uint64_t>(g.ram + Guest::kData + i * 0x1000, 0x1000 * asid + i);
    }
    GuestCd(g);
    g.parent = NestParent(g.f, g.dev.id, g.ioas);
    EXPECT_EQ(ViommuAlloc(g.f, g.dev.id, g.parent, type, &g.viommu), 0);
    EXPECT_EQ(VdeviceAlloc(g.f, g.viommu.id, g.dev.id, vsid, &g.vdev), 0);
    EXPECT_EQ(Nested(g.f, g.dev.id, g.viommu.id, GuestSte0(), ste1, &g.nested),
              0);
    EXPECT_EQ(Attach(g.dev, g.nested), 0);
    if (type == IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV) {
      g.page0 = sim_->mmap(0, g.viommu.length, PROT_READ | PROT_WRITE,
                           MAP_SHARED, g.f, g.viommu.offset);
      EXPECT_FALSE(is_error(g.page0));
      mapped_.push_back({g.page0, g.viommu.length});
    }
    return g;
  }

  // An LVCMDQ of the guest's, enabled; 64 entries.
  static constexpr uint64_t kQueueBytes = 64 * 16;
  uint32_t StartQueue(const Guest& g, uint32_t index) {
    uint32_t id = 0;
    EXPECT_EQ(QueueAlloc(g.f, g.viommu.id, index,
                         Guest::kIpa + Guest::kQueues + index * 0x1000,
                         kQueueBytes, &id),
              0);
    Store<uint32_t>(Reg(g, index, kConfig), 1);
    EXPECT_EQ(WaitFor(Reg(g, index, kQueueStatus), 1, 1), 1u);
    return id;
  }
  static uint64_t Reg(const Guest& g, uint32_t index, QueueReg reg) {
    return g.page0 + index * 0x80 + reg;
  }
  // The guest's driver: into the queue, doorbell, until all of it is taken or
  // the queue has an error. What CONS is then.
  uint32_t Push(const Guest& g, uint32_t index, const std::vector<Cmd>& cmds) {
    const uint64_t base = g.ram + Guest::kQueues + index * 0x1000;
    uint32_t prod = Load<uint32_t>(Reg(g, index, kProd));
    for (const Cmd& c : cmds) {
      Store(base + (prod & 63) * 16, c);
      prod = (prod + 1) & 127;
    }
    Store<uint32_t>(Reg(g, index, kProd), prod);
    for (int i = 0; i < 1000000; i++) {
      const bool error = Load<uint32_t>(Reg(g, index, kGerror)) !=
                         Load<uint32_t>(Reg(g, index, kGerrorn));
      const uint32_t cons = Load<uint32_t>(Reg(g, index, kCons));
      if ((cons & 127) == prod || error) return cons;
      if (!platform_step(sim_->kernel())) std::this_thread::yield();
    }
    ADD_FAILURE() << "the queue does not move";
    return 0;
  }
  uint32_t WaitFor(uint64_t addr, uint32_t mask, uint32_t want) {
    uint32_t v = 0;
    for (int i = 0; i < 1000000; i++) {
      v = Load<uint32_t>(addr);
      if ((v & mask) == want) break;
      if (!platform_step(sim_->kernel())) std::this_thread::yield();
    }
    return v & mask;
  }

  std::unique_ptr<sim_syscalls> sim_;
  std::vector<std::pair<uint64_t, uint64_t>> mapped_;
  std::vector<int> fds_;
  uint64_t args_ = 0;
};

}  // namespace tegra241
