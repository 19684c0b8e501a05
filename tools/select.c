/* SPDX-License-Identifier: MIT */
/*
 * Theory: one look at /proc says who there is, whose child, and called what. Names are
 * compared with that list and trees walked in it; who comes later is not in it, who goes
 * is found gone when he is looked at. Kernel threads and zombies have nothing to show:
 * they are left out, but when they are asked for by their ids.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "output.h"
#include "select.h"
#include "task.h"

/* PF_KTHREAD in the flags of /proc/PID/stat (include/linux/sched.h). */
enum {
	KTHREAD = 0x00200000
};

/* A process. */
struct process {
	pid_t pid;     /* its id */
	pid_t parent;  /* its parent's */
	bool hollow;   /* a kernel thread, or a zombie */
	char name[64]; /* its comm */
};

/* All of them. */
struct census {
	struct process *list; /* by pid; allocated */
	size_t n, room;       /* used and allocated */
};

static bool read_process(pid_t pid, struct process *ret)
{
	char stat[512], *open, *close, state;
	unsigned flags;

	if (task_file(stat, sizeof(stat), "/proc/%d/stat", pid) <= 0)
		return false;
	open = strchr(stat, '(');
	close = strrchr(stat, ')');
	if (!open || !close ||
	    sscanf(close + 1, " %c %d %*d %*d %*d %*d %u", &state, &ret->parent,
		   &flags) != 3)
		return false;
	ret->hollow = state == 'Z' || state == 'X' || (flags & KTHREAD);
	ret->pid = pid;
	snprintf(ret->name, sizeof(ret->name), "%.*s", (int)(close - open - 1), open + 1);
	return true;
}

static void add_process(struct census *c, const struct process *p)
{
	if (c->n == c->room) {
		size_t room = c->room ? c->room * 2 : 256;
		struct process *list = options_alloc(room, sizeof(*list));

		if (c->n)
			memcpy(list, c->list, c->n * sizeof(*list));
		free(c->list);
		c->list = list;
		c->room = room;
	}
	c->list[c->n++] = *p;
}

static int by_pid(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int take_census(struct census *c)
{
	DIR *d = opendir("/proc");
	struct process p;
	struct dirent *e;

	if (!d) {
		complain("/proc: %s", strerror(errno));
		return EXIT_FAILED;
	}
	while ((e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]) &&
		    read_process((pid_t)atoi(e->d_name), &p))
			add_process(c, &p);
	closedir(d);
	if (c->n)
		qsort(c->list, c->n, sizeof(*c->list), by_pid);
	return EXIT_DONE;
}

static void add_target(struct selection *s, size_t *room, struct target t)
{
	for (size_t i = 0; i < s->n; i++)
		if (!t.file && !s->list[i].file && s->list[i].pid == t.pid)
			return;
	if (s->n == *room) {
		struct target *list;

		*room = *room ? *room * 2 : 16;
		list = options_alloc(*room, sizeof(*list));
		if (s->n)
			memcpy(list, s->list, s->n * sizeof(*list));
		free(s->list);
		s->list = list;
	}
	s->list[s->n++] = t;
}

/* Children follow in the order of their ids, each before its own; what is added on the
 * way is looked at in its turn. */
static void add_descendants(struct selection *s, size_t *room, const struct census *c)
{
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < c->n && !s->list[i].file; k++)
			if (c->list[k].parent == s->list[i].pid && !c->list[k].hollow &&
			    c->list[k].pid != getpid())
				add_target(s, room,
					   (struct target){ .pid = c->list[k].pid });
}

static int add_named(struct selection *s, size_t *room, const struct census *c)
{
	bool any = false;

	for (size_t i = 0; i < c->n; i++) {
		if (c->list[i].pid == getpid() || c->list[i].hollow ||
		    fnmatch(s->name, c->list[i].name, 0) != 0)
			continue;
		any = true;
		add_target(s, room, (struct target){ .pid = c->list[i].pid });
	}
	if (any)
		return EXIT_DONE;
	complain("no process is called '%s'", s->name);
	return EXIT_FAILED;
}

int select_targets(const struct command *cmd, int argc, char **argv, struct selection *s)
{
	struct census c = { 0 };
	int status = EXIT_DONE;
	size_t room = 0;

	if (optind >= argc && !s->name)
		usage_error(cmd, "which process?");
	for (int i = optind; i < argc; i++)
		add_target(s, &room, target_operand(cmd, argv[i]));
	if (s->name || s->tree)
		status = take_census(&c);
	if (status == EXIT_DONE && s->name)
		status = add_named(s, &room, &c);
	if (status == EXIT_DONE && s->tree)
		add_descendants(s, &room, &c);
	free(c.list);
	return status;
}
