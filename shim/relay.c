#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS      (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
#define ROUNDS      16         /* of one pipe in one go, then others have their turn */
#define COPY_MAX    16384u
#define BACKLOG_MS  10         /* a Unix backend's accept queue is full: look again after */

/* One direction. */
struct flow {
	struct loop_watch *src, *dst;
	int pipe[2];     /* -1 while nothing is on its way */
	size_t in_pipe;
	bool blocked;    /* dst was full: its EPOLLOUT goes on */
	bool eof;        /* src has ended */
	bool ended;      /* and dst knows, or dst takes no more */
	bool broken;     /* dst was reset, and the write to it has taken the error */
};

struct relay {
	struct loop *loop;
	struct pipes *pipes;
	relay_done done;
	void *arg;
	struct loop_watch client, backend;
	struct flow up, down;    /* client to backend, backend to client */
	struct loop_timer timer; /* set until connected */
	uint64_t deadline;
	struct relay_start *start; /* NULL once connected */
};

/* What is needed until the backend is connected. */
struct relay_start {
	struct addr_endpoint target;
	size_t header_len;
	uint8_t header[];
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

enum flow_result {
	FLOW_WAITS,  /* for src to have more, or for dst to take more: see blocked */
	FLOW_YIELDS, /* there is more to do now */
	FLOW_ENDED,
	FLOW_RESET,  /* src was reset */
};

/* dst takes no more. What src still sends has nowhere to go; the other direction goes on. */
static enum flow_result flow_break(struct relay *r, struct flow *f)
{
	pipes_put(r->pipes, f->pipe, f->in_pipe == 0);
	f->in_pipe = 0;
	f->ended = true;
	return FLOW_ENDED;
}

/* A write to dst failed with errno. */
static enum flow_result flow_stalls(struct relay *r, struct flow *f)
{
	if (errno != EAGAIN) {
		f->broken = errno != EPIPE;
		return flow_break(r, f);
	}
	f->blocked = true;
	return FLOW_WAITS;
}

/* src is at its end. */
static enum flow_result flow_finish(struct relay *r, struct flow *f)
{
	/* A socket tells its error once. After that a reset reads like an orderly end, and a cut answer like a whole one. */
	if ((f == &r->up ? &r->down : &r->up)->broken)
		return FLOW_RESET;
	shutdown(f->dst->fd, SHUT_WR);
	return flow_break(r, f);
}

/*
 * Without a pipe (too many open files): what cannot be written stays in src's
 * receive queue, since it is only peeked at before.
 */
static enum flow_result flow_copy(struct relay *r, struct flow *f)
{
	uint8_t buf[COPY_MAX];

	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n = recv(f->src->fd, buf, sizeof(buf), MSG_PEEK);

		if (n == 0)
			return flow_finish(r, f);
		if (n < 0)
			return errno == EAGAIN ? FLOW_WAITS : FLOW_RESET;
		n = send(f->dst->fd, buf, (size_t)n, MSG_NOSIGNAL);
		if (n < 0)
			return flow_stalls(r, f);
		if (recv(f->src->fd, buf, (size_t)n, 0) != n)
			return FLOW_RESET;
	}
	return FLOW_YIELDS;
}

/* Moves what can be moved. */
static enum flow_result flow_pump(struct relay *r, struct flow *f)
{
	f->blocked = false;
	if (f->pipe[0] < 0 && pipes_get(r->pipes, f->pipe) < 0)
		return flow_copy(r, f);

	for (int i = 0; i < ROUNDS;) {
		ssize_t n;

		/*
		 * Only into an empty pipe: splice(2) says EAGAIN both for an
		 * empty source and for a full pipe.
		 */
		if (f->in_pipe == 0) {
			if (f->eof)
				return flow_finish(r, f);
			n = splice(f->src->fd, NULL, f->pipe[1], NULL, PIPES_SIZE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0) {
				int err = errno;

				pipes_put(r->pipes, f->pipe, true);
				return err == EAGAIN ? FLOW_WAITS : FLOW_RESET;
			}
			f->eof = n == 0;
			f->in_pipe = (size_t)n;
			if (n == 0)
				continue;
		}
		n = splice(f->pipe[0], NULL, f->dst->fd, NULL, f->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return flow_stalls(r, f);
		f->in_pipe -= (size_t)n;
		i++;
	}
	return FLOW_YIELDS;
}

/*
 * Ends in a reset rather than a FIN, as the other side did. Not if bytes are
 * still unsent: the kernel would throw them away.
 */
static void close_with_reset(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};
	int unsent = 0;

	if (ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent == 0)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* Runs a direction, if the event is news for it. True: its source was reset. */
static bool flow_run(struct relay *r, struct flow *f, bool news)
{
	if (f->ended || !news)
		return false;
	switch (flow_pump(r, f)) {
	case FLOW_WAITS:
	case FLOW_ENDED:
		return false;
	case FLOW_YIELDS:
		/* Ask for an event that is there already, on the side we would wait for. */
		f->blocked = f->in_pipe > 0;
		if (!f->blocked)
			pipes_put(r->pipes, f->pipe, true); /* perhaps nothing more comes */
		loop_again(r->loop, f->blocked ? f->dst : f->src, EVENTS);
		return false;
	case FLOW_RESET:
		close_with_reset(f->dst->fd);
		return true;
	}
	return false;
}

static void on_side(struct relay *r, struct flow *from, struct flow *to, uint32_t events)
{
	bool reset = flow_run(r, from, events & ~(uint32_t)EPOLLOUT);

	if (!reset)
		reset = flow_run(r, to, (events & ~(uint32_t)EPOLLIN) && to->blocked);
	/* An error on a side from which nothing is to come any more shows only here. */
	if (!reset && (events & EPOLLERR) && from->ended && !to->ended) {
		close_with_reset(to->src->fd);
		reset = true;
	}

	if (reset)
		r->done(r->arg, RELAY_RESET, 0);
	else if (from->ended && to->ended)
		r->done(r->arg, RELAY_DONE, 0);
}

static void on_client(struct loop_watch *w, uint32_t events)
{
	struct relay *r = container_of(w, struct relay, client);

	on_side(r, &r->up, &r->down, events);
}

static void on_backend(struct loop_watch *w, uint32_t events)
{
	struct relay *r = container_of(w, struct relay, backend);

	on_side(r, &r->down, &r->up, events);
}

static void tune(const struct relay *r)
{
	static const char reno[] = "reno";
	int on = 1;

	/* Both ends wait for each other's small pieces; Nagle's algorithm would delay them. */
	setsockopt(r->client.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (r->start->target.u.sa.sa_family == AF_UNIX)
		return;
	setsockopt(r->backend.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* A host-wide default of bbr would pace loopback down to a fraction of its speed. */
	if (addr_endpoint_is_loopback(&r->start->target))
		setsockopt(r->backend.fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno) - 1);
}

/* The backend is connected: the header goes first, then the bytes of both sides. */
static int join(struct relay *r)
{
	int err;

	if (r->start->header_len > 0) {
		/* A new socket's send buffer has room for some hundred bytes. */
		ssize_t n = send(r->backend.fd, r->start->header, r->start->header_len, MSG_NOSIGNAL);

		if (n != (ssize_t)r->start->header_len)
			return n < 0 ? -errno : -EIO;
	}
	loop_timer_unset(r->loop, &r->timer);
	free(r->start);
	r->start = NULL;

	/* Under EPOLLET both report at once what is there already. */
	r->backend.ready = on_backend;
	err = loop_again(r->loop, &r->backend, EVENTS);
	return err < 0 ? err : loop_add(r->loop, &r->client, EVENTS);
}

static void on_connected(struct loop_watch *w, uint32_t events)
{
	struct relay *r = container_of(w, struct relay, backend);
	int err = 0;
	socklen_t len = sizeof(err);

	(void)events;
	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	err = err != 0 ? -err : join(r);
	if (err < 0)
		r->done(r->arg, RELAY_REFUSED, err);
}

/* 0: connected or on the way, on_connected() follows. -EAGAIN: a Unix backend's queue is full. */
static int try_connect(struct relay *r)
{
	if (connect(r->backend.fd, &r->start->target.u.sa, r->start->target.len) < 0 && errno != EINPROGRESS)
		return -errno;
	return loop_add(r->loop, &r->backend, EPOLLOUT | EPOLLET);
}

static void on_timer(struct loop_timer *t)
{
	struct relay *r = container_of(t, struct relay, timer);
	uint64_t now = loop_now(r->loop);
	int err;

	if (now >= r->deadline) {
		r->done(r->arg, RELAY_TIMEOUT, 0);
		return;
	}
	err = r->backend.watched ? 0 : try_connect(r);
	if (err == 0)
		err = loop_timer_set(r->loop, &r->timer, r->deadline - now);
	else if (err == -EAGAIN)
		err = loop_timer_set(r->loop, &r->timer, BACKLOG_MS);
	if (err < 0)
		r->done(r->arg, RELAY_REFUSED, err);
}

static int relay_start(struct relay *r, const struct relay_backend *backend)
{
	r->start = malloc(sizeof(*r->start) + backend->header_len);
	if (r->start == NULL)
		return -ENOMEM;
	r->start->target = *backend->target;
	r->start->header_len = backend->header_len;
	if (backend->header_len > 0)
		memcpy(r->start->header, backend->header, backend->header_len);
	r->deadline = loop_now(r->loop) + backend->timeout_ms;

	r->backend.fd = socket(backend->target->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->backend.fd < 0)
		return -errno;
	tune(r);
	/* The first attempt too is made by the timer, so that done() is never called from here. */
	return loop_timer_set(r->loop, &r->timer, 0);
}

int relay_new(struct loop *loop, struct pipes *pipes, int client_fd, const struct relay_backend *backend,
	      relay_done done, void *arg, struct relay **ret)
{
	struct relay *r = malloc(sizeof(*r));
	int err;

	if (r == NULL) {
		close(client_fd);
		return -ENOMEM;
	}
	*r = (struct relay){
		.loop = loop,
		.pipes = pipes,
		.done = done,
		.arg = arg,
		.client = {.fd = client_fd, .ready = on_client},
		.backend = {.fd = -1, .ready = on_connected},
		.up = {.src = &r->client, .dst = &r->backend, .pipe = {-1, -1}},
		.down = {.src = &r->backend, .dst = &r->client, .pipe = {-1, -1}},
		.timer = {.expired = on_timer},
	};
	err = relay_start(r, backend);
	if (err < 0) {
		relay_free(r);
		return err;
	}
	*ret = r;
	return 0;
}

void relay_free(struct relay *r)
{
	if (r == NULL)
		return;
	loop_timer_unset(r->loop, &r->timer);
	loop_del(r->loop, &r->client);
	loop_del(r->loop, &r->backend);
	pipes_put(r->pipes, r->up.pipe, r->up.in_pipe == 0);
	pipes_put(r->pipes, r->down.pipe, r->down.in_pipe == 0);
	close(r->client.fd);
	if (r->backend.fd >= 0)
		close(r->backend.fd);
	free(r->start);
	free(r);
}
