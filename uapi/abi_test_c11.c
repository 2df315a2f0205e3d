/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ABI headers against the literal table, as C11: what is wrong does not compile. */
#include <stddef.h>

#include "uapi/iommufd_test.h"
#include "uapi/vfio.h"

#define VALUE(name, number) _Static_assert((unsigned long long)(name) == (number), #name);
#define STRUCT(tag, bytes)  _Static_assert(sizeof(struct tag) == (bytes), #tag);
#define FIELD(tag, member, offset, bytes)                                           \
	_Static_assert(offsetof(struct tag, member) == (offset), #tag "." #member); \
	_Static_assert(sizeof(((struct tag *)0)->member) == (bytes), #tag "." #member);
#define ABI_TABLE_IOMMUFD
#define ABI_TABLE_IOMMUFD_TEST
#define ABI_TABLE_VFIO
#include "uapi/abi_table.h"
