// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstring>
#include <iterator>
#include <memory>

#include "core/linux/io.h"
#include "core/linux/kernel.h"
#include "core/mm/mm.h"
#include "drivers/hw/dma-testdev.h"
#include "drivers/hw/tegra241-cmdqv-hw.h"
#include "fuzz/cmdqv_mmio_input.h"

namespace fuzz::cmdqv {
namespace {

using tegra241::Cmd;

// The models alone, and whatever a host does to them.
class Models {
 public:
  explicit Models(uint8_t how) {
    mm_options opts;
    opts.ram_bytes = 8 << 20;
    if (mm_init(&kernel_, opts)) return;
    up_ = true;
    task_ = std::make_unique<task_struct>(&kernel_);
    task_scope scope(task_.get());
    smmuv3_hw_config config;
    config.kernel = &kernel_;
    config.phys = kSmmu;
    config.mode = how & 2 ? HW_STEPPED : HW_EAGER;
    config.msi = how & 1;
    config.pri = how & 4;
    for (unsigned i = 0; i < SMMUV3_NR_IRQS; i++) config.irqs[i] = i + 1;
    config.raise = [](struct kernel*, unsigned) { return true; };
    auto smmu = smmuv3_hw_create(&config);
    if (!smmu) return;
    smmu_ = *smmu;
    tegra241_cmdqv_hw_config cmdqv;
    cmdqv.phys = kCmdqv;
    if (auto q = tegra241_cmdqv_hw_create(smmu_, &cmdqv)) cmdqv_ = *q;
    dma_testdev_config dev;
    dev.phys = kDevice;
    dev.sid = 9;
    if (auto d = dma_testdev_create(smmu_, &dev)) dev_ = *d;
    page_ = alloc_pages(GFP_KERNEL, kOrder);
  }
  ~Models() {
    if (!up_) return;
    task_scope scope(task_.get());
    if (page_ != nullptr) __free_pages(page_, kOrder);
    if (dev_ != nullptr) dma_testdev_destroy(dev_);
    tegra241_cmdqv_hw_destroy(cmdqv_);
    smmuv3_hw_destroy(smmu_);
    mm_exit(&kernel_);
  }

  std::string Run(Input* in) {
    if (page_ == nullptr || dev_ == nullptr || cmdqv_ == nullptr) return "";
    task_scope scope(task_.get());
    const uint64_t memory = page_to_phys(page_);
    static constexpr struct {
      uint64_t base, size;
    } kRegions[] = {
        {kSmmu, 0xe0},
        {kSmmu + 0x10000, 0xe0},
        {kCmdqv, 0x40},
        {kCmdqv + 0x200, 0x40},
        {kCmdqv + 0x1000, 0x400},
        {kCmdqv + 0x10000, 0x400},
        {kCmdqv + 0x20000, 0x400},
        {kCmdqv + 0x30000, 0x400},
        {kCmdqv + 0x40000, 0x400},
        {kCmdqv + 0x50000, 0x400},
        {kDevice, 0x40},
        {kCmdqv, 0xb0000},
    };
    for (int steps = 0; !in->empty() && steps < 1000; steps++) {
      const uint8_t op = in->Byte();
      switch (op % 8) {
        case 0: {
          const uint64_t at = memory + in->Get<uint16_t>() % kBytes / 8 * 8;
          const uint64_t v = in->Value(memory);
          memcpy(phys_to_virt(at), &v, sizeof(v));
          break;
        }
        case 1: {
          const Cmd cmd = Command(in);
          const uint64_t at = memory + in->Byte() % 64 * sizeof(cmd);
          memcpy(phys_to_virt(at), &cmd, sizeof(cmd));
          break;
        }
        case 2:
          smmuv3_hw_step(smmu_);
          break;
        default: {
          const auto& region = kRegions[in->Byte() % std::size(kRegions)];
          const unsigned size = op & 0x80 ? 8 : 4;
          const uint64_t at =
              region.base + in->Get<uint32_t>() % (region.size / size) * size;
          uint64_t v = in->Value(memory);
          if (op & 0x40) {
            mmio_read(&kernel_, at, size, &v);
          } else {
            mmio_write(&kernel_, at, size, v);
          }
        }
      }
    }
    for (int i = 0; i < 1000 && smmuv3_hw_step(smmu_); i++) {
    }
    return Maps();
  }

 private:
  static constexpr uint64_t kDevice = 0x30000000;
  static constexpr unsigned kOrder = 2;
  static constexpr uint64_t kBytes = 0x4000;

  uint64_t Read(uint64_t at) {
    uint64_t v = 0;
    mmio_read(&kernel_, at, 4, &v);
    return v;
  }
  // Who has an error is said in three places.
  std::string Maps() {
    const uint64_t errors = Read(kCmdqv + 0x24);
    uint64_t vintfs = 0;
    for (unsigned q = 0; q < cmdqv_->num_vcmdqs(); q++) {
      const uint64_t map = Read(kCmdqv + 0x200 + q * 4);
      const uint64_t bit = errors >> q & 1;
      if (!(map & 1)) {
        if (Read(kCmdqv + 0x1000c + q * 0x80) & 1)
          return "a VCMDQ runs that is not allocated";
        continue;
      }
      const uint64_t v = map >> 15 & 63;
      if (v >= cmdqv_->num_vintfs()) return "a VCMDQ of no VINTF";
      vintfs |= bit << v;
      if ((Read(kCmdqv + 0x10c0 + v * 0x100) >> (map >> 1 & 127) & 1) != bit)
        return "LVCMDQ_ERR_MAP is not CMDQ_ERR_MAP";
    }
    return Read(kCmdqv + 0x14) == vintfs ? "" : "VINTF_ERR_MAP is wrong";
  }

  struct kernel kernel_;
  bool up_ = false;
  std::unique_ptr<task_struct> task_;
  smmuv3_hw* smmu_ = nullptr;
  tegra241_cmdqv_hw* cmdqv_ = nullptr;
  dma_testdev* dev_ = nullptr;
  struct page* page_ = nullptr;
};

}  // namespace

std::string RunModels(uint8_t how, Input* in) { return Models(how).Run(in); }

}  // namespace fuzz::cmdqv
