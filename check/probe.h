#ifndef XMPP443_CHECK_PROBE_H
#define XMPP443_CHECK_PROBE_H

/*
 * probe: one connection, from connect() to the server's first words. Many of
 * them run at the same time, and none longer than its deadline.
 */

#include "cert.h"
#include "http.h"
#include "stream.h"

#include "../shim/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROBE_SAID_MAX 8192

/* What is said once the connection is ready. */
enum probe_talk {
	PROBE_TALK_NONE,
	PROBE_TALK_STREAM, /* an XMPP stream header, until the features have come */
	PROBE_TALK_HTTP1,  /* GET, until the header of the answer has come */
	PROBE_TALK_HTTP2,  /* the preface, until the first frame has come */
};

/* How the ClientHello travels. */
enum probe_shape {
	PROBE_SHAPE_PLAIN,
	PROBE_SHAPE_BIG,      /* more than 2 KiB */
	PROBE_SHAPE_SEGMENTS, /* in TCP segments with a pause after each, the first one inside the record's header */
	PROBE_SHAPE_RECORDS,  /* in TLS records of 100 bytes */
};

enum probe_tls {
	PROBE_TLS_NO,
	PROBE_TLS_AT_ONCE,
	PROBE_TLS_STARTTLS, /* RFC 6120 section 5 */
};

enum probe_end {
	PROBE_WAITING,
	PROBE_OK,               /* all that was to be done is done */
	PROBE_CONNECT_FAILED,   /* err says why */
	PROBE_CONNECT_TIMEOUT,
	PROBE_NO_STARTTLS,      /* the server does not offer it */
	PROBE_TLS_FAILED,       /* alert or error says why */
	PROBE_TLS_CLOSED,       /* the server ended the connection during the handshake */
	PROBE_TLS_TIMEOUT,
	PROBE_ANSWER_CLOSED,    /* ... before it had said enough */
	PROBE_ANSWER_TIMEOUT,
};

struct probe {
	/* What to do; strings live as long as the probe. */
	const uint8_t *prefix;     /* sent first: a PROXY header */
	size_t prefix_len;
	const char *sni;
	const char *alpn;          /* NULL: none */
	const char *domain;        /* whom the stream is for, and the certificate */
	const char *xmlns;         /* "jabber:client" */
	const char *service;       /* "_xmpp-client", see cert_look() */
	const char *path;          /* for GET */
	struct addr_endpoint to;
	struct addr_endpoint from; /* len 0: whatever the kernel chooses */
	enum probe_tls tls;
	enum probe_shape shape;
	enum probe_talk talk;
	bool keep;                 /* leave the connection open when all is done, until probe_close() */

	/* What came of it. */
	bool no_way;               /* it failed on this machine, without asking anybody */
	enum probe_end end;
	int err;                   /* positive errno */
	int alert;                 /* -1: none */
	enum answer answer;
	int connect_ms, tls_ms, answer_ms; /* each step's own time; -1: it did not get there */
	struct addr_endpoint local; /* our side of the connection */
	char error[128];
	char version[16];          /* "TLSv1.3"; "" without TLS */
	char chosen[32];           /* ALPN */
	struct cert cert;
	struct stream_said stream; /* the last stream's: after STARTTLS, the one within TLS */
	struct http_said http;     /* status 0: not HTTP/1 */

	struct probe_work *work;   /* only probe.c and probe_step.c look inside */
};

/*
 * Runs all of them; each takes timeout_ms at most from its own start, and at
 * most PROBE_PARALLEL run at a time. tick() is called ten times a second.
 */
void probe_run(struct probe **probes, size_t n, int timeout_ms, void (*tick)(void *arg), void *arg);

#define PROBE_PARALLEL 16

/* How many of them have ended. */
size_t probe_count_ended(struct probe **probes, size_t n);

/* Ends the connection and frees what the probe holds, not the probe. May be called again. */
void probe_close(struct probe *p);

#endif
