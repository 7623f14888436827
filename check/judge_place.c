#include "judge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* False: nothing else can be said about the place. */
static bool judge_tcp(struct report *r, const struct place *place)
{
	const struct probe *p = &place->probes[PLACE_TCP];
	enum verdict bad = place->target->guess ? VERDICT_NOTE : VERDICT_ERROR;
	struct check *c;

	if (p->end == PROBE_OK) {
		c = report_add(r, VERDICT_OK, "tcp", "TCP", "reachable");
		c->ms = p->connect_ms;
		c->data = json_pack("{s:b}", "reachable", 1);
		return true;
	}
	if (p->no_way) {
		c = report_add(r, VERDICT_NOTE, "tcp", "TCP", "not checked: this machine has no IPv%d connection", place->v6 ? 6 : 4);
		check_advise(c, "Run the check from a machine that has one.");
	} else if (p->end == PROBE_CONNECT_FAILED && p->err == ECONNREFUSED) {
		c = report_add(r, bad, "tcp", "TCP", "refused: nothing listens on port %u", place->target->port);
		if (place->target->port == 443)
			check_advise(c, "Start the shim (systemctl start xmpp443-shim.socket xmpp443-shim), and see that it listens on %s.",
				     place->v6 ? "[::]:443" : "0.0.0.0:443");
		else if (place->target->services & (1u << SERVICE_XMPPS_CLIENT | 1u << SERVICE_XMPPS_SERVER))
			check_advise(c, "Let the server listen on port %u, or correct the SRV record: the shim's port is 443.", place->target->port);
		else
			check_advise(c, "Let Prosody listen on port %u (%s), or remove the SRV record.", place->target->port,
				     place->target->services & 1u << SERVICE_XMPP_CLIENT ? "c2s_ports" : "s2s_ports");
	} else if (p->end == PROBE_CONNECT_FAILED) {
		c = report_add(r, bad, "tcp", "TCP", "not reachable: %s", strerror(p->err));
		check_advise(c, "Correct the %s record of %s, or the network of the server.", place->v6 ? "AAAA" : "A", place->target->host);
	} else {
		c = report_add(r, bad, "tcp", "TCP", "no answer: clients lose time with this address");
		check_advise(c, "Let port %u through the firewall, or remove the %s record of %s.", place->target->port, place->v6 ? "AAAA" : "A",
			     place->target->host);
	}
	c->data = json_pack("{s:b}", "reachable", 0);
	return false;
}

static void judge_shape(struct report *r, const struct place *place, enum place_probe k, const char *id, const char *label,
			const char *what)
{
	const struct probe *p = &place->probes[k];
	struct check *c;
	char outcome[160];

	if (!place->wanted[k])
		return;
	if (judge_is_xmpp(p)) {
		c = report_add(r, VERDICT_OK, id, label, "a hello %s arrives", what);
	} else {
		c = report_add(r, VERDICT_ERROR, id, label, "a client whose hello comes %s %s", what, judge_outcome(p, outcome, sizeof(outcome)));
		check_advise(c, "Look what stands in front of the XMPP server: something looks only at the beginning of the hello; xmpp443-shim reads "
				"all of it.");
	}
	c->ms = p->tls_ms;
}

static void judge_tlsa(struct report *r, const struct place *place)
{
	const struct dns_answer *a = place->target->tlsa;
	const struct cert *cert = &place->probes[PLACE_CLIENT].cert;
	size_t matching = 0, n = 0;
	struct rdata_tlsa tlsa;
	struct check *c;

	if (a == NULL || a->n == 0 || !cert->present)
		return;
	for (size_t i = 0; i < a->n; i++) {
		if (!rdata_tlsa(a->records[i].data, a->records[i].len, &tlsa))
			continue;
		n++;
		matching += cert_matches_tlsa(cert, &tlsa);
	}
	if (matching == 0) {
		c = report_add(r, a->secure ? VERDICT_ERROR : VERDICT_WARNING, "tlsa", "TLSA", "none of %zu records matches the certificate", n);
		check_advise(c, "Publish a record for the certificate in use at _%u._tcp.%s, and a new one before each change of the key.",
			     place->target->port, place->target->host);
	} else if (!a->secure) {
		c = report_add(r, VERDICT_NOTE, "tlsa", "TLSA", "matches, but counts for nothing without DNSSEC");
		check_advise(c, "Sign the zone, or remove the record.");
	} else {
		c = report_add(r, VERDICT_OK, "tlsa", "TLSA", "%zu of %zu records match the certificate", matching, n);
	}
	c->data = json_pack("{s:I, s:I}", "records", (json_int_t)n, "matching", (json_int_t)matching);
}

/* Nobody was told to come here, but it may be what is meant. One line is enough. */
static void judge_guess(struct report *r, const struct place *place)
{
	const struct probe *p = &place->probes[PLACE_CLIENT];
	char outcome[160];

	/* What to do about it is said with the records. */
	if (place->probes[PLACE_TCP].end != PROBE_OK)
		judge_tcp(r, place);
	else if (judge_is_xmpp(p))
		report_add(r, VERDICT_NOTE, "unpublished", "XMPP", "answers here, but no SRV record says so");
	else
		report_add(r, VERDICT_NOTE, "unpublished", "XMPP", "a client with ALPN xmpp-client %s", judge_outcome(p, outcome, sizeof(outcome)));
}

static void judge_one_service(struct report *r, const struct plan *plan, const struct place *place, enum place_probe k,
			      enum service s, const char *cert_id, const char *cert_label, time_t now)
{
	const struct probe *p = &place->probes[k];

	if (!place->wanted[k])
		return;
	judge_stream(r, place, k, s, plan->options->domain.ascii);
	if (p->cert.present && (k == PLACE_CLIENT || !cert_same(&p->cert, &place->probes[PLACE_CLIENT].cert)))
		judge_cert(r, &p->cert, cert_id, cert_label, plan->options->domain.ascii, now);
	if (service_is_for_clients(s) && judge_is_xmpp(p))
		judge_login(r, &p->stream, p->version);
}

void judge_place(struct report *r, const struct plan *plan, const struct place *place, time_t now)
{
	const struct target *t = place->target;

	report_group(r, place->v6 ? "%s [%s]:%u%s" : "%s %s:%u%s", t->numeric ? plan->options->domain.ascii : t->host, place->address, t->port,
		     t->guess ? " (not in DNS)" : "");
	if (t->guess) {
		judge_guess(r, place);
		return;
	}
	if (!judge_tcp(r, place))
		return;
	judge_one_service(r, plan, place, PLACE_CLIENT, SERVICE_XMPPS_CLIENT, "certificate", "certificate", now);
	judge_tlsa(r, place);
	judge_one_service(r, plan, place, PLACE_SERVER, SERVICE_XMPPS_SERVER, "server-certificate", "certificate", now);
	judge_one_service(r, plan, place, PLACE_CLIENT_STARTTLS, SERVICE_XMPP_CLIENT, "starttls-certificate", "certificate", now);
	judge_one_service(r, plan, place, PLACE_SERVER_STARTTLS, SERVICE_XMPP_SERVER, "server-starttls-certificate", "certificate", now);
	if (place->wanted[PLACE_CLIENT] && judge_is_xmpp(&place->probes[PLACE_CLIENT])) {
		judge_shape(r, place, PLACE_BIG, "big-hello", "hello of 2 KiB", "of more than 2 KiB");
		judge_shape(r, place, PLACE_SEGMENTS, "split-segments", "hello in segments", "in several TCP segments");
		judge_shape(r, place, PLACE_RECORDS, "split-records", "hello in records", "in several TLS records");
	}
	judge_web(r, plan, place, now);
}
