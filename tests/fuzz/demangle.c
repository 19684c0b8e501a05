/* SPDX-License-Identifier: MIT */
/*
 * A mangled name, of any language. Fails when the text is not ended, or nothing, or when
 * one takes longer than its deadline (libFuzzer's -timeout, the suite's).
 */
#include "fuzz/fuzz.h"
#include "libproc.h"
#include "obj/demangle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *name = malloc(size + 1), *text = malloc(DEMANGLE_OUTPUT), few[8];

	PROMISE(name && text);
	memcpy(name, data, size);
	name[size] = '\0';
	if (obj_demangle(name, text))
		PROMISE(*text && strnlen(text, DEMANGLE_OUTPUT) < DEMANGLE_OUTPUT);
	pgrab_demangle(name, few, sizeof(few));
	PROMISE(strnlen(few, sizeof(few)) < sizeof(few));
	free(name);
	free(text);
	return 0;
}
