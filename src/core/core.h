/* SPDX-License-Identifier: MIT */
/*
 * A core file, or a program file, as a target: segments, threads, mappings, memory. Knows
 * no process; files of any CPU in the table are read on any other.
 */
#ifndef PGRAB_CORE_CORE_H
#define PGRAB_CORE_CORE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mem/mem.h"
#include "obj/obj.h"
#include "os/procfs.h"

enum {
	CORE_NREGS = 34, /* words in the registers of the CPU that has most */
	CORE_FNAME = 16, /* bytes of a program's name in NT_PRPSINFO */
	CORE_ARGS = 80,  /* bytes of its arguments there */
	CORE_TEXT = 200, /* bytes of a sentence */
	CORE_NSETS = 6,  /* kinds of registers besides the general ones, and the end */
};

struct core; /* counted; immutable, but for the files that it has opened */

/* Registers of one more kind. */
struct core_regset {
	uint32_t type;     /* NT_*; 0: the end of a list */
	const char *owner; /* name of the note: "CORE", "LINUX" */
};

/* Where the notes of one CPU's cores have what; elf_prstatus in <sys/procfs.h>, which
 * knows one CPU only. */
struct core_layout {
	uint16_t machine;                    /* EM_* */
	const char *name;                    /* as "x86_64" */
	uint8_t nregs;                       /* words of general registers */
	uint8_t pc, sp, fp;                  /* which of them */
	size_t prstatus;                     /* bytes of NT_PRSTATUS */
	struct core_regset sets[CORE_NSETS]; /* what else a thread has */
};

/* The CPU of that number, or NULL. */
const struct core_layout *core_layout_for(unsigned elf_machine);

/* One thread. */
struct core_lwp {
	pid_t tid;                 /* thread id */
	int cursig;                /* the signal that it ended, or stood, on; 0 none */
	uint64_t sigpend, sighold; /* pending and blocked; bit n-1 is signal n */
	uint64_t regs[CORE_NREGS]; /* general registers, the layout's nregs of them */
	bool has_info;             /* info is known */
	siginfo_t info;            /* of cursig */
};

/* What NT_PRPSINFO says of the process. */
struct core_process {
	bool known;                 /* there is such a note */
	char state;                 /* as ps(1) prints it */
	int nice;                   /* nice value */
	uid_t uid;                  /* real user */
	gid_t gid;                  /* real group */
	pid_t pid, ppid;            /* process and parent */
	pid_t pgrp, sid;            /* group and session */
	char fname[CORE_FNAME + 1]; /* name */
	char args[CORE_ARGS + 1];   /* beginning of the arguments */
};

/* What went wrong, or is wrong, with a file: a sentence without a full stop, or "". */
struct core_fault {
	char text[CORE_TEXT]; /* of printable characters */
};

/*
 * Reads the ELF file open at fd: a core (ET_CORE), or a program or library, which then is
 * a target at its own addresses, without threads. fd is duplicated. Only headers and
 * notes are read. A file that is cut short is taken for what it has; ret_fault says so
 * (also on success). -ENXIO no plain file; -ENOEXEC no ELF file, or none of these kinds;
 * -ENOTSUP of a CPU, class or byte order that we do not know; -EINVAL damaged; -E2BIG
 * over the bounds; -ENODATA cut off before its headers end; -ENOMEM, -EMFILE, -EIO.
 * Bounded in time and memory whatever the file holds. Any thread.
 */
int core_open(int fd, struct core **ret, struct core_fault *ret_fault);

struct core *core_ref(struct core *c);
void core_unref(struct core *c); /* NULL: nothing */

bool core_is_dump(const struct core *c);                     /* a core, no program */
const struct core_layout *core_layout(const struct core *c); /* NULL: of a program only */
const struct core_process *core_process(const struct core *c);
const struct core_lwp *core_lwps(const struct core *c, size_t *ret_n); /* in file order */
const void *core_auxv(const struct core *c, size_t *ret_len); /* NT_AUXV; NULL none */
/* 0 none; of a program file, an address in it as AT_PHDR */
uint64_t core_auxval(const struct core *c, uint64_t type);

/*
 * The mappings: segments, with the files of NT_FILE over them. An allocated array for
 * free(); paths live as long as the core. A file's inode is a number that tells files of
 * this core apart. -ENOMEM.
 */
int core_maps(struct core *c, struct procfs_map **ret, size_t *ret_n);

/*
 * Opens the file that is mapped at m, by its path here. Its build-id is compared with
 * what the core has of its first page: -ESTALE when that is another; -ENOENT, -ENOEXEC
 * (no ELF file) and the like. A descriptor.
 */
int core_open_mapped(struct core *c, const struct procfs_map *m);

/* The file at path is the program, wherever the core says that lies. Copied. -ESTALE: it
 * has another build-id (taken when `anyway`); -ENOENT: the core names no program. */
int core_set_program(struct core *c, const char *path, bool anyway);

/* The path of the program, or NULL. */
const char *core_program(const struct core *c);

/*
 * The memory: what was dumped, and else what the mapped files have (ELF files of the
 * right build-id only). Valid as long as c. Any thread.
 */
struct mem core_mem(struct core *c);

/* Where the kernel put argument and environment pointers (execve(2)). */
struct core_strings {
	uint64_t argv, argc; /* address of the pointers to arguments, and how many */
	uint64_t envp, envc; /* the same of the environment */
};

/* Finds them in the stack. -ENOENT. */
int core_find_strings(struct core *c, struct core_strings *ret);

/* --- writing one -------------------------------------------------------------------- */

/* One kind of a thread's registers. */
struct core_regs_bytes {
	const void *bytes; /* NULL: not known */
	size_t len;        /* how many */
};

/* A thread to be written. */
struct core_thread {
	struct core_lwp lwp; /* who, its signal and general registers */
	struct core_regs_bytes sets[CORE_NSETS]; /* by the layout's list */
};

/* A mapping to be written. */
struct core_area {
	const struct procfs_map *m; /* borrowed */
	uint64_t dumped;            /* bytes from its start that are */
	bool sparse; /* pages that are not there are zero (private, of no file) */
};

/* All of it; borrowed. */
struct core_source {
	const struct core_layout *layout;  /* CPU of the threads */
	struct core_process process;       /* NT_PRPSINFO */
	const struct core_thread *threads; /* the one that matters first */
	size_t nthreads;                   /* how many */
	const void *auxv;                  /* NT_AUXV */
	size_t auxv_len;                   /* its bytes */
	const struct core_area *areas;     /* by address */
	size_t nareas;                     /* how many */
	struct mem mem;                    /* their memory */
	int pagemap; /* of procfs_pagemap(), for sparse areas; -1 none */
};

/*
 * Writes a core at the beginning of the empty file open at fd; what is zero, or cannot be
 * read, becomes a hole. 0, -ENOSPC, -EFBIG … of write(2), -ENOMEM, -ESRCH (the memory is
 * gone). *ret_bytes (may be NULL): how many are dumped, holes included.
 */
int core_write(int fd, const struct core_source *src, uint64_t *ret_bytes);

#endif
