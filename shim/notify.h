#ifndef XMPP443_NOTIFY_H
#define XMPP443_NOTIFY_H

/*
 * notify: tells the service manager how we are, and takes the sockets it
 * passes. Source: sd_notify(3), sd_listen_fds(3). Both protocols are a few
 * lines, and a library would be one more dependency of the daemon.
 */

#include <stddef.h>

/*
 * Sends e.g. "READY=1" to $NOTIFY_SOCKET. 0 also without one, else a negative
 * errno of socket(2) or sendto(2).
 */
int notify_send(const char *state);

/* "RELOADING=1" with the time stamp that Type=notify-reload asks for. */
int notify_reloading(void);

/*
 * How many descriptors were passed, from 3 on; 0 if none is for us. Makes each
 * of them close on exec, and unsets the variables so that no child takes them.
 */
int notify_listen_fds(void);

#endif
