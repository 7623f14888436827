#include "relay.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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
	struct pipes pipes;
	struct relay *relay; /* NULL once it is done */
	struct addr_endpoint target;
	int listener;        /* the backend's; -1 */
	int client, backend; /* our ends; -1 */
	bool done, in_new;
	enum relay_result result;
	int error;
};

static void on_done(void *arg, enum relay_result result, int error)
{
	struct fixture *f = arg;

	assert_false(f->done);
	assert_false(f->in_new);
	f->done = true;
	f->result = result;
	f->error = error;
	relay_free(f->relay);
	f->relay = NULL;
}

/* The loop, and the client's connection as it is before the backend is called. */
static int set_up(struct fixture *f)
{
	int pair[2];

	*f = (struct fixture){.listener = -1, .client = -1, .backend = -1};
	assert_int_equal(loop_new(&f->loop), 0);
	tcp_pair(pair);
	f->client = pair[0];
	return pair[1];
}

static int start(struct fixture *f, int client_fd, const char *header, unsigned timeout_ms)
{
	struct relay_backend backend = {
		.target = &f->target,
		.header = (const uint8_t *)header,
		.header_len = strlen(header),
		.timeout_ms = timeout_ms,
	};
	int ret;

	f->in_new = true;
	ret = relay_new(f->loop, &f->pipes, client_fd, &backend, on_done, f, &f->relay);
	f->in_new = false;
	return ret;
}

static void tear_down(struct fixture *f)
{
	relay_free(f->relay);
	pipes_close(&f->pipes);
	loop_free(f->loop);
	if (f->listener >= 0)
		close(f->listener);
	if (f->client >= 0)
		close(f->client);
	if (f->backend >= 0)
		close(f->backend);
}

static void close_end(int *fd)
{
	close(*fd);
	*fd = -1;
}

/* Until the backend has been called. */
static void await_backend(struct fixture *f)
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
static void set_up_joined(struct fixture *f)
{
	int client_fd = set_up(f);

	f->listener = tcp_listen(&f->target);
	assert_int_equal(start(f, client_fd, "", TIMEOUT_MS), 0);
	await_backend(f);
	run_for(f->loop, 5);
}

static void set_up_joined_unix(struct fixture *f)
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

static void stream_fill(struct stream *s, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		s->state = s->state * 1664525 + 1013904223;
		buf[i] = (uint8_t)(s->state >> 24);
	}
	s->at += len;
}

/* Writes what goes now. The stream is taken back to what was really written. */
static size_t stream_write(struct stream *s, int fd)
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
static size_t stream_read(struct stream *s, int fd, size_t max)
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

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* up bytes from the client to the backend, down bytes back, at the same time. */
static void transfer(struct fixture *f, size_t up, size_t down, size_t read_max)
{
	struct stream up_w = {.state = 1, .total = up}, up_r = up_w, down_w = {.state = 99, .total = down}, down_r = down_w;
	uint64_t end = now_ms() + 4 * WAIT_MS;

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
}

static void bytes_go_both_ways_unchanged(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	transfer(&f, 12 * MB + 7, 9 * MB + 3, CHUNK);
	tear_down(&f);
}

static void bytes_go_both_ways_with_a_unix_backend(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined_unix(&f);
	transfer(&f, 12 * MB + 7, 9 * MB + 3, CHUNK);
	tear_down(&f);
}

static void single_bytes_go_both_ways(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	for (int i = 0; i < 100; i++)
		transfer(&f, 1, 1, CHUNK);
	tear_down(&f);
}

static void the_header_comes_first(void **state)
{
	char buf[sizeof(HEADER) + 5] = {0};
	struct fixture f;
	int client_fd;

	(void)state;
	client_fd = set_up(&f);
	f.listener = tcp_listen(&f.target);
	assert_int_equal(write(f.client, "hello", 5), 5);
	wait_fd(client_fd, POLLIN);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	await_backend(&f);
	run_for(f.loop, 10);
	read_all(f.backend, buf, sizeof(HEADER) - 1 + 5);
	assert_string_equal(buf, HEADER "hello");
	tear_down(&f);
}

static void a_backend_that_speaks_first_is_heard(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	transfer(&f, 0, 1000, CHUNK);
	tear_down(&f);
}

static void no_pipe_is_held_while_nothing_is_on_its_way(void **state)
{
	struct fixture f;
	int before;

	(void)state;
	set_up_joined(&f);
	before = count_fds();
	transfer(&f, MB, MB, CHUNK);
	run_for(f.loop, 20);
	pipes_close(&f.pipes);
	assert_int_equal(count_fds(), before);
	tear_down(&f);
}

static void a_clients_half_close_reaches_the_backend_and_the_answer_comes_back(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	transfer(&f, MB, 0, CHUNK);
	shutdown(f.client, SHUT_WR);
	run_for(f.loop, 10);
	assert_eof(f.backend);
	assert_false(f.done);
	transfer(&f, 0, 2 * MB, CHUNK);
	close_end(&f.backend);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_DONE);
	assert_int_equal(f.error, 0);
	assert_eof(f.client);
	tear_down(&f);
}

static void a_backends_half_close_reaches_the_client_who_may_go_on(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	shutdown(f.backend, SHUT_WR);
	run_for(f.loop, 10);
	assert_eof(f.client);
	assert_false(f.done);
	transfer(&f, 2 * MB, 0, CHUNK);
	close_end(&f.client);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_DONE);
	assert_eof(f.backend);
	tear_down(&f);
}

static void half_closes_pass_through_a_unix_backend_too(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined_unix(&f);
	shutdown(f.client, SHUT_WR);
	run_for(f.loop, 10);
	assert_eof(f.backend);
	transfer(&f, 0, MB, CHUNK);
	shutdown(f.backend, SHUT_WR);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_DONE);
	assert_eof(f.client);
	tear_down(&f);
}

/* The end must not overtake the bytes before it, where the reader is slow. */
static void what_was_sent_before_a_half_close_arrives_before_it(void **state)
{
	struct stream w = {.state = 5, .total = 64 * MB}, r = w;
	struct fixture f;
	size_t written = 0;

	(void)state;
	set_up_joined(&f);
	for (int idle = 0; idle < 20;) {
		size_t n = stream_write(&w, f.client);

		run_for(f.loop, 1);
		written += n;
		idle = n > 0 ? 0 : idle + 1;
	}
	assert_true(written < 64 * MB); /* bounded, though nobody reads */
	assert_true(written > CHUNK);
	close_end(&f.client);
	run_for(f.loop, 20);
	while (r.at < written) {
		run_for(f.loop, 0);
		wait_fd(f.backend, POLLIN);
		stream_read(&r, f.backend, 8192);
	}
	run_for(f.loop, 20);
	assert_eof(f.backend);
	tear_down(&f);
}

static void a_slow_reader_gets_everything(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	transfer(&f, 8 * MB, 8 * MB, 3001);
	tear_down(&f);
}

struct pusher {
	int fd;
	struct stream s;
	bool ok;
};

static void *push(void *arg)
{
	struct pusher *p = arg;
	uint8_t *buf = malloc(CHUNK);

	p->ok = buf != NULL;
	while (p->ok && p->s.at < p->s.total) {
		struct pollfd pfd = {.fd = p->fd, .events = POLLOUT};
		struct stream before = p->s;
		size_t len = p->s.total - p->s.at < CHUNK ? p->s.total - p->s.at : CHUNK;
		ssize_t n;

		stream_fill(&p->s, buf, len);
		n = write(p->fd, buf, len);
		p->s = before;
		if (n > 0)
			stream_fill(&p->s, buf, (size_t)n);
		else
			p->ok = errno == EAGAIN && poll(&pfd, 1, WAIT_MS) == 1;
	}
	free(buf);
	shutdown(p->fd, SHUT_WR);
	return NULL;
}

static void *pull(void *arg)
{
	struct pusher *p = arg;
	uint8_t *buf = malloc(2 * CHUNK);

	p->ok = buf != NULL;
	while (p->ok) {
		struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
		ssize_t n = read(p->fd, buf, CHUNK);

		if (n == 0)
			break;
		if (n < 0) {
			p->ok = errno == EAGAIN && poll(&pfd, 1, WAIT_MS) == 1;
			continue;
		}
		stream_fill(&p->s, buf + CHUNK, (size_t)n);
		p->ok = memcmp(buf, buf + CHUNK, (size_t)n) == 0;
	}
	free(buf);
	return NULL;
}

/* Both ends are never idle, so that the relay has to stop by itself to be fair. */
static void large_amounts_go_through_while_both_ends_are_busy(void **state)
{
	enum { TOTAL = 96 * MB };
	struct fixture f;
	struct pusher p[4];
	pthread_t t[4];

	(void)state;
	set_up_joined(&f);
	for (int i = 0; i < 4; i++)
		p[i] = (struct pusher){.fd = i % 2 ? f.backend : f.client, .s = {.state = i == 0 || i == 3 ? 1 : 2, .total = TOTAL}};
	assert_int_equal(pthread_create(&t[0], NULL, push, &p[0]), 0);
	assert_int_equal(pthread_create(&t[1], NULL, push, &p[1]), 0);
	assert_int_equal(pthread_create(&t[2], NULL, pull, &p[2]), 0);
	assert_int_equal(pthread_create(&t[3], NULL, pull, &p[3]), 0);
	/* Each thread gives up by itself if nothing moves, and then the relay ends too. */
	for (int i = 0; i < 10 * WAIT_MS / 20 && !f.done; i++)
		run_for(f.loop, 20);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_true(p[0].ok && p[1].ok && p[2].ok && p[3].ok);
	assert_int_equal(p[2].s.at, TOTAL);
	assert_int_equal(p[3].s.at, TOTAL);
	assert_int_equal(f.result, RELAY_DONE);
	tear_down(&f);
}

/*
 * Messages of a Unix socket take a slot of the pipe each, so that many small
 * ones need many rounds, more than the relay does before it lets others have
 * their turn. How many fit into the client's socket varies with their size.
 */
static void goes_on_by_itself(int messages)
{
	int small = 32768, large = 8 * MB;

	for (size_t size = 1; size < 900; size += size < 150 ? 74 : 30) {
		struct stream w = {.state = 3}, r = w;
		struct fixture f;
		int client_fd = set_up(&f);

		assert_int_equal(setsockopt(client_fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0); /* bbr paces */
		assert_int_equal(setsockopt(client_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
		assert_int_equal(setsockopt(f.client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
		dir_make();
		f.target = dir_endpoint("web");
		f.listener = unix_listen("web", SOCK_STREAM, 8);
		assert_int_equal(start(&f, client_fd, "", TIMEOUT_MS), 0);
		await_backend(&f);
		run_for(f.loop, 0);
		assert_int_equal(setsockopt(f.backend, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
		for (int i = 0; i < messages; i++) {
			w.total = w.at + size;
			if (stream_write(&w, f.backend) < size)
				break;
		}
		fail_calls(CALL_FCNTL, 0, 2, EPERM); /* 16 slots */
		for (int i = 0; r.at < w.at; i++) {
			run_for(f.loop, i < 5 ? 0 : 1);
			/* Not before all that fits is on its way. */
			if (i >= 5)
				while (r.at < w.at && stream_read(&r, f.client, CHUNK) > 0)
					;
			if (i > WAIT_MS / 2)
				fail_msg("messages of %zu bytes: %zu of %zu bytes came", size, r.at, w.at);
		}
		fail_none();
		dir_remove();
		tear_down(&f);
	}
}

static void no_pipe_is_held_after_a_stop_to_be_fair_if_that_was_all(void **state)
{
	struct fixture f;
	struct stream w = {.state = 3}, r = w;
	int before, large = MB;

	(void)state;
	set_up_joined_unix(&f);
	assert_int_equal(setsockopt(f.backend, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
	before = count_fds();
	fail_calls(CALL_FCNTL, 0, 1, EPERM); /* 16 slots, and 16 rounds of them */
	for (int i = 0; i < 256; i++) {
		w.total = w.at + 1;
		assert_int_equal(stream_write(&w, f.backend), 1);
	}
	run_for(f.loop, 20);
	while (r.at < 256) {
		wait_fd(f.client, POLLIN);
		stream_read(&r, f.client, CHUNK);
	}
	pipes_close(&f.pipes);
	assert_int_equal(count_fds(), before);
	tear_down(&f);
}

static void a_relay_that_stops_to_be_fair_goes_on_by_itself(void **state)
{
	(void)state;
	goes_on_by_itself(256); /* 16 rounds of 16 slots */
	goes_on_by_itself(320);
}

static void without_pipes_the_bytes_are_copied(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	fail_calls(CALL_PIPE2, 0, 100000000, EMFILE);
	transfer(&f, 3 * MB, 2 * MB, CHUNK);
	transfer(&f, MB, MB, 3001);
	shutdown(f.client, SHUT_WR);
	run_for(f.loop, 10);
	assert_eof(f.backend);
	/* Pipes are to be had again. */
	fail_none();
	transfer(&f, 0, 2 * MB, CHUNK);
	close_end(&f.backend);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_DONE);
	tear_down(&f);
}

static void with_too_many_open_files_the_bytes_go_through_all_the_same(void **state)
{
	struct rlimit limit, low;
	struct fixture f;
	int fds[256], n = 0;

	(void)state;
	set_up_joined(&f);
	pipes_close(&f.pipes);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 128;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (n < 256 && (fds[n] = dup(STDIN_FILENO)) >= 0)
		n++;
	assert_int_equal(errno, EMFILE);
	transfer(&f, MB, MB, CHUNK);
	/* Room for one pipe: one direction splices, the other copies. */
	close(fds[--n]);
	close(fds[--n]);
	transfer(&f, MB, MB, CHUNK);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (n > 0)
		close(fds[--n]);
	tear_down(&f);
}

static void a_closed_port_is_refused(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	close(tcp_listen(&f.target));
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_REFUSED);
	assert_int_equal(f.error, -ECONNREFUSED);
	assert_eof(f.client);
	tear_down(&f);
}

static void a_missing_unix_socket_is_refused(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_REFUSED);
	assert_int_equal(f.error, -ENOENT);
	dir_remove();
	tear_down(&f);
}

/* Fills the queue of a Unix listener. The number of connections in fds. */
static int fill_queue(const struct addr_endpoint *e, int *fds, int max)
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

static void a_unix_backend_whose_queue_stays_full_times_out(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[8], n;

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 1);
	n = fill_queue(&f.target, fds, 8);
	assert_int_equal(start(&f, client_fd, HEADER, 60), 0);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_TIMEOUT);
	assert_int_equal(f.error, 0);
	while (n > 0)
		close(fds[--n]);
	dir_remove();
	tear_down(&f);
}

static void a_unix_backend_whose_queue_was_full_is_called_again(void **state)
{
	char buf[sizeof(HEADER)] = {0};
	struct fixture f;
	int client_fd = set_up(&f), fds[8], n, rest;

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 1);
	n = rest = fill_queue(&f.target, fds, 8);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	run_for(f.loop, 40);
	assert_false(f.done);
	while (rest-- > 0)
		close(accept_one(f.listener));
	await_backend(&f);
	run_for(f.loop, 20);
	read_all(f.backend, buf, sizeof(HEADER) - 1);
	assert_string_equal(buf, HEADER);
	transfer(&f, 100, 100, CHUNK);
	while (n > 0)
		close(fds[--n]);
	dir_remove();
	tear_down(&f);
}

static void a_tcp_backend_that_does_not_answer_times_out(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[8], n = 0;

	(void)state;
	f.listener = tcp_listen(&f.target);
	assert_int_equal(listen(f.listener, 0), 0);
	/* The queue takes one; what comes then gets no answer to its SYN. */
	while (n < 4)
		fds[n++] = connect_to(&f.target);
	assert_int_equal(start(&f, client_fd, HEADER, 100), 0);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_TIMEOUT);
	while (n > 0)
		close(fds[--n]);
	tear_down(&f);
}

static void a_clients_reset_reaches_the_backend(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	transfer(&f, 10, 10, CHUNK);
	close_reset(f.client);
	f.client = -1;
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	assert_reset(f.backend);
	tear_down(&f);
}

static void a_backends_reset_reaches_the_client(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	transfer(&f, 10, 10, CHUNK);
	close_reset(f.backend);
	f.backend = -1;
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	assert_reset(f.client);
	tear_down(&f);
}

static void a_backends_reset_reaches_a_client_that_has_just_sent_something(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	transfer(&f, 10, 10, CHUNK);
	/* Both are there when the loop looks: writing to the backend takes its error away. */
	assert_int_equal(write(f.client, "x", 1), 1);
	usleep(10000);
	close_reset(f.backend);
	f.backend = -1;
	usleep(10000);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	assert_reset(f.client);
	tear_down(&f);
}

static void a_clients_reset_after_its_half_close_reaches_the_backend(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	shutdown(f.client, SHUT_WR);
	run_for(f.loop, 10);
	assert_eof(f.backend);
	close_reset(f.client);
	f.client = -1;
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	/* It had its end of file; now writing fails. */
	run_for(f.loop, 10);
	assert_int_equal(send(f.backend, "x", 1, MSG_NOSIGNAL), -1);
	tear_down(&f);
}

static void a_client_that_resets_while_the_backend_is_called_ends_the_relay(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	f.listener = tcp_listen(&f.target);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	close_reset(f.client);
	f.client = -1;
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	tear_down(&f);
}

static void a_unix_backend_that_goes_before_it_has_taken_the_header_is_refused(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 8);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	run_for(f.loop, 0); /* connects */
	close_end(&f.listener);
	if (!f.done)
		run_until(f.loop, &f.done);
	assert_true(f.result == RELAY_REFUSED || f.result == RELAY_RESET);
	dir_remove();
	tear_down(&f);
}

/* A web server that has answered and closes while the client is still sending. */
static void an_answer_is_delivered_though_the_backend_takes_no_more(void **state)
{
	struct fixture f;
	struct stream w = {.state = 7, .total = 64}, r = w;

	(void)state;
	set_up_joined_unix(&f);
	stream_write(&w, f.backend);
	shutdown(f.backend, SHUT_RD);
	assert_int_equal(write(f.client, "more", 4), 4);
	for (int i = 0; i < 200 && r.at < 64; i++) {
		run_for(f.loop, 1);
		stream_read(&r, f.client, CHUNK);
	}
	assert_int_equal(r.at, 64);
	close_end(&f.backend);
	run_until(f.loop, &f.done);
	assert_eof(f.client);
	tear_down(&f);
}

static void a_relay_can_be_freed_at_any_time_and_leaves_nothing_behind(void **state)
{
	(void)state;
	for (int step = 0; step < 12; step++) {
		struct stream up = {.state = 1, .total = 16 * MB}, down = up;
		struct fixture f;
		int client_fd = set_up(&f), before;

		f.listener = tcp_listen(&f.target);
		before = count_fds() - 1; /* the relay's end of the client */
		assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
		if (step > 0)
			run_for(f.loop, 0);
		if (step > 1) {
			await_backend(&f);
			before++;
		}
		for (int i = 2; i < step; i++) {
			/* Nobody reads, so pipes and sockets fill. */
			while (stream_write(&up, f.client) > 0)
				;
			while (stream_write(&down, f.backend) > 0)
				;
			run_for(f.loop, 3);
		}
		relay_free(f.relay);
		f.relay = NULL;
		pipes_close(&f.pipes);
		assert_int_equal(count_fds(), before);
		run_for(f.loop, 2);
		assert_false(f.done);
		tear_down(&f);
	}
}

static void a_relay_that_cannot_be_made_closes_the_client(void **state)
{
	static const struct {
		enum call call;
		unsigned good;
		int error;
	} cases[] = {
		{CALL_MALLOC, 0, ENOMEM}, {CALL_MALLOC, 1, ENOMEM}, {CALL_SOCKET, 0, EMFILE}, {CALL_REALLOC, 0, ENOMEM}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		int client_fd = set_up(&f);

		close(tcp_listen(&f.target));
		f.relay = (struct relay *)(void *)state;
		fail_calls(cases[i].call, cases[i].good, 1, cases[i].error);
		assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), -cases[i].error);
		assert_ptr_equal(f.relay, state);
		f.relay = NULL;
		assert_int_equal(fcntl(client_fd, F_GETFD), -1);
		assert_eof(f.client);
		tear_down(&f);
	}
}

static void a_relay_that_cannot_be_watched_is_refused(void **state)
{
	(void)state;
	for (unsigned good = 0; good < 3; good++) {
		struct fixture f;
		int client_fd = set_up(&f);

		f.listener = tcp_listen(&f.target);
		assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
		fail_calls(CALL_EPOLL_CTL, good, 1, ENOMEM);
		run_until(f.loop, &f.done);
		assert_int_equal(f.result, RELAY_REFUSED);
		assert_int_equal(f.error, -ENOMEM);
		tear_down(&f);
	}
	relay_free(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways_unchanged),
		TEST(bytes_go_both_ways_with_a_unix_backend),
		TEST(single_bytes_go_both_ways),
		TEST(the_header_comes_first),
		TEST(a_backend_that_speaks_first_is_heard),
		TEST(no_pipe_is_held_while_nothing_is_on_its_way),
		TEST(a_clients_half_close_reaches_the_backend_and_the_answer_comes_back),
		TEST(a_backends_half_close_reaches_the_client_who_may_go_on),
		TEST(half_closes_pass_through_a_unix_backend_too),
		TEST(what_was_sent_before_a_half_close_arrives_before_it),
		TEST(a_slow_reader_gets_everything),
		TEST(large_amounts_go_through_while_both_ends_are_busy),
		TEST(no_pipe_is_held_after_a_stop_to_be_fair_if_that_was_all),
		TEST(a_relay_that_stops_to_be_fair_goes_on_by_itself),
		TEST(without_pipes_the_bytes_are_copied),
		TEST(with_too_many_open_files_the_bytes_go_through_all_the_same),
		TEST(a_closed_port_is_refused),
		TEST(a_missing_unix_socket_is_refused),
		TEST(a_unix_backend_whose_queue_stays_full_times_out),
		TEST(a_unix_backend_whose_queue_was_full_is_called_again),
		TEST(a_tcp_backend_that_does_not_answer_times_out),
		TEST(a_clients_reset_reaches_the_backend),
		TEST(a_backends_reset_reaches_the_client),
		TEST(a_backends_reset_reaches_a_client_that_has_just_sent_something),
		TEST(a_clients_reset_after_its_half_close_reaches_the_backend),
		TEST(a_client_that_resets_while_the_backend_is_called_ends_the_relay),
		TEST(a_unix_backend_that_goes_before_it_has_taken_the_header_is_refused),
		TEST(an_answer_is_delivered_though_the_backend_takes_no_more),
		TEST(a_relay_can_be_freed_at_any_time_and_leaves_nothing_behind),
		TEST(a_relay_that_cannot_be_made_closes_the_client),
		TEST(a_relay_that_cannot_be_watched_is_refused),
	};

	return cmocka_run_group_tests_name("relay", tests, group_begin, NULL);
}
