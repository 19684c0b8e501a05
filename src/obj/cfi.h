/* SPDX-License-Identifier: MIT */
/*
 * Call frame information of a file: for an address, where the caller's registers are.
 * See cfi.c for the theory; src/stack applies it.
 */
#ifndef PGRAB_OBJ_CFI_H
#define PGRAB_OBJ_CFI_H

#include "obj/obj.h"

enum {
	CFI_NREGS = 40, /* DWARF register numbers below this are followed */
};

/* Where the caller's value of a register is. */
enum cfi_how {
	CFI_UNDEFINED,  /* nowhere */
	CFI_SAME,       /* still in the register */
	CFI_OFFSET,     /* in memory at CFA + n */
	CFI_VAL_OFFSET, /* it is CFA + n */
	CFI_REGISTER,   /* in register n */
	CFI_EXPR,       /* in memory at what an expression says */
	CFI_VAL_EXPR,   /* it is what an expression says */
};

/* The rule for one register. */
struct cfi_rule {
	uint8_t reg;  /* the register; for the CFA: what it is counted from */
	uint8_t how;  /* enum cfi_how; for the CFA: VAL_OFFSET (from reg) or VAL_EXPR */
	uint16_t len; /* bytes of the expression */
	int32_t n;    /* offset in bytes, register, or where in the section the
		       * expression is */
};

/* Flags of a row. */
enum {
	CFI_SIGNAL = 1, /* of a signal trampoline: its caller was interrupted */
	CFI_SIGNED = 2, /* the return address is signed (AArch64) */
};

/* The rules at one address. */
struct cfi_row {
	uint64_t start, end;             /* the function, in the file's own addresses */
	struct cfi_rule cfa;             /* the canonical frame address */
	uint8_t section;                 /* where its expressions are */
	uint8_t flags;                   /* CFI_* */
	uint8_t ra;                      /* the register with the return address */
	uint8_t nrules;                  /* how many */
	struct cfi_rule rule[CFI_NREGS]; /* of registers that have one, ascending */
};

/*
 * The rules at vaddr (the file's own addresses). 0; -ENOENT: nothing covers it;
 * -ENOEXEC: what does makes no sense; -ENOMEM. Bounded in time whatever the file holds.
 * Any thread; takes no lock and allocates nothing when warm.
 */
int obj_cfi_row(struct obj *o, uint64_t vaddr, struct cfi_row *ret);

/* The bytes of a rule's expression; valid as long as the obj. -EINVAL: it has none. */
int obj_cfi_expr(const struct obj *o, const struct cfi_row *row,
		 const struct cfi_rule *rule, const uint8_t **ret);

#endif
