#include "metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* Sums over the workers. */
struct totals {
	struct env_counts env;
	struct handoff_counts handoff;
	struct counter relay_bytes[2];
};

/* What is being written. */
struct doc {
	const struct metrics *m;
	const struct totals *t;
	FILE *out;
	bool openmetrics;
};

/*
 * The lines before a family. Of a counter OpenMetrics wants the name here
 * without the _total that stands behind it in the samples, and the older
 * format with it.
 */
static void family(const struct doc *d, const char *name, const char *type, const char *help)
{
	const char *total = strcmp(type, "counter") == 0 && !d->openmetrics ? "_total" : "";

	fprintf(d->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, total, help, name, total, type);
}

static void one_counter(const struct doc *d, const char *name, const char *help, uint64_t value)
{
	family(d, name, "counter", help);
	fprintf(d->out, "%s_total %" PRIu64 "\n", name, value);
}

static void gauge(const struct doc *d, const char *name, const char *help, uint64_t value)
{
	family(d, name, "gauge", help);
	fprintf(d->out, "%s %" PRIu64 "\n", name, value);
}

static void labelled(const struct doc *d, const char *name, const char *label, const char *value, uint64_t n)
{
	fprintf(d->out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, n);
}

/* These structs are nothing but counters. */
static void add_up(void *total, const void *counts, size_t size)
{
	struct counter *t = total;
	const struct counter *c = counts;

	for (size_t i = 0; i < size / sizeof(*t); i++)
		counter_add(&t[i], counter_get(&c[i]));
}

static void add_worker(struct totals *t, const struct worker_counts *w)
{
	add_up(&t->env, w->env, sizeof(t->env));
	add_up(&t->handoff, w->handoff, sizeof(t->handoff));
	add_up(t->relay_bytes, w->relay_bytes, sizeof(t->relay_bytes));
}

static void write_routes(const struct doc *d)
{
	one_counter(d, "xmpp443_accepted", "Connections that were accepted.", counter_get(&d->t->env.accepted));

	family(d, "xmpp443_routed", "counter", "Connections by the route they took and by what they began with.");
	for (size_t slot = 0; slot < d->m->n_routes; slot++)
		for (size_t verdict = 0; verdict < VERDICTS_N; verdict++)
			fprintf(d->out, "xmpp443_routed_total{route=\"%s\",verdict=\"%s\"} %" PRIu64 "\n", d->m->routes[slot],
				env_verdict_name((enum env_verdict)verdict), counter_get(&d->t->env.routed[slot][verdict]));

	family(d, "xmpp443_handed_off", "counter", "Connections that a receiver has taken, by route.");
	for (size_t slot = 0; slot < d->m->n_routes; slot++)
		labelled(d, "xmpp443_handed_off_total", "route", d->m->routes[slot], counter_get(&d->t->env.ended[slot][END_HANDED_OFF]));
}

/* When an end can come: what cannot happen has no line. */
enum {
	BEFORE = 1, /* there is a route */
	AFTER = 2,
};

static void write_ends(const struct doc *d)
{
	static const uint8_t when[ENDS_N] = {
		[END_RELAYED] = AFTER,
		[END_RESET] = AFTER,
		[END_IDLE_TIMEOUT] = AFTER,
		[END_HELLO_TIMEOUT] = BEFORE,
		[END_CLIENT_GONE] = BEFORE | AFTER,
		[END_BAD_PROXY_HEADER] = BEFORE,
		[END_EVICTED] = BEFORE,
		[END_TOO_MANY_PENDING] = BEFORE,
		[END_HOLD_EXPIRED] = AFTER,
		[END_HELD_FULL] = AFTER,
		[END_REFUSED] = AFTER,
		[END_BACKEND_REFUSED] = AFTER,
		[END_BACKEND_TIMEOUT] = AFTER,
		[END_NO_RESOURCES] = BEFORE | AFTER,
		[END_KEPT] = BEFORE | AFTER,
		[END_STALE] = BEFORE | AFTER,
		[END_STOPPED] = BEFORE | AFTER,
	};

	family(d, "xmpp443_closed", "counter", "Connections that ended here, by reason, and by route if they had one.");
	for (size_t end = 0; end < ENDS_N; end++) {
		const char *reason = env_end_name((enum env_end)end);

		if (when[end] & BEFORE)
			labelled(d, "xmpp443_closed_total", "reason", reason, counter_get(&d->t->env.unrouted[end]));
		for (size_t slot = 0; (when[end] & AFTER) != 0 && slot < d->m->n_routes; slot++)
			fprintf(d->out, "xmpp443_closed_total{reason=\"%s\",route=\"%s\"} %" PRIu64 "\n", reason, d->m->routes[slot],
				counter_get(&d->t->env.ended[slot][end]));
	}
}

static void write_present(const struct doc *d)
{
	uint64_t passed = counter_get(&d->t->env.passed_now), held = counter_get(&d->t->handoff.held_now);

	family(d, "xmpp443_connections", "gauge", "Connections that are here now: with no verdict yet, waiting for a receiver's "
	       "answer, held since it is away, or relayed.");
	labelled(d, "xmpp443_connections", "state", "undecided", counter_get(&d->t->env.undecided_now));
	/* Two numbers that change together and are read one after the other. */
	labelled(d, "xmpp443_connections", "state", "unanswered", passed > held ? passed - held : 0);
	labelled(d, "xmpp443_connections", "state", "held", held);
	labelled(d, "xmpp443_connections", "state", "relayed", counter_get(&d->t->env.relayed_now));
	gauge(d, "xmpp443_connections_max", "How many of them there may be.", d->m->max_connections);
	gauge(d, "xmpp443_workers", "Threads that serve connections.", d->m->n_workers);
}

static void write_handoff(const struct doc *d)
{
	family(d, "xmpp443_channels", "gauge", "Channels to receivers, one for each worker and receiver.");
	labelled(d, "xmpp443_channels", "state", "up", counter_get(&d->t->handoff.up_now));
	labelled(d, "xmpp443_channels", "state", "away", counter_get(&d->t->handoff.away_now));
	family(d, "xmpp443_acks", "counter", "Answers of receivers: taken, never, not now.");
	labelled(d, "xmpp443_acks_total", "verdict", "adopted", counter_get(&d->t->handoff.adopted));
	labelled(d, "xmpp443_acks_total", "verdict", "refused", counter_get(&d->t->handoff.refused));
	labelled(d, "xmpp443_acks_total", "verdict", "later", counter_get(&d->t->handoff.later));
	one_counter(d, "xmpp443_held", "Connections that had to wait for a receiver.", counter_get(&d->t->handoff.held));
}

static void write_hello(const struct doc *d)
{
	uint64_t n = 0;

	family(d, "xmpp443_hello_seconds", "histogram", "Time from accepting a connection to the verdict on its beginning.");
	for (size_t i = 0; i < ENV_HELLO_BUCKETS; i++) {
		unsigned ms = env_hello_limits[i];

		n += counter_get(&d->t->env.hello_buckets[i]);
		/* OpenMetrics wants 1.0, and not 1 nor 1.000. */
		fprintf(d->out, ms % 100 == 0 ? "xmpp443_hello_seconds_bucket{le=\"%.1f\"} %" PRIu64 "\n"
					      : "xmpp443_hello_seconds_bucket{le=\"%g\"} %" PRIu64 "\n", ms / 1e3, n);
	}
	n += counter_get(&d->t->env.hello_buckets[ENV_HELLO_BUCKETS]);
	fprintf(d->out, "xmpp443_hello_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", n);
	fprintf(d->out, "xmpp443_hello_seconds_sum %.3f\nxmpp443_hello_seconds_count %" PRIu64 "\n",
		(double)counter_get(&d->t->env.hello_ms) / 1e3, n);
}

static void write_rest(const struct doc *d)
{
	family(d, "xmpp443_relay_bytes", "counter", "Bytes relayed, by the side they were for.");
	labelled(d, "xmpp443_relay_bytes_total", "direction", "to-backend", counter_get(&d->t->relay_bytes[0]));
	labelled(d, "xmpp443_relay_bytes_total", "direction", "to-client", counter_get(&d->t->relay_bytes[1]));
	family(d, "xmpp443_accept_pauses", "counter", "How often a worker stopped accepting: no descriptors or memory, or as many "
	       "connections as it may have.");
	labelled(d, "xmpp443_accept_pauses_total", "reason", "no-resources", counter_get(&d->t->env.short_of_resources));
	labelled(d, "xmpp443_accept_pauses_total", "reason", "full", counter_get(&d->t->env.full));
	one_counter(d, "xmpp443_log_lines_left_out", "Lines about connections that were not logged, since they came too quickly.",
		    d->m->log_lines_left_out);
	family(d, "xmpp443_reloads", "counter", "Reloads of the settings.");
	labelled(d, "xmpp443_reloads_total", "result", "ok", d->m->reloads);
	labelled(d, "xmpp443_reloads_total", "result", "failed", d->m->failed_reloads);
	family(d, d->openmetrics ? "xmpp443_build" : "xmpp443_build_info", d->openmetrics ? "info" : "gauge", "The version that runs.");
	fprintf(d->out, "xmpp443_build_info{version=\"%s\"} 1\n", d->m->version);
}

/* By the names that every exporter uses. */
static void write_proc(const struct doc *d)
{
	const struct proc_numbers *p = &d->m->proc;

	family(d, "process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.");
	fprintf(d->out, "process_start_time_seconds %.3f\n", p->start);
	family(d, "process_cpu_seconds", "counter", "Time on a processor, in user and system mode.");
	fprintf(d->out, "process_cpu_seconds_total %.3f\n", p->cpu);
	if (p->open_fds >= 0)
		gauge(d, "process_open_fds", "Open file descriptors.", (uint64_t)p->open_fds);
	if (p->max_fds >= 0)
		gauge(d, "process_max_fds", "How many file descriptors may be open.", (uint64_t)p->max_fds);
	if (p->resident_bytes >= 0)
		gauge(d, "process_resident_memory_bytes", "Memory in use.", (uint64_t)p->resident_bytes);
}

void metrics_write(const struct metrics *m, FILE *out, bool openmetrics)
{
	struct totals t = {0};
	const struct doc d = {.m = m, .t = &t, .out = out, .openmetrics = openmetrics};

	for (unsigned i = 0; i < m->n_workers; i++)
		add_worker(&t, &m->workers[i]);
	write_routes(&d);
	write_ends(&d);
	write_present(&d);
	write_handoff(&d);
	write_hello(&d);
	write_rest(&d);
	write_proc(&d);
	if (openmetrics)
		fputs("# EOF\n", out);
}
