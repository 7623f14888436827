#include "env.h"

#include "log.h"

#include <string.h>
#include <sys/random.h>

const unsigned env_hello_limits[ENV_HELLO_BUCKETS] = {1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000};

const char *env_end_name(enum env_end end)
{
	static const char *const names[] = {
		[END_HANDED_OFF] = "handed-off",
		[END_RELAYED] = "relayed",
		[END_RESET] = "reset",
		[END_IDLE_TIMEOUT] = "idle-timeout",
		[END_HELLO_TIMEOUT] = "hello-timeout",
		[END_CLIENT_GONE] = "client-gone",
		[END_BAD_PROXY_HEADER] = "bad-proxy-header",
		[END_EVICTED] = "evicted",
		[END_TOO_MANY_PENDING] = "too-many-pending",
		[END_HOLD_EXPIRED] = "hold-expired",
		[END_HELD_FULL] = "held-full",
		[END_REFUSED] = "refused",
		[END_BACKEND_REFUSED] = "backend-refused",
		[END_BACKEND_TIMEOUT] = "backend-timeout",
		[END_NO_RESOURCES] = "no-resources",
		[END_STOPPED] = "stopped",
		[END_KEPT] = "kept",
		[END_STALE] = "stale",
	};

	return end < ENDS_N ? names[end] : "?";
}

const char *env_verdict_name(enum env_verdict verdict)
{
	static const char *const names[] = {
		[VERDICT_OK] = "ok",
		[VERDICT_NOT_TLS] = "not-tls",
		[VERDICT_MALFORMED] = "malformed",
		[VERDICT_TOO_LONG] = "too-long",
	};

	return verdict < VERDICTS_N ? names[verdict] : "?";
}

void env_count_verdict(struct env *env, enum env_verdict verdict, const struct route *route, uint64_t ms)
{
	struct env_counts *c = &env->counts;
	size_t bucket = 0;

	while (bucket < ENV_HELLO_BUCKETS && ms > env_hello_limits[bucket])
		bucket++;
	counter_add(&c->hello_buckets[bucket], 1);
	counter_add(&c->hello_ms, ms);
	counter_add(&c->routed[route->slot][verdict], 1);
}

uint64_t env_ended(const struct env_counts *counts, enum env_end end)
{
	uint64_t n = counter_get(&counts->unrouted[end]);

	for (size_t i = 0; i < ROUTE_SLOTS; i++)
		n += counter_get(&counts->ended[i][end]);
	return n;
}

uint64_t env_new_id(struct env *env)
{
	uint64_t id;

	/* Without randomness, which cannot be, it is still unique in this worker's life. */
	if (getrandom(&id, sizeof(id), GRND_NONBLOCK) == sizeof(id) && id != 0)
		env->last_id = id;
	else
		env->last_id++;
	return env->last_id;
}

/* Ends that are nobody's failure are worth a line only to somebody who looks for them. */
static enum log_about about(enum env_end end)
{
	return end == END_RELAYED || end == END_RESET || end == END_IDLE_TIMEOUT || end == END_STOPPED || end == END_KEPT
		       ? LOG_DECISIONS : LOG_FAILURES;
}

void env_count_end(struct env *env, enum env_end end, const struct addr *peer, const struct route *route, int error)
{
	char text[ADDR_TEXT_MAX];
	const char *name = route != NULL ? route->name : "-";

	counter_add(route != NULL ? &env->counts.ended[route->slot][end] : &env->counts.unrouted[end], 1);
	/* A hand-off has a line of its own. */
	if (end == END_HANDED_OFF || !log_wants_about(about(end)))
		return;
	if (error < 0)
		log_connection(about(end), "event=closed reason=%s peer=%s route=%s error=\"%s\"", env_end_name(end),
			 addr_text(peer, text), name, strerror(-error));
	else
		log_connection(about(end), "event=closed reason=%s peer=%s route=%s", env_end_name(end),
			 addr_text(peer, text), name);
}
