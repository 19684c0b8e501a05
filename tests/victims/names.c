/* SPDX-License-Identifier: MIT */
/*
 * Functions whose names and places in the source are known.
 *
 *	ready: hidden= its= (a static function and an instruction in it) place= (an
 *	instruction in twice inlined code) jit= (an anonymous executable page)
 *	exit N     ends with that status
 * Variants: -link, -mini, -zlib, -zstd; see split.sh.
 */
#include <sys/mman.h>

#include "obey.h"

extern char place_in_inner[], place_in_hidden[];
static volatile int sink;

/* The test looks for the lines marked INNER, MIDDLE and OUTER. */
static inline __attribute__((always_inline)) void deepest(int n)
{
	sink += n;
	__asm__ volatile(".globl place_in_inner\nplace_in_inner: nop"); /* INNER */
	sink += n;
}

static inline __attribute__((always_inline)) void between(int n)
{
	sink++;
	deepest(n * 2); /* MIDDLE */
	sink++;
}

__attribute__((noinline)) static void around(int n)
{
	sink--;
	between(n + 1); /* OUTER */
	sink--;
}

__attribute__((noinline)) static void hidden(int n)
{
	sink -= n;
	__asm__ volatile(".globl place_in_hidden\nplace_in_hidden: nop"); /* HIDDEN */
	sink -= n;
}

/* A function of Rust. */
__attribute__((noinline)) void rusty(int n) __asm__("_RNvC3foo3bar");
void rusty(int n)
{
	sink += n;
}

static void leave(const char *rest)
{
	exit(atoi(rest));
}

static const struct order orders[] = { { "exit", leave }, { NULL, NULL } };

int main(void)
{
	char *jit = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	around(1);
	hidden(2);
	rusty(3);
	ready("hidden=%p its=%p place=%p jit=%p", (void *)hidden, place_in_hidden,
	      place_in_inner, jit);
	obey(orders);
	return 0;
}
