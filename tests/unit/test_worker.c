#include "worker.h"

#include "log.h"
#include "support.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOT_TLS "tests/vectors/not-tls-http.bin" /* what goes to the web server at once */

struct fixture {
	struct conf *conf;
	struct listen_set listeners;
	struct pending *pending;
	struct worker *worker;
	struct addr_endpoint web;
	int web_listener;
};

static void listeners_open(struct listen_set *set)
{
	*set = (struct listen_set){.n = 1};
	set->v[0].fd = tcp_listen(&set->v[0].addr);
}

static void set_up(struct fixture *f, unsigned max_connections)
{
	char text[ADDR_ENDPOINT_TEXT_MAX];
	struct conf_error err;

	log_set_level(LOG_LEVEL_ERROR);
	*f = (struct fixture){.conf = conf_new()};
	assert_non_null(f->conf);
	f->web_listener = tcp_listen(&f->web);
	assert_int_equal(conf_set(f->conf, "web", "proxy", addr_endpoint_text(&f->web, text), &err), 0);
	assert_int_equal(conf_set(f->conf, "web", "proxy-protocol", "none", &err), 0);
	assert_int_equal(conf_set(f->conf, "shim", "max-pending-per-ip", "3", &err), 0);
	listeners_open(&f->listeners);
	assert_int_equal(pending_new(100, &f->pending), 0);
	assert_int_equal(worker_new(0, f->conf, &f->listeners, f->pending, max_connections, &f->worker), 0);
	assert_int_equal(worker_start(f->worker), 0);
}

static void tear_down(struct fixture *f)
{
	worker_stop(f->worker);
	worker_free(f->worker);
	pending_free(f->pending);
	listen_close(&f->listeners, NULL);
	conf_unref(f->conf);
	close(f->web_listener);
}

static void say_http(int client)
{
	size_t len;
	uint8_t *bytes = file_read(NOT_TLS, &len);

	wait_fd(client, POLLOUT);
	assert_int_equal(send(client, bytes, len, 0), (ssize_t)len);
	free(bytes);
}

/* A client of that listener reaches the web server. */
static void assert_served(const struct fixture *f, const struct listen_set *set)
{
	int client = connect_to(&set->v[0].addr), web;

	say_http(client);
	web = accept_one(f->web_listener);
	close(web);
	wait_fd(client, POLLIN);
	close(client);
}

static void clients_are_accepted_and_served(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, 10);
	for (int i = 0; i < 20; i++)
		assert_served(&f, &f.listeners);
	tear_down(&f);
}

static void more_than_the_limit_wait_in_the_kernel(void **state)
{
	struct fixture f;
	int first, second, web;

	(void)state;
	set_up(&f, 1);
	first = connect_to(&f.listeners.v[0].addr);
	say_http(first);
	web = accept_one(f.web_listener);
	second = connect_to(&f.listeners.v[0].addr);
	say_http(second);
	assert_int_equal(poll(&(struct pollfd){.fd = f.web_listener, .events = POLLIN}, 1, 50), 0);
	close(web);
	close(first);
	web = accept_one(f.web_listener);
	close(web);
	close(second);
	tear_down(&f);
}

static void a_client_has_no_more_than_its_share_without_a_verdict(void **state)
{
	struct fixture f;
	int clients[4];
	const uint64_t *ends;

	(void)state;
	set_up(&f, 10);
	for (int i = 0; i < 4; i++)
		clients[i] = connect_to(&f.listeners.v[0].addr);
	assert_eof(clients[3]);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	worker_stop(f.worker);
	ends = worker_ends(f.worker);
	assert_int_equal(ends[CONN_TOO_MANY_PENDING], 1);
	assert_int_equal(ends[CONN_CLIENT_GONE] + ends[CONN_STOPPED], 3);
	worker_free(f.worker);
	assert_int_equal(worker_new(0, f.conf, &f.listeners, f.pending, 10, &f.worker), 0);
	assert_int_equal(worker_start(f.worker), 0);
	tear_down(&f);
}

static void new_listeners_replace_the_old_ones(void **state)
{
	struct listen_set set, old;
	struct fixture f;

	(void)state;
	set_up(&f, 10);
	listeners_open(&set);
	worker_apply(f.worker, f.conf, &set, 10);
	old = f.listeners;
	f.listeners = set;
	assert_served(&f, &set);
	listen_close(&old, NULL);
	assert_served(&f, &set);
	tear_down(&f);
}

static void new_listeners_are_served_though_one_who_waited_at_an_old_one_has_gone(void **state)
{
	struct listen_set set, old;
	struct fixture f;
	int first, gone, web;

	(void)state;
	set_up(&f, 1);
	first = connect_to(&f.listeners.v[0].addr);
	say_http(first);
	web = accept_one(f.web_listener);
	gone = connect_to(&f.listeners.v[0].addr);
	wait_fd(gone, POLLOUT);
	close(gone);
	listeners_open(&set);
	worker_apply(f.worker, f.conf, &set, 10);
	old = f.listeners;
	f.listeners = set;
	listen_close(&old, NULL);
	assert_served(&f, &set);
	close(web);
	close(first);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(clients_are_accepted_and_served),
		TEST(more_than_the_limit_wait_in_the_kernel),
		TEST(a_client_has_no_more_than_its_share_without_a_verdict),
		TEST(new_listeners_replace_the_old_ones),
		TEST(new_listeners_are_served_though_one_who_waited_at_an_old_one_has_gone),
	};

	return cmocka_run_group_tests_name("worker", tests, group_begin, NULL);
}
