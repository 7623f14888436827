#include "record.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct addr address(const char *ip, const char *port)
{
	struct addr a;

	assert_int_equal(addr_parse(ip, port, &a), 0);
	return a;
}

static struct record waiting(void)
{
	struct record r;

	record_init(&r);
	r.id = 0x0123456789abcdef;
	r.born = 987654321;
	r.used = 28;
	r.peer = address("192.0.2.1", "5222");
	r.fd[RECORD_CLIENT] = 100;
	return r;
}

static struct record relay(void)
{
	struct record r = waiting();

	r.relay = true;
	strcpy(r.route, "web");
	r.local = address("2001:db8::1", "443");
	for (int i = 0; i < RECORD_FDS; i++)
		r.fd[i] = 100 + i;
	return r;
}

static void assert_comes_back(const struct record *r)
{
	char text[RECORD_MAX];
	int fds[RECORD_FDS];
	size_t n, len = record_write(r, text, fds, &n);
	struct record got;

	assert_true(len < RECORD_MAX);
	assert_int_equal(record_read(text, len, fds, n, &got), 0);
	assert_int_equal(got.relay, r->relay);
	assert_int_equal(got.header, r->header);
	assert_int_equal(got.sent, r->sent);
	assert_memory_equal(got.broken, r->broken, sizeof(got.broken));
	assert_true(got.id == r->id && got.born == r->born && got.used == r->used);
	assert_memory_equal(&got.peer, &r->peer, sizeof(got.peer));
	assert_memory_equal(&got.local, &r->local, sizeof(got.local));
	assert_string_equal(got.route, r->route);
	assert_memory_equal(got.fd, r->fd, sizeof(got.fd));
	assert_false(got.stored);
}

static void what_is_written_is_read(void **state)
{
	struct record r = waiting();

	(void)state;
	assert_comes_back(&r);
	r.header = true;
	assert_comes_back(&r);
	r.header = false;
	r.sent = true;
	r.id = UINT64_MAX;
	r.born = 0;
	r.local = address("192.0.2.2", "443");
	assert_comes_back(&r);
	r = relay();
	assert_comes_back(&r);
	r.broken[0] = r.broken[1] = true;
	memset(r.route, 'x', ROUTE_NAME_MAX);
	assert_comes_back(&r);
	r.fd[RECORD_UP_IN] = r.fd[RECORD_UP_OUT] = -1;
	assert_comes_back(&r);
	r.fd[RECORD_DOWN_IN] = r.fd[RECORD_DOWN_OUT] = -1;
	assert_comes_back(&r);
}

static void a_text_that_is_cut_or_goes_on_is_refused(void **state)
{
	struct record r = relay(), got;
	char text[RECORD_MAX + 1];
	int fds[RECORD_FDS];
	size_t n, len = record_write(&r, text, fds, &n);

	(void)state;
	for (size_t i = 0; i < len; i++)
		assert_true(record_read(text, i, fds, n, &got) < 0);
	text[len] = '\n';
	assert_int_equal(record_read(text, len + 1, fds, n, &got), -EBADMSG);
	text[len] = '\0';
	assert_int_equal(record_read(text, len + 1, fds, n, &got), -EBADMSG);
}

static void no_change_of_one_byte_makes_it_something_else_that_is_not_whole(void **state)
{
	struct record r = relay(), got;
	char text[RECORD_MAX];
	int fds[RECORD_FDS];
	size_t n, len = record_write(&r, text, fds, &n);

	(void)state;
	for (size_t i = 0; i < len; i++)
		for (int c = 0; c < 256; c++) {
			char was = text[i];

			text[i] = (char)c;
			if (record_read(text, len, fds, n, &got) == 0)
				for (int f = 0; f < RECORD_FDS; f++)
					assert_true(got.fd[f] >= 100 && got.fd[f] < 106);
			text[i] = was;
		}
}

static int read_text(const char *text, size_t n_fds)
{
	static const int fds[RECORD_FDS] = {100, 101, 102, 103, 104, 105};
	struct record got;

	return record_read(text, strlen(text), fds, n_fds, &got);
}

#define BEGIN "xmpp443-connection 1\nid=0000000000000001\nborn=2\nused=0\n"

static void another_version_or_format_is_told_apart_from_damage(void **state)
{
	(void)state;
	assert_int_equal(read_text(BEGIN "flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\n", 1), 0);
	assert_int_equal(read_text("xmpp443-connection 2\nid=0000000000000001\n", 1), -EPROTONOSUPPORT);
	assert_int_equal(read_text("xmpp443-connection 11\n", 1), -EPROTONOSUPPORT);
	assert_int_equal(read_text("something else", 1), -EPROTONOSUPPORT);
	assert_int_equal(read_text("", 0), -EPROTONOSUPPORT);
}

static void what_does_not_fit_together_is_refused(void **state)
{
	static const struct {
		const char *rest;
		size_t n_fds;
	} cases[] = {
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\n", 0},      /* fewer descriptors than it says */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\n", 2},      /* more */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=b\n", 1},      /* no client */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=cb\n", 2},     /* a backend, and no relay */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=web\nfds=c\n", 1},    /* a relay without one */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=web\nfds=cbu\n", 3},  /* half a pipe */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=web\nfds=cbcc\n", 4}, /* twice the same */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=web\nfds=cbx\n", 3},  /* what is that? */
		{"flags=h\npeer=192.0.2.1 1\nlocal=-\nroute=web\nfds=cb\n", 2},   /* a relay before its header */
		{"flags=s\npeer=192.0.2.1 1\nlocal=-\nroute=web\nfds=cb\n", 2},   /* handed off as well */
		{"flags=c\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\n", 1},
		{"flags=ss\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\n", 1},
		{"flags=x\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\n", 1},
		{"flags=-\npeer=-\nlocal=-\nroute=-\nfds=c\n", 1},                /* nobody's */
		{"flags=-\npeer=192.0.2.1\nlocal=-\nroute=-\nfds=c\n", 1},
		{"flags=-\npeer=192.0.2.1 70000\nlocal=-\nroute=-\nfds=c\n", 1},
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=\nfds=c\n", 1},
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=012345678901234567890123456789012\nfds=cb\n", 2},
		{"peer=192.0.2.1 1\nflags=-\nlocal=-\nroute=-\nfds=c\n", 1},      /* another order */
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nlocal=-\nroute=-\nfds=c\n", 1},
		{"flags=-\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\nmore=1\n", 1},
	};
	char text[RECORD_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		strcpy(text, BEGIN);
		strcat(text, cases[i].rest);
		if (read_text(text, cases[i].n_fds) != -EBADMSG)
			fail_msg("case %zu is taken", i);
	}
	assert_int_equal(read_text("xmpp443-connection 1\nid=0\nborn=x\nused=0\nflags=-\npeer=192.0.2.1 1\nlocal=-\nroute=-\nfds=c\n", 1),
			 -EBADMSG);
	assert_int_equal(read_text("xmpp443-connection 1\nid=00000000000000001\nborn=1\nused=0\nflags=-\npeer=192.0.2.1 1\nlocal=-\n"
				   "route=-\nfds=c\n", 1), -EBADMSG);
}

static void closing_closes_what_there_is(void **state)
{
	struct record r;

	(void)state;
	record_init(&r);
	record_close(&r);
	r.fd[RECORD_DOWN_IN] = dup(STDIN_FILENO);
	record_close(&r);
	assert_int_equal(r.fd[RECORD_DOWN_IN], -1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read),
		TEST(a_text_that_is_cut_or_goes_on_is_refused),
		TEST(no_change_of_one_byte_makes_it_something_else_that_is_not_whole),
		TEST(another_version_or_format_is_told_apart_from_damage),
		TEST(what_does_not_fit_together_is_refused),
		TEST(closing_closes_what_there_is),
	};

	return cmocka_run_group_tests_name("record", tests, group_begin, NULL);
}
