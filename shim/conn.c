#include "conn.h"

#include "log.h"
#include "pp2.h"
#include "relay.h"
#include "route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum conn_state {
	CONN_STATE_PEEKING,    /* no verdict yet; watch and deadline are set */
	CONN_STATE_HANDING,    /* item is with the handoff */
	CONN_STATE_RELAYING,   /* the relay owns the descriptor */
};

struct conn {
	struct conn_env *env;
	struct conn *prev, *next;
	struct conf *conf;         /* keeps route alive */
	const struct route *route; /* NULL before the verdict */
	enum conn_state state;
	int fd;                    /* -1 when the relay has it */
	struct addr peer;
	struct loop_watch watch;
	struct loop_timer deadline;
	struct hello hello;
	size_t seen;               /* bytes that hello has read */
	uint64_t since;            /* loop_now() when handed to handoff */
	union {
		struct handoff_item item;
		struct relay *relay;
	};
	uint8_t *header;           /* for the receiver, until it has answered */
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

const char *conn_end_name(enum conn_end end)
{
	static const char *const names[] = {
		[CONN_HANDED_OFF] = "handed-off",
		[CONN_RELAYED] = "relayed",
		[CONN_RESET] = "reset",
		[CONN_HELLO_TIMEOUT] = "hello-timeout",
		[CONN_CLIENT_GONE] = "client-gone",
		[CONN_HOLD_EXPIRED] = "hold-expired",
		[CONN_HELD_FULL] = "held-full",
		[CONN_REFUSED] = "refused",
		[CONN_BACKEND_REFUSED] = "backend-refused",
		[CONN_BACKEND_TIMEOUT] = "backend-timeout",
		[CONN_NO_RESOURCES] = "no-resources",
		[CONN_TOO_MANY_PENDING] = "too-many-pending",
		[CONN_STOPPED] = "stopped",
	};

	return end < CONN_ENDS ? names[end] : "?";
}

/* Ends that are nobody's failure are worth a line only to somebody who looks for them. */
static enum log_level end_level(enum conn_end end)
{
	return end == CONN_RELAYED || end == CONN_RESET || end == CONN_STOPPED ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

void conn_count_end(struct conn_env *env, enum conn_end end, const struct addr *peer, const char *route, int error)
{
	char text[ADDR_TEXT_MAX];

	env->ends[end]++;
	if (!log_wants(end_level(end)) || end == CONN_HANDED_OFF)
		return;
	if (error < 0)
		log_line(end_level(end), "event=closed reason=%s peer=%s route=%s error=\"%s\"", conn_end_name(end),
			 addr_text(peer, text), route, strerror(-error));
	else
		log_line(end_level(end), "event=closed reason=%s peer=%s route=%s", conn_end_name(end),
			 addr_text(peer, text), route);
}

static void conn_free(struct conn *c)
{
	struct conn_env *env = c->env;

	switch (c->state) {
	case CONN_STATE_PEEKING:
		loop_del(env->loop, &c->watch);
		loop_timer_unset(env->loop, &c->deadline);
		break;
	case CONN_STATE_HANDING:
		handoff_forget(&c->item);
		break;
	case CONN_STATE_RELAYING:
		relay_free(c->relay);
		break;
	}
	if (c->fd >= 0)
		close(c->fd);
	*(c->prev != NULL ? &c->prev->next : &env->first) = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	env->n--;
	conf_unref(c->conf);
	free(c->header);
	free(c);
}

static void conn_end(struct conn *c, enum conn_end end, int error)
{
	struct conn_env *env = c->env;

	conn_count_end(env, end, &c->peer, c->route != NULL ? c->route->name : "-", error);
	if (c->state == CONN_STATE_PEEKING)
		env->decided(env, &c->peer);
	conn_free(c);
	env->ended(env);
}

/*
 * Tells a TLS client that the failure is ours, so that it tries again later,
 * RFC 8446 section 6. Its hello is taken from the queue first: closing a
 * socket with unread data sends a reset, which may overtake the alert.
 */
static void send_internal_error(struct conn_env *env, int fd)
{
	static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 80};

	for (int i = 0; i < 16 && recv(fd, env->peek, sizeof(env->peek), 0) > 0; i++)
		;
	/* Nothing to be done if the client has gone. */
	if (send(fd, alert, sizeof(alert), MSG_NOSIGNAL) == sizeof(alert))
		shutdown(fd, SHUT_WR);
}

static void on_handoff_done(struct handoff_item *item, enum handoff_result result)
{
	static const enum conn_end ends[] = {
		[HANDOFF_ADOPTED] = CONN_HANDED_OFF,
		[HANDOFF_REFUSED] = CONN_REFUSED,
		[HANDOFF_EXPIRED] = CONN_HOLD_EXPIRED,
		[HANDOFF_CLIENT_GONE] = CONN_CLIENT_GONE,
		[HANDOFF_FULL] = CONN_HELD_FULL,
	};
	struct conn *c = container_of(item, struct conn, item);
	char text[ADDR_TEXT_MAX];

	if (result == HANDOFF_ADOPTED)
		log_line(LOG_LEVEL_INFO, "event=handed-off peer=%s route=%s waited-ms=%u", addr_text(&c->peer, text),
			 c->route->name, (unsigned)(loop_now(c->env->loop) - c->since));
	else if (result != HANDOFF_CLIENT_GONE)
		send_internal_error(c->env, c->fd);
	conn_end(c, ends[result], 0);
}

static void on_relay_done(void *arg, enum relay_result result, int error)
{
	static const enum conn_end ends[] = {
		[RELAY_DONE] = CONN_RELAYED,
		[RELAY_RESET] = CONN_RESET,
		[RELAY_REFUSED] = CONN_BACKEND_REFUSED,
		[RELAY_TIMEOUT] = CONN_BACKEND_TIMEOUT,
	};

	conn_end(arg, ends[result], error);
}

static struct addr local_addr(int fd)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);

	getsockname(fd, (struct sockaddr *)&ss, &len);
	return addr_from_sockaddr((const struct sockaddr *)&ss);
}

static void hand_off(struct conn *c, const char *alpn)
{
	struct conn_env *env = c->env;
	struct handoff *h = env->handoff_for(env, &c->route->target);
	struct addr local = local_addr(c->fd);
	uint8_t buf[PP2_V2_MAX];
	struct pp2_tlvs tlvs = {.id = c->item.id};

	c->state = CONN_STATE_HANDING;
	c->since = loop_now(env->loop);
	c->item = (struct handoff_item){
		.done = on_handoff_done,
		.fd = c->fd,
		.hold_ms = c->route->hold_ms,
	};
	if (h == NULL) {
		on_handoff_done(&c->item, HANDOFF_FULL);
		return;
	}

	handoff_next_id(h, c->item.id);
	if (alpn != NULL) {
		tlvs.alpn = (const uint8_t *)alpn;
		tlvs.alpn_len = strlen(alpn);
	}
	if (route_is_hostname(env->info.sni, env->info.sni_len)) {
		tlvs.authority = env->info.sni;
		tlvs.authority_len = env->info.sni_len;
	}
	c->item.header_len = pp2_write(PP2_V2, &c->peer, &local, &tlvs, buf);
	c->header = malloc(c->item.header_len);
	if (c->header == NULL) {
		on_handoff_done(&c->item, HANDOFF_FULL);
		return;
	}
	memcpy(c->header, buf, c->item.header_len);
	c->item.header = c->header;
	handoff_submit(h, &c->item); /* may have freed c */
}

static void relay(struct conn *c)
{
	struct conn_env *env = c->env;
	struct addr local = local_addr(c->fd);
	uint8_t header[PP2_V2_MAX];
	struct relay_backend backend = {
		.target = &c->route->target,
		.header = header,
		.header_len = pp2_write(c->route->pp, &c->peer, &local, NULL, header),
		.timeout_ms = c->conf->connect_timeout_ms,
	};
	int fd = c->fd, err;

	c->state = CONN_STATE_RELAYING;
	c->relay = NULL;
	c->fd = -1;
	err = relay_new(env->loop, &env->pipes, fd, &backend, on_relay_done, c, &c->relay);
	if (err < 0)
		conn_end(c, CONN_NO_RESOURCES, err);
}

static void decide(struct conn *c, enum hello_status status, const char *verdict)
{
	struct conn_env *env = c->env;
	const char *alpn = NULL;
	char text[ADDR_TEXT_MAX];

	loop_del(env->loop, &c->watch);
	loop_timer_unset(env->loop, &c->deadline);
	env->decided(env, &c->peer);

	if (status == HELLO_OK)
		c->route = route_find(c->conf->routes, c->conf->n_routes, &env->info, &alpn);
	if (c->route == NULL)
		c->route = &c->conf->web;
	if (log_wants(LOG_LEVEL_DEBUG))
		log_line(LOG_LEVEL_DEBUG, "event=routed peer=%s verdict=%s route=%s bytes=%zu",
			 addr_text(&c->peer, text), verdict, c->route->name, c->seen);

	if (c->route->fdpass)
		hand_off(c, alpn);
	else
		relay(c);
}

/*
 * Looks at what has come, and takes nothing out of the queue. True: waits for
 * more. Else the connection has gone its way, and c must not be used.
 */
static bool peek(struct conn *c, uint32_t events)
{
	struct conn_env *env = c->env;
	ssize_t n;

	do {
		n = recv(c->fd, env->peek, sizeof(env->peek), MSG_PEEK);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0) {
		conn_end(c, CONN_CLIENT_GONE, n < 0 ? -errno : 0);
		return false;
	}

	/* A hello in one piece, as most are, is read once; in pieces, each byte when it comes and all at the end. */
	if (c->seen == 0 || hello_scan(&c->hello, env->peek + c->seen, (size_t)n - c->seen) == HELLO_OK)
		hello_read(&c->hello, env->peek, (size_t)n, &env->info);
	c->seen = (size_t)n;

	if (c->hello.status != HELLO_NEED_MORE) {
		decide(c, c->hello.status, hello_status_name(c->hello.status));
		return false;
	}
	if (c->seen == sizeof(env->peek)) {
		decide(c, c->hello.status, "too-long");
		return false;
	}
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		conn_end(c, CONN_CLIENT_GONE, 0);
		return false;
	}
	return true;
}

static void on_readable(struct loop_watch *w, uint32_t events)
{
	peek(container_of(w, struct conn, watch), events);
}

static void on_deadline(struct loop_timer *t)
{
	conn_end(container_of(t, struct conn, deadline), CONN_HELLO_TIMEOUT, 0);
}

void conn_new(struct conn_env *env, int fd, const struct addr *peer)
{
	struct conn *c = calloc(1, sizeof(*c));
	int err;

	if (c == NULL) {
		conn_count_end(env, CONN_NO_RESOURCES, peer, "-", -ENOMEM);
		env->decided(env, peer);
		close(fd);
		return;
	}
	c->env = env;
	c->conf = conf_ref(env->conf);
	c->fd = fd;
	c->peer = *peer;
	c->watch = (struct loop_watch){.fd = fd, .ready = on_readable};
	c->deadline.expired = on_deadline;
	hello_init(&c->hello);
	c->next = env->first;
	if (env->first != NULL)
		env->first->prev = c;
	env->first = c;
	env->n++;

	/* Often the hello is there already, and nothing has to be waited for. */
	if (!peek(c, 0))
		return;
	err = loop_timer_set(env->loop, &c->deadline, c->conf->hello_timeout_ms);
	if (err == 0)
		err = loop_add(env->loop, &c->watch, EPOLLIN | EPOLLRDHUP | EPOLLET);
	if (err < 0)
		conn_end(c, CONN_NO_RESOURCES, err);
}

void conn_end_all(struct conn_env *env)
{
	struct conn *next;

	for (struct conn *c = env->first; c != NULL; c = next) {
		next = c->next;
		conn_end(c, CONN_STOPPED, 0);
	}
}
