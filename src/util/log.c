/* SPDX-License-Identifier: MIT */
/*
 * The debug log (see log.h). The switch is read from the environment once, by whichever
 * thread logs first; afterwards a disabled log costs one load and one compare.
 */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const layer_name[LOG_NLAYERS] = {
	[LOG_OS] = "os",     [LOG_HOLD] = "hold", [LOG_TRACE] = "trace",
	[LOG_KEEP] = "keep", [LOG_OBJ] = "obj",   [LOG_IMAGE] = "image",
	[LOG_RTLD] = "rtld", [LOG_PROC] = "proc", [LOG_CTL] = "ctl",
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int level_of[LOG_NLAYERS]; /* written once under `once`, then only read */
static int log_fd = STDERR_FILENO;

static void set_level(const char *word, size_t len, int level)
{
	for (int i = 0; i < LOG_NLAYERS; i++) {
		bool all = len == 3 && !memcmp(word, "all", 3);

		if (all ||
		    (strlen(layer_name[i]) == len && !memcmp(word, layer_name[i], len)))
			level_of[i] = level;
	}
}

static void read_switch(void)
{
	const char *s = secure_getenv("PGRAB_DEBUG");
	const char *file = secure_getenv("PGRAB_DEBUG_FILE");

	if (!s)
		return;
	if (file) {
		int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

		if (fd >= 0)
			log_fd = fd;
	}
	while (*s) {
		size_t len = strcspn(s, ",:");
		int level = 1;
		const char *word = s;

		s += len;
		if (*s == ':')
			level = (int)strtol(s + 1, (char **)&s, 10);
		s += strcspn(s, ",");
		if (*s)
			s++;
		set_level(word, len, level);
	}
}

bool log_on(enum log_layer layer, int level)
{
	pthread_once(&once, read_switch);
	return level_of[layer] >= level;
}

void log_line(enum log_layer layer, pid_t pid, pid_t tid, const char *fmt, ...)
{
	char buf[512];
	struct timespec now;
	int saved = errno;
	size_t used;
	va_list ap;

	clock_gettime(CLOCK_MONOTONIC, &now);
	used = (size_t)snprintf(buf, sizeof(buf), "%d/%d %lld.%06ld %s: ", pid, tid,
				(long long)now.tv_sec, now.tv_nsec / 1000,
				layer_name[layer]);
	va_start(ap, fmt);
	vsnprintf(buf + used, sizeof(buf) - used - 1, fmt, ap);
	va_end(ap);
	used = strlen(buf);
	buf[used++] = '\n';
	if (write(log_fd, buf, used) < 0)
		used = 0; /* nowhere to say it */
	errno = saved;
}
