// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run_statements.h"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "prog/calls.h"
#include "prog/run_frame.h"
#include "uapi/iommufd_desc.h"
#include "uapi/iommufd_test.h"

namespace prog {

bool RunNothing(CallFrame*) { return true; }

bool RunFork(CallFrame* f) {
  std::unique_ptr<syscalls> child;
  f->Arm();
  const int ret = f->sys()->fork(&child);
  f->Disarm();
  f->SetError(ret);
  if (ret < 0) return true;
  f->run()->processes.Add(
      f->index(), std::make_unique<Process>(std::move(child), f->process()));
  return true;
}

bool RunOpen(CallFrame* f) {
  const Value* path = f->Arg("path");
  const Value* uapi = f->Arg("uapi");
  const std::string name = path != nullptr ? WordOf(*path) : "/dev/iommu";
  std::string revision = uapi != nullptr ? WordOf(*uapi) : "";
  // Only a known form gives way: open(uapi=nonsense) is a test of its own.
  if (!f->run()->options.revision.empty() &&
      (revision.empty() || RevisionByName(revision) != 0)) {
    revision = f->run()->options.revision;
  }
  f->Arm();
  const int fd = f->sys()->open(name, revision);
  f->Disarm();
  if (fd >= 0) f->process()->AddFile(fd);
  f->SetResult(fd);
  return true;
}

bool RunClose(CallFrame* f) {
  uint64_t fd;
  if (!f->NumberArg("fd", 0, &fd)) return false;
  f->Arm();
  const int ret = f->sys()->close(static_cast<int>(fd));
  f->Disarm();
  f->process()->Closed(static_cast<int>(fd));
  f->SetError(ret);
  return true;
}

bool RunMemory(CallFrame* f) {
  memory_options opts;
  uint64_t huge, fragmented, readonly, poisoned, shared;
  if (!f->NumberArg("size", 0, &opts.size) ||
      !f->NumberArg("align", 0, &opts.align) ||
      !f->NumberArg("addr", 0, &opts.addr) || !f->NumberArg("huge", 0, &huge) ||
      !f->NumberArg("fragmented", 0, &fragmented) ||
      !f->NumberArg("readonly", 0, &readonly) ||
      !f->NumberArg("poisoned", 0, &poisoned) ||
      !f->NumberArg("shared", 0, &shared)) {
    return false;
  }
  opts.huge = huge != 0;
  opts.fragmented = fragmented != 0;
  opts.readonly = readonly != 0;
  opts.poisoned = poisoned != 0;
  opts.shared = shared != 0;
  f->Arm();
  if (f->bound().builtin == Builtin::kMemfd) {
    const int fd = f->sys()->memfd(opts);
    f->Disarm();
    if (fd >= 0) f->process()->AddFile(fd);
    f->SetResult(fd);
    return true;
  }
  const uint64_t addr = f->sys()->anon(opts);
  f->Disarm();
  // Huge pages come whole, and are unmapped so.
  constexpr uint64_t kHuge = 2 << 20;
  f->SetAddress(addr,
                opts.huge ? (opts.size + kHuge - 1) & ~(kHuge - 1) : opts.size);
  return true;
}

bool RunMmap(CallFrame* f) {
  uint64_t fd, addr, length, prot, flags, offset;
  if (!f->NumberArg("fd", 0, &fd) || !f->NumberArg("addr", 0, &addr) ||
      !f->NumberArg("length", 0, &length) ||
      !f->NumberArg("prot", PROT_READ | PROT_WRITE, &prot) ||
      !f->NumberArg("flags", MAP_SHARED, &flags) ||
      !f->NumberArg("offset", 0, &offset)) {
    return false;
  }
  f->Arm();
  const uint64_t at =
      f->sys()->mmap(addr, length, static_cast<int>(prot),
                     static_cast<int>(flags), static_cast<int>(fd), offset);
  f->Disarm();
  f->SetAddress(at, length);
  return true;
}

bool RunMunmap(CallFrame* f) {
  uint64_t addr, length;
  if (!f->NumberArg("addr", 0, &addr)) return false;
  if (!f->NumberArg("length", f->process()->MappingBytes(addr), &length)) {
    return false;
  }
  f->Arm();
  const int ret = f->sys()->munmap(addr, length);
  f->Disarm();
  f->SetError(ret);
  if (ret == 0) f->process()->Unmapped(addr, length);
  return true;
}

bool RunLoad(CallFrame* f) {
  uint64_t addr, n;
  if (!f->NumberArg("addr", 0, &addr) || !f->NumberArg("n", 4, &n)) {
    return false;
  }
  n = std::min(n, kMaxTransferBytes);
  std::string bytes(n, '\0');
  const int ret = f->sys()->load(addr, bytes.data(), bytes.size());
  if (ret < 0) {
    f->result()->error = -ret;
    return true;
  }
  f->result()->has_value = true;
  memcpy(&f->result()->value, bytes.data(), std::min<size_t>(n, 8));
  f->SetBytes(std::move(bytes));
  return true;
}

bool RunFtruncate(CallFrame* f) {
  uint64_t fd, length;
  if (!f->NumberArg("fd", 0, &fd) || !f->NumberArg("length", 0, &length)) {
    return false;
  }
  f->Arm();
  const int ret = f->sys()->ftruncate(static_cast<int>(fd), length);
  f->Disarm();
  f->SetError(ret);
  return true;
}

bool RunStore(CallFrame* f) {
  uint64_t addr, n;
  const Value* v = f->Arg("value");
  if (!f->NumberArg("addr", 0, &addr) || !f->NumberArg("n", 4, &n)) {
    return false;
  }
  std::string bytes;
  if (!f->Bytes(*v, &bytes)) {
    uint64_t value;
    if (!f->result()->why.empty() || !f->Eval(*v, {}, &value)) return false;
    bytes.assign(reinterpret_cast<const char*>(&value), sizeof(value));
    bytes.resize(std::min<uint64_t>(n, 8));
  } else if (f->Arg("n") != nullptr && !bytes.empty()) {
    const std::string once = bytes;
    n = std::min(n, kMaxTransferBytes);
    while (bytes.size() < n) bytes += once;
    bytes.resize(n);
  }
  const int ret = f->sys()->store(addr, bytes.data(), bytes.size());
  f->SetError(ret);
  return true;
}

bool RunReadWrite(CallFrame* f) {
  uint64_t fd, addr, n, bytes;
  if (!f->NumberArg("fd", 0, &fd) || !f->Address("buf", &addr, &bytes) ||
      !f->NumberArg("n", bytes, &n)) {
    return false;
  }
  const bool reads = f->bound().builtin == Builtin::kRead;
  f->Arm();
  const long ret = reads ? f->sys()->read(static_cast<int>(fd), addr, n)
                         : f->sys()->write(static_cast<int>(fd), addr, n);
  f->Disarm();
  if (reads && ret > 0 && bytes != 0) {
    const uint64_t got = std::min<uint64_t>(
        {static_cast<uint64_t>(ret), bytes, kMaxTransferBytes});
    std::string data(got, '\0');
    if (f->sys()->load(addr, data.data(), got) == 0) {
      f->SetBytes(std::move(data));
    }
  }
  f->SetResult(ret);
  return true;
}

bool RunPoll(CallFrame* f) {
  uint64_t fd, events, timeout;
  if (!f->NumberArg("fd", 0, &fd) || !f->NumberArg("events", POLLIN, &events) ||
      !f->NumberArg("timeout_ms", 0, &timeout)) {
    return false;
  }
  timeout = std::min<uint64_t>(timeout, f->run()->options.max_timeout_ms);
  f->Arm();
  const int ret =
      f->sys()->poll(static_cast<int>(fd), static_cast<short>(events),
                     static_cast<int>(timeout));
  f->Disarm();
  f->SetResult(ret);
  return true;
}

namespace {

// A command by its number makes files like one by its name.
void OwnFilesOf(CallFrame* f, uint32_t cmd, uint64_t addr) {
  const auto load = [&](uint64_t offset, void* to, size_t bytes) {
    return f->sys()->load(addr + offset, to, bytes) == 0;
  };
  uint32_t op = 0;
  (void)load(offsetof(struct iommu_test_cmd, op), &op, sizeof(op));
  const desc_ioctl* desc = iommufd_desc_find_cmd(cmd, op, DESC_ALL);
  if (desc == nullptr) return;
  for (const desc_field& d : desc->arg->fields) {
    int fd = -1;
    if (d.kind == desc_kind::FD_OUT && load(d.offset, &fd, sizeof(fd))) {
      f->process()->AddFile(fd);
    }
  }
}

}  // namespace

bool RunRawIoctl(CallFrame* f) {
  uint64_t fd, cmd, addr, bytes;
  if (!f->NumberArg("fd", 0, &fd) || !f->NumberArg("cmd", 0, &cmd) ||
      !f->Address("arg", &addr, &bytes)) {
    return false;
  }
  f->Arm();
  const long ret = f->sys()->ioctl(static_cast<int>(fd), cmd, addr);
  f->Disarm();
  f->SetResult(ret);
  if (ret >= 0) OwnFilesOf(f, static_cast<uint32_t>(cmd), addr);
  return true;
}

}  // namespace prog
