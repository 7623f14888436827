#include "conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_alpn(void *arg, char *name, struct conf_error *err)
{
	struct route *r = arg;

	if (strlen(name) > 255)
		return conf_fail(err, "an ALPN protocol has 255 bytes at most");
	if (strcmp(name, "none") == 0) {
		r->alpn_none = true;
		return 0;
	}
	return conf_add_name(&r->alpn, name, err);
}

static int add_sni(void *arg, char *name, struct conf_error *err)
{
	struct route *r = arg;
	char *host = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
	size_t len = strlen(host);

	if (!route_is_hostname((const uint8_t *)host, len))
		return conf_fail(err, "'%.80s' is not a host name, nor *. and a host name; write international names "
			    "in their xn-- form", name);
	if (host[len - 1] == '.')
		host[len - 1] = '\0';
	for (char *p = host; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	return conf_add_name(&r->sni, name, err);
}

static int add_tlv(void *arg, char *name, struct conf_error *err)
{
	struct route *r = arg;

	if (strcmp(name, "alpn") == 0)
		r->tlvs |= ROUTE_TLV_ALPN;
	else if (strcmp(name, "authority") == 0)
		r->tlvs |= ROUTE_TLV_AUTHORITY;
	else if (strcmp(name, "unique-id") == 0)
		r->tlvs |= ROUTE_TLV_UNIQUE_ID;
	else
		return conf_fail(err, "'%.40s' is not alpn, authority or unique-id", name);
	return 0;
}

static int add_trusted(void *arg, char *text, struct conf_error *err)
{
	struct conf *c = arg;

	if (c->n_trusted == CONF_TRUSTED_MAX)
		return conf_fail(err, "more than %d prefixes", CONF_TRUSTED_MAX);
	if (addr_parse_prefix(text, &c->trusted[c->n_trusted]) < 0)
		return conf_fail(err, "'%.60s' is not a numeric address or prefix such as 192.0.2.1 or 2001:db8::/32 (with no bit set "
			    "behind the prefix)", text);
	c->n_trusted++;
	return 0;
}

static int set_shim(struct conf *c, const char *key, const char *value, struct conf_error *err)
{
	if (strcmp(key, "listen") == 0) {
		struct addr_endpoint e;
		int r = conf_endpoint(value, &e, err);

		if (r < 0)
			return r;
		if (e.u.sa.sa_family == AF_UNIX)
			return conf_fail(err, "a listener needs an IP address and a port");
		if (c->n_listen == CONF_LISTEN_MAX)
			return conf_fail(err, "more than %d listeners", CONF_LISTEN_MAX);
		c->listen[c->n_listen++] = e;
		return 0;
	}
	if (strcmp(key, "workers") == 0) {
		if (strcmp(value, "auto") == 0) {
			c->workers = 0;
			return 0;
		}
		return conf_number(value, 1, CONF_WORKERS_MAX, &c->workers, err);
	}
	if (strcmp(key, "hello-timeout") == 0)
		return conf_duration(value, 1, &c->hello_timeout_ms, err);
	if (strcmp(key, "connect-timeout") == 0)
		return conf_duration(value, 1, &c->connect_timeout_ms, err);
	if (strcmp(key, "idle-timeout") == 0) {
		if (strcmp(value, "off") != 0)
			return conf_duration(value, 1000, &c->idle_timeout_ms, err);
		c->idle_timeout_ms = 0;
		return 0;
	}
	if (strcmp(key, "trusted-proxies") == 0)
		return conf_list(c, value, add_trusted, err);
	if (strcmp(key, "max-connections") == 0)
		return conf_number(value, 1, CONF_CONNECTIONS_MAX, &c->max_connections, err);
	if (strcmp(key, "max-pending-per-ip") == 0)
		return conf_number(value, 1, 1000000, &c->max_pending_per_ip, err);
	if (strcmp(key, "max-held") == 0)
		return conf_number(value, 0, 1000000, &c->max_held, err);
	if (strcmp(key, "log-level") == 0)
		return conf_log_level(value, &c->log_level, err);
	return conf_fail(err, "[shim] has no key '%.40s'", key);
}

static int set_target(struct route *r, const char *value, bool fdpass, struct conf_error *err)
{
	char path[ADDR_ENDPOINT_TEXT_MAX + 1];

	if (r->target.len != 0)
		return conf_fail(err, "a route has one target, fdpass or proxy, and it is set already");
	r->fdpass = fdpass;
	if (!fdpass)
		return conf_endpoint(value, &r->target, err);
	if (value[0] != '/')
		return conf_fail(err, "fdpass takes the absolute path of a socket");
	snprintf(path, sizeof(path), "unix:%s", value);
	return conf_endpoint(path, &r->target, err);
}

/* [web] is a route without conditions that cannot hand off. */
static int set_route(struct route *r, bool web, const char *section, const char *key, const char *value,
		     struct conf_error *err)
{
	if (strcmp(key, "proxy") == 0)
		return set_target(r, value, false, err);
	if (strcmp(key, "proxy-protocol") == 0)
		return conf_proxy_protocol(value, &r->pp, err);
	if (strcmp(key, "proxy-tlvs") == 0)
		return conf_list(r, value, add_tlv, err);
	if (!web && strcmp(key, "alpn") == 0)
		return conf_list(r, value, add_alpn, err);
	if (!web && strcmp(key, "sni") == 0)
		return conf_list(r, value, add_sni, err);
	if (!web && strcmp(key, "fdpass") == 0)
		return set_target(r, value, true, err);
	if (!web && strcmp(key, "hold") == 0)
		return conf_duration(value, 0, &r->hold_ms, err);
	return conf_fail(err, "[%s] has no key '%.40s'", section, key);
}

static const struct route new_route = {.pp = PP2_V2, .hold_ms = 30000};

/* The route of that name, a new one if need be; NULL: *err says why not. */
static struct route *find_route(struct conf *c, const char *name, struct conf_error *err)
{
	struct route *r;
	size_t len = strlen(name);

	for (size_t i = 0; i < c->n_routes; i++)
		if (strcmp(c->routes[i].name, name) == 0)
			return &c->routes[i];

	/* The name stands in logs and metrics, unquoted. */
	if (len == 0 || len > ROUTE_NAME_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") != len || strcmp(name, "web") == 0) {
		conf_fail(err, "a route's name has 1 to %d letters, digits or -_./ and is not 'web'", ROUTE_NAME_MAX);
		return NULL;
	}
	if (c->n_routes == CONF_ROUTES_MAX) {
		conf_fail(err, "more than %d routes", CONF_ROUTES_MAX);
		return NULL;
	}
	r = &c->routes[c->n_routes++];
	*r = new_route;
	memcpy(r->name, name, len + 1);
	return r;
}

int conf_set(struct conf *c, const char *section, const char *key, const char *value, struct conf_error *err)
{
	struct route *r;

	if (strcmp(section, "shim") == 0)
		return set_shim(c, key, value, err);
	if (strcmp(section, "web") == 0)
		return set_route(&c->web, true, section, key, value, err);
	if (strncmp(section, "route ", 6) == 0) {
		r = find_route(c, section + 6, err);
		return r == NULL ? -EINVAL : set_route(r, false, section, key, value, err);
	}
	if (section[0] == '\0')
		return conf_fail(err, "'%.40s' stands before the first [section]", key);
	return conf_fail(err, "there is no section [%.40s]; known are [shim], [route NAME] and [web]", section);
}

struct conf *conf_new(void)
{
	struct conf *c = malloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	*c = (struct conf){
		.refs = 1,
		.hello_timeout_ms = 10000,
		.connect_timeout_ms = 5000,
		.max_connections = 20000,
		.max_pending_per_ip = 64,
		.max_held = 4096,
		.log_level = LOG_LEVEL_INFO,
		.web = {.name = "web", .pp = PP2_V2},
	};
	return c;
}

static void names_free(struct route_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
}

struct conf *conf_ref(struct conf *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void conf_unref(struct conf *c)
{
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	for (size_t i = 0; i < c->n_routes; i++) {
		names_free(&c->routes[i].alpn);
		names_free(&c->routes[i].sni);
	}
	free(c);
}

bool conf_trusts(const struct conf *c, const struct addr *peer)
{
	for (size_t i = 0; i < c->n_trusted; i++)
		if (addr_in_prefix(peer, &c->trusted[i]))
			return true;
	return false;
}

int conf_check(const struct conf *c, bool sockets_passed, struct conf_error *err)
{
	err->line = 0;
	if (c->n_listen == 0 && !sockets_passed)
		return conf_fail(err, "nothing to listen on: set listen in [shim]");
	if (c->web.target.len == 0)
		return conf_fail(err, "no web server: set proxy in [web]");
	for (size_t i = 0; i < c->n_routes; i++) {
		const struct route *r = &c->routes[i];

		if (r->target.len == 0)
			return conf_fail(err, "[route %s] leads nowhere: set fdpass or proxy", r->name);
		if (r->alpn.n == 0 && !r->alpn_none && r->sni.n == 0)
			return conf_fail(err, "[route %s] would match everything: set alpn or sni", r->name);
	}
	return 0;
}
