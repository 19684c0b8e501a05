/* SPDX-License-Identifier: MIT */
/*
 * Writing a core, as the kernel would (fs/binfmt_elf.c): header, program headers, notes,
 * then the memory on page borders. The victim stands meanwhile, so everything but the
 * memory is small and made first, and the memory goes straight to the page cache. Pages
 * of zeros are not written, nor those that the victim never had: a core takes no more
 * disk than the victim has memory.
 *
 * The order of notes is what debuggers expect: the first thread, then what is of the
 * process, then the other threads; a thread's other registers follow its general ones.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/inside.h"
#include "util/scope.h"

enum {
	CHUNK = 1 << 20, /* bytes copied at a time */
};

/* A core on its way into a file. */
struct writer {
	int fd;                        /* the file */
	const struct core_source *src; /* what of */
	char *notes;                   /* notes so far; owned */
	size_t len, room;              /* bytes of them, used and allocated */
	char *chunk;                   /* CHUNK bytes; owned */
	int err;                       /* -ENOMEM on the way, or 0 */
};

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* --- notes -------------------------------------------------------------------------- */

/* Room for `more` zeroed bytes at the end, or NULL. */
static char *extend(struct writer *w, size_t more)
{
	size_t room = w->room ? w->room : 64 << 10;
	char *bigger;

	while (room < w->len + more)
		room *= 2;
	if (room != w->room) {
		bigger = realloc(w->notes, room);
		if (!bigger) {
			w->err = -ENOMEM;
			return NULL;
		}
		w->notes = bigger;
		w->room = room;
	}
	memset(w->notes + w->len, 0, more);
	w->len += more;
	return w->notes + w->len - more;
}

/* A note of len zeroed bytes; where they are, until the next one, or NULL. */
static char *add_note(struct writer *w, const char *owner, uint32_t type, size_t len)
{
	size_t name = strlen(owner) + 1;
	Elf64_Nhdr nh = { (uint32_t)name, (uint32_t)len, type };
	char *at = extend(w, sizeof(nh) + round_up(name, 4) + round_up(len, 4));

	if (!at)
		return NULL;
	memcpy(at, &nh, sizeof(nh));
	memcpy(at + sizeof(nh), owner, name);
	return at + sizeof(nh) + round_up(name, 4);
}

static void put(char *to, const void *value, size_t len)
{
	memcpy(to, value, len);
}

static void add_prstatus(struct writer *w, const struct core_thread *t)
{
	const struct core_layout *a = w->src->layout;
	const struct core_process *ps = &w->src->process;
	const struct core_lwp *l = &t->lwp;
	int32_t ids[] = { l->tid, ps->ppid, ps->pgrp, ps->sid };
	int32_t info[] = { l->info.si_signo, l->info.si_code, l->info.si_errno };
	int32_t fpvalid = t->sets[0].bytes != NULL;
	int16_t cursig = (int16_t)l->cursig;
	char *st = add_note(w, "CORE", NT_PRSTATUS, a->prstatus);

	if (!st)
		return;
	if (l->has_info)
		put(st + ST_SIGINFO, info, sizeof(info));
	put(st + ST_CURSIG, &cursig, sizeof(cursig));
	put(st + ST_SIGPEND, &l->sigpend, sizeof(l->sigpend));
	put(st + ST_SIGHOLD, &l->sighold, sizeof(l->sighold));
	put(st + ST_PID, ids, sizeof(ids));
	put(st + ST_REGS, l->regs, a->nregs * sizeof(l->regs[0]));
	put(st + ST_REGS + a->nregs * sizeof(l->regs[0]), &fpvalid, sizeof(fpvalid));
}

static void add_prpsinfo(struct writer *w)
{
	static const char states[] = "RSDTZW";
	const struct core_process *ps = &w->src->process;
	uint32_t ids[] = { ps->uid,
			   ps->gid,
			   (uint32_t)ps->pid,
			   (uint32_t)ps->ppid,
			   (uint32_t)ps->pgrp,
			   (uint32_t)ps->sid };
	const char *state = strchr(states, ps->state ? ps->state : 'R');
	char *p = add_note(w, "CORE", NT_PRPSINFO, PS_SIZE);

	if (!p)
		return;
	p[0] = (char)(state ? state - states : 0);
	p[PS_SNAME] = ps->state;
	p[PS_SNAME + 1] = ps->state == 'Z';
	p[PS_NICE] = (char)ps->nice;
	put(p + PS_UID, ids, sizeof(ids));
	put(p + PS_FNAME, ps->fname, CORE_FNAME);
	put(p + PS_ARGS, ps->args, CORE_ARGS);
}

static void add_bytes(struct writer *w, const char *owner, uint32_t type,
		      const void *bytes, size_t len)
{
	char *at = bytes ? add_note(w, owner, type, len) : NULL;

	if (at)
		put(at, bytes, len);
}

static bool is_file(const struct procfs_map *m)
{
	return m->inode && *m->path == '/';
}

static const char *mark_of(const struct procfs_map *m)
{
	return m->deleted ? " (deleted)" : "";
}

/* NT_FILE: count, page size, a line a mapping, then their paths. */
static void add_files(struct writer *w)
{
	const struct core_source *src = w->src;
	uint64_t head[2] = { 0, CORE_PAGE }, line[3];
	size_t paths = 0;
	char *at, *path;

	for (size_t i = 0; i < src->nareas; i++) {
		const struct procfs_map *m = src->areas[i].m;

		if (!is_file(m))
			continue;
		head[0]++;
		paths += strlen(m->path) + strlen(mark_of(m)) + 1;
	}
	at = add_note(w, "CORE", NT_FILE, sizeof(head) + head[0] * sizeof(line) + paths);
	if (!at)
		return;
	put(at, head, sizeof(head));
	at += sizeof(head);
	path = at + head[0] * sizeof(line);
	for (size_t i = 0; i < src->nareas; i++) {
		const struct procfs_map *m = src->areas[i].m;

		if (!is_file(m))
			continue;
		line[0] = m->start;
		line[1] = m->end;
		line[2] = m->offset / CORE_PAGE;
		put(at, line, sizeof(line));
		at += sizeof(line);
		path = stpcpy(stpcpy(path, m->path), mark_of(m)) + 1;
	}
}

static void add_thread(struct writer *w, size_t i)
{
	const struct core_thread *t = &w->src->threads[i];
	const struct core_regset *set = w->src->layout->sets;

	add_prstatus(w, t);
	if (i == 0)
		add_prpsinfo(w);
	if (t->lwp.has_info)
		add_bytes(w, "CORE", NT_SIGINFO, &t->lwp.info, sizeof(t->lwp.info));
	if (i == 0) {
		add_bytes(w, "CORE", NT_AUXV, w->src->auxv, w->src->auxv_len);
		add_files(w);
	}
	for (size_t s = 0; set[s].type; s++)
		add_bytes(w, set[s].owner, set[s].type, t->sets[s].bytes, t->sets[s].len);
}

/* --- headers ------------------------------------------------------------------------ */

static int write_at(int fd, uint64_t off, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t put = pwrite(fd, (const char *)buf + done, len - done,
				     (off_t)(off + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put ? -errno : -ENOSPC;
		done += (size_t)put;
	}
	return 0;
}

static uint32_t flags_of(unsigned prot)
{
	return (prot & PROT_READ ? PF_R : 0u) | (prot & PROT_WRITE ? PF_W : 0u) |
	       (prot & PROT_EXEC ? PF_X : 0u);
}

/* Where everything is: the header with its tables, then notes, then memory. */
struct plan {
	Elf64_Ehdr eh;      /* the header */
	Elf64_Shdr sh;      /* the only one, when there are too many program headers */
	uint64_t nphdr;     /* PT_NOTE and the areas */
	uint64_t notes_off; /* where the notes are */
	uint64_t data_off;  /* where the memory begins */
};

static void make_plan(const struct writer *w, struct plan *p)
{
	bool many = w->src->nareas + 1 >= PN_XNUM;

	*p = (struct plan){ .nphdr = w->src->nareas + 1 };
	p->eh = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = w->src->layout->machine,
		.e_version = EV_CURRENT,
		.e_ehsize = sizeof(p->eh),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phoff = sizeof(p->eh),
		.e_phnum = many ? PN_XNUM : (uint16_t)p->nphdr,
	};
	p->notes_off = sizeof(p->eh) + p->nphdr * sizeof(Elf64_Phdr);
	if (many) {
		p->eh.e_shoff = p->notes_off;
		p->eh.e_shentsize = sizeof(p->sh);
		p->eh.e_shnum = 1;
		p->sh.sh_size = 1;
		p->sh.sh_info = (uint32_t)p->nphdr;
		p->notes_off += sizeof(p->sh);
	}
	p->data_off = round_up(p->notes_off + w->len, CORE_PAGE);
}

static int write_headers(struct writer *w, const struct plan *p)
{
	_cleanup_free_ Elf64_Phdr *ph = calloc(p->nphdr, sizeof(*ph));
	uint64_t off = p->data_off;
	int err;

	if (!ph)
		return -ENOMEM;
	ph[0] = (Elf64_Phdr){ .p_type = PT_NOTE,
			      .p_offset = p->notes_off,
			      .p_filesz = w->len,
			      .p_align = 4 };
	for (size_t i = 0; i < w->src->nareas; i++) {
		const struct core_area *a = &w->src->areas[i];

		ph[i + 1] = (Elf64_Phdr){ .p_type = PT_LOAD,
					  .p_flags = flags_of(a->m->prot),
					  .p_offset = off,
					  .p_vaddr = a->m->start,
					  .p_filesz = a->dumped,
					  .p_memsz = a->m->end - a->m->start,
					  .p_align = CORE_PAGE };
		off += a->dumped;
	}
	err = write_at(w->fd, 0, &p->eh, sizeof(p->eh));
	if (!err)
		err = write_at(w->fd, p->eh.e_phoff, ph, p->nphdr * sizeof(*ph));
	if (!err && p->eh.e_shoff)
		err = write_at(w->fd, p->eh.e_shoff, &p->sh, sizeof(p->sh));
	return err ? err : write_at(w->fd, p->notes_off, w->notes, w->len);
}

/* --- memory ------------------------------------------------------------------------- */

static bool is_zero(const char *p, size_t len)
{
	return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

/* The bytes of the chunk, at off, without its pages of zeros. */
static int write_pages(struct writer *w, uint64_t off, size_t len)
{
	size_t at = 0;

	while (at < len) {
		size_t end = at;
		int err;

		while (end < len &&
		       !is_zero(w->chunk + end,
				len - end < CORE_PAGE ? len - end : CORE_PAGE))
			end += CORE_PAGE;
		end = end < len ? end : len;
		err = end > at ? write_at(w->fd, off + at, w->chunk + at, end - at) : 0;
		if (err)
			return err;
		at = end > at ? end : at + CORE_PAGE;
	}
	return 0;
}

/* [addr, end) to off; a page that cannot be read is left out. */
static int copy_range(struct writer *w, uint64_t addr, uint64_t end, uint64_t off)
{
	while (addr < end) {
		size_t want = end - addr < CHUNK ? (size_t)(end - addr) : CHUNK;
		ssize_t got = mem_read(&w->src->mem, addr, w->chunk, want);
		size_t step = got > 0 ? (size_t)got : CORE_PAGE;
		int err = got > 0 ? write_pages(w, off, (size_t)got) : 0;

		if (err || got == -ESRCH)
			return err ? err : -ESRCH;
		/* What is readable ends at a page. */
		addr += step;
		off += step;
	}
	return 0;
}

static int copy_area(struct writer *w, const struct core_area *a, uint64_t off)
{
	uint64_t start = a->m->start, end = start + a->dumped, at = start, from, to;
	int err = 0;

	if (!a->sparse || w->src->pagemap < 0)
		return copy_range(w, start, end, off);
	while (!err && at < end) {
		if (procfs_next_pages(w->src->pagemap, at, end, &from, &to))
			return copy_range(w, at, end, off + (at - start));
		err = copy_range(w, from, to, off + (from - start));
		at = to;
	}
	return err;
}

static int write_memory(struct writer *w, const struct plan *p, uint64_t *ret_bytes)
{
	uint64_t off = p->data_off;
	int err = 0;

	for (size_t i = 0; i < w->src->nareas && !err; i++) {
		err = copy_area(w, &w->src->areas[i], off);
		off += w->src->areas[i].dumped;
	}
	if (!err && ftruncate(w->fd, (off_t)off))
		err = -errno;
	if (!err && ret_bytes)
		*ret_bytes = off;
	return err;
}

int core_write(int fd, const struct core_source *src, uint64_t *ret_bytes)
{
	struct writer w = { .fd = fd, .src = src };
	struct plan plan;
	int err;

	for (size_t i = 0; i < src->nthreads; i++)
		add_thread(&w, i);
	w.chunk = malloc(CHUNK);
	err = w.chunk ? w.err : -ENOMEM;
	if (!err) {
		make_plan(&w, &plan);
		err = write_headers(&w, &plan);
	}
	if (!err)
		err = write_memory(&w, &plan, ret_bytes);
	free(w.chunk);
	free(w.notes);
	return err;
}
