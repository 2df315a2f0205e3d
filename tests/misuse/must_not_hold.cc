// SPDX-License-Identifier: GPL-2.0-or-later
// expect: cannot call function 'iopt_get_pages' while rwsem 'iopt->iova_rwsem' is held
//
// A function that takes the lock itself.
#include "core/iommufd/io_pagetable.h"

int f(struct io_pagetable *iopt, struct list_head *pages)
{
#ifdef MISUSE
	rwsem_read_guard guard(&iopt->iova_rwsem);
#endif
	return iopt_get_pages(iopt, 0x1000, 0x1000, pages);
}
