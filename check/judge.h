#ifndef XMPP443_CHECK_JUDGE_H
#define XMPP443_CHECK_JUDGE_H

/*
 * judge: from what was seen to what it means, and what to change. Pure: no
 * file here does any I/O, so that each rule can be tested by itself.
 */

#include "plan.h"
#include "report.h"

#include <stdbool.h>
#include <time.h>

#define JUDGE_EXPIRES_SOON 14 /* days: a renewal that works would have happened long before */
#define JUDGE_CLOCK_MAX 120   /* seconds that two clocks may differ */

/* The records. False: there was no answer at all, so nothing else can be checked. */
bool judge_dns(struct report *r, const struct plan *p);

/* All that was seen at one address. now is the time at which it was seen. */
void judge_place(struct report *r, const struct plan *p, const struct place *place, time_t now);

/*
 * A certificate that should be for name. id and label are those of the check;
 * what names the service for people, such as "XMPP".
 */
void judge_cert(struct report *r, const struct cert *c, const char *id, const char *label, const char *name, time_t now);

/* TLS and the stream's beginning of one probe, for the service. */
void judge_stream(struct report *r, const struct place *place, enum place_probe k, enum service s, const char *domain);

/* The stream's login features. */
void judge_login(struct report *r, const struct stream_said *said, const char *version);

/* The web side: HTTP, no ALPN, plain HTTP. */
void judge_web(struct report *r, const struct plan *p, const struct place *place, time_t now);

/* Did this probe end in a stream with features? */
bool judge_is_xmpp(const struct probe *p);

/* What became of a TLS connection, as the end of a sentence: "was closed during the TLS handshake". Into out; returns it. */
const char *judge_outcome(const struct probe *p, char *out, size_t size);

#endif
