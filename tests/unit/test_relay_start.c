#include "relay_fixture.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>

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

static void a_closed_port_is_refused(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	close(tcp_listen(&f.target));
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), -ECONNREFUSED);
	assert_eof(f.client);
	run_for(f.loop, 5);
	assert_false(f.done);
	tear_down(&f);
}

static void a_missing_unix_socket_is_refused(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), -ENOENT);
	assert_eof(f.client);
	dir_remove();
	tear_down(&f);
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
	assert_true(f.result == RELAY_FAILED || f.result == RELAY_RESET);
	dir_remove();
	tear_down(&f);
}

/* For a backend that is there at once, and for one that is not yet. */
static void a_relay_that_cannot_be_made_closes_the_client(void **state)
{
	static const struct {
		bool later;
		enum call call;
		unsigned good;
		int error;
	} cases[] = {
		{false, CALL_SOCKET, 0, EMFILE},   {false, CALL_EPOLL_CTL, 0, ENOMEM}, {false, CALL_EPOLL_CTL, 1, ENOMEM},
		{false, CALL_SENDMSG, 0, ENOBUFS}, {true, CALL_MALLOC, 0, ENOMEM},     {true, CALL_REALLOC, 0, ENOMEM},
		{true, CALL_EPOLL_CTL, 0, ENOMEM},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		int client_fd = set_up(&f);

		f.listener = tcp_listen(&f.target);
		if (cases[i].later)
			fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
		fail_calls(cases[i].call, cases[i].good, 1, cases[i].error);
		assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), -cases[i].error);
		assert_int_equal(fail_none(), 0);
		assert_int_equal(fcntl(client_fd, F_GETFD), -1);
		assert_eof(f.client);
		run_for(f.loop, 5);
		assert_false(f.done);
		tear_down(&f);
	}
}

static void a_relay_that_cannot_be_watched_is_refused(void **state)
{
	(void)state;
	for (unsigned good = 0; good < 2; good++) {
		struct fixture f;
		int client_fd = set_up(&f);

		f.listener = tcp_listen(&f.target);
		fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
		assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
		fail_calls(CALL_EPOLL_CTL, good, 1, ENOMEM);
		run_until(f.loop, &f.done);
		assert_int_equal(f.result, RELAY_FAILED);
		assert_int_equal(f.error, -ENOMEM);
		tear_down(&f);
	}
}

/* What has come at the backend without another read after it: one piece. */
static void assert_piece(struct fixture *f, const char *want)
{
	char buf[200] = {0};

	wait_fd(f->backend, POLLIN);
	assert_int_equal(read(f->backend, buf, sizeof(buf) - 1), (ssize_t)strlen(want));
	assert_string_equal(buf, want);
}

static void assert_queue_is_empty(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Says it as a client, and has it in the queue of the other end. */
static void say(const struct fixture *f, int client_fd, const char *text)
{
	assert_int_equal(write(f->client, text, strlen(text)), (ssize_t)strlen(text));
	wait_fd(client_fd, POLLIN);
}

static void the_header_and_the_first_bytes_arrive_in_one_piece_before_the_loop_has_run(void **state)
{
	(void)state;
	for (int unix_backend = 0; unix_backend < 2; unix_backend++) {
		struct fixture f;
		int client_fd = set_up(&f);

		dir_make();
		if (unix_backend) {
			f.target = dir_endpoint("web");
			f.listener = unix_listen("web", SOCK_STREAM, 8);
		} else {
			f.listener = tcp_listen(&f.target);
		}
		say(&f, client_fd, "hello");
		assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
		assert_queue_is_empty(client_fd);
		f.backend = accept_one(f.listener);
		assert_piece(&f, HEADER "hello");
		run_for(f.loop, 10);
		assert_queue_is_empty(f.backend); /* nothing comes twice */
		assert_int_equal(counter_get(&f.env.bytes[0]), 5);
		assert_int_equal(write(f.client, "more", 4), 4);
		run_for(f.loop, 10);
		assert_piece(&f, "more");
		transfer(&f, 1000, 1000, CHUNK);
		dir_remove();
		tear_down(&f);
	}
}

static void first_bytes_go_without_a_header_too(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	f.listener = tcp_listen(&f.target);
	say(&f, client_fd, "hello");
	assert_int_equal(start_with(&f, client_fd, "", "hello", TIMEOUT_MS), 0);
	f.backend = accept_one(f.listener);
	assert_piece(&f, "hello");
	transfer(&f, 10, 10, CHUNK);
	tear_down(&f);
}

/* peeked is the beginning of what waits: not all of it, if more came since. */
static void what_came_after_the_first_bytes_follows_them(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);
	char buf[100] = {0};

	(void)state;
	f.listener = tcp_listen(&f.target);
	say(&f, client_fd, "hello, world");
	assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
	await_backend(&f);
	run_for(f.loop, 10);
	read_all(f.backend, buf, sizeof(HEADER "hello, world") - 1);
	assert_string_equal(buf, HEADER "hello, world");
	assert_queue_is_empty(f.backend);
	tear_down(&f);
}

/* Wherever the kernel cuts what is sent first, at once or after waiting for the connection. */
static void first_bytes_that_were_taken_in_part_arrive_once(void **state)
{
	static const char all[] = HEADER "hello";

	(void)state;
	for (int later = 0; later < 2; later++) {
		for (size_t len = sizeof(HEADER) - 1; len < sizeof(all); len++) {
			char buf[100] = {0};
			struct fixture f;
			int client_fd = set_up(&f);

			f.listener = tcp_listen(&f.target);
			say(&f, client_fd, "hello");
			if (later)
				fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
			else
				cut_next(CALL_SENDMSG, len);
			assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
			if (later)
				cut_next(CALL_SENDMSG, len);
			await_backend(&f);
			run_for(f.loop, 5);
			assert_int_equal(fail_none(), 0);
			read_all(f.backend, buf, sizeof(all) - 1);
			assert_string_equal(buf, all);
			assert_queue_is_empty(f.backend);
			transfer(&f, 10, 10, CHUNK);
			tear_down(&f);
		}
	}
}

static void half_a_header_is_worse_than_none(void **state)
{
	(void)state;
	for (int later = 0; later < 2; later++) {
		struct fixture f;
		int client_fd = set_up(&f);

		f.listener = tcp_listen(&f.target);
		say(&f, client_fd, "hello");
		if (later)
			fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
		else
			cut_next(CALL_SENDMSG, sizeof(HEADER) - 2);
		assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), later ? 0 : -EIO);
		if (later) {
			cut_next(CALL_SENDMSG, sizeof(HEADER) - 2);
			run_until(f.loop, &f.done);
			assert_int_equal(f.result, RELAY_FAILED);
			assert_int_equal(f.error, -EIO);
		}
		assert_int_equal(fail_none(), 0);
		tear_down(&f);
	}
}

static void all_that_came_while_the_backend_was_called_is_sent_with_the_header(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	f.listener = tcp_listen(&f.target);
	say(&f, client_fd, "hello");
	fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
	assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
	assert_int_equal(write(f.client, ", world", 7), 7);
	usleep(5000);
	await_backend(&f);
	run_for(f.loop, 5);
	assert_piece(&f, HEADER "hello, world");
	assert_queue_is_empty(client_fd);
	transfer(&f, 10, 10, CHUNK);
	tear_down(&f);
}

static void a_client_that_ends_its_direction_while_the_backend_is_called_is_answered(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	f.listener = tcp_listen(&f.target);
	say(&f, client_fd, "hello");
	fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
	assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
	shutdown(f.client, SHUT_WR);
	usleep(5000);
	await_backend(&f);
	run_for(f.loop, 5);
	assert_piece(&f, HEADER "hello");
	assert_eof(f.backend);
	transfer(&f, 0, 1000, CHUNK);
	close_end(&f.backend);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_DONE);
	tear_down(&f);
}

/* A socket tells its error once, and looking for first bytes may be what is told. */
static void a_reset_of_a_client_that_has_said_nothing_is_seen_while_the_backend_is_called(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f);

	(void)state;
	f.listener = tcp_listen(&f.target);
	fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	close_reset(f.client);
	f.client = -1;
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_RESET);
	tear_down(&f);
}

/* The queue takes one; a SYN that comes then is dropped, and comes again after a second. */
static int fill_tcp_queue(struct fixture *f, int *fds)
{
	f->listener = tcp_listen(&f->target);
	assert_int_equal(listen(f->listener, 0), 0);
	for (int i = 0; i < 4; i++)
		fds[i] = connect_to(&f->target);
	return 4;
}

static void a_tcp_backend_that_answers_late_gets_the_header_and_the_first_bytes_in_one_piece(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[4], n = fill_tcp_queue(&f, fds);
	struct sockaddr_in want, got;
	socklen_t len = sizeof(want);

	(void)state;
	say(&f, client_fd, "hello");
	assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
	assert_int_equal(getsockname(f.relay.side[1].fd, (struct sockaddr *)&want, &len), 0);
	run_for(f.loop, 20);
	assert_false(f.done);
	assert_int_equal(listen(f.listener, 8), 0);
	do { /* the others are in front of it */
		if (f.backend >= 0)
			close(f.backend);
		await_backend(&f);
		len = sizeof(got);
		assert_int_equal(getpeername(f.backend, (struct sockaddr *)&got, &len), 0);
	} while (got.sin_port != want.sin_port);
	run_for(f.loop, 5);
	assert_piece(&f, HEADER "hello");
	transfer(&f, 100, 100, CHUNK);
	while (n > 0)
		close(fds[--n]);
	tear_down(&f);
}

static void a_tcp_backend_that_refuses_late_is_told_by_done(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[4], n = fill_tcp_queue(&f, fds);

	(void)state;
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	close_end(&f.listener);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_FAILED);
	assert_int_equal(f.error, -ECONNREFUSED);
	while (n > 0)
		close(fds[--n]);
	tear_down(&f);
}

/* What relay_open() promises does not depend on there being something to send. */
static void with_nothing_to_send_first_a_backend_is_waited_for_all_the_same(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[4], n;

	(void)state;
	close(tcp_listen(&f.target));
	assert_int_equal(start(&f, client_fd, "", TIMEOUT_MS), -ECONNREFUSED);
	tear_down(&f);

	client_fd = set_up(&f);
	n = fill_tcp_queue(&f, fds);
	assert_int_equal(start(&f, client_fd, "", 100), 0);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_TIMEOUT);
	while (n > 0)
		close(fds[--n]);
	tear_down(&f);
}

static void a_unix_backend_whose_queue_was_full_gets_the_first_bytes_with_the_header(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[8], n;

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 1);
	n = fill_queue(&f.target, fds, 8);
	say(&f, client_fd, "hello");
	assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
	for (int i = 0; i < n; i++)
		close(accept_one(f.listener));
	await_backend(&f);
	run_for(f.loop, 5);
	assert_piece(&f, HEADER "hello");
	assert_queue_is_empty(client_fd);
	while (n > 0)
		close(fds[--n]);
	dir_remove();
	tear_down(&f);
}

static void a_unix_backend_that_goes_while_its_queue_is_full_is_refused(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[8], n;

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 1);
	n = fill_queue(&f.target, fds, 8);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	close_end(&f.listener);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_FAILED);
	assert_int_equal(f.error, -ECONNREFUSED);
	while (n > 0)
		close(fds[--n]);
	dir_remove();
	tear_down(&f);
}

static void want_of_memory_at_another_attempt_fails_the_relay(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[8], n;

	(void)state;
	dir_make();
	f.target = dir_endpoint("web");
	f.listener = unix_listen("web", SOCK_STREAM, 1);
	n = fill_queue(&f.target, fds, 8);
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	for (int i = 0; i < n; i++)
		close(accept_one(f.listener));
	fail_calls(CALL_EPOLL_CTL, 0, 1, ENOMEM);
	run_until(f.loop, &f.done);
	assert_int_equal(f.result, RELAY_FAILED);
	assert_int_equal(f.error, -ENOMEM);
	while (n > 0)
		close(fds[--n]);
	dir_remove();
	tear_down(&f);
}

static void a_relay_that_waits_for_its_backend_can_be_closed(void **state)
{
	(void)state;
	for (int unix_backend = 0; unix_backend < 2; unix_backend++) {
		struct fixture f;
		int client_fd = set_up(&f), fds[8], n;

		dir_make();
		if (unix_backend) {
			f.target = dir_endpoint("web");
			f.listener = unix_listen("web", SOCK_STREAM, 1);
			n = fill_queue(&f.target, fds, 8);
		} else {
			n = fill_tcp_queue(&f, fds);
		}
		assert_int_equal(start(&f, client_fd, HEADER, 30), 0);
		run_for(f.loop, 5);
		relay_close(&f.relay);
		f.open = false;
		run_for(f.loop, 50);
		assert_false(f.done);
		assert_eof(f.client);
		while (n > 0)
			close(fds[--n]);
		dir_remove();
		tear_down(&f);
	}
}

static void a_relay_that_waits_for_its_backend_is_not_idle_yet(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), fds[4], n = fill_tcp_queue(&f, fds);

	(void)state;
	assert_int_equal(start(&f, client_fd, HEADER, TIMEOUT_MS), 0);
	assert_int_equal(relay_idle(&f.relay), 0);
	while (n > 0)
		close(fds[--n]);
	tear_down(&f);
}

static void the_first_bytes_complete_the_handshake(void **state)
{
	struct fixture f;
	int client_fd = set_up(&f), plain, accepted;
	uint32_t usual;

	(void)state;
	f.listener = tcp_listen(&f.target);
	plain = connect_to(&f.target);
	wait_fd(plain, POLLOUT);
	accepted = accept_one(f.listener);
	assert_int_equal(send(plain, "hello", 5, 0), 5);
	wait_fd(accepted, POLLIN);
	usual = packets_in(accepted);

	assert_int_equal(write(f.client, "hello", 5), 5);
	wait_fd(client_fd, POLLIN);
	assert_int_equal(start_with(&f, client_fd, HEADER, "hello", TIMEOUT_MS), 0);
	await_backend(&f);
	assert_int_equal(packets_in(f.backend), usual - 1);
	close(plain);
	close(accepted);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_header_comes_first),
		TEST(a_closed_port_is_refused),
		TEST(a_missing_unix_socket_is_refused),
		TEST(a_unix_backend_whose_queue_stays_full_times_out),
		TEST(a_unix_backend_whose_queue_was_full_is_called_again),
		TEST(a_tcp_backend_that_does_not_answer_times_out),
		TEST(a_client_that_resets_while_the_backend_is_called_ends_the_relay),
		TEST(a_unix_backend_that_goes_before_it_has_taken_the_header_is_refused),
		TEST(a_relay_that_cannot_be_made_closes_the_client),
		TEST(a_relay_that_cannot_be_watched_is_refused),
		TEST(the_header_and_the_first_bytes_arrive_in_one_piece_before_the_loop_has_run),
		TEST(first_bytes_go_without_a_header_too),
		TEST(what_came_after_the_first_bytes_follows_them),
		TEST(first_bytes_that_were_taken_in_part_arrive_once),
		TEST(half_a_header_is_worse_than_none),
		TEST(all_that_came_while_the_backend_was_called_is_sent_with_the_header),
		TEST(a_client_that_ends_its_direction_while_the_backend_is_called_is_answered),
		TEST(a_reset_of_a_client_that_has_said_nothing_is_seen_while_the_backend_is_called),
		TEST(a_tcp_backend_that_answers_late_gets_the_header_and_the_first_bytes_in_one_piece),
		TEST(a_tcp_backend_that_refuses_late_is_told_by_done),
		TEST(with_nothing_to_send_first_a_backend_is_waited_for_all_the_same),
		TEST(a_unix_backend_whose_queue_was_full_gets_the_first_bytes_with_the_header),
		TEST(a_unix_backend_that_goes_while_its_queue_is_full_is_refused),
		TEST(want_of_memory_at_another_attempt_fails_the_relay),
		TEST(a_relay_that_waits_for_its_backend_can_be_closed),
		TEST(a_relay_that_waits_for_its_backend_is_not_idle_yet),
		TEST(the_first_bytes_complete_the_handshake),
	};

	return cmocka_run_group_tests_name("relay_start", tests, group_begin, NULL);
}
