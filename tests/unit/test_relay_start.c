#include "relay_fixture.h"

#include <fcntl.h>
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
	};

	return cmocka_run_group_tests_name("relay_start", tests, group_begin, NULL);
}
