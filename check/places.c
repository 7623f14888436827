/* The second half of plan: from addresses to connections. */
#include "plan.h"

#include "mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEB_PORT 443
#define PLACES_MAX 32 /* whoever has more addresses gets the first ones checked */

static struct place *add_place(struct plan *p, const struct target *t, int family, const uint8_t *ip)
{
	struct place *place;
	struct addr_endpoint to = {0};

	p->places = mem_grow(p->places, p->n_places + 1, sizeof(*p->places));
	place = &p->places[p->n_places++];
	*place = (struct place){.target = t, .v6 = family == AF_INET6};
	inet_ntop(family, ip, place->address, sizeof(place->address));
	if (family == AF_INET6) {
		to.len = sizeof(to.u.in6);
		to.u.in6.sin6_family = AF_INET6;
		to.u.in6.sin6_port = htons(t->port);
		memcpy(&to.u.in6.sin6_addr, ip, 16);
	} else {
		to.len = sizeof(to.u.in);
		to.u.in.sin_family = AF_INET;
		to.u.in.sin_port = htons(t->port);
		memcpy(&to.u.in.sin_addr, ip, 4);
	}
	for (int k = 0; k < PLACE_PROBES; k++)
		place->probes[k].to = to;
	return place;
}

static void want(struct place *place, enum place_probe k, struct probe how)
{
	how.to = place->probes[k].to;
	place->probes[k] = how;
	place->wanted[k] = true;
}

static struct probe stream(const char *domain, enum service s, enum probe_shape shape)
{
	return (struct probe){
		.tls = service_is_direct(s) ? PROBE_TLS_AT_ONCE : PROBE_TLS_STARTTLS,
		.sni = domain,
		.alpn = service_alpn(s),
		.shape = shape,
		.talk = PROBE_TALK_STREAM,
		.domain = domain,
		.xmlns = service_is_for_clients(s) ? "jabber:client" : "jabber:server",
		.service = service_name(service_is_for_clients(s) ? SERVICE_XMPP_CLIENT : SERVICE_XMPP_SERVER),
	};
}

static struct probe web(const char *host, const char *alpn, enum probe_talk talk)
{
	return (struct probe){.tls = PROBE_TLS_AT_ONCE, .sni = host, .domain = host, .alpn = alpn, .talk = talk};
}

static void want_streams(struct place *place, const char *domain)
{
	static const enum place_probe of[SERVICES] = {
		[SERVICE_XMPPS_CLIENT] = PLACE_CLIENT,
		[SERVICE_XMPP_CLIENT] = PLACE_CLIENT_STARTTLS,
		[SERVICE_XMPPS_SERVER] = PLACE_SERVER,
		[SERVICE_XMPP_SERVER] = PLACE_SERVER_STARTTLS,
	};

	for (int s = 0; s < SERVICES; s++)
		if (place->target->services & 1u << s)
			want(place, of[s], stream(domain, s, PROBE_SHAPE_PLAIN));
	if (!place->wanted[PLACE_CLIENT])
		return;
	want(place, PLACE_BIG, stream(domain, SERVICE_XMPPS_CLIENT, PROBE_SHAPE_BIG));
	want(place, PLACE_SEGMENTS, stream(domain, SERVICE_XMPPS_CLIENT, PROBE_SHAPE_SEGMENTS));
	want(place, PLACE_RECORDS, stream(domain, SERVICE_XMPPS_CLIENT, PROBE_SHAPE_RECORDS));
	want(place, PLACE_NO_ALPN, stream(domain, SERVICE_XMPPS_CLIENT, PROBE_SHAPE_PLAIN));
	place->probes[PLACE_NO_ALPN].alpn = NULL;
}

/* Browsers ask for the name of the host, which need not be the domain. */
static void want_web(const struct plan *p, struct place *place)
{
	const struct target *t = place->target;
	const char *host = t->numeric ? p->options->domain.ascii : t->host;

	if (t->port != WEB_PORT && p->options->connect_host[0] == '\0')
		return;
	if (!place->wanted[PLACE_CLIENT] && !place->wanted[PLACE_SERVER])
		return;
	want(place, PLACE_H2, web(host, "h2", PROBE_TALK_HTTP2));
	want(place, PLACE_H1, web(host, "http/1.1", PROBE_TALK_HTTP1));
	want(place, PLACE_PLAIN, web(host, NULL, PROBE_TALK_HTTP1));
	place->probes[PLACE_PLAIN].tls = PROBE_TLS_NO;
}

static void add(struct plan *p, const struct target *t, int family, const uint8_t *ip)
{
	struct place *place;

	if (p->n_places == PLACES_MAX || !(family == AF_INET6 ? p->options->v6 : p->options->v4))
		return;
	place = add_place(p, t, family, ip);
	want(place, PLACE_TCP, (struct probe){0});
	want_streams(place, p->options->domain.ascii);
	want_web(p, place);
}

void plan_places(struct plan *p)
{
	uint8_t ip[16];

	for (size_t i = 0; i < p->n_targets; i++) {
		const struct target *t = &p->targets[i];

		if (t->numeric && inet_pton(AF_INET, t->host, ip) == 1)
			add(p, t, AF_INET, ip);
		else if (t->numeric && inet_pton(AF_INET6, t->host, ip) == 1)
			add(p, t, AF_INET6, ip);
		if (t->numeric)
			continue;
		for (size_t k = 0; k < t->a->n; k++)
			if (t->a->records[k].len == 4)
				add(p, t, AF_INET, t->a->records[k].data);
		for (size_t k = 0; k < t->aaaa->n; k++)
			if (t->aaaa->records[k].len == 16)
				add(p, t, AF_INET6, t->aaaa->records[k].data);
	}
}

void plan_drop_places(struct plan *p)
{
	p->n_places = 0;
}

void plan_run(struct plan *p, void (*tick)(void *arg), void *arg)
{
	struct probe **list = mem_new((p->n_places * PLACE_PROBES + 1) * sizeof(struct probe *));
	size_t n = 0;

	for (size_t i = 0; i < p->n_places; i++)
		list[n++] = &p->places[i].probes[PLACE_TCP];
	probe_run(list, n, p->options->timeout_ms, tick, arg);

	n = 0;
	for (size_t i = 0; i < p->n_places; i++) {
		struct place *place = &p->places[i];

		for (int k = PLACE_TCP + 1; k < PLACE_PROBES; k++) {
			if (place->probes[PLACE_TCP].end != PROBE_OK)
				place->wanted[k] = false;
			else if (place->wanted[k])
				list[n++] = &place->probes[k];
		}
	}
	probe_run(list, n, p->options->timeout_ms, tick, arg);
	free(list);
}
