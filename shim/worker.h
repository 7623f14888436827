#ifndef XMPP443_WORKER_H
#define XMPP443_WORKER_H

/*
 * worker: one thread with its own loop. It accepts, keeps to its limits, and
 * owns the channels to the receivers and the connections it accepted.
 */

#include "conf.h"
#include "env.h"
#include "keep.h"
#include "listen.h"
#include "pending.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;

/* Pipes that a worker makes at most for so many connections; they take two descriptors each. */
#define WORKER_PIPES(max_connections) ((max_connections) / 16 + 2)

/*
 * Makes a worker that is not running yet. It takes a reference of conf.
 * listeners, pending and store outlive it. 0 or a negative errno.
 */
int worker_new(unsigned number, struct conf *conf, const struct listen_set *listeners,
	       struct pending *pending, struct store *store, unsigned max_connections, struct worker **ret);

/* Starts its thread. Negative errno of pthread_create(3). */
int worker_start(struct worker *w);

/*
 * From another thread: asks the worker to go over to conf and listeners, and
 * waits until it has. Connections are not touched; those that wait in the
 * queue of a listener that goes away are accepted first.
 */
void worker_apply(struct worker *w, struct conf *conf, const struct listen_set *listeners, unsigned max_connections);

/*
 * Goes on with a connection that another worker or process had. Takes over
 * what is in the record. Before worker_start(), or else from another thread: then
 * it waits until the worker has it.
 */
void worker_restore(struct worker *w, struct record *r);

/*
 * From another thread: asks the loop for a sign of life, which takes it no
 * time. False: it has not given the one that it was asked for before.
 */
bool worker_alive(struct worker *w);

/* From another thread: ends the loop and the thread, and with it all connections; or, if list is not NULL, puts them into it. */
void worker_stop(struct worker *w, struct keep_list *list);

/* What is counted in a worker: for any thread, at any time until worker_free(). */
struct worker_counts {
	const struct env_counts *env;
	const struct counter *relay_bytes; /* from clients, from backends */
	const struct handoff_counts *handoff;
};

struct worker_counts worker_counts(const struct worker *w);

/* From the thread that calls worker_free(): w counts for gone too, which is stopped. */
void worker_add_counts(struct worker *w, const struct worker *gone);

/* Of a worker that is not running. Takes NULL. */
void worker_free(struct worker *w);

#endif
