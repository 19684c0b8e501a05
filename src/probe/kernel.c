/* SPDX-License-Identifier: MIT */
/*
 * The kernel backend: spots are watched by uprobes, and what is wanted of a hit is done
 * in the kernel, by a BPF program in the thread that hits. Nobody stops, nobody waits for
 * us, and all of it is in our descriptors: it goes when we do, however we go.
 *
 * One *link* (uprobe_multi, Linux 6.6; per process 6.10) watches all spots that one set()
 * finds in one mapping of a file. A spot's cookie tells the program its id, its index in
 * our table and its link's range (record.h). A hit outside that range is not ours: the
 * uprobe is in the file, so it hits in each mapping of it, and in the next program of the
 * process after an exec. Links that are not wanted any more are made deaf by an empty
 * range, which takes effect at once, and closed behind our back (kernel_links.c).
 *
 * Hits are counted for each id on each CPU; a program is loaded with so many counters,
 * and when ids outgrow them another, larger one is loaded, for the links that are made
 * from then on. Records go through one ring, shared by all programs of the victim.
 *
 * Who does what: set(), gone(), reset(), stop() come one at a time; counts() and drain()
 * may come beside them, so `lock` guards the table of spots and the list of programs. It
 * is never held while somebody is called.
 *
 * The victim's death ends hits, nothing else: its counters and records are ours. Places
 * are written into the text by the kernel when the link is made, and set() looks whether
 * they are there: a mapping that is shared for writing, say, has none, and no error.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os/uprobe.h"
#include "probe/kernel.h"
#include "proc/control.h"
#include "util/scope.h"

enum {
	PROGRAMS_MAX = 16,           /* each has twice the counters at least */
	FIRST_IDS = 4096,            /* counters of the first */
	RING_EVENTS = 8 << 20,       /* bytes: 30,000 hits */
	RING_STACKS = 64 << 20,      /* bytes: 3,200 stacks of 16 KiB */
	STACK_MAX = 64 << 10,        /* bytes of it at most */
	FIRST_INO = (int)0xeffffffc, /* of the first pid namespace (PROC_PID_INIT_INO) */
	INT3 = 0xcc,                 /* what a uprobe looks like, … */
	CALL = 0xe8,                 /* … and on a nop of 5 bytes (Linux 6.18) */
};

/* A drain() under way. */
struct draining {
	probe_hit_f *fn; /* is told */
	void *arg;       /* its own */
	uint64_t until;  /* CLOCK_MONOTONIC, ns: what came later waits */
};

struct probe_backend {
	struct ps_prochandle *P;      /* the victim; borrowed */
	pid_t pid;                    /* … */
	struct kernel_wanted wanted;  /* of the kernel */
	struct kernel_tables tables;  /* descriptors of the first program's */
	struct kernel_links links;    /* all of them */
	struct ring_buffer *ring;     /* NULL: counts only */
	int ncpus;                    /* that the kernel counts for */
	struct draining draining;     /* drain()'s */
	uint64_t told_lost;           /* records that were lost, as told */
	uint64_t *refused;            /* spots of the last set(); owned */
	size_t nrefused, max_refused; /* how many, for how many */

	pthread_mutex_t lock;                         /* guards what follows */
	struct kernel_program programs[PROGRAMS_MAX]; /* the last is for new links */
	unsigned nprograms;                           /* how many */
	struct kernel_spot *spots;                    /* by index; owned */
	size_t nspots, room;                          /* how many, for how many */
};

/* --- making and ending -------------------------------------------------------------- */

static int ns_ino(pid_t pid, struct stat *ret)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	return stat(path, ret) ? -errno : 0;
}

/* Whose thread ids the program is to tell: those that we see. */
static int choose_ids(pid_t pid, enum probe_want want, struct record_setup *ret,
		      const struct kernel_said *said)
{
	struct stat ours, its;
	int err = ns_ino(getpid(), &ours);

	if (err)
		return kernel_say(said, err, "our pid namespace is not known: %s",
				  strerror(-err));
	if (ours.st_ino == (unsigned)FIRST_INO) {
		ret->tgid = (uint32_t)pid;
		return 0;
	}
	ret->foreign = 1;
	ret->ns_dev = ours.st_dev;
	ret->ns_ino = ours.st_ino;
	err = ns_ino(pid, &its);
	if (!err && its.st_ino != ours.st_ino && want != PROBE_WANT_COUNT)
		return kernel_say(said, -EOPNOTSUPP,
				  "the kernel does not tell thread ids of another pid "
				  "namespace, but from the first one");
	return 0;
}

static int want_of_kernel(pid_t pid, enum probe_want want, size_t stack,
			  struct kernel_wanted *ret, const struct kernel_said *said)
{
	*ret = (struct kernel_wanted){ .want = want, .ids = FIRST_IDS, .ring = 4096 };
	if (want == PROBE_WANT_EVENTS)
		ret->ring = RING_EVENTS;
	if (want == PROBE_WANT_STACKS) {
		ret->ring = RING_STACKS;
		ret->setup.stack =
			stack < STACK_MAX ? ((uint32_t)stack + 7) & ~7u : STACK_MAX;
		if (ret->setup.stack < RECORD_WORDS * 8)
			ret->setup.stack = RECORD_WORDS * 8;
	}
	return choose_ids(pid, want, &ret->setup, said);
}

static int take(void *ctx, void *data, size_t size);

static int make_tables(struct probe_backend *b, const struct kernel_said *said)
{
	int err = kernel_load(&b->wanted, &b->tables, &b->programs[0], said);

	if (err)
		return err;
	b->nprograms = 1;
	err = kernel_links_init(&b->links, b->tables.bss);
	if (!err && b->wanted.want != PROBE_WANT_COUNT) {
		b->ring = ring_buffer__new(b->tables.ring, take, b, NULL);
		err = b->ring ? 0 : -errno;
	}
	if (err)
		kernel_say(said, err, "the kernel's tables cannot be mapped: %s",
			   strerror(-err));
	return err;
}

static void kernel_close(struct probe_backend *b)
{
	if (!b)
		return;
	kernel_links_fini(&b->links);
	ring_buffer__free(b->ring);
	while (b->nprograms)
		kernel_unload(&b->programs[--b->nprograms]);
	pthread_mutex_destroy(&b->lock);
	free(b->spots);
	free(b->refused);
	free(b);
}

static int kernel_open(struct ps_prochandle *P, enum probe_want want, size_t stack,
		       struct probe_backend **ret, char *err, size_t size)
{
	const struct kernel_said said = { err, size };
	struct probe_backend *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return kernel_say(&said, -ENOMEM, "no memory");
	b->P = P;
	b->pid = Pgetpid(P);
	b->tables = (struct kernel_tables){ -1, -1, -1, -1 };
	b->ncpus = libbpf_num_possible_cpus();
	pthread_mutex_init(&b->lock, NULL);
	rc = want_of_kernel(b->pid, want, stack, &b->wanted, &said);
	if (!rc && b->ncpus < 0)
		rc = kernel_say(&said, b->ncpus, "how many CPUs there are is not known");
	if (!rc)
		rc = make_tables(b, &said);
	if (rc) {
		kernel_close(b);
		return rc;
	}
	Puprobes(P); /* without a keeper there are no traps */
	*ret = b;
	return 0;
}

static void kernel_stop(struct probe_backend *b)
{
	kernel_links_gone(&b->links, 0, UINT64_MAX);
	kernel_links_wait(&b->links);
}

static void kernel_gone(struct probe_backend *b, uint64_t lo, uint64_t hi)
{
	kernel_links_gone(&b->links, lo, hi);
}

static void kernel_reset(struct probe_backend *b)
{
	kernel_links_gone(&b->links, 0, UINT64_MAX);
}

/* --- watching ----------------------------------------------------------------------- */

/* A set() under way. */
struct setting {
	struct probe_backend *b;        /* whose */
	struct kernel_spot *spots;      /* what is to be watched, by address; owned */
	size_t n;                       /* how many */
	struct procfs_map *maps;        /* owned */
	size_t nmaps;                   /* how many */
	uint64_t *offsets, *cookies;    /* of one link, room for all; owned */
	struct kernel_link *made;       /* links so far, room for all; owned */
	size_t nmade;                   /* how many */
	const struct kernel_said *said; /* where to */
};

static int by_address(const void *a, const void *b)
{
	const struct kernel_spot *x = a, *y = b;

	return x->s.addr < y->s.addr ? -1 : x->s.addr > y->s.addr;
}

/* Of several at one instruction the kernel tells the last one that was set first (it
 * puts a new one at the head of its list, 6.18): an entry comes before a return. */
static int by_place(const void *a, const void *b)
{
	const struct kernel_spot *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return (x->s.kind < y->s.kind) - (x->s.kind > y->s.kind);
}

static int no_memory(const struct setting *g)
{
	return kernel_say(g->said, -ENOMEM, "no memory");
}

/* The table of jumps is full. */
static int no_room(const struct setting *g)
{
	return kernel_say(g->said, -ENOSPC, "there are too many jumps to look at");
}

static int begin(struct setting *g, const struct probe_spot *spots)
{
	int err;

	g->spots = calloc(g->n, sizeof(*g->spots));
	g->offsets = calloc(g->n, sizeof(*g->offsets));
	g->cookies = calloc(g->n, sizeof(*g->cookies));
	g->made = calloc(g->n, sizeof(*g->made));
	if (!g->spots || !g->offsets || !g->cookies || !g->made)
		return no_memory(g);
	for (size_t i = 0; i < g->n; i++)
		g->spots[i].s = spots[i];
	qsort(g->spots, g->n, sizeof(*g->spots), by_address);
	err = procfs_maps(g->b->pid, 0, &g->maps, &g->nmaps);
	return err ? kernel_say(g->said, err, "its mappings cannot be read: %s",
				strerror(-err))
		   : 0;
}

static void end(struct setting *g)
{
	free(g->spots);
	free(g->offsets);
	free(g->cookies);
	free(g->made);
	free(g->maps);
}

static const struct procfs_map *find_map(const struct setting *g, uint64_t addr)
{
	size_t lo = 0, hi = g->nmaps;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (g->maps[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < g->nmaps && g->maps[lo].start <= addr ? &g->maps[lo] : NULL;
}

static int refuse(struct probe_backend *b, uint64_t addr)
{
	size_t room = b->max_refused ? b->max_refused * 2 : 16;
	uint64_t *v;

	if (b->nrefused == b->max_refused) {
		v = reallocarray(b->refused, room, sizeof(*v));
		if (!v)
			return -ENOMEM;
		b->refused = v;
		b->max_refused = room;
	}
	b->refused[b->nrefused++] = addr;
	return 0;
}

/* Are the two mappings of one file, one distance from it? */
static bool is_same(const struct procfs_map *a, const struct procfs_map *b)
{
	return a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor &&
	       a->start - a->offset == b->start - b->offset;
}

/* The mapping that a spot is in, if the kernel can watch it there. */
static int check_map(const struct setting *g, uint64_t addr,
		     const struct procfs_map **ret)
{
	const struct procfs_map *m = find_map(g, addr);

	if (!m || !m->inode)
		return kernel_say(g->said, -EOPNOTSUPP,
				  "%#llx is in no file (%s): the kernel watches files",
				  (unsigned long long)addr,
				  !m         ? "not mapped"
				  : *m->path ? m->path
					     : "made at run time");
	if (m->shared)
		return kernel_say(g->said, -EOPNOTSUPP,
				  "%s is mapped shared: the kernel watches private text",
				  m->path);
	*ret = m;
	return 0;
}

/* What is in no file, and the like, is refused at once, all of it. */
static int check_maps(const struct setting *g)
{
	const struct procfs_map *m;
	int failed = 0;

	for (size_t i = 0; i < g->n; i++) {
		int err = check_map(g, g->spots[i].s.addr, &m);

		if (err && refuse(g->b, g->spots[i].s.addr))
			return no_memory(g);
		failed = failed ? failed : err;
	}
	return failed;
}

/* How many spots from spots[i] on, which is in *m, are of the same mapping of the file;
 * *ret: from where to where that is. */
static size_t take_group(const struct setting *g, size_t i, const struct procfs_map *m,
			 struct kernel_link *ret)
{
	const struct procfs_map *other = m;
	size_t n = 0;

	*ret = (struct kernel_link){ .fd = -1, .lo = m->start };
	do {
		ret->hi = other->end;
		n++;
		other = i + n < g->n ? find_map(g, g->spots[i + n].s.addr) : NULL;
	} while (other && is_same(m, other) && !other->shared);
	return n;
}

static uint64_t make_cookie(const struct kernel_spot *s, size_t index, uint32_t range)
{
	return index | (uint64_t)s->s.id << RECORD_ID_SHIFT |
	       (uint64_t)range << RECORD_RANGE_SHIFT |
	       (uint64_t)s->looks << RECORD_JUMP_SHIFT;
}

/* Puts the spot into the tables. Its index, or -errno. */
static int enter(struct probe_backend *b, const struct kernel_spot *s)
{
	int err = 0;
	uint32_t index;

	pthread_mutex_lock(&b->lock);
	if (b->nspots == b->room) {
		size_t room = b->room ? b->room * 2 : 256;
		struct kernel_spot *v =
			room > RECORD_MAX ? NULL : realloc(b->spots, room * sizeof(*v));

		err = v ? 0 : -ENOMEM;
		if (v) {
			b->spots = v;
			b->room = room;
		}
	}
	index = (uint32_t)b->nspots;
	if (!err)
		b->spots[b->nspots++] = *s;
	pthread_mutex_unlock(&b->lock);
	if (!err && s->looks)
		err = bpf_map_update_elem(b->tables.jumps, &index, &s->test, BPF_ANY);
	return err ? err : (int)index;
}

/* The byte at `at`, traps and all. False: it cannot be read. */
static bool read_byte(struct probe_backend *b, uint64_t at, uint8_t *ret)
{
	struct mem_live live;
	struct mem m;
	int err;

	mem_live_init(&live, b->pid);
	m = mem_live(&live);
	err = mem_read_all(&m, at, ret, 1);
	mem_live_fini(&live);
	return !err;
}

/* Is there a trap of ours? A uprobe would swallow its hits, and lift it at its end. A
 * uprobe whose link is being closed may go while we look: what hides only our own traps
 * is read first. */
static bool is_trapped(struct probe_backend *b, uint64_t at)
{
	uint8_t byte, own;

	return Pread(b->P, &own, 1, at) == 1 && own != INT3 && read_byte(b, at, &byte) &&
	       byte == INT3;
}

/* Has the kernel put it there? What cannot be read is not doubted. */
static bool is_planted(struct probe_backend *b, uint64_t at)
{
	uint8_t byte;

	return !read_byte(b, at, &byte) || byte == INT3 || byte == CALL;
}

static int check_planted(const struct setting *g, size_t i, size_t n)
{
	for (size_t k = i; k < i + n; k++)
		if (!g->spots[k].never && !is_planted(g->b, g->spots[k].at))
			return kernel_say(g->said, -EBUSY,
					  "the kernel's uprobe at %#llx is not there",
					  (unsigned long long)g->spots[k].at);
	return 0;
}

static int say_link(const struct setting *g, int err, const struct procfs_map *m)
{
	return kernel_say(g->said, err, "%s cannot be watched by the kernel: %s", m->path,
			  err == -524 ? "an instruction that uprobes do not know"
				      : strerror(-err));
}

static const uint64_t *kernel_refused(struct probe_backend *b, size_t *ret_n)
{
	*ret_n = b->nrefused;
	return b->refused;
}

/* Places v[0..n), in the order in which the kernel is to be told of them. */
static int place_group(struct setting *g, const struct kernel_text *t,
		       struct kernel_spot *v, size_t n)
{
	int failed = 0;

	for (struct kernel_spot *s = v; s < v + n; s++) {
		int err = kernel_place(t, s, g->said);

		if (!err && !s->never && is_trapped(g->b, s->at))
			err = kernel_say(g->said, -EBUSY,
					 "there is a breakpoint of ours at %#llx",
					 (unsigned long long)s->at);
		if (err && refuse(g->b, s->s.addr))
			return no_memory(g);
		failed = failed ? failed : err;
	}
	qsort(v, n, sizeof(*v), by_place);
	return failed;
}

/* Fills the arrays for the link: how many are to be there, or -errno. */
static int enter_group(struct setting *g, uint64_t bias, const struct kernel_spot *v,
		       size_t n, uint32_t range)
{
	int used = 0;

	for (const struct kernel_spot *s = v; s < v + n; s++) {
		int index;

		if (s->never)
			continue;
		index = enter(g->b, s);
		if (index < 0)
			return index == -ENOMEM ? no_memory(g) : no_room(g);
		g->offsets[used] = s->at - bias;
		g->cookies[used++] = make_cookie(s, (size_t)index, range);
	}
	return used;
}

static int link_group(struct setting *g, size_t i, size_t n, const struct procfs_map *m,
		      int fd)
{
	struct probe_backend *b = g->b;
	struct kernel_link *link = &g->made[g->nmade - 1];
	const struct kernel_text t = { b->P, fd, m->start - m->offset, link->hi,
				       b->wanted.want };
	int used = place_group(g, &t, g->spots + i, n);
	char path[32];

	if (!used)
		used = enter_group(g, t.bias, g->spots + i, n, link->range);
	if (used <= 0)
		return used;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	link->fd = uprobe_link(b->programs[b->nprograms - 1].prog, b->pid, path,
			       g->offsets, g->cookies, (uint32_t)used);
	if (link->fd < 0)
		return say_link(g, link->fd, m);
	return check_planted(g, i, n);
}

/* Watches the spots of one mapping, spots[i] the first: how many, or -errno. */
static int watch_group(struct setting *g, size_t i)
{
	_cleanup_close_ int fd = -1;
	const struct procfs_map *m = NULL;
	struct kernel_link where;
	int err = check_map(g, g->spots[i].s.addr, &m);
	size_t n;

	if (!m)
		return err;
	n = take_group(g, i, m, &where);
	fd = procfs_open_mapped(g->b->pid, m);
	if (fd < 0)
		return say_link(g, fd, m);
	err = kernel_range_take(&g->b->links, where.lo, where.hi, &g->made[g->nmade]);
	if (err)
		return kernel_say(g->said, err, "too many files are watched");
	g->nmade++;
	err = link_group(g, i, n, m, fd);
	return err ? err : (int)n;
}

/* Counters for every id: another program, where there are too few. */
static int make_room(struct setting *g)
{
	struct probe_backend *b = g->b;
	struct kernel_program p;
	uint32_t most = 0;
	int err;

	for (size_t i = 0; i < g->n; i++)
		most = g->spots[i].s.id > most ? g->spots[i].s.id : most;
	if (most < b->wanted.ids)
		return 0;
	if (most >= RECORD_MAX || b->nprograms == PROGRAMS_MAX)
		return kernel_say(g->said, -ENOSPC, "there are too many probes");
	while (b->wanted.ids <= most)
		b->wanted.ids *= 2;
	err = kernel_load(&b->wanted, &b->tables, &p, g->said);
	if (err)
		return err;
	pthread_mutex_lock(&b->lock);
	b->programs[b->nprograms++] = p;
	pthread_mutex_unlock(&b->lock);
	return 0;
}

static int keep(struct setting *g)
{
	for (size_t i = 0; i < g->nmade; i++)
		if (kernel_link_keep(&g->b->links, &g->made[i])) {
			g->b->links.n -= i;
			return no_memory(g);
		}
	return 0;
}

/* Whoever watches them otherwise now must not meet uprobes. */
static void undo(struct setting *g)
{
	for (size_t i = 0; i < g->nmade; i++)
		kernel_link_drop(&g->b->links, &g->made[i]);
	kernel_links_wait(&g->b->links);
}

static int kernel_set(struct probe_backend *b, const struct probe_spot *spots, size_t n,
		      char *err, size_t size)
{
	const struct kernel_said said = { err, size };
	struct setting g = { .b = b, .n = n, .said = &said };
	int rc = n ? begin(&g, spots) : 0;

	b->nrefused = 0;
	if (!rc && n)
		rc = check_maps(&g);
	if (!rc)
		rc = make_room(&g);
	for (size_t i = 0; !rc && i < n;) {
		int done = watch_group(&g, i);

		if (done < 0)
			rc = done;
		else
			i += (size_t)done;
	}
	if (!rc)
		rc = keep(&g);
	if (rc)
		undo(&g);
	end(&g);
	return rc;
}

/* --- what was hit ------------------------------------------------------------------- */

static uint64_t sum_of(const struct probe_backend *b, const uint64_t *values)
{
	uint64_t sum = 0;

	for (int i = 0; i < b->ncpus; i++)
		sum += values[i];
	return sum;
}

static void add_counts(const struct probe_backend *b, const struct kernel_program *p,
		       uint64_t *values, uint64_t *counts, size_t n)
{
	for (uint32_t id = 0; id < n && id < p->ids; id++)
		if (!bpf_map_lookup_elem(p->counts, &id, values))
			counts[id] += sum_of(b, values);
}

static void kernel_counts(struct probe_backend *b, uint64_t *counts, size_t n)
{
	_cleanup_free_ uint64_t *values = calloc((size_t)b->ncpus, sizeof(*values));

	if (!values)
		return;
	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < b->nprograms; i++)
		add_counts(b, &b->programs[i], values, counts, n);
	pthread_mutex_unlock(&b->lock);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct kernel_spot spot_at(struct probe_backend *b, uint32_t index)
{
	struct kernel_spot s;

	pthread_mutex_lock(&b->lock);
	s = b->spots[index];
	pthread_mutex_unlock(&b->lock);
	return s;
}

/* The record as what it would be at the spot itself. */
static void tell(const struct draining *d, const struct record_hit *r,
		 const struct kernel_spot *s)
{
	struct probe_hit hit = { .time_ns = r->time,
				 .id = s->s.id,
				 .kind = s->s.kind,
				 .tid = (pid_t)r->tid,
				 .addr = s->s.addr,
				 .stack_at = r->at,
				 .stack = (const uint8_t *)(r + 1),
				 .nstack = r->nstack };

	memcpy(&hit.regs, r->regs, sizeof(r->regs));
	arch_set_pc(&hit.regs, s->s.addr);
	arch_reg_set(&hit.regs, arch_native->reg_sp, r->regs[RECORD_SP] + s->sunk);
	d->fn(d->arg, &hit);
}

/* libbpf's, for each record; a negative value ends it: what came later waits, or a victim
 * that hits faster than is read would keep us for ever. */
static int take(void *ctx, void *data, size_t size)
{
	struct probe_backend *b = ctx;
	const struct record_hit *r = data;
	struct kernel_spot s = spot_at(b, r->index);

	tell(&b->draining, r, &s);
	return r->time >= b->draining.until ? -1 : 0;
}

static uint64_t count_lost(struct probe_backend *b)
{
	_cleanup_free_ uint64_t *values = calloc((size_t)b->ncpus, sizeof(*values));
	uint32_t first = 0;

	if (!values || bpf_map_lookup_elem(b->tables.lost, &first, values))
		return b->told_lost;
	return sum_of(b, values);
}

static void kernel_drain(struct probe_backend *b, probe_hit_f *fn, void *arg,
			 uint64_t *ret_lost)
{
	uint64_t lost;

	b->draining = (struct draining){ fn, arg, now_ns() };
	if (b->ring)
		ring_buffer__consume(b->ring);
	lost = count_lost(b);
	*ret_lost = lost - b->told_lost;
	b->told_lost = lost;
}

const struct probe_ops probe_kernel = {
	.name = "kernel",
	.open = kernel_open,
	.set = kernel_set,
	.refused = kernel_refused,
	.gone = kernel_gone,
	.reset = kernel_reset,
	.counts = kernel_counts,
	.drain = kernel_drain,
	.stop = kernel_stop,
	.close = kernel_close,
};
