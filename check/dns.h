#ifndef XMPP443_CHECK_DNS_H
#define XMPP443_CHECK_DNS_H

/*
 * dns: questions to the resolver, all at the same time, each once. The
 * answers are validated here (DNSSEC), not only believed from the resolver.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_TLSA = 52,
	DNS_CAA = 257,
};

enum dns_state {
	DNS_WAITING,
	DNS_DATA,
	DNS_NO_DATA,   /* the name exists, without records of this type */
	DNS_NO_NAME,   /* NXDOMAIN */
	DNS_FAILED,    /* rcode says how the resolver refused */
	DNS_TIMED_OUT, /* no answer until the deadline */
};

struct dns_record {
	const uint8_t *data;
	size_t len;
};

struct dns_answer {
	char *name;
	int type;
	enum dns_state state;
	int rcode;
	bool secure;     /* signed, and the signatures are right; also that there is none */
	bool bogus;      /* should be signed, and is not, or wrongly */
	char why[256];   /* cleaned; if bogus */
	char alias[256]; /* cleaned; the name that a CNAME led to, or "" */
	int ms;
	struct dns_record *records;
	size_t n;
	void *result;    /* what the records are views of */
};

struct dns;

/*
 * resolver: "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353",
 * or NULL for those of /etc/resolv.conf. trust_anchor: a file with DS or DNSKEY
 * records, or NULL for the root's. False: *ret_why says what is wrong, a constant.
 */
bool dns_new(const char *resolver, const char *trust_anchor, struct dns **ret, const char **ret_why);

/*
 * The answer to a question, perhaps still DNS_WAITING; asks it if nobody has.
 * The answer belongs to d.
 */
const struct dns_answer *dns_ask(struct dns *d, const char *name, int type);

/* Waits for all answers, timeout_ms at most; then none is DNS_WAITING. tick() is called ten times a second. */
void dns_wait(struct dns *d, int timeout_ms, void (*tick)(void *arg), void *arg);

/* How many questions have been asked, and answered. */
void dns_progress(const struct dns *d, size_t *ret_asked, size_t *ret_answered);

/* "NOERROR", "SERVFAIL", ... */
const char *dns_rcode_name(int rcode);

/* Takes NULL. */
void dns_free(struct dns *d);

#endif
