/* SPDX-License-Identifier: MIT */
/*
 * A core file as a target.
 *
 * A `struct core` is a file with its headers understood: segments sorted by address,
 * threads, mapped files, the auxiliary vector. Everything else (memory, the files that
 * were mapped) is read when it is asked for, by pread(2): never by mmap(2), since a file
 * that is cut short under us would end us with SIGBUS. A program file is the same thing
 * with less in it: its segments stand at its own addresses, there are no threads, and
 * what lies beyond a segment's bytes is zero instead of unknown.
 *
 * Whose core. The kernel's (fs/binfmt_elf.c, core(5)), gdb's gcore, our own. They differ
 * in what they leave out: the kernel has a segment for every mapping, be it empty; gcore
 * leaves out what is in a file, which then only NT_FILE tells; an old one has no NT_FILE.
 * The first NT_PRSTATUS is the thread that the signal hit; the notes that follow belong
 * to it, up to the next one.
 *
 * Trust. The file is hostile until proven otherwise: sizes and counts are compared with
 * the file's size and with bounds of our own before anything is allocated, sums are made
 * so that they cannot wrap, overlapping segments are cut, and each walk ends. What a
 * file cut short has not is left out and told.
 *
 * The paths in a core are the victim's words too: a file opened by one must be a plain
 * file and ELF, and have the build-id that the core's own first page of it has, where
 * there is one; nothing else of it is ever shown (files.c).
 *
 * Ownership and threads. Counted. Immutable after core_open(), but for the descriptors of
 * mapped files, under core.lock. An image made of it holds a reference.
 *
 * Deliberately absent: 32-bit cores, other byte orders, compressed cores; looking for
 * programs anywhere but at their paths.
 */
#include "core/core.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/inside.h"
#include "util/scope.h"

enum {
	PHDRS_AT_ONCE = 512, /* read at a time */
};

static int fault(struct core_fault *f, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Writes the sentence; returns err. */
static int fault(struct core_fault *f, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return err;
}

int core_pread(const struct core *c, uint64_t off, void *buf, size_t len)
{
	size_t done = 0;

	if (off > c->size || len > c->size - off)
		return -ENODATA;
	while (done < len) {
		ssize_t got =
			pread(c->fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -ENODATA;
		done += (size_t)got;
	}
	return 0;
}

/* --- headers ------------------------------------------------------------------------ */

/* Is it a file that we can read at all? */
static int check_header(const Elf64_Ehdr *eh, struct core_fault *f)
{
	bool is_core = eh->e_type == ET_CORE;

	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
		return fault(f, -ENOEXEC, "it is not an ELF file");
	if (eh->e_ident[EI_DATA] != ELFDATA2LSB)
		return fault(f, -ENOTSUP, "it is big-endian");
	if (eh->e_ident[EI_CLASS] != ELFCLASS64)
		return fault(f, -ENOTSUP, "it is of a 32-bit program");
	if (!is_core && eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return fault(f, -ENOEXEC, "it is neither a core nor a program");
	if (is_core && !core_layout_for(eh->e_machine))
		return fault(f, -ENOTSUP, "it is of an unknown CPU (ELF machine %u)",
			     eh->e_machine);
	if (eh->e_phentsize != sizeof(Elf64_Phdr))
		return fault(f, -EINVAL, "its program headers have a size of %u bytes",
			     eh->e_phentsize);
	return 0;
}

/* How many program headers; more than fit 16 bits are told by a section header (elf(5),
 * PN_XNUM). */
static int count_phdrs(const struct core *c, const Elf64_Ehdr *eh, uint64_t *ret,
		       struct core_fault *f)
{
	uint64_t n = eh->e_phnum;
	Elf64_Shdr sh;
	int err;

	if (n == PN_XNUM) {
		err = core_pread(c, eh->e_shoff, &sh, sizeof(sh));
		if (err)
			return fault(f, err,
				     "it is cut short: the number of its program "
				     "headers lies beyond its end");
		n = sh.sh_info;
	}
	if (n > CORE_MAX_PHDRS)
		return fault(f, -E2BIG, "it has %llu program headers",
			     (unsigned long long)n);
	if (eh->e_phoff > c->size || n * sizeof(Elf64_Phdr) > c->size - eh->e_phoff)
		return fault(f, -ENODATA,
			     "it is cut short: its program headers lie beyond its end");
	*ret = n;
	return 0;
}

static unsigned prot_of(uint32_t flags)
{
	return (flags & PF_R ? PROT_READ : 0u) | (flags & PF_W ? PROT_WRITE : 0u) |
	       (flags & PF_X ? PROT_EXEC : 0u);
}

/* A segment that makes no sense is left out; one that the file has not wholly is cut. */
static void keep_segment(struct core *c, const Elf64_Phdr *ph)
{
	uint64_t memsz = ph->p_memsz, filesz = ph->p_filesz, there;

	if (!memsz || ph->p_vaddr + memsz < ph->p_vaddr)
		return;
	if (filesz > memsz)
		filesz = memsz;
	there = ph->p_offset < c->size ? c->size - ph->p_offset : 0;
	if (filesz > there) {
		c->missing += filesz - there;
		filesz = there;
	}
	c->seg[c->nseg++] = (struct core_segment){
		.start = ph->p_vaddr,
		.end = ph->p_vaddr + memsz,
		.offset = ph->p_offset,
		.filesz = filesz,
		.prot = prot_of(ph->p_flags),
		.dumped = ph->p_filesz != 0,
	};
}

static int take_phdr(struct core *c, const Elf64_Phdr *ph)
{
	uint64_t len = ph->p_filesz, there;

	if (ph->p_type == PT_LOAD)
		keep_segment(c, ph);
	if (ph->p_type != PT_NOTE || !c->is_dump)
		return 0;
	there = ph->p_offset < c->size ? c->size - ph->p_offset : 0;
	if (len > there) {
		c->missing += len - there;
		len = there;
	}
	return core_scan_notes(c, ph->p_offset, len);
}

static int read_phdrs(struct core *c, uint64_t off, uint64_t n)
{
	Elf64_Phdr ph[PHDRS_AT_ONCE];

	c->seg = calloc(n ? n : 1, sizeof(*c->seg));
	if (!c->seg)
		return -ENOMEM;
	for (uint64_t at = 0; at < n; at += PHDRS_AT_ONCE) {
		size_t some = n - at < PHDRS_AT_ONCE ? n - at : PHDRS_AT_ONCE;
		int err = core_pread(c, off + at * sizeof(*ph), ph, some * sizeof(*ph));

		for (size_t i = 0; !err && i < some; i++)
			err = take_phdr(c, &ph[i]);
		if (err)
			return err;
	}
	return 0;
}

/* --- segments in order -------------------------------------------------------------- */

static int compare_segments(const void *pa, const void *pb)
{
	const struct core_segment *a = pa, *b = pb;

	return (a->start > b->start) - (a->start < b->start);
}

/* Sorted and disjoint: where two overlap, the lower one counts. */
static void order_segments(struct core *c)
{
	uint64_t reached = 0;
	size_t kept = 0;

	qsort(c->seg, c->nseg, sizeof(*c->seg), compare_segments);
	for (size_t i = 0; i < c->nseg; i++) {
		struct core_segment s = c->seg[i];
		uint64_t over = s.start < reached ? reached - s.start : 0;

		if (s.end <= reached)
			continue;
		s.start += over;
		s.offset += over < s.filesz ? over : s.filesz;
		s.filesz -= over < s.filesz ? over : s.filesz;
		c->seg[kept++] = s;
		reached = s.end;
	}
	c->nseg = kept;
}

/* --- open and end ------------------------------------------------------------------- */

static int read_file(struct core *c, struct core_fault *f)
{
	Elf64_Ehdr eh;
	uint64_t n = 0;
	int err = core_pread(c, 0, &eh, sizeof(eh));

	if (err)
		return err == -ENODATA ? fault(f, -ENOEXEC, "it is not an ELF file")
				       : err;
	err = check_header(&eh, f);
	if (err)
		return err;
	c->is_dump = eh.e_type == ET_CORE;
	c->layout = core_layout_for(eh.e_machine);
	err = count_phdrs(c, &eh, &n, f);
	if (!err)
		err = read_phdrs(c, eh.e_phoff, n);
	if (err)
		return err == -E2BIG ? fault(f, err, "it has more notes than any process")
				     : err;
	order_segments(c);
	if (c->nseg) /* all linkers have the program headers in the first one */
		c->phdr = c->seg[0].start + (eh.e_phoff - c->seg[0].offset);
	err = c->is_dump ? 0 : core_take_itself(c);
	if (err)
		return err;
	if (c->missing)
		fault(f, 0, "it is cut short: %llu KiB are missing",
		      (unsigned long long)(c->missing + 1023) / 1024);
	return 0;
}

static void free_core(struct core *c)
{
	core_free_files(c);
	free(c->auxv);
	free(c->lwp);
	free(c->seg);
	scope_close(&c->fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* A descriptor of our own of the plain file at fd. */
static int take_fd(struct core *c, int fd, struct core_fault *f)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return fault(f, -ENXIO, "it is not a plain file");
	c->size = (uint64_t)st.st_size;
	c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return c->fd < 0 ? -errno : 0;
}

int core_open(int fd, struct core **ret, struct core_fault *ret_fault)
{
	struct core *c = calloc(1, sizeof(*c));
	int err;

	ret_fault->text[0] = '\0';
	if (!c)
		return -ENOMEM;
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	c->fd = -1;
	err = take_fd(c, fd, ret_fault);
	if (!err)
		err = read_file(c, ret_fault);
	if (err) {
		free_core(c);
		return err;
	}
	*ret = c;
	return 0;
}

struct core *core_ref(struct core *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void core_unref(struct core *c)
{
	if (c && atomic_fetch_sub(&c->refs, 1) == 1)
		free_core(c);
}

/* --- what it says ------------------------------------------------------------------- */

bool core_is_dump(const struct core *c)
{
	return c->is_dump;
}

const struct core_layout *core_layout(const struct core *c)
{
	return c->layout;
}

const struct core_process *core_process(const struct core *c)
{
	return &c->process;
}

const struct core_lwp *core_lwps(const struct core *c, size_t *ret_n)
{
	*ret_n = c->nlwp;
	return c->lwp;
}

const void *core_auxv(const struct core *c, size_t *ret_len)
{
	*ret_len = c->auxv_len;
	return c->auxv;
}

uint64_t core_auxval(const struct core *c, uint64_t type)
{
	if (!c->is_dump)
		return type == AT_PHDR ? c->phdr : 0;
	for (size_t at = 0; at + sizeof(Elf64_auxv_t) <= c->auxv_len;
	     at += sizeof(Elf64_auxv_t)) {
		Elf64_auxv_t a;

		memcpy(&a, c->auxv + at, sizeof(a));
		if (a.a_type == AT_NULL)
			break;
		if (a.a_type == type)
			return a.a_un.a_val;
	}
	return 0;
}
