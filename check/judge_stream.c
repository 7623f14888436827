#include "judge.h"

#include "mem.h"
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ALERT_INTERNAL_ERROR 80
#define ALERT_UNRECOGNIZED_NAME 112
#define ALERT_NO_APPLICATION_PROTOCOL 120

bool judge_is_xmpp(const struct probe *p)
{
	return p->end == PROBE_OK && p->answer == ANSWER_XMPP && p->stream.features;
}

const char *judge_outcome(const struct probe *p, char *out, size_t size)
{
	switch (p->end) {
	case PROBE_WAITING:
		snprintf(out, size, "was not tried");
		break;
	case PROBE_OK:
		if (p->answer == ANSWER_XMPP && p->stream.error)
			snprintf(out, size, "got the stream error %s", p->stream.condition);
		else if (p->answer == ANSWER_XMPP)
			snprintf(out, size, "reached an XMPP server");
		else if (p->answer == ANSWER_HTTP)
			snprintf(out, size, "reached a web server (HTTP %d%s%s)", p->http.status, p->http.server[0] != '\0' ? ", " : "",
				 p->http.server);
		else
			snprintf(out, size, "got an answer that is neither XMPP nor HTTP");
		break;
	case PROBE_CONNECT_FAILED:
		snprintf(out, size, "got no connection: %s", strerror(p->err));
		break;
	case PROBE_CONNECT_TIMEOUT:
		snprintf(out, size, "got no connection in time");
		break;
	case PROBE_NO_STARTTLS:
		snprintf(out, size, "was not offered STARTTLS");
		break;
	case PROBE_TLS_FAILED:
		if (p->answer == ANSWER_HTTP)
			snprintf(out, size, "got plain HTTP instead of TLS (HTTP %d)", p->http.status);
		else if (p->alert >= 0)
			snprintf(out, size, "got the TLS alert %s", tls_alert_name(p->alert));
		else
			snprintf(out, size, "failed in the TLS handshake: %s", p->error);
		break;
	case PROBE_TLS_CLOSED:
		snprintf(out, size, "was closed during the TLS handshake");
		break;
	case PROBE_TLS_TIMEOUT:
		snprintf(out, size, "got no answer to its TLS hello");
		break;
	case PROBE_ANSWER_CLOSED:
		snprintf(out, size, "was closed before the server had said enough");
		break;
	case PROBE_ANSWER_TIMEOUT:
		snprintf(out, size, "got no answer within TLS");
		break;
	}
	return out;
}

/* Does the web side answer here, so that the port and the shim are up? */
static bool web_answers(const struct place *place)
{
	const struct probe *p = &place->probes[PLACE_H1];

	return place->wanted[PLACE_H1] && (p->end == PROBE_OK || p->tls_ms >= 0);
}

static const char *said_text(const struct probe *p)
{
	return p->stream.text[0] != '\0' ? p->stream.text : "it does not say why";
}

/* To servers that show no certificate many have nothing to say. That is no fault. */
static bool is_shy(const struct probe *p, enum service s)
{
	return !service_is_for_clients(s) && (strcmp(p->stream.condition, "undefined-condition") == 0 ||
					      strcmp(p->stream.condition, "not-authorized") == 0);
}

static void advise_stream_error(struct check *c, const struct probe *p, const char *domain)
{
	if (strstr(p->stream.text, "stream features") != NULL)
		check_advise(c, "Let clients log in: load \"saslauth\" in Prosody's modules_enabled, and look at authentication.");
	else if (strcasecmp(p->stream.condition, "host-unknown") == 0)
		check_advise(c, "Add VirtualHost \"%s\" to Prosody's configuration, or correct the SRV record.", domain);
	else
		check_advise(c, "Look into Prosody's log: it says why it ends the stream.");
}

static void advise_failure(struct check *c, const struct place *place, const struct probe *p, enum service s, const char *domain)
{
	const char *alpn = service_alpn(s);

	if (p->answer == ANSWER_HTTP && p->end == PROBE_TLS_FAILED)
		check_advise(c, "Let xmpp443-shim listen on port %u, and the web server behind it speak TLS.", place->target->port);
	else if (p->answer == ANSWER_HTTP || p->alert == ALERT_NO_APPLICATION_PROTOCOL)
		check_advise(c, "Let xmpp443-shim have port %u with a route for alpn = %s; nothing in front of it (proxy, load balancer, CDN) "
				"may end TLS.", place->target->port, alpn);
	else if (p->alert == ALERT_INTERNAL_ERROR || (p->end == PROBE_TLS_TIMEOUT && web_answers(place)))
		check_advise(c, "Start Prosody with \"net_fdpass\" in its modules_enabled: xmpp443-shim waits for it, as its log says "
				"(receiver-away).");
	else if (p->end == PROBE_TLS_CLOSED && web_answers(place))
		check_advise(c, "Look into the logs of xmpp443-shim and Prosody: the connection was refused, or its way to Prosody is "
				"broken (fdpass_services, c2s module).");
	else if (p->end == PROBE_TLS_TIMEOUT || p->end == PROBE_TLS_CLOSED)
		check_advise(c, "Look what listens on port %u (ss -tlnp): it has to be xmpp443-shim, or a server that does direct TLS.",
			     place->target->port);
	else if (p->alert == ALERT_UNRECOGNIZED_NAME)
		check_advise(c, "Add VirtualHost \"%s\" to Prosody's configuration, and a certificate for it (prosodyctl check certs), or correct "
				"the SRV record.", domain);
	else
		check_advise(c, "Look into Prosody's log, and at its certificate for this name (prosodyctl check certs).");
}

static void add_data(struct check *c, const struct probe *p)
{
	if (p->answer_ms >= 0) {
		snprintf(c->steps, sizeof(c->steps), "TLS %d ms, answer %d ms", p->tls_ms, p->answer_ms);
		c->ms = p->tls_ms + p->answer_ms;
	} else {
		c->ms = p->tls_ms;
	}
	c->data = json_pack("{s:s, s:s, s:i, s:i, s:i}", "tls_version", p->version, "alpn", p->chosen, "connect_ms", p->connect_ms,
			    "tls_ms", p->tls_ms, "answer_ms", p->answer_ms);
}

void judge_stream(struct report *r, const struct place *place, enum place_probe k, enum service s, const char *domain)
{
	static const char *const ids[SERVICES] = {"xmpps-client", "xmpp-client", "xmpps-server", "xmpp-server"};
	static const char *const labels[SERVICES] = {"XMPP", "XMPP STARTTLS", "XMPP servers", "servers STARTTLS"};
	const struct probe *p = &place->probes[k];
	const char *alpn = service_alpn(s);
	struct check *c;
	char outcome[160];

	if (p->end == PROBE_OK && p->answer == ANSWER_XMPP && p->stream.error && is_shy(p, s)) {
		c = report_add(r, VERDICT_OK, ids[s], labels[s], "%s%s%s, answers a server without certificate: %s", p->version,
			       alpn != NULL ? ", ALPN " : "", alpn != NULL ? p->chosen : "", said_text(p));
	} else if (p->end == PROBE_OK && p->answer == ANSWER_XMPP && p->stream.error) {
		c = report_add(r, VERDICT_ERROR, ids[s], labels[s], "the XMPP server ends the stream: %s (%s)", p->stream.condition,
			       said_text(p));
		advise_stream_error(c, p, domain);
	} else if (!judge_is_xmpp(p)) {
		c = report_add(r, VERDICT_ERROR, ids[s], labels[s], "%s%s%s %s", alpn != NULL ? "a client with ALPN " : "a client",
			       alpn != NULL ? alpn : "", "", judge_outcome(p, outcome, sizeof(outcome)));
		if (p->end == PROBE_NO_STARTTLS)
			check_advise(c, "Give Prosody a certificate for %s (prosodyctl check certs).", domain);
		else if (alpn != NULL)
			advise_failure(c, place, p, s, domain);
		else
			check_advise(c, "Look whether Prosody listens on port %u and what its log says.", place->target->port);
	} else if (alpn != NULL && strcmp(p->chosen, alpn) != 0 && place->target->port == 443) {
		c = report_add(r, VERDICT_NOTE, ids[s], labels[s], "%s, stream features, but the server chose %s%s from ALPN %s", p->version,
			       p->chosen[0] != '\0' ? "" : "nothing", p->chosen, alpn);
		check_advise(c, "If xmpp443-shim should have port 443, look what else ends TLS there: Prosody behind the shim chooses %s.",
			     alpn);
	} else {
		c = report_add(r, VERDICT_OK, ids[s], labels[s], "%s%s%s, stream features", p->version,
			       p->chosen[0] != '\0' ? ", ALPN " : "", p->chosen);
	}
	add_data(c, p);
}

static char *list_text(const struct stream_list *l)
{
	char *text = NULL;

	for (size_t i = 0; i < l->n; i++)
		mem_append(&text, "%s%s", i > 0 ? " " : "", l->v[i]);
	return text;
}

static json_t *list_json(const struct stream_list *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(list, json_string(l->v[i]));
	return list;
}

static bool has_plus(const struct stream_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		size_t len = strlen(l->v[i]);

		if (len > 5 && strcmp(l->v[i] + len - 5, "-PLUS") == 0)
			return true;
	}
	return false;
}

void judge_login(struct report *r, const struct stream_said *said, const char *version)
{
	char *mechanisms = list_text(&said->mechanisms), *bindings = list_text(&said->bindings);
	struct check *c;

	if (said->mechanisms.n == 0 && !said->sasl2) {
		c = report_add(r, VERDICT_ERROR, "sasl", "login", "the server offers no SASL mechanism, so nobody can log in");
		check_advise(c, "Load \"saslauth\" in Prosody's modules_enabled, and look at authentication and disable_sasl_mechanisms.");
	} else if (said->mechanisms.n == 1 && strcmp(said->mechanisms.v[0], "PLAIN") == 0) {
		c = report_add(r, VERDICT_NOTE, "sasl", "login", "only PLAIN: clients send the password itself, inside TLS");
		check_advise(c, "If the passwords are stored by Prosody, use authentication = \"internal_hashed\", which offers SCRAM.");
	} else {
		c = report_add(r, VERDICT_OK, "sasl", "login", "%s%s%s", mechanisms != NULL ? mechanisms : "", said->sasl2 ? ", SASL2" : "",
			       said->mechanisms.n == STREAM_LIST_MAX ? " ..." : "");
	}
	c->data = json_pack("{s:o, s:b}", "mechanisms", list_json(&said->mechanisms), "sasl2", said->sasl2);

	if (has_plus(&said->mechanisms))
		c = report_add(r, VERDICT_OK, "channel-binding", "channel binding", "%s",
			       bindings != NULL ? bindings : "offered; the server does not tell its types");
	else
		c = report_add(r, VERDICT_NOTE, "channel-binding", "channel binding", "not offered with %s", version);
	c->data = json_pack("{s:o, s:b}", "types", list_json(&said->bindings), "offered", has_plus(&said->mechanisms));
	free(mechanisms);
	free(bindings);
}
