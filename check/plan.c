#include "plan.h"

#include "mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WEB_PORT 443
#define CLIENT_PORT 5222
#define SERVER_PORT 5269

const char *service_name(enum service s)
{
	static const char *const names[SERVICES] = {"_xmpps-client", "_xmpp-client", "_xmpps-server", "_xmpp-server"};

	return names[s];
}

const char *service_alpn(enum service s)
{
	static const char *const names[SERVICES] = {"xmpp-client", NULL, "xmpp-server", NULL};

	return names[s];
}

bool service_is_direct(enum service s)
{
	return s == SERVICE_XMPPS_CLIENT || s == SERVICE_XMPPS_SERVER;
}

bool service_is_for_clients(enum service s)
{
	return s == SERVICE_XMPPS_CLIENT || s == SERVICE_XMPP_CLIENT;
}

static const struct dns_answer *ask_below(struct plan *p, const char *label, const char *name, int type)
{
	char *full = mem_printf("%s._tcp.%s", label, name);
	const struct dns_answer *a = dns_ask(p->dns, full, type);

	free(full);
	return a;
}

/* Low priorities first; of the same priority the heavy ones. */
static int by_preference(const void *left, const void *right)
{
	const struct rdata_srv *a = left, *b = right;

	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	return (int)b->weight - (int)a->weight;
}

static void read_records(struct records *r)
{
	r->v = mem_grow(NULL, r->answer->n + 1, sizeof(*r->v));
	for (size_t i = 0; i < r->answer->n; i++) {
		if (rdata_srv(r->answer->records[i].data, r->answer->records[i].len, &r->v[r->n]))
			r->n++;
		else
			r->n_broken++;
	}
	qsort(r->v, r->n, sizeof(*r->v), by_preference);
	r->refused = r->n == 1 && r->v[0].target[0] == '\0';
}

static void add_target(struct plan *p, const char *host, uint16_t port, unsigned services, bool guess)
{
	struct in6_addr any;
	struct target *t;

	for (size_t i = 0; i < p->n_targets; i++) {
		t = &p->targets[i];
		if (t->port == port && strcasecmp(t->host, host) == 0) {
			t->services |= services;
			t->guess = t->guess && guess;
			return;
		}
	}
	p->targets = mem_grow(p->targets, p->n_targets + 1, sizeof(*p->targets));
	t = &p->targets[p->n_targets++];
	*t = (struct target){.port = port, .services = services, .guess = guess};
	snprintf(t->host, sizeof(t->host), "%s", host);
	t->numeric = inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

static bool uses_web_port(const struct records *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].port == WEB_PORT)
			return true;
	return false;
}

static void targets_of_records(struct plan *p)
{
	const struct records *client = &p->services[SERVICE_XMPPS_CLIENT];

	for (int s = 0; s < SERVICES; s++)
		for (size_t i = 0; i < p->services[s].n; i++)
			if (p->services[s].v[i].target[0] != '\0')
				add_target(p, p->services[s].v[i].target, p->services[s].v[i].port, 1u << s, false);
	/* Perhaps all is ready, and only DNS does not tell. */
	if (!uses_web_port(client)) {
		if (client->n > 0 && !client->refused)
			add_target(p, client->v[0].target, WEB_PORT, 1u << SERVICE_XMPPS_CLIENT, true);
		else
			add_target(p, p->options->domain.ascii, WEB_PORT, 1u << SERVICE_XMPPS_CLIENT, true);
	}
}

/* Without a resolver there is no use in asking on. */
static bool nobody_answers(const struct plan *p)
{
	bool silent = p->a->state == DNS_TIMED_OUT && p->aaaa->state == DNS_TIMED_OUT;

	for (int s = 0; s < SERVICES; s++)
		silent = silent && p->services[s].answer->state == DNS_TIMED_OUT;
	return silent;
}

static void ask_records(struct plan *p, void (*tick)(void *arg), void *arg)
{
	const char *domain = p->options->domain.ascii;

	p->root = dns_ask(p->dns, ".", DNS_NS);
	p->a = dns_ask(p->dns, domain, DNS_A);
	p->aaaa = dns_ask(p->dns, domain, DNS_AAAA);
	for (int s = 0; s < SERVICES; s++)
		p->services[s].answer = ask_below(p, service_name(s), domain, DNS_SRV);
	p->caa = dns_ask(p->dns, domain, DNS_CAA);
	dns_wait(p->dns, p->options->timeout_ms, tick, arg);
	if (nobody_answers(p))
		return;
	/* RFC 8659 section 3: the next name upwards that has records counts. */
	for (const char *dot = strchr(domain, '.'); dot != NULL && p->caa->state == DNS_NO_DATA && strchr(dot + 1, '.') != NULL;
	     dot = strchr(dot + 1, '.')) {
		p->caa = dns_ask(p->dns, dot + 1, DNS_CAA);
		dns_wait(p->dns, p->options->timeout_ms, tick, arg);
	}
	for (int s = 0; s < SERVICES; s++)
		read_records(&p->services[s]);
	targets_of_records(p);
}

void plan_ask(struct plan *p, const struct options *o, struct dns *dns, void (*tick)(void *arg), void *arg)
{
	char label[16];

	*p = (struct plan){.options = o, .dns = dns};
	if (o->connect_host[0] == '\0')
		ask_records(p, tick, arg);
	else
		add_target(p, o->connect_host, o->connect_port,
			   1u << (o->connect_port == CLIENT_PORT ? SERVICE_XMPP_CLIENT :
				  o->connect_port == SERVER_PORT ? SERVICE_XMPP_SERVER : SERVICE_XMPPS_CLIENT), false);

	for (size_t i = 0; i < p->n_targets; i++) {
		struct target *t = &p->targets[i];

		if (t->numeric)
			continue;
		snprintf(label, sizeof(label), "_%u", t->port);
		t->a = dns_ask(dns, t->host, DNS_A);
		t->aaaa = dns_ask(dns, t->host, DNS_AAAA);
		t->tlsa = ask_below(p, label, t->host, DNS_TLSA);
	}
	dns_wait(dns, o->timeout_ms, tick, arg);
}

void plan_progress(const struct plan *p, size_t *ret_planned, size_t *ret_made)
{
	*ret_planned = *ret_made = 0;
	for (size_t i = 0; i < p->n_places; i++) {
		for (int k = 0; k < PLACE_PROBES; k++) {
			*ret_planned += p->places[i].wanted[k];
			*ret_made += p->places[i].wanted[k] && p->places[i].probes[k].end != PROBE_WAITING;
		}
	}
}

void plan_free(struct plan *p)
{
	for (size_t i = 0; i < p->n_places; i++)
		for (int k = 0; k < PLACE_PROBES; k++)
			probe_close(&p->places[i].probes[k]);
	for (int s = 0; s < SERVICES; s++)
		free(p->services[s].v);
	free(p->places);
	free(p->targets);
	*p = (struct plan){0};
}
