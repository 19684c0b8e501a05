/* SPDX-License-Identifier: MIT */
/*
 * Which runs are objects, and what each of them is.
 *
 * A link map says most: its l_ld lies in the object, its l_addr is the load bias, its
 * namespace is known. The auxiliary vector knows the program (AT_PHDR), the dynamic
 * linker (AT_BASE) and the vDSO also before there is any link map. What is left and can
 * be executed is an object when it begins with an ELF header: a library between its
 * mmap and its entry in the list, or one that somebody else's loader brought in.
 * Anything else is data: locale archives, caches, an ELF file mapped to be read.
 */
#include "image/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/scope.h"

/* What the headers say, for a run that no link map describes. */
static void fill_from_head(struct image_runs *r, struct image_run *run)
{
	uint64_t bias;

	run->is_object = true;
	run->base = r->maps[run->first].offset ? 0 : run->start;
	if (!image_run_bias(r, run, &bias))
		return;
	run->base = bias;
	if (obj_dynamic(run->head))
		run->dynamic = bias + obj_dynamic(run->head);
}

static void name_links(struct image_runs *r)
{
	for (size_t i = 0; i < r->src->nlink; i++) {
		const struct rtld_object *link = &r->src->link[i];
		struct image_run *run = image_run_at(r, link->dynamic);

		/* The dynamic linker is listed in every namespace: the first counts. */
		if (!run || run->is_object)
			continue;
		run->is_object = true;
		run->link = link;
		run->base = link->base;
		run->dynamic = link->dynamic;
	}
}

/* The lowest run of the file that /proc/PID/exe names. */
static struct image_run *find_exe(const struct image_runs *r)
{
	_cleanup_free_ char *path = NULL;
	size_t len;

	if (r->src->origin)
		return NULL;
	if (procfs_readlink(r->src->tid ? r->src->tid : r->src->pid, "exe", &path))
		return NULL;
	for (size_t i = 0; i < r->nrun; i++) {
		const struct procfs_map *m = &r->maps[r->run[i].first];

		len = strlen(m->path);
		if (m->inode && !strncmp(path, m->path, len) &&
		    !strcmp(path + len, m->deleted ? " (deleted)" : ""))
			return &r->run[i];
	}
	return NULL;
}

/*
 * A dynamic linker that was started as a command (`ld.so PROGRAM`) is what the kernel
 * takes for the program: no AT_BASE, AT_PHDR its own. The head of the base list is the
 * program.
 */
static struct image_run *find_program(const struct image_runs *r)
{
	struct image_run *run = r->src->at_phdr ? image_run_at(r, r->src->at_phdr) : NULL;
	struct image_run *head = NULL;

	if (r->src->nlink && !r->src->link[0].lmid)
		head = image_run_at(r, r->src->link[0].dynamic);
	if (head && (!run || !r->src->at_base))
		return head;
	return run ? run : find_exe(r);
}

static void name_program(struct image_runs *r)
{
	struct image_run *run = find_program(r);

	if (!run)
		return;
	run->is_exec = true;
	if (!run->is_object)
		fill_from_head(r, run);
}

static void name_linker(struct image_runs *r)
{
	struct image_run *run = r->src->at_base ? image_run_at(r, r->src->at_base) : NULL;

	/* Started as a command, it is where AT_PHDR points. */
	if (!run && r->src->at_phdr)
		run = image_run_at(r, r->src->at_phdr);
	if (!run || run->is_exec)
		return;
	run->is_ldso = true;
	if (!run->is_object)
		fill_from_head(r, run);
}

static void name_rest(struct image_runs *r)
{
	for (size_t i = 0; i < r->nrun; i++) {
		struct image_run *run = &r->run[i];

		if (run->is_object)
			continue;
		if (!run->is_file) {
			fill_from_head(r, run);
			continue;
		}
		if (run->has_exec && !r->maps[run->first].offset &&
		    image_run_head(r, run))
			fill_from_head(r, run);
	}
}

void image_runs_name(struct image_runs *r)
{
	name_links(r);
	name_program(r);
	name_linker(r);
	name_rest(r);
}
