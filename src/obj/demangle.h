/* SPDX-License-Identifier: MIT */
/*
 * Readable forms of mangled names, in bounded time and memory whatever the name. See
 * demangle.c.
 */
#ifndef PGRAB_OBJ_DEMANGLE_H
#define PGRAB_OBJ_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

enum {
	DEMANGLE_INPUT = 8192,   /* bytes of a name; a longer one stays as it is */
	DEMANGLE_OUTPUT = 16384, /* bytes of a readable form, with the NUL */
	DEMANGLE_DEADLINE = 50,  /* ms for a name that may be made to take long */
};

/*
 * The readable form of name, NUL and all, into buf of DEMANGLE_OUTPUT bytes. false: it is
 * no mangled name, or asks for too much; buf is then undefined. Any thread.
 */
bool obj_demangle(const char *name, char *buf);

/* --- inside ----------------------------------------------------------------------- */

/* A name on its way; what is read beyond its end is 0. */
struct demangle {
	const char *name; /* what is read */
	size_t len;       /* bytes of it */
	size_t at;        /* bytes read */
	char *out;        /* DEMANGLE_OUTPUT bytes; NULL prints nothing */
	size_t n;         /* bytes printed */
	unsigned steps;   /* done so far: there is a budget */
	unsigned depth;   /* of the grammar now */
	unsigned mute;    /* > 0: read on, print nothing */
	unsigned bound;   /* lifetimes bound here (Rust) */
	bool bad;         /* no such name, or too much */
};

/* Printing; too much makes d bad. (demangle.c) */
void demangle_put(struct demangle *d, const char *s, size_t n);
void demangle_puts(struct demangle *d, const char *s);
void demangle_number(struct demangle *d, unsigned long n);

/* Reading. (demangle.c) */
char demangle_peek(const struct demangle *d);       /* 0 at the end */
char demangle_next(struct demangle *d);             /* 0 at the end */
bool demangle_eat(struct demangle *d, char c);      /* when it is there */
unsigned long demangle_decimal(struct demangle *d); /* bad: none, or too big */
bool demangle_enter(struct demangle *d); /* one level deeper; false: too much */
void demangle_leave(struct demangle *d); /* after demangle_enter(), either way */

/* One language each, over a fresh d; true when d->out has the readable form. */
bool demangle_rust(struct demangle *d);        /* _R… (demangle_rust.c) */
bool demangle_rust_legacy(struct demangle *d); /* _ZN…17h…E (demangle_legacy.c) */
bool demangle_d(struct demangle *d);           /* _D… (demangle_d.c) */
bool demangle_cxx(struct demangle *d);         /* _Z… (demangle_cxx.c, or _none.c) */

#endif
