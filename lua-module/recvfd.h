/* Receives one packet with the one descriptor that belongs to it. */
#ifndef FDPASS_RECVFD_H
#define FDPASS_RECVFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct recvfd {
	size_t len;     /* bytes of the packet; 0 is end of file */
	bool truncated; /* the packet was longer than the buffer */
	bool no_room;   /* this process had no room for a descriptor */
	bool surplus;   /* more than one descriptor came; all were closed */
};

/* Reads one packet from the non-blocking Unix socket sock into buf. *fd must be
 * -1 and stays so unless exactly one descriptor arrived; that one is CLOEXEC and
 * the caller's. Everything else that arrived has been closed. Returns 0 or a
 * negative errno (-EAGAIN: nothing there), *ret and *fd untouched. */
int recvfd(int sock, uint8_t *buf, size_t size, int *fd, struct recvfd *ret);

/* Is fd a connected TCP socket over IPv4 or IPv6? Returns 0; -ENOTCONN if it is
 * TCP but its peer has gone; -EPROTOTYPE for anything else. */
int recvfd_check_tcp(int fd);

#endif
