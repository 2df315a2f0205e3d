// SPDX-License-Identifier: GPL-2.0-or-later
//
// Names of errors. Mirrors lib/errname.c, Linux v7.2, as far as this tree needs.
#include "core/linux/errno.h"

const char *errname(int err)
{
	switch (err < 0 ? -err : err) {
#define NAME(e) \
	case e: \
		return #e
	case 0:
		return "0";
		NAME(EPERM);
		NAME(ENOENT);
		NAME(EINTR);
		NAME(EIO);
		NAME(ENXIO);
		NAME(E2BIG);
		NAME(EBADF);
		NAME(EAGAIN);
		NAME(ENOMEM);
		NAME(EACCES);
		NAME(EFAULT);
		NAME(EBUSY);
		NAME(EEXIST);
		NAME(EXDEV);
		NAME(ENODEV);
		NAME(ENOTDIR);
		NAME(EINVAL);
		NAME(ENFILE);
		NAME(EMFILE);
		NAME(ENOTTY);
		NAME(EFBIG);
		NAME(ENOSPC);
		NAME(ESPIPE);
		NAME(EPIPE);
		NAME(EDOM);
		NAME(ERANGE);
		NAME(EDEADLK);
		NAME(ENOSYS);
		NAME(ENODATA);
		NAME(ETIME);
		NAME(EOVERFLOW);
		NAME(EBADFD);
		NAME(EOPNOTSUPP);
		NAME(EADDRINUSE);
		NAME(EADDRNOTAVAIL);
		NAME(ENOBUFS);
		NAME(ETIMEDOUT);
		NAME(EALREADY);
		NAME(EINPROGRESS);
		NAME(ESTALE);
		NAME(ECANCELED);
		NAME(ERESTARTSYS);
		NAME(ENOIOCTLCMD);
		NAME(EPROBE_DEFER);
		NAME(ENOTSUPP);
#undef NAME
	}
	return "E?";
}
