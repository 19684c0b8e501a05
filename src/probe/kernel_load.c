/* SPDX-License-Identifier: MIT */
/*
 * The BPF programs, from the object that is part of this library into the kernel, by
 * libbpf; and why the kernel would not have them.
 *
 * libbpf has one printer for the whole process, which may be our host's: it is changed
 * while we load, under a lock, and put back.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "os/uprobe.h"
#include "probe/kernel.h"
#include "util/log.h"

static const unsigned char object[] __attribute__((aligned(8))) = {
#include "probe.bpf.inc"
};

static pthread_mutex_t printer_lock = PTHREAD_MUTEX_INITIALIZER;

int kernel_say(const struct kernel_said *said, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said->err, said->size, fmt, ap);
	va_end(ap);
	return rc;
}

/* --- why not ------------------------------------------------------------------------ */

static bool has_capabilities(void)
{
	enum {
		SYS_ADMIN = 21,
		PERFMON = 38,
		BPF = 39
	};
	struct procfs_status st;
	uint64_t need = 1ull << PERFMON | 1ull << BPF;

	if (procfs_status(getpid(), 0, &st))
		return false;
	return (st.cap_eff & need) == need || (st.cap_eff & 1ull << SYS_ADMIN);
}

/* Before Linux 6.10 the filter by process was one by thread. */
static bool is_too_old(struct utsname *u)
{
	int major = 0, minor = 0;

	if (uname(u) || sscanf(u->release, "%d.%d", &major, &minor) != 2)
		return false;
	return major < 6 || (major == 6 && minor < 10);
}

static int refuse(int rc, const struct kernel_said *said)
{
	if (rc == -ENOMEM)
		return kernel_say(said, rc, "no memory for the kernel's tables");
	if (rc != -EPERM)
		return kernel_say(said, -EOPNOTSUPP,
				  "the kernel does not take our BPF programs: %s",
				  strerror(-rc));
	if (!has_capabilities())
		return kernel_say(said, rc,
				  "uprobes need CAP_BPF and CAP_PERFMON, or root");
	return kernel_say(
		said, rc,
		"bpf(2) is refused in spite of our capabilities: by a seccomp "
		"filter, a lockdown, or a user namespace that is not the first");
}

/* --- loading ------------------------------------------------------------------------ */

static int print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[512];

	if (level == LIBBPF_DEBUG || !log_on(LOG_OS, 1))
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_line(LOG_OS, 0, 0, "%s", line);
	return 0;
}

static const char *program_name(enum probe_want want)
{
	static const char *const names[] = { [PROBE_WANT_COUNT] = "count_hit",
					     [PROBE_WANT_EVENTS] = "tell_hit",
					     [PROBE_WANT_STACKS] = "tell_stack" };

	return names[want];
}

static int map_fd(struct bpf_object *obj, const char *name)
{
	return bpf_object__find_map_fd_by_name(obj, name);
}

static int share(struct bpf_object *obj, const char *name, int fd)
{
	return fd < 0 ? 0
		      : bpf_map__reuse_fd(bpf_object__find_map_by_name(obj, name), fd);
}

/* Says what is to be made, and what is there already. */
static int prepare(struct bpf_object *obj, const struct kernel_wanted *w,
		   const struct kernel_tables *t)
{
	struct bpf_program *p;
	int err;

	bpf_object__for_each_program(p, obj)
	{
		bpf_program__set_autoload(
			p, !strcmp(bpf_program__name(p), program_name(w->want)));
		bpf_program__set_expected_attach_type(
			p, (enum bpf_attach_type)UPROBE_ATTACH_TYPE);
	}
	err = bpf_map__set_initial_value(bpf_object__find_map_by_name(obj, ".rodata"),
					 &w->setup, sizeof(w->setup));
	if (!err)
		err = bpf_map__set_max_entries(
			bpf_object__find_map_by_name(obj, "counts"), w->ids);
	if (!err)
		err = bpf_map__set_max_entries(bpf_object__find_map_by_name(obj, "ring"),
					       w->ring);
	if (!err)
		err = share(obj, "ring", t->ring);
	if (!err)
		err = share(obj, "lost", t->lost);
	if (!err)
		err = share(obj, "jumps", t->jumps);
	return err ? err : share(obj, ".bss", t->bss);
}

static int load(const struct kernel_wanted *w, const struct kernel_tables *t,
		struct bpf_object **ret)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "pgrab");
	struct bpf_object *obj = bpf_object__open_mem(object, sizeof(object), &opts);
	int err = obj ? prepare(obj, w, t) : -errno;

	if (!err)
		err = bpf_object__load(obj);
	if (err) {
		bpf_object__close(obj);
		return err;
	}
	*ret = obj;
	return 0;
}

static int load_quietly(const struct kernel_wanted *w, const struct kernel_tables *t,
			struct bpf_object **ret)
{
	libbpf_print_fn_t old;
	int err;

	pthread_mutex_lock(&printer_lock);
	old = libbpf_set_print(print);
	err = load(w, t, ret);
	libbpf_set_print(old);
	pthread_mutex_unlock(&printer_lock);
	return err;
}

int kernel_load(const struct kernel_wanted *w, struct kernel_tables *tables,
		struct kernel_program *ret, const struct kernel_said *said)
{
	struct utsname u;
	struct bpf_object *obj;
	int err;

	if (is_too_old(&u))
		return kernel_say(said, -EOPNOTSUPP,
				  "Linux %s has no uprobes for one process: 6.10 has",
				  u.release);
	err = load_quietly(w, tables, &obj);
	if (err)
		return refuse(err, said);
	*ret = (struct kernel_program){
		.obj = obj,
		.prog = bpf_program__fd(
			bpf_object__find_program_by_name(obj, program_name(w->want))),
		.counts = map_fd(obj, "counts"),
		.ids = w->ids,
	};
	if (tables->ring < 0)
		*tables = (struct kernel_tables){ .ring = map_fd(obj, "ring"),
						  .lost = map_fd(obj, "lost"),
						  .jumps = map_fd(obj, "jumps"),
						  .bss = map_fd(obj, ".bss") };
	return 0;
}

void kernel_unload(struct kernel_program *p)
{
	bpf_object__close(p->obj);
}
