#include "dns.h"

#include "clean.h"
#include "clock.h"
#include "mem.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unbound.h>

#define CLASS_IN 1
#define TICK_MS 100

/* The root's keys of 2017 and 2024, as IANA publishes them (root-anchors.xml). */
static const char *const root_anchors[] = {
	". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
	". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
};

struct question {
	struct dns_answer answer;
	struct dns *dns;
	int64_t asked;
};

struct dns {
	struct ub_ctx *ctx;
	struct question **questions;
	size_t n, answered;
};

/* "[2001:db8::53]:5353" -> "2001:db8::53@5353", the form that libunbound reads. */
static bool forward_form(const char *text, char *out, size_t size)
{
	char host[64];
	const char *port = "53", *end = strrchr(text, ':');
	struct in6_addr any;
	size_t len = strlen(text);
	char *rest;
	long number;

	if (text[0] == '[') {
		const char *close = strchr(text, ']');

		if (close == NULL || (close[1] != '\0' && close[1] != ':'))
			return false;
		len = (size_t)(close - text) - 1;
		port = close[1] == ':' ? close + 2 : port;
		text++;
	} else if (end != NULL && end == strchr(text, ':')) {
		len = (size_t)(end - text);
		port = end + 1;
	}
	number = strtol(port, &rest, 10);
	if (len >= sizeof(host) || rest == port || *rest != '\0' || number < 1 || number > 65535)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, &any) != 1 && inet_pton(AF_INET6, host, &any) != 1)
		return false;
	snprintf(out, size, "%s@%ld", host, number);
	return true;
}

static const char *set_up(struct ub_ctx *ctx, const char *resolver, const char *trust_anchor)
{
	char forward[96];

	/* systemd-resolved and others listen on loopback. */
	ub_ctx_set_option(ctx, "do-not-query-localhost:", "no");
	ub_ctx_debuglevel(ctx, 0);
	if (resolver != NULL) {
		if (!forward_form(resolver, forward, sizeof(forward)))
			return "the resolver has to be an address, with or without a port";
		if (ub_ctx_set_fwd(ctx, forward) != 0)
			return "the resolver is not usable";
	} else if (ub_ctx_resolvconf(ctx, NULL) != 0) {
		return "/etc/resolv.conf cannot be read; name a resolver with --resolver";
	}
	if (trust_anchor != NULL) {
		FILE *f = fopen(trust_anchor, "re"); /* libunbound would find out only later */

		if (f == NULL)
			return "the file of the trust anchor cannot be read";
		fclose(f);
		if (ub_ctx_add_ta_file(ctx, trust_anchor) != 0)
			return "the trust anchor is not usable";
	} else {
		for (size_t i = 0; i < sizeof(root_anchors) / sizeof(root_anchors[0]); i++)
			if (ub_ctx_add_ta(ctx, root_anchors[i]) != 0)
				return "the root's keys are not usable";
	}
	/* A thread of its own: ub_fd() tells when there is something to collect. */
	if (ub_ctx_async(ctx, 1) != 0)
		return "the DNS library does not start";
	return NULL;
}

bool dns_new(const char *resolver, const char *trust_anchor, struct dns **ret, const char **ret_why)
{
	struct dns *d = mem_new(sizeof(*d));

	d->ctx = ub_ctx_create();
	*ret_why = d->ctx == NULL ? "the DNS library does not start" : set_up(d->ctx, resolver, trust_anchor);
	if (*ret_why != NULL) {
		dns_free(d);
		return false;
	}
	*ret = d;
	return true;
}

static void take(struct dns_answer *a, const struct ub_result *r)
{
	a->rcode = r->rcode;
	a->secure = r->secure != 0;
	a->bogus = r->bogus != 0;
	if (r->why_bogus != NULL)
		clean_text(a->why, sizeof(a->why), r->why_bogus, strlen(r->why_bogus));
	if (r->canonname != NULL)
		clean_text(a->alias, sizeof(a->alias), r->canonname, strlen(r->canonname));
	if (a->alias[0] != '\0' && a->alias[strlen(a->alias) - 1] == '.')
		a->alias[strlen(a->alias) - 1] = '\0';

	if (r->havedata) {
		a->state = DNS_DATA;
		while (r->data[a->n] != NULL)
			a->n++;
		a->records = mem_grow(NULL, a->n + 1, sizeof(*a->records));
		for (size_t i = 0; i < a->n; i++)
			a->records[i] = (struct dns_record){(const uint8_t *)r->data[i], (size_t)r->len[i]};
	} else if (r->nxdomain) {
		a->state = DNS_NO_NAME;
	} else if (r->rcode != 0) {
		a->state = DNS_FAILED;
	} else {
		a->state = DNS_NO_DATA;
	}
}

static void on_answer(void *arg, int err, struct ub_result *result)
{
	struct question *q = arg;
	struct dns_answer *a = &q->answer;

	a->ms = (int)(clock_ms() - q->asked);
	a->result = result;
	q->dns->answered++;
	if (err != 0 || result == NULL) {
		a->state = DNS_FAILED;
		a->rcode = 2;
		return;
	}
	take(a, result);
}

const struct dns_answer *dns_ask(struct dns *d, const char *name, int type)
{
	struct question *q;

	for (size_t i = 0; i < d->n; i++)
		if (d->questions[i]->answer.type == type && strcasecmp(d->questions[i]->answer.name, name) == 0)
			return &d->questions[i]->answer;

	q = mem_new(sizeof(*q));
	q->dns = d;
	q->asked = clock_ms();
	q->answer.name = mem_copy(name);
	q->answer.type = type;
	d->questions = mem_grow(d->questions, d->n + 1, sizeof(struct question *));
	d->questions[d->n++] = q;
	if (ub_resolve_async(d->ctx, name, type, CLASS_IN, q, on_answer, NULL) != 0)
		on_answer(q, -1, NULL);
	return &q->answer;
}

static bool is_waiting(const struct dns *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->questions[i]->answer.state == DNS_WAITING)
			return true;
	return false;
}

void dns_wait(struct dns *d, int timeout_ms, void (*tick)(void *arg), void *arg)
{
	int64_t deadline = clock_ms() + timeout_ms;

	while (is_waiting(d) && clock_ms() < deadline) {
		struct pollfd p = {.fd = ub_fd(d->ctx), .events = POLLIN};

		poll(&p, 1, TICK_MS);
		ub_process(d->ctx);
		if (tick != NULL)
			tick(arg);
	}
	for (size_t i = 0; i < d->n; i++) {
		struct dns_answer *a = &d->questions[i]->answer;

		if (a->state == DNS_WAITING) {
			a->state = DNS_TIMED_OUT;
			a->ms = timeout_ms;
		}
	}
}

void dns_progress(const struct dns *d, size_t *ret_asked, size_t *ret_answered)
{
	*ret_asked = d->n;
	*ret_answered = d->answered;
}

const char *dns_rcode_name(int rcode)
{
	static const char *const names[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};

	return rcode >= 0 && (size_t)rcode < sizeof(names) / sizeof(names[0]) ? names[rcode] : "an error";
}

void dns_free(struct dns *d)
{
	if (d == NULL)
		return;
	/* Ends the thread too, so that no callback comes any more. */
	if (d->ctx != NULL)
		ub_ctx_delete(d->ctx);
	for (size_t i = 0; i < d->n; i++) {
		free(d->questions[i]->answer.name);
		free(d->questions[i]->answer.records);
		ub_resolve_free(d->questions[i]->answer.result);
		free(d->questions[i]);
	}
	free(d->questions);
	free(d);
}
