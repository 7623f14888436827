#ifndef XMPP443_LISTEN_H
#define XMPP443_LISTEN_H

/*
 * listen: the listening sockets, our own or those passed by the service manager.
 *
 * What they accept has SO_KEEPALIVE, so that a peer that vanished is found one day.
 */

#include "addr.h"

#include <stdbool.h>
#include <stddef.h>

#define LISTEN_MAX 64

struct listen_socket {
	struct addr_endpoint addr;
	int fd;
};

/* Owns its descriptors. A zeroed struct is an empty set. */
struct listen_set {
	struct listen_socket v[LISTEN_MAX];
	size_t n;
};

/*
 * Opens one socket for each of n addresses, IPv6 ones for IPv6 only. Those
 * that stand in old with the same address are taken over as they are. On
 * failure: a negative errno of socket(2), bind(2) or listen(2), *ret_bad is
 * the address, and nothing new stays open.
 */
int listen_open(const struct addr_endpoint *addrs, size_t n, const struct listen_set *old,
		struct listen_set *ret, const struct addr_endpoint **ret_bad);

/* Adds a listener that was passed to us; takes ownership on success. -EINVAL: it is no listening TCP socket; -ENOSPC: the set is full. */
int listen_adopt(int fd, struct listen_set *set);

/*
 * The local address that all connections of a listener have, or AF_UNSPEC if
 * they may differ: it listens on all addresses, or it is transparent, ip(7).
 */
struct addr listen_local(int fd);

bool listen_has(const struct listen_set *set, int fd);

/* Closes those that are not in keep, which may be NULL. */
void listen_close(struct listen_set *set, const struct listen_set *keep);

#endif
