/* A listening Unix socket and the file that names it. */
#ifndef FDPASS_UNIXSOCK_H
#define FDPASS_UNIXSOCK_H

#include <sys/types.h>

/* Where a listening socket lives, to remove the file only while it is ours. */
struct unixsock_file {
	dev_t dev;
	ino_t ino;
};

/* Makes a non-blocking SOCK_SEQPACKET listener at path whose file never has more
 * than the permission bits of mode. A dead socket in its place is replaced.
 * Returns the descriptor, with *ret filled, or a negative errno:
 *   -EADDRINUSE  a live socket is there
 *   -EEXIST      something that is no socket is there
 * or what socket(2), bind(2) and listen(2) say. */
int unixsock_listen(const char *path, mode_t mode, struct unixsock_file *ret);

/* Removes path unless it names another file by now. */
void unixsock_unlink(const char *path, const struct unixsock_file *file);

#endif
