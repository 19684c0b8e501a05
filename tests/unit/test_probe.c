/* SPDX-License-Identifier: MIT */
/*
 * src/probe: what descriptions say, and the ways out of functions whose bytes are written
 * here by hand, in an ELF file that is looked at as a target.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe/match.h"
#include "probe/probe.h"

/* --- descriptions ------------------------------------------------------------------- */

#define PROVIDER                                                                         \
	" is no probe of the pid provider: pid$target:module:function:name, "            \
	"module:function or function"
#define LACKS " lacks a field: pid$target:module:function:name"

/* A description, and its parts or the sentence. */
static const struct {
	const char *text;   /* the description */
	const char *expect; /* whose [LMn`]module function name; or =sentence */
} descriptions[] = {
	{ "pid$target:libc:malloc:entry", "target libc malloc entry" },
	{ "pid$target:libc.so.6:malloc:return", "target libc.so.6 malloc return" },
	{ "pid1234:a.out:main:1f", "1234 a.out main 1f" },
	{ "pid1234:a.out:main:0x1f", "1234 a.out main 0x1f" },
	{ "pid$target:libc:malloc:", "target libc malloc *" },
	{ "pid$target:libc::", "target libc * *" },
	{ "pid$target:::", "target * * *" },
	{ "pid$target:::entry", "target * * entry" },
	{ "pid$target::main:entry", "target * main entry" },
	{ "malloc", "any * malloc entry" },
	{ "m?lloc*", "any * m?lloc* entry" },
	{ "libc:malloc", "any libc malloc entry" },
	{ "libc:malloc:", "any libc malloc entry" },
	{ "libc:malloc:return", "any libc malloc return" },
	{ "libc::entry", "any libc * entry" },
	{ "::entry", "any * * entry" },
	{ ":malloc", "any * malloc entry" },
	{ "lib[cm]:*:{entry,return}*", "any lib[cm] * {entry,return}*" },
	{ "LM1`libc:malloc", "any LM1`libc malloc entry" },
	{ "LM1f`:malloc:", "any LM1f`* malloc entry" },
	{ "pid$target:LM0`a.out:main:entry", "target LM0`a.out main entry" },
	{ "a.out:-:401000", "any a.out - 401000" },
	{ "pid$target:a.out:-:0x401000", "target a.out - 0x401000" },
	{ "a.out:ns::f", "any a.out ns::f entry" },
	{ "a.out:ns::T<int>::f:return", "any a.out ns::T<int>::f return" },
	{ "pid$target:a.out:ns::f:", "target a.out ns::f *" },
	{ "pidgin:f", "any pidgin f entry" },
	{ "pid123", "any * pid123 entry" },
	{ "/usr/lib/x.so:f", "any /usr/lib/x.so f entry" },
	/* what is wrong */
	{ "", "=an empty probe description" },
	{ "foo:", "='foo:' names no function" },
	{ ":", "=':' names no function" },
	{ "foo::", "='foo::' names no function" },
	{ "syscall:::", "='syscall:::'" PROVIDER },
	{ "syscall::read:entry", "='syscall::read:entry'" PROVIDER },
	{ "profile:::tick-1s", "='profile:::tick-1s'" PROVIDER },
	{ "a:b:c:d", "='a:b:c:d'" PROVIDER },
	{ "pid1:a:b:c:d", "='pid1:a:b:c:d'" PROVIDER },
	{ "pid$target:a:b:::", "='pid$target:a:b:::'" PROVIDER },
	{ "pid$target:libc", "='pid$target:libc'" LACKS },
	{ "pid$target:libc:malloc", "='pid$target:libc:malloc'" LACKS },
	{ "pid0:a:b:entry", "='pid0:a:b:entry' names no process" },
	{ "pid99999999999:a:b:entry", "='pid99999999999:a:b:entry' names no process" },
	{ "libc:malloc:enter", "='enter' is an invalid probe name" },
	{ "libc:malloc:0x", "='0x' is an invalid probe name" },
	{ "libc:malloc:-1", "='-1' is an invalid probe name" },
	{ "libc:malloc:11112222333344445",
	  "='11112222333344445' is an invalid probe name" },
	{ "ns::method", "='method' is an invalid probe name" },
	{ "LMx`libc:malloc", "='LMx' is an invalid link map" },
	{ "LM1libc`:malloc", "='LM1libc' is an invalid link map" },
	{ "a.out:-:entry", "='entry' is an invalid probe name" },
	{ "a.out:-:*", "='*' is an invalid probe name" },
	{ "libc:-:1000", "='libc:-:1000': function '-' (an absolute address) is known "
			 "in module a.out only" },
};

static void print_description(const struct probe_desc *d, char *buf, size_t size)
{
	char whose[16] = "any", map[32] = "";

	if (d->whose == PROBE_TARGET)
		strcpy(whose, "target");
	else if (d->whose == PROBE_PID)
		snprintf(whose, sizeof(whose), "%d", (int)d->pid);
	if (d->has_lmid)
		snprintf(map, sizeof(map), "LM%lx`", (unsigned long)d->lmid);
	snprintf(buf, size, "%s %s%s %s %s", whose, map, d->module, d->function, d->name);
}

static void descriptions_are_taken_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(descriptions) / sizeof(*descriptions); i++) {
		struct probe_desc d;
		char got[512], err[512] = "";
		int rc = probe_parse(descriptions[i].text, &d, err, sizeof(err));

		if (rc) {
			assert_int_equal(rc, -EINVAL);
			snprintf(got, sizeof(got), "=%.500s", err);
		} else {
			assert_string_equal(d.text, descriptions[i].text);
			print_description(&d, got, sizeof(got));
			probe_desc_fini(&d);
		}
		assert_string_equal(got, descriptions[i].expect);
	}
}

/* A sentence is cut, not written past its room. */
static void sentences_keep_to_their_room(void **state)
{
	struct probe_desc d;
	char err[8] = "1234567";

	(void)state;
	assert_int_equal(probe_parse("", &d, err, 4), -EINVAL);
	assert_string_equal(err, "an ");
	assert_int_equal(err[4], '5');
}

/* --- names -------------------------------------------------------------------------- */

static const struct {
	const char *readable, *trimmed; /* a readable name, and what one types */
} readables[] = {
	{ "f(int)", "f" },
	{ "ns::T::f(int, char const*) const", "ns::T::f" },
	{ "int ns::f<int>(int)", "ns::f<int>" },
	{ "std::vector<int, std::allocator<int> >::push_back(int const&)",
	  "std::vector<int, std::allocator<int> >::push_back" },
	{ "(anonymous namespace)::f(int)", "(anonymous namespace)::f" },
	{ "void (anonymous namespace)::g<int>()", "(anonymous namespace)::g<int>" },
	{ "T::operator()(int) const", "T::operator()" },
	{ "T::operator unsigned long() const", "T::operator unsigned long" },
	{ "operator new(unsigned long)", "operator new" },
	{ "bool operator< <int>(T<int>, T<int>)", "operator< <int>" },
	{ "T::operator->()", "T::operator->" },
	{ "f(void (*)(int))", "f" },
	{ "main::{lambda(int)#1}::operator()(int) const",
	  "main::{lambda(int)#1}::operator()" },
	{ "f(int) [clone .cold]", "f" },
	{ "core::fmt::Formatter::pad", "core::fmt::Formatter::pad" },
	{ "<T as core::fmt::Debug>::fmt", "<T as core::fmt::Debug>::fmt" },
	{ "()", "()" },
	{ ")", ")" },
	{ "", "" },
};

static void readable_names_are_trimmed(void **state)
{
	char buf[256];

	(void)state;
	for (size_t i = 0; i < sizeof(readables) / sizeof(*readables); i++) {
		strcpy(buf, readables[i].readable);
		assert_string_equal(names_trim(buf), readables[i].trimmed);
	}
}

static void names_match_raw_unversioned_and_readable(void **state)
{
	static const struct {
		const char *pattern, *name; /* … */
		bool matches;               /* does it? */
	} cases[] = {
		{ "*", "f", true },
		{ "f", "f", true },
		{ "f", "g", false },
		{ "f?", "f1", true },
		{ "[a-c]x", "bx", true },
		{ "f\\*", "f*", true },
		{ "f\\*", "fx", false },
		{ "memcpy", "memcpy@@GLIBC_2.14", true },
		{ "memcpy@*", "memcpy@@GLIBC_2.14", true },
		{ "main.(*T).Method", "main.(*T).Method", true },
		{ "ns::f", "_ZN2ns1fEi", true },
		{ "ns::*", "_ZN2ns1fEi", true },
		{ "_ZN2ns1fEi", "_ZN2ns1fEi", true },
		{ "f", "_ZN2ns1fEi", false },
		/* not told apart by a word that is not there as it is */
		{ "std::string::string", "_ZNSsC1Ev", false },
		{ "std::basic_string<*>::basic_string", "_ZNSsC1Ev", true },
		{ "std::vector<int, *>::push_back", "_ZNSt6vectorIiSaIiEE9push_backERKi",
		  true },
		{ "*::push_back", "_ZNSt6vectorIiSaIiEE9push_backERKi", true },
		{ "*::[p]ush*", "_ZNSt6vectorIiSaIiEE9push_backERKi", true },
		{ "ns::T::operator()", "_ZN2ns1TclEv", true },
		{ "ns::T::T", "_ZN2ns1TC1Ev", true },
		{ "ns::T::~T", "_ZN2ns1TD1Ev", true },
		{ "ns::f<int>", "_ZN2ns1fIiEEvT_", true },
		{ "(anonymous namespace)::f", "_ZN12_GLOBAL__N_11fEv", true },
		{ "foo::bar", "_RNvC3foo3bar", true },
		{ "foo::b?r", "_RNvC3foo3bar", true },
		{ "desc_r::fib", "_ZN6desc_r3fib17h8f22ac862bbb627eE", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pattern p = names_pattern(cases[i].pattern);

		if (names_match(&p, cases[i].name) != cases[i].matches)
			fail_msg("%s %s", cases[i].pattern, cases[i].name);
	}
	assert_true(names_is_cold("f.cold"));
	assert_true(names_is_cold("f.constprop.0.cold.12"));
	assert_false(names_is_cold("f.colder"));
	assert_false(names_is_cold(".cold"));
	assert_false(names_is_cold("f.part.0"));
}

/* --- ways out ----------------------------------------------------------------------- */

enum {
	TEXT_AT = 0x1000, /* address of the code */
	TEXT_LEN = 0x400,
	MAX_SYMBOLS = 16,
	NSECTIONS = 4,
};

/* A file with code, data behind it, and symbols. */
struct made {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	Elf64_Shdr sh[NSECTIONS];
	Elf64_Sym sym[MAX_SYMBOLS];
	char names[512];
	_Alignas(4096) uint8_t text[TEXT_LEN];
	size_t nsym, nnames; /* used so far */
};

static void begin(struct made *k)
{
	size_t text = offsetof(struct made, text);

	memset(k, 0, sizeof(*k));
	memset(k->text, 0xcc, sizeof(k->text));
	memcpy(k->eh.e_ident, ELFMAG, SELFMAG);
	k->eh.e_ident[EI_CLASS] = ELFCLASS64;
	k->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	k->eh.e_ident[EI_VERSION] = EV_CURRENT;
	k->eh.e_type = ET_EXEC;
	k->eh.e_machine = EM_X86_64;
	k->eh.e_version = EV_CURRENT;
	k->eh.e_phoff = offsetof(struct made, ph);
	k->eh.e_shoff = offsetof(struct made, sh);
	k->eh.e_ehsize = sizeof(k->eh);
	k->eh.e_phentsize = sizeof(k->ph[0]);
	k->eh.e_phnum = 2;
	k->eh.e_shentsize = sizeof(k->sh[0]);
	k->eh.e_shnum = NSECTIONS;
	k->ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				 .p_flags = PF_R | PF_X,
				 .p_offset = text,
				 .p_vaddr = TEXT_AT,
				 .p_filesz = TEXT_LEN,
				 .p_memsz = TEXT_LEN };
	k->ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				 .p_flags = PF_R,
				 .p_filesz = TEXT_AT,
				 .p_memsz = TEXT_AT };
	k->sh[1] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
				 .sh_addr = TEXT_AT,
				 .sh_offset = text,
				 .sh_size = TEXT_LEN,
				 .sh_flags = SHF_ALLOC | SHF_EXECINSTR };
	k->sh[2] = (Elf64_Shdr){ .sh_type = SHT_SYMTAB,
				 .sh_offset = offsetof(struct made, sym),
				 .sh_link = 3 };
	k->sh[3] = (Elf64_Shdr){ .sh_type = SHT_STRTAB,
				 .sh_offset = offsetof(struct made, names),
				 .sh_size = sizeof(k->names) };
	k->nsym = k->nnames = 1;
}

static void add(struct made *k, const char *name, unsigned at, unsigned size,
		unsigned info)
{
	k->sym[k->nsym++] = (Elf64_Sym){ .st_name = (Elf64_Word)k->nnames,
					 .st_value = TEXT_AT + at,
					 .st_size = size,
					 .st_shndx = 1,
					 .st_info = (unsigned char)info };
	strcpy(k->names + k->nnames, name);
	k->nnames += strlen(name) + 1;
	k->sh[2].sh_size = k->nsym * sizeof(*k->sym);
}

static void code(struct made *k, unsigned at, const char *bytes, size_t n)
{
	memcpy(k->text + at, bytes, n);
}

#define CODE(k, at, bytes) code(k, at, bytes, sizeof(bytes) - 1)
#define GLOBAL(type)       ELF64_ST_INFO(STB_GLOBAL, type)
#define LOCAL(type)        ELF64_ST_INFO(STB_LOCAL, type)

static int print_probe(void *arg, const struct probe *p)
{
	char *to = arg;

	to += strlen(to);
	to += sprintf(to, "%s:%s%s", p->function, p->name, p->cut ? "!" : "");
	for (size_t i = 0; i < p->nspots; i++) {
		const struct probe_spot *s = &p->spots[i];

		to += sprintf(to, " %lx", (unsigned long)s->addr - TEXT_AT);
		if (s->hi)
			to += sprintf(to, "(%lx-%lx", (unsigned long)s->lo - TEXT_AT,
				      (unsigned long)s->hi - TEXT_AT);
		if (s->hi2)
			to += sprintf(to, ",%lx-%lx", (unsigned long)s->lo2 - TEXT_AT,
				      (unsigned long)s->hi2 - TEXT_AT);
		to += sprintf(to, s->hi ? ")" : "");
	}
	sprintf(to, "; ");
	return 0;
}

/* What a description matches in the file, as text; or =sentence. */
static const char *match(const struct made *k, const char *description)
{
	static char got[8192];
	int fd = memfd_create("made", 0), err = 0;
	struct ps_prochandle *P;
	struct probe_desc d;
	char path[64], text[256] = "";

	got[0] = '\0';
	assert_true(fd >= 0);
	assert_int_equal(write(fd, k, sizeof(*k)), sizeof(*k));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	P = Pgrab_file(path, &err);
	assert_non_null(P);
	assert_int_equal(probe_parse(description, &d, text, sizeof(text)), 0);
	if (probe_match(P, &d, NULL, 0, print_probe, got, text, sizeof(text)) < 0)
		snprintf(got, sizeof(got), "=%s", text);
	probe_desc_fini(&d);
	Prelease(P, 0);
	close(fd);
	return got;
}

static void every_form_of_ret(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	/* nop; ret; rep ret; bnd ret; ret 8; iretq; lret; notrack nop; ret */
	CODE(&k, 0, "\x90\xc3\xf3\xc3\xf2\xc3\xc2\x08\x00\x48\xcf\xcb\x90\xc3");
	add(&k, "f", 0, 14, GLOBAL(STT_FUNC));
	assert_string_equal(match(&k, "a.out:f:return"), "f:return 1 2 4 6 d; ");
	assert_string_equal(match(&k, "f"), "f:entry 0; ");
	assert_string_equal(match(&k, "a.out:f:6"), "f:6 6; ");
	assert_string_equal(match(&k, "a.out:f:0x6"), "f:6 6; ");
	assert_string_equal(match(&k, "a.out:f:7"),
			    "=offset 0x7 is not aligned on an instruction");
	assert_string_equal(match(&k, "a.out:f:e"),
			    "=offset 0xe outside of function 'f'");
	assert_string_equal(match(&k, "a.out:g"),
			    "=failed to lookup 'g' in module 'a.out'");
	assert_string_equal(match(&k, "a.out:g*"), "");
	assert_string_equal(match(&k, "other:f"), "");
	assert_string_equal(match(&k, "a.out:f:[0-4]"), "f:0 0; f:1 1; f:2 2; f:4 4; ");
	assert_string_equal(match(&k, "a.out:-:1009"), "-:1009 9; ");
	assert_string_equal(match(&k, "a.out:-:100a"),
			    "=offset 0x100a is not aligned on an instruction");
	assert_string_equal(match(&k, "a.out:-:9000"),
			    "=offset 0x9000 outside of function '-'");
	/* Of a pattern nothing is wrong. */
	assert_string_equal(match(&k, "a.out:f*:7"), "");
	assert_string_equal(match(&k, "a.out:*:e"), "");
	assert_string_equal(match(&k, "*:f:e"), "");
	assert_string_equal(match(&k, "*:g"), "");
	k.text[1] = k.text[2] = k.text[3] = k.text[4] = k.text[5] = 0x90;
	k.text[6] = k.text[7] = k.text[8] = k.text[13] = 0x90;
	assert_string_equal(match(&k, "a.out:f:return"), "=function 'f' never returns");
	assert_string_equal(match(&k, "a.out:f*:return"), "");
	k.eh.e_machine = EM_AARCH64;
	assert_non_null(strstr(match(&k, "a.out:f"), "is not code of this CPU"));
	k.eh.e_machine = EM_X86_64;
}

/* Fails when a jump is taken for a tail call by its opcode alone. */
static void tail_calls(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0x00, "\xe9\x1b\x00\x00\x00");     /* jmp g (20) */
	CODE(&k, 0x05, "\x75\x19");                 /* jne g */
	CODE(&k, 0x07, "\xeb\xf7");                 /* jmp f: a loop */
	CODE(&k, 0x09, "\xeb\x16");                 /* jmp g+1: into its middle */
	CODE(&k, 0x0b, "\x0f\x84\x1f\x00\x00\x00"); /* je plt (30) */
	CODE(&k, 0x11, "\xe8\x0a\x00\x00\x00");     /* call g */
	CODE(&k, 0x16, "\xeb\x28");                 /* jmp plt2 (40), with endbr64 */
	CODE(&k, 0x18, "\xeb\x36");                 /* jmp 50: to nothing known */
	CODE(&k, 0x1a, "\xf2\xe9\x00\x00\x00\x00"); /* bnd jmp g */
	CODE(&k, 0x20, "\x90\xc3");
	CODE(&k, 0x30, "\xff\x25\x00\x01\x00\x00");
	CODE(&k, 0x40, "\xf3\x0f\x1e\xfa\xf2\xff\x25\x00\x01\x00\x00");
	add(&k, "f", 0, 0x20, GLOBAL(STT_FUNC));
	add(&k, "g", 0x20, 2, LOCAL(STT_FUNC));
	assert_string_equal(match(&k, "a.out:f:return"),
			    "f:return 0 5(1-20) b(1-20) 16 1a; ");
	assert_string_equal(match(&k, "a.out:g:return"), "g:return 21; ");
}

/* Fails when a jump table of a switch is watched, or a call through a pointer is not; or
 * when one of the function itself is taken for staying there (lo). */
static void indirect_jumps(void **state)
{
	uint64_t inside = TEXT_AT + 4, outside = TEXT_AT + 0x300;
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0x00, "\xff\xe0");                     /* jmp rax */
	CODE(&k, 0x02, "\x3e\xff\xe0");                 /* notrack jmp rax */
	CODE(&k, 0x05, "\x48\x01\xd0\xff\xe0");         /* add rax, rdx; jmp rax */
	CODE(&k, 0x0a, "\x48\x01\xd0\xff\xe1");         /* add rax, rdx; jmp rcx */
	CODE(&k, 0x0f, "\x49\x03\x00\x41\xff\xe0");     /* add rax, [r8]; jmp r8 */
	CODE(&k, 0x15, "\xff\x24\xc5\x00\x11\x00\x00"); /* jmp [1100 + rax * 8] */
	CODE(&k, 0x1c, "\xff\x24\xc5\x08\x11\x00\x00"); /* jmp [1108 + rax * 8] */
	CODE(&k, 0x23, "\xff\x60\x08");                 /* jmp [rax + 8] */
	CODE(&k, 0x26, "\xff\x25\x00\x00\x00\x00");     /* jmp [rip] */
	CODE(&k, 0x2c, "\x4d\x03\x00\x41\xff\xe0");     /* add r8, [r8]; jmp r8 */
	memcpy(k.text + 0x100, &inside, 8);
	memcpy(k.text + 0x108, &outside, 8);
	add(&k, "f", 0, 0x32, GLOBAL(STT_FUNC));
	assert_string_equal(match(&k, "a.out:f:return"),
			    "f:return 0(1-32) d(1-32) 12(1-32) 1c(1-32) 23(1-32) "
			    "26(1-32); ");
}

/* Fails when the cold half of a function is a function, or its returns are lost. */
static void cold_halves(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0x00, "\x75\x3e\xff\xe0\xc3"); /* jne f.cold (40); jmp rax; ret */
	CODE(&k, 0x40, "\x90\xc3\xeb\xbe\x75\x0a\xff\xe0"); /* nop; ret; jmp f+2; jne g */
	CODE(&k, 0x50, "\xc3");
	CODE(&k, 0x60, "\xe8\x0b\x00\x00\x00\xc3"); /* call h.cold.1 (70); ret */
	CODE(&k, 0x70, "\xc3");
	CODE(&k, 0x80, "\x90\xc3"); /* its half by name alone */
	CODE(&k, 0x90, "\xc3");
	CODE(&k, 0xa0, "\xe8\x0b\x00\x00\x00\xc3"); /* call l.cold (b0); ret */
	CODE(&k, 0xb0, "\xc3");
	CODE(&k, 0xc0, "\xeb\x0e"); /* jmp m.part.0 (d0) */
	CODE(&k, 0xd0, "\xc3");
	add(&k, "f", 0, 5, GLOBAL(STT_FUNC));
	add(&k, "f.cold", 0x40, 8, LOCAL(STT_FUNC));
	add(&k, "g", 0x50, 1, GLOBAL(STT_FUNC));
	add(&k, "h", 0x60, 6, GLOBAL(STT_FUNC));
	add(&k, "h.cold.1", 0x70, 1, LOCAL(STT_FUNC));
	add(&k, "i", 0x80, 2, GLOBAL(STT_FUNC));
	add(&k, "i.cold", 0x90, 1, LOCAL(STT_FUNC));
	add(&k, "l", 0xa0, 6, GLOBAL(STT_FUNC));
	add(&k, "l.cold", 0xb0, 1, LOCAL(STT_FUNC));
	add(&k, "m", 0xc0, 2, GLOBAL(STT_FUNC));
	add(&k, "m.part.0", 0xd0, 1, LOCAL(STT_FUNC));
	assert_string_equal(match(&k, "a.out:f:return"),
			    "f:return 2(1-5,40-48) 4 41 44(40-48,1-5) 46(40-48,1-5); ");
	assert_string_equal(match(&k, "a.out:h:return"), "h:return 65; ");
	assert_string_equal(match(&k, "a.out:i:return"), "i:return 81 90; ");
	assert_string_equal(match(&k, "a.out:l:return"), "l:return a5; ");
	assert_string_equal(match(&k, "a.out:m:return"), "m:return c0; ");
	assert_string_equal(match(&k, "a.out::entry"),
			    "f:entry 0; g:entry 50; h:entry 60; i:entry 80; l:entry a0; "
			    "m:entry c0; m.part.0:entry d0; ");
	assert_string_equal(match(&k, "a.out:f.cold"), "f.cold:entry 40; ");
	assert_string_equal(match(&k, "a.out:*.cold"),
			    "f.cold:entry 40; i.cold:entry 90; l.cold:entry b0; ");
}

/* Fails when what cannot be decoded is gone into. */
static void bad_code_is_left_out(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0, "\x90\xc3\x06\xc3\xc3"); /* 06 is no instruction in 64 bits */
	CODE(&k, 8, "\xe8\x00\x00");         /* cut off by the function's end */
	add(&k, "f", 0, 5, GLOBAL(STT_FUNC));
	add(&k, "g", 8, 3, GLOBAL(STT_FUNC));
	assert_string_equal(match(&k, "a.out:f:return"), "f:return! 1; ");
	assert_string_equal(match(&k, "a.out:f:4"),
			    "=offset 0x4 is not aligned on an instruction");
	assert_string_equal(match(&k, "a.out:g:return"),
			    "=function 'g' is not code from offset 0x0 on");
	assert_string_equal(match(&k, "a.out:g:*"), "g:entry 8; ");
}

/* Which symbols are functions. */
static void symbols_that_are_functions(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0, "\x90\xc3\x90\xc3\x90\xc3\x90\xc3\x90\xc3");
	add(&k, "f", 0, 2, GLOBAL(STT_FUNC));
	add(&k, "__f", 0, 2, ELF64_ST_INFO(STB_WEAK, STT_FUNC)); /* the same */
	add(&k, "bare", 2, 0, GLOBAL(STT_FUNC));                 /* up to chosen */
	add(&k, "chosen", 4, 2, GLOBAL(STT_GNU_IFUNC));
	add(&k, "_init", 6, 2, GLOBAL(STT_FUNC));
	add(&k, "data", 8, 2, GLOBAL(STT_OBJECT));
	add(&k, "away", 0x8000, 2, GLOBAL(STT_FUNC)); /* outside of the text */
	add(&k, "none", 8, 2, GLOBAL(STT_FUNC));
	k.sym[k.nsym - 1].st_shndx = SHN_UNDEF;
	assert_string_equal(match(&k, "a.out::entry"), "f:entry 0; ");
	assert_string_equal(match(&k, "__f"), "f:entry 0; ");
	assert_string_equal(match(&k, "__*"), "f:entry 0; ");
	assert_string_equal(match(&k, "pid$target:a.out:bare:"),
			    "bare:entry 2; bare:return 3; bare:0 2; bare:1 3; ");
	assert_string_equal(match(&k, "_init"), "_init:entry 6; ");
	assert_string_equal(match(&k, "a.out:data"),
			    "=failed to lookup 'data' in module 'a.out'");
	assert_string_equal(match(&k, "a.out:away"),
			    "=failed to lookup 'away' in module 'a.out'");
	assert_string_equal(match(&k, "a.out:none"),
			    "=failed to lookup 'none' in module 'a.out'");
	assert_string_equal(match(&k, "a.out:chosen"),
			    "=failed to lookup 'chosen' in module 'a.out'");
}

/* Fails when what chooses is probed, which is called once. */
static void what_is_chosen_from(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0, "\x48\x8d\x05\x19\x00\x00\x00");      /* lea rax, [20] */
	CODE(&k, 7, "\xb8\x30\x10\x00\x00");              /* mov eax, 1030 */
	CODE(&k, 12, "\x48\x8d\x15\x2e\x00\x00\x00\xc3"); /* lea rdx, [41]: no start */
	CODE(&k, 0x20, "\x90\xc3");
	CODE(&k, 0x30, "\xc3");
	CODE(&k, 0x40, "\x90\xc3");
	add(&k, "chosen", 0, 20, GLOBAL(STT_GNU_IFUNC));
	add(&k, "chosen_by", 0, 20, LOCAL(STT_FUNC)); /* the same as a function */
	add(&k, "fast", 0x20, 2, LOCAL(STT_FUNC));
	add(&k, "slow", 0x30, 1, LOCAL(STT_FUNC));
	add(&k, "other", 0x40, 2, LOCAL(STT_FUNC));
	assert_string_equal(match(&k, "a.out:chosen"), "fast:entry 20; slow:entry 30; ");
	assert_string_equal(match(&k, "a.out:chosen:return"),
			    "fast:return 21; slow:return 30; ");
	assert_string_equal(match(&k, "a.out:chos*"), "fast:entry 20; slow:entry 30; ");
	assert_string_equal(match(&k, "a.out:chosen_by"), "chosen_by:entry 0; ");
	assert_string_equal(match(&k, "a.out::entry"),
			    "fast:entry 20; slow:entry 30; other:entry 40; ");
}

/* A symbol may say that it is as large as it likes. */
static void sizes_that_lie(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0, "\xc3");
	add(&k, "f", 0, 1, GLOBAL(STT_FUNC));
	k.sym[1].st_size = 1ull << 62;
	memset(k.text + 1, 0x90, TEXT_LEN - 1);
	assert_string_equal(match(&k, "a.out:f:return"), "f:return! 0; ");
	k.sym[1].st_size = UINT64_MAX;
	assert_string_equal(match(&k, "a.out:f:return"), "f:return 0; ");
	assert_string_equal(match(&k, "a.out:f:0"), "f:0 0; ");
}

/* Several static functions of one name are all meant. */
static void static_functions_of_one_name(void **state)
{
	struct made k;

	(void)state;
	begin(&k);
	CODE(&k, 0, "\x90\xc3\x90\x90\xc3");
	add(&k, "init", 2, 3, LOCAL(STT_FUNC));
	add(&k, "init", 0, 2, LOCAL(STT_FUNC));
	assert_string_equal(match(&k, "a.out:init:return"),
			    "init:return 1; init:return 4; ");
	assert_string_equal(match(&k, "a.out:init:2"), "init:2 4; ");
	assert_string_equal(match(&k, "a.out:init:3"),
			    "=offset 0x3 outside of function 'init'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptions_are_taken_apart),
		cmocka_unit_test(sentences_keep_to_their_room),
		cmocka_unit_test(readable_names_are_trimmed),
		cmocka_unit_test(names_match_raw_unversioned_and_readable),
		cmocka_unit_test(every_form_of_ret),
		cmocka_unit_test(tail_calls),
		cmocka_unit_test(indirect_jumps),
		cmocka_unit_test(cold_halves),
		cmocka_unit_test(bad_code_is_left_out),
		cmocka_unit_test(symbols_that_are_functions),
		cmocka_unit_test(what_is_chosen_from),
		cmocka_unit_test(sizes_that_lie),
		cmocka_unit_test(static_functions_of_one_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
