#include "keep.h"

#include "log.h"
#include "support.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST 600 /* where "passed" descriptors are put */

static struct store *new_store(void)
{
	struct store *s;

	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(store_new(1000, &s), 0);
	return s;
}

static struct record record_of(int client)
{
	struct record r;

	record_init(&r);
	r.id = 7;
	assert_int_equal(addr_parse("192.0.2.1", "5222", &r.peer), 0);
	r.fd[RECORD_CLIENT] = client;
	return r;
}

static int capsule_with(const struct record *r, size_t n)
{
	int pair[2];

	assert_int_equal(capsule_open(pair), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(capsule_put(pair[1], &r[i]), 0);
	close(pair[1]);
	return pair[0];
}

/* Moves fd to the n-th place of those that were passed. */
static void pass(int n, int fd)
{
	assert_int_equal(dup2(fd, FIRST + n), FIRST + n);
	close(fd);
}

static void inherited_free(struct keep_inherited *in)
{
	listen_close(&in->passed, NULL);
	listen_close(&in->own, NULL);
	keep_list_free(&in->connections);
}

static void what_was_passed_is_sorted_by_what_it_is(void **state)
{
	static const char names[] = "xk-12-1\0xmpp443-shim.socket\0stored\0xmpp443-listener\0unknown\0xk-12-2\0xk-12-3";
	struct store *s = new_store();
	struct addr_endpoint web, own;
	struct keep_inherited in;
	struct record r[2];
	int a[2], b[2], p[2], before;

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	tcp_pair(a);
	tcp_pair(b);
	before = count_fds();
	r[0] = record_of(a[1]);
	r[1] = record_of(b[1]);
	pass(0, capsule_with(r, 2));
	pass(1, tcp_listen(&web));
	assert_int_equal(pipe(p), 0);
	pass(2, p[0]);                       /* nobody knows what it is */
	pass(3, tcp_listen(&own));
	pass(4, dup(a[0]));                  /* a connection, and no listener */
	pass(5, p[1]);                       /* called a capsule, and none */
	pass(6, capsule_with(r, 0));         /* an empty one */
	assert_int_equal(keep_count_passed(7, names), 3);
	assert_int_equal(keep_inherit(s, FIRST, 7, names, &in), 0);
	assert_int_equal(in.passed.n, 1);
	assert_true(addr_endpoint_equal(&in.passed.v[0].addr, &web));
	assert_int_equal(in.own.n, 1);
	assert_true(addr_endpoint_equal(&in.own.v[0].addr, &own));
	assert_int_equal(in.connections.n, 2);
	assert_int_equal(count_fds(), before + 4); /* two listeners, two connections: everything else is closed */
	keep_forget_inherited(s, 7, names);
	inherited_free(&in);
	store_free(s);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

/* A process that dies between storing anew and dropping leaves the connection there twice. */
static void of_two_records_of_one_connection_the_better_one_counts(void **state)
{
	static const char names[] = "xk-12-1\0xk-12-2\0xk-12-3";
	struct store *s = new_store();
	struct keep_inherited in;
	struct record r[3];
	int a[2], b[2], before;

	(void)state;
	tcp_pair(a);
	tcp_pair(b);
	before = count_fds();
	for (int order = 0; order < 6; order++) {
		static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

		r[0] = record_of(a[1]); /* before the verdict */
		r[1] = record_of(a[1]); /* its relay */
		r[1].relay = true;
		strcpy(r[1].route, "web");
		r[1].fd[RECORD_BACKEND] = b[1];
		r[2] = r[1];            /* the same, since it knows of a reset */
		r[2].broken[1] = true;
		for (int i = 0; i < 3; i++)
			pass(i, capsule_with(&r[orders[order][i]], 1));
		assert_int_equal(keep_inherit(s, FIRST, 3, names, &in), 0);
		assert_int_equal(in.connections.n, 1);
		assert_true(in.connections.v[0].relay && in.connections.v[0].broken[1]);
		inherited_free(&in);
		assert_int_equal(count_fds(), before);
	}
	store_free(s);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

static void more_listeners_than_fit_are_an_error(void **state)
{
	char names[(LISTEN_MAX + 1) * 8] = "";
	struct store *s = new_store();
	struct keep_inherited in;
	struct addr_endpoint e;

	(void)state;
	for (int i = 0; i <= LISTEN_MAX; i++) {
		strcpy(names + 8 * i, "unknown");
		pass(i, tcp_listen(&e));
	}
	assert_int_equal(keep_inherit(s, FIRST, LISTEN_MAX + 1, names, &in), -ENOSPC);
	inherited_free(&in);
	close(FIRST + LISTEN_MAX);
	store_free(s);
}

/* A worker with a web server behind it, not started. */
struct fixture {
	struct conf *conf;
	struct listen_set listeners;
	struct pending *pending;
	struct store *store;
	struct worker *worker;
	int web;
};

static void set_up(struct fixture *f)
{
	struct addr_endpoint web;
	struct conf_error err;
	char text[ADDR_ENDPOINT_TEXT_MAX];

	log_set_level(LOG_LEVEL_ERROR);
	*f = (struct fixture){.conf = conf_new(), .store = new_store()};
	f->web = tcp_listen(&web);
	assert_int_equal(conf_set(f->conf, "web", "proxy", addr_endpoint_text(&web, text), &err), 0);
	assert_int_equal(conf_set(f->conf, "web", "proxy-protocol", "none", &err), 0);
	assert_int_equal(pending_new(100, &f->pending), 0);
	assert_int_equal(worker_new(0, f->conf, &f->listeners, f->pending, f->store, 10, &f->worker), 0);
}

static void tear_down(struct fixture *f)
{
	worker_stop(f->worker, NULL);
	worker_free(f->worker);
	pending_free(f->pending);
	store_free(f->store);
	conf_unref(f->conf);
	close(f->web);
}

static uint64_t ended(const struct fixture *f, enum env_end end)
{
	return env_ended(worker_counts(f->worker).env, end);
}

static void who_was_undecided_is_served_by_the_next_worker(void **state)
{
	struct fixture f;
	struct record r;
	int client[2], web;
	char buf[10];

	(void)state;
	for (int started = 0; started < 2; started++) {
		set_up(&f);
		tcp_pair(client);
		if (started)
			assert_int_equal(worker_start(f.worker), 0);
		assert_int_equal(send(client[0], "not TLS", 7, 0), 7);
		r = record_of(client[1]);
		worker_restore(f.worker, &r);
		if (!started)
			assert_int_equal(worker_start(f.worker), 0);
		wait_fd(f.web, POLLIN);
		web = accept_one(f.web);
		read_all(web, buf, 7);
		assert_memory_equal(buf, "not TLS", 7);
		close(web);
		close(client[0]);
		tear_down(&f);
	}
}

/* The receiver to which it had been sent has begun to read. */
static void whom_somebody_else_has_is_left_to_him(void **state)
{
	struct fixture f;
	struct record r;
	int client[2], his;
	char buf[10];

	(void)state;
	set_up(&f);
	assert_int_equal(worker_start(f.worker), 0);
	tcp_pair(client);
	his = dup(client[1]);
	assert_int_equal(send(client[0], "0123456789", 10, 0), 10);
	read_all(his, buf, 5);
	r = record_of(client[1]);
	worker_restore(f.worker, &r);
	assert_int_equal(ended(&f, END_STALE), 1);
	/* Nothing was sent to the client, nothing taken, and it is still open. */
	read_all(his, buf, 5);
	assert_memory_equal(buf, "56789", 5);
	assert_int_equal(recv(client[0], buf, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	close(his);
	assert_eof(client[0]);
	close(client[0]);
	tear_down(&f);
}

static void bytes_of_a_proxys_header_are_not_counted_against_it(void **state)
{
	struct fixture f;
	struct record r;
	int client[2], web;
	char buf[10];

	(void)state;
	set_up(&f);
	assert_int_equal(worker_start(f.worker), 0);
	tcp_pair(client);
	assert_int_equal(send(client[0], "HEADERrest", 10, 0), 10);
	read_all(client[1], buf, 6);
	r = record_of(client[1]);
	r.used = 6;
	worker_restore(f.worker, &r);
	wait_fd(f.web, POLLIN);
	web = accept_one(f.web);
	read_all(web, buf, 4);
	assert_memory_equal(buf, "rest", 4);
	close(web);
	close(client[0]);
	tear_down(&f);
}

/* The settings have changed meanwhile, and its hello leads elsewhere. */
static void who_was_sent_to_a_receiver_is_not_given_to_a_web_server(void **state)
{
	struct fixture f;
	struct record r;
	int client[2];

	(void)state;
	set_up(&f);
	assert_int_equal(worker_start(f.worker), 0);
	tcp_pair(client);
	assert_int_equal(send(client[0], "not TLS", 7, 0), 7);
	r = record_of(client[1]);
	r.sent = true;
	worker_restore(f.worker, &r);
	wait_fd(client[0], POLLIN);
	worker_stop(f.worker, NULL);
	assert_int_equal(ended(&f, END_STALE), 1);
	assert_int_equal(accept(f.web, NULL, NULL), -1);
	close(client[0]);
	tear_down(&f);
}

static void what_one_worker_gives_the_next_goes_on_with(void **state)
{
	struct fixture f, next;
	struct keep_list list = {0};
	struct record r;
	int client[2], waiting[2], web;
	char buf[10];

	(void)state;
	set_up(&f);
	assert_int_equal(worker_start(f.worker), 0);
	tcp_pair(client);
	assert_int_equal(send(client[0], "GET", 3, 0), 3);
	r = record_of(client[1]);
	worker_restore(f.worker, &r);
	wait_fd(f.web, POLLIN);
	web = accept_one(f.web);
	read_all(web, buf, 3);
	tcp_pair(waiting);
	r = record_of(waiting[1]);
	worker_restore(f.worker, &r);
	worker_stop(f.worker, &list);
	assert_int_equal(list.n, 2);
	assert_int_equal(ended(&f, END_KEPT), 2);

	set_up(&next);
	for (size_t i = 0; i < list.n; i++)
		worker_restore(next.worker, &list.v[i]);
	list.n = 0;
	keep_list_free(&list);
	assert_int_equal(worker_start(next.worker), 0);
	assert_int_equal(send(client[0], "more", 4, 0), 4);
	read_all(web, buf, 4);
	assert_int_equal(send(web, "answer", 6, 0), 6);
	read_all(client[0], buf, 6);
	assert_int_equal(send(waiting[0], "not TLS", 7, 0), 7);
	wait_fd(next.web, POLLIN);
	close(accept_one(next.web));
	close(web);
	close(client[0]);
	close(waiting[0]);
	tear_down(&next);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_was_passed_is_sorted_by_what_it_is),
		TEST(of_two_records_of_one_connection_the_better_one_counts),
		TEST(more_listeners_than_fit_are_an_error),
		TEST(who_was_undecided_is_served_by_the_next_worker),
		TEST(whom_somebody_else_has_is_left_to_him),
		TEST(bytes_of_a_proxys_header_are_not_counted_against_it),
		TEST(who_was_sent_to_a_receiver_is_not_given_to_a_web_server),
		TEST(what_one_worker_gives_the_next_goes_on_with),
	};

	return cmocka_run_group_tests_name("keep", tests, group_begin, NULL);
}
