#include "server.h"

#include "keep.h"
#include "listen.h"
#include "log.h"
#include "pending.h"
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define FDS_OTHER 48 /* log, settings, metrics and those who ask for them */
#define PAIRS_MAX ((rlim_t)4 * CONF_CONNECTIONS_MAX) /* more than can be used */

struct server {
	struct conf *conf;
	struct listen_set listeners;
	bool stored_listeners;
	bool passed;             /* the service manager owns the listeners' addresses */
	struct pending *pending;
	char slots[ROUTE_SLOTS][ROUTE_NAME_MAX + 1]; /* whose counts are where, see route.h */
	size_t n_slots;
	unsigned max_connections; /* of all workers */
	struct store *store;
	int n_inherited;         /* descriptors that were passed; until the start: */
	const char *names;       /* theirs, and ... */
	struct keep_inherited inherited; /* ... what they are */
	unsigned max_fitting;    /* connections for which there are descriptors */
	unsigned n_workers;
	struct worker *workers[CONF_WORKERS_MAX];
};

static uint8_t find_slot(struct server *s, const char *name)
{
	size_t i = 0;

	while (i < s->n_slots && strcmp(s->slots[i], name) != 0)
		i++;
	/* After very many reloads, each with other names, the last ones share a slot. */
	if (i >= ROUTE_SLOTS - 1) {
		i = ROUTE_SLOTS - 1;
		name = "(other)";
	}
	if (i >= s->n_slots) {
		snprintf(s->slots[i], sizeof(s->slots[i]), "%s", name);
		s->n_slots = i + 1;
	}
	return (uint8_t)i;
}

/* A route keeps its slot as long as it keeps its name. */
static void assign_slots(struct server *s, struct conf *conf)
{
	conf->web.slot = find_slot(s, conf->web.name);
	for (size_t i = 0; i < conf->n_routes; i++)
		conf->routes[i].slot = find_slot(s, conf->routes[i].name);
}

static unsigned count_cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < CONF_WORKERS_MAX ? (unsigned)n : CONF_WORKERS_MAX;
}

/* The descriptors left for connections and pipes, in pairs, after raising the soft limit as far as it goes. */
static rlim_t count_pairs(const struct conf *conf, size_t n_listeners, unsigned n_workers)
{
	struct rlimit limit;
	rlim_t channels = 0, other;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	for (size_t i = 0; i < conf->n_routes; i++)
		channels += conf->routes[i].fdpass;
	/* A reload opens new listeners before it closes old ones; a worker has an epoll set and an eventfd. */
	other = FDS_OTHER + 2 * n_listeners + (2 + channels) * n_workers;
	/* Shares of the workers are rounded up, and one admits one more before another makes room for it. */
	other += (rlim_t)2 * (WORKER_PIPES(0) + 2) * n_workers;
	if (limit.rlim_cur <= other)
		return 0;
	other = (limit.rlim_cur - other) / 2;
	return other < PAIRS_MAX ? other : PAIRS_MAX;
}

/*
 * How many connections the descriptors suffice for. Pipes are counted as
 * well, or they would take the descriptors of connections that are to come: one
 * for each sixteen connections, and two for each that is kept.
 */
static unsigned count_fitting(const struct conf *conf, size_t n_listeners, unsigned n_workers)
{
	unsigned each = conf->keep == CONF_KEEP_CRASH ? 3 : 1;
	rlim_t n = count_pairs(conf, n_listeners, n_workers) * 16 / (16 * each + 1);

	return n < n_workers ? n_workers : n > CONF_CONNECTIONS_MAX ? CONF_CONNECTIONS_MAX : (unsigned)n;
}

/* Each worker's share of max-connections, at least one. */
static unsigned share(const struct server *s, const struct conf *conf, unsigned n_workers)
{
	unsigned max = conf->max_connections;

	if (max > s->max_fitting) {
		log_line(LOG_LEVEL_WARNING, "event=limit-lowered max-connections=%u wanted=%u error=\"RLIMIT_NOFILE is too low\"",
			 s->max_fitting, max);
		max = s->max_fitting;
	}
	return (max + n_workers - 1) / n_workers;
}

static int open_listeners(const struct server *s, const struct conf *conf, struct listen_set *ret)
{
	const struct addr_endpoint *bad = NULL;
	char text[ADDR_ENDPOINT_TEXT_MAX];
	int err = listen_open(conf->listen, conf->n_listen, &s->listeners, ret, &bad);

	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=listen-failed address=%s error=\"%s\"", addr_endpoint_text(bad, text),
			 strerror(-err));
	return err;
}

static void log_listeners(const struct server *s)
{
	char text[ADDR_ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < s->listeners.n; i++)
		log_line(LOG_LEVEL_INFO, "event=listening address=%s", addr_endpoint_text(&s->listeners.v[i].addr, text));
}

static unsigned wanted_workers(const struct conf *conf)
{
	return conf->workers != 0 ? conf->workers : count_cpus();
}

/* Adds workers, not started yet, until there are n. */
static int add_workers(struct server *s, struct conf *conf, const struct listen_set *listeners, unsigned n, unsigned max)
{
	int err = 0;

	while (err == 0 && s->n_workers < n) {
		err = worker_new(s->n_workers, conf, listeners, s->pending, s->store, max, &s->workers[s->n_workers]);
		s->n_workers += err == 0;
	}
	return err;
}

/* Starts those from the first on. */
static int start_workers(struct server *s, unsigned first)
{
	int err = 0;

	for (unsigned i = first; err == 0 && i < s->n_workers; i++)
		err = worker_start(s->workers[i]);
	return err;
}

static void restore(struct server *s, struct keep_list *list)
{
	if (list->n > 0)
		log_line(LOG_LEVEL_INFO, "event=restored connections=%zu", list->n);
	for (size_t i = 0; i < list->n && s->n_workers > 0; i++)
		worker_restore(s->workers[i % s->n_workers], &list->v[i]);
	list->n = 0;
	keep_list_free(list);
}

static void store_listeners(struct server *s, const struct conf *conf)
{
	int fds[LISTEN_MAX];
	size_t n = conf->keep == CONF_KEEP_OFF ? 0 : s->listeners.n;

	if (s->passed || !store_works(s->store) || (n == 0 && !s->stored_listeners))
		return;
	for (size_t i = 0; i < n; i++)
		fds[i] = s->listeners.v[i].fd;
	store_put_listeners(s->store, fds, n);
	s->stored_listeners = n > 0;
}

static void warn_without_store(const struct server *s, const struct conf *conf)
{
	if (conf->keep != CONF_KEEP_OFF && !store_works(s->store))
		log_line(LOG_LEVEL_WARNING, "event=keep-failed error=\"nobody is there to keep connections; a restart changes that\"");
}

/* Takes the listeners that were passed, or opens what the settings say, and takes over what an earlier process of ours had of it. */
static int take_listeners(struct server *s)
{
	struct keep_inherited *inherited = &s->inherited;
	int err = 0;

	s->passed = inherited->passed.n > 0;
	if (s->passed) {
		s->listeners = inherited->passed;
	} else {
		s->listeners = inherited->own;
		err = open_listeners(s, s->conf, &s->listeners);
	}
	s->stored_listeners = inherited->own.n > 0;
	listen_close(&inherited->own, &s->listeners);
	if (err == 0 && s->listeners.n == 0) {
		log_line(LOG_LEVEL_ERROR, "event=listen-failed error=\"nothing to listen on: no listen is set, and no listening TCP socket was passed\"");
		return -ENOTSOCK;
	}
	return err;
}

int server_new(struct conf *conf, int first, int n, const char *names, struct server **ret)
{
	struct server *s = calloc(1, sizeof(*s));
	struct rlimit limit;
	int err;

	if (s == NULL)
		return -ENOMEM;
	assign_slots(s, conf);
	s->conf = conf_ref(conf);
	s->n_inherited = n;
	s->names = names;
	s->max_fitting = count_fitting(conf, s->listeners.n, wanted_workers(conf));
	getrlimit(RLIMIT_NOFILE, &limit);
	/* Half of what may be on its way at a time, unix(7), is left to the hand-off. */
	err = store_new(limit.rlim_cur / 2, &s->store);
	if (err == 0)
		err = keep_inherit(s->store, first, n, names, &s->inherited);
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"%s\"", strerror(-err));
	else
		err = take_listeners(s);
	if (err < 0) {
		server_stop(s);
		return err;
	}
	*ret = s;
	return 0;
}

int server_start(struct server *s)
{
	unsigned n = wanted_workers(s->conf), max;
	/* However a reload changes the settings, no more can be there. */
	rlim_t most = count_pairs(s->conf, 0, 1) + LISTEN_MAX + CONF_ROUTES_MAX;
	int err = pending_new((most < CONF_CONNECTIONS_MAX ? most : CONF_CONNECTIONS_MAX) + (rlim_t)4 * CONF_WORKERS_MAX, &s->pending);

	s->max_fitting = count_fitting(s->conf, s->listeners.n, n);
	max = share(s, s->conf, n);
	s->max_connections = max * n;
	if (err == 0)
		err = add_workers(s, s->conf, &s->listeners, n, max);
	if (err == 0) {
		store_listeners(s, s->conf);
		restore(s, &s->inherited.connections);
		/* Before the first of them moves on: what is in the store would not know. */
		keep_forget_inherited(s->store, s->n_inherited, s->names);
		err = start_workers(s, 0);
	}
	if (err < 0) {
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"%s\"", strerror(-err));
		return err;
	}
	log_listeners(s);
	warn_without_store(s, s->conf);
	return 0;
}

/* Ends the workers from n on; the others take over what they had. */
static void remove_workers(struct server *s, unsigned n)
{
	struct keep_list list = {0};

	while (s->n_workers > n) {
		struct worker *w = s->workers[--s->n_workers];

		worker_stop(w, &list);
		worker_add_counts(s->workers[0], w);
		worker_free(w);
	}
	restore(s, &list);
}

int server_reload(struct server *s, struct conf *conf)
{
	struct listen_set set = s->listeners, old = s->listeners;
	unsigned n = wanted_workers(conf), before = s->n_workers, max;
	int err = 0;

	if (!s->passed)
		err = open_listeners(s, conf, &set);
	if (err < 0)
		return err;
	s->max_fitting = count_fitting(conf, set.n, n);
	max = share(s, conf, n);
	err = add_workers(s, conf, &set, n, max);
	if (err == 0)
		err = start_workers(s, before);
	if (err < 0) {
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"%s\"", strerror(-err));
		remove_workers(s, before);
		listen_close(&set, &old);
		return err;
	}
	assign_slots(s, conf);
	s->max_connections = max * n;
	for (unsigned i = 0; i < before && i < n; i++)
		worker_apply(s->workers[i], conf, &set, max);
	remove_workers(s, n);
	s->listeners = set;
	listen_close(&old, &set);
	store_listeners(s, conf);
	conf_ref(conf);
	conf_unref(s->conf);
	s->conf = conf;
	log_listeners(s);
	warn_without_store(s, conf);
	return 0;
}

void server_count(const struct server *s, struct metrics *ret)
{
	ret->routes = s->slots;
	ret->n_routes = s->n_slots;
	ret->max_connections = s->max_connections;
	ret->n_workers = s->n_workers;
	for (unsigned i = 0; i < s->n_workers; i++)
		ret->workers[i] = worker_counts(s->workers[i]);
}

bool server_alive(struct server *s)
{
	bool alive = true;

	for (unsigned i = 0; i < s->n_workers; i++)
		alive &= worker_alive(s->workers[i]); /* all of them, also behind one that hangs */
	return alive;
}

static void log_ends(const uint64_t ends[ENDS_N])
{
	char line[600];
	size_t len = 0;

	for (int i = 0; i < ENDS_N; i++)
		if (ends[i] > 0 && len < sizeof(line))
			len += (size_t)snprintf(line + len, sizeof(line) - len, " %s=%llu", env_end_name((enum env_end)i),
						(unsigned long long)ends[i]);
	log_line(LOG_LEVEL_INFO, "event=stopped%s", len > 0 ? line : "");
}

void server_stop(struct server *s)
{
	struct keep_list list = {0};
	uint64_t ends[ENDS_N] = {0};
	bool keep;

	if (s == NULL)
		return;
	keep = s->conf->keep != CONF_KEEP_OFF && s->store != NULL && store_works(s->store);
	for (unsigned i = 0; i < s->n_workers; i++) {
		worker_stop(s->workers[i], keep ? &list : NULL);
		for (int end = 0; end < ENDS_N; end++)
			ends[end] += env_ended(worker_counts(s->workers[i]).env, (enum env_end)end);
		worker_free(s->workers[i]);
	}
	if (list.n > 0) {
		keep_store(s->store, &list);
		store_retry(s->store);
		if (store_barrier(s->store) < 0)
			log_line(LOG_LEVEL_ERROR, "event=keep-failed error=\"the service manager does not answer\"");
	}
	if (s->n_workers > 0)
		log_ends(ends);
	keep_list_free(&s->inherited.connections);
	store_free(s->store);
	pending_free(s->pending);
	listen_close(&s->listeners, NULL);
	conf_unref(s->conf);
	free(s);
}
