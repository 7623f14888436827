#include "passed.h"

#include "log.h"
#include "pp2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct passed {
	struct handoff_item item;
	struct list link;
	struct env *env;
	struct conf *conf;         /* keeps route alive */
	const struct route *route;
	struct addr peer, local;
	struct env_life life;
	uint64_t since;            /* loop_now() */
	uint8_t header[];
};

static void forget(struct passed *p)
{
	p->env->n--;
	counter_sub(&p->env->counts.passed_now, 1);
	list_remove(&p->link);
	conf_unref(p->conf);
	free(p);
}

static void end(struct passed *p, enum env_end how)
{
	struct env *env = p->env;

	env_count_end(env, how, &p->peer, p->route, 0);
	handoff_forget(&p->item);
	if (p->life.stored)
		store_drop(env->store, p->life.number);
	close(p->item.fd);
	forget(p);
	env->ended(env);
}

/*
 * Tells a TLS client that the failure is ours, so that it tries again later,
 * RFC 8446 section 6. Its hello is taken from the queue first: closing a
 * socket with unread data sends a reset, which may overtake the alert.
 */
static void send_internal_error(struct env *env, int fd)
{
	static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 80};

	for (int i = 0; i < 16 && recv(fd, env->relay.scratch, RELAY_SCRATCH, 0) > 0; i++)
		;
	/* Nothing to be done if the client has gone. */
	if (send(fd, alert, sizeof(alert), MSG_NOSIGNAL) == sizeof(alert))
		shutdown(fd, SHUT_WR);
}

static void on_done(struct handoff_item *item, enum handoff_result result)
{
	static const enum env_end ends[] = {
		[HANDOFF_ADOPTED] = END_HANDED_OFF,
		[HANDOFF_REFUSED] = END_REFUSED,
		[HANDOFF_EXPIRED] = END_HOLD_EXPIRED,
		[HANDOFF_CLIENT_GONE] = END_CLIENT_GONE,
		[HANDOFF_FULL] = END_HELD_FULL,
	};
	struct passed *p = container_of(item, struct passed, item);
	char text[ADDR_TEXT_MAX];

	if (result == HANDOFF_ADOPTED && log_wants(LOG_LEVEL_INFO))
		log_connection(LOG_HANDOFFS, "event=handed-off peer=%s route=%s waited-ms=%u", addr_text(&p->peer, text),
			 p->route->name, (unsigned)(loop_now(p->env->loop) - p->since));
	/* Not into one that may be somebody's stream by now. */
	if (result != HANDOFF_ADOPTED && result != HANDOFF_CLIENT_GONE && !p->life.sent)
		send_internal_error(p->env, item->fd);
	end(p, ends[result]);
}

void passed_new(struct env *env, int fd, const struct route *route, const struct addr *peer,
		const struct addr *local, const char *alpn, const struct env_life *life)
{
	struct handoff *h = env->handoff_for(env, &route->target);
	uint8_t id[CONTROL_ID_LEN], header[PP2_V2_MAX];
	struct pp2_tlvs tlvs = {.id = id};
	struct passed *p;
	size_t len;

	if (h == NULL)
		goto failed;
	if (life->id == 0)
		handoff_next_id(h, id);
	else
		for (int i = 0; i < CONTROL_ID_LEN; i++)
			id[i] = (uint8_t)(life->id >> (8 * (CONTROL_ID_LEN - 1 - i)));
	if (alpn != NULL) {
		tlvs.alpn = (const uint8_t *)alpn;
		tlvs.alpn_len = strlen(alpn);
	}
	if (route_is_hostname(env->info.sni, env->info.sni_len)) {
		tlvs.authority = env->info.sni;
		tlvs.authority_len = env->info.sni_len;
	}
	len = pp2_write(PP2_V2, peer, local, &tlvs, header);

	p = malloc(sizeof(*p) + len);
	if (p == NULL)
		goto failed;
	*p = (struct passed){
		.item = {
			.done = on_done,
			.fd = fd,
			.hold_ms = route->hold_ms,
			.header = p->header,
			.header_len = len,
		},
		.env = env,
		.conf = conf_ref(env->conf),
		.route = route,
		.peer = *peer,
		.local = *local,
		.life = *life,
		.since = loop_now(env->loop),
	};
	for (int i = 0; i < CONTROL_ID_LEN; i++)
		p->life.id = p->life.id << 8 | id[i];
	memcpy(p->item.id, id, sizeof(id));
	memcpy(p->header, header, len);
	list_add_last(&env->passed, &p->link);
	counter_add(&env->counts.passed_now, 1);
	env->n++;
	handoff_submit(h, &p->item);
	return;

failed:
	if (life->stored)
		store_drop(env->store, life->number);
	env_count_end(env, END_NO_RESOURCES, peer, route, -ENOMEM);
	send_internal_error(env, fd);
	close(fd);
	env->ended(env);
}

/* What another process has to know. The descriptor stays with p. */
static void tell(const struct passed *p, struct record *r)
{
	record_init(r);
	r->id = p->life.id;
	r->born = p->life.born;
	r->used = p->life.used;
	r->sent = p->life.sent || p->item.state == HANDOFF_ITEM_SENT;
	r->peer = p->peer;
	r->local = p->local;
	r->stored = p->life.stored;
	r->number = p->life.number;
	r->fd[RECORD_CLIENT] = p->item.fd;
}

void passed_give_all(struct env *env, env_take take, void *arg)
{
	while (!list_empty(&env->passed)) {
		struct passed *p = container_of(env->passed.next, struct passed, link);
		struct record r;

		tell(p, &r);
		env_count_end(env, END_KEPT, &p->peer, p->route, 0);
		handoff_forget(&p->item);
		forget(p);
		take(arg, &r);
	}
}

bool passed_store_old(struct env *env, unsigned ms, int *ret_err)
{
	for (struct list *l = env->passed.next; l != &env->passed; l = l->next) {
		struct passed *p = container_of(l, struct passed, link);
		struct record r;

		if (p->life.stored || p->life.born + ms > loop_now(env->loop))
			continue;
		tell(p, &r);
		*ret_err = store_put(env->store, &r, false, &p->life.number);
		if (*ret_err < 0)
			return false;
		p->life.stored = true;
	}
	return true;
}

void passed_end_all(struct env *env)
{
	struct list *next;

	for (struct list *l = env->passed.next; l != &env->passed; l = next) {
		next = l->next;
		end(container_of(l, struct passed, link), END_STOPPED);
	}
}
