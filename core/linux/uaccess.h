// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/uaccess.h, Linux v7.2. CUSTOMISED: a user pointer is a type that knows its
// direction and what it points to, and has no operator* (R10); copies return 0 or -EFAULT (the
// kernel's count of bytes left is never used); a type with padding or pointers cannot be copied
// out. copy_struct_from_user() with its E2BIG rule is the kernel's.
#pragma once

#include "core/linux/errno.h"
#include "core/linux/mm_types.h"
#include "core/linux/sched.h"

// 0 or -EFAULT; for current->mm. Compare copy_from_user(), copy_to_user(), clear_user().
[[nodiscard]] int __copy_from_user_slow(void *dst, u64 addr, size_t n, const src_loc &where);
[[nodiscard]] int __copy_to_user_slow(u64 addr, const void *src, size_t n, const src_loc &where);
[[nodiscard]] int __get_user(void *dst, u64 addr, size_t n, const src_loc &where);
[[nodiscard]] int __put_user(u64 addr, const void *src, size_t n, const src_loc &where);
[[nodiscard]] int __clear_user(u64 addr, size_t n, const src_loc &where);

[[nodiscard]] static inline int __copy_from_user(void *dst, u64 addr, size_t n,
						 const src_loc &where)
{
	if (unlikely(current->instrument))
		return __copy_from_user_slow(dst, addr, n, where);
	return unlikely(current->mm->user_ops->copy_from_user(current->mm, dst, addr, n)) ? -EFAULT
											  : 0;
}

[[nodiscard]] static inline int __copy_to_user(u64 addr, const void *src, size_t n,
					       const src_loc &where)
{
	if (unlikely(current->instrument))
		return __copy_to_user_slow(addr, src, n, where);
	return unlikely(current->mm->user_ops->copy_to_user(current->mm, addr, src, n)) ? -EFAULT
											: 0;
}

template <class T>
inline constexpr bool __user_copyable =
	std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>;
template <class S, class M> S __member_owner(M S::*);
template <class S, class M> M __member_type(M S::*);

template <class T> static inline size_t __member_offset(T member)
{
	ptrdiff_t off;

	static_assert(sizeof(member) == sizeof(off)); // a pointer to a data member is its offset
	memcpy(&off, &member, sizeof(off));
	return (size_t)off;
}

template <class T> inline constexpr size_t __user_size = sizeof(T);
template <> inline constexpr size_t __user_size<void> = 1;

template <class T, bool In, bool Out> class user_ptr {
	template <class M> using to = user_ptr<M, In, Out>;

public:
	constexpr user_ptr() : va_(0) {}
	explicit constexpr user_ptr(u64 va) : va_(va) {}
	// Less directions, or the type forgotten: always possible.
	template <class U, bool I, bool O>
		requires((std::is_same_v<U, T> || std::is_void_v<T>) && (I || !In) && (O || !Out))
	constexpr user_ptr(const user_ptr<U, I, O> &p) : va_(p.addr())
	{
	}

	constexpr u64 addr() const { return va_; }
	// True when it is not NULL. NULL may still be a valid address to the mm: only use it where
	// the ABI says so.
	explicit constexpr operator bool() const { return va_; }
	// Elements (bytes for void); wraps like the number that it is.
	constexpr user_ptr operator+(u64 n) const { return user_ptr(va_ + n * __user_size<T>); }
	template <class U> constexpr to<U> as() const { return to<U>(va_); }
	// The member of the struct pointed to: p.field<&S::m>().
	template <auto m> auto field() const
	{
		static_assert(std::is_same_v<decltype(__member_owner(m)), T>);
		return to<decltype(__member_type(m))>(va_ + __member_offset(m));
	}

	template <class U>
		requires(In && std::is_same_v<U, T>)
	[[nodiscard]] int copy_from_user(U *dst, const src_loc &where = src_loc::current()) const
	{
		static_assert(__user_copyable<T>, "has padding: copy its members");
		return __copy_from_user(dst, va_, sizeof(U), where);
	}
	template <class U>
		requires(In && (std::is_same_v<U, T> || std::is_void_v<T>))
	[[nodiscard]] int copy_from_user(U *dst, size_t n,
					 const src_loc &where = src_loc::current()) const
	{
		if constexpr (!std::is_void_v<T>)
			static_assert(__user_copyable<T>, "has padding: copy its members");
		size_t bytes;

		if (check_mul_overflow(n, __user_size<T>, &bytes))
			return -EFAULT;
		return __copy_from_user(dst, va_, bytes, where);
	}

	template <class U>
		requires(Out && std::is_same_v<U, T>)
	[[nodiscard]] int copy_to_user(const U &src,
				       const src_loc &where = src_loc::current()) const
	{
		static_assert(__user_copyable<T>, "its padding would leak");
		return __copy_to_user(va_, &src, sizeof(U), where);
	}
	template <class U>
		requires(Out && (std::is_same_v<std::remove_const_t<U>, T> || std::is_void_v<T>))
	[[nodiscard]] int copy_to_user(U *src, size_t n,
				       const src_loc &where = src_loc::current()) const
	{
		if constexpr (!std::is_void_v<T>)
			static_assert(__user_copyable<T>, "its padding would leak");
		size_t bytes;

		if (check_mul_overflow(n, __user_size<T>, &bytes))
			return -EFAULT;
		return __copy_to_user(va_, src, bytes, where);
	}

private:
	u64 va_;
};

template <class T> using user_in = user_ptr<T, true, false>;
template <class T> using user_out = user_ptr<T, false, true>;
template <class T> using user_inout = user_ptr<T, true, true>;

[[nodiscard]] static inline int clear_user(user_out<void> to, size_t n,
					   const src_loc &where = src_loc::current())
{
	return __clear_user(to.addr(), n, where);
}

// One scalar. Not a fault site, as in the kernel; a block copy is.
template <class T>
[[nodiscard]] static inline int get_user(T *v, user_in<T> p,
					 const src_loc &where = src_loc::current())
{
	static_assert(std::is_integral_v<T>);
	return __get_user(v, p.addr(), sizeof(T), where);
}
template <class T>
[[nodiscard]] static inline int put_user(T v, user_out<T> p,
					 const src_loc &where = src_loc::current())
{
	static_assert(std::is_integral_v<T>);
	return __put_user(p.addr(), &v, sizeof(T), where);
}

// 1 when all @n bytes are zero, 0 when not, -EFAULT. Compare check_zeroed_user().
[[nodiscard]] int check_zeroed_user(user_in<void> from, size_t n,
				    const src_loc &where = src_loc::current());

// A struct of @usize bytes in user memory into the kernel's of @ksize: a shorter one is filled up
// with zeros, a longer one must be zero behind @ksize. 0, -E2BIG, -EFAULT. Compare
// copy_struct_from_user().
[[nodiscard]] int __copy_struct_from_user_sized(void *dst, size_t ksize, user_in<void> src,
						size_t usize, const src_loc &where);
[[nodiscard]] static inline int copy_struct_from_user(void *dst, size_t ksize, user_in<void> src,
						      size_t usize,
						      const src_loc &where = src_loc::current())
{
	if (unlikely(usize != ksize))
		return __copy_struct_from_user_sized(dst, ksize, src, usize, where);
	return __copy_from_user(dst, src.addr(), ksize, where);
}
