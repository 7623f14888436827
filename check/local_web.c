/* Backends: do they take the PROXY header, and only from the shim? */
#include "local.h"

#include "judge.h"

#include "../shim/pp2.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STRANGERS_MAX 16

/* A TLS handshake as a browser does it, with or without a header in front. */
static struct probe visit(const struct addr_endpoint *to, const char *name, const uint8_t *header, size_t header_len)
{
	return (struct probe){.to = *to, .prefix = header, .prefix_len = header_len, .tls = PROBE_TLS_AT_ONCE, .sni = name,
			      .domain = name, .alpn = "http/1.1", .talk = PROBE_TALK_NONE};
}

/* From this host to itself: what the logs show of it cannot be taken for a visitor. */
static size_t write_header(enum pp2_version version, uint8_t *buf)
{
	struct addr here = {.family = AF_INET, .ip = {127, 0, 0, 1}, .port = 443};

	return pp2_write(version, &here, &here, NULL, buf);
}

static void judge_header(struct report *r, const struct probe *with, const struct probe *without, bool wants_header)
{
	const struct probe *p = wants_header ? with : without;
	struct check *c;
	char outcome[160];

	if (p->end == PROBE_OK) {
		report_add(r, VERDICT_OK, "backend", "web server", wants_header ? "takes the PROXY header, and speaks TLS" : "speaks TLS");
	} else if (p->end == PROBE_CONNECT_FAILED || p->end == PROBE_CONNECT_TIMEOUT) {
		c = report_add(r, VERDICT_ERROR, "backend", "web server", "no connection: %s",
			       p->end == PROBE_CONNECT_TIMEOUT ? "no answer" : strerror(p->err));
		check_advise(c, "Start the web server, and let it listen at this address, or correct proxy = in the shim's settings.");
		return;
	} else if (wants_header && without->end == PROBE_OK) {
		c = report_add(r, VERDICT_ERROR, "backend", "web server", "does not take the PROXY header, but TLS without it");
		check_advise(c, "Let it expect the header (nginx: listen ... ssl proxy_protocol), or set proxy-protocol = none.");
		return;
	} else if (!wants_header && with->end == PROBE_OK) {
		c = report_add(r, VERDICT_ERROR, "backend", "web server", "wants a PROXY header, and the shim sends none");
		check_advise(c, "Set proxy-protocol = v2 in the shim's settings.");
		return;
	} else {
		c = report_add(r, VERDICT_ERROR, "backend", "web server", "a connection %s", judge_outcome(p, outcome, sizeof(outcome)));
		check_advise(c, p->answer == ANSWER_HTTP ? "Let it speak TLS at this address (nginx: listen ... ssl)."
							 : "Look into the web server's error log.");
		return;
	}
	if (!wants_header) {
		c = report_add(r, VERDICT_NOTE, "header", "PROXY header", "is not sent: the web server sees every visitor as coming from the shim");
		check_advise(c, "If the web server understands the PROXY protocol, let it expect the header, and set proxy-protocol = v2.");
	} else if (without->end == PROBE_OK) {
		report_add(r, VERDICT_NOTE, "header", "PROXY header", "connections without one are served too");
	} else {
		report_add(r, VERDICT_OK, "header", "PROXY header", "connections without one are turned away");
	}
}

/* This host's addresses of the family that others can reach, with the port of like. */
static size_t own_addresses(const struct addr_endpoint *like, struct addr_endpoint *ret)
{
	struct ifaddrs *all;
	size_t n = 0;

	if (getifaddrs(&all) < 0)
		return 0;
	for (struct ifaddrs *i = all; i != NULL && n < STRANGERS_MAX; i = i->ifa_next) {
		if (i->ifa_addr == NULL || i->ifa_addr->sa_family != like->u.sa.sa_family || (i->ifa_flags & IFF_LOOPBACK) != 0)
			continue;
		ret[n] = *like;
		if (like->u.sa.sa_family == AF_INET) {
			memcpy(&ret[n].u.in.sin_addr, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
		} else {
			const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)i->ifa_addr;

			if (IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
				continue;
			memcpy(&ret[n].u.in6.sin6_addr, &six->sin6_addr, 16);
		}
		n++;
	}
	freeifaddrs(all);
	return n;
}

static void judge_strangers(struct report *r, const struct options *o, const struct addr_endpoint *to, const uint8_t *header, size_t len)
{
	struct addr_endpoint addresses[STRANGERS_MAX];
	struct probe probes[STRANGERS_MAX], *list[STRANGERS_MAX];
	const struct probe *open = NULL;
	size_t n = own_addresses(to, addresses);
	char text[ADDR_ENDPOINT_TEXT_MAX];
	struct check *c;

	for (size_t i = 0; i < n; i++) {
		probes[i] = visit(&addresses[i], o->domain.ascii, header, len);
		list[i] = &probes[i];
	}
	probe_run(list, n, o->timeout_ms, NULL, NULL);
	for (size_t i = 0; i < n; i++) {
		if (probes[i].end == PROBE_OK && open == NULL)
			open = &probes[i];
		probe_close(&probes[i]);
	}
	if (open != NULL) {
		c = report_add(r, VERDICT_ERROR, "strangers", "strangers", "the header is believed at %s too: whoever gets there can claim any address",
			       addr_endpoint_text(&open->to, text));
		check_advise(c, "Let the web server listen for the shim at a loopback address only (nginx: listen 127.0.0.1:8443).");
	} else if (n > 0) {
		report_add(r, VERDICT_OK, "strangers", "strangers", "the header is believed at none of this host's %zu other addresses", n);
	}
}

/* Whoever may connect to a Unix socket can send a header. */
static void judge_unix(struct report *r, const char *path)
{
	struct stat st;
	struct check *c;

	if (stat(path, &st) < 0)
		return;
	if ((st.st_mode & 0002) == 0) {
		report_add(r, VERDICT_OK, "strangers", "strangers", "the socket's mode is %03o", (unsigned)(st.st_mode & 0777));
		return;
	}
	c = report_add(r, VERDICT_NOTE, "strangers", "strangers", "the socket's mode is %03o: every user of this host can claim any address",
		       (unsigned)(st.st_mode & 0777));
	check_advise(c, "If there are users whom you do not trust, put the socket into a directory that only the shim's group may enter.");
}

void local_backend(struct report *r, const struct options *o, const struct route *route)
{
	uint8_t header[PP2_V2_MAX];
	bool wants_header = route->pp != PP2_NONE;
	size_t len = write_header(wants_header ? route->pp : PP2_V2, header);
	struct probe with = visit(&route->target, o->domain.ascii, header, len);
	struct probe without = visit(&route->target, o->domain.ascii, NULL, 0), *both[] = {&with, &without};
	char text[ADDR_ENDPOINT_TEXT_MAX];

	if (route->target.len == 0)
		return;
	report_group(r, "%s %s", route->name, addr_endpoint_text(&route->target, text));
	probe_run(both, 2, o->timeout_ms, NULL, NULL);
	judge_header(r, &with, &without, wants_header);
	if (with.end == PROBE_OK && route->target.u.sa.sa_family == AF_UNIX)
		judge_unix(r, route->target.u.un.sun_path);
	else if (with.end == PROBE_OK)
		judge_strangers(r, o, &route->target, header, len);
	probe_close(&with);
	probe_close(&without);
}
