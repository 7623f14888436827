#include "listen.h"

#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* An address where nobody listens. */
static struct addr_endpoint free_address(void)
{
	struct addr_endpoint e;

	close(tcp_listen(&e));
	return e;
}

static void addresses_are_opened_non_blocking_and_take_connections(void **state)
{
	struct addr_endpoint addrs[2] = {free_address(), free_address()};
	const struct addr_endpoint *bad = NULL;
	struct listen_set old = {0}, set = {0};

	(void)state;
	assert_int_equal(listen_open(addrs, 2, &old, &set, &bad), 0);
	assert_int_equal(set.n, 2);
	for (int i = 0; i < 2; i++) {
		int client, conn;

		assert_true(addr_endpoint_equal(&set.v[i].addr, &addrs[i]));
		assert_int_equal(fcntl(set.v[i].fd, F_GETFD), FD_CLOEXEC);
		assert_int_not_equal(fcntl(set.v[i].fd, F_GETFL) & O_NONBLOCK, 0);
		assert_int_equal(accept(set.v[i].fd, NULL, NULL), -1);
		assert_int_equal(errno, EAGAIN);
		client = connect_to(&addrs[i]);
		conn = accept_one(set.v[i].fd);
		close(client);
		close(conn);
	}
	listen_close(&set, NULL);
	assert_int_equal(set.n, 0);
}

static void an_ipv6_listener_leaves_ipv4_to_others(void **state)
{
	struct addr_endpoint v4 = free_address(), both[2] = {{.len = sizeof(both[0].u.in6)}, v4};
	const struct addr_endpoint *bad = NULL;
	struct listen_set old = {0}, set = {0};

	(void)state;
	both[0].u.in6.sin6_family = AF_INET6;
	both[0].u.in6.sin6_port = v4.u.in.sin_port;
	both[1].u.in.sin_addr.s_addr = INADDR_ANY;
	if (listen_open(both, 1, &old, &set, &bad) == -EAFNOSUPPORT)
		skip();
	listen_close(&set, NULL);
	assert_int_equal(listen_open(both, 2, &old, &set, &bad), 0);
	listen_close(&set, NULL);
}

static void what_was_open_already_is_taken_over(void **state)
{
	struct addr_endpoint addrs[3] = {free_address(), free_address(), free_address()};
	struct addr_endpoint wanted[2] = {addrs[1], addrs[2]};
	const struct addr_endpoint *bad = NULL;
	struct listen_set none = {0}, old = {0}, set = {0};
	int before = count_fds();

	(void)state;
	assert_int_equal(listen_open(addrs, 2, &none, &old, &bad), 0);
	assert_int_equal(listen_open(wanted, 2, &old, &set, &bad), 0);
	assert_int_equal(set.v[0].fd, old.v[1].fd);
	assert_true(listen_has(&old, set.v[0].fd));
	assert_false(listen_has(&old, set.v[1].fd));
	assert_int_equal(count_fds(), before + 3);
	listen_close(&old, &set);
	assert_int_equal(count_fds(), before + 2);
	listen_close(&set, NULL);
	assert_int_equal(count_fds(), before);
}

static void an_address_in_use_is_named_and_nothing_new_stays_open(void **state)
{
	struct addr_endpoint addrs[3] = {free_address(), free_address()};
	const struct addr_endpoint *bad = NULL;
	struct listen_set none = {0}, old = {0}, set = {0};
	int other = tcp_listen(&addrs[2]), before;

	(void)state;
	assert_int_equal(listen_open(addrs, 1, &none, &old, &bad), 0);
	before = count_fds();
	set.n = 77;
	assert_int_equal(listen_open(addrs, 3, &old, &set, &bad), -EADDRINUSE);
	assert_ptr_equal(bad, &addrs[2]);
	assert_int_equal(set.n, 77);
	assert_int_equal(count_fds(), before);
	assert_true(fcntl(old.v[0].fd, F_GETFD) >= 0);
	listen_close(&old, NULL);
	close(other);
}

static void without_descriptors_nothing_is_opened(void **state)
{
	struct addr_endpoint addrs[2] = {free_address(), free_address()};
	const struct addr_endpoint *bad = NULL;
	struct listen_set old = {0}, set = {0};

	(void)state;
	fail_calls(CALL_SOCKET, 1, 1, EMFILE);
	assert_int_equal(listen_open(addrs, 2, &old, &set, &bad), -EMFILE);
	assert_ptr_equal(bad, &addrs[1]);
}

static void passed_listeners_are_adopted_and_made_non_blocking(void **state)
{
	struct addr_endpoint a, b;
	struct listen_set set = {0};
	int first = tcp_listen(&a), second = tcp_listen(&b);

	(void)state;
	assert_int_equal(second, first + 1);
	assert_int_equal(fcntl(first, F_SETFL, 0), 0);
	assert_int_equal(listen_adopt(first, &set), 0);
	assert_int_equal(listen_adopt(first + 1, &set), 0);
	assert_int_equal(set.n, 2);
	assert_int_not_equal(fcntl(first, F_GETFL) & O_NONBLOCK, 0);
	assert_true(addr_endpoint_equal(&set.v[0].addr, &a));
	assert_true(addr_endpoint_equal(&set.v[1].addr, &b));
	listen_close(&set, NULL);
}

static void what_is_no_listening_tcp_socket_is_not_adopted(void **state)
{
	struct listen_set set = {.n = 5};
	int pair[2], udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), un, p[2];

	(void)state;
	dir_make();
	un = unix_listen("s", SOCK_STREAM, 1);
	tcp_pair(pair);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(listen_adopt(pair[0], &set), -EINVAL);
	assert_int_equal(listen_adopt(udp, &set), -EINVAL);
	assert_int_equal(listen_adopt(un, &set), -EINVAL);
	assert_int_equal(listen_adopt(p[0], &set), -EINVAL);
	assert_int_equal(listen_adopt(1000, &set), -EINVAL);
	assert_int_equal(set.n, 5);
	set.n = LISTEN_MAX;
	assert_int_equal(listen_adopt(un, &set), -ENOSPC);
	close(un);
	close(udp);
	close(pair[0]);
	close(pair[1]);
	close(p[0]);
	close(p[1]);
	dir_remove();
}

/* Whether what a listener accepts has SO_KEEPALIVE. */
static bool keeps_alive(int listener, const struct addr_endpoint *addr)
{
	int client = connect_to(addr), conn = accept_one(listener), on = 0;
	socklen_t len = sizeof(on);

	assert_int_equal(getsockopt(conn, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
	close(client);
	close(conn);
	return on != 0;
}

static void what_is_accepted_has_keepalive(void **state)
{
	struct addr_endpoint ours = free_address(), passed;
	const struct addr_endpoint *bad = NULL;
	struct listen_set old = {0}, set = {0};
	int fd = tcp_listen(&passed);

	(void)state;
	assert_int_equal(listen_open(&ours, 1, &old, &set, &bad), 0);
	assert_true(keeps_alive(set.v[0].fd, &ours));
	listen_close(&set, NULL);
	assert_false(keeps_alive(fd, &passed));
	assert_int_equal(listen_adopt(fd, &set), 0);
	assert_true(keeps_alive(fd, &passed));
	listen_close(&set, NULL);
}

static void the_local_address_is_known_before_unless_it_may_be_any(void **state)
{
	static const char *const texts[] = {"127.0.0.1", "0.0.0.0", "[::1]", "[::]"};
	struct addr_endpoint e;
	int on = 1;

	(void)state;
	for (int i = 0; i < 4; i++) {
		char text[ADDR_ENDPOINT_TEXT_MAX], want[ADDR_TEXT_MAX];
		const struct addr_endpoint *bad = NULL;
		struct listen_set old = {0}, set = {0};
		struct addr_endpoint port = free_address();
		struct addr a;

		snprintf(text, sizeof(text), "%s:%u", texts[i], ntohs(port.u.in.sin_port));
		assert_int_equal(addr_parse_endpoint(text, &e), 0);
		if (listen_open(&e, 1, &old, &set, &bad) < 0) /* no IPv6 here */
			continue;
		a = listen_local(set.v[0].fd);
		assert_string_equal(addr_text(&a, want), i % 2 == 0 ? text : "unknown");
		if (i % 2 == 0 && setsockopt(set.v[0].fd, i < 2 ? IPPROTO_IP : IPPROTO_IPV6, i < 2 ? IP_TRANSPARENT : IPV6_TRANSPARENT,
					     &on, sizeof(on)) == 0)
			assert_int_equal(listen_local(set.v[0].fd).family, AF_UNSPEC);
		listen_close(&set, NULL);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(addresses_are_opened_non_blocking_and_take_connections),
		TEST(an_ipv6_listener_leaves_ipv4_to_others),
		TEST(what_was_open_already_is_taken_over),
		TEST(an_address_in_use_is_named_and_nothing_new_stays_open),
		TEST(without_descriptors_nothing_is_opened),
		TEST(passed_listeners_are_adopted_and_made_non_blocking),
		TEST(what_is_no_listening_tcp_socket_is_not_adopted),
		TEST(what_is_accepted_has_keepalive),
		TEST(the_local_address_is_known_before_unless_it_may_be_any),
	};

	return cmocka_run_group_tests_name("listen", tests, group_begin, NULL);
}
