/* What --local is made of: addresses in logs, rights, other programs. */
#include "../../../check/local.h"
#include "../../../check/procs.h"
#include "../../../check/run.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void addresses_in_logs(void **state)
{
	static const struct {
		const char *line, *address;
		bool there;
	} rows[] = {
		{"192.0.2.1 - - [25/Nov/2026] \"GET /\"", "192.0.2.1", true},
		{"addr=192.0.2.1", "192.0.2.1", true},
		{"from 192.0.2.1:50000", "192.0.2.1", true},
		{"from 192.0.2.1.", "192.0.2.1", true},
		{"192.0.2.11", "192.0.2.1", false},
		{"1192.0.2.1", "192.0.2.1", false},
		{"192.0.2.1.5", "192.0.2.1", false},
		{"5.192.0.2.1", "192.0.2.1", false},
		{"192.0.2.11 192.0.2.1", "192.0.2.1", true},
		{"[2001:db8::1]:443", "2001:db8::1", true},
		{"2001:db8::1 -", "2001:db8::1", true},
		{"2001:db8::11", "2001:db8::1", false},
		{"2001:db8::1f", "2001:db8::1", false},
		{"::ffff:127.0.0.1", "127.0.0.1", false}, /* who compares texts does not find it */
		{"", "192.0.2.1", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(local_mentions(rows[i].line, rows[i].address), rows[i].there);
}

static void rights(void **state)
{
	struct procs_one p = {.uid = 100, .gid = 100, .groups = {200, 300}, .n_groups = 2};

	(void)state;
	assert_true(procs_may(&p, 100, 1, 0600, W_OK));
	assert_false(procs_may(&p, 100, 1, 0066, W_OK)); /* the owner's bits count, and no others */
	assert_true(procs_may(&p, 1, 100, 0060, W_OK));
	assert_true(procs_may(&p, 1, 300, 0660, R_OK | W_OK));
	assert_false(procs_may(&p, 1, 300, 0646, W_OK));
	assert_false(procs_may(&p, 1, 400, 0660, W_OK));
	assert_true(procs_may(&p, 1, 400, 0662, W_OK));
	p.uid = 0;
	assert_true(procs_may(&p, 1, 1, 0, R_OK | W_OK | X_OK));
}

static void ourselves(void **state)
{
	struct procs_one p;

	(void)state;
	assert_true(procs_read(getpid(), &p));
	assert_int_equal(p.pid, getpid());
	assert_int_equal(p.uid, geteuid());
	assert_int_equal(p.gid, getegid());
	assert_true(p.fd_limit > 0 && p.fds > 2);
	assert_true(procs_find(p.name, &p));
	assert_false(procs_find("no-such-process", &p));
	assert_false(procs_read(0x7ffffff0, &p));
}

static void other_programs(void **state)
{
	static const char *const hello[] = {"sh", "-c", "echo out; echo err >&2; cat; exit 3", NULL};
	static const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
	static const char *const hangs[] = {"sleep", "60", NULL};
	static const char *const missing[] = {"no-such-program", NULL};
	static const char *const talks[] = {"sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x", NULL};
	char *text;

	(void)state;
	assert_int_equal(run_program(hello, 20000, &text), 3);
	assert_string_equal(text, "out\nerr\n");
	free(text);
	assert_int_equal(run_program(killed, 20000, &text), 128);
	free(text);
	assert_int_equal(run_program(hangs, 100, &text), -ETIMEDOUT);
	assert_null(text);
	assert_int_equal(run_program(missing, 20000, &text), -ENOENT);
	assert_null(text);
	assert_int_equal(run_program(talks, 20000, &text), 0);
	assert_int_equal(strlen(text), RUN_OUTPUT_MAX);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_in_logs),
		cmocka_unit_test(rights),
		cmocka_unit_test(ourselves),
		cmocka_unit_test(other_programs),
	};

	return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}
