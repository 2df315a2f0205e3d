// SPDX-License-Identifier: GPL-2.0-or-later
#include "examples/vmm/guest.h"

#include <thread>
#include <utility>

namespace vmm {
namespace {

// The guest's RAM.
constexpr uint64_t kContext = kRamGpa + 0x1000;
constexpr uint64_t kTables = kRamGpa + 0x2000;  // levels 1, 2, 3: a page each
constexpr uint64_t kStreamTable = kRamGpa + 0x8000;  // 64 entries
constexpr uint32_t kStreamTableLog2 = 6;
constexpr uint64_t kData = kRamGpa + 0x10000;
constexpr int kDataPages = 16;
constexpr uint64_t kSmmuCommands = kRamGpa + 0x80000;
constexpr uint64_t kSmmuEvents = kRamGpa + 0x81000;
constexpr uint64_t kQueues = kRamGpa + 0x10'0000;  // a page each
constexpr uint64_t kPage = 0x1000;

// Of queue indices; the bit above them is the wrap.
constexpr uint32_t kIndexMask = 2 * Guest::kQueueEntries - 1;

uint64_t Smmu(uint64_t reg) { return kSmmuGpa + reg; }
uint64_t Cmdqv(uint64_t reg) { return kCmdqvGpa + reg; }
uint64_t Page0(uint32_t q, uint64_t reg) {
  return kCmdqvGpa + cmdqv::kPage0 + q * cmdqv::kQueueStride + reg;
}
uint64_t Page1(uint32_t q, uint64_t reg) {
  return kCmdqvGpa + cmdqv::kPage1 + q * cmdqv::kQueueStride + reg;
}
uint64_t AllocMap(uint32_t q) { return Cmdqv(cmdqv::kAllocMap + q * 4); }

}  // namespace

bool Guest::WaitFor(uint64_t gpa, uint32_t mask, uint32_t want,
                    std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while ((cpu_->Read32(gpa) & mask) != want) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// ---- boot ----

void Guest::Load() {
  for (int n = 0; n < kDataPages; n++) cpu_->Write64(DataAddress(n), DataOf(n));
  // Stage 1 with 39 bits of address, 4K pages.
  const uint64_t context[4] = {25 | 1 << 8 | 1 << 10 | 3 << 12 | 1ULL << 30 |
                                   1ULL << 31 | 5ULL << 32 | 1ULL << 41 |
                                   7ULL << 45 | kAsid << 48,
                               kTables, 0, 0xff};
  for (int i = 0; i < 4; i++) cpu_->Write64(kContext + i * 8, context[i]);
  for (uint64_t at = 0; at < 3 * kPage; at += 8) cpu_->Write64(kTables + at, 0);
  cpu_->Write64(kTables + (kIova >> 30 & 511) * 8, (kTables + kPage) | 3);
  cpu_->Write64(kTables + kPage + (kIova >> 21 & 511) * 8,
                (kTables + 2 * kPage) | 3);
  for (uint64_t at = 0; at < smmu::kSteBytes << kStreamTableLog2; at += 8) {
    cpu_->Write64(kStreamTable + at, 0);
  }
}

bool Guest::StartSmmu() {
  const bool ats = (cpu_->Read32(Smmu(smmu::kIdr0)) & smmu::kIdr0Ats) != 0;
  cpu_->Write32(Smmu(smmu::kCr0), 0);
  if (!WaitFor(Smmu(smmu::kCr0Ack), ~0u, 0)) return false;
  cpu_->Write64(Smmu(smmu::kStrtabBase), kStreamTable);
  cpu_->Write32(Smmu(smmu::kStrtabBaseCfg), kStreamTableLog2);
  cpu_->Write64(Smmu(smmu::kCmdqBase), kSmmuCommands | kQueueLog2);
  cpu_->Write32(Smmu(smmu::kCmdqProd), 0);
  cpu_->Write32(Smmu(smmu::kCmdqCons), 0);
  cpu_->Write64(Smmu(smmu::kEventqBase), kSmmuEvents | kQueueLog2);
  cpu_->Write32(Smmu(smmu::kEventqProd), 0);
  cpu_->Write32(Smmu(smmu::kEventqCons), 0);
  uint32_t cr0 = smmu::kCr0CmdqEn;
  cpu_->Write32(Smmu(smmu::kCr0), cr0);
  if (!WaitFor(Smmu(smmu::kCr0Ack), ~0u, cr0)) return false;
  if (!IssueTrapped({CfgiAll(), TlbiNsnhAll(), Sync()})) return false;
  cr0 |= smmu::kCr0EventqEn | smmu::kCr0SmmuEn;
  cpu_->Write32(Smmu(smmu::kCr0), cr0);
  if (!WaitFor(Smmu(smmu::kCr0Ack), ~0u, cr0)) return false;
  // The device's entry: the valid bit last.
  const uint64_t ste = kStreamTable + kVirtualSid * smmu::kSteBytes;
  cpu_->Write64(ste + 8, ats ? smmu::kSte1Ats : 0);
  cpu_->Write64(ste, smmu::kSteValid | smmu::kSteStage1 | kContext);
  return IssueTrapped({CfgiSte(kVirtualSid), Sync()});
}

bool Guest::StartVintf() {
  cpu_->Write32(Cmdqv(cmdqv::kConfig), 0);
  if (!WaitFor(Cmdqv(cmdqv::kStatus), cmdqv::kEnable, 0)) return false;
  cpu_->Write32(Cmdqv(cmdqv::kConfig), cmdqv::kEnable);
  if (!WaitFor(Cmdqv(cmdqv::kStatus), cmdqv::kEnable, cmdqv::kEnable)) {
    return false;
  }
  num_queues_ = cmdqv::NumQueues(cpu_->Read32(Cmdqv(cmdqv::kParam)));
  for (uint32_t q = 0; q < num_queues_; q++) {
    cpu_->Write32(AllocMap(q), q << 1);  // LVCMDQ q of VINTF 0, not mapped yet
  }
  // The same driver runs on the host, where HYP_OWN sticks. Here it does not,
  // and only the commands that a guest's queue may do go to the VINTF.
  cpu_->Write32(Cmdqv(cmdqv::kVintfConfig), 0);
  cpu_->Write32(Cmdqv(cmdqv::kVintfConfig), cmdqv::kHypOwn);
  cpu_->Write32(Cmdqv(cmdqv::kVintfConfig), cmdqv::kHypOwn | cmdqv::kEnable);
  if (!WaitFor(Cmdqv(cmdqv::kVintfStatus), cmdqv::kEnable, cmdqv::kEnable)) {
    return false;
  }
  hyp_own_ = (cpu_->Read32(Cmdqv(cmdqv::kVintfConfig)) & cmdqv::kHypOwn) != 0;
  return true;
}

void Guest::MapQueue(uint32_t q) {
  cpu_->Write32(AllocMap(q), cpu_->Read32(AllocMap(q)) | cmdqv::kAllocated);
}

uint64_t Guest::QueueBase(uint32_t q) const {
  return (kQueues + q * kPage) | kQueueLog2;
}

void Guest::WriteBaseLow(uint32_t q, uint32_t value) {
  cpu_->Write32(Page1(q, cmdqv::kQueueBase), value);
}

void Guest::WriteBaseHigh(uint32_t q, uint32_t value) {
  cpu_->Write32(Page1(q, cmdqv::kQueueBase + 4), value);
}

bool Guest::EnableQueue(uint32_t q, std::chrono::milliseconds patience) {
  cpu_->Write32(Page0(q, cmdqv::kQueueConfig), cmdqv::kEnable);
  return WaitFor(Page0(q, cmdqv::kQueueStatus), cmdqv::kEnable, cmdqv::kEnable,
                 patience);
}

bool Guest::StartQueue(uint32_t q) {
  MapQueue(q);
  WriteBaseLow(q, static_cast<uint32_t>(QueueBase(q)));
  WriteBaseHigh(q, static_cast<uint32_t>(QueueBase(q) >> 32));
  return EnableQueue(q);
}

bool Guest::Boot() {
  Load();
  if (!StartSmmu() || !StartVintf()) return false;
  for (uint32_t q = 0; q < num_queues_; q++) {
    if (!StartQueue(q)) return false;
  }
  return true;
}

void Guest::StopQueue(uint32_t q) {
  cpu_->Write32(Page0(q, cmdqv::kQueueConfig), 0);
  WriteBaseLow(q, 0);
  WriteBaseHigh(q, 0);
  cpu_->Write32(AllocMap(q), cpu_->Read32(AllocMap(q)) & ~cmdqv::kAllocated);
}

void Guest::ShutDown() {
  for (uint32_t q = num_queues_; q-- > 0;) StopQueue(q);
  cpu_->Write32(Cmdqv(cmdqv::kVintfConfig), 0);
  cpu_->Write32(Cmdqv(cmdqv::kConfig), 0);
  cpu_->Write64(kStreamTable + kVirtualSid * smmu::kSteBytes, 0);
  IssueTrapped({CfgiSte(kVirtualSid), Sync()});
  cpu_->Write32(Smmu(smmu::kCr0), 0);
  num_queues_ = 0;
}

// ---- tables and invalidation ----

uint64_t Guest::DataAddress(int n) {
  return kData + static_cast<uint64_t>(n) * kPage;
}

void Guest::MapPage(uint64_t iova, int n) {
  // Valid, a page, accessed, of this context alone, all may read and write.
  cpu_->Write64(kTables + 2 * kPage + (iova >> 12 & 511) * 8,
                n < 0 ? 0 : DataAddress(n) | 0xf43);
}

uint64_t Guest::PushCommand(uint64_t queue, uint32_t prod,
                            const Command& command) {
  const uint64_t at = queue + (prod & (kQueueEntries - 1)) * sizeof(Command);
  cpu_->Write64(at, command.data[0]);
  cpu_->Write64(at + 8, command.data[1]);
  return at;
}

Command Guest::CommandAt(uint64_t queue, uint32_t cons) {
  const uint64_t at = queue + (cons & (kQueueEntries - 1)) * sizeof(Command);
  return {{cpu_->Read64(at), cpu_->Read64(at + 8)}};
}

bool Guest::Issue(uint32_t q, const std::vector<Command>& commands) {
  const uint64_t queue = kQueues + q * kPage;
  uint32_t prod = cpu_->Read32(Page0(q, cmdqv::kQueueProd));
  for (const Command& c : commands) {
    PushCommand(queue, prod, c);
    prod = (prod + 1) & kIndexMask;
  }
  // The doorbell: the hardware sees it, and nobody else.
  cpu_->Write32(Page0(q, cmdqv::kQueueProd), prod);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while ((cpu_->Read32(Page0(q, cmdqv::kQueueCons)) & kIndexMask) != prod) {
    if (cpu_->Read32(Page0(q, cmdqv::kQueueGerror)) !=
        cpu_->Read32(Page0(q, cmdqv::kQueueGerrorn))) {
      return false;
    }
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

bool Guest::IssueTrapped(const std::vector<Command>& commands) {
  uint32_t prod = cpu_->Read32(Smmu(smmu::kCmdqProd));
  for (const Command& c : commands) {
    PushCommand(kSmmuCommands, prod, c);
    prod = (prod + 1) & kIndexMask;
  }
  cpu_->Write32(Smmu(smmu::kCmdqProd), prod);
  // The VMM does it in the exit.
  return (cpu_->Read32(Smmu(smmu::kCmdqCons)) & kIndexMask) == prod;
}

uint32_t Guest::QueueRegister(uint32_t q, uint64_t reg) {
  return cpu_->Read32(Page0(q, reg));
}

// ---- the device ----

uint64_t Guest::DmaRead(uint64_t iova, bool through_atc) {
  cpu_->Write64(kDeviceGpa + device::kIova, iova);
  cpu_->Write32(kDeviceGpa + device::kLength, 8);
  cpu_->Write32(kDeviceGpa + device::kControl,
                device::kRead | (through_atc ? device::kThroughAtc : 0));
  if (cpu_->Read32(kDeviceGpa + device::kStatus) != device::kOk) {
    return kNoData;
  }
  return cpu_->Read64(kDeviceGpa + device::kBuffer);
}

// ---- interrupts ----

void Guest::HandleInterrupts() {
  if (cpu_->TakeIrq(Irq::kCmdqv)) HandleCmdqvError();
  if (cpu_->TakeIrq(Irq::kSmmuError)) HandleSmmuError();
  if (cpu_->TakeIrq(Irq::kSmmuEvents)) HandleSmmuEvents();
}

// Compare __arm_smmu_cmdq_skip_err(): what the queue stopped at is replaced.
Guest::QueueError Guest::Mend(int q, uint64_t queue, uint32_t cons) {
  const Command bad = CommandAt(queue, cons);
  PushCommand(queue, cons, Sync());
  return {q, smmu::ErrorCode(cons), bad};
}

// Compare tegra241_vintf0_handle_error().
void Guest::HandleCmdqvError() {
  if ((cpu_->Read32(Cmdqv(cmdqv::kVintfErrMap)) & 1) == 0) return;
  const uint64_t map = cpu_->Read64(Cmdqv(cmdqv::kLvcmdqErrMap));
  for (uint32_t q = 0; q < num_queues_; q++) {
    if ((map >> q & 1) == 0) continue;
    const uint32_t gerror = cpu_->Read32(Page0(q, cmdqv::kQueueGerror));
    errors_.push_back(Mend(static_cast<int>(q), kQueues + q * kPage,
                           cpu_->Read32(Page0(q, cmdqv::kQueueCons))));
    cpu_->Write32(Page0(q, cmdqv::kQueueGerrorn), gerror);
    // It goes on with what comes after.
    WaitFor(Page0(q, cmdqv::kQueueCons), kIndexMask,
            cpu_->Read32(Page0(q, cmdqv::kQueueProd)));
  }
}

void Guest::HandleSmmuError() {
  const uint32_t gerror = cpu_->Read32(Smmu(smmu::kGerror));
  const uint32_t active = gerror ^ cpu_->Read32(Smmu(smmu::kGerrorn));
  if ((active & smmu::kGerrorCmdq) != 0) {
    errors_.push_back(
        Mend(-1, kSmmuCommands, cpu_->Read32(Smmu(smmu::kCmdqCons))));
  }
  cpu_->Write32(Smmu(smmu::kGerrorn), gerror);
}

void Guest::HandleSmmuEvents() {
  uint32_t cons = cpu_->Read32(Smmu(smmu::kEventqCons));
  const uint32_t prod = cpu_->Read32(Smmu(smmu::kEventqProd));
  for (; cons != prod; cons = (cons + 1) & kIndexMask) {
    const uint64_t at =
        kSmmuEvents + (cons & (kQueueEntries - 1)) * smmu::kEventBytes;
    const uint64_t first = cpu_->Read64(at);
    faults_.push_back({static_cast<uint8_t>(first & 0xff),
                       static_cast<uint32_t>(first >> 32),
                       cpu_->Read64(at + 16)});
  }
  cpu_->Write32(Smmu(smmu::kEventqCons), cons);
}

std::vector<Guest::QueueError> Guest::TakeErrors() {
  return std::exchange(errors_, {});
}

std::vector<Guest::Fault> Guest::TakeFaults() {
  return std::exchange(faults_, {});
}

}  // namespace vmm
