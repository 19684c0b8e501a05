/* SPDX-License-Identifier: MIT */
/* Names of functions as their programmer wrote them: C++, Rust, D. */
#ifndef PGRAB_TOOLS_READABLE_H
#define PGRAB_TOOLS_READABLE_H

/* From now on names are printed as the symbol tables have them (--no-demangle). */
void readable_off(void);

/* Prints the name of a function. */
void readable_function(const char *name);

/* Prints a frame: module`function+0xoffset, or what there is of it. */
void readable_frame(const char *frame);

#endif
