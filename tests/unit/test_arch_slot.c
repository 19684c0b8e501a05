/* SPDX-License-Identifier: MIT */
/*
 * Instructions executed in a slot, and emulated, against the CPU itself. A child is
 * stepped over each instruction in its place, then over the relocated copy elsewhere and
 * over the jump back; registers, vector state, memory and signal must be bit for bit the
 * same, and where the kind is emulated, arch_emulate() must say the same again.
 *
 * Instructions come from libc's own text, and from random bytes. The child shares one
 * mapping with us: a page of code, slots near and far, data in whose midst every pointer
 * lies. What differs between two runs in place (rdtsc, rdrand) is not compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/arch.h"

enum {
	PAGE = 4096,
	DATA_SIZE = 4 * PAGE,
	FROM = 1024,        /* where in the code page the instruction stands */
	XSTATE_MAX = 16384, /* bytes, more than any CPU has */
	FLAGS = 0xcd5,      /* CF PF AF ZF SF DF OF */
	FIXED_FLAGS = 0x202,
	SEEN = 1 << 16,
	FROM_LIBC = 6000, /* different instructions wanted */
	FROM_BYTES = 2500,
};

/* What an instruction has made of the child. */
struct outcome {
	arch_regs_t regs;           /* PC as in its own place */
	int sig;                    /* SIGTRAP: a step */
	uint64_t fault;             /* si_addr of another signal */
	size_t nxstate;             /* bytes of it */
	uint8_t xstate[XSTATE_MAX]; /* NT_X86_XSTATE */
	uint8_t data[DATA_SIZE];    /* the data */
};

static struct {
	pid_t pid;            /* stopped but for its steps */
	uint8_t *code;        /* a page */
	uint8_t *near, *far;  /* pages for slots */
	uint8_t *data;        /* DATA_SIZE */
	struct outcome input; /* what every run begins with */
} child;

static struct {
	unsigned copied, emulated, faulted, skipped; /* instructions */
} count;

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

/* --- the child ---------------------------------------------------------------------- */

static uint8_t *map_shared(void *at, size_t len)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static int start_child(void **unused)
{
	struct iovec iov = { child.input.xstate, XSTATE_MAX };
	int status;

	child.code = map_shared((void *)0x200000000, PAGE);
	child.near = map_shared((void *)0x230000000, PAGE);
	child.far = map_shared((void *)0x700000000, PAGE);
	child.data = map_shared((void *)0x210000000, DATA_SIZE);
	child.pid = fork();
	if (child.pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	assert_true(WIFSTOPPED(status));
	ptrace(PTRACE_SETOPTIONS, child.pid, 0, PTRACE_O_EXITKILL);
	assert_int_equal(ptrace(PTRACE_GETREGS, child.pid, 0, &child.input.regs), 0);
	assert_int_equal(ptrace(PTRACE_GETREGSET, child.pid, (void *)NT_X86_XSTATE, &iov),
			 0);
	child.input.nxstate = iov.iov_len;
	return 0;
}

static int end_child(void **unused)
{
	kill(child.pid, SIGKILL);
	waitpid(child.pid, NULL, 0);
	return 0;
}

static void step(void)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, child.pid, 0, 0), 0);
	assert_int_equal(waitpid(child.pid, &status, __WALL), child.pid);
	if (!WIFSTOPPED(status))
		fail_msg("the child has ended: %x", status);
}

static void load(uint64_t pc)
{
	struct iovec iov = { child.input.xstate, child.input.nxstate };
	arch_regs_t regs = child.input.regs;

	regs.rip = pc;
	memcpy(child.data, child.input.data, DATA_SIZE);
	assert_int_equal(ptrace(PTRACE_SETREGS, child.pid, 0, &regs), 0);
	assert_int_equal(ptrace(PTRACE_SETREGSET, child.pid, (void *)NT_X86_XSTATE, &iov),
			 0);
}

static void store(struct outcome *ret)
{
	struct iovec iov = { ret->xstate, XSTATE_MAX };
	siginfo_t si;

	memset(ret, 0, offsetof(struct outcome, xstate));
	assert_int_equal(ptrace(PTRACE_GETREGS, child.pid, 0, &ret->regs), 0);
	assert_int_equal(ptrace(PTRACE_GETREGSET, child.pid, (void *)NT_X86_XSTATE, &iov),
			 0);
	assert_int_equal(ptrace(PTRACE_GETSIGINFO, child.pid, 0, &si), 0);
	/* XSTATE_BV tells which parts the CPU happens to know to be in their initial
	 * state (Intel SDM vol. 1, 13.6); their contents are compared. */
	memset(ret->xstate + 512, 0, 8);
	ret->nxstate = iov.iov_len;
	ret->sig = si.si_signo;
	ret->fault = si.si_signo == SIGTRAP ? 0 : (uintptr_t)si.si_addr;
	memcpy(ret->data, child.data, DATA_SIZE);
}

static bool differ(const struct outcome *a, const struct outcome *b)
{
	return memcmp(&a->regs, &b->regs, sizeof(a->regs)) || a->sig != b->sig ||
	       a->fault != b->fault || a->nxstate != b->nxstate ||
	       memcmp(a->xstate, b->xstate, a->nxstate) ||
	       memcmp(a->data, b->data, DATA_SIZE);
}

static void complain(const struct arch_insn *insn, const char *what,
		     const struct outcome *cpu, const struct outcome *other)
{
	for (unsigned i = 0; i < cpu->nxstate; i++)
		if (cpu->xstate[i] != other->xstate[i])
			print_error("xstate[%u]: %x, in its place %x\n", i,
				    other->xstate[i], cpu->xstate[i]);
	for (unsigned i = 0; i < arch_native->nregs; i++)
		if (arch_reg_get(&cpu->regs, i) != arch_reg_get(&other->regs, i))
			print_error("word %u: %llx, in its place %llx\n", i,
				    (unsigned long long)arch_reg_get(&other->regs, i),
				    (unsigned long long)arch_reg_get(&cpu->regs, i));
	print_error("signal %d at %llx, in its place %d at %llx\n", other->sig,
		    (unsigned long long)other->fault, cpu->sig,
		    (unsigned long long)cpu->fault);
	print_error("kind %u, bytes", insn->kind);
	for (unsigned i = 0; i < insn->len; i++)
		print_error(" %02x", insn->bytes[i]);
	fail_msg("%s and CPU differ", what);
}

/* --- in its place, in a slot, by hand ----------------------------------------------- */

static uint64_t from(void)
{
	return (uintptr_t)child.code + FROM;
}

static void run_in_place(const struct arch_insn *insn, struct outcome *ret)
{
	memcpy(child.code + FROM, insn->bytes, insn->len);
	load(from());
	step();
	store(ret);
	memset(child.code + FROM, 0xcc, insn->len); /* as under a breakpoint */
}

/* From the slot to the place in the program that it stands for. */
static void leave_slot(const struct arch_insn *insn, uint64_t slot, struct outcome *o)
{
	uint64_t pc;

	if (!arch_slot_pc(insn, from(), slot, o->regs.rip, &pc))
		o->regs.rip = pc;
	if (o->fault == slot)
		o->fault = from();
}

static void run_in_slot(const struct arch_insn *insn, uint8_t *slot, struct outcome *ret)
{
	uint64_t at = (uintptr_t)slot;
	size_t len;

	if (arch_relocate(insn, from(), at, slot, &len))
		fail_msg("kind %u cannot be moved", insn->kind);
	assert_true(len > insn->len && len <= ARCH_SLOT_MAX);
	load(at);
	step();
	store(ret);
	if (ret->sig == SIGTRAP && ret->regs.rip == at + insn->len) {
		step();
		store(ret);
		assert_int_equal(ret->regs.rip, from() + insn->len);
	}
	leave_slot(insn, at, ret);
	memset(slot, 0xcc, len);
}

static ssize_t clip(uint64_t addr, size_t len)
{
	uint64_t at = addr - (uintptr_t)child.data;

	if (at >= DATA_SIZE)
		return -EFAULT;
	return len < DATA_SIZE - at ? len : DATA_SIZE - at;
}

static ssize_t read_data(void *ctx, uint64_t addr, void *buf, size_t len)
{
	ssize_t n = clip(addr, len);

	if (n > 0)
		memcpy(buf, (void *)(uintptr_t)addr, n);
	return n;
}

static ssize_t write_data(void *ctx, uint64_t addr, const void *buf, size_t len)
{
	ssize_t n = clip(addr, len);

	if (n > 0)
		memcpy((void *)(uintptr_t)addr, buf, n);
	return n;
}

/* False when emulation refuses, which it may where the CPU faults. */
static bool run_by_hand(const struct arch_insn *insn, const struct outcome *cpu,
			struct outcome *ret)
{
	static const struct mem_ops ops = { .read = read_data, .write = write_data };
	const struct mem m = { .ops = &ops };

	*ret = *cpu; /* what emulation does not touch */
	memcpy(child.data, child.input.data, DATA_SIZE);
	ret->regs = child.input.regs;
	ret->regs.rip = from();
	if (arch_emulate(insn, &ret->regs, &m))
		return false;
	memcpy(ret->data, child.data, DATA_SIZE);
	return true;
}

/* --- one instruction ---------------------------------------------------------------- */

static uint64_t rnd_pointer(void)
{
	return (uintptr_t)child.data + DATA_SIZE / 2 - 512 + rnd() % 1024 / 64 * 64 +
	       (rnd() % 4 ? 0 : rnd() % 64);
}

/* Pointers into the data, small numbers, any numbers. */
static void fill_input(void)
{
	static const uint8_t gpr[16] = { 10, 11, 12, 5, 19, 4, 13, 14,
					 9,  8,  7,  6, 3,  2, 1,  0 };
	arch_regs_t *regs = &child.input.regs;

	for (unsigned i = 0; i < 16; i++) {
		uint64_t kind = rnd() % 16;
		uint64_t value = kind < 11 ? rnd_pointer() : rnd();

		arch_reg_set(regs, gpr[i], kind < 14 ? value : rnd() % 128 - 64);
	}
	regs->rsp = rnd_pointer();
	regs->eflags = FIXED_FLAGS | (rnd() & FLAGS);
	regs->orig_rax = (unsigned long long)-1;
	regs->fs_base = rnd_pointer();
	regs->gs_base = rnd_pointer();
	for (unsigned i = 0; i < DATA_SIZE; i += 8) {
		uint64_t word = rnd() % 4 ? rnd() : rnd_pointer();

		memcpy(child.input.data + i, &word, 8);
	}
	for (unsigned i = 160; i < 416; i++) /* xmm0 … xmm15 of the legacy area */
		child.input.xstate[i] = rnd() >> 30;
}

/* A RIP-relative operand is made to point at the data. */
static void aim(struct arch_insn *insn)
{
	int64_t disp = (int64_t)(rnd_pointer() - from() - insn->len);
	int32_t near = (int32_t)disp;

	if (!insn->disp_off)
		return;
	memcpy(insn->bytes + insn->disp_off, &near, sizeof(near));
	assert_int_equal(arch_decode(insn->bytes, insn->len, insn), 0);
}

static void compare_copy(const struct arch_insn *insn, const struct outcome *cpu)
{
	static struct outcome copy;
	bool near = insn->disp_off || rnd() % 4;
	uint8_t *page = near ? child.near : child.far;

	run_in_slot(insn, page + rnd() % (PAGE - ARCH_SLOT_MAX), &copy);
	if (differ(cpu, &copy))
		complain(insn, "the copy", cpu, &copy);
	count.copied++;
	count.faulted += cpu->sig != SIGTRAP;
}

static bool is_emulated(unsigned kind)
{
	return kind != ARCH_INSN_OTHER && kind != ARCH_INSN_COPY &&
	       kind != ARCH_INSN_SYSCALL && kind != ARCH_INSN_JMP_MEM;
}

static void compare_instruction(struct arch_insn *insn)
{
	static struct outcome cpu, again;

	if (!insn->may_move && !is_emulated(insn->kind))
		return;
	fill_input();
	aim(insn);
	run_in_place(insn, &cpu);
	run_in_place(insn, &again);
	if (differ(&cpu, &again)) {
		count.skipped++;
		return;
	}
	if (insn->may_move)
		compare_copy(insn, &cpu);
	if (!is_emulated(insn->kind) || !run_by_hand(insn, &cpu, &again))
		return;
	if (differ(&cpu, &again))
		complain(insn, "emulation", &cpu, &again);
	count.emulated++;
}

/* --- where instructions come from --------------------------------------------------- */

/* The largest executable segment of libc. */
struct text {
	const uint8_t *begin; /* first byte */
	size_t len;           /* bytes */
};

static int find_text(struct dl_phdr_info *info, size_t size, void *data)
{
	struct text *ret = data;

	if (!strstr(info->dlpi_name, "libc.so"))
		return 0;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || p->p_memsz < ret->len)
			continue;
		ret->begin = (const uint8_t *)(uintptr_t)(info->dlpi_addr + p->p_vaddr);
		ret->len = p->p_memsz;
	}
	return 1;
}

/* True the first time that these bytes, or some with their hash, are seen. */
static bool is_new(const struct arch_insn *insn)
{
	static uint8_t seen[SEEN / 8];
	uint32_t hash = 2166136261;

	for (unsigned i = 0; i < insn->len; i++)
		hash = (hash ^ insn->bytes[i]) * 16777619;
	hash = (hash ^ hash >> 16) % SEEN;
	if (seen[hash / 8] & 1 << hash % 8)
		return false;
	seen[hash / 8] |= 1 << hash % 8;
	return true;
}

static void report(const char *what)
{
	print_message("%s: %u copied, %u emulated, %u of them faulting, %u not the same "
		      "twice\n",
		      what, count.copied, count.emulated, count.faulted, count.skipped);
}

/* Fails when relocation forgets a displacement, a prefix or the way back, and when an
 * instruction whose own address shows is taken for one that may move. */
static void text_of_libc_runs_the_same(void **unused)
{
	struct text text = { 0 };
	unsigned tried = 0;
	size_t at = 0;

	memset(&count, 0, sizeof(count));
	dl_iterate_phdr(find_text, &text);
	assert_non_null(text.begin);
	while (at < text.len && tried < FROM_LIBC) {
		struct arch_insn insn;

		if (arch_decode(text.begin + at, text.len - at, &insn)) {
			at++;
			continue;
		}
		at += insn.len;
		if (rnd() % 16 || !is_new(&insn))
			continue;
		compare_instruction(&insn);
		tried++;
	}
	report("libc's text");
	assert_int_equal(tried, FROM_LIBC);
	assert_true(count.copied > FROM_LIBC / 2);
	assert_true(count.emulated > FROM_LIBC / 8);
	assert_true(count.skipped < FROM_LIBC / 100);
}

static void random_bytes(uint8_t bytes[ARCH_INSN_MAX])
{
	static const uint8_t lead[] = { 0x66, 0x67, 0x2e, 0x64, 0x65, 0xf0,
					0xf2, 0xf3, 0x48, 0x49, 0x4c, 0x41,
					0x40, 0x0f, 0x0f, 0xc5, 0xc4, 0x62 };

	for (unsigned i = 0; i < ARCH_INSN_MAX; i++)
		bytes[i] = rnd() >> 20;
	for (unsigned i = 0; i < rnd() % 4; i++)
		bytes[i] = lead[rnd() % sizeof(lead)];
}

static void random_bytes_run_the_same(void **unused)
{
	unsigned tried = 0;

	memset(&count, 0, sizeof(count));
	while (tried < FROM_BYTES) {
		uint8_t bytes[ARCH_INSN_MAX];
		struct arch_insn insn;

		random_bytes(bytes);
		if (arch_decode(bytes, sizeof(bytes), &insn) || !insn.may_move)
			continue;
		compare_instruction(&insn);
		tried++;
	}
	report("random bytes");
	assert_true(count.copied > FROM_BYTES / 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_of_libc_runs_the_same),
		cmocka_unit_test(random_bytes_run_the_same),
	};

	return cmocka_run_group_tests(tests, start_child, end_child);
}
