/* The listening socket of the metrics. */

#include "scrape.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET_MODE 0660
#define BACKLOG     8

/* Is the socket at this path, which cannot be bound to, one that nobody listens at any more? 0, or why not. */
static int check_stale(const struct addr_endpoint *e)
{
	struct stat st;
	int fd, err;

	/* connect(2) does not tell a file that is no socket from a socket that is dead. */
	if (lstat(e->u.un.sun_path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, &e->u.sa, e->len) == 0 || errno == EAGAIN ? -EADDRINUSE : -errno;
	close(fd);
	return err == -ECONNREFUSED ? 0 : err;
}

static int bind_unix(int fd, const struct addr_endpoint *e)
{
	const char *path = e->u.un.sun_path;
	int err = bind(fd, &e->u.sa, e->len) < 0 ? -errno : 0;

	if (err == -EADDRINUSE) {
		err = check_stale(e);
		if (err == 0 && unlink(path) < 0 && errno != ENOENT)
			err = -errno;
		if (err == 0 && bind(fd, &e->u.sa, e->len) < 0)
			err = -errno;
	}
	/* Not by umask(2), which is for all threads. Nobody can connect before listen(2). */
	if (err == 0 && chmod(path, SOCKET_MODE) < 0) {
		err = -errno;
		unlink(path);
	}
	return err;
}

static int bind_inet(int fd, const struct addr_endpoint *e)
{
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* connections in TIME_WAIT must not hinder a restart */
	return bind(fd, &e->u.sa, e->len) < 0 ? -errno : 0;
}

int scrape_open(const struct addr_endpoint *e, int *ret_fd)
{
	bool is_unix = e->u.sa.sa_family == AF_UNIX;
	int fd = socket(e->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	err = is_unix ? bind_unix(fd, e) : bind_inet(fd, e);
	if (err == 0 && listen(fd, BACKLOG) < 0) {
		err = -errno;
		if (is_unix)
			unlink(e->u.un.sun_path);
	}
	if (err < 0) {
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

void scrape_discard(const struct addr_endpoint *e, int fd)
{
	/* In this order, since a successor takes the path over as soon as nobody listens there. */
	if (e->u.sa.sa_family == AF_UNIX)
		unlink(e->u.un.sun_path);
	close(fd);
}
