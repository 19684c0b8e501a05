/* SPDX-License-Identifier: MIT */
/*
 * Theory: three questions with one answer each. Without a name, all symbols of all
 * objects, each object's sorted by address, what .symtab and .dynsym both have once. With
 * an address, what is there. With a name, where every object that defines it has it. A
 * symbol is asked of one object at a time, in its namespace, since the same library may
 * be loaded twice.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "output.h"
#include "target.h"
#include "text.h"

enum {
	NAME_SIZE = 16384,       /* bytes of a name; a longer one is cut */
	OPT_NO_DEMANGLE = 0x100, /* --no-demangle */
};

static bool raw; /* --no-demangle */

/* One object of the process. */
struct object {
	char *path;     /* allocated */
	Lmid_t lmid;    /* namespace */
	uintptr_t addr; /* of its first mapping */
};

/* All of them. */
struct objects {
	struct ps_prochandle *P; /* whose */
	struct object *list;     /* allocated */
	size_t n, room;          /* used and allocated */
};

/* One symbol. */
struct symbol {
	GElf_Sym sym; /* st_value: address in the process */
	char *name;   /* allocated */
};

/* The symbols of an object. */
struct symbols {
	struct symbol *list; /* allocated */
	size_t n, room;      /* used and allocated */
};

/* Grows *list to hold one more; ends the program when there is no memory. */
static void *room_for_one(void *list, size_t n, size_t *room, size_t size)
{
	void *more = list;

	if (n == *room) {
		*room = *room ? *room * 2 : 64;
		more = reallocarray(list, *room, size);
	}
	if (!more) {
		complain("out of memory");
		exit(EXIT_FAILED);
	}
	return more;
}

static char *copy_string(const char *s)
{
	char *copy = options_alloc(strlen(s) + 1, 1);

	return strcpy(copy, s);
}

/* The name as it is to be printed; valid until the next. */
static const char *readable(const char *name)
{
	static char text[NAME_SIZE];

	if (raw || !pgrab_demangle(name, text, sizeof(text)))
		return name;
	return text;
}

/* --- objects ---------------------------------------------------------------------- */

static int add_object(void *arg, const prmap_t *map, const char *name)
{
	struct objects *objects = arg;
	struct object *o;

	objects->list =
		room_for_one(objects->list, objects->n, &objects->room, sizeof(*o));
	o = &objects->list[objects->n++];
	*o = (struct object){
		.path = copy_string(name ? name : "[anon]"),
		.lmid = PR_LMID_EVERY,
		.addr = map->pr_vaddr,
	};
	return 0;
}

/* Every object, or -1 after a sentence. */
static int list_objects(struct ps_prochandle *P, pid_t pid, struct objects *ret)
{
	*ret = (struct objects){ .P = P };
	if (Pobject_iter(P, add_object, ret) < 0) {
		complain("cannot read the objects of pid %d: %s", pid, strerror(errno));
		return -1;
	}
	for (size_t i = 0; i < ret->n; i++)
		Plmid(P, ret->list[i].addr, &ret->list[i].lmid);
	return 0;
}

static void free_objects(struct objects *objects)
{
	for (size_t i = 0; i < objects->n; i++)
		free(objects->list[i].path);
	free(objects->list);
}

/* --- all symbols ------------------------------------------------------------------ */

static int add_symbol(void *arg, const GElf_Sym *sym, const char *name,
		      const prsyminfo_t *si)
{
	struct symbols *symbols = arg;

	if (!*name || sym->st_shndx == SHN_UNDEF)
		return 0;
	symbols->list = room_for_one(symbols->list, symbols->n, &symbols->room,
				     sizeof(*symbols->list));
	symbols->list[symbols->n++] =
		(struct symbol){ .sym = *sym, .name = copy_string(readable(name)) };
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->sym.st_value != y->sym.st_value)
		return x->sym.st_value < y->sym.st_value ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void print_symbol(const struct symbol *s, const char *module)
{
	static const char types[] = {
		[STT_OBJECT] = 'O', [STT_FUNC] = 'F', [STT_TLS] = 'T'
	};
	static const char binds[] = {
		[STB_LOCAL] = 'l', [STB_GLOBAL] = 'g', [STB_WEAK] = 'w'
	};
	unsigned type = ELF64_ST_TYPE(s->sym.st_info),
		 bind = ELF64_ST_BIND(s->sym.st_info);
	char type_char = type < sizeof(types) && types[type] ? types[type] : '-';
	char bind_char = bind < sizeof(binds) ? binds[bind] : '-';

	output("0x%016lx %8lu %c%c ", (unsigned long)s->sym.st_value,
	       (unsigned long)s->sym.st_size, bind_char, type_char);
	output_escaped(module);
	output("`");
	output_escaped(s->name);
	output("\n");
}

static void print_symbols(struct symbols *symbols, const char *module)
{
	if (symbols->n)
		qsort(symbols->list, symbols->n, sizeof(*symbols->list), by_address);
	for (size_t i = 0; i < symbols->n && !output_failed(); i++)
		if (i == 0 || by_address(&symbols->list[i - 1], &symbols->list[i]) != 0)
			print_symbol(&symbols->list[i], module);
	for (size_t i = 0; i < symbols->n; i++)
		free(symbols->list[i].name);
	free(symbols->list);
}

static void print_object(struct ps_prochandle *P, const struct object *o)
{
	enum {
		MASK = BIND_ANY | TYPE_NOTYPE | TYPE_OBJECT | TYPE_FUNC
	};
	struct symbols symbols = { 0 };

	Pxsymbol_iter(P, o->lmid, o->path, PR_SYMTAB, MASK, add_symbol, &symbols);
	Pxsymbol_iter(P, o->lmid, o->path, PR_DYNSYM, MASK, add_symbol, &symbols);
	print_symbols(&symbols, text_basename(o->path));
}

/* --- one address, one name -------------------------------------------------------- */

static int show_address(struct ps_prochandle *P, uintptr_t addr)
{
	static char line[NAME_SIZE], module[PATH_MAX];
	GElf_Sym sym;
	uintptr_t offset;

	output("0x%lx ", (unsigned long)addr);
	if (Plookup_by_addr(P, addr, line, sizeof(line), &sym) != 0) {
		Pfmt_uaddr(P, addr, line, sizeof(line));
		output_escaped(line);
	} else {
		Pfmt_umod(P, addr, module, sizeof(module));
		output_escaped(module);
		output("`");
		output_escaped(readable(line));
		offset = addr - (uintptr_t)sym.st_value;
		if (offset)
			output("+0x%lx", (unsigned long)offset);
	}
	output("\n");
	return 0;
}

/* Prints the symbol if the object has it: 1, else 0. */
static int show_in_object(struct ps_prochandle *P, Lmid_t lmid, const char *path,
			  const char *name)
{
	GElf_Sym sym;

	if (Pxlookup_by_name(P, lmid, path, name, &sym, NULL) != 0)
		return 0;
	print_symbol(&(struct symbol){ .sym = sym, .name = (char *)readable(name) },
		     text_basename(path));
	return 1;
}

/* `LM1`libfoo.so` or `libfoo.so`: the namespace and the rest. */
static const char *parse_namespace(const char *object, Lmid_t *ret_lmid)
{
	char *end;
	long lmid;

	*ret_lmid = PR_LMID_EVERY;
	if (strncmp(object, "LM", 2) != 0 || !isxdigit((unsigned char)object[2]))
		return object;
	lmid = strtol(object + 2, &end, 16);
	if (*end != '`')
		return object;
	*ret_lmid = lmid;
	return end + 1;
}

/* `object`name`: 1 when found. */
static int show_qualified(struct ps_prochandle *P, const char *operand, const char *tick)
{
	char object[PATH_MAX], path[PATH_MAX];
	const char *name = tick + 1, *rest;
	const prmap_t *map;
	Lmid_t lmid;

	if ((size_t)(tick - operand) >= sizeof(object))
		return 0;
	memcpy(object, operand, (size_t)(tick - operand));
	object[tick - operand] = '\0';
	rest = parse_namespace(object, &lmid);
	map = Plmid_to_map(P, lmid, rest);
	if (!map || !Pobjname(P, map->pr_vaddr, path, sizeof(path)))
		return 0;
	/* Asked by the name that was typed, printed by the object's own. */
	return show_in_object(P, lmid, path, name) || show_in_object(P, lmid, rest, name);
}

static int show_name(struct ps_prochandle *P, pid_t pid, const char *name)
{
	const char *tick = strrchr(name, '`');
	struct objects objects;
	int found = 0;

	if (tick) {
		found = show_qualified(P, name, tick);
	} else {
		if (list_objects(P, pid, &objects) == 0)
			for (size_t i = 0; i < objects.n; i++)
				found += show_in_object(P, objects.list[i].lmid,
							objects.list[i].path, name);
		free_objects(&objects);
	}
	if (!found)
		complain("pid %d has no symbol %s", pid, name);
	return !found;
}

/* --- the command ------------------------------------------------------------------ */

/* What is asked about the process. */
struct question {
	char **operands; /* addresses and names; none: all symbols */
	int n;           /* how many */
};

static int show_all(struct ps_prochandle *P, pid_t pid)
{
	struct objects objects;

	if (list_objects(P, pid, &objects) < 0) {
		free_objects(&objects);
		return 1;
	}
	for (size_t i = 0; i < objects.n && !output_failed(); i++)
		print_object(P, &objects.list[i]);
	free_objects(&objects);
	return 0;
}

static int show_syms(struct ps_prochandle *P, pid_t pid, void *arg)
{
	const struct question *q = arg;
	int status = 0;

	if (q->n == 0)
		return show_all(P, pid);
	for (int i = 0; i < q->n && !output_failed(); i++) {
		const char *operand = q->operands[i];

		if (isdigit((unsigned char)operand[0]))
			status |= show_address(P, strtoul(operand, NULL, 16));
		else
			status |= show_name(P, pid, operand);
	}
	return status;
}

/* An operand that begins with a digit is a hexadecimal address, with or without 0x. */
static void check_operand(const struct command *self, const char *operand)
{
	char *end;

	if (!*operand)
		usage_error(self, "an empty name");
	if (!isdigit((unsigned char)operand[0]))
		return;
	errno = 0;
	strtoul(operand, &end, 16);
	if (*end || errno)
		usage_error(self, "`%s' is neither a name nor a hexadecimal address",
			    operand);
}

static int run_syms(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "no-demangle", no_argument, NULL, OPT_NO_DEMANGLE },
		OPTIONS_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct question q;
	struct target target;

	while (options_next(self, argc, argv, ":" OPTIONS_SHORT, longs) != -1)
		raw = true; /* there is one */
	if (optind >= argc)
		usage_error(self, "which process?");
	target = target_operand(self, argv[optind]);
	q = (struct question){ .operands = argv + optind + 1, .n = argc - optind - 1 };
	for (int i = 0; i < q.n; i++)
		check_operand(self, q.operands[i]);
	return target_examine(&target, 1, TARGET_HEADINGS, show_syms, &q);
}

const struct command command_syms = {
	.name = "syms",
	.summary = "symbols of a process, by address and by name",
	.synopsis = "[--no-demangle] [-q] PID|CORE [ADDRESS|NAME|OBJECT`NAME]...",
	.help = "Without more, prints all symbols of all objects: address, size, binding "
		"(l local,\n"
		"g global, w weak) and type (F function, O object, - other), "
		"object`name. An ADDRESS\n"
		"(hexadecimal) gives what is there; a NAME each place that defines it; "
		"OBJECT may be a\n"
		"path, a base name (libc.so.6), its beginning (libc), a.out, or "
		"LM1`OBJECT for another\n"
		"namespace. The process is not touched.\n"
		"Names of C++, Rust and D are printed readable; a NAME is as the linker "
		"has it.\n"
		"\n"
		"Options:\n"
		"  --no-demangle names as the symbol tables have them\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab syms 1234 0x7f12a0c3d4e0\n"
		"  pgrab syms 1234 malloc 'libc`free' 'a.out`main'\n"
		"  pgrab syms 1234 | grep ' gF '       global functions\n",
	.run = run_syms,
};
