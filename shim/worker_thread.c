/* A worker's thread, and what other threads ask of it. */

#include "worker.h"

#include "conn.h"
#include "log.h"
#include "passed.h"
#include "relayed.h"
#include "worker_parts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void *run(void *arg)
{
	struct worker *w = arg;
	int err = loop_run(w->env.loop);

	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=worker-failed worker=%u error=\"%s\"", w->number, strerror(-err));
	worker_stop_accepting(w);
	w->max_connections = 0;
	if (w->give_to != NULL)
		keep_give_all(&w->env, keep_take, w->give_to);
	conn_end_all(&w->env);
	passed_end_all(&w->env);
	relayed_end_all(&w->env);
	channels_close(&w->channels);
	return NULL;
}

int worker_start(struct worker *w)
{
	int err = -pthread_create(&w->thread, NULL, run, w);

	w->running = err == 0;
	return err;
}

static void command(struct worker *w)
{
	uint64_t one = 1;

	while (write(w->command.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Has the worker do something between two events, and waits until it has. */
static void have_done(struct worker *w, void (*order)(struct worker *, const void *), const void *arg)
{
	if (!w->running) {
		order(w, arg);
		return;
	}
	w->order = order;
	w->arg = arg;
	w->ordered = true;
	command(w);
	while (sem_wait(&w->done) < 0)
		;
}

static void apply(struct worker *w, const void *listeners)
{
	conf_unref(w->env.conf);
	w->env.conf = conf_ref(w->new_conf);
	worker_set_max(w, w->new_max_connections);
	worker_use_conf(w);
	worker_use_listeners(w, listeners);
}

void worker_apply(struct worker *w, struct conf *conf, const struct listen_set *listeners, unsigned max_connections)
{
	w->new_conf = conf;
	w->new_max_connections = max_connections;
	have_done(w, apply, listeners);
}

static void restore(struct worker *w, const void *arg)
{
	struct record r = *(const struct record *)arg;

	keep_restore(&w->env, &r, w->env.conf->keep == CONF_KEEP_CRASH);
}

void worker_restore(struct worker *w, struct record *r)
{
	have_done(w, restore, r);
}

bool worker_alive(struct worker *w)
{
	bool answered = watchdog_ask(&w->pulse);

	if (answered)
		command(w);
	return answered;
}

void worker_stop(struct worker *w, struct keep_list *list)
{
	if (!w->running)
		return;
	w->give_to = list;
	w->stop = true;
	command(w);
	pthread_join(w->thread, NULL);
	w->running = false;
}

static void add_counts(struct worker *w, const void *arg)
{
	const struct worker *gone = arg;

	counters_add(&w->env.counts, &gone->env.counts, sizeof(gone->env.counts));
	counters_add(&w->env.relay.bytes, &gone->env.relay.bytes, sizeof(gone->env.relay.bytes));
	counters_add(&w->channels.counts, &gone->channels.counts, sizeof(gone->channels.counts));
}

void worker_add_counts(struct worker *w, const struct worker *gone)
{
	have_done(w, add_counts, gone);
}
