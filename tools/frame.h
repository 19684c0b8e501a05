/* SPDX-License-Identifier: MIT */
/* Addresses as people read them: module`function+0xoffset (ustack's rules). */
#ifndef PGRAB_TOOLS_FRAME_H
#define PGRAB_TOOLS_FRAME_H

#include <stdint.h>

#include "libproc.h"

enum {
	FRAME_MAX = 4096, /* bytes of a line; longer names are cut */
};

/* How an address came about. */
enum frame_kind {
	FRAME_EXACT, /* an instruction, or data */
	FRAME_RETURN /* where a call comes back to: the call stands before it */
};

/*
 * What is at addr: module`function+0xoffset without a +0x0; module`0xADDR when no symbol
 * holds it; 0xADDR outside of any object. The function of a return address is the one
 * that its call is in.
 */
void frame_text(struct ps_prochandle *P, uintptr_t addr, enum frame_kind kind, char *buf,
		size_t size);

#endif
