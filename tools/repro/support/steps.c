// SPDX-License-Identifier: GPL-2.0-or-later
/* --- who makes which call --- */

struct run {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int reached; /* calls up to this one may be made */
	char done[NUM_STEPS];
	pid_t pids[NUM_PROCESSES];
};
static struct run *run;

/* A fork makes `child`, an exit ends it. Process 0 is the first, thread 0 a process's main thread.
 */
enum step_kind { CALL, JOIN, EXIT };
struct step {
	void (*call)(void);
	enum step_kind kind;
	int process, thread, child;
};
static const struct step steps[NUM_STEPS];

static void set_done(int step)
{
	pthread_mutex_lock(&run->lock);
	run->done[step] = 1;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

static void await(int step)
{
	pthread_mutex_lock(&run->lock);
	while (!run->done[step])
		pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
}

static void await_turn(int step)
{
	pthread_mutex_lock(&run->lock);
	while (run->reached <= step)
		pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
}

/* Makes the calls of one thread, each when the program has come to it. */
static void *run_thread(void *first)
{
	const struct step *own = first;

	for (int i = own - steps; i < NUM_STEPS; i++) {
		if (steps[i].kind != CALL || steps[i].process != own->process ||
		    steps[i].thread != own->thread)
			continue;
		await_turn(i);
		steps[i].call();
		set_done(i);
	}
	return NULL;
}

/* The calls of one process from a step on. Process 0 sets the pace. */
static void run_process(int process, int from)
{
	pthread_t threads[NUM_THREADS];
	int started[NUM_THREADS] = {0};

	for (int i = from; i < NUM_STEPS; i++) {
		const struct step *step = &steps[i];

		if (process == 0) {
			pthread_mutex_lock(&run->lock);
			run->reached = i + 1;
			pthread_cond_broadcast(&run->changed);
			pthread_mutex_unlock(&run->lock);
		} else {
			await_turn(i);
		}
		switch (step->kind) {
		case JOIN:
			for (int j = 0; process == 0 && j < i; j++)
				if (steps[j].kind == CALL && steps[j].process == step->process &&
				    steps[j].thread == step->thread)
					await(j);
			if (process == 0)
				set_done(i);
			break;
		case EXIT:
			if (step->child == process) {
				for (int t = 0; t < NUM_THREADS; t++)
					if (started[t])
						pthread_join(threads[t], NULL);
				_exit(0);
			}
			if (step->process == process) {
				waitpid(run->pids[step->child], NULL, 0);
				set_done(i);
			}
			break;
		case CALL:
			if (step->process == process && step->thread == 0) {
				step->call();
				set_done(i);
			} else if (step->process == process && !started[step->thread]) {
				if (pthread_create(&threads[step->thread], NULL, run_thread,
						   (void *)step)) {
					perror("pthread_create");
					exit(2);
				}
				started[step->thread] = 1;
			}
			break;
		}
		if (process == 0 && (step->kind == EXIT || step->thread == 0))
			await(i);
	}
	for (int t = 0; t < NUM_THREADS; t++)
		if (started[t])
			pthread_join(threads[t], NULL);
}

static void run_steps(void)
{
	pthread_mutexattr_t lock;
	pthread_condattr_t changed;

	run = shared_memory(sizeof(*run));
	pthread_mutexattr_init(&lock);
	pthread_mutexattr_setpshared(&lock, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&run->lock, &lock);
	pthread_condattr_init(&changed);
	pthread_condattr_setpshared(&changed, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&run->changed, &changed);
	/* Whose parent has ended is ours to wait for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	run_process(0, 0);
}
