/* SPDX-License-Identifier: MIT */
/*
 * Inside of a struct core, for the files of this folder. See core.c for the theory.
 */
#ifndef PGRAB_CORE_INSIDE_H
#define PGRAB_CORE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/core.h"

enum {
	CORE_MAX_PHDRS = 1 << 20, /* program headers; the kernel allows 65,530 mappings */
	CORE_MAX_NOTES = 1 << 21, /* notes in all: some eight a thread */
	CORE_MAX_LWPS = 1 << 17,  /* threads */
	CORE_MAX_DESC = 16 << 20, /* bytes of one note; the kernel's NT_FILE has 4 MiB */
	CORE_OPEN_FILES = 16,     /* mapped files kept open at a time */
	CORE_PAGE = 4096,         /* divides every page size of Linux */
};

/* struct elf_prstatus, up to the registers. */
enum {
	ST_SIGINFO = 0,  /* int si_signo, si_code, si_errno */
	ST_CURSIG = 12,  /* short pr_cursig */
	ST_SIGPEND = 16, /* unsigned long */
	ST_SIGHOLD = 24, /* unsigned long */
	ST_PID = 32,     /* pid_t: the thread */
	ST_REGS = 112,   /* the registers, then int pr_fpvalid */
};

/* struct elf_prpsinfo of 64-bit CPUs. */
enum {
	PS_SNAME = 1,  /* char */
	PS_NICE = 3,   /* char */
	PS_UID = 16,   /* unsigned int, then gid, pid, ppid, pgrp, sid */
	PS_FNAME = 40, /* char [16] */
	PS_ARGS = 56,  /* char [80] */
	PS_SIZE = 136, /* of the whole */
};

/* A PT_LOAD. */
struct core_segment {
	uint64_t start, end; /* addresses */
	uint64_t offset;     /* in the core */
	uint64_t filesz;     /* bytes that are there */
	unsigned prot;       /* PROT_* */
	bool dumped;         /* some of it was written, though perhaps cut off since */
};

/* A file that is mapped somewhere. */
struct core_file {
	const char *path; /* as the core has it; in core.strings */
	bool deleted;     /* it had been unlinked; path without the mark */
	uint64_t first;   /* address at which its offset 0 is mapped, or 0 */
	char *alias;      /* where it lies instead, or NULL; owned */
	int err;          /* why it cannot be used; 0 it can, or was not tried; locked */
	int fd;           /* -1 not open; under core.lock */
};

/* One line of NT_FILE. */
struct core_range {
	uint64_t start, end; /* addresses */
	uint64_t offset;     /* in the file, bytes */
	uint32_t file;       /* index of its file */
};

struct core {
	atomic_uint refs;                 /* references */
	int fd;                           /* the file */
	uint64_t size;                    /* its bytes */
	bool is_dump;                     /* ET_CORE */
	const struct core_layout *layout; /* the CPU; NULL of a program only */
	struct core_segment *seg;         /* nseg, sorted and disjoint; owned */
	size_t nseg;                      /* how many */
	uint64_t phdr;               /* address of the program headers, of a program */
	struct core_lwp *lwp;        /* nlwp; owned */
	size_t nlwp, lwp_room;       /* how many, and allocated */
	struct core_process process; /* NT_PRPSINFO */
	char *auxv;                  /* NT_AUXV, or NULL; owned */
	size_t auxv_len;             /* bytes */
	char *strings;               /* NT_FILE as it is in the file; owned */
	struct core_range *range;    /* nrange, sorted and disjoint; owned */
	size_t nrange;               /* how many */
	struct core_file *file;      /* nfile; owned */
	size_t nfile;                /* how many */
	size_t nnotes;               /* seen so far */
	uint64_t missing;            /* bytes that the file should have and has not */
	pthread_mutex_t lock;        /* the opened files */
	unsigned nopen, next_close;  /* of them; whose turn it is to be closed */
	uint32_t opened[CORE_OPEN_FILES]; /* which; nopen of them */
};

/* pread(2) of all len bytes: 0, -ENODATA beyond the end, -EIO … (core.c) */
int core_pread(const struct core *c, uint64_t off, void *buf, size_t len);

/* Scans one PT_NOTE of len bytes at off. 0, -ENOMEM, -E2BIG, -EIO. (notes.c) */
int core_scan_notes(struct core *c, uint64_t off, uint64_t len);

/* Takes the contents of NT_FILE; takes bytes (malloc), NUL behind them. (files.c) */
int core_take_files(struct core *c, char *bytes, size_t len);
/* A program file is the one file that is mapped. (files.c) */
int core_take_itself(struct core *c);
void core_free_files(struct core *c);

/* A file's descriptor, checked; borrowed, until the lock is given back. (files.c) */
int core_file_fd(struct core *c, uint32_t file);

/* The segment and range that hold addr, or NULL; else *ret_next is where the next one
 * begins, UINT64_MAX none. (maps.c) */
const struct core_segment *core_segment_at(const struct core *c, uint64_t addr,
					   uint64_t *ret_next);
const struct core_range *core_range_at(const struct core *c, uint64_t addr);

/* Only what was dumped: bytes read, or -EFAULT. (memory.c) */
ssize_t core_read_dumped(struct core *c, uint64_t addr, void *buf, size_t len);

#endif
