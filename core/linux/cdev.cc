// SPDX-License-Identifier: GPL-2.0-or-later
//
// Device files by path. Stands in for fs/char_dev.c and devtmpfs, Linux v7.2.
#include "core/linux/cdev.h"

static struct cdev **cdev_link(struct kernel *k, std::string_view path) __must_hold(&k->cdev_lock)
{
	struct cdev **link = &k->cdevs;

	while (*link && path != (*link)->path)
		link = &(*link)->next;
	return link;
}

int cdev_add(struct kernel *k, struct cdev *cdev)
{
	raw_guard g(&k->cdev_lock);
	struct cdev **link = cdev_link(k, cdev->path);

	if (*link)
		return -EEXIST;
	cdev->next = nullptr;
	*link = cdev;
	return 0;
}

void cdev_del(struct kernel *k, struct cdev *cdev)
{
	raw_guard g(&k->cdev_lock);
	struct cdev **link = cdev_link(k, cdev->path);

	if (*link == cdev)
		*link = cdev->next;
}

struct cdev *cdev_find(struct kernel *k, std::string_view path)
{
	raw_guard g(&k->cdev_lock);

	return *cdev_link(k, path);
}
