/* SPDX-License-Identifier: MIT */
/*
 * Functions of every kind that a description may mean; says where they are.
 *
 *	ready: first= static= bare= plain=
 *	open FILE   dlmopen in a namespace of its own (glibc): `opened` or `failed`
 *	call N      N calls of p_first: `called`
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "obey.h"

#pragma GCC visibility push(default)

#define KEPT __attribute__((noinline, noclone, used))

volatile int p_data = 1;

/* One function by three names. */
KEPT int p_first(int n)
{
	return n + p_data;
}
int p_second(int n) __attribute__((alias("p_first")));
int p_weak(int n) __attribute__((weak, alias("p_first")));

static KEPT int p_static(int n)
{
	return n * p_data + 3;
}

KEPT int p_choice_a(int n)
{
	return n - p_data;
}

#ifdef __GLIBC__
/* Chosen when the program is relocated. */
static int (*p_choose(void))(int)
{
	return p_choice_a;
}
int p_chosen(int n) __attribute__((ifunc("p_choose")));
#define CHOSEN p_chosen
#else
static KEPT int p_choose(int n)
{
	return n;
}
#define CHOSEN p_choose
#endif

void p_ret(void), p_tail(void), p_cond(int), p_plt(void), p_half(int), p_bare(void),
	p_table(int), p_pointer(void (*)(void));

#ifdef __x86_64__
/* Offsets in the test are those of these bytes. */
__asm__(".text\n"
	".macro function name\n.globl \\name\n.type \\name,@function\n\\name:\n.endm\n"
	"function p_ret\n nop\n ret\n .size p_ret, .-p_ret\n"
	"function p_tail\n jmp p_ret@PLT\n .size p_tail, .-p_tail\n"
	"function p_cond\n test %edi,%edi\n .byte 0x0f,0x85\n .long p_ret-.-4\n ret\n"
	" .size p_cond, .-p_cond\n"
	"function p_plt\n jmp getpid@PLT\n .size p_plt, .-p_plt\n"
	"function p_half\n test %edi,%edi\n jne p_half.cold\n ret\n"
	" .size p_half, .-p_half\n"
	"function p_table\n and $1,%edi\n lea 1f(%rip),%rax\n"
	" movslq (%rax,%rdi,4),%rdx\n add %rdx,%rax\n jmp *%rax\n"
	"2: nop\n ret\n3: ret\n .size p_table, .-p_table\n"
	"function p_pointer\n jmp *%rdi\n .size p_pointer, .-p_pointer\n"
	"function p_bare\n nop\n nop\n ret\n"
	".globl p_behind\np_behind:\n nop\n"
	".section .rodata\n.balign 4\n1: .long 2b-1b, 3b-1b\n"
	".section .text.unlikely,\"ax\",@progbits\n"
	".type p_half.cold,@function\np_half.cold:\n nop\n nop\n ret\n"
	".size p_half.cold, .-p_half.cold\n.text\n");
#endif

#ifdef __GLIBC__
static void *load_apart(const char *path)
{
	return dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
}
#else
static void *load_apart(const char *path)
{
	(void)path;
	return NULL;
}
#endif

static void open_apart(const char *rest)
{
	tell(load_apart(rest) ? "opened" : "failed");
}

static void call(const char *rest)
{
	for (int i = atoi(rest); i > 0; i--)
		p_first(i);
	tell("called");
}

#ifdef __x86_64__
static void use(void)
{
	p_plt();
	p_tail();
	p_cond(0);
	p_half(0);
	p_table(1);
	p_pointer(p_bare);
}
#else
static void use(void)
{
}
#define p_bare 0
#define p_ret  0
#endif

int main(void)
{
	static const struct order orders[] = {
		{ "open", open_apart },
		{ "call", call },
		{ 0 },
	};

	p_static(1);
	CHOSEN(1);
	use();
	ready("first=%p static=%p bare=%p ret=%p", (void *)p_first, (void *)p_static,
	      (void *)p_bare, (void *)p_ret);
	obey(orders);
	return 0;
}
