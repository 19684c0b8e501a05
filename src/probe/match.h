/* SPDX-License-Identifier: MIT */
/*
 * Inside of matching, for parse.c, match.c, functions.c, returns.c, text.c. All
 * addresses here are the file's own; match.c adds the load bias.
 */
#ifndef PGRAB_PROBE_MATCH_H
#define PGRAB_PROBE_MATCH_H

#include "arch/arch.h"
#include "image/image.h"
#include "probe/probe.h"

#define MATCH_ENTRY    "entry"
#define MATCH_RETURN   "return"
#define MATCH_ABSOLUTE "-"     /* as a function: the offset is an address */
#define MATCH_PROGRAM  "a.out" /* as a module */

enum {
	TEXT_WINDOW = 32 << 10, /* bytes read at once */
	TEXT_INSN = 16,         /* longest instruction, bytes */
	TEXT_TIMES = 8,         /* symbols may nest: how often the text is looked at */
};

/* --- parse.c ------------------------------------------------------------------------ */

/* Has it a character that fnmatch(3) gives a meaning? */
bool match_is_glob(const char *text);

/* A hexadecimal number, with or without 0x. */
bool match_offset(const char *name, uint64_t *ret);

/* --- text.c: the bytes of an object, from its file ---------------------------------- */

struct text {
	struct image *im;              /* borrowed */
	const struct image_object *o;  /* borrowed from im */
	struct obj *file;              /* borrowed from im */
	const struct obj_segment *seg; /* borrowed from file */
	size_t nseg;                   /* how many */
	int fd;                        /* -1: not opened */
	const uint8_t *bytes;          /* of the vDSO, or NULL; borrowed from im */
	size_t nbytes;                 /* how many */
	uint64_t at;                   /* address of window[0] */
	size_t have;                   /* bytes in it */
	uint8_t *window;               /* TEXT_WINDOW; NULL: not read; owned */
	uint64_t budget;               /* instructions that may still be looked at */
};

/* Opens nothing yet. 0 or -errno: its file cannot be read; text_fini() in any case. */
int text_init(struct text *t, struct image *im, const struct image_object *o);
void text_fini(struct text *t);

/* The executable segment that holds addr in the file, or NULL. */
const struct obj_segment *text_segment(const struct text *t, uint64_t addr);

/* The bytes at addr up to the end of an instruction at least, if there are so many: how
 * many in *ret_n, until the next call. 0 or -errno. */
int text_at(struct text *t, uint64_t addr, const uint8_t **ret, size_t *ret_n);

/*
 * The instruction at addr, which must end before `end`. 0; -EILSEQ there is none that
 * makes sense, or more code has been looked at than any honest object would ask for;
 * -errno.
 */
int text_flow(struct text *t, uint64_t addr, uint64_t end, struct arch_flow *ret);

/* Up to n bytes that the file has for addr, without moving the window: how many, or
 * -errno. */
ssize_t text_peek(struct text *t, uint64_t addr, void *buf, size_t n);

/* A word of data that the file has for addr. 0 or -errno. */
int text_word(struct text *t, uint64_t addr, uint64_t *ret);

/* --- functions.c: symbols that are functions ---------------------------------------- */

struct function {
	uint64_t addr, size; /* where, bytes */
	const char *name;    /* canonical; borrowed from the image */
	bool is_local;       /* there may be others of this name */
};

/* Those of one object that a pattern matches. */
struct functions {
	struct function *v; /* n, ascending by address; owned */
	size_t n, room;     /* how many, for how many */
};

/* Appends them. 0 or -errno. */
int functions_find(struct text *t, const char *pattern, struct functions *ret);
void functions_fini(struct functions *f);

/* Is it a function that begins just there? */
bool functions_begins(const struct text *t, uint64_t addr);

/* The symbol at addr is the cold half of some function: fills it. */
bool functions_cold_at(const struct text *t, uint64_t addr, struct function *ret);

/* The cold half of f by its name. */
bool functions_cold_of(const struct text *t, const struct function *f,
		       struct function *ret);

/* The function that holds addr. */
bool functions_at(const struct text *t, uint64_t addr, struct function *ret);

/* --- names.c: does a name match ----------------------------------------------------- */

/* A pattern for functions. */
struct pattern {
	const char *text; /* as given */
	bool is_glob;     /* for fnmatch(3) */
	bool is_all;      /* `*` */
	bool has_cold;    /* it speaks of cold halves */
	char word[64];    /* what a mangled name must contain; "" anything */
};

struct pattern names_pattern(const char *text);

/* The raw name, the same without its version, or the readable name without return type
 * and parameters. */
bool names_match(const struct pattern *p, const char *name);

/* Is it `F.cold` or `F.cold.N`? */
bool names_is_cold(const char *name);

/* Cuts return type and parameters off a readable name of C++; where it then begins. */
char *names_trim(char *readable);

/* --- prologue.c --------------------------------------------------------------------- */

/* Address at which the function's entry is told: its first instruction, or, where that
 * may be executed twice for one call, one behind it. */
uint64_t prologue_entry(struct text *t, const struct function *f);

/* --- returns.c: the ways out of a function ------------------------------------------ */

/* Spots, ascending by address. */
struct spots {
	struct probe_spot *v; /* owned */
	size_t n, room;       /* how many, for how many */
	bool cut;             /* some code made no sense: there may be others */
	uint64_t cut_at;      /* … the first of it, from the function's start */
};

/* Its returns, instead of what was there. 0 or -errno. */
int returns_find(struct text *t, const struct function *f, struct spots *ret);

/* Every instruction. Likewise. */
int returns_instructions(struct text *t, const struct function *f, struct spots *ret);
void returns_fini(struct spots *s);

#endif
