// SPDX-License-Identifier: GPL-2.0-or-later
//
// The free-running mode: a thread of the model's, clients that map page 0 of
// their VINTF, a driver and devices beside them.

#include <atomic>
#include <thread>

#include "tests/hw/hw_fixture.h"

namespace hw_test {
namespace {

class FreeRunning : public CmdqvFixture {
 protected:
  ~FreeRunning() override { StopThread(); }

  void Up2() {
    config_.mode = HW_FREE_RUNNING;
    Start(true);
    Up();
    EnableCmdqv();
    EnableVintf(1, 7);
    EnableVintf(2, 9);
  }
  void StartThread() {
    thread_ = std::thread([this] { smmuv3_hw_run(smmu_, &stop_); });
  }
  void StopThread() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    stop_ = false;
  }
  // A register as a client sees it that has page 0 of VINTF @v mapped.
  uint32_t* Mapped(unsigned v, unsigned l, uint32_t off) {
    uint64_t phys = mmio_ram(kernel_.get(), ViPage0(v, l, off));
    EXPECT_NE(0u, phys);
    return static_cast<uint32_t*>(phys_to_virt(phys));
  }
  static uint32_t Peek(uint32_t* reg) {
    return __atomic_load_n(reg, __ATOMIC_ACQUIRE);
  }
  static void Poke(uint32_t* reg, uint32_t val) {
    __atomic_store_n(reg, val, __ATOMIC_RELEASE);
  }
  // For as long as the hardware's thread takes. Bazel ends a test whose
  // hardware does nothing.
  template <class Condition>
  static void Wait(Condition condition) {
    while (!condition()) std::this_thread::yield();
  }

  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_F(FreeRunning, OnlyPage0HasMemoryBehindIt) {
  Up2();
  EXPECT_NE(0u, mmio_ram(kernel_.get(), ViPage0(0, 0)));
  EXPECT_EQ(mmio_ram(kernel_.get(), ViPage0(3, 0)) + 0x84,
            mmio_ram(kernel_.get(), ViPage0(3, 1, 4)));
  EXPECT_EQ(0u, mmio_ram(kernel_.get(), ViPage1(0, 0)));
  EXPECT_EQ(0u, mmio_ram(kernel_.get(), Page0(0)));
  EXPECT_EQ(0u, mmio_ram(kernel_.get(), kCmdqv));
  EXPECT_EQ(0u, mmio_ram(kernel_.get(), kSmmu));
}

// Without a thread the same is seen at each step.
TEST_F(FreeRunning, StoresAreSeenByPolling) {
  Up2();
  Write(AllocReg(3), AllocValue(1, 0));
  uint64_t ring = Alloc();
  Write(ViPage1(1, 0), ring | kLog2, 8);
  Poke(Mapped(1, 0, Q::CONFIG::offset), 1);
  StoreFormat(ring, Sync());
  Poke(Mapped(1, 0, Q::PROD::offset), 1);
  EXPECT_EQ(0u, Peek(Mapped(1, 0, Q::STATUS::offset)));
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(1u, Peek(Mapped(1, 0, Q::STATUS::offset)));
  EXPECT_EQ(1u, Peek(Mapped(1, 0, Q::CONS::offset)));
  // And the driver sees what the client stored before it asks.
  Poke(Mapped(1, 0, Q::PROD::offset), 5);
  EXPECT_EQ(5u, Read(Page0(3, Q::PROD::offset)));
}

TEST_F(FreeRunning, HardwaresRegistersComeBack) {
  Up2();
  StartQueue(1, 0, 3);
  for (uint32_t off : {Q::CONS::offset, Q::STATUS::offset, Q::GERROR::offset}) {
    const uint32_t before = Peek(Mapped(1, 0, off));
    Poke(Mapped(1, 0, off), 0xdeadbeef);
    smmuv3_hw_step(smmu_);
    EXPECT_EQ(before, Peek(Mapped(1, 0, off))) << off;
  }
  Poke(Mapped(1, 0, Q::CONFIG::offset), 0xffffffff);
  smmuv3_hw_step(smmu_);
  EXPECT_EQ(1u, Peek(Mapped(1, 0, Q::CONFIG::offset)));
}

// What a guest stores for a queue that it does not have goes nowhere.
TEST_F(FreeRunning, SlotsThatAreNotAllocatedAreMemory) {
  Up2();
  StartQueue(1, 0, 3);
  Poke(Mapped(1, 1, Q::CONFIG::offset), 1);
  Poke(Mapped(1, 1, Q::PROD::offset), 9);
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(0u, Read(Page0(4, Q::PROD::offset)));
  EXPECT_EQ(0u, Read(ViPage0(1, 1, Q::PROD::offset)));
  // The queue comes with its own registers, and leaves none behind.
  Write(Page0(4, Q::PROD::offset), 3);
  Write(AllocReg(4), AllocValue(1, 1));
  EXPECT_EQ(3u, Peek(Mapped(1, 1, Q::PROD::offset)));
  EXPECT_EQ(0u, Peek(Mapped(1, 1, Q::CONFIG::offset)));
  Poke(Mapped(1, 1, Q::PROD::offset), 6);
  Write(AllocReg(4), AllocValue(1, 1, false));
  EXPECT_EQ(6u, Read(Page0(4, Q::PROD::offset)));
  EXPECT_EQ(0u, Peek(Mapped(1, 1, Q::PROD::offset)));
  Poke(Mapped(1, 1, Q::PROD::offset), 8);
  smmuv3_hw_step(smmu_);
  EXPECT_EQ(6u, Read(Page0(4, Q::PROD::offset)));
}

TEST_F(FreeRunning, TheNextGuestFindsNothing) {
  Up2();
  StartQueue(1, 0, 3);
  Poke(Mapped(1, 0, Q::PROD::offset), 7);
  Poke(Mapped(1, 1, 0), 8);
  Poke(Mapped(1, 511, 0x7c), 9);
  Write(VintfReg(1, 0), 0);
  EnableVintf(1, 11);
  EXPECT_EQ(7u, Peek(Mapped(1, 0, Q::PROD::offset)));
  EXPECT_EQ(0u, Peek(Mapped(1, 1, 0)));
  EXPECT_EQ(0u, Peek(Mapped(1, 511, 0x7c)));
}

// Two clients, each with a queue of its VINTF, at full speed; the driver and a
// device meanwhile.
TEST_F(FreeRunning, ClientsRunTheirQueues) {
  constexpr int kRounds = 200;
  Up2();
  const uint64_t page = Page(4711);
  SetSte(9, Ste(STE_CONFIG_BYPASS));
  const uint64_t rings[] = {StartQueue(1, 0, 3), StartQueue(2, 0, 4)};
  StartThread();
  std::vector<std::thread> clients;
  for (unsigned c = 0; c < 2; ++c) {
    uint32_t* prod_reg = Mapped(1 + c, 0, Q::PROD::offset);
    uint32_t* cons_reg = Mapped(1 + c, 0, Q::CONS::offset);
    uint64_t* ring = At(rings[c]);
    clients.emplace_back([=] {
      uint32_t prod = 0;
      for (int i = 0; i < kRounds; ++i) {
        for (const CMD& cmd : {Tlbi(CMD_TLBI_NH_ASID, 0, 3), Sync()}) {
          uint64_t* entry = ring + 2 * (prod % (1 << kLog2));
          __atomic_store_n(&entry[0], cmd.word[0], __ATOMIC_RELAXED);
          __atomic_store_n(&entry[1], cmd.word[1], __ATOMIC_RELAXED);
          prod = hw_queue_next(prod, kLog2);
          // Twice in a row: the second store must not get lost.
          Poke(prod_reg, prod);
        }
        Wait([&] { return Peek(cons_reg) == prod; });
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(4711u, DmaRead(9, page));
    Push({CfgiAll(), Sync()});
    const uint32_t prod = Get<Regs::CMDQ_PROD>().raw;
    Wait([&] { return Get<Regs::CMDQ_CONS>().raw == prod; });
  }
  for (std::thread& client : clients) client.join();
  StopThread();
  EXPECT_EQ(0u, Errors(1, 0));
  EXPECT_EQ(0u, Errors(2, 0));
}

// What a client stores stays until it stores something else: looking at it is
// no write.
TEST_F(FreeRunning, StoresAreNotUndone) {
  Up2();
  Write(AllocReg(3), AllocValue(1, 0));
  std::atomic<int> steps{0};
  thread_ = std::thread([this, &steps] {
    for (; !stop_; ++steps) smmuv3_hw_step(smmu_);
  });
  uint32_t* prod = Mapped(1, 0, Q::PROD::offset);
  int undone = 0;
  for (uint32_t i = 0; steps < 20000; ++i) {
    i &= 0xfffff;
    Poke(prod, i);
    for (int look = 0; look < 50; ++look) {
      if (Peek(prod) != i) ++undone;
    }
  }
  StopThread();
  EXPECT_EQ(0, undone);
}

TEST_F(FreeRunning, AnErrorInterruptsAndTheClientMendsIt) {
  Up2();
  const uint64_t ring = StartQueue(1, 0, 3);
  StartThread();
  StoreFormat(ring, Op(CMD_CFGI_STE));
  Poke(Mapped(1, 0, Q::PROD::offset), 1);
  Wait([&] { return irqs_.count[SMMUV3_IRQ_CMDQV] == 1; });
  EXPECT_EQ(1u, Peek(Mapped(1, 0, Q::GERROR::offset)));
  EXPECT_EQ(CERROR_ILL, Peek(Mapped(1, 0, Q::CONS::offset)) >> 24);
  StoreFormat(ring, Sync());
  Poke(Mapped(1, 0, Q::GERRORN::offset), 1);
  Wait([&] { return (Peek(Mapped(1, 0, Q::CONS::offset)) & 0xfffff) == 1; });
  StopThread();
  EXPECT_EQ(0u, Read(kCmdqv + 0x14));
}

// The driver takes queues away and gives them on while a client pokes all of
// its page.
TEST_F(FreeRunning, QueuesComeAndGoUnderAClient) {
  Up2();
  StartThread();
  std::atomic<bool> done{false};
  uint32_t* base = Mapped(1, 0, 0);
  std::thread client([=, &done] {
    uint32_t x = 1;
    while (!done) {
      x = x * 1664525 + 1013904223;
      Poke(base + (x >> 16) % (4 * 0x80 / 4), x >> 8);
    }
  });
  const uint64_t ring = Alloc();
  for (int i = 0; i < 100; ++i) {
    for (unsigned l = 0; l < 3; ++l) {
      Write(AllocReg(3 + l), AllocValue(1, l));
      Write(ViPage1(1, l), ring | kLog2, 8);
      Write(ViPage0(1, l, Q::CONFIG::offset), 1);
    }
    for (unsigned l = 3; l-- > 0;) {
      Write(ViPage0(1, l, Q::CONFIG::offset), 0);
      Write(AllocReg(3 + l), AllocValue(1, l, false));
      EXPECT_EQ(AllocValue(1, l, false), Read(AllocReg(3 + l)));
    }
  }
  done = true;
  client.join();
  StopThread();
}

}  // namespace
}  // namespace hw_test
