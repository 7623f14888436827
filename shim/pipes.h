#ifndef XMPP443_PIPES_H
#define XMPP443_PIPES_H

/*
 * pipes: a small stock of empty pipes, so that a relayed connection needs one
 * only while it has bytes that wait.
 */

#include <stdbool.h>
#include <stddef.h>

#define PIPES_ROOM  65536 /* bytes that any of them takes at once, at least */
#define PIPES_STOCK 32

struct pipe {
	int fd[2];         /* to read from, to write to */
	size_t len;        /* bytes in it; kept by its user */
	size_t size;       /* how much can be asked to be put into it */
	bool single;       /* somebody else may have copies of it: never for another relay */
	struct pipe *next; /* in the stock */
};

/* A zeroed struct is an empty stock. */
struct pipes {
	struct pipe *first;
	size_t n;
	size_t made;   /* that exist, in the stock or not */
	size_t singles; /* of those */
	size_t max;    /* of the others; 0: as many as can be made. Set by the owner at any time. */
	unsigned skip; /* calls until another pipe is tried to be made */
};

/*
 * True if the next pipes_get() succeeds; makes a pipe for that if need be.
 * False: there are max already, or no descriptors, or no memory, or the kernel
 * grants only tiny pipes to a user who has so many, pipe(7).
 */
bool pipes_ready(struct pipes *p);

/* An empty pipe, or NULL as above. */
struct pipe *pipes_get(struct pipes *p);

/* Takes the pipe back; closes it if there are bytes in it, if the stock is full, or if there are more than max. Takes NULL. */
void pipes_put(struct pipes *p, struct pipe *pipe);

/*
 * A pipe for a relay that has one of its own all the time: small, so that
 * there can be many, and maybe smaller than PIPES_ROOM.
 * NULL: no descriptors or no memory. Goes back by
 * pipes_put(), which closes it.
 */
struct pipe *pipes_make(struct pipes *p);

/* Makes one of these of a pipe that is in use. */
void pipes_single(struct pipes *p, struct pipe *pipe);

/* Makes such a pipe large, since much is coming; if that is not allowed it stays as it is. */
void pipes_grow(struct pipe *pipe);

/* A pipe from its two ends, with what is in it. Takes ownership, also on failure. NULL: they are no pipe, or no memory. */
struct pipe *pipes_adopt(struct pipes *p, const int fd[2]);

/* Gives the ends away, which are the caller's from now on. */
void pipes_release(struct pipes *p, struct pipe *pipe, int fd[2]);

/* Closes the stock. */
void pipes_close(struct pipes *p);

#endif
