/* SPDX-License-Identifier: MIT */
/*
 * A stack by frame pointers: pairs of (caller's frame pointer, return address). Bounded,
 * and ended by the first pair that does not lie above the last: garbage cannot loop.
 */
#include <errno.h>
#include <string.h>

#include "proc/handle.h"

enum {
	MAX_FRAMES = 512,
	MAX_FRAME_BYTES = 1 << 24
};

static int next_frame(struct ps_prochandle *P, uint64_t *fp, uint64_t *pc)
{
	uint64_t pair[2];
	ssize_t n;

	if (!*fp || *fp % sizeof(*fp))
		return -EINVAL;
	handle_lock(P);
	n = memory_read(P, *fp, pair, sizeof(pair));
	handle_unlock(P);
	if (n != sizeof(pair) || !pair[1])
		return -EFAULT;
	*pc = pair[1];
	if (pair[0] && (pair[0] <= *fp || pair[0] - *fp > MAX_FRAME_BYTES))
		pair[0] = 0; /* the frame is good, what lies beyond is not */
	*fp = pair[0];
	return 0;
}

int Pstack_iter(struct ps_prochandle *P, const prgregset_t regs, proc_stack_f *fn,
		void *arg)
{
	prgregset_t frame;
	uint64_t fp = regs[R_FP], pc, sp;
	int rc;

	memcpy(frame, regs, sizeof(frame));
	rc = fn(arg, frame, 0, NULL);
	for (int i = 1; i < MAX_FRAMES && !rc; i++) {
		sp = fp + 2 * sizeof(uint64_t);
		if (next_frame(P, &fp, &pc))
			break;
		memset(frame, 0, sizeof(frame));
		frame[R_PC] = pc;
		frame[R_SP] = sp;
		frame[R_FP] = fp;
		rc = fn(arg, frame, 0, NULL);
	}
	return rc;
}
