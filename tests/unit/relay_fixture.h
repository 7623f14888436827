#ifndef XMPP443_TEST_RELAY_FIXTURE_H
#define XMPP443_TEST_RELAY_FIXTURE_H

/* relay_fixture: a relay with its two ends in our hands; for the tests of relay.c and relay_start.c. */

#include "list.h"
#include "relay.h"
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MB         (1024 * 1024)
#define CHUNK      65536
#define TIMEOUT_MS 5000
#define HEADER     "PROXY UNKNOWN\r\n"

/* A relay between our client and our backend. */
struct fixture {
	struct loop *loop;
	struct relay_env env;
	struct relay relay;
	bool open;           /* the relay is; until it is done */
	struct addr_endpoint target;
	int listener;        /* the backend's; -1 */
	int client, backend; /* our ends; -1 */
	bool done, in_open;
	enum relay_result result;
	int error;
};

static inline void on_done(struct relay *r, enum relay_result result, int error)
{
	struct fixture *f = container_of(r, struct fixture, relay);

	assert_true(f->open);
	assert_false(f->done);
	assert_false(f->in_open);
	f->done = true;
	f->result = result;
	f->error = error;
	relay_close(r);
	f->open = false;
}

/* The loop, and the client's connection as it is before the backend is called. */
static inline int set_up(struct fixture *f)
{
	int pair[2];

	*f = (struct fixture){.listener = -1, .client = -1, .backend = -1};
	assert_int_equal(loop_new(&f->loop), 0);
	f->env.loop = f->loop;
	f->env.done = on_done;
	tcp_pair(pair);
	f->client = pair[0];
	return pair[1];
}

static inline int start_with(struct fixture *f, int client_fd, const char *header, const char *peeked, unsigned timeout_ms)
{
	struct relay_backend backend = {
		.target = &f->target,
		.header = (const uint8_t *)header,
		.header_len = strlen(header),
		.peeked = (const uint8_t *)peeked,
		.peeked_len = strlen(peeked),
		.timeout_ms = timeout_ms,
	};
	int ret;

	f->in_open = true;
	ret = relay_open(&f->relay, &f->env, client_fd, &backend);
	f->in_open = false;
	f->open = ret == 0;
	return ret;
}

static inline int start(struct fixture *f, int client_fd, const char *header, unsigned timeout_ms)
{
	return start_with(f, client_fd, header, "", timeout_ms);
}

static inline void tear_down(struct fixture *f)
{
	if (f->open)
		relay_close(&f->relay);
	pipes_close(&f->env.pipes);
	loop_free(f->loop);
	if (f->listener >= 0)
		close(f->listener);
	if (f->client >= 0)
		close(f->client);
	if (f->backend >= 0)
		close(f->backend);
}

static inline void close_end(int *fd)
{
	close(*fd);
	*fd = -1;
}

/* Until the backend has been called. */
static inline void await_backend(struct fixture *f)
{
	for (int i = 0; i < WAIT_MS / 2; i++) {
		f->backend = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (f->backend >= 0)
			return;
		run_for(f->loop, 2);
	}
	fail_msg("the backend was not called");
}

/* Over TCP, joined. */
static inline void set_up_joined(struct fixture *f)
{
	int client_fd = set_up(f);

	f->listener = tcp_listen(&f->target);
	assert_int_equal(start(f, client_fd, "", TIMEOUT_MS), 0);
	await_backend(f);
	run_for(f->loop, 5);
}

static inline void set_up_joined_unix(struct fixture *f)
{
	int client_fd = set_up(f);

	dir_make();
	f->target = dir_endpoint("web");
	f->listener = unix_listen("web", SOCK_STREAM, 8);
	assert_int_equal(start(f, client_fd, "", TIMEOUT_MS), 0);
	await_backend(f);
	run_for(f->loop, 5);
	dir_remove();
}

/* A stream of bytes that both ends can work out. */
struct stream {
	uint32_t state;
	size_t at, total;
};

static inline void stream_fill(struct stream *s, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		s->state = s->state * 1664525 + 1013904223;
		buf[i] = (uint8_t)(s->state >> 24);
	}
	s->at += len;
}

/* Writes what goes now. The stream is taken back to what was really written. */
static inline size_t stream_write(struct stream *s, int fd)
{
	uint8_t buf[CHUNK];
	struct stream before = *s;
	size_t len = s->total - s->at < sizeof(buf) ? s->total - s->at : sizeof(buf);
	ssize_t n;

	if (len == 0)
		return 0;
	stream_fill(s, buf, len);
	n = write(fd, buf, len);
	if (n < 0)
		assert_int_equal(errno, EAGAIN);
	*s = before;
	if (n > 0)
		stream_fill(s, buf, (size_t)n);
	return n > 0 ? (size_t)n : 0;
}

/* Reads at most max bytes of what is there, which has to be what was written. */
static inline size_t stream_read(struct stream *s, int fd, size_t max)
{
	uint8_t buf[CHUNK], want[CHUNK];
	ssize_t n = read(fd, buf, max < sizeof(buf) ? max : sizeof(buf));

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return 0;
	}
	assert_true(n > 0);
	stream_fill(s, want, (size_t)n);
	assert_memory_equal(buf, want, (size_t)n);
	return (size_t)n;
}

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* up bytes from the client to the backend, down bytes back, at the same time. */
static inline void transfer(struct fixture *f, size_t up, size_t down, size_t read_max)
{
	struct stream up_w = {.state = 1, .total = up}, up_r = up_w, down_w = {.state = 99, .total = down}, down_r = down_w;
	uint64_t end = now_ms() + 4 * WAIT_MS;
	uint64_t up_before = counter_get(&f->env.bytes[0]), down_before = counter_get(&f->env.bytes[1]);

	while (up_r.at < up || down_r.at < down) {
		stream_write(&up_w, f->client);
		stream_write(&down_w, f->backend);
		run_for(f->loop, 0);
		if (up_r.at < up)
			stream_read(&up_r, f->backend, read_max);
		if (down_r.at < down)
			stream_read(&down_r, f->client, read_max);
		if (now_ms() > end)
			fail_msg("%zu of %zu bytes up, %zu of %zu down", up_r.at, up, down_r.at, down);
	}
	assert_false(f->done);
	assert_int_equal(counter_get(&f->env.bytes[0]) - up_before, up);
	assert_int_equal(counter_get(&f->env.bytes[1]) - down_before, down);
}

/* Fills the queue of a Unix listener. The number of connections in fds. */
static inline int fill_queue(const struct addr_endpoint *e, int *fds, int max)
{
	int n = 0;

	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		assert_true(fd >= 0);
		if (connect(fd, &e->u.sa, e->len) < 0) {
			assert_int_equal(errno, EAGAIN);
			close(fd);
			return n;
		}
		assert_true(n < max);
		fds[n++] = fd;
	}
}

#endif
