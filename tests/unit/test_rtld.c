/* SPDX-License-Identifier: MIT */
/*
 * src/rtld: on this very process, compared with what the C library says of itself; on
 * fake memory that is well formed, and on fake memory that lies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

#include "rtld/rtld.h"

static uint64_t seed = 88172645463325252;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- this process ------------------------------------------------------------------- */

static struct rtld_target self_target(struct mem_live *live)
{
	mem_live_init(live, getpid());
	return (struct rtld_target){
		.mem = mem_live(live),
		.at_base = getauxval(AT_BASE),
		.at_phdr = getauxval(AT_PHDR),
		.at_phnum = getauxval(AT_PHNUM),
		.at_entry = getauxval(AT_ENTRY),
	};
}

/* The truth about one namespace. */
static void expect_maps(const struct rtld_list *l, size_t from,
			const struct link_map *truth, long lmid, size_t *ret_next)
{
	for (; truth; truth = truth->l_next, from++) {
		const struct rtld_object *o = &l->objs[from];

		assert_true(from < l->n);
		assert_int_equal(o->link_map, (uintptr_t)truth);
		assert_int_equal(o->base, truth->l_addr);
		assert_int_equal(o->dynamic, (uintptr_t)truth->l_ld);
		assert_int_equal(o->nameaddr, (uintptr_t)truth->l_name);
		assert_string_equal(o->name, truth->l_name);
		assert_int_equal(o->lmid, lmid);
	}
	*ret_next = from;
}

/* Objects in the order of dl_iterate_phdr: how many matched so far. */
struct iteration {
	const struct rtld_list *list; /* what we read */
	size_t n;                     /* objects seen */
};

static int expect_phdr(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct iteration *it = arg;

	assert_true(it->n < it->list->n);
	assert_int_equal(it->list->objs[it->n].base, info->dlpi_addr);
	assert_string_equal(it->list->objs[it->n].name, info->dlpi_name);
	it->n++;
	return 0;
}

static void own_process_is_read(void **unused)
{
	struct mem_live live;
	struct rtld_target t = self_target(&live);
	struct rtld_list l = { 0 };
	struct iteration it = { .list = &l };
	struct rtld *r;
	size_t next;

	assert_int_equal(rtld_new(&t, &r), 0);
	assert_int_equal(rtld_watch_addr(r), _r_debug.r_brk);
	assert_int_equal(rtld_read_state(r), RTLD_CONSISTENT);
	assert_int_equal(rtld_read(r, &l), 0);
	assert_int_equal(l.state, RTLD_CONSISTENT);
	expect_maps(&l, 0, _r_debug.r_map, 0, &next);
	assert_int_equal(next, l.n);
	assert_string_equal(l.objs[0].name, "");
	dl_iterate_phdr(expect_phdr, &it);
	assert_int_equal(it.n, l.n);
	rtld_list_fini(&l);
	assert_int_equal(l.n, 0);
	rtld_free(r);
	mem_live_fini(&live);
}

/* What rtld_diff() told. */
struct changes {
	size_t gone, came;              /* how many */
	const struct rtld_object *last; /* the last that came or left */
	bool came_first;                /* one came before one left */
};

static void note_gone(void *arg, const struct rtld_object *obj)
{
	struct changes *c = arg;

	c->gone++;
	c->last = obj;
	c->came_first |= c->came > 0;
}

static void note_came(void *arg, const struct rtld_object *obj)
{
	struct changes *c = arg;

	c->came++;
	c->last = obj;
}

static struct changes diff(const struct rtld_list *from, const struct rtld_list *to)
{
	struct changes c = { 0 };

	rtld_diff(from, to, note_gone, note_came, &c);
	assert_false(c.came_first);
	return c;
}

static void opened_library_is_seen(void **unused)
{
	struct mem_live live;
	struct rtld_target t = self_target(&live);
	struct rtld_list before = { 0 }, after = { 0 };
	struct changes c;
	struct rtld *r;
	void *h;

	assert_int_equal(rtld_new(&t, &r), 0);
	assert_int_equal(rtld_read(r, &before), 0);
	h = dlopen("libBrokenLocale.so.1", RTLD_NOW);
	assert_non_null(h);
	assert_int_equal(rtld_read(r, &after), 0);
	assert_int_not_equal(before.seq, after.seq);
	c = diff(&before, &after);
	assert_int_equal(c.came, 1);
	assert_int_equal(c.gone, 0);
	assert_int_equal(c.last->link_map, (uintptr_t)h);
	assert_non_null(strstr(c.last->name, "libBrokenLocale"));
	dlclose(h);
	assert_int_equal(rtld_read(r, &after), 0); /* replaces the old contents */
	assert_int_equal(before.seq, after.seq);
	c = diff(&before, &after);
	assert_int_equal(c.came + c.gone, 0);
	rtld_list_fini(&before);
	rtld_list_fini(&after);
	rtld_free(r);
	mem_live_fini(&live);
}

static void namespaces_are_read(void **unused)
{
	struct mem_live live;
	struct rtld_target t = self_target(&live);
	struct rtld_list l = { 0 };
	struct link_map *map;
	struct rtld *r;
	void *h[3];
	size_t at;
	Lmid_t id;

	assert_int_equal(rtld_new(&t, &r), 0);
	for (unsigned i = 0; i < 3; i++) {
		h[i] = dlmopen(LM_ID_NEWLM, "libBrokenLocale.so.1", RTLD_NOW);
		assert_non_null(h[i]);
	}
	assert_int_equal(rtld_read_state(r), RTLD_CONSISTENT);
	assert_int_equal(rtld_read(r, &l), 0);
	expect_maps(&l, 0, _r_debug.r_map, 0, &at);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(dlinfo(h[i], RTLD_DI_LMID, &id), 0);
		assert_int_equal(dlinfo(h[i], RTLD_DI_LINKMAP, &map), 0);
		while (map->l_prev)
			map = map->l_prev;
		expect_maps(&l, at, map, id, &at);
	}
	assert_int_equal(at, l.n);
	/* An emptied namespace keeps its number from the others. */
	dlclose(h[0]);
	assert_int_equal(rtld_read(r, &l), 0);
	assert_int_equal(l.objs[l.n - 1].lmid, 3);
	dlclose(h[1]);
	dlclose(h[2]);
	rtld_list_fini(&l);
	rtld_free(r);
	mem_live_fini(&live);
}

static uint64_t own_symbol(void *arg, const char *name)
{
	unsigned *asked = arg;

	++*asked;
	return strcmp(name, "_r_debug") == 0 ? (uintptr_t)&_r_debug : 0;
}

/* Without the executable's headers there are still the linker's symbols. */
static void linker_symbols_suffice(void **unused)
{
	struct mem_live live;
	struct rtld_target t = self_target(&live);
	struct rtld_list l = { 0 };
	unsigned asked = 0;
	struct rtld *r;
	size_t next;

	t.at_phdr = t.at_phnum = t.at_entry = 0;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rtld_new(&t, &r), 0);
		assert_int_equal(rtld_watch_addr(r), _r_debug.r_brk);
		assert_int_equal(rtld_read(r, &l), 0);
		expect_maps(&l, 0, _r_debug.r_map, 0, &next);
		rtld_free(r);
		t.ldso_symbol = own_symbol; /* first the table in memory, then ours */
		t.arg = &asked;
	}
	assert_true(asked > 0);
	rtld_list_fini(&l);
	mem_live_fini(&live);
}

/* As the kernel describes `ld.so ./prog`: no AT_BASE, the linker's own headers. */
static void linker_run_by_hand_is_found(void **unused)
{
	struct mem_live live;
	struct rtld_target t = self_target(&live);
	const ElfW(Ehdr) *ehdr = (const void *)t.at_base;
	struct rtld *r;

	t.at_phdr = t.at_base + ehdr->e_phoff;
	t.at_phnum = ehdr->e_phnum;
	t.at_entry = t.at_base + ehdr->e_entry;
	t.at_base = 0;
	assert_int_equal(rtld_new(&t, &r), 0);
	assert_int_equal(rtld_watch_addr(r), _r_debug.r_brk);
	assert_int_equal(rtld_read_state(r), RTLD_CONSISTENT);
	rtld_free(r);
	mem_live_fini(&live);
}

/* --- fake memory ------------------------------------------------------------------- */

enum {
	EXE = 0x400000, /* program headers, dynamic section */
	PHDR = EXE + 64,
	DYN = EXE + 0x200,
	LDSO = 0x7000000, /* an ELF header, and in some tests more */
	STATE_FUNC = LDSO + 0x60,
	HEAP = 0x10000000,    /* r_debugs, link maps, names */
	DEBUG = HEAP,         /* the first r_debug */
	MAPS = HEAP + 0x1000, /* link maps, MAP_SIZE each */
	MAP_SIZE = 128,       /* the name stands 64 bytes into it */
	EXE_SIZE = 0x400,
	LDSO_SIZE = 0x800,
	HEAP_SIZE = 0x8000,
};

/* A small program in memory. */
struct world {
	uint8_t exe[EXE_SIZE], ldso[LDSO_SIZE], heap[HEAP_SIZE]; /* its memory */
	struct mem_piece piece[3];                               /* where that stands */
	struct mem_pieces pieces;                                /* for mem_pieces() */
	struct rtld_target target; /* what the agent is told */
	unsigned word;             /* 8 or 4 */
};

static struct world world;

static void poke(uint64_t addr, uint64_t value, size_t n)
{
	for (unsigned i = 0; i < 3; i++) {
		const struct mem_piece *p = &world.piece[i];

		if (addr - p->addr < p->len)
			memcpy((uint8_t *)(uintptr_t)p->data + (addr - p->addr), &value,
			       n);
	}
}

static void poke_words(uint64_t addr, unsigned n, const uint64_t *words)
{
	for (unsigned i = 0; i < n; i++)
		poke(addr + i * world.word, words[i], world.word);
}

static void put_debug(uint64_t addr, uint64_t version, uint64_t map, uint64_t state,
		      uint64_t next)
{
	uint64_t w[] = { version, map, STATE_FUNC, state, LDSO, next };

	if (world.word == 8) { /* the padding of an int is anything */
		w[0] |= 0xdeadbeef00000000;
		w[3] |= 0xdeadbeef00000000;
	}
	poke_words(addr, 6, w);
}

static uint64_t map_at(unsigned i)
{
	return MAPS + i * MAP_SIZE;
}

/* Link map i, named "libI", whose l_next is `next`. */
static void put_map(unsigned i, uint64_t next)
{
	uint64_t w[] = { 0x100000 * i, map_at(i) + 64, 0x100000 * i + 0x10, next, 0 };

	poke_words(map_at(i), 5, w);
	poke(map_at(i) + 64, 0x62696c, 4);
	poke(map_at(i) + 67, '0' + i % 10, 2);
}

static void put_maps(unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++)
		put_map(i, i + 1 < from + n ? map_at(i + 1) : 0);
}

static uint64_t fake_symbol(void *arg, const char *name)
{
	return strcmp(name, "_dl_debug_state") == 0 ? STATE_FUNC : 0;
}

static void place(unsigned i, uint64_t addr, const void *data, size_t len)
{
	world.piece[i] = (struct mem_piece){ .addr = addr, .len = len, .data = data };
}

/* An executable with DT_DEBUG and three link maps, all well. */
static void make_world(void)
{
	static const uint64_t dyn[] = { DT_DEBUG, DEBUG, DT_NULL, 0 };

	memset(&world, 0, sizeof(world));
	world.word = 8;
	place(0, EXE, world.exe, EXE_SIZE);
	place(1, LDSO, world.ldso, LDSO_SIZE);
	place(2, HEAP, world.heap, HEAP_SIZE);
	world.pieces = (struct mem_pieces){ .pieces = world.piece, .n = 3 };
	world.target = (struct rtld_target){
		.mem = mem_pieces(&world.pieces),
		.at_base = LDSO,
		.at_phdr = PHDR,
		.at_phnum = 2,
		.at_entry = EXE + 0x100,
		.ldso_symbol = fake_symbol,
	};
	memcpy(world.ldso, ELFMAG "\2", 5);
	poke(PHDR, PT_PHDR, 4);
	poke(PHDR + 16, PHDR, 8);
	poke(PHDR + 56, PT_DYNAMIC, 4);
	poke(PHDR + 56 + 16, DYN, 8);
	poke_words(DYN, 4, dyn);
	put_debug(DEBUG, 1, map_at(0), 0, 0x666);
	put_maps(0, 3);
}

/* Reads the world; a failure must leave the list as it was. */
static int read_world(struct rtld_list *ret)
{
	struct rtld_list l = { .seq = 4711 };
	struct rtld *r;
	int err = rtld_new(&world.target, &r);

	assert_int_equal(err, 0);
	err = rtld_read(r, &l);
	rtld_free(r);
	if (err)
		assert_int_equal(l.seq, 4711);
	if (ret && !err)
		*ret = l;
	else if (!err)
		rtld_list_fini(&l);
	return err;
}

static void fake_program_is_read(void **unused)
{
	struct rtld_list l;

	make_world();
	assert_int_equal(read_world(&l), 0);
	assert_int_equal(l.n, 3);
	assert_int_equal(l.objs[2].base, 0x200000);
	assert_int_equal(l.objs[2].link_map, map_at(2));
	assert_string_equal(l.objs[2].name, "lib2");
	rtld_list_fini(&l);
}

static void state_is_of_every_namespace(void **unused)
{
	struct rtld_list l;
	struct rtld *r;

	make_world();
	put_debug(DEBUG, 2, map_at(0), RTLD_CONSISTENT, DEBUG + 64);
	put_debug(DEBUG + 64, 2, 0, RTLD_CONSISTENT, DEBUG + 128); /* emptied */
	put_debug(DEBUG + 128, 2, map_at(10), RTLD_DELETE, 0);
	put_maps(10, 2);
	assert_int_equal(rtld_new(&world.target, &r), 0);
	assert_int_equal(rtld_read_state(r), RTLD_DELETE);
	rtld_free(r);
	assert_int_equal(read_world(&l), 0);
	assert_int_equal(l.state, RTLD_DELETE);
	assert_int_equal(l.n, 5);
	assert_int_equal(l.objs[4].lmid, 2);
	rtld_list_fini(&l);
}

/* At the exec stop everything is zero; the address to watch is known all the same. */
static void exec_stop_is_told(void **unused)
{
	struct rtld *r;

	make_world();
	memset(world.heap, 0, HEAP_SIZE);
	poke(DYN + 8, 0, 8);
	assert_int_equal(rtld_new(&world.target, &r), 0);
	assert_int_equal(rtld_watch_addr(r), STATE_FUNC);
	assert_int_equal(rtld_read_state(r), -EAGAIN);
	assert_int_equal(read_world(NULL), -EAGAIN);
	/* The same agent, once the linker has run; r_brk counts, not the symbol. */
	poke(DYN + 8, DEBUG, 8);
	put_debug(DEBUG, 1, map_at(0), RTLD_ADD, 0);
	put_maps(0, 1);
	poke(DEBUG + 16, LDSO + 0x70, 8);
	assert_int_equal(rtld_watch_addr(r), LDSO + 0x70);
	assert_int_equal(rtld_read_state(r), RTLD_ADD);
	rtld_free(r);
}

static void static_programs_are_refused(void **unused)
{
	struct rtld *r = NULL;

	make_world();
	world.target.at_base = 0; /* static-PIE: PT_DYNAMIC and DT_DEBUG, no linker */
	assert_int_equal(rtld_new(&world.target, &r), -ENOENT);
	world.target.at_phnum = 1; /* static: no PT_DYNAMIC */
	assert_int_equal(rtld_new(&world.target, &r), -ENOENT);
	world.target.at_phdr = 0x1234;
	assert_int_equal(rtld_new(&world.target, &r), -ENOENT);
	assert_null(r);
}

static void linker_without_r_debug_is_refused(void **unused)
{
	struct rtld *r = NULL;

	make_world();
	poke(DYN, 0x7ffffff0, 8); /* no DT_DEBUG */
	assert_int_equal(rtld_new(&world.target, &r), -ENOEXEC);
	assert_null(r);
}

/* i386 run by hand, with a linker that has DT_HASH alone. */
static void other_class_and_plain_hash(void **unused)
{
	static const uint64_t dyn[] = { DT_HASH,   0x200, DT_SYMTAB, 0x300,
					DT_STRTAB, 0x400, DT_NULL,   0 };
	struct rtld_list l;

	make_world();
	memset(world.heap, 0, HEAP_SIZE);
	world.word = 4;
	world.target.at_base = 0;
	world.target.at_phdr = LDSO + 52;
	world.target.at_phnum = 1;
	world.target.at_entry = LDSO + 0x700;
	memcpy(world.ldso, ELFMAG "\1", 5);
	poke(LDSO + 24, 0x700, 4); /* e_entry */
	poke(LDSO + 28, 52, 4);    /* e_phoff */
	poke(LDSO + 52, PT_DYNAMIC, 4);
	poke(LDSO + 52 + 8, 0x100, 4);
	poke_words(LDSO + 0x100, 8, dyn);
	poke(LDSO + 0x200, 1 | 3ull << 32, 8); /* nbucket, nchain */
	poke(LDSO + 0x310, 1, 4);              /* symbol 1: not defined here */
	poke(LDSO + 0x320, 1, 4);              /* symbol 2 */
	poke(LDSO + 0x324, HEAP - LDSO, 4);
	poke(LDSO + 0x32e, 5, 2);
	memcpy(world.ldso + 0x401, "_r_debug", 9);
	put_debug(DEBUG, 2, map_at(0), 0, DEBUG + 64);
	put_debug(DEBUG + 64, 2, map_at(5), 0, 0);
	put_maps(0, 2);
	put_maps(5, 1);
	assert_int_equal(read_world(&l), 0);
	assert_int_equal(l.n, 3);
	assert_string_equal(l.objs[1].name, "lib1");
	assert_int_equal(l.objs[2].lmid, 1);
	rtld_list_fini(&l);
}

/* --- fake memory that lies --------------------------------------------------------- */

static void loops_are_errors(void **unused)
{
	for (unsigned n = 1; n < 50; n++)
		for (unsigned back = 0; back < n; back++) {
			make_world();
			put_maps(0, n);
			put_map(n - 1, map_at(back)); /* a circle, or a rho */
			assert_int_equal(read_world(NULL), -EINVAL);
		}
}

static void chain_loops_are_errors(void **unused)
{
	make_world();
	put_debug(DEBUG, 2, map_at(0), 0, DEBUG);
	assert_int_equal(read_world(NULL), -EINVAL);
	put_debug(DEBUG, 2, map_at(0), 0, DEBUG + 64);
	put_debug(DEBUG + 64, 2, map_at(1), 0, DEBUG + 128);
	put_debug(DEBUG + 128, 2, map_at(2), 0, DEBUG + 64);
	assert_int_equal(read_world(NULL), -EINVAL);
	/* Too long a chain; the longest that is let pass. */
	for (unsigned i = 0; i < RTLD_MAX_NAMESPACES; i++)
		put_debug(DEBUG + 64 * i, 2, i ? 0 : map_at(0), 0, DEBUG + 64 * (i + 1));
	assert_int_equal(read_world(NULL), -ELOOP);
	put_debug(DEBUG + 64 * (RTLD_MAX_NAMESPACES - 1), 2, 0, 0, 0);
	assert_int_equal(read_world(NULL), 0);
}

static void garbage_is_an_error(void **unused)
{
	make_world();
	put_map(1, 0x6666666);
	assert_int_equal(read_world(NULL), -EFAULT);
	make_world();
	poke(map_at(1) + 8, 0x6666666, 8); /* l_name */
	assert_int_equal(read_world(NULL), -EFAULT);
	make_world();
	put_debug(DEBUG, 0x10000, map_at(0), 0, 0);
	assert_int_equal(read_world(NULL), -EINVAL);
	put_debug(DEBUG, 1, map_at(0), 3, 0);
	assert_int_equal(read_world(NULL), -EINVAL);
	poke(DYN + 8, 0x6666666, 8);
	assert_int_equal(read_world(NULL), -EFAULT);
}

static void endless_names_are_errors(void **unused)
{
	struct rtld_list l;

	make_world();
	poke(map_at(2) + 8, HEAP + 0x4000, 8);
	memset(world.heap + 0x4000, 'x', RTLD_MAX_PATH);
	assert_int_equal(read_world(NULL), -ELOOP);
	world.heap[0x4000 + RTLD_MAX_PATH - 1] = '\0'; /* the longest name */
	assert_int_equal(read_world(&l), 0);
	assert_int_equal(strlen(l.objs[2].name), RTLD_MAX_PATH - 1);
	rtld_list_fini(&l);
	memset(world.heap + 0x4000, 'x', HEAP_SIZE - 0x4000);
	poke(map_at(2) + 8, HEAP + HEAP_SIZE - 100, 8); /* to the end of memory */
	assert_int_equal(read_world(NULL), -EFAULT);
	poke(map_at(2) + 8, 0, 8); /* a null pointer */
	assert_int_equal(read_world(&l), 0);
	assert_string_equal(l.objs[2].name, "");
	rtld_list_fini(&l);
}

/* Memory that has a link map everywhere, the next one 4 KiB on, each with a long name. */
static ssize_t read_endless(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct mem m = mem_pieces(&world.pieces);
	uint64_t *w = buf;

	if (addr < 0x20000000)
		return mem_read(&m, addr, buf, len);
	assert_int_equal(len, 4096);
	memset(buf, 'x', len);
	w[0] = 0;
	w[1] = addr + *(size_t *)ctx;
	w[2] = 0;
	w[3] = addr + 4096;
	((char *)buf)[4095] = '\0';
	return (ssize_t)len;
}

static void endless_lists_are_bounded(void **unused)
{
	static const struct mem_ops ops = { .read = read_endless };
	size_t name_at;
	double start = now();

	make_world();
	put_map(2, 0x20000000);
	world.target.mem = (struct mem){ .ops = &ops, .ctx = &name_at };
	for (name_at = 4090; name_at > 0; name_at = name_at == 4090 ? 40 : 0)
		assert_int_equal(read_world(NULL), -ELOOP);
	assert_true(now() - start < 1.0);
}

/* Each read may see other bytes: one in 64 is changed. */
static ssize_t read_changing(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct mem m = mem_pieces(&world.pieces);
	ssize_t n = mem_read(&m, addr, buf, len);

	for (ssize_t i = 0; i < n; i += 1 + (ssize_t)(rnd() % 128))
		((uint8_t *)buf)[i] = (uint8_t)(rnd() >> 9);
	return n;
}

/* Reads state, list and watch address, whatever comes; answers the list's error. */
static int exercise(void)
{
	struct rtld_list l = { 0 };
	struct rtld *r;
	int err = rtld_new(&world.target, &r);

	if (err)
		return err;
	(void)rtld_watch_addr(r);
	assert_true(rtld_read_state(r) <= RTLD_DELETE);
	err = rtld_read(r, &l);
	assert_true(err <= 0);
	for (size_t i = 0; i < l.n; i++)
		assert_true(strlen(l.objs[i].name) < RTLD_MAX_PATH);
	rtld_list_fini(&l);
	rtld_free(r);
	return err;
}

static void changing_memory_is_survived(void **unused)
{
	static const struct mem_ops ops = { .read = read_changing };

	make_world();
	world.target.mem = (struct mem){ .ops = &ops };
	for (unsigned i = 0; i < 20000; i++)
		(void)exercise();
}

/* A victim that dies at its n-th read from now, or may not be read any more. */
struct death {
	int reads; /* that still go well */
	int err;   /* what the others answer */
};

static ssize_t read_dying(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct mem m = mem_pieces(&world.pieces);
	struct death *d = ctx;

	return d->reads-- > 0 ? mem_read(&m, addr, buf, len) : d->err;
}

static void death_is_told_at_every_read(void **unused)
{
	static const struct mem_ops ops = { .read = read_dying };
	int n = 0, err;

	make_world();
	do {
		struct death d = { .reads = n, .err = n & 1 ? -ESRCH : -EPERM };

		world.target.mem = (struct mem){ .ops = &ops, .ctx = &d };
		err = exercise();
		if (err)
			assert_int_equal(err, n & 1 ? -ESRCH : -EPERM);
		n++;
	} while (err && n < 1000);
	assert_int_equal(err, 0);
	assert_true(n > 5);
}

/* A few bytes of a good world at random; pointers that are nearly right are the worst. */
static void corrupt(void)
{
	for (unsigned n = 1 + rnd() % 8; n; n--) {
		uint64_t r = rnd(), value = rnd();
		uint64_t at = r % 4 == 0   ? PHDR + r / 8 % 0x80
			      : r % 4 == 1 ? DYN + r / 8 % 0x40
			      : r % 4 == 2 ? DEBUG + r / 8 % 0xc0
					   : MAPS + r / 8 % 0x400;

		if (r & 1 << 20)
			value = HEAP + value % HEAP_SIZE;
		poke(r & 1 << 21 ? at & ~7ull : at, value, r & 1 << 22 ? 8 : 1);
	}
}

static void corrupted_programs_are_survived(void **unused)
{
	unsigned good = 0, bad = 0;

	for (unsigned i = 0; i < 60000; i++) {
		if (i % 4 == 0) {
			make_world();
			put_debug(DEBUG, 2, map_at(0), 0, DEBUG + 64);
			put_debug(DEBUG + 64, 2, map_at(4), 0, 0);
			put_maps(4, 4);
		}
		corrupt();
		*(exercise() ? &bad : &good) += 1;
	}
	assert_true(good > 1000 && bad > 1000);
}

/* Nothing but random bytes, in every page. */
static ssize_t read_noise(void *ctx, uint64_t addr, void *buf, size_t len)
{
	uint64_t *w = buf;

	for (size_t i = 0; i < len / 8 && i < 64; i++)
		w[i] = rnd();
	return (ssize_t)len;
}

static void noise_is_survived(void **unused)
{
	static const struct mem_ops ops = { .read = read_noise };

	make_world();
	world.target.mem = (struct mem){ .ops = &ops };
	for (unsigned i = 0; i < 40000; i++)
		(void)exercise();
}

/* --- comparing lists --------------------------------------------------------------- */

static struct rtld_list make_list(size_t n, uint64_t from, uint64_t step)
{
	struct rtld_list l = { .objs = calloc(n ? n : 1, sizeof(*l.objs)), .n = n };

	for (size_t i = 0; i < n; i++) {
		l.objs[i].link_map = from + i * step;
		l.objs[i].name = strdup("x");
	}
	return l;
}

static void shuffle(struct rtld_list *l)
{
	for (size_t i = l->n; i > 1; i--) {
		size_t j = rnd() % i;
		struct rtld_object o = l->objs[j];

		l->objs[j] = l->objs[i - 1];
		l->objs[i - 1] = o;
	}
}

static void big_lists_are_compared_fast(void **unused)
{
	struct rtld_list a = make_list(10000, 0, 2), b = make_list(10000, 0, 3);
	struct changes c;
	double start;

	shuffle(&a);
	shuffle(&b);
	start = now();
	c = diff(&a, &b);
	assert_true(now() - start < 0.25);
	/* Common are the multiples of 6 below 20,000. */
	assert_int_equal(c.gone, 10000 - 3334);
	assert_int_equal(c.came, 10000 - 3334);
	rtld_list_fini(&a);
	rtld_list_fini(&b);
}

/* Each part of the identity counts; where the name stands does not. */
static void identity_is_all_five(void **unused)
{
	struct rtld_list a = make_list(3, 10, 1), b = make_list(3, 10, 1);

	b.objs[1].nameaddr = 9;
	assert_int_equal(diff(&a, &b).came, 0);
	b.objs[1].base = 1;
	assert_int_equal(diff(&a, &b).came, 1);
	b.objs[1].base = 0;
	b.objs[1].dynamic = 1;
	assert_int_equal(diff(&a, &b).gone, 1);
	b.objs[1].dynamic = 0;
	b.objs[1].lmid = 1;
	assert_ptr_equal(diff(&a, &b).last, &b.objs[1]);
	b.objs[1].lmid = 0;
	b.objs[1].name[0] = 'y';
	assert_int_equal(diff(&a, &b).came, 1);
	rtld_diff(&a, &b, NULL, NULL, NULL);
	rtld_list_fini(&a);
	assert_int_equal(diff(&a, &b).came, 3);
	rtld_list_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_process_is_read),
		cmocka_unit_test(opened_library_is_seen),
		cmocka_unit_test(namespaces_are_read),
		cmocka_unit_test(linker_symbols_suffice),
		cmocka_unit_test(linker_run_by_hand_is_found),
		cmocka_unit_test(fake_program_is_read),
		cmocka_unit_test(state_is_of_every_namespace),
		cmocka_unit_test(exec_stop_is_told),
		cmocka_unit_test(static_programs_are_refused),
		cmocka_unit_test(linker_without_r_debug_is_refused),
		cmocka_unit_test(other_class_and_plain_hash),
		cmocka_unit_test(loops_are_errors),
		cmocka_unit_test(chain_loops_are_errors),
		cmocka_unit_test(garbage_is_an_error),
		cmocka_unit_test(endless_names_are_errors),
		cmocka_unit_test(endless_lists_are_bounded),
		cmocka_unit_test(changing_memory_is_survived),
		cmocka_unit_test(death_is_told_at_every_read),
		cmocka_unit_test(corrupted_programs_are_survived),
		cmocka_unit_test(noise_is_survived),
		cmocka_unit_test(big_lists_are_compared_fast),
		cmocka_unit_test(identity_is_all_five),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
