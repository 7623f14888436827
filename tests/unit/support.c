#include "support.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h> /* netinet/tcp.h knows an older tcp_info */
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM_SECONDS 300

static int fds_before;
static char dir[64];
static _Thread_local size_t malloc_size;

static struct {
	unsigned good, times;
	int error;
	unsigned called;
	size_t cut; /* 0: not */
} planned[CALLS];

void fail_calls(enum call call, unsigned good, unsigned times, int error)
{
	planned[call].good = good;
	planned[call].times = times;
	planned[call].error = error;
}

unsigned fail_none(void)
{
	unsigned left = 0;

	for (int i = 0; i < CALLS; i++) {
		left += planned[i].times;
		left += planned[i].cut > 0;
		planned[i].times = 0;
		planned[i].cut = 0;
	}
	return left;
}

unsigned calls_of(enum call call)
{
	return planned[call].called;
}

size_t last_malloc(void)
{
	return malloc_size;
}

void cut_next(enum call call, size_t len)
{
	planned[call].cut = len;
}

static size_t cut(enum call call, size_t len)
{
	size_t max = planned[call].cut;

	planned[call].cut = 0;
	return max > 0 && max < len ? max : len;
}

static bool fails(enum call call)
{
	planned[call].called++;
	if (planned[call].times == 0)
		return false;
	if (planned[call].good > 0) {
		planned[call].good--;
		return false;
	}
	planned[call].times--;
	errno = planned[call].error;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
FILE *__real_open_memstream(char **text, size_t *len);
FILE *__wrap_open_memstream(char **text, size_t *len);
int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
char *__wrap_strdup(const char *s);
ssize_t __real_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
int __real_pipe2(int fd[2], int flags);
int __wrap_pipe2(int fd[2], int flags);
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
ssize_t __real_splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t len, unsigned flags);
ssize_t __wrap_splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t len, unsigned flags);
int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __real_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...);

void *__wrap_malloc(size_t size)
{
	malloc_size = size;
	return fails(CALL_MALLOC) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails(CALL_CALLOC) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails(CALL_REALLOC) ? NULL : __real_realloc(p, size);
}

FILE *__wrap_open_memstream(char **text, size_t *len)
{
	return fails(CALL_MEMSTREAM) ? NULL : __real_open_memstream(text, len);
}

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	return fails(CALL_ACCEPT) ? -1 : __real_accept4(fd, addr, len, flags);
}

char *__wrap_strdup(const char *s)
{
	return fails(CALL_STRDUP) ? NULL : __real_strdup(s);
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	return fails(CALL_GETRANDOM) ? -1 : __real_getrandom(buf, len, flags);
}

int __wrap_pipe2(int fd[2], int flags)
{
	return fails(CALL_PIPE2) ? -1 : __real_pipe2(fd, flags);
}

int __wrap_socket(int family, int type, int protocol)
{
	return fails(CALL_SOCKET) ? -1 : __real_socket(family, type, protocol);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct iovec iov[4];
	struct msghdr less = *msg;
	size_t len = 0;

	if (fails(CALL_SENDMSG))
		return -1;
	if (msg->msg_iovlen > sizeof(iov) / sizeof(iov[0]))
		return __real_sendmsg(fd, msg, flags);
	for (size_t i = 0; i < msg->msg_iovlen; i++)
		len += msg->msg_iov[i].iov_len;
	len = cut(CALL_SENDMSG, len);
	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		iov[i] = msg->msg_iov[i];
		if (iov[i].iov_len > len)
			iov[i].iov_len = len;
		len -= iov[i].iov_len;
	}
	less.msg_iov = iov;
	return __real_sendmsg(fd, &less, flags);
}

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
	return fails(CALL_SEND) ? -1 : __real_send(fd, buf, cut(CALL_SEND, len), flags);
}

ssize_t __wrap_splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t len, unsigned flags)
{
	return fails(CALL_SPLICE) ? -1 : __real_splice(in, off_in, out, off_out, len, flags);
}

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	return fails(CALL_EPOLL_CTL) ? -1 : __real_epoll_ctl(epfd, op, fd, ev);
}

int __wrap_epoll_create1(int flags)
{
	return fails(CALL_EPOLL_CREATE) ? -1 : __real_epoll_create1(flags);
}

int __wrap_fcntl(int fd, int cmd, ...)
{
	va_list args;
	long arg;

	va_start(args, cmd);
	arg = va_arg(args, long);
	va_end(args);
	if (cmd == F_SETPIPE_SZ && planned[CALL_SETPIPE_TINY].times > 0)
		__real_fcntl(fd, cmd, 2 * sysconf(_SC_PAGESIZE));
	if (cmd == F_SETPIPE_SZ && (fails(CALL_SETPIPE) || fails(CALL_SETPIPE_TINY)))
		return -1;
	return __real_fcntl(fd, cmd, arg);
}

int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

int test_begin(void **state)
{
	(void)state;
	fail_none();
	for (int i = 0; i < CALLS; i++)
		planned[i].called = 0;
	fds_before = count_fds();
	return 0;
}

int test_end(void **state)
{
	unsigned left = fail_none();
	int fds = count_fds();

	(void)state;
	if (left > 0)
		print_error("%u planned failures did not happen\n", left);
	if (fds != fds_before)
		print_error("%d descriptors before the test, %d after it\n", fds_before, fds);
	return left > 0 || fds != fds_before ? -1 : 0;
}

int group_begin(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	alarm(PROGRAM_SECONDS);
	return 0;
}

struct guarded guarded_copy(const uint8_t *bytes, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t room = (len + page - 1) / page * page;
	struct guarded g = {.len = len, .map_len = room + page};

	g.map = mmap(NULL, g.map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(g.map, MAP_FAILED);
	assert_int_equal(mprotect((uint8_t *)g.map + room, page, PROT_NONE), 0);
	g.p = (uint8_t *)g.map + room - len;
	if (len > 0)
		memcpy(g.p, bytes, len);
	return g;
}

void guarded_free(struct guarded *g)
{
	munmap(g->map, g->map_len);
	*g = (struct guarded){0};
}

struct watchdog {
	struct loop_timer timer;
	struct loop *loop;
	const bool *done;
	uint64_t ms, deadline;
};

#define POLL_MS 2

static void on_watchdog(struct loop_timer *t)
{
	struct watchdog *w = (struct watchdog *)(void *)t;

	/* Only now, since before its first wake-up the loop's clock may be far behind. */
	if (w->deadline == 0)
		w->deadline = loop_now(w->loop) + w->ms;
	if ((w->done != NULL && *w->done) || loop_now(w->loop) >= w->deadline)
		loop_stop(w->loop);
	else
		loop_timer_set(w->loop, t, w->done != NULL ? POLL_MS : w->deadline - loop_now(w->loop));
}

static void run(struct loop *l, const bool *done, unsigned ms)
{
	struct watchdog w = {
		.timer = {.expired = on_watchdog},
		.loop = l,
		.done = done,
		.ms = ms,
	};

	assert_int_equal(loop_timer_set(l, &w.timer, 0), 0);
	assert_int_equal(loop_run(l), 0);
	loop_timer_unset(l, &w.timer);
}

void run_until(struct loop *l, const bool *done)
{
	run(l, done, WAIT_MS);
	assert_true(*done);
}

void run_for(struct loop *l, unsigned ms)
{
	run(l, NULL, ms);
}

void wait_fd(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n;

	do {
		n = poll(&p, 1, WAIT_MS);
	} while (n < 0 && errno == EINTR);
	assert_int_equal(n, 1);
}

int tcp_listen(struct addr_endpoint *ret)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*ret = (struct addr_endpoint){.len = sizeof(ret->u.in)};
	ret->u.in.sin_family = AF_INET;
	ret->u.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, &ret->u.sa, ret->len), 0);
	assert_int_equal(listen(fd, 64), 0);
	ret->len = sizeof(ret->u.in);
	assert_int_equal(getsockname(fd, &ret->u.sa, &ret->len), 0);
	return fd;
}

int accept_one(int listener)
{
	int fd;

	wait_fd(listener, POLLIN);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

int connect_to(const struct addr_endpoint *e)
{
	int fd = socket(e->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, &e->u.sa, e->len) < 0)
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

void tcp_pair(int fd[2])
{
	struct addr_endpoint e;
	int listener = tcp_listen(&e);

	fd[0] = connect_to(&e);
	fd[1] = accept_one(listener);
	close(listener);
}

void read_all(int fd, void *buf, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n;

		wait_fd(fd, POLLIN);
		n = read(fd, (uint8_t *)buf + got, len - got);
		if (n < 0 && errno == EAGAIN)
			continue;
		assert_true(n > 0);
		got += (size_t)n;
	}
}

void assert_eof(int fd)
{
	char byte;

	wait_fd(fd, POLLIN);
	assert_int_equal(read(fd, &byte, 1), 0);
}

void assert_reset(int fd)
{
	char byte;

	wait_fd(fd, POLLIN);
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
}

void close_reset(int fd)
{
	struct linger now = {.l_onoff = 1};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

void dir_make(void)
{
	strcpy(dir, "/tmp/xmpp443-unit-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
}

void dir_remove(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	assert_int_equal(rmdir(dir), 0);
}

const char *dir_path(const char *name)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

struct addr_endpoint dir_endpoint(const char *name)
{
	struct addr_endpoint e;
	char text[ADDR_ENDPOINT_TEXT_MAX];

	snprintf(text, sizeof(text), "unix:%.100s", dir_path(name));
	assert_int_equal(addr_parse_endpoint(text, &e), 0);
	return e;
}

int unix_listen(const char *name, int type, int backlog)
{
	struct addr_endpoint e = dir_endpoint(name);
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &e.u.sa, e.len), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

bool same_socket(int a, int b)
{
	struct stat sa, sb;

	assert_int_equal(fstat(a, &sa), 0);
	assert_int_equal(fstat(b, &sb), 0);
	return S_ISSOCK(sa.st_mode) && sa.st_ino == sb.st_ino && sa.st_dev == sb.st_dev;
}

uint8_t *file_read(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "re");
	size_t cap = 1 << 20;
	uint8_t *bytes = malloc(cap);

	if (f == NULL)
		print_error("%s: %s\n", path, strerror(errno));
	assert_non_null(f);
	assert_non_null(bytes);
	*ret_len = fread(bytes, 1, cap, f);
	assert_true(*ret_len < cap);
	fclose(f);
	return bytes;
}

uint32_t packets_in(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_segs_in;
}
