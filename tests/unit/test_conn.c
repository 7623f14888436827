#include "conn.h"

#include "log.h"
#include "support.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VECTOR_XMPP "tests/vectors/ok-real-openssl-tls13.bin" /* chat.example.org, xmpp-client */
#define VECTOR_WEB  "tests/vectors/ok-real-curl-h2.bin"
#define VECTOR_BIG  "tests/vectors/ok-post-quantum-3-records.bin"

/* One connection, a receiver and a web server. */
struct fixture {
	struct conn_env *env; /* large */
	struct handoff *handoff;
	struct addr_endpoint path, web;
	int receiver, web_listener, channel;
	int client, fd;       /* the connection's two ends; fd is conn's */
	struct addr peer;
	int decided, ended;
	bool done;            /* ended > 0 */
};

static struct fixture *current; /* the callbacks have no argument of ours */

static struct handoff *handoff_for(struct conn_env *env, const struct addr_endpoint *path)
{
	(void)env;
	assert_true(addr_endpoint_equal(path, &current->path));
	return current->handoff;
}

static void on_decided(struct conn_env *env, const struct addr *peer)
{
	(void)env;
	assert_int_equal(peer->family, AF_INET);
	current->decided++;
}

static void on_ended(struct conn_env *env)
{
	(void)env;
	current->ended++;
	current->done = true;
}

static void on_changed(void *arg, const struct handoff *h, int error)
{
	(void)arg;
	(void)h;
	(void)error;
}

static void set(struct conf *c, const char *section, const char *key, const char *value)
{
	struct conf_error err;

	assert_int_equal(conf_set(c, section, key, value, &err), 0);
}

static void set_up(struct fixture *f, bool receiver)
{
	struct conf *c = conf_new();
	char text[ADDR_ENDPOINT_TEXT_MAX];

	log_set_level(LOG_LEVEL_ERROR);
	*f = (struct fixture){.receiver = -1, .channel = -1};
	current = f;
	assert_non_null(c);
	dir_make();
	f->path = dir_endpoint("s");
	if (receiver)
		f->receiver = unix_listen("s", SOCK_SEQPACKET, 4);
	f->web_listener = tcp_listen(&f->web);
	set(c, "route xmpp-client", "alpn", "xmpp-client");
	set(c, "route xmpp-client", "fdpass", dir_path("s"));
	set(c, "web", "proxy", addr_endpoint_text(&f->web, text));
	set(c, "web", "proxy-protocol", "none");
	set(c, "shim", "hello-timeout", "5s");
	f->env = calloc(1, sizeof(*f->env));
	assert_non_null(f->env);
	f->env->conf = c;
	f->env->handoff_for = handoff_for;
	f->env->decided = on_decided;
	f->env->ended = on_ended;
	assert_int_equal(loop_new(&f->env->loop), 0);
	assert_int_equal(handoff_new(f->env->loop, &f->path, 10, on_changed, NULL, &f->handoff), 0);
	if (receiver)
		f->channel = accept_one(f->receiver);
}

static void tear_down(struct fixture *f)
{
	conn_end_all(f->env);
	assert_int_equal(f->env->n, 0);
	assert_int_equal(f->decided, f->ended);
	handoff_free(f->handoff);
	pipes_close(&f->env->pipes);
	loop_free(f->env->loop);
	conf_unref(f->env->conf);
	free(f->env);
	if (f->web_listener >= 0)
		close(f->web_listener);
	if (f->receiver >= 0)
		close(f->receiver);
	if (f->channel >= 0)
		close(f->channel);
	if (f->client >= 0)
		close(f->client);
	dir_remove();
}

static void tcp_connect(struct fixture *f)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int pair[2];

	tcp_pair(pair);
	f->client = pair[0];
	f->fd = pair[1];
	assert_int_equal(getpeername(f->fd, (struct sockaddr *)&in, &len), 0);
	f->peer = addr_from_sockaddr((const struct sockaddr *)&in);
}

static void begin(struct fixture *f)
{
	conn_new(f->env, f->fd, &f->peer);
}

static void send_bytes(struct fixture *f, const uint8_t *bytes, size_t len)
{
	assert_int_equal(send(f->client, bytes, len, 0), (ssize_t)len);
}

/* Sends a whole vector, or its first bytes. */
static void send_vector(struct fixture *f, const char *path, size_t max)
{
	size_t len;
	uint8_t *bytes = file_read(path, &len);

	send_bytes(f, bytes, len < max ? len : max);
	free(bytes);
}

static int await_web(struct fixture *f)
{
	for (int i = 0; i < WAIT_MS / 2; i++) {
		int fd = accept4(f->web_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			return fd;
		run_for(f->env->loop, 2);
	}
	fail_msg("the web server was not called");
	return -1;
}

/* What the receiver gets: the descriptor; the header is in buf. */
static int await_parcel(struct fixture *f, uint8_t *buf, size_t *len)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = *len};
	int fd;

	for (int i = 0; i < WAIT_MS / 2; i++) {
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
		ssize_t n = recvmsg(f->channel, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n > 0) {
			assert_non_null(CMSG_FIRSTHDR(&msg));
			memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
			*len = (size_t)n;
			return fd;
		}
		run_for(f->env->loop, 2);
	}
	fail_msg("no packet came");
	return -1;
}

static void answer(struct fixture *f, char verdict, const uint8_t *header, size_t len)
{
	uint8_t record[CONTROL_RECORD_LEN] = {(uint8_t)verdict};

	memcpy(record + 1, header + len - CONTROL_ID_LEN, CONTROL_ID_LEN);
	assert_int_equal(send(f->channel, record, sizeof(record), 0), (ssize_t)sizeof(record));
}

/* The whole vector is still there to be read. */
static void assert_unread(int fd, const char *path)
{
	size_t len;
	uint8_t *bytes = file_read(path, &len), *got = malloc(len);

	assert_non_null(got);
	read_all(fd, got, len);
	assert_memory_equal(got, bytes, len);
	free(got);
	free(bytes);
}

static void xmpp_is_handed_over_with_its_names_and_not_a_byte_read(void **state)
{
	uint8_t header[600];
	size_t len = sizeof(header);
	struct fixture f;
	int fd;

	(void)state;
	set_up(&f, true);
	tcp_connect(&f);
	send_vector(&f, VECTOR_XMPP, SIZE_MAX);
	begin(&f);
	fd = await_parcel(&f, header, &len);
	assert_int_equal(len, 16 + 12 + 3 + 11 + 3 + 16 + 3 + 8);
	assert_memory_equal(header + 12, "\x21\x11", 2);
	assert_memory_equal(header + 28, "\1\0\x0bxmpp-client" "\2\0\x10" "chat.example.org" "\5\0\x08", 3 + 11 + 3 + 16 + 3);
	assert_true(same_socket(fd, f.fd));
	assert_int_equal(f.ended, 0);
	answer(&f, 'A', header, len);
	run_until(f.env->loop, &f.done);
	assert_int_equal(f.env->ends[CONN_HANDED_OFF], 1);
	assert_unread(fd, VECTOR_XMPP);
	close(fd);
	tear_down(&f);
}

static void a_hello_that_arrives_byte_by_byte_is_handed_over(void **state)
{
	uint8_t header[600];
	size_t len, header_len = sizeof(header);
	uint8_t *bytes = file_read(VECTOR_BIG, &len);
	struct fixture f;
	int fd;

	(void)state;
	set_up(&f, true);
	tcp_connect(&f);
	begin(&f);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(f.decided, 0);
		send_bytes(&f, bytes + i, 1);
		run_for(f.env->loop, 0);
	}
	fd = await_parcel(&f, header, &header_len);
	assert_int_equal(f.decided, 1);
	answer(&f, 'A', header, header_len);
	run_until(f.env->loop, &f.done);
	assert_unread(fd, VECTOR_BIG);
	close(fd);
	free(bytes);
	tear_down(&f);
}

static void goes_to_the_web(const char *path)
{
	struct fixture f;
	int web;

	set_up(&f, true);
	tcp_connect(&f);
	begin(&f);
	send_vector(&f, path, SIZE_MAX);
	web = await_web(&f);
	run_for(f.env->loop, 10);
	assert_unread(web, path);
	close(web);
	close(f.client);
	f.client = -1;
	run_until(f.env->loop, &f.done);
	assert_int_equal(f.env->ends[CONN_RELAYED] + f.env->ends[CONN_RESET], 1);
	tear_down(&f);
}

static void everything_else_is_relayed_to_the_web_server(void **state)
{
	(void)state;
	goes_to_the_web(VECTOR_WEB);
	goes_to_the_web("tests/vectors/not-tls-http.bin");
	goes_to_the_web("tests/vectors/not-tls-xmpp.bin");
	goes_to_the_web("tests/vectors/malformed-duplicate-alpn.bin");
	goes_to_the_web("tests/vectors/malformed-message-max-plus-1.bin");
}

static void a_client_that_says_nothing_is_closed_at_the_deadline(void **state)
{
	struct fixture f;

	(void)state;
	for (int partial = 0; partial < 2; partial++) {
		set_up(&f, true);
		set(f.env->conf, "shim", "hello-timeout", "50ms");
		tcp_connect(&f);
		if (partial)
			send_vector(&f, VECTOR_XMPP, 100);
		begin(&f);
		run_until(f.env->loop, &f.done);
		assert_int_equal(f.env->ends[CONN_HELLO_TIMEOUT], 1);
		tear_down(&f);
	}
}

static void a_client_that_goes_before_its_hello_is_complete_is_closed(void **state)
{
	(void)state;
	for (int how = 0; how < 6; how++) {
		struct fixture f;

		set_up(&f, true);
		tcp_connect(&f);
		if (how >= 3) {
			send_vector(&f, VECTOR_XMPP, 100);
			wait_fd(f.fd, POLLIN);
		}
		if (how % 3 == 0)
			begin(&f); /* it is there when it goes */
		if (how % 3 == 2) {
			close_reset(f.client);
			f.client = -1;
		} else {
			shutdown(f.client, SHUT_WR);
		}
		if (how % 3 != 0)
			begin(&f);
		if (!f.done)
			run_until(f.env->loop, &f.done);
		assert_int_equal(f.env->ends[CONN_CLIENT_GONE], 1);
		tear_down(&f);
	}
}

/* A refused or expired client gets TLS's internal_error and an orderly end. */
static void assert_alert(struct fixture *f)
{
	uint8_t alert[7];

	read_all(f->client, alert, sizeof(alert));
	assert_memory_equal(alert, "\x15\3\3\0\2\2\x50", 7);
	assert_eof(f->client);
}

static void a_refused_client_gets_an_alert(void **state)
{
	uint8_t header[600];
	size_t len = sizeof(header);
	struct fixture f;

	(void)state;
	set_up(&f, true);
	tcp_connect(&f);
	send_vector(&f, VECTOR_XMPP, SIZE_MAX);
	begin(&f);
	close(await_parcel(&f, header, &len));
	answer(&f, 'N', header, len);
	run_until(f.env->loop, &f.done);
	assert_int_equal(f.env->ends[CONN_REFUSED], 1);
	assert_alert(&f);
	tear_down(&f);
}

static void a_client_whose_hold_expires_gets_an_alert(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, false);
	set(f.env->conf, "route xmpp-client", "hold", "50ms");
	tcp_connect(&f);
	send_vector(&f, VECTOR_XMPP, SIZE_MAX);
	begin(&f);
	assert_int_equal(f.decided, 1);
	run_until(f.env->loop, &f.done);
	assert_int_equal(f.env->ends[CONN_HOLD_EXPIRED], 1);
	assert_alert(&f);
	tear_down(&f);
}

static void a_client_that_leaves_while_held_is_counted_as_gone(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, false);
	tcp_connect(&f);
	send_vector(&f, VECTOR_XMPP, SIZE_MAX);
	begin(&f);
	close(f.client);
	f.client = -1;
	run_until(f.env->loop, &f.done);
	assert_int_equal(f.env->ends[CONN_CLIENT_GONE], 1);
	tear_down(&f);
}

static void a_client_for_whom_there_is_no_place_gets_an_alert(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct fixture f;

		set_up(&f, false);
		tcp_connect(&f);
		send_vector(&f, VECTOR_XMPP, SIZE_MAX);
		wait_fd(f.fd, POLLIN);
		if (how == 0)
			handoff_set_max_held(f.handoff, 0);
		if (how == 1)
			fail_calls(CALL_MALLOC, 0, 1, ENOMEM); /* the header */
		if (how == 2) {
			handoff_free(f.handoff);
			f.handoff = NULL;
		}
		begin(&f);
		assert_true(f.done);
		assert_int_equal(f.env->ends[CONN_HELD_FULL], 1);
		assert_alert(&f);
		tear_down(&f);
	}
}

static void a_web_server_that_is_down_is_counted(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, true);
	close(f.web_listener);
	f.web_listener = -1;
	tcp_connect(&f);
	send_vector(&f, VECTOR_WEB, SIZE_MAX);
	begin(&f);
	run_until(f.env->loop, &f.done);
	assert_int_equal(f.env->ends[CONN_BACKEND_REFUSED], 1);
	tear_down(&f);
}

static void want_of_memory_or_descriptors_ends_only_the_connection(void **state)
{
	static const struct {
		enum call call;
		unsigned good;
		int error;
		bool hello;
	} cases[] = {
		{CALL_EPOLL_CTL, 0, ENOMEM, false}, {CALL_REALLOC, 0, ENOMEM, false}, {CALL_SOCKET, 0, EMFILE, true},
		{CALL_MALLOC, 0, ENOMEM, true}, {CALL_MALLOC, 1, ENOMEM, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;

		set_up(&f, true);
		tcp_connect(&f);
		if (cases[i].hello) {
			send_vector(&f, VECTOR_WEB, SIZE_MAX);
			wait_fd(f.fd, POLLIN);
		}
		fail_calls(cases[i].call, cases[i].good, 1, cases[i].error);
		begin(&f);
		assert_true(f.done);
		assert_int_equal(f.env->ends[CONN_NO_RESOURCES], 1);
		tear_down(&f);
	}
}

static void without_memory_for_it_a_connection_is_closed_and_counted(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, true);
	tcp_connect(&f);
	fail_calls(CALL_CALLOC, 0, 1, ENOMEM);
	begin(&f);
	assert_int_equal(f.env->ends[CONN_NO_RESOURCES], 1);
	assert_int_equal(f.decided, 1);
	assert_eof(f.client);
	f.decided = 0; /* it never was one of env's */
	tear_down(&f);
}

static void ending_all_closes_each_in_whatever_state(void **state)
{
	struct fixture f;
	int clients[4];

	(void)state;
	set_up(&f, false);
	for (int i = 0; i < 4; i++) {
		tcp_connect(&f);
		clients[i] = f.client;
		if (i == 1 || i == 3)
			send_vector(&f, i == 1 ? VECTOR_XMPP : VECTOR_WEB, SIZE_MAX);
		if (i == 2)
			send_vector(&f, VECTOR_XMPP, 20);
		begin(&f);
	}
	f.client = -1;
	close(await_web(&f));
	assert_int_equal(f.env->n, 4 - f.ended);
	conn_end_all(f.env);
	assert_int_equal(f.env->n, 0);
	assert_null(f.env->first);
	assert_int_equal(f.ended, 4);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	tear_down(&f);
}

/* MSG_OOB makes a byte vanish from what recv() gives; the machine must not be confused by it. */
static void urgent_bytes_do_no_harm(void **state)
{
	(void)state;
	for (int at = 0; at < 3; at++) {
		struct fixture f;

		set_up(&f, true);
		set(f.env->conf, "shim", "hello-timeout", "100ms");
		tcp_connect(&f);
		begin(&f);
		for (int i = 0; i < 3; i++) {
			if (i == at)
				assert_int_equal(send(f.client, "!", 1, MSG_OOB), 1);
			send_vector(&f, VECTOR_XMPP, 60);
			run_for(f.env->loop, 5);
		}
		assert_int_equal(send(f.client, "!", 1, MSG_OOB), 1);
		run_for(f.env->loop, 5);
		if (!f.done)
			run_for(f.env->loop, 150);
		tear_down(&f);
	}
}

static void ends_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < CONN_ENDS; i++)
		assert_true(strlen(conn_end_name((enum conn_end)i)) > 3);
	assert_string_equal(conn_end_name(CONN_ENDS), "?");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(xmpp_is_handed_over_with_its_names_and_not_a_byte_read),
		TEST(a_hello_that_arrives_byte_by_byte_is_handed_over),
		TEST(everything_else_is_relayed_to_the_web_server),
		TEST(a_client_that_says_nothing_is_closed_at_the_deadline),
		TEST(a_client_that_goes_before_its_hello_is_complete_is_closed),
		TEST(a_refused_client_gets_an_alert),
		TEST(a_client_whose_hold_expires_gets_an_alert),
		TEST(a_client_that_leaves_while_held_is_counted_as_gone),
		TEST(a_client_for_whom_there_is_no_place_gets_an_alert),
		TEST(a_web_server_that_is_down_is_counted),
		TEST(want_of_memory_or_descriptors_ends_only_the_connection),
		TEST(without_memory_for_it_a_connection_is_closed_and_counted),
		TEST(ending_all_closes_each_in_whatever_state),
		TEST(urgent_bytes_do_no_harm),
		TEST(ends_have_names),
	};

	return cmocka_run_group_tests_name("conn", tests, group_begin, NULL);
}
