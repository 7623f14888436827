#include "relay_fixture.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>

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
	assert_int_equal(setsockopt(f.backend, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
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
		TEST(an_answer_is_delivered_though_the_backend_takes_no_more),
		TEST(a_relay_can_be_freed_at_any_time_and_leaves_nothing_behind),
	};

	return cmocka_run_group_tests_name("relay", tests, group_begin, NULL);
}
