// SPDX-License-Identifier: GPL-2.0-or-later
#include "examples/vmm/vmm.h"

#include <poll.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include "uapi/iommufd.h"
#include "uapi/vfio.h"

namespace vmm {
namespace {

constexpr uint32_t kEventDepth = 64;

uint32_t Low(uint64_t v) { return static_cast<uint32_t>(v); }
uint32_t High(uint64_t v) { return static_cast<uint32_t>(v >> 32); }

}  // namespace

Vmm::Vmm(syscalls* process, Vcpu* cpu, Options options, Logger log)
    : process_(process),
      cpu_(cpu),
      options_(std::move(options)),
      merged_(options_.revision == "hw-queue"),
      log_(std::move(log)) {
  cpu_->set_handler(this);
}

void Vmm::Log(const char* format, ...) {
  char line[256];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof(line), format, args);
  va_end(args);
  if (log_) log_(line);
}

// ---- the kernel's objects ----

template <class T>
long Vmm::Call(const char* name, int fd, unsigned long cmd, T* arg) {
  const long rc = process_.Ioctl(fd, cmd, arg);
  if (rc < 0) Log("%s: errno %ld", name, -rc);
  return rc;
}

// A device's own file. Binding it makes it an object of the iommufd: what it
// does from now on is what its table there allows, which is nothing yet.
long Vmm::OpenDevice() {
  const std::string path =
      "/dev/vfio/devices/vfio" + std::to_string(options_.device);
  device_fd_ = process_.sys()->open(path, "");
  if (device_fd_ < 0) return device_fd_;
  vfio_device_bind_iommufd bind = {};
  bind.argsz = sizeof(bind);
  bind.iommufd = iommufd_;
  long rc = Call("VFIO_DEVICE_BIND_IOMMUFD", device_fd_,
                 VFIO_DEVICE_BIND_IOMMUFD, &bind);
  if (rc < 0) return rc;
  device_ = bind.out_devid;
  // Its registers are the guest's: mapped, not emulated.
  vfio_region_info info = {};
  info.argsz = sizeof(info);
  rc = Call("VFIO_DEVICE_GET_REGION_INFO", device_fd_,
            VFIO_DEVICE_GET_REGION_INFO, &info);
  if (rc < 0) return rc;
  bar_size_ = info.size;
  bar_ = process_.sys()->mmap(0, bar_size_, PROT_READ | PROT_WRITE, MAP_SHARED,
                              device_fd_, info.offset);
  if (is_error(bar_)) return static_cast<long>(bar_);
  cpu_->AddSlot(kDeviceGpa, bar_size_, bar_);
  return 0;
}

// The IOAS is the guest's physical address space. Huge pages: a guest's queue
// has to be contiguous in host memory, up to the size that it has, and only
// pages of its size make that sure. QEMU takes hugetlb or aligns its RAM, and
// limits CMDQS in the guest's IDR1 to what a page of its backing holds.
long Vmm::MapRam() {
  memory_options opts;
  opts.size = kRamSize;
  opts.huge = true;
  ram_ = process_.sys()->anon(opts);
  if (is_error(ram_)) return static_cast<long>(ram_);
  cpu_->AddSlot(kRamGpa, kRamSize, ram_);
  iommu_ioas_alloc alloc = {};
  alloc.size = sizeof(alloc);
  long rc = Call("IOAS_ALLOC", iommufd_, IOMMU_IOAS_ALLOC, &alloc);
  if (rc < 0) return rc;
  ioas_ = alloc.out_ioas_id;
  iommu_ioas_map map = {};
  map.size = sizeof(map);
  map.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
              IOMMU_IOAS_MAP_WRITEABLE;
  map.ioas_id = ioas_;
  map.user_va = ram_;
  map.length = kRamSize;
  map.iova = kRamGpa;
  return Call("IOAS_MAP", iommufd_, IOMMU_IOAS_MAP, &map);
}

// What the hardware is, so that the guest is told of no more than there is. The
// posted series puts the CMDQV into the SMMU's own struct; the merged form has
// a type for it, which is asked for by number.
long Vmm::HardwareInfo() {
  iommu_hw_info_arm_smmuv3 smmuv3 = {};
  iommu_hw_info info = {};
  info.size = sizeof(info);
  info.dev_id = device_;
  info.data_len = sizeof(smmuv3);
  info.data_uptr = process_.Put(&smmuv3, sizeof(smmuv3));
  long rc = Call("GET_HW_INFO", iommufd_, IOMMU_GET_HW_INFO, &info);
  if (rc < 0) return rc;
  if (info.out_data_type != IOMMU_HW_INFO_TYPE_ARM_SMMUV3) return -ENODEV;
  process_.Get(&smmuv3, sizeof(smmuv3));
  memcpy(idr_, smmuv3.idr, sizeof(smmuv3.idr));
  idr_[0] &= ~1u;  // the guest's SMMU has stage 1 only
  idr_[6] = smmuv3.iidr;
  idr_[7] = smmuv3.aidr;
  uint32_t version, log2_queues, log2_sids;
  if (merged_) {
    iommu_hw_info_tegra241_cmdqv tegra = {};
    info = {};
    info.size = sizeof(info);
    info.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
    info.dev_id = device_;
    info.data_len = sizeof(tegra);
    info.data_uptr = process_.Put(&tegra, sizeof(tegra));
    info.in_data_type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
    rc = Call("GET_HW_INFO of the CMDQV", iommufd_, IOMMU_GET_HW_INFO, &info);
    if (rc < 0) return rc;
    process_.Get(&tegra, sizeof(tegra));
    version = tegra.version;
    log2_queues = tegra.log2vcmdqs;
    log2_sids = tegra.log2vsids;
  } else {
    if ((smmuv3.flags & IOMMU_HW_INFO_ARM_SMMUV3_HAS_TEGRA241_CMDQV) == 0) {
      return -ENODEV;
    }
    version = smmuv3.impl & 15;
    log2_queues = smmuv3.impl >> 4 & 15;
    log2_sids = smmuv3.impl >> 12 & 15;
  }
  // One VINTF, with all that a VINTF has.
  cmdqv_param_ = version | log2_queues << 4 | log2_sids << 12;
  queues_.resize(size_t{1} << log2_queues);
  return 0;
}

// `ste`: the first words of a stream table entry, for a nested table.
long Vmm::AllocHwpt(const char* name, uint32_t pt, uint32_t flags,
                    const uint64_t* ste, uint32_t* id) {
  iommu_hwpt_arm_smmuv3 data = {};
  iommu_hwpt_alloc alloc = {};
  alloc.size = sizeof(alloc);
  alloc.flags = flags;
  alloc.dev_id = device_;
  alloc.pt_id = pt;
  if (ste != nullptr) {
    data.ste[0] = ste[0];
    data.ste[1] = ste[1];
    alloc.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3;
    alloc.data_len = sizeof(data);
    alloc.data_uptr = process_.Put(&data, sizeof(data));
  }
  const long rc = Call(name, iommufd_, IOMMU_HWPT_ALLOC, &alloc);
  if (rc == 0) *id = alloc.out_hwpt_id;
  return rc;
}

// The guest's slice of the SMMU, which is a VINTF of its CMDQV here, and the
// guest's name of the device in it: ATC_INV carries that name.
long Vmm::AllocViommu() {
  iommu_viommu_tegra241_cmdqv data = {};
  iommu_viommu_alloc alloc = {};
  alloc.size = sizeof(alloc);
  alloc.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
  alloc.dev_id = device_;
  alloc.hwpt_id = parent_;
  alloc.data_len = sizeof(data);
  alloc.data_uptr = process_.Put(&data, sizeof(data));
  long rc = Call("VIOMMU_ALLOC", iommufd_, IOMMU_VIOMMU_ALLOC, &alloc);
  if (rc < 0) return rc;
  viommu_ = alloc.out_viommu_id;
  process_.Get(&data, sizeof(data));
  page0_offset_ = data.out_vintf_mmap_offset;
  page0_size_ = data.out_vintf_mmap_length;

  iommu_vdevice_alloc vdevice = {};
  vdevice.size = sizeof(vdevice);
  vdevice.viommu_id = viommu_;
  vdevice.dev_id = device_;
  vdevice.virt_id = kVirtualSid;
  rc = Call("VDEVICE_ALLOC", iommufd_, IOMMU_VDEVICE_ALLOC, &vdevice);
  if (rc < 0) return rc;
  vdevice_ = vdevice.out_vdevice_id;

  // The VINTF's registers, for the guest. It gets them when it enables its
  // VINTF.
  page0_ = process_.sys()->mmap(0, page0_size_, PROT_READ | PROT_WRITE,
                                MAP_SHARED, iommufd_, page0_offset_);
  return is_error(page0_) ? static_cast<long>(page0_) : 0;
}

long Vmm::AllocEventQueue(uint32_t type, EventQueue* q) {
  iommu_veventq_alloc alloc = {};
  alloc.size = sizeof(alloc);
  alloc.viommu_id = viommu_;
  alloc.type = type;
  alloc.veventq_depth = kEventDepth;
  const long rc = Call("VEVENTQ_ALLOC", iommufd_, IOMMU_VEVENTQ_ALLOC, &alloc);
  if (rc < 0) return rc;
  q->id = alloc.out_veventq_id;
  q->fd = static_cast<int>(alloc.out_veventq_fd);
  return 0;
}

long Vmm::Attach(uint32_t hwpt) {
  if (attached_ == hwpt) return 0;
  vfio_device_attach_iommufd_pt attach = {};
  attach.argsz = sizeof(attach);
  attach.pt_id = hwpt;
  const long rc = Call("VFIO_DEVICE_ATTACH_IOMMUFD_PT", device_fd_,
                       VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
  if (rc == 0) attached_ = hwpt;
  return rc;
}

long Vmm::Destroy(const char* name, uint32_t* id) {
  if (*id == 0) return 0;
  iommu_destroy destroy = {};
  destroy.size = sizeof(destroy);
  destroy.id = *id;
  const long rc = Call(name, iommufd_, IOMMU_DESTROY, &destroy);
  if (rc == 0) *id = 0;
  return rc;
}

long Vmm::Start() {
  iommufd_ = process_.sys()->open("/dev/iommu", options_.revision);
  if (iommufd_ < 0) return iommufd_;
  long rc = OpenDevice();
  if (rc == 0) rc = MapRam();
  if (rc == 0) rc = HardwareInfo();
  // Stage 2 first: everything of the guest's stands on it.
  if (rc == 0) {
    rc = AllocHwpt("HWPT_ALLOC(NEST_PARENT)", ioas_,
                   IOMMU_HWPT_ALLOC_NEST_PARENT, nullptr, &parent_);
  }
  if (rc == 0) rc = AllocViommu();
  if (rc == 0) {
    rc = AllocEventQueue(IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, &smmu_events_);
  }
  if (rc == 0) {
    rc = AllocEventQueue(IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, &cmdqv_events_);
  }
  // A device without a table of the guest's bypasses its stage 1, or is
  // aborted. Both are made once: switching to them later cannot fail for lack
  // of memory.
  const uint64_t bypass[2] = {smmu::kSteValid | smmu::kSteBypass, 0};
  const uint64_t abort[2] = {smmu::kSteValid | smmu::kSteAbort, 0};
  if (rc == 0) {
    rc = AllocHwpt("HWPT_ALLOC(bypass)", viommu_, 0, bypass, &bypass_);
  }
  if (rc == 0) rc = AllocHwpt("HWPT_ALLOC(abort)", viommu_, 0, abort, &abort_);
  if (rc == 0) rc = Attach(bypass_);
  if (rc == 0) {
    Log("IOAS %u <- nest parent %u <- vIOMMU %u (a VINTF) <- vDEVICE %u = "
        "stream id 0x%x",
        ioas_, parent_, viommu_, vdevice_, kVirtualSid);
  }
  return rc;
}

// The guest may reset at any moment: with queues that run, errors that nobody
// acknowledged, tables half written. Nothing of it may be left, and its memory
// is not touched before the device and the queues are away from it.
void Vmm::Reset() {
  Log("reset: the device, queues, page 0, tables");
  process_.sys()->ioctl(device_fd_, VFIO_DEVICE_RESET, 0);
  EnableVintf(false);
  for (Queue& q : queues_) q = {};
  cmdqv_config_ = vintf_int_mask_ = 0;
  error_map_ = 0;
  smmu_.clear();
  ConfigureDevice();
  // Events of before are nobody's.
  RunEvents(0);
  smmu_.clear();
  error_map_ = 0;
  cpu_->Reset();
}

// What stands on another goes first. A close of the iommufd does all of this,
// too, as it does for a process that dies; in order it is what a VM that
// unplugs its device does.
long Vmm::ShutDown() {
  long rc = 0;
  auto keep = [&rc](long next) {
    if (rc == 0) rc = next;
  };
  syscalls* const sys = process_.sys();
  EnableVintf(false);
  smmu_.clear();
  ConfigureDevice();
  for (EventQueue* q : {&smmu_events_, &cmdqv_events_}) {
    keep(sys->close(q->fd));
    keep(Destroy("DESTROY(veventq)", &q->id));
  }
  vfio_device_detach_iommufd_pt detach = {};
  detach.argsz = sizeof(detach);
  keep(Call("VFIO_DEVICE_DETACH_IOMMUFD_PT", device_fd_,
            VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach));
  keep(Destroy("DESTROY(bypass)", &bypass_));
  keep(Destroy("DESTROY(abort)", &abort_));
  keep(Destroy("DESTROY(vdevice)", &vdevice_));
  // The vIOMMU is busy while its page 0 is mapped.
  keep(sys->munmap(page0_, page0_size_));
  keep(Destroy("DESTROY(viommu)", &viommu_));
  keep(Destroy("DESTROY(parent)", &parent_));
  keep(Destroy("DESTROY(ioas)", &ioas_));
  cpu_->RemoveSlot(kDeviceGpa);
  keep(sys->munmap(bar_, bar_size_));
  keep(sys->close(device_fd_));
  keep(sys->close(iommufd_));
  cpu_->RemoveSlot(kRamGpa);
  keep(sys->munmap(ram_, kRamSize));
  process_.Done();
  return rc;
}

bool Vmm::InRam(uint64_t gpa, uint64_t bytes) const {
  return bytes <= kRamSize && gpa >= kRamGpa &&
         gpa - kRamGpa <= kRamSize - bytes;
}

// ---- exits ----

uint64_t Vmm::MmioRead(uint64_t gpa, unsigned size) {
  if (gpa >= kSmmuGpa && gpa - kSmmuGpa < kSmmuSize) {
    return SmmuRead(gpa - kSmmuGpa, size);
  }
  if (gpa >= kCmdqvGpa && gpa - kCmdqvGpa < kCmdqvSize) {
    uint64_t value = CmdqvRead(gpa - kCmdqvGpa);
    if (size == 8) {
      value |= uint64_t{CmdqvRead(gpa - kCmdqvGpa + 4)} << 32;
    }
    return value;
  }
  return 0;
}

// A store of 64 bits is two of 32 to the registers here; a guest may make two
// of one as well, so nothing relies on seeing both halves at once.
void Vmm::MmioWrite(uint64_t gpa, unsigned size, uint64_t value) {
  for (unsigned at = 0; at < size; at += 4) {
    const uint32_t part = at == 0 ? Low(value) : High(value);
    if (gpa >= kSmmuGpa && gpa - kSmmuGpa < kSmmuSize) {
      SmmuWrite(gpa + at - kSmmuGpa, part);
    } else if (gpa >= kCmdqvGpa && gpa - kCmdqvGpa < kCmdqvSize) {
      CmdqvWrite(gpa + at - kCmdqvGpa, part);
    }
  }
}

// ---- the SMMU: every register traps ----

uint64_t Vmm::Smmu64(uint64_t reg) const {
  auto word = [this](uint64_t at) {
    const auto it = smmu_.find(at);
    return it == smmu_.end() ? 0u : it->second;
  };
  return word(reg) | uint64_t{word(reg + 4)} << 32;
}

uint64_t Vmm::SmmuRead(uint64_t reg, unsigned size) {
  if (reg <= smmu::kAidr) return idr_[reg / 4];
  if (reg == smmu::kCr0Ack) reg = smmu::kCr0;
  return size == 8 ? Smmu64(reg) : Low(Smmu64(reg));
}

void Vmm::SmmuWrite(uint64_t reg, uint32_t value) {
  if (reg <= smmu::kAidr || reg == smmu::kCr0Ack || reg == smmu::kGerror) {
    return;
  }
  smmu_[reg] = value;
  switch (reg) {
    case smmu::kCr0:
      ConfigureDevice();
      RunCommandQueue();
      break;
    case smmu::kCmdqProd:
    case smmu::kGerrorn:
      RunCommandQueue();
      break;
    default:
      break;
  }
}

// The commands that the guest put into the queue of its SMMU: each costs an
// exit, a copy, an ioctl with the commands in it. What a VCMDQ saves.
void Vmm::RunCommandQueue() {
  if ((smmu_[smmu::kCr0] & smmu::kCr0CmdqEn) == 0) return;
  const uint64_t base = Smmu64(smmu::kCmdqBase);
  const uint32_t log2 = smmu::QueueLog2(base);
  if (log2 > 16 || !InRam(smmu::QueueAddress(base), 16ULL << log2)) return;
  const uint32_t wrap = (2u << log2) - 1;
  std::vector<Command> batch;
  uint32_t cons = smmu_[smmu::kCmdqCons] & wrap;
  const uint32_t prod = smmu_[smmu::kCmdqProd] & wrap;
  auto stop_at = [&](uint32_t at) {
    smmu_[smmu::kCmdqCons] = at | smmu::kErrorIllegal << 24;
    smmu_[smmu::kGerror] ^= smmu::kGerrorCmdq;
    cpu_->RaiseIrq(Irq::kSmmuError);
  };
  // It stands until the guest acknowledges its last error.
  if (((smmu_[smmu::kGerror] ^ smmu_[smmu::kGerrorn]) & smmu::kGerrorCmdq) !=
      0) {
    return;
  }
  for (; cons != prod; cons = (cons + 1) & wrap) {
    Command c;
    process_.Load(ram_ + (smmu::QueueAddress(base) - kRamGpa) +
                      (cons & ((1u << log2) - 1)) * sizeof(c),
                  &c, sizeof(c));
    switch (c.opcode()) {
      case kCfgiSte:
      case kCfgiAll:
        if (!FlushInvalidations(&batch)) return stop_at(cons);
        if (c.opcode() == kCfgiAll || c.sid() == kVirtualSid) ConfigureDevice();
        break;
      case kCfgiCd:
      case kCfgiCdAll:
      case kTlbiNhAll:
      case kTlbiNhAsid:
      case kTlbiNhVa:
      case kTlbiNhVaa:
      case kTlbiNsnhAll:
      case kAtcInv:
        batch.push_back(c);
        break;
      case kSync:
        if (!FlushInvalidations(&batch)) return stop_at(cons);
        break;
      default:
        FlushInvalidations(&batch);
        return stop_at(cons);
    }
  }
  if (!FlushInvalidations(&batch)) return stop_at(cons);
  smmu_[smmu::kCmdqCons] = cons;
}

// The guest's commands as they are: the kernel puts in the VMID and the
// device's own stream id, and refuses what is not the guest's.
bool Vmm::FlushInvalidations(std::vector<Command>* batch) {
  if (batch->empty()) return true;
  iommu_hwpt_invalidate inv = {};
  inv.size = sizeof(inv);
  inv.hwpt_id = viommu_;
  inv.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
  inv.entry_len = sizeof(Command);
  inv.entry_num = static_cast<uint32_t>(batch->size());
  inv.data_uptr = process_.Put(batch->data(), batch->size() * sizeof(Command));
  batch->clear();
  return Call("HWPT_INVALIDATE", iommufd_, IOMMU_HWPT_INVALIDATE, &inv) == 0;
}

// What the guest's SMMU does with the device now: the guest's entry for it
// becomes a nested table. A real VMM does this for the devices that CFGI names.
void Vmm::ConfigureDevice() {
  uint64_t ste[2] = {};
  const uint32_t log2 = smmu_[smmu::kStrtabBaseCfg] & 0x3f;
  const uint64_t entry = (Smmu64(smmu::kStrtabBase) & 0x000f'ffff'ffff'ffc0) +
                         kVirtualSid * smmu::kSteBytes;
  uint32_t want = 0;
  if ((smmu_[smmu::kCr0] & smmu::kCr0SmmuEn) == 0) {
    want = bypass_;  // GBPA of our SMMU
  } else if (log2 > 20 || kVirtualSid >> log2 != 0 ||
             !InRam(entry, smmu::kSteBytes)) {
    want = abort_;
  } else {
    process_.Load(ram_ + (entry - kRamGpa), ste, sizeof(ste));
    const uint64_t config = ste[0] & 0xe;
    if ((ste[0] & smmu::kSteValid) == 0 || config == smmu::kSteAbort) {
      want = abort_;
    } else if (config == smmu::kSteBypass) {
      want = bypass_;
    }
  }
  uint32_t old = std::exchange(nested_, 0);
  if (want == 0) {
    // The kernel checks the entry; one that it refuses is a bad one to the
    // guest's SMMU as well, which would report C_BAD_STE and abort.
    if (AllocHwpt("HWPT_ALLOC(nested)", viommu_, 0, ste, &nested_) == 0) {
      want = nested_;
      Log("stream id 0x%x: HWPT_ALLOC(nested, CD table at 0x%llx) = %u",
          kVirtualSid,
          static_cast<unsigned long long>(ste[0] & 0x000f'ffff'ffff'ffc0),
          nested_);
    } else {
      want = abort_;
    }
  }
  Attach(want);
  Destroy("DESTROY(nested)", &old);
}

void Vmm::PutSmmuEvent(const uint64_t* event) {
  const uint64_t base = Smmu64(smmu::kEventqBase);
  const uint32_t log2 = smmu::QueueLog2(base);
  const uint64_t address = smmu::QueueAddress(base);
  if ((smmu_[smmu::kCr0] & smmu::kCr0EventqEn) == 0 || log2 > 16 ||
      !InRam(address, smmu::kEventBytes << log2)) {
    return;
  }
  const uint32_t wrap = (2u << log2) - 1;
  const uint32_t prod = smmu_[smmu::kEventqProd] & wrap;
  // Full: a real SMMU's overflow bit is left out here.
  if ((prod ^ (smmu_[smmu::kEventqCons] & wrap)) == 1u << log2) return;
  process_.Store(ram_ + (address - kRamGpa) +
                     (prod & ((1u << log2) - 1)) * smmu::kEventBytes,
                 event, smmu::kEventBytes);
  smmu_[smmu::kEventqProd] = (prod + 1) & wrap;
  cpu_->RaiseIrq(Irq::kSmmuEvents);
}

// ---- the CMDQV: configuration and page 1 trap ----

uint32_t Vmm::Page0Register(uint32_t q, uint64_t reg) {
  uint32_t value = 0;
  process_.Load(page0_ + q * cmdqv::kQueueStride + reg, &value, sizeof(value));
  return value;
}

// LVCMDQs that an event named and whose error the guest has not acknowledged,
// which it does in page 0 without an exit.
uint64_t Vmm::PendingErrors() {
  for (uint32_t q = 0; q < queues_.size(); q++) {
    if ((error_map_ >> q & 1) != 0 &&
        Page0Register(q, cmdqv::kQueueGerror) ==
            Page0Register(q, cmdqv::kQueueGerrorn)) {
      error_map_ &= ~(1ULL << q);
    }
  }
  return error_map_;
}

uint32_t Vmm::CmdqvRead(uint64_t reg) {
  if (reg >= cmdqv::kAllocMap && reg < cmdqv::kAllocMap + queues_.size() * 4) {
    return queues_[(reg - cmdqv::kAllocMap) / 4].alloc;
  }
  if (reg >= cmdqv::kPage1) {
    const uint64_t q = (reg - cmdqv::kPage1) / cmdqv::kQueueStride;
    if (q >= queues_.size()) return 0;
    switch (reg % cmdqv::kQueueStride) {
      case cmdqv::kQueueBase:
        return Low(queues_[q].base);
      case cmdqv::kQueueBase + 4:
        return High(queues_[q].base);
      default:
        return 0;
    }
  }
  switch (reg) {
    case cmdqv::kConfig:
      return cmdqv_config_;
    case cmdqv::kParam:
      return cmdqv_param_;
    case cmdqv::kStatus:
      return cmdqv_config_ & cmdqv::kEnable;
    case cmdqv::kVintfErrMap:
      return PendingErrors() != 0;
    case cmdqv::kVintfIntMask:
      return vintf_int_mask_;
    case cmdqv::kVintfConfig:
      return vintf_config_;
    case cmdqv::kVintfStatus:
      return vintf_config_ & cmdqv::kEnable;
    case cmdqv::kLvcmdqErrMap:
      return Low(PendingErrors());
    case cmdqv::kLvcmdqErrMap + 4:
      return High(PendingErrors());
    default:
      return 0;
  }
}

void Vmm::CmdqvWrite(uint64_t reg, uint32_t value) {
  if (reg >= cmdqv::kAllocMap && reg < cmdqv::kAllocMap + queues_.size() * 4) {
    const uint32_t q = static_cast<uint32_t>(reg - cmdqv::kAllocMap) / 4;
    queues_[q].alloc = value;
    if ((value & cmdqv::kAllocated) == 0) FreeQueuesFrom(q);
    return AllocQueues();
  }
  if (reg >= cmdqv::kPage1) {
    const uint64_t q = (reg - cmdqv::kPage1) / cmdqv::kQueueStride;
    if (q >= queues_.size()) return;
    const uint64_t base = queues_[q].base;
    switch (reg % cmdqv::kQueueStride) {
      case cmdqv::kQueueBase:
        return SetBase(q, (base & 0xffff'ffff'0000'0000) | value);
      case cmdqv::kQueueBase + 4:
        return SetBase(q, uint64_t{value} << 32 | Low(base));
      default:
        return;
    }
  }
  switch (reg) {
    case cmdqv::kConfig:
      cmdqv_config_ = value;
      if ((value & cmdqv::kEnable) == 0) FreeQueuesFrom(0);
      AllocQueues();
      break;
    case cmdqv::kVintfIntMask:
      vintf_int_mask_ = value;
      break;
    case cmdqv::kVintfConfig:
      // Its VMID is the kernel's affair, and so is who owns it.
      vintf_config_ = value & ~cmdqv::kHypOwn;
      EnableVintf((value & cmdqv::kEnable) != 0);
      break;
    default:
      break;
  }
}

// The guest gets page 0 with its VINTF. Without a queue there it reads as zero
// and takes nothing, so the guest may have it before it has queues.
void Vmm::EnableVintf(bool enable) {
  if (enable) {
    cpu_->AddSlot(kCmdqvGpa + cmdqv::kPage0, cmdqv::kPageSize, page0_);
    if (!page0_is_guests_) Log("VINTF on: page 0 is the guest's");
    page0_is_guests_ = true;
    AllocQueues();
  } else {
    vintf_config_ = 0;
    FreeQueuesFrom(0);
    cpu_->RemoveSlot(kCmdqvGpa + cmdqv::kPage0);
    if (page0_is_guests_) Log("VINTF off: page 0 is not the guest's any more");
    page0_is_guests_ = false;
  }
}

// A queue that moves is another queue, and those above depend on it: all of
// them go, downwards. They come back, empty, with AllocQueues().
void Vmm::SetBase(uint32_t q, uint64_t base) {
  if (base == queues_[q].base) return;
  FreeQueuesFrom(q);
  queues_[q].base = base;
  queues_[q].result = 0;
  AllocQueues();
}

// The guest writes BASE in one or two stores. Half of an address is in no RAM
// of this guest and waits for the other half, and half of a BASE that is being
// cleared has the size of one entry, which is no queue. (Of a guest with RAM
// below 4G half an address may be one: that queue goes when the second half
// comes. It never ran, as CONFIG.EN comes later.)
bool Vmm::ReadyToAlloc(uint32_t q) const {
  const uint64_t bytes = cmdqv::BaseBytes(queues_[q].base);
  return (cmdqv_config_ & cmdqv::kEnable) != 0 &&
         (vintf_config_ & cmdqv::kEnable) != 0 &&
         (queues_[q].alloc & cmdqv::kAllocated) != 0 &&
         bytes >= 2 * sizeof(Command) &&
         InRam(cmdqv::BaseAddress(queues_[q].base), bytes);
}

// Upwards, which is the order that the kernel wants. One that it refuses is not
// tried again before the guest writes another BASE; the guest sees that its
// STATUS does not come on.
void Vmm::AllocQueues() {
  for (uint32_t q = 0; q < queues_.size(); q++) {
    Queue& queue = queues_[q];
    if (queue.id != 0) continue;
    if (queue.result != 0 || !ReadyToAlloc(q)) return;
    queue.result = AllocQueueObject(q, cmdqv::BaseAddress(queue.base),
                                    cmdqv::BaseBytes(queue.base));
    if (queue.result != 0) return;
  }
}

// One number, one layout, two names.
long Vmm::AllocQueueObject(uint32_t q, uint64_t addr, uint64_t length) {
  const char* const name = merged_ ? "HW_QUEUE_ALLOC" : "VCMDQ_ALLOC";
  long rc;
  if (merged_) {
    iommu_hw_queue_alloc alloc = {};
    alloc.size = sizeof(alloc);
    alloc.viommu_id = viommu_;
    alloc.type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV;
    alloc.index = q;
    alloc.nesting_parent_iova = addr;
    alloc.length = length;
    rc = Call(name, iommufd_, IOMMU_HW_QUEUE_ALLOC, &alloc);
    if (rc == 0) queues_[q].id = alloc.out_hw_queue_id;
  } else {
    iommu_vcmdq_alloc alloc = {};
    alloc.size = sizeof(alloc);
    alloc.viommu_id = viommu_;
    alloc.type = IOMMU_VCMDQ_TYPE_TEGRA241_CMDQV;
    alloc.index = q;
    alloc.addr = addr;
    alloc.length = length;
    rc = Call(name, iommufd_, IOMMU_VCMDQ_ALLOC, &alloc);
    if (rc == 0) queues_[q].id = alloc.out_vcmdq_id;
  }
  if (rc == 0) {
    Log("LVCMDQ %u: %s(0x%llx, 0x%llx bytes) = %u", q, name,
        static_cast<unsigned long long>(addr),
        static_cast<unsigned long long>(length), queues_[q].id);
  }
  return rc;
}

void Vmm::FreeQueuesFrom(uint32_t first) {
  for (uint32_t q = static_cast<uint32_t>(queues_.size()); q-- > first;) {
    if (queues_[q].id == 0) continue;
    Log("LVCMDQ %u: DESTROY(%u)", q, queues_[q].id);
    Destroy("DESTROY(queue)", &queues_[q].id);
    error_map_ &= ~(1ULL << q);
  }
}

// ---- events ----

// What a real VMM has in its main loop, with one poll() of both files.
int Vmm::RunEvents(int timeout_ms) {
  constexpr int kSliceMs = 10;
  for (int waited = 0;; waited += kSliceMs) {
    const int events = ReadCmdqvEvents() + ReadSmmuEvents();
    if (events != 0 || waited >= timeout_ms) return events;
    process_.sys()->poll(cmdqv_events_.fd, POLLIN, kSliceMs);
  }
}

// The next event of a queue: false when there is none. A queue that was full
// says so in an event without data; the sequence number has a gap then.
bool Vmm::ReadEvent(const EventQueue& q, void* data, size_t n) {
  while (process_.sys()->poll(q.fd, POLLIN, 0) == POLLIN) {
    struct {
      iommufd_vevent_header header;
      uint8_t data[smmu::kEventBytes];
    } event = {};
    const size_t bytes = sizeof(event.header) + n;
    const uint64_t at = process_.Put(&event, sizeof(event));
    if (process_.sys()->read(q.fd, at, bytes) < 0) return false;
    process_.Get(&event, sizeof(event));
    if ((event.header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS) != 0) {
      Log("events were lost before number %u", event.header.sequence);
      continue;
    }
    memcpy(data, event.data, n);
    return true;
  }
  return false;
}

// Errors of LVCMDQs. The map is all that there is: what the error is, the guest
// reads in page 0.
int Vmm::ReadCmdqvEvents() {
  int events = 0;
  iommu_vevent_tegra241_cmdqv event;
  while (ReadEvent(cmdqv_events_, &event, sizeof(event))) {
    events++;
    Log("vEVENT of the CMDQV: errors of LVCMDQs 0x%llx",
        static_cast<unsigned long long>(event.lvcmdq_err_map[0]));
    error_map_ |= event.lvcmdq_err_map[0];
    if ((vintf_int_mask_ & 1) == 0) cpu_->RaiseIrq(Irq::kCmdqv);
  }
  return events;
}

// Faults of the device, with the guest's stream id in them: records for the
// event queue of its SMMU, as they are.
int Vmm::ReadSmmuEvents() {
  int events = 0;
  uint64_t event[smmu::kEventBytes / 8];
  static_assert(sizeof(iommu_vevent_arm_smmuv3) == sizeof(event));
  while (ReadEvent(smmu_events_, event, sizeof(event))) {
    events++;
    Log("vEVENT of the SMMU: 0x%02x, stream id 0x%x",
        static_cast<unsigned>(event[0] & 0xff), High(event[0]));
    PutSmmuEvent(event);
  }
  return events;
}

// ---- for who looks on ----

size_t Vmm::NumQueues() const {
  size_t n = 0;
  for (const Queue& q : queues_) n += q.id != 0;
  return n;
}

long Vmm::TryDestroyQueue(uint32_t q) {
  uint32_t id = queues_[q].id;
  iommu_destroy destroy = {};
  destroy.size = sizeof(destroy);
  destroy.id = id;
  return process_.Ioctl(iommufd_, IOMMU_DESTROY, &destroy);
}

long Vmm::TryUnmapRam() {
  iommu_ioas_unmap unmap = {};
  unmap.size = sizeof(unmap);
  unmap.ioas_id = ioas_;
  unmap.iova = kRamGpa;
  unmap.length = kRamSize;
  return process_.Ioctl(iommufd_, IOMMU_IOAS_UNMAP, &unmap);
}

std::map<uint32_t, std::string> Vmm::ObjectNames() const {
  std::map<uint32_t, std::string> names = {
      {device_, "device"},
      {ioas_, "guest RAM"},
      {parent_, "stage 2"},
      {viommu_, "vSMMU"},
      {vdevice_, "vdevice"},
      {bypass_, "bypass"},
      {abort_, "abort"},
      {nested_, "stage 1"},
      {smmu_events_.id, "SMMU events"},
      {cmdqv_events_.id, "CMDQV events"},
  };
  for (size_t q = 0; q < queues_.size(); q++) {
    names[queues_[q].id] = "LVCMDQ " + std::to_string(q);
  }
  names.erase(0);
  return names;
}

std::map<uint64_t, std::string> Vmm::MappingNames() const {
  return {{page0_offset_, "page 0"}};
}

}  // namespace vmm
