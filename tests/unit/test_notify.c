#include "notify.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int manager(const char *path, size_t len)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	memcpy(un.sun_path, path, len);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
	return fd;
}

static void without_a_manager_nothing_is_sent_and_nothing_is_wrong(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_send("READY=1"), 0);
	unsetenv("NOTIFY_SOCKET");
}

static void the_state_reaches_the_managers_socket(void **state)
{
	const char *path;
	char buf[100];
	int fd;

	(void)state;
	dir_make();
	path = dir_path("notify");
	fd = manager(path, strlen(path) + 1);
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_send("READY=1"), 0);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 7);
	assert_memory_equal(buf, "READY=1", 7);
	unsetenv("NOTIFY_SOCKET");
	close(fd);
	dir_remove();
}

static void an_abstract_socket_is_reached_too(void **state)
{
	char name[60], buf[100];
	int fd, len;

	(void)state;
	len = snprintf(name, sizeof(name), "@xmpp443-unit-%d", (int)getpid());
	setenv("NOTIFY_SOCKET", name, 1);
	name[0] = '\0';
	fd = manager(name, (size_t)len);
	assert_int_equal(notify_send("STOPPING=1"), 0);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 10);
	assert_memory_equal(buf, "STOPPING=1", 10);
	unsetenv("NOTIFY_SOCKET");
	close(fd);
}

static void reloading_carries_the_time_in_microseconds(void **state)
{
	char buf[101], *rest;
	const char *path;
	ssize_t n;
	int fd;

	(void)state;
	dir_make();
	path = dir_path("notify");
	fd = manager(path, strlen(path) + 1);
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_reloading(), 0);
	n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_memory_equal(buf, "RELOADING=1\nMONOTONIC_USEC=", 27);
	assert_true(strtoll(buf + 27, &rest, 10) > 0);
	assert_string_equal(rest, "");
	unsetenv("NOTIFY_SOCKET");
	close(fd);
	dir_remove();
}

static void a_manager_that_cannot_be_reached_is_an_error(void **state)
{
	char path[200];

	(void)state;
	setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
	assert_int_equal(notify_send("READY=1"), -ENOENT);
	fail_calls(CALL_SOCKET, 0, 1, EMFILE);
	assert_int_equal(notify_send("READY=1"), -EMFILE);
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_send("READY=1"), -ENAMETOOLONG);
	unsetenv("NOTIFY_SOCKET");
}

/* In a child, with n descriptors from 3 on: what notify_listen_fds() gives, or 100 and more if something is wrong. */
static int listen_fds(const char *pid, const char *fds, int n)
{
	char own[20];
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		char *names;
		int ret;

		for (int fd = 3; fd < 100; fd++)
			close(fd);
		for (int i = 0; i < n; i++)
			if (dup2(STDIN_FILENO, 3 + i) < 0)
				_exit(100);
		snprintf(own, sizeof(own), "%d", (int)getpid());
		if (pid != NULL)
			setenv("LISTEN_PID", strcmp(pid, "own") == 0 ? own : pid, 1);
		if (fds != NULL)
			setenv("LISTEN_FDS", fds, 1);
		setenv("LISTEN_FDNAMES", "a:b", 1);
		ret = notify_listen_fds(&names);
		if (getenv("LISTEN_PID") != NULL || getenv("LISTEN_FDS") != NULL || getenv("LISTEN_FDNAMES") != NULL)
			_exit(101);
		for (int i = 0; i < ret; i++)
			if (fcntl(3 + i, F_GETFD) != FD_CLOEXEC)
				_exit(102);
		if ((names != NULL) != (ret > 0))
			_exit(103);
		for (const char *name = names; name != NULL && name - names < 100 && ret > 0; name = NULL)
			if (strcmp(name, "a") != 0 || (ret > 1 && strcmp(notify_next_name(name), "b") != 0) ||
			    (ret > 2 && strcmp(notify_next_name(notify_next_name(name)), "unknown") != 0))
				_exit(104);
		free(names);
		_exit(ret);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void descriptors_for_us_are_taken_and_close_on_exec(void **state)
{
	(void)state;
	assert_int_equal(listen_fds("own", "1", 1), 1);
	assert_int_equal(listen_fds("own", "3", 3), 3);
}

static void descriptors_for_another_process_are_left_alone(void **state)
{
	(void)state;
	assert_int_equal(listen_fds("1", "1", 1), 0);
	assert_int_equal(listen_fds(NULL, "1", 1), 0);
	assert_int_equal(listen_fds("own", NULL, 1), 0);
	assert_int_equal(listen_fds("", "1", 1), 0);
}

static void nonsense_about_descriptors_gives_none(void **state)
{
	(void)state;
	assert_int_equal(listen_fds("own", "0", 0), 0);
	assert_int_equal(listen_fds("own", "-1", 0), 0);
	assert_int_equal(listen_fds("own", "x", 0), 0);
	assert_int_equal(listen_fds("own", "65537", 70), 0);
	assert_int_equal(listen_fds("own", "99999999999999999999", 1), 0);
	assert_int_equal(listen_fds("own", "2", 1), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(without_a_manager_nothing_is_sent_and_nothing_is_wrong),
		TEST(the_state_reaches_the_managers_socket),
		TEST(an_abstract_socket_is_reached_too),
		TEST(reloading_carries_the_time_in_microseconds),
		TEST(a_manager_that_cannot_be_reached_is_an_error),
		TEST(descriptors_for_us_are_taken_and_close_on_exec),
		TEST(descriptors_for_another_process_are_left_alone),
		TEST(nonsense_about_descriptors_gives_none),
	};

	return cmocka_run_group_tests_name("notify", tests, group_begin, NULL);
}
