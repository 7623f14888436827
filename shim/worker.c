#include "worker.h"

#include "channels.h"
#include "conn.h"
#include "log.h"
#include "loop.h"
#include "passed.h"
#include "relayed.h"
#include "watchdog.h"
#include "worker_parts.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS  16  /* in one go at most, then connections have their turn */
#define SINGLES  16  /* accepted one by one, until two are tried for */
#define STORE_MS 100 /* between two looks for connections that are old enough to be stored */
#define PAUSE_MS 100 /* after an accept that failed for want of descriptors or memory */

/*
 * One more connection can be taken, at least in exchange for one that has had
 * no verdict for a while. Without that while many that come quickly would push
 * out those whose hello is on its way.
 */
static bool has_room(const struct worker *w)
{
	return w->env.n < w->max_connections || (w->max_connections > 0 && conn_evictable_in(&w->env) == 0);
}

void worker_stop_accepting(struct worker *w)
{
	for (size_t i = 0; i < w->n_listeners; i++)
		loop_del(w->env.loop, &w->listeners[i].watch);
	w->accepting = false;
}

/* Until the oldest may be evicted, or something ends. */
static void wait_for_room(struct worker *w)
{
	int left = conn_evictable_in(&w->env);

	if (left > 0)
		loop_timer_set(w->env.loop, &w->grace, (uint64_t)left);
}

/*
 * Level-triggered, so that a listener that is left with a queue speaks up
 * again, and exclusive, so that one connection wakes one worker, epoll_ctl(2).
 */
static void start_accepting(struct worker *w)
{
	if (w->accepting || w->pause.place != 0)
		return;
	if (!has_room(w)) {
		wait_for_room(w);
		return;
	}
	loop_timer_unset(w->env.loop, &w->grace);
	w->accepting = true;
	for (size_t i = 0; i < w->n_listeners; i++) {
		int err = loop_add(w->env.loop, &w->listeners[i].watch, EPOLLIN | EPOLLEXCLUSIVE);

		if (err < 0)
			log_line(LOG_LEVEL_ERROR, "event=listener-lost worker=%u error=\"%s\"", w->number, strerror(-err));
	}
}

static void on_pause_over(struct loop_timer *t)
{
	start_accepting(container_of(t, struct worker, pause));
}

static void on_grace_over(struct loop_timer *t)
{
	start_accepting(container_of(t, struct worker, grace));
}

/* The failed connection stays in the kernel's queue; nothing is lost but time. */
static void pause_accepting(struct worker *w, int error)
{
	counter_add(&w->env.counts.short_of_resources, 1);
	worker_stop_accepting(w);
	if (loop_timer_set(w->env.loop, &w->pause, PAUSE_MS) < 0)
		start_accepting(w);
	if (!w->said_short)
		log_line(LOG_LEVEL_WARNING, "event=accept-paused worker=%u connections=%u error=\"%s\"", w->number, w->env.n,
			 strerror(error));
	w->said_short = true;
}

/* Takes what waits at a listener, at most max; how many. */
static unsigned accept_some(const struct listener *l, unsigned max)
{
	struct worker *w = l->worker;
	unsigned n = 0;

	while (n < max && has_room(w)) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct addr peer;
		int conn = accept4(l->watch.fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (conn < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				pause_accepting(w, errno);
			else if (errno == EINTR || errno == ECONNABORTED)
				continue;
			return n; /* EAGAIN, or an error of a connection that has gone, accept(2) */
		}
		n++;
		w->said_short = false;
		peer = addr_from_sockaddr((const struct sockaddr *)&ss);
		conn_new(&w->env, conn, &peer, &l->local);
		/* Too many, but of some it is not known yet whether they mean it. Not before, since it may have been turned away. */
		if (w->env.n > w->max_connections)
			conn_evict_oldest(&w->env);
	}
	if (w->accepting && !has_room(w)) {
		counter_add(&w->env.counts.full, 1);
		if (!w->said_full)
			log_line(LOG_LEVEL_WARNING, "event=full worker=%u connections=%u", w->number, w->env.n);
		w->said_full = true;
		worker_stop_accepting(w);
		wait_for_room(w);
	}
	return n;
}

static void on_listener(struct loop_watch *watch, uint32_t events)
{
	const struct listener *l = container_of(watch, struct listener, watch);
	struct worker *w = l->worker;
	unsigned n = accept_some(l, w->burst);

	(void)events;
	/*
	 * To try in vain costs nearly as much as a connection: the kernel makes
	 * the socket first, do_accept() in net/socket.c. So where they come one
	 * by one, few more are tried for.
	 */
	if (n < w->burst) {
		w->burst = n > 1 ? n : 1;
		w->singles = 0;
	} else if (w->burst < ACCEPTS && (w->burst > 1 || ++w->singles >= SINGLES)) {
		w->burst = 2 * w->burst < ACCEPTS ? 2 * w->burst : ACCEPTS;
	}
}

static struct handoff *handoff_for(struct env *env, const struct addr_endpoint *path)
{
	return channels_get(&container_of(env, struct worker, env)->channels, path, env->conf->max_held);
}

static bool on_admit(struct env *env, const struct addr *peer)
{
	return pending_add(container_of(env, struct worker, env)->pending, peer, env->conf->max_pending_per_ip);
}

static void on_decided(struct env *env, const struct addr *peer)
{
	pending_remove(container_of(env, struct worker, env)->pending, peer);
}

static void on_ended(struct env *env)
{
	struct worker *w = container_of(env, struct worker, env);

	if (env->n < w->max_connections - w->max_connections / 10)
		w->said_full = false;
	start_accepting(w);
}

/*
 * One pass over all relays now and then, rather than a timer for each: so a
 * relay that does nothing costs nothing, and one that is idle lives at most
 * an eighth and two seconds longer than it should.
 */
static void on_sweep(struct loop_timer *t)
{
	struct worker *w = container_of(t, struct worker, sweep);
	unsigned idle = w->env.conf->idle_timeout_ms, half = w->env.conf->half_closed_timeout_ms;

	if (idle == 0 && half == 0)
		return;
	relayed_sweep(&w->env, (idle + 999) / 1000, (half + 999) / 1000);
	loop_timer_set(w->env.loop, t, (idle == 0 || (half > 0 && half < idle) ? half : idle) / 8);
}

static void on_storing(struct loop_timer *t)
{
	struct worker *w = container_of(t, struct worker, storing);
	const struct conf *conf = w->env.conf;

	if (conf->keep != CONF_KEEP_CRASH)
		return;
	keep_store_old(&w->env, conf->keep_after_ms, &w->said_unstored);
	loop_timer_set(w->env.loop, t, STORE_MS);
}

void worker_set_max(struct worker *w, unsigned max_connections)
{
	w->max_connections = max_connections;
	w->env.relay.pipes.max = WORKER_PIPES(max_connections);
}

void worker_use_conf(struct worker *w)
{
	channels_use_conf(&w->channels, w->env.conf);
	loop_timer_set(w->env.loop, &w->sweep, 0);
	loop_timer_set(w->env.loop, &w->storing, 0);
}

void worker_use_listeners(struct worker *w, const struct listen_set *set)
{
	worker_stop_accepting(w);
	for (size_t i = 0; i < w->n_listeners; i++)
		if (!listen_has(set, w->listeners[i].watch.fd))
			accept_some(&w->listeners[i], SOMAXCONN);
	worker_stop_accepting(w); /* a connection that ended at once has made room, and so started it again */
	w->n_listeners = set->n;
	for (size_t i = 0; i < set->n; i++)
		w->listeners[i] = (struct listener){
			.worker = w,
			.watch = {.fd = set->v[i].fd, .ready = on_listener},
			.local = listen_local(set->v[i].fd),
		};
	start_accepting(w);
}

static void on_command(struct loop_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, command);
	uint64_t value;

	(void)events;
	/* Several commands may have become one event. */
	if (read(watch->fd, &value, sizeof(value)) != sizeof(value))
		return;
	watchdog_answer(&w->pulse);
	if (w->stop) {
		loop_stop(w->env.loop);
		return;
	}
	if (!atomic_exchange(&w->ordered, false))
		return;
	w->order(w, w->arg);
	sem_post(&w->done);
}

int worker_new(unsigned number, struct conf *conf, const struct listen_set *listeners,
	       struct pending *pending, struct store *store, unsigned max_connections, struct worker **ret)
{
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	if (w == NULL)
		return -ENOMEM;
	w->number = number;
	worker_set_max(w, max_connections);
	w->burst = 1;
	w->pending = pending;
	w->pause.expired = on_pause_over;
	w->grace.expired = on_grace_over;
	w->sweep.expired = on_sweep;
	w->storing.expired = on_storing;
	list_init(&w->env.undecided);
	list_init(&w->env.passed);
	list_init(&w->env.relayed);
	list_init(&w->env.kept);
	w->env.store = store;
	w->env.relay.done = relayed_done;
	w->env.relay.unkeep = relayed_unkeep;
	w->env.relay.changed = relayed_changed;
	w->command = (struct loop_watch){.fd = -1, .ready = on_command};
	w->env.conf = conf_ref(conf);
	w->env.handoff_for = handoff_for;
	w->channels.worker = number;
	w->env.admit = on_admit;
	w->env.decided = on_decided;
	w->env.ended = on_ended;
	sem_init(&w->done, 0, 0);

	err = loop_new(&w->env.loop);
	if (err < 0)
		goto failed;
	w->command.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->command.fd < 0) {
		err = -errno;
		goto failed;
	}
	err = loop_add(w->env.loop, &w->command, EPOLLIN);
	if (err < 0)
		goto failed;
	w->env.relay.loop = w->env.loop;
	w->channels.loop = w->env.loop;
	worker_use_conf(w);
	worker_use_listeners(w, listeners);
	*ret = w;
	return 0;

failed:
	worker_free(w);
	return err;
}

struct worker_counts worker_counts(const struct worker *w)
{
	return (struct worker_counts){
		.env = &w->env.counts,
		.relay_bytes = w->env.relay.bytes,
		.handoff = &w->channels.counts,
	};
}

void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	channels_close(&w->channels);
	pipes_close(&w->env.relay.pipes);
	if (w->command.fd >= 0)
		close(w->command.fd);
	loop_free(w->env.loop);
	conf_unref(w->env.conf);
	sem_destroy(&w->done);
	free(w);
}
