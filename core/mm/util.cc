// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors the locked-memory accounting of mm/util.c and kernel/user.c, Linux v7.2. MIRRORED: limits
// and errors.
#include "core/mm/internal.h"

int __account_locked_vm(struct mm_struct *mm, unsigned long pages, bool inc,
			struct task_struct *task, bool bypass_rlim)
	LOCK_ANALYSIS_ESCAPE("the mmap lock is not followed, see mm.h")
{
	struct sim_mm *smm = to_sim_mm(mm);
	unsigned long limit;

	lockdep_assert_held_write(&smm->mmap_lock);
	if (!inc) {
		if (WARN_ON(pages > smm->locked_vm))
			pages = smm->locked_vm;
		smm->locked_vm -= pages;
		return 0;
	}
	if (!bypass_rlim) {
		limit = task_rlimit(task, RLIMIT_MEMLOCK) >> PAGE_SHIFT;
		if (smm->locked_vm + pages > limit)
			return -ENOMEM;
	}
	smm->locked_vm += pages;
	return 0;
}

int account_locked_vm(struct mm_struct *mm, unsigned long pages, bool inc)
{
	int rc;

	if (!pages || !mm)
		return 0;
	mmap_write_lock(mm);
	rc = __account_locked_vm(mm, pages, inc, current, capable(CAP_IPC_LOCK));
	mmap_write_unlock(mm);
	return rc;
}

struct user_struct *alloc_uid(struct kernel *kernel, u32 uid)
{
	struct mm_state *state = mm_state_of(kernel);

	if (!uid)
		return &state->root_user;
	raw_guard g(&state->lock);
	struct user_struct *user;

	for (user = state->users; user; user = user->next)
		if (user->uid == uid)
			return user;
	user = new (std::nothrow) struct user_struct;
	if (!user)
		return nullptr;
	user->uid = uid;
	user->next = state->users;
	state->users = user;
	return user;
}

struct user_struct *current_user()
{
	struct user_struct *user = current->cred->user;

	return user ? user : &mm_state_of(current->kernel)->root_user;
}
