/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <stdio.h>

#include "frame.h"
#include "text.h"

void frame_text(struct ps_prochandle *P, uintptr_t addr, enum frame_kind kind, char *buf,
		size_t size)
{
	uintptr_t at = kind == FRAME_RETURN && addr > 0 ? addr - 1 : addr;
	char object[PATH_MAX], name[2048];
	const char *module;
	GElf_Sym sym;
	uintptr_t offset;

	if (!Pobjname(P, at, object, sizeof(object))) {
		snprintf(buf, size, "0x%lx", (unsigned long)addr);
		return;
	}
	module = text_basename(object);
	if (Plookup_by_addr(P, at, name, sizeof(name), &sym) != 0) {
		snprintf(buf, size, "%s`0x%lx", module, (unsigned long)addr);
		return;
	}
	offset = addr - (uintptr_t)sym.st_value;
	if (offset)
		snprintf(buf, size, "%s`%s+0x%lx", module, name, (unsigned long)offset);
	else
		snprintf(buf, size, "%s`%s", module, name);
}
