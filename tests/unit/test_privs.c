#include "privs.h"

#include "support.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static void users_are_found_by_name_and_by_number(void **state)
{
	struct privs p = {0};

	(void)state;
	assert_int_equal(privs_find_user("nobody", &p), 0);
	assert_int_equal(p.uid, NOBODY);
	assert_int_equal(p.gid, NOBODY);
	assert_false(p.has_extra);
	p = (struct privs){0};
	assert_int_equal(privs_find_user("65534", &p), 0);
	assert_int_equal(p.uid, NOBODY);
}

static void who_is_not_there_or_is_root_is_refused(void **state)
{
	static const char *const missing[] = {"", "no-such-user", "65534x", "-1", "4294967295", "4294967296",
					      "99999999999999999999", "4000000000"};
	struct privs p;

	(void)state;
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
		assert_int_equal(privs_find_user(missing[i], &p), -ENOENT);
	assert_int_equal(privs_find_user("root", &p), -EPERM);
	assert_int_equal(privs_find_user("0", &p), -EPERM);
	fail_calls(CALL_MALLOC, 0, 1, ENOMEM);
	assert_int_equal(privs_find_user("nobody", &p), -ENOMEM);
}

static void groups_are_found_by_name_and_by_number(void **state)
{
	struct privs p = {0};

	(void)state;
	assert_int_equal(privs_find_group("tty", &p), 0);
	assert_true(p.has_extra);
	assert_int_equal(p.extra, 5);
	p = (struct privs){0};
	assert_int_equal(privs_find_group("5", &p), 0);
	assert_int_equal(p.extra, 5);
	p = (struct privs){0};
	assert_int_equal(privs_find_group("no-such-group", &p), -ENOENT);
	assert_false(p.has_extra);
	fail_calls(CALL_MALLOC, 0, 1, ENOMEM);
	assert_int_equal(privs_find_group("tty", &p), -ENOMEM);
}

/* Does /proc/self/status have this line? */
static bool status_has(const char *line)
{
	FILE *f = fopen("/proc/self/status", "re");
	char buf[256];
	bool found = false;

	while (f != NULL && fgets(buf, sizeof(buf), f) != NULL)
		found |= strncmp(buf, line, strlen(line)) == 0;
	if (f != NULL)
		fclose(f);
	return found;
}

static int drop_and_look(const struct privs *p)
{
	static const char *const wanted[] = {
		"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "NoNewPrivs:\t1\n",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n",
		"CapBnd:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
	};

	if (privs_drop(p) < 0)
		return 1;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!status_has(wanted[i]))
			return 10 + (int)i;
	if (!status_has(p->has_extra ? "Groups:\t5 \n" : "Groups:\t \n"))
		return 2;
	return setuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0 ? 3 : 0;
}

static int in_child(int (*f)(const struct privs *p), const struct privs *p)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(f(p));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void root_becomes_a_user_without_any_right(void **state)
{
	struct privs p = {.uid = NOBODY, .gid = NOBODY};

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(drop_and_look, &p), 0);
	p.extra = 5;
	p.has_extra = true;
	assert_int_equal(in_child(drop_and_look, &p), 0);
}

/* Who is no root already has nothing to give up, and cannot become another. */
static int drop_twice(const struct privs *p)
{
	if (privs_drop(p) != 0)
		return 1;
	return privs_drop(p) == -EPERM ? 0 : 2;
}

static void an_ordinary_user_cannot_become_another(void **state)
{
	struct privs p = {.uid = NOBODY, .gid = NOBODY};

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(drop_twice, &p), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(users_are_found_by_name_and_by_number),
		TEST(who_is_not_there_or_is_root_is_refused),
		TEST(groups_are_found_by_name_and_by_number),
		TEST(root_becomes_a_user_without_any_right),
		TEST(an_ordinary_user_cannot_become_another),
	};

	return cmocka_run_group_tests_name("privs", tests, group_begin, NULL);
}
