#ifndef XMPP443_RELAY_H
#define XMPP443_RELAY_H

/*
 * relay: joins a client's connection with one to a backend.
 *
 * Bytes go by splice(2) through pipes that belong to a direction while data
 * is on its way. Between two events no byte is in our memory: all of the
 * state is in two sockets and at most two pipes. A half-close is passed on
 * once everything before it has been; each direction ends on its own.
 */

#include "addr.h"
#include "loop.h"
#include "pipes.h"

#include <stdint.h>

enum relay_result {
	RELAY_DONE,    /* both directions have ended */
	RELAY_RESET,   /* one side reset the connection */
	RELAY_REFUSED, /* no connection to the backend, or it did not take the header; see error */
	RELAY_TIMEOUT, /* no connection to the backend in time */
};

struct relay;

/*
 * Called once, never before relay_new() has returned; the relay is not used
 * again, so call relay_free(). error is 0 or the negative errno behind RELAY_REFUSED.
 */
typedef void (*relay_done)(void *arg, enum relay_result result, int error);

struct relay_backend {
	const struct addr_endpoint *target;
	const uint8_t *header; /* sent first: a PROXY header, or length 0 */
	size_t header_len;
	unsigned timeout_ms;   /* for connecting */
};

/*
 * Takes ownership of client_fd, non-blocking and in no epoll set; also on
 * failure. What backend points to is not used after the call, but the header,
 * which is copied. -ENOMEM, -EMFILE, -ENFILE or another negative errno of
 * socket(2) or epoll_ctl(2).
 */
int relay_new(struct loop *loop, struct pipes *pipes, int client_fd, const struct relay_backend *backend,
	      relay_done done, void *arg, struct relay **ret);

/* Closes both sides at once. Takes NULL. */
void relay_free(struct relay *r);

#endif
