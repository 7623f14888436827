#ifndef XMPP443_HTTP_H
#define XMPP443_HTTP_H

/*
 * http: the head of a request, RFC 9112, as far as a server of one document
 * has to understand it. Pure: no I/O, no allocation, no state.
 */

#include <stdbool.h>
#include <stddef.h>

enum http_result {
	HTTP_OK,        /* the head is complete */
	HTTP_NEED_MORE, /* so far a head, and it is not complete */
	HTTP_MALFORMED,
};

struct http_request {
	bool get, head;    /* its method; neither: another one */
	const char *path;  /* a view into what was read, without the query; not terminated */
	size_t path_len;
	bool openmetrics;  /* among the types in its Accept field */
};

/* Reads the len bytes that came first on a connection. *ret is filled for HTTP_OK. */
enum http_result http_read(const char *buf, size_t len, struct http_request *ret);

#endif
