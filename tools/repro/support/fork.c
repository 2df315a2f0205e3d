// SPDX-License-Identifier: GPL-2.0-or-later
/* 0 or an errno. The child goes on with the step behind this one. */
static int fork_process(int process, int step)
{
	const pid_t pid = fork();

	if (pid < 0)
		return errno;
	if (pid == 0) {
		run_process(process, step + 1);
		_exit(0);
	}
	run->pids[process] = pid;
	return 0;
}
