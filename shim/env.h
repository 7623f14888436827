#ifndef XMPP443_ENV_H
#define XMPP443_ENV_H

/*
 * env: what the connections of one worker share, and how their ends are
 * counted and logged.
 */

#include "addr.h"
#include "conf.h"
#include "handoff.h"
#include "hello.h"
#include "list.h"
#include "loop.h"
#include "relay.h"

#include <stdbool.h>
#include <stdint.h>

/* How a connection ended, as seen from here. */
enum env_end {
	END_HANDED_OFF,      /* the receiver has it */
	END_RELAYED,         /* both sides said good-bye */
	END_RESET,           /* one side of a relay reset it */
	END_IDLE_TIMEOUT,    /* of a relay */
	END_HELLO_TIMEOUT,
	END_CLIENT_GONE,     /* before there was a verdict, or while held */
	END_BAD_PROXY_HEADER,
	END_EVICTED,         /* no verdict yet, and others needed the room */
	END_TOO_MANY_PENDING,
	END_HOLD_EXPIRED,
	END_HELD_FULL,
	END_REFUSED,         /* by the receiver */
	END_BACKEND_REFUSED,
	END_BACKEND_TIMEOUT,
	END_NO_RESOURCES,    /* memory or descriptors */
	END_STOPPED,         /* the shim ends */
	ENDS_N,
};

struct env {
	struct loop *loop;
	struct conf *conf;       /* for connections from now on */
	struct list undecided;   /* struct conn, oldest first */
	struct list passed;      /* struct passed */
	struct list relayed;     /* struct relayed */
	unsigned n;              /* in all of them */
	uint64_t ends[ENDS_N];
	struct relay_env relay;  /* its scratch serves everybody between two calls */
	struct hello_info info;  /* of the hello at hand */

	/* Upwards, to the owner. */
	struct handoff *(*handoff_for)(struct env *env, const struct addr_endpoint *path); /* or NULL */
	bool (*admit)(struct env *env, const struct addr *peer);   /* may one more of this client's wait for its verdict? */
	void (*decided)(struct env *env, const struct addr *peer); /* one that was admitted does not wait any more */
	void (*ended)(struct env *env);                            /* there is room for one more */
};

/* Counts an end, and logs it with the route's name, or "-", and with error if it is a negative errno. */
void env_count_end(struct env *env, enum env_end end, const struct addr *peer, const char *route, int error);

/* "handed-off", "hello-timeout", ... */
const char *env_end_name(enum env_end end);

#endif
