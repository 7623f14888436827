#include "log.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Standard error is a file while a test runs. */
static int real_stderr, file;

static void capture(void)
{
	char path[] = "/tmp/xmpp443-unit-XXXXXX";

	real_stderr = dup(STDERR_FILENO);
	file = mkstemp(path);
	assert_true(real_stderr >= 0 && file >= 0);
	unlink(path);
	assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
}

static size_t release(char *buf, size_t size)
{
	ssize_t n = pread(file, buf, size - 1, 0);

	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(file);
	assert_true(n >= 0);
	buf[n] = '\0';
	return (size_t)n;
}

static void a_line_has_its_priority_in_front(void **state)
{
	char buf[200];

	(void)state;
	capture();
	log_init(LOG_LEVEL_DEBUG);
	log_line(LOG_LEVEL_ERROR, "a=%d b=%s", 1, "x");
	log_line(LOG_LEVEL_WARNING, "w");
	log_line(LOG_LEVEL_NOTICE, "n");
	log_line(LOG_LEVEL_INFO, "i");
	log_line(LOG_LEVEL_DEBUG, "d");
	release(buf, sizeof(buf));
	assert_string_equal(buf, "<3>a=1 b=x\n<4>w\n<5>n\n<6>i\n<7>d\n");
}

static void lines_above_the_level_are_dropped(void **state)
{
	char buf[200];

	(void)state;
	capture();
	log_init(LOG_LEVEL_WARNING);
	log_line(LOG_LEVEL_INFO, "no");
	log_line(LOG_LEVEL_WARNING, "yes");
	assert_true(log_wants(LOG_LEVEL_WARNING));
	assert_false(log_wants(LOG_LEVEL_NOTICE));
	log_set_level(LOG_LEVEL_INFO);
	log_line(LOG_LEVEL_INFO, "now");
	release(buf, sizeof(buf));
	assert_string_equal(buf, "<4>yes\n<6>now\n");
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
	char buf[6000], text[3000];
	size_t len;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (size_t n = 1000; n <= 1040; n++) {
		capture();
		log_init(LOG_LEVEL_INFO);
		log_line(LOG_LEVEL_INFO, "%.*s", (int)n, text);
		len = release(buf, sizeof(buf));
		assert_in_range(len, 1000, 1024);
		assert_int_equal(buf[len - 1], '\n');
		assert_ptr_equal(strchr(buf, '\n'), buf + len - 1);
	}
	capture();
	log_line(LOG_LEVEL_INFO, "%s", text);
	len = release(buf, sizeof(buf));
	assert_int_equal(len, 1024);
	assert_int_equal(buf[len - 1], '\n');
}

static void errno_is_kept_even_if_nobody_can_read(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), keep = dup(STDERR_FILENO);

	(void)state;
	assert_true(full >= 0);
	dup2(full, STDERR_FILENO);
	log_init(LOG_LEVEL_INFO);
	errno = ENOTTY + 1000;
	log_line(LOG_LEVEL_INFO, "lost");
	dup2(keep, STDERR_FILENO);
	assert_int_equal(errno, ENOTTY + 1000);
	close(full);
	close(keep);
}

static void on_a_terminal_there_is_no_priority(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave, keep = dup(STDERR_FILENO);
	char buf[100];
	ssize_t n;

	(void)state;
	assert_true(master >= 0);
	assert_int_equal(grantpt(master) | unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave >= 0);
	dup2(slave, STDERR_FILENO);
	log_init(LOG_LEVEL_INFO);
	log_line(LOG_LEVEL_INFO, "seen");
	dup2(keep, STDERR_FILENO);
	n = read(master, buf, sizeof(buf));
	assert_int_equal(n, 6);
	assert_memory_equal(buf, "seen\r\n", 6);
	close(keep);
	close(slave);
	close(master);
	log_init(LOG_LEVEL_INFO);
}

/* How many lines there are. */
static size_t lines(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

static void one_of_each(void)
{
	log_connection(LOG_FAILURES, "f");
	log_connection(LOG_HANDOFFS, "h");
	log_connection(LOG_DECISIONS, "d");
}

static void what_is_told_of_connections_can_be_chosen(void **state)
{
	static const char *const want[] = {"<6>f\n", "<6>f\n<6>h\n", "<6>f\n<6>h\n<7>d\n"};
	char buf[200];

	(void)state;
	for (int about = LOG_FAILURES; about < LOG_ABOUT_N; about++) {
		capture();
		log_init(LOG_LEVEL_INFO);
		log_set_connections((enum log_about)about, 0);
		one_of_each();
		assert_true(log_wants_about(LOG_FAILURES));
		assert_int_equal(log_wants_about(LOG_DECISIONS), about == LOG_DECISIONS);
		release(buf, sizeof(buf));
		assert_string_equal(buf, want[about]);
	}
}

static void the_level_goes_before_the_choice(void **state)
{
	char buf[200];

	(void)state;
	capture();
	log_init(LOG_LEVEL_NOTICE);
	log_set_connections(LOG_DECISIONS, 0);
	one_of_each();
	assert_false(log_wants_about(LOG_FAILURES));
	log_set_level(LOG_LEVEL_DEBUG);
	log_set_connections(LOG_FAILURES, 1);
	for (int i = 0; i < 5; i++)
		one_of_each(); /* with no limit */
	release(buf, sizeof(buf));
	assert_int_equal(lines(buf), 15);
	log_set_level(LOG_LEVEL_INFO);
}

static void a_flood_of_one_kind_is_cut_counted_and_hides_no_other(void **state)
{
	enum { RATE = 20, BURST = 10 * RATE };
	uint64_t before = log_left_out(), cut;
	char buf[8000], told[60];

	(void)state;
	capture();
	log_init(LOG_LEVEL_INFO);
	log_set_connections(LOG_HANDOFFS, RATE);
	for (int i = 0; i < 10 * BURST; i++)
		log_connection(LOG_FAILURES, "f");
	cut = log_left_out() - before;
	log_connection(LOG_HANDOFFS, "h");
	log_line(LOG_LEVEL_WARNING, "w");
	release(buf, sizeof(buf));
	/* A line more for each twentieth of a second that this may have taken. */
	assert_true(cut <= 9 * BURST && cut > 8 * BURST);
	assert_int_equal(lines(buf), 10 * BURST - cut + 2);
	assert_non_null(strstr(buf, "<6>h\n<4>w\n"));

	capture();
	log_tell_left_out();
	log_tell_left_out();
	release(buf, sizeof(buf));
	snprintf(told, sizeof(told), "<4>event=log-lines-left-out lines=%llu\n", (unsigned long long)cut);
	assert_string_equal(buf, told);

	/* There is room again after a while. */
	cut = log_left_out();
	capture();
	for (int i = 0; i < WAIT_MS / 10; i++) {
		log_connection(LOG_FAILURES, "again");
		if (log_left_out() == cut)
			break;
		cut = log_left_out();
		usleep(10000);
	}
	release(buf, sizeof(buf));
	assert_string_equal(buf, "<6>again\n");
	log_set_connections(LOG_HANDOFFS, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_line_has_its_priority_in_front),
		TEST(lines_above_the_level_are_dropped),
		TEST(a_long_line_is_cut_and_still_ends),
		TEST(errno_is_kept_even_if_nobody_can_read),
		TEST(on_a_terminal_there_is_no_priority),
		TEST(what_is_told_of_connections_can_be_chosen),
		TEST(the_level_goes_before_the_choice),
		TEST(a_flood_of_one_kind_is_cut_counted_and_hides_no_other),
	};

	return cmocka_run_group_tests_name("log", tests, group_begin, NULL);
}
