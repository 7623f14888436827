#include "conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 256
#define DAY_MS    86400000u

static int fail(struct conf_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct conf_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return -EINVAL;
}

/* Plain digits up to max; -EINVAL. *ret_rest is what follows them. */
static int parse_digits(const char *text, unsigned max, unsigned *ret, const char **ret_rest)
{
	unsigned long value = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		value = value * 10 + (unsigned long)(*text - '0');
		if (value > max)
			return -EINVAL;
	}
	*ret = (unsigned)value;
	*ret_rest = text;
	return 0;
}

static int set_number(const char *value, unsigned min, unsigned max, unsigned *ret, struct conf_error *err)
{
	const char *rest;
	unsigned n;

	if (parse_digits(value, max, &n, &rest) < 0 || *rest != '\0' || n < min)
		return fail(err, "'%.40s' is not a number from %u to %u", value, min, max);
	*ret = n;
	return 0;
}

static int set_duration(const char *value, unsigned min_ms, unsigned *ret, struct conf_error *err)
{
	static const struct {
		const char *name;
		unsigned ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	const char *rest;
	unsigned n;

	if (parse_digits(value, DAY_MS, &n, &rest) == 0)
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (strcmp(rest, units[i].name) == 0 && n <= DAY_MS / units[i].ms &&
			    n * units[i].ms >= min_ms) {
				*ret = n * units[i].ms;
				return 0;
			}
	return fail(err, "'%.40s' is not a time such as 500ms, 10s, 2m or 1h, %u ms at least and a day at most",
		    value, min_ms);
}

static int set_endpoint(const char *value, struct addr_endpoint *ret, struct conf_error *err)
{
	int r = addr_parse_endpoint(value, ret);

	if (r == -ENAMETOOLONG)
		return fail(err, "'%.80s' is too long for a Unix socket (107 bytes at most)", value);
	if (r < 0)
		return fail(err, "'%.80s' is not a numeric address with a port, such as 127.0.0.1:8443 or [::1]:8443, "
			    "nor unix:/path; names are never looked up", value);
	return 0;
}

static int add_name(struct route_names *names, const char *name, struct conf_error *err)
{
	char **v;

	if (names->n >= NAMES_MAX)
		return fail(err, "more than %d names", NAMES_MAX);
	v = realloc(names->v, (names->n + 1) * sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	names->v = v;
	v[names->n] = strdup(name);
	if (v[names->n] == NULL)
		return -ENOMEM;
	names->n++;
	return 0;
}

static int add_alpn(void *arg, char *name, struct conf_error *err)
{
	struct route *r = arg;

	if (strlen(name) > 255)
		return fail(err, "an ALPN protocol has 255 bytes at most");
	if (strcmp(name, "none") == 0) {
		r->alpn_none = true;
		return 0;
	}
	return add_name(&r->alpn, name, err);
}

static int add_sni(void *arg, char *name, struct conf_error *err)
{
	struct route *r = arg;
	char *host = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
	size_t len = strlen(host);

	if (!route_is_hostname((const uint8_t *)host, len))
		return fail(err, "'%.80s' is not a host name, nor *. and a host name; write international names "
			    "in their xn-- form", name);
	if (host[len - 1] == '.')
		host[len - 1] = '\0';
	for (char *p = host; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	return add_name(&r->sni, name, err);
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
		return fail(err, "'%.40s' is not alpn, authority or unique-id", name);
	return 0;
}

static int add_trusted(void *arg, char *text, struct conf_error *err)
{
	struct conf *c = arg;

	if (c->n_trusted == CONF_TRUSTED_MAX)
		return fail(err, "more than %d prefixes", CONF_TRUSTED_MAX);
	if (addr_parse_prefix(text, &c->trusted[c->n_trusted]) < 0)
		return fail(err, "'%.60s' is not a numeric address or prefix such as 192.0.2.1 or 2001:db8::/32 (with no bit set "
			    "behind the prefix)", text);
	c->n_trusted++;
	return 0;
}

/* Commas and blanks part the items of a list; each goes to add() with arg. */
static int set_list(void *arg, const char *value, int (*add)(void *, char *, struct conf_error *), struct conf_error *err)
{
	char *copy = strdup(value), *rest = copy, *item;
	int n = 0, ret = 0;

	if (copy == NULL)
		return -ENOMEM;
	while (ret == 0 && (item = strsep(&rest, ", \t")) != NULL)
		if (*item != '\0') {
			ret = add(arg, item, err);
			n++;
		}
	free(copy);
	return ret == 0 && n == 0 ? fail(err, "the list is empty") : ret;
}

static int set_proxy_protocol(const char *value, enum pp2_version *ret, struct conf_error *err)
{
	if (strcmp(value, "v1") == 0)
		*ret = PP2_V1;
	else if (strcmp(value, "v2") == 0)
		*ret = PP2_V2;
	else if (strcmp(value, "none") == 0)
		*ret = PP2_NONE;
	else
		return fail(err, "'%.40s' is not v1, v2 or none", value);
	return 0;
}

static int set_log_level(const char *value, enum log_level *ret, struct conf_error *err)
{
	static const char *const names[] = {
		[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
		[LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
	};

	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++)
		if (strcmp(value, names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	return fail(err, "'%.40s' is not error, warning, notice, info or debug", value);
}

static int set_shim(struct conf *c, const char *key, const char *value, struct conf_error *err)
{
	if (strcmp(key, "listen") == 0) {
		struct addr_endpoint e;
		int r = set_endpoint(value, &e, err);

		if (r < 0)
			return r;
		if (e.u.sa.sa_family == AF_UNIX)
			return fail(err, "a listener needs an IP address and a port");
		if (c->n_listen == CONF_LISTEN_MAX)
			return fail(err, "more than %d listeners", CONF_LISTEN_MAX);
		c->listen[c->n_listen++] = e;
		return 0;
	}
	if (strcmp(key, "workers") == 0) {
		if (strcmp(value, "auto") == 0) {
			c->workers = 0;
			return 0;
		}
		return set_number(value, 1, CONF_WORKERS_MAX, &c->workers, err);
	}
	if (strcmp(key, "hello-timeout") == 0)
		return set_duration(value, 1, &c->hello_timeout_ms, err);
	if (strcmp(key, "connect-timeout") == 0)
		return set_duration(value, 1, &c->connect_timeout_ms, err);
	if (strcmp(key, "idle-timeout") == 0) {
		if (strcmp(value, "off") != 0)
			return set_duration(value, 1000, &c->idle_timeout_ms, err);
		c->idle_timeout_ms = 0;
		return 0;
	}
	if (strcmp(key, "trusted-proxies") == 0)
		return set_list(c, value, add_trusted, err);
	if (strcmp(key, "max-connections") == 0)
		return set_number(value, 1, CONF_CONNECTIONS_MAX, &c->max_connections, err);
	if (strcmp(key, "max-pending-per-ip") == 0)
		return set_number(value, 1, 1000000, &c->max_pending_per_ip, err);
	if (strcmp(key, "max-held") == 0)
		return set_number(value, 0, 1000000, &c->max_held, err);
	if (strcmp(key, "log-level") == 0)
		return set_log_level(value, &c->log_level, err);
	return fail(err, "[shim] has no key '%.40s'", key);
}

static int set_target(struct route *r, const char *value, bool fdpass, struct conf_error *err)
{
	char path[ADDR_ENDPOINT_TEXT_MAX + 1];

	if (r->target.len != 0)
		return fail(err, "a route has one target, fdpass or proxy, and it is set already");
	r->fdpass = fdpass;
	if (!fdpass)
		return set_endpoint(value, &r->target, err);
	if (value[0] != '/')
		return fail(err, "fdpass takes the absolute path of a socket");
	snprintf(path, sizeof(path), "unix:%s", value);
	return set_endpoint(path, &r->target, err);
}

/* [web] is a route without conditions that cannot hand off. */
static int set_route(struct route *r, bool web, const char *section, const char *key, const char *value,
		     struct conf_error *err)
{
	if (strcmp(key, "proxy") == 0)
		return set_target(r, value, false, err);
	if (strcmp(key, "proxy-protocol") == 0)
		return set_proxy_protocol(value, &r->pp, err);
	if (strcmp(key, "proxy-tlvs") == 0)
		return set_list(r, value, add_tlv, err);
	if (!web && strcmp(key, "alpn") == 0)
		return set_list(r, value, add_alpn, err);
	if (!web && strcmp(key, "sni") == 0)
		return set_list(r, value, add_sni, err);
	if (!web && strcmp(key, "fdpass") == 0)
		return set_target(r, value, true, err);
	if (!web && strcmp(key, "hold") == 0)
		return set_duration(value, 0, &r->hold_ms, err);
	return fail(err, "[%s] has no key '%.40s'", section, key);
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
		fail(err, "a route's name has 1 to %d letters, digits or -_./ and is not 'web'", ROUTE_NAME_MAX);
		return NULL;
	}
	if (c->n_routes == CONF_ROUTES_MAX) {
		fail(err, "more than %d routes", CONF_ROUTES_MAX);
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
		return fail(err, "'%.40s' stands before the first [section]", key);
	return fail(err, "there is no section [%.40s]; known are [shim], [route NAME] and [web]", section);
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
		return fail(err, "nothing to listen on: set listen in [shim]");
	if (c->web.target.len == 0)
		return fail(err, "no web server: set proxy in [web]");
	for (size_t i = 0; i < c->n_routes; i++) {
		const struct route *r = &c->routes[i];

		if (r->target.len == 0)
			return fail(err, "[route %s] leads nowhere: set fdpass or proxy", r->name);
		if (r->alpn.n == 0 && !r->alpn_none && r->sni.n == 0)
			return fail(err, "[route %s] would match everything: set alpn or sni", r->name);
	}
	return 0;
}
