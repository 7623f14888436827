#ifndef XMPP443_CONTROL_H
#define XMPP443_CONTROL_H

/*
 * control: the system calls of a control connection to a hand-off receiver.
 * doc/protocol.md specifies what is on the wire.
 */

#include "addr.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONTROL_ID_LEN     8
#define CONTROL_RECORD_LEN (1 + CONTROL_ID_LEN) /* verdict byte, id */
#define CONTROL_PACKET_MAX 1017                 /* 113 records: a packet has 1024 bytes at most, doc/protocol.md */

/*
 * Connects to the socket at path, non-blocking, and makes sure that whoever
 * listens there may receive connections: -EPERM if he is neither root, nor this
 * user, nor the directory's owner, or cannot be told from others and the
 * directory is not its owner's alone. Else 0, or a negative errno of socket(2), connect(2) for AF_UNIX, or stat(2).
 */
int control_connect(const struct addr_endpoint *path, int *ret_fd);

/*
 * Sends one packet with one descriptor, a copy of passed_fd. 0, or a negative
 * errno of sendmsg(2): -EAGAIN when the socket is full, -ETOOMANYREFS when too
 * many descriptors are in flight, unix(7).
 */
int control_send(int fd, const uint8_t *packet, size_t len, int passed_fd);

/*
 * Reads one packet of verdicts into buf, CONTROL_PACKET_MAX bytes. The length,
 * a multiple of CONTROL_RECORD_LEN; 0 when the receiver has gone and nothing
 * of its verdicts is left; -EAGAIN; -EPROTO; or a negative errno of recv(2).
 */
ssize_t control_recv(int fd, uint8_t *buf);

#endif
