#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_one(const struct addr_endpoint *addr)
{
	int on = 1, err;
	int fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd < 0)
		return -errno;
	/* Without it a restart has to wait for old connections in TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (addr->u.sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (bind(fd, &addr->u.sa, addr->len) < 0 || listen(fd, SOMAXCONN) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int find(const struct listen_set *set, const struct addr_endpoint *addr)
{
	for (size_t i = 0; i < set->n; i++)
		if (addr_endpoint_equal(&set->v[i].addr, addr))
			return set->v[i].fd;
	return -1;
}

int listen_open(const struct addr_endpoint *addrs, size_t n, const struct listen_set *old,
		struct listen_set *ret, const struct addr_endpoint **ret_bad)
{
	struct listen_set set = {0};

	for (size_t i = 0; i < n; i++) {
		int fd = find(old, &addrs[i]);

		if (fd < 0)
			fd = open_one(&addrs[i]);
		if (fd < 0) {
			*ret_bad = &addrs[i];
			listen_close(&set, old);
			return fd;
		}
		set.v[set.n++] = (struct listen_socket){.addr = addrs[i], .fd = fd};
	}
	*ret = set;
	return 0;
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

int listen_adopt(int fd, struct listen_set *set)
{
	struct listen_socket *s = &set->v[set->n];
	int on = 1;

	if (set->n == LISTEN_MAX)
		return -ENOSPC;
	s->fd = fd;
	s->addr.len = sizeof(s->addr.u);
	if (socket_option(fd, SO_ACCEPTCONN) != 1 || socket_option(fd, SO_PROTOCOL) != IPPROTO_TCP ||
	    getsockname(fd, &s->addr.u.sa, &s->addr.len) < 0)
		return -EINVAL;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	set->n++;
	return 0;
}

struct addr listen_local(int fd)
{
	static const uint8_t any[16];
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss), transparent_len = sizeof(int);
	struct addr a;
	int transparent = 0;

	getsockname(fd, (struct sockaddr *)&ss, &len);
	a = addr_from_sockaddr((const struct sockaddr *)&ss);
	getsockopt(fd, a.family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP,
		   a.family == AF_INET6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &transparent, &transparent_len);
	if (transparent || memcmp(a.ip, any, sizeof(any)) == 0)
		a.family = AF_UNSPEC;
	return a;
}

bool listen_has(const struct listen_set *set, int fd)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->v[i].fd == fd)
			return true;
	return false;
}

void listen_close(struct listen_set *set, const struct listen_set *keep)
{
	for (size_t i = 0; i < set->n; i++)
		if (keep == NULL || !listen_has(keep, set->v[i].fd))
			close(set->v[i].fd);
	set->n = 0;
}
