#ifndef XMPP443_PIPES_H
#define XMPP443_PIPES_H

/*
 * pipes: a small stock of empty pipes, so that a relayed connection needs one
 * only while it has data on the way.
 */

#include <stdbool.h>
#include <stddef.h>

#define PIPES_SIZE  262144 /* wished for; pipe(7) tells when the kernel grants less */
#define PIPES_STOCK 32

struct pipes {
	int fd[PIPES_STOCK][2];
	size_t n;
};

/* A zeroed struct is an empty stock. */

/* fd[0] is to read from, fd[1] to write to. 0, -EMFILE or -ENFILE. */
int pipes_get(struct pipes *p, int fd[2]);

/* Takes the pipe back and sets fd to -1; closes it if it is not empty. Takes {-1, -1}. */
void pipes_put(struct pipes *p, int fd[2], bool empty);

/* Closes the stock. */
void pipes_close(struct pipes *p);

#endif
