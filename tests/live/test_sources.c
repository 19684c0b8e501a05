/* SPDX-License-Identifier: MIT */
/*
 * Places in the source, wherever the DWARF is; and debug files by debuginfod.
 */
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include "symbols_test.h"

/* --- places in the source --------------------------------------------------------- */

/* What Psource_iter() told. */
struct told {
	unsigned n;           /* calls */
	char function[8][32]; /* names */
	char text[8][256];    /* the lines, as the source has them */
	int inlined[8];       /* flags */
};

/* Line n of a file. */
static void read_line(const char *path, unsigned n, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");

	if (!f)
		fail_msg("no %s", path);
	while (n-- > 0)
		assert_non_null(fgets(buf, (int)size, f));
	fclose(f);
}

static int take_place(void *arg, const prsource_t *src)
{
	struct told *t = arg;

	assert_true(t->n < 8 && src->psr_file && src->psr_function && src->psr_line);
	snprintf(t->function[t->n], sizeof(t->function[0]), "%s", src->psr_function);
	read_line(src->psr_file, src->psr_line, t->text[t->n], sizeof(t->text[0]));
	t->inlined[t->n++] = src->psr_inline;
	return 0;
}

static void check_told(const struct told *t, unsigned i, const char *function,
		       const char *mark, int inlined)
{
	assert_string_equal(t->function[i], function);
	if (!strstr(t->text[i], mark))
		fail_msg("%s: %s", function, t->text[i]);
	assert_int_equal(t->inlined[i], inlined);
}

static void check_places(const char *name)
{
	struct ps_prochandle *P;
	struct told t = { 0 };
	struct victim v;
	struct names n;

	if (!strstr(pgrab_features(), "libdw"))
		harness_skip("built without libdw");
	start(&v, name);
	n = expect_names(&v);
	P = look_at(v.pid);
	for (int again = 0; again < 2; again++) {
		t.n = 0;
		assert_int_equal(Psource_iter(P, n.place, take_place, &t), 0);
		assert_int_equal(t.n, 3);
		check_told(&t, 0, "deepest", "INNER", 1);
		check_told(&t, 1, "between", "MIDDLE", 1);
		check_told(&t, 2, "around", "OUTER", 0);
	}
	t.n = 0;
	assert_int_equal(Psource_iter(P, n.its, take_place, &t), 0);
	assert_int_equal(t.n, 1);
	check_told(&t, 0, "hidden", "HIDDEN", 0);
	errno = 0;
	assert_int_equal(Psource_iter(P, 0x10, take_place, &t), -1);
	assert_int_equal(errno, ENOENT);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

static void places(void)
{
	check_places("names");
}

static void places_static(void)
{
	check_places("names-static");
}

/* Fails when DWARF is looked for in the program itself only. */
static void places_elsewhere(void)
{
	check_places("names-link");
}

static void places_zlib(void)
{
	if (!strstr(pgrab_features(), "zlib"))
		harness_skip("built without zlib");
	check_places("names-zlib");
}

/* libdw 0.188 does not know zstd: fails when it is left to it. */
static void places_zstd(void)
{
	if (!strstr(pgrab_features(), "libzstd"))
		harness_skip("built without libzstd");
	check_places("names-zstd");
}

/* --- debuginfod ------------------------------------------------------------------- */

/* A folder for a server's files and a client's cache, and the address of a socket that
 * listens. */
struct server {
	char dir[32]; /* made, and the cache in it */
	int fd;       /* listens */
	int port;     /* there */
	pid_t pid;    /* who serves; 0: nobody */
};

static void listen_here(struct server *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);

	strcpy(s->dir, "/tmp/pgrab-served-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, sizeof(at)) ||
	    listen(s->fd, 8) || getsockname(s->fd, (struct sockaddr *)&at, &len))
		harness_skip("no socket on the loopback");
	s->port = ntohs(at.sin_port);
	s->pid = 0;
}

static void ask_server(const struct server *s)
{
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d", s->port);
	setenv("DEBUGINFOD_URLS", url, 1);
	setenv("DEBUGINFOD_CACHE_PATH", s->dir, 1);
	setenv("no_proxy", "*", 1);
}

/* Answers every request with the file. */
static void serve(int fd, const char *path)
{
	char request[4096], head[128];
	struct stat st;

	for (;;) {
		int to = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		int from = open(path, O_RDONLY | O_CLOEXEC);

		if (to < 0 || from < 0 || fstat(from, &st) ||
		    read(to, request, sizeof(request)) <= 0)
			_exit(1);
		snprintf(head, sizeof(head),
			 "HTTP/1.0 200 OK\r\nContent-Length: %ld\r\n\r\n",
			 (long)st.st_size);
		if (write(to, head, strlen(head)) < 0)
			_exit(1);
		while (sendfile(to, from, NULL, 1 << 20) > 0)
			;
		close(to);
		close(from);
	}
}

static void end_server(struct server *s)
{
	char command[64];

	if (s->pid) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	close(s->fd);
	snprintf(command, sizeof(command), "rm -r %s", s->dir);
	assert_int_equal(system(command), 0);
}

/* A program without symbols, and nothing beside it: its copy. */
static void start_alone(struct victim *v, const struct server *s, struct names *n)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/alone", s->dir);
	copy_file(victim_path("names-link"), path);
	start_from(v, s->dir, "alone");
	*n = expect_names(v);
}

static int fetch(struct ps_prochandle *P, unsigned msec)
{
	int got = Pdebuginfod(P, msec);

	if (got < 0 && errno == ENOTSUP)
		harness_skip("no libdebuginfod");
	return got;
}

/* Fails when anything but the request itself asks, or what comes is not used. */
static void debuginfod(void)
{
	struct ps_prochandle *P;
	char debug[PATH_MAX];
	struct server s;
	struct victim v;
	struct names n;
	GElf_Sym sym;

	if (!victim_exists("names-link"))
		harness_skip("no objcopy");
	listen_here(&s);
	snprintf(debug, sizeof(debug), "%s.debug", victim_path("names-link"));
	ask_server(&s);
	s.pid = fork();
	if (!s.pid)
		serve(s.fd, debug);
	start_alone(&v, &s, &n);
	P = look_at(v.pid);
	Pupdate_syms(P);
	assert_int_equal(Plookup_by_name(P, "a.out", "hidden", &sym), -1);
	/* Every library is answered with that file, and has another build-id. */
	assert_int_equal(fetch(P, (unsigned)harness_ms(20000)), 1);
	check_hidden(P, &n);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
	end_server(&s);
}

/* Fails when a server that never answers holds anybody up. */
static void debuginfod_that_sleeps(void)
{
	struct ps_prochandle *P;
	int64_t begin;
	struct server s;
	struct victim v;
	struct names n;

	if (!victim_exists("names-link"))
		harness_skip("no objcopy");
	listen_here(&s);
	ask_server(&s);
	start_alone(&v, &s, &n);
	P = look_at(v.pid);
	begin = harness_now_ms();
	assert_int_equal(fetch(P, 300), 0);
	assert_int_below(harness_now_ms() - begin, harness_ms(5000));
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
	end_server(&s);
}

/* Never while the victim stands still for us. */
static void debuginfod_while_stopped(void)
{
	struct ps_prochandle *P;
	struct victim v;
	int err;

	victim_start(&v, "names", NULL);
	expect_names(&v);
	P = Pgrab(v.pid, 0, &err);
	assert_non_null(P);
	assert_int_equal(Pdebuginfod(P, 1000), -1);
	assert_int_equal(errno, EBUSY);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

static const struct harness_test tests[] = {
	TEST(places),
	TEST(places_static),
	TEST(places_elsewhere),
	TEST(places_zlib),
	TEST(places_zstd),
	TEST(debuginfod),
	TEST(debuginfod_that_sleeps),
	TEST(debuginfod_while_stopped),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
