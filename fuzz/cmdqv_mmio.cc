// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/cmdqv_mmio.h"

#include "fuzz/cmdqv_mmio_input.h"

namespace fuzz {
namespace cmdqv {

using tegra241::Cmd;
using tegra241::Vm;

Cmd Command(Input* in) {
  static constexpr uint8_t kOps[] = {0x11, 0x12, 0x40, 0x46, 0x03, 0x04,
                                     0x05, 0x06, 0x10, 0x13, 0x20, 0x28,
                                     0x2a, 0x30, 0x41, 0x44};
  // Stream ids of both guests, theirs and the host's; VMIDs; ASIDs.
  static constexpr uint64_t kNames[] = {0x30, 0x20, 8, 16, 1, 2, 3, 0xffff};
  static constexpr uint64_t kAsids[] = {7, 9, 0, 0xffff};
  const uint8_t how = in->Byte();
  Cmd cmd;
  if (how & 0x80) {
    cmd.data[0] = in->Get<uint64_t>();
    cmd.data[1] = in->Get<uint64_t>();
    if (how & 0x40) return cmd;
    cmd.data[0] = (cmd.data[0] & ~0xffULL) | kOps[how % 16];
    return cmd;
  }
  // A name of a stream or a VMID, and an ASID; an address that somebody uses.
  const uint8_t who = in->Byte();
  const uint8_t where = in->Byte();
  const uint8_t op = kOps[how % 16];
  // Those of stream ids have nothing above that.
  const bool tlbi = op >= 0x10 && op < 0x40;
  cmd.data[0] =
      op | kNames[who % 8] << 32 | (tlbi ? kAsids[who / 8 % 4] << 48 : 0);
  cmd.data[1] = Vm::Va(where % 4) | (who & 0x40 ? 52 : 0) | where >> 7;
  return cmd;
}

}  // namespace cmdqv

std::string RunCmdqvMmio(const uint8_t* data, size_t size) {
  cmdqv::Input in(data, size);
  const uint8_t how = in.Byte();
  return how & 8 ? cmdqv::RunModels(how, &in) : cmdqv::RunGuest(how, &in);
}

}  // namespace fuzz
