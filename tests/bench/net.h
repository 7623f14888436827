/* What all parts of the load generator share: addresses, sockets, an event loop, a clock. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct net_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} u;
	socklen_t len;
};

/* A descriptor in an epoll set; ready() may free the watch. */
struct watch {
	int fd;
	void (*ready)(struct watch *w, uint32_t events);
};

/* Prints a line to standard error, with the text of errno if err is not 0, and exits. */
_Noreturn void die(int err, const char *what, const char *detail);

uint64_t net_now_ns(void);

/* 127.0.0.1:80, [::1]:80 or unix:/path; exits if text is nothing of that. */
struct net_addr net_parse(const char *text);

/* A listening socket, which a Unix socket's path is freed for and opened to everybody. Exits on failure. */
int net_listen(const struct net_addr *a, int type);

/* A non-blocking stream socket on its way to a, or a negative errno. */
int net_connect(const struct net_addr *a);

/* A new epoll set; exits on failure. */
int net_loop(void);

/* Watches w; exits on failure. */
void net_watch(int epoll, struct watch *w, uint32_t events);

/* Waits for events, timeout_ms as for epoll_wait(2), and runs them. */
void net_run_once(int epoll, int timeout_ms);

#endif
