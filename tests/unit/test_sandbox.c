/* The sandbox, in children: what the daemon does goes on, and everything else is denied. */

#include "sandbox.h"

#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* 0 or an errno */
static int done(long result)
{
	return result < 0 ? errno : 0;
}

static int open_file(void)
{
	return done(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static int open_to_write(void)
{
	return done(open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static int open_by_open2(void)
{
	uint64_t how[3] = {0};

	return done(syscall(SYS_openat2, AT_FDCWD, "/dev/null", how, sizeof(how)));
}

static int open_with_truncation(void)
{
	return done(open("/dev/null", O_RDONLY | O_TRUNC | O_CLOEXEC));
}

static int execute(void)
{
	char *const argv[] = {"true", NULL};

	return done(execve("/bin/true", argv, argv + 1));
}

static int make_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return done(pid);
}

static int make_process_by_clone3(void)
{
	uint64_t args[8] = {0};
	long pid = syscall(SYS_clone3, args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return done(pid);
}

static int trace(void)
{
	return done(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int kill_parent(void)
{
	return done(kill(getppid(), 0));
}

static int tgkill_parent(void)
{
	pid_t pid = getppid();

	return done(syscall(SYS_tgkill, pid, pid, 0));
}

static int make_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int make_data_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? 0 : done(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int udp_socket(void)
{
	return done(socket(AF_INET, SOCK_DGRAM, 0));
}

static int raw_socket(void)
{
	return done(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
}

static int netlink_socket(void)
{
	return done(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
}

static int raise_others_limit(void)
{
	return done(prlimit(getppid(), RLIMIT_CORE, NULL, NULL));
}

static int make_directory(void)
{
	return done(mkdir("/tmp/xmpp443-no-such", 0700));
}

static int change_identity(void)
{
	return done(setuid(65534));
}

static int look_into_memory(void)
{
	return done(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
}

static const struct act {
	const char *name;
	int (*act)(void);
} forbidden[] = {
	{"open a file", open_file},
	{"open a file to write", open_to_write},
	{"open a file by openat2", open_by_open2},
	{"execute a program", execute},
	{"make a process", make_process},
	{"trace", trace},
	{"send a signal", kill_parent},
	{"send a signal to a thread", tgkill_parent},
	{"map memory as code", make_code},
	{"make data code", make_data_code},
	{"make a UDP socket", udp_socket},
	{"make a raw socket", raw_socket},
	{"make a netlink socket", netlink_socket},
	{"change the limits of another process", raise_others_limit},
	{"make a directory", make_directory},
	{"change the user", change_identity},
	{"read another process's memory", look_into_memory},
};

static void *thread_main(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

/* Everything that the daemon does, in short. NULL: all of it works; else what does not. */
static const char *serve(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	struct epoll_event ev = {.events = EPOLLIN};
	struct rlimit limit;
	struct stat st;
	pthread_t thread;
	int ran = 0, pair[2], p[2];
	char buf[8];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int unix_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	if (listener < 0 || client < 0 || unix_fd < 0 || socket(AF_INET6, SOCK_STREAM, 0) < 0)
		return "sockets";
	if (bind(listener, (struct sockaddr *)&sin, sizeof(sin)) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&sin, &len) < 0)
		return "a listener";
	if (connect(client, (struct sockaddr *)&sin, sizeof(sin)) < 0 && errno != EINPROGRESS)
		return "connecting";
	pair[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (pair[0] < 0 || send(client, "12345678", 8, 0) != 8)
		return "accepting";
	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, pair[0], &ev) < 0 || epoll_wait(epfd, &ev, 1, 1000) != 1)
		return "epoll";
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0 || fcntl(p[0], F_SETPIPE_SZ, 4096) < 0 ||
	    splice(pair[0], NULL, p[1], NULL, 8, SPLICE_F_NONBLOCK) != 8 || read(p[0], buf, 8) != 8)
		return "a pipe";
	if (stat("/run", &st) < 0)
		return "a file's state";
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return "its own limits";
	if (pthread_create(&thread, NULL, thread_main, &ran) != 0 || pthread_join(thread, NULL) != 0 || ran != 1)
		return "a thread";
	free(malloc(1 << 20));
	return NULL;
}

/* Runs in a child what may end it or cannot be undone. The child's exit status. */
static int in_child(int (*run)(const void *arg), const void *arg)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(run(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int try_in_daemon(const void *arg)
{
	const struct act *a = arg;
	int version;

	return sandbox_daemon(SANDBOX_ON, NULL, &version) < 0 ? 255 : a->act();
}

static void what_a_daemon_never_does_is_denied(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		int result = in_child(try_in_daemon, &forbidden[i]);

		if (result != EPERM)
			fail_msg("\"%s\" gives %d", forbidden[i].name, result);
	}
}

static int try_unconfined(const void *arg)
{
	const struct act *a = arg;
	int version;

	return sandbox_daemon(SANDBOX_OFF, NULL, &version) < 0 || version != 0 ? 255 : a->act();
}

static void without_a_sandbox_nothing_is_denied(void **state)
{
	static const struct act allowed[] = {{"", open_file}, {"", udp_socket}, {"", make_process}, {"", make_code}};

	(void)state;
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		assert_int_equal(in_child(try_unconfined, &allowed[i]), 0);
}

static int try_logged(const void *arg)
{
	const struct act *a = arg;
	int version;

	return sandbox_daemon(SANDBOX_LOG, NULL, &version) < 0 || version != 0 ? 255 : a->act();
}

static void in_the_trying_mode_the_denied_is_allowed(void **state)
{
	static const struct act allowed[] = {{"", open_file}, {"", udp_socket}, {"", make_process}};

	(void)state;
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		assert_int_equal(in_child(try_logged, &allowed[i]), 0);
}

static int serve_in_daemon(const void *arg)
{
	int version;
	const char *failed;

	(void)arg;
	if (sandbox_daemon(SANDBOX_ON, NULL, &version) < 0)
		return 255;
	failed = serve();
	if (failed != NULL)
		dprintf(STDERR_FILENO, "denied: %s: %s\n", failed, strerror(errno));
	return failed != NULL;
}

static void a_daemon_still_serves(void **state)
{
	(void)state;
	assert_int_equal(in_child(serve_in_daemon, NULL), 0);
}

static int clone3_in_daemon(const void *arg)
{
	int version;

	(void)arg;
	return sandbox_daemon(SANDBOX_ON, NULL, &version) < 0 ? 255 : make_process_by_clone3();
}

static void clone3_is_as_if_the_kernel_had_none(void **state)
{
	(void)state;
	assert_int_equal(in_child(clone3_in_daemon, NULL), ENOSYS);
}

static int landlock_alone(const void *arg)
{
	int version;

	(void)arg;
	/* A call that the filter lets through for the metrics' socket: only Landlock stands before it. */
	if (sandbox_daemon(SANDBOX_ON, NULL, &version) < 0)
		return 255;
	if (version == 0)
		return EACCES;
	return done(unlink("/tmp"));
}

static void landlock_closes_the_file_system_a_second_time(void **state)
{
	(void)state;
	assert_int_equal(in_child(landlock_alone, NULL), EACCES);
}

static int bind_at(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(un.sun_path, path);
	return fd < 0 ? errno : done(bind(fd, (struct sockaddr *)&un, sizeof(un)));
}

/* 0: it is as it should be. */
static int sockets_in_one_directory(const void *arg)
{
	const char *dir = arg;
	char path[100];
	int version;

	if (sandbox_daemon(SANDBOX_ON, dir, &version) < 0)
		return 255;
	snprintf(path, sizeof(path), "%s/s", dir);
	if (bind_at(path) != 0 || chmod(path, 0660) < 0 || unlink(path) < 0)
		return 1;
	snprintf(path, sizeof(path), "%s/../xmpp443-unit-%d", dir, (int)getpid());
	return version == 0 || bind_at(path) == EACCES ? 0 : 2;
}

static int sockets_in_no_directory(const void *arg)
{
	int version;

	return -sandbox_daemon(SANDBOX_ON, arg, &version);
}

static void sockets_can_be_made_in_the_one_directory_for_them(void **state)
{
	char dir[] = "/tmp/xmpp443-unit-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(in_child(sockets_in_one_directory, dir), 0);
	assert_int_equal(rmdir(dir), 0);
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0)
		assert_int_equal(in_child(sockets_in_no_directory, dir), ENOENT);
}

static int try_in_reader(const void *arg)
{
	const struct act *a = arg;

	return sandbox_reader(SANDBOX_ON) < 0 ? 255 : a->act();
}

static void a_reader_opens_for_reading_and_does_nothing_else(void **state)
{
	static const struct act open_once = {"open a file", open_file};
	static const struct act more[] = {
		{"truncate a file", open_with_truncation},
		{"make a thread's process", make_process_by_clone3},
	};

	(void)state;
	assert_int_equal(in_child(try_in_reader, &open_once), 0);
	for (size_t i = 1; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		if (in_child(try_in_reader, &forbidden[i]) != EPERM)
			fail_msg("a reader may %s", forbidden[i].name);
	assert_int_equal(in_child(try_in_reader, &more[0]), EPERM);
	assert_int_equal(in_child(try_in_reader, &more[1]), ENOSYS);
}

/* seccomp(2): more filters than the kernel keeps for one process. */
static int too_many(const void *arg)
{
	int version, err = 0;

	(void)arg;
	for (int i = 0; i < 1000 && err == 0; i++)
		err = sandbox_reader(SANDBOX_LOG);
	if (err == 0)
		return 1;
	return sandbox_daemon(SANDBOX_LOG, NULL, &version) < 0 ? 0 : 2;
}

static void a_filter_that_the_kernel_refuses_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(in_child(too_many, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_daemon_never_does_is_denied),
		cmocka_unit_test(without_a_sandbox_nothing_is_denied),
		cmocka_unit_test(in_the_trying_mode_the_denied_is_allowed),
		cmocka_unit_test(a_daemon_still_serves),
		cmocka_unit_test(clone3_is_as_if_the_kernel_had_none),
		cmocka_unit_test(landlock_closes_the_file_system_a_second_time),
		cmocka_unit_test(sockets_can_be_made_in_the_one_directory_for_them),
		cmocka_unit_test(a_reader_opens_for_reading_and_does_nothing_else),
		cmocka_unit_test(a_filter_that_the_kernel_refuses_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
