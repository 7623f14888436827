#include "capsule.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int capsule_open(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

union control {
	char buf[CMSG_SPACE(RECORD_FDS * sizeof(int))];
	struct cmsghdr align;
};

int capsule_put(int fd, const struct record *r)
{
	char text[RECORD_MAX];
	int fds[RECORD_FDS];
	size_t n;
	struct iovec iov = {.iov_base = text, .iov_len = record_write(r, text, fds, &n)};
	union control control = {0};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int capsule_rewind(int fd)
{
	int zero = 0, type = 0, domain = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -errno;
	if (type != SOCK_SEQPACKET || domain != AF_UNIX)
		return -EPROTOTYPE;
	/* socket(7): from now on MSG_PEEK goes forward, message by message. */
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0 ? -errno : 0;
}

int capsule_next(int fd, struct record *ret)
{
	char text[4 * RECORD_MAX]; /* another version's may be longer */
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	union control control = {0};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	int fds[sizeof(control.buf) / sizeof(int)], err;
	size_t n_fds = 0;
	ssize_t n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	/* EAGAIN: whoever wrote into it has not closed its end. */
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
	}
	err = (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? -EBADMSG : record_read(text, (size_t)n, fds, n_fds, ret);
	if (err == 0)
		return 1;
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	return err;
}
