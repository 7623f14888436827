#include "channels.h"

#include <errno.h>
#include <string.h>

#define MINUTE_MS 60000
#define LINES     4 /* about one channel in a minute */

static void log_state(struct channels *c, struct channel *ch, const struct handoff *h, int error)
{
	char text[ADDR_ENDPOINT_TEXT_MAX];

	ch->logged = error;
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

/* What was not logged for there was too much of it. */
static void on_minute_over(struct loop_timer *t)
{
	struct channels *c = container_of(t, struct channels, minute);

	for (size_t i = 0; i < c->n; i++) {
		struct channel *ch = &c->v[i];
		int state = handoff_state(ch->handoff);

		ch->lines = 0;
		if (state != ch->logged)
			log_state(c, ch, ch->handoff, state);
	}
}

static void on_changed(void *arg, const struct handoff *h, int error)
{
	struct channels *c = arg;
	char text[ADDR_ENDPOINT_TEXT_MAX];
	size_t i = 0;

	/* At the first time it is being made, and not in the list yet. */
	while (i < c->n && c->v[i].handoff != h)
		i++;
	if (c->v[i].lines++ < LINES)
		log_state(c, &c->v[i], h, error);
	else if (c->v[i].lines == LINES + 1)
		log_line(LOG_LEVEL_WARNING, "event=receiver-unsteady worker=%u receiver=%s error=\"it comes and goes; more in a minute\"",
			 c->worker, addr_endpoint_text(handoff_path(h), text));
	c->minute.expired = on_minute_over;
	if (c->minute.place == 0)
		loop_timer_set(c->loop, &c->minute, MINUTE_MS);
}

struct handoff *channels_get(struct channels *c, const struct addr_endpoint *path, unsigned max_held)
{
	struct handoff *h = NULL;

	for (size_t i = 0; i < c->n; i++)
		if (addr_endpoint_equal(handoff_path(c->v[i].handoff), path))
			return c->v[i].handoff;
	if (c->n == CONF_ROUTES_MAX)
		return NULL;
	c->v[c->n] = (struct channel){0};
	if (handoff_new(c->loop, path, max_held, &c->counts, on_changed, c, &h) < 0)
		return NULL;
	c->v[c->n++].handoff = h;
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
		if (handoff_is_idle(c->v[i].handoff) && !conf_uses(conf, handoff_path(c->v[i].handoff))) {
			handoff_free(c->v[i].handoff);
			c->v[i] = c->v[--c->n];
			continue;
		}
		handoff_set_max_held(c->v[i].handoff, conf->max_held);
		i++;
	}
	for (size_t i = 0; i < conf->n_routes; i++)
		if (conf->routes[i].fdpass)
			channels_get(c, &conf->routes[i].target, conf->max_held);
}

void channels_close(struct channels *c)
{
	while (c->n > 0)
		handoff_free(c->v[--c->n].handoff);
	loop_timer_unset(c->loop, &c->minute);
}
