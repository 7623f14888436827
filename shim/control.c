#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SNDBUF (4 * 1024 * 1024) /* bounds what is in flight; the kernel lowers it to net.core.wmem_max */
#define OVERFLOW_UID 65534 /* user_namespaces(7), "Unmapped user and group IDs" */

/*
 * Whoever can put a socket where the receiver's is expected could collect
 * connections while the receiver is away. So the listener has to be the
 * directory's owner, root, or ourselves: nobody else has a right to the place.
 *
 * In a user namespace, as of PrivateUsers= in systemd.exec(5), all who are not
 * in it show as one user. Two of these may be one and the same, or not. There
 * it has to be a place where nobody but its owner can put a socket.
 */
static int check_receiver(const struct addr_endpoint *path, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct stat st;
	char dir[sizeof(path->u.un.sun_path)];
	char *slash;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	memcpy(dir, path->u.un.sun_path, sizeof(dir));
	slash = strrchr(dir, '/');
	slash[slash == dir ? 1 : 0] = '\0';
	if (stat(dir, &st) < 0)
		return -errno;
	if (cred.uid == 0 || cred.uid == geteuid())
		return 0;
	if (cred.uid != st.st_uid)
		return -EPERM;
	return cred.uid == OVERFLOW_UID && (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 ? -EPERM : 0;
}

int control_connect(const struct addr_endpoint *path, int *ret_fd)
{
	int sndbuf = SNDBUF, err;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	err = connect(fd, &path->u.sa, path->len) < 0 ? -errno : check_receiver(path, fd);
	if (err < 0) {
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

int control_send(int fd, const uint8_t *packet, size_t len, int passed_fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (uint8_t *)packet, .iov_len = len};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &passed_fd, sizeof(int));
	for (;;) {
		if (sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

ssize_t control_recv(int fd, uint8_t *buf)
{
	for (;;) {
		ssize_t n = recv(fd, buf, CONTROL_PACKET_MAX, MSG_TRUNC);

		/*
		 * unix_release_sock() in net/unix/af_unix.c: a receiver that dies
		 * with packets unread makes recv() give ECONNRESET once, and the
		 * verdicts it had sent come after that.
		 */
		if (n < 0 && (errno == EINTR || errno == ECONNRESET))
			continue;
		if (n < 0)
			return -errno;
		return n > CONTROL_PACKET_MAX || n % CONTROL_RECORD_LEN != 0 ? -EPROTO : n;
	}
}
