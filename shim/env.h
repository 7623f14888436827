#ifndef XMPP443_ENV_H
#define XMPP443_ENV_H

/*
 * env: what the connections of one worker share, and how their ends are
 * counted and logged.
 */

#include "addr.h"
#include "conf.h"
#include "counter.h"
#include "handoff.h"
#include "hello.h"
#include "list.h"
#include "loop.h"
#include "record.h"
#include "relay.h"
#include "route.h"
#include "store.h"

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
	END_KEPT,            /* it goes on, in another worker or in the next process */
	END_STALE,           /* another process had it, and it cannot be told how far it came */
	ENDS_N,
};

/* What the parser says of a hello, for the log and the counts. */
enum env_verdict {
	VERDICT_OK,
	VERDICT_NOT_TLS,
	VERDICT_MALFORMED,
	VERDICT_TOO_LONG,
	VERDICTS_N,
};

#define ENV_HELLO_BUCKETS 12

/* Numbers of one worker, for the metrics; all of them counters. By route: see the slot in route.h. */
struct env_counts {
	struct counter accepted;
	struct counter routed[ROUTE_SLOTS][VERDICTS_N];
	struct counter ended[ROUTE_SLOTS][ENDS_N];
	struct counter unrouted[ENDS_N];                   /* ended before there was a route */
	struct counter hello_ms;                           /* from accepting to the verdict, summed up */
	struct counter hello_buckets[ENV_HELLO_BUCKETS + 1]; /* how many took up to env_hello_limits[i] ms; the last one: longer */
	struct counter undecided_now, passed_now, relayed_now;
	struct counter short_of_resources, full;           /* accepting was stopped */
};

extern const unsigned env_hello_limits[ENV_HELLO_BUCKETS];

/* What a connection takes with it when it gets its verdict. */
struct env_life {
	uint64_t id;     /* for the hand-off; 0: none yet */
	uint64_t born;   /* loop_now() when it was accepted */
	uint64_t used;   /* bytes of a PROXY header that were taken out of its queue */
	bool sent;       /* an earlier process had sent it to a receiver */
	bool stored;     /* it is in env->store, by number */
	uint32_t number;
};

/* Takes what a connection is, and its descriptors. */
typedef void (*env_take)(void *arg, struct record *r);

struct env {
	struct loop *loop;
	struct conf *conf;       /* for connections from now on */
	struct list undecided;   /* struct conn, oldest first */
	struct list passed;      /* struct passed */
	struct list relayed;     /* struct relayed, oldest first */
	struct list kept;        /* the same, of those that are in the store */
	struct store *store;     /* may be one that does not work */
	uint64_t last_id;
	unsigned n;              /* in all of them */
	struct env_counts counts;
	struct relay_env relay;  /* its scratch serves everybody between two calls */
	struct hello_info info;  /* of the hello at hand */

	/* Upwards, to the owner. */
	struct handoff *(*handoff_for)(struct env *env, const struct addr_endpoint *path); /* or NULL */
	bool (*admit)(struct env *env, const struct addr *peer);   /* may one more of this client's wait for its verdict? */
	void (*decided)(struct env *env, const struct addr *peer); /* one that was admitted does not wait any more */
	void (*ended)(struct env *env);                            /* there is room for one more */
};

/* Counts an end, and logs it with the route's name, or "-" if it is NULL, and with error if it is a negative errno. */
void env_count_end(struct env *env, enum env_end end, const struct addr *peer, const struct route *route, int error);

/* Counts a verdict that took so long. */
void env_count_verdict(struct env *env, enum env_verdict verdict, const struct route *route, uint64_t ms);

/* How many ended so, by any route or none. */
uint64_t env_ended(const struct env_counts *counts, enum env_end end);

/* An id that no other connection has or had, in this process or another. */
uint64_t env_new_id(struct env *env);

/* "handed-off", "hello-timeout", ... */
const char *env_end_name(enum env_end end);

/* "ok", "not-tls", ... */
const char *env_verdict_name(enum env_verdict verdict);

#endif
