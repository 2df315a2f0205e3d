// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The surface: what a program can do to a kernel that has iommufd, as an abstract class. The
 * in-process core implements it (core/sim_syscalls.h); so may a real kernel's system calls, or a
 * client of another process. An instance is one process.
 *
 * Mirrors the Linux system calls of the same names. Results are as the kernel returns them: a
 * non-negative value, or -errno; errno itself is never used. User addresses are u64: they belong to
 * the process that the instance models and are not pointers of the caller. Every method may be
 * called from several threads at once; each calling thread is a task of that process.
 */
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

/* How memory that a program asks for looks. All sizes in bytes. */
struct memory_options {
	uint64_t size = 0;
	uint64_t align = 0; /* of the address; 0: a page. A power of two */
	/* 2M aligned and physically contiguous, as hugetlb would give */
	bool huge = false;
	bool fragmented = false; /* no two neighbouring pages are neighbours physically */
	bool readonly = false;	 /* PROT_READ only */
	bool shared = false;	 /* MAP_SHARED: a forked process has the same memory, not a copy */
	/* every page of it has failed: a copy gives EFAULT, a pin fails */
	bool poisoned = false;
	uint64_t addr = 0; /* where to place it; 0: anywhere */
};

class syscalls {
public:
	virtual ~syscalls() = default;

	/*
	 * Opens "/dev/iommu", "/dev/vfio/vfio" or a device's file that the machine brings
	 * ("/dev/vfio/devices/vfio0"). `revision`, of the first two, is the name of the surface's
	 * form ("vcmdq-v2", "hw-queue"), empty for the instance's default. -ENOENT: no such
	 * path; -EINVAL: no such revision; -ENOMEM, -EMFILE.
	 */
	virtual int open(std::string_view path, std::string_view revision) = 0;
	virtual int close(int fd) = 0;
	virtual long ioctl(int fd, unsigned long cmd, uint64_t arg) = 0;
	/*
	 * Returns the address, or -errno in the top 4095 values as the kernel does (see
	 * is_error()). prot and flags are PROT_x, MAP_x.
	 */
	virtual uint64_t mmap(uint64_t addr, size_t length, int prot, int flags, int fd,
			      uint64_t offset) = 0;
	virtual int munmap(uint64_t addr, size_t length) = 0;
	virtual long read(int fd, uint64_t buf, size_t count) = 0;
	virtual long write(int fd, uint64_t buf, size_t count) = 0;
	/*
	 * One descriptor: returns revents (>= 0) or -errno. timeout_ms 0 never blocks, a negative
	 * one waits until there is something. -EINTR: a signal.
	 */
	virtual int poll(int fd, short events, int timeout_ms) = 0;

	/*
	 * Anonymous memory of the shape asked for. Returns the address or -errno as mmap().
	 * munmap() gives it back.
	 */
	virtual uint64_t anon(const memory_options &opts) = 0;
	/* A memory file of opts.size bytes: a file descriptor, or -errno. */
	virtual int memfd(const memory_options &opts) = 0;
	/* Of a memory file. -ENOSYS: this surface cannot. */
	virtual int ftruncate(int fd, uint64_t length)
	{
		(void)fd;
		(void)length;
		return -ENOSYS;
	}

	/*
	 * 0 and the child in *child: another process of the same kernel, which has copies of this
	 * one's descriptors, memory, limits and credentials, and one task: that of the thread that
	 * uses it first. It ends, with its memory and then its descriptors, when it is destroyed
	 * (exit(2) and wait(2)): before or after its parent, on any thread. -ENOMEM; -ENOSYS: this
	 * surface cannot.
	 */
	virtual int fork(std::unique_ptr<syscalls> *child)
	{
		(void)child;
		return -ENOSYS;
	}

	/* The program's own loads and stores. -EFAULT where the process would get a signal. */
	virtual int load(uint64_t addr, void *dst, size_t n) = 0;
	virtual int store(uint64_t addr, const void *src, size_t n) = 0;

	/*
	 * The calling thread's /proc/self/task/N/fail-nth: the n-th possible failure from here
	 * fails, once; 0 switches it off. fail_nth() reads it back: 0 when the failure was
	 * injected, else what is left of the count.
	 */
	virtual void set_fail_nth(unsigned int n) = 0;
	virtual unsigned int fail_nth() = 0;

	/* What the kernel logged since the last call, a line each. */
	virtual std::string take_log() = 0;
	/*
	 * Empty when nothing is left behind in the kernel (objects, pins, pages, domains, open
	 * files, other processes); else one line for each kind of residue.
	 */
	virtual std::string residue() = 0;
};

/* mmap() and anon() put -errno into the top 4095 addresses. */
constexpr bool is_error(uint64_t addr)
{
	return addr >= static_cast<uint64_t>(-4095);
}
