/* SPDX-License-Identifier: MIT */
/*
 * A client as anybody would write it from the headers: built against the installed
 * library through pkg-config alone. Creates /bin/ls, holds it at main, lists its
 * objects, looks up a symbol of its libc, lets it run and is told how it ended.
 */
#include <dtrace.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static int count_object(void *arg, const prmap_t *map, const char *name)
{
	int *objects = (int *)arg;

	printf("object %#lx %s\n", (unsigned long)map->pr_vaddr, name);
	++*objects;
	return 0;
}

static void on_end(struct ps_prochandle *P, const char *text, void *arg)
{
	int *status = (int *)arg;

	if (!text)
		*status = Pstatus(P)->pr_exitstatus;
}

static int on_failure(dtrace_hdl_t *dtp, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, dtrace_errmsg(dtp, dtrace_errno(dtp)));
	return 1;
}

static int look(struct ps_prochandle *P)
{
	GElf_Sym sym;
	int objects = 0;

	if (Pobject_iter(P, count_object, &objects) || objects < 3)
		return 1;
	if (Plookup_by_name(P, "libc.so.6", "malloc", &sym))
		return 1;
	printf("malloc %#lx\n", (unsigned long)sym.st_value);
	return 0;
}

int main(void)
{
	char *const argv[] = { (char *)"ls", (char *)"/nonexistent", NULL };
	int err, status = -1;
	dtrace_hdl_t *dtp = dtrace_open(DTRACE_VERSION, 0, &err);
	struct ps_prochandle *P;

	if (!dtp)
		return 1;
	if (dtrace_setopt(dtp, "evaltime", "main") ||
	    dtrace_handle_proc(dtp, on_end, &status))
		return on_failure(dtp, "options");
	P = dtrace_proc_create(dtp, "/bin/ls", argv);
	if (!P)
		return on_failure(dtp, "create");
	if (look(P))
		return on_failure(dtp, "look");
	dtrace_proc_continue(dtp, P);
	while (status < 0)
		dtrace_sleep(dtp);
	printf("status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
	return 0;
}
