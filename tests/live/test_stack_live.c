/* SPDX-License-Identifier: MIT */
/*
 * The unwinder on real processes: against what victims say of their own stacks, and
 * against libdwfl (elfutils), which is driven over the memory and registers of our own
 * handle, so that both see the same instant.
 */
#include <elfutils/libdwfl.h>

#include "obj/cfi.h"
#include "proc_test.h"
#include "stack/stack.h"

enum {
	MAX_FRAMES = 600,
	MAX_SAID = 40,
	NREGS = 17, /* DWARF numbers of x86-64 */
};

/* The PCs of a stack. */
struct pcs {
	uint64_t pc[MAX_FRAMES]; /* innermost first */
	size_t n;                /* how many */
	size_t guess;            /* the first that no information led to, or 0 */
	size_t seen;             /* while guess is looked for */
};

static int add_frame(void *arg, prgregset_t regs, unsigned argc, const long *argv)
{
	struct pcs *s = arg;

	if (s->n == MAX_FRAMES)
		return 1;
	s->pc[s->n++] = (uint64_t)regs[R_PC];
	return 0;
}

/* A stack with how its frames were found, as Pstack_iter() has them from stack_unwind().
 */
static int note_guess(void *arg, const struct stack_frame *frame)
{
	struct pcs *s = arg;

	if (!s->guess && (frame->how == STACK_FP || frame->how == STACK_RULE))
		s->guess = s->seen;
	s->seen++;
	return 0;
}

static ssize_t read_handle(void *ctx, uint64_t addr, void *buf, size_t len)
{
	ssize_t n = Pread(ctx, buf, len, addr);

	return n < 0 ? -EFAULT : n;
}

/* Sets ret->guess: the first frame that no information led to. */
static void find_guess(struct ps_prochandle *P, const prgregset_t regs, struct pcs *ret)
{
	static const struct mem_ops ops = { .read = read_handle };
	struct mem mem = { &ops, P };
	struct stack_target t = { .arch = stack_arch_for(EM_X86_64), .mem = &mem };
	struct stack_regs first;
	enum stack_end end;

	ret->guess = ret->seen = 0;
	t.image = Pimage(P);
	assert_int_equal(stack_regs_prstatus(t.arch, (const uint64_t *)(const void *)regs,
					     27, &first),
			 0);
	stack_unwind(&t, &first, note_guess, ret, &end);
	image_unref(t.image);
}

static void walk(struct ps_prochandle *P, const prgregset_t regs, struct pcs *ret)
{
	ret->n = 0;
	assert_true(Pstack_iter(P, regs, add_frame, ret) >= 0);
}

/* Stops all of it, 0 when it has gone. */
static int stop(struct ps_prochandle *P)
{
	return Pstop(P, (unsigned)harness_ms(SOON_MS)) == 0;
}

/* --- what victims say --------------------------------------------------------------- */

/* What a victim has said before it stayed. */
struct said {
	uint64_t ret[MAX_SAID]; /* return addresses, outermost first; 0: a signal */
	size_t n;               /* how many */
	uint64_t leaf;          /* where its leaf begins, or 0 */
	pid_t child;            /* the child of vfork, or 0 */
};

static void say(struct said *s, uint64_t what)
{
	assert_true(s->n < MAX_SAID);
	s->ret[s->n++] = what;
}

/* One line; false at the last. */
static bool hear(struct victim *v, struct said *s)
{
	const char *line = victim_line(v);

	assert_non_null(line);
	if (!strncmp(line, "ret ", 4))
		say(s, strtoull(line + 4, NULL, 16));
	else if (!strcmp(line, "signal"))
		say(s, 0);
	else if (!strncmp(line, "child ", 6))
		s->child = atoi(line + 6);
	else if (!strncmp(line, "leaf ", 5))
		s->leaf = strtoull(line + 5, NULL, 16);
	return strcmp(line, "bottom") && !s->child;
}

static void hear_all(struct victim *v, struct said *ret)
{
	memset(ret, 0, sizeof(*ret));
	while (hear(v, ret))
		;
}

static void show_both(const char *what, const struct pcs *got, const struct said *s)
{
	for (size_t i = 0; i < got->n; i++)
		printf("# %s: frame %zu: %#lx\n", what, i, (unsigned long)got->pc[i]);
	for (size_t i = s->n; i-- > 0;)
		printf("# %s: said: %#lx\n", what, (unsigned long)s->ret[i]);
}

/* Every address that was said is there, in its order; between two there may be others
 * only at a signal and within the libc (`gaps`). */
static void compare_said(const char *what, const struct pcs *got, const struct said *s,
			 bool gaps)
{
	size_t at = 0;

	for (size_t i = s->n; i-- > 0;) {
		size_t was = at;

		if (!s->ret[i])
			continue;
		while (at < got->n && got->pc[at] != s->ret[i])
			at++;
		if (at == got->n ||
		    (!gaps && i + 1 < s->n && s->ret[i + 1] && at != was)) {
			show_both(what, got, s);
			fail_msg("%s: %#lx is not in its place", what,
				 (unsigned long)s->ret[i]);
		}
		at++;
	}
}

static void check_stack(const char *kind, const char *what)
{
	struct ps_prochandle *P;
	struct victim v;
	struct said said;
	struct pcs got;
	char name[100];
	pid_t pid;

	if (!victim_exists(kind))
		return;
	snprintf(name, sizeof(name), "%s %s", kind, what);
	victim_start(&v, kind, what, NULL);
	hear_all(&v, &said);
	pid = said.child ? said.child : v.pid;
	P = grab(pid, 0);
	walk(P, Pstatus(P)->pr_lwp.pr_reg, &got);
	compare_said(name, &got, &said, !strcmp(what, "sort"));
	if (said.leaf) {
		bool seen = false;

		for (size_t i = 0; i < got.n; i++)
			seen |= got.pc[i] - said.leaf < 64;
		if (!seen)
			show_both(name, &got, &said);
		assert_true(seen);
	}
	Prelease(P, 0);
	if (said.child)
		kill(said.child, SIGKILL);
	victim_kill(&v);
}

static const char *const cases[] = { "recurse", "handler", "alt",     "nested", "leaf",
				     "zero",    "vfork",   "aligned", "sort" };

static void check_kind(const char *kind)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_stack(kind, cases[i]);
}

static void test_dynamic(void)
{
	check_kind("stacks");
	check_kind("stacks-nopie");
	check_kind("stacks-stripped");
}

static void test_static(void)
{
	check_kind("stacks-static");
	check_kind("stacks-static-pie");
}

/* Fails when CFI is not used: there are no frame pointers. */
static void test_without_frame_pointer(void)
{
	check_kind("stacks-nofp");
}

static int add_pc(void *arg, const struct stack_frame *frame)
{
	struct pcs *s = arg;

	if (s->n == MAX_FRAMES)
		return 1;
	s->pc[s->n++] = frame->regs.pc;
	return 0;
}

/* PC, SP and arguments of a thread that waits in the kernel, without a stop. */
static void read_syscall(pid_t pid, struct stack_regs *ret)
{
	unsigned long a[6], sp, pc;
	char path[64];
	int got = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	got = fscanf(f, "%*d %lx %lx %lx %lx %lx %lx %lx %lx", &a[0], &a[1], &a[2], &a[3],
		     &a[4], &a[5], &sp, &pc);
	fclose(f);
	assert_int_equal(got, 8);
	stack_regs_syscall(stack_arch_for(EM_X86_64), a, sp, pc, ret);
}

/* The parent in vfork cannot be stopped (the kernel makes it wait for its child); its
 * return address is in a register, as the information says. */
static void check_waiting(const char *kind, const char *what)
{
	struct stack_target t = { .arch = stack_arch_for(EM_X86_64) };
	static const struct mem_ops ops = { .read = read_handle };
	struct ps_prochandle *P;
	struct stack_regs regs;
	enum stack_end why;
	struct victim v;
	struct said said;
	struct pcs got = { .n = 0 };
	struct mem mem;

	if (!victim_exists(kind))
		return;
	victim_start(&v, kind, what, NULL);
	hear_all(&v, &said);
	await(harness_state(v.pid) == (said.child ? 'D' : 'S'));
	P = grab(v.pid, PGRAB_RDONLY);
	mem = (struct mem){ &ops, P };
	t.mem = &mem;
	t.image = Pimage(P);
	read_syscall(v.pid, &regs);
	assert_int_equal(stack_unwind(&t, &regs, add_pc, &got, &why), 0);
	compare_said(kind, &got, &said, !strcmp(what, "sort"));
	if (!strstr(kind, "musl")) /* whose start ends by a frame pointer of 0 */
		assert_int_equal(why, STACK_END_BASE);
	image_unref(t.image);
	Prelease(P, 0);
	if (said.child)
		kill(said.child, SIGKILL);
	victim_kill(&v);
}

static void test_vfork_parent(void)
{
	check_waiting("stacks", "vfork");
	check_waiting("stacks-nofp", "vfork");
	check_waiting("stacks-static", "vfork");
}

/* Nobody is stopped, and all that is known is where it waits. */
static void test_waiting(void)
{
	static const char *const kinds[] = { "stacks", "stacks-nofp", "stacks-static",
					     "stacks-musl", "stacks-musl-static" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		check_waiting(kinds[i], "recurse");
		check_waiting(kinds[i], "handler");
		check_waiting(kinds[i], "alt");
		check_waiting(kinds[i], "zero");
		check_waiting(kinds[i], "sort");
	}
}

/* musl's own code has neither. Fails when the code is not followed to its return. */
static void test_musl(void)
{
	check_kind("stacks-musl");
	check_kind("stacks-musl-static");
}

/* --- libdwfl ------------------------------------------------------------------------ */

/* A process, for libdwfl. */
struct oracle {
	struct ps_prochandle *P; /* ours */
	prgregset_t regs;        /* of the thread that is looked at */
	struct pcs *to;          /* where its frames go */
};

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread)
{
	*thread = arg;
	return 0;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread)
{
	*thread = arg;
	return true;
}

static bool read_word(Dwfl *dwfl, Dwarf_Addr addr, Dwarf_Word *ret, void *arg)
{
	struct oracle *o = arg;

	return Pread(o->P, ret, sizeof(*ret), addr) == sizeof(*ret);
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	static const int word[NREGS] = { 10, 12, 11, 5, 13, 14, 4, 19, 9,
					 8,  7,  6,  3, 2,  1,  0, 16 };
	struct oracle *o = arg;
	Dwarf_Word regs[NREGS];

	for (int i = 0; i < NREGS; i++)
		regs[i] = (Dwarf_Word)o->regs[word[i]];
	return dwfl_thread_state_registers(thread, 0, NREGS, regs);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = read_word,
	.set_initial_registers = set_registers,
};

static int no_debuginfo(Dwfl_Module *mod, void **userdata, const char *modname,
			Dwarf_Addr base, const char *file_name, const char *debuglink,
			GElf_Word crc, char **debug_name)
{
	return -1;
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_linux_proc_find_elf,
	.find_debuginfo = no_debuginfo,
};

static Dwfl *open_oracle(struct oracle *o, pid_t pid)
{
	Dwfl *dwfl = dwfl_begin(&callbacks);

	assert_non_null(dwfl);
	assert_int_equal(dwfl_linux_proc_report(dwfl, pid), 0);
	assert_int_equal(dwfl_report_end(dwfl, NULL, NULL), 0);
	assert_true(dwfl_attach_state(dwfl, NULL, pid, &thread_callbacks, o));
	return dwfl;
}

static int add_oracle_frame(Dwfl_Frame *frame, void *arg)
{
	struct pcs *s = arg;
	Dwarf_Addr pc;

	if (s->n == MAX_FRAMES || !dwfl_frame_pc(frame, &pc, NULL))
		return DWARF_CB_ABORT;
	s->pc[s->n++] = pc;
	return DWARF_CB_OK;
}

/* What a comparison came to. */
struct score {
	size_t frames;  /* frames of libdwfl's */
	size_t stacks;  /* stacks */
	size_t shorter; /* stacks that libdwfl gave up and we did not */
	size_t guessed; /* stacks that differ from where no information leads on */
	size_t differ;  /* stacks that differ */
	const char *of; /* the program */
};

static void show_difference(const struct score *sc, struct ps_prochandle *P,
			    const struct pcs *ours, const struct pcs *theirs)
{
	char name[128] = "";
	GElf_Sym sym;

	for (size_t i = 0; i < ours->n || i < theirs->n; i++) {
		uint64_t a = i < ours->n ? ours->pc[i] : 0;
		uint64_t b = i < theirs->n ? theirs->pc[i] : 0;

		name[0] = '\0';
		Plookup_by_addr(P, a ? a : b, name, sizeof(name), &sym);
		printf("# %s %zu: %#lx %#lx %s%s\n", sc->of, i, (unsigned long)a,
		       (unsigned long)b, name, a == b ? "" : " <--");
	}
}

/* Our stack ends where no information covers the PC: libdwfl follows the frame pointer
 * then, wherever it leads. */
static bool ends_in_a_hole(struct ps_prochandle *P, const struct pcs *ours, size_t same)
{
	struct image *im = Pimage(P);
	uint64_t pc = ours->pc[ours->n - 1] - (ours->n > 1);
	const struct image_object *o = image_object_at(im, pc);
	struct cfi_row row;
	struct obj *file;
	bool hole = same == ours->n && (!o || image_object_obj(im, o, &file) ||
					obj_cfi_row(file, pc - o->base, &row));

	image_unref(im);
	return hole;
}

/* Where libdwfl gives up, what it had found must be ours; its end must be ours. */
static void compare(struct score *sc, struct ps_prochandle *P, const struct pcs *ours,
		    const struct pcs *theirs, bool complete)
{
	size_t same = 0;

	while (same < ours->n && same < theirs->n && ours->pc[same] == theirs->pc[same])
		same++;
	sc->stacks++;
	sc->frames += theirs->n;
	if (same == theirs->n && same == ours->n)
		return;
	if (same == theirs->n && !complete) {
		sc->shorter++;
		return;
	}
	if (ours->guess ? same >= ours->guess : ends_in_a_hole(P, ours, same)) {
		sc->guessed++;
		return;
	}
	sc->differ++;
	show_difference(sc, P, ours, theirs);
}

/* One comparison's context. */
struct sampling {
	struct ps_prochandle *P; /* stopped */
	struct score *score;     /* adds up */
	Dwfl *dwfl;              /* the oracle */
	struct oracle oracle;    /* what it reads */
};

static int compare_thread(void *arg, const lwpstatus_t *l)
{
	static struct pcs ours, theirs;
	struct sampling *s = arg;
	int rc;

	theirs.n = 0;
	memcpy(s->oracle.regs, l->pr_reg, sizeof(s->oracle.regs));
	walk(s->P, l->pr_reg, &ours);
	find_guess(s->P, l->pr_reg, &ours);
	rc = dwfl_getthread_frames(s->dwfl, l->pr_lwpid, add_oracle_frame, &theirs);
	compare(s->score, s->P, &ours, &theirs, rc == 0);
	return 0;
}

/* With pid stopped: all its threads. */
static void sample(struct ps_prochandle *P, pid_t pid, struct score *score)
{
	struct sampling s = { .P = P, .score = score, .oracle = { .P = P } };

	s.dwfl = open_oracle(&s.oracle, pid);
	Plwp_iter(P, compare_thread, &s);
	dwfl_end(s.dwfl);
}

static void check_score(const struct score *sc)
{
	printf("# %s: %zu stacks, %zu frames of libdwfl's; it gave up %zu; %zu differ "
	       "beyond CFI; %zu differ\n",
	       sc->of, sc->stacks, sc->frames, sc->shorter, sc->guessed, sc->differ);
	assert_int_equal(sc->differ, 0);
	assert_int_above(sc->frames, 0);
}

/* Stopped at `times` instants, compared, and let go. */
static void sample_program(pid_t pid, const char *name, int times)
{
	struct score score = { .of = name };
	struct ps_prochandle *P = grab(pid, 0);

	for (int i = 0; i < times; i++) {
		sample(P, pid, &score);
		assert_int_equal(Psetrun(P, 0, 0), 0);
		usleep(1000 + (unsigned)(i * 7919) % 3000);
		if (!stop(P))
			break;
	}
	Prelease(P, 0);
	check_score(&score);
}

static pid_t run_program(const char *const *argv)
{
	pid_t pid = fork();
	int null;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execvp(argv[0], (char **)(uintptr_t)argv);
	_exit(127);
}

static void check_program(const char *const *argv, int times)
{
	pid_t pid = run_program(argv);
	int64_t until = harness_now_ms() + 300;

	while (harness_wait_a_little(until))
		;
	if (harness_state(pid) == 'Z') {
		waitpid(pid, NULL, 0);
		printf("# %s is not here\n", argv[0]);
		return;
	}
	sample_program(pid, argv[0], times);
	end(pid);
}

static void test_python(void)
{
	static const char program[] =
		"import threading, time, re, json, hashlib\n"
		"def work():\n"
		"    while True:\n"
		"        json.loads(json.dumps({'a': [1, 2, {'b': 'c' * 50}]} ))\n"
		"        re.sub('(a|b)+', 'x', 'abab' * 20)\n"
		"        sorted(str(i) for i in range(50)); hashlib.sha1(b'x' * "
		"5000)\n"
		"for i in range(3): threading.Thread(target=work).start()\n"
		"threading.Thread(target=time.sleep, args=(1000,)).start()\n"
		"work()\n";
	static const char *const argv[] = { "python3", "-c", program, NULL };

	check_program(argv, 60);
}

static void test_bash(void)
{
	static const char *const argv[] = { "bash", "-c",
					    "f() { local i; for i in a b c; do "
					    "x=${i/a/b}$(echo $i | tr a b); done; };"
					    " while :; do f; [[ abc =~ (a|b)+ ]]; done",
					    NULL };

	check_program(argv, 60);
}

static void test_perl(void)
{
	static const char *const argv[] = {
		"perl", "-e",
		"while (1) { my %h = map { $_ => $_ x 3 } 1..50; "
		"my @a = sort { $h{$a} cmp $h{$b} } keys %h; (join '', @a) =~ s/1+/x/g }",
		NULL
	};

	check_program(argv, 60);
}

/* Code compiled at run time has frame pointers and nothing else. */
static void test_node_busy(void)
{
	static const char *const argv[] = {
		"node", "-e",
		"function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) }"
		"for (;;) { f(18); JSON.parse(JSON.stringify({ a: [1, 2, { b: 'c' }] }));"
		" [3, 1, 2].sort((a, b) => a - b); 'abab'.replace(/(a|b)+/g, 'x') }",
		NULL
	};

	check_program(argv, 60);
}

static void test_node(void)
{
	static const char *const argv[] = { "node", "-e", "setInterval(() => {}, 1000)",
					    NULL };

	check_program(argv, 5);
}

/* Instruction by instruction: prologues, epilogues, PLT entries, tail calls. */
static void test_every_instruction(void)
{
	static const char *const argv[] = {
		"bash", "-c",
		"f() { x=${1/a/b}; printf -v y %s \"$x\"; }; while :; do f ab; done", NULL
	};
	pid_t pid = run_program(argv);
	int64_t until = harness_now_ms() + 300;
	struct ps_prochandle *P;
	struct score score = { .of = "bash, stepped" };
	uint64_t pc = 0;
	int moved = 0;
	struct sampling s = { .score = &score };

	while (harness_wait_a_little(until))
		;
	s.P = s.oracle.P = P = grab(pid, 0);
	s.dwfl = open_oracle(&s.oracle, pid);
	for (int i = 0; i < 5000; i++) {
		moved += pc != (uint64_t)Pstatus(P)->pr_lwp.pr_reg[R_PC];
		pc = (uint64_t)Pstatus(P)->pr_lwp.pr_reg[R_PC];
		compare_thread(&s, &Pstatus(P)->pr_lwp);
		assert_int_equal(Psetrun(P, 0, PRSTEP), 0);
		assert_int_equal(Pwait(P, (unsigned)harness_ms(SOON_MS)), 0);
	}
	dwfl_end(s.dwfl);
	Prelease(P, 0);
	end(pid);
	assert_int_above(moved, 4000); /* rep movs stays in its place */
	check_score(&score);
}

static void sample_victim(const char *name, const char *what)
{
	struct victim v;
	struct said said;

	victim_start(&v, name, what, NULL);
	hear_all(&v, &said);
	sample_program(v.pid, name, 1);
	victim_kill(&v);
}

static void test_victims(void)
{
	sample_victim("stacks", "recurse");
	sample_victim("stacks-nofp", "alt");
	sample_victim("stacks-static", "nested");
	sample_victim("stacks-static-pie", "leaf");
	sample_victim("stacks-stripped", "aligned");
}

int main(int argc, char **argv)
{
	static const struct harness_test tests[] = {
		TEST(test_dynamic),
		TEST(test_static),
		TEST(test_without_frame_pointer),
		TEST(test_musl),
		TEST(test_vfork_parent),
		TEST(test_waiting),
		TEST(test_victims),
		TEST_IN(test_python, 60),
		TEST_IN(test_bash, 60),
		TEST_IN(test_perl, 60),
		TEST_IN(test_every_instruction, 60),
		TEST_IN(test_node, 60),
		TEST_IN(test_node_busy, 60),
		TEST_END,
	};

	return proc_test_main(argc, argv, tests);
}
