/* SPDX-License-Identifier: MIT */
/*
 * The pure parts of a session: table and LRU list, options, the queue of news. Records
 * here have no process behind them, sources are pipes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "dtrace/dt_impl.h"

/* --- table -------------------------------------------------------------------------- */

enum {
	NRECS = 12
};

struct fixture {
	struct dt_table t;    /* under test */
	dt_proc_t rec[NRECS]; /* handles are &rec[i], pids 100 + i */
};

static dt_proc_t *add(struct fixture *f, int i, pid_t pid, bool cacheable)
{
	dt_proc_t *dpr = &f->rec[i];

	memset(dpr, 0, sizeof(*dpr));
	dpr->P = (struct ps_prochandle *)dpr;
	dpr->pid = pid;
	dpr->refs = 1;
	dt_table_insert(&f->t, dpr);
	dt_table_make_current(&f->t, dpr);
	if (cacheable)
		dt_table_make_cacheable(&f->t, dpr);
	return dpr;
}

static struct fixture *begin(unsigned buckets, unsigned limit)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(dt_table_init(&f->t, buckets, limit), 0);
	return f;
}

static void finish(struct fixture *f)
{
	dt_table_fini(&f->t);
	free(f);
}

static void buckets_are_a_power_of_two(void **state)
{
	static const unsigned given[] = { 0, 1, 2, 3, 64, 65, 100 };
	static const unsigned got[] = { 64, 1, 2, 4, 64, 128, 128 };

	for (size_t i = 0; i < sizeof(given) / sizeof(*given); i++) {
		struct fixture *f = begin(given[i], 8);

		assert_int_equal(f->t.mask + 1, got[i]);
		finish(f);
	}
}

static void identity_is_the_handle(void **state)
{
	struct fixture *f = begin(4, 8);
	dt_proc_t *old = add(f, 0, 100, true), *new;

	dt_table_make_stale(&f->t, old);
	new = add(f, 1, 100, false);
	assert_ptr_equal(dt_table_find(&f->t, old->P), old);
	assert_ptr_equal(dt_table_find(&f->t, new->P), new);
	assert_ptr_equal(dt_table_find_pid(&f->t, 100), new);
	assert_false(old->cacheable);
	assert_true(dt_table_unref(&f->t, old));
	dt_table_remove(&f->t, old);
	assert_null(dt_table_find(&f->t, old->P));
	assert_ptr_equal(dt_table_find_pid(&f->t, 100), new);
	finish(f);
}

static void one_bucket_holds_many(void **state)
{
	struct fixture *f = begin(1, 8);

	for (int i = 0; i < NRECS; i++)
		add(f, i, 100 + i, i & 1);
	for (int i = 0; i < NRECS; i += 2)
		dt_table_remove(&f->t, &f->rec[i]);
	for (int i = 0; i < NRECS; i++) {
		dt_proc_t *want = i & 1 ? &f->rec[i] : NULL;

		assert_ptr_equal(dt_table_find(&f->t, f->rec[i].P), want);
		assert_ptr_equal(dt_table_find_pid(&f->t, 100 + i), want);
	}
	assert_int_equal(f->t.n, NRECS / 2);
	finish(f);
}

static void a_cached_record_is_kept_up_to_the_limit(void **state)
{
	struct fixture *f = begin(64, 2);

	for (int i = 0; i < 3; i++)
		add(f, i, 100 + i, true);
	assert_false(dt_table_unref(&f->t, &f->rec[0]));
	assert_false(dt_table_unref(&f->t, &f->rec[1]));
	assert_int_equal(f->t.idle, 2);
	assert_true(dt_table_unref(&f->t, &f->rec[2]));
	dt_table_remove(&f->t, &f->rec[2]);
	assert_int_equal(f->t.idle, 2);
	finish(f);
}

static void an_uncacheable_record_ends_with_its_last_reference(void **state)
{
	struct fixture *f = begin(64, 8);
	dt_proc_t *dpr = add(f, 0, 100, false);

	dt_table_ref(&f->t, dpr);
	assert_false(dt_table_unref(&f->t, dpr));
	assert_true(dt_table_unref(&f->t, dpr));
	assert_false(dt_table_unref(&f->t, dpr)); /* one too many: nothing */
	finish(f);
}

static void eviction_takes_the_oldest_and_never_a_referenced_one(void **state)
{
	struct fixture *f = begin(64, 8);

	for (int i = 0; i < 4; i++)
		add(f, i, 100 + i, true);
	for (int i = 1; i < 4; i++)
		dt_table_unref(&f->t, &f->rec[i]);
	assert_ptr_equal(dt_table_victim(&f->t, 0),
			 &f->rec[1]); /* 0 is older, and in use */
	dt_table_ref(&f->t, &f->rec[1]);
	dt_table_unref(&f->t, &f->rec[1]);
	assert_ptr_equal(dt_table_victim(&f->t, 0), &f->rec[2]);
	assert_null(dt_table_victim(&f->t, 3));
	assert_ptr_equal(dt_table_victim(&f->t, 2), &f->rec[2]);
	finish(f);
}

static void stale_leaves_the_cache(void **state)
{
	struct fixture *f = begin(64, 8);
	dt_proc_t *dpr = add(f, 0, 100, true);

	dt_table_unref(&f->t, dpr);
	assert_int_equal(f->t.idle, 1);
	dt_table_make_stale(&f->t, dpr);
	dt_table_make_stale(&f->t, dpr);
	assert_int_equal(f->t.idle, 0);
	assert_null(dt_table_victim(&f->t, 0));
	assert_null(f->t.lru_head);
	assert_null(f->t.lru_tail);
	finish(f);
}

/* --- options ------------------------------------------------------------------------ */

static void rates(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = { { "1sec", 1000000000 }, { "100ms", 100000000 },
		     { "10hz", 100000000 },  { "20", 50000000 },
		     { "7ns", 7 },           { "3us", 3000 },
		     { "2m", 120000000000 }, { "1HOUR", 3600000000000 } };
	static const char *const bad[] = { "",
					   "0",
					   "0ms",
					   "-1s",
					   "x",
					   "1 s",
					   "1fortnight",
					   "1s ",
					   "99999999999999999999s",
					   "9223372036854775807d",
					   "0x10ms",
					   "2000000000hz" };
	uint64_t ns = 42;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(dt_parse_rate(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	ns = 42;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(dt_parse_rate(bad[i], &ns), -EINVAL);
	assert_int_equal(ns, 42);
}

static void counts_and_points(void **state)
{
	unsigned v = 42;

	assert_int_equal(dt_parse_count("17", 100, &v), 0);
	assert_int_equal(v, 17);
	assert_int_equal(dt_parse_count("101", 100, &v), -EINVAL);
	assert_int_equal(dt_parse_count("17x", 100, &v), -EINVAL);
	assert_int_equal(dt_parse_count("", 100, &v), -EINVAL);
	assert_int_equal(v, 17);
	assert_int_equal(dt_parse_evaltime("exec", &v), 0);
	assert_int_equal(v, DT_PROC_STOP_CREATE);
	assert_int_equal(dt_parse_evaltime("main", &v), 0);
	assert_int_equal(v, DT_PROC_STOP_MAIN);
	assert_int_equal(dt_parse_evaltime("Main", &v), -EINVAL);
}

static void a_session_keeps_its_options(void **state)
{
	dtrace_hdl_t *dtp = dtrace_open(DTRACE_VERSION, 0, NULL);
	char buf[32];

	assert_non_null(dtp);
	assert_int_equal(dtrace_getopt(dtp, "evaltime", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "preinit");
	assert_int_equal(dtrace_getopt(dtp, "pgmax", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "8");
	assert_int_equal(dtrace_getopt(dtp, "statusrate", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "1sec");
	assert_int_equal(dtrace_setopt(dtp, "evaltime", "postinit"), 0);
	assert_int_equal(dtrace_setopt(dtp, "aggrate", "10hz"), 0);
	assert_int_equal(dtrace_getopt(dtp, "evaltime", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "postinit");
	assert_int_equal(dtrace_getopt(dtp, "aggrate", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "10hz");
	assert_int_equal(dtrace_setopt(dtp, "evaltime", "later"), -1);
	assert_int_equal(dtrace_errno(dtp), EDT_BADOPTVAL);
	assert_string_equal(dtrace_errmsg(dtp, dtrace_errno(dtp)),
			    "Invalid value for specified option");
	assert_int_equal(dtrace_setopt(dtp, "target", "1"), -1);
	assert_int_equal(dtrace_errno(dtp), EDT_BADOPTNAME);
	assert_int_equal(dtrace_getopt(dtp, "target", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "0");
	dtrace_close(dtp);
}

static void a_wrong_version_is_refused(void **state)
{
	int err = 0;

	assert_null(dtrace_open(DTRACE_VERSION - 1, 0, &err));
	assert_int_equal(err, EDT_VERSION);
	assert_null(dtrace_open(DTRACE_VERSION + 1, 0, NULL));
	dtrace_close(NULL);
}

/* --- queue -------------------------------------------------------------------------- */

/* A source with a pipe: writing to it makes an event unread. */
struct victim {
	struct dt_source src; /* under test */
	int unread;           /* written to: the keeper has sent something */
	int fd;               /* read end */
};

static void victim_begin(struct dt_queue *q, struct victim *v, uint64_t floor)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	v->fd = fds[0];
	v->unread = fds[1];
	dt_source_init(&v->src, (struct ps_prochandle *)v, v->fd, floor);
	dt_source_add(q, &v->src);
	dt_source_publish(q, &v->src);
}

static void victim_end(struct dt_queue *q, struct victim *v)
{
	dt_source_remove(q, &v->src);
	close(v->fd);
	close(v->unread);
}

static void happen(struct dt_queue *q, struct victim *v, dtrace_procev_kind_t kind,
		   uint64_t time)
{
	dtrace_procev_t ev = { .kind = kind };

	dt_source_begin(q, &v->src);
	dt_source_taken(q, &v->src, time);
	dt_queue_put_event(q, &v->src, &ev, time);
	dt_source_done(q, &v->src);
}

static bool readable(int fd, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1;
}

/* The next item is of v at that time. */
static void expect(struct dt_queue *q, struct victim *v, uint64_t time)
{
	struct dt_item it;

	assert_true(readable(q->fd, 1000));
	assert_true(dt_queue_next(q, &it));
	assert_ptr_equal(it.P, v);
	assert_int_equal(it.time, time);
	free(it.text);
}

static void expect_none(struct dt_queue *q)
{
	struct dt_item it;

	assert_false(dt_queue_next(q, &it));
}

static void news_comes_in_order_of_time(void **state)
{
	struct dt_queue q;
	struct victim a, b;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &a, 1);
	victim_begin(&q, &b, 1);
	assert_false(readable(q.fd, 0));
	happen(&q, &a, DT_PROC_EV_SIGNAL, 30);
	happen(&q, &b, DT_PROC_EV_SIGNAL, 20);
	happen(&q, &b, DT_PROC_EV_EXIT, 40);
	dt_queue_put_note(&q, &b.src, NULL, 40);
	dt_queue_put_note(&q, &a.src, "text", 35);
	expect(&q, &b, 20);
	expect(&q, &a, 30);
	expect(&q, &a, 35);
	expect(&q, &b, 40);
	expect(&q, &b, 40);
	expect_none(&q);
	assert_false(readable(q.fd, 0));
	victim_end(&q, &a);
	victim_end(&q, &b);
	dt_queue_fini(&q);
}

static void an_unread_event_of_another_holds_the_head(void **state)
{
	struct dt_queue q;
	struct victim a, b;
	char c = 0;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &a, 1);
	victim_begin(&q, &b, 1);
	assert_int_equal(write(b.unread, &c, 1), 1);
	happen(&q, &a, DT_PROC_EV_SIGNAL, 30);
	expect_none(&q);
	assert_false(readable(q.fd, 0)); /* no spinning */
	dt_source_begin(&q, &b.src);
	assert_int_equal(read(b.fd, &c, 1), 1);
	expect_none(&q); /* taken, its time not known yet */
	dt_source_taken(&q, &b.src, 25);
	expect_none(&q); /* may still put something at 25 */
	dt_queue_put_event(&q, &b.src, &(dtrace_procev_t){ .kind = DT_PROC_EV_SIGNAL },
			   25);
	dt_source_done(&q, &b.src);
	expect(&q, &b, 25);
	expect(&q, &a, 30);
	victim_end(&q, &a);
	victim_end(&q, &b);
	dt_queue_fini(&q);
}

static void a_later_event_of_another_holds_nothing(void **state)
{
	struct dt_queue q;
	struct victim a, b;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &a, 1);
	victim_begin(&q, &b, 1);
	happen(&q, &a, DT_PROC_EV_SIGNAL, 30);
	dt_source_begin(&q, &b.src);
	dt_source_taken(&q, &b.src, 31);
	expect(&q, &a, 30);
	victim_end(&q, &a);
	victim_end(&q, &b);
	dt_queue_fini(&q);
}

static void one_silent_victim_delays_the_others_only_so_long(void **state)
{
	struct dt_queue q;
	struct victim a, b;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &a, 1);
	victim_begin(&q, &b, 1);
	dt_source_begin(&q, &b.src);
	happen(&q, &a, DT_PROC_EV_SIGNAL, 30);
	expect_none(&q);
	expect(&q, &a, 30); /* when the descriptor says so: expect() polls */
	dt_source_taken(&q, &b.src, 20);
	dt_queue_put_event(&q, &b.src, &(dtrace_procev_t){ .kind = DT_PROC_EV_SIGNAL },
			   20);
	dt_source_done(&q, &b.src);
	expect(&q, &b, 30); /* late: never back in time */
	victim_end(&q, &a);
	victim_end(&q, &b);
	dt_queue_fini(&q);
}

static void a_fresh_source_keeps_its_news_to_itself(void **state)
{
	struct dt_queue q;
	struct victim a = { .fd = -1 }, b;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &b, 1);
	dt_source_init(&a.src, (struct ps_prochandle *)&a, -1, 10);
	dt_source_add(&q, &a.src);
	happen(&q, &a, DT_PROC_EV_CREATE, 10);
	happen(&q, &a, DT_PROC_EV_DLOPEN, 11);
	happen(&q, &b, DT_PROC_EV_SIGNAL, 12);
	expect(&q, &b, 12);
	expect_none(&q);
	dt_source_publish(&q, &a.src);
	expect(&q, &a, 12); /* raised: 12 was told */
	expect(&q, &a, 12);
	dt_source_remove(&q, &a.src);
	victim_end(&q, &b);
	dt_queue_fini(&q);
}

static void a_removed_source_takes_its_news_along(void **state)
{
	struct dt_queue q;
	struct victim a, b;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &a, 1);
	victim_begin(&q, &b, 1);
	happen(&q, &a, DT_PROC_EV_EXIT, 10);
	dt_queue_put_note(&q, &a.src, NULL, 10);
	happen(&q, &b, DT_PROC_EV_SIGNAL, 11);
	happen(&q, &a, DT_PROC_EV_SIGNAL, 12);
	victim_end(&q, &a);
	expect(&q, &b, 11);
	expect_none(&q);
	victim_end(&q, &b);
	dt_queue_fini(&q);
}

static void what_is_too_much_is_counted_but_a_death_is_told(void **state)
{
	struct dt_queue q;
	struct victim a;
	struct dt_item it;
	unsigned n = 0;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &a, 1);
	for (unsigned i = 0; i < DT_QUEUE_MAX + 5; i++)
		happen(&q, &a, DT_PROC_EV_SIGNAL, 10 + i);
	dt_source_missed(&q, &a.src, 2);
	happen(&q, &a, DT_PROC_EV_EXIT, DT_QUEUE_MAX + 100);
	dt_queue_put_note(&q, &a.src, NULL, DT_QUEUE_MAX + 100);
	while (dt_queue_next(&q, &it) && it.ev.kind == DT_PROC_EV_SIGNAL)
		n++;
	assert_int_equal(n, DT_QUEUE_MAX);
	assert_int_equal(it.kind, DT_ITEM_EVENT);
	assert_int_equal(it.ev.kind, DT_PROC_EV_EXIT);
	assert_int_equal(it.ev.missed, 7);
	assert_true(dt_queue_next(&q, &it));
	assert_int_equal(it.kind, DT_ITEM_NOTE);
	assert_null(it.text);
	expect_none(&q);
	victim_end(&q, &a);
	dt_queue_fini(&q);
}

static void an_ended_source_is_not_waited_for(void **state)
{
	struct dt_queue q;
	struct victim a, b;
	char c = 0;

	assert_int_equal(dt_queue_init(&q), 0);
	victim_begin(&q, &a, 1);
	victim_begin(&q, &b, 1);
	assert_int_equal(write(b.unread, &c, 1), 1);
	dt_source_end(&q, &b.src);
	happen(&q, &a, DT_PROC_EV_SIGNAL, 30);
	expect(&q, &a, 30);
	victim_end(&q, &a);
	victim_end(&q, &b);
	dt_queue_fini(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_are_a_power_of_two),
		cmocka_unit_test(identity_is_the_handle),
		cmocka_unit_test(one_bucket_holds_many),
		cmocka_unit_test(a_cached_record_is_kept_up_to_the_limit),
		cmocka_unit_test(an_uncacheable_record_ends_with_its_last_reference),
		cmocka_unit_test(eviction_takes_the_oldest_and_never_a_referenced_one),
		cmocka_unit_test(stale_leaves_the_cache),
		cmocka_unit_test(rates),
		cmocka_unit_test(counts_and_points),
		cmocka_unit_test(a_session_keeps_its_options),
		cmocka_unit_test(a_wrong_version_is_refused),
		cmocka_unit_test(news_comes_in_order_of_time),
		cmocka_unit_test(an_unread_event_of_another_holds_the_head),
		cmocka_unit_test(a_later_event_of_another_holds_nothing),
		cmocka_unit_test(one_silent_victim_delays_the_others_only_so_long),
		cmocka_unit_test(a_fresh_source_keeps_its_news_to_itself),
		cmocka_unit_test(a_removed_source_takes_its_news_along),
		cmocka_unit_test(what_is_too_much_is_counted_but_a_death_is_told),
		cmocka_unit_test(an_ended_source_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
