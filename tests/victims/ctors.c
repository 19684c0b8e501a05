/* SPDX-License-Identifier: MIT */
/*
 * Writes one line, straight to the kernel, at each stage of its start:
 *
 *	library constructor      (variants with libvictim_early.so)
 *	preinit                  (program's .preinit_array; before the library's)
 *	constructor
 *	main
 *	main ADDRESS
 *	destructor, library destructor
 *
 * The exit status is the first argument's, or 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *line)
{
	(void)!write(1, line, strlen(line));
}

#ifdef WITH_EARLY
int victim_early(void);
#else
static int victim_early(void)
{
	return 7;
}
#endif

static void preinit(void)
{
	say("preinit\n");
}

__attribute__((section(".preinit_array"),
	       used)) static void (*const first)(void) = preinit;

__attribute__((constructor)) static void begin(void)
{
	say("constructor\n");
}

__attribute__((destructor)) static void end(void)
{
	say("destructor\n");
}

int main(int argc, char **argv)
{
	char line[64];

	say("main\n");
	snprintf(line, sizeof(line), "main %p\n", (void *)main);
	say(line);
	return victim_early() == 7 ? (argc > 1 ? atoi(argv[1]) : 0) : 99;
}
