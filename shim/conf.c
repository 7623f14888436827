#include "conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int set_key(enum conf_in in, void *target, const char *section, const char *key, const char *value,
		   struct conf_error *err)
{
	for (size_t i = 0; i < conf_keys_n; i++)
		if ((conf_keys[i].in & in) != 0 && strcmp(conf_keys[i].name, key) == 0)
			return conf_keys[i].set(&conf_keys[i], target, value, err);
	return conf_fail(err, "[%s] has no key '%.40s'", section, key);
}

/* The defaults need no memory and are right: a test sets each of them. */
static void set_defaults(enum conf_in in, void *target)
{
	struct conf_error err;

	for (size_t i = 0; i < conf_keys_n; i++)
		if ((conf_keys[i].in & in) != 0 && conf_keys[i].fallback != NULL)
			conf_keys[i].set(&conf_keys[i], target, conf_keys[i].fallback, &err);
}

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
	*r = (struct route){0};
	memcpy(r->name, name, len + 1);
	r->slot = (uint8_t)c->n_routes; /* 0 is [web] */
	set_defaults(CONF_IN_ROUTE, r);
	return r;
}

int conf_set(struct conf *c, const char *section, const char *key, const char *value, struct conf_error *err)
{
	struct route *r;

	if (strcmp(section, "shim") == 0)
		return set_key(CONF_IN_SHIM, c, section, key, value, err);
	if (strcmp(section, "web") == 0)
		return set_key(CONF_IN_WEB, &c->web, section, key, value, err);
	if (strncmp(section, "route ", 6) == 0) {
		r = find_route(c, section + 6, err);
		return r == NULL ? -EINVAL : set_key(CONF_IN_ROUTE, r, section, key, value, err);
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
	*c = (struct conf){.refs = 1, .web = {.name = "web"}};
	set_defaults(CONF_IN_SHIM, c);
	set_defaults(CONF_IN_WEB, &c->web);
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
