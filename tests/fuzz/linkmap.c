/* SPDX-License-Identifier: MIT */
/*
 * r_debug and link maps over memory that lies: the input stands at one address, or, when
 * its first byte is odd, at all of them, so that lists can be without an end. Fails when
 * a list is over its bounds or a name is none.
 */
#include "fuzz/fuzz.h"
#include "rtld/rtld.h"

enum {
	AT = 0x10000, /* where the input stands */
};

/* What stands before the memory in the input. */
struct head {
	uint8_t endless;   /* odd: the memory has no end */
	uint8_t has_name;  /* odd: the linker has a symbol _r_debug */
	uint16_t r_debug;  /* where */
	uint16_t at_base;  /* offsets of the auxiliary vector's addresses; 0 none */
	uint16_t at_phdr;  /* likewise */
	uint16_t at_phnum; /* as it is */
	uint16_t at_entry; /* offset */
};

static uint64_t give_symbol(void *arg, const char *name)
{
	const struct head *h = arg;

	return h->has_name % 2 && strcmp(name, "_r_debug") == 0 ? AT + h->r_debug : 0;
}

static void read_lists(struct rtld *r)
{
	struct rtld_list list = { 0 };

	rtld_watch_addr(r);
	rtld_read_state(r);
	if (rtld_read(r, &list))
		return;
	PROMISE(list.n <= RTLD_MAX_OBJECTS);
	for (size_t i = 0; i < list.n; i++)
		PROMISE(list.objs[i].name && strlen(list.objs[i].name) < RTLD_MAX_PATH &&
			list.objs[i].lmid < RTLD_MAX_NAMESPACES);
	rtld_list_fini(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mem_piece piece;
	struct mem_pieces pieces = { &piece, 1 };
	struct rtld *r;
	struct head h;

	FUZZ_TAKE(data, size, &h);
	piece = (struct mem_piece){ AT, size, data };
	struct rtld_target target = {
		.mem = h.endless % 2 ? fuzz_endless(&piece) : mem_pieces(&pieces),
		.at_base = h.at_base ? AT + h.at_base : 0,
		.at_phdr = h.at_phdr ? AT + h.at_phdr : 0,
		.at_phnum = h.at_phnum,
		.at_entry = AT + h.at_entry,
		.ldso_symbol = give_symbol,
		.arg = &h,
	};

	if (rtld_new(&target, &r))
		return 0;
	read_lists(r);
	rtld_free(r);
	return 0;
}
