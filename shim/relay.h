#ifndef XMPP443_RELAY_H
#define XMPP443_RELAY_H

/*
 * relay: joins a client's connection with one to a backend.
 *
 * Small pieces go by recv(2) and send(2), which is cheapest for them; a
 * direction that carries much goes by splice(2). What cannot be written at
 * once is put into a pipe. So between two events no byte is in our memory: all
 * of the state is in two sockets and at most two pipes. A half-close is passed
 * on once everything before it has been; each direction ends on its own.
 */

#include "addr.h"
#include "counter.h"
#include "loop.h"
#include "pipes.h"

#include <stdint.h>

#define RELAY_SCRATCH 65536 /* not more than PIPES_ROOM: what is read can always be put into a pipe */

enum relay_result {
	RELAY_DONE,    /* both directions have ended */
	RELAY_RESET,   /* one side reset the connection */
	RELAY_FAILED,  /* no connection to the backend, or it did not take the header; see error */
	RELAY_TIMEOUT, /* no connection to the backend in time */
};

struct relay;

/* What the relays of one thread share; filled in by their owner. */
struct relay_env {
	struct loop *loop;
	struct pipes pipes;
	/*
	 * Called once, never from within relay_open(). The relay is not used
	 * again, so call relay_close(). error is 0 or the negative errno behind RELAY_FAILED.
	 */
	void (*done)(struct relay *r, enum relay_result result, int error);
	struct counter bytes[2];        /* that were passed on: from clients, from backends */
	/*
	 * For relays that are kept, relay_keep(). unkeep: it cannot go on by splice
	 * alone; returns once no copy of it is left, else false, and it ends.
	 * changed: relay_keep() would tell more than it has.
	 */
	bool (*unkeep)(struct relay *r);
	void (*changed)(struct relay *r);
	uint8_t scratch[RELAY_SCRATCH]; /* holds nothing between two calls */
};

/* One direction, named after the side it comes from. */
struct relay_flow {
	bool blocked : 1; /* the other side was full: its EPOLLOUT goes on */
	bool eof : 1;     /* this side has ended, and the pipe may still hold bytes */
	bool ended : 1;   /* the other side knows, or takes no more */
	bool broken : 1;  /* the other side was reset, and a write to it has taken the error */
	bool bulk : 1;    /* goes by splice */
	bool sent : 1;    /* the other side was written to */
	bool nodelay : 1; /* and it has TCP_NODELAY, or needs none */
	uint8_t streak;   /* pieces in a row that speak for changing over */
};

/* Embedded by its owner, since there are many and most of them idle. Only relay.c looks inside. */
struct relay {
	struct relay_env *env;
	struct loop_watch side[2]; /* the client's and the backend's */
	union {
		struct relay_start *start; /* until the backend is connected */
		struct pipe *pipe[2];      /* NULL while nothing waits */
	};
	struct relay_flow flow[2];
	bool starting;
	bool kept;       /* by splice only, through pipes of its own */
	bool copied;     /* somebody else has or had copies of its descriptors */
	uint32_t active; /* seconds on the loop's clock when something last came */
	uint32_t tag;    /* the owner's, to use as it likes */
};

struct relay_backend {
	const struct addr_endpoint *target;
	const uint8_t *header;  /* sent first: a PROXY header, or length 0 */
	size_t header_len;
	const uint8_t *peeked;  /* the beginning of what waits in the client's receive queue */
	size_t peeked_len;
	unsigned timeout_ms;    /* for connecting */
};

/*
 * Takes ownership of client_fd, non-blocking and in no epoll set; also on
 * failure. Nothing that backend points to is used after the call; peeked may be
 * in env->scratch. -ENOMEM, or a negative errno of socket(2), connect(2),
 * send(2) or epoll_ctl(2); r needs no relay_close() then.
 */
int relay_open(struct relay *r, struct relay_env *env, int client_fd, const struct relay_backend *backend);

/* Closes both sides at once. */
void relay_close(struct relay *r);

/*
 * All that a relay is, so that another relay, maybe in another process, can go
 * on with it. That is so between any two calls of the loop; for a relay that
 * is kept, at any time.
 */
struct relay_parts {
	int side[2];    /* the client's and the backend's descriptor */
	int pipe[2][2]; /* from the client, from the backend: to read from, to write to; -1: none is needed */
	bool broken[2]; /* a write to this side has failed by a reset, which cannot be seen a second time */
};

/*
 * From now on this relay's whole state is in its descriptors at every moment,
 * not only between two calls of the loop: so it survives even SIGKILL, if
 * somebody else has copies of them. *ret is for looking at. A negative errno,
 * and nothing has changed: -EAGAIN: not connected yet; -ENOMEM: no pipes, or bytes in an unfit one.
 */
int relay_keep(struct relay *r, struct relay_parts *ret); /* of one that is kept: only tells */

/* It did not come to copies. */
void relay_unkeep(struct relay *r);

/*
 * Takes the relay apart; it is closed then, and *ret owns the descriptors.
 * False: the backend is not connected, and there is only the client, whose
 * bytes are all unread.
 */
bool relay_give(struct relay *r, struct relay_parts *ret);

/*
 * Goes on with one that was taken apart or kept, from the next events on.
 * Takes ownership of all descriptors, also on failure. A negative errno of
 * epoll_ctl(2); -EBADMSG: a pipe is none; r needs no relay_close() then.
 */
int relay_adopt(struct relay *r, struct relay_env *env, const struct relay_parts *parts);

/* One side has ended, and the other one goes on. */
bool relay_half_closed(const struct relay *r);

/* Whole seconds for which nothing has come from either side; may be one too few. */
uint32_t relay_idle(const struct relay *r);

/* Between relay.c, relay_keep.c and relay_start.c: */

/* Both sides are connected, and the header was sent. A negative errno of epoll_ctl(2). */
int relay_joined(struct relay *r);

/* Waits for events at both sides; blocked flows also for their side to take more. A negative errno of epoll_ctl(2). */
int relay_watch(struct relay *r);

/* Forgets an attempt to connect. */
void relay_start_free(struct relay *r);

#endif
