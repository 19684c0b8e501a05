/* SPDX-License-Identifier: MIT */
/*
 * The benchmark's parts. A measure does one batch of one operation and says what one
 * cost; bench.c runs the measures of a group in turn, round by round, so that a noisy
 * machine is noisy for all of them, and prints medians and their ratios.
 */
#ifndef PGRAB_BENCH_BENCH_H
#define PGRAB_BENCH_BENCH_H

#include <stdint.h>
#include <sys/types.h>

/* One batch: microseconds an operation; negative when it cannot be measured here. */
typedef double measure_f(void);

/* CLOCK_MONOTONIC in microseconds. */
double bench_now(void);

/* Path of this program, which is its own victim. */
extern const char *bench_self;

/* A child that waits in pause(2) for ever, made at the first call; and the end of it. */
pid_t bench_sleeper(void);
/* Another that waits 50 calls deep. */
pid_t bench_deep(void);
void bench_sleeper_end(void); /* of both */

/*
 * The victim of the breakpoint measures: `bench --hit N FILE` calls bench_hit() N times
 * and writes microseconds a call to FILE; `--leaf` calls bench_leaf(). bench_hit() begins
 * as most functions do, with a push, which a keeper can do in the victim's stead;
 * bench_leaf() with an instruction that must be executed in its place.
 */
void bench_hit(void);
void bench_leaf(void);
/* Arguments for it; valid until the next call. mode: "--hit", "--leaf", "--trap" (a trap
 * of its own); "--hit8", "--trap8": 8 threads share the calls. */
char **bench_hit_argv(const char *mode, unsigned n);
/* Address in the process pid, which runs this program, of one of its functions; 0. */
uint64_t bench_addr_in(pid_t pid, void (*fn)(void));
/* What the last victim measured; removes the file. */
double bench_hit_result(void);

/* bare.c: the system calls themselves. */
measure_f bare_grab, bare_stop_continue, bare_spawn, bare_exec_stop, bare_step_over;
measure_f bare_trap, bare_trap8;
/* hold.c: this project's client of the keeper, without the layers above it. */
measure_f hold_grab_release, hold_round_trip, hold_create_kill, hold_hit, hold_leaf;
measure_f hold_count, hold_count_leaf, hold_record, hold_record_leaf;
/* client.c: the public interface. */
measure_f client_session, client_grab, client_session_grab;
measure_f client_create_exec, client_create_preinit, client_create_main;
measure_f client_lookup_cold, client_lookup_warm, client_hit, client_hit8;
/* lookups.c: symbols of addresses in libc; `bench --cold WHO PID ADDR`: bench_cold(). */
measure_f lookup_cold, lookup_warm, dwfl_lookup_cold;
int bench_cold(char **argv);
uint64_t bench_libc_addr(void); /* of qsort, here and in bench_sleeper() */
/* unwind.c: stacks. */
measure_f unwind_warm, unwind_deep, unwind_captured;
/* dwfl.c: the same by libdwfl; the first is microseconds, negative when it fails. */
double dwfl_lookup_once(pid_t pid, uint64_t addr);
measure_f dwfl_lookup_warm, dwfl_unwind_warm;
/* peer.c: gdb. */
measure_f gdb_hit, gdb_hit8;

#endif
