#ifndef XMPP443_CAPSULE_H
#define XMPP443_CAPSULE_H

/*
 * capsule: connections at rest in the kernel.
 *
 * Descriptors that were sent over a Unix socket and not received yet live on
 * in the receiver's queue, unix(7). So one end of a socket pair, into which a
 * record and its descriptors were written, is a capsule that holds any number
 * of connections whole: it is one descriptor, can be given to another process,
 * and ends what is in it when its last copy is closed unread.
 */

#include "record.h"

/* An empty one: ret[0] is to be read from and to be kept, ret[1] to be written to. Negative errno of socketpair(2). */
int capsule_open(int ret[2]);

/*
 * Puts copies of the record's descriptors in, which stay the caller's.
 * -EAGAIN: it is full. Else 0 or a negative errno of sendmsg(2); -ETOOMANYREFS
 * when this user has too many descriptors in capsules and on their way.
 */
int capsule_put(int fd, const struct record *r);

/* From the first record on, whoever has read in it before. -ENOTSOCK and the like: it is none. */
int capsule_rewind(int fd);

/*
 * Copies the next record out; the capsule keeps it, so that it can be read
 * again by the next process if this one dies. The descriptors of *ret are the
 * caller's, close-on-exec. 1; 0 at the end; -EPROTONOSUPPORT or -EBADMSG: this one is not
 * understood, of record_read(), and the next may be; or a negative errno of recvmsg(2).
 */
int capsule_next(int fd, struct record *ret);

#endif
