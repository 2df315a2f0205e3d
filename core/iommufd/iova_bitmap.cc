// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors drivers/iommu/iommufd/iova_bitmap.c of Linux 7.2. Differs: see core/iommu/iova_bitmap.h.
 *
 * The user's bytes are pinned in windows of as many pages as one page has room for pointers. A
 * window begins at the byte where somebody wants to set a bit that the last one did not have, and
 * ends with the bitmap, or where the pinning stopped.
 *
 * Everything is counted in bits and bytes from the start of the bitmap. Its last bit is what is
 * kept: a bitmap over the whole space with a page size of 1 has 2^64 bits, a number that is none.
 */
#include "core/iommu/iova_bitmap.h"

#include "core/linux/bitmap.h"
#include "core/linux/bug.h"
#include "core/linux/slab.h"
#include "core/mm/mm.h"

/* Bits that are set and not in the memory yet: of a piece of one page, aligned to its size. */
struct iova_bitmap_pending {
	static constexpr unsigned int bytes = 64;
	static constexpr unsigned int bits = bytes * BITS_PER_BYTE;

	/* NULL: none */
	struct page *page = nullptr;
	/* of the piece in the page */
	unsigned int offset = 0;
	/* There is none outside of [first_bit, last_bit] */
	unsigned int first_bit = 0;
	unsigned int last_bit = 0;
	DECLARE_BITMAP(map, bits);
};

struct iova_bitmap {
	/* The range, and where its bits are */
	unsigned long iova = 0;
	unsigned long last_iova = 0;
	unsigned int pgshift = 0;
	unsigned long data = 0;

	/* What is pinned of it: npages, with the bytes from base_byte on, which is pgoff bytes into
	 * the first page. No pages, no bytes. */
	struct page **pages = nullptr;
	unsigned long npages = 0;
	unsigned long pgoff = 0;
	unsigned long base_byte = 0;
	unsigned long nbytes = 0;

	struct iova_bitmap_pending pending;
};

#define IOVA_BITMAP_WINDOW_PAGES (PAGE_SIZE / sizeof(struct page *))

static unsigned long iova_bitmap_offset_to_bit(const struct iova_bitmap *bitmap, unsigned long iova)
{
	return (iova - bitmap->iova) >> bitmap->pgshift;
}

static unsigned long iova_bitmap_last_byte(const struct iova_bitmap *bitmap)
{
	return iova_bitmap_offset_to_bit(bitmap, bitmap->last_iova) / BITS_PER_BYTE;
}

/* Only bytes that have a bit to be set are read and written back:
 * what is around the bitmap is the user's. */
static void iova_bitmap_flush(struct iova_bitmap *bitmap)
{
	struct iova_bitmap_pending *pending = &bitmap->pending;

	if (!pending->page)
		return;

	const unsigned int first = pending->first_bit / BITS_PER_BYTE;
	const unsigned int n = pending->last_bit / BITS_PER_BYTE - first + 1;
	const u8 *bits = reinterpret_cast<const u8 *>(pending->map) + first;
	u8 user[iova_bitmap_pending::bytes];

	memcpy_from_page(user, pending->page, pending->offset + first, n);
	for (unsigned int i = 0; i < n; i++)
		user[i] |= bits[i];
	memcpy_to_page(pending->page, pending->offset + first, user, n);

	bitmap_zero(pending->map, iova_bitmap_pending::bits);
	pending->page = nullptr;
}

static void iova_bitmap_put(struct iova_bitmap *bitmap)
{
	iova_bitmap_flush(bitmap);
	unpin_user_pages(bitmap->pages, bitmap->npages);
	bitmap->npages = 0;
	bitmap->nbytes = 0;
}

/* Pins as much of the bitmap from base_byte on as the window and the user's memory have.
 * -EFAULT: nothing. */
static int iova_bitmap_get(struct iova_bitmap *bitmap)
{
	const unsigned long last_byte = iova_bitmap_last_byte(bitmap);
	unsigned long addr;

	if (check_add_overflow(bitmap->data, bitmap->base_byte, &addr))
		return -EFAULT;

	const unsigned long pgoff = offset_in_page(addr);
	/* one less than the bytes that are wanted, which need not be a number */
	const unsigned long more = min(last_byte - bitmap->base_byte,
				       IOVA_BITMAP_WINDOW_PAGES * PAGE_SIZE - pgoff - 1);
	const int wanted = (int)((pgoff + more) / PAGE_SIZE + 1);
	const int got = pin_user_pages_fast(addr, wanted, FOLL_WRITE, bitmap->pages);

	if (got <= 0)
		return -EFAULT;
	bitmap->npages = (unsigned long)got;
	bitmap->pgoff = pgoff;
	bitmap->nbytes = min(more + 1, bitmap->npages * PAGE_SIZE - pgoff);
	return 0;
}

static bool iova_bitmap_mapped_byte(const struct iova_bitmap *bitmap, unsigned long byte)
{
	return byte >= bitmap->base_byte && byte - bitmap->base_byte < bitmap->nbytes;
}

static int iova_bitmap_advance_to(struct iova_bitmap *bitmap, unsigned long byte)
{
	iova_bitmap_put(bitmap);
	bitmap->base_byte = byte;
	return iova_bitmap_get(bitmap);
}

result<struct iova_bitmap *> iova_bitmap_alloc(unsigned long iova, size_t length,
					       unsigned long page_size, user_inout<void> data)
{
	auto *bitmap = kzalloc_obj<struct iova_bitmap>();

	if (!bitmap)
		return -ENOMEM;
	bitmap->iova = iova;
	bitmap->last_iova = iova + (length - 1);
	bitmap->pgshift = (unsigned int)__ffs(page_size);
	bitmap->data = data.addr();
	bitmap->pages = reinterpret_cast<struct page **>(__get_free_page(GFP_KERNEL));
	if (!bitmap->pages) {
		iova_bitmap_free(bitmap);
		return -ENOMEM;
	}
	return bitmap;
}

void iova_bitmap_free(struct iova_bitmap *bitmap)
{
	if (bitmap->pages) {
		iova_bitmap_put(bitmap);
		free_page(reinterpret_cast<unsigned long>(bitmap->pages));
	}
	kfree_obj(bitmap);
}

int iova_bitmap_for_each(struct iova_bitmap *bitmap, void *opaque, iova_bitmap_fn_t fn)
{
	int rc = fn(bitmap, bitmap->iova, bitmap->last_iova - bitmap->iova + 1, opaque);

	iova_bitmap_flush(bitmap);
	return rc;
}

/*
 * Sets the bits from bit to last_bit, as far as the piece of memory goes in which the first one is;
 * its byte is in the window, and so is then the whole piece. Returns the last bit that is set.
 */
static unsigned long iova_bitmap_set_pending(struct iova_bitmap *bitmap, unsigned long bit,
					     unsigned long last_bit)
{
	struct iova_bitmap_pending *pending = &bitmap->pending;
	/* into the pages of the window */
	const unsigned long at = bitmap->pgoff + (bit / BITS_PER_BYTE - bitmap->base_byte);
	const unsigned int into_piece = (unsigned int)(at % iova_bitmap_pending::bytes);
	const unsigned int offset = (unsigned int)(at % PAGE_SIZE) - into_piece;
	struct page *page = bitmap->pages[at / PAGE_SIZE];
	const unsigned int first = into_piece * BITS_PER_BYTE + (unsigned int)(bit % BITS_PER_BYTE);
	const unsigned long more =
		min_t(unsigned long, last_bit - bit, iova_bitmap_pending::bits - 1 - first);
	const unsigned int last = first + (unsigned int)more;

	if (pending->page != page || pending->offset != offset) {
		iova_bitmap_flush(bitmap);
		pending->page = page;
		pending->offset = offset;
		pending->first_bit = first;
		pending->last_bit = last;
	}
	pending->first_bit = min(pending->first_bit, first);
	pending->last_bit = max(pending->last_bit, last);
	bitmap_set(pending->map, first, last - first + 1);
	return bit + more;
}

void iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova, size_t length)
{
	unsigned long last_iova;

	if (!length)
		return;
	if (check_add_overflow(iova, length - 1, &last_iova))
		last_iova = bitmap->last_iova;
	iova = max(iova, bitmap->iova);
	last_iova = min(last_iova, bitmap->last_iova);
	if (iova > last_iova)
		return;

	const unsigned long last_bit = iova_bitmap_offset_to_bit(bitmap, last_iova);
	unsigned long bit = iova_bitmap_offset_to_bit(bitmap, iova);

	for (;; bit++) {
		const unsigned long byte = bit / BITS_PER_BYTE;

		if (!iova_bitmap_mapped_byte(bitmap, byte) && iova_bitmap_advance_to(bitmap, byte))
			return;
		bit = iova_bitmap_set_pending(bitmap, bit, last_bit);
		if (bit == last_bit)
			return;
	}
}
