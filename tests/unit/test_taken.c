#include "taken.h"

#include "support.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static void only_what_somebody_has_read_counts(void **state)
{
	int pair[2];
	char buf[100];

	(void)state;
	tcp_pair(pair);
	assert_int_equal(taken_bytes(pair[1]), 0);
	assert_int_equal(send(pair[0], "0123456789", 10, 0), 10);
	wait_fd(pair[1], POLLIN);
	assert_int_equal(taken_bytes(pair[1]), 0);
	assert_int_equal(recv(pair[1], buf, sizeof(buf), MSG_PEEK), 10);
	assert_int_equal(taken_bytes(pair[1]), 0);
	assert_int_equal(recv(pair[1], buf, 4, 0), 4);
	assert_int_equal(taken_bytes(pair[1]), 4);
	shutdown(pair[0], SHUT_WR);
	wait_fd(pair[1], POLLRDHUP);
	assert_in_range(taken_bytes(pair[1]), 4, 5);
	close(pair[0]);
	close(pair[1]);
}

static void what_is_no_tcp_connection_is_an_error(void **state)
{
	int pair[2], p[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pipe(p), 0);
	assert_true(taken_bytes(pair[0]) < 0);
	assert_true(taken_bytes(p[0]) < 0);
	assert_true(taken_bytes(-1) < 0);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(p[i]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(only_what_somebody_has_read_counts),
		TEST(what_is_no_tcp_connection_is_an_error),
	};

	return cmocka_run_group_tests_name("taken", tests, group_begin, NULL);
}
