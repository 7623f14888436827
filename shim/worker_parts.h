#ifndef XMPP443_WORKER_PARTS_H
#define XMPP443_WORKER_PARTS_H

/* worker_parts: what is between worker.c and worker_thread.c, and nobody else's. */

#include "channels.h"
#include "env.h"
#include "keep.h"
#include "listen.h"
#include "loop.h"
#include "pending.h"
#include "watchdog.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct listener {
	struct worker *worker;
	struct loop_watch watch;
	struct addr local; /* of what it accepts, if that is always the same */
};

struct worker {
	struct env env;
	unsigned number;
	unsigned max_connections;
	struct pending *pending;
	struct listener listeners[LISTEN_MAX];
	size_t n_listeners;
	bool accepting;             /* the listeners are watched */
	unsigned burst, singles;    /* how many to try for in one go, and after how many of one */
	bool said_short, said_full; /* in the log, until it is over */
	struct loop_timer pause;
	struct loop_timer grace;    /* until one that has no verdict yet may be evicted */
	struct loop_timer sweep;    /* for relays that are idle */
	struct loop_timer storing;  /* for connections that are old enough to be stored */
	bool said_unstored;
	struct channels channels;

	pthread_t thread;
	struct loop_watch command;  /* an eventfd: see to these */
	struct watchdog_pulse pulse;
	atomic_bool stop, ordered;
	void (*order)(struct worker *w, const void *arg); /* what to do; these belong to whoever waits for done */
	const void *arg;
	struct conf *new_conf;
	unsigned new_max_connections;
	sem_t done;
	bool running;
	struct keep_list *give_to;  /* at the end; NULL: to nobody */
};

/* In the worker's thread, or while it does not run: */
void worker_stop_accepting(struct worker *w);
void worker_set_max(struct worker *w, unsigned max_connections);
void worker_use_conf(struct worker *w); /* the one in env */
void worker_use_listeners(struct worker *w, const struct listen_set *set);

#endif
