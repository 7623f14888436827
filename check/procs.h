#ifndef XMPP443_CHECK_PROCS_H
#define XMPP443_CHECK_PROCS_H

/* procs: what /proc tells of other processes, proc(5). */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCS_GROUPS_MAX 64

struct procs_one {
	pid_t pid;
	char name[17];
	uid_t uid;                     /* effective, as the group below */
	gid_t gid;
	gid_t groups[PROCS_GROUPS_MAX];
	size_t n_groups;
	long fd_limit;                 /* soft; -1: not known */
	long fds;                      /* open now; -1: it is not ours to know */
};

/* False: there is no such process, or it is hidden. */
bool procs_read(pid_t pid, struct procs_one *ret);

/* The first process of this name in our own network namespace; false: none that can be seen. */
bool procs_find(const char *name, struct procs_one *ret);

/* May it do this (R_OK, W_OK, X_OK) to a file with this owner, group and mode? Capabilities other than root's do not count. */
bool procs_may(const struct procs_one *p, uid_t owner, gid_t group, mode_t mode, int what);

#endif
