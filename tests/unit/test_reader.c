/* The process that opens the settings' file. */

#include "reader.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/xmpp443-reader-XXXXXX", path[64];

static int set_up(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/shim.conf", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void put(const char *text)
{
	char new_path[80];
	FILE *f;

	snprintf(new_path, sizeof(new_path), "%s.new", path);
	f = fopen(new_path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(new_path, path), 0);
}

static void check_text(int reader, const char *text)
{
	char buf[64] = "";
	int fd = reader_open(reader);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
	assert_string_equal(buf, text);
	assert_true(write(fd, "x", 1) < 0);
	close(fd);
}

static int start(void)
{
	int fd = -1;

	assert_int_equal(reader_start(path, SANDBOX_ON, &fd), 0);
	assert_true(fd >= 0);
	return fd;
}

/* Its end, which the end of the connection brings. */
static void check_ended(void)
{
	int status;

	assert_true(wait(&status) > 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_file_is_opened_anew_each_time(void **state)
{
	int fd;

	(void)state;
	put("one");
	fd = start();
	check_text(fd, "one");
	put("two"); /* another file of the same name */
	check_text(fd, "two");
	close(fd);
	check_ended();
}

static void a_file_that_is_missing_is_missed_only_once(void **state)
{
	int fd;

	(void)state;
	put("one");
	fd = start();
	assert_int_equal(unlink(path), 0);
	assert_int_equal(reader_open(fd), -ENOENT);
	put("three");
	check_text(fd, "three");
	close(fd);
	check_ended();
}

static void a_fifo_does_not_keep_it_waiting(void **state)
{
	int fd, file;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = start();
	file = reader_open(fd);
	assert_true(file >= 0);
	close(file);
	close(fd);
	check_ended();
}

static void it_holds_nothing_of_its_parents(void **state)
{
	int fd, pair[2];
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd = start();
	put("one");
	check_text(fd, "one"); /* by now it has closed what it was born with */
	close(pair[0]);
	assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
	close(pair[1]);
	close(fd);
	check_ended();
}

static void signals_that_end_a_daemon_do_not_end_it_before(void **state)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
	int fd;

	(void)state;
	assert_int_equal(setpgid(0, 0), 0); /* these two are all that the signals go to */
	fd = start();
	put("one");
	check_text(fd, "one");
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		assert_int_equal(kill(0, signals[i]), 0);
	check_text(fd, "one");
	close(fd);
	check_ended();
}

static void one_that_has_gone_is_an_error(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	close(pair[1]);
	assert_int_equal(reader_open(pair[0]), -EPIPE);
	close(pair[0]);
}

static void one_that_goes_while_asked_is_an_error(void **state)
{
	int pair[2];
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		char byte;

		close(pair[0]);
		_exit(recv(pair[1], &byte, 1, 0) == 1 ? 0 : 1);
	}
	close(pair[1]);
	assert_int_equal(reader_open(pair[0]), -EPIPE);
	close(pair[0]);
	check_ended();
}

static void an_answer_without_a_descriptor_is_an_error(void **state)
{
	int pair[2];
	int32_t none = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(send(pair[1], &none, sizeof(none), 0), sizeof(none));
	assert_int_equal(reader_open(pair[0]), -EMFILE);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_file_is_opened_anew_each_time),
		cmocka_unit_test(a_file_that_is_missing_is_missed_only_once),
		cmocka_unit_test(a_fifo_does_not_keep_it_waiting),
		cmocka_unit_test(it_holds_nothing_of_its_parents),
		cmocka_unit_test(signals_that_end_a_daemon_do_not_end_it_before),
		cmocka_unit_test(one_that_has_gone_is_an_error),
		cmocka_unit_test(one_that_goes_while_asked_is_an_error),
		cmocka_unit_test(an_answer_without_a_descriptor_is_an_error),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
