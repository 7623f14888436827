#include "recvfd.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Two slots: one for the descriptor, one to see that there are more. What does
 * not fit never enters this process; the kernel drops it and says MSG_CTRUNC. */
#define FD_SLOTS 2

static ssize_t recvmsg_retry(int sock, struct msghdr *msg)
{
	size_t controllen = msg->msg_controllen;
	bool reset = false;
	ssize_t n;

	for (;;) {
		msg->msg_controllen = controllen;
		n = recvmsg(sock, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n >= 0 || (errno != EINTR && errno != ECONNRESET))
			return n;
		/* A peer that died with unread answers gives one ECONNRESET,
		 * ahead of the packets it had still sent. They count. */
		if (errno == ECONNRESET) {
			if (reset)
				return n;
			reset = true;
		}
	}
}

/* Copies up to FD_SLOTS descriptors out of msg; returns how many there were. */
static size_t collect_fds(struct msghdr *msg, int fds[FD_SLOTS])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n && count < FD_SLOTS; i++)
			memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
	return count;
}

int recvfd(int sock, uint8_t *buf, size_t size, int *fd, struct recvfd *ret)
{
	union {
		char bytes[CMSG_SPACE(FD_SLOTS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = size};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	int fds[FD_SLOTS] = {-1, -1};
	size_t count;
	ssize_t n;

	n = recvmsg_retry(sock, &msg);
	if (n < 0)
		return -errno;

	count = collect_fds(&msg, fds);
	*ret = (struct recvfd){
		.len = (size_t)n,
		.truncated = (msg.msg_flags & MSG_TRUNC) != 0,
		.surplus = count > 1,
		.no_room = count <= 1 && (msg.msg_flags & MSG_CTRUNC) != 0,
	};

	if (count == 1 && !ret->no_room) {
		*fd = fds[0];
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	return 0;
}

static int get_option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

int recvfd_check_tcp(int fd)
{
	int domain = get_option(fd, SO_DOMAIN); /* fails if it is no socket */
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if ((domain != AF_INET && domain != AF_INET6) ||
	    get_option(fd, SO_TYPE) != SOCK_STREAM ||
	    get_option(fd, SO_PROTOCOL) != IPPROTO_TCP ||
	    get_option(fd, SO_ACCEPTCONN) != 0)
		return -EPROTOTYPE;
	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return -ENOTCONN;
	return 0;
}
