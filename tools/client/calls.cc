// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/calls.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "core/linux/fault-inject.h"
#include "core/linux/uaccess.h"
#include "core/mm/memfd.h"
#include "core/mm/remote.h"
#include "core/mm/vma.h"
#include "tools/client/fail_nth.h"
#include "uapi/iommufd_desc.h"
#include "uapi/iommufd_test.h"

namespace client {
namespace {

// The most that one read or write moves.
constexpr size_t kMaxTransfer = 0x7ffff000;

// What this process may, and so what a program may at most.
uint64_t OwnCapabilities() {
  __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};

  syscall(SYS_capget, &head, data);
  return data[0].effective | static_cast<uint64_t>(data[1].effective) << 32;
}

}  // namespace

Calls::Calls(Lab* lab, const iommufd_revision* revision, Machine machine)
    : lab_(lab),
      revision_(revision),
      machine_(std::move(machine)),
      granted_caps_(machine_.privileged ? ~OwnCapabilities() : 0) {}

bool Calls::SetCredentials(Thread* thread, const lab_request& request) {
  struct cred* cred = &thread->credentials;

  const uint32_t uid = machine_.uid.value_or(request.euid);
  thread->program->leader->rlimit_memlock.store(
      machine_.memlock.value_or(request.memlock), std::memory_order_relaxed);
  cred->caps = request.caps | granted_caps_;
  if (cred->user == nullptr || cred->uid != uid) {
    cred->user = alloc_uid(lab_->kernel(), uid);
    cred->uid = uid;
  }
  return cred->user != nullptr;
}

namespace {

// A thread while it executes a call. One that changes another thread's fail_nth
// holds that one, too.
class BusyThreads {
 public:
  BusyThreads(Thread* own, Thread* other) ABSL_NO_THREAD_SAFETY_ANALYSIS
      : first_(own),
        second_(other != own ? other : nullptr) {
    // In the order of their addresses: two may name each other.
    if (second_ != nullptr && std::less<>()(second_, first_)) {
      std::swap(first_, second_);
    }
    first_->busy.Lock();
    if (second_ != nullptr) second_->busy.Lock();
  }
  ~BusyThreads() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (second_ != nullptr) second_->busy.Unlock();
    first_->busy.Unlock();
  }
  BusyThreads(const BusyThreads&) = delete;
  BusyThreads& operator=(const BusyThreads&) = delete;

 private:
  Thread* first_;
  Thread* second_;
};

}  // namespace

void Calls::Handle(Thread* thread, const lab_request& request, UniqueFd with,
                   lab_reply* reply, UniqueFd* out) {
  std::shared_ptr<OpenFile> open;

  lab_->Reap();
  lab_->NextEpoch();
  reply->result = -EIO;
  if (!lab_->BeginCall(thread->program.get())) return;
  if (request.file != 0) open = lab_->Find(request.file);
  {
    const BusyThreads busy(thread,
                           open != nullptr ? open->target.get() : nullptr);
    if (!SetCredentials(thread, request)) {
      reply->result = -ENOMEM;
    } else {
      Execute(thread, request, open.get(), std::move(with), reply, out);
      lab_->sim()->leave();
      lab_->UpdateReadiness(&thread->helper);
      if (request.op == LAB_READ && open != nullptr) {
        lab_->SettleReading(open.get(), reply);
      }
    }
  }
  lab_->EndCall(thread->program.get());
  if (request.op == LAB_REGISTER) lab_->memory_files()->CollectGarbage();
}

void Calls::Execute(Thread* thread, const lab_request& request, OpenFile* open,
                    UniqueFd with, lab_reply* reply, UniqueFd* out) {
  const auto needs_file = [&](auto call) -> int64_t {
    if (open == nullptr) return -EBADF;
    // Its last descriptor may go now.
    struct file* file = lab_->Get(*open);
    if (file == nullptr) return -EBADF;
    const int64_t rc = call();
    task_scope ts(&thread->helper);
    fput(file);
    return rc;
  };

  switch (request.op) {
    case LAB_OPEN:
      reply->result = Open(thread, request, out);
      break;
    case LAB_IOCTL:
      reply->result =
          needs_file([&] { return Ioctl(thread, request, open, reply, out); });
      break;
    case LAB_READ:
    case LAB_WRITE:
      reply->result =
          needs_file([&] { return Transfer(thread, request, open); });
      break;
    case LAB_MMAP:
      reply->result =
          needs_file([&] { return Mmap(thread, request, open, reply, out); });
      break;
    case LAB_MUNMAP: {
      const uint64_t addr = request.arg[0];
      const uint64_t length = request.arg[1];
      {
        task_scope ts(&thread->task);
        reply->result = vm_munmap(addr, length);
      }
      if (lab_->trace() == nullptr) break;
      const uint64_t image = thread->program->number;
      if (reply->result == 0)
        lab_->trace()->DeviceUnmapped(image, addr, length);
      lab_->trace()->recorder()->Munmap(lab_->trace()->Caller(image, 0), addr,
                                        length,
                                        static_cast<int>(reply->result));
      break;
    }
    case LAB_REGISTER:
      if (lab_->trace() != nullptr) {
        lab_->trace()->AddMemory(with.get(), request.kind == 1);
      }
      reply->result = lab_->memory_files()->Register(std::move(with)) == nullptr
                          ? -EINVAL
                          : 0;
      break;
    case LAB_PRESERVE: {
      if (lab_->trace() != nullptr) {
        lab_->trace()->recorder()->Unmaps(
            lab_->trace()->Caller(thread->program->number, 0).process,
            request.arg[0], request.arg[1]);
      }
      task_scope ts(&thread->helper);
      reply->result = remote_mm_preserve(thread->program->mm, request.arg[0],
                                         request.arg[1]);
      break;
    }
    default:
      reply->result = -ENOSYS;
  }
}

int64_t Calls::Open(Thread* thread, const lab_request& request, UniqueFd* out) {
  switch (request.kind) {
    case LAB_OPEN_FAIL_NTH:
      return OpenFailNth(thread, request, out);
    case LAB_OPEN_STATUS:
      return OpenStatus(thread, request, out);
    case LAB_OPEN_IOMMU:
    case LAB_OPEN_VFIO:
      break;
    default:
      return -EINVAL;
  }
  const int flags = static_cast<int>(request.arg[0]);
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return -EEXIST;
  if (flags & O_DIRECTORY) return -ENOTDIR;
  const bool vfio = request.kind == LAB_OPEN_VFIO;
  const unsigned nth = fail_nth_read(&thread->task);
  uint64_t number = 0;
  int64_t rc;
  {
    task_scope ts(&thread->task);
    result<struct file*> file = iommufd_file_open(revision_, vfio);

    rc = file ? lab_->Publish(*file, flags & O_ACCMODE, nullptr, out, &number)
              : file.error();
  }
  if (lab_->trace() != nullptr) {
    lab_->trace()->recorder()->Open(
        lab_->trace()->Caller(thread->program->number, nth),
        vfio ? "/dev/vfio/vfio" : "/dev/iommu", "", static_cast<int>(rc),
        number);
  }
  return rc;
}

int64_t Calls::OpenFailNth(Thread* thread, const lab_request& request,
                           UniqueFd* out) {
  const pid_t pid = static_cast<pid_t>(request.arg[1]);
  const pid_t tid = static_cast<pid_t>(request.arg[2]);
  const std::shared_ptr<Program> program = lab_->ProgramOf(pid);
  char path[64];

  snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
  if (program == nullptr || access(path, F_OK) != 0) return -ENOENT;
  std::shared_ptr<Thread> target = lab_->ThreadOf(program, tid);
  if (target == nullptr) return -ENOENT;

  task_scope ts(&thread->helper);
  result<struct file*> file = FailNthFileOf(target);
  if (!file) return file.error();
  return lab_->Publish(*file, static_cast<int>(request.arg[0]) & O_ACCMODE,
                       std::move(target), out);
}

// The host's text with our numbers.
int64_t Calls::OpenStatus(Thread* thread, const lab_request& request,
                          UniqueFd* out) {
  const pid_t pid = static_cast<pid_t>(request.arg[1]);
  const std::shared_ptr<Program> program = lab_->ProgramOf(pid);
  unsigned long locked = 0;
  unsigned long pinned = 0;
  char path[64];

  if (program == nullptr || !lab_->BeginCall(program.get())) return -EXDEV;
  {
    task_scope ts(&thread->helper);
    struct sim_mm* mm = to_sim_mm(program->mm);

    mmap_read_lock(mm);
    [&]() LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h") {
      locked = mm->locked_vm;
    }();
    mmap_read_unlock(mm);
    pinned = static_cast<unsigned long>(mm->pinned_vm.load());
  }
  lab_->EndCall(program.get());
  snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid,
           static_cast<pid_t>(request.arg[2]));
  const UniqueFd real(open(path, O_RDONLY | O_CLOEXEC));
  if (!real) return -errno;
  std::string text;
  char buf[4096];
  for (ssize_t n; (n = read(real.get(), buf, sizeof(buf))) > 0;) {
    text.append(buf, static_cast<size_t>(n));
  }
  const auto replace = [&text](const char* key, unsigned long pages) {
    const size_t at = text.find(key);
    const size_t end =
        at == std::string::npos ? std::string::npos : text.find('\n', at);
    char line[64];

    if (end == std::string::npos) return;
    snprintf(line, sizeof(line), "%s\t%8lu kB", key, pages * 4);
    text.replace(at, end - at, line);
  };
  replace("VmLck:", locked);
  replace("VmPin:", pinned);
  const UniqueFd copy(memfd_create("status", MFD_CLOEXEC));
  if (!copy || write(copy.get(), text.data(), text.size()) !=
                   static_cast<ssize_t>(text.size())) {
    return -ENOMEM;
  }
  snprintf(path, sizeof(path), "/proc/self/fd/%d", copy.get());
  out->Reset(open(path, O_RDONLY | O_CLOEXEC));
  return *out ? 0 : -errno;
}

// Which of the command's fields are descriptors.
Calls::DescriptorFields Calls::FieldsOf(Thread* thread,
                                        const lab_request& request) {
  const auto cmd = static_cast<uint32_t>(request.arg[0]);
  DescriptorFields fields;
  u32 op = 0;

  if (cmd == IOMMU_TEST_CMD &&
      thread->program->memory->copy(
          &op, request.arg[1] + offsetof(iommu_test_cmd, op), sizeof(op),
          false) != 0) {
    return fields;
  }
  const desc_ioctl* d =
      iommufd_desc_find_cmd(cmd, op, revision_->desc_revision);
  if (d == nullptr) return fields;
  fields.returned = d->returns_fd;
  for (const desc_field& f : d->arg->fields) {
    if (f.kind == desc_kind::FD_IN) fields.in_offset = f.offset;
    if (f.kind == desc_kind::FD_OUT) fields.out_offset = f.offset;
  }
  return fields;
}

// The kernel's file that stands for a descriptor of the program, with a
// reference. nullptr: it is closed. As the helper.
struct file* Calls::FileOf(Thread* thread, int fd) {
  char path[64];
  char target[64];
  unsigned long ino = 0;

  snprintf(path, sizeof(path), "/proc/%d/task/%d/fd/%d", thread->program->pid,
           thread->tid, fd);
  const ssize_t n = readlink(path, target, sizeof(target) - 1);
  if (n < 0) return nullptr;
  target[n] = '\0';
  if (sscanf(target, "socket:[%lu]", &ino) == 1) {
    if (struct file* file = lab_->GetByIno(ino)) return file;
  } else if (struct stat st; stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
    UniqueFd copy(open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!copy) {
      copy.Reset(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    }
    std::shared_ptr<remote_object> object =
        lab_->memory_files()->Register(std::move(copy));
    if (object != nullptr) {
      result<struct file*> file = remote_memfd_file(std::move(object));
      if (file) return *file;
    }
  }
  // Some other file: nothing that the kernel would take.
  static constexpr file_operations kNoOps = {.name = "foreign"};
  result<struct file*> file =
      anon_inode_getfile("foreign", &kNoOps, nullptr, 0);
  return file ? *file : nullptr;
}

int64_t Calls::Ioctl(Thread* thread, const lab_request& request, OpenFile* open,
                     lab_reply* reply, UniqueFd* out) {
  const auto cmd = static_cast<unsigned>(request.arg[0]);
  const uint64_t arg = request.arg[1];
  const DescriptorFields fields = FieldsOf(thread, request);
  lent_fd lent = {};
  struct file* file = open->file;
  prog::Recorder::Ioctl traced;
  uint64_t number = 0;
  int64_t rc;

  if (lab_->trace() != nullptr) {
    traced = lab_->trace()->recorder()->BeginIoctl(
        lab_->trace()->Caller(thread->program->number,
                              fail_nth_read(&thread->task)),
        open->number, -1, cmd, arg);
  }

  if (fields.in_offset >= 0) {
    int fd = -1;
    task_scope ts(&thread->helper);

    if (thread->program->memory->copy(
            &fd, arg + static_cast<uint64_t>(fields.in_offset), sizeof(fd),
            false) == 0 &&
        fd >= 0) {
      lent.file = FileOf(thread, fd);
      lent.fd = static_cast<unsigned>(fd);
      if (lent.file != nullptr) thread->files.lent = &lent;
    }
  }
  {
    task_scope ts(&thread->task);

    rc = file->f_op->unlocked_ioctl == nullptr
             ? -ENOTTY
             : file->f_op->unlocked_ioctl(file, cmd, arg);
    if (rc == -ENOIOCTLCMD) rc = -ENOTTY;
  }
  thread->files.lent = nullptr;
  task_scope ts(&thread->helper);
  if (lent.file != nullptr) fput(lent.file);
  // What it opened is the lowest descriptor, as there is no other.
  struct file* made = fget(files_struct::FIRST_FD);
  if (made != nullptr) {
    // The table's reference goes, ours stays.
    (void)close_fd(files_struct::FIRST_FD);
    if (rc < 0 || (fields.out_offset < 0 && !fields.returned)) {
      fput(made);
    } else {
      const int64_t published =
          lab_->Publish(made, O_RDWR, nullptr, out, &number);
      if (published < 0) {
        rc = published;
      } else if (!fields.returned) {
        reply->store_at = arg + static_cast<uint64_t>(fields.out_offset);
      }
    }
  }
  if (lab_->trace() != nullptr) {
    const prog::RecordFile files[] = {number};
    lab_->trace()->recorder()->EndIoctl(
        &traced, rc, std::span(files).first(number != 0 ? 1 : 0));
  }
  return rc;
}

int64_t Calls::Transfer(Thread* thread, const lab_request& request,
                        OpenFile* open) {
  const bool reads = request.op == LAB_READ;
  const uint64_t buf = request.arg[0];
  const uint64_t count = request.arg[1];
  constexpr uint64_t kLimit = (1ull << 47) - PAGE_SIZE;
  struct file* file = open->file;
  const auto op = reads ? file->f_op->read : file->f_op->write;

  if (open->access == (reads ? O_WRONLY : O_RDONLY)) return -EBADF;
  if (op == nullptr) return -EINVAL;
  if (count > kLimit || buf > kLimit - count) return -EFAULT;
  // fail_nth is in the calls that it is about.
  prog::Recorder* recorder = lab_->trace() != nullptr && open->target == nullptr
                                 ? lab_->trace()->recorder()
                                 : nullptr;
  prog::RecordCaller caller;
  prog::Recorder::Ioctl traced;
  if (recorder != nullptr) {
    caller = lab_->trace()->Caller(thread->program->number,
                                   fail_nth_read(&thread->task));
    if (!reads) {
      traced = recorder->BeginWrite(caller, open->number, -1, buf, count);
    }
  }
  loff_t pos = static_cast<loff_t>(request.arg[2]);
  int64_t rc;
  {
    task_scope ts(&thread->task);
    rc = op(file, buf, std::min<size_t>(count, kMaxTransfer),
            request.kind != 0 ? &pos : &file->f_pos);
  }
  if (recorder != nullptr && reads) {
    recorder->Read(caller, open->number, -1, buf, count, rc);
  } else if (recorder != nullptr) {
    recorder->EndWrite(&traced, rc);
  }
  return rc;
}

int64_t Calls::Mmap(Thread* thread, const lab_request& request, OpenFile* open,
                    lab_reply* reply, UniqueFd* out) {
  const uint64_t addr = request.arg[0];
  const uint64_t length = request.arg[1];
  const uint64_t flags = (request.arg[3] & MAP_TYPE) | MAP_FIXED;
  const bool writes =
      (request.arg[2] & PROT_WRITE) && (flags & MAP_TYPE) != MAP_PRIVATE;

  if (open->access == O_WRONLY || (open->access == O_RDONLY && writes)) {
    return -EACCES;
  }
  prog::RecordCaller caller;
  if (lab_->trace() != nullptr) {
    caller = lab_->trace()->Caller(thread->program->number,
                                   fail_nth_read(&thread->task));
  }
  task_scope ts(&thread->task);
  const long at =
      vm_mmap(open->file, addr, length, request.arg[2], flags, request.arg[4]);
  if (lab_->trace() != nullptr) {
    if (at >= 0)
      lab_->trace()->DeviceMapped(thread->program->number, addr, length);
    lab_->trace()->recorder()->Mmap(
        caller, open->number, -1, request.arg[3] & MAP_FIXED ? addr : 0, length,
        static_cast<int>(request.arg[2]), static_cast<int>(request.arg[3]),
        request.arg[4], static_cast<uint64_t>(at));
  }
  if (at < 0) return at;
  unsigned long pfn = 0;
  mmap_read_lock(thread->program->mm);
  const vm_area_struct* vma = vma_lookup(thread->program->mm, addr);
  if (vma != nullptr) pfn = vma->pfn;
  mmap_read_unlock(thread->program->mm);
  int ram = -1;
  const long offset = mm_ram_offset(lab_->kernel(), pfn, &ram);
  if (offset >= 0) {
    reply->value = static_cast<uint64_t>(offset);
    out->Reset(fcntl(ram, F_DUPFD_CLOEXEC, 3));
  }
  return 0;
}

}  // namespace client
