// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/cdev.h, Linux v7.2: device files that drivers bring. CUSTOMISED: there are
// no numbers and no inodes; a device has the path that udev would give it, and makes a file of its
// own for each open.
#pragma once

#include <string_view>

#include "core/linux/err.h"
#include "core/linux/kernel.h"

struct file;

struct cdev {
	char path[64] = "";
	// A new file with one reference, or -errno.
	result<struct file *> (*open)(struct cdev *cdev) = nullptr;
	struct cdev *next = nullptr;
};

// @cdev stays the caller's. 0, or -EEXIST when its path is taken.
[[nodiscard]] int cdev_add(struct kernel *k, struct cdev *cdev);
// Nobody opens it any more, and its files are closed.
void cdev_del(struct kernel *k, struct cdev *cdev);
// NULL: no such path.
struct cdev *cdev_find(struct kernel *k, std::string_view path);
