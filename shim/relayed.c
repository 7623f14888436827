#include "relayed.h"

#include "pp2.h"
#include "taken.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* There may be many that do nothing: each byte counts. */
struct relayed {
	struct relay relay;
	struct list link;
	struct conf *conf;
	struct addr peer;
	uint8_t route; /* its number in conf; CONF_ROUTES_MAX: web */
};

/*
 * relay.tag is the number in the store of one that is kept; of others the
 * milliseconds of loop_now() at which it began.
 */

static struct env *env_of(const struct relayed *r)
{
	return container_of(r->relay.env, struct env, relay);
}

static const struct route *route_of(const struct relayed *r)
{
	return r->route == CONF_ROUTES_MAX ? &r->conf->web : &r->conf->routes[r->route];
}

static void forget(struct relayed *r)
{
	struct env *env = env_of(r);

	list_remove(&r->link);
	counter_sub(&env->counts.relayed_now, 1);
	conf_unref(r->conf);
	free(r);
	env->n--;
	env->ended(env);
}

static void end(struct relayed *r, enum env_end how, int error)
{
	env_count_end(env_of(r), how, &r->peer, route_of(r), error);
	relay_close(&r->relay);
	if (r->relay.kept)
		store_drop(env_of(r)->store, r->relay.tag);
	forget(r);
}

static enum env_end end_by_error(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ? END_NO_RESOURCES
											      : END_BACKEND_REFUSED;
}

void relayed_done(struct relay *relay, enum relay_result result, int error)
{
	struct relayed *r = container_of(relay, struct relayed, relay);

	switch (result) {
	case RELAY_DONE:
		end(r, END_RELAYED, 0);
		return;
	case RELAY_RESET:
		end(r, END_RESET, 0);
		return;
	case RELAY_FAILED:
		end(r, end_by_error(error), error);
		return;
	case RELAY_TIMEOUT:
		end(r, END_BACKEND_TIMEOUT, 0);
		return;
	}
}

/* What the route wants the backend to be told besides the addresses. */
static size_t write_header(const struct route *route, const struct hello_info *info, const struct addr *peer,
			   const struct addr *local, const char *alpn, uint8_t *buf)
{
	struct pp2_tlvs tlvs = {0};
	uint8_t id[PP2_ID_LEN];
	size_t pos = 0;

	if ((route->tlvs & ROUTE_TLV_AUTHORITY) && route_is_hostname(info->sni, info->sni_len)) {
		tlvs.authority = info->sni;
		tlvs.authority_len = info->sni_len;
	}
	if ((route->tlvs & ROUTE_TLV_ALPN) && alpn != NULL) {
		tlvs.alpn = (const uint8_t *)alpn;
		tlvs.alpn_len = strlen(alpn);
	} else if (route->tlvs & ROUTE_TLV_ALPN) {
		hello_alpn_next(info, &pos, &tlvs.alpn, &tlvs.alpn_len);
	}
	if ((route->tlvs & ROUTE_TLV_UNIQUE_ID) && getrandom(id, sizeof(id), GRND_NONBLOCK) == sizeof(id))
		tlvs.id = id;
	return pp2_write(route->pp, peer, local, &tlvs, buf);
}

void relayed_new(struct env *env, int fd, const struct route *route, const struct addr *peer,
		 const struct addr *local, const char *alpn, const uint8_t *peeked, size_t peeked_len)
{
	struct relayed *r = malloc(sizeof(*r));
	uint8_t header[PP2_V2_MAX];
	struct relay_backend backend = {
		.target = &route->target,
		.header = header,
		.header_len = write_header(route, &env->info, peer, local, alpn, header),
		.peeked = peeked,
		.peeked_len = peeked_len,
		.timeout_ms = env->conf->connect_timeout_ms,
	};
	int err;

	if (r == NULL) {
		env_count_end(env, END_NO_RESOURCES, peer, route, -ENOMEM);
		close(fd);
		env->ended(env);
		return;
	}
	r->conf = conf_ref(env->conf);
	r->peer = *peer;
	r->route = route == &env->conf->web ? CONF_ROUTES_MAX : (uint8_t)(route - env->conf->routes);
	list_add_last(&env->relayed, &r->link);
	counter_add(&env->counts.relayed_now, 1);
	env->n++;

	err = relay_open(&r->relay, &env->relay, fd, &backend);
	r->relay.tag = (uint32_t)loop_now(env->loop);
	if (err < 0) {
		env_count_end(env, end_by_error(err), peer, route, err);
		forget(r);
	}
}

/* What another process has to know, with the descriptors of parts. */
static void tell(struct relayed *r, const struct relay_parts *parts, struct record *ret)
{
	record_init(ret);
	ret->relay = true;
	ret->peer = r->peer;
	memcpy(ret->route, route_of(r)->name, sizeof(ret->route));
	for (int i = 0; i < 2; i++) {
		ret->broken[i] = parts->broken[i];
		ret->fd[RECORD_CLIENT + i] = parts->side[i];
		ret->fd[i == 0 ? RECORD_UP_OUT : RECORD_DOWN_OUT] = parts->pipe[i][0];
		ret->fd[i == 0 ? RECORD_UP_IN : RECORD_DOWN_IN] = parts->pipe[i][1];
	}
}

static int store(struct relayed *r, bool wait)
{
	struct env *env = env_of(r);
	struct relay_parts parts;
	struct record record;
	bool kept = r->relay.kept;
	uint32_t number;
	int err = relay_keep(&r->relay, &parts);

	if (err < 0)
		return err;
	tell(r, &parts, &record);
	err = store_put(env->store, &record, wait, &number);
	if (err == 0 && kept)
		store_drop(env->store, r->relay.tag);
	if (err == 0)
		r->relay.tag = number;
	else if (!kept)
		relay_unkeep(&r->relay);
	if (err == 0 && !kept) {
		list_remove(&r->link);
		list_add_last(&env->kept, &r->link);
	}
	return err;
}

bool relayed_store_old(struct env *env, unsigned ms, int *ret_err)
{
	struct list *next;

	for (struct list *l = env->relayed.next; l != &env->relayed; l = next) {
		struct relayed *r = container_of(l, struct relayed, link);

		next = l->next;
		if ((uint32_t)loop_now(env->loop) - r->relay.tag < ms)
			break;
		*ret_err = store(r, false);
		if (*ret_err < 0 && !r->relay.starting)
			return false;
	}
	return true;
}

bool relayed_unkeep(struct relay *relay)
{
	struct relayed *r = container_of(relay, struct relayed, relay);
	struct env *env = env_of(r);

	store_drop(env->store, relay->tag);
	relay->tag = (uint32_t)loop_now(env->loop);
	list_remove(&r->link);
	list_add_last(&env->relayed, &r->link);
	relay_unkeep(relay);
	return store_barrier(env->store) == 0;
}

void relayed_changed(struct relay *relay)
{
	/* If it fails the copies stay as they are: then, after a crash, this reset would look like an end. */
	store(container_of(relay, struct relayed, relay), true);
}

void relayed_restore(struct env *env, struct record *record, bool at_once)
{
	struct relayed *r = malloc(sizeof(*r));
	const struct conf *conf = env->conf;
	struct relay_parts parts;
	int err;

	if (r == NULL) {
		env_count_end(env, END_NO_RESOURCES, &record->peer, NULL, -ENOMEM);
		record_close(record);
		return;
	}
	for (int i = 0; i < 2; i++) {
		parts.broken[i] = record->broken[i];
		parts.side[i] = record->fd[RECORD_CLIENT + i];
		parts.pipe[i][0] = record->fd[i == 0 ? RECORD_UP_OUT : RECORD_DOWN_OUT];
		parts.pipe[i][1] = record->fd[i == 0 ? RECORD_UP_IN : RECORD_DOWN_IN];
	}
	r->conf = conf_ref(env->conf);
	r->peer = record->peer;
	/* Only for the log: a route that is no more does not end what came by it. */
	r->route = CONF_ROUTES_MAX;
	for (size_t i = 0; i < conf->n_routes; i++)
		if (strcmp(conf->routes[i].name, record->route) == 0)
			r->route = (uint8_t)i;
	list_add_last(&env->relayed, &r->link);
	counter_add(&env->counts.relayed_now, 1);
	env->n++;

	err = relay_adopt(&r->relay, &env->relay, &parts);
	r->relay.tag = (uint32_t)loop_now(env->loop);
	if (err < 0) {
		env_count_end(env, END_STALE, &r->peer, route_of(r), err);
		forget(r);
	} else if (record->stored) {
		relay_keep(&r->relay, &parts);
		r->relay.tag = record->number;
		list_remove(&r->link);
		list_add_last(&env->kept, &r->link);
	} else if (at_once) {
		store(r, true);
	}
}

static void give(struct relayed *r, env_take take, void *arg)
{
	struct env *env = env_of(r);
	bool kept = r->relay.kept;
	uint32_t number = r->relay.tag;
	struct relay_parts parts;
	struct record record;

	if (relay_give(&r->relay, &parts)) {
		tell(r, &parts, &record);
		record.stored = kept;
		record.number = number;
	} else {
		record_init(&record);
		record.id = env_new_id(env);
		record.born = loop_now(env->loop);
		record.peer = r->peer;
		record.used = (uint64_t)taken_bytes(parts.side[0]); /* by a proxy's header, if anything */
		record.fd[RECORD_CLIENT] = parts.side[0];
	}
	env_count_end(env, END_KEPT, &r->peer, route_of(r), 0);
	forget(r);
	take(arg, &record);
}

void relayed_give_all(struct env *env, env_take take, void *arg)
{
	struct list *lists[] = {&env->relayed, &env->kept};

	for (int i = 0; i < 2; i++) {
		struct list *next;

		for (struct list *l = lists[i]->next; l != lists[i]; l = next) {
			next = l->next;
			give(container_of(l, struct relayed, link), take, arg);
		}
	}
}

static void sweep(struct list *list, uint32_t seconds, uint32_t half_closed)
{
	struct list *next;

	for (struct list *l = list->next; l != list; l = next) {
		struct relayed *r = container_of(l, struct relayed, link);
		uint32_t idle = relay_idle(&r->relay);

		next = l->next;
		if ((seconds > 0 && idle >= seconds) || (half_closed > 0 && idle >= half_closed && relay_half_closed(&r->relay)))
			end(r, END_IDLE_TIMEOUT, 0);
	}
}

void relayed_sweep(struct env *env, uint32_t seconds, uint32_t half_closed)
{
	sweep(&env->relayed, seconds, half_closed);
	sweep(&env->kept, seconds, half_closed);
}

static void end_all(struct list *list)
{
	struct list *next;

	for (struct list *l = list->next; l != list; l = next) {
		next = l->next;
		end(container_of(l, struct relayed, link), END_STOPPED, 0);
	}
}

void relayed_end_all(struct env *env)
{
	end_all(&env->relayed);
	end_all(&env->kept);
}
