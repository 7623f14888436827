#ifndef XMPP443_RELAYED_H
#define XMPP443_RELAYED_H

/* relayed: a connection that is for a backend, until its end. */

#include "env.h"
#include "route.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Takes ownership of fd, in no epoll set, and relays it by the route of
 * env->conf. The rest as in passed.h; peeked are the first bytes that wait in
 * its receive queue.
 */
void relayed_new(struct env *env, int fd, const struct route *route, const struct addr *peer,
		 const struct addr *local, const char *alpn, const uint8_t *peeked, size_t peeked_len);

/* env->relay.done */
void relayed_done(struct relay *relay, enum relay_result result, int error);

/* To be called now and then: looks after those that are idle, and ends them after that many seconds; 0: never. */
void relayed_sweep(struct env *env, uint32_t seconds);

/* Ends all of them. */
void relayed_end_all(struct env *env);

#endif
