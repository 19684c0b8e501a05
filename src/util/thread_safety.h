/* SPDX-License-Identifier: MIT */
/*
 * clang's thread-safety analysis (-Wthread-safety, option `thread_safety` of the build).
 *
 * In C, clang cannot name a sibling field in an attribute, so what is guarded by a lock
 * names a *role* instead: a storage-free capability that stands for "a lock of this class
 * is held". The function that takes such a lock acquires the role, so an access without
 * it does not build. No thread ever holds two locks of one class, which makes the role as
 * good as the lock.
 */
#ifndef PGRAB_UTIL_THREAD_SAFETY_H
#define PGRAB_UTIL_THREAD_SAFETY_H

#if defined(__clang__)
#define TS_ATTR(x) __attribute__((x))
#else
#define TS_ATTR(x)
#endif

/* A role; declared `extern`, never defined. */
struct TS_ATTR(capability("role")) ts_role {
	char unused; /* never stored */
};

#define TS_GUARDED_BY(role) TS_ATTR(guarded_by(role))          /* of a field */
#define TS_REQUIRES(role)   TS_ATTR(requires_capability(role)) /* caller holds it */
#define TS_EXCLUDES(role)   TS_ATTR(locks_excluded(role)) /* caller must not hold it */
#define TS_ACQUIRE(role)    TS_ATTR(acquire_capability(role)) /* takes it */
#define TS_RELEASE(role)    TS_ATTR(release_capability(role)) /* gives it back */
#define TS_UNCHECKED                                                                     \
	TS_ATTR(no_thread_safety_analysis) /* the primitive itself; birth and death */

#endif
