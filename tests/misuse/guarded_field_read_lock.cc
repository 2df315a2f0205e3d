// SPDX-License-Identifier: GPL-2.0-or-later
// expect: writing variable 'iova_alignment' requires holding rwsem 'iopt->iova_rwsem' exclusively
//
// A write under the read lock.
#include "core/iommufd/io_pagetable.h"

void f(struct io_pagetable *iopt)
{
#ifdef MISUSE
	rwsem_read_guard guard(&iopt->iova_rwsem);
#else
	rwsem_write_guard guard(&iopt->iova_rwsem);
#endif
	iopt->iova_alignment = 4096;
}
