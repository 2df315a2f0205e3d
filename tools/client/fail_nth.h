// SPDX-License-Identifier: GPL-2.0-or-later
//
// What stands for /proc/PID/task/TID/fail-nth.
#ifndef TOOLS_CLIENT_FAIL_NTH_H_
#define TOOLS_CLIENT_FAIL_NTH_H_

#include <memory>

#include "core/linux/err.h"
#include "tools/client/lab.h"

struct file;

namespace client {

// A file that reads and arms the thread's fail_nth. -ENOMEM. As a task of the
// kernel's; both threads are held when it is read or written.
result<struct file*> FailNthFileOf(std::shared_ptr<Thread> thread);

}  // namespace client

#endif  // TOOLS_CLIENT_FAIL_NTH_H_
