#ifndef XMPP443_CHECK_HTTP_H
#define XMPP443_CHECK_HTTP_H

/*
 * http: what kind of server has answered, by its first bytes, and the few
 * lines of an HTTP/1 answer that are of interest. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum answer {
	ANSWER_NONE,  /* nothing came */
	ANSWER_XMPP,  /* "<?xml ..." or "<stream:stream ..." */
	ANSWER_HTTP,  /* "HTTP/1.1 ..." */
	ANSWER_HTTP2, /* a frame of type SETTINGS, RFC 9113 section 6.5 */
	ANSWER_TLS,   /* a TLS record */
	ANSWER_OTHER,
};

struct http_said {
	int status;       /* 100..999 */
	char server[64];  /* cleaned; "" if there is none */
	time_t date;      /* -1 if there is none */
	char location[128]; /* cleaned */
};

/* Of a few bytes, ANSWER_OTHER may still become something else. */
enum answer answer_kind(const char *bytes, size_t len);

/* Is the header complete? Then *ret is filled. False also for what is not HTTP. */
bool http_read(const char *bytes, size_t len, struct http_said *ret);

#endif
