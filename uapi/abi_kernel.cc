// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The literal table against the kernel's own headers, where a package has installed them. A name
 * that the installed release does not have is passed over: a value is then found in the enclosing
 * namespace, where the table itself has put it; a struct is then incomplete, and a member not valid
 * in a requires-expression.
 */
#include <cstddef>
#include <cstdint>

#include <linux/ioctl.h>
#include <linux/types.h>

#include <gtest/gtest.h>

namespace {

int compared;

template <typename T> constexpr bool is_complete = requires { sizeof(T); };

/* A struct may be shorter in an older release. */
template <typename T> void check_struct(const char *name, size_t bytes)
{
	if constexpr (is_complete<T>) {
		EXPECT_LE(sizeof(T), bytes) << name;
		compared++;
	}
}

#define CHECK_FIELD(tag, member, offset, bytes)                                             \
	[]<typename T>(T *) {                                                               \
		if constexpr (requires { sizeof(((T *)nullptr)->member); }) {               \
			EXPECT_EQ(offsetof(T, member), size_t{offset}) << #tag "." #member; \
			EXPECT_EQ(sizeof(((T *)nullptr)->member), size_t{bytes})            \
				<< #tag "." #member;                                        \
			compared++;                                                         \
		}                                                                           \
	}(static_cast<struct tag *>(nullptr));

} /* namespace */

#if __has_include(<linux/iommufd.h>)
namespace iommufd_table {

enum : uint64_t {
#define VALUE(name, number) name = number,
#define STRUCT(tag, bytes)
#define FIELD(tag, member, offset, bytes)
#define ABI_TABLE_IOMMUFD
#include "uapi/abi_table.h"
};

namespace kernel {

#include <linux/iommufd.h>

static void check()
{
#define VALUE(name, number) EXPECT_EQ(static_cast<uint64_t>(name), uint64_t{number}) << #name;
#define STRUCT(tag, bytes)  check_struct<struct tag>(#tag, bytes);
#define FIELD		    CHECK_FIELD
#include "uapi/abi_table.h"
#undef ABI_TABLE_IOMMUFD
}

} /* namespace kernel */
} /* namespace iommufd_table */

TEST(KernelAbi, Iommufd)
{
	compared = 0;
	iommufd_table::kernel::check();
	EXPECT_GT(compared, 100);
}
#else
TEST(KernelAbi, Iommufd)
{
	GTEST_SKIP() << "no <linux/iommufd.h> is installed";
}
#endif

#if __has_include(<linux/vfio.h>)
namespace vfio_table {

enum : uint64_t {
#define VALUE(name, number) name = number,
#define STRUCT(tag, bytes)
#define FIELD(tag, member, offset, bytes)
#define ABI_TABLE_VFIO
#include "uapi/abi_table.h"
};

namespace kernel {

#include <linux/vfio.h>

static void check()
{
#define VALUE(name, number) EXPECT_EQ(static_cast<uint64_t>(name), uint64_t{number}) << #name;
#define STRUCT(tag, bytes)  check_struct<struct tag>(#tag, bytes);
#define FIELD		    CHECK_FIELD
#include "uapi/abi_table.h"
#undef ABI_TABLE_VFIO
}

} /* namespace kernel */
} /* namespace vfio_table */

TEST(KernelAbi, Vfio)
{
	compared = 0;
	vfio_table::kernel::check();
	EXPECT_GT(compared, 20);
}
#else
TEST(KernelAbi, Vfio)
{
	GTEST_SKIP() << "no <linux/vfio.h> is installed";
}
#endif
