// SPDX-License-Identifier: GPL-2.0-or-later
/* The program's own loads and stores, with EFAULT where it would get a signal. */
static __thread sigjmp_buf fault_return;
static __thread volatile int fault_expected;

static void on_fault(int signal_number)
{
	if (fault_expected)
		siglongjmp(fault_return, 1);
	signal(signal_number, SIG_DFL);
}

/* 0 or an errno. */
static int copy(__u64 to, __u64 from, size_t n)
{
	fault_expected = 1;
	if (sigsetjmp(fault_return, 1)) {
		fault_expected = 0;
		return EFAULT;
	}
	memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, n);
	fault_expected = 0;
	return 0;
}
