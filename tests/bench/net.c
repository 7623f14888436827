#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 65535
#define EVENTS  256

void die(int err, const char *what, const char *detail)
{
	if (err != 0)
		fprintf(stderr, "load: %s %s: %s\n", what, detail, strerror(err));
	else
		fprintf(stderr, "load: %s %s\n", what, detail);
	exit(1);
}

uint64_t net_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct net_addr net_parse(const char *text)
{
	struct net_addr a = {0};
	const char *colon = strrchr(text, ':');
	char host[64] = "";
	uint16_t port;

	if (strncmp(text, "unix:", 5) == 0) {
		if (strlen(text + 5) >= sizeof(a.u.un.sun_path))
			die(0, "path too long:", text);
		a.u.un.sun_family = AF_UNIX;
		strcpy(a.u.un.sun_path, text + 5);
		a.len = sizeof(a.u.un);
		return a;
	}
	if (colon == NULL || (size_t)(colon - text) >= sizeof(host))
		die(0, "not an address:", text);
	port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	memcpy(host, text, (size_t)(colon - text));
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		a.u.in6.sin6_family = AF_INET6;
		a.u.in6.sin6_port = port;
		a.len = sizeof(a.u.in6);
		if (inet_pton(AF_INET6, host + 1, &a.u.in6.sin6_addr) != 1)
			die(0, "not an address:", text);
		return a;
	}
	a.u.in.sin_family = AF_INET;
	a.u.in.sin_port = port;
	a.len = sizeof(a.u.in);
	if (inet_pton(AF_INET, host, &a.u.in.sin_addr) != 1)
		die(0, "not an address:", text);
	return a;
}

/* Small messages in both directions: Nagle's algorithm would make them wait for each other. */
static void no_delay(int fd, const struct net_addr *a)
{
	int on = 1;

	if (a->u.sa.sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int net_listen(const struct net_addr *a, int type)
{
	int fd = socket(a->u.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		die(errno, "cannot make", "a listening socket");
	if (a->u.sa.sa_family == AF_UNIX)
		unlink(a->u.un.sun_path);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	no_delay(fd, a); /* which what is accepted inherits */
	if (bind(fd, &a->u.sa, a->len) < 0 || listen(fd, BACKLOG) < 0)
		die(errno, "cannot listen on", "that address");
	/* The proxy under test runs as another user. */
	if (a->u.sa.sa_family == AF_UNIX && chmod(a->u.un.sun_path, 0666) < 0)
		die(errno, "cannot open to everybody", a->u.un.sun_path);
	return fd;
}

int net_connect(const struct net_addr *a)
{
	int fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	no_delay(fd, a);
	if (connect(fd, &a->u.sa, a->len) < 0 && errno != EINPROGRESS) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int net_loop(void)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		die(errno, "cannot make", "an epoll set");
	return epoll;
}

void net_watch(int epoll, struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		die(errno, "cannot watch", "a descriptor");
}

void net_run_once(int epoll, int timeout_ms)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(epoll, ev, EVENTS, timeout_ms);

	if (n < 0 && errno != EINTR)
		die(errno, "cannot wait for", "events");
	for (int i = 0; i < n; i++) {
		struct watch *w = ev[i].data.ptr;

		w->ready(w, ev[i].events);
	}
}
