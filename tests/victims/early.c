/* SPDX-License-Identifier: MIT */
/* A library whose constructor and destructor write: libvictim_early.so, needed by
 * `ctors`. */
#include <unistd.h>

__attribute__((visibility("default"))) int victim_early(void);

__attribute__((constructor)) static void begin(void)
{
	(void)!write(1, "library constructor\n", 20);
}

__attribute__((destructor)) static void end(void)
{
	(void)!write(1, "library destructor\n", 19);
}

int victim_early(void)
{
	return 7;
}
