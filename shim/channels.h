#ifndef XMPP443_CHANNELS_H
#define XMPP443_CHANNELS_H

/* channels: one worker's channels to receivers, by path. */

#include "conf.h"
#include "handoff.h"

#include <stddef.h>

struct channel {
	struct handoff *handoff;
	int logged;     /* the state that the log told last, as handoff_state() */
	unsigned lines; /* about it in the log in this minute */
};

struct channels {
	struct loop *loop; /* this and the number of the worker, for the log, are filled in by the owner */
	unsigned worker;
	struct handoff_counts counts;
	struct channel v[CONF_ROUTES_MAX];
	size_t n;
	struct loop_timer minute; /* runs while something was logged in it */
};

/* The channel to that receiver, opened if there is none yet; NULL: no memory, or too many receivers. */
struct handoff *channels_get(struct channels *c, const struct addr_endpoint *path, unsigned max_held);

/* Opens those that the configuration names, and closes those that nobody needs any more. */
void channels_use_conf(struct channels *c, const struct conf *conf);

void channels_close(struct channels *c);

#endif
