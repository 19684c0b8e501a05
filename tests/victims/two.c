/* SPDX-License-Identifier: MIT */
/* A library that needs another: libvictim_two.so. */
int victim_one(void);
__attribute__((visibility("default"))) int victim_two(void);

int victim_two(void)
{
	return victim_one() + 1;
}
