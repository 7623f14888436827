#ifndef XMPP443_CHECK_CERT_H
#define XMPP443_CHECK_CERT_H

/*
 * cert: what a server's certificate says, and what is wrong with it.
 */

#include "rdata.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <time.h>

enum cert_fault {
	CERT_EXPIRED = 1,
	CERT_NOT_YET_VALID = 2,
	CERT_SELF_SIGNED = 4,
	CERT_INCOMPLETE = 8,   /* an issuer is missing between it and a root */
	CERT_UNKNOWN_ROOT = 16, /* the chain is complete, and ends at a root that is not trusted here */
	CERT_OTHER = 32,
	CERT_WRONG_NAME = 64,
};

struct cert {
	bool present;
	unsigned faults;     /* CERT_... */
	char other[128];     /* OpenSSL's words for CERT_OTHER */
	char names[512];     /* DNS names in it, blanks between; cleaned, as all texts here */
	char subject[256];
	char issuer[256];
	time_t from, until;  /* of the first in the chain that is not valid, else of the leaf */
	bool leaf;           /* from and until are the leaf's */
	int sent;            /* how many certificates the server sent */
	STACK_OF(X509) *chain; /* these; owned */
};

/*
 * Looks at a connection after the handshake, whose faults up to then cert_on_verify()
 * has noted. The certificate has to be for the name: as a DNS name or, in an
 * XMPP server's, as one of RFC 6120 section 13.7.1.2 for the service
 * ("_xmpp-client"); service may be NULL.
 */
void cert_look(struct cert *c, SSL *ssl, const char *name, const char *service);

/* For SSL_set_verify(): notes what is wrong and lets the handshake go on. The SSL's app data is a struct cert. */
int cert_on_verify(int ok, X509_STORE_CTX *store);

/* Days until the end, rounded down; negative after it. */
int cert_days_left(const struct cert *c, time_t now);

/* Does the record stand for one of these certificates? RFC 6698 section 2.1, RFC 7672 section 3.1. */
bool cert_matches_tlsa(const struct cert *c, const struct rdata_tlsa *t);

/* Are the servers' own certificates the same, with the same faults? */
bool cert_same(const struct cert *a, const struct cert *b);

/* Frees what c holds, not c. */
void cert_free(struct cert *c);

#endif
