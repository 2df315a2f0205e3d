// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/compiler.h and compiler-context-analysis.h of Linux v7.2.
// CUSTOMISED: the context-analysis names expand to clang's thread-safety attributes and to nothing
// under gcc. READ_ONCE and WRITE_ONCE are relaxed atomic accesses, so they are defined behaviour
// between threads. A word that a standard header or a caller may use as a name is never a macro:
// likely() and smp_load_acquire() are functions, fallthrough is [[fallthrough]].
#pragma once

#include <type_traits>

#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif

// The struct is a lock: an instance of it can be held.
#define context_lock_struct(name) TSA(capability(name))
// The guard holds a lock from its constructor to its destructor.
#define scoped_lock_struct TSA(scoped_lockable)

// Data that may be touched only with @m held (a pointer: what it points to).
#define __guarded_by(...) TSA(guarded_by(__VA_ARGS__))
// The function is called with the lock held (for writing), held at least for reading, or not held.
#define __must_hold(...)	TSA(requires_capability(__VA_ARGS__))
#define __must_hold_shared(...) TSA(requires_shared_capability(__VA_ARGS__))
#define __must_not_hold(...)	TSA(locks_excluded(__VA_ARGS__))
// The function takes or gives back the lock.
#define __acquires(...)			 TSA(acquire_capability(__VA_ARGS__))
#define __acquires_shared(...)		 TSA(acquire_shared_capability(__VA_ARGS__))
#define __releases(...)			 TSA(release_capability(__VA_ARGS__))
#define __releases_shared(...)		 TSA(release_shared_capability(__VA_ARGS__))
#define __releases_generic(...)		 TSA(release_generic_capability(__VA_ARGS__))
#define __cond_acquires(ret, ...)	 TSA(try_acquire_capability(ret, __VA_ARGS__))
#define __cond_acquires_shared(ret, ...) TSA(try_acquire_shared_capability(ret, __VA_ARGS__))
#define __assumes_lock(...)		 TSA(assert_capability(__VA_ARGS__))
#define __assumes_shared_lock(...)	 TSA(assert_shared_capability(__VA_ARGS__))
// The order of two locks of one struct: this one is taken after @m.
#define __acquired_after(...) TSA(acquired_after(__VA_ARGS__))
// The only way out of the analysis (R9): the reason is for the reader and for tidy_test.
#define LOCK_ANALYSIS_ESCAPE(reason) TSA(no_thread_safety_analysis)

[[gnu::always_inline]] static inline constexpr bool likely(bool x)
{
	return __builtin_expect(x, 1);
}
[[gnu::always_inline]] static inline constexpr bool unlikely(bool x)
{
	return __builtin_expect(x, 0);
}

#define __cold	       __attribute__((cold))
#define __printf(a, b) __attribute__((format(printf, a, b)))

#define READ_ONCE(x)	 __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
template <class T> [[gnu::always_inline]] static inline std::remove_cv_t<T> smp_load_acquire(T *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
template <class T>
[[gnu::always_inline]] static inline void smp_store_release(T *p, std::type_identity_t<T> v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}
