/* SPDX-License-Identifier: MIT */
/* A library with a constructor that calls, for exact.c. */
#define VISIBLE __attribute__((noinline, noclone, visibility("default")))

VISIBLE long lib_ctor(long a);
VISIBLE long lib_call(long a);

long lib_ctor(long a)
{
	__asm__ volatile("");
	return a + 1;
}

long lib_call(long a)
{
	__asm__ volatile("");
	return a * 2;
}

static volatile long seen;

__attribute__((constructor)) static void begin(void)
{
	seen = lib_ctor(1);
}
