/* SPDX-License-Identifier: MIT */
/* A library whose function is called once by its constructor, and then by whoever opened
 * it. No libc needed. */
__attribute__((visibility("default"))) int counted(int x);

static int calls;

__attribute__((noinline)) int counted(int x)
{
	calls++;
	__asm__ volatile("");
	return x + 1;
}

__attribute__((constructor)) static void begin(void)
{
	counted(0);
}
