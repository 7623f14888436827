#include "load.h"

#include "histogram.h"
#include "net.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE   (1024 * 1024)
#define WRITE_SIZE  (128 * 1024)
#define ERRORS_MAX  100                           /* then a phase stops */
#define GRACE_NS    (UINT64_C(15) * 1000000000)   /* for answers after its end */
#define LONGEST_NS  (UINT64_C(120) * 1000000000)  /* a phase that is bounded by a count only */

enum conn_state {
	CONN_CLOSED,
	CONN_OPENING, /* hello on its way out, greeting on its way in */
	CONN_IDLE,
	CONN_BUSY,    /* the same with request and response */
};

struct conn {
	struct client *client;
	struct watch watch;
	enum conn_state state;
	size_t to_send, to_receive;
	uint64_t since; /* the connection or the request began */
};

struct client {
	const struct load_options *o;
	struct net_addr addr;
	int epoll;
	struct conn *conns;
	size_t in_flight; /* opening or busy */
	bool opening;     /* the phase: connections are to be opened, and no more */
	uint64_t issued, most, deadline;
	uint64_t done, errors, bytes;
	struct histogram times;
};

/* Never looked at. With MSG_TRUNC nothing is even written into it. */
static uint8_t read_buf[READ_SIZE];
static uint8_t write_buf[WRITE_SIZE];

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static void conn_fail(struct conn *c)
{
	if (c->state == CONN_OPENING || c->state == CONN_BUSY)
		c->client->in_flight--;
	if (c->state != CONN_CLOSED)
		close(c->watch.fd);
	c->state = CONN_CLOSED;
	c->client->errors++;
}

/* Sends what goes; the rest goes with an EPOLLOUT. */
static void conn_send(struct conn *c)
{
	const struct hello *hello = &c->client->o->hello;

	while (c->to_send > 0) {
		size_t len = c->to_send < WRITE_SIZE ? c->to_send : WRITE_SIZE;
		const uint8_t *from = write_buf;
		ssize_t n;

		if (c->state == CONN_OPENING)
			from = hello->data + hello->len - len;
		n = send(c->watch.fd, from, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			conn_fail(c);
		if (n < 0)
			return;
		c->to_send -= (size_t)n;
	}
}

static void on_ready(struct watch *w, uint32_t events);

static void conn_open(struct conn *c)
{
	struct client *cl = c->client;

	c->since = net_now_ns();
	cl->issued++;
	c->watch = (struct watch){.fd = net_connect(&cl->addr), .ready = on_ready};
	if (c->watch.fd < 0) {
		conn_fail(c);
		return;
	}
	c->state = CONN_OPENING;
	c->to_send = cl->o->hello.len;
	c->to_receive = SCRIPT_GREETING;
	cl->in_flight++;
	net_watch(cl->epoll, &c->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	conn_send(c); /* on loopback the connection is there already */
}

static void conn_request(struct conn *c)
{
	struct client *cl = c->client;

	c->since = net_now_ns();
	cl->issued++;
	c->state = CONN_BUSY;
	c->to_send = cl->o->script.request;
	c->to_receive = cl->o->script.response;
	cl->in_flight++;
	conn_send(c);
}

static bool more_wanted(const struct client *cl, uint64_t now)
{
	return cl->issued < cl->most && now < cl->deadline && cl->errors < ERRORS_MAX;
}

static bool is_short(const struct client *cl)
{
	return cl->o->script.closer != SCRIPT_NOBODY;
}

static void count_done(struct conn *c, uint64_t now)
{
	struct client *cl = c->client;

	histogram_add(&cl->times, now - c->since);
	cl->done++;
	cl->in_flight--;
	c->state = CONN_IDLE;
}

/* The greeting or the response is complete. */
static void conn_done(struct conn *c)
{
	struct client *cl = c->client;
	uint64_t now = net_now_ns();

	count_done(c, now);
	if (is_short(cl)) {
		close(c->watch.fd);
		c->state = CONN_CLOSED;
		if (more_wanted(cl, now))
			conn_open(c);
	} else if (!cl->opening && more_wanted(cl, now)) {
		conn_request(c);
	}
}

/* The server has closed: as it should, or too early. */
static void conn_ended(struct conn *c)
{
	struct client *cl = c->client;
	uint64_t now = net_now_ns();

	if (cl->o->script.closer != SCRIPT_SERVER || c->state != CONN_OPENING || c->to_receive > 0) {
		conn_fail(c);
	} else {
		count_done(c, now);
		close(c->watch.fd);
		c->state = CONN_CLOSED;
	}
	if (is_short(cl) && more_wanted(cl, now))
		conn_open(c);
}

/* True: there was something, and there may be more. */
static bool conn_receive(struct conn *c)
{
	struct client *cl = c->client;
	bool is_first = c->state == CONN_OPENING;
	ssize_t n = recv(c->watch.fd, read_buf, sizeof(read_buf), MSG_TRUNC);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0 || (size_t)n > c->to_receive) {
		if (n != 0)
			c->to_receive = 1; /* not the end that was to come */
		conn_ended(c);
		return false;
	}
	c->to_receive -= (size_t)n;
	cl->bytes += (size_t)n;
	if (c->to_receive == 0 && cl->o->script.closer != SCRIPT_SERVER)
		conn_done(c);
	/* Edge-triggered: after a short read there comes a new event. */
	return (size_t)n == sizeof(read_buf) && !is_first;
}

static void on_ready(struct watch *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, watch);
	uint64_t since = c->since;

	if ((events & EPOLLOUT) && c->to_send > 0)
		conn_send(c);
	if (c->state == CONN_CLOSED || !(events & ~(uint32_t)EPOLLOUT))
		return;
	while (conn_receive(c))
		;
	/*
	 * With the last byte the end may have come in the same event, and no
	 * other will follow; unless it is a new connection already.
	 */
	if ((events & EPOLLRDHUP) && c->state != CONN_CLOSED && (!is_short(c->client) || c->since == since))
		conn_receive(c);
}

static void print_result(const struct client *cl, const char *phase, uint64_t wall)
{
	printf("{\"phase\": \"%s\", \"done\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"wall_s\": %.6f, \"per_s\": %.1f, \"bytes_per_s\": %.0f, ",
	       phase, cl->done, cl->errors, cl->bytes, (double)wall / 1e9, (double)cl->done * 1e9 / (double)wall,
	       (double)cl->bytes * 1e9 / (double)wall);
	printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
	       (double)histogram_quantile(&cl->times, 0.5) / 1e3, (double)histogram_quantile(&cl->times, 0.99) / 1e3,
	       (double)histogram_quantile(&cl->times, 0.999) / 1e3, (double)cl->times.max / 1e3);
	fflush(stdout);
}

static void begin(struct client *cl, bool opening, uint64_t most, uint64_t nanoseconds)
{
	cl->opening = opening;
	cl->issued = cl->done = cl->errors = cl->bytes = 0;
	cl->most = most;
	cl->deadline = net_now_ns() + nanoseconds;
	memset(&cl->times, 0, sizeof(cl->times));
}

/* Runs until nothing is in flight; what takes too long is no result. */
static void finish(struct client *cl)
{
	while (cl->in_flight > 0) {
		net_run_once(cl->epoll, 100);
		if (net_now_ns() > cl->deadline + GRACE_NS)
			die(0, "answers", "are missing");
	}
}

/* Opens all connections that are not open, a few at a time. */
static void open_all(struct client *cl)
{
	uint64_t start = net_now_ns();
	size_t i = 0;

	begin(cl, true, UINT64_MAX, LONGEST_NS);
	for (;;) {
		for (; i < cl->o->conns && cl->in_flight < cl->o->opening && cl->errors < ERRORS_MAX; i++)
			if (cl->conns[i].state == CONN_CLOSED)
				conn_open(&cl->conns[i]);
		if (i == cl->o->conns || cl->errors >= ERRORS_MAX)
			break;
		net_run_once(cl->epoll, 100);
		if (net_now_ns() > cl->deadline)
			die(0, "connections", "could not be opened");
	}
	finish(cl);
	print_result(cl, "open", net_now_ns() - start);
}

static void run_phase(struct client *cl, uint64_t most, uint64_t nanoseconds)
{
	uint64_t start = net_now_ns();

	begin(cl, false, most != 0 ? most : UINT64_MAX, nanoseconds != 0 ? nanoseconds : LONGEST_NS);
	for (size_t i = 0; i < cl->o->conns && more_wanted(cl, start); i++) {
		struct conn *c = &cl->conns[i];

		if (is_short(cl))
			conn_open(c);
		else if (c->state == CONN_IDLE)
			conn_request(c);
	}
	finish(cl);
	print_result(cl, "run", net_now_ns() - start);
}

/* "seconds S" and "count N" run a phase; anything else, or the end, is the end. */
static void obey(struct client *cl)
{
	char line[64];
	double seconds;
	uint64_t count;

	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (sscanf(line, "seconds %lf", &seconds) == 1 && seconds > 0 && seconds < 120)
			run_phase(cl, 0, (uint64_t)(seconds * 1e9));
		else if (sscanf(line, "count %" SCNu64, &count) == 1 && count > 0)
			run_phase(cl, count, 0);
		else
			return;
	}
}

void client_run(const struct load_options *o)
{
	struct client cl = {
		.o = o,
		.addr = net_parse(o->addr),
		.epoll = net_loop(),
		.conns = calloc(o->conns, sizeof(struct conn)),
	};

	if (cl.conns == NULL)
		die(ENOMEM, "cannot hold", "the connections");
	if (cl.addr.u.sa.sa_family == AF_UNIX)
		die(0, "a client connects to", "TCP only");
	for (size_t i = 0; i < o->conns; i++)
		cl.conns[i].client = &cl;
	if (!is_short(&cl))
		open_all(&cl);
	if (o->nanoseconds != 0 || o->count != 0)
		run_phase(&cl, o->count, o->nanoseconds);
	else
		obey(&cl);
	exit(cl.errors > 0);
}
