#ifndef XMPP443_CHECK_PROBE_WORK_H
#define XMPP443_CHECK_PROBE_WORK_H

/* probe_work: what a probe needs while it runs. For probe.c and probe_step.c. */

#include "probe.h"
#include "tls.h"

enum probe_state {
	STATE_CONNECTING,
	STATE_PLAIN_STREAM, /* the stream before STARTTLS */
	STATE_PROCEED,      /* <starttls/> is sent */
	STATE_HANDSHAKE,
	STATE_TALK,
};

struct probe_work {
	int fd;
	enum probe_state state;
	int64_t begun;    /* of the whole, and of this step; clock_ms() */
	int64_t step_begun;
	int64_t resume;   /* nothing is sent before */
	struct tls *tls;
	struct stream *stream;
	char *out;        /* not sent yet */
	size_t out_len, out_sent;
	size_t cuts;      /* how many pieces of a cut hello have left */
	bool hello_taken; /* the ClientHello is in out, or gone */
	char said[PROBE_SAID_MAX];
	size_t said_len;
};

/* Starts to connect. The probe may have ended then. */
void probe_begin(struct probe *p);

/* Does what the socket allows: sends, reads, goes on. */
void probe_step(struct probe *p, short revents);

/* What to wait for. */
short probe_events(const struct probe *p, int64_t now);

void probe_end(struct probe *p, enum probe_end end);

#endif
