/* SPDX-License-Identifier: MIT */
/*
 * Looking without touching: read-only handles, maps, objects, symbols, data.
 */
#include <linux/capability.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "proc_test.h"

/* --- symbols ------------------------------------------------------------------------ */

static struct ps_prochandle *look_at(const struct victim *v)
{
	return grab(v->pid, PGRAB_RDONLY);
}

static void assert_symbol(struct ps_prochandle *P, const char *obj, const char *name,
			  uint64_t addr)
{
	char buf[64];
	GElf_Sym sym;

	if (Plookup_by_name(P, obj, name, &sym))
		fail_msg("no %s: %s", name, strerror(errno));
	assert_int_equal(sym.st_value, addr);
	assert_int_equal(Plookup_by_addr(P, addr, buf, sizeof(buf), &sym), 0);
	assert_string_equal(buf, name);
	assert_int_equal(Plookup_by_addr(P, addr + 1, buf, sizeof(buf), &sym), 0);
	assert_string_equal(buf, name);
	assert_int_equal(sym.st_value, addr);
}

/* What the victim says of itself is what is found, whatever kind of program it is. */
static void test_symbols(void)
{
	static const char *const kinds[] = { "sleeper",        "sleeper-nopie",
					     "sleeper-static", "sleeper-static-pie",
					     "sleeper-musl",   "sleeper-musl-static" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct ps_prochandle *P;
		struct victim v;
		uint64_t outer, inner;

		if (!victim_exists(kinds[i]))
			continue;
		victim_start(&v, kinds[i], NULL);
		victim_line(&v);
		outer = strtoull(strstr(v.line, "outer=") + 6, NULL, 16);
		inner = strtoull(strstr(v.line, "inner=") + 6, NULL, 16);
		P = look_at(&v);
		assert_symbol(P, PR_OBJ_EXEC, "outer", outer);
		assert_symbol(P, "a.out", "inner", inner);
		assert_symbol(P, kinds[i], "inner", inner);
		assert_symbol(P, victim_path(kinds[i]), "inner", inner);
		assert_symbol(P, PR_OBJ_EVERY, "outer", outer);
		assert_int_equal(tracer_of(v.pid), 0);
		Prelease(P, 0);
		assert_int_equal(victim_end(&v), 0);
	}
}

/* What getresuid(2), getresgid(2) and getgroups(2) say of a process like us. */
static void test_cred(void)
{
	enum {
		ROOM = 64
	};
	prcred_t *cred = calloc(1, sizeof(*cred) + ROOM * sizeof(gid_t));
	gid_t groups[ROOM], gid[3];
	struct ps_prochandle *P;
	struct shared *s;
	pid_t pid = start(beating, &s);
	uid_t uid[3];
	int n = getgroups(ROOM, groups);

	assert_non_null(cred);
	P = grab(pid, PGRAB_RDONLY);
	assert_int_equal(Pcred(P, cred, ROOM), 0);
	getresuid(&uid[0], &uid[1], &uid[2]);
	getresgid(&gid[0], &gid[1], &gid[2]);
	assert_int_equal(cred->pr_ruid, uid[0]);
	assert_int_equal(cred->pr_euid, uid[1]);
	assert_int_equal(cred->pr_suid, uid[2]);
	assert_int_equal(cred->pr_rgid, gid[0]);
	assert_int_equal(cred->pr_egid, gid[1]);
	assert_int_equal(cred->pr_sgid, gid[2]);
	assert_int_equal(cred->pr_ngroups, n);
	for (int i = 0; i < n; i++)
		assert_int_equal(cred->pr_groups[i], groups[i]);
	end(pid);
	assert_int_equal(Pcred(P, cred, ROOM), -1);
	assert_int_equal(errno, ESRCH);
	Prelease(P, 0);
	free(cred);
}

static void test_names(void)
{
	struct ps_prochandle *P;
	char path[4096], buf[16];
	prsyminfo_t si;
	struct victim v;
	GElf_Sym sym;

	victim_start(&v, "sleeper", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	assert_int_equal(Pxlookup_by_name(P, LM_ID_BASE, "libc", "getpid", &sym, &si), 0);
	assert_non_null(strstr(si.prs_object, "/libc.so.6"));
	assert_string_equal(si.prs_name, "getpid");
	assert_int_equal(si.prs_lmid, LM_ID_BASE);
	assert_int_equal(Plookup_by_name(P, "libc.so.6", "getpid", &sym), 0);
	assert_non_null(Pobjname(P, sym.st_value, path, sizeof(path)));
	assert_string_equal(path, si.prs_object);
	assert_int_equal(Plookup_by_name(P, path, "getpid", &sym), 0);
	assert_int_equal(Plookup_by_addr(P, sym.st_value, buf, 4, &sym), 0);
	assert_int_equal(strlen(buf), 3); /* cut, and terminated */
	assert_int_equal(Plookup_by_name(P, "libc", "no such", &sym), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(Plookup_by_name(P, "libnothing", "getpid", &sym), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(Pxlookup_by_name(P, 7, "libc", "getpid", &sym, NULL), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(Plookup_by_name(P, PR_OBJ_LDSO, "_dl_debug_state", &sym), 0);
	assert_int_equal(Plookup_by_addr(P, 16, buf, sizeof(buf), &sym), -1);
	assert_int_equal(errno, ENOENT);
	assert_non_null(Pname_to_map(P, PR_OBJ_EXEC));
	assert_non_null(Pname_to_map(P, PR_OBJ_LDSO));
	assert_null(Pname_to_map(P, "nothing"));
	assert_string_equal(Pexecname(P, path, sizeof(path)), victim_path("sleeper"));
	Prelease(P, 0);
	victim_end(&v);
}

struct counted {
	int n;          /* symbols seen */
	uint64_t inner; /* address of the one of that name */
};

static int count_symbol(void *arg, const GElf_Sym *sym, const char *name)
{
	struct counted *c = arg;

	c->n++;
	assert_int_equal(ELF64_ST_TYPE(sym->st_info), STT_FUNC);
	if (!strcmp(name, "inner"))
		c->inner = sym->st_value;
	return 0;
}

static int end_at_once(void *arg, const GElf_Sym *sym, const char *name)
{
	return ++*(int *)arg + 41;
}

static void test_symbol_iter(void)
{
	struct counted c = { 0 };
	struct ps_prochandle *P;
	struct victim v;
	int calls = 0;

	victim_start(&v, "sleeper", NULL);
	victim_line(&v);
	P = look_at(&v);
	assert_int_equal(Psymbol_iter(P, PR_OBJ_EXEC, PR_SYMTAB, BIND_ANY | TYPE_FUNC,
				      count_symbol, &c),
			 0);
	assert_true(c.n > 5);
	assert_int_equal(c.inner, strtoull(strstr(v.line, "inner=") + 6, NULL, 16));
	assert_int_equal(Psymbol_iter(P, PR_OBJ_EVERY, PR_DYNSYM, BIND_ANY | TYPE_ANY,
				      end_at_once, &calls),
			 42);
	assert_int_equal(calls, 1);
	assert_int_equal(Psymbol_iter(P, "nothing", PR_SYMTAB, BIND_ANY | TYPE_ANY,
				      end_at_once, &calls),
			 -1);
	assert_int_equal(errno, ESRCH);
	Prelease(P, 0);
	victim_end(&v);
}

/* --- maps, objects, link maps ------------------------------------------------------- */

struct listed {
	FILE *maps; /* the kernel's */
	int n;      /* so many */
	int agreed; /* so many alike */
};

static int compare_map(void *arg, const prmap_t *m, const char *name)
{
	struct listed *l = arg;
	unsigned long start, end;
	char line[4096], prot[8];

	l->n++;
	if (!fgets(line, sizeof(line), l->maps) ||
	    sscanf(line, "%lx-%lx %7s", &start, &end, prot) != 3)
		return 0;
	line[strcspn(line, "\n")] = '\0';
	l->agreed += m->pr_vaddr == start && m->pr_size == end - start &&
		     !!(m->pr_mflags & MA_EXEC) == (prot[2] == 'x') &&
		     !!(m->pr_mflags & MA_WRITE) == (prot[1] == 'w') &&
		     (!name || strstr(line, name));
	return 0;
}

static void test_maps(void)
{
	struct listed l = { 0 };
	struct ps_prochandle *P;
	const prmap_t *m;
	struct victim v;
	char path[64];

	victim_start(&v, "sleeper", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	snprintf(path, sizeof(path), "/proc/%d/maps", v.pid);
	l.maps = fopen(path, "re");
	assert_int_equal(Pmapping_iter(P, compare_map, &l), 0);
	fclose(l.maps);
	assert_true(l.n > 10);
	assert_int_equal(l.agreed, l.n);
	m = Pname_to_map(P, "libc");
	assert_non_null(m);
	assert_int_equal(m->pr_offset, 0);
	assert_int_equal(Paddr_to_map(P, m->pr_vaddr + 1)->pr_vaddr, m->pr_vaddr);
	assert_null(Paddr_to_map(P, 16));
	Prelease(P, 0);
	victim_end(&v);
}

struct objects {
	char text[8192]; /* `base lmid` of each, a line */
	int n;           /* how many */
};

static int note_object(const rd_loadobj_t *obj, void *arg)
{
	struct objects *o = arg;
	size_t len = strlen(o->text);

	o->n++;
	snprintf(o->text + len, sizeof(o->text) - len, "%#lx %ld\n", (long)obj->rl_base,
		 obj->rl_lmident);
	return 1;
}

/* The victim's own list, by dl_iterate_phdr(): every base of it is in ours. */
static int bases_found(struct victim *v, const struct objects *o)
{
	int n = 0;

	victim_send(v, "list");
	while (*victim_line(v) != '.') {
		char want[64];

		snprintf(want, sizeof(want), "%.*s ", (int)strcspn(v->line, " "),
			 v->line);
		n += strstr(o->text, want) ? 1 : -1000;
	}
	return n;
}

static int find_path(void *arg, const prmap_t *m, const char *name)
{
	return name && strstr(name, arg) ? 1 : 0;
}

static int has_object(struct ps_prochandle *P, const char *name)
{
	return Pobject_iter(P, find_path, (void *)name);
}

static void test_link_maps(void)
{
	struct objects o = { 0 };
	struct ps_prochandle *P;
	struct victim v;
	rd_agent_t *rd;
	GElf_Sym sym;
	Lmid_t lmid;

	victim_start(&v, "loader", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	rd = rd_new(P);
	assert_non_null(rd);
	assert_int_equal(rd_loadobj_iter(rd, note_object, &o), RD_OK);
	assert_int_equal(bases_found(&v, &o), o.n);
	assert_int_equal(Plookup_by_name(P, PR_OBJ_EVERY, "victim_two", &sym), -1);
	victim_send(&v, "open libvictim_two.so");
	victim_expect(&v, "handle=0");
	usleep(60000);
	/* Found without being told, since it was missed in the old snapshot. */
	assert_int_equal(Plookup_by_name(P, PR_OBJ_EVERY, "victim_two", &sym), 0);
	assert_int_equal(Plookup_by_name(P, "libvictim_one", "victim_one", &sym), 0);
	victim_send(&v, "mopen libvictim_one.so");
	victim_expect(&v, "handle=1");
	memset(&o, 0, sizeof(o));
	assert_int_equal(rd_loadobj_iter(rd, note_object, &o), RD_OK);
	assert_non_null(strstr(o.text, " 1\n"));
	assert_int_equal(
		Pxlookup_by_name(P, 1, "libvictim_one", "victim_one", &sym, NULL), 0);
	assert_int_equal(Plmid(P, sym.st_value, &lmid), 0);
	assert_int_equal(lmid, 1);
	assert_int_equal(Paddr_to_loadobj(P, sym.st_value)->rl_lmident, 1);
	victim_send(&v, "close 0");
	victim_expect(&v, "closed");
	assert_int_equal(has_object(P, "libvictim_two"), 0);
	assert_int_equal(has_object(P, "libvictim_one"), 1);
	rd_delete(rd);
	Prelease(P, 0);
	victim_end(&v);
}

/* The next snapshot is built only when the lists have changed. */
static void test_link_maps_change(void)
{
	struct image *before, *after;
	struct ps_prochandle *P;
	struct victim v;

	victim_start(&v, "loader", NULL);
	victim_expect(&v, "ready");
	P = grab(v.pid, PGRAB_NOSTOP);
	assert_int_equal(Plinkmaps(P, NULL), 0);
	before = Pimage(P);
	assert_int_equal(Plinkmaps(P, NULL), 0);
	after = Pimage(P);
	assert_ptr_equal(before, after);
	image_unref(after);
	victim_send(&v, "open libvictim_one.so");
	victim_expect(&v, "handle=0");
	assert_int_equal(Plinkmaps(P, NULL), 0);
	after = Pimage(P);
	assert_ptr_not_equal(before, after);
	assert_null(image_object_named(before, IMAGE_ANY_LMID, "libvictim_one"));
	assert_non_null(image_object_named(after, IMAGE_ANY_LMID, "libvictim_one"));
	image_unref(before);
	image_unref(after);
	Prelease(P, 0);
	victim_end(&v);
}

static void test_static(void)
{
	struct ps_prochandle *P;
	struct victim v;

	victim_start(&v, "sleeper-static", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	assert_null(Prd_agent(P));
	assert_null(rd_new(P));
	assert_int_equal(Plinkmaps(P, NULL), -ENOENT);
	Prelease(P, 0);
	victim_end(&v);
}

/* --- data --------------------------------------------------------------------------- */

static int find_env(void *arg, struct ps_prochandle *P, uintptr_t addr, const char *s)
{
	return strcmp(s, arg) ? 0 : 5;
}

static int has_env(struct ps_prochandle *P, const char *string)
{
	return Penv_iter(P, find_env, (void *)string);
}

static void test_data(void)
{
	struct ps_prochandle *P;
	const psinfo_t *ps;
	struct victim v;
	char text[8];

	setenv("PROC_TEST_LOOK", "a=b", 1);
	victim_start(&v, "sleeper", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	assert_int_equal(has_env(P, "PROC_TEST_LOOK=a=b"), 5);
	assert_int_equal(has_env(P, "PROC_TEST_LOOK=b"), 0);
	assert_int_equal(Pgetauxval(P, AT_PAGESZ), sysconf(_SC_PAGESIZE));
	assert_int_equal(Pgetauxval(P, 9999), -1);
	assert_int_equal(Pread(P, text, 4, (uintptr_t)Pgetauxval(P, AT_BASE)), 4);
	assert_memory_equal(text, ELFMAG, SELFMAG);
	assert_int_equal(Pread(P, text, 4, 16), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(Pread_string(P, text, sizeof(text),
				      (uintptr_t)Pgetauxval(P, AT_PLATFORM)),
			 6);
	assert_string_equal(text, "x86_64");
	ps = Ppsinfo(P);
	assert_int_equal(ps->pr_pid, v.pid);
	assert_int_equal(ps->pr_ppid, getpid());
	assert_string_equal(ps->pr_fname, "sleeper");
	await(Ppsinfo(P)->pr_sname == 'S');
	Prelease(P, 0);
	victim_end(&v);
}

/* A read-only handle has no way to touch its victim. */
static void test_untouched(void)
{
	struct ps_prochandle *P;
	unsigned long saved;
	struct victim v;
	prgreg_t reg;
	char c = 0;

	victim_start(&v, "sleeper", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
#define REFUSED(call) assert_true((call) == -1 && errno == EBADF)
	REFUSED(Pstop(P, 1));
	REFUSED(Pwait(P, 1));
	REFUSED(Psetrun(P, 0, 0));
	REFUSED(Pwrite(P, &c, 1, 0x1000));
	REFUSED(Psetbkpt(P, 0x1000, &saved));
	REFUSED(Pdelbkpt(P, 0x1000, 0));
	REFUSED(Psetflags(P, PR_KLC));
	REFUSED(Psignal(P, SIGUSR1, 1));
	REFUSED(Pfault(P, FLTBPT, 1));
	REFUSED(Pgetareg(P, R_PC, &reg));
	REFUSED(Pputareg(P, R_PC, 0));
	REFUSED(Plwp_getregs(P, v.pid, (unsigned long long[64]){ 0 }));
	REFUSED(Pclearsig(P));
	assert_int_equal(Pctlfd(P), -1);
	assert_int_equal(Pdrive(P), -EBADF);
	assert_int_equal(Pstate(P), PS_RUN);
	kill(v.pid, SIGSTOP);
	await(Pstate(P) == PS_STOP);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_why, PR_JOBCONTROL);
	kill(v.pid, SIGCONT);
	await(Pstate(P) == PS_RUN);
	assert_int_equal(hold_keeper_pid(), 0);
	Prelease(P, PRELEASE_KILL); /* not ours to kill */
	victim_send(&v, "exit 3");
	assert_int_equal(victim_end(&v), 3 << 8);
}

/* --- identity ----------------------------------------------------------------------- */

static uint64_t first_map(pid_t pid)
{
	struct procfs_map *maps;
	uint64_t start;
	size_t n;

	assert_int_equal(procfs_maps(pid, 0, &maps, &n), 0);
	start = maps[0].start;
	free(maps);
	return start;
}

static void test_current(void)
{
	struct ps_prochandle *P, *Q;
	struct victim v;

	victim_start(&v, "execer", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	assert_int_equal(Pcurrent(P), 1);
	victim_send(&v, "again 1"); /* the same file, the same pid */
	victim_expect(&v, "ready");
	assert_int_equal(Pcurrent(P), 0);
	Pupdate_maps(P); /* of the new program, which it says no less */
	assert_non_null(Pname_to_map(P, "a.out"));
	assert_int_equal(Pname_to_map(P, "a.out")->pr_vaddr, first_map(v.pid));
	assert_int_equal(Pcurrent(P), 0);
	Q = look_at(&v);
	assert_int_equal(Pcurrent(Q), 1);
	assert_int_equal(victim_end(&v), 0);
	assert_int_equal(Pcurrent(Q), 0);
	assert_int_equal(Pstate(Q), PS_UNDEAD);
	Prelease(P, 0);
	Prelease(Q, 0);
}

/* What was seen outlives the process. */
static void test_after_exit(void)
{
	struct ps_prochandle *P, *blind;
	struct victim v;
	uint64_t inner;
	char buf[64];
	GElf_Sym sym;

	victim_start(&v, "sleeper", NULL);
	victim_line(&v);
	inner = strtoull(strstr(v.line, "inner=") + 6, NULL, 16);
	P = look_at(&v);
	blind = look_at(&v);
	Pupdate_syms(P);
	assert_non_null(Ppsinfo(P));
	victim_end(&v);
	assert_int_equal(Pstate(P), PS_UNDEAD);
	assert_symbol(P, PR_OBJ_EXEC, "inner", inner);
	assert_int_equal(Plookup_by_name(P, "libc", "getpid", &sym), 0);
	assert_int_equal(Ppsinfo(P)->pr_pid, v.pid);
	assert_int_equal(has_object(P, "libc"), 1);
	assert_non_null(Pexecname(P, buf, sizeof(buf)));
	assert_int_equal(Pread(P, buf, 1, inner), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(has_env(P, ""), -1);
	assert_int_equal(Plookup_by_addr(blind, inner, buf, sizeof(buf), &sym), -1);
	assert_null(Ppsinfo(blind));
	Prelease(P, 0);
	Prelease(blind, 0);
}

/* Many threads look while the maps are read anew again and again. */
static atomic_bool enough;

static void *keep_looking(void *arg)
{
	struct ps_prochandle *P = arg;
	unsigned long n = 0;
	prsyminfo_t si;
	char buf[64];
	GElf_Sym sym;

	for (; !enough; n++) {
		assert_int_equal(Plookup_by_name(P, "libc", "getpid", &sym), 0);
		assert_int_equal(Plookup_by_addr(P, sym.st_value, buf, sizeof(buf), &sym),
				 0);
		assert_int_equal(Pxlookup_by_addr(P, sym.st_value, buf, 1, &sym, &si), 0);
		assert_int_equal(has_object(P, "libc"), 1);
		assert_true(Pstate(P) <= PS_STOP);
	}
	return (void *)n;
}

static void look_together(struct ps_prochandle *P,
			  void (*disturb)(struct ps_prochandle *))
{
	pthread_t t[4];
	void *n;

	enough = false;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, keep_looking, P);
	for (int i = 0; i < 200; i++)
		disturb(P);
	enough = true;
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &n);
		assert_true(n != NULL);
	}
}

static void update(struct ps_prochandle *P)
{
	Pupdate_maps(P);
	if (rand() % 8 == 0)
		Preset_maps(P);
}

static void stop_and_go(struct ps_prochandle *P)
{
	assert_int_equal(Pstop(P, SOON_MS), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
}

static void test_together(void)
{
	struct ps_prochandle *P;
	struct victim v;

	victim_start(&v, "sleeper", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	look_together(P, update);
	Prelease(P, 0);
	P = grab(v.pid, PGRAB_NOSTOP);
	look_together(P, stop_and_go);
	Prelease(P, 0);
	victim_end(&v);
}

/* The leader has ended: maps, memory and symbols come through another thread. */
static void test_headless(void)
{
	struct shared *s;
	pid_t pid = start(headless, &s);
	struct ps_prochandle *P;
	unsigned char text[8];
	uintptr_t addr;
	char buf[64];
	GElf_Sym sym;

	await(state_of(pid) == 'Z');
	P = grab(pid, PGRAB_RDONLY);
	addr = address_of(P, "beat");
	assert_int_equal(addr, (uintptr_t)beat);
	assert_int_equal(Pread(P, text, sizeof(text), addr), sizeof(text));
	assert_memory_equal(text, (void *)addr, sizeof(text));
	assert_int_equal(Plookup_by_addr(P, addr, buf, sizeof(buf), &sym), 0);
	assert_true(Pgetauxval(P, AT_PAGESZ) == sysconf(_SC_PAGESIZE));
	assert_int_equal(Pcurrent(P), 1);
	assert_int_not_equal(Pstate(P), PS_UNDEAD);
	Prelease(P, 0);
	P = grab(pid, 0);
	assert_int_equal(address_of(P, "beat"), addr);
	assert_still(s);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* --- who may be looked at ----------------------------------------------------------- */

static void test_self(void)
{
	struct ps_prochandle *P = grab(getpid(), PGRAB_RDONLY);

	assert_symbol(P, PR_OBJ_EXEC, "beat", (uintptr_t)beat);
	assert_symbol(P, "libc", "getpid", (uintptr_t)getpid);
	Prelease(P, 0);
}

static void test_kernel_thread(void)
{
	psinfo_t ps;
	int err;

	if (proc_get_psinfo(2, &ps) || !ps.pr_kthread)
		harness_skip("pid 2 is no kernel thread here");
	assert_null(Pgrab(2, PGRAB_RDONLY, &err));
	assert_int_equal(err, G_SYS);
	assert_null(Pgrab(2, 0, &err));
	assert_int_equal(err, G_SYS);
}

/* As another user: refused, and said whose it is. */
/* Nothing free: said so, and nothing left half open. */
static void test_no_descriptors(void)
{
	struct ps_prochandle *P;
	struct rlimit old, none;
	struct victim v;
	int err, fd;
	GElf_Sym sym;

	victim_start(&v, "sleeper", NULL);
	victim_expect(&v, "ready");
	P = look_at(&v);
	fd = dup(0);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = (rlim_t)fd;
	setrlimit(RLIMIT_NOFILE, &none);
	assert_null(Pgrab(v.pid, PGRAB_RDONLY, &err));
	assert_int_equal(err, G_NOFD);
	assert_null(Pgrab(v.pid, 0, &err));
	assert_int_equal(err, G_NOFD);
	assert_int_equal(Plookup_by_name(P, "libc", "getpid", &sym), -1);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(Plookup_by_name(P, "libc", "getpid", &sym), 0);
	Prelease(P, 0);
	victim_end(&v);
}

static void test_others_process(void)
{
	struct victim v;
	int status;
	pid_t pid;

	if (geteuid() || prctl(PR_CAPBSET_READ, CAP_SETUID, 0, 0, 0) != 1)
		harness_skip("needs root, and its right to become another");
	victim_start(&v, "sleeper", NULL);
	victim_expect(&v, "ready");
	pid = fork();
	if (!pid) {
		int err;

		if (setgid(65534) || setuid(65534))
			_exit(9);
		if (Pgrab(v.pid, 0, &err))
			_exit(1);
		if (err != G_PERM)
			_exit(err == G_KEEPER ? 77 : 2);
		_exit(!strstr(Pgrab_detail(), "belongs to root, and we are nobody"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	victim_end(&v);
	if (WEXITSTATUS(status) == 77)
		harness_skip("the keeper cannot be executed by others");
	assert_int_equal(status, 0);
}

static const struct harness_test tests[] = { TEST(test_symbols),
					     TEST(test_names),
					     TEST(test_cred),
					     TEST(test_symbol_iter),
					     TEST(test_maps),
					     TEST(test_link_maps),
					     TEST(test_link_maps_change),
					     TEST(test_static),
					     TEST(test_data),
					     TEST(test_untouched),
					     TEST(test_current),
					     TEST(test_after_exit),
					     TEST(test_headless),
					     TEST(test_self),
					     TEST(test_kernel_thread),
					     TEST(test_others_process),
					     TEST(test_together),
					     TEST(test_no_descriptors),
					     TEST_END };

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
