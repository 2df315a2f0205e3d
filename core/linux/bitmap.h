// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/{bitops,bitmap,find}.h, Linux v7.2. MIRRORED: bit n is bit n % 64 of word n
// / 64. set_bit(), clear_bit() and the test_and_ forms are atomic, the __ forms are not.
#pragma once

#include "core/linux/types.h"

#define BITS_TO_LONGS(n)	      DIV_ROUND_UP(n, BITS_PER_LONG)
#define BIT_WORD(nr)		      ((nr) / BITS_PER_LONG)
#define BIT_MASK(nr)		      (1UL << ((nr) % BITS_PER_LONG))
#define DECLARE_BITMAP(name, bits)    unsigned long name[BITS_TO_LONGS(bits)] = {}
#define BITMAP_FIRST_WORD_MASK(start) (~0UL << ((start) % BITS_PER_LONG))
#define BITMAP_LAST_WORD_MASK(nbits)  (~0UL >> (-(nbits) % BITS_PER_LONG))

static inline void __set_bit(unsigned long nr, unsigned long *addr)
{
	addr[BIT_WORD(nr)] |= BIT_MASK(nr);
}

static inline void set_bit(unsigned long nr, unsigned long *addr)
{
	__atomic_fetch_or(&addr[BIT_WORD(nr)], BIT_MASK(nr), __ATOMIC_RELAXED);
}

static inline void clear_bit(unsigned long nr, unsigned long *addr)
{
	__atomic_fetch_and(&addr[BIT_WORD(nr)], ~BIT_MASK(nr), __ATOMIC_RELAXED);
}

static inline bool test_bit(unsigned long nr, const unsigned long *addr)
{
	return READ_ONCE(addr[BIT_WORD(nr)]) & BIT_MASK(nr);
}

static inline bool test_and_set_bit(unsigned long nr, unsigned long *addr)
{
	return __atomic_fetch_or(&addr[BIT_WORD(nr)], BIT_MASK(nr), __ATOMIC_SEQ_CST) &
	       BIT_MASK(nr);
}

static inline bool test_and_clear_bit(unsigned long nr, unsigned long *addr)
{
	return __atomic_fetch_and(&addr[BIT_WORD(nr)], ~BIT_MASK(nr), __ATOMIC_SEQ_CST) &
	       BIT_MASK(nr);
}

// The first set (clear) bit at or after @start; @nbits when there is none.
unsigned long find_next_bit(const unsigned long *addr, unsigned long nbits, unsigned long start);
unsigned long find_next_zero_bit(const unsigned long *addr, unsigned long nbits,
				 unsigned long start);

static inline unsigned long find_first_bit(const unsigned long *addr, unsigned long nbits)
{
	return find_next_bit(addr, nbits, 0);
}

static inline unsigned long find_first_zero_bit(const unsigned long *addr, unsigned long nbits)
{
	return find_next_zero_bit(addr, nbits, 0);
}

#define for_each_set_bit(bit, addr, nbits)                         \
	for ((bit) = find_first_bit(addr, nbits); (bit) < (nbits); \
	     (bit) = find_next_bit(addr, nbits, (bit) + 1))

static inline void bitmap_zero(unsigned long *dst, unsigned long nbits)
{
	memset(dst, 0, BITS_TO_LONGS(nbits) * sizeof(long));
}

// Sets (clears) @len bits from @start on.
void bitmap_set(unsigned long *map, unsigned long start, unsigned long len);
void bitmap_clear(unsigned long *map, unsigned long start, unsigned long len);
bool bitmap_empty(const unsigned long *map, unsigned long nbits);
bool bitmap_full(const unsigned long *map, unsigned long nbits);
unsigned long bitmap_weight(const unsigned long *map, unsigned long nbits);
