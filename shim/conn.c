#include "conn.h"

#include "log.h"
#include "passed.h"
#include "pp2.h"
#include "relayed.h"
#include "route.h"
#include "taken.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct conn {
	struct env *env;
	struct list link;
	struct loop_watch watch;
	struct loop_timer deadline;
	struct addr peer, local;   /* local is AF_UNSPEC until it is asked for */
	struct hello hello;
	size_t seen;               /* bytes that hello has read */
	struct env_life life;
	bool header;               /* a PROXY header has to come first */
	bool admitted;
	bool waits;                /* it is in env->undecided, and in memory of its own */
};

/* Takes the connection out of the list; the descriptor goes on. */
static int release(struct conn *c)
{
	struct env *env = c->env;
	int fd = c->watch.fd;

	if (!c->waits)
		return fd;
	loop_del(env->loop, &c->watch);
	loop_timer_unset(env->loop, &c->deadline);
	if (c->admitted)
		env->decided(env, &c->peer);
	list_remove(&c->link);
	counter_sub(&env->counts.undecided_now, 1);
	env->n--;
	free(c); /* NOLINT(clang-analyzer-unix.Malloc): one on the stack does not wait */
	return fd;
}

static void end(struct conn *c, enum env_end how, int error)
{
	struct env *env = c->env;

	env_count_end(env, how, &c->peer, NULL, error);
	if (c->life.stored)
		store_drop(env->store, c->life.number);
	close(release(c));
	env->ended(env);
}

static struct addr local_addr(int fd)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);

	getsockname(fd, (struct sockaddr *)&ss, &len);
	return addr_from_sockaddr((const struct sockaddr *)&ss);
}

/* What a look at the first bytes came to. */
enum outcome {
	WAITS, /* for more bytes */
	AGAIN, /* there may be more to see already */
	GONE,  /* ended, passed or relayed; the conn must not be used */
};

/* The verdict is there; env->info and the scratch hold what was peeked. */
static void decide(struct conn *c, enum env_verdict verdict)
{
	struct env *env = c->env;
	const struct addr peer = c->peer;
	const struct route *route = NULL;
	const char *alpn = NULL;
	size_t seen = c->seen;
	const struct env_life life = c->life;
	struct addr local = c->local;
	char text[ADDR_TEXT_MAX];
	int fd;

	if (verdict == VERDICT_OK)
		route = route_find(env->conf->routes, env->conf->n_routes, &env->info, &alpn);
	else
		env->info.sni_len = env->info.alpn_len = 0;
	if (route == NULL)
		route = &env->conf->web;
	if (log_wants_about(LOG_DECISIONS))
		log_connection(LOG_DECISIONS, "event=routed peer=%s verdict=%s route=%s bytes=%zu", addr_text(&peer, text),
			 env_verdict_name(verdict), route->name, seen);
	env_count_verdict(env, verdict, route, loop_now(env->loop) - c->life.born);

	/* Somebody may have it already, and no one else may get it. */
	if (life.sent && !route->fdpass) {
		end(c, END_STALE, 0);
		return;
	}
	fd = release(c);
	if (local.family == AF_UNSPEC)
		local = local_addr(fd);
	if (route->fdpass)
		passed_new(env, fd, route, &peer, &local, alpn, &life);
	else
		relayed_new(env, fd, route, &peer, &local, alpn, env->relay.scratch, seen);
	/* A relay is stored as one. Only now, since until its first bytes went on it could have begun again. */
	if (life.stored && !route->fdpass)
		store_drop(env->store, life.number);
}

/* May this client have one more? False: not, and c is gone. */
static bool admit(struct conn *c)
{
	bool admitted = c->env->admit(c->env, &c->peer);

	c->admitted = admitted;
	if (!admitted)
		end(c, END_TOO_MANY_PENDING, 0);
	return admitted;
}

/*
 * A trusted proxy's header, of which n bytes are there: takes exactly it out
 * of the queue, and its addresses for the connection's own.
 */
static enum outcome take_header(struct conn *c, size_t n, bool ending)
{
	struct env *env = c->env;
	struct addr src, dst;
	size_t len;

	switch (pp2_read(env->relay.scratch, n, &len, &src, &dst)) {
	case PP2_OK:
		break;
	case PP2_NEED_MORE:
		if (!ending)
			return WAITS;
		end(c, END_CLIENT_GONE, 0);
		return GONE;
	case PP2_MALFORMED:
		end(c, END_BAD_PROXY_HEADER, 0);
		return GONE;
	}
	if (recv(c->watch.fd, env->relay.scratch, len, 0) != (ssize_t)len) {
		end(c, END_CLIENT_GONE, 0);
		return GONE;
	}
	c->header = false;
	c->life.used = len;
	if (src.family != AF_UNSPEC) {
		c->peer = src;
		c->local = dst;
	}
	return c->waits && !admit(c) ? GONE : AGAIN;
}

/* Reads the hello as far as it is there. */
static enum outcome take_hello(struct conn *c, size_t n, bool ending)
{
	struct env *env = c->env;
	const uint8_t *buf = env->relay.scratch;

	/* A hello in one piece, as most are, is read once; in pieces, each byte when it comes and all at the end. */
	if (c->seen == 0 || hello_scan(&c->hello, buf + c->seen, n - c->seen) == HELLO_OK)
		hello_read(&c->hello, buf, n, &env->info);
	c->seen = n;

	switch (c->hello.status) {
	case HELLO_OK:
		decide(c, VERDICT_OK);
		return GONE;
	case HELLO_NOT_TLS:
		decide(c, VERDICT_NOT_TLS);
		return GONE;
	case HELLO_MALFORMED:
		decide(c, VERDICT_MALFORMED);
		return GONE;
	case HELLO_NEED_MORE:
		break;
	}
	if (n == RELAY_SCRATCH) {
		decide(c, VERDICT_TOO_LONG);
		return GONE;
	}
	if (!ending)
		return WAITS;
	end(c, END_CLIENT_GONE, 0);
	return GONE;
}

/* Looks at what has come. ending: nothing more will. */
static enum outcome look(struct conn *c, bool ending)
{
	enum outcome outcome;
	ssize_t n;

	do {
		n = recv(c->watch.fd, c->env->relay.scratch, RELAY_SCRATCH, MSG_PEEK);
		if (n < 0 && errno == EAGAIN)
			return WAITS;
		if (n <= 0) {
			end(c, END_CLIENT_GONE, n < 0 ? -errno : 0);
			return GONE;
		}
		outcome = c->header ? take_header(c, (size_t)n, ending) : take_hello(c, (size_t)n, ending);
	} while (outcome == AGAIN);
	return outcome;
}

static void on_readable(struct loop_watch *w, uint32_t events)
{
	look(container_of(w, struct conn, watch), (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

static void on_deadline(struct loop_timer *t)
{
	end(container_of(t, struct conn, deadline), END_HELLO_TIMEOUT, 0);
}

/* Ends one that is not among those that wait. */
static void refuse(const struct conn *c, enum env_end how, int error)
{
	env_count_end(c->env, how, &c->peer, NULL, error);
	if (c->life.stored)
		store_drop(c->env->store, c->life.number);
	close(c->watch.fd);
	c->env->ended(c->env);
}

/* What has come so far was looked at. restored: it is within its client's limit, or was held without counting for it. */
static void wait_for_more(const struct conn *so_far, bool restored)
{
	struct env *env = so_far->env;
	struct conn *c = malloc(sizeof(*c));
	int err;

	if (c == NULL) {
		refuse(so_far, END_NO_RESOURCES, -ENOMEM);
		return;
	}
	*c = *so_far;
	c->waits = true;
	list_add_last(&env->undecided, &c->link);
	counter_add(&env->counts.undecided_now, 1);
	env->n++;

	/* A proxy's connections count for the clients behind it, who are not known yet. */
	if (!restored && !c->header && !admit(c))
		return;
	err = loop_timer_set(env->loop, &c->deadline, env->conf->hello_timeout_ms);
	if (err == 0)
		err = loop_add(env->loop, &c->watch, EPOLLIN | EPOLLRDHUP | EPOLLET);
	if (err < 0)
		end(c, END_NO_RESOURCES, err);
}

void conn_new(struct env *env, int fd, const struct addr *peer, const struct addr *local)
{
	struct conn c = {
		.env = env,
		.peer = *peer,
		.local = *local,
		.watch = {.fd = fd, .ready = on_readable},
		.deadline = {.expired = on_deadline},
		.life = {.born = loop_now(env->loop)},
		.header = conf_trusts(env->conf, peer),
	};

	counter_add(&env->counts.accepted, 1);
	hello_init(&c.hello);
	/* Often the hello is there already, and there is nothing to be kept. */
	if (look(&c, false) == WAITS)
		wait_for_more(&c, false);
}

void conn_restore(struct env *env, struct record *r, const struct env_life *life)
{
	struct conn c = {
		.env = env,
		.peer = r->peer,
		.local = r->local,
		.watch = {.fd = r->fd[RECORD_CLIENT], .ready = on_readable},
		.deadline = {.expired = on_deadline},
		.life = *life,
		.header = r->header,
	};
	int64_t taken = taken_bytes(c.watch.fd);

	hello_init(&c.hello);
	/* One more may be its end, which counts there. No hello is so short. */
	if (taken < 0 || (uint64_t)taken > life->used + 1)
		refuse(&c, END_STALE, taken < 0 ? (int)taken : 0);
	else
		wait_for_more(&c, true);
}

/* What another process has to know. The descriptor stays with c. */
static void tell(struct conn *c, struct record *r)
{
	record_init(r);
	if (c->life.id == 0)
		c->life.id = env_new_id(c->env);
	r->id = c->life.id;
	r->born = c->life.born;
	r->used = c->life.used;
	r->header = c->header;
	r->sent = c->life.sent;
	r->peer = c->peer;
	r->local = c->local;
	r->stored = c->life.stored;
	r->number = c->life.number;
	r->fd[RECORD_CLIENT] = c->watch.fd;
}

void conn_give_all(struct env *env, env_take take, void *arg)
{
	while (!list_empty(&env->undecided)) {
		struct conn *c = container_of(env->undecided.next, struct conn, link);
		struct record r;

		tell(c, &r);
		env_count_end(env, END_KEPT, &c->peer, NULL, 0);
		release(c);
		take(arg, &r);
	}
}

bool conn_store_old(struct env *env, unsigned ms, int *ret_err)
{
	for (struct list *l = env->undecided.next; l != &env->undecided; l = l->next) {
		struct conn *c = container_of(l, struct conn, link);
		struct record r;

		if (c->life.born + ms > loop_now(env->loop))
			break;
		/* A proxy's header is about to be taken from the queue; it comes at once or never. */
		if (c->life.stored || c->header)
			continue;
		tell(c, &r);
		*ret_err = store_put(env->store, &r, false, &c->life.number);
		if (*ret_err < 0)
			return false;
		c->life.stored = true;
	}
	return true;
}

static struct conn *oldest(const struct env *env)
{
	return list_empty(&env->undecided) ? NULL : container_of(env->undecided.next, struct conn, link);
}

int conn_evictable_in(const struct env *env)
{
	const struct conn *c = oldest(env);
	uint64_t now = loop_now(env->loop);

	if (c == NULL)
		return -1;
	return now < c->life.born + CONN_GRACE_MS ? (int)(c->life.born + CONN_GRACE_MS - now) : 0;
}

bool conn_evict_oldest(struct env *env)
{
	struct conn *c = oldest(env);

	if (c == NULL)
		return false;
	end(c, END_EVICTED, 0);
	return true;
}

void conn_end_all(struct env *env)
{
	struct list *next;

	for (struct list *l = env->undecided.next; l != &env->undecided; l = next) {
		next = l->next;
		end(container_of(l, struct conn, link), END_STOPPED, 0);
	}
}
