#include "relayed.h"

#include "pp2.h"

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
	if (err < 0) {
		env_count_end(env, end_by_error(err), peer, route, err);
		forget(r);
	}
}

void relayed_sweep(struct env *env, uint32_t seconds)
{
	struct list *next;

	for (struct list *l = env->relayed.next; l != &env->relayed; l = next) {
		struct relayed *r = container_of(l, struct relayed, link);

		next = l->next;
		if (relay_idle(&r->relay) >= seconds)
			end(r, END_IDLE_TIMEOUT, 0);
	}
}

void relayed_end_all(struct env *env)
{
	struct list *next;

	for (struct list *l = env->relayed.next; l != &env->relayed; l = next) {
		next = l->next;
		end(container_of(l, struct relayed, link), END_STOPPED, 0);
	}
}
