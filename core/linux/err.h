// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/err.h, Linux v7.2. CUSTOMISED: what the kernel returns as ERR_PTR() is a
// result<T>: the value or a negative errno, never both, and it must be looked at. result<T *> is
// one word, coded as the kernel does. Functions that return int in the kernel return int here.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "core/linux/errno.h"
#include "core/linux/types.h"

// A value of type T or a negative errno. Construct from either; a non-negative int is a bug and
// aborts.
template <class T> class [[nodiscard]] result {
	static_assert(!std::is_integral_v<T>, "return int -errno and an out parameter");

public:
	result(T v) : err_(0), v_(std::move(v)) {}
	result(int negative_errno) : err_(negative_errno)
	{
		if (unlikely(negative_errno >= 0 || negative_errno < -MAX_ERRNO))
			abort();
	}
	result(result &&o) noexcept : err_(o.err_)
	{
		if (!err_)
			new (std::addressof(v_)) T(std::move(o.v_));
	}
	result(const result &) = delete;
	result &operator=(const result &) = delete;
	~result()
	{
		if (!err_)
			v_.~T();
	}

	explicit operator bool() const { return !err_; }
	// The negative errno, or 0.
	int error() const { return err_; }
	T &operator*() & { return v_; }
	const T &operator*() const & { return v_; }
	T &&operator*() && { return std::move(v_); }
	// Goes through a value that is itself pointer-like (a reference holder), so r->field reads
	// as with the kernel's pointer.
	auto operator->()
	{
		if constexpr (requires(T &t) { t.operator->(); })
			return v_.operator->();
		else
			return std::addressof(v_);
	}

private:
	int err_;
	union {
		T v_;
	};
};

// A pointer or a negative errno in one word. NULL is a value.
template <class T> class [[nodiscard]] result<T *> {
public:
	result(T *p) : v_(reinterpret_cast<uintptr_t>(p)) {}
	result(std::nullptr_t) : v_(0) {}
	result(int negative_errno) : v_((uintptr_t)(intptr_t)negative_errno)
	{
		if (unlikely(negative_errno >= 0 || negative_errno < -MAX_ERRNO))
			abort();
	}
	template <class U>
		requires(!std::is_same_v<U, T> && std::is_convertible_v<U *, T *>)
	result(const result<U *> &o)
		: v_(o ? reinterpret_cast<uintptr_t>(static_cast<T *>(*o))
		       : (uintptr_t)(intptr_t)o.error())
	{
	}

	explicit operator bool() const { return likely(v_ < (uintptr_t)-MAX_ERRNO); }
	int error() const { return *this ? 0 : (int)(intptr_t)v_; }
	T *operator*() const { return reinterpret_cast<T *>(v_); }
	T *operator->() const { return reinterpret_cast<T *>(v_); }

private:
	uintptr_t v_;
};
