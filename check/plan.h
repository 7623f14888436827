#ifndef XMPP443_CHECK_PLAN_H
#define XMPP443_CHECK_PLAN_H

/*
 * plan: where the domain's services are, by DNS, and which connections show
 * how they do.
 */

#include "dns.h"
#include "options.h"
#include "probe.h"
#include "rdata.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The four services with SRV records: RFC 6120 section 3.2, XEP-0368. */
enum service {
	SERVICE_XMPPS_CLIENT, /* TLS from the first byte */
	SERVICE_XMPP_CLIENT,  /* STARTTLS */
	SERVICE_XMPPS_SERVER,
	SERVICE_XMPP_SERVER,
};
#define SERVICES 4

/* "_xmpps-client" */
const char *service_name(enum service s);

/* "xmpp-client", what a client of the service says in ALPN; NULL for those that begin without TLS. */
const char *service_alpn(enum service s);

bool service_is_direct(enum service s);
bool service_is_for_clients(enum service s);

struct records {
	const struct dns_answer *answer; /* NULL: not asked */
	struct rdata_srv *v;             /* in the order in which clients try them */
	size_t n;
	size_t n_broken;                 /* records that cannot be read */
	bool refused;                    /* one record, ".": the service is not offered */
};

/* A host and port of one or more services. */
struct target {
	char host[RDATA_NAME_MAX];
	uint16_t port;
	unsigned services; /* bits: 1 << SERVICE_... */
	bool guess;        /* no record says so, but it is what is probably meant */
	bool numeric;      /* the host is an address */
	const struct dns_answer *a, *aaaa, *tlsa; /* NULL: not asked */
};

/* The connections to one address. */
enum place_probe {
	PLACE_TCP,
	PLACE_CLIENT,          /* TLS with ALPN xmpp-client, stream */
	PLACE_SERVER,          /* the same with xmpp-server */
	PLACE_CLIENT_STARTTLS,
	PLACE_SERVER_STARTTLS,
	PLACE_H2,
	PLACE_H1,
	PLACE_NO_ALPN,
	PLACE_BIG,
	PLACE_SEGMENTS,
	PLACE_RECORDS,
	PLACE_PLAIN,
};
#define PLACE_PROBES 12

struct place {
	const struct target *target;
	char address[64]; /* "192.0.2.1" */
	bool v6;
	struct probe probes[PLACE_PROBES];
	bool wanted[PLACE_PROBES];
};

struct plan {
	const struct options *options;
	struct dns *dns;
	struct records services[SERVICES];
	const struct dns_answer *root; /* does the resolver pass DNSSEC on? */
	const struct dns_answer *a, *aaaa, *caa; /* of the domain */
	struct target *targets;
	size_t n_targets;
	struct place *places;
	size_t n_places;
};

/* Asks DNS, until all is known or the time is over. tick: as for dns_wait(). */
void plan_ask(struct plan *p, const struct options *o, struct dns *dns, void (*tick)(void *arg), void *arg);

/* From the answers: the places, and what has to be tried there. */
void plan_places(struct plan *p);

/* Nobody is to be visited. */
void plan_drop_places(struct plan *p);

/* Finds out who can be reached, then tries everything else there. */
void plan_run(struct plan *p, void (*tick)(void *arg), void *arg);

/* How many connections have been planned so far, and made. */
void plan_progress(const struct plan *p, size_t *ret_planned, size_t *ret_made);

/* Frees what p holds, not p, nor the dns. */
void plan_free(struct plan *p);

#endif
