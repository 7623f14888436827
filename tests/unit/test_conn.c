#include "conn.h"

#include "log.h"
#include "passed.h"
#include "pp2.h"
#include "relayed.h"
#include "support.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VECTOR_XMPP "tests/vectors/ok-real-openssl-tls13.bin" /* chat.example.org, xmpp-client */
#define VECTOR_WEB  "tests/vectors/ok-real-curl-h2.bin"
#define VECTOR_BIG  "tests/vectors/ok-post-quantum-3-records.bin"

/* One connection, a receiver and a web server. */
struct fixture {
	struct env *env; /* large */
	struct handoff *handoff;
	struct handoff_counts counts;
	struct addr_endpoint path, web;
	int receiver, web_listener, channel;
	int client, fd;       /* the connection's two ends; fd is conn's */
	struct addr peer;
	int begun;            /* those that conn took */
	int admitted, decided, ended;
	bool turn_away;       /* admit() says no */
	struct addr waiting;  /* the last one that was asked about */
	bool done;            /* ended > 0 */
};

static struct fixture *current; /* the callbacks have no argument of ours */

static struct handoff *handoff_for(struct env *env, const struct addr_endpoint *path)
{
	(void)env;
	assert_true(addr_endpoint_equal(path, &current->path));
	return current->handoff;
}

static bool on_admit(struct env *env, const struct addr *peer)
{
	(void)env;
	assert_int_equal(peer->family, AF_INET);
	current->waiting = *peer;
	if (current->turn_away)
		return false;
	current->admitted++;
	return true;
}

static void on_decided(struct env *env, const struct addr *peer)
{
	(void)env;
	assert_int_equal(peer->family, AF_INET);
	current->decided++;
}

static void on_ended(struct env *env)
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
	f->env->admit = on_admit;
	f->env->decided = on_decided;
	f->env->ended = on_ended;
	list_init(&f->env->undecided);
	list_init(&f->env->passed);
	list_init(&f->env->relayed);
	list_init(&f->env->kept);
	assert_int_equal(loop_new(&f->env->loop), 0);
	f->env->relay.loop = f->env->loop;
	f->env->relay.done = relayed_done;
	assert_int_equal(handoff_new(f->env->loop, &f->path, 10, &f->counts, on_changed, NULL, &f->handoff), 0);
	if (receiver)
		f->channel = accept_one(f->receiver);
}

static void end_all(struct fixture *f)
{
	conn_end_all(f->env);
	passed_end_all(f->env);
	relayed_end_all(f->env);
}

/* What was counted is no more and no less than what was there. */
static void assert_counts(const struct env_counts *c)
{
	uint64_t routed = 0, timed = 0, ended = 0, unrouted = 0;

	for (size_t slot = 0; slot < ROUTE_SLOTS; slot++)
		for (int verdict = 0; verdict < VERDICTS_N; verdict++)
			routed += counter_get(&c->routed[slot][verdict]);
	for (int i = 0; i <= ENV_HELLO_BUCKETS; i++)
		timed += counter_get(&c->hello_buckets[i]);
	for (int end = 0; end < ENDS_N; end++) {
		ended += env_ended(c, (enum env_end)end);
		unrouted += counter_get(&c->unrouted[end]);
	}
	assert_int_equal(timed, routed);
	assert_int_equal(ended - unrouted, routed);
	assert_int_equal(counter_get(&c->undecided_now), 0);
	assert_int_equal(counter_get(&c->passed_now), 0);
	assert_int_equal(counter_get(&c->relayed_now), 0);
}

static void tear_down(struct fixture *f)
{
	end_all(f);
	assert_counts(&f->env->counts);
	assert_int_equal(f->env->n, 0);
	assert_int_equal(f->decided, f->admitted);
	assert_int_equal(f->ended, f->begun);
	handoff_free(f->handoff);
	pipes_close(&f->env->relay.pipes);
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

static const struct addr local; /* is asked for */

static void begin(struct fixture *f)
{
	f->begun++;
	conn_new(f->env, f->fd, &f->peer, &local);
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
	assert_int_equal(counter_get(&f.env->counts.passed_now), 1);
	answer(&f, 'A', header, len);
	run_until(f.env->loop, &f.done);
	assert_int_equal(env_ended(&f.env->counts, END_HANDED_OFF), 1);
	assert_int_equal(counter_get(&f.env->counts.ended[1][END_HANDED_OFF]), 1);
	assert_int_equal(counter_get(&f.env->counts.routed[1][VERDICT_OK]), 1);
	assert_int_equal(counter_get(&f.env->counts.hello_buckets[0]), 1);
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
	assert_int_equal(env_ended(&f.env->counts, END_RELAYED) + env_ended(&f.env->counts, END_RESET), 1);
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
		assert_int_equal(env_ended(&f.env->counts, END_HELLO_TIMEOUT), 1);
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
		assert_int_equal(env_ended(&f.env->counts, END_CLIENT_GONE), 1);
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
	assert_int_equal(env_ended(&f.env->counts, END_REFUSED), 1);
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
	assert_false(f.done);
	assert_true(list_empty(&f.env->undecided));
	run_until(f.env->loop, &f.done);
	assert_int_equal(env_ended(&f.env->counts, END_HOLD_EXPIRED), 1);
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
	assert_int_equal(env_ended(&f.env->counts, END_CLIENT_GONE), 1);
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
		assert_int_equal(env_ended(&f.env->counts, how == 0 ? END_HELD_FULL : END_NO_RESOURCES), 1);
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
	if (!f.done)
		run_until(f.env->loop, &f.done);
	assert_int_equal(env_ended(&f.env->counts, END_BACKEND_REFUSED), 1);
	tear_down(&f);
}

static void want_of_memory_or_descriptors_ends_only_the_connection(void **state)
{
	static const struct {
		enum call call;
		unsigned good;
		int error;
		bool hello, later; /* the backend is not there at once */
	} cases[] = {
		{CALL_EPOLL_CTL, 0, ENOMEM, false, false}, {CALL_REALLOC, 0, ENOMEM, false, false},
		{CALL_SOCKET, 0, EMFILE, true, false},     {CALL_MALLOC, 0, ENOMEM, true, false},
		{CALL_MALLOC, 1, ENOMEM, true, true},      {CALL_REALLOC, 0, ENOMEM, true, true},
		{CALL_EPOLL_CTL, 0, ENOMEM, true, false},  {CALL_EPOLL_CTL, 1, ENOMEM, true, false},
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
		if (cases[i].later)
			fail_calls(CALL_SENDMSG, 0, 1, EAGAIN);
		fail_calls(cases[i].call, cases[i].good, 1, cases[i].error);
		begin(&f);
		assert_true(f.done);
		assert_int_equal(env_ended(&f.env->counts, END_NO_RESOURCES), 1);
		tear_down(&f);
	}
}

static void without_memory_for_it_a_connection_is_closed_and_counted(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, true);
	tcp_connect(&f);
	fail_calls(CALL_MALLOC, 0, 1, ENOMEM);
	begin(&f);
	assert_int_equal(env_ended(&f.env->counts, END_NO_RESOURCES), 1);
	assert_int_equal(f.admitted, 0);
	assert_eof(f.client);
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
	end_all(&f);
	assert_int_equal(f.env->n, 0);
	assert_true(list_empty(&f.env->undecided) && list_empty(&f.env->passed) && list_empty(&f.env->relayed));
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

/* Clients behind a proxy that connects from 127.0.0.1, as all do here. */
static const struct addr far_client = {.family = AF_INET, .ip = {203, 0, 113, 9}, .port = 4660};
static const struct addr far_local = {.family = AF_INET, .ip = {198, 51, 100, 2}, .port = 443};

static void set_up_trusting(struct fixture *f)
{
	set_up(f, true);
	set(f->env->conf, "shim", "trusted-proxies", "127.0.0.1");
	set(f->env->conf, "web", "proxy-protocol", "v1");
	tcp_connect(f);
}

/* A header of far_client, and a hello behind it. The caller frees it. */
static uint8_t *proxied(enum pp2_version version, const char *vector, size_t *ret_header_len, size_t *ret_len)
{
	size_t len, header_len;
	uint8_t *hello = file_read(vector, &len), *bytes = malloc(PP2_V2_MAX + len);

	assert_non_null(bytes);
	header_len = pp2_write(version, &far_client, &far_local, NULL, bytes);
	memcpy(bytes + header_len, hello, len);
	free(hello);
	*ret_header_len = header_len;
	*ret_len = header_len + len;
	return bytes;
}

static void assert_is_far_client(const struct addr *a)
{
	assert_memory_equal(a->ip, far_client.ip, sizeof(a->ip));
	assert_int_equal(a->port, far_client.port);
}

/* Its bytes come in one piece, in two, or one by one; there before conn is, or not. */
static void a_proxied_client_is_handed_over_as_itself(enum pp2_version version, int how)
{
	size_t header_len, len, got_len = 600;
	uint8_t got[600], *bytes = proxied(version, VECTOR_XMPP, &header_len, &len);
	struct fixture f;
	int fd, on = 1;

	set_up_trusting(&f);
	assert_int_equal(setsockopt(f.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0); /* each byte goes at once */
	if (how == 0) {
		send_bytes(&f, bytes, len);
		wait_fd(f.fd, POLLIN);
	}
	begin(&f);
	if (how == 1)
		send_bytes(&f, bytes, len);
	if (how == 2) {
		send_bytes(&f, bytes, header_len);
		run_for(f.env->loop, 5);
		assert_int_equal(f.admitted, 1);
		send_bytes(&f, bytes + header_len, len - header_len);
	}
	for (size_t i = 0; how == 3 && i < len; i++) {
		assert_int_equal(f.admitted, i < header_len ? 0 : 1);
		send_bytes(&f, bytes + i, 1);
		run_for(f.env->loop, 1);
	}
	fd = await_parcel(&f, got, &got_len);
	if (how != 0) /* else nothing had to wait */
		assert_is_far_client(&f.waiting);
	assert_memory_equal(got + 12, "\x21\x11", 2);
	assert_memory_equal(got + 16, "\xcb\x00\x71\x09" "\xc6\x33\x64\x02" "\x12\x34" "\x01\xbb", 12);
	assert_unread(fd, VECTOR_XMPP); /* all of it, and the header is gone */
	answer(&f, 'A', got, got_len);
	run_until(f.env->loop, &f.done);
	assert_int_equal(env_ended(&f.env->counts, END_HANDED_OFF), 1);
	close(fd);
	free(bytes);
	tear_down(&f);
}

static void a_trusted_proxys_header_is_taken_away_and_its_client_handed_over(void **state)
{
	(void)state;
	for (int how = 0; how < 4; how++) {
		a_proxied_client_is_handed_over_as_itself(PP2_V1, how);
		a_proxied_client_is_handed_over_as_itself(PP2_V2, how);
	}
}

static void assert_reads(int fd, const char *text)
{
	char buf[300] = {0};

	assert_true(strlen(text) < sizeof(buf));
	read_all(fd, buf, strlen(text));
	assert_string_equal(buf, text);
}

static void the_web_server_is_told_the_client_behind_a_trusted_proxy(void **state)
{
	(void)state;
	for (int version = PP2_V1; version <= PP2_V2; version++) {
		size_t header_len, len;
		uint8_t *bytes = proxied((enum pp2_version)version, VECTOR_WEB, &header_len, &len);
		struct fixture f;
		int web;

		set_up_trusting(&f);
		begin(&f);
		send_bytes(&f, bytes, len);
		web = await_web(&f);
		run_for(f.env->loop, 5);
		assert_reads(web, "PROXY TCP4 203.0.113.9 198.51.100.2 4660 443\r\n");
		assert_unread(web, VECTOR_WEB);
		close(web);
		free(bytes);
		tear_down(&f);
	}
}

/* The proxy's own connections, and those of which it does not say whose they are. */
static void a_trusted_proxys_own_connection_has_its_own_addresses(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} headers[] = {
		{"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16},
		{"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c" "abcdefgh1234", 28},
		{"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", 16},
		{"PROXY UNKNOWN\r\n", 15},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		char src[ADDR_TEXT_MAX], dst[ADDR_TEXT_MAX], want[200];
		struct sockaddr_in in;
		socklen_t len = sizeof(in);
		struct addr own;
		struct fixture f;
		int web;

		set_up_trusting(&f);
		assert_int_equal(getsockname(f.fd, (struct sockaddr *)&in, &len), 0);
		own = addr_from_sockaddr((const struct sockaddr *)&in);
		begin(&f);
		send_bytes(&f, (const uint8_t *)headers[i].bytes, headers[i].len);
		send_vector(&f, VECTOR_WEB, SIZE_MAX);
		web = await_web(&f);
		run_for(f.env->loop, 5);
		assert_memory_equal(&f.waiting, &f.peer, sizeof(f.peer));
		snprintf(want, sizeof(want), "PROXY TCP4 %s %s %u %u\r\n", addr_ip_text(&f.peer, src), addr_ip_text(&own, dst),
			 f.peer.port, own.port);
		assert_reads(web, want);
		assert_unread(web, VECTOR_WEB);
		close(web);
		tear_down(&f);
	}
}

static void a_trusted_proxy_that_sends_no_good_header_is_closed(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{"\x16", 1},
		{"GET / HTTP/1.1\r\n\r\n", 18},
		{"PROXY TCP4 203.0.113.9 198.51.100.2 4660\r\n", 42},
		{"PROXY TCP4 203.0.113.9 198.51.100.2 4660 443\n", 45},
		{"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c" "abcdefgh1234", 28},
		{"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", 16},
		{"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c", 16},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (int there = 0; there < 2; there++) {
			struct fixture f;

			set_up_trusting(&f);
			if (there) {
				send_bytes(&f, (const uint8_t *)bad[i].bytes, bad[i].len);
				wait_fd(f.fd, POLLIN);
			}
			begin(&f);
			if (!there)
				send_bytes(&f, (const uint8_t *)bad[i].bytes, bad[i].len);
			if (!f.done)
				run_until(f.env->loop, &f.done);
			assert_int_equal(env_ended(&f.env->counts, END_BAD_PROXY_HEADER), 1);
			assert_int_equal(f.admitted, 0);
			tear_down(&f);
		}
}

static void nobody_else_is_believed_a_header(void **state)
{
	(void)state;
	for (int version = PP2_V1; version <= PP2_V2; version++) {
		size_t header_len, len;
		uint8_t *bytes = proxied((enum pp2_version)version, VECTOR_XMPP, &header_len, &len), *got = malloc(len);
		char text[ADDR_TEXT_MAX], want[100], buf[200] = {0};
		struct fixture f;
		int web;

		assert_non_null(got);
		set_up(&f, true);
		set(f.env->conf, "shim", "trusted-proxies", "192.0.2.1, ::1");
		set(f.env->conf, "web", "proxy-protocol", "v1");
		tcp_connect(&f);
		begin(&f);
		send_bytes(&f, bytes, len);
		web = await_web(&f);
		run_for(f.env->loop, 5);
		assert_memory_equal(&f.waiting, &f.peer, sizeof(f.peer));
		snprintf(want, sizeof(want), "PROXY TCP4 %s ", addr_ip_text(&f.peer, text));
		for (size_t i = 0; buf[i > 0 ? i - 1 : 0] != '\n'; i++)
			read_all(web, buf + i, 1);
		assert_memory_equal(buf, want, strlen(want));
		read_all(web, got, len); /* its own header is part of what it said */
		assert_memory_equal(got, bytes, len);
		close(web);
		free(got);
		free(bytes);
		tear_down(&f);
	}
}

static void the_deadline_covers_the_proxys_header_and_the_hello(void **state)
{
	(void)state;
	for (int sent = 0; sent < 3; sent++) {
		size_t header_len, len;
		uint8_t *bytes = proxied(PP2_V2, VECTOR_XMPP, &header_len, &len);
		struct fixture f;

		set_up_trusting(&f);
		set(f.env->conf, "shim", "hello-timeout", "50ms");
		begin(&f);
		if (sent > 0)
			send_bytes(&f, bytes, sent == 1 ? 10 : header_len);
		run_until(f.env->loop, &f.done);
		assert_int_equal(env_ended(&f.env->counts, END_HELLO_TIMEOUT), 1);
		assert_int_equal(f.admitted, sent < 2 ? 0 : 1);
		free(bytes);
		tear_down(&f);
	}
}

static void a_proxied_client_that_goes_early_is_counted_as_gone(void **state)
{
	(void)state;
	for (int sent = 0; sent < 4; sent++)
		for (int reset = 0; reset < 2; reset++) {
			size_t header_len, len;
			uint8_t *bytes = proxied(PP2_V1, VECTOR_XMPP, &header_len, &len);
			size_t n = sent == 0 ? 0 : sent == 1 ? 10 : sent == 2 ? header_len : header_len + 100;
			struct fixture f;

			set_up_trusting(&f);
			begin(&f);
			if (n > 0)
				send_bytes(&f, bytes, n);
			if (reset) {
				close_reset(f.client);
				f.client = -1;
			} else {
				shutdown(f.client, SHUT_WR);
			}
			run_until(f.env->loop, &f.done);
			assert_int_equal(env_ended(&f.env->counts, END_CLIENT_GONE), 1);
			assert_int_equal(f.admitted, sent < 2 ? 0 : 1);
			free(bytes);
			tear_down(&f);
		}
}

static void a_client_that_is_not_admitted_is_closed_by_whichever_way_it_came(void **state)
{
	(void)state;
	for (int proxy = 0; proxy < 3; proxy++) {
		size_t header_len, len;
		uint8_t *bytes = proxied(PP2_V2, VECTOR_XMPP, &header_len, &len);
		struct fixture f;

		if (proxy) {
			set_up_trusting(&f);
		} else {
			set_up(&f, true);
			tcp_connect(&f);
		}
		f.turn_away = true;
		if (proxy == 1) { /* all but the end of the hello */
			send_bytes(&f, bytes, len - 1);
			wait_fd(f.fd, POLLIN);
		}
		begin(&f);
		if (proxy == 2) {
			assert_false(f.done);
			send_bytes(&f, bytes, len - 1);
			run_until(f.env->loop, &f.done);
		}
		assert_true(f.done);
		assert_int_equal(env_ended(&f.env->counts, END_TOO_MANY_PENDING), 1);
		if (proxy)
			assert_is_far_client(&f.waiting);
		assert_int_equal(f.decided, 0);
		free(bytes);
		tear_down(&f);
	}
}

static void one_that_has_said_all_at_once_needs_no_leave_to_wait(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, true);
	tcp_connect(&f);
	f.turn_away = true;
	send_vector(&f, VECTOR_WEB, SIZE_MAX);
	wait_fd(f.fd, POLLIN);
	begin(&f);
	assert_int_equal(f.ended, 0);
	assert_true(list_empty(&f.env->undecided));
	close(await_web(&f));
	tear_down(&f);
}

static void the_one_that_has_waited_longest_is_evicted_first(void **state)
{
	struct fixture f;
	int clients[3];

	(void)state;
	set_up(&f, true);
	assert_false(conn_evict_oldest(f.env));
	for (int i = 0; i < 3; i++) {
		tcp_connect(&f);
		clients[i] = f.client;
		begin(&f);
		run_for(f.env->loop, 2);
	}
	/* That it said something since does not help it. */
	f.client = clients[0];
	send_vector(&f, VECTOR_XMPP, 50);
	run_for(f.env->loop, 5);
	f.client = -1;
	for (int i = 0; i < 3; i++) {
		char byte;

		assert_true(conn_evict_oldest(f.env));
		assert_int_equal(f.ended, i + 1);
		assert_int_equal(f.env->n, 2 - i);
		wait_fd(clients[i], POLLIN);
		assert_true(recv(clients[i], &byte, 1, MSG_DONTWAIT) <= 0);
		for (int j = i + 1; j < 3; j++) {
			assert_int_equal(recv(clients[j], &byte, 1, MSG_DONTWAIT), -1);
			assert_int_equal(errno, EAGAIN);
		}
	}
	assert_false(conn_evict_oldest(f.env));
	assert_int_equal(env_ended(&f.env->counts, END_EVICTED), 3);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	tear_down(&f);
}

static void a_hello_has_a_while_to_arrive_before_its_connection_may_be_evicted(void **state)
{
	struct fixture f;
	int first, left;

	(void)state;
	set_up(&f, true);
	assert_int_equal(conn_evictable_in(f.env), -1);
	tcp_connect(&f);
	begin(&f);
	left = conn_evictable_in(f.env);
	assert_true(left > 0 && left <= CONN_GRACE_MS);
	first = f.client;
	run_for(f.env->loop, CONN_GRACE_MS + 20);
	tcp_connect(&f);
	begin(&f);
	assert_int_equal(conn_evictable_in(f.env), 0); /* the first one */
	assert_true(conn_evict_oldest(f.env));
	assert_true(conn_evictable_in(f.env) > 0);
	close(first);
	tear_down(&f);
}

/* A connection that is relayed; the web server's end. */
static int begin_relayed(struct fixture *f)
{
	int web;

	tcp_connect(f);
	send_vector(f, VECTOR_WEB, SIZE_MAX);
	wait_fd(f->fd, POLLIN);
	begin(f);
	web = await_web(f);
	run_for(f->env->loop, 5);
	assert_unread(web, VECTOR_WEB);
	return web;
}

static void idle_relays_are_ended_and_busy_ones_are_not(void **state)
{
	struct fixture f;
	int clients[3], webs[3];

	(void)state;
	set_up(&f, true);
	for (int i = 0; i < 3; i++) {
		webs[i] = begin_relayed(&f);
		clients[i] = f.client;
	}
	f.client = -1;
	relayed_sweep(f.env, 1, 1);
	assert_int_equal(f.ended, 0);
	for (int i = 0; i < 22; i++) {
		run_for(f.env->loop, 100);
		assert_int_equal(write(webs[1], "x", 1), 1); /* from either side */
	}
	run_for(f.env->loop, 10);
	relayed_sweep(f.env, 100, 1);
	assert_int_equal(f.ended, 0);
	relayed_sweep(f.env, 0, 0);
	assert_int_equal(f.ended, 0);
	relayed_sweep(f.env, 1, 0);
	assert_int_equal(f.ended, 2);
	assert_int_equal(env_ended(&f.env->counts, END_IDLE_TIMEOUT), 2);
	assert_eof(clients[0]);
	assert_eof(clients[2]);
	assert_eof(webs[0]);
	assert_int_equal(write(clients[1], "y", 1), 1);
	run_for(f.env->loop, 10);
	assert_reads(webs[1], "y");
	for (int i = 0; i < 3; i++) {
		close(clients[i]);
		close(webs[i]);
	}
	f.done = false;
	run_until(f.env->loop, &f.done);
	tear_down(&f);
}

static void half_closed_relays_have_a_time_of_their_own(void **state)
{
	struct fixture f;
	int clients[3], webs[3];

	(void)state;
	set_up(&f, true);
	for (int i = 0; i < 3; i++) {
		webs[i] = begin_relayed(&f);
		clients[i] = f.client;
	}
	f.client = -1;
	assert_int_equal(shutdown(clients[1], SHUT_WR), 0);
	assert_int_equal(shutdown(webs[2], SHUT_WR), 0);
	run_for(f.env->loop, 50);
	assert_eof(webs[1]);
	assert_eof(clients[2]);
	relayed_sweep(f.env, 0, 1);
	assert_int_equal(f.ended, 0);
	run_for(f.env->loop, 2200);
	relayed_sweep(f.env, 100, 100);
	assert_int_equal(f.ended, 0);
	relayed_sweep(f.env, 100, 1);
	assert_int_equal(f.ended, 2);
	assert_int_equal(env_ended(&f.env->counts, END_IDLE_TIMEOUT), 2);
	assert_eof(clients[1]);
	assert_eof(webs[2]);
	assert_int_equal(write(clients[0], "y", 1), 1);
	run_for(f.env->loop, 10);
	assert_reads(webs[0], "y");
	for (int i = 0; i < 3; i++) {
		close(clients[i]);
		close(webs[i]);
	}
	tear_down(&f);
}

static void a_relayed_connection_takes_120_bytes(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, true);
	tcp_connect(&f);
	send_vector(&f, VECTOR_WEB, SIZE_MAX);
	wait_fd(f.fd, POLLIN);
	f.begun++;
	conn_new(f.env, f.fd, &f.peer, &local);
	/* It is all that is allocated where the web server is there at once. */
	if (sizeof(void *) == 8)
		assert_true(last_malloc() <= 120);
	assert_false(list_empty(&f.env->relayed));
	close(await_web(&f));
	tear_down(&f);
}

static void the_ends_of_relays_are_counted_by_how_they_came(void **state)
{
	(void)state;
	for (int how = 0; how < 5; how++) {
		static const enum env_end want[] = {END_RELAYED, END_RESET, END_RESET, END_BACKEND_TIMEOUT, END_BACKEND_REFUSED};
		struct fixture f;
		int fds[4], n = 0, web = -1;

		set_up(&f, true);
		set(f.env->conf, "shim", "connect-timeout", how == 3 ? "50ms" : "5s");
		if (how < 3) {
			web = begin_relayed(&f);
		} else {
			assert_int_equal(listen(f.web_listener, 0), 0);
			while (n < 4)
				fds[n++] = connect_to(&f.web);
			tcp_connect(&f);
			send_vector(&f, VECTOR_WEB, SIZE_MAX);
			begin(&f);
			run_for(f.env->loop, 5);
			assert_false(f.done);
		}
		if (how == 0) {
			shutdown(f.client, SHUT_WR);
			shutdown(web, SHUT_WR);
		}
		if (how == 1) {
			close_reset(f.client);
			f.client = -1;
		}
		if (how == 2) {
			close_reset(web);
			web = -1;
		}
		if (how == 4) {
			close(f.web_listener);
			f.web_listener = -1;
		}
		run_until(f.env->loop, &f.done);
		assert_int_equal(env_ended(&f.env->counts, want[how]), 1);
		assert_int_equal(f.env->n, 0);
		while (n > 0)
			close(fds[--n]);
		if (web >= 0)
			close(web);
		tear_down(&f);
	}
}

/* The web server's header of version 2, its length told by itself. */
static size_t read_v2(int fd, uint8_t *buf, size_t max)
{
	size_t len;

	read_all(fd, buf, 16);
	len = (size_t)buf[14] << 8 | buf[15];
	assert_true(16 + len <= max);
	read_all(fd, buf + 16, len);
	return 16 + len;
}

static void the_header_for_a_backend_says_what_the_route_wants(void **state)
{
	static const struct {
		const char *tlvs, *vector, *want; /* behind the addresses, before the 8 bytes of an id */
		size_t want_len;
		bool id, no_random;
	} cases[] = {
		{NULL, VECTOR_XMPP, "", 0, false, false},
		{"alpn", VECTOR_XMPP, "\1\0\x0bxmpp-client", 14, false, false},
		{"authority", VECTOR_XMPP, "\2\0\x10" "chat.example.org", 19, false, false},
		{"alpn authority", VECTOR_XMPP, "\1\0\x0bxmpp-client\2\0\x10" "chat.example.org", 33, false, false},
		{"unique-id", VECTOR_XMPP, "\5\0\x08", 3, true, false},
		{"alpn unique-id", VECTOR_XMPP, "\1\0\x0bxmpp-client\5\0\x08", 17, true, false},
		{"unique-id", VECTOR_XMPP, "", 0, false, true},
		{"alpn authority unique-id", "tests/vectors/not-tls-http.bin", "\5\0\x08", 3, true, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t header[PP2_V2_MAX];
		struct fixture f;
		size_t len;
		int web;

		set_up(&f, true);
		f.env->conf->routes[0].fdpass = false; /* the route goes to the web server as well */
		f.env->conf->routes[0].target = f.web;
		set(f.env->conf, "web", "proxy-protocol", "v2");
		if (cases[i].tlvs != NULL) {
			set(f.env->conf, "web", "proxy-tlvs", cases[i].tlvs);
			set(f.env->conf, "route xmpp-client", "proxy-tlvs", cases[i].tlvs);
		}
		tcp_connect(&f);
		begin(&f);
		if (cases[i].no_random)
			fail_calls(CALL_GETRANDOM, 0, 1, EAGAIN);
		send_vector(&f, cases[i].vector, SIZE_MAX);
		web = await_web(&f);
		run_for(f.env->loop, 5);
		len = read_v2(web, header, sizeof(header));
		assert_int_equal(len, 28 + cases[i].want_len + (cases[i].id ? 8 : 0));
		assert_memory_equal(header + 28, cases[i].want, cases[i].want_len);
		assert_unread(web, cases[i].vector);
		close(web);
		tear_down(&f);
	}
}

static void the_first_protocol_of_a_client_is_told_where_none_decided(void **state)
{
	uint8_t header[PP2_V2_MAX];
	struct fixture f;
	int web;

	(void)state;
	set_up(&f, true);
	set(f.env->conf, "web", "proxy-protocol", "v2");
	set(f.env->conf, "web", "proxy-tlvs", "alpn");
	tcp_connect(&f);
	begin(&f);
	send_vector(&f, VECTOR_WEB, SIZE_MAX);
	web = await_web(&f);
	run_for(f.env->loop, 5);
	assert_int_equal(read_v2(web, header, sizeof(header)), 28 + 5);
	assert_memory_equal(header + 28, "\1\0\2h2", 5);
	close(web);
	tear_down(&f);
}

/* A route and its name live as long as the last connection that came by it. */
static void a_reload_does_not_touch_connections(void **state)
{
	uint8_t header[600];
	size_t len = sizeof(header);
	struct conf *other = conf_new();
	struct fixture f;
	int fd, web, held;

	(void)state;
	set_up(&f, true);
	assert_non_null(other);
	web = begin_relayed(&f);
	held = f.client;
	tcp_connect(&f);
	send_vector(&f, VECTOR_XMPP, SIZE_MAX);
	begin(&f);
	fd = await_parcel(&f, header, &len);
	conf_unref(f.env->conf);
	f.env->conf = other;
	answer(&f, 'A', header, len);
	run_until(f.env->loop, &f.done);
	assert_int_equal(env_ended(&f.env->counts, END_HANDED_OFF), 1);
	assert_int_equal(write(held, "x", 1), 1);
	run_for(f.env->loop, 5);
	assert_reads(web, "x");
	close(fd);
	close(web);
	close(held);
	tear_down(&f);
}

static void an_alert_for_a_client_that_has_gone_does_no_harm(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, true);
	handoff_set_max_held(f.handoff, 0);
	close(f.channel);
	f.channel = -1;
	close(f.receiver);
	f.receiver = -1;
	run_for(f.env->loop, 5);
	tcp_connect(&f);
	send_vector(&f, VECTOR_XMPP, SIZE_MAX);
	wait_fd(f.fd, POLLIN);
	close_reset(f.client);
	f.client = -1;
	usleep(5000);
	begin(&f);
	if (!f.done)
		run_until(f.env->loop, &f.done);
	assert_int_equal(env_ended(&f.env->counts, END_HELD_FULL) + env_ended(&f.env->counts, END_CLIENT_GONE), 1);
	tear_down(&f);
}

static void ends_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < ENDS_N; i++)
		assert_true(strlen(env_end_name((enum env_end)i)) > 3);
	assert_string_equal(env_end_name(ENDS_N), "?");
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
		TEST(a_trusted_proxys_header_is_taken_away_and_its_client_handed_over),
		TEST(the_web_server_is_told_the_client_behind_a_trusted_proxy),
		TEST(a_trusted_proxys_own_connection_has_its_own_addresses),
		TEST(a_trusted_proxy_that_sends_no_good_header_is_closed),
		TEST(nobody_else_is_believed_a_header),
		TEST(the_deadline_covers_the_proxys_header_and_the_hello),
		TEST(a_proxied_client_that_goes_early_is_counted_as_gone),
		TEST(a_client_that_is_not_admitted_is_closed_by_whichever_way_it_came),
		TEST(one_that_has_said_all_at_once_needs_no_leave_to_wait),
		TEST(the_one_that_has_waited_longest_is_evicted_first),
		TEST(a_hello_has_a_while_to_arrive_before_its_connection_may_be_evicted),
		TEST(idle_relays_are_ended_and_busy_ones_are_not),
		TEST(half_closed_relays_have_a_time_of_their_own),
		TEST(a_relayed_connection_takes_120_bytes),
		TEST(the_ends_of_relays_are_counted_by_how_they_came),
		TEST(the_header_for_a_backend_says_what_the_route_wants),
		TEST(the_first_protocol_of_a_client_is_told_where_none_decided),
		TEST(a_reload_does_not_touch_connections),
		TEST(an_alert_for_a_client_that_has_gone_does_no_harm),
		TEST(ends_have_names),
	};

	return cmocka_run_group_tests_name("conn", tests, group_begin, NULL);
}
