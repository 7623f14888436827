#include "relay.h"

#include "list.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS     (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)
#define EVENTS_OUT (EVENTS | EPOLLOUT) /* only asked for where a write has once found its socket full */
#define ENDS       (EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define ROUNDS     16    /* in one go, then others have their turn */
#define BULK_FULL  2     /* full reads in a row that make a direction bulk */
#define SMALL      16384 /* less than this in one go, and this ... */
#define SMALL_RUN  4     /* ... many times in a row: not bulk any more */

enum { CLIENT, BACKEND };

enum flow_result {
	FLOW_WAITS,  /* for its source to have more, or for the other side to take more: see blocked */
	FLOW_YIELDS, /* there is more to do now */
	FLOW_ENDED,
	FLOW_RESET,  /* its source was reset */
};

/* The direction does without a pipe again. */
static void flow_drop_pipe(struct relay *r, int from)
{
	if (r->kept) /* it has one as long as it lives */
		return;
	pipes_put(&r->env->pipes, r->pipe[from]);
	r->pipe[from] = NULL;
}

/* The other side takes no more. What still comes has nowhere to go; the other direction goes on. */
static enum flow_result flow_break(struct relay *r, int from)
{
	pipes_put(&r->env->pipes, r->pipe[from]);
	r->pipe[from] = NULL;
	r->flow[from].ended = true;
	return FLOW_ENDED;
}

/* A write failed with errno. */
static enum flow_result flow_stalls(struct relay *r, int from)
{
	if (errno != EAGAIN) {
		/* tcp_reset() in net/ipv4/tcp_input.c: EPIPE is a reset by one who had half closed, but a Unix backend's orderly end. */
		r->flow[from].broken = errno != EPIPE || from == BACKEND;
		if (r->kept && r->flow[from].broken)
			r->env->changed(r);
		return flow_break(r, from);
	}
	r->flow[from].blocked = true;
	loop_again(r->env->loop, &r->side[!from], EVENTS_OUT);
	return FLOW_WAITS;
}

/* The source is at its end, and everything before it has been passed on. */
static enum flow_result flow_finish(struct relay *r, int from)
{
	/* A socket tells its error once. After that a reset reads like an orderly end, and a cut answer like a whole one. */
	if (r->flow[!from].broken)
		return FLOW_RESET;
	if (!r->flow[!from].ended) /* else both sides are closed in a moment */
		shutdown(r->side[!from].fd, SHUT_WR);
	return flow_break(r, from);
}

/*
 * Both ends wait for each other's small pieces, and Nagle's algorithm would
 * delay all but the first. Many connections never send a second one.
 */
static void before_send(struct relay *r, int from)
{
	struct relay_flow *f = &r->flow[from];
	int on = 1;

	if (f->sent && !f->nodelay) {
		setsockopt(r->side[!from].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		f->nodelay = true;
	}
	f->sent = true;
}

/* Counts towards a change between the two ways of moving. */
static void flow_speaks(struct relay_flow *f, bool for_change, uint8_t enough)
{
	f->streak = for_change ? (uint8_t)(f->streak + 1) : 0;
	if (f->streak >= enough) {
		f->bulk = !f->bulk;
		f->streak = 0;
	}
}

/*
 * Without a pipe to fall back on: what cannot be written stays in the source's
 * receive queue, since it is only peeked at before.
 */
static enum flow_result flow_copy(struct relay *r, int from)
{
	uint8_t *buf = r->env->scratch;

	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n = recv(r->side[from].fd, buf, RELAY_SCRATCH, MSG_PEEK);

		if (n == 0)
			return flow_finish(r, from);
		if (n < 0)
			return errno == EAGAIN ? FLOW_WAITS : FLOW_RESET;
		before_send(r, from);
		n = send(r->side[!from].fd, buf, (size_t)n, MSG_NOSIGNAL);
		if (n < 0)
			return flow_stalls(r, from);
		counter_add(&r->env->bytes[from], (uint64_t)n);
		if (recv(r->side[from].fd, buf, (size_t)n, 0) != n)
			return FLOW_RESET;
	}
	return FLOW_YIELDS;
}

/* What could not be written goes into a pipe: there is one, and it has room for all. */
static enum flow_result flow_spill(struct relay *r, int from, const uint8_t *rest, size_t len)
{
	struct pipe *pipe = pipes_get(&r->env->pipes);
	ssize_t n = pipe != NULL ? write(pipe->fd[1], rest, len) : -1;

	if (n > 0)
		pipe->len = (size_t)n;
	if (n != (ssize_t)len) { /* cannot be, but bytes must not vanish from the middle of a stream */
		pipes_put(&r->env->pipes, pipe);
		return FLOW_RESET;
	}
	r->pipe[from] = pipe;
	errno = EAGAIN;
	return flow_stalls(r, from);
}

/* Small pieces. events are those of the source. */
static enum flow_result flow_small(struct relay *r, int from, uint32_t events)
{
	uint8_t *buf = r->env->scratch;

	for (int i = 0; i < ROUNDS && !r->flow[from].bulk; i++) {
		ssize_t n, sent;
		bool emptied, last;

		if (!pipes_ready(&r->env->pipes))
			return flow_copy(r, from);
		n = recv(r->side[from].fd, buf, RELAY_SCRATCH, 0);
		if (n == 0)
			return flow_finish(r, from);
		if (n < 0)
			return errno == EAGAIN ? FLOW_WAITS : FLOW_RESET;

		/* Before it is known what the other side takes: much for a slow reader is bulk as well. */
		flow_speaks(&r->flow[from], n == RELAY_SCRATCH, BULK_FULL);
		/*
		 * epoll(7): a read that got less than it asked for has emptied the
		 * queue, so the next edge will tell. And if the end was there
		 * before the read, it is all that is left. Not so if there is
		 * urgent data, before which each read stops, or an error. A Unix
		 * socket's orderly end is an EPOLLHUP as well.
		 */
		emptied = n < RELAY_SCRATCH && (events & (EPOLLPRI | EPOLLERR)) == 0 &&
			  (events & (EPOLLRDHUP | EPOLLHUP)) != EPOLLHUP;
		last = emptied && (events & EPOLLRDHUP);

		/* The last piece and the end leave in one packet. */
		if (!last)
			before_send(r, from);
		sent = send(r->side[!from].fd, buf, (size_t)n, MSG_NOSIGNAL | (last ? MSG_MORE : 0));
		if (sent < 0 && errno != EAGAIN)
			return flow_stalls(r, from);
		if (sent < 0)
			sent = 0;
		counter_add(&r->env->bytes[from], (uint64_t)sent);
		if (sent < n)
			return flow_spill(r, from, buf + sent, (size_t)(n - sent));
		if (last)
			return flow_finish(r, from);
		if (emptied)
			return FLOW_WAITS;
	}
	return FLOW_YIELDS;
}

/* One pipe-load at a time, and what a former call has left in the pipe. */
static enum flow_result flow_bulk(struct relay *r, int from)
{
	struct relay_flow *f = &r->flow[from];
	struct pipe *pipe = r->pipe[from];
	size_t moved = 0;

	if (pipe == NULL)
		pipe = r->pipe[from] = pipes_get(&r->env->pipes);
	if (pipe == NULL)
		return flow_copy(r, from);

	for (int i = 0; i < ROUNDS;) {
		ssize_t n;

		/* Only into an empty pipe: splice(2) says EAGAIN both for an empty source and for a full pipe. */
		if (pipe->len == 0) {
			if (f->eof)
				return flow_finish(r, from);
			if (!f->bulk && !r->kept) { /* it was only a piece that had to wait */
				flow_drop_pipe(r, from);
				return flow_small(r, from, EPOLLHUP);
			}
			n = splice(r->side[from].fd, NULL, pipe->fd[1], NULL, pipe->size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (n < 0) {
				int err = errno;

				flow_speaks(f, moved < SMALL, SMALL_RUN);
				flow_drop_pipe(r, from);
				return err == EAGAIN ? FLOW_WAITS : FLOW_RESET;
			}
			f->eof = n == 0;
			pipe->len = (size_t)n;
			moved += (size_t)n;
			if (n == 0)
				continue;
			if (r->kept && moved >= SMALL)
				pipes_grow(pipe);
		}
		n = splice(pipe->fd[0], NULL, r->side[!from].fd, NULL, pipe->len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0)
			return flow_stalls(r, from);
		counter_add(&r->env->bytes[from], (uint64_t)n);
		pipe->len -= (size_t)n;
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

/* Moves what a direction has. events are those of its source, EPOLLHUP alone if they are not known. True: it was reset. */
static bool flow_run(struct relay *r, int from, uint32_t events)
{
	struct relay_flow *f = &r->flow[from];
	enum flow_result result;

	f->blocked = false;
	result = f->bulk || r->pipe[from] != NULL ? flow_bulk(r, from) : flow_small(r, from, events);
	switch (result) {
	case FLOW_WAITS:
	case FLOW_ENDED:
		return false;
	case FLOW_YIELDS:
		/* Ask for an event that is there already, on the side that we would wait for. */
		f->blocked = r->pipe[from] != NULL && r->pipe[from]->len > 0;
		if (!f->blocked) /* perhaps nothing more comes */
			flow_drop_pipe(r, from);
		loop_again(r->env->loop, &r->side[f->blocked ? !from : from], EVENTS_OUT);
		return false;
	case FLOW_RESET:
		close_with_reset(r->side[!from].fd);
		return true;
	}
	return false;
}

/* Something happened at a side. */
static void on_side(struct relay *r, int side, uint32_t events)
{
	struct relay_env *env = r->env;
	struct relay_flow *from = &r->flow[side], *to = &r->flow[!side];
	bool reset = false;

	r->active = (uint32_t)(loop_now(env->loop) / 1000);
	/* recv(2) stops short at TCP's urgent byte and goes on behind it; splice(2) does not even go on. */
	if (events & EPOLLPRI) {
		from->bulk = false;
		reset = r->kept && !env->unkeep(r);
		r->kept = false;
	}
	if (!reset && !from->ended && (events & (EPOLLIN | EPOLLPRI | ENDS)))
		reset = flow_run(r, side, events);
	/* What waited for this side to take more may find its own source's end behind it. */
	if (!reset && !to->ended && to->blocked && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)))
		reset = flow_run(r, !side, EPOLLHUP);
	/* An error on a side from which nothing is to come any more shows only here, or in a write to it. */
	if (!reset && from->ended && (to->ended ? from->broken || to->broken : (events & EPOLLERR) != 0)) {
		close_with_reset(r->side[from->broken ? side : !side].fd);
		reset = true;
	}

	if (reset)
		env->done(r, RELAY_RESET, 0);
	else if (from->ended && to->ended)
		env->done(r, RELAY_DONE, 0);
}

static void on_client(struct loop_watch *w, uint32_t events)
{
	on_side(container_of(w, struct relay, side[CLIENT]), CLIENT, events);
}

static void on_backend(struct loop_watch *w, uint32_t events)
{
	on_side(container_of(w, struct relay, side[BACKEND]), BACKEND, events);
}

int relay_joined(struct relay *r)
{
	relay_start_free(r);
	r->pipe[CLIENT] = r->pipe[BACKEND] = NULL;
	r->active = (uint32_t)(loop_now(r->env->loop) / 1000);

	return relay_watch(r);
}

int relay_watch(struct relay *r)
{
	/* Under EPOLLET both report at once what is there already. */
	for (int side = BACKEND; side >= CLIENT; side--) {
		struct loop_watch *w = &r->side[side];
		uint32_t events = r->flow[!side].blocked ? EVENTS_OUT : EVENTS;
		int err;

		w->ready = side == CLIENT ? on_client : on_backend;
		err = w->watched ? loop_again(r->env->loop, w, events) : loop_add(r->env->loop, w, events);
		if (err < 0)
			return err;
	}
	return 0;
}

void relay_close(struct relay *r)
{
	for (int side = CLIENT; side <= BACKEND; side++) {
		/* If nobody else has these sockets, closing them takes them out of epoll as well. */
		(r->copied ? loop_del : loop_forget)(r->env->loop, &r->side[side]);
		if (r->side[side].fd >= 0)
			close(r->side[side].fd);
		r->side[side].fd = -1;
	}
	if (r->starting) {
		relay_start_free(r);
		return;
	}
	for (int from = CLIENT; from <= BACKEND; from++)
		pipes_put(&r->env->pipes, r->pipe[from]);
	r->pipe[CLIENT] = r->pipe[BACKEND] = NULL;
}

bool relay_half_closed(const struct relay *r)
{
	return r->flow[CLIENT].ended || r->flow[BACKEND].ended;
}

uint32_t relay_idle(const struct relay *r)
{
	uint32_t begun = (uint32_t)(loop_now(r->env->loop) / 1000) - r->active;

	/* Neither the first of them nor the one at hand may be a whole one. */
	return begun > 0 ? begun - 1 : 0;
}
