/* The table of all settings, and how each is set. */

#include "conf.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The key's own field, in the struct conf or struct route that target is. */
static void *field(const struct conf_key *k, void *target)
{
	return (char *)target + k->at;
}

static int set_number(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	return conf_number(value, k->min, k->max, field(k, target), err);
}

static int set_number_or_auto(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	unsigned *number = field(k, target);

	if (strcmp(value, "auto") != 0)
		return conf_number(value, k->min, k->max, number, err);
	*number = 0;
	return 0;
}

static int set_time(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	return conf_duration(value, k->min, field(k, target), err);
}

static int set_time_or_off(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	unsigned *ms = field(k, target);

	if (strcmp(value, "off") != 0)
		return conf_duration(value, k->min, ms, err);
	*ms = 0;
	return 0;
}

static int set_list(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	return conf_list(target, value, k->add, err);
}

static int set_number_or_off(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	unsigned *number = field(k, target);

	if (strcmp(value, "off") != 0)
		return conf_number(value, k->min, k->max, number, err);
	*number = 0;
	return 0;
}

static int set_log(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	return conf_log_about(value, field(k, target), err);
}

static int set_log_level(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	return conf_log_level(value, field(k, target), err);
}

static int set_sandbox(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	return conf_sandbox(value, field(k, target), err);
}

static int set_account(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	size_t len = strlen(value);

	if (len == 0 || len > CONF_ACCOUNT_MAX)
		return conf_fail(err, "the name of a user or group has 1 to %d bytes", CONF_ACCOUNT_MAX);
	memcpy(field(k, target), value, len + 1);
	return 0;
}

static int set_proxy_protocol(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	return conf_proxy_protocol(value, field(k, target), err);
}

static int set_keep(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	static const char *const names[] = {
		[CONF_KEEP_OFF] = "off",
		[CONF_KEEP_RESTART] = "restart",
		[CONF_KEEP_CRASH] = "crash",
	};
	enum conf_keep *keep = field(k, target);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(value, names[i]) == 0) {
			*keep = (enum conf_keep)i;
			return 0;
		}
	return conf_fail(err, "'%.40s' is not off, restart or crash", value);
}

static int set_listen(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	struct conf *c = target;
	struct addr_endpoint e;
	int r = conf_endpoint(value, &e, err);

	(void)k;
	if (r < 0)
		return r;
	if (e.u.sa.sa_family == AF_UNIX)
		return conf_fail(err, "a listener needs an IP address and a port");
	if (c->n_listen == CONF_LISTEN_MAX)
		return conf_fail(err, "more than %d listeners", CONF_LISTEN_MAX);
	c->listen[c->n_listen++] = e;
	return 0;
}

static int set_metrics(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	struct addr_endpoint *e = field(k, target), wanted = {0};
	int r = strcmp(value, "off") == 0 ? 0 : conf_endpoint(value, &wanted, err);

	if (r < 0)
		return r;
	if (wanted.len != 0 && wanted.u.sa.sa_family != AF_UNIX && !addr_endpoint_is_loopback(&wanted))
		return conf_fail(err, "metrics are served on a loopback address, such as 127.0.0.1:9443 or [::1]:9443, or a Unix "
			    "socket, not to the world");
	*e = wanted;
	return 0;
}

static int check_no_target(const struct route *r, struct conf_error *err)
{
	return r->target.len == 0 ? 0 : conf_fail(err, "a route has one target, fdpass or proxy, and it is set already");
}

static int set_proxy(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	struct route *r = target;
	int ret = check_no_target(r, err);

	(void)k;
	return ret < 0 ? ret : conf_endpoint(value, &r->target, err);
}

static int set_fdpass(const struct conf_key *k, void *target, const char *value, struct conf_error *err)
{
	struct route *r = target;
	char path[ADDR_ENDPOINT_TEXT_MAX + 1];
	int ret = check_no_target(r, err);

	(void)k;
	if (ret < 0)
		return ret;
	if (value[0] != '/')
		return conf_fail(err, "fdpass takes the absolute path of a socket");
	snprintf(path, sizeof(path), "unix:%s", value);
	ret = conf_endpoint(path, &r->target, err);
	r->fdpass = ret == 0;
	return ret;
}

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

#define SHIM  CONF_IN_SHIM
#define ROUTE CONF_IN_ROUTE
#define BOTH  (CONF_IN_ROUTE | CONF_IN_WEB)
#define OF(member) offsetof(struct conf, member)
#define OF_ROUTE(member) offsetof(struct route, member)

#define ABOUT     "failures | handoffs | decisions"
#define KEEPS     "off | restart | crash"
#define LEVELS    "error | warning | notice | info | debug"
#define PROTOCOLS "v1 | v2 | none"
#define TLVS      "alpn authority unique-id"

/* One line a key. README and the manual page have to tell of each: tests/manual compares them with this. */
const struct conf_key conf_keys[] = {
	{SHIM,  "listen",             "address",       NULL,    .set = set_listen},
	{SHIM,  "workers",            "auto | number", "auto",  .set = set_number_or_auto, .at = OF(workers), .min = 1, .max = CONF_WORKERS_MAX},
	{SHIM,  "hello-timeout",      "time",          "10s",   .set = set_time, .at = OF(hello_timeout_ms), .min = 1},
	{SHIM,  "connect-timeout",    "time",          "5s",    .set = set_time, .at = OF(connect_timeout_ms), .min = 1},
	{SHIM,  "idle-timeout",       "time | off",    "off",   .set = set_time_or_off, .at = OF(idle_timeout_ms), .min = 1000},
	{SHIM,  "half-closed-timeout", "time | off",   "10m",   .set = set_time_or_off, .at = OF(half_closed_timeout_ms), .min = 1000},
	{SHIM,  "trusted-proxies",    "prefix ...",    NULL,    .set = set_list, .add = add_trusted},
	{SHIM,  "max-connections",    "number",        "20000", .set = set_number, .at = OF(max_connections), .min = 1, .max = CONF_CONNECTIONS_MAX},
	{SHIM,  "max-pending-per-ip", "number",        "64",    .set = set_number, .at = OF(max_pending_per_ip), .min = 1, .max = 1000000},
	{SHIM,  "max-held",           "number",        "4096",  .set = set_number, .at = OF(max_held), .min = 0, .max = 1000000},
	{SHIM,  "log",                ABOUT,           "handoffs", .set = set_log, .at = OF(log_about)},
	{SHIM,  "log-rate",           "number | off",  "50",    .set = set_number_or_off, .at = OF(log_rate), .min = 1, .max = 1000000},
	{SHIM,  "keep-connections",   KEEPS,           "off",   .set = set_keep, .at = OF(keep)},
	{SHIM,  "keep-after",         "time",          "1s",    .set = set_time, .at = OF(keep_after_ms), .min = 0},
	{SHIM,  "log-level",          LEVELS,          "info",  .set = set_log_level, .at = OF(log_level)},
	{SHIM,  "metrics",            "address | off", "off",   .set = set_metrics, .at = OF(metrics)},
	{SHIM,  "sandbox",            "on | off | log", "on",   .set = set_sandbox, .at = OF(sandbox)},
	{SHIM,  "user",               "name",          "xmpp443", .set = set_account, .at = OF(user)},
	{SHIM,  "group",              "name",          "prosody", .set = set_account, .at = OF(group)},
	{ROUTE, "alpn",               "protocol ...",  NULL,    .set = set_list, .add = add_alpn},
	{ROUTE, "sni",                "host ...",      NULL,    .set = set_list, .add = add_sni},
	{ROUTE, "fdpass",             "path",          NULL,    .set = set_fdpass},
	{ROUTE, "hold",               "time",          "30s",   .set = set_time, .at = OF_ROUTE(hold_ms), .min = 0},
	{BOTH,  "proxy",              "address",       NULL,    .set = set_proxy},
	{BOTH,  "proxy-protocol",     PROTOCOLS,       "v2",    .set = set_proxy_protocol, .at = OF_ROUTE(pp)},
	{BOTH,  "proxy-tlvs",         TLVS,            NULL,    .set = set_list, .add = add_tlv},
};
const size_t conf_keys_n = sizeof(conf_keys) / sizeof(conf_keys[0]);
