#ifndef XMPP443_READER_H
#define XMPP443_READER_H

/*
 * reader: a process that opens the settings' file for the daemon.
 *
 * Once it runs, the daemon cannot open files (sandbox.h). A reload has to all
 * the same, and by name, since editors put a new file in the old one's place.
 * So a child is made at start that can do just that: asked for it, it opens
 * the one path it was given when it was made, and sends the descriptor. No
 * path ever comes from the daemon. It ends when the daemon does.
 */

#include "sandbox.h"

/*
 * Before any thread starts. path is the file's. *ret_fd: for reader_open(); the
 * caller closes it. A negative errno of socketpair(2) or fork(2).
 */
int reader_start(const char *path, enum sandbox_mode mode, int *ret_fd);

/*
 * A descriptor of the file, open for reading, which the caller closes. Else a
 * negative errno: of open(2), or -EPIPE, -ECONNRESET if the reader is no more.
 */
int reader_open(int fd);

#endif
