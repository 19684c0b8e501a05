/* SPDX-License-Identifier: MIT */
/* A library to load: libvictim_one.so. */
__attribute__((visibility("default"))) int victim_one(void);

int victim_one(void)
{
	return 1;
}
