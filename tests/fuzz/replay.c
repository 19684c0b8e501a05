/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over files: `fuzz_NAME DIRECTORY`. One test a file, in TAP; a file
 * takes no longer than a few seconds, or SIGALRM ends the program.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

enum {
	LIMIT = 20, /* seconds for one input, under a sanitizer on a busy machine */
};

/* 0, or 1 when it could not be read. */
static int replay(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *data;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		return 1;
	data = malloc((size_t)st.st_size + 1);
	n = data ? read(fd, data, (size_t)st.st_size) : -1;
	close(fd);
	if (n == st.st_size) {
		alarm(LIMIT);
		LLVMFuzzerTestOneInput(data, (size_t)n);
		alarm(0);
	}
	free(data);
	return n != st.st_size;
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *e;
	int n = 0, failed = 0, err;

	if (!dir) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	while ((e = readdir(dir))) {
		if (*e->d_name == '.')
			continue;
		printf("# %s\n", e->d_name); /* an abort follows its name */
		fflush(stdout);
		err = replay(dirfd(dir), e->d_name);
		failed += err;
		printf("%s %d - %s\n", err ? "not ok" : "ok", ++n, e->d_name);
	}
	closedir(dir);
	printf("1..%d\n", n);
	return failed || !n;
}
