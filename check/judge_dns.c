#include "judge.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool answered(const struct dns_answer *a)
{
	return a->state != DNS_TIMED_OUT && a->state != DNS_FAILED;
}

static const char *signed_word(const struct dns_answer *a)
{
	return a->bogus ? "bogus" : a->secure ? "secure" : "insecure";
}

static bool judge_resolver(struct report *r, const struct plan *p)
{
	const char *resolver = p->options->resolver != NULL ? p->options->resolver : "of /etc/resolv.conf";
	const struct dns_answer *all[] = {p->a, p->aaaa, p->services[0].answer, p->services[1].answer};
	const struct dns_answer *failed = NULL;
	struct check *c;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (answered(all[i]))
			return true;
		if (all[i]->state == DNS_FAILED)
			failed = all[i];
	}
	if (failed == NULL) {
		c = report_add(r, VERDICT_ERROR, "resolver", "resolver", "no answer from the resolver %s within %g s", resolver,
			       p->options->timeout_ms / 1000.0);
		check_advise(c, "Name a resolver that works with --resolver, or correct /etc/resolv.conf.");
		return false;
	}
	c = report_add(r, VERDICT_ERROR, "resolver", "resolver", "the resolver %s answers %s for %s", resolver,
		       dns_rcode_name(failed->rcode), p->options->domain.ascii);
	check_advise(c, "Make sure that the domain's name servers answer and that its DNSSEC signatures are valid, or try another "
			"resolver with --resolver.");
	return false;
}

static void judge_dnssec(struct report *r, const struct plan *p)
{
	const struct dns_answer *bogus = NULL;
	struct check *c;

	if (p->options->trust_anchor == NULL && !p->root->secure) { /* the root is signed */
		c = report_add(r, VERDICT_NOTE, "dnssec", "DNSSEC", "not checked: the resolver does not pass signatures on");
		check_advise(c, "Name a resolver that does with --resolver.");
		return;
	}
	for (int s = 0; s < SERVICES && bogus == NULL; s++)
		if (p->services[s].answer->bogus)
			bogus = p->services[s].answer;
	if (bogus == NULL && (p->a->bogus || p->aaaa->bogus))
		bogus = p->a->bogus ? p->a : p->aaaa;
	if (bogus != NULL) {
		c = report_add(r, VERDICT_ERROR, "dnssec", "DNSSEC", "the signatures are wrong: %s", bogus->why);
		check_advise(c, "Sign the zone anew, or remove its DS record at the registrar; resolvers that validate give no address "
				"to clients now.");
	} else if (p->services[0].answer->secure) {
		report_add(r, VERDICT_OK, "dnssec", "DNSSEC", "signed, and the signatures are valid");
	} else {
		report_add(r, VERDICT_NOTE, "dnssec", "DNSSEC", "%s is not signed", p->options->domain.ascii);
	}
}

static json_t *records_json(const struct records *s)
{
	json_t *all = json_array();

	for (size_t i = 0; i < s->n; i++)
		json_array_append_new(all, json_pack("{s:i, s:i, s:i, s:s}", "priority", s->v[i].priority, "weight", s->v[i].weight,
						     "port", s->v[i].port, "target", s->v[i].target));
	return json_pack("{s:o, s:s}", "records", all, "dnssec", signed_word(s->answer));
}

static char *records_text(const struct records *s)
{
	char *text = NULL;

	for (size_t i = 0; i < s->n; i++)
		mem_append(&text, "%s%u %u %u %s.", i > 0 ? ", " : "", s->v[i].priority, s->v[i].weight, s->v[i].port, s->v[i].target);
	return text;
}

static void judge_no_records(struct report *r, const struct plan *p, enum service s, const char *id)
{
	const char *domain = p->options->domain.ascii;
	bool partner = p->services[SERVICE_XMPP_CLIENT].n > 0 && !p->services[SERVICE_XMPP_CLIENT].refused;
	struct check *c;

	switch (s) {
	case SERVICE_XMPPS_CLIENT:
		c = report_add(r, partner ? VERDICT_WARNING : VERDICT_ERROR, id, service_name(s), "no record: clients do not find port 443");
		check_advise(c, "Add to DNS: _xmpps-client._tcp.%s. SRV 5 1 443 %s.", domain, domain);
		return;
	case SERVICE_XMPP_CLIENT:
		c = report_add(r, VERDICT_NOTE, id, service_name(s), "no record: clients without direct TLS try port 5222 of %s", domain);
		check_advise(c, "If Prosody listens on port 5222, add to DNS: _xmpp-client._tcp.%s. SRV 10 1 5222 %s.", domain, domain);
		return;
	case SERVICE_XMPPS_SERVER:
		c = report_add(r, VERDICT_NOTE, id, service_name(s), "no record: other servers do not use port 443");
		check_advise(c, "If they shall, add to DNS: _xmpps-server._tcp.%s. SRV 5 1 443 %s.", domain, domain);
		return;
	case SERVICE_XMPP_SERVER:
		report_add(r, VERDICT_NOTE, id, service_name(s), "no record: other servers try port 5269 of %s", domain);
		return;
	}
}

static void judge_refused(struct report *r, const struct plan *p, enum service s, const char *id)
{
	struct check *c = report_add(r, s == SERVICE_XMPPS_CLIENT ? VERDICT_WARNING : VERDICT_NOTE, id, service_name(s),
				     "the record \".\" says that the service is not offered");

	if (s == SERVICE_XMPPS_CLIENT)
		check_advise(c, "Replace it, so that clients find port 443: _xmpps-client._tcp.%s. SRV 5 1 443 %s.",
			     p->options->domain.ascii, p->options->domain.ascii);
}

static bool has_port_443(const struct records *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].port == 443)
			return true;
	return false;
}

static void judge_service(struct report *r, const struct plan *p, enum service s)
{
	static const char *const ids[SERVICES] = {"srv-xmpps-client", "srv-xmpp-client", "srv-xmpps-server", "srv-xmpp-server"};
	const struct records *records = &p->services[s];
	struct check *c;
	char *text;

	if (!answered(records->answer)) {
		c = report_add(r, VERDICT_ERROR, ids[s], service_name(s), "the resolver gives no answer: %s",
			       records->answer->state == DNS_FAILED ? dns_rcode_name(records->answer->rcode) : "time-out");
		check_advise(c, "Make sure that all name servers of %s answer questions about SRV records.", p->options->domain.ascii);
	} else if (records->refused) {
		judge_refused(r, p, s, ids[s]);
	} else if (records->n == 0) {
		judge_no_records(r, p, s, ids[s]);
	} else {
		text = records_text(records);
		if (s == SERVICE_XMPPS_CLIENT && !has_port_443(records)) {
			c = report_add(r, VERDICT_WARNING, ids[s], service_name(s), "%s: none of them leads to port 443", text);
			check_advise(c, "If the shim is on port 443, put that port into the record: _xmpps-client._tcp.%s. SRV %u %u 443 %s.",
				     p->options->domain.ascii, records->v[0].priority, records->v[0].weight, records->v[0].target);
		} else {
			report_add(r, VERDICT_OK, ids[s], service_name(s), "%s", text);
		}
		free(text);
	}
	c = &r->checks[r->n - 1];
	c->ms = records->answer->ms;
	c->data = records_json(records);
	if (records->n_broken > 0) {
		c = report_add(r, VERDICT_WARNING, ids[s], service_name(s), "%zu records cannot be read", records->n_broken);
		check_advise(c, "Correct the records in DNS.");
	}
}

static char *addresses_text(const struct plan *p, const struct target *t, json_t *list)
{
	char *text = NULL;

	for (size_t i = 0; i < p->n_places; i++) {
		if (p->places[i].target != t)
			continue;
		mem_append(&text, "%s%s", text != NULL ? ", " : "", p->places[i].address);
		json_array_append_new(list, json_string(p->places[i].address));
	}
	return text;
}

static void judge_target(struct report *r, const struct plan *p, const struct target *t)
{
	const struct options *o = p->options;
	json_t *list = json_array();
	char *text = addresses_text(p, t, list);
	struct check *c = NULL;

	if (!answered(t->a) && !answered(t->aaaa)) {
		c = report_add(r, VERDICT_ERROR, "target", "host", "%s: the resolver gives no answer", t->host);
		check_advise(c, "Make sure that the name servers for %s answer.", t->host);
	} else if (t->a->state == DNS_NO_NAME) {
		c = report_add(r, VERDICT_ERROR, "target", "host", "%s: there is no such name", t->host);
		check_advise(c, "Correct the SRV record's target, or add A and AAAA records for %s.", t->host);
	} else if (t->a->n == 0 && t->aaaa->n == 0) {
		c = report_add(r, VERDICT_ERROR, "target", "host", "%s has no address", t->host);
		check_advise(c, "Add A and AAAA records for %s, or correct the SRV record's target.", t->host);
	} else if (text == NULL) {
		c = report_add(r, VERDICT_ERROR, "target", "host", "%s has no IPv%d address", t->host, o->v4 ? 4 : 6);
		check_advise(c, "Add an %s record for %s.", o->v4 ? "A" : "AAAA", t->host);
	} else if (t->a->alias[0] != '\0' && !t->guess) {
		c = report_add(r, VERDICT_WARNING, "target", "host", "%s is an alias (CNAME) of %s, which SRV records must not lead to",
			       t->host, t->a->alias);
		check_advise(c, "Put %s into the SRV record, or give %s addresses of its own; some clients do not follow the alias.",
			     t->a->alias, t->host);
	} else if (o->v4 && o->v6 && t->aaaa->n == 0) {
		c = report_add(r, VERDICT_NOTE, "target", "host", "%s: %s, no IPv6", t->host, text);
		check_advise(c, "If the server has an IPv6 address, add an AAAA record for %s.", t->host);
	} else if (o->v4 && o->v6 && t->a->n == 0) {
		c = report_add(r, VERDICT_WARNING, "target", "host", "%s: %s, no IPv4", t->host, text);
		check_advise(c, "Add an A record for %s: many networks have no IPv6.", t->host);
	} else {
		c = report_add(r, VERDICT_OK, "target", "host", "%s: %s", t->host, text);
	}
	c->ms = t->a->ms > t->aaaa->ms ? t->a->ms : t->aaaa->ms;
	c->data = json_pack("{s:s, s:i, s:o, s:s}", "host", t->host, "port", t->port, "addresses", list, "dnssec", signed_word(t->a));
	free(text);
}

static void judge_caa(struct report *r, const struct dns_answer *a)
{
	struct rdata_caa caa;
	char *text = NULL;
	bool issue = false, allowed = false;
	struct check *c;

	for (size_t i = 0; i < a->n; i++) {
		if (!rdata_caa(a->records[i].data, a->records[i].len, &caa))
			continue;
		mem_append(&text, "%s%s \"%s\"", text != NULL ? ", " : "", caa.tag, caa.value);
		if (strcasecmp(caa.tag, "issue") == 0) {
			issue = true;
			allowed = allowed || caa.value[strspn(caa.value, "; ")] != '\0';
		}
	}
	if (text == NULL)
		return;
	c = report_add(r, issue && !allowed ? VERDICT_WARNING : VERDICT_OK, "caa", "CAA", "%s", text);
	if (issue && !allowed)
		check_advise(c, "No authority may issue certificates for the name: the next renewal will fail unless you allow yours.");
	c->ms = a->ms;
	free(text);
}

bool judge_dns(struct report *r, const struct plan *p)
{
	bool listed = false;
	struct check *c;

	report_group(r, "DNS");
	if (!judge_resolver(r, p))
		return false;
	if (p->a->state == DNS_NO_NAME && p->services[0].answer->state == DNS_NO_NAME) {
		c = report_add(r, VERDICT_ERROR, "domain", "domain", "there is no domain %s", p->options->domain.ascii);
		check_advise(c, "Correct the spelling, or register the domain and give it name servers.");
		return false;
	}
	for (int s = 0; s < SERVICES; s++)
		judge_service(r, p, s);
	for (size_t i = 0; i < p->n_targets; i++) {
		const struct target *t = &p->targets[i];

		listed = false;
		for (size_t k = 0; k < i; k++)
			listed = listed || strcmp(p->targets[k].host, t->host) == 0;
		if (!listed && !t->numeric && (!t->guess || t->a->n + t->aaaa->n > 0))
			judge_target(r, p, t);
	}
	judge_dnssec(r, p);
	judge_caa(r, p->caa);
	return true;
}
