// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/fail_nth.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "core/linux/fault-inject.h"
#include "core/linux/file.h"
#include "core/linux/uaccess.h"

namespace client {
namespace {

struct FailNthFile {
  std::shared_ptr<Thread> thread;
};

Thread* FailNthThread(struct file* file) {
  return static_cast<FailNthFile*>(file->private_data)->thread.get();
}

// Compare kstrtouint() with base 0.
int ParseUnsigned(const char* s, u32* out) {
  char* end = nullptr;

  if (*s == '+') s++;
  if (*s < '0' || *s > '9') return -EINVAL;
  errno = 0;
  const unsigned long n = strtoul(s, &end, 0);
  if (end == s) return -EINVAL;
  if (*end == '\n') end++;
  if (*end != '\0') return -EINVAL;
  if (errno == ERANGE || n > UINT32_MAX) return -ERANGE;
  *out = static_cast<u32>(n);
  return 0;
}

// Compare proc_fail_nth_read(). Both threads are held.
ssize_t FailNthRead(struct file* file, u64 buf, size_t count, loff_t* pos) {
  char text[16];
  const size_t len = static_cast<size_t>(snprintf(
      text, sizeof(text), "%u\n", fail_nth_read(&FailNthThread(file)->task)));

  if (*pos < 0) return -EINVAL;
  const size_t at = static_cast<size_t>(*pos);
  if (at >= len || count == 0) return 0;
  count = std::min(count, len - at);
  if (user_out<void>(buf).copy_to_user(text + at, count)) return -EFAULT;
  *pos += static_cast<loff_t>(count);
  return static_cast<ssize_t>(count);
}

// Compare proc_fail_nth_write().
ssize_t FailNthWrite(struct file* file, u64 buf, size_t count, loff_t*) {
  char text[1 + 32 + 1 + 1];
  const size_t n = std::min(count, sizeof(text) - 1);
  u32 nth = 0;

  if (user_in<void>(buf).copy_from_user(text, n)) return -EFAULT;
  text[n] = '\0';
  if (const int rc = ParseUnsigned(text, &nth)) return rc;
  fail_nth_write(&FailNthThread(file)->task, nth);
  return static_cast<ssize_t>(count);
}

int FailNthRelease(struct file* file) {
  delete static_cast<FailNthFile*>(file->private_data);
  return 0;
}

constexpr file_operations kFailNthOps = {
    .release = FailNthRelease,
    .read = FailNthRead,
    .write = FailNthWrite,
    .name = "fail-nth",
};

}  // namespace

result<struct file*> FailNthFileOf(std::shared_ptr<Thread> thread) {
  auto* priv = new FailNthFile{std::move(thread)};
  result<struct file*> file =
      anon_inode_getfile("fail-nth", &kFailNthOps, priv, O_RDWR);
  if (!file) delete priv;
  return file;
}

}  // namespace client
