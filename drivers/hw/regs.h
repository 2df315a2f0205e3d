// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Registers and memory formats as types. No kernel counterpart: a model's map is typed so that a
 * field can be used only with the register (or the word of the format) that it belongs to.
 *
 *	struct CR0 : reg32<0x20> {
 *		using SMMUEN = bits<CR0, 0>;
 *	};
 *	CR0 r = page.get<CR0>();
 *	CR0::SMMUEN::set(r, 1);
 *	page.set(r);
 */
#pragma once

#include "core/linux/types.h"

/* A register of type Raw at @Offset bytes from the start of its page. */
template <class Raw, u32 Offset> struct hw_reg {
	static_assert(Offset % sizeof(Raw) == 0);
	using raw_type = Raw;
	static constexpr u32 offset = Offset;
	Raw raw = 0;
};
template <u32 Offset> using reg32 = hw_reg<u32, Offset>;
template <u32 Offset> using reg64 = hw_reg<u64, Offset>;

/* @Count registers of one shape, each right after the one before. */
template <class Raw, u32 Offset, u32 Count> struct hw_reg_array : hw_reg<Raw, Offset> {
	static constexpr u32 count = Count;
	/* One past the last byte. */
	static constexpr u32 end = Offset + Count * sizeof(Raw);
};

/* Bits @High..@Low of register R. */
template <class R, unsigned High, unsigned Low = High> struct bits {
	using raw_type = typename R::raw_type;
	static_assert(Low <= High && High < 8 * sizeof(raw_type));
	static constexpr unsigned shift = Low;
	static constexpr raw_type max =
		(raw_type)(~(raw_type)0 >> (8 * sizeof(raw_type) - 1 - (High - Low)));
	static constexpr raw_type mask = (raw_type)(max << Low);

	static constexpr raw_type get(const R &r) { return (raw_type)((r.raw & mask) >> Low); }
	/* What does not fit is cut off. */
	static constexpr void set(R &r, raw_type v)
	{
		r.raw = (raw_type)((r.raw & ~mask) | ((raw_type)(v << Low) & mask));
	}
};

/* The registers of one page of @Size bytes: one store for each, in address order. */
template <u32 Size> class reg_page {
public:
	template <class R> R get() const { return at<R>(R::offset); }
	template <class R> void set(const R &r) { put(R::offset, r.raw); }
	/* Register @i of an array. The caller has checked @i. */
	template <class R> R get(u32 i) const
	{
		return at<R>(R::offset + (u32)sizeof(typename R::raw_type) * i);
	}
	template <class R> void set(const R &r, u32 i)
	{
		put(R::offset + (u32)sizeof(typename R::raw_type) * i, r.raw);
	}

	/* By offset, for the bus: @off + @size is inside and @off a multiple of 4. */
	u64 load(u32 off, unsigned int size) const
	{
		return size == 8 ? words_[off / 4] | (u64)words_[off / 4 + 1] << 32
				 : words_[off / 4];
	}
	void store(u32 off, unsigned int size, u64 val)
	{
		words_[off / 4] = (u32)val;
		if (size == 8)
			words_[off / 4 + 1] = (u32)(val >> 32);
	}

private:
	template <class R> R at(u32 off) const
	{
		R r;

		static_assert(R::offset + sizeof(r.raw) <= Size);
		r.raw = (typename R::raw_type)load(off, sizeof(r.raw));
		return r;
	}
	template <class Raw> void put(u32 off, Raw raw) { store(off, sizeof(raw), raw); }

	u32 words_[Size / 4] = {};
};

/* A format in memory: @Words little-endian 64-bit words. */
template <unsigned Words> struct hw_format {
	static constexpr unsigned words = Words;
	u64 word[Words] = {};
};

/* Bits @High..@Low of word @Word of format F. */
template <class F, unsigned Word, unsigned High, unsigned Low = High> struct word_bits {
	static_assert(Low <= High && High < 64);
	static constexpr u64 max = ~0ULL >> (63 - (High - Low));
	static constexpr u64 mask = max << Low;

	static constexpr u64 get(const F &f)
	{
		static_assert(Word < F::words);
		return (f.word[Word] & mask) >> Low;
	}
	/* In place: an address field without its low zeroes. */
	static constexpr u64 get_raw(const F &f) { return f.word[Word] & mask; }
	static constexpr F &set(F &f, u64 v)
	{
		static_assert(Word < F::words);
		f.word[Word] = (f.word[Word] & ~mask) | ((v << Low) & mask);
		return f;
	}
};
