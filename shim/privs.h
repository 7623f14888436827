#ifndef XMPP443_PRIVS_H
#define XMPP443_PRIVS_H

/*
 * privs: a daemon that was started as root, to bind its port, becomes an
 * ordinary user, for good. Source: capabilities(7), credentials(7).
 */

#include <stdbool.h>
#include <sys/types.h>

/* Whom to become. */
struct privs {
	uid_t uid;
	gid_t gid;
	gid_t extra; /* the one supplementary group, if has_extra */
	bool has_extra;
};

/*
 * Looks up a user by name or number. -ENOENT: there is none; -EPERM: it is
 * root; or a negative errno of getpwnam_r(3).
 */
int privs_find_user(const char *name, struct privs *p);

/* Adds a group, by name or number. -ENOENT: there is none; or a negative errno of getgrnam_r(3). */
int privs_find_group(const char *name, struct privs *p);

/*
 * Becomes that user. Afterwards the process has no other group, no capability
 * in any set, and cannot get any, also not by executing a file. Before any
 * thread starts. A negative errno: the process must end, as it may have become
 * anything in between.
 */
int privs_drop(const struct privs *p);

#endif
