/* Connects a relay to its backend and sends what comes first. */

#include "relay.h"

#include "list.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BACKLOG_MS 10 /* a Unix backend's accept queue is full: look again after */

enum { CLIENT, BACKEND };

/* What is needed while the backend is not connected. */
struct relay_start {
	struct relay *relay;
	struct loop_timer timer;
	uint64_t deadline;
	struct addr_endpoint target;
	size_t header_len;
	uint8_t header[];
};

void relay_start_free(struct relay *r)
{
	if (!r->starting)
		return;
	r->starting = false;
	if (r->start == NULL)
		return;
	loop_timer_unset(r->env->loop, &r->start->timer);
	free(r->start);
	r->start = NULL;
}

static void failed(struct relay *r, int err)
{
	r->env->done(r, RELAY_FAILED, err);
}

/*
 * Sends the header and what the client has sent so far in one piece, so that
 * the backend wakes up once, and then takes the latter out of the client's
 * queue. In this order nothing can be lost.
 */
static int send_first(struct relay *r, const uint8_t *header, size_t header_len, const uint8_t *peeked, size_t peeked_len)
{
	struct iovec iov[2] = {
		{.iov_base = (uint8_t *)header, .iov_len = header_len},
		{.iov_base = (uint8_t *)peeked, .iov_len = peeked_len},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;

	/* Also with nothing to send: so it is known whether the connection is there. */
	n = sendmsg(r->side[BACKEND].fd, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	/* A new socket has room for some kilobytes; half a header would be worse than none. */
	if ((size_t)n < header_len)
		return -EIO;
	n -= (ssize_t)header_len;
	/* tcp(7): with MSG_TRUNC they are dropped without a copy. */
	if (n > 0 && recv(r->side[CLIENT].fd, NULL, (size_t)n, MSG_TRUNC) != n)
		return -EIO;
	counter_add(&r->env->bytes[CLIENT], (uint64_t)n);
	return 0;
}

static void on_connected(struct loop_watch *w, uint32_t events)
{
	struct relay *r = container_of(w, struct relay, side[BACKEND]);
	uint8_t *scratch = r->env->scratch;
	int err = 0;
	socklen_t len = sizeof(err);
	ssize_t n;

	(void)events;
	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err != 0) {
		failed(r, -err);
		return;
	}
	n = recv(r->side[CLIENT].fd, scratch, RELAY_SCRATCH, MSG_PEEK);
	if (n < 0 && errno != EAGAIN) { /* a socket tells its error once */
		r->env->done(r, RELAY_RESET, 0);
		return;
	}
	err = send_first(r, r->start->header, r->start->header_len, scratch, n > 0 ? (size_t)n : 0);
	if (err == 0)
		err = relay_joined(r);
	if (err < 0)
		failed(r, err);
}

/* 0 or a negative errno of connect(2); -EAGAIN is of a Unix socket whose queue is full. */
static int try_connect(struct relay *r, const struct addr_endpoint *target)
{
	return connect(r->side[BACKEND].fd, &target->u.sa, target->len) < 0 && errno != EINPROGRESS ? -errno : 0;
}

static int wait_connected(struct relay *r)
{
	r->side[BACKEND].ready = on_connected;
	return loop_add(r->env->loop, &r->side[BACKEND], EPOLLOUT | EPOLLET);
}

static void on_timer(struct loop_timer *t)
{
	struct relay_start *s = container_of(t, struct relay_start, timer);
	struct relay *r = s->relay;
	uint64_t now = loop_now(r->env->loop);
	int err = 0;

	if (now >= s->deadline) {
		r->env->done(r, RELAY_TIMEOUT, 0);
		return;
	}
	err = try_connect(r, &s->target);
	if (err == 0)
		err = wait_connected(r);
	if (err == 0)
		err = loop_timer_set(r->env->loop, t, s->deadline - now);
	else if (err == -EAGAIN)
		err = loop_timer_set(r->env->loop, t, BACKLOG_MS);
	if (err < 0)
		failed(r, err);
}

/* It takes a while: keep what is needed later. */
static int start_later(struct relay *r, const struct relay_backend *backend, bool again)
{
	struct relay_start *s = malloc(sizeof(*s) + backend->header_len);
	int err;

	if (s == NULL)
		return -ENOMEM;
	*s = (struct relay_start){
		.relay = r,
		.timer = {.expired = on_timer},
		.deadline = loop_now(r->env->loop) + backend->timeout_ms,
		.target = *backend->target,
		.header_len = backend->header_len,
	};
	if (backend->header_len > 0)
		memcpy(s->header, backend->header, backend->header_len);
	r->start = s;
	err = loop_timer_set(r->env->loop, &s->timer, again ? BACKLOG_MS : backend->timeout_ms);
	return err < 0 || again ? err : wait_connected(r);
}

/*
 * A host-wide default of bbr would pace loopback down to a fraction of its
 * speed. Asked once, since it is one for all sockets.
 */
static bool default_is_bbr(int fd)
{
	static atomic_int known; /* 0: not asked yet, 1: no, 2: yes */
	char name[16] = "";
	socklen_t len = sizeof(name);

	if (known == 0) {
		getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len);
		known = strncmp(name, "bbr", 3) == 0 ? 2 : 1;
	}
	return known == 2;
}

static void tune(struct relay *r, const struct relay_backend *backend)
{
	static const char reno[] = "reno";
	const struct addr_endpoint *target = backend->target;
	int fd = r->side[BACKEND].fd, on = 1, off = 0;

	/* So that a peer that has vanished is found one day. The client's has it from the listener. */
	if (target->u.sa.sa_family != AF_UNIX && !addr_endpoint_is_loopback(target))
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (target->u.sa.sa_family == AF_UNIX)
		r->flow[CLIENT].nodelay = true;
	else if (addr_endpoint_is_loopback(target) && default_is_bbr(fd))
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno) - 1);
	/*
	 * The handshake's last packet waits for the bytes that follow at once,
	 * tcp_rcv_synsent_state_process() in net/ipv4/tcp_input.c, which saves
	 * a packet. It counts for the handshake only.
	 */
	if (target->u.sa.sa_family != AF_UNIX && backend->header_len + backend->peeked_len > 0)
		setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off));
	r->flow[CLIENT].sent = true; /* the header, or the hello */
}

static int start(struct relay *r, const struct relay_backend *backend)
{
	const struct addr_endpoint *target = backend->target;
	int err;

	r->side[BACKEND].fd = socket(target->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->side[BACKEND].fd < 0)
		return -errno;
	tune(r, backend);
	err = try_connect(r, target);
	if (err == -EAGAIN)
		return start_later(r, backend, true);
	if (err < 0)
		return err;

	/* On one machine the connection is there when connect(2) returns, even if that says EINPROGRESS. */
	err = send_first(r, backend->header, backend->header_len, backend->peeked, backend->peeked_len);
	if (err == -EAGAIN)
		return start_later(r, backend, false);
	return err < 0 ? err : relay_joined(r);
}

int relay_open(struct relay *r, struct relay_env *env, int client_fd, const struct relay_backend *backend)
{
	int err;

	*r = (struct relay){
		.env = env,
		.side = {{.fd = client_fd}, {.fd = -1}},
		.starting = true,
		.active = (uint32_t)(loop_now(env->loop) / 1000),
	};
	err = start(r, backend);
	if (err < 0)
		relay_close(r);
	return err;
}
