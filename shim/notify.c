#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 65536

/* Where the service manager listens. Negative errno; -ENOENT: nowhere. */
static int address(struct sockaddr_un *un, socklen_t *ret_len)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len;

	if (path == NULL || (path[0] != '/' && path[0] != '@'))
		return -ENOENT;
	len = strlen(path);
	if (len >= sizeof(un->sun_path))
		return -ENAMETOOLONG;
	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(un->sun_path, path, len);
	if (path[0] == '@') /* the abstract name space, unix(7) */
		un->sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

int notify_connect(void)
{
	struct sockaddr_un un;
	socklen_t len;
	int fd, err = address(&un, &len);

	if (err < 0)
		return err;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&un, len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int notify_send(const char *state)
{
	struct sockaddr_un un;
	socklen_t len;
	int fd, err = address(&un, &len);

	if (err < 0)
		return err == -ENOENT ? 0 : err;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&un, len) < 0)
		err = -errno;
	close(fd);
	return err;
}

int notify_send_fds(int fd, const char *state, const int *fds, size_t n, bool wait)
{
	union {
		char buf[CMSG_SPACE(NOTIFY_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = (char *)state, .iov_len = strlen(state)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	if (n > 0) {
		memset(&control, 0, CMSG_SPACE(n * sizeof(int)));
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	}
	for (;;) {
		if (sendmsg(fd, &msg, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

int notify_barrier(int fd, int timeout_ms)
{
	struct pollfd p;
	int pipe[2], err;

	if (pipe2(pipe, O_CLOEXEC) < 0)
		return -errno;
	err = notify_send_fds(fd, "BARRIER=1", &pipe[1], 1, true);
	close(pipe[1]);
	/* The manager closes its copy when it comes to the message, and then there is no writer any more. */
	p = (struct pollfd){.fd = pipe[0], .events = POLLIN};
	if (err == 0)
		err = poll(&p, 1, timeout_ms) == 1 ? 0 : -ETIMEDOUT;
	close(pipe[0]);
	return err;
}

int notify_reloading(void)
{
	char state[64];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
		 (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	return notify_send(state);
}

/* A copy of LISTEN_FDNAMES as n strings. The variable may be missing, or have fewer or more. */
static char *copy_names(size_t n)
{
	static const char unknown[] = "unknown";
	const char *names = getenv("LISTEN_FDNAMES");
	size_t len = (names != NULL ? strlen(names) : 0) + n * sizeof(unknown) + 1;
	char *copy = malloc(len), *p = copy;

	for (size_t i = 0; copy != NULL && i < n; i++) {
		size_t name_len = names != NULL ? strcspn(names, ":") : 0;

		if (name_len == 0) {
			memcpy(p, unknown, sizeof(unknown));
			p += sizeof(unknown);
		} else {
			memcpy(p, names, name_len);
			p[name_len] = '\0';
			p += name_len + 1;
		}
		if (names != NULL)
			names = names[name_len] == ':' ? names + name_len + 1 : NULL;
	}
	return copy;
}

const char *notify_next_name(const char *name)
{
	return name + strlen(name) + 1;
}

int notify_listen_fds(char **ret_names)
{
	const char *pid = getenv("LISTEN_PID");
	const char *fds = getenv("LISTEN_FDS");
	long n = 0;

	*ret_names = NULL;
	if (pid != NULL && fds != NULL && strtol(pid, NULL, 10) == (long)getpid())
		n = strtol(fds, NULL, 10);
	if (n < 0 || n > FDS_MAX)
		n = 0;
	for (int i = 0; i < n; i++)
		if (fcntl(NOTIFY_FDS_START + i, F_SETFD, FD_CLOEXEC) < 0)
			n = 0;
	if (n > 0) {
		*ret_names = copy_names((size_t)n);
		n = *ret_names != NULL ? n : 0;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return (int)n;
}
