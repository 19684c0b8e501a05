/* SPDX-License-Identifier: MIT */
/*
 * perf_event_open(2) for hardware breakpoints. Made disabled, then given its owner and
 * its signal, then enabled: so no hit goes unsignalled.
 *
 * sample_period 1 makes each hit an overflow; without a ring buffer the overflow does
 * nothing but signal (perf_event_wakeup(), 6.18). inherit is off: neither a thread nor a
 * process born later is watched. PERF_FLAG_FD_CLOEXEC stands for a host that execs.
 */
#include "os/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t kernel_access(uint32_t access)
{
	uint32_t type = 0;

	if (access & PERF_EXEC)
		type |= HW_BREAKPOINT_X;
	if (access & PERF_WRITE)
		type |= HW_BREAKPOINT_W;
	if (access & PERF_READ)
		type |= HW_BREAKPOINT_R;
	return type;
}

static int open_disabled(pid_t tid, const struct perf_watch *w)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = kernel_access(w->access),
		.bp_addr = w->addr,
		/* perf_event_open(2): "for instruction execution breakpoints, set this
		 * to sizeof(long)" */
		.bp_len = w->access & PERF_EXEC ? sizeof(long) : w->len,
		.sample_period = 1,
		.wakeup_events = 1,
		.disabled = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	long fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

static int send_signals(int fd, pid_t tid, int sig)
{
	struct f_owner_ex owner = { .type = F_OWNER_TID, .pid = tid };

	if (fcntl(fd, F_SETSIG, sig) || fcntl(fd, F_SETOWN_EX, &owner) ||
	    fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) ||
	    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0))
		return -errno;
	return 0;
}

int perf_watch_open(pid_t tid, const struct perf_watch *w, int sig)
{
	int fd = open_disabled(tid, w), rc;

	if (fd < 0)
		return fd;
	rc = send_signals(fd, tid, sig);
	if (rc)
		close(fd);
	return rc ? rc : fd;
}

int perf_watch_signal(int fd, int sig)
{
	return fcntl(fd, F_SETSIG, sig) ? -errno : 0;
}

int perf_watch_count(int fd, uint64_t *ret)
{
	uint64_t n;
	ssize_t got = read(fd, &n, sizeof(n));

	if (got != sizeof(n))
		return got < 0 ? -errno : -EIO;
	*ret = n;
	return 0;
}
