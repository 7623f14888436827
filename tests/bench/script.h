/*
 * What a client and a backend say to each other.
 *
 * Every connection begins with a ClientHello, opaque bytes of a length that
 * both know, to which the backend answers with SCRIPT_GREETING bytes, as a
 * server does with its certificate. Then one of them closes, or the backend
 * sends response bytes for every request bytes it gets, until the client closes.
 */
#ifndef BENCH_SCRIPT_H
#define BENCH_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#define SCRIPT_GREETING 1024

enum script_closer { /* after the greeting */
	SCRIPT_NOBODY,
	SCRIPT_SERVER,
	SCRIPT_CLIENT,
};

struct script {
	const char *name;
	size_t request, response;
	enum script_closer closer;
};

/* The script of that name; *bytes, unless 0, is the size of the large part of a bulk one. Exits if there is none. */
struct script script_find(const char *name, size_t bytes);

/* A recorded ClientHello. */
struct hello {
	uint8_t *data;
	size_t len;
};

/* Exits if the file cannot be read. */
struct hello hello_load(const char *path);

#endif
