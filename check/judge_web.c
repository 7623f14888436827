#include "judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool tls_done(const struct probe *p)
{
	return p->tls_ms >= 0 && p->version[0] != '\0';
}

/* What a web client got instead of TLS tells what the shim and the web server do not agree on. */
static void advise_web_failure(struct check *c, const struct place *place, const struct probe *p)
{
	const struct probe *plain = &place->probes[PLACE_PLAIN];
	bool xmpp = judge_is_xmpp(&place->probes[PLACE_CLIENT]) || judge_is_xmpp(&place->probes[PLACE_SERVER]);

	if (p->end == PROBE_TLS_FAILED && p->answer == ANSWER_HTTP && plain->http.status != 0 && plain->http.status != 400)
		check_advise(c, "The web server speaks plain HTTP here: let it speak TLS (nginx: listen ... ssl).");
	else if (p->end == PROBE_TLS_FAILED && p->answer == ANSWER_HTTP)
		check_advise(c, "The web server takes xmpp443-shim's PROXY header for a request: let it expect one (nginx: listen ... ssl "
				"proxy_protocol), or set proxy-protocol = none.");
	else if (xmpp && (p->end == PROBE_TLS_CLOSED || p->end == PROBE_TLS_TIMEOUT))
		check_advise(c, "Look whether the web server runs at the address in [web] proxy, and whether it and proxy-protocol agree on the "
				"PROXY header; the logs of xmpp443-shim (backend-refused) and of the web server tell.");
	else if (p->alert >= 0)
		check_advise(c, "Give the web server a certificate and a server_name for this host.");
	else
		check_advise(c, "Look what listens on port %u (ss -tlnp), and into its log.", place->target->port);
}

static void judge_http(struct report *r, const struct place *place)
{
	const struct probe *p = &place->probes[PLACE_H1];
	struct check *c;
	char outcome[160];

	if (p->end == PROBE_OK && p->http.status >= 100) {
		c = report_add(r, p->http.status >= 500 ? VERDICT_WARNING : VERDICT_OK, "http1", "web", "%s, HTTP %d%s%s%s%s", p->version,
			       p->http.status, p->http.server[0] != '\0' ? ", " : "", p->http.server,
			       p->http.location[0] != '\0' ? ", to " : "", p->http.location);
		if (p->http.status >= 500)
			check_advise(c, "Look into the web server's error log.");
	} else if (p->answer == ANSWER_XMPP) {
		c = report_add(r, VERDICT_NOTE, "http1", "web", "a browser reaches the XMPP server: there is no web server on this port");
		check_advise(c, "If there should be one, put xmpp443-shim in front of both.");
	} else if (tls_done(p)) {
		c = report_add(r, VERDICT_WARNING, "http1", "web", "TLS works, but a browser %s", judge_outcome(p, outcome, sizeof(outcome)));
		check_advise(c, "Look into the web server's log.");
	} else {
		c = report_add(r, VERDICT_ERROR, "http1", "web", "a browser %s", judge_outcome(p, outcome, sizeof(outcome)));
		advise_web_failure(c, place, p);
	}
	if (p->answer_ms >= 0)
		snprintf(c->steps, sizeof(c->steps), "TLS %d ms, answer %d ms", p->tls_ms, p->answer_ms);
	c->ms = p->answer_ms >= 0 ? p->tls_ms + p->answer_ms : p->tls_ms;
	c->data = json_pack("{s:s, s:s, s:i, s:s, s:i, s:i}", "tls_version", p->version, "alpn", p->chosen, "status", p->http.status,
			    "server", p->http.server, "tls_ms", p->tls_ms, "answer_ms", p->answer_ms);
}

static void judge_http2(struct report *r, const struct place *place)
{
	const struct probe *p = &place->probes[PLACE_H2];
	char outcome[160];
	struct check *c;

	if (!tls_done(&place->probes[PLACE_H1]) || place->probes[PLACE_H1].answer == ANSWER_XMPP)
		return; /* it has been said */
	if (strcmp(p->chosen, "h2") == 0 && p->answer == ANSWER_HTTP2)
		c = report_add(r, VERDICT_OK, "h2", "web, HTTP/2", "%s, ALPN h2", p->version);
	else if (strcmp(p->chosen, "h2") == 0)
		c = report_add(r, VERDICT_WARNING, "h2", "web, HTTP/2", "ALPN h2, but then a browser %s", judge_outcome(p, outcome, sizeof(outcome)));
	else
		c = report_add(r, VERDICT_NOTE, "h2", "web, HTTP/2", "not offered");
	if (c->verdict == VERDICT_WARNING)
		check_advise(c, "Look into the web server's log.");
	c->ms = p->tls_ms;
}

static void judge_no_alpn(struct report *r, const struct plan *plan, const struct place *place)
{
	const struct probe *p = &place->probes[PLACE_NO_ALPN];
	const struct records *old = &plan->services[SERVICE_XMPP_CLIENT];
	char outcome[160];
	struct check *c;

	if (judge_is_xmpp(p)) {
		c = report_add(r, VERDICT_OK, "no-alpn", "no ALPN", "XMPP clients that send no ALPN reach the XMPP server too");
	} else if (p->answer == ANSWER_HTTP && tls_done(p)) {
		c = report_add(r, old->n > 0 && !old->refused ? VERDICT_OK : VERDICT_NOTE, "no-alpn", "no ALPN",
			       "XMPP clients that send no ALPN end up at the web server (HTTP %d)", p->http.status);
		if (c->verdict == VERDICT_NOTE)
			check_advise(c, "For such clients (Psi, Profanity, Movim) publish port 5222 as well, or add an alpn = none route for a host name "
					"that only serves XMPP.");
	} else {
		c = report_add(r, VERDICT_NOTE, "no-alpn", "no ALPN", "a client that sends no ALPN %s", judge_outcome(p, outcome, sizeof(outcome)));
	}
	c->ms = p->tls_ms;
	c->data = json_pack("{s:s}", "reaches", judge_is_xmpp(p) ? "xmpp" : p->answer == ANSWER_HTTP && tls_done(p) ? "web" : "nothing");
}

static void judge_plain(struct report *r, const struct place *place)
{
	const struct probe *p = &place->probes[PLACE_PLAIN];
	struct check *c;

	if (p->end == PROBE_OK && p->http.status >= 300)
		c = report_add(r, VERDICT_OK, "plain-http", "plain HTTP", "the web server answers HTTP %d", p->http.status);
	else if (p->end == PROBE_OK && p->http.status > 0) {
		c = report_add(r, VERDICT_WARNING, "plain-http", "plain HTTP", "the web server serves pages without TLS on port %u (HTTP %d)",
			       place->target->port, p->http.status);
		check_advise(c, "Let the web server speak only TLS on the address that xmpp443-shim relays to (nginx: listen ... ssl).");
	} else if (p->end == PROBE_ANSWER_TIMEOUT) {
		c = report_add(r, VERDICT_NOTE, "plain-http", "plain HTTP", "no answer, and the connection stays open");
	} else {
		c = report_add(r, VERDICT_OK, "plain-http", "plain HTTP", "is turned away");
	}
	c->ms = p->answer_ms;
}

static void judge_clock(struct report *r, const struct place *place, time_t now)
{
	time_t date = place->probes[PLACE_H1].http.date;
	long off = (long)(date - now);
	struct check *c;

	if (date == -1 || labs(off) <= JUDGE_CLOCK_MAX)
		return;
	c = report_add(r, VERDICT_WARNING, "clock", "clock", "the web server's clock is %ld seconds %s this machine's", labs(off),
		       off > 0 ? "ahead of" : "behind");
	check_advise(c, "Set the clock that is wrong (timedatectl set-ntp true): certificates, DNSSEC and tokens depend on it.");
	c->data = json_pack("{s:I}", "seconds_ahead", (json_int_t)off);
}

void judge_web(struct report *r, const struct plan *p, const struct place *place, time_t now)
{
	const struct target *t = place->target;
	const char *host = t->numeric ? p->options->domain.ascii : t->host;

	if (place->wanted[PLACE_H1]) {
		judge_http(r, place);
		/* Where XMPP answers on the web's behalf its certificate has been judged. */
		if (place->probes[PLACE_H1].cert.present && place->probes[PLACE_H1].answer != ANSWER_XMPP)
			judge_cert(r, &place->probes[PLACE_H1].cert, "web-certificate", "web certificate", host, now);
		judge_http2(r, place);
		judge_clock(r, place, now);
		judge_plain(r, place);
	}
	if (place->wanted[PLACE_NO_ALPN])
		judge_no_alpn(r, p, place);
}
