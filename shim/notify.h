#ifndef XMPP443_NOTIFY_H
#define XMPP443_NOTIFY_H

/*
 * notify: tells the service manager how we are, and takes the descriptors it
 * passes. Source: sd_notify(3), sd_listen_fds(3). Both protocols are a few
 * lines, and a library would be one more dependency of the daemon.
 */

#include <stdbool.h>
#include <stddef.h>

/*
 * Sends e.g. "READY=1" to $NOTIFY_SOCKET. 0 also without one, else a negative
 * errno of socket(2) or sendto(2).
 */
int notify_send(const char *state);

/* "RELOADING=1" with the time stamp that Type=notify-reload asks for. */
int notify_reloading(void);

/* A socket that is connected to $NOTIFY_SOCKET, for notify_send_fds(); -ENOENT without one. Negative errno. */
int notify_connect(void);

/*
 * Sends a state with copies of n descriptors, NOTIFY_FDS_MAX at most. wait: until there
 * is room; else -EAGAIN. 0 or a negative errno of sendmsg(2).
 */
#define NOTIFY_FDS_MAX 253 /* SCM_MAX_FD, unix(7) */
int notify_send_fds(int fd, const char *state, const int *fds, size_t n, bool wait);

/*
 * Waits until the service manager has dealt with everything that was sent
 * before, sd_notify_barrier(3). -ETIMEDOUT: it has not within timeout_ms.
 */
int notify_barrier(int fd, int timeout_ms);

/*
 * How many descriptors were passed, from NOTIFY_FDS_START on; 0 if none is for
 * us. Makes each of them close on exec, and unsets the variables so that no
 * child takes them. *ret_names, which the caller frees, are their names, each
 * 0-terminated, one after the other: "unknown" where none was given. NULL: no
 * descriptor, or no memory.
 */
#define NOTIFY_FDS_START 3
int notify_listen_fds(char **ret_names);

/* The name behind this one in what notify_listen_fds() gave. */
const char *notify_next_name(const char *name);

#endif
