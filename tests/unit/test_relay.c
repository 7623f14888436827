#include "relay_fixture.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

enum { CLIENT, BACKEND }; /* of relay.side and relay.flow */

/* Reads at an end what is there; with nobody else writing, that is what the relay has sent. */
static void drain(int fd)
{
	uint8_t buf[CHUNK];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

/* Brings a direction, named after the side that it comes from, to the point where it splices. */
static void make_bulk(struct fixture *f, int from)
{
	for (int i = 0; i < 100 && !f->relay.flow[from].bulk; i++) {
		struct stream w = {.total = CHUNK};

		stream_write(&w, from == CLIENT ? f->client : f->backend);
		run_for(f->loop, 1);
		drain(from == CLIENT ? f->backend : f->client);
	}
	assert_true(f->relay.flow[from].bulk);
	for (int i = 0; i < 20; i++) {
		run_for(f->loop, 1);
		drain(from == CLIENT ? f->backend : f->client);
	}
	assert_null(f->relay.pipe[from]);
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
	pipes_close(&f.env.pipes);
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
static void the_last_piece_and_the_end_are_one_packet(void **state)
{
	(void)state;
	for (int from_client = 0; from_client < 2; from_client++) {
		struct fixture f;
		int from, to;
		uint32_t before;
		char buf[4];

		set_up_joined(&f);
		from = from_client ? f.client : f.backend;
		to = from_client ? f.backend : f.client;
		before = packets_in(to);
		assert_int_equal(send(from, "last", 4, 0), 4);
		assert_int_equal(shutdown(from, SHUT_WR), 0);
		run_for(f.loop, 20);
		read_all(to, buf, 4);
		assert_memory_equal(buf, "last", 4);
		assert_eof(to);
		assert_int_equal(packets_in(to), before + 1);
		assert_int_equal(send(to, "more", 4, 0), 4);
		run_for(f.loop, 20);
		read_all(from, buf, 4);
		tear_down(&f);
	}
}

static void the_last_piece_of_a_unix_backend_and_its_end_are_one_packet(void **state)
{
	struct fixture f;
	uint32_t before;
	char buf[4];

	(void)state;
	set_up_joined_unix(&f);
	before = packets_in(f.client);
	assert_int_equal(send(f.backend, "last", 4, 0), 4);
	close_end(&f.backend);
	run_for(f.loop, 20);
	read_all(f.client, buf, 4);
	assert_eof(f.client);
	assert_int_equal(packets_in(f.client), before + 1);
	tear_down(&f);
}

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
		make_bulk(&f, BACKEND);
		pipes_close(&f.env.pipes);
		assert_int_equal(setsockopt(f.backend, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)), 0);
		for (int i = 0; i < messages; i++) {
			w.total = w.at + size;
			if (stream_write(&w, f.backend) < size)
				break;
		}
		fail_calls(CALL_SETPIPE, 0, 2, EPERM); /* 16 slots */
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
	assert_int_equal(setsockopt(f.backend, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)), 0);
	make_bulk(&f, BACKEND);
	pipes_close(&f.env.pipes);
	before = count_fds();
	fail_calls(CALL_SETPIPE, 0, 1, EPERM); /* 16 slots, and 16 rounds of them */
	for (int i = 0; i < 256; i++) {
		w.total = w.at + 1;
		assert_int_equal(stream_write(&w, f.backend), 1);
	}
	run_for(f.loop, 20);
	while (r.at < 256) {
		wait_fd(f.client, POLLIN);
		stream_read(&r, f.client, CHUNK);
	}
	assert_null(f.relay.pipe[BACKEND]);
	pipes_close(&f.env.pipes);
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
	pipes_close(&f.env.pipes);
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

/* A web server that has answered and closes while the client is still sending. */
static void a_clients_reset_after_its_half_close_is_one_though_a_write_finds_it(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	assert_int_equal(shutdown(f.client, SHUT_WR), 0);
	run_for(f.loop, 10);
	assert_eof(f.backend);
	assert_int_equal(send(f.backend, "x", 1, 0), 1); /* its event comes first */
	close_reset(f.client);
	f.client = -1;
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	run_for(f.loop, 10);
	assert_int_equal(send(f.backend, "x", 1, MSG_NOSIGNAL), -1);
	tear_down(&f);
}

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
		relay_close(&f.relay);
		f.open = false;
		pipes_close(&f.env.pipes);
		assert_int_equal(count_fds(), before);
		run_for(f.loop, 2);
		assert_false(f.done);
		tear_down(&f);
	}
}

static void an_idle_relay_is_small(void **state)
{
	(void)state;
	if (sizeof(void *) == 8)
		assert_true(sizeof(struct relay) <= 72);
}

static void small_pieces_need_neither_a_pipe_nor_splice(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	for (int i = 0; i < 200; i++) {
		transfer(&f, 1 + (size_t)i * 70, 1 + (size_t)(199 - i) * 70, CHUNK);
		assert_true(f.relay.pipe[CLIENT] == NULL && f.relay.pipe[BACKEND] == NULL);
	}
	assert_int_equal(calls_of(CALL_SPLICE), 0);
	tear_down(&f);
}

static void a_direction_that_carries_much_splices_until_it_carries_little_again(void **state)
{
	(void)state;
	for (int from = CLIENT; from <= BACKEND; from++) {
		struct fixture f;
		unsigned spliced;

		set_up_joined(&f);
		spliced = calls_of(CALL_SPLICE);
		transfer(&f, from == CLIENT ? 8 * MB : 0, from == BACKEND ? 8 * MB : 0, CHUNK);
		assert_true(calls_of(CALL_SPLICE) > spliced);
		assert_true(f.relay.flow[from].bulk);
		assert_false(f.relay.flow[!from].bulk);
		for (int i = 0; i < 10; i++)
			transfer(&f, 100, 100, CHUNK);
		assert_false(f.relay.flow[from].bulk);
		spliced = calls_of(CALL_SPLICE);
		for (int i = 0; i < 10; i++)
			transfer(&f, 100, 100, CHUNK);
		assert_int_equal(calls_of(CALL_SPLICE), spliced);
		/* And the other way again. */
		transfer(&f, from == CLIENT ? 8 * MB : 0, from == BACKEND ? 8 * MB : 0, CHUNK);
		assert_true(f.relay.flow[from].bulk);
		tear_down(&f);
	}
}

/* What the kernel does not take at once, of whatever length, comes after the rest, and small pieces go on as such. */
static void what_cannot_be_written_at_once_waits_in_a_pipe(void **state)
{
	static const struct {
		size_t len, taken; /* 0: nothing */
	} cases[] = {
		{1, 0}, {2, 1}, {4096, 0}, {4096, 1}, {4096, 4095}, {4097, 0}, {20000, 12345}, {65535, 0}, {65535, 1}, {65535, 65534},
		{RELAY_SCRATCH, 0}, {RELAY_SCRATCH, 1}, {RELAY_SCRATCH, RELAY_SCRATCH - 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stream w = {.state = 9, .total = cases[i].len}, r = w;
		struct fixture f;
		int queued = 0;
		unsigned spliced;

		set_up_joined_unix(&f); /* so that all of it is there at once */
		assert_int_equal(stream_write(&w, f.backend), cases[i].len);
		assert_int_equal(ioctl(f.relay.side[BACKEND].fd, FIONREAD, &queued), 0);
		assert_int_equal(queued, cases[i].len);
		if (cases[i].taken == 0)
			fail_calls(CALL_SEND, 0, 1, EAGAIN);
		else
			cut_next(CALL_SEND, cases[i].taken);
		run_for(f.loop, 5);
		assert_int_equal(fail_none(), 0);
		assert_true(calls_of(CALL_SPLICE) > 0);
		while (r.at < r.total) {
			wait_fd(f.client, POLLIN);
			stream_read(&r, f.client, CHUNK);
		}
		run_for(f.loop, 5);
		assert_null(f.relay.pipe[BACKEND]);
		spliced = calls_of(CALL_SPLICE);
		for (int j = 0; j < 10; j++)
			transfer(&f, 100, 100, CHUNK);
		assert_int_equal(calls_of(CALL_SPLICE), spliced);
		tear_down(&f);
	}
}

/* The way to the backend has small buffers, so that some of what a client sends has to wait. */
static void set_up_tight(struct fixture *f)
{
	int client_fd = set_up(f), small = 4096;

	f->listener = tcp_listen(&f->target);
	assert_int_equal(setsockopt(f->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	assert_int_equal(start(f, client_fd, "", TIMEOUT_MS), 0);
	assert_int_equal(setsockopt(f->relay.side[BACKEND].fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	await_backend(f);
	run_for(f->loop, 5);
}

/* Sends small pieces as a client until one of them has to wait. */
static void fill_until_one_waits(struct fixture *f, struct stream *w)
{
	for (int i = 0; i < 100 && f->relay.pipe[CLIENT] == NULL; i++) {
		w->total = w->at + 3000;
		assert_int_equal(stream_write(w, f->client), 3000);
		run_for(f->loop, 2);
	}
	assert_non_null(f->relay.pipe[CLIENT]);
	assert_true(f->relay.pipe[CLIENT]->len > 0);
	assert_false(f->relay.flow[CLIENT].bulk);
}

static void a_piece_that_waits_arrives_before_what_follows_it_and_before_the_end(void **state)
{
	struct stream w = {.state = 5}, r = w;
	struct fixture f;

	(void)state;
	set_up_tight(&f);
	fill_until_one_waits(&f, &w);
	w.total = w.at + 1234; /* behind it, in the client's queue */
	assert_int_equal(stream_write(&w, f.client), 1234);
	shutdown(f.client, SHUT_WR);
	run_for(f.loop, 5);
	while (r.at < w.at) {
		run_for(f.loop, 0);
		wait_fd(f.backend, POLLIN);
		stream_read(&r, f.backend, 1001);
	}
	run_for(f.loop, 5);
	assert_eof(f.backend);
	assert_null(f.relay.pipe[CLIENT]);
	transfer(&f, 0, 1000, CHUNK);
	tear_down(&f);
}

static void what_a_client_sent_before_its_reset_and_waits_in_a_pipe_arrives(void **state)
{
	struct stream w = {.state = 5}, r = w;
	struct fixture f;
	char byte;

	(void)state;
	set_up_tight(&f);
	fill_until_one_waits(&f, &w);
	close_reset(f.client);
	f.client = -1;
	run_for(f.loop, 10);
	while (r.at < w.at) {
		run_for(f.loop, 1);
		wait_fd(f.backend, POLLIN);
		stream_read(&r, f.backend, 5000);
	}
	if (!f.done)
		run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	wait_fd(f.backend, POLLIN);
	assert_true(read(f.backend, &byte, 1) <= 0);
	tear_down(&f);
}

/* The end was told while something waited, and is told only once; so it has to be looked for afterwards. */
static void an_end_behind_a_piece_that_had_to_wait_is_found(void **state)
{
	struct stream w = {.state = 9, .total = RELAY_SCRATCH}, r = w;
	struct fixture f;
	char byte;

	(void)state;
	set_up_joined_unix(&f);
	assert_int_equal(stream_write(&w, f.backend), RELAY_SCRATCH);
	assert_int_equal(write(f.backend, "z", 1), 1);
	shutdown(f.backend, SHUT_WR);
	cut_next(CALL_SEND, 1);
	run_for(f.loop, 10);
	assert_int_equal(fail_none(), 0);
	while (r.at < r.total) {
		wait_fd(f.client, POLLIN);
		stream_read(&r, f.client, RELAY_SCRATCH - r.at);
		run_for(f.loop, 1);
	}
	read_all(f.client, &byte, 1);
	assert_int_equal(byte, 'z');
	assert_eof(f.client);
	tear_down(&f);
}

static void an_end_behind_what_could_not_be_copied_is_found_though_there_are_pipes_again(void **state)
{
	struct stream w = {.state = 5}, r = w;
	struct fixture f;

	(void)state;
	set_up_tight(&f);
	fail_calls(CALL_PIPE2, 0, 100000000, EMFILE);
	for (int i = 0; i < 20 || !f.relay.flow[CLIENT].blocked; i++) {
		w.total = w.at + 3000;
		assert_true(i < 1000 && stream_write(&w, f.client) == 3000);
		run_for(f.loop, 1);
	}
	shutdown(f.client, SHUT_WR);
	run_for(f.loop, 10);
	assert_true(f.relay.flow[CLIENT].blocked);
	fail_none();
	f.env.pipes.skip = 0;
	while (r.at < w.at) {
		run_for(f.loop, 0);
		wait_fd(f.backend, POLLIN);
		stream_read(&r, f.backend, CHUNK);
	}
	run_for(f.loop, 10);
	assert_eof(f.backend);
	tear_down(&f);
}

/* One who reads slowly is where most of the bytes go: downloads. */
static void a_direction_whose_reader_is_slow_becomes_bulk_too(void **state)
{
	struct fixture f;

	(void)state;
	set_up_tight(&f);
	transfer(&f, 2 * MB, 0, CHUNK);
	assert_true(f.relay.flow[CLIENT].bulk);
	tear_down(&f);
}

/* recv(2) and splice(2) both stop short at TCP's urgent byte, whatever is behind it. It itself is out of band, tcp(7). */
static void an_urgent_byte_does_not_hold_up_what_is_behind_it(void **state)
{
	(void)state;
	for (int bulk = 0; bulk < 2; bulk++) {
		char buf[7] = {0};
		struct fixture f;

		set_up_joined(&f);
		if (bulk)
			make_bulk(&f, CLIENT);
		assert_int_equal(send(f.client, "AAA", 3, 0), 3);
		assert_int_equal(send(f.client, "!", 1, MSG_OOB), 1);
		assert_int_equal(send(f.client, "BBB", 3, 0), 3);
		usleep(5000);
		run_for(f.loop, 20);
		read_all(f.backend, buf, 6);
		assert_string_equal(buf, "AAABBB");
		/* On its own it does no harm either. */
		assert_int_equal(send(f.client, "!", 1, MSG_OOB), 1);
		run_for(f.loop, 5);
		transfer(&f, 100, 100, CHUNK);
		shutdown(f.client, SHUT_WR);
		run_for(f.loop, 5);
		assert_eof(f.backend);
		tear_down(&f);
	}
}

static void with_tiny_pipes_the_bytes_are_copied(void **state)
{
	struct fixture f;

	(void)state;
	set_up_joined(&f);
	fail_calls(CALL_SETPIPE_TINY, 0, 100000000, EPERM);
	transfer(&f, 3 * MB, 2 * MB, CHUNK);
	transfer(&f, MB, MB, 3001);
	assert_int_equal(calls_of(CALL_SPLICE), 0);
	fail_none();
	tear_down(&f);
}

/* More than one go copies, with nobody whose reading or writing would wake the relay. */
static void copying_goes_on_by_itself_after_a_stop_to_be_fair(void **state)
{
	int large = 16 * MB, client_fd;
	struct stream w = {.state = 4, .total = 6 * MB}, r = w;
	struct fixture f;
	size_t written = 0, n;

	(void)state;
	client_fd = set_up(&f);
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 8);
	assert_int_equal(setsockopt(client_fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large)), 0);
	assert_int_equal(setsockopt(f.client, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)), 0);
	while ((n = stream_write(&w, f.client)) > 0)
		written += n;
	usleep(20000);
	fail_calls(CALL_PIPE2, 0, 100000000, EMFILE);
	assert_int_equal(start(&f, client_fd, "", TIMEOUT_MS), 0);
	assert_int_equal(setsockopt(f.relay.side[BACKEND].fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)), 0);
	await_backend(&f);
	run_for(f.loop, 100);
	assert_true(written > 2 * MB); /* 16 times the scratch are one */
	while (r.at < written)
		assert_true(stream_read(&r, f.backend, CHUNK) > 0);
	fail_none();
	dir_remove();
	tear_down(&f);
}

static void a_failing_splice_or_write_ends_what_it_has_to(void **state)
{
	static const struct {
		enum call call;
		unsigned good; /* calls before: 0 reads from the source, 1 writes to the other side */
		int error;
		bool bulk, reset;
	} cases[] = {
		{CALL_SPLICE, 0, ENOMEM, true, true},
		{CALL_SPLICE, 1, EPIPE, true, false},
		{CALL_SEND, 0, EPIPE, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;

		set_up_joined(&f);
		if (cases[i].bulk)
			make_bulk(&f, CLIENT);
		assert_int_equal(write(f.client, "x", 1), 1);
		fail_calls(cases[i].call, cases[i].good, 1, cases[i].error);
		run_for(f.loop, 10);
		assert_int_equal(fail_none(), 0);
		assert_int_equal(f.done, cases[i].reset);
		if (cases[i].reset) {
			assert_int_equal(f.result, RELAY_RESET);
			assert_reset(f.backend);
		} else {
			/* What the client sends has nowhere to go; what it gets still comes. */
			assert_true(f.relay.flow[CLIENT].ended);
			assert_null(f.relay.pipe[CLIENT]);
			transfer(&f, 0, MB, CHUNK);
			close_end(&f.backend);
			run_until(f.loop, &f.done);
			assert_int_equal(f.result, RELAY_DONE);
		}
		tear_down(&f);
	}
}

static void resets_and_ends_are_passed_on_by_a_direction_that_splices(void **state)
{
	(void)state;
	for (int from = CLIENT; from <= BACKEND; from++) {
		for (int reset = 0; reset < 2; reset++) {
			struct fixture f;
			int *ends[2] = {&f.client, &f.backend};

			set_up_joined(&f);
			make_bulk(&f, from);
			if (reset)
				close_reset(*ends[from]);
			else
				shutdown(*ends[from], SHUT_WR);
			if (reset) {
				*ends[from] = -1;
				run_until(f.loop, &f.done);
				assert_int_equal(f.result, RELAY_RESET);
				assert_reset(*ends[!from]);
			} else {
				run_for(f.loop, 10);
				assert_eof(*ends[!from]);
				assert_false(f.done);
				transfer(&f, from == BACKEND ? MB : 0, from == CLIENT ? MB : 0, CHUNK);
				close_end(ends[!from]);
				run_until(f.loop, &f.done);
				assert_int_equal(f.result, RELAY_DONE);
			}
			tear_down(&f);
		}
	}
}

static void a_relay_is_idle_only_for_seconds_in_which_nothing_came(void **state)
{
	struct fixture f;
	uint64_t since;

	(void)state;
	set_up_joined(&f);
	/* Never more than it was, wherever in a second it began. */
	for (int i = 0; i < 3; i++) {
		transfer(&f, 1, 0, CHUNK);
		since = loop_now(f.loop);
		do {
			run_for(f.loop, 50);
			assert_true(relay_idle(&f.relay) * 1000 <= loop_now(f.loop) - since);
		} while (loop_now(f.loop) - since < 1300);
		run_for(f.loop, 137);
	}
	transfer(&f, 1, 0, CHUNK);
	since = loop_now(f.loop);
	run_for(f.loop, 2100);
	assert_true(relay_idle(&f.relay) >= 1);
	/* Either side ends it. */
	transfer(&f, 0, 1, CHUNK);
	assert_int_equal(relay_idle(&f.relay), 0);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways_unchanged),
		TEST(bytes_go_both_ways_with_a_unix_backend),
		TEST(single_bytes_go_both_ways),
		TEST(a_backend_that_speaks_first_is_heard),
		TEST(no_pipe_is_held_while_nothing_is_on_its_way),
		TEST(a_clients_half_close_reaches_the_backend_and_the_answer_comes_back),
		TEST(a_backends_half_close_reaches_the_client_who_may_go_on),
		TEST(half_closes_pass_through_a_unix_backend_too),
		TEST(the_last_piece_and_the_end_are_one_packet),
		TEST(the_last_piece_of_a_unix_backend_and_its_end_are_one_packet),
		TEST(what_was_sent_before_a_half_close_arrives_before_it),
		TEST(a_slow_reader_gets_everything),
		TEST(large_amounts_go_through_while_both_ends_are_busy),
		TEST(no_pipe_is_held_after_a_stop_to_be_fair_if_that_was_all),
		TEST(a_relay_that_stops_to_be_fair_goes_on_by_itself),
		TEST(without_pipes_the_bytes_are_copied),
		TEST(with_too_many_open_files_the_bytes_go_through_all_the_same),
		TEST(a_clients_reset_reaches_the_backend),
		TEST(a_backends_reset_reaches_the_client),
		TEST(a_backends_reset_reaches_a_client_that_has_just_sent_something),
		TEST(a_clients_reset_after_its_half_close_reaches_the_backend),
		TEST(a_clients_reset_after_its_half_close_is_one_though_a_write_finds_it),
		TEST(an_answer_is_delivered_though_the_backend_takes_no_more),
		TEST(a_relay_can_be_freed_at_any_time_and_leaves_nothing_behind),
		TEST(an_idle_relay_is_small),
		TEST(small_pieces_need_neither_a_pipe_nor_splice),
		TEST(a_direction_that_carries_much_splices_until_it_carries_little_again),
		TEST(what_cannot_be_written_at_once_waits_in_a_pipe),
		TEST(a_piece_that_waits_arrives_before_what_follows_it_and_before_the_end),
		TEST(what_a_client_sent_before_its_reset_and_waits_in_a_pipe_arrives),
		TEST(an_end_behind_a_piece_that_had_to_wait_is_found),
		TEST(an_end_behind_what_could_not_be_copied_is_found_though_there_are_pipes_again),
		TEST(a_direction_whose_reader_is_slow_becomes_bulk_too),
		TEST(an_urgent_byte_does_not_hold_up_what_is_behind_it),
		TEST(with_tiny_pipes_the_bytes_are_copied),
		TEST(copying_goes_on_by_itself_after_a_stop_to_be_fair),
		TEST(a_failing_splice_or_write_ends_what_it_has_to),
		TEST(resets_and_ends_are_passed_on_by_a_direction_that_splices),
		TEST(a_relay_is_idle_only_for_seconds_in_which_nothing_came),
	};

	return cmocka_run_group_tests_name("relay", tests, group_begin, NULL);
}
