#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* The answer: 0 and a descriptor, or the errno of open(2). */
static void answer(int fd, const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait for a FIFO's other end */
	int32_t error = file < 0 ? errno : 0;
	union control control = {0};
	struct iovec iov = {.iov_base = &error, .iov_len = sizeof(error)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (file >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &file, sizeof(file));
	}
	sendmsg(fd, &msg, MSG_NOSIGNAL); /* if nobody takes it, the next recv() tells */
	if (file >= 0)
		close(file);
}

static _Noreturn void child(const char *path, enum sandbox_mode mode, int fd)
{
	char request;

	prctl(PR_SET_NAME, "xmpp443-reader");
	/* Those that end the daemon end the reader by the end of their connection; a reload may come before. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	/* Nothing of the daemon's is to live on in a child: listeners, or descriptors that it was given. */
	if (dup2(fd, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0U, 0) < 0 || sandbox_reader(mode) < 0)
		_exit(1);
	while (recv(STDIN_FILENO, &request, 1, 0) == 1)
		answer(STDIN_FILENO, path);
	_exit(0);
}

int reader_start(const char *path, enum sandbox_mode mode, int *ret_fd)
{
	int pair[2], err;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child(path, mode, pair[1]);
	err = pid < 0 ? -errno : 0;
	close(pair[1]);
	if (err < 0)
		close(pair[0]);
	else
		*ret_fd = pair[0];
	return err;
}

int reader_open(int fd)
{
	int32_t error = 0;
	int file = -1;
	union control control;
	struct iovec iov = {.iov_base = &error, .iov_len = sizeof(error)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *cmsg;
	ssize_t n;

	if (send(fd, "", 1, MSG_NOSIGNAL) < 0)
		return -errno;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != sizeof(error))
		return -EPIPE;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg != NULL && cmsg->cmsg_type == SCM_RIGHTS && cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&file, CMSG_DATA(cmsg), sizeof(file));
	if (error != 0)
		return -error;
	return file >= 0 ? file : -EMFILE; /* unix(7): a descriptor that does not fit is dropped */
}
