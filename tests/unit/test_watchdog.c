#include "watchdog.h"

#include "support.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* pid: NULL for none */
static unsigned interval(const char *usec, const char *pid)
{
	unsigned ms;

	setenv("WATCHDOG_USEC", usec, 1);
	if (pid != NULL)
		setenv("WATCHDOG_PID", pid, 1);
	ms = watchdog_interval_ms();
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
	return ms;
}

static void without_a_manager_nobody_wants_to_know(void **state)
{
	(void)state;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	assert_int_equal(watchdog_interval_ms(), 0);
}

static void the_manager_is_told_four_times_in_its_time(void **state)
{
	(void)state;
	assert_int_equal(interval("30000000", NULL), 7500);
	assert_int_equal(interval("1000", NULL), 1);
	assert_int_equal(interval("18446744073709551615", NULL), INT_MAX);
}

static void what_is_no_time_is_none(void **state)
{
	static const char *const bad[] = {"", "0", "999", "-30000000", " 30000000", "30000000s", "1e9", "18446744073709551616"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(interval(bad[i], NULL), 0);
}

static void a_watchdog_of_another_process_is_not_ours(void **state)
{
	char pid[20];

	(void)state;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_int_equal(interval("4000000", pid), 1000);
	assert_int_equal(interval("4000000", "1"), 0);
	assert_int_equal(interval("4000000", "x"), 0);
}

static void only_an_answer_makes_the_next_question_a_good_one(void **state)
{
	struct watchdog_pulse p = {0};

	(void)state;
	assert_true(watchdog_ask(&p));
	assert_false(watchdog_ask(&p));
	assert_false(watchdog_ask(&p));
	watchdog_answer(&p);
	watchdog_answer(&p);
	assert_true(watchdog_ask(&p));
	assert_false(watchdog_ask(&p));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(without_a_manager_nobody_wants_to_know),
		TEST(the_manager_is_told_four_times_in_its_time),
		TEST(what_is_no_time_is_none),
		TEST(a_watchdog_of_another_process_is_not_ours),
		TEST(only_an_answer_makes_the_next_question_a_good_one),
	};

	return cmocka_run_group_tests_name("watchdog", tests, group_begin, NULL);
}
