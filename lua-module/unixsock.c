#include "unixsock.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static bool is_file(const char *path, const struct unixsock_file *file)
{
	struct stat st;

	return lstat(path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino;
}

void unixsock_unlink(const char *path, const struct unixsock_file *file)
{
	if (is_file(path, file))
		unlink(path);
}

/* Removes a socket file that nobody listens on. Returns 0 or a negative errno. */
static int remove_dead(const struct sockaddr_un *addr)
{
	struct unixsock_file file;
	struct stat st;
	int fd, err = 0;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno; /* its owner has just removed it */
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	file = (struct unixsock_file){.dev = st.st_dev, .ino = st.st_ino};

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN: its backlog is full. EPROTOTYPE: a live socket of another type. */
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN || errno == EPROTOTYPE)
		err = -EADDRINUSE;
	else if (errno != ECONNREFUSED && errno != ENOENT)
		err = -errno;
	close(fd);
	if (err < 0)
		return err;

	unixsock_unlink(addr->sun_path, &file);
	return 0;
}

static int bind_file(int fd, const struct sockaddr_un *addr)
{
	int err;

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	err = remove_dead(addr);
	if (err < 0)
		return err;
	return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
}

/* Everything after socket(2). The caller closes fd on failure. */
static int open_file(int fd, const struct sockaddr_un *addr, mode_t mode, struct unixsock_file *ret)
{
	struct unixsock_file file;
	struct stat st;
	int err;

	/* Linux makes the file with the socket's own mode, less the umask. So it
	 * is never wider than asked for, and chmod() adds what the umask took. */
	if (fchmod(fd, mode) < 0)
		return -errno;
	err = bind_file(fd, addr);
	if (err < 0)
		return err;
	if (lstat(addr->sun_path, &st) < 0)
		return -errno;
	file = (struct unixsock_file){.dev = st.st_dev, .ino = st.st_ino};

	if (chmod(addr->sun_path, mode) < 0 || listen(fd, BACKLOG) < 0) {
		err = -errno;
		unixsock_unlink(addr->sun_path, &file);
		return err;
	}
	/* Until listen() another starting process could take the file for a
	 * dead one and replace it. Then the other one has won. */
	if (!is_file(addr->sun_path, &file))
		return -EADDRINUSE;

	*ret = file;
	return 0;
}

int unixsock_listen(const char *path, mode_t mode, struct unixsock_file *ret)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd, err;

	if (len == 0)
		return -EINVAL; /* would bind an abstract name, which has no permissions */
	if (len >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, len + 1);

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = open_file(fd, &addr, mode, ret);
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}
