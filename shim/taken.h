#ifndef XMPP443_TAKEN_H
#define XMPP443_TAKEN_H

/* taken: has anybody read from a TCP connection? */

#include <stdint.h>

/*
 * How many bytes have been taken out of the receive queue since the connection
 * was made, by whatever process; one too many may be counted if its end has
 * come. Negative errno of getsockopt(2) or ioctl(2): it is no TCP connection.
 */
int64_t taken_bytes(int fd);

#endif
