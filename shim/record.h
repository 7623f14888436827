#ifndef XMPP443_RECORD_H
#define XMPP443_RECORD_H

/*
 * record: what has to be known about a connection in order to go on with it in
 * another process, as text. Pure: no I/O, no log.
 *
 * The text is one line for the format and its version, and one for each value.
 * It is read strictly: a record of another version, with a value that is not
 * known, not there, there twice or not well-formed is refused as a whole.
 * Nothing in it depends on how a build lays out its structs.
 */

#include "addr.h"
#include "route.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef RECORD_VERSION
#define RECORD_VERSION 1 /* another one as soon as the meaning of anything changes */
#endif

#define RECORD_MAX 512 /* bytes of text, the terminating 0 included */

enum record_fd {
	RECORD_CLIENT,
	RECORD_BACKEND,
	RECORD_UP_OUT,   /* the pipe from client to backend: its end to read from ... */
	RECORD_UP_IN,    /* ... and the one to write to */
	RECORD_DOWN_OUT, /* the one from backend to client */
	RECORD_DOWN_IN,
	RECORD_FDS,
};

struct record {
	/* A relay, with RECORD_BACKEND and perhaps pipes; else nothing but its PROXY header has been taken out of the client's queue. */
	bool relay;
	bool header;      /* no relay: a trusted proxy's header is still to come */
	bool sent;        /* no relay: it was sent to a receiver, whose verdict is not known */
	bool broken[2];   /* a relay: writing to the client, the backend, has failed by a reset; that cannot be seen twice */
	uint64_t id;      /* no relay: of no other connection, ever; it is the one in the hand-off */
	uint64_t born;    /* milliseconds of CLOCK_MONOTONIC */
	uint64_t used;    /* bytes that the PROXY header had */
	struct addr peer, local; /* local is AF_UNSPEC until it was asked for */
	char route[ROUTE_NAME_MAX + 1]; /* of a relay; else empty */
	int fd[RECORD_FDS]; /* -1: none; not in the text, but which of them there are is */

	/* Not in the text: */
	bool stored;        /* by this process, store.h */
	uint32_t number;
};

/* Nothing known, no descriptor. */
void record_init(struct record *r);

/*
 * Writes the text into buf, RECORD_MAX bytes. Returns its length without the 0.
 * fds, RECORD_FDS places, gets the descriptors in the order that the text
 * tells, and *n_fds their number.
 */
size_t record_write(const struct record *r, char *buf, int *fds, size_t *n_fds);

/*
 * Reads what record_write() wrote and takes ownership of the fds on success
 * only. 0; -EPROTONOSUPPORT: another format or version; -EBADMSG: it is damaged,
 * or another number of descriptors came with it. *ret is untouched on failure.
 */
int record_read(const char *text, size_t len, const int *fds, size_t n_fds, struct record *ret);

/* Closes what is left of the descriptors. */
void record_close(struct record *r);

#endif
