// SPDX-License-Identifier: GPL-2.0-or-later
// expect: rwsem '(iopt->)?domains_rwsem' must be acquired before '(iopt->)?iova_rwsem'
//
// The two locks of an I/O page table, in the wrong order.
#include "core/iommufd/io_pagetable.h"

void f(struct io_pagetable *iopt)
{
#ifdef MISUSE
	rwsem_write_guard iova(&iopt->iova_rwsem);
	rwsem_write_guard domains(&iopt->domains_rwsem);
#else
	rwsem_write_guard domains(&iopt->domains_rwsem);
	rwsem_write_guard iova(&iopt->iova_rwsem);
#endif
	iopt->next_domain_id = 0;
}
