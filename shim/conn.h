#ifndef XMPP443_CONN_H
#define XMPP443_CONN_H

/*
 * conn: one accepted connection, from its first byte to its end:
 * peek at the ClientHello, find the route, then hand off or relay.
 */

#include "addr.h"
#include "conf.h"
#include "handoff.h"
#include "hello.h"
#include "loop.h"
#include "pipes.h"

#include <stdint.h>

/*
 * The largest beginning that is looked at, record headers included. More than
 * this the kernel does not buffer for a socket that nobody reads from.
 */
#define CONN_PEEK_MAX 65536

/* How a connection ended, as seen from here. */
enum conn_end {
	CONN_HANDED_OFF,      /* the receiver has it */
	CONN_RELAYED,         /* both sides said good-bye */
	CONN_RESET,           /* one side of a relay reset it */
	CONN_HELLO_TIMEOUT,
	CONN_CLIENT_GONE,     /* before there was a verdict, or while held */
	CONN_HOLD_EXPIRED,
	CONN_HELD_FULL,
	CONN_REFUSED,         /* by the receiver */
	CONN_BACKEND_REFUSED,
	CONN_BACKEND_TIMEOUT,
	CONN_NO_RESOURCES,    /* memory or descriptors */
	CONN_TOO_MANY_PENDING,
	CONN_STOPPED,         /* the shim ends */
	CONN_ENDS,
};

struct conn;

/* What the connections of one worker share. */
struct conn_env {
	struct loop *loop;
	struct conf *conf;      /* for connections from now on */
	struct pipes pipes;
	struct conn *first;     /* all of them */
	unsigned n;
	uint64_t ends[CONN_ENDS];
	struct handoff *(*handoff_for)(struct conn_env *env, const struct addr_endpoint *path); /* or NULL */
	void (*decided)(struct conn_env *env, const struct addr *peer); /* it does not count as pending any more */
	void (*ended)(struct conn_env *env);                            /* there is room for one more */
	struct hello_info info;          /* for the hello at hand */
	uint8_t peek[CONN_PEEK_MAX];
};

/* Takes ownership of fd, an accepted non-blocking socket. The hello's deadline starts now. */
void conn_new(struct conn_env *env, int fd, const struct addr *peer);

/* Logs and counts an end; also for connections that were turned away before conn_new(). */
void conn_count_end(struct conn_env *env, enum conn_end end, const struct addr *peer, const char *route, int error);

/* Ends all of them. */
void conn_end_all(struct conn_env *env);

/* "handed-off", "hello-timeout", ... */
const char *conn_end_name(enum conn_end end);

#endif
