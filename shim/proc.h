#ifndef XMPP443_PROC_H
#define XMPP443_PROC_H

/*
 * proc: what the kernel tells of this process, proc(5). The files are opened
 * once, since later none can be (sandbox.h).
 */

#include <stdint.h>

struct proc {
	int fds_fd, statm_fd; /* -1: /proc is not to be had */
	double start;         /* seconds since 1970 */
};

/* What is not known is -1. */
struct proc_numbers {
	int64_t open_fds, max_fds;
	int64_t resident_bytes;
	double cpu, start; /* seconds; start: since 1970 */
};

/* Early in the process' life: that is its start. */
void proc_open(struct proc *p);

void proc_close(struct proc *p);

void proc_read(const struct proc *p, struct proc_numbers *ret);

#endif
