// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The library, for programs of another workspace that depend on @iommulab//:iommulab. A kernel is a
 * value: make as many as you like, on any threads. No kernel counterpart; examples/embed is a whole
 * workspace that uses it.
 */
#pragma once

#include <memory>
#include <string>

#include "core/iommufd/introspect.h"
#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"
#include "uapi/syscalls.h"
#include "uapi/vfio.h"

/*
 * A kernel with the mock IOMMU (what CONFIG_IOMMUFD_TEST gives) and one process on it, whose
 * addresses are pointers of this program. @form names what open() gives ("hw-queue", "vcmdq-v2",
 * "linux-v6_12"), empty for the default; a WARN is counted and logged (take_log()). The kernel goes
 * with its last process. -ENOMEM; -EINVAL: no such form. sim_syscalls::create() has all options.
 */
result<std::unique_ptr<sim_syscalls>> iommulab_create(const std::string &form = {});

/*
 * The objects of an open /dev/iommu of @process, their counts and who holds whom. Any thread may
 * ask. 0; -EBADF: no such descriptor; -EBADFD: another kind of file; -ENOMEM.
 */
int iommulab_snapshot(sim_syscalls &process, int fd, struct iommufd_snapshot *out);
