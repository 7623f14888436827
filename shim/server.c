#include "server.h"

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

#define FDS_PER_CONNECTION 2  /* the client's and the backend's */
#define FDS_PER_WORKER     48 /* epoll, eventfd, channels, pipes */
#define FDS_OTHER          64 /* listeners, log, config file */

struct server {
	struct conf *conf;
	struct listen_set listeners;
	bool passed;             /* the service manager owns the listeners' addresses */
	struct pending *pending;
	char slots[ROUTE_SLOTS][ROUTE_NAME_MAX + 1]; /* whose counts are where, see route.h */
	size_t n_slots;
	unsigned max_connections; /* of all workers */
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

/* How many connections the descriptors suffice for, after raising the soft limit as far as it goes. */
static unsigned count_fitting(unsigned n_workers)
{
	struct rlimit limit;
	rlim_t other = FDS_OTHER + (rlim_t)FDS_PER_WORKER * n_workers, n;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	n = limit.rlim_cur > other ? (limit.rlim_cur - other) / FDS_PER_CONNECTION : 1;
	return n < n_workers ? n_workers : n > CONF_CONNECTIONS_MAX ? CONF_CONNECTIONS_MAX : (unsigned)n;
}

/* Each worker's share of max-connections, at least one. */
static unsigned share(const struct server *s, const struct conf *conf)
{
	unsigned max = conf->max_connections;

	if (max > s->max_fitting) {
		log_line(LOG_LEVEL_WARNING, "event=limit-lowered max-connections=%u wanted=%u error=\"RLIMIT_NOFILE is too low\"",
			 s->max_fitting, max);
		max = s->max_fitting;
	}
	return (max + s->n_workers - 1) / s->n_workers;
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

static int start_workers(struct server *s)
{
	unsigned n = s->conf->workers != 0 ? s->conf->workers : count_cpus(), max;
	int err;

	s->n_workers = n;
	s->max_fitting = count_fitting(n);
	max = share(s, s->conf);
	s->max_connections = max * n;
	s->n_workers = 0;
	/* A worker admits one more before another makes room for it, and shares are rounded up. */
	err = pending_new(s->max_fitting + 2 * n, &s->pending);
	while (err == 0 && s->n_workers < n) {
		struct worker *w = NULL;

		err = worker_new(s->n_workers, s->conf, &s->listeners, s->pending, max, &w);
		if (err == 0)
			err = worker_start(w);
		if (err < 0)
			worker_free(w);
		else
			s->workers[s->n_workers++] = w;
	}
	if (err < 0)
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"%s\"", strerror(-err));
	return err;
}

int server_new(struct conf *conf, int first_passed, int n_passed, struct server **ret)
{
	struct server *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return -ENOMEM;
	assign_slots(s, conf);
	s->conf = conf_ref(conf);
	s->passed = n_passed > 0;
	if (s->passed) {
		err = listen_adopt(first_passed, n_passed, &s->listeners);
		if (err < 0)
			log_line(LOG_LEVEL_ERROR, "event=listen-failed error=\"a passed descriptor is no listening TCP socket\"");
	} else {
		err = open_listeners(s, conf, &s->listeners);
	}
	if (err < 0) {
		server_stop(s);
		return err;
	}
	*ret = s;
	return 0;
}

int server_start(struct server *s)
{
	int err = start_workers(s);

	if (err == 0)
		log_listeners(s);
	return err;
}

int server_reload(struct server *s, struct conf *conf)
{
	struct listen_set set = s->listeners, old = s->listeners;
	unsigned max;
	int err;

	if (!s->passed) {
		err = open_listeners(s, conf, &set);
		if (err < 0)
			return err;
	}
	if (conf->workers != s->conf->workers)
		log_line(LOG_LEVEL_WARNING, "event=reload-partial error=\"another number of workers needs a restart\"");

	assign_slots(s, conf);
	max = share(s, conf);
	s->max_connections = max * s->n_workers;
	for (unsigned i = 0; i < s->n_workers; i++)
		worker_apply(s->workers[i], conf, &set, max);
	s->listeners = set;
	listen_close(&old, &set);
	conf_ref(conf);
	conf_unref(s->conf);
	s->conf = conf;
	log_listeners(s);
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
	uint64_t ends[ENDS_N] = {0};

	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->n_workers; i++) {
		worker_stop(s->workers[i]);
		for (int end = 0; end < ENDS_N; end++)
			ends[end] += env_ended(worker_counts(s->workers[i]).env, (enum env_end)end);
		worker_free(s->workers[i]);
	}
	if (s->n_workers > 0)
		log_ends(ends);
	pending_free(s->pending);
	listen_close(&s->listeners, NULL);
	conf_unref(s->conf);
	free(s);
}
