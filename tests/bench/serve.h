/* The server's side of a connection, the same for a backend and for a receiver of hand-offs. */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include "script.h"

#include <stdbool.h>
#include <stddef.h>

struct serve {
	int epoll;
	struct script script;
	size_t hello_len;
	int file;       /* answers come out of it by sendfile(2), or -1: by send(2) */
	int skip;       /* recv(2)'s flags for requests: MSG_TRUNC throws them away uncopied, on TCP sockets only */
};

/* Serves a connected, non-blocking socket. Takes ownership. A PROXY header (version 2) before the hello is skipped. */
void serve_new(struct serve *s, int fd);

/* An unnamed file, large enough for serve.file; exits on failure. */
int serve_file(void);

#endif
