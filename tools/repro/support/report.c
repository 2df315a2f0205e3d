// SPDX-License-Identifier: GPL-2.0-or-later
/* --- results --- */

/* What nothing is yet: the call that makes it was not made, or failed. */
#define NONE 0xbadc0ffee0ddf00dULL

struct counts {
	int calls;
	int as_expected;
	int lacks; /* this kernel or machine cannot do something that the program needs */
};
static struct counts *counts;

/* The call that this thread makes: its line in the program, and its text. */
static __thread int line;
static __thread const char *text;

static const char *error_name(int error)
{
	static const char *const names[] = {
		[0] = "success",	   [EPERM] = "EPERM",	    [ENOENT] = "ENOENT",
		[EINTR] = "EINTR",	   [EIO] = "EIO",	    [ENXIO] = "ENXIO",
		[E2BIG] = "E2BIG",	   [EBADF] = "EBADF",	    [EAGAIN] = "EAGAIN",
		[ENOMEM] = "ENOMEM",	   [EACCES] = "EACCES",	    [EFAULT] = "EFAULT",
		[EBUSY] = "EBUSY",	   [EEXIST] = "EEXIST",	    [ENODEV] = "ENODEV",
		[EINVAL] = "EINVAL",	   [EMFILE] = "EMFILE",	    [ENOTTY] = "ENOTTY",
		[EFBIG] = "EFBIG",	   [ENOSPC] = "ENOSPC",	    [ESPIPE] = "ESPIPE",
		[ERANGE] = "ERANGE",	   [EDEADLK] = "EDEADLK",   [ENOSYS] = "ENOSYS",
		[EOVERFLOW] = "EOVERFLOW", [EMSGSIZE] = "EMSGSIZE", [EOPNOTSUPP] = "EOPNOTSUPP",
		[ETIMEDOUT] = "ETIMEDOUT",
	};

	if (error >= 0 && (size_t)error < sizeof(names) / sizeof(names[0]) && names[error])
		return names[error];
	return strerror(error);
}

static void *shared_memory(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return memory;
}

/* An address that the compiler knows nothing about. */
__attribute__((unused)) static void *at(__u64 address)
{
	__asm__("" : "+r"(address));
	return (void *)(uintptr_t)address;
}

static void begin(int number, const char *what)
{
	line = number;
	text = what;
	__atomic_add_fetch(&counts->calls, 1, __ATOMIC_RELAXED);
}

static void as_expected(void)
{
	__atomic_add_fetch(&counts->as_expected, 1, __ATOMIC_RELAXED);
}

/* This kernel or machine cannot do it: the program as a whole is skipped. */
__attribute__((unused)) static void lacks(const char *what)
{
	printf("# line %d: %s: %s (%s)\n", line, text, what, strerror(errno));
	fflush(stdout);
	counts->lacks = 1;
}

__attribute__((unused)) static void skipped(void)
{
	printf("line %d: %s: skipped, as a call before it has failed\n", line, text);
	fflush(stdout);
}

/* Is `error` among those that follow (0 is success, -1 ends them)? Else says so. */
static int came(int error, const char *expected, ...)
{
	va_list list;
	int one, found = 0;

	va_start(list, expected);
	while ((one = va_arg(list, int)) != -1)
		found |= one == error;
	va_end(list);
	if (!found) {
		printf("line %d: %s: expected %s, came %s\n", line, text, expected,
		       error_name(error));
		fflush(stdout);
	}
	return found;
}
