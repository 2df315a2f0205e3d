// SPDX-License-Identifier: GPL-2.0-or-later
//
// Bit strings. Mirrors lib/bitmap.c and lib/find_bit.c, Linux v7.2.
#include "core/linux/bitmap.h"

static unsigned long __find_next(const unsigned long *addr, unsigned long nbits,
				 unsigned long start, unsigned long invert)
{
	while (start < nbits) {
		unsigned long word = (addr[BIT_WORD(start)] ^ invert) &
				     BITMAP_FIRST_WORD_MASK(start);

		if (word)
			return min(ALIGN_DOWN(start, BITS_PER_LONG) + __ffs(word), nbits);
		start = ALIGN_DOWN(start, BITS_PER_LONG) + BITS_PER_LONG;
	}
	return nbits;
}

unsigned long find_next_bit(const unsigned long *addr, unsigned long nbits, unsigned long start)
{
	return __find_next(addr, nbits, start, 0);
}

unsigned long find_next_zero_bit(const unsigned long *addr, unsigned long nbits,
				 unsigned long start)
{
	return __find_next(addr, nbits, start, ~0UL);
}

// The bits of word @w that lie in [@start, @start + @len).
static unsigned long __word_mask(unsigned long w, unsigned long start, unsigned long len)
{
	unsigned long mask = ~0UL, base = w * BITS_PER_LONG, end = start + len;

	if (base < start)
		mask &= ~0UL << (start - base);
	if (end - base < BITS_PER_LONG)
		mask &= ~(~0UL << (end - base));
	return mask;
}

void bitmap_set(unsigned long *map, unsigned long start, unsigned long len)
{
	if (!len)
		return;
	for (unsigned long w = BIT_WORD(start); w <= BIT_WORD(start + len - 1); w++)
		map[w] |= __word_mask(w, start, len);
}

void bitmap_clear(unsigned long *map, unsigned long start, unsigned long len)
{
	if (!len)
		return;
	for (unsigned long w = BIT_WORD(start); w <= BIT_WORD(start + len - 1); w++)
		map[w] &= ~__word_mask(w, start, len);
}

bool bitmap_empty(const unsigned long *map, unsigned long nbits)
{
	return find_first_bit(map, nbits) == nbits;
}

bool bitmap_full(const unsigned long *map, unsigned long nbits)
{
	return find_first_zero_bit(map, nbits) == nbits;
}

unsigned long bitmap_weight(const unsigned long *map, unsigned long nbits)
{
	unsigned long n = 0;

	for (unsigned long w = 0; w < nbits / BITS_PER_LONG; w++)
		n += hweight64(map[w]);
	if (nbits % BITS_PER_LONG)
		n += hweight64(map[nbits / BITS_PER_LONG] & BITMAP_LAST_WORD_MASK(nbits));
	return n;
}
