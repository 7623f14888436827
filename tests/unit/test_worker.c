#include "worker.h"

#include "conn.h"
#include "log.h"
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLOOD   12
#define NOT_TLS "tests/vectors/not-tls-http.bin" /* what goes to the web server at once */

struct fixture {
	struct conf *conf;
	struct listen_set listeners;
	struct pending *pending;
	struct store *store;
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
	assert_int_equal(store_new(1000, &f->store), 0);
	assert_int_equal(worker_new(0, f->conf, &f->listeners, f->pending, f->store, max_connections, &f->worker), 0);
	assert_int_equal(worker_start(f->worker), 0);
}

static void tear_down(struct fixture *f)
{
	worker_stop(f->worker, NULL);
	worker_free(f->worker);
	pending_free(f->pending);
	store_free(f->store);
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
	struct worker_counts counts;

	(void)state;
	set_up(&f, 10);
	for (int i = 0; i < 4; i++)
		clients[i] = connect_to(&f.listeners.v[0].addr);
	assert_eof(clients[3]);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	worker_stop(f.worker, NULL);
	counts = worker_counts(f.worker);
	assert_int_equal(env_ended(counts.env, END_TOO_MANY_PENDING), 1);
	assert_int_equal(env_ended(counts.env, END_CLIENT_GONE) + env_ended(counts.env, END_STOPPED), 3);
	worker_free(f.worker);
	assert_int_equal(worker_new(0, f.conf, &f.listeners, f.pending, f.store, 10, &f.worker), 0);
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

/* From another address of the loopback, so that it has a share of its own. */
static int connect_from(const struct addr_endpoint *e, const char *ip)
{
	struct addr_endpoint from;
	char text[40];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(text, sizeof(text), "%s:1", ip);
	assert_int_equal(addr_parse_endpoint(text, &from), 0);
	from.u.in.sin_port = 0;
	assert_int_equal(bind(fd, &from.u.sa, from.len), 0);
	if (connect(fd, &e->u.sa, e->len) < 0)
		assert_int_equal(errno, EINPROGRESS);
	wait_fd(fd, POLLOUT);
	return fd;
}

static void assert_open(int fd)
{
	assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 50), 0);
}

static void when_all_is_full_the_oldest_without_a_verdict_makes_room(void **state)
{
	struct fixture f;
	int relayed, web, waiting[2], new;

	(void)state;
	set_up(&f, 3);
	relayed = connect_to(&f.listeners.v[0].addr);
	say_http(relayed);
	web = accept_one(f.web_listener);
	for (int i = 0; i < 2; i++)
		waiting[i] = connect_from(&f.listeners.v[0].addr, "127.0.0.2");
	assert_open(waiting[0]);
	new = connect_from(&f.listeners.v[0].addr, "127.0.0.3");
	assert_eof(waiting[0]);
	assert_open(waiting[1]);
	assert_open(relayed);
	say_http(new); /* it is served */
	close(accept_one(f.web_listener));
	close(new);
	close(waiting[0]);
	close(waiting[1]);
	close(relayed);
	close(web);
	worker_stop(f.worker, NULL);
	assert_int_equal(env_ended(worker_counts(f.worker).env, END_EVICTED), 1);
	worker_free(f.worker);
	assert_int_equal(worker_new(0, f.conf, &f.listeners, f.pending, f.store, 3, &f.worker), 0);
	assert_int_equal(worker_start(f.worker), 0);
	tear_down(&f);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* True: the honest one said its hello in time, and was served. */
static bool survives_flood(const struct fixture *f)
{
	const struct addr_endpoint *e = &f->listeners.v[0].addr;
	uint64_t start = now_ms();
	int honest = connect_from(e, "127.0.0.2"), flood[FLOOD];
	bool in_time;

	for (int i = 0; i < FLOOD; i++) {
		char text[16];

		snprintf(text, sizeof(text), "127.0.1.%d", i + 1);
		flood[i] = connect_from(e, text);
	}
	usleep(5000);
	say_http(honest);
	in_time = now_ms() - start < CONN_GRACE_MS;
	if (in_time)
		close(accept_one(f->web_listener));
	close(honest);
	/* The flood gets its turn, and leaves in turn. */
	for (int i = 0; in_time && i < FLOOD - 2; i++)
		assert_eof(flood[i]);
	for (int i = 0; i < FLOOD; i++)
		close(flood[i]);
	return in_time;
}

static void a_flood_does_not_evict_one_whose_hello_is_on_its_way(void **state)
{
	bool survived = false;

	(void)state;
	/* The machine may be too busy for it. */
	for (int i = 0; i < 50 && !survived; i++) {
		struct fixture f;

		set_up(&f, 2);
		survived = survives_flood(&f);
		tear_down(&f);
	}
	assert_true(survived);
}

/* The one that was waited for has said its hello meanwhile, and another one is to be waited for. */
static void new_ones_are_accepted_though_the_oldest_has_got_its_verdict(void **state)
{
	struct fixture f;
	int first, second, third, web;

	(void)state;
	set_up(&f, 2);
	first = connect_from(&f.listeners.v[0].addr, "127.0.0.2");
	usleep(CONN_GRACE_MS * 1000 / 2);
	second = connect_from(&f.listeners.v[0].addr, "127.0.0.3");
	third = connect_from(&f.listeners.v[0].addr, "127.0.0.4");
	say_http(third);
	say_http(first);
	web = accept_one(f.web_listener);
	close(accept_one(f.web_listener));
	assert_eof(second);
	assert_int_equal(env_ended(worker_counts(f.worker).env, END_EVICTED), 1); /* and not by its deadline */
	close(first);
	close(second);
	close(third);
	close(web);
	tear_down(&f);
}

static void one_who_has_his_share_already_makes_nobody_leave(void **state)
{
	struct fixture f;
	int other, greedy[3], more;

	(void)state;
	set_up(&f, 4);
	other = connect_from(&f.listeners.v[0].addr, "127.0.0.2");
	for (int i = 0; i < 3; i++)
		greedy[i] = connect_from(&f.listeners.v[0].addr, "127.0.0.3");
	assert_open(greedy[2]);
	more = connect_from(&f.listeners.v[0].addr, "127.0.0.3");
	assert_eof(more);
	assert_open(other);
	assert_open(greedy[0]);
	close(more);
	close(other);
	for (int i = 0; i < 3; i++)
		close(greedy[i]);
	tear_down(&f);
}

static void a_reload_to_fewer_connections_ends_none_and_takes_none(void **state)
{
	struct fixture f;
	int clients[3], webs[3], waits;

	(void)state;
	set_up(&f, 3);
	for (int i = 0; i < 3; i++) {
		clients[i] = connect_to(&f.listeners.v[0].addr);
		say_http(clients[i]);
		webs[i] = accept_one(f.web_listener);
	}
	worker_apply(f.worker, f.conf, &f.listeners, 2);
	waits = connect_to(&f.listeners.v[0].addr);
	say_http(waits);
	assert_open(clients[0]);
	assert_open(f.web_listener);
	close(clients[0]);
	close(webs[0]);
	assert_open(f.web_listener); /* two are left */
	close(clients[1]);
	close(webs[1]);
	close(accept_one(f.web_listener));
	close(waits);
	close(clients[2]);
	close(webs[2]);
	tear_down(&f);
}

static void accepting_goes_on_after_a_pause_for_want_of_descriptors(void **state)
{
	struct rlimit limit, low;
	struct fixture f;
	int client, fds[256], n = 0;

	(void)state;
	set_up(&f, 10);
	client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(client >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 128;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (n < 256 && (fds[n] = dup(STDIN_FILENO)) >= 0)
		n++;
	assert_int_equal(errno, EMFILE);
	if (connect(client, &f.listeners.v[0].addr.u.sa, f.listeners.v[0].addr.len) < 0)
		assert_int_equal(errno, EINPROGRESS);
	wait_fd(client, POLLOUT);
	usleep(30000);
	while (n > 0)
		close(fds[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	say_http(client);
	close(accept_one(f.web_listener));
	close(client);
	tear_down(&f);
}

static void idle_relays_end_once_a_reload_says_when(void **state)
{
	struct conf_error err;
	struct conf *conf = conf_new();
	char text[ADDR_ENDPOINT_TEXT_MAX];
	struct fixture f;
	int client, web, busy, busy_web;

	(void)state;
	set_up(&f, 10);
	assert_non_null(conf);
	assert_int_equal(conf_set(conf, "web", "proxy", addr_endpoint_text(&f.web, text), &err), 0);
	assert_int_equal(conf_set(conf, "shim", "idle-timeout", "1s", &err), 0);
	client = connect_to(&f.listeners.v[0].addr);
	say_http(client);
	web = accept_one(f.web_listener);
	busy = connect_to(&f.listeners.v[0].addr);
	say_http(busy);
	busy_web = accept_one(f.web_listener);
	worker_apply(f.worker, conf, &f.listeners, 10);
	for (int i = 0; i < 40; i++) {
		char byte;

		usleep(100000);
		assert_int_equal(write(busy, "x", 1), 1);
		if (recv(client, &byte, 1, MSG_DONTWAIT) == 0)
			break;
		assert_true(i > 5 || errno == EAGAIN);
	}
	assert_eof(client);
	assert_open(busy);
	/* And no more once it is off again. */
	worker_apply(f.worker, f.conf, &f.listeners, 10);
	usleep(1500000);
	assert_open(busy);
	close(client);
	close(web);
	close(busy);
	close(busy_web);
	worker_stop(f.worker, NULL);
	assert_int_equal(env_ended(worker_counts(f.worker).env, END_IDLE_TIMEOUT), 1);
	worker_free(f.worker);
	assert_int_equal(worker_new(0, f.conf, &f.listeners, f.pending, f.store, 10, &f.worker), 0);
	assert_int_equal(worker_start(f.worker), 0);
	tear_down(&f);
	conf_unref(conf);
}

static bool answers(struct worker *w)
{
	for (int ms = 0; ms < WAIT_MS; ms++) {
		if (worker_alive(w))
			return true;
		poll(NULL, 0, 1);
	}
	return false;
}

static void a_worker_gives_signs_of_life_as_long_as_its_loop_turns(void **state)
{
	struct fixture f;
	struct worker *w = NULL;

	(void)state;
	set_up(&f, 10);
	for (int i = 0; i < 5; i++)
		assert_true(answers(f.worker));
	assert_served(&f, &f.listeners);
	assert_true(answers(f.worker));

	assert_int_equal(worker_new(1, f.conf, &f.listeners, f.pending, f.store, 10, &w), 0);
	assert_true(worker_alive(w)); /* not asked before */
	for (int i = 0; i < 5; i++)
		assert_false(worker_alive(w)); /* its loop does not turn yet */
	assert_int_equal(worker_start(w), 0);
	assert_true(answers(w));
	worker_stop(w, NULL);
	worker_free(w);
	tear_down(&f);
}

static void a_question_does_not_get_lost_between_other_commands(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, 10);
	for (int i = 0; i < 200; i++) {
		worker_alive(f.worker);
		worker_apply(f.worker, f.conf, &f.listeners, 10);
	}
	assert_true(answers(f.worker));
	assert_served(&f, &f.listeners);
	tear_down(&f);
}

static void a_worker_that_cannot_be_made_leaves_nothing_behind(void **state)
{
	static const struct {
		enum call call;
		unsigned good;
		int error;
	} cases[] = {
		{CALL_CALLOC, 0, ENOMEM}, {CALL_MALLOC, 0, ENOMEM}, {CALL_EPOLL_CREATE, 0, EMFILE}, {CALL_EPOLL_CTL, 0, ENOMEM},
	};
	struct fixture f;

	(void)state;
	set_up(&f, 10);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct worker *w = (struct worker *)(void *)state;
		int before = count_fds();

		fail_calls(cases[i].call, cases[i].good, 1, cases[i].error);
		assert_int_equal(worker_new(1, f.conf, &f.listeners, f.pending, f.store, 10, &w), -cases[i].error);
		assert_ptr_equal(w, state);
		assert_int_equal(count_fds(), before);
	}
	worker_free(NULL);
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
		TEST(when_all_is_full_the_oldest_without_a_verdict_makes_room),
		TEST(a_flood_does_not_evict_one_whose_hello_is_on_its_way),
		TEST(new_ones_are_accepted_though_the_oldest_has_got_its_verdict),
		TEST(one_who_has_his_share_already_makes_nobody_leave),
		TEST(a_reload_to_fewer_connections_ends_none_and_takes_none),
		TEST(accepting_goes_on_after_a_pause_for_want_of_descriptors),
		TEST(idle_relays_end_once_a_reload_says_when),
		TEST(a_worker_gives_signs_of_life_as_long_as_its_loop_turns),
		TEST(a_question_does_not_get_lost_between_other_commands),
		TEST(a_worker_that_cannot_be_made_leaves_nothing_behind),
	};

	return cmocka_run_group_tests_name("worker", tests, group_begin, NULL);
}
