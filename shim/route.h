#ifndef XMPP443_ROUTE_H
#define XMPP443_ROUTE_H

/*
 * route: which rule a ClientHello matches. Pure: no I/O, no log.
 */

#include "addr.h"
#include "hello.h"
#include "pp2.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUTE_NAME_MAX 32
#define ROUTE_SLOTS    128

enum {
	ROUTE_TLV_ALPN = 1,      /* the protocol that matched, else the client's first one */
	ROUTE_TLV_AUTHORITY = 2, /* the server name, if it is a plain host name */
	ROUTE_TLV_UNIQUE_ID = 4,
};

struct route_names {
	char **v; /* owned, each 0-terminated */
	size_t n;
};

struct route {
	char name[ROUTE_NAME_MAX + 1];
	uint8_t slot;                 /* below ROUTE_SLOTS: where it is counted, also when a reload has moved it; [web] has 0 */
	struct route_names alpn;      /* any one of these is offered ... */
	bool alpn_none;               /* ... or there is no ALPN extension; neither given: any hello */
	struct route_names sni;       /* lower case, no trailing dot, "*." in front allowed; none: any hello */
	struct addr_endpoint target;  /* len 0: not set yet */
	bool fdpass;                  /* target is a hand-off socket, not a backend */
	enum pp2_version pp;          /* for a backend */
	unsigned tlvs;                /* ROUTE_TLV_..., what its header also says */
	unsigned hold_ms;             /* for a hand-off socket */
};

/*
 * The first of n rules that matches, or NULL. *ret_alpn is the rule's protocol
 * that the client offers, in the rule's order of preference; NULL when the
 * rule matched for another reason.
 */
const struct route *route_find(const struct route *routes, size_t n, const struct hello_info *info,
			       const char **ret_alpn);

/* The two halves of it: does the rule allow this server name, and this list of protocols? *ret_alpn is set as above if it does. */
bool route_matches_sni(const struct route *r, const struct hello_info *info);
bool route_matches_alpn(const struct route *r, const struct hello_info *info, const char **ret_alpn);

/* Letters, digits and hyphens in labels of 1..63, RFC 1123 section 2.1; a trailing dot is allowed, and nothing else. */
bool route_is_hostname(const uint8_t *name, size_t len);

#endif
