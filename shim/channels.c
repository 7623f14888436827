#include "channels.h"

#include <errno.h>
#include <string.h>

static void on_changed(void *arg, const struct handoff *h, int error)
{
	const struct channels *c = arg;
	char text[ADDR_ENDPOINT_TEXT_MAX];

	addr_endpoint_text(handoff_path(h), text);
	if (error == 0)
		log_line(LOG_LEVEL_INFO, "event=receiver-up worker=%u receiver=%s", c->worker, text);
	else if (error == -EPERM)
		log_line(LOG_LEVEL_ERROR, "event=receiver-refused worker=%u receiver=%s error=\"whoever listens there may be neither "
			 "root, nor this user, nor the directory's owner\"", c->worker, text);
	else if (error == -EACCES)
		log_line(LOG_LEVEL_ERROR, "event=receiver-away worker=%u receiver=%s error=\"%s; is this user in the group that may "
			 "write to the socket?\"", c->worker, text, strerror(-error));
	else
		log_line(LOG_LEVEL_WARNING, "event=receiver-away worker=%u receiver=%s error=\"%s\"", c->worker, text,
			 strerror(-error));
}

struct handoff *channels_get(struct channels *c, const struct addr_endpoint *path, unsigned max_held)
{
	struct handoff *h = NULL;

	for (size_t i = 0; i < c->n; i++)
		if (addr_endpoint_equal(handoff_path(c->v[i]), path))
			return c->v[i];
	if (c->n == CONF_ROUTES_MAX || handoff_new(c->loop, path, max_held, &c->counts, on_changed, c, &h) < 0)
		return NULL;
	c->v[c->n++] = h;
	return h;
}

static bool conf_uses(const struct conf *conf, const struct addr_endpoint *path)
{
	for (size_t i = 0; i < conf->n_routes; i++)
		if (conf->routes[i].fdpass && addr_endpoint_equal(&conf->routes[i].target, path))
			return true;
	return false;
}

void channels_use_conf(struct channels *c, const struct conf *conf)
{
	for (size_t i = 0; i < c->n;) {
		if (handoff_is_idle(c->v[i]) && !conf_uses(conf, handoff_path(c->v[i]))) {
			handoff_free(c->v[i]);
			c->v[i] = c->v[--c->n];
			continue;
		}
		handoff_set_max_held(c->v[i], conf->max_held);
		i++;
	}
	for (size_t i = 0; i < conf->n_routes; i++)
		if (conf->routes[i].fdpass)
			channels_get(c, &conf->routes[i].target, conf->max_held);
}

void channels_close(struct channels *c)
{
	while (c->n > 0)
		handoff_free(c->v[--c->n]);
}
