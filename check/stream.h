#ifndef XMPP443_CHECK_STREAM_H
#define XMPP443_CHECK_STREAM_H

/*
 * stream: what an XMPP server says at the beginning of a stream (RFC 6120
 * section 4). Read by expat, with bounds on everything.
 */

#include <stdbool.h>
#include <stddef.h>

#define STREAM_LIST_MAX 24
#define STREAM_WORD_MAX 48

struct stream_list {
	char v[STREAM_LIST_MAX][STREAM_WORD_MAX]; /* cleaned */
	size_t n;
};

struct stream_said {
	bool header;                 /* it is an XMPP stream */
	bool features;               /* the list of features is complete */
	bool proceed;                /* the answer to <starttls/> */
	bool error;
	char condition[STREAM_WORD_MAX]; /* of the stream error: "host-unknown" */
	char text[96];               /* the server's own words about it; cleaned */
	bool starttls, starttls_required;
	bool sasl2;                  /* XEP-0388 */
	bool dialback;               /* XEP-0220 */
	struct stream_list mechanisms;
	struct stream_list bindings; /* channel binding types, XEP-0440 */
};

struct stream;

struct stream *stream_new(void);

/*
 * Takes the next bytes. False: they are no XMPP; further bytes change nothing.
 * said grows with what comes.
 */
bool stream_feed(struct stream *s, const char *bytes, size_t len);

const struct stream_said *stream_said(const struct stream *s);

/* Takes NULL. */
void stream_free(struct stream *s);

#endif
