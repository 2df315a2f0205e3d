// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors the small vocabulary of
// include/linux/{types,kernel,align,math,overflow,bits,container_of,minmax,gfp_types}.h, Linux
// v7.2. MIRRORED: names and results. min() and max() are std's: both sides have one type, as the
// kernel insists. There is no __user: user pointers are types (uaccess.h).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <sys/types.h>

#include "core/linux/compiler.h"

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s64 = int64_t;

// A host-physical address, and a DMA address (an IOVA as a device issues it). Bytes.
using phys_addr_t = u64;
using dma_addr_t = u64;

// Allocation flags. Only whether the allocation may sleep is looked at (under a spinlock it may
// not).
using gfp_t = unsigned int;
#define __GFP_DIRECT_RECLAIM 0x400u
#define __GFP_ZERO	     0x100u
#define __GFP_NOWARN	     0x2000u
#define __GFP_ACCOUNT	     0x400000u
#define GFP_KERNEL	     __GFP_DIRECT_RECLAIM
#define GFP_KERNEL_ACCOUNT   (GFP_KERNEL | __GFP_ACCOUNT)
#define GFP_NOWAIT	     0u
#define GFP_ATOMIC	     0x20u

// The page of the simulated machine. The same tokens as the C library's <sys/user.h>.
#define PAGE_SHIFT 12
#define PAGE_SIZE  (1UL << PAGE_SHIFT)
// clang-format off: the same tokens as <sys/user.h>
#define PAGE_MASK (~(PAGE_SIZE-1))
// clang-format on

#define SZ_1K  0x400UL
#define SZ_4K  0x1000UL
#define SZ_16K 0x4000UL
#define SZ_64K 0x10000UL
#define SZ_1M  0x100000UL
#define SZ_2M  0x200000UL
#define SZ_1G  0x40000000UL

#define BITS_PER_LONG	   64
#define BITS_PER_LONG_LONG 64
#define BITS_PER_BYTE	   8
#define BIT(nr)		   (1UL << (nr))
#define BIT_ULL(nr)	   (1ULL << (nr))
#define GENMASK(h, l)	   ((~0UL << (l)) & (~0UL >> (BITS_PER_LONG - 1 - (h))))
#define GENMASK_ULL(h, l)  ((~0ULL << (l)) & (~0ULL >> (BITS_PER_LONG_LONG - 1 - (h))))
static inline constexpr u32 upper_32_bits(u64 n)
{
	return (u32)(n >> 32);
}
static inline constexpr u32 lower_32_bits(u64 n)
{
	return (u32)n;
}

// @a is a power of two. ALIGN() wraps at the top of the type as the kernel's does: check first.
#define __ALIGN_MASK(x, mask) (((x) + (mask)) & ~(mask))
#define ALIGN(x, a)	      __ALIGN_MASK(x, (__typeof__(x))(a) - 1)
#define ALIGN_DOWN(x, a)      ((x) & ~((__typeof__(x))(a) - 1))
#define IS_ALIGNED(x, a)      (((x) & ((__typeof__(x))(a) - 1)) == 0)
#define PAGE_ALIGN(x)	      ALIGN(x, PAGE_SIZE)
#define PAGE_ALIGN_DOWN(x)    ALIGN_DOWN(x, PAGE_SIZE)
#define PAGE_ALIGNED(x)	      IS_ALIGNED((unsigned long)(x), PAGE_SIZE)
#define PFN_PHYS(x)	      ((phys_addr_t)(x) << PAGE_SHIFT)
#define PHYS_PFN(x)	      ((unsigned long)((x) >> PAGE_SHIFT))
// Of an address, as a number or as a pointer.
template <class T> static inline constexpr unsigned long offset_in_page(T p)
{
	return (unsigned long)p & ~PAGE_MASK;
}

#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

// True when the sum (product, difference) does not fit into *@d; *@d then holds the wrapped value.
template <class A, class B, class D>
[[nodiscard]] static inline constexpr bool check_add_overflow(A a, B b, D *d)
{
	return __builtin_add_overflow(a, b, d);
}
template <class A, class B, class D>
[[nodiscard]] static inline constexpr bool check_sub_overflow(A a, B b, D *d)
{
	return __builtin_sub_overflow(a, b, d);
}
template <class A, class B, class D>
[[nodiscard]] static inline constexpr bool check_mul_overflow(A a, B b, D *d)
{
	return __builtin_mul_overflow(a, b, d);
}

// Saturating sizes: SIZE_MAX, which no allocator grants, instead of a wrap.
static inline constexpr size_t size_mul(size_t a, size_t b)
{
	size_t r = 0;

	return __builtin_mul_overflow(a, b, &r) ? SIZE_MAX : r;
}
static inline constexpr size_t size_add(size_t a, size_t b)
{
	size_t r = 0;

	return __builtin_add_overflow(a, b, &r) ? SIZE_MAX : r;
}

using std::max;
using std::min;
using std::swap;
#define min_t(type, a, b) std::min<type>((type)(a), (type)(b))
#define max_t(type, a, b) std::max<type>((type)(a), (type)(b))

// The struct that holds *@ptr as its @member. The types need not be standard layout (no virtual
// bases).
#define container_of(ptr, type, member)                                            \
	(reinterpret_cast<type *>(                                                 \
		const_cast<char *>(reinterpret_cast<const volatile char *>(ptr)) - \
		offsetof(type, member)))
#define offsetofend(type, member)  (offsetof(type, member) + sizeof(((type *)nullptr)->member))
#define sizeof_field(type, member) sizeof(((type *)nullptr)->member)

template <class T, size_t N> constexpr size_t __array_size(const T (&)[N])
{
	return N;
}
#define ARRAY_SIZE(a) __array_size(a)

static inline constexpr bool is_power_of_2(unsigned long n)
{
	return n && !(n & (n - 1));
}
// Index of the lowest (highest) set bit. @x is not 0.
static inline constexpr unsigned int __ffs(unsigned long x)
{
	return (unsigned int)__builtin_ctzl(x);
}
static inline constexpr unsigned int __fls(unsigned long x)
{
	return 63u - (unsigned int)__builtin_clzl(x);
}
// As above, counted from 1; 0 for no bit.
static inline constexpr int fls64(u64 x)
{
	return x ? 64 - __builtin_clzll(x) : 0;
}
static inline constexpr unsigned int ilog2(u64 x)
{
	return 63u - (unsigned int)__builtin_clzll(x);
}
static inline constexpr unsigned long roundup_pow_of_two(unsigned long n)
{
	return n <= 1 ? 1 : 1UL << (64 - __builtin_clzl(n - 1));
}
// Order of the smallest 2^n pages that hold @size bytes.
static inline constexpr int get_order(unsigned long size)
{
	return size <= PAGE_SIZE ? 0 : (int)ilog2((size - 1) >> PAGE_SHIFT) + 1;
}
static inline constexpr unsigned int hweight64(u64 x)
{
	return (unsigned int)__builtin_popcountll(x);
}
